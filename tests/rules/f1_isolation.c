// SPDX-License-Identifier: BSD-3-Clause
/* F: interrupts are isolated, or a group is not attached; and the window that they are written to.
 */
#include <fcntl.h>
#include "facts.h"

#define WINDOW_FIRST 0xfee00000ull
#define WINDOW_END   0xfef00000ull

static long set_iommu(struct t *t, long type)
{
	return sys(ioctl(t->container, VFIO_SET_IOMMU, type));
}

static void refused(struct t *t)
{
	see(t, "type-1", set_iommu(t, VFIO_TYPE1_IOMMU), -EPERM);
	see(t, "type-1v2", set_iommu(t, VFIO_TYPE1v2_IOMMU), -EPERM);
	see(t, "unmap-all", set_iommu(t, VFIO_UNMAP_ALL), -EINVAL);
	see(t, "unknown", set_iommu(t, 77), -ENODEV);
	/* It stays a container without an IOMMU. */
	see(t, "extension", sys(ioctl(t->container, VFIO_CHECK_EXTENSION, VFIO_TYPE1_IOMMU)), 1);
	see(t, "device", get_device(t->group, t->f->bdf), -EINVAL);
	see(t, "unset", sys(ioctl(t->group, VFIO_GROUP_UNSET_CONTAINER)), 0);
}

static void attached(struct t *t)
{
	int other;

	see(t, "type-1v2", set_iommu(t, VFIO_TYPE1v2_IOMMU), 0);
	if (!t->other || t->other->noiommu)
		return;
	other = open_group(t->other);
	must(t, "open-other", sys(other));
	see(t, "join", set_container(other, t->container), 0);
}

static void window_mapped(struct t *t)
{
	char *pages = new_pages(t, 512);
	const struct {
		const char *label;
		uint64_t iova, size;
		long want;
	} calls[] = {
		{"first-page", WINDOW_FIRST, PAGE, -EINVAL},
		{"last-page", WINDOW_END - PAGE, PAGE, -EINVAL},
		{"inside", WINDOW_FIRST + 16 * PAGE, 16 * PAGE, -EINVAL},
		{"all", WINDOW_FIRST, WINDOW_END - WINDOW_FIRST, -EINVAL},
		{"into", WINDOW_FIRST - PAGE, 2 * PAGE, -EINVAL},
		{"out-of", WINDOW_END - PAGE, 2 * PAGE, -EINVAL},
		{"across", WINDOW_FIRST - PAGE, WINDOW_END - WINDOW_FIRST + 2 * PAGE, -EINVAL},
		{"up-to", WINDOW_FIRST - PAGE, PAGE, 0},
		{"behind", WINDOW_END, PAGE, 0},
	};

	for (size_t i = 0; i < ARRAY_LEN(calls); i++)
		see(t, calls[i].label, dma_map(t->container, calls[i].iova, pages, calls[i].size),
		    calls[i].want);
}

static void window_in_ranges(struct t *t)
{
	static union {
		struct vfio_iommu_type1_info info;
		char room[PAGE];
	} u;
	const struct vfio_iommu_type1_info_cap_iova_range *cap = NULL;
	bool before = false, behind = false, inside = false;

	u.info.argsz = sizeof(u);
	must(t, "info", sys(ioctl(t->container, VFIO_IOMMU_GET_INFO, &u.info)));
	for (uint32_t at = u.info.cap_offset; at && at < sizeof(u) - 64;) {
		const struct vfio_info_cap_header *head = (const void *)(u.room + at);

		if (head->id == VFIO_IOMMU_TYPE1_INFO_CAP_IOVA_RANGE)
			cap = (const void *)head;
		at = head->next;
	}
	must(t, "capability", cap ? 0 : -ENOENT);
	for (uint32_t i = 0; i < cap->nr_iovas; i++) {
		uint64_t first = cap->iova_ranges[i].start, last = cap->iova_ranges[i].end;

		inside |= first < WINDOW_END && last >= WINDOW_FIRST;
		before |= last == WINDOW_FIRST - 1;
		behind |= first == WINDOW_END;
	}
	see_bool(t, "inside", inside, false);
	see_bool(t, "up-to", before, true);
	see_bool(t, "behind", behind, true);
}

static void window_reserved(struct t *t)
{
	char path[96], text[1024] = "";
	int fd;

	snprintf(path, sizeof(path), "/sys/kernel/iommu_groups/%u/reserved_regions", t->f->group);
	fd = open(path, O_RDONLY);
	must(t, "open", sys(fd));
	must(t, "read", sys(read(fd, text, sizeof(text) - 1)));
	see_true(t, "listed", strstr(text, "0x00000000fee00000 0x00000000feefffff msi\n"));
}

static const struct rule rules[] = {
	{"F.1/attach/refused", OPEN_MEMBER, NEED_REFUSED, refused},
	{"F.1/attach/allowed", OPEN_MEMBER, NEED_IOMMU, attached},
	{"F.1/window/map", OPEN_TYPE1V2, NEED_IOMMU, window_mapped},
	{"F.1/window/ranges", OPEN_TYPE1V2, NEED_IOMMU, window_in_ranges},
	{"F.1/window/reserved-region", OPEN_NOTHING, NEED_IOMMU | NEED_RAW, window_reserved},
};
const struct section section_f1 = SECTION("F.1", rules);
