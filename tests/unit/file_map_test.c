/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * file_map.c: reads out of a mapping of the page cache.  Time is the test's (file_map.test_tick),
 * so that what a look has found holds for as long as the test says.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <linux/magic.h>
#include <sys/vfs.h>
#include <sys/mman.h>
#include <cmocka.h>
#include "block/file.h"
#include "block_harness.h"
#include "guarded.h"
#include "stalling_file.h"

#define CHUNK  (256u << 10)
#define WINDOW (256ull << 20)
#define SIZE   (4ull << 20)

static char path[4096];
static char *want; /* what is in the file */

/* ---- the kernel's answers, as the test wants them ---- */

static bool refuse_mmap, all_there, no_mincore, one_gone;

void *__real_mmap64(void *addr, size_t len, int prot, int flags, int fd, off_t offset);
void *__wrap_mmap64(void *addr, size_t len, int prot, int flags, int fd, off_t offset);
void *__wrap_mmap64(void *addr, size_t len, int prot, int flags, int fd, off_t offset)
{
	if (fd >= 0 && len >= WINDOW) {
		/* Never to be written, never to be executed. */
		assert_int_equal(prot, PROT_READ);
		assert_true(flags & MAP_SHARED);
		if (refuse_mmap) {
			errno = ENOMEM;
			return MAP_FAILED;
		}
	}
	return __real_mmap64(addr, len, prot, flags, fd, offset);
}

int __real_mincore(void *addr, size_t len, unsigned char *vec);
int __wrap_mincore(void *addr, size_t len, unsigned char *vec);
int __wrap_mincore(void *addr, size_t len, unsigned char *vec)
{
	if (no_mincore) {
		errno = ENOSYS;
		return -1;
	}
	if (all_there) {
		memset(vec, 1, len / 4096);
		return 0;
	}
	if (__real_mincore(addr, len, vec))
		return -1;
	if (one_gone)
		vec[len / 8192] = 0;
	return 0;
}

/* ---- helpers ---- */

static struct file_map *map_of(struct block *blk)
{
	return &((struct file *)blk)->map;
}

static int read_at(struct block *blk, uint64_t offset, void *buf, size_t len)
{
	return do_io(blk, BLOCK_READ, 0, offset, buf, len);
}

/* A read of what is in @want, and whether it was out of the mapping. */
/* There a hole that is read gets no page, and so is never read out of the mapping. */
static bool on_tmpfs(void)
{
	struct statfs fs;

	return !statfs(path, &fs) && fs.f_type == TMPFS_MAGIC;
}

static bool reads_mapped(struct block *blk, uint64_t offset, size_t len)
{
	uint64_t before = map_of(blk)->reads;
	char *buf = malloc(len);

	assert_int_equal(read_at(blk, offset, buf, len), 0);
	assert_memory_equal(buf, want + offset, len);
	free(buf);
	return map_of(blk)->reads != before;
}

static void heat(struct block *blk, uint64_t offset)
{
	for (unsigned i = 0; i < 8; i++)
		reads_mapped(blk, offset, 4096);
}

static struct block *open_map(struct block_options *opts, uint64_t size)
{
	struct block *blk;
	int fd;

	refuse_mmap = all_there = no_mincore = one_gone = false;
	make_file(path, disk_dir(), size);
	fd = open(path, O_RDWR);
	if (!want) {
		want = malloc(SIZE);
		fill(want, SIZE, 5);
	}
	assert_int_equal(pwrite(fd, want, SIZE, 0), SIZE);
	close(fd);
	opts->file = path;
	blk = open_block(opts);
	assert_non_null(blk);
	map_of(blk)->test_tick = 1000;
	return blk;
}

/* Skips where the file system is none that is mapped. */
static struct block *open_hot(struct block_options *opts)
{
	struct block *blk = open_map(opts, SIZE);

	guarded();
	heat(blk, 0);
	if (!map_of(blk)->on) {
		close_block(blk);
		unlink(path);
		print_message("nothing is mapped on the file system of %s\n", path);
		skip();
	}
	assert_true(reads_mapped(blk, 0, 4096));
	return blk;
}

static void close_map(struct block *blk)
{
	close_block(blk);
	unlink(path);
}

