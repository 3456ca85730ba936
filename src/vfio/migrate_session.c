/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Files of sessions of migration data (E.3): what doors read from and write to.
 *
 * Theory of operation.  A client may keep such a file for as long as it likes, also when its
 * session has ended, and that must hold up nobody who takes the device away.  So a file counts as a
 * user of its device until the device's last close, which ends every session: then the device lets
 * its files go, and they answer ENODEV by themselves.
 *
 * A file is its door's and its device's, a reference each.  Under its lock: ->dev, and how many
 * calls are with the device; the device lets go when there is none.  A device's list of its files
 * is under machine->lock, which is taken before no other.
 */
#include <errno.h>
#include <stdlib.h>
#include "vfio/machine_private.h"

struct vfio_migration_file {
	struct vfio_migration_file *next; /* in the device's list */
	pthread_mutex_t lock;
	pthread_cond_t idle;
	struct vfio_device *dev; /* NULL: it has let go */
	unsigned calls, refs;
	bool saves;            /* constant */
	struct mig_data *data; /* the device's, too: NULL when it has let go */
};

struct vfio_migration_file *migration_file_new(struct vfio_device *dev, struct mig_data *data)
{
	struct vfio_migration_file *file = calloc(1, sizeof(*file));

	if (!file) {
		pthread_mutex_lock(&dev->config_lock);
		mig_data_put(data);
		pthread_mutex_unlock(&dev->config_lock);
		return NULL;
	}
	pthread_mutex_init(&file->lock, NULL);
	pthread_cond_init(&file->idle, NULL);
	file->dev = dev;
	file->refs = 2;
	file->data = data;
	file->saves = mig_data_saves(data);
	pthread_mutex_lock(&dev->machine->lock);
	dev->users++;
	file->next = dev->migration.files;
	dev->migration.files = file;
	pthread_mutex_unlock(&dev->machine->lock);
	return file;
}

static void file_put(struct vfio_migration_file *file)
{
	bool last;

	pthread_mutex_lock(&file->lock);
	last = --file->refs == 0;
	pthread_mutex_unlock(&file->lock);
	if (!last)
		return;
	pthread_cond_destroy(&file->idle);
	pthread_mutex_destroy(&file->lock);
	free(file);
}

/* The device for a call, with config_lock held; NULL: it is not there. */
static struct vfio_device *reach(struct vfio_migration_file *file)
{
	struct vfio_device *dev;

	pthread_mutex_lock(&file->lock);
	dev = file->dev;
	file->calls += dev != NULL;
	pthread_mutex_unlock(&file->lock);
	if (dev)
		pthread_mutex_lock(&dev->config_lock);
	return dev;
}

static void leave(struct vfio_migration_file *file, struct vfio_device *dev)
{
	pthread_mutex_unlock(&dev->config_lock);
	pthread_mutex_lock(&file->lock);
	if (!--file->calls)
		pthread_cond_broadcast(&file->idle);
	pthread_mutex_unlock(&file->lock);
}

/* The device's reference, when it has been taken out of its list. */
static void let_go(struct vfio_migration_file *file)
{
	struct vfio_device *dev = file->dev;

	pthread_mutex_lock(&file->lock);
	file->dev = NULL;
	while (file->calls)
		pthread_cond_wait(&file->idle, &file->lock);
	pthread_mutex_unlock(&file->lock);
	/* The session may go on; its data does so without a file. */
	pthread_mutex_lock(&dev->config_lock);
	mig_data_put(file->data);
	file->data = NULL;
	pthread_mutex_unlock(&dev->config_lock);
	file_put(file);
	device_put_user(dev);
}

struct vfio_migration_file *device_migration_files(struct vfio_device *dev)
{
	struct vfio_migration_file *files;

	pthread_mutex_lock(&dev->machine->lock);
	files = dev->migration.files;
	dev->migration.files = NULL;
	pthread_mutex_unlock(&dev->machine->lock);
	return files;
}

void device_migration_let_go(struct vfio_migration_file *files)
{
	while (files) {
		struct vfio_migration_file *next = files->next;

		let_go(files);
		files = next;
	}
}

/* True: it was there. */
static bool unlist(struct vfio_device *dev, struct vfio_migration_file *file)
{
	struct vfio_migration_file **link = &dev->migration.files;
	bool found;

	pthread_mutex_lock(&dev->machine->lock);
	while (*link && *link != file)
		link = &(*link)->next;
	found = *link;
	if (found)
		*link = file->next;
	pthread_mutex_unlock(&dev->machine->lock);
	return found;
}

void vfio_migration_release(struct vfio_migration_file *file)
{
	struct vfio_device *dev = reach(file);
	bool listed;

	if (dev) {
		/* While this call is with it the device does not go. */
		pthread_mutex_unlock(&dev->config_lock);
		listed = unlist(dev, file);
		pthread_mutex_lock(&dev->config_lock);
		leave(file, dev);
		if (listed)
			let_go(file);
	}
	file_put(file);
}

/* ---- data ---- */

/* One that was pulled out has no state any more. */
static bool is_there(const struct vfio_device *dev)
{
	return dev && !device_is_cut(dev);
}

ssize_t vfio_migration_read(struct vfio_migration_file *file, void *buf, size_t len)
{
	struct vfio_device *dev;
	ssize_t ret;

	do {
		dev = reach(file);
		ret = is_there(dev) ? mig_data_read(file->data, buf, len) : -ENODEV;
		if (dev)
			leave(file, dev);
	} while (ret == -EAGAIN);
	return ret;
}

ssize_t vfio_migration_write(struct vfio_migration_file *file, const void *buf, size_t len)
{
	struct vfio_device *dev = reach(file);
	struct uvfio_error err;
	ssize_t ret = -ENODEV;

	if (!dev)
		return ret;
	if (is_there(dev))
		ret = mig_data_write(file->data, buf, len, &err);
	if (ret < 0 && ret != -ENODEV && ret != -EBADF)
		uvfio_device_log((struct uvfio_device *)dev, UVFIO_LOG_WARN, "migration: %s",
				 err.msg);
	leave(file, dev);
	return ret;
}

bool vfio_migration_saves(const struct vfio_migration_file *file)
{
	return file->saves;
}

bool vfio_migration_readable(struct vfio_migration_file *file)
{
	struct vfio_device *dev;
	int readable;

	do {
		dev = reach(file);
		readable = is_there(dev) ? mig_data_readable(file->data) : true;
		if (dev)
			leave(file, dev);
	} while (readable == -EAGAIN);
	return readable;
}

int vfio_migration_ioctl(struct vfio_migration_file *file, struct vfio_client *client, unsigned cmd,
			 uint64_t arg)
{
	struct uvfio_precopy_info info;
	struct vfio_device *dev;
	struct mig_left left;
	bool reinit = false;
	int ret;

	if (cmd != UVFIO_MIG_GET_PRECOPY_INFO)
		return -ENOTTY;
	if (client->ops->copy_from(client, &info, arg, sizeof(info)))
		return -EFAULT;
	if (info.argsz < sizeof(info))
		return -EINVAL;
	dev = reach(file);
	ret = is_there(dev) ? mig_data_left(file->data, &left) : -ENODEV;
	if (dev) {
		reinit = dev->migration.reinit;
		leave(file, dev);
	}
	if (ret)
		return ret;
	/* To who knows that they are an answer; else they stay as they were written.  Nothing here
	 * begins anew. */
	if (reinit)
		info.flags = 0;
	info.initial_bytes = left.initial;
	info.dirty_bytes = left.dirty;
	return client->ops->copy_to(client, arg, &info, sizeof(info)) ? -EFAULT : 0;
}
