/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The threads that answer the program's system calls.
 *
 * Theory of operation.  An elastic pool on one listener: before a receiver handles a request it
 * makes sure that another one waits, so that a request which takes long (a device that becomes
 * quiet, a page of the program that does not come) never keeps another waiting.  A receiver that
 * finds enough others waiting when it is done leaves.
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
