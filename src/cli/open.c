/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * `uvfio open DEVICE -- COMMAND`: run a command with a vfio-user socket of a device as
 * descriptor 3.
 *
 * The server checks the token (C) and makes the connection; the command, which knows nothing of
 * tokens, uses it.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/cli.h"
#include "cli/remote.h"
#include "vfio/token.h"

#define COMMAND_FD 3

static void usage(FILE *out)
{
	fprintf(out,
		"usage: uvfio open [OPTIONS] DEVICE -- COMMAND [ARG...]\n\n"
		"Runs COMMAND with a vfio-user socket of DEVICE as its descriptor 3: to the driver API\n"
		"that is \"fd:3\".  DEVICE may be \"0000:01:00.1 vf_token=UUID\".  QEMU takes paths only:\n"
		"`uvfio serve` makes them (vf-sockets=).\n\n"
		"  --vf-token UUID        the VF token of DEVICE or of its PF\n"
		"  --vf-token-file FILE   the same from a file with one UUID in it\n"
		"  --machine NAME         the server of this name (default: the one that runs)\n"
		"  --control SOCKET       the server with this control socket\n"
		"  --help                 this\n\n"
		"The manual page is uvfio-open(1).\n");
}

static int complain(const char *text)
{
	fprintf(stderr, "uvfio open: %s\n", text);
	return EXIT_USAGE;
}

/* The text in the place of an argument, which the process list would show, is written over. */
static int take_token(char *text, struct vfio_token *token, bool *given)
{
	int ret = strlen(text) != VFIO_TOKEN_TEXT || vfio_token_parse(text, token);

	memset(text, '*', strlen(text));
	if (*given)
		return complain("a token is given twice; give it once");
	*given = true;
	return ret ? complain("--vf-token: what is given is no UUID; `uuidgen` makes one") : 0;
}

static int take_file(const char *path, struct vfio_token *token, bool *given)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK), ret;
	struct uvfio_error err = {""};
	bool shared = false;

	if (*given)
		ret = uvfio_error_set(&err, -EINVAL, "a token is given twice; give it once");
	else if (fd < 0)
		ret = uvfio_error_set(&err, -errno, "%s: %s", path, strerror(errno));
	else
		ret = vfio_token_from_file(fd, path, token, &shared, &err);
	if (fd >= 0)
		close(fd);
	if (shared)
		fprintf(stderr, "uvfio open: %s: %s\n", path, VFIO_TOKEN_SHARED);
	*given = true;
	return ret ? complain(err.msg) : 0;
}

static int parse(int argc, char **argv, struct remote_options *o, struct vfio_token *token,
		 bool *given)
{
	enum { MACHINE = 256, CONTROL, TOKEN, TOKEN_FILE, HELP };
	static const struct option options[] = {
		{"machine", required_argument, NULL, MACHINE},
		{"control", required_argument, NULL, CONTROL},
		{"vf-token", required_argument, NULL, TOKEN},
		{"vf-token-file", required_argument, NULL, TOKEN_FILE},
		{"help", no_argument, NULL, HELP},
		{0},
	};
	int c, ret = 0;

	argv[0] = (char *)"uvfio open"; /* as getopt names itself in its messages */
	while (!ret && (c = getopt_long(argc, argv, "h", options, NULL)) != -1) {
		switch (c) {
		case MACHINE:
			o->machine = optarg;
			break;
		case CONTROL:
			o->control = optarg;
			break;
		case TOKEN:
			ret = take_token(optarg, token, given);
			break;
		case TOKEN_FILE:
			ret = take_file(optarg, token, given);
			break;
		case HELP:
		case 'h':
			usage(stdout);
			exit(0);
		default:
			fprintf(stderr, "`uvfio open --help` lists the options; those of COMMAND "
					"come behind `--`\n");
			ret = EXIT_USAGE;
		}
	}
	o->args = argv + optind;
	o->nr_args = argc - optind;
	if (!ret && o->machine && o->control)
		ret = complain("--machine and --control: give one of them");
	if (!ret && o->nr_args < 2)
		ret = complain("a device and a command are needed: uvfio open [OPTIONS] DEVICE -- "
			       "COMMAND [ARG...]");
	return ret;
}

/* The socket, or -1 with a message printed. */
static int open_device(struct remote *r, const char *name, const struct vfio_token *token)
{
	struct json_object *params = json_object_new_object(), *result;
	char *text = NULL;
	int fd;

	if (token) {
		char option[VFIO_TOKEN_STRING];

		vfio_token_string("", token, option);
		if (asprintf(&text, "%s%s", name, option) < 0)
			text = NULL;
		explicit_bzero(option, sizeof(option));
	}
	json_object_object_add(params, "name", json_object_new_string(text ? text : name));
	vfio_token_wipe_text(text);
	free(text);
	result = remote_call(r, "open", params);
	fd = result ? remote_take_fd(r) : -1;
	if (result && fd < 0)
		fprintf(stderr, "uvfio open: %s: no socket came with the server's answer\n",
			r->path);
	json_object_put(result);
	return fd;
}

int cmd_open(int argc, char **argv)
{
	static const struct remote_command command = {.name = "open"};
	struct remote_options o = {0};
	struct vfio_token token;
	bool given = false;
	struct remote r;
	int fd = -1, ret = parse(argc, argv, &o, &token, &given);

	if (!ret)
		ret = remote_open(&command, &o, &r);
	else
		return ret;
	if (!ret)
		fd = open_device(&r, o.args[0], given ? &token : NULL);
	vfio_token_wipe(&token);
	vfio_token_redact(o.args[0]);
	remote_close(&r);
	if (fd < 0)
		return 1;
	if (fd == COMMAND_FD ? fcntl(fd, F_SETFD, 0) : dup2(fd, COMMAND_FD) < 0) {
		fprintf(stderr, "uvfio open: descriptor %d: %s\n", COMMAND_FD, strerror(errno));
		return 1;
	}
	fprintf(stderr, "uvfio open: %.12s is descriptor %d of %s\n", o.args[0], COMMAND_FD,
		o.args[1]);
	execvp(o.args[1], o.args + 1);
	ret = errno;
	fprintf(stderr, "uvfio open: cannot run %s: %s\n", o.args[1], strerror(ret));
	return ret == ENOENT ? 127 : 126;
}
