/* SPDX-License-Identifier: BSD-3-Clause */
/* Whether somebody listens on a UNIX socket.  Any thread; nothing here keeps a state. */
#ifndef UVFIO_BASE_LISTENER_H
#define UVFIO_BASE_LISTENER_H

#include <sys/un.h>

/*
 * Connects to @addr and hangs up again.  0 when somebody listens there, else what connect(2) says:
 * -ECONNREFUSED for a socket that was left behind, -ENOENT, -EAGAIN (somebody does, and is busy).
 * Where the listener has been killed and the kernel has yet to close what it had (its io_uring does
 * so by and by), waits until that is done, 2 seconds at most.
 */
int uvfio_listener_look(const struct sockaddr_un *addr);

#endif
