/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The server: its loops, the listeners, accepting.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>
#include "vfio/observe.h"
#include "wire/wire_private.h"

#define SPIN_US      30u
#define HANDSHAKE_MS 10000u
#define ACCEPT_BATCH 16
#define ACCEPT_RETRY 10000000u /* ns */

void wire_options_default(struct wire_options *options)
{
	*options = (struct wire_options){
		.spin_us = SPIN_US,
		.mmio = VFIO_MMIO_NONE,
		.handshake_ms = HANDSHAKE_MS,
	};
}

static int make_loops(struct wire_server *server, struct uvfio_error *err)
{
	long cpus = sysconf(_SC_NPROCESSORS_ONLN);

	for (unsigned i = 0; i < WIRE_MAX_LOOPS && (!i || i < (unsigned long)cpus); i++) {
		server->loops[i].loop = uvfio_loop_new("uvfio-wire", err);
		if (!server->loops[i].loop)
			return -EAGAIN;
		server->nr_loops++;
	}
	return 0;
}

struct wire_server *wire_server_new_on(struct vfio_machine *machine, struct uvfio_loop *loop,
				       struct uvfio_log *log, struct uvfio_error *err)
{
	struct wire_server *server = calloc(1, sizeof(*server));

	if (!server) {
		uvfio_error_set(err, -ENOMEM, "out of memory");
		return NULL;
	}
	server->machine = machine;
	server->log = log;
	TAILQ_INIT(&server->listeners);
	pthread_mutex_init(&server->lock, NULL);
	pthread_mutex_init(&server->open_lock, NULL);
	pthread_cond_init(&server->changed, NULL);
	uvfio_eventfd_check_init(&server->eventfds);
	if (wire_workers_init(&server->workers)) {
		uvfio_error_set(err, -EAGAIN, "cannot start a thread: there are too many");
		wire_server_free(server);
		return NULL;
	}
	if (loop) {
		server->loops[0].loop = loop;
		server->nr_loops = 1;
		server->loop_is_given = true;
	} else if (make_loops(server, err)) {
		wire_server_free(server);
		return NULL;
	}
	return server;
}

struct wire_server *wire_server_new(struct vfio_machine *machine, struct uvfio_log *log,
				    struct uvfio_error *err)
{
	return wire_server_new_on(machine, NULL, log, err);
}

static void close_socket(int fd)
{
	if (fd >= 0)
		close(fd);
}

static void listener_free(struct wire_listener *listener)
{
	vfio_token_wipe(&listener->options.token);
	free(listener);
}

/* server->lock is held. */
static void close_clients(struct wire_listener *listener)
{
	struct wire_conn *conn;

	TAILQ_FOREACH(conn, &listener->conns, next)
	wire_conn_close_later(conn);
}

static void stop_listening(struct wire_listener *listener)
{
	uvfio_watch_free(listener->watch);
	listener->watch = NULL;
	uvfio_timer_free(listener->retry);
	listener->retry = NULL;
}

struct stop {
	struct uvfio_work work;
	struct wire_listener *listener;
};

static void stop_work(struct uvfio_work *work)
{
	stop_listening(((struct stop *)work)->listener);
}

void wire_unlisten(struct wire_listener *listener)
{
	struct wire_server *server = listener->server;
	struct stop stop = {{.fn = stop_work}, listener};

	uvfio_ctx_post(listener->ctx, &stop.work);
	uvfio_ctx_flush(listener->ctx);
	uvfio_ctx_free(listener->ctx);
	listener->ctx = NULL;
	close_socket(listener->fd);
	pthread_mutex_lock(&server->lock);
	listener->closing = true;
	close_clients(listener);
	listener->left = true;
	wire_listener_reap_locked(listener);
	pthread_mutex_unlock(&server->lock);
}

void wire_disconnect(struct wire_server *server, const char *device)
{
	struct wire_listener *listener;

	pthread_mutex_lock(&server->lock);
	TAILQ_FOREACH(listener, &server->listeners, next)
	{
		if (!listener->left && !strcmp(listener->device, device))
			close_clients(listener);
	}
	pthread_mutex_unlock(&server->lock);
}

void wire_sever(struct wire_server *server, const char *device)
{
	struct wire_listener *listener;
	struct wire_conn *conn;

	pthread_mutex_lock(&server->lock);
	TAILQ_FOREACH(listener, &server->listeners, next)
	{
		if (listener->left || strcmp(listener->device, device))
			continue;
		/* Their descriptors are closed after they have left the list. */
		TAILQ_FOREACH(conn, &listener->conns, next)
		{
			if (conn == listener->active)
				shutdown(conn->stream.fd, SHUT_RDWR);
		}
		close_clients(listener);
	}
	pthread_mutex_unlock(&server->lock);
}

