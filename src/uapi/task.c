/* SPDX-License-Identifier: BSD-3-Clause */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/magic.h>
#include <linux/openat2.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <unistd.h>
#include "uapi/task_private.h"

#define CACHE_SLOTS 128u

struct uapi_tasks {
	pthread_mutex_t lock; /* slots: direct-mapped by thread id; a collision replaces */
	struct task_kept *slots[CACHE_SLOTS];
};

struct uapi_tasks *uapi_tasks_new(void)
{
	struct uapi_tasks *tasks = calloc(1, sizeof(*tasks));

	if (tasks)
		pthread_mutex_init(&tasks->lock, NULL);
	return tasks;
}

void task_kept_put(struct task_kept *kept)
{
	if (!kept || atomic_fetch_sub(&kept->refs, 1) > 1)
		return;
	close(kept->fds);
	close(kept->proc);
	if (kept->pidfd >= 0)
		close(kept->pidfd);
	free(kept);
}

void uapi_tasks_free(struct uapi_tasks *tasks)
{
	if (!tasks)
		return;
	for (unsigned i = 0; i < CACHE_SLOTS; i++)
		task_kept_put(tasks->slots[i]);
	pthread_mutex_destroy(&tasks->lock);
	free(tasks);
}

static struct task_kept *kept_open(pid_t tid)
{
	struct task_kept *kept = calloc(1, sizeof(*kept));
	char path[32];

	if (!kept) {
		errno = ENOMEM;
		return NULL;
	}
	snprintf(path, sizeof(path), "/proc/%d", tid);
	kept->tid = tid;
	atomic_init(&kept->refs, 1);
	atomic_init(&kept->pidfd, PIDFD_NOT_ASKED);
	kept->proc = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (kept->proc < 0)
		goto err;
	kept->fds = openat(kept->proc, "fd", O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (kept->fds < 0) {
		int e = errno;

		close(kept->proc);
		errno = e;
		goto err;
	}
	return kept;
err:
	free(kept);
	return NULL;
}

struct task_kept *task_kept_get(struct uapi_tasks *tasks, pid_t tid, struct task_kept *stale)
{
	struct task_kept **slot = &tasks->slots[(unsigned)tid % CACHE_SLOTS], *kept, *old;

	pthread_mutex_lock(&tasks->lock);
	kept = *slot;
	if (kept && kept->tid == tid && kept != stale) {
		atomic_fetch_add(&kept->refs, 1);
		pthread_mutex_unlock(&tasks->lock);
		return kept;
	}
	pthread_mutex_unlock(&tasks->lock);

	kept = kept_open(tid);
	if (!kept)
		return NULL;
	atomic_fetch_add(&kept->refs, 1);
	pthread_mutex_lock(&tasks->lock);
	old = *slot;
	*slot = kept;
	pthread_mutex_unlock(&tasks->lock);
	task_kept_put(old);
	return kept;
}

bool task_kept_alive(const struct task_kept *kept)
{
	return faccessat(kept->proc, "stat", F_OK, 0) == 0;
}

/* The path of a link of /proc/TID ("cwd", "root", "fd/N") as this mount namespace names it. */
static ssize_t read_link(const struct task_kept *kept, const char *name, char *out, size_t size)
{
	ssize_t n = readlinkat(kept->proc, name, out, size - 1);

	if (n < 0)
		return -errno;
	out[n] = '\0';
	return n;
}

/* @path as seen from the task's root directory. */
static int absolute(const struct task_kept *kept, int dirfd, const char *path, char *out,
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
	len = read_link(kept, name, base, sizeof(base));
	if (len < 0)
		return (int)len;
	len = read_link(kept, "root", root, sizeof(root));
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
static int resolve_from(const struct task_kept *kept, int dirfd, const char *path, uint64_t resolve)
{
	struct open_how how = {.flags = O_PATH | O_CLOEXEC, .resolve = resolve};
	char name[24] = "cwd";
	int base, ret;

	if (dirfd != AT_FDCWD)
		snprintf(name, sizeof(name), "fd/%d", dirfd);
	base = openat(kept->proc, name, O_PATH | O_DIRECTORY | O_CLOEXEC);
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

static int resolve_in_root(const struct task_kept *kept, int root, int dirfd, const char *path,
			   uint64_t resolve)
{
	struct open_how how = {.flags = O_PATH | O_CLOEXEC, .resolve = resolve | RESOLVE_IN_ROOT};
	char full[2 * PATH_MAX];
	int ret = absolute(kept, dirfd, path, full, sizeof(full));

	if (ret)
		return ret;
	if (!resolve) {
		ret = resolve_link(kept->tid, root, full);
		if (ret >= 0)
			return ret;
	}
	ret = (int)syscall(SYS_openat2, root, full, &how, sizeof(how));
	return ret < 0 ? -errno : ret;
}

int uapi_task_resolve(struct uapi_tasks *tasks, pid_t tid, int dirfd, const char *path,
		      uint64_t resolve)
{
	struct task_kept *kept, *stale = NULL;
	int root, ret;

	for (;;) {
		kept = task_kept_get(tasks, tid, stale);
		task_kept_put(stale);
		if (!kept)
			return -errno;
		root = openat(kept->proc, "root", O_PATH | O_DIRECTORY | O_CLOEXEC);
		if (root >= 0 || stale || task_kept_alive(kept))
			break;
		stale = kept;
	}
	if (root < 0)
		ret = -errno;
	else if (resolve & (RESOLVE_BENEATH | RESOLVE_IN_ROOT))
		ret = resolve_from(kept, dirfd, path, resolve);
	else
		ret = resolve_in_root(kept, root, dirfd, path, resolve);
	if (root >= 0)
		close(root);
	task_kept_put(kept);
	return ret;
}

ssize_t uapi_task_link(struct uapi_tasks *tasks, pid_t tid, const char *name, char *out,
		       size_t size)
{
	struct task_kept *kept, *stale = NULL;
	ssize_t n;

	for (;;) {
		kept = task_kept_get(tasks, tid, stale);
		task_kept_put(stale);
		if (!kept)
			return -errno;
		n = read_link(kept, name, out, size);
		if (n >= 0 || stale || task_kept_alive(kept))
			break;
		stale = kept;
	}
	task_kept_put(kept);
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

uint64_t uapi_task_locked(pid_t tid)
{
	int64_t kib = status_number(tid, "VmLck", 0);

	return kib < 0 ? 0 : (uint64_t)kib << 10;
}
