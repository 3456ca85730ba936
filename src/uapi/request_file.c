/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Which of our files a program's descriptor is.
 *
 * Asked in each system call, since a number may change hands at any time (close, dup2, exec) and
 * nobody tells us.  The preloaded helper looks itself, which costs next to nothing, and sends a key
 * along (helper/trap.h).  Without it there are two ways.  Looking through /proc/TID/fd touches
 * nothing, but takes the kernel a walk along a path.  To take a copy of the descriptor, look at
 * that and close it takes half as long; but a close may call into whoever serves the file, and a
 * copy, however short its life, may be the last one.  So that is done only with numbers that were
 * ours when they were looked up the first way; what has taken the place of one meanwhile is thrown
 * away and looked up.
 *
 * A copy of a file of ours is closed before the program goes on, so it is no longer in use than by
 * a system call that the kernel would carry out: what is closed meanwhile is released after it.
 */
#include <errno.h>
#include <fcntl.h>
#include <sys/syscall.h>
#include <unistd.h>
#include "base/fd.h"
#include "uapi/helper/trap.h"
#include "uapi/request.h"
#include "uapi/task.h"

static void complain_unseen(struct uapi_request *req)
{
	uapi_complain(req->server, &req->server->unseen_opens, 1,
		      "process %d makes a VFIO call on a file of /dev/vfio that it opened where "
		      "uvfio does not see it (for reading only, through io_uring, or as a 32-bit "
		      "program): that is an empty file.  Remedy: open it O_RDWR with open, openat "
		      "or openat2",
		      req->tid);
}

/* The file of a number that was one of ours before, with a reference; NULL with *@ret -errno, or 0:
 * look it up. */
static struct uapi_file *known_file(struct uapi_request *req, int fd, int *ret)
{
	struct uapi_server *server = req->server;
	struct uapi_file *file = NULL;
	struct uapi_copy taken;
	struct stat st;
	int copy;

	uapi_files_copy_begin(server->files, &taken, req->id);
	copy = uapi_task_borrow_fd(server->tasks, req->tid, fd);
	*ret = copy >= 0 || copy == -EAGAIN ? 0 : copy;
	if (copy < 0) {
		uapi_files_copy_end(server->files, &taken);
		return NULL;
	}
	/* Only memory files have seals, ours among them; and a path (O_PATH) shows none. */
	if (fcntl(copy, F_GET_SEALS) < 0) {
		uapi_files_copy_end(server->files, &taken); /* nobody waits for one of others */
		uapi_request_throw_away(server, copy);
	} else {
		if (!uvfio_fstat(copy, &st))
			file = uapi_files_find(server->files, &st, req->id);
		close(copy);
		uapi_files_copy_end(server->files, &taken);
	}
	if (!file)
		uapi_task_note_fd(server->tasks, req->tid, fd, false);
	return file;
}

struct uapi_file *uapi_request_file(struct uapi_request *req, int fd, int *ret)
{
	struct uapi_server *server = req->server;
	struct uapi_file *file = known_file(req, fd, ret);
	struct stat st;
	unsigned group;

	if (file || *ret)
		return file;
	*ret = uapi_task_stat_fd(server->tasks, req->tid, fd, &st);
	if (*ret)
		return NULL;
	file = uapi_files_find(server->files, &st, req->id);
	if (file && uapi_task_fd_is_path(server->tasks, req->tid, fd)) {
		uapi_files_put(server->files, file, req->id);
		*ret = -EBADF;
		return NULL;
	}
	if (file)
		uapi_task_note_fd(server->tasks, req->tid, fd, true);
	else if (uapi_files_node(server->files, &st, &group) != UAPI_FILE_KINDS)
		complain_unseen(req);
	return file;
}

/* The file of an ioctl that carries its key (helper/trap.h), with a reference. */
static struct uapi_file *keyed_file(struct uapi_request *req)
{
	struct uapi_file *file;
	uint64_t key;

	if (req->nr != SYS_ioctl)
		return NULL;
	key = uvfio_trap_seal(req->args[3], (int)req->args[0], (uint32_t)req->args[1],
			      req->args[2]);
	file = uapi_files_by_key(req->server->files, key & ~UVFIO_TRAP_CARRIES, req->id);
	req->carries = file && (key & UVFIO_TRAP_CARRIES);
	return file;
}

struct uapi_file *uapi_request_subject(struct uapi_request *req)
{
	int ret = 0;
	struct uapi_file *file = keyed_file(req);

	if (!file)
		file = uapi_request_file(req, (int)req->args[0], &ret);
	if (ret == -EACCES && uapi_request_valid(req)) /* not of one that is dying */
		uapi_complain(
			req->server, &req->server->hidden_tasks, 1,
			"process %d has made itself undumpable (PR_SET_DUMPABLE, or an executable "
			"that cannot be read): what it does with VFIO cannot be answered; run "
			"uvfio as root",
			req->tid);
	if (ret == -EBADF) /* the kernel would say so too, but the number may change hands */
		uapi_answer(req, ret);
	if (uapi_short_of(ret)) /* it may be ours: the kernel must not take it for a plain file */
		uapi_answer(req, uapi_short_of(ret));
	if (!file)
		return NULL;
	req->kind = file->kind;
	if (file->device)
		req->device = file->device->name;
	return file;
}
