/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Speaking to a running server: options, finding it, JSON-RPC.
 *
 * Without --machine and --control it is the one server that runs in the user's directory of control
 * sockets; when there are several, the user has to choose.
 */
#include <dirent.h>
#include <errno.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "cli/cli.h"
#include "cli/remote.h"
#include "control/wipe.h"

#define MAX_MACHINES 256u

/* ---- options ---- */

static void usage(FILE *out, const struct remote_command *c)
{
	fprintf(out, "usage: uvfio %s [OPTIONS]%s%s\n\n%s\n\n", c->name, c->arguments[0] ? " " : "",
		c->arguments, c->help);
	if (c->takes & REMOTE_MAPPINGS)
		fprintf(out, "  --mappings         all DMA mappings, not only the first ones\n");
	if (c->takes & REMOTE_FORCE)
		fprintf(out, "  --force            take it from its users\n");
	if (c->takes & REMOTE_SURPRISE)
		fprintf(out, "  --surprise         pull it out, and ask its users then\n");
	if (c->takes & REMOTE_PROMETHEUS)
		fprintf(out, "  --prometheus       in the text format of Prometheus\n");
	if (c->takes & REMOTE_EVENTS)
		fprintf(out,
			"  --events LIST      only these, with commas between: region-read,\n"
			"                     region-write, store, dma-map, dma-unmap, interrupt,\n"
			"                     fault, reset, open, close\n");
	if (c->takes & REMOTE_JSON)
		fprintf(out, "  --json             for programs\n");
	fprintf(out,
		"  --machine NAME     the server of this name (default: the one that runs)\n"
		"  --control SOCKET   the server with this control socket\n"
		"  --help             this\n\n"
		"The manual page is uvfio-%s(1).\n",
		c->name);
}

int remote_options(const struct remote_command *command, int argc, char **argv,
		   struct remote_options *o)
{
	enum { MACHINE = 256, CONTROL, HELP };
	static const struct option all[] = {
		{"machine", required_argument, NULL, MACHINE},
		{"control", required_argument, NULL, CONTROL},
		{"help", no_argument, NULL, HELP},
		{"json", no_argument, NULL, REMOTE_JSON},
		{"force", no_argument, NULL, REMOTE_FORCE},
		{"surprise", no_argument, NULL, REMOTE_SURPRISE},
		{"mappings", no_argument, NULL, REMOTE_MAPPINGS},
		{"prometheus", no_argument, NULL, REMOTE_PROMETHEUS},
		{"events", required_argument, NULL, REMOTE_EVENTS},
	};
	struct option options[sizeof(all) / sizeof(all[0]) + 1] = {0};
	unsigned n = 0;
	char name[32];
	int c;

	for (unsigned i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
		if (all[i].val >= MACHINE || (command->takes & (unsigned)all[i].val))
			options[n++] = all[i];
	}
	*o = (struct remote_options){0};
	snprintf(name, sizeof(name), "uvfio %s", command->name);
	argv[0] = name; /* as getopt names itself in its messages */
	while ((c = getopt_long(argc, argv, "h", options, NULL)) != -1) {
		switch (c) {
		case MACHINE:
			o->machine = optarg;
			break;
		case CONTROL:
			o->control = optarg;
			break;
		case HELP:
		case 'h':
			usage(stdout, command);
			return 0;
		case '?':
			fprintf(stderr, "`uvfio %s --help` lists the options\n", command->name);
			return EXIT_USAGE;
		case REMOTE_EVENTS:
			o->events = optarg;
			/* fall through */
		default:
			o->given |= (unsigned)c;
		}
	}
	o->args = argv + optind;
	o->nr_args = argc - optind;
	if (o->machine && o->control) {
		fprintf(stderr, "uvfio %s: --machine and --control: give one of them\n",
			command->name);
		return EXIT_USAGE;
	}
	if (o->nr_args < command->min || o->nr_args > command->max) {
		fprintf(stderr, "uvfio %s: %s; usage: uvfio %s [OPTIONS]%s%s\n", command->name,
			o->nr_args < command->min ? "an argument is missing" : "too many arguments",
			command->name, command->arguments[0] ? " " : "", command->arguments);
		return EXIT_USAGE;
	}
	return -1;
}

/* ---- finding servers ---- */

