/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The type1 rules (D.2), but for dirty pages (type1_dirty.c).  Each check stands where its place in
 * the order of the rules is; all the rest is the mechanism's.
 *
 * MAP:   checks ─ reserve range and entry ─ (no lock) import, lock limit, memory ─ publish
 *                                              └─ any failure: cancel, refund
 * UNMAP: checks, take out ─ (no lock) wait for the transfers ─ refund
 */
#include <assert.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include "iommu/type1_private.h"

#define MAP_FLAGS (VFIO_DMA_MAP_FLAG_READ | VFIO_DMA_MAP_FLAG_WRITE | VFIO_DMA_MAP_FLAG_VADDR)
#define UNMAP_FLAGS                                                                                \
	(VFIO_DMA_UNMAP_FLAG_GET_DIRTY_BITMAP | VFIO_DMA_UNMAP_FLAG_ALL | VFIO_DMA_UNMAP_FLAG_VADDR)
#define MAP_MIN   (offsetof(struct vfio_iommu_type1_dma_map, size) + sizeof(__u64))
#define UNMAP_MIN (offsetof(struct vfio_iommu_type1_dma_unmap, size) + sizeof(__u64))
#define INFO_MIN  (offsetof(struct vfio_iommu_type1_info, iova_pgsizes) + sizeof(__u64))
#define INFO_SIZE 24u

static_assert(MAP_FLAGS == (IOMMU_READ | IOMMU_WRITE | VFIO_DMA_MAP_FLAG_VADDR),
	      "the flags are the access rights");
static_assert(sizeof(struct vfio_iommu_type1_info) == INFO_SIZE, "as the kernel's");

struct type1 *type1_new(bool v2, uint64_t dma_entry_limit)
{
	struct type1 *t1 = calloc(1, sizeof(*t1));

	if (!t1)
		return NULL;
	t1->v2 = v2;
	t1->available = dma_entry_limit < IOMMU_MAX_MAPPINGS ? dma_entry_limit : IOMMU_MAX_MAPPINGS;
	t1->space = iommu_space_new(t1->available);
	if (!t1->space) {
		free(t1);
		return NULL;
	}
	return t1;
}

void type1_free(struct type1 *t1)
{
	if (!t1)
		return;
	type1_locked_free(t1);
	iommu_space_free(t1->space);
	free(t1);
}

void type1_set_mmio(struct type1 *t1, bool allow,
		    void (*remark)(void *arg, void *client, bool taken), void *arg)
{
	t1->allow_mmio = allow;
	t1->mmio_remark = remark;
	t1->mmio_arg = arg;
}

struct iommu_space *type1_space(struct type1 *t1)
{
	return t1->space;
}

uint64_t type1_entries_available(struct type1 *t1)
{
	uint64_t n;

	space_lock(t1->space);
	n = t1->available;
	space_unlock(t1->space);
	return n;
}

bool type1_vaddr_invalid(struct type1 *t1)
{
	return atomic_load(&t1->space->vaddr_invalid) != 0;
}

/* ---- MAP ---- */

static bool usable(uint64_t first, uint64_t last)
{
	return last <= IOMMU_IOVA_LAST && (last < IOMMU_MSI_FIRST || first > IOMMU_MSI_LAST);
}

/* 0 or -EFAULT for what cannot be pinned. */
static int judge(struct type1 *t1, const struct iommu_mem *mem, unsigned nr, void *client)
{
	unsigned i = 0;

	while (i < nr && !mem[i].unpinnable)
		i++;
	if (i == nr)
		return 0;
	if (t1->mmio_remark)
		t1->mmio_remark(t1->mmio_arg, client, t1->allow_mmio);
	return t1->allow_mmio ? 0 : -EFAULT;
}

