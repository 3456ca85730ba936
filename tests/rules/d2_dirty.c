// SPDX-License-Identifier: BSD-3-Clause
/* D.2: DIRTY_PAGES, and UNMAP with a bitmap. */
#include <string.h>
#include "facts.h"

#define START     VFIO_IOMMU_DIRTY_PAGES_FLAG_START
#define STOP      VFIO_IOMMU_DIRTY_PAGES_FLAG_STOP
#define GET       VFIO_IOMMU_DIRTY_PAGES_FLAG_GET_BITMAP
#define GET_DIRTY VFIO_DMA_UNMAP_FLAG_GET_DIRTY_BITMAP

static uint64_t base(const struct t *t)
{
	return t->f->iova_first + 0x100000;
}

/* The request with all that may come behind its head. */
struct dirty {
	struct vfio_iommu_type1_dirty_bitmap head;
	struct vfio_iommu_type1_dirty_bitmap_get get;
};

static long dirty(struct t *t, uint32_t argsz, uint32_t flags)
{
	struct dirty d = {.head = {.argsz = argsz, .flags = flags}};

	return sys(ioctl(t->container, VFIO_IOMMU_DIRTY_PAGES, &d));
}

static long get(struct t *t, uint64_t iova, uint64_t size, uint64_t pgsize, uint64_t bytes,
		void *data)
{
	struct dirty d = {
		.head = {.argsz = sizeof(d), .flags = GET},
		.get = {.iova = iova, .size = size, .bitmap = {pgsize, bytes, data}},
	};

	return sys(ioctl(t->container, VFIO_IOMMU_DIRTY_PAGES, &d));
}

static void version_1(struct t *t)
{
	see(t, "start", dirty(t, 8, START), -EACCES);
	see(t, "argsz-0", dirty(t, 0, START), -EACCES);
	see(t, "no-struct", sys(ioctl(t->container, VFIO_IOMMU_DIRTY_PAGES, 8)), -EACCES);
}

static void frame(struct t *t)
{
	see(t, "no-struct", sys(ioctl(t->container, VFIO_IOMMU_DIRTY_PAGES, 8)), -EFAULT);
	see(t, "argsz-7", dirty(t, 7, START), -EINVAL);
	see(t, "unknown-flag", dirty(t, 8, 8), -EINVAL);
	see(t, "unknown-and-start", dirty(t, 8, 8 | START), -EINVAL);
	see(t, "start-and-stop", dirty(t, 8, START | STOP), -EINVAL);
	see(t, "start-and-get", dirty(t, sizeof(struct dirty), START | GET), -EINVAL);
	see(t, "all-three", dirty(t, sizeof(struct dirty), START | STOP | GET), -EINVAL);
}

static void start_and_stop(struct t *t)
{
	see(t, "stop-before", dirty(t, 8, STOP), 0);
	see(t, "start", dirty(t, 8, START), 0);
	see(t, "start-again", dirty(t, 8, START), 0);
	see(t, "stop", dirty(t, 8, STOP), 0);
	see(t, "stop-again", dirty(t, 8, STOP), 0);
}

/* A GET of four mapped pages with one thing wrong; @pages: of the range, from the first mapped. */
struct get_call {
	uint64_t iova, size, pgsize, bytes; /* iova relative, unless absolute */
	bool absolute;
	long want;
	long before_72;
};

static void get_call(struct t *t)
{
	const struct get_call *c = t->rule->arg;
	uint64_t bits[8] = {0};

	must(t, "map", dma_map(t->container, base(t), new_pages(t, 4), 4 * PAGE));
	must(t, "start", dirty(t, 8, START));
	see(t, "rc",
	    get(t, c->absolute ? c->iova : base(t) + c->iova, c->size, c->pgsize, c->bytes, bits),
	    c->before_72 && !since(t, 7, 0) ? c->before_72 : c->want);
}

