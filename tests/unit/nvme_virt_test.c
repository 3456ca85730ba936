/* SPDX-License-Identifier: BSD-3-Clause */
/* Virtualization Management: primary and secondary controllers, their resources and states. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "devices/nvme/nvme.h"
#include "nvme_harness.h"

enum { VQ = 0, VI = 1 };

static unsigned virt_raw(struct harness *h, uint32_t cdw10, uint32_t nr, uint32_t *dw0)
{
	struct nvme_sqe cmd = {.opcode = NVME_ADM_VIRT_MANAGEMENT, .cdw10 = cdw10, .cdw11 = nr};
	struct nvme_cqe cqe = {0};
	unsigned status = h_cmd(h, 0, &cmd, &cqe);

	if (dw0)
		*dw0 = cqe.dw0;
	h_run_all(h);
	return status;
}

static unsigned virt(struct harness *h, unsigned action, unsigned type, unsigned cntlid,
		     unsigned nr)
{
	uint32_t dw0;
	unsigned status = virt_raw(h, cntlid << 16 | type << 8 | action, nr, &dw0);

	/* How many were changed. */
	if (!status && action == NVME_VIRT_SECONDARY_ASSIGN)
		assert_int_equal(dw0, nr);
	return status;
}

static struct nvme_primary_caps caps(struct harness *h)
{
	struct nvme_primary_caps *p;

	assert_int_equal(
		h_admin(h, NVME_ADM_IDENTIFY, 0, NVME_CNS_PRIMARY_CAPS, 0, (void **)&p, NULL), 0);
	return *p;
}

static struct nvme_secondary_entry entry(struct harness *h, unsigned cntlid)
{
	struct nvme_secondary_list *list;

	assert_int_equal(h_admin(h, NVME_ADM_IDENTIFY, 0, cntlid << 16 | NVME_CNS_SECONDARY_LIST, 0,
				 (void **)&list, NULL),
			 0);
	assert_true(list->nr);
	assert_int_equal(list->entries[0].scid, cntlid);
	assert_int_equal(list->entries[0].pcid, 0);
	assert_int_equal(list->entries[0].vfn, cntlid);
	return list->entries[0];
}

static bool is_offline(struct harness *vf)
{
	return h_read32(vf, NVME_REG_CSTS) == NVME_CSTS_CFS;
}

/* A primary controller that is enabled: it manages. */
static struct harness *manager(const char *args)
{
	struct harness *h = h_new(args);

	assert_non_null(h);
	assert_true(h_enable(h, 16));
	return h;
}

/* ---- what there is ---- */

