/* SPDX-License-Identifier: BSD-3-Clause */
/* IOASs, their areas, MAP and UNMAP; see ioas.h. */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/random.h>
#include "iommu/ioas_private.h"

/* ---- contexts and spaces ---- */

struct ioas_ctx *ioas_ctx_new(void)
{
	struct ioas_ctx *ctx = calloc(1, sizeof(*ctx));

	if (!ctx)
		return NULL;
	ctx->files = files_new();
	if (!ctx->files) {
		free(ctx);
		return NULL;
	}
	ctx->refs = 1;
	pthread_mutex_init(&ctx->lock, NULL);
	return ctx;
}

void ioas_ctx_put(struct ioas_ctx *ctx)
{
	if (!ctx || __atomic_sub_fetch(&ctx->refs, 1, __ATOMIC_ACQ_REL))
		return;
	assert(!ctx->nr_areas);
	files_drop(ctx->files);
	pthread_mutex_destroy(&ctx->lock);
	free(ctx);
}

struct ioas *ioas_new(struct ioas_ctx *ctx)
{
	struct ioas *ioas = calloc(1, sizeof(*ioas));

	if (!ioas)
		return NULL;
	ioas->space = space_new(IOAS_MAX_AREAS, ctx->files);
	if (!ioas->space) {
		free(ioas);
		return NULL;
	}
	ioas->refs = 1;
	ioas->ctx = ctx;
	__atomic_fetch_add(&ctx->refs, 1, __ATOMIC_RELAXED);
	pthread_mutex_init(&ioas->lock, NULL);
	if (getrandom(&ioas->seed, sizeof(ioas->seed), GRND_NONBLOCK) != sizeof(ioas->seed))
		ioas->seed = (uintptr_t)ioas;
	ioas->seed |= 1;
	return ioas;
}

void ioas_get(struct ioas *ioas)
{
	__atomic_fetch_add(&ioas->refs, 1, __ATOMIC_RELAXED);
}

static void ioas_free(struct ioas *ioas)
{
	struct ioas_ctx *ctx = ioas->ctx;
	uint64_t bytes;

	ioas_unmap_all(ioas, &bytes);
	assert(!ioas->areas);
	iommu_space_free(ioas->space);
	pthread_mutex_destroy(&ioas->lock);
	free(ioas->allowed);
	free(ioas);
	ioas_ctx_put(ctx);
}

void ioas_put(struct ioas *ioas)
{
	if (ioas && !__atomic_sub_fetch(&ioas->refs, 1, __ATOMIC_ACQ_REL))
		ioas_free(ioas);
}

static void free_item(struct uvfio_trash_item *item)
{
	ioas_free((struct ioas *)((char *)item - offsetof(struct ioas, item)));
}

void ioas_put_later(struct ioas *ioas, struct uvfio_trash *trash)
{
	if (!ioas || __atomic_sub_fetch(&ioas->refs, 1, __ATOMIC_ACQ_REL))
		return;
	ioas->item.fn = free_item;
	uvfio_trash_add(trash, &ioas->item);
}

struct iommu_space *ioas_space(struct ioas *ioas)
{
	return ioas->space;
}

/* ---- areas ---- */

struct ioas_area *area_new(struct ioas_ctx *ctx)
{
	struct ioas_area *area = NULL;
	bool room;

	pthread_mutex_lock(&ctx->lock);
	room = ctx->nr_areas < IOAS_MAX_AREAS;
	ctx->nr_areas += room;
	pthread_mutex_unlock(&ctx->lock);
	if (room)
		area = calloc(1, sizeof(*area));
	if (room && !area)
		area_free(ctx, NULL);
	return area;
}

void area_free(struct ioas_ctx *ctx, struct ioas_area *area)
{
	pthread_mutex_lock(&ctx->lock);
	ctx->nr_areas--;
	pthread_mutex_unlock(&ctx->lock);
	if (area)
		pages_put(area->pages);
	free(area);
}

void area_enter(struct ioas *ioas, struct ioas_area *area)
{
	/* xorshift */
	ioas->seed ^= ioas->seed << 13;
	ioas->seed ^= ioas->seed >> 7;
	ioas->seed ^= ioas->seed << 17;
	area->priority = (uint32_t)(ioas->seed >> 32);
	area->state = AREA_FILLING;
	areas_insert(&ioas->areas, area);
	ioas->nr_areas++;
	ioas->nr_filling++;
	ioas->nr_bare++;
	ioas->nr_odd += area_is_odd(area);
}

void area_leave(struct ioas *ioas, struct ioas_area *area)
{
	areas_remove(&ioas->areas, area);
	ioas->nr_areas--;
	ioas->nr_filling -= area->state == AREA_FILLING;
	ioas->nr_bare -= !area->m;
	ioas->nr_odd -= area_is_odd(area);
}

uint64_t ioas_areas(struct ioas *ioas)
{
	uint64_t nr;

	pthread_mutex_lock(&ioas->lock);
	nr = ioas->nr_areas;
	pthread_mutex_unlock(&ioas->lock);
	return nr;
}

/* ---- MAP ---- */

static int check_fixed(struct ioas *ioas, uint64_t iova, uint64_t length)
{
	const struct ioas_area *area;
	uint64_t last;

	if (iova & (ioas_alignment(ioas) - 1))
		return -EINVAL;
	if (length - 1 > UINT64_MAX - iova)
		return -EOVERFLOW;
	last = iova + length - 1;
	if (ioas_is_reserved(ioas, iova, last))
		return -EINVAL;
	area = areas_from(ioas->areas, iova);
	return area && area->first <= last ? -EEXIST : 0;
}

