/* SPDX-License-Identifier: BSD-3-Clause */
/* The I/OAT engine: descriptors and what they move, chains, completions, interrupts. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "ioat_harness.h"

#define NOW "start-delay=0"

static void pattern(uint8_t *p, size_t len, unsigned seed)
{
	for (size_t i = 0; i < len; i++) {
		seed = seed * 1103515245 + 12345;
		p[i] = (uint8_t)(seed >> 16);
	}
}

static void all_are(const uint8_t *p, size_t len, uint8_t value)
{
	for (size_t i = 0; i < len; i++)
		assert_int_equal(p[i], value);
}

/* Sizes and offsets of every kind, whole and in pieces of a page. */
static void copies(void **state)
{
	static const uint32_t sizes[] = {1,    7,     8,     63,    64,     1000,
					 4096, 65535, 65536, 65537, 200000, IOAT_XFER_MAX};
	struct harness *h = h_new(NOW);
	uint64_t src = h_alloc(h, IOAT_XFER_MAX + 64, 4096);
	uint64_t dst = h_alloc(h, IOAT_XFER_MAX + 128, 4096);
	uint64_t bytes = 0;

	h_start(h, 0);
	for (unsigned i = 0; i < 2 * sizeof(sizes) / sizeof(sizes[0]); i++) {
		uint32_t size = sizes[i / 2], s = i * 7 % 61, d = i * 13 % 59;
		uint8_t *to = h_ptr(h, dst), *from = h_ptr(h, src);

		h->split_pin = i & 1;
		pattern(from, IOAT_XFER_MAX + 64, i + 1);
		memset(to, 0x55, IOAT_XFER_MAX + 128);
		h_copy(h, 0, src + s, dst + 64 + d, size, IOAT_DESC_COMPLETE);
		h_ring(h, 0);
		assert_int_equal(h_completion(h, 0), h_desc_addr(h, 0, i) | IOAT_IDLE);
		assert_memory_equal(to + 64 + d, from + s, size);
		all_are(to, 64 + d, 0x55);
		all_are(to + 64 + d + size, 64 - d, 0x55);
		bytes += size;
	}
	if (!h_late())
		assert_true(h->nr_pins > 0);
	assert_int_equal(h_stat(h, "bytes{channel=0,op=copy}"), bytes);
	h_free(h);
}

static void fills(void **state)
{
	static const uint32_t sizes[] = {8, 64, 1024, 50, 100, 89, 1, 65536, 65543, 300001};
	struct harness *h = h_new(NOW);
	uint64_t dst = h_alloc(h, 300064, 64);
	const uint64_t value = 0xfedcba9876543210;

	h_start(h, 0);
	for (unsigned i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		struct ioat_desc *desc = h_desc(h, 0);
		uint8_t *p = h_ptr(h, dst);

		memset(p, 0, 300064);
		*desc = (struct ioat_desc){
			sizes[i],   IOAT_DESC_COMPLETE | IOAT_OP_FILL << 24, value, dst + 3,
			desc->next,
		};
		h_ring(h, 0);
		assert_int_equal(h_completion(h, 0), h_desc_addr(h, 0, i) | IOAT_IDLE);
		for (uint32_t j = 0; j < sizes[i]; j++)
			assert_int_equal(p[3 + j], (uint8_t)(value >> 8 * (j % 8)));
		all_are(p, 3, 0);
		all_are(p + 3 + sizes[i], 40, 0);
	}
	h_free(h);
}

/* Neither its addresses nor its size matter. */
static void nulls(void **state)
{
	struct harness *h = h_new(NOW);

	h_start(h, 0);
	for (unsigned i = 0; i < 3; i++) {
		struct ioat_desc *desc = h_desc(h, 0);

		desc->control = IOAT_DESC_NULL | IOAT_DESC_COMPLETE;
		desc->size = i == 2 ? UINT32_MAX : i;
		desc->src = desc->dst = i ? UINT64_MAX : 0;
	}
	h_ring(h, 0);
	assert_int_equal(h_completion(h, 0), h_desc_addr(h, 0, 2) | IOAT_IDLE);
	assert_int_equal(h_stat(h, "descriptors{channel=0,op=null}"), 3);
	h_free(h);
}

