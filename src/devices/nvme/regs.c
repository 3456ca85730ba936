/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Registers and doorbells.
 *
 * reg_write runs in the thread of whoever writes, possibly while the work context runs: it stores
 * what was written into struct nvme_shared, publishes what reads back, and kicks.  Doorbells keep
 * only the latest value and a dirty bit each.
 *
 * Registers take aligned accesses of 4 bytes, or of 8 as two of 4 in ascending order; narrower
 * writes, which the standard leaves undefined, are ignored.  The registers of controller memory are
 * in cmb.c.
 */
#include <string.h>

#include "devices/nvme/nvme.h"

uint64_t nvme_cap(const struct nvme_ctrl *c)
{
	return NVME_CAP_MQES(NVME_QUEUE_ENTRIES - 1) | NVME_CAP_CQR | NVME_CAP_TO(30) |
	       (c->secondary ? 0 : NVME_CAP_NSSRS) | NVME_CAP_CSS_NVM | NVME_CAP_CSS_IOCS |
	       NVME_CAP_MPSMIN(0) | NVME_CAP_MPSMAX(NVME_MPSMAX) |
	       (c->cmb.size ? NVME_CAP_CMBS : 0) | (c->pmr.blk ? NVME_CAP_PMRS : 0);
}

static void publish32(struct nvme_ctrl *c, uint64_t offset, uint32_t value)
{
	uvfio_reg_set(c->dev, NVME_BAR, offset, 4, value);
}

static void publish_queue_regs(struct nvme_ctrl *c, uint32_t cc)
{
	publish32(c, NVME_REG_CC, cc);
	publish32(c, NVME_REG_AQA, atomic_load(&c->shared.aqa));
	uvfio_reg_set(c->dev, NVME_BAR, NVME_REG_ASQ, 8, atomic_load(&c->shared.asq));
	uvfio_reg_set(c->dev, NVME_BAR, NVME_REG_ACQ, 8, atomic_load(&c->shared.acq));
}

static void clear_queue_regs(struct nvme_ctrl *c)
{
	atomic_store(&c->shared.cc, 0);
	atomic_store(&c->shared.aqa, 0);
	atomic_store(&c->shared.asq, 0);
	atomic_store(&c->shared.acq, 0);
	publish_queue_regs(c, 0);
}

void nvme_regs_reset(struct nvme_ctrl *c)
{
	uvfio_reg_set(c->dev, NVME_BAR, NVME_REG_CAP, 8, nvme_cap(c));
	publish32(c, NVME_REG_VS, NVME_VERSION_1_4);
	atomic_store(&c->shared.intm, 0);
	publish32(c, NVME_REG_INTMS, 0);
	publish32(c, NVME_REG_INTMC, 0);
	publish32(c, NVME_REG_CSTS, 0);
	publish32(c, NVME_REG_NSSR, 0);
	clear_queue_regs(c);
	for (unsigned i = 0; i < 2 * (c->nr_queues + 1); i++)
		nvme_doorbell_clear(c, i);
}

void nvme_regs_offline(struct nvme_ctrl *c)
{
	clear_queue_regs(c);
	uvfio_reg_set(c->dev, NVME_BAR, NVME_REG_CAP, 8, 0);
	publish32(c, NVME_REG_VS, 0);
	publish32(c, NVME_REG_INTMS, 0);
	publish32(c, NVME_REG_INTMC, 0);
	publish32(c, NVME_REG_CSTS, NVME_CSTS_CFS);
	c->csts = NVME_CSTS_CFS;
}

void nvme_regs_put(struct nvme_ctrl *c, uint32_t cc, uint32_t aqa, uint64_t asq, uint64_t acq,
		   uint32_t intm)
{
	atomic_store(&c->shared.cc, cc);
	atomic_store(&c->shared.aqa, aqa);
	atomic_store(&c->shared.asq, asq);
	atomic_store(&c->shared.acq, acq);
	atomic_store(&c->shared.intm, intm);
	/* What was rung before was rung of other queues. */
	for (unsigned i = 0; i < sizeof(c->shared.db_dirty) / sizeof(c->shared.db_dirty[0]); i++)
		atomic_store(&c->shared.db_dirty[i], 0);
	atomic_store(&c->shared.db_strange, false);
	publish_queue_regs(c, cc);
	publish32(c, NVME_REG_INTMS, intm);
	publish32(c, NVME_REG_INTMC, intm);
}

