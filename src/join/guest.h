/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The runner's half of `uvfio run --machine`: a core (uapi/core.h) that a server has.
 *
 * Theory of operation.  A call takes a channel that is free, or makes another one, sends the call,
 * and answers what the server asks until it is done: the thread that makes the call has the
 * client's rights, reads its memory, takes its descriptors and hands them over.  The first channel
 * is kept for making others; a thread waits for its end, which is the server's.  Then all calls
 * fail, and the views are cut to no length, so that mapped registers answer SIGBUS and do not stand
 * still.
 *
 * The server is trusted with what its programs hand it and with no memory of this process: lengths
 * and names that it tells are checked.
 */
#ifndef UVFIO_JOIN_GUEST_H
#define UVFIO_JOIN_GUEST_H

#include "uapi/core.h"

/* The machine behind @sock, the first channel, which is taken on success.  @name: of the machine,
 * for messages; stays valid.  NULL with a message. */
struct uapi_core *join_guest_new(int sock, const char *name, struct uvfio_log *log,
				 struct uvfio_error *err);

#endif
