/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The NVM command set: dispatch, checks that commands share, and the commands without data of
 * their own.  Reads and writes are in rw.c.
 *
 * A command that writes is on stable storage when it completes if it says FUA, or while the
 * volatile write cache is disabled; a backend that has no FUA is flushed after it.
 */
#include <errno.h>

#include "devices/nvme/nvme.h"

/* ---- namespaces ---- */

struct nvme_ns *nvme_ns_get(struct nvme_ctrl *c, uint32_t nsid)
{
	return nsid && nsid <= c->nr_ns && c->ns[nsid - 1].attached ? &c->ns[nsid - 1] : NULL;
}

void nvme_ns_enter(struct nvme_req *req, struct nvme_ns *ns)
{
	req->ns = ns;
	ns->inflight++;
}

void nvme_ns_leave(struct nvme_req *req)
{
	struct nvme_ns *ns = req->ns;

	if (!ns)
		return;
	req->ns = NULL;
	if (!--ns->inflight && (ns->format_req || ns->fenced || ns->stale))
		uvfio_kick(ns->ctrl->dev);
}

bool nvme_lba_range(struct nvme_req *req, struct nvme_ns *ns, uint64_t slba, uint64_t nlb)
{
	uint64_t blocks = ns->size >> ns->shift;

	if (slba > blocks || nlb > blocks - slba) {
		req->status = NVME_SC_LBA_RANGE | NVME_SC_DNR;
		return false;
	}
	req->offset = slba << ns->shift;
	req->left = nlb << ns->shift;
	req->bytes += req->left;
	return true;
}

/* ---- the backend ---- */

unsigned nvme_block_status(struct nvme_ctrl *c, enum block_op op, int err)
{
	switch (err) {
	case 0:
		return NVME_SC_SUCCESS;
	case -ENOSPC:
	case -EDQUOT:
	case -EFBIG:
		return NVME_SC_CAPACITY | NVME_SC_DNR;
	case -EROFS:
	case -EPERM:
	case -EACCES:
		return NVME_SC_WRITE_PROTECTED | NVME_SC_DNR;
	case -ENXIO: /* cut since the range was checked */
		return NVME_SC_LBA_RANGE | NVME_SC_DNR;
	case -EFAULT:
		return NVME_SC_DATA_TRANSFER | NVME_SC_DNR;
	case -ENOTCONN:
	case -ETIMEDOUT:
	case -EAGAIN:
	case -ECONNRESET:
	case -EPIPE:
	case -ESHUTDOWN:
		return NVME_SC_NS_NOT_READY; /* the backend may come back: retry */
	case -ENOMEM:
		return NVME_SC_INTERNAL;
	default:
		c->count.media_errors++;
		return op == BLOCK_READ ? NVME_SC_UNRECOVERED_READ : NVME_SC_WRITE_FAULT;
	}
}

static bool changes_blocks(enum block_op op)
{
	return op == BLOCK_WRITE || op == BLOCK_WRITE_ZEROES || op == BLOCK_DISCARD;
}

static void block_result(struct nvme_req *req)
{
	if (req->nr_pins)
		nvme_unpin(req);
	if (!req->claim.exclusive)
		nvme_claim_put(&req->claim);
	if (changes_blocks(req->io.op))
		nvme_written_at(req->io_ns->disk, req->io.offset, req->io.len);
	uvfio_count_local(&req->io_ns->stats.completed, 1);
	if (req->io.status && req->io.status != -EOPNOTSUPP)
		uvfio_count_local(&req->io_ns->stats.errors, 1);
	if (req->io.status)
		req->status = (uint16_t)nvme_block_status(req->ctrl, req->io.op, req->io.status);
}

static void block_done(struct block_io *io)
{
	struct nvme_req *req = (struct nvme_req *)((char *)io - offsetof(struct nvme_req, io));
	struct nvme_ctrl *c = req->ctrl;

	block_result(req);
	/* Counted until the next step has been taken; see dma_done().  What has been noted holds,
	 * reset or not. */
	if (c->state != NVME_RESETTING || io->op == BLOCK_NOTE)
		req->step(req);
	nvme_external_done(c);
	if (!c->in_work)
		uvfio_kick(c->dev);
}

