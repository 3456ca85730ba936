/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The kernel's VFIO by group and container (D.1), with the type1 IOMMU (D.2).
 *
 * A view of a DMA space is a container.  A group can be opened once, so its devices share that;
 * groups of a space share a container, or have another one where the kernel does not let them
 * (other hardware).
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>
#include "driver/kernel.h"

#define CONTAINER "/dev/vfio/vfio"

/* Where the group's file is: /dev/vfio/N, or /dev/vfio/noiommu-N (A.9). */
static int group_path(const char *bdf, char *path, size_t size, bool *noiommu,
		      struct uvfio_error *err)
{
	char sysfs[128], target[PATH_MAX], name[32] = "";
	const char *number;
	ssize_t n;
	int fd;

	drv_kernel_sysfs(sysfs, sizeof(sysfs), bdf, "iommu_group");
	n = readlink(sysfs, target, sizeof(target) - 1);
	if (n < 0)
		return uvfio_error_set(err, -ENODEV,
				       "%s: it is in no IOMMU group; turn the IOMMU on "
				       "(intel_iommu=on, or in the firmware), or load vfio with "
				       "enable_unsafe_noiommu_mode=1",
				       bdf);
	target[n] = '\0';
	number = strrchr(target, '/');
	number = number ? number + 1 : target;
	drv_kernel_sysfs(sysfs, sizeof(sysfs), bdf, "iommu_group/name");
	fd = open(sysfs, O_RDONLY | O_CLOEXEC);
	if (fd >= 0) {
		if (read(fd, name, sizeof(name) - 1) < 0)
			name[0] = '\0';
		close(fd);
	}
	*noiommu = !strncmp(name, "vfio-noiommu", 12);
	if ((size_t)snprintf(path, size, "/dev/vfio/%s%s", *noiommu ? "noiommu-" : "", number) >=
	    size)
		return uvfio_error_set(err, -ENODEV, "%s: its group has no name: %s", bdf, number);
	return 0;
}

static int not_attached(const struct uvfio_pci *dev, const char *what, int ret,
			struct uvfio_error *err)
{
	return uvfio_error_set(
		err, ret, "%s: %s: %s%s", dev->name, what, strerror(-ret),
		ret == -EPERM ? " (are interrupts isolated? see allow_unsafe_interrupts)" : "");
}

struct drv_group {
	struct drv_group *next;
	char path[64];
	int fd;
	unsigned devices;
};

struct drv_container {
	int fd;
	struct drv_group *groups; /* in it */
};

static struct drv_container *container_of_view(const struct drv_view *view)
{
	return view->place;
}

static void group_free(struct drv_group *group)
{
	if (group->fd >= 0)
		close(group->fd); /* which takes it out of its container */
	free(group);
}

/* Open the group; 0 and *@out, or -errno with a message. */
static int get_group(const struct uvfio_pci *dev, const char *path, struct drv_group **out,
		     struct uvfio_error *err)
{
	struct vfio_group_status status = {.argsz = sizeof(status)};
	struct drv_group *group = calloc(1, sizeof(*group));
	int ret = 0;

	if (!group)
		return uvfio_error_set(err, -ENOMEM, "no memory");
	snprintf(group->path, sizeof(group->path), "%s", path);
	group->fd = open(path, O_RDWR | O_CLOEXEC);
	if (group->fd < 0)
		ret = drv_kernel_open_failed(dev->name, path, -errno, err);
	else if (ioctl(group->fd, VFIO_GROUP_GET_STATUS, &status))
		ret = uvfio_error_set(err, -errno, "%s: asking %s: %s", dev->name, path,
				      strerror(errno));
	else if (!(status.flags & VFIO_GROUP_FLAGS_VIABLE))
		ret = uvfio_error_set(
			err, -EPERM,
			"%s: its group is not viable: every device in "
			"/sys/bus/pci/devices/%s/iommu_group/devices must be bound to "
			"vfio-pci or to no driver",
			dev->name, dev->name);
	if (ret)
		group_free(group);
	else
		*out = group;
	return ret;
}

static int enter_container(const struct drv_group *group, int container)
{
	return ioctl(group->fd, VFIO_GROUP_SET_CONTAINER, &container) ? -errno : 0;
}

