/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Files of a served /sys that this door does something for: `resourceN`, which the file system
 * itself cannot have mapped, and uioN, whose ioctls bring eventfds.
 *
 * The preloaded helper asks for a mapping of `resourceN` when the kernel has refused it (ENODEV),
 * and maps in its place the device's view, as that of VFIO's device file (helper/trap.h).
 */
#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>
#include <linux/vfio.h>
#include "sysfs/sysfs.h"
#include "uapi/request.h"
#include "uapi/served.h"
#include "uapi/task.h"

#define PAGE_BYTES 4096ull

/* What the program's fd is, and of which device (NULL: it has gone, or was added later). */
static enum sysfs_file look(struct uapi_request *req, const struct uapi_device **dev, unsigned *bar)
{
	struct uapi_server *server = req->server;
	dev_t on;
	ino_t ino;

	if (!server->served_sys || !server->sys_dev ||
	    uapi_task_identify_fd(req->tid, (int)req->args[0], &on, &ino) || on != server->sys_dev)
		return SYSFS_FILE_OTHER;
	return uapi_served_identify(server->served_sys, ino, dev, bar);
}

/* Does [@offset, +@len) lie in the pages of the BAR?  0 or -EINVAL. */
static int fits(const struct uapi_device *dev, unsigned bar, uint64_t offset, uint64_t len)
{
	uint64_t size = (dev->bars[bar].size + PAGE_BYTES - 1) & ~(PAGE_BYTES - 1);

	if (!len || len > UINT64_MAX - PAGE_BYTES || offset > size)
		return -EINVAL;
	return ((len + PAGE_BYTES - 1) & ~(PAGE_BYTES - 1)) > size - offset ? -EINVAL : 0;
}

static int open_bar(struct uapi_request *req, const struct uapi_device *dev, unsigned bar)
{
	unsigned access = uapi_task_fd_access(req->server->tasks, req->tid, (int)req->args[0]);
	uint64_t where = VFIO_REGION_OFFSET(bar) + req->args[2];
	int ret = fits(dev, bar, req->args[2], req->args[3]);

	/* As the kernel: to be mapped it must be readable. */
	if (!(access & R_OK) || ((req->args[4] & PROT_WRITE) && !(access & W_OK)))
		return access ? -EACCES : -EBADF;
	if (!ret && uapi_copy_to(req, req->args[5], &where, sizeof(where)))
		ret = -EFAULT;
	if (ret)
		return ret;
	return uapi_files_open_resource(req->server->files, dev, access & W_OK ? O_RDWR : O_RDONLY,
					uapi_task_tgid(req->tid), req->id);
}

void uapi_do_resource(struct uapi_request *req)
{
	const struct uapi_device *dev = NULL;
	unsigned bar = 0;
	int fd;

	switch (look(req, &dev, &bar)) {
	case SYSFS_FILE_BAR:
		break;
	case SYSFS_FILE_UIO: /* of which there are no maps */
		uapi_answer(req, -EINVAL);
		return;
	default:
		uapi_answer(req, -ENOTTY);
		return;
	}
	if (!dev) {
		uapi_answer(req, -ENODEV);
		return;
	}
	if (!uapi_request_valid(req))
		return;
	req->kind = UAPI_RESOURCE;
	req->device = dev->name;
	fd = open_bar(req, dev, bar);
	if (fd < 0) {
		uapi_answer(req, fd);
		return;
	}
	req->answer = UAPI_FD;
	req->fd = fd;
	req->cloexec = true;
}

void uapi_do_uio_ioctl(struct uapi_request *req, unsigned cmd, uint64_t arg)
{
	struct uapi_core *core = req->server->core;
	const struct uapi_device *dev = NULL;
	unsigned bar;

	if ((cmd != VFIO_DEVICE_SET_IRQS && cmd != VFIO_DEVICE_GET_IRQ_INFO) ||
	    req->answer != UAPI_CONTINUE || look(req, &dev, &bar) != SYSFS_FILE_UIO)
		return;
	if (!dev) {
		uapi_answer(req, -ENODEV);
		return;
	}
	if (!uapi_task_fd_access(req->server->tasks, req->tid, (int)req->args[0])) {
		uapi_answer(req, -EBADF);
		return;
	}
	if (uapi_request_valid(req))
		uapi_answer(req, core->ops->uio_ioctl(core, dev, &req->client, cmd, arg));
}
