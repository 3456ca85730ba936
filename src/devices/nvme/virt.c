/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Virtualization Management: secondary controllers, their resources, and who says what they have.
 *
 * Theory of operation.  A secondary controller has queue resources (VQ: a submission and a
 * completion queue, the admin queues included) and interrupt resources (VI: its MSI-X vectors).
 * All of them are flexible and the secondary controllers'; the primary controller has its own,
 * which are private.  A secondary controller is offline, or it is online:
 *
 *   OFFLINE ──Online, with 2 VQ and 1 VI at least──▶ ONLINE
 *      ▲  Assign                                       │
 *      └──Offline; a reset of the primary controller───┘   (and its resources are free)
 *
 * Who decides that?  The driver of the primary controller, from when it has enabled it: then all
 * are offline until it says otherwise (managed).  While nobody drives it, or the host's own driver
 * does, all are online with equal shares, and the host moves vectors (sriov_vf_msix_count).
 *
 * The transitions are carried out by the secondary controller, in its context: what is in progress
 * there ends first (ctrl.c).
 */
#include <errno.h>
#include <string.h>

#include "devices/nvme/nvme.h"

enum { RES_VQ = 0, RES_VI = 1 };

/* ---- state: sub->lock is held ---- */

static void assign(struct nvme_subsys *sub, struct nvme_secondary *s, unsigned nvq, unsigned nvi)
{
	sub->vq_used += nvq - s->nvq;
	sub->vi_used += nvi - s->nvi;
	s->nvq = (uint16_t)nvq;
	s->nvi = (uint16_t)nvi;
}

/* The controller of @s resets itself, and is then on- or offline. */
static void transition(struct nvme_secondary *s, bool online)
{
	s->online = online;
	if (!s->ctrl)
		return;
	atomic_store(&s->ctrl->shared.offline, !online);
	atomic_fetch_add(&s->ctrl->shared.virt_changes, 1);
	uvfio_kick(s->ctrl->dev);
}

static void take_offline(struct nvme_subsys *sub, struct nvme_secondary *s)
{
	assign(sub, s, 0, 0);
	if (s->online)
		transition(s, false);
}

static unsigned share(unsigned total, unsigned nr, unsigned max)
{
	return total / nr < max ? total / nr : max;
}

static void give_share(struct nvme_subsys *sub, struct nvme_secondary *s)
{
	unsigned nr = sub->total_vfs;

	assign(sub, s, share(sub->vq_total, nr, sub->vq_max),
	       share(sub->vi_total, nr, sub->vi_max));
	if (!s->online && s->nvq >= NVME_VF_MIN_QUEUES)
		transition(s, true);
}

/* ---- vectors, which are the core's: without a lock ---- */

static int set_vectors(struct nvme_subsys *sub, unsigned index, unsigned n)
{
	return nvme_vf_set_vectors(sub->pf, index, n);
}

/* Those of every VF, as its resources say: first what is taken away. */
static void set_all_vectors(struct nvme_subsys *sub)
{
	for (int pass = 0; pass < 2; pass++) {
		for (unsigned i = 0; i < sub->total_vfs; i++) {
			struct nvme_secondary *s = &sub->secondaries[i];
			unsigned nvi, has;

			pthread_mutex_lock(&sub->lock);
			nvi = s->nvi;
			has = s->ctrl ? uvfio_vf_vectors(s->ctrl->dev) : nvi;
			pthread_mutex_unlock(&sub->lock);
			if (pass ? nvi > has : nvi < has)
				set_vectors(sub, i, nvi);
		}
	}
}

/* ---- who drives the primary controller ---- */

static void all_offline(struct nvme_subsys *sub)
{
	pthread_mutex_lock(&sub->lock);
	for (unsigned i = 0; i < sub->total_vfs; i++)
		take_offline(sub, &sub->secondaries[i]);
	pthread_mutex_unlock(&sub->lock);
	set_all_vectors(sub);
}

void nvme_virt_default(struct nvme_subsys *sub)
{
	bool was;

	pthread_mutex_lock(&sub->lock);
	was = sub->managed;
	sub->managed = false;
	for (unsigned i = 0; was && i < sub->total_vfs; i++)
		take_offline(sub, &sub->secondaries[i]);
	for (unsigned i = 0; was && i < sub->total_vfs; i++)
		give_share(sub, &sub->secondaries[i]);
	pthread_mutex_unlock(&sub->lock);
	if (was)
		set_all_vectors(sub);
}

void nvme_virt_start(struct nvme_subsys *sub)
{
	for (unsigned i = 0; i < sub->total_vfs; i++)
		give_share(sub, &sub->secondaries[i]);
}

