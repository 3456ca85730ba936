/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Drives a backend from a test's thread: each call is made within the context and waited for.
 * Include once; the including file brings cmocka.
 */
#ifndef TESTS_UNIT_BLOCK_HARNESS_H
#define TESTS_UNIT_BLOCK_HARNESS_H

#include <errno.h>
#include <fcntl.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/ctx.h"
#include "block/block.h"

static struct uvfio_loop *loop;
static struct uvfio_ctx *ctx;

struct context_call {
	struct uvfio_work work;
	void (*fn)(void *arg);
	void *arg;
	sem_t sem;
};

static inline void call_run(struct uvfio_work *work)
{
	struct context_call *call = (struct context_call *)work;

	call->fn(call->arg);
	sem_post(&call->sem);
}

static inline void in_context(void (*fn)(void *arg), void *arg)
{
	struct context_call call = {.work.fn = call_run, .fn = fn, .arg = arg};

	sem_init(&call.sem, 0, 0);
	uvfio_ctx_post(ctx, &call.work);
	sem_wait(&call.sem);
	sem_destroy(&call.sem);
}

static inline int harness_setup(void **state)
{
	loop = uvfio_loop_new("block-test", NULL);
	ctx = loop ? uvfio_ctx_new(loop) : NULL;
	return !ctx;
}

static inline int harness_teardown(void **state)
{
	uvfio_ctx_free(ctx);
	uvfio_loop_free(loop);
	return 0;
}

/* A burst of requests, submitted at once, then kicked. */
struct request {
	struct block_io io;
	struct iovec iov[4];
	struct burst *burst;
	bool submitting, early; /* ->done within block_submit() breaks the contract */
	unsigned done;
};

struct burst {
	struct block *blk;
	struct request *reqs;
	unsigned nr, left;
	sem_t sem;
};

static inline void request_done(struct block_io *io)
{
	struct request *req = (struct request *)io;

	req->early |= req->submitting;
	req->done++;
	if (!--req->burst->left)
		sem_post(&req->burst->sem);
}

static inline void burst_start(void *arg)
{
	struct burst *b = arg;

	b->left = b->nr + 1;
	for (unsigned i = 0; i < b->nr; i++) {
		struct request *req = &b->reqs[i];

		req->burst = b;
		req->done = 0;
		req->io.done = request_done;
		req->submitting = true;
		if (!block_submit(b->blk, &req->io))
			b->left--;
		req->submitting = false;
	}
	block_kick(b->blk);
	if (!--b->left)
		sem_post(&b->sem);
}

static inline void run_burst(struct block *blk, struct request *reqs, unsigned nr)
{
	struct burst b = {blk, reqs, nr};

	sem_init(&b.sem, 0, 0);
	in_context(burst_start, &b);
	sem_wait(&b.sem);
	uvfio_ctx_flush(ctx);
	sem_destroy(&b.sem);
	for (unsigned i = 0; i < nr; i++) {
		assert_false(reqs[i].early);
		assert_true(reqs[i].done <= 1);
	}
}

static inline int do_io(struct block *blk, enum block_op op, unsigned flags, uint64_t offset,
			void *buf, uint64_t len)
{
	struct request req = {.io = {.op = op, .flags = flags, .offset = offset, .len = len}};

	req.iov[0] = (struct iovec){buf, len};
	req.io.iov = req.iov;
	req.io.nr_iov = buf ? 1 : 0;
	run_burst(blk, &req, 1);
	return req.io.status;
}

struct opening {
	const struct block_options *opts;
	struct block *blk;
	struct uvfio_error err;
	int rc;
};

static inline void do_open(void *arg)
{
	struct opening *o = arg;

	o->rc = block_open(o->opts, ctx, &o->blk, &o->err);
}

static struct uvfio_error open_error;

/* The backend, or NULL with errno and open_error. */
static inline struct block *open_block(const struct block_options *opts)
{
	struct opening o = {.opts = opts};

	in_context(do_open, &o);
	open_error = o.err;
	if (o.rc)
		print_message("refused: %s\n", o.err.msg);
	errno = -o.rc;
	return o.rc ? NULL : o.blk;
}

