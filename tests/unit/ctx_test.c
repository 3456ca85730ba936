/* SPDX-License-Identifier: BSD-3-Clause */
/* ctx.c and loop.c: exactly once, one thread at a time, brackets, flush, pollers. */
#include <pthread.h>
#include <semaphore.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>
#include <cmocka.h>
#include <uvfio/device.h>
#include "base/ctx.h"
#include "idle.h"

static struct uvfio_loop *loop;

static int setup(void **state)
{
	struct uvfio_error err;

	loop = uvfio_loop_new("test-loop", &err);
	return !loop;
}

static int teardown(void **state)
{
	uvfio_loop_free(loop);
	return 0;
}

/* ---- many producers ---- */

#define PRODUCERS 4
#define ITEMS     8
#define ROUNDS    4000

struct strand {
	struct uvfio_ctx *ctx;
	atomic_bool inside;
	atomic_int doubly;
	uint64_t plain; /* no atomic: ThreadSanitizer checks that the context serialises */
};

struct item {
	struct uvfio_work work;
	struct strand *strand;
	atomic_uint posted, ran;
	unsigned given; /* written before each post, read by the work */
	atomic_uint seen;
};

struct producer {
	pthread_t thread;
	struct strand *strands;
	unsigned seed;
	struct item items[ITEMS];
};

static void item_run(struct uvfio_work *work)
{
	struct item *item = (struct item *)work;
	struct strand *strand = item->strand;

	if (atomic_exchange(&strand->inside, true))
		atomic_fetch_add(&strand->doubly, 1);
	strand->plain++;
	atomic_fetch_add(&item->ran, 1);
	atomic_store(&item->seen, __atomic_load_n(&item->given, __ATOMIC_RELAXED));
	atomic_store(&strand->inside, false);
}

static void *produce(void *arg)
{
	struct producer *p = arg;

	for (unsigned i = 1; i <= ROUNDS; i++) {
		struct item *item = &p->items[rand_r(&p->seed) % ITEMS];
		unsigned how = rand_r(&p->seed) % 16;

		if (how < 8)
			uvfio_defer_begin();
		if (how == 3)
			uvfio_defer_begin();
		__atomic_store_n(&item->given, i, __ATOMIC_RELAXED);
		if (uvfio_ctx_post(item->strand->ctx, &item->work))
			atomic_fetch_add(&item->posted, 1);
		if (how == 3)
			uvfio_defer_end();
		if (how == 4)
			uvfio_defer_handover();
		if (how == 5 || how == 9)
			uvfio_ctx_flush(p->strands[i % 2].ctx);
		if (how < 8)
			uvfio_defer_end();
		if (how == 10) {
			uvfio_ctx_flush(item->strand->ctx);
			assert_int_equal(atomic_load(&item->seen), i);
		}
	}
	return NULL;
}

static void every_post_runs_exactly_once(void **state)
{
	struct strand strands[2] = {{uvfio_ctx_new(loop)}, {uvfio_ctx_new(loop)}};
	struct producer *p = calloc(PRODUCERS, sizeof(*p));
	uint64_t ran[2] = {0};

	assert_non_null(p);
	for (int i = 0; i < PRODUCERS; i++) {
		p[i].strands = strands;
		p[i].seed = i + 1;
		for (int j = 0; j < ITEMS; j++) {
			p[i].items[j].work.fn = item_run;
			p[i].items[j].strand = &strands[j % 2];
		}
		assert_int_equal(pthread_create(&p[i].thread, NULL, produce, &p[i]), 0);
	}
	for (int i = 0; i < PRODUCERS; i++)
		pthread_join(p[i].thread, NULL);
	uvfio_ctx_flush(strands[0].ctx);
	uvfio_ctx_flush(strands[1].ctx);
	for (int i = 0; i < PRODUCERS; i++) {
		for (int j = 0; j < ITEMS; j++) {
			struct item *item = &p[i].items[j];

			assert_int_equal(atomic_load(&item->posted), atomic_load(&item->ran));
			assert_int_equal(atomic_load(&item->seen), item->given);
			ran[j % 2] += atomic_load(&item->ran);
		}
	}
	for (int i = 0; i < 2; i++) {
		assert_int_equal(atomic_load(&strands[i].doubly), 0);
		assert_int_equal(strands[i].plain, ran[i]);
		uvfio_ctx_free(strands[i].ctx);
	}
	free(p);
}

