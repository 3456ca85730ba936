/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The kernel's VFIO by character device and iommufd (A.2, C, D.3).
 *
 * A view of a DMA space is an IOAS.  Devices of a space are attached to the same one; where the
 * kernel does not let them (other hardware), a device gets another one, of the same iommufd.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>
#include "driver/iommufd_uapi.h"
#include "driver/kernel.h"

#define IOMMU "/dev/iommu"

/* /dev/vfio/devices/vfioX of the device: its vfio-dev/ folder has one entry. */
static int cdev_path(const char *bdf, char *path, size_t size, struct uvfio_error *err)
{
	struct dirent *entry;
	char sysfs[128];
	DIR *dir;

	drv_kernel_sysfs(sysfs, sizeof(sysfs), bdf, "vfio-dev");
	dir = opendir(sysfs);
	path[0] = '\0';
	while (dir && (entry = readdir(dir)))
		if (!strncmp(entry->d_name, "vfio", 4) && strlen(entry->d_name) < 32)
			snprintf(path, size, "/dev/vfio/devices/%.31s", entry->d_name);
	if (dir)
		closedir(dir);
	if (path[0])
		return 0;
	return uvfio_error_set(
		err, -ENODEV,
		"%s: %s is not there: bind the device to vfio-pci, or use the group "
		"(option via=group); it takes Linux 6.6 with CONFIG_VFIO_DEVICE_CDEV",
		bdf, sysfs);
}

bool drv_kernel_has_cdev(const char *bdf)
{
	char path[64];

	return !access(IOMMU, F_OK) && !cdev_path(bdf, path, sizeof(path), NULL) &&
	       !access(path, F_OK);
}

/* Text to bytes, in the order of the text (C). */
static void token_bytes(const char *text, uint8_t bytes[16])
{
	for (unsigned i = 0; i < 16; i++) {
		char pair[3];

		while (*text == '-')
			text++;
		pair[0] = text[0];
		pair[1] = text[1];
		pair[2] = '\0';
		bytes[i] = (uint8_t)strtoul(pair, NULL, 16);
		text += 2;
	}
}

struct drv_ioas {
	int iommufd;
	uint32_t id;
};

static struct drv_ioas *ioas_of(const struct drv_view *view)
{
	return view->place;
}

static int bind_device(struct uvfio_pci *dev, int iommufd, struct uvfio_error *err)
{
	uint8_t token[16];
	struct drv_bind bind = {.argsz = sizeof(bind), .iommufd = iommufd};
	int ret;

	if (*dev->opt.vf_token) {
		token_bytes(dev->opt.vf_token, token);
		bind.flags = DRV_BIND_TOKEN;
		bind.token = (uintptr_t)token;
	} else {
		/* Older kernels know a shorter structure. */
		bind.argsz = 16;
	}
	if (!ioctl(drv_kernel(dev)->device, DRV_BIND, &bind))
		return 0;
	ret = -errno;
	if (ret == -EACCES)
		return drv_kernel_token_refused(dev, err);
	if (ret == -EPERM)
		return uvfio_error_set(err, ret,
				       "%s: it cannot be bound to an iommufd: a device of its "
				       "group has another driver, or interrupts are not "
				       "isolated (allow_unsafe_interrupts of iommufd)",
				       dev->name);
	if (ret == -EINVAL && *dev->opt.vf_token)
		return uvfio_error_set(err, ret,
				       "%s: it takes no vf_token: not an SR-IOV function, its PF "
				       "is not bound to vfio-pci, or this kernel takes tokens by "
				       "the group only (option via=group)",
				       dev->name);
	return uvfio_error_set(err, ret, "%s: binding it to an iommufd: %s%s", dev->name,
			       strerror(-ret), ret == -EBUSY ? " (its group is open)" : "");
}

static int attach_to(struct uvfio_pci *dev, uint32_t ioas)
{
	struct drv_attach attach = {.argsz = sizeof(attach), .pt = ioas};

	return ioctl(drv_kernel(dev)->device, DRV_ATTACH, &attach) ? -errno : 0;
}

