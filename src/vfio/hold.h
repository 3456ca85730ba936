/* SPDX-License-Identifier: BSD-3-Clause */
/* Holding a device's users off (hold.c): what the rest of the device knows of it. */
#ifndef UVFIO_VFIO_HOLD_H
#define UVFIO_VFIO_HOLD_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

struct vfio_device;

struct device_hold {
	atomic_bool on;       /* written under lock */
	pthread_mutex_t lock; /* a leaf */
	pthread_cond_t cond;
};

void device_hold_init(struct vfio_device *dev);
void device_hold_fini(struct vfio_device *dev);
/* Have calls wait from now on, and wait for those that are under way.  -EBUSY: one of them does not
 * return, and the device is not held.  No lock held, as in all of these. */
int device_hold(struct vfio_device *dev);
/* Let them go on.  Also when it is not held. */
void device_unhold(struct vfio_device *dev);
/* In a call that does not count: until the device is not held. */
void device_hold_wait(struct vfio_device *dev);
/* The last call has returned: who holds it looks again. */
void device_hold_check(struct vfio_device *dev);

#endif
