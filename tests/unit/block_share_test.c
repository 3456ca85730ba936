/* SPDX-License-Identifier: BSD-3-Clause */
/* Storage that several contexts use: block_share(). */
#include <assert.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/mman.h>

#include <cmocka.h>

#include "block/file_windows.h"
#include "block_harness.h"

#define SIZE (8u << 20)

static struct uvfio_loop *loops[2];
static struct uvfio_ctx *ctxs[2];

/* The harness calls in context @i from here on. */
static void use(unsigned i)
{
	ctx = ctxs[i];
}

static int setup(void **state)
{
	for (unsigned i = 0; i < 2; i++) {
		loops[i] = uvfio_loop_new("block-test", NULL);
		ctxs[i] = loops[i] ? uvfio_ctx_new(loops[i]) : NULL;
		if (!ctxs[i])
			return -1;
	}
	use(0);
	return 0;
}

static int teardown(void **state)
{
	for (unsigned i = 0; i < 2; i++) {
		uvfio_ctx_free(ctxs[i]);
		uvfio_loop_free(loops[i]);
	}
	return 0;
}

static struct block *share(struct block *of)
{
	struct block *blk = NULL;

	assert_int_equal(block_share(of, NULL, ctxs[1], &blk), 0);
	assert_int_equal(block_info(blk)->size, block_info(of)->size);
	return blk;
}

/* What one writes the other one reads; everything that a backend does, both do. */
static void both(struct block *a, struct block *b)
{
	char *want = aligned_alloc(4096, 65536), *got = aligned_alloc(4096, 65536);

	fill(want, 65536, 1);
	use(0);
	assert_int_equal(do_io(a, BLOCK_WRITE, 0, 4096, want, 65536), 0);
	use(1);
	assert_int_equal(do_io(b, BLOCK_READ, 0, 4096, got, 65536), 0);
	assert_memory_equal(want, got, 65536);
	fill(want, 65536, 2);
	assert_int_equal(do_io(b, BLOCK_WRITE, 0, 4096, want, 65536), 0);
	assert_int_equal(do_io(b, BLOCK_FLUSH, 0, 0, NULL, 0), 0);
	use(0);
	assert_int_equal(do_io(a, BLOCK_READ, 0, 4096, got, 65536), 0);
	assert_memory_equal(want, got, 65536);
	assert_int_equal(do_io(a, BLOCK_WRITE_ZEROES, BLOCK_MAY_FREE, 0, NULL, SIZE), 0);
	use(1);
	check_backend(b);
	use(0);
	assert_int_equal(do_io(a, BLOCK_DISCARD, 0, 0, NULL, SIZE), 0);
	assert_int_equal(do_io(a, BLOCK_WRITE_ZEROES, 0, 0, NULL, SIZE), 0);
	check_backend(a);
	free(want);
	free(got);
}

static void memory(void **state)
{
	struct block_options opts = {.memory = SIZE, .shared = true};
	struct block *a = open_block(&opts), *b;

	assert_non_null(a);
	/* Nobody may read it past the locks. */
	assert_null(block_direct(a, 0, 4096));
	b = share(a);
	both(a, b);
	/* In any order. */
	close_block(a);
	use(1);
	check_backend(b);
	close_block(b);
	use(0);
}

static void file_ways(void **state)
{
	char path[4096];

	for (unsigned threads = 0; threads <= 1; threads++) {
		struct block_options opts = {.file = path, .shared = true, .threads = threads};
		struct block *a, *b, *c;

		make_file(path, disk_dir(), SIZE);
		a = open_block(&opts);
		assert_non_null(a);
		b = share(a);
		/* It costs nothing yet. */
		assert_false(((struct file *)b)->prepared);
		both(a, b);
		assert_true(((struct file *)b)->prepared);
		c = share(b); /* of one that was shared itself */
		close_block(a);
		/* The file stays locked until the last one goes. */
		assert_null(open_block(&opts));
		assert_int_equal(errno, EBUSY);
		use(1);
		close_block(b);
		check_backend(c);
		close_block(c);
		use(0);
		a = open_block(&opts);
		assert_non_null(a);
		close_block(a);
		unlink(path);
	}
}

/* An fdatasync that failed has failed for all: the kernel says it once. */
static void sync_error(void **state)
{
	char path[4096];
	struct block_options opts = {.file = path, .shared = true};
	struct block *a, *b;

	make_file(path, disk_dir(), SIZE);
	a = open_block(&opts);
	b = share(a);
	use(1);
	assert_int_equal(do_io(b, BLOCK_FLUSH, 0, 0, NULL, 0), 0);
	atomic_store(&((struct file *)a)->common->sync_error, -EIO);
	assert_int_equal(do_io(b, BLOCK_FLUSH, 0, 0, NULL, 0), -EIO);
	close_block(b);
	use(0);
	close_block(a);
	unlink(path);
}

