/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef UVFIO_UAPI_CHILD_H
#define UVFIO_UAPI_CHILD_H

#include <stdbool.h>
#include <stddef.h>

/* Does this process have all of @caps (1 << CAP_…) in effect? */
bool uapi_has_caps(unsigned long long caps);
/* The file of the preloaded helper: beside this executable in the build tree, or where it was
 * installed.  False when there is none. */
bool uapi_find_helper(char *path, size_t size);

#endif
