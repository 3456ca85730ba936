/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The host maps a BAR, as through `resourceN` in sysfs (host.h).
 *
 * Theory of operation.  What is mapped is the device's view file, and a mapping is a device file
 * like VFIO's: the door asks vfio_device_mmap(), and brings stores to vfio_device_store().  But it
 * opens nothing, so it neither keeps the device from being removed nor from being opened: VFIO's
 * open takes the BARs for itself (as a kernel with CONFIG_IO_STRICT_DEVMEM has it), and its
 * session has a view of its own.  From then on, and when the device goes, the old mapping answers
 * SIGBUS.  Where a memory access would be refused because memory decode is off, the host reads
 * ones: it is past the rules of A.6.
 *
 * Locks: dev->open_lock → maps->lock → dev->config_lock.  maps->guard is held for reading by who
 * uses the device through such a file, for writing by who takes it away; within it, reg_lock.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>
#include "vfio/host.h"
#include "vfio/machine_private.h"

struct host_maps {
	pthread_mutex_t lock;
	pthread_rwlock_t guard;
	unsigned refs;           /* the device and its files */
	struct vfio_device *dev; /* NULL: it has gone */
	struct vfio_device_file *files;
};

int host_maps_init(struct vfio_device *dev)
{
	struct host_maps *maps = calloc(1, sizeof(*maps));
	pthread_rwlockattr_t attr;

	if (!maps)
		return -ENOMEM;
	pthread_mutex_init(&maps->lock, NULL);
	/* Or clients that always have a store under way would keep the device.  Nobody who has it
	 * for reading asks for it again. */
	pthread_rwlockattr_init(&attr);
	pthread_rwlockattr_setkind_np(&attr, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
	pthread_rwlock_init(&maps->guard, &attr);
	pthread_rwlockattr_destroy(&attr);
	maps->refs = 1;
	maps->dev = dev;
	dev->host_maps = maps;
	return 0;
}

/* maps->lock held, which is let go of. */
static void put_locked(struct host_maps *maps)
{
	bool last = --maps->refs == 0;

	pthread_mutex_unlock(&maps->lock);
	if (!last)
		return;
	pthread_rwlock_destroy(&maps->guard);
	pthread_mutex_destroy(&maps->lock);
	free(maps);
}

/* maps->lock held. */
static void revoke_locked(struct host_maps *maps)
{
	struct vfio_device *dev = maps->dev;
	struct vfio_device_file *df;

	if (!maps->files)
		return;
	for (df = maps->files; df; df = df->next)
		vfio_device_file_set_mmio(df, VFIO_MMIO_EXACT);
	pthread_rwlock_wrlock(&maps->guard);
	while ((df = maps->files)) {
		maps->files = df->next;
		df->dev = NULL;
	}
	pthread_rwlock_unlock(&maps->guard);
	pthread_mutex_lock(&dev->config_lock);
	dev->host_mapped = false;
	view_fini(dev);
	pthread_mutex_unlock(&dev->config_lock);
}

void host_maps_revoke(struct vfio_device *dev)
{
	struct host_maps *maps = dev->host_maps;

	pthread_mutex_lock(&maps->lock);
	revoke_locked(maps);
	pthread_mutex_unlock(&maps->lock);
}

void host_maps_fini(struct vfio_device *dev)
{
	struct host_maps *maps = dev->host_maps;

	if (!maps)
		return;
	pthread_mutex_lock(&maps->lock);
	revoke_locked(maps);
	maps->dev = NULL;
	put_locked(maps);
}

struct vfio_device *file_enter(struct vfio_device_file *df)
{
	if (df->maps)
		pthread_rwlock_rdlock(&df->maps->guard);
	return df->dev;
}

void file_leave(struct vfio_device_file *df)
{
	if (df->maps)
		pthread_rwlock_unlock(&df->maps->guard);
}

/* open_lock held. */
static int enter_file(struct vfio_device *dev, struct vfio_device_file *df)
{
	struct host_maps *maps = dev->host_maps;
	bool cut = device_is_cut(dev);

	if (cut || (dev->open_count && !dev->uio_open))
		return cut ? -ENODEV : -EINVAL;
	df->dev = dev;
	df->maps = maps;
	pthread_mutex_lock(&maps->lock);
	maps->refs++;
	df->next = maps->files;
	maps->files = df;
	pthread_mutex_lock(&dev->config_lock);
	dev->host_mapped = true;
	pthread_mutex_unlock(&dev->config_lock);
	pthread_mutex_unlock(&maps->lock);
	return 0;
}

int vfio_device_host_open(struct vfio_device *dev, enum vfio_mmio_mode mode,
			  struct vfio_device_file **out, int *view)
{
	struct vfio_device_file *df = calloc(1, sizeof(*df));
	int ret, fd;

	if (!df)
		return -ENOMEM;
	pthread_mutex_lock(&dev->open_lock);
	ret = enter_file(dev, df);
	if (!ret) {
		/* A view that is sealed already stays so: what polls for stores finds none there,
		 * so that mode is not to be had. */
		ret = vfio_device_file_set_mmio(df, mode) ? -EINVAL : 0;
		fd = ret ? ret : vfio_device_view_fd(dev);
		*view = fd < 0 ? fd : fcntl(fd, F_DUPFD_CLOEXEC, 3);
		if (*view < 0)
			ret = fd < 0 ? fd : -errno;
	}
	pthread_mutex_unlock(&dev->open_lock);
	if (!ret) {
		*out = df;
		return 0;
	}
	if (df->maps)
		vfio_device_release(df);
	else
		free(df);
	return ret;
}

void vfio_device_host_revoke(struct vfio_device *dev)
{
	pthread_mutex_lock(&dev->open_lock);
	host_maps_revoke(dev);
	pthread_mutex_unlock(&dev->open_lock);
}

void host_map_release(struct vfio_device_file *df)
{
	struct host_maps *maps = df->maps;
	struct vfio_device_file **p = &maps->files;
	struct vfio_device *dev;

	pthread_mutex_lock(&maps->lock);
	dev = df->dev; /* changes under this lock only */
	if (dev) {
		vfio_device_file_set_mmio(df, VFIO_MMIO_EXACT);
		while (*p != df)
			p = &(*p)->next;
		*p = df->next;
	}
	if (dev && !maps->files) {
		pthread_mutex_lock(&dev->config_lock);
		dev->host_mapped = false;
		if (!dev->vconfig) /* else whoever has it open may look at it */
			view_fini(dev);
		pthread_mutex_unlock(&dev->config_lock);
	}
	put_locked(maps);
	free(df);
}
