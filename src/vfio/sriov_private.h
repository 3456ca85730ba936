/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the core's files share of SR-IOV (sriov.h).
 *
 *     OFF ──numvfs=N──▶ MAKING ──all are there──▶ ON ──numvfs=0──▶ TAKING ──the last is freed──▶
 * OFF └──one cannot be made──▶ OFF
 *
 * One thread at a time changes a PF's VFs: the worker, which carries out the changes that are
 * queued and ends when there are none, or who adds the PF.  MAKING is done with add_lock and
 * sriov_lock held, and all VFs appear at once; so nobody has one that goes again because the next
 * one failed. In TAKING no lock is held: users are asked and waited for as with every removal
 * (unplug.c).
 */
#ifndef UVFIO_VFIO_SRIOV_PRIVATE_H
#define UVFIO_VFIO_SRIOV_PRIVATE_H

#include "pci/sriov.h"
#include "vfio/machine_private.h"
#include "vfio/sriov.h"

enum sriov_state { SRIOV_OFF, SRIOV_MAKING, SRIOV_ON, SRIOV_TAKING, NR_SRIOV_STATES };

struct sriov_change;
struct removal;

/* Of a PF. */
struct sriov {
	struct vfio_device *pf;
	unsigned total;
	unsigned first_rid, last_rid; /* routing ids that its VFs have or may have */
	atomic_bool autoprobe;

	pthread_mutex_t lock; /* pf->sriov_lock; what the pool gives (vectors.c) */

	/*
	 * The VFs.  Elements are written under machine->lock, and so is @num_vfs.  Who has no
	 * business with that lock, as in a reset of the PF, reads them with @alive held for
	 * reading: it is had for writing, without any other lock, by who makes the array, and once
	 * between a VF's leaving and its end.
	 */
	pthread_rwlock_t alive;
	atomic_uint num_vfs;
	_Atomic(struct vfio_device *) *vfs; /* @num_vfs; NULL: that one was removed */

	/* Under machine->lock. */
	enum sriov_state state;
	bool working;    /* somebody is changing them */
	bool leaving;    /* the PF is losing its driver, or leaves: all go */
	bool by_vfio;    /* vfio-pci has enabled them (C) */
	uint64_t cut_at; /* as of struct removal; for those that are being taken */
	bool surprise;
	unsigned live;              /* made, in the machine or on the way out */
	struct sriov_change *queue; /* first in, first out */
	struct removal *left;       /* VFs that were given back: the worker ends them */
};

/* uvfio_device_init() of a function with @desc->sriov, before its function is made: chooses the
 * address, unless the user has.  0 or -errno with a message. */
int sriov_init(struct vfio_device *dev, const struct uvfio_pci_desc *desc, struct uvfio_error *err);
/* A PF is freed, whose VFs were freed just now, with the machine. */
void sriov_end(struct vfio_device *dev);
void sriov_fini(struct vfio_device *dev);
/* Are there addresses of VFs on the bus of @addr (@whole_bus), or is @addr one?  Of which PF, or
 * NULL. machine->lock held. */
struct vfio_device *sriov_reserves_locked(struct vfio_machine *machine, const struct pci_addr *addr,
					  bool whole_bus);
/* What is written to a file of /sys: one number of C's notations, up to @max, with a plus or not
 * and one newline at its end or none.  0, or -EINVAL. */
int sriov_parse_number(const char *text, unsigned long max, unsigned *n);
/* numvfs= of a PF that has just been added.  add_lock held.  0 or -errno with a message. */
int sriov_start(struct vfio_device *pf, unsigned n, struct uvfio_error *err);
/* What @n written to sriov_numvfs meets now: 1 when there is something to be done, 0, or -errno.
 * machine->lock held. */
int sriov_check_locked(struct vfio_device *pf, unsigned n);
/* @pf, which is losing its driver or leaves, loses its VFs first.  @gone is called when there are
 * none, under machine->lock.  1; 0: there are none, it is not called; -errno.  machine->lock held.
 */
int sriov_leave_locked(struct vfio_device *pf, uint64_t cut_at, bool surprise,
		       void (*gone)(void *arg), void *arg);
/* The limit has changed meanwhile. */
void sriov_cut_locked(struct vfio_device *pf, uint64_t cut_at, bool surprise);
/* It stays, without a driver. */
void sriov_stay_locked(struct vfio_device *pf);
/* VF @dev has left the machine; was freed.  machine->lock held. */
void sriov_vf_left_locked(struct vfio_device *dev);
void sriov_vf_freed_locked(struct vfio_device *pf);
/* Before a VF that has left is freed: wait for who found it without machine->lock.  No lock held.
 */
void sriov_vf_settle(struct vfio_device *dev);
/* A PF is being reset, and is quiet: its VFs with it.  The PF's config_lock held. */
void sriov_reset_vfs(struct vfio_device *pf);
/* VF Enable or VF MSE of a PF has changed: look at the VFs anew.  The same. */
void sriov_apply_vfs(struct vfio_device *pf);

/* sriov_make.c; add_lock and sriov_lock held. */
/* Make @n VFs, which nobody sees yet; and let them in, all at once.  0 or -errno with a message. */
int sriov_make(struct vfio_device *pf, unsigned n, struct uvfio_error *err);
/* The last one has gone: the capability, the model. */
void sriov_unmake(struct vfio_device *pf);
/* Place the BARs of a PF's VFs, all of them one behind the other: those that have no place, or
 * whose size is another now.  bar.c calls it, and who enables VFs, under config_lock. */
int sriov_place_bars(struct vfio_device *pf, struct uvfio_error *err);
/* Where BAR @bar of a VF is. */
uint64_t sriov_bar_address(const struct vfio_device *vf, unsigned bar);

/* unplug_vfs.c: have all VFs of @pf removed, by its sriov's limit; then wait for their end.  No
 * lock.
 */
void removal_take_vfs(struct vfio_device *pf);

#endif
