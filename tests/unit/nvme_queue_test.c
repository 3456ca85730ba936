/* SPDX-License-Identifier: BSD-3-Clause */
/* The NVMe controller: queues, doorbells, completions, interrupts, shadow doorbells. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "devices/nvme/nvme.h"
#include "nvme_harness.h"

#define CSTS 0x1c
#define CC   0x14

static struct nvme_sqe flush_cmd(void)
{
	return (struct nvme_sqe){.opcode = NVME_IO_FLUSH, .nsid = 1};
}

/* ---- creation and deletion: every refusal ---- */

static void create_cq_status(void **state)
{
	struct harness *h = h_ready("memory=1M,queues=4", NULL);
	uint64_t mem = h_alloc(h, 65536, 4096);
	static const struct {
		uint32_t cdw10, cdw11;
		unsigned offset, status;
	} rows[] = {
		{15 << 16 | 0, 1, 0, NVME_SC_QID_INVALID},
		{15 << 16 | 1, 1, 0, NVME_SC_QID_INVALID}, /* exists */
		{15 << 16 | 5, 1, 0, NVME_SC_QID_INVALID},
		{15 << 16 | 0xffff, 1, 0, NVME_SC_QID_INVALID},
		{0 << 16 | 2, 1, 0, NVME_SC_QSIZE_INVALID},
		{4096u << 16 | 2, 1, 0, NVME_SC_QSIZE_INVALID},
		{0xffffu << 16 | 2, 1, 0, NVME_SC_QSIZE_INVALID},
		{15 << 16 | 2, 0, 0, NVME_SC_INVALID_FIELD}, /* not contiguous */
		{15 << 16 | 2, 1, 16, NVME_SC_PRP_OFFSET},
		{15 << 16 | 2, 5u << 16 | 3, 0, NVME_SC_VECTOR_INVALID},
		{15 << 16 | 2, 0xffffu << 16 | 3, 0, NVME_SC_VECTOR_INVALID},
		{15 << 16 | 2, 0xffffu << 16 | 1, 0, 0}, /* no interrupts: no vector */
		{4095u << 16 | 3, 4u << 16 | 3, 0, 0},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct nvme_sqe cmd = {.opcode = NVME_ADM_CREATE_CQ,
				       .cdw10 = rows[i].cdw10,
				       .cdw11 = rows[i].cdw11,
				       .prp1 = mem + rows[i].offset};

		assert_int_equal(h_cmd(h, 0, &cmd, NULL), rows[i].status ? DNR(rows[i].status) : 0);
	}
	h->message = false; /* pin-based: only vector 0 */
	assert_int_equal(h_create_cq(h, 4, 16, true, 1), DNR(NVME_SC_VECTOR_INVALID));
	assert_int_equal(h_create_cq(h, 4, 16, true, 0), 0);
	h_free(h);
}

static void create_sq_status(void **state)
{
	struct harness *h = h_ready("memory=1M,queues=4", NULL);
	uint64_t mem = h_alloc(h, 65536, 4096);
	static const struct {
		uint32_t cdw10, cdw11;
		unsigned offset, status;
	} rows[] = {
		{15 << 16 | 0, 1 << 16 | 1, 0, NVME_SC_QID_INVALID},
		{15 << 16 | 1, 1 << 16 | 1, 0, NVME_SC_QID_INVALID},
		{15 << 16 | 5, 1 << 16 | 1, 0, NVME_SC_QID_INVALID},
		{0 << 16 | 2, 1 << 16 | 1, 0, NVME_SC_QSIZE_INVALID},
		{4096u << 16 | 2, 1 << 16 | 1, 0, NVME_SC_QSIZE_INVALID},
		{15 << 16 | 2, 0 << 16 | 1, 0, NVME_SC_QID_INVALID},
		{15 << 16 | 2, 5 << 16 | 1, 0, NVME_SC_QID_INVALID},
		{15 << 16 | 2, 2 << 16 | 1, 0, NVME_SC_CQ_INVALID},
		{15 << 16 | 2, 1 << 16 | 0, 0, NVME_SC_INVALID_FIELD},
		{15 << 16 | 2, 1 << 16 | 1, 64, NVME_SC_PRP_OFFSET},
		{15 << 16 | 2, 1 << 16 | 1, 0, 0},
		{15 << 16 | 2, 1 << 16 | 1, 0, NVME_SC_QID_INVALID},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct nvme_sqe cmd = {.opcode = NVME_ADM_CREATE_SQ,
				       .cdw10 = rows[i].cdw10,
				       .cdw11 = rows[i].cdw11,
				       .prp1 = mem + rows[i].offset};

		assert_int_equal(h_cmd(h, 0, &cmd, NULL), rows[i].status ? DNR(rows[i].status) : 0);
	}
	/* Entry sizes that CC does not allow. */
	h_write32(h, CC, 4u << 20 | 5u << 16 | 1);
	assert_int_equal(h_create_sq(h, 3, 16, 1), DNR(NVME_SC_QSIZE_INVALID));
	h_write32(h, CC, 6u << 16 | 1);
	assert_int_equal(h_create_cq(h, 3, 16, false, 0), DNR(NVME_SC_QSIZE_INVALID));
	h_free(h);
}

