/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Door 1: what a system call on /dev/vfio costs, beside a bare seccomp notification that moves the
 * same bytes; how long a run takes to start and end; what an idle server takes.
 * Usage: bench-uapi UVFIO
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <linux/vfio.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>
#include "bench.h"

#ifndef SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV
#define SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV (1UL << 5)
#endif

#define CALLS  20000u
#define ROUNDS 9u

static const char *uvfio, *self;

/* ---- the client: in both cases the same loop ---- */

static double time_calls(int fd, unsigned long cmd)
{
	struct vfio_device_info info;
	uint64_t start;

	for (unsigned warm = 0; warm < CALLS / 10; warm++) {
		info.argsz = 16;
		ioctl(fd, cmd, &info);
	}
	start = bench_ns();
	for (unsigned i = 0; i < CALLS; i++) {
		info.argsz = 16;
		ioctl(fd, cmd, &info);
	}
	return (double)(bench_ns() - start) / CALLS;
}

/* The same past the C library, so without the helper. */
static double time_raw_calls(int fd)
{
	struct vfio_device_info info;
	uint64_t start = bench_ns();

	for (unsigned i = 0; i < CALLS; i++) {
		info.argsz = 16;
		syscall(SYS_ioctl, fd, VFIO_DEVICE_GET_INFO, &info);
	}
	return (double)(bench_ns() - start) / CALLS;
}

static int client(const char *what)
{
	int container = open("/dev/vfio/vfio", O_RDWR), group = open("/dev/vfio/1", O_RDWR);
	uint32_t value = 0;
	uint64_t start;
	int device;

	if (ioctl(group, VFIO_GROUP_SET_CONTAINER, &container) ||
	    ioctl(container, VFIO_SET_IOMMU, VFIO_TYPE1v2_IOMMU))
		return 1;
	device = ioctl(group, VFIO_GROUP_GET_DEVICE_FD, "0000:01:00.0");
	if (device < 0)
		return 1;
	if (!strcmp(what, "struct")) {
		printf("%f\n", time_calls(device, VFIO_DEVICE_GET_INFO));
	} else if (!strcmp(what, "raw")) {
		printf("%f\n", time_raw_calls(device));
	} else if (!strcmp(what, "none")) {
		printf("%f\n", time_calls(container, VFIO_GET_API_VERSION));
	} else if (!strcmp(what, "config")) {
		start = bench_ns();
		for (unsigned i = 0; i < CALLS; i++)
			(void)!pread(device, &value, 4, 7ll << 40);
		printf("%f\n", (double)(bench_ns() - start) / CALLS);
	} else { /* idle: until the parent has looked */
		puts("1");
		fflush(stdout);
		getchar();
	}
	return 0;
}

/* What a client under uvfio prints. */
static double under_uvfio(void *what)
{
	char command[2 * PATH_MAX];
	double ns = -1;
	FILE *f;

	snprintf(command, sizeof(command),
		 "exec '%s' run --device nvme,memory=16M -- '%s' --client %s", uvfio, self,
		 (const char *)what);
	f = popen(command, "r");
	if (!f || fscanf(f, "%lf", &ns) != 1)
		ns = -1;
	if (f)
		pclose(f);
	return ns;
}

/* ---- the bare notification ---- */

static int install(bool killable)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_ioctl, 0, 3),
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[1])),
		BPF_STMT(BPF_ALU | BPF_AND | BPF_K, 0xff00),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, ';' << 8, 1, 0),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_USER_NOTIF),
	};
	struct sock_fprog prog = {sizeof(code) / sizeof(*code), code};

	prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	return (int)syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER,
			    SECCOMP_FILTER_FLAG_NEW_LISTENER | SECCOMP_FILTER_FLAG_SPEC_ALLOW |
				    (killable ? SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV : 0),
			    &prog);
}

