/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The keeper: see serve.h.  One thread; it waits in poll() for the server, for signals and for the
 * children that open files, and never for anything else.
 *
 * A device here is an entry.  One operation is under way in the server at a time:
 *
 *      NEW ──ADD──▶ ADDING ──ok──▶ UP ──no longer in the file──▶ DOOMED ──REMOVE──▶ REMOVING
 *                      └──failed──▶ (gone)                          (gone) ◀──done──┘
 *
 * With --state, who asks for the end has all that is UP saved first:
 *
 *      UP ──SAVE──▶ SAVING ──done──▶ SAVED
 *
 * What is to be removed goes first, so that its file and socket are free for what is added.  When
 * nothing is left to do the first time, the server is ready, and answers control from then on: who
 * waits for an answer finds all devices.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include "serve/broker.h"
#include "serve/channel.h"
#include "serve/keeper.h"

#define MAX_DEVICES  4096u
#define MAX_CHILDREN 64u

void keeper_complain(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	fprintf(stderr, "uvfio serve: ");
	vfprintf(stderr, fmt, ap);
	fprintf(stderr, "\n");
	va_end(ap);
}

/* ---- devices as they are said ---- */

int serve_devices_add(struct serve_devices *devices, const char *spec, const char *where,
		      struct uvfio_error *err)
{
	struct serve_device *list, d;

	if (devices->nr == MAX_DEVICES)
		return uvfio_error_set(err, -EINVAL, "%s: more than %u devices", where,
				       MAX_DEVICES);
	if (strlen(spec) >= SERVE_MAX_TEXT)
		return uvfio_error_set(err, -EINVAL, "%s: longer than %u bytes", where,
				       SERVE_MAX_TEXT);
	list = realloc(devices->list, (devices->nr + 1) * sizeof(*list));
	if (list)
		devices->list = list;
	d = (struct serve_device){.spec = strdup(spec), .where = strdup(where)};
	if (!list || !d.spec || !d.where) {
		vfio_token_wipe_text(d.spec);
		free(d.spec);
		free(d.where);
		return uvfio_error_set(err, -ENOMEM, "out of memory");
	}
	d.has_token = vfio_token_take(d.spec, &d.token);
	vfio_token_redact(d.where);
	list[devices->nr++] = d;
	vfio_token_wipe(&d.token);
	return 0;
}

void serve_devices_fini(struct serve_devices *devices)
{
	for (unsigned i = 0; i < devices->nr; i++) {
		free(devices->list[i].spec);
		free(devices->list[i].where);
		vfio_token_wipe(&devices->list[i].token);
	}
	free(devices->list);
	*devices = (struct serve_devices){0};
}

/* ---- entries ---- */

void keeper_free_entry(struct keeper *keeper, struct entry *entry)
{
	struct entry **link = &keeper->entries;

	while (*link != entry)
		link = &(*link)->next;
	*link = entry->next;
	keeper_drop_socket(&entry->made);
	while (entry->vfs)
		keeper_vf_goes(entry, entry->vfs->index);
	if (entry->listen_fd >= 0)
		close(entry->listen_fd);
	serve_spec_fini(&entry->spec);
	free(entry->said.spec);
	free(entry->said.where);
	vfio_token_wipe(&entry->said.token);
	free(entry);
}

static struct entry *entry_find(struct keeper *keeper, uint64_t id)
{
	struct entry *e = keeper->entries;

	while (e && e->id != id)
		e = e->next;
	return e;
}

/* Behind the others, so that devices are made in their order. */
int keeper_add(struct keeper *keeper, const struct serve_device *said, bool configured,
	       struct uvfio_error *err)
{
	struct entry *e = calloc(1, sizeof(*e)), **link = &keeper->entries;
	struct uvfio_error why = {""};
	int ret;

