/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The I/OAT engine is moved: at any moment of any work, to another device or back into itself, and
 * neither memory nor registers show it; streams that are not its own are refused, whole.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "devices/ioat/ioat_model.h"
#include "ioat_harness.h"

#define NOW      "start-delay=0"
#define CHANNELS 3u
#define MASTER   (IOAT_INTRCTRL_MASTER | IOAT_INTRCTRL_VECTORS)

static uint64_t seed;

static uint64_t rnd(uint64_t below)
{
	seed ^= seed >> 12;
	seed ^= seed << 25;
	seed ^= seed >> 27;
	return seed * 0x2545F4914F6CDD1Dull % below;
}

/* The device goes on as a new one. */
static struct harness *move(struct harness *h, const char *args)
{
	struct harness *to = h_new(args);
	bool late = h->late, hold = h->hold_dma, split = h->split_pin;

	h_pause(h);
	to->late = late;
	to->hold_dma = hold;
	to->split_pin = split;
	h_move(h, to);
	h_free(h);
	return to;
}

/* It is saved and restored where it is. */
static void move_here(struct harness *h)
{
	struct model_stream s = {.nr = 0};
	struct uvfio_error err;

	h_pause(h);
	h->in_ctx = true;
	model_stream_save(&s, ioat_model.migration, h->priv);
	if (model_stream_load(&s, ioat_model.migration, h->priv, &err))
		fail_msg("%s", err.msg);
	h->in_ctx = false;
	model_stream_drop(&s);
	h_continue(h);
}

static void fill(struct harness *h, uint64_t at, size_t len, unsigned with)
{
	uint8_t *p = h_ptr(h, at);

	for (size_t i = 0; i < len; i++)
		p[i] = (uint8_t)(with + i * 7 + i / 251);
}

/* ---- random chains ---- */

#define AREA (1u << 20) /* of a channel */

/* What a channel is to have done, in the order of its chain. */
static void expect(uint8_t *shadow, uint64_t base, const struct ioat_desc *desc)
{
	if (desc->control & IOAT_DESC_NULL)
		return;
	if (IOAT_DESC_OP(desc->control) == IOAT_OP_COPY) {
		memcpy(shadow + (desc->dst - base), shadow + (desc->src - base), desc->size);
		return;
	}
	for (uint32_t i = 0; i < desc->size; i++)
		shadow[desc->dst - base + i] = (uint8_t)(desc->src >> i % 8 * 8);
}

/* A descriptor, whose source and destination lie in two halves of the area. */
static void add(struct harness *h, unsigned ch, uint64_t area, uint8_t *shadow)
{
	struct ioat_desc *desc = h_desc(h, ch);
	uint64_t half = AREA / 2, swap = rnd(2) ? half : 0;

	desc->size = (uint32_t)(1 + (rnd(3) ? rnd(3000) : rnd(300000)));
	desc->control = (uint32_t)(rnd(2) ? IOAT_DESC_COMPLETE : 0);
	desc->control |= rnd(4) ? 0 : IOAT_DESC_INT;
	desc->src = area + swap + rnd(half - desc->size);
	desc->dst = area + half - swap + rnd(half - desc->size);
	switch (rnd(6)) {
	case 0:
		desc->control |= IOAT_DESC_NULL;
		break;
	case 1:
		desc->control |= IOAT_OP_FILL << 24;
		desc->src = rnd(UINT64_MAX);
		break;
	}
	expect(shadow, area, desc);
}

/* Something happens to the device; it may be another one afterwards. */
static struct harness *live(struct harness *h, const char *args, unsigned *irqs)
{
	switch (rnd(8)) {
	case 0:
		for (unsigned i = 0; i < CHANNELS; i++)
			irqs[i] += h->irqs[i];
		return move(h, args);
	case 1:
		move_here(h);
		break;
	case 2:
		h->split_pin = rnd(2);
		h->late = h_late() || rnd(2);
		break;
	case 3:
		h_advance(h, rnd(2000));
		break;
	case 4:
		h_pause(h);
		h_work(h);
		h_continue(h);
		break;
	case 5:
		h_complete_dma(h, (unsigned)rnd(4));
		break;
	default:
		h_work(h);
	}
	return h;
}

