/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * FEATURE (A.10): the frame, whose order of checks is a rule of its own, and the features.
 */
#include <errno.h>
#include <stdint.h>
#include <unistd.h>
#include "vfio/machine_private.h"

#define OP_MASK (VFIO_DEVICE_FEATURE_GET | VFIO_DEVICE_FEATURE_SET | VFIO_DEVICE_FEATURE_PROBE)

struct feature_call {
	struct vfio_client *client;
	uint64_t data; /* the client's address behind the header */
	bool set;
};

struct feature {
	unsigned index;
	unsigned ops;   /* VFIO_DEVICE_FEATURE_GET, _SET */
	unsigned bytes; /* of payload */
	int (*run)(struct vfio_device *dev, const struct feature_call *call);
};

static int low_power_entry(struct vfio_device *dev, const struct feature_call *call)
{
	return device_low_power_enter(dev, -1);
}

static int low_power_entry_with_wakeup(struct vfio_device *dev, const struct feature_call *call)
{
	struct vfio_device_low_power_entry_with_wakeup entry;
	int ret, fd;

	if (call->client->ops->copy_from(call->client, &entry, call->data, sizeof(entry)))
		return -EFAULT;
	if (entry.wakeup_eventfd < 0)
		return -EINVAL;
	fd = call->client->ops->get_eventfd(call->client, entry.wakeup_eventfd);
	if (fd < 0)
		return fd;
	ret = device_low_power_enter(dev, fd);
	if (ret)
		close(fd);
	return ret;
}

static int low_power_exit(struct vfio_device *dev, const struct feature_call *call)
{
	device_low_power_exit(dev);
	return 0;
}

static int logging_start(struct vfio_device *dev, const struct feature_call *call)
{
	return dma_logging_start(&dev->dma_logging, call->client, call->data);
}

static int logging_stop(struct vfio_device *dev, const struct feature_call *call)
{
	dma_logging_stop(&dev->dma_logging);
	return 0;
}

static int logging_report(struct vfio_device *dev, const struct feature_call *call)
{
	return dma_logging_report(&dev->dma_logging, call->client, call->data);
}

static int dma_buf(struct vfio_device *dev, const struct feature_call *call)
{
	return device_export_get(dev, call->client, call->data);
}

static int vf_token(struct vfio_device *dev, const struct feature_call *call)
{
	struct vfio_token token;
	int ret = -EFAULT;

	if (!call->client->ops->copy_from(call->client, &token, call->data, sizeof(token)))
		ret = vf_token_set(dev, &token);
	vfio_token_wipe(&token);
	return ret;
}

static int migration(struct vfio_device *dev, const struct feature_call *call)
{
	return device_migration_get(dev, call->client, call->data);
}

static int migration_device_state(struct vfio_device *dev, const struct feature_call *call)
{
	return call->set ? device_migration_state_set(dev, call->client, call->data)
			 : device_migration_state_get(dev, call->client, call->data);
}

static int migration_data_size(struct vfio_device *dev, const struct feature_call *call)
{
	return device_migration_size(dev, call->client, call->data);
}

static int precopy_info_v2(struct vfio_device *dev, const struct feature_call *call)
{
	return device_migration_reinit(dev);
}

