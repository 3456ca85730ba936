/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * MSI-X vectors that the VFs of a PF share (B): what the core's files call.  A PF whose model has
 * no pool has none of this, and each of its VFs the vectors of its description.
 */
#ifndef UVFIO_VFIO_VECTORS_H
#define UVFIO_VFIO_VECTORS_H

#include <uvfio/device.h>

struct vfio_device;

/* uvfio_device_init(): dev->pool, if @desc has one.  0, or -EINVAL with a message about the
 * description, -ENOMEM. */
int vectors_init(struct vfio_device *dev, const struct uvfio_pci_desc *desc,
		 struct uvfio_error *err);
void vectors_fini(struct vfio_device *dev);

/* @n VFs are about to be made, before ->vfs_start(): each has its first share.  0, or -ENOSPC with
 * a message: the pool does not have the minimum for each; nothing is given then. */
int vectors_enable(struct vfio_device *pf, unsigned n, struct uvfio_error *err);
/* They have gone, after ->vfs_stop(): the pool has everything back. */
void vectors_disable(struct vfio_device *pf);
/* A VF is made, has its interrupts, and the model has not seen it yet: it gets its share. */
void vectors_join(struct vfio_device *vf);
/* It is about to be freed: its share goes back to the pool. */
void vectors_leave(struct vfio_device *vf);

#endif
