/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A socket as a stream of messages: what goes out.
 *
 * Sending.  Replies to what came in with one receive are gathered and sent at once.  What the
 * client does not take is queued; the owner stops handling commands while there are replies in the
 * queue, so it holds little more than one.  DMA messages take the same way: they may be taken back
 * as long as no byte of them was sent.
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

static uint32_t batched(const struct wire_stream *s)
{
	return atomic_load_explicit(&s->batched, memory_order_relaxed);
}

static void set_batched(struct wire_stream *s, uint32_t bytes)
{
	atomic_store_explicit(&s->batched, bytes, memory_order_relaxed);
}

static bool flag(const atomic_bool *flag)
{
	return atomic_load_explicit(flag, memory_order_relaxed);
}

void wire_out_free(struct wire_out *out)
{
	for (unsigned i = 0; i < out->nr_fds; i++)
		close(out->fds[i]);
	free(out);
}

/* ---- stream->lock is held ---- */

/* As bare_recvmsg() in stream.c. */
static ssize_t bare_send(int fd, const struct iovec *iov)
{
	const int flags = MSG_DONTWAIT | MSG_NOSIGNAL;

#ifdef UVFIO_TSAN
	return send(fd, iov->iov_base, iov->iov_len, flags);
#else
	return syscall(SYS_sendto, fd, iov->iov_base, iov->iov_len, flags, NULL, 0);
#endif
}

static ssize_t send_iov(struct wire_stream *s, struct iovec *iov, int nr, const int *fds,
			unsigned nr_fds)
{
	union wire_control control;
	struct msghdr m = {.msg_iov = iov, .msg_iovlen = (size_t)nr};
	struct cmsghdr *c;
	ssize_t n;

	if (nr_fds) {
		m.msg_control = control.bytes;
		m.msg_controllen = CMSG_SPACE(sizeof(int) * nr_fds);
		c = CMSG_FIRSTHDR(&m);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(sizeof(int) * nr_fds);
		memcpy(CMSG_DATA(c), fds, sizeof(int) * nr_fds);
	}
	do {
		n = nr == 1 && !nr_fds ? bare_send(s->fd, iov)
				       : sendmsg(s->fd, &m, MSG_DONTWAIT | MSG_NOSIGNAL);
	} while (n < 0 && errno == EINTR);
	if (n < 0) {
		if (errno == EAGAIN || errno == EWOULDBLOCK)
			return 0;
		s->failed = true;
		return -EPIPE;
	}
	atomic_fetch_add_explicit(s->bytes_out, (uint64_t)n, memory_order_relaxed);
	return n;
}

/* Queue what is left of [@head, @tail) after @sent bytes.  @copy: the tail too. */
static int enqueue(struct wire_stream *s, const struct iovec *iov, int nr, size_t sent,
		   struct iommu_peer_msg *dma, const void *tail, size_t tail_len, const int *fds,
		   unsigned nr_fds)
{
	size_t len = 0, at = 0;
	struct wire_out *out;

	for (int i = 0; i < nr; i++)
		len += iov[i].iov_len;
	out = malloc(sizeof(*out) + nr_fds * sizeof(int) + len);
	if (!out) {
		s->failed = true; /* a message cut off in the middle would be worse */
		return -ENOMEM;
	}
	*out = (struct wire_out){.dma = dma, .len = len, .off = sent};
	out->tail = tail;
	out->tail_len = tail_len;
	out->nr_fds = nr_fds;
	out->fds = (int *)(out + 1);
	out->data = (uint8_t *)(out->fds + nr_fds);
	if (nr_fds)
		memcpy(out->fds, fds, nr_fds * sizeof(int));
	for (int i = 0; i < nr; i++) {
		if (iov[i].iov_len)
			memcpy(out->data + at, iov[i].iov_base, iov[i].iov_len);
		at += iov[i].iov_len;
	}
	TAILQ_INSERT_TAIL(&s->outs, out, next);
	if (!dma)
		s->queued += len;
	s->want_write = true;
	return 0;
}

