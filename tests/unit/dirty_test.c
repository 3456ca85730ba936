/* SPDX-License-Identifier: BSD-3-Clause */
/* The log of written pages (src/iommu/dirty.c): against a simple model, and with writers beside it.
 */
#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "base/rcu.h"
#include "iommu/dirty.h"
#include "iommu/space.h"

#define P           4096ull
#define WORDS       8192u

#define CHUNK_PAGES 32768ull /* what the log divides by, */
#define BATCH       128u     /* and how many of these a report takes at a time */

/* The client's bitmap. */
struct client {
	uint64_t words[WORDS];
	size_t end; /* bytes; there is nothing behind */
};

static int client_read(void *arg, void *dst, uint64_t uaddr, size_t len)
{
	struct client *c = arg;

	if (uaddr > c->end || len > c->end - uaddr)
		return -EFAULT;
	memcpy(dst, (char *)c->words + uaddr, len);
	return 0;
}

static int client_write(void *arg, uint64_t uaddr, const void *src, size_t len)
{
	struct client *c = arg;

	if (uaddr > c->end || len > c->end - uaddr)
		return -EFAULT;
	memcpy((char *)c->words + uaddr, src, len);
	return 0;
}

static int report(struct iommu_dirty *log, uint64_t iova, uint64_t last, uint64_t page,
		  struct client *c)
{
	const struct iommu_bitmap_io io = {client_read, client_write, c};
	struct iommu_bitmap out;

	iommu_bitmap_init(&out, &io, 0, true);
	return iommu_dirty_report(log, iova, last, page, false, &out);
}

static void mark(struct iommu_dirty *log, uint64_t iova, uint64_t len)
{
	uvfio_rcu_read_lock();
	iommu_dirty_mark(log, iova, len);
	uvfio_rcu_read_unlock();
}

static struct client *new_client(void)
{
	struct client *c = calloc(1, sizeof(*c));

	assert_non_null(c);
	c->end = sizeof(c->words);
	return c;
}

static bool has(const struct client *c, uint64_t bit)
{
	return c->words[bit / 64] >> bit % 64 & 1;
}

/* ---- against a model ---- */

#define PAGES 4096u /* of 4 KiB: what the model has, from @base on */

struct model {
	uint64_t base, page;          /* the log's */
	bool in[PAGES], dirty[PAGES]; /* small pages */
};

static uint64_t some(uint64_t n)
{
	return ((uint64_t)rand() << 31 | (uint64_t)rand()) % n;
}

static struct iommu_dirty *model_new(struct model *m, uint64_t page)
{
	struct iommu_dirty_range ranges[8];
	uint64_t unit = page / P, at = 0;
	unsigned nr = 0;

	memset(m, 0, sizeof(*m));
	m->page = page;
	/* Across the edge of a chunk, or of what the log divides by. */
	m->base = ((1ull << 15) * page * (1 + some(4)) - (some(2) ? some(PAGES / unit) * page : 0));
	while (nr < 8 && at < PAGES) {
		uint64_t first = at + some(4) * unit, n = (1 + some(PAGES / unit / 4)) * unit;

		if (first + n > PAGES)
			break;
		ranges[nr++] = (struct iommu_dirty_range){m->base + first * P,
							  m->base + (first + n) * P - 1};
		for (uint64_t i = first; i < first + n; i++)
			m->in[i] = true;
		at = first + n;
	}
	if (!nr)
		return NULL;
	/* The order does not matter. */
	for (unsigned i = 0; i < nr; i++) {
		unsigned j = (unsigned)some(nr);
		struct iommu_dirty_range r = ranges[i];

		ranges[i] = ranges[j];
		ranges[j] = r;
	}
	return iommu_dirty_new(page, ranges, nr);
}

static void model_mark(struct model *m, struct iommu_dirty *log)
{
	uint64_t at = some(PAGES * P), len = 1 + some(some(2) ? 2 * P : 64 * P);
	uint64_t first, last;

	if (at + len > PAGES * P)
		len = PAGES * P - at;
	mark(log, m->base + at, len);
	first = (m->base + at) / m->page * m->page;
	last = ((m->base + at + len - 1) / m->page + 1) * m->page - 1;
	for (uint64_t a = first; a < last; a += P) {
		uint64_t i = (a - m->base) / P;

		if (a >= m->base && i < PAGES && m->in[i])
			m->dirty[i] = true;
	}
}

