/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Asynchronous events.
 *
 * Theory of operation.  An event is one bit, of its type and its information, from when it happens
 * until it is reported; so events are bounded, and one that happens again before it is reported is
 * one event.  Reporting takes an Asynchronous Event Request and masks the type until its log page
 * is read.
 */
#include <string.h>

#include "devices/nvme/nvme.h"

static const uint8_t log_pages[NVME_NR_EVENT_TYPES] = {
	[NVME_EVENT_ERROR] = NVME_LOG_ERROR,
	[NVME_EVENT_SMART] = NVME_LOG_SMART,
	[NVME_EVENT_NOTICE] = NVME_LOG_CHANGED_NS,
};

static void report(struct nvme_ctrl *c)
{
	for (unsigned type = 0; type < NVME_NR_EVENT_TYPES && c->nr_aers; type++) {
		struct nvme_req *req;
		unsigned info;

		if (!c->events[type] || c->event_masked[type])
			continue;
		info = (unsigned)__builtin_ctz(c->events[type]);
		c->events[type] &= (uint8_t) ~(1u << info);
		c->event_masked[type] = true;
		req = c->aers[0];
		c->nr_aers--;
		memmove(&c->aers[0], &c->aers[1], c->nr_aers * sizeof(c->aers[0]));
		req->state = NVME_REQ_ACTIVE;
		req->sq->cq->reserved++;
		req->dw0 = type | info << 8 | (uint32_t)log_pages[type] << 16;
		nvme_complete(req);
	}
}

void nvme_event(struct nvme_ctrl *c, enum nvme_event_type type, unsigned info)
{
	c->events[type] |= (uint8_t)(1u << info);
	report(c);
}

void nvme_events_unmask(struct nvme_ctrl *c, enum nvme_event_type type)
{
	c->event_masked[type] = false;
	report(c);
}

void nvme_events_reset(struct nvme_ctrl *c)
{
	c->nr_aers = 0;
	memset(c->events, 0, sizeof(c->events));
	memset(c->event_masked, 0, sizeof(c->event_masked));
}

unsigned nvme_critical_warning(const struct nvme_ctrl *c)
{
	/* A threshold of 0 is under every temperature, and one of FFFFh above. */
	bool hot_or_cold =
		c->temperature >= c->feat.temp_over || c->temperature <= c->feat.temp_under;
	bool unreliable = atomic_load(&c->pmr.health) == NVME_PMR_UNRELIABLE;

	return (hot_or_cold ? NVME_SMART_WARN_TEMPERATURE : 0) |
	       (unreliable ? NVME_SMART_WARN_PMR : 0);
}

void nvme_check_temperature(struct nvme_ctrl *c)
{
	if (nvme_critical_warning(c) & c->feat.async_events & NVME_SMART_WARN_TEMPERATURE)
		nvme_event(c, NVME_EVENT_SMART, NVME_EVENT_SMART_TEMPERATURE);
}

void nvme_admin_async_event(struct nvme_req *req)
{
	struct nvme_ctrl *c = req->ctrl;

	if (c->nr_aers > NVME_AERL) {
		nvme_complete_status(req, NVME_SC_AER_LIMIT | NVME_SC_DNR);
		return;
	}
	/* It may be held for ever: its place in the completion queue is free until then. */
	req->state = NVME_REQ_HELD;
	req->sq->cq->reserved--;
	c->aers[c->nr_aers++] = req;
	report(c);
	nvme_size_watch(c);
}

bool nvme_abort_aer(struct nvme_req *req)
{
	struct nvme_ctrl *c = req->ctrl;

	for (unsigned i = 0; i < c->nr_aers; i++) {
		if (c->aers[i] != req)
			continue;
		c->nr_aers--;
		memmove(&c->aers[i], &c->aers[i + 1], (c->nr_aers - i) * sizeof(c->aers[0]));
		req->state = NVME_REQ_ACTIVE;
		req->sq->cq->reserved++;
		return true;
	}
	return false;
}
