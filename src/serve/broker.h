/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Opening files and connecting to servers for a process that may not.
 *
 * A request carries a socket of its own for the answer, so requests do not wait for one another.
 */
#ifndef UVFIO_SERVE_BROKER_H
#define UVFIO_SERVE_BROKER_H

#include <stdbool.h>
#include "serve/channel.h"

/* [server] Ask on @ask and wait for the answer.  Any thread.  A descriptor, or -errno. */
int serve_ask(int ask, enum serve_kind kind, const char *text, int flags);

/* [keeper] In a child that is to answer one request: it ends by itself when that takes too long. */
void serve_answer_begin(void);
/* [its child] Do it: answer @msg with @text on @reply. */
void serve_answer(const struct serve_message *msg, const char *text, int reply);
/* [its child] Refuse it. */
void serve_refuse(int reply, int error);

/* Where an NBD server is, as its URI says. */
struct serve_target {
	char host[256]; /* "" : a UNIX socket */
	char port[32];
	char path[108];
};
/* nbd://HOST[:PORT]/… and nbd+unix:///…?socket=PATH; 0, -EPROTONOSUPPORT for other schemes (TLS
 * needs files that the server cannot read), or -EINVAL. */
int serve_parse_uri(const char *uri, struct serve_target *out);

#endif