/* Nothing may be started; a transfer that cannot go on is what the host sees of it. */
static void cancelled(struct nvme_req *req)
{
	if (req->nr_pins)
		nvme_unpin(req);
	if (!req->claim.exclusive)
		nvme_claim_put(&req->claim);
	req->io.status = -ECANCELED;
	req->status = NVME_SC_DATA_TRANSFER;
}

/* The request is ready for the storage. */
static int submit(struct nvme_req *req)
{
	struct nvme_ns *ns = req->io_ns;
	int r = block_submit(ns->blk, &req->io);

	if (r == 1)
		ns->kick = true;
	return r;
}

void nvme_block_granted(struct nvme_claim *claim)
{
	struct nvme_req *req =
		(struct nvme_req *)((char *)claim - offsetof(struct nvme_req, claim));
	struct nvme_ctrl *c = req->ctrl;

	if (!claim->exclusive && !c->stopped && c->state != NVME_RESETTING) {
		if (submit(req) == 0)
			block_done(&req->io);
		return;
	}
	if (!claim->exclusive)
		cancelled(req);
	if (c->state != NVME_RESETTING)
		req->step(req);
	nvme_external_done(c);
}

/* @claim: the blocks are to be claimed, if that is needed. */
static enum nvme_async do_block(struct nvme_req *req, struct nvme_ns *ns, enum block_op op,
				uint64_t offset, uint64_t len, unsigned flags, bool claim)
{
	struct nvme_ctrl *c = req->ctrl;

	if (c->stopped || c->state == NVME_RESETTING) {
		cancelled(req);
		return NVME_FAILED;
	}
	if (!nvme_ns_ready(ns)) { /* what begins is not let so far: the size, and what is our own */
		req->io.status = -EBUSY;
		req->status = NVME_SC_NS_NOT_READY;
		return NVME_FAILED;
	}
	req->io.op = op;
	req->io.flags = flags;
	req->io.offset = offset;
	req->io.len = len;
	req->io.status = 0;
	req->io.done = block_done;
	req->io_ns = ns;
	uvfio_count_local(&ns->stats.submitted, 1);
	if (op == BLOCK_FLUSH)
		uvfio_count_local(&ns->stats.flushes, 1);
	if (claim && ns->disk->sub->shared && changes_blocks(op) &&
	    !nvme_claim(c, &req->claim, ns->disk, offset, len, false)) {
		c->external++;
		return NVME_PENDING;
	}
	if (submit(req) == 1) {
		c->external++;
		if (!c->in_work)
			uvfio_kick(c->dev);
		return NVME_PENDING;
	}
	block_result(req);
	return req->status ? NVME_FAILED : NVME_DONE;
}

enum nvme_async nvme_block(struct nvme_req *req, struct nvme_ns *ns, enum block_op op,
			   uint64_t offset, uint64_t len, unsigned flags)
{
	return do_block(req, ns, op, offset, len, flags, true);
}

enum nvme_async nvme_block_claimed(struct nvme_req *req, struct nvme_ns *ns, enum block_op op,
				   uint64_t offset, uint64_t len, unsigned flags)
{
	return do_block(req, ns, op, offset, len, flags, false);
}

/* ---- Flush ---- */

static void flush_step(struct nvme_req *req)
{
	struct nvme_ctrl *c = req->ctrl;

	while (!req->status && req->index < req->count) {
		struct nvme_ns *ns = &c->ns[req->index++];

		if (ns->attached && nvme_ns_ready(ns) &&
		    nvme_block(req, ns, BLOCK_FLUSH, 0, 0, 0) == NVME_PENDING)
			return;
	}
	nvme_complete(req);
}

static void flush(struct nvme_req *req)
{
	struct nvme_ctrl *c = req->ctrl;

	req->step = flush_step;
	if (req->cmd.nsid == NVME_NSID_ALL) {
		req->index = 0;
		req->count = c->nr_ns;
	} else {
		req->index = req->cmd.nsid - 1;
		req->count = req->cmd.nsid;
	}
	flush_step(req);
}

