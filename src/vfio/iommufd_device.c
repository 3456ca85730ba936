/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Devices of an iommufd (D.3): BIND, ATTACH and DETACH; see iommufd.h.
 *
 * A group is one iommufd's: its devices are attached to one HWPT at a time.  To attach one that is
 * attached moves all of them.
 */
#include <errno.h>
#include <stdlib.h>
#include "vfio/iommufd.h"

/* ---- BIND ---- */

/* The group becomes @fd's, if it is nobody else's. */
static int claim(struct vfio_iommufd *fd, struct vfio_group *group, enum attach_remark *remark)
{
	struct vfio_machine *machine = group->machine;
	int ret;

	pthread_mutex_lock(&machine->lock);
	ret = machine_may_attach_locked(machine, remark);
	if (!ret && (group->container || (group->owner && group->owner != fd) ||
		     group_other_driver_locked(group)))
		ret = -EPERM;
	if (!ret) {
		group->owner = fd;
		group->bound++;
	}
	pthread_mutex_unlock(&machine->lock);
	return ret;
}

static void unclaim(struct vfio_group *group)
{
	pthread_mutex_lock(&group->machine->lock);
	if (!--group->bound)
		group->owner = NULL;
	pthread_mutex_unlock(&group->machine->lock);
}

int iommufd_bind(struct vfio_iommufd *fd, struct vfio_device *dev)
{
	enum attach_remark remark = ATTACH_SILENT;
	struct iommufd_object *obj;
	int ret = claim(fd, dev->group, &remark);

	container_attach_remark(dev->machine, remark);
	if (ret)
		return ret;
	obj = iommufd_obj_new(fd, IOMMUFD_OBJ_DEVICE);
	if (!obj) {
		unclaim(dev->group);
		return -ENOMEM;
	}
	obj->dev = dev;
	obj->users = 1; /* until it is unbound */
	iommufd_get(fd);
	pthread_mutex_lock(&dev->machine->lock);
	dev->iommufd = fd;
	dev->idev = obj;
	pthread_mutex_unlock(&dev->machine->lock);
	iommufd_obj_ready(fd, obj);
	return 0;
}

int32_t iommufd_id_of(struct vfio_iommufd *fd, const struct vfio_device *dev)
{
	int32_t id = -1;

	pthread_mutex_lock(&dev->machine->lock);
	if (dev->iommufd == fd)
		id = (int32_t)dev->idev->id;
	else if (dev->group->owner == fd)
		id = 0;
	pthread_mutex_unlock(&dev->machine->lock);
	return id;
}

/* ---- which address space a device has ---- */

static struct dma_logging *dirty_of(struct iommufd_object *hwpt)
{
	return hwpt->tracks ? &hwpt->dirty : NULL;
}

/* That of @hwpt; NULL: none.  attach_lock held. */
static void set_hwpt(struct vfio_device *dev, struct iommufd_object *hwpt)
{
	struct ioas *ioas = hwpt ? hwpt->parent->ioas : NULL, *old;

	if (ioas)
		ioas_get(ioas);
	pthread_mutex_lock(&dev->machine->lock);
	old = dev->ioas;
	dev->ioas = ioas;
	pthread_mutex_unlock(&dev->machine->lock);
	device_set_space(dev, ioas ? ioas_space(ioas) : dev->machine->blocked,
			 hwpt ? dirty_of(hwpt) : NULL);
	ioas_put(old);
}

/* A device has left @hwpt, or @n have.  attach_lock held. */
static void leave_hwpt(struct vfio_iommufd *fd, struct iommufd_object *hwpt, unsigned n)
{
	if (hwpt->automatic) {
		iommufd_obj_remove(fd, hwpt, n);
		return;
	}
	while (n--)
		iommufd_obj_put(fd, hwpt);
}

static void detach_locked(struct vfio_device *dev, bool blocked)
{
	struct vfio_group *group = dev->group;
	struct iommufd_object *hwpt = group->hwpt;

	if (!dev->attached)
		return;
	if (blocked) {
		set_hwpt(dev, NULL);
	} else {
		struct ioas *old;

		atomic_store(&dev->hwpt_dirty, NULL);
		pthread_mutex_lock(&dev->machine->lock);
		old = dev->ioas;
		dev->ioas = NULL;
		pthread_mutex_unlock(&dev->machine->lock);
		ioas_put(old);
	}
	dev->attached = false;
	ioas_device_del(hwpt->parent->ioas);
	if (!--group->attached)
		group->hwpt = NULL;
	leave_hwpt(dev->iommufd, hwpt, 1);
}

