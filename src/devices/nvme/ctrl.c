/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The controller's states, and the passes of work.
 *
 * Theory of operation.  The thread that writes CC only stores it and counts the times that EN went
 * from 1 to 0, so that no controller reset is missed however fast CC changes.  The work context
 * compares and moves:
 *
 *   DISABLED ──EN=1──▶ ENABLING ──▶ READY ──SHN──▶ SHUTTING_DOWN ──▶ SHUT_DOWN
 *       ▲                  │          │                  │               │
 *       │                  └─bad─▶ FATAL ◀──queue memory─┘               │
 *       └────── RESETTING ◀───────EN=0 or NSSR, from any of them─────────┘
 *
 * RESETTING ends when no DMA and no backend request is in flight; only then CSTS.RDY goes to 0.
 * SHUTTING_DOWN lets commands in progress end and, for a normal shutdown, flushes what the
 * namespaces cache.  A shutdown is acted on when SHN changes, so it is not repeated after a reset.
 *
 * quiesce (the core is about to reset the device, or bus mastering goes off) stops fetching,
 * posting and every new transfer; commands in progress then end with a data transfer error, and
 * their completions wait for resume or are dropped by reset.  DMA that is refused because bus
 * mastering is off (-EPERM) stops likewise, until resume or a doorbell.  A pause, as a device that
 * is moved has it, is in pause.c.
 */
#include <errno.h>
#include <string.h>
#include <time.h>

#include "devices/nvme/nvme.h"

static const char *const state_names[] = {
	[NVME_DISABLED] = "disabled",
	[NVME_ENABLING] = "enabling",
	[NVME_READY] = "ready",
	[NVME_RESETTING] = "resetting",
	[NVME_SHUTTING_DOWN] = "shutting down",
	[NVME_SHUT_DOWN] = "shut down",
	[NVME_FATAL] = "fatal",
};
static_assert(sizeof(state_names) / sizeof(state_names[0]) == NVME_NR_STATES, "a name each");

const char *nvme_state_name(enum nvme_state state)
{
	return state < NVME_NR_STATES ? state_names[state] : "?";
}

static void set_state(struct nvme_ctrl *c, enum nvme_state state)
{
	if (c->state == state)
		return;
	uvfio_device_log(c->dev, UVFIO_LOG_DEBUG, "nvme: %s → %s", nvme_state_name(c->state),
			 nvme_state_name(state));
	c->state = state;
	if (state == NVME_FATAL)
		uvfio_count_local(&c->stats.fatals, 1);
}

bool nvme_running(const struct nvme_ctrl *c)
{
	return (c->csts & NVME_CSTS_RDY) && c->state != NVME_FATAL && c->state != NVME_RESETTING &&
	       !c->stopped && !c->parked;
}

void nvme_fatal(struct nvme_ctrl *c, const char *what, uint64_t iova, int err)
{
	if (c->state == NVME_FATAL || c->state == NVME_RESETTING)
		return;
	uvfio_device_log(
		c->dev, UVFIO_LOG_WARN,
		"nvme: fatal status: cannot access %s at 0x%llx: %s; the driver must reset "
		"the controller",
		what, (unsigned long long)iova, strerror(-err));
	set_state(c, NVME_FATAL);
	nvme_set_csts(c, 0, NVME_CSTS_CFS);
}

/* ---- enable ---- */

static const char *enable_check(struct nvme_ctrl *c, uint32_t cc, uint32_t aqa, uint64_t asq,
				uint64_t acq)
{
	uint64_t page = 4096ull << NVME_CC_MPS(cc);

	if (NVME_CC_CSS(cc) != NVME_CC_CSS_NVM && NVME_CC_CSS(cc) != NVME_CC_CSS_IOCS)
		return "CC.CSS selects a command set that CAP.CSS does not offer";
	if (NVME_CC_MPS(cc) > NVME_MPSMAX)
		return "CC.MPS is above CAP.MPSMAX";
	if (NVME_CC_AMS(cc))
		return "CC.AMS selects an arbitration that CAP.AMS does not offer";
	if (NVME_AQA_ASQS(aqa) < 2 || NVME_AQA_ACQS(aqa) < 2)
		return "AQA gives an admin queue fewer than 2 entries";
	if ((asq & (page - 1)) || (acq & (page - 1)))
		return "ASQ or ACQ is not aligned to the page size of CC.MPS";
	if (!nvme_one_place(c, asq, NVME_AQA_ASQS(aqa) * sizeof(struct nvme_sqe)) ||
	    !nvme_one_place(c, acq, NVME_AQA_ACQS(aqa) * sizeof(struct nvme_cqe)))
		return "an admin queue is only partly in the controller memory buffer";
	return NULL;
}

