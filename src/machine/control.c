/* SPDX-License-Identifier: BSD-3-Clause */
/* Control of a machine in somebody's process. */
#include <errno.h>
#include <json-c/json.h>
#include <string.h>
#include "machine/own.h"

static int refuse_add(void *arg, const struct control_add *add, char name[16],
		      struct uvfio_error *err)
{
	return uvfio_error_set(err, -EOPNOTSUPP,
			       "the program adds devices to its machine (uvfio_machine_add()), and "
			       "nobody else does");
}

static int refuse_join(void *arg, int sock, uid_t uid, struct uvfio_error *err)
{
	close(sock);
	return uvfio_error_set(
		err, -EOPNOTSUPP,
		"this machine is a program's own (uvfio/machine.h), and others drive "
		"its devices by their sockets; one that programs can join is what "
		"`uvfio serve` has");
}

/* [worker] */
static int remove_device(void *arg, const char *name, enum control_removal how,
			 struct uvfio_error *err)
{
	static const enum uvfio_machine_removal ways[] = {
		[CONTROL_ASK] = UVFIO_MACHINE_ASK,
		[CONTROL_FORCE] = UVFIO_MACHINE_FORCE,
		[CONTROL_SURPRISE] = UVFIO_MACHINE_SURPRISE,
	};
	int ret = own_remove(arg, name, ways[how], NULL, NULL, err);

	if (ret && ret != -EALREADY)
		return ret;
	ret = own_wait_gone(arg, name, -1);
	return ret ? uvfio_error_set(err, ret, "%s: the program ends", name) : 0;
}

static void describe(void *arg, struct vfio_device *dev, struct json_object *out)
{
	struct uvfio_machine *machine = arg;
	struct own_device *d;

	pthread_mutex_lock(&machine->lock);
	d = own_find_locked(machine, vfio_device_name(dev));
	if (d && d->socket.path[0])
		json_object_object_add(out, "socket", json_object_new_string(d->socket.path));
	pthread_mutex_unlock(&machine->lock);
	wire_describe(machine->wire, vfio_device_name(dev), out);
}

static int open_control(struct uvfio_machine *machine, const char *path, struct uvfio_error *err)
{
	static const struct control_ops ops = {refuse_add, remove_device, describe, refuse_join};
	const struct control_config config = {
		.name = machine->name,
		.command = "program",
		.ops = &ops,
		.ops_arg = machine,
		.uid = geteuid(),
		.log = machine->log,
	};
	char own[CONTROL_PATH_MAX];
	int fd, ret;

	if (!strchr(path, '/')) {
		ret = control_path(path, own, err);
		if (ret)
			return ret;
		path = own;
	}
	fd = own_listen(&machine->control_socket, path, 0600, NULL, err);
	if (fd < 0)
		return fd;
	machine->control = control_new(machine->machine, fd, &config, err);
	if (machine->control)
		return 0;
	close(fd);
	own_unlink(&machine->control_socket);
	machine->control_socket.path[0] = '\0';
	return -ENOMEM;
}

int uvfio_machine_control(struct uvfio_machine *machine, const char *path, struct uvfio_error *err)
{
	bool taken;
	int ret = own_enter(machine, err);

	if (ret)
		return ret;
	pthread_mutex_lock(&machine->lock);
	taken = machine->control_taken;
	machine->control_taken = true;
	pthread_mutex_unlock(&machine->lock);
	ret = taken ? uvfio_error_set(err, -EBUSY, "this machine has a control socket")
		    : open_control(machine, path, err);
	if (ret && !taken) {
		pthread_mutex_lock(&machine->lock);
		machine->control_taken = false;
		pthread_mutex_unlock(&machine->lock);
	}
	own_leave();
	return ret;
}
