/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * `--device MODEL[,key=value…]`: taking it apart.  A key is the model's or one of the core's own,
 * which are in a table below, each with its parser.  In a value a comma is written twice.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uvfio/migration.h>
#include <unistd.h>
#include "vfio/machine_private.h"
#include "vfio/spec.h"
#include "vfio/sriov.h"
#include "vfio/uio.h"

#define MAX_GROUP        65535u
#define MAX_SPEC_OPTIONS 1024u

/* A device that is asked oftener than that is no device without an interrupt. */
#define MIN_POLL_NS 100000ull
#define MAX_POLL_NS 60000000000ull

void spec_fini(struct device_spec *spec)
{
	free(spec->options);
	if (spec->text)
		explicit_bzero(spec->text, spec->text_bytes);
	free(spec->text);
	vfio_token_wipe(&spec->keys.token);
}

/* The next part up to a single comma, with doubled commas made one; NULL at the end. */
static char *spec_next(char **pos)
{
	char *start = *pos, *in = start, *out = start;

	if (!start)
		return NULL;
	for (; *in; in++) {
		if (in[0] == ',') {
			if (in[1] != ',')
				break;
			in++;
		}
		*out++ = *in;
	}
	*pos = *in ? in + 1 : NULL;
	*out = '\0';
	return start;
}

/* ---- the core's own keys ---- */

static int parse_addr(struct device_keys *keys, const char *value, struct uvfio_error *err)
{
	keys->addr = value; /* looked at when it is known which are free */
	return 0;
}

static int parse_group(struct device_keys *keys, const char *value, struct uvfio_error *err)
{
	const struct uvfio_option option = {"group", value};
	uint64_t n;
	int ret = uvfio_arg_uint(&(struct uvfio_args){&option, 1}, "group", 0, MAX_GROUP, &n, err);

	keys->has_group = !ret;
	keys->group = ret ? 0 : (unsigned)n;
	return ret;
}

static int parse_mmio(struct device_keys *keys, const char *value, struct uvfio_error *err)
{
	static const char *const names[] = {"exact", "polled", "none"};

	for (unsigned i = 0; i < ARRAY_SIZE(names); i++) {
		if (!strcmp(names[i], value)) {
			keys->mmio = names[i][0];
			return 0;
		}
	}
	return uvfio_error_set(err, -EINVAL, "mmio=%s: valid are exact, polled and none", value);
}

static int parse_iommu(struct device_keys *keys, const char *value, struct uvfio_error *err)
{
	const struct uvfio_option option = {"iommu", value};
	bool on = true;
	int ret = uvfio_arg_bool(&(struct uvfio_args){&option, 1}, "iommu", &on, err);

	keys->noiommu = !on;
	return ret;
}

static int parse_poll(const char *key, const char *value, uint64_t *ns, struct uvfio_error *err)
{
	const struct uvfio_option option = {key, value};

	return uvfio_arg_time(&(struct uvfio_args){&option, 1}, key, MIN_POLL_NS, MAX_POLL_NS, ns,
			      err);
}

static int parse_poll_interrupt(struct device_keys *keys, const char *value,
				struct uvfio_error *err)
{
	return parse_poll("poll-interrupt", value, &keys->poll_ns, err);
}

static int parse_vf_poll_interrupt(struct device_keys *keys, const char *value,
				   struct uvfio_error *err)
{
	return parse_poll("vf-poll-interrupt", value, &keys->vf_poll_ns, err);
}

static int parse_numvfs(struct device_keys *keys, const char *value, struct uvfio_error *err)
{
	const struct uvfio_option option = {"numvfs", value};
	uint64_t n = 0;
	int ret = uvfio_arg_uint(&(struct uvfio_args){&option, 1}, "numvfs", 0, VFIO_MAX_VFS, &n,
				 err);

	keys->numvfs = (unsigned)n;
	return ret;
}

