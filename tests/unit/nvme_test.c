/* SPDX-License-Identifier: BSD-3-Clause */
/* The NVMe controller: options, registers, states, queues, interrupts. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "devices/nvme/nvme.h"
#include "devices/nvme/nvme_model.h"
#include "nvme_harness.h"

#define CSTS  0x1c
#define CC    0x14
#define CC_ON (4u << 20 | 6u << 16 | 1)

/* ---- options ---- */

static void options(void **state)
{
	static const struct {
		const char *args, *message;
	} wrong[] = {
		{"queues=4", "no storage"},
		{"memory=0", "no storage"},
		{"memory=1M,queues=0", "queues"},
		{"memory=1M,queues=512", "queues"},
		{"memory=1M,interrupts=both", "interrupts"},
		{"memory=1M,blocksize=1024", "blocksize"},
		{"memory=1M,nbd=nbd://x", "only one"},
		{"memory=1M,serial=123456789012345678901", "serial"},
		{"memory=1M,serial=a\tb", "serial"},
		{"memory=100", "less than one block"},
		{"file=/nonexistent", "/nonexistent"},
		{"ns=memory=1M:colour=blue", "colour=blue"},
		{"ns=blocksize=512", "add file=PATH"},
		{"ns=memory=1M:blocksize=5", "blocksize"},
		{"memory=1M,ns=nbd=nbd://host:10809/a:b", "nbd://host:10809/a:b"},
		{"memory=1M,readonly=perhaps", "readonly"},
		{"memory=1M,vendor=0xffff", "vendor"},
		{"memory=1M,vendor=0", "vendor"},
		{"memory=1M,device=0x10000", "device"},
	};

	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		assert_null(h_new(wrong[i].args));
		assert_non_null(strstr(h_last_error(), wrong[i].message));
	}
	/* Every key that create() knows is in the table, for the command line to accept. */
	assert_true(nvme_model.nr_keys >= 9);
}

static void options_ns(void **state)
{
	struct harness *h = h_new("memory=1M,serial=abc,ns=memory=2M:blocksize=4096,"
				  "ns=readonly=on:memory=64K,queues=3");
	struct nvme_ctrl *c = h->priv;

	assert_int_equal(c->nr_ns, 3);
	assert_int_equal(c->ns[0].shift, 9);
	assert_int_equal(c->ns[1].shift, 12);
	assert_int_equal(c->ns[1].size, 2 << 20);
	assert_true(c->ns[2].readonly);
	assert_false(c->ns[1].readonly);
	assert_int_equal(h->desc.msix_vectors, 4);
	assert_int_equal(h->desc.class_code, 0x010802);
	h_free(h);
}

static void options_ids(void **state)
{
	struct harness *h = h_ready("memory=1M,vendor=0x1b36,device=0x0010", NULL);
	struct nvme_id_ctrl *id;

	assert_int_equal(h->desc.vendor, 0x1b36);
	assert_int_equal(h->desc.device, 0x10);
	assert_int_equal(h->desc.subsystem_vendor, 0x1b36);
	assert_int_equal(h->desc.class_code, 0x010802);
	assert_int_equal(h_admin(h, NVME_ADM_IDENTIFY, 0, NVME_CNS_CTRL, 0, (void **)&id, NULL), 0);
	assert_int_equal(id->vid, 0x1b36);
	assert_int_equal(id->ssvid, 0x1b36);
	h_free(h);
	h = h_new("memory=1M");
	assert_int_equal(h->desc.vendor, 0x1234);
	assert_int_equal(h->desc.device, 0x4e56);
	h_free(h);
}

static void big_blocks(struct harness *h)
{
	h->block_align = 4096;
}

static void options_align(void **state)
{
	struct harness *h = h_new_with("memory=1M", big_blocks);
	struct nvme_ctrl *c = h->priv;

	assert_int_equal(c->ns[0].shift, 12);
	h_free(h);
	assert_null(h_new_with("memory=1M,blocksize=512", big_blocks));
	assert_non_null(strstr(h_last_error(), "blocksize=4096"));
}