/* A descriptor that does not ask for it is not reported, but CHANSTS tells. */
static void quiet_descriptors(void **state)
{
	struct harness *h = h_new(NOW);
	uint64_t src = h_alloc(h, 64, 64), dst = h_alloc(h, 64, 64);

	h_start(h, 0);
	h_copy(h, 0, src, dst, 64, IOAT_DESC_COMPLETE);
	h_copy(h, 0, src, dst, 64, 0);
	h_copy(h, 0, src, dst, 64, 0);
	h_ring(h, 0);
	/* What is written is how far the channel is when it writes. */
	assert_true(h_completion(h, 0) >= h_desc_addr(h, 0, 0));
	assert_int_equal(h_read(h, CH(0, IOAT_CHANSTS), 8), h_desc_addr(h, 0, 2) | IOAT_IDLE);
	memset(h_ptr(h, h->cmp[0]), 0xee, 8);
	h_copy(h, 0, src, dst, 64, 0);
	h_ring(h, 0);
	all_are(h_ptr(h, h->cmp[0]), 8, 0xee);
	assert_int_equal(h_read(h, CH(0, IOAT_CHANSTS), 8), h_desc_addr(h, 0, 3) | IOAT_IDLE);
	h_free(h);
}

/* Each copies what the one before has written. */
static void in_order(void **state)
{
	struct harness *h = h_new(NOW);
	uint64_t at[17];

	for (unsigned i = 0; i < 17; i++)
		at[i] = h_alloc(h, 70000, 64);
	pattern(h_ptr(h, at[0]), 70000, 99);
	h_start(h, 0);
	for (unsigned i = 0; i < 16; i++)
		h_copy(h, 0, at[i], at[i + 1], 70000,
		       i == 15 ? IOAT_DESC_COMPLETE : IOAT_DESC_FENCE);
	h_ring(h, 0);
	assert_int_equal(h_completion(h, 0), h_desc_addr(h, 0, 15) | IOAT_IDLE);
	assert_memory_equal(h_ptr(h, at[0]), h_ptr(h, at[16]), 70000);
	h_free(h);
}

/* The count wraps, and one that is behind means nearly 65536 more. */
/* Descriptors are read several at a time: only those that the driver has counted, within a page,
 * and used only where the chain leads. */
static void read_ahead(void **state)
{
	enum { N = 40 };
	struct harness *h = h_new(NOW);
	uint64_t chain = h_alloc(h, 2 * 4096, 4096), src = h_alloc(h, 4096, 64);
	uint64_t dst = h_alloc(h, N * 64, 64);
	struct ioat_desc *descs = h_ptr(h, chain);
	/* Up, down, and across the end of the page. */
	unsigned order[N];

	for (unsigned i = 0; i < N; i++)
		order[i] = i < 10 ? i : i < 20 ? 29 - i : i < 30 ? 40 + i : 80 + i;
	for (unsigned seed = 1; seed < 4; seed++) {
		uint8_t *to = h_ptr(h, dst), *from = h_ptr(h, src);
		unsigned given = 0, step = seed == 3 ? N : seed * 7;

		pattern(from, 4096, seed);
		memset(to, 0, N * 64);
		/* What is not counted yet is not to be believed. */
		memset(descs, 0xff, 2 * 4096);
		h_start(h, 0);
		while (given < N) {
			unsigned end = given + step < N ? given + step : N;

			if (!given) {
				h_write(h, CH(0, IOAT_CHANCMD), 1, IOAT_CHANCMD_RESET);
				h_run(h);
				h_write(h, CH(0, IOAT_CHAINADDR), 8, chain + order[0] * 64);
			}
			for (; given < end; given++)
				descs[order[given]] = (struct ioat_desc){
					64,
					IOAT_DESC_COMPLETE,
					src + given * 64,
					dst + given * 64,
					given + 1 < N ? chain + order[given + 1] * 64 : 0,
				};
			h_write(h, CH(0, IOAT_DMACOUNT), 2, given);
			h_run(h);
			assert_int_equal(h_state(h, 0), IOAT_IDLE);
			assert_memory_equal(to, from, given * 64);
		}
		assert_int_equal(h_completion(h, 0), (chain + order[N - 1] * 64) | IOAT_IDLE);
	}
	h_free(h);
}

