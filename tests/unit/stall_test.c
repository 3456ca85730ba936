/* SPDX-License-Identifier: BSD-3-Clause */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <cmocka.h>
#include "base/ctx.h"
#include "base/stall.h"
#include "idle.h"
#include "base/tsan.h"

static int full_eventfd(void)
{
	uint64_t count = UINT64_MAX - 1;
	int fd = eventfd(0, EFD_CLOEXEC);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, &count, sizeof(count)), sizeof(count));
	return fd;
}

static void full_counter_is_given_up(void **state)
{
	int fd = full_eventfd();
	uint64_t start, count;

	for (int i = 0; i < 5; i++) {
		start = uvfio_now_ns();
		assert_int_equal(uvfio_eventfd_signal(fd), -EAGAIN);
		assert_true(uvfio_now_ns() - start >= 10000000);
	}
	assert_int_equal(read(fd, &count, sizeof(count)), sizeof(count));
	assert_true(count == UINT64_MAX - 1);
	assert_int_equal(uvfio_eventfd_signal(fd), 0);
	assert_int_equal(read(fd, &count, sizeof(count)), sizeof(count));
	assert_int_equal(count, 1);
	close(fd);
	assert_int_equal(uvfio_eventfd_signal(fd), -EBADF);
}

/* The first signal comes before the system call has begun: the next one ends it. */
static void late_call_is_given_up_too(void **state)
{
	const uint64_t one = 1;
	int fd = full_eventfd();
	uint64_t start = uvfio_now_ns();

	uvfio_stall_enter();
	while (uvfio_now_ns() - start < 40000000)
		;
	assert_int_equal(write(fd, &one, sizeof(one)), -1);
	assert_int_equal(errno, EINTR);
	assert_true(uvfio_stall_leave());
	close(fd);
}

struct worker {
	pthread_t thread;
	int fd;
	bool stalls;
	atomic_bool *stop;
	unsigned rounds, wrong, strays;
};

static void *work(void *arg)
{
	struct worker *w = arg;
	int expected = w->stalls ? -EAGAIN : 0;

	while (!atomic_load(w->stop) || w->rounds < 3) {
		if (uvfio_eventfd_signal(w->fd) != expected)
			w->wrong++;
		/* A late signal would end this with EINTR. */
		if (w->stalls && poll(NULL, 0, 2) < 0)
			w->strays++;
		w->rounds++;
	}
	return NULL;
}

static void stalled_threads_harm_no_other(void **state)
{
	struct worker w[5] = {0};
	atomic_bool stop = false;
	struct timespec ts = {0, 300 * 1000 * 1000};

	for (int i = 0; i < 5; i++) {
		w[i].stop = &stop;
		w[i].stalls = i >= 2;
		w[i].fd = w[i].stalls ? full_eventfd() : eventfd(0, EFD_CLOEXEC);
		assert_int_equal(pthread_create(&w[i].thread, NULL, work, &w[i]), 0);
	}
	nanosleep(&ts, NULL);
	atomic_store(&stop, true);
	for (int i = 0; i < 5; i++) {
		uint64_t count;

		pthread_join(w[i].thread, NULL);
		assert_int_equal(w[i].wrong, 0);
#ifndef UVFIO_TSAN
		assert_int_equal(w[i].strays, 0);
#endif
		assert_int_equal(read(w[i].fd, &count, sizeof(count)), sizeof(count));
		assert_true(count == (w[i].stalls ? UINT64_MAX - 1 : w[i].rounds));
		close(w[i].fd);
	}
}

/* The signal is blocked everywhere in a loop's thread until it uses a bracket. */
struct in_loop {
	struct uvfio_work work;
	int fd, rc;
};

static void signal_in_loop(struct uvfio_work *wk)
{
	struct in_loop *l = (struct in_loop *)wk;

	l->rc = uvfio_eventfd_signal(l->fd);
}

static void blocked_signal_is_unblocked(void **state)
{
	struct uvfio_loop *loop = uvfio_loop_new("stall-test", NULL);
	struct uvfio_ctx *ctx = uvfio_ctx_new(loop);
	struct in_loop l = {{.fn = signal_in_loop}, full_eventfd(), 0};
	uint64_t start = uvfio_now_ns();

	uvfio_ctx_post(ctx, &l.work);
	while (uvfio_now_ns() - start < 1000000) /* leave it to the loop */
		;
	uvfio_ctx_free(ctx);
	uvfio_loop_free(loop);
	assert_int_equal(l.rc, -EAGAIN);
	close(l.fd);
}

static void watchdog_sleeps_and_wakes(void **state)
{
	int good = eventfd(0, EFD_CLOEXEC), full = full_eventfd();

	for (int i = 0; i < 2; i++) {
		struct timespec ts = {0, 300 * 1000 * 1000};
		struct idle_mark mark;

		assert_int_equal(uvfio_eventfd_signal(good), 0);
		nanosleep(&ts, NULL); /* it falls asleep */
		mark = idle_mark();
		nanosleep(&ts, NULL);
		assert_true(idle_since(mark));
		assert_int_equal(uvfio_eventfd_signal(full), -EAGAIN);
	}
	close(good);
	close(full);
}

static volatile sig_atomic_t others;

static void others_signal(int sig)
{
	others++;
}

static void signals_of_others_pass(void **state)
{
	int before = others;

	raise(SIGURG);
	assert_int_equal(others, before + 1);
}

static void child_of_a_fork_is_guarded(void **state)
{
#ifdef UVFIO_TSAN
	print_message("ThreadSanitizer has no threads after a fork\n");
	skip(); /* it does not allow threads after a fork of a process with threads */
#else
	int fd = full_eventfd(), status;
	pid_t pid = fork();

	if (!pid)
		_exit(uvfio_eventfd_signal(fd) == -EAGAIN ? 0 : 1);
	assert_true(pid > 0);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	close(fd);
#endif
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(full_counter_is_given_up),
		cmocka_unit_test(late_call_is_given_up_too),
		cmocka_unit_test(stalled_threads_harm_no_other),
		cmocka_unit_test(blocked_signal_is_unblocked),
		cmocka_unit_test(watchdog_sleeps_and_wakes),
		cmocka_unit_test(signals_of_others_pass),
		cmocka_unit_test(child_of_a_fork_is_guarded),
	};

	signal(SIGURG, others_signal);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
