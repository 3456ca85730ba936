/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Get and Set Features.  One table says of each feature what it is; none is saveable, so "saved"
 * answers the default.  A controller reset brings back the defaults, except of the timestamp.
 */
#include <stddef.h>
#include <string.h>

#include "devices/nvme/nvme.h"

struct feature {
	uint8_t id;
	uint8_t caps;  /* NVME_FEATCAP_… */
	uint16_t data; /* bytes of data, at most; 0: none */
	uint16_t word; /* without @get: where the value is in struct nvme_features; default 0 */
	uint32_t mask; /* without @set: the bits of it that can be set */
	unsigned (*get)(struct nvme_req *req, bool current, uint32_t *dw0);
	unsigned (*set)(struct nvme_req *req, uint32_t value);
};

void nvme_features_reset(struct nvme_ctrl *c)
{
	struct nvme_features *f = &c->feat;
	bool timestamp_set = f->timestamp_set;
	uint64_t timestamp = f->timestamp, timestamp_ns = f->timestamp_ns;

	memset(f, 0, sizeof(*f));
	f->temp_over = NVME_WARNING_TEMP;
	f->write_cache = true;
	f->nr_sqs = f->nr_cqs = (uint16_t)c->io_queues;
	f->timestamp_set = timestamp_set;
	f->timestamp = timestamp;
	f->timestamp_ns = timestamp_ns;
}

/* ---- one pair of functions a feature ---- */

#define EVENTS_MASK (0xff | NVME_AEC_NS_ATTR)

static unsigned set_power(struct nvme_req *req, uint32_t value)
{
	if (value & 0x1f) /* power state 0 is the only one */
		return nvme_bad_field(req, 44, 0);
	req->ctrl->feat.power = value & 0xff;
	return 0;
}

static unsigned get_temperature(struct nvme_req *req, bool current, uint32_t *dw0)
{
	uint32_t value = req->cmd.cdw11;
	struct nvme_features *f = &req->ctrl->feat;

	if ((value >> 16) & 0xf) /* the composite temperature is the only one */
		return nvme_bad_field(req, 46, 0);
	switch ((value >> 20) & 3) {
	case 0:
		*dw0 = current ? f->temp_over : NVME_WARNING_TEMP;
		return 0;
	case 1:
		*dw0 = current ? f->temp_under : 0;
		return 0;
	default:
		return nvme_bad_field(req, 46, 4);
	}
}

static unsigned set_temperature(struct nvme_req *req, uint32_t value)
{
	struct nvme_features *f = &req->ctrl->feat;
	unsigned sensor = (value >> 16) & 0xf;

	if (sensor != 0 && sensor != 0xf)
		return nvme_bad_field(req, 46, 0);
	switch ((value >> 20) & 3) {
	case 0:
		f->temp_over = (uint16_t)value;
		break;
	case 1:
		f->temp_under = (uint16_t)value;
		break;
	default:
		return nvme_bad_field(req, 46, 4);
	}
	nvme_check_temperature(req->ctrl);
	return 0;
}

static unsigned check_feature_ns(struct nvme_req *req, bool all)
{
	if (nvme_ns_get(req->ctrl, req->cmd.nsid) || (all && req->cmd.nsid == NVME_NSID_ALL))
		return 0;
	return NVME_SC_INVALID_NS | NVME_SC_DNR;
}

static unsigned get_error_recovery(struct nvme_req *req, bool current, uint32_t *dw0)
{
	unsigned status = check_feature_ns(req, false);

	*dw0 = !status && current ? nvme_ns_get(req->ctrl, req->cmd.nsid)->tler : 0;
	return status;
}

static unsigned set_error_recovery(struct nvme_req *req, uint32_t value)
{
	struct nvme_ctrl *c = req->ctrl;
	unsigned status = check_feature_ns(req, true);

	if (status)
		return status;
	if (value & (1u << 16)) /* DULBE, which no namespace offers */
		return nvme_bad_field(req, 46, 0);
	for (unsigned i = 0; i < c->nr_ns; i++) {
		if (nvme_ns_get(c, i + 1) &&
		    (req->cmd.nsid == NVME_NSID_ALL || c->ns[i].id == req->cmd.nsid))
			c->ns[i].tler = (uint16_t)value;
	}
	return 0;
}