static void identify(void **state)
{
	struct harness *h = manager("memory=1M,vfs=4,queues=4"), *vf;
	struct nvme_id_ctrl *id;
	struct nvme_effects_log *log;
	char subnqn[256];

	assert_int_equal(h_admin(h, NVME_ADM_IDENTIFY, 0, NVME_CNS_CTRL, 0, (void **)&id, NULL), 0);
	assert_int_equal(id->cntlid, 0);
	assert_int_equal(id->cmic, NVME_CMIC_CONTROLLERS);
	assert_int_equal(id->oacs & (NVME_OACS_VIRT | NVME_OACS_NS_MANAGEMENT),
			 NVME_OACS_VIRT | NVME_OACS_NS_MANAGEMENT);
	memcpy(subnqn, id->subnqn, sizeof(subnqn));
	assert_int_equal(h_log(h, NVME_LOG_EFFECTS, 1024, 0, true, (void **)&log), 0);
	assert_int_equal(log->admin[NVME_ADM_VIRT_MANAGEMENT], NVME_EFFECT_SUPPORTED);
	assert_true(log->admin[NVME_ADM_NS_ATTACHMENT] & NVME_EFFECT_INVENTORY);

	vf = h_new_vf(h, 2);
	assert_int_equal(virt(h, NVME_VIRT_SECONDARY_ASSIGN, VQ, 3, 2), 0);
	assert_int_equal(virt(h, NVME_VIRT_SECONDARY_ASSIGN, VI, 3, 1), 0);
	assert_int_equal(virt(h, NVME_VIRT_SECONDARY_ONLINE, 0, 3, 0), 0);
	assert_true(h_enable(vf, 16));
	assert_int_equal(h_admin(vf, NVME_ADM_IDENTIFY, 0, NVME_CNS_CTRL, 0, (void **)&id, NULL),
			 0);
	assert_int_equal(id->cntlid, 3);
	assert_int_equal(id->cmic, NVME_CMIC_CONTROLLERS | NVME_CMIC_VF);
	assert_int_equal(id->oacs & (NVME_OACS_VIRT | NVME_OACS_NS_MANAGEMENT), 0);
	/* One subsystem. */
	assert_memory_equal(subnqn, id->subnqn, sizeof(subnqn));
	/* A secondary controller manages nothing, and resets nobody else. */
	assert_int_equal(virt(vf, NVME_VIRT_SECONDARY_OFFLINE, 0, 3, 0),
			 DNR(NVME_SC_INVALID_OPCODE));
	for (unsigned cns = NVME_CNS_ALLOCATED_LIST; cns <= NVME_CNS_SECONDARY_LIST; cns++)
		assert_int_equal(h_admin(vf, NVME_ADM_IDENTIFY, 1, cns, 0, (void **)&id, NULL),
				 DNR(NVME_SC_INVALID_FIELD));
	assert_false(h_read64(vf, NVME_REG_CAP) & NVME_CAP_NSSRS);
	h_write32(vf, NVME_REG_NSSR, NVME_NSSR_MAGIC);
	h_run_all(h);
	assert_true(h_read32(vf, NVME_REG_CSTS) & NVME_CSTS_RDY);
	assert_true(h_read32(h, NVME_REG_CSTS) & NVME_CSTS_RDY);
	h_free(vf);
	h_free(h);
}

static void without_vfs(void **state)
{
	struct harness *h = manager("memory=1M");
	struct nvme_id_ctrl *id;

	assert_int_equal(h_admin(h, NVME_ADM_IDENTIFY, 0, NVME_CNS_CTRL, 0, (void **)&id, NULL), 0);
	assert_int_equal(id->cmic, 0);
	assert_int_equal(id->oacs, NVME_OACS_FORMAT | NVME_OACS_DBBUF);
	assert_int_equal(virt(h, NVME_VIRT_PRIMARY_ALLOCATE, 0, 0, 0), DNR(NVME_SC_INVALID_OPCODE));
	assert_int_equal(
		h_admin(h, NVME_ADM_IDENTIFY, 0, NVME_CNS_SECONDARY_LIST, 0, (void **)&id, NULL),
		DNR(NVME_SC_INVALID_FIELD));
	h_free(h);
}

static void options(void **state)
{
	static const char *const wrong[] = {
		"memory=1M,vfs=4096",
		"memory=1M,vfs=x",
		"memory=1M,vq_flexible=10",
		"memory=1M,vi_flexible=10",
		"memory=1M,vfs=1,vq_flexible=1",
		"memory=1M,vfs=1,vi_flexible=0",
	};
	struct nvme_primary_caps p;
	struct harness *h;

	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
		assert_null(h_new(wrong[i]));
	h = manager("memory=1M,vfs=4");
	p = caps(h);
	assert_int_equal(p.cntlid, 0);
	assert_int_equal(p.crt, NVME_CRT_VQ | NVME_CRT_VI);
	assert_int_equal(p.vqfrt, 36);
	assert_int_equal(p.vifrt, 36);
	assert_int_equal(p.vqfrsm, 36);
	assert_int_equal(p.vqprt, 65);
	assert_int_equal(p.viprt, 65);
	assert_int_equal(p.vqrfap, 0);
	assert_int_equal(p.vqgran, 1);
	assert_int_equal(p.vigran, 1);
	h_free(h);
	/* No more than there are queues: the PF's number is the most that a VF may have. */
	h = manager("memory=1M,vfs=4,queues=2");
	p = caps(h);
	assert_int_equal(p.vqfrt, 12);
	assert_int_equal(p.vqfrsm, 3);
	assert_int_equal(p.vifrsm, 6);
	h_free(h);
	h = manager("memory=1M,vfs=2,vq_flexible=7,vi_flexible=5");
	p = caps(h);
	assert_int_equal(p.vqfrt, 7);
	assert_int_equal(p.vqfrsm, 7);
	assert_int_equal(p.vifrt, 5);
	assert_int_equal(p.vifrsm, 5);
	h_free(h);
}

