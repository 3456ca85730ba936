/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef UVFIO_UAPI_MOUNTS_H
#define UVFIO_UAPI_MOUNTS_H

#include "uapi/tree.h"

/* Make the tree in @fd (tree.h) in this mount namespace, which must be the caller's own: 0 or
 * -errno with a message.  Writes a warning to stderr for each thing of the machine that it hides.
 */
int uapi_mounts_make(int fd, int *covered, struct uvfio_error *err);

#endif
