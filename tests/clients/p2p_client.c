/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Peer-to-peer DMA (D.4) as a driver has it, over whichever way the devices are reached:
 *
 *	p2p_client KIND NVME NVME-WITH-CMB IOAT PCITEST QUIET  names of uvfio_pci_open(), TAP
 *
 * KIND is "group", "cdev" or "vfio-user".  All four are in one DMA space.  The first controller and
 * the DMA engine read and write the second controller's memory buffer and the test device's memory;
 * what is there is compared as the CPU sees it.  Then that memory is taken away, and given back.
 * QUIET is a test device with quiet-mmio=on, whose memory nobody gets.
 */
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <uvfio/driver.h>

#include "nvme_ctrl.h"

#define CMB_BAR     UVFIO_PCI_BAR2
#define TEST_BAR    UVFIO_PCI_BAR2
#define CMB_SIZE    (1u << 20)
#define TEST_SIZE   (256u << 10)
#define CHUNK       (64u << 10)
#define PCI_COMMAND 4u
#define DATA_ERROR  0x004u /* Data Transfer Error */
#define STATUS(s)   ((s)&0x7ffu)

/* What a revoked mapping does when the memory is back. */
static bool comes_back;
static unsigned tests, failures;

static void ok(bool good, const char *what)
{
	tests++;
	failures += !good;
	printf("%s %u - %s\n", good ? "ok" : "not ok", tests, what);
	fflush(stdout);
}

static void stop(const char *what, const char *why)
{
	printf("Bail out! %s: %s\n", what, why);
	exit(1);
}

static uint64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

/* ---- patterns ---- */

static uint8_t byte_of(size_t i, unsigned seed)
{
	return (uint8_t)(i * 11 + (i >> 8) * 3 + seed);
}

static void fill(volatile uint8_t *p, size_t len, unsigned seed)
{
	for (size_t i = 0; i < len; i++)
		p[i] = byte_of(i, seed);
}

static bool is_filled(const volatile uint8_t *p, size_t len, unsigned seed)
{
	for (size_t i = 0; i < len; i++) {
		if (p[i] != byte_of(i, seed)) {
			printf("# byte %zu: %#x, not %#x\n", i, p[i], byte_of(i, seed));
			return false;
		}
	}
	return true;
}

/* ---- memory of a device ---- */

struct peer {
	struct uvfio_pci *dev;
	unsigned bar;
	size_t size;
	struct uvfio_dma_space *space;
	volatile uint8_t *p;
	uint64_t iova;
};

static int peer_map(struct peer *m)
{
	struct uvfio_error err = {""};
	uint64_t at;
	int fd = uvfio_pci_region_fd(m->dev, m->bar, 0, m->size, &at, &err), ret = fd;

	if (fd >= 0) {
		ret = uvfio_dma_space_map(m->space, (void *)(uintptr_t)m->p, m->size, 0, fd, at,
					  &m->iova, &err);
		close(fd);
	}
	if (ret)
		printf("# %s\n", err.msg);
	return ret;
}

/* The memory of a device that must be left alone while it does not run. */
static void quiet(struct uvfio_dma_space *space, const char *name, const char *options)
{
	struct peer m = {.bar = TEST_BAR, .size = TEST_SIZE, .space = space};
	struct uvfio_error err = {""};
	int ret;

	if (uvfio_pci_open_in(space, name, options, &m.dev, &err) ||
	    uvfio_pci_enable(m.dev, &err) || uvfio_pci_map_region(m.dev, TEST_BAR, &err))
		stop("the quiet device", err.msg);
	m.p = uvfio_pci_mapping(m.dev, TEST_BAR, 0, TEST_SIZE);
	m.p[5] = 7;
	ok(m.p[5] == 7, "the CPU reaches a device that must be left alone while it does not run");
	ret = peer_map(&m);
	/* vfio-user has a file and refuses the mapping; the others have no dma-buf of it. */
	ok(ret == (*options ? -EOPNOTSUPP : -EFAULT), "no device gets it as a file");
	/* Over vfio-user that is the client's own memory, which the client itself reaches. */
	ret = *options ? uvfio_dma_space_map(space, (void *)(uintptr_t)m.p, TEST_SIZE, 0, -1, 0,
					     &m.iova, &err)
		       : -EFAULT;
	ok(ret == -EFAULT, "nor by its address");
	uvfio_pci_close(m.dev);
}

