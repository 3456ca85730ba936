/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Admin commands: dispatch, queue creation and deletion, abort.
 */
#include <errno.h>
#include <string.h>

#include "devices/nvme/nvme.h"

void nvme_admin_return(struct nvme_req *req, uint32_t len)
{
	req->step = nvme_complete;
	if (nvme_copy(req, req->mem->scratch, len, true) != NVME_PENDING)
		nvme_complete(req);
}

/* ---- queues ---- */

void nvme_admin_create_cq(struct nvme_req *req)
{
	struct nvme_ctrl *c = req->ctrl;
	const struct nvme_sqe *cmd = &req->cmd;
	unsigned id = cmd->cdw10 & 0xffff, vector = cmd->cdw11 >> 16;
	uint32_t size = (cmd->cdw10 >> 16) + 1;
	bool ien = cmd->cdw11 & 2;
	unsigned status = 0;

	if (!id || id > c->feat.nr_cqs || c->cqs[id].used)
		status = NVME_SC_QID_INVALID | NVME_SC_DNR;
	else if (size < 2 || size > NVME_QUEUE_ENTRIES ||
		 NVME_CC_IOCQES(atomic_load(&c->shared.cc)) != 4)
		status = NVME_SC_QSIZE_INVALID | NVME_SC_DNR;
	else if (!(cmd->cdw11 & 1)) /* CAP.CQR: contiguous only */
		status = nvme_bad_field(req, 44, 0);
	else if (cmd->prp1 & ((1u << c->page_bits) - 1))
		status = NVME_SC_PRP_OFFSET | NVME_SC_DNR;
	else if (!nvme_one_place(c, cmd->prp1, size * sizeof(struct nvme_cqe)))
		status = NVME_SC_INVALID_CMB | NVME_SC_DNR;
	else if (ien && (vector >= nvme_vectors(c) || (vector && !uvfio_irq_is_message(c->dev))))
		status = NVME_SC_VECTOR_INVALID | NVME_SC_DNR;
	else
		nvme_cq_open(c, id, cmd->prp1, size, ien, ien ? vector : 0);
	nvme_complete_status(req, status);
}

void nvme_admin_create_sq(struct nvme_req *req)
{
	struct nvme_ctrl *c = req->ctrl;
	const struct nvme_sqe *cmd = &req->cmd;
	unsigned id = cmd->cdw10 & 0xffff, cqid = cmd->cdw11 >> 16;
	uint32_t size = (cmd->cdw10 >> 16) + 1;
	unsigned status = 0;

	if (!id || id > c->feat.nr_sqs || c->sqs[id].state != NVME_SQ_UNUSED)
		status = NVME_SC_QID_INVALID | NVME_SC_DNR;
	else if (size < 2 || size > NVME_QUEUE_ENTRIES ||
		 NVME_CC_IOSQES(atomic_load(&c->shared.cc)) != 6)
		status = NVME_SC_QSIZE_INVALID | NVME_SC_DNR;
	else if (!cqid || cqid > c->feat.nr_cqs)
		status = NVME_SC_QID_INVALID | NVME_SC_DNR;
	else if (!c->cqs[cqid].used || c->cqs[cqid].delete_req)
		status = NVME_SC_CQ_INVALID | NVME_SC_DNR;
	else if (!(cmd->cdw11 & 1))
		status = nvme_bad_field(req, 44, 0);
	else if (cmd->prp1 & ((1u << c->page_bits) - 1))
		status = NVME_SC_PRP_OFFSET | NVME_SC_DNR;
	else if (!nvme_one_place(c, cmd->prp1, size * sizeof(struct nvme_sqe)))
		status = NVME_SC_INVALID_CMB | NVME_SC_DNR;
	else
		nvme_sq_open(c, id, cmd->prp1, size, cqid);
	nvme_complete_status(req, status);
}

void nvme_admin_delete_cq(struct nvme_req *req)
{
	struct nvme_ctrl *c = req->ctrl;
	unsigned id = req->cmd.cdw10 & 0xffff;

	if (!id || id > c->nr_queues || !c->cqs[id].used || c->cqs[id].delete_req) {
		nvme_complete_status(req, NVME_SC_QID_INVALID | NVME_SC_DNR);
	} else if (c->cqs[id].nr_sqs) {
		nvme_complete_status(req, NVME_SC_QUEUE_DELETION | NVME_SC_DNR);
	} else {
		nvme_cq_delete(&c->cqs[id], req);
	}
}

void nvme_admin_delete_sq(struct nvme_req *req)
{
	struct nvme_ctrl *c = req->ctrl;
	unsigned id = req->cmd.cdw10 & 0xffff;

	if (!id || id > c->nr_queues || c->sqs[id].state != NVME_SQ_ACTIVE)
		nvme_complete_status(req, NVME_SC_QID_INVALID | NVME_SC_DNR);
	else
		nvme_sq_delete(&c->sqs[id], req);
}

