/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The directories that a program finds: /dev/vfio, and of /sys what the machine's functions, groups
 * and drivers look like.  S describes them, in a memfd of records; C makes them in its mount
 * namespace (mounts.h).  With FUSE, of /sys these are parts of a file system that S serves
 * (sysfs/sysfs.h), which are bound into it; without, files with the values of the moment when the
 * program starts (sysfs/snapshot.h).
 */
#ifndef UVFIO_UAPI_TREE_H
#define UVFIO_UAPI_TREE_H

#include <stdint.h>
#include "uapi/core.h"

enum tree_kind {
	TREE_CLAIM, /* an empty directory; what the machine has under this name is hidden */
	TREE_MOUNT, /* the same, on a file system of its own, which covers another; once */
	TREE_DIR,
	TREE_FILE,
	TREE_NODE, /* an empty file in a directory of the machine's, which is covered twice; once */
	TREE_LINK,
	/* What the FUSE file system on /sys has there, or at @data: a directory, or a file (@mode). */
	TREE_BIND,
};

/* A record; @path_len bytes of path and @data_len of contents (of the link's target) follow, each
 * with a 0 behind it, padded to 8 bytes. */
struct tree_record {
	uint32_t kind;
	uint32_t mode;
	uint32_t path_len, data_len;
};

#define TREE_RECORD_SIZE(path_len, data_len)                                                       \
	((sizeof(struct tree_record) + (path_len) + (data_len) + 2 + 7) & ~(size_t)7)

#define TREE_DEV_VFIO  "/dev/vfio"
#define TREE_DEV_IOMMU "/dev/iommu"
#define TREE_DEV_UIO  "uvfio" /* in /dev: where uioN lead */

/* An fd of a memfd with the tree of @core's machine, or -errno with a message. */
int uapi_tree_make(struct uapi_core *core, struct uvfio_error *err);
/* The same with what src/sysfs serves in place of files, its functions in devices/TREE_SUBDIR. */
int uapi_tree_make_served(struct uapi_core *core, struct uvfio_error *err);

#endif
