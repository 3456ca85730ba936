/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Identify.  Reported: CNS 00h to 03h, and of the I/O command set additions 05h to 08h and 1Ch for
 * the NVM command set, the only one; by a primary controller 10h to 15h as well (attach.c, virt.c).
 * NVM sets, UUID lists and so on are not supported, and invalid fields.
 */
#include <string.h>

#include "devices/nvme/nvme.h"

static void put_text(char *dst, size_t len, const char *src)
{
	size_t n = strlen(src);

	memset(dst, ' ', len);
	memcpy(dst, src, n < len ? n : len);
}

static void identify_ctrl(struct nvme_ctrl *c, struct nvme_id_ctrl *id)
{
	uint64_t total = 0;

	/* The numbers of the PCI function, which is where drivers see them too. */
	id->vid = id->ssvid = c->vendor;
	put_text(id->sn, sizeof(id->sn), c->serial);
	put_text(id->mn, sizeof(id->mn), "uvfio NVMe controller");
	put_text(id->fr, sizeof(id->fr), "1.0");
	id->rab = 0;
	id->mdts = NVME_MDTS;
	id->cntlid = c->cntlid;
	id->cmic = (uint8_t)((c->sub->shared ? NVME_CMIC_CONTROLLERS : 0) |
			     (c->secondary ? NVME_CMIC_VF : 0));
	id->ver = NVME_VERSION_1_4;
	id->rtd3r = id->rtd3e = 1000000; /* µs */
	id->oaes = NVME_OAES_NS_ATTR;
	id->ctratt = NVME_CTRATT_HOSTID_128;
	id->cntrltype = NVME_CNTRLTYPE_IO;
	id->oacs = NVME_OACS_FORMAT | NVME_OACS_DBBUF;
	if (nvme_is_manager(c))
		id->oacs |= NVME_OACS_NS_MANAGEMENT | NVME_OACS_VIRT;
	id->acl = NVME_ACL;
	id->aerl = NVME_AERL;
	id->frmw = NVME_FRMW_ONE_SLOT_RO;
	id->lpa = NVME_LPA_CMD_EFFECTS | NVME_LPA_EXTENDED;
	id->elpe = NVME_ERROR_ENTRIES - 1;
	id->wctemp = NVME_WARNING_TEMP;
	id->cctemp = NVME_CRITICAL_TEMP;
	for (unsigned i = 0; i < c->nr_ns; i++) {
		if (nvme_is_manager(c) || c->ns[i].attached)
			total += c->ns[i].size;
	}
	memcpy(id->tnvmcap, &total, sizeof(total));
	id->sqes = 6 << 4 | 6;
	id->cqes = 4 << 4 | 4;
	id->nn = c->nr_ns;
	id->oncs = NVME_ONCS_COMPARE | NVME_ONCS_WRITE_UNCORRECTABLE | NVME_ONCS_DSM |
		   NVME_ONCS_WRITE_ZEROES | NVME_ONCS_SAVE_SELECT | NVME_ONCS_TIMESTAMP |
		   NVME_ONCS_VERIFY;
	id->fuses = NVME_FUSES_COMPARE_WRITE;
	id->acwu = NVME_ACWU - 1;
	id->vwc = (uint8_t)((c->volatile_cache ? NVME_VWC_PRESENT : 0) | NVME_VWC_FLUSH_ALL);
	id->sgls = NVME_SGLS_SUPPORTED | NVME_SGLS_BIT_BUCKET | NVME_SGLS_LONGER;
	id->mnan = 0;
	memcpy(id->subnqn, c->subnqn, sizeof(c->subnqn));
	id->psd[0].mp = 100; /* 1 W */
}

void nvme_identify_ns(struct nvme_ctrl *c, struct nvme_ns *ns, struct nvme_id_ns *id)
{
	uint64_t blocks = ns->size >> ns->shift;
	bool can_free = block_info(ns->blk)->can_discard;

	id->nsze = id->ncap = id->nuse = blocks;
	id->nlbaf = 1;
	id->flbas = ns->shift == 12;
	id->dlfeat = (uint8_t)(can_free ? NVME_DLFEAT_READ_ZERO | NVME_DLFEAT_WZ_DEAC : 0);
	id->nmic = nvme_ns_nmic(ns->disk);
	id->nsattr = ns->readonly ? NVME_NSATTR_WRITE_PROTECTED : 0;
	memcpy(id->nvmcap, &(uint64_t){blocks << ns->shift}, 8);
	id->lbaf[0].lbads = nvme_ns_can_have(ns, 9) ? 9 : 0;
	id->lbaf[1].lbads = nvme_ns_can_have(ns, 12) ? 12 : 0;
}

/* Active namespaces after req->cmd.nsid: those that are attached. */
static void ns_list(struct nvme_req *req)
{
	uint32_t *list = (uint32_t *)req->mem->scratch;
	struct nvme_ctrl *c = req->ctrl;
	unsigned n = 0;

	for (uint32_t id = req->cmd.nsid + 1; id <= c->nr_ns && n < 1024; id++) {
		if (nvme_ns_get(c, id))
			list[n++] = id;
	}
}