static int parse_acs(struct device_keys *keys, const char *value, struct uvfio_error *err)
{
	const struct uvfio_option option = {"acs", value};
	bool on = true;
	int ret = uvfio_arg_bool(&(struct uvfio_args){&option, 1}, "acs", &on, err);

	keys->acs_off = !on;
	return ret;
}

static int parse_migration(struct device_keys *keys, const char *value, struct uvfio_error *err)
{
	for (unsigned i = 0; i < NR_MIGRATION_INTERFACES; i++) {
		if (!strcmp(migration_interface_names[i], value)) {
			keys->has_migration = true;
			keys->migration = (enum migration_interface)i;
			return 0;
		}
	}
	return uvfio_error_set(err, -EINVAL,
			       "migration=%s: valid are v2, region (for QEMU before 8.0), "
			       "region-ndma and off",
			       value);
}

static int parse_migration_can(struct device_keys *keys, const char *value, struct uvfio_error *err)
{
	static const struct {
		const char *name;
		unsigned cannot;
	} kinds[] = {
		{"all", 0},
		{"p2p", UVFIO_MIGRATE_PRE_COPY},
		{"pre-copy", UVFIO_MIGRATE_P2P},
		{"stop-copy", UVFIO_MIGRATE_P2P | UVFIO_MIGRATE_PRE_COPY},
	};

	for (unsigned i = 0; i < ARRAY_SIZE(kinds); i++) {
		if (!strcmp(kinds[i].name, value)) {
			keys->migration_cannot = kinds[i].cannot;
			return 0;
		}
	}
	return uvfio_error_set(err, -EINVAL,
			       "migration-can=%s: valid are all, p2p, pre-copy and stop-copy",
			       value);
}

static int parse_bus_reset(struct device_keys *keys, const char *value, struct uvfio_error *err)
{
	static const char chars[] =
		"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-";
	size_t len = strlen(value);

	if (!len || len > 31 || strspn(value, chars) != len)
		return uvfio_error_set(err, -EINVAL,
				       "bus-reset=%s: valid are off, or a name of at most 31 "
				       "letters, digits, - and _: functions that share one are "
				       "reset together",
				       value);
	keys->bus_reset = value;
	return 0;
}

static int parse_driver(struct device_keys *keys, const char *value, struct uvfio_error *err)
{
	const char *const names[] = {"vfio-pci", VFIO_UIO_DRIVER, VFIO_STUB_DRIVER,
				     keys->model->name, "none"};

	for (unsigned i = 0; i < ARRAY_SIZE(names); i++) {
		if (!strcmp(names[i], value)) {
			keys->driver = names[i];
			return 0;
		}
	}
	return uvfio_error_set(
		err, -EINVAL, "driver=%s: valid are vfio-pci, %s, %s, %s (the host's own) and none",
		value, VFIO_UIO_DRIVER, VFIO_STUB_DRIVER, keys->model->name);
}

/* What is wrong may nearly be a secret: it is not shown. */
static int parse_vf_token(struct device_keys *keys, const char *value, struct uvfio_error *err)
{
	if (strlen(value) != VFIO_TOKEN_TEXT || vfio_token_parse(value, &keys->token))
		return uvfio_error_set(err, -EINVAL,
				       "vf_token=: what is given is no UUID; `uuidgen` makes one "
				       "(vf_token_file=PATH reads one from a file)");
	keys->has_token = true;
	return 0;
}

static int parse_vf_token_file(struct device_keys *keys, const char *value, struct uvfio_error *err)
{
	keys->token_file = value;
	return *value ? 0 : uvfio_error_set(err, -EINVAL, "vf_token_file= is empty");
}

