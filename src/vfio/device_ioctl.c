/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The ioctls of a device file (A.1): copying structures in and out, and what GET_INFO,
 * GET_REGION_INFO and GET_IRQ_INFO say.  What the others do is in the files named after them.
 */
#include <errno.h>
#include <string.h>
#include "vfio/iommufd_uapi.h"
#include "vfio/machine_private.h"

/* The structure up to the field that every caller must have. */
#define MIN_SIZE(type, field) (offsetof(type, field) + sizeof(((type *)0)->field))

static int get_info(struct vfio_device *dev, struct vfio_client *client, uint64_t arg)
{
	/* 24 bytes: older headers lack the padding at the end. */
	union {
		struct vfio_device_info info;
		uint8_t bytes[24];
	} out = {.bytes = {0}};
	size_t min = MIN_SIZE(struct vfio_device_info, num_irqs);
	struct vfio_device_info in = {0};

	if (client->ops->copy_from(client, &in, arg, min))
		return -EFAULT;
	if (in.argsz < min)
		return -EINVAL;
	out.info.argsz = in.argsz;
	out.info.flags = VFIO_DEVICE_FLAGS_PCI;
	if (dev->reset_works)
		out.info.flags |= VFIO_DEVICE_FLAGS_RESET;
	out.info.num_regions = vfio_device_nr_regions(dev);
	out.info.num_irqs = VFIO_PCI_NUM_IRQS;
	return client->ops->copy_to(client, arg, &out,
				    in.argsz < sizeof(out) ? in.argsz : sizeof(out))
		       ? -EFAULT
		       : 0;
}

/* ---- GET_REGION_INFO (A.6) ---- */

#define RW (VFIO_REGION_INFO_FLAG_READ | VFIO_REGION_INFO_FLAG_WRITE)

/* Size and flags; true when the MSIX_MAPPABLE capability belongs to it. */
static bool describe_bar(struct vfio_device *dev, enum vfio_mmio_mode mode,
			 struct vfio_region_info *info)
{
	const struct uvfio_pci_desc *desc = pci_func_desc(dev->func);
	const struct bar *bar = &dev->bars[info->index];

	info->size = bar->size;
	if (!bar->size)
		return false;
	info->flags = RW;
	if (!bar_mappable(dev, info->index, mode))
		return false;
	info->flags |= VFIO_REGION_INFO_FLAG_MMAP;
	return dev->msix_window && desc->msix_bar == info->index;
}

unsigned vfio_device_nr_regions(const struct vfio_device *dev)
{
	return VFIO_PCI_NUM_REGIONS + (dev->migration.region ? 1 : 0);
}

/* What it may have of capabilities. */
union region_caps {
	struct vfio_info_cap_header msix;
	struct migration_region_caps migration;
};

static int get_region_info(struct vfio_device_file *df, struct vfio_client *client, uint64_t arg)
{
	struct vfio_device *dev = df->dev;
	struct vfio_region_info info;
	union region_caps caps;
	size_t min = MIN_SIZE(struct vfio_region_info, offset), caps_len = 0;

	if (client->ops->copy_from(client, &info, arg, min))
		return -EFAULT;
	if (info.argsz < min || info.index >= vfio_device_nr_regions(dev))
		return -EINVAL;
	info.flags = 0;
	info.cap_offset = 0;
	info.size = 0;
	info.offset = VFIO_REGION_OFFSET(info.index);
	switch (info.index) {
	case VFIO_PCI_CONFIG_REGION_INDEX:
		info.size = pci_func_config_size(dev->func);
		info.flags = RW;
		break;
	case VFIO_PCI_ROM_REGION_INDEX:
		info.size = dev->rom_size;
		if (info.size)
			info.flags = VFIO_REGION_INFO_FLAG_READ;
		break;
	case VFIO_PCI_VGA_REGION_INDEX:
		return -EINVAL; /* no VGA devices here */
	case MIG_REGION_INDEX:
		info.size = MIG_REGION_BYTES;
		info.flags = RW | VFIO_REGION_INFO_FLAG_MMAP;
		caps_len = migration_region_caps(dev, min, &caps.migration);
		break;
	default:
		if (!describe_bar(dev, (enum vfio_mmio_mode)atomic_load(&df->mmio), &info))
			break;
		caps.msix = (struct vfio_info_cap_header){.id = VFIO_REGION_INFO_CAP_MSIX_MAPPABLE,
							  .version = 1};
		caps_len = sizeof(caps.msix);
	}
	if (caps_len) {
		info.flags |= VFIO_REGION_INFO_FLAG_CAPS;
		if (info.argsz < min + caps_len) {
			info.argsz = (uint32_t)(min + caps_len);
		} else {
			info.cap_offset = (uint32_t)min;
			if (client->ops->copy_to(client, arg + min, &caps, caps_len))
				return -EFAULT;
		}
	}
	return client->ops->copy_to(client, arg, &info, min) ? -EFAULT : 0;
}

