/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Requests, their DMA, and bounce buffers.
 *
 * A bounce buffer is used where the backend cannot reach client memory itself.  There are at most
 * NVME_NR_BOUNCE of them, allocated when first needed and kept; commands wait in order for one, and
 * hold no more than one, so that nobody waits for ever.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "devices/nvme/nvme.h"

static void dma_done(struct uvfio_dma *op);
static void copy_next(struct nvme_req *req, int status);

/* ---- the pool ---- */

void nvme_req_init(struct nvme_ctrl *c, struct nvme_req *req)
{
	req->ctrl = c;
	req->dma.done = dma_done;
}

/* The one that was given back last.  There is one for each request. */
static struct nvme_req_mem *mem_take(struct nvme_ctrl *c)
{
	if (c->nr_mem_free)
		return &c->req_mem[c->mem_free[--c->nr_mem_free]];
	return &c->req_mem[c->nr_mem_made++];
}

void nvme_req_mem_put(struct nvme_req *req)
{
	struct nvme_ctrl *c = req->ctrl;

	if (req->mem)
		c->mem_free[c->nr_mem_free++] = (uint16_t)(req->mem - c->req_mem);
	req->mem = NULL;
}

void nvme_req_reset_all(struct nvme_ctrl *c)
{
	STAILQ_INIT(&c->free_reqs);
	STAILQ_INIT(&c->bounce_waiters);
	nvme_fused_reset(c);
	c->nr_aers = 0;
	/* The first are used first: insert in order. */
	for (unsigned i = 0; i < c->nr_made; i++) {
		struct nvme_req *req = &c->reqs[i];

		if (req->bounce)
			c->bounce_free[c->nr_bounce_free++] = req->bounce;
		req->bounce = NULL;
		nvme_claim_put(&req->claim);
		nvme_ns_leave(req);
		nvme_req_mem_put(req);
		req->state = NVME_REQ_FREE;
		req->sq = NULL;
		STAILQ_INSERT_TAIL(&c->free_reqs, req, link);
	}
	c->nr_free = NVME_NR_REQS;
	c->nr_kept = 0;
}

/* The next one is used soon, and with many controllers in use it is in no near cache. */
static void expect_next(const struct nvme_ctrl *c)
{
	const char *at = (const char *)STAILQ_FIRST(&c->free_reqs);

	for (size_t i = 0; at && i < sizeof(struct nvme_req); i += 64)
		__builtin_prefetch(at + i, 1);
}

struct nvme_req *nvme_req_take(struct nvme_ctrl *c)
{
	struct nvme_req *req = STAILQ_FIRST(&c->free_reqs);

	if (req) {
		STAILQ_REMOVE_HEAD(&c->free_reqs, link);
		expect_next(c);
	} else {
		/* Memory is touched when it is first needed: an idle controller costs little. */
		req = &c->reqs[c->nr_made];
		nvme_req_init(c, req);
		c->nr_made++;
	}
	req->mem = mem_take(c);
	req->state = NVME_REQ_ACTIVE;
	req->status = 0;
	req->err_location = 0xffff;
	req->dw0 = 0;
	req->bytes = 0;
	req->owns_cid = false;
	req->fused_write = NULL;
	req->ends_fence = req->refused = false;
	req->nr_segs = req->seg = 0;
	req->seg_off = 0;
	req->not_pinnable = false;
	req->phase = 0;
	req->index = 0;
	req->flush_after = req->flushing = false;
	return req;
}

void nvme_req_free(struct nvme_req *req)
{
	req->state = NVME_REQ_FREE;
	req->sq = NULL;
	STAILQ_INSERT_HEAD(&req->ctrl->free_reqs, req, link);
	req->ctrl->nr_free++;
}

/* ---- DMA ---- */

static bool may_transfer(const struct nvme_ctrl *c)
{
	return !c->stopped && !c->parked && c->state != NVME_RESETTING;
}

