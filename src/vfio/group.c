/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Group files (D.1): one open each, the container that the group is in, and the devices that are
 * given out by name (C).
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "vfio/host.h"
#include "vfio/iommufd.h"

/* Is any function of the group bound to vfio-pci, or about to be given back?  Without one there is
 * no group file.  machine->lock held. */
static bool group_has_driver_locked(const struct vfio_group *group)
{
	const struct vfio_machine *machine = group->machine;

	for (unsigned i = 0; i < machine->nr_devices; i++)
		if (machine->devices[i]->group == group && vfio_device_bound(machine->devices[i]))
			return true;
	return false;
}

int vfio_group_open(struct vfio_machine *machine, unsigned number, struct vfio_group_file **out)
{
	struct vfio_group_file *gf = calloc(1, sizeof(*gf));
	struct vfio_group *group;
	unsigned lost;
	int ret = 0;

	if (!gf)
		return -ENOMEM;
	pthread_mutex_lock(&machine->lock);
	group = machine_group_locked(machine, number, false);
	if (!group || !group_has_driver_locked(group)) {
		ret = -ENODEV;
	} else if (group->noiommu && !machine_may_rawio(machine)) {
		ret = -EPERM;
	} else if (group->file || group->device_files || group->cdev_files) {
		/* A device file keeps the group's file alive, as in the kernel, whichever of the
		 * two the client closed first. */
		ret = -EBUSY;
	} else {
		gf->group = group;
		group->file = gf;
		group->refs++;
	}
	pthread_mutex_unlock(&machine->lock);
	if (ret)
		free(gf);
	else
		*out = gf;
	if (ret == -EPERM && uvfio_ratelimit_ok(&machine->refused_limit, 1, 10000, &lost))
		uvfio_log(
			machine->log, UVFIO_LOG_WARN,
			"noiommu-%u was not opened (EPERM): no-IOMMU mode asks for CAP_SYS_RAWIO; "
			"to treat clients as having it: --policy caller_caps=ipc_lock+sys_rawio",
			number);
	return ret;
}

/* What a group has left: to be put without the lock. */
struct left {
	struct backend *backend;
	struct vfio_iommufd *iommufd;
};

static void left_put(const struct left *left)
{
	backend_put(left->backend);
	iommufd_put(left->iommufd);
}

/* machine->lock held. */
static struct left leave_locked(struct vfio_group *group)
{
	struct left left = {.iommufd = group->iommufd};

	if (group->container)
		left.backend = container_leave_locked(group->container);
	group->container = NULL;
	group->iommufd = NULL;
	return left;
}

/* machine->lock held: nobody refers to the group any more. */
static struct left group_idle_locked(struct vfio_group *group)
{
	return group->file || group->device_files ? (struct left){NULL, NULL} : leave_locked(group);
}

void group_lost_driver_locked(struct vfio_group *group)
{
	struct vfio_machine *machine = group->machine;
	struct left left;

	if (!group->file || group_has_driver_locked(group))
		return;
	group->file->gone = true;
	group->file->was_iommufds = group->iommufd;
	group->file = NULL;
	left = leave_locked(group);
	pthread_mutex_unlock(&machine->lock);
	left_put(&left);
	pthread_mutex_lock(&machine->lock);
}

bool group_other_driver_locked(const struct vfio_group *group)
{
	const struct vfio_machine *machine = group->machine;

	for (unsigned i = 0; i < machine->nr_devices; i++) {
		enum vfio_driver driver = vfio_device_driver(machine->devices[i]);

		if (machine->devices[i]->group == group && driver != VFIO_DRIVER_NONE &&
		    driver != VFIO_DRIVER_VFIO)
			return true;
	}
	return false;
}

bool group_claimed_locked(const struct vfio_group *group)
{
	return !group->noiommu && (group->container || group->owner);
}

void vfio_group_release(struct vfio_group_file *gf)
{
	struct vfio_group *group = gf->group;
	struct vfio_machine *machine = group->machine;
	struct left left = {NULL, NULL};

	pthread_mutex_lock(&machine->lock);
	if (!gf->gone) {
		group->file = NULL;
		left = group_idle_locked(group);
	}
	group_put_locked(group);
	pthread_mutex_unlock(&machine->lock);
	left_put(&left);
	free(gf);
}

