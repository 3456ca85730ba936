/* SPDX-License-Identifier: BSD-3-Clause */
/* What of a BAR may be mapped, and how (A.6): decided by the areas that its pages hold. */
#include <errno.h>
#include "vfio/machine_private.h"

/* What the pages of [@off, @end) of a BAR need: writable only if every page that has anything in it
 * has nothing but memory, or in polled mode what may be polled; a page without anything is trapped,
 * so that what is written there is dropped. */
static void classify(const struct bar *bar, uint64_t off, uint64_t end, bool polled, bool *writable,
		     bool *trap_reads)
{
	uint64_t page_done = off; /* pages below have an area that may be written */

	*writable = true;
	*trap_reads = false;
	for (unsigned i = 0; i < bar->nr_ranges; i++) {
		const struct range *range = &bar->ranges[i];
		uint64_t first = range->first & ~(PAGE_BYTES - 1);
		uint64_t last = PAGE_ROUND(range->end);
		bool ok = range->kind == RANGE_MEMORY;

		if (last <= off || first >= end)
			continue;
		if (polled &&
		    (range->kind == RANGE_DOORBELLS || range->flags & UVFIO_AREA_POLLABLE))
			ok = true;
		if (range->flags & UVFIO_AREA_READ_EVENT) {
			*trap_reads = true;
			ok = false;
		}
		if (range->kind == RANGE_MSIX_PBA)
			*trap_reads = true; /* pending bits change on their own */
		if (!ok || first > page_done)
			*writable = false;
		if (last > page_done)
			page_done = last;
	}
	if (page_done < end)
		*writable = false;
}

static int may_map(struct vfio_device *dev, const struct vfio_device_file *df, uint64_t offset,
		   uint64_t len, bool shared, bool *writable, bool *trap_reads)
{
	enum vfio_mmio_mode mode = (enum vfio_mmio_mode)atomic_load(&df->mmio);
	const struct bar *bar;
	unsigned index;
	uint64_t pos, end;

	if (!file_is_bound(df) || !shared || !len || region_decode(offset, &index, &pos))
		return -EINVAL;
	if (index == MIG_REGION_INDEX && !df->maps) {
		*writable = true;
		*trap_reads = false;
		return migration_region_mappable(dev, pos, len) ? 0 : -EINVAL;
	}
	if (!bar_mappable(dev, index, mode))
		return -EINVAL;
	bar = &dev->bars[index];
	if (pos & (PAGE_BYTES - 1) || len > PAGE_ROUND(bar->size) - pos ||
	    pos > PAGE_ROUND(bar->size))
		return -EINVAL;
	end = PAGE_ROUND(pos + len);
	classify(bar, pos, end, mode == VFIO_MMIO_POLLED, writable, trap_reads);
	return 0;
}

int vfio_device_mmap(struct vfio_device_file *df, uint64_t offset, uint64_t len, bool shared,
		     bool *writable, bool *trap_reads)
{
	struct vfio_device *dev = file_enter(df);
	int ret = -ENODEV;

	if (dev)
		ret = may_map(dev, df, offset, len, shared, writable, trap_reads);
	file_leave(df);
	return ret;
}

/* A page of [@page, +4 KiB) as classify() sees it. */
static bool page_is_native(const struct bar *bar, uint64_t page, bool polled)
{
	bool writable, trap_reads;

	classify(bar, page, page + PAGE_BYTES, polled, &writable, &trap_reads);
	return writable && !trap_reads;
}

unsigned vfio_device_sparse(struct vfio_device_file *df, unsigned index, struct vfio_area *out,
			    unsigned max)
{
	bool polled = atomic_load(&df->mmio) == VFIO_MMIO_POLLED;
	const struct bar *bar;
	uint64_t done = 0, end = 0;
	unsigned n = 0;

	if (index >= NR_BARS || df->dev->bars[index].flags & (UVFIO_BAR_IO | UVFIO_BAR_NO_MMAP))
		return 0;
	bar = &df->dev->bars[index];
	/* A page is decided by the ranges that touch it: look at each range's first and last page
	 * and, between them, at one for all. */
	for (unsigned i = 0; i < bar->nr_ranges; i++) {
		uint64_t first = bar->ranges[i].first & ~(PAGE_BYTES - 1);
		uint64_t last = PAGE_ROUND(bar->ranges[i].end) - PAGE_BYTES;

		if (first < done)
			first = done;
		while (first <= last) {
			uint64_t next = first + PAGE_BYTES;

			if (next < last && first > bar->ranges[i].first)
				next = last;
			if (page_is_native(bar, first, polled)) {
				if (!n || first != end) {
					if (n < max)
						out[n] = (struct vfio_area){first, 0};
					n++;
				}
				end = next;
				if (n <= max)
					out[n - 1].size = end - out[n - 1].offset;
			}
			first = done = next;
		}
	}
	return n;
}
