// SPDX-License-Identifier: BSD-3-Clause
/* E.3: sessions of data, and their files. */
#include <fcntl.h>
#include <poll.h>
#include "e.h"
#include "wire.h"

#define SOON_MS 5000

struct precopy_info {
	uint32_t argsz, flags;
	uint64_t initial, dirty;
};
#define PRECOPY_INFO VFIO_NR(21)

static int open_session(struct t *t, unsigned state)
{
	int fd = -1;

	must(t, "to-session", set_state(t, state, &fd));
	must(t, "fd", fd);
	return fd;
}

static int events(int fd, short wanted)
{
	struct pollfd pfd = {.fd = fd, .events = wanted};

	return poll(&pfd, 1, 0) == 1 ? pfd.revents : 0;
}

/* There is nothing for now, which a message has no words for. */
static void see_for_now(struct t *t, long rc)
{
	see_as(t, "for-now", rc, wire_used() ? 0 : -ENOMSG, "nothing");
}

static void flags(struct t *t)
{
	int fd;

	movable(t, 0);
	fd = open_session(t, STOP_COPY);
	see_true(t, "save-cloexec", fcntl(fd, F_GETFD) & FD_CLOEXEC);
	see(t, "save-mode", fcntl(fd, F_GETFL) & O_ACCMODE, O_RDONLY);
	must(t, "back", set_state(t, RUNNING, NULL));
	fd = open_session(t, RESUMING);
	see_true(t, "load-cloexec", fcntl(fd, F_GETFD) & FD_CLOEXEC);
	see(t, "load-mode", fcntl(fd, F_GETFL) & O_ACCMODE, O_WRONLY);
}

static void other_calls(struct t *t)
{
	char byte = 0;
	int fd;

	movable(t, 0);
	fd = open_session(t, STOP_COPY);
	see(t, "pread", sys(pread(fd, &byte, 1, 0)), -ESPIPE);
	see(t, "lseek", sys(lseek(fd, 0, SEEK_SET)), -ESPIPE);
	see(t, "write", sys(write(fd, &byte, 1)), -EBADF);
	see(t, "ioctl", sys(ioctl(fd, VFIO_NR(22), 0)), -ENOTTY);
	see(t, "device-call", sys(ioctl(fd, VFIO_DEVICE_RESET)), -ENOTTY);
	see(t, "reads", sys(read(fd, &byte, 1)), 1);
	must(t, "back", set_state(t, RUNNING, NULL));
	fd = open_session(t, RESUMING);
	see(t, "pwrite", sys(pwrite(fd, &byte, 1, 0)), -ESPIPE);
	see(t, "lseek", sys(lseek(fd, 0, SEEK_CUR)), -ESPIPE);
	see(t, "read", sys(read(fd, &byte, 1)), -EBADF);
	see(t, "ioctl", sys(ioctl(fd, VFIO_NR(22), 0)), -ENOTTY);
}

static void polled(struct t *t)
{
	struct stream s = {0};
	int fd;

	movable(t, 0);
	fd = open_session(t, STOP_COPY);
	must(t, "nonblock", sys(fcntl(fd, F_SETFL, O_NONBLOCK)));
	see(t, "begin", events(fd, POLLIN), POLLIN);
	see(t, "read", read_all(t, fd, &s), 0);
	see_true(t, "some", s.len > 0);
	see(t, "end", events(fd, POLLIN), POLLIN);
	must(t, "back", set_state(t, RUNNING, NULL));
	see_true(t, "over", events(fd, POLLIN));
	fd = open_session(t, RESUMING);
	see(t, "load", events(fd, POLLOUT), POLLOUT);
}

/* Some bytes one by one, the rest in uneven pieces, of @left at most. */
static size_t piece(size_t at, size_t left)
{
	size_t len = at < 200 ? at % 7 + 1 : at % 7 + 997;

	return len < left ? len : left;
}