static const struct feature features[] = {
	{VFIO_DEVICE_FEATURE_PCI_VF_TOKEN, VFIO_DEVICE_FEATURE_SET, sizeof(struct vfio_token),
	 vf_token},
	{VFIO_DEVICE_FEATURE_MIGRATION, VFIO_DEVICE_FEATURE_GET,
	 sizeof(struct vfio_device_feature_migration), migration},
	{VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE, VFIO_DEVICE_FEATURE_GET | VFIO_DEVICE_FEATURE_SET,
	 sizeof(struct vfio_device_feature_mig_state), migration_device_state},
	{VFIO_DEVICE_FEATURE_MIG_DATA_SIZE, VFIO_DEVICE_FEATURE_GET,
	 sizeof(struct uvfio_feature_mig_data_size), migration_data_size},
	{UVFIO_DEVICE_FEATURE_MIG_PRECOPY_INFO_V2, VFIO_DEVICE_FEATURE_SET, 0, precopy_info_v2},
	{VFIO_DEVICE_FEATURE_LOW_POWER_ENTRY, VFIO_DEVICE_FEATURE_SET, 0, low_power_entry},
	{VFIO_DEVICE_FEATURE_LOW_POWER_ENTRY_WITH_WAKEUP, VFIO_DEVICE_FEATURE_SET,
	 sizeof(struct vfio_device_low_power_entry_with_wakeup), low_power_entry_with_wakeup},
	{VFIO_DEVICE_FEATURE_LOW_POWER_EXIT, VFIO_DEVICE_FEATURE_SET, 0, low_power_exit},
	{VFIO_DEVICE_FEATURE_DMA_LOGGING_START, VFIO_DEVICE_FEATURE_SET,
	 sizeof(struct vfio_device_feature_dma_logging_control), logging_start},
	{VFIO_DEVICE_FEATURE_DMA_LOGGING_STOP, VFIO_DEVICE_FEATURE_SET, 0, logging_stop},
	{VFIO_DEVICE_FEATURE_DMA_LOGGING_REPORT, VFIO_DEVICE_FEATURE_GET,
	 sizeof(struct vfio_device_feature_dma_logging_report), logging_report},
	{VFIO_DEVICE_FEATURE_DMA_BUF, VFIO_DEVICE_FEATURE_GET, sizeof(struct uvfio_feature_dma_buf),
	 dma_buf},
};

static bool is_migration(unsigned index)
{
	return index == VFIO_DEVICE_FEATURE_MIGRATION ||
	       index == VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE ||
	       index == VFIO_DEVICE_FEATURE_MIG_DATA_SIZE;
}

/* PRE_COPY is what it wants. */
static bool has_pre_copy(const struct vfio_device *dev, const struct vfio_client *client)
{
	return device_migration_has_features(&dev->migration) && client->ops->give_migration &&
	       migration_can(dev->migration.m) & MIG_CAN_PRE_COPY;
}

static const struct feature *find_feature(const struct vfio_device *dev, unsigned index,
					  const struct vfio_client *client)
{
	if (index == VFIO_DEVICE_FEATURE_PCI_VF_TOKEN && !dev->token.own)
		return NULL;
	/* Through a door that can give no descriptor it is not compiled in. */
	if (index == VFIO_DEVICE_FEATURE_DMA_BUF && !client->ops->give_export)
		return NULL;
	if (is_migration(index) && (!device_migration_has_features(&dev->migration) ||
				    !client->ops->give_migration))
		return NULL;
	for (unsigned i = 0; i < ARRAY_SIZE(features); i++) {
		if (features[i].index == index)
			return &features[i];
	}
	return NULL;
}

int device_ioctl_feature(struct vfio_device *dev, struct vfio_client *client, uint64_t arg)
{
	const unsigned get_set = VFIO_DEVICE_FEATURE_GET | VFIO_DEVICE_FEATURE_SET;
	const struct feature *feature;
	struct vfio_device_feature hdr;
	unsigned index;

	if (client->ops->copy_from(client, &hdr, arg, sizeof(hdr)))
		return -EFAULT;
	if (hdr.argsz < sizeof(hdr) || hdr.flags & ~(VFIO_DEVICE_FEATURE_MASK | OP_MASK))
		return -EINVAL;
	if ((hdr.flags & OP_MASK) == get_set)
		return -EINVAL;
	index = hdr.flags & VFIO_DEVICE_FEATURE_MASK;
	/* Unlike the others it says with EINVAL that it is not there. */
	if (index == UVFIO_DEVICE_FEATURE_MIG_PRECOPY_INFO_V2 && !has_pre_copy(dev, client))
		return -EINVAL;
	feature = find_feature(dev, index, client);
	if (!feature)
		return -ENOTTY;
	if (is_migration(index))
		atomic_store(&dev->migration.asked, true);
	/* A driver that cannot export (D.4). */
	if (index == VFIO_DEVICE_FEATURE_DMA_BUF && device_quiet_mmio(dev))
		return -EOPNOTSUPP;
	if (hdr.flags & get_set & ~feature->ops)
		return -EINVAL;
	if (hdr.flags & VFIO_DEVICE_FEATURE_PROBE)
		return 0;
	if (!(hdr.flags & get_set) || hdr.argsz < sizeof(hdr) + feature->bytes)
		return -EINVAL;
	return feature->run(dev, &(struct feature_call){client, arg + sizeof(hdr),
							hdr.flags & VFIO_DEVICE_FEATURE_SET});
}