/* 127 secondary controllers a page. */
static void long_list(void **state)
{
	struct harness *h = manager("memory=1M,vfs=300");
	struct nvme_secondary_list *list;
	unsigned seen = 0, from = 0;

	for (;;) {
		assert_int_equal(h_admin(h, NVME_ADM_IDENTIFY, 0,
					 from << 16 | NVME_CNS_SECONDARY_LIST, 0, (void **)&list,
					 NULL),
				 0);
		if (!list->nr)
			break;
		for (unsigned i = 0; i < list->nr; i++)
			assert_int_equal(list->entries[i].scid, ++seen);
		from = seen + 1;
	}
	assert_int_equal(seen, 300);
	h_free(h);
}

/* ---- the command ---- */

static void statuses(void **state)
{
	struct harness *h = manager("memory=1M,vfs=2,queues=4,vq_flexible=6,vi_flexible=6"), *vf;

	vf = h_new_vf(h, 0);
	/* Actions and kinds that there are not. */
	for (unsigned action = 0; action < 16; action++) {
		if (action == 1 || (action >= 7 && action <= 9))
			continue;
		assert_int_equal(virt(h, action, VQ, 1, 0), DNR(NVME_SC_INVALID_FIELD));
	}
	for (unsigned type = 2; type < 8; type++)
		assert_int_equal(virt(h, NVME_VIRT_SECONDARY_ASSIGN, type, 1, 1),
				 DNR(NVME_SC_RESOURCE_ID));
	/* Whose? */
	for (unsigned action = 7; action <= 9; action++) {
		assert_int_equal(virt(h, action, VQ, 0, 0), DNR(NVME_SC_CONTROLLER_ID));
		assert_int_equal(virt(h, action, VQ, 3, 0), DNR(NVME_SC_CONTROLLER_ID));
		assert_int_equal(virt(h, action, VQ, 0xffff, 0), DNR(NVME_SC_CONTROLLER_ID));
	}
	assert_int_equal(virt(h, NVME_VIRT_PRIMARY_ALLOCATE, VQ, 1, 0), DNR(NVME_SC_CONTROLLER_ID));
	/* The primary controller has no flexible resources. */
	assert_int_equal(virt(h, NVME_VIRT_PRIMARY_ALLOCATE, VQ, 0, 0), 0);
	assert_int_equal(virt(h, NVME_VIRT_PRIMARY_ALLOCATE, VI, 0, 0), 0);
	assert_int_equal(virt(h, NVME_VIRT_PRIMARY_ALLOCATE, VQ, 0, 1), DNR(NVME_SC_NR_RESOURCES));
	/* How many? */
	assert_int_equal(virt(h, NVME_VIRT_SECONDARY_ASSIGN, VQ, 1, 6), DNR(NVME_SC_NR_RESOURCES));
	assert_int_equal(virt(h, NVME_VIRT_SECONDARY_ASSIGN, VI, 1, 7), DNR(NVME_SC_NR_RESOURCES));
	assert_int_equal(virt(h, NVME_VIRT_SECONDARY_ASSIGN, VQ, 1, 4), 0);
	assert_int_equal(virt(h, NVME_VIRT_SECONDARY_ASSIGN, VQ, 2, 3), DNR(NVME_SC_RESOURCE_ID));
	assert_int_equal(virt(h, NVME_VIRT_SECONDARY_ASSIGN, VQ, 2, 2), 0);
	assert_int_equal(caps(h).vqrfa, 6);
	assert_int_equal(virt(h, NVME_VIRT_SECONDARY_ASSIGN, VQ, 1, 2), 0);
	assert_int_equal(caps(h).vqrfa, 4);
	/* What a VF needs to be online. */
	assert_int_equal(virt(h, NVME_VIRT_SECONDARY_ONLINE, 0, 1, 0),
			 DNR(NVME_SC_SECONDARY_STATE)); /* no VI */
	assert_int_equal(virt(h, NVME_VIRT_SECONDARY_ASSIGN, VI, 1, 1), 0);
	assert_int_equal(vf->vectors, 1);
	assert_int_equal(virt(h, NVME_VIRT_SECONDARY_ASSIGN, VQ, 1, 1), 0);
	assert_int_equal(virt(h, NVME_VIRT_SECONDARY_ONLINE, 0, 1, 0),
			 DNR(NVME_SC_SECONDARY_STATE)); /* no I/O queue */
	assert_int_equal(virt(h, NVME_VIRT_SECONDARY_ASSIGN, VQ, 1, 2), 0);
	assert_int_equal(virt(h, NVME_VIRT_SECONDARY_ASSIGN, VI, 2, 1), 0);
	assert_int_equal(virt(h, NVME_VIRT_SECONDARY_ONLINE, 0, 2, 0),
			 DNR(NVME_SC_SECONDARY_STATE)); /* no VF */
	assert_true(is_offline(vf));
	assert_int_equal(virt(h, NVME_VIRT_SECONDARY_ONLINE, 0, 1, 0), 0);
	assert_int_equal(virt(h, NVME_VIRT_SECONDARY_ONLINE, 0, 1, 0), 0);
	assert_false(is_offline(vf));
	assert_int_equal(entry(h, 1).scs, 1);
	/* Online, its resources are its own. */
	assert_int_equal(virt(h, NVME_VIRT_SECONDARY_ASSIGN, VQ, 1, 2),
			 DNR(NVME_SC_SECONDARY_STATE));
	assert_int_equal(virt(h, NVME_VIRT_SECONDARY_OFFLINE, 0, 1, 0), 0);
	assert_int_equal(virt(h, NVME_VIRT_SECONDARY_OFFLINE, 0, 1, 0), 0);
	assert_true(is_offline(vf));
	assert_int_equal(entry(h, 1).scs, 0);
	assert_int_equal(entry(h, 1).nvq, 0);
	assert_int_equal(entry(h, 1).nvi, 0);
	assert_int_equal(vf->vectors, 0);
	assert_int_equal(caps(h).vqrfa, 2);
	assert_int_equal(caps(h).virfa, 1);
	h_free(vf);
	h_free(h);
}

