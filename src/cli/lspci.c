/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * `uvfio lspci [DEVICE]`: config space as `lspci -xxxx` dumps it, for `lspci -F`.
 */
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/remote.h"

#define LINE 16 /* bytes */

static void print_dump(struct json_object *d)
{
	const char *config = member_text(d, "config");
	size_t size = strlen(config) / 2;

	printf("%s %s\n", member_text(d, "device"), member_text(d, "model"));
	for (size_t at = 0; at + LINE <= size; at += LINE) {
		printf("%02zx:", at);
		for (size_t i = 0; i < LINE; i++)
			printf(" %.2s", config + 2 * (at + i));
		printf("\n");
	}
	printf("\n");
}

static int dump(struct remote *r, void *arg)
{
	const char *device = arg;
	struct json_object *result = remote_devices(r, "lspci", device), *devices;
	int ret = 0;

	if (!result)
		return 1;
	devices = member(result, "devices");
	for (size_t i = 0; devices && i < json_object_array_length(devices); i++) {
		struct json_object *d = json_object_array_get_idx(devices, i);

		if (!member_bool(d, "busy")) {
			print_dump(d);
			continue;
		}
		fprintf(stderr, "uvfio lspci: %s is being reset or configured; try again\n",
			member_text(d, "device"));
		ret = 1;
	}
	json_object_put(result);
	return ret;
}

int cmd_lspci(int argc, char **argv)
{
	static const struct remote_command command = {
		.name = "lspci",
		.arguments = "[DEVICE]",
		.help = "Dumps the config space of a device, or of all, as `lspci -xxxx` does, to be\n"
			"decoded: uvfio lspci >dump; lspci -F dump -vvv",
		.max = 1,
	};
	struct remote_options o;
	int ret = remote_options(&command, argc, argv, &o);

	if (ret >= 0)
		return ret;
	return remote_each(&command, &o, dump, o.nr_args ? o.args[0] : NULL);
}
