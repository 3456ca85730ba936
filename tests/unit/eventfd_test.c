/* SPDX-License-Identifier: BSD-3-Clause */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>
#include "base/eventfd.h"

static const struct uvfio_eventfd_check slow = {.own = -1};

/* Both ways say the same. */
static void both(const struct uvfio_eventfd_check *check, int fd, bool want)
{
	assert_int_equal(uvfio_eventfd_check(check, fd), want);
	assert_int_equal(uvfio_eventfd_check(&slow, fd), want);
}

static int path_to(int fd, int flags)
{
	char path[32];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	return open(path, flags | O_CLOEXEC);
}

/* Of each kind, with and without something in it. */
static void test_eventfds(void **state)
{
	static const int flags[] = {0, EFD_NONBLOCK, EFD_SEMAPHORE, EFD_CLOEXEC};
	struct uvfio_eventfd_check check;

	uvfio_eventfd_check_init(&check);
	/* Else this tests the slow one only; kernels without AIO exist. */
	if (!check.context)
		print_message("without AIO\n");
	for (unsigned i = 0; i < 4; i++) {
		static const uint64_t counts[] = {0, 1, UINT64_MAX - 1};

		for (unsigned c = 0; c < 3; c++) {
			int fd = eventfd(0, flags[i] | EFD_NONBLOCK);
			uint64_t value = counts[c];

			assert_int_equal(write(fd, &value, sizeof(value)), sizeof(value));
			for (unsigned n = 0; n < 100; n++)
				both(&check, fd, true);
			value = 0;
			if (!counts[c]) {
				assert_int_equal(read(fd, &value, sizeof(value)), -1);
			} else {
				assert_int_equal(read(fd, &value, sizeof(value)), sizeof(value));
				assert_int_equal(value, flags[i] == EFD_SEMAPHORE ? 1 : counts[c]);
			}
			close(fd);
		}
	}
	uvfio_eventfd_check_fini(&check);
	uvfio_eventfd_check_fini(&check);
}

/* Who waits for it is not woken. */
static void test_nobody_is_told(void **state)
{
	struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLET};
	struct uvfio_eventfd_check check;
	int fd = eventfd(0, 0), ep = epoll_create1(0);

	uvfio_eventfd_check_init(&check);
	assert_int_equal(epoll_ctl(ep, EPOLL_CTL_ADD, fd, &event), 0);
	assert_int_equal(epoll_wait(ep, &event, 1, 0), 1); /* it can be written */
	both(&check, fd, true);
	assert_int_equal(epoll_wait(ep, &event, 1, 0), 0);
	close(ep);
	close(fd);
	uvfio_eventfd_check_fini(&check);
}

/* Whatever a client may hand in instead; what they hold is what they held. */
static void test_other_files(void **state)
{
	struct itimerspec expired = {.it_value.tv_nsec = 1};
	struct uvfio_eventfd_check check;
	int pipes[2], sockets[2], closed, event = eventfd(0, 0), io_params[30] = {0};
	int fds[32], n = 0, timer;
	struct pollfd pfd;
	sigset_t none;
	char c = 'x';

	sigemptyset(&none);
	assert_int_equal(pipe(pipes), 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, sockets), 0);
	fds[n++] = timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK);
	fds[n++] = signalfd(-1, &none, 0);
	fds[n++] = epoll_create1(0);
	fds[n++] = inotify_init1(0);
	fds[n++] = memfd_create("anon_inode:[eventfd]", 0);
	fds[n++] = pipes[0];
	fds[n++] = pipes[1];
	fds[n++] = sockets[0];
	fds[n++] = open("/", O_RDONLY);
	fds[n++] = open("/dev/null", O_RDWR);
	fds[n++] = open("/dev/zero", O_RDWR);
	fds[n++] = open("/proc/self/mem", O_RDWR);
	fds[n++] = open("/proc/self/stat", O_RDONLY);
	fds[n++] = open("/", O_PATH);
	fds[n++] = path_to(event, O_PATH);
	fds[n++] = (int)syscall(SYS_pidfd_open, getpid(), 0);
	/* Which a kernel may lack, or refuse. */
	fds[n++] = (int)syscall(SYS_io_uring_setup, 1, io_params);
	fds[n++] = (int)syscall(SYS_userfaultfd, 1);
	fds[n++] = (int)syscall(SYS_fanotify_init, 0, O_RDONLY);
	fds[n++] = (int)syscall(SYS_perf_event_open, io_params, 0, -1, -1, 0);

	assert_int_equal(write(pipes[1], &c, 1), 1);
	assert_int_equal(write(sockets[1], &c, 1), 1);
	assert_int_equal(timerfd_settime(timer, 0, &expired, NULL), 0);
	pfd = (struct pollfd){timer, POLLIN, 0};
	assert_int_equal(poll(&pfd, 1, -1), 1);

	uvfio_eventfd_check_init(&check);
	for (int i = 0; i < n; i++)
		both(&check, fds[i], false);
	both(&check, -1, false);
	both(&check, 1 << 24, false);
	closed = dup(event);
	close(closed);
	both(&check, closed, false);
	both(&check, event, true);
	uvfio_eventfd_check_fini(&check);

	assert_int_equal(poll(&pfd, 1, 0), 1);
	assert_int_equal(read(pipes[0], &c, 1), 1);
	assert_int_equal(read(sockets[0], &c, 1), 1);
	for (int i = 0; i < n; i++) {
		if (fds[i] >= 0)
			close(fds[i]);
	}
	close(sockets[1]);
	close(event);
}

/* Pipes that nobody empties, or fills. */
static void test_never_waits(void **state)
{
	struct uvfio_eventfd_check check;
	int pipes[2];
	char page[4096] = {0};

	uvfio_eventfd_check_init(&check);
	assert_int_equal(pipe2(pipes, O_NONBLOCK), 0);
	while (write(pipes[1], page, sizeof(page)) > 0)
		;
	assert_int_equal(fcntl(pipes[1], F_SETFL, 0), 0);
	both(&check, pipes[1], false);
	close(pipes[0]);
	close(pipes[1]);
	assert_int_equal(pipe2(pipes, 0), 0);
	both(&check, pipes[0], false);
	close(pipes[0]);
	both(&check, pipes[1], false); /* and no SIGPIPE */
	close(pipes[1]);
	uvfio_eventfd_check_fini(&check);
}

/* A child does not have the context, nor does a check whose context is nobody's. */
static void test_child(void **state)
{
	struct uvfio_eventfd_check check, lost;
	int fd = eventfd(0, 0), file = open("/dev/null", O_RDWR), status;
	pid_t pid;

	uvfio_eventfd_check_init(&check);
	lost = check;
	lost.context = (unsigned long)(uintptr_t)&check;
	both(&lost, fd, true);
	both(&lost, file, false);
	pid = fork();
	if (!pid)
		_exit(!uvfio_eventfd_check(&check, fd) || uvfio_eventfd_check(&check, file));
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	uvfio_eventfd_check_fini(&check);
	close(fd);
	close(file);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_eventfds),    cmocka_unit_test(test_nobody_is_told),
		cmocka_unit_test(test_other_files), cmocka_unit_test(test_never_waits),
		cmocka_unit_test(test_child),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