static void get_argsz(struct t *t)
{
	must(t, "start", dirty(t, 8, START));
	see(t, "8", dirty(t, 8, GET), -EINVAL);
	see(t, "47", dirty(t, 47, GET), -EINVAL);
}

static void get_not_started(struct t *t)
{
	uint64_t bits = 0;

	must(t, "map", dma_map(t->container, base(t), new_pages(t, 4), 4 * PAGE));
	see(t, "never", get(t, base(t), 4 * PAGE, PAGE, 8, &bits), -EINVAL);
	must(t, "start", dirty(t, 8, START));
	see(t, "started", get(t, base(t), 4 * PAGE, PAGE, 8, &bits), 0);
	must(t, "stop", dirty(t, 8, STOP));
	see(t, "stopped", get(t, base(t), 4 * PAGE, PAGE, 8, &bits), -EINVAL);
}

static void get_unwritable(struct t *t)
{
	void *p = mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	must(t, "map", dma_map(t->container, base(t), new_pages(t, 4), 4 * PAGE));
	must(t, "start", dirty(t, 8, START));
	see(t, "read-only", get(t, base(t), 4 * PAGE, PAGE, 8, p), -EFAULT);
	see(t, "nothing-there", get(t, base(t), 4 * PAGE, PAGE, 8, (void *)8), -EFAULT);
	see(t, "kernel-address", get(t, base(t), 4 * PAGE, PAGE, 8, (void *)-PAGE), -EINVAL);
	see(t, "hole", get(t, base(t) + 8 * PAGE, 4 * PAGE, PAGE, 8, (void *)8), 0);
}

/* ---- pictures -------------------------------------------------------------------------------- */

/*
 * @map shows what is mapped, a character a page, as in d2_unmap.c; a bitmap of @pages pages from
 * page @first is asked for, whose words were @fill.  @want: its first words.
 */
struct picture {
	const char *map;
	unsigned first, pages;
	uint64_t fill;
	long rc;
	uint64_t want[3];
};

static void draw(struct t *t, const char *map)
{
	size_t n = strlen(map);
	char *p = new_pages(t, n);

	for (size_t i = 0, len; i < n; i += len) {
		for (len = 1; i + len < n && map[i + len] == map[i]; len++)
			;
		if (map[i] != '.')
			must(t, "map",
			     dma_map(t->container, base(t) + i * PAGE, p + i * PAGE, len * PAGE));
	}
}

static void see_words(struct t *t, const uint64_t *got, const struct picture *pic)
{
	for (unsigned i = 0; i <= (pic->pages - 1) / 64; i++)
		see_hex(t, "word", got[i], pic->want[i]);
	see_hex(t, "behind", got[(pic->pages - 1) / 64 + 1], pic->fill);
}

static void picture(struct t *t)
{
	const struct picture *pic = t->rule->arg;
	uint64_t bits[4] = {pic->fill, pic->fill, pic->fill, pic->fill};
	uint64_t iova = base(t) + pic->first * PAGE;
	bool again = true;

	draw(t, pic->map);
	must(t, "start", dirty(t, 8, START));
	see(t, "rc", get(t, iova, pic->pages * PAGE, PAGE, 24, bits), pic->rc);
	see_words(t, bits, pic);
	/* A kernel may then show more: pages that are not there. */
	must(t, "again", get(t, iova, pic->pages * PAGE, PAGE, 24, bits));
	for (unsigned i = 0; i < 3; i++)
		again &= (bits[i] & pic->want[i]) == pic->want[i];
	see_true(t, "again-no-less", again);
}

