/* SPDX-License-Identifier: BSD-3-Clause */
/* Storage that is handed from one server to another: BLOCK_RELEASE, BLOCK_TAKE. */
#include <assert.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include <cmocka.h>

#include "block/file.h"
#include "block_harness.h"

#define SIZE (4u << 20)

static int hand(struct block *blk, enum block_op op)
{
	return do_io(blk, op, op == BLOCK_TAKE ? BLOCK_NOWAIT : 0, 0, NULL, 0);
}

static unsigned nr_resized;

static void resized(void *arg)
{
	nr_resized++;
}

static void test_a_file(void **state)
{
	char path[256];
	struct block_options opts = {.file = path, .threads = *state != NULL};
	char *want = aligned_alloc(4096, 65536), *got = aligned_alloc(4096, 65536);
	struct block *a, *b;

	make_file(path, disk_dir(), SIZE);
	a = open_block(&opts);
	assert_non_null(a);
	/* Who only waits for it opens it at any time, and does not get it. */
	opts.unlocked = true;
	b = open_block(&opts);
	assert_non_null(b);
	assert_int_equal(hand(b, BLOCK_TAKE), -EBUSY);
	fill(want, 65536, 1);
	assert_int_equal(do_io(a, BLOCK_WRITE, 0, 4096, want, 65536), 0);
	assert_int_equal(do_io(a, BLOCK_FLUSH, 0, 0, NULL, 0), 0);
	assert_int_equal(hand(a, BLOCK_RELEASE), 0);
	assert_int_equal(truncate(path, 2 * SIZE), 0);
	block_on_resize(b, resized, NULL);
	nr_resized = 0;
	assert_int_equal(hand(b, BLOCK_TAKE), 0);
	assert_int_equal(nr_resized, 1);
	assert_int_equal(block_info(b)->size, 2 * SIZE);
	assert_int_equal(do_io(b, BLOCK_READ, 0, 4096, got, 65536), 0);
	assert_memory_equal(want, got, 65536);
	/* One of them at a time, and nobody else. */
	assert_int_equal(hand(a, BLOCK_TAKE), -EBUSY);
	opts.unlocked = false;
	assert_null(open_block(&opts));
	assert_int_equal(errno, EBUSY);
	/* And back; the first one's ring and requests are as they were. */
	assert_int_equal(hand(b, BLOCK_RELEASE), 0);
	assert_int_equal(hand(a, BLOCK_TAKE), 0);
	assert_int_equal(block_info(a)->size, 2 * SIZE);
	assert_int_equal(do_io(a, BLOCK_READ, 0, 4096, got, 65536), 0);
	assert_memory_equal(want, got, 65536);
	/* Twice is as good as once. */
	assert_int_equal(hand(a, BLOCK_TAKE), 0);
	assert_int_equal(hand(b, BLOCK_RELEASE), 0);
	assert_int_equal(hand(b, BLOCK_TAKE), -EBUSY);
	close_block(a);
	assert_int_equal(hand(b, BLOCK_TAKE), 0);
	close_block(b);
	unlink(path);
	free(want);
	free(got);
}

/* What was mapped for reads is not believed. */
static void test_mappings_go(void **state)
{
	char path[256];
	struct block_options opts = {.file = path};
	char *buf = aligned_alloc(4096, 4096);
	struct block *blk;
	struct file *f;

	make_file(path, disk_dir(), SIZE);
	blk = open_block(&opts);
	assert_non_null(blk);
	f = (struct file *)blk;
	for (unsigned i = 0; i < 100; i++)
		assert_int_equal(do_io(blk, BLOCK_READ, 0, 0, buf, 4096), 0);
	if (f->map.on) {
		assert_true(f->map.nr > 0);
		assert_int_equal(hand(blk, BLOCK_RELEASE), 0);
		assert_int_equal(f->map.nr, 0);
		assert_int_equal(hand(blk, BLOCK_TAKE), 0);
		for (unsigned i = 0; i < 100; i++)
			assert_int_equal(do_io(blk, BLOCK_READ, 0, 0, buf, 4096), 0);
		assert_true(f->map.nr > 0);
	}
	close_block(blk);
	unlink(path);
	free(buf);
}

