/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The type1 rule set (D.2): which MAP and UNMAP requests are refused, in which order and with what
 * errno, for the interfaces TYPE1 (v1) and TYPE1v2.  The caller has copied the request from the
 * client once.  Any thread; requests on one container are serialised inside.
 */
#ifndef UVFIO_IOMMU_TYPE1_H
#define UVFIO_IOMMU_TYPE1_H

#include <linux/vfio.h>
#include "iommu/space.h"

struct type1;

/* How the client's memory gets here: the door's, see vfio/client.h.  Fills *@mem with a malloc'ed
 * array of pieces (the fds stay the door's until ->release) and *@nr.  0, -EFAULT for an address
 * that is not mapped or lacks the access @prot, -ENOMEM over the locked-memory limit. */
struct type1_memory_ops {
	int (*import)(void *client, uint64_t vaddr, uint64_t size, unsigned prot,
		      struct iommu_mem **mem, unsigned *nr);
	void (*release)(void *client, struct iommu_mem *mem, unsigned nr);
};

struct type1 *type1_new(bool v2, uint64_t dma_entry_limit);
void type1_free(struct type1 *t1);
struct iommu_space *type1_space(struct type1 *t1);
uint64_t type1_entries_available(struct type1 *t1);

/* D.2 MAP, from `argsz` to pinning.  @argsz_min: sizes as in the kernel. */
int type1_map(struct type1 *t1, const struct vfio_iommu_type1_dma_map *req,
	      const struct type1_memory_ops *ops, void *client);
/* D.2 UNMAP without dirty tracking.  On success req->size is the number of bytes unmapped. */
int type1_unmap(struct type1 *t1, struct vfio_iommu_type1_dma_unmap *req);
/* IOMMU_GET_INFO: the whole answer (struct and capability chain: migration is left out until dirty
 * tracking exists, DMA_AVAIL, IOVA_RANGE) as the kernel lays it out for @argsz; writes at most @argsz
 * bytes to @buf (@buf_len ≥ 4096) and returns how many to copy back, or -EINVAL. */
int type1_get_info(struct type1 *t1, uint32_t argsz, void *buf, size_t buf_len);

#endif
