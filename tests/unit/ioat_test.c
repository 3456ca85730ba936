/* SPDX-License-Identifier: BSD-3-Clause */
/* The I/OAT engine: its options, its registers, and the states of a channel. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "ioat_harness.h"

#define NOW "start-delay=0"

static void options(void **state)
{
	static const struct {
		const char *args;
		uint16_t device;
		uint8_t version;
		unsigned channels, msix, msi;
	} good[] = {
		{"", 0x0b00, 0x34, 1, 1, 0},
		{"version=3.2", 0x3c20, 0x32, 1, 1, 0},
		{"version=3.3", 0x6f20, 0x33, 1, 1, 0},
		{"version=3.4,device=0x2021", 0x2021, 0x34, 1, 1, 0},
		{"channels=4", 0x0b00, 0x34, 4, 4, 0},
		{"channels=2,interrupts=msi", 0x0b00, 0x34, 2, 0, 1},
		{"interrupts=intx,delay=10us,start-delay=5ms", 0x0b00, 0x34, 1, 0, 0},
	};
	static const struct {
		const char *args, *says;
	} bad[] = {
		{"version=3.1", "version=3.1: must be"},
		{"channels=0", "channels=0: out of range"},
		{"channels=5", "from 1 to 4"},
		{"device=0xffff", "device=0xffff: out of range"},
		{"delay=5", "delay=5: not a time"},
		{"delay=11s", "from 0s to 10s"},
		{"start-delay=x", "start-delay=x: not a time"},
		{"interrupts=none", "must be msix, msi or intx"},
	};

	for (unsigned i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		struct harness *h = h_new(good[i].args);

		assert_non_null(h);
		assert_int_equal(h->desc.vendor, 0x8086);
		assert_int_equal(h->desc.device, good[i].device);
		assert_int_equal(h->desc.msix_vectors, good[i].msix);
		assert_int_equal(h->desc.msi_vectors, good[i].msi);
		assert_int_equal(h_read(h, IOAT_CHANCNT, 1), good[i].channels);
		assert_int_equal(h_read(h, IOAT_CBVER, 1), good[i].version);
		h_free(h);
	}
	for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		assert_null(h_new(bad[i].args));
		assert_non_null(strstr(h_last_error(), bad[i].says));
	}
}

static void after_power_on(void **state)
{
	struct harness *h = h_new("");

	assert_int_equal(h_read(h, IOAT_XFERCAP, 1), 20);
	assert_int_equal(h_read(h, IOAT_DMACAPABILITY, 4), IOAT_CAP_FILL_BLOCK);
	assert_int_equal(h_read(h, IOAT_INTRDELAY, 2), IOAT_INTRDELAY_CAN);
	assert_int_equal(h_read(h, 0, 8), 1 | 20 << 8);
	assert_int_equal(h_read(h, CH(0, IOAT_CHANSTS), 8), IOAT_HALTED);
	assert_int_equal(h_read(h, CH(0, IOAT_DMA_COMP), 2), 6);
	for (unsigned at = IOAT_CHANNEL(1); at < 0x2000; at += 8)
		assert_int_equal(h_read(h, at, 8), 0);
	h_free(h);
}

/* A register takes what is written to a part of it, whatever the width; several take one store. */
static void every_width(void **state)
{
	struct harness *h = h_new("");

	h_write(h, CH(0, IOAT_CHANCMP), 8, 0x1122334455667788);
	h_write(h, CH(0, IOAT_CHANCMP) + 4, 4, 0xaabbccdd);
	h_write(h, CH(0, IOAT_CHANCMP) + 2, 2, 0x9999);
	h_write(h, CH(0, IOAT_CHANCMP) + 1, 1, 0x42);
	assert_int_equal(h_read(h, CH(0, IOAT_CHANCMP), 8), 0xaabbccdd99994288);
	/* CHANERR is clear, so only the mask takes this. */
	h_write(h, CH(0, IOAT_CHANERR), 8, 0xfedcba98ffffffff);
	assert_int_equal(h_read(h, CH(0, IOAT_CHANERR), 8), 0xfedcba9800000000);
	/* CHANCTRL, DMA_COMP, CHANCMD and DMACOUNT at once. */
	h_write(h, CH(0, IOAT_CHANCTRL), 8, 0x123400000000ffff);
	assert_int_equal(h_read(h, CH(0, IOAT_CHANCTRL), 8), 0x123400000006f33c);
	h_write(h, CH(0, IOAT_DMACOUNT) + 1, 1, 0xab);
	assert_int_equal(h_read(h, CH(0, IOAT_DMACOUNT), 2), 0xab34);
	h_write(h, IOAT_INTRDELAY, 4, 0xffffffff);
	assert_int_equal(h_read(h, IOAT_INTRDELAY, 4), 0xbfff);
	h_write(h, IOAT_CHANCNT, 8, UINT64_MAX);
	h_write(h, IOAT_CBVER, 4, 0xffffffff);
	h_write(h, IOAT_DMACAPABILITY, 8, UINT64_MAX);
	h_write(h, CH(0, IOAT_CHANSTS), 8, UINT64_MAX);
	h_write(h, CH(0, 0x34), 4, UINT64_MAX);
	h_write(h, CH(0, 0x40), 8, UINT64_MAX);
	assert_int_equal(h_read(h, 0, 4), 1 | 20 << 8 | 1 << 16 | 9u << 24);
	assert_int_equal(h_read(h, IOAT_CBVER, 4), 0x34);
	assert_int_equal(h_read(h, IOAT_DMACAPABILITY, 8), IOAT_CAP_FILL_BLOCK);
	assert_int_equal(h_read(h, CH(0, IOAT_CHANSTS), 8), IOAT_HALTED);
	assert_int_equal(h_read(h, CH(0, 0x34), 4), 0);
	assert_int_equal(h_read(h, CH(0, 0x40), 8), 0);
	h_reset(h, UVFIO_RESET_FUNCTION);
	assert_int_equal(h_read(h, CH(0, IOAT_CHANCMP), 8), 0);
	assert_int_equal(h_read(h, CH(0, IOAT_CHANCTRL), 8), 0x60000);
	h_free(h);
}