/* ---- the BAR ---- */

static void bar_layout(void **state)
{
	struct harness *h = h_new("memory=1M,queues=511");
	const struct uvfio_pci_desc *d = &h->desc;

	/* Doorbells have pages of their own, and the MSI-X table is in none of them. */
	assert_int_equal(h->nr_areas, 6);
	for (unsigned i = 0; i < 5; i++) {
		assert_int_equal(h->areas[i].kind, UVFIO_AREA_REGISTERS);
		assert_true(h->areas[i].flags & UVFIO_AREA_POLLABLE);
		/* INTMC: what is written there is the mask, as a rule. */
		assert_int_equal(!!(h->areas[i].flags & UVFIO_AREA_POLL_ZERO),
				 h->areas[i].offset == 0x10);
		assert_int_equal(h->areas[i].offset + h->areas[i].size, h->areas[i + 1].offset);
	}
	assert_int_equal(h->areas[5].kind, UVFIO_AREA_DOORBELLS);
	assert_int_equal(h->areas[5].offset, 0x1000);
	assert_true(512 * 8 <= h->areas[5].size);
	assert_true(d->msix_table >= h->areas[5].offset + h->areas[5].size);
	assert_true(d->msix_table + 16 * d->msix_vectors <= d->msix_pba);
	assert_true(d->msix_pba + (d->msix_vectors + 7) / 8 <= d->bars[0].size);
	assert_true(d->msix_vectors >= 65);
	h_free(h);
}

static void registers(void **state)
{
	struct harness *h = h_new("memory=1M");
	uint64_t cap = h_read64(h, 0);

	assert_int_equal(cap & 0xffff, 4095);     /* MQES */
	assert_int_equal(cap >> 16 & 1, 1);       /* CQR */
	assert_int_equal(cap >> 32 & 0xf, 0);     /* DSTRD */
	assert_int_equal(cap >> 37 & 0xff, 0x41); /* CSS: NVM, and more than one set */
	assert_int_equal(cap >> 48 & 0xf, 0);     /* MPSMIN */
	assert_true((cap >> 24 & 0xff) > 0);      /* TO */
	assert_int_equal(h_read32(h, 8), 0x00010400);

	/* Two halves, a whole, and what is reserved. */
	h_write32(h, 0x28, 0x12345fff);
	h_write32(h, 0x2c, 0x9abcdef0);
	assert_true(h_read64(h, 0x28) == 0x9abcdef012345000ull);
	h_write(h, 0x30, 8, 0x1122334455667fffull);
	assert_true(h_read64(h, 0x30) == 0x1122334455667000ull);
	h_write32(h, 0x24, 0xffffffff);
	assert_int_equal(h_read32(h, 0x24), 0x0fff0fff);
	/* CC and AQA as 8-byte accesses with their neighbours: CC is the upper half of 10h. */
	h_write(h, 0x20, 8, 0x001f001full << 32);
	assert_int_equal(h_read32(h, 0x24), 0x001f001f);
	h_write32(h, CC, 0xff460000);
	assert_int_equal(h_read32(h, CC), 0x00460000);
	/* Read-only registers and narrow writes change nothing. */
	h_write(h, 0, 8, 0);
	h_write32(h, 8, 0);
	h_write32(h, CSTS, 0xffffffff);
	h_write(h, CC, 1, 1);
	h_write(h, CC, 2, 1);
	h_run(h);
	assert_true(h_read64(h, 0) == cap);
	assert_int_equal(h_read32(h, 8), 0x00010400);
	assert_int_equal(h_read32(h, CSTS), 0);
	assert_int_equal(h_read32(h, CC), 0x00460000);
	/* INTMS sets, INTMC clears, both read the mask. */
	h_write32(h, 0x0c, 0x5);
	h_write32(h, 0x0c, 0x2);
	h_write32(h, 0x10, 0x4);
	assert_int_equal(h_read32(h, 0x0c), 0x3);
	assert_int_equal(h_read32(h, 0x10), 0x3);
	h_free(h);
}

