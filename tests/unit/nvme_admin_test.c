/* SPDX-License-Identifier: BSD-3-Clause */
/* The NVMe controller: Identify, asynchronous events, abort. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "devices/nvme/nvme.h"
#include "nvme_harness.h"

static unsigned identify(struct harness *h, uint32_t nsid, uint32_t cns, unsigned csi, void **data)
{
	return h_admin(h, NVME_ADM_IDENTIFY, nsid, cns, csi << 24, data, NULL);
}

static bool all_zero(const void *p, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		if (((const uint8_t *)p)[i])
			return false;
	}
	return true;
}

/* ---- Identify ---- */

static void cached(struct harness *h)
{
	h->block_volatile = true;
}

static void identify_ctrl(void **state)
{
	struct harness *h = h_ready("memory=1M,serial=S1,ns=memory=2M", cached);
	struct nvme_id_ctrl *id;

	assert_int_equal(identify(h, 0, NVME_CNS_CTRL, 0, (void **)&id), 0);
	assert_int_equal(id->vid, h->desc.vendor);
	assert_memory_equal(id->sn, "S1                  ", 20);
	assert_memory_equal(id->mn, "uvfio NVMe controller                   ", 40);
	assert_int_equal(id->ver, h_read32(h, 8));
	assert_int_equal(id->mdts, 9);
	assert_int_equal(id->cntrltype, 1);
	assert_int_equal(id->nn, 2);
	assert_int_equal(id->sqes, 0x66);
	assert_int_equal(id->cqes, 0x44);
	assert_int_equal(id->vwc, 7);
	assert_int_equal(id->fuses, 1); /* Compare and Write */
	assert_true(id->oacs & 1 << 8); /* Doorbell Buffer Config */
	assert_int_equal(*(uint64_t *)id->tnvmcap, 3 << 20);
	assert_int_equal(strncmp(id->subnqn, "nqn.2014-08.org.nvmexpress:uuid:", 32), 0);
	h_free(h);
}

static void identify_names(void **state)
{
	struct harness *a = h_ready("memory=1M,serial=A,ns=memory=1M", NULL);
	struct harness *b = h_ready("memory=1M,serial=B", NULL);
	struct harness *again = h_ready("memory=1M,serial=A", NULL);
	struct nvme_id_ctrl *ia, *ib;
	uint8_t *da, *db, *da2, *dagain;

	/* Names differ between controllers and namespaces, and are the same in the next run. */
	assert_int_equal(identify(a, 0, NVME_CNS_CTRL, 0, (void **)&ia), 0);
	assert_int_equal(identify(b, 0, NVME_CNS_CTRL, 0, (void **)&ib), 0);
	assert_string_not_equal(ia->subnqn, ib->subnqn);
	assert_int_equal(identify(a, 1, NVME_CNS_NS_DESCS, 0, (void **)&da), 0);
	assert_int_equal(identify(a, 2, NVME_CNS_NS_DESCS, 0, (void **)&da2), 0);
	assert_int_equal(identify(b, 1, NVME_CNS_NS_DESCS, 0, (void **)&db), 0);
	assert_int_equal(identify(again, 1, NVME_CNS_NS_DESCS, 0, (void **)&dagain), 0);
	assert_int_equal(da[0], NVME_NIDT_UUID);
	assert_int_equal(da[1], 16);
	assert_memory_not_equal(da + 4, da2 + 4, 16);
	assert_memory_not_equal(da + 4, db + 4, 16);
	assert_memory_equal(da, dagain, 4096);
	assert_int_equal(da[20], NVME_NIDT_CSI);
	assert_int_equal(da[21], 1);
	assert_int_equal(da[24], NVME_CSI_NVM);
	assert_true(all_zero(da + 25, 4096 - 25));
	h_free(a);
	h_free(b);
	h_free(again);
}