static unsigned get_vwc(struct nvme_req *req, bool current, uint32_t *dw0)
{
	if (!req->ctrl->volatile_cache)
		return nvme_bad_field(req, 40, 0);
	*dw0 = current ? req->ctrl->feat.write_cache : 1;
	return 0;
}

static unsigned set_vwc(struct nvme_req *req, uint32_t value)
{
	if (!req->ctrl->volatile_cache)
		return nvme_bad_field(req, 40, 0);
	req->ctrl->feat.write_cache = value & 1;
	return 0;
}

static unsigned get_queues(struct nvme_req *req, bool current, uint32_t *dw0)
{
	struct nvme_ctrl *c = req->ctrl;
	uint32_t sqs = current ? c->feat.nr_sqs : c->io_queues;
	uint32_t cqs = current ? c->feat.nr_cqs : c->io_queues;

	*dw0 = (cqs - 1) << 16 | (sqs - 1);
	return 0;
}

static unsigned set_queues(struct nvme_req *req, uint32_t value)
{
	struct nvme_ctrl *c = req->ctrl;
	uint32_t sqs = (value & 0xffff) + 1, cqs = (value >> 16) + 1;

	if (sqs > 0xffff || cqs > 0xffff)
		return nvme_bad_field(req, 44, 0);
	/* Only before any I/O queue exists. */
	for (unsigned i = 1; i < c->top_queue; i++) {
		if (c->sqs[i].state != NVME_SQ_UNUSED || c->cqs[i].used)
			return NVME_SC_SEQUENCE | NVME_SC_DNR;
	}
	c->feat.nr_sqs = (uint16_t)(sqs < c->io_queues ? sqs : c->io_queues);
	c->feat.nr_cqs = (uint16_t)(cqs < c->io_queues ? cqs : c->io_queues);
	return get_queues(req, true, &req->dw0);
}

static unsigned get_vector(struct nvme_req *req, bool current, uint32_t *dw0)
{
	unsigned v = req->cmd.cdw11 & 0xffff;

	if (v >= nvme_vectors(req->ctrl))
		return nvme_bad_field(req, 44, 0);
	/* The admin queue's vector is never coalesced for it. */
	*dw0 = v | (current && req->ctrl->vectors[v].no_coalescing ? 1u << 16 : 0);
	return 0;
}

static unsigned set_vector(struct nvme_req *req, uint32_t value)
{
	unsigned v = value & 0xffff;

	if (v >= nvme_vectors(req->ctrl))
		return nvme_bad_field(req, 44, 0);
	req->ctrl->vectors[v].no_coalescing = value & (1u << 16);
	return 0;
}

static unsigned set_events(struct nvme_req *req, uint32_t value)
{
	/* What the controller may report; further bits are of events it does not have. */
	req->ctrl->feat.async_events = value & EVENTS_MASK;
	nvme_check_temperature(req->ctrl);
	nvme_size_watch(req->ctrl);
	return 0;
}

static unsigned get_timestamp(struct nvme_req *req, bool current, uint32_t *dw0)
{
	const struct nvme_features *f = &req->ctrl->feat;
	uint64_t base = current && f->timestamp_set ? f->timestamp : 0;
	uint64_t since = current && f->timestamp_set ? f->timestamp_ns : req->ctrl->started_ns;
	uint64_t value = (base + (nvme_now_ns() - since) / 1000000) & 0xffffffffffffull;

	/* Bits 51:49: where the value comes from, 1 being Set Features. */
	if (current && f->timestamp_set)
		value |= 1ull << 49;
	memcpy(req->mem->scratch, &value, 8);
	return 0;
}

