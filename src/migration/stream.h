/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The stream that a device's state travels in: sections, each with its kind, version, length and
 * checksums, between a header that says which model it is of and an end that says how many there
 * were.  All numbers are little-endian.  docs/migration-stream.md has the layout.
 *
 * Whoever reads one trusts nothing in it: a section is handed on when it has come whole, in its
 * order and unharmed; what it says is still the model's to check.
 *
 * No object here is shared: one thread at a time.
 */
#ifndef UVFIO_MIGRATION_STREAM_H
#define UVFIO_MIGRATION_STREAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uvfio/error.h>

#define MIG_STREAM_VERSION    1u
#define MIG_STREAM_HEADER     64u /* bytes */
#define MIG_SECTION_HEADER    32u
#define MIG_SECTION_CHECKSUM  8u           /* behind its contents */
#define MIG_SECTION_BYTES_MAX (4ull << 20) /* contents; what is larger is cut into several */
#define MIG_MODEL_NAME        32u          /* bytes, the last one zero */

/* A section's kind: four letters, "NVCT".  Those that begin with '.' are the stream's own. */
#define MIG_TAG(a, b, c, d)                                                                        \
	((uint32_t)(a) | (uint32_t)(b) << 8 | (uint32_t)(c) << 16 | (uint32_t)(d) << 24)
#define MIG_TAG_END MIG_TAG('.', 'E', 'N', 'D')

/* ---- writing ---- */

/* Bytes that grow, to @max at most.  Once something did not fit (-E2BIG) or there was no memory
 * (-ENOMEM), @error says so and nothing more is added. */
struct mig_buf {
	uint8_t *bytes;
	size_t len, room, max;
	int error;
};
void mig_buf_init(struct mig_buf *buf, size_t max);
void mig_buf_fini(struct mig_buf *buf);
/* The first @len bytes are not needed any more. */
void mig_buf_drop(struct mig_buf *buf, size_t len);

void mig_put(struct mig_buf *buf, const void *bytes, size_t len);
void mig_put_u8(struct mig_buf *buf, uint8_t value);
void mig_put_u16(struct mig_buf *buf, uint16_t value);
void mig_put_u32(struct mig_buf *buf, uint32_t value);
void mig_put_u64(struct mig_buf *buf, uint64_t value);

struct mig_writer {
	struct mig_buf *out;
	uint64_t sections, bytes; /* so far; of contents */
	size_t open;              /* where the header of the section being written lies */
	bool in_section;
};
/* Begin a stream of the model @model at the end of @out, which is the caller's and stays. */
void mig_writer_init(struct mig_writer *w, struct mig_buf *out, const char *model);
/* A section: what is put into ->out between the two is its contents, MIG_SECTION_BYTES_MAX at most
 * (else ->out->error is -E2BIG). */
void mig_section_begin(struct mig_writer *w, uint32_t tag, uint32_t version);
void mig_section_end(struct mig_writer *w);
/* Bytes of the whole section that was written at @header. */
size_t mig_section_bytes(const uint8_t *header);
/* The stream is complete.  0, or what went wrong on the way. */
int mig_writer_end(struct mig_writer *w);

/* ---- reading ---- */

/* The contents of a section, from its beginning on.  A read beyond the end gives zeros and sets
 * @bad, which the reader of it looks at once, at the end. */
struct mig_in {
	const uint8_t *at, *end;
	bool bad;
};
static inline size_t mig_left_bytes(const struct mig_in *in)
{
	return (size_t)(in->end - in->at);
}
/* The next @len bytes, or NULL. */
const void *mig_get(struct mig_in *in, size_t len);
uint8_t mig_get_u8(struct mig_in *in);
uint16_t mig_get_u16(struct mig_in *in);
uint32_t mig_get_u32(struct mig_in *in);
uint64_t mig_get_u64(struct mig_in *in);

struct mig_section {
	uint32_t tag, version;
	uint64_t number; /* from 0 */
	struct mig_in in;
};

/* What is done with a stream.  Both return 0, or -errno with a message, which ends it. */
struct mig_reader_ops {
	int (*header)(void *arg, const char *model, struct uvfio_error *err);
	int (*section)(void *arg, struct mig_section *section, struct uvfio_error *err);
};

struct mig_reader;
struct mig_reader *mig_reader_new(const struct mig_reader_ops *ops,
				  void *arg); /* NULL: no memory */
void mig_reader_free(struct mig_reader *reader);
/* The next bytes of the stream, in pieces of any size, which nobody changes meanwhile.  A section
 * that comes whole in one of them is not copied.  0; -EINVAL when it is none, was damaged, or
 * goes on behind its end; -ENOMEM; what the operations said.  After an error it stays at that. */
int mig_reader_feed(struct mig_reader *reader, const void *bytes, size_t len,
		    struct uvfio_error *err);
/* No more bytes come: 0 when the stream is complete, or -EINVAL, or the error before. */
int mig_reader_end(struct mig_reader *reader, struct uvfio_error *err);

#endif
