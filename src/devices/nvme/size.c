/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Namespaces whose storage has grown or was cut.
 *
 * Nobody tells us, so the storage is asked: when a driver asks for the size (Identify), and every
 * two seconds while a driver waits to be told (it has enabled Namespace Attribute Notices and has
 * sent an Asynchronous Event Request).  A read that finds the end too early tells as well.  In
 * between nothing runs.
 */
#include "devices/nvme/nvme.h"

#define LOOK_NS 2000000000ull

static bool wanted(const struct nvme_ctrl *c)
{
	return c->state == NVME_READY && c->resizable && c->nr_aers &&
	       (c->feat.async_events & NVME_AEC_NS_ATTR);
}

void nvme_size_watch(struct nvme_ctrl *c)
{
	if (c->size_timer_armed || c->size_looking || !wanted(c))
		return;
	c->size_timer_armed = true;
	uvfio_timer_arm(c->size_timer, LOOK_NS);
}

static void look_step(struct nvme_req *req)
{
	struct nvme_ctrl *c = req->ctrl;

	while (req->index < c->nr_ns) {
		struct nvme_ns *ns = &c->ns[req->index++];

		if (ns->attached && nvme_ns_ready(ns) &&
		    nvme_block(req, ns, BLOCK_GET_SIZE, 0, 0, 0) == NVME_PENDING)
			return;
	}
	c->size_looking = false;
	nvme_size_watch(c);
}

void nvme_size_timer(void *arg)
{
	struct nvme_ctrl *c = arg;

	c->size_timer_armed = false;
	if (!wanted(c) || c->paused) /* ->resume() looks again */
		return;
	c->size_looking = true;
	c->size_req->index = 0;
	c->size_req->step = look_step;
	look_step(c->size_req);
}

void nvme_size_reset(struct nvme_ctrl *c)
{
	if (c->size_timer_armed)
		uvfio_timer_cancel(c->size_timer);
	c->size_timer_armed = c->size_looking = false;
}
