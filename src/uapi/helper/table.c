/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Which addresses are mapped BARs.
 *
 * Read by the SIGSEGV handler of any thread, and by every munmap and mprotect: no lock.  A table is
 * never changed while it is published: a writer (one at a time, signals blocked) edits a copy and
 * publishes that.  A reader counts itself in the table that it reads and makes sure after that that
 * it is still the published one; a writer takes for its copy a table that is neither published nor
 * counted in.  A reader that comes between sees that its table is not the published one any more,
 * or that it is published again, complete.  In a forked child a count may stay behind: that table
 * is not used again.
 */
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include "uapi/helper/helper.h"

struct table {
	_Atomic unsigned readers;
	unsigned count, capacity;
	struct table *next;    /* all tables there are */
	struct range ranges[]; /* ascending, disjoint */
};

static struct {
	struct helper_lock lock;
	_Atomic(struct table *) published; /* NULL: empty */
	struct table *all;
	struct table *draft; /* of the writer */
} tables;

/* --- readers -----------------------------------------------------------------------------------
 */

static struct table *enter(void)
{
	for (;;) {
		struct table *t = atomic_load(&tables.published);

		if (!t)
			return NULL;
		atomic_fetch_add(&t->readers, 1);
		if (atomic_load(&tables.published) == t)
			return t;
		atomic_fetch_sub(&t->readers, 1);
	}
}

static void leave(struct table *t)
{
	atomic_fetch_sub(&t->readers, 1);
}

/* The index of the first range that ends after @addr. */
static unsigned index_after(const struct table *t, uint64_t addr)
{
	unsigned low = 0, high = t->count;

	while (low < high) {
		unsigned mid = low + (high - low) / 2;

		if (t->ranges[mid].end <= addr)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

bool table_after(uint64_t addr, struct range *range)
{
	struct table *t = enter();
	bool found;

	if (!t)
		return false;
	unsigned i = index_after(t, addr);

	found = i < t->count;
	if (found)
		*range = t->ranges[i];
	leave(t);
	return found;
}

bool table_find(uint64_t addr, struct range *range)
{
	return table_after(addr, range) && range->start <= addr;
}

bool table_intersects(uint64_t start, uint64_t end)
{
	struct range range;

	return table_after(start, &range) && range.start < end;
}

/* --- the writer --------------------------------------------------------------------------------
 */

/* An unused table of at least @capacity entries. */
static struct table *take(unsigned capacity)
{
	struct table *published = atomic_load(&tables.published), *t;
	size_t size;
	long mem;

	for (t = tables.all; t; t = t->next)
		if (t != published && t != tables.draft && t->capacity >= capacity &&
		    !atomic_load(&t->readers))
			return t;
	size = (sizeof(*t) + capacity * 2 * sizeof(struct range) + PAGE - 1) & ~(PAGE - 1);
	mem = sys6(SYS_mmap, 0, (long)size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1,
		   0);
	if (sys_failed(mem))
		return NULL;
	t = (struct table *)mem;
	t->capacity = (unsigned)((size - sizeof(*t)) / sizeof(struct range));
	t->next = tables.all;
	tables.all = t;
	return t;
}

/* The draft, with room for @more entries. */
static struct table *edit(unsigned more)
{
	struct table *from = tables.draft ? tables.draft : atomic_load(&tables.published), *t;
	unsigned count = from ? from->count : 0;

	if (tables.draft && tables.draft->capacity >= count + more)
		return tables.draft;
	t = take(count + more);
	if (!t)
		return NULL;
	t->count = count;
	if (count)
		memcpy(t->ranges, from->ranges, count * sizeof(struct range));
	tables.draft = t;
	return t;
}

/* Let a range begin at @at, if one lies across it.  The draft has room. */
static void split(struct table *t, uint64_t at)
{
	unsigned i = index_after(t, at);
	struct range *r = &t->ranges[i];

	if (i == t->count || r->start >= at)
		return;
	memmove(r + 1, r, (t->count - i) * sizeof(*r));
	t->count++;
	r[0].end = at;
	r[1].offset += at - r[1].start;
	r[1].start = at;
}

/* The draft with boundaries at both ends; *from, *to: what lies between. */
static struct table *isolate(uint64_t start, uint64_t end, unsigned *from, unsigned *to)
{
	struct table *t = edit(3);

	if (!t)
		return NULL;
	split(t, start);
	split(t, end);
	*from = *to = index_after(t, start);
	while (*to < t->count && t->ranges[*to].start < end)
		++*to;
	return t;
}

void table_lock(void)
{
	helper_lock(&tables.lock);
}

void table_unlock(void)
{
	if (tables.draft)
		atomic_store(&tables.published, tables.draft->count ? tables.draft : NULL);
	tables.draft = NULL;
	helper_unlock(&tables.lock);
}

bool table_cut(uint64_t start, uint64_t end)
{
	unsigned from, to;
	struct table *t = isolate(start, end, &from, &to);

	if (!t)
		return false;
	memmove(&t->ranges[from], &t->ranges[to], (t->count - to) * sizeof(struct range));
	t->count -= to - from;
	return true;
}

bool table_add(const struct range *range)
{
	struct table *t;
	unsigned i;

	if (!table_cut(range->start, range->end))
		return false;
	t = edit(1);
	if (!t)
		return false;
	i = index_after(t, range->start);
	memmove(&t->ranges[i + 1], &t->ranges[i], (t->count - i) * sizeof(struct range));
	t->ranges[i] = *range;
	t->count++;
	return true;
}

bool table_protect(uint64_t start, uint64_t end, int prot)
{
	unsigned from, to;
	struct table *t = isolate(start, end, &from, &to);

	if (!t)
		return false;
	for (unsigned i = from; i < to; i++)
		t->ranges[i].prot = (uint8_t)prot;
	return true;
}

bool table_move(uint64_t start, uint64_t end, uint64_t to_addr)
{
	for (;;) {
		unsigned from, to;
		struct table *t = isolate(start, end, &from, &to);
		struct range r;

		if (!t)
			return false;
		if (from == to)
			return true;
		r = t->ranges[from];
		if (!table_cut(r.start, r.end))
			return false;
		r.end = to_addr + (r.end - start);
		r.start = to_addr + (r.start - start);
		if (!table_add(&r))
			return false;
	}
}

void table_at_fork(int when)
{
	if (!when)
		helper_lock(&tables.lock);
	else
		helper_unlock(&tables.lock);
}
