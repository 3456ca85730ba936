// SPDX-License-Identifier: BSD-3-Clause
/* D.2: UNMAP_DMA in both versions, and what GET_INFO tells. */
#include <sys/wait.h>
#include "facts.h"

#define RW        (VFIO_DMA_MAP_FLAG_READ | VFIO_DMA_MAP_FLAG_WRITE)

#define GET_DIRTY VFIO_DMA_UNMAP_FLAG_GET_DIRTY_BITMAP
#define ALL       VFIO_DMA_UNMAP_FLAG_ALL
#define VADDR     VFIO_DMA_UNMAP_FLAG_VADDR

static uint64_t base(const struct t *t)
{
	return t->f->iova_first + 0x100000;
}

/* ---- pictures -------------------------------------------------------------------------------- */

/*
 * @before shows what is mapped, a character a page: a run of one letter is one mapping, '.' is a
 * hole.  Then @pages pages from page @first are unmapped; @after shows what is left ('x' or '.').
 */
struct picture {
	const char *before;
	unsigned first, pages;
	uint32_t flags;
	long rc;
	unsigned unmapped;
	const char *after;
};

static void picture(struct t *t)
{
	const struct picture *pic = t->rule->arg;
	size_t n = strlen(pic->before);
	char left[32] = "";
	char *p = new_pages(t, n);
	struct vfio_iommu_type1_dma_unmap unmap = {
		.argsz = sizeof(unmap),
		.flags = pic->flags,
		.iova = pic->flags & ALL ? 0 : base(t) + pic->first * PAGE,
		.size = pic->flags & ALL ? 0 : pic->pages * PAGE,
	};
	uint64_t asked = unmap.size;

	for (size_t i = 0, len; i < n; i += len) {
		for (len = 1; i + len < n && pic->before[i + len] == pic->before[i]; len++)
			;
		if (pic->before[i] != '.')
			must(t, "map",
			     dma_map(t->container, base(t) + i * PAGE, p + i * PAGE, len * PAGE));
	}
	see(t, "rc", sys(ioctl(t->container, VFIO_IOMMU_UNMAP_DMA, &unmap)), pic->rc);
	if (pic->rc)
		see_bool(t, "size-kept", unmap.size == asked, true);
	else
		see(t, "pages", (long)(unmap.size / PAGE), pic->unmapped);
	for (size_t i = 0; i < n; i++)
		left[i] = dma_map(t->container, base(t) + i * PAGE, p + i * PAGE, PAGE) == -EEXIST
				  ? 'x'
				  : '.';
	see_text(t, "left", left, pic->after);
}

/* ---- arguments ------------------------------------------------------------------------------- */

struct unmap_call {
	uint32_t argsz, flags; /* argsz 0: the struct's */
	uint64_t iova, size;   /* relative to the mapped pages, unless absolute */
	bool absolute;
	long want;
	long before_72;
};

static void unmap_call(struct t *t)
{
	const struct unmap_call *call = t->rule->arg;
	struct {
		struct vfio_iommu_type1_dma_unmap unmap;
		struct vfio_bitmap bitmap;
	} u = {.unmap = {
		       .argsz = call->argsz ? call->argsz : sizeof(u.unmap),
		       .flags = call->flags,
		       .iova = call->absolute ? call->iova : base(t) + call->iova,
		       .size = call->size,
	       }};
	static uint64_t bits[8];
	long want = call->before_72 && !since(t, 7, 0) ? call->before_72 : call->want;

	u.bitmap = (struct vfio_bitmap){.pgsize = PAGE, .size = 8, .data = (void *)bits};
	must(t, "map", dma_map(t->container, base(t), new_pages(t, 4), 4 * PAGE));
	see(t, "rc", sys(ioctl(t->container, VFIO_IOMMU_UNMAP_DMA, &u)), want);
	if (want)
		see_bool(t, "size-kept", u.unmap.size == call->size, true);
}

static void everything_twice(struct t *t)
{
	struct vfio_iommu_type1_dma_unmap unmap = {.argsz = sizeof(unmap), .flags = ALL};

	must(t, "map", dma_map(t->container, base(t), new_pages(t, 4), 4 * PAGE));
	see(t, "all", sys(ioctl(t->container, VFIO_IOMMU_UNMAP_DMA, &unmap)), 0);
	see(t, "size", (long)(unmap.size / PAGE), 4);
	unmap.size = 0;
	see(t, "all-again", sys(ioctl(t->container, VFIO_IOMMU_UNMAP_DMA, &unmap)), 0);
	see(t, "size", (long)unmap.size, 0);
}

