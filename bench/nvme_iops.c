/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Random reads through a polling VFIO NVMe driver: what a client sees.
 *
 *   uvfio run --device nvme,memory=256M -- nvme-iops 0000:01:00.0 [DEPTH [COUNT [anon|memfd]]]
 *
 * Prints one line: "IOPS NS-PER-OP".  One queue pair, no interrupts, 4 KiB a read, one doorbell a
 * burst of submissions and one a burst of completions, as SPDK does.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/vfio.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define PAGE    4096ul
#define ENTRIES 256u /* of the I/O queues: 4 pages of submissions, 1 of completions */
#define IOVA    0x10000000ul
#define CHECK(ok, what)                                                                            \
	do {                                                                                       \
		if (!(ok)) {                                                                       \
			fprintf(stderr, "nvme-iops: %s: %s\n", what, strerror(errno));             \
			exit(1);                                                                   \
		}                                                                                  \
	} while (0)

struct sqe {
	uint32_t cdw0, nsid;
	uint64_t rsvd, mptr, prp1, prp2;
	uint32_t dw[6];
};

struct cqe {
	uint32_t result, rsvd;
	uint16_t sq_head, sq_id, id, status;
};

enum { ASQ, ACQ, SQ, CQ = SQ + 4, IDENTIFY = CQ + 1, DATA };

static volatile uint8_t *bar;
static uint8_t *mem;
static unsigned stride;

static volatile uint32_t *doorbell(unsigned n)
{
	return (volatile uint32_t *)(bar + 0x1000 + (size_t)n * stride);
}

static volatile uint32_t *reg(unsigned off)
{
	return (volatile uint32_t *)(bar + off);
}

static void admin(struct sqe sqe)
{
	static unsigned tail, head, phase = 1;
	volatile struct cqe *cqe = (volatile struct cqe *)(mem + ACQ * PAGE) + head;

	((struct sqe *)(mem + ASQ * PAGE))[tail] = sqe;
	tail = (tail + 1) % 16;
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	*doorbell(0) = tail;
	while ((__atomic_load_n(&cqe->status, __ATOMIC_ACQUIRE) & 1) != phase)
		;
	CHECK(cqe->status >> 1 == 0, "admin command failed");
	if (++head == 16) {
		head = 0;
		phase ^= 1;
	}
	*doorbell(1) = head;
}

static void open_device(const char *bdf, int memfd, size_t size)
{
	char path[PATH_MAX], link[PATH_MAX];
	int container = open("/dev/vfio/vfio", O_RDWR), group, device;
	struct vfio_region_info region = {.argsz = sizeof(region)};
	struct vfio_iommu_type1_dma_map map = {
		.argsz = sizeof(map), .flags = 3, .iova = IOVA, .size = size};
	uint16_t command;
	ssize_t n;

	CHECK(container >= 0, "/dev/vfio/vfio");
	snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/iommu_group", bdf);
	n = readlink(path, link, sizeof(link) - 1);
	CHECK(n > 0, path);
	link[n] = '\0';
	snprintf(path, sizeof(path), "/dev/vfio/%s", strrchr(link, '/') + 1);
	group = open(path, O_RDWR);
	CHECK(group >= 0, path);
	CHECK(!ioctl(group, VFIO_GROUP_SET_CONTAINER, &container), "SET_CONTAINER");
	CHECK(!ioctl(container, VFIO_SET_IOMMU, VFIO_TYPE1v2_IOMMU), "SET_IOMMU");
	mem = mmap(NULL, size, PROT_READ | PROT_WRITE,
		   memfd < 0 ? MAP_PRIVATE | MAP_ANONYMOUS : MAP_SHARED, memfd, 0);
	CHECK(mem != MAP_FAILED, "mmap");
	memset(mem, 0, size);
	map.vaddr = (uintptr_t)mem;
	CHECK(!ioctl(container, VFIO_IOMMU_MAP_DMA, &map), "MAP_DMA");
	device = ioctl(group, VFIO_GROUP_GET_DEVICE_FD, bdf);
	CHECK(device >= 0, "GET_DEVICE_FD");
	region.index = VFIO_PCI_CONFIG_REGION_INDEX;
	CHECK(!ioctl(device, VFIO_DEVICE_GET_REGION_INFO, &region), "GET_REGION_INFO");
	CHECK(pread(device, &command, 2, (off_t)region.offset + 4) == 2, "COMMAND");
	command |= 6;
	CHECK(pwrite(device, &command, 2, (off_t)region.offset + 4) == 2, "COMMAND");
	region.index = 0;
	CHECK(!ioctl(device, VFIO_DEVICE_GET_REGION_INFO, &region), "GET_REGION_INFO");
	bar = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, device,
		   (off_t)region.offset);
	CHECK(bar != MAP_FAILED, "mapping BAR 0");
}

