/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * `uvfio migrate`, `save`, `restore`, `resume`: an operator moves a device.
 *
 * The stream is opened here and handed to the server, which does the rest; meanwhile this prints
 * how far it is.  SIGINT and SIGTERM cancel the move and wait for what becomes of it, a second one
 * only ends the command.
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "cli/cli.h"
#include "cli/migrate_options.h"
#include "cli/move_stream.h"
#include "cli/remote.h"

/* ---- a move, and how far it is ---- */

struct watch {
	const struct migrate_command *command;
	struct remote *r;
	const char *device;
	int signals; /* signalfd */
	bool json, terminal, cancelled;
	bool line;     /* one is on the terminal, to be overwritten */
	bool answered; /* the server has said what became of it */
};

static void end_line(struct watch *w)
{
	if (w->line)
		fputs("\n", stderr);
	w->line = false;
}

/* On a terminal only: elsewhere it would be a line four times a second. */
static void show_progress(struct watch *w, struct json_object *p)
{
	char bytes[24], rate[24], left[24], text[48];

	if (w->json) {
		puts(json_object_to_json_string_ext(p, JSON_C_TO_STRING_PLAIN |
							       JSON_C_TO_STRING_NOSLASHESCAPE));
		fflush(stdout);
		return;
	}
	if (!w->terminal)
		return;
	fprintf(stderr, "\r%s: %s, %s moved, %s/s, pass %llu, %s left", w->device,
		member_text(p, "step"), size_text(member_uint(p, "bytes"), bytes),
		size_text(member_uint(p, "rate"), rate),
		(unsigned long long)member_uint(p, "passes") + 1,
		size_text(member_uint(p, "bytes_left"), left));
	if (member_uint(p, "downtime_ns"))
		fprintf(stderr, ", paused for %s",
			duration_text(member_uint(p, "downtime_ns"), text));
	fputs("\033[K", stderr);
	w->line = true;
}

/* False: end at once. */
static bool on_signal(struct watch *w)
{
	struct signalfd_siginfo info;

	if (read(w->signals, &info, sizeof(info)) != (ssize_t)sizeof(info))
		return true;
	if (w->cancelled)
		return false;
	w->cancelled = true;
	end_line(w);
	fprintf(stderr, "uvfio %s: cancelling\n", w->command->remote.name);
	return true;
}

/* By a connection of its own: the answer to the move is still to come on the other. */
static void cancel_move(const struct watch *w)
{
	struct remote_options o = {.control = w->r->path};
	struct remote other;
	struct json_object *params = remote_device_params(w->device);

	if (remote_open(&w->command->remote, &o, &other))
		json_object_put(params);
	else
		json_object_put(remote_call(&other, "migrate_cancel", params));
	remote_close(&other);
}

/* Has a message come whole? */
static bool has_message(const struct remote *r)
{
	return r->len && memchr(r->buf, '\n', r->len);
}

/* The result, or NULL with a message printed. */
static struct json_object *await_result(struct watch *w)
{
	struct pollfd fds[2] = {{w->r->fd, POLLIN, 0}, {w->signals, POLLIN, 0}};
	struct json_object *message, *result;

	for (;;) {
		if (!has_message(w->r) && poll(fds, 2, -1) < 0 && errno != EINTR)
			return NULL;
		if (fds[1].revents) {
			bool first = !w->cancelled;

			if (!on_signal(w)) {
				fprintf(stderr,
					"uvfio %s: left alone; `uvfio list` tells what came of it\n",
					w->command->remote.name);
				return NULL;
			}
			if (first)
				cancel_move(w);
			fds[1].revents = 0;
			continue;
		}
		message = remote_next(w->r);
		if (!message) {
			end_line(w);
			fprintf(stderr,
				"uvfio %s: the server at %s has ended the connection, and it is not known "
				"what came of the move\n",
				w->command->remote.name, w->r->path);
			return NULL;
		}
		if (!strcmp(member_text(message, "method"), "progress")) {
			show_progress(w, member(message, "params"));
		} else if (remote_is_answer(w->r, message)) {
			end_line(w);
			w->answered = true;
			result = remote_take_result(w->r, message);
			json_object_put(message);
			return result;
		}
		json_object_put(message);
	}
}

static void put_number(struct json_object *params, const char *key, uint64_t value)
{
	if (value)
		json_object_object_add(params, key, json_object_new_uint64(value));
}

