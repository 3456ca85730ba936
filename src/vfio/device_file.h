/* SPDX-License-Identifier: BSD-3-Clause */
/* Opening a device, and an open file of it: by its group, by its own node, or by the host; a part
 * of machine_private.h. */
#ifndef UVFIO_VFIO_DEVICE_FILE_H
#define UVFIO_VFIO_DEVICE_FILE_H

/*      UNBOUND ──BIND──▶ BINDING ──▶ BOUND          an open by the group is BOUND at once
 *         ▲──────failed─────┘                                                          */
enum bind_state { BIND_BOUND, BIND_UNBOUND, BIND_BINDING };

struct host_maps;
struct uio;

struct vfio_device_file {
	struct vfio_device *dev; /* of the host's mappings: NULL when it was taken away */
	struct host_maps *maps;  /* NULL: it is VFIO's; else it opens nothing (host_map.c) */
	/* Opened by its own node (cdev.c), with the memory file that clients have of it.  Until it
	 * is bound it is no open of the device's. */
	bool cdev;
	int file;
	struct memory_file claim; /* what the file is until there is a view in it */
	_Atomic(enum bind_state) bind;
	enum vfio_mmio_mode wanted_mmio; /* what was chosen before */
	_Atomic int mmio;                /* enum vfio_mmio_mode */
	atomic_bool masks_vectors;
	bool continued; /* by its open; constant */
	/* For listings. */
	struct vfio_device_file *next; /* of dev->files */
	struct vfio_who who;           /* door NULL: unknown */
	int32_t pid;
	uint64_t since; /* CLOCK_REALTIME, ns */
};

/* device_open.c */
/* With nothing, no DMA goes anywhere.  1: it was the first open, which binds the device to the
 * iommufd; 0: another one.  *@continued (may be NULL): it went on with what was loaded. */
struct open_with {
	struct backend *backend;
	struct vfio_iommufd *iommufd; /* in its place */
	bool alone;                   /* -EINVAL when it is open */
	bool continues;               /* with what was loaded (keep.h), if there is that */
	bool uio; /* for uio (uio.h), else for VFIO, which takes the BARs from those who map them as
		   * the host */
};
int device_open(struct vfio_device *dev, const struct open_with *with, bool *continued);
/* Have memory and I/O decoded, as a driver's probe does; not while a reset or an access to config
 * space goes on, for which it does not wait. */
void device_enable(struct vfio_device *dev);
void device_close(struct vfio_device *dev);
/* From here on its DMA goes to @space and is logged in @dirty (NULL: nowhere), and none of it is in
 * flight elsewhere. */
struct dma_logging;
void device_set_space(struct vfio_device *dev, struct iommu_space *space,
		      struct dma_logging *dirty);
/* A user of @dev less, which keeps it from being removed. */
void device_put_user(struct vfio_device *dev);

/* cdev.c: BIND, ATTACH, DETACH.  May anything else be done with the file? */
void cdev_release(struct vfio_device_file *df);
int cdev_ioctl(struct vfio_device_file *df, struct vfio_client *client, unsigned cmd, uint64_t arg);
static inline bool file_is_bound(const struct vfio_device_file *df)
{
	return __builtin_expect(
		atomic_load_explicit(&((struct vfio_device_file *)(uintptr_t)df)->bind,
				     memory_order_acquire) == BIND_BOUND,
		1);
}

#endif
