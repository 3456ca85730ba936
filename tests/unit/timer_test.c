/* SPDX-License-Identifier: BSD-3-Clause */
/* timer.c and watch.c. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <semaphore.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>
#include <cmocka.h>
#include <uvfio/device.h>
#include "base/ctx.h"

static struct uvfio_loop *loop;
static struct uvfio_ctx *ctx;

static int setup(void **state)
{
	loop = uvfio_loop_new("test-loop", NULL);
	ctx = uvfio_ctx_new(loop);
	return !ctx;
}

static int teardown(void **state)
{
	uvfio_ctx_free(ctx);
	uvfio_loop_free(loop);
	return 0;
}

/* Run @fn(@arg) in the context and wait for it. */
struct call {
	struct uvfio_work work;
	void (*fn)(void *arg);
	void *arg;
};

static void call_run(struct uvfio_work *work)
{
	struct call *call = (struct call *)work;

	call->fn(call->arg);
}

static void in_context(void (*fn)(void *arg), void *arg)
{
	struct call call = {{.fn = call_run}, fn, arg};

	uvfio_ctx_post(ctx, &call.work);
	uvfio_ctx_flush(ctx);
}

/* ---- timers ---- */

#define TIMERS 40

struct series {
	struct uvfio_timer *timers[TIMERS];
	struct one {
		struct series *series;
		unsigned index;
		uint64_t due, due_at_most, ran;
		bool current;
	} one[TIMERS];
	unsigned nr_ran, order[TIMERS];
	sem_t sem;
};

static void one_fires(void *arg)
{
	struct one *one = arg;

	one->ran = uvfio_now_ns();
	one->current = uvfio_ctx_is_current(ctx);
	one->series->order[one->series->nr_ran++] = one->index;
	sem_post(&one->series->sem);
}

static void timers_fire_in_order_and_not_early(void **state)
{
	struct series *s = calloc(1, sizeof(*s));

	assert_non_null(s);
	sem_init(&s->sem, 0, 0);
	for (unsigned i = 0; i < TIMERS; i++) {
		s->one[i] = (struct one){.series = s, .index = i};
		s->timers[i] = uvfio_ctx_timer_new(ctx, one_fires, &s->one[i]);
		assert_non_null(s->timers[i]);
	}
	for (unsigned i = 0; i < TIMERS; i++) {
		/* 17 is prime to 40: all different, in no order. */
		uint64_t ns = 200000000 + i * 17 % TIMERS * 500000;

		uvfio_timer_arm(s->timers[i], 3600ull * 1000000000u);
		if (i % 5 == 0)
			uvfio_timer_arm(s->timers[i], 1000000000);
		s->one[i].due = uvfio_now_ns() + ns;
		uvfio_timer_arm(s->timers[i], ns); /* moves it */
		s->one[i].due_at_most = uvfio_now_ns() + ns;
	}
	for (unsigned i = 0; i < TIMERS; i += 4)
		uvfio_timer_cancel(s->timers[i]);
	for (unsigned i = 0; i < TIMERS - TIMERS / 4; i++)
		sem_wait(&s->sem);
	uvfio_ctx_flush(ctx);
	assert_int_equal(s->nr_ran, TIMERS - TIMERS / 4);
	for (unsigned i = 0; i < TIMERS; i++) {
		if (i % 4 == 0) {
			assert_int_equal(s->one[i].ran, 0);
			continue;
		}
		assert_true(s->one[i].ran >= s->one[i].due);
		assert_true(s->one[i].current);
	}
	/* None before one that was certainly due earlier. */
	for (unsigned i = 1; i < s->nr_ran; i++) {
		for (unsigned j = 0; j < i; j++)
			assert_true(s->one[s->order[i]].due_at_most >= s->one[s->order[j]].due);
	}
	for (unsigned i = 0; i < TIMERS; i++)
		uvfio_timer_free(s->timers[i]);
	sem_destroy(&s->sem);
	free(s);
}

/* Armed, moved and cancelled again and again, in no order: those that are left fire, in order. */
#define MANY 300u

struct many {
	struct uvfio_timer *timers[MANY];
	struct many_one {
		struct many *many;
		uint64_t due, due_at_most;
	} one[MANY];
	unsigned ran, order[MANY];
	sem_t sem;
};

static void many_fires(void *arg)
{
	struct many_one *one = arg;
	struct many *m = one->many;

	m->order[m->ran++] = (unsigned)(one - m->one);
	sem_post(&m->sem);
}