static unsigned delete_queue(struct harness *h, bool sq, unsigned qid)
{
	struct nvme_sqe cmd = {.opcode = sq ? NVME_ADM_DELETE_SQ : NVME_ADM_DELETE_CQ,
			       .cdw10 = qid};

	return h_cmd(h, 0, &cmd, NULL);
}

static void delete_status(void **state)
{
	struct harness *h = h_ready("memory=1M,queues=4", NULL);

	assert_int_equal(h_create_sq(h, 2, 8, 1), 0);
	assert_int_equal(delete_queue(h, true, 0), DNR(NVME_SC_QID_INVALID));
	assert_int_equal(delete_queue(h, true, 3), DNR(NVME_SC_QID_INVALID));
	assert_int_equal(delete_queue(h, true, 0xffff), DNR(NVME_SC_QID_INVALID));
	assert_int_equal(delete_queue(h, false, 0), DNR(NVME_SC_QID_INVALID));
	assert_int_equal(delete_queue(h, false, 3), DNR(NVME_SC_QID_INVALID));
	assert_int_equal(delete_queue(h, false, 1), DNR(NVME_SC_QUEUE_DELETION));
	assert_int_equal(delete_queue(h, true, 1), 0);
	assert_int_equal(delete_queue(h, false, 1), DNR(NVME_SC_QUEUE_DELETION));
	assert_int_equal(delete_queue(h, true, 1), DNR(NVME_SC_QID_INVALID));
	assert_int_equal(delete_queue(h, true, 2), 0);
	assert_int_equal(delete_queue(h, false, 1), 0);
	assert_int_equal(delete_queue(h, false, 1), DNR(NVME_SC_QID_INVALID));
	h_create_pair(h, 1, 16); /* and again */
	assert_int_equal(h_cmd(h, 1, &(struct nvme_sqe){.nsid = 1}, NULL), 0);
	h_free(h);
}

static void delete_in_flight(void **state)
{
	struct harness *h = h_ready("memory=1M", NULL);
	struct nvme_sqe del = {.opcode = NVME_ADM_DELETE_SQ, .cdw10 = 1}, cmd = flush_cmd();
	struct nvme_cqe cqe;

	h->block_async = h->hold_block = true;
	for (int i = 0; i < 5; i++)
		h_push(h, 1, &cmd);
	h_ring_sq(h, 1);
	h_run(h);
	assert_int_equal(h->nr_io_pending, 5);
	h_push(h, 0, &del);
	h_ring_sq(h, 0);
	h_run(h);
	assert_false(h_pop(h, 0, &cqe));
	/* Another deletion of the same queue meanwhile, and creating it again. */
	h_push(h, 0, &del);
	h_ring_sq(h, 0);
	h_run(h);
	assert_true(h_pop(h, 0, &cqe));
	assert_int_equal(cqe.status >> 1 & NVME_SC_MASK, NVME_SC_QID_INVALID);
	assert_int_equal(h_create_sq(h, 1, 16, 1), DNR(NVME_SC_QID_INVALID));
	h_complete_io(h, 5);
	h_run(h);
	for (int i = 0; i < 5; i++)
		assert_true(h_pop(h, 1, &cqe));
	assert_true(h_pop(h, 0, &cqe));
	assert_int_equal(cqe.status >> 1, 0);
	h_free(h);
}

