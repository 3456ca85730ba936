/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Mounting for --sysfs, with libfuse, which knows mount(2) and fusermount3.
 *
 * The session here is never served: the descriptor goes to the server, and a descriptor of nothing
 * takes its place, so that the file system ends with the server and not with the keeper.
 */
#define FUSE_USE_VERSION 314
#include <errno.h>
#include <fcntl.h>
#include <fuse_lowlevel.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <unistd.h>
#include "serve/mount.h"

struct serve_mount {
	struct fuse_session *session;
};

static void take_away(const char *path)
{
	pid_t pid;

	if (!umount2(path, MNT_DETACH | UMOUNT_NOFOLLOW))
		return;
	pid = fork();
	if (!pid) {
		execlp("fusermount3", "fusermount3", "-u", "-z", "-q", "--", path, (char *)NULL);
		_exit(1);
	}
	if (pid > 0)
		waitpid(pid, NULL, 0);
}

#define FUSE_MAGIC 0x65735546
#define ENDING_MS  1000 /* how long a server that was killed may take to end */

/* Is the tree of another server there?  One that is about to end is waited for. */
static bool is_taken(const char *path)
{
	struct statfs fs;
	char file[4096];

	snprintf(file, sizeof(file), "%s/bus/pci/drivers_autoprobe", path);
	for (unsigned ms = 0; ms < ENDING_MS; ms += 10) {
		if (statfs(path, &fs) || fs.f_type != FUSE_MAGIC || access(file, F_OK))
			return false;
		usleep(10000);
	}
	return true;
}

static int check(const char *path, struct uvfio_error *err)
{
	struct stat st;

	if (is_taken(path))
		return uvfio_error_set(
			err, -EBUSY,
			"--sysfs %s: another server has its tree there; choose another "
			"directory, or end that one",
			path);
	if (stat(path, &st) && errno == ENOTCONN)
		take_away(path);
	if (stat(path, &st))
		return uvfio_error_set(err, -errno, "--sysfs %s: %s; it is to be a directory", path,
				       strerror(errno));
	if (!S_ISDIR(st.st_mode))
		return uvfio_error_set(err, -ENOTDIR, "--sysfs %s: it is not a directory", path);
	if (access("/dev/fuse", R_OK | W_OK))
		return uvfio_error_set(
			err, -errno,
			"--sysfs %s: /dev/fuse cannot be opened: %s; the tree is served "
			"through it (modprobe fuse; in a container: --device /dev/fuse "
			"--cap-add SYS_ADMIN)",
			path, strerror(errno));
	return 0;
}

int serve_mount(const char *path, struct serve_mount **out, int *fd, struct uvfio_error *err)
{
	static const struct fuse_lowlevel_ops ops = {0};
	char name[] = "uvfio", o[] = "-o",
	     privileged[] = "allow_other,default_permissions,fsname=uvfio",
	     own[] = "default_permissions,fsname=uvfio";
	char *argv[] = {name, o, geteuid() == 0 ? privileged : own, NULL};
	struct fuse_args args = FUSE_ARGS_INIT(3, argv);
	struct serve_mount *mount;
	int ret = check(path, err), null;

	if (ret)
		return ret;
	mount = calloc(1, sizeof(*mount));
	if (!mount)
		return uvfio_error_set(err, -ENOMEM, "out of memory");
	mount->session = fuse_session_new(&args, &ops, sizeof(ops), NULL);
	fuse_opt_free_args(&args);
	if (!mount->session || fuse_session_mount(mount->session, path)) {
		if (mount->session)
			fuse_session_destroy(mount->session);
		free(mount);
		return uvfio_error_set(
			err, -EPERM,
			"--sysfs %s: cannot mount there; it takes root, or fusermount3 "
			"(Debian's package fuse3) with its set-uid bit, and a "
			"directory of one's own",
			path);
	}
	*out = mount;
	null = open("/dev/null", O_RDWR | O_CLOEXEC);
	*fd = fcntl(fuse_session_fd(mount->session), F_DUPFD_CLOEXEC, 3);
	if (null >= 0 && *fd >= 0)
		dup3(null, fuse_session_fd(mount->session), O_CLOEXEC);
	if (null >= 0)
		close(null);
	if (null >= 0 && *fd >= 0)
		return 0;
	ret = uvfio_error_set(err, -errno, "--sysfs %s: %s", path, strerror(errno));
	if (*fd >= 0)
		close(*fd);
	serve_unmount(mount);
	return ret;
}

void serve_unmount(struct serve_mount *mount)
{
	if (!mount)
		return;
	fuse_session_unmount(mount->session);
	fuse_session_destroy(mount->session);
	free(mount);
}
