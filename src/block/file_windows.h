/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The mappings of a file's page cache, each there once for all contexts that share the file
 * (file_share.c), and what is known of the pages in them.  For file_map.c and file_share.c.
 *
 * Theory of operation.  Who reads a place of the file for the first time takes a reference to its
 * window, and holds it until the file is closed or its place among the context's windows is needed
 * for another one; the last reference unmaps.  So a read asks nobody.  The lock guards the table
 * and the references for some instructions; no system call is made under it.
 *
 * What is known of a chunk is written by all of them without a lock.  Nothing but speed depends on
 * it, so an update may be lost; the order of the stores (chunk_*()) sees to it that an old answer
 * is never taken for a new one.
 */
#ifndef UVFIO_BLOCK_FILE_WINDOWS_H
#define UVFIO_BLOCK_FILE_WINDOWS_H

#include "block/file.h"

#define PAGE_BITS   12
#define CHUNK_BITS  18
#define WINDOW_BITS 28
#define PAGES       64u /* of a chunk: the bits of a word */
#define CHUNKS      (1u << (WINDOW_BITS - CHUNK_BITS))
#define PLACES      (1u << 18) /* windows that a file can have: 64 TiB */

_Static_assert(1u << (CHUNK_BITS - PAGE_BITS) == PAGES, "a bit for each page");

struct chunk {
	_Atomic uint64_t resident; /* a bit for each page, as of the look at @tick */
	_Atomic uint32_t tick;     /* of the look, or when counting began */
	_Atomic uint16_t reads, misses;
	atomic_bool looked;
};

struct map_window {
	char *_Atomic at; /* NULL: not mapped yet */
	unsigned users;   /* windows_lock */
	unsigned taken;   /* common->taken, when it was made */
	uint32_t place;
	struct chunk chunks[CHUNKS];
};

/* One context's use of a window. */
struct map_use {
	struct map_window *window;
	uint32_t tick; /* of the latest read */
};

/* A reference to the window at @place; NULL without memory. */
struct map_window *file_window_get(struct file_common *common, uint32_t place);
void file_window_put(struct file_common *common, struct map_window *w);
/* Map all of it, also behind the end of the file, which may grow, unless it is: NULL when there is
 * no address space, or the file cannot be mapped. */
char *file_window_map(struct file_common *common, struct map_window *w);

#endif
