/* SPDX-License-Identifier: BSD-3-Clause */
/* A build without libfuse3. */
#include <errno.h>
#include "serve/mount.h"

int serve_mount(const char *path, struct serve_mount **out, int *fd, struct uvfio_error *err)
{
	return uvfio_error_set(err, -ENOSYS,
			       "--sysfs %s: this uvfio was built without libfuse3 (libfuse3-dev)",
			       path);
}

void serve_unmount(struct serve_mount *mount)
{
}