int vfio_group_get_status(struct vfio_group_file *gf, struct vfio_client *client, uint64_t arg)
{
	struct vfio_group *group = gf->group;
	struct vfio_group_status status;
	bool gone;

	if (client->ops->copy_from(client, &status, arg, sizeof(status)))
		return -EFAULT;
	if (status.argsz < sizeof(status))
		return -EINVAL;
	pthread_mutex_lock(&group->machine->lock);
	gone = gf->gone;
	if (group->container || group->iommufd)
		status.flags = VFIO_GROUP_FLAGS_VIABLE | VFIO_GROUP_FLAGS_CONTAINER_SET;
	else
		status.flags = group->owner || group_other_driver_locked(group)
				       ? 0
				       : VFIO_GROUP_FLAGS_VIABLE;
	pthread_mutex_unlock(&group->machine->lock);
	if (gone)
		return -ENODEV;
	return client->ops->copy_to(client, arg, &status, sizeof(status)) ? -EFAULT : 0;
}

/* machine->lock held.  Real groups and no-IOMMU groups do not share a container (A.9); who joins
 * one that has an IOMMU is attached (F), but not while a mapping has no address. */
static int may_join_locked(const struct vfio_group *group, struct vfio_container *container,
			   enum attach_remark *remark)
{
	if (group->noiommu && !machine_may_rawio(group->machine))
		return -EPERM;
	if (container->nr_groups && container->noiommu != group->noiommu)
		return -EPERM;
	/* An iommufd's, while its devices are bound; or not viable. */
	if (group->owner || group_other_driver_locked(group))
		return -EPERM;
	if (!container->backend)
		return 0;
	/* The kernel may have to pin what is mapped, and must know where it is (D.1). */
	if (type1_vaddr_invalid(container->backend->type1))
		return -EBUSY;
	return container_may_attach_locked(container, remark);
}

int vfio_group_set_container(struct vfio_group_file *gf, struct vfio_container *container)
{
	struct vfio_group *group = gf->group;
	enum attach_remark remark = ATTACH_SILENT;
	int ret = 0;

	pthread_mutex_lock(&group->machine->lock);
	if (gf->gone) {
		ret = gf->was_iommufds ? -EINVAL : -ENODEV;
	} else if (group->container || group->iommufd) {
		ret = -EINVAL;
	} else if (!container || container->machine != group->machine) {
		ret = -EBADFD;
	} else {
		ret = may_join_locked(group, container, &remark);
	}
	if (!ret) {
		group->container = container;
		container->noiommu = group->noiommu;
		container->nr_groups++;
		container_get_locked(container);
	}
	pthread_mutex_unlock(&group->machine->lock);
	container_attach_remark(group->machine, remark);
	return ret;
}

int vfio_group_set_iommufd(struct vfio_group_file *gf, struct vfio_iommufd *iommufd)
{
	struct vfio_group *group = gf->group;
	struct vfio_machine *machine = group->machine;
	int ret = 0;

	pthread_mutex_lock(&machine->lock);
	if (gf->gone)
		ret = gf->was_iommufds ? -EINVAL : -ENODEV;
	else if (group->container || group->iommufd)
		ret = -EINVAL;
	else if (iommufd->machine != machine)
		ret = -EBADFD;
	pthread_mutex_unlock(&machine->lock);
	if (!ret)
		ret = iommufd_compat_enter(iommufd, group->noiommu);
	if (ret)
		return ret;
	pthread_mutex_lock(&machine->lock);
	if (gf->gone) {
		ret = -ENODEV;
	} else if (group->container || group->iommufd) {
		ret = -EINVAL;
	} else {
		group->iommufd = iommufd;
		iommufd_get(iommufd);
	}
	pthread_mutex_unlock(&machine->lock);
	return ret;
}

