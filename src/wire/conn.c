/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A connection: its states, and the turn of receiving, handling and sending.
 *
 *      HELLO ──VERSION──▶ WAITING ──the device is free──▶ OPENING ──job done──▶ READY
 *        │ └───────────the device is free──────────────────▲ │                  │ ▲
 *        │                                                   │     what may wait▼ │job done
 *        │                                                   │                WORKING
 *        ▼                                                   ▼                  │
 *      gone ◀──────────job done────────── CLOSING ◀──the client has gone, or broke the rules
 *
 * A turn is: one receive, the messages that it brought, one send.  (Descriptors end a receive, so
 * behind those another is tried before the send.)  Then the socket is polled for a
 * little while, if the client has been quick lately, and else it is waited for.
 *
 * A turn ends when it has taken half a millisecond: what is left waits until the loop has looked at
 * its other connections.  Single messages that could take long (much data, many writes in one) are
 * a job's.
 *
 * What may wait is done by a job in another thread.  Meanwhile the connection goes on to receive:
 * replies are what a device's DMA waits for, and perhaps the job with it.  Commands are kept, in
 * order, until there are too many; then nothing is received until the job is done.
 *
 * A client that does not read its replies is not read from: at most one receive's worth of replies
 * is queued for it.  DMA messages do not count, since they are what it must answer.
 */
#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include "wire/wire_private.h"

#define TURN_NS       500000u /* then others on this loop get their turn */
#define TURN_LOOK     8u      /* messages between two looks at the clock, */
#define TURN_BYTES    1024u   /* but after each that is larger */
#define COMPLAINTS    5
#define COMPLAINTS_MS 1000

static const char *const state_names[] = {
	[WIRE_HELLO] = "HELLO", [WIRE_WAITING] = "WAITING", [WIRE_OPENING] = "OPENING",
	[WIRE_READY] = "READY", [WIRE_WORKING] = "WORKING", [WIRE_CLOSING] = "CLOSING",
};
static_assert(ARRAY_SIZE(state_names) == WIRE_STATES, "each state has a name");

const char *wire_state_name(enum wire_state state)
{
	return state_names[state];
}

void wire_conn_complain(struct wire_conn *conn, const char *fmt, ...)
{
	struct wire_server *server = conn->server;
	unsigned lost = 0;
	char prefix[64];
	va_list ap;

	if (!uvfio_log_wants(server->log, UVFIO_LOG_WARN) ||
	    !uvfio_ratelimit_ok(&server->complaints, COMPLAINTS, COMPLAINTS_MS, &lost))
		return;
	snprintf(prefix, sizeof(prefix), "%s: client %d", conn->listener->device, conn->pid);
	va_start(ap, fmt);
	uvfio_vlog(server->log, UVFIO_LOG_WARN, prefix, fmt, ap);
	va_end(ap);
	if (lost)
		uvfio_log(server->log, UVFIO_LOG_WARN, "%u more complaints about clients not shown",
			  lost);
}

/* ---- the turn ---- */

static bool turn_is_over(struct wire_conn *conn)
{
	conn->now = uvfio_now_ns();
	return conn->now >= conn->turn_end;
}

/* The same, after a message; looks at the clock now and then. */
static bool turn_is_used_up(struct wire_conn *conn, const struct wire_msg *msg)
{
	if (msg->len <= TURN_BYTES && ++conn->turn_messages % TURN_LOOK)
		return false;
	return turn_is_over(conn);
}

/* The fds of @msg that nobody took. */
static void drop_fds(struct wire_conn *conn, struct wire_msg *msg)
{
	conn->stream.late += wire_msg_close_fds(msg, conn->trash);
}

static void handle_command(struct wire_conn *conn, struct wire_msg *msg)
{
	struct wire_msg *kept;

	switch (state_of(conn)) {
	case WIRE_HELLO:
	case WIRE_READY:
		/* Those that wait go first. */
		if (!TAILQ_EMPTY(&conn->pending))
			break;
		wire_command(conn, msg);
		drop_fds(conn, msg);
		return;
	case WIRE_WAITING:
	case WIRE_OPENING:
	case WIRE_WORKING:
		break;
	default:
		drop_fds(conn, msg);
		return;
	}
	kept = wire_msg_keep(msg);
	if (!kept) {
		wire_conn_complain(conn, "out of memory; the connection is closed");
		drop_fds(conn, msg);
		wire_conn_close(conn);
		return;
	}
	TAILQ_INSERT_TAIL(&conn->pending, kept, next);
	conn->nr_pending++;
}

