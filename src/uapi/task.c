/* SPDX-License-Identifier: BSD-3-Clause */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/magic.h>
#include <linux/openat2.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <unistd.h>
#include "uapi/task.h"

#define CACHE_SLOTS 128u

#ifndef PIDFD_THREAD
#define PIDFD_THREAD O_EXCL /* Linux 6.9 */
#endif

/* What is kept of a task.  Slots are direct-mapped by thread id; a collision replaces. */
struct proc_dirs {
	pid_t tid;
	int proc, fds; /* O_PATH directories /proc/TID, /proc/TID/fd */
	atomic_uint refs;
};

struct uapi_tasks {
	pthread_mutex_t lock; /* slots */
	struct proc_dirs *slots[CACHE_SLOTS];
};

struct uapi_tasks *uapi_tasks_new(void)
{
	struct uapi_tasks *tasks = calloc(1, sizeof(*tasks));

	if (tasks)
		pthread_mutex_init(&tasks->lock, NULL);
	return tasks;
}

static void dirs_put(struct proc_dirs *dirs)
{
	if (!dirs || atomic_fetch_sub(&dirs->refs, 1) > 1)
		return;
	close(dirs->fds);
	close(dirs->proc);
	free(dirs);
}

void uapi_tasks_free(struct uapi_tasks *tasks)
{
	if (!tasks)
		return;
	for (unsigned i = 0; i < CACHE_SLOTS; i++)
		dirs_put(tasks->slots[i]);
	pthread_mutex_destroy(&tasks->lock);
	free(tasks);
}

static struct proc_dirs *dirs_open(pid_t tid)
{
	struct proc_dirs *dirs = malloc(sizeof(*dirs));
	char path[32];

	if (!dirs) {
		errno = ENOMEM;
		return NULL;
	}
	snprintf(path, sizeof(path), "/proc/%d", tid);
	dirs->tid = tid;
	atomic_init(&dirs->refs, 1);
	dirs->proc = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (dirs->proc < 0)
		goto err;
	dirs->fds = openat(dirs->proc, "fd", O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (dirs->fds < 0) {
		int e = errno;

		close(dirs->proc);
		errno = e;
		goto err;
	}
	return dirs;
err:
	free(dirs);
	return NULL;
}

/* The directories of @tid, with a reference; NULL with errno.  @stale: one that led nowhere. */
static struct proc_dirs *dirs_get(struct uapi_tasks *tasks, pid_t tid, struct proc_dirs *stale)
{
	struct proc_dirs **slot = &tasks->slots[(unsigned)tid % CACHE_SLOTS], *dirs, *old;

	pthread_mutex_lock(&tasks->lock);
	dirs = *slot;
	if (dirs && dirs->tid == tid && dirs != stale) {
		atomic_fetch_add(&dirs->refs, 1);
		pthread_mutex_unlock(&tasks->lock);
		return dirs;
	}
	pthread_mutex_unlock(&tasks->lock);

