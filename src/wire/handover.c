/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A connection is frozen and handed over: see handover.h.  The other process' part: takeover.c.
 *
 * A frozen connection is one with a job that waits: in WORKING, where commands are kept and answers
 * are taken.  So it is frozen when nothing that the client asked for is half done.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "irq/irq.h"
#include "vfio/keep.h"
#include "vfio/observe.h"
#include "wire/handover_private.h"
#include "wire/wire_private.h"

enum freezing { ASKED, FROZEN, NOT_NOW, GONE };

struct wire_frozen {
	struct wire_listener *listener;
	struct wire_conn *conn; /* NULL: there is none */
	pthread_mutex_t lock;
	pthread_cond_t cond;
	/* Under @lock. */
	enum freezing state;
	bool let_go;
	bool left;    /* its job does not look at this any more */
	bool stopped; /* stop_work has run */
	int result;   /* of it */
	struct wire_handed *handed;
	struct uvfio_error *err;
};

static void change(struct wire_frozen *f, enum freezing state)
{
	pthread_mutex_lock(&f->lock);
	f->state = state;
	pthread_cond_broadcast(&f->cond);
	pthread_mutex_unlock(&f->lock);
}

/* ---- freezing ---- */

struct listener_work {
	struct uvfio_work work;
	struct wire_listener *listener;
};

static void rest_work(struct uvfio_work *work)
{
	struct wire_listener *listener = ((struct listener_work *)work)->listener;

	uvfio_timer_cancel(listener->retry);
	uvfio_watch_free(listener->watch);
	listener->watch = NULL;
}

static void accept_nobody(struct wire_listener *listener)
{
	struct listener_work w = {{.fn = rest_work}, listener};

	uvfio_ctx_post(listener->ctx, &w.work);
	uvfio_ctx_flush(listener->ctx);
}

static void job_frozen(struct wire_conn *conn)
{
	struct wire_frozen *f;

	pthread_mutex_lock(&conn->server->lock);
	f = conn->freeze;
	pthread_mutex_unlock(&conn->server->lock);
	pthread_mutex_lock(&f->lock);
	f->state = FROZEN;
	pthread_cond_broadcast(&f->cond);
	while (!f->let_go)
		pthread_cond_wait(&f->cond, &f->lock);
	f->left = true;
	pthread_cond_broadcast(&f->cond);
	pthread_mutex_unlock(&f->lock);
}

void wire_conn_freeze(struct wire_conn *conn)
{
	conn->freeze_wanted = false;
	wire_conn_job(conn, WIRE_WORKING, job_frozen);
}

void wire_freeze_work(struct uvfio_work *work)
{
	struct wire_conn *conn = OF_WORK(work, freeze_work);
	struct wire_frozen *f;

	pthread_mutex_lock(&conn->server->lock);
	f = conn->freeze;
	pthread_mutex_unlock(&conn->server->lock);
	if (!f || conn->dying)
		return; /* that it has gone is told when it has */
	if (state_of(conn) == WIRE_READY && !conn->half_closed && !conn->ended)
		wire_conn_freeze(conn);
	else if (state_of(conn) == WIRE_WORKING && !conn->ended)
		conn->freeze_wanted = true;
	else
		change(f, NOT_NOW);
}

void wire_conn_thawed(struct wire_conn *conn)
{
	conn->stopped = false;
}

void wire_freeze_gone_locked(struct wire_conn *conn)
{
	if (conn->freeze)
		change(conn->freeze, GONE);
	conn->freeze = NULL;
}

static void frozen_free(struct wire_frozen *f)
{
	pthread_cond_destroy(&f->cond);
	pthread_mutex_destroy(&f->lock);
	free(f);
}