/* Any pieces make the same stream. */
static void pieces(struct t *t)
{
	struct stream whole, s = {0};
	uint8_t byte;
	ssize_t n;
	int fd;

	movable(t, 0);
	needs_pcitest(t);
	memory_put(t, 5000, "something", 9);
	save_stream(t, &whole);
	fd = open_session(t, STOP_COPY);
	s.bytes = malloc(whole.len + 1);
	must(t, "memory", s.bytes ? 0 : -ENOMEM);
	see(t, "nothing", sys(read(fd, &byte, 0)), 0);
	while (s.len < whole.len &&
	       (n = read(fd, s.bytes + s.len, piece(s.len, whole.len - s.len))) > 0)
		s.len += (size_t)n;
	see_true(t, "length", s.len == whole.len);
	see_true(t, "same", !memcmp(s.bytes, whole.bytes, whole.len));
	see(t, "end", sys(read(fd, &byte, 1)), 0);
	see(t, "end-again", sys(read(fd, &byte, 1)), 0);
	must(t, "back", set_state(t, RUNNING, NULL));
	/* And it may be written in any. */
	fd = open_session(t, RESUMING);
	for (size_t at = 0; at < whole.len; at += (size_t)n) {
		n = write(fd, whole.bytes + at, piece(at, whole.len - at));
		must(t, "write", n > 0 ? 0 : n < 0 ? -errno : -EIO);
	}
	see(t, "write-nothing", sys(write(fd, &byte, 0)), 0);
	see(t, "loaded", set_state(t, STOP, NULL), 0);
}

/* It is over: ENODEV, now and ever. */
static void over(struct t *t)
{
	static const unsigned ways[][2] = {
		{STOP_COPY, STOP}, {STOP_COPY, RUNNING},        {PRE_COPY, RUNNING},
		{PRE_COPY, STOP},  {PRE_COPY_P2P, RUNNING_P2P}, {PRE_COPY_P2P, RUNNING},
	};
	unsigned can = movable(t, 0);
	char byte;

	for (size_t i = 0; i < ARRAY_LEN(ways); i++) {
		int fd;

		if (!has_state(can, ways[i][0]) || !has_state(can, ways[i][1]))
			continue;
		fd = open_session(t, ways[i][0]);
		must(t, "leave", set_state(t, ways[i][1], NULL));
		must(t, "over", sys(read(fd, &byte, 1)) == -ENODEV ? 0 : -EIO);
		must(t, "over-again", sys(read(fd, &byte, 1)) == -ENODEV ? 0 : -EIO);
		must(t, "back", set_state(t, RUNNING, NULL));
		must(t, "still-over", sys(read(fd, &byte, 1)) == -ENODEV ? 0 : -EIO);
		close(fd);
	}
	see_true(t, "over", true);
}

static void reset_ends_it(struct t *t)
{
	static const unsigned states[] = {STOP_COPY, RESUMING, PRE_COPY, PRE_COPY_P2P};
	unsigned can = movable(t, 0);
	char byte = 0;

	for (size_t i = 0; i < ARRAY_LEN(states); i++) {
		int fd;

		if (!has_state(can, states[i]))
			continue;
		fd = open_session(t, states[i]);
		must(t, "reset", sys(ioctl(t->dev, VFIO_DEVICE_RESET)));
		must(t, "running", get_state(t) == RUNNING ? 0 : -EIO);
		must(t, "over",
		     sys(states[i] == RESUMING ? write(fd, &byte, 1) : read(fd, &byte, 1)) ==
				     -ENODEV
			     ? 0
			     : -EIO);
		close(fd);
	}
	see_state(t, "state", RUNNING);
}

/* Out of every state. */
static void reset_from(struct t *t)
{
	unsigned can = movable(t, 0);

	for (unsigned state = STOP; state < NR_STATES; state++) {
		int fd;

		if (!has_state(can, state))
			continue;
		fd = go(t, state);
		see(t, state_name(state), sys(ioctl(t->dev, VFIO_DEVICE_RESET)), 0);
		see_state(t, "state", RUNNING);
		if (fd >= 0)
			close(fd);
	}
}

/* A reset that config space asks for is one. */
static void flr_from(struct t *t)
{
	bool pcie = t->f->pcie && facts_get(t->f, t->f->pcie + 4, 4) & 1u << 28;
	unsigned can = movable(t, 0), control = t->f->pcie + 8;

	for (unsigned state = STOP; state < NR_STATES; state++) {
		int fd;

		if (!has_state(can, state))
			continue;
		fd = go(t, state);
		if (pcie)
			cfg_write(t, control, 2, cfg_read(t, control, 2) | 0x8000);
		else /* that of Advanced Features */
			cfg_write(t, t->f->af + 4, 1, 1);
		see_state(t, state_name(state), RUNNING);
		if (fd >= 0)
			close(fd);
	}
}

/* The next user finds the device running, whatever the last one did to it. */
static void close_from(struct t *t)
{
	unsigned can = movable(t, 0);
	uint32_t value;

	for (unsigned state = STOP; state < NR_STATES; state++) {
		int fd;

		if (!has_state(can, state))
			continue;
		fd = go(t, state);
		if (fd >= 0)
			close(fd);
		close_all(t);
		open_all(t, OPEN_DEVICE);
		see_state(t, state_name(state), RUNNING);
		if (t->f->bar_index >= 0)
			see(t, "register", bar_pread32(t, &value), 4);
	}
}