static int complain(const struct remote_command *command, const char *message)
{
	fprintf(stderr, "uvfio %s: %s\n", command->name, message);
	return 1;
}

static void none_running(const struct remote_command *command, const char *dir)
{
	fprintf(stderr,
		"uvfio %s: no server runs here: there is no control socket that answers in %s.\n"
		"To start one: uvfio serve --device nvme,file=disk.img,socket=disk.sock\n"
		"One that has its control socket elsewhere is named with --control SOCKET.\n",
		command->name, dir);
}

/* The names of the machines whose server answers; how many. */
static unsigned look(const char *dir, char (*names)[CONTROL_PATH_MAX], unsigned max)
{
	DIR *d = opendir(dir);
	struct dirent *e;
	unsigned n = 0;

	while (d && n < max && (e = readdir(d))) {
		size_t len = strlen(e->d_name);
		char path[CONTROL_PATH_MAX];
		int fd;

		if (len <= 5 || strcmp(e->d_name + len - 5, ".sock") != 0 ||
		    (size_t)snprintf(path, sizeof(path), "%s/%s", dir, e->d_name) >= sizeof(path))
			continue;
		fd = control_connect(path);
		if (fd < 0 && fd != -EACCES)
			continue;
		if (fd >= 0)
			close(fd);
		snprintf(names[n++], CONTROL_PATH_MAX, "%.*s", (int)(len - 5), e->d_name);
	}
	if (d)
		closedir(d);
	return n;
}

static int compare_names(const void *a, const void *b)
{
	return strcmp(a, b);
}

/* The same for the user's directory, sorted; free() them.  0: a message has been printed. */
static unsigned running(const struct remote_command *command, char (**names)[CONTROL_PATH_MAX])
{
	struct uvfio_error err = {""};
	char dir[CONTROL_PATH_MAX];
	unsigned n;

	*names = NULL;
	if (control_directory(dir, &err)) {
		complain(command, err.msg);
		return 0;
	}
	*names = calloc(MAX_MACHINES, sizeof(**names));
	if (!*names) {
		complain(command, "out of memory");
		return 0;
	}
	n = look(dir, *names, MAX_MACHINES);
	if (!n)
		none_running(command, dir);
	qsort(*names, n, sizeof(**names), compare_names);
	return n;
}

static int cannot_connect(const struct remote_command *command, const struct remote *r, int error)
{
	if (error == -ENOENT || error == -ECONNREFUSED)
		fprintf(stderr,
			"uvfio %s: no server answers at %s (%s).\n"
			"To start one there: uvfio serve %s %s --device nvme,file=disk.img,socket=disk.sock\n",
			command->name, r->path,
			error == -ENOENT ? "there is no such socket" : "it has ended",
			r->machine[0] ? "--machine" : "--control",
			r->machine[0] ? r->machine : r->path);
	else if (error == -EACCES)
		fprintf(stderr,
			"uvfio %s: %s: permission denied; the server is another user's: become that user, or root\n",
			command->name, r->path);
	else
		fprintf(stderr, "uvfio %s: %s: %s\n", command->name, r->path, strerror(-error));
	return 1;
}

static int connect_to(const struct remote_command *command, struct remote *r)
{
	r->command = command->name;
	r->fd = control_connect(r->path);
	if (r->fd < 0)
		return cannot_connect(command, r, r->fd);
	r->tokener = json_tokener_new();
	return r->tokener ? 0 : complain(command, "out of memory");
}

int remote_open(const struct remote_command *command, const struct remote_options *o,
		struct remote *r)
{
	char(*names)[CONTROL_PATH_MAX];
	struct uvfio_error err = {""};
	unsigned n;

	*r = (struct remote){.fd = -1};
	if (o->control) {
		if ((size_t)snprintf(r->path, sizeof(r->path), "%s", o->control) >= sizeof(r->path))
			return complain(
				command,
				"--control: longer than a socket's path can be (107 bytes)");
		return connect_to(command, r);
	}
	if (o->machine) {
		if (control_path(o->machine, r->path, &err))
			return complain(command, err.msg);
		snprintf(r->machine, sizeof(r->machine), "%s", o->machine);
		return connect_to(command, r);
	}
	n = running(command, &names);
	if (n == 1)
		snprintf(r->machine, sizeof(r->machine), "%s", names[0]);
	if (n > 1) {
		fprintf(stderr, "uvfio %s: several servers run:", command->name);
		for (unsigned i = 0; i < n; i++)
			fprintf(stderr, "%s %s", i ? "," : "", names[i]);
		fprintf(stderr, "; choose one with --machine NAME\n");
	}
	free(names);
	if (n != 1)
		return 1;
	if (control_path(r->machine, r->path, &err))
		return complain(command, err.msg);
	return connect_to(command, r);
}

