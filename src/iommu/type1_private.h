/* SPDX-License-Identifier: BSD-3-Clause */
/* What the files of the type 1 rules share. */
#ifndef UVFIO_IOMMU_TYPE1_PRIVATE_H
#define UVFIO_IOMMU_TYPE1_PRIVATE_H

#include "iommu/space_private.h"
#include "iommu/type1.h"

#define TYPE1_BITMAP_MAX (256ull << 20) /* bytes */

struct type1 {
	struct iommu_space *space;
	bool v2;
	/* Under the writer mutex of the space: */
	bool tracking;      /* dirty pages */
	uint64_t available; /* entries */
	uint64_t locked;    /* bytes mapped or about to be */
};

static inline bool type1_wraps(uint64_t start, uint64_t size)
{
	return size - 1 > UINT64_MAX - start;
}

static inline bool type1_misaligned(uint64_t v)
{
	return v & (IOMMU_PAGE_SIZE - 1);
}

/* Of version 2: does a boundary of [@first, @last] lie within a mapping?  The space's mutex. */
bool type1_bisects(struct type1 *t1, uint64_t first, uint64_t last);

/* type1_dirty.c: is @bitmap one for @size bytes?  (Without looking at what it points to.) */
bool type1_bitmap_ok(uint64_t size, const struct vfio_bitmap *bitmap);
/* Report the mappings in [@first, @last], which stay or, with @gone, are taken out and added to it
 * (the caller finishes them, also on an error).  0 or -EFAULT.  No lock is held. */
int type1_report(struct type1 *t1, uint64_t first, uint64_t last, uint64_t data,
		 const struct iommu_bitmap_io *io, struct iommu_detached *gone);

#endif