static void peer_open(struct peer *m, struct uvfio_dma_space *space, struct uvfio_pci *dev,
		      unsigned bar, size_t size)
{
	struct uvfio_error err = {""};

	*m = (struct peer){.dev = dev, .bar = bar, .size = size, .space = space};
	if (uvfio_pci_map_region(dev, bar, &err))
		stop("mapping a BAR", err.msg);
	m->p = uvfio_pci_mapping(dev, bar, 0, size);
	if (!m->p)
		stop(uvfio_pci_name(dev), "its memory cannot be mapped");
	if (peer_map(m))
		stop(uvfio_pci_name(dev), "its memory cannot be mapped for DMA");
}

static void peer_unmap(struct peer *m)
{
	int ret = uvfio_dma_space_unmap(m->space, m->iova, m->size);

	if (ret)
		stop("unmapping a BAR", strerror(-ret));
}

/* It was away and is back: what the way asks for. */
static void peer_renew(struct peer *m)
{
	if (comes_back)
		return;
	peer_unmap(m);
	if (peer_map(m))
		stop(uvfio_pci_name(m->dev), "its memory cannot be mapped again");
}

static void memory_decode(struct uvfio_pci *dev, bool on)
{
	uint32_t command;

	if (uvfio_pci_config_read(dev, PCI_COMMAND, 2, &command) ||
	    uvfio_pci_config_write(dev, PCI_COMMAND, 2, on ? command | 2 : command & ~2u))
		stop(uvfio_pci_name(dev), "COMMAND");
}

/* ---- the NVMe controller ---- */

static void queue_io(struct nvme_ctrl *c, uint8_t opcode, unsigned slot, uint64_t iova, size_t len)
{
	struct nvme_queue *q = &c->io[0];
	struct nvme_sqe *sqe = &q->sqes[q->tail];
	uint64_t lba = (uint64_t)slot * (CHUNK / c->block_size), *prps;
	size_t rest = len / NVME_PAGE - 1;

	/* As for its own buffer, and then the pages that are meant. */
	nvme_queue_rw(q, opcode, slot, lba, len);
	sqe->prp1 = iova;
	if (rest == 1)
		sqe->prp2 = iova + NVME_PAGE;
	prps = (uint64_t *)((char *)q->mem.addr + (sqe->prp2 - q->mem.iova));
	for (size_t i = 0; rest > 1 && i < rest; i++)
		prps[i] = iova + (i + 1) * NVME_PAGE;
}

static unsigned reap(struct nvme_ctrl *c)
{
	struct nvme_queue *q = &c->io[0];
	uint64_t deadline = now_ms() + 30000;
	unsigned slot, status;

	while (!nvme_reap(q, &slot, &status)) {
		if (now_ms() > deadline)
			stop(uvfio_pci_name(c->dev), "a command does not end");
		nvme_wait(q);
	}
	nvme_reaped(q);
	return STATUS(status);
}

static unsigned io(struct nvme_ctrl *c, uint8_t opcode, uint64_t iova, size_t len)
{
	queue_io(c, opcode, 0, iova, len);
	nvme_ring(&c->io[0]);
	return reap(c);
}

/* ---- the DMA engine: a descriptor at a time ---- */

struct ioat {
	struct uvfio_pci *dev;
	struct uvfio_pci_mem mem;
};

struct ioat_desc {
	uint32_t size, control;
	uint64_t src, dst, next, more[4];
};

static void ioat_open(struct ioat *d, struct uvfio_dma_space *space, const char *name,
		      const char *options)
{
	struct uvfio_error err = {""};

	if (uvfio_pci_open_in(space, name, options, &d->dev, &err) ||
	    uvfio_pci_enable(d->dev, &err) || uvfio_pci_map_region(d->dev, 0, &err) ||
	    uvfio_pci_dma_alloc(d->dev, 4096, 0, &d->mem, &err))
		stop("the DMA engine", err.msg);
}