/* CHANCTRL claims the channel for who reads it first. */
static void reading_claims(void **state)
{
	struct harness *h = h_new("channels=2");

	assert_int_equal(h_read(h, CH(0, IOAT_CHANCTRL), 1), 0); /* the other byte */
	assert_int_equal(h_read(h, CH(0, IOAT_DMACOUNT), 2), 0);
	assert_int_equal(h_read(h, CH(0, IOAT_CHANCTRL), 2), 0);
	assert_int_equal(h_read(h, CH(0, IOAT_CHANCTRL), 2), IOAT_CHANCTRL_IN_USE);
	assert_int_equal(h_read(h, CH(1, IOAT_CHANCTRL), 4), 0x60000);
	assert_int_equal(h_read(h, CH(1, IOAT_CHANCTRL) + 1, 1), 1);
	h_write(h, CH(0, IOAT_CHANCTRL), 2, 0);
	assert_int_equal(h_read(h, CH(0, IOAT_CHANCTRL), 2), 0);
	h_free(h);
}

static void states(void **state)
{
	struct harness *h = h_new(NOW);
	uint64_t src = h_alloc(h, 4096, 64), dst = h_alloc(h, 4096, 64);

	assert_int_equal(h_state(h, 0), IOAT_HALTED);
	/* Nothing suspends, resumes or starts a channel that is halted. */
	h_write(h, CH(0, IOAT_CHANCMD), 1, IOAT_CHANCMD_SUSPEND);
	h_write(h, CH(0, IOAT_CHANCMD), 1, IOAT_CHANCMD_RESUME);
	h_write(h, CH(0, IOAT_CHANCMD), 1, 0);
	h_write(h, CH(0, IOAT_DMACOUNT), 2, 3);
	h_run(h);
	assert_int_equal(h_state(h, 0), IOAT_HALTED);
	assert_int_equal(h->nr_dma, 0);

	h_start(h, 0);
	h_write(h, CH(0, IOAT_CHANCMD), 1, IOAT_CHANCMD_SUSPEND);
	assert_int_equal(h_state(h, 0), IOAT_ARMED);
	h_ring(h, 0); /* of nothing */
	assert_int_equal(h_state(h, 0), IOAT_ARMED);
	h_copy(h, 0, src, dst, 64, IOAT_DESC_COMPLETE);
	h_write(h, CH(0, IOAT_DMACOUNT), 2, 1);
	assert_int_equal(h_state(h, 0), IOAT_ACTIVE);
	/* The chain is not to be changed now. */
	h_write(h, CH(0, IOAT_CHAINADDR), 8, dst);
	assert_int_equal(h_read(h, CH(0, IOAT_CHAINADDR), 8), h->ring[0]);
	h_run(h);
	assert_int_equal(h_read(h, CH(0, IOAT_CHANSTS), 8), h->ring[0] | IOAT_IDLE);
	h_write(h, CH(0, IOAT_CHANCMD), 1, IOAT_CHANCMD_SUSPEND);
	assert_int_equal(h_state(h, 0), IOAT_SUSPENDED);
	assert_int_equal(h_read(h, CH(0, IOAT_CHANCMD), 1), 0);
	h_copy(h, 0, src, dst, 64, IOAT_DESC_COMPLETE);
	h_ring(h, 0);
	assert_int_equal(h_state(h, 0), IOAT_SUSPENDED);
	assert_int_equal(h_completion(h, 0), h->ring[0] | IOAT_IDLE);
	h_write(h, CH(0, IOAT_CHANCMD), 1, IOAT_CHANCMD_RESUME);
	assert_int_equal(h_state(h, 0), IOAT_ACTIVE);
	h_run(h);
	assert_int_equal(h_completion(h, 0), h_desc_addr(h, 0, 1) | IOAT_IDLE);
	/* Suspended with nothing to do, it is idle when resumed. */
	h_write(h, CH(0, IOAT_CHANCMD), 1, IOAT_CHANCMD_SUSPEND);
	h_write(h, CH(0, IOAT_CHANCMD), 1, IOAT_CHANCMD_RESUME);
	assert_int_equal(h_state(h, 0), IOAT_IDLE);
	/* As Linux starts a channel anew: suspend, a chain in two halves, a count. */
	h_write(h, CH(0, IOAT_CHANCMD), 1, IOAT_CHANCMD_SUSPEND);
	h_write(h, CH(0, IOAT_CHAINADDR), 4, (uint32_t)h_desc_addr(h, 0, 1));
	h_write(h, CH(0, IOAT_CHAINADDR) + 4, 4, 0);
	assert_int_equal(h_read(h, CH(0, IOAT_CHANSTS), 8), IOAT_ARMED);
	memset(h_ptr(h, h->cmp[0]), 0, 8);
	h_write(h, CH(0, IOAT_DMACOUNT), 2, 1);
	h_run(h);
	assert_int_equal(h_completion(h, 0), h_desc_addr(h, 0, 1) | IOAT_IDLE);
	h_write(h, CH(0, IOAT_CHANCMD), 1, IOAT_CHANCMD_RESET);
	assert_int_equal(h_read(h, CH(0, IOAT_CHANSTS), 8), IOAT_HALTED);
	assert_int_equal(h_read(h, CH(0, IOAT_CHANCMD), 1), 0);
	assert_int_equal(h_read(h, CH(0, IOAT_DMACOUNT), 2), 0);
	assert_int_equal(h_read(h, CH(0, IOAT_CHAINADDR), 8), 0);
	assert_int_equal(h_read(h, CH(0, IOAT_CHANCMP), 8), h->cmp[0]);
	assert_int_equal(h_stat(h, "channel_resets{channel=0}"), 2);
	h_free(h);
}

