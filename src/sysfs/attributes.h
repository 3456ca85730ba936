/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef UVFIO_SYSFS_ATTRIBUTES_H
#define UVFIO_SYSFS_ATTRIBUTES_H

#include <sys/stat.h>
#include "sysfs/table.h"

/* All with the lock held. */
void sysfs_attributes(struct sysfs *fs, const struct sysfs_node *node, struct stat *st);
/* Set in @st, and from now on, what @what (FUSE_SET_ATTR_…) says of @to: 0, or -ENOMEM. */
int sysfs_change(struct sysfs *fs, struct stat *st, const struct stat *to, int what);

#endif