static unsigned set_timestamp(struct nvme_req *req, uint32_t value)
{
	struct nvme_features *f = &req->ctrl->feat;

	memcpy(&f->timestamp, req->mem->scratch, 8);
	f->timestamp &= 0xffffffffffffull;
	f->timestamp_ns = nvme_now_ns();
	f->timestamp_set = true;
	return 0;
}

static unsigned get_profile(struct nvme_req *req, bool current, uint32_t *dw0)
{
	*dw0 = 0;
	return 0;
}

static unsigned set_profile(struct nvme_req *req, uint32_t value)
{
	if (value & 0x1ff) /* the combinations of Identify CNS 1Ch: only number 0 */
		return NVME_SC_IOCS_COMBINATION | NVME_SC_DNR;
	return 0;
}

static unsigned get_host_id(struct nvme_req *req, bool current, uint32_t *dw0)
{
	const struct nvme_features *f = &req->ctrl->feat;

	memset(req->mem->scratch, 0, 16);
	if (current)
		memcpy(req->mem->scratch, f->host_id, req->cmd.cdw11 & 1 ? 16 : 8);
	return 0;
}

static unsigned set_host_id(struct nvme_req *req, uint32_t value)
{
	struct nvme_features *f = &req->ctrl->feat;

	memset(f->host_id, 0, 16);
	memcpy(f->host_id, req->mem->scratch, value & 1 ? 16 : 8);
	return 0;
}

#define CHANGEABLE   NVME_FEATCAP_CHANGEABLE
#define WORD(member) offsetof(struct nvme_features, member)

static const struct feature features[] = {
	{NVME_FEAT_ARBITRATION, CHANGEABLE, .word = WORD(arbitration), .mask = 0xffffff07},
	{NVME_FEAT_POWER, CHANGEABLE, .word = WORD(power), .set = set_power},
	{NVME_FEAT_TEMPERATURE, CHANGEABLE, .get = get_temperature, .set = set_temperature},
	{NVME_FEAT_ERROR_RECOVERY, CHANGEABLE | NVME_FEATCAP_NS, .get = get_error_recovery,
	 .set = set_error_recovery},
	{NVME_FEAT_VWC, CHANGEABLE, .get = get_vwc, .set = set_vwc},
	{NVME_FEAT_QUEUES, CHANGEABLE, .get = get_queues, .set = set_queues},
	{NVME_FEAT_COALESCING, CHANGEABLE, .word = WORD(coalescing), .mask = 0xffff},
	{NVME_FEAT_VECTOR_CONFIG, CHANGEABLE, .get = get_vector, .set = set_vector},
	{NVME_FEAT_ATOMICITY, CHANGEABLE, .word = WORD(atomicity), .mask = 1},
	{NVME_FEAT_ASYNC_EVENTS, CHANGEABLE, .word = WORD(async_events), .set = set_events},
	{NVME_FEAT_TIMESTAMP, CHANGEABLE, .data = 8, .get = get_timestamp, .set = set_timestamp},
	{NVME_FEAT_IOCS_PROFILE, CHANGEABLE, .get = get_profile, .set = set_profile},
	{NVME_FEAT_SW_PROGRESS, CHANGEABLE, .word = WORD(sw_progress), .mask = 0xff},
	{NVME_FEAT_HOST_ID, CHANGEABLE, .data = 16, .get = get_host_id, .set = set_host_id},
};

bool nvme_feature_valid(uint8_t id, uint32_t value)
{
	if (id == NVME_FEAT_POWER)
		return !(value & ~0xe0u);
	if (id == NVME_FEAT_ASYNC_EVENTS)
		return !(value & ~EVENTS_MASK);
	for (size_t i = 0; i < sizeof(features) / sizeof(features[0]); i++) {
		if (features[i].id == id)
			return !(value & ~features[i].mask);
	}
	return false;
}

/* ---- the commands ---- */

static const struct feature *find(struct nvme_req *req)
{
	for (size_t i = 0; i < sizeof(features) / sizeof(features[0]); i++) {
		if (features[i].id == (req->cmd.cdw10 & 0xff))
			return &features[i];
	}
	return NULL;
}