static void enable(struct nvme_ctrl *c, uint32_t cc)
{
	uint32_t aqa = atomic_load(&c->shared.aqa);
	uint64_t asq = atomic_load(&c->shared.asq);
	uint64_t acq = atomic_load(&c->shared.acq);
	const char *wrong;

	set_state(c, NVME_ENABLING);
	wrong = enable_check(c, cc, aqa, asq, acq);
	if (wrong) {
		uvfio_device_log(c->dev, UVFIO_LOG_WARN,
				 "nvme: cannot enable (CC 0x%x, AQA 0x%x): %s", cc, aqa, wrong);
		set_state(c, NVME_FATAL);
		nvme_set_csts(c, 0, NVME_CSTS_CFS);
		return;
	}
	c->page_bits = 12 + NVME_CC_MPS(cc);
	nvme_cq_open(c, 0, acq, NVME_AQA_ACQS(aqa), true, 0);
	nvme_sq_open(c, 0, asq, NVME_AQA_ASQS(aqa), 0);
	nvme_virt_enabled(c);
	set_state(c, NVME_READY);
	nvme_set_csts(c, 0, NVME_CSTS_RDY);
}

/* ---- reset ---- */

/* What every reset of the controller does.  Nothing is in flight. */
void nvme_forget_all(struct nvme_ctrl *c)
{
	nvme_format_reset(c);
	nvme_queues_reset(c);
	nvme_irq_reset(c);
	nvme_events_reset(c);
	nvme_size_reset(c);
	nvme_features_reset(c);
	c->dbbuf = false;
	c->parked = false;
	c->closing_down = false;
	c->migration.again = false;
}

/* A secondary controller has gone offline, or online, where all begins anew. */
static void virt_finish(struct nvme_ctrl *c, unsigned virt)
{
	c->virt_done = virt;
	c->shn = 0;
	c->csts = 0;
	if (c->online)
		nvme_regs_reset(c);
	else
		nvme_regs_offline(c);
}

static void reset_finish(struct nvme_ctrl *c, unsigned resets, unsigned subsystem_resets,
			 unsigned virt)
{
	bool subsystem = subsystem_resets != c->subsystem_resets_done;
	uint32_t set = subsystem ? NVME_CSTS_NSSRO : 0;

	uvfio_count_local(&c->stats.resets, 1);
	if (c->secondary)
		nvme_virt_take_over(c);
	else
		nvme_virt_reset(c, subsystem);
	nvme_forget_all(c);
	atomic_store(&c->shared.intm, 0);
	uvfio_reg_set(c->dev, NVME_BAR, NVME_REG_INTMS, 4, 0);
	uvfio_reg_set(c->dev, NVME_BAR, NVME_REG_INTMC, 4, 0);
	c->resets_done = resets;
	c->subsystem_resets_done = subsystem_resets;
	c->storage.tried = false;
	set_state(c, NVME_DISABLED);
	if (virt != c->virt_done)
		virt_finish(c, virt);
	else
		nvme_set_csts(c, NVME_CSTS_RDY | NVME_CSTS_CFS | NVME_CSTS_SHST_MASK, set);
}

/* ---- shutdown ---- */

static void shutdown_start(struct nvme_ctrl *c, unsigned shn)
{
	nvme_set_csts(c, NVME_CSTS_SHST_MASK, NVME_CSTS_SHST_OCCURRING);
	c->closing_down = true;
	c->shutdown_req->index = shn == NVME_SHN_NORMAL ? 0 : c->nr_ns;
	set_state(c, NVME_SHUTTING_DOWN);
}

