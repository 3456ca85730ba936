/* SPDX-License-Identifier: BSD-3-Clause */
/* Which addresses an IOAS may use (D.3): reserved and allowed ranges, and choosing one. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "iommu/ioas_private.h"

#define HUGE_PAGE (2ull << 20) /* beyond that, alignment helps nobody */

uint64_t ioas_alignment(const struct ioas *ioas)
{
	return ioas->nr_domains || ioas->small_pages ? IOMMU_PAGE_SIZE : 1;
}

static unsigned usable(const struct ioas *ioas, struct ioas_range out[IOAS_MAX_RANGES])
{
	const uint64_t last = ioas->nr_domains ? IOMMU_IOVA_LAST : UINT64_MAX;

	if (!ioas->nr_devices) {
		out[0] = (struct ioas_range){0, last};
		return 1;
	}
	out[0] = (struct ioas_range){0, IOMMU_MSI_FIRST - 1};
	out[1] = (struct ioas_range){IOMMU_MSI_LAST + 1, last};
	return 2;
}

bool ioas_is_reserved(const struct ioas *ioas, uint64_t first, uint64_t last)
{
	struct ioas_range ranges[IOAS_MAX_RANGES];
	unsigned nr = usable(ioas, ranges);

	for (unsigned i = 0; i < nr; i++)
		if (first >= ranges[i].start && last <= ranges[i].last)
			return false;
	return true;
}

unsigned ioas_ranges(struct ioas *ioas, struct ioas_range out[IOAS_MAX_RANGES], uint64_t *alignment)
{
	unsigned nr;

	pthread_mutex_lock(&ioas->lock);
	nr = usable(ioas, out);
	*alignment = ioas_alignment(ioas);
	pthread_mutex_unlock(&ioas->lock);
	return nr;
}

uint64_t ioas_mapped(struct ioas *ioas, uint64_t iova, uint64_t last)
{
	uint64_t at = iova;

	pthread_mutex_lock(&ioas->lock);
	while (at - iova <= last - iova) {
		const struct ioas_area *area = areas_from(ioas->areas, at);

		if (!area || area->first > at || area->state != AREA_READY)
			break;
		at = (area->last < last ? area->last : last) + 1;
		if (!at || at > last)
			break;
	}
	pthread_mutex_unlock(&ioas->lock);
	return at - iova;
}

/* Does anything that is mapped or promised lie in [@first, @last]? */
static bool is_used(const struct ioas *ioas, uint64_t first, uint64_t last)
{
	const struct ioas_area *area = areas_from(ioas->areas, first);

	if (area && area->first <= last)
		return true;
	for (unsigned i = 0; i < ioas->nr_allowed; i++)
		if (ioas->allowed[i].start <= last && ioas->allowed[i].last >= first)
			return true;
	return false;
}

/* ---- the allow-list ---- */

int ioas_allow_add(struct ioas_allow *allow, const struct ioas_range *range)
{
	unsigned at = 0;

	if (range->start >= range->last)
		return -EINVAL;
	while (at < allow->nr && allow->ranges[at].last < range->start)
		at++;
	if (at < allow->nr && allow->ranges[at].start <= range->last)
		return -EINVAL;
	if (allow->nr == allow->room) {
		unsigned room = allow->room ? 2 * allow->room : 16;
		struct ioas_range *grown = room <= IOAS_MAX_ALLOWED
						   ? realloc(allow->ranges, room * sizeof(*grown))
						   : NULL;

		if (!grown)
			return -ENOMEM;
		allow->ranges = grown;
		allow->room = room;
	}
	memmove(&allow->ranges[at + 1], &allow->ranges[at],
		(allow->nr - at) * sizeof(allow->ranges[0]));
	allow->ranges[at] = *range;
	allow->nr++;
	return 0;
}

int ioas_allow_set(struct ioas *ioas, struct ioas_allow *allow)
{
	struct ioas_range *old = allow->ranges;
	int ret = 0;

	pthread_mutex_lock(&ioas->lock);
	for (unsigned i = 0; i < allow->nr && !ret; i++)
		if (ioas_is_reserved(ioas, allow->ranges[i].start, allow->ranges[i].last))
			ret = -EADDRINUSE;
	if (!ret) {
		old = ioas->allowed;
		ioas->allowed = allow->ranges;
		ioas->nr_allowed = allow->nr;
	}
	pthread_mutex_unlock(&ioas->lock);
	free(old);
	*allow = (struct ioas_allow){0};
	return ret;
}

/* ---- choosing an address ---- */

/* Does it fit into [@start, @last]?  The first place in there. */
static bool fits(uint64_t start, uint64_t last, uint64_t length, uint64_t align, uint64_t offset,
		 uint64_t *at)
{
	if (start > UINT64_MAX - (align - 1))
		return false;
	start = ((start + align - 1) & ~(align - 1)) | offset;
	if (start >= last || last - start < length - 1)
		return false;
	*at = start;
	return true;
}

/* The same between the areas in there. */
static bool fits_between(const struct ioas *ioas, uint64_t start, uint64_t last, uint64_t length,
			 uint64_t align, uint64_t offset, uint64_t *at)
{
	const struct ioas_area *area = areas_from(ioas->areas, start);

	for (; area && area->first <= last; area = areas_next(ioas->areas, area)) {
		if (area->first > start && fits(start, area->first - 1, length, align, offset, at))
			return true;
		if (area->last >= last)
			return false;
		start = area->last + 1;
	}
	return fits(start, last, length, align, offset, at);
}