static void whole_space(struct t *t)
{
	uint64_t size = 1ull << 63;

	must(t, "map", dma_map(t->container, base(t), new_pages(t, 4), 4 * PAGE));
	see(t, "unmap-half-of-space", dma_unmap(t->container, 0, &size), 0);
	see(t, "pages", (long)(size / PAGE), 4);
}

/* ---- vaddr ----------------------------------------------------------------------------------- */

static long invalidate(struct t *t, uint64_t iova, uint64_t size)
{
	struct vfio_iommu_type1_dma_unmap unmap = {
		.argsz = sizeof(unmap), .flags = VADDR, .iova = iova, .size = size};

	return sys(ioctl(t->container, VFIO_IOMMU_UNMAP_DMA, &unmap));
}

static long update(struct t *t, uint64_t iova, const void *p, uint64_t size)
{
	struct vfio_iommu_type1_dma_map map = {.argsz = sizeof(map),
					       .flags = VFIO_DMA_MAP_FLAG_VADDR,
					       .vaddr = (uintptr_t)p,
					       .iova = iova,
					       .size = size};

	return sys(ioctl(t->container, VFIO_IOMMU_MAP_DMA, &map));
}

static void vaddr_life(struct t *t)
{
	char *p = new_pages(t, 4);
	uint64_t size = 4 * PAGE;

	must(t, "map", dma_map(t->container, base(t), p, 4 * PAGE));
	see(t, "update-valid", update(t, base(t), p, 4 * PAGE), -EINVAL);
	see(t, "invalidate", invalidate(t, base(t), 4 * PAGE), 0);
	see(t, "invalidate-again", invalidate(t, base(t), 4 * PAGE), -EINVAL);
	see(t, "map-over-it", dma_map(t->container, base(t), p, 4 * PAGE), -EEXIST);
	see(t, "update-part", update(t, base(t), p, PAGE), -EINVAL);
	see(t, "update-elsewhere", update(t, base(t) + 16 * PAGE, p, PAGE), -ENOENT);
	see(t, "update", update(t, base(t), p, 4 * PAGE), 0);
	see(t, "update-again", update(t, base(t), p, 4 * PAGE), -EINVAL);
	see(t, "unmap", dma_unmap(t->container, base(t), &size), 0);
	see(t, "pages", (long)(size / PAGE), 4);
}

static void vaddr_rolled_back(struct t *t)
{
	char *p = new_pages(t, 4);

	must(t, "map", dma_map(t->container, base(t), p, PAGE));
	must(t, "map", dma_map(t->container, base(t) + PAGE, p, PAGE));
	see(t, "second", invalidate(t, base(t) + PAGE, PAGE), 0);
	see(t, "both", invalidate(t, base(t), 2 * PAGE), -EINVAL);
	see(t, "first-is-valid", update(t, base(t), p, PAGE), -EINVAL);
	see(t, "second-is-not", update(t, base(t) + PAGE, p, PAGE), 0);
}

/* Without an address it can still be unmapped, and mapped anew. */
static void vaddr_unmapped(struct t *t)
{
	char *p = new_pages(t, 4);
	uint64_t size = 4 * PAGE;

	must(t, "map", dma_map(t->container, base(t), p, 4 * PAGE));
	must(t, "invalidate", invalidate(t, base(t), 4 * PAGE));
	see(t, "unmap", dma_unmap(t->container, base(t), &size), 0);
	see(t, "pages", (long)(size / PAGE), 4);
	see(t, "update", update(t, base(t), p, 4 * PAGE), -ENOENT);
	see(t, "map-anew", dma_map(t->container, base(t), p, 2 * PAGE), 0);
}

/* The mapping goes on with the memory of another process. */
static void vaddr_other_process(struct t *t)
{
	char *p = new_pages(t, 4);
	uint64_t size = 4 * PAGE;
	int code = -1;
	pid_t pid;

	must(t, "map", dma_map(t->container, base(t), p, 4 * PAGE));
	must(t, "invalidate", invalidate(t, base(t), 4 * PAGE));
	pid = fork();
	must(t, "fork", sys(pid));
	if (!pid)
		_exit((int)-update(t, base(t), p, 4 * PAGE));
	waitpid(pid, &code, 0);
	see(t, "child-updates", WIFEXITED(code) ? -(long)WEXITSTATUS(code) : -EIO, 0);
	see(t, "update-again", update(t, base(t), p, 4 * PAGE), -EINVAL);
	see(t, "unmap", dma_unmap(t->container, base(t), &size), 0);
	see(t, "pages", (long)(size / PAGE), 4);
}