/* Fetch the client's memory and put it behind @m.  No lock held. */
static int import(struct type1 *t1, struct iommu_mapping *m, uint64_t vaddr,
		  const struct type1_memory_ops *ops, void *client)
{
	struct iommu_mem *mem = NULL;
	unsigned nr = 0;
	int ret;

	ret = ops->import(client, vaddr, m->last - m->first + 1, m->prot, &mem, &nr);
	if (ret)
		return ret;
	ret = judge(t1, mem, nr, client);
	if (!ret)
		ret = space_back(t1->space, m, mem, nr);
	ops->release(client, mem, nr);
	return ret == -EINVAL ? -EFAULT : ret;
}

/* The mapping whose address @req replaces, or -ENOENT, -EINVAL.  Mutex held. */
static int find_invalidated(struct type1 *t1, const struct vfio_iommu_type1_dma_map *req,
			    struct iommu_mapping **out)
{
	uint64_t last = req->iova + req->size - 1;
	struct iommu_mapping *m = space_find(t1->space, req->iova, last);

	if (!m)
		return -ENOENT;
	if (!m->vaddr_invalid || m->first != req->iova || m->last != last)
		return -EINVAL;
	*out = m;
	return 0;
}

/*
 * MAP with VADDR.  The kernel goes on with the pages that it pinned, and looks at the new address
 * only when it pins again.  Here the mapping takes the memory at the new address, if there is any,
 * because memory of a process goes away with it; otherwise it keeps what it has.
 */
static int map_vaddr(struct type1 *t1, const struct vfio_iommu_type1_dma_map *req,
		     const struct type1_memory_ops *ops, void *client)
{
	struct iommu_space *space = t1->space;
	struct iommu_mapping *m, *spare = NULL;
	struct type1_payer payer = {NULL, 0};
	struct iommu_detached list;
	int ret, err;

	space_lock(space);
	ret = find_invalidated(t1, req, &m);
	if (!ret) {
		spare = space_spare(space, m);
		ret = spare ? 0 : -ENOMEM;
	}
	space_unlock(space);
	if (ret)
		return ret;

	err = import(t1, spare, req->vaddr, ops, client);
	ret = type1_payer(t1, ops, client, &payer);
	space_lock(space);
	/* It may have been unmapped or renewed meanwhile. */
	if (!ret)
		ret = find_invalidated(t1, req, &m);
	if (!ret && err && err != -EFAULT)
		ret = err;
	if (!ret) /* the memory is the caller's from now on */
		ret = type1_recharge(t1, m, err ? m : spare, &payer);
	if (ret || err) {
		if (!ret) {
			m->vaddr_invalid = false;
			space->vaddr_invalid--;
		}
		space_drop_spare(space, spare);
		space_unlock(space);
		type1_payer_put(&payer);
		return ret;
	}
	space_replace(space, m, spare, &list);
	space_unlock(space);
	type1_payer_put(&payer);
	space_replaced(space, spare, &list);
	return 0;
}

int type1_map(struct type1 *t1, const struct vfio_iommu_type1_dma_map *req,
	      const struct type1_memory_ops *ops, void *client)
{
	unsigned prot = req->flags & (IOMMU_READ | IOMMU_WRITE);
	bool vaddr = req->flags & VFIO_DMA_MAP_FLAG_VADDR;
	struct iommu_space *space = t1->space;
	uint64_t last = req->iova + req->size - 1;
	struct type1_payer payer = {NULL, 0};
	struct iommu_mapping *m;
	int ret;

	if (req->argsz < MAP_MIN || (req->flags & ~MAP_FLAGS))
		return -EINVAL;
	if (!req->size)
		return -EINVAL;
	if (type1_wraps(req->iova, req->size) || type1_wraps(req->vaddr, req->size))
		return -EOVERFLOW;
	if (vaddr ? prot : !prot)
		return -EINVAL;
	if (type1_misaligned(req->iova | req->vaddr | req->size))
		return -EINVAL;
	if (vaddr)
		return map_vaddr(t1, req, ops, client);

	space_lock(space);
	if (space_overlaps(space, req->iova, last))
		ret = -EEXIST;
	else if (!t1->available)
		ret = -ENOSPC;
	else if (!usable(req->iova, last))
		ret = -EINVAL;
	else
		ret = space_reserve(space, req->iova, last, prot, &m);
	if (!ret)
		t1->available--;
	space_unlock(space);
	if (ret)
		return ret;

	ret = import(t1, m, req->vaddr, ops, client);
	if (!ret)
		ret = type1_payer(t1, ops, client, &payer);
	space_lock(space);
	if (!ret)
		ret = type1_charge(t1, m, &payer);
	if (ret) {
		space_cancel(space, m);
		t1->available++;
	} else {
		space_publish(space, m);
	}
	space_unlock(space);
	type1_payer_put(&payer);
	return ret;
}

