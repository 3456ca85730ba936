/* SPDX-License-Identifier: BSD-3-Clause */
/* What control asks of the server.  Its workers' threads. */
#include <errno.h>
#include <fcntl.h>
#include <json-c/json.h>
#include <stdlib.h>
#include <string.h>
#include "control/control.h"
#include "join/host.h"
#include "serve/handover.h"
#include "serve/server_private.h"
#include "serve/vf_sockets.h"
#include "vfio/observe.h"
#include "vfio/sriov.h"
#include "wire/wire.h"

/* What this thread is adding for a client of control, with the files that came along. */
static _Thread_local const struct control_add *adding;

int server_file_that_came(const char *path, int flags)
{
	for (unsigned i = 0; adding && i < adding->nr_fds; i++) {
		const struct control_fd *file = &adding->fds[i];
		int mode, fd;

		if (strcmp(file->value, path) != 0 || !strcmp(file->key, "socket"))
			continue;
		mode = fcntl(file->fd, F_GETFL);
		if (mode < 0 || ((flags & O_ACCMODE) == O_RDWR && (mode & O_ACCMODE) != O_RDWR))
			return mode < 0 ? -errno : -EACCES;
		fd = fcntl(file->fd, F_DUPFD_CLOEXEC, 0);
		return fd < 0 ? -errno : fd;
	}
	return -ENOENT;
}

static int control_add_device(void *arg, const struct control_add *add, char name[16],
			      struct uvfio_error *err)
{
	struct server *server = arg;
	int fd = -1, ret;

	for (unsigned i = 0; i < add->nr_fds && fd < 0; i++)
		if (!strcmp(add->fds[i].key, "socket"))
			fd = fcntl(add->fds[i].fd, F_DUPFD_CLOEXEC, 0);
	if (fd < 0)
		return uvfio_error_set(err, -EINVAL,
				       "no listening socket came with it; say socket=PATH, and "
				       "`uvfio add` makes it");
	adding = add;
	ret = server_add_device(server, 0, add->spec, fd, name, err);
	adding = NULL;
	return ret;
}

static int control_remove_device(void *arg, const char *name, enum control_removal how,
				 struct uvfio_error *err)
{
	return server_remove_device(arg, 0, name, how, err);
}

static int control_join(void *arg, int sock, uid_t uid, struct uvfio_error *err)
{
	return join_host_connect(((struct server *)arg)->join, sock, uid, err);
}

static void control_describe(void *arg, struct vfio_device *dev, struct json_object *out)
{
	const char *name = vfio_device_name(dev);
	struct server *server = arg;
	struct served *d;

	pthread_mutex_lock(&server->lock);
	d = *server_find_locked(server, 0, name);
	if (d)
		json_object_object_add(out, "socket", json_object_new_string(d->socket));
	pthread_mutex_unlock(&server->lock);
	if (!d)
		server_vf_describe(server, name, out);
	wire_describe(server->wire, name, out);
}

/* A VF's connections are as those of its PF, but for what these present. */
static void vf_settings(struct server *server, const char *name, struct wire_options *options)
{
	char device[16] = "";
	struct vfio_device *dev, *pf;
	struct served *d;

	wire_options_default(options);
	memcpy(device, name, strnlen(name, 12));
	dev = vfio_machine_get_device(server->machine, device);
	pf = dev ? vfio_device_physfn(dev) : NULL;
	if (pf) {
		pthread_mutex_lock(&server->lock);
		d = *server_find_locked(server, 0, vfio_device_name(pf));
		if (d)
			*options = d->options;
		pthread_mutex_unlock(&server->lock);
	}
	if (dev)
		vfio_device_put(dev);
}

static int control_open(void *arg, const char *name, struct uvfio_error *err)
{
	struct server *server = arg;
	struct wire_options options;

	vf_settings(server, name, &options);
	return wire_open_device(server->wire, name, &options, err);
}

static void control_hang_up(void *arg, const char *name)
{
	wire_sever(((struct server *)arg)->wire, name);
}

static int control_upgrade(void *arg, struct uvfio_error *err)
{
	return server_upgrade(arg, err);
}

int server_start_control(struct server *server, struct uvfio_error *err)
{
	static const struct control_ops ops = {
		.add = control_add_device,
		.remove = control_remove_device,
		.describe = control_describe,
		.join = control_join,
		.open = control_open,
		.upgrade = control_upgrade,
		.hang_up = control_hang_up,
	};
	const struct serve_config *config = server->config->config;
	const struct control_config control = {
		.name = config->machine ? config->machine : CONTROL_DEFAULT_MACHINE,
		.command = "serve",
		.ops = &ops,
		.ops_arg = server,
		.uid = server->config->keeper_uid,
		.log = server->log,
	};

	if (server->config->control_fd < 0)
		return 0;
	server->control = control_new(server->machine, server->config->control_fd, &control, err);
	return server->control ? 0 : -ENOMEM;
}
