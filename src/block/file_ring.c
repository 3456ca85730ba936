/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The io_uring under a raw file.
 *
 * Theory of operation.  file_ring_work() submits, and reaps at once what the page cache answered;
 * for what comes later the ring signals an eventfd which the loop watches.  The signal is switched
 * off while we reap anyway.
 *
 * The context may be run by any thread, so several threads submit to the ring, one at a time.  When
 * a thread ends, the kernel fails what it has submitted and what still waits for the disk, with
 * ECANCELED or, as if its memory had gone, with EFAULT; file.c knows that.
 */
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>
#include "block/file.h"

#define MAX_ONE     (1u << 30)
#define REAP_BATCH  32
#define KICK_ROUNDS 8

static void prepare(struct file *f, struct io_uring_sqe *sqe, struct file_req *req)
{
	int nr = req->nr_iov < FILE_MAX_VECTOR ? req->nr_iov : FILE_MAX_VECTOR,
	    fd = f->fixed ? 0 : f->fd;
	bool one = nr == 1 && (req->call == CALL_READ || req->call == CALL_WRITE);
	unsigned len = one ? (req->iov->iov_len < MAX_ONE ? req->iov->iov_len : MAX_ONE) : 0;

	switch (req->call) {
	case CALL_READ:
		if (one)
			io_uring_prep_read(sqe, fd, req->iov->iov_base, len, req->offset);
		else
			io_uring_prep_readv(sqe, fd, req->iov, nr, req->offset);
		break;
	case CALL_WRITE:
		if (one)
			io_uring_prep_write(sqe, fd, req->iov->iov_base, len, req->offset);
		else
			io_uring_prep_writev(sqe, fd, req->iov, nr, req->offset);
		if (req->io->flags & BLOCK_FUA)
			sqe->rw_flags = RWF_DSYNC;
		break;
	case CALL_SYNC:
		io_uring_prep_fsync(sqe, fd, IORING_FSYNC_DATASYNC);
		break;
	case CALL_ALLOCATE:
		io_uring_prep_fallocate(sqe, fd, req->mode, req->offset, req->left);
		break;
	case CALL_DISCARD:
	case CALL_SIZE:
	case CALL_NOTE:
	case CALL_UNLOCK:
	case CALL_LOCK:
	case CALL_SEEK:
		break; /* not here */
	}
	if (f->fixed)
		sqe->flags |= IOSQE_FIXED_FILE;
	io_uring_sqe_set_data(sqe, req);
}

bool file_ring_can(const struct file *f, enum call call)
{
	return f->ring_used && (call == CALL_READ || call == CALL_WRITE || call == CALL_SYNC ||
				call == CALL_ALLOCATE);
}

void file_ring_add(struct file_req *req)
{
	/* There are at least as many entries as requests. */
	prepare(req->file, io_uring_get_sqe(&req->file->ring->ring), req);
}

static bool reap(struct file *f)
{
	struct io_uring_cqe *cqes[REAP_BATCH];
	struct {
		struct file_req *req;
		int res;
	} got[REAP_BATCH];
	bool any = false;
	unsigned n;

	while ((n = io_uring_peek_batch_cqe(&f->ring->ring, cqes, REAP_BATCH))) {
		for (unsigned i = 0; i < n; i++) {
			got[i].req = io_uring_cqe_get_data(cqes[i]);
			got[i].res = cqes[i]->res;
		}
		io_uring_cq_advance(&f->ring->ring, n);
		for (unsigned i = 0; i < n; i++)
			file_complete(got[i].req, got[i].res);
		file_start_waiting(f);
		any = true;
		if (n < REAP_BATCH)
			break;
	}
	return any;
}

/* False when the kernel wants to be asked again later. */
static bool submit(struct file *f)
{
	while (io_uring_sq_ready(&f->ring->ring)) {
		int rc = io_uring_submit(&f->ring->ring);

		if (rc <= 0 && rc != -EINTR) {
			uvfio_timer_arm(f->retry, 1000000);
			return false;
		}
	}
	return true;
}

