/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Run a program as on Linux 5.19, the oldest that we support: what later kernels brought and we
 * make use of is answered as a kernel answers that does not know it.  Usage: old_kernel PROGRAM
 * [ARG …]
 *
 * Sets UVFIO_OLD_KERNEL for tests that must know.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/seccomp.h>

#include <seccomp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define NOTIF_SET_FLAGS SECCOMP_IOW(4, __u64) /* 6.6 */
#define PROCMAP_QUERY   0xc0686611u           /* 6.11 */
#define PIDFD_THREAD    O_EXCL                /* 6.9 */

int main(int argc, char **argv)
{
	scmp_filter_ctx ctx = seccomp_init(SCMP_ACT_ALLOW);
	int ret = ctx ? 0 : -ENOMEM;

	if (argc < 2) {
		fprintf(stderr, "usage: old_kernel PROGRAM [ARG …]\n");
		return 2;
	}
	if (!ret)
		ret = seccomp_attr_set(ctx, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_ALLOW);
	if (!ret)
		ret = seccomp_rule_add(ctx, SCMP_ACT_ERRNO(ENOTTY), SCMP_SYS(ioctl), 1,
				       SCMP_A1(SCMP_CMP_MASKED_EQ, 0xffffffffu, PROCMAP_QUERY));
	if (!ret)
		ret = seccomp_rule_add(ctx, SCMP_ACT_ERRNO(EINVAL), SCMP_SYS(ioctl), 1,
				       SCMP_A1(SCMP_CMP_MASKED_EQ, 0xffffffffu, NOTIF_SET_FLAGS));
	if (!ret)
		ret = seccomp_rule_add(ctx, SCMP_ACT_ERRNO(EINVAL), SCMP_SYS(pidfd_open), 1,
				       SCMP_A1(SCMP_CMP_MASKED_EQ, PIDFD_THREAD, PIDFD_THREAD));
	if (!ret)
		ret = seccomp_load(ctx);
	if (ret) {
		fprintf(stderr, "old_kernel: cannot install a seccomp filter: %s\n",
			strerror(-ret));
		return 77;
	}
	setenv("UVFIO_OLD_KERNEL", "1", 1);
	execvp(argv[1], argv + 1);
	fprintf(stderr, "old_kernel: %s: %s\n", argv[1], strerror(errno));
	return 127;
}
