/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Theory of operation.  `uvfio run` needs four things of the kernel: a mount namespace of its own,
 * a seccomp filter whose notifications it receives, the memory of the program, and its file
 * descriptors.  The first and the last it can do without.  Each probe does that thing in a child
 * and reports through its exit status: 0, or the errno of the step that failed, with the step in
 * the upper bits.  Only then is the cause looked up (AppArmor, a container's profile, YAMA, an old
 * kernel), because the same EPERM has several.
 */
#include "sysfs/sysfs.h"
#include "uapi/doctor.h"
#include "uapi/shadow.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

#ifndef SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV
#define SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV (1UL << 5)
#endif

static const char *const verdict_names[] = {
	[DOCTOR_OK] = "ok",
	[DOCTOR_NOTE] = "note",
	[DOCTOR_FAIL] = "FAIL",
};
static_assert(sizeof(verdict_names) / sizeof(verdict_names[0]) == DOCTOR_NR_VERDICTS,
	      "a name each");

const char *doctor_verdict_name(enum doctor_verdict verdict)
{
	return verdict_names[verdict];
}

struct report {
	struct doctor_finding *findings;
	unsigned nr;
};

static struct doctor_finding *add(struct report *r, const char *subject,
				  enum doctor_verdict verdict, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));
static struct doctor_finding *add(struct report *r, const char *subject,
				  enum doctor_verdict verdict, const char *fmt, ...)
{
	struct doctor_finding *f = &r->findings[r->nr];
	va_list ap;

	assert(r->nr < DOCTOR_MAX_FINDINGS);
	r->nr++;
	memset(f, 0, sizeof(*f));
	f->subject = subject;
	f->verdict = verdict;
	va_start(ap, fmt);
	vsnprintf(f->what, sizeof(f->what), fmt, ap);
	va_end(ap);
	return f;
}

static void remedy(struct doctor_finding *f, const char *text)
{
	snprintf(f->remedy, sizeof(f->remedy), "%s", text);
}

/* The number in a file, or -1. */
static long file_number(const char *path)
{
	FILE *file = fopen(path, "re");
	long value = -1;

	if (file) {
		if (fscanf(file, "%ld", &value) != 1)
			value = -1;
		fclose(file);
	}
	return value;
}

/* "Seccomp:" and the like of our own status; @base as for strtoull. */
static uint64_t status_field(const char *name, int base)
{
	FILE *file = fopen("/proc/self/status", "re");
	uint64_t value = 0;
	char line[256];
	size_t len = strlen(name);

	if (!file)
		return 0;
	while (fgets(line, sizeof(line), file)) {
		if (!strncmp(line, name, len) && line[len] == ':') {
			value = strtoull(line + len + 1, NULL, base);
			break;
		}
	}
	fclose(file);
	return value;
}

static bool in_container(void)
{
	return !access("/.dockerenv", F_OK) || !access("/run/.containerenv", F_OK) ||
	       getenv("container");
}

/* A step that failed in a child: which, and why. */
struct failure {
	const char *step;
	int error;
};

/* Run @probe in a child.  It returns NULL, or the step that failed with errno set. */
static struct failure in_child(const char *(*probe)(void *arg), void *arg)
{
	struct failure failure = {"fork", EAGAIN};
	int pipefd[2], status;
	pid_t pid;

	if (pipe2(pipefd, O_CLOEXEC)) {
		failure.error = errno;
		return failure;
	}
	fflush(NULL);
	pid = fork();
	if (pid == 0) {
		signal(SIGXFSZ, SIG_IGN);
		failure.step = probe(arg);
		failure.error = errno;
		if (write(pipefd[1], &failure, sizeof(failure)) != sizeof(failure))
			_exit(1);
		_exit(0);
	}
	close(pipefd[1]);
	if (pid > 0) {
		/* The child has our address space's layout: the string's address is valid here. */
		if (read(pipefd[0], &failure, sizeof(failure)) != sizeof(failure))
			failure = (struct failure){"the probe itself", EIO};
		while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
			;
	}
	close(pipefd[0]);
	return failure;
}

static bool privileged(void)
{
	const uint64_t need = 1ull << 21 /* SYS_ADMIN */ | 1ull << 19 /* SYS_PTRACE */;

	return (status_field("CapEff", 16) & need) == need;
}