/* ---- states ---- */

static void enable_disable(void **state)
{
	struct harness *h = h_new("memory=1M");

	assert_true(h_enable(h, 16));
	h_disable(h);
	assert_int_equal(h_read32(h, CSTS), 0);
	/* AQA, ASQ and ACQ survive a controller reset. */
	assert_int_equal(h_read32(h, 0x24), 0x000f000f);
	assert_true(h_enable(h, 32));
	/* A function reset clears everything. */
	h_reset(h, UVFIO_RESET_FUNCTION);
	assert_int_equal(h_read32(h, CSTS), 0);
	assert_int_equal(h_read32(h, CC), 0);
	assert_int_equal(h_read32(h, 0x24), 0);
	assert_true(h_enable(h, 2));
	h_free(h);
}

static void enable_refused(void **state)
{
	static const struct {
		uint32_t cc, aqa;
		uint64_t asq;
	} bad[] = {
		{CC_ON | 1u << 4, 0x000f000f, H_MEM_BASE},        /* CSS */
		{CC_ON | 7u << 4, 0x000f000f, H_MEM_BASE},        /* CSS: admin only */
		{CC_ON | 5u << 7, 0x000f000f, H_MEM_BASE},        /* MPS */
		{CC_ON | 1u << 11, 0x000f000f, H_MEM_BASE},       /* AMS */
		{CC_ON, 0x000f0000, H_MEM_BASE},                  /* ASQS */
		{CC_ON, 0x0000000f, H_MEM_BASE},                  /* ACQS */
		{CC_ON | 1u << 7, 0x000f000f, H_MEM_BASE + 4096}, /* alignment to MPS */
	};

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct harness *h = h_new("memory=1M");

		h_write32(h, 0x24, bad[i].aqa);
		h_write(h, 0x28, 8, bad[i].asq);
		h_write(h, 0x30, 8, H_MEM_BASE + 65536);
		h_write32(h, CC, bad[i].cc);
		h_run(h);
		assert_int_equal(h_read32(h, CSTS), NVME_CSTS_CFS);
		/* A reset brings it back. */
		h_disable(h);
		assert_int_equal(h_read32(h, CSTS), 0);
		assert_true(h_enable(h, 16));
		h_free(h);
	}
}

static void reset_not_missed(void **state)
{
	struct harness *h = h_ready("memory=1M", NULL);
	struct nvme_ctrl *c = h->priv;

	assert_int_equal(c->sqs[1].state, NVME_SQ_ACTIVE);
	/* EN 1 → 0 → 1 between two passes of work is a reset. */
	h_write32(h, CC, CC_ON & ~1u);
	h_write32(h, CC, CC_ON);
	h_run(h);
	assert_int_equal(h_read32(h, CSTS), NVME_CSTS_RDY);
	assert_int_equal(c->sqs[1].state, NVME_SQ_UNUSED);
	h_free(h);
}

static void reset_waits(void **state)
{
	struct harness *h = h_ready("memory=1M", NULL);
	struct nvme_sqe cmd = h_rw(NVME_IO_READ, 1, 0, 8, h_alloc(h, 4096, 4096), 0);
	struct nvme_ctrl *c = h->priv;

	h->no_pin = false;
	h->blocks[0]->direct = false;
	h->block_async = h->hold_block = true;
	h_push(h, 1, &cmd);
	h_ring_sq(h, 1);
	h_run(h);
	assert_int_equal(h->nr_io_pending, 1);
	assert_int_equal(h->nr_pinned, 1);
	h_write32(h, CC, CC_ON & ~1u);
	h_run(h);
	/* Memory is still in use: not reset yet. */
	assert_int_equal(h_read32(h, CSTS), NVME_CSTS_RDY);
	assert_int_equal(c->state, NVME_RESETTING);
	h_complete_io(h, 1);
	h_run(h);
	assert_int_equal(h_read32(h, CSTS), 0);
	assert_int_equal(h->nr_pinned, 0);
	h_free(h);
}

