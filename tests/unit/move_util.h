/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the tests of moves share: two test devices in a machine, the first of which has a user; a
 * move in a thread; and the other side, played by the test.
 */
#ifndef TESTS_UNIT_MOVE_UTIL_H
#define TESTS_UNIT_MOVE_UTIL_H

#include "vfio_fixture.h"

#include <sys/socket.h>

#include "control/move.h"
#include "devices/pcitest/pcitest_model.h"
#include "devices/pcitest/pcitest_spec.h"
#include "vfio/move.h"
#include "vfio/observe.h"

#define FIRST   "0000:01:00.0"
#define SECOND  "0000:02:00.0"
#define SCRATCH 0x1122334455667788

struct pair {
	struct fixture f;
	struct vfio_device *first, *second;
};

static inline void pair_up(struct pair *p, const char *spec, const char *other)
{
	fixture_machine(&p->f);
	assert_int_equal(vfio_machine_add_model(p->f.machine, &pcitest_model), 0);
	fixture_add(&p->f, spec);
	fixture_add(&p->f, other);
	fixture_open(&p->f);
	config_put(&p->f, PCI_COMMAND, 2, COMMAND_ON);
	bar_put(&p->f, 0, PCITEST_SCRATCH, 8, SCRATCH);
	for (uint64_t at = 0; at < 65536; at += 512)
		bar_put(&p->f, 2, at, 8, at + 1);
	p->first = vfio_machine_get_device(p->f.machine, FIRST);
	p->second = vfio_machine_get_device(p->f.machine, SECOND);
	assert_true(p->first && p->second);
}

static inline void pair_down(struct pair *p)
{
	vfio_device_put(p->first);
	vfio_device_put(p->second);
	fixture_close(&p->f);
}

/* Its user finds the first as it was. */
static inline void still_here(struct pair *p)
{
	assert_int_equal(vfio_device_place(p->first), VFIO_HERE);
	assert_int_equal(bar_get(&p->f, 0, PCITEST_SCRATCH, 8), SCRATCH);
	bar_put(&p->f, 0, PCITEST_SCRATCH, 8, 1);
	assert_int_equal(bar_get(&p->f, 0, PCITEST_SCRATCH, 8), 1);
	bar_put(&p->f, 0, PCITEST_SCRATCH, 8, SCRATCH);
	assert_int_equal(bar_get(&p->f, 2, 1024, 8), 1025);
}

/* ---- a move ---- */

struct mover {
	struct move move;
	pthread_t thread;
	struct uvfio_error err;
	int ret;
	bool restores;
};

static inline void *mover_thread(void *arg)
{
	struct mover *m = arg;

	m->ret = m->restores ? move_receive(&m->move, &m->err) : move_send(&m->move, &m->err);
	return NULL;
}

/* @m is zeroed but for options.  @fd: its end. */
static inline void mover_start(struct mover *m, struct vfio_device *dev, int fd, bool restores)
{
	m->move.dev = dev;
	m->move.fd = fd;
	m->restores = restores;
	assert_int_equal(move_init(&m->move, &m->err), 0);
	assert_int_equal(pthread_create(&m->thread, NULL, mover_thread, m), 0);
}

static inline int mover_end(struct mover *m)
{
	pthread_join(m->thread, NULL);
	move_fini(&m->move);
	close(m->move.fd);
	return m->ret;
}

static inline void socket_pair(int fds[2])
{
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
}

/* ---- the other side ---- */

static uint8_t frame_buf[MOVE_PAYLOAD_MAX];

static inline void say_head(int fd, uint32_t kind, uint32_t len)
{
	const uint32_t head[2] = {kind, len};

	assert_int_equal(send(fd, head, sizeof(head), MSG_NOSIGNAL), sizeof(head));
}

static inline void say_frame(int fd, uint32_t kind, const void *bytes, size_t len)
{
	say_head(fd, kind, (uint32_t)len);
	if (len)
		assert_int_equal(send(fd, bytes, len, MSG_NOSIGNAL), len);
}

static inline bool hear_bytes(int fd, void *bytes, size_t len)
{
	for (size_t got = 0; got < len;) {
		ssize_t n = recv(fd, (uint8_t *)bytes + got, len - got, 0);

		if (n <= 0)
			return false;
		got += (size_t)n;
	}
	return true;
}

/* The kind of the next frame, whose contents are in frame_buf; 0: it has gone. */
static inline uint32_t hear_frame(int fd, size_t *len)
{
	uint32_t head[2];

	if (!hear_bytes(fd, head, sizeof(head)))
		return 0;
	assert_true(head[1] <= sizeof(frame_buf));
	assert_true(hear_bytes(fd, frame_buf, head[1]));
	if (len)
		*len = head[1];
	return head[0];
}

/* All the data, up to END. */
static inline uint64_t hear_data(int fd)
{
	uint64_t bytes = 0;
	uint32_t kind;
	size_t len;

	while ((kind = hear_frame(fd, &len)) == MOVE_FRAME_DATA)
		bytes += len;
	assert_int_equal(kind, MOVE_FRAME_END);
	return bytes;
}

static inline void expect(const struct mover *m, const char *word)
{
	if (!strstr(m->err.msg, word))
		fail_msg("'%s' is not in: %s", word, m->err.msg);
}

#endif