	if (!e)
		return uvfio_error_set(err, -ENOMEM, "out of memory");
	while (*link)
		link = &(*link)->next;
	*link = e;
	e->id = ++keeper->next_id;
	e->listen_fd = -1;
	e->configured = e->kept = configured;
	e->said.spec = strdup(said->spec);
	e->said.where = strdup(said->where);
	e->said.has_token = said->has_token;
	e->said.token = said->token;
	if (!e->said.spec || !e->said.where) {
		keeper_free_entry(keeper, e);
		return uvfio_error_set(err, -ENOMEM, "out of memory");
	}
	ret = serve_spec_parse(e->said.spec, &e->spec, &why);
	if (!ret && !e->spec.socket)
		ret = uvfio_error_set(&why, -EINVAL, "no socket=PATH, where it is to be served");
	for (struct entry *o = keeper->entries; !ret && o != e; o = o->next)
		if (!strcmp(o->spec.socket, e->spec.socket) && o->state != ENTRY_DOOMED &&
		    o->state != ENTRY_REMOVING)
			ret = uvfio_error_set(&why, -EINVAL,
					      "socket=%s is another device's (%s); each needs its "
					      "own",
					      e->spec.socket, o->said.where);
	if (ret) {
		uvfio_error_set(err, ret, "%s: %s", e->said.where, why.msg);
		keeper_free_entry(keeper, e);
	}
	return ret;
}

int keeper_load(struct keeper *keeper, struct uvfio_error *err)
{
	struct serve_devices devices = {0};
	int ret;

	if (!keeper->config->load)
		return 0;
	ret = keeper->config->load(keeper->config->load_arg, &devices, err);
	if (ret) {
		serve_devices_fini(&devices);
		return ret;
	}
	for (struct entry *e = keeper->entries; e; e = e->next)
		e->kept = !e->configured;
	/* What is said in the same words is left alone. */
	for (unsigned i = 0; i < devices.nr; i++) {
		for (struct entry *e = keeper->entries; e; e = e->next)
			if (e->configured && !e->kept && e->state <= ENTRY_UP &&
			    !strcmp(e->said.spec, devices.list[i].spec)) {
				e->kept = true;
				free(devices.list[i].spec);
				devices.list[i].spec = NULL;
				break;
			}
	}
	for (struct entry *e = keeper->entries; e; e = e->next)
		if (!e->kept && e->state <= ENTRY_UP)
			e->state = ENTRY_DOOMED;
	for (unsigned i = 0; i < devices.nr; i++) {
		struct uvfio_error why = {""};

		if (!devices.list[i].spec)
			continue;
		ret = keeper_add(keeper, &devices.list[i], true, &why);
		if (ret && !keeper->started) {
			*err = why;
			break;
		}
		if (ret)
			keeper_complain("%s; it is not added", why.msg);
		ret = 0;
	}
	serve_devices_fini(&devices);
	return ret;
}

/* ---- operations ---- */

static void end(struct keeper *keeper, int status)
{
	if (status)
		keeper->status = status;
	if (keeper->ending)
		return;
	keeper->ending = true;
	serve_notify("STOPPING=1");
	serve_outbox_send(&keeper->tell, &(struct serve_message){.kind = SERVE_END}, NULL, -1);
}

/* It could not be added: at the beginning that is the end. */
static void failed(struct keeper *keeper, struct entry *e, const char *why)
{
	keeper_state_loaded(keeper, e, false);
	keeper_complain("%s: %s%s", e->said.where, why, keeper->ready ? "; it is not added" : "");
	keeper_free_entry(keeper, e);
	if (!keeper->ready)
		end(keeper, 1);
}

