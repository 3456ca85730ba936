/* SPDX-License-Identifier: BSD-3-Clause */
/* The sockets that clients connect to: made, or passed by systemd.  Used by the keeper. */
#ifndef UVFIO_SERVE_SOCKET_H
#define UVFIO_SERVE_SOCKET_H

#include <stdbool.h>
#include <sys/types.h>
#include <uvfio/device.h>

/* Make a listening socket at @path with permissions @mode and, unless NULL, the group @group.  A
 * socket that a server which is gone has left behind is replaced.  The descriptor, or -errno with a
 * message: -EADDRINUSE when a server lives there, -EEXIST when it is something else. */
int serve_listen(const char *path, mode_t mode, const char *group, struct uvfio_error *err);

/* Sockets that were passed at start: $LISTEN_FDS and so on of sd_listen_fds(3). */
struct serve_passed_socket {
	int fd;
	char *name;
	char path[108]; /* "" when it has none */
	bool used;
};

struct serve_passed {
	struct serve_passed_socket *list;
	unsigned nr;
};

/* Takes the variables out of the environment.  0 or -errno with a message. */
int serve_passed_take(struct serve_passed *passed, struct uvfio_error *err);
/* Which of them is @socket: "fd:NAME", or a path at which it listens.  NULL: none. */
struct serve_passed_socket *serve_passed_find(struct serve_passed *passed, const char *socket);
void serve_passed_fini(struct serve_passed *passed);

/* Tell systemd, if it asks ($NOTIFY_SOCKET), as sd_notify(3). */
void serve_notify(const char *state);

#endif
