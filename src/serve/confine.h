/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Take from this process what serving devices does not need: capabilities, new privileges, every
 * path (Landlock) and most system calls (seccomp).  It is killed when its parent ends.
 *
 * Landlock.  No path can be opened, made or removed, TCP ports can neither be bound nor connected
 * to, and signals and abstract sockets end at this process, as far as the kernel knows these.  What
 * is open stays usable.
 *
 * Seccomp.  An allow-list.  What nobody here does by mistake (starting a program, tracing another
 * process, mounting, loading modules) kills the process; every other call that is not listed fails
 * with EPERM, and clone3() with ENOSYS, because libraries know how to go on after that.  New
 * threads are allowed, new processes are not; memory cannot be made executable.
 *
 * io_uring goes past the filter.  It is allowed only where Landlock keeps it from opening files, and
 * not to root; otherwise files are read and written by threads.  What Landlock does not know it can
 * still do: make a socket, and connect it to any UNIX socket with a path that the user may connect
 * to.  So the user matters (--user): one that owns nothing and whom no server trusts.
 */
#ifndef UVFIO_SERVE_CONFINE_H
#define UVFIO_SERVE_CONFINE_H

#include <sys/types.h>
#include <uvfio/device.h>

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

/* @id may be NULL: keep user and groups.  Before there are threads.  0, or -errno with a message;
 * *@landlock: whether the kernel has that. */
int serve_confine(const struct serve_identity *id, bool *landlock, struct uvfio_error *err);

#endif