/* ---- Abort ---- */

static void abort_command(struct nvme_req *req)
{
	struct nvme_ctrl *c = req->ctrl;
	unsigned sqid = req->cmd.cdw10 & 0xffff, cid = req->cmd.cdw10 >> 16;
	struct nvme_req *victim;

	if (sqid > c->nr_queues || c->sqs[sqid].state == NVME_SQ_UNUSED) {
		nvme_complete_status(req, nvme_bad_field(req, 40, 0));
		return;
	}
	req->dw0 = 1; /* not aborted: commands that are under way are let end */
	TAILQ_FOREACH(victim, &c->sqs[sqid].reqs, sq_link)
	{
		if (victim == req || victim->cmd.cid != cid || !victim->owns_cid)
			continue;
		uvfio_device_log(c->dev, UVFIO_LOG_DEBUG,
				 "nvme: abort of command %u of queue %u: %s", cid, sqid,
				 nvme_req_state_name(victim->state));
		if (nvme_abort_aer(victim) || nvme_bounce_cancel(victim) ||
		    nvme_fused_cancel(victim)) {
			req->dw0 = 0;
			nvme_complete_status(victim, NVME_SC_ABORT_REQUESTED);
		}
		break;
	}
	nvme_complete(req);
}

/* ---- dispatch ---- */

static bool opcode_known(const struct nvme_ctrl *c, uint8_t opcode)
{
	switch (opcode) {
	case NVME_ADM_NS_MANAGEMENT:
	case NVME_ADM_NS_ATTACHMENT:
	case NVME_ADM_VIRT_MANAGEMENT:
		return nvme_is_manager(c);
	case NVME_ADM_DELETE_SQ:
	case NVME_ADM_CREATE_SQ:
	case NVME_ADM_GET_LOG_PAGE:
	case NVME_ADM_DELETE_CQ:
	case NVME_ADM_CREATE_CQ:
	case NVME_ADM_IDENTIFY:
	case NVME_ADM_ABORT:
	case NVME_ADM_SET_FEATURES:
	case NVME_ADM_GET_FEATURES:
	case NVME_ADM_ASYNC_EVENT:
	case NVME_ADM_DBBUF_CONFIG:
	case NVME_ADM_FORMAT:
		return true;
	default:
		return false;
	}
}

void nvme_admin(struct nvme_req *req)
{
	if (!opcode_known(req->ctrl, req->cmd.opcode)) {
		nvme_complete_status(req, NVME_SC_INVALID_OPCODE | NVME_SC_DNR);
		return;
	}
	if (NVME_FLAGS_FUSE(req->cmd.flags)) {
		nvme_complete_status(req, nvme_bad_field(req, 1, 0));
		return;
	}
	/* Admin commands use PRPs on PCI Express. */
	if (NVME_FLAGS_PSDT(req->cmd.flags)) {
		nvme_complete_status(req, nvme_bad_field(req, 1, 6));
		return;
	}
	switch ((enum nvme_admin_opcode)req->cmd.opcode) {
	case NVME_ADM_DELETE_SQ:
		nvme_admin_delete_sq(req);
		break;
	case NVME_ADM_CREATE_SQ:
		nvme_admin_create_sq(req);
		break;
	case NVME_ADM_GET_LOG_PAGE:
		nvme_admin_log_page(req);
		break;
	case NVME_ADM_DELETE_CQ:
		nvme_admin_delete_cq(req);
		break;
	case NVME_ADM_CREATE_CQ:
		nvme_admin_create_cq(req);
		break;
	case NVME_ADM_IDENTIFY:
		nvme_admin_identify(req);
		break;
	case NVME_ADM_ABORT:
		abort_command(req);
		break;
	case NVME_ADM_SET_FEATURES:
		nvme_admin_set_features(req);
		break;
	case NVME_ADM_GET_FEATURES:
		nvme_admin_get_features(req);
		break;
	case NVME_ADM_ASYNC_EVENT:
		nvme_admin_async_event(req);
		break;
	case NVME_ADM_DBBUF_CONFIG:
		nvme_admin_dbbuf(req);
		break;
	case NVME_ADM_FORMAT:
		nvme_admin_format(req);
		break;
	case NVME_ADM_NS_MANAGEMENT:
		nvme_admin_ns_management(req);
		break;
	case NVME_ADM_NS_ATTACHMENT:
		nvme_admin_attach(req);
		break;
	case NVME_ADM_VIRT_MANAGEMENT:
		nvme_admin_virt(req);
		break;
	}
}
