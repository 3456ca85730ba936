// SPDX-License-Identifier: BSD-3-Clause
/* D.1: groups and containers: who belongs to whom, in which order, and what each call refuses. */
#include <fcntl.h>
#include "facts.h"

static long unset(int group)
{
	return sys(ioctl(group, VFIO_GROUP_UNSET_CONTAINER));
}

static long set_iommu(int container, long type)
{
	return sys(ioctl(container, VFIO_SET_IOMMU, type));
}

static long status(int group, uint32_t argsz, uint32_t *flags)
{
	struct vfio_group_status st = {.argsz = argsz};
	long rc = sys(ioctl(group, VFIO_GROUP_GET_STATUS, &st));

	*flags = st.flags;
	return rc;
}

static int other_group(struct t *t)
{
	int fd = open_group(t->other);

	must(t, "open-other", sys(fd));
	return fd;
}

/* ---- group ----------------------------------------------------------------------------------- */

static void opened_twice(struct t *t)
{
	int fd = open_group(t->f);

	see(t, "second", fd < 0 ? -errno : 0, -EBUSY);
	close(t->group);
	t->group = fd = open_group(t->f);
	see(t, "after-close", fd < 0 ? -errno : 0, 0);
}

static void status_flags(struct t *t)
{
	uint32_t flags;

	see(t, "argsz-0", status(t->group, 0, &flags), -EINVAL);
	see(t, "argsz-7", status(t->group, 7, &flags), -EINVAL);
	see(t, "argsz-8", status(t->group, 8, &flags), 0);
	see_hex(t, "alone", flags, VFIO_GROUP_FLAGS_VIABLE);
	see(t, "argsz-max", status(t->group, 0xffffffff, &flags), 0);
	must(t, "set", set_container(t->group, t->container));
	see(t, "rc", status(t->group, 8, &flags), 0);
	see_hex(t, "member", flags, VFIO_GROUP_FLAGS_VIABLE | VFIO_GROUP_FLAGS_CONTAINER_SET);
	must(t, "unset", unset(t->group));
	see(t, "rc", status(t->group, 8, &flags), 0);
	see_hex(t, "left", flags, VFIO_GROUP_FLAGS_VIABLE);
}

static void set_wrong(struct t *t)
{
	int null = open("/dev/null", O_RDWR);

	see(t, "closed", set_container(t->group, 999), -EBADF);
	see(t, "null-device", set_container(t->group, null), -EBADFD);
	see(t, "group-itself", set_container(t->group, t->group), -EBADFD);
	see(t, "eventfd", set_container(t->group, new_eventfd(t)), -EBADFD);
	see(t, "pointer", sys(ioctl(t->group, VFIO_GROUP_SET_CONTAINER, at_page_end(t, 3))),
	    -EFAULT);
	see(t, "good", set_container(t->group, t->container), 0);
}

static void set_negative(struct t *t)
{
	see(t, "minus-1", set_container(t->group, -1), -EBADF);
	see(t, "lowest", set_container(t->group, INT32_MIN), -EBADF);
}

static void set_device(struct t *t)
{
	int second;

	see(t, "member-device", set_container(t->group, t->dev), -EINVAL);
	if (!t->other)
		return;
	second = other_group(t);
	see(t, "other-device", set_container(second, t->dev), -EBADFD);
}

static void set_twice(struct t *t)
{
	int second = open_container();

	must(t, "set", set_container(t->group, t->container));
	see(t, "same", set_container(t->group, t->container), -EINVAL);
	see(t, "other", set_container(t->group, second), -EINVAL);
	see(t, "order-closed", set_container(t->group, 999), -EBADF);
	see(t, "order-null-device", set_container(t->group, open("/dev/null", O_RDWR)), -EINVAL);
}

static void unset_errors(struct t *t)
{
	see(t, "none", unset(t->group), -EINVAL);
	must(t, "set", set_container(t->group, t->container));
	see(t, "set", unset(t->group), 0);
	see(t, "again", unset(t->group), -EINVAL);
	must(t, "set-again", set_container(t->group, t->container));
	must(t, "set-iommu", set_iommu(t->container, VFIO_TYPE1v2_IOMMU));
	see(t, "with-iommu", unset(t->group), 0);
}

static void unset_while_open(struct t *t)
{
	see(t, "open", unset(t->group), -EBUSY);
	close(t->dev);
	t->dev = -1;
	see(t, "closed", unset(t->group), 0);
}

/* ---- container ------------------------------------------------------------------------------- */

