/* SPDX-License-Identifier: BSD-3-Clause */
#include "support/handed.h"

#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>
#include "devices/pcitest/pcitest_model.h"
#include "vfio/move.h"
#include "vfio/observe.h"
#include "wire/wire_private.h"

#define SECONDS 60 /* after which a wait counts as a hang */

#define MUST(what, err)                                                                            \
	do {                                                                                       \
		if (!(what)) {                                                                     \
			fprintf(stderr, "%s:%d: %s: %s\n", __FILE__, __LINE__, #what, (err));      \
			abort();                                                                   \
		}                                                                                  \
	} while (0)

static void listen_without(struct handed_side *side)
{
	struct uvfio_error err = {""};

	MUST(!wire_listen(side->server, HANDED_DEVICE, -1, &side->options, &side->listener, &err),
	     err.msg);
}

void handed_up(struct handed_side *side, const char *spec)
{
	struct uvfio_error err = {""};

	memset(side, 0, sizeof(*side));
	side->machine = vfio_machine_new(NULL, NULL, &err);
	MUST(side->machine && !vfio_machine_add_model(side->machine, &pcitest_model), err.msg);
	MUST(!vfio_machine_add_device(side->machine, spec, &err), err.msg);
	side->dev = vfio_machine_get_device(side->machine, HANDED_DEVICE);
	side->server = wire_server_new(side->machine, NULL, &err);
	MUST(side->dev && side->server, err.msg);
	wire_options_default(&side->options);
	side->options.spin_us = 0;
	side->options.handshake_ms = 0;
	listen_without(side);
}

void handed_down(struct handed_side *side)
{
	wire_server_free(side->server);
	vfio_device_put(side->dev);
	vfio_machine_free(side->machine);
}

int handed_connect(struct handed_side *side)
{
	int pair[2];

	MUST(!socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), "socketpair");
	MUST(!wire_adopt(side->listener, pair[1]), "wire_adopt");
	return pair[0];
}

/* ---- the old one ---- */

int handed_freeze(struct handed_side *side, struct uvfio_error *err)
{
	return wire_freeze(side->listener, &side->frozen, err);
}

void handed_pause(struct handed_side *side)
{
	struct uvfio_error err = {""};
	ssize_t n;

	MUST(!vfio_move_begin(side->dev, VFIO_MOVE_SAVE, &side->move, &err), err.msg);
	MUST(!vfio_move_pause(side->move, &err), err.msg);
	side->state_len = 0;
	while ((n = vfio_move_read(side->move, side->state + side->state_len,
				   HANDED_STATE - side->state_len)) > 0)
		side->state_len += (size_t)n;
	MUST(!n && side->state_len < HANDED_STATE, "the state");
}

void handed_stop(struct handed_side *side)
{
	struct uvfio_error err = {""};

	MUST(!handed_freeze(side, &err), err.msg);
	handed_pause(side);
}

int handed_give(struct handed_side *side, struct wire_handed *out, struct uvfio_error *err)
{
	return wire_hand_over(side->frozen, out, err);
}

void handed_back(struct handed_side *side)
{
	struct uvfio_error err = {""};

	if (side->move)
		MUST(!vfio_move_end(side->move, VFIO_MOVE_BACK, &err), err.msg);
	wire_thaw(side->frozen);
	side->move = NULL;
	side->frozen = NULL;
}

/* @fd, which nobody waits at, is from now on the end of a connection that nobody has. */
static void cut_off(int fd)
{
	int pair[2];

	MUST(!socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair),
	     "socketpair");
	MUST(dup3(pair[1], fd, O_CLOEXEC) == fd, "dup3");
	close(pair[0]);
	close(pair[1]);
}

void handed_dies(struct handed_side *side)
{
	struct wire_conn *conn = side->listener->active;

	cut_off(conn->stream.fd);
	if (conn->twin_socket)
		cut_off(conn->twin.fd);
	handed_back(side);
	handed_alone(side);
}

void handed_alone(struct handed_side *side)
{
	time_t since = time(NULL);

	while (wire_connections(side->server, NULL, 0)) {
		MUST(time(NULL) - since < SECONDS, "a connection does not go");
		sched_yield();
	}
}

/* ---- the new one ---- */

void handed_load(struct handed_side *to, const struct handed_side *from)
{
	struct uvfio_error err = {""};
	struct vfio_move *move;
	time_t since = time(NULL);

	/* Who had it has just left. */
	while (vfio_move_begin(to->dev, VFIO_MOVE_LOAD, &move, &err)) {
		MUST(time(NULL) - since < SECONDS, err.msg);
		sched_yield();
	}
	MUST(vfio_move_write(move, from->state, from->state_len, &err) == (ssize_t)from->state_len,
	     err.msg);
	MUST(!vfio_move_loaded(move, &err), err.msg);
	MUST(!vfio_move_take(move, &err), err.msg);
	MUST(!vfio_move_end(move, VFIO_MOVE_BACK, &err), err.msg);
}

int handed_take(struct handed_side *to, const struct handed_side *from, const void *bytes,
		size_t len, int *fds, unsigned nr_fds, struct uvfio_error *err)
{
	int ret;

	handed_load(to, from);
	ret = wire_take_over(to->listener, bytes, len, fds, nr_fds, &to->conn, err);
	if (!ret)
		return 0;
	/* A server would end. */
	wire_unlisten(to->listener);
	handed_alone(to);
	listen_without(to);
	return ret;
}

void handed_go_on(struct handed_side *to)
{
	wire_go_on(to->conn);
	to->conn = NULL;
}