int vfio_group_unset_container(struct vfio_group_file *gf)
{
	struct vfio_group *group = gf->group;
	struct left left = {NULL, NULL};
	int ret = 0;

	pthread_mutex_lock(&group->machine->lock);
	if (gf->gone && gf->was_iommufds)
		gf->was_iommufds = false;
	else if (gf->gone || (!group->container && !group->iommufd))
		ret = -EINVAL;
	else if (group->device_files && !group->iommufd)
		ret = -EBUSY; /* an iommufd stays the devices', whatever the group does (D.3) */
	else
		left = leave_locked(group);
	pthread_mutex_unlock(&group->machine->lock);
	left_put(&left);
	return ret;
}

/* ---- names and tokens (C) ---- */

/* A string of at most @size - 1 bytes.  Pieces do not cross pages, so nothing behind the
 * terminating zero is touched that the string itself does not lie on. */
static int copy_string(struct vfio_client *client, uint64_t uaddr, char *out, size_t size)
{
	size_t done = 0;

	while (done < size) {
		size_t piece = PAGE_BYTES - ((uaddr + done) & (PAGE_BYTES - 1));

		if (piece > size - done)
			piece = size - done;
		if (client->ops->copy_from(client, out + done, uaddr + done, piece))
			return -EFAULT;
		if (memchr(out + done, '\0', piece))
			return 0;
		done += piece;
	}
	return -EINVAL;
}

/* May a client that gives @string have @dev?  1: yes; 0: it is not meant; -EINVAL, -EACCES. */
static int match_device(struct vfio_device *dev, const char *string, enum vf_token_refusal *why)
{
	size_t len = strlen(dev->name);
	struct vfio_token token;
	int ret;

	if (strncmp(string, dev->name, len) != 0 || (string[len] && string[len] != ' '))
		return 0;
	ret = vfio_token_options(string + len, &token);
	if (ret >= 0)
		ret = vf_token_check(dev, ret ? &token : NULL, why);
	vfio_token_wipe(&token);
	return ret ? ret : 1;
}

/* 0 and *@out, counted among its users; or -errno. */
static int find_device(const struct vfio_group_file *gf, const char *string,
		       struct vfio_device **out)
{
	const struct vfio_group *group = gf->group;
	struct vfio_machine *machine = group->machine;
	enum vf_token_refusal why = VF_TOKEN_OK;
	struct vfio_device *refused = NULL;
	int ret = 0;

	pthread_mutex_lock(&machine->lock);
	for (unsigned i = 0; !gf->gone && i < machine->nr_devices && !ret; i++) {
		struct vfio_device *dev = machine->devices[i];

		if (dev->group != group || atomic_load(&dev->state) != DEVICE_PRESENT)
			continue;
		ret = match_device(dev, string, &why);
		if (ret == 1) {
			dev->users++;
			*out = dev;
		} else if (why != VF_TOKEN_OK) {
			dev->watchers++;
			refused = dev;
		}
	}
	pthread_mutex_unlock(&machine->lock);
	if (refused) {
		vf_token_remark(refused, why);
		vfio_device_put(refused);
	}
	if (!ret)
		return -ENODEV;
	return ret < 0 ? ret : 0;
}

void device_put_user(struct vfio_device *dev)
{
	struct vfio_machine *machine = dev->machine;

	pthread_mutex_lock(&machine->lock);
	if (!--dev->users && atomic_load(&dev->state) != DEVICE_PRESENT)
		pthread_cond_signal(&machine->removal_cond);
	pthread_mutex_unlock(&machine->lock);
}

/* What a device of the group is opened with: one of the two, a reference each. */
static int claim_locked(struct vfio_group *group, struct left *with)
{
	struct backend *backend = group->container ? group->container->backend : NULL;

	if (!backend && !group->iommufd)
		return -EINVAL;
	if (group->noiommu && !machine_may_rawio(group->machine))
		return -EPERM;
	if (backend)
		atomic_fetch_add(&backend->refs, 1);
	if (group->iommufd)
		iommufd_get(group->iommufd);
	*with = (struct left){backend, group->iommufd};
	group->device_files++;
	return 0;
}

/* Keeps the group in its container from here on.  -EINVAL: there is no container, or no SET_IOMMU;
 * -EPERM (A.9). */