void iommufd_detach(struct vfio_device *dev)
{
	pthread_mutex_lock(&dev->iommufd->attach_lock);
	detach_locked(dev, true);
	pthread_mutex_unlock(&dev->iommufd->attach_lock);
}

void iommufd_unbind(struct vfio_device *dev)
{
	struct vfio_iommufd *fd = dev->iommufd;
	struct iommufd_object *obj;

	pthread_mutex_lock(&fd->attach_lock);
	detach_locked(dev, false);
	pthread_mutex_unlock(&fd->attach_lock);
	unclaim(dev->group);
	obj = dev->idev;
	pthread_mutex_lock(&dev->machine->lock);
	dev->idev = NULL;
	dev->iommufd = NULL;
	pthread_mutex_unlock(&dev->machine->lock);
	iommufd_obj_retire(fd, obj);
	iommufd_put(fd);
}

/* ---- ATTACH ---- */

int iommufd_attach_pasid(struct vfio_device *dev, uint32_t pt_id)
{
	struct iommufd_object *pt = iommufd_obj_use(dev->iommufd, pt_id, IOMMUFD_ANY);

	if (!pt)
		return -ENOENT;
	/* No HWPT here is one for PASIDs. */
	iommufd_obj_put(dev->iommufd, pt);
	return -EINVAL;
}

/* The first time.  attach_lock held. */
static int attach_first(struct vfio_device *dev, struct iommufd_object *hwpt)
{
	struct vfio_group *group = dev->group;
	int ret;

	if (group->hwpt && group->hwpt != hwpt)
		return -EINVAL;
	ret = ioas_device_add(hwpt->parent->ioas);
	if (ret)
		return ret;
	group->hwpt = hwpt;
	group->attached++;
	dev->attached = true;
	pthread_mutex_lock(&dev->iommufd->lock);
	hwpt->users++;
	pthread_mutex_unlock(&dev->iommufd->lock);
	set_hwpt(dev, hwpt);
	return 0;
}

/* The attached devices of @group: as long as attach_lock is held they stay. */
static unsigned attached_devices(struct vfio_group *group, struct vfio_device ***out)
{
	struct vfio_machine *machine = group->machine;
	unsigned n = 0;

	*out = malloc(group->attached * sizeof(**out));
	if (!*out)
		return 0;
	pthread_mutex_lock(&machine->lock);
	for (unsigned i = 0; i < machine->nr_devices && n < group->attached; i++) {
		struct vfio_device *dev = machine->devices[i];

		if (dev->group == group && dev->attached)
			(*out)[n++] = dev;
	}
	pthread_mutex_unlock(&machine->lock);
	return n;
}

/* Move all of the group.  attach_lock held. */
static int replace(struct vfio_device *dev, struct iommufd_object *hwpt)
{
	struct ioas *ioas = hwpt->parent->ioas, *from;
	struct vfio_iommufd *fd = dev->iommufd;
	struct vfio_group *group = dev->group;
	struct iommufd_object *old = group->hwpt;
	struct vfio_device **devs;
	unsigned n, reserved = 0;
	bool moves;
	int ret = 0;

	if (old == hwpt)
		return 0;
	from = old->parent->ioas;
	moves = from != ioas || dirty_of(old) != dirty_of(hwpt);
	n = attached_devices(group, &devs);
	if (!devs)
		return -ENOMEM;
	for (; from != ioas && reserved < n && !ret; reserved += !ret)
		ret = ioas_device_add(ioas);
	if (ret) {
		while (reserved--)
			ioas_device_del(ioas);
		free(devs);
		return ret;
	}
	pthread_mutex_lock(&fd->lock);
	hwpt->users += n;
	pthread_mutex_unlock(&fd->lock);
	group->hwpt = hwpt;
	for (unsigned i = 0; i < n && moves; i++) {
		set_hwpt(devs[i], hwpt);
		if (from != ioas)
			ioas_device_del(from);
	}
	free(devs);
	leave_hwpt(fd, old, n);
	return 0;
}

