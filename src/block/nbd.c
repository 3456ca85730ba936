/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * An NBD server, by libnbd.
 *
 * Theory of operation.  The handle is driven from the context: a watch on its socket lets libnbd
 * read and write, block_kick() starts what was submitted.  A completion callback must not call
 * libnbd, so it only moves its request to the list of the finished, which is gone through after
 * each call into the library.  Data goes through a buffer of our own: libnbd would take an EFAULT
 * of client memory for an error of the connection.
 *
 *      UP ──connection lost, a request timed out──▶ CONNECTING ──▶ UP
 *      │                                             ▲      │failed
 *      │ ... with acknowledged writes not flushed    │      ▼
 *      └──────────────────▶ DEAD          a request, └──── DOWN
 *                                         250 ms later
 *
 * A server that goes takes with it what it had acknowledged and not yet flushed.  Nobody can tell
 * whether it did (the network may have failed, or the server), so then nothing may succeed any
 * more: neither a flush, nor a read of what may be old data.  That is DEAD: -EIO from there on.
 * Without such writes a new connection is tried; requests that were under way were not
 * acknowledged, so they are sent again, from their beginning, once.  A request whose second
 * connection fails too, or whose connection cannot be made, gets -EIO.  Every command has a
 * deadline.
 *
 * A disk that was given back (AWAY) has no connection until it is taken, which makes a new one:
 * what the server kept for the old one is not believed, and one that serves a single client serves
 * the other side meanwhile.
 */
#include <errno.h>
#include <fcntl.h>
#include <libnbd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "block/nbd_connect.h"
#include "block/nbd_disk.h"

#define DEFAULT_DEPTH      64u
#define MAX_DEPTH          256u
#define DEFAULT_TIMEOUT_MS 30000u
#define CONNECT_TIMEOUT_MS 5000u
#define RETRY_NS           250000000u
#define POLL_ROUNDS        16 /* events taken from the socket at a time */

static void connect_run(struct pool_job *job)
{
	struct connect_job *c = container_of(job, struct connect_job, job);
	char why[64];

	c->h = nbd_connect_within(c->dev, c->uri, c->timeout_ms, why, sizeof(why));
}

/* ---- the connection ---- */

static void service(struct nbd_disk *d);

static void unwatch(struct nbd_disk *d)
{
	uvfio_watch_free(d->watch);
	d->watch = NULL;
	if (d->watch_fd >= 0)
		close(d->watch_fd);
	d->watch_fd = -1;
}

static void drop_handle(struct nbd_disk *d)
{
	unwatch(d);
	d->dropping = true;
	nbd_close(d->h);
	d->dropping = false;
	d->h = NULL;
	d->finished = NULL;
	d->finished_tail = &d->finished;
}

static void fail_all(struct nbd_disk *d)
{
	struct io_queue waiting = d->waiting;
	struct block_io *io;

	io_queue_init(&d->waiting);
	for (unsigned i = 0; i < d->nr_reqs; i++)
		if (d->reqs[i].active)
			disk_req_end(&d->reqs[i], -EIO);
	while ((io = io_queue_take(&waiting))) {
		io->status = -EIO;
		io->done(io);
	}
}

static void on_socket(void *arg);

static bool attach(struct nbd_disk *d, struct nbd_handle *h)
{
	int fd = nbd_aio_get_fd(h);

	d->watch_fd = fd >= 0 ? fcntl(fd, F_DUPFD_CLOEXEC, 0) : -1;
	if (d->watch_fd >= 0)
		d->watch = uvfio_watch_new(d->blk.ctx, d->watch_fd, on_socket, d);
	if (!d->watch) {
		unwatch(d);
		return false;
	}
	d->h = h;
	d->state = NBD_UP;
	return true;
}

/* The same export as before, as far as can be seen. */
static bool is_same(const struct nbd_disk *d, struct nbd_handle *h)
{
	return nbd_get_size(h) >= (int64_t)d->blk.info.size &&
	       (d->blk.info.readonly || nbd_is_read_only(h) == 0) &&
	       (!d->blk.info.volatile_cache || nbd_can_flush(h) == 1) &&
	       (!d->server_fua || nbd_can_fua(h) == 1) &&
	       (!d->server_zero || nbd_can_zero(h) == 1) &&
	       (!d->blk.info.can_discard || nbd_can_trim(h) == 1);
}

/* Is it BLOCK_TAKE for which it connects?  Then nothing else waits. */
static bool taking(const struct nbd_disk *d)
{
	return d->waiting.head && d->waiting.head->op == BLOCK_TAKE;
}

