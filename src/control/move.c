/* SPDX-License-Identifier: BSD-3-Clause */
/* A move, step by step: see move.h. */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/ctx.h"
#include "base/fd.h"
#include "control/move.h"
#include "vfio/move.h"
#include "vfio/observe.h"
#include "vfio/vfio.h"

#define SOCKET_BYTES (1 << 20) /* asked for; twice net.core.wmem_max is what it may be */

static const char *const step_names[] = {
	[MOVE_HELLO] = "hello", [MOVE_COPY] = "copy",   [MOVE_STILL] = "still",
	[MOVE_READY] = "ready", [MOVE_GIVEN] = "given", [MOVE_DONE] = "done",
};
static_assert(sizeof(step_names) / sizeof(step_names[0]) == NR_MOVE_STEPS, "a name each");

const char *move_step_name(enum move_step step)
{
	return step_names[step];
}

/* A UNIX socket holds less than a frame by default, so that both sides wait for one another all the
 * time.  As much as may be, without privilege; TCP finds out by itself. */
static void widen(int fd)
{
	int domain = 0, bytes = SOCKET_BYTES;
	socklen_t len = sizeof(domain);

	if (!getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &len) && domain == AF_UNIX)
		setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &bytes, sizeof(bytes));
}

int move_init(struct move *move, struct uvfio_error *err)
{
	struct stat st;
	int flags = fcntl(move->fd, F_GETFL);

	move->cancel_fd = -1;
	if (flags < 0 || uvfio_fstat(move->fd, &st))
		return uvfio_error_set(err, -errno, "the stream: %s", strerror(errno));
	move->file = S_ISREG(st.st_mode);
	if (!move->file && !S_ISSOCK(st.st_mode))
		return uvfio_error_set(err, -EINVAL, "the stream is neither a socket nor a file");
	if (!move->file && fcntl(move->fd, F_SETFL, flags | O_NONBLOCK))
		return uvfio_error_set(err, -errno, "the stream: %s", strerror(errno));
	if (!move->file)
		widen(move->fd);
	move->cancel_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (move->cancel_fd < 0)
		return uvfio_error_set(err, -errno, "making an eventfd: %s", strerror(errno));
	if (!move->options.stall_ms)
		move->options.stall_ms = MOVE_STALL_MS;
	return 0;
}

void move_fini(struct move *move)
{
	if (move->cancel_fd >= 0)
		close(move->cancel_fd);
	move->cancel_fd = -1;
}

void move_cancel(struct move *move, bool ending)
{
	const uint64_t one = 1;

	if (ending)
		atomic_store(&move->ending, true);
	atomic_store(&move->cancelled, true);
	(void)!write(move->cancel_fd, &one, sizeof(one));
}

static void step_to(struct move *move, enum move_step step)
{
	atomic_store(&move->progress.step, step);
}

static void begin(struct move *move)
{
	uint64_t now = uvfio_now_ns();

	atomic_store(&move->progress.began_ns, now);
	if (move->options.timeout_ns)
		move->deadline = now + move->options.timeout_ns;
	step_to(move, MOVE_HELLO);
}

/* The other side hears why, if it may still be there; @ret. */
static int give_up(struct move *move, int ret, const struct uvfio_error *err)
{
	if (ret && ret != -EREMOTEIO && ret != -ENODATA)
		move_frame_refuse(move, err->msg);
	return ret;
}

/* ---- the source ---- */

struct source {
	struct move *move;
	struct vfio_move *session;
	struct move_rate rate;
	uint8_t *buf;
	uint64_t pass_bytes, pass_began; /* since the last one ended */
	bool still;
};

/* How much there is besides the @sent bytes, which just went.  While it runs, what the device said
 * when it gave the last ones; memory that is zero is left out as it is found. */
static void note_left(struct source *s, uint64_t sent)
{
	struct move_progress *p = &s->move->progress;
	uint64_t left = atomic_load(&p->left);
	struct vfio_migration_state state;

	if (atomic_load(&p->step) == MOVE_COPY) {
		vfio_device_migration_state(s->move->dev, &state);
		left = state.initial + state.dirty;
	} else {
		left = left > sent ? left - sent : 0;
	}
	atomic_store(&p->left, left);
}

/* Send what there is: 0 when that was all (it is paused), -ENOMSG for now, -errno with a message.
 */