struct ordered {
	struct uvfio_work work;
	unsigned *next, number;
	bool *wrong;
};

static void ordered_run(struct uvfio_work *work)
{
	struct ordered *o = (struct ordered *)work;

	if (o->number != *o->next)
		*o->wrong = true;
	++*o->next;
}

static void work_runs_in_order(void **state)
{
	struct uvfio_ctx *ctx = uvfio_ctx_new(loop);
	struct ordered *o = calloc(1000, sizeof(*o));
	unsigned next = 0;
	bool wrong = false;

	assert_non_null(o);
	for (unsigned i = 0; i < 1000; i++) {
		o[i] = (struct ordered){{.fn = ordered_run}, &next, i, &wrong};
		assert_true(uvfio_ctx_post(ctx, &o[i].work));
	}
	uvfio_ctx_flush(ctx);
	assert_int_equal(next, 1000);
	assert_false(wrong);
	uvfio_ctx_free(ctx);
	free(o);
}

/* ---- who runs it ---- */

struct probe {
	struct uvfio_work work;
	struct uvfio_ctx *ctx, *then; /* posted to by this work */
	struct uvfio_work *then_work;
	pthread_t thread;
	bool current;
	atomic_int runs;
	sem_t *sem;
};

static void probe_run(struct uvfio_work *work)
{
	struct probe *p = (struct probe *)work;

	p->thread = pthread_self();
	p->current = uvfio_ctx_is_current(p->ctx);
	if (p->then)
		uvfio_ctx_post(p->then, p->then_work);
	atomic_fetch_add(&p->runs, 1);
	if (p->sem)
		sem_post(p->sem);
}

static void bracket_runs_here_at_its_end(void **state)
{
	struct uvfio_ctx *a = uvfio_ctx_new(loop), *b = uvfio_ctx_new(loop);
	struct probe second = {.work.fn = probe_run, .ctx = b};
	struct probe first = {.work.fn = probe_run, .ctx = a, .then = b, .then_work = &second.work};

	uvfio_defer_begin();
	uvfio_defer_begin();
	assert_true(uvfio_ctx_post(a, &first.work));
	assert_false(uvfio_ctx_post(a, &first.work));
	uvfio_defer_end();
	assert_int_equal(atomic_load(&first.runs), 0);
	assert_false(uvfio_ctx_is_current(a));
	uvfio_defer_end();
	assert_int_equal(atomic_load(&first.runs), 1);
	assert_true(first.current);
	assert_true(pthread_equal(first.thread, pthread_self()));
	assert_int_equal(atomic_load(&second.runs), 1);
	assert_true(pthread_equal(second.thread, pthread_self()));
	uvfio_ctx_free(a);
	uvfio_ctx_free(b);
}

static void loop_runs_what_is_posted_outside(void **state)
{
	struct uvfio_ctx *ctx = uvfio_ctx_new(loop);
	sem_t sem;
	struct probe p = {.work.fn = probe_run, .ctx = ctx, .sem = &sem};

	sem_init(&sem, 0, 0);
	uvfio_ctx_post(ctx, &p.work);
	sem_wait(&sem);
	assert_false(pthread_equal(p.thread, pthread_self()));
	assert_true(p.current);
	/* Handed over from a bracket that does not end. */
	uvfio_defer_begin();
	uvfio_ctx_post(ctx, &p.work);
	uvfio_defer_handover();
	sem_wait(&sem);
	assert_int_equal(atomic_load(&p.runs), 2);
	uvfio_defer_end();
	assert_int_equal(atomic_load(&p.runs), 2);
	uvfio_ctx_free(ctx);
	sem_destroy(&sem);
}