#define PIC2(...)                                                                                  \
	OPEN_TYPE1V2, 0, picture, &(const struct picture)                                          \
	{                                                                                          \
		__VA_ARGS__                                                                        \
	}
#define PIC1(...)                                                                                  \
	OPEN_TYPE1, 0, picture, &(const struct picture)                                            \
	{                                                                                          \
		__VA_ARGS__                                                                        \
	}
#define UNMAP(...)                                                                                 \
	OPEN_TYPE1V2, 0, unmap_call, &(const struct unmap_call)                                    \
	{                                                                                          \
		__VA_ARGS__                                                                        \
	}

static const struct rule rules[] = {
	{"D.2/UNMAP/argsz-0", UNMAP(1, 0, 0, PAGE, false, -EINVAL)},
	{"D.2/UNMAP/argsz-23", UNMAP(23, 0, 0, 4 * PAGE, false, -EINVAL)},
	{"D.2/UNMAP/argsz-24", UNMAP(24, 0, 0, 4 * PAGE, false, 0)},
	{"D.2/UNMAP/unknown-flag", UNMAP(0, 8, 0, 4 * PAGE, false, -EINVAL)},
	{"D.2/UNMAP/iova-misaligned", UNMAP(0, 0, 512, 4 * PAGE, false, -EINVAL)},
	{"D.2/UNMAP/size-0", UNMAP(0, 0, 0, 0, false, -EINVAL)},
	{"D.2/UNMAP/size-misaligned", UNMAP(0, 0, 0, 4 * PAGE + 512, false, -EINVAL)},
	{"D.2/UNMAP/wraps", UNMAP(0, 0, -PAGE, 2 * PAGE, true, -EOVERFLOW, -EINVAL)},
	{"D.2/UNMAP/size-max", UNMAP(0, 0, 0, -PAGE, false, -EOVERFLOW, -EINVAL)},
	{"D.2/UNMAP/top-page", UNMAP(0, 0, -PAGE, PAGE, true, 0)},
	{"D.2/UNMAP/all-with-iova", UNMAP(0, ALL, PAGE, 0, true, -EINVAL)},
	{"D.2/UNMAP/all-with-size", UNMAP(0, ALL, 0, PAGE, true, -EINVAL)},
	{"D.2/UNMAP/all-and-dirty", UNMAP(48, ALL | GET_DIRTY, 0, 0, true, -EINVAL)},
	{"D.2/UNMAP/vaddr-and-dirty", UNMAP(48, VADDR | GET_DIRTY, 0, 4 * PAGE, false, -EINVAL)},
	{"D.2/UNMAP/dirty-argsz-47", UNMAP(47, GET_DIRTY, 0, 4 * PAGE, false, -EINVAL)},
	{"D.2/UNMAP/dirty-not-tracking", UNMAP(48, GET_DIRTY, 0, 4 * PAGE, false, -EINVAL)},
	{"D.2/UNMAP/order/flag-and-wrap", UNMAP(0, 8, -PAGE, 2 * PAGE, true, -EINVAL)},
	{"D.2/UNMAP/order/misaligned-and-wrap", UNMAP(0, 0, -PAGE + 512, 2 * PAGE, true, -EINVAL)},
	{"D.2/UNMAP/order/size-misaligned-and-wrap",
	 UNMAP(0, 0, -PAGE, 2 * PAGE + 512, true, -EINVAL)},
	{"D.2/UNMAP/order/all-with-iova-misaligned", UNMAP(0, ALL, 512, 0, true, -EINVAL)},
	{"D.2/UNMAP/all-twice", OPEN_TYPE1V2, 0, everything_twice},
	{"D.2/UNMAP/all-twice-version-1", OPEN_TYPE1, 0, everything_twice},
	{"D.2/UNMAP/half-of-space", OPEN_TYPE1V2, 0, whole_space},
	{"D.2/UNMAP/v2/exact", PIC2("AAAA", 0, 4, 0, 0, 4, "....")},
	{"D.2/UNMAP/v2/hole", PIC2("..AA", 0, 2, 0, 0, 0, "..xx")},
	{"D.2/UNMAP/v2/two-wholes", PIC2("AABB", 0, 4, 0, 0, 4, "....")},
	{"D.2/UNMAP/v2/second-of-two", PIC2("AABB", 2, 2, 0, 0, 2, "xx..")},
	{"D.2/UNMAP/v2/holes-and-wholes", PIC2(".A.BB.", 0, 6, 0, 0, 3, "......")},
	{"D.2/UNMAP/v2/starts-inside", PIC2("AAAA", 1, 3, 0, -EINVAL, 0, "xxxx")},
	{"D.2/UNMAP/v2/ends-inside", PIC2("AAAA", 0, 2, 0, -EINVAL, 0, "xxxx")},
	{"D.2/UNMAP/v2/middle", PIC2("AAAA", 1, 2, 0, -EINVAL, 0, "xxxx")},
	{"D.2/UNMAP/v2/whole-and-begin-of-next", PIC2("AABB", 0, 3, 0, -EINVAL, 0, "xxxx")},
	{"D.2/UNMAP/v2/end-and-whole", PIC2("AABB", 1, 3, 0, -EINVAL, 0, "xxxx")},
	{"D.2/UNMAP/v2/hole-and-begin", PIC2("..AA", 0, 3, 0, -EINVAL, 0, "..xx")},
	{"D.2/UNMAP/v2/end-and-hole", PIC2("AA..", 1, 3, 0, -EINVAL, 0, "xx..")},
	{"D.2/UNMAP/v2/all", PIC2("A.BB.C", 0, 0, ALL, 0, 4, "......")},
	{"D.2/UNMAP/v1/exact", PIC1("AAAA", 0, 4, 0, 0, 4, "....")},
	{"D.2/UNMAP/v1/hole", PIC1("..AA", 0, 2, 0, 0, 0, "..xx")},
	{"D.2/UNMAP/v1/two-wholes", PIC1("AABB", 0, 4, 0, 0, 4, "....")},
	{"D.2/UNMAP/v1/holes-and-wholes", PIC1(".A.BB.", 0, 6, 0, 0, 3, "......")},
	{"D.2/UNMAP/v1/starts-inside", PIC1("AAAA", 1, 3, 0, 0, 0, "xxxx")},
	{"D.2/UNMAP/v1/starts-inside-then-whole", PIC1("AABB", 1, 3, 0, 0, 0, "xxxx")},
	{"D.2/UNMAP/v1/ends-inside", PIC1("AAAA", 0, 2, 0, 0, 4, "....")},
	{"D.2/UNMAP/v1/middle", PIC1("AAAA", 1, 2, 0, 0, 0, "xxxx")},
	{"D.2/UNMAP/v1/first-page", PIC1("AAAA", 0, 1, 0, 0, 4, "....")},
	{"D.2/UNMAP/v1/whole-and-begin-of-next", PIC1("AABB", 0, 3, 0, 0, 4, "....")},
	{"D.2/UNMAP/v1/hole-and-begin", PIC1("..AA", 0, 3, 0, 0, 2, "....")},
	{"D.2/UNMAP/v1/end-and-hole", PIC1("AA..", 1, 3, 0, 0, 0, "xx..")},
	{"D.2/UNMAP/v1/all", PIC1("A.BB.C", 0, 0, ALL, 0, 4, "......")},
	{"D.2/UNMAP/v1/vaddr", PIC1("AA.B", 0, 1, VADDR, 0, 2, "xx.x")},
	{"D.2/UNMAP/vaddr/life", OPEN_TYPE1V2, 0, vaddr_life},
	{"D.2/UNMAP/vaddr/rolled-back", OPEN_TYPE1V2, 0, vaddr_rolled_back},
	{"D.2/UNMAP/vaddr/unmapped-without", OPEN_TYPE1V2, 0, vaddr_unmapped},
	{"D.2/UNMAP/vaddr/other-process", OPEN_TYPE1V2, 0, vaddr_other_process},
	{"D.2/UNMAP/vaddr/hole", PIC2(".AA.", 0, 1, VADDR, 0, 0, ".xx.")},
	{"D.2/UNMAP/vaddr/bisects", PIC2("AA.B", 1, 3, VADDR, -EINVAL, 0, "xx.x")},
	{"D.2/UNMAP/vaddr/keeps", PIC2("AA.B", 0, 4, VADDR, 0, 3, "xx.x")},
	{"D.2/UNMAP/vaddr/all", PIC2("AA.B", 0, 0, VADDR | ALL, 0, 3, "xx.x")},
};
const struct section section_d2_unmap = SECTION("D.2", rules);

