/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Which namespaces are attached to which controllers: what the options say, Namespace Attachment,
 * and the lists of Identify.
 *
 * A namespace with `attach=` is where the options put it, for good: the driver of the primary
 * controller cannot get at what the operator has given to VFs.  One without is attached to all
 * controllers, until that driver says otherwise.  Namespaces are neither created nor deleted: all
 * of the storage is theirs from the beginning.
 */
#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "devices/nvme/nvme.h"

/* ---- the options ---- */

/* "vf3" or "vf0-3" from behind "vf": the first and the last. */
static bool parse_range(const char *s, size_t len, unsigned total, unsigned *first, unsigned *last)
{
	unsigned long a, b;
	char text[16], *end;

	if (!len || len >= sizeof(text) || !isdigit((unsigned char)*s))
		return false;
	memcpy(text, s, len);
	text[len] = 0;
	a = b = strtoul(text, &end, 10);
	if (*end == '-' && isdigit((unsigned char)end[1]))
		b = strtoul(end + 1, &end, 10);
	if (*end || a > b || b >= total)
		return false;
	*first = (unsigned)a;
	*last = (unsigned)b;
	return true;
}

static bool is(const char *word, size_t len, const char *what)
{
	return len == strlen(what) && !memcmp(word, what, len);
}

/* One word of the list. */
static bool attach_word(struct nvme_disk *d, const char *word, size_t len)
{
	unsigned total = d->sub->total_vfs, first = 0, last = total - 1;

	if (is(word, len, "none"))
		return true;
	if (is(word, len, "pf") || is(word, len, "all"))
		nvme_disk_attach(d, NVME_CNTLID_PF, true);
	if (is(word, len, "pf"))
		return true;
	if (!is(word, len, "vfs") && !is(word, len, "all") &&
	    (len < 3 || memcmp(word, "vf", 2) != 0 ||
	     !parse_range(word + 2, len - 2, total, &first, &last)))
		return false;
	for (unsigned i = first; i <= last; i++)
		nvme_disk_attach(d, i + 1, true);
	return true;
}

int nvme_attach_parse(struct nvme_disk *d, const char *list, struct uvfio_error *err)
{
	const char *word = list;

	if (!list) {
		for (unsigned i = 0; i < nvme_subsys_controllers(d->sub); i++)
			nvme_disk_attach(d, i, true);
		return 0;
	}
	if (!d->sub->shared)
		return uvfio_error_set(err, -EINVAL,
				       "attach=%s: there is one controller only: add vfs=N, or "
				       "leave it out",
				       list);
	d->fixed = true;
	for (;;) {
		size_t len = strcspn(word, "+");

		if (!attach_word(d, word, len))
			return uvfio_error_set(err, -EINVAL,
					       "attach=%s: '%.*s' is no controller: use pf, vf0 "
					       "to vf%u, vf0-%u, vfs, all or none, joined by '+'",
					       list, (int)len, word, d->sub->total_vfs - 1,
					       d->sub->total_vfs - 1);
		if (!word[len])
			return 0;
		word += len + 1;
	}
}

/* ---- the command ---- */

static unsigned nr_attached(const struct nvme_disk *d)
{
	unsigned n = 0;

	for (unsigned i = 0; i < nvme_subsys_controllers(d->sub); i++)
		n += nvme_disk_attached(d, i);
	return n;
}

/* A namespace that can never be attached to two controllers is private. */
static bool is_private(const struct nvme_disk *d)
{
	return !d->sub->shared || (d->fixed && nr_attached(d) <= 1);
}

uint8_t nvme_ns_nmic(const struct nvme_disk *d)
{
	return is_private(d) ? 0 : NVME_NMIC_SHARED;
}

static bool list_valid(const struct nvme_subsys *sub, const uint16_t *list)
{
	unsigned nr = list[0];

	if (!nr || nr > NVME_CONTROLLER_LIST_MAX)
		return false;
	for (unsigned i = 1; i <= nr; i++) {
		if (list[i] >= nvme_subsys_controllers(sub) || (i > 1 && list[i] <= list[i - 1]))
			return false;
	}
	return true;
}

/* Attach @d to the controllers of @list, or detach it: all or none. */
static unsigned change(struct nvme_disk *d, const uint16_t *list, bool attach)
{
	struct nvme_subsys *sub = d->sub;
	unsigned status = 0;

	pthread_mutex_lock(&sub->lock);
	for (unsigned i = 1; i <= list[0] && !status; i++) {
		if (nvme_disk_attached(d, list[i]) == attach)
			status = (attach ? NVME_SC_ALREADY_ATTACHED : NVME_SC_NOT_ATTACHED) |
				 NVME_SC_DNR;
	}
	if (!status) {
		for (unsigned i = 1; i <= list[0]; i++)
			nvme_disk_attach(d, list[i], attach);
		nvme_subsys_changed(sub);
	}
	pthread_mutex_unlock(&sub->lock);
	return status;
}