/* A child under a filter, which sends its listener and then what it measured. */
static int start_bare(pid_t *pid, int *result, bool killable)
{
	int pair[2], pipefd[2], listener;

	if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair) || pipe(pipefd))
		return -1;
	*pid = fork();
	if (*pid == 0) {
		double ns;

		listener = install(killable);
		/* The parent takes it by number. */
		(void)!write(pair[1], &listener, sizeof(listener));
		(void)!read(pair[1], &listener, 1);
		close(listener);
		ns = time_calls(0, VFIO_DEVICE_GET_INFO);
		(void)!write(pipefd[1], &ns, sizeof(ns));
		_exit(0);
	}
	if (read(pair[0], &listener, sizeof(listener)) == sizeof(listener)) {
		int pidfd = (int)syscall(SYS_pidfd_open, *pid, 0);

		listener = (int)syscall(SYS_pidfd_getfd, pidfd, listener, 0);
		close(pidfd);
		(void)!write(pair[0], "", 1);
	}
	close(pair[0]);
	close(pair[1]);
	close(pipefd[1]);
	*result = pipefd[0];
	return listener;
}

enum bare_flags {
	BARE_STRUCT = 1,   /* move 16 bytes in and out */
	BARE_KILLABLE = 2, /* not restarted by a signal, as door 1 must have it; costs a wake-up */
};

static double bare(void *arg)
{
	struct seccomp_notif notif;
	struct seccomp_notif_resp resp;
	double ns = -1;
	unsigned flags = *(const unsigned *)arg;
	int result, listener;
	pid_t pid;

	listener = start_bare(&pid, &result, flags & BARE_KILLABLE);
	if (listener < 0)
		return -1;
	for (unsigned left = CALLS + CALLS / 10; left; left--) {
		char bytes[16];

		memset(&notif, 0, sizeof(notif));
		if (ioctl(listener, SECCOMP_IOCTL_NOTIF_RECV, &notif))
			break;
		if (flags & BARE_STRUCT) {
			struct iovec local = {bytes, 16};
			struct iovec remote = {(void *)notif.data.args[2], 16};

			process_vm_readv((pid_t)notif.pid, &local, 1, &remote, 1, 0);
			process_vm_writev((pid_t)notif.pid, &local, 1, &remote, 1, 0);
		}
		memset(&resp, 0, sizeof(resp));
		resp.id = notif.id;
		if (ioctl(listener, SECCOMP_IOCTL_NOTIF_SEND, &resp))
			break;
	}
	close(listener);
	if (read(result, &ns, sizeof(ns)) != sizeof(ns))
		ns = -1;
	close(result);
	waitpid(pid, NULL, 0);
	return ns;
}

/* ---- a whole run ---- */

static double run_true(void *with_device)
{
	uint64_t start = bench_ns();
	pid_t pid = fork();

	if (pid == 0) {
		if (with_device)
			execl(uvfio, uvfio, "run", "--device", "nvme,memory=16M", "--", "true",
			      NULL);
		else
			execl(uvfio, uvfio, "run", "--", "true", NULL);
		_exit(127);
	}
	waitpid(pid, NULL, 0);
	return (double)(bench_ns() - start) / 1e6;
}

/* ---- an idle server ---- */

static pid_t child_of(pid_t pid)
{
	char path[64];
	int child = 0;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/task/%d/children", pid, pid);
	f = fopen(path, "r");
	if (f) {
		if (fscanf(f, "%d", &child) != 1)
			child = 0;
		fclose(f);
	}
	return child;
}

