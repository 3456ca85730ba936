/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Low power (A.10): the user lets the host suspend the device.
 *
 * Theory of operation.  A user that enters low power gives its mapped pages up: they fault until it
 * leaves.  The device is suspended, which is to be in D3hot, whenever no call on its file is under
 * way; a call resumes it, and the last one to return lets it be suspended again.  So does a power
 * management event of the device, but then nobody keeps it awake.  With a wakeup eventfd the first
 * resume ends low power instead, and the eventfd is signalled.
 *
 *     AWAKE ──ENTRY, last call returns──▶ SUSPENDED ◀──calls come and go──▶ RESUMED
 *       ▲                                     │                               │
 *       └────── call or event, with a wakeup ─┴──────────── EXIT ─────────────┘
 *
 * The number of calls is counted at any time, so that who comes first, the suspension or a call, is
 * decided by it: a call counts itself and then looks whether low power is on, who suspends does so
 * under config_lock and looks at the count.  With the knob disable_idle_d3 nothing is suspended, so
 * nothing wakes up.
 */
#include <errno.h>
#include <poll.h>
#include <stddef.h>
#include <stdint.h>
#include <unistd.h>
#include "base/trash.h"
#include "pci/sriov.h"
#include "vfio/host.h"
#include "vfio/inject.h"
#include "vfio/machine_private.h"

/* ---- config_lock is held ---- */

static void suspend(struct vfio_device *dev)
{
	if (!dev->low_power || dev->suspended || dev->no_idle_d3 || device_is_cut(dev))
		return;
	if (pci_sriov_num_vfs(dev->func)) /* it is kept in D0 for them (C) */
		return;
	dev->suspended = true;
	irq_intx_hold(dev->irqs, IRQ_HOLD_ASLEEP, true);
	/* A suspension begins in D0, whatever state the user has chosen. */
	device_power(dev, 0);
	device_power(dev, 3);
	device_apply(dev);
}

/* The eventfd that is to be signalled and closed, or -1. */
static int resume(struct vfio_device *dev)
{
	int fd = -1;

	if (!dev->suspended)
		return -1;
	dev->suspended = false;
	device_power(dev, 0);
	if (dev->wakeup_fd >= 0) {
		fd = dev->wakeup_fd;
		dev->wakeup_fd = -1;
		atomic_store(&dev->low_power, false);
	}
	device_apply(dev);
	irq_intx_hold(dev->irqs, IRQ_HOLD_ASLEEP, false);
	return fd;
}

void device_low_power_end(struct vfio_device *dev)
{
	int fd = resume(dev);

	atomic_store(&dev->low_power, false);
	if (fd >= 0)
		close(fd);
	if (dev->wakeup_fd >= 0)
		close(dev->wakeup_fd);
	dev->wakeup_fd = -1;
}

/* ---- entry and exit ---- */

int device_low_power_enter(struct vfio_device *dev, int wakeup_fd)
{
	int ret = 0;

	pthread_mutex_lock(&dev->config_lock);
	if (dev->low_power) {
		ret = -EINVAL;
	} else {
		atomic_store(&dev->low_power, true);
		dev->wakeup_fd = wakeup_fd;
	}
	/* Mapped pages go in any case. */
	device_apply(dev);
	pthread_mutex_unlock(&dev->config_lock);
	return ret;
}

void device_low_power_exit(struct vfio_device *dev)
{
	pthread_mutex_lock(&dev->config_lock);
	device_low_power_end(dev);
	device_apply(dev);
	pthread_mutex_unlock(&dev->config_lock);
}

/* ---- what wakes it ---- */

bool vfio_device_suspended(const struct vfio_device *dev)
{
	return atomic_load(&((struct vfio_device *)(uintptr_t)dev)->suspended);
}

bool vfio_device_sleeps(const struct vfio_device *dev)
{
	struct vfio_device *d = (struct vfio_device *)(uintptr_t)dev;

	return atomic_load(&d->low_power) || atomic_load(&d->hold.on);
}