/* ---- GET_INFO -------------------------------------------------------------------------------- */

struct info {
	struct vfio_iommu_type1_info head;
	uint8_t room[4096];
};

static void get_info(struct t *t, struct info *info)
{
	memset(info, 0, sizeof(*info));
	info->head.argsz = sizeof(*info);
	must(t, "get-info", sys(ioctl(t->container, VFIO_IOMMU_GET_INFO, info)));
}

static const void *find_cap(const struct info *info, uint16_t id)
{
	const struct vfio_info_cap_header *cap;

	for (uint32_t at = info->head.cap_offset; at && at < sizeof(*info) - 64; at = cap->next) {
		cap = (const void *)((const char *)info + at);
		if (cap->id == id)
			return cap;
	}
	return NULL;
}

/* Never more than the caller has room for, nor than the struct has. */
static void info_written(struct t *t)
{
	struct info info;
	const uint8_t *bytes = (const uint8_t *)&info;
	unsigned end = 24;

	memset(&info, 0xee, sizeof(info));
	info.head.argsz = 16;
	see(t, "16", sys(ioctl(t->container, VFIO_IOMMU_GET_INFO, &info)), 0);
	see_true(t, "needed-is-told", info.head.argsz > 24);
	see_bool(t, "caps", info.head.flags & VFIO_IOMMU_INFO_CAPS, true);
	see_true(t, "cap-offset-untouched", bytes[16] == 0xee && bytes[20] == 0xee);
	memset(&info, 0xee, sizeof(info));
	info.head.argsz = 32;
	see(t, "32", sys(ioctl(t->container, VFIO_IOMMU_GET_INFO, &info)), 0);
	see(t, "cap-offset", (long)(bytes[16] | bytes[17] << 8), 0);
	while (end < 64 && bytes[end] == 0xee)
		end++;
	see_true(t, "behind-untouched", end == 64);
}

