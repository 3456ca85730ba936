/* SPDX-License-Identifier: BSD-3-Clause */
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <linux/membarrier.h>
#include <sys/syscall.h>
#include <unistd.h>
#include "iommu/dirty.h"
#include "iommu/space.h"

#define CHUNK_BITS  15
#define CHUNK_PAGES (1ull << CHUNK_BITS)
#define CHUNK_WORDS (CHUNK_PAGES / 64)

/* @any is set after a bit and cleared before the bits are read, so that a report which finds it
 * clear has missed nothing. */
struct chunk {
	struct chunk *next; /* of all that were made */
	_Atomic bool any;
	_Atomic uint64_t bits[CHUNK_WORDS];
};

struct range {
	uint64_t first, last; /* pages */
	_Atomic(struct chunk *) *chunks;
};

struct iommu_dirty {
	unsigned shift, nr;
	bool lazy; /* a bit that is set need not be set again: a report makes every CPU finish its
		    * stores, see there */
	_Atomic uint64_t bytes;
	_Atomic(struct chunk *) *all; /* of all ranges */
	_Atomic(struct chunk *) made; /* a chunk stays until the log goes */
	struct range ranges[];        /* ascending */
};

/* Stands for a chunk of which every page counts as written. */
static struct chunk *const FULL = (struct chunk *)1;

static int membarrier(int cmd)
{
	return (int)syscall(SYS_membarrier, cmd, 0, 0);
}

static int by_first(const void *a, const void *b)
{
	const struct range *x = a, *y = b;

	return x->first < y->first ? -1 : x->first > y->first;
}

struct iommu_dirty *iommu_dirty_new(uint64_t page_size, const struct iommu_dirty_range *ranges,
				    unsigned nr)
{
	struct iommu_dirty *log = calloc(1, sizeof(*log) + nr * sizeof(log->ranges[0]));
	uint64_t chunks = 0;

	if (!log)
		return NULL;
	log->shift = (unsigned)__builtin_ctzll(page_size);
	log->lazy = !membarrier(MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED);
	for (unsigned i = 0; i < nr; i++) {
		uint64_t last = ranges[i].last;

		if (ranges[i].first > IOMMU_IOVA_LAST)
			continue;
		if (last > IOMMU_IOVA_LAST)
			last = IOMMU_IOVA_LAST;
		log->ranges[log->nr++] =
			(struct range){ranges[i].first >> log->shift, last >> log->shift, NULL};
	}
	qsort(log->ranges, log->nr, sizeof(log->ranges[0]), by_first);
	for (unsigned i = 0; i < log->nr; i++)
		chunks += (log->ranges[i].last >> CHUNK_BITS) -
			  (log->ranges[i].first >> CHUNK_BITS) + 1;
	log->all = calloc(chunks ? chunks : 1, sizeof(log->all[0]));
	if (!log->all) {
		free(log);
		return NULL;
	}
	chunks = 0;
	for (unsigned i = 0; i < log->nr; i++) {
		log->ranges[i].chunks = log->all + chunks;
		chunks += (log->ranges[i].last >> CHUNK_BITS) -
			  (log->ranges[i].first >> CHUNK_BITS) + 1;
	}
	return log;
}

void iommu_dirty_free(struct iommu_dirty *log)
{
	struct chunk *chunk, *next;

	if (!log)
		return;
	for (chunk = atomic_load(&log->made); chunk; chunk = next) {
		next = chunk->next;
		free(chunk);
	}
	free(log->all);
	free(log);
}

uint64_t iommu_dirty_bytes(const struct iommu_dirty *log)
{
	return atomic_load(&log->bytes);
}

/* ---- marking ---- */

