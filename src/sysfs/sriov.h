/* SPDX-License-Identifier: BSD-3-Clause */
/* Files of PFs and VFs (sriov.c), as in table.h. */
#ifndef UVFIO_SYSFS_SRIOV_H
#define UVFIO_SYSFS_SRIOV_H

#include "sysfs/table.h"

enum sriov_number {
	SRIOV_TOTAL,
	SRIOV_NUM,
	SRIOV_OFFSET,
	SRIOV_STRIDE,
	SRIOV_VF_DEVICE,
	SRIOV_AUTOPROBE,
	SRIOV_TOTAL_MSIX,
};

bool sriov_is_pf(struct sysfs *fs, const struct sysfs_node *node);
bool sriov_is_vf(struct sysfs *fs, const struct sysfs_node *node);
bool sriov_is_no_vf(struct sysfs *fs, const struct sysfs_node *node);
/* node->entry->arg: enum sriov_number. */
ssize_t show_sriov(struct sysfs *fs, const struct sysfs_node *node, char *out, size_t size);
ssize_t show_physfn(struct sysfs *fs, const struct sysfs_node *node, char *out, size_t size);
ssize_t store_numvfs(struct sysfs *fs, const struct sysfs_node *node, struct sysfs_store *s);
ssize_t store_vf_autoprobe(struct sysfs *fs, const struct sysfs_node *node, struct sysfs_store *s);
ssize_t store_msix_count(struct sysfs *fs, const struct sysfs_node *node, struct sysfs_store *s);

/* What the bus knows of a PF or a VF, into @f; the lock held. */
void sriov_fill(struct function *f, struct vfio_device *dev);
/* BARs of all VFs of a PF together, as they are now; none for what is no PF. */
void sriov_bars(struct sysfs *fs, const struct function *f, struct function_bar bars[6]);

#endif
