/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The states of a device that migrates, and the way from one to another (E.2).  Pure functions of
 * their arguments: any thread.
 *
 * A device says what it can do (capabilities).  Its states are those that these allow, its arcs the
 * pairs for which mig_next() answers the target itself.  A user asks for any state; the device goes
 * there arc by arc, in the one order that every user may rely on.
 */
#ifndef UVFIO_MIGRATION_STATE_H
#define UVFIO_MIGRATION_STATE_H

#include <stdbool.h>

/* The numbers are the kernel's (VFIO_DEVICE_STATE_…). */
enum mig_state {
	MIG_ERROR = 0, /* left by a reset only */
	MIG_STOP = 1,
	MIG_RUNNING = 2, /* the first one, and that after a reset */
	MIG_STOP_COPY = 3,
	MIG_RESUMING = 4,
	MIG_RUNNING_P2P = 5,
	MIG_PRE_COPY = 6,
	MIG_PRE_COPY_P2P = 7,
	NR_MIG_STATES
};

/* What a device can do; the numbers are the kernel's (VFIO_MIGRATION_…). */
#define MIG_CAN_STOP_COPY (1u << 0) /* without this there is no migration */
#define MIG_CAN_P2P       (1u << 1) /* RUNNING_P2P, with PRE_COPY also PRE_COPY_P2P */
#define MIG_CAN_PRE_COPY  (1u << 2)
#define MIG_CAN_ALL       (MIG_CAN_STOP_COPY | MIG_CAN_P2P | MIG_CAN_PRE_COPY)

/* "RUNNING_P2P"; "?" for a number that is no state. */
const char *mig_state_name(unsigned state);

/* Does a device with these capabilities have the state?  ERROR is one that it can be in. */
bool mig_has_state(unsigned can, unsigned state);

/*
 * The next state on the way from @cur to @target: 0 and *@next, which is @cur when they are the
 * same.  -EINVAL: a capability is missing without which nothing migrates; @cur is ERROR; @target is
 * ERROR, none, or one that the device does not have; or there is no way (from STOP_COPY back to
 * PRE_COPY).
 */
int mig_next(unsigned can, enum mig_state cur, unsigned target, enum mig_state *next);

/* ---- what a state means ---- */

/* One session of data: PRE_COPY, PRE_COPY_P2P and STOP_COPY read it, RESUMING writes it. */
enum mig_session { MIG_SESSION_NONE, MIG_SESSION_SAVE, MIG_SESSION_LOAD };
enum mig_session mig_session(enum mig_state state);

/* The device may start DMA and interrupts of its own. */
bool mig_initiates(enum mig_state state);
/* Accesses to its registers and its memory, its user's and its peers', have their effect. */
bool mig_responds(enum mig_state state);

#endif
