/* SPDX-License-Identifier: BSD-3-Clause */
/* What file.c (requests, calls), file_ring.c (io_uring) and file_map.c (reads without a call)
 * share. For nobody else. */
#ifndef UVFIO_BLOCK_FILE_H
#define UVFIO_BLOCK_FILE_H

#include <pthread.h>
#include <stdatomic.h>
#include <sys/queue.h>
#include "block/backend.h"
#include "block/pool.h"
#include "block/rings.h"

#define FILE_MAX_VECTOR 1024 /* the kernel's UIO_MAXIOV */

/* One system call. */
enum call {
	CALL_READ,
	CALL_WRITE,
	CALL_SYNC,
	CALL_ALLOCATE,
	CALL_DISCARD,
	CALL_SIZE,
	CALL_NOTE,
	CALL_UNLOCK,
	CALL_LOCK,
	CALL_SEEK
};

struct file_req {
	struct block_io *io;
	struct file_req *next_free;
	enum call call;
	struct iovec *iov;
	int nr_iov;
	uint64_t offset, left;
	int mode; /* of fallocate */
	unsigned retries;
	struct iovec zero;
	struct file *file;
	struct pool_job job;
	int64_t res; /* of a job */
	TAILQ_ENTRY(file_req) write_link;
};

/* file_map.c's, and file_windows.c's. */
struct file_map {
	bool on;
	struct map_use **places; /* by the offset in the file; NULL until it is first read */
	struct map_use *uses;
	unsigned nr;
	uint32_t full;        /* tick */
	uint32_t test_tick;   /* for tests: what time it is; 0: as the clock says */
	unsigned holes;       /* requests in flight that may make some */
	unsigned nr_writes;   /* in flight */
	uint64_t nr_changing; /* counted in common->begun, not yet in ->ended */
	TAILQ_HEAD(, file_req) writes;
	uint64_t reads; /* that took this way */
	unsigned taken; /* common->taken, when the windows were made */
};

/*
 * What those who share a file (block_share()) have in common.  Any thread.
 *
 * A write, or a deallocation, is counted in @begun before it begins and in @ended when it is over:
 * so a copy out of the page cache knows whether another one's came in between (file_map.c).
 */
struct file_common {
	atomic_uint users;
	int fd;
	bool shared; /* there may be others; without that the counters are not used */
	/* As it was opened. */
	bool is_device, use_ring, map;
	unsigned depth;
	atomic_int sync_error;
	_Atomic uint64_t begun, ended;
	atomic_uint taken; /* how often it was released or taken: what was mapped before is not
			      believed */
	_Atomic uint32_t map_off_until; /* tick: no reads out of the page cache before; 0: now */
	pthread_mutex_t windows_lock;
	struct map_window **windows; /* by the offset in the file; NULL: none yet.  windows_lock */
};

struct file {
	struct block blk;
	struct file_common *common;
	int fd; /* ->common's */
	bool is_device;
	bool can_punch, can_zero_range; /* as far as we know */
	char *zeroes;

	unsigned depth;
	bool prepared;  /* what requests need is there; of a shared file only from the first one on
			 */
	bool use_ring;  /* ->rings, or one of our own */
	int ring_error; /* why it is not */
	struct file_req *reqs, *free_reqs;
	struct io_queue waiting;

	bool ring_used, fixed;
	struct block_rings *rings; /* where ->ring is from; NULL: our own */
	struct block_ring *ring;
	struct uvfio_watch *watch;
	struct uvfio_timer *retry;
	struct uvfio_work again;
	bool again_posted, closing;
	bool busy; /* submitting or reaping */
	struct pool *pool;
	struct file_map map;
};

/* file.c: a call of @req has returned @res. */
void file_complete(struct file_req *req, int64_t res);
/* file.c: the last of it, after its close. */
void file_free(struct file *f);
/* file.c: what a request needs, in the context: 0, or -errno. */
int file_prepare(struct file *f);
/* file_share.c */
struct file_common *file_common_new(int fd, bool shared);
/* Unlock and close it when this was the last user. */
void file_common_drop(struct file_common *common);
int file_share(struct block *blk, struct uvfio_device *dev, struct uvfio_ctx *ctx,
	       struct block **out);
/* The ops of a file. */
extern const struct block_ops file_ops;
/* file.c: begin what waits, as far as there are free requests. */
void file_start_waiting(struct file *f);

/* file_ring.c: a ring of @rings, or a new one (NULL) for *@depth requests, which may become fewer.
 * @f->ring_used from here on, or -errno: -EAGAIN when no ring of @rings is left. */
int file_ring_open(struct file *f, struct block_rings *rings, unsigned *depth);
void file_ring_close(struct file *f);
/* Can the ring do this call? */
bool file_ring_can(const struct file *f, enum call call);
/* Put the call of @req into the ring; file_ring_work() submits it. */
void file_ring_add(struct file_req *req);
/* Submit what is in the ring and reap what is done. */
void file_ring_work(struct file *f);

/* file_map.c.  @f is open; its memory is used from the first read on. */
void file_map_open(struct file *f, const struct block_options *opts);
void file_map_close(struct file *f);
/* Do a read.  False when a call must do it; some of the data may be there then. */
bool file_map_read(struct file *f, const struct block_io *io);
/* A read of this will come soon. */
void file_map_prefetch(const struct file *f, uint64_t offset, unsigned lines);
/* Nothing is mapped any more, until it is read anew. */
void file_map_drop(struct file *f);
/* A request begins, and has ended. */
void file_map_begin(struct file_req *req);
void file_map_end(struct file_req *req);

#endif
