/* SPDX-License-Identifier: BSD-3-Clause */
/* The driver half of nvme_harness.h: client memory, registers, queues, commands. */
#include <assert.h>
#include <string.h>

#include "devices/nvme/nvme_model.h"
#include "nvme_harness.h"

uint64_t h_alloc(struct harness *h, size_t size, size_t align)
{
	uint64_t iova = (h->alloc + align - 1) & ~((uint64_t)align - 1);

	assert(iova + size <= H_MEM_BASE + H_MEM_SIZE);
	h->alloc = iova + size;
	memset(h_ptr(h, iova), 0, size);
	return iova;
}

void h_alloc_from(struct harness *h, uint64_t iova)
{
	h->alloc = iova;
}

void h_cmb_at(struct harness *h, uint64_t base)
{
	h_write(h, NVME_REG_CMBMSC, 8, base | NVME_CMBMSC_CMSE | NVME_CMBMSC_CRE);
	h->cmb_base = base;
	h->cmb_on = true;
}

void *h_ptr(struct harness *h, uint64_t iova)
{
	if (h->cmb_on && iova - h->cmb_base < h->desc.bars[2].size)
		return h->bar_memory[2] + (iova - h->cmb_base);
	assert(iova >= H_MEM_BASE && iova < H_MEM_BASE + H_MEM_SIZE);
	return h->mem + (iova - H_MEM_BASE);
}

void h_fault(struct harness *h, uint64_t iova, size_t len)
{
	assert(h->nr_faults < H_FAULTS);
	h->faults[h->nr_faults].start = iova;
	h->faults[h->nr_faults++].end = iova + len;
}

void h_no_faults(struct harness *h)
{
	h->nr_faults = 0;
}

void h_write(struct harness *h, uint64_t offset, unsigned size, uint64_t value)
{
	nvme_model.reg_write(h->priv, 0, offset, size, value);
}

void h_write32(struct harness *h, uint64_t offset, uint32_t value)
{
	h_write(h, offset, 4, value);
}

uint32_t h_read32(struct harness *h, uint64_t offset)
{
	return (uint32_t)uvfio_reg_get(&h->dev, 0, offset, 4);
}

uint64_t h_read64(struct harness *h, uint64_t offset)
{
	return uvfio_reg_get(&h->dev, 0, offset, 8);
}

uint64_t h_pmrsts_ask(struct harness *h)
{
	nvme_model.reg_read_start(h->priv, 0, NVME_REG_PMRSTS, 4, ++h->read_ticket);
	return h->read_ticket;
}

uint32_t h_pmrsts(struct harness *h)
{
	return (uint32_t)nvme_model.reg_read(h->priv, 0, NVME_REG_PMRSTS, 4);
}

void h_ring_sq(struct harness *h, unsigned qid)
{
	h_write32(h, 0x1000 + 8 * qid, h->q[qid].tail);
}

void h_ring_cq(struct harness *h, unsigned cqid)
{
	h_write32(h, 0x1004 + 8 * cqid, h->q[cqid].head);
}

bool h_enable(struct harness *h, unsigned entries)
{
	struct h_queue *q = &h->q[0];

	q->sq = h_alloc(h, entries * 64, 4096);
	q->cq = h_alloc(h, entries * 16, 4096);
	q->size = q->cq_size = entries;
	q->tail = q->head = 0;
	q->cqid = 0;
	q->phase = true;
	h_write32(h, 0x24, (entries - 1) << 16 | (entries - 1));
	h_write(h, 0x28, 8, q->sq);
	h_write(h, 0x30, 8, q->cq);
	h_write32(h, 0x14, 4 << 20 | 6 << 16 | 1);
	h_run(h);
	return (h_read32(h, 0x1c) & 3) == 1;
}

void h_disable(struct harness *h)
{
	h_write32(h, 0x14, 4 << 20 | 6 << 16);
	h_run(h);
}

uint16_t h_push(struct harness *h, unsigned qid, const struct nvme_sqe *cmd)
{
	struct h_queue *q = &h->q[qid];
	struct nvme_sqe c = *cmd;

	c.cid = h->next_cid++;
	memcpy(h_ptr(h, q->sq + 64ull * q->tail), &c, sizeof(c));
	q->tail = (q->tail + 1) % q->size;
	return c.cid;
}

bool h_pop(struct harness *h, unsigned cqid, struct nvme_cqe *cqe)
{
	struct h_queue *q = &h->q[cqid];
	struct nvme_cqe c;

	memcpy(&c, h_ptr(h, q->cq + 16ull * q->head), sizeof(c));
	if ((c.status & 1) != q->phase)
		return false;
	*cqe = c;
	if (++q->head == q->cq_size) {
		q->head = 0;
		q->phase = !q->phase;
	}
	return true;
}

