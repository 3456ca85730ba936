/* SPDX-License-Identifier: BSD-3-Clause */
/* memory_client.h: memory of every kind, and what the program does with it while it is mapped. */
#include <linux/magic.h>
#include <sys/shm.h>
#include <sys/vfs.h>
#include "memory_client.h"

#ifndef MAP_HUGE_SHIFT
#define MAP_HUGE_SHIFT 26
#endif

static char *map(size_t len, int prot, int flags, int fd)
{
	char *p = mmap(NULL, len, prot, flags, fd, 0);

	return p == MAP_FAILED ? NULL : p;
}

static int memfd(size_t size)
{
	int fd = memfd_create("memory", MFD_CLOEXEC);

	NEED(fd >= 0 && !ftruncate(fd, (off_t)size));
	return fd;
}

/* ---- kinds: at least two pages each, NULL when this machine has none ---- */

static char *anonymous(void)
{
	return map(2 * PAGE, RW, MAP_PRIVATE | MAP_ANONYMOUS, -1);
}

static char *shared_anonymous(void)
{
	return map(2 * PAGE, RW, MAP_SHARED | MAP_ANONYMOUS, -1);
}

static char *memory_file(void)
{
	return map(2 * PAGE, RW, MAP_SHARED, memfd(2 * PAGE));
}

/* Of a private mapping the pages that the program has written are its own. */
static char *private_file(void)
{
	char *p = map(2 * PAGE, RW, MAP_PRIVATE, memfd(2 * PAGE));

	p[0] = 1;
	return p;
}

static char *own_file(const char *template, int flags)
{
	char path[64];
	char *p;
	int fd;

	snprintf(path, sizeof(path), "%s", template);
	fd = mkstemp(path);
	if (fd < 0)
		return NULL;
	NEED(!unlink(path) && !ftruncate(fd, 2 * PAGE));
	p = map(2 * PAGE, RW, flags, fd);
	close(fd);
	return p;
}

static bool on_disk(const char *path)
{
	struct statfs fs;

	return !statfs(path, &fs) && fs.f_type != TMPFS_MAGIC && fs.f_type != RAMFS_MAGIC;
}

static char *shm_file(void)
{
	return own_file("/dev/shm/uvfio-memory.XXXXXX", MAP_SHARED);
}

static char *private_disk_file(void)
{
	return own_file("/var/tmp/uvfio-memory.XXXXXX", MAP_PRIVATE);
}

static char *system_v(void)
{
	int id = shmget(IPC_PRIVATE, 2 * PAGE, 0600);
	void *p = id < 0 ? (void *)-1 : shmat(id, NULL, 0);

	if (id >= 0)
		shmctl(id, IPC_RMID, NULL);
	return p == (void *)-1 ? NULL : p;
}

static char *transparent_huge(void)
{
	char *p = map(2 * HUGE, RW, MAP_PRIVATE | MAP_ANONYMOUS, -1);

	p = (char *)(((uintptr_t)p + HUGE - 1) & ~(HUGE - 1));
	madvise(p, HUGE, MADV_HUGEPAGE);
	p[0] = 1;
	return p;
}

static char *huge_private(void)
{
	return map(HUGE, RW, MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB, -1);
}

static char *huge_shared(void)
{
	return map(HUGE, RW, MAP_SHARED | MAP_ANONYMOUS | MAP_HUGETLB, -1);
}

static char *huge_file(void)
{
	int fd = memfd_create("memory", MFD_CLOEXEC | MFD_HUGETLB);

	if (fd < 0 || ftruncate(fd, HUGE))
		return NULL;
	return map(HUGE, RW, MAP_SHARED, fd);
}

static char *stack(void)
{
	static char *pages;
	volatile char here[4 * PAGE];

	here[0] = here[3 * PAGE] = 0;
	pages = (char *)(((uintptr_t)here + PAGE - 1) & ~(PAGE - 1));
	return pages;
}

static char *data(void)
{
	static char pages[3 * PAGE] = {1};

	return (char *)(((uintptr_t)pages + PAGE - 1) & ~(PAGE - 1));
}

