/* SPDX-License-Identifier: BSD-3-Clause */
/* memory_client.h: mapped BARs as memory for DMA (D.2, D.4). */
#include <sys/syscall.h>
#include "memory_client.h"
#include "uapi/helper/trap.h"

static char *map_bar(const struct device *d, unsigned bar, size_t len, int prot)
{
	char *p = mmap(NULL, len, prot, MAP_SHARED, d->fd, (off_t)d->bar[bar]);

	NEED(p != MAP_FAILED);
	return p;
}

static uint64_t memory_of(const struct device *d, uint64_t off)
{
	uint64_t value = 0;

	NEED(pread(d->fd, &value, 8, (off_t)(d->bar[2] + off)) == 8);
	return value;
}

/* The other device's memory: seen by its reads and by a mapping. */
static void other_memory(void)
{
	char *p = map_bar(&devices[1], 2, 4 * PAGE, RW);
	uint8_t block[2 * PAGE], got[2 * PAGE];

	doing = "another device's memory";
	CHECK(dma_map(IOVA, p, 4 * PAGE, DMA_READ | DMA_WRITE) == 0);
	check_both_ways(IOVA, (uint64_t *)p);
	check_both_ways(IOVA + 2 * PAGE, (uint64_t *)(p + 2 * PAGE));
	CHECK(dma_put(IOVA + PAGE, 77) == 0 && memory_of(&devices[1], PAGE) == 77);
	/* Much of it, not aligned. */
	for (unsigned i = 0; i < sizeof(block); i++)
		block[i] = (uint8_t)(i * 7 + 1);
	NEED(pwrite(devices[0].fd, block, sizeof(block), (off_t)devices[0].bar[2]) ==
	     sizeof(block));
	CHECK(dma_move(IOVA + 3, sizeof(block), 0, true) == 0);
	CHECK(!memcmp(p + 3, block, sizeof(block)));
	memset(block, 0, sizeof(block));
	NEED(pwrite(devices[0].fd, block, sizeof(block), (off_t)devices[0].bar[2]) ==
	     sizeof(block));
	CHECK(dma_move(IOVA + 3, sizeof(block), 0, false) == 0);
	NEED(pread(devices[0].fd, got, sizeof(got), (off_t)devices[0].bar[2]) == sizeof(got));
	CHECK(!memcmp(p + 3, got, sizeof(got)));
	/* Unmapped by the program, it is still mapped for the device. */
	munmap(p, 4 * PAGE);
	CHECK(dma_put(IOVA, 78) == 0 && memory_of(&devices[1], 0) == 78);
	CHECK(dma_unmap(IOVA, 4 * PAGE) == 0);
	check_neither(IOVA, EFAULT);
	CHECK(memory_of(&devices[1], 0) == 78);
}

/* Registers see each write; and a device reaches its own. */
static void registers(void)
{
	for (unsigned i = 0; i < 2; i++) {
		const struct device *d = &devices[i];
		char *p = map_bar(d, 0, PAGE, RW);
		uint64_t got = 0;

		doing = i ? "another device's registers" : "its own registers";
		CHECK(dma_map(IOVA, p, PAGE, DMA_READ | DMA_WRITE) == 0);
		CHECK(dma_put(IOVA + SCRATCH, 0x1122334455667788) == 0);
		CHECK(read_register(d, SCRATCH, 8) == 0x1122334455667788);
		CHECK(dma_get(IOVA + SCRATCH, &got) == 0 && got == 0x1122334455667788);
		/* The id cannot be written. */
		CHECK(dma_put(IOVA, 0) == 0 && read_register(d, 0, 4) == 0x54504355);
		CHECK(dma_unmap(IOVA, PAGE) == 0);
		munmap(p, PAGE);
	}
}