struct remote {
	struct uvfio_ctx *ctx;
	struct probe *probe;
};

static void *flush_remote(void *arg)
{
	struct remote *r = arg;

	uvfio_ctx_flush(r->ctx);
	return (void *)(uintptr_t)atomic_load(&r->probe->runs);
}

static void *post_remote(void *arg)
{
	struct remote *r = arg;

	uvfio_ctx_post(r->ctx, &r->probe->work);
	return NULL;
}

/* What one thread has deferred does not wait for it when another one wants it. */
static void deferred_work_can_be_taken_over(void **state)
{
	struct uvfio_ctx *ctx = uvfio_ctx_new(loop);
	sem_t sem;
	struct probe p = {.work.fn = probe_run, .ctx = ctx}, q = p;
	struct remote remote = {ctx, &p};
	pthread_t thread;
	void *runs;

	sem_init(&sem, 0, 0);
	uvfio_defer_begin();
	uvfio_ctx_post(ctx, &p.work);
	assert_int_equal(pthread_create(&thread, NULL, flush_remote, &remote), 0);
	pthread_join(thread, &runs);
	assert_int_equal((uintptr_t)runs, 1);
	/* Deferred here, posted to from outside a bracket there: the loop runs both. */
	q.sem = &sem;
	remote.probe = &q;
	uvfio_ctx_post(ctx, &p.work);
	assert_int_equal(pthread_create(&thread, NULL, post_remote, &remote), 0);
	pthread_join(thread, NULL);
	sem_wait(&sem);
	assert_int_equal(atomic_load(&p.runs), 2);
	uvfio_defer_end();
	assert_int_equal(atomic_load(&p.runs), 2);
	uvfio_ctx_free(ctx);
	sem_destroy(&sem);
}

static void more_contexts_than_a_bracket_holds(void **state)
{
	struct uvfio_ctx *ctx[20];
	struct probe p[20] = {0};

	uvfio_defer_begin();
	for (int i = 0; i < 20; i++) {
		ctx[i] = uvfio_ctx_new(loop);
		p[i].work.fn = probe_run;
		p[i].ctx = ctx[i];
		uvfio_ctx_post(ctx[i], &p[i].work);
	}
	uvfio_defer_end();
	for (int i = 0; i < 20; i++) {
		uvfio_ctx_flush(ctx[i]);
		assert_int_equal(atomic_load(&p[i].runs), 1);
		uvfio_ctx_free(ctx[i]);
	}
}

/* ---- flush within another context, whose loop must then run both ---- */

struct nested {
	struct uvfio_work work;
	struct uvfio_ctx *other;
	struct probe *probe;
	int seen;
	sem_t sem;
};

static void nested_run(struct uvfio_work *work)
{
	struct nested *n = (struct nested *)work;

	for (int i = 0; i < 100; i++) {
		uvfio_ctx_post(n->other, &n->probe->work);
		uvfio_ctx_flush(n->other);
	}
	n->seen = atomic_load(&n->probe->runs);
	sem_post(&n->sem);
}

struct self_poster {
	struct uvfio_work work;
	struct uvfio_ctx *ctx;
	atomic_bool stop;
	atomic_uint runs;
};

static void post_self(struct uvfio_work *work)
{
	struct self_poster *s = (struct self_poster *)work;

	atomic_fetch_add(&s->runs, 1);
	if (!atomic_load(&s->stop))
		uvfio_ctx_post(s->ctx, work);
}

