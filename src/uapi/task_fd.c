/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The descriptors of a task: which files they are, and copies of them.
 */
#include <errno.h>
#include <sys/vfs.h>
#include <sys/stat.h>
#include <linux/magic.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>
#include "uapi/task_private.h"

#ifndef PIDFD_THREAD
#define PIDFD_THREAD O_EXCL /* Linux 6.9 */
#endif

/* @flags: AT_SYMLINK_NOFOLLOW: of the link in /proc. */
static int stat_fd(struct uapi_tasks *tasks, pid_t tid, int fd, int flags, struct stat *st)
{
	struct task_kept *kept, *stale = NULL;
	char name[16];
	int ret;

	if (fd < 0)
		return -EBADF;
	snprintf(name, sizeof(name), "%d", fd);
	for (;;) {
		kept = task_kept_get(tasks, tid, stale);
		task_kept_put(stale);
		if (!kept)
			return errno == ENOENT || errno == ESRCH ? -EBADF : -errno;
		ret = fstatat(kept->fds, name, st, flags) ? -errno : 0;
		if (ret != -ENOENT && ret != -ESRCH)
			break;
		if (stale || task_kept_alive(kept)) {
			ret = -EBADF;
			break;
		}
		stale = kept;
	}
	task_kept_put(kept);
	return ret;
}

/* Which file system it is on, and what else that says to anybody: FUSE that was mounted in another
 * user namespace says no more.  Asks nothing of whoever serves it. */
static int statx_fd(pid_t tid, int fd, struct statx *stx)
{
	char path[48];

	snprintf(path, sizeof(path), "/proc/%d/fd/%d", tid, fd);
	return statx(AT_FDCWD, path, AT_STATX_DONT_SYNC, 0, stx) ? -errno : 0;
}

int uapi_task_stat_fd(struct uapi_tasks *tasks, pid_t tid, int fd, struct stat *st)
{
	int ret = stat_fd(tasks, tid, fd, 0, st);
	struct statx stx;

	/* A task that hides itself does not let us get as far as the file. */
	if (ret != -EACCES || statx_fd(tid, fd, &stx))
		return ret;
	memset(st, 0, sizeof(*st));
	return 0;
}

/* The first number that /proc says of descriptor @fd in a line of @format, of the task whose folder
 * is @dir.  False: it says none. */
static bool read_fdinfo(const char *dir, int fd, const char *format, unsigned long *number)
{
	char path[64], line[128];
	bool found = false;
	FILE *f;

	snprintf(path, sizeof(path), "%s/fdinfo/%d", dir, fd);
	f = fopen(path, "re");
	if (!f)
		return false;
	while (!found && fgets(line, sizeof(line), f))
		found = sscanf(line, format, number) == 1;
	fclose(f);
	return found;
}

/* The number of the inode (Linux 5.14); 0: it is not said. */
static uint64_t inode_of(pid_t tid, int fd)
{
	unsigned long ino;
	char dir[32];

	snprintf(dir, sizeof(dir), "/proc/%d", tid);
	return read_fdinfo(dir, fd, "ino: %lu", &ino) ? ino : 0;
}

int uapi_task_identify_fd(pid_t tid, int fd, dev_t *dev, ino_t *ino)
{
	struct statx stx;
	int ret = statx_fd(tid, fd, &stx);

	if (ret)
		return ret;
	*dev = makedev(stx.stx_dev_major, stx.stx_dev_minor);
	*ino = inode_of(tid, fd);
	return *ino ? 0 : -ENOENT;
}

bool uapi_task_fd_is_path(struct uapi_tasks *tasks, pid_t tid, int fd)
{
	struct stat link;

	/* The link's mode says what the fd is open for. */
	return !stat_fd(tasks, tid, fd, AT_SYMLINK_NOFOLLOW, &link) && S_ISLNK(link.st_mode) &&
	       !(link.st_mode & 0777);
}

unsigned uapi_task_fd_access(struct uapi_tasks *tasks, pid_t tid, int fd)
{
	struct stat link;

	if (stat_fd(tasks, tid, fd, AT_SYMLINK_NOFOLLOW, &link) || !S_ISLNK(link.st_mode))
		return 0;
	return (link.st_mode & 0400 ? R_OK : 0) | (link.st_mode & 0200 ? W_OK : 0);
}

/* ---- what was one of ours before ---- */

/* A pidfd of @kept's task, or PIDFD_NONE. */
static int get_pidfd(struct task_kept *kept)
{
	int none = PIDFD_NOT_ASKED, pidfd = atomic_load(&kept->pidfd);

	if (pidfd != PIDFD_NOT_ASKED)
		return pidfd;
	pidfd = (int)syscall(SYS_pidfd_open, kept->tid, PIDFD_THREAD);
	if (pidfd < 0 && errno == EINVAL)
		pidfd = (int)syscall(SYS_pidfd_open, kept->tid, 0); /* of a first thread only */
	/* The directory was opened earlier: while that lives, nobody else has its number. */
	if (pidfd >= 0 && !task_kept_alive(kept)) {
		close(pidfd);
		return PIDFD_NONE;
	}
	if (pidfd < 0)
		pidfd = PIDFD_NONE;
	if (atomic_compare_exchange_strong(&kept->pidfd, &none, pidfd))
		return pidfd;
	if (pidfd >= 0)
		close(pidfd);
	return none;
}