static uint64_t power_of_two_above(uint64_t v)
{
	return v <= 1 ? 1 : 1ull << (64 - __builtin_clzll(v - 1));
}

int ioas_choose(struct ioas *ioas, uint64_t addr, uint64_t length, uint64_t *iova)
{
	const struct ioas_range any = {IOMMU_PAGE_SIZE, UINT64_MAX - IOMMU_PAGE_SIZE};
	const struct ioas_range *allowed = ioas->nr_allowed ? ioas->allowed : &any;
	unsigned nr_allowed = ioas->nr_allowed ? ioas->nr_allowed : 1;
	uint64_t offset = addr & (IOMMU_PAGE_SIZE - 1), align, own;
	struct ioas_range ranges[IOAS_MAX_RANGES];
	unsigned nr = usable(ioas, ranges);

	if (!length || length >= UINT64_MAX / 2)
		return -EOVERFLOW;
	own = addr ? addr & -addr : UINT64_MAX;
	align = power_of_two_above(length);
	align = align < own ? align : own;
	align = align < HUGE_PAGE ? align : HUGE_PAGE;
	if (align < ioas_alignment(ioas))
		return -EINVAL;
	for (unsigned i = 0; i < nr_allowed; i++) {
		uint64_t lo = allowed[i].start > any.start ? allowed[i].start : any.start;
		uint64_t hi = allowed[i].last < any.last ? allowed[i].last : any.last;

		for (unsigned k = 0; k < nr && lo <= hi; k++) {
			uint64_t start = ranges[k].start > lo ? ranges[k].start : lo;
			uint64_t last = ranges[k].last < hi ? ranges[k].last : hi;

			if (start <= last &&
			    fits_between(ioas, start, last, length, align, offset, iova))
				return 0;
		}
	}
	return -ENOSPC;
}

/* ---- what reserves ---- */

int ioas_device_add(struct ioas *ioas)
{
	int ret = 0;

	pthread_mutex_lock(&ioas->lock);
	if (is_used(ioas, IOMMU_MSI_FIRST, IOMMU_MSI_LAST))
		ret = -EADDRINUSE;
	else
		ioas->nr_devices++;
	pthread_mutex_unlock(&ioas->lock);
	return ret;
}

void ioas_device_del(struct ioas *ioas)
{
	pthread_mutex_lock(&ioas->lock);
	ioas->nr_devices--;
	pthread_mutex_unlock(&ioas->lock);
}

/* The areas without memory are given theirs, one by one.  Mutex held; released meanwhile. */
static int fill(struct ioas *ioas, const struct type1_memory_ops *ops, void *client, int32_t pid)
{
	struct ioas_area *area;
	int ret = 0;

	if (!ioas->nr_bare)
		return 0;
	for (uint64_t at = 0; !ret && (area = areas_from(ioas->areas, at)); at = area->last + 1) {
		struct iommu_mapping *m = NULL;

		if (area->m || area->state != AREA_READY)
			continue;
		area->state = AREA_FILLING;
		ioas->nr_filling++;
		pthread_mutex_unlock(&ioas->lock);
		ret = area_back(ioas, area, NULL, ops, client, pid, &m);
		pthread_mutex_lock(&ioas->lock);
		area->state = AREA_READY;
		ioas->nr_filling--;
		if (!ret && !m)
			ret = -EFAULT;
		if (!ret)
			area_publish(ioas, area, m);
	}
	return ret;
}

int ioas_domain_add(struct ioas *ioas, const struct type1_memory_ops *ops, void *client,
		    int32_t pid)
{
	int ret = 0;

	pthread_mutex_lock(&ioas->lock);
	if (is_used(ioas, IOMMU_IOVA_LAST + 1, UINT64_MAX) || ioas->nr_odd) {
		ret = -EADDRINUSE;
	} else {
		/* Whoever maps from here on brings the memory along. */
		ioas->nr_domains++;
		ret = fill(ioas, ops, client, pid);
		ioas->nr_domains -= ret != 0;
	}
	pthread_mutex_unlock(&ioas->lock);
	return ret;
}

void ioas_domain_del(struct ioas *ioas)
{
	pthread_mutex_lock(&ioas->lock);
	ioas->nr_domains--;
	pthread_mutex_unlock(&ioas->lock);
}

/* ---- large pages ---- */

int ioas_set_large_pages(struct ioas *ioas, bool on)
{
	int ret = 0;

	pthread_mutex_lock(&ioas->lock);
	if (on)
		ioas->small_pages = false;
	else if (!ioas->small_pages && ioas->nr_domains && ioas->areas)
		ret = -EINVAL;
	else if (!ioas->small_pages && ioas->nr_odd)
		ret = -EADDRINUSE;
	else
		ioas->small_pages = true;
	pthread_mutex_unlock(&ioas->lock);
	return ret;
}

bool ioas_large_pages(struct ioas *ioas)
{
	bool on;

	pthread_mutex_lock(&ioas->lock);
	on = !ioas->small_pages;
	pthread_mutex_unlock(&ioas->lock);
	return on;
}
