/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Queues: their life, submission, fetching commands.  Completion is in post.c.
 *
 * Theory of operation.  A submission queue that has entries is on the list of ready queues, which
 * is served in turn.  Entries are fetched up to NVME_FETCH_MAX at a time by one DMA and each is
 * copied once, so that a client that changes it later changes nothing.  A command is fetched only
 * when there is a request for it and when its completion queue will have room: room is promised
 * (cq->reserved) at the fetch, so that a client that does not consume completions stops its own
 * queue and loses nothing.  An Asynchronous Event Request gives its promise back while it is held,
 * because it may be held for ever.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "devices/nvme/nvme.h"

#define NVME_ADMIN_REQS 16 /* requests that I/O queues leave for the admin queue */

static const char *const req_state_names[] = {
	[NVME_REQ_FREE] = "free", [NVME_REQ_ACTIVE] = "active", [NVME_REQ_WAITING] = "waiting",
	[NVME_REQ_HELD] = "held", [NVME_REQ_FENCED] = "fenced", [NVME_REQ_COMPLETE] = "complete",
	[NVME_REQ_KEPT] = "kept",
};
static_assert(sizeof(req_state_names) / sizeof(req_state_names[0]) == NVME_NR_REQ_STATES,
	      "a name each");

const char *nvme_req_state_name(enum nvme_req_state state)
{
	return state < NVME_NR_REQ_STATES ? req_state_names[state] : "?";
}

static void fetch_done(struct uvfio_dma *op);

static struct nvme_sq *op_sq(struct uvfio_dma *op)
{
	return (struct nvme_sq *)((char *)op - offsetof(struct nvme_sq, op));
}

/* ---- life ---- */

void nvme_queues_init(struct nvme_ctrl *c)
{
	TAILQ_INIT(&c->ready_sqs);
	TAILQ_INIT(&c->dirty_cqs);
	STAILQ_INIT(&c->free_reqs);
	STAILQ_INIT(&c->bounce_waiters);
}

/* A queue is all zero until it is created for the first time: then its ->ctrl is set, and remains.
 */
static void sq_first(struct nvme_ctrl *c, struct nvme_sq *sq, unsigned id)
{
	if (id >= c->top_queue)
		c->top_queue = id + 1;
	sq->id = (uint16_t)id;
	sq->ctrl = c;
	sq->cids = c->cids + id * (NVME_CID_BYTES / sizeof(*c->cids));
	sq->op.done = fetch_done;
	TAILQ_INIT(&sq->reqs);
	nvme_dbbuf_init(c, &sq->db, 2 * id);
}

static void cq_first(struct nvme_ctrl *c, struct nvme_cq *cq, unsigned id)
{
	if (id >= c->top_queue)
		c->top_queue = id + 1;
	cq->id = (uint16_t)id;
	cq->ctrl = c;
	cq->op.done = nvme_cq_posted;
	STAILQ_INIT(&cq->pending);
	nvme_dbbuf_init(c, &cq->db, 2 * id + 1);
}

static void sq_reset(struct nvme_ctrl *c, struct nvme_sq *sq)
{
	if (sq->state != NVME_SQ_UNUSED) {
		memset(sq->cids, 0, NVME_CID_BYTES);
		nvme_doorbell_clear(c, 2u * sq->id);
	}
	sq->state = NVME_SQ_UNUSED;
	sq->cq = NULL;
	sq->ready = false;
	sq->fetching = false;
	sq->inflight = 0;
	uvfio_count_local(&sq->completed, sq->submitted - sq->completed);
	sq->delete_req = NULL;
	sq->fused = NULL;
	TAILQ_INIT(&sq->reqs);
}

static void cq_reset(struct nvme_ctrl *c, struct nvme_cq *cq)
{
	if (cq->used)
		nvme_doorbell_clear(c, 2u * cq->id + 1);
	cq->used = false;
	cq->dirty = false;
	cq->posting = false;
	cq->posting_nr = cq->unsignalled = 0;
	cq->reserved = 0;
	cq->nr_sqs = 0;
	cq->delete_req = NULL;
	STAILQ_INIT(&cq->pending);
}

