/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A server that is exchanged (keeper_upgrade.c tells the whole story): the old one hands its
 * devices and clients over, the new one takes them.
 *
 * They speak by a socket of their own: what serves --sysfs; for each device its name, its VF tokens,
 * a file with its state, a file with what wire/handover.h makes of its client, and that one's
 * descriptors, one packet each; then the end.
 * All functions are the main thread's.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include "base/fd.h"
#include "serve/channel.h"
#include "serve/handover.h"
#include "serve/server_private.h"
#include "vfio/host.h"
#include "vfio/move.h"
#include "vfio/observe.h"
#include "wire/handover.h"

/* ---- the old one ---- */

struct leaving {
	struct leaving *next;
	uint64_t id;
	struct vfio_device *dev;
	struct vfio_move *move;
	struct wire_frozen *frozen;
};

static void back(struct server *server)
{
	struct uvfio_error err;

	if (server->sysfs)
		sysfs_go_on(server->sysfs);
	while (server->leaving) {
		struct leaving *l = server->leaving;

		server->leaving = l->next;
		err.msg[0] = '\0';
		if (l->move && vfio_move_end(l->move, VFIO_MOVE_BACK, &err))
			uvfio_log(server->log, UVFIO_LOG_ERROR, "%s: it does not go on: %s",
				  vfio_device_name(l->dev), err.msg);
		if (l->frozen)
			wire_thaw(l->frozen);
		vfio_device_put(l->dev);
		free(l);
	}
}

void server_back(struct server *server, const char *why)
{
	back(server);
	if (server->handing)
		pthread_mutex_unlock(&server->turn);
	server->handing = false;
	pthread_mutex_lock(&server->lock);
	server->upgrades_failed++;
	snprintf(server->upgrade_error, sizeof(server->upgrade_error), "%s", why);
	pthread_cond_broadcast(&server->changed);
	pthread_mutex_unlock(&server->lock);
}

int server_upgrade(struct server *server, struct uvfio_error *err)
{
	const struct serve_message msg = {.kind = SERVE_UPGRADE};
	unsigned before;
	int ret;

	pthread_mutex_lock(&server->lock);
	before = server->upgrades_failed;
	ret = serve_send(server->config->tell, &msg, NULL, -1);
	while (!ret && server->upgrades_failed == before && !server->stopping)
		pthread_cond_wait(&server->changed, &server->lock);
	if (ret || server->stopping)
		ret = uvfio_error_set(err, ret ? ret : -ECANCELED, "the server ends");
	else
		ret = uvfio_error_set(err, -EBUSY, "%s; the server goes on as before",
				      server->upgrade_error);
	pthread_mutex_unlock(&server->lock);
	return ret;
}

/* Has anybody it but a client of its own socket? */
static int check_users(struct vfio_device *dev, struct uvfio_error *err)
{
	struct vfio_opener openers[16];
	unsigned nr = vfio_device_openers(dev, openers, 16);

	for (unsigned i = 0; i < nr && i < 16; i++)
		if (strcmp(openers[i].door, "vfio-user") != 0)
			return uvfio_error_set(
				err, -EBUSY,
				"%s: process %d has it open by `uvfio run --machine`, "
				"which cannot be handed over yet",
				vfio_device_name(dev), openers[i].pid);
	return 0;
}

static int begin(struct server *server, const struct served *d, struct uvfio_error *err)
{
	struct leaving *l = calloc(1, sizeof(*l)), **link = &server->leaving;
	int ret;

	if (l)
		l->dev = vfio_machine_get_device(server->machine, d->name);
	if (!l || !l->dev) {
		free(l);
		return uvfio_error_set(err, l ? -ENODEV : -ENOMEM, "%s has gone", d->name);
	}
	while (*link)
		link = &(*link)->next;
	*link = l;
	l->id = d->id;
	if (!d->id)
		return uvfio_error_set(err, -EBUSY,
				       "%s was added by `uvfio add`, which cannot be handed over "
				       "yet; remove it first",
				       d->name);
	ret = check_users(l->dev, err);
	if (!ret)
		ret = wire_freeze(d->listener, &l->frozen, err);
	if (!ret)
		ret = vfio_move_begin(l->dev, VFIO_MOVE_SAVE, &l->move, err);
	return ret;
}