static void info_argsz(struct t *t)
{
	struct info info = {.head.argsz = 15};

	see(t, "15", sys(ioctl(t->container, VFIO_IOMMU_GET_INFO, &info)), -EINVAL);
	info.head.argsz = 0;
	see(t, "0", sys(ioctl(t->container, VFIO_IOMMU_GET_INFO, &info)), -EINVAL);
	info.head.argsz = 16;
	see(t, "16", sys(ioctl(t->container, VFIO_IOMMU_GET_INFO, &info)), 0);
	see_hex(t, "flags", info.head.flags, VFIO_IOMMU_INFO_PGSIZES | VFIO_IOMMU_INFO_CAPS);
}

static void info_page_sizes(struct t *t)
{
	struct info info;

	get_info(t, &info);
	see_hex(t, "smallest", info.head.iova_pgsizes & -info.head.iova_pgsizes, PAGE);
}

static void info_chain(struct t *t)
{
	const struct vfio_info_cap_header *cap;
	struct info info;
	uint32_t argsz, end = 0;
	char ids[64] = "";
	bool aligned = true;

	get_info(t, &info);
	for (uint32_t at = info.head.cap_offset; at && at < sizeof(info) - 64; at = cap->next) {
		cap = (const void *)((const char *)&info + at);
		snprintf(ids + strlen(ids), sizeof(ids) - strlen(ids), "%s%u", ids[0] ? "," : "",
			 cap->id);
		aligned &= at % 8 == 0 && cap->version == 1;
		end = at;
	}
	see_text(t, "ids", ids, "2,3,1");
	see_true(t, "aligned-version-1", aligned);
	/* Exactly what is announced is enough. */
	memset(&info, 0, sizeof(info));
	info.head.argsz = 24;
	must(t, "get-info", sys(ioctl(t->container, VFIO_IOMMU_GET_INFO, &info)));
	argsz = info.head.argsz;
	see_true(t, "announced", argsz > end);
	see(t, "rc", sys(ioctl(t->container, VFIO_IOMMU_GET_INFO, &info)), 0);
	see_true(t, "chain", info.head.cap_offset != 0);
	info.head.argsz = argsz - 1;
	see(t, "rc", sys(ioctl(t->container, VFIO_IOMMU_GET_INFO, &info)), 0);
	see(t, "one-byte-short", info.head.cap_offset, 0);
}