void nvme_set_csts(struct nvme_ctrl *c, uint32_t clear, uint32_t set)
{
	c->csts = (c->csts & ~clear) | set;
	publish32(c, NVME_REG_CSTS, c->csts);
}

/* ---- writes: any thread ---- */

static void write_half(_Atomic uint64_t *reg, bool high, uint32_t value, uint64_t mask)
{
	uint64_t v = atomic_load(reg);

	v = high ? (v & 0xffffffffull) | (uint64_t)value << 32 : (v & ~0xffffffffull) | value;
	atomic_store(reg, v & mask);
}

static void write_cc(struct nvme_ctrl *c, uint32_t value)
{
	uint32_t old = atomic_load(&c->shared.cc);

	value &= NVME_CC_MASK;
	publish32(c, NVME_REG_CC, value);
	atomic_store(&c->shared.cc, value);
	if ((old & NVME_CC_EN) && !(value & NVME_CC_EN))
		atomic_fetch_add(&c->shared.resets, 1);
}

static void write_mask(struct nvme_ctrl *c, uint32_t mask)
{
	atomic_store(&c->shared.intm, mask);
	publish32(c, NVME_REG_INTMS, mask);
	publish32(c, NVME_REG_INTMC, mask);
	atomic_store(&c->shared.irq_check, true);
}

/* Returns false when nothing came of it. */
static bool write_register(struct nvme_ctrl *c, uint64_t offset, uint32_t value)
{
	struct nvme_shared *s = &c->shared;

	switch (offset) {
	case NVME_REG_INTMS:
		write_mask(c, atomic_load(&s->intm) | value);
		return true;
	case NVME_REG_INTMC:
		write_mask(c, atomic_load(&s->intm) & ~value);
		return true;
	case NVME_REG_CC:
		write_cc(c, value);
		return true;
	case NVME_REG_CSTS:
		if (!(value & NVME_CSTS_NSSRO))
			return false;
		atomic_fetch_add(&s->nssro_clears, 1);
		return true;
	case NVME_REG_NSSR:
		publish32(c, NVME_REG_NSSR, 0);
		if (value != NVME_NSSR_MAGIC || c->secondary)
			return false;
		clear_queue_regs(c);
		nvme_cmb_regs_reset(c);
		nvme_pmr_msc_reset(c);
		nvme_pmr_write_ctl(c, 0);
		atomic_fetch_add(&s->subsystem_resets, 1);
		return true;
	case NVME_REG_AQA:
		atomic_store(&s->aqa, value & NVME_AQA_MASK);
		publish32(c, NVME_REG_AQA, value & NVME_AQA_MASK);
		return false;
	case NVME_REG_ASQ:
	case NVME_REG_ASQ + 4:
		write_half(&s->asq, offset & 4, value, ~0xfffull);
		publish32(c, offset, (uint32_t)(atomic_load(&s->asq) >> (offset & 4 ? 32 : 0)));
		return false;
	case NVME_REG_ACQ:
	case NVME_REG_ACQ + 4:
		write_half(&s->acq, offset & 4, value, ~0xfffull);
		publish32(c, offset, (uint32_t)(atomic_load(&s->acq) >> (offset & 4 ? 32 : 0)));
		return false;
	default:
		return nvme_cmb_write(c, offset, value);
	}
}

static void write_doorbell(struct nvme_ctrl *c, uint64_t offset, uint32_t value)
{
	uint64_t index = (offset - NVME_REG_DOORBELLS) / 4;

	if (index >= 2 * (c->nr_queues + 1)) {
		atomic_store(&c->shared.db_strange, true);
		return;
	}
	atomic_store_explicit(&c->shared.doorbells[index], value, memory_order_relaxed);
	atomic_fetch_or_explicit(&c->shared.db_dirty[index / 64], 1ull << (index % 64),
				 memory_order_release);
}

