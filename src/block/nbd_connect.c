/* SPDX-License-Identifier: BSD-3-Clause */
/* Connecting to an NBD server without waiting for ever: it may listen and never say a word. */
#include <libnbd.h>
#include <stdio.h>
#include "base/ctx.h"
#include "block/nbd_connect.h"

struct nbd_handle *nbd_connect_within(const char *uri, unsigned timeout_ms, char *why, size_t size)
{
	uint64_t end = uvfio_now_ns() + timeout_ms * 1000000ull;
	struct nbd_handle *h = nbd_create();

	if (!h || nbd_set_pread_initialize(h, false) || nbd_aio_connect_uri(h, uri))
		goto fail;
	while (nbd_aio_is_connecting(h) == 1) {
		uint64_t now = uvfio_now_ns();

		if (now >= end || nbd_poll(h, (end - now) / 1000000u + 1) == 0) {
			snprintf(why, size, "no answer within %u ms", timeout_ms);
			nbd_close(h);
			return NULL;
		}
	}
	if (nbd_aio_is_ready(h) == 1)
		return h;
fail:
	snprintf(why, size, "%s", nbd_get_error() ? nbd_get_error() : "not enough memory");
	nbd_close(h);
	return NULL;
}
