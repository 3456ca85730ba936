/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef UVFIO_SYSFS_CHECK_H
#define UVFIO_SYSFS_CHECK_H

#include <stdbool.h>
#include <stddef.h>

/* Is this a request that the kernel could have made: whole, with its names ended?  libfuse takes
 * the word of who speaks to it; behind a socket that may be anybody. */
bool sysfs_request_ok(const void *request, size_t len);

#endif
