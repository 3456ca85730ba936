/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The state of a controller for its migration: what it is (NVID), its registers (NVCT), its
 * features (NVFT), and its logs and events (NVLG).
 */
#include <string.h>

#include "devices/nvme/migrate.h"

/* ---- NVID: what both sides must have alike ---- */

/* As numbers; a driver sees all of them. */
enum {
	ID_VENDOR,
	ID_DEVICE,
	ID_SECONDARY,
	ID_CNTLID,
	ID_QUEUES,
	ID_VECTORS,
	ID_MSI,
	ID_INTX,
	ID_CMB,
	ID_PMR,
	ID_VFS,
	ID_VQ,
	ID_VI,
	ID_NAMESPACES,
	ID_CAP,
	NR_IDS
};

static const struct {
	const char *what, *option;
} ids[] = {
	[ID_VENDOR] = {"PCI vendor", "vendor="},
	[ID_DEVICE] = {"PCI device", "device="},
	[ID_SECONDARY] = {"being a VF (1) or none (0)", "vfs="},
	[ID_CNTLID] = {"controller identifier, which is the VF's index + 1,", "vfs="},
	[ID_QUEUES] = {"number of I/O queues", "queues= or vq_flexible="},
	[ID_VECTORS] = {"number of interrupt vectors", "queues=, interrupts= or vi_flexible="},
	[ID_MSI] = {"number of MSI vectors", "interrupts="},
	[ID_INTX] = {"having INTx only (1) or more (0)", "interrupts="},
	[ID_CMB] = {"size of the controller memory buffer", "cmb="},
	[ID_PMR] = {"size of the persistent memory region", "pmr="},
	[ID_VFS] = {"number of VFs", "vfs="},
	[ID_VQ] = {"number of flexible queue resources", "vq_flexible="},
	[ID_VI] = {"number of flexible interrupt vectors", "vi_flexible="},
	[ID_NAMESPACES] = {"number of namespaces", "ns="},
	[ID_CAP] = {"CAP register", "options"},
};
static_assert(sizeof(ids) / sizeof(ids[0]) == NR_IDS, "each of them");

static void identity(const struct nvme_ctrl *c, uint64_t v[NR_IDS])
{
	v[ID_VENDOR] = c->vendor;
	v[ID_DEVICE] = c->device;
	v[ID_SECONDARY] = c->secondary;
	v[ID_CNTLID] = c->cntlid;
	v[ID_QUEUES] = c->nr_queues;
	v[ID_VECTORS] = c->nr_vectors;
	v[ID_MSI] = c->msi_vectors;
	v[ID_INTX] = c->intx_only;
	v[ID_CMB] = c->cmb.size;
	v[ID_PMR] = c->pmr.window.size;
	v[ID_VFS] = c->sub->total_vfs;
	v[ID_VQ] = c->sub->vq_total;
	v[ID_VI] = c->sub->vi_total;
	v[ID_NAMESPACES] = c->nr_ns;
	v[ID_CAP] = nvme_cap(c);
}

static void identity_save(struct nvme_ctrl *c, struct uvfio_save *out)
{
	uint64_t v[NR_IDS];
	char serial[20] = {0};

	identity(c, v);
	memcpy(serial, c->serial, strlen(c->serial));
	uvfio_save_bytes(out, serial, sizeof(serial));
	for (unsigned i = 0; i < NR_IDS; i++)
		uvfio_save_u64(out, v[i]);
}

static int identity_load(struct nvme_ctrl *c, struct uvfio_load *in, struct nvme_aside *a,
			 struct uvfio_error *err)
{
	const char *serial = uvfio_load_bytes(in, 20);
	uint64_t v[NR_IDS];

	identity(c, v);
	for (unsigned i = 0; i < NR_IDS; i++) {
		uint64_t there = uvfio_load_u64(in);

		if (serial && there != v[i] && uvfio_load_left(in) == 8 * (NR_IDS - 1 - i))
			return uvfio_error_set(
				err, -EINVAL,
				"nvme: the %s is 0x%llx in the stream and 0x%llx here: start this "
				"device with the same %s",
				ids[i].what, (unsigned long long)there, (unsigned long long)v[i],
				ids[i].option);
	}
	if (serial && strncmp(serial, c->serial, 20) != 0) {
		char text[21] = {0};

		for (unsigned i = 0; i < 20 && serial[i]; i++)
			text[i] = serial[i] >= 0x20 && serial[i] <= 0x7e ? serial[i] : '?';
		return uvfio_error_set(err, -EINVAL,
				       "nvme: the stream is of a controller with serial number "
				       "'%s', and this one has '%s': start it with serial=%s",
				       text, c->serial, text);
	}
	return 0;
}