/* True: it was copied; false: an error. */
static bool ioat_copy(struct ioat *d, uint64_t dst, uint64_t src, uint32_t len)
{
	struct ioat_desc *desc = d->mem.addr;
	uint64_t *done = (uint64_t *)((char *)d->mem.addr + 2048), value;
	uint64_t deadline = now_ms() + 30000;
	enum { CHAN = 0x80, CTRL = 0x00, CMD = 0x04, COUNT = 0x06, CHAIN = 0x10, CMP = 0x18 };

	*desc = (struct ioat_desc){
		.size = len, .control = 8, .src = src, .dst = dst, .next = d->mem.iova};
	__atomic_store_n(done, 0, __ATOMIC_SEQ_CST);
	uvfio_pci_write8(d->dev, 0, CHAN + CMD, 0x20);
	uvfio_pci_write32(d->dev, 0, CHAN + 0x28, ~0u); /* errors of the last one */
	uvfio_pci_write16(d->dev, 0, CHAN + CTRL, 0x000c);
	uvfio_pci_write64(d->dev, 0, CHAN + CMP, d->mem.iova + 2048);
	uvfio_pci_write64(d->dev, 0, CHAN + CHAIN, d->mem.iova);
	uvfio_pci_write16(d->dev, 0, CHAN + COUNT, 1);
	while (!(value = __atomic_load_n(done, __ATOMIC_ACQUIRE))) {
		if (now_ms() > deadline)
			stop("the DMA engine", "a copy does not end");
	}
	return (value & 7) != 3;
}

/* ---- the tests ---- */

static void data(struct nvme_ctrl *nvme, struct ioat *ioat, struct peer *cmb, struct peer *test)
{
	uint8_t *host = nvme_buffer(&nvme->io[0], 0);
	uint64_t host_iova = nvme->io[0].data.iova;

	/* Disk → buffer of the other controller. */
	fill(host, CHUNK, 1);
	ok(!io(nvme, NVME_WRITE, host_iova, CHUNK), "write from memory");
	ok(!io(nvme, NVME_READ, cmb->iova, CHUNK) && is_filled(cmb->p, CHUNK, 1),
	   "an NVMe read into the other controller's buffer");
	/* And back. */
	fill(cmb->p + CHUNK, CHUNK, 2);
	memset(host, 0, CHUNK);
	ok(!io(nvme, NVME_WRITE, cmb->iova + CHUNK, CHUNK) &&
		   !io(nvme, NVME_READ, host_iova, CHUNK) && is_filled(host, CHUNK, 2),
	   "an NVMe write from there");
	/* The test device's memory. */
	ok(!io(nvme, NVME_READ, test->iova, CHUNK) && is_filled(test->p, CHUNK, 2),
	   "an NVMe read into the test device's memory");
	/* The DMA engine: memory → buffer → test device → memory. */
	fill(host, CHUNK, 3);
	ok(ioat_copy(ioat, cmb->iova + 4096, host_iova, CHUNK) &&
		   is_filled(cmb->p + 4096, CHUNK, 3),
	   "an I/OAT copy into the buffer");
	ok(ioat_copy(ioat, test->iova + 8, cmb->iova + 4096, CHUNK) &&
		   is_filled(test->p + 8, CHUNK, 3),
	   "an I/OAT copy from the buffer to the test device");
	memset(host, 0, CHUNK);
	ok(ioat_copy(ioat, host_iova, test->iova + 8, CHUNK) && is_filled(host, CHUNK, 3),
	   "an I/OAT copy from there to memory");
	/* A size and addresses that are not of whole words. */
	fill(host, CHUNK, 4);
	ok(ioat_copy(ioat, cmb->iova + 3, host_iova, 4099) && is_filled(cmb->p + 3, 4099, 4) &&
		   cmb->p[3 + 4099] == byte_of(3 + 4099 - 4096, 3),
	   "odd bytes");
}

static void taken_away(struct nvme_ctrl *nvme, struct ioat *ioat, struct peer *cmb)
{
	uint64_t host_iova = nvme->io[0].data.iova;

	fill(cmb->p, CHUNK, 5);
	memory_decode(cmb->dev, false);
	ok(io(nvme, NVME_READ, cmb->iova, CHUNK) == DATA_ERROR,
	   "memory decode off: a read is a Data Transfer Error");
	ok(!ioat_copy(ioat, cmb->iova, host_iova, CHUNK), "and a copy an error");
	memory_decode(cmb->dev, true);
	ok(is_filled(cmb->p, CHUNK, 5), "nothing has landed");
	ok((io(nvme, NVME_READ, cmb->iova, CHUNK) == 0) == comes_back,
	   comes_back ? "it works again when it is on" : "it does not work when it is on again");
	peer_renew(cmb);
	ok(!io(nvme, NVME_READ, cmb->iova, CHUNK), "it works when it was renewed, where need be");
	ok(ioat_copy(ioat, cmb->iova, host_iova, CHUNK), "so does a copy");
}