static void connect_done(struct uvfio_work *work)
{
	struct connect_job *c = container_of(work, struct connect_job, job.work);
	struct nbd_disk *d = c->disk;
	bool up = false;

	if (d) {
		d->connecting = NULL;
		up = c->h && is_same(d, c->h) && attach(d, c->h);
		if (!up)
			d->state = NBD_DOWN;
		d->tried_at = uvfio_now_ns();
	}
	if (!up && c->h)
		nbd_close(c->h);
	free(c->uri);
	free(c);
	if (!d)
		return;
	if (!up) {
		if (taking(d))
			d->state = NBD_AWAY;
		fail_all(d);
		return;
	}
	block_set_size(&d->blk, nbd_get_size(d->h));
	for (unsigned i = 0; i < d->nr_reqs; i++)
		if (d->reqs[i].active)
			disk_req_command(&d->reqs[i]);
	service(d);
}

static void reconnect(struct nbd_disk *d)
{
	struct connect_job *c = calloc(1, sizeof(*c));

	d->tried_at = uvfio_now_ns();
	if (c)
		c->uri = strdup(d->uri);
	if (!d->pool)
		d->pool = pool_new(d->blk.ctx, 1);
	if (!c || !c->uri || !d->pool) {
		free(c ? c->uri : NULL);
		free(c);
		d->state = taking(d) ? NBD_AWAY : NBD_DOWN;
		fail_all(d);
		return;
	}
	d->state = NBD_CONNECTING;
	c->disk = d;
	c->dev = d->dev;
	c->timeout_ms = d->timeout_ms < CONNECT_TIMEOUT_MS ? d->timeout_ms : CONNECT_TIMEOUT_MS;
	d->connecting = c;
	pool_submit(d->pool, &c->job, connect_run, connect_done);
}

/* The connection is gone, or given up.  Active requests stay so and begin anew. */
static void lost(struct nbd_disk *d)
{
	struct nbd_req *give_up = NULL;

	drop_handle(d);
	if (d->acked != d->flushed) {
		d->state = NBD_DEAD;
		fail_all(d);
		return;
	}
	for (unsigned i = 0; i < d->nr_reqs; i++) {
		struct nbd_req *req = &d->reqs[i];

		if (!req->active)
			continue;
		free(req->buf);
		req->buf = NULL;
		req->flushing = false;
		req->offset = req->io->offset;
		req->left = req->io->op == BLOCK_FLUSH ? 0 : req->io->len;
		if (req->tries++) {
			req->next = give_up;
			give_up = req;
		}
	}
	reconnect(d);
	while (give_up) {
		struct nbd_req *req = give_up;

		give_up = req->next;
		if (req->active) /* unless reconnect() has failed all */
			disk_req_end(req, -EIO);
	}
}

/* ---- driving ---- */

static void set_timer(struct nbd_disk *d)
{
	uint64_t at = UINT64_MAX, now;

	for (unsigned i = 0; i < d->nr_reqs; i++)
		if (d->reqs[i].active && d->reqs[i].deadline < at)
			at = d->reqs[i].deadline;
	/* One that is set for earlier looks again. */
	if (d->state != NBD_UP || at == UINT64_MAX || (d->timer_at && d->timer_at <= at))
		return;
	now = uvfio_now_ns();
	d->timer_at = at;
	uvfio_timer_arm(d->timer, at > now ? at - now : 0);
}

static void on_timer(void *arg)
{
	struct nbd_disk *d = arg;
	uint64_t now = uvfio_now_ns();
	bool late = false;

	d->timer_at = 0;
	for (unsigned i = 0; i < d->nr_reqs; i++)
		late |= d->reqs[i].active && d->reqs[i].deadline <= now;
	if (late && d->state == NBD_UP) {
		d->busy = true;
		lost(d);
		d->busy = false;
	}
	service(d);
}

static bool process_finished(struct nbd_disk *d)
{
	bool any = false;

	while (d->finished) {
		struct nbd_req *req = d->finished;

		/* What failed with the connection has not been answered. */
		if (req->error && !disk_is_alive(d))
			return any;
		d->finished = req->next;
		if (!d->finished)
			d->finished_tail = &d->finished;
		disk_req_command_done(req);
		any = true;
	}
	return any;
}

