/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the host does with a function, as the kernel's PCI and driver core do through sysfs, past
 * those who have it open: which driver has it, its config space, whether it can be reset.  Any
 * thread; @dev is held (observe.h).
 */
#ifndef UVFIO_VFIO_HOST_H
#define UVFIO_VFIO_HOST_H

#include "vfio/vfio.h"

/* Tells devices of one machine apart also when one has the name that another had: counts up from 1.
 */
uint64_t vfio_device_serial(const struct vfio_device *dev);
/* The next device gets the number @serial, which none has and none gets later: devices of another
 * machine go on here.  0: the next ones get those above all that there are. */
void vfio_machine_next_serial(struct vfio_machine *machine, uint64_t serial);
/* Changes whenever a device has come or gone. */
unsigned vfio_machine_changes(const struct vfio_machine *machine);

/*
 * Drivers of a function.  What starts is bound to vfio-pci, or as the key driver= says.
 */
enum vfio_driver {
	VFIO_DRIVER_NONE,
	VFIO_DRIVER_VFIO,  /* vfio-pci */
	VFIO_DRIVER_UIO,   /* uio_pci_generic (uio.h) */
	VFIO_DRIVER_STUB,  /* pci-pf-stub: enables VFs, no more; its group is not viable (C.4.20) */
	VFIO_DRIVER_MODEL, /* the host's own, named like the model; its group is not viable */
	NR_VFIO_DRIVERS
};
#define VFIO_STUB_DRIVER "pci-pf-stub"
/* Which one has it; while it is being taken away, it has. */
enum vfio_driver vfio_device_driver(const struct vfio_device *dev);
/* "vfio-pci", …; NULL: none has it.  Valid while @dev is held. */
const char *vfio_device_driver_name(const struct vfio_device *dev);
/* The driver of that name for @dev; VFIO_DRIVER_NONE: there is none. */
enum vfio_driver vfio_device_find_driver(const struct vfio_device *dev, const char *name);

/*
 * Unbinding from vfio-pci asks its users for it by REQ, at once and every 10 seconds, and lasts
 * until the last one has closed it (A.2, A.8); it cannot be opened meanwhile.  An unbound device is
 * in its group, and is not to be had: GET_DEVICE_FD answers ENODEV, and a group without a bound
 * device cannot be opened.  A PF loses its VFs first, whose users are asked likewise; but
 * pci-pf-stub leaves them, as the kernel's does.
 *
 * Unbind, from any driver but uio_pci_generic (vfio_device_uio_unbind()): 0, and @done is called
 * once, in a thread of the machine's, when it is unbound or was removed instead; -EBUSY: it is
 * being unbound or removed; -ENODEV: it is not bound; -ENOMEM, -EAGAIN.
 */
int vfio_device_unbind(struct vfio_device *dev, void (*done)(void *arg), void *arg);
/* Give it to a driver.  0; -EBUSY: one has it, or it is being unbound; it has VFs, and vfio-pci is
 * to have it (A.2); a user has its group, and the driver does DMA (D.1); -ENODEV: it is gone, or
 * the driver does not take it; -EINVAL: VFIO_DRIVER_NONE.  Waits for the device's work context. */
int vfio_device_bind_to(struct vfio_device *dev, enum vfio_driver driver);
int vfio_device_bind(struct vfio_device *dev); /* to vfio-pci */
/* Is it bound to vfio-pci?  What is being unbound still is. */
bool vfio_device_bound(const struct vfio_device *dev);

/* A write to the file `config`: to the hardware's config space, in naturally aligned pieces of at
 * most 4 bytes; it has taken effect on return.  Waits for a reset, and for DMA that it stops.
 * -EINVAL beyond the end. */
int vfio_device_host_config_write(struct vfio_device *dev, unsigned off, const void *bytes,
				  size_t len);

/* An access of 1, 2 or 4 bytes inside I/O BAR @bar, as through `resourceN`.  Waits for a reset. */
void vfio_device_host_io(struct vfio_device *dev, unsigned bar, uint64_t off, unsigned size,
			 bool write, uint32_t *value);
/*
 * Map BARs as through `resourceN`: *@out is for vfio_device_mmap(), _store(), _load() and
 * _release() alone, with @mode as of vfio_device_file_set_mmio(); *@view a descriptor of the view
 * file, the caller's.  -EINVAL while VFIO has the device open, -ENODEV when it was pulled out,
 * -ENOMEM.  When VFIO opens the device, and when it goes, its mappings answer SIGBUS and those
 * calls -EIO (and vfio_device_mmap() -ENODEV); where memory is not decoded they read as ones.
 */
int vfio_device_host_open(struct vfio_device *dev, enum vfio_mmio_mode mode,
			  struct vfio_device_file **out, int *view);

/* The same as when the device goes, without that: `remove`.  Waits for a reset. */
void vfio_device_host_revoke(struct vfio_device *dev);

/* Bytes of the ROM image at @off: how many there are. */
ssize_t vfio_device_host_rom(struct vfio_device *dev, uint64_t off, void *out, size_t len);

/* Is it suspended, as a user in low power lets it be (A.10)? */
bool vfio_device_suspended(const struct vfio_device *dev);

/* The function's reset methods that there are, in the order of preference (A.4). */
enum vfio_reset_method {
	VFIO_RESET_FLR = 1,
	VFIO_RESET_AF_FLR = 2,
	VFIO_RESET_PM = 4,
	VFIO_RESET_BUS = 8,
};
unsigned vfio_device_reset_methods(struct vfio_device *dev);
/* Off: resets answer ENOTTY from now on, as after writing an empty list to `reset_method`. */
void vfio_device_allow_reset(struct vfio_device *dev, bool on);

#endif