int remote_begin(const struct remote_command *command, int argc, char **argv,
		 struct remote_options *o, struct remote *r)
{
	int ret = remote_options(command, argc, argv, o);

	if (ret >= 0)
		return ret;
	ret = remote_open(command, o, r);
	if (!ret)
		return -1;
	remote_close(r);
	return ret;
}

int remote_each(const struct remote_command *command, const struct remote_options *o,
		int (*fn)(struct remote *r, void *arg), void *arg)
{
	char(*names)[CONTROL_PATH_MAX];
	struct remote r = {.fd = -1};
	struct uvfio_error err = {""};
	unsigned n;
	int ret = 0;

	if (o->machine || o->control || !(command->takes & REMOTE_ALL_MACHINES)) {
		ret = remote_open(command, o, &r);
		if (!ret)
			ret = fn(&r, arg);
		remote_close(&r);
		return ret;
	}
	n = running(command, &names);
	if (!n)
		ret = 1;
	for (unsigned i = 0; i < n; i++) {
		int one;

		r = (struct remote){.fd = -1};
		snprintf(r.machine, sizeof(r.machine), "%s", names[i]);
		one = control_path(names[i], r.path, &err) ? complain(command, err.msg)
							   : connect_to(command, &r);
		if (!one)
			one = fn(&r, arg);
		remote_close(&r);
		if (!ret)
			ret = one;
	}
	free(names);
	return ret;
}

void remote_close(struct remote *r)
{
	if (r->fd >= 0)
		close(r->fd);
	if (r->came)
		close(r->came - 1);
	r->came = 0;
	if (r->tokener)
		json_tokener_free(r->tokener);
	free(r->buf);
	r->fd = -1;
	r->tokener = NULL;
	r->buf = NULL;
}

/* ---- messages ---- */

static bool send_all(struct remote *r, const char *text, size_t len, const int *fds, unsigned nr)
{
	char control[CMSG_SPACE(16 * sizeof(int))] __attribute__((aligned(8))) = {0};
	struct iovec iov = {(void *)text, len};
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};
	struct cmsghdr *c;

	if (nr && nr <= 16) {
		msg.msg_control = control;
		msg.msg_controllen = CMSG_SPACE(nr * sizeof(int));
		c = CMSG_FIRSTHDR(&msg);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(nr * sizeof(int));
		memcpy(CMSG_DATA(c), fds, nr * sizeof(int));
	}
	while (iov.iov_len) {
		ssize_t n = sendmsg(r->fd, &msg, MSG_NOSIGNAL);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return false;
		iov = (struct iovec){(char *)iov.iov_base + n, iov.iov_len - (size_t)n};
		msg.msg_control = NULL;
		msg.msg_controllen = 0;
	}
	return true;
}

int remote_take_fd(struct remote *r)
{
	int fd = r->came - 1;

	r->came = 0;
	return fd;
}

static ssize_t receive(struct remote *r, char *buf, size_t room)
{
	char control[CMSG_SPACE(sizeof(int))] __attribute__((aligned(8)));
	struct iovec iov = {buf, room};
	struct msghdr msg = {.msg_iov = &iov,
			     .msg_iovlen = 1,
			     .msg_control = control,
			     .msg_controllen = sizeof(control)};
	ssize_t n = recvmsg(r->fd, &msg, MSG_CMSG_CLOEXEC);
	struct cmsghdr *c = n > 0 ? CMSG_FIRSTHDR(&msg) : NULL;
	int fd;

	if (c && c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS &&
	    c->cmsg_len == CMSG_LEN(sizeof(fd))) {
		fd = remote_take_fd(r); /* one that nobody wanted */
		if (fd >= 0)
			close(fd);
		memcpy(&fd, CMSG_DATA(c), sizeof(fd));
		r->came = fd + 1;
	}
	return n;
}

