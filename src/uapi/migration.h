/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The program's descriptors of migration data (E.3).
 *
 * Theory of operation.  They are files of a FUSE file system that is mounted nowhere: S has a
 * descriptor of the mount, and no path leads there.  So they are real files: read, write, poll,
 * dup, fork, SCM_RIGHTS and close work without a system call being trapped, a read can answer any
 * errno (ENOMSG), and the kernel tells when the last descriptor has gone.  A stream has no
 * position: ESPIPE.  One file a session, which is opened once, by us; the mode is the session's
 * (EBADF).  An ioctl is trapped as all of VFIO's are (request_migration.c).
 *
 * Several threads read /dev/fuse.  Who has taken a request carries it out itself, whatever the
 * device makes it wait for; further requests on the same file are queued on that.  There are two
 * threads more than files, so a device that stalls holds up nobody but those who use its own file.
 *
 * A task that waits for FUSE can be killed only when it is answered.  So what has been interrupted
 * is looked at again and again, and answered in the request's stead when its task is dying; to any
 * other signal it pays no attention, as with the kernel's drivers.  What the request reads after
 * that is kept for the next one.
 *
 * To open a file of one's own FUSE is dangerous in the same way (pump.h): for as long as an open is
 * under way, neither side could be killed.  So a process of its own opens them (opener.h), and what
 * is asked of a file otherwise is cached.
 *
 * Who polls in pre-copy is woken every few milliseconds and asks again: no device tells that it has
 * something new to save.
 *
 * Locks: ->lock for all that is here; it is a leaf, and held across nothing that waits.
 */
#ifndef UVFIO_UAPI_MIGRATION_H
#define UVFIO_UAPI_MIGRATION_H

#include "uapi/core.h"

struct uapi_migration; /* a file */
struct uapi_migrations;
struct uapi_request;

/* @fuse: /dev/fuse of a file system whose mount @mount is; both are taken.  NULL with a message;
 * then, and where there is no FUSE, devices offer no migration. */
struct uapi_migrations *uapi_migrations_new(struct uapi_core *core, int fuse, int mount,
					    struct uvfio_error *err);
/* No request is being handled, and no device is open any more; NULL is allowed. */
void uapi_migrations_free(struct uapi_migrations *m);

/* A file for the session @handle, of a device that is open as @df: a descriptor to be given to the
 * program and then closed, or -errno (ENFILE: too many).  @handle is taken, also on failure. */
int uapi_migrations_add(struct uapi_migrations *m, struct core_migration *handle,
			const struct core_device *df);
/* @df is about to be released: its files answer ENODEV from now on, and have no handle any more. */
void uapi_migrations_end(struct uapi_migrations *m, const struct core_device *df);
/* The state of a device may have changed: who polls is to ask again. */
void uapi_migrations_look(struct uapi_migrations *m);

/* The file that is this inode, in use until it is put; NULL: none. */
struct uapi_migration *uapi_migrations_get(struct uapi_migrations *m, dev_t dev, ino_t ino);
void uapi_migration_put(struct uapi_migrations *m, struct uapi_migration *f);
/* PRECOPY_INFO; -ENODEV. */
int uapi_migration_ioctl(struct uapi_migrations *m, struct uapi_migration *f,
			 struct vfio_client *client, unsigned cmd, uint64_t arg);

#endif
