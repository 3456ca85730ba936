/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * E.2: the states and the way from each to each.
 *
 * Theory of operation.  One table tells, for the state that a device is in and the one that is
 * wanted, which state comes next if the device could do everything.  A state that it does not have
 * is passed through without stopping there: the table is asked again from it.  That is all: the
 * table is made so that what is left of a way without those states is a way.
 *
 * States with a session of data are on a way only as its ends, or one of a session to another of
 * the same: no way makes or ends a session that its user did not ask for.
 */
#include <assert.h>
#include <errno.h>
#include "migration/state.h"

static const char *const names[] = {
	[MIG_ERROR] = "ERROR",       [MIG_STOP] = "STOP",
	[MIG_RUNNING] = "RUNNING",   [MIG_STOP_COPY] = "STOP_COPY",
	[MIG_RESUMING] = "RESUMING", [MIG_RUNNING_P2P] = "RUNNING_P2P",
	[MIG_PRE_COPY] = "PRE_COPY", [MIG_PRE_COPY_P2P] = "PRE_COPY_P2P",
};
static_assert(sizeof(names) / sizeof(names[0]) == NR_MIG_STATES, "a name each");

static const struct {
	unsigned needs;
	enum mig_session session;
	bool initiates, responds;
} states[] = {
	[MIG_ERROR] = {MIG_CAN_STOP_COPY, MIG_SESSION_NONE, false, false},
	[MIG_STOP] = {MIG_CAN_STOP_COPY, MIG_SESSION_NONE, false, false},
	[MIG_RUNNING] = {MIG_CAN_STOP_COPY, MIG_SESSION_NONE, true, true},
	[MIG_STOP_COPY] = {MIG_CAN_STOP_COPY, MIG_SESSION_SAVE, false, false},
	[MIG_RESUMING] = {MIG_CAN_STOP_COPY, MIG_SESSION_LOAD, false, false},
	[MIG_RUNNING_P2P] = {MIG_CAN_STOP_COPY | MIG_CAN_P2P, MIG_SESSION_NONE, false, true},
	[MIG_PRE_COPY] = {MIG_CAN_STOP_COPY | MIG_CAN_PRE_COPY, MIG_SESSION_SAVE, true, true},
	[MIG_PRE_COPY_P2P] = {MIG_CAN_ALL, MIG_SESSION_SAVE, false, true},
};
static_assert(sizeof(states) / sizeof(states[0]) == NR_MIG_STATES, "a row each");

/* next_state[where it is][what is wanted]; ERROR: there is no way. */
static const enum mig_state next_state[NR_MIG_STATES][NR_MIG_STATES] = {
#define S MIG_STOP
#define R MIG_RUNNING
#define Y MIG_PRE_COPY
#define Q MIG_PRE_COPY_P2P
#define C MIG_STOP_COPY
#define Z MIG_RESUMING
#define P MIG_RUNNING_P2P
#define E MIG_ERROR
#define WAYS(s, r, y, q, c, z, p)                                                                  \
	{                                                                                          \
		[S] = s, [R] = r, [Y] = y, [Q] = q, [C] = c, [Z] = z, [P] = p                      \
	}
	/*         S  R  Y  Q  C  Z  P: wanted */
	[S] = WAYS(S, P, P, P, C, Z, P), [R] = WAYS(P, R, Y, P, P, P, P),
	[Y] = WAYS(R, R, Y, Q, Q, R, R), [Q] = WAYS(P, P, Y, Q, C, P, P),
	[C] = WAYS(S, S, E, E, C, S, S), [Z] = WAYS(S, S, S, S, S, Z, S),
	[P] = WAYS(S, R, R, Q, S, S, P), [E] = WAYS(E, E, E, E, E, E, E),
#undef WAYS
#undef S
#undef R
#undef Y
#undef Q
#undef C
#undef Z
#undef P
#undef E
};

const char *mig_state_name(unsigned state)
{
	return state < NR_MIG_STATES ? names[state] : "?";
}

bool mig_has_state(unsigned can, unsigned state)
{
	return state < NR_MIG_STATES && (states[state].needs & ~can) == 0;
}

int mig_next(unsigned can, enum mig_state cur, unsigned target, enum mig_state *next)
{
	enum mig_state at = cur;

	if (!mig_has_state(can, cur) || !mig_has_state(can, target) || target == MIG_ERROR ||
	    cur == MIG_ERROR)
		return -EINVAL;
	do
		at = next_state[at][target];
	while (!mig_has_state(can, at));
	if (at == MIG_ERROR)
		return -EINVAL;
	*next = at;
	return 0;
}

enum mig_session mig_session(enum mig_state state)
{
	return states[state].session;
}

bool mig_initiates(enum mig_state state)
{
	return states[state].initiates;
}

bool mig_responds(enum mig_state state)
{
	return states[state].responds;
}
