/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What is turned into a notification.  A filter sees numbers only, not files: the command of an
 * ioctl, the access mode of an open and the offset of a transfer select what may be ours, and the
 * dispatcher looks at the file.  What else the program calls runs at full speed.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <seccomp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>
#include "uapi/filter.h"

#ifndef SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV
#define SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV (1UL << 5)
#endif

static int add_vfio(scmp_filter_ctx ctx)
{
	static const int by_offset[] = {
		SCMP_SYS(pread64),  SCMP_SYS(preadv),  SCMP_SYS(preadv2),
		SCMP_SYS(pwrite64), SCMP_SYS(pwritev), SCMP_SYS(pwritev2),
	};
	int ret = 0;

	for (unsigned i = 0; i < sizeof(by_offset) / sizeof(*by_offset) && !ret; i++)
		ret = seccomp_rule_add(ctx, SCMP_ACT_NOTIFY, by_offset[i], 1,
				       SCMP_A3(SCMP_CMP_GE, UAPI_MIN_OFFSET));
	if (!ret)
		ret = seccomp_rule_add(ctx, SCMP_ACT_NOTIFY, SCMP_SYS(mmap), 1,
				       SCMP_A5(SCMP_CMP_GE, UAPI_MIN_OFFSET));
	/* The kernel looks at the low 32 bits of an ioctl command and of open's flags. */
	if (!ret)
		ret = seccomp_rule_add(ctx, SCMP_ACT_NOTIFY, SCMP_SYS(ioctl), 1,
				       SCMP_A1(SCMP_CMP_MASKED_EQ, 0xffffff00u, ';' << 8));
	return ret;
}

/* Of opens, with the flags in argument @arg. */
static int add_open(scmp_filter_ctx ctx, int nr, unsigned arg)
{
	int ret = 0;

	/* Opens for reading, which are by far the most, are not ours to see. */
	for (unsigned mode = O_WRONLY; mode <= O_ACCMODE && !ret; mode++)
		ret = seccomp_rule_add(ctx, SCMP_ACT_NOTIFY, nr, 1,
				       SCMP_CMP(arg, SCMP_CMP_MASKED_EQ, O_ACCMODE, mode));
	return ret;
}

static int add_all(scmp_filter_ctx ctx, const int *calls, size_t nr)
{
	int ret = 0;

	for (size_t i = 0; i < nr && !ret; i++)
		ret = seccomp_rule_add(ctx, SCMP_ACT_NOTIFY, calls[i], 0);
	return ret;
}

/* The stat of a descriptor, which takes a path too that is empty then: by far the most calls with
 * this flag are that.  A path in memory cannot be seen here. */
static int add_stat(scmp_filter_ctx ctx, int nr, unsigned arg)
{
	int ret = seccomp_rule_add(ctx, SCMP_ACT_NOTIFY, nr, 1,
				   SCMP_CMP(arg, SCMP_CMP_MASKED_EQ, AT_EMPTY_PATH, 0));

	if (!ret)
		ret = seccomp_rule_add(
			ctx, SCMP_ACT_NOTIFY, nr, 1,
			SCMP_A0(SCMP_CMP_MASKED_EQ, 0xffffffffu, (uint32_t)AT_FDCWD));
	return ret;
}

static int add_paths(scmp_filter_ctx ctx)
{
	static const int calls[] = {
		SCMP_SYS(open),       SCMP_SYS(openat),    SCMP_SYS(stat),
		SCMP_SYS(lstat),      SCMP_SYS(access),    SCMP_SYS(faccessat),
		SCMP_SYS(faccessat2), SCMP_SYS(readlink),  SCMP_SYS(readlinkat),
		SCMP_SYS(getxattr),   SCMP_SYS(lgetxattr), SCMP_SYS(listxattr),
		SCMP_SYS(llistxattr), SCMP_SYS(getcwd),    SCMP_SYS(chroot),
		SCMP_SYS(creat),
	};
	int ret = add_all(ctx, calls, sizeof(calls) / sizeof(*calls));

	if (!ret)
		ret = add_stat(ctx, SCMP_SYS(newfstatat), 3);
	return ret ? ret : add_stat(ctx, SCMP_SYS(statx), 2);
}

