/* SPDX-License-Identifier: BSD-3-Clause */
/* `uvfio reset DEVICE` and `uvfio remove DEVICE`. */
#include <errno.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli/cli.h"
#include "cli/remote.h"

/* The socket where @device is served, "" when there is none. */
static int find_socket(struct remote *r, const char *device, char out[CONTROL_PATH_MAX])
{
	struct json_object *d = remote_call(r, "show", remote_device_params(device));

	snprintf(out, CONTROL_PATH_MAX, "%.*s", (int)CONTROL_PATH_MAX - 1,
		 member_text(member(d, "door"), "socket"));
	json_object_put(d);
	return d ? 0 : 1;
}

/* The server may not be able to remove the socket, nor be there when it was made. */
static void remove_socket(const char *path)
{
	struct stat st;

	if (path[0] == '/' && !lstat(path, &st) && S_ISSOCK(st.st_mode) &&
	    control_connect(path) == -ECONNREFUSED)
		unlink(path);
}

static int change(const struct remote_command *command, int argc, char **argv)
{
	struct json_object *params, *result = NULL;
	char socket[CONTROL_PATH_MAX] = "";
	struct remote_options o;
	struct remote r;
	int ret = remote_begin(command, argc, argv, &o, &r);

	if (ret >= 0)
		return ret;
	ret = command->takes & REMOTE_FORCE ? find_socket(&r, o.args[0], socket) : 0;
	if (!ret) {
		params = remote_device_params(o.args[0]);
		if (o.given & REMOTE_FORCE)
			json_object_object_add(params, "force", json_object_new_boolean(true));
		if (o.given & REMOTE_SURPRISE)
			json_object_object_add(params, "surprise", json_object_new_boolean(true));
		result = remote_call(&r, command->name, params);
		ret = !result;
	}
	if (!ret)
		remove_socket(socket);
	json_object_put(result);
	remote_close(&r);
	return ret;
}

int cmd_reset(int argc, char **argv)
{
	static const struct remote_command command = {
		.name = "reset",
		.arguments = "DEVICE",
		.help = "Resets the function, as writing to `reset` in sysfs does: also while it is in\n"
			"use; its config space and the interrupts of its users are kept.",
		.min = 1,
		.max = 1,
	};

	return change(&command, argc, argv);
}

int cmd_remove(int argc, char **argv)
{
	static const struct remote_command command = {
		.name = "remove",
		.arguments = "DEVICE",
		.help = "Removes the device: asks its users to let go of it, and waits until they have.",
		.min = 1,
		.max = 1,
		.takes = REMOTE_FORCE | REMOTE_SURPRISE,
	};

	return change(&command, argc, argv);
}
