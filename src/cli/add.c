/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * `uvfio add MODEL,KEY=VALUE…`: add a device to a running server.
 *
 * The server may be confined so that it can open nothing any more.  So this opens, with its own
 * user's rights, the files that the options name, makes the listening socket, and sends all of it
 * along.
 */
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli/cli.h"
#include "devices/models.h"
#include "cli/remote.h"
#include "vfio/token.h"

#define MAX_FILES 16u

struct files {
	int fds[MAX_FILES];
	unsigned nr;
	struct json_object *names;     /* what "fds" says of them */
	char socket[CONTROL_PATH_MAX]; /* absolute */
	mode_t mode;
	const char *group;
	char *spec; /* with the socket's absolute path */
	size_t spec_len;
	FILE *out; /* to it */
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

/* The keys of @model, as the server has it: it may be one of its user's own, or of another version.
 * NULL: there is none. */
static struct json_object *model_keys(struct json_object *models, const char *model)
{
	for (size_t i = 0; models && i < json_object_array_length(models); i++) {
		struct json_object *entry = json_object_array_get_idx(models, i);

		if (!strcmp(member_text(entry, "model"), model))
			return member(entry, "keys");
	}
	return NULL;
}

/* Is @key one of @keys that names a file? */
static bool names_file(struct json_object *keys, const char *key)
{
	for (size_t i = 0; keys && i < json_object_array_length(keys); i++) {
		struct json_object *entry = json_object_array_get_idx(keys, i);

		if (!strcmp(member_text(entry, "key"), key))
			return !strcmp(member_text(entry, "value"), "PATH");
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

/* Who else wants to know where it is has another working directory. */
static int absolute(const char *path, char out[CONTROL_PATH_MAX])
{
	char dir[PATH_MAX] = "";

	if (path[0] != '/' && !getcwd(dir, sizeof(dir)))
		return -1;
	if (snprintf(out, CONTROL_PATH_MAX, "%s%s%s", dir, dir[0] ? "/" : "", path) >=
	    (int)CONTROL_PATH_MAX) {
		fprintf(stderr, "uvfio add: socket=%s: with its directory longer than %u bytes\n",
			path, CONTROL_PATH_MAX - 1);
		return -1;
	}
	return 0;
}

static int make_socket(struct files *f)
{
	struct uvfio_error err = {""};
	const struct group *group = f->group ? getgrnam(f->group) : NULL;
	int fd, ret;

	if (f->group && !group) {
		fprintf(stderr, "uvfio add: group=%s: there is no such group\n", f->group);
		return -1;
	}
	/* The group first: nobody is let in who is not to be. */
	fd = control_listen(f->socket, group ? 0600 : f->mode, &err);
	ret = fd >= 0 && group ? control_socket_rights(f->socket, group->gr_gid, f->mode) : 0;
	if (ret) {
		uvfio_error_set(&err, ret, "%s: %s", f->socket, strerror(-ret));
		close(fd);
		unlink(f->socket);
		fd = -1;
	}
	if (fd < 0) {
		fprintf(stderr, "uvfio add: socket=: %s\n", err.msg);
		f->socket[0] = '\0';
		return -1;
	}
	take(f, "socket", f->socket, fd);
	return 0;
}

static void put_part(struct files *f, const char *key, const char *value)
{
	fprintf(f->out, "%s%s%s", ftell(f->out) ? "," : "", key, value ? "=" : "");
	for (; value && *value; value++) {
		if (*value == ',')
			putc(',', f->out);
		putc(*value, f->out);
	}
}

static int take_part(struct files *f, struct json_object *keys, char *part, bool readonly,
		     char **group)
{
	char *value = strchr(part, '='), *end;
	unsigned long mode;
	int ret = 0;

	if (!value) {
		put_part(f, part, NULL);
		return 0; /* the server will say what is wrong with it */
	}
	*value++ = '\0';
	if (!strcmp(part, "socket")) {
		if (absolute(value, f->socket))
			return -1;
		value = f->socket;
	} else if (!strcmp(part, "mode")) {
		mode = strtoul(value, &end, 8);
		if (!*end && end != value && mode <= 0777)
			f->mode = (mode_t)mode;
	} else if (!strcmp(part, "group") && !isdigit((unsigned char)*value)) {
		free(*group);
		*group = strdup(value); /* a number is the IOMMU group's */
		f->group = *group;
	} else if (names_file(keys, part) || !strcmp(part, "vf_token_file")) {
		if (f->nr + 1 == MAX_FILES) {
			fprintf(stderr, "uvfio add: more than %u files\n", MAX_FILES - 1);
			return -1;
		}
		ret = open_file(f, part, value, readonly || !strcmp(part, "vf_token_file"));
	}
	put_part(f, part, value);
	return ret;
}

/* Open what @spec names.  0 or -1 with a message. */
static int open_all(struct files *f, const char *spec, struct json_object *models)
{
	char *text = strdup(spec), *pos = text, *model, *part, *group = NULL;
	bool readonly = strstr(spec, ",readonly=on") != NULL;
	int ret = 0;

	f->out = open_memstream(&f->spec, &f->spec_len);
	f->mode = 0600;
	if (!text || !f->out) {
		fprintf(stderr, "uvfio add: out of memory\n");
		ret = -1;
	} else {
		model = next_part(&pos);
		put_part(f, model, NULL);
		while (!ret && (part = next_part(&pos)))
			ret = take_part(f, model_keys(models, model), part, readonly, &group);
	}
	if (!ret && f->socket[0])
		ret = make_socket(f);
	else
		f->socket[0] = '\0';
	if (f->out && fclose(f->out))
		ret = -1;
	if (text)
		explicit_bzero(text, strlen(spec));
	free(text);
	free(group);
	f->group = NULL;
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
	struct json_object *params, *models, *result = NULL;
	struct remote_options o;
	struct remote r;
	int ret = remote_begin(&command, argc, argv, &o, &r);

	if (ret >= 0)
		return ret;
	f.names = json_object_new_array();
	models = remote_call(&r, "models", NULL);
	ret = !models || open_all(&f, o.args[0], member(models, "models"));
	if (!ret) {
		params = json_object_new_object();
		json_object_object_add(params, "device", json_object_new_string(f.spec));
		json_object_object_add(params, "fds", json_object_get(f.names));
		result = remote_call_fds(&r, "add", params, f.fds, f.nr);
		ret = !result;
	}
	vfio_token_wipe_text(f.spec);
	vfio_token_redact(o.args[0]);
	if (result)
		printf("%s\n", member_text(result, "device"));
	else if (f.socket[0])
		unlink(f.socket);
	for (unsigned i = 0; i < f.nr; i++)
		close(f.fds[i]);
	free(f.spec);
	json_object_put(models);
	json_object_put(f.names);
	json_object_put(result);
	remote_close(&r);
	return ret;
}
