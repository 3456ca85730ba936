/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * One connection: bytes to messages, messages to bytes.
 *
 * Messages follow one another, with or without white space between.  What is not JSON is answered
 * with a parse error and skipped to the end of its line.
 *
 * A client that does not read its answers is *blocked* once OUT_HIGH bytes wait for it: it gets no
 * more of its requests handled, and no events; what it sends meanwhile is kept up to MAX_MESSAGE
 * bytes, and then it is cut off.  What ends that is flush() alone, whoever calls it: its socket
 * need not be heard of again, so flush() sees to it that what waited has its turn.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>
#include "control/control_private.h"
#include "control/wipe.h"

#define DRAIN_NS  20000000u
#define TRASH_MAX 64u /* files that nobody took and that do not close */

static void close_fds(struct client *client)
{
	for (unsigned i = 0; i < client->nr_fds; i++)
		uvfio_trash_close(client->control->trash, client->fds[i]);
	client->nr_fds = 0;
}

/* There may be a token in what has come (C); what was parsed has been written over. */
static void free_input(struct client *client)
{
	if (client->in)
		explicit_bzero(client->in, client->in_len);
	free(client->in);
	client->in = NULL;
}

void client_close(struct client *client)
{
	trace_client_gone(client);
	uvfio_watch_free(client->watch);
	uvfio_timer_free(client->drain_timer);
	client->watch = NULL;
	client->drain_timer = NULL;
	close(client->fd);
	client->fd = -1;
	close_fds(client);
	for (unsigned i = 0; i < client->nr_out_fds; i++)
		close(client->out_fds[i].fd);
	client->nr_out_fds = 0;
	json_wipe_tokener(client->tokener, MAX_MESSAGE);
	json_tokener_free(client->tokener);
	client->tokener = NULL;
	free_input(client);
	free(client->out);
	client->out = NULL;
	client->in_pos = client->in_len = 0;
	client->out_pos = client->out_len = client->out_room = 0;
}

static void reset_tokener(struct client *client)
{
	json_tokener_reset(client->tokener);
	client->message = 0;
}

/* ---- sending ---- */

/* Up to the next file that waits, or with it. */
static ssize_t send_some(struct client *client)
{
	bool with = client->nr_out_fds && client->out_fds[0].at == client->out_pos;
	size_t end = client->nr_out_fds > with ? client->out_fds[with].at : client->out_len;
	char control[CMSG_SPACE(sizeof(int))] __attribute__((aligned(8))) = {0};
	struct iovec iov = {client->out + client->out_pos, end - client->out_pos};
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};
	ssize_t n;

	if (with) {
		struct cmsghdr *c;

		msg.msg_control = control;
		msg.msg_controllen = sizeof(control);
		c = CMSG_FIRSTHDR(&msg);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(c), &client->out_fds[0].fd, sizeof(int));
	}
	n = sendmsg(client->fd, &msg, MSG_DONTWAIT | MSG_NOSIGNAL);
	if (n > 0 && with) {
		close(client->out_fds[0].fd);
		client->nr_out_fds--;
		memmove(client->out_fds, client->out_fds + 1,
			client->nr_out_fds * sizeof(client->out_fds[0]));
	}
	return n;
}

void client_send_fd(struct client *client, int fd)
{
	client->out_fds[client->nr_out_fds].at = client->out_len;
	client->out_fds[client->nr_out_fds++].fd = fd;
}

/* Send what goes.  False when the client was dropped. */
static bool flush(struct client *client)
{
	bool blocked = client_blocked(client);

	while (client->out_pos < client->out_len) {
		ssize_t n = send_some(client);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno != EAGAIN) {
			control_drop(client);
			return false;
		}
		if (n < 0)
			break;
		client->out_pos += (size_t)n;
	}
	if (client->out_pos == client->out_len) {
		client->out_pos = client->out_len = 0;
		if (client->out_room > OUT_HIGH) {
			free(client->out);
			client->out = NULL;
			client->out_room = 0;
		}
	}
	if (client->watch)
		uvfio_watch_write(client->watch, client->out_len != 0);
	else if (client->at_end && client->out_len)
		uvfio_timer_arm(client->drain_timer, DRAIN_NS);
	if (blocked && !client_blocked(client) &&
	    (client->in_pos < client->in_len || client->nr_subscriptions))
		control_turn(client->control);
	return true;
}

