/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Migration as a client sees it (A.10: features 1, 2, 9 and 12): the state.  Sessions of data are
 * in migrate_session.c.
 */
#include <errno.h>
#include <stdlib.h>
#include "vfio/machine_private.h"

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
	struct mig_data *data;
	int ret;

	pthread_mutex_lock(&dev->config_lock);
	ret = device_migration_change(dev, target, &data);
	pthread_mutex_unlock(&dev->config_lock);
	if (ret || !data)
		return ret;
	*out = migration_file_new(dev, data);
	return *out ? 0 : -ENOMEM;
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
