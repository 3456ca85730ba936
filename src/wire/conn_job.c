/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What a connection has done in another thread because it may wait, one thing at a time: a job's
 * beginning, and how the connection goes on when it is done.
 */
#include <errno.h>
#include <stdlib.h>
#include "wire/wire_private.h"

#define IO_KEEP (64u << 10) /* of the buffer for data, between jobs */

static void job_main(struct wire_job *job)
{
	struct wire_conn *conn = OF_WORK(job, job);

	/* A door's thread, like any other. */
	uvfio_defer_begin();
	conn->job_fn(conn);
	uvfio_defer_end();
	/* The answer goes from here, and does not wait for another thread to wake up.  What the
	 * client does not take, or that it has gone, is seen by the next turn. */
	if (state_of(conn) == WIRE_WORKING)
		wire_stream_flush(&conn->stream);
	if (conn->job_msg)
		wire_msg_close_fds(conn->job_msg, conn->trash);
	if (state_of(conn) != WIRE_CLOSING &&
	    !uvfio_trash_wait(conn->trash, WIRE_LATE_LEFT, WIRE_LATE_MS))
		conn->too_late = true;
	uvfio_ctx_post(conn->ctx, &conn->job_done_work);
}

void wire_conn_job(struct wire_conn *conn, enum wire_state state,
		   void (*fn)(struct wire_conn *conn))
{
	set_state(conn, state);
	conn->job_fn = fn;
	conn->job.fn = job_main;
	wire_workers_run(&conn->server->workers, &conn->job);
}

void wire_work(struct wire_conn *conn, struct wire_msg *msg, void (*fn)(struct wire_conn *conn))
{
	conn->job_msg = wire_msg_keep(msg);
	if (!conn->job_msg) {
		conn->resume = conn->resume_at = 0;
		wire_reply_error(conn, msg, ENOMEM);
		return;
	}
	wire_conn_job(conn, WIRE_WORKING, fn);
}

static void job_nothing(struct wire_conn *conn)
{
}

void wire_conn_wait_late(struct wire_conn *conn)
{
	bool full = wire_stream_late(&conn->stream) ||
		    (conn->twin_socket && wire_stream_late(&conn->twin));

	if (full && state_of(conn) == WIRE_READY)
		wire_conn_job(conn, WIRE_WORKING, job_nothing);
}

void wire_conn_job_done(struct uvfio_work *work)
{
	struct wire_conn *conn = OF_WORK(work, job_done_work);

	if (state_of(conn) == WIRE_OPENING && !conn->dying)
		wire_do_version(conn, conn->job_msg);
	wire_msg_free(conn->job_msg, conn->trash);
	conn->job_msg = NULL;
	if (state_of(conn) == WIRE_CLOSING) {
		wire_conn_go_away(conn);
		return;
	}
	if (conn->dying) {
		wire_conn_begin_closing(conn);
		return;
	}
	conn->stream.late = conn->twin.late = 0; /* there was room for others */
	if (conn->twin_socket && !conn->twin_watch) {
		conn->twin_watch =
			uvfio_watch_new(conn->ctx, conn->twin.fd, wire_conn_on_twin, conn);
		if (!conn->twin_watch)
			conn->half_closed = true;
	}
	set_state(conn, WIRE_READY);
	wire_conn_thawed(conn);
	if (conn->too_late) {
		wire_conn_complain(conn,
				   "%u files that it sent do not close; the connection is closed",
				   uvfio_trash_held(conn->trash));
		wire_conn_close(conn);
		return;
	}
	if (conn->io_size > IO_KEEP) {
		free(conn->io);
		conn->io = NULL;
		conn->io_size = 0;
	}
	if (conn->freeze_wanted)
		wire_conn_freeze(conn);
	else
		wire_conn_turn(conn);
}
