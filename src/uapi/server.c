/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * S: starts the machine and the program, watches both, and ends when nobody is left to serve.
 *
 *   fork C ─▶ machine, devices ─▶ tree to C ─▶ listener from C ─▶ receivers ─▶ GO
 *
 * The main thread then waits for one of: C stopped, continued or ended; the listener reports that
 * no task is left under the filter; P0 has gone, in which case what it started is killed.  It stays
 * alive throughout, since it is what the program's parent-death signal refers to.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <malloc.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include "base/log.h"
#include "base/trash.h"
#include "sysfs/sysfs.h"
#include "uapi/child.h"
#include "uapi/files.h"
#include "uapi/message.h"
#include "uapi/process.h"
#include "uapi/receive.h"
#include "uapi/sandbox.h"
#include "uapi/served.h"
#include "uapi/server.h"
#include "uapi/sysfs.h"
#include "uapi/task.h"
#include "uapi/trace.h"
#include "uapi/tree.h"
#include "vfio/token.h"
#include "vfio/uio.h"

struct run {
	struct uapi_server server;
	void *served; /* by config->serve() */
	int up;       /* socket to P0, -1 when it need not be told any more */
	int child;    /* socket to C */
	int sigfd;    /* SIGCHLD */
	int tree;     /* memfd, until the program's view is made */
	pid_t pid;    /* C */
	bool ended;   /* C has ended, */
	int status;   /* like this */
};

static int complain(const struct uvfio_error *err)
{
	fprintf(stderr, "uvfio run: %s\n", err->msg);
	return -1;
}

/* ---- start ---- */

static void leave_session(struct run *run)
{
	struct rlimit limit;
	const struct uapi_config *config = run->server.config;
	int keep[3] = {run->up, run->child, config->join_fd};
	sigset_t sync;

	setsid();
	uapi_drop_fds(keep, config->join ? 3 : 2);
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	prctl(PR_SET_NAME, "uvfio-server");
	/* Memory that is hardly used is not worth a heap a thread. */
	mallopt(M_ARENA_MAX, 2);
	/* Each open file of the program takes some here. */
	if (!getrlimit(RLIMIT_NOFILE, &limit)) {
		limit.rlim_cur = limit.rlim_max;
		setrlimit(RLIMIT_NOFILE, &limit);
	}
	/* What the processor raises must reach its handler (base/guard.h). */
	sigemptyset(&sync);
	sigaddset(&sync, SIGBUS);
	sigaddset(&sync, SIGSEGV);
	sigaddset(&sync, SIGILL);
	sigaddset(&sync, SIGFPE);
	sigaddset(&sync, SIGABRT);
	sigprocmask(SIG_UNBLOCK, &sync, NULL);
	for (int sig = 1; sig < NSIG; sig++) {
		if (sigismember(&sync, sig) == 1)
			signal(sig, SIG_DFL);
	}
}

static int make_machine(struct run *run)
{
	const struct uapi_config *config = run->server.config;
	struct uvfio_error err = {""};
	char what[80];

	run->server.machine = vfio_machine_new(&config->policy, run->server.log, &err);
	if (!run->server.machine)
		return complain(&err);
	vfio_machine_set_uio_first(run->server.machine, uapi_first_uio());
	for (unsigned i = 0; i < config->nr_models; i++) {
		int ret = vfio_machine_add_model(run->server.machine, config->models[i]);

		if (ret) {
			snprintf(what, sizeof(what), "the model %s cannot be used: %s",
				 config->models[i]->name, strerror(-ret));
			uvfio_error_set(&err, ret, "%s", what);
			return complain(&err);
		}
	}
	for (unsigned i = 0; i < config->nr_devices; i++) {
		if (vfio_machine_add_device(run->server.machine, config->devices[i], &err)) {
			vfio_token_redact(config->devices[i]);
			fprintf(stderr, "uvfio run: --device %s: %s\n", config->devices[i],
				err.msg);
			return -1;
		}
		vfio_token_redact(config->devices[i]);
	}
	run->server.core = uapi_core_local(run->server.machine);
	if (!run->server.core) {
		uvfio_error_set(&err, -ENOMEM, "out of memory");
		return complain(&err);
	}
	return 0;
}

static int find_machine(struct run *run)
{
	const struct uapi_config *config = run->server.config;
	struct uvfio_error err = {""};

	run->server.who = (struct vfio_who){"vfio", (int64_t)getuid()};
	run->server.log = uvfio_log_new(2, config->verbose ? UVFIO_LOG_DEBUG : UVFIO_LOG_WARN);
	if (config->join) {
		run->server.core = config->join(config, run->server.log, &err);
		if (!run->server.core)
			return complain(&err);
	} else if (make_machine(run)) {
		return -1;
	}
	if (config->trace) {
		run->server.trace = uapi_trace_new(config->trace, config->trace_json,
						   run->server.machine, &err);
		if (!run->server.trace)
			return complain(&err);
	}
	if (config->serve &&
	    config->serve(config, run->server.machine, run->server.log, &run->served, &err))
		return complain(&err);
	return 0;
}

