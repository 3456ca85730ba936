/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The state of a controller for its migration: its queues (NVQU), and the commands in progress
 * (NVCM).
 *
 * What is in a submission queue and was not fetched is in the host's memory, and so are completion
 * entries that were written.  A command in progress is in NVCM, as one of three: executed, and its
 * entry could not be posted; an Asynchronous Event Request; or to be executed from its beginning,
 * as pause.c has it.  A queue that is being deleted is in the stream as it was, with the deletion
 * among the latter.
 */
#include <string.h>

#include "devices/nvme/migrate.h"

/* ---- NVQU ---- */

static void save_cq(const struct nvme_cq *cq, struct uvfio_save *out)
{
	uvfio_save_u16(out, cq->id);
	uvfio_save_u64(out, cq->base);
	uvfio_save_u32(out, cq->size);
	uvfio_save_u32(out, cq->head);
	uvfio_save_u32(out, cq->tail);
	uvfio_save_u8(out, cq->phase);
	uvfio_save_u8(out, cq->ien);
	uvfio_save_u16(out, cq->vector);
	/* Made, and refused by the host's memory. */
	uvfio_save_u8(out, (uint8_t)cq->posting_nr);
	for (unsigned i = 0; i < cq->posting_nr; i++) {
		const struct nvme_cqe *e = &cq->buf[i];

		uvfio_save_u32(out, e->dw0);
		uvfio_save_u16(out, e->sqhd);
		uvfio_save_u16(out, e->sqid);
		uvfio_save_u16(out, e->cid);
		uvfio_save_u16(out, e->status);
	}
}

static void save_sq(const struct nvme_sq *sq, struct uvfio_save *out)
{
	uvfio_save_u16(out, sq->id);
	uvfio_save_u16(out, sq->cq->id);
	uvfio_save_u64(out, sq->base);
	uvfio_save_u32(out, sq->size);
	uvfio_save_u32(out, sq->head);
	uvfio_save_u32(out, sq->tail);
}

static void queues_save(struct nvme_ctrl *c, struct uvfio_save *out)
{
	uint16_t cqs = 0, sqs = 0;

	for (unsigned i = 0; i < c->top_queue; i++) {
		cqs = (uint16_t)(cqs + c->cqs[i].used);
		sqs = (uint16_t)(sqs + (c->sqs[i].state != NVME_SQ_UNUSED));
	}
	uvfio_save_u16(out, cqs);
	for (unsigned i = 0; i < c->top_queue; i++) {
		if (c->cqs[i].used)
			save_cq(&c->cqs[i], out);
	}
	uvfio_save_u16(out, sqs);
	for (unsigned i = 0; i < c->top_queue; i++) {
		if (c->sqs[i].state != NVME_SQ_UNUSED)
			save_sq(&c->sqs[i], out);
	}
}

/* A ring of @size entries of @bytes each: where it is, and where its ends are. */
static bool ring_valid(uint64_t base, uint32_t size, uint32_t head, uint32_t tail, uint32_t bytes)
{
	return size >= 2 && size <= NVME_QUEUE_ENTRIES && head < size && tail < size &&
	       !(base & 0xfff) && base <= UINT64_MAX - (uint64_t)size * bytes;
}

static const char *load_cq(struct nvme_ctrl *c, struct uvfio_load *in, struct nvme_aside_cq *cq)
{
	uint32_t end;
	bool bad = false;

	cq->used = true;
	cq->base = uvfio_load_u64(in);
	cq->size = uvfio_load_u32(in);
	cq->head = uvfio_load_u32(in);
	cq->tail = uvfio_load_u32(in);
	cq->phase = nvme_load_bool(in, &bad);
	cq->ien = nvme_load_bool(in, &bad);
	cq->vector = uvfio_load_u16(in);
	cq->nr_batch = uvfio_load_u8(in);
	if (bad || !ring_valid(cq->base, cq->size, cq->head, cq->tail, sizeof(struct nvme_cqe)))
		return "is no ring";
	if (cq->vector >= c->nr_vectors || (!cq->ien && cq->vector))
		return "has a vector that the controller does not have";
	/* They end at the tail, and do not go around the end of the ring. */
	end = cq->tail ? cq->tail : cq->size;
	if (cq->nr_batch > NVME_POST_MAX || cq->nr_batch > end ||
	    cq->nr_batch > nvme_ring_used(cq->head, cq->tail, cq->size))
		return "has more entries to be written than it holds";
	for (unsigned i = 0; i < cq->nr_batch; i++) {
		struct nvme_cqe *e = &cq->batch[i];
		/* The phase changed when the tail came to the end. */
		bool phase = cq->tail ? cq->phase : !cq->phase;

		e->dw0 = uvfio_load_u32(in);
		e->sqhd = uvfio_load_u16(in);
		e->sqid = uvfio_load_u16(in);
		e->cid = uvfio_load_u16(in);
		e->status = uvfio_load_u16(in);
		if ((e->status & 1) != phase)
			return "has an entry to be written with the wrong phase tag";
	}
	return NULL;
}