/* To or from the host. */
static int submit(struct nvme_ctrl *c, struct uvfio_dma *op)
{
	int r;

	if (!may_transfer(c))
		return -EPERM;
	r = uvfio_dma_submit(c->dev, op);
	if (r == 1)
		c->external++;
	else if (r == -EPERM)
		c->parked = true;
	return r;
}

int nvme_dma_raw(struct nvme_ctrl *c, struct uvfio_dma *op)
{
	uint64_t n = op->len, at;

	if (c->windows_on && (nvme_place(c, op->iova, &n, &at) != NVME_AT_HOST || n != op->len))
		return may_transfer(c) ? nvme_place_dma(c, op) : -EPERM;
	return submit(c, op);
}

static void dma_done(struct uvfio_dma *op)
{
	struct nvme_req *req = (struct nvme_req *)((char *)op - offsetof(struct nvme_req, dma));
	struct nvme_ctrl *c = req->ctrl;
	void (*next)(struct nvme_req * req, int status) = req->dma_next;

	/* Counted as in flight until the next step has been taken, so that no reset comes between
	 * them.  A reset that waits takes the request back itself. */
	if (c->state != NVME_RESETTING)
		next(req, nvme_may_be_refused(req, op->status));
	nvme_external_done(c);
	uvfio_kick(c->dev);
}

static struct uvfio_dma *set_dma(struct nvme_req *req, uint64_t iova, void *buf, size_t len,
				 bool to_client, void (*next)(struct nvme_req *req, int status))
{
	req->dma.iova = iova;
	req->dma.buf = buf;
	req->dma.len = len;
	req->dma.to_client = to_client;
	req->dma_next = next;
	return &req->dma;
}

int nvme_dma(struct nvme_req *req, uint64_t iova, void *buf, size_t len, bool to_client,
	     void (*next)(struct nvme_req *req, int status))
{
	int r = nvme_dma_raw(req->ctrl, set_dma(req, iova, buf, len, to_client, next));

	return nvme_may_be_refused(req, r);
}

/* ---- the data pointer as segments ---- */

static bool add_piece(struct nvme_req *req, enum nvme_place place, uint64_t iova, uint32_t len)
{
	struct nvme_seg *segs = req->mem->segs;

	if (req->nr_segs) {
		struct nvme_seg *last = &segs[req->nr_segs - 1];

		if (place == last->place &&
		    (place == NVME_AT_NOTHING || last->iova + last->len == iova)) {
			last->len += len;
			return true;
		}
	}
	if (req->nr_segs == NVME_SEGS_MAX)
		return false;
	segs[req->nr_segs++] = (struct nvme_seg){.iova = iova, .len = len, .place = place};
	if (place != NVME_AT_HOST)
		req->not_pinnable = true;
	return true;
}

bool nvme_segs_add(struct nvme_req *req, uint64_t iova, uint32_t len)
{
	if (!req->ctrl->windows_on)
		return add_piece(req, NVME_AT_HOST, iova, len);
	while (len) {
		uint64_t n = len, at;
		enum nvme_place place = nvme_place(req->ctrl, iova, &n, &at);

		if (!add_piece(req, place, at, (uint32_t)n))
			return false;
		iova += n;
		len -= (uint32_t)n;
	}
	return true;
}

bool nvme_segs_add_bucket(struct nvme_req *req, uint32_t len)
{
	return add_piece(req, NVME_AT_NOTHING, 0, len);
}

void nvme_segs_skip(struct nvme_req *req, uint32_t len)
{
	while (len) {
		uint32_t left = req->mem->segs[req->seg].len - req->seg_off;

		if (len < left) {
			req->seg_off += len;
			return;
		}
		len -= left;
		req->seg++;
		req->seg_off = 0;
	}
}