/* Is any device's mode `exact`?  That takes the helper. */
static bool wants_helper(const struct run *run)
{
	const struct uapi_core *core = run->server.core;
	bool ret = false;

	for (unsigned i = 0; i < core->nr_devices; i++) {
		int mode = core->devices[i].mmio;

		ret |= mode == 'e' || (!mode && run->server.config->mmio == VFIO_MMIO_EXACT);
	}
	return ret;
}

static int find_helper(bool wanted)
{
	char path[4096];

	if (!wanted)
		return 0;
	if (!uapi_find_helper(path, sizeof(path))) {
		fprintf(stderr,
			"uvfio run: --mmio exact needs the helper " UAPI_HELPER_NAME
			", which is neither beside this executable's build nor installed (it is built when "
			"Zydis is there: libzydis-dev).  Remedies: build it, or --mmio polled, or --mmio "
			"none\n");
		return -1;
	}
	if (strpbrk(path, ": ")) {
		fprintf(stderr,
			"uvfio run: the helper is %s, but LD_PRELOAD cannot name a file with a space or a "
			"colon in its path: move the build or installation\n",
			path);
		return -1;
	}
	return 0;
}

static int send_tree(struct run *run)
{
	struct uvfio_error err = {""};
	bool helper = wants_helper(run);

	if (find_helper(helper))
		return -1;
	run->tree = uapi_tree_make(run->server.core, &err);
	if (run->tree < 0)
		return complain(&err);
	uapi_send(run->child, UAPI_MSG_TREE, helper, run->tree);
	return 0;
}

static int write_file(pid_t pid, const char *name, const char *text)
{
	char path[48];
	int fd, ret = 0;

	snprintf(path, sizeof(path), "/proc/%d/%s", pid, name);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	if (write(fd, text, strlen(text)) < 0)
		ret = -errno;
	close(fd);
	return ret;
}

/* Every id that is mapped here stays what it is; or where that is not allowed, ours alone. */
static int write_map(pid_t pid, const char *name, const char *own, unsigned id, bool all)
{
	char path[32], text[4096];
	unsigned long first, outside, count;
	size_t len = 0;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/self/%s", own);
	f = all ? fopen(path, "re") : NULL;
	if (f) {
		while (len < sizeof(text) - 64 &&
		       fscanf(f, "%lu %lu %lu", &first, &outside, &count) == 3)
			len += (size_t)snprintf(text + len, sizeof(text) - len, "%lu %lu %lu\n",
						first, first, count);
		fclose(f);
		if (len && !write_file(pid, name, text))
			return 0;
	}
	snprintf(text, sizeof(text), "%u %u 1\n", id, id);
	return write_file(pid, name, text);
}

static int map_user(pid_t pid)
{
	bool all = uapi_has_caps(1ull << CAP_SETUID | 1ull << CAP_SETGID);
	int ret = write_map(pid, "uid_map", "uid_map", geteuid(), all);

	if (!ret && !all)
		ret = write_file(pid, "setgroups", "deny");
	if (!ret)
		ret = write_map(pid, "gid_map", "gid_map", getegid(), all);
	return ret;
}

static void complain_of_sys(struct run *run, const char *why)
{
	const struct uapi_config *config = run->server.config;

	if (config->sys == UAPI_SYS_ON)
		fprintf(stderr,
			"uvfio run: --sysfs on: /sys cannot be served: %s (`uvfio doctor` says what it "
			"takes)\n",
			why);
	else
		uvfio_log(run->server.log, UVFIO_LOG_INFO,
			  "/sys is plain files, and writing there has no effect: %s", why);
}

/* C has mounted @fuse on its /sys, or cannot: -@why.  The tree for a /sys that is served, or -1. */
static int serve_sys(struct run *run, int why, int fuse)
{
	struct uapi_server *server = &run->server;
	struct uvfio_error err = {""};
	char text[80];
	int tree = -1;

	if (fuse < 0) {
		snprintf(text, sizeof(text), "/dev/fuse: %s", strerror(why));
		complain_of_sys(run, why != ENOTSUP   ? text
				     : !sysfs_built() ? "this uvfio was built without libfuse3"
						      : "--sysfs off");
		return -1;
	}
	server->served_sys = uapi_served_new(server->core, server->log, fuse, &err);
	if (server->served_sys)
		tree = uapi_tree_make_served(server->core, &err);
	if (tree < 0) {
		complain_of_sys(run, err.msg);
		uapi_served_free(server->served_sys);
		server->served_sys = NULL;
	}
	return tree;
}

