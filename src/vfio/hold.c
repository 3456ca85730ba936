/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Holding a device's users off while an operator moves it: their calls wait, as they wait for a
 * reset, and find it as it was.
 *
 * Calls on a device's files are counted already (low_power.c).  One that comes counts itself and
 * then looks whether the device is held; who holds it says so and then waits until the count is
 * zero.  Accesses to mapped BARs, which are not counted, wait at the memory gate (device_state.c).
 */
#include <errno.h>
#include <time.h>
#include "vfio/machine_private.h"

#define HOLD_MS 5000 /* that a call which is under way may take */

void device_hold_init(struct vfio_device *dev)
{
	struct device_hold *hold = &dev->hold;
	pthread_condattr_t attr;

	pthread_mutex_init(&hold->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&hold->cond, &attr);
	pthread_condattr_destroy(&attr);
}

void device_hold_fini(struct vfio_device *dev)
{
	pthread_cond_destroy(&dev->hold.cond);
	pthread_mutex_destroy(&dev->hold.lock);
}

int device_hold(struct vfio_device *dev)
{
	struct device_hold *hold = &dev->hold;
	struct timespec until;
	int ret = 0;

	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += HOLD_MS / 1000;
	pthread_mutex_lock(&hold->lock);
	atomic_store(&hold->on, true);
	while (atomic_load(&dev->accesses) && !ret)
		ret = pthread_cond_timedwait(&hold->cond, &hold->lock, &until);
	pthread_mutex_unlock(&hold->lock);
	if (!ret)
		return 0;
	device_unhold(dev);
	return -EBUSY;
}

void device_unhold(struct vfio_device *dev)
{
	struct device_hold *hold = &dev->hold;

	if (!atomic_load(&hold->on))
		return;
	pthread_mutex_lock(&dev->config_lock);
	pthread_mutex_lock(&hold->lock);
	atomic_store(&hold->on, false);
	pthread_cond_broadcast(&hold->cond);
	pthread_mutex_unlock(&hold->lock);
	device_apply(dev);
	pthread_mutex_unlock(&dev->config_lock);
}

void device_hold_wait(struct vfio_device *dev)
{
	struct device_hold *hold = &dev->hold;

	uvfio_defer_handover();
	pthread_mutex_lock(&hold->lock);
	while (atomic_load(&hold->on))
		pthread_cond_wait(&hold->cond, &hold->lock);
	pthread_mutex_unlock(&hold->lock);
}

void device_hold_check(struct vfio_device *dev)
{
	struct device_hold *hold = &dev->hold;

	pthread_mutex_lock(&hold->lock);
	pthread_cond_broadcast(&hold->cond);
	pthread_mutex_unlock(&hold->lock);
}
