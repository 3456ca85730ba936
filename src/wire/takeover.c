/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A connection that another process has handed over: see handover.h.  It is made like one that has
 * been accepted and has opened its device; then what its client had asked for is done again, by the
 * same calls.  The other process is of the same user, and its client is not: what is in the record
 * is checked like what a client sends.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "iommu/space.h"
#include "vfio/keep.h"
#include "wire/handover_private.h"
#include "wire/wire_private.h"

struct record {
	struct mig_in in;
	int *fds;
	unsigned nr_fds;
	struct wire_conn *conn;
	struct uvfio_error *err;
};

static int bad(struct record *r, const char *what)
{
	return uvfio_error_set(r->err, -EINVAL, "the connection that was handed over: %s", what);
}

/* Descriptor @index: it stays the record's.  -1: there is none. */
static int look_fd(const struct record *r, uint32_t index)
{
	return index < r->nr_fds ? r->fds[index] : -1;
}

static int take_fd(struct record *r, uint32_t index)
{
	int fd = look_fd(r, index);

	if (fd >= 0)
		r->fds[index] = -1;
	return fd;
}

/* ---- DMA ---- */

static int map(struct record *r)
{
	struct vfio_iommu_type1_dma_map req = {.argsz = sizeof(req)};
	struct wire_client c;
	uint32_t prot, fd;
	int ret;

	req.iova = mig_get_u64(&r->in);
	req.size = mig_get_u64(&r->in);
	req.vaddr = mig_get_u64(&r->in);
	prot = mig_get_u32(&r->in);
	fd = mig_get_u32(&r->in);
	if (r->in.bad || (fd != UINT32_MAX && look_fd(r, fd) < 0))
		return bad(r, "a mapping has no file");
	if (prot & ~(IOMMU_READ | IOMMU_WRITE))
		return bad(r, "a mapping has no such permission");
	req.flags = (prot & IOMMU_READ ? VFIO_DMA_MAP_FLAG_READ : 0) |
		    (prot & IOMMU_WRITE ? VFIO_DMA_MAP_FLAG_WRITE : 0);
	wire_client_init(&c, r->conn, NULL, &req, sizeof(req), sizeof(req));
	c.fd = fd == UINT32_MAX ? -1 : look_fd(r, fd);
	c.seals = c.fd < 0 ? -1 : fcntl(c.fd, F_GET_SEALS);
	c.address = req.vaddr;
	ret = vfio_container_ioctl(r->conn->container, &c.client, VFIO_IOMMU_MAP_DMA, 0);
	if (ret)
		return uvfio_error_set(r->err, ret,
				       "the client's memory at 0x%llx cannot be mapped again: %s",
				       (unsigned long long)req.iova, strerror(-ret));
	return 0;
}

/* ---- interrupts ---- */

struct taken {
	uint32_t index, vector, fd;
};

struct eventfds {
	struct record *record;
	struct taken *list; /* ascending */
	unsigned nr;
};

static int take_eventfd(void *arg, unsigned index, unsigned vector)
{
	struct eventfds *e = arg;
	int fd;

	for (unsigned i = 0; i < e->nr; i++) {
		if (e->list[i].index != index || e->list[i].vector != vector)
			continue;
		fd = take_fd(e->record, e->list[i].fd);
		if (fd >= 0 && index == VFIO_PCI_INTX_IRQ_INDEX && vector == 1)
			e->record->conn->unmask_fd = fcntl(fd, F_DUPFD_CLOEXEC, 3);
		return fd < 0 ? -EBADF : fd;
	}
	return -ENOENT;
}

static int get_eventfds(struct record *r, struct eventfds *e)
{
	while (mig_get_u32(&r->in) == 1) {
		struct taken t, *list;
		int fd;

		t.index = mig_get_u32(&r->in);
		t.vector = mig_get_u32(&r->in);
		t.fd = mig_get_u32(&r->in);
		fd = look_fd(r, t.fd);
		/* Anything else could hold up who signals it. */
		if (r->in.bad || fd < 0 || !uvfio_eventfd_check(&r->conn->server->eventfds, fd))
			return bad(r, "an interrupt has no eventfd");
		if (e->nr == WIRE_HANDED_FDS)
			return bad(r, "it has too many interrupts");
		list = realloc(e->list, (e->nr + 1) * sizeof(*list));
		if (!list)
			return uvfio_error_set(r->err, -ENOMEM, "out of memory");
		e->list = list;
		list[e->nr++] = t;
	}
	return 0;
}

static int interrupts(struct record *r)
{
	struct eventfds e = {.record = r};
	int ret = get_eventfds(r, &e);

	if (!ret) {
		ret = vfio_keep_irqs(r->conn->df, take_eventfd, &e);
		if (ret)
			uvfio_error_set(r->err, ret, "its interrupts cannot be had again: %s",
					strerror(-ret));
	}
	free(e.list);
	return ret;
}

/* ---- what came in ---- */

