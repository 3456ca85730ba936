/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What lies where: the regions of a device file, the areas of each BAR, and the storage behind
 * them.
 *
 * Each BAR has a sorted table of ranges: the model's areas, the MSI-X table and the PBA.  Registers
 * live in a shadow, anonymous memory that costs nothing until it is touched; memory areas live in
 * an address range of their own, which view.c exchanges for the view file's pages.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <linux/pci_regs.h>
#include "base/guard.h"
#include "vfio/sriov_private.h"

#define REGION_SHIFT      40
#define VIEW_FIRST_REGION 16
#define MSIX_ENTRY_BYTES  16u

static const struct range hole = {.kind = RANGE_HOLE};

int region_decode(uint64_t offset, unsigned *index, uint64_t *pos)
{
	uint64_t n = offset >> REGION_SHIFT;

	*pos = offset & ((1ull << REGION_SHIFT) - 1);
	if (n == VFIO_PCI_CONFIG_REGION_INDEX || n == MIG_REGION_OFFSET >> REGION_SHIFT) {
		*index = n == VFIO_PCI_CONFIG_REGION_INDEX ? VFIO_PCI_CONFIG_REGION_INDEX
							   : MIG_REGION_INDEX;
		return 0;
	}
	n -= VIEW_FIRST_REGION;
	if (n >= VFIO_PCI_NUM_REGIONS || n == VFIO_PCI_CONFIG_REGION_INDEX)
		return -EINVAL;
	*index = (unsigned)n;
	return 0;
}

static int compare_ranges(const void *a, const void *b)
{
	const struct range *x = a, *y = b;

	return x->first < y->first ? -1 : x->first > y->first;
}

static uint64_t pba_bytes(unsigned vectors)
{
	return (vectors + 63ull) / 64 * 8;
}

/* The table of ranges of BAR @index, from the description. */
static int build_ranges(struct vfio_device *dev, const struct uvfio_pci_desc *desc, unsigned index,
			struct uvfio_error *err)
{
	const struct uvfio_bar_desc *bd = &desc->bars[index];
	struct bar *bar = &dev->bars[index];
	struct range *ranges;
	unsigned n = 0;

	ranges = calloc(bd->nr_areas + 2, sizeof(*ranges));
	if (!ranges)
		return uvfio_error_set(err, -ENOMEM, "out of memory");
	bar->ranges = ranges;
	for (unsigned i = 0; i < bd->nr_areas; i++) {
		const struct uvfio_area *area = &bd->areas[i];

		ranges[n++] = (struct range){area->offset, area->offset + area->size,
					     (enum range_kind)area->kind, area->flags};
	}
	if (desc->msix_vectors && desc->msix_bar == index) {
		ranges[n++] = (struct range){
			desc->msix_table, desc->msix_table + desc->msix_vectors * MSIX_ENTRY_BYTES,
			RANGE_MSIX_TABLE, 0};
		ranges[n++] = (struct range){desc->msix_pba,
					     desc->msix_pba + pba_bytes(desc->msix_vectors),
					     RANGE_MSIX_PBA, 0};
	}
	qsort(ranges, n, sizeof(*ranges), compare_ranges);
	for (unsigned i = 0; i < n; i++) {
		if (ranges[i].first >= ranges[i].end || ranges[i].end > bar->size)
			return uvfio_error_set(err, -EINVAL,
					       "BAR %u: an area [%#llx, %#llx) is empty or beyond "
					       "the BAR's %#llx bytes",
					       index, (unsigned long long)ranges[i].first,
					       (unsigned long long)ranges[i].end,
					       (unsigned long long)bar->size);
		if (i && ranges[i].first < ranges[i - 1].end)
			return uvfio_error_set(err, -EINVAL, "BAR %u: two areas overlap at %#llx",
					       index, (unsigned long long)ranges[i].first);
	}
	bar->nr_ranges = n;
	return 0;
}