static int attach_hwpt(struct vfio_device *dev, struct iommufd_object *hwpt)
{
	return dev->attached ? replace(dev, hwpt) : attach_first(dev, hwpt);
}

/* The HWPTs that ATTACH has made of @ioas, in the order of their ids: the first that takes the
 * device.  -EINVAL: none does.  attach_lock held, so that none of them goes. */
static int attach_automatic(struct vfio_device *dev, struct iommufd_object *ioas, uint32_t *pt_id)
{
	struct vfio_iommufd *fd = dev->iommufd;
	int ret = -EINVAL;

	for (uint32_t id = 1; id <= IOMMUFD_MAX_OBJECTS && ret == -EINVAL; id++) {
		struct iommufd_object *hwpt = iommufd_obj_use(fd, id, IOMMUFD_OBJ_HWPT);

		if (!hwpt)
			continue;
		if (hwpt->automatic && hwpt->parent == ioas)
			ret = attach_hwpt(dev, hwpt);
		if (!ret)
			*pt_id = id;
		iommufd_obj_put(fd, hwpt);
	}
	return ret;
}

/* What will be found to be wrong when the HWPT is there, before it is. */
static int check_attach(struct vfio_device *dev, struct ioas *ioas)
{
	int ret;

	if (!dev->attached && dev->group->hwpt)
		return -EINVAL;
	ret = ioas_device_add(ioas);
	if (!ret)
		ioas_device_del(ioas);
	return ret;
}

/* With a new HWPT of its own. */
static int attach_new(struct vfio_device *dev, struct iommufd_object *ioas, uint32_t *pt_id,
		      struct vfio_client *client)
{
	struct vfio_iommufd *fd = dev->iommufd;
	struct iommufd_object *hwpt = iommufd_obj_new(fd, IOMMUFD_OBJ_HWPT);
	int ret;

	if (!hwpt)
		return -ENOMEM;
	/* This asks the client. */
	ret = ioas_domain_add(ioas->ioas, &client->ops->memory, client, client->pid);
	if (ret) {
		iommufd_obj_remove(fd, hwpt, 0);
		return ret;
	}
	pthread_mutex_lock(&fd->attach_lock);
	pthread_mutex_lock(&fd->lock);
	hwpt->parent = ioas;
	ioas->users++;
	hwpt->automatic = true;
	hwpt->users++;
	pthread_mutex_unlock(&fd->lock);
	ret = attach_hwpt(dev, hwpt);
	if (!ret) {
		*pt_id = hwpt->id;
		iommufd_obj_ready(fd, hwpt);
		iommufd_obj_put(fd, hwpt);
	} else {
		iommufd_obj_remove(fd, hwpt, 1);
	}
	pthread_mutex_unlock(&fd->attach_lock);
	return ret;
}

static int attach_ioas(struct vfio_device *dev, struct iommufd_object *ioas, uint32_t *pt_id,
		       struct vfio_client *client)
{
	struct vfio_iommufd *fd = dev->iommufd;
	int ret;

	pthread_mutex_lock(&fd->attach_lock);
	ret = attach_automatic(dev, ioas, pt_id);
	if (ret != -EINVAL) {
		pthread_mutex_unlock(&fd->attach_lock);
		return ret;
	}
	ret = check_attach(dev, ioas->ioas);
	pthread_mutex_unlock(&fd->attach_lock);
	return ret ? ret : attach_new(dev, ioas, pt_id, client);
}

int iommufd_attach(struct vfio_device *dev, uint32_t *pt_id, struct vfio_client *client)
{
	struct vfio_iommufd *fd = dev->iommufd;
	struct iommufd_object *pt;
	int ret;

	if (atomic_load(&dev->in_reset))
		return -EBUSY; /* its domain is blocked meanwhile (A.5) */
	pt = iommufd_obj_use(fd, *pt_id, IOMMUFD_ANY);
	if (!pt)
		return -ENOENT;
	switch (pt->kind) {
	case IOMMUFD_OBJ_IOAS:
		ret = attach_ioas(dev, pt, pt_id, client);
		break;
	case IOMMUFD_OBJ_HWPT:
		pthread_mutex_lock(&fd->attach_lock);
		ret = attach_hwpt(dev, pt);
		pthread_mutex_unlock(&fd->attach_lock);
		break;
	default:
		ret = -EINVAL;
	}
	iommufd_obj_put(fd, pt);
	return ret;
}
