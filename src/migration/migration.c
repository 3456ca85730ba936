/* SPDX-License-Identifier: BSD-3-Clause */
/* A device that migrates: see migration.h. */
#include <assert.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include "migration/migration.h"

struct mig_data {
	atomic_uint refs;
	struct migration *m; /* NULL: its session has ended */
	enum mig_session kind;

	/* Saving: what the device has given and nobody has read.  @at: of its bytes, read. */
	struct mig_buf buf;
	size_t at;
	size_t edge; /* of its bytes: where a section begins, at @at or before the next one */
	bool pinned; /* @buf stays when the session ends */
	struct mig_writer writer;
	bool complete; /* the end is in @buf, or was */
	bool begun;    /* all that there was at first has been read */

	/* Loading. */
	struct mig_reader *reader;
};

struct migration {
	const struct mig_ops *ops;
	void *arg;
	const char *model;
	unsigned can;
	enum mig_state state;
	struct mig_data *data; /* of the session, if there is one */
};

struct migration *migration_new(const struct mig_ops *ops, void *arg, const char *model,
				unsigned can)
{
	struct migration *m = calloc(1, sizeof(*m));

	assert(can & MIG_CAN_STOP_COPY);
	if (!m)
		return NULL;
	*m = (struct migration){ops, arg, model, can, MIG_RUNNING, NULL};
	return m;
}

unsigned migration_can(const struct migration *m)
{
	return m->can;
}

enum mig_state migration_state(const struct migration *m)
{
	return m->state;
}

uint64_t migration_size(const struct migration *m)
{
	return m->ops->size(m->arg);
}

/* ---- sessions ---- */

static int check_model(void *arg, const char *model, struct uvfio_error *err)
{
	const struct mig_data *data = arg;

	if (!strcmp(model, data->m->model))
		return 0;
	return uvfio_error_set(err, -EINVAL, "the stream is of a device %s, and this is a %s",
			       model, data->m->model);
}

static int load_section(void *arg, struct mig_section *section, struct uvfio_error *err)
{
	const struct mig_data *data = arg;

	return data->m->ops->load(data->m->arg, section, err);
}

static const struct mig_reader_ops reader_ops = {check_model, load_section};

static struct mig_data *data_new(struct migration *m, enum mig_session kind)
{
	struct mig_data *data = calloc(1, sizeof(*data));

	if (!data)
		return NULL;
	atomic_init(&data->refs, 2);
	data->m = m;
	data->kind = kind;
	mig_buf_init(&data->buf, MIG_HELD_BYTES);
	if (kind == MIG_SESSION_SAVE) {
		mig_writer_init(&data->writer, &data->buf, m->model);
		data->edge = MIG_STREAM_HEADER;
		if (!data->buf.error)
			return data;
	} else {
		data->reader = mig_reader_new(&reader_ops, data);
		if (data->reader)
			return data;
	}
	mig_buf_fini(&data->buf);
	free(data);
	return NULL;
}

/* What the session needed goes at once, also when its file stays. */
static void data_end(struct mig_data *data)
{
	if (!data->pinned)
		mig_buf_fini(&data->buf);
	mig_reader_free(data->reader);
	data->reader = NULL;
	data->m = NULL;
}

void mig_data_put(struct mig_data *data)
{
	if (data && atomic_fetch_sub(&data->refs, 1) == 1) {
		assert(!data->m);
		mig_buf_fini(&data->buf);
		free(data);
	}
}

static void end_session(struct migration *m)
{
	struct mig_data *data = m->data;

	if (!data)
		return;
	m->data = NULL;
	data_end(data);
	mig_data_put(data);
}

void migration_free(struct migration *m)
{
	if (!m)
		return;
	if (m->data && m->data->kind == MIG_SESSION_LOAD)
		m->ops->forget(m->arg);
	end_session(m);
	free(m);
}

/* ---- changes of state ---- */

static void enter(struct migration *m, enum mig_state to, struct mig_data *data)
{
	if (mig_session(to) != mig_session(m->state))
		end_session(m);
	if (data)
		m->data = data;
	m->state = to;
}

/* The device is lost, or was reset: what was kept aside is not put into effect any more. */
static void leave_for(struct migration *m, enum mig_state to)
{
	if (m->data && m->data->kind == MIG_SESSION_LOAD)
		m->ops->forget(m->arg);
	enter(m, to, NULL);
}

/* All of the stream is there. */
static int check_loaded(struct migration *m, enum mig_state to, struct uvfio_error *err)
{
	if (m->state != MIG_RESUMING || to != MIG_STOP)
		return 0;
	return mig_reader_end(m->data->reader, err);
}

/* One arc.  *@made: the session that began with it, with a reference more. */
static int take_arc(struct migration *m, enum mig_state to, struct mig_data **made,
		    struct uvfio_error *err)
{
	bool begins =
		mig_session(to) != MIG_SESSION_NONE && mig_session(to) != mig_session(m->state);
	struct mig_data *data = NULL;
	bool lost = false;
	int ret;

	ret = check_loaded(m, to, err);
	if (ret)
		return ret;
	if (begins) {
		data = data_new(m, mig_session(to));
		if (!data)
			return uvfio_error_set(err, -ENOMEM, "out of memory");
	}
	ret = m->ops->arc(m->arg, m->state, to, &lost, err);
	if (!ret) {
		enter(m, to, data);
		if (data)
			*made = data;
		return 0;
	}
	if (data) {
		data_end(data);
		free(data); /* nobody else has seen it */
	}
	if (lost)
		leave_for(m, MIG_ERROR);
	return ret;
}

