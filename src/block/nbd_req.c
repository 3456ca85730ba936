/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Requests to an NBD server: one command after another until the request is done.  A completion
 * callback must not call libnbd, so it only moves its request to the list of the finished, which
 * nbd.c goes through.
 */
#include <errno.h>
#include <stdlib.h>
#include "block/nbd_disk.h"

#define MAX_RANGE (1u << 30) /* trim, zero */

void disk_req_end(struct nbd_req *req, int status)
{
	struct nbd_disk *d = req->disk;
	struct block_io *io = req->io;

	free(req->buf);
	req->buf = NULL;
	req->active = false;
	req->next = d->free_reqs;
	d->free_reqs = req;
	io->status = status;
	io->done(io);
}

static int on_completion(void *arg, int *error)
{
	struct nbd_req *req = arg;
	struct nbd_disk *d = req->disk;

	if (d->dropping)
		return 1; /* the handle is being closed; the request lives on */
	req->error = *error;
	req->next = NULL;
	*d->finished_tail = req;
	d->finished_tail = &req->next;
	return 1;
}

bool disk_is_alive(const struct nbd_disk *d)
{
	return d->h && nbd_aio_is_dead(d->h) != 1 && nbd_aio_is_closed(d->h) != 1;
}

static int64_t send_data(struct nbd_disk *d, struct nbd_req *req, uint32_t flags,
			 nbd_completion_callback cb)
{
	struct block_io *io = req->io;

	if (io->op == BLOCK_READ)
		return nbd_aio_pread(d->h, req->buf, req->chunk, req->offset, cb, 0);
	return nbd_aio_pwrite(d->h, req->buf, req->chunk, req->offset, cb, flags);
}

/* The next command of a request. */
void disk_req_command(struct nbd_req *req)
{
	struct nbd_disk *d = req->disk;
	struct block_io *io = req->io;
	nbd_completion_callback cb = {.callback = on_completion, .user_data = req};
	uint32_t flags = (io->flags & BLOCK_FUA) && d->server_fua ? LIBNBD_CMD_FLAG_FUA : 0;
	bool data = io->op == BLOCK_READ || io->op == BLOCK_WRITE ||
		    (io->op == BLOCK_WRITE_ZEROES && !d->server_zero);
	uint64_t max = data ? d->max_data : MAX_RANGE;
	int64_t cookie = -1;
	int rc = 0;

	req->chunk = req->left < max ? req->left : max;
	req->deadline = uvfio_now_ns() + d->timeout_ms * 1000000ull;
	if (data && !req->flushing && !req->buf) {
		req->buf = calloc(1, req->chunk);
		if (!req->buf) {
			disk_req_end(req, -ENOMEM);
			return;
		}
	}
	if (io->op == BLOCK_WRITE && !req->flushing)
		rc = iov_to_buf(io->iov, io->nr_iov, req->offset - io->offset, req->buf,
				req->chunk);
	if (rc) {
		disk_req_end(req, rc);
		return;
	}
	req->active = true;
	if (io->op == BLOCK_FLUSH || req->flushing) {
		req->flushes = d->acked;
		cookie = nbd_aio_flush(d->h, cb, 0);
	} else if (data) {
		cookie = send_data(d, req, flags, cb);
	} else if (io->op == BLOCK_DISCARD) {
		cookie = nbd_aio_trim(d->h, req->chunk, req->offset, cb, flags);
	} else {
		if (!(io->flags & BLOCK_MAY_FREE))
			flags |= LIBNBD_CMD_FLAG_NO_HOLE;
		cookie = nbd_aio_zero(d->h, req->chunk, req->offset, cb, flags);
	}
	/* A connection that is gone is seen to by service(). */
	if (cookie < 0 && disk_is_alive(d))
		disk_req_end(req, nbd_get_errno() == ENOMEM ? -ENOMEM : -EIO);
}

void disk_req_start(struct nbd_disk *d, struct nbd_req *req, struct block_io *io)
{
	req->io = io;
	req->disk = d;
	req->flushing = false;
	req->tries = 0;
	req->offset = io->offset;
	req->left = io->op == BLOCK_FLUSH ? 0 : io->len;
	if (io->op == BLOCK_TAKE) /* there is a connection: that was it */
		disk_req_end(req, 0);
	else
		disk_req_command(req);
}

/* What a server may say, in the errors of this room. */
static int server_error(int error)
{
	return error == ENOTCONN || error == ESHUTDOWN || error == EPIPE || !error ? -EIO : -error;
}

void disk_req_command_done(struct nbd_req *req)
{
	struct nbd_disk *d = req->disk;
	struct block_io *io = req->io;
	bool fua = io->flags & BLOCK_FUA;
	int rc = 0;

	if (req->error) {
		disk_req_end(req, server_error(req->error));
		return;
	}
	if (io->op == BLOCK_FLUSH || req->flushing) {
		if (req->flushes > d->flushed)
			d->flushed = req->flushes;
		disk_req_end(req, 0);
		return;
	}
	if (io->op == BLOCK_READ)
		rc = iov_from_buf(io->iov, io->nr_iov, req->offset - io->offset, req->buf,
				  req->chunk);
	if (rc) {
		disk_req_end(req, rc);
		return;
	}
	req->offset += req->chunk;
	req->left -= req->chunk;
	if (req->left) {
		disk_req_command(req);
	} else if (io->op != BLOCK_READ && fua && !d->server_fua && d->blk.info.volatile_cache) {
		req->flushing = true;
		disk_req_command(req);
	} else {
		if (io->op != BLOCK_READ && !fua && d->blk.info.volatile_cache)
			d->acked++;
		disk_req_end(req, 0);
	}
}
