/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A device that migrates (E.2, E.3): every change of state with every set of capabilities and a
 * failure at every arc; sessions and their data.
 */
#include <errno.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "migration/migration.h"

#define BLOCK MIG_TAG('T', 'E', 'S', 'T')

/* A device whose state is a number of bytes, some of which change while it runs. */
struct device {
	struct migration *m;
	enum mig_state state;
	unsigned arcs;    /* taken */
	unsigned fail_at; /* the arc that fails, from 1; 0: none */
	bool fail_lost;
	int fail;

	uint8_t bytes[64];
	unsigned saved;  /* how many of them are in the session */
	int broken;      /* what saving answers, half-way */
	unsigned looks;  /* so often it finds nothing, and may yet */
	unsigned change; /* that changed meanwhile */
	unsigned piece;  /* bytes a section */

	uint8_t aside[64];
	unsigned nr_aside, forgotten;
};

static int dev_arc(void *arg, enum mig_state from, enum mig_state to, bool *lost,
		   struct uvfio_error *err)
{
	struct device *d = arg;
	enum mig_state next;

	assert_int_equal(from, d->state);
	assert_int_equal(mig_next(migration_can(d->m), from, to, &next), 0);
	assert_int_equal(next, to); /* one arc */
	if (++d->arcs == d->fail_at) {
		*lost = d->fail_lost;
		if (d->fail_lost)
			d->state = MIG_ERROR;
		return uvfio_error_set(err, d->fail, "it fails");
	}
	if (from == MIG_RESUMING) {
		if (d->nr_aside != sizeof(d->bytes))
			return uvfio_error_set(err, -EINVAL, "%u of %zu bytes are there",
					       d->nr_aside, sizeof(d->bytes));
		memcpy(d->bytes, d->aside, sizeof(d->bytes));
	}
	if (mig_session(to) == MIG_SESSION_SAVE && mig_session(from) == MIG_SESSION_NONE)
		d->saved = 0;
	if (to == MIG_RESUMING)
		d->nr_aside = 0;
	d->state = to;
	return 0;
}

static int dev_save(void *arg, bool stopped, struct mig_writer *out)
{
	struct device *d = arg;
	unsigned n = sizeof(d->bytes) - d->saved;

	assert_int_equal(stopped, d->state == MIG_STOP_COPY);
	if (d->broken) {
		mig_section_begin(out, BLOCK, 1);
		mig_section_end(out);
		return d->broken;
	}
	if (d->looks) {
		d->looks--;
		return 1;
	}
	if (n > d->piece)
		n = d->piece;
	if (!n)
		return 0;
	mig_section_begin(out, BLOCK, 1);
	mig_put_u32(out->out, d->saved);
	mig_put(out->out, d->bytes + d->saved, n);
	mig_section_end(out);
	d->saved += n;
	return d->saved < sizeof(d->bytes);
}

static int dev_load(void *arg, struct mig_section *s, struct uvfio_error *err)
{
	struct device *d = arg;
	uint32_t at = mig_get_u32(&s->in);
	size_t n = mig_left_bytes(&s->in);

	assert_int_equal(d->state, MIG_RESUMING);
	if (s->in.bad || s->tag != BLOCK || at > sizeof(d->aside) || n > sizeof(d->aside) - at)
		return uvfio_error_set(err, -EINVAL, "section %llu is no block",
				       (unsigned long long)s->number);
	memcpy(d->aside + at, s->in.at, n);
	if (at + n > d->nr_aside)
		d->nr_aside = (unsigned)(at + n);
	return 0;
}

static void dev_forget(void *arg)
{
	struct device *d = arg;

	d->forgotten++;
	d->nr_aside = 0;
}

static void dev_left(void *arg, struct mig_left *out)
{
	const struct device *d = arg;

	*out = (struct mig_left){sizeof(d->bytes) - d->saved, d->change};
}

static uint64_t dev_size(void *arg)
{
	return sizeof(((struct device *)arg)->bytes);
}

static const struct mig_ops ops = {dev_arc, dev_save, dev_load, dev_forget, dev_left, dev_size};

static void dev_init(struct device *d, unsigned can)
{
	*d = (struct device){.state = MIG_RUNNING, .piece = 16};
	for (unsigned i = 0; i < sizeof(d->bytes); i++)
		d->bytes[i] = (uint8_t)(i * 7 + 1);
	d->m = migration_new(&ops, d, "testdev", can);
	assert_non_null(d->m);
}

static int go(struct device *d, unsigned to, struct mig_data **data)
{
	struct uvfio_error err;

	return migration_set(d->m, to, data, &err);
}

