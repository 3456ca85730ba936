/* SPDX-License-Identifier: BSD-3-Clause */
/* For nbd.c only. */
#ifndef UVFIO_BLOCK_NBD_CONNECT_H
#define UVFIO_BLOCK_NBD_CONNECT_H

#include <stddef.h>

struct nbd_handle;

/* A handle that is ready, or NULL with a message in @why.  Waits; any thread. */
struct nbd_handle *nbd_connect_within(const char *uri, unsigned timeout_ms, char *why, size_t size);

#endif
