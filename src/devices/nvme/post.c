/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Completion queues: their doorbells, and posting entries.
 *
 * Theory of operation.  Completions wait in cq->pending, are written in batches by one DMA each,
 * and one interrupt follows.  A batch is no longer than what the core copies in ascending pieces of
 * 16 bytes, so that no client sees a phase tag before the rest of its entry.  A batch that could
 * not be written because bus mastering is off stays in cq->buf.
 */
#include <errno.h>

#include "devices/nvme/nvme.h"

static struct nvme_cq *op_cq(struct uvfio_dma *op)
{
	return (struct nvme_cq *)((char *)op - offsetof(struct nvme_cq, op));
}

static void mark_dirty(struct nvme_cq *cq)
{
	if (!cq->dirty) {
		cq->dirty = true;
		TAILQ_INSERT_TAIL(&cq->ctrl->dirty_cqs, cq, dirty_link);
	}
}

void nvme_cq_head(struct nvme_cq *cq, uint32_t head)
{
	if (head == cq->head)
		return;
	/* The host may consume what was posted, no more. */
	if (head >= cq->size || nvme_ring_used(cq->head, head, cq->size) >
					nvme_ring_used(cq->head, cq->tail, cq->size)) {
		nvme_bad_doorbell(cq->ctrl, cq->id);
		return;
	}
	cq->head = head;
	cq->asked = false;
	nvme_irq_consumed(cq);
	if (!STAILQ_EMPTY(&cq->pending))
		mark_dirty(cq);
}

static uint32_t cq_free(const struct nvme_cq *cq)
{
	return cq->size - 1 - nvme_ring_used(cq->head, cq->tail, cq->size);
}

uint32_t nvme_cq_room(const struct nvme_cq *cq)
{
	uint32_t room = cq_free(cq);

	return room > cq->reserved ? room - cq->reserved : 0;
}

bool nvme_cq_ask(struct nvme_cq *cq)
{
	if (!cq->ctrl->dbbuf || !cq->id || cq->asked)
		return false;
	cq->asked = true;
	nvme_dbbuf_look(&cq->db);
	return true;
}

/* ---- posting ---- */

void nvme_complete(struct nvme_req *req)
{
	struct nvme_ctrl *c = req->ctrl;
	struct nvme_cq *cq = req->sq->cq;

	if (req->refused) {
		nvme_keep(req);
		return;
	}
	nvme_ns_leave(req);
	if (req->bounce)
		nvme_bounce_put(req);
	nvme_req_mem_put(req);
	if (req->status)
		req->status = (uint16_t)nvme_log_error(req, req->status);
	req->state = NVME_REQ_COMPLETE;
	STAILQ_INSERT_TAIL(&cq->pending, req, link);
	mark_dirty(cq);
	if (!c->in_work)
		uvfio_kick(c->dev);
	if (req->ends_fence)
		nvme_fused_end(req);
}

/* Turn a completion into an entry; the request is free afterwards. */
static void build(struct nvme_cq *cq, struct nvme_cqe *cqe, struct nvme_req *req, uint64_t now)
{
	struct nvme_sq *sq = req->sq;

	nvme_stats_completed(req, now);

	cqe->dw0 = req->dw0;
	cqe->dw1 = 0;
	cqe->sqhd = (uint16_t)sq->head;
	cqe->sqid = sq->id;
	cqe->cid = req->cmd.cid;
	cqe->status = (uint16_t)(req->status << 1 | cq->phase);
	/* From here on the host may use the identifier again. */
	if (req->owns_cid)
		sq->cids[req->cmd.cid / 64] &= ~(1ull << (req->cmd.cid % 64));
	cq->reserved--;
	sq->inflight--;
	TAILQ_REMOVE(&sq->reqs, req, sq_link);
	nvme_req_free(req);
	nvme_sq_delete_check(sq);
}

static void posted(struct nvme_cq *cq)
{
	cq->unsignalled += cq->posting_nr;
	cq->posting_nr = 0;
}

static void cq_signal(struct nvme_cq *cq)
{
	uint32_t n = cq->unsignalled;

	cq->unsignalled = 0;
	if (n)
		nvme_irq_completions(cq, n);
}

/* Write the batch in cq->buf.  Returns true when it is done. */
static bool post_batch(struct nvme_cq *cq)
{
	int r = nvme_dma_raw(cq->ctrl, &cq->op);

	if (r == 0) {
		posted(cq);
		return true;
	}
	if (r == 1)
		cq->posting = true;
	else if (r != -EPERM)
		nvme_fatal(cq->ctrl, "a completion queue entry", cq->op.iova, r);
	return false;
}

static void cq_write(struct nvme_cq *cq)
{
	struct nvme_req *req;
	uint64_t now = 0;

	if (cq->posting || !nvme_running(cq->ctrl))
		return;
	if (cq->posting_nr && !post_batch(cq))
		return;
	while (!STAILQ_EMPTY(&cq->pending)) {
		uint32_t room = cq_free(cq), n = 0;

		if (!room && nvme_cq_ask(cq))
			room = cq_free(cq);
		if (!room)
			return; /* the head doorbell continues */
		if (room > NVME_POST_MAX)
			room = NVME_POST_MAX;
		if (room > cq->size - cq->tail)
			room = cq->size - cq->tail;
		if (!now)
			now = nvme_now_ns();
		while (n < room && (req = STAILQ_FIRST(&cq->pending)) != NULL) {
			STAILQ_REMOVE_HEAD(&cq->pending, link);
			build(cq, &cq->buf[n++], req, now);
		}
		cq->op.iova = cq->base + (uint64_t)cq->tail * sizeof(struct nvme_cqe);
		cq->op.buf = cq->buf;
		cq->op.len = n * sizeof(struct nvme_cqe);
		cq->op.to_client = true;
		cq->posting_nr = n;
		cq->tail += n;
		if (cq->tail == cq->size) {
			cq->tail = 0;
			cq->phase = !cq->phase;
		}
		if (!post_batch(cq))
			return;
	}
}

static void cq_post(struct nvme_cq *cq)
{
	cq_write(cq);
	cq_signal(cq);
	/* A batch that was refused when the queue was to be deleted is out now. */
	if (cq->delete_req && !cq->posting && !cq->posting_nr)
		nvme_cq_delete(cq, cq->delete_req);
}

void nvme_cq_posted(struct uvfio_dma *op)
{
	struct nvme_cq *cq = op_cq(op);
	struct nvme_ctrl *c = cq->ctrl;

	cq->posting = false;
	nvme_external_done(c);
	if (!cq->used || c->state == NVME_RESETTING)
		return;
	if (op->status == -EPERM) {
		c->parked = true;
		return;
	}
	if (op->status) {
		nvme_fatal(c, "a completion queue entry", op->iova, op->status);
		return;
	}
	posted(cq);
	cq_signal(cq);
	if (cq->delete_req)
		nvme_cq_delete(cq, cq->delete_req);
	else if (!STAILQ_EMPTY(&cq->pending))
		mark_dirty(cq);
	uvfio_kick(c->dev);
}

void nvme_cqs_post(struct nvme_ctrl *c)
{
	struct nvme_cq *cq;

	if (!nvme_running(c))
		return;
	while ((cq = TAILQ_FIRST(&c->dirty_cqs)) != NULL) {
		TAILQ_REMOVE(&c->dirty_cqs, cq, dirty_link);
		cq->dirty = false;
		cq_post(cq);
	}
}
