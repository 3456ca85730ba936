/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What a connection sends: replies, and being told when the client takes more of them.
 */
#include <stdlib.h>
#include <unistd.h>
#include "wire/wire_private.h"

bool wire_conn_may_go_on(struct wire_conn *conn)
{
	if (conn->dying || conn->half_closed || conn->ended || conn->stopped)
		return false;
	if (conn->nr_pending >= WIRE_PENDING || wire_stream_late(&conn->stream))
		return false;
	return wire_stream_queued(&conn->stream) == 0;
}

/* What another thread queues after this, it posts output_work for. */
static bool wants_write(const struct wire_stream *s)
{
	return atomic_load(&s->want_write) && !atomic_load(&s->failed);
}

void wire_conn_watch(struct wire_conn *conn)
{
	bool main_on, twin_on, reading;

	if (atomic_load_explicit(&conn->unwanted, memory_order_relaxed) &&
	    (conn->ended || wire_stream_queued(&conn->stream))) {
		wire_conn_complain(conn, "it has shut its sending half, does not read, and another "
					 "client waits for the device; the connection is closed");
		wire_conn_close(conn);
		return;
	}
	reading = wire_conn_may_go_on(conn);
	if (reading != conn->reading && conn->watch) {
		uvfio_watch_read(conn->watch, reading);
		conn->reading = reading;
	}

	main_on = wants_write(&conn->stream);
	if (main_on != conn->write_watched && conn->watch) {
		uvfio_watch_write(conn->watch, main_on);
		conn->write_watched = main_on;
	}
	if (!conn->twin_watch)
		return;
	twin_on = wants_write(&conn->twin);
	if (twin_on != conn->twin_write_watched) {
		uvfio_watch_write(conn->twin_watch, twin_on);
		conn->twin_write_watched = twin_on;
	}
}

void wire_conn_ended_work(struct uvfio_work *work)
{
	struct wire_conn *conn = OF_WORK(work, ended_work);

	if (conn->peer)
		wire_peer_ended(conn->peer);
}

void wire_conn_output_work(struct uvfio_work *work)
{
	struct wire_conn *conn = OF_WORK(work, output_work);

	if (!conn->dying)
		wire_conn_watch(conn);
}

void wire_conn_output(struct wire_conn *conn)
{
	uvfio_ctx_post(conn->ctx, &conn->output_work);
}

void wire_reply(struct wire_conn *conn, const struct wire_msg *msg, const void *fixed,
		size_t fixed_len, const void *data, size_t data_len, const int *fds,
		unsigned nr_fds)
{
	struct vfio_user_header hdr;

	if (msg->hdr.flags & VFIO_USER_NO_REPLY) {
		for (unsigned i = 0; i < nr_fds; i++)
			close(fds[i]);
		return;
	}
	hdr = vfio_user_reply(&msg->hdr, (uint32_t)(sizeof(hdr) + fixed_len + data_len), 0);
	/* A failure shows itself as the end of the stream. */
	wire_stream_reply(&conn->stream, &hdr, fixed, fixed_len, data, data_len, fds, nr_fds);
}

void wire_reply_error(struct wire_conn *conn, const struct wire_msg *msg, int error)
{
	struct vfio_user_header hdr;

	atomic_fetch_add_explicit(&conn->errors, 1, memory_order_relaxed);
	if (msg->hdr.flags & VFIO_USER_NO_REPLY)
		return;
	hdr = vfio_user_reply(&msg->hdr, sizeof(hdr), (uint32_t)error);
	wire_stream_reply(&conn->stream, &hdr, NULL, 0, NULL, 0, NULL, 0);
}

static void close_spent(struct wire_conn *conn)
{
	while (conn->nr_spent)
		close(conn->spent[--conn->nr_spent]);
}

int wire_conn_flush(struct wire_conn *conn)
{
	int ret = wire_stream_flush(&conn->stream);

	close_spent(conn);
	return ret;
}

void wire_conn_spent(struct wire_conn *conn, int fd)
{
	if (conn->nr_spent == WIRE_SPENT)
		close_spent(conn);
	conn->spent[conn->nr_spent++] = fd;
}

uint8_t *wire_io_buffer(struct wire_conn *conn, size_t size)
{
	if (size > conn->io_size) {
		size_t room = size < 4096 ? 4096 : size;
		uint8_t *io = realloc(conn->io, room);

		if (!io)
			return NULL;
		conn->io = io;
		conn->io_size = room;
	}
	return conn->io;
}
