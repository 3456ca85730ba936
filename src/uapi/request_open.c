/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * open, openat, openat2: a path that leads to /dev/vfio/vfio or a group, whatever way it takes,
 * opens the core's object.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <unistd.h>
#include "uapi/request.h"
#include "uapi/task.h"

#define KVM_DEVICE makedev(10, 232)

static void kvm_opened(struct uapi_server *server)
{
	if (atomic_exchange(&server->kvm_seen, true) || server->config->mmio != VFIO_MMIO_EXACT)
		return;
	uvfio_log(server->log, UVFIO_LOG_WARN,
		  "the program opens /dev/kvm: registers are not offered for mapping in this run "
		  "(--mmio none), because KVM cannot run a guest that stores to pages which uvfio "
		  "must trap");
}

/* Is @path one that a node may have: …/7, …/noiommu-7, …/vfio7? */
static bool like_a_node(const char *path)
{
	const char *name = strrchr(path, '/');
	size_t digits;

	name = name ? name + 1 : path;
	if (!strncmp(name, "noiommu-", 8))
		name += 8;
	else if (!strncmp(name, "vfio", 4))
		name += 4;
	digits = strspn(name, "0123456789");
	return digits && !name[digits];
}

/* What the path is: UAPI_FILE_KINDS when it is no node, -errno when that cannot be found out.
 * *@open: it leads to something that is open (through /proc). */
static int look_up(struct uapi_request *req, int dirfd, const char *path, uint64_t resolve,
		   unsigned *group, bool *open)
{
	int fd = uapi_task_resolve(req->server->tasks, req->tid, dirfd, path, resolve);
	struct stat st;
	bool known;

	/* Of a device that has come since the last look. */
	if (fd == -ENOENT && like_a_node(path) && uapi_files_look(req->server->files))
		fd = uapi_task_resolve(req->server->tasks, req->tid, dirfd, path, resolve);
	if (fd < 0)
		return uapi_short_of(fd) ? fd : UAPI_FILE_KINDS;
	known = !fstat(fd, &st);
	if (known && uapi_files_open(req->server->files, &st))
		*open = true;
	if (known && S_ISCHR(st.st_mode) && st.st_rdev == KVM_DEVICE &&
	    !faccessat(fd, "", R_OK | W_OK, AT_EMPTY_PATH | AT_EACCESS))
		kvm_opened(req->server);
	close(fd);
	return known ? (int)uapi_files_node(req->server->files, &st, group) : UAPI_FILE_KINDS;
}

/* What @name is, as look_up(), for a program that has no mounts: our tree comes first.  False: the
 * request has its answer, or needs none. */
static bool look_up_shadow(struct uapi_request *req, int dirfd, const char *name, uint64_t flags,
			   uint64_t resolve, int *kind, unsigned *group, bool *open)
{
	enum uapi_file_kind node = UAPI_FILE_KINDS;

	switch (uapi_path_open(req, dirfd, name, flags, resolve, &node, group)) {
	case UAPI_PATH_ANSWERED:
		return false;
	case UAPI_PATH_NODE:
		*kind = (int)node;
		return true;
	case UAPI_PATH_FOREIGN:
		break;
	}
	if ((flags & O_ACCMODE) == O_RDONLY || flags & (O_DIRECTORY | O_PATH))
		return false;
	*kind = look_up(req, dirfd, name, resolve & ~(uint64_t)RESOLVE_NO_XDEV, group, open);
	return true;
}

static void open_path(struct uapi_request *req, int dirfd, uint64_t path, uint64_t flags,
		      uint64_t resolve)
{
	const bool shadow = req->server->shadow;
	char name[PATH_MAX];
	unsigned group = 0;
	ssize_t len;
	bool open = false;
	int kind, fd, access;

	/* A directory, or a path and no more (which is no descriptor to any call). */
	if (flags & (O_DIRECTORY | O_PATH) && !shadow)
		return;
	/* The kernel's VFIO does not look at the access mode.  Of O_ACCMODE, with which ioctl is
	 * all that works, it could not be told when the last one is closed. */
	access = flags & O_ACCMODE;
	if (access == O_ACCMODE)
		access = O_RDWR;
	len = uapi_task_read_string(req->tid, name, path, sizeof(name));
	if ((len == -EPERM || len == -ENOSYS || len == -EACCES) && uapi_request_valid(req))
		uapi_complain(
			req->server, &req->server->hidden_tasks, 1,
			"cannot read the memory of process %d: process_vm_readv: %s; a container's "
			"seccomp profile or a security module forbids it, or the program made "
			"itself undumpable or runs as another user: it does not find its devices "
			"(`uvfio doctor` says what to allow)",
			req->tid, strerror((int)-len));
	if (len <= 0)
		return; /* the kernel says what is wrong with it */
	if (!shadow)
		kind = look_up(req, dirfd, name, resolve, &group, &open);
	else if (!look_up_shadow(req, dirfd, name, flags, resolve, &kind, &group, &open))
		return;
	if (flags & O_PATH)
		return;
	/* A device's file is not opened a second time. */
	if (open && kind == UAPI_FILE_KINDS)
		kind = -ENXIO;
	if (kind == UAPI_FILE_KINDS || !uapi_request_valid(req))
		return;
	if (kind >= 0)
		req->kind = (enum uapi_file_kind)kind;
	if ((kind >= 0 || kind == -ENXIO) && (flags & (O_CREAT | O_EXCL)) == (O_CREAT | O_EXCL)) {
		uapi_answer(req, -EEXIST);
		return;
	}
	if (kind < 0) {
		uapi_answer(req, kind == -ENXIO ? kind : uapi_short_of(kind));
		return;
	}
	fd = uapi_files_open_node(req->server->files, (enum uapi_file_kind)kind, group, access,
				  req->tid, req->id);
	if (fd < 0) {
		uapi_answer(req, fd);
		return;
	}
	if (flags & O_NONBLOCK)
		fcntl(fd, F_SETFL, O_NONBLOCK);
	req->answer = UAPI_FD;
	req->fd = fd;
	req->cloexec = flags & O_CLOEXEC;
}

void uapi_do_open(struct uapi_request *req, int dirfd, uint64_t path, uint64_t flags)
{
	open_path(req, dirfd, path, flags, 0);
}

void uapi_do_openat2(struct uapi_request *req)
{
	const uint64_t restrictions = RESOLVE_NO_MAGICLINKS | RESOLVE_NO_SYMLINKS |
				      RESOLVE_BENEATH | RESOLVE_IN_ROOT | RESOLVE_CACHED |
				      (req->server->shadow ? RESOLVE_NO_XDEV : 0);
	const uint64_t known = O_ACCMODE | O_CREAT | O_EXCL | O_NOCTTY | O_TRUNC | O_APPEND |
			       O_NONBLOCK | O_DSYNC | O_SYNC | O_ASYNC | O_DIRECT | O_LARGEFILE |
			       O_NOFOLLOW | O_NOATIME | O_CLOEXEC | O_DIRECTORY | O_PATH;
	struct open_how how;

	/* What the kernel refuses, and a size that is not this one, is its business. */
	if (req->args[3] != sizeof(how) || uapi_copy_from(req, &how, req->args[2], sizeof(how)))
		return;
	if ((how.flags & ~known) || (how.resolve & ~restrictions) ||
	    (how.mode && !(how.flags & O_CREAT)) ||
	    (how.resolve & RESOLVE_BENEATH && how.resolve & RESOLVE_IN_ROOT))
		return;
	open_path(req, (int)req->args[0], req->args[1], how.flags,
		  how.resolve & ~(uint64_t)RESOLVE_CACHED);
}
