/* SPDX-License-Identifier: BSD-3-Clause */
/* What the kernel's two ways share: a device file descriptor. */
#ifndef UVFIO_DRIVER_KERNEL_H
#define UVFIO_DRIVER_KERNEL_H

#include "driver/driver_private.h"

struct drv_kernel {
	int device;
	uint64_t region_offset[DRV_MAX_REGIONS];
	struct drv_group *group; /* the group way: of the view's container */
	bool noiommu;
};

static inline struct drv_kernel *drv_kernel(const struct uvfio_pci *dev)
{
	return (struct drv_kernel *)dev->way;
}

struct drv_kernel *drv_kernel_new(void);

/* Of sysfs: "%s/@what" of the device @bdf. */
void drv_kernel_sysfs(char *path, size_t size, const char *bdf, const char *what);
/* Can it be opened by a character device, with iommufd?  Not in no-IOMMU mode (A.9): there is its
 * folder in sysfs, but no device node. */
bool drv_kernel_has_cdev(const char *bdf);
/* -ENODEV with a message when there is no PCI device @bdf; else 0. */
int drv_kernel_exists(const char *bdf, struct uvfio_error *err);
/* A message for the -errno of opening @path, which @what is. */
int drv_kernel_open_failed(const char *bdf, const char *path, int ret, struct uvfio_error *err);

/* Messages: for EACCES of opening the device, which has to do with vf_token; for -errno of asking
 * for the IOVA ranges. */
int drv_kernel_token_refused(const struct uvfio_pci *dev, struct uvfio_error *err);
int drv_kernel_no_ranges(const struct uvfio_pci *dev, int ret, struct uvfio_error *err);

/* Operations on the device descriptor: see struct drv_ops. */
int drv_kernel_device_info(struct uvfio_pci *dev, struct vfio_device_info *info);
int drv_kernel_region_info(struct uvfio_pci *dev, struct vfio_region_info *info, size_t size,
			   int *fd);
int drv_kernel_map_fd(struct uvfio_pci *dev);
int drv_kernel_irq_info(struct uvfio_pci *dev, struct vfio_irq_info *info);
ssize_t drv_kernel_read(struct uvfio_pci *dev, unsigned index, uint64_t offset, void *buf,
			size_t len);
ssize_t drv_kernel_write(struct uvfio_pci *dev, unsigned index, uint64_t offset, const void *buf,
			 size_t len, bool posted);
int drv_kernel_notify_fd(struct uvfio_pci *dev, unsigned index, uint64_t offset, unsigned size,
			 uint64_t value);
int drv_kernel_set_irqs(struct uvfio_pci *dev, const struct vfio_irq_set *set, const int *fds,
			bool active);
int drv_kernel_reset(struct uvfio_pci *dev);
ssize_t drv_kernel_feature(struct uvfio_pci *dev, struct vfio_device_feature *feature);
int drv_kernel_region_fd(struct uvfio_pci *dev, unsigned index, uint64_t offset, uint64_t size,
			 uint64_t *at);

#define DRV_KERNEL_DEVICE_OPS                                                                      \
	.device_info = drv_kernel_device_info, .region_info = drv_kernel_region_info,              \
	.map_fd = drv_kernel_map_fd, .irq_info = drv_kernel_irq_info, .read = drv_kernel_read,     \
	.write = drv_kernel_write, .notify_fd = drv_kernel_notify_fd,                              \
	.set_irqs = drv_kernel_set_irqs, .reset = drv_kernel_reset, .feature = drv_kernel_feature,                                  \
	.region_fd = drv_kernel_region_fd

#endif
