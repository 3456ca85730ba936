/* SPDX-License-Identifier: BSD-3-Clause */
/* The type1 rules (D.2), row by row, and the order of their checks. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <cmocka.h>
#include "iommu/type1_private.h"

#define P     0x1000ull
#define R     VFIO_DMA_MAP_FLAG_READ
#define W     VFIO_DMA_MAP_FLAG_WRITE
#define V     VFIO_DMA_MAP_FLAG_VADDR
#define ALL   VFIO_DMA_UNMAP_FLAG_ALL
#define UV    VFIO_DMA_UNMAP_FLAG_VADDR
#define DIRTY VFIO_DMA_UNMAP_FLAG_GET_DIRTY_BITMAP
#define TOP   (1ull << 48)

/* A client whose memory is a memfd: address a is byte a of it. */
struct client {
	int fd, ret; /* @ret: what the next imports answer */
	unsigned imports, releases, prot;
	uint64_t limit;
	pthread_mutex_t lock;
	pthread_cond_t cond;
	bool stall, stalled;
	bool unpinnable; /* the memory */
};

static int import(void *arg, uint64_t vaddr, uint64_t size, unsigned prot, struct iommu_mem **mem,
		  unsigned *nr)
{
	struct client *c = arg;

	pthread_mutex_lock(&c->lock);
	c->imports++;
	c->prot = prot;
	c->stalled = c->stall;
	pthread_cond_broadcast(&c->cond);
	while (c->stall)
		pthread_cond_wait(&c->cond, &c->lock);
	pthread_mutex_unlock(&c->lock);
	if (c->ret)
		return c->ret;
	*mem = calloc(1, sizeof(**mem));
	**mem = (struct iommu_mem){IOMMU_MEM_FILE, c->fd, vaddr, size, {1, 1}, 4096};
	(*mem)->unpinnable = c->unpinnable;
	*nr = 1;
	return 0;
}

static void release(void *arg, struct iommu_mem *mem, unsigned nr)
{
	struct client *c = arg;

	__atomic_fetch_add(&c->releases, 1, __ATOMIC_RELAXED);
	free(mem);
}

static uint64_t lock_limit(void *arg)
{
	return ((struct client *)arg)->limit;
}

static const struct type1_memory_ops ops = {import, release, NULL};
static const struct type1_memory_ops limited = {import, release, lock_limit};
static struct client client = {.lock = PTHREAD_MUTEX_INITIALIZER, .cond = PTHREAD_COND_INITIALIZER};

static int map(struct type1 *t1, uint32_t flags, uint64_t vaddr, uint64_t iova, uint64_t size)
{
	struct vfio_iommu_type1_dma_map req = {32, flags, vaddr, iova, size};

	return type1_map(t1, &req, &ops, &client);
}

/* The bytes unmapped, or -errno. */
static int64_t unmap(struct type1 *t1, uint32_t flags, uint64_t iova, uint64_t size)
{
	struct vfio_iommu_type1_dma_unmap req = {
		.argsz = 24, .flags = flags, .iova = iova, .size = size};
	int ret = type1_unmap(t1, &req);

	if (ret)
		assert_int_equal(req.size, size); /* not written on error */
	return ret ? ret : (int64_t)req.size;
}

static void check(const char *what, unsigned row, int64_t got, int64_t want)
{
	if (got != want)
		fail_msg("%s, row %u: %lld instead of %lld", what, row, (long long)got,
			 (long long)want);
}