static void flush_from_another_context(void **state)
{
	struct uvfio_ctx *a = uvfio_ctx_new(loop), *b = uvfio_ctx_new(loop);
	struct probe p = {.work.fn = probe_run, .ctx = b};
	struct nested n = {.work.fn = nested_run, .other = b, .probe = &p};
	struct self_poster busy = {{.fn = post_self}, b};

	sem_init(&n.sem, 0, 0);
	uvfio_ctx_post(b, &busy.work); /* b is never idle */
	uvfio_ctx_post(a, &n.work);
	sem_wait(&n.sem);
	assert_int_equal(n.seen, 100);
	atomic_store(&busy.stop, true);
	uvfio_ctx_flush(b); /* a run that saw no stop has posted for the last time */
	uvfio_ctx_free(a);
	uvfio_ctx_free(b);
	sem_destroy(&n.sem);
}

/* A context that always has something to do leaves time to the others, their timers included. */
static void signal_sem(void *arg)
{
	sem_post(arg);
}

static void busy_context_starves_nobody(void **state)
{
	struct uvfio_ctx *a = uvfio_ctx_new(loop), *b = uvfio_ctx_new(loop);
	struct self_poster busy = {{.fn = post_self}, a};
	sem_t sem;
	struct probe p = {.work.fn = probe_run, .ctx = b, .sem = &sem};
	struct uvfio_timer *timer = uvfio_ctx_timer_new(b, signal_sem, &sem);

	sem_init(&sem, 0, 0);
	uvfio_ctx_post(a, &busy.work);
	for (int i = 0; i < 100; i++) {
		uvfio_ctx_post(b, &p.work);
		sem_wait(&sem);
		uvfio_timer_arm(timer, 1000);
		sem_wait(&sem);
	}
	/* The end of a bracket gives way too. */
	uvfio_defer_begin();
	uvfio_ctx_post(a, &busy.work);
	uvfio_defer_end();
	uvfio_ctx_flush(a);
	atomic_store(&busy.stop, true);
	assert_true(atomic_load(&busy.runs) > 100);
	uvfio_timer_free(timer);
	uvfio_ctx_free(a);
	uvfio_ctx_free(b);
	sem_destroy(&sem);
}

/* The first piece of work posts to another context and to its own, and yields or not. */
struct yielder {
	struct uvfio_work first, second, others;
	struct uvfio_ctx *ctx, *other;
	bool yield;
	unsigned order[2], ran; /* 1: its own second, 2: the other's */
	sem_t sem;
};

static void yield_second(struct uvfio_work *work)
{
	struct yielder *y = (struct yielder *)((char *)work - offsetof(struct yielder, second));

	y->order[y->ran++] = 1;
	sem_post(&y->sem);
}

static void yield_others(struct uvfio_work *work)
{
	struct yielder *y = (struct yielder *)((char *)work - offsetof(struct yielder, others));

	y->order[y->ran++] = 2;
	sem_post(&y->sem);
}

static void yield_first(struct uvfio_work *work)
{
	struct yielder *y = (struct yielder *)work;

	uvfio_ctx_post(y->ctx, &y->second);
	uvfio_ctx_post(y->other, &y->others);
	if (y->yield)
		uvfio_ctx_yield(y->ctx);
}

/* All of it runs in the loop's thread, so what is behind the yield is certain. */
static void who_yields_goes_last(void **state)
{
	for (unsigned yield = 0; yield < 2; yield++) {
		struct yielder y = {.first.fn = yield_first,
				    .second.fn = yield_second,
				    .others.fn = yield_others,
				    .ctx = uvfio_ctx_new(loop),
				    .other = uvfio_ctx_new(loop),
				    .yield = yield};

		sem_init(&y.sem, 0, 0);
		uvfio_ctx_post(y.ctx, &y.first);
		sem_wait(&y.sem);
		sem_wait(&y.sem);
		uvfio_ctx_free(y.ctx);
		uvfio_ctx_free(y.other);
		assert_int_equal(y.order[0], yield ? 2 : 1);
		assert_int_equal(y.order[1], yield ? 1 : 2);
		sem_destroy(&y.sem);
	}
}