/* The file stays when the device's has gone, and its session does not. */
static void outlives_device(struct t *t)
{
	static const unsigned states[] = {STOP_COPY, RESUMING};
	char byte = 0;

	movable(t, 0);
	for (size_t i = 0; i < ARRAY_LEN(states); i++) {
		int fd = open_session(t, states[i]), other;

		close_all(t);
		see(t, "over",
		    sys(states[i] == RESUMING ? write(fd, &byte, 1) : read(fd, &byte, 1)), -ENODEV);
		open_all(t, OPEN_DEVICE);
		see_state(t, "state", RUNNING);
		other = open_session(t, STOP_COPY);
		see(t, "still-over",
		    sys(states[i] == RESUMING ? write(fd, &byte, 1) : read(fd, &byte, 1)), -ENODEV);
		see(t, "new-one", sys(read(other, &byte, 1)), 1);
		must(t, "back", set_state(t, RUNNING, NULL));
	}
}

/* The device is where it was, and the session is there for who has another descriptor of it. */
static void closed_early(struct t *t)
{
	struct stream s = {0};
	int fd, copy;

	movable(t, 0);
	close(open_session(t, STOP_COPY));
	see_state(t, "state", STOP_COPY);
	see(t, "on", set_state(t, RUNNING, NULL), 0);
	fd = open_session(t, STOP_COPY);
	copy = dup(fd);
	close(fd);
	see(t, "copy", read_all(t, copy, &s), 0);
	see_true(t, "some", s.len > 0);
	see(t, "on", set_state(t, RUNNING, NULL), 0);
	see(t, "loads", load_stream(t, s.bytes, s.len), 0);
}

static void write_nothing(struct t *t)
{
	int fd;

	movable(t, 0);
	open_session(t, RESUMING);
	fd = NO_FD_YET;
	/* No state is no state to run with; the device stays as it is. */
	see(t, "to-STOP", set_state(t, STOP, &fd), -EINVAL);
	see(t, "fd", fd == NO_FD_YET && wire_used() ? -1 : fd, -1);
	see_state(t, "state", RESUMING);
	see(t, "to-RUNNING", set_state(t, RUNNING, &fd), -EINVAL);
	see_state(t, "state", RESUMING);
}

/* ---- pre-copy ---- */

static void same_session(struct t *t)
{
	struct stream s = {0};
	unsigned can = movable(t, CAN_PRE_COPY);
	int fd = open_session(t, PRE_COPY), next = 77;

	see_for_now(t, read_all(t, fd, &s));
	if (can & CAN_P2P) {
		must(t, "to-PRE_COPY_P2P", set_state(t, PRE_COPY_P2P, &next));
		must(t, "fd-of-PRE_COPY_P2P", next == -1 ? 0 : -EIO);
		must(t, "goes-on", read_all(t, fd, &s) == (wire_used() ? 0 : -ENOMSG) ? 0 : -EIO);
	}
	see(t, "to-STOP_COPY", set_state(t, STOP_COPY, &next), 0);
	see(t, "fd", next, -1);
	see(t, "end", read_all(t, fd, &s), 0);
	see(t, "end-again", read_all(t, fd, &s), 0);
	must(t, "back", set_state(t, RUNNING, NULL));
	see(t, "loads", load_stream(t, s.bytes, s.len), 0);
}

static void unread_session(struct t *t)
{
	struct stream s = {0};
	int fd, next = 77;

	movable(t, CAN_PRE_COPY);
	fd = open_session(t, PRE_COPY);
	see(t, "to-STOP_COPY", set_state(t, STOP_COPY, &next), 0);
	see(t, "fd", next, -1);
	see(t, "all", read_all(t, fd, &s), 0);
	must(t, "back", set_state(t, RUNNING, NULL));
	see(t, "loads", load_stream(t, s.bytes, s.len), 0);
}

