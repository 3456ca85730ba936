/* SPDX-License-Identifier: BSD-3-Clause */
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <stdint.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "cli/move_stream.h"
#include "control/control.h"

#define CONNECT_MS 10000
#define HELLO_MS   30000 /* that who connects may take to say something */

static const char *after(const char *uri, const char *scheme)
{
	size_t len = strlen(scheme);

	return strncmp(uri, scheme, len) ? NULL : uri + len;
}

const char *move_stream_path(const char *uri)
{
	return after(uri, "file:");
}

bool move_stream_is_uri(const char *text)
{
	return after(text, "unix:") || after(text, "tcp:") || after(text, "file:");
}

static int no_uri(const char *uri, struct uvfio_error *err)
{
	return uvfio_error_set(err, -EINVAL,
			       "'%s' is no place: give unix:PATH, tcp:HOST:PORT or file:PATH", uri);
}

/* ---- UNIX ---- */

static int unix_address(const char *path, struct sockaddr_un *addr, struct uvfio_error *err)
{
	*addr = (struct sockaddr_un){.sun_family = AF_UNIX};
	if (!*path || strlen(path) >= sizeof(addr->sun_path))
		return uvfio_error_set(err, -EINVAL, "unix:%s: a path has 1 to %zu bytes", path,
				       sizeof(addr->sun_path) - 1);
	strcpy(addr->sun_path, path);
	return 0;
}

static int unix_connect(const char *path, struct uvfio_error *err)
{
	struct sockaddr_un addr;
	int ret = unix_address(path, &addr, err), fd;

	if (ret)
		return ret;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd >= 0 && !connect(fd, (struct sockaddr *)&addr, sizeof(addr)))
		return fd;
	ret = -errno;
	if (fd >= 0)
		close(fd);
	return uvfio_error_set(
		err, ret, "unix:%s: %s; is `uvfio restore DEVICE --from unix:%s` waiting there?",
		path, strerror(-ret), path);
}

/* ---- TCP ---- */

/* A number is one of a port, which the resolver would cut to 16 bits; a name is the resolver's. */
static bool is_port(const char *text)
{
	size_t digits = strspn(text, "0123456789");
	unsigned long port = strtoul(text, NULL, 10);

	return text[digits] ? true : digits && digits < 10 && port > 0 && port < 65536;
}

/* "HOST:PORT", "[HOST]:PORT". */
static int tcp_resolve(const char *text, bool passive, struct addrinfo **out,
		       struct uvfio_error *err)
{
	const struct addrinfo hints = {.ai_socktype = SOCK_STREAM,
				       .ai_flags = passive ? AI_PASSIVE : 0};
	char *host = strdup(text), *port = host ? strrchr(host, ':') : NULL, *name = host;
	int ret;

	if (!port || !port[1]) {
		free(host);
		return uvfio_error_set(err, -EINVAL, "tcp:%s: give tcp:HOST:PORT", text);
	}
	*port++ = '\0';
	if (!is_port(port)) {
		free(host);
		return uvfio_error_set(err, -EINVAL, "tcp:%s: a port is a number from 1 to 65535",
				       text);
	}
	if (name[0] == '[' && name[strlen(name) - 1] == ']') {
		name[strlen(name) - 1] = '\0';
		name++;
	}
	ret = getaddrinfo(*name ? name : NULL, port, &hints, out);
	free(host);
	return ret ? uvfio_error_set(err, -EINVAL, "tcp:%s: %s", text, gai_strerror(ret)) : 0;
}

/* The connection is watched: who has gone without a word is noticed in the end. */
static void tcp_tune(int fd)
{
	const int on = 1;

	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
}

static int connect_in_time(int fd, const struct addrinfo *a)
{
	struct pollfd pfd = {fd, POLLOUT, 0};
	int error = 0;
	socklen_t len = sizeof(error);

	if (!connect(fd, a->ai_addr, a->ai_addrlen))
		return 0;
	if (errno != EINPROGRESS)
		return -errno;
	if (poll(&pfd, 1, CONNECT_MS) != 1)
		return -ETIMEDOUT;
	getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &len);
	return -error;
}

static int tcp_connect(const char *text, struct uvfio_error *err)
{
	struct addrinfo *list;
	int ret = tcp_resolve(text, false, &list, err), fd = -1;

	if (ret)
		return ret;
	for (const struct addrinfo *a = list; a && fd < 0; a = a->ai_next) {
		fd = socket(a->ai_family, a->ai_socktype | SOCK_CLOEXEC | SOCK_NONBLOCK,
			    a->ai_protocol);
		ret = fd < 0 ? -errno : connect_in_time(fd, a);
		if (ret && fd >= 0) {
			close(fd);
			fd = -1;
		}
	}
	freeaddrinfo(list);
	if (fd < 0)
		return uvfio_error_set(
			err, ret,
			"tcp:%s: %s; is `uvfio restore DEVICE --from tcp:HOST:PORT` waiting there?",
			text, strerror(-ret));
	tcp_tune(fd);
	return fd;
}

