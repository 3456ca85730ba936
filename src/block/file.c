/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A raw file or block device.
 *
 * Theory of operation.  A request becomes a struct file_req, of which there are `depth`; what is
 * beyond waits in a queue.  A file_req does one system call after another until the request is
 * done: what a short read or write left, a call that must be tried again, the next best way to
 * write zeroes, and the fdatasync that FUA needs after anything but a write (a write has
 * RWF_DSYNC).
 *
 * A call goes to io_uring.  block_kick() submits, and reaps at once what the page cache answered;
 * for what comes later the ring signals an eventfd which the loop watches.  The signal is switched
 * off while we reap anyway.  What io_uring cannot do (BLKDISCARD), and everything where it is not
 * allowed (old container profiles, kernel.io_uring_disabled), goes to a pool of threads.
 *
 * The context may be run by any thread, so several threads submit to the ring, one at a time.  When
 * a thread ends, the kernel fails what it has submitted and what still waits for the disk, with
 * ECANCELED or, as if its memory had gone, with EFAULT.  So the first means once more, and the
 * second is believed only when it comes again and again.
 *
 * A failed fdatasync is kept: the kernel reports the loss of pages once and marks them clean, so a
 * later success would be a lie.  From then on every flush fails.
 */
#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <linux/fs.h>
#include <linux/falloc.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include "block/backend.h"
#include "block/pool.h"

#define DEFAULT_DEPTH   256u
#define MAX_DEPTH       4096u
#define MAX_VECTOR      1024 /* the kernel's UIO_MAXIOV */
#define MAX_ONE         (1u << 30)
#define FAULTS_BELIEVED 3
#define MAX_RETRIES     1000
#define ZEROES          (1u << 20) /* bytes written at once where nothing better works */
#define POOL_THREADS    4
#define REAP_BATCH      32
#define KICK_ROUNDS     8

/* One system call. */
enum call { CALL_READ, CALL_WRITE, CALL_SYNC, CALL_ALLOCATE, CALL_DISCARD };

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
};

struct file {
	struct block blk;
	int fd;
	bool is_device;
	bool can_punch, can_zero_range; /* as far as we know */
	int sync_error;
	char *zeroes;

	struct file_req *reqs, *free_reqs;
	struct io_queue waiting;

	bool ring_used, fixed;
	struct io_uring ring;
	int evfd;
	struct uvfio_watch *watch;
	struct uvfio_timer *retry;
	struct uvfio_work again;
	bool again_posted, closing;
	bool busy; /* submitting or reaping */
	struct pool *pool;
};

static void complete(struct file_req *req, int64_t res);

/* ---- the calls ---- */

static void run_job(struct pool_job *job)
{
	struct file_req *req = container_of(job, struct file_req, job);
	int nr = req->nr_iov < MAX_VECTOR ? req->nr_iov : MAX_VECTOR, fd = req->file->fd;
	uint64_t range[2] = {req->offset, req->left};

	switch (req->call) {
	case CALL_READ:
		req->res = preadv(fd, req->iov, nr, req->offset);
		break;
	case CALL_WRITE:
		req->res = pwritev2(fd, req->iov, nr, req->offset,
				    req->io->flags & BLOCK_FUA ? RWF_DSYNC : 0);
		break;
	case CALL_SYNC:
		req->res = fdatasync(fd);
		break;
	case CALL_ALLOCATE:
		req->res = fallocate(fd, req->mode, req->offset, req->left);
		break;
	case CALL_DISCARD:
		req->res = ioctl(fd, BLKDISCARD, range);
		break;
	}
	if (req->res < 0)
		req->res = -errno;
}

static void job_done(struct uvfio_work *work)
{
	struct file_req *req = container_of(work, struct file_req, job.work);

	complete(req, req->res);
	block_kick(&req->file->blk);
}

static void prepare(struct file *f, struct io_uring_sqe *sqe, struct file_req *req)
{
	int nr = req->nr_iov < MAX_VECTOR ? req->nr_iov : MAX_VECTOR, fd = f->fixed ? 0 : f->fd;
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
		break; /* not here */
	}
	if (f->fixed)
		sqe->flags |= IOSQE_FIXED_FILE;
	io_uring_sqe_set_data(sqe, req);
}

