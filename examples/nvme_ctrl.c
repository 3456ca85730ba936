/* SPDX-License-Identifier: BSD-3-Clause */
/* A small NVMe driver: see nvme_ctrl.h. */
#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "nvme_ctrl.h"

#define ADMIN_ENTRIES 16u
#define BAR           UVFIO_PCI_BAR0

/* Controller registers (NVMe base specification, "Controller Properties"). */
enum {
	CAP = 0x00,
	CC = 0x14,
	CSTS = 0x1c,
	AQA = 0x24,
	ASQ = 0x28,
	ACQ = 0x30,
	DOORBELLS = 0x1000,
};

static int fail(const struct nvme_ctrl *c, const char *what, int ret)
{
	fprintf(stderr, "%s: %s: %s\n", uvfio_pci_name(c->dev), what, strerror(-ret));
	return ret;
}

static size_t pages(size_t bytes)
{
	return (bytes + NVME_PAGE - 1) / NVME_PAGE * NVME_PAGE;
}

/* ---- queues ---- */

/* Memory for a queue pair: the two rings, then a page for the PRPs of each slot. */
static int alloc_queue(struct nvme_ctrl *c, struct nvme_queue *q, unsigned id, unsigned slots,
		       size_t slot_size)
{
	unsigned entries = id ? slots + 1 : ADMIN_ENTRIES; /* one is always unused */
	size_t sq = pages(entries * sizeof(struct nvme_sqe)),
	       cq = pages(entries * sizeof(struct nvme_cqe));
	struct uvfio_error err;
	int ret;

	*q = (struct nvme_queue){.ctrl = c,
				 .id = id,
				 .entries = entries,
				 .slots = slots,
				 .slot_size = slot_size,
				 .irq = -1};
	ret = uvfio_pci_dma_alloc(c->dev, sq + cq + slots * NVME_PAGE, UVFIO_PCI_DMA_RW, &q->mem,
				  &err);
	if (!ret)
		ret = uvfio_pci_dma_alloc(c->dev, slots * slot_size, UVFIO_PCI_DMA_RW, &q->data,
					  &err);
	if (ret) {
		fprintf(stderr, "%s\n", err.msg);
		return ret;
	}
	q->sqes = q->mem.addr;
	q->cqes = (struct nvme_cqe *)((char *)q->mem.addr + sq);
	if (c->irqs) {
		q->irq = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
		if (q->irq < 0)
			return fail(c, "eventfd", -errno);
	}
	return 0;
}

static uint64_t cq_iova(const struct nvme_queue *q)
{
	return q->mem.iova + (uint64_t)((char *)q->cqes - (char *)q->mem.addr);
}

static void clear_queue(struct nvme_queue *q)
{
	memset(q->mem.addr, 0, q->mem.size);
	q->tail = q->head = 0;
	q->phase = 1;
}

static void put(struct nvme_queue *q, const struct nvme_sqe *sqe)
{
	q->sqes[q->tail] = *sqe;
	q->tail = (q->tail + 1) % q->entries;
}

void nvme_queue_rw(struct nvme_queue *q, uint8_t opcode, unsigned slot, uint64_t lba, size_t bytes)
{
	uint64_t data = q->data.iova + slot * q->slot_size;
	struct nvme_sqe sqe = {.opcode = opcode, .id = (uint16_t)slot, .nsid = 1};
	size_t list = q->mem.size - (q->slots - slot) * NVME_PAGE;
	uint64_t *prps = (uint64_t *)((char *)q->mem.addr + list);
	size_t rest = bytes > NVME_PAGE ? (bytes - 1) / NVME_PAGE : 0; /* pages behind the first */

	if (opcode != NVME_FLUSH) {
		sqe.prp1 = data;
		if (rest == 1)
			sqe.prp2 = data + NVME_PAGE;
		else if (rest)
			sqe.prp2 = q->mem.iova + list;
		for (size_t i = 0; rest > 1 && i < rest; i++)
			prps[i] = data + (i + 1) * NVME_PAGE;
		sqe.dw[0] = (uint32_t)lba;
		sqe.dw[1] = (uint32_t)(lba >> 32);
		sqe.dw[2] = (uint32_t)(bytes / q->ctrl->block_size - 1);
	}
	put(q, &sqe);
}

int nvme_ring(struct nvme_queue *q)
{
	return uvfio_pci_reg_write(q->ctrl->dev, BAR, DOORBELLS + 2 * q->id * q->ctrl->stride, 4,
				   q->tail);
}

bool nvme_reap(struct nvme_queue *q, unsigned *slot, unsigned *status)
{
	struct nvme_cqe *cqe = &q->cqes[q->head];
	uint16_t s = __atomic_load_n(&cqe->status, __ATOMIC_ACQUIRE);

	if ((s & 1) != q->phase)
		return false;
	*slot = cqe->id;
	*status = s >> 1;
	if (++q->head == q->entries) {
		q->head = 0;
		q->phase ^= 1;
	}
	return true;
}

int nvme_reaped(struct nvme_queue *q)
{
	return uvfio_pci_reg_write(q->ctrl->dev, BAR, DOORBELLS + (2 * q->id + 1) * q->ctrl->stride,
				   4, q->head);
}