const struct nvme_section nvme_section_identity = {
	.kind = "NVID",
	.version = 1,
	.save = identity_save,
	.load = identity_load,
};

/* ---- NVCT: registers, and what has come of them ---- */

static void ctrl_save(struct nvme_ctrl *c, struct uvfio_save *out)
{
	uvfio_save_u8(out, (uint8_t)c->state);
	uvfio_save_u32(out, c->csts);
	uvfio_save_u32(out, atomic_load(&c->shared.cc));
	uvfio_save_u32(out, c->shn);
	uvfio_save_u32(out, atomic_load(&c->shared.aqa));
	uvfio_save_u64(out, atomic_load(&c->shared.asq));
	uvfio_save_u64(out, atomic_load(&c->shared.acq));
	uvfio_save_u32(out, atomic_load(&c->shared.intm));
	uvfio_save_u32(out, c->msi_held);
	uvfio_save_u64(out, atomic_load(&c->shared.cmbmsc));
	uvfio_save_u64(out, atomic_load(&c->shared.pmrmsc));
	/* Of two ranges of addresses that overlap the first has them. */
	uvfio_save_u8(out, atomic_load(&c->shared.pmr_base) != 0);
	uvfio_save_u8(out, (uint8_t)c->page_bits);
	uvfio_save_u8(out, c->dbbuf);
	uvfio_save_u64(out, c->dbbuf_shadow);
	uvfio_save_u64(out, c->dbbuf_event);
	uvfio_save_u32(out, c->state == NVME_SHUTTING_DOWN ? c->shutdown_req->index : 0);
	uvfio_save_u8(out, c->online);
	uvfio_save_u32(out, c->io_queues);
	uvfio_save_u32(out, nvme_vectors(c));
}

/* What a controller in @state may show. */
static bool csts_valid(enum nvme_state state, uint32_t csts)
{
	uint32_t shst = csts & NVME_CSTS_SHST_MASK;

	if (csts & ~(NVME_CSTS_RDY | NVME_CSTS_CFS | NVME_CSTS_SHST_MASK | NVME_CSTS_NSSRO) ||
	    shst == NVME_CSTS_SHST_MASK)
		return false;
	if (!(csts & NVME_CSTS_CFS) != (state != NVME_FATAL))
		return false;
	switch (state) {
	case NVME_DISABLED:
		return !(csts & NVME_CSTS_RDY) && !shst;
	case NVME_READY:
		return (csts & NVME_CSTS_RDY) && !shst;
	case NVME_SHUTTING_DOWN:
		return shst == NVME_CSTS_SHST_OCCURRING;
	case NVME_SHUT_DOWN:
		return shst == NVME_CSTS_SHST_COMPLETE;
	case NVME_FATAL:
		return true;
	default: /* the others end before it is saved */
		return false;
	}
}

static const char *ctrl_wrong(const struct nvme_ctrl *c, const struct nvme_aside *a, bool online)
{
	bool ready = a->ctrl.csts & NVME_CSTS_RDY;
	uint32_t vectors = c->msi_vectors ? c->msi_vectors : 32;

	if (!online)
		return a->ctrl.state || a->ctrl.csts != NVME_CSTS_CFS || a->ctrl.cc
			       ? "an offline controller is not disabled"
			       : NULL;
	if (a->ctrl.state >= NVME_NR_STATES || !csts_valid(a->ctrl.state, a->ctrl.csts))
		return "CSTS is not what its state shows";
	if (a->ctrl.cc & ~NVME_CC_MASK || a->ctrl.aqa & ~NVME_AQA_MASK ||
	    (a->ctrl.asq | a->ctrl.acq) & 0xfff || a->ctrl.shn > 3)
		return "bits of CC, AQA, ASQ or ACQ are set that have no meaning";
	if (ready && !(a->ctrl.cc & NVME_CC_EN))
		return "it is ready without being enabled";
	if (a->ctrl.page_bits < 12 || a->ctrl.page_bits > 12 + NVME_MPSMAX)
		return "its page size is none of CAP's";
	if (a->ctrl.msi_held && (!c->msi_vectors || (uint64_t)a->ctrl.msi_held >> vectors))
		return "messages are held that it does not have";
	if (a->ctrl.cmbmsc & ~(NVME_CMBMSC_CBA | NVME_CMBMSC_CMSE | NVME_CMBMSC_CRE) ||
	    (a->ctrl.cmbmsc && !c->cmb.size))
		return "CMBMSC cannot be that";
	if (a->ctrl.pmrmsc & ~(NVME_CMBMSC_CBA | NVME_PMRMSC_CMSE) ||
	    ((a->ctrl.pmrmsc || a->ctrl.pmr_first) && !c->pmr.window.size))
		return "PMRMSCL cannot be that";
	if (a->ctrl.dbbuf &&
	    (!ready || (a->ctrl.shadow | a->ctrl.event) & ((1ull << a->ctrl.page_bits) - 1)))
		return "its doorbell buffers are no pages";
	if (a->ctrl.shutdown_index > c->nr_ns)
		return "its shutdown is at a namespace that it does not have";
	return NULL;
}

