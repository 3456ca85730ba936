// SPDX-License-Identifier: BSD-3-Clause
/* A.9: no-IOMMU mode: off by default, and what a group of it can do and cannot. */
#include <fcntl.h>
#include "facts.h"

static long set_iommu(struct t *t, long type)
{
	return sys(ioctl(t->container, VFIO_SET_IOMMU, type));
}

static long extension(struct t *t, long what)
{
	return sys(ioctl(t->container, VFIO_CHECK_EXTENSION, what));
}

static long open_node(const char *prefix, unsigned group)
{
	char path[48];
	long fd;

	snprintf(path, sizeof(path), "/dev/vfio/%s%u", prefix, group);
	fd = sys(open(path, O_RDWR | O_CLOEXEC));
	if (fd >= 0)
		close((int)fd);
	return fd < 0 ? fd : 0;
}

static int other_group(struct t *t)
{
	int fd = open_group(t->other);

	must(t, "open-other", sys(fd));
	return fd;
}

static void need_real_other(struct t *t)
{
	if (t->other->noiommu)
		skip(t, "the second device has no IOMMU either");
}

/* ---- off ------------------------------------------------------------------------------------- */

static void off_extension(struct t *t)
{
	t->container = open_container();
	must(t, "open-container", sys(t->container));
	see(t, "rc", extension(t, VFIO_NOIOMMU_IOMMU), 0);
}

/* A group with an IOMMU is given no other type, on or off. */
static void real_group(struct t *t)
{
	see(t, "extension", extension(t, VFIO_NOIOMMU_IOMMU), 0);
	see(t, "set-iommu", set_iommu(t, VFIO_NOIOMMU_IOMMU), -ENODEV);
	see(t, "node", open_node("noiommu-", t->f->group), -ENOENT);
	see(t, "type-1-after", set_iommu(t, VFIO_TYPE1v2_IOMMU), 0);
	see(t, "extension-after", extension(t, VFIO_NOIOMMU_IOMMU), 0);
}

static void denied(struct t *t)
{
	see(t, "open", open_node("noiommu-", t->f->group), -EPERM);
}

/* ---- on -------------------------------------------------------------------------------------- */

static void extensions(struct t *t)
{
	see(t, "no-group", extension(t, VFIO_NOIOMMU_IOMMU), 1);
	see(t, "no-group-type-1", extension(t, VFIO_TYPE1_IOMMU), 1);
	must(t, "set-container", set_container(t->group, t->container));
	see(t, "group", extension(t, VFIO_NOIOMMU_IOMMU), 1);
	see(t, "group-type-1", extension(t, VFIO_TYPE1_IOMMU), 0);
	see(t, "group-type-1v2", extension(t, VFIO_TYPE1v2_IOMMU), 0);
	see(t, "group-unmap-all", extension(t, VFIO_UNMAP_ALL), 0);
	must(t, "set-iommu", set_iommu(t, VFIO_NOIOMMU_IOMMU));
	see(t, "set", extension(t, VFIO_NOIOMMU_IOMMU), 1);
	see(t, "set-type-1", extension(t, VFIO_TYPE1_IOMMU), 0);
	see(t, "set-dma-cc", extension(t, VFIO_DMA_CC_IOMMU), 0);
}

static void node(struct t *t)
{
	char path[96], name[32] = "";
	int fd;

	see(t, "plain", open_node("", t->f->group), -ENOENT);
	see(t, "noiommu", open_node("noiommu-", t->f->group), 0);
	snprintf(path, sizeof(path), "/sys/kernel/iommu_groups/%u/name", t->f->group);
	fd = open(path, O_RDONLY);
	must(t, "name", sys(fd));
	must(t, "read", read(fd, name, sizeof(name) - 1) > 0 ? 0 : -EIO);
	name[strcspn(name, "\n")] = '\0';
	see_text(t, "name", name, "vfio-noiommu");
}

static void opened_twice(struct t *t)
{
	see(t, "second", open_node("noiommu-", t->f->group), -EBUSY);
}

static void types(struct t *t)
{
	see(t, "no-group", set_iommu(t, VFIO_NOIOMMU_IOMMU), -EINVAL);
	must(t, "set-container", set_container(t->group, t->container));
	see(t, "device-before", get_device(t->group, t->f->bdf), -EINVAL);
	see(t, "type-1", set_iommu(t, VFIO_TYPE1_IOMMU), -ENODEV);
	see(t, "type-1v2", set_iommu(t, VFIO_TYPE1v2_IOMMU), -ENODEV);
	see(t, "unmap-all", set_iommu(t, VFIO_UNMAP_ALL), -ENODEV);
	see(t, "unknown", set_iommu(t, 77), -ENODEV);
	see(t, "no-iommu", set_iommu(t, VFIO_NOIOMMU_IOMMU), 0);
	see(t, "again", set_iommu(t, VFIO_NOIOMMU_IOMMU), -EINVAL);
	t->dev = (int)get_device(t->group, t->f->bdf);
	see(t, "device", t->dev < 0 ? t->dev : 0, 0);
}