static int copy(struct source *s, struct uvfio_error *err)
{
	struct move *move = s->move;
	size_t frame = move_rate_frame(&s->rate);

	for (;;) {
		const void *bytes = NULL;
		ssize_t n = vfio_move_lend(s->session, &bytes, frame);
		uint64_t wait;
		int ret = 0;

		if (n == 0 || n == -ENOMSG)
			return (int)n;
		if (n < 0)
			return uvfio_error_set(err, (int)n, "%s: saving its state: %s",
					       vfio_device_name(move->dev),
					       n == -ENODEV ? "it was reset or closed meanwhile"
							    : strerror((int)-n));
		while (!ret && (wait = move_rate_take(&s->rate, uvfio_now_ns(), (size_t)n)))
			ret = move_sleep(move, wait, err);
		if (!ret)
			ret = move_frame_send(move, MOVE_FRAME_DATA, bytes, (size_t)n, err);
		if (ret)
			return ret;
		note_left(s, (uint64_t)n);
		s->pass_bytes += (uint64_t)n;
		atomic_fetch_add(&move->progress.bytes, (uint64_t)n);
	}
}

/* Would @bytes be there within the time that it may be still?  As fast as the last pass was, or the
 * limit is. */
static bool fits(const struct source *s, uint64_t bytes, uint64_t pass_ns)
{
	uint64_t bandwidth = s->rate.bandwidth;
	unsigned __int128 ns;

	if (s->pass_bytes && pass_ns) {
		unsigned __int128 seen = (unsigned __int128)s->pass_bytes * 1000000000 / pass_ns;

		if (!bandwidth || seen < bandwidth)
			bandwidth = seen > UINT64_MAX ? UINT64_MAX : (uint64_t)seen;
	}
	if (!bandwidth)
		return true;
	ns = (unsigned __int128)bytes * 1000000000 / bandwidth;
	return ns <= s->move->options.downtime_ns;
}

/* While it runs, until what is left is little enough. */
static int copy_running(struct source *s, struct uvfio_error *err)
{
	struct move *move = s->move;
	struct mig_left left;
	uint64_t now, bytes;
	int ret;

	step_to(move, MOVE_COPY);
	if (vfio_move_left(s->session, &left) == -EINVAL) {
		atomic_store(&move->progress.left, vfio_move_size(s->session));
		return 0; /* it is copied only when it is still */
	}
	/* One pass is enough when nobody waits, and nobody does: it is not opened either while it
	 * leaves.  It counts for the bandwidth all the same. */
	if (!s->rate.bandwidth && vfio_move_is_idle(s->session)) {
		atomic_store(&move->progress.left, left.initial + left.dirty);
		return 0;
	}
	for (;;) {
		if (!vfio_move_left(s->session, &left))
			atomic_store(&move->progress.left, left.initial + left.dirty);
		s->pass_bytes = 0;
		s->pass_began = uvfio_now_ns();
		ret = copy(s, err);
		if (ret != -ENOMSG)
			return ret;
		atomic_fetch_add(&move->progress.passes, 1);
		now = uvfio_now_ns();
		if (vfio_move_left(s->session, &left))
			return 0; /* it was reset: the pause tells */
		bytes = left.initial + left.dirty;
		atomic_store(&move->progress.left, bytes);
		/* A pass that had nothing to do is as good as it gets. */
		if (!s->pass_bytes || fits(s, bytes, now - s->pass_began))
			return 0;
	}
}

/* Everything up to the other side's READY.  *@paused: it is still. */
static int copy_all(struct source *s, struct uvfio_error *err)
{
	struct move *move = s->move;
	uint8_t total[8];
	uint64_t bytes;
	int ret = copy_running(s, err);

	if (ret)
		return ret;
	atomic_store(&move->progress.still_ns, uvfio_now_ns());
	step_to(move, MOVE_STILL);
	/* Its user waits: from here on it goes as fast as it can. */
	s->rate.bandwidth = 0;
	ret = vfio_move_pause(s->session, err);
	if (!ret)
		ret = copy(s, err);
	if (ret)
		return ret;
	atomic_store(&move->progress.left, 0);
	bytes = atomic_load(&move->progress.bytes);
	for (unsigned i = 0; i < 8; i++)
		total[i] = (uint8_t)(bytes >> 8 * i);
	return move_frame_send(move, MOVE_FRAME_END, total, sizeof(total), err);
}

/* One answer without contents. */
static int hear(struct source *s, enum move_kind what, struct uvfio_error *err)
{
	enum move_kind kind;
	size_t len;

	return move_frame_receive(s->move, 1u << what, &kind, s->buf, &len, err);
}

