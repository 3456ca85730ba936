/* SPDX-License-Identifier: BSD-3-Clause */
/* What a descriptor of migration data is and answers (E.3). */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "devices/pcitest/pcitest_spec.h"
#include "migrate_client.h"
#include "support/send_fds.h"
#include "vfio/vfio_uapi.h"

static char buf[1u << 20];

static long err(long ret)
{
	return ret < 0 ? -errno : ret;
}

static int poll_now(int fd)
{
	struct pollfd p = {fd, POLLIN | POLLOUT, 0};

	return poll(&p, 1, 0) < 0 ? -errno : p.revents;
}

/* ---- what it is ---- */

static void of_no_file(int fd, int wrong)
{
	is(fcntl(fd, F_GETFD), FD_CLOEXEC, "it is close-on-exec");
	is(err(pread(fd, buf, 8, 0)), -ESPIPE, "pread: ESPIPE");
	is(err(pwrite(fd, buf, 8, 0)), -ESPIPE, "pwrite: ESPIPE");
	is(err(lseek(fd, 0, SEEK_CUR)), -ESPIPE, "lseek: ESPIPE");
	is(wrong == O_WRONLY ? put(fd, buf, 8) : get(fd, buf, 8), -EBADF,
	   "the other direction: EBADF");
	is(err((long)mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, 0)),
	   wrong == O_WRONLY ? -ENODEV : -EACCES, "it cannot be mapped");
	is(err(ioctl(fd, VFIO_DEVICE_RESET)), -ENOTTY, "another ioctl of VFIO's: ENOTTY");
	is(err(ioctl(fd, 0x5421 + 0x100, 0)), -ENOTTY, "any other ioctl: ENOTTY");
}

static void opened_again(int fd)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	is(err(open(path, O_RDONLY)), -ENXIO, "it cannot be opened again");
	is(err(open(path, O_RDWR)), -ENXIO, "nor for both");
}

static void info(int fd)
{
	struct uvfio_precopy_info p = {.argsz = sizeof(p) - 1};
	uint64_t initial, dirty;

	is(precopy_info(fd, &initial, &dirty), 0, "PRECOPY_INFO");
	ok(initial > 0, "there is something to be read first");
	is(err(ioctl(fd, UVFIO_MIG_GET_PRECOPY_INFO, &p)), -EINVAL, "argsz too small: EINVAL");
	is(err(ioctl(fd, UVFIO_MIG_GET_PRECOPY_INFO, 8)), -EFAULT, "no memory: EFAULT");
}

/* ---- waiting ---- */

struct waiter {
	int fd, kind, result;
	int said[2]; /* a pipe: it is about to wait */
};

static void *wait_for(void *arg)
{
	struct waiter *w = arg;
	struct pollfd p = {w->fd, POLLIN, 0};
	struct epoll_event event = {.events = EPOLLIN};
	int e = epoll_create1(EPOLL_CLOEXEC);
	fd_set set;

	FD_ZERO(&set);
	FD_SET(w->fd, &set);
	if (epoll_ctl(e, EPOLL_CTL_ADD, w->fd, &event))
		bail("epoll_ctl");
	(void)!write(w->said[1], "", 1);
	w->result = w->kind == 0   ? poll(&p, 1, 60000)
		    : w->kind == 1 ? select(w->fd + 1, &set, NULL, NULL, NULL)
				   : epoll_wait(e, &event, 1, 60000);
	close(e);
	return NULL;
}

/* Each in turn waits in pre-copy, where there is nothing, and is woken by STOP_COPY. */
static void waiting(struct device *a)
{
	static const char *const names[] = {"poll", "select", "epoll"};
	char what[64], byte, *bytes;
	struct waiter w;
	pthread_t thread;
	size_t len;

	for (w.kind = 0; w.kind < 3; w.kind++) {
		bytes = NULL;
		len = 0;
		w.result = -1;
		w.fd = state_set(a, PRE_COPY);
		if (w.fd < 0 || pipe(w.said))
			bail("PRE_COPY");
		get_all(w.fd, &bytes, &len);
		pthread_create(&thread, NULL, wait_for, &w);
		(void)!read(w.said[0], &byte, 1);
		state_set(a, STOP_COPY);
		pthread_join(thread, NULL);
		snprintf(what, sizeof(what), "%s waits and is woken by STOP_COPY", names[w.kind]);
		is(w.result, 1, what);
		close(w.said[0]);
		close(w.said[1]);
		close(w.fd);
		free(bytes);
		state_set(a, RUNNING);
	}
}

