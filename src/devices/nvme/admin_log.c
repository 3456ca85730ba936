/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Get Log Page, and the error log.
 *
 * A page is made whole in scratch and the asked-for part of it is returned; what a host asks for
 * behind its end is not written.  Reading a page without Retain Asynchronous Event lets the events
 * that point to it be reported again.
 */
#include <string.h>

#include "devices/nvme/nvme.h"

#define RAE (1u << 15)

/* ---- the error log ---- */

static struct nvme_error_entry *error_new(struct nvme_ctrl *c)
{
	struct nvme_error_entry *e = &c->errors[c->error_pos++ % NVME_ERROR_ENTRIES];

	memset(e, 0, sizeof(*e));
	e->count = ++c->count.errors;
	e->location = 0xffff;
	return e;
}

unsigned nvme_log_error(struct nvme_req *req, unsigned status)
{
	struct nvme_error_entry *e;

	switch (status & NVME_SC_MASK) {
	case NVME_SC_SUCCESS:
	case NVME_SC_ABORT_REQUESTED:
	case NVME_SC_ABORT_SQ_DELETED:
		return status;
	}
	status |= NVME_SC_MORE;
	e = error_new(req->ctrl);
	e->sqid = req->sq->id;
	e->cid = req->cmd.cid;
	e->status = (uint16_t)(status << 1);
	e->location = req->err_location;
	e->nsid = req->cmd.nsid;
	if (req->sq->id)
		e->lba = nvme_slba(&req->cmd);
	return status;
}

void nvme_log_doorbell_error(struct nvme_ctrl *c, unsigned sqid)
{
	struct nvme_error_entry *e = error_new(c);

	e->sqid = (uint16_t)sqid;
	e->cid = 0xffff; /* of no command */
}

/* ---- the pages ---- */

static uint32_t make_errors(struct nvme_ctrl *c, uint8_t *out)
{
	unsigned nr = c->error_pos < NVME_ERROR_ENTRIES ? c->error_pos : NVME_ERROR_ENTRIES;

	for (unsigned i = 0; i < nr; i++) /* the latest first */
		memcpy(out + i * sizeof(c->errors[0]),
		       &c->errors[(c->error_pos - 1 - i) % NVME_ERROR_ENTRIES],
		       sizeof(c->errors[0]));
	return NVME_ERROR_ENTRIES * sizeof(c->errors[0]);
}

static uint64_t data_units(uint64_t bytes)
{
	return (bytes + 511999) / 512000;
}

static uint32_t make_smart(struct nvme_ctrl *c, uint8_t *out)
{
	struct nvme_smart_log *s = (struct nvme_smart_log *)out;

	s->critical_warning = (uint8_t)nvme_critical_warning(c);
	s->temperature = c->temperature;
	s->avail_spare = 100;
	s->spare_threshold = 10;
	s->data_units_read[0] = data_units(c->count.bytes_read);
	s->data_units_written[0] = data_units(c->count.bytes_written);
	s->host_reads[0] = c->count.reads;
	s->host_writes[0] = c->count.writes;
	s->power_cycles[0] = c->count.power_cycles;
	s->power_on_hours[0] = (nvme_now_ns() - c->started_ns) / 3600000000000;
	s->unsafe_shutdowns[0] = c->count.unsafe_shutdowns;
	s->media_errors[0] = c->count.media_errors;
	s->error_entries[0] = c->count.errors;
	return sizeof(*s);
}

static uint32_t make_firmware(uint8_t *out)
{
	struct nvme_firmware_log *f = (struct nvme_firmware_log *)out;

	f->afi = 1; /* slot 1 is active */
	memcpy(f->slots[0], "1.0     ", 8);
	return sizeof(*f);
}

static uint32_t make_changed(struct nvme_ctrl *c, uint8_t *out)
{
	uint32_t *list = (uint32_t *)out;
	unsigned n = 0;

	static_assert(NVME_MAX_NAMESPACES <= 1024, "fits the list");
	for (unsigned i = 0; i < c->nr_ns; i++) {
		if (c->ns[i].changed)
			list[n++] = c->ns[i].id;
	}
	return NVME_SCRATCH;
}

