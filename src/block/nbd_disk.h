/* SPDX-License-Identifier: BSD-3-Clause */
/* What nbd.c (the connection) and nbd_req.c (requests) share.  For nobody else. */
#ifndef UVFIO_BLOCK_NBD_DISK_H
#define UVFIO_BLOCK_NBD_DISK_H

#include <libnbd.h>
#include "block/backend.h"
#include "block/pool.h"

#define NBD_MAX_DATA (1u << 20) /* of one command */

/* AWAY: given back; only BLOCK_TAKE connects. */
enum nbd_state { NBD_UP, NBD_CONNECTING, NBD_DOWN, NBD_DEAD, NBD_AWAY };

struct nbd_req {
	struct block_io *io;
	struct nbd_disk *disk;
	struct nbd_req *next; /* free, or finished */
	bool active;          /* the server has it */
	bool flushing;        /* FUA by way of a flush */
	unsigned tries;
	uint64_t offset, left; /* what remains */
	uint32_t chunk;        /* of it, in the present command */
	char *buf;
	int error;         /* of the present command */
	uint64_t deadline; /* ns */
	uint64_t flushes;  /* a flush: writes acknowledged before it */
};

struct connect_job {
	struct pool_job job;
	struct nbd_disk *disk; /* NULL: closed meanwhile */
	struct uvfio_device *dev;
	char *uri;
	unsigned timeout_ms;
	struct nbd_handle *h;
};

struct nbd_disk {
	struct block blk;
	struct uvfio_device *dev;
	char *uri;
	unsigned timeout_ms;
	enum nbd_state state;
	struct nbd_handle *h;
	struct uvfio_watch *watch;
	int watch_fd; /* a duplicate of its socket: libnbd closes its own when it pleases */
	struct uvfio_timer *timer;
	uint64_t timer_at;
	bool busy, dropping;
	bool server_fua, server_zero;
	uint32_t max_data;
	/* Writes that were acknowledged, and how many of them a flush has covered. */
	uint64_t acked, flushed;
	unsigned nr_reqs;
	struct nbd_req *reqs, *free_reqs, *finished, **finished_tail;
	struct io_queue waiting;
	struct pool *pool;
	struct connect_job *connecting;
	uint64_t tried_at; /* ns, the last attempt to connect */
};

/* nbd_req.c.  Calls into libnbd, so never from one of its callbacks. */
/* Begin @io with the free request @req. */
void disk_req_start(struct nbd_disk *d, struct nbd_req *req, struct block_io *io);
/* Send the next command of @req; once more, after a connection was lost. */
void disk_req_command(struct nbd_req *req);
/* The server has answered it. */
void disk_req_command_done(struct nbd_req *req);
/* Give @req back and complete its io. */
void disk_req_end(struct nbd_req *req, int status);
/* Is there a connection that works? */
bool disk_is_alive(const struct nbd_disk *d);

#endif
