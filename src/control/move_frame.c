/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Frames: a kind, a length, and so many bytes, in little-endian.
 *
 * Nothing here waits for the other side alone: a poll ends when it does something, when the move is
 * cancelled, or when the time for it is over, which begins with each frame.  Whoever sends looks at
 * what comes at the same time: NO may.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/ctx.h"
#include "base/fd.h"
#include "control/move.h"

#define MS        1000000u /* ns */
#define LINGER_MS 1000

static void put_u32(uint8_t *at, uint32_t value)
{
	for (unsigned i = 0; i < 4; i++)
		at[i] = (uint8_t)(value >> 8 * i);
}

static uint32_t get_u32(const uint8_t *at)
{
	return (uint32_t)at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 |
	       (uint32_t)at[3] << 24;
}

/* ---- waiting ---- */

static bool too_far(const struct move *move)
{
	return atomic_load(&((struct move *)(uintptr_t)move)->progress.step) >= MOVE_GIVEN;
}

int move_check(struct move *move, struct uvfio_error *err)
{
	if (atomic_load(&move->ending))
		return uvfio_error_set(err, -ECANCELED, "the server ends");
	if (too_far(move))
		return 0;
	if (atomic_load(&move->cancelled))
		return uvfio_error_set(err, -ECANCELED, "it was cancelled");
	if (move->deadline && uvfio_now_ns() >= move->deadline)
		return uvfio_error_set(err, -ETIMEDOUT, "it was not done in the time given");
	return 0;
}

/* What a poll may wait, up to @until; -1: for ever. */
static int patience(const struct move *move, uint64_t until)
{
	uint64_t now = uvfio_now_ns(), end = until;

	if (move->deadline && !too_far(move) && (!end || move->deadline < end))
		end = move->deadline;
	if (!end)
		return -1;
	return end <= now ? 0 : (int)((end - now) / MS + 1);
}

/* 1 and what can be done with the stream; 0: not before @until; -errno. */
static int wait_for(struct move *move, short events, uint64_t until, short *can,
		    struct uvfio_error *err)
{
	struct pollfd fds[2] = {{move->fd, events, 0}, {move->cancel_fd, POLLIN, 0}};
	uint64_t count;
	int ret;

	for (;;) {
		ret = move_check(move, err);
		if (ret)
			return ret;
		ret = poll(fds, 2, patience(move, until));
		if (ret < 0 && errno != EINTR)
			return uvfio_error_set(err, -errno, "poll: %s", strerror(errno));
		if (ret > 0 && fds[0].revents) {
			*can = fds[0].revents;
			return 1;
		}
		/* One that came too late is not to be seen again. */
		if (ret > 0 && too_far(move))
			(void)!read(move->cancel_fd, &count, sizeof(count));
		if (until && uvfio_now_ns() >= until)
			return 0;
	}
}

static uint64_t stall_at(const struct move *move)
{
	return uvfio_now_ns() + (uint64_t)move->options.stall_ms * MS;
}

static int stalled(const struct move *move, const char *what, struct uvfio_error *err)
{
	return uvfio_error_set(err, -ETIMEDOUT, "the other side has not %s for %u ms", what,
			       move->options.stall_ms);
}

static int gone(struct uvfio_error *err, int error)
{
	return uvfio_error_set(err, -ENODATA, "the other side has gone%s%s", error ? ": " : "",
			       error ? strerror(error) : "");
}

/* ---- receiving ---- */

/* All of @len bytes, or -ENODATA: before @until. */
static int receive_bytes(struct move *move, void *bytes, size_t len, uint64_t until,
			 struct uvfio_error *err)
{
	uint8_t *at = bytes;

	while (len) {
		ssize_t n = read(move->fd, at, len);
		short can;
		int ret;

		if (n > 0) {
			at += n;
			len -= (size_t)n;
			continue;
		}
		if (n < 0 && errno == EINTR)
			continue;
		if (!n || errno != EAGAIN)
			return move->file && !n ? uvfio_error_set(err, -ENODATA, "the file was cut")
						: gone(err, n ? errno : 0);
		ret = wait_for(move, POLLIN, until, &can, err);
		if (ret <= 0)
			return ret ? ret : stalled(move, "sent anything", err);
	}
	return 0;
}

/* What the other side says for people: nothing else is to be in it. */
static int said_no(const uint8_t *text, size_t len, struct uvfio_error *err)
{
	char why[200];
	size_t n = 0;

	for (; n < len && n < sizeof(why) - 1; n++)
		why[n] = text[n] < ' ' || text[n] == 0x7f ? '?' : (char)text[n];
	why[n] = '\0';
	return uvfio_error_set(err, -EREMOTEIO, "the other side says: %s", why);
}