/* A reset and a suspend of a channel whose transfer does not come to an end. */
static void commands_wait(void **state)
{
	struct harness *h = h_new(NOW);
	uint64_t src = h_alloc(h, 4096, 64), dst = h_alloc(h, 4096, 64);

	for (unsigned held = 0; held < 4; held++) {
		h->late = h->hold_dma = true;
		h_start(h, 0);
		h_copy(h, 0, src, dst, 64, IOAT_DESC_COMPLETE);
		h_copy(h, 0, src, dst, 64, IOAT_DESC_COMPLETE);
		h_ring(h, 0);
		/* fetch, read, write; fetch … */
		for (unsigned i = 0; i < held; i++) {
			h_complete_dma(h, 1);
			h_run(h);
		}
		assert_int_equal(h->nr_pending, 1);
		h_write(h, CH(0, IOAT_CHANCMD), 1, IOAT_CHANCMD_SUSPEND);
		h_run(h);
		assert_int_equal(h_state(h, 0), IOAT_ACTIVE);
		assert_int_equal(h_read(h, CH(0, IOAT_CHANCMD), 1), IOAT_CHANCMD_SUSPEND);
		if (held == 1) { /* resumed before it came to that */
			h_write(h, CH(0, IOAT_CHANCMD), 1, IOAT_CHANCMD_RESUME);
			assert_int_equal(h_read(h, CH(0, IOAT_CHANCMD), 1), 0);
		}
		h->hold_dma = false;
		h_run(h);
		assert_int_equal(h_state(h, 0), held == 1 ? IOAT_IDLE : IOAT_SUSPENDED);
		assert_int_equal(h_completion(h, 0) & IOAT_CHANSTS_ADDR,
				 h_desc_addr(h, 0, held == 1 || held == 3));
	}
	for (unsigned held = 0; held < 4; held++) {
		h->late = true;
		h_start(h, 0);
		h->hold_dma = true;
		h_copy(h, 0, src, dst, 64, IOAT_DESC_COMPLETE);
		h_ring(h, 0);
		for (unsigned i = 0; i < held; i++) { /* the last is the completion */
			h_complete_dma(h, 1);
			h_run(h);
		}
		assert_int_equal(h->nr_pending, 1);
		h_write(h, CH(0, IOAT_CHANCMD), 1, IOAT_CHANCMD_RESET);
		h_run(h);
		assert_int_equal(h_read(h, CH(0, IOAT_CHANCMD), 1), IOAT_CHANCMD_RESET);
		if (held & 1) {
			/* A driver that does not wait for it finds its new chain armed after it. */
			h_write(h, CH(0, IOAT_CHANCMD), 1, IOAT_CHANCMD_SUSPEND);
			h_write(h, CH(0, IOAT_CHAINADDR), 8, h->ring[0]);
			h_write(h, CH(0, IOAT_DMACOUNT), 2, 1);
			assert_int_equal(h_state(h, 0), IOAT_ACTIVE);
		}
		h->hold_dma = false;
		h_run(h);
		assert_int_equal(h_read(h, CH(0, IOAT_CHANCMD), 1), 0);
		assert_int_equal(h_state(h, 0), held & 1 ? IOAT_IDLE : IOAT_HALTED);
		assert_int_equal(h_read(h, CH(0, IOAT_CHANERR), 4), 0);
	}
	h_free(h);
}

