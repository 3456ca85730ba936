/* SPDX-License-Identifier: BSD-3-Clause */
/* What S does when C has made its namespaces and mounts, or could not. */
#ifndef UVFIO_UAPI_SANDBOX_H
#define UVFIO_UAPI_SANDBOX_H

#include "uapi/server.h"

/* @refused: 0, or the errno by which C was refused its mounts: then @tree (uapi_tree_make()) is
 * made as server->shadow, with ->nodes and ->sysfs.  @pid: C.  What is to be trapped
 * (UAPI_FILTER_…), or -errno with a message. */
int uapi_sandbox_begin(struct uapi_server *server, pid_t pid, int refused, int tree,
		       struct uvfio_error *err);
/* Files of migration data (migration.h), by /dev/fuse and a mount that C has made; both are taken.
 */
void uapi_sandbox_migration(struct uapi_server *server, int fuse, int mount);
/* When the program has ended, after the files. */
void uapi_sandbox_no_migration(struct uapi_server *server);
/* After the files, when the program has ended. */
void uapi_sandbox_end(struct uapi_server *server);

#endif
