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
	bool allow_mmio; /* type1_set_mmio() */
	void (*mmio_remark)(void *arg, void *client, bool taken);
	void *mmio_arg;
	/* Under the writer mutex of the space: */
	bool tracking;               /* dirty pages */
	uint64_t available;          /* entries */
	struct type1_locked *locked; /* made when first needed (atomic), what is in it */
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

/* type1_locked.c: who pays for what a request maps.  Without a lock: 0, or -ENOMEM. */
struct type1_payer {
	struct iommu_account *account; /* a reference; NULL: nobody counts */
	uint64_t limit;
};
int type1_payer(struct type1 *t1, const struct type1_memory_ops *ops, void *client,
		struct type1_payer *out);
void type1_payer_put(struct type1_payer *payer);
/* Under the space's mutex: charge @m, which has its memory.  0, or -ENOMEM over the limit. */
int type1_charge(struct type1 *t1, struct iommu_mapping *m, const struct type1_payer *payer);
/* Nothing is charged for @m any more. */
void type1_refund(struct type1 *t1, struct iommu_mapping *m);
/* Charge @by (which may be @m) in the place of @m; -ENOMEM with nothing changed. */
int type1_recharge(struct type1 *t1, struct iommu_mapping *m, struct iommu_mapping *by,
		   const struct type1_payer *payer);
/* Before what space_detach() takes out. */
void type1_refund_range(struct type1 *t1, uint64_t first, uint64_t last, bool tails);
/* The container goes, with all of its mappings. */
void type1_locked_free(struct type1 *t1);

/* type1_dirty.c: is @bitmap one for @size bytes?  (Without looking at what it points to.) */
bool type1_bitmap_ok(uint64_t size, const struct vfio_bitmap *bitmap);
/* Report the mappings in [@first, @last], which stay or, with @gone, are taken out and added to it
 * (the caller finishes them, also on an error).  0 or -EFAULT.  No lock is held. */
int type1_report(struct type1 *t1, uint64_t first, uint64_t last, uint64_t data,
		 const struct iommu_bitmap_io *io, struct iommu_detached *gone);

#endif
