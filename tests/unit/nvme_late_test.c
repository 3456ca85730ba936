/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The NVMe controller over client memory that answers late, in any order, with errors, or never:
 * what becomes visible in which order, and what each step makes of a transfer that was abandoned.
 */
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

#define PAGES 8

static void late(struct harness *h)
{
	h->block_direct = false;
	h->no_pin = true;
}

/* A read of PAGES pages through a PRP list, not rung yet. */
static uint64_t push_read(struct harness *h)
{
	uint64_t data = h_alloc(h, PAGES * 4096, 4096), list = h_alloc(h, 4096, 4096);
	uint64_t *prp = h_ptr(h, list);
	struct nvme_sqe cmd = h_rw(NVME_IO_READ, 1, 0, PAGES * 8, data, list);

	for (unsigned i = 1; i < PAGES; i++)
		prp[i - 1] = data + i * 4096;
	memset(h_ptr(h, data), 0xAA, PAGES * 4096);
	memset(h->blocks[0]->data, 0x55, PAGES * 4096);
	h_push(h, 1, &cmd);
	return data;
}

static bool posted(struct harness *h)
{
	const struct nvme_cqe *cqe = h_ptr(h, h->q[1].cq + h->q[1].head * sizeof(*cqe));

	return (cqe->status & 1) == h->q[1].phase;
}

/* Data before the entry, the entry before the interrupt. */
static void order(void **state)
{
	struct harness *h = h_ready("memory=1M", late);
	uint8_t *data = h_ptr(h, push_read(h));
	unsigned steps = 0;

	h->delay_dma = h->hold_dma = true;
	h->irqs[1] = 0;
	h_ring_sq(h, 1);
	h_run(h);
	while (h->nr_dma_pending) {
		bool was_posted = posted(h);

		if (was_posted)
			assert_int_equal(data[PAGES * 4096 - 1], 0x55);
		assert_int_equal(h->irqs[1], 0);
		h_complete_dma(h, 1);
		if (posted(h) && !was_posted)
			assert_int_equal(data[PAGES * 4096 - 1], 0x55);
		if (h->irqs[1])
			assert_true(posted(h));
		h_run(h);
		steps++;
	}
	/* The command, the list, the data (one piece), the completion. */
	assert_int_equal(steps, 4);
	assert_int_equal(h->irqs[1], 1);
	assert_true(posted(h));
	h_free(h);
}

/* The @step-th transfer of a read is the one that is not answered. */
static struct harness *stuck_at(unsigned step, uint64_t *data)
{
	struct harness *h = h_ready("memory=1M", late);

	*data = push_read(h);
	h->delay_dma = h->hold_dma = true;
	h->irqs[1] = 0;
	h_ring_sq(h, 1);
	h_run(h);
	for (unsigned i = 0; i < step; i++) {
		assert_int_equal(h->nr_dma_pending, 1);
		h_complete_dma(h, 1);
		h_run(h);
	}
	assert_int_equal(h->nr_dma_pending, 1);
	return h;
}

/* Bus mastering goes off, the client does not answer, and it comes on again. */
static void paused(void **state)
{
	for (unsigned step = 0; step < 4; step++) {
		uint64_t data;
		struct harness *h = stuck_at(step, &data);
		unsigned before = h->quiesced, status;
		struct nvme_cqe cqe;

		h_quiesce(h);
		assert_int_equal(h->quiesced, before);
		h->bus_master = false;
		h_abandon_dma(h, -EPERM);
		assert_int_equal(h->quiesced, before + 1);
		h->bus_master = true;
		h->hold_dma = false;
		h_resume(h);
		/* The queues lose nothing; a command whose data was cut off says so. */
		assert_int_equal(h_read32(h, 0x1c), NVME_CSTS_RDY);
		assert_true(h_pop(h, 1, &cqe));
		status = (cqe.status >> 1) & ~(unsigned)NVME_SC_MORE;
		assert_int_equal(status, step == 1 || step == 2 ? DNR(NVME_SC_DATA_TRANSFER) : 0);
		if (!status)
			assert_int_equal(*(uint8_t *)h_ptr(h, data), 0x55);
		assert_int_equal(h->irqs[1], 1);
		assert_false(h_pop(h, 1, &cqe));
		h_free(h);
	}
}

/* The client unmaps the memory, or dies. */
static void failed(void **state)
{
	for (unsigned step = 0; step < 8; step++) {
		uint64_t data;
		struct harness *h = stuck_at(step / 2, &data);
		struct nvme_cqe cqe;

		h_abandon_dma(h, step & 1 ? -EFAULT : -EIO);
		h->hold_dma = false;
		h_run(h);
		if (step / 2 == 1 || step / 2 == 2) {
			assert_true(h_pop(h, 1, &cqe));
			assert_int_equal((cqe.status >> 1) & ~(unsigned)NVME_SC_MORE,
					 DNR(NVME_SC_DATA_TRANSFER));
			assert_int_equal(h_read32(h, 0x1c), NVME_CSTS_RDY);
		} else {
			/* A queue cannot be used. */
			assert_int_equal(h_read32(h, 0x1c), NVME_CSTS_RDY | NVME_CSTS_CFS);
			assert_int_equal(h->irqs[1], 0);
			h_disable(h);
			assert_true(h_enable(h, 16));
		}
		h_free(h);
	}
}

/* A reset, of either kind, while the answer is out. */
static void reset(void **state)
{
	for (unsigned step = 0; step < 8; step++) {
		uint64_t data;
		struct harness *h = stuck_at(step / 2, &data);
		struct nvme_cqe cqe;

		if (step & 1) {
			unsigned before = h->quiesced;

			h_quiesce(h);
			h->bus_master = false;
			h_abandon_dma(h, -EPERM);
			assert_int_equal(h->quiesced, before + 1);
			h->bus_master = true;
			h->hold_dma = false;
			h_reset(h, UVFIO_RESET_FUNCTION);
		} else {
			h_write32(h, 0x14, 0);
			h_run(h);
			/* Not before nothing is in flight. */
			assert_int_equal(h_read32(h, 0x1c) & NVME_CSTS_RDY, NVME_CSTS_RDY);
			h->hold_dma = false;
			h_abandon_dma(h, -EIO);
			h_run(h);
		}
		assert_int_equal(h_read32(h, 0x1c), 0);
		assert_int_equal(h->irqs[1], 0);
		assert_false(h_pop(h, 1, &cqe));
		assert_true(h_enable(h, 16));
		h_free(h);
	}
}

/* A completion queue that is to be deleted when its last batch was refused. */
static void delete_refused(void **state)
{
	uint64_t data;
	struct harness *h = stuck_at(3, &data);
	struct nvme_ctrl *c = h->priv;
	struct nvme_sqe sq = {.opcode = NVME_ADM_DELETE_SQ, .cdw10 = 1};
	struct nvme_sqe cq = {.opcode = NVME_ADM_DELETE_CQ, .cdw10 = 1};

	/* The admin queue's transfers complete at once; the held one stays. */
	h->delay_dma = false;
	assert_int_equal(h_cmd(h, 0, &sq, NULL), 0);
	h_push(h, 0, &cq);
	h_ring_sq(h, 0);
	h_run(h);
	assert_non_null(c->cqs[1].delete_req);
	h_quiesce(h);
	h_abandon_dma(h, -EPERM);
	h_resume(h);
	assert_false(c->cqs[1].used);
	h_free(h);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(order), cmocka_unit_test(paused),         cmocka_unit_test(failed),
		cmocka_unit_test(reset), cmocka_unit_test(delete_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