/* Have the server do it with @fd, which is closed. */
static struct json_object *run(struct watch *w, const char *method, const char *uri, int fd,
			       const struct migrate_options *o)
{
	struct json_object *params = remote_device_params(w->device);
	struct json_object *list = json_object_new_array(), *entry = json_object_new_object();

	json_object_object_add(entry, "key", json_object_new_string("stream"));
	json_object_object_add(entry, "value", json_object_new_string(uri));
	json_object_array_add(list, entry);
	json_object_object_add(params, "fds", list);
	put_number(params, "bandwidth", o->bandwidth);
	put_number(params, "downtime_ns", o->downtime_ns);
	put_number(params, "timeout_ns", o->timeout_ns);
	if (o->given & OPT_FORCE)
		json_object_object_add(params, "force", json_object_new_boolean(true));
	w->json = o->given & OPT_JSON;
	w->terminal = isatty(STDERR_FILENO);
	if (w->json || w->terminal)
		json_object_object_add(params, "progress", json_object_new_boolean(true));
	remote_send(w->r, method, params, &fd, 1);
	close(fd);
	return await_result(w);
}

static void print_result(const struct watch *w, struct json_object *result, const char *what)
{
	char bytes[24], took[24], still[24];

	if (w->json) {
		print_json(result);
		return;
	}
	printf("%s %s: %s in %s", w->device, what, size_text(member_uint(result, "bytes"), bytes),
	       duration_text(member_uint(result, "time_ns"), took));
	if (member_uint(result, "downtime_ns"))
		printf(", paused for %s", duration_text(member_uint(result, "downtime_ns"), still));
	printf("\n");
}

static int open_signals(void)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	sigprocmask(SIG_BLOCK, &set, NULL);
	return signalfd(-1, &set, SFD_CLOEXEC);
}

/* ---- migrate and save ---- */

static int move_away(const struct migrate_command *c, struct migrate_options *o, const char *uri,
		     const char *what)
{
	struct watch w = {.command = c, .device = o->remote.args[0], .signals = -1};
	struct json_object *result = NULL, *shown;
	struct uvfio_error err = {""};
	struct remote r;
	int fd, ret = remote_open(&c->remote, &o->remote, &r);

	w.r = &r;
	/* Whether there is such a device is better known before the other side is waked up. */
	shown = ret ? NULL : remote_call(&r, "show", remote_device_params(w.device));
	ret = !shown;
	if (!strcmp(member_text(member(shown, "move"), "place"), "gone")) {
		fprintf(stderr, "uvfio %s: %s is not here any more: it was moved\n", c->remote.name,
			w.device);
		ret = 1;
	}
	json_object_put(shown);
	if (!ret) {
		w.signals = open_signals();
		fd = move_stream_to(uri, &err);
		if (fd < 0) {
			fprintf(stderr, "uvfio %s: %s\n", c->remote.name, err.msg);
			ret = 1;
		} else {
			result = run(&w, c->remote.name, uri, fd, o);
			ret = !result;
			if (!result && w.answered)
				move_stream_drop(uri);
		}
	}
	if (result && move_stream_keep(uri, &err)) {
		fprintf(stderr, "uvfio %s: %s\n", c->remote.name, err.msg);
		ret = 1;
	}
	if (result)
		print_result(&w, result, what);
	json_object_put(result);
	if (w.signals >= 0)
		close(w.signals);
	remote_close(&r);
	return ret;
}

static int cancel(const struct migrate_command *c, struct migrate_options *o)
{
	struct json_object *result;
	struct remote r;
	int ret = remote_open(&c->remote, &o->remote, &r);

	if (!ret) {
		result = remote_call(&r, "migrate_cancel", remote_device_params(o->remote.args[0]));
		ret = !result;
		json_object_put(result);
	}
	remote_close(&r);
	return ret;
}

int cmd_migrate(int argc, char **argv)
{
	static const struct migrate_command command = {
		.remote =
			{.name = "migrate",
			 .arguments = "DEVICE --to URI",
			 .help = "Moves the device to another server, where `uvfio restore` waits for it, with its\n"
				 "state and while it is used.  Its users over vfio-user can follow it.",
			 .min = 1,
			 .max = 1},
		.takes =
			OPT_TO | OPT_BANDWIDTH | OPT_DOWNTIME | OPT_TIMEOUT | OPT_CANCEL | OPT_JSON,
	};
	struct migrate_options o;
	int ret = migrate_options(&command, argc, argv, &o);

	if (ret >= 0)
		return ret;
	if (o.given & OPT_CANCEL)
		return o.uri ? migrate_complain(&command, "--to and --cancel", "give one of them")
			     : cancel(&command, &o);
	if (!o.uri)
		return migrate_complain(&command, "--to is missing",
					"say where: unix:PATH, tcp:HOST:PORT or file:PATH");
	return move_away(&command, &o, o.uri, "has been moved");
}