static inline void do_close(void *arg)
{
	block_close(arg);
}

static inline void close_block(struct block *blk)
{
	in_context(do_close, blk);
}

static inline void fill(void *buf, size_t len, unsigned seed)
{
	uint64_t x = seed * 0x9e3779b97f4a7c15ull + 1;
	unsigned char *p = buf;

	for (size_t i = 0; i < len; i++) {
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		p[i] = x;
	}
}

static inline bool all_zero(const void *buf, size_t len)
{
	const char *p = buf;

	for (size_t i = 0; i < len; i++)
		if (p[i])
			return false;
	return true;
}

/* A file of @size bytes that is already unlinked from nothing: the caller unlinks @path. */
static inline void make_file(char *path, const char *dir, uint64_t size)
{
	int fd;

	sprintf(path, "%s/uvfio-block-XXXXXX", dir);
	fd = mkstemp(path);
	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, size), 0);
	close(fd);
}

static inline const char *disk_dir(void)
{
	const char *dir = getenv("TMPDIR");

	return dir ? dir : "/tmp";
}

/* ---- what every backend must do; @blk is at least 4 MiB and zeroed ---- */

static inline void check_backend(struct block *blk)
{
	const struct block_info *info = block_info(blk);
	char *a = aligned_alloc(4096, 1 << 20), *b = aligned_alloc(4096, 1 << 20);
	struct request *reqs = calloc(1000, sizeof(*reqs));
	uint64_t size = info->size;

	assert_non_null(a);
	assert_non_null(b);
	assert_non_null(reqs);
	assert_true(size >= 4 << 20);

	/* What is written is read, over a vector too. */
	fill(a, 1 << 20, 1);
	assert_int_equal(do_io(blk, BLOCK_WRITE, 0, 8192, a, 1 << 20), 0);
	assert_int_equal(do_io(blk, BLOCK_READ, 0, 8192, b, 1 << 20), 0);
	assert_memory_equal(a, b, 1 << 20);
	reqs[0].io = (struct block_io){.op = BLOCK_READ, .offset = 8192, .len = 16384};
	reqs[0].io.iov = reqs[0].iov;
	reqs[0].io.nr_iov = 3;
	reqs[0].iov[0] = (struct iovec){b + 4096, 8192};
	reqs[0].iov[1] = (struct iovec){b + 32768, 4096};
	reqs[0].iov[2] = (struct iovec){b, 4096};
	run_burst(blk, reqs, 1);
	assert_int_equal(reqs[0].io.status, 0);
	assert_memory_equal(a, b + 4096, 8192);
	assert_memory_equal(a + 8192, b + 32768, 4096);
	assert_memory_equal(a + 12288, b, 4096);

	/* The last block, and what is beyond. */
	assert_int_equal(do_io(blk, BLOCK_WRITE, BLOCK_FUA, size - 4096, a, 4096), 0);
	assert_int_equal(do_io(blk, BLOCK_READ, 0, size - 4096, b, 4096), 0);
	assert_memory_equal(a, b, 4096);
	assert_int_equal(do_io(blk, BLOCK_READ, 0, size - 4096, b, 8192), -ENXIO);
	assert_int_equal(do_io(blk, BLOCK_READ, 0, size, b, 4096), -ENXIO);
	assert_int_equal(do_io(blk, BLOCK_READ, 0, UINT64_MAX - 4095, b, 4096), -ENXIO);
	assert_int_equal(do_io(blk, BLOCK_READ, 0, size, b, 0), 0);
	reqs[0].io = (struct block_io){.op = BLOCK_READ, .len = 8192};
	reqs[0].io.iov = reqs[0].iov;
	reqs[0].io.nr_iov = 1;
	reqs[0].iov[0] = (struct iovec){b, 4096}; /* the vector is too short */
	run_burst(blk, reqs, 1);
	assert_int_equal(reqs[0].io.status, -EINVAL);

	/* Zeroes and discard, at odd ends. */
	for (unsigned flags = 0; flags < 4; flags++) {
		assert_int_equal(do_io(blk, BLOCK_WRITE, 0, 0, a, 1 << 20), 0);
		assert_int_equal(
			do_io(blk, BLOCK_WRITE_ZEROES, flags, 4096, NULL, (1 << 20) - 8192), 0);
		assert_int_equal(do_io(blk, BLOCK_READ, 0, 0, b, 1 << 20), 0);
		assert_memory_equal(a, b, 4096);
		assert_true(all_zero(b + 4096, (1 << 20) - 8192));
		assert_memory_equal(a + (1 << 20) - 4096, b + (1 << 20) - 4096, 4096);
	}
	if (info->can_discard) {
		assert_int_equal(do_io(blk, BLOCK_WRITE, 0, 0, a, 1 << 20), 0);
		assert_int_equal(do_io(blk, BLOCK_DISCARD, 0, 8192, NULL, 65536), 0);
		assert_int_equal(do_io(blk, BLOCK_READ, 0, 0, b, 1 << 20), 0);
		assert_memory_equal(a, b, 8192);
		assert_memory_equal(a + 8192 + 65536, b + 8192 + 65536, 65536);
	}
	assert_int_equal(do_io(blk, BLOCK_FLUSH, 0, 0, NULL, 0), 0);

	/* More at once than any depth: all run, none fails. */
	for (unsigned i = 0; i < 1000; i++) {
		reqs[i] = (struct request){
			.io = {.op = BLOCK_WRITE, .offset = i % 256 * 4096, .len = 4096}};
		reqs[i].iov[0] = (struct iovec){a + i % 256 * 4096, 4096};
		reqs[i].io.iov = reqs[i].iov;
		reqs[i].io.nr_iov = 1;
		if (i % 100 == 50)
			reqs[i].io.op = BLOCK_FLUSH;
	}
	run_burst(blk, reqs, 1000);
	for (unsigned i = 0; i < 1000; i++) {
		assert_int_equal(reqs[i].io.status, 0);
		reqs[i].io.op = BLOCK_READ;
		reqs[i].io.iov = reqs[i].iov;
		reqs[i].io.nr_iov = 1;
		reqs[i].iov[0] = (struct iovec){b + i % 256 * 4096, 4096};
	}
	memset(b, 0, 1 << 20);
	run_burst(blk, reqs, 256);
	assert_int_equal(reqs[0].io.status, 0);
	for (unsigned i = 0; i < 256; i++)
		if (i % 100 != 50) /* their writes were the flushes, but for a later round */
			assert_memory_equal(a + i * 4096, b + i * 4096, 4096);
	free(a);
	free(b);
	free(reqs);
}