static const char *write_file(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	ssize_t n;

	if (fd < 0)
		return path;
	n = write(fd, text, strlen(text));
	close(fd);
	return n == (ssize_t)strlen(text) ? NULL : path;
}

static const char *probe_namespace(void *arg)
{
	const char *failed;
	char map[64];
	uid_t uid = geteuid();
	gid_t gid = getegid();

	if (privileged()) {
		if (unshare(CLONE_NEWNS))
			return "unshare(CLONE_NEWNS)";
	} else {
		if (unshare(CLONE_NEWUSER | CLONE_NEWNS))
			return "unshare(CLONE_NEWUSER | CLONE_NEWNS)";
		failed = write_file("/proc/self/setgroups", "deny");
		if (failed)
			return failed;
		snprintf(map, sizeof(map), "%u %u 1", uid, uid);
		failed = write_file("/proc/self/uid_map", map);
		if (failed)
			return "writing /proc/self/uid_map";
		snprintf(map, sizeof(map), "%u %u 1", gid, gid);
		failed = write_file("/proc/self/gid_map", map);
		if (failed)
			return "writing /proc/self/gid_map";
	}
	if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL))
		return "mount(MS_PRIVATE)";
	if (mount("uvfio", "/dev", "tmpfs", MS_NOSUID, "size=64k"))
		return "mounting a tmpfs";
	return NULL;
}

/* Returns whether there are namespaces and mounts. */
static bool examine_namespaces(struct report *r)
{
	struct failure f = in_child(probe_namespace, NULL);
	struct doctor_finding *finding;

	if (!f.step) {
		add(r, "namespaces", DOCTOR_OK,
		    privileged() ? "a mount namespace, with privilege"
				 : "user and mount namespaces");
		return true;
	}
	finding =
		add(r, "namespaces", DOCTOR_NOTE,
		    "%s: %s: a program's paths are answered one by one (--sandbox paths): it opens "
		    "files more slowly and cannot write to /sys",
		    f.step, strerror(f.error));
	if (file_number("/proc/sys/kernel/unprivileged_userns_clone") == 0)
		remedy(finding,
		       "user namespaces are off: sysctl -w kernel.unprivileged_userns_clone=1");
	else if (file_number("/proc/sys/user/max_user_namespaces") == 0)
		remedy(finding,
		       "user namespaces are off: sysctl -w user.max_user_namespaces=10000");
	else if (in_container() || status_field("Seccomp", 10) == 2)
		remedy(finding,
		       "the container's profile forbids them; to have them, start it with --cap-add "
		       "SYS_ADMIN --cap-add SYS_PTRACE --security-opt seccomp=unconfined "
		       "--security-opt apparmor=unconfined");
	else if (file_number("/proc/sys/kernel/apparmor_restrict_unprivileged_userns") == 1)
		remedy(finding,
		       "AppArmor restricts user namespaces (Ubuntu 23.10 and later): "
		       "sysctl -w kernel.apparmor_restrict_unprivileged_userns=0, or an AppArmor profile "
		       "for uvfio with `userns,`, or run as root");
	else
		remedy(finding, "run as root, or allow user namespaces for this user");
	return false;
}

/* What stands in for mounts. */
static void examine_directory(struct report *r)
{
	const char *base = uapi_shadow_base();

	if (base)
		add(r, "directory", DOCTOR_OK, "%s, for the files that a program finds", base);
	else
		remedy(add(r, "directory", DOCTOR_FAIL,
			   "none of /dev/shm, TMPDIR, /tmp and /var/tmp can be written, for the files "
			   "that a program finds"),
		       in_container() ? "start the container with --tmpfs /tmp" : "set TMPDIR");
}

static const char *probe_seccomp(void *arg)
{
	/* With a null program the kernel checks the flags first: EFAULT says that it knows them. */
	unsigned long flags =
		SECCOMP_FILTER_FLAG_NEW_LISTENER | SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV;

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
		return "prctl(PR_SET_NO_NEW_PRIVS)";
	if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, NULL) < 0 && errno != EFAULT)
		return "seccomp(NEW_LISTENER | WAIT_KILLABLE_RECV)";
	return NULL;
}