static int get_fds(struct record *r, int *out, unsigned *nr)
{
	unsigned n = mig_get_u32(&r->in);

	*nr = 0;
	if (n > VFIO_USER_MAX_FDS)
		return bad(r, "a message has too many descriptors");
	for (unsigned i = 0; i < n; i++) {
		out[*nr] = take_fd(r, mig_get_u32(&r->in));
		if (out[*nr] < 0)
			return bad(r, "a message lacks a descriptor");
		++*nr;
	}
	return 0;
}

static int command(struct record *r)
{
	int fds[VFIO_USER_MAX_FDS], ret;
	struct wire_msg msg = {.fds = fds}, *kept;
	const void *hdr = mig_get(&r->in, sizeof(msg.hdr)), *payload;

	if (!hdr)
		return bad(r, "a message is cut");
	memcpy(&msg.hdr, hdr, sizeof(msg.hdr));
	if (msg.hdr.size < sizeof(msg.hdr) || msg.hdr.size > WIRE_MSG_MAX)
		return bad(r, "a message has no such size");
	if ((msg.hdr.flags & VFIO_USER_TYPE_MASK) != VFIO_USER_TYPE_COMMAND)
		return bad(r, "a command is none");
	msg.len = msg.hdr.size - (uint32_t)sizeof(msg.hdr);
	payload = mig_get(&r->in, msg.len);
	msg.bad_fds = mig_get_u8(&r->in);
	ret = get_fds(r, fds, &msg.nr_fds);
	if (!ret && !payload)
		ret = bad(r, "a message is cut");
	if (ret) {
		wire_msg_close_fds(&msg, r->conn->trash);
		return ret;
	}
	msg.payload = malloc(msg.len + 1u);
	if (msg.payload)
		memcpy(msg.payload, payload, msg.len);
	kept = msg.payload ? wire_msg_keep(&msg) : NULL;
	free(msg.payload);
	wire_msg_close_fds(&msg, r->conn->trash); /* those that have not moved */
	if (!kept)
		return uvfio_error_set(r->err, -ENOMEM, "out of memory");
	TAILQ_INSERT_TAIL(&r->conn->pending, kept, next);
	r->conn->nr_pending++;
	return 0;
}

static int input(struct record *r)
{
	struct wire_stream *s = &r->conn->stream;
	uint32_t len, room = WIRE_IN_BYTES;
	const void *bytes;
	uint8_t *in;
	int ret;

	while (mig_get_u32(&r->in) == 1) {
		ret = r->conn->nr_pending < WIRE_PENDING + 1 ? command(r)
							     : bad(r, "too many commands");
		if (ret)
			return ret;
	}
	len = mig_get_u32(&r->in);
	bytes = mig_get(&r->in, len);
	if (!bytes || len > WIRE_MSG_MAX)
		return bad(r, "what came in is cut");
	if (len > room) {
		struct vfio_user_header hdr;

		memcpy(&hdr, bytes, sizeof(hdr));
		if (hdr.size < len || hdr.size > WIRE_MSG_MAX)
			return bad(r, "what came in is no message");
		in = realloc(s->in, hdr.size);
		if (!in)
			return uvfio_error_set(r->err, -ENOMEM, "out of memory");
		s->in = in;
		s->big_size = hdr.size;
	}
	memcpy(s->in, bytes, len);
	s->have = len;
	s->fds_at = mig_get_u32(&r->in);
	s->bad_fds = mig_get_u8(&r->in);
	ret = get_fds(r, s->fds, &s->nr_fds);
	/* They came with bytes that are here. */
	if (!ret && (s->nr_fds || s->bad_fds) && s->fds_at >= len)
		ret = bad(r, "descriptors belong to no message");
	if (!ret && (r->in.bad || mig_left_bytes(&r->in)))
		ret = bad(r, "it is cut, or goes on");
	return ret;
}

/* ---- all of it ---- */

/* Which descriptors come first; and what is to be checked first. */
struct first {
	bool twin, view, doorbell;
	uint32_t minor, layout;
};

static void agreed(struct record *r, struct first *first)
{
	struct wire_conn *conn = r->conn;

	first->minor = mig_get_u32(&r->in);
	conn->minor = (uint16_t)first->minor;
	conn->max_xfer = mig_get_u32(&r->in);
	conn->rx_fds = mig_get_u32(&r->in);
	conn->max_fds = mig_get_u32(&r->in);
	first->layout = mig_get_u32(&r->in);
	conn->pid = (int32_t)mig_get_u32(&r->in);
	conn->who.uid = (int64_t)mig_get_u64(&r->in);
	conn->since = mig_get_u64(&r->in);
	atomic_store(&conn->messages, mig_get_u64(&r->in));
	atomic_store(&conn->bytes_in, mig_get_u64(&r->in));
	atomic_store(&conn->bytes_out, mig_get_u64(&r->in));
	atomic_store(&conn->errors, mig_get_u64(&r->in));
	conn->unmask_number = (int32_t)mig_get_u32(&r->in);
	first->twin = mig_get_u8(&r->in);
	first->view = mig_get_u8(&r->in);
	first->doorbell = mig_get_u8(&r->in);
}

