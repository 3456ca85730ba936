/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Run a program with what a container has by default, and no more: the capabilities that Docker
 * gives (an ordinary user has none), no new privileges, and a system call profile that refuses what
 * Docker's default profiles refuse of what matters to us.  Its file systems stay those of the
 * machine.  Usage: default_container PROGRAM [ARG …]
 *
 * Sets UVFIO_DEFAULT_CONTAINER for tests that must know.
 */
#include <errno.h>
#include <linux/capability.h>
#include <seccomp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

static const int caps[] = {
	CAP_CHOWN,   CAP_DAC_OVERRIDE, CAP_FSETID,           CAP_FOWNER,      CAP_MKNOD,
	CAP_NET_RAW, CAP_SETGID,       CAP_SETUID,           CAP_SETFCAP,     CAP_SETPCAP,
	CAP_KILL,    CAP_SYS_CHROOT,   CAP_NET_BIND_SERVICE, CAP_AUDIT_WRITE,
};

static const int refused[] = {
	/* Without CAP_SYS_ADMIN: */
	SCMP_SYS(unshare),
	SCMP_SYS(setns),
	SCMP_SYS(mount),
	SCMP_SYS(umount2),
	SCMP_SYS(open_tree),
	SCMP_SYS(move_mount),
	SCMP_SYS(fsopen),
	SCMP_SYS(fsconfig),
	SCMP_SYS(fsmount),
	SCMP_SYS(fspick),
	SCMP_SYS(mount_setattr),
	SCMP_SYS(pivot_root),
	SCMP_SYS(bpf),
	SCMP_SYS(perf_event_open),
	/* Without CAP_SYS_PTRACE, the last three until Docker 20.10: */
	SCMP_SYS(kcmp),
	SCMP_SYS(pidfd_getfd),
	SCMP_SYS(process_madvise),
	SCMP_SYS(process_vm_readv),
	SCMP_SYS(process_vm_writev),
	/* Always: */
	SCMP_SYS(userfaultfd),
	SCMP_SYS(io_uring_setup),
	SCMP_SYS(io_uring_enter),
	SCMP_SYS(io_uring_register),
};

static int drop_capabilities(void)
{
	struct __user_cap_header_struct hdr = {_LINUX_CAPABILITY_VERSION_3, 0};
	struct __user_cap_data_struct data[2] = {0};
	unsigned long long keep = 0;

	for (unsigned i = 0; i < sizeof(caps) / sizeof(*caps); i++)
		keep |= 1ull << caps[i];
	for (int cap = 0; cap <= CAP_LAST_CAP; cap++) {
		if (!(keep & 1ull << cap) && prctl(PR_CAPBSET_DROP, cap, 0, 0, 0) &&
		    errno != EINVAL && errno != EPERM)
			return -errno;
	}
	if (syscall(SYS_capget, &hdr, data))
		return -errno;
	for (unsigned i = 0; i < 2; i++) {
		data[i].permitted &= (unsigned)(keep >> 32 * i);
		data[i].effective &= (unsigned)(keep >> 32 * i);
		data[i].inheritable = 0;
	}
	return syscall(SYS_capset, &hdr, data) ? -errno : 0;
}

int main(int argc, char **argv)
{
	scmp_filter_ctx ctx = seccomp_init(SCMP_ACT_ALLOW);
	int ret = ctx ? 0 : -ENOMEM;

	if (argc < 2) {
		fprintf(stderr, "usage: default_container PROGRAM [ARG …]\n");
		return 2;
	}
	if (!ret)
		ret = seccomp_attr_set(ctx, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_ALLOW);
	for (unsigned i = 0; i < sizeof(refused) / sizeof(*refused) && !ret; i++)
		ret = seccomp_rule_add(ctx, SCMP_ACT_ERRNO(EPERM), refused[i], 0);
	if (!ret)
		ret = drop_capabilities();
	if (!ret)
		ret = seccomp_load(ctx); /* sets no_new_privs */
	if (ret) {
		fprintf(stderr, "default_container: %s\n", strerror(-ret));
		return 2;
	}
	setenv("UVFIO_DEFAULT_CONTAINER", "1", 1);
	execvp(argv[1], argv + 1);
	fprintf(stderr, "default_container: cannot execute %s: %s\n", argv[1], strerror(errno));
	return 2;
}
