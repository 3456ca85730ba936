// SPDX-License-Identifier: BSD-3-Clause
/* What the cases about devices that are moved share: see e.h. */
#include <sched.h>
#include "e.h"

const char *state_name(unsigned state)
{
	static const char *const names[NR_STATES] = {
		[ERROR] = "ERROR",       [STOP] = "STOP",
		[RUNNING] = "RUNNING",   [STOP_COPY] = "STOP_COPY",
		[RESUMING] = "RESUMING", [RUNNING_P2P] = "RUNNING_P2P",
		[PRE_COPY] = "PRE_COPY", [PRE_COPY_P2P] = "PRE_COPY_P2P",
	};

	return state < NR_STATES ? names[state] : "?";
}

long feature_call(struct t *t, uint32_t argsz, uint32_t flags, void *data, size_t len)
{
	struct {
		struct vfio_device_feature head;
		uint8_t data[64];
	} arg = {.head = {.argsz = argsz, .flags = flags}};
	long rc;

	if (len)
		memcpy(arg.data, data, len);
	rc = sys(ioctl(t->dev, VFIO_DEVICE_FEATURE, &arg));
	if (len)
		memcpy(data, arg.data, len);
	return rc;
}

unsigned movable(struct t *t, unsigned wanted)
{
	uint64_t flags = 0;

	if (feature_call(t, 8, PROBE | GET | MIGRATION, NULL, 0))
		skip(t, "the device cannot be moved");
	must(t, "migration-flags", feature_call(t, 16, GET | MIGRATION, &flags, sizeof(flags)));
	if (wanted & ~flags)
		skip(t, "the device cannot be moved in this way");
	return (unsigned)flags;
}

bool has_state(unsigned can, unsigned state)
{
	switch (state) {
	case STOP:
	case RUNNING:
	case STOP_COPY:
	case RESUMING:
		return true;
	case RUNNING_P2P:
		return can & CAN_P2P;
	case PRE_COPY:
		return can & CAN_PRE_COPY;
	case PRE_COPY_P2P:
		return can & CAN_P2P && can & CAN_PRE_COPY;
	default:
		return false;
	}
}

/* Descriptors of the case's sessions, which are closed at its end: who has exited with one open may
 * keep the group a moment longer, for the next case. */
static int sessions[256];
static size_t nr_sessions;

void close_sessions(void)
{
	while (nr_sessions)
		close(sessions[--nr_sessions]);
}

long set_state(struct t *t, uint32_t target, int *fd)
{
	struct {
		uint32_t state;
		int32_t fd;
	} state = {target, NO_FD_YET};
	long rc = feature_call(t, 16, SET | STATE, &state, sizeof(state));

	if (!rc && fd && state.fd >= 0 && nr_sessions < ARRAY_LEN(sessions))
		sessions[nr_sessions++] = state.fd;
	if (fd)
		*fd = state.fd;
	else if (!rc && state.fd >= 0)
		close(state.fd);
	return rc;
}

long get_state(struct t *t)
{
	uint32_t state[2] = {77, 77};
	long rc = feature_call(t, 16, GET | STATE, state, sizeof(state));

	return rc < 0 ? rc : (long)state[0];
}

void see_state(struct t *t, const char *label, unsigned want)
{
	long rc = get_state(t);

	see_text(t, label, rc < 0 ? "error" : state_name((unsigned)rc), state_name(want));
}

long read_all(struct t *t, int fd, struct stream *s)
{
	ssize_t n;

	for (;;) {
		if (s->room - s->len < 1 << 16) {
			s->room = s->room ? s->room * 2 : 1 << 18;
			s->bytes = realloc(s->bytes, s->room);
			must(t, "memory", s->bytes ? 0 : -ENOMEM);
		}
		n = read(fd, s->bytes + s->len, s->room - s->len);
		if (n <= 0)
			return n < 0 ? -errno : 0;
		s->len += (size_t)n;
	}
}

long write_all(int fd, const void *bytes, size_t len)
{
	const uint8_t *at = bytes;

	while (len) {
		ssize_t n = write(fd, at, len < 1 << 20 ? len : 1 << 20);

		if (n <= 0)
			return n < 0 ? -errno : -EIO;
		at += n;
		len -= (size_t)n;
	}
	return 0;
}

void save_stream(struct t *t, struct stream *s)
{
	int fd = -1;

	*s = (struct stream){0};
	must(t, "to-STOP_COPY", set_state(t, STOP_COPY, &fd));
	must(t, "save-fd", fd);
	must(t, "save", read_all(t, fd, s));
	must(t, "to-RUNNING", set_state(t, RUNNING, NULL));
	close(fd);
}

long load_stream(struct t *t, const void *bytes, size_t len)
{
	int fd = -1;
	long rc;

	must(t, "to-RESUMING", set_state(t, RESUMING, &fd));
	must(t, "load-fd", fd);
	rc = write_all(fd, bytes, len);
	close(fd);
	return rc ? rc : set_state(t, STOP, NULL);
}

int go(struct t *t, unsigned state)
{
	struct stream s = {0};
	int fd = -1;

	if (state == RESUMING)
		save_stream(t, &s);
	if (state != RUNNING)
		must(t, "go", set_state(t, state, &fd));
	if (state == RESUMING)
		must(t, "load", write_all(fd, s.bytes, s.len));
	free(s.bytes);
	return fd;
}

/* ---- registers of the test device ---- */

enum { ADDRESS = 0x20, LENGTH = 0x28, BUFFER = 0x2c, COMMAND = 0x30, STATUS = 0x34, COUNT = 0x3c };

void needs_pcitest(struct t *t)
{
	if (facts_get(t->f, 0, 4) != 0x50541234)
		skip(t, "the device has no registers that are known here");
}

void reg_put(struct t *t, uint32_t at, uint32_t value)
{
	long rc = sys(pwrite(t->dev, &value, 4, (off_t)t->f->region_offset[0] + at));

	must(t, "register-write", rc == 4 || rc < 0 ? rc : -EIO);
}

uint32_t reg_get(struct t *t, uint32_t at)
{
	uint32_t value = 0;
	long rc = sys(pread(t->dev, &value, 4, (off_t)t->f->region_offset[0] + at));

	must(t, "register-read", rc == 4 || rc < 0 ? rc : -EIO);
	return value;
}

void dma_begin(struct t *t, uint64_t iova, uint32_t length, uint32_t buffer, uint32_t command)
{
	reg_put(t, ADDRESS, (uint32_t)iova);
	reg_put(t, ADDRESS + 4, (uint32_t)(iova >> 32));
	reg_put(t, LENGTH, length);
	reg_put(t, BUFFER, buffer);
	reg_put(t, COMMAND, command);
}

bool dma_ended(struct t *t, uint32_t count)
{
	while (reg_get(t, COUNT) != count) {
		if (reg_get(t, STATUS) != 1 && reg_get(t, COUNT) != count)
			return false;
		sched_yield();
	}
	return true;
}

void memory_put(struct t *t, uint32_t at, const void *bytes, size_t len)
{
	long rc = sys(pwrite(t->dev, bytes, len, (off_t)t->f->region_offset[2] + at));

	must(t, "memory-write", rc == (long)len || rc < 0 ? rc : -EIO);
}

void memory_get(struct t *t, uint32_t at, void *bytes, size_t len)
{
	long rc = sys(pread(t->dev, bytes, len, (off_t)t->f->region_offset[2] + at));

	must(t, "memory-read", rc == (long)len || rc < 0 ? rc : -EIO);
}