/* ---- pollers ---- */

struct poll {
	struct uvfio_ctx *ctx;
	atomic_uint calls, left; /* how often it will find something */
	atomic_bool removed, late, remove_self;
	uint64_t plain;
	sem_t sem;
};

static bool poll_some(void *arg)
{
	struct poll *p = arg;

	p->plain++;
	atomic_fetch_add(&p->calls, 1);
	if (atomic_load(&p->removed))
		atomic_store(&p->late, true);
	if (atomic_load(&p->remove_self)) {
		uvfio_ctx_set_poller(p->ctx, NULL, NULL, 0);
		atomic_store(&p->removed, true);
		sem_post(&p->sem);
		return true;
	}
	if (!atomic_load(&p->left))
		return false;
	if (atomic_fetch_sub(&p->left, 1) == 1)
		sem_post(&p->sem);
	return true;
}

static void plain_increment(struct uvfio_work *work)
{
	struct probe *p = (struct probe *)work;

	++*(uint64_t *)p->then_work;
}

static void poller_polls_sleeps_and_goes(void **state)
{
	struct poll p = {.ctx = uvfio_ctx_new(loop)};
	struct timespec ts = {0, 100 * 1000 * 1000};
	struct probe inc = {.work.fn = plain_increment, .then_work = (void *)&p.plain};
	unsigned before;
	uint64_t start;

	sem_init(&p.sem, 0, 0);
	atomic_store(&p.left, 1000);
	uvfio_ctx_set_poller(p.ctx, poll_some, &p, 2000);
	sem_wait(&p.sem);
	for (int i = 0; i < 1000; i++) { /* serialised with the context's work */
		uvfio_ctx_post(p.ctx, &inc.work);
		uvfio_ctx_flush(p.ctx);
	}
	/* Nothing comes: calls become rare.  Time itself is what the test waits for. */
	nanosleep(&ts, NULL);
	before = atomic_load(&p.calls);
	start = uvfio_now_ns();
	nanosleep(&ts, NULL);
	/* One every 2 ms, and some room. */
	assert_in_range(atomic_load(&p.calls) - before, 1, (uvfio_now_ns() - start) / 2000000 + 20);
	/* It comes back to life by what it finds. */
	atomic_store(&p.left, 1000);
	sem_wait(&p.sem);
	uvfio_ctx_set_poller(p.ctx, NULL, NULL, 0);
	atomic_store(&p.removed, true);
	uvfio_ctx_flush(p.ctx);
	assert_false(atomic_load(&p.late));
	uvfio_ctx_free(p.ctx);
	sem_destroy(&p.sem);
}

static void poller_set_and_removed_again_and_again(void **state)
{
	struct poll p = {.ctx = uvfio_ctx_new(loop)};

	sem_init(&p.sem, 0, 0);
	for (int i = 0; i < 500; i++) {
		atomic_store(&p.removed, false);
		atomic_store(&p.left, 1);
		uvfio_ctx_set_poller(p.ctx, poll_some, &p, i % 3 * 50);
		if (i % 2)
			sem_wait(&p.sem);
		uvfio_ctx_set_poller(p.ctx, NULL, NULL, 0);
		atomic_store(&p.removed, true);
		if (!(i % 2))
			while (!sem_trywait(&p.sem))
				;
	}
	assert_false(atomic_load(&p.late));
	/* From within, and freed with the poller in place. */
	atomic_store(&p.removed, false);
	atomic_store(&p.remove_self, true);
	uvfio_ctx_set_poller(p.ctx, poll_some, &p, 0);
	sem_wait(&p.sem);
	atomic_store(&p.remove_self, false);
	uvfio_ctx_flush(p.ctx);
	assert_false(atomic_load(&p.late));
	atomic_store(&p.removed, false);
	atomic_store(&p.left, 1);
	uvfio_ctx_set_poller(p.ctx, poll_some, &p, 0);
	uvfio_ctx_free(p.ctx);
	atomic_store(&p.removed, true);
	assert_false(atomic_load(&p.late));
	sem_destroy(&p.sem);
}

