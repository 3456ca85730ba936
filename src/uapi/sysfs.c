/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A function's lock is over its file, so that an older snapshot never overwrites a newer.  A device
 * may be in a reset for as long as its backend likes, and then its config space is not to be had:
 * only a request on that device waits for it.  Others leave a mark, and whoever ends a request
 * looks for marks.
 */
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "pci/pci.h"
#include "uapi/sysfs.h"

#define MAX_FUNCTIONS 256u

struct function {
	struct uapi_core *core;
	const struct uapi_device *dev;
	pthread_mutex_t lock;
	atomic_bool stale; /* the file is to be looked at */
	int fd;
	unsigned size;
	uint8_t bytes[PCI_EXT_CONFIG_SIZE]; /* what the file holds */
};

struct uapi_sysfs {
	atomic_uint marks; /* functions that may be stale */
	unsigned nr;
	struct function functions[];
};

struct uapi_sysfs *uapi_sysfs_new(struct uapi_core *core, int dir)
{
	unsigned nr = core->nr_devices;
	struct uapi_sysfs *sysfs;

	sysfs = calloc(1, sizeof(*sysfs) + nr * sizeof(sysfs->functions[0]));
	for (unsigned i = 0; sysfs && i < nr && i < MAX_FUNCTIONS; i++) {
		struct function *f = &sysfs->functions[sysfs->nr];
		char path[64];

		snprintf(path, sizeof(path), "%s/config", core->devices[i].name);
		f->fd = openat(dir, path, O_WRONLY | O_CLOEXEC | O_NOFOLLOW);
		if (f->fd < 0)
			continue;
		f->dev = &core->devices[i];
		f->core = core;
		pthread_mutex_init(&f->lock, NULL);
		f->size = core->devices[i].config_size;
		sysfs->nr++;
	}
	uapi_sysfs_refresh(sysfs, NULL);
	return sysfs;
}

void uapi_sysfs_free(struct uapi_sysfs *sysfs)
{
	if (!sysfs)
		return;
	for (unsigned i = 0; i < sysfs->nr; i++) {
		close(sysfs->functions[i].fd);
		pthread_mutex_destroy(&sysfs->functions[i].lock);
	}
	free(sysfs);
}

/* Only from the first byte that differs to the last: a reader at the same time sees little torn.
 * False when the function is busy; locked. */
static bool refresh(struct function *f, bool wait)
{
	uint8_t now[PCI_EXT_CONFIG_SIZE];
	unsigned first = 0, end = f->size;

	memcpy(now, f->bytes, f->size);
	if (!f->core->ops->hw_config(f->core, f->dev, now, wait))
		return false;
	if (!memcmp(now, f->bytes, f->size))
		return true;
	while (now[first] == f->bytes[first])
		first++;
	while (now[end - 1] == f->bytes[end - 1])
		end--;
	/* When that fails, it is tried again with the next change. */
	if (pwrite(f->fd, now + first, end - first, first) == (ssize_t)(end - first))
		memcpy(f->bytes, now, f->size);
	return true;
}

static void mark(struct uapi_sysfs *sysfs, struct function *f)
{
	if (!atomic_exchange(&f->stale, true))
		atomic_fetch_add(&sysfs->marks, 1);
}

/* Who has the lock looks for a mark after giving it back, so one that comes meanwhile is not lost.
 */
static void catch_up(struct uapi_sysfs *sysfs, struct function *f)
{
	bool done = true;

	while (done && atomic_load(&f->stale) && !pthread_mutex_trylock(&f->lock)) {
		if (atomic_exchange(&f->stale, false))
			atomic_fetch_sub(&sysfs->marks, 1);
		done = refresh(f, false);
		if (!done)
			mark(sysfs, f);
		pthread_mutex_unlock(&f->lock);
	}
}

void uapi_sysfs_catch_up(struct uapi_sysfs *sysfs)
{
	if (!sysfs || !atomic_load(&sysfs->marks))
		return;
	for (unsigned i = 0; i < sysfs->nr; i++)
		catch_up(sysfs, &sysfs->functions[i]);
}

void uapi_sysfs_refresh(struct uapi_sysfs *sysfs, const struct uapi_device *own)
{
	if (!sysfs)
		return;
	for (unsigned i = 0; i < sysfs->nr; i++) {
		struct function *f = &sysfs->functions[i];

		/* Each look is a message then, and a request concerns its own group. */
		if (own && !f->core->machine && f->dev->group != own->group)
			continue;
		if (f->dev == own) {
			pthread_mutex_lock(&f->lock);
			refresh(f, true);
			pthread_mutex_unlock(&f->lock);
		} else {
			mark(sysfs, f);
		}
		catch_up(sysfs, f);
	}
}