static void random_chains(void **state)
{
	static const char *const args[] = {
		"channels=3,start-delay=0",
		"channels=3,delay=1us,start-delay=2us",
		"channels=3,start-delay=0,version=3.2",
	};
	uint8_t *shadow[CHANNELS];

	for (unsigned ch = 0; ch < CHANNELS; ch++)
		shadow[ch] = malloc(AREA);
	for (unsigned round = 0; round < 60; round++) {
		const char *options = args[round % 3];
		struct harness *h = h_new(options);
		unsigned irqs[CHANNELS] = {0};
		uint64_t area[CHANNELS];

		seed = (round + 1) * 0x9E3779B97F4A7C15ull;
		h_write(h, IOAT_INTRCTRL, 1, MASTER);
		for (unsigned ch = 0; ch < CHANNELS; ch++) {
			area[ch] = h_alloc(h, AREA, 64);
			fill(h, area[ch], AREA, round + ch);
			memcpy(shadow[ch], h_ptr(h, area[ch]), AREA);
			h_start(h, ch);
		}
		h->hold_dma = true;
		for (unsigned step = 0; step < 40; step++) {
			unsigned ch = (unsigned)rnd(CHANNELS);

			if (h->head[ch] < H_RING - 8) {
				for (unsigned n = (unsigned)rnd(4); n; n--)
					add(h, ch, area[ch], shadow[ch]);
				h_write(h, CH(ch, IOAT_DMACOUNT), 2, h->head[ch]);
			}
			for (unsigned n = (unsigned)rnd(6); n; n--)
				h = live(h, options, irqs);
		}
		/* The last one of each is reported, and interrupts. */
		for (unsigned ch = 0; ch < CHANNELS; ch++) {
			h_copy(h, ch, area[ch], area[ch] + AREA / 2, 64,
			       IOAT_DESC_COMPLETE | IOAT_DESC_INT);
			memcpy(shadow[ch] + AREA / 2, shadow[ch], 64);
			h_write(h, CH(ch, IOAT_DMACOUNT), 2, h->head[ch]);
		}
		for (unsigned n = 0; n < 20; n++)
			h = live(h, options, irqs);
		h->hold_dma = false;
		for (unsigned n = 0; n < 4; n++)
			h_advance(h, 10000);
		for (unsigned ch = 0; ch < CHANNELS; ch++) {
			uint64_t last = h_desc_addr(h, ch, h->head[ch] - 1u);

			assert_int_equal(h_completion(h, ch), last | IOAT_IDLE);
			assert_int_equal(h_read(h, CH(ch, IOAT_CHANSTS), 8), last | IOAT_IDLE);
			assert_memory_equal(h_ptr(h, area[ch]), shadow[ch], AREA);
			assert_true(irqs[ch] + h->irqs[ch] >= 1);
		}
		h_free(h);
	}
	for (unsigned ch = 0; ch < CHANNELS; ch++)
		free(shadow[ch]);
}

/* A piece that has been read, and half of it written over its own source, is not read again. */
static void overlap(void **state)
{
	const uint32_t size = 3 * 65536 + 100;

	for (unsigned moves = 0; moves < 12; moves++) {
		struct harness *h = h_new(NOW), *still = h_new(NOW);
		uint64_t at = h_alloc(h, 300000, 64);

		assert_int_equal(h_alloc(still, 300000, 64), at);
		for (unsigned i = 0; i < 2; i++) {
			struct harness *one = i ? still : h;

			fill(one, at, 300000, 3);
			one->late = true;
			h_start(one, 0);
			one->hold_dma = !i;
			h_copy(one, 0, at, at + 24, size, IOAT_DESC_COMPLETE);
			h_ring(one, 0);
		}
		/* After so many transfers: a descriptor, then reads and writes in turn. */
		for (unsigned n = 0; n < moves; n++) {
			h_complete_dma(h, 1);
			h_work(h);
		}
		h = move(h, NOW);
		h->hold_dma = false;
		h_run(h);
		assert_int_equal(h_state(h, 0), IOAT_IDLE);
		assert_memory_equal(h_ptr(h, at), h_ptr(still, at), 300000);
		h_free(h);
		h_free(still);
	}
}