static int map_storage(uint8_t **out, uint64_t len, struct uvfio_error *err)
{
	void *p = mmap(NULL, len, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (p == MAP_FAILED)
		return uvfio_error_set(err, -ENOMEM, "no address space for %llu bytes of a BAR",
				       (unsigned long long)len);
	*out = p;
	return 0;
}

static int build_storage(struct bar *bar, struct uvfio_error *err)
{
	int ret = 0;

	for (unsigned i = 0; i < bar->nr_ranges; i++) {
		uint64_t end = PAGE_ROUND(bar->ranges[i].end);

		if (bar->ranges[i].kind == RANGE_MEMORY) {
			bar->memory_len = end;
		} else {
			bar->shadow_len = end;
			bar->has_registers = true;
			if (bar->ranges[i].flags & UVFIO_AREA_READ_LATER)
				bar->reads_later = true;
		}
	}
	if (bar->memory_len)
		ret = map_storage(&bar->memory, bar->memory_len, err);
	/* A client may truncate the view under the model's feet. */
	if (!ret && bar->memory && uvfio_guard_repair_add(bar->memory, bar->memory_len))
		ret = uvfio_error_set(err, -ENOMEM, "out of memory");
	if (!ret && bar->shadow_len)
		ret = map_storage(&bar->shadow, bar->shadow_len, err);
	return ret;
}

/* No two BARs share a page, so that each can be mapped (A.6). */
static uint64_t bytes_taken(const struct bar *bar)
{
	return bar->flags & UVFIO_BAR_IO ? bar->size : PAGE_ROUND(bar->size);
}

/* Where what @dev has of [@at, @at + @size) ends, or 0. */
static uint64_t in_the_way(const struct vfio_device *dev, bool io, uint64_t at, uint64_t size)
{
	for (unsigned i = 0; i < NR_BARS && !dev->physfn; i++) {
		const struct bar *bar = &dev->bars[i];

		if (bar->address && !!(bar->flags & UVFIO_BAR_IO) == io &&
		    bar->address < at + size && at < bar->address + bytes_taken(bar))
			return bar->address + bytes_taken(bar);
		if (!io && dev->vf_bars[i].first < at + size && at < dev->vf_bars[i].end)
			return dev->vf_bars[i].end;
	}
	return 0;
}

/* A place that removed devices have left, or @limit.  machine->lock and add_lock held: besides
 * @dev, all that have a place are in the list. */
static uint64_t find_hole(const struct vfio_device *dev, bool io, uint64_t at, uint64_t limit,
			  uint64_t size, uint64_t align)
{
	const struct vfio_machine *machine = dev->machine;
	uint64_t end;

	do {
		at = (at + align - 1) & ~(align - 1);
		end = in_the_way(dev, io, at, size);
		for (unsigned i = 0; i < machine->nr_devices && !end; i++)
			end = in_the_way(machine->devices[i], io, at, size);
		at = end ? end : at;
	} while (end && at < limit);
	return at < limit ? at : limit;
}

int bar_find_place(struct vfio_device *dev, unsigned index, unsigned flags, uint64_t size,
		   uint64_t align, uint64_t *at, struct uvfio_error *err)
{
	struct vfio_machine *machine = dev->machine;
	bool io = flags & UVFIO_BAR_IO, wide = flags & UVFIO_BAR_MEM64;
	uint64_t first = io ? FIRST_IO : wide ? FIRST_MEM64 : FIRST_MEM32;
	uint64_t limit = io ? END_IO : wide ? END_MEM64 : END_MEM32;
	uint64_t *next = io     ? &machine->next_io
			 : wide ? &machine->next_mem64
				: &machine->next_mem32;

	pthread_mutex_lock(&machine->lock);
	*at = (*next + align - 1) & ~(align - 1);
	if (*at < limit && size <= limit - *at)
		*next = *at + size;
	else
		*at = find_hole(dev, io, first, limit, size, align);
	pthread_mutex_unlock(&machine->lock);
	if (*at >= limit || size > limit - *at)
		return uvfio_error_set(err, -ENOSPC,
				       "BAR %u: no room for %llu more bytes in the machine; use "
				       "fewer devices or VFs, or 64-bit BARs",
				       index, (unsigned long long)size);
	return 0;
}

/* Place the BAR in the machine's address space, as firmware would. */
static int place(struct vfio_device *dev, unsigned index, struct uvfio_error *err)
{
	struct bar *bar = &dev->bars[index];
	unsigned reg = PCI_BASE_ADDRESS_0 + index * 4;
	uint64_t size = bytes_taken(bar), at;
	uint32_t low;
	int ret;

	if (dev->physfn) {
		bar->address = sriov_bar_address(dev, index);
		return 0;
	}
	ret = bar_find_place(dev, index, bar->flags, size, size, &at, err);
	if (ret)
		return ret;
	bar->address = at;
	low = pci_hw_read(dev->func, reg, 4) & (bar->flags & UVFIO_BAR_IO ? 0x3u : 0xfu);
	pci_hw_set(dev->func, reg, 4, (uint32_t)at | low);
	if (bar->flags & UVFIO_BAR_MEM64)
		pci_hw_set(dev->func, reg + 4, 4, (uint32_t)(at >> 32));
	return 0;
}

int bar_init(struct vfio_device *dev, struct uvfio_error *err)
{
	const struct uvfio_pci_desc *desc = pci_func_desc(dev->func);
	int ret = 0;

	for (unsigned i = 0; i < NR_BARS && !ret; i++) {
		struct bar *bar = &dev->bars[i];

		bar->size = desc->bars[i].size;
		bar->flags = desc->bars[i].flags;
		if (!bar->size)
			continue;
		ret = build_ranges(dev, desc, i, err);
		if (!ret)
			ret = build_storage(bar, err);
		if (!ret)
			ret = place(dev, i, err);
	}
	if (!ret && dev->sriov)
		ret = sriov_place_bars(dev, err);
	return ret;
}

void bar_fini(struct vfio_device *dev)
{
	for (unsigned i = 0; i < NR_BARS; i++) {
		struct bar *bar = &dev->bars[i];

		if (bar->shadow)
			munmap(bar->shadow, bar->shadow_len);
		if (bar->memory) {
			uvfio_guard_repair_remove(bar->memory);
			munmap(bar->memory, bar->memory_len);
		}
		free(bar->ranges);
		bar->ranges = NULL;
	}
}

const struct range *bar_range(const struct bar *bar, uint64_t off, uint64_t *end)
{
	unsigned low = 0, high = bar->nr_ranges;

	/* The first range that ends beyond @off. */
	while (low < high) {
		unsigned mid = (low + high) / 2;

		if (bar->ranges[mid].end > off)
			high = mid;
		else
			low = mid + 1;
	}
	if (low < bar->nr_ranges && bar->ranges[low].first <= off) {
		*end = bar->ranges[low].end;
		return &bar->ranges[low];
	}
	*end = low < bar->nr_ranges ? bar->ranges[low].first : bar->size;
	return &hole;
}

/* Does BAR @index offer MMAP to a file of mode @mode (A.6)? */
bool bar_mappable(const struct vfio_device *dev, unsigned index, enum vfio_mmio_mode mode)
{
	const struct bar *bar;

	if (index >= NR_BARS)
		return false;
	bar = &dev->bars[index];
	if (!bar->size || bar->flags & (UVFIO_BAR_IO | UVFIO_BAR_NO_MMAP))
		return false;
	/* Where loads are not trapped nobody could wait for the answer of such a register. */
	if (mode == VFIO_MMIO_POLLED && bar->reads_later)
		return false;
	return mode != VFIO_MMIO_NONE || !bar->has_registers;
}

uint64_t shadow_load(const struct bar *bar, uint64_t off, unsigned size)
{
	const uint8_t *p = bar->shadow + off;

	switch (size) {
	case 1:
		return __atomic_load_n(p, __ATOMIC_SEQ_CST);
	case 2:
		return __atomic_load_n((const uint16_t *)p, __ATOMIC_SEQ_CST);
	case 4:
		return __atomic_load_n((const uint32_t *)p, __ATOMIC_SEQ_CST);
	default:
		return __atomic_load_n((const uint64_t *)p, __ATOMIC_SEQ_CST);
	}
}