static int send_file(int sock, enum serve_kind kind, uint64_t id, int fd, struct uvfio_error *err)
{
	const struct serve_message msg = {.kind = kind, .id = id};
	int ret = serve_send(sock, &msg, NULL, fd);

	return ret ? uvfio_error_set(err, ret, "the new server does not take it: %s",
				     strerror(-ret))
		   : 0;
}

static int memory_file(struct uvfio_error *err)
{
	int fd = memfd_create("uvfio-handover", MFD_CLOEXEC);

	return fd < 0 ? uvfio_error_set(err, -errno, "memfd_create: %s", strerror(errno)) : fd;
}

static int hand_state(struct leaving *l, int sock, struct uvfio_error *err)
{
	int fd = memory_file(err), ret;

	if (fd < 0)
		return fd;
	ret = server_state_write(l->move, fd, err);
	if (!ret)
		ret = send_file(sock, SERVE_HAND_STATE, l->id, fd, err);
	close(fd);
	return ret;
}

static int hand_client(struct leaving *l, int sock, struct uvfio_error *err)
{
	struct wire_handed h;
	int ret = wire_hand_over(l->frozen, &h, err), fd;

	if (ret || !h.len)
		return ret;
	fd = memory_file(err);
	ret = fd < 0 ? fd : 0;
	if (!ret && pwrite(fd, h.bytes, h.len, 0) != (ssize_t)h.len)
		ret = uvfio_error_set(err, -ENOMEM, "out of memory");
	if (!ret)
		ret = send_file(sock, SERVE_HAND_CLIENT, l->id, fd, err);
	for (unsigned i = 0; i < h.nr_fds && !ret; i++)
		ret = send_file(sock, SERVE_HAND_FD, l->id, h.fds[i], err);
	if (fd >= 0)
		close(fd);
	wire_handed_fini(&h);
	return ret;
}

/* By this socket alone, which nobody else has. */
static int hand_token(struct leaving *l, int sock, int which, const struct vfio_token *token,
		      struct uvfio_error *err)
{
	const struct serve_message msg = {.kind = SERVE_HAND_TOKEN, .value = which, .id = l->id};
	char text[VFIO_TOKEN_TEXT + 1];
	int ret;

	vfio_token_format(token, text);
	ret = serve_send(sock, &msg, text, -1);
	explicit_bzero(text, sizeof(text));
	return ret ? uvfio_error_set(err, ret, "the new server does not take it: %s",
				     strerror(-ret))
		   : 0;
}

static int hand_tokens(struct leaving *l, int sock, struct uvfio_error *err)
{
	struct vfio_token token;
	int ret = 0;

	if (vfio_device_given_token(l->dev, &token))
		ret = hand_token(l, sock, 0, &token, err);
	if (!ret && vfio_device_token_now(l->dev, &token))
		ret = hand_token(l, sock, 1, &token, err);
	vfio_token_wipe(&token);
	return ret;
}

static int hand_device(struct leaving *l, int sock, struct uvfio_error *err)
{
	const struct serve_message msg = {.kind = SERVE_HAND_DEVICE, .id = l->id};
	char text[64];
	int ret;

	snprintf(text, sizeof(text), "%s %llu %d", vfio_device_name(l->dev),
		 (unsigned long long)vfio_device_serial(l->dev), (int)vfio_device_driver(l->dev));
	ret = serve_send(sock, &msg, text, -1);
	return ret ? uvfio_error_set(err, ret, "the new server does not take it: %s",
				     strerror(-ret))
		   : hand_tokens(l, sock, err);
}