/* ---- states ---- */

/* All registers that reading does not change. */
static void take_registers(struct harness *h, uint64_t *out)
{
	memcpy(out, h->regs, IOAT_CHANNEL(4));
}

static struct harness *move_same(struct harness *h, const char *args)
{
	uint64_t before[IOAT_CHANNEL(4) / 8];

	take_registers(h, before);
	h = move(h, args);
	assert_memory_equal(h->regs, before, sizeof(before));
	return h;
}

static void states(void **state)
{
	const char *args = "channels=4,start-delay=1ms,delay=5us,version=3.2";
	struct harness *h = h_new(args);
	uint64_t src = h_alloc(h, 4096, 64), dst = h_alloc(h, 8192, 64);

	fill(h, src, 4096, 1);
	h_write(h, CH(3, IOAT_CHANCMP), 8, 0x1122334455667788);
	h_write(h, CH(3, IOAT_CHANERRMSK), 8, 0x1234567812345678);
	h_write(h, IOAT_INTRDELAY, 2, 0x123);
	h_write(h, IOAT_GENCTRL, 1, 1);
	h_read(h, CH(3, IOAT_CHANCTRL), 2); /* in use */
	h = move_same(h, args);
	assert_int_equal(h_state(h, 0), IOAT_HALTED);

	/* Armed; then its start delay has begun, and is not over before it is. */
	h_start(h, 0);
	h = move_same(h, args);
	assert_int_equal(h_state(h, 0), IOAT_ARMED);
	h_copy(h, 0, src, dst, 100, IOAT_DESC_COMPLETE);
	h_ring(h, 0);
	assert_int_equal(h_state(h, 0), IOAT_ACTIVE);
	h = move_same(h, args);
	h_run(h);
	assert_int_equal(h_state(h, 0), IOAT_ACTIVE);
	h_advance(h, 1000000);
	assert_int_equal(h_state(h, 0), IOAT_IDLE);
	assert_memory_equal(h_ptr(h, src), h_ptr(h, dst), 100);
	h = move_same(h, args);

	/* Suspended with work to do. */
	h_write(h, CH(0, IOAT_CHANCMD), 1, IOAT_CHANCMD_SUSPEND);
	h_copy(h, 0, src, dst + 4096, 100, IOAT_DESC_COMPLETE);
	h_ring(h, 0);
	h = move_same(h, args);
	assert_int_equal(h_state(h, 0), IOAT_SUSPENDED);
	h_write(h, CH(0, IOAT_CHANCMD), 1, IOAT_CHANCMD_RESUME);
	h_run(h);
	h_advance(h, 5000);
	assert_int_equal(h_completion(h, 0), h_desc_addr(h, 0, 1) | IOAT_IDLE);

	/* Halted by an error: as before, and CHANERR_INT with it. */
	h_write(h, CH(0, IOAT_CHANERR), 4, 0xffffffff);
	h_copy(h, 0, src, dst, 0, 0);
	h_ring(h, 0);
	h_advance(h, 5000);
	assert_int_equal(h_read(h, CH(0, IOAT_CHANERR), 4), 1 << IOAT_ERR_LENGTH);
	assert_int_equal(h->config_regs[0], 1 << IOAT_ERR_LENGTH);
	h->config_regs[1] = 1 << IOAT_ERR_SOURCE;
	h = move_same(h, args);
	assert_int_equal(h->config_regs[0], 1 << IOAT_ERR_LENGTH);
	assert_int_equal(h->config_regs[1], 1 << IOAT_ERR_SOURCE);
	assert_int_equal(h_state(h, 0), IOAT_HALTED);
	h_write(h, CH(0, IOAT_CHAINADDR), 8, h->ring[0]);
	assert_int_equal(h_state(h, 0), IOAT_HALTED);
	h_write(h, CH(0, IOAT_CHANERR), 4, 0xffffffff);
	h_write(h, CH(0, IOAT_CHAINADDR), 8, h->ring[0]);
	assert_int_equal(h_state(h, 0), IOAT_ARMED);
	h_free(h);
}

