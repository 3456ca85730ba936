/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The server: devices by their sockets, added and removed at the keeper's word or control's.
 *
 * Threads: the main thread reads what the keeper tells; control's workers add and remove, too.  One
 * lock makes them take turns and guards the list; it is held while a device is made or becomes
 * quiet, and nothing that a client waits for takes it.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/log.h"
#include "serve/broker.h"
#include "serve/channel.h"
#include "serve/server.h"
#include "serve/spec.h"
#include "vfio/observe.h"
#include "wire/wire.h"

struct served {
	struct served *next;
	uint64_t id; /* the keeper's; 0: added through control */
	char name[16];
	char *socket;
	struct wire_listener *listener;
};

struct server {
	const struct serve_server_config *config;
	struct uvfio_log *log;
	struct vfio_machine *machine;
	struct wire_server *wire;

	pthread_mutex_t lock;
	struct served *devices;
};

/* ---- files ---- */

static int ask_open(void *arg, const char *path, int flags)
{
	struct server *server = arg;

	return serve_ask(server->config->ask, SERVE_OPEN, path, flags);
}

static int ask_connect(void *arg, const char *uri)
{
	struct server *server = arg;

	return serve_ask(server->config->ask, SERVE_CONNECT, uri, 0);
}

/* ---- devices ---- */

/* The newest device's name, address and mode; under the lock, so it is the one just made. */
static void newest_device(struct server *server, char name[16], int *mmio)
{
	struct vfio_device **devs = NULL;
	unsigned nr = vfio_machine_get_devices(server->machine, &devs);

	if (nr) {
		snprintf(name, 16, "%s", vfio_device_name(devs[nr - 1]));
		*mmio = vfio_device_mmio(devs[nr - 1]);
	}
	for (unsigned i = 0; i < nr; i++)
		vfio_device_put(devs[i]);
	free(devs);
}

static void wire_settings(const struct serve_spec *spec, int mmio, struct wire_options *options)
{
	wire_options_default(options);
	if (spec->spin_given)
		options->spin_us = spec->spin_us;
	if (spec->mmap_given)
		options->mmio = spec->mmap ? VFIO_MMIO_POLLED : VFIO_MMIO_NONE;
	else if (mmio)
		options->mmio = mmio == 'p' ? VFIO_MMIO_POLLED : VFIO_MMIO_NONE;
}

/* The machine cannot let go of a device yet: it stays, without a socket. */
static int forget(struct server *server, const char *name)
{
	return -EOPNOTSUPP;
}

/* @fd becomes the server's.  Under the lock. */
static int add_locked(struct server *server, uint64_t id, const struct serve_spec *spec, int fd,
		      char name[16], struct uvfio_error *err)
{
	struct served *d = calloc(1, sizeof(*d));
	struct wire_options options;
	int ret, mmio = 0;

	if (d)
		d->socket = strdup(spec->socket);
	if (!d || !d->socket) {
		ret = uvfio_error_set(err, -ENOMEM, "out of memory");
		goto fail;
	}
	ret = vfio_machine_add_device(server->machine, spec->device, err);
	if (ret)
		goto fail;
	newest_device(server, d->name, &mmio);
	wire_settings(spec, mmio, &options);
	ret = wire_listen(server->wire, d->name, fd, &options, &d->listener, err);
	fd = -1;
	if (ret) {
		forget(server, d->name);
		goto fail;
	}
	d->id = id;
	d->next = server->devices;
	server->devices = d;
	memcpy(name, d->name, sizeof(d->name));
	uvfio_log(server->log, UVFIO_LOG_INFO, "%s: %s at %s", d->name, spec->device, d->socket);
	return 0;
fail:
	if (fd >= 0)
		close(fd);
	if (d)
		free(d->socket);
	free(d);
	return ret;
}

static int add_device(struct server *server, uint64_t id, const char *text, int fd, char name[16],
		      struct uvfio_error *err)
{
	struct serve_spec spec;
	int ret = serve_spec_parse(text, &spec, err);

	if (!ret && !spec.socket)
		ret = uvfio_error_set(err, -EINVAL, "no socket=PATH, where it is to be served");
	if (ret) {
		close(fd);
	} else {
		pthread_mutex_lock(&server->lock);
		ret = add_locked(server, id, &spec, fd, name, err);
		pthread_mutex_unlock(&server->lock);
	}
	serve_spec_fini(&spec);
	return ret;
}

/* Its clients are disconnected. */
static int remove_device(struct server *server, uint64_t id, const char *name,
			 struct uvfio_error *err)
{
	struct served **link, *d;
	uint64_t found = 0;
	int ret;