/* ---- doorbells ---- */

/* The next asynchronous event: dw0, after an Asynchronous Event Request was queued. */
static bool event(struct harness *h, uint32_t *dw0)
{
	struct nvme_cqe cqe;

	h_run(h);
	if (!h_pop(h, 0, &cqe))
		return false;
	h_ring_cq(h, 0);
	h_run(h);
	*dw0 = cqe.dw0;
	return true;
}

static void read_error_log(struct harness *h)
{
	struct nvme_sqe cmd = {.opcode = NVME_ADM_GET_LOG_PAGE,
			       .cdw10 = 15u << 16 | NVME_LOG_ERROR,
			       .prp1 = h_alloc(h, 4096, 4096)};

	assert_int_equal(h_cmd(h, 0, &cmd, NULL), 0);
}

static void bad_doorbells(void **state)
{
	struct harness *h = h_ready("memory=1M,queues=4", NULL);
	struct nvme_sqe aer = {.opcode = NVME_ADM_ASYNC_EVENT};
	static const struct {
		uint32_t offset, value;
		unsigned info;
	} rows[] = {
		{0x1008, 128, NVME_EVENT_ERROR_DB_VALUE}, /* tail = size of the queue */
		{0x1008, 0xffff, NVME_EVENT_ERROR_DB_VALUE},
		{0x100c, 128, NVME_EVENT_ERROR_DB_VALUE},  /* head */
		{0x100c, 5, NVME_EVENT_ERROR_DB_VALUE},    /* more than was posted */
		{0x1010, 1, NVME_EVENT_ERROR_DB_REGISTER}, /* queue 2: not created */
		{0x1014, 1, NVME_EVENT_ERROR_DB_REGISTER},
		{0x1028, 1, NVME_EVENT_ERROR_DB_REGISTER}, /* beyond the queues */
		{0x1ffc, 1, NVME_EVENT_ERROR_DB_REGISTER},
	};
	struct nvme_sqe cmd = flush_cmd();
	uint32_t dw0;

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		h_push(h, 0, &aer);
		h_ring_sq(h, 0);
		assert_false(event(h, &dw0));
		h_write32(h, rows[i].offset, rows[i].value);
		assert_true(event(h, &dw0));
		assert_int_equal(dw0, rows[i].info << 8 | NVME_LOG_ERROR << 16);
		read_error_log(h);
	}
	/* The queue still works. */
	assert_int_equal(h_cmd(h, 1, &cmd, NULL), 0);
	h_free(h);
}

static void tail_jump(void **state)
{
	struct harness *h = h_ready("memory=1M", NULL);
	struct nvme_sqe cmd = flush_cmd();
	struct nvme_ctrl *c = h->priv;

	/* Entries that are waiting must not be overtaken. */
	h->block_async = h->hold_block = true;
	h->hold_dma = h->delay_dma = true;
	for (int i = 0; i < 100; i++)
		h_push(h, 1, &cmd);
	h_ring_sq(h, 1);
	h_run(h);
	assert_int_equal(c->sqs[1].tail, 100);
	h_write32(h, 0x1008, 99); /* 127 more */
	h_run(h);
	assert_int_equal(c->sqs[1].tail, 100);
	assert_int_equal(c->count.errors, 1);
	h_write32(h, 0x1008, 127); /* all there can be */
	h_run(h);
	assert_int_equal(c->sqs[1].tail, 127);
	h_free(h);
}

static void doorbells_early(void **state)
{
	struct harness *h = h_new("memory=1M");
	struct nvme_ctrl *c = h->priv;

	/* Before the controller is enabled they mean nothing, also later. */
	for (uint32_t o = 0x1000; o < 0x2000; o += 4)
		h_write32(h, o, 3);
	h_write(h, 0x1000, 8, ~0ull);
	h_run(h);
	assert_true(h_enable(h, 16));
	assert_int_equal(c->count.errors, 0);
	assert_int_equal(c->sqs[0].tail, 0);
	h_create_pair(h, 1, 16);
	assert_int_equal(h_cmd(h, 1, &(struct nvme_sqe){.nsid = 1}, NULL), 0);
	h_free(h);
}

