/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The stream of a device's state: writing and reading it.
 *
 *	header    magic "UVFIOMIG", u32 version, u32 0, char model[32], u64 0, u64 checksum
 *	section   u32 tag, u32 version, u64 number, u64 length, u64 checksum; contents; u64 checksum
 *	…
 *	.END      a section whose contents are u64 sections, u64 bytes: how many came before it
 *
 * A checksum is XXH3 (64 bits) of what is before it: a header's of the header, the one behind the
 * contents of these, with the section's number as its seed.  They find accidents; against somebody
 * who makes a stream by hand there is only the model's own care with each value.
 */
#include <assert.h>
#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "base/xxh3.h"
#include "migration/stream.h"

static const char magic[8] = {'U', 'V', 'F', 'I', 'O', 'M', 'I', 'G'};

#define HEADER_SUMMED  (MIG_STREAM_HEADER - 8)
#define SECTION_SUMMED (MIG_SECTION_HEADER - 8)
#define FIRST_ROOM     4096u

/* ---- bytes that grow ---- */

void mig_buf_init(struct mig_buf *buf, size_t max)
{
	*buf = (struct mig_buf){.max = max};
}

void mig_buf_fini(struct mig_buf *buf)
{
	free(buf->bytes);
	*buf = (struct mig_buf){0};
}

void mig_buf_drop(struct mig_buf *buf, size_t len)
{
	assert(len <= buf->len);
	buf->len -= len;
	if (len)
		memmove(buf->bytes, buf->bytes + len, buf->len);
}

static bool make_room(struct mig_buf *buf, size_t len)
{
	size_t room = buf->room ? buf->room : FIRST_ROOM;
	uint8_t *bytes;

	if (buf->error)
		return false;
	if (len > buf->max - buf->len) {
		buf->error = -E2BIG;
		return false;
	}
	if (buf->len + len <= buf->room)
		return true;
	while (room < buf->len + len)
		room *= 2;
	bytes = realloc(buf->bytes, room);
	if (!bytes) {
		buf->error = -ENOMEM;
		return false;
	}
	buf->bytes = bytes;
	buf->room = room;
	return true;
}

void mig_put(struct mig_buf *buf, const void *bytes, size_t len)
{
	if (!len || !make_room(buf, len))
		return;
	memcpy(buf->bytes + buf->len, bytes, len);
	buf->len += len;
}

void mig_put_u8(struct mig_buf *buf, uint8_t value)
{
	mig_put(buf, &value, sizeof(value));
}

void mig_put_u16(struct mig_buf *buf, uint16_t value)
{
	value = htole16(value);
	mig_put(buf, &value, sizeof(value));
}

void mig_put_u32(struct mig_buf *buf, uint32_t value)
{
	value = htole32(value);
	mig_put(buf, &value, sizeof(value));
}

void mig_put_u64(struct mig_buf *buf, uint64_t value)
{
	value = htole64(value);
	mig_put(buf, &value, sizeof(value));
}

/* ---- writing ---- */

void mig_writer_init(struct mig_writer *w, struct mig_buf *out, const char *model)
{
	char name[MIG_MODEL_NAME] = {0};
	size_t start = out->len;

	*w = (struct mig_writer){.out = out};
	assert(strlen(model) < sizeof(name));
	memcpy(name, model, strlen(model));
	mig_put(out, magic, sizeof(magic));
	mig_put_u32(out, MIG_STREAM_VERSION);
	mig_put_u32(out, 0);
	mig_put(out, name, sizeof(name));
	mig_put_u64(out, 0);
	if (!out->error)
		mig_put_u64(out, XXH3_64bits(out->bytes + start, HEADER_SUMMED));
}

void mig_section_begin(struct mig_writer *w, uint32_t tag, uint32_t version)
{
	static const uint8_t later[16]; /* length and checksum */

	assert(!w->in_section);
	w->in_section = true;
	w->open = w->out->len;
	mig_put_u32(w->out, tag);
	mig_put_u32(w->out, version);
	mig_put_u64(w->out, w->sections);
	mig_put(w->out, later, sizeof(later));
}