static void map_errors(void **state)
{
	/* In front: [16P, 18P).  Each row breaks one rule, or two, where the earlier one wins. */
	static const struct {
		uint32_t argsz, flags;
		uint64_t vaddr, iova, size;
		int ret;
	} row[] = {
		{31, R, 0, 0, P, -EINVAL},
		{0, R, 0, 0, P, -EINVAL},
		{32, R | 8, 0, 0, P, -EINVAL},
		{32, R | 1u << 31, 0, 0, P, -EINVAL},
		{32, R | 8, 0, -P, 2 * P, -EINVAL}, /* before the wrap */
		{32, R, 0, 0, 0, -EINVAL},
		{32, R, 0, -P, 2 * P, -EOVERFLOW},
		{32, R, -P, 0, 2 * P, -EOVERFLOW},
		{32, 0, 0, -P, 2 * P, -EOVERFLOW},     /* before the missing access */
		{32, R, 0, 1, UINT64_MAX, -EINVAL},    /* ends at the last byte: no wrap */
		{32, R, 1, 2, UINT64_MAX, -EOVERFLOW}, /* before the alignment */
		{32, 0, 0, 0, P, -EINVAL},
		{32, R | V, 0, 16 * P, 2 * P, -EINVAL},
		{32, W | V, 0, 16 * P, 2 * P, -EINVAL},
		{32, R, 0, 16 * P + 1, P, -EINVAL}, /* misaligned, before the overlap */
		{32, R, 1, 16 * P, P, -EINVAL},
		{32, R, 0, 16 * P, P + 1, -EINVAL},
		{32, R, 0, 16 * P, 0x800, -EINVAL},
		{32, V, 0, 0, P, -ENOENT},
		{32, V, 0, 18 * P, P, -ENOENT},
		{32, V, 0, 16 * P, 2 * P, -EINVAL}, /* not invalidated */
		{32, V, 0, 16 * P, P, -EINVAL},
		{32, R, 0, 16 * P, 2 * P, -EEXIST}, /* identical */
		{32, R, 0, 15 * P, 2 * P, -EEXIST},
		{32, R, 0, 17 * P, 2 * P, -EEXIST},
		{32, R, 0, 0, 1ull << 60, -EEXIST}, /* before the range */
		{32, R, 0, TOP, P, -EINVAL},
		{32, R, 0, TOP - P, 2 * P, -EINVAL},
		{32, R, 0, -P, P, -EINVAL},
		{32, R, 0, 0xFEE00000, P, -EINVAL},
		{32, R, 0, 0xFEEFF000, P, -EINVAL},
		{32, R, 0, 0xFEDFF000, 2 * P, -EINVAL},
		{32, R, 0, 0xFEEFF000, 2 * P, -EINVAL},
		{32, R, 0, 0xFED00000, 0x400000, -EINVAL},
		{32, R, 1ull << 40, 0, P, -EFAULT}, /* no memory there */
		{32, R, 0, 0xFEDFF000, P, 0},
		{32, R, 0, 0xFEF00000, P, 0},
		{32, R, 0, TOP - P, P, 0},
		{1000, R | W, 0, 15 * P, P, 0},
		{32, W, 0, 18 * P, P, 0},
	};

	for (unsigned v2 = 0; v2 < 2; v2++) {
		struct type1 *t1 = type1_new(v2, 100);

		assert_int_equal(map(t1, R, 0, 16 * P, 2 * P), 0);
		for (unsigned i = 0; i < sizeof(row) / sizeof(*row); i++) {
			struct vfio_iommu_type1_dma_map req = {
				row[i].argsz, row[i].flags, row[i].vaddr, row[i].iova, row[i].size};
			uint64_t before = type1_entries_available(t1);

			check("map", i, type1_map(t1, &req, &ops, &client), row[i].ret);
			assert_int_equal(type1_entries_available(t1), before - !row[i].ret);
			if (!row[i].ret)
				assert_int_equal(client.prot, row[i].flags & 3);
		}
		assert_int_equal(iommu_mapping_count(type1_space(t1)), 6);
		type1_free(t1);
	}
}