static const struct {
	const char *name;
	int (*parse)(struct device_keys *keys, const char *value, struct uvfio_error *err);
} own[] = {
	{"acs", parse_acs},
	{"addr", parse_addr},
	{"bus-reset", parse_bus_reset},
	{"driver", parse_driver},
	{"group", parse_group},
	{"iommu", parse_iommu},
	{"migration", parse_migration},
	{"migration-can", parse_migration_can},
	{"mmio", parse_mmio},
	{"numvfs", parse_numvfs},
	{"poll-interrupt", parse_poll_interrupt},
	{"vf-poll-interrupt", parse_vf_poll_interrupt},
	{"vf_token", parse_vf_token},
	{"vf_token_file", parse_vf_token_file},
};

/* ---- keys ---- */

/* "a, b, c" of a model's keys and the core's, for messages. */
static void list_keys(const struct uvfio_model *model, char *out, size_t size)
{
	size_t len = 0;

	out[0] = '\0';
	for (unsigned i = 0; i < model->nr_keys && len < size; i++)
		len += (size_t)snprintf(out + len, size - len, "%s, ", model->keys[i].name);
	for (unsigned i = 0; i < ARRAY_SIZE(own) && len < size; i++)
		len += (size_t)snprintf(out + len, size - len, "%s%s", i ? ", " : "", own[i].name);
}

static const struct uvfio_key *find_key(const struct uvfio_model *model, const char *name)
{
	for (unsigned i = 0; i < model->nr_keys; i++) {
		if (!strcmp(model->keys[i].name, name))
			return &model->keys[i];
	}
	return NULL;
}

static int given_twice(const struct uvfio_model *model, const char *key, struct uvfio_error *err)
{
	return uvfio_error_set(err, -EINVAL, "device %s: %s= is given twice; give it once",
			       model->name, key);
}

/* A key that is not the model's.  @seen: a bit each of the core's keys. */
static int own_option(struct device_spec *spec, const struct uvfio_model *model, const char *key,
		      const char *value, unsigned *seen, struct uvfio_error *err)
{
	char keys[500];

	for (unsigned i = 0; i < ARRAY_SIZE(own); i++) {
		if (strcmp(own[i].name, key) != 0)
			continue;
		if (*seen & 1u << i)
			return given_twice(model, key, err);
		*seen |= 1u << i;
		return own[i].parse(&spec->keys, value, err);
	}
	list_keys(model, keys, sizeof(keys));
	return uvfio_error_set(err, -EINVAL, "device %s has no key '%s'; its keys are: %s",
			       model->name, key, keys);
}

static int spec_option(struct device_spec *spec, const struct uvfio_model *model, char *part,
		       unsigned *seen, struct uvfio_error *err)
{
	char *equals = strchr(part, '=');
	struct uvfio_option *options;
	const struct uvfio_key *key;

	if (!equals || equals == part)
		return uvfio_error_set(err, -EINVAL,
				       "device %s: '%s' is not KEY=VALUE (a comma inside a value "
				       "is written twice)",
				       model->name, part);
	*equals = '\0';
	key = find_key(model, part);
	if (!key)
		return own_option(spec, model, part, equals + 1, seen, err);
	for (unsigned i = 0; i < spec->nr_options && !key->repeatable; i++) {
		if (!strcmp(spec->options[i].key, part))
			return given_twice(model, part, err);
	}
	if (spec->nr_options == MAX_SPEC_OPTIONS)
		return uvfio_error_set(err, -EINVAL, "device %s: more than %u options", model->name,
				       MAX_SPEC_OPTIONS);
	options = realloc(spec->options, (spec->nr_options + 1) * sizeof(*options));
	if (!options)
		return uvfio_error_set(err, -ENOMEM, "out of memory");
	spec->options = options;
	options[spec->nr_options++] = (struct uvfio_option){.key = part, .value = equals + 1};
	return 0;
}

static const struct uvfio_model *find_model(struct vfio_machine *machine, const char *name,
					    struct uvfio_error *err)
{
	const struct uvfio_model *model = NULL;
	char names[400] = "";
	size_t len = 0;

