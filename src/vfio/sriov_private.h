/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the core's files share of SR-IOV (sriov.h).
 *
 * Locks: sriov->lock is pf->sriov_lock of machine_private.h.
 */
#ifndef UVFIO_VFIO_SRIOV_PRIVATE_H
#define UVFIO_VFIO_SRIOV_PRIVATE_H

#include "vfio/machine_private.h"
#include "vfio/sriov.h"

/* Of a PF. */
struct sriov {
	struct vfio_device *pf;
	unsigned total;
	unsigned msix_pool, msix_min, msix_max; /* B; msix_pool 0: none */
	bool acs_off;                           /* the VFs are in the PF's group */
	atomic_bool autoprobe;

	pthread_mutex_t lock;
	atomic_uint num_vfs;
	struct vfio_device **vfs; /* @num_vfs; NULL: that one was removed; under machine->lock */
};

/* uvfio_device_init() of a function with desc->sriov: 0 or -errno with a message. */
int sriov_init(struct vfio_device *dev, const struct uvfio_pci_desc *desc, struct uvfio_error *err);
void sriov_fini(struct vfio_device *dev);

#endif