static void entry_budget(void **state)
{
	struct type1 *t1 = type1_new(true, 2);

	assert_int_equal(type1_entries_available(t1), 2);
	assert_int_equal(map(t1, R, 0, 0, P), 0);
	assert_int_equal(map(t1, R, 1ull << 40, P, P), -EFAULT); /* rolled back */
	assert_int_equal(type1_entries_available(t1), 1);
	assert_int_equal(map(t1, R, 0, P, P), 0);
	assert_int_equal(type1_entries_available(t1), 0);
	assert_int_equal(map(t1, R, 0, P, P), -EEXIST); /* before the budget */
	assert_int_equal(map(t1, R, 0, 2 * P, P), -ENOSPC);
	assert_int_equal(map(t1, R, 0, TOP, P), -ENOSPC); /* before the range */
	assert_int_equal(unmap(t1, 0, 0, P), P);
	assert_int_equal(type1_entries_available(t1), 1);
	assert_int_equal(map(t1, R, 0, 2 * P, P), 0);
	assert_int_equal(unmap(t1, ALL, 0, 0), 2 * P);
	assert_int_equal(type1_entries_available(t1), 2);
	type1_free(t1);

	t1 = type1_new(false, 0);
	assert_int_equal(map(t1, R, 0, 0, P), -ENOSPC);
	type1_free(t1);
	t1 = type1_new(false, UINT32_MAX);
	assert_int_equal(type1_entries_available(t1), IOMMU_MAX_MAPPINGS);
	assert_int_equal(map(t1, R, 0, 0, P), 0);
	type1_free(t1);
}

static void import_failures(void **state)
{
	static const int errs[] = {-EFAULT, -ENOMEM};
	struct type1 *t1 = type1_new(true, 10);
	struct vfio_iommu_type1_dma_map req = {32, R | W, 0, 0, 4 * P};

	for (unsigned i = 0; i < 2; i++) {
		client.ret = errs[i];
		client.imports = client.releases = 0;
		assert_int_equal(map(t1, R, 0, 0, P), errs[i]);
		assert_int_equal(client.imports, 1);
		assert_int_equal(client.releases, 0);
		assert_int_equal(type1_entries_available(t1), 10);
		assert_false(iommu_overlaps(type1_space(t1), 0, P - 1));
	}
	client.ret = 0;
	/* The lock limit: what the container holds counts, and comes back. */
	client.limit = 6 * P;
	client.releases = 0;
	assert_int_equal(type1_map(t1, &req, &limited, &client), 0);
	assert_int_equal(client.releases, 1);
	req.iova = 8 * P;
	assert_int_equal(type1_map(t1, &req, &limited, &client), -ENOMEM);
	assert_int_equal(client.releases, 2);
	assert_int_equal(type1_entries_available(t1), 9);
	assert_false(iommu_overlaps(type1_space(t1), 8 * P, 12 * P - 1));
	req.size = 2 * P;
	assert_int_equal(type1_map(t1, &req, &limited, &client), 0);
	assert_int_equal(unmap(t1, 0, 0, 4 * P), 4 * P);
	req.iova = 0;
	req.size = 5 * P;
	assert_int_equal(type1_map(t1, &req, &limited, &client), -ENOMEM);
	req.size = 4 * P;
	assert_int_equal(type1_map(t1, &req, &limited, &client), 0);
	client.limit = UINT64_MAX;
	req.iova = 20 * P;
	assert_int_equal(type1_map(t1, &req, &limited, &client), 0);
	type1_free(t1);
}

