/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Messages on their way to a process that may have stopped reading: sending never waits.  What the
 * socket does not take is kept, in order, a few of them.  One thread.
 */
#ifndef UVFIO_SERVE_OUTBOX_H
#define UVFIO_SERVE_OUTBOX_H

#include "serve/channel.h"

/* The keeper has one operation under way at a time, and says once that it is the end. */
#define SERVE_OUTBOX_MAX 4u

struct serve_outbox {
	int sock; /* non-blocking */
	unsigned nr;
	struct serve_outgoing {
		struct serve_message msg;
		char *text; /* owned, or NULL */
		int fd;     /* ours, or -1 */
	} waiting[SERVE_OUTBOX_MAX];
};

/* As serve_send(); @text and @fd stay the caller's.  0: sent, or waiting; -ENOBUFS: too many wait;
 * -errno: the other side has gone, or there is no memory. */
int serve_outbox_send(struct serve_outbox *box, const struct serve_message *msg, const char *text,
		      int fd);
/* The socket can be written: send what it takes now. */
void serve_outbox_flush(struct serve_outbox *box);
void serve_outbox_fini(struct serve_outbox *box);

#endif
