/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The tree of a run whose program has no mount namespace of its own (--sandbox paths): a private
 * directory of S's with what tree.h describes, and a table of what is in it.
 *
 * Theory of operation.  No path leads the program there.  It asks for /sys/bus/pci/devices/…, the
 * filter turns each system call that takes a path into a request, walk.h finds out where the path
 * leads, and request_path.c answers from this tree what leads into it; the kernel answers the rest.
 * The files are real ones, so that what a program does with a descriptor (read, getdents, mmap,
 * openat from a directory) needs nobody.
 *
 * A directory that the machine has too is not copied: only those that programs list to find
 * devices are (SHADOW_MERGED), as of the start, with a symbolic link to each entry of the machine.
 *
 * The table is constant; any thread.  The files belong to the program's user, who could find and
 * change them: nothing in them is trusted, and none is opened through a link.
 */
#ifndef UVFIO_UAPI_SHADOW_H
#define UVFIO_UAPI_SHADOW_H

#include <linux/openat2.h>
#include "uapi/tree.h"

struct uapi_shadow;

/* What a path (absolute, without links, "." and "..") is. */
enum shadow_kind {
	SHADOW_NONE,   /* not ours */
	SHADOW_PARENT, /* a directory of the machine's which leads to one of ours */
	SHADOW_MERGED, /* the same, but its list of names has ours too */
	SHADOW_DIR,    /* all ours; what the machine has there is hidden */
	SHADOW_FILE,
	SHADOW_LINK,
};

/* Make the tree that @tree (a memfd, tree.h) describes.  Warns on stderr of each device of the
 * machine that it hides.  NULL with a message. */
struct uapi_shadow *uapi_shadow_new(int tree, struct uvfio_error *err);
/* Removes the directory.  NULL is allowed. */
void uapi_shadow_free(struct uapi_shadow *shadow);

/* Where such a directory would be made: a directory that can be written; NULL: nowhere. */
const char *uapi_shadow_base(void);

/* What @path is; *@target (may be NULL) is where a link leads. */
enum shadow_kind uapi_shadow_look(const struct uapi_shadow *shadow, const char *path,
				  const char **target);
/* The path under which the program knows the file that is at @host: the part behind the private
 * directory ("/": that itself); NULL when it is not in there. */
const char *uapi_shadow_inside(const struct uapi_shadow *shadow, const char *host);
/* Open @path of the tree, following no link.  An fd, or -errno. */
int uapi_shadow_open(const struct uapi_shadow *shadow, const char *path, int flags);

#endif
