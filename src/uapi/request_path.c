/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * System calls that take a path, for a program without a mount namespace of its own: what leads
 * into our tree (shadow.h) is answered from there.
 *
 * What leads elsewhere is the kernel's.  It reads the path again, and the program can have changed
 * it by then; that gives nobody anything, because the kernel then does what the program may do
 * anyway.  The reverse holds too: we open for the program only files of our tree, and of the
 * machine's /sys what everybody may read and reach.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>
#include "uapi/files.h"
#include "uapi/request.h"
#include "uapi/task.h"
#include "uapi/walk.h"

/* Does what @walk has left our tree for lie in the machine's /sys, where everybody may go?  We look
 * there with our rights, and the program may have fewer: debugfs has files that all may read, in a
 * directory that is root's. */
static bool is_machines(const struct walk *walk)
{
	return !strncmp(walk->path, "/sys/", 5) && uapi_walk_is_public(walk->path);
}

/* The path at @addr, walked.  As uapi_walk(). */
static int look(struct uapi_request *req, int dirfd, uint64_t addr, bool nofollow,
		struct walk *walk)
{
	char name[PATH_MAX];
	int ret;

	if (uapi_task_read_string(req->tid, name, addr, sizeof(name)) <= 0)
		return 0; /* the kernel says what is wrong with it */
	ret = uapi_walk(req->server, req->tid, dirfd, name, nofollow, 0, walk);
	if (!ret && walk->left)
		ret = is_machines(walk);
	if (ret && !uapi_request_valid(req))
		return 0;
	if (ret < 0)
		uapi_answer(req, ret);
	return ret;
}

