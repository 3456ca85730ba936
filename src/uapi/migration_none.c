/* SPDX-License-Identifier: BSD-3-Clause */
/* A build without libfuse3: devices offer no migration through /dev/vfio (migration.h). */
#include <errno.h>
#include <unistd.h>
#include "uapi/migration.h"

struct uapi_migrations *uapi_migrations_new(struct uapi_core *core, int fuse, int mount,
					    struct uvfio_error *err)
{
	close(fuse);
	close(mount);
	uvfio_error_set(err, -ENOSYS, "this uvfio was built without libfuse3");
	return NULL;
}

void uapi_migrations_free(struct uapi_migrations *m)
{
}

/* What follows is not called: there is none. */
int uapi_migrations_add(struct uapi_migrations *m, struct core_migration *handle,
			const struct core_device *df)
{
	return -ENOSYS;
}

void uapi_migrations_end(struct uapi_migrations *m, const struct core_device *df)
{
}

void uapi_migrations_look(struct uapi_migrations *m)
{
}

struct uapi_migration *uapi_migrations_get(struct uapi_migrations *m, dev_t dev, ino_t ino)
{
	return NULL;
}

void uapi_migration_put(struct uapi_migrations *m, struct uapi_migration *f)
{
}

int uapi_migration_ioctl(struct uapi_migrations *m, struct uapi_migration *f,
			 struct vfio_client *client, unsigned cmd, uint64_t arg)
{
	return -ENODEV;
}
