/* SPDX-License-Identifier: BSD-3-Clause */
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include "serve/broker.h"

#define NBD_PORT        "10809"
#define CONNECT_SECONDS 30

/* ---- the server's side ---- */

int serve_ask(int ask, enum serve_kind kind, const char *text, int flags)
{
	struct serve_message msg = {.kind = kind, .value = flags};
	int pair[2], fd = -1, ret;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair))
		return -errno;
	ret = serve_send(ask, &msg, text, pair[1]);
	close(pair[1]);
	if (!ret) {
		ret = serve_receive(pair[0], &msg, NULL, &fd);
		if (ret == 1)
			ret = msg.value ? msg.value : fd >= 0 ? fd : -EIO;
		else if (!ret)
			ret = -EIO; /* the keeper has gone, and so shall we */
	}
	if (ret != fd && fd >= 0)
		close(fd);
	close(pair[0]);
	return ret;
}

/* ---- the keeper's ---- */

static int unquote(char *out, size_t size, const char *in, size_t len)
{
	size_t n = 0;

	for (size_t i = 0; i < len; i++) {
		unsigned byte = (unsigned char)in[i];

		if (in[i] == '%') {
			if (len - i < 3 || !isxdigit((unsigned char)in[i + 1]) ||
			    !isxdigit((unsigned char)in[i + 2]) ||
			    sscanf(in + i + 1, "%2x", &byte) != 1 || !byte)
				return -EINVAL;
			i += 2;
		}
		if (n + 1 >= size)
			return -ENAMETOOLONG;
		out[n++] = (char)byte;
	}
	out[n] = '\0';
	return n ? 0 : -EINVAL;
}

static int parse_unix(const char *query, struct serve_target *out)
{
	while (query && *query) {
		size_t len = strcspn(++query, "&#");

		if (!strncmp(query, "socket=", 7))
			return unquote(out->path, sizeof(out->path), query + 7, len - 7);
		query = query[len] == '&' ? query + len : NULL;
	}
	return -EINVAL;
}

static int parse_host(const char *text, size_t len, struct serve_target *out)
{
	const char *at = memchr(text, '@', len), *colon;
	size_t host;

	if (at) {
		len -= (size_t)(at + 1 - text);
		text = at + 1;
	}
	if (len && text[0] == '[') {
		const char *end = memchr(text, ']', len);

		if (!end)
			return -EINVAL;
		host = (size_t)(end - text) + 1;
		if (unquote(out->host, sizeof(out->host), text + 1, host - 2))
			return -EINVAL;
	} else {
		colon = memchr(text, ':', len);
		host = colon ? (size_t)(colon - text) : len;
		if (unquote(out->host, sizeof(out->host), text, host))
			return -EINVAL;
	}
	if (host == len)
		return 0;
	if (text[host] != ':' || len - host < 2)
		return -EINVAL;
	return unquote(out->port, sizeof(out->port), text + host + 1, len - host - 1);
}

int serve_parse_uri(const char *uri, struct serve_target *out)
{
	const char *rest;

	*out = (struct serve_target){.port = NBD_PORT};
	if (!strncmp(uri, "nbd+unix://", 11))
		return parse_unix(strchr(uri, '?'), out);
	if (strncmp(uri, "nbd://", 6) != 0)
		return -EPROTONOSUPPORT;
	rest = uri + 6;
	return parse_host(rest, strcspn(rest, "/?#"), out);
}

static int connect_unix(const char *path)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return -errno;
	snprintf(addr.sun_path, sizeof(addr.sun_path), "%s", path);
	return connect(fd, (struct sockaddr *)&addr, sizeof(addr)) ? -errno : fd;
}

static int connect_tcp(const struct serve_target *target)
{
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *list, *a;
	int fd = -1, error = EHOSTUNREACH;

	if (getaddrinfo(target->host, target->port, &hints, &list))
		return -EHOSTUNREACH;
	for (a = list; a; a = a->ai_next) {
		fd = socket(a->ai_family, a->ai_socktype | SOCK_CLOEXEC, a->ai_protocol);
		if (fd >= 0 && !connect(fd, a->ai_addr, a->ai_addrlen))
			break;
		error = errno;
		if (fd >= 0)
			close(fd);
		fd = -1;
	}
	freeaddrinfo(list);
	return fd >= 0 ? fd : -error;
}

static int do_connect(const char *uri)
{
	struct serve_target target;
	int ret = serve_parse_uri(uri, &target);

	if (ret)
		return ret;
	return target.host[0] ? connect_tcp(&target) : connect_unix(target.path);
}

static int do_open(const char *path, int flags)
{
	int mode = flags & O_ACCMODE, fd;

	if (flags & ~(O_ACCMODE | O_DIRECT) || (mode != O_RDONLY && mode != O_RDWR))
		return -EPERM;
	fd = open(path, flags | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	return fd < 0 ? -errno : fd;
}

void serve_refuse(int reply, int error)
{
	serve_send(reply, &(struct serve_message){.kind = SERVE_ANSWER, .value = error}, NULL, -1);
}

void serve_answer_begin(void)
{
	sigset_t none;

	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	alarm(CONNECT_SECONDS); /* then it ends, and the socket with it: -EIO */
}

void serve_answer(const struct serve_message *msg, const char *text, int reply)
{
	int fd = msg->kind == SERVE_OPEN ? do_open(text, msg->value) : do_connect(text);

	serve_send(reply, &(struct serve_message){.kind = SERVE_ANSWER, .value = fd < 0 ? fd : 0},
		   NULL, fd);
}