static void give(struct harness *h, unsigned cntlid, unsigned nvq, unsigned nvi)
{
	assert_int_equal(virt(h, NVME_VIRT_SECONDARY_ASSIGN, VQ, cntlid, nvq), 0);
	assert_int_equal(virt(h, NVME_VIRT_SECONDARY_ASSIGN, VI, cntlid, nvi), 0);
	assert_int_equal(virt(h, NVME_VIRT_SECONDARY_ONLINE, 0, cntlid, 0), 0);
}

/* Queues and vectors are those assigned. */
static void resources(void **state)
{
	struct harness *h = manager("memory=1M,vfs=2,queues=8,vq_flexible=16,vi_flexible=16"), *vf;
	struct nvme_sqe cmd = {
		.opcode = NVME_ADM_SET_FEATURES, .cdw10 = NVME_FEAT_QUEUES, .cdw11 = 0x003f003f};
	struct nvme_cqe cqe;

	vf = h_new_vf(h, 0);
	give(h, 1, 4, 2);
	assert_int_equal(entry(h, 1).nvq, 4);
	assert_int_equal(entry(h, 1).nvi, 2);
	assert_true(h_enable(vf, 16));
	assert_int_equal(h_cmd(vf, 0, &cmd, &cqe), 0);
	assert_int_equal(cqe.dw0, 0x00020002); /* three */
	assert_int_equal(h_create_cq(vf, 4, 16, true, 1), DNR(NVME_SC_QID_INVALID));
	assert_int_equal(h_create_cq(vf, 3, 16, true, 2), DNR(NVME_SC_VECTOR_INVALID));
	assert_int_equal(h_create_cq(vf, 3, 16, true, 1), 0);
	assert_int_equal(h_create_sq(vf, 3, 16, 3), 0);
	/* Others, next time. */
	assert_int_equal(virt(h, NVME_VIRT_SECONDARY_OFFLINE, 0, 1, 0), 0);
	give(h, 1, 9, 9);
	assert_true(h_enable(vf, 16));
	assert_int_equal(h_cmd(vf, 0, &cmd, &cqe), 0);
	assert_int_equal(cqe.dw0, 0x00070007);
	assert_int_equal(h_create_cq(vf, 8, 16, true, 8), 0);
	h_free(vf);
	h_free(h);
}