/* The ring is in one page, and nothing is mapped behind it. */
static void read_ahead_ends(void **state)
{
	struct harness *h = h_new(NOW);
	uint64_t page = h_alloc(h, 8192, 4096), src = h_alloc(h, 4096, 64);
	struct ioat_desc *descs = h_ptr(h, page + 4096 - 2 * 64);
	uint8_t *to = h_ptr(h, src + 2048);

	pattern(h_ptr(h, src), 64, 3);
	h_start(h, 0);
	h_write(h, CH(0, IOAT_CHANCMD), 1, IOAT_CHANCMD_RESET);
	h_run(h);
	h->fault = page + 4096;
	h->fault_end = page + 8192;
	for (unsigned i = 0; i < 2; i++)
		descs[i] = (struct ioat_desc){64, IOAT_DESC_COMPLETE, src, src + 2048 + i * 64,
					      page + 4096 - (1 - i) * 64};
	h_write(h, CH(0, IOAT_CHAINADDR), 8, page + 4096 - 2 * 64);
	h_write(h, CH(0, IOAT_DMACOUNT), 2, 2);
	h_run(h);
	assert_int_equal(h_state(h, 0), IOAT_IDLE);
	assert_memory_equal(to, h_ptr(h, src), 64);
	assert_memory_equal(to + 64, h_ptr(h, src), 64);
	/* A third is behind the end. */
	h_write(h, CH(0, IOAT_DMACOUNT), 2, 3);
	h_run(h);
	assert_int_equal(h_state(h, 0), IOAT_HALTED);
	h_free(h);
}

static void count_wraps(void **state)
{
	struct harness *h = h_new(NOW);
	uint64_t src = h_alloc(h, 8, 8), dst = h_alloc(h, 8, 8);

	h_start(h, 0);
	for (unsigned i = 0; i < H_RING; i++)
		h_copy(h, 0, src, dst, 8, IOAT_DESC_COMPLETE);
	h_write(h, CH(0, IOAT_DMACOUNT), 2, 65535);
	h_run(h);
	assert_int_equal(h_completion(h, 0), h_desc_addr(h, 0, 65534) | IOAT_IDLE);
	h_write(h, CH(0, IOAT_DMACOUNT), 2, 1);
	h_run(h);
	assert_int_equal(h_stat(h, "descriptors{channel=0,op=copy}"), 65537);
	h_write(h, CH(0, IOAT_DMACOUNT), 2, 0);
	h_run(h);
	assert_int_equal(h_stat(h, "descriptors{channel=0,op=copy}"), 65537 + 65535);
	assert_int_equal(h_stat(h, "doorbells{channel=0}"), 3);
	h_free(h);
}

/* A turn has its budget, whatever the chain: one that leads to itself, and full of work. */
static void turns_end(void **state)
{
	struct harness *h = h_new(NOW ",channels=2");
	uint64_t src = h_alloc(h, IOAT_XFER_MAX, 64), dst = h_alloc(h, IOAT_XFER_MAX, 64);
	unsigned turns = 0;
	struct ioat_desc *desc;

	h_start(h, 0);
	h_start(h, 1);
	h_copy(h, 0, src, dst, IOAT_XFER_MAX, IOAT_DESC_COMPLETE);
	desc = h_ptr(h, h_desc_addr(h, 0, 0));
	desc->next = h_desc_addr(h, 0, 0);
	h_write(h, CH(0, IOAT_DMACOUNT), 2, 8);
	h_copy(h, 1, src, dst, 64, IOAT_DESC_COMPLETE);
	h_write(h, CH(1, IOAT_DMACOUNT), 2, 1);
	while (h_work(h)) {
		if (h->late)
			h_complete_dma(h, 100);
		else if (++turns == 2) /* the other channel has had its turn */
			assert_int_equal(h_completion(h, 1), h_desc_addr(h, 1, 0) | IOAT_IDLE);
	}
	assert_int_equal(h_completion(h, 0), h_desc_addr(h, 0, 0) | IOAT_IDLE);
	if (!h->late)
		assert_in_range(turns, 8 * 2, 8 * 2 + 8);
	/* How far it is can be seen meanwhile. */
	if (!h->late) {
		for (unsigned i = 0; i < 8; i++)
			h_copy(h, 1, src, dst, 200000, IOAT_DESC_COMPLETE);
		h_write(h, CH(1, IOAT_DMACOUNT), 2, 9);
		for (unsigned i = 0; i < 2; i++)
			h_work(h);
		assert_int_equal(h_state(h, 1), IOAT_ACTIVE);
		assert_int_equal(h_completion(h, 1), h_read(h, CH(1, IOAT_CHANSTS), 8));
		assert_in_range(h_completion(h, 1), h_desc_addr(h, 1, 1), h_desc_addr(h, 1, 7));
		h_run(h);
	}
	h_free(h);
}

