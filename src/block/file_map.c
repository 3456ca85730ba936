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
 * Chunks belong to windows of 256 MiB, each a mapping.  Not more than WINDOWS are there at a time;
 * the one that was not looked at for longest makes room for another, if that was IDLE ticks ago.
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
#include "block/file.h"

#define PAGE_BITS   12
#define CHUNK_BITS  18
#define WINDOW_BITS 28
#define PAGES       64u /* of a chunk: the bits of a word */
#define CHUNKS      (1u << (WINDOW_BITS - CHUNK_BITS))
#define PLACES      (1u << 18) /* windows that a file can have: 64 TiB */
#define WINDOWS     128u       /* that are mapped at a time */
#define TICK_BITS   27         /* log2 ns: 134 ms */
#define LIFE        2u         /* ticks, the first of which has begun before */
#define PRESSURE    8u
#define IDLE        16u
#define HOT         8u
#define WARM        4u
#define MISSES      32u /* of pages that were not there: look again */
#define LONGEST     32768u
#define WRITES      32u /* in flight: too many to be compared with a read */

_Static_assert(1u << (CHUNK_BITS - PAGE_BITS) == PAGES, "a bit for each page");

struct chunk {
	uint64_t resident; /* a bit for each page, as of the look at @tick */
	uint32_t tick;     /* of the look, or when counting began */
	uint16_t reads, misses;
	bool looked;
};

struct map_window {
	char *at;      /* NULL: not mapped yet */
	uint32_t tick; /* of the latest look */
	uint32_t place;
	struct chunk chunks[CHUNKS];
};

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
		map->windows = calloc(WINDOWS, sizeof(map->windows[0]));
	map->on = map->windows;
	return map->on;
}

static void unmap(struct map_window *w)
{
	if (w->at)
		munmap(w->at, 1ul << WINDOW_BITS);
}

void file_map_close(struct file *f)
{
	struct file_map *map = &f->map;

	for (unsigned i = 0; i < map->nr; i++) {
		unmap(map->windows[i]);
		free(map->windows[i]);
	}
	free(map->windows);
	free(map->places);
}

void file_map_drop(struct file *f)
{
	struct file_map *map = &f->map;

	map->taken = atomic_load(&f->common->taken);
	file_map_close(f);
	map->windows = NULL;
	map->places = NULL;
	map->nr = 0;
	map->full = map->off_until = 0;
}

/* ---- windows ---- */

/* One that can be used for something else, or NULL. */
static struct map_window *reuse(struct file_map *map, uint32_t now)
{
	struct map_window *w = map->windows[0];

	for (unsigned i = 1; i < map->nr; i++)
		if (now - map->windows[i]->tick > now - w->tick)
			w = map->windows[i];
	if (now - w->tick < IDLE)
		return NULL;
	unmap(w);
	map->places[w->place] = NULL;
	memset(w, 0, sizeof(*w));
	return w;
}

static struct map_window *new_window(struct file_map *map, uint32_t place, uint32_t now)
{
	struct map_window *w;

	if (map->nr < WINDOWS) {
		w = calloc(1, sizeof(*w));
		if (w)
			map->windows[map->nr++] = w;
	} else {
		if (map->full == now) /* not for each read */
			return NULL;
		w = reuse(map, now);
		if (!w)
			map->full = now;
	}
	if (!w)
		return NULL;
	w->place = place;
	w->tick = now;
	map->places[place] = w;
	return w;
}

static struct map_window *window_of(struct file *f, uint64_t offset, uint32_t now)
{
	struct file_map *map = &f->map;
	uint64_t place = offset >> WINDOW_BITS;

	if (!map->windows && !start(f))
		return NULL;
	if (place >= PLACES)
		return NULL;
	if (__builtin_expect(map->places[place] != NULL, 1))
		return map->places[place];
	return new_window(map, (uint32_t)place, now);
}