	pthread_mutex_lock(&server->lock);
	for (link = &server->devices; *link; link = &(*link)->next)
		if (name ? !strcmp((*link)->name, name) : (*link)->id == id)
			break;
	d = *link;
	if (!d) {
		pthread_mutex_unlock(&server->lock);
		return uvfio_error_set(err, -ENODEV, "there is no such device");
	}
	wire_unlisten(d->listener);
	*link = d->next;
	ret = forget(server, d->name);
	if (ret)
		uvfio_error_set(err, ret, "device %s: %s", d->name, strerror(-ret));
	found = d->id;
	uvfio_log(server->log, UVFIO_LOG_INFO, "%s: removed", d->name);
	free(d->socket);
	free(d);
	pthread_mutex_unlock(&server->lock);
	if (name && found)
		serve_send(server->config->tell,
			   &(struct serve_message){.kind = SERVE_GONE, .id = found}, NULL, -1);
	return ret;
}

/* ---- what the keeper tells ---- */

static void answer(struct server *server, const struct serve_message *msg, int ret,
		   const char *text)
{
	const struct serve_message done = {.kind = SERVE_DONE, .value = ret, .id = msg->id};

	serve_send(server->config->tell, &done, text, -1);
}

static void listen_to_keeper(struct server *server)
{
	static const char no_socket[] = "no socket came with it";
	char *text = malloc(SERVE_MAX_TEXT);
	struct serve_message msg;
	char name[16];
	int fd, ret;

	while (text && serve_receive(server->config->tell, &msg, text, &fd) == 1) {
		struct uvfio_error err = {""};

		switch (msg.kind) {
		case SERVE_ADD:
			ret = -EPROTO;
			if (fd < 0)
				uvfio_error_set(&err, ret, no_socket);
			else
				ret = add_device(server, msg.id, text, fd, name, &err);
			answer(server, &msg, ret, ret ? err.msg : name);
			break;
		case SERVE_REMOVE:
			ret = remove_device(server, msg.id, NULL, &err);
			answer(server, &msg, ret, err.msg);
			break;
		default: /* END */
			free(text);
			return;
		}
	}
	free(text);
}

/* ---- */

static int start(struct server *server, struct uvfio_error *err)
{
	const struct serve_config *config = server->config->config;
	const struct vfio_file_ops ops = {ask_open, ask_connect, server};
	bool landlock = true;
	int ret;

	if (!config->unconfined) {
		ret = serve_confine(server->config->identity, &landlock, err);
		if (ret)
			return ret;
	}
	server->log = uvfio_log_new(2, config->verbose ? UVFIO_LOG_DEBUG : UVFIO_LOG_WARN);
	if (!landlock)
		uvfio_log(server->log, UVFIO_LOG_WARN,
			  "this kernel has no Landlock (or it is not in lsm=), so io_uring is not "
			  "used: it could open files past the seccomp filter");
	server->machine = vfio_machine_new(&config->policy, server->log, err);
	if (!server->machine)
		return -ENOMEM;
	if (!config->unconfined)
		vfio_machine_set_file_ops(server->machine, &ops);
	for (unsigned i = 0; i < config->nr_models; i++) {
		ret = vfio_machine_add_model(server->machine, config->models[i]);
		if (ret)
			return uvfio_error_set(err, ret, "the model %s cannot be used: %s",
					       config->models[i]->name, strerror(-ret));
	}
	server->wire = wire_server_new(server->machine, server->log, err);
	return server->wire ? 0 : -ENOMEM;
}

static void stop(struct server *server)
{
	wire_server_free(server->wire); /* every client is disconnected, every device quiet */
	while (server->devices) {
		struct served *d = server->devices;

		server->devices = d->next;
		free(d->socket);
		free(d);
	}
	vfio_machine_free(server->machine);
	uvfio_log_free(server->log);
}

int serve_server(const struct serve_server_config *config)
{
	struct server server = {.config = config};
	struct serve_message started = {.kind = SERVE_STARTED};
	struct uvfio_error err = {""};

	pthread_mutex_init(&server.lock, NULL);
	signal(SIGPIPE, SIG_IGN);
	if (chdir("/")) { /* do not keep a file system busy */
	}
	started.value = start(&server, &err);
	serve_send(config->tell, &started, err.msg, -1);
	if (!started.value)
		listen_to_keeper(&server);
	stop(&server);
	pthread_mutex_destroy(&server.lock);
	return started.value ? 1 : 0;
}
