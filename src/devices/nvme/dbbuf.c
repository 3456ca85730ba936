/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Shadow doorbells (Doorbell Buffer Config).
 *
 * Theory of operation.  The host writes the tail of an I/O submission queue, and the head of its
 * completion queue, into a page of its own memory, and rings the register only when it passes the
 * value that the controller put into a second page (the event index).  When a submission queue
 * runs empty, the controller asks for the next doorbell by setting the event index to the tail that
 * it knows, and then looks at the shadow once more: a host that moved it before it could see the
 * new index is noticed by this second look, one that moved it afterwards rings.  The same is done
 * with the head of a completion queue that is full.  A doorbell that is rung says no more than
 * "look": its value may be older than the shadow.
 *
 * The admin queues do without, as drivers expect.
 */
#include <errno.h>

#include "devices/nvme/nvme.h"

/* ---- the steps of one look, for either kind of queue ---- */

static struct nvme_dbbuf *op_dbbuf(struct uvfio_dma *op)
{
	return (struct nvme_dbbuf *)((char *)op - offsetof(struct nvme_dbbuf, op));
}

static int db_step(struct nvme_dbbuf *d)
{
	struct nvme_ctrl *c = d->ctrl;

	d->op.len = 4;
	if (d->state == NVME_DB_EVENT) {
		d->op.iova = c->dbbuf_event + 4ull * d->index;
		d->op.buf = &d->event;
		d->op.to_client = true;
	} else {
		d->op.iova = c->dbbuf_shadow + 4ull * d->index;
		d->op.buf = &d->value;
		d->op.to_client = false;
	}
	return nvme_dma_raw(c, &d->op);
}

/* The queue's own idea of the value, as an event index. */
static uint32_t db_current(const struct nvme_dbbuf *d)
{
	struct nvme_ctrl *c = d->ctrl;

	return d->index & 1 ? c->cqs[d->index / 2].head : c->sqs[d->index / 2].tail;
}

static bool db_in_use(const struct nvme_dbbuf *d)
{
	struct nvme_ctrl *c = d->ctrl;

	return c->dbbuf && (d->index & 1 ? c->cqs[d->index / 2].used
					 : c->sqs[d->index / 2].state == NVME_SQ_ACTIVE);
}

static void db_take(struct nvme_dbbuf *d)
{
	struct nvme_ctrl *c = d->ctrl;
	uint32_t value = d->value & 0xffff;

	d->state = NVME_DB_IDLE;
	if (d->stale) { /* of a queue that was deleted since */
		d->stale = false;
		d->again = true;
		return;
	}
	if (!db_in_use(d))
		return;
	if (d->index & 1)
		nvme_cq_head(&c->cqs[d->index / 2], value);
	else
		nvme_sq_tail(&c->sqs[d->index / 2], value);
}

static void db_run(struct nvme_dbbuf *d)
{
	while (d->state != NVME_DB_IDLE) {
		int r = db_step(d);

		if (r == 1)
			return;
		if (r) {
			d->state = NVME_DB_IDLE;
			if (r != -EPERM)
				nvme_fatal(d->ctrl, "a doorbell buffer", d->op.iova, r);
			return;
		}
		if (d->state == NVME_DB_EVENT)
			d->state = NVME_DB_READ;
		else
			db_take(d);
	}
}

static void db_done(struct uvfio_dma *op)
{
	struct nvme_dbbuf *d = op_dbbuf(op);
	struct nvme_ctrl *c = d->ctrl;

	if (c->state == NVME_RESETTING || op->status) {
		d->state = NVME_DB_IDLE;
		if (op->status == -EPERM)
			c->parked = true;
		else if (op->status)
			nvme_fatal(c, "a doorbell buffer", op->iova, op->status);
	} else if (d->state == NVME_DB_EVENT) {
		d->state = NVME_DB_READ;
		db_run(d);
	} else {
		db_take(d);
	}
	if (d->again && d->state == NVME_DB_IDLE && db_in_use(d))
		nvme_dbbuf_look(d);
	nvme_external_done(c);
	uvfio_kick(c->dev);
}

void nvme_dbbuf_look(struct nvme_dbbuf *d)
{
	if (d->state != NVME_DB_IDLE) {
		d->again = true;
		return;
	}
	d->again = false;
	d->event = db_current(d);
	d->state = NVME_DB_EVENT;
	db_run(d);
}

void nvme_dbbuf_init(struct nvme_ctrl *c, struct nvme_dbbuf *d, unsigned index)
{
	d->ctrl = c;
	d->index = index;
	d->op.done = db_done;
}

/* ---- the command ---- */

/* Tell the buffers what the queues that exist already have reached. */
static void config_step(struct nvme_req *req)
{
	struct nvme_ctrl *c = req->ctrl;

	while (!req->status && req->index < 4 * (c->nr_queues + 1)) {
		unsigned index = req->index / 2;
		uint64_t base = req->index & 1 ? req->cmd.prp2 : req->cmd.prp1;
		bool used = index & 1 ? c->cqs[index / 2].used
				      : c->sqs[index / 2].state == NVME_SQ_ACTIVE;
		uint32_t value = index & 1 ? c->cqs[index / 2].head : c->sqs[index / 2].tail;
		enum nvme_async r;

		req->index++;
		if (index < 2 || !used)
			continue;
		req->nr_segs = req->seg = 0;
		req->seg_off = 0;
		nvme_segs_add(req, base + 4ull * index, 4);
		req->mem->scratch[0] = (uint8_t)value;
		req->mem->scratch[1] = (uint8_t)(value >> 8);
		req->mem->scratch[2] = req->mem->scratch[3] = 0;
		r = nvme_copy(req, req->mem->scratch, 4, true);
		if (r == NVME_PENDING)
			return;
	}
	if (!req->status) {
		c->dbbuf_shadow = req->cmd.prp1;
		c->dbbuf_event = req->cmd.prp2;
		c->dbbuf = true;
	}
	nvme_complete(req);
}

void nvme_admin_dbbuf(struct nvme_req *req)
{
	uint64_t mask = (1ull << req->ctrl->page_bits) - 1;

	if (req->cmd.prp1 & mask || req->cmd.prp2 & mask) {
		nvme_complete_status(req, NVME_SC_PRP_OFFSET | NVME_SC_DNR);
		return;
	}
	req->index = 0;
	req->step = config_step;
	config_step(req);
}
