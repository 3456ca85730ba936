/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * `open`: a connected vfio-user socket, by name and token (C), for who gives it to a client that
 * knows nothing of tokens.  It goes along with the answer.
 */
#include <errno.h>
#include <string.h>
#include <unistd.h>
#include "control/control_private.h"

struct json_object *method_open(struct call *call, struct json_object *params,
				struct rpc_error *err)
{
	struct client *client = call->client;
	const struct control *control = client->control;
	struct json_object *result, *list, *entry;
	char device[16] = "";
	const char *name;
	int fd;

	if (!control->ops->open)
		return rpc_fail(err, RPC_UNSUPPORTED, -EOPNOTSUPP,
				"`uvfio %s` has no vfio-user sockets; `uvfio serve` has",
				control->command);
	if (!param_string(params, "name", &name, err))
		return NULL;
	if (!name)
		return rpc_fail(
			err, RPC_INVALID_PARAMS, -EINVAL,
			"\"name\" is missing: a device, like 0000:01:00.0, and a token if it "
			"takes one: 0000:01:00.1 vf_token=UUID");
	if (call->batch || call->notification)
		return rpc_fail(
			err, RPC_INVALID_REQUEST, -EINVAL,
			"a socket comes with the answer to `open`: ask for it alone, with an "
			"id");
	if (client->nr_out_fds == MAX_OUT_FDS)
		return rpc_fail(err, RPC_BUSY, -EBUSY,
				"read the answers that have come; %u sockets wait in them",
				MAX_OUT_FDS);
	fd = control->ops->open(control->ops_arg, name, &err->msg);
	if (fd < 0) {
		err->code = fd == -ENODEV ? RPC_NO_DEVICE : fd == -EACCES ? RPC_DENIED : RPC_FAILED;
		err->error = fd;
		return NULL;
	}
	memcpy(device, name, strcspn(name, " "));
	entry = json_object_new_object();
	json_put_string(entry, "key", "vfio-user");
	list = json_object_new_array();
	json_object_array_add(list, entry);
	result = json_object_new_object();
	json_put_string(result, "device", device);
	json_object_object_add(result, "fds", list);
	client_send_fd(client, fd);
	return result;
}