static int entry_socket(struct keeper *keeper, struct entry *e, struct uvfio_error *err)
{
	struct serve_passed_socket *passed = serve_passed_find(&keeper->passed, e->spec.socket);
	int fd;

	if (passed) {
		passed->used = true;
		fd = dup(passed->fd);
		return fd < 0 ? uvfio_error_set(err, -errno, "%s", strerror(errno)) : fd;
	}
	if (!strncmp(e->spec.socket, "fd:", 3))
		return uvfio_error_set(err, -EINVAL,
				       "socket=%s: no socket with this name was passed "
				       "(FileDescriptorName= of a systemd socket unit)",
				       e->spec.socket);
	return keeper_make_socket(e, e->spec.socket, &e->made, err);
}

static void send_add(struct keeper *keeper, struct entry *e)
{
	const struct serve_message msg = {.kind = SERVE_ADD, .id = e->id};
	struct uvfio_error err = {""};
	int fd = entry_socket(keeper, e, &err), ret;

	ret = fd < 0 ? fd : keeper_state_load(keeper, e, &err);
	if (ret) {
		if (fd >= 0)
			close(fd);
		failed(keeper, e, err.msg);
		return;
	}
	/* With the token, which is the server's from here on. */
	if (e->said.has_token)
		vfio_token_restore(e->said.spec, &e->said.token);
	ret = serve_outbox_send(&keeper->tell, &msg, e->said.spec, fd);
	vfio_token_redact(e->said.spec);
	vfio_token_wipe(&e->said.token);
	e->said.has_token = false;
	if (e->listen_fd >= 0)
		close(e->listen_fd);
	e->listen_fd = fd;
	if (ret)
		failed(keeper, e, strerror(-ret));
	else
		e->state = ENTRY_ADDING;
}

static void warn_of_unused(struct keeper *keeper)
{
	for (unsigned i = 0; i < keeper->passed.nr; i++) {
		struct serve_passed_socket *s = &keeper->passed.list[i];

		if (!s->used)
			keeper_complain(
				"the socket %s (%s) that was passed is no device's; clients that "
				"connect to it wait in vain",
				s->name, s->path);
	}
}

static void idle(struct keeper *keeper)
{
	if (!keeper->ready) {
		warn_of_unused(keeper);
		keeper->ready = true;
		serve_outbox_send(&keeper->tell, &(struct serve_message){.kind = SERVE_READY}, NULL,
				  -1);
	}
	keeper->busy = false;
	serve_notify("READY=1");
}

static struct entry *entry_in(struct keeper *keeper, enum entry_state state)
{
	struct entry *e = keeper->entries;

	while (e && e->state != state)
		e = e->next;
	return e;
}

static void reload(struct keeper *keeper)
{
	struct uvfio_error err = {""};

	keeper->reload = false;
	keeper->busy = true;
	serve_notify("RELOADING=1");
	if (!keeper->config->load)
		keeper_complain("SIGHUP: there is no --config file to read again");
	else if (keeper_load(keeper, &err))
		keeper_complain("%s; everything stays as it is", err.msg);
}

/* Do the next thing, unless one is under way. */
static void step(struct keeper *keeper)
{
	while (keeper->started && !keeper->ending && keeper->upgrade.state == UPGRADE_NONE) {
		struct entry *e;

		if (entry_in(keeper, ENTRY_ADDING) || entry_in(keeper, ENTRY_REMOVING) ||
		    entry_in(keeper, ENTRY_SAVING))
			return;
		if (keeper->saving) {
			if (!keeper_state_save(keeper))
				end(keeper, 0);
			continue;
		}
		e = entry_in(keeper, ENTRY_DOOMED);
		if (e) {
			const struct serve_message msg = {.kind = SERVE_REMOVE, .id = e->id};

			e->state = ENTRY_REMOVING;
			if (serve_outbox_send(&keeper->tell, &msg, NULL, -1))
				return; /* it has gone, and we shall hear of it */
			continue;
		}
		e = entry_in(keeper, ENTRY_NEW);
		if (e) {
			send_add(keeper, e);
			continue;
		}
		if (keeper->reload && keeper->ready) {
			reload(keeper);
			continue;
		}
		if (keeper->busy)
			idle(keeper);
		return;
	}
}