unsigned h_cmd(struct harness *h, unsigned qid, const struct nvme_sqe *cmd, struct nvme_cqe *cqe)
{
	struct nvme_cqe c;
	uint16_t cid = h_push(h, qid, cmd);
	bool got;

	h_ring_sq(h, qid);
	h_run(h);
	got = h_pop(h, h->q[qid].cqid, &c);
	assert(got);
	assert(c.cid == cid && c.sqid == qid);
	h_ring_cq(h, h->q[qid].cqid);
	h_run(h);
	if (cqe)
		*cqe = c;
	return (c.status >> 1) & ~(unsigned)NVME_SC_MORE;
}

unsigned h_admin(struct harness *h, uint8_t opcode, uint32_t nsid, uint32_t cdw10, uint32_t cdw11,
		 void **data, uint32_t *dw0)
{
	uint64_t p = h_alloc(h, 4096, 4096);
	struct nvme_sqe cmd = {
		.opcode = opcode, .nsid = nsid, .cdw10 = cdw10, .cdw11 = cdw11, .prp1 = p};
	struct nvme_cqe cqe;
	unsigned status = h_cmd(h, 0, &cmd, &cqe);

	if (data)
		*data = h_ptr(h, p);
	if (dw0)
		*dw0 = cqe.dw0;
	return status;
}

unsigned h_log(struct harness *h, unsigned id, uint32_t dwords, uint64_t offset, bool rae,
	       void **data)
{
	uint64_t p = h_alloc(h, 8192, 4096);
	struct nvme_sqe cmd = {.opcode = NVME_ADM_GET_LOG_PAGE,
			       .cdw10 = (dwords - 1) << 16 | (unsigned)rae << 15 | id,
			       .cdw11 = (dwords - 1) >> 16,
			       .cdw12 = (uint32_t)offset,
			       .cdw13 = (uint32_t)(offset >> 32),
			       .prp1 = p,
			       .prp2 = p + 4096};

	memset(h_ptr(h, p), 0x5a, 8192);
	if (data)
		*data = h_ptr(h, p);
	return h_cmd(h, 0, &cmd, NULL);
}

unsigned h_create_cq(struct harness *h, unsigned qid, unsigned entries, bool ien, unsigned vector)
{
	struct h_queue *q = &h->q[qid];
	struct nvme_sqe cmd = {.opcode = NVME_ADM_CREATE_CQ};

	q->cq = h_alloc(h, entries * 16, 4096);
	q->cq_size = entries;
	q->head = 0;
	q->phase = true;
	cmd.prp1 = q->cq;
	cmd.cdw10 = (entries - 1) << 16 | qid;
	cmd.cdw11 = vector << 16 | ien << 1 | 1;
	return h_cmd(h, 0, &cmd, NULL);
}

unsigned h_create_sq(struct harness *h, unsigned qid, unsigned entries, unsigned cqid)
{
	struct h_queue *q = &h->q[qid];
	struct nvme_sqe cmd = {.opcode = NVME_ADM_CREATE_SQ};

	q->sq = h_alloc(h, entries * 64, 4096);
	q->size = entries;
	q->tail = 0;
	q->cqid = cqid;
	cmd.prp1 = q->sq;
	cmd.cdw10 = (entries - 1) << 16 | qid;
	cmd.cdw11 = cqid << 16 | 1;
	return h_cmd(h, 0, &cmd, NULL);
}

void h_create_pair(struct harness *h, unsigned qid, unsigned entries)
{
	unsigned r = h_create_cq(h, qid, entries, true, qid);

	assert(!r);
	r = h_create_sq(h, qid, entries, qid);
	assert(!r);
}

struct harness *h_ready(const char *args, void (*setup)(struct harness *h))
{
	struct harness *h = h_new_with(args, setup);
	bool ok;

	assert(h);
	ok = h_enable(h, 64);
	assert(ok);
	h_create_pair(h, 1, 128);
	return h;
}

struct nvme_sqe h_rw(uint8_t opcode, uint32_t nsid, uint64_t slba, uint32_t nlb, uint64_t prp1,
		     uint64_t prp2)
{
	return (struct nvme_sqe){
		.opcode = opcode,
		.nsid = nsid,
		.prp1 = prp1,
		.prp2 = prp2,
		.cdw10 = (uint32_t)slba,
		.cdw11 = (uint32_t)(slba >> 32),
		.cdw12 = nlb - 1,
	};
}