/* Of all of the window, also behind the end of the file, which may grow. */
static bool mapped(struct file *f, struct map_window *w)
{
	void *at;

	if (w->at)
		return true;
	at = mmap(NULL, 1ul << WINDOW_BITS, PROT_READ, MAP_SHARED, f->fd,
		  (off_t)((uint64_t)w->place << WINDOW_BITS));
	if (at == MAP_FAILED) {
		f->map.on = false; /* no address space, or none of its files can be mapped */
		return false;
	}
	w->at = at;
	return true;
}

/* ---- chunks ---- */

static bool look(struct file *f, struct map_window *w, struct chunk *c, uint32_t now)
{
	unsigned char there[PAGES];
	uint64_t resident = 0, gone;

	if (!mapped(f, w))
		return false;
	if (mincore(w->at + ((uint64_t)(c - w->chunks) << CHUNK_BITS), 1u << CHUNK_BITS, there)) {
		f->map.on = errno == EAGAIN;
		return false;
	}
	for (unsigned i = 0; i < PAGES; i++)
		resident |= (uint64_t)(there[i] & 1) << i;
	gone = c->looked ? c->resident & ~resident : 0;
	*c = (struct chunk){.resident = resident, .tick = now, .looked = true};
	w->tick = now;
	if (gone)
		f->map.off_until = now + PRESSURE;
	return !gone;
}

/* Are the pages in @mask known to be in memory?  Counts a read, and looks when that is due. */
static bool resident(struct file *f, struct map_window *w, struct chunk *c, uint64_t mask,
		     uint32_t now)
{
	uint32_t age = now - c->tick;

	if (c->reads < UINT16_MAX)
		c->reads++;
	if (age < LIFE && c->looked) {
		if ((c->resident & mask) == mask)
			return true;
		/* It is now, or soon: a read call was made, or will be. */
		if (++c->misses < MISSES)
			return false;
	} else if (age < LIFE ? c->reads < HOT
			      : !(c->looked && age < 2 * LIFE && c->reads > WARM)) {
		if (age >= LIFE)
			*c = (struct chunk){.tick = now, .reads = 1};
		return false;
	}
	return look(f, w, c, now) && (c->resident & mask) == mask;
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
	struct map_window *w;
	uint64_t begun = 0;
	const char *from;
	uint32_t now;

	if (!f->map.on || io->len > LONGEST || f->map.holes || (io->offset ^ last) >> WINDOW_BITS)
		return false;
	if (__builtin_expect(f->map.taken !=
				     atomic_load_explicit(&f->common->taken, memory_order_relaxed),
			     0))
		file_map_drop(f);
	now = now_tick(&f->map);
	if (__builtin_expect(f->map.off_until != 0, 0)) {
		if ((int32_t)(f->map.off_until - now) > 0)
			return false;
		f->map.off_until = 0;
	}
	w = window_of(f, io->offset, now);
	if (!w)
		return false;
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
	from = w->at + (io->offset & ((1ul << WINDOW_BITS) - 1));
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
	const struct map_window *w;
	const char *at;

	if (!f->map.windows || offset >> WINDOW_BITS >= PLACES)
		return;
	w = f->map.places[offset >> WINDOW_BITS];
	if (!w || !w->at)
		return;
	__builtin_prefetch(&w->chunks[offset >> CHUNK_BITS & (CHUNKS - 1)]);
	at = w->at + (offset & ((1ul << WINDOW_BITS) - 1));
	block_prefetch_lines(at, lines);
}

/* ---- what other requests do to it ---- */

static void forget(struct file *f, uint64_t offset, uint64_t len)
{
	for (unsigned i = 0; i < f->map.nr; i++) {
		struct map_window *w = f->map.windows[i];
		uint64_t start = (uint64_t)w->place << WINDOW_BITS;

		if (start >= offset + len || offset >= start + (1u << WINDOW_BITS))
			continue;
		for (uint64_t at = start; at < start + (1u << WINDOW_BITS); at += 1u << CHUNK_BITS)
			if (at < offset + len && offset < at + (1u << CHUNK_BITS))
				w->chunks[(at - start) >> CHUNK_BITS] = (struct chunk){0};
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
