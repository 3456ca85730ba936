/* SPDX-License-Identifier: BSD-3-Clause */
/* The I/OAT engine: what halts a channel, how that is told, and how a driver goes on. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "ioat_harness.h"

#define NOW "start-delay=0"

static uint32_t chanerr(struct harness *h)
{
	return (uint32_t)h_read(h, CH(0, IOAT_CHANERR), 4);
}

/* Halted by @error, after @done descriptors. */
static void halted(struct harness *h, enum ioat_error error, unsigned done)
{
	uint64_t last = done ? h_desc_addr(h, 0, done - 1) : 0;

	assert_int_equal(chanerr(h), 1u << error);
	assert_int_equal(h_read(h, CH(0, IOAT_CHANSTS), 8), last | IOAT_HALTED);
	if (error != IOAT_ERR_COMPLETION)
		assert_int_equal(h_completion(h, 0), last | IOAT_HALTED);
}

static void good(struct harness *h)
{
	h_copy(h, 0, H_MEM_BASE + (8 << 20), H_MEM_BASE + (9 << 20), 64, IOAT_DESC_COMPLETE);
}

static void descriptors(void **state)
{
	const uint64_t a = H_MEM_BASE + (10 << 20), b = H_MEM_BASE + (12 << 20);
	const struct {
		struct ioat_desc desc;
		enum ioat_error error;
	} rows[] = {
		{{64, 0, 0, b}, IOAT_ERR_SOURCE},
		{{64, 0, a, 0}, IOAT_ERR_DESTINATION},
		{{64, 0, H_MEM_BASE + H_MEM_SIZE - 32, b}, IOAT_ERR_SOURCE},
		{{64, 0, a, H_MEM_BASE + H_MEM_SIZE - 32}, IOAT_ERR_DESTINATION},
		{{64, 0, UINT64_MAX - 62, b}, IOAT_ERR_SOURCE},
		{{64, 0, a, UINT64_MAX - 62}, IOAT_ERR_DESTINATION},
		{{64, 1 << 24, a, UINT64_MAX - 62}, IOAT_ERR_DESTINATION},
		{{64, 1 << 24, 5, 0}, IOAT_ERR_DESTINATION},
		/* in the second and the last piece */
		{{IOAT_XFER_MAX, 0, H_MEM_BASE + H_MEM_SIZE - 70000, b}, IOAT_ERR_SOURCE},
		{{IOAT_XFER_MAX, 0, a, H_MEM_BASE + H_MEM_SIZE - IOAT_XFER_MAX + 1},
		 IOAT_ERR_DESTINATION},
		{{0, 0, a, b}, IOAT_ERR_LENGTH},
		{{0, 1 << 24, a, b}, IOAT_ERR_LENGTH},
		{{IOAT_XFER_MAX + 1, 0, a, b}, IOAT_ERR_LENGTH},
		{{UINT32_MAX, 1 << 24, a, b}, IOAT_ERR_LENGTH},
		{{64, 2u << 24, a, b}, IOAT_ERR_CONTROL},
		{{64, 0x87u << 24, a, b}, IOAT_ERR_CONTROL},
		{{64, 0x89u << 24 | IOAT_DESC_NULL, a, b}, IOAT_ERR_CONTROL},
		{{64, 0xffu << 24, a, b}, IOAT_ERR_CONTROL},
		{{64, 0x800, a, b}, IOAT_ERR_CONTROL},
		{{64, 0x800000, a, b}, IOAT_ERR_CONTROL},
	};
	struct harness *h = h_new(NOW);

	for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		for (unsigned before = 0; before < 3; before++) {
			struct ioat_desc *desc;

			h_start(h, 0);
			for (unsigned j = 0; j < before; j++)
				good(h);
			desc = h_desc(h, 0);
			*desc = rows[i].desc;
			desc->control |= IOAT_DESC_COMPLETE;
			desc->next = h_desc_addr(h, 0, before + 1);
			good(h);
			h_ring(h, 0);
			halted(h, rows[i].error, before);
			/* No doorbell moves it, nor a chain. */
			h_write(h, CH(0, IOAT_DMACOUNT), 2, 20);
			h_write(h, CH(0, IOAT_CHAINADDR), 8, h->ring[0]);
			h_write(h, CH(0, IOAT_DMACOUNT), 2, 1);
			h_run(h);
			assert_int_equal(h_state(h, 0), IOAT_HALTED);
		}
	}
	assert_int_equal(h_stat(h, "errors{channel=0,error=source}"), 4 * 3);
	assert_int_equal(h_stat(h, "errors{channel=0,error=control}"), 6 * 3);
	h_free(h);
}

