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

struct function {
	struct uapi_core *core;
	const struct uapi_device *dev;
	pthread_mutex_t lock;
	atomic_bool stale; /* the file is to be looked at */
	int dir;           /* the directory of all */
	unsigned size;
	uint8_t bytes[PCI_EXT_CONFIG_SIZE]; /* what the file holds */
};

struct uapi_sysfs {
	atomic_uint marks; /* functions that may be stale */
	int dir;
	unsigned nr;
	struct function functions[];
};

struct uapi_sysfs *uapi_sysfs_new(struct uapi_core *core, int dir)
{
	unsigned nr = core->nr_devices;
	struct uapi_sysfs *sysfs;

	sysfs = calloc(1, sizeof(*sysfs) + nr * sizeof(sysfs->functions[0]));
	if (sysfs)
		sysfs->dir = fcntl(dir, F_DUPFD_CLOEXEC, 3);
	for (unsigned i = 0; sysfs && i < nr; i++) {
		struct function *f = &sysfs->functions[sysfs->nr];

		f->dir = sysfs->dir;
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
	for (unsigned i = 0; i < sysfs->nr; i++)
		pthread_mutex_destroy(&sysfs->functions[i].lock);
	if (sysfs->dir >= 0)
		close(sysfs->dir);
	free(sysfs);
}

/* There may be thousands, so they are not kept open. */
static bool write_config(const struct function *f, const uint8_t *bytes, size_t len, unsigned off)
{
	char path[64];
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), "%s/config", f->dev->name);
	fd = openat(f->dir, path, O_WRONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	if (fd < 0)
		return false;
	n = pwrite(fd, bytes, len, off);
	close(fd);
	return n == (ssize_t)len;
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
	if (write_config(f, now + first, end - first, first))
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

/* May a request on @own change config space of @f?  Functions of one bus are reset together, those
 * of a PF with it; each look at a joined machine is a message. */
static bool concerns(const struct function *f, const struct uapi_device *own)
{
	const size_t bus = strlen("0000:00:");

	if (f->dev->group == own->group || !strcmp(f->dev->pf, own->name))
		return true;
	return f->core->machine && !own->pf[0] && !strncmp(f->dev->name, own->name, bus);
}

void uapi_sysfs_refresh(struct uapi_sysfs *sysfs, const struct uapi_device *own)
{
	if (!sysfs)
		return;
	for (unsigned i = 0; i < sysfs->nr; i++) {
		struct function *f = &sysfs->functions[i];

		if (own && !concerns(f, own))
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
