/* SPDX-License-Identifier: BSD-3-Clause */
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>
#include "base/listener.h"

/* How long a killed server may take to let go of its sockets. */
#define DYING_TRIES   200
#define DYING_WAIT_NS 10000000

/* Whether the process that listens at the other end of @fd has been killed, and the kernel is still
 * about to close what it had. */
static bool listener_died(int fd)
{
	struct ucred peer;
	socklen_t len = sizeof(peer);
	char line[512], path[32], *state;
	ssize_t n;
	int stat;

	/* 0: of another PID namespace, where nothing can be known. */
	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) || peer.pid <= 0)
		return false;
	snprintf(path, sizeof(path), "/proc/%d/stat", peer.pid);
	stat = open(path, O_RDONLY | O_CLOEXEC);
	if (stat < 0)
		return errno == ENOENT;
	n = read(stat, line, sizeof(line) - 1);
	close(stat);
	if (n <= 0)
		return n == 0 || errno == ESRCH;
	line[n] = '\0';
	state = strrchr(line, ')');
	return state && (state[2] == 'Z' || state[2] == 'X');
}

int uvfio_listener_look(const struct sockaddr_un *addr)
{
	struct timespec wait = {.tv_nsec = DYING_WAIT_NS};
	int fd, ret = 0;
	bool died;

	for (int i = 0; i < DYING_TRIES; i++) {
		fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
		if (fd < 0)
			return -errno;
		ret = connect(fd, (const struct sockaddr *)addr, sizeof(*addr)) ? -errno : 0;
		died = !ret && listener_died(fd);
		close(fd);
		if (!died)
			break;
		nanosleep(&wait, NULL);
	}
	return ret;
}