bool nvme_lost(const struct nvme_ctrl *c)
{
	struct pollfd p = {.fd = uvfio_pci_lost_fd(c->dev), .events = POLLIN};

	return poll(&p, 1, 0) == 1;
}

int nvme_wait(struct nvme_queue *q)
{
	struct pollfd p[2] = {
		{.fd = q->irq, .events = POLLIN},
		{.fd = uvfio_pci_lost_fd(q->ctrl->dev), .events = POLLIN},
	};

	if (q->irq < 0) {
		sched_yield();
		return 0;
	}
	switch (poll(p, 2, 30000)) {
	case 0:
		return -ETIMEDOUT;
	case -1:
		return errno == EINTR ? 0 : -errno;
	}
	if (p[1].revents)
		return -ENOTCONN;
	uvfio_pci_irq_take(q->irq);
	return 0;
}

/* ---- admin commands ---- */

static int64_t now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

int nvme_admin(struct nvme_ctrl *c, struct nvme_sqe sqe, const char *what)
{
	struct nvme_queue *q = &c->admin;
	int64_t deadline = now_ms() + 30000;
	unsigned slot, status;
	int ret;

	put(q, &sqe);
	ret = nvme_ring(q);
	while (!ret && !nvme_reap(q, &slot, &status)) {
		if (nvme_lost(c))
			ret = -ENOTCONN;
		else if (now_ms() > deadline)
			ret = -ETIMEDOUT;
		else
			ret = nvme_wait(q);
	}
	if (!ret)
		ret = nvme_reaped(q);
	if (ret)
		return fail(c, what, ret);
	if (status) {
		fprintf(stderr, "%s: %s: status code type %u, status code %#x\n",
			uvfio_pci_name(c->dev), what, status >> 8 & 7, status & 0xff);
		return -EIO;
	}
	return 0;
}

static void text(char *to, const char *from, size_t len)
{
	while (len && from[len - 1] == ' ')
		len--;
	memcpy(to, from, len);
	to[len] = '\0';
}

static int identify(struct nvme_ctrl *c)
{
	const uint8_t *data = c->admin.data.addr;
	unsigned format, mdts;
	int ret;

	ret = nvme_admin(c, (struct nvme_sqe){.opcode = 6, .prp1 = c->admin.data.iova, .dw = {1}},
			 "identify controller");
	if (ret)
		return ret;
	text(c->serial, (const char *)data + 4, 20);
	text(c->model, (const char *)data + 24, 40);
	text(c->firmware, (const char *)data + 64, 8);
	mdts = data[77];
	/* The PRPs of a slot are one page. */
	c->max_transfer = 512 * NVME_PAGE;
	if (mdts && mdts < 9)
		c->max_transfer = (size_t)NVME_PAGE << mdts;
	ret = nvme_admin(c, (struct nvme_sqe){.opcode = 6, .nsid = 1, .prp1 = c->admin.data.iova},
			 "identify namespace 1");
	if (ret)
		return ret;
	memcpy(&c->blocks, data, sizeof(c->blocks));
	format = data[26] & 0xf;
	c->block_size = 1u << (data[128 + 4 * format + 2] & 31);
	return 0;
}

/* ---- the controller ---- */

static int wait_ready(struct nvme_ctrl *c, uint32_t ready)
{
	int64_t deadline = now_ms() + c->timeout_ms;
	uint64_t status;

	for (;;) {
		int ret = uvfio_pci_reg_read(c->dev, BAR, CSTS, 4, &status);

		if (ret)
			return fail(c, "reading CSTS", ret);
		if ((status & 1) == ready)
			return 0;
		if (status & 2 || now_ms() > deadline) {
			fprintf(stderr, "%s: the controller does not become %s: CSTS %#x\n",
				uvfio_pci_name(c->dev), ready ? "ready" : "disabled",
				(unsigned)status);
			return -EIO;
		}
		poll(NULL, 0, 1);
	}
}

static int start_irqs(struct nvme_ctrl *c)
{
	enum uvfio_pci_irq irq = UVFIO_PCI_MSIX;
	int fds[NVME_MAX_QUEUES + 1], ret;

	if (!c->irqs)
		return 0;
	if (uvfio_pci_irq_count(c->dev, irq, NULL) <= c->nr_queues)
		irq = UVFIO_PCI_MSI;
	if (uvfio_pci_irq_count(c->dev, irq, NULL) <= c->nr_queues)
		return fail(c, "there are not enough interrupt vectors", -ENOSPC);
	fds[0] = c->admin.irq;
	for (unsigned i = 0; i < c->nr_queues; i++)
		fds[i + 1] = c->io[i].irq;
	ret = uvfio_pci_irq_enable(c->dev, irq, 0, c->nr_queues + 1, fds);
	if (ret)
		return fail(c, "enabling interrupts", ret < 0 ? ret : -ENOSPC);
	return 0;
}

