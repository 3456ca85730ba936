/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * System calls a message: one receive, one send and at most one wait.  All that the server's
 * process does is counted, whichever of its threads does it.
 */
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include "support/count_calls.h"
#include "wire_util.h"

#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SANITIZED 1
#endif
#elif defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#endif
#ifndef SANITIZED
#define SANITIZED 0 /* else it makes calls of its own */
#endif

#define READS 200u
#define TRIES 5u /* the least of: a worker thread that has nothing to do ends once, say */

struct counted {
	int fd;
	pid_t pid;
	struct count_calls calls;
};

static void server_main(int fd)
{
	struct wire_options options;
	struct wire_fixture f;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	prctl(PR_SET_PTRACER, PR_SET_PTRACER_ANY);
	wire_options_default(&options);
	options.spin_us = 0;
	wire_up_with(&f, &options);
	assert_int_equal(wire_adopt(f.listener, fd), 0);
	for (;;)
		pause();
}

/* A client that has the device of a server in another process, whose calls are counted. */
static bool counted_up(struct counted *c)
{
	int pair[2];
	struct reply r;

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	c->fd = pair[0];
	c->pid = fork();
	assert_true(c->pid >= 0);
	if (!c->pid) {
		close(pair[0]);
		server_main(pair[1]);
	}
	close(pair[1]);
	assert_int_equal(client_version(c->fd, NULL, &r), 0);
	client_enable(c->fd);
	assert_int_equal(client_get(c->fd, W_ID), WDEV_ID);
	if (!SANITIZED && !count_calls_begin(&c->calls, c->pid))
		return true;
	kill(c->pid, SIGKILL);
	waitpid(c->pid, NULL, 0);
	return false;
}

static void counted_down(struct counted *c)
{
	count_calls_end(&c->calls);
	kill(c->pid, SIGKILL);
	waitpid(c->pid, NULL, 0);
	close(c->fd);
}

static void three_a_read(void **state)
{
	struct counted c;
	uint64_t before, recvs, sends, n, least = UINT64_MAX;

	if (!counted_up(&c))
		skip();
	for (unsigned try = 0; try < TRIES && least != 3 * READS; try++) {
		before = count_calls_settled(&c.calls);
		recvs = count_calls_of(&c.calls, SYS_recvmsg);
		sends = count_calls_of(&c.calls, SYS_sendto);
		for (unsigned i = 0; i < READS; i++)
			assert_int_equal(client_get(c.fd, W_ID), WDEV_ID);
		n = count_calls_settled(&c.calls) - before;
		least = n < least ? n : least;
		assert_int_equal(count_calls_of(&c.calls, SYS_recvmsg) - recvs, READS);
		assert_int_equal(count_calls_of(&c.calls, SYS_sendto) - sends, READS);
	}
	assert_int_equal(least, 3 * READS);
	counted_down(&c);
}

/* What arrives at once is received at once. */
static void three_for_many_posted_writes(void **state)
{
	struct {
		struct vfio_user_header hdr;
		struct vfio_user_region_access a;
		uint32_t value;
	} __attribute__((packed)) w[64];
	static struct reply r;
	struct counted c;
	uint64_t before, n, least = UINT64_MAX;

	if (!counted_up(&c))
		skip();
	for (unsigned i = 0; i < 64; i++) {
		w[i].hdr = (struct vfio_user_header){1, VFIO_USER_REGION_WRITE, sizeof(w[i]),
						     i < 63 ? VFIO_USER_NO_REPLY : 0, 0};
		w[i].a = (struct vfio_user_region_access){W_SCRATCH, 0, 4};
		w[i].value = i;
	}
	for (unsigned try = 0; try < TRIES && least != 3; try++) {
		before = count_calls_settled(&c.calls);
		assert_int_equal(send(c.fd, w, sizeof(w), 0), sizeof(w));
		assert_int_equal(client_receive(c.fd, &r), 0);
		n = count_calls_settled(&c.calls) - before;
		least = n < least ? n : least;
	}
	assert_int_equal(least, 3);
	assert_int_equal(client_get(c.fd, W_SCRATCH), 63);
	counted_down(&c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(three_a_read),
		cmocka_unit_test(three_for_many_posted_writes),
	};

	alarm(60);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
