/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The configuration file of `uvfio serve`: a JSON object whose keys are the long options.  A device
 * is a string as behind --device, or an object with "model" and the model's keys.
 */
#include <errno.h>
#include <json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "cli/cli.h"
#include "devices/models.h"
#include "cli/json_file.h"
#include "cli/serve_config.h"
#include "control/wipe.h"
#include "vfio/token.h"

#define EXAMPLE "{\"device\": [\"nvme,file=disk.img,socket=disk.sock\"]}"
#define KEYS                                                                                       \
	"device, policy, interrupt-isolation, machine, control, sysfs, user, confine, state, fresh, verbose"

void serve_options_init(struct serve_options *o)
{
	*o = (struct serve_options){
		.config = {.models = device_models, .nr_models = device_nr_models()}};
	vfio_policy_default(&o->config.policy);
}

void serve_options_fini(struct serve_options *o)
{
	serve_devices_fini(&o->config.devices);
	own_models_fini(&o->models);
	free(o->path);
	free(o->machine);
	free(o->control);
	free(o->user);
	free(o->sysfs);
	free(o->state);
}

/* Loads the model if it is the user's own. */
static int add_device(struct serve_options *o, struct serve_devices *out, const char *spec,
		      const char *where, struct uvfio_error *err)
{
	struct uvfio_error why = {""};
	char *named;
	int ret = own_models_take(&o->models, spec, &named, &why);

	if (ret)
		return uvfio_error_set(err, ret, "%s: %s", where, why.msg);
	if (o->models.list) {
		o->config.models = o->models.list;
		o->config.nr_models = o->models.nr;
	}
	ret = serve_devices_add(out, named, where, err);
	vfio_token_wipe_text(named);
	free(named);
	return ret;
}

int serve_option_device(struct serve_options *o, const char *spec, struct uvfio_error *err)
{
	char where[200];

	snprintf(where, sizeof(where), "--device %s", spec);
	vfio_token_redact(where);
	return add_device(o, &o->config.devices, spec, where, err);
}

static int set_string(char **out, const char **used, const char *value, struct uvfio_error *err)
{
	free(*out);
	*used = *out = strdup(value);
	return *out ? 0 : uvfio_error_set(err, -ENOMEM, "out of memory");
}

int serve_option_set(struct serve_options *o, const char *key, const char *value,
		     struct uvfio_error *err)
{
	if (!*value)
		return uvfio_error_set(err, -EINVAL, "%s is empty", key);
	if (!strcmp(key, "machine"))
		return set_string(&o->machine, &o->config.machine, value, err);
	if (!strcmp(key, "control"))
		return set_string(&o->control, &o->config.control, value, err);
	if (!strcmp(key, "sysfs"))
		return set_string(&o->sysfs, &o->config.sysfs, value, err);
	if (!strcmp(key, "state"))
		return set_string(&o->state, &o->config.state, value, err);
	if (!strcmp(key, "user"))
		return set_string(&o->user, &o->config.user, value, err);
	if (strcmp(value, "on") != 0 && strcmp(value, "off") != 0)
		return uvfio_error_set(err, -EINVAL, "%s %s: it is on or off", key, value);
	if (!strcmp(key, "interrupt-isolation"))
		o->config.policy.no_interrupt_isolation = !strcmp(value, "off");
	else
		o->config.unconfined = !strcmp(value, "off");
	return 0;
}

int serve_options_check(const struct serve_options *o, struct uvfio_error *err)
{
	if (!o->config.devices.nr && !o->path)
		return uvfio_error_set(
			err, -EINVAL,
			"no device; give --device nvme,file=disk.img,socket=disk.sock "
			"or --config FILE");
	if (o->config.user && o->config.unconfined)
		return uvfio_error_set(err, -EINVAL,
				       "--user needs --confine on: without it nobody opens files "
				       "for a server that has lost the right to");
	if (o->config.fresh && !o->config.state)
		return uvfio_error_set(err, -EINVAL,
				       "--fresh is about states that cannot be used; give --state "
				       "DIR with it");
	return 0;
}

/* ---- devices ---- */

struct text {
	char *buf;
	size_t len, room;
	bool failed; /* there was no memory for all of it */
};

static void text_add(struct text *text, const char *more, bool value)
{
	text->failed |= !more; /* json-c's memory */
	for (; more && *more && !text->failed; more++) {
		if (text->len + 3 > text->room) {
			size_t room = text->room ? text->room * 2 : 256;
			char *buf = malloc(room);

			text->failed = !buf;
			if (!buf)
				return;
			/* Not realloc(): there may be a token in it. */
			if (text->buf)
				memcpy(buf, text->buf, text->len + 1);
			vfio_token_wipe_text(text->buf);
			free(text->buf);
			text->buf = buf;
			text->room = room;
		}
		text->buf[text->len++] = *more;
		if (value && *more == ',')
			text->buf[text->len++] = ',';
		text->buf[text->len] = '\0';
	}
}

static int add_value(struct text *text, const char *where, const char *key,
		     struct json_object *value, struct uvfio_error *err)
{
	enum json_type type = json_object_get_type(value);

	if (type == json_type_array) {
		for (size_t i = 0; i < json_object_array_length(value); i++) {
			struct json_object *item = json_object_array_get_idx(value, i);
			int ret;

			if (json_object_is_type(item, json_type_array))
				return uvfio_error_set(err, -EINVAL, "%s: \"%s\" is nested", where,
						       key);
			ret = add_value(text, where, key, item, err);
			if (ret)
				return ret;
		}
		return 0;
	}
	if (type != json_type_string && type != json_type_int && type != json_type_boolean)
		return uvfio_error_set(err, -EINVAL,
				       "%s: \"%s\" must be a string, a number, true or false",
				       where, key);
	text_add(text, ",", false);
	text_add(text, key, false);
	text_add(text, "=", false);
	if (type == json_type_boolean)
		text_add(text, json_object_get_boolean(value) ? "on" : "off", false);
	else
		text_add(text, json_object_get_string(value), true);
	return 0;
}

