/* SPDX-License-Identifier: BSD-3-Clause */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <sys/resource.h>
#include <unistd.h>
#include "uapi/process.h"

void uapi_drop_fds(const int *keep, unsigned nr)
{
	unsigned first = 3;
	int null;

	for (;;) {
		unsigned next = UINT_MAX;

		for (unsigned i = 0; i < nr; i++) {
			if (keep[i] >= (int)first && (unsigned)keep[i] < next)
				next = (unsigned)keep[i];
		}
		if (next > first)
			close_range(first, next - 1, 0);
		if (next == UINT_MAX)
			break;
		first = next + 1;
	}
	null = open("/dev/null", O_RDWR);
	if (null < 0)
		return;
	dup2(null, 0);
	dup2(null, 1);
	if (fcntl(2, F_GETFD) < 0)
		dup2(null, 2);
	if (null > 2)
		close(null);
}

int uapi_fd_above_stdio(int fd)
{
	int moved;

	if (fd < 0 || fd > 2)
		return fd;
	moved = fcntl(fd, F_DUPFD_CLOEXEC, 3);
	close(fd);
	return moved;
}

bool uapi_read_line(const char *path, char *buf, size_t size)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n;

	if (fd < 0)
		return false;
	n = read(fd, buf, size - 1);
	close(fd);
	if (n < 0)
		return false;
	buf[n] = '\0';
	buf[strcspn(buf, "\n")] = '\0';
	return true;
}

/* Descriptors that requests may need at a time, those of caches included. */
#define FDS_FOR_REQUESTS 1024

int uapi_fd_to_keep(int fd)
{
	struct rlimit limit;
	rlim_t spare = FDS_FOR_REQUESTS;

	if (fd < 0 || getrlimit(RLIMIT_NOFILE, &limit))
		return fd;
	if (spare > limit.rlim_cur / 2)
		spare = limit.rlim_cur / 2;
	/* The kernel gives the lowest number that is free. */
	if ((rlim_t)fd < limit.rlim_cur - spare)
		return fd;
	close(fd);
	return -ENFILE;
}

char uapi_process_state(pid_t pid)
{
	char path[40], line[512];
	const char *p;

	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	if (!uapi_read_line(path, line, sizeof(line)))
		return 0;
	p = strrchr(line, ')');
	return p && p[1] == ' ' ? p[2] : 0;
}

bool uapi_process_dying(pid_t tid)
{
	char path[40], line[512];
	const char *p;

	snprintf(path, sizeof(path), "/proc/%d/stat", tid);
	if (!uapi_read_line(path, line, sizeof(line)))
		return true;
	/* The 31st field: its pending signals.  Whatever kills it, SIGKILL is among them then. */
	p = strrchr(line, ')');
	for (unsigned field = 2; p && field < 31; field++)
		p = strchr(p + 1, ' ');
	return p && strtoul(p, NULL, 10) & 1ul << (SIGKILL - 1);
}

unsigned uapi_children(pid_t *out, unsigned max)
{
	DIR *dir = opendir("/proc/self/task");
	struct dirent *entry;
	unsigned nr = 0;

	if (!dir)
		return 0;
	while ((entry = readdir(dir))) {
		char path[PATH_MAX];
		FILE *f;
		int pid;

		if (entry->d_name[0] == '.')
			continue;
		snprintf(path, sizeof(path), "/proc/self/task/%s/children", entry->d_name);
		f = fopen(path, "re");
		if (!f)
			continue;
		while (nr < max && fscanf(f, "%d", &pid) == 1)
			out[nr++] = pid;
		fclose(f);
	}
	closedir(dir);
	return nr;
}

void uapi_kill_children(const pid_t *except, unsigned nr_except)
{
	for (;;) {
		pid_t pids[256];
		unsigned nr = uapi_children(pids, 256), killed = 0;

		for (unsigned i = 0; i < nr; i++) {
			bool spared = false;

			for (unsigned j = 0; j < nr_except; j++)
				spared |= pids[i] == except[j];
			if (spared)
				continue;
			kill(pids[i], SIGKILL);
			killed++;
		}
		if (!killed)
			return;
		for (unsigned i = 0; i < nr; i++) {
			bool spared = false;

			for (unsigned j = 0; j < nr_except; j++)
				spared |= pids[i] == except[j];
			while (!spared && waitpid(pids[i], NULL, 0) < 0 && errno == EINTR)
				;
		}
	}
}
