/* SPDX-License-Identifier: BSD-3-Clause */
/* A server with two devices, of which device 0 is told to transfer: for tests of DMA_MAP with the
 * fd of a region (D.4). */
#ifndef TESTS_UNIT_WIRE_P2P_H
#define TESTS_UNIT_WIRE_P2P_H

#include "wire_util.h"

#define IOVA 0x100000ull

struct pair {
	struct wire_fixture f;
	struct wire_listener *listener[2];
	struct wdev *dev[2];
	int fd[2];
};

/* What GET_REGION_INFO of BAR 2 gives: the file; *@offset in it. */
static inline int region_file(int fd, uint64_t *offset)
{
	struct {
		struct vfio_region_info info;
		uint8_t room[256];
	} req = {.info = {.argsz = sizeof(req), .index = 2}};
	static struct reply r;

	assert_int_equal(client_call(fd, VFIO_USER_DEVICE_GET_REGION_INFO, &req, sizeof(req.info),
				     NULL, 0, &r),
			 0);
	memcpy(&req.info, r.payload, sizeof(req.info));
	assert_true(r.fd >= 0);
	*offset = req.info.offset;
	return r.fd;
}

static inline void open_one(struct pair *p, unsigned n)
{
	p->f.listener = p->listener[n];
	p->fd[n] = client_open(&p->f);
	client_enable(p->fd[n]);
}

static inline void up(struct pair *p)
{
	struct wire_options options;
	struct uvfio_error err = {""};

	memset(p, 0, sizeof(*p));
	wire_up(&p->f);
	p->listener[0] = p->f.listener;
	p->dev[0] = p->f.dev;
	assert_int_equal(vfio_machine_add_device(p->f.machine, "wdev", &err), 0);
	p->dev[1] = wdev_last;
	wire_options_default(&options);
	assert_int_equal(
		wire_listen(p->f.server, "0000:02:00.0", -1, &options, &p->listener[1], &err), 0);
	open_one(p, 0);
	open_one(p, 1);
}

static inline void down(struct pair *p)
{
	for (unsigned n = 0; n < 2; n++)
		close(p->fd[n]);
	wire_down(&p->f);
}

/* Device 0 transfers: its status. */
static inline int transfer(struct pair *p, uint64_t iova, uint32_t len, uint32_t cmd)
{
	uint32_t done = client_get(p->fd[0], W_DONE);

	client_put(p->fd[0], W_IOVA, iova, 8);
	client_put(p->fd[0], W_LEN, len, 4);
	client_put(p->fd[0], W_CMD, cmd, 4);
	while (client_get(p->fd[0], W_DONE) == done)
		;
	return (int)client_get(p->fd[0], W_STATUS);
}

static inline void decode(struct pair *p, bool on)
{
	uint16_t command = PCI_COMMAND_MASTER | (on ? PCI_COMMAND_MEMORY : 0);

	assert_int_equal(
		client_write(p->fd[1], VFIO_PCI_CONFIG_REGION_INDEX, PCI_COMMAND, &command, 2), 0);
}

/* Device 1 to this state (E.2). */
static inline void move_to(struct pair *p, uint32_t state)
{
	struct {
		struct vfio_device_feature head;
		struct vfio_device_feature_mig_state state;
	} c = {{sizeof(c), VFIO_DEVICE_FEATURE_SET | VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE},
	       {state, 0}};
	static struct reply r;

	assert_int_equal(
		client_call(p->fd[1], VFIO_USER_DEVICE_FEATURE, &c, sizeof(c), NULL, 0, &r), 0);
}

#endif