void mig_section_end(struct mig_writer *w)
{
	struct mig_buf *out = w->out;
	uint64_t length, sum;
	uint8_t *header;

	assert(w->in_section);
	w->in_section = false;
	if (out->error)
		return;
	length = out->len - w->open - MIG_SECTION_HEADER;
	if (length > MIG_SECTION_BYTES_MAX) {
		out->error = -E2BIG;
		return;
	}
	header = out->bytes + w->open;
	memcpy(header + 16, &(uint64_t){htole64(length)}, 8);
	sum = htole64(XXH3_64bits(header, SECTION_SUMMED));
	memcpy(header + SECTION_SUMMED, &sum, sizeof(sum));
	mig_put_u64(out, XXH3_64bits_withSeed(header + MIG_SECTION_HEADER, length, w->sections));
	w->sections++;
	w->bytes += length;
}

size_t mig_section_bytes(const uint8_t *header)
{
	uint64_t length;

	memcpy(&length, header + 16, sizeof(length));
	return MIG_SECTION_HEADER + le64toh(length) + MIG_SECTION_CHECKSUM;
}

int mig_writer_end(struct mig_writer *w)
{
	const uint64_t sections = w->sections, bytes = w->bytes;

	mig_section_begin(w, MIG_TAG_END, 1);
	mig_put_u64(w->out, sections);
	mig_put_u64(w->out, bytes);
	mig_section_end(w);
	return w->out->error;
}

/* ---- contents ---- */

const void *mig_get(struct mig_in *in, size_t len)
{
	const void *at = in->at;

	if (in->bad || len > mig_left_bytes(in)) {
		in->bad = true;
		return NULL;
	}
	in->at += len;
	return at;
}

static void get(struct mig_in *in, void *out, size_t len)
{
	const void *bytes = mig_get(in, len);

	if (bytes)
		memcpy(out, bytes, len);
}

uint8_t mig_get_u8(struct mig_in *in)
{
	uint8_t value = 0;

	get(in, &value, sizeof(value));
	return value;
}

uint16_t mig_get_u16(struct mig_in *in)
{
	uint16_t value = 0;

	get(in, &value, sizeof(value));
	return le16toh(value);
}

uint32_t mig_get_u32(struct mig_in *in)
{
	uint32_t value = 0;

	get(in, &value, sizeof(value));
	return le32toh(value);
}

uint64_t mig_get_u64(struct mig_in *in)
{
	uint64_t value = 0;

	get(in, &value, sizeof(value));
	return le64toh(value);
}

/* ---- reading ---- */

/* What comes next. */
enum reader_state {
	READ_HEADER,
	READ_SECTION, /* its header */
	READ_CONTENTS,
	READ_NOTHING, /* it was the end */
	READ_FAILED,
	NR_READER_STATES
};
static const char *const state_names[] = {
	[READ_HEADER] = "its header",  [READ_SECTION] = "a section's header",
	[READ_CONTENTS] = "a section", [READ_NOTHING] = "nothing",
	[READ_FAILED] = "an error",
};
static_assert(sizeof(state_names) / sizeof(state_names[0]) == NR_READER_STATES, "a name each");

struct mig_reader {
	const struct mig_reader_ops *ops;
	void *arg;
	enum reader_state state;
	struct mig_buf piece; /* what has come of it */
	size_t wanted;        /* its bytes */
	uint64_t sections, bytes;
	struct mig_section section;
	int error; /* of READ_FAILED */
	struct uvfio_error message;
};

struct mig_reader *mig_reader_new(const struct mig_reader_ops *ops, void *arg)
{
	struct mig_reader *r = calloc(1, sizeof(*r));

	if (!r)
		return NULL;
	r->ops = ops;
	r->arg = arg;
	r->state = READ_HEADER;
	r->wanted = MIG_STREAM_HEADER;
	mig_buf_init(&r->piece, MIG_SECTION_BYTES_MAX + MIG_SECTION_CHECKSUM);
	return r;
}

void mig_reader_free(struct mig_reader *r)
{
	if (!r)
		return;
	mig_buf_fini(&r->piece);
	free(r);
}