static void what_is_left_fires_in_order(void **state)
{
	struct many *m = calloc(1, sizeof(*m));
	unsigned left = 0, at = 1;
	uint64_t ns;

	assert_non_null(m);
	sem_init(&m->sem, 0, 0);
	for (unsigned i = 0; i < MANY; i++) {
		m->one[i].many = m;
		m->timers[i] = uvfio_ctx_timer_new(ctx, many_fires, &m->one[i]);
		assert_non_null(m->timers[i]);
	}
	for (unsigned i = 0; i < 20 * MANY; i++) {
		at = (at * 75 + 74) % 65537; /* each number below 65536 once */
		if (at % 3)
			uvfio_timer_arm(m->timers[at % MANY], (1000 + at) * 1000000000ull);
		else
			uvfio_timer_cancel(m->timers[at % MANY]);
	}
	for (unsigned i = 0; i < MANY; i++) {
		if (i % 7 == 0) {
			uvfio_timer_cancel(m->timers[i]);
			continue;
		}
		ns = 300000000 + i * 113 % MANY * 1000000ull;
		m->one[i].due = uvfio_now_ns() + ns;
		uvfio_timer_arm(m->timers[i], ns);
		m->one[i].due_at_most = uvfio_now_ns() + ns;
		left++;
	}
	for (unsigned i = 0; i < left; i++)
		sem_wait(&m->sem);
	uvfio_ctx_flush(ctx);
	assert_int_equal(m->ran, left);
	/* None before one that was certainly due earlier. */
	for (unsigned i = 1; i < left; i++) {
		for (unsigned j = 0; j < i; j++)
			assert_true(m->one[m->order[i]].due_at_most >= m->one[m->order[j]].due);
	}
	for (unsigned i = 0; i < MANY; i++)
		uvfio_timer_free(m->timers[i]);
	free(m);
}

struct race {
	struct uvfio_timer *timer;
	atomic_bool cancelled, late;
	atomic_uint fired;
	unsigned ns;
};

static void race_fires(void *arg)
{
	struct race *race = arg;

	if (atomic_load(&race->cancelled))
		atomic_store(&race->late, true);
	atomic_fetch_add(&race->fired, 1);
}

static void race_cancel(void *arg)
{
	struct race *race = arg;

	uvfio_timer_cancel(race->timer);
	atomic_store(&race->cancelled, true);
}

/* Cancel at about the moment at which it fires, within the context and outside: never afterwards.
 */
static void cancel_races_with_fire(void **state)
{
	struct race race = {0};
	unsigned fired_before = 0, not_fired = 0;

	race.timer = uvfio_ctx_timer_new(ctx, race_fires, &race);
	for (unsigned i = 0; i < 3000; i++) {
		uint64_t end;

		atomic_store(&race.cancelled, false);
		atomic_store(&race.fired, 0);
		uvfio_timer_arm(race.timer, i % 60 * 500);
		end = uvfio_now_ns() + 15000;
		while (uvfio_now_ns() < end)
			;
		if (i & 1)
			in_context(race_cancel, &race);
		else
			race_cancel(&race);
		uvfio_ctx_flush(ctx);
		if (atomic_load(&race.fired))
			fired_before++;
		else
			not_fired++;
		assert_true(atomic_load(&race.fired) <= 1);
	}
	assert_false(atomic_load(&race.late));
	assert_true(fired_before && not_fired);
	uvfio_timer_free(race.timer);
}

static void fire_then_free_self(void *arg)
{
	struct race *race = arg;

	uvfio_timer_free(race->timer);
	atomic_fetch_add(&race->fired, 1);
}

static void arm_zero(void *arg)
{
	struct race *race = arg;
	uint64_t end = uvfio_now_ns() + race->ns;

	/* Fires while the context is busy here, so its work is queued behind us. */
	uvfio_timer_arm(race->timer, 0);
	while (uvfio_now_ns() < end)
		;
	if (race->ns & 1)
		uvfio_timer_arm(race->timer, 0); /* moved while fired: still once */
	else
		uvfio_timer_free(race->timer);
}

static void timers_freed_at_bad_moments(void **state)
{
	struct race race = {0};

	/* Within its own function. */
	for (unsigned i = 0; i < 200; i++) {
		race.timer = uvfio_ctx_timer_new(ctx, fire_then_free_self, &race);
		uvfio_timer_arm(race.timer, 0);
		while (atomic_load(&race.fired) != i + 1)
			sched_yield();
	}
	/* With its work queued. */
	atomic_store(&race.fired, 0);
	for (unsigned i = 0; i < 200; i++) {
		race.ns = 50000;
		race.timer = uvfio_ctx_timer_new(ctx, race_fires, &race);
		in_context(arm_zero, &race);
	}
	uvfio_ctx_flush(ctx);
	assert_int_equal(atomic_load(&race.fired), 0);
	/* Armed anew with its work queued. */
	race.ns = 50001;
	race.timer = uvfio_ctx_timer_new(ctx, race_fires, &race);
	for (unsigned i = 0; i < 200; i++) {
		in_context(arm_zero, &race);
		while (atomic_load(&race.fired) != i + 1)
			sched_yield();
	}
	uvfio_timer_free(race.timer);
	assert_int_equal(atomic_load(&race.fired), 200);
	/* While armed. */
	race.timer = uvfio_ctx_timer_new(ctx, race_fires, &race);
	uvfio_timer_arm(race.timer, UINT64_MAX);
	uvfio_timer_free(race.timer);
	uvfio_timer_free(NULL);
}