static void handle_message(struct wire_conn *conn, struct wire_msg *msg)
{
	wire_count(&conn->messages, 1);
	if (!vfio_user_is_reply(&msg->hdr)) {
		handle_command(conn, msg);
		return;
	}
	if (!conn->peer || conn->twin_socket || wire_peer_reply(conn->peer, msg)) {
		wire_conn_complain(conn,
				   "it answers what was not asked (id %u, command %u); the "
				   "connection is closed",
				   msg->hdr.id, msg->hdr.command);
		drop_fds(conn, msg);
		wire_conn_close(conn);
		return;
	}
	drop_fds(conn, msg);
}

/* Handle what is in the buffer. */
static void handle_messages(struct wire_conn *conn)
{
	struct wire_msg msg;
	unsigned nr = 0;
	int ret = 0;

	uvfio_defer_begin();
	while (wire_conn_may_go_on(conn) && (ret = wire_stream_next(&conn->stream, &msg)) > 0) {
		conn->ping_pong = !nr++ && msg.hdr.flags == VFIO_USER_TYPE_COMMAND &&
				  msg.len <= TURN_BYTES && !conn->stream.cut;
		handle_message(conn, &msg);
		if (turn_is_used_up(conn, &msg))
			break;
	}
	uvfio_defer_end();
	if (ret < 0 && !conn->dying) {
		wire_conn_complain(
			conn,
			"it sent what is no message (size %u, flags %#x); the connection "
			"is closed",
			msg.hdr.size, msg.hdr.flags);
		wire_conn_close(conn);
	}
}

/* Everything that the client has asked is answered. */
static bool all_answered(struct wire_conn *conn)
{
	return TAILQ_EMPTY(&conn->pending) && state_of(conn) == WIRE_READY &&
	       !wire_stream_queued(&conn->stream);
}

/* The client's last reply has gone, in a connection that was refused or that it has ended. */
static bool close_if_done(struct wire_conn *conn)
{
	if (conn->ended ? !all_answered(conn)
			: !conn->half_closed || wire_stream_queued(&conn->stream))
		return false;
	wire_conn_close(conn);
	return true;
}

/* ---- */

static void lost(struct wire_conn *conn, ssize_t why)
{
	if (why < 0 && why != -ECONNRESET && why != -EPIPE)
		wire_conn_complain(conn, "receiving failed: %s", strerror((int)-why));
	wire_conn_close(conn);
}

/*
 * Nothing more comes: @n of the receive, 0 or an error.  Who has shut its sending half alone gets
 * the answers to what it has asked, whose jobs may still be at work.
 */
static void no_more(struct wire_conn *conn, ssize_t n)
{
	struct pollfd p = {.fd = conn->stream.fd};

	if (n || state_of(conn) < WIRE_OPENING || all_answered(conn) || poll(&p, 1, 0))
		lost(conn, n);
	else
		conn->ended = true;
}

/* Commands that were kept may be handled. */
static bool pending_may_go_on(struct wire_conn *conn)
{
	return !conn->dying && !conn->stopped && !conn->half_closed &&
	       state_of(conn) == WIRE_READY && !TAILQ_EMPTY(&conn->pending) &&
	       !wire_stream_late(&conn->stream) && !wire_stream_queued(&conn->stream);
}

/* Commands that were kept while a job was at work. */
static void handle_pending(struct wire_conn *conn)
{
	struct wire_msg *msg;
	bool over = false;

	if (TAILQ_EMPTY(&conn->pending))
		return;
	uvfio_defer_begin();
	while (!over && pending_may_go_on(conn)) {
		msg = TAILQ_FIRST(&conn->pending);
		TAILQ_REMOVE(&conn->pending, msg, next);
		conn->nr_pending--;
		wire_command(conn, msg);
		drop_fds(conn, msg);
		over = turn_is_used_up(conn, msg);
		wire_msg_free(msg, conn->trash);
	}
	uvfio_defer_end();
	if (!conn->dying)
		wire_conn_flush(conn);
}

