// SPDX-License-Identifier: BSD-3-Clause
/*
 * E.3, E.1: a change that fails half-way, data that cannot be had or taken, and a device that is
 * lost with it (ERROR).  The test device fails when it is told to (docs/devices/pcitest.md).
 */
#include "e1.h"
#include "wire.h"

enum { SCRATCH = 0x08, FAIL = 0x4c };
enum { LEAVE = 1, SAVE, LOAD, COMMIT, TAKE, LOST = 1 << 16 };
#define WITH(errno_) ((uint32_t)(errno_) << 8)
#define MARK         0x600df00du

static unsigned ready(struct t *t, unsigned wanted)
{
	unsigned can = movable(t, wanted);

	needs_pcitest(t);
	reg_put(t, SCRATCH, MARK);
	return can;
}

/* SET fails with @error, gives no descriptor, and the device is in @state. */
static void see_failure(struct t *t, const char *label, unsigned target, long error, unsigned state)
{
	int fd = NO_FD_YET;

	see(t, label, set_state(t, target, &fd), error);
	see_as(t, "fd", fd == NO_FD_YET && wire_used() ? -1 : fd, -1, "-1");
	see_state(t, "state", state);
}

static void see_runs(struct t *t)
{
	see(t, "run", set_state(t, RUNNING, NULL), 0);
	see_hex(t, "register", reg_get(t, SCRATCH), MARK);
	see(t, "used-up", reg_get(t, FAIL), 0);
}

/* The arc before stays done, and the way can be gone on with. */
static void leave(struct t *t)
{
	struct stream s = {0};
	unsigned can = ready(t, 0);
	int fd = -1, none = 77;

	reg_put(t, FAIL, LEAVE | WITH(EBUSY));
	see_failure(t, "to-STOP_COPY", STOP_COPY, -EBUSY, STOP);
	see_hex(t, "register", reg_get(t, SCRATCH), 0xffffffff);
	see(t, "again", set_state(t, STOP_COPY, &fd), 0);
	see(t, "read", read_all(t, fd, &s), 0);
	see_runs(t);
	reg_put(t, FAIL, LEAVE | WITH(EIO));
	see_failure(t, "to-RESUMING", RESUMING, -EIO, STOP);
	see_runs(t);
	if (!(can & CAN_PRE_COPY))
		return;
	/* The session goes on with what was not read of it. */
	free(s.bytes);
	s = (struct stream){0};
	must(t, "to-PRE_COPY", set_state(t, PRE_COPY, &fd));
	reg_put(t, FAIL, LEAVE | WITH(ENOSPC));
	see(t, "from-PRE_COPY", set_state(t, STOP_COPY, &none), -ENOSPC);
	see_true(t, "stays", get_state(t) == (can & CAN_P2P ? PRE_COPY_P2P : PRE_COPY));
	see_hex(t, "register", reg_get(t, SCRATCH), MARK);
	see(t, "again", set_state(t, STOP_COPY, &none), 0);
	see_as(t, "fd", none, -1, "-1");
	see(t, "read", read_all(t, fd, &s), 0);
	see_runs(t);
	see(t, "loads", load_stream(t, s.bytes, s.len), 0);
}

static void take_back(struct t *t)
{
	struct stream s;

	ready(t, 0);
	save_stream(t, &s);
	must(t, "to-STOP_COPY", set_state(t, STOP_COPY, NULL));
	must(t, "back", set_state(t, RUNNING, NULL));
	reg_put(t, FAIL, TAKE | WITH(EBUSY));
	must(t, "to-STOP_COPY", set_state(t, STOP_COPY, NULL));
	see_failure(t, "to-RUNNING", RUNNING, -EBUSY, STOP);
	see_runs(t);
	reg_put(t, FAIL, TAKE | WITH(EBUSY));
	see(t, "load", load_stream(t, s.bytes, s.len), -EBUSY);
	see_state(t, "state", RESUMING);
	see(t, "again", set_state(t, STOP, NULL), 0);
	see_runs(t);
}