static void start_call(struct file_req *req)
{
	struct file *f = req->file;
	struct io_uring_sqe *sqe;

	if (f->ring_used && req->call != CALL_DISCARD) {
		/* There are at least as many entries as requests. */
		sqe = io_uring_get_sqe(&f->ring);
		prepare(f, sqe, req);
		return;
	}
	if (!f->pool)
		f->pool = pool_new(f->blk.ctx, f->ring_used ? 1 : POOL_THREADS);
	if (f->pool) {
		pool_submit(f->pool, &req->job, run_job, job_done);
	} else {
		run_job(&req->job); /* no memory: do it here, and complete it as if elsewhere */
		req->job.work.fn = job_done;
		uvfio_ctx_post(f->blk.ctx, &req->job.work);
	}
}

/* ---- requests ---- */

static void end(struct file_req *req, int status)
{
	struct block_io *io = req->io;
	struct file *f = req->file;

	req->next_free = f->free_reqs;
	f->free_reqs = req;
	io->status = status;
	io->done(io);
}

/* The best way to write zeroes that is not known to fail. */
static void start_zeroes(struct file_req *req)
{
	struct file *f = req->file;

	req->call = CALL_ALLOCATE;
	if ((req->io->flags & BLOCK_MAY_FREE) && f->can_punch) {
		req->mode = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
	} else if (f->can_zero_range) {
		req->mode = FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE;
	} else {
		req->call = CALL_WRITE;
		req->zero.iov_base = f->zeroes;
		req->zero.iov_len = req->left < ZEROES ? req->left : ZEROES;
		req->iov = &req->zero;
		req->nr_iov = 1;
	}
	start_call(req);
}

static void start(struct file *f, struct file_req *req, struct block_io *io)
{
	req->io = io;
	req->file = f;
	req->iov = io->iov;
	req->nr_iov = io->nr_iov;
	req->offset = io->offset;
	req->left = io->len;
	req->retries = 0;
	switch (io->op) {
	case BLOCK_READ:
		req->call = CALL_READ;
		break;
	case BLOCK_WRITE:
		req->call = CALL_WRITE;
		break;
	case BLOCK_FLUSH:
		req->call = CALL_SYNC;
		break;
	case BLOCK_DISCARD:
		req->call = f->is_device ? CALL_DISCARD : CALL_ALLOCATE;
		req->mode = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
		break;
	case BLOCK_WRITE_ZEROES:
		start_zeroes(req);
		return;
	}
	start_call(req);
}

/* A call that the file system does not have: the next best, or the end of it. */
static void unsupported(struct file_req *req)
{
	struct file *f = req->file;

	if (req->io->op == BLOCK_DISCARD) {
		f->blk.info.can_discard = false;
		end(req, 0); /* it is a hint */
		return;
	}
	if (req->mode & FALLOC_FL_PUNCH_HOLE)
		f->can_punch = false;
	else
		f->can_zero_range = false;
	start_zeroes(req);
}

static void transferred(struct file_req *req, uint64_t n)
{
	if (!n || n > req->left) {
		/* The file has been cut, or the device is smaller than it said. */
		end(req, -EIO);
		return;
	}
	req->retries = 0;
	req->offset += n;
	req->left -= n;
	if (!req->left) {
		end(req, 0); /* FUA: RWF_DSYNC has done it */
		return;
	}
	if (req->io->op == BLOCK_WRITE_ZEROES) {
		start_zeroes(req);
		return;
	}
	iov_advance(&req->iov, &req->nr_iov, n);
	start_call(req);
}

static void failed(struct file_req *req, int error)
{
	/* RWF_DSYNC may have taken the one report of a loss that concerns other writes. */
	if (req->call == CALL_WRITE && (req->io->flags & BLOCK_FUA) && error == -EIO &&
	    !req->file->sync_error)
		req->file->sync_error = error;
	end(req, error);
}

/* Not an answer, but an accident on the way. */
static bool must_retry(struct file_req *req, int64_t res)
{
	switch (res) {
	case -EINTR:
	case -EAGAIN:
	case -ECANCELED:
		return ++req->retries < MAX_RETRIES;
	case -EFAULT:
		return req->file->ring_used && ++req->retries < FAULTS_BELIEVED;
	}
	return false;
}

