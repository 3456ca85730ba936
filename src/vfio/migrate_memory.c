/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The contents of a device's memory areas in its migration stream.
 *
 *	.MEM version 1: u8 BAR, u64 offset, contents: pages of one area
 *
 * Clients store to mapped memory without anybody's help, so what has changed is found by looking:
 * of each page that was saved a sum is kept (128 bits), and a page goes again when its sum differs.
 * A page that was never saved is zero at the other end.  A session that begins with a stopped
 * device has one pass, which needs no sums.
 *
 * What goes is copied first, and summed up in the copy: a page may change meanwhile.  A section is
 * as large as fits into a frame of a move, and a call makes so few that they are still in the cache
 * when they are sent.
 *
 * What comes is put aside in memory of the same size, of which only what came takes room.  In the
 * end it takes the place of the device's memory, or, where clients have that mapped, is copied.  In
 * the memory of a device that had gone is nothing to be kept: what comes is put there, and cleared
 * when the session ends without it.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include "base/xxh3.h"
#include "vfio/machine_private.h"

#define RUN_PAGES   63u          /* of one section */
#define SCAN_BYTES  (16u << 20)  /* looked at in one call */
#define SAVE_BYTES  (500u << 10) /* put into the stream in one call, about */
#define MEM_VERSION 1u

struct memory_copy {
	/* Where it is put: of bar->memory_len bytes, or bar->memory itself; NULL: nothing has come.
	 */
	uint8_t *aside[NR_BARS];
	uint64_t
		*came[NR_BARS]; /* bar->memory itself: bits of pages, as of @sums, that have come */
	bool placed[NR_BARS];   /* it is what the device's memory holds */
	XXH128_hash_t *sums[NR_BARS];
	uint64_t saved; /* bytes that went at least once */
	/* Where the pass is. */
	unsigned bar;
	uint64_t at;
	bool again; /* it is not the first one */
	bool last;  /* the device has stopped */
	struct place {
		unsigned bar;
		uint64_t at;
	} sample; /* where memory_copy_dirty() looks next */
};

static const uint8_t zeros[PAGE_BYTES];

static struct memory_copy *get_copy(struct vfio_device *dev)
{
	if (!dev->migration.memory)
		dev->migration.memory = calloc(1, sizeof(struct memory_copy));
	return dev->migration.memory;
}

/* What was put there is nobody's. */
static void clear_memory(const struct bar *bar)
{
	if (!bar->memory_len)
		return;
	if (mmap(bar->memory, bar->memory_len, PROT_READ | PROT_WRITE,
		 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0) == MAP_FAILED)
		memset(bar->memory, 0, bar->memory_len);
}

void memory_copy_drop(struct vfio_device *dev)
{
	struct memory_copy *copy = dev->migration.memory;

	if (!copy)
		return;
	for (unsigned i = 0; i < NR_BARS; i++) {
		if (copy->aside[i] && copy->came[i])
			clear_memory(&dev->bars[i]);
		else if (copy->aside[i])
			munmap(copy->aside[i], dev->bars[i].memory_len);
		free(copy->came[i]);
		free(copy->sums[i]);
	}
	free(copy);
	dev->migration.memory = NULL;
}

/* The memory range of @bar that has @off, or the next one behind it; NULL: there is none. */
static const struct range *next_range(const struct bar *bar, uint64_t off)
{
	for (unsigned i = 0; i < bar->nr_ranges; i++)
		if (bar->ranges[i].kind == RANGE_MEMORY && bar->ranges[i].end > off)
			return &bar->ranges[i];
	return NULL;
}

uint64_t memory_copy_size(struct vfio_device *dev)
{
	uint64_t size = 0;

	for (unsigned i = 0; i < NR_BARS; i++)
		for (const struct range *r = next_range(&dev->bars[i], 0); r;
		     r = next_range(&dev->bars[i], r->end))
			size += r->end - r->first;
	return size;
}

uint64_t memory_copy_left(struct vfio_device *dev)
{
	const struct memory_copy *copy = dev->migration.memory;
	uint64_t size = memory_copy_size(dev);

	return copy && copy->saved < size ? size - copy->saved : copy ? 0 : size;
}