/* ---- what is read ---- */

static void what_is_read_often_is_mapped(void **state)
{
	static const bool rows[] = {false, true};

	for (unsigned i = 0; i < 2; i++) {
		struct block_options opts = {.threads = rows[i], .readonly = i};
		struct block *blk = open_hot(&opts);

		/* Of another chunk nothing is known, nor of what is longer. */
		assert_false(reads_mapped(blk, CHUNK, 4096));
		assert_false(reads_mapped(blk, 0, 65536));
		assert_true(reads_mapped(blk, 0, 32768));
		assert_true(reads_mapped(blk, 512, 512));
		assert_true(reads_mapped(blk, CHUNK - 4096, 4096));
		/* Across both. */
		assert_false(reads_mapped(blk, CHUNK - 1024, 4096));
		heat(blk, CHUNK);
		assert_true(reads_mapped(blk, CHUNK - 1024, 4096));
		assert_true(reads_mapped(blk, CHUNK - 16384, 32768));
		close_map(blk);
	}
}

static void what_is_known_grows_old(void **state)
{
	struct block_options opts = {0};
	struct block *blk = open_hot(&opts);
	struct file_map *map = map_of(blk);

	/* Read meanwhile: it is looked at again. */
	for (unsigned i = 0; i < 5; i++)
		assert_true(reads_mapped(blk, i * 4096, 4096));
	map->test_tick += 2;
	assert_true(reads_mapped(blk, 0, 4096));
	/* Not read, or longer ago: it begins anew. */
	map->test_tick += 2;
	for (unsigned i = 0; i < 7; i++)
		assert_false(reads_mapped(blk, 0, 4096));
	assert_true(reads_mapped(blk, 0, 4096));
	heat(blk, 0);
	map->test_tick += 100;
	assert_false(reads_mapped(blk, 0, 4096));
	/* Reads that are far apart never get there. */
	for (unsigned i = 0; i < 40; i++) {
		map->test_tick += 2;
		assert_false(reads_mapped(blk, 0, 4096));
	}
	close_map(blk);
}

static void pieces_and_lengths(void **state)
{
	struct block_options opts = {0};
	struct block *blk = open_hot(&opts);
	char a[5000], b[3192];
	struct request req = {.io = {.op = BLOCK_READ, .offset = 1000, .len = 8192}};
	uint64_t before = map_of(blk)->reads;

	req.iov[0] = (struct iovec){a, sizeof(a)};
	req.iov[1] = (struct iovec){a, 0};
	req.iov[2] = (struct iovec){b, sizeof(b)};
	req.io.iov = req.iov;
	req.io.nr_iov = 3;
	run_burst(blk, &req, 1);
	assert_int_equal(req.io.status, 0);
	assert_int_equal(req.done, 0); /* at once */
	assert_int_equal(map_of(blk)->reads, before + 1);
	assert_memory_equal(a, want + 1000, sizeof(a));
	assert_memory_equal(b, want + 6000, sizeof(b));
	close_map(blk);
}

static void who_else_writes_is_seen(void **state)
{
	struct block_options opts = {0};
	struct block *blk = open_hot(&opts);
	char page[4096], buf[4096];
	int fd = open(path, O_RDWR);

	for (unsigned i = 0; i < 20; i++) {
		uint64_t before = map_of(blk)->reads;

		fill(page, sizeof(page), 100 + i);
		if (i & 1)
			assert_int_equal(pwrite(fd, page, sizeof(page), 8192), sizeof(page));
		else
			assert_int_equal(do_io(blk, BLOCK_WRITE, 0, 8192, page, sizeof(page)), 0);
		assert_int_equal(read_at(blk, 8192, buf, sizeof(buf)), 0);
		assert_memory_equal(buf, page, sizeof(page));
		assert_int_equal(map_of(blk)->reads, before + 1);
	}
	close(fd);
	close_map(blk);
}

