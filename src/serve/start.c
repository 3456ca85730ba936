/* SPDX-License-Identifier: BSD-3-Clause */
/* How the keeper begins and ends: what it inherits, control's socket, the server process. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <unistd.h>
#include "serve/channel.h"
#include "serve/keeper.h"
#include "serve/server.h"

/* Where `uvfio list` and so on reach the server.  Without a word about it, another server may have
 * the place already, or this user none: then there is none. */
static int make_control(struct keeper *keeper, struct uvfio_error *err)
{
	const struct serve_config *config = keeper->config;
	const char *path = config->control;
	struct serve_passed_socket *passed;
	char standard[CONTROL_PATH_MAX];
	int ret = 0;

	if (path && !strcmp(path, "off"))
		return 0;
	if (!path) {
		ret = control_path(config->machine ? config->machine : CONTROL_DEFAULT_MACHINE,
				   standard, err);
		path = standard;
	}
	passed = ret ? NULL : serve_passed_find(&keeper->passed, path);
	if (passed) {
		passed->used = true;
		keeper->control_fd = fcntl(passed->fd, F_DUPFD_CLOEXEC, 3);
		return 0;
	}
	if (!ret)
		ret = control_listen(path, 0600, err);
	if (ret >= 0) {
		keeper->control_fd = ret;
		snprintf(keeper->control_path, sizeof(keeper->control_path), "%s", path);
		return 0;
	}
	if (config->control || config->machine)
		return ret;
	keeper_complain("without control: %s (--machine NAME or --control PATH gives it a place, "
			"--control off none)",
			err->msg);
	return 0;
}

#define VF_FILES 256u /* that are counted for the VFs of a device: few are all in use at once */

/* About how many files the devices have that are said now; each VF has them anew. */
unsigned keeper_count_files(const struct keeper *keeper)
{
	unsigned nr = 0;

	for (const struct entry *e = keeper->entries; e; e = e->next) {
		const char *vfs = strstr(e->said.spec, ",vfs=");
		unsigned long more = vfs ? strtoul(vfs + strlen(",vfs="), NULL, 10) : 0;
		unsigned files = 0;

		for (const char *at = e->said.spec; (at = strstr(at, "file="));
		     at += strlen("file="))
			files++;
		nr += files;
		if (files)
			nr += more < VF_FILES / files ? (unsigned)more * files : VF_FILES;
	}
	return nr;
}

static int start_server(struct keeper *keeper, struct uvfio_error *err)
{
	int tell[2], ask[2];
	pid_t pid;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, tell))
		return uvfio_error_set(err, -errno, "socketpair: %s", strerror(errno));
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ask)) {
		close(tell[0]);
		close(tell[1]);
		return uvfio_error_set(err, -errno, "socketpair: %s", strerror(errno));
	}
	pid = fork();
	if (pid < 0)
		return uvfio_error_set(err, -errno, "cannot start the server process: %s",
				       strerror(errno));
	if (!pid) {
		const struct serve_server_config config = {
			.config = keeper->config,
			.identity = keeper->config->user ? &keeper->identity : NULL,
			.tell = tell[1],
			.ask = ask[1],
			.control_fd = keeper->control_fd,
			.sysfs_fd = keeper->sysfs_fd,
			.keeper_uid = geteuid(),
			.keeper_gid = getegid(),
			.nr_files = keeper_count_files(keeper),
		};

		close(tell[0]);
		close(ask[0]);
		close(keeper->signals);
		for (unsigned i = 0; i < keeper->passed.nr; i++)
			close(keeper->passed.list[i].fd);
		/* Not exit(): what it would run is for a process that may open files. */
		_exit(serve_server(&config));
	}
	close(tell[1]);
	close(ask[1]);
	keeper->control_keep = keeper->control_fd;
	keeper->control_fd = -1;
	if (keeper->sysfs_fd >= 0)
		close(keeper->sysfs_fd); /* it ends with the server */
	keeper->sysfs_fd = -1;
	keeper->server = pid;
	keeper->tell.sock = tell[0];
	fcntl(tell[0], F_SETFL, fcntl(tell[0], F_GETFL) | O_NONBLOCK);
	keeper->ask = ask[0];
	return 0;
}

static void raise_limit(void)
{
	struct rlimit limit;

	if (!getrlimit(RLIMIT_NOFILE, &limit)) {
		limit.rlim_cur = limit.rlim_max;
		setrlimit(RLIMIT_NOFILE, &limit);
	}
}

