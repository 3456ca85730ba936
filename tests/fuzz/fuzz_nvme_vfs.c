/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * fuzz_nvme.c with VFs: a PF and up to four of them, each with a hostile driver, who take turns.
 * Between them the input enables and takes away VFs, manages secondary controllers and their
 * resources, attaches namespaces, moves vectors as the host does, and resets one or all.
 *
 * Resources are never given out twice, the core and the controller agree on vectors, and at the end
 * PF and VFs work for those who behave.
 */
#include <assert.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "devices/nvme/nvme.h"
#include "devices/nvme/nvme_model.h"
#include "fuzz_nvme.h"

#define VFS "4"

enum { NR_VFS = 4 };

struct vfs {
	struct harness *pf, *now; /* whose driver's turn it is */
	bool host;                /* the host's own driver has the PF */
};

static unsigned nr_vfs(const struct vfs *f)
{
	unsigned n = 0;

	for (unsigned i = 0; i < NR_VFS; i++)
		n += f->pf->vfs[i] != NULL;
	return n;
}

/* ---- what must hold ---- */

static const struct nvme_subsys *subsys(const struct vfs *f)
{
	return ((const struct nvme_ctrl *)f->pf->priv)->sub;
}

/* When nothing moves. */
static void check(const struct vfs *f)
{
	const struct nvme_subsys *sub = subsys(f);
	unsigned vq = 0, vi = 0, vectors = 0;

	for (unsigned i = 0; i < NR_VFS; i++) {
		const struct nvme_secondary *s = &sub->secondaries[i];
		struct harness *vf = f->pf->vfs[i];

		vq += s->nvq;
		vi += s->nvi;
		assert((s->ctrl != NULL) == (vf != NULL));
		assert(s->nvq <= sub->vq_max && s->nvi <= sub->vi_max);
		if (!vf)
			continue;
		vectors += vf->vectors;
		assert(s->nvi == vf->vectors);
		assert(s->online == s->ctrl->online);
		assert(s->online || h_read32(vf, NVME_REG_CSTS) == NVME_CSTS_CFS);
		assert(!s->online || !sub->managed || (s->nvq >= NVME_VF_MIN_QUEUES && s->nvi));
	}
	assert(vq == sub->vq_used && vi == sub->vi_used);
	assert(vq <= sub->vq_total && vectors <= f->pf->msix_pool);
	assert(vi <= sub->vi_total || !sub->managed);
}

/* Secondary controller @i is offline, and what it had is free. */
static void has_nothing(const struct vfs *f, unsigned i)
{
	const struct nvme_secondary *s = &subsys(f)->secondaries[i];

	assert(!s->online && !s->nvq && !s->nvi);
	assert(!s->ctrl || !f->pf->vfs[i]->vectors);
}

/* ---- the host ---- */

static void take_away(struct vfs *f, unsigned i)
{
	if (!f->pf->vfs[i])
		return;
	if (f->now == f->pf->vfs[i])
		f->now = f->pf;
	h_free(f->pf->vfs[i]);
	has_nothing(f, i);
}

/* VFs come all at once, and go one after the other, as their users let them. */
static void come_and_go(struct vfs *f, struct input *in)
{
	uint8_t how = u8(in);

	if (nr_vfs(f)) {
		for (unsigned i = 0; i < NR_VFS; i++) {
			if (how & 1 || how >> 1 & 1u << i)
				take_away(f, i);
		}
	} else if (how % 8 == 0) { /* another driver has the PF, which goes by a reset */
		h_reset(f->pf, UVFIO_RESET_CLOSE);
		f->host = !f->host;
		f->pf->in_ctx = true;
		nvme_model.host_driver(f->pf->priv, f->host);
		f->pf->in_ctx = false;
		h_reset(f->pf, UVFIO_RESET_OPEN);
	} else {
		for (unsigned i = 0; i <= how % NR_VFS; i++)
			h_new_vf(f->pf, i);
		/* Their users open them. */
		for (unsigned i = 0; i <= how % NR_VFS; i++)
			h_reset(f->pf->vfs[i], UVFIO_RESET_OPEN);
	}
}