static void complete(struct file_req *req, int64_t res)
{
	struct file *f = req->file;

	if (must_retry(req, res)) {
		start_call(req);
		return;
	}
	switch (req->call) {
	case CALL_READ:
	case CALL_WRITE:
		if (res >= 0)
			transferred(req, res);
		else
			failed(req, res == -EAGAIN ? -EIO : res);
		break;
	case CALL_SYNC:
		if (res < 0 && !f->sync_error)
			f->sync_error = res;
		end(req, f->sync_error);
		break;
	case CALL_ALLOCATE:
	case CALL_DISCARD:
		if (res == -EOPNOTSUPP || res == -ENOSYS) {
			unsupported(req);
		} else if (res < 0) {
			end(req, res);
		} else if (req->io->op == BLOCK_WRITE_ZEROES && (req->io->flags & BLOCK_FUA)) {
			req->call = CALL_SYNC;
			start_call(req);
		} else {
			end(req, 0);
		}
		break;
	}
}

static void start_waiting(struct file *f)
{
	while (f->free_reqs && f->waiting.head) {
		struct file_req *req = f->free_reqs;

		f->free_reqs = req->next_free;
		start(f, req, io_queue_take(&f->waiting));
	}
}

/* ---- the ring ---- */

static bool reap(struct file *f)
{
	struct io_uring_cqe *cqes[REAP_BATCH];
	struct {
		struct file_req *req;
		int res;
	} got[REAP_BATCH];
	bool any = false;
	unsigned n;

	while ((n = io_uring_peek_batch_cqe(&f->ring, cqes, REAP_BATCH))) {
		for (unsigned i = 0; i < n; i++) {
			got[i].req = io_uring_cqe_get_data(cqes[i]);
			got[i].res = cqes[i]->res;
		}
		io_uring_cq_advance(&f->ring, n);
		for (unsigned i = 0; i < n; i++)
			complete(got[i].req, got[i].res);
		start_waiting(f);
		any = true;
		if (n < REAP_BATCH)
			break;
	}
	return any;
}

