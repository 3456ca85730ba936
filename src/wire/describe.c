/* SPDX-License-Identifier: BSD-3-Clause */
/* What control shows of a device's connections. */
#include <json-c/json.h>
#include <stdlib.h>
#include <string.h>
#include "wire/wire.h"

static struct json_object *describe_client(const struct wire_connection_info *info)
{
	struct json_object *out = json_object_new_object();

	json_object_object_add(out, "state", json_object_new_string(info->state));
	json_object_object_add(out, "pid", json_object_new_int(info->pid));
	json_object_object_add(out, "uid", json_object_new_int64(info->uid));
	json_object_object_add(out, "messages", json_object_new_uint64(info->messages));
	json_object_object_add(out, "errors", json_object_new_uint64(info->errors));
	json_object_object_add(out, "bytes_in", json_object_new_uint64(info->bytes_in));
	json_object_object_add(out, "bytes_out", json_object_new_uint64(info->bytes_out));
	return out;
}

void wire_describe(struct wire_server *server, const char *device, struct json_object *out)
{
	unsigned room = wire_connections(server, NULL, 0) + 4, nr;
	struct wire_connection_info *list = calloc(room, sizeof(*list));
	struct json_object *clients = json_object_new_array();

	nr = list ? wire_connections(server, list, room) : 0;
	for (unsigned i = 0; i < nr && i < room; i++)
		if (!strcmp(list[i].device, device))
			json_object_array_add(clients, describe_client(&list[i]));
	json_object_object_add(out, "clients", clients);
	free(list);
}
