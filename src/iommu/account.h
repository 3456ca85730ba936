/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Locked memory (D.2): what is mapped for DMA counts against the RLIMIT_MEMLOCK of the process that
 * mapped it, whichever container it is in.  An account stands for one address space (mm) of a
 * client; the door makes it, everything that is charged to it holds it.
 *
 * Threads: any.
 */
#ifndef UVFIO_IOMMU_ACCOUNT_H
#define UVFIO_IOMMU_ACCOUNT_H

#include <stdbool.h>
#include <stdint.h>

struct iommu_account;

/* One reference is the caller's; NULL when out of memory.  @id is the maker's, to find it by. */
struct iommu_account *iommu_account_new(uint64_t id);
uint64_t iommu_account_id(const struct iommu_account *account);
void iommu_account_ref(struct iommu_account *account);
/* NULL is allowed. */
void iommu_account_unref(struct iommu_account *account);
/* Does nobody but the caller hold it? */
bool iommu_account_unused(const struct iommu_account *account);

/* Add @bytes, if the sum is not more than @limit then.  @bytes 0 always can. */
bool iommu_account_charge(struct iommu_account *account, uint64_t bytes, uint64_t limit);
/* Take away what was charged. */
void iommu_account_refund(struct iommu_account *account, uint64_t bytes);
uint64_t iommu_account_locked(const struct iommu_account *account);

#endif
