/* SPDX-License-Identifier: BSD-3-Clause */
/* See model_stream.h. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "model_stream.h"

struct uvfio_save {
	struct model_stream *s;
};

struct uvfio_load {
	const struct model_section *section;
	size_t at;
	bool bad;
};

/* ---- writing ---- */

void uvfio_save_section(struct uvfio_save *out, const char *kind, uint32_t version)
{
	struct model_section *section = &out->s->sections[out->s->nr++];

	assert(out->s->nr <= MODEL_SECTIONS && strlen(kind) == 4);
	*section = (struct model_section){.version = version};
	memcpy(section->kind, kind, 5);
}

void uvfio_save_bytes(struct uvfio_save *out, const void *bytes, size_t len)
{
	struct model_section *section = &out->s->sections[out->s->nr - 1];

	assert(out->s->nr);
	section->bytes = realloc(section->bytes, section->len + len + 1);
	assert(section->bytes);
	memcpy(section->bytes + section->len, bytes, len);
	section->len += len;
}

/* The tests' machine is little-endian, as the stream is. */
void uvfio_save_u8(struct uvfio_save *out, uint8_t value)
{
	uvfio_save_bytes(out, &value, sizeof(value));
}

void uvfio_save_u16(struct uvfio_save *out, uint16_t value)
{
	uvfio_save_bytes(out, &value, sizeof(value));
}

void uvfio_save_u32(struct uvfio_save *out, uint32_t value)
{
	uvfio_save_bytes(out, &value, sizeof(value));
}

void uvfio_save_u64(struct uvfio_save *out, uint64_t value)
{
	uvfio_save_bytes(out, &value, sizeof(value));
}

/* ---- reading ---- */

bool uvfio_load_is(const struct uvfio_load *in, const char *kind)
{
	return !strcmp(in->section->kind, kind);
}

const char *uvfio_load_kind(const struct uvfio_load *in)
{
	return in->section->kind;
}

uint32_t uvfio_load_version(const struct uvfio_load *in)
{
	return in->section->version;
}

const void *uvfio_load_bytes(struct uvfio_load *in, size_t len)
{
	const void *at = in->section->bytes + in->at;

	if (len > in->section->len - in->at) {
		in->at = in->section->len;
		in->bad = true;
		return NULL;
	}
	in->at += len;
	return at;
}

static uint64_t load_number(struct uvfio_load *in, size_t size)
{
	const void *at = uvfio_load_bytes(in, size);
	uint64_t value = 0;

	if (at)
		memcpy(&value, at, size);
	return value;
}

uint8_t uvfio_load_u8(struct uvfio_load *in)
{
	return (uint8_t)load_number(in, 1);
}

uint16_t uvfio_load_u16(struct uvfio_load *in)
{
	return (uint16_t)load_number(in, 2);
}

uint32_t uvfio_load_u32(struct uvfio_load *in)
{
	return (uint32_t)load_number(in, 4);
}

uint64_t uvfio_load_u64(struct uvfio_load *in)
{
	return load_number(in, 8);
}

size_t uvfio_load_left(const struct uvfio_load *in)
{
	return in->section->len - in->at;
}

bool uvfio_load_ok(const struct uvfio_load *in)
{
	return !in->bad && !uvfio_load_left(in);
}

/* ---- whole streams ---- */

int model_stream_save_some(struct model_stream *s, const struct uvfio_migration_ops *ops,
			   void *priv, bool stopped, bool first)
{
	struct uvfio_save out = {s};

	return ops->save(priv, &out, stopped, first);
}

int model_stream_load_one(const struct model_section *section,
			  const struct uvfio_migration_ops *ops, void *priv, bool first,
			  struct uvfio_error *err)
{
	struct uvfio_load in = {.section = section};

	return ops->load(priv, &in, first, err);
}

void model_stream_save(struct model_stream *s, const struct uvfio_migration_ops *ops, void *priv)
{
	struct uvfio_save out = {s};
	bool first = true;
	int r;

	s->nr = 0;
	do {
		r = ops->save(priv, &out, true, first);
		assert(r >= 0);
		first = false;
	} while (r);
}

int model_stream_load(const struct model_stream *s, const struct uvfio_migration_ops *ops,
		      void *priv, struct uvfio_error *err)
{
	int r;

	for (unsigned i = 0; i < s->nr; i++) {
		struct uvfio_load in = {.section = &s->sections[i]};

		r = ops->load(priv, &in, !i, err);
		if (r) {
			ops->forget(priv);
			return r;
		}
	}
	r = ops->commit(priv, err);
	if (r)
		ops->forget(priv);
	return r;
}

struct model_section *model_stream_find(struct model_stream *s, const char *kind, unsigned n)
{
	for (unsigned i = 0; i < s->nr; i++) {
		if (!strcmp(s->sections[i].kind, kind) && !n--)
			return &s->sections[i];
	}
	return NULL;
}

void model_stream_copy(struct model_stream *to, const struct model_stream *from)
{
	*to = *from;
	for (unsigned i = 0; i < to->nr; i++) {
		to->sections[i].bytes = malloc(to->sections[i].len + 1);
		assert(to->sections[i].bytes);
		memcpy(to->sections[i].bytes, from->sections[i].bytes, from->sections[i].len);
	}
}

void model_stream_drop(struct model_stream *s)
{
	for (unsigned i = 0; i < s->nr; i++)
		free(s->sections[i].bytes);
	s->nr = 0;
}