void nvme_queues_reset(struct nvme_ctrl *c)
{
	nvme_req_reset_all(c);
	TAILQ_INIT(&c->ready_sqs);
	TAILQ_INIT(&c->dirty_cqs);
	for (unsigned i = 0; i < c->top_queue; i++) {
		if (c->sqs[i].ctrl)
			sq_reset(c, &c->sqs[i]);
		if (c->cqs[i].ctrl)
			cq_reset(c, &c->cqs[i]);
	}
}

void nvme_cq_open(struct nvme_ctrl *c, unsigned id, uint64_t base, uint32_t size, bool ien,
		  unsigned vector)
{
	struct nvme_cq *cq = &c->cqs[id];

	if (!cq->ctrl)
		cq_first(c, cq, id);
	nvme_doorbell_clear(c, 2 * id + 1);
	cq->base = base;
	cq->size = size;
	cq->ien = ien;
	cq->vector = (uint16_t)vector;
	cq->head = cq->tail = 0;
	cq->phase = true;
	cq->posting_nr = cq->unsignalled = 0;
	cq->reserved = 0;
	cq->nr_sqs = 0;
	cq->delete_req = NULL;
	cq->asked = false;
	cq->db.again = false;
	cq->db.stale = cq->db.state != NVME_DB_IDLE;
	cq->used = true;
}

void nvme_sq_open(struct nvme_ctrl *c, unsigned id, uint64_t base, uint32_t size, unsigned cqid)
{
	struct nvme_sq *sq = &c->sqs[id];

	if (!sq->ctrl)
		sq_first(c, sq, id);
	nvme_doorbell_clear(c, 2 * id);
	sq->base = base;
	sq->size = size;
	sq->head = sq->tail = 0;
	sq->cq = &c->cqs[cqid];
	sq->cq->nr_sqs++;
	sq->inflight = 0;
	sq->delete_req = NULL;
	sq->fused = NULL;
	sq->db.again = false;
	sq->db.stale = sq->db.state != NVME_DB_IDLE;
	sq->state = NVME_SQ_ACTIVE;
}

static void cq_close(struct nvme_cq *cq)
{
	struct nvme_ctrl *c = cq->ctrl;

	assert(!cq->nr_sqs && STAILQ_EMPTY(&cq->pending));
	if (cq->dirty) {
		TAILQ_REMOVE(&c->dirty_cqs, cq, dirty_link);
		cq->dirty = false;
	}
	cq->head = cq->tail = 0;
	cq->posting_nr = 0;
	cq->used = false;
	nvme_irq_consumed(cq);
	nvme_doorbell_clear(c, 2u * cq->id + 1);
}

void nvme_cq_delete(struct nvme_cq *cq, struct nvme_req *req)
{
	/* A batch may be about to be written, or have been refused. */
	if (cq->posting || cq->posting_nr) {
		cq->delete_req = req;
		return;
	}
	cq_close(cq);
	nvme_complete(req);
}

static void sq_close(struct nvme_sq *sq)
{
	assert(!sq->inflight && !sq->fetching);
	if (sq->ready) {
		TAILQ_REMOVE(&sq->ctrl->ready_sqs, sq, ready_link);
		sq->ready = false;
	}
	sq->cq->nr_sqs--;
	sq->cq = NULL;
	sq->state = NVME_SQ_UNUSED;
	nvme_doorbell_clear(sq->ctrl, 2u * sq->id);
}

/* ---- doorbells ---- */

void nvme_sq_set_ready(struct nvme_sq *sq)
{
	if (!sq->ready) {
		sq->ready = true;
		TAILQ_INSERT_TAIL(&sq->ctrl->ready_sqs, sq, ready_link);
	}
}

void nvme_bad_doorbell(struct nvme_ctrl *c, unsigned qid)
{
	nvme_log_doorbell_error(c, qid);
	nvme_event(c, NVME_EVENT_ERROR, NVME_EVENT_ERROR_DB_VALUE);
}

