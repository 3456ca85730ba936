/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A socket as a stream of messages: what comes in.  What goes out: stream_send.c.
 *
 * Receiving.  One receive takes what has arrived, up to the buffer: a piece of a message or many of
 * them.  The buffer starts at the start of a message.  A message that is larger than the buffer
 * gets one of its own, into which the rest of it, and no more, is received straight.
 *
 * Peeking.  To take a message out of a socket costs the kernel about as much as to look at it, and
 * who waits for an answer does not care when that is done.  So a connection that spins looks first,
 * and takes when it has answered: one system call more, and a quarter of the time less.  The bytes
 * that were looked at are those that are handled; what is taken later is thrown away (its sender
 * may have spliced pages into the socket that it writes to).
 *
 * File descriptors.  The kernel ends a receive behind the bytes that file descriptors came with,
 * so those of one receive belong to one send of the client's, the last one in it.  They are given
 * to the last message that begins in what was received (or if none does, to the one that is still
 * coming in), unless that is one which takes none and the one before it does.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>
#include "base/tsan.h"
#include "wire/wire_private.h"

#define HEADER sizeof(struct vfio_user_header)

int wire_stream_init(struct wire_stream *s, int fd, uint32_t max, struct uvfio_trash *trash,
		     _Atomic uint64_t *bytes_in, _Atomic uint64_t *bytes_out)
{
	memset(s, 0, sizeof(*s));
	s->fd = fd;
	s->max = max;
	s->trash = trash;
	s->in = malloc(WIRE_IN_BYTES);
	s->batch = malloc(WIRE_OUT_BATCH);
	s->bytes_in = bytes_in;
	s->bytes_out = bytes_out;
	TAILQ_INIT(&s->outs);
	pthread_mutex_init(&s->lock, NULL);
	return s->in && s->batch ? 0 : -ENOMEM;
}

void wire_stream_fini(struct wire_stream *s)
{
	struct wire_out *out;

	while ((out = TAILQ_FIRST(&s->outs))) {
		TAILQ_REMOVE(&s->outs, out, next);
		wire_out_free(out);
	}
	for (unsigned i = 0; i < s->nr_fds; i++)
		uvfio_trash_close(s->trash, s->fds[i]);
	if (s->fd >= 0)
		close(s->fd);
	free(s->in);
	free(s->batch);
	pthread_mutex_destroy(&s->lock);
}

/* ---- receiving ---- */

static struct vfio_user_header header_at(const struct wire_stream *s, uint32_t at)
{
	struct vfio_user_header hdr;

	memcpy(&hdr, s->in + at, sizeof(hdr));
	return hdr;
}

/* Could this be the header of a message? */
static bool plausible(const struct wire_stream *s, const struct vfio_user_header *hdr)
{
	unsigned type = hdr->flags & VFIO_USER_TYPE_MASK;

	return hdr->size >= HEADER && hdr->size <= s->max &&
	       (type == VFIO_USER_TYPE_COMMAND || type == VFIO_USER_TYPE_REPLY);
}

/* To which message do the fds belong that came with the bytes from @from on? */
static uint32_t fds_owner(const struct wire_stream *s, uint32_t from)
{
	uint32_t at = s->used, last = s->used, takes = UINT32_MAX;
	bool last_takes = true;

	while (at < s->have) {
		struct vfio_user_header hdr;

		last_takes = true;
		if (at >= from || at == s->used)
			last = at;
		if (s->have - at < HEADER)
			break;
		hdr = header_at(s, at);
		if (!plausible(s, &hdr))
			break;
		last_takes = !vfio_user_is_reply(&hdr) && wire_command_takes_fds(hdr.command);
		if (last_takes && at >= from)
			takes = at;
		at += hdr.size;
	}
	return last_takes || takes == UINT32_MAX ? last : takes;
}

