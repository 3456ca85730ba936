// SPDX-License-Identifier: BSD-3-Clause
/* D.2: MAP_DMA. */
#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include "facts.h"

#define READ  VFIO_DMA_MAP_FLAG_READ
#define WRITE VFIO_DMA_MAP_FLAG_WRITE
#define VADDR VFIO_DMA_MAP_FLAG_VADDR

/* Where the address lies, each an offset away from a place that depends on device and process. */
enum place {
	GOOD,    /* usable and free */
	TAKEN,   /* a page that is mapped already */
	HOLE,    /* the interrupt window, which no range has */
	OUTSIDE, /* behind the last range */
	WRAP,    /* so high that the size wraps */
	TOP,     /* the last page of 64 bits */
	NOTHING, /* virtual: no memory there */
	ROMEM,   /* virtual: read-only memory */
};

struct map_call {
	uint32_t argsz, flags; /* argsz 0: the struct's */
	enum place vaddr, iova;
	uint64_t size;
	unsigned vaddr_add;
	long iova_add;
	long want;
	long before_72; /* what older kernels say, when it differs */
};

static uint64_t iova_at(struct t *t, enum place place)
{
	const uint64_t base = t->f->iova_first;
	uint64_t size = PAGE;

	switch (place) {
	case TAKEN:
		size = 4 * PAGE;
		must(t, "taken", dma_map(t->container, base, new_pages(t, 4), size));
		return base + PAGE;
	case HOLE:
		return 0xfee00000;
	case OUTSIDE:
		return 1ull << 62;
	case WRAP:
	case TOP:
		return -PAGE;
	default:
		return base + 0x400000;
	}
}

static uint64_t vaddr_at(struct t *t, enum place place)
{
	char *p = new_pages(t, 4);

	switch (place) {
	case WRAP:
	case TOP:
		return -PAGE;
	case NOTHING:
		munmap(p, 4 * PAGE);
		break;
	case ROMEM:
		mprotect(p, 4 * PAGE, PROT_READ);
		break;
	default:
		break;
	}
	return (uintptr_t)p;
}

static void map_call(struct t *t)
{
	const struct map_call *call = t->rule->arg;
	struct vfio_iommu_type1_dma_map map = {
		.argsz = call->argsz ? call->argsz : sizeof(map),
		.flags = call->flags,
		.vaddr = vaddr_at(t, call->vaddr) + call->vaddr_add,
		.iova = iova_at(t, call->iova) + (uint64_t)call->iova_add,
		.size = call->size,
	};
	long want = call->before_72 && !since(t, 7, 0) ? call->before_72 : call->want;

	see(t, "rc", sys(ioctl(t->container, VFIO_IOMMU_MAP_DMA, &map)), want);
}

/* ---- what is mapped -------------------------------------------------------------------------- */

static long map(struct t *t, uint64_t iova, const void *p, uint64_t size, uint32_t flags)
{
	struct vfio_iommu_type1_dma_map arg = {
		.argsz = sizeof(arg),
		.flags = flags,
		.vaddr = (uintptr_t)p,
		.iova = iova,
		.size = size,
	};

	return sys(ioctl(t->container, VFIO_IOMMU_MAP_DMA, &arg));
}

static void overlaps(struct t *t)
{
	uint64_t base = t->f->iova_first + 0x100000;
	void *p = new_pages(t, 16);

	must(t, "map", map(t, base, p, 4 * PAGE, READ | WRITE));
	see(t, "identical", map(t, base, p, 4 * PAGE, READ | WRITE), -EEXIST);
	see(t, "inside", map(t, base + PAGE, p, PAGE, READ | WRITE), -EEXIST);
	see(t, "around", map(t, base - PAGE, p, 8 * PAGE, READ | WRITE), -EEXIST);
	see(t, "over-begin", map(t, base - PAGE, p, 2 * PAGE, READ | WRITE), -EEXIST);
	see(t, "over-end", map(t, base + 3 * PAGE, p, 2 * PAGE, READ | WRITE), -EEXIST);
	see(t, "before", map(t, base - PAGE, p, PAGE, READ | WRITE), 0);
	see(t, "behind", map(t, base + 4 * PAGE, p, PAGE, READ | WRITE), 0);
}

static void same_memory_twice(struct t *t)
{
	void *p = new_pages(t, 1);
	uint64_t base = t->f->iova_first;

	see(t, "first", map(t, base, p, PAGE, READ | WRITE), 0);
	see(t, "second", map(t, base + PAGE, p, PAGE, READ | WRITE), 0);
	see(t, "third-read-only", map(t, base + 2 * PAGE, p, PAGE, READ), 0);
}

