/* SPDX-License-Identifier: BSD-3-Clause */
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <unistd.h>
#include "uapi/kept.h"
#include "uapi/process.h"
#include "uapi/task.h"

#define FIRST_SWEEP 256u
#define MAX_KEPT    16384u

struct kept_one {
	unsigned long id;
	int fd;
	bool seen; /* in the sweep */
};

struct uapi_kept {
	pthread_mutex_t lock; /* all; held over looks into /proc, which no client can hold up */
	struct kept_one *all;
	unsigned nr, size;
	unsigned sweep_at; /* that many */
	bool missed;       /* for want of descriptors, one was not kept */
};

struct uapi_kept *uapi_kept_new(void)
{
	struct uapi_kept *kept = calloc(1, sizeof(*kept));

	if (!kept)
		return NULL;
	pthread_mutex_init(&kept->lock, NULL);
	kept->sweep_at = FIRST_SWEEP;
	return kept;
}

void uapi_kept_free(struct uapi_kept *kept)
{
	if (!kept)
		return;
	for (unsigned i = 0; i < kept->nr; i++)
		close(kept->all[i].fd);
	free(kept->all);
	pthread_mutex_destroy(&kept->lock);
	free(kept);
}

bool uapi_kept_needed(pid_t pid)
{
	int pidfd = (int)syscall(SYS_pidfd_open, pid, 0), fd;
	bool refused;

	if (pidfd < 0)
		return true;
	fd = (int)syscall(SYS_pidfd_getfd, pidfd, 2, 0);
	refused = fd < 0 && errno != EBADF;
	if (fd >= 0)
		close(fd);
	close(pidfd);
	return refused;
}

static struct kept_one *find(struct uapi_kept *kept, unsigned long id)
{
	for (unsigned i = 0; i < kept->nr; i++) {
		if (kept->all[i].id == id)
			return &kept->all[i];
	}
	return NULL;
}

/* ---- letting go ---- */

static void look_at_process(struct uapi_kept *kept, pid_t pid)
{
	char path[64], text[32];
	struct dirent *entry;
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%d/fd", pid);
	dir = opendir(path);
	while (dir && (entry = readdir(dir))) {
		ssize_t n = readlinkat(dirfd(dir), entry->d_name, text, sizeof(text) - 1);
		struct kept_one *one;

		if (n < 0)
			continue;
		text[n] = '\0';
		if (strcmp(text, "anon_inode:[eventfd]"))
			continue;
		one = find(kept, uapi_task_eventfd_id(pid, atoi(entry->d_name)));
		if (one)
			one->seen = true;
	}
	if (dir)
		closedir(dir);
}

/* Let go of what only we have. */
static void sweep(struct uapi_kept *kept)
{
	DIR *proc = opendir("/proc");
	struct dirent *entry;
	unsigned left = 0;

	if (!proc)
		return;
	for (unsigned i = 0; i < kept->nr; i++)
		kept->all[i].seen = false;
	while ((entry = readdir(proc))) {
		pid_t pid = isdigit((unsigned char)*entry->d_name) ? atoi(entry->d_name) : 0;

		if (pid && pid != getpid())
			look_at_process(kept, pid);
	}
	closedir(proc);
	for (unsigned i = 0; i < kept->nr; i++) {
		if (kept->all[i].seen)
			kept->all[left++] = kept->all[i];
		else
			close(kept->all[i].fd);
	}
	kept->nr = left;
	kept->sweep_at = 2 * left > FIRST_SWEEP ? 2 * left : FIRST_SWEEP;
}

/* ---- making and finding ---- */

static int keep(struct uapi_kept *kept, unsigned long id, int fd)
{
	if (kept->nr >= kept->sweep_at)
		sweep(kept);
	if (kept->nr == kept->size) {
		unsigned size = kept->size ? 2 * kept->size : FIRST_SWEEP;
		struct kept_one *grown =
			size <= MAX_KEPT ? realloc(kept->all, size * sizeof(*grown)) : NULL;

		if (!grown)
			return size <= MAX_KEPT ? -ENOMEM : -ENFILE;
		kept->all = grown;
		kept->size = size;
	}
	kept->all[kept->nr++] = (struct kept_one){.id = id, .fd = fd};
	return 0;
}

int uapi_kept_make(struct uapi_kept *kept, unsigned initial, unsigned flags)
{
	int ours, theirs, ret;
	unsigned long id;

	if (flags & ~(unsigned)(EFD_CLOEXEC | EFD_NONBLOCK | EFD_SEMAPHORE))
		return -EINVAL;
	theirs = eventfd(initial, (int)flags | EFD_CLOEXEC);
	if (theirs < 0)
		return -errno;
	ours = uapi_fd_to_keep(fcntl(theirs, F_DUPFD_CLOEXEC, 3));
	id = ours < 0 ? 0 : uapi_task_eventfd_id(getpid(), ours);
	pthread_mutex_lock(&kept->lock);
	ret = id ? keep(kept, id, ours) : -ENFILE;
	kept->missed |= ret != 0;
	pthread_mutex_unlock(&kept->lock);
	if (!ret)
		return theirs;
	if (ours >= 0)
		close(ours);
	close(theirs);
	return ret;
}

int uapi_kept_get(struct uapi_kept *kept, unsigned long id)
{
	const struct kept_one *one;
	int ret = -EPERM;

	pthread_mutex_lock(&kept->lock);
	one = find(kept, id);
	if (!one && kept->missed)
		ret = -ENFILE;
	if (one) {
		ret = fcntl(one->fd, F_DUPFD_CLOEXEC, 3);
		if (ret < 0)
			ret = -errno;
	}
	pthread_mutex_unlock(&kept->lock);
	return ret;
}
