/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Drivers of functions: see host.h.  To lose a driver may take as long as its users take, so that
 * is in unplug.c.
 */
#include <assert.h>
#include <errno.h>
#include <string.h>
#include "vfio/machine_private.h"
#include "vfio/uio.h"

static const char *const names[] = {
	[VFIO_DRIVER_NONE] = NULL,           [VFIO_DRIVER_VFIO] = "vfio-pci",
	[VFIO_DRIVER_UIO] = VFIO_UIO_DRIVER, [VFIO_DRIVER_STUB] = VFIO_STUB_DRIVER,
	[VFIO_DRIVER_MODEL] = NULL, /* its model's */
};
static_assert(ARRAY_SIZE(names) == NR_VFIO_DRIVERS, "a name each");

enum vfio_driver vfio_device_driver(const struct vfio_device *dev)
{
	return atomic_load(&((struct vfio_device *)(uintptr_t)dev)->driver);
}

static const char *name_of(const struct vfio_device *dev, enum vfio_driver driver)
{
	return driver == VFIO_DRIVER_MODEL ? dev->model->name : names[driver];
}

const char *vfio_device_driver_name(const struct vfio_device *dev)
{
	return name_of(dev, vfio_device_driver(dev));
}

enum vfio_driver vfio_device_find_driver(const struct vfio_device *dev, const char *name)
{
	for (enum vfio_driver driver = VFIO_DRIVER_VFIO; driver < NR_VFIO_DRIVERS; driver++)
		if (!strcmp(name_of(dev, driver), name))
			return driver;
	return VFIO_DRIVER_NONE;
}

bool vfio_device_bound(const struct vfio_device *dev)
{
	return vfio_device_driver(dev) == VFIO_DRIVER_VFIO;
}

static void call_host_driver(struct vfio_device *dev, void *arg)
{
	bool bound = atomic_load(&dev->state) == DEVICE_MODEL;

	/* Of two who come together, each sees what is so in the end. */
	if (bound == dev->host_bound)
		return;
	dev->host_bound = bound;
	dev->model->host_driver(dev->priv, bound);
}

void device_host_driver(struct vfio_device *dev)
{
	if (dev->model->host_driver)
		device_call(dev, call_host_driver, NULL);
}

static int take(struct vfio_device *dev, enum device_state to)
{
	int ret;

	pthread_mutex_lock(&dev->machine->lock);
	ret = device_take_locked(dev, to);
	pthread_mutex_unlock(&dev->machine->lock);
	return ret;
}

int vfio_device_bind_to(struct vfio_device *dev, enum vfio_driver driver)
{
	int ret;

	switch (driver) {
	case VFIO_DRIVER_VFIO:
		return take(dev, DEVICE_PRESENT);
	case VFIO_DRIVER_UIO:
		return vfio_device_uio_bind(dev);
	case VFIO_DRIVER_STUB:
		return take(dev, DEVICE_STUB);
	case VFIO_DRIVER_MODEL:
		ret = take(dev, DEVICE_MODEL);
		if (!ret)
			device_host_driver(dev);
		return ret;
	default:
		return -EINVAL;
	}
}

int vfio_device_bind(struct vfio_device *dev)
{
	return vfio_device_bind_to(dev, VFIO_DRIVER_VFIO);
}