/* ---- UNMAP ---- */

bool type1_unmap_wants_bitmap(const struct vfio_iommu_type1_dma_unmap *req)
{
	return req->argsz >= UNMAP_MIN + sizeof(struct vfio_bitmap) &&
	       req->flags == VFIO_DMA_UNMAP_FLAG_GET_DIRTY_BITMAP;
}

bool type1_bisects(struct type1 *t1, uint64_t first, uint64_t last)
{
	const struct iommu_mapping *m = space_find(t1->space, first, first);

	if (m && m->first != first)
		return true;
	m = space_find(t1->space, last, last);
	return m && m->last != last;
}

/* UNMAP with VADDR: the addresses become invalid, the mappings stay.  If one is so already, nothing
 * changes.  Mutex held. */
static int invalidate(struct iommu_space *space, uint64_t iova, uint64_t last, uint64_t *bytes)
{
	uint64_t count = 0, end;
	struct iommu_mapping *m;

	*bytes = 0;
	for (uint64_t i = iova; i <= last && (m = space_find(space, i, last)); i = m->last + 1) {
		if (m->vaddr_invalid) {
			end = m->first;
			for (i = iova; i < end && (m = space_find(space, i, end - 1));
			     i = m->last + 1)
				m->vaddr_invalid = false;
			space->vaddr_invalid -= count;
			return -EINVAL;
		}
		m->vaddr_invalid = true;
		space->vaddr_invalid++;
		count++;
		*bytes += m->last - m->first + 1;
	}
	return 0;
}

void type1_unmap_finish(struct type1 *t1, struct iommu_detached *left)
{
	struct iommu_space *space = t1->space;

	space_finish(space, left);
	space_lock(space);
	t1->available += left->count;
	space_unlock(space);
}

/* @left NULL: wait. */
static int unmap(struct type1 *t1, struct vfio_iommu_type1_dma_unmap *req,
		 const struct vfio_bitmap *bitmap, const struct iommu_bitmap_io *io,
		 struct iommu_detached *left)
{
	bool all = req->flags & VFIO_DMA_UNMAP_FLAG_ALL;
	bool vaddr = req->flags & VFIO_DMA_UNMAP_FLAG_VADDR;
	bool dirty = req->flags & VFIO_DMA_UNMAP_FLAG_GET_DIRTY_BITMAP;
	uint64_t first = req->iova, last = all ? UINT64_MAX : req->iova + req->size - 1, bytes = 0;
	struct iommu_detached list = {0};
	struct iommu_space *space = t1->space;
	struct iommu_mapping *m;
	int ret = 0;

	if (req->argsz < UNMAP_MIN || (req->flags & ~UNMAP_FLAGS))
		return -EINVAL;
	if (dirty &&
	    (all || vaddr || !type1_unmap_wants_bitmap(req) || !type1_bitmap_ok(req->size, bitmap)))
		return -EINVAL;
	if (type1_misaligned(first))
		return -EINVAL;
	if (all ? first || req->size : !req->size || type1_misaligned(req->size))
		return -EINVAL;
	if (!all && type1_wraps(first, req->size))
		return -EOVERFLOW;