static int prepare(struct keeper *keeper, struct uvfio_error *err)
{
	const struct serve_config *config = keeper->config;
	sigset_t set;
	int ret;

	ret = serve_passed_take(&keeper->passed, err);
	if (ret)
		return ret;
	close_range(3 + keeper->passed.nr, ~0u, 0); /* whatever else was inherited */
	raise_limit();
	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGHUP);
	sigaddset(&set, SIGUSR2);
	sigaddset(&set, SIGCHLD);
	sigprocmask(SIG_BLOCK, &set, NULL);
	signal(SIGPIPE, SIG_IGN);
	keeper->signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	if (keeper->signals < 0)
		return uvfio_error_set(err, -errno, "signalfd: %s", strerror(errno));
	if (config->user) {
		ret = serve_identity_find(config->user, &keeper->identity, err);
		if (ret)
			return ret;
	}
	if (config->state)
		ret = serve_states_open(config->state, &keeper->states, err);
	for (unsigned i = 0; i < config->devices.nr && !ret; i++) {
		ret = keeper_add(keeper, &config->devices.list[i], false, err);
		vfio_token_wipe(&config->devices.list[i].token); /* the entry has it */
	}
	if (!ret)
		ret = keeper_load(keeper, err);
	if (!ret)
		ret = make_control(keeper, err);
	if (!ret && config->sysfs)
		ret = serve_mount(config->sysfs, &keeper->mount, &keeper->sysfs_fd, err);
	return ret;
}

/* We were started by a keeper to take the place of its server (keeper_upgrade.c): @text says how.
 */
static int run_successor(const struct serve_config *config, const char *text)
{
	struct serve_server_config server = {
		.config = config,
		.sysfs_fd = -1,
		.keeper_uid = geteuid(),
		.keeper_gid = getegid(),
	};
	struct serve_identity identity = {0};
	struct serve_devices loaded = {0};
	struct uvfio_error err = {""};
	int ret = 0;

	if (sscanf(text, "%d,%d,%d,%u", &server.tell, &server.ask, &server.control_fd,
		   &server.nr_files) != 4)
		ret = uvfio_error_set(&err, -EINVAL, SERVE_SUCCESSOR "=%s", text);
	unsetenv(SERVE_SUCCESSOR);
	raise_limit();
	signal(SIGPIPE, SIG_IGN);
	/* For users' own models, which the file may name; devices are the keeper's to tell. */
	if (!ret && config->load)
		ret = config->load(config->load_arg, &loaded, &err);
	serve_devices_fini(&loaded);
	if (!ret && config->user)
		ret = serve_identity_find(config->user, &identity, &err);
	if (ret) {
		keeper_complain("%s", err.msg);
		return 1;
	}
	if (config->user)
		server.identity = &identity;
	fcntl(server.tell, F_SETFD, FD_CLOEXEC);
	fcntl(server.ask, F_SETFD, FD_CLOEXEC);
	_exit(serve_server(&server));
}

int serve_run(const struct serve_config *config)
{
	const char *successor = getenv(SERVE_SUCCESSOR);

	struct keeper keeper = {.config = config,
				.tell.sock = -1,
				.ask = -1,
				.signals = -1,
				.control_fd = -1,
				.sysfs_fd = -1,
				.control_keep = -1,
				.upgrade = {.tell.sock = -1, .ask = -1},
				.busy = true};
	struct uvfio_error err = {""};
	char *text = malloc(SERVE_MAX_TEXT);
	int ret;

	if (successor) {
		free(text);
		return run_successor(config, successor);
	}
	ret = text ? prepare(&keeper, &err) : uvfio_error_set(&err, -ENOMEM, "out of memory");
	if (!ret)
		ret = start_server(&keeper, &err);
	if (ret) {
		keeper_complain("%s", err.msg);
		keeper.status = 1;
	} else {
		keeper_watch(&keeper, text);
	}
	serve_unmount(keeper.mount);
	while (keeper.entries)
		keeper_free_entry(&keeper, keeper.entries);
	if (keeper.control_path[0])
		unlink(keeper.control_path);
	if (keeper.control_fd >= 0)
		close(keeper.control_fd);
	if (keeper.control_keep >= 0)
		close(keeper.control_keep);
	if (keeper.sysfs_fd >= 0)
		close(keeper.sysfs_fd);
	serve_states_close(keeper.states);
	serve_passed_fini(&keeper.passed);
	serve_identity_fini(&keeper.identity);
	if (keeper.signals >= 0)
		close(keeper.signals);
	serve_outbox_fini(&keeper.tell);
	if (keeper.tell.sock >= 0)
		close(keeper.tell.sock);
	if (keeper.ask >= 0)
		close(keeper.ask);
	free(text);
	return keeper.status;
}
