/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The file backend against a bare io_uring loop on the same file: 4 KiB random reads at depth 32,
 * from the page cache and past it.
 */
#include <errno.h>
#include <fcntl.h>
#include <semaphore.h>
#include <unistd.h>
#include "base/ctx.h"
#include "bench.h"
#include "block/block.h"
#include "uring.h"

#define SIZE         (64ull << 20)
#define DEPTH        32
#define ROUNDS       7
#define RATIO        0.85
#define READS_CACHED 300000u
#define READS_DIRECT 60000u

static char path[] = "uvfio-bench-block-XXXXXX";
static char *buffers;

struct setting {
	bool direct, calls; /* @calls: not out of a mapping of the page cache */
	unsigned reads;
};

static void die(const char *what, int error)
{
	fprintf(stderr, "bench-block: %s: %s\n", what, strerror(error));
	unlink(path);
	exit(1);
}

static double kiops(unsigned reads, uint64_t start)
{
	return reads * 1e6 / (double)(bench_ns() - start);
}

static double bare(void *arg)
{
	const struct setting *s = arg;

	return bench_uring_reads(path, SIZE, DEPTH, s->reads, s->direct);
}

/* ---- through the backend ---- */

struct world {
	struct uvfio_work work;
	const struct setting *s;
	struct uvfio_ctx *ctx;
	struct block *blk;
	struct slot {
		struct block_io io;
		struct iovec iov;
		struct world *w;
	} slots[DEPTH];
	unsigned started, done;
	uint64_t seed;
	sem_t sem;
};

static void ended(struct slot *slot)
{
	struct world *w = slot->w;

	if (slot->io.status)
		die("read", -slot->io.status);
	if (++w->done == w->s->reads)
		sem_post(&w->sem);
}

/* Reads, as long as they are done at once. */
static void next(struct slot *slot)
{
	struct world *w = slot->w;

	while (w->started < w->s->reads) {
		w->started++;
		slot->iov = (struct iovec){buffers + (slot - w->slots) * 4096, 4096};
		slot->io.iov = &slot->iov;
		slot->io.nr_iov = 1;
		slot->io.offset = bench_random(&w->seed) % (SIZE / 4096) * 4096;
		if (block_submit(w->blk, &slot->io))
			break;
		ended(slot);
	}
}

static void slot_done(struct block_io *io)
{
	struct slot *slot = (struct slot *)io;

	ended(slot);
	next(slot);
}

static void go(struct uvfio_work *work)
{
	struct world *w = (struct world *)work;

	for (unsigned i = 0; i < DEPTH; i++) {
		w->slots[i].w = w;
		w->slots[i].io.op = BLOCK_READ;
		w->slots[i].io.len = 4096;
		w->slots[i].io.done = slot_done;
		next(&w->slots[i]);
	}
	block_kick(w->blk);
}

static double backend(void *arg)
{
	struct block_options opts = {.file = path, .depth = DEPTH};
	struct world w = {.work.fn = go, .s = arg, .seed = 1};
	struct uvfio_error err;
	struct uvfio_loop *loop = uvfio_loop_new("bench", &err);
	uint64_t start;
	double figure;

	w.ctx = loop ? uvfio_ctx_new(loop) : NULL;
	if (!w.ctx)
		die("no loop", ENOMEM);
	opts.direct = w.s->direct;
	opts.no_map = w.s->calls;
	if (block_open(&opts, w.ctx, &w.blk, &err)) {
		fprintf(stderr, "%s\n", err.msg);
		exit(1);
	}
	sem_init(&w.sem, 0, 0);
	start = bench_ns();
	uvfio_ctx_post(w.ctx, &w.work);
	while (sem_wait(&w.sem))
		;
	figure = kiops(w.done, start);
	uvfio_ctx_flush(w.ctx);
	block_close(w.blk);
	uvfio_ctx_free(w.ctx);
	uvfio_loop_free(loop);
	sem_destroy(&w.sem);
	return figure;
}

int main(void)
{
	struct setting cached = {.reads = READS_CACHED},
		       calls = {.calls = true, .reads = READS_CACHED},
		       direct = {.direct = true, .reads = READS_DIRECT};
	struct bench_case cases[] = {
		{"bare io_uring loop, page cache", "kIOPS", bare, &cached},
		{"file backend, page cache", "kIOPS", backend, &cached, BENCH_AT_LEAST},
		{"the same, mapped=off", "kIOPS", backend, &calls, BENCH_AT_LEAST},
		{"bare io_uring loop, direct", "kIOPS", bare, &direct},
		{"file backend, direct", "kIOPS", backend, &direct, BENCH_AT_LEAST},
	};
	enum { CACHED, DIRECT = 3, N = sizeof(cases) / sizeof(cases[0]) };
	unsigned n = N;
	double v[N][ROUNDS];
	int fd = mkstemp(path), missed = 0, probe;

	buffers = aligned_alloc(4096, (size_t)DEPTH * 4096);
	if (fd < 0 || !buffers)
		die(path, errno);
	memset(buffers, 0x5a, (size_t)DEPTH * 4096);
	for (uint64_t at = 0; at < SIZE; at += DEPTH * 4096)
		if (pwrite(fd, buffers, DEPTH * 4096, at) != DEPTH * 4096)
			die("write", errno);
	if (fsync(fd))
		die("fsync", errno);
	close(fd);
	probe = open(path, O_RDONLY | O_DIRECT);
	if (probe < 0)
		n = DIRECT; /* a file system without O_DIRECT */
	else
		close(probe);
	for (unsigned r = 0; r < ROUNDS; r++)
		for (unsigned i = 0; i < n; i++)
			v[i][r] = cases[i].fn(cases[i].arg);
	unlink(path);
	for (unsigned i = 0; i < n; i++)
		cases[i].median = bench_median(v[i], ROUNDS);
	for (unsigned i = 1; i < n; i++)
		cases[i].limit = RATIO * cases[i < DIRECT ? CACHED : DIRECT].median;
	printf("file at depth %u, 4 KiB random reads (medians of %u alternating runs)\n", DEPTH,
	       ROUNDS);
	for (unsigned i = 0; i < n; i++)
		missed += bench_print(&cases[i]);
	free(buffers);
	return missed ? 1 : 0;
}
