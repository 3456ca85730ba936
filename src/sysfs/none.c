/* SPDX-License-Identifier: BSD-3-Clause */
/* A build without libfuse3: snapshots alone (snapshot.h). */
#include <errno.h>
#include <unistd.h>
#include "sysfs/jobs.h"

bool sysfs_built(void)
{
	return false;
}

struct sysfs *sysfs_new(const struct sysfs_config *config, struct uvfio_error *err)
{
	uvfio_error_set(err, -ENOSYS,
			"this uvfio was built without libfuse3 (libfuse3-dev), which serves /sys");
	return NULL;
}

int sysfs_serve(struct sysfs *sysfs, int fd, struct uvfio_error *err)
{
	close(fd);
	return uvfio_error_set(err, -ENOSYS, "this uvfio was built without libfuse3");
}

int sysfs_hold(struct sysfs *sysfs, struct sysfs_handed *out, struct uvfio_error *err)
{
	return uvfio_error_set(err, -ENOSYS, "this uvfio was built without libfuse3");
}

int sysfs_continue(struct sysfs *sysfs, const struct sysfs_handed *from, struct uvfio_error *err)
{
	return sysfs_serve(sysfs, from->fd, err);
}

void sysfs_go_on(struct sysfs *sysfs)
{
}

/* There are no jobs without requests. */
void sysfs_fuse_answer(struct job *job, ssize_t result)
{
}

void sysfs_free(struct sysfs *sysfs)
{
}
