/* SPDX-License-Identifier: BSD-3-Clause */
/* What a request wants to be mapped: slices of pages; see ioas.h. */
#include <errno.h>
#include <stdlib.h>
#include "iommu/ioas_private.h"

static struct ioas_pages *pages_new(struct ioas_ctx *ctx, enum ioas_source source, uint64_t addr,
				    uint64_t length, int32_t pid, bool writable)
{
	struct ioas_pages *pages = calloc(1, sizeof(*pages));

	if (!pages)
		return NULL;
	pages->ctx = ctx;
	pages->refs = 1;
	pages->source = source;
	pages->addr = addr;
	pages->length = length;
	pages->pid = pid;
	pages->writable = writable;
	return pages;
}

void pages_put(struct ioas_pages *pages)
{
	if (!pages || __atomic_sub_fetch(&pages->refs, 1, __ATOMIC_ACQ_REL))
		return;
	pages_refund(pages);
	free(pages);
}

static void slice_free(struct ioas_slice *slice)
{
	if (slice->share.nr)
		space_share_drop(slice->pages->ctx->files, &slice->share);
	if (slice->nr_mem || slice->mem)
		slice->ops->release(slice->client, slice->mem, slice->nr_mem);
	if (slice->area)
		area_free(slice->pages->ctx, slice->area);
	pages_put(slice->pages);
	free(slice);
}

void ioas_slices_drop(struct ioas_slices *slices)
{
	struct ioas_slice *slice;

	while ((slice = slices->head)) {
		slices->head = slice->next;
		slice_free(slice);
	}
	*slices = (struct ioas_slices){0};
}

static struct ioas_slice *slice_add(struct ioas_slices *slices, struct ioas_pages *pages,
				    uint64_t start, uint64_t length)
{
	struct ioas_slice *slice = pages ? calloc(1, sizeof(*slice)) : NULL;

	if (!slice)
		return NULL;
	slice->pages = pages;
	slice->start = start;
	slice->length = length;
	if (slices->tail)
		slices->tail->next = slice;
	else
		slices->head = slice;
	slices->tail = slice;
	slices->length += length;
	return slice;
}

int ioas_slices_user(struct ioas_ctx *ctx, uint64_t addr, uint64_t length, unsigned prot,
		     int32_t pid, struct ioas_slices *out)
{
	struct ioas_pages *pages;

	*out = (struct ioas_slices){0};
	if (length > UINT64_MAX - addr)
		return -EOVERFLOW;
	if (!length || length > UINT64_MAX - IOMMU_PAGE_SIZE)
		return -EINVAL;
	pages = pages_new(ctx, IOAS_USER, addr, length, pid, prot & IOMMU_WRITE);
	if (!slice_add(out, pages, 0, length)) {
		pages_put(pages);
		return -ENOMEM;
	}
	return 0;
}

int ioas_slices_file(struct ioas_ctx *ctx, int32_t fd, uint64_t start, uint64_t length,
		     unsigned prot, const struct type1_memory_ops *ops, void *client,
		     struct ioas_slices *out)
{
	uint64_t lo = start & ~(IOMMU_PAGE_SIZE - 1), hi;
	struct ioas_pages *pages;
	struct ioas_slice *slice;
	bool sane = length <= UINT64_MAX / 4 && start <= UINT64_MAX / 4;

	*out = (struct ioas_slices){0};
	pages = pages_new(ctx, IOAS_FILE, start, length, 0, prot & IOMMU_WRITE);
	slice = slice_add(out, pages, 0, length);
	if (!slice) {
		pages_put(pages);
		return -ENOMEM;
	}
	slice->ops = ops;
	slice->client = client;
	/* No file is as large, but a descriptor that is none is found first. */
	hi = sane ? (start + length + IOMMU_PAGE_SIZE - 1) & ~(IOMMU_PAGE_SIZE - 1)
		  : lo + IOMMU_PAGE_SIZE;
	slice->error = ops->import_file ? ops->import_file(client, fd, lo, hi - lo, prot,
							   &slice->mem, &slice->nr_mem)
					: -EINVAL;
	if (slice->error != -EBADF && sane)
		return 0;
	sane = slice->error != -EBADF;
	ioas_slices_drop(out);
	return sane ? -EINVAL : -EBADF;
}

int ioas_slices_device(struct ioas_ctx *ctx, uint64_t start, uint64_t length, unsigned prot,
		       struct iommu_mem *mem, const struct type1_memory_ops *ops,
		       struct ioas_slices *out)
{
	struct ioas_pages *pages;
	struct ioas_slice *slice;

	*out = (struct ioas_slices){0};
	pages = pages_new(ctx, IOAS_DEVICE, start, length, 0, prot & IOMMU_WRITE);
	slice = slice_add(out, pages, 0, length);
	if (!slice) {
		pages_put(pages);
		ops->release(NULL, mem, 1);
		return -ENOMEM;
	}
	slice->ops = ops;
	slice->mem = mem;
	slice->nr_mem = 1;
	return 0;
}

/* The memory behind [@off, +@length) of @area goes along when whole pages are taken. */
static int share_of(const struct ioas_area *area, uint64_t off, uint64_t length,
		    struct ioas_slice *slice)
{
	if (!area->m || ((off | length) & (IOMMU_PAGE_SIZE - 1)))
		return 0;
	return space_share(area->m, off, length, &slice->share);
}

int ioas_slices_of(struct ioas *ioas, uint64_t iova, uint64_t length, struct ioas_slices *out)
{
	uint64_t last, at = iova;
	int ret = 0;

	*out = (struct ioas_slices){0};
	if (!length)
		return -EINVAL;
	if (length - 1 > UINT64_MAX - iova)
		return -EOVERFLOW;
	last = iova + length - 1;
	pthread_mutex_lock(&ioas->lock);
	while (!ret && out->length < length) {
		struct ioas_area *area = areas_from(ioas->areas, at);
		uint64_t off, n;
		struct ioas_slice *slice;

		if (!area || area->first > at || area->state != AREA_READY) {
			ret = -ENOENT;
			break;
		}
		off = at - area->first;
		n = (area->last < last ? area->last : last) - at + 1;
		slice = slice_add(out, area->pages, area->start + off, n);
		if (!slice) {
			ret = -ENOMEM;
			break;
		}
		__atomic_fetch_add(&area->pages->refs, 1, __ATOMIC_RELAXED);
		ret = share_of(area, off, n, slice);
		at += n;
	}
	pthread_mutex_unlock(&ioas->lock);
	if (ret)
		ioas_slices_drop(out);
	return ret;
}
