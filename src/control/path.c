/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Where the sockets of control are: /run/uvfio/NAME.sock for root, $XDG_RUNTIME_DIR/uvfio/NAME.sock
 * for others.
 */
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>
#include "base/listener.h"
#include "control/control.h"

#define BACKLOG 64

int control_directory(char out[CONTROL_PATH_MAX], struct uvfio_error *err)
{
	const char *runtime = getenv("XDG_RUNTIME_DIR");

	if (geteuid() == 0) {
		strcpy(out, "/run/uvfio");
		return 0;
	}
	if (!runtime || runtime[0] != '/')
		return uvfio_error_set(
			err, -ENOENT,
			"XDG_RUNTIME_DIR is not set, so control sockets have no default place; give one with --control SOCKET");
	if (snprintf(out, CONTROL_PATH_MAX, "%s/uvfio", runtime) >= (int)CONTROL_PATH_MAX)
		return uvfio_error_set(
			err, -ENAMETOOLONG,
			"XDG_RUNTIME_DIR is too long for a socket; give one with --control SOCKET");
	return 0;
}

int control_path(const char *name, char out[CONTROL_PATH_MAX], struct uvfio_error *err)
{
	char dir[CONTROL_PATH_MAX];
	bool good = isalnum((unsigned char)name[0]) || name[0] == '_';
	int ret;

	for (const char *c = name; *c; c++)
		good &= isalnum((unsigned char)*c) || strchr("._-", *c) != NULL;
	if (!good)
		return uvfio_error_set(
			err, -EINVAL,
			"'%.60s' cannot name a machine: letters, digits, '.', '_' and '-' can, and the first is a letter, digit or '_'",
			name);
	ret = control_directory(dir, err);
	if (ret)
		return ret;
	if (snprintf(out, CONTROL_PATH_MAX, "%s/%s.sock", dir, name) >= (int)CONTROL_PATH_MAX)
		return uvfio_error_set(err, -EINVAL, "the name '%.60s' is too long for a machine",
				       name);
	return 0;
}

static int address(const char *path, struct sockaddr_un *sun)
{
	*sun = (struct sockaddr_un){.sun_family = AF_UNIX};
	if (!path[0] || strlen(path) >= sizeof(sun->sun_path))
		return -ENAMETOOLONG;
	strcpy(sun->sun_path, path);
	return 0;
}

int control_connect(const char *path)
{
	struct sockaddr_un sun;
	int fd, ret = address(path, &sun);

	if (ret)
		return ret;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	if (connect(fd, (struct sockaddr *)&sun, sizeof(sun))) {
		ret = -errno;
		close(fd);
		return ret;
	}
	return fd;
}

/* The default directory is made when it is not there. */
static int make_directory(const char *path, struct uvfio_error *err)
{
	char dir[CONTROL_PATH_MAX];
	size_t len;

	if (control_directory(dir, NULL))
		return 0;
	len = strlen(dir);
	if (strncmp(path, dir, len) != 0 || path[len] != '/' || strchr(path + len + 1, '/'))
		return 0;
	if (mkdir(dir, geteuid() ? 0700 : 0755) && errno != EEXIST)
		return uvfio_error_set(err, -errno, "cannot make the directory %s: %s", dir,
				       strerror(errno));
	return 0;
}

/* A socket without a server is what a crash leaves behind. */
static int clear_the_way(const char *path, struct uvfio_error *err)
{
	struct sockaddr_un sun;
	struct stat st;
	int ret;

	if (lstat(path, &st))
		return 0;
	if (!S_ISSOCK(st.st_mode))
		return uvfio_error_set(err, -EEXIST,
				       "%s exists and is no socket; choose another place", path);
	ret = address(path, &sun);
	if (!ret)
		ret = uvfio_listener_look(&sun);
	if (!ret || ret == -EAGAIN)
		return uvfio_error_set(
			err, -EADDRINUSE,
			"a server is listening on %s already; stop it, or choose another name or place",
			path);
	if (ret == -ECONNREFUSED && unlink(path) && errno != ENOENT)
		return uvfio_error_set(err, -errno, "cannot remove the stale socket %s: %s", path,
				       strerror(errno));
	return 0;
}

int control_socket_rights(const char *path, gid_t gid, mode_t mode)
{
	int fd = open(path, O_PATH | O_NOFOLLOW | O_CLOEXEC), ret = 0;
	char self[32];
	struct stat st;

	if (fd < 0)
		return -errno;
	/* By name, a link that somebody puts in its place would be followed. */
	snprintf(self, sizeof(self), "/proc/self/fd/%d", fd);
	if (fstat(fd, &st))
		ret = -errno;
	else if (!S_ISSOCK(st.st_mode) || st.st_uid != geteuid())
		ret = -EEXIST;
	else if ((gid != (gid_t)-1 && fchownat(fd, "", (uid_t)-1, gid, AT_EMPTY_PATH)) ||
		 chmod(self, mode))
		ret = -errno;
	close(fd);
	return ret;
}

int control_listen(const char *path, mode_t mode, struct uvfio_error *err)
{
	struct sockaddr_un sun;
	int fd, ret;

	if (address(path, &sun))
		return uvfio_error_set(err, -ENAMETOOLONG,
				       "%.120s: the path of a socket has 1 to %zu bytes", path,
				       sizeof(sun.sun_path) - 1);
	ret = make_directory(path, err);
	if (!ret)
		ret = clear_the_way(path, err);
	if (ret)
		return ret;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return uvfio_error_set(err, -errno, "no socket can be made: %s", strerror(errno));
	/* The file gets the mode of the socket, so nobody gets in between bind() and chmod(). */
	ret = fchmod(fd, 0600) || bind(fd, (struct sockaddr *)&sun, sizeof(sun)) ? -errno : 0;
	if (ret) {
		uvfio_error_set(err, ret, "cannot make the socket %s: %s", path, strerror(-ret));
	} else {
		ret = control_socket_rights(path, (gid_t)-1, mode);
		if (!ret && listen(fd, BACKLOG))
			ret = -errno;
		if (ret)
			uvfio_error_set(err, ret, "the socket %s: %s", sun.sun_path,
					strerror(-ret));
		if (ret && ret != -EEXIST)
			unlink(path);
	}
	if (ret) {
		close(fd);
		return ret;
	}
	return fd;
}