/* ---- watches ---- */

struct reader {
	struct uvfio_watch *watch;
	int fd;
	atomic_ulong got;
	bool free_at_once, current;
	unsigned runs;
	sem_t sem;
};

static void reader_reads(void *arg)
{
	struct reader *r = arg;
	uint64_t count;

	r->runs++;
	r->current = uvfio_ctx_is_current(ctx);
	if (r->free_at_once) {
		uvfio_watch_free(r->watch);
		sem_post(&r->sem);
		return;
	}
	if (read(r->fd, &count, sizeof(count)) == sizeof(count))
		atomic_fetch_add(&r->got, count);
	sem_post(&r->sem);
}

static void watch_sees_every_event(void **state)
{
	struct reader r = {.fd = eventfd(0, EFD_NONBLOCK)};
	uint64_t one = 1;

	sem_init(&r.sem, 0, 0);
	r.watch = uvfio_watch_new(ctx, r.fd, reader_reads, &r);
	assert_non_null(r.watch);
	for (int i = 0; i < 2000; i++) {
		assert_int_equal(write(r.fd, &one, sizeof(one)), sizeof(one));
		if (i % 8 == 0)
			sem_wait(&r.sem);
	}
	while (atomic_load(&r.got) != 2000)
		sem_wait(&r.sem);
	assert_true(r.current);
	uvfio_ctx_flush(ctx);
	uvfio_watch_free(r.watch);
	/* Not seen any more. */
	assert_int_equal(write(r.fd, &one, sizeof(one)), sizeof(one));
	uvfio_ctx_flush(ctx);
	assert_int_equal(atomic_load(&r.got), 2000);
	close(r.fd);
	sem_destroy(&r.sem);
}

static void make_watch(void *arg)
{
	struct reader *r = arg;

	r->watch = uvfio_watch_new(ctx, r->fd, reader_reads, r);
}

static void free_watch(void *arg)
{
	struct reader *r = arg;

	uvfio_watch_free(r->watch);
	r->runs = 0;
}

/* Freed in its own function, and at any moment while its events are on the way. */
static void watches_freed_at_bad_moments(void **state)
{
	struct reader r = {.fd = eventfd(1, EFD_NONBLOCK)};

	sem_init(&r.sem, 0, 0);
	r.free_at_once = true;
	for (int i = 0; i < 200; i++) {
		in_context(make_watch, &r);
		sem_wait(&r.sem);
	}
	r.free_at_once = false;
	close(r.fd);
	r.fd = eventfd(INT32_MAX, EFD_NONBLOCK | EFD_SEMAPHORE);
	for (int i = 0; i < 1000; i++) {
		in_context(make_watch, &r);
		assert_non_null(r.watch);
		in_context(free_watch, &r);
		uvfio_ctx_flush(ctx);
		assert_int_equal(r.runs, 0);
	}
	close(r.fd);
	uvfio_watch_free(NULL);
	sem_destroy(&r.sem);
}

static void make_wait_free(void *arg)
{
	struct reader *r = arg;
	uint64_t end;

	make_watch(r);
	/* This thread has the context, so the loop's thread queues the event behind us. */
	for (end = uvfio_now_ns() + 2000000; uvfio_now_ns() < end;)
		;
	free_watch(r);
}

static void event_of_a_freed_watch_is_dropped(void **state)
{
	struct reader r = {.fd = eventfd(1, EFD_NONBLOCK)};
	struct call call = {{.fn = call_run}, make_wait_free, &r};

	sem_init(&r.sem, 0, 0);
	for (int i = 0; i < 50; i++) {
		uvfio_defer_begin();
		uvfio_ctx_post(ctx, &call.work);
		uvfio_defer_end();
		uvfio_ctx_flush(ctx);
		assert_int_equal(r.runs, 0);
	}
	close(r.fd);
	sem_destroy(&r.sem);
}