struct json_object *remote_next(struct remote *r)
{
	for (;;) {
		char *newline = r->len ? memchr(r->buf, '\n', r->len) : NULL;
		struct json_object *message;
		ssize_t n;

		if (newline) {
			json_tokener_reset(r->tokener);
			message =
				json_tokener_parse_ex(r->tokener, r->buf, (int)(newline - r->buf));
			r->len -= (size_t)(newline - r->buf) + 1;
			memmove(r->buf, newline + 1, r->len);
			if (message)
				return message;
			continue;
		}
		if (r->len == r->room) {
			size_t room = r->room ? 2 * r->room : 65536;
			char *buf = realloc(r->buf, room);

			if (!buf)
				return NULL;
			r->buf = buf;
			r->room = room;
		}
		n = receive(r, r->buf + r->len, r->room - r->len);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return NULL;
		r->len += (size_t)n;
	}
}

struct json_object *remote_take_result(struct remote *r, struct json_object *answer)
{
	struct json_object *error = member(answer, "error"), *result;
	char text[600];

	if (error) {
		fprintf(stderr, "uvfio %s: %s\n", r->command,
			printable(member_text(error, "message"), text, sizeof(text)));
		return NULL;
	}
	result = member(answer, "result");
	if (!result)
		fprintf(stderr, "uvfio %s: %s: the server's answer makes no sense\n", r->command,
			r->path);
	return json_object_get(result);
}

bool remote_send(struct remote *r, const char *method, struct json_object *params, const int *fds,
		 unsigned nr_fds)
{
	struct json_object *request = json_object_new_object();
	const char *text;
	size_t len;
	bool sent;

	json_object_object_add(request, "jsonrpc", json_object_new_string("2.0"));
	json_object_object_add(request, "id", json_object_new_uint64(++r->next_id));
	json_object_object_add(request, "method", json_object_new_string(method));
	if (params)
		json_object_object_add(request, "params", params);
	text = json_object_to_json_string_length(request, JSON_C_TO_STRING_PLAIN, &len);
	sent = send_all(r, text, len, fds, nr_fds) && send_all(r, "\n", 1, NULL, 0);
	/* There may be a token in it (C). */
	explicit_bzero((char *)text, len);
	json_wipe_tokens(request);
	json_object_put(request);
	return sent;
}

bool remote_is_answer(const struct remote *r, struct json_object *message)
{
	return member(message, "error") || member_uint(message, "id") == r->next_id;
}

struct json_object *remote_call_fds(struct remote *r, const char *method,
				    struct json_object *params, const int *fds, unsigned nr_fds)
{
	bool sent = remote_send(r, method, params, fds, nr_fds);
	struct json_object *answer, *result;

	/* Also when it could not be sent: the server may have said why it does not listen. */
	for (;;) {
		answer = remote_next(r);
		if (!answer) {
			fprintf(stderr, "uvfio %s: the server at %s has ended the connection\n",
				r->command, r->path);
			return NULL;
		}
		if (member(answer, "error") || (sent && remote_is_answer(r, answer)))
			break;
		json_object_put(answer);
	}
	result = remote_take_result(r, answer);
	json_object_put(answer);
	return result;
}

struct json_object *remote_call(struct remote *r, const char *method, struct json_object *params)
{
	return remote_call_fds(r, method, params, NULL, 0);
}

struct json_object *remote_device_params(const char *device)
{
	struct json_object *params;

	if (!device)
		return NULL;
	params = json_object_new_object();
	json_object_object_add(params, "device", json_object_new_string(device));
	return params;
}

struct json_object *remote_devices(struct remote *r, const char *method, const char *device)
{
	struct json_object *all, *page, *list, *more, *params;

	all = remote_call(r, method, remote_device_params(device));
	if (!all)
		return NULL;
	list = member(all, "devices");
	for (page = all; list && member(page, "next");) {
		params = json_object_new_object();
		json_object_object_add(params, "offset",
				       json_object_new_uint64(member_uint(page, "next")));
		if (page != all)
			json_object_put(page);
		page = remote_call(r, method, params);
		if (!page) {
			json_object_put(all);
			return NULL;
		}
		more = member(page, "devices");
		for (size_t i = 0; more && i < json_object_array_length(more); i++)
			json_object_array_add(list,
					      json_object_get(json_object_array_get_idx(more, i)));
	}
	if (page != all)
		json_object_put(page);
	json_object_object_del(all, "next");
	return all;
}