/* Nobody looks at the machine from here on. */
static int hand_sysfs(struct server *server, int sock, struct uvfio_error *err)
{
	const struct serve_message msg = {.kind = SERVE_HAND_SYSFS, .value = 1};
	struct sysfs_handed h;
	int ret = sysfs_hold(server->sysfs, &h, err), fd;

	if (ret == -ENOTCONN)
		return 0; /* somebody has unmounted it */
	if (!ret)
		ret = send_file(sock, SERVE_HAND_SYSFS, 0, h.fd, err);
	fd = ret ? ret : memory_file(err);
	if (fd < 0)
		return fd;
	if (pwrite(fd, h.init, h.len, 0) != (ssize_t)h.len || serve_send(sock, &msg, NULL, fd))
		ret = uvfio_error_set(err, -EIO, "--sysfs: the new server does not take it");
	close(fd);
	return ret;
}

static int hand_all(struct server *server, int sock, struct uvfio_error *err)
{
	int ret = server->sysfs ? hand_sysfs(server, sock, err) : 0;

	if (ret)
		return ret;
	pthread_mutex_lock(&server->lock);
	/* Who adds and removes waits for ->turn: the list stays. */
	for (struct served *d = server->devices; d; d = d->next)
		if (d->removing)
			ret = uvfio_error_set(err, -EBUSY, "%s is being removed", d->name);
	pthread_mutex_unlock(&server->lock);
	for (struct served *d = server->devices; d && !ret; d = d->next)
		ret = begin(server, d, err);
	for (struct leaving *l = server->leaving; l && !ret; l = l->next)
		ret = vfio_move_pause(l->move, err);
	for (struct leaving *l = server->leaving; l && !ret; l = l->next) {
		ret = hand_device(l, sock, err);
		if (!ret)
			ret = hand_client(l, sock, err);
		if (!ret)
			ret = hand_state(l, sock, err);
	}
	return ret ? ret : send_file(sock, SERVE_HAND_END, 0, -1, err);
}

int server_give(struct server *server, int sock, struct uvfio_error *err)
{
	int ret;

	if (sock < 0)
		return uvfio_error_set(err, -EPROTO, "no socket came with it");
	pthread_mutex_lock(&server->turn);
	server->handing = true;
	ret = hand_all(server, sock, err);
	close(sock);
	if (ret) { /* the keeper says BACK when it has heard of it */
		back(server);
		server->handing = false;
		pthread_mutex_unlock(&server->turn);
	}
	return ret;
}

/* ---- the new one ---- */

struct arriving {
	struct arriving *next;
	uint64_t id;
	char name[16];
	uint64_t serial;
	int driver;        /* enum vfio_driver */
	bool has_token[2]; /* as SERVE_HAND_TOKEN says */
	struct vfio_token tokens[2];
	int state, client; /* files, or -1 */
	int *fds;
	unsigned nr_fds;
	struct wire_conn *conn; /* it has been taken over, and waits */
	struct wire_listener *listener;
	int listen_fd;
};

static struct arriving *arriving(struct server *server, uint64_t id)
{
	struct arriving *a = server->arriving;

	while (a && a->id != id)
		a = a->next;
	if (a)
		return a;
	a = calloc(1, sizeof(*a));
	if (!a)
		return NULL;
	*a = (struct arriving){
		.next = server->arriving, .id = id, .state = -1, .client = -1, .listen_fd = -1};
	server->arriving = a;
	return a;
}

/* @fd becomes @a's. */
static int keep_fd(struct arriving *a, int fd)
{
	int *fds = a->nr_fds < WIRE_HANDED_FDS ? realloc(a->fds, (a->nr_fds + 1) * sizeof(*fds))
					       : NULL;

	if (!fds) {
		close(fd);
		return -ENOMEM;
	}
	a->fds = fds;
	fds[a->nr_fds++] = fd;
	return 0;
}

