/* SPDX-License-Identifier: BSD-3-Clause */
/* `uvfio set DEVICE NAME=VALUE...`: change what the host can change of a device. */
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/remote.h"

#define MAX_SETTINGS 16

/* One NAME=VALUE: 0, or what to exit with and a message. */
static int set_one(struct remote *r, const char *device, const char *word)
{
	struct json_object *params = remote_device_params(device), *result;
	const char *equals = strchr(word, '=');

	json_object_object_add(params, "name",
			       json_object_new_string_len(word, (int)(equals - word)));
	json_object_object_add(params, "value", json_object_new_string(equals + 1));
	result = remote_call(r, "set", params);
	json_object_put(result);
	return result ? 0 : 1;
}

int cmd_set(int argc, char **argv)
{
	static const struct remote_command command = {
		.name = "set",
		.arguments = "DEVICE NAME=VALUE...",
		.help = "Changes what the host can change of a device, one after the other:\n"
			"  numvfs=N                        a PF: have N VFs, 0: none; waits for the users\n"
			"                                  of those that go\n"
			"  sriov-drivers-autoprobe=on|off  a PF: new VFs are bound to vfio-pci, or to nothing\n"
			"  msix-vectors=N                  a VF: have N vectors of its PF's pool, 0: as many\n"
			"                                  as at first",
		.min = 2,
		.max = MAX_SETTINGS + 1,
	};
	struct remote_options o;
	struct remote r;
	int ret = remote_options(&command, argc, argv, &o);

	for (int i = 1; ret < 0 && i < o.nr_args; i++) {
		if (strchr(o.args[i], '='))
			continue;
		fprintf(stderr, "uvfio set: '%s': give NAME=VALUE, like numvfs=4\n", o.args[i]);
		ret = EXIT_USAGE;
	}
	if (ret >= 0)
		return ret;
	ret = remote_open(&command, &o, &r);
	for (int i = 1; !ret && i < o.nr_args; i++)
		ret = set_one(&r, o.args[0], o.args[i]);
	remote_close(&r);
	return ret;
}