static void examine_seccomp(struct report *r)
{
	struct failure f = in_child(probe_seccomp, NULL);
	struct doctor_finding *finding;
	struct utsname name;

	uname(&name);
	if (!f.step) {
		add(r, "seccomp", DOCTOR_OK, "user notification, on Linux %s", name.release);
		return;
	}
	finding = add(r, "seccomp", DOCTOR_FAIL, "%s: %s, on Linux %s", f.step, strerror(f.error),
		      name.release);
	remedy(finding, f.error == EINVAL ? "the kernel is older than 5.19: use a newer one"
					  : "a profile forbids seccomp(2): allow it");
}

struct process_probe {
	bool namespaces; /* the program has a user namespace of its own */
	/* What is tried of a child, and what of that failed. */
	enum { PROBE_MEM, PROBE_VM, PROBE_FD } what;
};

/* A child that waits, with a user namespace as the program will have; its pid, or -1. */
static pid_t probed_child(const struct process_probe *probe, int *ready)
{
	int pipefd[2];
	char c;
	pid_t pid;

	if (pipe2(pipefd, O_CLOEXEC))
		return -1;
	pid = fork();
	if (pid == 0) {
		if (probe->namespaces && !privileged() && unshare(CLONE_NEWUSER))
			_exit(0);
		if (write(pipefd[1], "x", 1) == 1)
			pause();
		_exit(0);
	}
	close(pipefd[1]);
	*ready = pipefd[0];
	(void)!read(pipefd[0], &c, 1);
	return pid;
}

static const char *probe_process(void *arg)
{
	const struct process_probe *probe = arg;
	char path[64], c = 0;
	struct iovec local = {&c, 1}, remote = {&c, 1};
	const char *failed = NULL;
	int ready = -1, fd, error;
	pid_t pid = probed_child(probe, &ready);

	if (pid < 0)
		return "fork";
	switch (probe->what) {
	case PROBE_MEM:
		snprintf(path, sizeof(path), "/proc/%d/mem", pid);
		fd = open(path, O_RDWR | O_CLOEXEC);
		if (fd < 0)
			failed = "opening /proc/PID/mem of a child";
		else if (pread(fd, &c, 1, (off_t)(uintptr_t)path) != 1)
			failed = "reading /proc/PID/mem of a child";
		break;
	case PROBE_VM:
		if (process_vm_readv(pid, &local, 1, &remote, 1, 0) != 1)
			failed = "process_vm_readv of a child";
		break;
	case PROBE_FD:
		fd = (int)syscall(SYS_pidfd_open, pid, 0);
		if (fd < 0)
			failed = "pidfd_open";
		else if (syscall(SYS_pidfd_getfd, fd, ready, 0) < 0)
			failed = "pidfd_getfd of a child";
		break;
	}
	error = errno;
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	errno = error;
	return failed;
}

static const char *process_remedy(void)
{
	if (file_number("/proc/sys/kernel/yama/ptrace_scope") >= 2)
		return "YAMA forbids it: sysctl -w kernel.yama.ptrace_scope=1, or run as root";
	if (in_container() || status_field("Seccomp", 10) == 2)
		return "the container's profile forbids it: start it with --cap-add SYS_PTRACE "
		       "--security-opt seccomp=unconfined";
	return "allow this user to trace its own processes";
}

static void examine_process(struct report *r, bool namespaces)
{
	struct process_probe probe = {.namespaces = namespaces, .what = PROBE_MEM};
	struct failure f = in_child(probe_process, &probe);
	long scope = file_number("/proc/sys/kernel/yama/ptrace_scope");

	if (f.step) {
		remedy(add(r, "process access", DOCTOR_FAIL, "%s: %s", f.step, strerror(f.error)),
		       process_remedy());
		return;
	}
	probe.what = PROBE_VM;
	f = in_child(probe_process, &probe);
	if (f.step) {
		remedy(add(r, "process memory", DOCTOR_NOTE,
			   "%s: %s: /proc/PID/mem is used, which is slower", f.step,
			   strerror(f.error)),
		       process_remedy());
	}
	probe.what = PROBE_FD;
	f = in_child(probe_process, &probe);
	if (f.step)
		remedy(add(r, "descriptors", DOCTOR_NOTE,
			   "%s: %s: only eventfds that a program makes in the run can be its "
			   "interrupts",
			   f.step, strerror(f.error)),
		       process_remedy());
	else if (scope > 0)
		add(r, "process access", DOCTOR_OK,
		    "memory and descriptors of the program (YAMA scope %ld)", scope);
	else
		add(r, "process access", DOCTOR_OK, "memory and descriptors of the program");
}

