/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Two servers in this process, with a test device each (pcitest), of which one hands its device and
 * client to the other (src/wire/handover.h), as `uvfio upgrade` has two processes do.
 *
 *   handed_stop() ──▶ handed_give() ──▶ handed_take() at the other one ──▶ handed_go_on() there
 *                └────────┴──▶ handed_back(): all goes on here     └──▶ handed_dies() here
 *
 * One thread.  What cannot be, and is, aborts.
 */
#ifndef TESTS_SUPPORT_HANDED_H
#define TESTS_SUPPORT_HANDED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uvfio/error.h>
#include "wire/handover.h"

#define HANDED_DEVICE "0000:01:00.0"
#define HANDED_STATE  (1u << 20)

struct vfio_device;
struct vfio_machine;
struct vfio_move;

struct handed_side {
	struct vfio_machine *machine;
	struct vfio_device *dev;
	struct wire_server *server;
	struct wire_listener *listener;
	struct wire_options options;
	struct wire_frozen *frozen;
	struct vfio_move *move;
	struct wire_conn *conn; /* taken over, and waits */
	size_t state_len;
	uint8_t state[HANDED_STATE];
};

/* A machine with the device @spec, "pcitest,memory=64K". */
void handed_up(struct handed_side *side, const char *spec);
void handed_down(struct handed_side *side);
/* The client's end of a new connection. */
int handed_connect(struct handed_side *side);

/* Its client is frozen. 0 or -errno. */
int handed_freeze(struct handed_side *side, struct uvfio_error *err);
/* Then the device is paused, and its state is in ->state. */
void handed_pause(struct handed_side *side);
/* Both. */
void handed_stop(struct handed_side *side);
int handed_give(struct handed_side *side, struct wire_handed *out, struct uvfio_error *err);
/* All goes on here. */
void handed_back(struct handed_side *side);
/* As if it had been killed: its client's files are not its any more, and it can be handed
 * something. */
void handed_dies(struct handed_side *side);

/* The device becomes what ->state of @from says, for its next user. */
void handed_load(struct handed_side *to, const struct handed_side *from);
/* The same, and then take @bytes over. 0, and then handed_go_on(); or -errno, and it can
 * be handed something again.  Descriptors that were not used are in @fds. */
int handed_take(struct handed_side *to, const struct handed_side *from, const void *bytes,
		size_t len, int *fds, unsigned nr_fds, struct uvfio_error *err);
void handed_go_on(struct handed_side *to);
/* Wait until nobody has the device: its client has closed its socket. */
void handed_alone(struct handed_side *side);

#endif