static void info_ranges(struct t *t)
{
	const struct vfio_iommu_type1_info_cap_iova_range *cap;
	struct info info;
	bool sorted = true, window = false, aligned = true;

	get_info(t, &info);
	cap = find_cap(&info, VFIO_IOMMU_TYPE1_INFO_CAP_IOVA_RANGE);
	see_true(t, "present", cap);
	if (!cap)
		return;
	for (uint32_t i = 0; i < cap->nr_iovas; i++) {
		uint64_t start = cap->iova_ranges[i].start, last = cap->iova_ranges[i].end;

		sorted &= start <= last && (!i || start > cap->iova_ranges[i - 1].end);
		aligned &= !(start & (PAGE - 1)) && (last & (PAGE - 1)) == PAGE - 1;
		window |= start <= 0xfeefffff && last >= 0xfee00000;
	}
	see_true(t, "sorted", sorted);
	see_true(t, "whole-pages", aligned);
	see_bool(t, "interrupt-window", window, false);
	see_bool(t, "first-is-0", cap->nr_iovas && !cap->iova_ranges[0].start, true);
	see_hex(t, "first-ends", cap->nr_iovas ? cap->iova_ranges[0].end : 0, 0xfedfffff);
}

static void info_available(struct t *t)
{
	const struct vfio_iommu_type1_info_dma_avail *cap;
	struct info info;
	uint64_t size = PAGE;

	get_info(t, &info);
	cap = find_cap(&info, VFIO_IOMMU_TYPE1_INFO_DMA_AVAIL);
	see(t, "before", cap ? (long)cap->avail : -1, 65535);
	must(t, "map", dma_map(t->container, base(t), new_pages(t, 1), PAGE));
	get_info(t, &info);
	cap = find_cap(&info, VFIO_IOMMU_TYPE1_INFO_DMA_AVAIL);
	see(t, "one-mapped", cap ? (long)cap->avail : -1, 65534);
	must(t, "unmap", dma_unmap(t->container, base(t), &size));
	get_info(t, &info);
	cap = find_cap(&info, VFIO_IOMMU_TYPE1_INFO_DMA_AVAIL);
	see(t, "unmapped", cap ? (long)cap->avail : -1, 65535);
}

static long available(struct t *t)
{
	const struct vfio_iommu_type1_info_dma_avail *cap;
	struct info info;

	get_info(t, &info);
	cap = find_cap(&info, VFIO_IOMMU_TYPE1_INFO_DMA_AVAIL);
	return cap ? (long)cap->avail : -1;
}

static void info_available_after_all(struct t *t)
{
	struct vfio_iommu_type1_dma_unmap all = {.argsz = sizeof(all), .flags = ALL};
	void *p = new_pages(t, 1);

	for (unsigned i = 0; i < 10; i++)
		must(t, "map", dma_map(t->container, base(t) + 2 * i * PAGE, p, PAGE));
	see(t, "mapped", available(t), 65525);
	must(t, "invalidate", invalidate(t, base(t), PAGE));
	see(t, "without-address", available(t), 65525);
	see(t, "all", sys(ioctl(t->container, VFIO_IOMMU_UNMAP_DMA, &all)), 0);
	see(t, "unmapped", available(t), 65535);
}

static void info_migration(struct t *t)
{
	const struct vfio_iommu_type1_info_cap_migration *cap;
	struct info info;

	get_info(t, &info);
	cap = find_cap(&info, VFIO_IOMMU_TYPE1_INFO_CAP_MIGRATION);
	see_true(t, "present", cap);
	if (!cap)
		return;
	see_hex(t, "flags", cap->flags, 0);
	see_hex(t, "pgsizes", cap->pgsize_bitmap, PAGE);
	see_hex(t, "max-bitmap", cap->max_dirty_bitmap_size, 256 << 20);
}

static const struct rule info_rules[] = {
	{"D.2/INFO/written", OPEN_TYPE1V2, 0, info_written},
	{"D.2/INFO/argsz", OPEN_TYPE1V2, 0, info_argsz},
	{"D.2/INFO/page-sizes", OPEN_TYPE1V2, 0, info_page_sizes},
	{"D.2/INFO/chain", OPEN_TYPE1V2, 0, info_chain},
	{"D.2/INFO/chain-version-1", OPEN_TYPE1, 0, info_chain},
	{"D.2/INFO/ranges", OPEN_TYPE1V2, 0, info_ranges},
	{"D.2/INFO/available", OPEN_TYPE1V2, 0, info_available},
	{"D.2/INFO/available-after-all", OPEN_TYPE1V2, 0, info_available_after_all},
	{"D.2/INFO/migration", OPEN_TYPE1V2, 0, info_migration},
};
const struct section section_d2_info = SECTION("D.2", info_rules);