/* Memory that is mapped and has gone. */
static void lost_memory(void **state)
{
	struct harness *h = h_new(NOW);
	uint64_t src = h_alloc(h, 100000, 4096), dst = h_alloc(h, 100000, 4096);

	for (unsigned i = 0; i < 4; i++) {
		h_start(h, 0);
		h->gone = i == 0 ? src : i == 1 ? dst + 80000 : i == 2 ? h->ring[0] : h->cmp[0];
		h->gone_end = h->gone + 8;
		h_copy(h, 0, src, dst, 100000, IOAT_DESC_COMPLETE);
		h_ring(h, 0);
		halted(h,
		       (const enum ioat_error[]){IOAT_ERR_READ, IOAT_ERR_WRITE, IOAT_ERR_DESCRIPTOR,
						 IOAT_ERR_COMPLETION}[i],
		       i == 3);
		h->gone = h->gone_end = 0;
	}
	h_free(h);
}

/* Version 3.2 has the errors in config space as well. */
static void config_space(void **state)
{
	struct harness *h = h_new(NOW ",version=3.2");

	assert_int_equal(h->config.offset, IOAT_CHANERR_INT);
	assert_int_equal(h->config.len, 8);
	for (unsigned i = 0; i < 3; i++) {
		h_start(h, 0);
		h_copy(h, 0, 0, 0, 64, 0);
		h_ring(h, 0);
		halted(h, IOAT_ERR_SOURCE, 0);
		/* Found; found, though masked now; not any more. */
		assert_int_equal(h->config_regs[0], i < 2 ? 1u << IOAT_ERR_SOURCE : 0);
		h->config_regs[1] = 1u << IOAT_ERR_SOURCE;
		if (i == 1)
			h->config_regs[0] = 0;
	}
	/* What masks another error is no matter. */
	h->config_regs[1] = 1u << IOAT_ERR_DESTINATION;
	h_start(h, 0);
	h_write(h, CH(0, IOAT_CHANCMP), 8, 4);
	good(h);
	h_ring(h, 0);
	halted(h, IOAT_ERR_COMPLETION, 1);
	assert_int_equal(h->config_regs[0], 1u << IOAT_ERR_COMPLETION);
	h_free(h);
	h = h_new(NOW ",version=3.3");
	assert_int_equal(h->config.len, 0);
	h_free(h);
}

static void addresses(void **state)
{
	static const uint64_t wrong[] = {0, 0x40, H_MEM_BASE + 32, UINT64_MAX - 63, UINT64_MAX};
	struct harness *h = h_new(NOW);

	for (unsigned i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		struct ioat_desc *desc;

		h_start(h, 0);
		h_write(h, CH(0, IOAT_CHAINADDR), 8, wrong[i]);
		good(h);
		h_ring(h, 0);
		halted(h, IOAT_ERR_CHAIN, 0);

		/* A next address counts when there is a next descriptor. */
		h_start(h, 0);
		good(h);
		desc = h_ptr(h, h_desc_addr(h, 0, 0));
		desc->next = wrong[i];
		h_ring(h, 0);
		assert_int_equal(h_completion(h, 0), h_desc_addr(h, 0, 0) | IOAT_IDLE);
		h_write(h, CH(0, IOAT_DMACOUNT), 2, 2);
		h_run(h);
		halted(h, IOAT_ERR_NEXT, 1);

		h_start(h, 0);
		h_write(h, CH(0, IOAT_CHANCMP), 8, wrong[i] | (i == 2 ? 4 : 0));
		good(h);
		h_ring(h, 0);
		halted(h, IOAT_ERR_COMPLETION, 1);
	}
	/* Both at once: the error, and that it cannot be told. */
	h_start(h, 0);
	h_write(h, CH(0, IOAT_CHANCMP), 8, 4);
	h_copy(h, 0, 0, 0, 64, 0);
	h_ring(h, 0);
	assert_int_equal(chanerr(h), 1u << IOAT_ERR_SOURCE | 1u << IOAT_ERR_COMPLETION);
	assert_int_equal(h_state(h, 0), IOAT_HALTED);
	h_free(h);
}