/* Reads out of the page cache: not while another context writes, nor when it has begun meanwhile.
 */
static void page_cache(void **state)
{
	char path[4096], *buf = aligned_alloc(4096, 4096);
	struct block_options opts = {.file = path, .shared = true};
	struct file_common *common;
	struct block *a, *b;
	struct file_map *map;
	uint64_t before;

	make_file(path, disk_dir(), SIZE);
	a = open_block(&opts);
	fill(buf, 4096, 3);
	assert_int_equal(do_io(a, BLOCK_WRITE, 0, 0, buf, 4096), 0);
	b = share(a);
	common = ((struct file *)a)->common;
	assert_int_equal(common->begun, common->ended);
	map = &((struct file *)b)->map;
	map->test_tick = 1000;
	use(1);
	for (unsigned i = 0; i < 20; i++)
		assert_int_equal(do_io(b, BLOCK_READ, 0, 0, buf, 4096), 0);
	before = map->reads;
	if (!before) {
		print_message("files here are not mapped: nothing to be tested\n");
	} else {
		assert_int_equal(do_io(b, BLOCK_READ, 0, 0, buf, 4096), 0);
		assert_int_equal(map->reads, before + 1);
		atomic_fetch_add(&common->begun, 1); /* somebody writes */
		assert_int_equal(do_io(b, BLOCK_READ, 0, 0, buf, 4096), 0);
		assert_int_equal(map->reads, before + 1);
		atomic_fetch_add(&common->ended, 1);
		assert_int_equal(do_io(b, BLOCK_READ, 0, 0, buf, 4096), 0);
		assert_int_equal(map->reads, before + 2);
	}
	use(1);
	close_block(b);
	use(0);
	close_block(a);
	unlink(path);
	free(buf);
}

static unsigned mapped_reads(struct block *blk, unsigned of, unsigned nr)
{
	struct file_map *map = &((struct file *)blk)->map;
	char *buf = aligned_alloc(4096, 4096);
	uint64_t before = map->reads;

	use(of);
	for (unsigned i = 0; i < nr; i++)
		assert_int_equal(do_io(blk, BLOCK_READ, 0, 0, buf, 4096), 0);
	use(0);
	free(buf);
	return (unsigned)(map->reads - before);
}

/* What is mapped, and what is known of it, they have in common. */
static void one_mapping(void **state)
{
	char path[4096], *buf = aligned_alloc(4096, 4096);
	struct block_options opts = {.file = path, .shared = true};
	struct file *a, *b;

	make_file(path, disk_dir(), SIZE);
	a = (struct file *)open_block(&opts);
	assert_non_null(a);
	fill(buf, 4096, 3);
	assert_int_equal(do_io(&a->blk, BLOCK_WRITE, 0, 0, buf, 4096), 0);
	b = (struct file *)share(&a->blk);
	a->map.test_tick = b->map.test_tick = 1000;
	if (!mapped_reads(&a->blk, 0, 20)) {
		print_message("files here are not mapped: nothing to be tested\n");
	} else {
		assert_int_equal(mapped_reads(&b->blk, 1, 1), 1);
		assert_ptr_equal(a->map.uses[0].window, b->map.uses[0].window);
		/* The file was given away and taken back: what was known is not believed. */
		atomic_fetch_add(&a->common->taken, 1);
		assert_int_equal(mapped_reads(&b->blk, 1, 1), 0);
		assert_ptr_not_equal(a->map.uses[0].window, b->map.uses[0].window);
		assert_int_equal(mapped_reads(&a->blk, 0, 1), 0);
		assert_ptr_equal(a->map.uses[0].window, b->map.uses[0].window);
		assert_true(mapped_reads(&a->blk, 0, 20) > 0);
		assert_int_equal(mapped_reads(&b->blk, 1, 1), 1);
	}
	/* It stays for who is left. */
	close_block(&a->blk);
	mapped_reads(&b->blk, 1, 20);
	use(1);
	close_block(&b->blk);
	use(0);
	unlink(path);
	free(buf);
}

#define READS 4000u

/* Reads one page after the other; every so often time goes on, and what is known grows old. */
struct reader {
	struct uvfio_work work;
	struct block_io io;
	struct iovec iov;
	struct block *blk;
	unsigned char page[4096];
	uint64_t seed;
	unsigned nr, wrong;
	sem_t done;
};

/* Page @i of the file is filled with this. */
static int page_byte(uint64_t i)
{
	return (int)(i % 251 + 1);
}

static void reader_check(struct reader *r)
{
	r->wrong += r->io.status || r->page[0] != page_byte(r->io.offset / 4096) ||
		    memcmp(r->page, r->page + 1, sizeof(r->page) - 1) != 0;
	r->nr++;
}

