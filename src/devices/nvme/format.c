/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Format NVM: another block size, and erasing.
 *
 * Commands to a namespace that is being formatted are refused (Format in Progress); those in
 * progress are waited for.  Formatting writes zeroes over all of it and may free the storage, which
 * also is what "user data erase" asks for; cryptographic erase is not supported.
 *
 * A new block size is noted with the storage (ns.c reads it when it opens that again), because data
 * written with one block size is not there with another.  That comes first, and the namespace has
 * the block size from then on, whatever becomes of the command: what is noted and what is used
 * never differ, and where nothing can be noted nothing is erased.  Storage that never can keep a
 * note has one block size, which `blocksize=` says.
 *
 * Other controllers refuse commands, too, from when they notice until the format is over, and take
 * over the block size when theirs that had begun have ended (subsys.c).  These are not waited for:
 * what one of them writes meanwhile may be there afterwards.  A secondary controller formats only
 * what is attached to no other one.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "devices/nvme/nvme.h"

#define FORMAT_CHUNK (1ull << 30)

#define LBAF(v)      ((v)&0xf)
#define MSET(v)      (((v) >> 4) & 1)
#define PI(v)        (((v) >> 5) & 7)
#define SES(v)       (((v) >> 9) & 7)

enum format_phase { FORMAT_WAIT, FORMAT_NOTED, FORMAT_ERASE, FORMAT_NEXT };

/* @ns is not formatted any more; its other controllers take over its block size. */
static void leave(struct nvme_ns *ns)
{
	struct nvme_subsys *sub = ns->disk->sub;

	ns->format_req = NULL;
	ns->formatting = false;
	pthread_mutex_lock(&sub->lock);
	ns->disk->formatter = NULL;
	ns->disk->shift = ns->shift;
	if (sub->shared)
		nvme_subsys_changed(sub);
	pthread_mutex_unlock(&sub->lock);
}

static void format_leave(struct nvme_req *req)
{
	struct nvme_ctrl *c = req->ctrl;

	for (unsigned i = 0; i < c->nr_ns; i++) {
		if (c->ns[i].format_req == req)
			leave(&c->ns[i]);
	}
	nvme_complete(req);
}

void nvme_format_reset(struct nvme_ctrl *c)
{
	for (unsigned i = 0; i < c->nr_ns; i++) {
		if (c->ns[i].format_req)
			leave(&c->ns[i]);
	}
}

static uint8_t new_shift(const struct nvme_req *req)
{
	return LBAF(req->cmd.cdw10) ? 12 : 9;
}

static enum nvme_async note(struct nvme_req *req, struct nvme_ns *ns)
{
	char *text = (char *)req->mem->scratch;

	if (new_shift(req) == ns->shift)
		return NVME_DONE;
	snprintf(text, BLOCK_NOTE_MAX, NVME_NOTE_FORMAT, 1u << new_shift(req));
	req->mem->iov[0] = (struct iovec){text, strlen(text)};
	req->io.iov = req->mem->iov;
	req->io.nr_iov = 1;
	return nvme_block(req, ns, BLOCK_NOTE, 0, 0, 0);
}

static void noted(struct nvme_req *req, struct nvme_ns *ns)
{
	nvme_bad_free(ns->disk); /* which is in blocks */
	nvme_ns_set_shift(ns, new_shift(req));
	req->offset = 0;
	req->left = block_info(ns->blk)->size; /* what is no whole block as well */
}

static enum nvme_async erase(struct nvme_req *req, struct nvme_ns *ns)
{
	if (!req->left) {
		req->phase = FORMAT_NEXT;
		return NVME_DONE;
	}
	if (req->ctrl->paused)
		return nvme_suspend(req);
	req->chunk = req->left < FORMAT_CHUNK ? req->left : FORMAT_CHUNK;
	req->left -= req->chunk;
	req->offset += req->chunk;
	return nvme_block(req, ns, BLOCK_WRITE_ZEROES, req->offset - req->chunk, req->chunk,
			  BLOCK_MAY_FREE);
}