/* ---- states ---- */

static void offline_registers(void **state)
{
	struct harness *h = manager("memory=1M,vfs=1"), *vf = h_new_vf(h, 0);

	assert_true(is_offline(vf));
	for (unsigned offset = 0; offset < NVME_REG_ACQ + 8; offset += 4) {
		if (offset != NVME_REG_CSTS)
			assert_int_equal(h_read32(vf, offset), 0);
	}
	/* Nothing that is written is taken. */
	assert_false(h_enable(vf, 16));
	assert_int_equal(h_read32(vf, NVME_REG_CC), 0);
	assert_int_equal(h_read64(vf, NVME_REG_ASQ), 0);
	h_ring_sq(vf, 0);
	h_run(vf);
	assert_true(is_offline(vf));
	/* A reset of its own changes nothing. */
	h_reset(vf, UVFIO_RESET_FUNCTION);
	assert_true(is_offline(vf));
	give(h, 1, 2, 1);
	assert_true(h_read64(vf, NVME_REG_CAP) != 0);
	assert_int_equal(h_read32(vf, NVME_REG_CSTS), 0);
	assert_true(h_enable(vf, 16));
	h_reset(vf, UVFIO_RESET_FUNCTION);
	assert_int_equal(h_read32(vf, NVME_REG_CSTS), 0);
	assert_true(h_enable(vf, 16));
	h_free(vf);
	h_free(h);
}

/* What is in progress ends before the controller is offline. */
static void offline_busy(void **state)
{
	struct harness *h = manager("memory=1M,vfs=1"), *vf;
	struct nvme_sqe read;

	h->block_async = true;
	vf = h_new_vf(h, 0);
	give(h, 1, 2, 2);
	assert_true(h_enable(vf, 16));
	h_create_pair(vf, 1, 16);
	read = h_rw(NVME_IO_READ, 1, 0, 1, h_alloc(vf, 4096, 4096), 0);
	vf->hold_block = true;
	h_push(vf, 1, &read);
	h_ring_sq(vf, 1);
	h_run(vf);
	assert_int_equal(vf->nr_io_pending, 1);
	assert_int_equal(virt(h, NVME_VIRT_SECONDARY_OFFLINE, 0, 1, 0), 0);
	assert_false(is_offline(vf));
	/* And online again before that. */
	give(h, 1, 3, 1);
	assert_true(h_read32(vf, NVME_REG_CSTS) & NVME_CSTS_RDY);
	vf->hold_block = false;
	h_run_all(h);
	assert_int_equal(h_read32(vf, NVME_REG_CSTS), 0);
	assert_int_equal(h_read32(vf, NVME_REG_CC), 0);
	assert_true(h_enable(vf, 16));
	h_free(vf);
	h_free(h);
}

/* While nobody drives the primary controller all are online; its driver begins with none. */
static void who_decides(void **state)
{
	struct harness *h = h_new("memory=1M,vfs=2,vq_flexible=18,vi_flexible=16"), *vf;

	vf = h_new_vf(h, 0);
	assert_false(is_offline(vf));
	assert_int_equal(vf->vectors, 2); /* the core's share */
	assert_true(h_enable(vf, 16));
	h_create_pair(vf, 1, 16);
	assert_true(h_enable(h, 16));
	h_run_all(h);
	assert_true(is_offline(vf));
	assert_int_equal(vf->vectors, 0);
	assert_int_equal(caps(h).vqrfa, 0);
	give(h, 1, 5, 3);
	assert_false(is_offline(vf));
	/* A controller reset of the primary one takes all back. */
	h_disable(h);
	h_run_all(h);
	assert_true(is_offline(vf));
	assert_true(h_enable(h, 16));
	h_run_all(h);
	assert_true(is_offline(vf));
	assert_int_equal(entry(h, 1).nvq, 0);
	/* Without its driver it is as at first. */
	h_reset(h, UVFIO_RESET_CLOSE);
	h_run_all(h);
	assert_false(is_offline(vf));
	assert_int_equal(vf->vectors, 8);
	assert_true(h_enable(vf, 16));
	h_create_pair(vf, 7, 16);
	assert_int_equal(h_create_cq(vf, 8, 16, true, 8), DNR(NVME_SC_VECTOR_INVALID));
	assert_int_equal(h_create_cq(vf, 8, 16, true, 7), 0);
	h_free(vf);
	h_free(h);
}