/* CHANCMD waits for a descriptor, here or there. */
static void commands_wait(void **state)
{
	static const uint8_t commands[] = {IOAT_CHANCMD_SUSPEND, IOAT_CHANCMD_RESET, 0x84};

	for (unsigned i = 0; i < sizeof(commands); i++) {
		for (unsigned transfers = 0; transfers < 6; transfers++) {
			struct harness *h = h_new(NOW);
			uint64_t src = h_alloc(h, 200000, 64), dst = h_alloc(h, 200000, 64);

			fill(h, src, 200000, i);
			h->late = h->hold_dma = true;
			h_start(h, 0);
			h_copy(h, 0, src, dst, 200000, IOAT_DESC_COMPLETE);
			h_copy(h, 0, src, dst, 64, IOAT_DESC_COMPLETE);
			h_ring(h, 0);
			for (unsigned n = 0; n < transfers; n++) {
				h_complete_dma(h, 1);
				h_work(h);
			}
			h_write(h, CH(0, IOAT_CHANCMD), 1, commands[i]);
			h = move(h, NOW);
			h->hold_dma = false;
			h_run(h);
			assert_int_equal(h_read(h, CH(0, IOAT_CHANCMD), 1), 0);
			assert_int_equal(h_state(h, 0), i ? IOAT_HALTED : IOAT_SUSPENDED);
			assert_int_equal(h_read(h, CH(0, IOAT_CHANERR), 4),
					 i == 2 ? 1 << IOAT_ERR_COMMAND : 0);
			h_free(h);
		}
	}
}

/* Quiet, it answers: what registers ask for is done afterwards. */
static void paused_answers(void **state)
{
	struct harness *h = h_new("channels=2,start-delay=0");
	uint64_t src = h_alloc(h, 4096, 64), dst = h_alloc(h, 4096, 64);
	unsigned dmas;

	fill(h, src, 4096, 9);
	h_start(h, 0);
	h_write(h, IOAT_INTRCTRL, 1, MASTER);
	h_write(h, CH(0, IOAT_CHANCTRL), 2, IOAT_CHANCTRL_INT_DISABLE);
	h_pause(h);
	dmas = h->nr_dma;
	h_copy(h, 0, src, dst, 4096, IOAT_DESC_COMPLETE | IOAT_DESC_INT);
	h_ring(h, 0);
	assert_int_equal(h_state(h, 0), IOAT_ACTIVE);
	h_write(h, CH(1, IOAT_CHAINADDR), 8, h->ring[0]);
	assert_int_equal(h_state(h, 1), IOAT_ARMED);
	h_write(h, CH(1, IOAT_CHANCMD), 1, IOAT_CHANCMD_RESET);
	h_run(h);
	assert_int_equal(h_state(h, 1), IOAT_HALTED);
	h_write(h, CH(1, IOAT_CHANCMP), 8, 0x1000);
	assert_int_equal(h_read(h, CH(1, IOAT_CHANCMP), 8), 0x1000);
	assert_int_equal(h->nr_dma, dmas);
	assert_int_equal(h->irqs[0], 0);
	h_continue(h);
	assert_int_equal(h_completion(h, 0), h_desc_addr(h, 0, 0) | IOAT_IDLE);
	assert_memory_equal(h_ptr(h, src), h_ptr(h, dst), 4096);
	assert_int_equal(h->irqs[0], 1);

	/* A reset of a channel in the middle of a descriptor is not put off. */
	h->late = h->hold_dma = true;
	h_copy(h, 0, src, dst, 4096, IOAT_DESC_COMPLETE);
	h_ring(h, 0);
	h_complete_dma(h, 1);
	h_work(h);
	h_pause(h);
	h_write(h, CH(0, IOAT_CHANCMD), 1, IOAT_CHANCMD_RESET);
	h_run(h);
	assert_int_equal(h_state(h, 0), IOAT_HALTED);
	assert_int_equal(h_read(h, CH(0, IOAT_CHANCMD), 1), 0);
	h->hold_dma = false;
	h_continue(h);
	assert_int_equal(h_state(h, 0), IOAT_HALTED);
	h_free(h);
}