static void shutdown_flushed(struct nvme_req *req)
{
	struct nvme_ctrl *c = req->ctrl;

	if (req->status)
		uvfio_device_log(
			c->dev, UVFIO_LOG_ERROR,
			"nvme: namespace %u: flush at shutdown failed: data since the last "
			"flush may be lost",
			req->index);
	uvfio_kick(c->dev);
}

/* Returns true when the state changed. */
static bool shutdown_run(struct nvme_ctrl *c)
{
	struct nvme_req *req = c->shutdown_req;

	if (c->external || !STAILQ_EMPTY(&c->bounce_waiters) || c->nr_fenced || c->nr_kept ||
	    c->stopped || c->paused)
		return false;
	while (req->index < c->nr_ns) {
		struct nvme_ns *ns = &c->ns[req->index++];

		if (!ns->attached || !nvme_ns_ready(ns))
			continue;
		req->status = 0;
		req->step = shutdown_flushed;
		if (nvme_block(req, ns, BLOCK_FLUSH, 0, 0, 0) == NVME_PENDING) {
			block_kick(ns->blk);
			ns->kick = false;
			return false;
		}
		if (req->status)
			shutdown_flushed(req);
	}
	c->closing_down = false;
	set_state(c, NVME_SHUT_DOWN);
	nvme_set_csts(c, NVME_CSTS_SHST_MASK, NVME_CSTS_SHST_COMPLETE);
	return true;
}

/* ---- the machine ---- */

static bool state_step(struct nvme_ctrl *c)
{
	/* In this order: a reset counted after this is seen by the next pass. */
	unsigned resets = atomic_load(&c->shared.resets);
	unsigned subsystem = atomic_load(&c->shared.subsystem_resets);
	unsigned virt = atomic_load(&c->shared.virt_changes);
	uint32_t cc, shn;

	if (resets != c->resets_done || subsystem != c->subsystem_resets_done ||
	    virt != c->virt_done) {
		set_state(c, NVME_RESETTING);
		if (c->external)
			return false;
		reset_finish(c, resets, subsystem, virt);
	}
	if (!c->online)
		return false;
	if (c->nssro_clears_done != atomic_load(&c->shared.nssro_clears)) {
		c->nssro_clears_done = atomic_load(&c->shared.nssro_clears);
		nvme_set_csts(c, NVME_CSTS_NSSRO, 0);
	}

	cc = atomic_load(&c->shared.cc);
	shn = NVME_CC_SHN(cc);
	if (shn != c->shn && c->state != NVME_SHUTTING_DOWN) {
		c->shn = shn;
		if (c->state == NVME_SHUT_DOWN) {
			/* A controller that is enabled stays shut down until its reset. */
			if (!shn && !(c->csts & NVME_CSTS_RDY)) {
				set_state(c, NVME_DISABLED);
				nvme_set_csts(c, NVME_CSTS_SHST_MASK, 0);
			}
		} else if (c->state == NVME_FATAL && shn) {
			nvme_set_csts(c, NVME_CSTS_SHST_MASK, NVME_CSTS_SHST_COMPLETE);
		} else if (shn == NVME_SHN_NORMAL || shn == NVME_SHN_ABRUPT) {
			shutdown_start(c, shn);
		}
	}
	switch (c->state) {
	case NVME_DISABLED:
		if (!(cc & NVME_CC_EN) || nvme_storage_try(c))
			return false;
		enable(c, cc);
		return true;
	case NVME_SHUTTING_DOWN:
		return shutdown_run(c);
	default:
		return false;
	}
}

void nvme_state_run(struct nvme_ctrl *c)
{
	while (state_step(c))
		;
}

void nvme_external_done(struct nvme_ctrl *c)
{
	assert(c->external);
	c->external--;
	if (c->external)
		return;
	if (c->quiescing && c->stopped) {
		c->quiescing = false;
		uvfio_quiesced(c->dev);
	}
	if (c->state == NVME_RESETTING || c->closing_down || c->quiescing)
		uvfio_kick(c->dev);
}

void nvme_quiesce(void *priv)
{
	struct nvme_ctrl *c = priv;

	nvme_pmr_quiesce(c);
	if (uvfio_paused(c->dev) && !c->stopped) {
		nvme_pause(c);
		return;
	}
	c->stopped = true;
	if (c->external)
		c->quiescing = true;
	else
		uvfio_quiesced(c->dev);
}