/* The second page is of another kind than the first. */
static char *two_kinds(void)
{
	char *p = anonymous();

	NEED(mmap(p + PAGE, PAGE, RW, MAP_SHARED | MAP_FIXED, memfd(PAGE), 0) == p + PAGE);
	return p;
}

static char *written_only(void)
{
	return map(2 * PAGE, PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1);
}

void kinds_of_memory(void)
{
	static const struct {
		const char *name;
		char *(*make)(void);
	} kinds[] = {
		{"anonymous", anonymous},
		{"shared anonymous", shared_anonymous},
		{"memory file", memory_file},
		{"private memory file", private_file},
		{"shm", shm_file},
		{"private file on a disk", private_disk_file},
		{"System V", system_v},
		{"huge page, transparent", transparent_huge},
		{"huge page, private", huge_private},
		{"huge page, shared", huge_shared},
		{"huge page, file", huge_file},
		{"stack", stack},
		{"data", data},
		{"two kinds", two_kinds},
		{"write-only", written_only},
	};

	for (unsigned i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		char *p = kinds[i].make();
		unsigned flags = kinds[i].make == written_only ? DMA_WRITE : DMA_READ | DMA_WRITE;

		doing = kinds[i].name;
		if (!p) {
			printf("SKIP %s\n", doing);
			continue;
		}
		CHECK(dma_map(IOVA, p, 2 * PAGE, flags) == 0);
		if (flags & DMA_READ) {
			check_both_ways(IOVA, (uint64_t *)p);
			check_both_ways(IOVA + PAGE, (uint64_t *)(p + PAGE));
			/* Across the boundary of pages. */
			check_both_ways(IOVA + PAGE - 4, (uint64_t *)(p + PAGE - 4));
		} else {
			/* The processor reads what it may write. */
			CHECK(dma_put(IOVA, 7) == 0 && *(uint64_t *)p == 7);
			CHECK(dma_get(IOVA, &(uint64_t){0}) == EFAULT);
		}
		CHECK(dma_unmap(IOVA, 2 * PAGE) == 0);
		check_neither(IOVA, EFAULT);
	}

	/* What would have to be written back to a disk is refused, also when nobody has it open. */
	doing = "shared file on a disk";
	char *file = own_file("/var/tmp/uvfio-memory.XXXXXX", MAP_SHARED);

	if (file && on_disk("/var/tmp")) {
		*(uint64_t *)file = 3;
		CHECK(dma_map(IOVA, file, PAGE, DMA_READ | DMA_WRITE) == -EFAULT);
		CHECK(dma_map(IOVA, file, PAGE, DMA_READ) == 0);
		CHECK(dma_get(IOVA, &(uint64_t){0}) == 0);
		CHECK(dma_unmap(IOVA, PAGE) == 0);
	} else {
		printf("SKIP %s\n", doing);
	}

	/* For reading only: the program's own instructions. */
	doing = "text";
	uint64_t *text = (uint64_t *)((uintptr_t)kinds_of_memory & ~(PAGE - 1)), got = 0;

	CHECK(dma_map(IOVA, text, PAGE, DMA_READ | DMA_WRITE) == -EFAULT);
	CHECK(dma_map(IOVA, text, PAGE, DMA_READ) == 0);
	CHECK(dma_get(IOVA, &got) == 0 && got == *text);
	CHECK(dma_put(IOVA, 1) == EFAULT);
	CHECK(dma_unmap(IOVA, PAGE) == 0);
}

/* ---- what the program does meanwhile ---- */