static int greet(struct source *s, struct uvfio_error *err)
{
	struct move *move = s->move;
	uint8_t hello[MOVE_HELLO_BYTES];
	int ret;

	move_hello_write(move->dev, hello);
	ret = move->file ? move_file_begin(move, err) : 0;
	if (!ret)
		ret = move_frame_send(move, MOVE_FRAME_HELLO, hello, sizeof(hello), err);
	if (!ret && !move->file)
		ret = hear(s, MOVE_FRAME_WELCOME, err);
	return ret;
}

static const char doubt_text[] =
	"it is in doubt whether the other side has %s now: look there, and "
	"then say `uvfio resume %s --force` if it is here, `uvfio resume %s "
	"--gone` if not";

static int in_doubt(struct source *s, const struct uvfio_error *why, struct uvfio_error *err)
{
	const char *name = vfio_device_name(s->move->dev);
	char text[300];

	snprintf(text, sizeof(text), doubt_text, name, name, name);
	s->move->doubt = true;
	return uvfio_error_set(err, -EINPROGRESS, "%s; %s", why->msg, text);
}

/* It is ready there: hand it over.  *@how is how the session ends. */
static int hand_over(struct source *s, enum vfio_move_end *how, struct uvfio_error *err)
{
	struct move *move = s->move;
	struct uvfio_error why = {""};
	int ret = move_check(move, err);

	if (!ret)
		ret = move_frame_listen(move, err);
	if (!ret)
		ret = vfio_move_give(s->session, err);
	if (ret)
		return ret;
	step_to(move, MOVE_GIVEN);
	if (move->file) {
		ret = move_file_mark(move, MOVE_FILE_WHOLE, &why);
	} else {
		ret = move_frame_send(move, MOVE_FRAME_YOURS, NULL, 0, &why);
		if (!ret)
			ret = hear(s, MOVE_FRAME_HAVE, &why);
	}
	if (!ret) {
		*how = VFIO_MOVE_GONE;
		return 0;
	}
	if (ret == -EREMOTEIO) { /* it says that it has not taken it */
		*err = why;
		return ret;
	}
	*how = VFIO_MOVE_DOUBT;
	return in_doubt(s, &why, err);
}

static int run_source(struct source *s, enum vfio_move_end *how, struct uvfio_error *err)
{
	struct move *move = s->move;
	int ret = greet(s, err);

	if (!ret)
		ret = copy_all(s, err);
	if (!ret)
		ret = move->file ? (fsync(move->fd)
					    ? uvfio_error_set(err, -errno, "writing the file: %s",
							      strerror(errno))
					    : 0)
				 : hear(s, MOVE_FRAME_READY, err);
	if (!ret) {
		step_to(move, MOVE_READY);
		ret = hand_over(s, how, err);
	}
	return *how == VFIO_MOVE_DOUBT ? ret : give_up(move, ret, err);
}

int move_send(struct move *move, struct uvfio_error *err)
{
	struct source s = {.move = move, .rate.bandwidth = move->options.bandwidth};
	enum vfio_move_end how = VFIO_MOVE_BACK;
	struct uvfio_error late = {""};
	int ret, back;

	begin(move);
	ret = vfio_move_begin(move->dev, VFIO_MOVE_SAVE, &s.session, err);
	if (ret)
		return give_up(move, ret, err);
	s.buf = malloc(MOVE_PAYLOAD_MAX);
	ret = s.buf ? run_source(&s, &how, err) : uvfio_error_set(err, -ENOMEM, "out of memory");
	if (how == VFIO_MOVE_GONE && move->gone)
		move->gone(move->arg, move->dev);
	back = vfio_move_end(s.session, how, &late);
	if (back && how == VFIO_MOVE_BACK)
		ret = in_doubt(&s, &late, err);
	free(s.buf);
	atomic_store(&move->progress.ended_ns, uvfio_now_ns());
	step_to(move, MOVE_DONE);
	return ret;
}

/* ---- the target ---- */

struct target {
	struct move *move;
	struct vfio_move *session;
	uint8_t *buf;
	uint64_t bytes;
	bool ready; /* the other side may have given it away */
};

static int take_hello(struct target *t, struct uvfio_error *err)
{
	struct move *move = t->move;
	enum move_kind kind;
	size_t len;
	int ret = move->file ? move_file_open(move, err) : 0;

	if (!ret)
		ret = move_frame_receive(move, 1u << MOVE_FRAME_HELLO, &kind, t->buf, &len, err);
	if (!ret)
		ret = move_hello_check(move->dev, t->buf, len, err);
	if (!ret && !move->file)
		ret = move_frame_send(move, MOVE_FRAME_WELCOME, NULL, 0, err);
	return ret;
}

