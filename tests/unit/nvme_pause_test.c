/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The NVMe controller becomes quiet for a while (pause.c): nothing fails of it, and everything goes
 * on afterwards.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
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

static void storage(struct harness *h)
{
	h->block_direct = false;
	h->block_async = true;
}

/* A read or write of PAGES pages through a PRP list, not rung yet. */
static uint64_t push(struct harness *h, uint8_t opcode, uint64_t slba)
{
	uint64_t data = h_alloc(h, PAGES * 4096, 4096), list = h_alloc(h, 4096, 4096);
	uint64_t *prp = h_ptr(h, list);
	struct nvme_sqe cmd = h_rw(opcode, 1, slba, PAGES * 8, data, list);

	for (unsigned i = 1; i < PAGES; i++)
		prp[i - 1] = data + i * 4096;
	h_push(h, 1, &cmd);
	return data;
}

static unsigned pop(struct harness *h)
{
	struct nvme_cqe cqe;

	assert_true(h_pop(h, 1, &cqe));
	h_ring_cq(h, 1);
	return (cqe.status >> 1) & ~(unsigned)NVME_SC_MORE;
}

/* The client does not answer the @step-th transfer of a read, and the device does not wait for it.
 */
static void client_is_late(void **state)
{
	for (unsigned step = 0; step < 4; step++) {
		struct harness *h = h_ready("memory=1M", late);
		uint64_t data = push(h, NVME_IO_READ, 0);
		unsigned before = h->quiesced;
		struct nvme_cqe cqe;

		memset(h->blocks[0]->data, 0x55, PAGES * 4096);
		h->delay_dma = h->hold_dma = true;
		h_ring_sq(h, 1);
		h_run(h);
		for (unsigned i = 0; i < step; i++) {
			h_complete_dma(h, 1);
			h_run(h);
		}
		assert_int_equal(h->nr_dma_pending, 1);
		h->paused = true;
		h_quiesce(h);
		h_run(h);
		assert_int_equal(h->quiesced, before);
		h->bus_master = false;
		h_abandon_dma(h, -EPERM);
		h_run(h);
		assert_int_equal(h->quiesced, before + 1);
		assert_false(h_pop(h, 1, &cqe));
		h->hold_dma = false;
		h_resume(h);
		assert_int_equal(h_read32(h, 0x1c), NVME_CSTS_RDY);
		assert_int_equal(pop(h), 0);
		assert_false(h_pop(h, 1, &cqe));
		for (unsigned i = 0; i < PAGES * 4096; i++)
			assert_int_equal(((uint8_t *)h_ptr(h, data))[i], 0x55);
		h_free(h);
	}
}

/* What is rung in a pause is looked at afterwards; what has completed is seen before. */
static void doorbells(void **state)
{
	struct harness *h = h_ready("memory=1M", NULL);
	struct nvme_cqe cqe;

	push(h, NVME_IO_WRITE, 0);
	h_ring_sq(h, 1);
	h_pause(h);
	push(h, NVME_IO_WRITE, 8);
	h_ring_sq(h, 1);
	h_run(h);
	while (h_pop(h, 1, &cqe))
		h_ring_cq(h, 1);
	h_run(h);
	assert_false(h_pop(h, 1, &cqe));
	h_resume(h);
	assert_int_equal(pop(h), 0);
	h_run(h);
	assert_int_equal(h_read32(h, 0x1c), NVME_CSTS_RDY);
	h_free(h);
}

/* What is at the storage ends and is posted before it is quiet; nothing follows it. */
static void storage_ends(void **state)
{
	struct harness *h = h_ready("memory=1M", storage);
	struct nvme_cqe cqe;
	unsigned n = 0;

	h->hold_block = true;
	for (unsigned i = 0; i < 4; i++)
		push(h, NVME_IO_WRITE, i * 64);
	h_ring_sq(h, 1);
	h_run(h);
	h->hold_block = false;
	h_pause(h);
	while (h_pop(h, 1, &cqe)) {
		assert_int_equal(cqe.status >> 1, 0);
		n++;
	}
	if (!h_late())
		assert_int_equal(n, 4);
	h_ring_cq(h, 1);
	h_resume(h);
	while (h_pop(h, 1, &cqe)) {
		assert_int_equal(cqe.status >> 1, 0);
		n++;
	}
	assert_int_equal(n, 4);
	h_free(h);
}

