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
 * A read of what is in the page cache may need no call at all (file_map.c).
 *
 * A call goes to io_uring (file_ring.c).  What that cannot do (BLKDISCARD, the size, the note), and
 * everything where it is not allowed (old container profiles, kernel.io_uring_disabled), goes to a
 * pool of threads.  From a ring, ECANCELED may come from the end of the thread that submitted, and
 * so may EFAULT: the first means once more, and the second is believed only when it comes again and
 * again.
 *
 * The size is read anew when it is asked for, and when a read finds nothing: the file has been cut.
 * The note is an extended attribute of the file, so it goes where the file goes.
 *
 * A failed fdatasync is kept: the kernel reports the loss of pages once and marks them clean, so a
 * later success would be a lie.  From then on every flush fails.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/falloc.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>
#include "base/fd.h"
#include "block/file.h"
#include "vfio/vfio.h"

#define DEFAULT_DEPTH   256u
#define MAX_DEPTH       4096u
#define FAULTS_BELIEVED 3
#define MAX_RETRIES     1000
#define ZEROES          (1u << 20) /* bytes written at once where nothing better works */
#define POOL_THREADS    4

/* ---- the calls ---- */

static int64_t read_size(const struct file *f)
{
	uint64_t size;
	struct stat st;

	if (f->is_device)
		return ioctl(f->fd, BLKGETSIZE64, &size) ? -errno : (int64_t)size;
	return uvfio_fstat(f->fd, &st) ? -errno : st.st_size;
}

static int write_note(int fd, const struct iovec *iov)
{
	if (fsetxattr(fd, FILE_NOTE, iov->iov_base, iov->iov_len, 0) || fsync(fd))
		return -errno;
	return 0;
}

static void run_job(struct pool_job *job)
{
	struct file_req *req = container_of(job, struct file_req, job);
	int nr = req->nr_iov < FILE_MAX_VECTOR ? req->nr_iov : FILE_MAX_VECTOR, fd = req->file->fd;
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
	case CALL_SIZE:
		req->res = read_size(req->file);
		return;
	case CALL_NOTE:
		req->res = write_note(fd, req->iov);
		return;
	case CALL_UNLOCK:
		req->res = file_unlock(fd);
		return;
	case CALL_LOCK:
		req->res = file_take(fd, req->io->flags, req->file->blk.info.readonly,
				     req->file->is_device);
		return;
	case CALL_SEEK:
		req->res = file_next_data(fd, req->offset);
		return;
	}
	if (req->res < 0)
		req->res = -errno;
}

static void job_done(struct uvfio_work *work)
{
	struct file_req *req = container_of(work, struct file_req, job.work);

	file_complete(req, req->res);
	block_kick(&req->file->blk);
}

