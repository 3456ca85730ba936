/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * JSON-RPC 2.0: requests, notifications, batches, and errors with the standard's codes.
 */
#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include "control/control_private.h"

const struct method rpc_methods[] = {
	{"version", method_version, {NULL}},
	{"models", method_models, {NULL}},
	{"list", method_list, {"offset", "limit"}},
	{"show", method_show, {"device", "mappings_from", "mappings_limit"}},
	{"lspci", method_lspci, {"device", "offset", "limit"}},
	{"stats", method_stats, {"device", "offset", "limit"}},
	{"faults", method_faults, {"device", "offset", "limit"}},
	{"reset", method_reset, {"device"}},
	{"inject", method_inject, {"device", "what", "error", "count", "time_ns"}},
	{"set", method_set, {"device", "name", "value"}},
	{"add", method_add, {"device", "fds"}},
	{"remove", method_remove, {"device", "force", "surprise"}},
	{"migrate",
	 method_migrate,
	 {"device", "fds", "bandwidth", "downtime_ns", "timeout_ns", "progress"}},
	{"save", method_migrate, {"device", "fds", "bandwidth", "timeout_ns", "progress"}},
	{"restore", method_restore, {"device", "fds", "timeout_ns", "force", "progress"}},
	{"migrate_cancel", method_migrate_cancel, {"device"}},
	{"resume", method_resume, {"device", "force", "gone"}},
	{"join", method_join, {"fds"}},
	{"open", method_open, {"name"}},
	{"upgrade", method_upgrade, {NULL}},
	{"trace", method_trace, {"device", "events"}},
	{"untrace", method_untrace, {"subscription"}},
};
const unsigned rpc_nr_methods = sizeof(rpc_methods) / sizeof(rpc_methods[0]);

#define MAX_PARAMS (sizeof(rpc_methods[0].params) / sizeof(rpc_methods[0].params[0]))

/* ---- errors ---- */

struct json_object *rpc_fail(struct rpc_error *err, int code, int error, const char *fmt, ...)
{
	va_list ap;

	err->code = code;
	err->error = error;
	va_start(ap, fmt);
	vsnprintf(err->msg.msg, sizeof(err->msg.msg), fmt, ap);
	va_end(ap);
	return NULL;
}

static struct json_object *error_object(const struct rpc_error *err)
{
	struct json_object *error = json_object_new_object(), *data;
	const char *name = err->error < 0 ? strerrorname_np(-err->error) : NULL;

	json_object_object_add(error, "code", json_object_new_int(err->code));
	json_put_string(error, "message", err->msg.msg);
	if (name) {
		data = json_object_new_object();
		json_put_string(data, "errno", name);
		json_object_object_add(error, "data", data);
	}
	return error;
}

static struct json_object *answer_new(struct json_object *id)
{
	struct json_object *answer = json_object_new_object();

	json_put_string(answer, "jsonrpc", "2.0");
	json_object_object_add(answer, "id", json_object_get(id));
	return answer;
}

struct json_object *rpc_error_message(struct json_object *id, const struct rpc_error *err)
{
	struct json_object *answer = answer_new(id);

	json_object_object_add(answer, "error", error_object(err));
	return answer;
}

/* ---- answering ---- */

static void batch_put(struct client *client, struct batch *batch)
{
	if (--batch->pending)
		return;
	if (json_object_array_length(batch->answers))
		client_send(client, batch->answers);
	json_object_put(batch->answers);
	free(batch);
}

static void batch_add(struct batch *batch, struct json_object *answer)
{
	struct rpc_error err = {0};
	struct json_object *id;
	size_t len;

	json_object_to_json_string_length(
		answer, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE, &len);
	if (batch->bytes + len > MAX_BATCH_SIZE) {
		id = NULL;
		json_object_object_get_ex(answer, "id", &id);
		rpc_fail(&err, RPC_BUSY, -E2BIG,
			 "the answers to the batch have become too long; ask for this alone");
		json_object_array_add(batch->answers, rpc_error_message(id, &err));
		return;
	}
	batch->bytes += len;
	json_object_array_add(batch->answers, json_object_get(answer));
}

void call_finish(struct call *call, struct json_object *result, const struct rpc_error *err)
{
	struct client *client = call->client;
	struct json_object *answer = NULL;

	if (!call->notification && client->fd >= 0) {
		if (err->code) {
			answer = rpc_error_message(call->id, err);
		} else {
			answer = answer_new(call->id);
			json_object_object_add(answer, "result", json_object_get(result));
		}
		if (call->batch)
			batch_add(call->batch, answer);
		else
			client_send(client, answer);
		json_object_put(answer);
	}
	json_object_put(result);
	if (call->batch)
		batch_put(client, call->batch);
	json_object_put(call->id);
	free(call);
	client->nr_calls--;
	client_done(client);
	client_put(client);
}

