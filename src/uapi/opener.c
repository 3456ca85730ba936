/* SPDX-License-Identifier: BSD-3-Clause */
#include <errno.h>
#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>
#include "base/fd.h"
#include "uapi/opener.h"

struct question {
	uint64_t name;
	int32_t flags;
};

/* Forked from a process with threads: only calls that signal handlers may make. */
static void number(uint64_t n, char out[24])
{
	char digits[24];
	unsigned len = 0;

	do
		digits[len++] = (char)('0' + n % 10);
	while (n /= 10);
	while (len)
		*out++ = digits[--len];
	*out = '\0';
}

static _Noreturn void serve(int mount, int sock)
{
	const uint8_t byte = 0;
	struct iovec hello = {(void *)(uintptr_t)&byte, 1};

	prctl(PR_SET_NAME, "uvfio-opener");
	if (uvfio_packet_send(sock, &hello, 1, -1))
		_exit(0);
	for (;;) {
		struct question q;
		struct iovec in = {&q, sizeof(q)};
		int32_t result;
		struct iovec out = {&result, sizeof(result)};
		char name[24];
		int fd;

		if (uvfio_packet_receive(sock, &in, 1, sizeof(q), NULL) <= 0)
			_exit(0);
		number(q.name, name);
		fd = openat(mount, name, q.flags | O_CLOEXEC | O_NOFOLLOW);
		result = fd < 0 ? -errno : 0;
		if (uvfio_packet_send(sock, &out, 1, fd))
			_exit(0);
		if (fd >= 0)
			close(fd);
	}
}

int uapi_opener_start(int mount, int *sock, pid_t *pid)
{
	uint8_t byte;
	struct iovec hello = {&byte, 1};
	int pair[2];

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair))
		return -errno;
	*pid = fork();
	if (*pid == 0) {
		/* Nothing else is to stay open because of us. */
		const int from = fcntl(mount, F_DUPFD, 10), to = fcntl(pair[1], F_DUPFD, 10);

		if (dup2(from, 3) == 3 && dup2(to, 4) == 4) {
			close_range(5, ~0u, 0);
			close_range(0, 2, 0);
			serve(3, 4);
		}
		_exit(1);
	}
	if (*pid < 0) {
		int ret = -errno;

		close(pair[1]);
		close(pair[0]);
		return ret;
	}
	close(pair[1]);
	/* Until then it has what was open here for a moment, descriptors for the program too. */
	if (uvfio_packet_receive(pair[0], &hello, 1, 1, NULL) != 1) {
		close(pair[0]);
		return -EIO;
	}
	*sock = pair[0];
	return 0;
}

int uapi_opener_open(int sock, uint64_t name, int flags)
{
	const struct question q = {name, flags};
	const struct iovec out = {(void *)(uintptr_t)&q, sizeof(q)};
	int32_t result = -EIO;
	const struct iovec in = {&result, sizeof(result)};
	int fd = -1, ret = uvfio_packet_send(sock, &out, 1, -1);
	ssize_t n;

	if (ret)
		return ret;
	n = uvfio_packet_receive(sock, &in, 1, sizeof(result), &fd);
	if (n == (ssize_t)sizeof(result) && !result && fd >= 0)
		return fd;
	if (fd >= 0)
		close(fd);
	return n == (ssize_t)sizeof(result) && result < 0 ? result : -EIO;
}
