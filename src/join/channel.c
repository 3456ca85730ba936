/* SPDX-License-Identifier: BSD-3-Clause */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>
#include "base/trash.h"
#include "join/channel.h"

int join_send(int sock, const struct join_head *head, const void *data, size_t len, const int *fds,
	      unsigned nr)
{
	char control[CMSG_SPACE(JOIN_FDS * sizeof(int))] __attribute__((aligned(8)));
	struct join_head h = *head;
	struct iovec iov[2] = {{&h, sizeof(h)}, {(void *)data, len}};
	struct msghdr msg = {.msg_iov = iov, .msg_iovlen = len ? 2 : 1};
	ssize_t n;

	if (len > JOIN_DATA || nr > JOIN_FDS)
		return -EMSGSIZE;
	h.len = (uint32_t)len;
	h.fds = nr;
	if (nr) {
		struct cmsghdr *c;

		memset(control, 0, sizeof(control));
		msg.msg_control = control;
		msg.msg_controllen = CMSG_SPACE(nr * sizeof(int));
		c = CMSG_FIRSTHDR(&msg);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(nr * sizeof(int));
		memcpy(CMSG_DATA(c), fds, nr * sizeof(int));
	}
	do {
		n = sendmsg(sock, &msg, MSG_NOSIGNAL);
	} while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : 0;
}

void join_packet_close(struct join_packet *packet)
{
	for (unsigned i = 0; i < packet->head.fds; i++) {
		if (packet->trash)
			uvfio_trash_close(packet->trash, packet->fds[i]);
		else if (packet->fds[i] >= 0)
			close(packet->fds[i]);
	}
	packet->head.fds = 0;
}

int join_packet_take(struct join_packet *packet, unsigned i)
{
	int fd = i < packet->head.fds ? packet->fds[i] : -1;

	if (fd >= 0)
		packet->fds[i] = -1;
	return fd;
}

/* All that came, so that nothing of a malformed packet stays open. */
static unsigned take_fds(struct msghdr *msg, struct uvfio_trash *trash, int *fds)
{
	unsigned nr = 0;

	for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c; c = CMSG_NXTHDR(msg, c)) {
		size_t n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);

		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		for (size_t i = 0; i < n; i++) {
			int fd;

			memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof(fd));
			if (nr < JOIN_FDS)
				fds[nr++] = fd;
			else if (trash)
				uvfio_trash_close(trash, fd);
			else
				close(fd);
		}
	}
	return nr;
}

int join_receive(int sock, struct join_packet *packet)
{
	char control[CMSG_SPACE(JOIN_FDS * sizeof(int))] __attribute__((aligned(8)));
	struct iovec iov[2] = {{&packet->head, sizeof(packet->head)},
			       {packet->data, sizeof(packet->data)}};
	struct msghdr msg = {.msg_iov = iov, .msg_iovlen = 2};
	uint32_t want;
	unsigned nr;
	ssize_t n;

	do {
		msg.msg_control = control;
		msg.msg_controllen = sizeof(control);
		n = recvmsg(sock, &msg, MSG_CMSG_CLOEXEC);
	} while (n < 0 && errno == EINTR);
	nr = n < 0 ? 0 : take_fds(&msg, packet->trash, packet->fds);
	want = n < (ssize_t)sizeof(packet->head) ? 0 : packet->head.fds;
	packet->head.fds = nr;
	if (n <= 0) {
		join_packet_close(packet);
		return -EPIPE;
	}
	if (n < (ssize_t)sizeof(packet->head) ||
	    packet->head.len != (size_t)n - sizeof(packet->head) || want != nr ||
	    msg.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) {
		join_packet_close(packet);
		return -EPROTO;
	}
	return 0;
}

bool join_is_channel(int fd)
{
	int domain = 0, type = 0;
	socklen_t len = sizeof(domain);

	if (getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &len) || domain != AF_UNIX)
		return false;
	len = sizeof(type);
	return !getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len) && type == SOCK_SEQPACKET;
}
