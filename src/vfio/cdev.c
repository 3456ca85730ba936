/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A device's own node, /dev/vfio/devices/vfioN (A.3, C, D.3).
 *
 * Opening it does nothing to the device: all but BIND is EINVAL until the file is bound to an
 * iommufd, which is the device's open.  So clients have a file of it before there is a view; BIND
 * puts the view into that file.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include "vfio/iommufd.h"

#define BIND_MIN   16u
#define ATTACH_MIN 12u
#define DETACH_MIN 8u

unsigned vfio_device_cdev(const struct vfio_device *dev)
{
	return dev->group->noiommu ? VFIO_NO_CDEV : (unsigned)(dev->serial - 1);
}

/* The device with this number, counted among its users: 0, -ENODEV, -ENXIO. */
static int find(struct vfio_machine *machine, unsigned number, struct vfio_device **out)
{
	int ret = -ENODEV;

	pthread_mutex_lock(&machine->lock);
	for (unsigned i = 0; i < machine->nr_devices && ret == -ENODEV; i++) {
		struct vfio_device *dev = machine->devices[i];

		if (dev->serial - 1 != number || atomic_load(&dev->state) != DEVICE_PRESENT)
			continue;
		ret = dev->group->noiommu ? -ENXIO : 0;
		if (!ret)
			dev->users++;
		*out = dev;
	}
	pthread_mutex_unlock(&machine->lock);
	return ret;
}

