/* SPDX-License-Identifier: BSD-3-Clause */
/* Devices: models, adding, connections, sockets. */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include "machine/own.h"
#include "serve/spec.h"
#include "vfio/observe.h"
#include "vfio/sriov.h"

struct own_device *own_find_locked(struct uvfio_machine *machine, const char *name)
{
	struct own_device *d = machine->devices;

	while (d && (d->removing || strcmp(d->name, name) != 0))
		d = d->next;
	return d;
}

int own_no_device(const char *name, struct uvfio_error *err)
{
	return uvfio_error_set(err, -ENODEV, "there is no device %s", name);
}

/* ---- models ---- */

/* ->turn is held. */
static int add_model(struct uvfio_machine *machine, const struct uvfio_model *model,
		     struct uvfio_error *err)
{
	const struct uvfio_model **models;
	int ret;

	for (unsigned i = 0; i < machine->nr_models; i++)
		if (machine->models[i] == model)
			return 0;
	models = realloc(machine->models, (machine->nr_models + 1) * sizeof(*models));
	if (!models)
		return uvfio_error_set(err, -ENOMEM, "out of memory");
	machine->models = models;
	ret = vfio_model_check("the model", model, err);
	if (ret)
		return ret;
	ret = vfio_machine_add_model(machine->machine, model);
	if (ret)
		return uvfio_error_set(err, ret, "model %s: %s", model->name,
				       ret == -EEXIST ? "another one has this name"
						      : strerror(-ret));
	models[machine->nr_models++] = model;
	return 0;
}

int uvfio_machine_add_model(struct uvfio_machine *machine, const struct uvfio_model *model,
			    struct uvfio_error *err)
{
	int ret = own_enter(machine, err);

	if (ret)
		return ret;
	pthread_mutex_lock(&machine->turn);
	ret = add_model(machine, model, err);
	pthread_mutex_unlock(&machine->turn);
	own_leave();
	return ret;
}

/* If @spec names a shared object, load it and put its model's name in its place.  ->turn is held.
 */
static int load_model(struct uvfio_machine *machine, char **spec, struct uvfio_error *err)
{
	const struct uvfio_model *model = NULL;
	char *path, *out, *named, *in = *spec;
	int ret;

	path = out = malloc(strlen(in) + 1);
	if (!path)
		return uvfio_error_set(err, -ENOMEM, "out of memory");
	for (; *in; *out++ = *in++)
		if (*in == ',' && *++in != ',') {
			in--;
			break;
		}
	*out = '\0';
	ret = strchr(path, '/') ? vfio_model_load(path, &model, err) : 0;
	free(path);
	if (ret || !model)
		return ret;
	ret = add_model(machine, model, err);
	if (ret)
		return ret;
	if (asprintf(&named, "%s%s", model->name, in) < 0)
		return uvfio_error_set(err, -ENOMEM, "out of memory");
	vfio_token_wipe_text(*spec);
	free(*spec);
	*spec = named;
	return 0;
}

/* ---- sockets ---- */

static int group_id(const char *name, gid_t *gid, struct uvfio_error *err)
{
	struct group group, *found = NULL;
	char buf[4096];

	*gid = (gid_t)-1;
	if (!name)
		return 0;
	if (getgrnam_r(name, &group, buf, sizeof(buf), &found) || !found)
		return uvfio_error_set(err, -EINVAL, "there is no group '%s' (getent group)", name);
	*gid = group.gr_gid;
	return 0;
}

int own_listen(struct own_socket *socket, const char *path, mode_t mode, const char *group,
	       struct uvfio_error *err)
{
	struct stat st;
	gid_t gid;
	int fd, ret = group_id(group, &gid, err);

	if (ret)
		return ret;
	fd = control_listen(path, gid == (gid_t)-1 ? mode : 0600, err);
	if (fd < 0)
		return fd;
	snprintf(socket->path, sizeof(socket->path), "%s", path);
	ret = lstat(path, &st) ? -errno : 0;
	socket->dev = st.st_dev;
	socket->ino = st.st_ino;
	if (!ret && gid != (gid_t)-1)
		ret = control_socket_rights(path, gid, mode);
	if (!ret)
		return fd;
	uvfio_error_set(err, ret, "the socket %s: %s", path, strerror(-ret));
	close(fd);
	own_unlink(socket);
	socket->path[0] = '\0';
	return ret;
}

void own_unlink(const struct own_socket *socket)
{
	struct stat st;

	if (socket->path[0] && !lstat(socket->path, &st) && st.st_dev == socket->dev &&
	    st.st_ino == socket->ino)
		unlink(socket->path);
}

/* ---- add ---- */

/* The name and the mode of the device that was made last, by whose turn it is. */
static void newest_device(struct uvfio_machine *machine, char name[UVFIO_MACHINE_NAME], int *mmio)
{
	struct vfio_device **devs = NULL;
	unsigned nr = vfio_machine_get_devices(machine->machine, &devs);

	for (unsigned i = nr; i; i--) {
		if (vfio_device_physfn(devs[i - 1])) /* numvfs= has made it */
			continue;
		snprintf(name, UVFIO_MACHINE_NAME, "%s", vfio_device_name(devs[i - 1]));
		*mmio = vfio_device_mmio(devs[i - 1]);
		break;
	}
	vfio_devices_put(devs, nr);
}