/* What fails in the middle leaves nothing behind. */
static void rolled_back(struct t *t)
{
	char *p = new_pages(t, 8);
	uint64_t base = t->f->iova_first, size = 8 * PAGE;

	must(t, "hole", sys(munmap(p + 4 * PAGE, PAGE)));
	see(t, "map", map(t, base, p, 8 * PAGE, READ | WRITE), -EFAULT);
	see(t, "unmap", dma_unmap(t->container, base, &size), 0);
	see(t, "size", (long)size, 0);
	see(t, "map-first-half", map(t, base, p, 4 * PAGE, READ | WRITE), 0);
}

static void memory_kinds(struct t *t)
{
	uint64_t base = t->f->iova_first;
	int memfd = memfd_create("rules", MFD_CLOEXEC), self = open("/proc/self/exe", O_RDONLY);
	void *p;

	must(t, "memfd", sys(ftruncate(memfd, 4 * PAGE)));
	p = mmap(NULL, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, memfd, 0);
	see(t, "memfd-shared", map(t, base, p, PAGE, READ | WRITE), 0);
	p = mmap(NULL, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, memfd, 0);
	see(t, "memfd-private", map(t, base + PAGE, p, PAGE, READ | WRITE), 0);
	p = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	see(t, "shared-anonymous", map(t, base + 2 * PAGE, p, PAGE, READ | WRITE), 0);
	p = mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE, self, 0);
	see(t, "file-read-only", map(t, base + 3 * PAGE, p, PAGE, READ), 0);
	p = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	see(t, "untouched", map(t, base + 4 * PAGE, p, PAGE, READ | WRITE), 0);
	p = mmap(NULL, PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	see(t, "no-access", map(t, base + 5 * PAGE, p, PAGE, READ), -EFAULT);
	p = mmap(NULL, PAGE, PROT_READ, MAP_SHARED, memfd, 0);
	see(t, "shared-read-only-for-writing", map(t, base + 6 * PAGE, p, PAGE, READ | WRITE),
	    -EFAULT);
	see(t, "shared-read-only", map(t, base + 6 * PAGE, p, PAGE, READ), 0);
}

static void beyond_file(struct t *t)
{
	int memfd = memfd_create("rules", MFD_CLOEXEC);
	void *p;

	must(t, "memfd", sys(ftruncate(memfd, PAGE)));
	p = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, memfd, 0);
	see(t, "map", map(t, t->f->iova_first, p, 2 * PAGE, READ | WRITE), -EFAULT);
	see(t, "map-within", map(t, t->f->iova_first, p, PAGE, READ | WRITE), 0);
}

/* The mapping is of the memory, not of the address. */
static void unmapped_by_owner(struct t *t)
{
	void *p = new_pages(t, 1);
	uint64_t base = t->f->iova_first, size = PAGE;

	see(t, "map", map(t, base, p, PAGE, READ | WRITE), 0);
	munmap(p, PAGE);
	see(t, "map-again", map(t, base, p, PAGE, READ | WRITE), -EEXIST);
	see(t, "unmap", dma_unmap(t->container, base, &size), 0);
	see(t, "size", (long)size, PAGE);
}

static void other_process(struct t *t)
{
	uint64_t base = t->f->iova_first, size = PAGE;
	int code = -1;
	pid_t pid = fork();

	must(t, "fork", sys(pid));
	if (!pid) {
		void *p = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1,
			       0);

		_exit((int)-map(t, base, p, PAGE, READ | WRITE));
	}
	waitpid(pid, &code, 0);
	see(t, "child-maps", WIFEXITED(code) ? -(long)WEXITSTATUS(code) : -EIO, 0);
	see(t, "parent-unmaps", dma_unmap(t->container, base, &size), 0);
	see(t, "size", (long)size, PAGE);
}

/* ---- limits ---------------------------------------------------------------------------------- */

