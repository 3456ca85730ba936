/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef UVFIO_UAPI_FILTER_H
#define UVFIO_UAPI_FILTER_H

#include <uvfio/device.h>

/* Regions that can be mapped, and config space, lie at or above this offset of a device fd; what
 * lies below is another file's business. */
#define UAPI_MIN_OFFSET (1ull << 40)

/* What is trapped beyond VFIO's own calls. */
#define UAPI_FILTER_PATHS    1u /* calls that take a path (shadow.h) */
#define UAPI_FILTER_EVENTFDS 2u /* those that make an eventfd (kept.h) */

/* Install the filter in this process (for good: it is inherited by fork and exec) and return its
 * listener, close-on-exec; or -errno with a message.  -EBUSY: a filter with a listener is already
 * there.  Needs no_new_privs or CAP_SYS_ADMIN. */
int uapi_filter_install(unsigned what, struct uvfio_error *err);

#endif