/* Send the queue as far as it goes.  1: it is empty. */
static int send_queue(struct wire_stream *s)
{
	struct wire_out *out;

	while ((out = TAILQ_FIRST(&s->outs))) {
		struct iovec iov[2];
		int nr = 0;
		ssize_t n;

		if (out->off < out->len)
			iov[nr++] = (struct iovec){out->data + out->off, out->len - out->off};
		if (out->tail_len) {
			size_t skip = out->off > out->len ? out->off - out->len : 0;

			iov[nr++] = (struct iovec){(uint8_t *)(uintptr_t)out->tail + skip,
						   out->tail_len - skip};
		}
		n = send_iov(s, iov, nr, out->fds, out->off ? 0 : out->nr_fds);
		if (n < 0)
			return (int)n;
		if (!n)
			return 0;
		out->off += (size_t)n;
		if (out->off < out->len + out->tail_len)
			continue;
		TAILQ_REMOVE(&s->outs, out, next);
		if (!out->dma)
			s->queued -= out->len;
		wire_out_free(out);
	}
	s->want_write = false;
	return 1;
}

static int flush_locked(struct wire_stream *s)
{
	struct iovec iov = {s->batch, batched(s)};
	ssize_t n;
	int ret;

	if (flag(&s->failed))
		return -EPIPE;
	if (flag(&s->want_write)) {
		ret = send_queue(s);
		if (ret < 0)
			return ret;
	}
	if (!iov.iov_len)
		return 0;
	n = flag(&s->want_write) ? 0 : send_iov(s, &iov, 1, NULL, 0);
	if (n < 0)
		return (int)n;
	set_batched(s, 0);
	if ((size_t)n == iov.iov_len)
		return 0;
	return enqueue(s, &iov, 1, (size_t)n, NULL, NULL, 0, NULL, 0);
}

/* ---- */

int wire_stream_flush(struct wire_stream *s)
{
	int ret;

	/* What another thread queues or sends meanwhile is its own to look after. */
	if (!batched(s) && !flag(&s->want_write))
		return flag(&s->failed) ? -EPIPE : 0;
	pthread_mutex_lock(&s->lock);
	ret = flush_locked(s);
	pthread_mutex_unlock(&s->lock);
	return ret;
}

static void close_all(const int *fds, unsigned nr)
{
	for (unsigned i = 0; i < nr; i++)
		close(fds[i]);
}

/* A message that is not gathered: large, or with fds. */
static int reply_now(struct wire_stream *s, struct iovec *iov, int nr, size_t len, const int *fds,
		     unsigned nr_fds)
{
	ssize_t n;
	int ret;

	/* What was gathered goes first, with it when nothing else is in the way. */
	if (s->want_write || nr_fds) {
		ret = flush_locked(s);
		if (ret < 0) {
			close_all(fds, nr_fds);
			return ret;
		}
	}
	iov[0] = (struct iovec){s->batch, batched(s)};
	len += iov[0].iov_len;
	set_batched(s, 0);
	n = s->want_write ? 0 : send_iov(s, iov, nr, fds, nr_fds);
	ret = n < 0 ? (int)n : 0;
	if (n) { /* the fds have gone with the first byte, or will not go */
		close_all(fds, nr_fds);
		nr_fds = 0;
	}
	if (!ret && (size_t)n < len) {
		ret = enqueue(s, iov, nr, (size_t)n, NULL, NULL, 0, fds, nr_fds);
		if (ret)
			close_all(fds, nr_fds);
	}
	return ret;
}