static int make_twin(struct record *r)
{
	int fd = look_fd(r, 1);

	if (fd < 0 || wire_check_socket(fd, false))
		return bad(r, "it has no second socket");
	fd = take_fd(r, 1);
	r->conn->twin_socket = true;
	if (wire_stream_init(&r->conn->twin, fd, WIRE_MSG_MAX, r->conn->trash, &r->conn->bytes_in,
			     &r->conn->bytes_out))
		return uvfio_error_set(r->err, -ENOMEM, "out of memory");
	r->conn->twin.lent = true;
	return 0;
}

static int take_view(struct record *r, uint32_t index)
{
	int fd = take_fd(r, index), ret;

	if (fd < 0 || fcntl(fd, F_GET_SEALS) < 0) {
		ret = bad(r, "the file behind the BARs is none");
	} else {
		ret = vfio_keep_view(r->conn->df, fd);
		if (ret)
			uvfio_error_set(r->err, ret,
					"the file behind the BARs cannot be had again: %s",
					strerror(-ret));
	}
	if (!ret)
		r->conn->view_fd = fd;
	else if (fd >= 0)
		close(fd);
	return ret;
}

static int take_doorbell(struct record *r, uint32_t index)
{
	int fd = look_fd(r, index);

	if (fd < 0 || !uvfio_eventfd_check(&r->conn->server->eventfds, fd))
		return bad(r, "its doorbells have no eventfd");
	return wire_doorbell_take(r->conn, take_fd(r, index))
		       ? uvfio_error_set(r->err, -ENOMEM, "out of memory")
		       : 0;
}

/* What it has mapped of the BARs, and their files. */
static int mapped(struct record *r, const struct first *first)
{
	uint32_t index = first->twin ? 2 : 1;
	int ret = vfio_keep_put_polled(r->conn->df, &r->in);

	if (ret)
		return uvfio_error_set(r->err, ret,
				       "the connection that was handed over: what it has mapped of "
				       "the BARs cannot be had again: %s",
				       strerror(-ret));
	if (first->view)
		ret = take_view(r, index++);
	if (!ret && first->doorbell)
		ret = take_doorbell(r, index);
	return ret;
}

static int rebuild(struct record *r)
{
	struct wire_conn *conn = r->conn;
	struct first first;
	int ret;

	agreed(r, &first);
	if (r->in.bad)
		return bad(r, "it is cut");
	if (first.minor > VFIO_USER_MINOR || conn->max_xfer < 8 || conn->max_xfer > WIRE_XFER_MAX ||
	    conn->rx_fds > VFIO_USER_MAX_FDS || conn->max_fds > VFIO_USER_MAX_FDS ||
	    first.layout > WIRE_PEER_LAYOUT_MAX)
		return bad(r, "VERSION cannot have agreed on that");
	if (first.twin) {
		ret = make_twin(r);
		if (ret)
			return ret;
	}
	conn->peer = wire_peer_new(conn, conn->max_xfer);
	if (!conn->peer)
		return uvfio_error_set(r->err, -ENOMEM, "out of memory");
	wire_peer_set_layout(conn->peer, first.layout);
	ret = -wire_conn_open_device(conn, true);
	if (ret)
		return uvfio_error_set(r->err, ret, "its device cannot be opened again: %s",
				       strerror(-ret));
	if (!vfio_device_file_continued(conn->df))
		return bad(r, "its device begins anew");
	ret = mapped(r, &first);
	while (!ret && mig_get_u32(&r->in) == 1)
		ret = map(r);
	if (!ret)
		ret = interrupts(r);
	return ret ? ret : input(r);
}

/* It is the listener's one client. */
static void enlist(struct wire_conn *conn)
{
	struct wire_listener *listener = conn->listener;

	pthread_mutex_lock(&conn->server->lock);
	TAILQ_INSERT_TAIL(&listener->conns, conn, next);
	listener->nr_conns++;
	listener->active = conn;
	pthread_mutex_unlock(&conn->server->lock);
}

int wire_take_over(struct wire_listener *listener, const void *bytes, size_t len, int *fds,
		   unsigned nr_fds, struct wire_conn **out, struct uvfio_error *err)
{
	struct record r = {.in = {bytes, (const uint8_t *)bytes + len},
			   .fds = fds,
			   .nr_fds = nr_fds,
			   .err = err};
	int fd, ret;

	if (mig_get_u32(&r.in) != HANDOVER_VERSION)
		return bad(&r, "it is of a version that this server does not know");
	fd = look_fd(&r, 0);
	if (fd < 0 || wire_check_socket(fd, false))
		return bad(&r, "it has no socket");
	r.conn = wire_conn_make(listener, take_fd(&r, 0), WIRE_MSG_MAX);
	if (!r.conn)
		return uvfio_error_set(err, -ENOMEM, "out of memory");
	r.conn->stream.lent = true;
	set_state(r.conn, WIRE_READY);
	/* From here on it goes like any other, when the server ends. */
	enlist(r.conn);
	ret = rebuild(&r);
	if (!ret)
		*out = r.conn;
	return ret;
}

void wire_go_on(struct wire_conn *conn)
{
	conn->stream.lent = conn->twin.lent = false;
	vfio_keep_master(conn->df);
	uvfio_ctx_post(conn->ctx, &conn->go_work);
}
