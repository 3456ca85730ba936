/* SPDX-License-Identifier: BSD-3-Clause */
#include <errno.h>
#include <grp.h>
#include <linux/capability.h>
#include <linux/fs.h>
#include <linux/landlock.h>
#include <pwd.h>
#include <sched.h>
#include <signal.h>
#include <seccomp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>
#include "serve/confine.h"

/* ---- identity ---- */

int serve_identity_find(const char *name, struct serve_identity *id, struct uvfio_error *err)
{
	const struct passwd *pw = getpwnam(name);
	char *end;

	*id = (struct serve_identity){0};
	if (!pw) {
		unsigned long uid = strtoul(name, &end, 10);

		if (*name && !*end && uid < (uid_t)-1)
			pw = getpwuid((uid_t)uid);
	}
	if (!pw)
		return uvfio_error_set(err, -EINVAL, "--user %s: there is no such user", name);
	id->uid = pw->pw_uid;
	id->gid = pw->pw_gid;
	if (geteuid() != 0 && geteuid() != id->uid)
		return uvfio_error_set(err, -EPERM,
				       "--user %s: only root can become another user; start uvfio "
				       "as root, or as %s without --user",
				       name, name);
	getgrouplist(pw->pw_name, pw->pw_gid, NULL, &id->nr_groups);
	id->groups = calloc((size_t)id->nr_groups + 1, sizeof(*id->groups));
	if (!id->groups)
		return uvfio_error_set(err, -ENOMEM, "out of memory");
	if (getgrouplist(pw->pw_name, pw->pw_gid, id->groups, &id->nr_groups) < 0)
		id->nr_groups = 0;
	return 0;
}

void serve_identity_fini(struct serve_identity *id)
{
	free(id->groups);
	id->groups = NULL;
}

static int become(const struct serve_identity *id, struct uvfio_error *err)
{
	if (geteuid() == id->uid && geteuid() != 0)
		return 0;
	if (setgroups((size_t)id->nr_groups, id->groups) || setresgid(id->gid, id->gid, id->gid) ||
	    setresuid(id->uid, id->uid, id->uid))
		return uvfio_error_set(err, -errno, "cannot become the user %u: %s", id->uid,
				       strerror(errno));
	return 0;
}

static int drop_capabilities(struct uvfio_error *err)
{
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct none[2] = {{0}};

	/* Fails without CAP_SETPCAP, and is not needed then. */
	for (int cap = 0; prctl(PR_CAPBSET_DROP, cap, 0, 0, 0) == 0; cap++)
		;
	prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
	if (syscall(SYS_capset, &header, none))
		return uvfio_error_set(err, -errno, "cannot give up capabilities: %s",
				       strerror(errno));
	return 0;
}

/* ---- Landlock ---- */

/* As the newest kernel that we know has it; older ones take its beginning. */
struct ruleset {
	uint64_t fs, net, scoped;
};

static const struct {
	unsigned fs_rights; /* bits */
	bool net, scoped;
	size_t size;
} landlock_abis[] = {
	{13, false, false, 8}, {14, false, false, 8}, {15, false, false, 8},
	{15, true, false, 16}, {16, true, false, 16}, {16, true, true, 24},
};

static int restrict_paths(bool *landlock, struct uvfio_error *err)
{
	long abi = syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
	const long known = sizeof(landlock_abis) / sizeof(*landlock_abis);
	struct ruleset rules = {0};
	int fd, ret = 0;

	*landlock = abi > 0;
	if (abi <= 0)
		return 0; /* not built in, or not switched on */
	if (abi > known)
		abi = known;
	rules.fs = (1ull << landlock_abis[abi - 1].fs_rights) - 1;
	if (landlock_abis[abi - 1].net)
		rules.net = 3; /* bind, connect */
	if (landlock_abis[abi - 1].scoped)
		rules.scoped = 3; /* abstract sockets, signals */
	fd = (int)syscall(SYS_landlock_create_ruleset, &rules, landlock_abis[abi - 1].size, 0);
	if (fd < 0 || syscall(SYS_landlock_restrict_self, fd, 0))
		ret = uvfio_error_set(err, -errno, "cannot confine with Landlock: %s",
				      strerror(errno));
	if (fd >= 0)
		close(fd);
	return ret;
}

/* ---- seccomp ---- */

