/* SPDX-License-Identifier: BSD-3-Clause */
/* Connecting to an NBD server without waiting for ever: it may listen and never say a word. */
#include <ctype.h>
#include <errno.h>
#include <libnbd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <uvfio/device.h>
#include "base/ctx.h"
#include "block/nbd_connect.h"

/* The export that @uri names: its path, without the first slash and with %XX decoded. */
static char *export_of(const char *uri)
{
	const char *authority = strstr(uri, "://"), *in;
	char *name, *out;

	in = authority ? strchr(authority + 3, '/') : NULL;
	name = out = calloc(1, strlen(uri) + 1);
	for (in = in ? in + 1 : ""; name && *in && *in != '?' && *in != '#'; in++) {
		unsigned byte;

		if (in[0] == '%' && isxdigit((unsigned char)in[1]) &&
		    isxdigit((unsigned char)in[2]) && sscanf(in + 1, "%2x", &byte) == 1) {
			*out++ = (char)byte;
			in += 2;
		} else {
			*out++ = *in;
		}
	}
	return name;
}

/* 0, or -1 with a message in @why or libnbd's error. */
static int begin(struct nbd_handle *h, struct uvfio_device *dev, const char *uri, char *why,
		 size_t size)
{
	char *name;
	int fd, ret;

	fd = uvfio_connect(dev, uri);
	if (fd == -ENOSYS)
		return nbd_aio_connect_uri(h, uri);
	if (fd < 0) {
		snprintf(why, size, "%s", strerror(-fd));
		return -1;
	}
	name = export_of(uri);
	ret = name ? nbd_set_export_name(h, name) : -1;
	free(name);
	if (ret) {
		close(fd);
		return -1;
	}
	return nbd_aio_connect_socket(h, fd);
}

struct nbd_handle *nbd_connect_within(struct uvfio_device *dev, const char *uri,
				      unsigned timeout_ms, char *why, size_t size)
{
	uint64_t end = uvfio_now_ns() + timeout_ms * 1000000ull;
	struct nbd_handle *h = nbd_create();

	why[0] = '\0';
	if (!h || nbd_set_pread_initialize(h, false) || begin(h, dev, uri, why, size))
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
	if (!why[0])
		snprintf(why, size, "%s", nbd_get_error() ? nbd_get_error() : "not enough memory");
	nbd_close(h);
	return NULL;
}