	dirs = dirs_open(tid);
	if (!dirs)
		return NULL;
	atomic_fetch_add(&dirs->refs, 1);
	pthread_mutex_lock(&tasks->lock);
	old = *slot;
	*slot = dirs;
	pthread_mutex_unlock(&tasks->lock);
	dirs_put(old);
	return dirs;
}

/* Does it still lead to a living task? */
static bool dirs_alive(const struct proc_dirs *dirs)
{
	return faccessat(dirs->proc, "stat", F_OK, 0) == 0;
}

/* @flags: AT_SYMLINK_NOFOLLOW: of the link in /proc. */
static int stat_fd(struct uapi_tasks *tasks, pid_t tid, int fd, int flags, struct stat *st)
{
	struct proc_dirs *dirs, *stale = NULL;
	char name[16];
	int ret;

	if (fd < 0)
		return -EBADF;
	snprintf(name, sizeof(name), "%d", fd);
	for (;;) {
		dirs = dirs_get(tasks, tid, stale);
		dirs_put(stale);
		if (!dirs)
			return errno == ENOENT || errno == ESRCH ? -EBADF : -errno;
		ret = fstatat(dirs->fds, name, st, flags) ? -errno : 0;
		if (ret != -ENOENT && ret != -ESRCH)
			break;
		if (stale || dirs_alive(dirs)) {
			ret = -EBADF;
			break;
		}
		stale = dirs;
	}
	dirs_put(dirs);
	return ret;
}

int uapi_task_stat_fd(struct uapi_tasks *tasks, pid_t tid, int fd, struct stat *st)
{
	return stat_fd(tasks, tid, fd, 0, st);
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

/* The path of a link of /proc/TID ("cwd", "root", "fd/N") as this mount namespace names it. */
static ssize_t read_link(const struct proc_dirs *dirs, const char *name, char *out, size_t size)
{
	ssize_t n = readlinkat(dirs->proc, name, out, size - 1);

	if (n < 0)
		return -errno;
	out[n] = '\0';
	return n;
}

/* @path as seen from the task's root directory. */
static int absolute(const struct proc_dirs *dirs, int dirfd, const char *path, char *out,
		    size_t size)
{
	char root[PATH_MAX], base[PATH_MAX], name[24];
	const char *inside = base;
	ssize_t len;

	if (*path == '/')
		return snprintf(out, size, "%s", path) < (int)size ? 0 : -ENAMETOOLONG;
	if (dirfd == AT_FDCWD)
		strcpy(name, "cwd");
	else
		snprintf(name, sizeof(name), "fd/%d", dirfd);
	len = read_link(dirs, name, base, sizeof(base));
	if (len < 0)
		return (int)len;
	len = read_link(dirs, "root", root, sizeof(root));
	if (len < 0)
		return (int)len;
	if (len > 1) { /* a changed root */
		if (strncmp(base, root, (size_t)len) || (base[len] && base[len] != '/'))
			return -ENOENT;
		inside = base + len;
	}
	return snprintf(out, size, "%s/%s", inside, path) < (int)size ? 0 : -ENAMETOOLONG;
}

/* What @path is from @base on, which no link of it may lead out of. */
static int resolve_from(const struct proc_dirs *dirs, int dirfd, const char *path, uint64_t resolve)
{
	struct open_how how = {.flags = O_PATH | O_CLOEXEC, .resolve = resolve};
	char name[24] = "cwd";
	int base, ret;

	if (dirfd != AT_FDCWD)
		snprintf(name, sizeof(name), "fd/%d", dirfd);
	base = openat(dirs->proc, name, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (base < 0)
		return -errno;
	ret = (int)syscall(SYS_openat2, base, path, &how, sizeof(how));
	if (ret < 0)
		ret = -errno;
	close(base);
	return ret;
}

/* ---- links in /proc ---- */

/* The rest of @path behind @prefix when that is a number and no more, else NULL. */
static const char *number_behind(const char *path, const char *prefix)
{
	size_t len = strlen(prefix), digits;

	if (strncmp(path, prefix, len))
		return NULL;
	digits = strspn(path + len, "0123456789");
	return digits && !path[len + digits] ? path + len : NULL;
}

/* The directory in which @full, an absolute path, ends with the link of a descriptor, and that
 * link's name.  -ENOENT: it does not look like one. */
static int link_dir(pid_t tid, int root, const char *full, const char **name)
{
	static const char *const own[] = {"/proc/self/fd/", "/dev/fd/", "/proc/thread-self/fd/"};
	struct open_how how = {.flags = O_PATH | O_DIRECTORY | O_CLOEXEC,
			       .resolve = RESOLVE_IN_ROOT};
	char dir[2 * PATH_MAX];
	const char *slash = strrchr(full, '/');
	struct statfs fs;
	int fd;

	/* Here these would be about us. */
	for (unsigned i = 0; i < sizeof(own) / sizeof(*own); i++) {
		*name = number_behind(full, own[i]);
		if (!*name)
			continue;
		snprintf(dir, sizeof(dir), "/proc/%d/fd", i < 2 ? uapi_task_tgid(tid) : tid);
		return open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
	}
	*name = number_behind(slash, "/");
	if (!*name) {
		errno = ENOENT;
		return -1;
	}
	snprintf(dir, sizeof(dir), "%.*s", (int)(slash - full), full);
	fd = (int)syscall(SYS_openat2, root, dir, &how, sizeof(how));
	if (fd >= 0 && (fstatfs(fd, &fs) || fs.f_type != PROC_SUPER_MAGIC)) {
		close(fd);
		errno = ENOENT;
		return -1;
	}
	return fd;
}

/* What a descriptor's link in /proc leads to, which nothing that looks from a root follows. */
static int resolve_link(pid_t tid, int root, const char *full)
{
	const char *name;
	int dir = link_dir(tid, root, full, &name), ret;

	if (dir < 0)
		return -errno;
	ret = openat(dir, name, O_PATH | O_CLOEXEC);
	if (ret < 0)
		ret = -errno;
	close(dir);
	return ret;
}

static int resolve_in_root(const struct proc_dirs *dirs, int root, int dirfd, const char *path,
			   uint64_t resolve)
{
	struct open_how how = {.flags = O_PATH | O_CLOEXEC, .resolve = resolve | RESOLVE_IN_ROOT};
	char full[2 * PATH_MAX];
	int ret = absolute(dirs, dirfd, path, full, sizeof(full));

	if (ret)
		return ret;
	if (!resolve) {
		ret = resolve_link(dirs->tid, root, full);
		if (ret >= 0)
			return ret;
	}
	ret = (int)syscall(SYS_openat2, root, full, &how, sizeof(how));
	return ret < 0 ? -errno : ret;
}

int uapi_task_resolve(struct uapi_tasks *tasks, pid_t tid, int dirfd, const char *path,
		      uint64_t resolve)
{
	struct proc_dirs *dirs, *stale = NULL;
	int root, ret;

	for (;;) {
		dirs = dirs_get(tasks, tid, stale);
		dirs_put(stale);
		if (!dirs)
			return -errno;
		root = openat(dirs->proc, "root", O_PATH | O_DIRECTORY | O_CLOEXEC);
		if (root >= 0 || stale || dirs_alive(dirs))
			break;
		stale = dirs;
	}
	if (root < 0)
		ret = -errno;
	else if (resolve & (RESOLVE_BENEATH | RESOLVE_IN_ROOT))
		ret = resolve_from(dirs, dirfd, path, resolve);
	else
		ret = resolve_in_root(dirs, root, dirfd, path, resolve);
	if (root >= 0)
		close(root);
	dirs_put(dirs);
	return ret;
}

ssize_t uapi_task_link(struct uapi_tasks *tasks, pid_t tid, const char *name, char *out,
		       size_t size)
{
	struct proc_dirs *dirs, *stale = NULL;
	ssize_t n;

	for (;;) {
		dirs = dirs_get(tasks, tid, stale);
		dirs_put(stale);
		if (!dirs)
			return -errno;
		n = read_link(dirs, name, out, size);
		if (n >= 0 || stale || dirs_alive(dirs))
			break;
		stale = dirs;
	}
	dirs_put(dirs);
	return n;
}

/* The number at @place (from 0) in the line @name of /proc/TID/status; -1: it is gone. */
static int64_t status_number(pid_t tid, const char *name, unsigned place)
{
	char path[40], line[128];
	int64_t value = -1;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/status", tid);
	f = fopen(path, "re");
	if (!f)
		return -1;
	while (fgets(line, sizeof(line), f)) {
		char *p = line + strlen(name);

		if (strncmp(line, name, strlen(name)) || *p++ != ':')
			continue;
		for (unsigned i = 0; i <= place; i++)
			value = strtoll(p, &p, 10);
		break;
	}
	fclose(f);
	return value;
}

pid_t uapi_task_tgid(pid_t tid)
{
	int64_t tgid = status_number(tid, "Tgid", 0);

	return tgid < 0 ? 0 : (pid_t)tgid;
}

int64_t uapi_task_fsuid(pid_t tid)
{
	return status_number(tid, "Uid", 3);
}

/* The number that the kernel gave an eventfd (Linux 5.2); 0: it is none, or has gone. */
static unsigned long eventfd_id(const char *dir, int fd)
{
	char path[64], line[128];
	unsigned long id = 0;
	FILE *f;

	snprintf(path, sizeof(path), "%s/fdinfo/%d", dir, fd);
	f = fopen(path, "re");
	if (!f)
		return 0;
	while (fgets(line, sizeof(line), f)) {
		if (sscanf(line, "eventfd-id: %lu", &id) == 1) {
			id++; /* they count from 0 */
			break;
		}
	}
	fclose(f);
	return id;
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
