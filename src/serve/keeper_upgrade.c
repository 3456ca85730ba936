/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The server is exchanged for one of a new executable, and its clients stay (`uvfio upgrade`).
 *
 * Theory of operation.  The keeper lives on.  It starts the new server from the path that it was
 * itself started from, with the arguments that it was given, so what stands there by then is the
 * new version: a server must not be able to choose what runs with the keeper's rights.  Then:
 *
 *      STARTING ──STARTED──▶ HANDING ──both DONE──▶ ADDING ──each device DONE──▶ (the new one
 * serves) └────────────────────┴──────────────────────┴──anything fails──▶ (the old one goes on)
 *
 *   HANDING: the old one (GIVE) stops its clients and devices, and sends them to the new one (TAKE)
 * by a socket that both have. ADDING:  the new one is told of the devices (ADD), in their order,
 * and makes of each what was sent, which includes its storage; nothing of it runs yet.
 *
 * Up to here the old one has everything it had, and needs but BACK to go on.  Then it is killed,
 * and when it is dead the new one is told READY, from when on it runs.  So there is never more than
 * one that does.  The keeper is the old version until it is started anew.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include "serve/channel.h"
#include "serve/keeper.h"

#define LIMIT_MS 30000 /* that it may take, all together */

static int64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

int keeper_upgrade_wait(const struct keeper *keeper)
{
	int64_t left;

	if (keeper->upgrade.state == UPGRADE_NONE)
		return -1;
	left = keeper->upgrade.deadline - now_ms();
	return left > 0 ? (int)left : 0;
}

/* ---- the end, either way ---- */

static void forget(struct keeper *keeper)
{
	struct upgrade *up = &keeper->upgrade;

	serve_outbox_fini(&up->tell);
	if (up->tell.sock >= 0)
		close(up->tell.sock);
	if (up->ask >= 0)
		close(up->ask);
	*up = (struct upgrade){.tell.sock = -1, .ask = -1};
}

static void kill_and_wait(pid_t pid)
{
	if (pid <= 0)
		return;
	kill(pid, SIGKILL);
	while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
		;
}

void keeper_upgrade_failed(struct keeper *keeper, const char *why)
{
	const struct serve_message msg = {.kind = SERVE_BACK};

	if (keeper->upgrade.state == UPGRADE_NONE)
		return;
	keeper_complain("no upgrade: %s; the server goes on as before", why);
	/* First the new one: it may have the storage. */
	kill_and_wait(keeper->upgrade.pid);
	forget(keeper);
	serve_outbox_send(&keeper->tell, &msg, why, -1);
}

static void commit(struct keeper *keeper)
{
	struct upgrade *up = &keeper->upgrade;

	kill_and_wait(keeper->server);
	serve_outbox_fini(&keeper->tell);
	close(keeper->tell.sock);
	close(keeper->ask);
	keeper->server = up->pid;
	keeper->tell = up->tell;
	keeper->ask = up->ask;
	*up = (struct upgrade){.tell.sock = -1, .ask = -1};
	serve_outbox_send(&keeper->tell, &(struct serve_message){.kind = SERVE_READY}, NULL, -1);
	if (keeper->config->verbose)
		keeper_complain("upgraded: the server is process %d now", (int)keeper->server);
}

/* ---- the new server ---- */

/* In the child: what it needs stays open across the exec. */
static void exec_server(const struct keeper *keeper, int tell, int ask)
{
	char text[64];

	close_range(3, ~0u, CLOSE_RANGE_CLOEXEC);
	fcntl(tell, F_SETFD, 0);
	fcntl(ask, F_SETFD, 0);
	if (keeper->control_keep >= 0)
		fcntl(keeper->control_keep, F_SETFD, 0);
	snprintf(text, sizeof(text), "%d,%d,%d,%u", tell, ask, keeper->control_keep,
		 keeper_count_files(keeper));
	setenv(SERVE_SUCCESSOR, text, 1);
	execv(keeper->config->exe, keeper->config->argv);
	fprintf(stderr, "uvfio serve: %s: %s\n", keeper->config->exe, strerror(errno));
	_exit(127);
}

static int start(struct keeper *keeper, struct uvfio_error *err)
{
	struct upgrade *up = &keeper->upgrade;
	int tell[2] = {-1, -1}, ask[2] = {-1, -1};

	if (!socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, tell) &&
	    !socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ask)) {
		up->pid = fork();
		if (!up->pid)
			exec_server(keeper, tell[1], ask[1]);
	} else {
		up->pid = -1;
	}
	if (up->pid < 0)
		uvfio_error_set(err, -errno, "the new server cannot be started: %s",
				strerror(errno));
	if (tell[1] >= 0)
		close(tell[1]);
	if (ask[1] >= 0)
		close(ask[1]);
	up->tell.sock = tell[0];
	up->ask = ask[0];
	if (tell[0] >= 0)
		fcntl(tell[0], F_SETFL, fcntl(tell[0], F_GETFL) | O_NONBLOCK);
	return up->pid < 0 ? -EAGAIN : 0;
}