static const char *probe_memfd(void *arg)
{
	int fd = memfd_create("uvfio-doctor", MFD_CLOEXEC | MFD_ALLOW_SEALING), probe;
	char path[64];

	if (fd < 0)
		return "memfd_create";
	if (ftruncate(fd, (off_t)32 << 40))
		return "a sparse memfd of 32 TiB";
	if (fcntl(fd, F_ADD_SEALS, 0x0010 /* F_SEAL_FUTURE_WRITE */))
		return "F_SEAL_FUTURE_WRITE";
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	probe = open(path, O_RDWR | O_CLOEXEC);
	if (probe < 0)
		return "reopening a memfd";
	if (fcntl(probe, F_SETLEASE, F_WRLCK))
		return "a lease on a memfd";
	return NULL;
}

static void examine_memfd(struct report *r)
{
	struct failure f = in_child(probe_memfd, NULL);

	if (!f.step)
		add(r, "memfd", DOCTOR_OK, "sparse, sealed, with leases");
	else
		remedy(add(r, "memfd", DOCTOR_FAIL, "%s: %s", f.step, strerror(f.error)),
		       f.error == EFBIG ? "a file size limit is set: ulimit -f unlimited"
					: "use a newer kernel");
}

static void examine_io_uring(struct report *r)
{
	/* Too few arguments on purpose: EFAULT says that it is there. */
	if (syscall(SYS_io_uring_setup, 1, NULL) < 0 && errno != EFAULT && errno != EINVAL)
		remedy(add(r, "io_uring", DOCTOR_NOTE,
			   "io_uring_setup: %s: devices on files use threads, which is slower",
			   strerror(errno)),
		       in_container()
			       ? "the container's profile forbids it: --security-opt seccomp=unconfined"
			       : "sysctl -w kernel.io_uring_disabled=0");
	else
		add(r, "io_uring", DOCTOR_OK, "there, for devices on files");
}

static void examine_fuse(struct report *r, bool namespaces)
{
	int fd = open("/dev/fuse", O_RDWR | O_CLOEXEC), e = errno;

	if (!namespaces)
		add(r, "/dev/fuse", DOCTOR_NOTE,
		    "not used: without mounts /sys cannot be served, nor devices migrated");
	else if (!sysfs_built())
		remedy(add(r, "/dev/fuse", DOCTOR_NOTE,
			   "this uvfio was built without libfuse3: programs cannot write to /sys, "
			   "nor have /dev/uioN, nor migrate devices"),
		       "install libfuse3-dev and build it again");
	else if (fd < 0)
		remedy(add(r, "/dev/fuse", DOCTOR_NOTE,
			   "%s: programs cannot write to /sys, nor have /dev/uioN, nor migrate "
			   "devices",
			   strerror(e)),
		       in_container() ? "start the container with --device /dev/fuse"
		       : e == ENOENT  ? "modprobe fuse"
				     : "chmod 666 /dev/fuse (Debian's package fuse3 has a rule for "
				       "udev that does it)");
	else
		add(r, "/dev/fuse", DOCTOR_OK,
		    "there, so programs can write to /sys, have /dev/uioN, and migrate devices");
	if (fd >= 0)
		close(fd);
}

static void examine_vfio(struct report *r)
{
	if (!access("/dev/vfio/vfio", F_OK))
		add(r, "/dev/vfio", DOCTOR_NOTE,
		    "this machine has the kernel's VFIO; programs under `uvfio run` do not see it");
	else
		add(r, "/dev/vfio", DOCTOR_OK, "the kernel's VFIO is not here, and not needed");
}

unsigned doctor_examine(struct doctor_finding *findings)
{
	struct report r = {.findings = findings};
	bool namespaces;

	examine_seccomp(&r);
	namespaces = examine_namespaces(&r);
	if (!namespaces)
		examine_directory(&r);
	examine_process(&r, namespaces);
	examine_memfd(&r);
	examine_io_uring(&r);
	examine_fuse(&r, namespaces);
	examine_vfio(&r);
	return r.nr;
}