/* Pages are numbered so that the parts of one that several ranges have are several. */
static size_t page_number(const struct bar *bar, const struct range *range, uint64_t off)
{
	return off / PAGE_BYTES + (size_t)(range - bar->ranges);
}

static size_t nr_pages(const struct bar *bar)
{
	return PAGE_ROUND(bar->memory_len) / PAGE_BYTES + bar->nr_ranges;
}

/* Of the page at @off, or what of it is in @range. */
static size_t page_len(const struct range *range, uint64_t off)
{
	uint64_t end = (off & ~(PAGE_BYTES - 1)) + PAGE_BYTES;

	return (end < range->end ? end : range->end) - off;
}

/* ---- saving ---- */

static int make_sums(struct memory_copy *copy, const struct bar *bar, unsigned i)
{
	const XXH128_hash_t zero = XXH3_128bits(zeros, sizeof(zeros));
	size_t pages = nr_pages(bar);

	if (copy->sums[i])
		return 0;
	copy->sums[i] = malloc(pages * sizeof(XXH128_hash_t));
	if (!copy->sums[i])
		return -ENOMEM;
	for (size_t p = 0; p < pages; p++)
		copy->sums[i][p] = zero;
	return 0;
}

/* The sum of the page at @off, or of what of it is in @range.  NULL: there is none, for nothing was
 * saved. */
static XXH128_hash_t *sum_of(const struct memory_copy *copy, unsigned i, const struct bar *bar,
			     const struct range *range, uint64_t off)
{
	return copy->sums[i] ? &copy->sums[i][page_number(bar, range, off)] : NULL;
}

static XXH128_hash_t sum_page(const uint8_t *at, size_t len)
{
	uint8_t page[PAGE_BYTES];

	if (len == PAGE_BYTES)
		return XXH3_128bits(at, PAGE_BYTES);
	/* A part of one, whose rest counts as zeros. */
	memcpy(page, at, len);
	memset(page + len, 0, PAGE_BYTES - len);
	return XXH3_128bits(page, PAGE_BYTES);
}

static bool is_zero(const uint8_t *at, size_t len)
{
	return !at[0] && !memcmp(at, at + 1, len - 1);
}

/* Is there something at @at that was not saved, with @sum (NULL: nothing was)?  As of now. */
static bool has_changed(const struct memory_copy *copy, const XXH128_hash_t *sum, const uint8_t *at,
			size_t len)
{
	if (!sum || (!copy->again && !copy->last))
		return !is_zero(at, len);
	return !XXH128_isEqual(sum_page(at, len), *sum);
}

/* Copy what is at @at, and keep the sum of the copy. */
static void put_page(struct mig_buf *out, const uint8_t *at, size_t len, XXH128_hash_t *sum)
{
	mig_put(out, at, len);
	if (sum && !out->error)
		*sum = sum_page(out->bytes + out->len - len, len);
}

/* A run of pages of one range that have changed, from copy->at on; what was looked at is taken from
 * *@scan. */
static void save_run(struct memory_copy *copy, const struct bar *bar, const struct range *range,
		     struct mig_writer *out, uint64_t *scan)
{
	bool in_section = false;
	unsigned run = 0;

	while (copy->at < range->end && *scan && run < RUN_PAGES) {
		const uint8_t *page = bar->memory + copy->at;
		size_t len = page_len(range, copy->at);
		XXH128_hash_t *sum = sum_of(copy, copy->bar, bar, range, copy->at);
		bool goes = has_changed(copy, sum, page, len);

		*scan = *scan > len ? *scan - len : 0;
		if (goes && !in_section) {
			mig_section_begin(out, MIG_TAG_MEMORY, MEM_VERSION);
			mig_put_u8(out->out, (uint8_t)copy->bar);
			mig_put_u64(out->out, copy->at);
			in_section = true;
		}
		copy->at += len;
		if (goes)
			put_page(out->out, page, len, sum);
		else if (in_section)
			break;
		run += goes;
	}
	if (in_section)
		mig_section_end(out);
}

/* The device has stopped: what is looked at now stays so, and all of it is, from the beginning on.
 */
static void begin_last(struct memory_copy *copy)
{
	copy->last = true;
	copy->bar = 0;
	copy->at = 0;
}

