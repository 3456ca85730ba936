/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Door 2: the vfio-user server.  A server has listeners, one a device and socket; each connection
 * is one client of that listener's device, with a container, a group file and a device file of its
 * own.  What the messages mean, and their errno, is in docs/rules/vfio-user.md.
 *
 * One client at a time has a device.  A second one is answered EBUSY to its VERSION and closed; one
 * that comes while the device is being taken back from a client that has left waits for that, and
 * finds the device freshly reset.
 *
 * Threads: any thread may call anything here, but wire_unlisten() and wire_server_free() not from a
 * loop.  wire_server_free() waits for devices to become quiet and for all that clients hold up.
 */
#ifndef UVFIO_WIRE_WIRE_H
#define UVFIO_WIRE_WIRE_H

#include <sys/types.h>
#include "base/log.h"
#include "vfio/token.h"
#include "vfio/vfio.h"

struct wire_server;
struct wire_listener;

struct wire_options {
	/* How long to poll a socket after a message before sleeping, in µs, while the client proves
	 * quick; 0: never.  An idle client costs nothing in any case. */
	unsigned spin_us;
	/* May a client map BARs?  VFIO_MMIO_NONE: memory areas only; VFIO_MMIO_POLLED: doorbells
	 * and pollable registers too.  (QEMU stops posting writes when anything can be mapped.) */
	enum vfio_mmio_mode mmio;
	/* How long a client may take to send VERSION, in ms; 0: for ever. */
	unsigned handshake_ms;
	/* What each connection presents when it opens the device (C), as its client cannot.
	 * Without, it is what an option of the device gave (vf_token=), if one did. */
	bool has_token;
	struct vfio_token token;
};
void wire_options_default(struct wire_options *options);

/* @log may be NULL.  NULL with a message when threads or memory are lacking.  The machine outlives
 * the server. */
struct wire_server *wire_server_new(struct vfio_machine *machine, struct uvfio_log *log,
				    struct uvfio_error *err);
/* The same with all connections on @loop, which outlives the server, in place of loops of its own.
 */
struct wire_server *wire_server_new_on(struct vfio_machine *machine, struct uvfio_loop *loop,
				       struct uvfio_log *log, struct uvfio_error *err);
/* Closes every connection, gives their devices back, and waits for that.  NULL is allowed. */
void wire_server_free(struct wire_server *server);

/* Serve the device @device ("0000:01:00.0"), which nobody listens for, on the listening socket @fd,
 * which becomes the server's also when this fails; -1: on none yet, clients come by wire_adopt().
 * -ENODEV: there is no such device; -EINVAL: not a listening stream socket; -ENOMEM. */
int wire_listen(struct wire_server *server, const char *device, int fd,
		const struct wire_options *options, struct wire_listener **out,
		struct uvfio_error *err);
/* Give @listener, which was made without, its listening socket: @fd becomes the server's in any
 * case. Once.  -EINVAL: not a listening stream socket, or it has one. */
int wire_listener_open(struct wire_listener *listener, int fd);
/* A connected stream socket, as if @listener had accepted it.  Becomes the server's in any case.
 * -EMFILE: too many clients wait; -EINVAL, -ENOMEM. */
int wire_adopt(struct wire_listener *listener, int fd);
/* The same, but it presents @token, NULL: none, whatever the others of @listener do. */
int wire_adopt_with(struct wire_listener *listener, int fd, const struct vfio_token *token);
/* A connected socket to the device that @name names as GET_DEVICE_FD does (C): "0000:01:00.1
 * vf_token=UUID", which it presents; what its own listener presents does not count.  One that
 * nobody listens for, as a VF, gets @options.  The client's end, the caller's; or -errno with a
 * message: -ENODEV, -EINVAL, -EACCES as that call; -EMFILE: too many clients wait. */
int wire_open_device(struct wire_server *server, const char *name,
		     const struct wire_options *options, struct uvfio_error *err);
/* Listens no longer and has its connections closed; @listener is not to be used any more.  Does not
 * wait for them: the device is given back (vfio_machine_remove_device()'s ->done says when) as soon
 * as nothing of them is at work, which may be in a client's file system. */
void wire_unlisten(struct wire_listener *listener);

/* Close every connection to @device, as wire_unlisten() does; its listener stays. */
void wire_disconnect(struct wire_server *server, const char *device);

/* The same at once: when this returns, nothing that is answered to them reaches them any more. */
void wire_sever(struct wire_server *server, const char *device);

struct wire_connection_info {
	char device[16];
	const char *state; /* "HELLO", "READY", … */
	int32_t pid;       /* 0: unknown */
	int64_t uid;       /* -1: unknown */
	uint64_t since;    /* CLOCK_REALTIME, ns */
	uint64_t messages; /* received */
	uint64_t bytes_in, bytes_out;
	uint64_t errors;   /* replies that were an error */
	uint32_t max_xfer; /* bytes that the client takes in one message */
	uint16_t minor;    /* of the protocol */
	bool twin_socket;
};
/* How many connections there are; the first @max of them are in @out. */
unsigned wire_connections(struct wire_server *server, struct wire_connection_info *out,
			  unsigned max);
/* Put those of device @device into @out as "clients", an array of objects, for control's `show`. */
struct json_object;
void wire_describe(struct wire_server *server, const char *device, struct json_object *out);

#endif
