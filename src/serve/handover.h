/* SPDX-License-Identifier: BSD-3-Clause */
/* What a server does when it is exchanged; for server*.c, in the main thread. */
#ifndef UVFIO_SERVE_HANDOVER_H
#define UVFIO_SERVE_HANDOVER_H

#include <stdbool.h>
#include <stdint.h>
#include <uvfio/error.h>

struct server;
struct vfio_move;
struct wire_listener;

/* The old one: stop everything and send it to @sock, which is closed.  0: then server_back(), or
 * the end.  -errno with a message: all goes on. */
int server_give(struct server *server, int sock, struct uvfio_error *err);
/* The new one has failed: all goes on. */
void server_back(struct server *server, const char *why);
/* [any other thread] Ask the keeper for it, and wait until it has failed: -errno with a message. */
int server_upgrade(struct server *server, struct uvfio_error *err);

/* The new one: receive what the old one sends to @sock, which is closed. */
int server_take(struct server *server, int sock, struct uvfio_error *err);
/* Was device @id handed over? */
bool server_arrives(struct server *server, uint64_t id);
/* Then what is to be added as @spec gets the address and the number that it had. -ENOMEM. */
int server_add_as_it_was(struct server *server, uint64_t id, char **spec, struct uvfio_error *err);
/* Its state, a file to be read from its beginning, which stays; -1: there is none. */
int server_arriving_state(struct server *server, uint64_t id);
/* Its client is @listener's, which will listen at @listen_fd (which becomes ours). */
int server_arrive(struct server *server, uint64_t id, const char *name, int listen_fd,
		  struct wire_listener *listener, struct uvfio_error *err);
/* The old one has ended: everything goes on here. */
void server_arrived(struct server *server);

/* server_state.c: write a device that is paused to @fd, from its beginning on; whoever reads from
 * it begins there. */
int server_state_write(struct vfio_move *move, int fd, struct uvfio_error *err);

#endif