/* Are these bytes as the kernel gave them? */
static bool untouched(const void *p, size_t len)
{
	const uint8_t *bytes = p;

	return !bytes[0] && !memcmp(bytes, bytes + 1, len - 1);
}

/* A queue that has never been created is not even written to: it costs no memory, whatever else
 * happens to the controller. */
static void unused_queues(void **state)
{
	struct harness *h = h_ready("memory=1M,queues=64", NULL);
	struct nvme_ctrl *c = h->priv;

	assert_int_equal(h_cmd(h, 1, &(struct nvme_sqe){.nsid = 1}, NULL), 0);
	h_quiesce(h);
	h_resume(h);
	h_disable(h);
	assert_true(h_enable(h, 16));
	h_reset(h, UVFIO_RESET_FUNCTION);
	h_run(h);
	assert_false(untouched(&c->sqs[1], sizeof(c->sqs[1])));
	assert_true(untouched(&c->sqs[2], 63 * sizeof(c->sqs[2])));
	assert_true(untouched(&c->cqs[2], 63 * sizeof(c->cqs[2])));
	assert_true(untouched(c->cids + NVME_CID_BYTES / 8 * 2, 63 * NVME_CID_BYTES));
	h_free(h);
}

static void doorbell_pair(void **state)
{
	struct harness *h = h_ready("memory=1M", NULL);
	struct nvme_sqe cmd = flush_cmd();
	struct nvme_cqe cqe;

	/* One 8-byte store rings tail and head. */
	assert_int_equal(h_cmd(h, 1, &cmd, NULL), 0);
	h_push(h, 1, &cmd);
	h_write(h, 0x1008, 8, (uint64_t)h->q[1].head << 32 | h->q[1].tail);
	h_run(h);
	assert_true(h_pop(h, 1, &cqe));
	/* A queue begins with its doorbells at 0, so that a repeated value is noticed. */
	assert_int_equal(delete_queue(h, true, 1), 0);
	uvfio_reg_set(&h->dev, 0, 0x1008, 4, 7); /* as the core shows what was written */
	assert_int_equal(h_create_sq(h, 1, 16, 1), 0);
	assert_int_equal(h_read32(h, 0x1008), 0);
	uvfio_reg_set(&h->dev, 0, 0x1008, 4, 7);
	h_disable(h);
	assert_int_equal(h_read32(h, 0x1008), 0);
	h_free(h);
}

/* ---- completions ---- */

static void wrap(void **state)
{
	struct harness *h = h_ready("memory=1M", NULL);
	struct nvme_sqe cmd = flush_cmd();
	struct nvme_cqe cqe;

	h_create_pair(h, 2, 4);
	for (int i = 0; i < 50; i++)
		assert_int_equal(h_cmd(h, 2, &cmd, &cqe), 0);
	assert_int_equal(cqe.sqhd, 50 % 4);
	/* In batches across the end. */
	for (int i = 0; i < 40; i++) {
		unsigned n = 1 + (unsigned)i % 3;

		for (unsigned k = 0; k < n; k++)
			h_push(h, 2, &cmd);
		h_ring_sq(h, 2);
		h_run(h);
		for (unsigned k = 0; k < n; k++)
			assert_true(h_pop(h, 2, &cqe));
		assert_false(h_pop(h, 2, &cqe));
		h_ring_cq(h, 2);
	}
	h_free(h);
}

