/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Cutting an area in two: what version 1 of the VFIO interface may unmap of one (D.3).
 *
 * Both halves get the memory of the whole before it goes, and devices that look up meanwhile find
 * one or the other.
 */
#include <errno.h>
#include "iommu/ioas_private.h"

struct cut {
	struct ioas_area *area;
	uint64_t at; /* the last byte of the lower half */
	struct iommu_mapping *m[2];
	struct iommu_share share[2];
};

/* Two mappings with the memory of the area's.  ioas->lock held, as for the others here. */
static int make_halves(struct ioas *ioas, struct cut *c)
{
	struct ioas_area *area = c->area;
	const uint64_t low = c->at - area->first + 1;
	int ret;

	ret = space_share(area->m, 0, low, &c->share[0]);
	if (!ret)
		ret = space_share(area->m, low, area->last - c->at, &c->share[1]);
	if (ret)
		return ret;
	space_lock(ioas->space);
	c->m[0] = space_spare_part(ioas->space, area->m, area->first, c->at);
	if (c->m[0])
		c->m[1] = space_spare_part(ioas->space, area->m, c->at + 1, area->last);
	space_unlock(ioas->space);
	if (!c->m[1])
		return -ENOMEM;
	ret = space_back_shared(ioas->space, c->m[0], &c->share[0]);
	return ret ? ret : space_back_shared(ioas->space, c->m[1], &c->share[1]);
}

static void drop_halves(struct ioas *ioas, struct cut *c)
{
	for (unsigned i = 0; i < 2; i++) {
		if (c->m[i])
			area_cancel(ioas, c->m[i]);
		if (c->share[i].nr)
			space_share_drop(ioas->ctx->files, &c->share[i]);
	}
}

static int cut_mapping(struct ioas *ioas, struct cut *c, struct iommu_detached *list)
{
	int ret = make_halves(ioas, c);

	if (!ret) {
		space_lock(ioas->space);
		ret = space_cut(ioas->space, c->area->m, c->m[0], c->m[1], list);
		space_unlock(ioas->space);
		if (ret) /* the memory is lost to devices, the area is not */
			c->area->m = NULL;
		ioas->nr_bare += ret != 0;
	}
	if (ret)
		drop_halves(ioas, c);
	return ret;
}

int ioas_cut(struct ioas *ioas, uint64_t iova)
{
	struct ioas_area *upper = area_new(ioas->ctx), *area;
	struct iommu_detached list = {0};
	struct cut c = {.at = iova};
	int ret = 0;

	if (!upper)
		return -ENOMEM;
	pthread_mutex_lock(&ioas->lock);
	c.area = area = areas_from(ioas->areas, iova);
	if (!area || area->first > iova || area->last == iova) {
		pthread_mutex_unlock(&ioas->lock);
		area_free(ioas->ctx, upper);
		return 0;
	}
	if (area->state == AREA_FILLING)
		ret = -EBUSY;
	else if (area->pages->source == IOAS_DEVICE)
		ret = -EOPNOTSUPP;
	else if ((iova + 1) & (ioas_alignment(ioas) - 1))
		ret = -EINVAL;
	else if (area->m)
		ret = cut_mapping(ioas, &c, &list);
	if (!ret) {
		upper->first = iova + 1;
		upper->last = area->last;
		upper->start = area->start + (iova + 1 - area->first);
		upper->prot = area->prot;
		upper->pages = area->pages;
		__atomic_fetch_add(&area->pages->refs, 1, __ATOMIC_RELAXED);
		ioas->nr_odd -= area_is_odd(area);
		area->last = iova;
		ioas->nr_odd += area_is_odd(area);
		area_enter(ioas, upper);
		upper->state = AREA_READY;
		ioas->nr_filling--;
		if (area->m) {
			area->m = c.m[0];
			upper->m = c.m[1];
			ioas->nr_bare--;
		}
	}
	pthread_mutex_unlock(&ioas->lock);
	space_finish(ioas->space, &list);
	for (unsigned i = 0; i < 2 && !ret && c.m[i]; i++)
		mapping_put(c.m[i], 0);
	if (ret)
		area_free(ioas->ctx, upper);
	return ret;
}