/* Zeroes and holes; what was known of them is not believed. */
static void holes(void **state)
{
	struct block_options opts = {0};
	struct block *blk = open_hot(&opts);
	char buf[8192];
	uint64_t before = map_of(blk)->reads;

	assert_int_equal(do_io(blk, BLOCK_WRITE_ZEROES, BLOCK_MAY_FREE, 4096, NULL, 8192), 0);
	assert_int_equal(read_at(blk, 4096, buf, 8192), 0);
	assert_true(all_zero(buf, 8192));
	assert_int_equal(map_of(blk)->reads, before);
	for (unsigned i = 0; i < 20; i++) {
		assert_int_equal(read_at(blk, 4096, buf, 8192), 0);
		assert_true(all_zero(buf, 8192));
	}
	assert_true(map_of(blk)->reads > before || on_tmpfs());
	/* Somebody else punches: nothing tells us, and nothing goes wrong. */
	if (block_info(blk)->can_discard) {
		int fd = open(path, O_RDWR);

		before = map_of(blk)->reads;
		assert_int_equal(
			fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 65536), 0);
		assert_int_equal(read_at(blk, 0, buf, 4096), 0);
		assert_true(all_zero(buf, 4096));
		assert_int_equal(map_of(blk)->reads, before + 1);
		close(fd);
	}
	close_map(blk);
}

/* While something is in flight that a copy must not meet. */
static void not_beside_writes(void **state)
{
	struct block_options opts = {0};
	struct block *blk = open_hot(&opts);
	struct request *reqs = calloc(50, sizeof(*reqs));
	char *buf = malloc(50 * 4096);
	enum block_op ops[] = {BLOCK_WRITE, BLOCK_READ, BLOCK_READ};
	uint64_t before;

	memcpy(buf, want, 4096);
	for (unsigned i = 0; i < 50; i++) {
		reqs[i].iov[0] = (struct iovec){buf + i * 4096, 4096};
		reqs[i].io = (struct block_io){
			.op = BLOCK_READ, .len = 4096, .iov = reqs[i].iov, .nr_iov = 1};
	}
	/* The same page, then another. */
	for (unsigned i = 0; i < 3; i++)
		reqs[i].io.op = ops[i];
	reqs[1].io.offset = 512;
	reqs[1].io.len = reqs[1].iov[0].iov_len = 512;
	reqs[2].io.offset = 4096;
	before = map_of(blk)->reads;
	run_burst(blk, reqs, 3);
	assert_int_equal(reqs[1].done, 1);
	assert_int_equal(reqs[2].done, 0);
	assert_int_equal(map_of(blk)->reads, before + 1);
	assert_memory_equal(buf + 4096, want + 512, 512);
	/* So many that they are not compared. */
	memcpy(buf, want, 49 * 4096);
	for (unsigned i = 0; i < 49; i++) {
		reqs[i].io.op = BLOCK_WRITE;
		reqs[i].io.offset = i * 4096;
		reqs[i].io.len = reqs[i].iov[0].iov_len = 4096;
	}
	reqs[49].io.offset = 50 * 4096;
	run_burst(blk, reqs, 50);
	assert_int_equal(reqs[49].done, 1);
	assert_int_equal(map_of(blk)->reads, before + 1);
	assert_int_equal(map_of(blk)->nr_writes, 0);
	assert_true(TAILQ_EMPTY(&map_of(blk)->writes));
	/* A hole, wherever. */
	reqs[0].io = (struct block_io){.op = BLOCK_WRITE_ZEROES,
				       .flags = BLOCK_MAY_FREE,
				       .offset = SIZE - 4096,
				       .len = 4096};
	reqs[1].io.offset = 4096;
	reqs[1].io.op = BLOCK_READ;
	run_burst(blk, reqs, 2);
	assert_int_equal(reqs[1].done, 1);
	assert_int_equal(map_of(blk)->reads, before + 1);
	assert_int_equal(map_of(blk)->holes, 0);
	assert_true(reads_mapped(blk, 4096, 4096));
	free(reqs);
	free(buf);
	close_map(blk);
}

/* ---- what goes wrong ---- */