int move_frame_receive(struct move *move, unsigned may, enum move_kind *kind, void *buf,
		       size_t *len, struct uvfio_error *err)
{
	uint64_t until = move->file ? 0 : stall_at(move);
	uint8_t head[MOVE_FRAME_HEAD];
	uint32_t what;
	int ret = receive_bytes(move, head, sizeof(head), until, err);

	if (ret)
		return ret;
	what = get_u32(head);
	*len = get_u32(head + 4);
	if (what >= NR_MOVE_FRAMES || !((may | 1u << MOVE_FRAME_NO) >> what & 1))
		return uvfio_error_set(err, -EPROTO, "what comes (%u) is nothing that belongs here",
				       what);
	if (*len > MOVE_PAYLOAD_MAX)
		return uvfio_error_set(err, -EPROTO, "a frame of %zu bytes is too long", *len);
	ret = receive_bytes(move, buf, *len, until, err);
	if (ret)
		return ret;
	*kind = (enum move_kind)what;
	return what == MOVE_FRAME_NO ? said_no(buf, *len, err) : 0;
}

/* ---- sending ---- */

/* The other side says something while it is sent to: NO, or it has gone. */
static int hear_while_sending(struct move *move, struct uvfio_error *err)
{
	uint8_t head[MOVE_FRAME_HEAD], text[256];
	uint64_t until = stall_at(move);
	size_t len;
	int ret = receive_bytes(move, head, sizeof(head), until, err);

	if (ret)
		return ret;
	len = get_u32(head + 4);
	if (get_u32(head) != MOVE_FRAME_NO)
		return uvfio_error_set(err, -EPROTO, "the other side answers before it was asked");
	if (len > sizeof(text))
		len = sizeof(text);
	ret = receive_bytes(move, text, len, until, err);
	return ret ? ret : said_no(text, len, err);
}

int move_sleep(struct move *move, uint64_t ns, struct uvfio_error *err)
{
	short can;
	int ret = wait_for(move, move->file ? 0 : POLLIN, uvfio_now_ns() + ns, &can, err);

	return ret > 0 ? hear_while_sending(move, err) : ret;
}

/* What it says would be lost if it hung up and were sent to afterwards. */
int move_frame_listen(struct move *move, struct uvfio_error *err)
{
	char byte;
	ssize_t n = move->file ? -1 : recv(move->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT);

	return n < 0 ? 0 : hear_while_sending(move, err);
}

static ssize_t send_some(struct move *move, const struct iovec *iov, int nr)
{
	const struct msghdr msg = {.msg_iov = (struct iovec *)iov, .msg_iovlen = (size_t)nr};

	if (move->file)
		return write(move->fd, iov[0].iov_base, iov[0].iov_len);
	return sendmsg(move->fd, &msg, MSG_NOSIGNAL | MSG_DONTWAIT);
}

static int cannot_send(struct move *move, struct uvfio_error *err)
{
	int error = errno;

	if (move->file)
		return uvfio_error_set(err, -error, "writing the file: %s", strerror(error));
	/* It may have said why. */
	if (error == EPIPE || error == ECONNRESET)
		return hear_while_sending(move, err);
	return gone(err, error);
}

int move_frame_send(struct move *move, enum move_kind kind, const void *bytes, size_t len,
		    struct uvfio_error *err)
{
	uint8_t head[MOVE_FRAME_HEAD];
	struct iovec iov[2] = {{head, sizeof(head)}, {(void *)(uintptr_t)bytes, len}}, *at = iov;
	uint64_t until = stall_at(move);
	short can;
	int ret;

	put_u32(head, kind);
	put_u32(head + 4, (uint32_t)len);
	ret = move_check(move, err);
	if (!ret && (kind == MOVE_FRAME_DATA || kind == MOVE_FRAME_END))
		ret = move_frame_listen(move, err);
	while (!ret && at < iov + 2) {
		ssize_t n;

		if (!at->iov_len) {
			at++;
			continue;
		}
		n = send_some(move, at, (int)(iov + 2 - at));
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno != EAGAIN)
			return cannot_send(move, err);
		for (; n > 0; at++) {
			size_t part = (size_t)n < at->iov_len ? (size_t)n : at->iov_len;

			at->iov_base = (uint8_t *)at->iov_base + part;
			at->iov_len -= part;
			n -= (ssize_t)part;
			if (at->iov_len)
				break;
		}
		if (n >= 0)
			continue;
		ret = wait_for(move, POLLIN | POLLOUT, until, &can, err);
		if (!ret)
			ret = stalled(move, "taken anything", err);
		else if (ret > 0)
			ret = can & POLLIN ? hear_while_sending(move, err) : 0;
	}
	return ret;
}

