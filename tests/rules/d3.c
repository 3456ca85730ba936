// SPDX-License-Identifier: BSD-3-Clause
/* D.3: what its cases do. */
#include <dirent.h>
#include <fcntl.h>
#include "d3.h"

int open_iommu(struct t *t)
{
	int fd = open("/dev/iommu", O_RDWR | O_CLOEXEC);

	must(t, "open-iommu", sys(fd));
	return fd;
}

int open_node(struct t *t, const struct facts *f)
{
	char path[128] = "";
	struct dirent *entry;
	DIR *dir;
	int fd;

	snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/vfio-dev", f->bdf);
	dir = opendir(path);
	must(t, "vfio-dev", dir ? 0 : -errno);
	path[0] = '\0';
	while ((entry = readdir(dir)))
		if (!strncmp(entry->d_name, "vfio", 4))
			snprintf(path, sizeof(path), "/dev/vfio/devices/%.32s", entry->d_name);
	closedir(dir);
	fd = open(path, O_RDWR | O_CLOEXEC);
	must(t, "open-node", sys(fd));
	return fd;
}

long call(int fd, unsigned cmd, void *arg)
{
	return sys(ioctl(fd, cmd, arg));
}

uint32_t new_ioas(struct t *t)
{
	struct iommufd_ioas_alloc alloc = {.size = sizeof(alloc)};

	must(t, "ioas-alloc", call(t->container, IOMMUFD_IOAS_ALLOC, &alloc));
	return alloc.out_ioas_id;
}

long bind_node(int node, int iommufd, uint32_t *id)
{
	struct vfio_cdev_bind bind = {.argsz = 16, .iommufd = iommufd};
	long rc = call(node, VFIO_CDEV_BIND, &bind);

	if (id)
		*id = bind.out_devid;
	return rc;
}

long attach(int node, uint32_t *pt)
{
	struct vfio_cdev_attach arg = {.argsz = 12, .pt_id = *pt};
	long rc = call(node, VFIO_CDEV_ATTACH, &arg);

	*pt = arg.pt_id;
	return rc;
}

long detach(int node)
{
	struct vfio_cdev_detach arg = {.argsz = 8};

	return call(node, VFIO_CDEV_DETACH, &arg);
}

long destroy(struct t *t, uint32_t id)
{
	return call(t->container, IOMMUFD_DESTROY, &(struct iommufd_destroy){.size = 8, .id = id});
}

long map_fixed(struct t *t, uint32_t ioas, uint64_t iova, const void *p, uint64_t length,
	       uint32_t flags)
{
	struct iommufd_map map = {
		.size = sizeof(map),
		.flags = FIXED | flags,
		.ioas_id = ioas,
		.addr = (uintptr_t)p,
		.length = length,
		.iova = iova,
	};

	return call(t->container, IOMMUFD_MAP, &map);
}

long unmap(struct t *t, uint32_t ioas, uint64_t iova, uint64_t *length)
{
	struct iommufd_unmap arg = {
		.size = sizeof(arg), .ioas_id = ioas, .iova = iova, .length = *length};
	long rc = call(t->container, IOMMUFD_UNMAP, &arg);

	*length = arg.length;
	return rc;
}

long map_file(struct t *t, uint32_t ioas, int fd, uint64_t start, uint64_t length, uint32_t flags,
	      uint64_t iova)
{
	struct iommufd_map_file arg = {.size = sizeof(arg),
				       .flags = flags,
				       .ioas_id = ioas,
				       .fd = fd,
				       .start = start,
				       .length = length,
				       .iova = iova};

	return call(t->container, IOMMUFD_MAP_FILE, &arg);
}

long copy(struct t *t, uint32_t dst, uint64_t to, uint32_t src, uint64_t from, uint64_t length,
	  uint32_t flags)
{
	struct iommufd_copy arg = {.size = sizeof(arg),
				   .flags = flags,
				   .dst_ioas_id = dst,
				   .src_ioas_id = src,
				   .length = length,
				   .dst_iova = to,
				   .src_iova = from};

	return call(t->container, IOMMUFD_COPY, &arg);
}

void open_bound(struct t *t, struct d3 *d)
{
	t->container = open_iommu(t);
	t->dev = open_node(t, t->f);
	must(t, "bind", bind_node(t->dev, t->container, &d->dev));
	d->ioas = new_ioas(t);
}

void open_attached(struct t *t, struct d3 *d)
{
	open_bound(t, d);
	d->hwpt = d->ioas;
	must(t, "attach", attach(t->dev, &d->hwpt));
}
