/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * DMA spaces: which devices see one set of mappings, and which IOVAs all of them can use.
 *
 * Theory of operation.  A space has views, each of which is told of every mapping: the containers
 * and IOASes of its kernel devices, which several of them share, and the connection of each
 * vfio-user device.  A mapping notes in ->known which views have it.  Who maps holds ->change for
 * reading, so that maps and unmaps go on side by side; a view comes, goes, or begins anew (a server
 * that was restarted) while ->change is held for writing, and what it does not know then is mapped
 * there.
 *
 * A view whose server is gone is left out when others are told, and told in drv_space_renew().
 *
 * The usable IOVAs are what the ranges of all views have in common.  When that changes, the
 * allocator is made anew from the ranges and the mappings; a device to which a mapping is out of
 * reach cannot come.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include "driver/driver_private.h"

/* ---- ranges ---- */

static int append(void *arg, uint64_t first, uint64_t last)
{
	struct drv_ranges *r = arg;
	struct drv_range *more = realloc(r->list, (r->nr + 1) * sizeof(*more));

	if (!more)
		return -ENOMEM;
	r->list = more;
	more[r->nr++] = (struct drv_range){first, last};
	return 0;
}

/* Without page 0: an address of 0 is a mistake in most devices. */
static int add_range(struct drv_ranges *r, uint64_t first, uint64_t last)
{
	if (first < DRV_PAGE)
		first = DRV_PAGE;
	return first > last ? 0 : drv_iova_usable(first, last, append, r);
}

int drv_view_add_range(struct drv_view *view, uint64_t first, uint64_t last)
{
	return add_range(&view->ranges, first, last);
}

static void clear_ranges(struct drv_ranges *r)
{
	free(r->list);
	*r = (struct drv_ranges){0};
}

static int by_first(const void *a, const void *b)
{
	uint64_t x = ((const struct drv_range *)a)->first, y = ((const struct drv_range *)b)->first;

	return x < y ? -1 : x > y;
}

static bool in_order(struct drv_ranges *r)
{
	if (r->nr)
		qsort(r->list, r->nr, sizeof(*r->list), by_first);
	for (unsigned i = 0; i < r->nr; i++)
		if (r->list[i].last < r->list[i].first ||
		    (i && r->list[i].first <= r->list[i - 1].last))
			return false;
	return true;
}

/* Leave in @r what it has in common with @other. */
static int intersect(struct drv_ranges *r, const struct drv_ranges *other)
{
	struct drv_ranges common = {0};
	unsigned i = 0, j = 0;

	while (i < r->nr && j < other->nr) {
		const struct drv_range *a = &r->list[i], *b = &other->list[j];
		uint64_t first = a->first > b->first ? a->first : b->first;
		uint64_t last = a->last < b->last ? a->last : b->last;

		if (first <= last && append(&common, first, last)) {
			clear_ranges(&common);
			return -ENOMEM;
		}
		if (a->last < b->last)
			i++;
		else
			j++;
	}
	clear_ranges(r);
	*r = common;
	return 0;
}

static bool same_ranges(const struct drv_ranges *a, const struct drv_ranges *b)
{
	return a->nr == b->nr && (!a->nr || !memcmp(a->list, b->list, a->nr * sizeof(*a->list)));
}

/* ---- the allocator ---- */

static struct drv_mapping *next_mapping(const struct uvfio_dma_space *space, uint64_t *at)
{
	struct extent *e = extent_ceiling(&space->mappings, *at);

	if (e)
		*at = e->last + 1;
	return (struct drv_mapping *)e;
}

#define for_each_mapping(space, m)                                                                 \
	for (uint64_t at_ = 0, end_ = 0; !end_ && ((m) = next_mapping(space, &at_)); end_ = !at_)

/* [->lock held] Make the allocator for @ranges anew, around what is mapped.  0; -EADDRNOTAVAIL when
 * a mapping, *@first, is outside; -ENOMEM. */
static int rebuild(struct uvfio_dma_space *space, const struct drv_ranges *ranges,
		   uint64_t page_size, struct drv_range *outside)
{
	struct drv_iova fresh = {0};
	struct drv_mapping *m;
	int ret = 0;

	for (unsigned i = 0; i < ranges->nr && !ret; i++)
		ret = drv_iova_add(&fresh, ranges->list[i].first, ranges->list[i].last);
	for_each_mapping(space, m)
	{
		uint64_t size = m->at.last - m->at.first + 1;

		if (ret)
			break;
		if ((m->at.first | size) & (page_size - 1))
			ret = -EADDRINUSE;
		else
			ret = drv_iova_take(&fresh, m->at.first, size, &m->next_token);
		if (ret == -EADDRINUSE) {
			*outside = (struct drv_range){m->at.first, m->at.last};
			ret = -EADDRNOTAVAIL;
		}
	}
	for_each_mapping(space, m)
	{
		if (ret) {
			free(m->next_token.spare);
		} else {
			free(m->iova_token.spare);
			m->iova_token = m->next_token;
		}
		m->next_token.spare = NULL;
	}
	if (ret) {
		drv_iova_fini(&fresh);
		return ret;
	}
	drv_iova_fini(&space->iova);
	space->iova = fresh;
	return 0;
}

