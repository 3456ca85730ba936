/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Fused commands: Compare and Write.
 *
 * Theory of operation.  The first of two fused commands waits in sq->fused for the entry after it,
 * which the same update of the tail must have brought: where the tail stops behind the first, it
 * has no second.  Whatever is wrong with one of the two is its status, and the other is aborted.
 *
 * The two run as one: no other command to the namespace is in progress from before the Compare
 * until after the Write.  So a pair waits until the namespace has come to rest, and what arrives
 * meanwhile waits behind it, in order, pairs and others alike:
 *
 *   ns->fenced  ns->fused  ns->fused_running
 *      0          -          0                as without any of this
 *      1          pair       0                waits for ns->inflight to become 0
 *      1          pair       1                runs
 *      1          -          0                nvme_fused_run() takes the next waiter
 *
 * That is more than the standard asks for, which is the same range of blocks; it costs commands
 * that are not fused one test, and needs no list of the ranges in progress.
 */
#include "devices/nvme/nvme.h"

static unsigned fuse(const struct nvme_req *req)
{
	return NVME_FLAGS_FUSE(req->cmd.flags);
}

static bool same_range(const struct nvme_sqe *a, const struct nvme_sqe *b)
{
	return a->nsid == b->nsid && nvme_slba(a) == nvme_slba(b) &&
	       NVME_RW_NLB(a->cdw12) == NVME_RW_NLB(b->cdw12);
}

/* What is wrong with one half by itself. */
static unsigned check_half(struct nvme_req *req, uint8_t opcode, struct nvme_ns **ns)
{
	if (req->status)
		return req->status;
	if (req->cmd.opcode != opcode)
		return nvme_bad_field(req, 1, 0);
	return nvme_io_check(req, ns);
}

/* End both, one or both because of what is wrong with it. */
static void refuse(struct nvme_req *first, unsigned status1, struct nvme_req *second,
		   unsigned status2)
{
	nvme_complete_status(first, status1 ? status1 : NVME_SC_FAILED_FUSED | NVME_SC_DNR);
	nvme_complete_status(second, status2 ? status2 : NVME_SC_FAILED_FUSED | NVME_SC_DNR);
}

/* Their namespace, or NULL when they have been refused. */
static struct nvme_ns *check(struct nvme_req *first, struct nvme_req *second)
{
	struct nvme_ns *ns = NULL;
	unsigned a = check_half(first, NVME_IO_COMPARE, &ns);
	unsigned b = check_half(second, NVME_IO_WRITE, &ns);

	if (!a && !b && !same_range(&first->cmd, &second->cmd)) {
		a = nvme_bad_field(first, 40, 0);
		b = nvme_bad_field(second, 40, 0);
	} else if (!a && !b && NVME_RW_NLB(first->cmd.cdw12) > NVME_ACWU) {
		a = b = NVME_SC_ATOMIC_UNIT | NVME_SC_DNR;
	}
	if (!a && !b)
		return ns;
	refuse(first, a, second, b);
	return NULL;
}

void nvme_fused_wait(struct nvme_req *req, struct nvme_ns *ns)
{
	if (!ns->fenced) {
		ns->fenced = true;
		ns->ctrl->nr_fenced++;
	}
	req->state = NVME_REQ_FENCED;
	STAILQ_INSERT_TAIL(&ns->waiters, req, link);
	uvfio_kick(ns->ctrl->dev);
}

void nvme_fused_missing(struct nvme_sq *sq, unsigned status)
{
	struct nvme_req *first = sq->fused;

	sq->fused = NULL;
	first->state = NVME_REQ_ACTIVE;
	if (first->status)
		nvme_complete(first);
	else
		nvme_complete_status(first, status | NVME_SC_DNR);
}

static void pair(struct nvme_req *first, struct nvme_req *second)
{
	struct nvme_ns *ns;

	first->state = NVME_REQ_ACTIVE;
	ns = check(first, second);
	if (!ns)
		return;
	first->fused_write = second;
	second->state = NVME_REQ_FENCED;
	nvme_fused_wait(first, ns);
}

void nvme_fused(struct nvme_req *req)
{
	struct nvme_sq *sq = req->sq;
	struct nvme_req *first = sq->fused;

	if (first && fuse(req) == NVME_FUSE_SECOND) {
		sq->fused = NULL;
		pair(first, req);
		return;
	}
	if (first)
		nvme_fused_missing(sq, NVME_SC_MISSING_FUSED);
	switch (fuse(req)) {
	case NVME_FUSE_FIRST:
		req->state = NVME_REQ_FENCED;
		sq->fused = req;
		return;
	case NVME_FUSE_SECOND:
		if (!req->status)
			req->status = NVME_SC_MISSING_FUSED | NVME_SC_DNR;
		break;
	case 0:
		if (req->status)
			break;
		nvme_io(req);
		return;
	default:
		if (!req->status)
			req->status = (uint16_t)nvme_bad_field(req, 1, 0);
	}
	nvme_complete(req);
}

bool nvme_fused_cancel(struct nvme_req *req)
{
	struct nvme_ns *ns;

	/* Of two fused commands neither is aborted: they would have to be both. */
	if (req->state != NVME_REQ_FENCED || fuse(req))
		return false;
	ns = nvme_ns_at(req->ctrl, req->cmd.nsid);
	STAILQ_REMOVE(&ns->waiters, req, nvme_req, link);
	req->state = NVME_REQ_ACTIVE;
	return true;
}

/* The namespace has come to rest. */
static void begin(struct nvme_ns *ns)
{
	struct nvme_req *first = ns->fused, *second = first->fused_write;

	first->state = second->state = NVME_REQ_ACTIVE;
	second->ends_fence = true;
	ns->fused_running = true;
	/* Much may have happened since they came. */
	if (!check(first, second))
		return;
	nvme_ns_enter(first, ns);
	nvme_ns_enter(second, ns);
	nvme_cas(first, ns);
}

void nvme_fused_end(struct nvme_req *req)
{
	struct nvme_ns *ns = nvme_ns_at(req->ctrl, req->cmd.nsid);

	ns->fused = NULL;
	ns->fused_running = false;
	uvfio_kick(ns->ctrl->dev);
}

static void run_ns(struct nvme_ns *ns)
{
	struct nvme_ctrl *c = ns->ctrl;

	for (;;) {
		struct nvme_req *req;

		if (ns->fused) {
			if (ns->fused_running || ns->inflight)
				return;
			begin(ns);
			continue;
		}
		req = STAILQ_FIRST(&ns->waiters);
		if (!req)
			break;
		STAILQ_REMOVE_HEAD(&ns->waiters, link);
		if (req->fused_write) {
			ns->fused = req;
			continue;
		}
		req->state = NVME_REQ_ACTIVE;
		ns->fenced = false; /* not for this one */
		nvme_io(req);
		ns->fenced = true;
	}
	ns->fenced = false;
	c->nr_fenced--;
	if (c->closing_down)
		uvfio_kick(c->dev);
}

void nvme_fused_run(struct nvme_ctrl *c)
{
	for (unsigned i = 0; i < c->nr_ns; i++) {
		if (c->ns[i].fenced)
			run_ns(&c->ns[i]);
	}
}

void nvme_fused_reset(struct nvme_ctrl *c)
{
	for (unsigned i = 0; i < c->nr_ns; i++) {
		struct nvme_ns *ns = &c->ns[i];

		if (!ns->fenced)
			continue;
		ns->fenced = ns->fused_running = false;
		ns->fused = NULL;
		STAILQ_INIT(&ns->waiters);
	}
	c->nr_fenced = 0;
}