static void cq_full(void **state)
{
	struct harness *h = h_ready("memory=1M", NULL);
	struct nvme_sqe cmd = flush_cmd();
	struct nvme_cqe cqe;
	unsigned got = 0;
	bool seen[100] = {false};
	uint16_t first;

	assert_int_equal(h_create_cq(h, 2, 4, true, 2), 0);
	assert_int_equal(h_create_sq(h, 2, 128, 2), 0);
	first = h->next_cid;
	for (int i = 0; i < 100; i++)
		h_push(h, 2, &cmd);
	h_ring_sq(h, 2);
	h_run(h);
	/* Three, then nothing until the head moves; none is lost. */
	for (int i = 0; i < 3; i++)
		assert_true(h_pop(h, 2, &cqe));
	assert_false(h_pop(h, 2, &cqe));
	assert_int_equal(cqe.sqhd, 3);
	/* Other queues are not affected. */
	assert_int_equal(h_cmd(h, 1, &cmd, NULL), 0);
	for (got = 3; got < 100;) {
		h_ring_cq(h, 2);
		h_run(h);
		while (h_pop(h, 2, &cqe)) {
			assert_int_equal(cqe.status >> 1, 0);
			assert_true(cqe.cid - first < 100);
			assert_false(seen[cqe.cid - first]);
			seen[cqe.cid - first] = true;
			got++;
		}
	}
	h_free(h);
}

/* No more is begun than there is room to complete. */
static void cq_promise(void **state)
{
	struct harness *h = h_ready("memory=1M", NULL);
	struct nvme_sqe cmd = flush_cmd();
	struct nvme_cqe cqe;

	assert_int_equal(h_create_cq(h, 2, 4, true, 2), 0);
	assert_int_equal(h_create_sq(h, 2, 64, 2), 0);
	h->block_async = h->hold_block = true;
	for (int i = 0; i < 10; i++)
		h_push(h, 2, &cmd);
	h_ring_sq(h, 2);
	h_run(h);
	assert_int_equal(h->nr_io_pending, 3);
	h_complete_io(h, 2);
	h_run(h);
	assert_int_equal(h->nr_io_pending, 1);
	assert_true(h_pop(h, 2, &cqe));
	h_ring_cq(h, 2);
	h_run(h);
	assert_int_equal(h->nr_io_pending, 2);
	h_free(h);
}

static void cid_conflict(void **state)
{
	struct harness *h = h_ready("memory=1M", NULL);
	struct nvme_sqe cmd = flush_cmd();
	struct nvme_cqe cqe;
	uint16_t cid;

	h->block_async = h->hold_block = true;
	cid = h_push(h, 1, &cmd);
	h->next_cid = cid;
	h_push(h, 1, &cmd);
	h_ring_sq(h, 1);
	h_run(h);
	assert_true(h_pop(h, 1, &cqe));
	assert_int_equal(cqe.status >> 1 & NVME_SC_MASK, NVME_SC_CID_CONFLICT);
	assert_false(h_pop(h, 1, &cqe));
	h_complete_io(h, 1);
	h_run(h);
	assert_true(h_pop(h, 1, &cqe));
	assert_int_equal(cqe.status >> 1, 0);
	/* It is free again. */
	h->block_async = h->hold_block = false;
	h->next_cid = cid;
	assert_int_equal(h_cmd(h, 1, &cmd, NULL), 0);
	h_free(h);
}

static void batches(void **state)
{
	struct harness *h = h_ready("memory=1M", NULL);
	struct nvme_sqe cmd = flush_cmd();
	struct nvme_cqe cqe;

	for (int i = 0; i < 32; i++)
		h_push(h, 1, &cmd);
	h->nr_dma = 0;
	h->irqs[1] = 0;
	h_ring_sq(h, 1);
	h_run(h);
	/* One DMA for the commands, two for the completions, one interrupt (or one each, when they
	 * complete later). */
	assert_int_equal(h->nr_dma, 3);
	assert_int_equal(h->irqs[1], h_late() ? 2 : 1);
	for (int i = 0; i < 32; i++)
		assert_true(h_pop(h, 1, &cqe));
	h_free(h);
}

/* ---- queue memory that cannot be used ---- */