static void model_report(struct model *m, struct iommu_dirty *log, struct client *c)
{
	uint64_t page = P << some(5), first = some(PAGES), n = 1 + some(PAGES - first);
	uint64_t iova = m->base + first * P, last = iova + n * P - 1;
	uint64_t bits = (n * P + page - 1) / page;
	bool *want = calloc(bits, sizeof(*want));

	assert_non_null(want);
	memset(c->words, 0, sizeof(c->words));
	/* What is there stays there. */
	c->words[bits / 64] |= 1ull << bits % 64;
	c->end = (bits / 64 + 1) * 8;
	assert_int_equal(report(log, iova, last, page, c), 0);
	for (uint64_t i = first; i < first + n; i++) {
		uint64_t start = (m->base + i * P) / m->page * m->page;

		if (!m->dirty[i])
			continue;
		want[(i - first) * P / page] = true;
		/* Of a page of the log that is asked for in part, the mark stays. */
		if (start >= iova && start + m->page - 1 <= last)
			m->dirty[i] = false;
	}
	for (uint64_t b = 0; b < bits; b++)
		assert_int_equal(has(c, b), want[b]);
	assert_true(has(c, bits));
	free(want);
}

static void as_the_model_says(void **state)
{
	struct client *c = new_client();
	struct model *m = malloc(sizeof(*m));

	assert_non_null(m);
	for (unsigned seed = 0; seed < 300; seed++) {
		struct iommu_dirty *log;

		srand(seed);
		log = model_new(m, P << some(5));
		if (!log)
			continue;
		for (int step = 0; step < 40; step++) {
			if (some(4))
				model_mark(m, log);
			else
				model_report(m, log, c);
		}
		iommu_dirty_free(log);
	}
	free(m);
	free(c);
}

/* ---- limits ---- */

static void everything_is_one_range(void **state)
{
	const struct iommu_dirty_range all = {0, UINT64_MAX},
				       above = {1ull << 60, (1ull << 61) - 1};
	struct iommu_dirty *log = iommu_dirty_new(P, &all, 1);
	struct client *c = new_client();

	assert_non_null(log);
	mark(log, 0, 1);
	mark(log, IOMMU_IOVA_LAST, 1);
	mark(log, 5 * P - 1, 2);
	mark(log, 7 * P, 0);
	assert_int_equal(report(log, 0, 64 * P - 1, P, c), 0);
	assert_int_equal(c->words[0], 0x31);
	c->words[0] = 0;
	assert_int_equal(report(log, IOMMU_IOVA_LAST - 4 * P + 1, UINT64_MAX, 1ull << 40, c), 0);
	assert_int_equal(c->words[0], 1);
	iommu_dirty_free(log);

	log = iommu_dirty_new(P, &above, 1);
	assert_non_null(log);
	mark(log, 1ull << 47, P);
	assert_int_equal(report(log, 0, UINT64_MAX, 1ull << 40, c), 0);
	iommu_dirty_free(log);
	free(c);
}

/* A client that has its device write here and there gets too much reported, not too little, and
 * costs no more than it may. */
static void memory_is_bounded(void **state)
{
	const struct iommu_dirty_range all = {0, IOMMU_IOVA_LAST};
	const uint64_t chunk = 32768 * P, nr = DIRTY_MAX_BYTES / 4096 + 100;
	struct iommu_dirty *log = iommu_dirty_new(P, &all, 1);
	struct client *c = new_client();

	assert_non_null(log);
	for (uint64_t i = 0; i < nr; i++)
		mark(log, i * chunk + 3 * P, 1);
	assert_true(iommu_dirty_bytes(log) <= DIRTY_MAX_BYTES);
	assert_int_equal(report(log, 0, chunk - 1, P, c), 0);
	assert_int_equal(c->words[0], 8);
	assert_int_equal(c->words[1], 0);
	/* The last one: all of its pages; in part, and it is remembered. */
	memset(c->words, 0, sizeof(c->words));
	assert_int_equal(report(log, (nr - 1) * chunk, nr * chunk - P - 1, P, c), 0);
	assert_int_equal(c->words[511], ~0ull >> 1);
	assert_int_equal(report(log, (nr - 1) * chunk, nr * chunk - 1, P, c), 0);
	assert_int_equal(c->words[511], ~0ull);
	memset(c->words, 0, sizeof(c->words));
	assert_int_equal(report(log, (nr - 1) * chunk, nr * chunk - 1, P, c), 0);
	for (unsigned i = 0; i < 512; i++)
		assert_int_equal(c->words[i], 0);
	iommu_dirty_free(log);
	free(c);
}

