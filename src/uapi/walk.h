/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Where a path of the program's leads, when part of what it sees is not in the file system but in
 * our tree (shadow.h).
 *
 * Theory of operation.  The path is walked as the kernel walks it, from the task's root, working
 * directory or descriptor, a name at a time: a name of ours is looked up in the table, any other is
 * asked of the kernel (is it a symbolic link, and where does it lead?).  Most paths need none of
 * that: one that goes nowhere near our directories and that the kernel can walk without a link is
 * not ours.
 *
 * What is not ours the kernel then carries out itself, reading the path again.  Should the program
 * change it meanwhile, or a link in it, the kernel does what it would have done without us: nothing
 * was checked here that would permit anything.
 *
 * Any thread; may wait for whoever serves a file system that the path leads through, as the
 * program would.
 */
#ifndef UVFIO_UAPI_WALK_H
#define UVFIO_UAPI_WALK_H

#include <limits.h>
#include <sys/types.h>
#include "uapi/server.h"
#include "uapi/shadow.h"

struct walk {
	enum shadow_kind kind;
	const char *target; /* of a link of ours that is not followed */
	/* Absolute, as the program's mount namespace has it, without links, "." and "..".  Of what
	 * is not ours: as far as it was looked at. */
	char path[PATH_MAX];
	/* It began in one of our directories and is not ours: the kernel would not find it. */
	bool left;
};

/* 1: it is ours, as @out says.  0: it is the kernel's business.  -errno: what to answer.
 * @nofollow: a link at the end is meant itself; @resolve: of openat2. */
int uapi_walk(const struct uapi_server *server, pid_t tid, int dirfd, const char *path,
	      bool nofollow, uint64_t resolve, struct walk *out);

/* May everybody search the directories that lead to the absolute @path?  It has no links and no
 * "..", as what uapi_walk() found. */
bool uapi_walk_is_public(const char *path);

#endif
