/* SPDX-License-Identifier: BSD-3-Clause */
/* Where --sysfs shows the machine: the keeper mounts and unmounts, the server serves
 * (sysfs/sysfs.h). */
#ifndef UVFIO_SERVE_MOUNT_H
#define UVFIO_SERVE_MOUNT_H

#include <uvfio/error.h>

struct serve_mount;

/* Mount on the directory @path; what a server that was killed left there is taken away.  *@fd is
 * for the server and the caller's to close.  0 or -errno with a message.  As root for everybody, as
 * another user, by fusermount3, for that user alone. */
int serve_mount(const char *path, struct serve_mount **out, int *fd, struct uvfio_error *err);
/* Unmount; who has files open there gets ENOTCONN.  NULL is allowed. */
void serve_unmount(struct serve_mount *mount);

#endif