int memory_copy_save(struct vfio_device *dev, bool stopped, struct mig_writer *out)
{
	struct memory_copy *copy = get_copy(dev);
	size_t start = out->out->len;
	uint64_t scan = SCAN_BYTES;

	if (!copy)
		return -ENOMEM;
	if (stopped && !copy->last)
		begin_last(copy);
	while (copy->bar < NR_BARS) {
		const struct bar *bar = &dev->bars[copy->bar];
		const struct range *range = next_range(bar, copy->at);
		uint64_t before;

		if (!range) {
			copy->bar++;
			copy->at = 0;
			continue;
		}
		if (!scan || out->out->len - start >= SAVE_BYTES)
			return 1;
		if (!stopped && make_sums(copy, bar, copy->bar))
			return -ENOMEM;
		if (copy->at < range->first)
			copy->at = range->first;
		before = copy->at;
		save_run(copy, bar, range, out, &scan);
		copy->saved += copy->at - before;
	}
	copy->bar = 0;
	copy->at = 0;
	copy->again = true;
	return 0;
}

/* The range of the page at @place, which may be a part; NULL: there is none further on. */
static const struct range *next_page(struct vfio_device *dev, struct place *place, size_t *len)
{
	for (; place->bar < NR_BARS; place->bar++, place->at = 0) {
		const struct range *range = next_range(&dev->bars[place->bar], place->at);

		if (!range)
			continue;
		if (place->at < range->first)
			place->at = range->first;
		*len = page_len(range, place->at);
		return range;
	}
	return NULL;
}

/* Of memory that is larger than what is looked at in a call, each call looks at another part, and
 * takes it for the whole. */
uint64_t memory_copy_dirty(struct vfio_device *dev)
{
	struct memory_copy *copy = dev->migration.memory;
	uint64_t looked = 0, changed = 0, size = memory_copy_size(dev);
	size_t len;

	if (!copy || !size)
		return 0;
	while (looked < SCAN_BYTES && looked < size) {
		struct place *p = &copy->sample;
		const struct range *range = next_page(dev, p, &len);
		const struct bar *bar = &dev->bars[p->bar];
		const XXH128_hash_t *sum;

		if (!range) {
			*p = (struct place){0};
			continue;
		}
		sum = sum_of(copy, p->bar, bar, range, p->at);
		if (sum && !XXH128_isEqual(sum_page(bar->memory + p->at, len), *sum))
			changed += len;
		looked += len;
		p->at += len;
	}
	return looked < size ? (uint64_t)((double)changed / (double)looked * (double)size)
			     : changed;
}

/* ---- loading ---- */

/* What the device's memory holds is nobody's, and nobody else has it: then what comes is put there.
 */
static bool is_free(const struct vfio_device *dev)
{
	return dev->migration.memory_is_free && dev->view.fd < 0;
}