static void cut_under_it(void **state)
{
	struct block_options opts = {0};
	struct block *blk = open_hot(&opts);
	uint64_t before = map_of(blk)->reads;
	char buf[8192];

	assert_int_equal(truncate(path, 8192), 0);
	/* One half is there, the other is not. */
	assert_int_equal(read_at(blk, 4096, buf, 8192), -ENXIO);
	assert_int_equal(read_at(blk, 32768, buf, 4096), -ENXIO);
	assert_int_equal(map_of(blk)->reads, before);
	assert_int_equal(block_info(blk)->size, 8192);
	assert_true(reads_mapped(blk, 4096, 4096));
	/* It grows again, in the middle of a page too. */
	assert_int_equal(truncate(path, SIZE + 100), 0);
	assert_int_equal(do_io(blk, BLOCK_GET_SIZE, 0, 0, NULL, 0), 0);
	for (unsigned i = 0; i < 20; i++) {
		assert_int_equal(read_at(blk, 32768, buf, 4096), 0);
		assert_true(all_zero(buf, 4096));
		assert_int_equal(read_at(blk, SIZE, buf, 100), 0);
		assert_true(all_zero(buf, 100));
		assert_int_equal(read_at(blk, SIZE, buf, 200), -ENXIO);
	}
	assert_true(map_of(blk)->reads > before + 1);
	close_map(blk);
}

static void memory_goes(void **state)
{
	struct block_options opts = {0};
	struct block *blk = open_hot(&opts);

	for (unsigned i = 0; i < 4; i++)
		heat(blk, 0);
	check_gone_memory(blk);
	close_map(blk);
}

/* Pages that the kernel has freed: they are read, and the next look draws its conclusion. */
static void pressure(void **state)
{
	struct block_options opts = {0};
	struct block *blk = open_hot(&opts);
	struct file_map *map = map_of(blk);
	int fd = open(path, O_RDWR);

	for (unsigned i = 0; i < 8; i++)
		assert_true(reads_mapped(blk, i * 4096, 4096));
	one_gone = true;
	map->test_tick += 2;
	assert_false(reads_mapped(blk, 0, 4096));
	map->test_tick += 7;
	assert_false(reads_mapped(blk, 0, 4096));
	map->test_tick += 1;
	heat(blk, 0);
	assert_true(reads_mapped(blk, 0, 4096));
	/* What was not there is read by calls, and is there when that has happened often. */
	for (unsigned i = 0; i < 32; i++)
		assert_false(reads_mapped(blk, CHUNK / 2, 4096));
	one_gone = false;
	for (unsigned i = 0; i < 32; i++)
		reads_mapped(blk, CHUNK / 2, 4096);
	assert_true(reads_mapped(blk, CHUNK / 2, 4096));
	/* What was believed to be there and is not. */
	assert_int_equal(fdatasync(fd), 0);
	heat(blk, 2 * CHUNK);
	assert_int_equal(posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED), 0);
	for (unsigned i = 0; i < 64; i++)
		assert_true(reads_mapped(blk, 2 * CHUNK + i * 4096, 4096));
	close(fd);
	close_map(blk);
}

static void all_is_not_there(void **state)
{
	struct block_options opts = {0};
	struct block *blk;

	/* Who may not know is told that all is there: also what is behind the end. */
	blk = open_map(&opts, SIZE);
	all_there = true;
	heat(blk, 0);
	assert_false(map_of(blk)->on);
	assert_false(reads_mapped(blk, 0, 4096));
	close_map(blk);
	/* No such call. */
	blk = open_map(&opts, SIZE);
	no_mincore = true;
	heat(blk, 0);
	assert_false(reads_mapped(blk, 0, 4096));
	close_map(blk);
	blk = open_hot(&opts);
	no_mincore = true;
	for (unsigned i = 0; i < 5; i++)
		assert_true(reads_mapped(blk, 0, 4096));
	map_of(blk)->test_tick += 2;
	assert_false(reads_mapped(blk, 0, 4096));
	assert_false(map_of(blk)->on);
	close_map(blk);
	/* No address space. */
	blk = open_map(&opts, SIZE);
	refuse_mmap = true;
	heat(blk, 0);
	assert_false(reads_mapped(blk, 0, 4096));
	assert_false(map_of(blk)->on);
	refuse_mmap = false;
	close_map(blk);
}