/* Shared memory stays what it was, as if it were pinned. */
static void shared_is_kept(void)
{
	int fd = memfd(2 * PAGE);
	char *p = map(2 * PAGE, RW, MAP_SHARED, fd), *q = map(2 * PAGE, RW, MAP_SHARED, fd), *other;

	doing = "shared memory, unmapped";
	NEED(dma_map(IOVA, p, 2 * PAGE, DMA_READ | DMA_WRITE) == 0);
	munmap(p, 2 * PAGE);
	check_both_ways(IOVA, (uint64_t *)q);
	doing = "shared memory, replaced by another";
	other = mmap(p, 2 * PAGE, RW, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
	NEED(other == p);
	check_both_ways(IOVA, (uint64_t *)q);
	CHECK(*(uint64_t *)p == 0);
	doing = "shared memory, moved and closed";
	close(fd);
	check_both_ways(IOVA + PAGE, (uint64_t *)(q + PAGE));
	CHECK(mprotect(q, 2 * PAGE, PROT_READ) == 0);
	CHECK(dma_put(IOVA, 99) == 0 && *(uint64_t *)q == 99);
	CHECK(dma_unmap(IOVA, 2 * PAGE) == 0);
}

static void file_is_cut(void)
{
	int fd = memfd(2 * PAGE);
	char *p = map(2 * PAGE, RW, MAP_SHARED, fd);
	uint64_t got;

	doing = "memory file, cut off";
	NEED(dma_map(IOVA, p, 2 * PAGE, DMA_READ | DMA_WRITE) == 0);
	NEED(!ftruncate(fd, PAGE));
	check_neither(IOVA + PAGE, EIO);
	check_both_ways(IOVA, (uint64_t *)p);
	doing = "memory file, grown again";
	NEED(!ftruncate(fd, 2 * PAGE));
	CHECK(dma_get(IOVA + PAGE, &got) == 0 && got == 0);
	check_both_ways(IOVA + PAGE, (uint64_t *)(p + PAGE));
	CHECK(dma_unmap(IOVA, 2 * PAGE) == 0);
}

/* Private memory is what is at its address. */
static void private_is_the_address(void)
{
	char *p = anonymous(), *to = anonymous();
	uint64_t got;

	doing = "private memory, protected";
	NEED(dma_map(IOVA, p, 2 * PAGE, DMA_READ | DMA_WRITE) == 0);
	NEED(!mprotect(p, PAGE, PROT_READ));
	CHECK(dma_put(IOVA, 5) == 0 && *(volatile uint64_t *)p == 5);
	NEED(!mprotect(p, PAGE, PROT_NONE));
	CHECK(dma_put(IOVA, 6) == 0 && dma_get(IOVA, &got) == 0 && got == 6);
	NEED(!mprotect(p, PAGE, RW));
	CHECK(*(volatile uint64_t *)p == 6);

	doing = "private memory, given up";
	NEED(!madvise(p, PAGE, MADV_DONTNEED));
	CHECK(dma_get(IOVA, &got) == 0 && got == 0);
	check_both_ways(IOVA, (uint64_t *)p);

	doing = "private memory, moved";
	NEED(mremap(p, PAGE, PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, to) == to);
	check_neither(IOVA, EIO);
	check_both_ways(IOVA + PAGE, (uint64_t *)(p + PAGE));

	doing = "private memory, replaced";
	NEED(mmap(p, PAGE, RW, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == p);
	check_both_ways(IOVA, (uint64_t *)p);

	doing = "private memory, unmapped";
	munmap(p, 2 * PAGE);
	check_neither(IOVA, EIO);
	check_neither(IOVA + PAGE, EIO);
	CHECK(dma_unmap(IOVA, 2 * PAGE) == 0);
	munmap(to, 2 * PAGE);
}

/* Of a private mapping of a file: never the file. */
static void private_file_is_private(void)
{
	int fd = memfd(2 * PAGE);
	char *p = map(2 * PAGE, RW, MAP_PRIVATE, fd), *file = map(2 * PAGE, RW, MAP_SHARED, fd);
	uint64_t got;

	doing = "private file";
	*(uint64_t *)file = 11;
	NEED(dma_map(IOVA, p, 2 * PAGE, DMA_READ | DMA_WRITE) == 0);
	CHECK(dma_get(IOVA, &got) == 0 && got == 11);
	CHECK(dma_put(IOVA, 12) == 0);
	CHECK(*(volatile uint64_t *)p == 12 && *(volatile uint64_t *)file == 11);
	*(volatile uint64_t *)p = 13;
	CHECK(dma_get(IOVA, &got) == 0 && got == 13);
	CHECK(dma_unmap(IOVA, 2 * PAGE) == 0);
}

void later_changes(void)
{
	shared_is_kept();
	file_is_cut();
	private_is_the_address();
	private_file_is_private();
}
