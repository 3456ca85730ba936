/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Reaching into the task that made a system call: its memory, its fds, its paths.
 *
 * A task is named by its thread id.  While its notification is valid the id cannot have been given
 * to another; so the caller checks that (uapi_request_valid()) after what it read here and before
 * it acts on it.  Directory fds of /proc/TID are kept for the next request; one of a task that has
 * died leads nowhere, never to another task.
 *
 * Any thread.
 */
#ifndef UVFIO_UAPI_TASK_H
#define UVFIO_UAPI_TASK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/types.h>

struct uapi_tasks;

struct uapi_tasks *uapi_tasks_new(void);
void uapi_tasks_free(struct uapi_tasks *tasks);

/* Copy between us and @uaddr of the task: bytes copied, fewer than @len when the rest is not
 * accessible; -EFAULT when nothing is, -ESRCH, -EPERM. */
ssize_t uapi_task_read(pid_t tid, void *dst, uint64_t uaddr, size_t len);
ssize_t uapi_task_write(pid_t tid, uint64_t uaddr, const void *src, size_t len);
/* A string with its 0: its length, -EFAULT, or -ENAMETOOLONG. */
ssize_t uapi_task_read_string(pid_t tid, char *dst, uint64_t uaddr, size_t size);

/* An O_PATH fd of ours on what @path is for the task, symbolic links followed, its root, working
 * directory and @dirfd (AT_FDCWD or an fd of the task's) taken into account; or -errno.  @resolve:
 * of openat2, but RESOLVE_NO_XDEV, which would be about mounts on the way to @dirfd too. */
int uapi_task_resolve(struct uapi_tasks *tasks, pid_t tid, int dirfd, const char *path,
		      uint64_t resolve);
/* The text of the link /proc/TID/@name ("cwd", "root", "fd/N"), as this mount namespace and root
 * name what it leads to: its length, or -errno. */
ssize_t uapi_task_link(struct uapi_tasks *tasks, pid_t tid, const char *name, char *out,
		       size_t size);
/* The user id by which files are opened for it; -1 when it is gone. */
int64_t uapi_task_fsuid(pid_t tid);
/* The process that a thread belongs to; 0 when it is gone. */
pid_t uapi_task_tgid(pid_t tid);
/* Bytes that its process has locked in memory (mlock). */
uint64_t uapi_task_locked(pid_t tid);

/* ---- its descriptors (task_fd.c) ---- */

/* stat of the task's fd: 0, -EBADF, or -EACCES when the task hides itself (not dumpable).  All
 * zeros where the file's own file system does not let us ask (FUSE of another user). */
int uapi_task_stat_fd(struct uapi_tasks *tasks, pid_t tid, int fd, struct stat *st);
/* Which inode the task's fd is, also where its file system does not let us ask (FUSE that was
 * mounted in the program's user namespace).  Asks nothing of whoever is behind it.  0 or -errno. */
int uapi_task_identify_fd(pid_t tid, int fd, dev_t *dev, ino_t *ino);
/* Is the task's @fd a path only (O_PATH)?  To the kernel's calls it is none then (EBADF).  False
 * when that cannot be found out. */
bool uapi_task_fd_is_path(struct uapi_tasks *tasks, pid_t tid, int fd);
/* What the task's @fd is open for: R_OK, W_OK; 0 also when that cannot be found out. */
unsigned uapi_task_fd_access(struct uapi_tasks *tasks, pid_t tid, int fd);
/*
 * Faster than these, for what is asked about again and again: a copy of the task's fd, to be looked
 * at and closed before the task goes on.  Only of numbers that have been noted as files whose close
 * waits for nobody and that may be held for a moment, as the kernel does in each call; they may
 * have changed hands since.  ≥ 0; -EBADF; -EMFILE, -ENFILE; -EAGAIN: not noted, or not to be had.
 */
int uapi_task_borrow_fd(struct uapi_tasks *tasks, pid_t tid, int fd);
/* Note @fd as such a file, or forget it.  No more than a hint. */
void uapi_task_note_fd(struct uapi_tasks *tasks, pid_t tid, int fd, bool note);
/* The number by which the kernel tells eventfds apart, of the task's @fd; 0: it is none, or has
 * gone (Linux 5.2). */
unsigned long uapi_task_eventfd_id(pid_t tid, int fd);
/* A copy of the task's fd: ≥ 0, -EBADF, -EPERM.  Before Linux 6.9 only what the process's first
 * thread has, too; of eventfds that have the same number there another is never taken. */
int uapi_task_get_fd(pid_t tid, int fd);
/* A path only (O_PATH) that leads to the file of the task's fd: ≥ 0, -EBADF, -EACCES. */
int uapi_task_get_path(pid_t tid, int fd);
/* Where that is refused: the file in memory (tmpfs, memfd, hugetlbfs) that the task has as @fd,
 * opened anew for the same access.  -EBADF, -EINVAL for any other file. */
int uapi_task_reopen_memory(pid_t tid, int fd);

#endif
