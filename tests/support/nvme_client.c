/* SPDX-License-Identifier: BSD-3-Clause */
#include "support/nvme_client.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/vfio.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#define IOVA          0x10000000ul
#define ADMIN_ENTRIES 16u
#define CHECK(ok, what)                                                                            \
	do {                                                                                       \
		if (!(ok)) {                                                                       \
			fprintf(stderr, "nvme client: %s: %s\n", what, strerror(errno));           \
			exit(1);                                                                   \
		}                                                                                  \
	} while (0)

/* Pages of the DMA memory. */
enum { ASQ, ACQ, SQ, CQ = SQ + 4, IDENTIFY = CQ + 1, DATA, NR_PAGES = DATA + NVME_SLOTS };

static volatile uint32_t *reg(struct nvme_client *c, unsigned off)
{
	return (volatile uint32_t *)(c->bar + off);
}

static volatile uint32_t *doorbell(struct nvme_client *c, unsigned n)
{
	return reg(c, 0x1000 + n * c->stride);
}

unsigned nvme_client_admin(struct nvme_client *c, struct nvme_sqe sqe)
{
	volatile struct nvme_cqe *cqe =
		(volatile struct nvme_cqe *)(c->mem + ACQ * NVME_PAGE) + c->admin_head;

	((struct nvme_sqe *)(c->mem + ASQ * NVME_PAGE))[c->admin_tail] = sqe;
	c->admin_tail = (c->admin_tail + 1) % ADMIN_ENTRIES;
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	*doorbell(c, 0) = c->admin_tail;
	while ((__atomic_load_n(&cqe->status, __ATOMIC_ACQUIRE) & 1) != c->admin_phase)
		;
	if (++c->admin_head == ADMIN_ENTRIES) {
		c->admin_head = 0;
		c->admin_phase ^= 1;
	}
	*doorbell(c, 1) = c->admin_head;
	return cqe->status >> 1;
}

void nvme_client_attach(struct nvme_client *c, const char *bdf, bool anon)
{
	char path[PATH_MAX], link[PATH_MAX];
	struct vfio_region_info region = {.argsz = sizeof(region)};
	struct vfio_iommu_type1_dma_map map = {
		.argsz = sizeof(map),
		.flags = VFIO_DMA_MAP_FLAG_READ | VFIO_DMA_MAP_FLAG_WRITE,
		.iova = IOVA,
		.size = NR_PAGES * NVME_PAGE,
	};
	int container, group, memfd = -1;
	uint16_t command;
	ssize_t n;

	*c = (struct nvme_client){.admin_phase = 1, .phase = 1};
	container = open("/dev/vfio/vfio", O_RDWR);
	CHECK(container >= 0, "/dev/vfio/vfio");
	snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/iommu_group", bdf);
	n = readlink(path, link, sizeof(link) - 1);
	CHECK(n > 0, path);
	link[n] = '\0';
	snprintf(path, sizeof(path), "/dev/vfio/%s", strrchr(link, '/') + 1);
	group = open(path, O_RDWR);
	CHECK(group >= 0, path);
	CHECK(!ioctl(group, VFIO_GROUP_SET_CONTAINER, &container), "VFIO_GROUP_SET_CONTAINER");
	CHECK(!ioctl(container, VFIO_SET_IOMMU, VFIO_TYPE1v2_IOMMU), "VFIO_SET_IOMMU");

	if (!anon) {
		memfd = memfd_create("dma", MFD_CLOEXEC);
		CHECK(memfd >= 0 && !ftruncate(memfd, (off_t)map.size), "memfd");
	}
	c->mem = mmap(NULL, map.size, PROT_READ | PROT_WRITE,
		      anon ? MAP_PRIVATE | MAP_ANONYMOUS : MAP_SHARED, memfd, 0);
	CHECK(c->mem != MAP_FAILED, "mmap");
	memset(c->mem, 0, map.size);
	map.vaddr = (uintptr_t)c->mem;
	CHECK(!ioctl(container, VFIO_IOMMU_MAP_DMA, &map), "VFIO_IOMMU_MAP_DMA");

	c->device = ioctl(group, VFIO_GROUP_GET_DEVICE_FD, bdf);
	CHECK(c->device >= 0, "VFIO_GROUP_GET_DEVICE_FD");
	region.index = VFIO_PCI_CONFIG_REGION_INDEX;
	CHECK(!ioctl(c->device, VFIO_DEVICE_GET_REGION_INFO, &region),
	      "VFIO_DEVICE_GET_REGION_INFO");
	CHECK(pread(c->device, &command, 2, (off_t)region.offset + 4) == 2, "reading COMMAND");
	command |= 6;
	CHECK(pwrite(c->device, &command, 2, (off_t)region.offset + 4) == 2, "writing COMMAND");
	region.index = VFIO_PCI_BAR0_REGION_INDEX;
	CHECK(!ioctl(c->device, VFIO_DEVICE_GET_REGION_INFO, &region),
	      "VFIO_DEVICE_GET_REGION_INFO");
	c->bar = mmap(NULL, 2 * NVME_PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, c->device,
		      (off_t)region.offset);
	CHECK(c->bar != MAP_FAILED, "mapping BAR 0");
}