static void identify_ns(void **state)
{
	struct harness *h = h_ready("memory=1M,ns=memory=2M:blocksize=4096:readonly=on", NULL);
	struct nvme_id_ns_independent *ind;
	struct nvme_id_ns *id;
	uint64_t *iocs;
	uint32_t *list;

	assert_int_equal(identify(h, 1, NVME_CNS_NS, 0, (void **)&id), 0);
	assert_int_equal(id->nsze, 2048);
	assert_int_equal(id->ncap, 2048);
	assert_int_equal(id->flbas, 0);
	assert_int_equal(id->nlbaf, 1);
	assert_int_equal(id->lbaf[0].lbads, 9);
	assert_int_equal(id->lbaf[1].lbads, 12);
	assert_int_equal(id->nsattr, 0);
	assert_int_equal(identify(h, 2, NVME_CNS_NS, 0, (void **)&id), 0);
	assert_int_equal(id->nsze, 512);
	assert_int_equal(id->flbas, 1);
	assert_int_equal(id->nsattr, 1);
	assert_int_equal(identify(h, 2, NVME_CNS_NS_INDEPENDENT, 0, (void **)&ind), 0);
	assert_int_equal(ind->nsattr, 1);
	assert_int_equal(ind->nstat, 1);
	assert_int_equal(identify(h, 0, NVME_CNS_NS_LIST, 0, (void **)&list), 0);
	assert_int_equal(list[0], 1);
	assert_int_equal(list[1], 2);
	assert_int_equal(list[2], 0);
	assert_int_equal(identify(h, 1, NVME_CNS_NS_LIST, 0, (void **)&list), 0);
	assert_int_equal(list[0], 2);
	assert_int_equal(list[1], 0);
	assert_int_equal(identify(h, 2, NVME_CNS_IOCS_NS_LIST, 0, (void **)&list), 0);
	assert_int_equal(list[0], 0);
	assert_int_equal(identify(h, 0, NVME_CNS_IOCS, 0, (void **)&iocs), 0);
	assert_int_equal(iocs[0], 1);
	assert_true(all_zero(iocs + 1, 4088));
	h_free(h);
}

static void identify_status(void **state)
{
	struct harness *h = h_ready("memory=1M", NULL);
	static const struct {
		uint32_t nsid, cns;
		unsigned csi, status;
	} rows[] = {
		{0, NVME_CNS_NS, 0, NVME_SC_INVALID_NS},
		{2, NVME_CNS_NS, 0, NVME_SC_INVALID_NS},
		{NVME_NSID_ALL, NVME_CNS_NS, 0, NVME_SC_INVALID_NS},
		{0xfffffffe, NVME_CNS_NS_LIST, 0, NVME_SC_INVALID_NS},
		{NVME_NSID_ALL, NVME_CNS_NS_LIST, 0, NVME_SC_INVALID_NS},
		{0xfffffffd, NVME_CNS_NS_LIST, 0, 0},
		{0, NVME_CNS_NS_DESCS, 0, NVME_SC_INVALID_NS},
		{1, NVME_CNS_IOCS_NS, 0, 0},
		{2, NVME_CNS_IOCS_NS, 0, NVME_SC_INVALID_NS},
		{1, NVME_CNS_IOCS_NS, 2, NVME_SC_INVALID_FIELD},
		{0, NVME_CNS_IOCS_CTRL, 0, 0},
		{0, NVME_CNS_IOCS_CTRL, 2, NVME_SC_INVALID_FIELD},
		{0, NVME_CNS_IOCS_NS_LIST, 2, NVME_SC_INVALID_FIELD},
		{2, NVME_CNS_NS_INDEPENDENT, 0, NVME_SC_INVALID_NS},
		{0, NVME_CNS_IOCS | 0xffffu << 16, 0, 0},
		{0, NVME_CNS_IOCS | 1u << 16, 0, NVME_SC_INVALID_FIELD},
		{0, 0x04, 0, NVME_SC_INVALID_FIELD},
		{0, 0x10, 0, NVME_SC_INVALID_FIELD},
		{1, 0x11, 0, NVME_SC_INVALID_FIELD},
		{1, 0x12, 0, NVME_SC_INVALID_FIELD},
		{0, 0x13, 0, NVME_SC_INVALID_FIELD},
		{0, 0x17, 0, NVME_SC_INVALID_FIELD},
		{0, 0xff, 0, NVME_SC_INVALID_FIELD},
	};
	struct nvme_sqe cmd = {.opcode = NVME_ADM_IDENTIFY, .cdw10 = 1, .prp1 = 0x1000};
	static const uint8_t unknown[] = {0x03, 0x07, 0x0b, 0x0d, 0x10, 0x11, 0x14, 0x15, 0x18,
					  0x19, 0x1a, 0x1c, 0x81, 0x82, 0x84, 0x86, 0xc0, 0xff};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		assert_int_equal(identify(h, rows[i].nsid, rows[i].cns, rows[i].csi, NULL),
				 rows[i].status ? DNR(rows[i].status) : 0);
	assert_int_equal(h_cmd(h, 0, &cmd, NULL), DNR(NVME_SC_DATA_TRANSFER));
	cmd.prp1 = h_alloc(h, 8192, 4096) + 4;
	cmd.prp2 = cmd.prp1 + 4096;
	assert_int_equal(h_cmd(h, 0, &cmd, NULL), DNR(NVME_SC_PRP_OFFSET));
	cmd.prp2 -= 4;
	assert_int_equal(h_cmd(h, 0, &cmd, NULL), 0); /* across two pages */
	for (size_t i = 0; i < sizeof(unknown); i++)
		assert_int_equal(h_admin(h, unknown[i], 0, 0, 0, NULL, NULL),
				 DNR(NVME_SC_INVALID_OPCODE));
	assert_int_equal(h_cmd(h, 0, &(struct nvme_sqe){.opcode = 6, .flags = 1}, NULL),
			 DNR(NVME_SC_INVALID_FIELD));
	h_free(h);
}

