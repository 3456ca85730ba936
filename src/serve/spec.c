/* SPDX-License-Identifier: BSD-3-Clause */
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "serve/spec.h"
#include "vfio/token.h"

#define MAX_SPIN_US 1000000u

/* The next part up to a single @sep, with doubled ones made one, in place; NULL at the end. */
static char *next_part(char **pos, char sep)
{
	char *start = *pos, *in = start, *out = start;

	if (!start)
		return NULL;
	for (; *in; in++) {
		if (in[0] == sep) {
			if (in[1] != sep)
				break;
			in++;
		}
		*out++ = *in;
	}
	*pos = *in ? in + 1 : NULL;
	*out = '\0';
	return start;
}

/* The same without undoing the doubling: where the part that starts at @part ends. */
static const char *part_end(const char *part)
{
	for (; *part; part++) {
		if (part[0] == ',') {
			if (part[1] != ',')
				break;
			part++;
		}
	}
	return part;
}

static int take_string(char **out, const char *key, const char *value, struct uvfio_error *err)
{
	if (*out)
		return uvfio_error_set(err, -EINVAL, "%s= is given twice; give it once", key);
	if (!*value)
		return uvfio_error_set(err, -EINVAL, "%s= is empty", key);
	*out = strdup(value);
	return *out ? 0 : uvfio_error_set(err, -ENOMEM, "out of memory");
}

static int once(bool *given, const char *key, struct uvfio_error *err)
{
	if (*given)
		return uvfio_error_set(err, -EINVAL, "%s= is given twice; give it once", key);
	*given = true;
	return 0;
}

static int take_mode(struct serve_spec *spec, const char *value, struct uvfio_error *err)
{
	char *end;
	unsigned long mode = strtoul(value, &end, 8);

	if (!isdigit((unsigned char)value[0]) || *end || mode > 0777 || (mode & 0600) != 0600)
		return uvfio_error_set(err, -EINVAL,
				       "mode=%s: the permissions of the socket are an octal number "
				       "from 0600 to 0777 that lets its owner in, like 0660",
				       value);
	spec->mode = (mode_t)mode;
	return once(&spec->mode_given, "mode", err);
}

static int take_bool(struct serve_spec *spec, const char *value, struct uvfio_error *err)
{
	const struct uvfio_option option = {"mmap", value};
	const struct uvfio_args args = {&option, 1};
	int ret = uvfio_arg_bool(&args, "mmap", &spec->mmap, err);

	return ret ? ret : once(&spec->mmap_given, "mmap", err);
}

static int take_spin(struct serve_spec *spec, const char *value, struct uvfio_error *err)
{
	const struct uvfio_option option = {"spin", value};
	const struct uvfio_args args = {&option, 1};
	uint64_t us = 0;
	int ret = uvfio_arg_uint(&args, "spin", 0, MAX_SPIN_US, &us, err);

	spec->spin_us = (unsigned)us;
	return ret ? ret : once(&spec->spin_given, "spin", err);
}

static int take_vf_sockets(struct serve_spec *spec, const char *value, struct uvfio_error *err)
{
	const char *at = strchr(value, '%');

	if (!at || at[1] != 'u' || strchr(at + 1, '%'))
		return uvfio_error_set(
			err, -EINVAL,
			"vf-sockets=%s: the paths of the sockets of VFs have one %%u, "
			"which is the number of the VF from 0: disk-%%u.sock",
			value);
	return take_string(&spec->vf_sockets, "vf-sockets", value, err);
}

char *serve_spec_vf_socket(const char *pattern, unsigned index)
{
	const char *at = strchr(pattern, '%');
	char *path;

	return asprintf(&path, "%.*s%u%s", (int)(at - pattern), pattern, index, at + 2) < 0 ? NULL
											    : path;
}

static bool is_number(const char *text)
{
	return *text && text[strspn(text, "0123456789")] == '\0';
}

