/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The log of written pages: what it adds to a transfer, and what a report costs.
 *
 * To mark is iommu_dirty_mark() alone, into a log that covers all memory, as that of a hardware
 * page table or of a vfio-user client does.  "Random" draws from the 4 Mi pages of 16 GiB, in
 * chunks that exist; the bits take 512 KiB.  A report goes over 16 GiB, into a bitmap in our own
 * memory.  Beside one of everything stands the loop that nobody disturbs: three times as much is
 * "memory speed".
 */
#include "base/rcu.h"
#include "bench.h"
#include "iommu/dirty.h"
#include "iommu/space.h"

#define MARKS (1u << 18)
#define PAGES (1ull << 22) /* 16 GiB */
#define WORDS (PAGES / 64)
#define LAST  (PAGES * IOMMU_PAGE_SIZE - 1)

struct set {
	struct iommu_dirty *log;
	uint64_t *queries; /* IOVAs */
	uint64_t *words;   /* the client's */
};

static _Noreturn void die(const char *what)
{
	fprintf(stderr, "dirty: %s failed\n", what);
	exit(2);
}

static int words_read(void *client, void *dst, uint64_t at, size_t len)
{
	memcpy(dst, (char *)client + at, len);
	return 0;
}

static int words_write(void *client, uint64_t at, const void *src, size_t len)
{
	memcpy((char *)client + at, src, len);
	return 0;
}

static double report_us(struct set *set)
{
	const struct iommu_bitmap_io io = {words_read, words_write, set->words};
	struct iommu_bitmap out;
	uint64_t start = bench_ns();

	iommu_bitmap_init(&out, &io, 0, true);
	if (iommu_dirty_report(set->log, 0, LAST, IOMMU_PAGE_SIZE, false, &out))
		die("a report");
	return (double)(bench_ns() - start) / 1e3;
}

static double mark_same(void *arg)
{
	struct set *set = arg;
	uint64_t start = bench_ns();

	uvfio_rcu_read_lock();
	for (unsigned i = 0; i < MARKS; i++)
		iommu_dirty_mark(set->log, set->queries[0], 512);
	uvfio_rcu_read_unlock();
	return (double)(bench_ns() - start) / MARKS;
}

/* Pages that are marked already, as most are between two reports. */
static double mark_random(void *arg)
{
	struct set *set = arg;
	uint64_t start;

	uvfio_rcu_read_lock();
	for (unsigned i = 0; i < MARKS; i++)
		iommu_dirty_mark(set->log, set->queries[i], 512);
	start = bench_ns();
	for (unsigned i = 0; i < MARKS; i++)
		iommu_dirty_mark(set->log, set->queries[i], 512);
	uvfio_rcu_read_unlock();
	return (double)(bench_ns() - start) / MARKS;
}

/* After a report: each sets its bit. */
static double mark_new(void *arg)
{
	struct set *set = arg;
	uint64_t start;

	report_us(set);
	start = bench_ns();
	uvfio_rcu_read_lock();
	for (unsigned i = 0; i < MARKS; i++)
		iommu_dirty_mark(set->log, set->queries[i], 512);
	uvfio_rcu_read_unlock();
	return (double)(bench_ns() - start) / MARKS;
}

static double report_clean(void *arg)
{
	struct set *set = arg;
	double us;

	report_us(set);
	memset(set->words, 0, WORDS * 8);
	us = report_us(set);
	for (uint64_t i = 0; i < WORDS; i++)
		if (set->words[i])
			die("a report of nothing");
	return us;
}

static double report_dirty(void *arg)
{
	struct set *set = arg;
	double us;

	uvfio_rcu_read_lock();
	iommu_dirty_mark(set->log, 0, LAST + 1);
	uvfio_rcu_read_unlock();
	memset(set->words, 0, WORDS * 8);
	us = report_us(set);
	for (uint64_t i = 0; i < WORDS; i++)
		if (~set->words[i])
			die("a report of everything");
	return us;
}

/* The words of a log of our own. */
static uint64_t *full_log(void)
{
	static uint64_t log[WORDS];

	memset(log, 0xff, sizeof(log));
	return log;
}

static double copy(void *arg)
{
	struct set *set = arg;
	const uint64_t *log = full_log();
	uint64_t start = bench_ns();

	memcpy(set->words, log, WORDS * 8);
	bench_keep(set->words);
	return (double)(bench_ns() - start) / 1e3;
}

/* What a report must do at least: add the words to the client's, and forget them. */
static double move(void *arg)
{
	struct set *set = arg;
	uint64_t *log = full_log(), start;

	memset(set->words, 0, WORDS * 8);
	start = bench_ns();
	for (uint64_t i = 0; i < WORDS; i++)
		set->words[i] |= log[i];
	memset(log, 0, WORDS * 8);
	bench_keep(log);
	bench_keep(set->words);
	return (double)(bench_ns() - start) / 1e3;
}

/* The same where others may set bits meanwhile, word by word. */
static double exchange(void *arg)
{
	struct set *set = arg;
	uint64_t *log = full_log(), start;

	memset(set->words, 0, WORDS * 8);
	start = bench_ns();
	for (uint64_t i = 0; i < WORDS; i++)
		set->words[i] |= __atomic_exchange_n(&log[i], 0, __ATOMIC_SEQ_CST);
	bench_keep(set->words);
	return (double)(bench_ns() - start) / 1e3;
}

int main(void)
{
	const struct iommu_dirty_range all = {0, IOMMU_IOVA_LAST};
	struct set set = {
		.log = iommu_dirty_new(IOMMU_PAGE_SIZE, &all, 1),
		.queries = calloc(MARKS, sizeof(*set.queries)),
		.words = calloc(WORDS, 8),
	};
	struct bench_case cases[] = {
		{"mark, the same page again", "ns", mark_same, &set, BENCH_AT_MOST, 5},
		{"mark, random pages of 16 GiB, marked already", "ns", mark_random, &set,
		 BENCH_AT_MOST, 5},
		{"  the same, not marked yet", "ns", mark_new, &set},
		{"report of 16 GiB, nothing written", "us", report_clean, &set, BENCH_AT_MOST, 200},
		{"report of 16 GiB, everything written", "us", report_dirty, &set},
		{"  a copy of that bitmap", "us", copy, &set},
		{"  its words or'ed into another and cleared", "us", move, &set},
		{"  the same by an atomic exchange of each", "us", exchange, &set},
	};
	struct bench_case ratio = {"  a report / or'ed and cleared, in hundredths",
				   "",
				   NULL,
				   NULL,
				   BENCH_AT_MOST,
				   300};
	uint64_t seed = 7;
	int missed;

	if (!set.log || !set.queries || !set.words)
		die("setting up");
	for (unsigned i = 0; i < MARKS; i++)
		set.queries[i] = bench_random(&seed) % PAGES * IOMMU_PAGE_SIZE;
	missed = bench_run("Dirty pages", cases, sizeof(cases) / sizeof(*cases), 7);
	ratio.median = 100 * cases[4].median / cases[6].median;
	return missed + bench_print(&ratio) != 0;
}