static void shutdown_states(void **state)
{
	struct harness *h = h_ready("memory=1M", NULL);
	struct nvme_sqe cmd = h_rw(NVME_IO_FLUSH, 1, 0, 1, 0, 0);
	struct nvme_cqe cqe;

	h->block_async = h->hold_block = true;
	h_write32(h, CC, CC_ON | 1u << 14);
	h_run(h);
	assert_int_equal(h_read32(h, CSTS), NVME_CSTS_RDY | NVME_CSTS_SHST_OCCURRING);
	h->hold_block = false;
	h_run(h);
	assert_int_equal(h_read32(h, CSTS), NVME_CSTS_RDY | NVME_CSTS_SHST_COMPLETE);
	assert_int_equal(h->blocks[0]->nr_ops[BLOCK_FLUSH], 1);
	/* Nothing is executed until a reset. */
	h_push(h, 1, &cmd);
	h_ring_sq(h, 1);
	h_run(h);
	assert_false(h_pop(h, 1, &cqe));
	h_write32(h, CC, CC_ON);
	h_run(h);
	assert_int_equal(h_read32(h, CSTS) & NVME_CSTS_SHST_MASK, NVME_CSTS_SHST_COMPLETE);
	h_disable(h);
	assert_int_equal(h_read32(h, CSTS), 0);
	assert_true(h_enable(h, 8));
	/* Abrupt: no flush.  And without being enabled. */
	h_write32(h, CC, CC_ON | 2u << 14);
	h_run(h);
	assert_int_equal(h_read32(h, CSTS), NVME_CSTS_RDY | NVME_CSTS_SHST_COMPLETE);
	assert_int_equal(h->blocks[0]->nr_ops[BLOCK_FLUSH], 1);
	h_disable(h);
	h_write32(h, CC, 1u << 14);
	h_run(h);
	assert_int_equal(h_read32(h, CSTS), NVME_CSTS_SHST_COMPLETE);
	h_write32(h, CC, 0);
	h_run(h);
	assert_int_equal(h_read32(h, CSTS), 0);
	h_free(h);
}

static void subsystem_reset(void **state)
{
	struct harness *h = h_ready("memory=1M", NULL);

	h_write32(h, 0x20, 0x12345678);
	h_run(h);
	assert_int_equal(h_read32(h, CSTS), NVME_CSTS_RDY);
	h_write32(h, 0x20, 0x4e564d65);
	h_run(h);
	assert_int_equal(h_read32(h, CSTS), NVME_CSTS_NSSRO);
	assert_int_equal(h_read32(h, CC), 0);
	assert_true(h_read64(h, 0x28) == 0);
	h_write32(h, CSTS, NVME_CSTS_NSSRO);
	h_run(h);
	assert_int_equal(h_read32(h, CSTS), 0);
	assert_true(h_enable(h, 8));
	h_free(h);
}

/* ---- every reset in every state ---- */

static void into(struct harness *h, enum nvme_state want)
{
	struct nvme_sqe flush = {.opcode = NVME_IO_FLUSH, .nsid = 1};

	h->block_async = true;
	switch (want) {
	case NVME_DISABLED:
		h_disable(h);
		break;
	case NVME_READY: /* with commands at the storage */
		h->hold_block = true;
		for (int i = 0; i < 3; i++)
			h_push(h, 1, &flush);
		h_ring_sq(h, 1);
		h_run(h);
		break;
	case NVME_RESETTING:
		into(h, NVME_READY);
		h_write32(h, CC, CC_ON & ~1u);
		h_run(h);
		break;
	case NVME_SHUTTING_DOWN:
		h->hold_block = true;
		h_write32(h, CC, CC_ON | 1u << 14);
		h_run(h);
		break;
	case NVME_SHUT_DOWN:
		h_write32(h, CC, CC_ON | 1u << 14);
		h_run(h);
		break;
	case NVME_FATAL:
		h_fault(h, h->q[1].sq, 4096);
		h_push(h, 1, &flush);
		h_ring_sq(h, 1);
		h_run(h);
		h_no_faults(h);
		break;
	default:
		fail();
	}
	assert_int_equal(((struct nvme_ctrl *)h->priv)->state, want);
}