static void iommu_alone(struct t *t)
{
	see(t, "type1", set_iommu(t->container, VFIO_TYPE1_IOMMU), -EINVAL);
	see(t, "unknown-type", set_iommu(t->container, 99), -EINVAL);
	see(t, "noiommu", set_iommu(t->container, VFIO_NOIOMMU_IOMMU), -EINVAL);
}

static void iommu_unknown(struct t *t)
{
	see(t, "zero", set_iommu(t->container, 0), -ENODEV);
	see(t, "spapr", set_iommu(t->container, VFIO_SPAPR_TCE_IOMMU), -ENODEV);
	see(t, "noiommu", set_iommu(t->container, VFIO_NOIOMMU_IOMMU), -ENODEV);
	/* An extension that type 1 has, but no type: it accepts, then refuses to open. */
	see(t, "unmap-all", set_iommu(t->container, VFIO_UNMAP_ALL), -EINVAL);
	see(t, "unknown", set_iommu(t->container, 99), -ENODEV);
	see(t, "negative", set_iommu(t->container, -1), -ENODEV);
	see(t, "type1-after", set_iommu(t->container, VFIO_TYPE1_IOMMU), 0);
}

static void iommu_twice(struct t *t)
{
	see(t, "first", set_iommu(t->container, VFIO_TYPE1_IOMMU), 0);
	see(t, "same", set_iommu(t->container, VFIO_TYPE1_IOMMU), -EINVAL);
	see(t, "other", set_iommu(t->container, VFIO_TYPE1v2_IOMMU), -EINVAL);
	see(t, "unknown", set_iommu(t->container, 99), -EINVAL);
}

static void early_calls(struct t *t)
{
	uint64_t size = PAGE;
	struct vfio_iommu_type1_info info = {.argsz = sizeof(info)};
	struct vfio_iommu_type1_dirty_bitmap dirty = {.argsz = sizeof(dirty)};

	see(t, "map", dma_map(t->container, 0, new_pages(t, 1), PAGE), -EINVAL);
	see(t, "unmap", dma_unmap(t->container, 0, &size), -EINVAL);
	see(t, "info", sys(ioctl(t->container, VFIO_IOMMU_GET_INFO, &info)), -EINVAL);
	see(t, "dirty", sys(ioctl(t->container, VFIO_IOMMU_DIRTY_PAGES, &dirty)), -EINVAL);
	see(t, "map-null", sys(ioctl(t->container, VFIO_IOMMU_MAP_DMA, NULL)), -EINVAL);
}

static void last_group_drops(struct t *t)
{
	void *p = new_pages(t, 1);
	uint64_t iova = t->f->iova_first;

	must(t, "map", dma_map(t->container, iova, p, PAGE));
	see(t, "map-again", dma_map(t->container, iova, p, PAGE), -EEXIST);
	see(t, "unset", unset(t->group), 0);
	see(t, "map-without-iommu", dma_map(t->container, iova, p, PAGE), -EINVAL);
	see(t, "set", set_container(t->group, t->container), 0);
	see(t, "set-iommu-other-type", set_iommu(t->container, VFIO_TYPE1_IOMMU), 0);
	see(t, "map-anew", dma_map(t->container, iova, p, PAGE), 0);
}

static void closed_group_drops(struct t *t)
{
	void *p = new_pages(t, 1);

	must(t, "map", dma_map(t->container, t->f->iova_first, p, PAGE));
	close(t->group);
	t->group = -1;
	see(t, "map-without-iommu", dma_map(t->container, t->f->iova_first, p, PAGE), -EINVAL);
	see(t, "set-iommu", set_iommu(t->container, VFIO_TYPE1v2_IOMMU), -EINVAL);
}

/* A group keeps its container, though nobody holds that any more. */
static void closed_container_stays(struct t *t)
{
	uint32_t flags;
	int dev;

	close(t->container);
	t->container = -1;
	see(t, "status", status(t->group, 8, &flags), 0);
	see_hex(t, "flags", flags, 3);
	dev = (int)get_device(t->group, t->f->bdf);
	see(t, "device", dev < 0 ? dev : 0, 0);
}

/* ---- GET_DEVICE_FD --------------------------------------------------------------------------- */

struct name_call {
	const char *format; /* %s is the device's name */
	long want;          /* 0: a descriptor */
};