/* An O_PATH fd of what @walk found. */
static int path_fd(const struct uapi_request *req, const struct walk *walk)
{
	int fd;

	if (!walk->left)
		return uapi_shadow_open(req->server->shadow, walk->path, O_PATH);
	fd = open(walk->path, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

/* May the program do @want (R_OK, W_OK, X_OK) with what has the mode @mode and is ours? */
static bool permitted(const struct uapi_request *req, mode_t mode, unsigned want)
{
	unsigned uid = (unsigned)uapi_task_fsuid(req->tid);

	if (uid == geteuid())
		mode >>= 6;
	if (!uid && !(want & X_OK))
		return true;
	return (mode & want) == want;
}

/* ---- open ---- */

static void give(struct uapi_request *req, int fd, uint64_t flags)
{
	if (fd < 0) {
		uapi_answer(req, fd);
		return;
	}
	req->answer = UAPI_FD;
	req->fd = fd;
	req->cloexec = flags & O_CLOEXEC;
}

static void open_directory(struct uapi_request *req, const struct walk *walk, uint64_t flags)
{
	if ((flags & (O_CREAT | O_EXCL)) == (O_CREAT | O_EXCL))
		uapi_answer(req, -EEXIST);
	else if ((flags & O_ACCMODE) != O_RDONLY || flags & O_CREAT)
		uapi_answer(req, -EISDIR);
	else
		give(req, uapi_shadow_open(req->server->shadow, walk->path, O_DIRECTORY), flags);
}

/* UAPI_FILE_KINDS: an ordinary file. */
static enum uapi_file_kind node_kind(struct uapi_request *req, const struct walk *walk,
				     mode_t *mode, unsigned *group)
{
	int fd = path_fd(req, walk);
	enum uapi_file_kind kind = UAPI_FILE_KINDS;
	struct stat st;

	*mode = 0;
	if (fd < 0)
		return kind;
	if (!fstat(fd, &st)) {
		*mode = st.st_mode;
		kind = uapi_files_node(req->server->files, &st, group);
	}
	close(fd);
	return kind;
}

static enum uapi_path open_file(struct uapi_request *req, const struct walk *walk, uint64_t flags,
				enum uapi_file_kind *kind, unsigned *group)
{
	static const unsigned wanted[] = {R_OK, W_OK, R_OK | W_OK, R_OK | W_OK};
	mode_t mode;

	*kind = node_kind(req, walk, &mode, group);

	if (flags & O_DIRECTORY)
		uapi_answer(req, -ENOTDIR);
	else if ((flags & (O_CREAT | O_EXCL)) == (O_CREAT | O_EXCL))
		uapi_answer(req, -EEXIST);
	else if (*kind != UAPI_FILE_KINDS)
		return UAPI_PATH_NODE;
	else if (!permitted(req, mode, wanted[flags & O_ACCMODE]))
		uapi_answer(req, -EACCES);
	else
		give(req,
		     uapi_shadow_open(req->server->shadow, walk->path,
				      (int)flags & (O_ACCMODE | O_APPEND)), /* not O_TRUNC */
		     flags);
	return UAPI_PATH_ANSWERED;
}

/* The kernel hands over no descriptor that is a path only: one for reading is as good for what such
 * a one can do, but there is none of a link. */
static void open_path_only(struct uapi_request *req, const struct walk *walk, uint64_t flags)
{
	if (flags & O_DIRECTORY && (walk->kind == SHADOW_FILE || walk->kind == SHADOW_LINK))
		uapi_answer(req, -ENOTDIR);
	else if (walk->kind == SHADOW_LINK)
		uapi_answer(req, -ELOOP);
	else
		give(req, uapi_shadow_open(req->server->shadow, walk->path, O_RDONLY), flags);
}

/* What the machine has, reached from a directory of ours. */
static bool open_machines(struct uapi_request *req, const struct walk *walk, uint64_t flags)
{
	struct stat st;
	int fd;

	if (!is_machines(walk) || (flags & (O_ACCMODE | O_PATH)) != O_RDONLY)
		return false;
	fd = open(walk->path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | ((int)flags & O_DIRECTORY));
	if (fd >= 0 && (fstat(fd, &st) || !(st.st_mode & S_IROTH))) {
		close(fd);
		return false;
	}
	give(req, fd < 0 ? -errno : fd, flags);
	return true;
}

enum uapi_path uapi_path_open(struct uapi_request *req, int dirfd, const char *name, uint64_t flags,
			      uint64_t resolve, enum uapi_file_kind *kind, unsigned *group)
{
	const bool excl = (flags & (O_CREAT | O_EXCL)) == (O_CREAT | O_EXCL);
	struct walk walk;
	int ret = uapi_walk(req->server, req->tid, dirfd, name, (flags & O_NOFOLLOW) || excl,
			    resolve, &walk);

	if (!ret && !walk.left)
		return UAPI_PATH_FOREIGN;
	if (!uapi_request_valid(req))
		return UAPI_PATH_ANSWERED;
	if (!ret)
		return open_machines(req, &walk, flags) ? UAPI_PATH_ANSWERED : UAPI_PATH_FOREIGN;
	if (ret == -ENOENT && flags & O_CREAT)
		ret = -EACCES; /* nobody makes files there */
	if (ret < 0) {
		uapi_answer(req, ret);
	} else if (flags & O_PATH) {
		open_path_only(req, &walk, flags);
	} else if (walk.kind == SHADOW_LINK) {
		uapi_answer(req, excl ? -EEXIST : flags & O_DIRECTORY ? -ENOTDIR : -ELOOP);
	} else if (walk.kind != SHADOW_FILE) {
		open_directory(req, &walk, flags);
	} else {
		return open_file(req, &walk, flags, kind, group);
	}
	return UAPI_PATH_ANSWERED;
}

/* ---- what is there ---- */

static void do_stat(struct uapi_request *req, int dirfd, uint64_t path, uint64_t buf,
		    uint64_t flags)
{
	struct walk walk;
	struct stat st;
	int fd;

	if (flags & ~(uint64_t)(AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT | AT_EMPTY_PATH))
		return;
	if (look(req, dirfd, path, flags & AT_SYMLINK_NOFOLLOW, &walk) <= 0)
		return;
	fd = path_fd(req, &walk);
	if (fd < 0) {
		uapi_answer(req, fd);
		return;
	}
	uapi_answer(req, fstat(fd, &st) ? -errno : uapi_copy_to(req, buf, &st, sizeof(st)));
	close(fd);
}

static void do_statx(struct uapi_request *req)
{
	const uint64_t flags = req->args[2] & 0xffffffffu;
	const unsigned mask = (unsigned)req->args[3];
	struct walk walk;
	struct statx stx;
	int fd;

	if (flags &
	    ~(uint64_t)(AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT | AT_EMPTY_PATH | AT_STATX_SYNC_TYPE))
		return;
	if (look(req, (int)req->args[0], req->args[1], flags & AT_SYMLINK_NOFOLLOW, &walk) <= 0)
		return;
	fd = path_fd(req, &walk);
	if (fd < 0) {
		uapi_answer(req, fd);
		return;
	}
	uapi_answer(req,
		    statx(fd, "", AT_EMPTY_PATH | (int)(flags & AT_STATX_SYNC_TYPE), mask, &stx)
			    ? -errno
			    : uapi_copy_to(req, req->args[4], &stx, sizeof(stx)));
	close(fd);
}

static void do_access(struct uapi_request *req, int dirfd, uint64_t path, uint64_t want,
		      uint64_t flags)
{
	struct walk walk;
	struct stat st;
	int fd;

	if (want & ~(uint64_t)7 ||
	    flags & ~(uint64_t)(AT_EACCESS | AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH))
		return;
	if (look(req, dirfd, path, flags & AT_SYMLINK_NOFOLLOW, &walk) <= 0)
		return;
	fd = path_fd(req, &walk);
	if (fd < 0 || fstat(fd, &st))
		uapi_answer(req, fd < 0 ? fd : -errno);
	else
		uapi_answer(req, permitted(req, st.st_mode, (unsigned)want) ? 0 : -EACCES);
	if (fd >= 0)
		close(fd);
}

/* ---- links ---- */

static void put_text(struct uapi_request *req, const char *text, uint64_t buf, uint64_t size)
{
	const size_t len = strlen(text);
	const size_t n = len < size ? len : size;

	uapi_answer(req, uapi_copy_to(req, buf, text, n) ? -EFAULT : (int64_t)n);
}

/* The link of a descriptor, or of a working directory, names a file of ours: as the kernel's VFIO
 * would have it. */
static bool name_of(struct uapi_request *req, const char *link, char *text, size_t size)
{
	struct uapi_server *server = req->server;
	const ssize_t n = readlink(link, text, size - 1);
	char node[UAPI_NODE_NAME] = "vfio";
	const char *inside;
	unsigned group = 0;
	enum uapi_file_kind kind;
	struct stat st;

	if (n < 0)
		return false;
	text[n] = '\0';
	inside = uapi_shadow_inside(server->shadow, text);
	if (inside) {
		memmove(text, inside, strlen(inside) + 1);
		return true;
	}
	if (strncmp(text, "/memfd:uvfio", strlen("/memfd:uvfio")) || stat(link, &st))
		return false;
	kind = uapi_files_node(server->files, &st, &group);
	if (kind == UAPI_FILE_KINDS)
		return false;
	if (kind == UAPI_GROUP)
		uapi_files_group_name(server->files, group, node);
	if (kind == UAPI_IOMMUFD)
		snprintf(text, size, TREE_DEV_IOMMU);
	else
		snprintf(text, size, TREE_DEV_VFIO "/%s", node);
	return true;
}

static void do_readlink(struct uapi_request *req, int dirfd, uint64_t path, uint64_t buf,
			uint64_t size)
{
	struct walk walk;
	char text[PATH_MAX];
	int ret;

	if ((int)size <= 0)
		return;
	walk.path[0] = '\0';
	ret = look(req, dirfd, path, true, &walk);
	if (ret < 0)
		return;
	if (!ret) {
		if (!strncmp(walk.path, "/proc/", 6) &&
		    name_of(req, walk.path, text, sizeof(text)) && uapi_request_valid(req))
			put_text(req, text, buf, (unsigned)size);
		return;
	}
	if (walk.left) {
		ssize_t n = readlink(walk.path, text, sizeof(text) - 1);

		if (n < 0) {
			uapi_answer(req, -errno);
			return;
		}
		text[n] = '\0';
		put_text(req, text, buf, (unsigned)size);
	} else if (walk.kind == SHADOW_LINK) {
		put_text(req, walk.target, buf, (unsigned)size);
	} else {
		uapi_answer(req, -EINVAL);
	}
}

static void do_getcwd(struct uapi_request *req)
{
	char host[PATH_MAX];
	const char *inside;
	size_t len;

	if (uapi_task_link(req->server->tasks, req->tid, "cwd", host, sizeof(host)) < 0)
		return;
	inside = uapi_shadow_inside(req->server->shadow, host);
	if (!inside || !uapi_request_valid(req))
		return;
	len = strlen(inside) + 1;
	if (len > req->args[1])
		uapi_answer(req, -ERANGE);
	else
		uapi_answer(req,
			    uapi_copy_to(req, req->args[0], inside, len) ? -EFAULT : (int64_t)len);
}

/* ---- routing ---- */

/* Our files have no extended attributes. */
static void do_xattr(struct uapi_request *req, bool nofollow, int result)
{
	struct walk walk;

	if (look(req, AT_FDCWD, req->args[0], nofollow, &walk) > 0 && !walk.left)
		uapi_answer(req, result);
}

void uapi_do_path(struct uapi_request *req)
{
	const uint64_t *args = req->args;

	if (!req->server->shadow)
		return;
	switch (req->nr) {
	case SYS_creat:
		uapi_do_open(req, AT_FDCWD, args[0], O_CREAT | O_WRONLY | O_TRUNC);
		break;
	case SYS_stat:
		do_stat(req, AT_FDCWD, args[0], args[1], 0);
		break;
	case SYS_lstat:
		do_stat(req, AT_FDCWD, args[0], args[1], AT_SYMLINK_NOFOLLOW);
		break;
	case SYS_newfstatat:
		do_stat(req, (int)args[0], args[1], args[2], args[3] & 0xffffffffu);
		break;
	case SYS_statx:
		do_statx(req);
		break;
	case SYS_access:
		do_access(req, AT_FDCWD, args[0], args[1] & 0xffffffffu, 0);
		break;
	case SYS_faccessat:
		do_access(req, (int)args[0], args[1], args[2] & 0xffffffffu, 0);
		break;
	case SYS_faccessat2:
		do_access(req, (int)args[0], args[1], args[2] & 0xffffffffu, args[3] & 0xffffffffu);
		break;
	case SYS_readlink:
		do_readlink(req, AT_FDCWD, args[0], args[1], args[2]);
		break;
	case SYS_readlinkat:
		do_readlink(req, (int)args[0], args[1], args[2], args[3]);
		break;
	case SYS_getxattr:
	case SYS_lgetxattr:
		do_xattr(req, req->nr == SYS_lgetxattr, -ENODATA);
		break;
	case SYS_listxattr:
	case SYS_llistxattr:
		do_xattr(req, req->nr == SYS_llistxattr, 0);
		break;
	case SYS_getcwd:
		do_getcwd(req);
		break;
	case SYS_chroot:
		atomic_store(&req->server->roots_vary, true);
		break;
	}
}
