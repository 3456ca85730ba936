/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Where a namespace keeps its data: a raw file or block device (io_uring), memory, or an NBD
 * server. One ops table; every backend behaves alike.  Offsets and lengths are bytes and multiples
 * of block_info.align.
 *
 * Threads: all calls come from one work context, and ->done runs in it.  Storage that several
 * contexts use has a struct block for each of them (block_share()), which have nothing in common
 * but the data, so that no context ever waits for another one.
 */
#ifndef UVFIO_BLOCK_BLOCK_H
#define UVFIO_BLOCK_BLOCK_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>
#include <uvfio/device.h>

struct block;
struct uvfio_ctx;

enum block_op {
	BLOCK_READ,
	BLOCK_WRITE,
	BLOCK_FLUSH,
	BLOCK_DISCARD,
	BLOCK_WRITE_ZEROES,
	BLOCK_GET_SIZE, /* look whether the size has changed; block_on_resize's @fn runs before
			 * ->done
			 */
	BLOCK_NOTE,     /* keep a few bytes beside the data, durable when done: see block_note() */
	BLOCK_RELEASE,  /* others may have it: no lock, no connection; see "handing over" below */
	BLOCK_TAKE,     /* it is ours again, or for the first time */
	BLOCK_NEXT_DATA /* ->offset becomes that of the next byte which is not known to be in a
			 * hole, or the size */
};
#define BLOCK_NR_OPS   (BLOCK_NEXT_DATA + 1)

#define BLOCK_NOTE_MAX 128 /* bytes */

#define BLOCK_FUA      (1u << 0) /* write, write zeroes: on stable storage when done */
#define BLOCK_MAY_FREE (1u << 1) /* write zeroes: may deallocate */
#define BLOCK_NOWAIT   (1u << 2) /* take: who has it keeps it, also one that is about to end */

/* One request; the caller's until it is submitted, the backend's until it is done. */
struct block_io {
	enum block_op op;
	unsigned flags;
	uint64_t offset, len; /* flush, size, note: ignored */
	/* Read, write: adds up to @len; note: one entry.  The addresses may be pinned client
	 * memory, which may go at any moment.  The backend may change the entries. */
	struct iovec *iov;
	int nr_iov;
	void (*done)(struct block_io *io);
	/* 0, or -errno of which the usual ones are: -EIO, -ENOSPC, -EFAULT (the memory has gone),
	 * -EROFS, -ENXIO (outside the device, which may have been cut), -EINVAL (not aligned).
	 * After a failure any part of the range may hold old or new data. */
	int status;
	void *core[4];
};

struct block_info {
	uint64_t size;  /* bytes */
	uint32_t align; /* bytes: 512 or 4096, or 1 */
	bool readonly;
	bool can_discard;
	bool can_fua;        /* BLOCK_FUA is honoured (it may cost a flush underneath) */
	bool volatile_cache; /* what was not flushed may be lost */
	bool can_resize;     /* the size may change: see BLOCK_GET_SIZE */
	bool can_note;       /* BLOCK_NOTE keeps a note for as long as the data */
};

struct block_options {
	struct uvfio_device *dev; /* whose uvfio_open() and uvfio_connect() are used; may be NULL */
	const char *file;         /* exactly one of file, memory (bytes), nbd is set */
	uint64_t memory;
	const char *nbd;
	bool readonly;
	bool direct;    /* file: O_DIRECT */
	bool no_map;    /* file: read by calls only, never out of a mapping of the page cache */
	unsigned depth; /* requests in flight, 0: default; what is beyond waits, and never fails */
	unsigned timeout_ms; /* nbd: how long a server may take to answer, 0: 30 s */
	bool threads;        /* file: system calls in threads instead of io_uring (for tests; it is
			      * done by itself where io_uring is not allowed) */
	/* file, for tests: what was not flushed is kept in memory only and so lost in a crash. */
	bool volatile_test;
	bool shared;   /* block_share() will be called */
	bool unlocked; /* somebody else has it: neither lock nor connection until BLOCK_TAKE */
};

/*
 * 0, or -errno with a message that says what, where and what to do.  A file is locked against other
 * users of it (an OFD lock of the whole file, shared when it is read-only): -EBUSY.
 */
int block_open(const struct block_options *opts, struct uvfio_ctx *ctx, struct block **out,
	       struct uvfio_error *err);
/*
 * The same storage for one more context: a struct block of its own, closed by itself, in any order.
 * Costs little until the first request, and waits for nothing.  @blk was opened with ->shared; @dev
 * is whose uvfio_open() and uvfio_connect() are used.  Any thread, while nobody closes @blk.
 * What one of them has written, all read, once that is done; a flush by one covers what all have
 * written.  A block (4 KiB, or the storage's if smaller) that one of them writes while another one
 * reads it is read as it was or as it will be, as far as the storage keeps them apart.  Each finds
 * out about the size by itself.  0, -ENOMEM.
 */
int block_share(struct block *blk, struct uvfio_device *dev, struct uvfio_ctx *ctx,
		struct block **out);
/* Nothing is in flight.  Flushes nothing: that is what BLOCK_FLUSH is for.  Within the context, or
 * while nothing runs it.  NULL is allowed. */
void block_close(struct block *blk);
const struct block_info *block_info(const struct block *blk);
/* The storage is known to have @size bytes now: what block_on_resize() asked for runs when that is
 * news.  Within the context. */
void block_set_size(struct block *blk, uint64_t size);
/* @fn runs in the context when the size has changed. */
void block_on_resize(struct block *blk, void (*fn)(void *arg), void *arg);
/* What BLOCK_NOTE has kept, in this run or an earlier one, whoever wrote it: the number of bytes, 0
 * when there is none, or -errno.  May wait for the disk: for the time of opening. */
int block_note(struct block *blk, void *buf, size_t size);

/* 0: done, ->status is set and ->done is not called.  1: ->done will be called in the context, but
 * never within this call. */
int block_submit(struct block *blk, struct block_io *io);
/*
 * Handing over, from one server to another that sees the same storage.  Whoever has it flushes it
 * and then releases it; from then on nothing is read or written (the caller sees to that) until it
 * is taken, which does not flush and fails with -EBUSY while another one has the lock.  Then
 * nothing is believed that was known before: not the size (block_on_resize()), nor what is in
 * memory of it.
 *
 * File: the lock, which is one for all that share it.  NBD, which knows no locks: the connection;
 * for each by itself.  Memory: nothing.
 */
/* Hand queued requests to the kernel; call once after a burst of block_submit().  What completes at
 * once is completed here: ->done may run within this call.  A call from within ->done does nothing
 * and is not needed. */
void block_kick(struct block *blk);
/* A hint: a read at @offset follows within some commands; @lines of 64 bytes are worth having by
 * then. One is enough for the CPU to find out where the page is.  Any offset. */
void block_prefetch(const struct block *blk, uint64_t offset, unsigned lines);
/* Memory backend that is not shared: the bytes themselves, or NULL.  Valid until block_close(). */
void *block_direct(struct block *blk, uint64_t offset, uint64_t len);

#endif