static void channels(void **state)
{
	struct harness *h = h_new(NOW ",channels=4");
	uint64_t src = h_alloc(h, 100000, 64), dst[4];

	pattern(h_ptr(h, src), 100000, 5);
	for (unsigned ch = 0; ch < 4; ch++) {
		dst[ch] = h_alloc(h, 100000, 64);
		h_start(h, ch);
		h_copy(h, ch, src, dst[ch], 100000, IOAT_DESC_COMPLETE);
	}
	for (unsigned ch = 0; ch < 4; ch++)
		h_write(h, CH(ch, IOAT_DMACOUNT), 2, 1);
	h_run(h);
	for (unsigned ch = 0; ch < 4; ch++) {
		assert_int_equal(h_completion(h, ch), h_desc_addr(h, ch, 0) | IOAT_IDLE);
		assert_memory_equal(h_ptr(h, src), h_ptr(h, dst[ch]), 100000);
	}
	h_free(h);
}

/* ---- interrupts ---- */

static void ask(struct harness *h, unsigned ch)
{
	struct ioat_desc *desc = h_desc(h, ch);

	desc->control = IOAT_DESC_NULL | IOAT_DESC_INT | IOAT_DESC_COMPLETE;
	h_ring(h, ch);
}

static void rearm(struct harness *h, unsigned ch)
{
	h_write(h, CH(ch, IOAT_CHANCTRL), 2,
		IOAT_CHANCTRL_INT_DISABLE | IOAT_CHANCTRL_ERR_COMPLETE);
	h_run(h);
}

static void vectors(void **state)
{
	struct harness *h = h_new(NOW ",channels=3");

	h_start(h, 0);
	h_start(h, 2);
	ask(h, 2);
	assert_int_equal(h->irqs[2], 0); /* no master enable */
	assert_int_equal(h_read(h, CH(2, IOAT_CHANCTRL), 1) & 1, 1);
	h_write(h, IOAT_INTRCTRL, 1, IOAT_INTRCTRL_MASTER | IOAT_INTRCTRL_VECTORS);
	h_run(h);
	assert_int_equal(h->irqs[2], 1); /* it was kept */
	ask(h, 2);
	ask(h, 2);
	assert_int_equal(h->irqs[2], 1); /* disabled by the first */
	rearm(h, 2);
	assert_int_equal(h->irqs[2], 2); /* and none was lost */
	rearm(h, 2);
	assert_int_equal(h->irqs[2], 2);
	ask(h, 2);
	assert_int_equal(h->irqs[2], 3);
	ask(h, 0);
	assert_int_equal(h->irqs[0], 1);
	rearm(h, 2);
	/* One vector for all. */
	h_write(h, IOAT_INTRCTRL, 1, IOAT_INTRCTRL_MASTER);
	ask(h, 2);
	assert_int_equal(h->irqs[0], 2);
	assert_int_equal(h_stat(h, "interrupts{channel=2}"), 4);
	h_free(h);
}

