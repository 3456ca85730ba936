/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What bench-vfs would get of a controller that costs nothing: two threads, a socket pair for each
 * user, and pages of the same image copied into as many buffers.
 */
#ifndef UVFIO_BENCH_VFS_BARE_H
#define UVFIO_BENCH_VFS_BARE_H

#include <stddef.h>

struct bare;

/* @users of @depth buffers each, who ask for @batch pages at a time; exits when it cannot. */
struct bare *bare_new(const char *image, size_t size, unsigned users, unsigned depth,
		      unsigned batch);
void bare_free(struct bare *b);
/* Thousands of pages a second by @users of them, until @nr are read. */
double bare_reads(struct bare *b, unsigned users, unsigned nr);

#endif
