/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef UVFIO_SYSFS_FUSE_H
#define UVFIO_SYSFS_FUSE_H

#define FUSE_USE_VERSION 314
#include <fuse_lowlevel.h>
#include "sysfs/table.h"

/* What is done for each request; user data: the struct sysfs. */
extern const struct fuse_lowlevel_ops sysfs_fuse_ops;
/* Answer jobs whose callers were interrupted.  After each request, in the thread that serves. */
void sysfs_fuse_answer_interrupted(struct sysfs *fs);

#endif
