/* SPDX-License-Identifier: BSD-3-Clause */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>
#include "base/listener.h"
#include "control/control.h"
#include "serve/socket.h"

#define BACKLOG         64
#define FIRST_PASSED_FD 3
#define MAX_PASSED      4096

/* ---- making ---- */

static int make_way(const struct sockaddr_un *addr, struct uvfio_error *err)
{
	const char *path = addr->sun_path;
	struct stat st;
	int error;

	if (lstat(path, &st))
		return errno == ENOENT ? 0
				       : uvfio_error_set(err, -errno, "socket %s: %s", path,
							 strerror(errno));
	if (!S_ISSOCK(st.st_mode))
		return uvfio_error_set(err, -EEXIST,
				       "socket %s: there is a file with this name, and it is not a "
				       "socket; remove it, or choose another path",
				       path);
	error = -uvfio_listener_look(addr);
	if (error == ENOENT)
		return 0;
	if (error != ECONNREFUSED)
		return uvfio_error_set(err, -EADDRINUSE,
				       "socket %s: another server uses it%s%s; end that server, or "
				       "choose another path",
				       path, error && error != EAGAIN ? ", it seems: " : "",
				       error && error != EAGAIN ? strerror(error) : "");
	if (unlink(path) && errno != ENOENT)
		return uvfio_error_set(
			err, -errno,
			"socket %s: a server that is gone has left it, and it cannot "
			"be removed: %s",
			path, strerror(errno));
	return 0;
}

static int set_rights(const char *path, mode_t mode, const char *group, struct uvfio_error *err)
{
	const struct group *gr = group ? getgrnam(group) : NULL;
	int ret;

	if (group && !gr)
		return uvfio_error_set(err, -EINVAL,
				       "socket %s: there is no group '%s' (getent group)", path,
				       group);
	ret = control_socket_rights(path, gr ? gr->gr_gid : (gid_t)-1, mode);
	if (ret && group)
		return uvfio_error_set(err, ret,
				       "socket %s: cannot give it to the group '%s': %s; be "
				       "a member of it, or root",
				       path, group, strerror(-ret));
	if (ret)
		return uvfio_error_set(err, ret, "socket %s: cannot set its mode: %s", path,
				       strerror(-ret));
	return 0;
}

int serve_listen(const char *path, mode_t mode, const char *group, struct uvfio_error *err)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	mode_t old;
	int fd, ret;

	if (strlen(path) >= sizeof(addr.sun_path))
		return uvfio_error_set(err, -ENAMETOOLONG,
				       "socket %s: its path is longer than the %zu bytes that a "
				       "socket's may have; choose a shorter one",
				       path, sizeof(addr.sun_path) - 1);
	memcpy(addr.sun_path, path, strlen(path));
	ret = make_way(&addr, err);
	if (ret)
		return ret;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return uvfio_error_set(err, -errno, "socket %s: %s", path, strerror(errno));
	old = umask(0177); /* the keeper has no threads */
	ret = bind(fd, (struct sockaddr *)&addr, sizeof(addr)) ? -errno : 0;
	umask(old);
	if (ret) {
		uvfio_error_set(err, ret, "socket %s: cannot make it: %s; check its directory",
				path, strerror(-ret));
		close(fd);
		return ret;
	}
	/* At once, so that hardly anybody takes it for one that was left behind. */
	if (listen(fd, BACKLOG))
		ret = uvfio_error_set(err, -errno, "socket %s: cannot listen: %s", path,
				      strerror(errno));
	if (!ret)
		ret = set_rights(path, mode, group, err);
	if (ret) {
		unlink(path);
		close(fd);
		return ret;
	}
	return fd;
}

/* ---- passed ---- */

static long env_number(const char *name)
{
	const char *text = getenv(name);
	char *end;
	long n;

	if (!text || !*text)
		return -1;
	n = strtol(text, &end, 10);
	return *end ? -1 : n;
}

static int take_one(struct serve_passed_socket *s, int fd, const char *name, size_t name_len,
		    struct uvfio_error *err)
{
	struct sockaddr_un addr = {0};
	socklen_t len = sizeof(addr);
	int on = 0;
	socklen_t on_len = sizeof(on);