/* Make a whole stream of @d, which is stopped by it. */
static size_t save_all(struct device *d, uint8_t *out, size_t max)
{
	struct mig_data *data;
	size_t len = 0;
	ssize_t n;

	assert_int_equal(go(d, MIG_STOP_COPY, &data), 0);
	while ((n = mig_data_read(data, out + len, max - len < 50 ? max - len : 50)) > 0)
		len += (size_t)n;
	assert_int_equal(n, 0);
	assert_int_equal(mig_data_read(data, out, 1), 0); /* for good */
	mig_data_put(data);
	return len;
}

static void put_stream(struct mig_data *data, struct device *from)
{
	uint8_t stream[1024];
	struct uvfio_error err;
	size_t len = save_all(from, stream, sizeof(stream));

	for (size_t at = 0; at < len; at += 13) {
		size_t n = len - at < 13 ? len - at : 13;

		assert_int_equal(mig_data_write(data, stream + at, n, &err), n);
	}
}

/* ---- every change ---- */

static unsigned arcs_between(unsigned can, enum mig_state from, enum mig_state to)
{
	unsigned n = 0;

	while (from != to) {
		assert_int_equal(mig_next(can, from, to, &from), 0);
		n++;
	}
	return n;
}

/* Into state @from, by a way that works. */
static struct mig_data *bring(struct device *d, enum mig_state from)
{
	struct device other;
	struct mig_data *data;

	if (from == MIG_ERROR) {
		d->fail_at = d->arcs + 1;
		d->fail = -EIO;
		d->fail_lost = true;
		assert_int_equal(go(d, MIG_STOP, &data), -EIO);
		d->fail_at = 0;
		return data;
	}
	assert_int_equal(go(d, from, &data), 0);
	assert_int_equal(migration_state(d->m), from);
	if (from == MIG_RESUMING) {
		dev_init(&other, MIG_CAN_STOP_COPY);
		put_stream(data, &other);
		migration_free(other.m);
	}
	return data;
}

static void one_change(unsigned can, enum mig_state from, unsigned to, unsigned fail_at, bool lost)
{
	struct mig_data *data, *before;
	enum mig_state next, expected;
	unsigned forgotten;
	struct device d;
	bool begins;
	int ret;

	dev_init(&d, can);
	before = bring(&d, from);
	forgotten = d.forgotten;
	d.fail_at = fail_at ? d.arcs + fail_at : 0;
	d.fail = -EBUSY;
	d.fail_lost = lost;
	ret = go(&d, to, &data);
	if (!mig_has_state(can, to) || mig_next(can, from, to, &next)) {
		assert_int_equal(ret, -EINVAL);
		assert_null(data);
		assert_int_equal(migration_state(d.m), from);
	} else if (fail_at) {
		expected = from;
		for (unsigned i = 1; i < fail_at; i++)
			assert_int_equal(mig_next(can, expected, to, &expected), 0);
		assert_int_equal(ret, -EBUSY);
		assert_null(data);
		assert_int_equal(migration_state(d.m), lost ? MIG_ERROR : expected);
		assert_int_equal(d.forgotten, forgotten + (lost && expected == MIG_RESUMING));
		if (before && (lost || mig_session(expected) != mig_session(from)))
			assert_null(mig_data_migration(before));
	} else {
		assert_int_equal(ret, 0);
		assert_int_equal(migration_state(d.m), to);
		begins =
			mig_session(to) != MIG_SESSION_NONE && mig_session(to) != mig_session(from);
		assert_int_equal(data != NULL, begins);
		if (before && mig_session(to) == mig_session(from))
			assert_ptr_equal(mig_data_migration(before), d.m);
		else if (before)
			assert_null(mig_data_migration(before));
	}
	/* A reset leaves everything. */
	migration_reset(d.m);
	d.state = MIG_RUNNING;
	assert_int_equal(migration_state(d.m), MIG_RUNNING);
	if (data)
		assert_int_equal(mig_data_read(data, &d, 1), -ENODEV);
	if (before)
		assert_null(mig_data_migration(before));
	mig_data_put(data);
	mig_data_put(before);
	migration_free(d.m);
}

static void every_change_and_every_failure(void **state)
{
	for (unsigned can = MIG_CAN_STOP_COPY; can <= MIG_CAN_ALL; can += 2)
		for (unsigned from = MIG_ERROR; from < NR_MIG_STATES; from++)
			for (unsigned to = 0; to < NR_MIG_STATES + 2; to++) {
				enum mig_state next;

				if (!mig_has_state(can, from))
					continue;
				one_change(can, from, to, 0, false);
				if (!mig_has_state(can, to) || mig_next(can, from, to, &next))
					continue;
				for (unsigned at = 1; at <= arcs_between(can, from, to); at++) {
					one_change(can, from, to, at, false);
					one_change(can, from, to, at, true);
				}
			}
}

