/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The listening socket and the list of clients.
 *
 * When there are as many clients as may be, the one that has been silent for longest and waits for
 * nothing makes room: who leaves connections open keeps nobody out.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>
#include "control/control_private.h"
#include "control/jobs.h"

#define ACCEPT_RETRY_NS 100000000u

/* ---- clients ---- */

void client_get(struct client *client)
{
	client->refs++;
}

void client_put(struct client *client)
{
	if (--client->refs == 0)
		free(client);
}

static void forget(struct client *client)
{
	struct control *control = client->control;

	for (struct client **p = &control->clients; *p; p = &(*p)->next) {
		if (*p != client)
			continue;
		*p = client->next;
		control->nr_clients--;
		client_put(client);
		return;
	}
}

void control_drop(struct client *client)
{
	if (client->fd < 0)
		return;
	client_close(client);
	forget(client);
}

/* Of those that wait for nothing, the one that was heard of the longest time ago. */
static struct client *most_idle(struct control *control)
{
	struct client *found = NULL;

	for (struct client *c = control->clients; c; c = c->next) {
		if (c->nr_calls || (c->nr_subscriptions && !c->at_end))
			continue;
		if (!found || c->last_ns < found->last_ns)
			found = c;
	}
	return found;
}

void control_turn(struct control *control)
{
	uvfio_ctx_post(control->ctx, &control->turn_work);
	uvfio_ctx_yield(control->ctx);
}

static void turn(struct uvfio_work *work)
{
	struct control *control =
		(struct control *)((char *)work - offsetof(struct control, turn_work));
	struct client *next;
	bool more = false;

	for (struct client *c = control->clients; c; c = next) {
		client_get(c);
		if (c->in_len > c->in_pos)
			more |= client_turn(c);
		next = c->next;
		if (c->fd < 0)
			next = control->clients; /* it may have taken others with it */
		client_put(c);
	}
	trace_pump(control);
	if (more)
		control_turn(control);
}

/* ---- accepting ---- */

static bool may_connect(struct control *control, const struct ucred *peer)
{
	return peer->uid == 0 || peer->uid == geteuid() || peer->uid == control->uid;
}

static void refuse(int fd, struct rpc_error *err)
{
	struct json_object *message = rpc_error_message(NULL, err);
	const char *text = json_object_to_json_string_ext(message, JSON_C_TO_STRING_PLAIN);
	char line[1024];
	int len = snprintf(line, sizeof(line), "%s\n", text);

	if (len > 0 && (size_t)len < sizeof(line))
		send(fd, line, (size_t)len, MSG_DONTWAIT | MSG_NOSIGNAL);
	json_object_put(message);
	close(fd);
}

static void welcome(struct control *control, int fd)
{
	struct ucred peer = {.pid = 0, .uid = (uid_t)-1};
	socklen_t len = sizeof(peer);
	struct rpc_error err = {0};
	struct client *client;

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) || !may_connect(control, &peer)) {
		rpc_fail(&err, RPC_DENIED, -EACCES,
			 "user %u may not control this server: only root and user %u may",
			 (unsigned)peer.uid, (unsigned)geteuid());
		refuse(fd, &err);
		return;
	}
	if (control->nr_clients >= MAX_CLIENTS) {
		client = most_idle(control);
		if (!client) {
			rpc_fail(&err, RPC_BUSY, -EUSERS,
				 "%u connections are busy, which is all that may be; try again",
				 MAX_CLIENTS);
			refuse(fd, &err);
			return;
		}
		control_drop(client);
	}
	client = client_new(control, fd, peer.pid, peer.uid);
	if (!client) {
		close(fd);
		return;
	}
	client->next = control->clients;
	control->clients = client;
	control->nr_clients++;
}