/* What the other side has sent by now is thrown away, until it hangs up, for a moment: to close a
 * socket with that in it would take back what was said last. */
static void let_hear(struct move *move)
{
	uint64_t until = uvfio_now_ns() + (uint64_t)LINGER_MS * MS;
	struct pollfd pfd = {move->fd, POLLIN, 0};
	uint8_t rest[4096];
	ssize_t n = 1;

	shutdown(move->fd, SHUT_WR);
	while (n && !atomic_load(&move->ending) && uvfio_now_ns() < until) {
		if (poll(&pfd, 1, LINGER_MS) <= 0)
			return;
		n = recv(move->fd, rest, sizeof(rest), MSG_DONTWAIT);
		if (n < 0 && errno != EAGAIN && errno != EINTR)
			return;
	}
}

void move_frame_refuse(struct move *move, const char *why)
{
	size_t len = strnlen(why, 200);
	uint8_t frame[MOVE_FRAME_HEAD + 200];
	const struct iovec iov = {frame, MOVE_FRAME_HEAD + len};

	if (move->file)
		return;
	put_u32(frame, MOVE_FRAME_NO);
	put_u32(frame + 4, (uint32_t)len);
	memcpy(frame + MOVE_FRAME_HEAD, why, len);
	/* All of it or nothing that counts: who reads half of it takes it for an end. */
	if (send_some(move, &iov, 1) == (ssize_t)iov.iov_len)
		let_hear(move);
}

/* ---- a file ---- */

static int on_disk(struct move *move, const char *what, ssize_t n, size_t wanted,
		   struct uvfio_error *err)
{
	if (n == (ssize_t)wanted && !fsync(move->fd))
		return 0;
	return uvfio_error_set(err, n < 0 || n == (ssize_t)wanted ? -errno : -EIO,
			       "%s the file: %s", what,
			       n < 0 || n == (ssize_t)wanted ? strerror(errno) : "it was cut");
}

int move_file_mark(struct move *move, enum move_file word, struct uvfio_error *err)
{
	uint8_t bytes[4];

	put_u32(bytes, word);
	if (fsync(move->fd))
		return on_disk(move, "writing", -1, sizeof(bytes), err);
	return on_disk(move, "writing", pwrite(move->fd, bytes, sizeof(bytes), 12), sizeof(bytes),
		       err);
}

int move_file_begin(struct move *move, struct uvfio_error *err)
{
	uint8_t head[MOVE_FILE_HEAD] = "UVFIOSAV";
	struct stat st;

	if (uvfio_fstat(move->fd, &st))
		return uvfio_error_set(err, -errno, "the file: %s", strerror(errno));
	if (st.st_size)
		return uvfio_error_set(err, -EEXIST,
				       "the file is not empty: a device is saved into a new one");
	put_u32(head + 8, MOVE_VERSION);
	put_u32(head + 12, MOVE_FILE_PART);
	return on_disk(move, "writing", write(move->fd, head, sizeof(head)), sizeof(head), err);
}

int move_file_open(struct move *move, struct uvfio_error *err)
{
	uint8_t head[MOVE_FILE_HEAD];
	int ret = receive_bytes(move, head, sizeof(head), 0, err);

	if (ret == -ENODATA || (!ret && memcmp(head, "UVFIOSAV", 8)))
		return uvfio_error_set(err, -EINVAL, "the file holds no device of uvfio's");
	if (ret)
		return ret;
	if (get_u32(head + 8) != MOVE_VERSION)
		return uvfio_error_set(err, -EPROTO,
				       "the file is of version %u, and this server knows %u",
				       get_u32(head + 8), MOVE_VERSION);
	switch (get_u32(head + 12)) {
	case MOVE_FILE_WHOLE:
		return 0;
	case MOVE_FILE_PART:
		return uvfio_error_set(err, -EINVAL,
				       "the file was not completed: its device has stayed where "
				       "it was");
	case MOVE_FILE_TAKEN:
		if (move->options.again)
			return 0;
		return uvfio_error_set(err, -EALREADY,
				       "the device was taken out of this file already; with "
				       "--force it is taken again, as it was then");
	default:
		return uvfio_error_set(err, -EINVAL,
				       "the file was damaged: its first bytes make "
				       "no sense");
	}
}