static void enable(void)
{
	stride = 4u << (reg(4)[0] & 0xf);
	*reg(0x14) = 0;
	while (*reg(0x1c) & 1)
		;
	*reg(0x24) = 15 << 16 | 15;
	*(volatile uint64_t *)(bar + 0x28) = IOVA + ASQ * PAGE;
	*(volatile uint64_t *)(bar + 0x30) = IOVA + ACQ * PAGE;
	*reg(0x14) = 4 << 20 | 6 << 16 | 1;
	while (!(*reg(0x1c) & 1))
		CHECK(!(*reg(0x1c) & 2), "the controller reports a fatal status");
}

int main(int argc, char **argv)
{
	unsigned depth = argc > 2 ? (unsigned)atoi(argv[2]) : 1, tail = 0, head = 0, phase = 1,
		 lba_shift;
	uint64_t count = argc > 3 ? strtoull(argv[3], NULL, 0) : 200000, issued = 0, done = 0,
		 blocks, pages, random = 88172645463325252ull, ns;
	int anon = argc > 4 && !strcmp(argv[4], "anon");
	size_t size = (DATA + 64) * PAGE;
	struct timespec t0, t1;
	int memfd = -1;

	CHECK(argc > 1 && depth >= 1 && depth <= 64,
	      "usage: nvme-iops BDF [DEPTH 1-64 [COUNT [anon|memfd]]]");
	if (!anon) {
		memfd = memfd_create("dma", MFD_CLOEXEC);
		CHECK(memfd >= 0 && !ftruncate(memfd, (off_t)size), "memfd");
	}
	open_device(argv[1], memfd, size);
	enable();
	admin((struct sqe){.cdw0 = 0x06, .nsid = 1, .prp1 = IOVA + IDENTIFY * PAGE});
	memcpy(&blocks, mem + IDENTIFY * PAGE, 8);
	lba_shift = mem[IDENTIFY * PAGE + 130 + 4 * (mem[IDENTIFY * PAGE + 26] & 0xf)];
	pages = blocks >> (12 - lba_shift);
	admin((struct sqe){
		.cdw0 = 0x05, .prp1 = IOVA + CQ * PAGE, .dw = {(ENTRIES - 1) << 16 | 1, 1}});
	admin((struct sqe){.cdw0 = 0x01,
			   .prp1 = IOVA + SQ * PAGE,
			   .dw = {(ENTRIES - 1) << 16 | 1, 1 << 16 | 1}});

	struct sqe *sq = (struct sqe *)(mem + SQ * PAGE);
	volatile struct cqe *cq = (volatile struct cqe *)(mem + CQ * PAGE);
	uint16_t slots[64];
	unsigned nr_free = depth;

	for (unsigned i = 0; i < depth; i++)
		slots[i] = (uint16_t)i;
	clock_gettime(CLOCK_MONOTONIC, &t0);
	while (done < count) {
		unsigned submitted = 0, reaped = 0;

		while (nr_free && issued < count) {
			uint16_t slot = slots[--nr_free];
			uint64_t lba;

			random ^= random << 13;
			random ^= random >> 7;
			random ^= random << 17;
			lba = (random % pages) << (12 - lba_shift);
			sq[tail] = (struct sqe){.cdw0 = 0x02u | (uint32_t)slot << 16,
						.nsid = 1,
						.prp1 = IOVA + (DATA + slot) * PAGE,
						.dw = {(uint32_t)lba, (uint32_t)(lba >> 32),
						       (1u << (12 - lba_shift)) - 1}};
			tail = (tail + 1) % ENTRIES;
			issued++;
			submitted++;
		}
		if (submitted) {
			__atomic_thread_fence(__ATOMIC_SEQ_CST);
			*doorbell(2) = tail;
		}
		while ((__atomic_load_n(&cq[head].status, __ATOMIC_ACQUIRE) & 1) == phase) {
			CHECK(cq[head].status >> 1 == 0, "a read failed");
			slots[nr_free++] = cq[head].id;
			if (++head == ENTRIES) {
				head = 0;
				phase ^= 1;
			}
			reaped++;
		}
		if (!reaped)
			continue;
		*doorbell(3) = head;
		done += reaped;
	}
	clock_gettime(CLOCK_MONOTONIC, &t1);
	ns = (uint64_t)(t1.tv_sec - t0.tv_sec) * 1000000000u + (uint64_t)t1.tv_nsec -
	     (uint64_t)t0.tv_nsec;
	printf("%.0f %.0f\n", (double)count * 1e9 / (double)ns, (double)ns / (double)count);
	return 0;
}