static void reset(struct vfs *f, struct input *in)
{
	static const enum uvfio_reset_kind kinds[] = {UVFIO_RESET_FUNCTION, UVFIO_RESET_PM,
						      UVFIO_RESET_BUS};
	uint8_t how = u8(in);
	enum uvfio_reset_kind kind = kinds[how % 3];
	bool open = how & 0x80;

	if (how & 0x40 || f->now == f->pf) {
		if (open)
			h_reset_all(f->pf, UVFIO_RESET_CLOSE);
		h_reset_all(f->pf, open ? UVFIO_RESET_OPEN : kind);
	} else {
		if (open)
			h_reset(f->now, UVFIO_RESET_CLOSE);
		h_reset(f->now, open ? UVFIO_RESET_OPEN : kind);
	}
}

/* ---- the driver of the PF ---- */

/* It begins anew, and has to give anew what it gave. */
static void bring_up_pf(const struct vfs *f)
{
	fuzz_bring_up(f->pf);
	for (unsigned i = 0; subsys(f)->managed && i < NR_VFS; i++)
		has_nothing(f, i);
}

static void push(struct harness *h, struct input *in, const struct nvme_sqe *cmd)
{
	if (!h->q[0].size)
		return; /* it was never brought up */
	h_push(h, 0, cmd);
	if (u8(in) % 4)
		h_ring_sq(h, 0);
}

static uint32_t virt_dw10(unsigned action, unsigned type, unsigned cntlid)
{
	return cntlid << 16 | type << 8 | action;
}

static void manage(struct vfs *f, struct input *in)
{
	static const uint8_t actions[] = {NVME_VIRT_SECONDARY_ASSIGN,  NVME_VIRT_SECONDARY_ASSIGN,
					  NVME_VIRT_SECONDARY_ONLINE,  NVME_VIRT_SECONDARY_ONLINE,
					  NVME_VIRT_SECONDARY_OFFLINE, NVME_VIRT_PRIMARY_ALLOCATE};
	uint8_t how = u8(in);
	struct nvme_sqe cmd = {.opcode = NVME_ADM_VIRT_MANAGEMENT};

	cmd.cdw10 = how & 0x80 ? u32(in)
			       : virt_dw10(actions[how % 6], how >> 3 & 1, u8(in) % (NR_VFS + 2));
	cmd.cdw11 = how & 0x40 ? u32(in) : u8(in) % 8;
	/* Whoever has the turn may try. */
	push(how & 0x20 ? f->now : f->pf, in, &cmd);
}

static void attach(struct vfs *f, struct input *in)
{
	uint8_t how = u8(in), which = u8(in);
	uint16_t *list = h_ptr(f->pf, PLAY_BASE);
	struct nvme_sqe cmd = {.opcode =
				       how & 0x40 ? NVME_ADM_NS_MANAGEMENT : NVME_ADM_NS_ATTACHMENT,
			       .nsid = how & 0x20 ? u32(in) : 1u + how % 3,
			       .cdw10 = how >> 3 & 1,
			       .prp1 = PLAY_BASE};

	memset(list, 0, 4096);
	for (uint16_t i = 0; i <= NR_VFS; i++) {
		if (which >> i & 1)
			list[++list[0]] = i;
	}
	if (how & 0x80)
		list[u8(in)] = u16(in);
	push(f->pf, in, &cmd);
}

/* ---- */