/* ---- asynchronous events ---- */

static void push_aer(struct harness *h)
{
	h_push(h, 0, &(struct nvme_sqe){.opcode = NVME_ADM_ASYNC_EVENT});
	h_ring_sq(h, 0);
	h_run(h);
}

static bool pop_admin(struct harness *h, struct nvme_cqe *cqe)
{
	h_run(h);
	if (!h_pop(h, 0, cqe))
		return false;
	h_ring_cq(h, 0);
	h_run(h);
	return true;
}

static void events(void **state)
{
	struct harness *h = h_ready("memory=1M,ns=memory=1M", NULL);
	struct block *b = h->blocks[1];
	struct nvme_ctrl *c = h->priv;
	struct nvme_cqe cqe;
	uint32_t *list;

	/* Four at a time. */
	for (int i = 0; i < 4; i++)
		push_aer(h);
	assert_false(pop_admin(h, &cqe));
	push_aer(h);
	assert_true(pop_admin(h, &cqe));
	assert_int_equal(cqe.status >> 1 & NVME_SC_MASK, NVME_SC_AER_LIMIT);

	/* A doorbell event, then another: masked until the log has been read. */
	h_write32(h, 0x1008, 5000);
	assert_true(pop_admin(h, &cqe));
	assert_int_equal(cqe.dw0, NVME_LOG_ERROR << 16 | 1 << 8 | 0);
	h_write32(h, 0x1010, 1);
	assert_false(pop_admin(h, &cqe));
	assert_int_equal(h_log(h, NVME_LOG_ERROR, 16, 0, true, NULL), 0); /* retains the event */
	assert_false(pop_admin(h, &cqe));
	h_push(h, 0,
	       &(struct nvme_sqe){.opcode = NVME_ADM_GET_LOG_PAGE,
				  .cdw10 = 15 << 16 | NVME_LOG_ERROR,
				  .prp1 = h_alloc(h, 4096, 4096)});
	h_ring_sq(h, 0);
	h_run(h);
	assert_true(pop_admin(h, &cqe)); /* the event, then the log page */
	assert_int_equal(cqe.dw0, NVME_LOG_ERROR << 16);
	assert_true(pop_admin(h, &cqe));
	assert_int_equal(cqe.status >> 1, 0);
	assert_int_equal(cqe.dw0, 0);
	assert_int_equal(c->nr_aers, 2);

	/* A size that changes is reported when the host wants to know. */
	b->info.size = 2 << 20;
	h->in_ctx = true;
	b->resize_fn(b->resize_arg);
	h->in_ctx = false;
	assert_false(pop_admin(h, &cqe));
	assert_int_equal(h_admin(h, NVME_ADM_SET_FEATURES, 0, NVME_FEAT_ASYNC_EVENTS,
				 NVME_AEC_NS_ATTR, NULL, NULL),
			 0);
	b->info.size = 512 << 10;
	h->in_ctx = true;
	b->resize_fn(b->resize_arg);
	h->in_ctx = false;
	assert_true(pop_admin(h, &cqe));
	assert_int_equal(cqe.dw0, NVME_LOG_CHANGED_NS << 16 | 0 << 8 | 2);
	assert_int_equal(h_log(h, NVME_LOG_CHANGED_NS, 1024, 0, false, (void **)&list), 0);
	assert_int_equal(list[0], 2);
	assert_int_equal(list[1], 0);
	assert_int_equal(h_log(h, NVME_LOG_CHANGED_NS, 1024, 0, false, (void **)&list), 0);
	assert_int_equal(list[0], 0);
	/* And the new end counts. */
	assert_int_equal(
		h_cmd(h, 1, &(struct nvme_sqe){.opcode = NVME_IO_VERIFY, .nsid = 2, .cdw10 = 1024},
		      NULL),
		DNR(NVME_SC_LBA_RANGE));

	/* Temperature: a threshold below it. */
	assert_int_equal(c->nr_aers, 1);
	assert_int_equal(
		h_admin(h, NVME_ADM_SET_FEATURES, 0, NVME_FEAT_ASYNC_EVENTS, 0x102, NULL, NULL), 0);
	h_push(h, 0,
	       &(struct nvme_sqe){.opcode = NVME_ADM_SET_FEATURES,
				  .cdw10 = NVME_FEAT_TEMPERATURE,
				  .cdw11 = 300});
	h_ring_sq(h, 0);
	h_run(h);
	assert_true(pop_admin(h, &cqe));
	assert_int_equal(cqe.dw0, NVME_LOG_SMART << 16 | 1 << 8 | 1);
	assert_true(pop_admin(h, &cqe));
	assert_int_equal(c->nr_aers, 0);
	{
		struct nvme_smart_log *s;

		assert_int_equal(h_log(h, NVME_LOG_SMART, 128, 0, false, (void **)&s), 0);
		assert_int_equal(s->critical_warning, 2);
		assert_int_equal(s->temperature, c->temperature);
	}
	h_free(h);
}

