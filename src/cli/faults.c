/* SPDX-License-Identifier: BSD-3-Clause */
/* `uvfio faults [DEVICE]`: DMA that was refused. */
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/remote.h"

struct listing {
	const char *device;
	struct table *table;
	struct json_object *json;
	struct json_object *results; /* an array: all, for what stands below the table */
	bool any;
};

static void add_device(struct table *t, struct json_object *d)
{
	struct json_object *faults = member(d, "faults");
	char when[48];

	for (size_t i = 0; faults && i < json_object_array_length(faults); i++) {
		struct json_object *f = json_object_array_get_idx(faults, i);

		table_cell(t, "%s", time_text(member_uint(f, "time_ns"), true, when));
		table_cell(t, "%s", member_text(d, "device"));
		table_cell(t, "%llu", (unsigned long long)member_uint(f, "number"));
		if (member_uint(f, "space"))
			table_cell(t, "%llu", (unsigned long long)member_uint(f, "space"));
		else
			table_cell(t, "-");
		table_cell(t, "%s", member_text(f, "access"));
		table_cell(t, "%#llx", (unsigned long long)member_uint(f, "iova"));
		table_cell(t, "%llu", (unsigned long long)member_uint(f, "length"));
		table_cell(t, "%s", member_text(f, "text"));
	}
}

static int list_faults(struct remote *r, void *arg)
{
	struct listing *listing = arg;
	struct json_object *result = remote_devices(r, "faults", listing->device), *devices;

	if (!result)
		return 1;
	if (listing->json) {
		json_object_array_add(listing->json, result);
		return 0;
	}
	devices = member(result, "devices");
	for (size_t i = 0; devices && i < json_object_array_length(devices); i++) {
		struct json_object *d = json_object_array_get_idx(devices, i);

		add_device(listing->table, d);
		listing->any |= member_uint(d, "total") != 0;
	}
	json_object_array_add(listing->results, result);
	return 0;
}

int cmd_faults(int argc, char **argv)
{
	static const char *const heads[] = {"TIME",   "DEVICE", "NUMBER", "SPACE",
					    "ACCESS", "IOVA",   "LENGTH", "REASON"};
	static const struct remote_command all = {
		.name = "faults",
		.arguments = "[DEVICE]",
		.help = "Shows the latest DMA transfers of a device, or of all, that were refused.",
		.max = 1,
		.takes = REMOTE_JSON | REMOTE_ALL_MACHINES,
	};
	struct remote_command command = all;
	struct listing listing = {0};
	struct remote_options o;
	int ret = remote_options(&command, argc, argv, &o);

	if (ret >= 0)
		return ret;
	if (o.nr_args) {
		listing.device = o.args[0];
		command.takes &= ~REMOTE_ALL_MACHINES;
	}
	listing.results = json_object_new_array();
	if (o.given & REMOTE_JSON)
		listing.json = json_object_new_array();
	else
		listing.table = table_new(heads, 8);
	ret = remote_each(&command, &o, list_faults, &listing);
	if (listing.json) {
		print_machines(listing.json);
	} else {
		table_print(listing.table, 0);
		if (!ret && !listing.any)
			printf("No DMA was refused.\n");
		for (size_t i = 0; i < json_object_array_length(listing.results); i++)
			print_taint(json_object_array_get_idx(listing.results, i));
	}
	json_object_put(listing.results);
	return ret;
}