static int create_queue(struct nvme_ctrl *c, struct nvme_queue *q)
{
	uint32_t size = (q->entries - 1) << 16 | q->id;
	int ret;

	clear_queue(q);
	ret = nvme_admin(c,
			 (struct nvme_sqe){.opcode = 5,
					   .prp1 = cq_iova(q),
					   .dw = {size, q->id << 16 | (c->irqs ? 2 : 0) | 1}},
			 "create completion queue");
	if (ret)
		return ret;
	return nvme_admin(
		c,
		(struct nvme_sqe){.opcode = 1, .prp1 = q->mem.iova, .dw = {size, q->id << 16 | 1}},
		"create submission queue");
}

int nvme_start(struct nvme_ctrl *c)
{
	struct uvfio_error err;
	uint64_t cap;
	int ret;

	ret = uvfio_pci_enable(c->dev, &err);
	if (ret) {
		fprintf(stderr, "%s\n", err.msg);
		return ret;
	}
	ret = uvfio_pci_reg_read(c->dev, BAR, CAP, 8, &cap);
	if (ret)
		return fail(c, "reading CAP", ret);
	c->stride = 4u << (cap >> 32 & 0xf);
	c->timeout_ms = (unsigned)(cap >> 24 & 0xff) * 500;
	if ((cap & 0xffff) < c->slots) {
		fprintf(stderr, "%s: its queues have at most %u entries\n", uvfio_pci_name(c->dev),
			(unsigned)(cap & 0xffff) + 1);
		return -EINVAL;
	}
	uvfio_pci_write32(c->dev, BAR, CC, 0);
	ret = wait_ready(c, 0);
	if (!ret)
		ret = start_irqs(c);
	if (ret)
		return ret;
	clear_queue(&c->admin);
	uvfio_pci_write32(c->dev, BAR, AQA, (ADMIN_ENTRIES - 1) << 16 | (ADMIN_ENTRIES - 1));
	uvfio_pci_write64(c->dev, BAR, ASQ, c->admin.mem.iova);
	uvfio_pci_write64(c->dev, BAR, ACQ, cq_iova(&c->admin));
	/* CQE 16 bytes, SQE 64 bytes, 4 KiB pages, enable */
	uvfio_pci_write32(c->dev, BAR, CC, 4 << 20 | 6 << 16 | 1);
	ret = wait_ready(c, 1);
	if (!ret)
		ret = identify(c);
	/* Ask for as many queues as are used; a controller may allow fewer, then creating fails. */
	if (!ret)
		ret = nvme_admin(
			c,
			(struct nvme_sqe){.opcode = 9,
					  .dw = {7, (c->nr_queues - 1) << 16 | (c->nr_queues - 1)}},
			"set number of queues");
	for (unsigned i = 0; i < c->nr_queues && !ret; i++)
		ret = create_queue(c, &c->io[i]);
	return ret;
}

int nvme_open(struct nvme_ctrl *c, const char *device, const struct nvme_config *config)
{
	struct uvfio_error err;
	int ret;

	*c = (struct nvme_ctrl){
		.nr_queues = config->queues, .slots = config->slots, .irqs = config->irqs};
	if (!config->queues || config->queues > NVME_MAX_QUEUES || !config->slots ||
	    config->slots > 1023) {
		fprintf(stderr, "1 to %u queues with 1 to 1023 commands each\n", NVME_MAX_QUEUES);
		return -EINVAL;
	}
	c->space = config->space;
	ret = uvfio_pci_open_in(c->space, device, config->options, &c->dev, &err);
	if (ret) {
		fprintf(stderr, "%s\n", err.msg);
		c->dev = NULL;
		return ret;
	}
	if (config->map) {
		ret = uvfio_pci_map_region(c->dev, BAR, &err);
		if (ret)
			fprintf(stderr, "%s\n", err.msg);
	}
	if (!ret)
		ret = alloc_queue(c, &c->admin, 0, 1, NVME_PAGE);
	for (unsigned i = 0; i < c->nr_queues && !ret; i++)
		ret = alloc_queue(c, &c->io[i], i + 1, c->slots, config->slot_size);
	if (!ret)
		ret = nvme_start(c);
	if (ret)
		nvme_close(c);
	return ret;
}

static void free_queue(struct nvme_ctrl *c, struct nvme_queue *q)
{
	if (q->mem.size)
		(void)uvfio_dma_space_release(c->space, &q->mem);
	if (q->data.size)
		(void)uvfio_dma_space_release(c->space, &q->data);
	q->mem.size = q->data.size = 0;
}

void nvme_close(struct nvme_ctrl *c)
{
	if (!c->dev)
		return;
	/* Closing the device ends its DMA, and frees the memory of a space that is its own. */
	uvfio_pci_close(c->dev);
	c->dev = NULL;
	for (unsigned i = 0; i < c->nr_queues && c->space; i++)
		free_queue(c, &c->io[i]);
	if (c->space)
		free_queue(c, &c->admin);
	if (!c->irqs)
		return;
	for (unsigned i = 0; i < c->nr_queues; i++)
		if (c->io[i].ctrl && c->io[i].irq >= 0)
			close(c->io[i].irq);
	if (c->admin.ctrl && c->admin.irq >= 0)
		close(c->admin.irq);
}
