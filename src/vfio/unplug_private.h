/* SPDX-License-Identifier: BSD-3-Clause */
/* What unplug.c and unplug_vfs.c share. */
#ifndef UVFIO_VFIO_UNPLUG_PRIVATE_H
#define UVFIO_VFIO_UNPLUG_PRIVATE_H

#include "vfio/sriov_private.h"

/* Under machine->lock, but for what a busy one's thread does. */
struct removal {
	struct removal *next;
	struct vfio_machine *machine;
	struct vfio_device *dev; /* not after it was unbound: somebody else may remove it */
	bool busy;               /* a thread of its own is at work */
	bool leaves;             /* the machine; else it only loses its driver */
	bool has_vfs;            /* it is not asked for, and stays, until they have gone */
	bool batch;              /* a VF that goes with all others */
	bool surprise;           /* cut first, ask then */
	uint64_t cut_at, ask_at; /* uvfio_now_ns(); UINT64_MAX: never */
	void (*done)(void *arg, const char *name);
	void *arg;
	void (*unbound)(void *arg);
	void *unbound_arg;
};

/* Of @dev, or NULL.  machine->lock held. */
struct removal *removal_find_locked(const struct vfio_device *dev);
/* It was given back: the end of it, and of @r.  No lock held; waits for who looks at it. */
void removal_finish(struct removal *r);

#endif
