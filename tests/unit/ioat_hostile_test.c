/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The I/OAT engine against a driver that does anything: registers in every width and order,
 * descriptors of all sorts, resets at any moment.  Nothing crashes, each turn ends, a reset always
 * ends in the state after power-on, and a good driver can use the device afterwards.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "ioat_harness.h"

#define CHANNELS 3u

static uint64_t seed;

static uint64_t rnd(uint64_t below)
{
	seed ^= seed >> 12;
	seed ^= seed << 25;
	seed ^= seed >> 27;
	return seed * 0x2545F4914F6CDD1Dull % below;
}

/* An address: mostly of memory, often aligned. */
static uint64_t address(void)
{
	uint64_t a = H_MEM_BASE + rnd(8192);

	switch (rnd(8)) {
	case 0:
		return rnd(UINT64_MAX);
	case 1:
		return a;
	case 2:
		return H_MEM_BASE + H_MEM_SIZE - rnd(4096);
	default:
		return a & ~63ull;
	}
}

/* Any memory that descriptors may lie in gets something like a descriptor. */
static void scribble(struct harness *h)
{
	struct ioat_desc *desc = h_ptr(h, H_MEM_BASE + rnd(128) * 64);

	desc->size = (uint32_t)(rnd(4) ? rnd(200000) : rnd(UINT32_MAX));
	desc->control = (uint32_t)(rnd(8) ? rnd(0x40) | rnd(2) << 24 : rnd(UINT32_MAX));
	desc->src = address();
	desc->dst = address();
	desc->next = address();
}

static void write_something(struct harness *h)
{
	static const uint8_t regs[] = {IOAT_CHANCTRL, IOAT_CHANCMD, IOAT_DMACOUNT,   IOAT_CHAINADDR,
				       IOAT_CHANCMP,  IOAT_CHANERR, IOAT_CHANERRMSK, IOAT_INTRCTRL};
	static const uint8_t commands[] = {IOAT_CHANCMD_RESET, IOAT_CHANCMD_SUSPEND,
					   IOAT_CHANCMD_RESUME};
	unsigned size = 1u << rnd(4);
	uint64_t at = rnd(IOAT_CHANNEL(CHANNELS)) & ~(uint64_t)(size - 1);
	uint64_t value = rnd(UINT64_MAX);
	unsigned ch = (unsigned)rnd(CHANNELS);

	if (rnd(4)) {
		unsigned reg = regs[rnd(sizeof(regs))];

		at = CH(ch, reg);
		size = reg == IOAT_CHANCMD ? 1 : reg >= IOAT_CHANERR ? 4 : reg < 8 ? 2 : 8;
		if (reg == IOAT_INTRCTRL)
			at = reg, size = 1;
		if (reg == IOAT_CHANCMD && rnd(8))
			value = commands[rnd(3)];
		if (reg == IOAT_CHAINADDR || reg == IOAT_CHANCMP)
			value = address();
		if (reg == IOAT_DMACOUNT && rnd(8))
			value = rnd(6);
	}
	h_write(h, at, size, value);
}

static void anything(struct harness *h, unsigned steps)
{
	for (unsigned i = 0; i < steps; i++) {
		switch (rnd(16)) {
		case 0:
			h_work(h);
			break;
		case 1:
			h_complete_dma(h, (unsigned)rnd(4));
			break;
		case 2:
			h_advance(h, rnd(3000));
			break;
		case 3: {
			unsigned size = 1u << rnd(4);

			h_read(h, rnd(IOAT_CHANNEL(4)) & ~(uint64_t)(size - 1), size);
			break;
		}
		case 4:
			if (!rnd(50)) {
				h_reset(h, UVFIO_RESET_FUNCTION);
				for (unsigned ch = 0; ch < CHANNELS; ch++)
					assert_int_equal(h_read(h, CH(ch, IOAT_CHANSTS), 8),
							 IOAT_HALTED);
			} else if (!rnd(20)) {
				h->bus_master = false;
				h_quiesce(h);
				h_abandon_dma(h, -1);
				h_work(h);
				assert_int_equal(h->nr_pending, 0);
				h->bus_master = true;
				h_resume(h);
			}
			break;
		case 5:
			h->split_pin = rnd(2);
			h->message = rnd(2);
			h->late = h_late() || !rnd(4);
			h->hold_dma = rnd(2);
			h->fault = rnd(4) ? 0 : address();
			h->fault_end = h->fault ? h->fault + 64 : 0;
			break;
		case 6:
		case 7:
		case 8:
			scribble(h);
			break;
		default:
			write_something(h);
		}
	}
}

static void hostile(void **state)
{
	for (unsigned round = 1; round <= 60; round++) {
		struct harness *h = h_new(round % 2 ? "channels=3,delay=1us,start-delay=2us"
						    : "channels=3,start-delay=0,interrupts=msi");
		uint64_t src, dst;

		seed = round * 0x9E3779B97F4A7C15ull;
		h_alloc(h, 8192 + 200000, 64); /* what it plays with */
		anything(h, 3000);
		h->hold_dma = false;
		h->late = h_late();
		h->fault = h->fault_end = 0;
		h_run(h);
		/* Channels that are ordered to stop do, whatever they were told before. */
		for (unsigned ch = 0; ch < CHANNELS; ch++) {
			h_write(h, CH(ch, IOAT_CHANCMD), 1, IOAT_CHANCMD_RESET);
			h_run(h);
			assert_int_equal(h_read(h, CH(ch, IOAT_CHANCMD), 1), 0);
			assert_int_equal(h_read(h, CH(ch, IOAT_CHANSTS), 8), IOAT_HALTED);
		}
		src = h_alloc(h, 100000, 64);
		dst = h_alloc(h, 100000, 64);
		memset(h_ptr(h, src), (int)round, 100000);
		for (unsigned ch = 0; ch < CHANNELS; ch++) {
			memset(h_ptr(h, dst), 0, 100000);
			h_start(h, ch);
			h_copy(h, ch, src, dst, 100000, IOAT_DESC_COMPLETE);
			h_ring(h, ch);
			h_advance(h, 10000);
			assert_int_equal(h_completion(h, ch), h_desc_addr(h, ch, 0) | IOAT_IDLE);
			assert_memory_equal(h_ptr(h, src), h_ptr(h, dst), 100000);
		}
		h_free(h);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(hostile),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
