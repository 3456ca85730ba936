/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * P0: the process that the user started.  It stands for the program in its parent's eyes.
 *
 * Theory of operation.  All signals are blocked and read from a signalfd, so nothing of the
 * program's inheritance (dispositions, mask) is changed.  A signal that the terminal sent has gone
 * to the whole process group, and so to the program; one that was sent to P0 alone is passed on.
 *
 *      STARTING ──STARTED──▶ RUNNING ──ENDED or LEFT──▶ end as the program ended
 *          └──FAILED──▶ exit 125      └──the server died──▶ kill the program, exit 125
 *
 * P0 stops when S reports that the program stopped, by the same signal, and is continued by whoever
 * continues the process group.
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include "uapi/message.h"
#include "uapi/process.h"
#include "uapi/server.h"
#include "uapi/uapi.h"
#include "vfio/token.h"

#define MAX_EARLIER 64

struct supervisor {
	int sock, sigfd;
	int pidfd; /* of the program; -1 while starting */
	pid_t server, program;
	bool ended, left;
	int status;                 /* wait status of the program */
	pid_t earlier[MAX_EARLIER]; /* children from before uvfio was executed: not ours to kill */
	unsigned nr_earlier;
};

/* End by @sig as the program did, without a second core dump. */
static void die_by(int sig)
{
	struct rlimit none = {0, 0};
	sigset_t set;

	setrlimit(RLIMIT_CORE, &none);
	prctl(PR_SET_DUMPABLE, 0);
	signal(sig, SIG_DFL);
	raise(sig);
	sigemptyset(&set);
	sigaddset(&set, sig);
	sigprocmask(SIG_UNBLOCK, &set, NULL);
	_exit(128 + sig); /* a signal that does not kill: cannot be */
}

static void stop_by(int sig)
{
	struct sigaction dfl = {.sa_handler = SIG_DFL}, old;
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, sig);
	sigaction(sig, &dfl, &old);
	raise(sig);
	sigprocmask(SIG_UNBLOCK, &set, NULL); /* stops here */
	sigprocmask(SIG_BLOCK, &set, NULL);
	sigaction(sig, &old, NULL);
}

static bool stopped(pid_t pid)
{
	return uapi_process_state(pid) == 'T';
}

static void kill_program(struct supervisor *sup)
{
	if (sup->pidfd >= 0)
		syscall(SYS_pidfd_send_signal, sup->pidfd, SIGKILL, NULL, 0);
}

static void forward(struct supervisor *sup, const struct signalfd_siginfo *info)
{
	siginfo_t queued = {0};
	siginfo_t *how = NULL;

	if (info->ssi_code == SI_QUEUE) {
		queued.si_signo = (int)info->ssi_signo;
		queued.si_code = SI_QUEUE;
		queued.si_pid = (pid_t)info->ssi_pid;
		queued.si_uid = info->ssi_uid;
		queued.si_value.sival_ptr = (void *)(uintptr_t)info->ssi_ptr;
		how = &queued;
	}
	syscall(SYS_pidfd_send_signal, sup->pidfd, (int)info->ssi_signo, how, 0);
}

static bool from_terminal(const struct signalfd_siginfo *info)
{
	if (info->ssi_code != SI_KERNEL)
		return false;
	switch (info->ssi_signo) {
	case SIGINT:
	case SIGQUIT:
	case SIGHUP:
	case SIGTSTP:
	case SIGTTIN:
	case SIGTTOU:
	case SIGWINCH:
		return true;
	default:
		return false; /* an alarm that was set before uvfio was executed, a CPU limit … */
	}
}

/* Would @sig end a process that does nothing about it? */
static bool ends_by_default(int sig)
{
	struct sigaction act;

	switch (sig) {
	case SIGCHLD:
	case SIGCONT:
	case SIGURG:
	case SIGWINCH:
	case SIGTSTP:
	case SIGTTIN:
	case SIGTTOU:
		return false;
	default:
		return !sigaction(sig, NULL, &act) && act.sa_handler != SIG_IGN;
	}
}

static void on_message(struct supervisor *sup, const struct uapi_message *msg, int fd)
{
	switch (msg->kind) {
	case UAPI_MSG_STARTED:
		sup->pidfd = fd;
		sup->program = msg->value;
		return;
	case UAPI_MSG_STOPPED:
		if (stopped(sup->program))
			stop_by(msg->value);
		break;
	case UAPI_MSG_ENDED:
	case UAPI_MSG_LEFT:
		sup->ended = true;
		sup->left = msg->kind == UAPI_MSG_LEFT;
		sup->status = msg->value;
		break;
	case UAPI_MSG_FAILED:
		sup->ended = true;
		sup->status = msg->value << 8;
		break;
	default:
		break;
	}
	if (fd >= 0)
		close(fd);
}

