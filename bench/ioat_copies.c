/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Copies by the I/OAT engine, as a polling driver sees them:
 *
 *   uvfio run --device ioat -- ioat-copies 0000:01:00.0 SIZE BATCH COUNT
 *
 * Prints "MB/S MB/S": of the engine, with a doorbell a batch of descriptors, and of memcpy()
 * between the same buffers by this thread.  Sources and destinations go through 32 MiB each.
 */
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <uvfio/driver.h>

#include "devices/ioat/ioat_spec.h"

#define RING  4096u
#define BYTES (32u << 20)

struct copies {
	struct uvfio_pci *dev;
	struct uvfio_pci_mem ring, data, status;
	struct ioat_desc *desc;
	_Atomic uint64_t *done;
	uint32_t size;
	unsigned batch;
	uint64_t issued;
};

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static _Noreturn void die(const char *what)
{
	fprintf(stderr, "ioat-copies: %s\n", what);
	exit(1);
}

static void write_reg(struct copies *c, unsigned reg, unsigned size, uint64_t value)
{
	if (uvfio_pci_reg_write(c->dev, UVFIO_PCI_BAR0, IOAT_CHANNEL(0) + reg, size, value))
		die("cannot write a register");
}

static void open_device(struct copies *c, const char *name)
{
	struct uvfio_error err;

	if (uvfio_pci_open(name, NULL, &c->dev, &err) || uvfio_pci_enable(c->dev, &err) ||
	    uvfio_pci_map_region(c->dev, UVFIO_PCI_BAR0, &err) ||
	    uvfio_pci_dma_alloc(c->dev, RING * sizeof(struct ioat_desc), UVFIO_PCI_DMA_RW, &c->ring,
				&err) ||
	    uvfio_pci_dma_alloc(c->dev, 2 * BYTES, UVFIO_PCI_DMA_RW, &c->data, &err) ||
	    uvfio_pci_dma_alloc(c->dev, 4096, UVFIO_PCI_DMA_RW, &c->status, &err))
		die(err.msg);
	c->desc = c->ring.addr;
	c->done = c->status.addr;
	for (unsigned i = 0; i < RING; i++)
		c->desc[i].next = c->ring.iova + (i + 1) % RING * sizeof(struct ioat_desc);
	write_reg(c, IOAT_CHANCMD, 1, IOAT_CHANCMD_RESET);
	write_reg(c, IOAT_CHANCTRL, 2, IOAT_CHANCTRL_ERR_COMPLETE);
	write_reg(c, IOAT_CHANCMP, 8, c->status.iova);
	write_reg(c, IOAT_CHAINADDR, 8, c->ring.iova);
}

/* The @n-th place of @size bytes. */
static uint64_t place(uint64_t n, uint32_t size)
{
	return n * 7919 % (BYTES / size) * size;
}

static void run_batch(struct copies *c)
{
	uint64_t last = 0, status;

	for (unsigned i = 0; i < c->batch; i++, c->issued++) {
		struct ioat_desc *desc = &c->desc[c->issued % RING];
		uint64_t at = place(c->issued, c->size);

		desc->size = c->size;
		desc->control = IOAT_DESC_COMPLETE;
		desc->src = c->data.iova + at;
		desc->dst = c->data.iova + BYTES + at;
		last = c->ring.iova + c->issued % RING * sizeof(*desc);
	}
	write_reg(c, IOAT_DMACOUNT, 2, (uint16_t)c->issued);
	while (((status = atomic_load(c->done)) & IOAT_CHANSTS_ADDR) != last) {
		if ((status & 7) == IOAT_HALTED)
			die("the channel has halted");
	}
}

static double copies(struct copies *c, uint64_t count)
{
	uint64_t start = now_ns();

	for (uint64_t i = 0; i < count; i += c->batch)
		run_batch(c);
	return (double)count * c->size * 1e3 / (double)(now_ns() - start);
}

static double memcpys(struct copies *c, uint64_t count)
{
	uint64_t start = now_ns();
	char *data = c->data.addr;

	for (uint64_t i = 0; i < count; i++) {
		uint64_t at = place(i, c->size);

		memcpy(data + BYTES + at, data + at, c->size);
		__asm__ volatile("" : : "r"(data) : "memory");
	}
	return (double)count * c->size * 1e3 / (double)(now_ns() - start);
}

int main(int argc, char **argv)
{
	uint64_t count = argc == 5 ? strtoull(argv[4], NULL, 0) : 0;
	struct copies c = {0};
	double ours, memory;
	char *data;

	if (argc == 5) {
		c.size = (uint32_t)atoi(argv[2]);
		c.batch = (unsigned)atoi(argv[3]);
	}
	if (!c.size || c.size > IOAT_XFER_MAX || !c.batch || c.batch >= RING || count < c.batch) {
		fprintf(stderr, "usage: ioat-copies DDDD:BB:DD.F SIZE BATCH COUNT\n");
		return 2;
	}
	open_device(&c, argv[1]);
	data = c.data.addr;
	for (uint64_t i = 0; i < BYTES; i++)
		data[i] = (char)(i * 31 >> 3);
	memset(data + BYTES, 0, BYTES);
	run_batch(&c); /* the start delay */
	ours = copies(&c, count);
	for (uint64_t i = 0; i < c.issued; i++) {
		if (memcmp(data + place(i, c.size), data + BYTES + place(i, c.size), c.size) != 0)
			die("a copy is not like what was copied");
	}
	memory = memcpys(&c, count);
	printf("%.0f %.0f\n", ours, memory);
	uvfio_pci_close(c.dev);
	return 0;
}
