/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The devices that a run knows of: those of its beginning, in core->devices, and those that it met
 * since, VFs above all.  What is open points to these, so they stay until the core goes; the same
 * device, gone and made anew, is met as the same again.  All that tells devices apart but the
 * number of their node does, which counts on.
 */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include "uapi/core.h"

#define BUCKETS   1024u
#define MAX_LATER 65536u

struct later {
	struct later *next;
	struct uapi_device dev;
};

struct uapi_later {
	pthread_mutex_t lock;
	unsigned nr;
	struct later *buckets[BUCKETS];
};

bool uapi_later_init(struct uapi_core *core)
{
	core->later = calloc(1, sizeof(*core->later));
	if (core->later)
		pthread_mutex_init(&core->later->lock, NULL);
	return core->later;
}

void uapi_later_free(struct uapi_core *core)
{
	struct uapi_later *later = core->later;

	for (unsigned i = 0; later && i < BUCKETS; i++) {
		for (struct later *l = later->buckets[i], *next; l; l = next) {
			next = l->next;
			free(l);
		}
	}
	if (later)
		pthread_mutex_destroy(&later->lock);
	free(later);
}

static unsigned hash(const char *name)
{
	unsigned h = 2166136261u;

	for (; *name; name++)
		h = (h ^ (unsigned char)*name) * 16777619u;
	return h % BUCKETS;
}

static bool same(const struct uapi_device *a, const struct uapi_device *b)
{
	bool bars = true;

	for (unsigned i = 0; i < 6; i++)
		bars &= a->bars[i].size == b->bars[i].size && a->bars[i].flags == b->bars[i].flags;
	return bars && !strcmp(a->name, b->name) && !strcmp(a->pf, b->pf) && a->group == b->group &&
	       a->noiommu == b->noiommu && a->mmio == b->mmio && a->config_size == b->config_size &&
	       a->rom_size == b->rom_size;
}

const struct uapi_device *uapi_core_find(const struct uapi_core *core, const char *name)
{
	for (unsigned i = 0; i < core->nr_devices; i++) {
		if (!strcmp(core->devices[i].name, name))
			return &core->devices[i];
	}
	return NULL;
}

const struct uapi_device *uapi_core_know(struct uapi_core *core, const struct uapi_device *dev)
{
	const struct uapi_device *first = uapi_core_find(core, dev->name), *found = NULL;
	struct later **bucket, *l;

	if (first && same(first, dev))
		return first;
	bucket = &core->later->buckets[hash(dev->name)];
	pthread_mutex_lock(&core->later->lock);
	for (l = *bucket; l && !found; l = l->next)
		if (same(&l->dev, dev))
			found = &l->dev;
	l = found || core->later->nr == MAX_LATER ? NULL : malloc(sizeof(*l));
	if (l) {
		l->dev = *dev;
		l->next = *bucket;
		*bucket = l;
		core->later->nr++;
		found = &l->dev;
	}
	pthread_mutex_unlock(&core->later->lock);
	return found;
}

const struct uapi_device *uapi_core_now(struct uapi_core *core, const char *name)
{
	struct uapi_device dev;

	return core->ops->describe(core, name, &dev) ? NULL : uapi_core_know(core, &dev);
}