void nvme_sq_tail(struct nvme_sq *sq, uint32_t tail)
{
	if (tail == sq->tail)
		return;
	/* New entries may fill the queue but not pass its head. */
	if (tail >= sq->size ||
	    nvme_ring_used(sq->tail, tail, sq->size) >
		    sq->size - 1 - nvme_ring_used(sq->head, sq->tail, sq->size)) {
		nvme_bad_doorbell(sq->ctrl, sq->id);
		return;
	}
	sq->tail = tail;
	nvme_sq_set_ready(sq);
}

/* ---- fetching ---- */

void nvme_begin(struct nvme_req *req)
{
	struct nvme_sq *sq = req->sq;

	if (sq->id && (sq->fused || NVME_FLAGS_FUSE(req->cmd.flags)))
		nvme_fused(req);
	else if (req->status)
		nvme_complete(req);
	else if (sq->id)
		nvme_io(req);
	else
		nvme_admin(req);
}

static void start(struct nvme_sq *sq, const struct nvme_sqe *cmd, uint64_t now)
{
	struct nvme_req *req = nvme_req_take(sq->ctrl);
	uint64_t *word = &sq->cids[cmd->cid / 64], bit = 1ull << (cmd->cid % 64);

	req->cmd = *cmd;
	req->sq = sq;
	req->start_ns = now;
	sq->inflight++;
	TAILQ_INSERT_TAIL(&sq->reqs, req, sq_link);
	if (*word & bit) {
		req->status = NVME_SC_CID_CONFLICT | NVME_SC_DNR;
	} else {
		*word |= bit;
		req->owns_cid = true;
	}
	nvme_begin(req);
}

/*
 * Reading ahead: so many commands before a read its first line is asked for, because the CPU takes
 * longest to find out where its page is, and so many before it some more lines.
 */
#define FAR   6
#define NEAR  1
#define LINES 16

/* The storage looks for what a command will read while those before it are carried out. */
static void expect(struct nvme_sq *sq, const struct nvme_sqe *cmd, unsigned lines)
{
	struct nvme_ns *ns;

	if (!sq->id || cmd->opcode != NVME_IO_READ)
		return;
	ns = nvme_ns_get(sq->ctrl, cmd->nsid);
	if (ns)
		block_prefetch(ns->blk, nvme_slba(cmd) << ns->shift, lines);
}

static void fetched(struct nvme_sq *sq)
{
	uint32_t nr = sq->fetch_nr;
	uint64_t now = nvme_now_ns();

	nvme_subsys_sync(sq->ctrl);
	uvfio_count_local(&sq->submitted, nr);
	sq->head += nr;
	if (sq->head == sq->size)
		sq->head = 0;
	for (uint32_t i = 1; i < nr && i < FAR; i++)
		expect(sq, &sq->buf[i], 1);
	for (uint32_t i = 0; i < nr; i++) {
		if (i + FAR < nr)
			expect(sq, &sq->buf[i + FAR], 1);
		if (i + NEAR < nr)
			expect(sq, &sq->buf[i + NEAR], LINES);
		start(sq, &sq->buf[i], now);
	}
	/* One update of the tail covers both of two fused commands. */
	if (sq->fused && sq->head == sq->tail)
		nvme_fused_missing(sq, NVME_SC_MISSING_FUSED);
}

static void unfetch(struct nvme_sq *sq)
{
	sq->ctrl->nr_free += sq->fetch_nr;
	sq->cq->reserved -= sq->fetch_nr;
}

void nvme_sq_delete_check(struct nvme_sq *sq)
{
	struct nvme_req *req = sq->delete_req;

	if (sq->state != NVME_SQ_DELETING || sq->inflight || sq->fetching)
		return;
	sq_close(sq);
	sq->delete_req = NULL;
	nvme_complete(req);
}