static int device_object(struct serve_options *o, struct serve_devices *out, const char *where,
			 struct json_object *item, struct uvfio_error *err)
{
	struct json_object *model;
	struct text text = {0};
	int ret = 0;

	if (!json_object_object_get_ex(item, "model", &model) ||
	    !json_object_is_type(model, json_type_string))
		return uvfio_error_set(err, -EINVAL,
				       "%s: a device needs its \"model\", like {\"model\": "
				       "\"nvme\", \"file\": \"disk.img\", \"socket\": "
				       "\"disk.sock\"}",
				       where);
	text_add(&text, json_object_get_string(model), true);
	json_object_object_foreach(item, key, value)
	{
		if (strcmp(key, "model") != 0 && !ret)
			ret = add_value(&text, where, key, value, err);
	}
	/* Half of it might be another device: one that may be written, say. */
	if (!ret && text.failed)
		ret = uvfio_error_set(err, -ENOMEM, "%s: out of memory", where);
	if (!ret && !text.buf)
		ret = uvfio_error_set(err, -EINVAL, "%s: its \"model\" is empty", where);
	if (!ret)
		ret = add_device(o, out, text.buf, where, err);
	vfio_token_wipe_text(text.buf);
	free(text.buf);
	return ret;
}

static int one_device(struct serve_options *o, struct serve_devices *out, const char *where,
		      struct json_object *item, struct uvfio_error *err)
{
	if (json_object_is_type(item, json_type_string))
		return add_device(o, out, json_object_get_string(item), where, err);
	if (json_object_is_type(item, json_type_object))
		return device_object(o, out, where, item, err);
	return uvfio_error_set(err, -EINVAL,
			       "%s: a device is a string as behind --device, or an object", where);
}

static int load(void *arg, struct serve_devices *out, struct uvfio_error *err)
{
	struct serve_options *o = arg;
	struct json_object *root, *list, *item;
	char *text = NULL, where[400];
	size_t nr = 1;
	int ret = 0;

	root = json_file_read(o->path, EXAMPLE, &text, err);
	if (!root)
		return -EINVAL;
	if (!json_object_object_get_ex(root, "device", &list))
		nr = 0;
	else if (json_object_is_type(list, json_type_array))
		nr = json_object_array_length(list);
	for (size_t i = 0; i < nr && !ret; i++) {
		item = json_object_is_type(list, json_type_array)
			       ? json_object_array_get_idx(list, i)
			       : list;
		snprintf(where, sizeof(where), "%s, line %u", o->path,
			 json_file_line(text, "device", (unsigned)i));
		ret = one_device(o, out, where, item, err);
	}
	o->models.closed = true; /* the next time the server is there */
	json_wipe_tokens(root);
	json_object_put(root);
	vfio_token_wipe_text(text);
	free(text);
	return ret;
}

/* ---- the rest ---- */

static int policy_value(struct serve_options *o, struct json_object *value, struct uvfio_error *err)
{
	if (!json_object_is_type(value, json_type_object))
		return uvfio_error_set(err, -EINVAL,
				       "\"policy\" must be an object, like "
				       "{\"dma_entry_limit\": 65535}");
	return json_file_policy(value, &o->config.policy, NULL, err);
}

static int take_key(struct serve_options *o, const char *key, struct json_object *value,
		    struct uvfio_error *err)
{
	static const char *const strings[] = {
		"interrupt-isolation", "machine", "control", "sysfs", "user", "confine", "state"};

	if (!strcmp(key, "device"))
		return 0; /* load() */
	if (!strcmp(key, "policy"))
		return policy_value(o, value, err);
	if (!strcmp(key, "verbose")) {
		if (!json_object_is_type(value, json_type_boolean))
			return uvfio_error_set(err, -EINVAL, "\"verbose\" must be true or false");
		o->config.verbose = json_object_get_boolean(value);
		return 0;
	}
	if (!strcmp(key, "fresh")) {
		if (!json_object_is_type(value, json_type_boolean))
			return uvfio_error_set(err, -EINVAL, "\"fresh\" must be true or false");
		o->config.fresh = json_object_get_boolean(value);
		return 0;
	}
	for (unsigned i = 0; i < sizeof(strings) / sizeof(*strings); i++) {
		if (strcmp(key, strings[i]) != 0)
			continue;
		if (!json_object_is_type(value, json_type_string))
			return uvfio_error_set(err, -EINVAL, "\"%s\" must be a string", key);
		return serve_option_set(o, key, json_object_get_string(value), err);
	}
	return uvfio_error_set(err, -EINVAL, "no key \"%s\"; there are: " KEYS, key);
}

int serve_option_config(struct serve_options *o, const char *path, struct uvfio_error *err)
{
	struct uvfio_error why = {""};
	struct json_object *root;
	int ret = 0;

	if (o->path)
		return uvfio_error_set(err, -EINVAL, "--config is given twice; give it once");
	root = json_file_read(path, EXAMPLE, NULL, err);
	if (!root)
		return -EINVAL;
	json_object_object_foreach(root, key, value)
	{
		ret = take_key(o, key, value, &why);
		if (ret) {
			uvfio_error_set(err, ret, "--config %s: %s", path, why.msg);
			break;
		}
	}
	json_wipe_tokens(root);
	json_object_put(root);
	o->path = strdup(path);
	if (!ret && !o->path)
		ret = uvfio_error_set(err, -ENOMEM, "out of memory");
	o->config.load = load;
	o->config.load_arg = o;
	return ret;
}
