/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Where things are thrown away that a client has handed in.
 *
 * close(2) of a client's file may call into whoever serves its file system (FUSE asks for a flush
 * each time) or wait for a network, for as long as they like; so may whatever else has to do with
 * the file.  So no thread on which others wait does it, nor one that holds a lock: they put it into
 * a trash, which never waits.  A thread of the trash's own does what is to be done, in order, and
 * ends when there has been nothing for a while.
 *
 * One trash for each client, so that a file that is never let go keeps only those of its own client
 * waiting.  What may lie in it is bounded by those who fill it: they ask for uvfio_trash_held()
 * before they take more, or wait in a thread that may (uvfio_trash_wait()).
 *
 * Threads: any.  Counted references.  Without a thread to be had, things stay until the next one
 * comes, or somebody waits for them, or the last user leaves, who then does them.
 */
#ifndef UVFIO_BASE_TRASH_H
#define UVFIO_BASE_TRASH_H

#include <limits.h>
#include <stdbool.h>

struct uvfio_trash;

/* Something to be done in the trash's thread: embedded, @fn set by its owner. */
struct uvfio_trash_item {
	struct uvfio_trash_item *next;
	void (*fn)(struct uvfio_trash_item *item); /* may free it, and may wait */
};

/* One reference is the caller's.  NULL when out of memory.  No thread is started yet. */
struct uvfio_trash *uvfio_trash_new(void);
void uvfio_trash_ref(struct uvfio_trash *trash);
/* What is still in it will be done.  Does not wait.  NULL is allowed. */
void uvfio_trash_unref(struct uvfio_trash *trash);

/* Have @item done. */
void uvfio_trash_add(struct uvfio_trash *trash, struct uvfio_trash_item *item);
/* Close @fd: at once when that asks nobody (uvfio_closes_at_once()), else in the trash, and true.
 * < 0 is allowed. */
bool uvfio_trash_close(struct uvfio_trash *trash, int fd);
/* How many things are in it, the one that is being done included.  NULL: 0. */
unsigned uvfio_trash_held(struct uvfio_trash *trash);
/* Wait until there are at most @held: as long as one of them is done every @ms, not counted when this
 * process does not get its turn, or with UVFIO_TRASH_EVER as long as a client likes.  False when
 * there are still more.  NULL is allowed. */
#define UVFIO_TRASH_EVER UINT_MAX
bool uvfio_trash_wait(struct uvfio_trash *trash, unsigned held, unsigned ms);

/* Is @fd one whose close is known to ask nobody: of a memory file?  (So it is with eventfds, but to
 * tell those takes longer than to have a thread close them.)  Does not ask either. */
bool uvfio_closes_at_once(int fd);

#endif