static void signal_wakeup(struct vfio_device *dev, int fd)
{
	struct pollfd pfd = {.fd = fd, .events = POLLOUT};
	const uint64_t one = 1;

	/* A counter that is full has been signalled already; do not wait for it. */
	if (poll(&pfd, 1, 0) == 1 && pfd.revents & POLLOUT &&
	    write(fd, &one, sizeof(one)) != (ssize_t)sizeof(one))
		uvfio_log(dev->machine->log, UVFIO_LOG_DEBUG,
			  "%s: the wakeup eventfd took no signal", dev->name);
	close(fd);
}

bool vfio_device_inject_wake(struct vfio_device *dev)
{
	bool suspended;
	int fd;

	pthread_mutex_lock(&dev->config_lock);
	suspended = dev->suspended;
	fd = resume(dev);
	/* Nobody has use for it: without a wakeup eventfd it may sleep on. */
	if (!atomic_load(&dev->accesses))
		suspend(dev);
	pthread_mutex_unlock(&dev->config_lock);
	if (fd >= 0)
		signal_wakeup(dev, fd);
	return suspended;
}

/*
 * An event of the model's.  It may come from any thread and under any lock, also in a callback that
 * config_lock is held for, so the waking is done elsewhere.  Events that come before the thread has
 * begun with one are that one.
 */
static void wake_up(struct uvfio_trash_item *item)
{
	struct vfio_device *dev =
		(struct vfio_device *)((char *)item - offsetof(struct vfio_device, pme.item));

	atomic_store(&dev->pme.sent, false);
	vfio_device_inject_wake(dev);
}

int device_pme_init(struct vfio_device *dev)
{
	dev->pme.item.fn = wake_up;
	dev->pme.waker = uvfio_trash_new();
	return dev->pme.waker ? 0 : -ENOMEM;
}

void device_pme_fini(struct vfio_device *dev)
{
	uvfio_trash_wait(dev->pme.waker, 0, UVFIO_TRASH_EVER);
	uvfio_trash_unref(dev->pme.waker);
}

void uvfio_pme_raise(struct uvfio_device *udev)
{
	struct vfio_device *dev = (struct vfio_device *)udev;

	if (atomic_load(&dev->suspended) && !atomic_exchange(&dev->pme.sent, true))
		uvfio_trash_add(dev->pme.waker, &dev->pme.item);
}

/* A call that counts has the device awake. */
static void wake_for_call(struct vfio_device *dev)
{
	int fd;

	if (!atomic_load(&dev->low_power))
		return;
	pthread_mutex_lock(&dev->config_lock);
	fd = resume(dev);
	pthread_mutex_unlock(&dev->config_lock);
	if (fd >= 0)
		signal_wakeup(dev, fd);
}

void device_access_begin_anyway(struct vfio_device *dev)
{
	atomic_fetch_add(&dev->accesses, 1);
	wake_for_call(dev);
}

bool device_access_begin_nowait(struct vfio_device *dev)
{
	atomic_fetch_add(&dev->accesses, 1);
	if (atomic_load(&dev->hold.on)) {
		device_access_end(dev);
		return false;
	}
	wake_for_call(dev);
	return true;
}

void device_access_begin(struct vfio_device *dev)
{
	while (!device_access_begin_nowait(dev))
		device_hold_wait(dev);
}

void device_access_end(struct vfio_device *dev)
{
	if (atomic_fetch_sub(&dev->accesses, 1) != 1)
		return;
	if (atomic_load(&dev->hold.on))
		device_hold_check(dev);
	if (!atomic_load(&dev->low_power))
		return;
	pthread_mutex_lock(&dev->config_lock);
	if (!atomic_load(&dev->accesses))
		suspend(dev);
	pthread_mutex_unlock(&dev->config_lock);
}