/* The same by UNMAP. */
static void unmap_picture(struct t *t)
{
	const struct picture *pic = t->rule->arg;
	uint64_t bits[4] = {pic->fill, pic->fill, pic->fill, pic->fill};
	struct {
		struct vfio_iommu_type1_dma_unmap unmap;
		struct vfio_bitmap bitmap;
	} u = {
		.unmap = {.argsz = sizeof(u),
			  .flags = GET_DIRTY,
			  .iova = base(t) + pic->first * PAGE,
			  .size = pic->pages * PAGE},
		.bitmap = {PAGE, 24, (void *)bits},
	};
	unsigned mapped = 0;

	draw(t, pic->map);
	must(t, "start", dirty(t, 8, START));
	for (unsigned i = 0; pic->map[i]; i++)
		mapped += i >= pic->first && i < pic->first + pic->pages && pic->map[i] != '.';
	see(t, "rc", sys(ioctl(t->container, VFIO_IOMMU_UNMAP_DMA, &u)), pic->rc);
	see(t, "pages", (long)(u.unmap.size / PAGE), pic->rc ? pic->pages : mapped);
	see_words(t, bits, pic);
}

static void unmap_pgsize(struct t *t)
{
	uint64_t bits = 0;
	struct {
		struct vfio_iommu_type1_dma_unmap unmap;
		struct vfio_bitmap bitmap;
	} u = {
		.unmap = {.argsz = sizeof(u),
			  .flags = GET_DIRTY,
			  .iova = base(t),
			  .size = 4 * PAGE},
		.bitmap = {2 * PAGE, 8, (void *)&bits},
	};

	must(t, "map", dma_map(t->container, base(t), new_pages(t, 4), 4 * PAGE));
	must(t, "start", dirty(t, 8, START));
	see(t, "two-pages", sys(ioctl(t->container, VFIO_IOMMU_UNMAP_DMA, &u)), -EINVAL);
	u.bitmap = (struct vfio_bitmap){PAGE, 8, (void *)8};
	see(t, "unwritable", sys(ioctl(t->container, VFIO_IOMMU_UNMAP_DMA, &u)), -EFAULT);
	see(t, "is-there", dma_map(t->container, base(t), new_pages(t, 1), PAGE), -EEXIST);
	u.bitmap.data = (void *)&bits;
	see(t, "rc", sys(ioctl(t->container, VFIO_IOMMU_UNMAP_DMA, &u)), 0);
	see_hex(t, "word", bits, 0xf);
}

/* What is mapped while pages are tracked is there, too. */
static void mapped_later(struct t *t)
{
	uint64_t bits = 0;

	must(t, "start", dirty(t, 8, START));
	must(t, "map", dma_map(t->container, base(t), new_pages(t, 2), 2 * PAGE));
	see(t, "rc", get(t, base(t), 64 * PAGE, PAGE, 8, &bits), 0);
	see_hex(t, "word", bits, 3);
}

#define CALL(...)                                                                                  \
	OPEN_TYPE1V2, NEED_IOMMU, get_call, &(const struct get_call)                               \
	{                                                                                          \
		__VA_ARGS__                                                                        \
	}
#define PIC(run, ...)                                                                              \
	OPEN_TYPE1V2, NEED_IOMMU, run, &(const struct picture)                                     \
	{                                                                                          \
		__VA_ARGS__                                                                        \
	}
#define ONES (~0ull)