static void name_call(struct t *t)
{
	const struct name_call *call = t->rule->arg;
	char name[256];
	long rc;

	snprintf(name, sizeof(name), call->format, t->f->bdf);
	rc = get_device(t->group, name);
	see(t, "rc", rc < 0 ? rc : 0, call->want);
}

static void name_prefix(struct t *t)
{
	char name[64];

	snprintf(name, sizeof(name), "%s", t->f->bdf);
	name[strlen(name) - 1] = '\0';
	see(t, "without-last", get_device(t->group, name), -ENODEV);
	see(t, "without-domain", get_device(t->group, strchr(t->f->bdf, ':') + 1), -ENODEV);
}

static void name_other(struct t *t)
{
	see(t, "rc", get_device(t->group, t->other->bdf), -ENODEV);
}

static void name_memory(struct t *t)
{
	char *end = at_page_end(t, 4), *longer = new_pages(t, 3);

	memcpy(end, "0000", 4);
	see(t, "null", get_device(t->group, NULL), -EFAULT);
	see(t, "unterminated", get_device(t->group, end), -EFAULT);
	memset(longer, 'x', 3 * PAGE);
	see(t, "longer-than-a-page", get_device(t->group, longer), -EINVAL);
	memset(longer, ' ', PAGE);
	memcpy(longer, t->f->bdf, strlen(t->f->bdf));
	longer[PAGE - 1] = '\0';
	long rc = get_device(t->group, longer);
	see(t, "a-page-of-spaces", rc < 0 ? rc : 0, 0);
}

#define NAME(setup, ...)                                                                           \
	setup, 0, name_call, &(const struct name_call)                                             \
	{                                                                                          \
		__VA_ARGS__                                                                        \
	}
#define TOKEN "83d8f4f2-509f-382f-3c1e-e6bfe0fa1001"

static const struct rule rules[] = {
	{"D.1/open/twice", OPEN_GROUP, 0, opened_twice},
	{"D.1/GET_STATUS/flags", OPEN_GROUP, 0, status_flags},
	{"D.1/SET_CONTAINER/wrong-file", OPEN_GROUP, 0, set_wrong},
	{"D.1/SET_CONTAINER/negative", OPEN_GROUP, 0, set_negative},
	{"D.1/SET_CONTAINER/device", OPEN_DEVICE, 0, set_device},
	{"D.1/SET_CONTAINER/twice", OPEN_GROUP, 0, set_twice},
	{"D.1/UNSET_CONTAINER/errors", OPEN_GROUP, 0, unset_errors},
	{"D.1/UNSET_CONTAINER/while-open", OPEN_DEVICE, 0, unset_while_open},
	{"D.1/SET_IOMMU/no-group", OPEN_GROUP, 0, iommu_alone},
	{"D.1/SET_IOMMU/unknown", OPEN_MEMBER, 0, iommu_unknown},
	{"D.1/SET_IOMMU/twice", OPEN_MEMBER, 0, iommu_twice},
	{"D.1/container/calls-before-group", OPEN_GROUP, 0, early_calls},
	{"D.1/container/calls-before-iommu", OPEN_MEMBER, 0, early_calls},
	{"D.1/container/last-group-drops-mappings", OPEN_TYPE1V2, 0, last_group_drops},
	{"D.1/container/closed-group-leaves", OPEN_TYPE1V2, 0, closed_group_drops},
	{"D.1/container/closed-container-stays", OPEN_TYPE1V2, 0, closed_container_stays},
	{"D.1/GET_DEVICE_FD/good", NAME(OPEN_TYPE1V2, "%s", 0)},
	{"D.1/GET_DEVICE_FD/space-after", NAME(OPEN_TYPE1V2, "%s ", 0)},
	{"D.1/GET_DEVICE_FD/spaces-after", NAME(OPEN_TYPE1V2, "%s   ", 0)},
	{"D.1/GET_DEVICE_FD/space-before", NAME(OPEN_TYPE1V2, " %s", -ENODEV)},
	{"D.1/GET_DEVICE_FD/empty", NAME(OPEN_TYPE1V2, "", -ENODEV)},
	{"D.1/GET_DEVICE_FD/unknown", NAME(OPEN_TYPE1V2, "ffff:ff:1f.7", -ENODEV)},
	{"D.1/GET_DEVICE_FD/longer", NAME(OPEN_TYPE1V2, "%s0", -ENODEV)},
	{"D.1/GET_DEVICE_FD/newline-after", NAME(OPEN_TYPE1V2, "%s\n", -ENODEV)},
	{"D.1/GET_DEVICE_FD/tab-after", NAME(OPEN_TYPE1V2, "%s\tx", -ENODEV)},
	{"D.1/GET_DEVICE_FD/prefix", OPEN_TYPE1V2, 0, name_prefix},
	{"D.1/GET_DEVICE_FD/of-other-group", OPEN_TYPE1V2, NEED_OTHER, name_other},
	{"D.1/GET_DEVICE_FD/memory", OPEN_TYPE1V2, 0, name_memory},
	{"D.1/GET_DEVICE_FD/unknown-option", NAME(OPEN_TYPE1V2, "%s x=1", -EINVAL)},
	{"D.1/GET_DEVICE_FD/option-without-value", NAME(OPEN_TYPE1V2, "%s vf_token=", -EINVAL)},
	{"D.1/GET_DEVICE_FD/token-short", NAME(OPEN_TYPE1V2, "%s vf_token=1234", -EINVAL)},
	{"D.1/GET_DEVICE_FD/token-not-hexadecimal",
	 NAME(OPEN_TYPE1V2, "%s vf_token=zzd8f4f2-509f-382f-3c1e-e6bfe0fa1001", -EINVAL)},
	{"D.1/GET_DEVICE_FD/token-unwanted", OPEN_TYPE1V2, NEED_NO_SRIOV, name_call,
	 &(const struct name_call){"%s vf_token=" TOKEN, -EINVAL}},
	{"D.1/GET_DEVICE_FD/token-of-physical-function", OPEN_TYPE1V2, NEED_SRIOV, name_call,
	 &(const struct name_call){"%s vf_token=" TOKEN, 0}},
	{"D.1/GET_DEVICE_FD/token-twice",
	 NAME(OPEN_TYPE1V2, "%s vf_token=" TOKEN " vf_token=" TOKEN, -EINVAL)},
	{"D.1/GET_DEVICE_FD/unknown-name-and-token", NAME(OPEN_TYPE1V2, "no vf_token=1", -ENODEV)},
	{"D.1/GET_DEVICE_FD/no-container", NAME(OPEN_GROUP, "%s", -EINVAL)},
	{"D.1/GET_DEVICE_FD/no-container-unknown-name", NAME(OPEN_GROUP, "no", -ENODEV)},
	{"D.1/GET_DEVICE_FD/no-iommu", NAME(OPEN_MEMBER, "%s", -EINVAL)},
	{"D.1/GET_DEVICE_FD/no-iommu-unknown-name", NAME(OPEN_MEMBER, "no", -ENODEV)},
};
const struct section section_d1 = SECTION("D.1", rules);