	space_lock(space);
	m = all ? NULL : space_find(space, first, first);
	if (dirty && (!t1->tracking || bitmap->pgsize != IOMMU_PAGE_SIZE))
		ret = -EINVAL;
	else if (t1->v2 && !all && type1_bisects(t1, first, last))
		ret = -EINVAL;
	else if (!t1->v2 && m && m->first != first)
		; /* starts inside a mapping: nothing further is examined */
	else if (vaddr)
		ret = invalidate(space, first, last, &bytes);
	else if (!dirty) {
		type1_refund_range(t1, first, last, !t1->v2);
		space_detach(space, first, last, !t1->v2, &list);
	}
	space_unlock(space);
	if (dirty && !ret)
		ret = type1_report(t1, first, last, (uint64_t)(uintptr_t)bitmap->data, io, &list);
	if (!vaddr)
		bytes = list.bytes;
	if (ret) {
		if (list.count)
			type1_unmap_finish(t1, &list);
		return ret;
	}
	req->size = bytes;
	if (!list.count)
		return 0;
	if (left && !space_is_quiet(space, &list)) {
		*left = list;
		return 1;
	}
	type1_unmap_finish(t1, &list);
	return 0;
}

int type1_unmap_bitmap(struct type1 *t1, struct vfio_iommu_type1_dma_unmap *req,
		       const struct vfio_bitmap *bitmap, const struct iommu_bitmap_io *io)
{
	return unmap(t1, req, bitmap, io, NULL);
}

int type1_unmap(struct type1 *t1, struct vfio_iommu_type1_dma_unmap *req)
{
	return unmap(t1, req, NULL, NULL, NULL);
}

int type1_unmap_begin(struct type1 *t1, struct vfio_iommu_type1_dma_unmap *req,
		      struct iommu_detached *left)
{
	return unmap(t1, req, NULL, NULL, left);
}

/* ---- GET_INFO ---- */

int type1_get_info(struct type1 *t1, uint32_t argsz, void *buf, size_t buf_len)
{
	struct {
		struct vfio_iommu_type1_info info;
		struct vfio_iommu_type1_info_cap_migration migration;
		struct vfio_iommu_type1_info_dma_avail avail;
		uint32_t pad;
		struct vfio_info_cap_header iova;
		uint32_t nr_iovas, reserved;
		struct vfio_iova_range range[2];
	} a = {
		.info =
			{
				.argsz = argsz,
				.flags = VFIO_IOMMU_INFO_PGSIZES | VFIO_IOMMU_INFO_CAPS,
				.iova_pgsizes = ~(IOMMU_PAGE_SIZE - 1),
			},
		.migration =
			{
				.header = {.id = VFIO_IOMMU_TYPE1_INFO_CAP_MIGRATION, .version = 1},
				.pgsize_bitmap = IOMMU_PAGE_SIZE,
				.max_dirty_bitmap_size = TYPE1_BITMAP_MAX,
			},
		.avail =
			{
				.header = {.id = VFIO_IOMMU_TYPE1_INFO_DMA_AVAIL, .version = 1},
				.avail = (uint32_t)type1_entries_available(t1),
			},
		.iova = {.id = VFIO_IOMMU_TYPE1_INFO_CAP_IOVA_RANGE, .version = 1},
		.nr_iovas = 2,
		.range =
			{
				{0, IOMMU_MSI_FIRST - 1},
				{IOMMU_MSI_LAST + 1, IOMMU_IOVA_LAST},
			},
	};
	size_t len = sizeof(a);

	if (argsz < INFO_MIN)
		return -EINVAL;
	if (argsz < sizeof(a)) {
		a.info.argsz = sizeof(a);
		len = argsz < INFO_SIZE ? argsz : INFO_SIZE;
	} else {
		a.info.cap_offset = INFO_SIZE;
		a.migration.header.next = (uint32_t)offsetof(__typeof__(a), avail);
		a.avail.header.next = (uint32_t)offsetof(__typeof__(a), iova);
	}
	assert(len <= buf_len);
	memcpy(buf, &a, len);
	return (int)len;
}