static bool timer_runs(struct harness *h)
{
	uint64_t now = h->clock.now;
	unsigned looks = h->blocks[0]->nr_ops[BLOCK_GET_SIZE];

	h_advance(h, 2000000000);
	assert_true(h->clock.now > now);
	return h->blocks[0]->nr_ops[BLOCK_GET_SIZE] > looks;
}

/* Storage that grows, and is cut: found by looking while a driver waits to be told. */
static void sizes(void **state)
{
	struct harness *h = h_ready("memory=1M,ns=memory=1M", NULL);
	struct nvme_sqe read = h_rw(NVME_IO_READ, 1, 2048, 8, h_alloc(h, 4096, 4096), 0);
	struct block *b = h->blocks[0];
	struct nvme_id_ns *id;
	struct nvme_cqe cqe;
	uint32_t *list;

	h->block_async = true;
	/* Nobody looks for nobody. */
	assert_false(timer_runs(h));
	push_aer(h);
	assert_false(timer_runs(h));
	assert_int_equal(h_admin(h, NVME_ADM_SET_FEATURES, 0, NVME_FEAT_ASYNC_EVENTS,
				 NVME_AEC_NS_ATTR, NULL, NULL),
			 0);
	assert_true(timer_runs(h));
	assert_true(timer_runs(h));
	assert_false(pop_admin(h, &cqe));
	assert_int_equal(h_cmd(h, 1, &read, NULL), DNR(NVME_SC_LBA_RANGE));
	b->new_size = 2 << 20;
	h_advance(h, 1999999999);
	assert_false(pop_admin(h, &cqe));
	h_advance(h, 1);
	assert_true(pop_admin(h, &cqe));
	assert_int_equal(cqe.dw0, NVME_LOG_CHANGED_NS << 16 | 0 << 8 | 2);
	assert_int_equal(h_log(h, NVME_LOG_CHANGED_NS, 1024, 0, false, (void **)&list), 0);
	assert_int_equal(list[0], 1);
	assert_int_equal(list[1], 0);
	assert_int_equal(h_cmd(h, 1, &read, NULL), 0);
	/* The request is used up: nobody waits. */
	assert_false(timer_runs(h));

	/* Identify looks by itself. */
	b->new_size = 4 << 20;
	assert_int_equal(identify(h, 1, NVME_CNS_NS, 0, (void **)&id), 0);
	assert_int_equal(id->nsze, 8192);
	assert_int_equal(id->ncap, 8192);
	push_aer(h); /* an event that nobody had asked for is kept */
	assert_true(pop_admin(h, &cqe));
	assert_int_equal(h_log(h, NVME_LOG_CHANGED_NS, 1024, 0, false, (void **)&list), 0);
	assert_int_equal(list[0], 1);
	/* A look that fails is no answer. */
	b->fail = true;
	b->fail_op = BLOCK_GET_SIZE;
	b->fail_errno = -EIO;
	assert_int_equal(identify(h, 1, NVME_CNS_NS, 0, (void **)&id), 0);
	assert_int_equal(id->nsze, 8192);

	/* Cut: found by a read that was on its way. */
	push_aer(h);
	h->hold_block = true;
	h->blocks[0]->direct = false;
	read.cdw10 = 8000;
	h_push(h, 1, &read);
	h_ring_sq(h, 1);
	h_run(h);
	b->new_size = 1 << 20;
	b->info.size = 1 << 20;
	h->in_ctx = true;
	b->resize_fn(b->resize_arg);
	h->in_ctx = false;
	h->hold_block = false;
	h_run(h);
	assert_true(h_pop(h, 1, &cqe));
	assert_int_equal((cqe.status >> 1) & ~NVME_SC_MORE, DNR(NVME_SC_LBA_RANGE));
	h_ring_cq(h, 1);
	assert_true(pop_admin(h, &cqe));
	assert_int_equal(h_cmd(h, 1, &read, NULL), DNR(NVME_SC_LBA_RANGE));

	/* A reset while one looks. */
	assert_int_equal(h_log(h, NVME_LOG_CHANGED_NS, 1024, 0, false, NULL), 0);
	push_aer(h);
	h->hold_block = true;
	h_advance(h, 2000000000);
	assert_int_equal(h->nr_io_pending, 1);
	h_disable(h);
	h_complete_io(h, 1);
	h_run(h);
	h->hold_block = false;
	assert_true(h_enable(h, 16));
	assert_false(timer_runs(h));
	h_free(h);
}