/* Memory that its owner has cut: EFAULT, and the backend lives on. */
static inline void check_gone_memory(struct block *blk)
{
	int fd = memfd_create("gone", MFD_CLOEXEC);
	char *p, *buf = aligned_alloc(4096, 8192);

	assert_int_equal(ftruncate(fd, 8192), 0);
	p = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	assert_ptr_not_equal(p, MAP_FAILED);
	fill(buf, 8192, 9);
	assert_int_equal(do_io(blk, BLOCK_WRITE, 0, 0, buf, 8192), 0);
	assert_int_equal(do_io(blk, BLOCK_READ, 0, 0, p, 8192), 0);
	assert_memory_equal(p, buf, 8192);
	assert_int_equal(ftruncate(fd, 4096), 0);
	assert_int_equal(do_io(blk, BLOCK_READ, 0, 0, p, 8192), -EFAULT);
	assert_int_equal(do_io(blk, BLOCK_WRITE, 0, 0, p, 8192), -EFAULT);
	assert_int_equal(ftruncate(fd, 0), 0);
	assert_int_equal(do_io(blk, BLOCK_READ, 0, 0, p, 4096), -EFAULT);
	assert_int_equal(do_io(blk, BLOCK_WRITE, BLOCK_FUA, 0, p, 4096), -EFAULT);
	assert_int_equal(do_io(blk, BLOCK_READ, 0, 4096, buf, 4096), 0);
	assert_int_equal(do_io(blk, BLOCK_FLUSH, 0, 0, NULL, 0), 0);
	munmap(p, 8192);
	close(fd);
	free(buf);
}

#endif