/* In the middle of a descriptor of many pieces. */
static void reset_in_a_descriptor(void **state)
{
	struct harness *h = h_new(NOW);
	uint64_t src = h_alloc(h, 1 << 20, 64), dst = h_alloc(h, 1 << 20, 64);

	h->late = h->hold_dma = true;
	h_start(h, 0);
	h_copy(h, 0, src, dst, 1 << 20, IOAT_DESC_COMPLETE);
	h_ring(h, 0);
	for (unsigned i = 0; i < 6; i++) {
		h_complete_dma(h, 1);
		h_run(h);
	}
	h_write(h, CH(0, IOAT_CHANCMD), 1, IOAT_CHANCMD_RESET);
	h_complete_dma(h, 2);
	h_run(h);
	h_complete_dma(h, 1);
	h_run(h);
	assert_int_equal(h->nr_pending, 0);
	assert_int_equal(h_state(h, 0), IOAT_HALTED);
	assert_int_equal(h_stat(h, "descriptors{channel=0,op=copy}"), 0);
	h_free(h);
}

static void delays(void **state)
{
	struct harness *h = h_new("delay=10us,start-delay=1ms");
	uint64_t src = h_alloc(h, 4096, 64), dst = h_alloc(h, 4096, 64);

	h_start(h, 0);
	memset(h_ptr(h, src), 7, 64);
	h_copy(h, 0, src, dst, 64, IOAT_DESC_COMPLETE);
	h_ring(h, 0);
	assert_int_equal(h_state(h, 0), IOAT_ACTIVE);
	h_copy(h, 0, src, dst, 64, IOAT_DESC_COMPLETE);
	h_ring(h, 0); /* does not begin anew */
	h_advance(h, 999999);
	assert_int_equal(h_state(h, 0), IOAT_ACTIVE);
	assert_int_equal(h->nr_dma, 0);
	h_advance(h, 1);
	assert_int_equal(h_completion(h, 0), h_desc_addr(h, 0, 1) | IOAT_IDLE);
	h_copy(h, 0, src, dst, 64, IOAT_DESC_COMPLETE);
	h_ring(h, 0);
	h_advance(h, 9999);
	assert_int_equal(h_state(h, 0), IOAT_ACTIVE);
	h_advance(h, 1);
	assert_int_equal(h_completion(h, 0), h_desc_addr(h, 0, 2) | IOAT_IDLE);
	/* A reset ends the waiting; the time of the old doorbell is not the new one's. */
	h_copy(h, 0, src, dst, 64, IOAT_DESC_COMPLETE);
	h_ring(h, 0);
	h_write(h, CH(0, IOAT_CHANCMD), 1, IOAT_CHANCMD_RESET);
	assert_int_equal(h_state(h, 0), IOAT_HALTED);
	h_write(h, CH(0, IOAT_CHAINADDR), 8, h->ring[0]);
	h_write(h, CH(0, IOAT_DMACOUNT), 2, 1);
	h_run(h);
	h_advance(h, 10000);
	assert_int_equal(h_state(h, 0), IOAT_ACTIVE);
	h_advance(h, 990000);
	assert_int_equal(h_completion(h, 0), h_desc_addr(h, 0, 0) | IOAT_IDLE);
	/* And so does a suspend; resumed, it waits again. */
	h_copy(h, 0, src, dst, 64, IOAT_DESC_COMPLETE);
	h_write(h, CH(0, IOAT_DMACOUNT), 2, 2);
	h_run(h);
	h_write(h, CH(0, IOAT_CHANCMD), 1, IOAT_CHANCMD_SUSPEND);
	h_advance(h, 1000000);
	assert_int_equal(h_state(h, 0), IOAT_SUSPENDED);
	assert_int_equal(h_completion(h, 0), h_desc_addr(h, 0, 0) | IOAT_IDLE);
	h_free(h);
}