int vfio_cdev_open(struct vfio_machine *machine, unsigned number, struct vfio_device_file **out)
{
	struct vfio_device_file *df;
	struct vfio_device *dev;
	int ret = find(machine, number, &dev);

	if (ret)
		return ret;
	df = calloc(1, sizeof(*df));
	if (df)
		df->file = memfd_create("uvfio-bars", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	ret = !df ? -ENOMEM : df->file < 0 ? -errno : 0;
	if (!ret)
		ret = device_memory_claim(machine, &df->claim, df->file);
	if (ret) {
		if (df && df->file >= 0)
			close(df->file);
		free(df);
		device_put_user(dev);
		return ret;
	}
	df->dev = dev;
	df->cdev = true;
	atomic_init(&df->bind, BIND_UNBOUND);
	*out = df;
	return 0;
}

int vfio_device_file_fd(struct vfio_device_file *df)
{
	return df->cdev ? df->file : vfio_device_view_fd(df->dev);
}

/* ---- the group's files and these exclude each other ---- */

static int block_group(struct vfio_group *group)
{
	int ret = 0;

	pthread_mutex_lock(&group->machine->lock);
	if (group->file || group->device_files)
		ret = -EBUSY;
	else
		group->cdev_files++;
	pthread_mutex_unlock(&group->machine->lock);
	return ret;
}

static void unblock_group(struct vfio_group *group)
{
	pthread_mutex_lock(&group->machine->lock);
	group->cdev_files--;
	pthread_mutex_unlock(&group->machine->lock);
}

static void close_bound(struct vfio_device_file *df)
{
	vfio_device_file_set_mmio(df, VFIO_MMIO_EXACT);
	device_close(df->dev);
	unblock_group(df->dev->group);
}

void cdev_release(struct vfio_device_file *df)
{
	struct vfio_device *dev = df->dev;

	if (atomic_load(&df->bind) == BIND_BOUND) {
		observe_file_closed(df);
		close_bound(df);
		device_emit(dev, VFIO_EVENT_CLOSE, dev->group->number, 0, 0, 0);
	}
	device_memory_claim(dev->machine, &df->claim, -1);
	close(df->file);
	device_put_user(dev);
	free(df);
}

/* ---- BIND ---- */

/* What is behind the structure that we know must be zeros. */
static int copy_bind(struct vfio_client *client, uint64_t arg, struct vfio_cdev_bind *bind)
{
	uint8_t piece[256];
	uint32_t argsz;

	if (client->ops->copy_from(client, &argsz, arg, sizeof(argsz)))
		return -EFAULT;
	if (argsz < BIND_MIN)
		return -EINVAL;
	for (uint64_t at = sizeof(*bind); at < argsz; at += sizeof(piece)) {
		size_t len = argsz - at < sizeof(piece) ? (size_t)(argsz - at) : sizeof(piece);

		if (client->ops->copy_from(client, piece, arg + at, len))
			return -EFAULT;
		for (size_t i = 0; i < len; i++)
			if (piece[i])
				return -E2BIG;
	}
	return client->ops->copy_from(client, bind, arg,
				      argsz < sizeof(*bind) ? argsz : sizeof(*bind))
		       ? -EFAULT
		       : 0;
}

/* The matrix of C. */
static int check_token(struct vfio_device *dev, struct vfio_client *client,
		       const struct vfio_cdev_bind *bind)
{
	const bool given = bind->flags & VFIO_CDEV_BIND_TOKEN;
	enum vf_token_refusal why = VF_TOKEN_OK;
	struct vfio_token token;
	int ret = 0;

	if (given && client->ops->copy_from(client, &token, bind->token, sizeof(token)))
		ret = -EFAULT;
	if (!ret)
		ret = vf_token_check(dev, given ? &token : NULL, &why);
	vfio_token_wipe(&token);
	vf_token_remark(dev, why);
	return ret;
}

/* The device is open, its group blocked; the client is told, and gets the view. */
static int finish_bind(struct vfio_device_file *df, struct vfio_client *client, uint64_t arg)
{
	struct vfio_device *dev = df->dev;
	uint32_t id = dev->idev->id;
	int ret;

	if (client->ops->copy_to(client, arg + offsetof(struct vfio_cdev_bind, out_devid), &id,
				 sizeof(id)))
		return -EFAULT;
	vfio_device_file_set_mmio(df, df->wanted_mmio);
	ret = view_adopt(dev, df->file);
	if (ret)
		return ret;
	observe_file(df, client);
	device_emit(dev, VFIO_EVENT_OPEN, dev->group->number, 0, 0, 0);
	return 0;
}

/* @df is BINDING. */
static int open_bound(struct vfio_device_file *df, struct vfio_client *client,
		      const struct vfio_cdev_bind *bind, uint64_t arg)
{
	struct vfio_iommufd *iommufd;
	int ret = check_token(df->dev, client, bind);

	if (!ret)
		ret = client->ops->get_iommufd
			      ? client->ops->get_iommufd(client, bind->iommufd, &iommufd)
			      : -EBADF;
	if (!ret && iommufd->machine != df->dev->machine)
		ret = -EBADFD;
	if (ret)
		return ret;
	ret = device_open(df->dev, &(struct open_with){.iommufd = iommufd, .alone = true}, NULL);
	if (ret < 0)
		return ret;
	ret = finish_bind(df, client, arg);
	if (ret) {
		vfio_device_file_set_mmio(df, VFIO_MMIO_EXACT);
		device_close(df->dev);
	}
	return ret;
}

static int bind_iommufd(struct vfio_device_file *df, struct vfio_client *client, uint64_t arg)
{
	enum bind_state unbound = BIND_UNBOUND;
	struct vfio_cdev_bind bind = {0};
	int ret = copy_bind(client, arg, &bind);

	if (ret)
		return ret;
	if (bind.flags & ~VFIO_CDEV_BIND_TOKEN || bind.iommufd < 0 || !df->cdev)
		return -EINVAL;
	ret = block_group(df->dev->group);
	if (ret)
		return ret;
	if (!atomic_compare_exchange_strong(&df->bind, &unbound, BIND_BINDING))
		ret = -EINVAL;
	if (!ret) {
		ret = open_bound(df, client, &bind, arg);
		atomic_store(&df->bind, ret ? BIND_UNBOUND : BIND_BOUND);
	}
	if (ret)
		unblock_group(df->dev->group);
	return ret;
}

/* ---- ATTACH and DETACH ---- */

static int attach(struct vfio_device_file *df, struct vfio_client *client, uint64_t arg)
{
	struct vfio_cdev_attach req;
	int ret;

	if (client->ops->copy_from(client, &req, arg, ATTACH_MIN))
		return -EFAULT;
	if (req.argsz < ATTACH_MIN || req.flags & ~VFIO_CDEV_PASID)
		return -EINVAL;
	if (req.flags) {
		if (req.argsz < sizeof(req))
			return -EINVAL;
		if (client->ops->copy_from(client, &req.pasid,
					   arg + offsetof(struct vfio_cdev_attach, pasid),
					   sizeof(req.pasid)))
			return -EFAULT;
		return iommufd_attach_pasid(df->dev, req.pt_id);
	}
	ret = iommufd_attach(df->dev, &req.pt_id, client);
	if (ret)
		return ret;
	if (!client->ops->copy_to(client, arg + offsetof(struct vfio_cdev_attach, pt_id),
				  &req.pt_id, sizeof(req.pt_id)))
		return 0;
	iommufd_detach(df->dev);
	return -EFAULT;
}

static int detach(struct vfio_device_file *df, struct vfio_client *client, uint64_t arg)
{
	struct vfio_cdev_detach req;

	if (client->ops->copy_from(client, &req, arg, DETACH_MIN))
		return -EFAULT;
	if (req.argsz < DETACH_MIN || req.flags & ~VFIO_CDEV_PASID)
		return -EINVAL;
	if (!req.flags) {
		iommufd_detach(df->dev);
		return 0;
	}
	if (req.argsz < sizeof(req))
		return -EINVAL;
	/* Nothing can be attached to a PASID, and to detach is never an error. */
	return client->ops->copy_from(client, &req.pasid,
				      arg + offsetof(struct vfio_cdev_detach, pasid),
				      sizeof(req.pasid))
		       ? -EFAULT
		       : 0;
}

int cdev_ioctl(struct vfio_device_file *df, struct vfio_client *client, unsigned cmd, uint64_t arg)
{
	if (cmd == VFIO_CDEV_BIND)
		return bind_iommufd(df, client, arg);
	if (!df->cdev)
		return -ENOTTY;
	return cmd == VFIO_CDEV_ATTACH ? attach(df, client, arg) : detach(df, client, arg);
}