static void on_listen(void *arg)
{
	struct control *control = arg;
	int fd;

	/* A few at a time: clients have their turn in between. */
	for (unsigned i = 0; i < 16; i++) {
		fd = accept4(control->listen_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
		if (fd >= 0) {
			welcome(control, fd);
			continue;
		}
		if (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS) {
			/* It stays readable: look away for a while. */
			uvfio_watch_free(control->listen_watch);
			control->listen_watch = NULL;
			uvfio_timer_arm(control->accept_timer, ACCEPT_RETRY_NS);
		}
		return;
	}
}

static void on_accept_timer(void *arg)
{
	struct control *control = arg;

	if (control->stopping || control->listen_watch)
		return;
	control->listen_watch =
		uvfio_watch_new(control->ctx, control->listen_fd, on_listen, control);
	if (!control->listen_watch)
		uvfio_timer_arm(control->accept_timer, ACCEPT_RETRY_NS);
}

/* ---- beginning and end ---- */

static void stop(struct uvfio_work *work)
{
	struct control *control =
		(struct control *)((char *)work - offsetof(struct control, stop_work));

	control->stopping = true;
	uvfio_watch_free(control->listen_watch);
	control->listen_watch = NULL;
	while (control->clients)
		control_drop(control->clients);
	trace_stop(control);
}

static void free_parts(struct control *control)
{
	if (control->ctx) {
		uvfio_timer_free(control->accept_timer);
		moves_fini(control);
		uvfio_ctx_free(control->ctx);
	}
	if (control->loop)
		uvfio_loop_free(control->loop);
	if (control->trace_fd >= 0)
		close(control->trace_fd);
	pthread_mutex_destroy(&control->trace_lock);
	pthread_mutex_destroy(&control->job_lock);
	pthread_cond_destroy(&control->job_cond);
	uvfio_trash_unref(control->trash);
	free(control->name);
	free(control->command);
	free(control);
}

void control_free(struct control *control)
{
	if (!control)
		return;
	uvfio_ctx_post(control->ctx, &control->stop_work);
	uvfio_ctx_flush(control->ctx);
	jobs_stop(control);
	uvfio_ctx_flush(control->ctx);
	close(control->listen_fd);
	free_parts(control);
}

static int start(struct control *control, int listen_fd, struct uvfio_error *err)
{
	int ret;

	control->loop = uvfio_loop_new("uvfio-control", err);
	if (!control->loop)
		return -ENOMEM;
	control->ctx = uvfio_ctx_new(control->loop);
	if (control->ctx)
		control->accept_timer = uvfio_ctx_timer_new(control->ctx, on_accept_timer, control);
	if (!control->accept_timer || moves_init(control))
		return uvfio_error_set(err, -ENOMEM, "out of memory");
	ret = trace_init(control);
	if (ret)
		return uvfio_error_set(err, ret, "cannot set up control: %s", strerror(-ret));
	if (fcntl(listen_fd, F_SETFL, fcntl(listen_fd, F_GETFL) | O_NONBLOCK))
		return uvfio_error_set(err, -errno, "the control socket: %s", strerror(errno));
	control->listen_fd = listen_fd;
	control->listen_watch = uvfio_watch_new(control->ctx, listen_fd, on_listen, control);
	if (!control->listen_watch)
		return uvfio_error_set(err, -errno, "the control socket cannot be watched: %s",
				       strerror(errno));
	return 0;
}

struct control *control_new(struct vfio_machine *machine, int listen_fd,
			    const struct control_config *config, struct uvfio_error *err)
{
	static const struct control_ops none;
	struct control *control = calloc(1, sizeof(*control));

	if (!control) {
		uvfio_error_set(err, -ENOMEM, "out of memory");
		return NULL;
	}
	control->machine = machine;
	control->log = config->log;
	control->ops = config->ops ? config->ops : &none;
	control->ops_arg = config->ops_arg;
	control->uid = config->uid;
	control->name = strdup(config->name ? config->name : "");
	control->command = strdup(config->command ? config->command : "");
	control->trace_fd = -1;
	control->turn_work.fn = turn;
	control->stop_work.fn = stop;
	pthread_mutex_init(&control->trace_lock, NULL);
	jobs_init(control);
	control->trash = uvfio_trash_new();
	if (!control->name || !control->command || !control->trash)
		uvfio_error_set(err, -ENOMEM, "out of memory");
	else if (!start(control, listen_fd, err))
		return control;
	if (control->ctx)
		trace_stop(control);
	free_parts(control);
	return NULL;
}