/* ---- what comes in ---- */

static void on_done(struct keeper *keeper, const struct serve_message *msg, const char *text)
{
	struct entry *e = entry_find(keeper, msg->id);

	if (!msg->id)
		keeper_upgrade_given(keeper, msg->value, text);
	if (!e)
		return;
	if (e->state == ENTRY_REMOVING) {
		if (msg->value == -ETIMEDOUT)
			keeper_complain("%s: not gone yet: %s", e->said.where, text);
		else if (msg->value && msg->value != -ENODEV)
			keeper_complain("%s: cannot be removed: %s", e->said.where, text);
		keeper_free_entry(keeper, e);
	} else if (e->state == ENTRY_SAVING) {
		keeper_state_saved(keeper, e, msg->value, text);
	} else if (msg->value) {
		failed(keeper, e, text);
	} else if (e->state == ENTRY_ADDING) {
		keeper_state_loaded(keeper, e, true);
		e->state = ENTRY_UP;
	}
}

/* False when the server has gone. */
static bool on_tell(struct keeper *keeper, char *text)
{
	struct serve_message msg;
	struct entry *e;
	int ret = serve_receive(keeper->tell.sock, &msg, text, NULL);

	if (ret == -EAGAIN)
		return true;
	if (ret != 1)
		return false;
	switch (msg.kind) {
	case SERVE_STARTED:
		keeper->started = !msg.value;
		if (msg.value) {
			keeper_complain("%s", text);
			end(keeper, 1);
		}
		break;
	case SERVE_DONE:
		on_done(keeper, &msg, text);
		break;
	case SERVE_UPGRADE:
		keeper_upgrade(keeper);
		break;
	case SERVE_REFUSED:
		e = entry_find(keeper, msg.id);
		if (e && e->state == ENTRY_ADDING)
			keeper_state_refused(keeper, e, text);
		break;
	case SERVE_GONE:
		e = entry_find(keeper, msg.id);
		if (e && e->state == ENTRY_UP)
			keeper_free_entry(keeper, e);
		break;
	case SERVE_VF_COMES:
	case SERVE_VF_GOES:
		e = entry_find(keeper, msg.id);
		if (msg.kind == SERVE_VF_COMES)
			keeper_vf_comes(keeper, msg.id, e, (unsigned)msg.value);
		else if (e)
			keeper_vf_goes(e, (unsigned)msg.value);
		break;
	}
	return true;
}

/* Is it what an option of one of our devices says, and if it is to be written, not readonly? */
static bool is_named(struct keeper *keeper, const char *text, bool to_write)
{
	for (struct entry *e = keeper->entries; e; e = e->next)
		if (serve_spec_names(e->said.spec, text, to_write))
			return true;
	return false;
}

/*
 * In a child, which receives it, too: with the request comes a descriptor that the server chose,
 * and answering on it, or closing it, may take for ever.
 */
static void answer(struct keeper *keeper, int ask, char *text)
{
	struct serve_message msg;
	bool to_write;
	int reply;

	if (serve_receive(ask, &msg, text, &reply) != 1 || reply < 0)
		return;
	close(keeper->received);
	to_write = msg.kind == SERVE_OPEN && (msg.value & O_ACCMODE) != O_RDONLY;
	if ((msg.kind != SERVE_OPEN && msg.kind != SERVE_CONNECT) ||
	    !is_named(keeper, text, to_write))
		serve_refuse(reply, -EPERM);
	else
		serve_answer(&msg, text, reply);
}

static void on_ask(struct keeper *keeper, int ask, char *text)
{
	struct serve_message msg;
	int ends[2] = {-1, -1};
	pid_t pid = -1;
	char byte;

	if (!pipe2(ends, O_CLOEXEC)) {
		keeper->received = ends[1];
		pid = fork();
		if (!pid) {
			serve_answer_begin();
			answer(keeper, ask, text);
			_exit(0);
		}
		close(ends[1]);
	}
	if (pid < 0) {
		serve_receive(ask, &msg, NULL, NULL); /* -EIO */
	} else {
		keeper->nr_children++;
		/* Until the child has taken the message. */
		while (read(ends[0], &byte, 1) < 0 && errno == EINTR)
			;
	}
	if (ends[0] >= 0)
		close(ends[0]);
}