/* ---- Write Zeroes ---- */

bool nvme_fua(struct nvme_req *req, struct nvme_ns *ns)
{
	const struct block_info *info = block_info(ns->blk);
	bool fua = (req->cmd.cdw12 & NVME_RW_FUA) || !req->ctrl->feat.write_cache;

	req->io_flags = 0;
	req->flush_after = false;
	if (!fua || !info->volatile_cache)
		return false;
	if (info->can_fua)
		req->io_flags = BLOCK_FUA;
	else
		req->flush_after = true;
	return true;
}

static void zeroes_step(struct nvme_req *req)
{
	struct nvme_ns *ns = req->ns;

	if (!req->status && req->flush_after) {
		req->flush_after = false;
		if (nvme_block(req, ns, BLOCK_FLUSH, 0, 0, 0) == NVME_PENDING)
			return;
	}
	if (!req->status && !nvme_bad_clear(ns, nvme_slba(&req->cmd), NVME_RW_NLB(req->cmd.cdw12)))
		req->status = NVME_SC_INTERNAL | NVME_SC_DNR;
	nvme_complete(req);
}

static void write_zeroes(struct nvme_req *req, struct nvme_ns *ns)
{
	unsigned flags = req->cmd.cdw12 & NVME_RW_DEAC ? BLOCK_MAY_FREE : 0;

	if (!nvme_lba_range(req, ns, nvme_slba(&req->cmd), NVME_RW_NLB(req->cmd.cdw12))) {
		nvme_complete(req);
		return;
	}
	nvme_fua(req, ns);
	req->step = zeroes_step;
	if (nvme_block(req, ns, BLOCK_WRITE_ZEROES, req->offset, req->left,
		       flags | req->io_flags) != NVME_PENDING)
		zeroes_step(req);
}

/* ---- Dataset Management ---- */

enum { DSM_MAPPED, DSM_COPIED, DSM_DISCARDED };

static bool dsm_check(struct nvme_req *req)
{
	const struct nvme_dsm_range *ranges = (const struct nvme_dsm_range *)req->mem->scratch;

	for (unsigned i = 0; i < req->count; i++) {
		if (!nvme_lba_range(req, req->ns, ranges[i].slba, ranges[i].nlb))
			return false;
	}
	return true;
}

static enum nvme_async dsm_discard(struct nvme_req *req)
{
	const struct nvme_dsm_range *ranges = (const struct nvme_dsm_range *)req->mem->scratch;
	enum nvme_async r = NVME_DONE;

	while (r == NVME_DONE && req->index < req->count) {
		const struct nvme_dsm_range *range = &ranges[req->index++];

		if (range->nlb)
			r = nvme_block(req, req->ns, BLOCK_DISCARD, range->slba << req->ns->shift,
				       (uint64_t)range->nlb << req->ns->shift, 0);
		/* Deallocation is advice: a backend that cannot is no error. */
		if (r == NVME_FAILED && req->io.status == -EOPNOTSUPP) {
			req->status = 0;
			r = NVME_DONE;
		}
	}
	return r;
}

static void dsm_step(struct nvme_req *req)
{
	enum nvme_async r = NVME_DONE;

	if (req->phase == DSM_DISCARDED && req->status && req->io.status == -EOPNOTSUPP)
		req->status = 0;
	while (r == NVME_DONE && !req->status) {
		switch (req->phase) {
		case DSM_MAPPED:
			req->phase = DSM_COPIED;
			r = nvme_copy(req, req->mem->scratch,
				      req->count * (uint32_t)sizeof(struct nvme_dsm_range), false);
			break;
		case DSM_COPIED:
			req->phase = DSM_DISCARDED;
			req->index = 0;
			if (!dsm_check(req))
				break;
			if (!(req->cmd.cdw11 & NVME_DSM_AD) ||
			    !block_info(req->ns->blk)->can_discard)
				req->index = req->count; /* hints that we have no use for */
			break;
		default:
			if (req->index == req->count) {
				nvme_complete(req);
				return;
			}
			r = dsm_discard(req);
		}
	}
	if (r != NVME_PENDING)
		nvme_complete(req);
}

