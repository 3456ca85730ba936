// SPDX-License-Identifier: BSD-3-Clause
/* D.3, A.3, A.5, C: a device's node, and an iommufd in the place of a container. */
#include <fcntl.h>
#include "d3.h"

/* ---- before BIND ---- */

static void unbound(struct t *t)
{
	struct vfio_device_info info = {.argsz = sizeof(info)};
	uint32_t value = 0, id;
	int second;
	void *p;

	t->container = open_iommu(t);
	t->dev = open_node(t, t->f);
	see(t, "info", call(t->dev, VFIO_DEVICE_GET_INFO, &info), -EINVAL);
	see(t, "reset", call(t->dev, VFIO_DEVICE_RESET, NULL), -EINVAL);
	see(t, "unknown", call(t->dev, VFIO_NR(99), NULL), -EINVAL);
	see(t, "attach", attach(t->dev, &value), -EINVAL);
	see(t, "read", cfg_pread(t, &value, 4, 0), -EINVAL);
	see(t, "write", cfg_pwrite(t, &value, 4, 0), -EINVAL);
	p = mmap(NULL, PAGE, PROT_READ, MAP_SHARED, t->dev,
		 (off_t)t->f->region_offset[VFIO_PCI_BAR0_REGION_INDEX]);
	see(t, "mmap", p == MAP_FAILED ? -errno : 0, -EINVAL);
	second = open_node(t, t->f);
	see(t, "second-bind", bind_node(second, t->container, &id), 0);
	see(t, "info", call(second, VFIO_DEVICE_GET_INFO, &info), 0);
	see(t, "first-still", call(t->dev, VFIO_DEVICE_GET_INFO, &info), -EINVAL);
	see(t, "first-bind", bind_node(t->dev, t->container, &id), -EINVAL);
}

/* ---- BIND ---- */

static long bind_with(int node, uint32_t argsz, uint32_t flags, int iommufd, uint64_t token)
{
	struct {
		struct vfio_cdev_bind bind;
		uint32_t more[2];
	} arg = {.bind = {argsz, flags, iommufd, 0, token}, .more = {0, 1}};

	return call(node, VFIO_CDEV_BIND, &arg);
}

static void bind_errors(struct t *t)
{
	uint8_t token[16] = {0};
	uint32_t id;
	int null = open("/dev/null", O_RDWR);

	t->container = open_iommu(t);
	t->dev = open_node(t, t->f);
	see(t, "null", call(t->dev, VFIO_CDEV_BIND, NULL), -EFAULT);
	see(t, "argsz", bind_with(t->dev, 15, 0, t->container, 0), -EINVAL);
	see(t, "tail", bind_with(t->dev, 32, 0, t->container, 0), -E2BIG);
	see(t, "tail-of-zeros-and-flags", bind_with(t->dev, 28, 2, t->container, 0), -EINVAL);
	see(t, "flags", bind_with(t->dev, 24, 2, t->container, 0), -EINVAL);
	see(t, "negative", bind_with(t->dev, 24, 0, -1, 0), -EINVAL);
	see(t, "token-pointer", bind_with(t->dev, 24, 1, 999, 8), -EFAULT);
	see(t, "token-of-no-use", bind_with(t->dev, 24, 1, 999, (uintptr_t)token), -EINVAL);
	see(t, "closed", bind_with(t->dev, 24, 0, 999, 8), -EBADF);
	see(t, "other-file", bind_with(t->dev, 24, 0, null, 0), -EBADFD);
	see(t, "itself", bind_with(t->dev, 24, 0, t->dev, 0), -EBADFD);
	see(t, "good", bind_node(t->dev, t->container, &id), 0);
	see(t, "id", id, 1);
	see(t, "again", bind_node(t->dev, t->container, &id), -EINVAL);
}

/* A file of the group's is bound already, which comes before its group is busy. */
static void bind_of_group(struct t *t)
{
	struct vfio_device_info info = {.argsz = sizeof(info)};
	int iommufd = open_iommu(t);

	see(t, "argsz", bind_with(t->dev, 15, 0, iommufd, 0), -EINVAL);
	see(t, "tail", bind_with(t->dev, 32, 0, iommufd, 0), -E2BIG);
	see(t, "closed", bind_with(t->dev, 24, 0, 999, 0), -EINVAL);
	see(t, "token-pointer", bind_with(t->dev, 24, 1, iommufd, 8), -EINVAL);
	see(t, "good", bind_with(t->dev, 24, 0, iommufd, 0), -EINVAL);
	see(t, "works", call(t->dev, VFIO_DEVICE_GET_INFO, &info), 0);
}