/* With any arguments. */
static const int allowed[] = {
	/* files and sockets that are open, or come through one */
	SCMP_SYS(read),
	SCMP_SYS(readv),
	SCMP_SYS(pread64),
	SCMP_SYS(preadv),
	SCMP_SYS(preadv2),
	SCMP_SYS(write),
	SCMP_SYS(writev),
	SCMP_SYS(pwrite64),
	SCMP_SYS(pwritev),
	SCMP_SYS(pwritev2),
	SCMP_SYS(recvmsg),
	SCMP_SYS(recvmmsg),
	SCMP_SYS(recvfrom),
	SCMP_SYS(sendmsg),
	SCMP_SYS(sendmmsg),
	SCMP_SYS(sendto),
	SCMP_SYS(accept),
	SCMP_SYS(accept4),
	SCMP_SYS(shutdown),
	SCMP_SYS(getsockopt),
	SCMP_SYS(setsockopt),
	SCMP_SYS(getsockname),
	SCMP_SYS(getpeername),
	SCMP_SYS(close),
	SCMP_SYS(close_range),
	SCMP_SYS(dup),
	SCMP_SYS(dup2),
	SCMP_SYS(dup3),
	SCMP_SYS(fcntl),
	SCMP_SYS(fstat),
	SCMP_SYS(newfstatat),
	SCMP_SYS(statx),
	SCMP_SYS(fstatfs),
	SCMP_SYS(lseek),
	SCMP_SYS(ftruncate),
	SCMP_SYS(fallocate),
	SCMP_SYS(fsync),
	SCMP_SYS(fdatasync),
	SCMP_SYS(fgetxattr), /* the block size that a driver has formatted a file with */
	SCMP_SYS(fsetxattr),
	SCMP_SYS(sync_file_range),
	SCMP_SYS(fadvise64),
	SCMP_SYS(memfd_create),
	SCMP_SYS(pipe2),
	SCMP_SYS(eventfd2),
	SCMP_SYS(kcmp),
	SCMP_SYS(readlink), /* what an fd is, without asking whoever is behind it */
	SCMP_SYS(readlinkat),
	SCMP_SYS(io_setup), /* base/eventfd.c; it can do to files what other calls here can */
	SCMP_SYS(io_submit),
	SCMP_SYS(io_destroy),
	/* waiting */
	SCMP_SYS(epoll_create1),
	SCMP_SYS(epoll_create),
	SCMP_SYS(epoll_ctl),
	SCMP_SYS(epoll_wait),
	SCMP_SYS(epoll_pwait),
	SCMP_SYS(epoll_pwait2),
	SCMP_SYS(poll),
	SCMP_SYS(ppoll),
	SCMP_SYS(select),
	SCMP_SYS(pselect6),
	SCMP_SYS(timerfd_create),
	SCMP_SYS(timerfd_settime),
	SCMP_SYS(timerfd_gettime),
	SCMP_SYS(nanosleep),
	SCMP_SYS(clock_nanosleep),
	SCMP_SYS(restart_syscall),
	/* memory; mmap() and mprotect() are below */
	SCMP_SYS(munmap),
	SCMP_SYS(mremap),
	SCMP_SYS(madvise),
	SCMP_SYS(mincore),
	SCMP_SYS(mlock),
	SCMP_SYS(mlock2),
	SCMP_SYS(munlock),
	SCMP_SYS(msync),
	SCMP_SYS(brk),
	/* threads */
	SCMP_SYS(futex),
	SCMP_SYS(set_robust_list),
	SCMP_SYS(get_robust_list),
	SCMP_SYS(rseq),
	SCMP_SYS(membarrier),
	SCMP_SYS(sched_yield),
	SCMP_SYS(sched_getaffinity),
	SCMP_SYS(sched_setaffinity),
	SCMP_SYS(sched_getparam),
	SCMP_SYS(sched_getscheduler),
	SCMP_SYS(set_tid_address),
	SCMP_SYS(getcpu),
	SCMP_SYS(gettid),
	SCMP_SYS(exit),
	SCMP_SYS(exit_group),
	SCMP_SYS(rt_sigaction),
	SCMP_SYS(rt_sigprocmask),
	SCMP_SYS(rt_sigreturn),
	SCMP_SYS(rt_sigtimedwait),
	SCMP_SYS(rt_sigpending),
	SCMP_SYS(sigaltstack),
	/* looking */
	SCMP_SYS(clock_gettime),
	SCMP_SYS(clock_getres),
	SCMP_SYS(gettimeofday),
	SCMP_SYS(time),
	SCMP_SYS(getpid),
	SCMP_SYS(getppid),
	SCMP_SYS(getuid),
	SCMP_SYS(geteuid),
	SCMP_SYS(getgid),
	SCMP_SYS(getegid),
	SCMP_SYS(getrandom),
	SCMP_SYS(getrusage),
	SCMP_SYS(sysinfo),
	SCMP_SYS(uname),
	SCMP_SYS(getrlimit),
};

/* Nothing here ever does these. */
static const int deadly[] = {
	SCMP_SYS(execve),
	SCMP_SYS(execveat),
	SCMP_SYS(ptrace),
	SCMP_SYS(process_vm_readv),
	SCMP_SYS(process_vm_writev),
	SCMP_SYS(bpf),
	SCMP_SYS(init_module),
	SCMP_SYS(finit_module),
	SCMP_SYS(kexec_load),
	SCMP_SYS(kexec_file_load),
	SCMP_SYS(mount),
	SCMP_SYS(umount2),
	SCMP_SYS(pivot_root),
	SCMP_SYS(setns),
	SCMP_SYS(unshare),
	SCMP_SYS(reboot),
	SCMP_SYS(keyctl),
	SCMP_SYS(add_key),
	SCMP_SYS(request_key),
	SCMP_SYS(userfaultfd),
	SCMP_SYS(perf_event_open),
	SCMP_SYS(open_by_handle_at),
	SCMP_SYS(pidfd_getfd),
	SCMP_SYS(move_mount),
	SCMP_SYS(open_tree),
	SCMP_SYS(fsopen),
};