static void resets_everywhere(void **state)
{
	static const enum nvme_state states[] = {NVME_DISABLED,      NVME_READY,     NVME_RESETTING,
						 NVME_SHUTTING_DOWN, NVME_SHUT_DOWN, NVME_FATAL};
	static const enum uvfio_reset_kind kinds[] = {
		UVFIO_RESET_OPEN, UVFIO_RESET_FUNCTION, UVFIO_RESET_PM,
		UVFIO_RESET_BUS,  UVFIO_RESET_CLOSE,
	};
	const unsigned nr_kinds = sizeof(kinds) / sizeof(kinds[0]);

	for (size_t s = 0; s < sizeof(states) / sizeof(states[0]); s++) {
		for (unsigned how = 0; how < nr_kinds + 3; how++) {
			struct harness *h = h_ready("memory=1M", NULL);
			struct nvme_sqe flush = {.opcode = NVME_IO_FLUSH, .nsid = 1};
			struct nvme_ctrl *c = h->priv;
			uint32_t csts = 0;

			into(h, states[s]);
			if (how < nr_kinds) {
				h_reset(h, kinds[how]);
				h->hold_block = false;
			} else if (how == nr_kinds) { /* controller reset */
				h_write32(h, CC, CC_ON);
				h_write32(h, CC, 0);
				h->hold_block = false;
				h_run(h);
			} else if (how == nr_kinds + 1) { /* subsystem reset */
				h_write32(h, 0x20, 0x4e564d65);
				h->hold_block = false;
				h_run(h);
				csts = NVME_CSTS_NSSRO;
			} else { /* bus mastering off and on, then a controller reset */
				unsigned before = h->quiesced;

				h_quiesce(h);
				h->hold_block = false;
				h_run(h);
				assert_int_equal(h->quiesced, before + 1);
				h_resume(h);
				h_disable(h);
			}
			assert_int_equal(c->state, NVME_DISABLED);
			assert_int_equal(h_read32(h, CSTS), csts);
			assert_int_equal(h->nr_io_pending, 0);
			assert_int_equal(c->ns[0].inflight, 0);
			assert_int_equal(c->nr_free, NVME_NR_REQS);
			assert_true(h_enable(h, 16));
			h_create_pair(h, 1, 16);
			assert_int_equal(h_cmd(h, 1, &flush, NULL), 0);
			h_free(h);
		}
	}
}

static void cc_storm(void **state)
{
	struct harness *h = h_ready("memory=1M", NULL);

	srand(1);
	for (int i = 0; i < 20000; i++) {
		h_write32(h, CC, (uint32_t)rand() & (rand() % 2 ? 0xffffffff : 0x0046c001));
		if (rand() % 3 == 0)
			h_work(h);
		if (rand() % 7 == 0)
			h_write32(h, 0x1000 + 4u * (uint32_t)(rand() % 8), (uint32_t)rand() % 130);
	}
	h_run(h);
	h_write32(h, CC, 0);
	h_run(h);
	assert_int_equal(h_read32(h, CSTS) & ~NVME_CSTS_SHST_MASK, 0);
	assert_true(h_enable(h, 16));
	h_free(h);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(options),           cmocka_unit_test(options_ns),
		cmocka_unit_test(options_align),     cmocka_unit_test(options_ids),
		cmocka_unit_test(bar_layout),        cmocka_unit_test(registers),
		cmocka_unit_test(enable_disable),    cmocka_unit_test(enable_refused),
		cmocka_unit_test(reset_not_missed),  cmocka_unit_test(reset_waits),
		cmocka_unit_test(shutdown_states),   cmocka_unit_test(subsystem_reset),
		cmocka_unit_test(resets_everywhere), cmocka_unit_test(cc_storm),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
