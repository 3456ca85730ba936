/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The contents of namespaces are loaded; see contents.h.
 *
 * They go to the storage as they come, so a namespace whose contents have begun to come is not
 * ready until all have, whatever becomes of the session: it is neither what it was nor what it is
 * to be. That is why a file or an NBD export must have been given for it, by incoming=yes.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "devices/nvme/contents.h"

static int wrong(struct uvfio_load *in, struct uvfio_error *err)
{
	return uvfio_error_set(err, -EINVAL, "section %s makes no sense", uvfio_load_kind(in));
}

/* Wait for a piece to come back. */
static int wait_for_one(struct nvme_contents *s)
{
	s->waited = true;
	return -EINPROGRESS;
}

static struct nvme_piece *free_piece(struct nvme_contents *s)
{
	for (unsigned i = 0; i < NVME_NR_PIECES; i++) {
		if (!s->pieces[i].busy)
			return &s->pieces[i];
	}
	return NULL;
}

static bool touches(const struct nvme_contents *s, unsigned index, uint64_t offset, uint64_t len)
{
	for (unsigned i = 0; i < NVME_NR_PIECES; i++) {
		const struct nvme_piece *p = &s->pieces[i];

		if (p->busy && p->ns == index && p->offset < offset + len &&
		    offset < p->offset + p->len)
			return true;
	}
	return false;
}

/* ---- sections ---- */

/* The namespace that a section is of: its index, or -EINVAL.  @begun: something of it has come. */
static int namespace_of(struct nvme_ctrl *c, struct uvfio_load *in, bool begun,
			struct uvfio_error *err)
{
	uint32_t id = uvfio_load_u32(in);

	if (!id || id > c->nr_ns)
		return uvfio_error_set(err, -EINVAL,
				       "the stream has the contents of namespace %u, and there is "
				       "none here: give this device the same namespaces",
				       id);
	if (!nvme_contents_has(c, id - 1))
		return uvfio_error_set(err, -EINVAL,
				       "the stream has the contents of namespace %u, and here it "
				       "does not go along: give both sides move=copy, or neither",
				       id);
	if (c->contents->loaded[id - 1] & NVME_LOADED_ENDED ||
	    !(c->contents->loaded[id - 1] & NVME_LOADED_BEGUN) == begun)
		return uvfio_error_set(err, -EINVAL,
				       "section %s of namespace %u does not belong here",
				       uvfio_load_kind(in), id);
	return (int)id - 1;
}

static int load_begin(struct nvme_ctrl *c, struct uvfio_load *in, struct uvfio_error *err)
{
	int index = namespace_of(c, in, false, err);
	uint64_t size = uvfio_load_u64(in), here;
	uint8_t shift = uvfio_load_u8(in);
	struct nvme_disk *d;

	if (index < 0)
		return index;
	if (!uvfio_load_ok(in) || (shift != 9 && shift != 12))
		return wrong(in, err);
	d = &c->sub->disks[index];
	here = block_info(c->ns[index].blk)->size;
	if (size != here)
		return uvfio_error_set(err, -EINVAL,
				       "namespace %d: the stream has the contents of %llu bytes, "
				       "and its storage here has %llu: make it as large (truncate)",
				       index + 1, (unsigned long long)size,
				       (unsigned long long)here);
	/* Its block size is the controller's state, as Format NVM has left it (migrate_ns.c), and
	 * noted with the storage. */
	if (shift != c->ns[index].shift && !nvme_ns_can_have(&c->ns[index], shift))
		return uvfio_error_set(
			err, -EINVAL,
			"namespace %d has blocks of %u bytes in the stream, which its storage here "
			"cannot have, or not note: give this device blocksize=%u",
			index + 1, 1u << shift, 1u << shift);
	if (d->kept && !c->sub->incoming)
		return uvfio_error_set(
			err, -EINVAL,
			"namespace %d: its contents would be overwritten by those of "
			"the stream: start this device with incoming=yes if they may",
			index + 1);
	c->contents->loaded[index] |= NVME_LOADED_BEGUN;
	if (shift == 12)
		c->contents->loaded[index] |= NVME_LOADED_4K;
	/* The next server that opens the storage is to find it so, too. */
	if (d->kept && shift != c->ns[index].shift)
		c->contents->loaded[index] |= NVME_LOADED_NOTE;
	nvme_storage_whole(d, false);
	return 0;
}

/* Bytes that have come, or @zeroes. */
static int load_some(struct nvme_ctrl *c, struct uvfio_load *in, bool zeroes,
		     struct uvfio_error *err)
{
	struct nvme_contents *s = c->contents;
	int index = namespace_of(c, in, true, err);
	uint64_t offset = uvfio_load_u64(in);
	uint64_t len = zeroes ? uvfio_load_u64(in) : uvfio_load_left(in);
	const void *bytes = zeroes ? NULL : uvfio_load_bytes(in, len);
	const struct block_info *info;
	struct nvme_piece *p;

