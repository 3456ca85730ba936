/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The contents of a device's memory areas in its migration stream.
 *
 *	.MEM version 1: u8 BAR, u64 offset, contents: pages of one area
 *
 * Clients store to mapped memory without anybody's help, so what has changed is found by looking:
 * of each page that was saved a sum is kept (128 bits), and a page goes again when its sum differs.
 * A page that was never saved is zero at the other end.
 *
 * What comes is put aside in memory of the same size, of which only what came takes room.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <xxhash.h>
#include "vfio/machine_private.h"

#define RUN_PAGES   64u         /* of one section */
#define SCAN_BYTES  (16u << 20) /* looked at in one call */
#define SAVE_BYTES  (1u << 20)  /* put into the stream in one call, about */
#define MEM_VERSION 1u

struct memory_copy {
	uint8_t *aside[NR_BARS]; /* of bar->memory_len bytes; NULL: nothing has come */
	XXH128_hash_t *sums[NR_BARS];
	uint64_t saved; /* bytes that went at least once */
	/* Where the pass is. */
	unsigned bar;
	uint64_t at;
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

void memory_copy_drop(struct vfio_device *dev)
{
	struct memory_copy *copy = dev->migration.memory;

	if (!copy)
		return;
	for (unsigned i = 0; i < NR_BARS; i++) {
		if (copy->aside[i])
			munmap(copy->aside[i], dev->bars[i].memory_len);
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

/* ---- saving ---- */

static int make_sums(struct memory_copy *copy, const struct bar *bar, unsigned i)
{
	const XXH128_hash_t zero = XXH3_128bits(zeros, sizeof(zeros));
	size_t pages = PAGE_ROUND(bar->memory_len) / PAGE_BYTES + bar->nr_ranges;

	if (copy->sums[i])
		return 0;
	copy->sums[i] = malloc(pages * sizeof(XXH128_hash_t));
	if (!copy->sums[i])
		return -ENOMEM;
	for (size_t p = 0; p < pages; p++)
		copy->sums[i][p] = zero;
	return 0;
}

/* The sum of the page at @off, or of what of it is in @range: a page may have parts of several. */
static XXH128_hash_t *sum_of(const struct memory_copy *copy, unsigned i, const struct bar *bar,
			     const struct range *range, uint64_t off)
{
	return &copy->sums[i][off / PAGE_BYTES + (size_t)(range - bar->ranges)];
}

/* Of the page at @off, or what of it is in @range. */
static size_t page_len(const struct range *range, uint64_t off)
{
	uint64_t end = (off & ~(PAGE_BYTES - 1)) + PAGE_BYTES;

	return (end < range->end ? end : range->end) - off;
}

/* Copy the page, so that what goes is what was summed up.  Is that another sum than @sum?  It goes
 * to @now, where that is not NULL. */
static bool page_changed(const XXH128_hash_t *sum, const struct bar *bar, uint64_t off, size_t len,
			 uint8_t page[PAGE_BYTES], XXH128_hash_t *now)
{
	XXH128_hash_t found;
	bool changed;

	memset(page, 0, PAGE_BYTES);
	memcpy(page + (off & (PAGE_BYTES - 1)), bar->memory + off, len);
	found = XXH3_128bits(page, PAGE_BYTES);
	changed = !XXH128_isEqual(found, *sum);
	if (now)
		*now = found;
	return changed;
}

/* A run of pages of one range that have changed, from copy->at on; what was looked at is taken from
 * *@scan. */
static void save_run(struct memory_copy *copy, const struct bar *bar, const struct range *range,
		     struct mig_writer *out, uint64_t *scan)
{
	bool in_section = false;
	uint8_t page[PAGE_BYTES];
	unsigned run = 0;

	for (; copy->at < range->end && *scan && run < RUN_PAGES;
	     copy->at += page_len(range, copy->at)) {
		size_t len = page_len(range, copy->at);
		XXH128_hash_t *sum = sum_of(copy, copy->bar, bar, range, copy->at);
		bool goes = page_changed(sum, bar, copy->at, len, page, sum);

		*scan = *scan > len ? *scan - len : 0;
		if (goes && !in_section) {
			mig_section_begin(out, MIG_TAG_MEMORY, MEM_VERSION);
			mig_put_u8(out->out, (uint8_t)copy->bar);
			mig_put_u64(out->out, copy->at);
			in_section = true;
		}
		if (!goes && in_section) {
			copy->at += len;
			break;
		}
		if (goes) {
			mig_put(out->out, page + (copy->at & (PAGE_BYTES - 1)), len);
			run++;
		}
	}
	if (in_section)
		mig_section_end(out);
}

int memory_copy_save(struct vfio_device *dev, struct mig_writer *out)
{
	struct memory_copy *copy = get_copy(dev);
	size_t start = out->out->len;
	uint64_t scan = SCAN_BYTES;

	if (!copy)
		return -ENOMEM;
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
		if (make_sums(copy, bar, copy->bar))
			return -ENOMEM;
		if (copy->at < range->first)
			copy->at = range->first;
		before = copy->at;
		save_run(copy, bar, range, out, &scan);
		copy->saved += copy->at - before;
	}
	copy->bar = 0;
	copy->at = 0;
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
	uint8_t page[PAGE_BYTES];
	size_t len;

	if (!copy || !size)
		return 0;
	while (looked < SCAN_BYTES && looked < size) {
		struct place *p = &copy->sample;
		const struct range *range = next_page(dev, p, &len);
		const struct bar *bar = &dev->bars[p->bar];

		if (!range) {
			*p = (struct place){0};
			continue;
		}
		if (copy->sums[p->bar] && page_changed(sum_of(copy, p->bar, bar, range, p->at), bar,
						       p->at, len, page, NULL))
			changed += len;
		looked += len;
		p->at += len;
	}
	return looked < size ? (uint64_t)((double)changed / (double)looked * (double)size)
			     : changed;
}

/* ---- loading ---- */

int memory_copy_load(struct vfio_device *dev, struct mig_section *section, struct uvfio_error *err)
{
	struct memory_copy *copy = get_copy(dev);
	unsigned index = mig_get_u8(&section->in);
	uint64_t off = mig_get_u64(&section->in);
	size_t len = mig_left_bytes(&section->in);
	const struct range *range;
	struct bar *bar;
	void *map;

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
	if (!copy->aside[index]) {
		map = mmap(NULL, bar->memory_len, PROT_READ | PROT_WRITE,
			   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
		if (map == MAP_FAILED)
			return uvfio_error_set(err, -ENOMEM, "out of memory");
		/* A fault for each page would take longer than copying it.  Where it cannot be
		 * had it is not needed. */
		madvise(map, bar->memory_len, MADV_HUGEPAGE);
		copy->aside[index] = map;
	}
	memcpy(copy->aside[index] + off, section->in.at, len);
	section->in.at = section->in.end;
	return 0;
}

void memory_copy_commit(struct vfio_device *dev)
{
	const struct memory_copy *copy = dev->migration.memory;

	for (unsigned i = 0; i < NR_BARS; i++) {
		const struct bar *bar = &dev->bars[i];
		const uint8_t *aside = copy ? copy->aside[i] : NULL;

		for (const struct range *r = next_range(bar, 0); r; r = next_range(bar, r->end))
			for (uint64_t at = r->first; at < r->end; at += page_len(r, at)) {
				size_t len = page_len(r, at);
				const uint8_t *from = aside ? aside + at : zeros;

				if (memcmp(bar->memory + at, from, len) != 0)
					memcpy(bar->memory + at, from, len);
			}
	}
}
