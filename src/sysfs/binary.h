/* SPDX-License-Identifier: BSD-3-Clause */
/* The files config, resourceN and rom. */
#ifndef UVFIO_SYSFS_BINARY_H
#define UVFIO_SYSFS_BINARY_H

#include "sysfs/table.h"

/* What read(2) and write(2) at @offset return, or -errno.  -EINPROGRESS: *@later is to be done as a
 * job of QUEUE_CONFIG on node->f, with *@len bytes.  At most SYSFS_PAGE bytes; the lock held. */
ssize_t binary_read(struct sysfs *fs, const struct sysfs_node *node, bool admin, void *out,
		    size_t *len, uint64_t offset, sysfs_job_fn *later);
ssize_t binary_write(struct sysfs *fs, const struct sysfs_node *node, const void *in, size_t *len,
		     uint64_t offset, sysfs_job_fn *later);

#endif
