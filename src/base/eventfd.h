/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Telling eventfds from other files, many of them.  A check belongs to the process that made it (a
 * child has none: it is told the same, slowly); any number of threads may use it at once.
 */
#ifndef UVFIO_BASE_EVENTFD_H
#define UVFIO_BASE_EVENTFD_H

#include <stdbool.h>

struct uvfio_eventfd_check {
	unsigned long context; /* of the kernel's AIO; 0: none */
	int own;               /* an eventfd of ours, or -1 */
};

/* Never fails: without what it needs the check is the slow one. */
void uvfio_eventfd_check_init(struct uvfio_eventfd_check *check);
void uvfio_eventfd_check_fini(struct uvfio_eventfd_check *check);
/* Whether @fd is an eventfd that can be used (one that was opened with O_PATH cannot).  @check
 * NULL: the slow way, by its name, for who would not live long enough: to give the context back
 * takes the kernel 30 ms and more.  Neither waits for, nor asks, nor changes anything that is
 * behind it. */
bool uvfio_eventfd_check(const struct uvfio_eventfd_check *check, int fd);

#endif
