/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Memory of a process that may block when it is touched (a file on a disk, a network or a FUSE
 * file system behind it): reached by threads that may be left behind.
 *
 * Theory of operation.  It is a peer (peer.h) whose messages are jobs for a few threads of the
 * address space: made when needed, gone when idle.  A thread that is stuck in a system call cannot
 * be called back, so nobody waits for it: the job has a buffer of its own, and what it was for is
 * abandoned.  So that an abandoned write does not arrive long afterwards, a thread first reads a
 * byte of each page, which is where it gets stuck, and writes only when the job is still wanted.
 *
 * A stuck thread keeps the fd of the process and its job.  There are at most WORKERS_MAX of them an
 * address space, and WORKERS_MAX_ALL in the program; beyond that transfers wait, or fail with -EIO
 * when the space has no thread at all.
 */
#ifndef UVFIO_IOMMU_PROCESS_H
#define UVFIO_IOMMU_PROCESS_H

#include "iommu/peer.h"

#define WORKERS_MAX     4u
#define WORKERS_MAX_ALL 256u

struct workers;
struct uvfio_trash;

/* NULL when out of memory. */
struct workers *workers_new(void);
/* No peer is left that has not been given back, but jobs may be stuck: does not wait for them.
 * NULL is allowed. */
void workers_free(struct workers *workers);

/* Reaches the /proc/PID/mem or file @fd (duplicated).  Whoever gives the last reference back may be
 * a device's thread: then the duplicate is closed in @trash (a reference is taken), NULL: at once.
 * One reference is the caller's; NULL when out of memory or fds. */
struct iommu_peer *process_peer_new(struct workers *workers, int fd, struct uvfio_trash *trash);

#endif
