/* SPDX-License-Identifier: BSD-3-Clause */
/* `uvfio serve --device MODEL,…,socket=PATH …`: devices for VMMs, over vfio-user. */
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/log.h"
#include "cli/cli.h"
#include "vfio/observe.h"
#include "vfio/vfio.h"
#include "wire/wire.h"

#define MAX_DEVICES 4096u
#define BACKLOG     64

struct served {
	char *spec;   /* without what is ours */
	char *socket; /* path */
	struct wire_options options;
};

struct serve {
	struct vfio_policy policy;
	struct served *devices;
	unsigned nr_devices;
	bool verbose;
	struct uvfio_log *log;
	struct vfio_machine *machine;
	struct wire_server *server;
};

static void usage(FILE *out)
{
	fprintf(out,
		"usage: uvfio serve [OPTIONS]\n\n"
		"Serves PCI devices over vfio-user, for QEMU, cloud-hypervisor and others.\n\n"
		"  --device MODEL,KEY=VALUE...,socket=PATH\n"
		"                         add a device, and the socket where it is served (repeatable);\n"
		"                         `uvfio models` lists the keys.  mmap=on lets clients map\n"
		"                         doorbells, spin=N polls a busy client's socket for N us\n"
		"  --policy KNOB=VALUE    a policy knob of the machine (repeatable)\n"
		"  --verbose              say more\n"
		"  --help                 this\n\n"
		"It ends on SIGTERM and SIGINT.\n");
}

static int fail(const char *what, const char *why)
{
	fprintf(stderr, "uvfio serve: %s: %s\n", what, why);
	return -1;
}

/* Take KEY=VALUE out of a device's specification; a comma in a value is written twice. */
static char *take_key(char *spec, const char *key)
{
	size_t len = strlen(key);
	char *p = spec;

	while (*p) {
		char *start = p, *end, *value, *to;

		for (end = start; *end && (*end != ',' || end[1] == ','); end++)
			end += *end == ',';
		if (start == spec || strncmp(start, key, len) != 0 || start[len] != '=') {
			p = *end ? end + 1 : end;
			continue;
		}
		value = to = strndup(start + len + 1, (size_t)(end - start) - len - 1);
		if (!value)
			return NULL;
		for (char *from = value; *from; from++) {
			*to++ = *from;
			from += *from == ',';
		}
		*to = 0;
		memmove(start - 1, end, strlen(end) + 1);
		return value;
	}
	return NULL;
}

static int add_option(struct serve *serve, const char *arg)
{
	struct served *devices, *d;
	char *value;

	devices = realloc(serve->devices, (serve->nr_devices + 1) * sizeof(*devices));
	if (!devices || serve->nr_devices == MAX_DEVICES)
		return fail(arg, "too many devices");
	serve->devices = devices;
	d = &devices[serve->nr_devices++];
	*d = (struct served){.spec = strdup(arg)};
	wire_options_default(&d->options);
	if (!d->spec)
		return fail(arg, "out of memory");
	d->socket = take_key(d->spec, "socket");
	if (!d->socket)
		return fail(arg, "no socket=PATH, where it is to be served");
	value = take_key(d->spec, "mmap");
	if (value && strcmp(value, "on") != 0 && strcmp(value, "off") != 0)
		return fail(arg, "mmap is on or off");
	if (value && !strcmp(value, "on"))
		d->options.mmio = VFIO_MMIO_POLLED;
	free(value);
	value = take_key(d->spec, "spin");
	if (value) {
		char *end;
		unsigned long n = strtoul(value, &end, 10);

		if (*end || end == value || n > 1000000)
			return fail(arg, "spin is a number of microseconds up to 1000000");
		d->options.spin_us = (unsigned)n;
	}
	free(value);
	return 0;
}

/* A socket left by a server that is no more is replaced; one that is in use is not. */
static int listen_at(const char *path)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	struct stat st;
	mode_t mask;
	int fd, ret;

	if (strlen(path) >= sizeof(addr.sun_path))
		return fail(path, "longer than a socket's path can be (107 bytes)");
	strcpy(addr.sun_path, path);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return fail(path, strerror(errno));
	if (!lstat(path, &st) && S_ISSOCK(st.st_mode)) {
		if (!connect(fd, (struct sockaddr *)&addr, sizeof(addr)) || errno == EAGAIN) {
			close(fd);
			return fail(path, "another server listens there");
		}
		unlink(path);
		close(fd);
		fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
		if (fd < 0)
			return fail(path, strerror(errno));
	}
	mask = umask(0177);
	ret = bind(fd, (struct sockaddr *)&addr, sizeof(addr));
	umask(mask);
	if (ret || listen(fd, BACKLOG)) {
		ret = fail(path, strerror(errno));
		close(fd);
		return ret;
	}
	return fd;
}