/* ---- two groups ------------------------------------------------------------------------------ */

static void two_before(struct t *t)
{
	int second = other_group(t);

	see(t, "second", set_container(second, t->container), 0);
	see(t, "set-iommu", set_iommu(t->container, VFIO_TYPE1v2_IOMMU), 0);
	int a = (int)get_device(t->group, t->f->bdf), b = (int)get_device(second, t->other->bdf);
	see(t, "first-device", a < 0 ? a : 0, 0);
	see(t, "second-device", b < 0 ? b : 0, 0);
}

static void two_after(struct t *t)
{
	int second = other_group(t);
	void *p = new_pages(t, 1);
	uint64_t iova = t->f->iova_first, size = PAGE;

	must(t, "map", dma_map(t->container, iova, p, PAGE));
	see(t, "second", set_container(second, t->container), 0);
	int b = (int)get_device(second, t->other->bdf);
	see(t, "second-device", b < 0 ? b : 0, 0);
	see(t, "map-again", dma_map(t->container, iova, p, PAGE), -EEXIST);
	see(t, "first-leaves", unset(t->group), 0);
	see(t, "map-again", dma_map(t->container, iova, p, PAGE), -EEXIST);
	see(t, "second-busy", unset(second), -EBUSY);
	see(t, "unmap", dma_unmap(t->container, iova, &size), 0);
	see(t, "size", (long)size, PAGE);
}

static void two_containers(struct t *t)
{
	int second = other_group(t), container = open_container();
	void *p = new_pages(t, 1);
	uint64_t iova = t->f->iova_first, size = PAGE;

	see(t, "second", set_container(second, container), 0);
	see(t, "set-iommu", set_iommu(container, VFIO_TYPE1_IOMMU), 0);
	see(t, "map-first", dma_map(t->container, iova, p, PAGE), 0);
	see(t, "map-second", dma_map(container, iova, p, PAGE), 0);
	see(t, "unmap-first", dma_unmap(t->container, iova, &size), 0);
	see(t, "second-kept", dma_map(container, iova, p, PAGE), -EEXIST);
}

