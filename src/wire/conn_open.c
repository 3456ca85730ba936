/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A connection from its making until it has the device.
 *
 * VERSION is checked before anything is touched.  Then the device is claimed: at once, or when the
 * client before has been taken leave of.  Opening may wait, so a job does it and answers.
 *
 * A process that was killed may have gone before its socket has: what io_uring waits for the kernel
 * lets go of a moment later.  Whoever comes in its place, as a VMM that is started again, waits for
 * that, within bounds, since somebody else may have the socket still.
 */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>
#include "wire/wire_private.h"

#ifndef SO_PEERPIDFD
#define SO_PEERPIDFD 77
#endif
#define GONE_NS 1000000000u /* for a dead client's socket to be closed */

static void on_socket(void *arg)
{
	wire_conn_turn(arg);
}

/* ---- making one ---- */

static void refuse_device(struct wire_conn *conn, int error);

/* It has waited long enough for a client whose process has gone. */
static void give_up(struct wire_conn *conn)
{
	bool waits;

	pthread_mutex_lock(&conn->server->lock);
	waits = conn->waits;
	if (waits)
		TAILQ_REMOVE(&conn->listener->waiting, conn, wait);
	conn->waits = false;
	pthread_mutex_unlock(&conn->server->lock);
	if (waits)
		refuse_device(conn, EBUSY);
}

static void on_timer(void *arg)
{
	struct wire_conn *conn = arg;

	if (state_of(conn) == WIRE_WAITING) {
		give_up(conn);
		wire_conn_turn(conn);
		return;
	}
	if (state_of(conn) != WIRE_HELLO)
		return;
	wire_conn_complain(conn, "it has not sent VERSION for %u ms; the connection is closed",
			   conn->listener->options.handshake_ms);
	wire_conn_close(conn);
}