static void unmap_errors(void **state)
{
	static const struct {
		uint32_t argsz, flags;
		uint64_t iova, size;
		int ret;
	} row[] = {
		{23, 0, 0, P, -EINVAL},
		{24, 8, 0, P, -EINVAL},
		{24, 8, -P, 2 * P, -EINVAL},
		{24, DIRTY | ALL, 0, 0, -EINVAL},
		{24, DIRTY | UV, 0, P, -EINVAL},
		{24, DIRTY, 0, P, -EINVAL}, /* no room for the descriptor */
		{47, DIRTY, -P, 2 * P, -EINVAL},
		{24, 0, 1, P, -EINVAL},
		{24, ALL, P, 0, -EINVAL},
		{24, ALL, 0, P, -EINVAL},
		{24, ALL, 1, 0, -EINVAL},
		{24, 0, 0, 0, -EINVAL},
		{24, 0, 0, P + 1, -EINVAL},
		{24, 0, 0, 0x800, -EINVAL},
		{24, 0, 1, -P, -EINVAL}, /* alignment before the wrap */
		{24, 0, -P, 2 * P, -EOVERFLOW},
		{24, 0, 2 * P, -P, -EOVERFLOW},
		{24, UV, 2 * P, -P, -EOVERFLOW},
	};
	struct vfio_bitmap bitmap = {.pgsize = P, .size = 8};

	for (unsigned v2 = 0; v2 < 2; v2++) {
		struct type1 *t1 = type1_new(v2, 100);

		assert_int_equal(map(t1, R, 0, 0, 2 * P), 0);
		for (unsigned i = 0; i < sizeof(row) / sizeof(*row); i++) {
			struct vfio_iommu_type1_dma_unmap req = {.argsz = row[i].argsz,
								 .flags = row[i].flags,
								 .iova = row[i].iova,
								 .size = row[i].size};

			assert_false(type1_unmap_wants_bitmap(&req));
			check("unmap", i, type1_unmap(t1, &req), row[i].ret);
			assert_int_equal(req.size, row[i].size);
		}
		/* With the descriptor: its size, then the wrap, then that nothing is tracked. */
		struct {
			uint64_t pgsize, bytes, iova, size;
			int ret;
		} d[] = {
			{P, 0, 0, 2 * P, -EINVAL},     {P, 8, 0, 65 * P, -EINVAL},
			{P, 7, 0, 2 * P, -EINVAL},     {P, (256ull << 20) + 8, 0, 2 * P, -EINVAL},
			{0, 8, 0, 2 * P, -EINVAL},     {P, 8, -P, 2 * P, -EOVERFLOW},
			{P, 7, -P, 2 * P, -EINVAL},    {P, 8, 0, 2 * P, -EINVAL},
			{2 * P, 8, 0, 2 * P, -EINVAL},
		};
		for (unsigned i = 0; i < sizeof(d) / sizeof(*d); i++) {
			struct vfio_iommu_type1_dma_unmap req = {
				.argsz = 48, .flags = DIRTY, .iova = d[i].iova, .size = d[i].size};

			bitmap.pgsize = d[i].pgsize;
			bitmap.size = d[i].bytes;
			assert_true(type1_unmap_wants_bitmap(&req));
			check("unmap with bitmap", i, type1_unmap_bitmap(t1, &req, &bitmap, NULL),
			      d[i].ret);
		}
		assert_int_equal(unmap(t1, 0, 0, 2 * P), 2 * P);
		type1_free(t1);
	}
}

/* The table of D.2: mapped are [2,4) [4,8) [12,14) and the last page of all. */
static void unmap_table(void **state)
{
	static const struct {
		uint32_t flags;
		uint64_t iova, size;
		int64_t v1, v2;
		uint64_t left1, left2; /* mappings left */
	} row[] = {
		{0, 2, 2, 2, 2, 3, 3},       /* one, exactly */
		{0, 2, 6, 6, 6, 2, 2},       /* two */
		{0, 2, 12, 8, 8, 1, 1},      /* with a hole between */
		{0, 0, 16, 8, 8, 1, 1},      /* with holes around */
		{0, 8, 4, 0, 0, 4, 4},       /* only a hole */
		{0, 100, 1, 0, 0, 4, 4},     /* only a hole */
		{0, 3, 1, 0, -EINVAL, 4, 4}, /* starts inside */
		{0, 3, 5, 0, -EINVAL, 4, 4}, /* and nothing further is examined */
		{0, 5, 20, 0, -EINVAL, 4, 4},
		{0, 2, 1, 2, -EINVAL, 3, 4}, /* ends inside: the whole goes */
		{0, 2, 3, 6, -EINVAL, 2, 4},
		{0, 8, 5, 2, -EINVAL, 3, 4},    /* hole, then ends inside */
		{0, 0, 1ull << 52, 9, 9, 0, 0}, /* the biggest size: 2^64 is 0 pages */
		{ALL, 0, 0, 9, 9, 0, 0},
		{0, (TOP / P) - 1, 1, 1, 1, 3, 3},
		{0, TOP / P, 1, 0, 0, 4, 4},
		{0, 14, (1ull << 52) - 15, 1, 1, 3, 3}, /* up to the end of 64 bits, less a page */
	};

	for (unsigned v2 = 0; v2 < 2; v2++) {
		for (unsigned i = 0; i < sizeof(row) / sizeof(*row); i++) {
			struct type1 *t1 = type1_new(v2, 100);
			int64_t want = v2 ? row[i].v2 : row[i].v1, got;
			uint64_t left = v2 ? row[i].left2 : row[i].left1;

			assert_int_equal(map(t1, R, 0, 2 * P, 2 * P), 0);
			assert_int_equal(map(t1, R, 0, 4 * P, 4 * P), 0);
			assert_int_equal(map(t1, R, 0, 12 * P, 2 * P), 0);
			assert_int_equal(map(t1, R, 0, TOP - P, P), 0);
			if (row[i].size ==
			    1ull << 52) { /* 0 − P wraps nothing, 2^64 cannot be said */
				got = unmap(t1, 0, 0, -P);
			} else {
				got = unmap(t1, row[i].flags, row[i].iova * P, row[i].size * P);
			}
			check(v2 ? "v2" : "v1", i, got, want < 0 ? want : want * (int64_t)P);
			check(v2 ? "v2 left" : "v1 left", i,
			      (int64_t)iommu_mapping_count(type1_space(t1)), (int64_t)left);
			check("budget", i, (int64_t)type1_entries_available(t1),
			      (int64_t)(100 - left));
			type1_free(t1);
		}
	}
}