static void service(struct nbd_disk *d)
{
	bool more;

	if (d->busy)
		return;
	d->busy = true;
	if (d->state == NBD_CONNECTING && !d->connecting)
		reconnect(d);
	do {
		more = false;
		while (d->state == NBD_UP && d->free_reqs && d->waiting.head) {
			struct nbd_req *req = d->free_reqs;

			d->free_reqs = req->next;
			disk_req_start(d, req, io_queue_take(&d->waiting));
		}
		if (d->state != NBD_UP)
			break;
		more = process_finished(d);
		if (!disk_is_alive(d)) {
			/* Answers that came before it went count; what failed by it does not. */
			while (d->finished) {
				struct nbd_req *req = d->finished;

				d->finished = req->next;
				if (!req->error)
					disk_req_command_done(req);
			}
			lost(d);
			more = true;
		}
	} while (more);
	d->busy = false;
	if (d->state == NBD_UP)
		uvfio_watch_write(d->watch,
				  nbd_aio_get_direction(d->h) & LIBNBD_AIO_DIRECTION_WRITE);
	set_timer(d);
}

static void on_socket(void *arg)
{
	struct nbd_disk *d = arg;

	if (d->state != NBD_UP)
		return;
	/* It must be told only what poll(2) says: after a read that finds nothing it would wait for
	 * an answer and not go on sending.  Errors show as a dead handle. */
	for (int i = 0; i < POLL_ROUNDS && nbd_poll(d->h, 0) > 0; i++)
		;
	service(d);
}

/* ---- the backend ---- */

/* Nothing is in flight. */
static int release(struct nbd_disk *d)
{
	if (d->acked != d->flushed || d->state == NBD_DEAD)
		return -EIO;
	if (d->connecting)
		d->connecting->disk = NULL;
	d->connecting = NULL;
	if (d->h)
		drop_handle(d);
	d->state = NBD_AWAY;
	return 0;
}

static int nbd_submit(struct block *blk, struct block_io *io)
{
	struct nbd_disk *d = container_of(blk, struct nbd_disk, blk);

	/* A server says it when it is connected to, and then only. */
	if (io->op == BLOCK_GET_SIZE || io->op == BLOCK_NEXT_DATA)
		return 0;
	if (io->op == BLOCK_RELEASE) {
		io->status = release(d);
		return 0;
	}
	if (io->op == BLOCK_TAKE) {
		if (d->state != NBD_AWAY)
			return 0;
		io_queue_add(&d->waiting, io);
		d->state = NBD_CONNECTING; /* service() sees to it */
		return 1;
	}
	if (d->state == NBD_AWAY) {
		io->status = -EIO;
		return 0;
	}
	if (d->state == NBD_DOWN && uvfio_now_ns() - d->tried_at >= RETRY_NS) {
		io_queue_add(&d->waiting, io);
		d->state = NBD_CONNECTING; /* service() sees to it */
		return 1;
	}
	if (d->state == NBD_DOWN || d->state == NBD_DEAD) {
		io->status = -EIO;
		return 0;
	}
	io_queue_add(&d->waiting, io);
	return 1;
}

static void nbd_kick(struct block *blk)
{
	service(container_of(blk, struct nbd_disk, blk));
}

static void nbd_free(struct block *blk)
{
	struct nbd_disk *d = container_of(blk, struct nbd_disk, blk);

	if (d->connecting)
		d->connecting->disk = NULL;
	pool_free(d->pool);
	uvfio_timer_free(d->timer);
	if (d->h)
		drop_handle(d);
	free(d->reqs);
	free(d->uri);
	free(d);
}

static int nbd_share(struct block *blk, struct uvfio_device *dev, struct uvfio_ctx *ctx,
		     struct block **out);

static const struct block_ops nbd_ops = {
	.close = nbd_free,
	.submit = nbd_submit,
	.kick = nbd_kick,
	.share = nbd_share,
};

/* A disk without a connection. */
static struct nbd_disk *new_disk(const char *uri, unsigned nr_reqs, struct uvfio_device *dev,
				 struct uvfio_ctx *ctx)
{
	struct nbd_disk *d = calloc(1, sizeof(*d));

	if (!d)
		return NULL;
	d->blk.ops = &nbd_ops;
	d->blk.ctx = ctx;
	d->watch_fd = -1;
	d->state = NBD_DOWN;
	d->finished_tail = &d->finished;
	io_queue_init(&d->waiting);
	d->dev = dev;
	d->nr_reqs = nr_reqs;
	d->uri = strdup(uri);
	d->reqs = calloc(d->nr_reqs, sizeof(d->reqs[0]));
	d->timer = uvfio_ctx_timer_new(ctx, on_timer, d);
	if (!d->uri || !d->reqs || !d->timer) {
		nbd_free(&d->blk);
		return NULL;
	}
	for (unsigned i = 0; i < d->nr_reqs; i++) {
		d->reqs[i].next = d->free_reqs;
		d->free_reqs = &d->reqs[i];
	}
	return d;
}