static int tcp_listen(const char *text, struct uvfio_error *err)
{
	struct addrinfo *list;
	const int on = 1;
	int ret = tcp_resolve(text, true, &list, err), fd = -1;

	if (ret)
		return ret;
	for (const struct addrinfo *a = list; a && fd < 0; a = a->ai_next) {
		fd = socket(a->ai_family, a->ai_socktype | SOCK_CLOEXEC, a->ai_protocol);
		if (fd >= 0 && !setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) &&
		    !bind(fd, a->ai_addr, a->ai_addrlen) && !listen(fd, 1))
			break;
		ret = -errno;
		if (fd >= 0)
			close(fd);
		fd = -1;
	}
	freeaddrinfo(list);
	return fd < 0 ? uvfio_error_set(err, ret, "tcp:%s: %s", text, strerror(-ret)) : fd;
}

/* ---- files ---- */

static int file_create(const char *path, struct uvfio_error *err)
{
	int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOCTTY, 0600);

	if (fd >= 0)
		return fd;
	if (errno == EEXIST)
		return uvfio_error_set(err, -EEXIST,
				       "%s is there already: give the name of a new file", path);
	return uvfio_error_set(err, -errno, "%s: %s", path, strerror(errno));
}

int move_stream_file(const char *path, struct uvfio_error *err)
{
	int fd = open(path, O_RDWR | O_CLOEXEC | O_NOCTTY | O_NONBLOCK), ret;

	if (fd < 0)
		return uvfio_error_set(err, -errno, "%s: %s", path, strerror(errno));
	/* Two that take the device out of it at the same time would have it twice. */
	if (!flock(fd, LOCK_EX | LOCK_NB))
		return fd;
	ret = uvfio_error_set(err, -errno, "%s: %s", path,
			      errno == EWOULDBLOCK ? "it is in use: its device is just taken out"
						   : strerror(errno));
	close(fd);
	return ret;
}

void move_stream_drop(const char *uri)
{
	const char *path = move_stream_path(uri);
	uint8_t head[16] = {0};
	int fd = path ? open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK) : -1;

	if (fd < 0)
		return;
	/* control/move.h: the word behind the version says whether there is a device in it. */
	if (pread(fd, head, sizeof(head), 0) < (ssize_t)sizeof(head) || !head[12])
		unlink(path);
	close(fd);
}

int move_stream_keep(const char *uri, struct uvfio_error *err)
{
	const char *path = move_stream_path(uri), *slash;
	char *dir;
	int fd, ret = 0;

	if (!path)
		return 0;
	slash = strrchr(path, '/');
	dir = slash ? strndup(path, (size_t)(slash - path) + 1) : strdup(".");
	fd = dir ? open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
	if (fd < 0 || fsync(fd))
		ret = uvfio_error_set(err, -errno, "%s: its directory: %s", path, strerror(errno));
	if (fd >= 0)
		close(fd);
	free(dir);
	return ret;
}

/* ---- any ---- */

int move_stream_to(const char *uri, struct uvfio_error *err)
{
	if (after(uri, "unix:"))
		return unix_connect(after(uri, "unix:"), err);
	if (after(uri, "tcp:"))
		return tcp_connect(after(uri, "tcp:"), err);
	if (after(uri, "file:") && *after(uri, "file:"))
		return file_create(after(uri, "file:"), err);
	return no_uri(uri, err);
}

/* Wait for @fd to be readable: 1; 0: not in @ms; -ECANCELED and so on with a message. */
static int await_input(int fd, int cancel_fd, int ms, struct uvfio_error *err)
{
	struct pollfd fds[2] = {{fd, POLLIN, 0}, {cancel_fd, POLLIN, 0}};
	int ret;

	do
		ret = poll(fds, 2, ms);
	while (ret < 0 && errno == EINTR);
	if (ret < 0)
		return uvfio_error_set(err, -errno, "poll: %s", strerror(errno));
	if (fds[1].revents)
		return uvfio_error_set(err, -ECANCELED, "interrupted");
	return ret;
}

/* Who connects and says nothing is no source: somebody looks whether anybody is listening. */
static bool says_something(int fd)
{
	char byte;

	return recv(fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) == 1;
}

static int accept_one(int listener, int cancel_fd, struct uvfio_error *err)
{
	int fd, ret;

	for (;;) {
		ret = await_input(listener, cancel_fd, -1, err);
		if (ret < 0)
			return ret;
		fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
		if (fd >= 0) {
			ret = await_input(fd, cancel_fd, HELLO_MS, err);
			if (ret > 0 && says_something(fd))
				return fd;
			close(fd);
			if (ret < 0)
				return ret;
			continue;
		}
		if (errno != EINTR && errno != ECONNABORTED && errno != EAGAIN)
			return uvfio_error_set(err, -errno, "accept: %s", strerror(errno));
	}
}

int move_stream_from(const char *uri, int cancel_fd, void (*waiting)(const char *uri),
		     struct uvfio_error *err)
{
	const char *path = after(uri, "unix:"), *tcp = after(uri, "tcp:");
	int listener, fd;

	if (move_stream_path(uri) && *move_stream_path(uri))
		return move_stream_file(move_stream_path(uri), err);
	if ((!path && !tcp) || (path && !*path))
		return no_uri(uri, err);
	listener = path ? control_listen(path, 0600, err) : tcp_listen(tcp, err);
	if (listener < 0)
		return listener;
	waiting(uri);
	fd = accept_one(listener, cancel_fd, err);
	close(listener);
	if (path)
		unlink(path);
	if (fd >= 0 && tcp)
		tcp_tune(fd);
	return fd;
}
