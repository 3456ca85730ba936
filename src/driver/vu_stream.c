/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Messages on a stream socket.
 *
 * Descriptors come with the first byte of the message that they belong to, and the kernel ends a
 * read behind bytes that had descriptors, so what one recvmsg() brings belongs to one message, as
 * long as no more is asked for than one message: hence the hint.  A server that mixes them up only
 * confuses itself.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>
#include "driver/vu.h"

static void close_fds(struct vu_stream *s)
{
	for (unsigned i = 0; i < s->nr_fds; i++)
		close(s->fds[i]);
	s->nr_fds = 0;
}

static int take_fds(struct vu_stream *s, struct msghdr *msg)
{
	bool too_many = msg->msg_flags & MSG_CTRUNC;

	for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c; c = CMSG_NXTHDR(msg, c)) {
		unsigned nr;

		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		nr = (unsigned)((c->cmsg_len - CMSG_LEN(0)) / sizeof(int));
		for (unsigned i = 0; i < nr; i++) {
			int fd;

			memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof(int));
			if (s->nr_fds < VFIO_USER_MAX_FDS) {
				s->fds[s->nr_fds++] = fd;
			} else {
				close(fd);
				too_many = true;
			}
		}
	}
	return too_many ? -EPROTO : 0;
}

static int receive_some(struct vu_stream *s, size_t want)
{
	union {
		struct cmsghdr align;
		char space[CMSG_SPACE(VFIO_USER_MAX_FDS * sizeof(int))];
	} control;
	struct iovec iov = {.iov_base = s->buf + s->have, .iov_len = want};
	struct msghdr msg = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = &control,
		.msg_controllen = sizeof(control),
	};
	ssize_t n;
	int ret;

	do
		n = recvmsg(s->fd, &msg, MSG_CMSG_CLOEXEC);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return errno == EAGAIN || errno == EWOULDBLOCK ? -ETIMEDOUT : -ENOTCONN;
	ret = msg.msg_controllen ? take_fds(s, &msg) : 0;
	if (!n)
		return -ENOTCONN;
	s->have += (size_t)n;
	return ret;
}

static int grow(struct vu_stream *s, size_t size)
{
	uint8_t *more;

	if (size <= s->size)
		return 0;
	if (size < 4096)
		size = 4096;
	more = realloc(s->buf, size);
	if (!more)
		return -ENOMEM;
	s->buf = more;
	s->size = size;
	return 0;
}

static time_t seconds(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec;
}

int vu_stream_receive(struct vu_stream *s, size_t hint, struct vfio_user_header *h)
{
	int ret = grow(s, hint);
	time_t begun;

	while (!ret && s->have < sizeof(*h))
		ret = receive_some(s, (hint > sizeof(*h) ? hint : sizeof(*h)) - s->have);
	if (ret)
		return ret;
	memcpy(h, s->buf, sizeof(*h));
	if (h->size < sizeof(*h) || h->size > VU_MAX_MESSAGE)
		return -EPROTO;
	if (s->have >= h->size)
		return 0;
	/* The socket's own timeout starts anew with each byte that comes. */
	begun = seconds();
	ret = grow(s, h->size);
	while (!ret && s->have < h->size) {
		ret = receive_some(s, h->size - s->have);
		if (!ret && s->timeout && seconds() - begun > (time_t)s->timeout)
			ret = -ETIMEDOUT;
	}
	return ret;
}

void vu_stream_next(struct vu_stream *s, const struct vfio_user_header *h)
{
	close_fds(s);
	s->have -= h->size;
	if (s->have)
		memmove(s->buf, s->buf + h->size, s->have);
}

void vu_stream_fini(struct vu_stream *s)
{
	close_fds(s);
	if (s->fd >= 0)
		close(s->fd);
	s->fd = -1;
	free(s->buf);
	s->buf = NULL;
	s->size = s->have = 0;
}