/* The group's way and the nodes exclude each other. */
static void exclusion(struct t *t)
{
	int group, fd;

	t->container = open_iommu(t);
	t->dev = open_node(t, t->f);
	group = open_group(t->f);
	see(t, "group", sys(group) < 0 ? -errno : 0, 0);
	see(t, "bind", bind_node(t->dev, t->container, NULL), -EBUSY);
	close(group);
	see(t, "group-closed", bind_node(t->dev, t->container, NULL), 0);
	fd = open_group(t->f);
	see(t, "group-of-bound", fd < 0 ? -errno : 0, -EBUSY);
	close(t->dev);
	t->dev = -1;
	fd = open_group(t->f);
	see(t, "node-closed", fd < 0 ? -errno : 0, 0);
}

static void device_works(struct t *t)
{
	struct vfio_device_info info = {.argsz = sizeof(info)};
	struct d3 d;
	uint64_t n = PAGE;

	open_attached(t, &d);
	see(t, "info", call(t->dev, VFIO_DEVICE_GET_INFO, &info), 0);
	see(t, "regions", info.num_regions, 9);
	see_hex(t, "ids", cfg_read(t, 0, 4) == *(const uint32_t *)t->f->config, 1);
	see(t, "map", map_fixed(t, d.ioas, t->f->iova_first, new_pages(t, 1), PAGE, READ | WRITE),
	    0);
	/* The iommufd lives as long as the device does. */
	close(t->container);
	t->container = -1;
	see(t, "after-close", call(t->dev, VFIO_DEVICE_GET_INFO, &info), 0);
	close(t->dev);
	t->dev = open_node(t, t->f);
	t->container = open_iommu(t);
	see(t, "bind-again", bind_node(t->dev, t->container, NULL), 0);
	see(t, "nothing-left", unmap(t, new_ioas(t), t->f->iova_first, &n), -ENOENT);
}

/* ---- ATTACH, DETACH ---- */

static void attach_errors(struct t *t)
{
	struct vfio_cdev_attach a = {.argsz = 11};
	struct vfio_cdev_detach x = {.argsz = 7};
	uint32_t pt, other;
	struct d3 d;

	open_bound(t, &d);
	see(t, "argsz", call(t->dev, VFIO_CDEV_ATTACH, &a), -EINVAL);
	a = (struct vfio_cdev_attach){.argsz = sizeof(a), .flags = 2};
	see(t, "flags", call(t->dev, VFIO_CDEV_ATTACH, &a), -EINVAL);
	a.flags = 1;
	a.argsz = 15;
	see(t, "pasid-argsz", call(t->dev, VFIO_CDEV_ATTACH, &a), -EINVAL);
	a = (struct vfio_cdev_attach){.argsz = 16, .flags = 1, .pt_id = 99, .pasid = 1};
	see(t, "pasid-no-pt", call(t->dev, VFIO_CDEV_ATTACH, &a), -ENOENT);
	a.pt_id = d.dev;
	see(t, "pasid-device", call(t->dev, VFIO_CDEV_ATTACH, &a), -EINVAL);
	a.pt_id = d.ioas;
	see(t, "pasid", call(t->dev, VFIO_CDEV_ATTACH, &a), -EINVAL);
	see(t, "no-pt", (pt = 99, attach(t->dev, &pt)), -ENOENT);
	see(t, "device", (pt = d.dev, attach(t->dev, &pt)), -EINVAL);
	see(t, "detach-argsz", call(t->dev, VFIO_CDEV_DETACH, &x), -EINVAL);
	x = (struct vfio_cdev_detach){.argsz = sizeof(x), .flags = 2};
	see(t, "detach-flags", call(t->dev, VFIO_CDEV_DETACH, &x), -EINVAL);
	x = (struct vfio_cdev_detach){.argsz = 11, .flags = 1};
	see(t, "detach-pasid-argsz", call(t->dev, VFIO_CDEV_DETACH, &x), -EINVAL);
	x = (struct vfio_cdev_detach){.argsz = 12, .flags = 1, .pasid = 1};
	see(t, "detach-pasid", call(t->dev, VFIO_CDEV_DETACH, &x), 0);
	see(t, "detach-unattached", detach(t->dev), 0);
	pt = d.ioas;
	see(t, "ioas", attach(t->dev, &pt), 0);
	see_bool(t, "is-hwpt", pt != d.ioas, true);
	other = d.ioas;
	see(t, "again", attach(t->dev, &other), 0);
	see_bool(t, "same-hwpt", pt == other, true);
	see(t, "by-hwpt", attach(t->dev, &pt), 0);
	other = new_ioas(t);
	see(t, "replace", attach(t->dev, &other), 0);
	see(t, "old-hwpt", destroy(t, pt), -ENOENT);
	see(t, "old-ioas", destroy(t, d.ioas), 0);
	see(t, "detach", detach(t->dev), 0);
	see(t, "detach-again", detach(t->dev), 0);
}