static int add_device(struct serve *serve, const struct served *d)
{
	struct uvfio_error err = {""};
	struct wire_listener *listener;
	struct vfio_device **devs;
	char name[32] = "";
	unsigned nr;
	int fd, ret;

	if (vfio_machine_add_device(serve->machine, d->spec, &err))
		return fail(d->spec, err.msg);
	nr = vfio_machine_get_devices(serve->machine, &devs);
	if (devs)
		snprintf(name, sizeof(name), "%s", vfio_device_name(devs[nr - 1]));
	for (unsigned i = 0; devs && i < nr; i++)
		vfio_device_put(devs[i]);
	free(devs);
	fd = listen_at(d->socket);
	if (fd < 0)
		return -1;
	ret = wire_listen(serve->server, name, fd, &d->options, &listener, &err);
	return ret ? fail(d->spec, err.msg) : 0;
}

static int run(struct serve *serve, const sigset_t *set)
{
	struct uvfio_error err = {""};
	struct signalfd_siginfo info;
	int ret = 0, fd;

	serve->log = uvfio_log_new(2, serve->verbose ? UVFIO_LOG_DEBUG : UVFIO_LOG_WARN);
	serve->machine = vfio_machine_new(&serve->policy, serve->log, &err);
	if (!serve->machine)
		return fail("the machine", err.msg);
	for (unsigned i = 0; i < cli_nr_models() && !ret; i++)
		ret = vfio_machine_add_model(serve->machine, cli_models[i]);
	if (ret)
		return fail("a model", strerror(-ret));
	serve->server = wire_server_new(serve->machine, serve->log, &err);
	if (!serve->server)
		return fail("the server", err.msg);
	for (unsigned i = 0; i < serve->nr_devices; i++) {
		if (add_device(serve, &serve->devices[i]))
			return -1;
	}
	fd = signalfd(-1, set, SFD_CLOEXEC);
	if (fd < 0 || read(fd, &info, sizeof(info)) != (ssize_t)sizeof(info))
		ret = fail("signalfd", strerror(errno));
	if (fd >= 0)
		close(fd);
	return ret;
}

static void clean_up(struct serve *serve)
{
	wire_server_free(serve->server);
	if (serve->machine)
		vfio_machine_free(serve->machine);
	uvfio_log_free(serve->log);
	for (unsigned i = 0; i < serve->nr_devices; i++) {
		if (serve->devices[i].socket && serve->server)
			unlink(serve->devices[i].socket);
		free(serve->devices[i].spec);
		free(serve->devices[i].socket);
	}
	free(serve->devices);
}

int cmd_serve(int argc, char **argv)
{
	enum { DEVICE = 256, POLICY, VERBOSE, HELP };
	static const struct option options[] = {
		{"device", required_argument, NULL, DEVICE},
		{"policy", required_argument, NULL, POLICY},
		{"verbose", no_argument, NULL, VERBOSE},
		{"help", no_argument, NULL, HELP},
		{0},
	};
	struct serve serve = {0};
	struct uvfio_error err = {""};
	struct rlimit limit;
	sigset_t set;
	int c, ret = 0;

	vfio_policy_default(&serve.policy);
	argv[0] = (char *)"uvfio serve";
	while (!ret && (c = getopt_long(argc, argv, "vh", options, NULL)) != -1) {
		switch (c) {
		case DEVICE:
			ret = add_option(&serve, optarg);
			break;
		case POLICY:
			ret = vfio_policy_set(&serve.policy, optarg, &err);
			if (ret)
				fail("--policy", err.msg);
			break;
		case VERBOSE:
		case 'v':
			serve.verbose = true;
			break;
		case HELP:
		case 'h':
			usage(stdout);
			clean_up(&serve);
			return 0;
		default:
			ret = -1;
		}
	}
	if (!ret && (optind < argc || !serve.nr_devices))
		ret = fail(optind < argc ? argv[optind] : "no --device",
			   "`uvfio serve --help` lists the options");
	if (ret) {
		clean_up(&serve);
		return EXIT_USAGE;
	}
	if (!getrlimit(RLIMIT_NOFILE, &limit)) {
		limit.rlim_cur = limit.rlim_max;
		setrlimit(RLIMIT_NOFILE, &limit);
	}
	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigprocmask(SIG_BLOCK, &set, NULL);
	signal(SIGPIPE, SIG_IGN);
	ret = run(&serve, &set);
	clean_up(&serve);
	return ret ? 1 : 0;
}
