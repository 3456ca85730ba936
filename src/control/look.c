/* SPDX-License-Identifier: BSD-3-Clause */
/* Methods that tell what is there: version, models, list, lspci, faults. */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "control/control_private.h"

/* ---- short words ---- */

void json_put(struct json_object *object, const char *key, struct json_object *value)
{
	json_object_object_add(object, key, value);
}

void json_put_uint(struct json_object *object, const char *key, uint64_t value)
{
	json_put(object, key, json_object_new_uint64(value));
}

void json_put_string(struct json_object *object, const char *key, const char *value)
{
	json_put(object, key, json_object_new_string(value));
}

void json_put_bool(struct json_object *object, const char *key, bool value)
{
	json_put(object, key, json_object_new_boolean(value));
}

void json_put_taint(struct json_object *object, const struct control *control)
{
	unsigned taint = vfio_machine_taint(control->machine);
	struct json_object *list;

	if (!taint)
		return;
	list = json_object_new_array();
	for (enum vfio_taint i = 0; i < NR_VFIO_TAINTS; i++) {
		if (taint & 1u << i)
			json_object_array_add(list, json_object_new_string(vfio_taint_name(i)));
	}
	json_put(object, "taint", list);
}

/* The devices that a call is about: the one named, or a page of all; held, malloc'ed.  Puts
 * "total" and, when there are more, "next" into @out. */
static bool devices_page(struct call *call, struct json_object *params, struct json_object *out,
			 struct vfio_device ***devs, unsigned *nr, struct rpc_error *err)
{
	struct json_object *named = NULL;
	uint64_t offset = 0, limit = LIST_MAX;
	unsigned all;

	*devs = NULL;
	*nr = 0;
	if (params && json_object_object_get_ex(params, "device", &named) && named) {
		*devs = malloc(sizeof(**devs));
		if (*devs)
			**devs = param_device(call->client, params, err);
		if (!*devs || !**devs) {
			free(*devs);
			*devs = NULL;
			return false;
		}
		*nr = 1;
		return true;
	}
	if (!param_uint(params, "offset", UINT32_MAX, &offset, err) ||
	    !param_uint(params, "limit", UINT32_MAX, &limit, err))
		return false;
	if (limit > LIST_MAX)
		limit = LIST_MAX;
	all = vfio_machine_get_devices(call->client->control->machine, devs);
	json_put_uint(out, "total", all);
	/* Keep [offset, offset + limit) only. */
	for (unsigned i = 0; i < all; i++) {
		if (i < offset || i - offset >= limit)
			vfio_device_put((*devs)[i]);
		else
			(*devs)[(*nr)++] = (*devs)[i];
	}
	if (offset + *nr < all && *nr)
		json_put_uint(out, "next", offset + *nr);
	return true;
}

struct json_object *devices_each(struct call *call, struct json_object *params,
				 struct json_object *result,
				 struct json_object *(*fn)(struct vfio_device *dev),
				 struct rpc_error *err)
{
	struct vfio_device **devs;
	struct json_object *list;
	unsigned nr;

	if (!devices_page(call, params, result, &devs, &nr, err)) {
		json_object_put(result);
		return NULL;
	}
	json_put_taint(result, call->client->control);
	list = json_object_new_array();
	for (unsigned i = 0; i < nr; i++)
		json_object_array_add(list, fn(devs[i]));
	json_put(result, "devices", list);
	vfio_devices_put(devs, nr);
	return result;
}

/* ---- version ---- */

struct json_object *method_version(struct call *call, struct json_object *params,
				   struct rpc_error *err)
{
	const struct control *control = call->client->control;
	struct json_object *result = json_object_new_object();
	struct json_object *methods = json_object_new_array();

	json_put_string(result, "uvfio", UVFIO_VERSION);
	json_put_uint(result, "protocol", CONTROL_PROTOCOL);
	json_put_string(result, "machine", control->name);
	json_put_string(result, "command", control->command);
	json_put_uint(result, "pid", (uint64_t)getpid());
	json_put_taint(result, control);
	for (unsigned i = 0; i < rpc_nr_methods; i++)
		json_object_array_add(methods, json_object_new_string(rpc_methods[i].name));
	json_put(result, "methods", methods);
	return result;
}

/* ---- models ---- */

struct json_object *method_models(struct call *call, struct json_object *params,
				  struct rpc_error *err)
{
	struct vfio_machine *machine = call->client->control->machine;
	struct json_object *result = json_object_new_object(), *models = json_object_new_array();
	const struct uvfio_model *model;

	for (unsigned i = 0; (model = vfio_machine_model(machine, i)); i++) {
		struct json_object *entry = json_object_new_object();
		struct json_object *keys = json_object_new_array();

		json_put_string(entry, "model", model->name);
		if (model->summary)
			json_put_string(entry, "summary", model->summary);
		for (unsigned k = 0; k < model->nr_keys; k++) {
			struct json_object *key = json_object_new_object();

			json_put_string(key, "key", model->keys[k].name);
			if (model->keys[k].arg)
				json_put_string(key, "value", model->keys[k].arg);
			if (model->keys[k].help)
				json_put_string(key, "help", model->keys[k].help);
			json_object_array_add(keys, key);
		}
		json_put(entry, "keys", keys);
		json_object_array_add(models, entry);
	}
	json_put(result, "models", models);
	return result;
}

/* ---- list ---- */

#define SHOWN_USERS 16u

struct json_object *json_users(struct vfio_device *dev)
{
	struct vfio_opener o[SHOWN_USERS];
	unsigned n = vfio_device_openers(dev, o, SHOWN_USERS);
	struct json_object *users = json_object_new_array();