/* The completion is in memory when the interrupt comes. */
static void interrupt_after_completion(void **state)
{
	struct harness *h = h_new(NOW);

	h->late = h->hold_dma = true;
	h_write(h, IOAT_INTRCTRL, 1, IOAT_INTRCTRL_MASTER);
	h_start(h, 0);
	ask(h, 0);
	h_complete_dma(h, 1); /* the descriptor */
	h_run(h);
	assert_int_equal(h->nr_pending, 1);
	assert_int_equal(h->irqs[0], 0);
	h_complete_dma(h, 1);
	h_run(h);
	assert_int_equal(h_completion(h, 0), h_desc_addr(h, 0, 0) | IOAT_IDLE);
	assert_int_equal(h->irqs[0], 1);
	h_free(h);
}

static void pin(void **state)
{
	struct harness *h = h_new(NOW ",channels=2,interrupts=intx");

	h->message = false;
	h_write(h, IOAT_INTRCTRL, 1, IOAT_INTRCTRL_MASTER);
	h_start(h, 1);
	ask(h, 1);
	assert_true(h->intx);
	/* As Linux handles it: reading INTRCTRL clears its enable, so the pin is quiet meanwhile;
	 * reading ATTNSTATUS clears that. */
	assert_int_equal(h_read(h, IOAT_INTRCTRL, 1),
			 IOAT_INTRCTRL_MASTER | IOAT_INTRCTRL_STATUS | IOAT_INTRCTRL_INT);
	assert_false(h->intx);
	assert_int_equal(h_read(h, IOAT_INTRCTRL, 1), IOAT_INTRCTRL_STATUS);
	assert_int_equal(h_read(h, IOAT_ATTNSTATUS, 4), 2);
	assert_int_equal(h_read(h, IOAT_ATTNSTATUS, 4), 0);
	h_write(h, IOAT_INTRCTRL, 1, IOAT_INTRCTRL_MASTER);
	assert_false(h->intx);
	rearm(h, 1);
	ask(h, 1);
	assert_true(h->intx);
	/* All of it in one read. */
	assert_int_equal(h_read(h, 0, 8) >> 24, 2ull << 8 | IOAT_INTRCTRL_MASTER |
							IOAT_INTRCTRL_STATUS | IOAT_INTRCTRL_INT);
	assert_int_equal(h_read(h, IOAT_INTRCTRL, 1), 0);
	h_reset(h, UVFIO_RESET_FUNCTION);
	assert_false(h->intx);
	h_free(h);
}

static void message(void **state)
{
	struct harness *h = h_new(NOW ",channels=2,interrupts=msi");

	h_write(h, IOAT_INTRCTRL, 1, IOAT_INTRCTRL_MASTER | IOAT_INTRCTRL_VECTORS);
	h_start(h, 1);
	ask(h, 1);
	assert_int_equal(h->irqs[0], 1);
	assert_int_equal(h_read(h, IOAT_ATTNSTATUS, 4), 2);
	h_free(h);
}

static void interrupt_delay(void **state)
{
	struct harness *h = h_new(NOW);

	h_write(h, IOAT_INTRCTRL, 1, IOAT_INTRCTRL_MASTER);
	h_write(h, IOAT_INTRDELAY, 2, 50);
	h_start(h, 0);
	ask(h, 0);
	ask(h, 0);
	h_advance(h, 49999);
	assert_int_equal(h->irqs[0], 0);
	h_advance(h, 1);
	assert_int_equal(h->irqs[0], 1);
	h_free(h);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(copies),
		cmocka_unit_test(fills),
		cmocka_unit_test(nulls),
		cmocka_unit_test(quiet_descriptors),
		cmocka_unit_test(in_order),
		cmocka_unit_test(read_ahead),
		cmocka_unit_test(read_ahead_ends),
		cmocka_unit_test(count_wraps),
		cmocka_unit_test(turns_end),
		cmocka_unit_test(channels),
		cmocka_unit_test(vectors),
		cmocka_unit_test(interrupt_after_completion),
		cmocka_unit_test(pin),
		cmocka_unit_test(message),
		cmocka_unit_test(interrupt_delay),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
