/* SPDX-License-Identifier: BSD-3-Clause */
/* `uvfio reset DEVICE` and `uvfio remove DEVICE`. */
#include "cli/cli.h"
#include "cli/remote.h"

static int change(const struct remote_command *command, int argc, char **argv)
{
	struct json_object *params, *result = NULL;
	struct remote_options o;
	struct remote r;
	int ret = remote_options(command, argc, argv, &o);

	if (ret >= 0)
		return ret;
	ret = remote_open(command, &o, &r);
	if (!ret) {
		params = remote_device_params(o.args[0]);
		if (o.given & REMOTE_FORCE)
			json_object_object_add(params, "force", json_object_new_boolean(true));
		result = remote_call(&r, command->name, params);
		ret = !result;
	}
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
		.takes = REMOTE_FORCE,
	};

	return change(&command, argc, argv);
}