int wire_stream_reply(struct wire_stream *s, const struct vfio_user_header *hdr, const void *fixed,
		      size_t fixed_len, const void *data, size_t data_len, const int *fds,
		      unsigned nr_fds)
{
	size_t len = HEADER + fixed_len + data_len;
	int ret = 0;

	pthread_mutex_lock(&s->lock);
	if (s->failed) {
		close_all(fds, nr_fds);
		ret = -EPIPE;
	} else if (!nr_fds && len <= WIRE_OUT_BATCH) {
		uint8_t *to;

		if (len > WIRE_OUT_BATCH - batched(s))
			ret = flush_locked(s);
		if (!ret) {
			to = s->batch + batched(s);
			memcpy(to, hdr, HEADER);
			if (fixed_len)
				memcpy(to + HEADER, fixed, fixed_len);
			if (data_len)
				memcpy(to + HEADER + fixed_len, data, data_len);
			set_batched(s, batched(s) + (uint32_t)len);
		}
	} else {
		struct iovec iov[4] = {
			{NULL, 0},
			{(void *)(uintptr_t)hdr, HEADER},
			{(void *)(uintptr_t)fixed, fixed_len},
			{(void *)(uintptr_t)data, data_len},
		};

		ret = reply_now(s, iov, 4, len, fds, nr_fds);
	}
	pthread_mutex_unlock(&s->lock);
	return ret;
}

int wire_stream_dma(struct wire_stream *s, struct iommu_peer_msg *dma, const void *head,
		    size_t head_len, const void *tail, size_t tail_len)
{
	struct iovec iov[3];
	ssize_t n = 0;
	int ret;

	pthread_mutex_lock(&s->lock);
	ret = s->failed ? -EPIPE : flush_locked(s);
	iov[0] = (struct iovec){(void *)(uintptr_t)head, head_len};
	iov[1] = (struct iovec){(void *)(uintptr_t)tail, tail_len};
	if (!ret && !s->want_write) {
		n = send_iov(s, iov, tail_len ? 2 : 1, NULL, 0);
		if (n < 0)
			ret = (int)n;
	}
	if (!ret && (size_t)n < head_len + tail_len) {
		ret = enqueue(s, iov, 1, (size_t)n, dma, tail, tail_len, NULL, 0);
		ret = ret ? ret : 1;
	}
	pthread_mutex_unlock(&s->lock);
	return ret;
}

static struct wire_out *find_dma(struct wire_stream *s, const struct iommu_peer_msg *dma)
{
	struct wire_out *out;

	TAILQ_FOREACH(out, &s->outs, next)
	{
		if (out->dma == dma)
			return out;
	}
	return NULL;
}

bool wire_stream_dma_cancel(struct wire_stream *s, struct iommu_peer_msg *dma)
{
	struct wire_out *out;
	bool unsent;

	pthread_mutex_lock(&s->lock);
	out = find_dma(s, dma);
	unsent = out && !out->off;
	if (unsent) {
		TAILQ_REMOVE(&s->outs, out, next);
		wire_out_free(out);
	}
	pthread_mutex_unlock(&s->lock);
	return unsent;
}

bool wire_stream_dma_queued(struct wire_stream *s, struct iommu_peer_msg *dma)
{
	bool ret;

	pthread_mutex_lock(&s->lock);
	ret = find_dma(s, dma) != NULL;
	pthread_mutex_unlock(&s->lock);
	return ret;
}

void wire_stream_shut(struct wire_stream *s)
{
	struct wire_out *out, *next;

	pthread_mutex_lock(&s->lock);
	s->failed = true;
	for (out = TAILQ_FIRST(&s->outs); out; out = next) {
		next = TAILQ_NEXT(out, next);
		if (!out->dma)
			continue;
		TAILQ_REMOVE(&s->outs, out, next);
		wire_out_free(out);
	}
	pthread_mutex_unlock(&s->lock);
	/* That would end it for the other process, too. */
	if (!s->lent)
		shutdown(s->fd, SHUT_RDWR);
}

size_t wire_stream_queued(struct wire_stream *s)
{
	return atomic_load_explicit(&s->queued, memory_order_relaxed);
}