static const char *load_sq(struct uvfio_load *in, struct nvme_aside_sq *sq, unsigned id,
			   const struct nvme_aside *a, unsigned nr)
{
	sq->used = true;
	sq->cqid = uvfio_load_u16(in);
	sq->base = uvfio_load_u64(in);
	sq->size = uvfio_load_u32(in);
	sq->head = uvfio_load_u32(in);
	sq->tail = uvfio_load_u32(in);
	if (!ring_valid(sq->base, sq->size, sq->head, sq->tail, sizeof(struct nvme_sqe)))
		return "is no ring";
	/* The admin queues belong together. */
	if (sq->cqid >= nr || !a->cqs[sq->cqid].used || !id != !sq->cqid)
		return "completes into a queue that is not there";
	return NULL;
}

static int queue_wrong(const char *kind, unsigned id, const char *wrong, struct uvfio_error *err)
{
	return uvfio_error_set(err, -EINVAL, "section NVQU: %s queue %u %s", kind, id, wrong);
}

/* Ascending identifiers: each comes once. */
static int load_queues(struct nvme_ctrl *c, struct uvfio_load *in, struct nvme_aside *a,
		       bool submission, struct uvfio_error *err)
{
	const char *kind = submission ? "submission" : "completion";
	unsigned nr = uvfio_load_u16(in), next = 0;

	for (unsigned i = 0; i < nr; i++) {
		unsigned id = uvfio_load_u16(in);
		const char *wrong;

		if (id < next || id > c->nr_queues)
			return queue_wrong(kind, id, "is not in its place, or too many", err);
		next = id + 1;
		wrong = submission ? load_sq(in, &a->sqs[id], id, a, c->nr_queues + 1)
				   : load_cq(c, in, &a->cqs[id]);
		if (wrong)
			return queue_wrong(kind, id, wrong, err);
	}
	return 0;
}

static int queues_load(struct nvme_ctrl *c, struct uvfio_load *in, struct nvme_aside *a,
		       struct uvfio_error *err)
{
	int r = load_queues(c, in, a, false, err);

	return r ? r : load_queues(c, in, a, true, err);
}

static int queues_check(struct nvme_ctrl *c, const struct nvme_aside *a, struct uvfio_error *err)
{
	bool ready = a->ctrl.csts & NVME_CSTS_RDY;
	uint64_t page = (1ull << a->ctrl.page_bits) - 1;

	if (a->cqs[0].used != ready || a->sqs[0].used != ready)
		return uvfio_error_set(err, -EINVAL,
				       "section NVQU: the controller is %sready, and its admin "
				       "queues are %sthere",
				       ready ? "" : "not ", ready ? "not " : "");
	for (unsigned i = 0; i <= c->nr_queues; i++) {
		const struct nvme_aside_cq *cq = &a->cqs[i];
		const struct nvme_aside_sq *sq = &a->sqs[i];

		if (i && ((cq->used && (!ready || i > a->feat.nr_cqs)) ||
			  (sq->used && (!ready || i > a->feat.nr_sqs))))
			return uvfio_error_set(err, -EINVAL,
					       "section NVQU: queue %u was not given to the host",
					       i);
		if ((cq->used && cq->base & page) || (sq->used && sq->base & page))
			return uvfio_error_set(
				err, -EINVAL, "section NVQU: queue %u does not begin at a page", i);
	}
	return 0;
}