/* 1: it was one of ours. */
static int take(struct serve_spec *spec, const char *key, const char *value,
		struct uvfio_error *err)
{
	int ret;

	if (!strcmp(key, "socket"))
		ret = take_string(&spec->socket, key, value, err);
	else if (!strcmp(key, "mode"))
		ret = take_mode(spec, value, err);
	else if (!strcmp(key, "group") && !is_number(value))
		ret = take_string(&spec->group, key, value, err);
	else if (!strcmp(key, "mmap"))
		ret = take_bool(spec, value, err);
	else if (!strcmp(key, "spin"))
		ret = take_spin(spec, value, err);
	else if (!strcmp(key, "vf-sockets"))
		ret = take_vf_sockets(spec, value, err);
	else
		return 0;
	return ret ? ret : 1;
}

int serve_spec_parse(const char *text, struct serve_spec *spec, struct uvfio_error *err)
{
	const char *part = text, *end;
	size_t len = 0;
	int ret;

	*spec = (struct serve_spec){.mode = 0600};
	spec->device = calloc(1, strlen(text) + 1);
	if (!spec->device)
		return uvfio_error_set(err, -ENOMEM, "out of memory");
	for (;; part = end + 1) {
		char *copy, *pos, *equals;

		end = part_end(part);
		copy = pos = strndup(part, (size_t)(end - part));
		if (!copy)
			return uvfio_error_set(err, -ENOMEM, "out of memory");
		next_part(&pos, ',');
		equals = part == text ? NULL : strchr(copy, '=');
		ret = 0;
		if (equals) {
			*equals = '\0';
			ret = take(spec, copy, equals + 1, err);
		}
		explicit_bzero(copy, (size_t)(end - part)); /* it may be a token (C) */
		free(copy);
		if (ret < 0)
			return ret;
		if (!ret) {
			if (len)
				spec->device[len++] = ',';
			memcpy(spec->device + len, part, (size_t)(end - part));
			len += (size_t)(end - part);
		}
		if (!*end)
			return 0;
	}
}

void serve_spec_fini(struct serve_spec *spec)
{
	vfio_token_wipe_text(spec->device);
	free(spec->device);
	free(spec->socket);
	free(spec->group);
	free(spec->vf_sockets);
	*spec = (struct serve_spec){0};
}

/* Is readonly=on a part of @text between @sep? */
static bool says_readonly(const char *text, char sep)
{
	char *copy = strdup(text), *pos = copy, *part;
	bool readonly = !copy;

	while (copy && (part = next_part(&pos, sep))) {
		const struct uvfio_option option = {"readonly", part + strlen("readonly=")};
		const struct uvfio_args args = {&option, 1};

		if (!strncmp(part, "readonly=", strlen("readonly=")))
			(void)uvfio_arg_bool(&args, "readonly", &readonly, NULL);
	}
	free(copy);
	return readonly;
}

/* Is one of the parts of @value, between colons, KEY=@wanted? */
static bool part_names(const char *value, const char *wanted, bool to_write)
{
	char *copy = strdup(value), *pos = copy, *part;
	bool found = false;

	while (copy && !found && (part = next_part(&pos, ':'))) {
		char *equals = strchr(part, '=');

		found = equals && !strcmp(equals + 1, wanted);
	}
	free(copy);
	return found && !(to_write && says_readonly(value, ':'));
}

bool serve_spec_names(const char *text, const char *value, bool to_write)
{
	char *copy = strdup(text), *pos = copy, *part;
	bool found = false;

	if (copy)
		next_part(&pos, ','); /* the model */
	while (copy && !found && (part = next_part(&pos, ','))) {
		char *equals = strchr(part, '=');

		if (!equals)
			continue;
		found = (!strcmp(equals + 1, value) && !(to_write && says_readonly(text, ','))) ||
			part_names(equals + 1, value, to_write);
	}
	free(copy);
	return found;
}