static void take_fds(struct wire_stream *s, struct msghdr *m, uint32_t from)
{
	struct cmsghdr *c;
	unsigned before = s->nr_fds;

	for (c = CMSG_FIRSTHDR(m); c; c = CMSG_NXTHDR(m, c)) {
		unsigned n = (unsigned)((c->cmsg_len - CMSG_LEN(0)) / sizeof(int));
		int *fds = (int *)CMSG_DATA(c);

		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		for (unsigned i = 0; i < n; i++) {
			if (s->nr_fds < VFIO_USER_MAX_FDS) {
				s->fds[s->nr_fds++] = fds[i];
			} else {
				s->late += uvfio_trash_close(s->trash, fds[i]);
				s->bad_fds = true;
			}
		}
	}
	if (m->msg_flags & MSG_CTRUNC)
		s->bad_fds = true;
	if (s->nr_fds == before && !s->bad_fds)
		return;
	if (before && s->fds_at != fds_owner(s, from)) {
		/* Fds of an earlier message that was not handed out yet.  Cannot be: a receive with
		 * fds is handed out before the next one, but for the message still coming in. */
		s->bad_fds = true;
	}
	s->fds_at = fds_owner(s, from);
}

/* Make room for the rest of the message at the start, when it does not fit the buffer. */
static int grow(struct wire_stream *s)
{
	struct vfio_user_header hdr;
	uint8_t *big;

	if (s->big_size || s->have < HEADER)
		return 0;
	hdr = header_at(s, 0);
	if (hdr.size <= WIRE_IN_BYTES || !plausible(s, &hdr))
		return 0;
	big = realloc(s->in, hdr.size);
	if (!big)
		return -ENOMEM;
	s->in = big;
	s->big_size = hdr.size;
	return 0;
}

/* Forget what was handed out. */
static void compact(struct wire_stream *s)
{
	uint8_t *small;

	if (!s->used)
		return;
	s->have -= s->used;
	if (s->have)
		memmove(s->in, s->in + s->used, s->have);
	s->fds_at = s->fds_at > s->used ? s->fds_at - s->used : 0;
	s->used = 0;
	if (s->big_size) {
		s->big_size = 0;
		small = realloc(s->in, WIRE_IN_BYTES);
		if (small)
			s->in = small;
	}
}

/* recvmsg(2), but not as a place where the thread could be cancelled: that costs the C library two
 * locked instructions, each time that a spinning connection asks. */
static ssize_t bare_recvmsg(int fd, struct msghdr *m, int flags)
{
#ifdef UVFIO_TSAN /* which wants to see the call */
	return recvmsg(fd, m, flags);
#else
	return syscall(SYS_recvmsg, fd, m, flags);
#endif
}

/* recvmsg(2) into @iov, non-blocking. */
static ssize_t receive(const struct wire_stream *s, struct msghdr *m, int flags)
{
	ssize_t n;

	do {
		n = bare_recvmsg(s->fd, m, flags | MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	} while (n < 0 && errno == EINTR);
	return n >= 0 ? n : errno == EWOULDBLOCK ? -EAGAIN : -errno;
}

int wire_stream_take(struct wire_stream *s)
{
	struct msghdr m = {.msg_iov = &(struct iovec){s->in, s->peeked}, .msg_iovlen = 1};

	while (s->peeked) {
		ssize_t n = receive(s, &m, 0);

		if (n <= 0)
			return -EPROTO; /* somebody else reads from this socket */
		s->peeked -= (uint32_t)n;
		m.msg_iov->iov_len = s->peeked;
	}
	return 0;
}

ssize_t wire_stream_peek(struct wire_stream *s)
{
	struct iovec iov = {s->in, WIRE_IN_BYTES};
	struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1};
	struct vfio_user_header hdr;
	ssize_t n;

	if (s->peeked || s->have > s->used || s->big_size)
		return wire_stream_receive(s);
	n = receive(s, &m, MSG_PEEK);
	if (n == -EAGAIN)
		return n;
	/* Without room for fds the kernel says whether there are some. */
	if (n < (ssize_t)HEADER || m.msg_flags & MSG_CTRUNC)
		return wire_stream_receive(s);
	memcpy(&hdr, s->in, sizeof(hdr));
	if (hdr.size != n || !plausible(s, &hdr) || hdr.flags != VFIO_USER_TYPE_COMMAND)
		return wire_stream_receive(s);
	s->have = s->peeked = (uint32_t)n;
	s->used = s->fds_at = 0;
	s->cut = false;
	wire_count(s->bytes_in, (uint64_t)n);
	return n;
}