void nvme_reg_write(void *priv, unsigned bar, uint64_t offset, unsigned size, uint64_t value)
{
	struct nvme_ctrl *c = priv;
	bool kick = false;

	if (bar != NVME_BAR || (size != 4 && size != 8))
		return;
	/* An offline controller takes nothing. */
	if (atomic_load_explicit(&c->shared.offline, memory_order_relaxed))
		return;
	if (offset == NVME_REG_CMBMSC && size == 8) {
		nvme_cmb_write_msc(c, value);
		uvfio_kick(c->dev);
		return;
	}
	for (unsigned i = 0; i < size; i += 4) {
		uint32_t v = (uint32_t)(value >> (8 * i));

		if (offset + i >= NVME_REG_DOORBELLS) {
			write_doorbell(c, offset + i, v);
			kick = true;
		} else if (write_register(c, offset + i, v)) {
			kick = true;
		}
	}
	if (kick)
		uvfio_kick(c->dev);
}

/* ---- doorbells: the work context ---- */

void nvme_doorbell_clear(struct nvme_ctrl *c, unsigned index)
{
	atomic_fetch_and(&c->shared.db_dirty[index / 64], ~(1ull << (index % 64)));
	atomic_store(&c->shared.doorbells[index], 0);
	publish32(c, NVME_REG_DOORBELLS + 4ull * index, 0);
}

void nvme_doorbell_put(struct nvme_ctrl *c, unsigned index, uint32_t value)
{
	atomic_store(&c->shared.doorbells[index], value);
	publish32(c, NVME_REG_DOORBELLS + 4ull * index, value);
}

static void invalid_register(struct nvme_ctrl *c, unsigned qid)
{
	nvme_log_doorbell_error(c, qid);
	nvme_event(c, NVME_EVENT_ERROR, NVME_EVENT_ERROR_DB_REGISTER);
}

static void ring(struct nvme_ctrl *c, unsigned index)
{
	uint32_t value = atomic_load_explicit(&c->shared.doorbells[index], memory_order_relaxed);
	unsigned qid = index / 2;

	/* The upper half of a doorbell is reserved. */
	value &= 0xffff;
	if (index & 1) {
		if (!c->cqs[qid].used)
			invalid_register(c, qid);
		else if (c->dbbuf && qid)
			nvme_dbbuf_look(&c->cqs[qid].db);
		else
			nvme_cq_head(&c->cqs[qid], value);
	} else {
		if (c->sqs[qid].state != NVME_SQ_ACTIVE)
			invalid_register(c, qid);
		else if (c->dbbuf && qid)
			nvme_dbbuf_look(&c->sqs[qid].db);
		else
			nvme_sq_tail(&c->sqs[qid], value);
	}
}

static bool ready_for_doorbells(const struct nvme_ctrl *c)
{
	return (c->csts & NVME_CSTS_RDY) && c->state != NVME_FATAL && c->state != NVME_RESETTING;
}

void nvme_doorbells_run(struct nvme_ctrl *c)
{
	if (!c->paused || !ready_for_doorbells(c))
		nvme_doorbells_take(c);
}

void nvme_doorbells_take(struct nvme_ctrl *c)
{
	unsigned words = (2 * (c->nr_queues + 1) + 63) / 64;
	bool ready = ready_for_doorbells(c);

	for (unsigned w = 0; w < words; w++) {
		uint64_t bits;

		if (!atomic_load_explicit(&c->shared.db_dirty[w], memory_order_relaxed))
			continue;
		bits = atomic_exchange_explicit(&c->shared.db_dirty[w], 0, memory_order_acquire);
		if (!ready)
			continue;
		if (c->parked)
			nvme_unpark(c);
		uvfio_count_local(&c->stats.doorbells, (uint64_t)__builtin_popcountll(bits));
		while (bits) {
			unsigned bit = (unsigned)__builtin_ctzll(bits);

			bits &= bits - 1;
			ring(c, w * 64 + bit);
		}
	}
	if (atomic_load_explicit(&c->shared.db_strange, memory_order_relaxed)) {
		atomic_store(&c->shared.db_strange, false);
		if (ready)
			invalid_register(c, 0xffff);
	}
}
