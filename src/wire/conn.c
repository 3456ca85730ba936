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
 * What may wait is done by a job in another thread.  Meanwhile the connection goes on to receive:
 * replies are what a device's DMA waits for, and perhaps the job with it.  Commands are kept, in
 * order, until there are too many; then nothing is received until the job is done.
 *
 * A client that does not read its replies is not read from: at most one receive's worth of replies
 * is queued for it.  DMA messages do not count, since they are what it must answer.
 *
 * Closing.  The socket is closed at once, and transfers to the client end.  A job that is at work
 * is waited for, then another one gives the device back, which resets it.
 */
#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>
#include "wire/wire_private.h"

#define TURN_MESSAGES 64 /* handled before others on this loop get their turn */
#define SPIN_ALONE_NS 500000u
#define SPIN_SKIP_MAX 64u
#define COMPLAINTS    5
#define COMPLAINTS_MS 1000
#define IO_KEEP       (64u << 10)

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

/* ---- output ---- */

static bool may_go_on(struct wire_conn *conn);

/* After anything that may have queued or sent something, or changed what may be received. */
static void watch_output(struct wire_conn *conn)
{
	bool main_on, twin_on = false, reading = may_go_on(conn);

	if (reading != conn->reading && conn->watch) {
		uvfio_watch_read(conn->watch, reading);
		conn->reading = reading;
	}

	pthread_mutex_lock(&conn->stream.lock);
	main_on = conn->stream.want_write && !conn->stream.failed;
	pthread_mutex_unlock(&conn->stream.lock);
	if (main_on != conn->write_watched && conn->watch) {
		uvfio_watch_write(conn->watch, main_on);
		conn->write_watched = main_on;
	}
	if (!conn->twin_watch)
		return;
	pthread_mutex_lock(&conn->twin.lock);
	twin_on = conn->twin.want_write && !conn->twin.failed;
	pthread_mutex_unlock(&conn->twin.lock);
	if (twin_on != conn->twin_write_watched) {
		uvfio_watch_write(conn->twin_watch, twin_on);
		conn->twin_write_watched = twin_on;
	}
}

static void ended_work(struct uvfio_work *work)
{
	struct wire_conn *conn = OF_WORK(work, ended_work);

	if (conn->peer)
		wire_peer_ended(conn->peer);
}

