/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Shared by guest.c (channels, beginning and end) and guest_call.c (calls and answers).
 */
#ifndef UVFIO_JOIN_GUEST_PRIVATE_H
#define UVFIO_JOIN_GUEST_PRIVATE_H

#include <pthread.h>
#include <stdatomic.h>
#include <sys/queue.h>
#include "join/channel.h"
#include "join/guest.h"

/* A channel as its user has it. */
struct line {
	struct line *next; /* idle: guest->lock */
	int sock;
	struct join_packet in;
};

/* What core_container, core_group and core_device are. */
struct handle {
	LIST_ENTRY(handle) next; /* those with a view: guest->lock */
	uint32_t id;
	int view; /* -1 */
};

struct guest {
	struct uapi_core core; /* first */
	struct uvfio_log *log;
	const char *name;
	struct join_hello hello;
	struct uapi_device *devices;
	int first;                  /* the socket of the first channel */
	pthread_mutex_t first_lock; /* over a call on it */
	struct line *first_line;    /* first_lock */
	pthread_mutex_t lock;       /* what follows */
	pthread_cond_t freed;
	struct line *idle;
	unsigned nr_lines, nr_idle;
	LIST_HEAD(, handle) views;
	atomic_bool gone, ending; /* the server; we */
	pthread_t watcher;
};

/* guest.c */

/* A channel for one call; NULL: the server has gone, or there is no memory. */
struct line *line_take(struct guest *guest);
/* @broken: it is of no use any more. */
void line_put(struct guest *guest, struct line *line, bool broken);

/* guest_call.c */

/* Send @head with data and fds, answer what is asked for @client (may be NULL), and wait for the
 * result, which is in line->in.  0, or -EIO: the channel is broken. */
int line_call(struct line *line, struct vfio_client *client, const struct join_head *head,
	      const void *data, size_t len, const int *fds, unsigned nr);
/* Answer the question in line->in for @client.  -errno: the channel is broken. */
int guest_answer(struct line *line, struct vfio_client *client);
extern const struct uapi_core_ops join_guest_ops;
/* The end of the core. */
void guest_free(struct uapi_core *core);

#endif