static int group_claim(struct vfio_group *group, struct left *with)
{
	int ret;

	pthread_mutex_lock(&group->machine->lock);
	ret = claim_locked(group, with);
	pthread_mutex_unlock(&group->machine->lock);
	return ret;
}

static void group_unclaim(struct vfio_group *group)
{
	struct left left;

	pthread_mutex_lock(&group->machine->lock);
	group->device_files--;
	left = group_idle_locked(group);
	pthread_mutex_unlock(&group->machine->lock);
	left_put(&left);
}

/* The first open by an iommufd attaches the device to the IOAS of the VFIO interface (D.3). */
static int attach_compat(struct vfio_device *dev, struct vfio_client *client)
{
	struct iommufd_object *ioas = iommufd_compat_ioas(dev->iommufd);
	uint32_t id;

	if (!ioas)
		return -ENODEV;
	id = ioas->id;
	iommufd_obj_put(dev->iommufd, ioas);
	return iommufd_attach(dev, &id, client);
}

static int open_with(struct vfio_device *dev, const struct left *with, struct vfio_client *client,
		     bool *continued)
{
	struct vfio_iommufd *iommufd = dev->group->noiommu ? NULL : with->iommufd;
	struct iommufd_object *ioas;
	int ret;

	if (with->iommufd && !iommufd) {
		/* A container that translates cannot be one that does not. */
		ioas = iommufd_compat_ioas(with->iommufd);
		if (ioas) {
			iommufd_obj_put(with->iommufd, ioas);
			return -EPERM;
		}
	}
	ret = device_open(dev,
			  &(struct open_with){.backend = with->backend,
					      .iommufd = iommufd,
					      .continues = client->continues},
			  continued);
	if (ret <= 0 || !iommufd)
		return ret < 0 ? ret : 0;
	ret = attach_compat(dev, client);
	if (ret)
		device_close(dev);
	return ret;
}

int vfio_group_get_device(struct vfio_group_file *gf, struct vfio_client *client, uint64_t arg,
			  struct vfio_device_file **out)
{
	struct vfio_group *group = gf->group;
	struct vfio_device_file *df;
	struct vfio_device *dev = NULL;
	char string[VFIO_NAME_BYTES];
	struct left with;
	unsigned lost;
	int ret;

	ret = copy_string(client, arg, string, sizeof(string));
	if (!ret)
		ret = find_device(gf, string, &dev);
	explicit_bzero(string, sizeof(string)); /* there may be a token in it */
	if (ret)
		return ret;
	df = calloc(1, sizeof(*df));
	ret = df ? group_claim(group, &with) : -ENOMEM;
	if (ret) {
		device_put_user(dev);
		free(df);
		return ret;
	}
	ret = open_with(dev, &with, client, &df->continued);
	left_put(&with);
	if (ret) {
		group_unclaim(group);
		device_put_user(dev);
		free(df);
		return ret;
	}
	df->dev = dev;
	observe_file(df, client);
	*out = df;
	if (group->noiommu && uvfio_ratelimit_ok(&dev->log_limit, 10, 1000, &lost))
		uvfio_log(dev->machine->log, UVFIO_LOG_WARN,
			  "%s: opened in no-IOMMU mode by process %d", dev->name, client->pid);
	device_emit(dev, VFIO_EVENT_OPEN, group->number, 0, 0, 0);
	return 0;
}

void vfio_device_release(struct vfio_device_file *df)
{
	struct vfio_device *dev = df->dev;

	if (df->maps) {
		host_map_release(df);
		return;
	}
	if (df->cdev) {
		cdev_release(df);
		return;
	}
	vfio_device_file_set_mmio(df, VFIO_MMIO_EXACT);
	observe_file_closed(df);
	device_close(dev);
	device_emit(dev, VFIO_EVENT_CLOSE, dev->group->number, 0, 0, 0);
	group_unclaim(dev->group);
	device_put_user(dev);
	free(df);
}

struct vfio_device *vfio_device_file_device(struct vfio_device_file *df)
{
	return df->dev;
}