static const struct rule rules[] = {
	{"D.2/DIRTY/version-1", OPEN_TYPE1, NEED_IOMMU, version_1},
	{"D.2/DIRTY/frame", OPEN_TYPE1V2, NEED_IOMMU, frame},
	{"D.2/DIRTY/start-and-stop", OPEN_TYPE1V2, NEED_IOMMU, start_and_stop},
	{"D.2/DIRTY/get/argsz", OPEN_TYPE1V2, NEED_IOMMU, get_argsz},
	{"D.2/DIRTY/get/not-started", OPEN_TYPE1V2, NEED_IOMMU, get_not_started},
	{"D.2/DIRTY/get/unwritable", OPEN_TYPE1V2, NEED_IOMMU, get_unwritable},
	{"D.2/DIRTY/get/whole", CALL(0, 4 * PAGE, PAGE, 8, false, 0)},
	{"D.2/DIRTY/get/larger-bitmap", CALL(0, 4 * PAGE, PAGE, 64, false, 0)},
	{"D.2/DIRTY/get/size-0", CALL(0, 0, PAGE, 8, false, -EINVAL)},
	{"D.2/DIRTY/get/size-misaligned", CALL(0, 4 * PAGE + 512, PAGE, 8, false, -EINVAL)},
	{"D.2/DIRTY/get/iova-misaligned", CALL(512, 4 * PAGE, PAGE, 8, false, -EINVAL)},
	{"D.2/DIRTY/get/wraps", CALL(-PAGE, 2 * PAGE, PAGE, 8, true, -EOVERFLOW, -EINVAL)},
	{"D.2/DIRTY/get/top-page", CALL(-PAGE, PAGE, PAGE, 8, true, 0, -EINVAL)},
	{"D.2/DIRTY/get/pgsize-smaller", CALL(0, 4 * PAGE, 2048, 8, false, -EINVAL)},
	{"D.2/DIRTY/get/pgsize-larger", CALL(0, 4 * PAGE, 2 * PAGE, 8, false, -EINVAL)},
	{"D.2/DIRTY/get/bitmap-empty", CALL(0, 4 * PAGE, PAGE, 0, false, -EINVAL)},
	{"D.2/DIRTY/get/bitmap-short", CALL(0, 65 * PAGE, PAGE, 8, false, -EINVAL)},
	{"D.2/DIRTY/get/bitmap-too-large",
	 CALL(0, 4 * PAGE, PAGE, (256ull << 20) + 8, false, -EINVAL)},
	{"D.2/DIRTY/get/bisects-begin", CALL(PAGE, 3 * PAGE, PAGE, 8, false, -EINVAL)},
	{"D.2/DIRTY/get/bisects-end", CALL(0, 3 * PAGE, PAGE, 8, false, -EINVAL)},
	{"D.2/DIRTY/get/picture/every-page", PIC(picture, "AABBBB", 0, 6, 0, 0, {0x3f})},
	{"D.2/DIRTY/get/picture/overwrites", PIC(picture, "AA..BB", 0, 6, ONES, 0, {0x33})},
	{"D.2/DIRTY/get/picture/hole", PIC(picture, "......", 0, 6, 0x55, 0, {0x55})},
	{"D.2/DIRTY/get/picture/holes", PIC(picture, ".A.BB.C", 0, 7, 0, 0, {0x5a})},
	{"D.2/DIRTY/get/picture/part", PIC(picture, "AABBCC", 2, 4, 0, 0, {0xf})},
	{"D.2/DIRTY/get/picture/one-bit", PIC(picture, "A", 0, 1, ONES, 0, {1})},
	{"D.2/DIRTY/get/picture/keeps-in-front", PIC(picture, "..AA", 0, 4, ONES, 0, {ONES})},
	{"D.2/DIRTY/get/picture/two-words",
	 PIC(picture,
	     "................................................................"
	     "AAAA",
	     0, 68, 0xaa, 0, {0xaa, 0xf})},
	{"D.2/DIRTY/get/mapped-later", OPEN_TYPE1V2, NEED_IOMMU, mapped_later},
	{"D.2/DIRTY/unmap/every-page", PIC(unmap_picture, "AABBBB", 0, 6, 0, 0, {0x3f})},
	{"D.2/DIRTY/unmap/holes", PIC(unmap_picture, ".A.BB.C", 0, 7, 0, 0, {0x5a})},
	{"D.2/DIRTY/unmap/nothing", PIC(unmap_picture, "....A", 0, 4, 0x55, 0, {0x55})},
	{"D.2/DIRTY/unmap/bisects", PIC(unmap_picture, "AABB", 0, 3, 0x55, -EINVAL, {0x55})},
	{"D.2/DIRTY/unmap/pgsize", OPEN_TYPE1V2, NEED_IOMMU, unmap_pgsize},
};
const struct section section_d2_dirty = SECTION("D.2", rules);
