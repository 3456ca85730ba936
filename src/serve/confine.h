/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Take from this process what serving devices does not need: capabilities, new privileges, every
 * path (Landlock) and most system calls (seccomp).  It is killed when its parent ends.
 *
 * Landlock.  No path can be opened, made or removed, TCP ports can neither be bound nor connected
 * to, and signals and abstract sockets end at this process, as far as the kernel knows these.  What
 * is open stays usable.
 *
 * Seccomp (filter.h).  New threads are allowed, new processes are not; memory cannot be made
 * executable; no file can be opened, no socket made but pairs, none connected.  io_uring goes past
 * filters, so the process makes its rings before, and they can do no more than the filter lets it
 * (block/rings.h).
 *
 * What is left to an attacker who has taken the process over: its devices' files and clients, and
 * control's; a datagram socket that a client hands it, through which it may send to sockets as its
 * user may; on a kernel without AIO, readlink(), which tells whether a path exists.  So the user
 * still matters (--user): one that owns nothing and whom no server trusts.
 */
#ifndef UVFIO_SERVE_CONFINE_H
#define UVFIO_SERVE_CONFINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <uvfio/device.h>

struct block_rings;

/* Whose rights a process is to have. */
struct serve_identity {
	uid_t uid;
	gid_t gid;
	gid_t *groups; /* owned */
	int nr_groups;
};
/* The user @name, or one whose number it is.  0, or -errno with a message. */
int serve_identity_find(const char *name, struct serve_identity *id, struct uvfio_error *err);
void serve_identity_fini(struct serve_identity *id);

/* @id may be NULL: keep user and groups.  @rings: what is left of io_uring; NULL: nothing.  Before
 * there are threads.  0, or -errno with a message; *@landlock: whether the kernel has that. */
int serve_confine(const struct serve_identity *id, const struct block_rings *rings, bool *landlock,
		  struct uvfio_error *err);

/* As the newest kernel that we know has it; older ones take its beginning. */
struct serve_landlock {
	uint64_t fs, net, scoped; /* bits of LANDLOCK_ACCESS_FS_…, _NET_… and LANDLOCK_SCOPE_… */
};
/* What to ask of a kernel with this version of Landlock, <= 0: none; how many bytes of @rules it
 * takes, 0: Landlock is not there. */
size_t serve_landlock_rules(long abi, struct serve_landlock *rules);

#endif