static void output_work(struct uvfio_work *work)
{
	struct wire_conn *conn = OF_WORK(work, output_work);

	if (!conn->dying)
		watch_output(conn);
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

/* ---- jobs ---- */

static void job_main(struct wire_job *job)
{
	struct wire_conn *conn = OF_WORK(job, job);

	/* A door's thread, like any other. */
	uvfio_defer_begin();
	conn->job_fn(conn);
	uvfio_defer_end();
	if (conn->job_msg)
		wire_msg_close_fds(conn->job_msg);
	wire_trash_empty(&conn->job_trash);
	uvfio_ctx_post(conn->ctx, &conn->job_done_work);
}

void wire_conn_job(struct wire_conn *conn, enum wire_state state,
		   void (*fn)(struct wire_conn *conn))
{
	/* The device is not kept from the next client for these. */
	if (state == WIRE_WORKING)
		wire_trash_move(&conn->job_trash, &conn->trash);
	set_state(conn, state);
	conn->job_fn = fn;
	conn->job.fn = job_main;
	wire_workers_run(&conn->server->workers, &conn->job);
}

void wire_work(struct wire_conn *conn, struct wire_msg *msg, void (*fn)(struct wire_conn *conn))
{
	conn->job_msg = wire_msg_keep(msg);
	if (!conn->job_msg) {
		wire_reply_error(conn, msg, ENOMEM);
		return;
	}
	wire_conn_job(conn, WIRE_WORKING, fn);
}

/* The fds of @msg that nobody took. */
static void drop_fds(struct wire_conn *conn, struct wire_msg *msg)
{
	for (unsigned i = 0; i < msg->nr_fds; i++)
		wire_trash_add(&conn->trash, msg->fds[i]);
	msg->nr_fds = 0;
}

static void job_nothing(struct wire_conn *conn)
{
}

/* Have the fds closed that were dropped. */
static void empty_trash(struct wire_conn *conn)
{
	if (conn->stream.spare.nr)
		wire_trash_move(&conn->trash, &conn->stream.spare);
	if (conn->twin_socket)
		wire_trash_move(&conn->trash, &conn->twin.spare);
	if (conn->trash.nr && state_of(conn) == WIRE_READY)
		wire_conn_job(conn, WIRE_WORKING, job_nothing);
}

/* ---- closing ---- */

static void job_release(struct wire_conn *conn)
{
	if (conn->df) {
		wire_doorbell_free(conn);
		vfio_device_release(conn->df);
	}
	conn->df = NULL;
	if (conn->group_file)
		vfio_group_release(conn->group_file);
	conn->group_file = NULL;
	if (conn->container)
		vfio_container_release(conn->container);
	conn->container = NULL;
}

/* In a thread of its own: a context cannot be freed from within. */
static void conn_free(struct wire_job *job)
{
	struct wire_conn *conn = OF_WORK(job, job);
	struct wire_server *server = conn->server;
	struct wire_listener *listener = conn->listener;
	struct wire_msg *msg;
	struct wire_conn *other;

	pthread_mutex_lock(&server->lock);
	TAILQ_REMOVE(&listener->conns, conn, next);
	if (listener->active == conn)
		listener->active = NULL;
	/* The next one who waits for the device. */
	TAILQ_FOREACH(other, &listener->conns, next)
	{
		if (!listener->active && state_of(other) == WIRE_WAITING) {
			uvfio_ctx_post(other->ctx, &other->go_work);
			break;
		}
	}
	pthread_mutex_unlock(&server->lock);
	/* Nobody finds it any more. */
	uvfio_ctx_free(conn->ctx);
	wire_stream_fini(&conn->stream);
	if (conn->twin_socket)
		wire_stream_fini(&conn->twin);
	while ((msg = TAILQ_FIRST(&conn->pending))) {
		TAILQ_REMOVE(&conn->pending, msg, next);
		wire_msg_free(msg);
	}
	wire_msg_free(conn->job_msg);
	wire_trash_empty(&conn->trash);
	wire_trash_empty(&conn->job_trash);
	if (conn->unmask_fd >= 0)
		close(conn->unmask_fd);
	free(conn->version);
	free(conn->io);
	free(conn);
	pthread_mutex_lock(&server->lock);
	listener->nr_conns--;
	pthread_cond_broadcast(&server->changed);
	pthread_mutex_unlock(&server->lock);
}

static void go_away(struct wire_conn *conn)
{
	conn->job.fn = conn_free;
	wire_workers_run(&conn->server->workers, &conn->job);
}

static void begin_closing(struct wire_conn *conn)
{
	if (conn->container)
		wire_conn_job(conn, WIRE_CLOSING, job_release);
	else
		go_away(conn);
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
	/* The client sees the end at once; the fds go with the connection. */
	wire_stream_shut(&conn->stream);
	if (conn->twin_socket)
		wire_stream_shut(&conn->twin);
	if (conn->peer) {
		wire_peer_close(conn->peer);
		conn->peer = NULL;
	}
	if (state != WIRE_OPENING && state != WIRE_WORKING)
		begin_closing(conn);
}

static void close_work(struct uvfio_work *work)
{
	wire_conn_close(OF_WORK(work, close_work));
}

void wire_conn_close_later(struct wire_conn *conn)
{
	uvfio_ctx_post(conn->ctx, &conn->close_work);
}

/* ---- the turn ---- */

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
	atomic_fetch_add_explicit(&conn->messages, 1, memory_order_relaxed);
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

/* May another message be handled? */
static bool may_go_on(struct wire_conn *conn)
{
	if (conn->dying || conn->half_closed)
		return false;
	if (conn->nr_pending >= WIRE_PENDING || wire_trash_full(&conn->trash))
		return false;
	return wire_stream_queued(&conn->stream) == 0;
}

/* Handle what is in the buffer. */
static void handle_messages(struct wire_conn *conn)
{
	struct wire_msg msg;
	unsigned left = TURN_MESSAGES;
	int ret = 0;

	uvfio_defer_begin();
	while (left && may_go_on(conn) && (ret = wire_stream_next(&conn->stream, &msg)) > 0) {
		handle_message(conn, &msg);
		left--;
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

/* The client's last reply has gone, in a connection that was refused. */
static bool close_if_done(struct wire_conn *conn)
{
	if (!conn->half_closed || wire_stream_queued(&conn->stream))
		return false;
	wire_conn_close(conn);
	return true;
}

/* ---- more behind fds ---- */

/*
 * A message with fds ends a receive, even of a client that has sent many in a row (QEMU does with
 * its memory).  So the next ones are looked for before the answer is sent and the socket waited
 * for; less and less often with clients that wait for each answer.
 */
static bool more_behind_fds(struct wire_conn *conn)
{
	if (!conn->stream.cut || !may_go_on(conn))
		return false;
	if (conn->more_skip) {
		conn->more_skip--;
		return false;
	}
	/* Whatever else this says, the next receive will say it, too. */
	if (wire_stream_receive(&conn->stream) > 0) {
		conn->more_misses = 0;
		return wire_stream_ready(&conn->stream);
	}
	conn->more_misses = conn->more_misses ? conn->more_misses * 2 : 1;
	if (conn->more_misses > SPIN_SKIP_MAX)
		conn->more_misses = SPIN_SKIP_MAX;
	conn->more_skip = conn->more_misses;
	return false;
}

/* ---- spinning ---- */

/* Nobody else on this loop had a message lately? */
static bool alone(struct wire_conn *conn, uint64_t now)
{
	struct wire_loop *loop = conn->loop;

	if (atomic_load_explicit(&loop->last, memory_order_relaxed) != conn) {
		atomic_store_explicit(&loop->last, conn, memory_order_relaxed);
		atomic_store_explicit(&loop->changed, now, memory_order_relaxed);
		return false;
	}
	return now - atomic_load_explicit(&loop->changed, memory_order_relaxed) > SPIN_ALONE_NS;
}

static ssize_t receive_spinning(struct wire_conn *conn)
{
	uint64_t spin = (uint64_t)conn->listener->options.spin_us * 1000u, start;
	ssize_t n = -EAGAIN;

	if (!spin || state_of(conn) != WIRE_READY)
		return n;
	if (conn->spin_skip) {
		conn->spin_skip--;
		return n;
	}
	start = uvfio_now_ns();
	if (!alone(conn, start))
		return n;
	do {
		n = wire_stream_receive(&conn->stream);
	} while (n == -EAGAIN && uvfio_now_ns() - start < spin);
	if (n == -EAGAIN) {
		/* Slow, or gone to sleep: ask less and less often. */
		conn->spin_misses = conn->spin_misses ? conn->spin_misses * 2 : 1;
		if (conn->spin_misses > SPIN_SKIP_MAX)
			conn->spin_misses = SPIN_SKIP_MAX;
		conn->spin_skip = conn->spin_misses;
	} else {
		conn->spin_misses = 0;
	}
	return n;
}

/* ---- */

static void lost(struct wire_conn *conn, ssize_t why)
{
	if (why < 0 && why != -ECONNRESET && why != -EPIPE)
		wire_conn_complain(conn, "receiving failed: %s", strerror((int)-why));
	wire_conn_close(conn);
}

/* Commands that were kept may be handled. */
static bool pending_may_go_on(struct wire_conn *conn)
{
	return !conn->dying && !conn->half_closed && state_of(conn) == WIRE_READY &&
	       !TAILQ_EMPTY(&conn->pending) && !wire_trash_full(&conn->trash) &&
	       !wire_stream_queued(&conn->stream);
}

/* Commands that were kept while a job was at work. */
static void handle_pending(struct wire_conn *conn)
{
	struct wire_msg *msg;

	uvfio_defer_begin();
	while (pending_may_go_on(conn)) {
		msg = TAILQ_FIRST(&conn->pending);
		TAILQ_REMOVE(&conn->pending, msg, next);
		conn->nr_pending--;
		wire_command(conn, msg);
		drop_fds(conn, msg);
		wire_msg_free(msg);
	}
	uvfio_defer_end();
	if (!conn->dying)
		wire_stream_flush(&conn->stream);
}

/* The socket can be read or written, or there is something left to do. */
void wire_conn_turn(struct wire_conn *conn)
{
	ssize_t n = 1;
	int rounds = TURN_MESSAGES;

	if (wire_stream_flush(&conn->stream)) {
		lost(conn, -EPIPE);
		return;
	}
	if (close_if_done(conn))
		return;
	handle_pending(conn);
	while (rounds-- && !conn->dying) {
		if (!wire_stream_ready(&conn->stream)) {
			if (!may_go_on(conn))
				break;
			n = wire_stream_receive(&conn->stream);
			if (n == -EAGAIN)
				break;
			if (n <= 0) {
				lost(conn, n);
				return;
			}
		}
		if (!may_go_on(conn))
			break;
		handle_messages(conn);
		if (conn->dying)
			return;
		if (!wire_stream_ready(&conn->stream) && more_behind_fds(conn))
			continue;
		wire_stream_flush(&conn->stream);
		if (close_if_done(conn))
			return;
		if (wire_stream_ready(&conn->stream))
			continue;
		/* It has probably nothing more for us: the kernel is asked once, by the wait. */
		n = receive_spinning(conn);
		if (n == -EAGAIN)
			break;
		if (n <= 0) {
			lost(conn, n);
			return;
		}
	}
	if (conn->dying)
		return;
	wire_stream_flush(&conn->stream);
	empty_trash(conn);
	watch_output(conn);
	/* What is here already brings no event. */
	if (pending_may_go_on(conn) || (wire_stream_ready(&conn->stream) && may_go_on(conn)))
		uvfio_ctx_post(conn->ctx, &conn->turn_work);
}

static void turn_work(struct uvfio_work *work)
{
	struct wire_conn *conn = OF_WORK(work, turn_work);

	if (!conn->dying)
		wire_conn_turn(conn);
}

static void on_twin(void *arg)
{
	struct wire_conn *conn = arg;
	struct wire_msg msg;
	ssize_t n;
	int ret;

	if (wire_stream_flush(&conn->twin)) {
		lost(conn, -EPIPE);
		return;
	}
	n = wire_stream_receive(&conn->twin);
	if (n <= 0 && n != -EAGAIN) {
		lost(conn, n);
		return;
	}
	while (!(ret = wire_trash_full(&conn->trash) ? -EPROTO : 0) &&
	       (ret = wire_stream_next(&conn->twin, &msg)) > 0) {
		atomic_fetch_add_explicit(&conn->messages, 1, memory_order_relaxed);
		ret = !vfio_user_is_reply(&msg.hdr) || !conn->peer ||
				      wire_peer_reply(conn->peer, &msg)
			      ? -EPROTO
			      : 0;
		drop_fds(conn, &msg);
		if (ret)
			break;
	}
	if (ret >= 0)
		empty_trash(conn);
	if (ret < 0) {
		wire_conn_complain(conn, "it sent what is no answer on the second socket; the "
					 "connection is closed");
		wire_conn_close(conn);
		return;
	}
	watch_output(conn);
}

/* ---- jobs end ---- */

static void job_done(struct uvfio_work *work)
{
	struct wire_conn *conn = OF_WORK(work, job_done_work);

	if (state_of(conn) == WIRE_OPENING && !conn->dying)
		wire_do_version(conn, conn->job_msg);
	wire_msg_free(conn->job_msg);
	conn->job_msg = NULL;
	if (state_of(conn) == WIRE_CLOSING) {
		go_away(conn);
		return;
	}
	if (conn->dying) {
		begin_closing(conn);
		return;
	}
	if (conn->twin_socket && !conn->twin_watch) {
		conn->twin_watch = uvfio_watch_new(conn->ctx, conn->twin.fd, on_twin, conn);
		if (!conn->twin_watch)
			conn->half_closed = true;
	}
	set_state(conn, WIRE_READY);
	if (conn->io_size > IO_KEEP) {
		free(conn->io);
		conn->io = NULL;
		conn->io_size = 0;
	}
	wire_conn_turn(conn);
}

void wire_conn_works(struct wire_conn *conn)
{
	conn->close_work.fn = close_work;
	conn->job_done_work.fn = job_done;
	conn->output_work.fn = output_work;
	conn->ended_work.fn = ended_work;
	conn->turn_work.fn = turn_work;
}