/* A container of its own, in a view. */
static int new_container(struct uvfio_pci *dev, struct drv_group *group, struct uvfio_error *err)
{
	int type = drv_kernel(dev)->noiommu ? VFIO_NOIOMMU_IOMMU : VFIO_TYPE1v2_IOMMU;
	struct drv_container *container = calloc(1, sizeof(*container));
	int ret;

	if (!container)
		return uvfio_error_set(err, -ENOMEM, "no memory");
	container->fd = open(CONTAINER, O_RDWR | O_CLOEXEC);
	if (container->fd < 0) {
		ret = drv_kernel_open_failed(dev->name, CONTAINER, -errno, err);
		free(container);
		return ret;
	}
	ret = enter_container(group, container->fd);
	if (ioctl(container->fd, VFIO_GET_API_VERSION) != VFIO_API_VERSION)
		ret = uvfio_error_set(err, -EPROTO, CONTAINER " speaks another version of VFIO");
	else if (ret)
		not_attached(dev, "attaching its group to a container", ret, err);
	else if (ioctl(container->fd, VFIO_SET_IOMMU, type))
		ret = not_attached(dev, "setting the IOMMU type", -errno, err);
	else if (!drv_view_new(dev, container, err))
		ret = -ENOSPC;
	if (!ret)
		return 0;
	close(container->fd);
	free(container);
	return ret;
}

/* A group of the space that is open already. */
static struct drv_group *find_group(const struct uvfio_pci *dev, const char *path,
				    struct drv_view **view)
{
	for (struct drv_view *v = dev->space->views; v; v = v->next) {
		if (v->ops != dev->ops)
			continue;
		for (struct drv_group *g = container_of_view(v)->groups; g; g = g->next) {
			if (!strcmp(g->path, path)) {
				*view = v;
				return g;
			}
		}
	}
	return NULL;
}

static int join_container(struct uvfio_pci *dev, const char *path, struct uvfio_error *err)
{
	struct drv_kernel *k = drv_kernel(dev);
	struct drv_container *container;
	struct drv_view *view = NULL;
	struct drv_group *group = find_group(dev, path, &view);
	int ret;

	if (group) {
		drv_view_join(dev, view);
	} else {
		ret = get_group(dev, path, &group, err);
		if (ret)
			return ret;
		for (view = dev->space->views; view && !dev->view; view = view->next)
			if (view->ops == dev->ops &&
			    !enter_container(group, container_of_view(view)->fd))
				drv_view_join(dev, view);
		ret = dev->view ? 0 : new_container(dev, group, err);
		if (ret) {
			group_free(group);
			return ret;
		}
		container = container_of_view(dev->view);
		group->next = container->groups;
		container->groups = group;
	}
	group->devices++;
	k->group = group;
	return 0;
}

static void group_close(struct uvfio_pci *dev)
{
	struct drv_kernel *k = drv_kernel(dev);
	struct drv_container *container = dev->view ? container_of_view(dev->view) : NULL;
	struct drv_group **link;

	if (k->device >= 0)
		close(k->device);
	if (k->group && !--k->group->devices) {
		for (link = &container->groups; *link != k->group;)
			link = &(*link)->next;
		*link = k->group->next;
		group_free(k->group);
	}
	if (container && dev->view->devices == 1) {
		close(container->fd);
		free(container);
	}
	free(k);
}

static int get_device(struct uvfio_pci *dev, struct uvfio_error *err)
{
	struct drv_kernel *k = drv_kernel(dev);
	char name[96];

	snprintf(name, sizeof(name), "%s%s%s", dev->name, *dev->opt.vf_token ? " vf_token=" : "",
		 dev->opt.vf_token);
	k->device = ioctl(k->group->fd, VFIO_GROUP_GET_DEVICE_FD, name);
	if (k->device >= 0)
		return 0;
	switch (errno) {
	case EACCES:
		return drv_kernel_token_refused(dev, err);
	case EINVAL:
		if (*dev->opt.vf_token)
			return uvfio_error_set(
				err, -EINVAL,
				"%s: it takes no vf_token: not an SR-IOV function, or "
				"its PF is not bound to vfio-pci",
				dev->name);
		break;
	case ENODEV:
		return uvfio_error_set(
			err, -ENODEV,
			"%s: it is not bound to vfio-pci (`driverctl set-override %s "
			"vfio-pci`)",
			dev->name, dev->name);
	}
	return uvfio_error_set(err, -errno, "%s: opening the device: %s", dev->name,
			       strerror(errno));
}

static int group_open(struct uvfio_pci *dev, struct uvfio_error *err)
{
	int ret = drv_kernel_exists(dev->name, err);

	if (ret)
		return ret;
	dev->way = drv_kernel_new();
	return dev->way ? 0 : uvfio_error_set(err, -ENOMEM, "no memory");
}