static int put_aside(struct vfio_device *dev, struct memory_copy *copy, unsigned i)
{
	const struct bar *bar = &dev->bars[i];
	void *map;

	if (is_free(dev)) {
		copy->came[i] = calloc(nr_pages(bar) / 64 + 1, sizeof(uint64_t));
		if (!copy->came[i])
			return -ENOMEM;
		copy->aside[i] = bar->memory;
		return 0;
	}
	map = mmap(NULL, bar->memory_len, PROT_READ | PROT_WRITE,
		   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (map == MAP_FAILED)
		return -ENOMEM;
	/* A fault for each page would take longer than copying it.  Where it cannot be had it is
	 * not needed. */
	madvise(map, bar->memory_len, MADV_HUGEPAGE);
	copy->aside[i] = map;
	return 0;
}

/* The page at @off has come, with @len bytes from there on.  What else it had is not to stay. */
static void note_came(struct memory_copy *copy, const struct bar *bar, unsigned i,
		      const struct range *range, uint64_t off, size_t len)
{
	size_t n = page_number(bar, range, off);
	uint64_t first = off & ~(PAGE_BYTES - 1);

	if (first < range->first)
		first = range->first;
	if (!(copy->came[i][n / 64] >> n % 64 & 1) && len < page_len(range, first))
		memset(bar->memory + first, 0, page_len(range, first));
	copy->came[i][n / 64] |= 1ull << n % 64;
}

int memory_copy_load(struct vfio_device *dev, struct mig_section *section, struct uvfio_error *err)
{
	struct memory_copy *copy = get_copy(dev);
	unsigned index = mig_get_u8(&section->in);
	uint64_t off = mig_get_u64(&section->in);
	size_t len = mig_left_bytes(&section->in);
	const struct range *range;
	const struct bar *bar;

	if (!copy)
		return uvfio_error_set(err, -ENOMEM, "out of memory");
	if (section->version != MEM_VERSION)
		return uvfio_error_set(err, -EINVAL, "BAR memory of version %u is not known here",
				       section->version);
	bar = index < NR_BARS ? &dev->bars[index] : NULL;
	range = bar ? next_range(bar, off) : NULL;
	if (section->in.bad || !len || !range || off < range->first || len > range->end - off)
		return uvfio_error_set(err, -EINVAL,
				       "%zu bytes at %#llx of BAR %u are no memory of this device: "
				       "it has other options, perhaps",
				       len, (unsigned long long)off, index);
	if (!copy->aside[index] && put_aside(dev, copy, index))
		return uvfio_error_set(err, -ENOMEM, "out of memory");
	for (uint64_t at = off, end = off + len; copy->came[index] && at < end;) {
		size_t part = page_len(range, at) < end - at ? page_len(range, at) : end - at;

		note_came(copy, bar, index, range, at, part);
		at += part;
	}
	memcpy(copy->aside[index] + off, section->in.at, len);
	section->in.at = section->in.end;
	return 0;
}

/* [work context] What is aside takes the place of the device's memory, which the model may look at
 * at any other time. */
static void place_aside(struct vfio_device *dev, void *arg)
{
	struct memory_copy *copy = arg;

	device_lock_regs(dev);
	for (unsigned i = 0; i < NR_BARS; i++) {
		const struct bar *bar = &dev->bars[i];

		if (!copy->aside[i] || copy->came[i] ||
		    mremap(copy->aside[i], bar->memory_len, bar->memory_len,
			   MREMAP_MAYMOVE | MREMAP_FIXED, bar->memory) == MAP_FAILED)
			continue;
		copy->aside[i] = NULL;
		copy->placed[i] = true;
	}
	pthread_mutex_unlock(&dev->reg_lock);
}

static bool has_aside(const struct memory_copy *copy)
{
	for (unsigned i = 0; i < NR_BARS; i++)
		if (copy->aside[i] && !copy->came[i])
			return true;
	return false;
}

/* What the page at @at is to hold; NULL: it does. */
static const uint8_t *contents(const struct memory_copy *copy, const struct bar *bar, unsigned i,
			       const struct range *range, uint64_t at)
{
	size_t n = page_number(bar, range, at);

	if (!copy || !copy->aside[i])
		return zeros;
	if (!copy->came[i])
		return copy->aside[i] + at;
	return copy->came[i][n / 64] >> n % 64 & 1 ? NULL : zeros;
}

static void copy_aside(const struct memory_copy *copy, const struct bar *bar, unsigned i)
{
	for (const struct range *r = next_range(bar, 0); r; r = next_range(bar, r->end))
		for (uint64_t at = r->first; at < r->end; at += page_len(r, at)) {
			const uint8_t *from = contents(copy, bar, i, r, at);
			size_t len = page_len(r, at);

			if (from && memcmp(bar->memory + at, from, len) != 0)
				memcpy(bar->memory + at, from, len);
		}
}

void memory_copy_commit(struct vfio_device *dev)
{
	struct memory_copy *copy = dev->migration.memory;

	/* Without a view the memory is nobody else's. */
	if (copy && dev->view.fd < 0 && has_aside(copy))
		device_call(dev, place_aside, copy);
	for (unsigned i = 0; i < NR_BARS; i++) {
		if (copy && copy->placed[i])
			continue;
		copy_aside(copy, &dev->bars[i], i);
		if (copy && copy->came[i]) {
			copy->aside[i] = NULL; /* it is the device's */
			copy->placed[i] = true;
		}
	}
}
