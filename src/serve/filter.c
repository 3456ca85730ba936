/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The filter, call by call.  A line that is not obvious says who calls it.  A call that takes a
 * path is not here (but readlink(), for kernels without AIO): a path is in memory, where no filter
 * sees it.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/kcmp.h>
#include <sched.h>
#include <seccomp.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>
#include "base/eventfd.h"
#include "serve/filter.h"

#define LOW32 0xffffffffu /* what the kernel looks at of an int */

/* With any arguments. */
static const int allowed[] = {
	/* files and sockets that are open, or come through one */
	SCMP_SYS(read),
	SCMP_SYS(pread64),
	SCMP_SYS(preadv),
	SCMP_SYS(preadv2),
	SCMP_SYS(write),
	SCMP_SYS(pwrite64),
	SCMP_SYS(pwritev2),
	SCMP_SYS(recvmsg),
	SCMP_SYS(recvfrom), /* libnbd: recv() */
	SCMP_SYS(sendmsg),
	SCMP_SYS(accept4),
	SCMP_SYS(shutdown),
	SCMP_SYS(fstat),
	SCMP_SYS(fstatfs),
	SCMP_SYS(ftruncate),
	SCMP_SYS(fallocate),
	SCMP_SYS(fsync),
	SCMP_SYS(fdatasync),
	SCMP_SYS(fgetxattr), /* the block size that a driver has formatted a file with */
	SCMP_SYS(fsetxattr),
	SCMP_SYS(memfd_create),
	SCMP_SYS(pipe2),
	SCMP_SYS(eventfd2),
	SCMP_SYS(io_setup), /* base/eventfd.c; it can do to files what other calls here can */
	SCMP_SYS(io_submit),
	SCMP_SYS(io_destroy),
	/* waiting */
	SCMP_SYS(epoll_create1),
	SCMP_SYS(epoll_ctl),
	SCMP_SYS(epoll_wait),
	SCMP_SYS(epoll_pwait2), /* newer libevents */
	SCMP_SYS(poll),
	SCMP_SYS(timerfd_create),
	SCMP_SYS(timerfd_settime),
	SCMP_SYS(clock_nanosleep),
	SCMP_SYS(restart_syscall),
	/* memory; mmap() and mprotect() are below */
	SCMP_SYS(munmap),
	SCMP_SYS(mremap),
	SCMP_SYS(madvise),
	SCMP_SYS(mincore), /* block/file_map.c */
	SCMP_SYS(brk),
	/* threads */
	SCMP_SYS(futex),
	SCMP_SYS(set_robust_list),
	SCMP_SYS(rseq),
	SCMP_SYS(membarrier), /* liburcu */
	SCMP_SYS(sched_yield),
	SCMP_SYS(sched_getaffinity), /* malloc(): how many CPUs */
	SCMP_SYS(gettid),
	SCMP_SYS(exit),
	SCMP_SYS(exit_group),
	SCMP_SYS(rt_sigaction),
	SCMP_SYS(rt_sigprocmask),
	SCMP_SYS(rt_sigreturn),
	SCMP_SYS(sigaltstack),
	/* looking */
	SCMP_SYS(clock_gettime), /* this and the next two: where the vDSO cannot */
	SCMP_SYS(gettimeofday),
	SCMP_SYS(time),
	SCMP_SYS(getcpu),
	SCMP_SYS(getpid),
	SCMP_SYS(getuid), /* libevent: is this a set-user-ID program? */
	SCMP_SYS(geteuid),
	SCMP_SYS(getgid),
	SCMP_SYS(getegid),
	SCMP_SYS(getrandom),
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

static const unsigned ioctls[] = {BLKGETSIZE64, BLKSSZGET, BLKDISCARD};

/* No owner that is sent signals, no leases, no other process's locks. */
static const int fcntls[] = {F_DUPFD_CLOEXEC, F_GETFD,     F_SETFD,    F_GETFL,
			     F_OFD_SETLK,     F_ADD_SEALS, F_GET_SEALS};

/* What pthread_create() says; a thread in all respects, not a process. */
#define THREAD (CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD)
#define THREAD_AND_ALL                                                                             \
	(THREAD | CLONE_SYSVSEM | CLONE_SETTLS | CLONE_PARENT_SETTID | CLONE_CHILD_CLEARTID)

/* Does argument @n have these @bits, and no others of @mask? */
#define BITS(n, mask, bits) SCMP_CMP(n, SCMP_CMP_MASKED_EQ, mask, bits)
/* It, all 64 bits.  What the kernel cuts off may be anything, and is then not allowed. */
#define IS(n, value) SCMP_CMP(n, SCMP_CMP_EQ, (scmp_datum_t)(value))

#define ALLOW(ctx, call, ...)                                                                      \
	seccomp_rule_add_array(ctx, SCMP_ACT_ALLOW, SCMP_SYS(call),                                \
			       sizeof((struct scmp_arg_cmp[]){__VA_ARGS__}) /                      \
				       sizeof(struct scmp_arg_cmp),                                \
			       (struct scmp_arg_cmp[]){__VA_ARGS__})

/* Are eventfds told without their names (base/eventfd.h)?  As long as the kernel has AIO. */
static bool knows_eventfds(void)
{
	struct uvfio_eventfd_check check;
	bool ret;

	uvfio_eventfd_check_init(&check);
	ret = check.context != 0;
	uvfio_eventfd_check_fini(&check);
	return ret;
}

static int add_some(scmp_filter_ctx ctx)
{
	const pid_t self = getpid();
	int ret = 0;

	for (unsigned i = 0; i < sizeof(ioctls) / sizeof(*ioctls) && !ret; i++)
		ret = ALLOW(ctx, ioctl, BITS(1, LOW32, ioctls[i]));
	for (unsigned i = 0; i < sizeof(fcntls) / sizeof(*fcntls) && !ret; i++)
		ret = ALLOW(ctx, fcntl, IS(1, fcntls[i]));
	if (!ret)
		ret = ALLOW(ctx, fcntl, IS(1, F_SETFL), BITS(2, O_ASYNC, 0));
	if (!ret)
		ret = ALLOW(ctx, prctl, IS(0, PR_SET_NAME));
	if (!ret)
		ret = ALLOW(ctx, mmap, BITS(2, PROT_EXEC, 0));
	if (!ret)
		ret = ALLOW(ctx, mprotect, BITS(2, PROT_EXEC, 0));
	/* Not of datagrams, which could be sent to anybody's socket. */
	if (!ret)
		ret = ALLOW(ctx, socketpair, IS(0, AF_UNIX), BITS(1, 0xf, SOCK_SEQPACKET));
	if (!ret)
		ret = ALLOW(ctx, socketpair, IS(0, AF_UNIX), BITS(1, 0xf, SOCK_STREAM));
	if (!ret)
		ret = ALLOW(ctx, getsockopt, IS(1, SOL_SOCKET));
	/* send(), which says no address. */
	if (!ret)
		ret = ALLOW(ctx, sendto, IS(4, 0));
	/* Whether two files are one: its own. */
	if (!ret)
		ret = ALLOW(ctx, kcmp, IS(0, self), IS(1, self), IS(2, KCMP_FILE));
	if (!ret)
		ret = ALLOW(ctx, clone, BITS(0, LOW32 & ~(THREAD_AND_ALL & ~THREAD), THREAD));
	if (!ret) /* its flags are in memory; the C library goes on with clone() */
		ret = seccomp_rule_add(ctx, SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(clone3), 0);
	/* To itself, as abort() does. */
	if (!ret)
		ret = ALLOW(ctx, tgkill, IS(0, self));
	/* Of a descriptor, without a path (base/fd.c). */
	if (!ret)
		ret = ALLOW(ctx, statx, IS(1, 0));
	/* Reading a limit. */
	if (!ret)
		ret = ALLOW(ctx, prlimit64, IS(0, 0), IS(2, 0));
	/* /proc/self/fd/N: the name of an eventfd. */
	if (!ret && !knows_eventfds())
		ret = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(readlink), 0);
	return ret;
}