static uint64_t peek(struct type1 *t1, uint64_t iova)
{
	uint64_t v = ~0ull;

	iommu_copy(type1_space(t1), NULL, iova, &v, 8, false, NULL);
	return v;
}

/* UPDATE_VADDR: invalidate, and give a new address. */
static void vaddr(void **state)
{
	struct type1 *t1 = type1_new(true, 10);

	assert_int_equal(map(t1, R, 0, 0, P), 0);
	assert_int_equal(map(t1, R, 0, P, P), 0);
	assert_int_equal(map(t1, R, 0, 4 * P, 2 * P), 0);
	assert_false(type1_vaddr_invalid(t1));
	assert_int_equal(unmap(t1, UV, 0, 3 * P), 2 * P);
	assert_true(type1_vaddr_invalid(t1));
	assert_int_equal(iommu_mapping_count(type1_space(t1)), 3); /* it only invalidates */
	assert_int_equal(type1_entries_available(t1), 7);
	assert_int_equal(peek(t1, P), 0);
	/* One of them again, in the middle of others: all back, as they were in the kernel: those
	 * before it are valid again. */
	assert_int_equal(unmap(t1, UV, P, 5 * P), -EINVAL);
	assert_int_equal(map(t1, V, 0, 4 * P, 2 * P), -EINVAL); /* still valid */
	assert_int_equal(unmap(t1, UV, 4 * P, P), -EINVAL);     /* bisect */
	assert_int_equal(map(t1, V, 5 * P, 0, 2 * P), -EINVAL); /* not exact */
	assert_int_equal(map(t1, V, 5 * P, P, P), 0);
	assert_int_equal(peek(t1, P), 5);
	assert_int_equal(map(t1, V, 5 * P, P, P), -EINVAL); /* valid again */
	assert_true(type1_vaddr_invalid(t1));
	/* An address without memory changes nothing, as the kernel does not look at it. */
	assert_int_equal(map(t1, V, 1ull << 40, 0, P), 0);
	assert_false(type1_vaddr_invalid(t1));
	assert_int_equal(peek(t1, 0), 0);
	/* Roll back: [0] valid, [P] valid, [4P] invalid → nothing changes. */
	assert_int_equal(unmap(t1, UV, 4 * P, 2 * P), 2 * P);
	assert_int_equal(unmap(t1, UV | ALL, 0, 0), -EINVAL);
	assert_int_equal(map(t1, V, 0, 0, P), -EINVAL);
	assert_int_equal(map(t1, V, 7 * P, 4 * P, 2 * P), 0);
	assert_int_equal(peek(t1, 4 * P), 7);
	assert_false(type1_vaddr_invalid(t1));
	assert_int_equal(unmap(t1, UV | ALL, 0, 0), 4 * P);
	/* Unmapping an invalid one. */
	assert_int_equal(unmap(t1, ALL, 0, 0), 4 * P);
	assert_false(type1_vaddr_invalid(t1));
	assert_int_equal(type1_entries_available(t1), 10);
	type1_free(t1);
}