static double cpu_ms(pid_t pid)
{
	char path[64], line[1024];
	unsigned long user = 0, kernel = 0;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	f = fopen(path, "r");
	if (f && fgets(line, sizeof(line), f))
		sscanf(strrchr(line, ')') + 2,
		       "%*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &user, &kernel);
	if (f)
		fclose(f);
	return (double)(user + kernel) * 1000 / (double)sysconf(_SC_CLK_TCK);
}

/* Memory that the server would not need if it did not run: private, and its share of the rest. */
static double memory_mib(pid_t pid)
{
	char path[64], line[256];
	unsigned long kib = 0;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/smaps_rollup", pid);
	f = fopen(path, "r");
	while (f && fgets(line, sizeof(line), f)) {
		if (sscanf(line, "Rss: %lu", &kib) == 1)
			break;
	}
	if (f)
		fclose(f);
	return (double)kib / 1024;
}

static void idle(double *mib, double *ms)
{
	int in[2], out[2];
	char byte;
	pid_t pid, server;
	double before;

	*mib = *ms = -1;
	if (pipe(in) || pipe(out))
		return;
	pid = fork();
	if (pid == 0) {
		dup2(in[0], 0);
		dup2(out[1], 1);
		close(in[0]);
		close(in[1]);
		close(out[0]);
		close(out[1]);
		execl(uvfio, uvfio, "run", "--device", "nvme,memory=16M", "--", self, "--client",
		      "idle", NULL);
		_exit(127);
	}
	close(in[0]);
	close(out[1]);
	if (read(out[0], &byte, 1) == 1) {
		server = child_of(pid);
		usleep(300000); /* whatever follows the start */
		before = cpu_ms(server);
		sleep(2);
		*ms = (cpu_ms(server) - before) / 2;
		*mib = memory_mib(server);
	}
	close(in[1]);
	close(out[0]);
	waitpid(pid, NULL, 0);
}

/* This process, and what it starts, on the last CPU that it may use; @before: which those were. */
static void pin(cpu_set_t *before)
{
	cpu_set_t one;

	if (sched_getaffinity(0, sizeof(*before), before))
		CPU_ZERO(before);
	CPU_ZERO(&one);
	for (int cpu = CPU_SETSIZE - 1; cpu >= 0 && !CPU_COUNT(&one); cpu--)
		if (CPU_ISSET(cpu, before))
			CPU_SET(cpu, &one);
	sched_setaffinity(0, sizeof(one), &one);
}

int main(int argc, char **argv)
{
	static unsigned flags[] = {0, BARE_KILLABLE, BARE_STRUCT | BARE_KILLABLE};
	struct bench_case calls[] = {
		{"bare notification, which a signal carries out twice", "ns", bare, &flags[0]},
		{"bare notification", "ns", bare, &flags[1]},
		{"ioctl without memory (GET_API_VERSION)", "ns", under_uvfio, "none"},
		{"bare notification, 16 bytes in and out", "ns", bare, &flags[2]},
		{"ioctl, 16 bytes in and out (DEVICE_GET_INFO)", "ns", under_uvfio, "struct"},
		{"  the same without the helper", "ns", under_uvfio, "raw"},
		{"pread of config space, 4 bytes", "ns", under_uvfio, "config"},
	};
	struct bench_case whole[] = {
		{"uvfio run -- true", "ms", run_true, NULL, BENCH_AT_MOST, 30},
		{"uvfio run --device nvme,memory=16M -- true", "ms", run_true, "", BENCH_AT_MOST,
		 30},
	};
	struct bench_case ratio = {
		"ioctl / bare notification, in hundredths", "", NULL, NULL, BENCH_AT_MOST, 125};
	struct bench_case memory = {"idle server: memory", "MiB", NULL, NULL, BENCH_AT_MOST, 10};
	struct bench_case cpu = {
		"idle server: CPU in a second", "ms", NULL, NULL, BENCH_AT_MOST, 0};
	char path[PATH_MAX];
	cpu_set_t everywhere;
	int missed = 0;
	ssize_t n;

	if (argc == 3 && !strcmp(argv[1], "--client"))
		return client(argv[2]);
	if (argc != 2) {
		fprintf(stderr, "usage: bench-uapi UVFIO\n");
		return 2;
	}
	n = readlink("/proc/self/exe", path, sizeof(path) - 1);
	path[n < 0 ? 0 : n] = '\0';
	self = path;
	uvfio = argv[1];
	/* On one CPU, where who waits for an answer may well make room for who gives it: a pair
	 * that wakes each other across CPUs takes several times as long, and some runs would be
	 * that. */
	pin(&everywhere);
	missed += bench_run("System calls on /dev/vfio, on one CPU", calls,
			    sizeof(calls) / sizeof(*calls), ROUNDS);
	sched_setaffinity(0, sizeof(everywhere), &everywhere);
	ratio.median = 100 * calls[4].median / calls[3].median;
	missed += bench_print(&ratio);
	missed += bench_run("A whole run", whole, sizeof(whole) / sizeof(*whole), ROUNDS);
	idle(&memory.median, &cpu.median);
	missed += bench_print(&memory);
	missed += bench_print(&cpu);
	return missed != 0;
}