static int copy_piece(struct nvme_req *req, const struct nvme_seg *seg, uint32_t len)
{
	struct nvme_ctrl *c = req->ctrl;

	switch (seg->place) {
	case NVME_AT_NOTHING:
		return 0;
	case NVME_AT_HOST:
		return submit(c, set_dma(req, seg->iova + req->seg_off, req->xfer_buf, len,
					 req->xfer_to_client, copy_next));
	default:
		return may_transfer(c) ? nvme_place_copy(c, seg->place, seg->iova + req->seg_off,
							 req->xfer_buf, len, req->xfer_to_client)
				       : -EPERM;
	}
}

/* 0: all is copied; 1: @req->dma is in flight; -errno. */
static int copy_run(struct nvme_req *req)
{
	while (req->xfer_left) {
		struct nvme_seg *seg = &req->mem->segs[req->seg];
		uint32_t n = seg->len - req->seg_off;
		int r;

		if (n > req->xfer_left)
			n = req->xfer_left;
		r = nvme_may_be_refused(req, copy_piece(req, seg, n));
		if (r < 0)
			return r;
		nvme_segs_skip(req, n);
		req->xfer_buf += n;
		req->xfer_left -= n;
		if (r)
			return r;
	}
	return 0;
}

static void copy_next(struct nvme_req *req, int status)
{
	if (!status)
		status = copy_run(req);
	if (status > 0)
		return;
	if (status)
		req->status = NVME_SC_DATA_TRANSFER | NVME_SC_DNR;
	req->step(req);
}

enum nvme_async nvme_copy(struct nvme_req *req, void *buf, uint32_t len, bool to_client)
{
	int r;

	req->xfer_buf = buf;
	req->xfer_left = len;
	req->xfer_to_client = to_client;
	r = copy_run(req);
	if (r < 0) {
		req->status = NVME_SC_DATA_TRANSFER | NVME_SC_DNR;
		return NVME_FAILED;
	}
	return r ? NVME_PENDING : NVME_DONE;
}

/* ---- bounce buffers ---- */

enum nvme_async nvme_bounce_get(struct nvme_req *req)
{
	struct nvme_ctrl *c = req->ctrl;

	if (!c->nr_bounce_free && c->nr_bounce < NVME_NR_BOUNCE) {
		void *buf = aligned_alloc(4096, NVME_BOUNCE_SIZE);

		if (buf) {
			c->bounce[c->nr_bounce++] = buf;
			c->bounce_free[c->nr_bounce_free++] = buf;
		} else if (!c->nr_bounce) {
			req->status = NVME_SC_INTERNAL;
			return NVME_FAILED;
		}
	}
	if (c->nr_bounce_free) {
		req->bounce = c->bounce_free[--c->nr_bounce_free];
		return NVME_DONE;
	}
	req->state = NVME_REQ_WAITING;
	STAILQ_INSERT_TAIL(&c->bounce_waiters, req, link);
	return NVME_PENDING;
}

void nvme_bounce_put(struct nvme_req *req)
{
	struct nvme_ctrl *c = req->ctrl;

	c->bounce_free[c->nr_bounce_free++] = req->bounce;
	req->bounce = NULL;
	if (!STAILQ_EMPTY(&c->bounce_waiters))
		uvfio_kick(c->dev);
}

void nvme_bounce_free(struct nvme_ctrl *c)
{
	for (unsigned i = 0; i < c->nr_bounce; i++)
		free(c->bounce[i]);
	c->nr_bounce = c->nr_bounce_free = 0;
}

void nvme_bounce_run(struct nvme_ctrl *c)
{
	struct nvme_req *req;

	while (c->nr_bounce_free && (req = STAILQ_FIRST(&c->bounce_waiters)) != NULL) {
		STAILQ_REMOVE_HEAD(&c->bounce_waiters, link);
		req->bounce = c->bounce_free[--c->nr_bounce_free];
		req->state = NVME_REQ_ACTIVE;
		req->step(req);
	}
}

bool nvme_bounce_cancel(struct nvme_req *req)
{
	if (req->state != NVME_REQ_WAITING)
		return false;
	STAILQ_REMOVE(&req->ctrl->bounce_waiters, req, nvme_req, link);
	req->state = NVME_REQ_ACTIVE;
	return true;
}
