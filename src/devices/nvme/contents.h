/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The contents of namespaces that travel with the controller, because the other side does not see
 * their storage (key move=copy): what contents.c (saving) and contents_load.c share.
 *
 * Sections of the stream, all of version 1, numbers of a namespace first:
 *
 *	NVCB  u32 namespace, u64 bytes of its storage, u8 log2 of its block size: it begins
 *	NVCD  u32 namespace, u64 offset, then what is there, NVME_PIECE bytes at most
 *	NVCZ  u32 namespace, u64 offset, u64 bytes: there are zeroes
 *	NVCE  u32 namespace: that was all of it; whatever no section has named is not defined
 *
 * What comes later counts more.
 *
 * Theory of operation.  A piece of at most NVME_PIECE bytes is read, or written, by one request of
 * the backend; NVME_NR_PIECES of them are in flight at most, so that they take little of the
 * storage from the guest.  They are in a ring: what is saved is handed on in the order in which it
 * was begun to be read, and of what is loaded no two pieces that touch are in flight together.
 *
 * While a session saves, each write marks the granules (NVME_GRANULE bytes) that it has changed,
 * when it is complete and before its host is told so.  A mark is cleared before its granule is
 *read. So whatever a read has missed, or has seen half of, is marked after it and read again.
 *
 *   all of it, but for holes ──▶ what is marked, round and round ──▶ (stopped) the rest ──▶ NVCE
 *
 * Threads: the work context; marks are set by all controllers of the subsystem.
 */
#ifndef UVFIO_NVME_CONTENTS_H
#define UVFIO_NVME_CONTENTS_H

#include "devices/nvme/nvme.h"

#define NVME_PIECE            (256u << 10)
#define NVME_NR_PIECES        4u
#define NVME_GRANULE_BITS     16
#define NVME_GRANULE          (1u << NVME_GRANULE_BITS)

#define NVME_CONTENTS_VERSION 1u
#define NVME_CONTENTS_BEGIN   "NVCB"
#define NVME_CONTENTS_DATA    "NVCD"
#define NVME_CONTENTS_ZEROES  "NVCZ"
#define NVME_CONTENTS_END     "NVCE"

struct nvme_piece {
	struct nvme_ctrl *ctrl;
	bool busy;        /* the backend has it */
	unsigned session; /* that it is of */
	unsigned ns;      /* index */
	bool initial;     /* of the first pass */
	uint64_t offset, len;
	uint8_t *buf; /* NVME_PIECE bytes once it was used; NULL in @iov: there are zeroes */
	bool zeroes;
	struct iovec iov;
	struct block_io io;
};

struct nvme_contents {
	unsigned session;
	enum nvme_contents_mode {
		NVME_CONTENTS_IDLE,
		NVME_CONTENTS_SAVING,
		NVME_CONTENTS_LOADING,
		NVME_CONTENTS_NR_MODES
	} mode;
	bool waited; /* uvfio_migration_done() is owed */
	int error;   /* the session cannot be completed */
	struct nvme_piece pieces[NVME_NR_PIECES];
	unsigned head, nr; /* saving: a ring */
	unsigned nr_busy;  /* pieces, and the look for data */

	/* Saving. */
	bool first_pass;
	unsigned ns; /* where it is */
	uint64_t at;
	uint64_t data; /* first pass: there is some from @at up to here, as far as is known */
	bool looking;  /* for data */
	unsigned looks;
	uint64_t found;
	struct block_io look;
	unsigned begun, ended; /* namespaces of which NVCB, NVCE was put; in their order */

	/* Loading: NVME_LOADED_… of each namespace. */
	uint8_t *loaded;
};

#define NVME_LOADED_BEGUN   1u
#define NVME_LOADED_FLUSHED 2u
#define NVME_LOADED_ENDED   4u
#define NVME_LOADED_4K      8u  /* its block size, else 512 */
#define NVME_LOADED_NOTE    16u /* and that is to be noted */

/* A bit for each granule. */
struct nvme_dirty {
	struct nvme_dirty *older; /* which others may look at still */
	uint64_t granules;
	_Atomic uint64_t words[];
};

/* ---- contents_marks.c ---- */
/* From now on writes to @d, of @size bytes, are marked, for @c; nothing is at first.  0, -ENOMEM,
 * -EBUSY: another controller's session has the marks. */
int nvme_marks_start(struct nvme_ctrl *c, struct nvme_disk *d, uint64_t size);
/* Those of a range of bytes. */
void nvme_marks_clear(struct nvme_dirty *dirty, uint64_t offset, uint64_t len);
/* The first granule from @i on that is marked, or as many as there are. */
uint64_t nvme_marks_next(const struct nvme_dirty *dirty, uint64_t i);
/* Marked granules before @end. */
uint64_t nvme_marks_count(const struct nvme_dirty *dirty, uint64_t end);

/* ---- contents.c ---- */
/* Does namespace @index go along with @c? */
static inline bool nvme_contents_has(const struct nvme_ctrl *c, unsigned index)
{
	return c->sub->disks[index].copied && (!c->secondary || c->ns[index].attached);
}
/* Of the storage of namespace @index. */
static inline uint64_t nvme_contents_bytes(const struct nvme_ctrl *c, unsigned index)
{
	return block_info(c->ns[index].blk)->size;
}
static inline struct nvme_dirty *nvme_marks_of(const struct nvme_ctrl *c, unsigned index)
{
	return atomic_load(&c->sub->disks[index].dirty);
}
/* Of @c; made when it is needed first.  NULL: no memory. */
struct nvme_contents *nvme_contents_get(struct nvme_ctrl *c);
/* Begin piece @p, which has its place; its buffer is there.  True: it is busy. */
bool nvme_piece_submit(struct nvme_piece *p, enum block_op op, unsigned flags);
/* A piece of @c's has come back from the backend: whoever waits goes on. */
void nvme_contents_wake(struct nvme_contents *s, struct nvme_ctrl *c);
/* It has a buffer; false: no memory. */
bool nvme_piece_buffer(struct nvme_piece *p);
/* What is loaded begins; what has come before does not count. */
void nvme_contents_load_begin(struct nvme_ctrl *c);

#endif