/* Reads under way while their target is reset again and again: each is done, or an error. */
static void reset_in_the_midst(struct nvme_ctrl *nvme, struct peer *cmb)
{
	unsigned done = 0, errors = 0, other = 0, depth = nvme->slots;
	struct uvfio_error err = {""};

	for (unsigned round = 0; round < 40; round++) {
		for (unsigned i = 0; i < depth; i++)
			queue_io(nvme, NVME_READ, i, cmb->iova + i * CHUNK, CHUNK);
		nvme_ring(&nvme->io[0]);
		if (round & 1) {
			if (uvfio_pci_reset(cmb->dev))
				stop(uvfio_pci_name(cmb->dev), "reset");
		} else {
			memory_decode(cmb->dev, false);
			memory_decode(cmb->dev, true);
		}
		for (unsigned i = 0; i < depth; i++) {
			unsigned status = reap(nvme);

			done += status == 0;
			errors += status == DATA_ERROR;
			other += status != 0 && status != DATA_ERROR;
		}
		peer_renew(cmb);
	}
	printf("# %u reads done, %u in error\n", done, errors);
	ok(!other && done + errors == 40 * depth, "resets in the midst: done, or an error");
	uvfio_pci_enable(cmb->dev, &err);
	ok(!io(nvme, NVME_READ, cmb->iova, CHUNK), "and it works afterwards");
}

static void unmapped(struct nvme_ctrl *nvme, struct peer *cmb)
{
	fill(cmb->p, CHUNK, 6);
	peer_unmap(cmb);
	ok(io(nvme, NVME_READ, cmb->iova, CHUNK) == DATA_ERROR && is_filled(cmb->p, CHUNK, 6),
	   "unmapped: a read is an error, and nothing has landed");
	if (peer_map(cmb))
		stop("the buffer", "cannot be mapped again");
	ok(!io(nvme, NVME_READ, cmb->iova, CHUNK), "mapped: it is none");
}

int main(int argc, char **argv)
{
	static const char *const options[] = {"via=group", "via=cdev", ""};
	static const char *const kinds[] = {"group", "cdev", "vfio-user"};
	struct nvme_config config = {.queues = 1, .slots = 8, .slot_size = CHUNK, .map = true};
	struct uvfio_dma_space *space;
	struct nvme_ctrl nvme, other;
	struct uvfio_error err = {""};
	struct uvfio_pci *test;
	struct peer cmb, memory;
	struct ioat ioat;
	unsigned kind = 0;

	while (argc == 7 && kind < 3 && strcmp(argv[1], kinds[kind]) != 0)
		kind++;
	if (argc != 7 || kind == 3)
		return 2;
	comes_back = kind != 1;
	if (uvfio_dma_space_new(&space, &err))
		stop("a DMA space", err.msg);
	config.space = space;
	config.options = options[kind];
	if (nvme_open(&nvme, argv[2], &config) || nvme_open(&other, argv[3], &config))
		stop("the controllers", "cannot be opened");
	ioat_open(&ioat, space, argv[4], options[kind]);
	if (uvfio_pci_open_in(space, argv[5], options[kind], &test, &err) ||
	    uvfio_pci_enable(test, &err))
		stop("the test device", err.msg);
	peer_open(&cmb, space, other.dev, CMB_BAR, CMB_SIZE);
	peer_open(&memory, space, test, TEST_BAR, TEST_SIZE);

	data(&nvme, &ioat, &cmb, &memory);
	taken_away(&nvme, &ioat, &cmb);
	unmapped(&nvme, &cmb);
	reset_in_the_midst(&nvme, &cmb);
	quiet(space, argv[6], options[kind]);

	peer_unmap(&memory);
	peer_unmap(&cmb);
	uvfio_pci_close(test);
	uvfio_pci_close(ioat.dev);
	nvme_close(&nvme);
	nvme_close(&other);
	uvfio_dma_space_free(space);
	printf("1..%u\n", tests);
	return failures != 0;
}