static void post_again(struct file *f)
{
	if (!f->again_posted) {
		f->again_posted = true;
		uvfio_ctx_post(f->blk.ctx, &f->again);
	}
}

void file_ring_work(struct file *f)
{
	bool more = true;

	if (f->busy || !f->ring_used)
		return;
	if (!io_uring_sq_ready(&f->ring->ring) && !io_uring_cq_ready(&f->ring->ring))
		return;
	f->busy = true;
	io_uring_cq_eventfd_toggle(&f->ring->ring, false);
	/* What is answered at once makes room for more, which may be answered at once too; leave
	 * time for others. */
	for (int i = 0; i < KICK_ROUNDS && more; i++) {
		if (!submit(f))
			break;
		more = reap(f);
	}
	io_uring_cq_eventfd_toggle(&f->ring->ring, true);
	f->busy = false;
	/* What came before the signal was on again has not been signalled. */
	if (io_uring_cq_ready(&f->ring->ring) || (more && io_uring_sq_ready(&f->ring->ring)))
		post_again(f);
}

static void on_eventfd(void *arg)
{
	struct file *f = arg;
	uint64_t count;

	if (read(f->ring->evfd, &count, sizeof(count)) < 0 && errno != EAGAIN)
		return;
	file_ring_work(f);
}

static void on_retry(void *arg)
{
	file_ring_work(arg);
}

static void on_again(struct uvfio_work *work)
{
	struct file *f = container_of(work, struct file, again);

	f->again_posted = false;
	if (f->closing)
		file_free(f);
	else
		file_ring_work(f);
}

/* A ring of the process's stock, where it has one, or a new one.  Requests beyond what it takes
 * wait elsewhere. */
static int get_ring(struct file *f, unsigned *depth)
{
	int ret = 0;

	if (f->rings) {
		f->ring = block_rings_take(f->rings);
		if (*depth > BLOCK_RING_DEPTH)
			*depth = BLOCK_RING_DEPTH;
		return f->ring ? 0 : -EAGAIN;
	}
	f->ring = calloc(1, sizeof(*f->ring));
	ret = f->ring ? block_ring_init(f->ring, *depth) : -ENOMEM;
	if (ret) {
		free(f->ring);
		f->ring = NULL;
	}
	return ret;
}

static void put_ring(struct file *f)
{
	if (f->rings) {
		block_rings_put(f->rings, f->ring);
	} else {
		block_ring_fini(f->ring);
		free(f->ring);
	}
	f->ring = NULL;
}

int file_ring_open(struct file *f, struct block_rings *rings, unsigned *depth)
{
	int rc;

	f->rings = rings;
	f->again.fn = on_again;
	rc = get_ring(f, depth);
	if (rc)
		return rc;
	f->watch = uvfio_watch_new(f->blk.ctx, f->ring->evfd, on_eventfd, f);
	f->retry = uvfio_ctx_timer_new(f->blk.ctx, on_retry, f);
	if (!f->watch || !f->retry) {
		uvfio_watch_free(f->watch);
		f->watch = NULL;
		uvfio_timer_free(f->retry);
		f->retry = NULL;
		put_ring(f);
		return -ENOMEM;
	}
	/* With a restricted one nothing can be registered. */
	f->fixed = !rings && !io_uring_register_files(&f->ring->ring, &f->fd, 1);
	f->ring_used = true;
	return 0;
}

void file_ring_close(struct file *f)
{
	if (!f->ring_used)
		return;
	uvfio_watch_free(f->watch);
	uvfio_timer_free(f->retry);
	/* The kernel takes a ring down in the background; let go of the file before. */
	if (f->fixed)
		io_uring_unregister_files(&f->ring->ring);
	put_ring(f);
}