static void enable(struct nvme_client *c)
{
	c->stride = 4u << (*reg(c, 4) & 0xf);
	*reg(c, 0x14) = 0;
	while (*reg(c, 0x1c) & 1)
		;
	*reg(c, 0x24) = (ADMIN_ENTRIES - 1) << 16 | (ADMIN_ENTRIES - 1);
	*(volatile uint64_t *)(c->bar + 0x28) = IOVA + ASQ * NVME_PAGE;
	*(volatile uint64_t *)(c->bar + 0x30) = IOVA + ACQ * NVME_PAGE;
	*reg(c, 0x14) = 4 << 20 | 6 << 16 | 1;
	errno = EIO;
	while (!(*reg(c, 0x1c) & 1))
		CHECK(!(*reg(c, 0x1c) & 2), "the controller reports a fatal status");
}

void nvme_client_open(struct nvme_client *c, const char *bdf, bool anon)
{
	const uint8_t *id;
	uint64_t blocks;

	nvme_client_attach(c, bdf, anon);
	enable(c);
	CHECK(!nvme_client_admin(
		      c,
		      (struct nvme_sqe){.cdw0 = 6, .nsid = 1, .prp1 = IOVA + IDENTIFY * NVME_PAGE}),
	      "identify namespace 1");
	id = c->mem + IDENTIFY * NVME_PAGE;
	memcpy(&blocks, id, sizeof(blocks));
	c->lba_shift = id[130 + 4 * (id[26] & 0xf)];
	c->pages = blocks >> (12 - c->lba_shift);
	CHECK(!nvme_client_admin(c, (struct nvme_sqe){.cdw0 = 5,
						      .prp1 = IOVA + CQ * NVME_PAGE,
						      .dw = {(NVME_ENTRIES - 1) << 16 | 1, 1}}),
	      "creating the completion queue");
	CHECK(!nvme_client_admin(
		      c, (struct nvme_sqe){.cdw0 = 1,
					   .prp1 = IOVA + SQ * NVME_PAGE,
					   .dw = {(NVME_ENTRIES - 1) << 16 | 1, 1 << 16 | 1}}),
	      "creating the submission queue");
}

void *nvme_client_data(struct nvme_client *c, unsigned slot)
{
	return c->mem + (DATA + slot) * NVME_PAGE;
}

uint64_t nvme_client_iova(unsigned slot)
{
	return IOVA + (DATA + slot) * NVME_PAGE;
}

void nvme_client_queue(struct nvme_client *c, uint8_t opcode, unsigned slot, uint64_t page,
		       bool fua)
{
	uint64_t lba = page << (12 - c->lba_shift);
	struct nvme_sqe sqe = {.cdw0 = opcode | (uint32_t)slot << 16, .nsid = 1};

	if (opcode) {
		sqe.prp1 = IOVA + (DATA + slot) * NVME_PAGE;
		sqe.dw[0] = (uint32_t)lba;
		sqe.dw[1] = (uint32_t)(lba >> 32);
		sqe.dw[2] = ((1u << (12 - c->lba_shift)) - 1) | (fua ? 1u << 30 : 0);
	}
	((struct nvme_sqe *)(c->mem + SQ * NVME_PAGE))[c->tail] = sqe;
	c->tail = (c->tail + 1) % NVME_ENTRIES;
}

void nvme_client_submit(struct nvme_client *c)
{
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	*doorbell(c, 2) = c->tail;
}

unsigned nvme_client_reap(struct nvme_client *c, uint16_t slots[NVME_SLOTS], uint16_t *status)
{
	volatile struct nvme_cqe *cq = (volatile struct nvme_cqe *)(c->mem + CQ * NVME_PAGE);
	unsigned n = 0;

	while (n < NVME_SLOTS &&
	       (__atomic_load_n(&cq[c->head].status, __ATOMIC_ACQUIRE) & 1) == c->phase) {
		if (status) {
			status[n] = cq[c->head].status >> 1;
		} else if (cq[c->head].status >> 1) {
			fprintf(stderr, "nvme client: command %u failed: status code type %u, status code %#x\n",
				cq[c->head].id, cq[c->head].status >> 9 & 7, cq[c->head].status >> 1 & 0xff);
			exit(1);
		}
		slots[n++] = cq[c->head].id;
		if (++c->head == NVME_ENTRIES) {
			c->head = 0;
			c->phase ^= 1;
		}
	}
	if (n)
		*doorbell(c, 3) = c->head;
	return n;
}