static void commit(struct t *t)
{
	struct stream s;

	ready(t, 0);
	save_stream(t, &s);
	reg_put(t, SCRATCH, 1);
	reg_put(t, FAIL, COMMIT | WITH(EIO));
	see(t, "load", load_stream(t, s.bytes, s.len), -EIO);
	see_failure(t, "nowhere", STOP_COPY + 77, -EINVAL, RESUMING);
	see_runs(t);
}

/* Read until it fails, and on to the end: together it is the stream. */
static void save(struct t *t)
{
	static const char text[] = "something that goes before";
	struct stream s = {0};
	char back[sizeof(text)];
	int fd = -1;

	ready(t, 0);
	memory_put(t, 8192, text, sizeof(text));
	reg_put(t, FAIL, SAVE | WITH(EIO));
	must(t, "to-STOP_COPY", set_state(t, STOP_COPY, &fd));
	see(t, "read", read_all(t, fd, &s), -EIO);
	see_state(t, "state", STOP_COPY);
	see(t, "on", read_all(t, fd, &s), 0);
	see(t, "end", read_all(t, fd, &s), 0);
	see_runs(t);
	memory_put(t, 8192, "\0", 1);
	reg_put(t, SCRATCH, 1);
	see(t, "loads", load_stream(t, s.bytes, s.len), 0);
	see_runs(t);
	memory_get(t, 8192, back, sizeof(back));
	see_true(t, "memory", !memcmp(back, text, sizeof(text)));
}

/* What follows is refused as well; nothing has changed, and a reset begins anew. */
static void load(struct t *t)
{
	struct stream s;
	int fd = -1;

	ready(t, 0);
	save_stream(t, &s);
	reg_put(t, FAIL, LOAD | WITH(EIO));
	must(t, "to-RESUMING", set_state(t, RESUMING, &fd));
	see(t, "write", write_all(fd, s.bytes, s.len), -EIO);
	see(t, "write-on", write_all(fd, s.bytes, 1), -EIO);
	see_failure(t, "to-STOP", STOP, -EIO, RESUMING);
	see(t, "reset", sys(ioctl(t->dev, VFIO_DEVICE_RESET)), 0);
	see_state(t, "state", RUNNING);
	see(t, "loads", load_stream(t, s.bytes, s.len), 0);
	see_runs(t);
}

/* ---- ERROR ---- */

/* It does nothing, and nothing but a reset leads out of it. */
static void see_error(struct t *t, int fd)
{
	char byte = 0;

	for (unsigned target = 0; target < NR_STATES; target++)
		if (set_state(t, target, NULL) != -EINVAL || get_state(t) != ERROR)
			see_text(t, "left", state_name(target), "ERROR");
	reg_put(t, SCRATCH, 1);
	see_hex(t, "register", reg_get(t, SCRATCH), 0xffffffff);
	see_hex(t, "config", cfg_read(t, 0, 4), facts_get(t->f, 0, 4));
	if (fd >= 0)
		see(t, "over", sys(read(fd, &byte, 1)), -ENODEV);
	see(t, "reset", sys(ioctl(t->dev, VFIO_DEVICE_RESET)), 0);
	see_state(t, "state", RUNNING);
	see_hex(t, "register", reg_get(t, SCRATCH), 0);
	reg_put(t, SCRATCH, MARK);
}

static void error(struct t *t)
{
	unsigned can = ready(t, 0);
	struct stream s, other;
	int fd = -1;

	save_stream(t, &s);
	reg_put(t, FAIL, LEAVE | WITH(EIO) | LOST);
	see_failure(t, "leave", STOP_COPY, -EIO, ERROR);
	see_error(t, -1);
	if (can & CAN_PRE_COPY) {
		reg_put(t, FAIL, LEAVE | WITH(EIO) | LOST);
		must(t, "to-PRE_COPY", set_state(t, PRE_COPY, &fd));
		see_failure(t, "from-PRE_COPY", STOP_COPY, -EIO, ERROR);
		see_error(t, fd);
	}
	reg_put(t, FAIL, TAKE | WITH(EBUSY) | LOST);
	must(t, "to-STOP_COPY", set_state(t, STOP_COPY, NULL));
	see_failure(t, "take", RUNNING, -EBUSY, ERROR);
	see_error(t, -1);
	reg_put(t, FAIL, COMMIT | WITH(EINVAL) | LOST);
	see(t, "commit", load_stream(t, s.bytes, s.len), -EINVAL);
	see_state(t, "state", ERROR);
	see_error(t, -1);
	/* As good as ever. */
	save_stream(t, &other);
	see(t, "loads", load_stream(t, s.bytes, s.len), 0);
	see_runs(t);
}