/*
 * io_uring_enter() of the block of rings alone, close() of all but that.  There is no comparison
 * "not in the block", so: a bit above it is set, or the bit of @nr, ..., bit by bit: a number is in
 * the block when all bits from @nr's on are @first's.
 */
static int add_rings(scmp_filter_ctx ctx, unsigned first, unsigned nr)
{
	int ret;

	if (!nr)
		return seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(close), 0);
	ret = ALLOW(ctx, io_uring_enter, BITS(0, LOW32 & ~(nr - 1), first));
	for (unsigned bit = nr; bit && !ret; bit <<= 1)
		ret = ALLOW(ctx, close, BITS(0, bit, ~first & bit));
	return ret;
}

int serve_filter(unsigned first_ring, unsigned nr_rings, struct uvfio_error *err)
{
	scmp_filter_ctx ctx = seccomp_init(SCMP_ACT_ERRNO(EPERM));
	int ret = ctx ? 0 : -ENOMEM;

	for (unsigned i = 0; i < sizeof(allowed) / sizeof(*allowed) && !ret; i++)
		ret = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, allowed[i], 0);
	for (unsigned i = 0; i < sizeof(deadly) / sizeof(*deadly) && !ret; i++)
		ret = seccomp_rule_add(ctx, SCMP_ACT_KILL_PROCESS, deadly[i], 0);
	if (!ret)
		ret = add_some(ctx);
	if (!ret)
		ret = add_rings(ctx, first_ring, nr_rings);
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