/* Between pages of memory. */
static void side_by_side(void)
{
	char *p = mmap(NULL, 3 * PAGE, RW, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	uint8_t block[3 * PAGE];

	doing = "memory, a BAR, and memory";
	NEED(p != MAP_FAILED);
	NEED(mmap(p + PAGE, PAGE, RW, MAP_SHARED | MAP_FIXED, devices[1].fd,
		  (off_t)devices[1].bar[2]) == p + PAGE);
	CHECK(dma_map(IOVA, p, 3 * PAGE, DMA_READ | DMA_WRITE) == 0);
	for (unsigned i = 0; i < sizeof(block); i++)
		block[i] = (uint8_t)(i * 11 + 5);
	NEED(pwrite(devices[0].fd, block, sizeof(block), (off_t)devices[0].bar[2]) ==
	     sizeof(block));
	CHECK(dma_move(IOVA, sizeof(block), 0, true) == 0);
	CHECK(!memcmp(p, block, sizeof(block)));
	/* While the BAR is away the pages around it are there. */
	set_command(&devices[1], 4);
	check_neither(IOVA + PAGE, EIO);
	check_both_ways(IOVA, (uint64_t *)p);
	check_both_ways(IOVA + 2 * PAGE, (uint64_t *)(p + 2 * PAGE));
	set_command(&devices[1], 6);
	check_both_ways(IOVA + PAGE, (uint64_t *)(p + PAGE));
	CHECK(dma_unmap(IOVA, 3 * PAGE) == 0);
	munmap(p, 3 * PAGE);
}

/* What mmap was asked for, whatever the pages allow. */
static void rights(void)
{
	static const struct {
		int prot, read, write;
	} rows[] = {
		{RW, 0, 0},
		{PROT_READ, 0, -EFAULT},
		{PROT_NONE, -EFAULT, -EFAULT},
	};

	for (unsigned bar = 0; bar < 4; bar += 2) {
		for (unsigned i = 0; i < 3; i++) {
			char *p = map_bar(&devices[1], bar, PAGE, rows[i].prot);

			doing = bar ? "rights to memory" : "rights to registers";
			CHECK(dma_map(IOVA, p, PAGE, DMA_READ) == rows[i].read);
			CHECK(dma_map(IOVA + PAGE, p, PAGE, DMA_WRITE) == rows[i].write);
			if (!rows[i].read) {
				uint64_t got;

				CHECK(dma_get(IOVA, &got) == 0);
				CHECK(dma_put(IOVA, 1) == EFAULT);
				CHECK(dma_unmap(IOVA, PAGE) == 0);
			}
			if (!rows[i].write) {
				CHECK(dma_put(IOVA + PAGE, 1) == 0);
				CHECK(dma_unmap(IOVA + PAGE, PAGE) == 0);
			}
			munmap(p, PAGE);
		}
	}
}

/* Dirty pages are told of it as of any memory: all that is mapped. */
static void dirty_pages(void)
{
	struct {
		struct vfio_iommu_type1_dirty_bitmap head;
		struct vfio_iommu_type1_dirty_bitmap_get get;
	} dirty = {.head = {.argsz = sizeof(dirty), .flags = VFIO_IOMMU_DIRTY_PAGES_FLAG_START}};
	struct {
		struct vfio_iommu_type1_dma_unmap head;
		struct vfio_bitmap bitmap;
	} unmap = {.head = {.argsz = sizeof(unmap),
			    .flags = VFIO_DMA_UNMAP_FLAG_GET_DIRTY_BITMAP,
			    .iova = IOVA,
			    .size = 3 * PAGE}};
	char *p = map_bar(&devices[1], 2, 3 * PAGE, RW);
	uint64_t word = 0;

	doing = "dirty pages of a BAR";
	NEED(dma_map(IOVA, p, 3 * PAGE, DMA_READ | DMA_WRITE) == 0);
	CHECK(!ioctl(container, VFIO_IOMMU_DIRTY_PAGES, &dirty));
	dirty.head.flags = VFIO_IOMMU_DIRTY_PAGES_FLAG_GET_BITMAP;
	dirty.get = (struct vfio_iommu_type1_dirty_bitmap_get){
		.iova = IOVA,
		.size = 3 * PAGE,
		.bitmap = {.pgsize = PAGE, .size = 8, .data = (void *)&word},
	};
	CHECK(!ioctl(container, VFIO_IOMMU_DIRTY_PAGES, &dirty) && word == 7);
	word = 0;
	unmap.bitmap = dirty.get.bitmap;
	CHECK(!ioctl(container, VFIO_IOMMU_UNMAP_DMA, &unmap) && word == 7);
	dirty.head.flags = VFIO_IOMMU_DIRTY_PAGES_FLAG_STOP;
	CHECK(!ioctl(container, VFIO_IOMMU_DIRTY_PAGES, &dirty));
	check_neither(IOVA, EFAULT);
	munmap(p, 3 * PAGE);
}

/* What a program says in the helper's name counts for BARs whose accesses are trapped, and for
 * nothing else. */
static void as_the_helper(void)
{
	char *p = mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct vfio_iommu_type1_dma_map map = {
		.argsz = sizeof(map),
		.flags = DMA_READ | DMA_WRITE,
		.vaddr = (uintptr_t)p,
		.iova = IOVA,
		.size = PAGE,
	};

	doing = "as the helper";
	NEED(p != MAP_FAILED);
	CHECK(syscall(SYS_ioctl, container, UVFIO_TRAP_MAP_DMA, &map, RW) < 0 && errno == EFAULT);
	CHECK(syscall(SYS_ioctl, container, UVFIO_TRAP_MAP_DMA, 8, RW) < 0 && errno == EFAULT);
	for (unsigned i = 0; i < 2; i++)
		CHECK(syscall(SYS_ioctl, i ? devices[0].fd : devices[0].group, UVFIO_TRAP_MAP_DMA,
			      &map, RW) < 0 &&
		      errno == ENOTTY);
	munmap(p, PAGE);
	/* And without it the pages' own rights count, which are never more. */
	p = map_bar(&devices[1], 0, PAGE, RW);
	map.vaddr = (uintptr_t)p;
	if (syscall(SYS_ioctl, container, VFIO_IOMMU_MAP_DMA, &map) == 0)
		CHECK(strcmp(getenv("UVFIO_MMIO") ? getenv("UVFIO_MMIO") : "", "exact") != 0);
	else
		CHECK(errno == EFAULT);
	dma_unmap(IOVA, PAGE);
	munmap(p, PAGE);
}

void bars(void)
{
	other_memory();
	registers();
	side_by_side();
	rights();
	dirty_pages();
	as_the_helper();
}

/* ---- the owner comes and goes ---- */

void bars_change(void)
{
	char *p = map_bar(&devices[1], 2, 2 * PAGE, RW);
	const char *mmio;

	doing = "memory decode off";
	NEED(dma_map(IOVA, p, 2 * PAGE, DMA_READ | DMA_WRITE) == 0);
	check_both_ways(IOVA, (uint64_t *)p);
	*(volatile uint64_t *)p = 1;
	set_command(&devices[1], 4);
	check_neither(IOVA, EIO);
	CHECK(dma_map(IOVA + HUGE, p, PAGE, DMA_READ) == -EFAULT);
	doing = "memory decode on";
	set_command(&devices[1], 6);
	CHECK(*(volatile uint64_t *)p == 1);
	check_both_ways(IOVA, (uint64_t *)p);
	CHECK(dma_map(IOVA + HUGE, p, PAGE, DMA_READ) == 0);

	doing = "reset of the owner";
	NEED(!ioctl(devices[1].fd, VFIO_DEVICE_RESET));
	check_both_ways(IOVA, (uint64_t *)p);

	/* The addresses are the program's; a BAR that lost its own keeps what it is. */
	doing = "an invalid address";
	CHECK(vaddr_invalidate(IOVA, 2 * PAGE) == 0);
	check_both_ways(IOVA, (uint64_t *)p);
	CHECK(vaddr_update(IOVA, p, 2 * PAGE) == 0);
	check_both_ways(IOVA, (uint64_t *)p);

	doing = "the owner's descriptor closed, its BAR mapped";
	NEED(!close(devices[1].fd));
	check_both_ways(IOVA, (uint64_t *)p);
	doing = "the owner closed";
	munmap(p, 2 * PAGE);
	/* Without the helper that takes effect a moment later. */
	mmio = getenv("UVFIO_MMIO");
	while (mmio && strcmp(mmio, "exact") != 0 && dma_put(IOVA, 0) != EIO)
		;
	check_neither(IOVA, EIO);
	CHECK(dma_map(IOVA, p, PAGE, DMA_READ) == -EEXIST);
	CHECK(dma_unmap(IOVA, 2 * PAGE) == 0);
	CHECK(dma_unmap(IOVA + HUGE, PAGE) == 0);
	check_neither(IOVA, EFAULT);
}

/* ---- a BAR that is not mapped through VFIO ---- */

/* @policy: strict_mmio_maps.  The second device is closed, and mapped by resource2. */
void foreign_bars(const char *policy)
{
	bool strict = !strcmp(policy, "Y");
	char *p;
	int fd;

	doing = "a BAR by resource2";
	close(devices[1].fd);
	close(devices[1].group);
	fd = open("/sys/bus/pci/devices/0000:02:00.0/resource2", O_RDWR);
	p = fd < 0 ? MAP_FAILED : mmap(NULL, PAGE, RW, MAP_SHARED, fd, 0);
	if (p == MAP_FAILED) {
		printf("resource2 cannot be mapped here\n");
		exit(77);
	}
	CHECK(dma_map(IOVA, p, PAGE, DMA_READ | DMA_WRITE) == (strict ? -EFAULT : 0));
	if (strict)
		return;
	check_both_ways(IOVA, (uint64_t *)p);
	CHECK(dma_unmap(IOVA, PAGE) == 0);
	/* What nobody can reach is refused all the same. */
	doing = "the kernel's pages";
	FILE *maps = fopen("/proc/self/maps", "r");
	unsigned long at = 0;
	char line[512];

	NEED(maps);
	while (!at && fgets(line, sizeof(line), maps))
		if (strstr(line, "[vvar]"))
			at = strtoul(line, NULL, 16);
	CHECK(!at || dma_map(IOVA, (void *)at, PAGE, DMA_READ) == -EFAULT);
}