static void format_step(struct nvme_req *req)
{
	struct nvme_ctrl *c = req->ctrl;
	enum nvme_async r = NVME_DONE;

	while (r == NVME_DONE && !req->status && req->index < req->count) {
		struct nvme_ns *ns = &c->ns[req->index];

		if (ns->format_req != req) { /* it is not attached */
			req->index++;
			continue;
		}
		switch ((enum format_phase)req->phase) {
		case FORMAT_WAIT:
			if (ns->inflight)
				return; /* nvme_format_run() comes back */
			req->phase = FORMAT_NOTED;
			r = note(req, ns);
			break;
		case FORMAT_NOTED:
			noted(req, ns);
			req->phase = FORMAT_ERASE;
			break;
		case FORMAT_ERASE:
			r = erase(req, ns);
			break;
		case FORMAT_NEXT:
			req->index++;
			req->phase = FORMAT_WAIT;
			break;
		}
	}
	if (r == NVME_PENDING)
		return;
	if (req->phase == FORMAT_NOTED && req->status && req->io.status != -ECANCELED)
		uvfio_device_log(
			c->dev, UVFIO_LOG_WARN,
			"nvme: namespace %u: not formatted, because its block size cannot be "
			"noted in the file: %s; may the server write the file's attributes?",
			req->index + 1, strerror(-req->io.status));
	format_leave(req);
}

void nvme_format_run(struct nvme_ctrl *c)
{
	for (unsigned i = 0; i < c->nr_ns; i++) {
		struct nvme_req *req = c->ns[i].format_req;

		if (req && req->phase == FORMAT_WAIT && req->index == i && !c->ns[i].inflight)
			format_step(req);
	}
}

static unsigned format_check(struct nvme_req *req)
{
	struct nvme_ctrl *c = req->ctrl;
	uint32_t v = req->cmd.cdw10;

	if (req->cmd.nsid == NVME_NSID_ALL) {
		req->index = 0;
		req->count = c->nr_ns;
	} else {
		if (!nvme_ns_get(c, req->cmd.nsid))
			return NVME_SC_INVALID_NS | NVME_SC_DNR;
		req->index = req->cmd.nsid - 1;
		req->count = req->cmd.nsid;
	}
	if (LBAF(v) > 1 || PI(v) || MSET(v))
		return NVME_SC_FORMAT_INVALID | NVME_SC_DNR;
	if (SES(v) > 1)
		return nvme_bad_field(req, 41, 1);
	for (unsigned i = req->index; i < req->count; i++) {
		const struct nvme_ns *ns = &c->ns[i];

		if (!ns->attached)
			continue;
		if (!nvme_ns_ready(ns))
			return NVME_SC_NS_NOT_READY;
		if (ns->readonly)
			return NVME_SC_WRITE_PROTECTED | NVME_SC_DNR;
		if (ns->formatting)
			return NVME_SC_FORMAT_IN_PROGRESS;
		if (!nvme_ns_can_have(ns, new_shift(req)))
			return NVME_SC_FORMAT_INVALID | NVME_SC_DNR;
		/* A VF's user changes nothing for others. */
		if (c->secondary && nvme_disk_has_others(ns->disk, c))
			return NVME_SC_OPERATION_DENIED | NVME_SC_DNR;
	}
	return 0;
}

/* All of them are this controller's to format, or none. */
static unsigned format_enter(struct nvme_req *req)
{
	struct nvme_ctrl *c = req->ctrl;
	unsigned status = 0;

	pthread_mutex_lock(&c->sub->lock);
	for (unsigned i = req->index; i < req->count; i++) {
		if (c->ns[i].attached && c->sub->disks[i].formatter)
			status = NVME_SC_FORMAT_IN_PROGRESS;
	}
	for (unsigned i = req->index; i < req->count && !status; i++) {
		if (!c->ns[i].attached)
			continue;
		c->sub->disks[i].formatter = c;
		c->ns[i].formatting = true;
		c->ns[i].format_req = req;
	}
	if (!status && c->sub->shared)
		nvme_subsys_changed(c->sub);
	pthread_mutex_unlock(&c->sub->lock);
	return status;
}

void nvme_admin_format(struct nvme_req *req)
{
	unsigned status = format_check(req);

	if (!status)
		status = format_enter(req);
	if (status) {
		nvme_complete_status(req, status);
		return;
	}
	req->phase = FORMAT_WAIT;
	req->step = format_step;
	format_step(req);
}