static int cdev_open(struct uvfio_pci *dev, struct uvfio_error *err)
{
	char path[64];
	int ret;

	ret = drv_kernel_exists(dev->name, err);
	if (!ret)
		ret = cdev_path(dev->name, path, sizeof(path), err);
	if (ret)
		return ret;
	dev->way = drv_kernel_new();
	return dev->way ? 0 : uvfio_error_set(err, -ENOMEM, "no memory");
}

/* The iommufd of the space, which may have none yet: a descriptor of its own, or -errno. */
static int get_iommufd(struct uvfio_pci *dev, struct uvfio_error *err)
{
	int fd;

	for (struct drv_view *v = dev->space->views; v; v = v->next) {
		if (v->ops != dev->ops)
			continue;
		fd = fcntl(ioas_of(v)->iommufd, F_DUPFD_CLOEXEC, 0);
		return fd >= 0 ? fd
			       : uvfio_error_set(err, -errno, "%s: %s", dev->name, strerror(errno));
	}
	fd = open(IOMMU, O_RDWR | O_CLOEXEC);
	return fd >= 0 ? fd : drv_kernel_open_failed(dev->name, IOMMU, -errno, err);
}

static void ioas_free(struct drv_ioas *ioas)
{
	struct drv_destroy destroy = {.size = sizeof(destroy), .id = ioas->id};

	if (ioas->id)
		(void)ioctl(ioas->iommufd, DRV_DESTROY, &destroy);
	close(ioas->iommufd);
	free(ioas);
}

/* An IOAS of its own, in a view. */
static int new_ioas(struct uvfio_pci *dev, int iommufd, struct uvfio_error *err)
{
	struct drv_ioas_alloc alloc = {.size = sizeof(alloc)};
	struct drv_ioas *ioas = calloc(1, sizeof(*ioas));
	int ret;

	if (!ioas) {
		close(iommufd);
		return uvfio_error_set(err, -ENOMEM, "no memory");
	}
	ioas->iommufd = iommufd;
	if (ioctl(iommufd, DRV_IOAS_ALLOC, &alloc)) {
		ret = uvfio_error_set(err, -errno, "%s: making an address space: %s", dev->name,
				      strerror(errno));
	} else {
		ioas->id = alloc.ioas;
		ret = attach_to(dev, ioas->id);
		if (ret)
			uvfio_error_set(err, ret, "%s: attaching it to its address space: %s",
					dev->name, strerror(-ret));
		else if (!drv_view_new(dev, ioas, err))
			ret = -ENOSPC;
	}
	if (ret)
		ioas_free(ioas);
	return ret;
}

static int get_ranges(struct uvfio_pci *dev, struct drv_view *view, struct uvfio_error *err)
{
	struct drv_ioas *ioas = ioas_of(view);
	struct drv_iova_ranges get = {.size = sizeof(get), .ioas = ioas->id};
	struct drv_iova_range *ranges = NULL;
	int ret = 0;

	/* Ask how many there are (EMSGSIZE), then for them; they may have grown in between. */
	while (ioctl(ioas->iommufd, DRV_IOVA_RANGES, &get)) {
		struct drv_iova_range *more;

		if (errno != EMSGSIZE || get.nr > 65536) {
			ret = -errno;
			goto out;
		}
		more = realloc(ranges, get.nr * sizeof(*ranges));
		if (!more) {
			ret = -ENOMEM;
			goto out;
		}
		ranges = more;
		get.ranges = (uintptr_t)ranges;
	}
	if (get.alignment > view->page_size && !(get.alignment & (get.alignment - 1)))
		view->page_size = get.alignment;
	view->ranges.nr = 0;
	for (uint32_t i = 0; i < get.nr && !ret; i++)
		ret = drv_view_add_range(view, ranges[i].start, ranges[i].last);
out:
	free(ranges);
	return ret ? drv_kernel_no_ranges(dev, ret, err) : 0;
}