static void start_call(struct file_req *req)
{
	struct file *f = req->file;

	if (file_ring_can(f, req->call)) {
		file_ring_add(req);
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

	file_map_end(req);
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

/* What is mapped is not believed any more: here at once, by those who share it when they read. */
static void file_handed_over(struct file *f)
{
	atomic_fetch_add(&f->common->taken, 1);
	file_map_drop(f);
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
	file_map_begin(req);
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
	case BLOCK_GET_SIZE:
		req->call = CALL_SIZE;
		break;
	case BLOCK_NOTE:
		req->call = CALL_NOTE;
		break;
	case BLOCK_RELEASE:
		file_handed_over(f);
		req->call = CALL_UNLOCK;
		break;
	case BLOCK_TAKE:
		req->call = CALL_LOCK;
		break;
	case BLOCK_NEXT_DATA:
		req->call = f->is_device ? CALL_SIZE : CALL_SEEK;
		break;
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
	if (!n && req->call == CALL_READ) {
		/* The file has been cut, or the device is smaller than it said. */
		req->call = CALL_SIZE;
		start_call(req);
		return;
	}
	if (!n || n > req->left) {
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

/* The first one stays. */
static void keep_sync_error(struct file *f, int error)
{
	int none = 0;

	atomic_compare_exchange_strong(&f->common->sync_error, &none, error);
}

static void failed(struct file_req *req, int error)
{
	/* RWF_DSYNC may have taken the one report of a loss that concerns other writes. */
	if (req->call == CALL_WRITE && (req->io->flags & BLOCK_FUA) && error == -EIO)
		keep_sync_error(req->file, error);
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

static void size_read(struct file_req *req, int64_t res)
{
	struct file *f = req->file;

	if (res >= 0)
		block_set_size(&f->blk, res);
	if (req->io->op != BLOCK_READ)
		end(req, res < 0 ? res : 0);
	else /* a read that found nothing: is that why? */
		end(req,
		    res >= 0 && req->io->offset + req->io->len > (uint64_t)res ? -ENXIO : -EIO);
}

void file_complete(struct file_req *req, int64_t res)
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
		if (res < 0)
			keep_sync_error(f, (int)res);
		end(req, atomic_load(&f->common->sync_error));
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
	case CALL_SIZE:
		size_read(req, res);
		break;
	case CALL_NOTE:
	case CALL_UNLOCK:
		end(req, res);
		break;
	case CALL_LOCK:
		if (res) {
			end(req, res);
			break;
		}
		file_handed_over(f);
		req->call = CALL_SIZE;
		start_call(req);
		break;
	case CALL_SEEK:
		if (res >= 0)
			req->io->offset =
				(uint64_t)res < f->blk.info.size ? (uint64_t)res : f->blk.info.size;
		end(req, res < 0 ? res : 0);
		break;
	}
}

void file_start_waiting(struct file *f)
{
	while (f->free_reqs && f->waiting.head) {
		struct file_req *req = f->free_reqs;

		f->free_reqs = req->next_free;
		start(f, req, io_queue_take(&f->waiting));
	}
}

/* ---- the backend ---- */

static int file_submit(struct block *blk, struct block_io *io)
{
	struct file *f = container_of(blk, struct file, blk);

	if (io->op == BLOCK_FLUSH) {
		io->status = atomic_load(&f->common->sync_error);
		if (io->status)
			return 0;
	}
	if (io->op == BLOCK_READ && file_map_read(f, io))
		return 0;
	io->status = file_prepare(f);
	if (io->status)
		return 0;
	io_queue_add(&f->waiting, io);
	file_start_waiting(f);
	return 1;
}

static void file_kick(struct block *blk)
{
	struct file *f = container_of(blk, struct file, blk);

	file_start_waiting(f);
	file_ring_work(f);
}

static void file_prefetch(const struct block *blk, uint64_t offset, unsigned lines)
{
	file_map_prefetch(container_of(blk, struct file, blk), offset, lines);
}

static int file_note(struct block *blk, void *buf, size_t size)
{
	return file_note_read(container_of(blk, struct file, blk)->fd, buf, size);
}

void file_free(struct file *f)
{
	free(f->reqs);
	free(f);
}

static void file_close(struct block *blk)
{
	struct file *f = container_of(blk, struct file, blk);

	pool_free(f->pool);
	file_ring_close(f);
	file_map_close(f);
	file_common_drop(f->common);
	if (f->zeroes)
		munmap(f->zeroes, ZEROES);
	f->closing = true;
	if (!f->again_posted)
		file_free(f);
}

const struct block_ops file_ops = {
	.close = file_close,
	.submit = file_submit,
	.kick = file_kick,
	.note = file_note,
	.prefetch = file_prefetch,
	.share = file_share,
};

/* Ask beyond the end, where nothing can be lost. */
static bool probe_punch(struct file *f)
{
	if (f->is_device)
		return true; /* found out by the first one */
	return !fallocate(f->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
			  (f->blk.info.size + 4095) / 4096 * 4096, 4096);
}

int file_prepare(struct file *f)
{
	char *zeroes;

	if (f->prepared)
		return 0;
	zeroes = mmap(NULL, ZEROES, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (zeroes == MAP_FAILED)
		return -ENOMEM;
	if (f->use_ring) {
		f->ring_error = file_ring_open(f, f->rings, &f->depth);
		f->use_ring = !f->ring_error; /* else threads do it */
	}
	f->reqs = calloc(f->depth, sizeof(f->reqs[0]));
	if (!f->reqs) {
		file_ring_close(f);
		munmap(zeroes, ZEROES);
		return -ENOMEM;
	}
	f->zeroes = zeroes;
	for (unsigned i = 0; i < f->depth; i++) {
		f->reqs[i].next_free = f->free_reqs;
		f->free_reqs = &f->reqs[i];
	}
	f->prepared = true;
	return 0;
}

int file_open(const struct block_options *opts, struct uvfio_ctx *ctx, struct block **out,
	      struct uvfio_error *err)
{
	struct file *f = calloc(1, sizeof(*f));

	if (!f)
		return uvfio_error_set(err, -ENOMEM, "no memory");
	f->depth = opts->depth ? opts->depth : DEFAULT_DEPTH;
	if (f->depth > MAX_DEPTH)
		f->depth = MAX_DEPTH;
	f->blk.ops = &file_ops;
	f->blk.ctx = ctx;
	io_queue_init(&f->waiting);
	TAILQ_INIT(&f->map.writes);
	f->fd = file_open_locked(opts, &f->blk.info, &f->is_device, err);
	if (f->fd < 0) {
		int rc = f->fd;

		free(f);
		return rc;
	}
	f->common = file_common_new(f->fd, opts->shared);
	if (!f->common) {
		file_close_locked(f->fd);
		free(f);
		return uvfio_error_set(err, -ENOMEM, "no memory");
	}
	f->use_ring = !opts->threads;
	f->rings = vfio_file_rings(opts->dev);
	if (file_prepare(f)) {
		file_close(&f->blk);
		return uvfio_error_set(err, -ENOMEM, "no memory for %u requests", f->depth);
	}
	if (!f->use_ring && !opts->threads && opts->dev)
		uvfio_device_log(opts->dev, UVFIO_LOG_INFO, "%s: threads read and write it: %s",
				 opts->file,
				 f->ring_error == -EAGAIN
					 ? "all rings that were made at the start are in use"
					 : "no io_uring here (`uvfio doctor`)");
	file_map_open(f, opts);
	f->can_zero_range = true;
	f->can_punch = !opts->readonly && probe_punch(f);
	f->blk.info.can_discard = f->can_punch;
	f->blk.info.can_resize = true;
	f->blk.info.can_note = !opts->readonly && !f->is_device && file_can_note(f->fd);
	f->common->is_device = f->is_device;
	f->common->use_ring = f->use_ring;
	f->common->map = f->map.on;
	f->common->depth = f->depth;
	*out = &f->blk;
	return 0;
}