void nvme_virt_enabled(struct nvme_ctrl *c)
{
	struct nvme_subsys *sub = c->sub;
	bool begins;

	if (!nvme_is_manager(c))
		return;
	pthread_mutex_lock(&sub->lock);
	begins = !sub->managed && !sub->host;
	sub->managed |= begins;
	pthread_mutex_unlock(&sub->lock);
	if (begins)
		all_offline(sub);
}

void nvme_virt_reset(struct nvme_ctrl *c, bool subsystem)
{
	struct nvme_subsys *sub = c->sub;
	bool managed;

	if (!nvme_is_manager(c))
		return;
	pthread_mutex_lock(&sub->lock);
	managed = sub->managed;
	for (unsigned i = 0; subsystem && !managed && i < sub->total_vfs; i++)
		transition(&sub->secondaries[i], sub->secondaries[i].online);
	pthread_mutex_unlock(&sub->lock);
	if (managed)
		all_offline(sub);
}

/* ---- a VF comes and goes ---- */

void nvme_virt_join(struct nvme_ctrl *c)
{
	struct nvme_secondary *s = &c->sub->secondaries[c->cntlid - 1];

	pthread_mutex_lock(&c->sub->lock);
	s->ctrl = c;
	if (!c->sub->managed)
		give_share(c->sub, s);
	c->online = s->online;
	c->io_queues = s->nvq ? s->nvq - 1u : 0;
	atomic_store(&c->shared.offline, !s->online);
	pthread_mutex_unlock(&c->sub->lock);
}

void nvme_virt_leave(struct nvme_ctrl *c)
{
	struct nvme_secondary *s = &c->sub->secondaries[c->cntlid - 1];

	pthread_mutex_lock(&c->sub->lock);
	if (s->ctrl == c) {
		s->ctrl = NULL;
		/* What a VF has goes with it. */
		take_offline(c->sub, s);
	}
	pthread_mutex_unlock(&c->sub->lock);
}

void nvme_virt_take_over(struct nvme_ctrl *c)
{
	struct nvme_secondary *s = &c->sub->secondaries[c->cntlid - 1];

	pthread_mutex_lock(&c->sub->lock);
	c->online = s->online;
	c->io_queues = s->nvq ? s->nvq - 1u : 0;
	pthread_mutex_unlock(&c->sub->lock);
}

bool nvme_virt_decides(struct nvme_ctrl *c, unsigned *nvi)
{
	bool managed;

	pthread_mutex_lock(&c->sub->lock);
	managed = c->sub->managed;
	*nvi = c->sub->secondaries[c->cntlid - 1].nvi;
	pthread_mutex_unlock(&c->sub->lock);
	return managed;
}

void nvme_virt_host(struct nvme_subsys *sub, bool bound)
{
	pthread_mutex_lock(&sub->lock);
	sub->host = bound;
	pthread_mutex_unlock(&sub->lock);
	nvme_virt_default(sub);
}

void nvme_virt_vectors(struct nvme_subsys *sub, unsigned index, unsigned n)
{
	pthread_mutex_lock(&sub->lock);
	assign(sub, &sub->secondaries[index], sub->secondaries[index].nvq, n);
	pthread_mutex_unlock(&sub->lock);
}

/* ---- the command ---- */

static struct nvme_secondary *find(struct nvme_subsys *sub, unsigned cntlid)
{
	return cntlid && cntlid <= sub->total_vfs ? &sub->secondaries[cntlid - 1] : NULL;
}

/* Assign @nr resources of kind @type: the status. */
static unsigned assign_secondary(struct nvme_subsys *sub, unsigned index, unsigned type,
				 unsigned nr)
{
	struct nvme_secondary *s = &sub->secondaries[index];
	unsigned max = type == RES_VI ? sub->vi_max : sub->vq_max;
	unsigned status = 0, free, had;
	bool there = false;

	pthread_mutex_lock(&sub->lock);
	had = type == RES_VI ? s->nvi : s->nvq;
	free = type == RES_VI ? sub->vi_total - sub->vi_used : sub->vq_total - sub->vq_used;
	if (s->online)
		status = NVME_SC_SECONDARY_STATE | NVME_SC_DNR;
	else if (nr > max)
		status = NVME_SC_NR_RESOURCES | NVME_SC_DNR;
	else if (nr > had + free)
		status = NVME_SC_RESOURCE_ID | NVME_SC_DNR;
	else if (type == RES_VI)
		assign(sub, s, s->nvq, nr);
	else
		assign(sub, s, nr, s->nvi);
	there = s->ctrl;
	pthread_mutex_unlock(&sub->lock);
	if (status || type != RES_VI || !there || !set_vectors(sub, index, nr))
		return status;
	nvme_virt_vectors(sub, index, had);
	return NVME_SC_RESOURCE_ID | NVME_SC_DNR;
}

