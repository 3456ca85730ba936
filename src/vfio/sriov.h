/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * SR-IOV: functions (PFs) that make others (VFs).
 *
 * A VF is a device like any other (vfio.h, observe.h, host.h), with its own users; it comes into
 * being and goes by a write to its PF's `sriov_numvfs`.  The PF outlives it.
 *
 * Any thread; @dev, @pf and @vf are held (observe.h).  Nothing here waits.
 */
#ifndef UVFIO_VFIO_SRIOV_H
#define UVFIO_VFIO_SRIOV_H

#include "vfio/vfio.h"

#define VFIO_MAX_VFS 4095u

bool vfio_device_is_pf(const struct vfio_device *dev);
/* The PF of a VF, valid for as long as @dev is held; NULL: @dev is none. */
struct vfio_device *vfio_device_physfn(const struct vfio_device *dev);
unsigned vfio_device_vf_index(const struct vfio_device *vf);
/* What `sriov_totalvfs` and `sriov_numvfs` say; 0 for what is no PF. */
unsigned vfio_device_total_vfs(const struct vfio_device *pf);
unsigned vfio_device_num_vfs(const struct vfio_device *pf);
/* Where BAR @bar of all VFs that there may be is, and its bytes; 0: it is not implemented. */
uint64_t vfio_device_vf_bar(struct vfio_device *pf, unsigned bar, uint64_t *size);
/* VF @index, held, or NULL: it is not there. */
struct vfio_device *vfio_device_get_vf(struct vfio_device *pf, unsigned index);

/* What is written to `sriov_numvfs`, one newline at its end or none, in C's notations: 0, or
 * -EINVAL for what is no number below 65536. */
int vfio_parse_numvfs(const char *text, unsigned *n);
/*
 * Have @n VFs (C).  In this order: -ERANGE above the total; 0 when there are as many; -ENOENT: no
 * driver has the PF, or its driver enables none (vfio-pci with enable_sriov=N, uio_pci_generic);
 * -EBUSY: there are others; -ENOMEM, or what the model says.  Several calls for one PF are carried
 * out one after another, and judged when it is their turn.
 *
 * 0: @done (may be NULL) is called once, in a thread of the machine's, with the result.  To take
 * VFs away is to wait for their users, who are asked by REQ at once and every 10 seconds; what is
 * new can be opened by then.  Otherwise -errno, and @done is not called.  -ENODEV: no PF, or it is
 * being removed.
 */
int vfio_device_set_numvfs(struct vfio_device *pf, unsigned n, void (*done)(void *arg, int result),
			   void *arg);
/* `sriov_drivers_autoprobe`: VFs that come into being are bound to vfio-pci; else, unless vfio-pci
 * has the PF, to nothing. */
bool vfio_device_drivers_autoprobe(const struct vfio_device *pf);
void vfio_device_set_drivers_autoprobe(struct vfio_device *pf, bool on);

/* ---- vectors of the pool (B); vectors.c ---- */

/* What `sriov_vf_total_msix` says: 0 unless the host's own driver has the PF and its model a pool.
 */
unsigned vfio_device_vf_total_msix(const struct vfio_device *pf);
/* What is written to `sriov_vf_msix_count`: 0, or -EINVAL. */
int vfio_parse_msix_count(const char *text, unsigned *n);
/* Give @vf that many vectors, 0: as many as at first.  -EOPNOTSUPP: its PF's driver cannot;
 * -EBUSY: a driver has the VF; then -EINVAL, -EOVERFLOW, -ENOSPC as uvfio_vf_set_vectors(), or what
 * the model says. */
int vfio_device_set_vf_msix_count(struct vfio_device *vf, unsigned n);

#endif
