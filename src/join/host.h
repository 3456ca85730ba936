/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The server's half of `uvfio run --machine`: runners join a machine, and their programs' calls are
 * made here.
 *
 * Theory of operation.  A runner hands in one end of a socket pair by control, which has checked
 * who it is; that is the first channel of a connection.  By it come further ones, so that calls do
 * not wait for one another.  A thread serves a channel: it receives a call, makes it, and what the
 * core asks of the client meanwhile it asks the runner, by the same channel.  A runner that does
 * not answer holds up that thread and nothing else: no lock is held across a question.  When the
 * first channel ends, because the runner has ended or was killed, all are shut down, questions that
 * are open fail with EFAULT, and then everything that the connection has open is released.
 *
 * The runner is not trusted.  Handles are places in its connection's own table; descriptors are
 * looked at before they are used (host_client.c); what it says of its programs concerns only
 * itself.
 */
#ifndef UVFIO_JOIN_HOST_H
#define UVFIO_JOIN_HOST_H

#include <sys/types.h>
#include "vfio/vfio.h"

struct join_host;

struct join_host *join_host_new(struct vfio_machine *machine, struct uvfio_log *log);
/* Ends all connections and waits until what they had open is released.  Before the machine is
 * freed. NULL is allowed. */
void join_host_free(struct join_host *host);
/* A connection with @sock as its first channel; @sock is taken, also on failure.  @uid: who is
 * behind it, for listings.  0 or -errno with a message: -EINVAL for another kind of descriptor,
 * -EUSERS at the limit.  Any thread. */
int join_host_connect(struct join_host *host, int sock, uid_t uid, struct uvfio_error *err);

#endif