ssize_t wire_stream_receive(struct wire_stream *s)
{
	union wire_control control;
	struct iovec iov;
	struct msghdr m = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = control.bytes,
		.msg_controllen = sizeof(control.bytes),
	};
	uint32_t from;
	ssize_t n;

	if (wire_stream_late(s) || wire_stream_take(s))
		return -EPROTO;
	compact(s);
	if (grow(s))
		return -ENOMEM;
	from = s->have;
	iov.iov_base = s->in + from;
	iov.iov_len = (s->big_size ? s->big_size : WIRE_IN_BYTES) - from;
	n = receive(s, &m, 0);
	if (n < 0)
		return n;
	if (!n) {
		s->eof = true;
		return 0;
	}
	s->have += (uint32_t)n;
	wire_count(s->bytes_in, (uint64_t)n);
	s->cut = m.msg_controllen != 0;
	if (__builtin_expect(m.msg_controllen != 0 || (m.msg_flags & MSG_CTRUNC), 0))
		take_fds(s, &m, from);
	return n;
}

bool wire_stream_ready(const struct wire_stream *s)
{
	struct vfio_user_header hdr;

	if (s->have - s->used < HEADER)
		return false;
	hdr = header_at(s, s->used);
	return !plausible(s, &hdr) || s->have - s->used >= hdr.size;
}

int wire_stream_next(struct wire_stream *s, struct wire_msg *msg)
{
	uint32_t left = s->have - s->used;

	if (left < HEADER)
		return 0;
	memcpy(&msg->hdr, s->in + s->used, HEADER);
	if (!plausible(s, &msg->hdr))
		return -EPROTO;
	if (left < msg->hdr.size)
		return 0;
	msg->payload = s->in + s->used + HEADER;
	msg->len = msg->hdr.size - (uint32_t)HEADER;
	msg->nr_fds = 0;
	msg->bad_fds = false;
	msg->fds = s->fds;
	if (__builtin_expect((s->nr_fds || s->bad_fds) && s->fds_at == s->used, 0)) {
		msg->nr_fds = s->nr_fds;
		msg->bad_fds = s->bad_fds;
		s->nr_fds = 0;
		s->bad_fds = false;
	}
	s->used += msg->hdr.size;
	return 1;
}

/* ---- messages ---- */

/* FEATURE may bring a token (C), of which no copy is to stay. */
static void wire_msg_wipe(struct wire_msg *msg)
{
	if (msg->hdr.command == VFIO_USER_DEVICE_FEATURE)
		explicit_bzero(msg->payload, msg->len);
}

struct wire_msg *wire_msg_keep(struct wire_msg *msg)
{
	size_t fds = msg->nr_fds * sizeof(int);
	struct wire_msg *kept = malloc(sizeof(*kept) + fds + msg->len);

	if (!kept)
		return NULL;
	*kept = *msg;
	kept->fds = (int *)(kept + 1);
	kept->payload = (uint8_t *)(kept + 1) + fds;
	memcpy(kept->fds, msg->fds, fds);
	memcpy(kept->payload, msg->payload, msg->len);
	wire_msg_wipe(msg);
	msg->nr_fds = 0; /* they have moved */
	return kept;
}

unsigned wire_msg_close_fds(struct wire_msg *msg, struct uvfio_trash *trash)
{
	unsigned late = 0;

	for (unsigned i = 0; i < msg->nr_fds; i++)
		late += uvfio_trash_close(trash, msg->fds[i]);
	msg->nr_fds = 0;
	return late;
}

void wire_msg_free(struct wire_msg *msg, struct uvfio_trash *trash)
{
	if (!msg)
		return;
	wire_msg_close_fds(msg, trash);
	wire_msg_wipe(msg);
	free(msg);
}
