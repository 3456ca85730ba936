/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * uio: registers and interrupts for a driver in user space, and no DMA (docs/uio.md).
 *
 * A device that is bound to `uio_pci_generic` is not to be had through VFIO.  Its file, /dev/uioN,
 * tells how often it has interrupted (read, poll) and masks its line (write); registers are mapped
 * through `resourceN` (vfio_device_host_open()).  While the file is open the device is open as for
 * VFIO, with an address space in which nothing is ever mapped: bus mastering is off while the line
 * is used, on for MSI and MSI-X, and every DMA is a fault that is recorded.
 *
 * Any thread; what is said to wait may wait for a reset and for the device to become quiet, the
 * rest never does.  @dev is held (observe.h).
 */
#ifndef UVFIO_VFIO_UIO_H
#define UVFIO_VFIO_UIO_H

#include "vfio/vfio.h"

#define VFIO_UIO_DRIVER  "uio_pci_generic"
#define VFIO_UIO_VERSION "0.01.0" /* the kernel's driver's */

struct uio_file;

/* Was it built with uio (meson's -Duio)? */
bool vfio_uio_built(void);
/* The first number of a device; before the first is bound.  So that the real machine's stay what
 * they are. */
void vfio_machine_set_uio_first(struct vfio_machine *machine, unsigned first);
unsigned vfio_machine_uio_first(struct vfio_machine *machine);

/* Give an unbound device to uio_pci_generic.  0; -EBUSY: a driver has it; -ENODEV: it is gone, its
 * INTx cannot be masked by DisINTx, or the machine has no uio (the knob enable_uio).  Does not
 * wait. */
int vfio_device_uio_bind(struct vfio_device *dev);
/* Take it away again: who reads or polls is told EIO at once, and the device is closed.  -ENODEV:
 * it does not have the device; when somebody else is taking it, that was waited for.  Waits. */
int vfio_device_uio_unbind(struct vfio_device *dev);
/* Is it bound to uio_pci_generic?  *@minor: the N of uioN. */
bool vfio_device_uio(struct vfio_device *dev, unsigned *minor);
/* How often it has interrupted since it was bound, modulo 2^32. */
uint32_t vfio_device_uio_events(struct vfio_device *dev);

/* open(2) of /dev/uioN.  @changed (any thread, under locks: it must not wait or call back) is
 * called when vfio_uio_poll() may have another answer.  The first open resets the device and
 * enables its line.  -ENODEV: not bound; -EAGAIN as VFIO's open; -ENOMEM.  Waits. */
int vfio_uio_open(struct vfio_device *dev, const struct vfio_client *client,
		  void (*changed)(void *arg), void *arg, struct uio_file **out);
/* The count, once it is another than when it was read last, or than at open: 0, -EAGAIN, or -EIO
 * when there is no interrupt or the device was unbound. */
int vfio_uio_read(struct uio_file *file, int32_t *count);
/* What poll(2) says, whatever it was asked for: 0, POLLIN | POLLRDNORM, or all bits of -EIO. */
unsigned vfio_uio_poll(struct uio_file *file);
/* write(2): mask (0) or unmask (1) the line.  0; -EINVAL: unbound, another value, or the line is
 * not in use because messages are; -EIO: there is none.  Waits. */
int vfio_uio_control(struct uio_file *file, int32_t on);
/* The last close masters off and resets the device.  Waits; without a device to hold. */
void vfio_uio_release(struct uio_file *file);

/* VFIO_DEVICE_GET_IRQ_INFO and VFIO_DEVICE_SET_IRQS, for MSI and MSI-X; -EINVAL for other indices,
 * -ENOTTY for other commands, -ENODEV while the device's uio file is not open.  While vectors are
 * set up the line is off.  Waits. */
int vfio_device_uio_ioctl(struct vfio_device *dev, struct vfio_client *client, unsigned cmd,
			  uint64_t arg);

#endif