static int ctrl_load(struct nvme_ctrl *c, struct uvfio_load *in, struct nvme_aside *a,
		     struct uvfio_error *err)
{
	uint32_t queues, vectors;
	const char *wrong;
	bool online, bad = false;

	a->ctrl.state = uvfio_load_u8(in);
	a->ctrl.csts = uvfio_load_u32(in);
	a->ctrl.cc = uvfio_load_u32(in);
	a->ctrl.shn = uvfio_load_u32(in);
	a->ctrl.aqa = uvfio_load_u32(in);
	a->ctrl.asq = uvfio_load_u64(in);
	a->ctrl.acq = uvfio_load_u64(in);
	a->ctrl.intm = uvfio_load_u32(in);
	a->ctrl.msi_held = uvfio_load_u32(in);
	a->ctrl.cmbmsc = uvfio_load_u64(in);
	a->ctrl.pmrmsc = uvfio_load_u64(in);
	a->ctrl.pmr_first = nvme_load_bool(in, &bad);
	a->ctrl.page_bits = uvfio_load_u8(in);
	a->ctrl.dbbuf = nvme_load_bool(in, &bad);
	a->ctrl.shadow = uvfio_load_u64(in);
	a->ctrl.event = uvfio_load_u64(in);
	a->ctrl.shutdown_index = uvfio_load_u32(in);
	online = nvme_load_bool(in, &bad);
	queues = uvfio_load_u32(in);
	vectors = uvfio_load_u32(in);
	if (bad || !uvfio_load_ok(in))
		return uvfio_error_set(err, -EINVAL, "section NVCT makes no sense");
	/* Of a VF it is the PF's driver, or the host, that says so. */
	if (online != c->online || queues != c->io_queues || vectors != nvme_vectors(c))
		return uvfio_error_set(
			err, -EINVAL,
			"nvme: the controller in the stream is %s, with %u I/O queues and %u "
			"vectors, and this VF is %s with %u and %u: give it the same resources",
			online ? "online" : "offline", queues, vectors,
			c->online ? "online" : "offline", c->io_queues, nvme_vectors(c));
	wrong = ctrl_wrong(c, a, online);
	return wrong ? uvfio_error_set(err, -EINVAL, "section NVCT: %s", wrong) : 0;
}

static void ctrl_apply(struct nvme_ctrl *c, struct nvme_aside *a)
{
	nvme_regs_put(c, a->ctrl.cc, a->ctrl.aqa, a->ctrl.asq, a->ctrl.acq, a->ctrl.intm);
	nvme_cmb_write_msc(c, 0);
	nvme_pmr_write_msc(c, 0);
	if (a->ctrl.pmr_first)
		nvme_pmr_write_msc(c, a->ctrl.pmrmsc);
	nvme_cmb_write_msc(c, a->ctrl.cmbmsc);
	nvme_pmr_write_msc(c, a->ctrl.pmrmsc);
	nvme_cmb_update(c);
	c->state = a->ctrl.state;
	c->shn = a->ctrl.shn;
	c->msi_held = a->ctrl.msi_held;
	c->page_bits = a->ctrl.page_bits;
	c->dbbuf = a->ctrl.dbbuf;
	c->dbbuf_shadow = a->ctrl.shadow;
	c->dbbuf_event = a->ctrl.event;
	c->closing_down = c->state == NVME_SHUTTING_DOWN;
	c->shutdown_req->index = a->ctrl.shutdown_index;
	nvme_set_csts(c, ~0u, a->ctrl.csts);
}

