/* SPDX-License-Identifier: BSD-3-Clause */
/* The memory behind an area: fetched, charged, and made a mapping of the space. */
#include <errno.h>
#include "iommu/ioas_private.h"

static int import(struct ioas *ioas, const struct ioas_area *area, struct iommu_mapping *m,
		  const struct type1_memory_ops *ops, void *client)
{
	struct iommu_mem *mem = NULL;
	unsigned nr = 0;
	int ret;

	ret = ops->import(client, area->pages->addr + area->start, area->last - area->first + 1,
			  m->prot, &mem, &nr);
	if (ret)
		return ret;
	/* No option allows what cannot be pinned (D.3), and a BAR is mapped by an export (D.4). */
	for (unsigned i = 0; i < nr && !ret; i++)
		ret = mem[i].unpinnable || mem[i].kind == IOMMU_MEM_PEER ? -EFAULT : 0;
	if (!ret)
		ret = space_back(ioas->space, m, mem, nr);
	ops->release(client, mem, nr);
	return ret;
}

static int give_memory(struct ioas *ioas, const struct ioas_area *area, struct ioas_slice *slice,
		       const struct type1_memory_ops *ops, void *client, int32_t pid,
		       struct iommu_mapping *m)
{
	if (slice && slice->share.nr)
		return space_back_shared(ioas->space, m, &slice->share);
	if (slice && slice->nr_mem)
		return space_back(ioas->space, m, slice->mem, slice->nr_mem);
	/* Another process's memory is not this one's to give. */
	if (area->pages->source != IOAS_USER || area->pages->pid != pid)
		return -EFAULT;
	return import(ioas, area, m, ops, client);
}

int area_back(struct ioas *ioas, const struct ioas_area *area, struct ioas_slice *slice,
	      const struct type1_memory_ops *ops, void *client, int32_t pid,
	      struct iommu_mapping **out)
{
	struct iommu_mapping *m;
	int ret;

	*out = NULL;
	if (slice && slice->error)
		return slice->error;
	if (area_is_odd(area) || area->last > IOMMU_IOVA_LAST)
		return 0;
	space_lock(ioas->space);
	ret = space_reserve(ioas->space, area->first, area->last, area->prot, &m);
	space_unlock(ioas->space);
	if (ret)
		return ret;
	ret = give_memory(ioas, area, slice, ops, client, pid, m);
	if (!ret)
		ret = pages_charge(area->pages, ops, client);
	if (!ret && !area->prot) {
		/* A hardware page table has no entry without a right. */
		area_cancel(ioas, m);
		return -EINVAL;
	}
	if (!ret) {
		*out = m;
		return 0;
	}
	area_cancel(ioas, m);
	return ret == -EINVAL ? -EFAULT : ret;
}

void area_publish(struct ioas *ioas, struct ioas_area *area, struct iommu_mapping *m)
{
	space_lock(ioas->space);
	space_publish(ioas->space, m);
	space_unlock(ioas->space);
	area->m = m;
	ioas->nr_bare--;
}

void area_cancel(struct ioas *ioas, struct iommu_mapping *m)
{
	space_lock(ioas->space);
	space_cancel(ioas->space, m);
	space_unlock(ioas->space);
}