static void fatal(void **state)
{
	for (int which = 0; which < 2; which++) {
		for (int delay = 0; delay < 2; delay++) {
			struct harness *h = h_ready("memory=1M", NULL);
			struct nvme_sqe cmd = flush_cmd();

			h->delay_dma = delay;
			h_push(h, 1, &cmd);
			if (which)
				h_fault(h, h->q[1].sq, 64);
			else
				h_fault(h, h->q[1].cq, 16);
			h_ring_sq(h, 1);
			h_run(h);
			assert_int_equal(h_read32(h, CSTS), NVME_CSTS_RDY | NVME_CSTS_CFS);
			/* Not even the admin queue, until a reset. */
			h_push(h, 0, &(struct nvme_sqe){.opcode = NVME_ADM_ASYNC_EVENT});
			h_ring_sq(h, 0);
			h_run(h);
			h_disable(h);
			assert_int_equal(h_read32(h, CSTS), 0);
			h_no_faults(h);
			assert_true(h_enable(h, 16));
			h_create_pair(h, 1, 16);
			assert_int_equal(h_cmd(h, 1, &cmd, NULL), 0);
			h_free(h);
		}
	}
}

static void bus_master_off(void **state)
{
	struct harness *h = h_ready("memory=1M", NULL);
	struct nvme_sqe cmd = flush_cmd();
	struct nvme_cqe cqe;

	/* Off, with quiesce, while a command is at the backend: its completion waits. */
	h->block_async = h->hold_block = true;
	h_push(h, 1, &cmd);
	h_ring_sq(h, 1);
	h_run(h);
	h_quiesce(h);
	h->bus_master = false;
	assert_int_equal(h->quiesced, 0);
	h_complete_io(h, 1);
	h_run(h);
	assert_int_equal(h->quiesced, 1);
	assert_false(h_pop(h, 1, &cqe));
	h_push(h, 1, &cmd);
	h_ring_sq(h, 1);
	h_run(h);
	assert_int_equal(h->nr_io_pending, 0);
	h->bus_master = true;
	h->hold_block = false;
	h_resume(h);
	assert_true(h_pop(h, 1, &cqe));
	assert_true(h_pop(h, 1, &cqe));
	assert_int_equal(cqe.status >> 1, 0);
	assert_int_equal(h_read32(h, CSTS), NVME_CSTS_RDY);
	h_ring_cq(h, 1);

	/* Off without notice: no fatal status, and a doorbell tries again. */
	h->bus_master = false;
	h_push(h, 1, &cmd);
	h_ring_sq(h, 1);
	h_run(h);
	assert_int_equal(h_read32(h, CSTS), NVME_CSTS_RDY);
	h->bus_master = true;
	h_ring_sq(h, 1);
	h_run(h);
	assert_true(h_pop(h, 1, &cqe));
	h_free(h);
}

static void reset_with_dma(void **state)
{
	struct nvme_sqe cmd = flush_cmd();

	for (unsigned steps = 0; steps < 12; steps++) {
		struct harness *h = h_ready("memory=1M", NULL);

		h->delay_dma = h->hold_dma = true;
		h->block_async = h->hold_block = true;
		for (int i = 0; i < 4; i++)
			h_push(h, 1, &cmd);
		h_ring_sq(h, 1);
		for (unsigned i = 0; i < steps; i++) {
			h_run(h);
			if (i & 1)
				h_complete_io(h, 1);
			else
				h_complete_dma(h, 1);
		}
		h_reset(h, UVFIO_RESET_FUNCTION);
		h->delay_dma = h->hold_dma = h->block_async = h->hold_block = false;
		assert_true(h_enable(h, 16));
		h_create_pair(h, 1, 16);
		assert_int_equal(h_cmd(h, 1, &cmd, NULL), 0);
		h_free(h);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(create_cq_status),
		cmocka_unit_test(create_sq_status),
		cmocka_unit_test(delete_status),
		cmocka_unit_test(delete_in_flight),
		cmocka_unit_test(bad_doorbells),
		cmocka_unit_test(tail_jump),
		cmocka_unit_test(doorbells_early),
		cmocka_unit_test(unused_queues),
		cmocka_unit_test(doorbell_pair),
		cmocka_unit_test(wrap),
		cmocka_unit_test(cq_full),
		cmocka_unit_test(cq_promise),
		cmocka_unit_test(cid_conflict),
		cmocka_unit_test(batches),
		cmocka_unit_test(fatal),
		cmocka_unit_test(bus_master_off),
		cmocka_unit_test(reset_with_dma),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
