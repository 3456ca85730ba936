/* SPDX-License-Identifier: BSD-3-Clause */
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <linux/membarrier.h>
#include <sys/syscall.h>
#include <unistd.h>
#include "base/rcu.h"
#include "iommu/dirty.h"
#include "iommu/space.h"

#define CHUNK_BITS  15
#define CHUNK_PAGES (1ull << CHUNK_BITS)
#define CHUNK_WORDS (CHUNK_PAGES / 64)

/*
 * @any is set after a bit, so that a report which finds it clear has missed nothing.
 *
 * A chunk that is in a slot is everybody's: its bits are atomic, and who looks at it is in an RCU
 * section.  One that was taken out of its slot is the taker's alone when those sections have ended.
 * Then what it says is reported, it is cleared, and becomes a spare.
 */
struct chunk {
	struct chunk *next; /* of the spares */
	bool any;
	uint64_t bits[CHUNK_WORDS];
};

typedef _Atomic(struct chunk *) chunk_slot;

struct range {
	uint64_t first, last; /* pages */
	chunk_slot *chunks;
};

#define BATCH 128u /* chunks that are taken at a time: 16 GiB in pages of 4 KiB */

struct iommu_dirty {
	unsigned shift, nr;
	bool lazy; /* a bit that is set need not be set again: a report makes every CPU finish its
		    * stores, see there */
	_Atomic uint64_t bytes;
	chunk_slot *all; /* of all ranges */
	uint64_t nr_all;
	pthread_mutex_t lock; /* of what follows; held for a few instructions */
	struct chunk *spares; /* clean ones, at most BATCH */
	unsigned nr_spares;
	struct range ranges[]; /* ascending */
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
	log->nr_all = chunks;
	pthread_mutex_init(&log->lock, NULL);
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
	struct chunk *chunk;

	if (!log)
		return;
	for (uint64_t i = 0; i < log->nr_all; i++) {
		chunk = atomic_load_explicit(&log->all[i], memory_order_acquire);
		if (chunk != FULL)
			free(chunk);
	}
	while ((chunk = log->spares)) {
		log->spares = chunk->next;
		free(chunk);
	}
	pthread_mutex_destroy(&log->lock);
	free(log->all);
	free(log);
}

uint64_t iommu_dirty_bytes(const struct iommu_dirty *log)
{
	return atomic_load(&log->bytes);
}

/* ---- chunks ---- */

/* A clean chunk, or NULL. */
static struct chunk *chunk_new(struct iommu_dirty *log)
{
	struct chunk *chunk;

	pthread_mutex_lock(&log->lock);
	chunk = log->spares;
	if (chunk) {
		log->spares = chunk->next;
		log->nr_spares--;
	}
	pthread_mutex_unlock(&log->lock);
	if (chunk)
		return chunk;
	if (atomic_fetch_add(&log->bytes, sizeof(*chunk)) + sizeof(*chunk) <= DIRTY_MAX_BYTES)
		chunk = calloc(1, sizeof(*chunk));
	if (!chunk)
		atomic_fetch_sub(&log->bytes, sizeof(*chunk));
	return chunk;
}