static void commands(void **state)
{
	static const uint8_t wrong[] = {0x01, 0x02, 0x08, 0x14, 0x40, 0x80, 0x0c, 0x5f};
	struct harness *h = h_new(NOW);

	for (unsigned i = 0; i < sizeof(wrong); i++) {
		h_start(h, 0);
		good(h);
		h_ring(h, 0);
		h_write(h, CH(0, IOAT_CHANCMD), 1, wrong[i]);
		h_run(h);
		halted(h, IOAT_ERR_COMMAND, 1);
		/* A reset is one whatever else is written. */
		h_write(h, CH(0, IOAT_CHANCMD), 1, 0xff);
		assert_int_equal(h_read(h, CH(0, IOAT_CHANSTS), 8), IOAT_HALTED);
		assert_int_equal(h_read(h, CH(0, IOAT_CHANCMD), 1), 0);
	}
	h_free(h);
}

/* As DPDK goes on behind the descriptor that has failed. */
static void recovery(void **state)
{
	struct harness *h = h_new(NOW);

	h_start(h, 0);
	good(h);
	h_copy(h, 0, 0, H_MEM_BASE, 64, IOAT_DESC_COMPLETE);
	good(h);
	good(h);
	h_ring(h, 0);
	halted(h, IOAT_ERR_SOURCE, 1);
	h_write(h, CH(0, IOAT_CHANERR), 4, chanerr(h));
	assert_int_equal(chanerr(h), 0);
	assert_int_equal(h_state(h, 0), IOAT_HALTED);
	h_write(h, CH(0, IOAT_CHANCMD), 1, IOAT_CHANCMD_RESET);
	h_write(h, CH(0, IOAT_CHAINADDR), 8, h_desc_addr(h, 0, 2));
	h_write(h, CH(0, IOAT_CHANCTRL), 2, 0xc);
	h_write(h, CH(0, IOAT_CHANCMP), 8, h->cmp[0]);
	assert_int_equal(h_read(h, CH(0, IOAT_CHANSTS), 8), IOAT_ARMED);
	h_write(h, CH(0, IOAT_DMACOUNT), 2, 2);
	h_run(h);
	assert_int_equal(h_completion(h, 0), h_desc_addr(h, 0, 3) | IOAT_IDLE);

	/* As Linux does with errors that it handles: without a reset. */
	h_start(h, 0);
	h_copy(h, 0, 0, H_MEM_BASE, 64, IOAT_DESC_COMPLETE);
	good(h);
	h_ring(h, 0);
	halted(h, IOAT_ERR_SOURCE, 0);
	h_write(h, CH(0, IOAT_CHANERR), 4, 0xfffffffe); /* not this one */
	h_write(h, CH(0, IOAT_CHAINADDR), 8, h_desc_addr(h, 0, 1));
	assert_int_equal(h_state(h, 0), IOAT_HALTED);
	h_write(h, CH(0, IOAT_CHANERR), 4, 1);
	h_write(h, CH(0, IOAT_CHAINADDR), 8, h_desc_addr(h, 0, 1));
	assert_int_equal(h_state(h, 0), IOAT_ARMED);
	h_write(h, CH(0, IOAT_DMACOUNT), 2, 1);
	h_run(h);
	assert_int_equal(h_completion(h, 0), h_desc_addr(h, 0, 1) | IOAT_IDLE);

	/* A reset alone arms it too, and CHANERR stays to be read. */
	h_start(h, 0);
	h_copy(h, 0, 0, H_MEM_BASE, 64, IOAT_DESC_COMPLETE);
	h_ring(h, 0);
	h_write(h, CH(0, IOAT_CHANCMD), 1, IOAT_CHANCMD_RESET);
	assert_int_equal(chanerr(h), 1);
	h_write(h, CH(0, IOAT_CHAINADDR), 8, h->ring[0]);
	assert_int_equal(h_state(h, 0), IOAT_ARMED);
	h_free(h);
}

/* Without Error Completion what was due before the error is told, and no more. */
static void untold(void **state)
{
	struct harness *h = h_new(NOW);

	for (unsigned before = 0; before < 2; before++) {
		h_start(h, 0);
		h_write(h, CH(0, IOAT_CHANCTRL), 2, IOAT_CHANCTRL_ERR_ABORT);
		for (unsigned j = 0; j < before; j++)
			good(h);
		h_copy(h, 0, 0, H_MEM_BASE, 64, IOAT_DESC_COMPLETE);
		h_ring(h, 0);
		assert_int_equal(h_state(h, 0), IOAT_HALTED);
		assert_int_equal(h_completion(h, 0),
				 before ? h_desc_addr(h, 0, 0) | IOAT_ACTIVE : 0xeeeeeeeeeeeeeeee);
	}
	h_free(h);
}

