/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Rings for a process that is about to confine itself.
 *
 * What is submitted to an io_uring goes past a seccomp filter.  So such a process makes its rings
 * before, and each is restricted for ever to reading, writing, syncing and allocating (_FIXED
 * buffers, registered files, links and so on are not used, and not allowed); nothing can be
 * registered with it any more.  Files take a ring from here and give it back when they are closed;
 * when there is none left, threads do the work.
 *
 * The rings' descriptors are an aligned block of numbers, so that a filter can tell them from
 * others: a client may send a ring of its own (SCM_RIGHTS, before Linux 6.7), which can do
 * anything.
 *
 * Threads: any, but for making and freeing.
 */
#ifndef UVFIO_BLOCK_RINGS_H
#define UVFIO_BLOCK_RINGS_H

#include <liburing.h>
#include <stdbool.h>
#include <uvfio/device.h>

struct block_rings;

#define BLOCK_RING_DEPTH 256u  /* requests that each takes */
#define BLOCK_RINGS_MAX  1024u /* in one process; each takes 30 KiB of the kernel's memory */

/* @nr rings or a few more: a power of two.  NULL with a message that says why: the kernel has no
 * io_uring, or this process may not use it, or there are too few descriptors. */
struct block_rings *block_rings_new(unsigned nr, struct uvfio_error *err);
/* All were given back.  NULL is allowed. */
void block_rings_free(struct block_rings *rings);
/* Their descriptors are [*first, *first + *nr); *first is a multiple of *nr, a power of two. */
void block_rings_fds(const struct block_rings *rings, unsigned *first, unsigned *nr);

/* ---- for file_ring.c ---- */

/* A ring and the eventfd that it signals. */
struct block_ring {
	struct io_uring ring;
	int evfd;
	struct block_ring *next_free;
};

/* One that nobody uses, or NULL; it is empty, and is so when it is given back. */
struct block_ring *block_rings_take(struct block_rings *rings);
void block_rings_put(struct block_rings *rings, struct block_ring *ring);
/* One that may do everything: 0 or -errno. */
int block_ring_init(struct block_ring *ring, unsigned depth);
void block_ring_fini(struct block_ring *ring);

#endif
