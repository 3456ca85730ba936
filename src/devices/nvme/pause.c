/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A pause: the controller becomes quiet because it is moved, or may be, and nothing fails of it.
 *
 * Theory of operation.  A pause begins with a drain, in which DMA still works: nothing is fetched
 * and nothing begins; what the storage and DMA work on ends, is completed, and its entries are
 * posted.  A command that would go on from there with a further part (the next chunk of a long
 * read, the next GiB of a format) does not, and one whose DMA is refused, because a client took too
 * long to answer, does not fail: both are *kept*, and executed from their beginning when the pause
 * is over, here or where the controller has gone.  So do, in place, commands that wait for a buffer
 * or for a Compare and Write, and deletions of queues.
 *
 *   running ──quiesce──▶ draining ──nothing in flight──▶ paused ──resume──▶ running
 *            paused = 1            stopped = 1, quiesced          kept commands first, then the
 *                                                                 doorbells and the queues
 *
 * Why a command may be executed again: see docs/devices/nvme.md.  In short, it has not completed,
 * so its host cannot know how far it has come, and whatever it has changed it changes to the same
 * again.  A Compare and Write is kept only before it has looked at the storage.
 *
 * Registers work as ever during a pause: a controller reset, for instance, is complete at once,
 * because nothing is in flight.
 */
#include "devices/nvme/nvme.h"

static void quiet(struct nvme_ctrl *c)
{
	c->stopped = true;
	c->quiescing = false;
	uvfio_quiesced(c->dev);
}

void nvme_pause(struct nvme_ctrl *c)
{
	c->paused = true;
	c->quiescing = true;
	if (!c->external && TAILQ_EMPTY(&c->dirty_cqs))
		quiet(c);
	else
		uvfio_kick(c->dev);
}

void nvme_pause_run(struct nvme_ctrl *c)
{
	if (c->quiescing && !c->external)
		quiet(c);
}

void nvme_keep(struct nvme_req *req)
{
	nvme_ns_leave(req);
	if (req->bounce)
		nvme_bounce_put(req);
	req->state = NVME_REQ_KEPT;
	req->status = 0;
	req->refused = false;
	req->ctrl->nr_kept++;
	if (req->ends_fence) {
		req->ends_fence = false;
		nvme_fused_end(req);
	}
}

/* As it was fetched, and begun. */
static void begin(struct nvme_req *req)
{
	req->ctrl->nr_kept--;
	req->state = NVME_REQ_ACTIVE;
	req->err_location = 0xffff;
	req->dw0 = 0;
	req->bytes = 0;
	req->fused_write = NULL;
	req->phase = req->index = 0;
	req->flush_after = req->flushing = false;
	nvme_begin(req);
}

static void begin_those_of(struct nvme_sq *sq, unsigned *budget)
{
	struct nvme_req *req;

	/* None of them leaves the list before its entry is posted. */
	TAILQ_FOREACH(req, &sq->reqs, sq_link)
	{
		if (!*budget || !sq->ctrl->nr_kept)
			return;
		if (req->state != NVME_REQ_KEPT)
			continue;
		(*budget)--;
		begin(req);
	}
	if (sq->fused && sq->head == sq->tail)
		nvme_fused_missing(sq, NVME_SC_MISSING_FUSED);
}

bool nvme_kept_run(struct nvme_ctrl *c)
{
	unsigned budget = NVME_WORK_BUDGET;

	if (!nvme_running(c) || c->paused)
		return false;
	/* Admin commands last: one that waits for others finds that they have begun. */
	for (unsigned i = 1; i < c->top_queue; i++) {
		if (c->sqs[i].state != NVME_SQ_UNUSED)
			begin_those_of(&c->sqs[i], &budget);
	}
	if (c->sqs[0].state != NVME_SQ_UNUSED)
		begin_those_of(&c->sqs[0], &budget);
	if (!c->nr_kept)
		uvfio_kick(c->dev); /* the queues' turn */
	return c->nr_kept;
}