/* Back from the P2P state to the other one it is the same session still. */
static void back_and_forth(struct t *t)
{
	struct stream s = {0};
	int fd, next = 77;

	movable(t, CAN_PRE_COPY | CAN_P2P);
	needs_pcitest(t);
	fd = open_session(t, PRE_COPY);
	read_all(t, fd, &s);
	for (unsigned i = 0; i < 3; i++) {
		must(t, "p2p", set_state(t, PRE_COPY_P2P, &next));
		must(t, "p2p-fd", next == -1 ? 0 : -EIO);
		memory_put(t, 4096 * i, &i, 4);
		read_all(t, fd, &s);
		must(t, "on", set_state(t, PRE_COPY, &next));
		must(t, "on-fd", next == -1 ? 0 : -EIO);
	}
	must(t, "stop", set_state(t, STOP_COPY, NULL));
	see(t, "end", read_all(t, fd, &s), 0);
	must(t, "back", set_state(t, RUNNING, NULL));
	see(t, "loads", load_stream(t, s.bytes, s.len), 0);
}

/* What changes after it was read goes again, also what a program stores to without a call; and the
 * file says that there is something. */
static void changes_go_again(struct t *t)
{
	struct precopy_info info = {.argsz = sizeof(info)};
	uint32_t word = 0x11111111, *map;
	struct stream s = {0};
	size_t before;
	int fd;

	movable(t, CAN_PRE_COPY);
	needs_pcitest(t);
	memory_put(t, 0, &word, 4);
	map = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, t->dev,
		   (off_t)t->f->region_offset[2] + (off_t)PAGE);
	must(t, "map", map == MAP_FAILED ? -errno : 0);
	fd = open_session(t, PRE_COPY);
	see_for_now(t, read_all(t, fd, &s));
	before = s.len;
	*map = 0x22222222;
	if (!wire_used()) {
		see(t, "readable", events(fd, POLLIN), POLLIN);
		must(t, "info", sys(ioctl(fd, PRECOPY_INFO, &info)));
		see_true(t, "dirty", info.initial + info.dirty >= PAGE);
	}
	see_for_now(t, read_all(t, fd, &s));
	see_true(t, "more", s.len >= before + PAGE);
	if (!wire_used())
		see(t, "readable", events(fd, POLLIN), 0);
	must(t, "stop", set_state(t, STOP_COPY, NULL));
	see(t, "end", read_all(t, fd, &s), 0);
	must(t, "back", set_state(t, RUNNING, NULL));
	*map = 0;
	memory_put(t, 0, "\0\0\0", 4);
	must(t, "load", load_stream(t, s.bytes, s.len));
	must(t, "run", set_state(t, RUNNING, NULL));
	memory_get(t, 0, &word, 4);
	see_hex(t, "first", word, 0x11111111);
	see_hex(t, "second", *map, 0x22222222);
}

static void precopy_frame(struct t *t)
{
	struct precopy_info info[2];
	struct precopy_info *bad = at_page_end(t, 16);
	int fd;

	movable(t, CAN_PRE_COPY);
	fd = open_session(t, PRE_COPY);
	memset(info, 0x5a, sizeof(info));
	info[0].argsz = 23;
	see(t, "argsz-23", sys(ioctl(fd, PRECOPY_INFO, info)), -EINVAL);
	info[0].argsz = 0;
	see(t, "argsz-0", sys(ioctl(fd, PRECOPY_INFO, info)), -EINVAL);
	info[0].argsz = 24;
	see(t, "argsz-24", sys(ioctl(fd, PRECOPY_INFO, info)), 0);
	see_hex(t, "flags-as-written", info[0].flags, 0x5a5a5a5a);
	see(t, "argsz-as-written", info[0].argsz, 24);
	info[0].argsz = 0xffffffff;
	see(t, "argsz-max", sys(ioctl(fd, PRECOPY_INFO, info)), 0);
	see_hex(t, "behind", info[1].initial, 0x5a5a5a5a5a5a5a5a);
	bad->argsz = 24;
	see(t, "fault", sys(ioctl(fd, PRECOPY_INFO, bad)), -EFAULT);
	see(t, "device-file", sys(ioctl(t->dev, PRECOPY_INFO, info)), -ENOTTY);
}

static void precopy_states(struct t *t)
{
	static const unsigned states[] = {PRE_COPY, PRE_COPY_P2P, STOP_COPY};
	struct precopy_info info = {.argsz = sizeof(info)};
	unsigned can = movable(t, CAN_PRE_COPY);
	int fd = open_session(t, PRE_COPY);

	for (size_t i = 0; i < ARRAY_LEN(states); i++) {
		if (!has_state(can, states[i]))
			continue;
		must(t, "go", set_state(t, states[i], NULL));
		see(t, state_name(states[i]), sys(ioctl(fd, PRECOPY_INFO, &info)),
		    states[i] == STOP_COPY ? -EINVAL : 0);
	}
	/* The frame is looked at before the state. */
	info.argsz = 8;
	see(t, "argsz-and-state", sys(ioctl(fd, PRECOPY_INFO, &info)), -EINVAL);
	info.argsz = sizeof(info);
	must(t, "stop", set_state(t, STOP, NULL));
	see(t, "over", sys(ioctl(fd, PRECOPY_INFO, &info)), -ENODEV);
	close(fd);
	fd = open_session(t, STOP_COPY);
	see(t, "from-STOP", sys(ioctl(fd, PRECOPY_INFO, &info)), -EINVAL);
}