static void get_info(void **state)
{
	static const uint32_t want_caps[] = {
		/* migration: id 2, version 1, next 56; flags, page sizes, largest bitmap */
		2 | 1 << 16,
		56,
		0,
		0,
		4096,
		0,
		256 << 20,
		0,
		/* DMA_AVAIL: id 3, version 1, next 72; 99 */
		3 | 1 << 16,
		72,
		99,
		0,
		/* IOVA_RANGE: id 1, version 1, last; two ranges */
		1 | 1 << 16,
		0,
		2,
		0,
		0,
		0,
		0xfedfffff,
		0,
		0xfef00000,
		0,
		0xffffffff,
		0xffff,
	};
	static const struct {
		uint32_t argsz;
		int ret;
		uint32_t argsz_out, cap_offset;
	} row[] = {
		{0, -EINVAL, 0, 0}, {15, -EINVAL, 0, 0}, {16, 16, 120, 0},    {20, 20, 120, 0},
		{24, 24, 120, 0},   {119, 24, 120, 0},   {120, 120, 120, 24}, {4096, 120, 4096, 24},
	};
	struct type1 *t1 = type1_new(true, 100);
	unsigned char buf[4096];

	assert_int_equal(map(t1, R, 0, 0, P), 0);
	for (unsigned i = 0; i < sizeof(row) / sizeof(*row); i++) {
		struct vfio_iommu_type1_info info = {0};
		int ret;

		memset(buf, 0xEE, sizeof(buf));
		ret = type1_get_info(t1, row[i].argsz, buf, sizeof(buf));
		check("get_info", i, ret, row[i].ret);
		if (ret < 0)
			continue;
		assert_int_equal(buf[ret], 0xEE);
		memcpy(&info, buf, ret < 24 ? (size_t)ret : 24);
		assert_int_equal(info.argsz, row[i].argsz_out);
		assert_int_equal(info.flags, 3);
		assert_int_equal(info.iova_pgsizes, ~0xFFFull);
		assert_int_equal(info.cap_offset, row[i].cap_offset);
		if (row[i].cap_offset)
			assert_memory_equal(buf + 24, want_caps, sizeof(want_caps));
	}
	type1_free(t1);
}

/* ---- dirty pages ---- */

/* A client's bitmap, and the word of it that cannot be written. */
static uint64_t words[2048];
static size_t broken;

static int words_read(void *arg, void *dst, uint64_t uaddr, size_t len)
{
	memcpy(dst, (uint8_t *)words + uaddr, len);
	return 0;
}

static int words_write(void *arg, uint64_t uaddr, const void *src, size_t len)
{
	if (broken * 8 >= uaddr && broken * 8 < uaddr + len)
		return -EFAULT;
	assert_true(uaddr + len <= sizeof(words));
	memcpy((uint8_t *)words + uaddr, src, len);
	return 0;
}

/* More mappings than are looked at together, more words than are sent together; and a client whose
 * bitmap ends too early keeps what was not reported. */
