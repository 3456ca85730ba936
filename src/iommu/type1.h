/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The type1 rule set (D.2): which MAP and UNMAP requests are refused, in which order and with what
 * errno, for the interfaces TYPE1 (v1) and TYPE1v2.  The caller has copied the request from the
 * client once.
 *
 * Threads: any.  What the rules say is decided under the writer mutex of the space, so requests on
 * one container take effect one after the other.  Neither a slow import nor a slow transfer of a
 * range that is being unmapped holds up other requests: MAP reserves its range and its entry first,
 * imports without a lock, and publishes then; until it is published, the range answers EEXIST to
 * MAP, and UNMAP and devices do not see it.
 */
#ifndef UVFIO_IOMMU_TYPE1_H
#define UVFIO_IOMMU_TYPE1_H

#include <linux/vfio.h>
#include "iommu/bitmap.h"
#include "iommu/space.h"

struct type1;
struct iommu_account;

/* How the client's memory gets here: the door's, see vfio/client.h. */
struct type1_memory_ops {
	/* Fills *@mem with a malloc'ed array of pieces (the fds stay the door's until ->release)
	 * and
	 * *@nr.  0, -EFAULT for an address that is not mapped or lacks the access @prot (IOMMU_…;
	 * IOMMU_WRITE: the device writes it), -ENOMEM.  May take long; no lock is held. */
	int (*import)(void *client, uint64_t vaddr, uint64_t size, unsigned prot,
		      struct iommu_mem **mem, unsigned *nr);
	void (*release)(void *client, struct iommu_mem *mem, unsigned nr);
	/* Optional: how many bytes the client may lock (RLIMIT_MEMLOCK), UINT64_MAX with
	 * CAP_IPC_LOCK.  What is charged to its account counts against it: -ENOMEM. */
	uint64_t (*lock_limit)(void *client);
	/* Optional, asked after ->lock_limit when that is not UINT64_MAX: the account of the
	 * client's process, with a reference; NULL: there is no memory for it.  Without this
	 * function all that is mapped in a container is one account. */
	struct iommu_account *(*account)(void *client);
	/* Optional, as ->import: [@offset, +@size) of the client's file @fd, page aligned.  -EBADF
	 * when it has no such fd; -EINVAL when the file is no memory file, or ends before; -EPERM
	 * when it was not opened for that access. */
	int (*import_file)(void *client, int32_t fd, uint64_t offset, uint64_t size, unsigned prot,
			   struct iommu_mem **mem, unsigned *nr);
};

/* @dma_entry_limit is the budget from now on.  NULL when out of memory. */
struct type1 *type1_new(bool v2, uint64_t dma_entry_limit);
/*
 * Memory that can neither be pinned nor is recognised as a device's (->unpinnable; registers that
 * another driver mapped, say) is refused with EFAULT, as nothing would end its use when it goes.
 * After this call it is not, if @allow (strict_mmio_maps=N).  @remark is told each time: of the
 * client, and whether it was taken.  Before the first mapping.
 */
void type1_set_mmio(struct type1 *t1, bool allow,
		    void (*remark)(void *arg, void *client, bool taken), void *arg);
/* Nobody uses it any more. */
void type1_free(struct type1 *t1);
struct iommu_space *type1_space(struct type1 *t1);
uint64_t type1_entries_available(struct type1 *t1);
/* True while a mapping's address is invalidated: another group cannot be added (EBUSY, D.1).  Takes
 * no lock. */
bool type1_vaddr_invalid(struct type1 *t1);

/* D.2 MAP, from `argsz` to pinning. */
int type1_map(struct type1 *t1, const struct vfio_iommu_type1_dma_map *req,
	      const struct type1_memory_ops *ops, void *client);
/* D.2 UNMAP without a bitmap.  On success req->size is the number of bytes unmapped; on error
 * @req is unchanged.  Waits for the transfers of what it removed. */
int type1_unmap(struct type1 *t1, struct vfio_iommu_type1_dma_unmap *req);
/* The same for a thread that must not wait.  1: there are transfers to be waited for, which
 * type1_unmap_finish() does, once, before the client is answered; @req is complete. */
int type1_unmap_begin(struct type1 *t1, struct vfio_iommu_type1_dma_unmap *req,
		      struct iommu_detached *left);
void type1_unmap_finish(struct type1 *t1, struct iommu_detached *left);
/* When true, the caller fetches the struct vfio_bitmap behind the request (EFAULT when it cannot)
 * and calls type1_unmap_bitmap() in place of type1_unmap(). */
bool type1_unmap_wants_bitmap(const struct vfio_iommu_type1_dma_unmap *req);
int type1_unmap_bitmap(struct type1 *t1, struct vfio_iommu_type1_dma_unmap *req,
		       const struct vfio_bitmap *bitmap, const struct iommu_bitmap_io *io);
/* D.2 DIRTY_PAGES, of which the request is at the client's address @arg.  No lock is held while the
 * bitmap is written. */
int type1_dirty_pages(struct type1 *t1, uint64_t arg, const struct iommu_bitmap_io *io);
/* IOMMU_GET_INFO: the whole answer (struct and capability chain: migration, DMA_AVAIL, IOVA_RANGE)
 * as the kernel lays it out for @argsz (A.1); writes to @buf (@buf_len ≥ 4096) and returns how many
 * bytes to copy back, at most @argsz, or -EINVAL. */
int type1_get_info(struct type1 *t1, uint32_t argsz, void *buf, size_t buf_len);

#endif