/* ---- copies of it ---- */

/* In another process: what it reads of @fd it writes to @to.  All, or @max bytes. */
static void child_reads(int fd, size_t max, char **bytes, size_t *len)
{
	int pair[2];
	pid_t pid;

	if (pipe(pair))
		bail("pipe");
	pid = fork();
	if (pid == 0) {
		ssize_t n = get(fd, buf, max);

		_exit(n > 0 && put_all(pair[1], buf, (size_t)n) ? 0 : 1);
	}
	close(pair[1]);
	get_all(pair[0], bytes, len);
	close(pair[0]);
	waitpid(pid, NULL, 0);
}

/* Send @fd to ourselves, and have only what comes. */
static int passed_on(int fd)
{
	char control[CMSG_SPACE(sizeof(int))], byte = 0;
	struct iovec iov = {&byte, 1};
	struct msghdr msg = {.msg_iov = &iov,
			     .msg_iovlen = 1,
			     .msg_control = control,
			     .msg_controllen = sizeof(control)};
	int pair[2], got;

	if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair) || sendmsg_fds(pair[0], &iov, 1, &fd, 1) != 1)
		bail("SCM_RIGHTS");
	close(fd);
	if (recvmsg(pair[1], &msg, MSG_CMSG_CLOEXEC) != 1)
		bail("SCM_RIGHTS");
	memcpy(&got, CMSG_DATA(CMSG_FIRSTHDR(&msg)), sizeof(got));
	close(pair[0]);
	close(pair[1]);
	return got;
}

/* By a pipe, without a copy of its own: what comes out of it goes behind *@bytes. */
static void spliced(int fd, char **bytes, size_t *len)
{
	int pair[2];
	long n;

	if (pipe(pair))
		bail("pipe");
	n = err(splice(fd, NULL, pair[1], NULL, 1000, 0));
	ok(n > 0, "splice reads it");
	close(pair[1]);
	get_all(pair[0], bytes, len);
	close(pair[0]);
}

/* And into it: how many of @len bytes. */
static long splice_in(int fd, const char *bytes, size_t len)
{
	int pair[2];
	long n = 0;

	if (pipe(pair))
		bail("pipe");
	if (write(pair[1], bytes, len) == (ssize_t)len)
		n = err(splice(pair[0], NULL, fd, NULL, len, 0));
	close(pair[0]);
	close(pair[1]);
	return n;
}

/* ---- a move ---- */