static bool reserve(struct client *client, size_t bytes)
{
	size_t pending = client->out_len - client->out_pos;
	size_t room = client->out_room;
	char *out;

	if (client->out_pos) {
		memmove(client->out, client->out + client->out_pos, pending);
		for (unsigned i = 0; i < client->nr_out_fds; i++)
			client->out_fds[i].at -= client->out_pos;
		client->out_pos = 0;
		client->out_len = pending;
	}
	if (pending + bytes > OUT_MAX)
		return false;
	if (pending + bytes <= room)
		return true;
	for (room = room ? room : 4096; room < pending + bytes;)
		room *= 2;
	out = realloc(client->out, room);
	if (!out)
		return false;
	client->out = out;
	client->out_room = room;
	return true;
}

void client_send(struct client *client, struct json_object *message)
{
	const char *text;
	size_t len;

	if (client->fd < 0 || !message)
		return;
	text = json_object_to_json_string_length(
		message, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE, &len);
	if (!text || !reserve(client, len + 1)) {
		control_drop(client);
		return;
	}
	memcpy(client->out + client->out_len, text, len);
	client->out[client->out_len + len] = '\n';
	client->out_len += len + 1;
	flush(client);
}

/* ---- parsing ---- */

static void complain(struct client *client, int code, const char *what)
{
	struct rpc_error err = {0};
	struct json_object *message;

	rpc_fail(&err, code, 0, "%s", what);
	message = rpc_error_message(NULL, &err);
	client_send(client, message);
	json_object_put(message);
}

static void skip(struct client *client, const char *what)
{
	char text[200];

	client->skipping = true;
	reset_tokener(client);
	snprintf(text, sizeof(text), "not JSON: %s", what);
	complain(client, RPC_PARSE_ERROR, text);
}

static void too_long(struct client *client)
{
	char text[80];

	client->skipping = true;
	reset_tokener(client);
	snprintf(text, sizeof(text), "a message is longer than %u bytes", MAX_MESSAGE);
	complain(client, RPC_INVALID_REQUEST, text);
}

/* Take something of the input; at most one message is handled. */
static void parse(struct client *client)
{
	const char *in = client->in + client->in_pos;
	size_t len = client->in_len - client->in_pos, end;
	struct json_object *message;
	enum json_tokener_error why;
	const char *nul;

	if (client->skipping) {
		const char *newline = memchr(in, '\n', len);

		client->skipping = !newline;
		if (client->in)
			explicit_bzero(client->in + client->in_pos,
				       newline ? (size_t)(newline - in) : len);
		client->in_pos += newline ? (size_t)(newline - in) + 1 : len;
		return;
	}
	if (!client->message && strchr(" \t\r\n", *in) && *in) {
		client->in_pos++;
		return;
	}
	/* To the tokener a zero byte is the end. */
	nul = memchr(in, '\0', len);
	if (nul == in) {
		skip(client, "a zero byte");
		return;
	}
	if (nul)
		len = (size_t)(nul - in);
	message = json_tokener_parse_ex(client->tokener, in, (int)len);
	why = json_tokener_get_error(client->tokener);
	end = json_tokener_get_parse_end(client->tokener);
	if (why == json_tokener_continue) {
		explicit_bzero(client->in + client->in_pos, len);
		client->in_pos += len;
		client->message += len;
		if (client->message > MAX_MESSAGE)
			too_long(client);
		return;
	}
	explicit_bzero(client->in + client->in_pos, end);
	json_wipe_tokener(client->tokener, client->message + end + 1);
	client->in_pos += end;
	if (why != json_tokener_success) {
		skip(client, json_tokener_error_desc(why));
		return;
	}
	end += client->message;
	reset_tokener(client);
	if (end > MAX_MESSAGE) {
		json_wipe_tokens(message);
		json_object_put(message);
		too_long(client);
		client->skipping = false; /* it has ended */
		return;
	}
	client->last_ns = uvfio_now_ns();
	rpc_message(client, message);
	json_wipe_tokens(message);
	json_object_put(message);
}

/* ---- receiving ---- */

static void take_fds(struct client *client, struct msghdr *msg)
{
	for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c; c = CMSG_NXTHDR(msg, c)) {
		int fds[MAX_FDS];
		size_t n;

		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		memcpy(fds, CMSG_DATA(c), n * sizeof(int));
		for (size_t i = 0; i < n; i++) {
			if (client->nr_fds < MAX_FDS)
				client->fds[client->nr_fds++] = fds[i];
			else
				uvfio_trash_close(client->control->trash, fds[i]);
		}
	}
}

