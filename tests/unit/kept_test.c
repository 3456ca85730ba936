/* SPDX-License-Identifier: BSD-3-Clause */
/* src/uapi/kept.c: the program's eventfds, kept from their making. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include "uapi/kept.h"
#include "uapi/task.h"

static unsigned open_fds(void)
{
	DIR *dir = opendir("/proc/self/fd");
	unsigned n = 0;

	assert_non_null(dir);
	while (readdir(dir))
		n++;
	closedir(dir);
	return n;
}

static unsigned long id_of(int fd)
{
	return uapi_task_eventfd_id(getpid(), fd);
}

static void made_and_found(void **state)
{
	struct uapi_kept *kept = uapi_kept_new();
	int fd = uapi_kept_make(kept, 3, EFD_NONBLOCK), copy, other = eventfd(0, 0);
	uint64_t count = 0;

	assert_true(fd >= 0);
	copy = uapi_kept_get(kept, id_of(fd));
	assert_true(copy >= 0);
	assert_int_equal(read(copy, &count, sizeof(count)), sizeof(count));
	assert_int_equal(count, 3);
	assert_int_equal(read(fd, &count, sizeof(count)), -1);
	assert_int_equal(errno, EAGAIN);
	/* One that was not made here; and none. */
	assert_int_equal(uapi_kept_get(kept, id_of(other)), -EPERM);
	assert_int_equal(id_of(0), 0);
	assert_int_equal(uapi_kept_make(kept, 0, 1u << 30), -EINVAL);
	close(copy);
	close(other);
	close(fd);
	uapi_kept_free(kept);
}

/* What nobody has any more is not kept for ever, what a process has is. */
static void let_go(void **state)
{
	struct uapi_kept *kept = uapi_kept_new();
	int fd = uapi_kept_make(kept, 0, 0), ready[2], status;
	unsigned long id = id_of(fd);
	const unsigned before = open_fds();
	char c;
	pid_t pid;

	assert_int_equal(pipe(ready), 0);
	pid = fork();
	if (!pid) {
		dup2(fd, 100);
		dup2(ready[1], 101);
		close_range(3, 99, 0);
		close_range(102, ~0u, 0);
		if (write(101, "x", 1) == 1)
			pause();
		_exit(0);
	}
	assert_int_equal(read(ready[0], &c, 1), 1);
	close(fd);
	for (unsigned i = 0; i < 2000; i++) {
		fd = uapi_kept_make(kept, 0, 0);
		assert_true(fd >= 0);
		close(fd);
	}
	assert_in_range(open_fds(), before, before + 300);
	fd = uapi_kept_get(kept, id);
	assert_true(fd >= 0);
	close(fd);
	kill(pid, SIGKILL);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	close(ready[0]);
	close(ready[1]);
	uapi_kept_free(kept);
}

/* What is found out is what a call gets, whether the number that is tried is open or not. */
static void refused_or_not(void **state)
{
	pid_t pid = fork();
	int status, pidfd;
	long fd;

	if (!pid) {
		close(2);
		pause();
		_exit(0);
	}
	pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
	fd = syscall(SYS_pidfd_getfd, pidfd, 1000, 0);
	assert_int_equal(fd, -1);
	assert_int_equal(uapi_kept_needed(pid), errno != EBADF);
	close(pidfd);
	kill(pid, SIGKILL);
	assert_int_equal(waitpid(pid, &status, 0), pid);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(made_and_found),
		cmocka_unit_test(let_go),
		cmocka_unit_test(refused_or_not),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