/* ---- parameters ---- */

static struct json_object *get(struct json_object *params, const char *name)
{
	struct json_object *value = NULL;

	if (params)
		json_object_object_get_ex(params, name, &value);
	return value;
}

bool param_string(struct json_object *params, const char *name, const char **out,
		  struct rpc_error *err)
{
	struct json_object *value = get(params, name);

	*out = NULL;
	if (!value)
		return true;
	if (json_object_is_type(value, json_type_string)) {
		*out = json_object_get_string(value);
		if (strlen(*out) == (size_t)json_object_get_string_len(value))
			return true;
	}
	rpc_fail(err, RPC_INVALID_PARAMS, -EINVAL, "\"%s\" must be a string without zero bytes",
		 name);
	return false;
}

bool param_bool(struct json_object *params, const char *name, bool *out, struct rpc_error *err)
{
	struct json_object *value = get(params, name);

	if (!value)
		return true;
	if (!json_object_is_type(value, json_type_boolean)) {
		rpc_fail(err, RPC_INVALID_PARAMS, -EINVAL, "\"%s\" must be true or false", name);
		return false;
	}
	*out = json_object_get_boolean(value);
	return true;
}

bool param_uint(struct json_object *params, const char *name, uint64_t max, uint64_t *out,
		struct rpc_error *err)
{
	struct json_object *value = get(params, name);

	if (!value)
		return true;
	/* The range that a double does not bend is enough. */
	if (json_object_is_type(value, json_type_int) && json_object_get_int64(value) >= 0 &&
	    (uint64_t)json_object_get_int64(value) <= max) {
		*out = (uint64_t)json_object_get_int64(value);
		return true;
	}
	rpc_fail(err, RPC_INVALID_PARAMS, -EINVAL, "\"%s\" must be a number from 0 to %llu", name,
		 (unsigned long long)max);
	return false;
}

struct vfio_device *param_device(struct client *client, struct json_object *params,
				 struct rpc_error *err)
{
	struct vfio_device *dev;
	struct pci_addr addr;
	const char *name;
	char full[16];

	if (!param_string(params, "device", &name, err))
		return NULL;
	if (!name) {
		rpc_fail(err, RPC_INVALID_PARAMS, -EINVAL, "\"device\" is missing");
		return NULL;
	}
	if (pci_addr_parse(name, &addr)) {
		rpc_fail(err, RPC_INVALID_PARAMS, -EINVAL,
			 "'%.40s' is no PCI address; one looks like 0000:01:00.0", name);
		return NULL;
	}
	pci_addr_format(&addr, full);
	dev = vfio_machine_get_device(client->control->machine, full);
	if (!dev)
		rpc_fail(err, RPC_NO_DEVICE, -ENODEV,
			 "there is no device %s here; `uvfio list` shows those that are", full);
	return dev;
}

/* By position to by name.  NULL with @err. */
static struct json_object *name_params(const struct method *method, struct json_object *array,
				       struct rpc_error *err)
{
	size_t n = json_object_array_length(array);
	struct json_object *object;

	if (n > MAX_PARAMS || (n && !method->params[n - 1]))
		return rpc_fail(err, RPC_INVALID_PARAMS, -EINVAL, "%s takes fewer parameters",
				method->name);
	object = json_object_new_object();
	for (size_t i = 0; i < n; i++)
		json_object_object_add(object, method->params[i],
				       json_object_get(json_object_array_get_idx(array, i)));
	return object;
}

static bool check_names(const struct method *method, struct json_object *params,
			struct rpc_error *err)
{
	json_object_object_foreach(params, key, value)
	{
		char names[200] = "";
		size_t len = 0;
		bool known = false;

		for (unsigned i = 0; i < MAX_PARAMS && method->params[i]; i++) {
			known |= !strcmp(key, method->params[i]);
			len += (size_t)snprintf(names + len, sizeof(names) - len, "%s%s",
						i ? ", " : "", method->params[i]);
		}
		if (!known) {
			rpc_fail(err, RPC_INVALID_PARAMS, -EINVAL,
				 "%s has no parameter \"%.40s\"; it takes: %s", method->name, key,
				 len ? names : "none");
			return false;
		}
	}
	return true;
}