/* 1: something came, 0: nothing to be had now, -1: that was all. */
static int receive(struct client *client)
{
	union {
		char bytes[CMSG_SPACE(MAX_FDS * sizeof(int))];
		struct cmsghdr align;
	} control;
	struct iovec iov;
	struct msghdr msg = {.msg_iov = &iov,
			     .msg_iovlen = 1,
			     .msg_control = control.bytes,
			     .msg_controllen = sizeof(control.bytes)};
	ssize_t n;

	if (client->in_pos == client->in_len) {
		client->in_pos = client->in_len = 0;
	} else if (client->in_pos) {
		size_t left = client->in_len - client->in_pos;

		memmove(client->in, client->in + client->in_pos, left);
		explicit_bzero(client->in + left, client->in_pos);
		client->in_len = left;
		client->in_pos = 0;
	}
	if (!client->in) {
		client->in = malloc(MAX_MESSAGE);
		if (!client->in)
			return -1;
	}
	iov = (struct iovec){client->in + client->in_len, MAX_MESSAGE - client->in_len};
	if (!iov.iov_len)
		return 0;
	do
		n = recvmsg(client->fd, &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return errno == EAGAIN ? 0 : -1;
	take_fds(client, &msg);
	client->in_len += (size_t)n;
	if (uvfio_trash_held(client->control->trash) > TRASH_MAX) {
		uvfio_log(client->control->log, UVFIO_LOG_INFO,
			  "control: process %d sends files that belong to no request, while others "
			  "cannot be closed; cut off",
			  client->pid);
		return -1;
	}
	return n ? 1 : -1;
}

void client_done(struct client *client)
{
	if (client->fd >= 0 && client->at_end && client->in_pos == client->in_len &&
	    !client->nr_calls && !client->nr_subscriptions && !client->out_len)
		control_drop(client);
}

/* Nothing is half done: files that no request took are closed, the buffer goes. */
static void settle(struct client *client)
{
	if (client->in_pos < client->in_len || client->message)
		return;
	close_fds(client);
	free_input(client);
	client->in_pos = client->in_len = 0;
}

static bool turn(struct client *client)
{
	uint64_t start = uvfio_now_ns();
	int got = 1;

	if (!flush(client))
		return false;
	for (;;) {
		while (client->in_pos < client->in_len && !client_blocked(client)) {
			parse(client);
			if (client->fd < 0)
				return false;
			if (uvfio_now_ns() - start > TURN_NS)
				return true;
		}
		if (client->at_end)
			break;
		if (client_blocked(client) && client->in_len - client->in_pos == MAX_MESSAGE) {
			uvfio_log(client->control->log, UVFIO_LOG_INFO,
				  "control: process %d sends without reading, cut off",
				  client->pid);
			control_drop(client);
			return false;
		}
		if (got <= 0)
			break;
		got = receive(client);
		if (got < 0) {
			/* What has come before is still handled.  It stays readable. */
			client->at_end = true;
			uvfio_watch_free(client->watch);
			client->watch = NULL;
		}
	}
	if (flush(client)) {
		client_done(client);
		if (!client->at_end)
			settle(client);
	}
	return false;
}

bool client_turn(struct client *client)
{
	bool more;

	if (client->fd < 0)
		return false;
	client_get(client);
	more = turn(client);
	client_put(client);
	return more;
}

/* The socket; or the timer, of a client that sends no more but is slow to read. */
static void on_ready(void *arg)
{
	struct client *client = arg;

	client_get(client);
	if (client_turn(client))
		control_turn(client->control);
	client_put(client);
}

struct client *client_new(struct control *control, int fd, pid_t pid, uid_t uid)
{
	struct client *client = calloc(1, sizeof(*client));

	if (!client)
		return NULL;
	client->control = control;
	client->refs = 1;
	client->fd = fd;
	client->pid = pid;
	client->uid = uid;
	client->last_ns = uvfio_now_ns();
	client->tokener = json_tokener_new_ex(MAX_DEPTH);
	client->drain_timer = uvfio_ctx_timer_new(control->ctx, on_ready, client);
	if (client->tokener && json_reserve(client->tokener, MAX_MESSAGE + 1)) {
		json_tokener_free(client->tokener);
		client->tokener = NULL;
	}
	if (client->tokener && client->drain_timer) {
		json_tokener_set_flags(client->tokener, JSON_TOKENER_STRICT |
								JSON_TOKENER_ALLOW_TRAILING_CHARS |
								JSON_TOKENER_VALIDATE_UTF8);
		client->watch = uvfio_watch_new(control->ctx, fd, on_ready, client);
	}
	if (client->watch)
		return client;
	if (client->tokener)
		json_tokener_free(client->tokener);
	uvfio_timer_free(client->drain_timer);
	free(client);
	return NULL;
}
