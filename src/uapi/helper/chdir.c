/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * chdir(2) to a directory that is there only for who asks the runner (--sandbox paths).
 *
 * The runner can hand a program a descriptor of such a directory, but it cannot change the working
 * directory of another process.  So what the kernel does not find is opened, and entered by its
 * descriptor.  Where there is no such directory the open fails as the chdir did.
 */
#include <errno.h>
#include <fcntl.h>
#include <sys/syscall.h>
#include <unistd.h>
#include "uapi/helper/helper.h"

DEFINE_NEXT(chdir);

EXPORT int chdir(const char *path)
{
	int ret = NEXT(chdir)(path);
	long fd;

	if (!ret || errno != ENOENT)
		return ret;
	fd = sys4(SYS_openat, AT_FDCWD, (long)path, O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
	if (!sys_failed(fd)) {
		ret = sys_failed(sys1(SYS_fchdir, fd)) ? -1 : 0;
		sys1(SYS_close, fd);
	}
	if (!ret)
		return 0;
	errno = ENOENT;
	return -1;
}