void uapi_task_note_fd(struct uapi_tasks *tasks, pid_t tid, int fd, bool note)
{
	uint64_t bit = 1ull << (fd & 63);
	struct task_kept *kept;

	if (fd < 0 || fd >= NOTED_FDS)
		return;
	kept = task_kept_get(tasks, tid, NULL);
	if (!kept)
		return;
	if (!note)
		atomic_fetch_and(&kept->noted[fd / 64], ~bit);
	else if (!atomic_load(&kept->refused) && get_pidfd(kept) >= 0)
		atomic_fetch_or(&kept->noted[fd / 64], bit);
	task_kept_put(kept);
}

int uapi_task_borrow_fd(struct uapi_tasks *tasks, pid_t tid, int fd)
{
	struct task_kept *kept;
	int ret = -EAGAIN;

	if (fd < 0 || fd >= NOTED_FDS)
		return ret;
	kept = task_kept_get(tasks, tid, NULL);
	if (!kept)
		return ret;
	if (atomic_load_explicit(&kept->noted[fd / 64], memory_order_relaxed) >> (fd & 63) & 1) {
		ret = (int)syscall(SYS_pidfd_getfd, atomic_load(&kept->pidfd), fd, 0);
		if (ret < 0)
			ret = -errno;
		if (ret == -EPERM || ret == -EACCES || ret == -ENOSYS) {
			atomic_store(&kept->refused, true);
			atomic_store(&kept->noted[fd / 64], 0);
		}
		/* Whatever else goes wrong, the other way finds out. */
		if (ret < 0 && ret != -EBADF && ret != -EMFILE && ret != -ENFILE)
			ret = -EAGAIN;
	}
	task_kept_put(kept);
	return ret;
}

/* ---- copies to keep ---- */

/* The number that the kernel gave an eventfd (Linux 5.2); 0: it is none, or has gone. */
static unsigned long eventfd_id(const char *dir, int fd)
{
	unsigned long id;

	/* They count from 0. */
	return read_fdinfo(dir, fd, "eventfd-id: %lu", &id) ? id + 1 : 0;
}

unsigned long uapi_task_eventfd_id(pid_t tid, int fd)
{
	char dir[32];

	snprintf(dir, sizeof(dir), "/proc/%d", tid);
	return eventfd_id(dir, fd);
}

/* Before 6.9: from the table of the process's first thread.  That is nearly always @tid's too; if
 * not, what was got must at least be the same eventfd. */
static int get_leaders_fd(pid_t tid, int fd)
{
	pid_t tgid = uapi_task_tgid(tid);
	int pidfd = (int)syscall(SYS_pidfd_open, tgid, 0), ret;
	char dir[32];

	if (pidfd < 0)
		return -errno;
	ret = (int)syscall(SYS_pidfd_getfd, pidfd, fd, 0);
	if (ret < 0)
		ret = -errno;
	close(pidfd);
	if (ret < 0 || tgid == tid)
		return ret;
	snprintf(dir, sizeof(dir), "/proc/%d", tid);
	if (eventfd_id(dir, fd) != eventfd_id("/proc/self", ret)) {
		close(ret);
		ret = -EBADF;
	}
	return ret;
}

int uapi_task_get_fd(pid_t tid, int fd)
{
	int pidfd = (int)syscall(SYS_pidfd_open, tid, PIDFD_THREAD);
	int ret;

	if (pidfd < 0)
		return errno == EINVAL ? get_leaders_fd(tid, fd) : -errno;
	ret = (int)syscall(SYS_pidfd_getfd, pidfd, fd, 0);
	if (ret < 0)
		ret = -errno;
	close(pidfd);
	return ret;
}

int uapi_task_get_path(pid_t tid, int fd)
{
	char path[48];
	int ret;

	snprintf(path, sizeof(path), "/proc/%d/fd/%d", tid, fd);
	ret = open(path, O_PATH | O_CLOEXEC);
	return ret >= 0 ? ret : errno == ENOENT ? -EBADF : -errno;
}

int uapi_task_reopen_memory(pid_t tid, int fd)
{
	char path[48];
	struct stat link, st;
	struct statfs fs;
	int file, ret, access;

	snprintf(path, sizeof(path), "/proc/%d/fd/%d", tid, fd);
	if (fd < 0 || lstat(path, &link))
		return -EBADF;
	/* The link's mode says what the fd is open for. */
	access = !(link.st_mode & 0200) ? O_RDONLY : link.st_mode & 0400 ? O_RDWR : O_WRONLY;
	if (!(link.st_mode & 0600))
		return -EBADF;
	file = open(path, O_PATH | O_CLOEXEC);
	if (file < 0)
		return errno == ENOENT ? -EBADF : -errno;
	/* Opening anything else may have effects, or wait. */
	if (fstatfs(file, &fs) || (fs.f_type != TMPFS_MAGIC && fs.f_type != HUGETLBFS_MAGIC) ||
	    fstat(file, &st) || !S_ISREG(st.st_mode)) {
		close(file);
		return -EINVAL;
	}
	snprintf(path, sizeof(path), "/proc/self/fd/%d", file);
	ret = open(path, access | O_CLOEXEC);
	if (ret < 0)
		ret = -errno;
	close(file);
	return ret;
}
