/* SPDX-License-Identifier: BSD-3-Clause */
/* What server.c (devices, the keeper's word, the end) and server_control.c (control) share. */
#ifndef UVFIO_SERVE_SERVER_PRIVATE_H
#define UVFIO_SERVE_SERVER_PRIVATE_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include "control/control.h"
#include "serve/channel.h"
#include "serve/server.h"
#include "sysfs/sysfs.h"
#include "wire/wire.h"

struct served {
	struct served *next;
	uint64_t id; /* the keeper's; 0: added through control */
	char name[16];
	char *socket;
	struct wire_listener *listener; /* under ->lock; NULL: somebody closes it, or has */
	struct wire_options options;    /* of it; constant */
	char *vf_sockets;               /* ditto: its pattern, or NULL */
	bool removing;                  /* under ->lock */
	bool gone;                      /* ditto: the machine has let go of it */
	bool left;                      /* ditto: nobody waits for that */
};

struct server {
	const struct serve_server_config *config;
	struct uvfio_log *log;
	struct block_rings *rings; /* NULL: files use threads; or make their own, unconfined */
	struct vfio_machine *machine;
	struct wire_server *wire;
	struct join_host *join;
	struct sysfs *sysfs; /* NULL: none */
	/* [main thread] What came of it, while this server is a new one; fd -1: nothing. */
	struct sysfs_handed sysfs_came;

	struct control *control; /* NULL: none */
	struct server_vfs *vfs;  /* vf_sockets.h */

	/* [main thread] What came for the next ADD (SERVE_STATE); -1: nothing. */
	int state_fd;
	uint64_t state_id;
	bool state_or_fresh; /* if it cannot be used, begin anew */

	/* [main thread] While it is exchanged (handover.h). */
	struct leaving *leaving;
	struct arriving *arriving;
	bool handing; /* and ->turn is held */
	/* Under ->lock: what became of it, for who asked through control. */
	unsigned upgrades_failed;
	char upgrade_error[512];

	pthread_mutex_t turn; /* taken before ->lock */
	pthread_mutex_t lock;
	pthread_cond_t changed; /* a device is gone or off the list; ->stopping */
	struct served *devices;
	bool stopping, stopped;
};

/* Add what @text says, at the listening socket @fd, which becomes the server's.  @id: the keeper's,
 * or 0.  Its name; 0 or -errno with a message. */
int server_add_device(struct server *server, uint64_t id, const char *text, int fd, char name[16],
		      struct uvfio_error *err);
/* By its name; or by @id when that is NULL, which waits for REMOVE_MS and then leaves it:
 * -ETIMEDOUT. */
int server_remove_device(struct server *server, uint64_t id, const char *name,
			 enum control_removal how, struct uvfio_error *err);
/* Where the link to it is, or the end; ->lock is held. */
struct served **server_find_locked(struct server *server, uint64_t id, const char *name);

/* Show the machine at --sysfs, where nobody does yet, or go on with it: @from, which is held. */
int server_start_sysfs(struct server *server, const struct sysfs_handed *from,
		       struct uvfio_error *err);

/* server_state.c.  [main thread] The keeper's SERVE_STATE, with @fd, and SERVE_SAVE. */
void server_state_came(struct server *server, const struct serve_message *msg, int fd);
int server_state_save(struct server *server, uint64_t id, int fd, struct uvfio_error *err);
/* Device @name, which has just been made for ADD @id, becomes what came for that.  -errno with a
 * message: it does not, and has to. */
int server_state_load(struct server *server, uint64_t id, const char *name,
		      struct uvfio_error *err);

/* server_tell.c.  [main thread] Do what the keeper says, until that is to end. */
void server_listen(struct server *server);
/* @ret: 0 or -errno, with a message. */
void server_tell_started(struct server *server, int ret, const char *text);

/* The file @path that came with what this thread adds for a client of control: a descriptor,
 * -ENOENT when none did, or -errno. */
int server_file_that_came(const char *path, int flags);
int server_start_control(struct server *server, struct uvfio_error *err);

#endif