static void a_bitmap_that_ends(void **state)
{
	const struct iommu_dirty_range range = {0, 4096 * P - 1};
	struct iommu_dirty *log = iommu_dirty_new(P, &range, 1);
	struct client *c = new_client();

	mark(log, 0, 4096 * P);
	c->end = 8;
	assert_int_equal(report(log, 0, 4096 * P - 1, P, c), -EFAULT);
	assert_int_equal(c->words[1], 0);
	/* What the report did not come to, and is then written again, is in the next. */
	mark(log, 4095 * P, 1);
	c->end = sizeof(c->words);
	assert_int_equal(report(log, 0, 4096 * P - 1, P, c), 0);
	assert_true(has(c, 4095));
	iommu_dirty_free(log);
	free(c);
}

/* Chunks that a report has taken and did not come to are in the next one, whatever was marked
 * meanwhile. */
static void a_report_that_fails(void **state)
{
	const struct iommu_dirty_range range = {0, 8 * CHUNK_PAGES * P - 1};
	struct iommu_dirty *log = iommu_dirty_new(P, &range, 1);
	struct client *c = new_client();

	mark(log, 0, range.last + 1);
	c->end = 2 * CHUNK_PAGES / 8;
	assert_int_equal(report(log, 0, range.last, P, c), -EFAULT);
	for (unsigned i = 0; i < 2 * CHUNK_PAGES / 64; i++)
		assert_int_equal(c->words[i], ~0ull);
	memset(c->words, 0, sizeof(c->words));
	c->end = sizeof(c->words);
	mark(log, 5 * CHUNK_PAGES * P, 1);
	assert_int_equal(report(log, 0, range.last, P, c), 0);
	for (unsigned i = 0; i < 2 * CHUNK_PAGES / 64; i++)
		assert_int_equal(c->words[i], 0);
	for (unsigned i = 2 * CHUNK_PAGES / 64; i < 8 * CHUNK_PAGES / 64; i++)
		assert_int_equal(c->words[i], ~0ull);
	memset(c->words, 0, sizeof(c->words));
	assert_int_equal(report(log, 0, range.last, P, c), 0);
	for (unsigned i = 0; i < WORDS; i++)
		assert_int_equal(c->words[i], 0);
	iommu_dirty_free(log);
	free(c);
}

/* ---- a report within another ---- */

#define NESTED       16u /* pages of the log in one of the reports' */
#define NESTED_WORDS (2 * BATCH * CHUNK_PAGES / NESTED / 64)

/* A client in whose first write another report is made. */
struct nested {
	struct client outer, inner;
	struct iommu_dirty *log;
	uint64_t last;
	unsigned writes;
};

static_assert(NESTED_WORDS <= WORDS, "the client's bitmap");

static int nested_read(void *arg, void *dst, uint64_t uaddr, size_t len)
{
	return client_read(&((struct nested *)arg)->outer, dst, uaddr, len);
}

static int nested_write(void *arg, uint64_t uaddr, const void *src, size_t len)
{
	struct nested *n = arg;

	if (!n->writes++)
		assert_int_equal(report(n->log, 0, n->last, NESTED * P, &n->inner), 0);
	return client_write(&n->outer, uaddr, src, len);
}