/* An event without a request is kept; events do not stop the admin queue. */
static void events_kept(void **state)
{
	struct harness *h = h_new("memory=1M");
	struct nvme_cqe cqe;

	assert_true(h_enable(h, 2)); /* one entry of each queue can be used */
	h_write32(h, 0x1010, 1);
	h_run(h);
	push_aer(h);
	assert_true(pop_admin(h, &cqe));
	assert_int_equal(cqe.dw0, NVME_LOG_ERROR << 16);
	/* One that is held takes no place in the completion queue. */
	push_aer(h);
	assert_false(pop_admin(h, &cqe));
	assert_int_equal(identify(h, 0, NVME_CNS_CTRL, 0, NULL), 0);
	assert_int_equal(identify(h, 0, NVME_CNS_CTRL, 0, NULL), 0);
	h_free(h);
}

/* ---- abort ---- */

static void aborts(void **state)
{
	struct harness *h = h_ready("memory=1M", NULL);
	struct nvme_cqe cqe;
	uint32_t dw0;
	uint16_t cid = h_push(h, 0, &(struct nvme_sqe){.opcode = NVME_ADM_ASYNC_EVENT});

	h_ring_sq(h, 0);
	h_run(h);
	h_push(h, 0, &(struct nvme_sqe){.opcode = NVME_ADM_ABORT, .cdw10 = (uint32_t)cid << 16});
	h_ring_sq(h, 0);
	h_run(h);
	assert_true(pop_admin(h, &cqe));
	assert_int_equal(cqe.cid, cid);
	assert_int_equal(cqe.status >> 1, NVME_SC_ABORT_REQUESTED);
	assert_true(pop_admin(h, &cqe));
	assert_int_equal(cqe.dw0, 0);
	/* Nothing there; no such queue. */
	assert_int_equal(h_admin(h, NVME_ADM_ABORT, 0, 0xffff0001, 0, NULL, &dw0), 0);
	assert_int_equal(dw0, 1);
	assert_int_equal(h_admin(h, NVME_ADM_ABORT, 0, 2, 0, NULL, NULL),
			 DNR(NVME_SC_INVALID_FIELD));
	assert_int_equal(h_admin(h, NVME_ADM_ABORT, 0, 0xffff, 0, NULL, NULL),
			 DNR(NVME_SC_INVALID_FIELD));
	h_free(h);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(identify_ctrl), cmocka_unit_test(identify_names),
		cmocka_unit_test(identify_ns),   cmocka_unit_test(identify_status),
		cmocka_unit_test(events),        cmocka_unit_test(events_kept),
		cmocka_unit_test(aborts),

		cmocka_unit_test(sizes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