static void ns_descs(struct nvme_ns *ns, uint8_t *p)
{
	p[0] = NVME_NIDT_UUID;
	p[1] = 16;
	memcpy(p + 4, ns->disk->uuid, 16);
	p += 20;
	p[0] = NVME_NIDT_CSI;
	p[1] = 1;
	p[4] = NVME_CSI_NVM;
}

static void iocs_list(struct nvme_ctrl *c, uint64_t *vectors)
{
	vectors[0] = 1ull << NVME_CSI_NVM; /* combination 0, the only one */
}

static unsigned bad_ns(struct nvme_req *req)
{
	return NVME_SC_INVALID_NS | NVME_SC_DNR;
}

/* One that is not attached answers zeros. */
static unsigned inactive_ns(struct nvme_req *req)
{
	return req->cmd.nsid && req->cmd.nsid <= req->ctrl->nr_ns ? 0 : bad_ns(req);
}

static unsigned identify(struct nvme_req *req)
{
	struct nvme_ctrl *c = req->ctrl;
	uint8_t *out = req->mem->scratch;
	uint8_t csi = (uint8_t)(req->cmd.cdw11 >> 24);
	struct nvme_ns *ns = nvme_ns_get(c, req->cmd.nsid);

	switch (req->cmd.cdw10 & 0xff) {
	case NVME_CNS_NS:
		if (req->cmd.nsid == NVME_NSID_ALL)
			return nvme_identify_allocated(req, NVME_CNS_NS);
		if (!ns)
			return inactive_ns(req);
		nvme_identify_ns(c, ns, (struct nvme_id_ns *)out);
		return 0;
	case NVME_CNS_CTRL:
		identify_ctrl(c, (struct nvme_id_ctrl *)out);
		return 0;
	case NVME_CNS_IOCS_NS_LIST:
		if (csi != NVME_CSI_NVM)
			return nvme_bad_field(req, 47, 0);
		/* fallthrough */
	case NVME_CNS_NS_LIST:
		if (req->cmd.nsid >= NVME_NSID_ALL - 1)
			return bad_ns(req);
		ns_list(req);
		return 0;
	case NVME_CNS_NS_DESCS:
		if (!ns)
			return bad_ns(req);
		ns_descs(ns, out);
		return 0;
	case NVME_CNS_IOCS_NS:
		if (csi != NVME_CSI_NVM)
			return nvme_bad_field(req, 47, 0);
		return ns ? 0 : bad_ns(req); /* no metadata, no protection: all zero */
	case NVME_CNS_IOCS_CTRL:
		if (csi != NVME_CSI_NVM)
			return nvme_bad_field(req, 47, 0);
		return 0; /* no limits of Verify, Write Zeroes and so on: all zero */
	case NVME_CNS_NS_INDEPENDENT:
		if (!ns)
			return bad_ns(req);
		((struct nvme_id_ns_independent *)out)->nsattr =
			ns->readonly ? NVME_NSATTR_WRITE_PROTECTED : 0;
		((struct nvme_id_ns_independent *)out)->nstat = 1; /* ready */
		return 0;
	case NVME_CNS_ALLOCATED_LIST:
	case NVME_CNS_ALLOCATED_NS:
		return nvme_identify_allocated(req, req->cmd.cdw10 & 0xff);
	case NVME_CNS_NS_CONTROLLERS:
	case NVME_CNS_CONTROLLERS:
		return nvme_identify_controllers(req, req->cmd.cdw10 & 0xff);
	case NVME_CNS_PRIMARY_CAPS:
	case NVME_CNS_SECONDARY_LIST:
		return nvme_identify_virt(req, req->cmd.cdw10 & 0xff);
	case NVME_CNS_IOCS: {
		unsigned cntid = req->cmd.cdw10 >> 16;

		if (cntid != c->cntlid && cntid != 0xffff)
			return nvme_bad_field(req, 42, 0);
		iocs_list(c, (uint64_t *)out);
		return 0;
	}
	default:
		return nvme_bad_field(req, 40, 0);
	}
}

static void identify_answer(struct nvme_req *req)
{
	unsigned status = req->status;

	if (!status) {
		memset(req->mem->scratch, 0, NVME_SCRATCH);
		status = identify(req);
	}
	if (status)
		nvme_complete_status(req, status);
	else
		nvme_admin_return(req, NVME_SCRATCH);
}

/* A look at the size that failed: the old one is as good. */
static void identify_sized(struct nvme_req *req)
{
	req->status = 0;
	identify_answer(req);
}

static void identify_mapped(struct nvme_req *req)
{
	struct nvme_ns *ns = nvme_ns_get(req->ctrl, req->cmd.nsid);

	if (req->status || (req->cmd.cdw10 & 0xff) != NVME_CNS_NS || !ns) {
		identify_answer(req);
		return;
	}
	req->step = identify_sized;
	if (nvme_block(req, ns, BLOCK_GET_SIZE, 0, 0, 0) != NVME_PENDING)
		identify_sized(req);
}

void nvme_admin_identify(struct nvme_req *req)
{
	req->step = identify_mapped;
	if (nvme_map(req, NVME_SCRATCH) != NVME_PENDING)
		identify_mapped(req);
}
