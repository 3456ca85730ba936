/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Migration as a client sees it (A.10: features 1, 2, 9 and 12; E.3): the state, and sessions of
 * data that doors have files for.
 *
 * A file holds its device as an open of it does, so that the device is there for whoever reads;
 * whether its session is, is found out at each call.
 */
#include <errno.h>
#include <stdlib.h>
#include "vfio/machine_private.h"

struct vfio_migration_file {
	struct vfio_device *dev;
	struct mig_data *data;
};

/* The user of @dev that a file is; its own user is there. */
static struct vfio_migration_file *file_new(struct vfio_device *dev)
{
	struct vfio_migration_file *file = calloc(1, sizeof(*file));

	if (!file)
		return NULL;
	file->dev = dev;
	pthread_mutex_lock(&dev->machine->lock);
	dev->users++;
	pthread_mutex_unlock(&dev->machine->lock);
	return file;
}

void vfio_migration_release(struct vfio_migration_file *file)
{
	struct vfio_device *dev = file->dev;

	if (file->data) {
		pthread_mutex_lock(&dev->config_lock);
		mig_data_put(file->data);
		pthread_mutex_unlock(&dev->config_lock);
	}
	device_put_user(dev);
	free(file);
}

/* ---- the features ---- */

int device_migration_get(struct vfio_device *dev, struct vfio_client *client, uint64_t data)
{
	struct vfio_device_feature_migration get = {migration_can(dev->migration.m)};

	return client->ops->copy_to(client, data, &get, sizeof(get)) ? -EFAULT : 0;
}

int device_migration_size(struct vfio_device *dev, struct vfio_client *client, uint64_t data)
{
	struct uvfio_feature_mig_data_size get;

	pthread_mutex_lock(&dev->config_lock);
	get.stop_copy_length = migration_size(dev->migration.m);
	pthread_mutex_unlock(&dev->config_lock);
	return client->ops->copy_to(client, data, &get, sizeof(get)) ? -EFAULT : 0;
}

int device_migration_reinit(struct vfio_device *dev)
{
	pthread_mutex_lock(&dev->config_lock);
	dev->migration.reinit = true;
	pthread_mutex_unlock(&dev->config_lock);
	return 0;
}

int device_migration_state_get(struct vfio_device *dev, struct vfio_client *client, uint64_t data)
{
	struct vfio_device_feature_mig_state state = {.data_fd = -1};

	/* The kernel reads it, too. */
	if (client->ops->copy_from(client, &state, data, sizeof(state)))
		return -EFAULT;
	state.data_fd = -1;
	pthread_mutex_lock(&dev->config_lock);
	state.device_state = migration_state(dev->migration.m);
	pthread_mutex_unlock(&dev->config_lock);
	return client->ops->copy_to(client, data, &state, sizeof(state)) ? -EFAULT : 0;
}

int device_migration_change(struct vfio_device *dev, unsigned target, struct mig_data **data)
{
	enum mig_state before = migration_state(dev->migration.m);
	struct uvfio_error err;
	int ret;

	*data = NULL;
	if (device_is_cut(dev))
		return -EIO;
	err.msg[0] = '\0';
	if (vfio_device_place(dev) != VFIO_HERE)
		ret = uvfio_error_set(&err, -EBUSY, "an operator is moving it");
	else
		ret = migration_set(dev->migration.m, target, data, &err);
	if (ret)
		uvfio_device_log((struct uvfio_device *)dev, UVFIO_LOG_WARN,
				 "migration: from %s to %s: %s", mig_state_name(before),
				 mig_state_name(target), err.msg);
	return ret;
}

static int set_state(struct vfio_device *dev, unsigned target, struct vfio_migration_file **out)
{
	struct vfio_migration_file *file = file_new(dev);
	int ret;

	if (!file)
		return -ENOMEM;
	pthread_mutex_lock(&dev->config_lock);
	ret = device_migration_change(dev, target, &file->data);
	pthread_mutex_unlock(&dev->config_lock);
	if (ret || !file->data) {
		vfio_migration_release(file);
		return ret;
	}
	*out = file;
	return 0;
}

int device_migration_state_set(struct vfio_device *dev, struct vfio_client *client, uint64_t data)
{
	struct vfio_device_feature_mig_state state;
	struct vfio_migration_file *file = NULL;
	int ret;

	if (client->ops->copy_from(client, &state, data, sizeof(state)))
		return -EFAULT;
	ret = set_state(dev, state.device_state, &file);
	state.data_fd = -1;
	if (!ret && file) {
		/* What the client has been given cannot be taken back when it is not to be told. */
		if (client->ops->copy_to(client, data, &state, sizeof(state))) {
			vfio_migration_release(file);
			return -EFAULT;
		}
		ret = client->ops->give_migration(client, file, &state.data_fd);
	}
	if (client->ops->copy_to(client, data, &state, sizeof(state)) && !ret)
		ret = -EFAULT;
	return ret;
}

/* ---- data ---- */

ssize_t vfio_migration_read(struct vfio_migration_file *file, void *buf, size_t len)
{
	ssize_t ret;

	do {
		pthread_mutex_lock(&file->dev->config_lock);
		ret = mig_data_read(file->data, buf, len);
		pthread_mutex_unlock(&file->dev->config_lock);
	} while (ret == -EAGAIN);
	return ret;
}

ssize_t vfio_migration_write(struct vfio_migration_file *file, const void *buf, size_t len)
{
	struct uvfio_error err;
	ssize_t ret;

	pthread_mutex_lock(&file->dev->config_lock);
	ret = mig_data_write(file->data, buf, len, &err);
	pthread_mutex_unlock(&file->dev->config_lock);
	if (ret < 0 && ret != -ENODEV && ret != -EBADF)
		uvfio_device_log((struct uvfio_device *)file->dev, UVFIO_LOG_WARN, "migration: %s",
				 err.msg);
	return ret;
}

bool vfio_migration_saves(const struct vfio_migration_file *file)
{
	return mig_data_saves(file->data);
}

bool vfio_migration_readable(struct vfio_migration_file *file)
{
	int readable;

	do {
		pthread_mutex_lock(&file->dev->config_lock);
		readable = mig_data_readable(file->data);
		pthread_mutex_unlock(&file->dev->config_lock);
	} while (readable == -EAGAIN);
	return readable;
}

int vfio_migration_ioctl(struct vfio_migration_file *file, struct vfio_client *client, unsigned cmd,
			 uint64_t arg)
{
	struct uvfio_precopy_info info;
	struct mig_left left;
	bool reinit;
	int ret;

	if (cmd != UVFIO_MIG_GET_PRECOPY_INFO)
		return -ENOTTY;
	if (client->ops->copy_from(client, &info, arg, sizeof(info)))
		return -EFAULT;
	if (info.argsz < sizeof(info))
		return -EINVAL;
	pthread_mutex_lock(&file->dev->config_lock);
	ret = mig_data_left(file->data, &left);
	reinit = file->dev->migration.reinit;
	pthread_mutex_unlock(&file->dev->config_lock);
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
