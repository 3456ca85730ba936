/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * `uvfio add MODEL,KEY=VALUE…`: add a device to a running server.
 *
 * The server may be confined so that it can open nothing any more.  So this opens, with its own
 * user's rights, the files that the options name, makes the listening socket, and sends all of it
 * along.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/cli.h"
#include "cli/remote.h"

#define MAX_FILES 16u

struct files {
	int fds[MAX_FILES];
	unsigned nr;
	struct json_object *names; /* what "fds" says of them */
	char socket[CONTROL_PATH_MAX];
};

/* The next part of @*pos up to a single comma, with doubled commas made one; NULL at the end. */
static char *next_part(char **pos)
{
	char *start = *pos, *in = start, *out = start;

	if (!start)
		return NULL;
	for (; *in; in++) {
		if (*in == ',') {
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

/* Is @key of @model a file? */
static bool names_file(const char *model, const char *key)
{
	for (const struct uvfio_model *const *m = cli_models; *m; m++) {
		for (unsigned i = 0; !strcmp((*m)->name, model) && i < (*m)->nr_keys; i++) {
			if (!strcmp((*m)->keys[i].name, key))
				return (*m)->keys[i].arg && !strcmp((*m)->keys[i].arg, "PATH");
		}
	}
	return false;
}

static void take(struct files *f, const char *key, const char *value, int fd)
{
	struct json_object *entry = json_object_new_object();

	json_object_object_add(entry, "key", json_object_new_string(key));
	json_object_object_add(entry, "value", json_object_new_string(value));
	json_object_array_add(f->names, entry);
	f->fds[f->nr++] = fd;
}

static int open_file(struct files *f, const char *key, const char *path, bool readonly)
{
	int fd = open(path, (readonly ? O_RDONLY : O_RDWR) | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);

	if (fd < 0) {
		fprintf(stderr, "uvfio add: %s=%s: cannot open it%s: %s\n", key, path,
			readonly ? "" : " for writing", strerror(errno));
		return -1;
	}
	take(f, key, path, fd);
	return 0;
}

static int make_socket(struct files *f, const char *path)
{
	struct uvfio_error err = {""};
	int fd = control_listen(path, 0600, &err);

	if (fd < 0) {
		fprintf(stderr, "uvfio add: socket=: %s\n", err.msg);
		return -1;
	}
	snprintf(f->socket, sizeof(f->socket), "%s", path);
	take(f, "socket", path, fd);
	return 0;
}

/* Open what @spec names.  0 or -1 with a message. */
static int open_all(struct files *f, const char *spec)
{
	char *text = strdup(spec), *pos = text, *model, *part;
	bool readonly = strstr(spec, ",readonly=on") != NULL;
	int ret = 0;

	if (!text)
		return -1;
	model = next_part(&pos);
	while (!ret && (part = next_part(&pos))) {
		char *value = strchr(part, '=');

		if (!value)
			continue; /* the server will say what is wrong with it */
		*value++ = '\0';
		if (f->nr == MAX_FILES) {
			fprintf(stderr, "uvfio add: more than %u files\n", MAX_FILES);
			ret = -1;
		} else if (!strcmp(part, "socket")) {
			ret = make_socket(f, value);
		} else if (names_file(model, part)) {
			ret = open_file(f, part, value, readonly);
		}
	}
	free(text);
	return ret;
}

int cmd_add(int argc, char **argv)
{
	static const struct remote_command command = {
		.name = "add",
		.arguments = "MODEL[,KEY=VALUE...][,socket=PATH]",
		.help = "Adds a device to a running server, and prints its address.  The options are those\n"
			"of `uvfio serve --device`; `uvfio models` lists them.  Files are opened by you.",
		.min = 1,
		.max = 1,
	};
	struct files f = {.nr = 0};
	struct json_object *params, *result = NULL;
	struct remote_options o;
	struct remote r;
	int ret = remote_options(&command, argc, argv, &o);

	if (ret >= 0)
		return ret;
	ret = remote_open(&command, &o, &r);
	if (ret)
		return ret;
	f.names = json_object_new_array();
	ret = open_all(&f, o.args[0]) ? 1 : 0;
	if (!ret) {
		params = json_object_new_object();
		json_object_object_add(params, "device", json_object_new_string(o.args[0]));
		json_object_object_add(params, "fds", json_object_get(f.names));
		result = remote_call_fds(&r, "add", params, f.fds, f.nr);
		ret = !result;
	}
	if (result)
		printf("%s\n", member_text(result, "device"));
	else if (f.socket[0])
		unlink(f.socket);
	for (unsigned i = 0; i < f.nr; i++)
		close(f.fds[i]);
	json_object_put(f.names);
	json_object_put(result);
	remote_close(&r);
	return ret;
}