/* The first range that ends at @page or later; log->nr: none. */
static unsigned range_at(const struct iommu_dirty *log, uint64_t page)
{
	unsigned lo = 0, hi = log->nr;

	while (lo < hi) {
		unsigned mid = (lo + hi) / 2;

		if (log->ranges[mid].last < page)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

/* A chunk in the empty @slot, or what somebody else has put there meanwhile. */
static struct chunk *new_chunk(struct iommu_dirty *log, _Atomic(struct chunk *) *slot)
{
	struct chunk *chunk = FULL, *was = NULL;

	if (atomic_fetch_add(&log->bytes, sizeof(*chunk)) + sizeof(*chunk) <= DIRTY_MAX_BYTES)
		chunk = calloc(1, sizeof(*chunk));
	if (!chunk)
		chunk = FULL;
	if (chunk == FULL)
		atomic_fetch_sub(&log->bytes, sizeof(*chunk));
	if (atomic_compare_exchange_strong(slot, &was, chunk)) {
		if (chunk != FULL) {
			chunk->next = atomic_load(&log->made);
			while (!atomic_compare_exchange_weak(&log->made, &chunk->next, chunk))
				;
		}
		return chunk;
	}
	if (chunk != FULL) {
		free(chunk);
		atomic_fetch_sub(&log->bytes, sizeof(*chunk));
	}
	return was;
}

static uint64_t mask_of(uint64_t first, uint64_t last)
{
	return ~0ull >> (63 - (last - first)) << first;
}

/* The pages [@first, @last] of @chunk, counted in it. */
static void mark_chunk(const struct iommu_dirty *log, struct chunk *chunk, uint64_t first,
		       uint64_t last)
{
	bool news = false;

	while (first <= last) {
		uint64_t end = first | 63, mask;

		if (end > last)
			end = last;
		mask = mask_of(first % 64, end % 64);
		if (!log->lazy ||
		    mask & ~atomic_load_explicit(&chunk->bits[first / 64], memory_order_relaxed)) {
			atomic_fetch_or(&chunk->bits[first / 64], mask);
			news = true;
		}
		first = end + 1;
	}
	if (news && !atomic_load(&chunk->any))
		atomic_store(&chunk->any, true);
}

static void mark_range(struct iommu_dirty *log, const struct range *r, uint64_t first,
		       uint64_t last)
{
	uint64_t base = r->first >> CHUNK_BITS;

	for (uint64_t c = first >> CHUNK_BITS; c <= last >> CHUNK_BITS; c++) {
		uint64_t from = c << CHUNK_BITS, to = from + CHUNK_PAGES - 1;
		struct chunk *chunk =
			atomic_load_explicit(&r->chunks[c - base], memory_order_acquire);

		if (!chunk)
			chunk = new_chunk(log, &r->chunks[c - base]);
		if (chunk == FULL)
			continue;
		mark_chunk(log, chunk, (first > from ? first : from) - from,
			   (last < to ? last : to) - from);
	}
}

/* Most marks find their page marked already, in a log of one range. */
static inline bool is_marked(const struct iommu_dirty *log, uint64_t page)
{
	const struct range *r = &log->ranges[0];
	const struct chunk *chunk;

	if (log->nr != 1 || !log->lazy || page < r->first || page > r->last)
		return false;
	chunk = atomic_load_explicit(&r->chunks[(page >> CHUNK_BITS) - (r->first >> CHUNK_BITS)],
				     memory_order_acquire);
	if (chunk <= FULL)
		return chunk == FULL;
	return atomic_load_explicit(&chunk->bits[page % CHUNK_PAGES / 64], memory_order_relaxed) >>
		       page % 64 &
	       1;
}

void iommu_dirty_mark(struct iommu_dirty *log, uint64_t iova, uint64_t len)
{
	uint64_t first = iova >> log->shift, last;

	if (!len)
		return;
	last = (iova + len - 1) >> log->shift;
	if (first == last && is_marked(log, first))
		return;
	for (unsigned i = range_at(log, first); i < log->nr && log->ranges[i].first <= last; i++) {
		const struct range *r = &log->ranges[i];

		mark_range(log, r, first > r->first ? first : r->first,
			   last < r->last ? last : r->last);
	}
}

/* ---- reporting ---- */

struct report {
	const struct iommu_dirty *log;
	uint64_t iova, last;
	uint64_t whole_first, whole_last; /* the pages of the log that lie in it wholly: these are
					   * forgotten */
	unsigned shift;                   /* of its own pages */
	struct iommu_bitmap *out;
};

/* The pages from @page on of which @bits has a bit. */
static int report_word(const struct report *r, uint64_t page, uint64_t bits)
{
	int ret = 0;

	if (r->shift == r->log->shift && !(r->iova & ((1ull << r->shift) - 1))) {
		uint64_t base = r->iova >> r->shift;

		return page < base ? iommu_bitmap_or(r->out, 0, bits >> (base - page))
				   : iommu_bitmap_or(r->out, page - base, bits);
	}
	while (bits && !ret) {
		unsigned from = (unsigned)__builtin_ctzll(bits), n = 1;
		uint64_t first, last;

		if (bits >> from != ~0ull >> from)
			n = (unsigned)__builtin_ctzll(~(bits >> from));
		else
			n = 64 - from;
		first = (page + from) << r->log->shift;
		last = ((page + from + n) << r->log->shift) - 1;
		if (first < r->iova)
			first = r->iova;
		if (last > r->last)
			last = r->last;
		first = (first - r->iova) >> r->shift;
		last = (last - r->iova) >> r->shift;
		ret = iommu_bitmap_set(r->out, first, last - first + 1);
		bits = from + n == 64 ? 0 : bits >> (from + n) << (from + n);
	}
	return ret;
}

/* Of the word of pages from @page on: the bits of the pages in [@first, @last]. */
static uint64_t bits_in(uint64_t page, uint64_t first, uint64_t last)
{
	if (first > last || last < page || first > page + 63)
		return 0;
	return mask_of(first > page ? first - page : 0, last < page + 63 ? last - page : 63);
}

/* The pages [@first, @last] of the chunk in @slot, whose first page is @base.  @whole: none of its
 * range is left. */
static int report_chunk(const struct report *r, _Atomic(struct chunk *) *slot, uint64_t base,
			uint64_t first, uint64_t last, bool whole)
{
	struct chunk *chunk = atomic_load(slot);
	bool full = chunk == FULL;
	int ret = 0;

	if (!chunk)
		return 0;
	if (full) {
		/* Unless another report has, and there are new marks already. */
		if (whole)
			atomic_compare_exchange_strong(slot, &(struct chunk *){FULL}, NULL);
	} else if (!(whole ? atomic_exchange(&chunk->any, false) : atomic_load(&chunk->any))) {
		return 0;
	}
	for (uint64_t page = base + ((first - base) & ~63ull); page <= last && !ret; page += 64) {
		uint64_t bits = bits_in(page, first, last);
		uint64_t forget = bits_in(page, r->whole_first, r->whole_last) & bits;

		if (!full) {
			_Atomic uint64_t *word = &chunk->bits[(page - base) / 64];

			if (!atomic_load_explicit(word, memory_order_relaxed))
				continue;
			bits &= forget ? atomic_fetch_and(word, ~forget) : atomic_load(word);
		}
		if (bits)
			ret = report_word(r, page, bits);
	}
	/* The bits that were not come to are set still, and will not be set again. */
	if (ret && whole && !full)
		atomic_store(&chunk->any, true);
	return ret;
}

int iommu_dirty_report(struct iommu_dirty *log, uint64_t iova, uint64_t last, uint64_t page_size,
		       bool keep, struct iommu_bitmap *out)
{
	uint64_t size = 1ull << log->shift, first_page = iova >> log->shift,
		 last_page = last >> log->shift;
	struct report r = {
		.log = log,
		.iova = iova,
		.last = last,
		.whole_first = first_page + !!(iova & (size - 1)),
		.whole_last = last_page,
		.shift = (unsigned)__builtin_ctzll(page_size),
		.out = out,
	};
	int ret = 0;

	if ((last & (size - 1)) != size - 1) { /* its last page is not in it wholly */
		if (r.whole_last)
			r.whole_last--;
		else
			r.whole_first = 1;
	}
	if (keep) {
		r.whole_first = 1;
		r.whole_last = 0;
	}
	for (unsigned i = range_at(log, first_page);
	     i < log->nr && log->ranges[i].first <= last_page && !ret; i++) {
		const struct range *in = &log->ranges[i];
		uint64_t first = in->first > first_page ? in->first : first_page;
		uint64_t end = in->last < last_page ? in->last : last_page;
		uint64_t chunk = in->first >> CHUNK_BITS;

		for (uint64_t c = first >> CHUNK_BITS; c <= end >> CHUNK_BITS && !ret; c++) {
			uint64_t base = c << CHUNK_BITS, top = base + CHUNK_PAGES - 1;
			uint64_t lo = in->first > base ? in->first : base;
			uint64_t hi = in->last < top ? in->last : top;

			ret = report_chunk(&r, &in->chunks[c - chunk], base,
					   first > base ? first : base, end < top ? end : top,
					   lo >= r.whole_first && hi <= r.whole_last);
		}
	}
	/* Who found a bit set has stored before, but maybe not yet to where the client reads. */
	if (log->lazy)
		membarrier(MEMBARRIER_CMD_PRIVATE_EXPEDITED);
	return ret ? ret : iommu_bitmap_flush(out);
}