static void test_next_data(void **state)
{
	char path[256];
	const struct block_options opts = {.file = path}, memory = {.memory = SIZE};
	struct request req = {.io = {.op = BLOCK_NEXT_DATA}};
	char *buf = aligned_alloc(4096, 4096);
	struct block *blk;

	make_file(path, disk_dir(), SIZE);
	blk = open_block(&opts);
	assert_non_null(blk);
	fill(buf, 4096, 1);
	assert_int_equal(do_io(blk, BLOCK_WRITE, 0, 1u << 20, buf, 4096), 0);
	run_burst(blk, &req, 1);
	assert_int_equal(req.io.status, 0);
	assert_true(req.io.offset <= 1u << 20); /* 0 where a file system does not tell */
	if (req.io.offset) {
		req.io.offset = (1u << 20) + 65536;
		run_burst(blk, &req, 1);
		assert_int_equal(req.io.offset, SIZE);
	}
	req.io.offset = SIZE + 1;
	run_burst(blk, &req, 1);
	assert_int_equal(req.io.status, -ENXIO);
	close_block(blk);
	unlink(path);

	blk = open_block(&memory);
	req.io.offset = 4096;
	run_burst(blk, &req, 1);
	assert_int_equal(req.io.status, 0);
	assert_int_equal(req.io.offset, 4096);
	assert_int_equal(hand(blk, BLOCK_RELEASE), 0);
	assert_int_equal(hand(blk, BLOCK_TAKE), 0);
	close_block(blk);
	free(buf);
}

/* ---- two processes, one of which is killed ---- */

#define ROUNDS  50u
#define COUNTER 8192u

struct shared {
	_Atomic uint64_t acked; /* that whoever has it was told is there */
	_Atomic uint32_t owners;
};

/* Take it as soon as it is free, and count up, until somebody kills us; @leave: or give it back
 * after some. */
static _Noreturn void child(const char *path, struct shared *s, unsigned leave)
{
	const struct block_options opts = {.file = path, .unlocked = true, .threads = true};
	char *buf = aligned_alloc(4096, 4096);
	struct block *blk;
	uint64_t n;

	harness_setup(NULL);
	blk = open_block(&opts);
	if (!blk)
		_exit(1);
	while (do_io(blk, BLOCK_TAKE, 0, 0, NULL, 0) == -EBUSY)
		;
	if (do_io(blk, BLOCK_READ, 0, COUNTER, buf, 4096))
		_exit(2);
	memcpy(&n, buf, sizeof(n));
	if (n < s->acked)
		_exit(3); /* what was acknowledged is not there */
	for (unsigned i = 0; !leave || i < leave; i++) {
		n++;
		memcpy(buf, &n, sizeof(n));
		if (do_io(blk, BLOCK_WRITE, 0, COUNTER, buf, 4096))
			_exit(4);
		/* Nobody else counts meanwhile. */
		if (atomic_exchange(&s->acked, n) >= n)
			_exit(5);
	}
	if (do_io(blk, BLOCK_FLUSH, 0, 0, NULL, 0) || hand(blk, BLOCK_RELEASE))
		_exit(6);
	_exit(0);
}

static void test_killed_at_any_point(void **state)
{
	char path[256];
	struct shared *s =
		mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	const char *rounds = getenv("UVFIO_SOAK_ROUNDS");
	unsigned n = rounds ? (unsigned)atoi(rounds) : ROUNDS;

	assert_true(s != MAP_FAILED);
	make_file(path, disk_dir(), SIZE);
	srandom(1);
	for (unsigned i = 0; i < n; i++) {
		uint64_t until = s->acked + (uint64_t)(random() % 40);
		pid_t first, second;
		siginfo_t info = {0};
		int status;

		/* No threads of ours: the children make theirs. */
		first = fork();
		if (!first)
			child(path, s, 0);
		second = fork();
		if (!second)
			child(path, s, 1 + i % 5);
		/* One has it, whoever that is; one of them is killed while it counts, or waits. */
		while (s->acked < until && !info.si_pid) {
			assert_int_equal(
				waitid(P_PID, (id_t)second, &info, WEXITED | WNOHANG | WNOWAIT), 0);
			sched_yield();
		}
		assert_int_equal(kill(first, SIGKILL), 0);
		assert_int_equal(waitpid(first, &status, 0), first);
		assert_true(WIFSIGNALED(status) || !WEXITSTATUS(status));
		/* The other one gets it, if it had not had it before. */
		assert_int_equal(waitpid(second, &status, 0), second);
		assert_true(WIFEXITED(status));
		assert_int_equal(WEXITSTATUS(status), 0);
	}
	unlink(path);
	munmap(s, 4096);
}

int main(void)
{
	static int threads = 1;
	const struct CMUnitTest killed[] = {cmocka_unit_test(test_killed_at_any_point)};
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_file),
		cmocka_unit_test_prestate(test_a_file, &threads),
		cmocka_unit_test(test_mappings_go),
		cmocka_unit_test(test_next_data),
	};
	int failed = cmocka_run_group_tests(killed, NULL, NULL);

	return failed + cmocka_run_group_tests(tests, harness_setup, harness_teardown);
}
