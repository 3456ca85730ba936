/* SPDX-License-Identifier: BSD-3-Clause */
/* The device descriptor of the kernel's VFIO: the same for group and character device. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <unistd.h>
#include "driver/kernel.h"

struct drv_kernel *drv_kernel_new(void)
{
	struct drv_kernel *k = calloc(1, sizeof(*k));

	if (k)
		k->device = -1;
	return k;
}

void drv_kernel_sysfs(char *path, size_t size, const char *bdf, const char *what)
{
	snprintf(path, size, "/sys/bus/pci/devices/%s%s%s", bdf, *what ? "/" : "", what);
}

int drv_kernel_exists(const char *bdf, struct uvfio_error *err)
{
	char path[128];

	drv_kernel_sysfs(path, sizeof(path), bdf, "");
	if (access(path, F_OK))
		return uvfio_error_set(
			err, -ENODEV, "%s: there is no such PCI device (%s); `lspci -D` lists them",
			bdf, path);
	return 0;
}

int drv_kernel_open_failed(const char *bdf, const char *path, int ret, struct uvfio_error *err)
{
	switch (ret) {
	case -ENOENT:
		return uvfio_error_set(err, -ENODEV,
				       "%s: there is no %s; bind the device to vfio-pci first "
				       "(`driverctl set-override %s vfio-pci`)",
				       bdf, path, bdf);
	case -EBUSY:
		return uvfio_error_set(err, ret, "%s: %s is in use by another program", bdf, path);
	case -EACCES:
	case -EPERM:
		return uvfio_error_set(err, ret,
				       "%s: no permission to open %s; its owner can give it: "
				       "chown USER %s",
				       bdf, path, path);
	}
	return uvfio_error_set(err, ret, "%s: opening %s: %s", bdf, path, strerror(-ret));
}

int drv_kernel_token_refused(const struct uvfio_pci *dev, struct uvfio_error *err)
{
	return uvfio_error_set(err, -EACCES,
			       *dev->opt.vf_token
				       ? "%s: the vf_token is not that of its PF"
				       : "%s: a token is needed: option vf_token=UUID, the one "
					 "that its PF was opened with",
			       dev->name);
}

int drv_kernel_no_ranges(const struct uvfio_pci *dev, int ret, struct uvfio_error *err)
{
	return uvfio_error_set(err, ret, "%s: asking for the usable IOVAs: %s", dev->name,
			       strerror(-ret));
}

int drv_kernel_device_info(struct uvfio_pci *dev, struct vfio_device_info *info)
{
	return ioctl(drv_kernel(dev)->device, VFIO_DEVICE_GET_INFO, info) ? -errno : 0;
}

int drv_kernel_region_info(struct uvfio_pci *dev, struct vfio_region_info *info, size_t size,
			   int *fd)
{
	struct drv_kernel *k = drv_kernel(dev);
	unsigned index = info->index;

	*fd = -1;
	if (ioctl(k->device, VFIO_DEVICE_GET_REGION_INFO, info))
		return -errno;
	k->region_offset[index] = info->offset;
	return 0;
}

int drv_kernel_map_fd(struct uvfio_pci *dev)
{
	return drv_kernel(dev)->device;
}

int drv_kernel_irq_info(struct uvfio_pci *dev, struct vfio_irq_info *info)
{
	return ioctl(drv_kernel(dev)->device, VFIO_DEVICE_GET_IRQ_INFO, info) ? -errno : 0;
}

/* The offset in the device file, or -EINVAL: an offset must not reach into the next region. */
static int64_t position(struct uvfio_pci *dev, unsigned index, uint64_t offset)
{
	uint64_t base;

	if (index >= dev->nr_regions || offset >= 1ull << 40)
		return -EINVAL;
	base = drv_kernel(dev)->region_offset[index];
	if (base + offset < base || base + offset > INT64_MAX)
		return -EINVAL;
	return (int64_t)(base + offset);
}

ssize_t drv_kernel_read(struct uvfio_pci *dev, unsigned index, uint64_t offset, void *buf,
			size_t len)
{
	int64_t at = position(dev, index, offset);
	ssize_t n = at < 0 ? (errno = EINVAL, -1) : pread(drv_kernel(dev)->device, buf, len, at);

	return n < 0 ? -errno : n;
}

ssize_t drv_kernel_write(struct uvfio_pci *dev, unsigned index, uint64_t offset, const void *buf,
			 size_t len, bool posted)
{
	int64_t at = position(dev, index, offset);
	ssize_t n = at < 0 ? (errno = EINVAL, -1) : pwrite(drv_kernel(dev)->device, buf, len, at);

	return n < 0 ? -errno : n;
}

int drv_kernel_notify_fd(struct uvfio_pci *dev, unsigned index, uint64_t offset, unsigned size,
			 uint64_t value)
{
	int64_t at = position(dev, index, offset);
	struct vfio_device_ioeventfd io = {
		.argsz = sizeof(io),
		.flags = size, /* the flags are the sizes */
		.offset = (uint64_t)at,
		.data = value,
	};
	int ret;

	if (at < 0)
		return -EINVAL;
	io.fd = eventfd(0, EFD_CLOEXEC);
	if (io.fd < 0)
		return -errno;
	if (ioctl(drv_kernel(dev)->device, VFIO_DEVICE_IOEVENTFD, &io)) {
		ret = -errno;
		close(io.fd);
		return ret;
	}
	return io.fd;
}

int drv_kernel_set_irqs(struct uvfio_pci *dev, const struct vfio_irq_set *set, const int *fds,
			bool active)
{
	size_t data = fds ? set->count * sizeof(*fds) : 0;
	struct vfio_irq_set *s = malloc(sizeof(*s) + data);
	int ret;

	if (!s)
		return -ENOMEM;
	*s = *set;
	s->argsz = (uint32_t)(sizeof(*s) + data);
	if (data)
		memcpy(s->data, fds, data);
	ret = ioctl(drv_kernel(dev)->device, VFIO_DEVICE_SET_IRQS, s);
	if (ret < 0)
		ret = -errno;
	free(s);
	return ret;
}

int drv_kernel_reset(struct uvfio_pci *dev)
{
	return ioctl(drv_kernel(dev)->device, VFIO_DEVICE_RESET) ? -errno : 0;
}

ssize_t drv_kernel_feature(struct uvfio_pci *dev, struct vfio_device_feature *feature)
{
	size_t len = feature->argsz - sizeof(*feature);
	int ret = ioctl(drv_kernel(dev)->device, VFIO_DEVICE_FEATURE, feature);

	if (ret < 0)
		return -errno;
	/* DMA_BUF answers with a descriptor as its result; others fill what they were given. */
	return ret > 0 ? ret : (ssize_t)len;
}

/* The kernel's payload of it; Debian 12's headers lack that. */
#define FEATURE_DMA_BUF 11u

int drv_kernel_region_fd(struct uvfio_pci *dev, unsigned index, uint64_t offset, uint64_t size,
			 uint64_t *at)
{
	struct {
		struct vfio_device_feature head;
		uint32_t region_index, open_flags, flags, nr_ranges;
		uint64_t offset, length;
	} get = {
		.head = {.argsz = sizeof(get), .flags = VFIO_DEVICE_FEATURE_GET | FEATURE_DMA_BUF},
		.region_index = index,
		.open_flags = O_RDWR | O_CLOEXEC,
		.nr_ranges = 1,
		.offset = offset,
		.length = size,
	};
	int fd = ioctl(drv_kernel(dev)->device, VFIO_DEVICE_FEATURE, &get);

	*at = 0;
	return fd < 0 ? -errno : fd;
}
