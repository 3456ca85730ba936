/* SPDX-License-Identifier: BSD-3-Clause */
/* The kernel's VFIO by character device and iommufd (A.2, C, D.3). */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>
#include "driver/iommufd_uapi.h"
#include "driver/kernel.h"

#define IOMMU "/dev/iommu"

/* /dev/vfio/devices/vfioX of the device: its vfio-dev/ folder has one entry. */
static int cdev_path(const char *bdf, char *path, size_t size, struct uvfio_error *err)
{
	struct dirent *entry;
	char sysfs[128];
	DIR *dir;

	drv_kernel_sysfs(sysfs, sizeof(sysfs), bdf, "vfio-dev");
	dir = opendir(sysfs);
	path[0] = '\0';
	while (dir && (entry = readdir(dir)))
		if (!strncmp(entry->d_name, "vfio", 4) && strlen(entry->d_name) < 32)
			snprintf(path, size, "/dev/vfio/devices/%.31s", entry->d_name);
	if (dir)
		closedir(dir);
	if (path[0])
		return 0;
	return uvfio_error_set(
		err, -ENODEV,
		"%s: %s is not there: bind the device to vfio-pci, or use the group "
		"(option via=group); it takes Linux 6.6 with CONFIG_VFIO_DEVICE_CDEV",
		bdf, sysfs);
}

/* Text to bytes, in the order of the text (C). */
static void token_bytes(const char *text, uint8_t bytes[16])
{
	for (unsigned i = 0; i < 16; i++) {
		char pair[3];

		while (*text == '-')
			text++;
		pair[0] = text[0];
		pair[1] = text[1];
		pair[2] = '\0';
		bytes[i] = (uint8_t)strtoul(pair, NULL, 16);
		text += 2;
	}
}

static int bind_device(struct uvfio_pci *dev, struct drv_kernel *k, struct uvfio_error *err)
{
	uint8_t token[16];
	struct drv_bind bind = {.argsz = sizeof(bind), .iommufd = k->iommufd};
	struct drv_ioas_alloc alloc = {.size = sizeof(alloc)};
	struct drv_attach attach = {.argsz = sizeof(attach)};

	if (*dev->opt.vf_token) {
		token_bytes(dev->opt.vf_token, token);
		bind.flags = DRV_BIND_TOKEN;
		bind.token = (uintptr_t)token;
	} else {
		/* Older kernels know a shorter structure. */
		bind.argsz = 16;
	}
	if (ioctl(k->device, DRV_BIND, &bind)) {
		int ret = -errno;

		if (ret == -EACCES)
			return drv_kernel_token_refused(dev, err);
		if (ret == -EPERM)
			return uvfio_error_set(
				err, ret,
				"%s: it cannot be bound to an iommufd: a device of its "
				"group has another driver, or interrupts are not "
				"isolated (allow_unsafe_interrupts of iommufd)",
				dev->name);
		return uvfio_error_set(err, ret, "%s: binding it to an iommufd: %s%s", dev->name,
				       strerror(-ret), ret == -EBUSY ? " (its group is open)" : "");
	}
	k->devid = bind.devid;
	if (ioctl(k->iommufd, DRV_IOAS_ALLOC, &alloc))
		return uvfio_error_set(err, -errno, "%s: making an address space: %s", dev->name,
				       strerror(errno));
	k->ioas = alloc.ioas;
	attach.pt = alloc.ioas;
	if (ioctl(k->device, DRV_ATTACH, &attach))
		return uvfio_error_set(err, -errno, "%s: attaching it to its address space: %s",
				       dev->name, strerror(errno));
	return 0;
}

static int cdev_open(struct uvfio_pci *dev, struct uvfio_error *err)
{
	struct drv_kernel *k;
	char path[64];
	int ret;

	ret = drv_kernel_exists(dev->name, err);
	if (!ret)
		ret = cdev_path(dev->name, path, sizeof(path), err);
	if (ret)
		return ret;
	k = drv_kernel_new();
	if (!k)
		return uvfio_error_set(err, -ENOMEM, "no memory");
	k->iommufd = open(IOMMU, O_RDWR | O_CLOEXEC);
	if (k->iommufd < 0)
		ret = drv_kernel_open_failed(dev->name, IOMMU, -errno, err);
	if (!ret) {
		k->device = open(path, O_RDWR | O_CLOEXEC);
		if (k->device < 0)
			ret = drv_kernel_open_failed(dev->name, path, -errno, err);
	}
	if (!ret)
		ret = bind_device(dev, k, err);
	if (ret)
		drv_kernel_free(k);
	else
		dev->way = k;
	return ret;
}

static int cdev_iova_ranges(struct uvfio_pci *dev, struct uvfio_error *err)
{
	struct drv_kernel *k = drv_kernel(dev);
	struct drv_iova_ranges get = {.size = sizeof(get), .ioas = k->ioas};
	struct drv_iova_range *ranges = NULL;
	int ret = 0;

	/* Ask how many there are (EMSGSIZE), then for them; they may have grown in between. */
	while (ioctl(k->iommufd, DRV_IOVA_RANGES, &get)) {
		struct drv_iova_range *more;

		if (errno != EMSGSIZE || get.nr > 65536) {
			ret = -errno;
			goto out;
		}
		more = realloc(ranges, get.nr * sizeof(*ranges));
		if (!more) {
			ret = -ENOMEM;
			goto out;
		}
		ranges = more;
		get.ranges = (uintptr_t)ranges;
	}
	if (get.alignment > dev->dma.page_size && !(get.alignment & (get.alignment - 1)))
		dev->dma.page_size = get.alignment;
	for (uint32_t i = 0; i < get.nr && !ret; i++)
		ret = drv_dma_add_range(dev, ranges[i].start, ranges[i].last);
out:
	free(ranges);
	return ret ? drv_kernel_no_ranges(dev, ret, err) : 0;
}

static int cdev_dma_map(struct uvfio_pci *dev, const struct drv_mapping *m)
{
	struct drv_kernel *k = drv_kernel(dev);
	struct drv_ioas_map map = {
		.size = sizeof(map),
		.flags = DRV_MAP_FIXED | (m->flags & UVFIO_PCI_DMA_READ ? DRV_MAP_READ : 0) |
			 (m->flags & UVFIO_PCI_DMA_WRITE ? DRV_MAP_WRITE : 0),
		.ioas = k->ioas,
		.addr = (uintptr_t)m->addr,
		.length = m->at.last - m->at.first + 1,
		.iova = m->at.first,
	};

	return ioctl(k->iommufd, DRV_IOAS_MAP, &map) ? -errno : 0;
}

static int cdev_dma_unmap(struct uvfio_pci *dev, uint64_t iova, uint64_t size)
{
	struct drv_kernel *k = drv_kernel(dev);
	struct drv_ioas_unmap unmap = {
		.size = sizeof(unmap), .ioas = k->ioas, .iova = iova, .length = size};

	if (ioctl(k->iommufd, DRV_IOAS_UNMAP, &unmap))
		return -errno;
	return unmap.length == size ? 0 : -EIO;
}

const struct drv_ops drv_kernel_cdev_ops = {
	.way = UVFIO_PCI_WAY_CDEV,
	.open = cdev_open,
	DRV_KERNEL_DEVICE_OPS,
	.iova_ranges = cdev_iova_ranges,
	.dma_map = cdev_dma_map,
	.dma_unmap = cdev_dma_unmap,
};