const struct nvme_section nvme_section_controller = {
	.kind = "NVCT",
	.version = 1,
	.save = ctrl_save,
	.load = ctrl_load,
	.apply = ctrl_apply,
};

/* ---- NVFT: features ---- */

static void features_save(struct nvme_ctrl *c, struct uvfio_save *out)
{
	const struct nvme_features *f = &c->feat;

	uvfio_save_u32(out, f->arbitration);
	uvfio_save_u32(out, f->power);
	uvfio_save_u32(out, f->coalescing);
	uvfio_save_u32(out, f->atomicity);
	uvfio_save_u32(out, f->async_events);
	uvfio_save_u32(out, f->sw_progress);
	uvfio_save_u16(out, f->temp_over);
	uvfio_save_u16(out, f->temp_under);
	uvfio_save_u8(out, f->write_cache);
	uvfio_save_u16(out, f->nr_sqs);
	uvfio_save_u16(out, f->nr_cqs);
	uvfio_save_u8(out, f->timestamp_set);
	uvfio_save_u64(out, f->timestamp_set ? f->timestamp : 0);
	uvfio_save_u64(out, f->timestamp_set ? nvme_now_ns() - f->timestamp_ns : 0);
	uvfio_save_bytes(out, f->host_id, sizeof(f->host_id));
	for (unsigned i = 0; i < c->nr_vectors; i++) {
		uvfio_save_u16(out, c->vectors[i].pending);
		uvfio_save_u8(out, c->vectors[i].no_coalescing);
	}
}

static const char *features_wrong(const struct nvme_ctrl *c, const struct nvme_features *f)
{
	const struct {
		uint8_t id;
		uint32_t value;
	} words[] = {
		{NVME_FEAT_ARBITRATION, f->arbitration},   {NVME_FEAT_POWER, f->power},
		{NVME_FEAT_COALESCING, f->coalescing},     {NVME_FEAT_ATOMICITY, f->atomicity},
		{NVME_FEAT_ASYNC_EVENTS, f->async_events}, {NVME_FEAT_SW_PROGRESS, f->sw_progress},
	};

	for (unsigned i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
		if (!nvme_feature_valid(words[i].id, words[i].value))
			return "a feature has a value that it cannot have";
	}
	if (f->nr_sqs > c->io_queues || f->nr_cqs > c->io_queues ||
	    (c->io_queues && (!f->nr_sqs || !f->nr_cqs)))
		return "it has given away more queues than it has, or none";
	if (f->timestamp >> 48)
		return "the timestamp has more than 48 bits";
	return NULL;
}

static int features_load(struct nvme_ctrl *c, struct uvfio_load *in, struct nvme_aside *a,
			 struct uvfio_error *err)
{
	struct nvme_features *f = &a->feat;
	const uint8_t *host_id;
	const char *wrong;
	bool bad = false;

	f->arbitration = uvfio_load_u32(in);
	f->power = uvfio_load_u32(in);
	f->coalescing = uvfio_load_u32(in);
	f->atomicity = uvfio_load_u32(in);
	f->async_events = uvfio_load_u32(in);
	f->sw_progress = uvfio_load_u32(in);
	f->temp_over = uvfio_load_u16(in);
	f->temp_under = uvfio_load_u16(in);
	f->write_cache = nvme_load_bool(in, &bad);
	f->nr_sqs = uvfio_load_u16(in);
	f->nr_cqs = uvfio_load_u16(in);
	f->timestamp_set = nvme_load_bool(in, &bad);
	f->timestamp = uvfio_load_u64(in);
	a->timestamp_age = uvfio_load_u64(in);
	host_id = uvfio_load_bytes(in, sizeof(f->host_id));
	if (host_id)
		memcpy(f->host_id, host_id, sizeof(f->host_id));
	for (unsigned i = 0; i < c->nr_vectors; i++) {
		a->vectors[i].pending = uvfio_load_u16(in);
		a->vectors[i].no_coalescing = nvme_load_bool(in, &bad);
	}
	if (bad || !uvfio_load_ok(in))
		return uvfio_error_set(err, -EINVAL, "section NVFT makes no sense");
	wrong = features_wrong(c, f);
	return wrong ? uvfio_error_set(err, -EINVAL, "section NVFT: %s", wrong) : 0;
}