/* The next user finds it running. */
static void error_close(struct t *t)
{
	ready(t, 0);
	reg_put(t, FAIL, LEAVE | WITH(EIO) | LOST);
	see_failure(t, "leave", STOP_COPY, -EIO, ERROR);
	close_all(t);
	open_all(t, OPEN_DEVICE);
	see_state(t, "state", RUNNING);
	reg_put(t, SCRATCH, MARK);
	see_runs(t);
}

/* ---- the same by the region ---- */

/* Chunk by chunk, until pending_bytes cannot be read: its error; 0: it can, to the end. */
static long first_error(struct t *t)
{
	uint64_t pending = 1;
	long rc = 8;

	while (rc == 8 && pending) {
		rc = sys(pread(t->dev, &pending, 8, at(AT_PENDING)));
		if (rc == 8)
			get(t, AT_OFFSET);
	}
	return rc == 8 ? 0 : rc;
}

static void region_fails(struct t *t)
{
	find(t);
	needs_pcitest(t);
	reg_put(t, FAIL, LEAVE | WITH(EBUSY));
	see(t, "to-0010", put(t, AT_STATE, BIT_SAVING), -EBUSY);
	see_bits(t, "is", 0);
	see(t, "again", put(t, AT_STATE, BIT_SAVING), 0);
	see(t, "back", put(t, AT_STATE, BIT_RUNNING), 0);
	/* The register is the error, and the next time it is not. */
	reg_put(t, FAIL, SAVE | WITH(EIO));
	must(t, "to-0010", put(t, AT_STATE, BIT_SAVING));
	see(t, "pending", first_error(t), -EIO);
	see_bits(t, "is", BIT_SAVING);
	see_true(t, "pending-again", get(t, AT_PENDING) > 0);
	see(t, "to-the-end", first_error(t), 0);
	see(t, "back", put(t, AT_STATE, BIT_RUNNING), 0);
}

static void region_error(struct t *t)
{
	find(t);
	needs_pcitest(t);
	reg_put(t, FAIL, LEAVE | WITH(EIO) | LOST);
	see(t, "lost", put(t, AT_STATE, BIT_SAVING), -EIO);
	see_bits(t, "is", BIT_SAVING | BIT_RESUMING);
	for (uint32_t bits = 0; bits < 16; bits++)
		if (put(t, AT_STATE, bits) != -EINVAL)
			see(t, bits_name(bits), 0, -EINVAL);
	see_bits(t, "stays", BIT_SAVING | BIT_RESUMING);
	see(t, "nothing", (long)get(t, AT_PENDING), 0);
	see_hex(t, "register", reg_get(t, SCRATCH), 0xffffffff);
	reset(t);
	see_bits(t, "after-reset", BIT_RUNNING);
	see_hex(t, "register", reg_get(t, SCRATCH), 0);
}

static const struct rule rules[] = {
	{"E.3/fails/leave", OPEN_DEVICE, 0, leave},
	{"E.3/fails/take", OPEN_DEVICE, 0, take_back},
	{"E.3/fails/commit", OPEN_DEVICE, 0, commit},
	{"E.3/fails/save", OPEN_DEVICE, 0, save},
	{"E.3/fails/load", OPEN_DEVICE, NEED_RESET, load},
	{"E.3/error/reset", OPEN_DEVICE, NEED_RESET, error},
	{"E.3/error/close", OPEN_DEVICE, 0, error_close},
};
const struct section section_e3_fails = SECTION("E.3", rules);

static const struct rule region_rules[] = {
	{"E.1/fails/half-way", OPEN_DEVICE, 0, region_fails},
	{"E.1/fails/error", OPEN_DEVICE, NEED_RESET, region_error},
};
const struct section section_e1_fails = SECTION("E.1", region_rules);