/* ---- interrupts ---- */

static void interrupts(void **state)
{
	const char *args = "channels=2,start-delay=0";
	struct harness *h = h_new(args);
	uint64_t at = h_alloc(h, 4096, 64);

	/* A message that INTRCTRL holds back. */
	h_start(h, 1);
	h_write(h, CH(1, IOAT_CHANCTRL), 2, IOAT_CHANCTRL_INT_DISABLE);
	h_copy(h, 1, at, at + 100, 10, IOAT_DESC_INT);
	h_ring(h, 1);
	assert_int_equal(h->irqs[1], 0);
	h = move_same(h, args);
	assert_int_equal(h->irqs[1], 0);
	h_write(h, IOAT_INTRCTRL, 1, MASTER);
	h_run(h);
	assert_int_equal(h->irqs[1], 1);
	assert_int_equal(h_read(h, IOAT_ATTNSTATUS, 4), 2);

	/* A cause that the channel holds back. */
	h_copy(h, 1, at, at + 100, 10, IOAT_DESC_INT);
	h_ring(h, 1);
	h = move_same(h, args);
	assert_int_equal(h->irqs[1], 0);
	h_write(h, CH(1, IOAT_CHANCTRL), 2, IOAT_CHANCTRL_INT_DISABLE);
	h_run(h);
	assert_int_equal(h->irqs[1], 1);

	/* One that is delayed, and becomes due while nothing may be. */
	h_write(h, IOAT_INTRDELAY, 2, 1000);
	h_write(h, CH(1, IOAT_CHANCTRL), 2, IOAT_CHANCTRL_INT_DISABLE);
	h_copy(h, 1, at, at + 100, 10, IOAT_DESC_INT);
	h_ring(h, 1);
	assert_int_equal(h->irqs[1], 1);
	h_pause(h);
	h_advance(h, 2000000);
	assert_int_equal(h->irqs[1], 1);
	h_continue(h);
	h = move(h, args);
	assert_int_equal(h->irqs[1], 0);
	h_advance(h, 1000000);
	assert_int_equal(h->irqs[1], 1);
	h_free(h);
}

/* The pin is where it was. */
static void pin(void **state)
{
	const char *args = "start-delay=0,interrupts=intx";
	struct harness *h = h_new(args);
	uint64_t at = h_alloc(h, 4096, 64);

	h->message = false;
	h_write(h, IOAT_INTRCTRL, 1, IOAT_INTRCTRL_MASTER);
	h_start(h, 0);
	h_write(h, CH(0, IOAT_CHANCTRL), 2, IOAT_CHANCTRL_INT_DISABLE);
	h_copy(h, 0, at, at + 100, 10, IOAT_DESC_INT);
	h_ring(h, 0);
	assert_true(h->intx);
	h = move_same(h, args);
	assert_true(h->intx);
	h_read(h, IOAT_ATTNSTATUS, 4);
	assert_false(h->intx);
	h = move_same(h, args);
	assert_false(h->intx);
	h_free(h);
}

/* ---- streams that are not its own ---- */

/* A device in the middle of everything that a stream can hold. */
static struct harness *busy(struct model_stream *s)
{
	struct harness *h = h_new("channels=3,start-delay=1ms");
	uint64_t src = h_alloc(h, 200000, 64), dst = h_alloc(h, 200000, 64);