static int cdev_attach(struct uvfio_pci *dev, struct uvfio_error *err)
{
	struct drv_kernel *k = drv_kernel(dev);
	int iommufd = get_iommufd(dev, err), ret = 0;
	char path[64];

	if (iommufd < 0)
		return iommufd;
	ret = cdev_path(dev->name, path, sizeof(path), err);
	if (!ret) {
		k->device = open(path, O_RDWR | O_CLOEXEC);
		if (k->device < 0)
			ret = drv_kernel_open_failed(dev->name, path, -errno, err);
	}
	if (!ret)
		ret = bind_device(dev, iommufd, err);
	if (ret) {
		close(iommufd);
		return ret;
	}
	for (struct drv_view *v = dev->space->views; v && !dev->view; v = v->next)
		if (v->ops == dev->ops && !attach_to(dev, ioas_of(v)->id))
			drv_view_join(dev, v);
	if (dev->view)
		close(iommufd);
	else
		ret = new_ioas(dev, iommufd, err);
	return ret ? ret : get_ranges(dev, dev->view, err);
}

static void cdev_close(struct uvfio_pci *dev)
{
	struct drv_detach detach = {.argsz = sizeof(detach)};
	struct drv_kernel *k = drv_kernel(dev);

	/* The IOAS is to be free when this returns, whoever else has the file. */
	if (dev->view)
		(void)ioctl(k->device, DRV_DETACH, &detach);
	if (k->device >= 0)
		close(k->device);
	if (dev->view && dev->view->devices == 1)
		ioas_free(ioas_of(dev->view));
	free(k);
}

static uint32_t map_flags(const struct drv_mapping *m)
{
	return DRV_MAP_FIXED | (m->flags & UVFIO_PCI_DMA_READ ? DRV_MAP_READ : 0) |
	       (m->flags & UVFIO_PCI_DMA_WRITE ? DRV_MAP_WRITE : 0);
}

static int map_file(struct drv_view *view, const struct drv_mapping *m)
{
	struct drv_ioas_map_file map = {
		.size = sizeof(map),
		.flags = map_flags(m),
		.ioas = ioas_of(view)->id,
		.fd = m->fd,
		.start = m->file_offset,
		.length = m->at.last - m->at.first + 1,
		.iova = m->at.first,
	};

	return ioctl(ioas_of(view)->iommufd, DRV_IOAS_MAP_FILE, &map) ? -errno : 0;
}

static int cdev_dma_map(struct drv_view *view, const struct drv_mapping *m)
{
	struct drv_ioas_map map = {
		.size = sizeof(map),
		.flags = map_flags(m),
		.ioas = ioas_of(view)->id,
		.addr = (uintptr_t)m->addr,
		.length = m->at.last - m->at.first + 1,
		.iova = m->at.first,
	};
	int ret = -EOPNOTSUPP;

	if (m->addr)
		ret = ioctl(ioas_of(view)->iommufd, DRV_IOAS_MAP, &map) ? -errno : 0;
	/* A BAR has no address for iommufd (D.4), whose file this may be. */
	if (m->fd >= 0 && (!m->addr || ret == -EFAULT))
		ret = map_file(view, m);
	return ret;
}

static int cdev_dma_unmap(struct drv_view *view, uint64_t iova, uint64_t size)
{
	struct drv_ioas_unmap unmap = {
		.size = sizeof(unmap), .ioas = ioas_of(view)->id, .iova = iova, .length = size};

	if (ioctl(ioas_of(view)->iommufd, DRV_IOAS_UNMAP, &unmap))
		return -errno;
	return unmap.length == size ? 0 : -EIO;
}

const struct drv_ops drv_kernel_cdev_ops = {
	.way = UVFIO_PCI_WAY_CDEV,
	.open = cdev_open,
	.attach = cdev_attach,
	.close = cdev_close,
	DRV_KERNEL_DEVICE_OPS,
	.dma_map = cdev_dma_map,
	.dma_unmap = cdev_dma_unmap,
};
