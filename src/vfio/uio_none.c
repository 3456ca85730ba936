/* SPDX-License-Identifier: BSD-3-Clause */
/* A build without uio (uio.h): no device can be bound to it. */
#include <errno.h>
#include "vfio/machine_private.h"
#include "vfio/uio_private.h"

bool vfio_uio_built(void)
{
	return false;
}

void vfio_machine_set_uio_first(struct vfio_machine *machine, unsigned first)
{
}

unsigned vfio_machine_uio_first(struct vfio_machine *machine)
{
	return 0;
}

int vfio_device_uio_bind(struct vfio_device *dev)
{
	return -ENODEV;
}

int vfio_device_uio_unbind(struct vfio_device *dev)
{
	return -ENODEV;
}

bool vfio_device_uio(struct vfio_device *dev, unsigned *minor)
{
	return false;
}

uint32_t vfio_device_uio_events(struct vfio_device *dev)
{
	return 0;
}

int vfio_uio_open(struct vfio_device *dev, const struct vfio_client *client,
		  void (*changed)(void *arg), void *arg, struct uio_file **out)
{
	return -ENODEV;
}

int vfio_uio_read(struct uio_file *file, int32_t *count)
{
	return -EIO;
}

unsigned vfio_uio_poll(struct uio_file *file)
{
	return (unsigned)-EIO;
}

int vfio_uio_control(struct uio_file *file, int32_t on)
{
	return -EINVAL;
}

void vfio_uio_release(struct uio_file *file)
{
}

int vfio_device_uio_ioctl(struct vfio_device *dev, struct vfio_client *client, unsigned cmd,
			  uint64_t arg)
{
	return -ENODEV;
}

int uio_check(struct vfio_device *dev, struct uvfio_error *err)
{
	return uvfio_error_set(err, -EINVAL,
			       "driver=%s: this uvfio was built without uio (meson's "
			       "-Duio=disabled)",
			       VFIO_UIO_DRIVER);
}

void uio_fini(struct vfio_device *dev)
{
}

uint32_t uio_guard(struct vfio_device *dev, unsigned off, unsigned size, uint32_t value)
{
	return value;
}

void uio_command_written(struct vfio_device *dev, bool disable)
{
}