/* The pages sizes and the ranges of VFIO_IOMMU_GET_INFO (D.2). */
static int parse_info(struct drv_view *view, const struct vfio_iommu_type1_info *info, size_t size)
{
	const uint8_t *base = (const uint8_t *)info;
	bool any = false;
	int ret = 0;

	view->ranges.nr = 0;
	if (info->flags & VFIO_IOMMU_INFO_PGSIZES && info->iova_pgsizes)
		view->page_size = info->iova_pgsizes & -info->iova_pgsizes;
	for (size_t at = info->flags & VFIO_IOMMU_INFO_CAPS ? info->cap_offset : 0; at && !ret;) {
		const struct vfio_iommu_type1_info_cap_iova_range *cap = (const void *)(base + at);

		if (size < sizeof(*cap) || at > size - sizeof(*cap))
			break;
		if (cap->header.id == VFIO_IOMMU_TYPE1_INFO_CAP_IOVA_RANGE) {
			for (uint32_t i = 0; i < cap->nr_iovas && !ret; i++) {
				if ((const uint8_t *)&cap->iova_ranges[i + 1] > base + size)
					return -EPROTO;
				ret = drv_view_add_range(view, cap->iova_ranges[i].start,
							 cap->iova_ranges[i].end);
			}
			any = true;
		}
		at = cap->header.next > at ? cap->header.next : 0;
	}
	/* A kernel before 5.4 does not tell: 39 bits are what every IOMMU has. */
	if (!any && !ret)
		ret = drv_view_add_range(view, 0, (1ull << 39) - 1);
	return ret;
}

static int get_ranges(struct uvfio_pci *dev, struct uvfio_error *err)
{
	struct vfio_iommu_type1_info *info = NULL, *bigger;
	size_t size = sizeof(*info) + 1024;
	int ret = 0;

	if (drv_kernel(dev)->noiommu)
		return 0;
	for (;;) {
		bigger = realloc(info, size);
		if (!bigger) {
			ret = -ENOMEM;
			break;
		}
		info = bigger;
		memset(info, 0, size);
		info->argsz = (uint32_t)size;
		if (ioctl(container_of_view(dev->view)->fd, VFIO_IOMMU_GET_INFO, info)) {
			ret = -errno;
			break;
		}
		if (info->argsz <= size) {
			ret = parse_info(dev->view, info, size);
			break;
		}
		size = info->argsz;
	}
	free(info);
	return ret ? drv_kernel_no_ranges(dev, ret, err) : 0;
}

static int group_attach(struct uvfio_pci *dev, struct uvfio_error *err)
{
	char path[64];
	int ret = group_path(dev->name, path, sizeof(path), &drv_kernel(dev)->noiommu, err);

	if (!ret)
		ret = join_container(dev, path, err);
	if (!ret)
		ret = get_device(dev, err);
	return ret ? ret : get_ranges(dev, err);
}

static int group_dma_map(struct drv_view *view, const struct drv_mapping *m)
{
	struct vfio_iommu_type1_dma_map map = {
		.argsz = sizeof(map),
		.flags = (m->flags & UVFIO_PCI_DMA_READ ? VFIO_DMA_MAP_FLAG_READ : 0) |
			 (m->flags & UVFIO_PCI_DMA_WRITE ? VFIO_DMA_MAP_FLAG_WRITE : 0),
		.vaddr = (uintptr_t)m->addr,
		.iova = m->at.first,
		.size = m->at.last - m->at.first + 1,
	};

	if (!m->addr)
		return -EOPNOTSUPP;
	return ioctl(container_of_view(view)->fd, VFIO_IOMMU_MAP_DMA, &map) ? -errno : 0;
}

static int group_dma_unmap(struct drv_view *view, uint64_t iova, uint64_t size)
{
	struct vfio_iommu_type1_dma_unmap unmap = {
		.argsz = sizeof(unmap), .iova = iova, .size = size};

	if (ioctl(container_of_view(view)->fd, VFIO_IOMMU_UNMAP_DMA, &unmap))
		return -errno;
	return unmap.size == size ? 0 : -EIO;
}

const struct drv_ops drv_kernel_group_ops = {
	.way = UVFIO_PCI_WAY_GROUP,
	.open = group_open,
	.attach = group_attach,
	.close = group_close,
	DRV_KERNEL_DEVICE_OPS,
	.dma_map = group_dma_map,
	.dma_unmap = group_dma_unmap,
};