static void apply_cq(struct nvme_ctrl *c, unsigned id, const struct nvme_aside_cq *a)
{
	struct nvme_cq *cq = &c->cqs[id];

	nvme_cq_open(c, id, a->base, a->size, a->ien, a->vector);
	cq->head = a->head;
	cq->tail = a->tail;
	cq->phase = a->phase;
	nvme_doorbell_put(c, 2 * id + 1, a->head);
	if (a->nr_batch) {
		uint32_t end = a->tail ? a->tail : a->size;

		memcpy(cq->buf, a->batch, a->nr_batch * sizeof(a->batch[0]));
		cq->posting_nr = a->nr_batch;
		cq->op.iova = a->base + (uint64_t)(end - a->nr_batch) * sizeof(struct nvme_cqe);
		cq->op.buf = cq->buf;
		cq->op.len = a->nr_batch * sizeof(struct nvme_cqe);
		cq->op.to_client = true;
	}
	/* Entries that are not written yet bring their interrupt with them. */
	if (nvme_cq_unconsumed(cq))
		nvme_irq_consumed(cq);
}

static void apply_sq(struct nvme_ctrl *c, unsigned id, const struct nvme_aside_sq *a)
{
	struct nvme_sq *sq = &c->sqs[id];

	nvme_sq_open(c, id, a->base, a->size, a->cqid);
	sq->head = a->head;
	sq->tail = a->tail;
	nvme_doorbell_put(c, 2 * id, a->tail);
	if (a->head != a->tail)
		nvme_sq_set_ready(sq);
}

static void queues_apply(struct nvme_ctrl *c, struct nvme_aside *a)
{
	for (unsigned i = 0; i <= c->nr_queues; i++) {
		if (a->cqs[i].used)
			apply_cq(c, i, &a->cqs[i]);
	}
	for (unsigned i = 0; i <= c->nr_queues; i++) {
		if (a->sqs[i].used)
			apply_sq(c, i, &a->sqs[i]);
	}
}

const struct nvme_section nvme_section_queues = {
	.kind = "NVQU",
	.version = 1,
	.save = queues_save,
	.load = queues_load,
	.check = queues_check,
	.apply = queues_apply,
};

/* ---- NVCM ---- */

static void save_command(const struct nvme_req *req, enum nvme_moved kind, struct uvfio_save *out)
{
	bool done = kind == NVME_MOVED_DONE;

	uvfio_save_u8(out, (uint8_t)kind);
	uvfio_save_u8(out, req->owns_cid);
	uvfio_save_u16(out, req->sq->id);
	/* Of one that begins anew it is what was wrong before it had begun. */
	uvfio_save_u16(out, done || !req->owns_cid ? req->status : 0);
	uvfio_save_u32(out, done ? req->dw0 : 0);
	uvfio_save_bytes(out, &req->cmd, sizeof(req->cmd));
}

static void commands_save(struct nvme_ctrl *c, struct uvfio_save *out)
{
	const struct nvme_req *req;

	uvfio_save_u32(out, NVME_NR_REQS - c->nr_free);
	for (unsigned i = 0; i < c->top_queue; i++) {
		if (!c->cqs[i].used)
			continue;
		STAILQ_FOREACH(req, &c->cqs[i].pending, link)
		save_command(req, NVME_MOVED_DONE, out);
	}
	for (unsigned i = 0; i < c->nr_aers; i++)
		save_command(c->aers[i], NVME_MOVED_HELD, out);
	/* In the order in which each queue brought them: of two fused commands one follows the
	 * other. */
	for (unsigned i = 0; i < c->top_queue; i++) {
		if (c->sqs[i].state == NVME_SQ_UNUSED)
			continue;
		TAILQ_FOREACH(req, &c->sqs[i].reqs, sq_link)
		{
			if (req->state != NVME_REQ_COMPLETE && req->state != NVME_REQ_HELD)
				save_command(req, NVME_MOVED_AGAIN, out);
		}
	}
}

static int commands_load(struct nvme_ctrl *c, struct uvfio_load *in, struct nvme_aside *a,
			 struct uvfio_error *err)
{
	uint32_t nr = uvfio_load_u32(in);
	bool bad = false;