static void not_asked_for(void **state)
{
	struct block_options rows[] = {{.no_map = true}, {.direct = true}};

	for (unsigned i = 0; i < 2; i++) {
		struct block *blk;

		make_file(path, disk_dir(), SIZE);
		rows[i].file = path;
		blk = open_block(&rows[i]);
		if (!blk && rows[i].direct) {
			unlink(path);
			continue;
		}
		assert_non_null(blk);
		assert_false(map_of(blk)->on);
		close_map(blk);
	}
}

/* Behind a file system of somebody's own may be somebody who does not answer: its pages are not
 * touched, and what else the context has to do goes on. */
static void not_what_may_not_answer(void **state)
{
	struct stalling_file *f = stalling_file_new(SIZE);
	struct block_options opts = {0};
	struct request req = {.io = {.op = BLOCK_READ, .len = 4096, .nr_iov = 1}};
	struct block *blk, *slow;
	struct burst b = {.reqs = &req, .nr = 1};
	char buf[4096];

	if (!f) {
		print_message("needs root and FUSE\n");
		skip();
	}
	blk = open_hot(&opts);
	slow = open_block(&(struct block_options){.file = f->path, .threads = true});
	assert_non_null(slow);
	req.iov[0] = (struct iovec){buf, sizeof(buf)};
	req.io.iov = req.iov;
	b.blk = slow;
	sem_init(&b.sem, 0, 0);
	in_context(burst_start, &b);
	stalling_file_wait(f);
	assert_true(reads_mapped(blk, 0, 4096));
	stalling_file_go(f);
	sem_wait(&b.sem);
	assert_int_equal(req.io.status, 0);
	for (unsigned i = 0; i < 20; i++)
		assert_int_equal(read_at(slow, 0, buf, sizeof(buf)), 0);
	assert_false(map_of(slow)->on);
	assert_int_equal(map_of(slow)->reads, 0);
	uvfio_ctx_flush(ctx);
	sem_destroy(&b.sem);
	close_block(slow);
	stalling_file_free(f);
	close_map(blk);
}

/* ---- a large file ---- */

static void windows(void **state)
{
	struct block_options opts = {0};
	struct block *blk = open_hot(&opts);
	struct file_map *map = map_of(blk);
	char buf[4096];

	if (on_tmpfs() || truncate(path, 140 * WINDOW)) {
		close_map(blk);
		skip(); /* no files of 35 GiB here, or no pages for holes */
	}
	assert_int_equal(do_io(blk, BLOCK_GET_SIZE, 0, 0, NULL, 0), 0);
	for (unsigned w = 1; w < 140; w++) {
		uint64_t before = map->reads;

		for (unsigned i = 0; i < 9; i++) {
			assert_int_equal(read_at(blk, w * WINDOW, buf, sizeof(buf)), 0);
			assert_true(all_zero(buf, sizeof(buf)));
		}
		assert_int_equal(map->reads > before, w < 128);
	}
	assert_int_equal(map->nr, 128);
	/* Across two of them. */
	assert_int_equal(read_at(blk, 2 * WINDOW - 2048, buf, sizeof(buf)), 0);
	/* Later the first gives way. */
	map->test_tick += 16;
	for (unsigned w = 130; w < 140; w++) {
		uint64_t before = map->reads;

		for (unsigned i = 0; i < 9; i++)
			assert_int_equal(read_at(blk, w * WINDOW, buf, sizeof(buf)), 0);
		assert_true(map->reads > before);
	}
	assert_int_equal(map->nr, 128);
	for (unsigned i = 0; i < 20; i++)
		reads_mapped(blk, 0, 4096);
	close_map(blk);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_read_often_is_mapped),
		cmocka_unit_test(what_is_known_grows_old),
		cmocka_unit_test(pieces_and_lengths),
		cmocka_unit_test(who_else_writes_is_seen),
		cmocka_unit_test(holes),
		cmocka_unit_test(not_beside_writes),
		cmocka_unit_test(cut_under_it),
		cmocka_unit_test(memory_goes),
		cmocka_unit_test(pressure),
		cmocka_unit_test(all_is_not_there),
		cmocka_unit_test(not_asked_for),
		cmocka_unit_test(not_what_may_not_answer),
		cmocka_unit_test(windows),
	};
	int rc;

	guarded_init();
	rc = cmocka_run_group_tests(tests, harness_setup, harness_teardown);
	free(want);
	return rc;
}