void wire_listener_reap_locked(struct wire_listener *listener)
{
	struct wire_server *server = listener->server;

	if (!listener->left || listener->nr_conns || listener->pins)
		return;
	TAILQ_REMOVE(&server->listeners, listener, next);
	listener_free(listener);
	pthread_cond_broadcast(&server->changed);
}

/* One that still listens, or NULL. */
static struct wire_listener *some_listener(struct wire_server *server)
{
	struct wire_listener *listener;

	pthread_mutex_lock(&server->lock);
	TAILQ_FOREACH(listener, &server->listeners, next)
	{
		if (!listener->left)
			break;
	}
	pthread_mutex_unlock(&server->lock);
	return listener;
}

void wire_server_free(struct wire_server *server)
{
	struct wire_listener *listener;

	if (!server)
		return;
	/* All at once, then one after the other. */
	pthread_mutex_lock(&server->lock);
	TAILQ_FOREACH(listener, &server->listeners, next)
	{
		listener->closing = true;
		close_clients(listener);
	}
	pthread_mutex_unlock(&server->lock);
	while ((listener = some_listener(server)))
		wire_unlisten(listener);
	pthread_mutex_lock(&server->lock);
	while (!TAILQ_EMPTY(&server->listeners))
		pthread_cond_wait(&server->changed, &server->lock);
	pthread_mutex_unlock(&server->lock);
	wire_workers_fini(&server->workers);
	for (unsigned i = 0; i < server->nr_loops && !server->loop_is_given; i++)
		uvfio_loop_free(server->loops[i].loop);
	uvfio_eventfd_check_fini(&server->eventfds);
	pthread_cond_destroy(&server->changed);
	pthread_mutex_destroy(&server->open_lock);
	pthread_mutex_destroy(&server->lock);
	free(server);
}

/* ---- accepting ---- */

static const struct vfio_token *token_of(const struct wire_listener *listener)
{
	return listener->options.has_token ? &listener->options.token : NULL;
}

/* Not now: the clients stay in the backlog.  Do not be told of them again and again. */
static void rest(struct wire_listener *listener)
{
	uvfio_watch_free(listener->watch);
	listener->watch = NULL;
	uvfio_timer_arm(listener->retry, ACCEPT_RETRY);
}

static bool full(struct wire_listener *listener)
{
	bool ret;

	pthread_mutex_lock(&listener->server->lock);
	ret = listener->nr_conns >= WIRE_CLIENTS_MAX;
	pthread_mutex_unlock(&listener->server->lock);
	return ret;
}

static void on_listener(void *arg)
{
	struct wire_listener *listener = arg;
	struct wire_server *server = listener->server;
	unsigned lost;

	for (unsigned i = 0; i < ACCEPT_BATCH; i++) {
		int fd;

		if (full(listener)) {
			rest(listener);
			return;
		}
		fd = accept4(listener->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
		if (fd >= 0) {
			wire_conn_new(listener, fd, token_of(listener));
			continue;
		}
		if (errno == EINTR || errno == ECONNABORTED)
			continue;
		if (errno != EAGAIN) { /* out of fds or memory */
			if (uvfio_ratelimit_ok(&server->complaints, 1, 10000, &lost))
				uvfio_log(server->log, UVFIO_LOG_ERROR,
					  "%s: cannot accept a client now: %s", listener->device,
					  strerror(errno));
			rest(listener);
		}
		return;
	}
}

static void on_retry(void *arg)
{
	struct wire_listener *listener = arg;

	if (!listener->watch)
		listener->watch =
			uvfio_watch_new(listener->ctx, listener->fd, on_listener, listener);
	if (!listener->watch)
		uvfio_timer_arm(listener->retry, ACCEPT_RETRY);
}

int wire_check_socket(int fd, bool listening)
{
	int value = 0;
	socklen_t len = sizeof(value);

	if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &value, &len) || value != SOCK_STREAM)
		return -EINVAL;
	len = sizeof(value);
	if (getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &value, &len) || !!value != listening)
		return -EINVAL;
	value = fcntl(fd, F_GETFL);
	if (value < 0 || fcntl(fd, F_SETFL, value | O_NONBLOCK))
		return -errno;
	return 0;
}

int wire_find_group(struct wire_server *server, const char *device, unsigned *group, bool *noiommu)
{
	struct vfio_device *dev = vfio_machine_get_device(server->machine, device);

	if (!dev)
		return -ENODEV;
	*group = vfio_device_group(dev);
	*noiommu = vfio_device_noiommu(dev);
	vfio_device_put(dev);
	return 0;
}

/* What @listener presents if it was not told. */
static int find_token(struct wire_listener *listener, const char *device)
{
	struct vfio_device *dev = vfio_machine_get_device(listener->server->machine, device);
	struct wire_options *options = &listener->options;

	if (!dev)
		return -ENODEV;
	if (!options->has_token)
		options->has_token = vfio_device_given_token(dev, &options->token);
	vfio_device_put(dev);
	return 0;
}