int wire_freeze(struct wire_listener *listener, struct wire_frozen **out, struct uvfio_error *err)
{
	struct wire_server *server = listener->server;
	struct wire_frozen *f = calloc(1, sizeof(*f));
	enum freezing state;

	if (!f)
		return uvfio_error_set(err, -ENOMEM, "out of memory");
	f->listener = listener;
	pthread_mutex_init(&f->lock, NULL);
	pthread_cond_init(&f->cond, NULL);
	accept_nobody(listener);
	pthread_mutex_lock(&server->lock);
	f->conn = listener->active;
	if (f->conn) {
		f->conn->freeze = f;
		uvfio_ctx_post(f->conn->ctx, &f->conn->freeze_work);
	}
	pthread_mutex_unlock(&server->lock);
	if (f->conn) {
		pthread_mutex_lock(&f->lock);
		while (f->state == ASKED)
			pthread_cond_wait(&f->cond, &f->lock);
		state = f->state;
		pthread_mutex_unlock(&f->lock);
		if (state == GONE)
			f->conn = NULL;
		if (state == NOT_NOW) {
			wire_thaw(f);
			return uvfio_error_set(err, -EBUSY,
					       "%s: its client is just coming or going; try again",
					       listener->device);
		}
	}
	*out = f;
	return 0;
}

void wire_thaw(struct wire_frozen *f)
{
	struct wire_server *server = f->listener->server;

	pthread_mutex_lock(&server->lock);
	pthread_mutex_lock(&f->lock);
	if (f->conn && f->state != GONE)
		f->conn->freeze = NULL;
	f->let_go = true;
	pthread_cond_broadcast(&f->cond);
	pthread_mutex_unlock(&server->lock);
	while (f->state == FROZEN && !f->left)
		pthread_cond_wait(&f->cond, &f->lock);
	pthread_mutex_unlock(&f->lock);
	if (f->listener->fd >= 0)
		uvfio_timer_arm(f->listener->retry, 0);
	frozen_free(f);
}

/* ---- handing over ---- */

static int put_fd(struct wire_handed *h, int fd)
{
	int *fds;

	if (h->nr_fds == WIRE_HANDED_FDS)
		return -E2BIG;
	fds = realloc(h->fds, (h->nr_fds + 1) * sizeof(*fds));
	if (!fds)
		return -ENOMEM;
	h->fds = fds;
	fds[h->nr_fds] = fcntl(fd, F_DUPFD_CLOEXEC, 3);
	if (fds[h->nr_fds] < 0)
		return -errno;
	return (int)h->nr_fds++;
}

/* The same for one that is a copy already. */
static int put_own_fd(struct wire_handed *h, int fd)
{
	int ret = put_fd(h, fd);

	close(fd);
	return ret;
}

#define MAPS 256u

/* Each file once: most clients have few, and map much of them. */
struct known_file {
	int fd, index;
};

static int put_map(struct wire_handed *h, struct mig_buf *buf, const struct iommu_kept *k,
		   struct known_file *known, unsigned *nr_known)
{
	int index = -1;

	for (unsigned i = 0; i < *nr_known && k->fd >= 0; i++)
		if (known[i].fd == k->fd)
			index = known[i].index;
	if (k->fd >= 0 && index < 0) {
		index = put_fd(h, k->fd);
		if (index < 0)
			return index;
		if (*nr_known < MAPS)
			known[(*nr_known)++] = (struct known_file){k->fd, index};
	}
	mig_put_u64(buf, k->iova);
	mig_put_u64(buf, k->size);
	mig_put_u64(buf, k->offset);
	mig_put_u32(buf, k->prot);
	mig_put_u32(buf, (uint32_t)index);
	return 0;
}

static int put_maps(struct wire_conn *conn, struct wire_handed *h, struct mig_buf *buf)
{
	struct iommu_kept *maps = calloc(MAPS, sizeof(*maps));
	struct known_file known[MAPS];
	unsigned nr_known = 0;
	uint64_t iova = 0;
	int n = -ENOMEM, ret = 0;

	while (maps && !ret && (n = vfio_keep_mappings(conn->df, iova, maps, MAPS)) > 0) {
		for (int i = 0; i < n && !ret; i++) {
			mig_put_u32(buf, 1); /* one more */
			ret = put_map(h, buf, &maps[i], known, &nr_known);
		}
		iova = maps[n - 1].iova + maps[n - 1].size;
	}
	mig_put_u32(buf, 0);
	free(maps);
	return n < 0 ? n : ret;
}