/* False when there is nothing more to come. */
static bool read_message(struct supervisor *sup)
{
	struct uapi_message msg;
	int fd;
	int ret = uapi_receive(sup->sock, &msg, &fd);

	if (ret == 1)
		on_message(sup, &msg, fd);
	return ret == 1;
}

/* A signal that ends us came before the program was there: nothing to pass it on to. */
static void give_up(struct supervisor *sup, int sig)
{
	kill(sup->server, SIGKILL);
	while (read_message(sup))
		; /* it may have been faster */
	kill_program(sup);
	uapi_kill_children(sup->earlier, sup->nr_earlier);
	die_by(sig);
}

static void on_signal(struct supervisor *sup, const struct signalfd_siginfo *info)
{
	int sig = (int)info->ssi_signo;

	if (sig == SIGCHLD)
		return; /* the socket tells */
	if (sup->pidfd < 0) {
		if (ends_by_default(sig))
			give_up(sup, sig);
		return;
	}
	if (sig == SIGCONT) {
		if (stopped(sup->program)) /* else it was sent to the group */
			forward(sup, info);
	} else if (!from_terminal(info)) {
		forward(sup, info);
	}
}

static void server_died(struct supervisor *sup)
{
	int status = 0;

	waitpid(sup->server, &status, 0);
	kill_program(sup);
	uapi_kill_children(sup->earlier, sup->nr_earlier);
	if (WIFSIGNALED(status))
		fprintf(stderr,
			"uvfio run: the server was killed by signal %d (%s); the program cannot go on "
			"and was killed\n",
			WTERMSIG(status), strsignal(WTERMSIG(status)));
	else
		fprintf(stderr,
			"uvfio run: the server ended unexpectedly (status %d); the program cannot go on "
			"and was killed\n",
			WEXITSTATUS(status));
}

static int supervise(struct supervisor *sup)
{
	struct pollfd fds[2] = {{.fd = sup->sock, .events = POLLIN},
				{.fd = sup->sigfd, .events = POLLIN}};

	while (!sup->ended) {
		if (poll(fds, 2, -1) < 0)
			continue;
		if (fds[0].revents && !read_message(sup)) {
			server_died(sup);
			return UAPI_EXIT_FAILURE;
		}
		if (fds[1].revents && !sup->ended) {
			struct signalfd_siginfo info;

			if (read(sup->sigfd, &info, sizeof(info)) == sizeof(info))
				on_signal(sup, &info);
		}
	}
	if (!sup->left)
		waitpid(sup->server, NULL, 0);
	if (WIFSIGNALED(sup->status))
		die_by(WTERMSIG(sup->status));
	return WEXITSTATUS(sup->status);
}

int uapi_run(const struct uapi_config *config)
{
	struct supervisor sup = {.sock = -1, .pidfd = -1};
	sigset_t all, mask;
	int pair[2];

	sigfillset(&all);
	sigprocmask(SIG_BLOCK, &all, &mask);
	sup.nr_earlier = uapi_children(sup.earlier, MAX_EARLIER);
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair)) {
		fprintf(stderr, "uvfio run: cannot make a socket pair: %s\n", strerror(errno));
		return UAPI_EXIT_FAILURE;
	}
	pair[0] = uapi_fd_above_stdio(pair[0]);
	pair[1] = uapi_fd_above_stdio(pair[1]);
	fflush(NULL);
	sup.server = fork();
	if (sup.server < 0) {
		fprintf(stderr, "uvfio run: cannot fork: %s\n", strerror(errno));
		return UAPI_EXIT_FAILURE;
	}
	if (sup.server == 0) {
		close(pair[0]);
		_exit(uapi_server_main(config, pair[1], &mask));
	}
	for (unsigned i = 0; i < config->nr_devices; i++)
		vfio_token_redact(config->devices[i]); /* the server has its own copy */
	sup.sock = pair[0];
	uapi_drop_fds(&sup.sock, 1);
	/* Should S die, what it leaves is inherited, and ended, by P0. */
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	sup.sigfd = signalfd(-1, &all, SFD_CLOEXEC);
	if (sup.sigfd < 0) {
		fprintf(stderr, "uvfio run: cannot make a signalfd: %s\n", strerror(errno));
		kill(sup.server, SIGKILL);
		return UAPI_EXIT_FAILURE;
	}
	return supervise(&sup);
}