/* One receive, its messages, one send.  False: there is nothing more for now. */
static bool one_round(struct wire_conn *conn)
{
	ssize_t n;

	if (!wire_conn_may_go_on(conn))
		return false;
	if (!wire_stream_ready(&conn->stream)) {
		n = wire_stream_receive(&conn->stream);
		if (n <= 0) {
			if (n != -EAGAIN)
				no_more(conn, n);
			return false;
		}
	}
	do {
		handle_messages(conn);
		if (conn->dying)
			return false;
	} while (!wire_stream_ready(&conn->stream) && wire_conn_more_behind_fds(conn) &&
		 !turn_is_over(conn));
	wire_conn_flush(conn);
	if (wire_stream_take(&conn->stream)) {
		lost(conn, -EPROTO);
		return false;
	}
	if (close_if_done(conn))
		return false;
	if (wire_stream_ready(&conn->stream)) {
		conn->now = uvfio_now_ns();
		return true;
	}
	/* It has probably nothing more for us: the kernel is asked once, by the wait. */
	n = wire_conn_spin(conn);
	if (n <= 0 && n != -EAGAIN)
		no_more(conn, n);
	return n > 0;
}

/* The socket can be read or written, or there is something left to do. */
void wire_conn_turn(struct wire_conn *conn)
{
	conn->now = uvfio_now_ns();
	conn->turn_end = conn->now + TURN_NS;
	if (wire_conn_flush(conn)) {
		lost(conn, -EPIPE);
		return;
	}
	if (close_if_done(conn))
		return;
	handle_pending(conn);
	while (conn->now < conn->turn_end && one_round(conn))
		;
	if (conn->dying)
		return;
	wire_conn_flush(conn);
	if (close_if_done(conn))
		return;
	wire_conn_wait_late(conn);
	wire_conn_watch(conn);
	/* What is here already brings no event. */
	if (pending_may_go_on(conn) ||
	    (wire_stream_ready(&conn->stream) && wire_conn_may_go_on(conn))) {
		uvfio_ctx_post(conn->ctx, &conn->turn_work);
		uvfio_ctx_yield(conn->ctx);
	}
}

static void turn_work(struct uvfio_work *work)
{
	struct wire_conn *conn = OF_WORK(work, turn_work);

	if (!conn->dying)
		wire_conn_turn(conn);
}

void wire_conn_on_twin(void *arg)
{
	struct wire_conn *conn = arg;
	struct wire_msg msg;
	ssize_t n;
	int ret;

	if (wire_stream_flush(&conn->twin)) {
		lost(conn, -EPIPE);
		return;
	}
	if (conn->stopped)
		return;
	n = wire_stream_receive(&conn->twin);
	if (n <= 0 && n != -EAGAIN) {
		lost(conn, n);
		return;
	}
	while (!(ret = wire_stream_late(&conn->stream) ? -EPROTO : 0) &&
	       (ret = wire_stream_next(&conn->twin, &msg)) > 0) {
		wire_count(&conn->messages, 1);
		ret = !vfio_user_is_reply(&msg.hdr) || !conn->peer ||
				      wire_peer_reply(conn->peer, &msg)
			      ? -EPROTO
			      : 0;
		drop_fds(conn, &msg);
		if (ret)
			break;
	}
	if (ret >= 0)
		wire_conn_wait_late(conn);
	if (ret < 0) {
		wire_conn_complain(conn, "it sent what is no answer on the second socket; the "
					 "connection is closed");
		wire_conn_close(conn);
		return;
	}
	wire_conn_watch(conn);
}

void wire_conn_works(struct wire_conn *conn)
{
	conn->close_work.fn = wire_conn_close_work;
	conn->job_done_work.fn = wire_conn_job_done;
	conn->output_work.fn = wire_conn_output_work;
	conn->ended_work.fn = wire_conn_ended_work;
	conn->turn_work.fn = turn_work;
	conn->freeze_work.fn = wire_freeze_work;
	conn->stop_work.fn = wire_stop_work;
}