	pthread_mutex_lock(&machine->lock);
	for (unsigned i = 0; i < machine->nr_models; i++) {
		if (!strcmp(machine->models[i]->name, name))
			model = machine->models[i];
		if (len < sizeof(names))
			len += (size_t)snprintf(names + len, sizeof(names) - len, "%s%s",
						i ? ", " : "", machine->models[i]->name);
	}
	pthread_mutex_unlock(&machine->lock);
	if (!model && strchr(name, '/'))
		uvfio_error_set(err, -EINVAL,
				"the model %s cannot be loaded any more: start the machine with a "
				"device of it; the models that it has are: %s",
				name, names);
	else if (!model)
		uvfio_error_set(err, -EINVAL, "there is no device model '%s'; the models are: %s",
				name, names);
	return model;
}

static int check_together(const struct uvfio_model *model, const struct device_keys *keys,
			  struct uvfio_error *err)
{
	if (keys->noiommu && keys->has_group)
		return uvfio_error_set(err, -EINVAL,
				       "device %s: iommu=off and group=: what has no IOMMU is in "
				       "no IOMMU group; leave group= out",
				       model->name);
	if (keys->noiommu && keys->acs_off)
		return uvfio_error_set(err, -EINVAL,
				       "device %s: iommu=off and acs=off: what has no IOMMU shares "
				       "no IOMMU group; leave acs= out",
				       model->name);
	if (keys->has_token && keys->token_file)
		return uvfio_error_set(err, -EINVAL,
				       "device %s: vf_token= and vf_token_file=: give one of them",
				       model->name);
	if ((keys->has_token || keys->token_file) && keys->driver &&
	    strcmp(keys->driver, "vfio-pci") != 0)
		return uvfio_error_set(
			err, -EINVAL,
			"device %s: a VF token and driver=%s: only a PF that vfio-pci "
			"has has a token; leave one of them out",
			model->name, keys->driver);
	return 0;
}

int spec_read_token(struct vfio_machine *machine, struct device_spec *spec,
		    const struct uvfio_model *model, struct uvfio_error *err)
{
	const struct vfio_file_ops *ops = &machine->file_ops;
	const char *path = spec->keys.token_file;
	struct uvfio_error why = {""};
	bool shared = false;
	int fd, ret;

	if (!path)
		return 0;
	fd = ops->open ? ops->open(ops->arg, path, O_RDONLY)
		       : open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	if (fd < 0)
		return uvfio_error_set(err, ops->open ? fd : -errno,
				       "device %s: vf_token_file=%s: %s", model->name, path,
				       strerror(ops->open ? -fd : errno));
	ret = vfio_token_from_file(fd, path, &spec->keys.token, &shared, &why);
	close(fd);
	if (ret)
		return uvfio_error_set(err, ret, "device %s: vf_token_file=%s", model->name,
				       why.msg);
	spec->keys.has_token = true;
	if (shared)
		uvfio_log(machine->log, UVFIO_LOG_WARN, "vf_token_file=%s: %s", path,
			  VFIO_TOKEN_SHARED);
	return 0;
}

int spec_parse(struct vfio_machine *machine, const char *text, struct device_spec *spec,
	       const struct uvfio_model **model, struct uvfio_error *err)
{
	unsigned seen = 0;
	char *pos, *part;
	int ret;

	memset(spec, 0, sizeof(*spec));
	spec->text = strdup(text);
	spec->text_bytes = strlen(text);
	if (!spec->text)
		return uvfio_error_set(err, -ENOMEM, "out of memory");
	pos = spec->text;
	spec->model = spec_next(&pos);
	*model = find_model(machine, spec->model, err);
	if (!*model)
		return -EINVAL;
	spec->keys.model = *model;
	while ((part = spec_next(&pos))) {
		ret = spec_option(spec, *model, part, &seen, err);
		if (ret)
			return ret;
	}
	return check_together(*model, &spec->keys, err);
}
