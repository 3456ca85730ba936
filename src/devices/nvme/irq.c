/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Interrupts.
 *
 * With MSI-X each completion queue raises its vector once for a batch of completions, unless
 * coalescing delays it (Interrupt Coalescing: a number of completions, or a time; both set for I/O
 * queues).  With MSI likewise, but that INTMS masks vectors: what is raised then is raised when
 * INTMC unmasks them.  Without either, INTx is asserted while any completion queue with interrupts
 * has completions that the host has not consumed and INTMS does not mask them: everything is vector
 * 0 then.
 */
#include "devices/nvme/nvme.h"

#define COALESCING_THRESHOLD(v) (((v)&0xff) + 1u)
#define COALESCING_TIME_NS(v)   ((((v) >> 8) & 0xff) * 100000ull)

static void pin_update(struct nvme_cq *cq)
{
	bool pin = cq->used && cq->ien && cq->head != cq->tail;

	if (pin == cq->pin)
		return;
	cq->pin = pin;
	if (pin)
		cq->ctrl->nr_pin_cqs++;
	else
		cq->ctrl->nr_pin_cqs--;
	cq->ctrl->irq_due = true;
}

void nvme_irq_consumed(struct nvme_cq *cq)
{
	pin_update(cq);
}

static void raise_vector(struct nvme_ctrl *c, unsigned vector)
{
	c->vectors[vector].pending = 0;
	if (c->msi_vectors && atomic_load(&c->shared.intm) & 1u << vector) {
		c->msi_held |= 1u << vector;
		return;
	}
	uvfio_count_local(&c->stats.interrupts, 1);
	uvfio_irq_raise(c->dev, vector);
}

static void timer_start(struct nvme_ctrl *c)
{
	if (c->irq_timer_armed)
		return;
	c->irq_timer_armed = true;
	uvfio_timer_arm(c->irq_timer, COALESCING_TIME_NS(c->feat.coalescing));
}

void nvme_irq_completions(struct nvme_cq *cq, unsigned nr)
{
	struct nvme_ctrl *c = cq->ctrl;
	struct nvme_vector *v;

	if (!cq->ien)
		return;
	pin_update(cq);
	v = &c->vectors[cq->vector];
	if (cq->id && !v->no_coalescing && COALESCING_TIME_NS(c->feat.coalescing) > 0 &&
	    COALESCING_THRESHOLD(c->feat.coalescing) > 1) {
		v->pending = (uint16_t)(v->pending + nr);
		if (v->pending < COALESCING_THRESHOLD(c->feat.coalescing)) {
			timer_start(c);
			return;
		}
	}
	raise_vector(c, cq->vector);
}

void nvme_irq_timer(void *arg)
{
	struct nvme_ctrl *c = arg;

	c->irq_timer_armed = false;
	for (unsigned i = 0; i < c->nr_vectors; i++) {
		if (c->vectors[i].pending)
			raise_vector(c, i);
	}
}

void nvme_irq_run(struct nvme_ctrl *c)
{
	uint32_t held;
	bool level;

	if (!c->irq_due && !atomic_load_explicit(&c->shared.irq_check, memory_order_relaxed))
		return;
	atomic_store(&c->shared.irq_check, false);
	c->irq_due = false;
	held = c->msi_held;
	c->msi_held = 0;
	for (unsigned v = 0; held; v++, held >>= 1) {
		if (held & 1)
			raise_vector(c, v);
	}
	level = c->nr_pin_cqs && !(atomic_load(&c->shared.intm) & 1) &&
		!uvfio_irq_is_message(c->dev);
	if (level != c->intx_level) {
		c->intx_level = level;
		if (level)
			uvfio_count_local(&c->stats.interrupts, 1);
		uvfio_intx_set(c->dev, level);
	}
}

void nvme_irq_again(struct nvme_ctrl *c)
{
	bool pending = false;

	for (unsigned i = 0; i < c->top_queue; i++) {
		struct nvme_cq *cq = &c->cqs[i];

		if (cq->used && cq->ien && nvme_cq_unconsumed(cq))
			raise_vector(c, cq->vector);
	}
	for (unsigned i = 0; i < c->nr_vectors; i++)
		pending |= c->vectors[i].pending;
	if (pending)
		timer_start(c);
}

void nvme_irq_reset(struct nvme_ctrl *c)
{
	for (unsigned i = 0; i < c->nr_vectors; i++)
		c->vectors[i] = (struct nvme_vector){0};
	for (unsigned i = 0; i < c->top_queue; i++) {
		if (c->cqs[i].pin)
			c->cqs[i].pin = false;
	}
	c->nr_pin_cqs = 0;
	c->msi_held = 0;
	c->irq_due = false;
	if (c->irq_timer_armed) {
		uvfio_timer_cancel(c->irq_timer);
		c->irq_timer_armed = false;
	}
	if (c->intx_level) {
		c->intx_level = false;
		uvfio_intx_set(c->dev, false);
	}
}