static void step(struct vfs *f, struct input *in)
{
	uint8_t op = u8(in), which;

	switch (op % 16) {
	default:
		fuzz_one(f->now, in);
		break;
	case 8:
		which = u8(in) % (NR_VFS + 1);
		f->now = which && f->pf->vfs[which - 1] ? f->pf->vfs[which - 1] : f->pf;
		break;
	case 9:
	case 10:
		manage(f, in);
		break;
	case 11:
		attach(f, in);
		break;
	case 12:
		come_and_go(f, in);
		break;
	case 13:
		reset(f, in);
		break;
	case 14:
		which = u8(in);
		if (f->host)
			h_give_vectors(f->pf, which % NR_VFS, which >> 4);
		else if (f->now == f->pf)
			bring_up_pf(f);
		else
			fuzz_bring_up(f->now);
		break;
	case 15:
		h_run_all(f->pf);
		check(f);
		break;
	}
}

static unsigned command(struct harness *h, uint8_t opcode, uint32_t nsid, uint32_t cdw10,
			uint32_t cdw11)
{
	struct nvme_sqe cmd = {
		.opcode = opcode, .nsid = nsid, .cdw10 = cdw10, .cdw11 = cdw11, .prp1 = PLAY_BASE};
	unsigned status = h_cmd(h, 0, &cmd, NULL);

	h_run_all(h);
	return status;
}

static void virt(struct harness *h, uint32_t dw10, uint32_t nr)
{
	unsigned status = command(h, NVME_ADM_VIRT_MANAGEMENT, 0, dw10, nr);

	assert(!status);
}

/* Namespace 1 is @cntlid's. */
static void has_namespace(struct harness *pf, uint16_t cntlid)
{
	uint16_t *list = h_ptr(pf, PLAY_BASE);
	unsigned status;

	memset(list, 0, 4096);
	list[0] = 1;
	list[1] = cntlid;
	status = command(pf, NVME_ADM_NS_ATTACHMENT, 1, NVME_ATTACH_ATTACH, 0);
	assert(!status || status == DNR(NVME_SC_ALREADY_ATTACHED));
}

/* VF @i, by a PF's driver that behaves. */
static void put_online(struct harness *pf, unsigned i)
{
	virt(pf, virt_dw10(NVME_VIRT_SECONDARY_ASSIGN, 0, i + 1), 3);
	virt(pf, virt_dw10(NVME_VIRT_SECONDARY_ASSIGN, 1, i + 1), 2);
	virt(pf, virt_dw10(NVME_VIRT_SECONDARY_ONLINE, 0, i + 1), 0);
}

void fuzz_vfs(struct input *in)
{
	struct harness *pf = fuzz_new(",vfs=" VFS ",vq_flexible=14,vi_flexible=12");
	struct vfs f = {.pf = pf, .now = pf};

	u8(in);
	fuzz_bring_up(pf);
	while (in->left)
		step(&f, in);

	/* After all that. */
	fuzz_behave(pf);
	for (unsigned i = 0; i < NR_VFS; i++) {
		if (pf->vfs[i])
			fuzz_behave(pf->vfs[i]);
	}
	h_run_all(pf);
	check(&f);
	h_reset_all(pf, UVFIO_RESET_FUNCTION);
	check(&f);
	h_resume(pf);
	bring_up_pf(&f);
	h_run_all(pf);
	for (unsigned i = 0; i < 6; i++)
		fuzz_consume(pf);
	has_namespace(pf, NVME_CNTLID_PF);
	fuzz_works(pf);
	/* Who has the host's driver beside it may have taken some offline. */
	for (unsigned i = 0; i < NR_VFS; i++)
		virt(pf, virt_dw10(NVME_VIRT_SECONDARY_OFFLINE, 0, i + 1), 0);
	for (unsigned i = 0; i < NR_VFS; i++) {
		struct harness *vf = pf->vfs[i];

		if (!vf)
			continue;
		put_online(pf, i);
		has_namespace(pf, (uint16_t)(i + 1));
		check(&f);
		h_resume(vf);
		fuzz_bring_up(vf);
		fuzz_works(vf);
	}
	for (unsigned i = 0; i < NR_VFS; i++)
		take_away(&f, i);
	check(&f);
	h_free(pf);
}
