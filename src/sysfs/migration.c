/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * uvfio/ of a function: what a manager finds out about its migration (E) before anybody opens it.
 * No kernel has these files; what they say does not change.
 */
#include <errno.h>
#include <stdio.h>
#include "sysfs/functions.h"
#include "vfio/observe.h"

enum { MIG_INTERFACE, MIG_P2P, MIG_PRE_COPY_FILE, MIG_QUIET_MMIO };

static ssize_t show_migration(struct sysfs *fs, const struct sysfs_node *node, char *out,
			      size_t size)
{
	struct vfio_device *dev = function_device(fs, node->f);
	struct vfio_migration_state s;

	if (!dev)
		return -ENODEV;
	vfio_device_migration_state(dev, &s);
	vfio_device_put(dev);
	switch (node->entry->arg) {
	case MIG_P2P:
		return snprintf(out, size, "%d\n", s.p2p);
	case MIG_PRE_COPY_FILE:
		return snprintf(out, size, "%d\n", s.pre_copy);
	case MIG_QUIET_MMIO:
		return snprintf(out, size, "%d\n", s.quiet_mmio);
	default:
		return snprintf(out, size, "%s\n", s.interface);
	}
}

#define READ(name_, arg_)                                                                          \
	{                                                                                          \
		.name = name_, .type = SYSFS_TEXT, .mode = 0444, .show = show_migration,           \
		.arg = arg_                                                                        \
	}

const struct sysfs_entry uvfio_entries[] = {
	READ("migration", MIG_INTERFACE),
	READ("migration_p2p", MIG_P2P),
	READ("migration_pre_copy", MIG_PRE_COPY_FILE),
	READ("migration_quiet_mmio", MIG_QUIET_MMIO),
	{0},
};