/* ---- HOT_RESET (A.5) ---- */

static void hot_reset(struct t *t)
{
	struct {
		struct vfio_pci_hot_reset_info info;
		struct vfio_pci_dependent_device devices[32];
	} get = {.info = {.argsz = sizeof(get)}};
	struct {
		struct vfio_pci_hot_reset reset;
		int32_t fds[1];
	} set = {.reset = {.argsz = sizeof(set)}};
	bool own = false;
	struct d3 d;

	open_bound(t, &d);
	see(t, "info", call(t->dev, VFIO_DEVICE_GET_PCI_HOT_RESET_INFO, &get), 0);
	see_bool(t, "ids", get.info.flags & 1, true);
	for (uint32_t i = 0; i < get.info.count && i < 32; i++)
		own |= get.devices[i].group_id == d.dev;
	see_bool(t, "own-id", own, true);
	set.reset.count = 1;
	set.fds[0] = t->dev;
	see(t, "count", call(t->dev, VFIO_DEVICE_PCI_HOT_RESET, &set), -EINVAL);
	set.reset.count = 0;
	see(t, "reset", call(t->dev, VFIO_DEVICE_PCI_HOT_RESET, &set),
	    get.info.flags & 2 ? 0 : -EINVAL);
}

/* ---- the VFIO interface ---- */

static long vfio_map(struct t *t, uint64_t iova, const void *p, uint64_t size, uint32_t flags)
{
	struct vfio_iommu_type1_dma_map map = {.argsz = sizeof(map),
					       .flags = flags,
					       .vaddr = (uintptr_t)p,
					       .iova = iova,
					       .size = size};

	return call(t->container, VFIO_IOMMU_MAP_DMA, &map);
}

static long vfio_unmap(struct t *t, uint32_t flags, uint64_t iova, uint64_t *size)
{
	struct vfio_iommu_type1_dma_unmap arg = {
		.argsz = sizeof(arg), .flags = flags, .iova = iova, .size = *size};
	long rc = call(t->container, VFIO_IOMMU_UNMAP_DMA, &arg);

	*size = arg.size;
	return rc;
}

static long extension(struct t *t, long number)
{
	return sys(ioctl(t->container, VFIO_CHECK_EXTENSION, number));
}

static long vfio_ioas(struct t *t, uint16_t op, uint32_t *id)
{
	struct iommufd_vfio_ioas arg = {.size = sizeof(arg), .op = op, .ioas_id = *id};
	long rc = call(t->container, IOMMUFD_VFIO_IOAS, &arg);

	*id = arg.ioas_id;
	return rc;
}

static void compat_before(struct t *t)
{
	struct vfio_iommu_type1_info info = {.argsz = sizeof(info)};
	uint32_t id = 0, ioas;
	uint64_t n = PAGE;

	t->container = open_iommu(t);
	see(t, "version", sys(ioctl(t->container, VFIO_GET_API_VERSION)), 0);
	see(t, "type1", extension(t, 1), 1);
	see(t, "type1v2", extension(t, 3), 1);
	see(t, "unmap-all", extension(t, 9), 1);
	see(t, "update-vaddr", extension(t, 10), 0);
	see(t, "coherent", extension(t, 4), -ENODEV);
	see(t, "set-iommu", sys(ioctl(t->container, VFIO_SET_IOMMU, 3)), -ENODEV);
	see(t, "set-unknown", sys(ioctl(t->container, VFIO_SET_IOMMU, 2)), -EINVAL);
	see(t, "info", call(t->container, VFIO_IOMMU_GET_INFO, &info), -ENODEV);
	see(t, "map", vfio_map(t, 0, new_pages(t, 1), PAGE, 3), -ENODEV);
	see(t, "unmap", vfio_unmap(t, 0, 0, &n), -ENODEV);
	see(t, "dirty", call(t->container, VFIO_NR(17), &info), -ENOTTY);
	see(t, "get", vfio_ioas(t, 0, &id), -ENODEV);
	see(t, "set-none", (id = 99, vfio_ioas(t, 1, &id)), -ENOENT);
	see(t, "op", vfio_ioas(t, 3, &id), -EOPNOTSUPP);
	ioas = id = new_ioas(t);
	see(t, "set", vfio_ioas(t, 1, &id), 0);
	see(t, "get", (id = 0, vfio_ioas(t, 0, &id)), 0);
	see_bool(t, "same", id == ioas, true);
	see(t, "clear", vfio_ioas(t, 2, &id), 0);
	see(t, "get", vfio_ioas(t, 0, &id), -ENODEV);
	must(t, "set", (id = ioas, vfio_ioas(t, 1, &id)));
	see(t, "destroy", destroy(t, ioas), 0);
	see(t, "gone", vfio_ioas(t, 0, &id), -ENODEV);
}