	if (index < 0)
		return index;
	info = block_info(c->ns[index].blk);
	if (!uvfio_load_ok(in) || !len || (!zeroes && len > NVME_PIECE) || offset > info->size ||
	    len > info->size - offset || offset % info->align || len % info->align)
		return wrong(in, err);
	p = free_piece(s);
	if (!p || touches(s, (unsigned)index, offset, len))
		return wait_for_one(s);
	p->ns = (unsigned)index;
	p->offset = offset;
	p->len = len;
	if (zeroes) {
		nvme_piece_submit(p, BLOCK_WRITE_ZEROES, BLOCK_MAY_FREE);
		return 0;
	}
	if (!nvme_piece_buffer(p))
		return uvfio_error_set(err, -ENOMEM, "nvme: out of memory for what is loaded");
	memcpy(p->buf, bytes, len);
	nvme_piece_submit(p, BLOCK_WRITE, 0);
	return 0;
}

/* All of it is there, and on stable storage. */
static int load_end(struct nvme_ctrl *c, struct uvfio_load *in, struct uvfio_error *err)
{
	struct nvme_contents *s = c->contents;
	int index = namespace_of(c, in, true, err);
	struct nvme_piece *p;

	if (index < 0)
		return index;
	if (!uvfio_load_ok(in))
		return wrong(in, err);
	if (s->nr_busy)
		return wait_for_one(s);
	if (s->loaded[index] & NVME_LOADED_NOTE) {
		s->loaded[index] &= (uint8_t)~NVME_LOADED_NOTE;
		p = free_piece(s);
		p->ns = (unsigned)index;
		p->offset = 0;
		if (!nvme_piece_buffer(p))
			return uvfio_error_set(err, -ENOMEM, "nvme: out of memory for a note");
		p->len = (uint64_t)snprintf((char *)p->buf, BLOCK_NOTE_MAX, NVME_NOTE_FORMAT,
					    s->loaded[index] & NVME_LOADED_4K ? 4096u : 512u);
		if (nvme_piece_submit(p, BLOCK_NOTE, 0))
			return wait_for_one(s);
	}
	if (!(s->loaded[index] & NVME_LOADED_FLUSHED)) {
		s->loaded[index] |= NVME_LOADED_FLUSHED;
		p = free_piece(s);
		p->ns = (unsigned)index;
		p->offset = p->len = 0;
		if (nvme_piece_submit(p, BLOCK_FLUSH, 0))
			return wait_for_one(s);
	}
	if (!s->error)
		s->loaded[index] |= NVME_LOADED_ENDED;
	return 0;
}

static const struct {
	const char *kind;
	enum { BEGIN, DATA, ZEROES, END } what;
} kinds[] = {
	{NVME_CONTENTS_BEGIN, BEGIN},
	{NVME_CONTENTS_DATA, DATA},
	{NVME_CONTENTS_ZEROES, ZEROES},
	{NVME_CONTENTS_END, END},
};

int nvme_contents_load(struct nvme_ctrl *c, struct uvfio_load *in, struct uvfio_error *err)
{
	unsigned i, n = sizeof(kinds) / sizeof(kinds[0]);
	int r = 0;

	for (i = 0; i < n && !uvfio_load_is(in, kinds[i].kind); i++)
		;
	if (i == n)
		return -ENOENT;
	if (uvfio_load_version(in) != NVME_CONTENTS_VERSION)
		return uvfio_error_set(err, -EINVAL,
				       "section %s is of version %u, which is not known here",
				       uvfio_load_kind(in), uvfio_load_version(in));
	if (!nvme_contents_get(c))
		return uvfio_error_set(err, -ENOMEM, "nvme: out of memory for what is loaded");
	if (c->contents->mode != NVME_CONTENTS_LOADING)
		nvme_contents_load_begin(c);
	switch (kinds[i].what) {
	case BEGIN:
		r = load_begin(c, in, err);
		break;
	case DATA:
	case ZEROES:
		r = load_some(c, in, kinds[i].what == ZEROES, err);
		break;
	case END:
		r = load_end(c, in, err);
		break;
	}
	if (!r && c->contents->error)
		r = uvfio_error_set(err, c->contents->error,
				    "the contents of a namespace cannot be written: %s",
				    strerror(-c->contents->error));
	return r;
}

int nvme_contents_check(struct nvme_ctrl *c, struct uvfio_error *err)
{
	const struct nvme_contents *s = c->contents;
	bool loading = s && s->mode == NVME_CONTENTS_LOADING;

	for (unsigned i = 0; i < c->nr_ns; i++) {
		if (!nvme_contents_has(c, i) || (loading && s->loaded[i] & NVME_LOADED_ENDED))
			continue;
		return uvfio_error_set(err, -EINVAL,
				       "the stream lacks the contents of namespace %u: give both "
				       "sides move=copy, or neither",
				       i + 1);
	}
	return 0;
}

void nvme_contents_commit(struct nvme_ctrl *c)
{
	for (unsigned i = 0; i < c->nr_ns; i++) {
		if (nvme_contents_has(c, i))
			nvme_storage_whole(&c->sub->disks[i], true);
	}
	nvme_contents_end(c);
}