static void error_interrupt(void **state)
{
	struct harness *h = h_new(NOW);

	for (unsigned i = 0; i < 3; i++) {
		h_start(h, 0);
		h_write(h, IOAT_INTRCTRL, 1, IOAT_INTRCTRL_MASTER);
		if (i)
			h_write(h, CH(0, IOAT_CHANCTRL), 2,
				IOAT_CHANCTRL_ERR_INT | IOAT_CHANCTRL_ERR_COMPLETE | 1);
		h_write(h, CH(0, IOAT_CHANERRMSK), 4, i == 2 ? 1u << IOAT_ERR_SOURCE : 0);
		h_copy(h, 0, 0, H_MEM_BASE, 64, 0);
		h_ring(h, 0);
		halted(h, IOAT_ERR_SOURCE, 0);
		assert_int_equal(h->irqs[0], i >= 1);
	}
	h_free(h);
}

/* Bus mastering off: nothing fails, and it goes on afterwards. */
static void bus_master(void **state)
{
	struct harness *h = h_new(NOW);
	uint64_t src = h_alloc(h, 200000, 64), dst = h_alloc(h, 200000, 64);

	memset(h_ptr(h, src), 0x33, 200000);
	h_start(h, 0);
	h->bus_master = false;
	h_copy(h, 0, src, dst, 200000, IOAT_DESC_COMPLETE);
	h_ring(h, 0);
	assert_int_equal(h_state(h, 0), IOAT_ACTIVE);
	h->bus_master = true;
	h_resume(h);
	assert_int_equal(h_completion(h, 0), h_desc_addr(h, 0, 0) | IOAT_IDLE);

	/* At each transfer: refused when it begins, or abandoned when it is under way. */
	for (unsigned after = 0; after < 9; after++) {
		h_start(h, 0);
		memset(h_ptr(h, dst), 0, 200000);
		h_copy(h, 0, src, dst, 200000, IOAT_DESC_COMPLETE);
		h->late = h->hold_dma = true;
		h_ring(h, 0);
		for (unsigned i = 0; i < after; i++) {
			h_complete_dma(h, 1);
			h_run(h);
		}
		h->quiesced = 0;
		h_quiesce(h);
		assert_int_equal(h->quiesced, h->nr_pending == 0);
		h->bus_master = false;
		h_abandon_dma(h, -EPERM);
		assert_int_equal(h->quiesced, 1);
		h_run(h);
		h_write(h, CH(0, IOAT_DMACOUNT), 2, 1);
		h_run(h);
		assert_int_equal(h->nr_pending, 0);
		assert_int_equal(chanerr(h), 0);
		h->bus_master = true;
		h->hold_dma = false;
		h_resume(h);
		assert_int_equal(h_completion(h, 0), h_desc_addr(h, 0, 0) | IOAT_IDLE);
		assert_memory_equal(h_ptr(h, src), h_ptr(h, dst), 200000);
	}
	/* A reset of the channel does not wait for it. */
	h_start(h, 0);
	h->bus_master = false;
	h_copy(h, 0, src, dst, 200000, IOAT_DESC_COMPLETE);
	h_ring(h, 0);
	h_quiesce(h);
	h_write(h, CH(0, IOAT_CHANCMD), 1, IOAT_CHANCMD_RESET);
	h_run(h);
	assert_int_equal(h_read(h, CH(0, IOAT_CHANSTS), 8), IOAT_HALTED);
	h->bus_master = true;
	h_resume(h);
	h_free(h);
}

/* An error whose report is abandoned is reported when DMA goes on. */
static void report_abandoned(void **state)
{
	struct harness *h = h_new(NOW);

	h->late = true;
	h_start(h, 0);
	h->hold_dma = true;
	h_copy(h, 0, 0, H_MEM_BASE, 64, IOAT_DESC_COMPLETE);
	h_ring(h, 0);
	h_complete_dma(h, 1); /* the descriptor; its source cannot be had */
	h_run(h);
	assert_int_equal(h->nr_pending, 1);
	assert_int_equal(h_state(h, 0), IOAT_HALTED);
	h_quiesce(h);
	h_abandon_dma(h, -EPERM);
	h_run(h);
	assert_int_equal(h_completion(h, 0), 0xeeeeeeeeeeeeeeee);
	h->hold_dma = false;
	h_resume(h);
	halted(h, IOAT_ERR_SOURCE, 0);
	h_free(h);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(descriptors),  cmocka_unit_test(lost_memory),
		cmocka_unit_test(config_space), cmocka_unit_test(addresses),
		cmocka_unit_test(commands),     cmocka_unit_test(recovery),
		cmocka_unit_test(untold),       cmocka_unit_test(error_interrupt),
		cmocka_unit_test(bus_master),   cmocka_unit_test(report_abandoned),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