static uint32_t make_effects(const struct nvme_ctrl *c, uint8_t *out)
{
	struct nvme_effects_log *e = (struct nvme_effects_log *)out;
	static const uint8_t admin[] = {
		NVME_ADM_DELETE_SQ,   NVME_ADM_CREATE_SQ,    NVME_ADM_GET_LOG_PAGE,
		NVME_ADM_DELETE_CQ,   NVME_ADM_CREATE_CQ,    NVME_ADM_IDENTIFY,
		NVME_ADM_ABORT,       NVME_ADM_SET_FEATURES, NVME_ADM_GET_FEATURES,
		NVME_ADM_ASYNC_EVENT, NVME_ADM_DBBUF_CONFIG,
	};
	static const uint8_t reading[] = {NVME_IO_FLUSH, NVME_IO_READ, NVME_IO_COMPARE,
					  NVME_IO_VERIFY};
	static const uint8_t writing[] = {NVME_IO_WRITE, NVME_IO_WRITE_UNCORRECTABLE,
					  NVME_IO_WRITE_ZEROES, NVME_IO_DSM};

	for (size_t i = 0; i < sizeof(admin); i++)
		e->admin[admin[i]] = NVME_EFFECT_SUPPORTED;
	e->admin[NVME_ADM_FORMAT] =
		NVME_EFFECT_SUPPORTED | NVME_EFFECT_LBA | NVME_EFFECT_NS | NVME_EFFECT_EXCLUSIVE_NS;
	if (nvme_is_manager(c)) {
		e->admin[NVME_ADM_VIRT_MANAGEMENT] = NVME_EFFECT_SUPPORTED;
		e->admin[NVME_ADM_NS_MANAGEMENT] = NVME_EFFECT_SUPPORTED;
		e->admin[NVME_ADM_NS_ATTACHMENT] = NVME_EFFECT_SUPPORTED | NVME_EFFECT_INVENTORY;
	}
	for (size_t i = 0; i < sizeof(reading); i++)
		e->io[reading[i]] = NVME_EFFECT_SUPPORTED;
	for (size_t i = 0; i < sizeof(writing); i++)
		e->io[writing[i]] = NVME_EFFECT_SUPPORTED | NVME_EFFECT_LBA;
	return sizeof(*e);
}

/* The size of page @lid, which is then in scratch, or 0 when there is none. */
static uint32_t make_page(struct nvme_req *req)
{
	struct nvme_ctrl *c = req->ctrl;
	uint8_t *out = req->mem->scratch;

	memset(out, 0, NVME_SCRATCH);
	switch (req->cmd.cdw10 & 0xff) {
	case NVME_LOG_ERROR:
		return make_errors(c, out);
	case NVME_LOG_SMART:
		return make_smart(c, out);
	case NVME_LOG_FIRMWARE:
		return make_firmware(out);
	case NVME_LOG_CHANGED_NS:
		return make_changed(c, out);
	case NVME_LOG_EFFECTS:
		return make_effects(c, out);
	default:
		return 0;
	}
}

static void page_was_read(struct nvme_req *req)
{
	struct nvme_ctrl *c = req->ctrl;

	if (req->cmd.cdw10 & RAE)
		return;
	switch (req->cmd.cdw10 & 0xff) {
	case NVME_LOG_ERROR:
		nvme_events_unmask(c, NVME_EVENT_ERROR);
		break;
	case NVME_LOG_SMART:
		nvme_events_unmask(c, NVME_EVENT_SMART);
		break;
	case NVME_LOG_CHANGED_NS:
		for (unsigned i = 0; i < c->nr_ns; i++)
			c->ns[i].changed = false;
		nvme_events_unmask(c, NVME_EVENT_NOTICE);
		break;
	}
}

/* ---- the command ---- */

static uint64_t page_offset(const struct nvme_req *req)
{
	return req->cmd.cdw12 | (uint64_t)req->cmd.cdw13 << 32;
}

static void log_copied(struct nvme_req *req)
{
	if (!req->status)
		page_was_read(req);
	nvme_complete(req);
}

static void log_mapped(struct nvme_req *req)
{
	req->step = log_copied;
	if (!req->status) {
		/* Mapping may have used scratch for a list; and time may have passed. */
		make_page(req);
		if (nvme_copy(req, req->mem->scratch + page_offset(req), req->log_len, true) ==
		    NVME_PENDING)
			return;
	}
	log_copied(req);
}

static unsigned log_check(struct nvme_req *req)
{
	const struct nvme_sqe *cmd = &req->cmd;
	uint64_t offset = page_offset(req);
	uint64_t len = (((uint64_t)(cmd->cdw11 & 0xffff) << 16 | cmd->cdw10 >> 16) + 1) * 4;
	uint32_t size = make_page(req);

	if (!size)
		return NVME_SC_LOG_PAGE_INVALID | NVME_SC_DNR;
	/* No page is kept for one namespace. */
	if (cmd->nsid && cmd->nsid != NVME_NSID_ALL)
		return nvme_ns_get(req->ctrl, cmd->nsid) ? nvme_bad_field(req, 4, 0)
							 : NVME_SC_INVALID_NS | NVME_SC_DNR;
	if (offset & 3)
		return nvme_bad_field(req, 48, 0);
	if (offset > size)
		return nvme_bad_field(req, 48, 0);
	if (len > NVME_MAX_TRANSFER)
		return nvme_bad_field(req, 42, 0);
	req->log_len = (uint32_t)(len < size - offset ? len : size - offset);
	return 0;
}

void nvme_admin_log_page(struct nvme_req *req)
{
	unsigned status = log_check(req);

	if (status) {
		nvme_complete_status(req, status);
		return;
	}
	req->step = log_mapped;
	if (!req->log_len || nvme_map(req, req->log_len) != NVME_PENDING)
		log_mapped(req);
}
