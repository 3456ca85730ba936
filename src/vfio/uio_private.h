/* SPDX-License-Identifier: BSD-3-Clause */
/* What the core's files share of uio (uio.h); a build without it has uio_none.c. */
#ifndef UVFIO_VFIO_UIO_PRIVATE_H
#define UVFIO_VFIO_UIO_PRIVATE_H

#include "vfio/machine_private.h"
#include "vfio/uio.h"

struct uio {
	struct vfio_device *dev; /* while not gone */
	unsigned minor;
	bool has_irq;

	pthread_mutex_t session;
	unsigned opens;
	bool is_open;               /* the device is */
	struct vfio_device_file df; /* what listings and ioctls know it by */
	int eventfd;                /* of the line, -1 */
	struct uvfio_watch *watch;

	pthread_mutex_t lock; /* what follows */
	unsigned refs;        /* the binding, files, calls */
	unsigned nr_files;
	bool gone;
	uint32_t events;
	struct uio_file *files;
};

/* The binding of @dev with a reference, or NULL. */
struct uio *uio_get(struct vfio_device *dev);
void uio_put(struct uio *uio);

/* uio_irqs.c; the device is open, uio->session held. */
/* The line signals uio->eventfd from now on, if there is a line.  0 or -errno. */
int uio_line_on(struct uio *uio);
int uio_mask_line(struct uio *uio, bool mask);
/* Bus mastering is on while messages are, and what SET_IRQS did takes effect. */
void uio_apply_irqs(struct uio *uio);

/* uio.c, for the rest of the core. */
/* May uio_pci_generic have @dev, which is not in the machine yet?  -EINVAL with a message. */
int uio_check(struct vfio_device *dev, struct uvfio_error *err);
/* The device is freed. */
void uio_fini(struct vfio_device *dev);
/* What a write of the host's to config space may change while uio has the device: @value with the
 * rest as it is.  config_lock held. */
uint32_t uio_guard(struct vfio_device *dev, unsigned off, unsigned size, uint32_t value);
/* The host has written COMMAND with DisINTx set or clear.  Without locks. */
void uio_command_written(struct vfio_device *dev, bool disable);

#endif