/* C has its mounts, or does without. */
static int begin_sandbox(struct run *run, int refused)
{
	struct uvfio_error err = {""};
	int what = uapi_sandbox_begin(&run->server, run->pid, refused, run->tree, &err);

	close(run->tree);
	run->tree = -1;
	if (what < 0)
		return complain(&err);
	return uapi_send(run->child, UAPI_MSG_FILTER, what, -1);
}

/* C makes its namespaces, its mounts and the filter; what it cannot do it has said itself. */
static int prepare_child(struct run *run)
{
	struct uapi_server *server = &run->server;
	struct uapi_message msg;
	struct statx stx;
	int fd, fuse = -1;

	while (server->listener < 0) {
		if (uapi_receive(run->child, &msg, &fd) != 1)
			return -1;
		switch (msg.kind) {
		case UAPI_MSG_MAP_ME:
			uapi_send(run->child, UAPI_MSG_MAPPED, -map_user(run->pid), -1);
			break;
		case UAPI_MSG_IOMMUDIR:
			server->iommudir = fd;
			break;
		case UAPI_MSG_DEVDIR:
			server->devdir = fd;
			break;
		case UAPI_MSG_FUSE:
			fd = serve_sys(run, msg.value, fd);
			if (fd < 0 && server->config->sys == UAPI_SYS_ON)
				return -1;
			uapi_send(run->child, UAPI_MSG_SERVED, 0, fd);
			if (fd >= 0)
				close(fd);
			break;
		case UAPI_MSG_NODES:
			server->nodes = fd;
			break;
		case UAPI_MSG_SYSDIR:
			if (!server->served_sys)
				server->sysfs = uapi_sysfs_new(server->core, fd);
			else if (!statx(fd, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, 0, &stx))
				server->sys_dev = makedev(stx.stx_dev_major, stx.stx_dev_minor);
			close(fd);
			break;
		case UAPI_MSG_MIG_FUSE:
			fuse = fd;
			break;
		case UAPI_MSG_MIG_MOUNT:
			uapi_sandbox_migration(server, fuse, fd);
			break;
		case UAPI_MSG_SANDBOX:
			if (begin_sandbox(run, msg.value))
				return -1;
			break;
		case UAPI_MSG_LISTENER:
			server->listener = fd;
			break;
		default:
			return -1;
		}
	}
	return 0;
}

static void look_anew(void *files)
{
	uapi_files_look(files);
}

static int start_serving(struct run *run)
{
	struct uapi_server *server = &run->server;
	struct uvfio_error err = {""};

	server->tasks = uapi_tasks_new();
	server->memory = uapi_memory_cache(server);
	server->trash = uvfio_trash_new();
	if (!server->tasks || !server->memory || !server->trash) {
		uvfio_error_set(&err, -ENOMEM, "out of memory");
		return complain(&err);
	}
	server->files = uapi_files_new(server, &err);
	if (!server->files)
		return complain(&err);
	uapi_served_tell(server->served_sys, look_anew, server->files);
	server->pool = uapi_pool_new(server, &err);
	return server->pool ? 0 : complain(&err);
}

static int start_program(struct run *run)
{
	int pidfd = (int)syscall(SYS_pidfd_open, run->pid, 0);

	if (pidfd < 0) {
		fprintf(stderr, "uvfio run: cannot open a pidfd: %s\n", strerror(errno));
		return -1;
	}
	if (!uapi_send(run->up, UAPI_MSG_STARTED, run->pid, pidfd))
		uapi_send(run->child, UAPI_MSG_GO, 0, -1);
	close(pidfd);
	close(run->child);
	run->child = -1;
	return 0;
}

static int start(struct run *run)
{
	if (find_machine(run) || send_tree(run) || prepare_child(run) || start_serving(run) ||
	    start_program(run))
		return -1;
	if (chdir("/")) { /* do not keep a file system busy */
	}
	return 0;
}

/* ---- watch ---- */

static void on_child(struct run *run, pid_t pid, int status)
{
	if (pid != run->pid)
		return; /* inherited from the program */
	if (WIFSTOPPED(status)) {
		if (run->up >= 0)
			uapi_send(run->up, UAPI_MSG_STOPPED, WSTOPSIG(status), -1);
	} else if (WIFCONTINUED(status)) {
		/* By somebody who does not know P0. */
		if (run->up >= 0 && uapi_process_state(getppid()) == 'T')
			kill(getppid(), SIGCONT);
	} else {
		run->ended = true;
		run->status = status;
	}
}