/* ---- data ---- */

static void a_state_moves(void **state)
{
	struct device from, to;
	struct mig_data *data;
	uint8_t byte;

	dev_init(&from, MIG_CAN_ALL);
	dev_init(&to, MIG_CAN_ALL);
	memset(to.bytes, 0xee, sizeof(to.bytes));
	assert_int_equal(go(&to, MIG_RESUMING, &data), 0);
	assert_false(mig_data_saves(data));
	assert_int_equal(mig_data_read(data, &byte, 1), -EBADF);
	put_stream(data, &from);
	assert_int_equal(to.bytes[0], 0xee); /* not before the session is left */
	assert_int_equal(go(&to, MIG_RUNNING, &(struct mig_data *){NULL}), 0);
	assert_memory_equal(to.bytes, from.bytes, sizeof(to.bytes));
	assert_int_equal(to.forgotten, 0);
	mig_data_put(data);
	migration_free(from.m);
	migration_free(to.m);
}

static void one_session_from_pre_copy_on(void **state)
{
	struct mig_data *data, *none;
	struct mig_left left;
	struct device d;
	uint8_t buf[200];
	ssize_t n;

	dev_init(&d, MIG_CAN_ALL);
	d.change = 5;
	assert_int_equal(go(&d, MIG_PRE_COPY, &data), 0);
	assert_true(mig_data_saves(data));
	assert_int_equal(mig_data_left(data, &left), 0);
	assert_int_equal(left.initial, sizeof(d.bytes) + MIG_STREAM_HEADER);
	assert_int_equal(left.dirty, 5);
	/* The header, then pieces, and then nothing for now. */
	n = mig_data_read(data, buf, sizeof(buf));
	assert_true(n > 0);
	do
		n = mig_data_read(data, buf, 11);
	while (n > 0);
	assert_int_equal(n, -ENOMSG);
	assert_int_equal(mig_data_readable(data), 0);
	assert_int_equal(mig_data_read(data, buf, 0), 0);
	/* It looks for a while, and finds nothing; then some of it has to go again. */
	d.looks = 2;
	assert_int_equal(mig_data_readable(data), -EAGAIN);
	assert_int_equal(mig_data_read(data, buf, 1), -EAGAIN);
	assert_int_equal(mig_data_read(data, buf, 1), -ENOMSG);
	d.saved = 40;
	assert_int_equal(mig_data_readable(data), 1);
	/* What there was at first has been read: this is what has changed, also what is here. */
	assert_int_equal(mig_data_left(data, &left), 0);
	assert_int_equal(left.initial, 0);
	assert_true(left.dirty > 5 + sizeof(d.bytes) - 40);
	assert_int_equal(mig_data_read(data, buf, 1), 1);
	assert_int_equal(mig_data_readable(data), 1);
	/* The same session goes on. */
	assert_int_equal(go(&d, MIG_PRE_COPY_P2P, &none), 0);
	assert_null(none);
	assert_int_equal(mig_data_left(data, &left), 0);
	assert_int_equal(go(&d, MIG_STOP_COPY, &none), 0);
	assert_null(none);
	assert_int_equal(mig_data_left(data, &left), -EINVAL);
	assert_true(mig_data_readable(data));
	do
		n = mig_data_read(data, buf, sizeof(buf));
	while (n > 0);
	assert_int_equal(n, 0);
	/* It ends with its state, and no new one is its heir. */
	assert_int_equal(go(&d, MIG_STOP, &none), 0);
	assert_int_equal(mig_data_read(data, buf, 1), -ENODEV);
	assert_int_equal(mig_data_write(data, buf, 1, NULL), -ENODEV);
	assert_int_equal(mig_data_left(data, &left), -ENODEV);
	assert_true(mig_data_readable(data)); /* to find out */
	mig_data_put(data);
	migration_free(d.m);
}