static void features_apply(struct nvme_ctrl *c, struct nvme_aside *a)
{
	c->feat = a->feat;
	c->feat.timestamp_ns = nvme_now_ns() - a->timestamp_age;
	memcpy(c->vectors, a->vectors, c->nr_vectors * sizeof(*c->vectors));
}

const struct nvme_section nvme_section_features = {
	.kind = "NVFT",
	.version = 1,
	.save = features_save,
	.load = features_load,
	.apply = features_apply,
};

/* ---- NVLG: counters, events, the error log ---- */

static void logs_save(struct nvme_ctrl *c, struct uvfio_save *out)
{
	const struct nvme_counters *n = &c->count;
	unsigned nr = c->error_pos < NVME_ERROR_ENTRIES ? c->error_pos : NVME_ERROR_ENTRIES;

	uvfio_save_u64(out, n->bytes_read);
	uvfio_save_u64(out, n->bytes_written);
	uvfio_save_u64(out, n->reads);
	uvfio_save_u64(out, n->writes);
	uvfio_save_u64(out, n->media_errors);
	uvfio_save_u64(out, n->errors);
	uvfio_save_u64(out, n->power_cycles);
	uvfio_save_u64(out, n->unsafe_shutdowns);
	uvfio_save_u64(out, nvme_now_ns() - c->started_ns);
	uvfio_save_u16(out, c->temperature);
	for (unsigned i = 0; i < NVME_NR_EVENT_TYPES; i++) {
		uvfio_save_u8(out, c->events[i]);
		uvfio_save_u8(out, c->event_masked[i]);
	}
	uvfio_save_u8(out, (uint8_t)nr);
	for (unsigned i = 0; i < nr; i++)
		uvfio_save_bytes(out, &c->errors[(c->error_pos - nr + i) % NVME_ERROR_ENTRIES],
				 sizeof(c->errors[0]));
}

static int logs_load(struct nvme_ctrl *c, struct uvfio_load *in, struct nvme_aside *a,
		     struct uvfio_error *err)
{
	struct nvme_counters *n = &a->count;
	bool bad = false;

	n->bytes_read = uvfio_load_u64(in);
	n->bytes_written = uvfio_load_u64(in);
	n->reads = uvfio_load_u64(in);
	n->writes = uvfio_load_u64(in);
	n->media_errors = uvfio_load_u64(in);
	n->errors = uvfio_load_u64(in);
	n->power_cycles = uvfio_load_u64(in);
	n->unsafe_shutdowns = uvfio_load_u64(in);
	a->power_on = uvfio_load_u64(in);
	a->temperature = uvfio_load_u16(in);
	for (unsigned i = 0; i < NVME_NR_EVENT_TYPES; i++) {
		a->events[i] = uvfio_load_u8(in);
		a->event_masked[i] = nvme_load_bool(in, &bad);
	}
	a->nr_errors = uvfio_load_u8(in);
	if (a->nr_errors > NVME_ERROR_ENTRIES)
		return uvfio_error_set(err, -EINVAL,
				       "section NVLG: %u entries in an error log of %u",
				       a->nr_errors, NVME_ERROR_ENTRIES);
	for (unsigned i = 0; i < a->nr_errors; i++) {
		const void *entry = uvfio_load_bytes(in, sizeof(a->errors[0]));

		if (entry)
			memcpy(&a->errors[i], entry, sizeof(a->errors[0]));
	}
	if (bad || !uvfio_load_ok(in))
		return uvfio_error_set(err, -EINVAL, "section NVLG makes no sense");
	return 0;
}

static void logs_apply(struct nvme_ctrl *c, struct nvme_aside *a)
{
	c->count = a->count;
	c->started_ns = nvme_now_ns() - a->power_on;
	c->temperature = a->temperature;
	memcpy(c->events, a->events, sizeof(c->events));
	memcpy(c->event_masked, a->event_masked, sizeof(c->event_masked));
	memcpy(c->errors, a->errors, sizeof(c->errors));
	c->error_pos = a->nr_errors;
}

const struct nvme_section nvme_section_logs = {
	.kind = "NVLG",
	.version = 1,
	.save = logs_save,
	.load = logs_load,
	.apply = logs_apply,
};
