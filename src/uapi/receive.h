/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The threads that answer the program's system calls.
 *
 * Theory of operation.  One thread at a time, the leader, waits on the listener: the kernel wakes
 * all that wait there for each request, and a thread that stays warm answers sooner than one that
 * takes turns.  The leader handles what it receives itself.  A request that takes long (a device
 * that becomes quiet, a page of the program that does not come) must not keep others waiting: a
 * monitor, which runs while requests come, finds the leader with the same request for a whole tick
 * (1 ms), deposes it, and appoints another thread; the old one, when it is done, parks or leaves.
 * What a process's slow requests may cost others is bounded: share.h.
 *
 *      PARKED ──appointed──▶ LEADING: waiting ⇄ handling ──deposed──▶ handling ──done──▶ PARKED
 */
#ifndef UVFIO_UAPI_RECEIVE_H
#define UVFIO_UAPI_RECEIVE_H

#include "uapi/server.h"

/* Starts with one receiver; NULL with a message. */
struct uapi_pool *uapi_pool_new(struct uapi_server *server, struct uvfio_error *err);
/* No task is left that could make a request: wait until the last one has been dealt with. Receivers
 * that still wait (before Linux 6.11 nothing tells them) end with the process, so @pool stays. */
void uapi_pool_settle(struct uapi_pool *pool);

#endif