int cmd_save(int argc, char **argv)
{
	static const struct migrate_command command = {
		.remote =
			{.name = "save",
			 .arguments = "DEVICE FILE",
			 .help = "Moves the device into a new file, from which `uvfio restore --from file:FILE`\n"
				 "takes it, here or elsewhere.",
			 .min = 2,
			 .max = 2},
		.takes = OPT_BANDWIDTH | OPT_TIMEOUT | OPT_JSON,
	};
	struct migrate_options o;
	char *uri = NULL;
	int ret = migrate_options(&command, argc, argv, &o);

	if (ret >= 0)
		return ret;
	if (move_stream_is_uri(o.remote.args[1]))
		return migrate_complain(
			&command, o.remote.args[1],
			"FILE is the name of a file; `uvfio migrate --to` takes a URI");
	if (asprintf(&uri, "file:%s", o.remote.args[1]) < 0)
		return migrate_complain(&command, "out of memory", "");
	ret = move_away(&command, &o, uri, "has been saved");
	free(uri);
	return ret;
}

/* ---- restore ---- */

static void waiting(const char *uri)
{
	fprintf(stderr, "uvfio restore: waiting at %s\n", uri);
}

/* @path leads to the device's socket from here on, at once and for good. */
static int make_link(const char *path, const char *socket)
{
	char *tmp = NULL;
	int ret = 0;

	if (!*socket) {
		fprintf(stderr, "uvfio restore: --link: the server says of no socket\n");
		return 1;
	}
	if (asprintf(&tmp, "%s.%d", path, getpid()) < 0 || symlink(socket, tmp) ||
	    rename(tmp, path)) {
		fprintf(stderr, "uvfio restore: --link: %s: %s\n", path, strerror(errno));
		ret = 1;
	}
	free(tmp);
	return ret;
}

static int take(const struct migrate_command *c, struct migrate_options *o)
{
	struct watch w = {.command = c, .device = o->remote.args[0], .signals = open_signals()};
	struct json_object *result = NULL, *shown;
	struct uvfio_error err = {""};
	struct remote r;
	int fd, ret = remote_open(&c->remote, &o->remote, &r);

	w.r = &r;
	shown = ret ? NULL : remote_call(&r, "show", remote_device_params(w.device));
	ret = !shown;
	if (!ret) {
		fd = move_stream_from(o->uri, w.signals, waiting, &err);
		if (fd < 0) {
			fprintf(stderr, "uvfio restore: %s\n", err.msg);
			ret = 1;
		} else {
			result = run(&w, "restore", o->uri, fd, o);
			ret = !result;
		}
	}
	if (result) {
		print_result(&w, result, "is here");
		if (o->link)
			ret = make_link(o->link, member_text(member(shown, "door"), "socket"));
	}
	json_object_put(shown);
	json_object_put(result);
	close(w.signals);
	remote_close(&r);
	return ret;
}

int cmd_restore(int argc, char **argv)
{
	static const struct migrate_command command = {
		.remote =
			{.name = "restore",
			 .arguments = "DEVICE --from URI",
			 .help = "Takes the device that `uvfio migrate` moves here, or one out of a file, in the\n"
				 "place of DEVICE, which is made with the same model and options, and not in use.",
			 .min = 1,
			 .max = 1},
		.takes = OPT_FROM | OPT_TIMEOUT | OPT_FORCE | OPT_LINK | OPT_JSON,
	};
	struct migrate_options o;
	int ret = migrate_options(&command, argc, argv, &o);

	if (ret >= 0)
		return ret;
	if (!o.uri)
		return migrate_complain(&command, "--from is missing",
					"say from where: unix:PATH, tcp:HOST:PORT or file:PATH");
	return take(&command, &o);
}

/* ---- resume ---- */

int cmd_resume(int argc, char **argv)
{
	static const struct migrate_command command = {
		.remote =
			{.name = "resume",
			 .arguments = "DEVICE --force|--gone",
			 .help = "After a move that broke off when the device was handed over: the server does not\n"
				 "know whether it is here or at the other side, and you say it.  With --force on\n"
				 "both sides there would be two of it.",
			 .min = 1,
			 .max = 1},
		.takes = OPT_FORCE | OPT_GONE,
	};
	struct json_object *params, *result;
	struct migrate_options o;
	struct remote r;
	int ret = migrate_options(&command, argc, argv, &o);

	if (ret >= 0)
		return ret;
	if ((o.given & OPT_FORCE) && (o.given & OPT_GONE))
		return migrate_complain(&command, "--force and --gone", "give one of them");
	ret = remote_open(&command.remote, &o.remote, &r);
	if (!ret) {
		params = remote_device_params(o.remote.args[0]);
		if (o.given & OPT_FORCE)
			json_object_object_add(params, "force", json_object_new_boolean(true));
		if (o.given & OPT_GONE)
			json_object_object_add(params, "gone", json_object_new_boolean(true));
		result = remote_call(&r, "resume", params);
		ret = !result;
		json_object_put(result);
	}
	remote_close(&r);
	return ret;
}
