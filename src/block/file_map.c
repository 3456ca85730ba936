/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Reads of a file's pages in the page cache, without a system call.
 *
 * Theory of operation.  A cached page costs a read call two to three times what copying it costs.
 * So parts of a regular file that are read often are mapped, shared and read-only, and a short read
 * of pages that are known to be in memory is a guarded copy out of the mapping.  It is the page
 * cache that is mapped: what was written through the file, by anybody, is there at once, so nothing
 * is to be kept coherent.  All else, and each copy that fails (the file was cut: SIGBUS; a page
 * cannot be read: SIGBUS; the client's memory has gone), goes through a read call, which finds out
 * what is the matter.
 *
 * To touch a page that is not in memory would hold up the thread until the disk has answered.  So
 * the file is looked at in chunks of 64 pages: one mincore(2) says which of them are in memory, and
 * that is believed for LIFE ticks, 0.13 to 0.27 s.  A page which is mapped and was used within that
 * time is what the kernel frees last; one that it has freed nevertheless (no memory is left) costs
 * one disk read, in this thread.  When a look finds that a page has gone which was there before,
 * the kernel is short of memory: then nothing is read here for PRESSURE ticks, a second.
 *
 *      COUNTING ──HOT reads within LIFE──▶ LOOKED ──LIFE over──▶ LOOKED anew, if it was read
 *         ▲                                                         WARM times, else
 *         └─────────────────────────────────────────────────────────┘
 *
 * A look costs 1 µs for pages that this process has used before and 6 µs for others, a read call
 * saves 0.5 µs: hence HOT and WARM.  In a file that is read all over, so rarely at each place that
 * no chunk gets there, nothing is mapped.
 *
 * Chunks belong to windows of 256 MiB, each a mapping, which all that share the file have in common
 * (file_windows.h): what one has found out of a chunk, and its reads, count for all.  A context
 * uses not more than WINDOWS at a time; the one that it has not read for longest makes room for
 * another, if that was IDLE ticks ago.
 *
 * Not here: O_DIRECT, block devices (whose page cache others flush), and file systems which are not
 * known to be on a disk of this machine, because what is behind them may not answer for ever.
 * While holes are being punched the kernel holds up whoever misses a page, and while a write to the
 * same bytes is in flight a copy could see half of a block: then too a read call is made.  Of a
 * file that several contexts share (file_share.c) others may write at any moment: then a copy
 * counts only when no change of theirs was in flight before it and none has begun until after it.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/vfs.h>
#include <time.h>
#include "base/guard.h"
#include "block/file_windows.h"

#define WINDOWS   128u /* that a context uses at a time */
#define TICK_BITS 27   /* log2 ns: 134 ms */
#define LIFE      2u   /* ticks, the first of which has begun before */
#define PRESSURE  8u
#define IDLE      16u
#define HOT       8u
#define WARM      4u
#define MISSES    32u /* of pages that were not there: look again */
#define LONGEST   32768u
#define WRITES    32u /* in flight: too many to be compared with a read */

/* At most some ms late, and cheap. */
static uint32_t now_tick(const struct file_map *map)
{
	struct timespec ts;

	if (map->test_tick)
		return map->test_tick;
	clock_gettime(CLOCK_MONOTONIC_COARSE, &ts);
	return (uint32_t)(((uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec) >> TICK_BITS);
}

/* ---- whether ---- */

static bool known_file_system(const struct file *f, bool readonly)
{
	struct statfs fs;

	if (fstatfs(f->fd, &fs))
		return false;
	switch ((uint32_t)fs.f_type) {
	case EXT4_SUPER_MAGIC:
	case XFS_SUPER_MAGIC:
	case BTRFS_SUPER_MAGIC:
	case F2FS_SUPER_MAGIC:
	case TMPFS_MAGIC:
		return true;
	case OVERLAYFS_SUPER_MAGIC:
		/* A file of the lower layer is another one when somebody has written to it. */
		return !readonly;
	}
	return false;
}

/* Who may neither write the file nor owns it is told that all of it is in memory (mincore(2)).  Ask
 * about a page behind its end. */
static bool told_the_truth(const struct file *f)
{
	off_t end = (off_t)((f->blk.info.size + (1u << WINDOW_BITS)) & ~(uint64_t)4095);
	unsigned char there = 1;
	void *p = mmap(NULL, 4096, PROT_READ, MAP_SHARED, f->fd, end);

	if (p == MAP_FAILED)
		return false;
	if (mincore(p, 4096, &there))
		there = 1;
	munmap(p, 4096);
	return !(there & 1);
}

void file_map_open(struct file *f, const struct block_options *opts)
{
	f->map.on = !opts->no_map && !opts->direct && !f->is_device;
}

/* At the first read: most of a thousand devices may never be read. */
static bool start(struct file *f)
{
	struct file_map *map = &f->map;

	map->places = NULL;
	if (known_file_system(f, f->blk.info.readonly) && told_the_truth(f))
		map->places = calloc(PLACES, sizeof(map->places[0]));
	if (map->places)
		map->uses = calloc(WINDOWS, sizeof(map->uses[0]));
	map->on = map->uses;
	return map->on;
}

void file_map_close(struct file *f)
{
	struct file_map *map = &f->map;

	for (unsigned i = 0; i < map->nr; i++)
		file_window_put(f->common, map->uses[i].window);
	free(map->uses);
	free(map->places);
}

void file_map_drop(struct file *f)
{
	struct file_map *map = &f->map;

	map->taken = atomic_load(&f->common->taken);
	file_map_close(f);
	map->uses = NULL;
	map->places = NULL;
	map->nr = 0;
	map->full = 0;
}

/* ---- windows ---- */

/* One that can be used for something else, or NULL. */
static struct map_use *reuse(struct file *f, uint32_t now)
{
	struct file_map *map = &f->map;
	struct map_use *use = &map->uses[0];

	for (unsigned i = 1; i < map->nr; i++)
		if (now - map->uses[i].tick > now - use->tick)
			use = &map->uses[i];
	if (now - use->tick < IDLE)
		return NULL;
	return use;
}

static struct map_use *new_use(struct file *f, uint32_t place, uint32_t now)
{
	struct file_map *map = &f->map;
	struct map_window *w;
	struct map_use *use;

	if (map->nr < WINDOWS) {
		use = &map->uses[map->nr];
	} else {
		if (map->full == now) /* not for each read */
			return NULL;
		use = reuse(f, now);
		if (!use) {
			map->full = now;
			return NULL;
		}
	}
	w = file_window_get(f->common, place);
	if (!w)
		return NULL;
	if (use->window) {
		map->places[use->window->place] = NULL;
		file_window_put(f->common, use->window);
	} else {
		map->nr++;
	}
	*use = (struct map_use){w, now};
	map->places[place] = use;
	return use;
}

static struct map_use *use_of(struct file *f, uint64_t offset, uint32_t now)
{
	struct file_map *map = &f->map;
	uint64_t place = offset >> WINDOW_BITS;

	if (!map->uses && !start(f))
		return NULL;
	if (place >= PLACES)
		return NULL;
	if (__builtin_expect(map->places[place] != NULL, 1))
		return map->places[place];
	return new_use(f, (uint32_t)place, now);
}

/* ---- chunks ---- */

/* Once more; a count that is lost to somebody else's is no harm.  Not beyond @enough: what does not
 * change stays in everybody's cache. */
static unsigned chunk_count(_Atomic uint16_t *counter, unsigned enough)
{
	unsigned n = atomic_load_explicit(counter, memory_order_relaxed);

	if (n < enough)
		atomic_store_explicit(counter, (uint16_t)++n, memory_order_relaxed);
	return n;
}

/* Nothing is known of it: who sees the new tick does not see the old answer. */
static void chunk_begin(struct chunk *c, uint32_t now, unsigned reads)
{
	atomic_store_explicit(&c->looked, false, memory_order_relaxed);
	atomic_store_explicit(&c->reads, (uint16_t)reads, memory_order_relaxed);
	atomic_store_explicit(&c->misses, 0, memory_order_relaxed);
	atomic_store_explicit(&c->tick, now, memory_order_release);
}

/* @resident is the answer of @now.  The pages that were there as of the one before. */
static uint64_t chunk_answer(struct chunk *c, uint64_t resident, uint32_t now)
{
	bool looked = atomic_load_explicit(&c->looked, memory_order_relaxed);
	uint64_t before = atomic_exchange(&c->resident, resident);

	atomic_store_explicit(&c->reads, 0, memory_order_relaxed);
	atomic_store_explicit(&c->misses, 0, memory_order_relaxed);
	atomic_store_explicit(&c->tick, now, memory_order_relaxed);
	atomic_store_explicit(&c->looked, true, memory_order_release);
	return looked ? before : 0;
}

static bool look(struct file *f, struct map_window *w, struct chunk *c, uint32_t now)
{
	char *at = file_window_map(f->common, w);
	unsigned char there[PAGES];
	uint64_t resident = 0;

	if (!at) {
		f->map.on = false; /* no address space, or none of its files can be mapped */
		return false;
	}
	if (mincore(at + ((uint64_t)(c - w->chunks) << CHUNK_BITS), 1u << CHUNK_BITS, there)) {
		f->map.on = errno == EAGAIN;
		return false;
	}
	for (unsigned i = 0; i < PAGES; i++)
		resident |= (uint64_t)(there[i] & 1) << i;
	if (!(chunk_answer(c, resident, now) & ~resident))
		return true;
	atomic_store(&f->common->map_off_until, now + PRESSURE);
	return false;
}

static bool chunk_has(const struct chunk *c, uint64_t mask)
{
	return (atomic_load_explicit(&c->resident, memory_order_relaxed) & mask) == mask;
}

/* Are the pages in @mask known to be in memory?  Counts a read, and looks when that is due. */
static bool resident(struct file *f, struct map_window *w, struct chunk *c, uint64_t mask,
		     uint32_t now)
{
	uint32_t age = now - atomic_load_explicit(&c->tick, memory_order_acquire);
	bool looked = atomic_load_explicit(&c->looked, memory_order_acquire);
	unsigned reads = chunk_count(&c->reads, HOT);

	if (age < LIFE && looked) {
		if (chunk_has(c, mask))
			return true;
		/* It is now, or soon: a read call was made, or will be. */
		if (chunk_count(&c->misses, MISSES) < MISSES)
			return false;
	} else if (age < LIFE ? reads < HOT : !(looked && age < 2 * LIFE && reads > WARM)) {
		if (age >= LIFE)
			chunk_begin(c, now, 1);
		return false;
	}
	return look(f, w, c, now) && chunk_has(c, mask);
}

static uint64_t pages_mask(uint64_t first, uint64_t last)
{
	return (~0ull >> (PAGES - 1 - (last - first))) << first;
}

/* Is a write to any of these bytes in flight? */
static bool being_written(const struct file *f, uint64_t offset, uint64_t len)
{
	const struct file_req *req;

	if (f->map.nr_writes > WRITES)
		return true;
	TAILQ_FOREACH(req, &f->map.writes, write_link)
	if (req->io->offset < offset + len && offset < req->io->offset + req->io->len)
		return true;
	return false;
}

/* Does another context change the file?  *@begun: what is to be the same after the copy. */
static bool being_changed(const struct file *f, uint64_t *begun)
{
	uint64_t ended = atomic_load(&f->common->ended);

	*begun = atomic_load(&f->common->begun);
	return *begun - ended > f->map.nr_changing;
}

bool file_map_read(struct file *f, const struct block_io *io)
{
	const uint64_t last = io->offset + io->len - 1;
	uint32_t now, off_until;
	struct map_window *w;
	struct map_use *use;
	uint64_t begun = 0;
	const char *from;

	if (!f->map.on || io->len > LONGEST || f->map.holes || (io->offset ^ last) >> WINDOW_BITS)
		return false;
	if (__builtin_expect(f->map.taken !=
				     atomic_load_explicit(&f->common->taken, memory_order_relaxed),
			     0))
		file_map_drop(f);
	now = now_tick(&f->map);
	off_until = atomic_load_explicit(&f->common->map_off_until, memory_order_relaxed);
	if (__builtin_expect(off_until != 0, 0)) {
		if ((int32_t)(off_until - now) > 0)
			return false;
		atomic_store(&f->common->map_off_until, 0);
	}
	use = use_of(f, io->offset, now);
	if (!use)
		return false;
	w = use->window;
	for (uint64_t at = io->offset; at <= last;) {
		struct chunk *c = &w->chunks[at >> CHUNK_BITS & (CHUNKS - 1)];
		uint64_t end = at | ((1u << CHUNK_BITS) - 1);

		if (end > last)
			end = last;
		if (!resident(f, w, c,
			      pages_mask(at >> PAGE_BITS & (PAGES - 1),
					 end >> PAGE_BITS & (PAGES - 1)),
			      now))
			return false;
		at = end + 1;
	}
	if (f->map.nr_writes && being_written(f, io->offset, io->len))
		return false;
	if (f->common->shared && being_changed(f, &begun))
		return false;
	use->tick = now;
	from = atomic_load_explicit(&w->at, memory_order_acquire) +
	       (io->offset & ((1ul << WINDOW_BITS) - 1));
	for (int i = 0; i < io->nr_iov; from += io->iov[i++].iov_len)
		if (uvfio_guard_copy(io->iov[i].iov_base, from, io->iov[i].iov_len))
			return false;
	if (f->common->shared) {
		atomic_thread_fence(memory_order_acquire);
		if (atomic_load(&f->common->begun) != begun)
			return false;
	}
	f->map.reads++;
	return true;
}

void file_map_prefetch(const struct file *f, uint64_t offset, unsigned lines)
{
	const struct map_use *use;
	const char *at;

	if (!f->map.uses || offset >> WINDOW_BITS >= PLACES)
		return;
	use = f->map.places[offset >> WINDOW_BITS];
	at = use ? atomic_load_explicit(&use->window->at, memory_order_acquire) : NULL;
	if (!at)
		return;
	__builtin_prefetch(&use->window->chunks[offset >> CHUNK_BITS & (CHUNKS - 1)]);
	at += offset & ((1ul << WINDOW_BITS) - 1);
	block_prefetch_lines(at, lines);
}

/* ---- what other requests do to it ---- */

static void forget(struct file *f, uint64_t offset, uint64_t len)
{
	for (unsigned i = 0; i < f->map.nr; i++) {
		struct map_window *w = f->map.uses[i].window;
		uint64_t start = (uint64_t)w->place << WINDOW_BITS;

		if (start >= offset + len || offset >= start + (1u << WINDOW_BITS))
			continue;
		for (uint64_t at = start; at < start + (1u << WINDOW_BITS); at += 1u << CHUNK_BITS)
			if (at < offset + len && offset < at + (1u << CHUNK_BITS))
				chunk_begin(&w->chunks[(at - start) >> CHUNK_BITS], 0, 0);
	}
}

static bool changes(enum block_op op)
{
	return op == BLOCK_WRITE || op == BLOCK_DISCARD || op == BLOCK_WRITE_ZEROES;
}

void file_map_begin(struct file_req *req)
{
	struct file *f = req->file;

	if (f->common->shared && changes(req->io->op)) {
		f->map.nr_changing++;
		atomic_fetch_add(&f->common->begun, 1);
	}

	switch (req->io->op) {
	case BLOCK_WRITE:
		f->map.nr_writes++;
		TAILQ_INSERT_TAIL(&f->map.writes, req, write_link);
		break;
	case BLOCK_DISCARD:
	case BLOCK_WRITE_ZEROES:
		f->map.holes++;
		break;
	default:
		break;
	}
}

void file_map_end(struct file_req *req)
{
	struct file *f = req->file;

	if (f->common->shared && changes(req->io->op)) {
		f->map.nr_changing--;
		atomic_fetch_add(&f->common->ended, 1);
	}

	switch (req->io->op) {
	case BLOCK_WRITE:
		f->map.nr_writes--;
		TAILQ_REMOVE(&f->map.writes, req, write_link);
		break;
	case BLOCK_DISCARD:
	case BLOCK_WRITE_ZEROES:
		f->map.holes--;
		forget(f, req->io->offset, req->io->len);
		break;
	default:
		break;
	}
}
