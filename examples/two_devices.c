/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Two devices that see one memory: an NVMe controller reads from its disk, and an I/OAT engine
 *copies what was read, with no mapping of its own.
 *
 *	two-devices NVME IOAT      each DDDD:BB:DD.F or unix:PATH
 */
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "nvme_ctrl.h"

#define BYTES  65536u
#define ROUNDS 64u

/* The engine's first channel. */
enum {
	CHANCTRL = 0x80,
	CHANCMD = 0x84,
	DMACOUNT = 0x86,
	CHAINADDR = 0x90,
	CHANCMP = 0x98,
	RESET = 0x20,
	WRITE_COMPLETION = 1u << 3,
	STATUS_HALTED = 3,
};

struct ioat_desc {
	uint32_t size, control;
	uint64_t src, dst, next, more[4];
};

struct engine {
	struct uvfio_pci *dev;
	struct uvfio_pci_mem mem; /* the ring of ROUNDS descriptors, then the completion */
	struct ioat_desc *ring;
	_Atomic uint64_t *done;
};

static int start_engine(struct engine *e, struct uvfio_dma_space *space, const char *name)
{
	const size_t ring = ROUNDS * sizeof(*e->ring);
	struct uvfio_error err;

	if (uvfio_pci_open_in(space, name, NULL, &e->dev, &err) || uvfio_pci_enable(e->dev, &err) ||
	    uvfio_dma_space_alloc(space, ring + 64, UVFIO_PCI_DMA_RW, &e->mem, &err)) {
		fprintf(stderr, "%s\n", err.msg);
		return 1;
	}
	e->ring = e->mem.addr;
	e->done = (void *)((char *)e->mem.addr + ring);
	for (unsigned i = 0; i < ROUNDS; i++)
		e->ring[i].next = e->mem.iova + (i + 1) % ROUNDS * sizeof(*e->ring);
	uvfio_pci_write8(e->dev, UVFIO_PCI_BAR0, CHANCMD, RESET);
	uvfio_pci_write64(e->dev, UVFIO_PCI_BAR0, CHANCMP, e->mem.iova + ring);
	uvfio_pci_write64(e->dev, UVFIO_PCI_BAR0, CHAINADDR, e->mem.iova);
	return 0;
}

/* Until the engine has written that it is through with descriptor @n, or halted. */
static int copy(struct engine *e, unsigned n, uint64_t src, uint64_t dst)
{
	uint64_t status, last = e->mem.iova + n * sizeof(*e->ring);
	time_t end = time(NULL) + 60;

	e->ring[n].size = BYTES;
	e->ring[n].control = WRITE_COMPLETION;
	e->ring[n].src = src;
	e->ring[n].dst = dst;
	uvfio_pci_write16(e->dev, UVFIO_PCI_BAR0, DMACOUNT, (uint16_t)(n + 1));
	while (((status = atomic_load(e->done)) & ~0x3full) != last) {
		if ((status & 7) == STATUS_HALTED || time(NULL) > end) {
			fprintf(stderr, "the engine does not copy\n");
			return 1;
		}
	}
	return 0;
}

static int disk(struct nvme_queue *q, uint8_t opcode, unsigned n)
{
	unsigned slot, status = 0;
	int ret;

	nvme_queue_rw(q, opcode, 0, (uint64_t)n * (BYTES / q->ctrl->block_size), BYTES);
	ret = nvme_ring(q);
	while (!ret && !nvme_reap(q, &slot, &status))
		ret = nvme_wait(q);
	if (!ret)
		ret = nvme_reaped(q);
	if (ret || status >> 1)
		fprintf(stderr, "the disk fails: %d, status %#x\n", ret, status >> 1);
	return ret || status >> 1;
}

static int run(struct nvme_queue *q, struct engine *e, const struct uvfio_pci_mem *copies)
{
	uint64_t buffer = q->data.iova;

	for (unsigned n = 0; n < ROUNDS; n++) {
		memset(nvme_buffer(q, 0), (int)(n + 1), BYTES);
		if (disk(q, NVME_WRITE, n))
			return 1;
	}
	for (unsigned n = 0; n < ROUNDS; n++) {
		if (disk(q, NVME_READ, n) || copy(e, n, buffer, copies->iova + n * BYTES))
			return 1;
	}
	for (unsigned i = 0; i < ROUNDS * BYTES; i++) {
		if (((uint8_t *)copies->addr)[i] != i / BYTES + 1) {
			fprintf(stderr, "byte %u is wrong\n", i);
			return 1;
		}
	}
	printf("%u blocks of %u KiB, read by %s, copied by %s\n", ROUNDS, BYTES >> 10,
	       uvfio_pci_name(q->ctrl->dev), uvfio_pci_name(e->dev));
	return 0;
}

int main(int argc, char **argv)
{
	struct nvme_config config = {.queues = 1, .slots = 1, .slot_size = BYTES, .map = true};
	struct uvfio_pci_mem copies;
	struct uvfio_error err;
	struct nvme_ctrl nvme;
	struct engine engine;
	int ret = 1;

	if (argc != 3) {
		fprintf(stderr, "usage: two-devices NVME IOAT\n");
		return 2;
	}
	if (uvfio_dma_space_new(&config.space, &err) ||
	    uvfio_dma_space_alloc(config.space, ROUNDS * BYTES, UVFIO_PCI_DMA_RW, &copies, &err)) {
		fprintf(stderr, "%s\n", err.msg);
		return 1;
	}
	if (!nvme_open(&nvme, argv[1], &config)) {
		if (!start_engine(&engine, config.space, argv[2])) {
			ret = run(&nvme.io[0], &engine, &copies);
			uvfio_pci_close(engine.dev);
		}
		nvme_close(&nvme);
	}
	uvfio_dma_space_free(config.space);
	return ret;
}