	for (unsigned i = 0; i < n && i < SHOWN_USERS; i++) {
		struct json_object *user = json_object_new_object();

		if (o[i].door[0])
			json_put_string(user, "door", o[i].door);
		if (o[i].pid)
			json_put_uint(user, "pid", (uint64_t)o[i].pid);
		if (o[i].uid >= 0)
			json_put_uint(user, "uid", (uint64_t)o[i].uid);
		json_put_uint(user, "since_ns", o[i].since);
		json_object_array_add(users, user);
	}
	return users;
}

static struct json_object *list_one(struct vfio_device *dev)
{
	const struct uvfio_pci_desc *desc = pci_func_desc(vfio_device_func(dev));
	struct json_object *one = json_object_new_object();

	json_put_string(one, "device", vfio_device_name(dev));
	json_put_string(one, "model", vfio_device_model(dev)->name);
	json_put_uint(one, "vendor_id", desc->vendor);
	json_put_uint(one, "device_id", desc->device);
	json_put_uint(one, "class", desc->class_code);
	json_put_uint(one, "group", vfio_device_group(dev));
	if (vfio_device_noiommu(dev))
		json_put_bool(one, "noiommu", true);
	json_put_driver(one, dev);
	json_put_sriov_brief(one, dev);
	json_put_uint(one, "open", vfio_device_openers(dev, NULL, 0));
	json_put(one, "users", json_users(dev));
	return one;
}

struct json_object *method_list(struct call *call, struct json_object *params,
				struct rpc_error *err)
{
	struct json_object *result = json_object_new_object();

	json_put_string(result, "machine", call->client->control->name);
	return devices_each(call, params, result, list_one, err);
}

/* ---- lspci ---- */

/* What config space holds, as hexadecimal digits. */
static struct json_object *lspci_one(struct vfio_device *dev)
{
	static const char digits[] = "0123456789abcdef";
	const struct uvfio_pci_desc *desc = pci_func_desc(vfio_device_func(dev));
	unsigned size = pci_func_config_size(vfio_device_func(dev));
	struct json_object *one = json_object_new_object();
	uint8_t bytes[PCI_EXT_CONFIG_SIZE];
	char text[2 * PCI_EXT_CONFIG_SIZE];

	json_put_string(one, "device", vfio_device_name(dev));
	json_put_string(one, "model", vfio_device_model(dev)->name);
	json_put_uint(one, "class", desc->class_code);
	if (!vfio_device_hw_config(dev, bytes, false)) {
		/* In a reset, which may take long. */
		json_put_bool(one, "busy", true);
		return one;
	}
	for (unsigned i = 0; i < size; i++) {
		text[2 * i] = digits[bytes[i] >> 4];
		text[2 * i + 1] = digits[bytes[i] & 15];
	}
	json_put(one, "config", json_object_new_string_len(text, 2 * (int)size));
	return one;
}

struct json_object *method_lspci(struct call *call, struct json_object *params,
				 struct rpc_error *err)
{
	return devices_each(call, params, json_object_new_object(), lspci_one, err);
}

/* ---- faults ---- */

static const char *reason_name(enum iommu_fault_reason reason)
{
	static const char *const names[] = {
		[IOMMU_FAULT_UNMAPPED] = "unmapped",
		[IOMMU_FAULT_PERMISSION] = "permission",
		[IOMMU_FAULT_INTERRUPT_WINDOW] = "interrupt-window",
		[IOMMU_FAULT_BUS_MASTER] = "bus-master",
		[IOMMU_FAULT_GONE] = "gone",
		[IOMMU_FAULT_INJECTED] = "injected",
		[IOMMU_FAULT_REVOKED] = "revoked",
		[IOMMU_FAULT_QUIET] = "quiet",
	};

	static_assert(sizeof(names) / sizeof(names[0]) == NR_IOMMU_FAULTS, "a name each");
	return (unsigned)reason < sizeof(names) / sizeof(names[0]) ? names[reason] : "other";
}

static struct json_object *faults_one(struct vfio_device *dev)
{
	struct vfio_fault_record r[VFIO_FAULT_RECORDS];
	struct json_object *one = json_object_new_object(), *list = json_object_new_array();
	uint64_t total;
	unsigned n = vfio_device_faults(dev, r, VFIO_FAULT_RECORDS, &total);

	json_put_string(one, "device", vfio_device_name(dev));
	json_put_uint(one, "total", total);
	for (unsigned i = 0; i < n; i++) {
		struct json_object *fault = json_object_new_object();
		const char *error = strerrorname_np(-r[i].result);

		json_put_uint(fault, "number", r[i].number);
		json_put_uint(fault, "time_ns", r[i].time);
		json_put_uint(fault, "space", r[i].space);
		json_put_uint(fault, "iova", r[i].fault.iova);
		json_put_uint(fault, "length", r[i].fault.len);
		json_put_string(fault, "access", r[i].fault.write ? "write" : "read");
		json_put_string(fault, "reason", reason_name(r[i].fault.reason));
		json_put_string(fault, "text", vfio_fault_reason(r[i].fault.reason));
		if (error)
			json_put_string(fault, "errno", error);
		json_object_array_add(list, fault);
	}
	json_put(one, "faults", list);
	return one;
}

struct json_object *method_faults(struct call *call, struct json_object *params,
				  struct rpc_error *err)
{
	struct json_object *result = json_object_new_object();

	json_put_string(result, "machine", call->client->control->name);
	return devices_each(call, params, result, faults_one, err);
}
