/* SPDX-License-Identifier: BSD-3-Clause */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>
#include "uapi/pump.h"

#define PACKET (128u << 10) /* bytes: more than any request or answer */

/* Forked from a process with threads: only calls that signal handlers may make. */
static _Noreturn void pump(int fuse, int sock, pid_t parent)
{
	static uint8_t packet[PACKET];

	prctl(PR_SET_NAME, "uvfio-sysfs");
	if (prctl(PR_SET_PDEATHSIG, SIGKILL) || getppid() != parent)
		_exit(1);
	for (;;) {
		struct pollfd fds[2] = {{fuse, POLLIN, 0}, {sock, POLLIN, 0}};
		ssize_t n;

		if (poll(fds, 2, -1) < 0)
			continue;
		if (fds[0].revents) {
			n = read(fuse, packet, sizeof(packet));
			/* ENOENT, EINTR: a request was taken back. */
			if (n < 0 && errno != ENOENT && errno != EINTR && errno != EAGAIN)
				_exit(0);
			if (n > 0 && send(sock, packet, (size_t)n, MSG_NOSIGNAL) != n)
				_exit(0);
		}
		if (fds[1].revents) {
			n = recv(sock, packet, sizeof(packet), 0);
			if (n <= 0)
				_exit(0);
			/* It fails when nobody waits for this answer any more. */
			(void)!write(fuse, packet, (size_t)n);
		}
	}
}

int uapi_pump_start(int fuse, int *sock, pid_t *pid)
{
	const pid_t parent = getpid();
	int pair[2], ret = 0;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair)) {
		ret = -errno;
		close(fuse);
		return ret;
	}
	*pid = fork();
	if (*pid == 0) {
		/* Nothing else is to stay open because of us. */
		const int from = fcntl(fuse, F_DUPFD, 10), to = fcntl(pair[1], F_DUPFD, 10);

		if (dup2(from, 3) == 3 && dup2(to, 4) == 4) {
			close_range(5, ~0u, 0);
			close_range(0, 2, 0);
			pump(3, 4, parent);
		}
		_exit(1);
	}
	ret = *pid < 0 ? -errno : 0;
	close(fuse);
	close(pair[1]);
	if (ret)
		close(pair[0]);
	else
		*sock = pair[0];
	return ret;
}