/* Every reset in every state, with transfers under way. */
static void resets_everywhere(void **state)
{
	static const enum uvfio_reset_kind kinds[] = {UVFIO_RESET_FUNCTION, UVFIO_RESET_PM,
						      UVFIO_RESET_BUS, UVFIO_RESET_OPEN};
	struct harness *h = h_new("channels=2,delay=1us,start-delay=1us");
	uint64_t src = h_alloc(h, 1 << 18, 64), dst = h_alloc(h, 1 << 18, 64);

	for (unsigned i = 0; i < 100; i++) {
		h->late = i & 1 || h_late();
		h->hold_dma = false;
		h_start(h, i & 1);
		h->hold_dma = true;
		for (unsigned j = 0; j < i % 5; j++)
			h_copy(h, i & 1, src, dst, 1 << 18, IOAT_DESC_COMPLETE | IOAT_DESC_INT);
		h_ring(h, i & 1);
		for (unsigned j = 0; j < i % 16; j++) {
			h_advance(h, 1000);
			h_complete_dma(h, 1);
		}
		if (i % 7 == 0)
			h_write(h, CH(i & 1, IOAT_CHANCMD), 1, IOAT_CHANCMD_SUSPEND);
		if (i % 11 == 0)
			h_write(h, CH(i & 1, IOAT_CHANCMD), 1, IOAT_CHANCMD_RESET);
		h_reset(h, kinds[i % 4]);
		for (unsigned ch = 0; ch < 2; ch++) {
			assert_int_equal(h_read(h, CH(ch, IOAT_CHANSTS), 8), IOAT_HALTED);
			assert_int_equal(h_read(h, CH(ch, IOAT_CHANCMD), 1), 0);
		}
		h_advance(h, 1000000);
		assert_int_equal(h->nr_pending, 0);
	}
	h_free(h);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(options),
		cmocka_unit_test(after_power_on),
		cmocka_unit_test(every_width),
		cmocka_unit_test(reading_claims),
		cmocka_unit_test(states),
		cmocka_unit_test(commands_wait),
		cmocka_unit_test(reset_in_a_descriptor),
		cmocka_unit_test(delays),
		cmocka_unit_test(resets_everywhere),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