static void status(struct t *t)
{
	struct vfio_group_status st = {.argsz = sizeof(st)};

	see(t, "rc", sys(ioctl(t->group, VFIO_GROUP_GET_STATUS, &st)), 0);
	see_hex(t, "flags", st.flags, VFIO_GROUP_FLAGS_VIABLE | VFIO_GROUP_FLAGS_CONTAINER_SET);
}

/* Nothing is mapped: the calls that would are not there, whatever they say. */
static void no_mapping(struct t *t)
{
	char *page = new_pages(t, 1);
	uint64_t size = PAGE;

	see(t, "map", dma_map(t->container, 0x100000, page, PAGE), -ENOTTY);
	see(t, "map-misaligned", dma_map(t->container, 0x100001, page, PAGE), -ENOTTY);
	see(t, "unmap", dma_unmap(t->container, 0x100000, &size), -ENOTTY);
}

static void other_calls(struct t *t)
{
	struct vfio_iommu_type1_info info = {.argsz = sizeof(info)};

	see(t, "version", sys(ioctl(t->container, VFIO_GET_API_VERSION)), 0);
	see(t, "info", sys(ioctl(t->container, VFIO_IOMMU_GET_INFO, &info)), -ENOTTY);
	see(t, "map-fault", sys(ioctl(t->container, VFIO_IOMMU_MAP_DMA, 8)), -ENOTTY);
	see(t, "dirty", sys(ioctl(t->container, VFIO_IOMMU_DIRTY_PAGES, 8)), -ENOTTY);
	see(t, "unknown", sys(ioctl(t->container, _IO(';', 250))), -ENOTTY);
}

/* ---- two groups ------------------------------------------------------------------------------ */

static void joined_by_real(struct t *t)
{
	int real;

	need_real_other(t);
	real = other_group(t);
	see(t, "join", set_container(real, t->container), -EPERM);
	must(t, "set-iommu", set_iommu(t, VFIO_NOIOMMU_IOMMU));
	see(t, "join-after", set_container(real, t->container), -EPERM);
}

static void joins_real(struct t *t)
{
	int real;

	need_real_other(t);
	real = other_group(t);
	must(t, "set-container", set_container(real, t->container));
	see(t, "join", set_container(t->group, t->container), -EPERM);
	must(t, "set-iommu", set_iommu(t, VFIO_TYPE1v2_IOMMU));
	see(t, "join-after", set_container(t->group, t->container), -EPERM);
	must(t, "leave", sys(ioctl(real, VFIO_GROUP_UNSET_CONTAINER)));
	see(t, "emptied", set_container(t->group, t->container), 0);
	see(t, "set-iommu", set_iommu(t, VFIO_NOIOMMU_IOMMU), 0);
}

static const struct rule rules[] = {
	{"A.9/off/extension", OPEN_NOTHING, NEED_MODE_OFF, off_extension},
	{"A.9/off/real-group", OPEN_MEMBER, NEED_IOMMU, real_group},
	{"A.9/denied/open", OPEN_NOTHING, NEED_DENIED, denied},
	{"A.9/extension", OPEN_GROUP, NEED_NOIOMMU, extensions},
	{"A.9/node/name", OPEN_NOTHING, NEED_NOIOMMU, node},
	{"A.9/node/opened-twice", OPEN_GROUP, NEED_NOIOMMU, opened_twice},
	{"A.9/SET_IOMMU/types", OPEN_GROUP, NEED_NOIOMMU, types},
	{"A.9/GET_STATUS/flags", OPEN_DEVICE, NEED_NOIOMMU, status},
	{"A.9/calls/no-mapping", OPEN_DEVICE, NEED_NOIOMMU, no_mapping},
	{"A.9/calls/others", OPEN_DEVICE, NEED_NOIOMMU, other_calls},
	{"A.9/two-groups/joined-by-real", OPEN_MEMBER, NEED_NOIOMMU | NEED_OTHER, joined_by_real},
	{"A.9/two-groups/joins-real", OPEN_GROUP, NEED_NOIOMMU | NEED_OTHER, joins_real},
};
const struct section section_a9 = SECTION("A.9", rules);
