/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef UVFIO_UAPI_MOUNTS_H
#define UVFIO_UAPI_MOUNTS_H

#include "uapi/tree.h"

/* Keep what is mounted from now on in this mount namespace, which must be the caller's own: 0 or
 * -errno with a message. */
int uapi_mounts_begin(struct uvfio_error *err);
/* Mount FUSE on /sys for a moment, until uapi_mounts_make() or uapi_mounts_no_fuse(): /dev/fuse, or
 * -errno. */
int uapi_mounts_fuse(void);
void uapi_mounts_no_fuse(void);

/* Make a file system of FUSE that is mounted nowhere, its files being the caller's alone: /dev/fuse,
 * or -errno.  *@mount: its root. */
int uapi_mounts_unseen_fuse(int *mount);

/* Directories under others of the same name: what is made there has that name, but no path leads to
 * it.  Descriptors; -1: there is none. */
struct uapi_covered {
	int vfio; /* under /dev/vfio */
	int dev;  /* under /dev */
};

/* Make the tree in @fd (tree.h) in this mount namespace: 0 or -errno with a message; *@covered is
 * then the caller's.  @fuse: it has records of TREE_BIND.  Writes a warning to stderr for
 * each thing of the machine that it hides.
 */
int uapi_mounts_make(int fd, bool fuse, struct uapi_covered *covered, struct uvfio_error *err);

#endif
