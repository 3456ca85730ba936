/* SPDX-License-Identifier: BSD-3-Clause */
#include <dirent.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>
#include "count_calls.h"

#define SETTLED_MS 20

#define OPTIONS    (PTRACE_O_TRACESYSGOOD | PTRACE_O_TRACECLONE)

struct count_calls_shared {
	_Atomic int ready; /* 1, or -errno */
	_Atomic uint64_t total, of[COUNT_CALLS_MAX];
};

/* All threads of @pid.  -errno when there is one that cannot be traced. */
static int attach(pid_t pid)
{
	char path[64];
	struct dirent *e;
	DIR *dir;
	int ret = 0;

	snprintf(path, sizeof(path), "/proc/%d/task", pid);
	dir = opendir(path);
	if (!dir)
		return -errno;
	while (!ret && (e = readdir(dir))) {
		pid_t tid = atoi(e->d_name);

		if (!tid)
			continue;
		if (ptrace(PTRACE_SEIZE, tid, NULL, (void *)(uintptr_t)OPTIONS) ||
		    ptrace(PTRACE_INTERRUPT, tid, NULL, NULL))
			ret = errno == ESRCH ? 0 : -errno; /* it has ended */
	}
	closedir(dir);
	return ret;
}

static void count(struct count_calls_shared *s, pid_t tid)
{
	struct __ptrace_syscall_info info;

	if (ptrace(PTRACE_GET_SYSCALL_INFO, tid, (void *)sizeof(info), &info) <= 0 ||
	    info.op != PTRACE_SYSCALL_INFO_ENTRY)
		return;
	if (info.entry.nr < COUNT_CALLS_MAX)
		atomic_fetch_add(&s->of[info.entry.nr], 1);
	atomic_fetch_add(&s->total, 1);
}

/* Until nothing is left to trace, or the parent kills us, which lets go of everything. */
static void trace(struct count_calls_shared *s, pid_t pid)
{
	int status, ret = attach(pid);
	pid_t tid;

	atomic_store(&s->ready, ret ? ret : 1);
	while (!ret && (tid = waitpid(-1, &status, __WALL)) > 0) {
		int sig = 0;

		if (!WIFSTOPPED(status))
			continue;
		if (WSTOPSIG(status) == (SIGTRAP | 0x80))
			count(s, tid);
		else if (!(status >> 16))
			sig = WSTOPSIG(status); /* its own: it gets it */
		ptrace(PTRACE_SYSCALL, tid, NULL, (void *)(uintptr_t)sig);
	}
}

int count_calls_begin(struct count_calls *c, pid_t pid)
{
	int ret;

	c->shared = mmap(NULL, sizeof(*c->shared), PROT_READ | PROT_WRITE,
			 MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (c->shared == MAP_FAILED)
		return -errno;
	c->tracer = fork();
	if (c->tracer < 0) {
		ret = -errno;
		munmap(c->shared, sizeof(*c->shared));
		return ret;
	}
	if (!c->tracer) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		trace(c->shared, pid);
		_exit(0);
	}
	while (!(ret = atomic_load(&c->shared->ready)))
		poll(NULL, 0, 1);
	if (ret < 0)
		count_calls_end(c);
	return ret < 0 ? ret : 0;
}

void count_calls_end(struct count_calls *c)
{
	kill(c->tracer, SIGKILL);
	waitpid(c->tracer, NULL, 0);
	munmap(c->shared, sizeof(*c->shared));
}

uint64_t count_calls_settled(const struct count_calls *c)
{
	uint64_t before, now = atomic_load(&c->shared->total);

	do {
		before = now;
		poll(NULL, 0, SETTLED_MS);
		now = atomic_load(&c->shared->total);
	} while (now != before);
	return now;
}

uint64_t count_calls_of(const struct count_calls *c, unsigned nr)
{
	return atomic_load(&c->shared->of[nr]);
}