/* The first request connects, as after a connection that was lost. */
static int nbd_share(struct block *blk, struct uvfio_device *dev, struct uvfio_ctx *ctx,
		     struct block **out)
{
	const struct nbd_disk *of = container_of(blk, struct nbd_disk, blk);
	struct nbd_disk *d = new_disk(of->uri, of->nr_reqs, dev, ctx);

	if (!d)
		return -ENOMEM;
	d->timeout_ms = of->timeout_ms;
	d->max_data = of->max_data;
	d->server_fua = of->server_fua;
	d->server_zero = of->server_zero;
	*out = &d->blk;
	return 0;
}

static int examine(struct nbd_disk *d, struct nbd_handle *h, const struct block_options *opts,
		   struct uvfio_error *err)
{
	struct block_info *info = &d->blk.info;
	int64_t size = nbd_get_size(h), min = nbd_get_block_size(h, LIBNBD_SIZE_MINIMUM);
	int64_t max = nbd_get_block_size(h, LIBNBD_SIZE_MAXIMUM);

	if (opts->shared && nbd_can_multi_conn(h) != 1)
		return uvfio_error_set(
			err, -ENOTSUP,
			"nbd=%s: to be shared the server must see to it that its connections see "
			"the same (multi-conn), and it does not say so: use one that does "
			"(nbdkit; qemu-nbd --shared=0)",
			d->uri);
	info->align = min > 0 ? min : 512;
	info->readonly = opts->readonly || nbd_is_read_only(h) == 1;
	if (min > NBD_MAX_DATA || max < 0 || (max && max < info->align))
		return uvfio_error_set(err, -EINVAL, "nbd=%s: blocks of %lld bytes cannot be used",
				       d->uri, (long long)min);
	info->size = size > 0 ? size / info->align * info->align : 0;
	if (!info->size)
		return uvfio_error_set(err, -EINVAL,
				       "nbd=%s: the export is empty; check its name in the URI",
				       d->uri);
	d->max_data = max && max < NBD_MAX_DATA ? max : NBD_MAX_DATA;
	d->max_data = d->max_data / info->align * info->align;
	d->server_fua = nbd_can_fua(h) == 1;
	d->server_zero = nbd_can_zero(h) == 1;
	info->volatile_cache = !info->readonly && nbd_can_flush(h) == 1;
	info->can_fua = true;
	info->can_discard = !info->readonly && nbd_can_trim(h) == 1;
	return 0;
}

int nbd_backend_open(const struct block_options *opts, struct uvfio_ctx *ctx, struct block **out,
		     struct uvfio_error *err)
{
	unsigned nr_reqs = opts->depth ? opts->depth : DEFAULT_DEPTH, timeout_ms;
	struct nbd_handle *h = NULL;
	struct nbd_disk *d;
	char why[256];
	int rc;

	if (nr_reqs > MAX_DEPTH)
		nr_reqs = MAX_DEPTH;
	d = new_disk(opts->nbd, nr_reqs, opts->dev, ctx);
	if (!d)
		return uvfio_error_set(err, -ENOMEM, "no memory for %u requests", nr_reqs);
	d->timeout_ms = opts->timeout_ms ? opts->timeout_ms : DEFAULT_TIMEOUT_MS;
	timeout_ms = d->timeout_ms < CONNECT_TIMEOUT_MS ? d->timeout_ms : CONNECT_TIMEOUT_MS;
	h = nbd_connect_within(d->dev, d->uri, timeout_ms, why, sizeof(why));
	if (!h) {
		rc = uvfio_error_set(err, -ECONNREFUSED,
				     "nbd=%s: %s; check that the server runs and the URI "
				     "(nbd://HOST:PORT/EXPORT, nbd+unix:///EXPORT?socket=PATH)",
				     d->uri, why);
		goto fail;
	}
	rc = examine(d, h, opts, err);
	if (rc)
		goto fail;
	if (opts->unlocked) {
		nbd_close(h);
		d->state = NBD_AWAY;
	} else if (!attach(d, h)) {
		rc = uvfio_error_set(err, -ENOMEM, "nbd=%s: cannot watch the connection", d->uri);
		goto fail;
	}
	*out = &d->blk;
	return 0;

fail:
	if (h)
		nbd_close(h);
	nbd_free(&d->blk);
	return rc;
}