static void two_last_drops(struct t *t)
{
	int second = other_group(t);
	void *p = new_pages(t, 1);

	must(t, "second", set_container(second, t->container));
	must(t, "map", dma_map(t->container, t->f->iova_first, p, PAGE));
	see(t, "second-leaves", unset(second), 0);
	see(t, "kept", dma_map(t->container, t->f->iova_first, p, PAGE), -EEXIST);
	see(t, "first-leaves", unset(t->group), 0);
	see(t, "gone", dma_map(t->container, t->f->iova_first, p, PAGE), -EINVAL);
}

/* What GET_INFO tells of ranges, as a sum that depends on nothing else. */
static uint64_t ranges_of(struct t *t, uint32_t *count)
{
	static union {
		struct vfio_iommu_type1_info info;
		char room[PAGE];
	} u;
	uint64_t sum = 0;

	memset(&u, 0, sizeof(u));
	u.info.argsz = sizeof(u);
	must(t, "info", sys(ioctl(t->container, VFIO_IOMMU_GET_INFO, &u.info)));
	*count = 0;
	for (uint32_t at = u.info.cap_offset; at && at < sizeof(u) - 64;) {
		const struct vfio_info_cap_header *head = (const void *)(u.room + at);
		const struct vfio_iommu_type1_info_cap_iova_range *cap = (const void *)head;

		if (head->id == VFIO_IOMMU_TYPE1_INFO_CAP_IOVA_RANGE) {
			*count = cap->nr_iovas;
			for (uint32_t i = 0; i < cap->nr_iovas && i < 64; i++)
				sum = sum * 31 + cap->iova_ranges[i].start * 7 +
				      cap->iova_ranges[i].end;
		}
		at = head->next;
	}
	return sum;
}

static void two_ranges(struct t *t)
{
	uint32_t before, both, after;
	uint64_t sum = ranges_of(t, &before);
	int second = other_group(t);

	see_true(t, "some", before > 0);
	must(t, "second", set_container(second, t->container));
	see_bool(t, "same-with-second", ranges_of(t, &both) == sum && both == before, true);
	must(t, "first-leaves", unset(t->group));
	see_bool(t, "same-with-second-alone", ranges_of(t, &after) == sum && after == before, true);
}

/* While a mapping has no address, nobody can join who would have to pin it. */
static void two_vaddr_invalid(struct t *t)
{
	int second = other_group(t);
	void *p = new_pages(t, 1);
	struct vfio_iommu_type1_dma_unmap invalidate = {.argsz = sizeof(invalidate),
							.flags = VFIO_DMA_UNMAP_FLAG_VADDR,
							.iova = t->f->iova_first,
							.size = PAGE};
	struct vfio_iommu_type1_dma_map update = {.argsz = sizeof(update),
						  .flags = VFIO_DMA_MAP_FLAG_VADDR,
						  .vaddr = (uintptr_t)p,
						  .iova = t->f->iova_first,
						  .size = PAGE};

	must(t, "map", dma_map(t->container, t->f->iova_first, p, PAGE));
	see(t, "invalidate", sys(ioctl(t->container, VFIO_IOMMU_UNMAP_DMA, &invalidate)), 0);
	see(t, "second", set_container(second, t->container), -EBUSY);
	see(t, "none-to-leave", unset(second), -EINVAL);
	see(t, "update", sys(ioctl(t->container, VFIO_IOMMU_MAP_DMA, &update)), 0);
	see(t, "second", set_container(second, t->container), 0);
}

static const struct rule order_rules[] = {
	{"D.1/two-groups/while-vaddr-invalid", OPEN_TYPE1V2, NEED_OTHER, two_vaddr_invalid},
	{"D.1/two-groups/both-before-iommu", OPEN_MEMBER, NEED_OTHER, two_before},
	{"D.1/two-groups/second-after-mapping", OPEN_TYPE1V2, NEED_OTHER, two_after},
	{"D.1/two-groups/containers-apart", OPEN_TYPE1V2, NEED_OTHER, two_containers},
	{"D.1/two-groups/ranges", OPEN_TYPE1V2, NEED_OTHER, two_ranges},
	{"D.1/two-groups/last-drops-mappings", OPEN_TYPE1V2, NEED_OTHER, two_last_drops},
};
const struct section section_d1_order = SECTION("D.1", order_rules);
