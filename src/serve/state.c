/* SPDX-License-Identifier: BSD-3-Clause */
/* The files of --state; see state.h. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>
#include "serve/channel.h"
#include "serve/state.h"

#define VERSION_LINE "uvfio state 1\n"

struct serve_states {
	int dir;
	char *path; /* for messages */
};

int serve_states_open(const char *path, struct serve_states **out, struct uvfio_error *err)
{
	struct serve_states *states = calloc(1, sizeof(*states));
	struct stat st;
	int ret = 0;

	if (states)
		states->path = strdup(path);
	if (!states || !states->path) {
		free(states);
		return uvfio_error_set(err, -ENOMEM, "out of memory");
	}
	states->dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (states->dir < 0 || fstat(states->dir, &st))
		ret = uvfio_error_set(err, -errno,
				      "--state %s: %s; it has to be a directory that is there",
				      path, strerror(errno));
	else if (st.st_uid != geteuid() || st.st_mode & (S_IWGRP | S_IWOTH))
		ret = uvfio_error_set(err, -EPERM,
				      "--state %s: it has to belong to who starts this server, and "
				      "nobody else may write to it (chown, chmod 0700)",
				      path);
	/* Two servers would take each other's. */
	else if (flock(states->dir, LOCK_EX | LOCK_NB))
		ret = uvfio_error_set(err, -EBUSY, "--state %s: another server uses it", path);
	if (ret)
		serve_states_close(states);
	else
		*out = states;
	return ret;
}

void serve_states_close(struct serve_states *states)
{
	if (!states)
		return;
	if (states->dir >= 0)
		close(states->dir);
	free(states->path);
	free(states);
}

/* ---- names ---- */

/* As systemd escapes paths: each socket has a name of its own.  NULL: it is too long, or no memory.
 */
static char *name_of(const char *socket, const char *ending)
{
	size_t room = 4 * strlen(socket) + strlen(ending) + 1, n = 0;
	char *name = malloc(room);

	if (!name)
		return NULL;
	for (const char *at = socket; *at; at++) {
		bool plain = (*at >= 'a' && *at <= 'z') || (*at >= 'A' && *at <= 'Z') ||
			     (*at >= '0' && *at <= '9') || *at == '_' || *at == ':' ||
			     (*at == '.' && at != socket);

		if (plain)
			name[n++] = *at;
		else if (*at == '/' && at != socket)
			name[n++] = '-';
		else
			n += (size_t)snprintf(name + n, room - n, "\\x%02x", (unsigned char)*at);
	}
	snprintf(name + n, room - n, "%s", ending);
	if (strlen(name) <= 255)
		return name;
	free(name);
	return NULL;
}

static int no_name(const char *socket, struct uvfio_error *err)
{
	return uvfio_error_set(err, -ENAMETOOLONG, "--state: %s is too long for the name of a file",
			       socket);
}

static int move(struct serve_states *states, const char *socket, const char *from, const char *to)
{
	char *old = name_of(socket, from), *fresh = name_of(socket, to);
	int ret = old && fresh ? 0 : -ENOMEM;

	if (!ret && renameat(states->dir, old, states->dir, fresh))
		ret = -errno;
	if (!ret && fsync(states->dir))
		ret = -errno;
	free(old);
	free(fresh);
	return ret;
}

static void drop(struct serve_states *states, const char *socket, const char *ending)
{
	char *name = name_of(socket, ending);

	if (name && !unlinkat(states->dir, name, 0))
		fsync(states->dir);
	free(name);
}

/* ---- taking ---- */

/* The lines in front: @fd is behind them then. */
static int check_lines(int fd, const char *spec, const char *path, const char *name,
		       struct uvfio_error *err)
{
	size_t len = strlen(VERSION_LINE) + strlen(spec) + 1;
	char *text = calloc(1, SERVE_MAX_TEXT + 64), *line;
	int ret = 0;
	ssize_t n;

