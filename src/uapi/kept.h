/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The program's eventfds where pidfd_getfd is refused (a container's profile): copies of them all.
 *
 * Theory of operation.  What cannot be taken from the program can be given to it: the filter traps
 * eventfd and eventfd2, S makes the eventfd, gives the program a descriptor of it, and keeps one.
 * When the program names a descriptor later, /proc/TID/fdinfo says which eventfd that is by the
 * number that the kernel gives each (Linux 5.2).  Another program's cannot be named: the number is
 * read from the process that makes the call.
 *
 * Nobody tells us when the program closes its own.  So when many are kept, those are let go of that
 * no process has open any more.  (One that is only under way in a message is lost by that.)
 *
 * Any thread.
 */
#ifndef UVFIO_UAPI_KEPT_H
#define UVFIO_UAPI_KEPT_H

#include <stdbool.h>
#include <sys/types.h>

struct uapi_kept;

/* NULL when out of memory. */
struct uapi_kept *uapi_kept_new(void);
void uapi_kept_free(struct uapi_kept *kept);
/* Does this system refuse to take a descriptor from the child @pid? */
bool uapi_kept_needed(pid_t pid);
/* eventfd2(@initial, @flags): an fd for the program, the caller's; or -errno: then the kernel is to
 * make it, and it is not kept. */
int uapi_kept_make(struct uapi_kept *kept, unsigned initial, unsigned flags);
/* A new descriptor of the eventfd with the number @id (uapi_task_eventfd_id()), or -EPERM when it
 * is none of these; -ENFILE when it may be one for which there was no room. */
int uapi_kept_get(struct uapi_kept *kept, unsigned long id);

#endif
