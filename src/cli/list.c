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

/* Where @device is among devices: a VF stands below its PF. */
struct place {
	struct json_object *device;
	size_t pf;   /* place of the PF, or its own */
	uint64_t vf; /* 0: no VF; else from 1 */
};

static int compare_places(const void *a, const void *b)
{
	const struct place *p = a, *q = b;

	if (p->pf != q->pf)
		return p->pf < q->pf ? -1 : 1;
	return p->vf < q->vf ? -1 : p->vf > q->vf;
}

/* The devices of an answer, which come in the order of their making, as people look for them; the
 * caller's to free. */
static struct place *in_order(struct json_object *devices, size_t n)
{
	struct place *places = calloc(n + 1, sizeof(*places));
	struct json_object *pfs = json_object_new_object(), *pf;

	if (!places) {
		fprintf(stderr, "uvfio: out of memory\n");
		exit(1);
	}
	for (size_t i = 0; i < n; i++)
		json_object_object_add(pfs,
				       member_text(json_object_array_get_idx(devices, i), "device"),
				       json_object_new_uint64(i));
	for (size_t i = 0; i < n; i++) {
		struct json_object *d = json_object_array_get_idx(devices, i);

		pf = member(d, "physfn") ? member(pfs, member_text(d, "physfn")) : NULL;
		places[i].device = d;
		places[i].pf = pf ? (size_t)json_object_get_uint64(pf) : i;
		places[i].vf = pf ? member_uint(d, "vf") + 1 : 0;
	}
	json_object_put(pfs);
	qsort(places, n, sizeof(*places), compare_places);
	return places;
}

static int list_one(struct remote *r, void *arg)
{
	struct json_object *result = remote_devices(r, "list", NULL), *devices;
	struct listing *listing = arg;
	struct place *places;
	char users[400];
	size_t n;

	if (!result)
		return 1;
	if (listing->json) {
		json_object_object_add(result, "socket", json_object_new_string(r->path));
		json_object_array_add(listing->json, result);
		return 0;
	}
	devices = member(result, "devices");
	n = devices ? json_object_array_length(devices) : 0;
	places = in_order(devices, n);
	for (size_t i = 0; i < n; i++) {
		struct json_object *d = places[i].device;

		listing->any = true;
		users_text(d, users, sizeof(users));
		table_cell(listing->table, "%s", member_text(result, "machine"));
		table_cell(listing->table, "%s%s", places[i].vf ? "  " : "",
			   member_text(d, "device"));
		table_cell(listing->table, "%s", member_text(d, "model"));
		table_cell(listing->table, "%04x:%04x", (unsigned)member_uint(d, "vendor_id"),
			   (unsigned)member_uint(d, "device_id"));
		table_cell(listing->table, "%s%u", member_bool(d, "noiommu") ? "noiommu-" : "",
			   (unsigned)member_uint(d, "group"));
		table_cell(listing->table, "%s", users[0] ? users : "-");
	}
	free(places);
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
