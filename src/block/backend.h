/* SPDX-License-Identifier: BSD-3-Clause */
/* What block.c and the backends share.  For nobody else. */
#ifndef UVFIO_BLOCK_BACKEND_H
#define UVFIO_BLOCK_BACKEND_H

#include <stddef.h>
#include "base/ctx.h"
#include "block/block.h"

#define container_of(ptr, type, member) ((type *)((char *)(ptr)-offsetof(type, member)))

struct block_ops {
	void (*close)(struct block *blk);
	/* As block_submit(), with the range, alignment, vector and permission checked; never an
	 * empty range. */
	int (*submit)(struct block *blk, struct block_io *io);
	/* The rest is optional. */
	void (*kick)(struct block *blk);
	int (*share)(struct block *blk, struct uvfio_device *dev, struct uvfio_ctx *ctx,
		     struct block **out);
	int (*note)(struct block *blk, void *buf, size_t size); /* as block_note() */
	void *(*direct)(struct block *blk, uint64_t offset, uint64_t len);
	void (*prefetch)(const struct block *blk, uint64_t offset, unsigned lines);
};

/* Embedded first in what a backend keeps. */
struct block {
	const struct block_ops *ops;
	struct uvfio_ctx *ctx;
	struct block_info info;
	struct block_info opened; /* @info as it was then: for block_share(), by any thread */
	void (*resized)(void *arg);
	void *resized_arg;
};

/* Requests in a row, linked through their core[0]. */
struct io_queue {
	struct block_io *head, **tail;
};

static inline void io_queue_init(struct io_queue *q)
{
	q->head = NULL;
	q->tail = &q->head;
}

static inline void io_queue_add(struct io_queue *q, struct block_io *io)
{
	io->core[0] = NULL;
	*q->tail = io;
	q->tail = (struct block_io **)&io->core[0];
}

static inline struct block_io *io_queue_take(struct io_queue *q)
{
	struct block_io *io = q->head;

	if (io) {
		q->head = io->core[0];
		if (!q->head)
			q->tail = &q->head;
	}
	return io;
}

/* The first lines of a page at @at, which need not be there; the CPU goes on by itself when it
 * finds that they are read in order. */
static inline void block_prefetch_lines(const char *at, unsigned lines)
{
	for (unsigned i = 0; i < lines; i++)
		__builtin_prefetch(at + i * 64);
}

/* Copy between a vector and a buffer, both ways; the vector may be client memory: 0 or -EFAULT. */
int iov_to_buf(const struct iovec *iov, int nr, uint64_t skip, void *buf, size_t len);
int iov_from_buf(const struct iovec *iov, int nr, uint64_t skip, const void *buf, size_t len);
/* Drop the first @len bytes of a vector, in place. */
void iov_advance(struct iovec **iov, int *nr, size_t len);

int file_open(const struct block_options *opts, struct uvfio_ctx *ctx, struct block **out,
	      struct uvfio_error *err);
int memory_open(const struct block_options *opts, struct uvfio_ctx *ctx, struct block **out,
		struct uvfio_error *err);
int nbd_backend_open(const struct block_options *opts, struct uvfio_ctx *ctx, struct block **out,
		     struct uvfio_error *err);
int volatile_open(const struct block_options *opts, struct uvfio_ctx *ctx, struct block **out,
		  struct uvfio_error *err);

/* Open and lock a regular file or block device: the descriptor, or -errno with a message.  Fills
 * @info except for can_discard, and says in *@is_device which it is. */
int file_open_locked(const struct block_options *opts, struct block_info *info, bool *is_device,
		     struct uvfio_error *err);
/* The note of a file is an extended attribute: can it have one; read it, as block_note(). */
#define FILE_NOTE "user.uvfio.nvme"
bool file_can_note(int fd);
int file_note_read(int fd, void *buf, size_t size);
/* file_lock.c.  Lock the whole of it; @wait: half a second for one who goes.  0, -EBUSY, -errno. */
int file_lock(int fd, bool shared, bool wait);
int file_unlock(int fd);
/* BLOCK_TAKE.  @foreign: pages of it that are in memory may be old. */
int file_take(int fd, unsigned flags, bool readonly, bool foreign);
/* BLOCK_NEXT_DATA: where, INT64_MAX when there is none, or -errno. */
int64_t file_next_data(int fd, uint64_t offset);
/* Unlock and close; the lock is gone at once, also where the kernel still holds the file. */
void file_close_locked(int fd);

#endif