/* @fd becomes ours. */
static int take_sysfs(struct server *server, int what, int fd, struct uvfio_error *err)
{
	struct sysfs_handed *h = &server->sysfs_came;
	ssize_t n;
	int ret;

	if (!what) {
		if (h->fd >= 0)
			close(h->fd);
		h->fd = fd;
		return 0;
	}
	n = pread(fd, h->init, sizeof(h->init), 0);
	close(fd);
	h->len = n > 0 ? (size_t)n : 0;
	if (h->fd < 0)
		return uvfio_error_set(err, -EPROTO, "--sysfs: it did not come");
	ret = server_start_sysfs(server, h, err);
	h->fd = -1;
	return ret;
}

static int take_name(struct arriving *a, const char *text, struct uvfio_error *err)
{
	unsigned long long serial;

	if (sscanf(text, "%15s %llu %d", a->name, &serial, &a->driver) != 3 || !serial)
		return uvfio_error_set(err, -EPROTO, "a device has no name");
	a->serial = serial;
	return 0;
}

static int take_token(struct arriving *a, int which, char *text, struct uvfio_error *err)
{
	int ret = which == 0 || which == 1 ? vfio_token_parse(text, &a->tokens[which]) : -EPROTO;

	vfio_token_wipe_text(text);
	if (ret)
		return uvfio_error_set(err, -EPROTO, "a VF token is none");
	a->has_token[which] = true;
	return 0;
}

/* One packet.  1: it was the last one. */
static int take_packet(struct server *server, int sock, char *text, struct uvfio_error *err)
{
	struct serve_message msg;
	struct arriving *a;
	int fd = -1, ret = serve_receive(sock, &msg, text, &fd);
	bool file;

	if (ret != 1)
		return uvfio_error_set(err, ret ? ret : -EPIPE, "the old server has given up");
	if (msg.kind == SERVE_HAND_END)
		return 1;
	file = msg.kind != SERVE_HAND_DEVICE && msg.kind != SERVE_HAND_TOKEN;
	if (msg.kind == SERVE_HAND_SYSFS && fd >= 0)
		return take_sysfs(server, msg.value, fd, err);
	a = file && fd < 0 ? NULL : arriving(server, msg.id);
	if (!a) {
		if (fd >= 0)
			close(fd);
		return uvfio_error_set(err, fd < 0 ? -EPROTO : -ENOMEM,
				       "a descriptor did not come: %s",
				       strerror(fd < 0 ? EMFILE : ENOMEM));
	}
	if (!file) {
		if (fd >= 0)
			close(fd);
		return msg.kind == SERVE_HAND_DEVICE ? take_name(a, text, err)
						     : take_token(a, msg.value, text, err);
	}
	if (msg.kind == SERVE_HAND_STATE && a->state < 0)
		a->state = fd;
	else if (msg.kind == SERVE_HAND_CLIENT && a->client < 0)
		a->client = fd;
	else if (msg.kind == SERVE_HAND_FD)
		return keep_fd(a, fd) ? uvfio_error_set(err, -ENOMEM, "too many descriptors") : 0;
	else
		close(fd);
	return 0;
}

int server_take(struct server *server, int sock, struct uvfio_error *err)
{
	int ret = sock < 0 ? uvfio_error_set(err, -EPROTO, "no socket came with it") : 0;
	char *text = malloc(SERVE_MAX_TEXT);

	if (!ret && !text)
		ret = uvfio_error_set(err, -ENOMEM, "out of memory");
	while (!ret)
		ret = take_packet(server, sock, text, err);
	if (text)
		explicit_bzero(text, SERVE_MAX_TEXT);
	free(text);
	if (sock >= 0)
		close(sock);
	return ret < 0 ? ret : 0;
}

