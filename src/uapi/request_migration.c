/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Descriptors of migration data (E.3): the program is given one by DEVICE_FEATURE, and asks it
 * PRECOPY_INFO.  The rest is migration.h.
 */
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>
#include "uapi/migration.h"
#include "uapi/request.h"
#include "uapi/task.h"
#include "vfio/vfio_uapi.h"

int uapi_give_migration(struct vfio_client *client, struct vfio_migration_file *file, int32_t *fd)
{
	struct uapi_request *req = (struct uapi_request *)client;
	int ours = uapi_migrations_add(req->server->migrations, (struct core_migration *)file,
				       req->on);
	int ret;

	if (ours < 0)
		return ours;
	ret = uapi_request_add_fd(req, ours, O_CLOEXEC);
	close(ours); /* when it could not be given, this was its close */
	if (ret < 0)
		return ret;
	*fd = ret;
	return 0;
}

bool uapi_do_migration_ioctl(struct uapi_request *req, unsigned cmd, uint64_t arg)
{
	struct uapi_server *server = req->server;
	struct uapi_migration *f;
	dev_t dev;
	ino_t ino;

	if (cmd != UVFIO_MIG_GET_PRECOPY_INFO || !server->migrations ||
	    uapi_task_identify_fd(req->tid, (int)req->args[0], &dev, &ino))
		return false;
	f = uapi_migrations_get(server->migrations, dev, ino);
	if (!f)
		return false;
	if (!uapi_task_fd_access(server->tasks, req->tid, (int)req->args[0]))
		uapi_answer(req, -EBADF);
	else if (uapi_request_valid(req))
		uapi_answer(req,
			    uapi_migration_ioctl(server->migrations, f, &req->client, cmd, arg));
	uapi_migration_put(server->migrations, f);
	return true;
}