/* [->change held for writing] Find out what all views have in common.  When this fails, all is as
 * before. */
static int reckon(struct uvfio_dma_space *space, struct drv_range *outside)
{
	struct drv_ranges ranges = {0};
	uint64_t page_size = DRV_PAGE;
	int ret = add_range(&ranges, 0, UINT64_MAX);

	for (struct drv_view *v = space->views; v && !ret; v = v->next) {
		if (v->page_size > page_size)
			page_size = v->page_size;
		ret = intersect(&ranges, &v->ranges);
	}
	pthread_mutex_lock(&space->lock);
	if (!ret && (page_size > space->page_size || !same_ranges(&ranges, &space->ranges)))
		ret = rebuild(space, &ranges, page_size, outside);
	if (!ret) {
		struct drv_ranges old = space->ranges;

		space->ranges = ranges;
		space->page_size = page_size;
		ranges = old;
	}
	pthread_mutex_unlock(&space->lock);
	clear_ranges(&ranges);
	return ret;
}

unsigned uvfio_dma_space_ranges(struct uvfio_dma_space *space, uint64_t *first, uint64_t *last,
				unsigned max)
{
	unsigned nr;

	pthread_mutex_lock(&space->lock);
	nr = space->ranges.nr;
	for (unsigned i = 0; i < nr && i < max; i++) {
		first[i] = space->ranges.list[i].first;
		last[i] = space->ranges.list[i].last;
	}
	pthread_mutex_unlock(&space->lock);
	return nr;
}

unsigned uvfio_pci_dma_ranges(struct uvfio_pci *dev, uint64_t *first, uint64_t *last, unsigned max)
{
	return uvfio_dma_space_ranges(dev->space, first, last, max);
}

/* ---- make and free ---- */

static void space_free(struct uvfio_dma_space *space)
{
	while (space->mappings.root) {
		struct drv_mapping *m = (struct drv_mapping *)space->mappings.root;

		extent_remove(&space->mappings, &m->at);
		if (m->arena)
			munmap(m->addr, m->at.last - m->at.first + 1);
		drv_mapping_free(m);
	}
	if (space->arena_fd >= 0)
		close(space->arena_fd);
	drv_iova_fini(&space->arena);
	drv_iova_fini(&space->iova);
	clear_ranges(&space->ranges);
	pthread_mutex_destroy(&space->lock);
	pthread_rwlock_destroy(&space->change);
	free(space);
}

static struct uvfio_dma_space *space_new(struct uvfio_error *err)
{
	struct uvfio_dma_space *space = calloc(1, sizeof(*space));
	struct drv_range outside;
	pthread_rwlockattr_t attr;

	if (!space) {
		uvfio_error_set(err, -ENOMEM, "no memory");
		return NULL;
	}
	atomic_init(&space->refs, 1);
	space->arena_fd = -1;
	space->page_size = DRV_PAGE;
	pthread_mutex_init(&space->lock, NULL);
	/* Or a steady stream of maps would keep a device out. */
	pthread_rwlockattr_init(&attr);
	pthread_rwlockattr_setkind_np(&attr, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
	pthread_rwlock_init(&space->change, &attr);
	pthread_rwlockattr_destroy(&attr);
	/* drv_iova_add() leaves out the interrupt window, which a file does not have: the loss of
	 * 1 MiB of offsets is none. */
	if (drv_iova_add(&space->arena, 0, DRV_ARENA_MAX - 1) || reckon(space, &outside)) {
		space_free(space);
		uvfio_error_set(err, -ENOMEM, "no memory");
		return NULL;
	}
	return space;
}

static void space_unref(struct uvfio_dma_space *space)
{
	if (atomic_fetch_sub(&space->refs, 1) == 1)
		space_free(space);
}

int uvfio_dma_space_new(struct uvfio_dma_space **out, struct uvfio_error *err)
{
	struct uvfio_dma_space *space = space_new(err);

	if (!space)
		return -ENOMEM;
	*out = space;
	return 0;
}

void uvfio_dma_space_free(struct uvfio_dma_space *space)
{
	if (space)
		space_unref(space);
}

struct uvfio_dma_space *uvfio_pci_dma_space(const struct uvfio_pci *dev)
{
	return dev->space;
}

int drv_space_init(struct uvfio_pci *dev, struct uvfio_error *err)
{
	if (dev->space) {
		atomic_fetch_add(&dev->space->refs, 1);
		return 0;
	}
	dev->space = space_new(err);
	if (!dev->space)
		return -ENOMEM;
	dev->space->owner = dev;
	return 0;
}

/* ---- views ---- */

struct drv_view *drv_view_new(struct uvfio_pci *dev, void *place, struct uvfio_error *err)
{
	struct uvfio_dma_space *space = dev->space;
	struct drv_view *view;