/* A client that does not go on holds up no other, and each page is in one of the two. */
static void reports_beside_each_other(void **state)
{
	const struct iommu_dirty_range range = {0, 2 * BATCH * CHUNK_PAGES * P - 1};
	struct iommu_dirty *log = iommu_dirty_new(P, &range, 1);
	struct nested *n = calloc(1, sizeof(*n));
	const struct iommu_bitmap_io io = {nested_read, nested_write, n};
	struct iommu_bitmap out;

	assert_non_null(n);
	assert_non_null(log);
	n->log = log;
	n->last = range.last;
	n->outer.end = n->inner.end = sizeof(n->outer.words);
	mark(log, 0, range.last + 1);
	iommu_bitmap_init(&out, &io, 0, true);
	assert_int_equal(iommu_dirty_report(log, 0, n->last, NESTED * P, false, &out), 0);
	assert_true(n->writes);
	assert_true(n->inner.words[NESTED_WORDS - 1]);
	assert_int_equal(n->outer.words[0], ~0ull);
	for (unsigned i = 0; i < NESTED_WORDS; i++) {
		assert_int_equal(n->outer.words[i] & n->inner.words[i], 0);
		assert_int_equal(n->outer.words[i] | n->inner.words[i], ~0ull);
	}
	iommu_dirty_free(log);
	free(n);
}

/* ---- writers beside reports ---- */

#define WRITERS 3
#define READERS 2
#define MEMORY  256u /* pages */

/* Each writer counts the pages of its own up; the readers copy those that are reported to them.  In
 * the end, after a last report to each, the larger of the copies is the memory. */
struct shared {
	struct iommu_dirty *log;
	_Atomic uint64_t memory[WRITERS * MEMORY];
	_Atomic unsigned running;
};
struct writer {
	struct shared *s;
	unsigned me;
};
struct reader {
	struct shared *s;
	uint64_t copy[WRITERS * MEMORY];
};

static void *write_pages(void *arg)
{
	struct writer *w = arg;
	unsigned x = w->me + 1;

	for (unsigned n = 0; n < 200000; n++) {
		unsigned page;

		x = x * 1103515245 + 12345;
		page = w->me + x / 65536 % (n % 8 ? 4 : MEMORY) * WRITERS;
		atomic_store_explicit(&w->s->memory[page], n + 1, memory_order_relaxed);
		mark(w->s->log, page * P, 1 + x % P);
	}
	w->s->running--;
	return NULL;
}

static void *read_pages(void *arg)
{
	struct reader *r = arg;
	struct client *c = new_client();
	bool last = false;

	while (!last) {
		last = !r->s->running;
		memset(c->words, 0, sizeof(c->words));
		assert_int_equal(report(r->s->log, 0, WRITERS * MEMORY * P - 1, P, c), 0);
		for (unsigned i = 0; i < WRITERS * MEMORY; i++)
			if (has(c, i))
				r->copy[i] = atomic_load_explicit(&r->s->memory[i],
								  memory_order_relaxed);
	}
	free(c);
	return NULL;
}

static void nothing_is_lost(void **state)
{
	const struct iommu_dirty_range range = {0, WRITERS * MEMORY * P - 1};
	struct shared *s = calloc(1, sizeof(*s));
	struct reader *readers = calloc(READERS, sizeof(*readers));
	struct writer writers[WRITERS];
	pthread_t threads[WRITERS + READERS];

	assert_non_null(s);
	assert_non_null(readers);
	s->log = iommu_dirty_new(P, &range, 1);
	assert_non_null(s->log);
	s->running = WRITERS;
	for (unsigned i = 0; i < WRITERS; i++) {
		writers[i] = (struct writer){s, i};
		assert_int_equal(pthread_create(&threads[i], NULL, write_pages, &writers[i]), 0);
	}
	for (unsigned i = 0; i < READERS; i++) {
		readers[i].s = s;
		assert_int_equal(
			pthread_create(&threads[WRITERS + i], NULL, read_pages, &readers[i]), 0);
	}
	for (unsigned i = 0; i < WRITERS + READERS; i++)
		pthread_join(threads[i], NULL);
	for (unsigned i = 0; i < WRITERS * MEMORY; i++) {
		uint64_t copy = 0;

		for (unsigned k = 0; k < READERS; k++)
			copy = readers[k].copy[i] > copy ? readers[k].copy[i] : copy;
		assert_int_equal(copy, s->memory[i]);
	}
	iommu_dirty_free(s->log);
	free(readers);
	free(s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(as_the_model_says),   cmocka_unit_test(everything_is_one_range),
		cmocka_unit_test(memory_is_bounded),   cmocka_unit_test(a_bitmap_that_ends),
		cmocka_unit_test(a_report_that_fails), cmocka_unit_test(reports_beside_each_other),
		cmocka_unit_test(nothing_is_lost),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
