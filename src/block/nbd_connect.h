/* SPDX-License-Identifier: BSD-3-Clause */
/* For nbd.c only. */
#ifndef UVFIO_BLOCK_NBD_CONNECT_H
#define UVFIO_BLOCK_NBD_CONNECT_H

#include <stddef.h>

struct nbd_handle;
struct uvfio_device;

/* A handle that is ready, or NULL with a message in @why.  By uvfio_connect(), or where that leaves
 * it to us by libnbd.  Waits; any thread. */
struct nbd_handle *nbd_connect_within(struct uvfio_device *dev, const char *uri,
				      unsigned timeout_ms, char *why, size_t size);

#endif
