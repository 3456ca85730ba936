/* SPDX-License-Identifier: BSD-3-Clause */
/* The process that has the clients; see serve.h. */
#ifndef UVFIO_SERVE_SERVER_H
#define UVFIO_SERVE_SERVER_H

#include "serve/confine.h"
#include "serve/serve.h"

struct serve_server_config {
	const struct serve_config *config;
	const struct serve_identity *identity; /* NULL: stay who we are */
	int tell, ask;                         /* see channel.h */
	int control_fd;                        /* a listening socket, or -1 */
	int sysfs_fd;                          /* a /dev/fuse that is mounted, or -1 */
	uid_t keeper_uid;
	gid_t keeper_gid;
	unsigned nr_files; /* that its devices are to have, as far as is known */
};

/* Confine this process and serve until told to end: the exit status. */
int serve_server(const struct serve_server_config *config);

#endif
