/* SPDX-License-Identifier: BSD-3-Clause */
/* `uvfio list`: the devices of the servers that run. */
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/remote.h"

struct listing {
	struct table *table;
	struct json_object *json;    /* an array, or NULL */
	struct json_object *results; /* an array: all, for what stands below the table */
	bool any;
};

/* "vfio-user pid 4711 (qemu-system-x86)" for each. */
static void users_text(struct json_object *device, char *out, size_t size)
{
	struct json_object *users = member(device, "users");
	size_t n = users ? json_object_array_length(users) : 0, len = 0;

	out[0] = '\0';
	for (size_t i = 0; i < n && len < size; i++) {
		struct json_object *user = json_object_array_get_idx(users, i);

		len += (size_t)snprintf(out + len, size - len, "%s%s", i ? ", " : "",
					member(user, "door") ? member_text(user, "door") : "open");
		if (member(user, "pid") && len < size)
			len += (size_t)snprintf(out + len, size - len, " pid %llu",
						(unsigned long long)member_uint(user, "pid"));
	}
}

static int list_one(struct remote *r, void *arg)
{
	struct json_object *result = remote_devices(r, "list", NULL), *devices;
	struct listing *listing = arg;
	char users[400];

	if (!result)
		return 1;
	if (listing->json) {
		json_object_object_add(result, "socket", json_object_new_string(r->path));
		json_object_array_add(listing->json, result);
		return 0;
	}
	devices = member(result, "devices");
	for (size_t i = 0; devices && i < json_object_array_length(devices); i++) {
		struct json_object *d = json_object_array_get_idx(devices, i);

		listing->any = true;
		users_text(d, users, sizeof(users));
		table_cell(listing->table, "%s", member_text(result, "machine"));
		table_cell(listing->table, "%s", member_text(d, "device"));
		table_cell(listing->table, "%s", member_text(d, "model"));
		table_cell(listing->table, "%04x:%04x", (unsigned)member_uint(d, "vendor_id"),
			   (unsigned)member_uint(d, "device_id"));
		table_cell(listing->table, "%s%u", member_bool(d, "noiommu") ? "noiommu-" : "",
			   (unsigned)member_uint(d, "group"));
		table_cell(listing->table, "%s", users[0] ? users : "-");
	}
	json_object_array_add(listing->results, result);
	return 0;
}

int cmd_list(int argc, char **argv)
{
	static const char *const heads[] = {"MACHINE", "DEVICE", "MODEL", "ID", "GROUP", "USERS"};
	static const struct remote_command command = {
		.name = "list",
		.arguments = "",
		.help = "Lists the devices of the servers that run.",
		.takes = REMOTE_JSON | REMOTE_ALL_MACHINES,
	};
	struct listing listing = {0};
	struct remote_options o;
	int ret = remote_options(&command, argc, argv, &o);

	if (ret >= 0)
		return ret;
	listing.results = json_object_new_array();
	if (o.given & REMOTE_JSON)
		listing.json = json_object_new_array();
	else
		listing.table = table_new(heads, 6);
	ret = remote_each(&command, &o, list_one, &listing);
	if (!listing.json) {
		table_print(listing.table, 0);
		if (!ret && !listing.any)
			printf("There are no devices.\n");
		for (size_t i = 0; i < json_object_array_length(listing.results); i++)
			print_taint(json_object_array_get_idx(listing.results, i));
		json_object_put(listing.results);
		return ret;
	}
	json_object_put(listing.results);
	print_machines(listing.json);
	return ret;
}