static int check_end(struct target *t, size_t len, struct uvfio_error *err)
{
	uint64_t bytes = 0;

	for (unsigned i = 0; i < 8 && len == 8; i++)
		bytes |= (uint64_t)t->buf[i] << 8 * i;
	if (len != 8 || bytes != t->bytes)
		return uvfio_error_set(err, -EPROTO, "%llu bytes were to come, and %llu have",
				       (unsigned long long)bytes, (unsigned long long)t->bytes);
	return vfio_move_loaded(t->session, err);
}

/* Everything, up to its being checked and aside. */
static int take_data(struct target *t, struct uvfio_error *err)
{
	struct move *move = t->move;
	enum move_kind kind;
	ssize_t n;
	size_t len;
	int ret;

	step_to(move, MOVE_COPY);
	for (;;) {
		ret = move_frame_receive(move, 1u << MOVE_FRAME_DATA | 1u << MOVE_FRAME_END, &kind,
					 t->buf, &len, err);
		if (ret)
			return ret;
		if (kind == MOVE_FRAME_END)
			return check_end(t, len, err);
		n = vfio_move_write(t->session, t->buf, len, err);
		if (n < 0)
			return (int)n;
		t->bytes += len;
		atomic_store(&move->progress.bytes, t->bytes);
	}
}

/* It is ours, if we can. */
static int take(struct target *t, struct uvfio_error *err)
{
	struct uvfio_error late = {""};
	struct move *move = t->move;
	int ret;

	step_to(move, MOVE_GIVEN);
	ret = move->file ? move_file_mark(move, MOVE_FILE_TAKEN, err) : 0;
	if (ret)
		return ret;
	ret = vfio_move_take(t->session, err);
	if (ret && move->file)
		move_file_mark(move, MOVE_FILE_WHOLE, &late);
	if (ret || move->file)
		return ret;
	/* Who does not hear it does not know, but it is ours. */
	move_frame_send(move, MOVE_FRAME_HAVE, NULL, 0, &late);
	return 0;
}

static int run_target(struct target *t, struct uvfio_error *err)
{
	struct move *move = t->move;
	enum move_kind kind;
	size_t len;
	int ret = take_hello(t, err);

	if (!ret)
		ret = take_data(t, err);
	if (ret)
		return ret;
	step_to(move, MOVE_READY);
	if (!move->file) {
		t->ready = true;
		ret = move_frame_send(move, MOVE_FRAME_READY, NULL, 0, err);
		if (!ret)
			ret = move_frame_receive(move, 1u << MOVE_FRAME_YOURS, &kind, t->buf, &len,
						 err);
		/* It has said that it keeps it; or it hears that we do not take it. */
		if (ret == -EREMOTEIO || ret == -ECANCELED)
			t->ready = false;
		if (ret)
			return ret;
		t->ready = false;
	}
	return take(t, err);
}

int move_receive(struct move *move, struct uvfio_error *err)
{
	struct target t = {.move = move};
	struct uvfio_error none, why;
	const char *name = vfio_device_name(move->dev);
	int ret;

	begin(move);
	ret = vfio_move_begin(move->dev, VFIO_MOVE_LOAD, &t.session, err);
	if (ret)
		return give_up(move, ret, err);
	t.buf = malloc(MOVE_PAYLOAD_MAX);
	ret = t.buf ? run_target(&t, err) : uvfio_error_set(err, -ENOMEM, "out of memory");
	if (ret && t.ready) {
		move->doubt = true;
		why = *err;
		uvfio_error_set(err, -EINPROGRESS,
				"%s; all of %s has come, and it is in doubt whether the other side "
				"has given it away: look there, and then say `uvfio resume %s "
				"--force` if it is to be here, `uvfio resume %s --gone` if not",
				why.msg, name, name, name);
		ret = -EINPROGRESS;
	} else if (ret) {
		give_up(move, ret, err);
	}
	vfio_move_end(t.session, move->doubt ? VFIO_MOVE_DOUBT : VFIO_MOVE_BACK, &none);
	free(t.buf);
	atomic_store(&move->progress.ended_ns, uvfio_now_ns());
	step_to(move, MOVE_DONE);
	return ret;
}