/* ---- interrupts (A.8) ---- */

static int get_irq_info(struct vfio_device *dev, struct vfio_client *client, uint64_t arg)
{
	struct vfio_irq_info info;
	int ret;

	if (client->ops->copy_from(client, &info, arg, sizeof(info)))
		return -EFAULT;
	ret = irq_get_info(dev->irqs, &info);
	if (ret)
		return ret;
	return client->ops->copy_to(client, arg, &info, sizeof(info)) ? -EFAULT : 0;
}

struct irq_request {
	struct vfio_client *client;
	uint64_t data;
};

static int irq_copy(void *arg, void *dst, size_t len)
{
	struct irq_request *request = arg;

	return request->client->ops->copy_from(request->client, dst, request->data, len);
}

static int irq_eventfd(void *arg, int32_t fd)
{
	struct irq_request *request = arg;

	return request->client->ops->get_eventfd(request->client, fd);
}

static int set_irqs(struct vfio_device *dev, struct vfio_client *client, uint64_t arg)
{
	struct irq_request request = {client, arg + sizeof(struct vfio_irq_set)};
	struct vfio_irq_set hdr;
	int ret;

	if (client->ops->copy_from(client, &hdr, arg, sizeof(hdr)))
		return -EFAULT;
	ret = irq_set_irqs(dev->irqs, &hdr, irq_copy, irq_eventfd, &request);
	/* Also a request that failed may have changed the mode. */
	pthread_mutex_lock(&dev->config_lock);
	device_apply(dev);
	view_publish_msix(dev);
	pthread_mutex_unlock(&dev->config_lock);
	return ret;
}

static int device_ioctl(struct vfio_device_file *df, struct vfio_client *client, unsigned cmd,
			uint64_t arg)
{
	struct vfio_device *dev = df->dev;

	switch (cmd) {
	case VFIO_DEVICE_GET_INFO:
		return get_info(dev, client, arg);
	case VFIO_DEVICE_GET_REGION_INFO:
		return get_region_info(df, client, arg);
	case VFIO_DEVICE_GET_IRQ_INFO:
		return get_irq_info(dev, client, arg);
	case VFIO_DEVICE_SET_IRQS:
		return set_irqs(dev, client, arg);
	case VFIO_DEVICE_RESET:
		return device_ioctl_reset(dev);
	case VFIO_DEVICE_GET_PCI_HOT_RESET_INFO:
		return device_ioctl_hot_reset_info(df, client, arg);
	case VFIO_DEVICE_PCI_HOT_RESET:
		return device_ioctl_hot_reset(df, client, arg);
	case VFIO_DEVICE_IOEVENTFD:
		return device_ioctl_ioeventfd(df, client, arg);
	case VFIO_DEVICE_FEATURE:
		return device_ioctl_feature(dev, client, arg);
	case VFIO_CDEV_ATTACH:
	case VFIO_CDEV_DETACH:
		return cdev_ioctl(df, client, cmd, arg);
	default:
		return -ENOTTY;
	}
}

int vfio_device_ioctl(struct vfio_device_file *df, struct vfio_client *client, unsigned cmd,
		      uint64_t arg)
{
	int ret;

	if (cmd == VFIO_CDEV_BIND)
		return cdev_ioctl(df, client, cmd, arg);
	if (!file_is_bound(df))
		return -EINVAL;
	/* What only tells of it is not delayed (vfio.h). */
	if (cmd == VFIO_DEVICE_GET_INFO || cmd == VFIO_DEVICE_GET_REGION_INFO ||
	    cmd == VFIO_DEVICE_GET_IRQ_INFO)
		device_access_begin_anyway(df->dev);
	else
		device_access_begin(df->dev);
	ret = device_ioctl(df, client, cmd, arg);
	device_access_end(df->dev);
	return ret;
}
