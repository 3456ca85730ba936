/* SPDX-License-Identifier: BSD-3-Clause */
/* A socket for each VF of a PF that says vf-sockets=.  For the server. */
#ifndef UVFIO_SERVE_VF_SOCKETS_H
#define UVFIO_SERVE_VF_SOCKETS_H

struct server;
struct serve_message;
struct json_object;

/* Before the first device; -errno.  The second one ends it, before the machine and its doors end.
 */
int server_vfs_start(struct server *server);
void server_vfs_stop(struct server *server);
/* When the machine has ended, too. */
void server_vfs_free(struct server *server);
/* It is told of, too, when what says vf-sockets= has come; @arg: server->vfs. */
void server_vfs_look(void *arg);
/* The keeper's answer; @fd becomes the server's. */
void server_vf_socket(struct server *server, const struct serve_message *msg, int fd);
/* Put where VF @name is served into @out, as "socket". */
void server_vf_describe(struct server *server, const char *name, struct json_object *out);

#endif