/* @chunk, which is clean and nobody else's, is not used any more. */
static void chunk_drop(struct iommu_dirty *log, struct chunk *chunk)
{
	bool kept;

	pthread_mutex_lock(&log->lock);
	kept = log->nr_spares < BATCH;
	if (kept) {
		chunk->next = log->spares;
		log->spares = chunk;
		log->nr_spares++;
	}
	pthread_mutex_unlock(&log->lock);
	if (kept)
		return;
	free(chunk);
	atomic_fetch_sub(&log->bytes, sizeof(*chunk));
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
static struct chunk *fill_slot(struct iommu_dirty *log, chunk_slot *slot)
{
	struct chunk *chunk = chunk_new(log), *was = NULL;

	if (!chunk)
		chunk = FULL;
	if (atomic_compare_exchange_strong(slot, &was, chunk))
		return chunk;
	if (chunk != FULL)
		chunk_drop(log, chunk);
	return was;
}

static uint64_t mask_of(uint64_t first, uint64_t last)
{
	return ~0ull >> (63 - (last - first)) << first;
}

/* There are new bits in @chunk. */
static void set_any(struct chunk *chunk)
{
	if (!__atomic_load_n(&chunk->any, __ATOMIC_SEQ_CST))
		__atomic_store_n(&chunk->any, true, __ATOMIC_SEQ_CST);
}

/* The pages [@first, @last] of @chunk, counted in it. */
static void mark_chunk(const struct iommu_dirty *log, struct chunk *chunk, uint64_t first,
		       uint64_t last)
{
	bool news = false;

	while (first <= last) {
		uint64_t *word = &chunk->bits[first / 64];
		uint64_t end = first | 63, mask;

		if (end > last)
			end = last;
		mask = mask_of(first % 64, end % 64);
		if (!log->lazy || mask & ~__atomic_load_n(word, __ATOMIC_RELAXED)) {
			__atomic_fetch_or(word, mask, __ATOMIC_SEQ_CST);
			news = true;
		}
		first = end + 1;
	}
	if (news)
		set_any(chunk);
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
			chunk = fill_slot(log, &r->chunks[c - base]);
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
	return __atomic_load_n(&chunk->bits[page % CHUNK_PAGES / 64], __ATOMIC_RELAXED) >>
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

/* What a report has found in one slot. */
struct found {
	chunk_slot *slot;
	struct chunk *taken;        /* its chunk, when the report is over all that is in it */
	bool full, emptied;         /* all its pages count as written; not any more */
	uint64_t base, first, last; /* the chunk's first page; what of it is asked for */
};

struct report {
	struct iommu_dirty *log;
	uint64_t iova, last;
	uint64_t whole_first, whole_last; /* the pages of the log that lie in it wholly: these are
					   * forgotten */
	unsigned shift;                   /* of its own pages */
	struct iommu_bitmap *out;
	bool took; /* there is a chunk that was taken */
	unsigned nr;
	struct found found[BATCH];
};

/* The bit that stands for @page, if the pages are alike and what is asked for begins with one. */
static bool same_pages(const struct report *r, uint64_t page, int64_t *bit)
{
	if (r->shift != r->log->shift || r->iova & ((1ull << r->shift) - 1))
		return false;
	*bit = (int64_t)(page - (r->iova >> r->shift));
	return true;
}

/* The pages from @page on of which @bits has a bit. */
static int report_word(const struct report *r, uint64_t page, uint64_t bits)
{
	int64_t bit;
	int ret = 0;

	if (same_pages(r, page, &bit))
		return bit < 0 ? iommu_bitmap_or(r->out, 0, bits >> -bit)
			       : iommu_bitmap_or(r->out, (uint64_t)bit, bits);
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

/* The @n words of pages from @page on. */
static int report_words(const struct report *r, uint64_t page, const uint64_t *words, unsigned n)
{
	int64_t bit;
	int ret = 0;

	for (; n && !*words; n--, page += 64)
		words++;
	while (n && !words[n - 1])
		n--;
	if (n && same_pages(r, page, &bit) && bit >= 0)
		return iommu_bitmap_or_words(r->out, (uint64_t)bit, words, n);
	for (unsigned i = 0; i < n && !ret; i++)
		if (words[i])
			ret = report_word(r, page + 64 * (uint64_t)i, words[i]);
	return ret;
}

/* Of the word of pages from @page on: the bits of the pages in [@first, @last]. */
static uint64_t bits_in(uint64_t page, uint64_t first, uint64_t last)
{
	if (first > last || last < page || first > page + 63)
		return 0;
	return mask_of(first > page ? first - page : 0, last < page + 63 ? last - page : 63);
}

/* What is marked in a chunk that stays where it is, as words from the one of @f->first on; how many
 * there are.  [RCU within] */
static unsigned copy_left(const struct report *r, const struct found *f, uint64_t *words)
{
	uint64_t page = f->base + ((f->first - f->base) & ~63ull);
	struct chunk *chunk;
	unsigned n = 0;

	uvfio_rcu_read_lock();
	chunk = atomic_load(f->slot);
	for (; page <= f->last; page += 64, n++) {
		uint64_t bits = bits_in(page, f->first, f->last);
		uint64_t forget = bits_in(page, r->whole_first, r->whole_last) & bits, *word;

		words[n] = f->full ? bits : 0;
		if (f->full || chunk <= FULL)
			continue;
		word = &chunk->bits[(page - f->base) / 64];
		words[n] = __atomic_load_n(word, __ATOMIC_RELAXED) & bits;
		if (words[n])
			words[n] =
				bits & (forget ? __atomic_fetch_and(word, ~forget, __ATOMIC_SEQ_CST)
					       : __atomic_load_n(word, __ATOMIC_SEQ_CST));
	}
	uvfio_rcu_read_unlock();
	return n;
}

/* A chunk that was taken has done its work. */
static void drop_taken(const struct report *r, struct found *f)
{
	memset(f->taken->bits, 0, sizeof(f->taken->bits));
	f->taken->any = false;
	chunk_drop(r->log, f->taken);
}

/* The report has failed: what was taken for it is marked again. */
static void give_back(const struct report *r, struct found *f)
{
	struct chunk *chunk = NULL;

	if (f->emptied)
		atomic_compare_exchange_strong(f->slot, &chunk, FULL);
	if (!f->taken && !f->emptied)
		return;
	uvfio_rcu_read_lock();
	chunk = atomic_load(f->slot);
	if (!chunk)
		chunk = fill_slot(r->log, f->slot);
	if (chunk != FULL) {
		for (unsigned i = 0; i < CHUNK_WORDS; i++) {
			uint64_t bits = f->taken ? f->taken->bits[i]
						 : bits_in(f->base + 64 * i, f->first, f->last);

			if (bits)
				__atomic_fetch_or(&chunk->bits[i], bits, __ATOMIC_SEQ_CST);
		}
		set_any(chunk);
	}
	uvfio_rcu_read_unlock();
}

/* Report what was found.  The bits are read after everybody who has seen them has come to where his
 * stores can be seen by who reads the report: either he was in an RCU section, or all CPUs are made
 * to finish their stores. */
static int report_found(struct report *r)
{
	uint64_t words[CHUNK_WORDS];
	unsigned n = r->nr;
	int ret = 0;

	if (r->took)
		uvfio_rcu_synchronize();
	for (unsigned i = 0; i < n; i++) {
		struct found *f = &r->found[i];

		if (!ret && f->taken)
			ret = report_words(r, f->base, f->taken->bits, CHUNK_WORDS);
		else if (!ret)
			ret = report_words(r, f->first & ~63ull, words, copy_left(r, f, words));
		if (ret)
			give_back(r, f);
		if (f->taken)
			drop_taken(r, f);
	}
	r->nr = 0;
	r->took = false;
	return ret;
}

/* The pages [@first, @last] of the chunk in @slot, whose first page is @base.  @whole: none of its
 * range is left. */
static int look(struct report *r, chunk_slot *slot, uint64_t base, uint64_t first, uint64_t last,
		bool whole)
{
	struct found *f = &r->found[r->nr];
	struct chunk *chunk, *clean = NULL;
	bool any;

	uvfio_rcu_read_lock();
	chunk = atomic_load(slot);
	any = chunk > FULL && __atomic_load_n(&chunk->any, __ATOMIC_SEQ_CST);
	uvfio_rcu_read_unlock();
	if (chunk != FULL && !any)
		return 0;
	*f = (struct found){slot, NULL, chunk == FULL, false, base, first, last};
	/* Unless another report has, and there are new marks already. */
	if (whole && f->full)
		f->emptied = atomic_compare_exchange_strong(slot, &chunk, NULL);
	if (whole && !f->full) /* it may be another chunk by now */
		clean = chunk_new(r->log);
	if (clean) {
		f->taken = atomic_exchange(slot, clean);
		r->took = true;
	}
	return ++r->nr == BATCH ? report_found(r) : 0;
}

int iommu_dirty_report(struct iommu_dirty *log, uint64_t iova, uint64_t last, uint64_t page_size,
		       bool keep, struct iommu_bitmap *out)
{
	uint64_t size = 1ull << log->shift, first_page = iova >> log->shift,
		 last_page = last >> log->shift;
	struct report r;
	int ret = 0;

	r.log = log;
	r.iova = iova;
	r.last = last;
	r.whole_first = first_page + !!(iova & (size - 1));
	r.whole_last = last_page;
	r.shift = (unsigned)__builtin_ctzll(page_size);
	r.out = out;
	r.took = false;
	r.nr = 0;
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

			ret = look(&r, &in->chunks[c - chunk], base, first > base ? first : base,
				   end < top ? end : top,
				   lo >= r.whole_first && hi <= r.whole_last);
		}
	}
	if (!ret)
		ret = report_found(&r);
	/* Who found a bit set has stored before, but maybe not yet to where the client reads. */
	if (log->lazy)
		membarrier(MEMBARRIER_CMD_PRIVATE_EXPEDITED);
	return ret ? ret : iommu_bitmap_flush(out);
}