/* What is said of a stream goes to logs and terminals: no more than these. */
static bool is_letter(char c)
{
	return c > ' ' && c <= '~';
}

static bool is_kind(uint32_t tag)
{
	for (unsigned i = 0; i < 4; i++) {
		if (!is_letter((char)(tag >> 8 * i)))
			return false;
	}
	return true;
}

/* Four letters. */
static const char *tag_text(uint32_t tag, char out[16])
{
	for (unsigned i = 0; i < 4; i++)
		out[i] = (char)(tag >> 8 * i);
	out[4] = '\0';
	return is_kind(tag) ? out : "????";
}

/* Letters, then zeros. */
static bool is_name(const char name[MIG_MODEL_NAME])
{
	size_t len = strnlen(name, MIG_MODEL_NAME);

	for (size_t i = 0; i < MIG_MODEL_NAME; i++) {
		if (i < len ? !is_letter(name[i]) : name[i] != '\0')
			return false;
	}
	return len && len < MIG_MODEL_NAME;
}

static int read_header(struct mig_reader *r, const uint8_t *piece, struct uvfio_error *err)
{
	struct mig_in in = {piece, piece + MIG_STREAM_HEADER, false};
	const void *mark = mig_get(&in, sizeof(magic));
	uint32_t version = mig_get_u32(&in), flags = mig_get_u32(&in);
	const char *model = mig_get(&in, MIG_MODEL_NAME);
	uint64_t reserved = mig_get_u64(&in), sum = mig_get_u64(&in);

	if (memcmp(mark, magic, sizeof(magic)) != 0)
		return uvfio_error_set(err, -EINVAL, "this is no stream of a device's state");
	if (sum != XXH3_64bits(piece, HEADER_SUMMED))
		return uvfio_error_set(err, -EINVAL, "the stream's header was damaged");
	if (version == MIG_STREAM_VERSION && (flags || reserved))
		return uvfio_error_set(err, -EINVAL,
				       "the stream's header has what is not known here: it takes a "
				       "newer uvfio");
	if (version != MIG_STREAM_VERSION)
		return uvfio_error_set(err, -EINVAL,
				       "the stream is of version %u, which is not known here: it "
				       "takes a newer uvfio",
				       version);
	if (!is_name(model))
		return uvfio_error_set(err, -EINVAL,
				       "the stream does not say of which model it is");
	r->state = READ_SECTION;
	r->wanted = MIG_SECTION_HEADER;
	return r->ops->header(r->arg, model, err);
}

static int read_section(struct mig_reader *r, const uint8_t *piece, struct uvfio_error *err)
{
	struct mig_in in = {piece, piece + MIG_SECTION_HEADER, false};
	struct mig_section *s = &r->section;
	uint64_t length, sum;
	char text[16];

	s->tag = mig_get_u32(&in);
	s->version = mig_get_u32(&in);
	s->number = mig_get_u64(&in);
	length = mig_get_u64(&in);
	sum = mig_get_u64(&in);
	if (sum != XXH3_64bits(piece, SECTION_SUMMED))
		return uvfio_error_set(err, -EINVAL, "the header of section %llu was damaged",
				       (unsigned long long)r->sections);
	if (s->number != r->sections)
		return uvfio_error_set(err, -EINVAL,
				       "section %llu (%s) comes where %llu was to come",
				       (unsigned long long)s->number, tag_text(s->tag, text),
				       (unsigned long long)r->sections);
	if (!is_kind(s->tag))
		return uvfio_error_set(err, -EINVAL, "section %llu is of no kind",
				       (unsigned long long)s->number);
	if (length > MIG_SECTION_BYTES_MAX)
		return uvfio_error_set(err, -EINVAL,
				       "section %llu (%s) has %llu bytes: more than %llu",
				       (unsigned long long)s->number, tag_text(s->tag, text),
				       (unsigned long long)length, MIG_SECTION_BYTES_MAX);
	r->state = READ_CONTENTS;
	r->wanted = length + MIG_SECTION_CHECKSUM;
	return 0;
}