static void reap_children(struct run *run)
{
	pid_t pid;
	int status;

	while ((pid = waitpid(-1, &status, WNOHANG | WUNTRACED | WCONTINUED)) > 0)
		on_child(run, pid, status);
}

static bool nobody_left(const struct run *run)
{
	struct pollfd fd = {.fd = run->server.listener};

	return poll(&fd, 1, 0) == 1 && (fd.revents & POLLHUP);
}

/* P0 ends now, for what the program started lives on: a daemon. */
static void let_go(struct run *run)
{
	int null = open("/dev/null", O_WRONLY | O_CLOEXEC);

	uapi_send(run->up, UAPI_MSG_LEFT, run->status, -1);
	close(run->up);
	run->up = -1;
	/* Nobody waits for our messages any more, but maybe for the end of the stream. */
	if (null >= 0) {
		dup2(null, 2);
		close(null);
	}
}

static void watch(struct run *run)
{
	bool told = false;

	while (!nobody_left(run)) {
		struct pollfd fds[3] = {{.fd = run->sigfd, .events = POLLIN},
					{.fd = run->server.listener},
					{.fd = run->up}}; /* -1 is ignored */

		if (poll(fds, 3, -1) < 0)
			continue;
		if (fds[0].revents) {
			struct signalfd_siginfo info;

			(void)!read(run->sigfd, &info, sizeof(info));
			reap_children(run);
			if (run->ended && !told && !nobody_left(run)) {
				told = true;
				let_go(run);
			}
		}
		if (run->up >= 0 && (fds[2].revents & (POLLHUP | POLLERR))) {
			close(run->up);
			run->up = -1;
			uapi_kill_children(NULL, 0);
		}
	}
	/* The filter goes before its last task can be waited for. */
	while (!run->ended) {
		int status;

		if (waitpid(run->pid, &status, 0) != run->pid)
			break;
		on_child(run, run->pid, status);
	}
}

/* ---- end ---- */

static void stop_serving(struct run *run)
{
	struct uapi_server *server = &run->server;

	if (server->pool)
		uapi_pool_settle(server->pool);
	uapi_served_tell(server->served_sys, NULL, NULL);
	uapi_files_free(server->files);
	uapi_sandbox_no_migration(server); /* threads that release devices used it */
	uapi_served_free(server->served_sys);
	server->served_sys = NULL;
	uapi_sysfs_free(server->sysfs);
	server->sysfs = NULL;
	uapi_sandbox_end(server);
	if (run->served)
		server->config->unserve(server->config, run->served);
	uapi_trace_free(server->trace);
	if (server->core)
		server->core->ops->free(server->core);
	if (server->machine)
		vfio_machine_free(server->machine);
	if (server->memory)
		memory_cache_free(server->memory);
	uvfio_trash_unref(server->trash);
	uapi_tasks_free(server->tasks);
	uvfio_log_free(server->log);
}

int uapi_server_main(const struct uapi_config *config, int up, const sigset_t *mask)
{
	struct run run = {.up = up,
			  .tree = -1,
			  .server = {.config = config,
				     .listener = -1,
				     .devdir = -1,
				     .iommudir = -1,
				     .nodes = -1}};
	sigset_t set;
	int pair[2];
	bool started;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair)) {
		fprintf(stderr, "uvfio run: cannot make a socket pair: %s\n", strerror(errno));
		goto failed;
	}
	pair[0] = uapi_fd_above_stdio(pair[0]);
	pair[1] = uapi_fd_above_stdio(pair[1]);
	run.pid = fork();
	if (run.pid < 0) {
		fprintf(stderr, "uvfio run: cannot fork: %s\n", strerror(errno));
		goto failed;
	}
	if (run.pid == 0) {
		close(pair[0]);
		close(up);
		uapi_child_main(config, pair[1], mask);
	}
	close(pair[1]);
	run.child = pair[0];
	leave_session(&run);
	sigemptyset(&set);
	sigaddset(&set, SIGCHLD);
	run.sigfd = signalfd(-1, &set, SFD_CLOEXEC);

	started = run.sigfd >= 0 && !start(&run);
	if (!started) {
		/* C leaves without a word when we are gone before GO. */
		if (run.child >= 0)
			shutdown(run.child, SHUT_RDWR);
		waitpid(run.pid, NULL, 0);
	} else {
		watch(&run);
	}
	stop_serving(&run);
	if (started) {
		if (run.up >= 0)
			uapi_send(run.up, UAPI_MSG_ENDED, run.status, -1);
		return 0;
	}
failed:
	uapi_send(run.up, UAPI_MSG_FAILED, UAPI_EXIT_FAILURE, -1);
	return UAPI_EXIT_FAILURE;
}
