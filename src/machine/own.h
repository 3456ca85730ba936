/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * uvfio/machine.h, inside: a machine of the core's, with the vfio-user door and, when asked for,
 * control, in a process that is not ours.
 *
 * Theory of operation.  Every device has a listener of the door from the beginning, with a socket
 * or without, so that all its clients, on the socket and by uvfio_machine_connect(), are in one
 * queue. A device that is removed stays in the list until the core has let go of it.
 *
 * Locks: ->turn makes those who add take turns, and is held while a model's ->create() runs.
 * ->lock, taken after it, guards the list and the states; it is held for a few instructions, never
 * across a call to a model or to a function that waits.
 *
 * What must not be called from a callback is found out by uvfio_thread_inside(): threads of ours
 * are inside for good, threads of the program's while they are in a call that waits.
 */
#ifndef UVFIO_MACHINE_OWN_H
#define UVFIO_MACHINE_OWN_H

#include <pthread.h>
#include <sys/stat.h>
#include <unistd.h>
#include <uvfio/machine.h>
#include "base/ctx.h"
#include "base/log.h"
#include "control/control.h"
#include "vfio/vfio.h"
#include "wire/wire.h"

/* A socket's file that we have made, and remove if it is still that one. */
struct own_socket {
	char path[CONTROL_PATH_MAX]; /* "": none */
	dev_t dev;
	ino_t ino;
};

struct own_device {
	struct own_device *next;
	char name[UVFIO_MACHINE_NAME];
	struct own_socket socket;
	struct wire_listener *listener; /* NULL: somebody closes it, or has */
	bool has_socket;
	bool removing;
	bool gone; /* the core has let go of it */
	void (*on_gone)(void *arg, const char *name);
	void *arg;
};

struct uvfio_machine {
	pid_t pid; /* of the process that made it */
	char name[64];
	struct uvfio_log *log;   /* NULL: off */
	struct uvfio_loop *loop; /* NULL: the core and the door have their own */
	struct vfio_machine *machine;
	struct wire_server *wire;
	struct control *control;
	struct own_socket control_socket;
	int stop_fd; /* eventfd */

	pthread_mutex_t turn;

	pthread_mutex_t lock;
	pthread_cond_t changed; /* CLOCK_MONOTONIC: anything below */
	struct own_device *devices;
	const struct uvfio_model **models; /* those that were added, for good */
	unsigned nr_models;
	unsigned hanging_up; /* threads in wire_unlisten() */
	bool control_taken;
	bool running; /* a thread is in uvfio_machine_run() */
	bool ending;
};

/* Begin a call that may wait: 0, -EDEADLK in a callback, -ECHILD in a child of fork(2), with a
 * message.  After 0, own_leave() ends it. */
int own_enter(const struct uvfio_machine *machine, struct uvfio_error *err);
void own_leave(void);
/* The same for one that does not wait, and has no end: only -ECHILD. */
int own_check(const struct uvfio_machine *machine, struct uvfio_error *err);

/* Make a listening socket at @path: its descriptor, or -errno with a message.  Fills in @socket. */
int own_listen(struct own_socket *socket, const char *path, mode_t mode, const char *group,
	       struct uvfio_error *err);
void own_unlink(const struct own_socket *socket);

/* The device @name that is not being removed, or NULL.  ->lock is held. */
struct own_device *own_find_locked(struct uvfio_machine *machine, const char *name);
/* -ENODEV with a message. */
int own_no_device(const char *name, struct uvfio_error *err);
/* Close all sockets and connections, and forget the devices' listeners; waits for others who do. */
void own_hang_up_all(struct uvfio_machine *machine);

/* See uvfio_machine_remove() and uvfio_machine_wait_gone(); from a thread of ours. */
int own_remove(struct uvfio_machine *machine, const char *name, enum uvfio_machine_removal how,
	       void (*gone)(void *arg, const char *name), void *arg, struct uvfio_error *err);
/* -ECANCELED when the machine ends. */
int own_wait_gone(struct uvfio_machine *machine, const char *name, int timeout_ms);

#endif