static void reader_run(struct uvfio_work *work)
{
	struct reader *r = (struct reader *)work;

	for (unsigned i = 0; i < 64 && r->nr < READS; i++) {
		r->seed = r->seed * 6364136223846793005u + 1442695040888963407u;
		r->io.offset = (r->seed >> 33) % (SIZE / 4096) * 4096;
		((struct file *)r->blk)->map.test_tick = 1000 + r->nr / 500;
		if (block_submit(r->blk, &r->io)) {
			block_kick(r->blk);
			return;
		}
		reader_check(r);
	}
	if (r->nr < READS)
		uvfio_ctx_post(r->blk->ctx, &r->work);
	else
		sem_post(&r->done);
}

static void reader_done(struct block_io *io)
{
	struct reader *r = (struct reader *)((char *)io - offsetof(struct reader, io));

	reader_check(r);
	uvfio_ctx_post(r->blk->ctx, &r->work);
}

/* Two contexts find out and use the same at the same time. */
static void readers(void **state)
{
	char path[4096], *buf = aligned_alloc(4096, SIZE);
	struct block_options opts = {.file = path, .shared = true};
	static struct reader r[2];

	make_file(path, disk_dir(), SIZE);
	for (unsigned i = 0; i < SIZE / 4096; i++)
		memset(buf + i * 4096, page_byte(i), 4096);
	r[0].blk = open_block(&opts);
	assert_non_null(r[0].blk);
	assert_int_equal(do_io(r[0].blk, BLOCK_WRITE, 0, 0, buf, SIZE), 0);
	r[1].blk = share(r[0].blk);
	for (unsigned i = 0; i < 2; i++) {
		r[i].work.fn = reader_run;
		r[i].seed = i;
		r[i].iov = (struct iovec){r[i].page, sizeof(r[i].page)};
		r[i].io = (struct block_io){.op = BLOCK_READ,
					    .len = sizeof(r[i].page),
					    .iov = &r[i].iov,
					    .nr_iov = 1,
					    .done = reader_done};
		sem_init(&r[i].done, 0, 0);
	}
	for (unsigned i = 0; i < 2; i++)
		uvfio_ctx_post(ctxs[i], &r[i].work);
	for (unsigned i = 0; i < 2; i++) {
		sem_wait(&r[i].done);
		use(i);
		uvfio_ctx_flush(ctxs[i]);
		close_block(r[i].blk);
		assert_int_equal(r[i].wrong, 0);
	}
	use(0);
	unlink(path);
	free(buf);
}

/* ---- memory: who reads sees a page as it was or as it is ---- */

#define ROUNDS 20000

struct runner {
	struct uvfio_work work;
	struct block *blk;
	bool write;
	unsigned torn;
	sem_t done;
};

static void run(struct uvfio_work *work)
{
	struct runner *r = (struct runner *)work;
	unsigned char page[4096];

	for (unsigned i = 0; i < ROUNDS; i++) {
		struct iovec iov = {page, sizeof(page)};
		struct block_io io = {.op = r->write ? BLOCK_WRITE : BLOCK_READ,
				      .len = sizeof(page),
				      .iov = &iov,
				      .nr_iov = 1};

		memset(page, (int)i, sizeof(page));
		assert(!block_submit(r->blk, &io) && !io.status);
		for (unsigned k = 1; k < sizeof(page) && !r->write; k++)
			r->torn += page[k] != page[0];
	}
	sem_post(&r->done);
}

static void whole_pages(void **state)
{
	struct block_options opts = {.memory = SIZE, .shared = true};
	struct block *a = open_block(&opts), *b = share(a);
	struct runner writer = {.work.fn = run, .blk = a, .write = true};
	struct runner reader = {.work.fn = run, .blk = b};

	sem_init(&writer.done, 0, 0);
	sem_init(&reader.done, 0, 0);
	uvfio_ctx_post(ctxs[0], &writer.work);
	uvfio_ctx_post(ctxs[1], &reader.work);
	sem_wait(&writer.done);
	sem_wait(&reader.done);
	assert_int_equal(reader.torn, 0);
	use(1);
	close_block(b);
	use(0);
	close_block(a);
}

static void not_shared(void **state)
{
	char path[4096];
	struct block_options opts = {.file = path, .shared = true, .volatile_test = true};

	make_file(path, disk_dir(), SIZE);
	assert_null(open_block(&opts));
	assert_int_equal(errno, EINVAL);
	unlink(path);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(memory),      cmocka_unit_test(file_ways),
		cmocka_unit_test(sync_error),  cmocka_unit_test(page_cache),
		cmocka_unit_test(one_mapping), cmocka_unit_test(readers),
		cmocka_unit_test(whole_pages), cmocka_unit_test(not_shared),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
