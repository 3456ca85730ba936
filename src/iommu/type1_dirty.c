/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Dirty pages of a container (D.2 DIRTY_PAGES, and UNMAP with a bitmap).
 *
 * Every mapped page counts as dirty, as with the kernel for devices that do DMA by themselves: an
 * IOMMU of this kind does not see which pages they wrote.  Who wants to know exactly asks the
 * device (E.4).  So nothing is recorded, and a report is a list of what is mapped.
 */
#include <errno.h>
#include <string.h>
#include "iommu/bitmap.h"
#include "iommu/type1_private.h"

#define FLAGS                                                                                      \
	(VFIO_IOMMU_DIRTY_PAGES_FLAG_START | VFIO_IOMMU_DIRTY_PAGES_FLAG_STOP |                    \
	 VFIO_IOMMU_DIRTY_PAGES_FLAG_GET_BITMAP)
/* The end of what a program of x86-64 can address, without the last page. */
#define USER_END 0x7ffffffff000ull
#define BATCH    64u

bool type1_bitmap_ok(uint64_t size, const struct vfio_bitmap *bitmap)
{
	uint64_t pages, data;

	if (!bitmap || !bitmap->pgsize)
		return false;
	data = (uint64_t)(uintptr_t)bitmap->data;
	pages = size >> __builtin_ctzll(bitmap->pgsize);
	return pages && bitmap->size && bitmap->size <= TYPE1_BITMAP_MAX &&
	       bitmap->size >= (pages / 64 + (pages % 64 != 0)) * 8 && data <= USER_END &&
	       bitmap->size <= USER_END - data;
}

/* Up to BATCH live mappings in [@first, @last].  How many. */
static unsigned look(struct type1 *t1, uint64_t first, uint64_t last, uint64_t (*out)[2])
{
	struct iommu_mapping *m;
	unsigned n = 0;

	space_lock(t1->space);
	while (n < BATCH && first <= last && (m = space_find(t1->space, first, last))) {
		out[n][0] = m->first;
		out[n][1] = m->last;
		n++;
		if (m->last == UINT64_MAX)
			break;
		first = m->last + 1;
	}
	space_unlock(t1->space);
	return n;
}

int type1_report(struct type1 *t1, uint64_t first, uint64_t last, uint64_t data,
		 const struct iommu_bitmap_io *io, struct iommu_detached *gone)
{
	uint64_t base = first, found[BATCH][2];
	struct iommu_bitmap bitmap;
	unsigned n = BATCH;
	int ret = 0;

	iommu_bitmap_init(&bitmap, io, data, false);
	while (n == BATCH && !ret) {
		n = look(t1, first, last, found);
		for (unsigned i = 0; i < n && !ret; i++)
			ret = iommu_bitmap_overwrite(
				&bitmap, (found[i][0] - base) / IOMMU_PAGE_SIZE,
				(found[i][1] - found[i][0] + 1) / IOMMU_PAGE_SIZE);
		if (n)
			first = found[n - 1][1] + 1;
		if (ret || !gone)
			continue;
		/* What goes was reported first. */
		ret = iommu_bitmap_flush(&bitmap);
		if (ret)
			break;
		space_lock(t1->space);
		for (unsigned i = 0; i < n; i++) {
			type1_refund_range(t1, found[i][0], found[i][1], false);
			space_detach(t1->space, found[i][0], found[i][1], false, gone);
		}
		space_unlock(t1->space);
	}
	return ret ? ret : iommu_bitmap_flush(&bitmap);
}

static int track(struct type1 *t1, bool on)
{
	space_lock(t1->space);
	t1->tracking = on;
	space_unlock(t1->space);
	return 0;
}

static int get(struct type1 *t1, const struct vfio_iommu_type1_dirty_bitmap_get *get,
	       const struct iommu_bitmap_io *io)
{
	int ret = 0;

	/* 0 is told below, and goes nowhere here. */
	if (get->size && type1_wraps(get->iova, get->size))
		return -EOVERFLOW;
	if (!type1_bitmap_ok(get->size, &get->bitmap))
		return -EINVAL;
	if (get->bitmap.pgsize != IOMMU_PAGE_SIZE || type1_misaligned(get->iova) ||
	    type1_misaligned(get->size))
		return -EINVAL;
	space_lock(t1->space);
	if (!t1->tracking || type1_bisects(t1, get->iova, get->iova + get->size - 1))
		ret = -EINVAL;
	space_unlock(t1->space);
	if (ret)
		return ret;
	return type1_report(t1, get->iova, get->iova + get->size - 1,
			    (uint64_t)(uintptr_t)get->bitmap.data, io, NULL);
}

int type1_dirty_pages(struct type1 *t1, uint64_t arg, const struct iommu_bitmap_io *io)
{
	struct vfio_iommu_type1_dirty_bitmap req;
	struct vfio_iommu_type1_dirty_bitmap_get range;

	if (!t1->v2)
		return -EACCES;
	if (io->read(io->client, &req, arg, sizeof(req)))
		return -EFAULT;
	if (req.argsz < sizeof(req) || req.flags & ~FLAGS)
		return -EINVAL;
	switch (req.flags) {
	case VFIO_IOMMU_DIRTY_PAGES_FLAG_START:
		return track(t1, true);
	case VFIO_IOMMU_DIRTY_PAGES_FLAG_STOP:
		return track(t1, false);
	case VFIO_IOMMU_DIRTY_PAGES_FLAG_GET_BITMAP:
		if (req.argsz < sizeof(req) + sizeof(range))
			return -EINVAL;
		if (io->read(io->client, &range, arg + sizeof(req), sizeof(range)))
			return -EFAULT;
		return get(t1, &range, io);
	default: /* none, or more than one */
		return -EINVAL;
	}
}