static void a_bad_stream_changes_nothing(void **state)
{
	struct device from, to;
	struct mig_data *data, *none;
	struct uvfio_error err;
	uint8_t stream[1024];
	size_t len;

	dev_init(&from, MIG_CAN_ALL);
	len = save_all(&from, stream, sizeof(stream));
	migration_free(from.m);

	/* Cut: it does not become the device's; the rest may still come. */
	dev_init(&to, MIG_CAN_ALL);
	memset(to.bytes, 0xee, sizeof(to.bytes));
	assert_int_equal(go(&to, MIG_RESUMING, &data), 0);
	assert_int_equal(mig_data_write(data, stream, len - 1, &err), len - 1);
	assert_int_equal(migration_set(to.m, MIG_STOP, &none, &err), -EINVAL);
	assert_non_null(strstr(err.msg, "was cut"));
	assert_int_equal(migration_state(to.m), MIG_RESUMING);
	assert_int_equal(to.bytes[0], 0xee);
	assert_int_equal(mig_data_write(data, stream + len - 1, 1, &err), 1);
	assert_int_equal(migration_set(to.m, MIG_STOP, &none, &err), 0);
	assert_int_equal(to.bytes[0], 1);
	mig_data_put(data);

	/* Damaged: a reset is the way out. */
	memset(to.bytes, 0xee, sizeof(to.bytes));
	assert_int_equal(go(&to, MIG_RESUMING, &data), 0);
	stream[200] ^= 4;
	assert_int_equal(mig_data_write(data, stream, len, &err), -EINVAL);
	assert_non_null(strstr(err.msg, "was damaged"));
	assert_int_equal(mig_data_write(data, stream, len, &err), -EINVAL);
	assert_int_equal(migration_set(to.m, MIG_RUNNING, &none, &err), -EINVAL);
	assert_int_equal(to.forgotten, 0);
	migration_reset(to.m);
	to.state = MIG_RUNNING;
	assert_int_equal(to.forgotten, 1);
	assert_int_equal(to.bytes[0], 0xee);
	mig_data_put(data);
	migration_free(to.m);
}

static void a_stream_of_another_model(void **state)
{
	struct device to;
	struct mig_data *data;
	struct mig_writer w;
	struct mig_buf buf;
	struct uvfio_error err;

	dev_init(&to, MIG_CAN_ALL);
	assert_int_equal(go(&to, MIG_RESUMING, &data), 0);
	mig_buf_init(&buf, 4096);
	mig_writer_init(&w, &buf, "nvme");
	assert_int_equal(mig_writer_end(&w), 0);
	assert_int_equal(mig_data_write(data, buf.bytes, buf.len, &err), -EINVAL);
	assert_string_equal(err.msg, "the stream is of a device nvme, and this is a testdev");
	mig_buf_fini(&buf);
	/* It may go at any time. */
	migration_free(to.m);
	assert_int_equal(to.forgotten, 1);
	assert_int_equal(mig_data_write(data, &to, 1, &err), -ENODEV);
	mig_data_put(data);
}

/* What a device gave before it failed is half of something: nobody gets it.  When it can be saved
 * after all, the stream is whole. */
static void a_device_that_cannot_be_saved(void **state)
{
	static const int errors[][2] = {{-ENODATA, -ENODATA}, {-ENOMSG, -EIO}, {-EAGAIN, -EIO}};

	for (unsigned i = 0; i < 3; i++) {
		struct mig_data *data, *to_data;
		struct device d, to;
		uint8_t buf[2000];
		size_t len = 0;
		ssize_t n;

		dev_init(&d, MIG_CAN_ALL);
		assert_int_equal(go(&d, MIG_STOP_COPY, &data), 0);
		while (len < MIG_STREAM_HEADER + 50) {
			n = mig_data_read(data, buf + len, 50);
			assert_true(n > 0);
			len += (size_t)n;
		}
		d.broken = errors[i][0];
		while ((n = mig_data_read(data, buf + len, sizeof(buf) - len)) > 0)
			len += (size_t)n;
		assert_int_equal(n, errors[i][1]);
		assert_int_equal(mig_data_read(data, buf, sizeof(buf)), errors[i][1]);
		d.broken = 0;
		while ((n = mig_data_read(data, buf + len, sizeof(buf) - len)) > 0)
			len += (size_t)n;
		assert_int_equal(n, 0);
		dev_init(&to, MIG_CAN_ALL);
		assert_int_equal(go(&to, MIG_RESUMING, &to_data), 0);
		assert_int_equal(mig_data_write(to_data, buf, len, NULL), len);
		mig_data_put(data);
		assert_int_equal(go(&to, MIG_STOP, &data), 0);
		mig_data_put(to_data);
		migration_free(to.m);
		migration_free(d.m);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_change_and_every_failure),
		cmocka_unit_test(a_state_moves),
		cmocka_unit_test(one_session_from_pre_copy_on),
		cmocka_unit_test(a_bad_stream_changes_nothing),
		cmocka_unit_test(a_stream_of_another_model),
		cmocka_unit_test(a_device_that_cannot_be_saved),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