static void who_is_it(struct wire_conn *conn, int fd)
{
	struct ucred cred = {0, (uid_t)-1, (gid_t)-1};
	socklen_t len = sizeof(cred);
	struct timespec now;

	getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len);
	conn->pid = cred.pid;
	conn->who = (struct vfio_who){"vfio-user", cred.uid == (uid_t)-1 ? -1 : (int64_t)cred.uid};
	clock_gettime(CLOCK_REALTIME, &now);
	conn->since = (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static void go_work(struct uvfio_work *work);

/* server->lock is held.  The oldest that has not sent VERSION goes. */
static void make_room(struct wire_listener *listener)
{
	struct wire_conn *conn;

	TAILQ_FOREACH(conn, &listener->conns, next)
	{
		if (state_of(conn) == WIRE_HELLO && !conn->evicted) {
			conn->evicted = true;
			wire_conn_close_later(conn);
			return;
		}
	}
}

void wire_conn_unmake(struct wire_conn *conn)
{
	if (conn->timer)
		uvfio_timer_free(conn->timer);
	if (conn->ctx)
		uvfio_ctx_free(conn->ctx);
	wire_stream_fini(&conn->stream);
	uvfio_trash_unref(conn->trash);
	vfio_token_wipe(&conn->token);
	free(conn);
}

struct wire_conn *wire_conn_make(struct wire_listener *listener, int fd, uint32_t max)
{
	struct wire_server *server = listener->server;
	struct wire_conn *conn = calloc(1, sizeof(*conn));
	unsigned at;

	if (!conn) {
		close(fd);
		return NULL;
	}
	conn->server = server;
	conn->listener = listener;
	conn->unmask_fd = -1;
	conn->doorbell_fd = -1;
	conn->view_fd = -1;
	TAILQ_INIT(&conn->pending);
	conn->max_xfer = VFIO_USER_DEFAULT_XFER_SIZE;
	conn->go_work.fn = go_work;
	wire_conn_works(conn);
	who_is_it(conn, fd);
	at = atomic_fetch_add(&server->next_loop, 1) % server->nr_loops;
	conn->loop = &server->loops[at];
	conn->ctx = uvfio_ctx_new(conn->loop->loop);
	conn->trash = uvfio_trash_new();
	if (!wire_stream_init(&conn->stream, fd, max, conn->trash, &conn->bytes_in,
			      &conn->bytes_out) &&
	    conn->ctx && conn->trash)
		conn->timer = uvfio_ctx_timer_new(conn->ctx, on_timer, conn);
	if (conn->timer)
		return conn;
	wire_conn_unmake(conn);
	return NULL;
}

int wire_conn_new(struct wire_listener *listener, int fd, const struct vfio_token *token)
{
	struct wire_server *server = listener->server;
	struct wire_conn *conn = wire_conn_make(listener, fd, WIRE_HELLO_MAX);

	if (!conn)
		return -ENOMEM;
	conn->has_token = token != NULL;
	if (token)
		conn->token = *token;

	pthread_mutex_lock(&server->lock);
	if (listener->closing || listener->nr_conns >= WIRE_CLIENTS_MAX) {
		pthread_mutex_unlock(&server->lock);
		wire_conn_unmake(conn);
		return -EMFILE;
	}
	if (listener->nr_conns >= WIRE_CLIENTS)
		make_room(listener);
	TAILQ_INSERT_TAIL(&listener->conns, conn, next);
	listener->nr_conns++;
	pthread_mutex_unlock(&server->lock);

	if (listener->options.handshake_ms)
		uvfio_timer_arm(conn->timer, listener->options.handshake_ms * 1000000ull);
	/* From here on it may run, and go. */
	uvfio_ctx_post(conn->ctx, &conn->go_work);
	return 0;
}

/* ---- getting the device ---- */

static bool hung_up(int fd)
{
	struct pollfd p = {.fd = fd, .events = POLLRDHUP};

	return poll(&p, 1, 0) == 1 && p.revents & (POLLRDHUP | POLLHUP | POLLERR);
}

/* The process that connected has ended.  False also where the kernel cannot say. */
static bool process_gone(int fd)
{
	struct pollfd p = {.events = POLLIN};
	socklen_t len = sizeof(p.fd);
	bool gone;

	if (getsockopt(fd, SOL_SOCKET, SO_PEERPIDFD, &p.fd, &len))
		return errno == ESRCH || errno == EINVAL; /* before Linux 6.16 none of a dead one */
	gone = poll(&p, 1, 0) == 1;
	close(p.fd);
	return gone;
}

/* Opening: the core's files, as a program with /dev/vfio would make them.  VERSION is answered in
 * the context when this is done: until then the input is measured by what is not agreed yet. */
int wire_conn_open_device(struct wire_conn *conn, bool continues)
{
	struct wire_listener *listener = conn->listener;
	struct wire_client c;
	char name[VFIO_TOKEN_STRING] = "";
	unsigned group = 0;
	bool noiommu = false;
	int ret;

	vfio_token_string(listener->device, conn->has_token ? &conn->token : NULL, name);
	vfio_token_wipe(&conn->token);
	wire_client_init(&c, conn, NULL, name, sizeof(name), sizeof(name));
	c.client.continues = continues;
	/* Anew each time: a VF that has come again may be in another group. */
	ret = wire_find_group(conn->server, listener->device, &group, &noiommu);
	if (!ret)
		ret = vfio_container_open(conn->server->machine, &conn->container);
	if (!ret)
		ret = vfio_group_open(conn->server->machine, group, &conn->group_file);
	if (!ret)
		ret = vfio_group_set_container(conn->group_file, conn->container);
	if (!ret)
		ret = vfio_container_ioctl(conn->container, &c.client, VFIO_SET_IOMMU,
					   noiommu ? VFIO_NOIOMMU_IOMMU : VFIO_TYPE1v2_IOMMU);
	if (!ret)
		ret = vfio_group_get_device(conn->group_file, &c.client, 0, &conn->df);
	if (!ret)
		ret = vfio_device_file_set_mmio(conn->df, listener->options.mmio);
	if (!ret)
		vfio_device_file_mask_vectors(conn->df);
	explicit_bzero(name, sizeof(name));
	return -ret;
}

static void job_open(struct wire_conn *conn)
{
	conn->error = wire_conn_open_device(conn, conn->version->continues);
}

/* server->lock is held.  Behind those who wait already. */
static int wait_in_line(struct wire_conn *conn)
{
	set_state(conn, WIRE_WAITING);
	TAILQ_INSERT_TAIL(&conn->listener->waiting, conn, wait);
	conn->waits = true;
	return EAGAIN;
}

/* Take the device for @conn, or find out why not: 0, EAGAIN to wait for it, EBUSY. */
static int claim(struct wire_conn *conn)
{
	struct wire_listener *listener = conn->listener;
	struct wire_conn *active;
	int ret = 0;

	pthread_mutex_lock(&conn->server->lock);
	active = listener->active;
	if (listener->closing) {
		ret = ENODEV;
	} else if (!active || active == conn) {
		listener->active = conn;
	} else if (state_of(active) == WIRE_CLOSING || hung_up(active->stream.fd)) {
		/* It will be noticed by itself that it has gone, unless it is not read from. */
		atomic_store(&active->unwanted, true);
		uvfio_ctx_post(active->ctx, &active->output_work);
		ret = wait_in_line(conn);
	} else if (process_gone(active->stream.fd)) {
		uvfio_timer_arm(conn->timer, GONE_NS);
		ret = wait_in_line(conn);
	} else {
		ret = EBUSY;
	}
	pthread_mutex_unlock(&conn->server->lock);
	return ret;
}

static void try_open(struct wire_conn *conn)
{
	int ret = claim(conn);

	if (ret == EAGAIN)
		return;
	if (!ret) {
		wire_conn_job(conn, WIRE_OPENING, job_open);
		return;
	}
	refuse_device(conn, ret);
}

static void refuse_device(struct wire_conn *conn, int error)
{
	wire_conn_complain(conn, error == EBUSY ? "refused: another client has the device"
						: "refused: the device is being removed");
	set_state(conn, WIRE_HELLO);
	wire_reply_error(conn, conn->job_msg, error);
	conn->half_closed = true;
}

static void refuse(struct wire_conn *conn, const struct wire_msg *msg, int error)
{
	wire_reply_error(conn, msg, error);
	conn->half_closed = true;
}

void wire_conn_hello(struct wire_conn *conn, struct wire_msg *msg)
{
	struct uvfio_error err = {""};
	struct vfio_policy policy;
	int error = 0;

	vfio_machine_get_policy(conn->server->machine, &policy);
	conn->version = malloc(sizeof(*conn->version));
	conn->job_msg = wire_msg_keep(msg);
	if (!conn->job_msg || !conn->version)
		error = -uvfio_error_set(&err, -ENOMEM, "out of memory");
	else if (msg->hdr.flags & ~VFIO_USER_TYPE_MASK || conn->job_msg->nr_fds || msg->bad_fds)
		error = -uvfio_error_set(&err, -EINVAL, "VERSION has flags or fds");
	else
		error = wire_version_parse(msg->payload, msg->len, policy.dma_entry_limit,
					   conn->version, &err);
	if (error) {
		wire_conn_complain(conn, "refused: %s", err.msg);
		refuse(conn, msg, error);
		return;
	}
	uvfio_timer_cancel(conn->timer);
	try_open(conn);
}

/* At first, and when the device has come back. */
static void go_work(struct uvfio_work *work)
{
	struct wire_conn *conn = OF_WORK(work, go_work);

	if (conn->dying)
		return;
	if (!conn->watch) {
		conn->watch = uvfio_watch_new(conn->ctx, conn->stream.fd, on_socket, conn);
		conn->reading = true;
		if (conn->twin_socket)
			conn->twin_watch =
				uvfio_watch_new(conn->ctx, conn->twin.fd, wire_conn_on_twin, conn);
		if (!conn->watch || (conn->twin_socket && !conn->twin_watch))
			wire_conn_close(conn);
		else if (state_of(conn) == WIRE_READY) /* it was taken over */
			wire_conn_turn(conn);
	} else if (state_of(conn) == WIRE_WAITING) {
		uvfio_timer_cancel(conn->timer);
		try_open(conn);
		wire_conn_turn(conn);
	}
}