/* A long format is not waited for, and is done afterwards. */
static void format(void **state)
{
	struct harness *h = h_ready("memory=1M", storage);
	struct nvme_sqe cmd = {.opcode = NVME_ADM_FORMAT, .nsid = 1, .cdw10 = 1};
	struct nvme_cqe cqe;
	unsigned erased;

	memset(h->blocks[0]->data, 0x77, 1 << 20);
	h->hold_block = true;
	h_push(h, 0, &cmd);
	h_ring_sq(h, 0);
	h_run(h);
	assert_int_equal(h->nr_io_pending, 1); /* the note */
	h->hold_block = false;
	h_pause(h);
	erased = h->blocks[0]->nr_ops[BLOCK_WRITE_ZEROES];
	assert_int_equal(erased, 0);
	assert_false(h_pop(h, 0, &cqe));
	h_resume(h);
	assert_true(h_pop(h, 0, &cqe));
	assert_int_equal(cqe.status >> 1, 0);
	assert_int_equal(h->blocks[0]->nr_ops[BLOCK_WRITE_ZEROES], 1);
	for (unsigned i = 0; i < 1 << 20; i++)
		assert_int_equal(h->blocks[0]->data[i], 0);
	h_free(h);
}

/* A Compare and Write whose data is refused: both are kept, and done once. */
static void fused(void **state)
{
	for (unsigned step = 0; step < 4; step++) {
		struct harness *h = h_ready("memory=1M", late);
		uint64_t old = h_alloc(h, 512, 4096), new = h_alloc(h, 512, 4096);
		struct nvme_sqe compare = h_rw(NVME_IO_COMPARE, 1, 3, 1, old, 0);
		struct nvme_sqe write = h_rw(NVME_IO_WRITE, 1, 3, 1, new, 0);

		memset(h->blocks[0]->data + 3 * 512, 0x11, 512);
		memset(h_ptr(h, old), 0x11, 512);
		memset(h_ptr(h, new), 0x22, 512);
		compare.flags = NVME_FUSE_FIRST;
		write.flags = NVME_FUSE_SECOND;
		h_push(h, 1, &compare);
		h_push(h, 1, &write);
		h->delay_dma = h->hold_dma = true;
		h_ring_sq(h, 1);
		h_run(h);
		for (unsigned i = 0; i < step; i++) {
			h_complete_dma(h, 1);
			h_run(h);
		}
		h->paused = true;
		h_quiesce(h);
		h_run(h);
		h->bus_master = false;
		h_abandon_dma(h, -EPERM);
		h_run(h);
		h->hold_dma = false;
		h_resume(h);
		assert_int_equal(pop(h), 0);
		assert_int_equal(pop(h), 0);
		assert_int_equal(h->blocks[0]->data[3 * 512], 0x22);
		assert_int_equal(h->blocks[0]->nr_ops[BLOCK_WRITE], 1);
		h_free(h);
	}
}

/* Registers work: a reset of the controller is complete in the pause, and nothing is left. */
static void resets(void **state)
{
	struct harness *h = h_ready("memory=1M", late);
	struct nvme_cqe cqe;

	push(h, NVME_IO_READ, 0);
	h->delay_dma = h->hold_dma = true;
	h_ring_sq(h, 1);
	h_run(h);
	h_complete_dma(h, 1);
	h->paused = true;
	h_quiesce(h);
	h->bus_master = false;
	h_abandon_dma(h, -EPERM);
	h_run(h);
	h_disable(h);
	assert_int_equal(h_read32(h, 0x1c), 0);
	h->hold_dma = false;
	h_resume(h);
	assert_false(h_pop(h, 1, &cqe));
	assert_true(h_enable(h, 16));
	h_create_pair(h, 1, 16);
	push(h, NVME_IO_READ, 0);
	h_ring_sq(h, 1);
	h_run(h);
	assert_int_equal(pop(h), 0);
	h_reset(h, UVFIO_RESET_FUNCTION);
	h_free(h);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(client_is_late), cmocka_unit_test(doorbells),
		cmocka_unit_test(storage_ends),   cmocka_unit_test(format),
		cmocka_unit_test(fused),          cmocka_unit_test(resets),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