static int put_eventfd(struct wire_conn *conn, struct wire_handed *h, struct mig_buf *buf,
		       unsigned index, unsigned vector)
{
	int fd = vfio_keep_eventfd(vfio_device_file_device(conn->df), index, vector);

	if (fd == -ENOENT)
		return 0;
	fd = fd < 0 ? fd : put_own_fd(h, fd);
	if (fd < 0)
		return fd;
	mig_put_u32(buf, 1);
	mig_put_u32(buf, index);
	mig_put_u32(buf, vector);
	mig_put_u32(buf, (uint32_t)fd);
	return 0;
}

static int put_eventfds(struct wire_conn *conn, struct wire_handed *h, struct mig_buf *buf)
{
	unsigned msix = irq_msix_vectors(vfio_device_irqs(vfio_device_file_device(conn->df)));
	int ret = 0;

	for (unsigned index = 0; index < IRQ_NUM && !ret; index++) {
		unsigned nr = index == VFIO_PCI_MSIX_IRQ_INDEX   ? msix
			      : index == VFIO_PCI_MSI_IRQ_INDEX  ? 32
			      : index == VFIO_PCI_INTX_IRQ_INDEX ? 2
								 : 1;

		for (unsigned v = 0; v < nr && !ret; v++)
			ret = put_eventfd(conn, h, buf, index, v);
	}
	if (!ret)
		ret = put_eventfd(conn, h, buf, KEEP_WAKEUP, 0);
	mig_put_u32(buf, 0);
	return ret;
}

static int put_fds(struct wire_handed *h, struct mig_buf *buf, const int *fds, unsigned nr)
{
	int index = 0;

	mig_put_u32(buf, nr);
	for (unsigned i = 0; i < nr && index >= 0; i++) {
		index = put_fd(h, fds[i]);
		mig_put_u32(buf, (uint32_t)index);
	}
	return index < 0 ? index : 0;
}

/* Commands that wait, and then what has come in and was not handed out. */
static int put_input(struct wire_conn *conn, struct wire_handed *h, struct mig_buf *buf)
{
	struct wire_stream *s = &conn->stream;
	struct wire_msg *msg;
	int ret = 0;

	TAILQ_FOREACH(msg, &conn->pending, next)
	{
		mig_put_u32(buf, 1);
		mig_put(buf, &msg->hdr, sizeof(msg->hdr));
		mig_put(buf, msg->payload, msg->len);
		mig_put_u8(buf, msg->bad_fds);
		if (!ret)
			ret = put_fds(h, buf, msg->fds, msg->nr_fds);
	}
	mig_put_u32(buf, 0);
	mig_put_u32(buf, s->have - s->used);
	mig_put(buf, s->in + s->used, s->have - s->used);
	mig_put_u32(buf, s->fds_at > s->used ? s->fds_at - s->used : 0);
	mig_put_u8(buf, s->bad_fds);
	return ret ? ret : put_fds(h, buf, s->fds, s->nr_fds);
}

static bool output_is_left(struct wire_stream *s)
{
	return wire_stream_flush(s) || wire_stream_queued(s) || atomic_load(&s->want_write);
}

/* What stands against it, or NULL. */
static const char *why_not(struct wire_conn *conn, int layout)
{
	if (conn->migration)
		return "its client moves it";
	if (layout < 0)
		return "its client has to answer for its memory";
	if (output_is_left(&conn->stream) || (conn->twin_socket && output_is_left(&conn->twin)))
		return "its client takes no answers at the moment";
	if (conn->twin_socket && conn->twin.have > conn->twin.used)
		return "its client is just answering";
	if (vfio_keep_logs(vfio_device_file_device(conn->df)))
		return "its client has DMA logging on, as for a migration; try again afterwards";
	return NULL;
}