	h->late = h->hold_dma = true;
	for (unsigned ch = 0; ch < 3; ch++) {
		h_start(h, ch);
		h_copy(h, ch, src, dst, 200000 - ch * 70000, IOAT_DESC_COMPLETE | IOAT_DESC_INT);
		if (ch == 1)
			h_desc(h, ch)->control = IOAT_OP_FILL << 24;
		h_write(h, CH(ch, IOAT_DMACOUNT), 2, h->head[ch]);
		h_work(h);
		if (ch < 2) {
			h->clock.now += 1000000;
			model_clock_advance(&h->clock, 0);
		}
		h_work(h);
	}
	for (unsigned n = 0; n < 4; n++) {
		h_complete_dma(h, 1);
		h_work(h);
	}
	h_pause(h);
	h->in_ctx = true;
	model_stream_save(s, ioat_model.migration, h->priv);
	h->in_ctx = false;
	return h;
}

static int try_load(struct harness *h, const struct model_stream *s, struct uvfio_error *err)
{
	int r;

	h->in_ctx = true;
	err->msg[0] = 0;
	r = model_stream_load(s, ioat_model.migration, h->priv, err);
	h->in_ctx = false;
	if (r) {
		assert_int_equal(r, -EINVAL);
		assert_true(err->msg[0]);
	}
	return r;
}

/* A device that is new, or was told nonsense, does what a driver asks. */
static void works(struct harness *h)
{
	uint64_t src = h_alloc(h, 4096, 64), dst = h_alloc(h, 4096, 64);

	h->bus_master = true;
	fill(h, src, 4096, 77);
	h_start(h, 0);
	h_copy(h, 0, src, dst, 4096, IOAT_DESC_COMPLETE);
	h_ring(h, 0);
	h_advance(h, 1000000);
	assert_int_equal(h_completion(h, 0), h_desc_addr(h, 0, 0) | IOAT_IDLE);
	assert_memory_equal(h_ptr(h, src), h_ptr(h, dst), 4096);
}

static void refused(struct harness *h, const struct model_stream *s, const char *says)
{
	uint64_t before[IOAT_CHANNEL(4) / 8];
	struct uvfio_error err;

	take_registers(h, before);
	assert_int_equal(try_load(h, s, &err), -EINVAL);
	if (!strstr(err.msg, says))
		fail_msg("\"%s\" does not say \"%s\"", err.msg, says);
	assert_memory_equal(h->regs, before, sizeof(before));
}

static void wrong_streams(void **state)
{
	static const struct {
		const char *args, *says;
	} others[] = {
		{"channels=2", "3 channels and 3 messages, and this one has 3.4, 2 and 2"},
		{"channels=3,version=3.3", "version 3.4 with"},
		{"channels=3,interrupts=msi", "3 messages"},
	};
	struct model_stream s = {.nr = 0}, part, again;
	struct harness *h = busy(&s), *to;

	assert_int_equal(s.nr, 4);
	to = h_new("channels=3,start-delay=1ms");
	h_pause(to);
	for (unsigned i = 0; i < s.nr; i++) {
		/* Without one, with one twice, of another version or kind, cut, longer. */
		part = s;
		memmove(&part.sections[i], &part.sections[i + 1],
			(s.nr - 1 - i) * sizeof(part.sections[0]));
		part.nr--;
		refused(to, &part, "the stream lacks section");
		part = s;
		part.sections[part.nr++] = s.sections[i];
		refused(to, &part, i ? "comes twice" : "does not belong here");
		part = s;
		part.sections[i].version = 2;
		refused(to, &part, "is of version 2, which is not known here");
		part = s;
		memcpy(part.sections[i].kind, "ELSE", 5);
		refused(to, &part, "a section ELSE does not belong here");
		for (size_t len = i ? 1 : 3; len < s.sections[i].len; len += len < 200 ? 1 : 999) {
			model_stream_copy(&again, &s);
			again.sections[i].len = len;
			/* What was read of a piece is all of it or nothing. */
			if (i && len == 114 && s.sections[i].len > 200) {
				model_stream_drop(&again);
				continue;
			}
			refused(to, &again, "makes no sense");
			model_stream_drop(&again);
		}
		model_stream_copy(&again, &s);
		again.sections[i].len++;
		again.sections[i].bytes[again.sections[i].len - 1] = 0;
		refused(to, &again, "makes no sense");
		model_stream_drop(&again);
	}
	part = s;
	part.nr = 0;
	refused(to, &part, "the stream lacks section IOAT");
	h_continue(to);
	works(to);
	h_free(to);
	for (unsigned i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
		to = h_new(others[i].args);
		h_pause(to);
		refused(to, &s, others[i].says);
		h_continue(to);
		works(to);
		h_free(to);
	}
	h_continue(h);
	model_stream_drop(&s);
	h->hold_dma = false;
	h_free(h);
}