	if (!~space->bits) {
		uvfio_error_set(err, -ENOSPC,
				"%s: its DMA space has %u connections or containers, "
				"which are the most",
				dev->name, DRV_MAX_VIEWS);
		return NULL;
	}
	view = calloc(1, sizeof(*view));
	if (!view) {
		uvfio_error_set(err, -ENOMEM, "no memory");
		return NULL;
	}
	view->ops = dev->ops;
	view->space = space;
	view->place = place;
	view->page_size = DRV_PAGE;
	view->bit = ~space->bits & (space->bits + 1); /* the lowest that is free */
	space->bits |= view->bit;
	view->next = space->views;
	space->views = view;
	drv_view_join(dev, view);
	return view;
}

void drv_view_join(struct uvfio_pci *dev, struct drv_view *view)
{
	view->devices++;
	dev->view = view;
}

void drv_view_forget(struct drv_view *view)
{
	struct drv_mapping *m;

	pthread_mutex_lock(&view->space->lock);
	for_each_mapping(view->space, m) m->known &= ~view->bit;
	pthread_mutex_unlock(&view->space->lock);
}

static void view_free(struct drv_view *view)
{
	struct uvfio_dma_space *space = view->space;
	struct drv_view **link = &space->views;

	while (*link != view)
		link = &(*link)->next;
	*link = view->next;
	space->bits &= ~view->bit;
	clear_ranges(&view->ranges);
	free(view);
}

/* [->change held for writing] Map at @view what it does not know. */
static int tell_all(struct uvfio_pci *dev, struct drv_view *view, struct uvfio_error *err)
{
	struct drv_mapping *m;

	/* Nobody else changes the set. */
	for_each_mapping(view->space, m)
	{
		int ret;

		if (m->known & view->bit)
			continue;
		ret = view->ops->dma_map(view, m);
		if (ret)
			return drv_map_error(dev, err, ret, m->at.last - m->at.first + 1, NULL);
		m->known |= view->bit;
	}
	return 0;
}

static int attach_locked(struct uvfio_pci *dev, struct uvfio_error *err)
{
	struct uvfio_dma_space *space = dev->space;
	struct drv_range outside = {0};
	int ret = dev->ops->attach(dev, err);

	if (ret)
		return ret;
	if (!in_order(&dev->view->ranges))
		return uvfio_error_set(err, -EPROTO, "%s: its ranges of IOVAs overlap", dev->name);
	if (!space->owner && !dev->view->ranges.nr)
		return uvfio_error_set(err, -EOPNOTSUPP,
				       "%s: it has no IOMMU (no-IOMMU mode), so it cannot be in a "
				       "DMA space with others",
				       dev->name);
	ret = reckon(space, &outside);
	if (ret == -EADDRNOTAVAIL)
		return uvfio_error_set(
			err, ret,
			"%s: IOVAs %#llx to %#llx, which are mapped in its DMA "
			"space, are out of its reach, or not whole pages of its; open "
			"it before they are mapped",
			dev->name, (unsigned long long)outside.first,
			(unsigned long long)outside.last);
	if (ret)
		return uvfio_error_set(err, ret, "%s: no memory", dev->name);
	if (!space->owner && !space->ranges.nr)
		return uvfio_error_set(err, -EADDRNOTAVAIL,
				       "%s: it has no usable IOVAs in common with the other "
				       "devices of its DMA space",
				       dev->name);
	return tell_all(dev, dev->view, err);
}

/* [->change held for writing] */
static void detach_locked(struct uvfio_pci *dev)
{
	struct drv_view *view = dev->view;
	struct drv_range outside;

	dev->ops->close(dev);
	dev->view = NULL;
	if (!view || --view->devices)
		return;
	/* Unless all ends: more is usable now.  If there is no memory to reckon with, it stays. */
	if (atomic_load(&dev->space->refs) > 1)
		drv_view_forget(view);
	view_free(view);
	if (atomic_load(&dev->space->refs) > 1)
		(void)reckon(dev->space, &outside);
}

int drv_space_attach(struct uvfio_pci *dev, struct uvfio_error *err)
{
	int ret;

	pthread_rwlock_wrlock(&dev->space->change);
	ret = attach_locked(dev, err);
	pthread_rwlock_unlock(&dev->space->change);
	return ret;
}

void drv_space_leave(struct uvfio_pci *dev)
{
	struct uvfio_dma_space *space = dev->space;

	if (!space)
		return;
	if (dev->way) {
		/* Who maps may wait for this one. */
		if (dev->ops->hang_up)
			dev->ops->hang_up(dev);
		pthread_rwlock_wrlock(&space->change);
		detach_locked(dev);
		pthread_rwlock_unlock(&space->change);
	}
	dev->space = NULL;
	space_unref(space);
}

int drv_space_renew(struct uvfio_pci *dev, struct uvfio_error *err)
{
	int ret;

	pthread_rwlock_wrlock(&dev->space->change);
	ret = tell_all(dev, dev->view, err);
	pthread_rwlock_unlock(&dev->space->change);
	return ret;
}