static void dirty_many(void **state)
{
	const struct iommu_bitmap_io io = {words_read, words_write, NULL};
	struct type1 *t1 = type1_new(true, 100000);
	struct vfio_bitmap bitmap = {.pgsize = P, .size = sizeof(words)};
	struct vfio_iommu_type1_dma_unmap req = {
		.argsz = 48, .flags = DIRTY, .size = 64 * P * (sizeof(words) / 8)};
	uint64_t before;

	t1->tracking = true;
	/* Of each word the bits 1, 2 and 5: two mappings. */
	for (uint64_t i = 0; i < sizeof(words) / 8; i++) {
		assert_int_equal(map(t1, R, 0, (64 * i + 1) * P, 2 * P), 0);
		assert_int_equal(map(t1, R, 0, (64 * i + 5) * P, P), 0);
	}
	before = type1_entries_available(t1);
	broken = 1000;
	assert_int_equal(type1_unmap_bitmap(t1, &req, &bitmap, &io), -EFAULT);
	assert_int_equal(req.size, 64 * P * (sizeof(words) / 8));
	for (unsigned i = 0; i < sizeof(words) / 8; i++) {
		bool mapped = iommu_overlaps(t1->space, (64 * i + 1) * P, (64 * i + 5) * P);

		/* What is gone was reported. */
		assert_true(mapped ? i > 900 : words[i] == 0x26);
	}
	assert_true(type1_entries_available(t1) > before);
	broken = SIZE_MAX / 8;
	memset(words, 0, sizeof(words));
	assert_int_equal(type1_unmap_bitmap(t1, &req, &bitmap, &io), 0);
	assert_int_equal(words[sizeof(words) / 8 - 1], 0x26);
	assert_int_equal(words[1000], 0x26);
	assert_int_equal(type1_entries_available(t1), 100000);
	assert_int_equal(iommu_mapping_count(t1->space), 0);
	type1_free(t1);
}

/* ---- a client that stalls in the middle of a MAP ---- */

struct mapper {
	struct type1 *t1;
	int ret;
};

static void *map_thread(void *arg)
{
	struct mapper *m = arg;

	m->ret = map(m->t1, R, 0, 0, 4 * P);
	return NULL;
}

static void stalled_import(void **state)
{
	struct type1 *t1 = type1_new(true, 3);
	struct mapper m = {t1, 1};
	struct client other = {.fd = client.fd,
			       .lock = PTHREAD_MUTEX_INITIALIZER,
			       .cond = PTHREAD_COND_INITIALIZER};
	struct vfio_iommu_type1_dma_map req = {32, R, 0, 2 * P, P};

	for (int fails = 0; fails < 2; fails++) {
		pthread_t t;

		client.stall = true;
		client.stalled = false;
		client.ret = fails ? -EFAULT : 0;
		pthread_create(&t, NULL, map_thread, &m);
		pthread_mutex_lock(&client.lock);
		while (!client.stalled)
			pthread_cond_wait(&client.cond, &client.lock);
		pthread_mutex_unlock(&client.lock);
		/* Its range and its entry are taken; nobody sees it; others go on. */
		assert_int_equal(type1_entries_available(t1), 2);
		req.iova = 2 * P;
		assert_int_equal(type1_map(t1, &req, &ops, &other), -EEXIST);
		assert_int_equal(peek(t1, 0), ~0ull);
		assert_int_equal(unmap(t1, 0, P, P), 0); /* nor does UNMAP: no bisect */
		req.iova = 8 * P;
		assert_int_equal(type1_map(t1, &req, &ops, &other), 0);
		assert_int_equal(unmap(t1, ALL, 0, 0), P);
		pthread_mutex_lock(&client.lock);
		client.stall = false;
		pthread_cond_broadcast(&client.cond);
		pthread_mutex_unlock(&client.lock);
		pthread_join(t, NULL);
		assert_int_equal(m.ret, client.ret);
		assert_int_equal(iommu_mapping_count(type1_space(t1)), !fails);
		assert_int_equal(unmap(t1, 0, 0, 4 * P), fails ? 0 : 4 * P);
		assert_int_equal(type1_entries_available(t1), 3);
	}
	client.ret = 0;
	type1_free(t1);
}

static int unmap_begin(struct type1 *t1, uint64_t iova, struct iommu_detached *left, uint64_t *size)
{
	struct vfio_iommu_type1_dma_unmap req = {.argsz = 24, .iova = iova, .size = P};
	int ret = type1_unmap_begin(t1, &req, left);

	*size = req.size;
	return ret;
}