void nvme_sq_delete(struct nvme_sq *sq, struct nvme_req *req)
{
	sq->state = NVME_SQ_DELETING;
	sq->delete_req = req;
	if (sq->fused)
		nvme_fused_missing(sq, NVME_SC_ABORT_SQ_DELETED);
	nvme_sq_delete_check(sq);
}

static void fetch_done(struct uvfio_dma *op)
{
	struct nvme_sq *sq = op_sq(op);
	struct nvme_ctrl *c = sq->ctrl;

	sq->fetching = false;
	nvme_external_done(c);
	if (!sq->cq) /* a reset forgot it */
		return;
	if (sq->state == NVME_SQ_DELETING || c->state == NVME_RESETTING || op->status ||
	    c->paused) {
		unfetch(sq);
		if (op->status && op->status != -EPERM)
			nvme_fatal(c, "a submission queue entry", op->iova, op->status);
		nvme_sq_delete_check(sq);
	} else {
		fetched(sq);
	}
	uvfio_kick(c->dev);
}

/* Fetch and start what can be.  Returns the number of entries. */
static uint32_t sq_run(struct nvme_sq *sq)
{
	struct nvme_ctrl *c = sq->ctrl;
	uint32_t n, limit;
	int r;

	if (sq->fetching || sq->state != NVME_SQ_ACTIVE || sq->head == sq->tail)
		return 0;
	n = sq->tail > sq->head ? sq->tail - sq->head : sq->size - sq->head;
	if (n > NVME_FETCH_MAX)
		n = NVME_FETCH_MAX;
	limit = c->nr_free;
	if (sq->id)
		limit = limit > NVME_ADMIN_REQS ? limit - NVME_ADMIN_REQS : 0;
	if (n > limit)
		n = limit;
	limit = nvme_cq_room(sq->cq);
	if (!limit && nvme_cq_ask(sq->cq))
		limit = nvme_cq_room(sq->cq);
	/* Of two fused commands the first waits for the second, however small the completion queue
	 * is; the second's completion may have to wait for the host to take the first's. */
	if (!limit && sq->fused)
		limit = 1;
	if (n > limit)
		n = limit;
	if (!n)
		return 0;

	sq->fetch_nr = n;
	c->nr_free -= n;
	sq->cq->reserved += n;
	sq->op.iova = sq->base + (uint64_t)sq->head * sizeof(struct nvme_sqe);
	sq->op.buf = sq->buf;
	sq->op.len = n * sizeof(struct nvme_sqe);
	sq->op.to_client = false;
	r = nvme_dma_raw(c, &sq->op);
	if (r == 0) {
		fetched(sq);
		return n;
	}
	if (r == 1) {
		sq->fetching = true;
		return 0;
	}
	unfetch(sq);
	if (r != -EPERM)
		nvme_fatal(c, "a submission queue entry", sq->op.iova, r);
	return 0;
}

bool nvme_queues_run(struct nvme_ctrl *c)
{
	struct nvme_sq *sq, *first_idle = NULL;
	uint32_t done = 0;

	while ((sq = TAILQ_FIRST(&c->ready_sqs)) != NULL) {
		uint32_t n;

		if (c->state != NVME_READY || !nvme_running(c) || c->paused || sq == first_idle)
			return false;
		if (done >= NVME_WORK_BUDGET)
			return true;
		TAILQ_REMOVE(&c->ready_sqs, sq, ready_link);
		sq->ready = false;
		n = sq_run(sq);
		done += n;
		if (sq->state == NVME_SQ_ACTIVE && sq->head == sq->tail && !sq->fetching &&
		    c->dbbuf && sq->id)
			nvme_dbbuf_look(&sq->db);
		if (sq->state == NVME_SQ_ACTIVE && sq->head != sq->tail)
			nvme_sq_set_ready(sq);
		if (n) {
			first_idle = NULL;
			nvme_cqs_post(c);
		} else if (!first_idle && sq->ready) {
			first_idle = sq; /* once around without progress: stop */
		}
	}
	return false;
}
