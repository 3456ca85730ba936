/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A guard against system calls that a client can make block: a write(2) to an eventfd whose counter
 * the client has filled.  (O_NONBLOCK would be set on the client's own file description.)
 *
 *      uvfio_stall_enter();
 *      n = write(fd, &one, sizeof(one));
 *      error = errno;
 *      interrupted = uvfio_stall_leave();
 *
 * A thread that stays between the two for more than 10 to 15 ms gets a signal, again and again
 * until it leaves, so that the call fails with EINTR.  The pair costs two locked instructions; a
 * watchdog thread is started by the first use, looks every 5 ms while brackets come and go, and
 * sleeps when none did for 100 ms.  Process-wide, as signals are: it takes SIGURG (which by default
 * is ignored) and passes on what is not its own.  Brackets do not nest.
 */
#ifndef UVFIO_BASE_STALL_H
#define UVFIO_BASE_STALL_H

#include <stdbool.h>

void uvfio_stall_enter(void);
/* True when the watchdog has interrupted the thread since _enter(): EINTR was for us.  No signal of
 * the watchdog arrives after it returns.  Changes errno. */
bool uvfio_stall_leave(void);

/* Add 1 to the counter of the eventfd @fd within a bracket.  0; -EAGAIN when it is full and the
 * write was given up, after at most some 15 ms (the next time ask poll(2) for POLLOUT first);
 * -errno of write(2).  Any thread. */
int uvfio_eventfd_signal(int fd);

#endif
