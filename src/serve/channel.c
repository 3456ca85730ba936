/* SPDX-License-Identifier: BSD-3-Clause */
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "serve/channel.h"

union control {
	struct cmsghdr align;
	char buf[CMSG_SPACE(sizeof(int))];
};

int serve_send(int sock, const struct serve_message *msg, const char *text, int fd)
{
	struct iovec iov[2] = {
		{(void *)msg, sizeof(*msg)},
		{(void *)text, text ? strlen(text) : 0},
	};
	struct msghdr hdr = {.msg_iov = iov, .msg_iovlen = 2};
	union control control;
	ssize_t n;

	if (iov[1].iov_len >= SERVE_MAX_TEXT)
		return -EMSGSIZE;
	memset(&control, 0, sizeof(control));
	if (fd >= 0) {
		struct cmsghdr *c;

		hdr.msg_control = control.buf;
		hdr.msg_controllen = sizeof(control.buf);
		c = CMSG_FIRSTHDR(&hdr);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(c), &fd, sizeof(int));
	}
	do {
		n = sendmsg(sock, &hdr, MSG_NOSIGNAL);
	} while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : 0;
}

int serve_receive(int sock, struct serve_message *msg, char *text, int *fd)
{
	char dropped[512];
	struct iovec iov[2] = {
		{msg, sizeof(*msg)},
		{text ? text : dropped, text ? SERVE_MAX_TEXT - 1 : sizeof(dropped)},
	};
	union control control;
	struct msghdr hdr = {.msg_iov = iov,
			     .msg_iovlen = 2,
			     .msg_control = control.buf,
			     .msg_controllen = sizeof(control.buf)};
	struct cmsghdr *c;
	ssize_t n;

	*fd = -1;
	do {
		n = recvmsg(sock, &hdr, MSG_CMSG_CLOEXEC);
	} while (n < 0 && errno == EINTR);
	if (n < 0)
		return errno == ECONNRESET ? 0 : -errno;
	if (n == 0)
		return 0;
	c = CMSG_FIRSTHDR(&hdr);
	if (c && c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS &&
	    c->cmsg_len == CMSG_LEN(sizeof(int)))
		memcpy(fd, CMSG_DATA(c), sizeof(int));
	if ((size_t)n < sizeof(*msg)) {
		if (*fd >= 0)
			close(*fd);
		*fd = -1;
		return -EPROTO;
	}
	if (text)
		text[(size_t)n - sizeof(*msg)] = '\0';
	return 1;
}
