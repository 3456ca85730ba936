/* SPDX-License-Identifier: BSD-3-Clause */
#include <errno.h>
#include <fcntl.h>
#include <json.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "cli/json_file.h"
#include "control/wipe.h"
#include "vfio/token.h"
#include "vfio/vfio.h"

#define MAX_CONFIG (1u << 20) /* bytes */

/* The whole of the file in @text (MAX_CONFIG bytes); returns its length or -errno. */
static ssize_t read_config(const char *path, char *text, struct uvfio_error *err)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	size_t len = 0;
	ssize_t n = fd < 0 ? -1 : 1;

	while (n > 0 && len < MAX_CONFIG) {
		n = read(fd, text + len, MAX_CONFIG - len);
		len += n > 0 ? (size_t)n : 0;
	}
	if (n < 0)
		uvfio_error_set(err, -errno, "--config %s: cannot read it: %s", path,
				strerror(errno));
	else if (len == MAX_CONFIG)
		n = uvfio_error_set(err, -EFBIG, "--config %s: larger than 1 MiB", path);
	if (fd >= 0)
		close(fd);
	return n < 0 ? -1 : (ssize_t)len;
}

/* The object in @text, or NULL and where it went wrong. */
static struct json_object *parse_config(const char *path, const char *example, const char *text,
					size_t len, struct uvfio_error *err)
{
	struct json_tokener *tokener = json_tokener_new();
	enum json_tokener_error why;
	struct json_object *root;
	unsigned line = 1;
	size_t end;

	if (!tokener) {
		uvfio_error_set(err, -ENOMEM, "out of memory");
		return NULL;
	}
	if (json_reserve(tokener, len + 1)) {
		json_tokener_free(tokener);
		uvfio_error_set(err, -ENOMEM, "out of memory");
		return NULL;
	}
	root = json_tokener_parse_ex(tokener, text, (int)len);
	json_wipe_tokener(tokener, len + 1);
	why = json_tokener_get_error(tokener);
	end = json_tokener_get_parse_end(tokener);
	json_tokener_free(tokener);
	while (why == json_tokener_success && end < len && strchr(" \t\r\n", text[end]))
		end++;
	for (size_t i = 0; i < end; i++)
		line += text[i] == '\n';
	if (why == json_tokener_continue)
		uvfio_error_set(err, -EINVAL,
				"--config %s: the file ends before the JSON object does (like %s)",
				path, example);
	else if (why != json_tokener_success)
		uvfio_error_set(err, -EINVAL, "--config %s: not JSON, line %u: %s", path, line,
				json_tokener_error_desc(why));
	else if (end != len)
		uvfio_error_set(err, -EINVAL,
				"--config %s: line %u: something stands behind the JSON object",
				path, line);
	else if (!json_object_is_type(root, json_type_object))
		uvfio_error_set(err, -EINVAL, "--config %s: it must hold one JSON object, like %s",
				path, example);
	else
		return root;
	json_object_put(root);
	return NULL;
}

struct json_object *json_file_read(const char *path, const char *example, char **text,
				   struct uvfio_error *err)
{
	char *buf = calloc(1, MAX_CONFIG + 1);
	struct json_object *root;
	ssize_t len;

	if (!buf) {
		uvfio_error_set(err, -ENOMEM, "out of memory");
		return NULL;
	}
	len = read_config(path, buf, err);
	root = len < 0 ? NULL : parse_config(path, example, buf, (size_t)len, err);
	if (root && text) {
		*text = buf;
		return root;
	}
	vfio_token_wipe_text(buf); /* there may be a token in it (C) */
	free(buf);
	return root;
}

/*
 * A scan of well-formed JSON: strings, and how deep we are.  At depth 1 a string followed by a
 * colon is a key; inside the array of the wanted key, at depth 2, each value after '[' or ',' is an
 * item.
 */
unsigned json_file_line(const char *text, const char *key, unsigned index)
{
	unsigned line = 1, depth = 0, nr = 0, item = 0;
	bool wanted = false, fresh = false;

	for (const char *p = text; *p; p++) {
		bool value = !strchr(" \t\r\n]},:", *p);

		if (*p == '\n')
			line++;
		if (depth == 2 && wanted && fresh && value) {
			item = line;
			fresh = false;
			if (nr++ == index)
				return item;
		}
		if (*p == '"') {
			const char *start = p + 1;

			for (p++; *p && *p != '"'; p++)
				p += *p == '\\' && p[1];
			if (!*p)
				break;
			if (depth == 1 && p[1 + strspn(p + 1, " \t\r\n")] == ':')
				wanted = (size_t)(p - start) == strlen(key) &&
					 !strncmp(start, key, strlen(key));
			else if (depth == 1 && wanted)
				item = line; /* one string in place of an array */
		} else if (*p == '[' || *p == '{') {
			fresh = ++depth == 2;
		} else if (*p == ']' || *p == '}') {
			depth--;
		} else if (*p == ',' && depth == 2) {
			fresh = true;
		}
	}
	return item;
}

int json_file_policy(struct json_object *object, struct vfio_policy *policy, const char *path,
		     struct uvfio_error *err)
{
	json_object_object_foreach(object, knob, setting)
	{
		char assignment[256];
		const char *text = json_object_get_string(setting);
		int ret;

		if (json_object_is_type(setting, json_type_boolean))
			text = json_object_get_boolean(setting) ? "Y" : "N";
		if (!text || (size_t)snprintf(assignment, sizeof(assignment), "%s=%s", knob,
					      text) >= sizeof(assignment))
			return uvfio_error_set(err, -EINVAL,
					       "%s%spolicy \"%s\" has no usable value",
					       path ? path : "", path ? ": " : "", knob);
		ret = vfio_policy_set(policy, assignment, err);
		if (ret)
			return ret;
	}
	return 0;
}