	if (nr > NVME_NR_REQS)
		return uvfio_error_set(err, -EINVAL,
				       "section NVCM: %u commands, and at most %u are "
				       "in progress",
				       nr, NVME_NR_REQS);
	for (unsigned i = 0; i < nr; i++) {
		struct nvme_aside_command *cmd = &a->commands[i];
		const void *sqe;

		cmd->kind = uvfio_load_u8(in);
		cmd->owns_cid = nvme_load_bool(in, &bad);
		cmd->sqid = uvfio_load_u16(in);
		cmd->status = uvfio_load_u16(in);
		cmd->dw0 = uvfio_load_u32(in);
		sqe = uvfio_load_bytes(in, sizeof(cmd->cmd));
		if (sqe)
			memcpy(&cmd->cmd, sqe, sizeof(cmd->cmd));
		bad |= cmd->kind >= NVME_NR_MOVED || cmd->status > 0x7fff ||
		       cmd->sqid > c->nr_queues;
	}
	if (bad)
		return uvfio_error_set(err, -EINVAL, "section NVCM makes no sense");
	a->nr_commands = nr;
	return 0;
}

/* What is wrong with @cmd, of a submission queue that is there. */
static const char *command_wrong(const struct nvme_aside_command *cmd, unsigned *nr_held)
{
	/* One that does not own its identifier is refused because of that. */
	if (!cmd->owns_cid && cmd->kind != NVME_MOVED_DONE && !cmd->status)
		return "has no identifier of its own";
	if (cmd->owns_cid && cmd->kind != NVME_MOVED_DONE && cmd->status)
		return "has a status without being done";
	if (cmd->kind != NVME_MOVED_HELD)
		return NULL;
	if (cmd->sqid || cmd->cmd.opcode != NVME_ADM_ASYNC_EVENT || !cmd->owns_cid)
		return "is held, and is no Asynchronous Event Request";
	return ++*nr_held > NVME_AERL + 1 ? "is held, and is one too many" : NULL;
}

static int commands_check(struct nvme_ctrl *c, const struct nvme_aside *a, struct uvfio_error *err)
{
	unsigned nr_held = 0;

	for (unsigned i = 0; i < a->nr_commands; i++) {
		const struct nvme_aside_command *cmd = &a->commands[i];
		const char *wrong = a->sqs[cmd->sqid].used ? command_wrong(cmd, &nr_held)
							   : "is of a queue that is not there";

		for (unsigned j = 0; j < i && !wrong; j++) {
			const struct nvme_aside_command *other = &a->commands[j];

			if (cmd->owns_cid && other->owns_cid && other->sqid == cmd->sqid &&
			    other->cmd.cid == cmd->cmd.cid)
				wrong = "has the identifier of another one";
		}
		if (wrong)
			return uvfio_error_set(err, -EINVAL,
					       "section NVCM: command %u of queue %u %s",
					       cmd->cmd.cid, cmd->sqid, wrong);
	}
	return 0;
}

static void apply_command(struct nvme_ctrl *c, const struct nvme_aside_command *a, uint64_t now)
{
	struct nvme_sq *sq = &c->sqs[a->sqid];
	struct nvme_req *req = nvme_req_take(c);

	c->nr_free--;
	req->cmd = a->cmd;
	req->sq = sq;
	req->start_ns = now;
	req->status = a->status;
	req->dw0 = a->dw0;
	req->owns_cid = a->owns_cid;
	if (req->owns_cid)
		sq->cids[req->cmd.cid / 64] |= 1ull << (req->cmd.cid % 64);
	sq->inflight++;
	TAILQ_INSERT_TAIL(&sq->reqs, req, sq_link);
	uvfio_count_local(&sq->submitted, 1);
	switch (a->kind) {
	case NVME_MOVED_HELD:
		req->state = NVME_REQ_HELD;
		c->aers[c->nr_aers++] = req;
		return;
	case NVME_MOVED_DONE:
		req->state = NVME_REQ_COMPLETE;
		STAILQ_INSERT_TAIL(&sq->cq->pending, req, link);
		break;
	default:
		req->state = NVME_REQ_KEPT;
		c->nr_kept++;
	}
	sq->cq->reserved++;
}

static void commands_apply(struct nvme_ctrl *c, struct nvme_aside *a)
{
	uint64_t now = nvme_now_ns();

	for (unsigned i = 0; i < a->nr_commands; i++)
		apply_command(c, &a->commands[i], now);
}

const struct nvme_section nvme_section_commands = {
	.kind = "NVCM",
	.version = 1,
	.save = commands_save,
	.load = commands_load,
	.check = commands_check,
	.apply = commands_apply,
};