/* An unmap that must not wait says when it would have to, and is finished later. */
static void unmap_in_steps(void **state)
{
	struct type1 *t1 = type1_new(true, 3);
	struct iommu_detached left;
	struct iommu_fault fault;
	struct uvfio_dma_pin pin;
	struct iovec iov;
	uint64_t size;

	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(map(t1, R | W, i * P, i * P, P), 0);
	assert_int_equal(iommu_pin(type1_space(t1), NULL, P, 8, true, &iov, 1, &pin, &fault), 1);
	/* Nothing in flight: done. */
	assert_int_equal(unmap_begin(t1, 0, &left, &size), 0);
	assert_int_equal(size, P);
	assert_int_equal(type1_entries_available(t1), 1);
	/* The rules come first. */
	assert_int_equal(unmap_begin(t1, P + 1, &left, &size), -EINVAL);
	/* A transfer: it is out of the table, and not yet given back. */
	assert_int_equal(unmap_begin(t1, P, &left, &size), 1);
	assert_int_equal(size, P);
	assert_int_equal(type1_entries_available(t1), 1);
	assert_int_equal(iommu_mapping_count(type1_space(t1)), 1);
	assert_int_equal(map(t1, R | W, 5 * P, P, P), 0);
	iommu_unpin(&pin);
	type1_unmap_finish(t1, &left);
	assert_int_equal(type1_entries_available(t1), 1);
	/* Of two the first leaves the file to the other; the last one lets the file go. */
	assert_int_equal(unmap_begin(t1, P, &left, &size), 0);
	assert_int_equal(unmap_begin(t1, 2 * P, &left, &size), 1);
	assert_int_equal(type1_entries_available(t1), 2);
	type1_unmap_finish(t1, &left);
	assert_int_equal(type1_entries_available(t1), 3);
	type1_free(t1);
}

static int setup(void **state)
{
	uint64_t n;

	client.fd = memfd_create("client", MFD_CLOEXEC);
	for (n = 0; n < 16; n++)
		if (pwrite(client.fd, &n, 8, (off_t)(n * P)) != 8)
			return -1;
	return ftruncate(client.fd, 1 << 24);
}

static void remark(void *arg, void *of, bool taken)
{
	assert_ptr_equal(of, &client);
	((unsigned *)arg)[taken]++;
}

/* What can neither be pinned nor recognised. */
static void unpinnable(void **state)
{
	struct type1 *t1 = type1_new(true, 2);
	unsigned remarks[2] = {0, 0};

	client.unpinnable = true;
	assert_int_equal(map(t1, R, 0, 0, P), -EFAULT);
	type1_set_mmio(t1, false, remark, remarks);
	assert_int_equal(map(t1, R, 0, 0, P), -EFAULT);
	assert_int_equal(remarks[0], 1);
	assert_int_equal(type1_entries_available(t1), 2);
	client.unpinnable = false;
	assert_int_equal(map(t1, R, 0, 0, P), 0);
	client.unpinnable = true;
	/* Nor does a mapping get it that lost its address; it keeps what it had. */
	assert_int_equal(unmap(t1, UV, 0, P), P);
	assert_int_equal(map(t1, V, 0, 0, P), 0);
	assert_int_equal(remarks[0], 2);
	assert_int_equal(remarks[1], 0);

	type1_set_mmio(t1, true, remark, remarks);
	assert_int_equal(map(t1, R, 0, P, P), 0);
	assert_int_equal(remarks[0], 2);
	assert_int_equal(remarks[1], 1);
	client.unpinnable = false;
	type1_free(t1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(unpinnable),     cmocka_unit_test(map_errors),
		cmocka_unit_test(entry_budget),   cmocka_unit_test(import_failures),
		cmocka_unit_test(unmap_errors),   cmocka_unit_test(unmap_table),
		cmocka_unit_test(vaddr),          cmocka_unit_test(get_info),
		cmocka_unit_test(dirty_many),     cmocka_unit_test(stalled_import),
		cmocka_unit_test(unmap_in_steps),
	};

	return cmocka_run_group_tests(tests, setup, NULL);
}