/* Whatever waited for DMA to be possible again. */
static void restart(struct nvme_ctrl *c)
{
	for (unsigned i = 0; i < c->top_queue; i++) {
		struct nvme_cq *cq = &c->cqs[i];

		if (cq->used && (cq->posting_nr || !STAILQ_EMPTY(&cq->pending)) && !cq->dirty) {
			cq->dirty = true;
			TAILQ_INSERT_TAIL(&c->dirty_cqs, cq, dirty_link);
		}
		/* A look at a shadow doorbell may have been refused. */
		if (cq->asked)
			cq->asked = false;
		if (c->dbbuf && i && c->sqs[i].state == NVME_SQ_ACTIVE)
			nvme_dbbuf_look(&c->sqs[i].db);
	}
	uvfio_kick(c->dev);
}

void nvme_unpark(struct nvme_ctrl *c)
{
	c->parked = false;
	restart(c);
}

void nvme_resume(void *priv)
{
	struct nvme_ctrl *c = priv;

	c->stopped = c->paused = false;
	nvme_unpark(c);
	nvme_size_watch(c);
	if (c->migration.again)
		nvme_irq_again(c);
	c->migration.again = false;
}

void nvme_reset(void *priv, enum uvfio_reset_kind kind)
{
	struct nvme_ctrl *c = priv;

	assert(!c->external);
	if (kind == UVFIO_RESET_POWER_ON)
		c->count.power_cycles++;
	else if ((c->csts & NVME_CSTS_RDY) && c->state != NVME_SHUT_DOWN)
		c->count.unsafe_shutdowns++;
	c->virt_done = atomic_load(&c->shared.virt_changes);
	if (c->secondary)
		nvme_vf_reset(c);
	else
		nvme_virt_default(c->sub);
	nvme_forget_all(c);
	c->stopped = c->paused = false;
	c->quiescing = false;
	c->csts = 0;
	c->shn = 0;
	c->feat.timestamp_set = false;
	c->feat.timestamp = 0;
	/* Nobody's registers are the next user's. */
	if (kind != UVFIO_RESET_FUNCTION)
		nvme_cmb_regs_reset(c);
	if (kind == UVFIO_RESET_CLOSE || kind == UVFIO_RESET_OPEN)
		nvme_cmb_clear(c);
	if (kind == UVFIO_RESET_CLOSE)
		nvme_bounce_free(c);
	nvme_pmr_reset(c);
	nvme_cmb_update(c);
	nvme_regs_reset(c);
	if (!c->online)
		nvme_regs_offline(c);
	c->resets_done = atomic_load(&c->shared.resets);
	c->subsystem_resets_done = atomic_load(&c->shared.subsystem_resets);
	c->nssro_clears_done = atomic_load(&c->shared.nssro_clears);
	set_state(c, NVME_DISABLED);
	nvme_storage_reset(c);
}

bool nvme_work(void *priv)
{
	struct nvme_ctrl *c = priv;
	bool more;

	c->in_work = true;
	nvme_subsys_sync(c);
	nvme_claims_run(c);
	nvme_cmb_update(c);
	nvme_state_run(c);
	nvme_doorbells_run(c);
	/* Again: a host may ring as soon as it has written CMBMSC. */
	nvme_cmb_update(c);
	if (!c->paused) {
		if (c->nr_bounce_free)
			nvme_bounce_run(c);
		if (c->nr_fenced)
			nvme_fused_run(c);
		nvme_format_run(c);
	}
	more = c->nr_kept ? nvme_kept_run(c) : nvme_queues_run(c);
	for (unsigned i = 0; i < c->nr_ns; i++) {
		if (c->ns[i].kick) {
			c->ns[i].kick = false;
			block_kick(c->ns[i].blk);
		}
	}
	if (c->pmr.blk)
		more |= nvme_pmr_run(c);
	if (!TAILQ_EMPTY(&c->dirty_cqs))
		nvme_cqs_post(c);
	nvme_irq_run(c);
	/* What completed within block_kick() may have submitted more, or given claims back. */
	for (unsigned i = 0; i < c->nr_ns; i++) {
		if (c->ns[i].kick)
			more = true;
	}
	if (c->paused)
		nvme_pause_run(c);
	c->in_work = false;
	return more;
}