static void drain_pipe(void *arg)
{
	int *fd = arg;
	char c;

	assert_int_equal(read(fd[0], &c, 1), 1);
	sem_post((sem_t *)(fd + 2));
}

/* A poller that spins for ever, and one that sleeps long, on the loop of timers and watches. */
static void poller_lives_with_timers_and_watches(void **state)
{
	struct poll spin = {.ctx = uvfio_ctx_new(loop)}, lazy = {.ctx = uvfio_ctx_new(loop)};
	struct uvfio_ctx *ctx = uvfio_ctx_new(loop);
	struct {
		int fd[2];
		sem_t sem;
	} pipe_sem;
	struct uvfio_timer *timer;
	struct uvfio_watch *watch;

	sem_init(&pipe_sem.sem, 0, 0);
	assert_int_equal(pipe(pipe_sem.fd), 0);
	assert_ptr_equal(&pipe_sem.sem, (sem_t *)(pipe_sem.fd + 2));
	uvfio_ctx_set_poller(lazy.ctx, poll_some, &lazy, 3600u * 1000 * 1000);
	for (int spinning = 0; spinning < 2; spinning++) {
		if (spinning)
			uvfio_ctx_set_poller(spin.ctx, poll_some, &spin, 0);
		timer = uvfio_ctx_timer_new(ctx, signal_sem, &pipe_sem.sem);
		watch = uvfio_watch_new(ctx, pipe_sem.fd[0], drain_pipe, &pipe_sem);
		assert_non_null(watch);
		for (int i = 0; i < 50; i++) {
			assert_int_equal(write(pipe_sem.fd[1], "x", 1), 1);
			sem_wait(&pipe_sem.sem);
			uvfio_timer_arm(timer, 100000);
			sem_wait(&pipe_sem.sem);
		}
		uvfio_timer_free(timer);
		uvfio_ctx_flush(ctx);
		uvfio_watch_free(watch);
	}
	assert_true(atomic_load(&spin.calls) > 100);
	uvfio_ctx_free(spin.ctx);
	uvfio_ctx_free(lazy.ctx);
	uvfio_ctx_free(ctx);
	close(pipe_sem.fd[0]);
	close(pipe_sem.fd[1]);
	sem_destroy(&pipe_sem.sem);
}

static void idle_loop_uses_no_cpu(void **state)
{
	struct uvfio_ctx *ctx = uvfio_ctx_new(loop);
	struct uvfio_timer *timer = uvfio_ctx_timer_new(ctx, signal_sem, NULL);
	struct timespec ts = {0, 200 * 1000 * 1000};
	struct probe p = {.work.fn = probe_run, .ctx = ctx};
	struct idle_mark mark;

	uvfio_timer_arm(timer, 3600ull * 1000000000u);
	uvfio_ctx_post(ctx, &p.work);
	uvfio_ctx_flush(ctx);
	nanosleep(&ts, NULL);
	mark = idle_mark();
	nanosleep(&ts, NULL);
	assert_true(idle_since(mark));
	uvfio_timer_free(timer);
	uvfio_ctx_free(ctx);
}

int main(void)
{
#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(every_post_runs_exactly_once),
		TEST(work_runs_in_order),
		TEST(bracket_runs_here_at_its_end),
		TEST(loop_runs_what_is_posted_outside),
		TEST(deferred_work_can_be_taken_over),
		TEST(more_contexts_than_a_bracket_holds),
		TEST(flush_from_another_context),
		TEST(busy_context_starves_nobody),
		TEST(who_yields_goes_last),
		TEST(poller_polls_sleeps_and_goes),
		TEST(poller_set_and_removed_again_and_again),
		TEST(poller_lives_with_timers_and_watches),
		TEST(idle_loop_uses_no_cpu),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