static void entries(struct t *t)
{
	void *p = new_pages(t, 1);
	uint64_t base = t->f->iova_first + 0x100000, size = PAGE;
	long rc = 0, n;

	for (n = 0; n < 70000 && !rc; n++)
		rc = map(t, base + (uint64_t)n * PAGE, p, PAGE, READ | WRITE);
	see(t, "rc", rc, -ENOSPC);
	see(t, "entries", n - 1, 65535);
	see(t, "order-taken", map(t, base, p, PAGE, READ | WRITE), -EEXIST);
	see(t, "order-outside", map(t, 1ull << 62, p, PAGE, READ | WRITE), -ENOSPC);
	see(t, "order-no-flags", map(t, base - PAGE, p, PAGE, 0), -EINVAL);
	see(t, "order-no-memory", map(t, base - PAGE, at_page_end(t, 0), PAGE, READ), -ENOSPC);
	see(t, "unmap-one", dma_unmap(t->container, base, &size), 0);
	see(t, "room-again", map(t, base, p, PAGE, READ | WRITE), 0);
	see(t, "full-again", map(t, base - PAGE, p, PAGE, READ | WRITE), -ENOSPC);
}

/* What fails costs no entry. */
static void entries_refunded(struct t *t)
{
	uint64_t base = t->f->iova_first;
	void *p = at_page_end(t, 0);
	unsigned faults = 0;

	for (int i = 0; i < 100; i++)
		faults += map(t, base, p, PAGE, READ) == -EFAULT;
	see(t, "faults", faults, 100);

	struct {
		struct vfio_iommu_type1_info info;
		uint8_t room[4096];
	} u = {.info.argsz = sizeof(u)};
	const struct vfio_iommu_type1_info_dma_avail *avail = NULL;

	must(t, "info", sys(ioctl(t->container, VFIO_IOMMU_GET_INFO, &u)));
	for (uint32_t at = u.info.cap_offset; at && at < sizeof(u); at = avail->header.next) {
		avail = (const void *)((const char *)&u + at);
		if (avail->header.id == VFIO_IOMMU_TYPE1_INFO_DMA_AVAIL)
			break;
	}
	see(t, "available", avail ? (long)avail->avail : -1, 65535);
}

static void locked_memory_privileged(struct t *t)
{
	struct rlimit limit = {4 * PAGE, 4 * PAGE};

	must(t, "limit", sys(setrlimit(RLIMIT_MEMLOCK, &limit)));
	see(t, "more", map(t, t->f->iova_first, new_pages(t, 8), 8 * PAGE, READ | WRITE), 0);
}

static void locked_memory(struct t *t)
{
	struct rlimit limit = {4 * PAGE, 4 * PAGE};
	uint64_t base = t->f->iova_first, size = 4 * PAGE;
	char *p = new_pages(t, 16);

	must(t, "limit", sys(setrlimit(RLIMIT_MEMLOCK, &limit)));
	if (!drop_ipc_lock())
		skip(t, "cannot drop CAP_IPC_LOCK");
	see(t, "more", map(t, base, p, 8 * PAGE, READ | WRITE), -ENOMEM);
	see(t, "all", map(t, base, p, 4 * PAGE, READ | WRITE), 0);
	see(t, "one-more", map(t, base + 0x100000, p + 4 * PAGE, PAGE, READ | WRITE), -ENOMEM);
	size = 4 * PAGE;
	see(t, "unmap", dma_unmap(t->container, base, &size), 0);
	see(t, "refunded", map(t, base, p + 4 * PAGE, 4 * PAGE, READ | WRITE), 0);
}

/* What is mapped twice is counted twice. */
static void locked_memory_twice(struct t *t)
{
	struct rlimit limit = {4 * PAGE, 4 * PAGE};
	uint64_t base = t->f->iova_first, size = 2 * PAGE;
	char *p = new_pages(t, 4);

	must(t, "limit", sys(setrlimit(RLIMIT_MEMLOCK, &limit)));
	if (!drop_ipc_lock())
		skip(t, "cannot drop CAP_IPC_LOCK");
	see(t, "first", map(t, base, p, 2 * PAGE, READ | WRITE), 0);
	see(t, "same", map(t, base + 0x100000, p, 2 * PAGE, READ | WRITE), 0);
	see(t, "third", map(t, base + 0x200000, p, PAGE, READ), -ENOMEM);
	must(t, "unmap", dma_unmap(t->container, base, &size));
	see(t, "third", map(t, base + 0x200000, p, PAGE, READ), 0);
}