static int read_end(struct mig_reader *r, struct uvfio_error *err)
{
	struct mig_in *in = &r->section.in;
	uint64_t sections = mig_get_u64(in), bytes = mig_get_u64(in);

	if (in->bad || mig_left_bytes(in) || r->section.version != 1 || sections != r->sections ||
	    bytes != r->bytes)
		return uvfio_error_set(
			err, -EINVAL, "the end of the stream does not agree with what came before");
	r->state = READ_NOTHING;
	r->wanted = 0;
	return 0;
}

static int read_contents(struct mig_reader *r, const uint8_t *piece, struct uvfio_error *err)
{
	size_t length = r->wanted - MIG_SECTION_CHECKSUM;
	struct mig_in sum = {piece + length, piece + r->wanted, false};
	char text[16];
	int ret;

	r->section.in = (struct mig_in){piece, piece + length, false};
	if (mig_get_u64(&sum) != XXH3_64bits_withSeed(piece, length, r->section.number))
		return uvfio_error_set(err, -EINVAL, "section %llu (%s) was damaged",
				       (unsigned long long)r->section.number,
				       tag_text(r->section.tag, text));
	r->state = READ_SECTION;
	r->wanted = MIG_SECTION_HEADER;
	if (r->section.tag == MIG_TAG_END)
		return read_end(r, err);
	ret = r->ops->section(r->arg, &r->section, err);
	r->sections++;
	r->bytes += length;
	return ret;
}

/* All ->wanted bytes of @piece are there. */
static int read_piece(struct mig_reader *r, const uint8_t *piece, struct uvfio_error *err)
{
	switch (r->state) {
	case READ_HEADER:
		return read_header(r, piece, err);
	case READ_SECTION:
		return read_section(r, piece, err);
	default:
		return read_contents(r, piece, err);
	}
}

static int fail(struct mig_reader *r, int error)
{
	r->state = READ_FAILED;
	r->error = error;
	mig_buf_fini(&r->piece);
	return error;
}

/* The message of READ_FAILED once more. */
static int failed(const struct mig_reader *r, struct uvfio_error *err)
{
	return uvfio_error_set(err, r->error, "%s", r->message.msg);
}

/* What is wanted next: where its bytes are when they have all come, or NULL.  What has come whole
 * in the caller's bytes is looked at there; *@at goes on. */
static const uint8_t *next_piece(struct mig_reader *r, const uint8_t **at, size_t *len)
{
	const uint8_t *piece = *at;
	size_t part = r->wanted - r->piece.len;
	bool whole = !r->piece.len && part <= *len;

	if (part > *len)
		part = *len;
	*at += part;
	*len -= part;
	if (whole)
		return piece;
	mig_put(&r->piece, piece, part);
	if (r->piece.error || r->piece.len < r->wanted)
		return NULL;
	r->piece.len = 0;
	return r->piece.bytes;
}

int mig_reader_feed(struct mig_reader *r, const void *bytes, size_t len, struct uvfio_error *err)
{
	const uint8_t *at = bytes, *piece;
	int ret = 0;

	while (len && r->state != READ_FAILED) {
		if (r->state == READ_NOTHING) {
			fail(r, uvfio_error_set(&r->message, -EINVAL,
						"there are bytes behind the end of the stream"));
			break;
		}
		piece = next_piece(r, &at, &len);
		if (piece)
			ret = read_piece(r, piece, &r->message);
		else if (r->piece.error)
			ret = uvfio_error_set(&r->message, r->piece.error, "out of memory");
		if (ret)
			fail(r, ret);
	}
	return r->state == READ_FAILED ? failed(r, err) : 0;
}

int mig_reader_end(struct mig_reader *r, struct uvfio_error *err)
{
	if (r->state == READ_FAILED)
		return failed(r, err);
	if (r->state == READ_NOTHING)
		return 0;
	return uvfio_error_set(
		err, -EINVAL,
		"the stream was cut: %s was to come, %zu of %zu bytes of it are there",
		state_names[r->state], r->piece.len, r->wanted);
}