	if (!text)
		return uvfio_error_set(err, -ENOMEM, "out of memory");
	n = pread(fd, text, SERVE_MAX_TEXT + 63, 0);
	line = n > (ssize_t)strlen(VERSION_LINE) ? text + strlen(VERSION_LINE) : NULL;
	if (!line || strncmp(text, VERSION_LINE, strlen(VERSION_LINE)) != 0 ||
	    !strchr(line, '\n')) {
		ret = uvfio_error_set(err, -EINVAL, "%s/%s is no state of a device", path, name);
	} else {
		*strchr(line, '\n') = '\0';
		if (strcmp(line, spec) != 0)
			ret = uvfio_error_set(
				err, -EINVAL,
				"%s/%s is the state of another device: %.300s; say it as it was, "
				"or take the file away",
				path, name, line);
	}
	free(text);
	if (!ret && lseek(fd, (off_t)len, SEEK_SET) < 0)
		ret = uvfio_error_set(err, -errno, "%s/%s: %s", path, name, strerror(errno));
	return ret;
}

static int open_state(struct serve_states *states, const char *socket, const char *spec,
		      const char *name, struct uvfio_error *err)
{
	int fd = openat(states->dir, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK), ret;
	struct stat st;

	if (fd < 0 && errno == ENOENT)
		return -ENOENT;
	if (fd < 0)
		return uvfio_error_set(err, -errno, "%s/%s: %s", states->path, name,
				       strerror(errno));
	if (fstat(fd, &st) || !S_ISREG(st.st_mode) || st.st_uid != geteuid() ||
	    st.st_mode & (S_IWGRP | S_IWOTH) || st.st_nlink != 1)
		ret = uvfio_error_set(err, -EPERM,
				      "%s/%s: it is not a file that this server made, or others "
				      "may write to it",
				      states->path, name);
	else
		ret = check_lines(fd, spec, states->path, name, err);
	if (!ret)
		ret = move(states, socket, ".state", ".used");
	if (ret && !err->msg[0])
		uvfio_error_set(err, ret, "%s/%s: %s", states->path, name, strerror(-ret));
	if (ret)
		close(fd);
	return ret ? ret : fd;
}

/* Of a server that ended while it was taking it. */
static int check_used(struct serve_states *states, const char *socket, struct uvfio_error *err)
{
	char *used = name_of(socket, ".used");
	struct stat st;
	int ret = 0;

	if (used && !fstatat(states->dir, used, &st, AT_SYMLINK_NOFOLLOW))
		ret = uvfio_error_set(
			err, -EEXIST,
			"%s/%s: a server ended when it had begun to use this state, "
			"and nobody knows how far it came; rename it to .state to use "
			"it nevertheless, or remove it to begin anew",
			states->path, used);
	free(used);
	return ret;
}

int serve_state_take(struct serve_states *states, const char *socket, const char *spec,
		     struct uvfio_error *err)
{
	char *name = name_of(socket, ".state");
	int ret;

	if (!name)
		return no_name(socket, err);
	ret = open_state(states, socket, spec, name, err);
	if (ret == -ENOENT && check_used(states, socket, err))
		ret = -EEXIST;
	free(name);
	return ret;
}

void serve_state_taken(struct serve_states *states, const char *socket, enum serve_state_end how)
{
	if (how == SERVE_STATE_USED)
		drop(states, socket, ".used");
	else
		move(states, socket, ".used", how == SERVE_STATE_BACK ? ".state" : ".refused");
}

/* ---- saving ---- */

int serve_state_begin(struct serve_states *states, const char *socket, const char *spec,
		      struct uvfio_error *err)
{
	char *name = name_of(socket, ".tmp");
	int fd;

	if (!name)
		return no_name(socket, err);
	unlinkat(states->dir, name, 0);
	fd = openat(states->dir, name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0 || dprintf(fd, VERSION_LINE "%s\n", spec) < 0) {
		uvfio_error_set(err, -errno, "%s/%s: %s", states->path, name, strerror(errno));
		if (fd >= 0)
			close(fd);
		fd = -EIO;
	}
	free(name);
	return fd;
}

int serve_state_end(struct serve_states *states, const char *socket, bool ok,
		    struct uvfio_error *err)
{
	int ret = 0;

	if (ok)
		ret = move(states, socket, ".tmp", ".state");
	if (!ok || ret)
		drop(states, socket, ".tmp");
	if (ret)
		uvfio_error_set(err, ret, "--state %s: %s", states->path, strerror(-ret));
	return ret;
}