/* With its new address it is the other process's. */
static void locked_memory_moved(struct t *t)
{
	struct rlimit limit = {4 * PAGE, 4 * PAGE};
	uint64_t base = t->f->iova_first;
	char *p = new_pages(t, 8);
	struct vfio_iommu_type1_dma_unmap invalidate = {.argsz = sizeof(invalidate),
							.flags = VFIO_DMA_UNMAP_FLAG_VADDR,
							.iova = base,
							.size = 4 * PAGE};
	int code = -1, pipes[2];
	pid_t pid;

	must(t, "limit", sys(setrlimit(RLIMIT_MEMLOCK, &limit)));
	if (!drop_ipc_lock())
		skip(t, "cannot drop CAP_IPC_LOCK");
	see(t, "all", map(t, base, p, 4 * PAGE, READ | WRITE), 0);
	see(t, "one-more", map(t, base + 0x100000, p + 4 * PAGE, PAGE, READ), -ENOMEM);
	must(t, "invalidate", sys(ioctl(t->container, VFIO_IOMMU_UNMAP_DMA, &invalidate)));
	see(t, "one-more", map(t, base + 0x100000, p + 4 * PAGE, PAGE, READ), -ENOMEM);
	must(t, "pipe", sys(pipe(pipes)));
	pid = fork();
	must(t, "fork", sys(pid));
	if (!pid) {
		char c = (char)-map(t, base, p, 4 * PAGE, VADDR);

		/* It has to live: what is its own goes with it. */
		must(t, "tell", write(pipes[1], &c, 1));
		pause();
	}
	must(t, "told", read(pipes[0], &code, 1));
	see(t, "child-updates", -(long)(code & 0xff), 0);
	see(t, "one-more", map(t, base + 0x100000, p + 4 * PAGE, PAGE, READ), 0);
	see(t, "too-many", map(t, base + 0x200000, p + 4 * PAGE, 4 * PAGE, READ), -ENOMEM);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
}

/* ---- device memory --------------------------------------------------------------------------- */

static void device_memory(struct t *t)
{
	uint32_t *reg = map_bar(t, PROT_READ | PROT_WRITE);
	void *page = (void *)((uintptr_t)reg & ~(PAGE - 1));
	uint64_t base = t->f->iova_first, size = PAGE;

	see(t, "map", map(t, base, page, PAGE, READ | WRITE), 0);
	see(t, "unmap", dma_unmap(t->container, base, &size), 0);
	see(t, "size", (long)size, PAGE);
	set_memory(t, false);
	see(t, "map-memory-off", map(t, base, page, PAGE, READ | WRITE), -EFAULT);
	set_memory(t, true);
	see(t, "map-memory-on", map(t, base, page, PAGE, READ | WRITE), 0);
}

static void device_memory_read_only(struct t *t)
{
	uint32_t *reg = map_bar(t, PROT_READ);
	void *page = (void *)((uintptr_t)reg & ~(PAGE - 1));

	see(t, "for-writing", map(t, t->f->iova_first, page, PAGE, READ | WRITE), -EFAULT);
	see(t, "for-reading", map(t, t->f->iova_first, page, PAGE, READ), 0);
}

#define MAP(...)                                                                                   \
	OPEN_TYPE1V2, 0, map_call, &(const struct map_call)                                        \
	{                                                                                          \
		__VA_ARGS__                                                                        \
	}
#define RW (READ | WRITE)

