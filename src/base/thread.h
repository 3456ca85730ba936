/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef UVFIO_BASE_THREAD_H
#define UVFIO_BASE_THREAD_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>

/* pthread_create(3) of a thread that takes no signals but those that an instruction of its own
 * raises (base/guard.h needs SIGBUS): the program's are for the program's threads.  0 or an errno.
 */
int uvfio_thread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*fn)(void *arg),
			void *arg);

/* The same for a thread that nobody joins, with a stack of @stack bytes (0: as usual). */
int uvfio_thread_detached(size_t stack, void *(*fn)(void *arg), void *arg);

/*
 * Is this thread at work for the library: made by uvfio_thread_create(), or between
 * uvfio_thread_enter() and uvfio_thread_leave() (which nest)?  Whatever code of a user's runs in it
 * is a callback, and must not wait for the library's threads.
 */
bool uvfio_thread_inside(void);
void uvfio_thread_enter(void);
void uvfio_thread_leave(void);

#endif