static void moved(struct device *a, struct device *b)
{
	char *bytes = NULL, half[777];
	struct iovec iov[2] = {{buf, 100}, {half, sizeof(half)}};
	uint64_t initial, dirty;
	size_t len = 0;
	int fd, copy;
	ssize_t n;

	memory_fill(a, 1);
	reg_write(a, PCITEST_SCRATCH, 0x1122334455667788, 8);
	fd = state_set(a, PRE_COPY);
	ok(fd >= 0, "PRE_COPY gives a descriptor");
	of_no_file(fd, O_WRONLY);
	opened_again(fd);
	info(fd);
	is(poll_now(fd) & POLLIN, POLLIN, "poll: there is data");
	is(get(fd, (void *)8, 4096), -EFAULT, "read to no memory: EFAULT");
	is(get(fd, buf, 0), 0, "read of 0 bytes");

	n = err(readv(fd, iov, 2));
	ok(n > 0 && n <= (ssize_t)(100 + sizeof(half)), "readv");
	bytes = malloc((size_t)n);
	memcpy(bytes, buf, n < 100 ? (size_t)n : 100);
	if (n > 100)
		memcpy(bytes + 100, half, (size_t)n - 100);
	len = (size_t)n;

	child_reads(fd, 5000, &bytes, &len);
	spliced(fd, &bytes, &len);
	copy = dup(fd);
	close(fd);
	n = get(copy, buf, 3000);
	ok(n > 0, "a copy goes on when the first one is closed");
	bytes = realloc(bytes, len + (size_t)n);
	memcpy(bytes + len, buf, (size_t)n);
	len += (size_t)n;
	fd = passed_on(copy);
	is(get_all(fd, &bytes, &len), -ENOMSG, "one that was sent does, too, up to ENOMSG");
	is(fcntl(fd, F_SETFL, O_NONBLOCK), 0, "O_NONBLOCK");
	is(get(fd, buf, sizeof(buf)), -ENOMSG, "changes nothing");
	is(poll_now(fd) & POLLIN, 0, "poll: there is no data");
	is(precopy_info(fd, &initial, &dirty), 0, "PRECOPY_INFO");
	is((long)initial, 0, "all was read once");

	is(state_set(a, STOP_COPY), -1, "STOP_COPY goes on with the same descriptor");
	is(precopy_info(fd, &initial, &dirty), -EINVAL, "PRECOPY_INFO in STOP_COPY: EINVAL");
	is(poll_now(fd) & POLLIN, POLLIN, "poll: there is data");
	is(get_all(fd, &bytes, &len), 0, "read up to the end");
	is(get(fd, buf, 8), 0, "which stays the end");
	is(poll_now(fd) & POLLIN, POLLIN, "poll says that, too");
	is(state_set(a, STOP), -1, "STOP");
	is(get(fd, buf, 8), -ENODEV, "read: ENODEV, the session has ended");
	is(precopy_info(fd, &initial, &dirty), -ENODEV, "PRECOPY_INFO: ENODEV");
	close(fd);

	fd = state_set(b, RESUMING);
	ok(fd >= 0, "RESUMING gives a descriptor");
	of_no_file(fd, O_RDONLY);
	is(poll_now(fd) & POLLOUT, POLLOUT, "poll: it can be written");
	is(put(fd, (void *)8, 4096), -EFAULT, "write from no memory: EFAULT");
	is(splice_in(fd, bytes, 300), 300, "splice writes it");
	ok(put_all(fd, bytes + 300, len - 300), "all of it is written");
	is(state_set(b, RUNNING), -1, "RUNNING");
	is(put(fd, buf, 8), -ENODEV, "write: ENODEV");
	close(fd);
	ok(memory_is(b, 1), "the BAR's contents have moved");
	ok(reg_read(b, PCITEST_SCRATCH, 8) == 0x1122334455667788, "a register has");
	is(state_set(a, RUNNING), -1, "the source goes on");
	ok(memory_is(a, 1), "and has its own");
	free(bytes);
}

void facts(struct device *a, struct device *b)
{
	struct vfio_device_feature ask = {
		.argsz = sizeof(ask),
		.flags = VFIO_DEVICE_FEATURE_PROBE | VFIO_DEVICE_FEATURE_SET |
			 VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE,
	};
	int fd;

	is(err(ioctl(a->fd, VFIO_DEVICE_FEATURE, &ask)), 0, "the device can be migrated");
	is(state_set(a, RUNNING), -1, "SET to what it is: no descriptor");
	moved(a, b);
	waiting(a);

	fd = state_set(a, STOP_COPY);
	close(fd);
	is(state_get(a), STOP_COPY, "who closes it leaves the device as it is");
	is(state_set(a, STOP_COPY), -1, "and gets no other");
	is(state_set(a, RUNNING), -1, "but can go on");
	fd = state_set(a, PRE_COPY);
	is(ioctl(a->fd, VFIO_DEVICE_RESET), 0, "a reset");
	is(get(fd, buf, 8), -ENODEV, "ends the session");
	is(state_get(a), RUNNING, "and the device runs");
	close(fd);
}