/* What stands against it now, or NULL. */
static const char *why_not(const struct keeper *keeper)
{
	/* What hands it over is there (sysfs_hold()), but one of 80 runs of its test did not end. */
	if (keeper->mount)
		return "--sysfs: the file system cannot be handed over yet";
	if (!keeper->config->exe || !keeper->config->argv)
		return "it is not known what this server was started from";
	for (const struct entry *e = keeper->entries; e; e = e->next) {
		if (e->state != ENTRY_UP)
			return "a device is being added or removed; try again";
		if (e->vfs)
			return "a device has VFs, which cannot be handed over yet";
		if (e->listen_fd < 0)
			return "a listening socket could not be kept";
	}
	return NULL;
}

void keeper_upgrade(struct keeper *keeper)
{
	struct upgrade *up = &keeper->upgrade;
	struct uvfio_error err = {""};
	const char *why;

	if (up->state != UPGRADE_NONE || keeper->ending || keeper->saving)
		return;
	why = keeper->ready ? why_not(keeper) : "the server is only starting; try again";
	up->state = UPGRADE_STARTING;
	up->deadline = now_ms() + LIMIT_MS;
	if (!why && start(keeper, &err))
		why = err.msg;
	if (why)
		keeper_upgrade_failed(keeper, why);
}

/* ---- its course ---- */

static void begin_handing(struct keeper *keeper)
{
	const struct serve_message give = {.kind = SERVE_GIVE}, take = {.kind = SERVE_TAKE};
	int pair[2], ret;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair)) {
		keeper_upgrade_failed(keeper, strerror(errno));
		return;
	}
	keeper->upgrade.state = UPGRADE_HANDING;
	ret = serve_outbox_send(&keeper->upgrade.tell, &take, NULL, pair[0]);
	if (!ret)
		ret = serve_outbox_send(&keeper->tell, &give, NULL, pair[1]);
	close(pair[0]);
	close(pair[1]);
	if (ret)
		keeper_upgrade_failed(keeper, strerror(-ret));
}

static void add_next(struct keeper *keeper, struct entry *e)
{
	struct serve_message msg = {.kind = SERVE_ADD};
	int ret;

	keeper->upgrade.at = e;
	if (!e) {
		commit(keeper);
		return;
	}
	msg.id = e->id;
	ret = serve_outbox_send(&keeper->upgrade.tell, &msg, e->said.spec, e->listen_fd);
	if (ret)
		keeper_upgrade_failed(keeper, strerror(-ret));
}

static void handed(struct keeper *keeper)
{
	if (!keeper->upgrade.given || !keeper->upgrade.taken)
		return;
	keeper->upgrade.state = UPGRADE_ADDING;
	add_next(keeper, keeper->entries);
}

void keeper_upgrade_given(struct keeper *keeper, int result, const char *why)
{
	if (keeper->upgrade.state != UPGRADE_HANDING)
		return;
	if (result) {
		keeper_upgrade_failed(keeper, why);
		return;
	}
	keeper->upgrade.given = true;
	handed(keeper);
}

static void on_done(struct keeper *keeper, const struct serve_message *msg, const char *text)
{
	struct upgrade *up = &keeper->upgrade;
	char why[600];

	if (up->state == UPGRADE_HANDING && !msg->id) {
		up->taken = !msg->value;
		/* That the old one does not give says more. */
		if (msg->value && up->given)
			keeper_upgrade_failed(keeper, text);
		else
			handed(keeper);
		return;
	}
	if (up->state != UPGRADE_ADDING || !up->at || msg->id != up->at->id)
		return;
	snprintf(why, sizeof(why), "%s: %s", up->at->said.where, text);
	if (msg->value)
		keeper_upgrade_failed(keeper, why);
	else
		add_next(keeper, up->at->next);
}

void keeper_upgrade_tell(struct keeper *keeper, char *text)
{
	struct upgrade *up = &keeper->upgrade;
	struct serve_message msg;
	int ret = serve_receive(up->tell.sock, &msg, text, NULL);

	if (ret == -EAGAIN)
		return;
	if (ret != 1) {
		keeper_upgrade_failed(keeper, "the new server has ended");
		return;
	}
	if (msg.kind == SERVE_STARTED && msg.value)
		keeper_upgrade_failed(keeper, text);
	else if (msg.kind == SERVE_STARTED && up->state == UPGRADE_STARTING)
		begin_handing(keeper);
	else if (msg.kind == SERVE_DONE)
		on_done(keeper, &msg, text);
}
