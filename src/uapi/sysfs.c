/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * One lock is over all functions: comparing one costs about as much as taking it.  The snapshot is
 * taken under that lock, so that an older one never overwrites a newer.
 */
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "pci/pci.h"
#include "uapi/sysfs.h"

#define MAX_FUNCTIONS 256u

struct function {
	struct vfio_device *dev;
	int fd;
	unsigned size;
	uint8_t bytes[PCI_EXT_CONFIG_SIZE]; /* what the file holds */
};

struct uapi_sysfs {
	pthread_mutex_t lock;
	unsigned nr;
	struct function functions[];
};

struct uapi_sysfs *uapi_sysfs_new(struct vfio_machine *machine, int dir)
{
	struct vfio_device *devs[MAX_FUNCTIONS];
	unsigned nr = vfio_machine_devices(machine, devs, MAX_FUNCTIONS);
	struct uapi_sysfs *sysfs;

	if (nr > MAX_FUNCTIONS)
		nr = MAX_FUNCTIONS;
	sysfs = calloc(1, sizeof(*sysfs) + nr * sizeof(sysfs->functions[0]));
	if (!sysfs)
		return NULL;
	pthread_mutex_init(&sysfs->lock, NULL);
	for (unsigned i = 0; i < nr; i++) {
		struct function *f = &sysfs->functions[sysfs->nr];
		char path[64];

		snprintf(path, sizeof(path), "%s/config", vfio_device_name(devs[i]));
		f->fd = openat(dir, path, O_WRONLY | O_CLOEXEC | O_NOFOLLOW);
		if (f->fd < 0)
			continue;
		f->dev = devs[i];
		f->size = pci_func_config_size(vfio_device_func(devs[i]));
		sysfs->nr++;
	}
	uapi_sysfs_refresh(sysfs);
	return sysfs;
}

void uapi_sysfs_free(struct uapi_sysfs *sysfs)
{
	if (!sysfs)
		return;
	for (unsigned i = 0; i < sysfs->nr; i++)
		close(sysfs->functions[i].fd);
	pthread_mutex_destroy(&sysfs->lock);
	free(sysfs);
}

/* Only from the first byte that differs to the last: a reader at the same time sees little torn. */
static void refresh(struct function *f)
{
	uint8_t now[PCI_EXT_CONFIG_SIZE];
	unsigned first = 0, end = f->size;

	vfio_device_hw_config(f->dev, now);
	if (!memcmp(now, f->bytes, f->size))
		return;
	while (now[first] == f->bytes[first])
		first++;
	while (now[end - 1] == f->bytes[end - 1])
		end--;
	/* When that fails, it is tried again with the next change. */
	if (pwrite(f->fd, now + first, end - first, first) == (ssize_t)(end - first))
		memcpy(f->bytes, now, f->size);
}

void uapi_sysfs_refresh(struct uapi_sysfs *sysfs)
{
	if (!sysfs)
		return;
	pthread_mutex_lock(&sysfs->lock);
	for (unsigned i = 0; i < sysfs->nr; i++)
		refresh(&sysfs->functions[i]);
	pthread_mutex_unlock(&sysfs->lock);
}