static unsigned set_online(struct nvme_subsys *sub, struct nvme_secondary *s)
{
	unsigned status = 0;

	pthread_mutex_lock(&sub->lock);
	if (!s->ctrl || s->nvq < NVME_VF_MIN_QUEUES || !s->nvi)
		status = NVME_SC_SECONDARY_STATE | NVME_SC_DNR;
	else if (!s->online)
		transition(s, true);
	pthread_mutex_unlock(&sub->lock);
	return status;
}

static void set_offline(struct nvme_subsys *sub, unsigned index)
{
	bool there;

	pthread_mutex_lock(&sub->lock);
	there = sub->secondaries[index].ctrl;
	take_offline(sub, &sub->secondaries[index]);
	pthread_mutex_unlock(&sub->lock);
	if (there)
		set_vectors(sub, index, 0);
}

static unsigned manage(struct nvme_req *req)
{
	struct nvme_subsys *sub = req->ctrl->sub;
	unsigned action = req->cmd.cdw10 & 0xf, type = (req->cmd.cdw10 >> 8) & 7;
	unsigned cntlid = req->cmd.cdw10 >> 16, nr = req->cmd.cdw11 & 0xffff, status;
	struct nvme_secondary *s = find(sub, cntlid);

	if (type != RES_VQ && type != RES_VI)
		return NVME_SC_RESOURCE_ID | NVME_SC_DNR;
	switch ((enum nvme_virt_action)action) {
	case NVME_VIRT_PRIMARY_ALLOCATE:
		if (cntlid != req->ctrl->cntlid)
			return NVME_SC_CONTROLLER_ID | NVME_SC_DNR;
		/* It has resources of its own, and no use for flexible ones. */
		return nr ? NVME_SC_NR_RESOURCES | NVME_SC_DNR : 0;
	case NVME_VIRT_SECONDARY_OFFLINE:
	case NVME_VIRT_SECONDARY_ASSIGN:
	case NVME_VIRT_SECONDARY_ONLINE:
		break;
	default:
		return nvme_bad_field(req, 40, 0);
	}
	if (!s)
		return NVME_SC_CONTROLLER_ID | NVME_SC_DNR;
	if (action == NVME_VIRT_SECONDARY_ONLINE)
		return set_online(sub, s);
	if (action == NVME_VIRT_SECONDARY_OFFLINE) {
		set_offline(sub, cntlid - 1);
		return 0;
	}
	status = assign_secondary(sub, cntlid - 1, type, nr);
	if (!status)
		req->dw0 = nr;
	return status;
}

void nvme_admin_virt(struct nvme_req *req)
{
	nvme_complete_status(req, manage(req));
}

/* ---- Identify ---- */

static void capabilities(struct nvme_ctrl *c, struct nvme_primary_caps *p)
{
	struct nvme_subsys *sub = c->sub;

	p->cntlid = c->cntlid;
	p->crt = NVME_CRT_VQ | NVME_CRT_VI;
	pthread_mutex_lock(&sub->lock);
	p->vqfrt = sub->vq_total;
	p->vqrfa = sub->vq_used;
	p->vqprt = (uint16_t)(c->nr_queues + 1);
	p->vqfrsm = (uint16_t)sub->vq_max;
	p->vqgran = 1;
	p->vifrt = sub->vi_total;
	p->virfa = sub->vi_used;
	p->viprt = (uint16_t)c->nr_vectors;
	p->vifrsm = (uint16_t)sub->vi_max;
	p->vigran = 1;
	pthread_mutex_unlock(&sub->lock);
}

/* Secondary controllers from identifier @first on. */
static void secondaries(struct nvme_ctrl *c, unsigned first, struct nvme_secondary_list *list)
{
	struct nvme_subsys *sub = c->sub;
	unsigned max = sizeof(list->entries) / sizeof(list->entries[0]);

	pthread_mutex_lock(&sub->lock);
	for (unsigned id = first ? first : 1; id <= sub->total_vfs && list->nr < max; id++) {
		const struct nvme_secondary *s = &sub->secondaries[id - 1];

		list->entries[list->nr++] = (struct nvme_secondary_entry){
			.scid = (uint16_t)id,
			.pcid = c->cntlid,
			.scs = s->online && s->ctrl,
			.vfn = (uint16_t)id,
			.nvq = s->nvq,
			.nvi = s->nvi,
		};
	}
	pthread_mutex_unlock(&sub->lock);
}

unsigned nvme_identify_virt(struct nvme_req *req, unsigned cns)
{
	void *out = req->mem->scratch;

	if (!nvme_is_manager(req->ctrl))
		return nvme_bad_field(req, 40, 0);
	if (cns == NVME_CNS_PRIMARY_CAPS)
		capabilities(req->ctrl, out);
	else
		secondaries(req->ctrl, req->cmd.cdw10 >> 16, out);
	return 0;
}