static void on_server_end(struct keeper *keeper, int status)
{
	keeper->server = 0;
	if (WIFSIGNALED(status)) {
		keeper_complain("the server process was ended by signal %d (%s)", WTERMSIG(status),
				strsignal(WTERMSIG(status)));
		keeper->status = 1;
	} else if (WEXITSTATUS(status) || !keeper->ending) {
		keeper->status = 1;
	}
}

static void reap(struct keeper *keeper)
{
	int status;
	pid_t pid;

	while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
		if (pid == keeper->server)
			on_server_end(keeper, status);
		else if (pid == keeper->upgrade.pid)
			keeper->upgrade.pid = 0; /* its socket tells */
		else if (keeper->nr_children)
			keeper->nr_children--;
	}
}

static void on_signal(struct keeper *keeper)
{
	struct signalfd_siginfo info;

	if (read(keeper->signals, &info, sizeof(info)) != (ssize_t)sizeof(info))
		return;
	switch (info.ssi_signo) {
	case SIGCHLD:
		reap(keeper);
		break;
	case SIGHUP:
		keeper->reload = true;
		break;
	case SIGUSR2:
		keeper_upgrade(keeper);
		break;
	default:
		keeper_upgrade_failed(keeper, "the server is to end");
		if ((keeper->ending || keeper->saving) && keeper->server)
			kill(keeper->server, SIGKILL); /* asked twice */
		if (keeper->states && keeper->started && !keeper->saving) {
			keeper->saving = true;
			serve_notify("STOPPING=1");
		} else {
			end(keeper, 0);
		}
		break;
	}
}

void keeper_watch(struct keeper *keeper, char *text)
{
	bool told = true;

	while (keeper->server) {
		struct pollfd fds[] = {
			{told ? keeper->tell.sock : -1,
			 (short)(POLLIN | (keeper->tell.nr ? POLLOUT : 0)), 0},
			{keeper->signals, POLLIN, 0},
			{told && keeper->nr_children < MAX_CHILDREN ? keeper->ask : -1, POLLIN, 0},
			{keeper->upgrade.tell.sock,
			 (short)(POLLIN | (keeper->upgrade.tell.nr ? POLLOUT : 0)), 0},
			{keeper->nr_children < MAX_CHILDREN ? keeper->upgrade.ask : -1, POLLIN, 0},
		};
		int n;

		step(keeper);
		n = keeper->server ? poll(fds, 5, keeper_upgrade_wait(keeper)) : -1;
		if (!n)
			keeper_upgrade_failed(keeper, "it takes too long");
		if (n <= 0)
			continue;
		if (fds[0].revents & POLLOUT)
			serve_outbox_flush(&keeper->tell);
		if (fds[0].revents & ~POLLOUT)
			told = on_tell(keeper, text);
		if (fds[1].revents)
			on_signal(keeper);
		/* What the others did may have ended or exchanged these. */
		if (fds[2].revents & POLLIN && fds[2].fd == keeper->ask)
			on_ask(keeper, keeper->ask, text);
		if (fds[3].revents & POLLOUT && fds[3].fd == keeper->upgrade.tell.sock)
			serve_outbox_flush(&keeper->upgrade.tell);
		if (fds[4].revents & POLLIN && fds[4].fd == keeper->upgrade.ask)
			on_ask(keeper, keeper->upgrade.ask, text);
		if (fds[3].revents & ~POLLOUT && fds[3].fd == keeper->upgrade.tell.sock)
			keeper_upgrade_tell(keeper, text);
	}
}
