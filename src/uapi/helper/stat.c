/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * fstat(2) of a device that was opened by its node.
 *
 * To the kernel it is a memory file, as all that stands for a device is.  But programs check that
 * what they have opened is the character device which sysfs tells (vfio-dev/vfioN/dev), so the
 * runner is asked about files that no path leads to, which is what memory files are.
 */
#undef _FILE_OFFSET_BITS /* fstat and fstat64 are both defined here */
#include <errno.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include "uapi/helper/helper.h"

DEFINE_NEXT(fstat);
DEFINE_NEXT(fstat64);

/* The device number of @fd; 0: it is no such file. */
static dev_t node_of(int fd, mode_t mode, nlink_t links)
{
	long rdev;

	if (!S_ISREG(mode) || links || !helper_active())
		return 0;
	rdev = sys2(SYS_ioctl, fd, UVFIO_TRAP_NODE);
	return sys_failed(rdev) ? 0 : (dev_t)rdev;
}

EXPORT int fstat(int fd, struct stat *st)
{
	int ret = NEXT(fstat)(fd, st);
	dev_t rdev = ret ? 0 : node_of(fd, st->st_mode, st->st_nlink);

	if (rdev) {
		st->st_mode = S_IFCHR | (st->st_mode & 07777);
		st->st_rdev = rdev;
	}
	return ret;
}

EXPORT int fstat64(int fd, struct stat64 *st)
{
	int ret = NEXT(fstat64)(fd, st);
	dev_t rdev = ret ? 0 : node_of(fd, st->st_mode, st->st_nlink);

	if (rdev) {
		st->st_mode = S_IFCHR | (st->st_mode & 07777);
		st->st_rdev = rdev;
	}
	return ret;
}