static const struct rule rules[] = {
	{"D.2/MAP/good", MAP(0, RW, GOOD, GOOD, PAGE, 0, 0, 0)},
	{"D.2/MAP/good-version-1", OPEN_TYPE1, 0, map_call,
	 &(const struct map_call){0, RW, GOOD, GOOD, PAGE, 0, 0, 0}},
	{"D.2/MAP/read-only", MAP(0, READ, GOOD, GOOD, PAGE, 0, 0, 0)},
	{"D.2/MAP/write-only", MAP(0, WRITE, GOOD, GOOD, PAGE, 0, 0, 0)},
	{"D.2/MAP/argsz-0", MAP(1, RW, GOOD, GOOD, PAGE, 0, 0, -EINVAL)},
	{"D.2/MAP/argsz-31", MAP(31, RW, GOOD, GOOD, PAGE, 0, 0, -EINVAL)},
	{"D.2/MAP/argsz-more", MAP(4096, RW, GOOD, GOOD, PAGE, 0, 0, 0)},
	{"D.2/MAP/no-flags", MAP(0, 0, GOOD, GOOD, PAGE, 0, 0, -EINVAL)},
	{"D.2/MAP/unknown-flag-3", MAP(0, RW | 8, GOOD, GOOD, PAGE, 0, 0, -EINVAL)},
	{"D.2/MAP/unknown-flag-31", MAP(0, RW | 1u << 31, GOOD, GOOD, PAGE, 0, 0, -EINVAL)},
	{"D.2/MAP/vaddr-and-read", MAP(0, VADDR | READ, GOOD, TAKEN, PAGE, 0, 0, -EINVAL)},
	{"D.2/MAP/vaddr-and-write", MAP(0, VADDR | WRITE, GOOD, TAKEN, PAGE, 0, 0, -EINVAL)},
	{"D.2/MAP/vaddr-of-nothing", MAP(0, VADDR, GOOD, GOOD, PAGE, 0, 0, -ENOENT)},
	{"D.2/MAP/vaddr-not-exact", MAP(0, VADDR, GOOD, TAKEN, 4 * PAGE, 0, 0, -EINVAL)},
	{"D.2/MAP/size-0", MAP(0, RW, GOOD, GOOD, 0, 0, 0, -EINVAL)},
	{"D.2/MAP/size-1", MAP(0, RW, GOOD, GOOD, 1, 0, 0, -EINVAL)},
	{"D.2/MAP/size-odd", MAP(0, RW, GOOD, GOOD, PAGE + 512, 0, 0, -EINVAL)},
	{"D.2/MAP/iova-misaligned", MAP(0, RW, GOOD, GOOD, PAGE, 0, 512, -EINVAL)},
	{"D.2/MAP/vaddr-misaligned", MAP(0, RW, GOOD, GOOD, PAGE, 512, 0, -EINVAL)},
	{"D.2/MAP/iova-wraps", MAP(0, RW, GOOD, WRAP, 2 * PAGE, 0, 0, -EOVERFLOW, -EINVAL)},
	{"D.2/MAP/vaddr-wraps", MAP(0, RW, WRAP, GOOD, 2 * PAGE, 0, 0, -EOVERFLOW, -EINVAL)},
	{"D.2/MAP/size-max", MAP(0, RW, GOOD, GOOD, -PAGE, 0, 0, -EOVERFLOW, -EINVAL)},
	{"D.2/MAP/iova-top-page", MAP(0, RW, GOOD, TOP, PAGE, 0, 0, -EINVAL)},
	{"D.2/MAP/taken", MAP(0, RW, GOOD, TAKEN, PAGE, 0, 0, -EEXIST)},
	{"D.2/MAP/interrupt-window", MAP(0, RW, GOOD, HOLE, PAGE, 0, 0, -EINVAL)},
	{"D.2/MAP/interrupt-window-last-page", MAP(0, RW, GOOD, HOLE, PAGE, 0, 0xff000, -EINVAL)},
	{"D.2/MAP/into-interrupt-window",
	 MAP(0, RW, GOOD, HOLE, 2 * PAGE, 0, -(long)PAGE, -EINVAL)},
	{"D.2/MAP/after-interrupt-window", MAP(0, RW, GOOD, HOLE, PAGE, 0, 0x100000, 0)},
	{"D.2/MAP/before-interrupt-window", MAP(0, RW, GOOD, HOLE, PAGE, 0, -(long)PAGE, 0)},
	{"D.2/MAP/outside", MAP(0, RW, GOOD, OUTSIDE, PAGE, 0, 0, -EINVAL)},
	{"D.2/MAP/no-memory", MAP(0, RW, NOTHING, GOOD, PAGE, 0, 0, -EFAULT)},
	{"D.2/MAP/null", MAP(0, RW, NOTHING, GOOD, 4 * PAGE, 0, 0, -EFAULT)},
	{"D.2/MAP/kernel-address", MAP(0, RW, TOP, GOOD, PAGE, 0, 0, -EFAULT)},
	{"D.2/MAP/read-only-memory-for-writing", MAP(0, RW, ROMEM, GOOD, PAGE, 0, 0, -EFAULT)},
	{"D.2/MAP/read-only-memory", MAP(0, READ, ROMEM, GOOD, PAGE, 0, 0, 0)},
	{"D.2/MAP/overlaps", OPEN_TYPE1V2, 0, overlaps},
	{"D.2/MAP/overlaps-version-1", OPEN_TYPE1, 0, overlaps},
	{"D.2/MAP/same-memory-twice", OPEN_TYPE1V2, 0, same_memory_twice},
	{"D.2/MAP/rolled-back", OPEN_TYPE1V2, 0, rolled_back},
	{"D.2/MAP/memory-kinds", OPEN_TYPE1V2, 0, memory_kinds},
	{"D.2/MAP/beyond-end-of-file", OPEN_TYPE1V2, 0, beyond_file},
	{"D.2/MAP/memory-unmapped-by-owner", OPEN_TYPE1V2, 0, unmapped_by_owner},
	{"D.2/MAP/other-process", OPEN_TYPE1V2, 0, other_process},
	{"D.2/MAP/entry-limit", OPEN_TYPE1V2, 0, entries},
	{"D.2/MAP/failures-cost-no-entry", OPEN_TYPE1V2, 0, entries_refunded},
	{"D.2/MAP/locked-memory-privileged", OPEN_TYPE1V2, 0, locked_memory_privileged},
	{"D.2/MAP/locked-memory", OPEN_TYPE1V2, 0, locked_memory},
	{"D.2/MAP/locked-memory-twice", OPEN_TYPE1V2, 0, locked_memory_twice},
	{"D.2/MAP/locked-memory-moved", OPEN_TYPE1V2, 0, locked_memory_moved},
	{"D.2/MAP/device-memory", OPEN_DEVICE, NEED_MMAP, device_memory},
	{"D.2/MAP/device-memory-read-only", OPEN_DEVICE, NEED_MMAP, device_memory_read_only},
};
const struct section section_d2_map = SECTION("D.2", rules);