/* False when the kernel wants to be asked again later. */
static bool submit(struct file *f)
{
	while (io_uring_sq_ready(&f->ring)) {
		int rc = io_uring_submit(&f->ring);

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

static bool work_ring(struct file *f)
{
	bool any = false, more = true;

	if (f->busy || !f->ring_used)
		return false;
	if (!io_uring_sq_ready(&f->ring) && !io_uring_cq_ready(&f->ring))
		return false;
	f->busy = true;
	io_uring_cq_eventfd_toggle(&f->ring, false);
	/* What is answered at once makes room for more, which may be answered at once too; leave
	 * time for others. */
	for (int i = 0; i < KICK_ROUNDS && more; i++) {
		if (!submit(f))
			break;
		more = reap(f);
		any |= more;
	}
	io_uring_cq_eventfd_toggle(&f->ring, true);
	f->busy = false;
	/* What came before the signal was on again has not been signalled. */
	if (io_uring_cq_ready(&f->ring) || (more && io_uring_sq_ready(&f->ring)))
		post_again(f);
	return any;
}

static void on_eventfd(void *arg)
{
	struct file *f = arg;
	uint64_t count;

	if (read(f->evfd, &count, sizeof(count)) < 0 && errno != EAGAIN)
		return;
	work_ring(f);
}

static void on_retry(void *arg)
{
	work_ring(arg);
}

static void free_file(struct file *f)
{
	free(f->reqs);
	free(f);
}

static void on_again(struct uvfio_work *work)
{
	struct file *f = container_of(work, struct file, again);

	f->again_posted = false;
	if (f->closing)
		free_file(f);
	else
		work_ring(f);
}

static int ring_open(struct file *f, unsigned depth)
{
	struct io_uring_params params = {.flags = IORING_SETUP_CLAMP | IORING_SETUP_SUBMIT_ALL};
	int rc = io_uring_queue_init_params(depth, &f->ring, &params);

	if (rc)
		return rc;
	f->evfd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	rc = f->evfd < 0 ? -errno : io_uring_register_eventfd(&f->ring, f->evfd);
	if (!rc) {
		f->watch = uvfio_watch_new(f->blk.ctx, f->evfd, on_eventfd, f);
		f->retry = uvfio_ctx_timer_new(f->blk.ctx, on_retry, f);
		rc = f->watch && f->retry ? 0 : -ENOMEM;
	}
	if (rc) {
		uvfio_watch_free(f->watch);
		f->watch = NULL;
		uvfio_timer_free(f->retry);
		f->retry = NULL;
		if (f->evfd >= 0)
			close(f->evfd);
		f->evfd = -1;
		io_uring_queue_exit(&f->ring);
		return rc;
	}
	f->fixed = !io_uring_register_files(&f->ring, &f->fd, 1);
	f->ring_used = true;
	return 0;
}

/* ---- the backend ---- */

static int file_submit(struct block *blk, struct block_io *io)
{
	struct file *f = container_of(blk, struct file, blk);

	if (io->op == BLOCK_FLUSH && f->sync_error) {
		io->status = f->sync_error;
		return 0;
	}
	io_queue_add(&f->waiting, io);
	start_waiting(f);
	return 1;
}

static void file_kick(struct block *blk)
{
	struct file *f = container_of(blk, struct file, blk);

	start_waiting(f);
	work_ring(f);
}

static bool file_poll(struct block *blk)
{
	return work_ring(container_of(blk, struct file, blk));
}

static uint64_t file_size(struct block *blk)
{
	struct file *f = container_of(blk, struct file, blk);
	uint64_t size = blk->info.size;
	struct stat st;

	if (f->is_device)
		return ioctl(f->fd, BLKGETSIZE64, &size) ? blk->info.size : size;
	return fstat(f->fd, &st) ? size : (uint64_t)st.st_size;
}

static void file_close(struct block *blk)
{
	struct file *f = container_of(blk, struct file, blk);

	pool_free(f->pool);
	if (f->ring_used) {
		uvfio_watch_free(f->watch);
		uvfio_timer_free(f->retry);
		/* The kernel takes a ring down in the background; let go of the file before. */
		if (f->fixed)
			io_uring_unregister_files(&f->ring);
		io_uring_queue_exit(&f->ring);
		close(f->evfd);
	}
	file_close_locked(f->fd);
	if (f->zeroes)
		munmap(f->zeroes, ZEROES);
	f->closing = true;
	if (!f->again_posted)
		free_file(f);
}

static const struct block_ops file_ops = {
	.close = file_close,
	.submit = file_submit,
	.kick = file_kick,
	.poll = file_poll,
	.size = file_size,
};

/* Ask beyond the end, where nothing can be lost. */
static bool probe_punch(struct file *f)
{
	if (f->is_device)
		return true; /* found out by the first one */
	return !fallocate(f->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
			  (f->blk.info.size + 4095) / 4096 * 4096, 4096);
}

int file_open(const struct block_options *opts, struct uvfio_ctx *ctx, struct block **out,
	      struct uvfio_error *err)
{
	unsigned depth = opts->depth ? opts->depth : DEFAULT_DEPTH;
	struct file *f = calloc(1, sizeof(*f));

	if (!f)
		return uvfio_error_set(err, -ENOMEM, "no memory");
	if (depth > MAX_DEPTH)
		depth = MAX_DEPTH;
	f->blk.ops = &file_ops;
	f->blk.ctx = ctx;
	f->evfd = -1;
	f->again.fn = on_again;
	io_queue_init(&f->waiting);
	f->fd = file_open_locked(opts, &f->blk.info, &f->is_device, err);
	if (f->fd < 0) {
		int rc = f->fd;

		free(f);
		return rc;
	}
	f->reqs = calloc(depth, sizeof(f->reqs[0]));
	f->zeroes = mmap(NULL, ZEROES, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (f->zeroes == MAP_FAILED)
		f->zeroes = NULL;
	if (!f->reqs || !f->zeroes) {
		file_close(&f->blk);
		return uvfio_error_set(err, -ENOMEM, "no memory for %u requests", depth);
	}
	for (unsigned i = 0; i < depth; i++) {
		f->reqs[i].next_free = f->free_reqs;
		f->free_reqs = &f->reqs[i];
	}
	f->can_zero_range = true;
	f->can_punch = !opts->readonly && probe_punch(f);
	f->blk.info.can_discard = f->can_punch;
	if (!opts->threads)
		ring_open(f, depth); /* or else threads do it */
	*out = &f->blk;
	return 0;
}