static int take_client(struct arriving *a, struct wire_listener *listener, struct uvfio_error *err)
{
	struct stat st;
	void *bytes;
	int ret;

	if (uvfio_fstat(a->client, &st) || st.st_size <= 0)
		return uvfio_error_set(err, -EINVAL, "what was handed over of its client is empty");
	/* A copy: the old server could change the file. */
	bytes = malloc((size_t)st.st_size);
	if (!bytes || pread(a->client, bytes, (size_t)st.st_size, 0) != st.st_size)
		ret = uvfio_error_set(err, -ENOMEM, "out of memory");
	else
		ret = wire_take_over(listener, bytes, (size_t)st.st_size, a->fds, a->nr_fds,
				     &a->conn, err);
	free(bytes);
	return ret;
}

static struct arriving *find_arriving(struct server *server, uint64_t id)
{
	struct arriving *a = server->arriving;

	while (a && a->id != id)
		a = a->next;
	return a;
}

bool server_arrives(struct server *server, uint64_t id)
{
	return id && find_arriving(server, id);
}

int server_add_as_it_was(struct server *server, uint64_t id, char **spec, struct uvfio_error *err)
{
	struct arriving *a = id ? find_arriving(server, id) : NULL;
	char *longer;

	if (!a || !a->serial)
		return 0;
	vfio_machine_next_serial(server->machine, a->serial);
	/* The keeper has forgotten it. */
	if (a->has_token[0])
		vfio_token_restore(*spec, &a->tokens[0]);
	if (strstr(*spec, ",addr="))
		return 0;
	if (asprintf(&longer, "%s,addr=%s", *spec, a->name) < 0)
		return uvfio_error_set(err, -ENOMEM, "out of memory");
	vfio_token_wipe_text(*spec);
	free(*spec);
	*spec = longer;
	return 0;
}

/* Its driver and its token. */
static int as_it_was(struct server *server, struct arriving *a, const char *name,
		     struct uvfio_error *err)
{
	struct vfio_device *dev = vfio_machine_get_device(server->machine, name);
	int ret = dev ? 0 : uvfio_error_set(err, -ENODEV, "%s has gone", name);

	if (!ret && a->serial && (int)vfio_device_driver(dev) != a->driver)
		ret = uvfio_error_set(err, -EBUSY,
				      "%s has another driver than its options say, which cannot be "
				      "handed over; give it back to that one",
				      name);
	if (!ret && a->has_token[1])
		vfio_device_token_put(dev, &a->tokens[1]);
	if (dev)
		vfio_device_put(dev);
	return ret;
}

int server_arrive(struct server *server, uint64_t id, const char *name, int listen_fd,
		  struct wire_listener *listener, struct uvfio_error *err)
{
	struct arriving *a = find_arriving(server, id);
	int ret = as_it_was(server, a, name, err);

	if (!ret && a->client >= 0)
		ret = take_client(a, listener, err);
	if (ret)
		return ret;
	a->listener = listener;
	a->listen_fd = listen_fd;
	return 0;
}

int server_arriving_state(struct server *server, uint64_t id)
{
	struct arriving *a = id ? find_arriving(server, id) : NULL;

	return a ? a->state : -1;
}

void server_arrived(struct server *server)
{
	if (server->arriving)
		vfio_machine_next_serial(server->machine, 0);
	if (server->sysfs)
		sysfs_go_on(server->sysfs);
	while (server->arriving) {
		struct arriving *a = server->arriving;

		server->arriving = a->next;
		if (a->conn)
			wire_go_on(a->conn);
		if (a->listener && wire_listener_open(a->listener, a->listen_fd))
			uvfio_log(server->log, UVFIO_LOG_ERROR, "a socket is no socket any more");
		for (unsigned i = 0; i < a->nr_fds; i++)
			if (a->fds[i] >= 0)
				close(a->fds[i]);
		if (a->state >= 0)
			close(a->state);
		if (a->client >= 0)
			close(a->client);
		free(a->fds);
		vfio_token_wipe(&a->tokens[0]);
		vfio_token_wipe(&a->tokens[1]);
		free(a);
	}
}