static const unsigned ioctls[] = {BLKGETSIZE64, BLKSSZGET, BLKDISCARD, BLKZEROOUT,
				  FIONREAD,     FIONBIO,   TCGETS};

static const int prctls[] = {PR_SET_NAME, PR_GET_NAME, PR_SET_TIMERSLACK, PR_GET_DUMPABLE,
			     0x53564d41 /* PR_SET_VMA, the C library's names */};

static int add_some(scmp_filter_ctx ctx)
{
	int ret = 0;

	for (unsigned i = 0; i < sizeof(ioctls) / sizeof(*ioctls) && !ret; i++)
		ret = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(ioctl), 1,
				       SCMP_A1(SCMP_CMP_MASKED_EQ, 0xffffffffu, ioctls[i]));
	for (unsigned i = 0; i < sizeof(prctls) / sizeof(*prctls) && !ret; i++)
		ret = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(prctl), 1,
				       SCMP_A0(SCMP_CMP_EQ, (scmp_datum_t)prctls[i]));
	if (!ret)
		ret = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(mmap), 1,
				       SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_EXEC, 0));
	if (!ret)
		ret = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(mprotect), 1,
				       SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_EXEC, 0));
	/* Not of datagrams, which could be sent to anybody's socket. */
	if (!ret)
		ret = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(socketpair), 1,
				       SCMP_A1(SCMP_CMP_MASKED_EQ, 0xf, SOCK_SEQPACKET));
	if (!ret)
		ret = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(socketpair), 1,
				       SCMP_A1(SCMP_CMP_MASKED_EQ, 0xf, SOCK_STREAM));
	/* A thread, not a process. */
	if (!ret)
		ret = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(clone), 1,
				       SCMP_A0(SCMP_CMP_MASKED_EQ, CLONE_THREAD, CLONE_THREAD));
	if (!ret) /* its flags are in memory; the C library goes on with clone() */
		ret = seccomp_rule_add(ctx, SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(clone3), 0);
	/* To itself, as abort() does. */
	if (!ret)
		ret = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(tgkill), 1,
				       SCMP_A0(SCMP_CMP_EQ, (scmp_datum_t)getpid()));
	/* Reading a limit. */
	if (!ret)
		ret = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(prlimit64), 2,
				       SCMP_A0(SCMP_CMP_EQ, 0), SCMP_A2(SCMP_CMP_EQ, 0));
	return ret;
}

static int restrict_calls(bool io_uring, struct uvfio_error *err)
{
	static const int ring[] = {SCMP_SYS(io_uring_setup), SCMP_SYS(io_uring_enter),
				   SCMP_SYS(io_uring_register)};
	scmp_filter_ctx ctx = seccomp_init(SCMP_ACT_ERRNO(EPERM));
	int ret = ctx ? 0 : -ENOMEM;

	for (unsigned i = 0; i < sizeof(allowed) / sizeof(*allowed) && !ret; i++)
		ret = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, allowed[i], 0);
	for (unsigned i = 0; i < sizeof(deadly) / sizeof(*deadly) && !ret; i++)
		ret = seccomp_rule_add(ctx, SCMP_ACT_KILL_PROCESS, deadly[i], 0);
	for (unsigned i = 0; i < sizeof(ring) / sizeof(*ring) && !ret && io_uring; i++)
		ret = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, ring[i], 0);
	if (!ret)
		ret = add_some(ctx);
	if (!ret)
		ret = seccomp_attr_set(ctx, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS);
	if (!ret)
		ret = seccomp_attr_set(ctx, SCMP_FLTATR_CTL_OPTIMIZE, 2);
	/* A sanitizer may have started a thread already. */
	if (!ret)
		ret = seccomp_attr_set(ctx, SCMP_FLTATR_CTL_TSYNC, 1);
	if (!ret)
		ret = seccomp_load(ctx);
	seccomp_release(ctx);
	return ret ? uvfio_error_set(err, ret, "cannot install the seccomp filter: %s",
				     strerror(-ret))
		   : 0;
}

int serve_confine(const struct serve_identity *id, bool *landlock, struct uvfio_error *err)
{
	int ret = id ? become(id, err) : 0;

	if (!ret)
		ret = drop_capabilities(err);
	/* After the change of user, which takes it away again. */
	if (!ret && prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0))
		ret = uvfio_error_set(err, -errno, "cannot end with the parent: %s",
				      strerror(errno));
	if (!ret && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
		ret = uvfio_error_set(err, -errno, "cannot set no_new_privs: %s", strerror(errno));
	if (!ret)
		ret = restrict_paths(landlock, err);
	/* What io_uring can do past both is as much as the user may; root may anything. */
	return ret ? ret : restrict_calls(*landlock && geteuid() != 0, err);
}