static void wire_settings(const struct serve_spec *spec, int mmio, struct wire_options *options)
{
	wire_options_default(options);
	if (spec->spin_given)
		options->spin_us = spec->spin_us;
	if (spec->mmap_given ? spec->mmap : mmio == 'p')
		options->mmio = VFIO_MMIO_POLLED;
}

/* ->turn is held. */
static int add(struct uvfio_machine *machine, struct serve_spec *spec, struct own_device *d,
	       struct uvfio_error *err)
{
	struct wire_options options;
	int fd = -1, mmio = 0, ret = load_model(machine, &spec->device, err);

	if (!ret && spec->vf_sockets)
		ret = uvfio_error_set(
			err, -EINVAL,
			"vf-sockets=: `uvfio serve` has it; uvfio_machine_connect() gives "
			"VFs to clients");
	if (!ret && spec->socket) {
		if (!strncmp(spec->socket, "fd:", 3))
			return uvfio_error_set(err, -EINVAL,
					       "socket=%s: hand the descriptor to "
					       "uvfio_machine_listen()",
					       spec->socket);
		fd = own_listen(&d->socket, spec->socket, spec->mode, spec->group, err);
		ret = fd < 0 ? fd : 0;
		d->has_socket = !ret;
	}
	if (!ret)
		ret = vfio_machine_add_device(machine->machine, spec->device, err);
	if (ret) {
		if (fd >= 0)
			close(fd);
		return ret;
	}
	newest_device(machine, d->name, &mmio);
	wire_settings(spec, mmio, &options);
	ret = wire_listen(machine->wire, d->name, fd, &options, &d->listener, err);
	if (ret)
		vfio_machine_remove_device(machine->machine, d->name, 0, NULL, NULL, NULL);
	return ret;
}

int uvfio_machine_add(struct uvfio_machine *machine, const char *device,
		      char name[UVFIO_MACHINE_NAME], struct uvfio_error *err)
{
	struct own_device *d;
	struct serve_spec spec;
	int ret = own_enter(machine, err);

	if (ret)
		return ret;
	ret = serve_spec_parse(device, &spec, err);
	d = calloc(1, sizeof(*d));
	if (!ret && !d)
		ret = uvfio_error_set(err, -ENOMEM, "out of memory");
	if (!ret) {
		pthread_mutex_lock(&machine->turn);
		ret = add(machine, &spec, d, err);
		if (!ret) {
			pthread_mutex_lock(&machine->lock);
			d->next = machine->devices;
			machine->devices = d;
			if (name)
				memcpy(name, d->name, sizeof(d->name));
			pthread_mutex_unlock(&machine->lock);
		}
		pthread_mutex_unlock(&machine->turn);
	}
	if (ret && d) {
		own_unlink(&d->socket);
		free(d);
	}
	serve_spec_fini(&spec);
	own_leave();
	return ret;
}

int uvfio_machine_listen(struct uvfio_machine *machine, const char *name, int fd,
			 struct uvfio_error *err)
{
	struct own_device *d;
	int ret = own_enter(machine, err);

	if (ret) {
		if (fd >= 0)
			close(fd);
		return ret;
	}
	pthread_mutex_lock(&machine->lock);
	d = own_find_locked(machine, name);
	if (!d || !d->listener)
		ret = own_no_device(name, err);
	else if (d->has_socket)
		ret = uvfio_error_set(err, -EBUSY, "%s has a socket already", name);
	if (ret) {
		if (fd >= 0)
			close(fd);
	} else {
		ret = wire_listener_open(d->listener, fd);
		d->has_socket = !ret;
		if (ret)
			uvfio_error_set(err, ret, "%s: descriptor %d is no listening stream socket",
					name, fd);
	}
	pthread_mutex_unlock(&machine->lock);
	own_leave();
	return ret;
}

/* What is not one of its own by that name alone: a VF, or with a token. */
static int connect_by_name(struct uvfio_machine *machine, const char *name, struct uvfio_error *err)
{
	struct uvfio_error why = {""};
	struct wire_options options;
	int fd;

	wire_options_default(&options);
	fd = wire_open_device(machine->wire, name, &options, &why);
	return fd < 0 ? uvfio_error_set(err, fd, "%s", why.msg) : fd;
}

int uvfio_machine_connect(struct uvfio_machine *machine, const char *name, struct uvfio_error *err)
{
	int pair[2], ret = own_check(machine, err);
	struct own_device *d;

	if (ret)
		return ret;
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair))
		return uvfio_error_set(err, -errno, "making a pair of sockets: %s",
				       strerror(errno));
	pthread_mutex_lock(&machine->lock);
	d = own_find_locked(machine, name);
	if (!d) {
		pthread_mutex_unlock(&machine->lock);
		close(pair[0]);
		close(pair[1]);
		return connect_by_name(machine, name, err);
	}
	if (!d->listener) {
		ret = own_no_device(name, err);
		close(pair[1]);
	} else {
		ret = wire_adopt(d->listener, pair[1]);
		if (ret)
			uvfio_error_set(err, ret, "%s: %s", name,
					ret == -EMFILE ? "too many clients wait for it"
						       : strerror(-ret));
	}
	pthread_mutex_unlock(&machine->lock);
	if (!ret)
		return pair[0];
	close(pair[0]);
	return ret;
}