/* A group with an iommufd in the place of a container. */
static void open_compat(struct t *t, long type)
{
	t->container = open_iommu(t);
	t->group = open_group(t->f);
	must(t, "group", sys(t->group));
	must(t, "set-container", set_container(t->group, t->container));
	must(t, "set-iommu", sys(ioctl(t->container, VFIO_SET_IOMMU, type)));
	t->dev = (int)get_device(t->group, t->f->bdf);
	must(t, "device", t->dev);
}

static void compat_group(struct t *t)
{
	struct vfio_group_status st = {.argsz = sizeof(st)};
	uint32_t ioas = 0;

	t->container = open_iommu(t);
	t->group = open_group(t->f);
	must(t, "group", sys(t->group));
	see(t, "set", set_container(t->group, t->container), 0);
	see(t, "twice", set_container(t->group, t->container), -EINVAL);
	must(t, "status", call(t->group, VFIO_GROUP_GET_STATUS, &st));
	see_hex(t, "status", st.flags, 3);
	see(t, "ioas", vfio_ioas(t, 0, &ioas), 0);
	see(t, "set-iommu", sys(ioctl(t->container, VFIO_SET_IOMMU, 3)), 0);
	see(t, "again", sys(ioctl(t->container, VFIO_SET_IOMMU, 3)), 0);
	t->dev = (int)get_device(t->group, t->f->bdf);
	see(t, "device", t->dev < 0 ? t->dev : 0, 0);
	see(t, "coherent", extension(t, 4), 1);
	/* The device stays open, and is the iommufd's. */
	see(t, "unset", sys(ioctl(t->group, VFIO_GROUP_UNSET_CONTAINER)), 0);
	see(t, "again", sys(ioctl(t->group, VFIO_GROUP_UNSET_CONTAINER)), -EINVAL);
	see(t, "another-device", get_device(t->group, t->f->bdf), -EINVAL);
	see(t, "container", set_container(t->group, open_container()), -EPERM);
	see(t, "set", set_container(t->group, t->container), 0);
	see(t, "attach", attach(t->dev, &ioas), -ENOTTY);
	see(t, "in-use", destroy(t, ioas), -EBUSY);
	close(t->dev);
	t->dev = -1;
	see(t, "unset", sys(ioctl(t->group, VFIO_GROUP_UNSET_CONTAINER)), 0);
	see(t, "destroy", destroy(t, ioas), 0);
}

static void compat_map(struct t *t)
{
	const uint64_t base = t->f->iova_first;
	char *p = new_pages(t, 8);
	uint64_t n = 0;

	open_compat(t, VFIO_TYPE1v2_IOMMU);
	see(t, "no-rights", vfio_map(t, base, p, PAGE, 0), -EINVAL);
	see(t, "no-rights-no-memory", vfio_map(t, base, (void *)PAGE, PAGE, 0), -EFAULT);
	see(t, "one-right", vfio_map(t, base, p, PAGE, 1), 0);
	see(t, "overlap", vfio_map(t, base, p, PAGE, 3), -EEXIST);
	see(t, "vaddr", vfio_map(t, base, p, PAGE, 4), -EINVAL);
	see(t, "device-memory", vfio_map(t, base + 64 * PAGE, (void *)PAGE, PAGE, 3), -EFAULT);
	see(t, "map", vfio_map(t, base + 4 * PAGE, p, 4 * PAGE, 3), 0);
	see(t, "dirty-flag", vfio_unmap(t, 1, base, (n = PAGE, &n)), -EINVAL);
	see(t, "vaddr-flag", vfio_unmap(t, 4, base, (n = PAGE, &n)), -EINVAL);
	see(t, "bisect", vfio_unmap(t, 0, base + 4 * PAGE, (n = PAGE, &n)), -ENOENT);
	see(t, "size", (long)n, 0);
	see(t, "hole", vfio_unmap(t, 0, base + 2 * PAGE, (n = PAGE, &n)), 0);
	see(t, "size", (long)n, 0);
	see(t, "whole", vfio_unmap(t, 0, base, (n = PAGE, &n)), 0);
	see(t, "size", (long)n, PAGE);
	see(t, "all-with-range", vfio_unmap(t, 2, base + PAGE, (n = 0, &n)), -EINVAL);
	see(t, "all", vfio_unmap(t, 2, 0, (n = 0, &n)), 0);
	see(t, "size", (long)n, 4 * PAGE);
}