/* ---- requests ---- */

static const struct method *find(const char *name)
{
	for (unsigned i = 0; i < rpc_nr_methods; i++) {
		if (!strcmp(rpc_methods[i].name, name))
			return &rpc_methods[i];
	}
	return NULL;
}

static struct json_object *run(struct call *call, struct json_object *request,
			       struct rpc_error *err)
{
	struct json_object *params = NULL, *named, *result, *name = NULL;
	const struct method *method;

	json_object_object_get_ex(request, "method", &name);
	method = find(json_object_get_string(name));
	if (!method)
		return rpc_fail(err, RPC_METHOD_NOT_FOUND, 0,
				"there is no method '%.40s'; `version` lists them",
				json_object_get_string(name));
	json_object_object_get_ex(request, "params", &params);
	if (json_object_is_type(params, json_type_array))
		named = name_params(method, params, err);
	else
		named = json_object_get(params);
	if (err->code)
		return NULL;
	result = NULL;
	if (!named || check_names(method, named, err))
		result = method->run(call, named, err);
	json_object_put(named);
	return result;
}

/* Is @request a request at all?  If not, what is wrong with it. */
static const char *malformed(struct json_object *request)
{
	struct json_object *value;

	if (!json_object_is_type(request, json_type_object))
		return "a request is an object";
	if (!json_object_object_get_ex(request, "jsonrpc", &value) ||
	    !json_object_is_type(value, json_type_string) ||
	    strcmp(json_object_get_string(value), "2.0") != 0)
		return "\"jsonrpc\" must be \"2.0\"";
	if (!json_object_object_get_ex(request, "method", &value) ||
	    !json_object_is_type(value, json_type_string))
		return "\"method\" must be a string";
	if (json_object_object_get_ex(request, "params", &value) &&
	    !json_object_is_type(value, json_type_object) &&
	    !json_object_is_type(value, json_type_array))
		return "\"params\" must be an object or an array";
	return NULL;
}

/* The id of what may be a request; false when it cannot be one. */
static bool take_id(struct json_object *request, struct json_object **id, bool *notification)
{
	*id = NULL;
	*notification = false;
	if (!json_object_is_type(request, json_type_object))
		return true;
	if (!json_object_object_get_ex(request, "id", id)) {
		*notification = true;
		return true;
	}
	switch (json_object_get_type(*id)) {
	case json_type_double:
		/* The parser knows NaN, which is not JSON. */
		if (!isfinite(json_object_get_double(*id))) {
			*id = NULL;
			return false;
		}
		/* fall through */
	case json_type_null:
	case json_type_string:
	case json_type_int:
		json_object_get(*id);
		return true;
	default:
		*id = NULL;
		return false;
	}
}

static void handle(struct client *client, struct json_object *request, struct batch *batch)
{
	struct call *call = calloc(1, sizeof(*call));
	struct json_object *result = NULL;
	struct rpc_error err = {0};
	const char *wrong;
	bool id_valid;

	if (!call) {
		control_drop(client);
		return;
	}
	client_get(client);
	client->nr_calls++;
	call->client = client;
	call->batch = batch;
	if (batch)
		batch->pending++;
	id_valid = take_id(request, &call->id, &call->notification);
	wrong = malformed(request);
	if (!wrong && !id_valid)
		wrong = "\"id\" must be a string, a number or null";
	if (wrong) {
		call->notification = false; /* whatever it is, it is no notification */
		rpc_fail(&err, RPC_INVALID_REQUEST, 0, "%s", wrong);
	} else {
		result = run(call, request, &err);
		if (call->later)
			return;
	}
	call_finish(call, result, &err);
}

void rpc_message(struct client *client, struct json_object *message)
{
	struct rpc_error err = {0};
	struct json_object *answer;
	struct batch *batch;
	size_t n;

	if (!json_object_is_type(message, json_type_array)) {
		handle(client, message, NULL);
		return;
	}
	n = json_object_array_length(message);
	batch = n && n <= MAX_BATCH ? calloc(1, sizeof(*batch)) : NULL;
	if (!batch) {
		rpc_fail(&err, RPC_INVALID_REQUEST, 0, "a batch has 1 to %u requests", MAX_BATCH);
		answer = rpc_error_message(NULL, &err);
		client_send(client, answer);
		json_object_put(answer);
		return;
	}
	batch->answers = json_object_new_array();
	batch->pending = 1;
	for (size_t i = 0; i < n; i++)
		handle(client, json_object_array_get_idx(message, i), batch);
	batch_put(client, batch);
}
