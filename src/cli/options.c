/* SPDX-License-Identifier: BSD-3-Clause */
#include "cli/options.h"
#include "cli/json_file.h"
#include "control/control.h"
#include "control/wipe.h"
#include "vfio/token.h"

#include <errno.h>
#include <json.h>
#include <stdlib.h>
#include <string.h>

#define MAX_DEVICES 4096

int option_device(struct run_options *o, const char *spec, struct uvfio_error *err)
{
	char **devices, *copy;
	int ret;

	if (o->nr_devices == MAX_DEVICES)
		return uvfio_error_set(err, -EINVAL, "more than %d devices", MAX_DEVICES);
	ret = own_models_take(&o->models, spec, &copy, err);
	if (ret)
		return ret;
	if (o->models.list) {
		o->config.models = o->models.list;
		o->config.nr_models = o->models.nr;
	}
	devices = realloc(o->devices, (o->nr_devices + 1) * sizeof(*devices));
	if (devices)
		o->devices = devices;
	if (!devices) {
		free(copy);
		return uvfio_error_set(err, -ENOMEM, "out of memory");
	}
	o->devices[o->nr_devices++] = copy;
	o->config.devices = o->devices;
	o->config.nr_devices = o->nr_devices;
	return 0;
}

int option_mmio(struct run_options *o, const char *mode, struct uvfio_error *err)
{
	if (!strcmp(mode, "exact"))
		o->config.mmio = VFIO_MMIO_EXACT;
	else if (!strcmp(mode, "polled"))
		o->config.mmio = VFIO_MMIO_POLLED;
	else if (!strcmp(mode, "none"))
		o->config.mmio = VFIO_MMIO_NONE;
	else
		return uvfio_error_set(err, -EINVAL, "--mmio %s: it is exact, polled or none",
				       mode);
	return 0;
}

int option_sysfs(struct run_options *o, const char *value, struct uvfio_error *err)
{
	static const char *const names[] = {
		[UAPI_SYS_AUTO] = "auto", [UAPI_SYS_ON] = "on", [UAPI_SYS_OFF] = "off"};

	for (unsigned i = 0; i < sizeof(names) / sizeof(*names); i++) {
		if (strcmp(names[i], value) != 0)
			continue;
		o->config.sys = (enum uapi_sys)i;
		return 0;
	}
	return uvfio_error_set(err, -EINVAL, "--sysfs %s: it is auto, on or off", value);
}

int option_sandbox(struct run_options *o, const char *value, struct uvfio_error *err)
{
	static const char *const names[] = {[UAPI_SANDBOX_AUTO] = "auto",
					    [UAPI_SANDBOX_MOUNTS] = "mounts",
					    [UAPI_SANDBOX_PATHS] = "paths"};

	for (unsigned i = 0; i < sizeof(names) / sizeof(*names); i++) {
		if (strcmp(names[i], value) != 0)
			continue;
		o->config.sandbox = (enum uapi_sandbox)i;
		return 0;
	}
	return uvfio_error_set(err, -EINVAL, "--sandbox %s: it is auto, mounts or paths", value);
}

int option_policy(struct run_options *o, const char *assignment, struct uvfio_error *err)
{
	o->policy_given = true;
	return vfio_policy_set(&o->config.policy, assignment, err);
}

int option_isolation(struct run_options *o, const char *value, struct uvfio_error *err)
{
	if (strcmp(value, "on") != 0 && strcmp(value, "off") != 0)
		return uvfio_error_set(err, -EINVAL, "--interrupt-isolation %s: it is on or off",
				       value);
	o->isolation_given = true;
	o->config.policy.no_interrupt_isolation = !strcmp(value, "off");
	return 0;
}

int option_trace(struct run_options *o, const char *file, struct uvfio_error *err)
{
	size_t len = strlen(file);

	free(o->trace);
	o->trace = strdup(file);
	if (!o->trace)
		return uvfio_error_set(err, -ENOMEM, "out of memory");
	o->config.trace = o->trace;
	if (!o->trace_format_given)
		o->config.trace_json = len > 5 && !strcmp(file + len - 5, ".json");
	return 0;
}

int option_trace_format(struct run_options *o, const char *format, struct uvfio_error *err)
{
	if (strcmp(format, "json") != 0 && strcmp(format, "text") != 0)
		return uvfio_error_set(err, -EINVAL, "--trace-format %s: it is text or json",
				       format);
	o->config.trace_json = !strcmp(format, "json");
	o->trace_format_given = true;
	return 0;
}

static int replace(char **at, const char *text, struct uvfio_error *err)
{
	char *copy = strdup(text);

	if (!copy)
		return uvfio_error_set(err, -ENOMEM, "out of memory");
	free(*at);
	*at = copy;
	return 0;
}

int option_name(struct run_options *o, const char *name, struct uvfio_error *err)
{
	char path[CONTROL_PATH_MAX];
	int ret = control_path(name, path, err);

	if (!ret)
		ret = replace(&o->name, name, err);
	if (!ret && !o->control)
		ret = replace(&o->control, path, err);
	o->config.name = o->name;
	o->config.control = o->control;
	return ret;
}