static unsigned attach(struct nvme_req *req)
{
	struct nvme_subsys *sub = req->ctrl->sub;
	const uint16_t *list = (const uint16_t *)req->mem->scratch;
	struct nvme_disk *d = &sub->disks[req->cmd.nsid - 1];
	bool on = (req->cmd.cdw10 & 0xf) == NVME_ATTACH_ATTACH;

	if (!list_valid(sub, list))
		return NVME_SC_CONTROLLER_LIST | NVME_SC_DNR;
	if (d->fixed)
		return (on && is_private(d) && nr_attached(d) ? NVME_SC_NS_PRIVATE
							      : NVME_SC_OPERATION_DENIED) |
		       NVME_SC_DNR;
	return change(d, list, on);
}

static void attach_copied(struct nvme_req *req)
{
	nvme_complete_status(req, req->status ? req->status : attach(req));
}

static void attach_mapped(struct nvme_req *req)
{
	req->step = attach_copied;
	if (req->status || nvme_copy(req, req->mem->scratch, NVME_SCRATCH, false) != NVME_PENDING)
		attach_copied(req);
}

void nvme_admin_attach(struct nvme_req *req)
{
	if ((req->cmd.cdw10 & 0xf) > NVME_ATTACH_DETACH) {
		nvme_complete_status(req, nvme_bad_field(req, 40, 0));
		return;
	}
	if (!req->cmd.nsid || req->cmd.nsid > req->ctrl->nr_ns) {
		nvme_complete_status(req, NVME_SC_INVALID_NS | NVME_SC_DNR);
		return;
	}
	req->step = attach_mapped;
	if (nvme_map(req, NVME_SCRATCH) != NVME_PENDING)
		attach_mapped(req);
}

void nvme_admin_ns_management(struct nvme_req *req)
{
	unsigned status;

	switch (req->cmd.cdw10 & 0xf) {
	case NVME_NS_CREATE:
		status = NVME_SC_NS_CAPACITY | NVME_SC_DNR;
		break;
	case NVME_NS_DELETE:
		status = NVME_SC_OPERATION_DENIED | NVME_SC_DNR;
		if (req->cmd.nsid != NVME_NSID_ALL &&
		    (!req->cmd.nsid || req->cmd.nsid > req->ctrl->nr_ns))
			status = NVME_SC_INVALID_NS | NVME_SC_DNR;
		break;
	default:
		status = nvme_bad_field(req, 40, 0);
	}
	nvme_complete_status(req, status);
}

/* ---- Identify ---- */

/* What all namespaces share. */
static void common_ns(struct nvme_id_ns *id)
{
	id->nlbaf = 1;
	id->nmic = NVME_NMIC_SHARED;
	id->lbaf[0].lbads = 9;
	id->lbaf[1].lbads = 12;
}

/* CNS 00h with NSID FFFFFFFFh; 10h: a list of namespaces; 11h: one of them. */
unsigned nvme_identify_allocated(struct nvme_req *req, unsigned cns)
{
	struct nvme_ctrl *c = req->ctrl;
	uint32_t nsid = req->cmd.nsid, *list = (uint32_t *)req->mem->scratch;
	unsigned n = 0;

	if (!nvme_is_manager(c))
		return cns == NVME_CNS_NS ? NVME_SC_INVALID_NS | NVME_SC_DNR
					  : nvme_bad_field(req, 40, 0);
	if (cns == NVME_CNS_NS) {
		common_ns((struct nvme_id_ns *)req->mem->scratch);
		return 0;
	}
	if (cns == NVME_CNS_ALLOCATED_NS) {
		if (!nsid || nsid > c->nr_ns)
			return NVME_SC_INVALID_NS | NVME_SC_DNR;
		nvme_identify_ns(c, &c->ns[nsid - 1], (struct nvme_id_ns *)req->mem->scratch);
		return 0;
	}
	if (nsid >= NVME_NSID_ALL - 1)
		return NVME_SC_INVALID_NS | NVME_SC_DNR;
	static_assert(NVME_MAX_NAMESPACES <= 1024, "fits the list");
	for (uint32_t id = nsid + 1; id <= c->nr_ns; id++)
		list[n++] = id;
	return 0;
}

/* CNS 12h: the controllers that a namespace is attached to; 13h: all. */
unsigned nvme_identify_controllers(struct nvme_req *req, unsigned cns)
{
	struct nvme_subsys *sub = req->ctrl->sub;
	uint16_t *list = (uint16_t *)req->mem->scratch;
	struct nvme_disk *d = NULL;

	if (!nvme_is_manager(req->ctrl))
		return nvme_bad_field(req, 40, 0);
	if (cns == NVME_CNS_NS_CONTROLLERS) {
		if (!req->cmd.nsid || req->cmd.nsid > sub->nr_disks)
			return NVME_SC_INVALID_NS | NVME_SC_DNR;
		d = &sub->disks[req->cmd.nsid - 1];
	}
	pthread_mutex_lock(&sub->lock);
	for (unsigned id = req->cmd.cdw10 >> 16;
	     id < nvme_subsys_controllers(sub) && list[0] < NVME_CONTROLLER_LIST_MAX; id++) {
		if (!d || nvme_disk_attached(d, id))
			list[++list[0]] = (uint16_t)id;
	}
	pthread_mutex_unlock(&sub->lock);
	return 0;
}