static int fill(struct wire_conn *conn, struct wire_handed *h, struct mig_buf *buf, int layout)
{
	int ret;

	mig_put_u32(buf, HANDOVER_VERSION);
	mig_put_u32(buf, conn->minor);
	mig_put_u32(buf, conn->max_xfer);
	mig_put_u32(buf, conn->rx_fds);
	mig_put_u32(buf, conn->max_fds);
	mig_put_u32(buf, (uint32_t)layout);
	mig_put_u32(buf, (uint32_t)conn->pid);
	mig_put_u64(buf, (uint64_t)conn->who.uid);
	mig_put_u64(buf, conn->since);
	mig_put_u64(buf, atomic_load(&conn->messages));
	mig_put_u64(buf, atomic_load(&conn->bytes_in));
	mig_put_u64(buf, atomic_load(&conn->bytes_out));
	mig_put_u64(buf, atomic_load(&conn->errors));
	mig_put_u32(buf, (uint32_t)conn->unmask_number);
	mig_put_u8(buf, conn->twin_socket);
	mig_put_u8(buf, conn->view_fd >= 0);
	mig_put_u8(buf, conn->doorbell_fd >= 0);
	ret = put_fd(h, conn->stream.fd); /* the first one */
	if (ret >= 0 && conn->twin_socket)
		ret = put_fd(h, conn->twin.fd);
	if (ret >= 0 && conn->view_fd >= 0)
		ret = put_fd(h, conn->view_fd);
	if (ret >= 0 && conn->doorbell_fd >= 0)
		ret = put_fd(h, conn->doorbell_fd);
	vfio_keep_polled(conn->df, buf);
	if (ret >= 0)
		ret = put_maps(conn, h, buf);
	if (ret >= 0)
		ret = put_eventfds(conn, h, buf);
	return ret < 0 ? ret : put_input(conn, h, buf);
}

/* [context] */
static int hand_over(struct wire_conn *conn, struct wire_handed *h, struct uvfio_error *err)
{
	const char *device = conn->listener->device, *why;
	int layout = wire_peer_layout(conn->peer), ret;
	struct mig_buf buf;

	conn->stopped = true;
	if (wire_stream_take(&conn->stream))
		return uvfio_error_set(err, -ENOTCONN, "%s: its client has gone", device);
	wire_conn_watch(conn);
	why = why_not(conn, layout);
	if (why)
		return uvfio_error_set(err, -EBUSY, "%s: %s", device, why);
	mig_buf_init(&buf, HANDOVER_BYTES_MAX);
	ret = fill(conn, h, &buf, layout);
	if (ret >= 0)
		ret = buf.error;
	if (ret) {
		mig_buf_fini(&buf);
		return uvfio_error_set(
			err, ret, "%s: %s", device,
			ret == -EOPNOTSUPP ? "its client has memory mapped that cannot go along "
					     "(another device's, a disk's file, or more "
					     "than 64 files)"
					   : strerror(-ret));
	}
	h->bytes = buf.bytes;
	h->len = buf.len;
	return 0;
}

void wire_stop_work(struct uvfio_work *work)
{
	struct wire_conn *conn = OF_WORK(work, stop_work);
	struct wire_frozen *f;
	int ret;

	pthread_mutex_lock(&conn->server->lock);
	f = conn->freeze;
	pthread_mutex_unlock(&conn->server->lock);
	if (conn->dying || conn->ended)
		ret = uvfio_error_set(f->err, -ENOTCONN, "%s: its client has just gone",
				      conn->listener->device);
	else
		ret = hand_over(conn, f->handed, f->err);
	pthread_mutex_lock(&f->lock);
	f->result = ret;
	f->stopped = true;
	pthread_cond_broadcast(&f->cond);
	pthread_mutex_unlock(&f->lock);
}

int wire_hand_over(struct wire_frozen *f, struct wire_handed *out, struct uvfio_error *err)
{
	int ret;

	*out = (struct wire_handed){0};
	if (!f->conn)
		return 0;
	f->handed = out;
	f->err = err;
	/* It is frozen, so that it does not go. */
	uvfio_ctx_post(f->conn->ctx, &f->conn->stop_work);
	pthread_mutex_lock(&f->lock);
	while (!f->stopped)
		pthread_cond_wait(&f->cond, &f->lock);
	ret = f->result;
	pthread_mutex_unlock(&f->lock);
	if (ret)
		wire_handed_fini(out);
	return ret;
}

void wire_handed_fini(struct wire_handed *handed)
{
	for (unsigned i = 0; i < handed->nr_fds; i++)
		close(handed->fds[i]);
	free(handed->fds);
	free(handed->bytes);
	*handed = (struct wire_handed){0};
}
