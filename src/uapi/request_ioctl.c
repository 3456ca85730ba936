/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * ioctl: by the kind of the file (A.1), then the core's business.  What hands out or takes an fd is
 * here: GROUP_SET_CONTAINER and GROUP_GET_DEVICE_FD (D.1).
 */
#include <errno.h>
#include <string.h>
#include <unistd.h>
#include <linux/vfio.h>
#include "uapi/helper/trap.h"
#include "uapi/migration.h"
#include "uapi/request.h"
#include "uapi/task.h"
#include "vfio/iommufd_uapi.h"

/* Commands that act without reading the program's memory, which is when validity is checked. */
static bool acts_at_once(unsigned cmd)
{
	return cmd == VFIO_SET_IOMMU || cmd == VFIO_GROUP_UNSET_CONTAINER ||
	       cmd == VFIO_DEVICE_RESET;
}

/* Commands that change nothing. */
static bool only_asks(unsigned cmd)
{
	switch (cmd) {
	case VFIO_GET_API_VERSION:
	case VFIO_CHECK_EXTENSION:
	case VFIO_GROUP_GET_STATUS:
	case VFIO_DEVICE_GET_INFO:
	case VFIO_DEVICE_GET_REGION_INFO:
	case VFIO_DEVICE_GET_IRQ_INFO:
		return true;
	default: /* DEVICE_GET_PCI_HOT_RESET_INFO and IOMMU_GET_INFO have others' numbers, too */
		return false;
	}
}

static int set_container(struct uapi_request *req, struct uapi_file *group, uint64_t arg)
{
	struct uapi_core *core = req->server->core;
	struct uapi_files *files = req->server->files;
	struct uapi_file *container;
	int32_t fd;
	int ret;

	if (uapi_copy_from(req, &fd, arg, sizeof(fd)))
		return -EFAULT;
	/* A group that still seems to be in a container may not be. */
	uapi_files_settle(files, group->group, req->id);
	container = uapi_request_file(req, fd, &ret);
	if (!container && ret)
		return -EBADF;
	if (!uapi_request_valid(req))
		ret = -EBADF;
	else if (container && container->kind == UAPI_IOMMUFD)
		ret = core->ops->group_set_iommufd(core, group->group_file, container->iommufd);
	else
		ret = core->ops->group_set_container(core, group->group_file,
						     container && container->kind == UAPI_CONTAINER
							     ? container->container
							     : NULL);
	uapi_files_put(files, container, req->id);
	return ret;
}

static void get_device(struct uapi_request *req, struct uapi_file *group, uint64_t arg)
{
	char name[VFIO_NAME_BYTES] = "";
	ssize_t len;
	int ret;

	/* Read the name before anything is locked: the program may make that wait for ever. */
	len = uapi_task_read_string(req->tid, name, arg, sizeof(name));
	if (!uapi_request_valid(req)) {
		explicit_bzero(name, sizeof(name));
		return;
	}
	if (len < 0) {
		explicit_bzero(name, sizeof(name));
		uapi_answer(req, len == -ENAMETOOLONG ? -EINVAL : -EFAULT);
		return;
	}
	memset(name + len, 0, sizeof(name) - (size_t)len);
	req->ahead = name;
	req->ahead_addr = arg;
	req->ahead_len = sizeof(name);
	ret = uapi_files_open_device(req->server->files, group, &req->client, arg, req->id,
				     &req->changed);
	req->ahead = NULL;
	explicit_bzero(name, sizeof(name)); /* there may be a token in it (C) */
	if (ret < 0) {
		uapi_answer(req, ret);
		return;
	}
	req->answer = UAPI_FD;
	req->fd = ret;
	req->cloexec = true;
}

static void group_ioctl(struct uapi_request *req, struct uapi_file *file, unsigned cmd,
			uint64_t arg)
{
	struct uapi_core *core = req->server->core;

	switch (cmd) {
	case VFIO_GROUP_GET_STATUS:
		uapi_answer(req,
			    core->ops->group_get_status(core, file->group_file, &req->client, arg));
		break;
	case VFIO_GROUP_SET_CONTAINER:
		uapi_answer(req, set_container(req, file, arg));
		break;
	case VFIO_GROUP_UNSET_CONTAINER:
		/* EBUSY only for what is open now. */
		uapi_files_settle(req->server->files, file->group, req->id);
		uapi_answer(req, core->ops->group_unset_container(core, file->group_file));
		break;
	case VFIO_GROUP_GET_DEVICE_FD:
		get_device(req, file, arg);
		break;
	default:
		uapi_answer(req, -ENOTTY);
	}
}

static void device_ioctl(struct uapi_request *req, struct uapi_file *file, unsigned cmd,
			 uint64_t arg)
{
	struct uapi_core *core = req->server->core;
	int ret;

	/* What has no room for another export counts those that are closed. */
	if (cmd == VFIO_DEVICE_FEATURE)
		uapi_files_settle_exports(req->server->files);
	req->on = file->device_file;
	ret = core->ops->device_ioctl(core, file->device_file, &req->client, cmd, arg);
	if (req->answer != UAPI_FD)
		uapi_answer(req, ret);
	if (cmd == VFIO_DEVICE_FEATURE || cmd == VFIO_DEVICE_RESET)
		uapi_migrations_look(req->server->migrations);
}

void uapi_do_ioctl(struct uapi_request *req)
{
	struct uapi_core *core = req->server->core;
	unsigned cmd = (unsigned)req->args[1];
	uint64_t arg = req->args[2];
	struct uapi_file *file;

	if (cmd >= UVFIO_TRAP_MMAP && cmd <= (UVFIO_TRAP_STORE | 8) && uapi_do_trap(req, cmd))
		return;
	if (uapi_do_migration_ioctl(req, cmd, arg))
		return;
	file = uapi_request_subject(req);
	if (!file) {
		uapi_do_uio_ioctl(req, cmd, arg);
		return;
	}
	if (acts_at_once(cmd) && !uapi_request_valid(req))
		goto out;
	req->asks = only_asks(cmd);
	switch (file->kind) {
	case UAPI_CONTAINER:
		uapi_answer(req, core->ops->container_ioctl(core, file->container, &req->client,
							    cmd, arg));
		break;
	case UAPI_GROUP:
		group_ioctl(req, file, cmd, arg);
		break;
	case UAPI_RESOURCE:
	case UAPI_EXPORT:
		uapi_answer(req, -ENOTTY);
		break;
	case UAPI_IOMMUFD:
		/* EBUSY only for what is open now, and BARs only of that. */
		if (cmd == IOMMUFD_DESTROY || cmd == IOMMUFD_OPTION ||
		    (cmd == IOMMUFD_MAP_FILE && uapi_files_have_exports(req->server->files)))
			uapi_files_settle_own(req->server->files, uapi_task_tgid(req->tid));
		uapi_answer(req,
			    core->ops->iommufd_ioctl(core, file->iommufd, &req->client, cmd, arg));
		break;
	default:
		if (cmd == VFIO_CDEV_BIND)
			uapi_files_settle(req->server->files, file->group, req->id);
		device_ioctl(req, file, cmd, arg);
		if (cmd == VFIO_DEVICE_SET_IRQS || cmd == VFIO_DEVICE_RESET ||
		    cmd == VFIO_DEVICE_PCI_HOT_RESET || cmd == VFIO_DEVICE_FEATURE ||
		    cmd == VFIO_CDEV_BIND)
			req->changed = file->device;
	}
out:
	uapi_files_put(req->server->files, req->held, req->id);
	req->held = NULL;
	uapi_files_put(req->server->files, file, req->id);
}