/* The initial bytes are there first, and go to 0. */
static void precopy_initial(struct t *t)
{
	struct precopy_info info = {.argsz = sizeof(info)};
	struct stream s = {0};
	uint64_t first;
	int fd;

	movable(t, CAN_PRE_COPY);
	fd = open_session(t, PRE_COPY);
	see(t, "rc", sys(ioctl(fd, PRECOPY_INFO, &info)), 0);
	first = info.initial;
	see_true(t, "some-or-none", first < 1ull << 40);
	read_all(t, fd, &s);
	see(t, "rc", sys(ioctl(fd, PRECOPY_INFO, &info)), 0);
	see(t, "initial", (long)info.initial, 0);
}

/* Feature 12: flags say whether pre-copy begins anew, and nothing of what the caller wrote.  It is
 * the user's: a reset does not take it back, the last close does. */
static void reinit_flags(struct t *t)
{
	struct precopy_info info = {.argsz = sizeof(info), .flags = 0xffffffff};
	int fd;

	movable(t, CAN_PRE_COPY);
	must(t, "opt-in", feature_call(t, 8, SET | REINIT, NULL, 0));
	fd = open_session(t, PRE_COPY);
	see(t, "rc", sys(ioctl(fd, PRECOPY_INFO, &info)), 0);
	see_hex(t, "flags", info.flags & ~1u, 0);
	close(fd);
	must(t, "reset", sys(ioctl(t->dev, VFIO_DEVICE_RESET)));
	fd = open_session(t, PRE_COPY);
	info.flags = 0xffffffff;
	see(t, "rc", sys(ioctl(fd, PRECOPY_INFO, &info)), 0);
	see_hex(t, "after-reset", info.flags & ~1u, 0);
	close(fd);
	close_all(t);
	open_all(t, OPEN_DEVICE);
	fd = open_session(t, PRE_COPY);
	info.flags = 0xffffffff;
	see(t, "rc", sys(ioctl(fd, PRECOPY_INFO, &info)), 0);
	see_hex(t, "after-close", info.flags, 0xffffffff);
}

static const struct rule rules[] = {
	{"E.3/file/flags", OPEN_DEVICE, 0, flags},
	{"E.3/file/other-calls", OPEN_DEVICE, 0, other_calls},
	{"E.3/file/polled", OPEN_DEVICE, 0, polled},
	{"E.3/file/pieces", OPEN_DEVICE, 0, pieces},
	{"E.3/file/over", OPEN_DEVICE, 0, over},
	{"E.3/file/outlives-device", OPEN_DEVICE, 0, outlives_device},
	{"E.3/file/closed-early", OPEN_DEVICE, 0, closed_early},
	{"E.3/file/nothing-written", OPEN_DEVICE, 0, write_nothing},
	{"E.3/reset/ends-session", OPEN_DEVICE, NEED_RESET, reset_ends_it},
	{"E.3/reset/from-each", OPEN_DEVICE, NEED_RESET, reset_from},
	{"E.3/reset/flr-from-each", OPEN_DEVICE, NEED_FLR, flr_from},
	{"E.3/close/from-each", OPEN_DEVICE, 0, close_from},
	{"E.3/pre-copy/same-session", OPEN_DEVICE, 0, same_session},
	{"E.3/pre-copy/unread", OPEN_DEVICE, 0, unread_session},
	{"E.3/pre-copy/back-and-forth", OPEN_DEVICE, 0, back_and_forth},
	{"E.3/pre-copy/changes-go-again", OPEN_DEVICE, NEED_IOMMU, changes_go_again},
	{"E.3/PRECOPY_INFO/frame", OPEN_DEVICE, 0, precopy_frame},
	{"E.3/PRECOPY_INFO/states", OPEN_DEVICE, 0, precopy_states},
	{"E.3/PRECOPY_INFO/initial", OPEN_DEVICE, 0, precopy_initial},
	{"E.3/PRECOPY_INFO/reinit", OPEN_DEVICE, NEED_RESET, reinit_flags},
};
const struct section section_e3 = SECTION("E.3", rules);
