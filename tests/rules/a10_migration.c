// SPDX-License-Identifier: BSD-3-Clause
/* A.10: the features of a device that can be moved (1, 2, 9 and 12): their frame. */
#include <fcntl.h>
#include "e.h"
#include "wire.h"

struct migration_call {
	uint32_t argsz, flags;
	long want;
};

static void call(struct t *t)
{
	const struct migration_call *c = t->rule->arg;
	uint8_t data[64] = {0};

	movable(t, 0);
	see(t, "rc", feature_call(t, c->argsz, c->flags, data, sizeof(data)), c->want);
	see_state(t, "state", RUNNING);
}

/* The same, of what only a device with PRE_COPY has. */
static void pre_copy_call(struct t *t)
{
	const struct migration_call *c = t->rule->arg;
	uint8_t data[64] = {0};

	movable(t, CAN_PRE_COPY);
	see(t, "rc", feature_call(t, c->argsz, c->flags, data, sizeof(data)), c->want);
}

static void flags(struct t *t)
{
	uint64_t given[2] = {~0ull, 0x5a5a5a5a5a5a5a5a};

	movable(t, 0);
	see(t, "rc", feature_call(t, 16, GET | MIGRATION, given, sizeof(given)), 0);
	see_true(t, "stop-copy", given[0] & CAN_STOP_COPY);
	see_hex(t, "others", given[0] & ~7ull, 0);
	see_hex(t, "behind", given[1], 0x5a5a5a5a5a5a5a5a);
	given[0] = 0;
	see(t, "more-room", feature_call(t, 24, GET | MIGRATION, given, sizeof(given)), 0);
	see_true(t, "stop-copy", given[0] & CAN_STOP_COPY);
}

static void state_get(struct t *t)
{
	uint32_t state[4] = {77, 77, 77, 77};

	movable(t, 0);
	see(t, "rc", feature_call(t, 16, GET | STATE, state, sizeof(state)), 0);
	see(t, "state", state[0], RUNNING);
	see(t, "fd", (int32_t)state[1], -1);
	see(t, "behind", state[2], 77);
}

/* A target that is none, and a payload that is too short: the frame comes first. */
static void state_order(struct t *t)
{
	uint32_t state[2] = {99, 77};
	int32_t *fd = (int32_t *)&state[1];

	movable(t, 0);
	see(t, "short", feature_call(t, 15, SET | STATE, state, sizeof(state)), -EINVAL);
	see(t, "untouched", *fd, 77);
	see(t, "probe", feature_call(t, 8, PROBE | SET | STATE, state, sizeof(state)), 0);
	see(t, "untouched", *fd, 77);
	see_state(t, "state", RUNNING);
}

/* A failure takes the descriptor back as well. */
static void state_failed(struct t *t)
{
	static const uint32_t targets[] = {0, 8, 99, 0xffffffff};

	movable(t, 0);
	for (size_t i = 0; i < ARRAY_LEN(targets); i++) {
		int fd = 77;

		see(t, "rc", set_state(t, targets[i], &fd), -EINVAL);
		/* The message of an error has no data: what was asked is there still. */
		see_true(t, "fd-taken-back", fd == (wire_used() ? NO_FD_YET : -1));
	}
	see_state(t, "state", RUNNING);
}

static void faults(struct t *t)
{
	struct vfio_device_feature *head = at_page_end(t, sizeof(*head));
	static const uint32_t flags[] = {GET | MIGRATION, GET | STATE, SET | STATE,
					 GET | DATA_SIZE};

	movable(t, 0);
	for (size_t i = 0; i < ARRAY_LEN(flags); i++) {
		head->argsz = 16;
		head->flags = flags[i];
		see(t, "rc", sys(ioctl(t->dev, VFIO_DEVICE_FEATURE, head)), -EFAULT);
	}
	see_state(t, "state", RUNNING);
}

/* The answer cannot be written: nobody has the descriptor, so there is none. */
static void read_only(struct t *t)
{
	struct {
		struct vfio_device_feature head;
		uint32_t state;
		int32_t fd;
	} *arg = new_pages(t, 1);
	int before, after;

	movable(t, 0);
	arg->head = (struct vfio_device_feature){16, SET | STATE};
	arg->state = STOP_COPY;
	before = open("/dev/null", O_RDONLY | O_CLOEXEC);
	must(t, "mprotect", sys(mprotect(arg, PAGE, PROT_READ)));
	see(t, "set", sys(ioctl(t->dev, VFIO_DEVICE_FEATURE, arg)), -EFAULT);
	after = open("/dev/null", O_RDONLY | O_CLOEXEC);
	see(t, "descriptors", after - before - 1, 0);
}

static void size(struct t *t)
{
	static const unsigned states[] = {RUNNING, STOP, STOP_COPY, RUNNING_P2P, PRE_COPY};
	unsigned can = movable(t, 0);
	uint64_t bytes[2];

	for (size_t i = 0; i < ARRAY_LEN(states); i++) {
		if (!has_state(can, states[i]))
			continue;
		must(t, "go", set_state(t, states[i], NULL));
		bytes[0] = 0;
		bytes[1] = 77;
		must(t, "size", feature_call(t, 16, GET | DATA_SIZE, bytes, sizeof(bytes)));
		see_true(t, state_name(states[i]), bytes[0] > 0 && bytes[0] < 1ull << 40);
		must(t, "behind", bytes[1] == 77 ? 0 : -EIO);
		must(t, "back", set_state(t, RUNNING, NULL));
	}
}