static void dsm(struct nvme_req *req, struct nvme_ns *ns)
{
	enum nvme_async r;

	req->count = (req->cmd.cdw10 & 0xff) + 1;
	req->phase = DSM_MAPPED;
	req->step = dsm_step;
	r = nvme_map(req, req->count * (uint32_t)sizeof(struct nvme_dsm_range));
	if (r != NVME_PENDING)
		dsm_step(req);
}

/* ---- Write Uncorrectable ---- */

static void write_uncorrectable(struct nvme_req *req, struct nvme_ns *ns)
{
	uint64_t slba = nvme_slba(&req->cmd);
	uint32_t nlb = NVME_RW_NLB(req->cmd.cdw12);

	if (nvme_lba_range(req, ns, slba, nlb) && !nvme_bad_mark(ns, slba, nlb))
		req->status = NVME_SC_INTERNAL | NVME_SC_DNR;
	nvme_complete(req);
}

/* ---- dispatch ---- */

static bool opcode_known(uint8_t opcode)
{
	switch (opcode) {
	case NVME_IO_FLUSH:
	case NVME_IO_WRITE:
	case NVME_IO_READ:
	case NVME_IO_WRITE_UNCORRECTABLE:
	case NVME_IO_COMPARE:
	case NVME_IO_WRITE_ZEROES:
	case NVME_IO_DSM:
	case NVME_IO_VERIFY:
		return true;
	default:
		return false;
	}
}

static bool opcode_writes(uint8_t opcode)
{
	return opcode == NVME_IO_WRITE || opcode == NVME_IO_WRITE_UNCORRECTABLE ||
	       opcode == NVME_IO_WRITE_ZEROES || opcode == NVME_IO_DSM;
}

unsigned nvme_io_check(struct nvme_req *req, struct nvme_ns **out)
{
	const struct nvme_sqe *cmd = &req->cmd;
	struct nvme_ns *ns;

	if (!opcode_known(cmd->opcode))
		return NVME_SC_INVALID_OPCODE | NVME_SC_DNR;
	if (NVME_FLAGS_PSDT(cmd->flags) == 3)
		return nvme_bad_field(req, 1, 6);
	if (cmd->opcode == NVME_IO_FLUSH && cmd->nsid == NVME_NSID_ALL)
		return 0;
	ns = nvme_ns_get(req->ctrl, cmd->nsid);
	if (!ns)
		return NVME_SC_INVALID_NS | NVME_SC_DNR;
	if (!nvme_ns_ready(ns))
		return NVME_SC_NS_NOT_READY;
	if (ns->formatting)
		return NVME_SC_FORMAT_IN_PROGRESS;
	if (opcode_writes(cmd->opcode) && ns->readonly)
		return NVME_SC_WRITE_PROTECTED | NVME_SC_DNR;
	*out = ns;
	return 0;
}

void nvme_io(struct nvme_req *req)
{
	struct nvme_ns *ns = NULL;
	unsigned status = nvme_io_check(req, &ns);

	if (status) {
		nvme_complete_status(req, status);
		return;
	}
	if (ns && ns->fenced) {
		nvme_fused_wait(req, ns);
		return;
	}
	if (ns)
		nvme_ns_enter(req, ns);
	switch (req->cmd.opcode) {
	case NVME_IO_READ:
		nvme_rw(req, ns, false);
		break;
	case NVME_IO_WRITE:
		nvme_rw(req, ns, true);
		break;
	case NVME_IO_FLUSH:
		flush(req);
		break;
	case NVME_IO_WRITE_UNCORRECTABLE:
		write_uncorrectable(req, ns);
		break;
	case NVME_IO_COMPARE:
		nvme_compare(req, ns);
		break;
	case NVME_IO_WRITE_ZEROES:
		write_zeroes(req, ns);
		break;
	case NVME_IO_DSM:
		dsm(req, ns);
		break;
	case NVME_IO_VERIFY:
		nvme_verify(req, ns);
		break;
	}
}
