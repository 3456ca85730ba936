/* SPDX-License-Identifier: BSD-3-Clause */
/* Low power (A.10): what the rest of the device knows of it. */
#ifndef UVFIO_VFIO_LOW_POWER_H
#define UVFIO_VFIO_LOW_POWER_H

#include <stdatomic.h>
#include <stdbool.h>
#include "base/trash.h"

struct vfio_device;

/* Power management events of the model's. */
struct device_pme {
	atomic_bool sent; /* the waker has not begun with it */
	struct uvfio_trash *waker;
	struct uvfio_trash_item item;
};

/* Once, before there is a model, and when there is none any more; no lock held.  0 or -ENOMEM. */
int device_pme_init(struct vfio_device *dev);
void device_pme_fini(struct vfio_device *dev);

/* Bracket each access through the device's file: the device is awake between them. */
void device_access_begin(struct vfio_device *dev); /* waits while it is held (hold.h) */
/* Not then: false. */
bool device_access_begin_nowait(struct vfio_device *dev);
/* Of what neither changes the device nor depends on its state, and of the host. */
void device_access_begin_anyway(struct vfio_device *dev);
void device_access_end(struct vfio_device *dev);
/* @wakeup_fd: an eventfd of ours, taken over on success, or -1.  -EINVAL when it is entered. */
int device_low_power_enter(struct vfio_device *dev, int wakeup_fd);
void device_low_power_exit(struct vfio_device *dev);
/* The same without a signal; device_apply() follows.  config_lock held. */
void device_low_power_end(struct vfio_device *dev);

#endif