static int listen_new(struct wire_server *server, const char *device, int fd,
		      const struct wire_options *options, bool made, struct wire_listener **out,
		      struct uvfio_error *err)
{
	struct wire_listener *listener = calloc(1, sizeof(*listener));
	unsigned at;
	int ret;

	if (!listener) {
		close_socket(fd);
		return uvfio_error_set(err, -ENOMEM, "out of memory");
	}
	listener->server = server;
	listener->options = *options;
	listener->made = made;
	listener->fd = fd;
	TAILQ_INIT(&listener->conns);
	TAILQ_INIT(&listener->waiting);
	ret = find_token(listener, device);
	if (ret) {
		uvfio_error_set(err, ret, "there is no device %s", device);
		goto failed;
	}
	strncpy(listener->device, device, sizeof(listener->device) - 1);
	ret = fd < 0 ? 0 : wire_check_socket(fd, true);
	if (ret) {
		uvfio_error_set(err, ret, "%s: what was given to listen on is no listening socket",
				device);
		goto failed;
	}
	at = atomic_fetch_add(&server->next_loop, 1) % server->nr_loops;
	listener->ctx = uvfio_ctx_new(server->loops[at].loop);
	if (listener->ctx)
		listener->retry = uvfio_ctx_timer_new(listener->ctx, on_retry, listener);
	if (!listener->retry) {
		ret = uvfio_error_set(err, -ENOMEM, "out of memory");
		goto failed;
	}
	pthread_mutex_lock(&server->lock);
	TAILQ_INSERT_TAIL(&server->listeners, listener, next);
	pthread_mutex_unlock(&server->lock);
	/* The timer's function makes the watch, in the context. */
	if (out)
		*out = listener;
	if (fd >= 0)
		uvfio_timer_arm(listener->retry, 0);
	return 0;
failed:
	uvfio_ctx_free(listener->ctx);
	close_socket(fd);
	listener_free(listener);
	return ret;
}

int wire_make_listener(struct wire_server *server, const char *device,
		       const struct wire_options *options, struct uvfio_error *err)
{
	return listen_new(server, device, -1, options, true, NULL, err);
}

int wire_listen(struct wire_server *server, const char *device, int fd,
		const struct wire_options *options, struct wire_listener **out,
		struct uvfio_error *err)
{
	struct wire_listener *made;
	int ret;

	pthread_mutex_lock(&server->open_lock);
	made = wire_take_made(server, device, options);
	if (!made)
		ret = listen_new(server, device, fd, options, false, out, err);
	else
		ret = fd < 0 ? 0 : wire_listener_open(made, fd);
	pthread_mutex_unlock(&server->open_lock);
	if (made && !ret)
		*out = made;
	return made && ret
		       ? uvfio_error_set(err, ret,
					 "%s: what was given to listen on is no listening socket",
					 device)
		       : ret;
}

int wire_listener_open(struct wire_listener *listener, int fd)
{
	int ret = listener->fd >= 0 ? -EINVAL : wire_check_socket(fd, true);

	if (ret) {
		close(fd);
		return ret;
	}
	listener->fd = fd; /* the timer's function sees it */
	uvfio_timer_arm(listener->retry, 0);
	return 0;
}

int wire_adopt_with(struct wire_listener *listener, int fd, const struct vfio_token *token)
{
	int ret = wire_check_socket(fd, false);

	if (ret) {
		close(fd);
		return ret;
	}
	return wire_conn_new(listener, fd, token);
}

int wire_adopt(struct wire_listener *listener, int fd)
{
	return wire_adopt_with(listener, fd, token_of(listener));
}

unsigned wire_connections(struct wire_server *server, struct wire_connection_info *out,
			  unsigned max)
{
	struct wire_listener *listener;
	struct wire_conn *conn;
	unsigned n = 0;

	pthread_mutex_lock(&server->lock);
	TAILQ_FOREACH(listener, &server->listeners, next)
	{
		TAILQ_FOREACH(conn, &listener->conns, next)
		{
			struct wire_connection_info *info;

			if (n++ >= max)
				continue;
			info = &out[n - 1];
			memset(info, 0, sizeof(*info));
			memcpy(info->device, listener->device, sizeof(info->device));
			info->state = wire_state_name(atomic_load(&conn->state));
			info->pid = conn->pid;
			info->uid = conn->who.uid;
			info->since = conn->since;
			info->messages = atomic_load(&conn->messages);
			info->bytes_in = atomic_load(&conn->bytes_in);
			info->bytes_out = atomic_load(&conn->bytes_out);
			info->errors = atomic_load(&conn->errors);
			info->max_xfer = conn->max_xfer;
			info->minor = conn->minor;
			info->twin_socket = conn->twin_socket;
		}
	}
	pthread_mutex_unlock(&server->lock);
	return n;
}