int option_control(struct run_options *o, const char *path, struct uvfio_error *err)
{
	int ret = replace(&o->control, path, err);

	o->config.control = o->control;
	return ret;
}

int option_machine(struct run_options *o, const char *name, struct uvfio_error *err)
{
	char path[CONTROL_PATH_MAX];
	int ret = strchr(name, '/') ? 0 : control_path(name, path, err);

	if (!ret)
		ret = replace(&o->machine, name, err);
	o->config.machine = o->machine;
	return ret;
}

int options_check(const struct run_options *o, struct uvfio_error *err)
{
	const char *other = o->nr_devices        ? "--device"
			    : o->policy_given    ? "--policy"
			    : o->isolation_given ? "--interrupt-isolation"
			    : o->name            ? "--name"
			    : o->control         ? "--control"
						 : NULL;

	if (!o->machine || !other)
		return 0;
	return uvfio_error_set(
		err, -EINVAL,
		"--machine %s and %s: the devices, the policy and the control of that "
		"machine are its server's; give one of the two options",
		o->machine, other);
}

/* A string, or an array of strings, each given to @set. */
static int each_string(struct run_options *o, const char *path, const char *key,
		       struct json_object *value,
		       int (*set)(struct run_options *, const char *, struct uvfio_error *),
		       bool many, struct uvfio_error *err)
{
	if (json_object_is_type(value, json_type_string))
		return set(o, json_object_get_string(value), err);
	if (!many || !json_object_is_type(value, json_type_array))
		return uvfio_error_set(err, -EINVAL, "%s: \"%s\" must be a string%s", path, key,
				       many ? " or an array of strings" : "");
	for (size_t i = 0; i < json_object_array_length(value); i++) {
		struct json_object *item = json_object_array_get_idx(value, i);
		int ret;

		if (!json_object_is_type(item, json_type_string))
			return uvfio_error_set(err, -EINVAL, "%s: \"%s\"[%zu] must be a string",
					       path, key, i);
		ret = set(o, json_object_get_string(item), err);
		if (ret)
			return ret;
	}
	return 0;
}

static int take_key(struct run_options *o, const char *path, const char *key,
		    struct json_object *value, struct uvfio_error *err)
{
	if (!strcmp(key, "device"))
		return each_string(o, path, key, value, option_device, true, err);
	if (!strcmp(key, "mmio"))
		return each_string(o, path, key, value, option_mmio, false, err);
	if (!strcmp(key, "sysfs"))
		return each_string(o, path, key, value, option_sysfs, false, err);
	if (!strcmp(key, "sandbox"))
		return each_string(o, path, key, value, option_sandbox, false, err);
	if (!strcmp(key, "interrupt-isolation"))
		return each_string(o, path, key, value, option_isolation, false, err);
	if (!strcmp(key, "trace"))
		return each_string(o, path, key, value, option_trace, false, err);
	if (!strcmp(key, "trace-format"))
		return each_string(o, path, key, value, option_trace_format, false, err);
	if (!strcmp(key, "name"))
		return each_string(o, path, key, value, option_name, false, err);
	if (!strcmp(key, "control"))
		return each_string(o, path, key, value, option_control, false, err);
	if (!strcmp(key, "machine"))
		return each_string(o, path, key, value, option_machine, false, err);
	if (!strcmp(key, "policy")) {
		if (json_object_is_type(value, json_type_object)) {
			o->policy_given |= json_object_object_length(value) > 0;
			return json_file_policy(value, &o->config.policy, path, err);
		}
		return each_string(o, path, key, value, option_policy, true, err);
	}
	if (!strcmp(key, "verbose")) {
		if (!json_object_is_type(value, json_type_boolean))
			return uvfio_error_set(err, -EINVAL,
					       "%s: \"verbose\" must be true or false", path);
		o->config.verbose = json_object_get_boolean(value);
		return 0;
	}
	return uvfio_error_set(
		err, -EINVAL,
		"%s: no key \"%s\"; there are: control, device, interrupt-isolation, machine, mmio, name, policy, sandbox, sysfs, trace, trace-format, verbose",
		path, key);
}

int option_config(struct run_options *o, const char *path, struct uvfio_error *err)
{
	struct json_object *root;
	int ret = 0;

	root = json_file_read(path, "{\"device\": [\"nvme,memory=64M\"]}", NULL, err);
	if (!root)
		return -EINVAL;
	json_object_object_foreach(root, key, value)
	{
		ret = take_key(o, path, key, value, err);
		if (ret)
			break;
	}
	json_wipe_tokens(root);
	json_object_put(root);
	return ret;
}

void options_free(struct run_options *o)
{
	for (unsigned i = 0; i < o->nr_devices; i++) {
		vfio_token_wipe_text(o->devices[i]);
		free(o->devices[i]);
	}
	free(o->devices);
	own_models_fini(&o->models);
	free(o->trace);
	free(o->name);
	free(o->control);
	free(o->machine);
}