/* Enter the areas of @slices, from @iova on.  Mutex held. */
static int place(struct ioas *ioas, struct ioas_slices *slices, unsigned prot, uint64_t iova)
{
	const uint64_t align = ioas_alignment(ioas);

	for (struct ioas_slice *s = slices->head; s; s = s->next) {
		struct ioas_area *area = s->area;

		if ((prot & IOMMU_WRITE) && !s->pages->writable)
			return -EPERM;
		if ((s->pages->addr + s->start) & (IOMMU_PAGE_SIZE - 1) & (align - 1))
			return -EINVAL;
		area->first = iova;
		area->last = iova + s->length - 1;
		area->start = s->start;
		area->prot = (uint8_t)prot;
		area->pages = s->pages;
		__atomic_fetch_add(&s->pages->refs, 1, __ATOMIC_RELAXED);
		area_enter(ioas, area);
		iova += s->length;
	}
	return 0;
}

static int find_place(struct ioas *ioas, struct ioas_slices *slices, bool fixed, unsigned prot,
		      uint64_t *iova)
{
	const struct ioas_slice *first = slices->head;
	int ret;

	if (!slices->length || slices->length & (ioas_alignment(ioas) - 1))
		return -EINVAL;
	ret = fixed ? check_fixed(ioas, *iova, slices->length)
		    : ioas_choose(ioas, first->pages->addr + first->start, slices->length, iova);
	return ret ? ret : place(ioas, slices, prot, *iova);
}

/* What was entered leaves again.  Mutex held. */
static void take_back(struct ioas *ioas, struct ioas_slices *slices)
{
	for (struct ioas_slice *s = slices->head; s; s = s->next) {
		if (!s->area || !s->area->pages)
			continue;
		if (s->m)
			area_cancel(ioas, s->m);
		s->m = NULL;
		area_leave(ioas, s->area);
	}
}

/* Memory that could not be had may come until there is a domain; and what has no right
 * (-EINVAL) is in nobody's way until then. */
static bool can_wait(const struct ioas *ioas, const struct ioas_slice *s, int error)
{
	return !ioas->nr_domains && s->pages->source == IOAS_USER &&
	       (error == -EFAULT || error == -ENOMEM || (error == -EINVAL && !s->area->prot));
}

static void publish_all(struct ioas *ioas, struct ioas_slices *slices)
{
	for (struct ioas_slice *s = slices->head; s; s = s->next) {
		s->area->state = AREA_READY;
		ioas->nr_filling--;
		if (s->m)
			area_publish(ioas, s->area, s->m);
		s->area = NULL;
	}
}

int ioas_map(struct ioas *ioas, struct ioas_slices *slices, bool fixed, unsigned prot,
	     uint64_t *iova, const struct type1_memory_ops *ops, void *client, int32_t pid)
{
	int ret = 0;

	for (struct ioas_slice *s = slices->head; s && !ret; s = s->next) {
		s->area = area_new(ioas->ctx);
		ret = s->area ? 0 : -ENOMEM;
	}
	if (ret) {
		ioas_slices_drop(slices);
		return ret;
	}
	pthread_mutex_lock(&ioas->lock);
	ret = find_place(ioas, slices, fixed, prot, iova);
	if (ret)
		take_back(ioas, slices);
	pthread_mutex_unlock(&ioas->lock);
	if (ret) {
		ioas_slices_drop(slices);
		return ret;
	}
	for (struct ioas_slice *s = slices->head; s; s = s->next)
		s->error = area_back(ioas, s->area, s, ops, client, pid, &s->m);
	pthread_mutex_lock(&ioas->lock);
	for (struct ioas_slice *s = slices->head; s && !ret; s = s->next)
		ret = s->error && !can_wait(ioas, s, s->error) ? s->error : 0;
	if (ret)
		take_back(ioas, slices);
	else
		publish_all(ioas, slices);
	pthread_mutex_unlock(&ioas->lock);
	ioas_slices_drop(slices);
	return ret;
}

/* ---- UNMAP ---- */

static int unmap(struct ioas *ioas, uint64_t first, uint64_t last, uint64_t *unmapped)
{
	uint64_t lo = UINT64_MAX, hi = 0;
	struct iommu_detached list = {0};
	struct ioas_area *area, *gone = NULL;
	int ret = 0;

	*unmapped = 0;
	pthread_mutex_lock(&ioas->lock);
	while ((area = areas_from(ioas->areas, first)) && area->first <= last) {
		if (area->state == AREA_FILLING)
			ret = -EBUSY;
		else if (area->first < first || area->last > last)
			ret = -ENOENT;
		else
			ret = 0;
		if (ret)
			break;
		area_leave(ioas, area);
		if (area->m) {
			lo = area->first < lo ? area->first : lo;
			hi = area->last;
		}
		*unmapped += area->last - area->first + 1;
		area->left = gone;
		gone = area;
	}
	if (lo <= hi) {
		space_lock(ioas->space);
		space_detach(ioas->space, lo, hi, false, &list);
		space_unlock(ioas->space);
	}
	pthread_mutex_unlock(&ioas->lock);
	space_finish(ioas->space, &list);
	while ((area = gone)) {
		gone = area->left;
		area_free(ioas->ctx, area);
	}
	return ret;
}

int ioas_unmap(struct ioas *ioas, uint64_t iova, uint64_t length, uint64_t *unmapped)
{
	*unmapped = 0;
	if (!length)
		return -EINVAL;
	if (length - 1 > UINT64_MAX - iova)
		return -EOVERFLOW;
	return unmap(ioas, iova, iova + length - 1, unmapped);
}

int ioas_unmap_all(struct ioas *ioas, uint64_t *unmapped)
{
	return unmap(ioas, 0, UINT64_MAX, unmapped);
}