	s->fd = fd;
	s->name = strndup(name, name_len);
	if (!s->name)
		return uvfio_error_set(err, -ENOMEM, "out of memory");
	if (getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &on, &on_len) || !on ||
	    getsockname(fd, (struct sockaddr *)&addr, &len) || addr.sun_family != AF_UNIX)
		return uvfio_error_set(err, -EINVAL,
				       "the descriptor %d (%s) that was passed with LISTEN_FDS is "
				       "not a listening UNIX socket; in the socket unit, give a "
				       "path with ListenStream=, and Accept=no",
				       fd, s->name);
	fcntl(fd, F_SETFD, FD_CLOEXEC);
	fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
	if (len > offsetof(struct sockaddr_un, sun_path) && addr.sun_path[0])
		snprintf(s->path, sizeof(s->path), "%.*s", (int)sizeof(addr.sun_path) - 1,
			 addr.sun_path);
	return 0;
}

int serve_passed_take(struct serve_passed *passed, struct uvfio_error *err)
{
	long pid = env_number("LISTEN_PID"), nr = env_number("LISTEN_FDS");
	char *names = getenv("LISTEN_FDNAMES");
	const char *name;
	int ret = 0;

	*passed = (struct serve_passed){0};
	if (pid != getpid() || nr <= 0)
		return 0;
	if (nr > MAX_PASSED)
		return uvfio_error_set(err, -EINVAL, "LISTEN_FDS=%ld: more than %d", nr,
				       MAX_PASSED);
	passed->list = calloc((size_t)nr, sizeof(*passed->list));
	names = strdup(names ? names : "");
	if (!passed->list || !names) {
		free(names);
		return uvfio_error_set(err, -ENOMEM, "out of memory");
	}
	name = names;
	for (; passed->nr < nr && !ret; passed->nr++) {
		size_t len = strcspn(name, ":");

		ret = take_one(&passed->list[passed->nr], FIRST_PASSED_FD + (int)passed->nr,
			       len ? name : "unknown", len ? len : 7, err);
		name += name[len] ? len + 1 : len;
	}
	free(names);
	unsetenv("LISTEN_PID");
	unsetenv("LISTEN_FDS");
	unsetenv("LISTEN_FDNAMES");
	return ret;
}

struct serve_passed_socket *serve_passed_find(struct serve_passed *passed, const char *socket)
{
	char *real = NULL, *dir, *copy;
	const char *base;
	unsigned i;

	if (!strncmp(socket, "fd:", 3)) {
		for (i = 0; i < passed->nr; i++)
			if (!strcmp(passed->list[i].name, socket + 3))
				return &passed->list[i];
		return NULL;
	}
	if (!passed->nr)
		return NULL;
	/* The path that systemd bound is absolute; ours may be relative. */
	copy = strdup(socket);
	base = strrchr(socket, '/') ? strrchr(socket, '/') + 1 : socket;
	if (copy && strrchr(copy, '/'))
		*strrchr(copy, '/') = '\0';
	dir = copy ? realpath(base == socket ? "." : *copy ? copy : "/", NULL) : NULL;
	if (dir && asprintf(&real, "%s/%s", strcmp(dir, "/") ? dir : "", base) < 0)
		real = NULL;
	for (i = 0; i < passed->nr; i++) {
		const char *path = passed->list[i].path;

		if (*path && (!strcmp(path, socket) || (real && !strcmp(path, real))))
			break;
	}
	free(dir);
	free(copy);
	free(real);
	return i < passed->nr ? &passed->list[i] : NULL;
}

void serve_passed_fini(struct serve_passed *passed)
{
	for (unsigned i = 0; i < passed->nr; i++) {
		close(passed->list[i].fd);
		free(passed->list[i].name);
	}
	free(passed->list);
	*passed = (struct serve_passed){0};
}

/* ---- readiness ---- */

void serve_notify(const char *state)
{
	const char *path = getenv("NOTIFY_SOCKET");
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	size_t len = path ? strlen(path) : 0;
	int fd;

	if (!len || len >= sizeof(addr.sun_path))
		return;
	memcpy(addr.sun_path, path, len);
	if (path[0] == '@')
		addr.sun_path[0] = '\0';
	fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return;
	if (sendto(fd, state, strlen(state), MSG_NOSIGNAL, (struct sockaddr *)&addr,
		   (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len)) < 0) {
		/* Nobody listens; then nobody waits either. */
	}
	close(fd);
}