static void host_driver(void **state)
{
	struct harness *h = h_new("memory=1M,vfs=2"), *vf;

	nvme_host_driver(h->priv, true);
	vf = h_new_vf(h, 1);
	assert_false(is_offline(vf));
	/* The host moves vectors. */
	vf->vectors = 3;
	assert_int_equal(nvme_vf_vectors(h->priv, 1, 3), 0);
	assert_true(h_enable(vf, 16));
	assert_int_equal(h_create_cq(vf, 1, 16, true, 3), DNR(NVME_SC_VECTOR_INVALID));
	assert_int_equal(h_create_cq(vf, 1, 16, true, 2), 0);
	/* They survive resets of both. */
	h_reset(vf, UVFIO_RESET_FUNCTION);
	h_reset(h, UVFIO_RESET_FUNCTION);
	h_run_all(h);
	assert_int_equal(vf->vectors, 3);
	assert_int_equal(((struct nvme_ctrl *)h->priv)->sub->secondaries[1].nvi, 3);
	assert_false(is_offline(vf));
	/* It leaves: somebody else decides. */
	nvme_host_driver(h->priv, false);
	assert_true(h_enable(h, 16));
	h_run_all(h);
	assert_true(is_offline(vf));
	h_free(vf);
	h_free(h);
}

/* An NVM subsystem reset resets all controllers. */
static void subsystem_reset(void **state)
{
	struct harness *h = h_new("memory=1M,vfs=1"), *vf = h_new_vf(h, 0);

	assert_true(h_enable(vf, 16));
	h_write32(h, NVME_REG_NSSR, NVME_NSSR_MAGIC);
	h_run_all(h);
	assert_int_equal(h_read32(vf, NVME_REG_CSTS), 0);
	assert_true(h_read32(h, NVME_REG_CSTS) & NVME_CSTS_NSSRO);
	assert_true(h_enable(vf, 16));
	assert_true(h_enable(h, 16));
	h_run_all(h);
	give(h, 1, 2, 1);
	assert_true(h_enable(vf, 16));
	h_write32(h, NVME_REG_NSSR, NVME_NSSR_MAGIC);
	h_run_all(h);
	assert_true(is_offline(vf));
	h_free(vf);
	h_free(h);
}

/* VFs come and go: what one had goes with it. */
static void come_and_go(void **state)
{
	struct harness *h = manager("memory=1M,vfs=3,vq_flexible=12,vi_flexible=12"), *vf;

	/* Resources can be assigned before there is a VF. */
	assert_int_equal(virt(h, NVME_VIRT_SECONDARY_ASSIGN, VQ, 2, 7), 0);
	assert_int_equal(virt(h, NVME_VIRT_SECONDARY_ASSIGN, VI, 2, 5), 0);
	vf = h_new_vf(h, 1);
	assert_true(is_offline(vf));
	assert_int_equal(vf->vectors, 5);
	assert_int_equal(virt(h, NVME_VIRT_SECONDARY_ONLINE, 0, 2, 0), 0);
	assert_false(is_offline(vf));
	h_free(vf);
	assert_int_equal(entry(h, 2).scs, 0);
	assert_int_equal(caps(h).vqrfa, 0);
	vf = h_new_vf(h, 1);
	assert_true(is_offline(vf));
	assert_int_equal(vf->vectors, 0);
	h_free(vf);
	h_free(h);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(identify),          cmocka_unit_test(without_vfs),
		cmocka_unit_test(options),           cmocka_unit_test(long_list),
		cmocka_unit_test(statuses),          cmocka_unit_test(resources),
		cmocka_unit_test(offline_registers), cmocka_unit_test(offline_busy),
		cmocka_unit_test(who_decides),       cmocka_unit_test(host_driver),
		cmocka_unit_test(subsystem_reset),   cmocka_unit_test(come_and_go),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