/* Version 1 may unmap the middle of a mapping. */
static void compat_cut(struct t *t)
{
	const uint64_t base = t->f->iova_first;
	char *p = new_pages(t, 8);
	uint64_t n = 0;

	open_compat(t, VFIO_TYPE1_IOMMU);
	must(t, "map", vfio_map(t, base, p, 8 * PAGE, 3));
	see(t, "middle", vfio_unmap(t, 0, base + 2 * PAGE, (n = 2 * PAGE, &n)), 0);
	see(t, "size", (long)n, 2 * PAGE);
	see(t, "free", vfio_map(t, base + 2 * PAGE, p, 2 * PAGE, 3), 0);
	see(t, "head", vfio_unmap(t, 0, base, (n = PAGE, &n)), 0);
	see(t, "rest", vfio_unmap(t, 2, 0, (n = 0, &n)), 0);
	see(t, "size", (long)n, 7 * PAGE);
}

static void compat_info(struct t *t)
{
	union {
		struct vfio_iommu_type1_info info;
		uint8_t bytes[512];
	} a = {.info = {.argsz = sizeof(a)}};
	const struct vfio_info_cap_header *cap;
	uint32_t total;

	open_compat(t, VFIO_TYPE1v2_IOMMU);
	see(t, "info", call(t->container, VFIO_IOMMU_GET_INFO, &a), 0);
	see_bool(t, "pages", a.info.iova_pgsizes & PAGE, true);
	total = a.info.argsz;
	see_bool(t, "total", total < sizeof(a), true);
	cap = (void *)(a.bytes + a.info.cap_offset);
	see(t, "first", cap->id, VFIO_IOMMU_TYPE1_INFO_DMA_AVAIL);
	see_hex(t, "avail", ((const struct vfio_iommu_type1_info_dma_avail *)cap)->avail, ~0u);
	cap = (void *)(a.bytes + cap->next);
	see(t, "second", cap->id, VFIO_IOMMU_TYPE1_INFO_CAP_IOVA_RANGE);
	see(t, "end", cap->next, 0);
	a.info.argsz = 16;
	see(t, "short", call(t->container, VFIO_IOMMU_GET_INFO, &a), 0);
	see_bool(t, "needed", a.info.argsz == total, true);
	a.info.argsz = 15;
	see(t, "argsz", call(t->container, VFIO_IOMMU_GET_INFO, &a), -EINVAL);
}

static const struct rule rules[] = {
	{"D.3/node/unbound", OPEN_NOTHING, NEED_IOMMUFD, unbound},
	{"D.3/node/works", OPEN_NOTHING, NEED_IOMMUFD, device_works},
	{"D.3/node/group-excluded", OPEN_NOTHING, NEED_IOMMUFD, exclusion},
	{"D.3/node/hot-reset", OPEN_NOTHING, NEED_IOMMUFD | NEED_HOT, hot_reset},
	{"D.3/BIND/errors", OPEN_NOTHING, NEED_IOMMUFD, bind_errors},
	{"D.3/BIND/group-file", OPEN_DEVICE, NEED_IOMMUFD | NEED_IOMMU, bind_of_group},
	{"D.3/ATTACH/errors", OPEN_NOTHING, NEED_IOMMUFD, attach_errors},
	{"D.3/VFIO/without-group", OPEN_NOTHING, NEED_IOMMUFD, compat_before},
	{"D.3/VFIO/group", OPEN_NOTHING, NEED_IOMMUFD, compat_group},
	{"D.3/VFIO/map", OPEN_NOTHING, NEED_IOMMUFD, compat_map},
	{"D.3/VFIO/version-1", OPEN_NOTHING, NEED_IOMMUFD, compat_cut},
	{"D.3/VFIO/info", OPEN_NOTHING, NEED_IOMMUFD, compat_info},
};
const struct section section_d3_device = SECTION("D.3", rules);