static unsigned get(const struct feature *f, struct nvme_req *req, bool current, uint32_t *dw0)
{
	if (f->get)
		return f->get(req, current, dw0);
	*dw0 = current ? *(const uint32_t *)((const char *)&req->ctrl->feat + f->word) : 0;
	return 0;
}

static unsigned set(const struct feature *f, struct nvme_req *req, uint32_t value)
{
	if (f->set)
		return f->set(req, value);
	*(uint32_t *)((char *)&req->ctrl->feat + f->word) = value & f->mask;
	return 0;
}

static uint32_t data_len(const struct feature *f, const struct nvme_req *req)
{
	return f->id == NVME_FEAT_HOST_ID && !(req->cmd.cdw11 & 1) ? 8 : f->data;
}

static void get_mapped(struct nvme_req *req)
{
	const struct feature *f = find(req);
	unsigned select = (req->cmd.cdw10 >> 8) & 7;
	unsigned status = req->status;

	if (!status)
		status = get(f, req, select == NVME_SEL_CURRENT, &req->dw0);
	if (status)
		nvme_complete_status(req, status);
	else
		nvme_admin_return(req, data_len(f, req));
}

void nvme_admin_get_features(struct nvme_req *req)
{
	const struct feature *f = find(req);
	unsigned select = (req->cmd.cdw10 >> 8) & 7;

	if (!f || (f->id == NVME_FEAT_VWC && !req->ctrl->volatile_cache)) {
		nvme_complete_status(req, nvme_bad_field(req, 40, 0));
		return;
	}
	if (select > NVME_SEL_CAPABILITIES) {
		nvme_complete_status(req, nvme_bad_field(req, 41, 0));
		return;
	}
	if (select == NVME_SEL_CAPABILITIES) {
		req->dw0 = f->caps;
		nvme_complete(req);
		return;
	}
	req->step = get_mapped;
	if (f->data) {
		if (nvme_map(req, data_len(f, req)) != NVME_PENDING)
			get_mapped(req);
		return;
	}
	nvme_complete_status(req, get(f, req, select == NVME_SEL_CURRENT, &req->dw0));
}

static void set_copied(struct nvme_req *req)
{
	unsigned status = req->status;

	if (!status)
		status = set(find(req), req, req->cmd.cdw11);
	nvme_complete_status(req, status);
}

static void set_mapped(struct nvme_req *req)
{
	req->step = set_copied;
	if (req->status ||
	    nvme_copy(req, req->mem->scratch, data_len(find(req), req), false) != NVME_PENDING)
		set_copied(req);
}

/* What is the controller's cannot be set for one namespace.  The write cache can, because QEMU's
 * driver asks so: it is set for all. */
static unsigned check_scope(struct nvme_req *req, const struct feature *f)
{
	if ((f->caps & NVME_FEATCAP_NS) || !req->cmd.nsid || req->cmd.nsid == NVME_NSID_ALL)
		return 0;
	if (!nvme_ns_get(req->ctrl, req->cmd.nsid))
		return NVME_SC_INVALID_NS | NVME_SC_DNR;
	return f->id == NVME_FEAT_VWC ? 0 : NVME_SC_NOT_NS_SPECIFIC | NVME_SC_DNR;
}

void nvme_admin_set_features(struct nvme_req *req)
{
	const struct feature *f = find(req);
	unsigned status;

	if (!f) {
		nvme_complete_status(req, nvme_bad_field(req, 40, 0));
		return;
	}
	if (req->cmd.cdw10 & (1u << 31)) {
		nvme_complete_status(req, NVME_SC_NOT_SAVEABLE | NVME_SC_DNR);
		return;
	}
	status = check_scope(req, f);
	if (status) {
		nvme_complete_status(req, status);
		return;
	}
	if (!f->data) {
		nvme_complete_status(req, set(f, req, req->cmd.cdw11));
		return;
	}
	req->step = set_mapped;
	if (nvme_map(req, data_len(f, req)) != NVME_PENDING)
		set_mapped(req);
}
