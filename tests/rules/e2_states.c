// SPDX-License-Identifier: BSD-3-Clause
/*
 * E.2: from each state to each.  What a user can see of a way is its end: the state that GET
 * answers, the descriptor that SET gives or not, and what has become of the one before.
 */
#include "e.h"

/* Who reads or writes data in a state. */
static char session(unsigned state)
{
	switch (state) {
	case PRE_COPY:
	case PRE_COPY_P2P:
	case STOP_COPY:
		return 'r';
	case RESUMING:
		return 'w';
	default:
		return '-';
	}
}

static void way(struct t *t, unsigned can, unsigned from, uint32_t to)
{
	bool back = from == STOP_COPY && (to == PRE_COPY || to == PRE_COPY_P2P);
	bool there = has_state(can, to) && !back;
	/* Between states with a session: one of the same kind goes on, without a new descriptor. */
	bool begins = there && session(to) != '-' && session(to) != session(from);
	bool ends = there && session(from) != '-' && session(to) != session(from);
	int before = go(t, from), fd = 77;
	char label[48], byte;
	long rc;

	snprintf(label, sizeof(label), "to-%s", to < NR_STATES ? state_name(to) : "unknown");
	rc = set_state(t, to, &fd);
	see_as(t, label, rc, there ? 0 : -EINVAL, there ? "0" : "EINVAL");
	if (there)
		see_as(t, "fd", begins ? fd >= 0 : fd, begins ? 1 : -1, begins ? "new" : "-1");
	see_state(t, "state", there ? to : from);
	if (before >= 0 && ends)
		see(t, "old",
		    session(from) == 'r' ? sys(read(before, &byte, 1))
					 : sys(write(before, &byte, 1)),
		    -ENODEV);
	if (fd >= 0 && begins && session(to) == 'r' && to == STOP_COPY)
		see(t, "reads", sys(read(fd, &byte, 1)), 1);
	if (before >= 0)
		close(before);
	if (begins && fd >= 0)
		close(fd);
	must(t, "reset", sys(ioctl(t->dev, VFIO_DEVICE_RESET)));
	must(t, "after-reset", get_state(t) == RUNNING ? 0 : -EIO);
}

static void from_state(struct t *t)
{
	static const uint32_t targets[] = {STOP,     RUNNING,      STOP_COPY, RESUMING, RUNNING_P2P,
					   PRE_COPY, PRE_COPY_P2P, ERROR,     8,        0xffffffff};
	unsigned from = *(const unsigned *)t->rule->arg, can = movable(t, 0);

	if (!has_state(can, from))
		skip(t, "the device cannot be moved in this way");
	for (size_t i = 0; i < ARRAY_LEN(targets); i++)
		way(t, can, from, targets[i]);
}

#define FROM(state)                                                                                \
	OPEN_DEVICE, NEED_RESET, from_state, &(const unsigned)                                     \
	{                                                                                          \
		state                                                                              \
	}
static const struct rule rules[] = {
	{"E.2/from/STOP", FROM(STOP)},
	{"E.2/from/RUNNING", FROM(RUNNING)},
	{"E.2/from/STOP_COPY", FROM(STOP_COPY)},
	{"E.2/from/RESUMING", FROM(RESUMING)},
	{"E.2/from/RUNNING_P2P", FROM(RUNNING_P2P)},
	{"E.2/from/PRE_COPY", FROM(PRE_COPY)},
	{"E.2/from/PRE_COPY_P2P", FROM(PRE_COPY_P2P)},
};
const struct section section_e2 = SECTION("E.2", rules);