int migration_set(struct migration *m, unsigned target, struct mig_data **data,
		  struct uvfio_error *err)
{
	struct mig_data *made = NULL;
	enum mig_state next;
	int ret;

	*data = NULL;
	if (!mig_has_state(m->can, target) || mig_next(m->can, m->state, target, &next))
		return uvfio_error_set(err, -EINVAL, "there is no way from %s to %s",
				       mig_state_name(m->state), mig_state_name(target));
	while (m->state != target) {
		ret = mig_next(m->can, m->state, target, &next);
		assert(!ret);
		ret = take_arc(m, next, &made, err);
		if (ret) {
			/* A way has one session at most, and ends in it. */
			assert(!made);
			return ret;
		}
	}
	*data = made;
	return 0;
}

void migration_reset(struct migration *m)
{
	leave_for(m, MIG_RUNNING);
}

/* ---- data ---- */

struct migration *mig_data_migration(const struct mig_data *data)
{
	return data->m;
}

bool mig_data_saves(const struct mig_data *data)
{
	return data->kind == MIG_SESSION_SAVE;
}

static size_t held(const struct mig_data *data)
{
	return data->buf.len - data->at;
}

/* Have the device give more, when all was read: 0, -ENOMSG when there is none now, -EAGAIN when it
 * has to look further, -errno. */
static int fill(struct mig_data *data)
{
	struct migration *m = data->m;
	bool stopped = m->state == MIG_STOP_COPY;
	struct mig_writer before;
	size_t len;
	int ret;

	if (held(data) || data->complete)
		return 0;
	mig_buf_drop(&data->buf, data->at);
	data->at = 0;
	data->edge = data->buf.len;
	before = data->writer;
	len = data->buf.len;
	ret = m->ops->save(m->arg, stopped, &data->writer);
	if (ret < 0) {
		/* What it has put there is half of something.  It may try again. */
		data->writer = before;
		data->buf.len = len;
		return ret == -EAGAIN || ret == -ENOMSG ? -EIO : ret;
	}
	if (stopped && !ret) {
		mig_writer_end(&data->writer);
		data->complete = true;
	}
	if (data->buf.error)
		return data->buf.error;
	if (held(data))
		return 0;
	if (ret)
		return -EAGAIN;
	data->begun = true;
	return -ENOMSG;
}

size_t mig_data_held(const struct mig_data *data, bool *complete)
{
	*complete = data->complete;
	return held(data);
}

ssize_t mig_data_peek(struct mig_data *data, const void **bytes)
{
	int ret;

	if (!data->m)
		return -ENODEV;
	if (data->kind != MIG_SESSION_SAVE)
		return -EBADF;
	ret = fill(data);
	if (ret)
		return ret;
	*bytes = data->buf.bytes + data->at;
	return (ssize_t)held(data);
}

void mig_data_take(struct mig_data *data, size_t len)
{
	assert(len <= held(data));
	data->at += len;
}

void mig_data_pin(struct mig_data *data)
{
	data->pinned = true;
}

size_t mig_data_cut(struct mig_data *data, size_t max)
{
	const struct mig_buf *buf = &data->buf;
	size_t end = data->at;

	if (held(data) <= max)
		return held(data);
	while (data->edge <= data->at + max) {
		if (data->edge > data->at)
			end = data->edge;
		data->edge += mig_section_bytes(buf->bytes + data->edge);
	}
	return end > data->at ? end - data->at : max;
}

ssize_t mig_data_read(struct mig_data *data, void *buf, size_t len)
{
	const void *bytes = NULL;
	ssize_t n;

	if (!len && data->m && data->kind == MIG_SESSION_SAVE)
		return 0;
	n = mig_data_peek(data, &bytes);
	if (n <= 0)
		return n;
	if ((size_t)n > len)
		n = (ssize_t)len;
	memcpy(buf, bytes, (size_t)n);
	mig_data_take(data, (size_t)n);
	return n;
}

ssize_t mig_data_write(struct mig_data *data, const void *buf, size_t len, struct uvfio_error *err)
{
	int ret;

	if (!data->m)
		return uvfio_error_set(err, -ENODEV, "the session has ended");
	if (data->kind != MIG_SESSION_LOAD)
		return uvfio_error_set(err, -EBADF, "this session is read");
	ret = mig_reader_feed(data->reader, buf, len, err);
	return ret ? ret : (ssize_t)len;
}

int mig_data_complete(struct mig_data *data, struct uvfio_error *err)
{
	if (!data->m)
		return uvfio_error_set(err, -ENODEV, "the session has ended");
	if (data->kind != MIG_SESSION_LOAD)
		return uvfio_error_set(err, -EBADF, "this session is read");
	return mig_reader_end(data->reader, err);
}

int mig_data_readable(struct mig_data *data)
{
	int ret;

	if (!data->m || data->kind != MIG_SESSION_SAVE || data->m->state == MIG_STOP_COPY)
		return 1;
	ret = fill(data);
	return ret == -EAGAIN ? ret : ret != -ENOMSG;
}

int mig_data_left(struct mig_data *data, struct mig_left *out)
{
	if (!data->m)
		return -ENODEV;
	if (data->m->state != MIG_PRE_COPY && data->m->state != MIG_PRE_COPY_P2P)
		return -EINVAL;
	data->m->ops->left(data->m->arg, out);
	/* What comes after that is what has changed. */
	if (data->begun) {
		out->dirty += out->initial + held(data);
		out->initial = 0;
	} else {
		out->initial += held(data);
	}
	return 0;
}
