/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The end of a connection.
 *
 * Closing.  The socket is closed at once, and transfers to the client end.  A job that is at work
 * is waited for, then another one gives the device back, which resets it.
 */
#include <stdlib.h>
#include <unistd.h>
#include "wire/wire_private.h"

static void job_release(struct wire_conn *conn)
{
	wire_migration_end(conn);
	if (conn->df) {
		wire_doorbell_free(conn);
		vfio_device_release(conn->df);
	}
	conn->df = NULL;
	if (conn->view_fd >= 0)
		close(conn->view_fd);
	conn->view_fd = -1;
	if (conn->group_file)
		vfio_group_release(conn->group_file);
	conn->group_file = NULL;
	if (conn->container)
		vfio_container_release(conn->container);
	conn->container = NULL;
}

/* server->lock is held.  The device is for the next one who waits for it, from this moment on: a
 * client that asks now does not get it first.  Should that one be going, too, it hands it on. */
static void hand_on(struct wire_listener *listener)
{
	struct wire_conn *next = TAILQ_FIRST(&listener->waiting);

	listener->active = next;
	if (!next)
		return;
	TAILQ_REMOVE(&listener->waiting, next, wait);
	next->waits = false;
	uvfio_ctx_post(next->ctx, &next->go_work);
}

/* In a thread of its own: a context cannot be freed from within. */
static void conn_free(struct wire_job *job)
{
	struct wire_conn *conn = OF_WORK(job, job);
	struct wire_server *server = conn->server;
	struct wire_listener *listener = conn->listener;
	struct wire_msg *msg;

	pthread_mutex_lock(&server->lock);
	TAILQ_REMOVE(&listener->conns, conn, next);
	if (conn->waits)
		TAILQ_REMOVE(&listener->waiting, conn, wait);
	if (listener->active == conn)
		hand_on(listener);
	wire_freeze_gone_locked(conn);
	pthread_mutex_unlock(&server->lock);
	/* Nobody finds it any more. */
	uvfio_ctx_free(conn->ctx);
	wire_stream_fini(&conn->stream);
	if (conn->twin_socket)
		wire_stream_fini(&conn->twin);
	while ((msg = TAILQ_FIRST(&conn->pending))) {
		TAILQ_REMOVE(&conn->pending, msg, next);
		wire_msg_free(msg, conn->trash);
	}
	wire_msg_free(conn->job_msg, conn->trash);
	/* It counts as one of the listener's until then. */
	uvfio_trash_wait(conn->trash, 0, UVFIO_TRASH_EVER);
	uvfio_trash_unref(conn->trash);
	for (unsigned i = 0; i < conn->nr_spent; i++)
		close(conn->spent[i]);
	if (conn->unmask_fd >= 0)
		close(conn->unmask_fd);
	free(conn->version);
	free(conn->io);
	vfio_token_wipe(&conn->token);
	free(conn);
	pthread_mutex_lock(&server->lock);
	listener->nr_conns--;
	wire_listener_reap_locked(listener);
	pthread_mutex_unlock(&server->lock);
}

void wire_conn_go_away(struct wire_conn *conn)
{
	conn->job.fn = conn_free;
	wire_workers_run(&conn->server->workers, &conn->job);
}

void wire_conn_begin_closing(struct wire_conn *conn)
{
	if (conn->container)
		wire_conn_job(conn, WIRE_CLOSING, job_release);
	else
		wire_conn_go_away(conn);
}

void wire_conn_close(struct wire_conn *conn)
{
	enum wire_state state = state_of(conn);

	if (conn->dying)
		return;
	conn->dying = true;
	uvfio_watch_free(conn->watch);
	conn->watch = NULL;
	uvfio_watch_free(conn->twin_watch);
	conn->twin_watch = NULL;
	uvfio_timer_free(conn->timer);
	conn->timer = NULL;
	/* The client sees the end at once, and as one; the fds go with the connection. */
	wire_stream_take(&conn->stream);
	wire_stream_shut(&conn->stream);
	if (conn->twin_socket)
		wire_stream_shut(&conn->twin);
	if (conn->peer) {
		wire_peer_close(conn->peer);
		conn->peer = NULL;
	}
	if (state != WIRE_OPENING && state != WIRE_WORKING)
		wire_conn_begin_closing(conn);
}

void wire_conn_close_work(struct uvfio_work *work)
{
	wire_conn_close(OF_WORK(work, close_work));
}

void wire_conn_close_later(struct wire_conn *conn)
{
	uvfio_ctx_post(conn->ctx, &conn->close_work);
}