/* Any value anywhere: it is refused, or the device takes it, ends its work, and can be used. */
static void any_value(void **state)
{
	static const uint8_t values[] = {0, 1, 0x7f, 0x80, 0xff};
	struct model_stream s = {.nr = 0}, changed;
	struct harness *h = busy(&s);
	unsigned taken = 0, nr_refused = 0;
	struct uvfio_error err;

	for (unsigned i = 0; i < s.nr; i++) {
		size_t len = s.sections[i].len < 130 ? s.sections[i].len : 130;

		for (size_t at = 0; at < len * sizeof(values); at++) {
			struct harness *to = h_new("channels=3,start-delay=1ms");
			uint64_t before[IOAT_CHANNEL(4) / 8];

			h_alloc(to, h->alloc - H_MEM_BASE, 64);
			memcpy(h_ptr(to, H_MEM_BASE), h_ptr(h, H_MEM_BASE), h->alloc - H_MEM_BASE);
			h_pause(to);
			take_registers(to, before);
			model_stream_copy(&changed, &s);
			changed.sections[i].bytes[at / sizeof(values)] =
				values[at % sizeof(values)];
			if (try_load(to, &changed, &err)) {
				nr_refused++;
				assert_memory_equal(to->regs, before, sizeof(before));
			} else {
				taken++;
			}
			model_stream_drop(&changed);
			h_continue(to);
			/* Every delay that a stream can name is over. */
			h_advance(to, 10000000000ull);
			h_advance(to, 1000000000ull);
			for (unsigned ch = 0; ch < 3; ch++) {
				h_write(to, CH(ch, IOAT_CHANCMD), 1, IOAT_CHANCMD_RESET);
				h_run(to);
				assert_int_equal(h_read(to, CH(ch, IOAT_CHANSTS), 8), IOAT_HALTED);
			}
			works(to);
			h_free(to);
		}
	}
	assert_true(taken > 100 && nr_refused > 100);
	h_continue(h);
	model_stream_drop(&s);
	h->hold_dma = false;
	h_free(h);
}

/* What is kept aside goes when it is not needed; a new session begins anew. */
static void given_up(void **state)
{
	struct model_stream s = {.nr = 0}, part;
	struct harness *h = busy(&s), *to = h_new("channels=3,start-delay=1ms");

	h_pause(to);
	part = s;
	part.nr = 2;
	refused(to, &part, "the stream lacks section CHAN of channel 1");
	h_move(h, to);
	h_free(h);
	to->hold_dma = false;
	h_advance(to, 1000000);
	for (unsigned ch = 0; ch < 3; ch++)
		assert_int_equal(h_read(to, CH(ch, IOAT_CHANSTS), 8) & 7,
				 ch == 1 ? IOAT_HALTED : IOAT_IDLE);
	h_pause(to);
	ioat_model.migration->forget(to->priv);
	h_continue(to);
	works(to);
	model_stream_drop(&s);
	h_free(to);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(random_chains),
		cmocka_unit_test(overlap),
		cmocka_unit_test(states),
		cmocka_unit_test(commands_wait),
		cmocka_unit_test(paused_answers),
		cmocka_unit_test(interrupts),
		cmocka_unit_test(pin),
		cmocka_unit_test(wrong_streams),
		cmocka_unit_test(any_value),
		cmocka_unit_test(given_up),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