static int add_rules(scmp_filter_ctx ctx, unsigned what)
{
	static const int eventfds[] = {SCMP_SYS(eventfd), SCMP_SYS(eventfd2)};
	int ret = add_vfio(ctx);

	if (!ret && (what & UAPI_FILTER_PATHS)) {
		ret = add_paths(ctx);
	} else if (!ret) {
		ret = add_open(ctx, SCMP_SYS(open), 1);
		if (!ret)
			ret = add_open(ctx, SCMP_SYS(openat), 2);
	}
	if (!ret) /* its flags are in memory */
		ret = seccomp_rule_add(ctx, SCMP_ACT_NOTIFY, SCMP_SYS(openat2), 0);
	if (!ret && (what & UAPI_FILTER_EVENTFDS))
		ret = add_all(ctx, eventfds, sizeof(eventfds) / sizeof(*eventfds));
	return ret;
}

/* The filter as BPF, through a memfd: libseccomp writes to an fd only. */
static int export_bpf(unsigned what, struct sock_fprog *prog)
{
	scmp_filter_ctx ctx = seccomp_init(SCMP_ACT_ALLOW);
	int ret, fd = -1;
	off_t len;

	if (!ctx)
		return -ENOMEM;
	/* Programs of other ABIs (32 bit) run, unseen. */
	ret = seccomp_attr_set(ctx, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_ALLOW);
	if (!ret)
		ret = seccomp_attr_set(ctx, SCMP_FLTATR_CTL_OPTIMIZE, 2);
	if (!ret)
		ret = add_rules(ctx, what);
	if (ret)
		goto out;
	fd = memfd_create("uvfio-filter", MFD_CLOEXEC);
	if (fd < 0) {
		ret = -errno;
		goto out;
	}
	ret = seccomp_export_bpf(ctx, fd);
	if (ret)
		goto out;
	len = lseek(fd, 0, SEEK_END);
	prog->len = (unsigned short)((size_t)len / sizeof(struct sock_filter));
	prog->filter = malloc((size_t)len);
	if (!prog->filter)
		ret = -ENOMEM;
	else if (pread(fd, prog->filter, (size_t)len, 0) != len)
		ret = -EIO;
out:
	if (fd >= 0)
		close(fd);
	seccomp_release(ctx);
	return ret;
}

int uapi_filter_install(unsigned what, struct uvfio_error *err)
{
	struct sock_fprog prog = {0};
	int ret = export_bpf(what, &prog);

	if (ret) {
		free(prog.filter);
		return uvfio_error_set(err, ret, "cannot make the seccomp filter: %s",
				       strerror(-ret));
	}
	ret = (int)syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER,
			   SECCOMP_FILTER_FLAG_NEW_LISTENER |
				   SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV |
				   SECCOMP_FILTER_FLAG_SPEC_ALLOW,
			   &prog);
	if (ret < 0)
		ret = -errno;
	free(prog.filter);
	if (ret >= 0)
		return ret;
	if (ret == -EBUSY)
		return uvfio_error_set(
			err, ret,
			"cannot install the seccomp filter: this process already runs "
			"under a filter with a listener (another uvfio run, or a container "
			"runtime that uses seccomp notification), and Linux allows one; "
			"start uvfio outside of it");
	if (ret == -EINVAL)
		return uvfio_error_set(
			err, ret,
			"cannot install the seccomp filter: this kernel lacks "
			"SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV; Linux 5.19 or later is "
			"needed");
	return uvfio_error_set(err, ret, "cannot install the seccomp filter: %s", strerror(-ret));
}