/* Two things wrong at once: the earlier check wins. */
static const struct rule order_rules[] = {
	{"D.2/MAP/order/unknown-flag-and-wrap",
	 MAP(0, RW | 8, GOOD, WRAP, 2 * PAGE, 0, 0, -EINVAL)},
	{"D.2/MAP/order/argsz-and-wrap", MAP(31, RW, GOOD, WRAP, 2 * PAGE, 0, 0, -EINVAL)},
	{"D.2/MAP/order/argsz-and-taken", MAP(31, RW, GOOD, TAKEN, PAGE, 0, 0, -EINVAL)},
	{"D.2/MAP/order/unknown-flag-and-taken", MAP(0, RW | 8, GOOD, TAKEN, PAGE, 0, 0, -EINVAL)},
	{"D.2/MAP/order/size-0-and-taken", MAP(0, RW, GOOD, TAKEN, 0, 0, 0, -EINVAL)},
	{"D.2/MAP/order/size-0-and-top", MAP(0, RW, GOOD, TOP, 0, 0, 0, -EINVAL)},
	{"D.2/MAP/order/wrap-and-no-flags",
	 MAP(0, 0, GOOD, WRAP, 2 * PAGE, 0, 0, -EOVERFLOW, -EINVAL)},
	{"D.2/MAP/order/wrap-and-misaligned",
	 MAP(0, RW, GOOD, WRAP, 2 * PAGE, 512, 0, -EOVERFLOW, -EINVAL)},
	{"D.2/MAP/order/wrap-and-vaddr-flag",
	 MAP(0, VADDR, GOOD, WRAP, 2 * PAGE, 0, 0, -EOVERFLOW, -EINVAL)},
	{"D.2/MAP/order/no-flags-and-taken", MAP(0, 0, GOOD, TAKEN, PAGE, 0, 0, -EINVAL)},
	{"D.2/MAP/order/no-flags-and-no-memory", MAP(0, 0, NOTHING, GOOD, PAGE, 0, 0, -EINVAL)},
	{"D.2/MAP/order/misaligned-and-taken", MAP(0, RW, GOOD, TAKEN, PAGE, 0, 512, -EINVAL)},
	{"D.2/MAP/order/misaligned-vaddr-flag", MAP(0, VADDR, GOOD, GOOD, PAGE, 0, 512, -EINVAL)},
	{"D.2/MAP/order/misaligned-and-no-memory",
	 MAP(0, RW, NOTHING, GOOD, PAGE, 512, 0, -EINVAL)},
	{"D.2/MAP/order/taken-and-no-memory", MAP(0, RW, NOTHING, TAKEN, PAGE, 0, 0, -EEXIST)},
	{"D.2/MAP/order/window-and-no-memory", MAP(0, RW, NOTHING, HOLE, PAGE, 0, 0, -EINVAL)},
	{"D.2/MAP/order/outside-and-no-memory", MAP(0, RW, NOTHING, OUTSIDE, PAGE, 0, 0, -EINVAL)},
	{"D.2/MAP/order/outside-and-read-only", MAP(0, RW, ROMEM, OUTSIDE, PAGE, 0, 0, -EINVAL)},
	{"D.2/MAP/order/vaddr-flag-outside", MAP(0, VADDR, GOOD, OUTSIDE, PAGE, 0, 0, -ENOENT)},
};
const struct section section_d2_map_order = SECTION("D.2", order_rules);