/* How often this process's thread @name has gone to sleep by itself; @asleep: does it now? */
static long thread_sleeps(const char *name, bool *asleep)
{
	char path[300], line[300], comm[32], state;
	DIR *dir = opendir("/proc/self/task");
	struct dirent *entry;
	long sleeps = -1, n;

	while (sleeps < 0 && (entry = readdir(dir))) {
		bool found = false;
		FILE *f;

		snprintf(path, sizeof(path), "/proc/self/task/%s/status", entry->d_name);
		f = fopen(path, "re");
		while (f && fgets(line, sizeof(line), f)) {
			if (sscanf(line, "Name: %31s", comm) == 1)
				found = !strcmp(comm, name);
			else if (found && sscanf(line, "State: %c", &state) == 1)
				*asleep = state == 'S';
			else if (found && sscanf(line, "voluntary_ctxt_switches: %ld", &n) == 1)
				sleeps = n;
		}
		if (f)
			fclose(f);
	}
	closedir(dir);
	return sleeps;
}

static void make_hold_free(void *arg)
{
	struct reader *r = arg;
	bool asleep = false;
	long sleeps;

	while (sleeps = thread_sleeps("test-loop", &asleep), !asleep)
		usleep(1000);
	make_watch(r);
	/* Woken by the event, it finds nothing to do and sleeps again. */
	while (thread_sleeps("test-loop", &asleep) == sleeps || !asleep)
		usleep(1000);
	r->got = 1;
	free_watch(r);
}

/* The descriptor stays readable, and nobody can read it: the loop does not spin. */
static void watch_is_quiet_while_its_context_is_held(void **state)
{
	struct reader r = {.fd = eventfd(1, EFD_NONBLOCK)};
	struct call call = {{.fn = call_run}, make_hold_free, &r};

	uvfio_defer_begin();
	uvfio_ctx_post(ctx, &call.work);
	uvfio_defer_end();
	uvfio_ctx_flush(ctx);
	assert_int_equal(atomic_load(&r.got), 1);
	close(r.fd);
}

struct writer {
	struct uvfio_watch *watch;
	int fd;
	atomic_uint runs;
	sem_t sem;
};

static void writer_writes(void *arg)
{
	struct writer *w = arg;

	atomic_fetch_add(&w->runs, 1);
	uvfio_watch_write(w->watch, false);
	sem_post(&w->sem);
}

static void make_writer(void *arg)
{
	struct writer *w = arg;

	w->watch = uvfio_watch_new(ctx, w->fd, writer_writes, w);
	assert_non_null(w->watch);
}

static void want_write(void *arg)
{
	uvfio_watch_write(((struct writer *)arg)->watch, true);
}

static void free_writer(void *arg)
{
	uvfio_watch_free(((struct writer *)arg)->watch);
}

/* Only while it is asked for, and only when there is room. */
static void watch_sees_room_to_write(void **state)
{
	struct writer w = {0};
	char page[4096] = {0};
	int fds[2];

	sem_init(&w.sem, 0, 0);
	assert_int_equal(pipe2(fds, O_NONBLOCK), 0);
	w.fd = fds[1];
	while (write(fds[1], page, sizeof(page)) > 0)
		;
	in_context(make_writer, &w);
	in_context(want_write, &w);
	uvfio_ctx_flush(ctx);
	assert_int_equal(atomic_load(&w.runs), 0);
	while (read(fds[0], page, sizeof(page)) > 0)
		;
	sem_wait(&w.sem);
	uvfio_ctx_flush(ctx);
	assert_int_equal(atomic_load(&w.runs), 1);
	for (unsigned i = 2; i < 100; i++) {
		in_context(want_write, &w);
		sem_wait(&w.sem);
		uvfio_ctx_flush(ctx);
		assert_int_equal(atomic_load(&w.runs), i);
	}
	in_context(free_writer, &w);
	close(fds[0]);
	close(fds[1]);
	sem_destroy(&w.sem);
}

static void file_cannot_be_watched(void **state)
{
	int fd = memfd_create("file", MFD_CLOEXEC);

	assert_null(uvfio_watch_new(ctx, fd, reader_reads, NULL));
	assert_int_equal(errno, EPERM);
	close(fd);
}

int main(void)
{
#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(timers_fire_in_order_and_not_early),
		TEST(what_is_left_fires_in_order),
		TEST(cancel_races_with_fire),
		TEST(timers_freed_at_bad_moments),
		TEST(watch_sees_every_event),
		TEST(watches_freed_at_bad_moments),
		TEST(event_of_a_freed_watch_is_dropped),
		TEST(watch_is_quiet_while_its_context_is_held),
		TEST(watch_sees_room_to_write),
		TEST(file_cannot_be_watched),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