/* It says about what a stream is: not less than half of it, not more than twice and a page. */
static void size_right(struct t *t)
{
	uint64_t bytes = 0;
	struct stream s;

	movable(t, 0);
	needs_pcitest(t);
	/* A page that is not zero is a page that goes. */
	for (uint32_t at = 0; at < t->f->bar[2].size; at += PAGE)
		memory_put(t, at, "page", 4);
	must(t, "size", feature_call(t, 16, GET | DATA_SIZE, &bytes, sizeof(bytes)));
	save_stream(t, &s);
	see_true(t, "not-too-low", bytes >= s.len / 2);
	see_true(t, "not-too-high", bytes <= 2 * s.len + PAGE);
}

/* Feature 12 asks for PRE_COPY; without it EINVAL, where others say ENOTTY. */
static void reinit(struct t *t)
{
	unsigned can = movable(t, 0);
	long want = can & CAN_PRE_COPY ? 0 : -EINVAL;

	see_as(t, "probe", feature_call(t, 8, PROBE | REINIT, NULL, 0), want, "if-pre-copy");
	see_as(t, "probe-set", feature_call(t, 8, PROBE | SET | REINIT, NULL, 0), want,
	       "if-pre-copy");
	see_as(t, "set", feature_call(t, 8, SET | REINIT, NULL, 0), want, "if-pre-copy");
	see_as(t, "again", feature_call(t, 8, SET | REINIT, NULL, 0), want, "if-pre-copy");
	see(t, "get", feature_call(t, 8, GET | REINIT, NULL, 0), -EINVAL);
	see(t, "none", feature_call(t, 8, REINIT, NULL, 0), -EINVAL);
}

#define CALL(...)                                                                                  \
	OPEN_DEVICE, 0, call, &(const struct migration_call)                                       \
	{                                                                                          \
		__VA_ARGS__                                                                        \
	}
#define PRE_COPY_CALL(...)                                                                         \
	OPEN_DEVICE, 0, pre_copy_call, &(const struct migration_call)                              \
	{                                                                                          \
		__VA_ARGS__                                                                        \
	}

static const struct rule rules[] = {
	{"A.10/migration/flags", OPEN_DEVICE, 0, flags},
	{"A.10/migration/flags-probe", CALL(8, PROBE | MIGRATION, 0)},
	{"A.10/migration/flags-probe-get", CALL(8, PROBE | GET | MIGRATION, 0)},
	{"A.10/migration/flags-probe-set", CALL(8, PROBE | SET | MIGRATION, -EINVAL)},
	{"A.10/migration/flags-probe-both", CALL(8, PROBE | GET | SET | MIGRATION, -EINVAL)},
	{"A.10/migration/flags-set", CALL(16, SET | MIGRATION, -EINVAL)},
	{"A.10/migration/flags-set-short", CALL(8, SET | MIGRATION, -EINVAL)},
	{"A.10/migration/flags-no-operation", CALL(16, MIGRATION, -EINVAL)},
	{"A.10/migration/flags-payload-short-by-8", CALL(8, GET | MIGRATION, -EINVAL)},
	{"A.10/migration/flags-payload-short-by-1", CALL(15, GET | MIGRATION, -EINVAL)},
	{"A.10/migration/flags-argsz-7", CALL(7, GET | MIGRATION, -EINVAL)},
	{"A.10/migration/flags-bit-19", CALL(16, 1u << 19 | GET | MIGRATION, -EINVAL)},
	{"A.10/migration/state-get", OPEN_DEVICE, 0, state_get},
	{"A.10/migration/state-probe", CALL(8, PROBE | STATE, 0)},
	{"A.10/migration/state-probe-get", CALL(8, PROBE | GET | STATE, 0)},
	{"A.10/migration/state-probe-set", CALL(8, PROBE | SET | STATE, 0)},
	{"A.10/migration/state-probe-both", CALL(8, PROBE | GET | SET | STATE, 0)},
	{"A.10/migration/state-both", CALL(16, GET | SET | STATE, -EINVAL)},
	{"A.10/migration/state-no-operation", CALL(16, STATE, -EINVAL)},
	{"A.10/migration/state-get-short-by-8", CALL(8, GET | STATE, -EINVAL)},
	{"A.10/migration/state-get-short-by-1", CALL(15, GET | STATE, -EINVAL)},
	{"A.10/migration/state-set-short-by-8", CALL(8, SET | STATE, -EINVAL)},
	{"A.10/migration/state-set-short-by-1", CALL(15, SET | STATE, -EINVAL)},
	{"A.10/migration/state-order", OPEN_DEVICE, 0, state_order},
	{"A.10/migration/state-failed", OPEN_DEVICE, 0, state_failed},
	{"A.10/migration/faults", OPEN_DEVICE, 0, faults},
	{"A.10/migration/read-only", OPEN_DEVICE, 0, read_only},
	{"A.10/migration/size", OPEN_DEVICE, 0, size},
	{"A.10/migration/size-right", OPEN_DEVICE, 0, size_right},
	{"A.10/migration/size-probe", CALL(8, PROBE | DATA_SIZE, 0)},
	{"A.10/migration/size-probe-get", CALL(8, PROBE | GET | DATA_SIZE, 0)},
	{"A.10/migration/size-probe-set", CALL(8, PROBE | SET | DATA_SIZE, -EINVAL)},
	{"A.10/migration/size-set", CALL(16, SET | DATA_SIZE, -EINVAL)},
	{"A.10/migration/size-short-by-1", CALL(15, GET | DATA_SIZE, -EINVAL)},
	{"A.10/migration/reinit", OPEN_DEVICE, 0, reinit},
	{"A.10/migration/reinit-argsz-7", PRE_COPY_CALL(7, SET | REINIT, -EINVAL)},
	{"A.10/migration/reinit-room", PRE_COPY_CALL(64, SET | REINIT, 0)},
};
const struct section section_a10_migration = SECTION("A.10", rules);
