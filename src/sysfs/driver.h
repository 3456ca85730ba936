/* SPDX-License-Identifier: BSD-3-Clause */
/* Stores of functions that concern the bus and its driver (driver.c), as in table.h. */
#ifndef UVFIO_SYSFS_DRIVER_H
#define UVFIO_SYSFS_DRIVER_H

#include "sysfs/table.h"

ssize_t store_enable(struct sysfs *fs, const struct sysfs_node *node, struct sysfs_store *s);
ssize_t store_reset(struct sysfs *fs, const struct sysfs_node *node, struct sysfs_store *s);
ssize_t store_remove(struct sysfs *fs, const struct sysfs_node *node, struct sysfs_store *s);
ssize_t store_rescan(struct sysfs *fs, const struct sysfs_node *node, struct sysfs_store *s);

#endif
