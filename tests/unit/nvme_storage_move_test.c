/* SPDX-License-Identifier: BSD-3-Clause */
/* The contents of namespaces that travel with the controller (contents.h). */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "devices/nvme/contents.h"
#include "devices/nvme/nvme_model.h"
#include "nvme_harness.h"

#define OPS     nvme_model.migration
#define GRANULE 65536u
/* Three namespaces, one of which has no whole number of granules. */
#define ARGS  "memory=1M,ns=memory=2052K,ns=memory=64K"
#define NR_NS 3u

static unsigned how; /* bits: the backend is late, it can be reached directly, DMA is late */

static void setup(struct harness *h)
{
	h->block_async = how & 1;
	h->block_direct = how & 2;
	h->block_volatile = true;
	if (how & 4)
		h->delay_dma = h->no_pin = true;
}

static uint32_t seed;

static uint32_t rnd(uint32_t n)
{
	seed = seed * 1103515245 + 12345;
	return (seed >> 8) % n;
}

/* ---- a session ---- */

static int settled(struct harness *h, int r)
{
	if (r != -EINPROGRESS)
		return r;
	h_run(h);
	assert_int_not_equal(h->moved, 1);
	r = h->moved;
	h->moved = 1;
	return r ? r : -EINPROGRESS;
}

static int save_some(struct harness *h, struct model_stream *s, bool stopped, bool first)
{
	int r;

	do {
		h->moved = 1;
		h->in_ctx = true;
		r = model_stream_save_some(s, OPS, h->priv, stopped, first);
		h->in_ctx = false;
		first = false;
		r = settled(h, r);
	} while (r == -EINPROGRESS);
	return r;
}

static int save_all(struct harness *h, struct model_stream *s, bool stopped, bool first)
{
	int r;

	do {
		r = save_some(h, s, stopped, first);
		first = false;
	} while (r > 0);
	return r;
}

static int load_one(struct harness *h, const struct model_section *section, bool first)
{
	int r;

	do {
		h->moved = 1;
		h->in_ctx = true;
		r = model_stream_load_one(section, OPS, h->priv, first, &h->err);
		h->in_ctx = false;
		first = false;
		r = settled(h, r);
	} while (r == -EINPROGRESS);
	return r;
}

static int load_all(struct harness *h, const struct model_stream *s)
{
	int r = 0;

	h->err.msg[0] = '\0';
	for (unsigned i = 0; i < s->nr && !r; i++)
		r = load_one(h, &s->sections[i], !i);
	h->moved = 1;
	if (r) {
		h_run(h); /* what a reset would wait for */
		return r;
	}
	h->in_ctx = true;
	r = OPS->commit(h->priv, &h->err);
	h->in_ctx = false;
	return r;
}

static void end(struct harness *h)
{
	h->in_ctx = true;
	OPS->end(h->priv);
	h->in_ctx = false;
}

static void left(struct harness *h, uint64_t *initial, uint64_t *dirty)
{
	h->in_ctx = true;
	OPS->left(h->priv, initial, dirty);
	h->in_ctx = false;
}

static void stop(struct harness *h)
{
	h_pause(h);
	assert_int_equal(h_leave(h), 0);
}

static void go_on(struct harness *h)
{
	assert_int_equal(h_enter(h), 0);
	h_resume(h);
}

/* ---- contents ---- */

static uint64_t size_of(struct harness *h, unsigned ns)
{
	return h->blocks[ns]->info.size;
}

/* Something everywhere but in @holes of 10 granules. */
static void fill(struct harness *h, unsigned holes)
{
	for (unsigned ns = 0; ns < NR_NS; ns++) {
		for (uint64_t at = 0; at < size_of(h, ns); at += 512) {
			bool hole = at / GRANULE % 10 < holes;

			memset(h->blocks[ns]->data + at, hole ? 0 : 1 + rnd(255), 512);
		}
	}
}

static void same(struct harness *a, struct harness *b)
{
	for (unsigned ns = 0; ns < NR_NS; ns++)
		for (uint64_t at = 0; at < size_of(a, ns); at += 512)
			if (memcmp(a->blocks[ns]->data + at, b->blocks[ns]->data + at, 512) != 0)
				fail_msg("namespace %u: block %llu differs", ns + 1,
					 (unsigned long long)at / 512);
}

static struct harness *source(void)
{
	struct harness *h = h_ready(ARGS, setup);

	fill(h, 4);
	return h;
}

/* One that waits to be loaded, with something else in it. */
static struct harness *target(void)
{
	struct harness *h = h_new_with(ARGS ",incoming=yes", setup);

	assert_non_null(h);
	for (unsigned ns = 0; ns < NR_NS; ns++)
		memset(h->blocks[ns]->data, 0xee, size_of(h, ns));
	stop(h);
	return h;
}

static bool ready(struct harness *h, unsigned ns)
{
	return nvme_ns_ready(&((struct nvme_ctrl *)h->priv)->ns[ns]);
}

static unsigned io(struct harness *h, uint8_t opcode, unsigned ns, uint64_t slba, int byte)
{
	uint64_t data = h_alloc(h, 4096, 4096);
	struct nvme_sqe cmd = h_rw(opcode, ns + 1, slba, 8, data, 0);
	unsigned status;

	memset(h_ptr(h, data), byte, 4096);
	if (opcode == NVME_IO_DSM) {
		struct nvme_dsm_range range = {.nlb = 8, .slba = slba};

		memcpy(h_ptr(h, data), &range, sizeof(range));
		cmd.cdw10 = 0;
		cmd.cdw11 = NVME_DSM_AD;
		cmd.cdw12 = 0;
	}
	status = h_cmd(h, 1, &cmd, NULL);
	h->alloc = data; /* it is not needed any more */
	return status;
}

static void change(struct harness *h)
{
	static const uint8_t opcodes[] = {NVME_IO_WRITE, NVME_IO_WRITE, NVME_IO_WRITE_ZEROES,
					  NVME_IO_DSM};
	unsigned ns = rnd(NR_NS);
	uint64_t blocks = size_of(h, ns) / 512;

	assert_int_equal(io(h, opcodes[rnd(4)], ns, rnd((uint32_t)blocks - 7), 1 + (int)rnd(255)),
			 0);
}

/* ---- tests ---- */

static void all_at_once(void **state)
{
	static struct model_stream s;

	for (how = 0; how < 8; how++) {
		struct harness *a = source(), *b = target();
		uint64_t bytes = 0;

		stop(a);
		assert_int_equal(save_all(a, &s, true, true), 0);
		for (unsigned i = 0; i < s.nr; i++)
			bytes += s.sections[i].len;
		/* What is zero does not travel. */
		assert_true(bytes < (3172u << 10) * 7 / 10);
		for (unsigned ns = 0; ns < NR_NS; ns++)
			assert_false(ready(b, ns));
		assert_int_equal(load_all(b, &s), 0);
		same(a, b);
		for (unsigned ns = 0; ns < NR_NS; ns++)
			assert_memory_equal(b->blocks[ns]->durable, b->blocks[ns]->data,
					    size_of(b, ns));
		h_swap_world(a, b);
		go_on(b);
		/* (The swap has exchanged the contents, which are the same.) */
		for (unsigned ns = 0; ns < NR_NS; ns++) {
			assert_true(ready(b, ns));
			assert_int_equal(io(b, NVME_IO_READ, ns, 0, 0), 0);
		}
		model_stream_drop(&s);
		h_free(b);
		h_free(a);
	}
}

/* Zeroes are few sections, however many they are. */
static void nothing_but_zeroes(void **state)
{
	static struct model_stream s;

	for (how = 0; how < 2; how++) {
		struct harness *a = h_ready("memory=16M", setup);
		unsigned n = 0;

		stop(a);
		assert_int_equal(save_all(a, &s, true, true), 0);
		while (model_stream_find(&s, "NVCZ", n))
			n++;
		assert_true(n >= 1 && n <= 16);
		assert_null(model_stream_find(&s, "NVCD", 0));
		model_stream_drop(&s);
		h_free(a);
	}
}

/* While it runs, and is written to wherever the session has come. */
static void under_writes(void **state)
{
	static struct model_stream s;

	for (unsigned round = 0; round < 32; round++) {
		struct harness *a, *b;
		bool first = true;
		int r;

		how = round % 8;
		seed = round;
		a = source();
		b = target();
		for (unsigned i = 0; i < 10 + rnd(30); i++) {
			/* The backend answers between any two steps of both. */
			a->hold_block = false;
			for (unsigned n = rnd(4); n; n--)
				change(a);
			r = save_some(a, &s, false, first);
			assert_true(r == 0 || r == 1);
			first = false;
		}
		for (unsigned n = rnd(10); n; n--)
			change(a);
		stop(a);
		assert_int_equal(save_all(a, &s, true, false), 0);
		assert_int_equal(load_all(b, &s), 0);
		same(a, b);
		model_stream_drop(&s);
		h_free(b);
		h_free(a);
	}
}

/* A write is under way at the storage while its granule is read: what is read is of no worth. */
static void a_write_that_is_late(void **state)
{
	static struct model_stream s;
	struct harness *a, *b;
	struct nvme_sqe cmd;
	uint64_t data, initial, dirty;

	how = 1;
	a = source();
	b = target();
	assert_int_equal(save_all(a, &s, false, true), 0);
	data = h_alloc(a, 4096, 4096);
	memset(h_ptr(a, data), 0x77, 4096);
	/* A read of the session that is under way first, then the write, which ends after it. */
	assert_int_equal(io(a, NVME_IO_WRITE, 0, 0, 0x11), 0);
	a->hold_block = true;
	a->in_ctx = true;
	assert_int_equal(model_stream_save_some(&s, OPS, a->priv, false, false), -EINPROGRESS);
	a->in_ctx = false;
	cmd = h_rw(NVME_IO_WRITE, 1, 8, 8, data, 0);
	h_push(a, 1, &cmd);
	h_ring_sq(a, 1);
	h_run(a);
	h_complete_io(a, 1);
	left(a, &initial, &dirty);
	assert_int_equal(initial, 0);
	assert_int_equal(dirty, GRANULE); /* read, and not handed on */
	a->hold_block = false;
	h_run(a);
	a->moved = 1;
	left(a, &initial, &dirty);
	assert_int_equal(dirty, 2 * GRANULE); /* and once more */
	stop(a);
	assert_int_equal(save_all(a, &s, true, false), 0);
	assert_int_equal(load_all(b, &s), 0);
	same(a, b);
	model_stream_drop(&s);
	h_free(b);
	h_free(a);
}

static void what_is_left(void **state)
{
	static struct model_stream s;
	uint64_t initial, dirty, all = 0;
	struct harness *a;

	how = 1;
	a = source();
	for (unsigned ns = 0; ns < NR_NS; ns++)
		all += size_of(a, ns);
	left(a, &initial, &dirty);
	assert_int_equal(initial, all);
	assert_int_equal(dirty, 0);
	assert_int_equal(save_some(a, &s, false, true), 1); /* that they begin */
	left(a, &initial, &dirty);
	assert_int_equal(initial, all);
	/* Ahead of the session a write costs nothing. */
	assert_int_equal(io(a, NVME_IO_WRITE, 1, 4000, 1), 0);
	left(a, &initial, &dirty);
	assert_int_equal(initial + dirty, all);
	assert_int_equal(save_all(a, &s, false, false), 0);
	left(a, &initial, &dirty);
	assert_int_equal(initial, 0);
	assert_int_equal(dirty, 0);
	assert_int_equal(io(a, NVME_IO_WRITE, 0, 128, 1), 0);
	assert_int_equal(io(a, NVME_IO_WRITE, 0, 136, 1), 0);
	left(a, &initial, &dirty);
	assert_int_equal(dirty, GRANULE);
	assert_int_equal(io(a, NVME_IO_WRITE, 0, 252, 1), 0);  /* two of them */
	assert_int_equal(io(a, NVME_IO_WRITE, 1, 4096, 1), 0); /* and the last 4 KiB */
	left(a, &initial, &dirty);
	assert_int_equal(initial, 0);
	assert_int_equal(dirty, 2 * GRANULE + 4096);
	assert_int_equal(save_all(a, &s, false, false), 0);
	left(a, &initial, &dirty);
	assert_int_equal(dirty, 0);
	model_stream_drop(&s);
	h_free(a);
}

/* Given up at every point, the source is as if nothing had been, and can be moved later. */
static void given_up(void **state)
{
	static struct model_stream s;

	for (unsigned stopped = 0; stopped < 2; stopped++) {
		for (unsigned steps = 0; steps < 16; steps++) {
			struct harness *a, *b;

			how = steps % 8;
			a = source();
			b = target();
			for (unsigned i = 0; i < steps; i++) {
				assert_true(save_some(a, &s, false, !i) >= 0);
				change(a);
			}
			if (stopped) {
				stop(a);
				assert_true(save_some(a, &s, true, !steps) >= 0);
			} else if (steps) {
				/* Reads are under way. */
				a->hold_block = true;
				a->in_ctx = true;
				model_stream_save_some(&s, OPS, a->priv, false, false);
				a->in_ctx = false;
			}
			end(a);
			a->hold_block = false;
			a->moved = 1;
			if (stopped)
				go_on(a);
			else
				h_run(a);
			for (unsigned i = 0; i < 10; i++)
				change(a);
			model_stream_drop(&s);
			assert_true(save_some(a, &s, false, true) >= 0);
			change(a);
			stop(a);
			assert_int_equal(save_all(a, &s, true, false), 0);
			assert_int_equal(load_all(b, &s), 0);
			same(a, b);
			model_stream_drop(&s);
			h_free(b);
			h_free(a);
		}
	}
}

/* A stream that was cut leaves a target that cannot be used for what it is not. */
static void cut(void **state)
{
	static struct model_stream s;
	struct harness *a, *b;

	how = 1;
	a = source();
	stop(a);
	assert_int_equal(save_all(a, &s, true, true), 0);
	for (unsigned n = 1; n < s.nr; n += 1 + s.nr / 16) {
		b = target();
		for (unsigned i = 0; i < n; i++)
			assert_int_equal(load_one(b, &s.sections[i], !i), 0);
		b->in_ctx = true;
		assert_int_equal(OPS->commit(b->priv, &b->err), -EINVAL);
		OPS->forget(b->priv);
		b->in_ctx = false;
		h_reset(b, UVFIO_RESET_OPEN);
		b->paused = false;
		b->bus_master = true;
		assert_true(h_enable(b, 16));
		h_create_pair(b, 1, 16);
		for (unsigned ns = 0; ns < NR_NS; ns++)
			assert_int_equal(io(b, NVME_IO_READ, ns, 0, 0), NVME_SC_NS_NOT_READY);
		stop(b);
		assert_int_equal(load_all(b, &s), 0);
		same(a, b);
		go_on(b);
		assert_true(ready(b, 0));
		h_free(b);
	}
	model_stream_drop(&s);
	h_free(a);
}

static void refused(struct model_stream *s, const char *args, void (*with)(struct harness *h),
		    const char *why)
{
	struct harness *b = h_new_with(args, with);

	assert_non_null(b);
	stop(b);
	assert_int_equal(load_all(b, s), -EINVAL);
	if (!strstr(b->err.msg, why))
		fail_msg("%s: %s", args, b->err.msg);
	h_free(b);
}

static void file(struct harness *h)
{
	setup(h);
	h->file_size = 1u << 20;
}

static void other_targets(void **state)
{
	static struct model_stream s;
	struct harness *a, *b;

	how = 0;
	a = h_ready("memory=1M", setup);
	memset(a->blocks[0]->data, 0x31, 1 << 20);
	stop(a);
	assert_int_equal(save_all(a, &s, true, true), 0);
	refused(&s, "memory=512K,incoming=yes", setup, "as large");
	refused(&s, "memory=2M,incoming=yes", setup, "as large");
	refused(&s, "file=x,incoming=yes", file, "move=copy");
	refused(&s, "memory=1M,move=none", setup, "move=copy");
	/* Somebody's file is not overwritten by mistake. */
	refused(&s, "file=x,move=copy", file, "incoming=yes");
	refused(&s, "memory=1M,ns=memory=1M,incoming=yes", setup, "ns=");
	model_stream_drop(&s);
	h_free(a);

	/* The contents are expected, and do not come. */
	a = h_ready("file=x", file);
	stop(a);
	assert_int_equal(save_all(a, &s, true, true), 0);
	refused(&s, "file=x,move=copy,incoming=yes", file, "move=copy");
	model_stream_drop(&s);
	h_free(a);

	/* And a file that goes along. */
	a = h_ready("file=x,move=copy", file);
	memset(a->blocks[0]->data, 0x32, 1 << 20);
	stop(a);
	assert_true(a->blocks[0]->held); /* it is this side's, whatever becomes of it */
	assert_int_equal(save_all(a, &s, true, true), 0);
	b = h_new_with("file=x,move=copy,incoming=yes", file);
	assert_true(b->blocks[0]->held);
	assert_false(ready(b, 0));
	stop(b);
	assert_int_equal(load_all(b, &s), 0);
	assert_memory_equal(a->blocks[0]->data, b->blocks[0]->data, 1 << 20);
	model_stream_drop(&s);
	h_free(b);
	h_free(a);
}

static void bad_options(void **state)
{
	static const char *const rows[] = {"memory=1M,move=share", "memory=1M,move=yes",
					   "file=x,move=none", "file=x,move=copy,readonly=on",
					   "memory=1M,ns=file=x:move=none"};

	for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		assert_null(h_new_with(rows[i], file));
		assert_non_null(strstr(h_last_error(), "move="));
	}
}

static void put(struct model_section *s, unsigned at, uint64_t value, unsigned size)
{
	memcpy(s->bytes + at, &value, size);
}

/* Whatever the sections say. */
static void hostile(void **state)
{
	static const struct {
		const char *kind;
		unsigned at, size;
		uint64_t value;
	} rows[] = {
		{"NVCB", 0, 4, 0},           {"NVCB", 0, 4, 4},
		{"NVCB", 0, 4, UINT32_MAX},  {"NVCB", 4, 8, UINT64_MAX},
		{"NVCB", 12, 1, 8},          {"NVCB", 12, 1, 255},
		{"NVCD", 0, 4, 0},           {"NVCD", 0, 4, UINT32_MAX},
		{"NVCD", 4, 8, UINT64_MAX},  {"NVCD", 4, 8, 1ull << 20},
		{"NVCD", 4, 8, 1},           {"NVCZ", 4, 8, UINT64_MAX - 511},
		{"NVCZ", 12, 8, UINT64_MAX}, {"NVCZ", 12, 8, 0},
		{"NVCZ", 12, 8, 1},          {"NVCZ", 0, 4, 9},
		{"NVCE", 0, 4, 9},           {"NVCE", 0, 4, 0},
	};
	static struct model_stream s, bad;
	struct harness *a, *b;

	how = 1;
	a = source();
	stop(a);
	assert_int_equal(save_all(a, &s, true, true), 0);
	b = target();
	for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		model_stream_copy(&bad, &s);
		put(model_stream_find(&bad, rows[i].kind, 0), rows[i].at, rows[i].value,
		    rows[i].size);
		if (load_all(b, &bad) != -EINVAL)
			fail_msg("row %u was taken", i);
		model_stream_drop(&bad);
	}
	for (unsigned i = 0; i < s.nr; i++) {
		/* Another version, a cut one, one that is too long, one that is not there. */
		for (unsigned wrong = 0; wrong < 3; wrong++) {
			struct model_section *section;

			if (strncmp(s.sections[i].kind, "NVC", 3) != 0 ||
			    !strcmp(s.sections[i].kind, "NVCT"))
				continue;
			/* (Bytes have no length of their own: half a block of them.) */
			model_stream_copy(&bad, &s);
			section = &bad.sections[i];
			if (wrong == 0)
				section->version = 2;
			else if (wrong == 1)
				section->len--;
			else
				strcpy(section->kind, "NVCB");
			if (wrong == 2 && !strcmp(s.sections[i].kind, "NVCB"))
				section->len = 0;
			assert_int_equal(load_all(b, &bad), -EINVAL);
			model_stream_drop(&bad);
		}
	}
	assert_int_equal(load_all(b, &s), 0);
	same(a, b);
	model_stream_drop(&s);
	h_free(b);
	h_free(a);
}

static void storage_that_fails(void **state)
{
	static struct model_stream s;

	for (how = 0; how < 2; how++) {
		struct harness *a = source(), *b = target();

		assert_int_equal(save_some(a, &s, false, true), 1);
		a->blocks[1]->fail = true;
		a->blocks[1]->fail_op = BLOCK_READ;
		a->blocks[1]->fail_errno = -EIO;
		assert_int_equal(save_all(a, &s, false, false), -EIO);
		end(a);
		model_stream_drop(&s);
		assert_int_equal(io(a, NVME_IO_WRITE, 1, 0, 1), 0);
		stop(a);
		assert_int_equal(save_all(a, &s, true, true), 0);
		for (unsigned op = 0; op < 2; op++) {
			b->blocks[1]->fail = true;
			b->blocks[1]->fail_op = op ? BLOCK_FLUSH : BLOCK_WRITE;
			b->blocks[1]->fail_after = 0;
			b->blocks[1]->fail_errno = -ENOSPC;
			assert_int_equal(load_all(b, &s), -ENOSPC);
			assert_non_null(strstr(b->err.msg, "cannot be written"));
			assert_false(ready(b, 1));
		}
		assert_int_equal(load_all(b, &s), 0);
		same(a, b);
		model_stream_drop(&s);
		h_free(b);
		h_free(a);
	}
}

/* What others use cannot be copied along. */
static void several_controllers(void **state)
{
	struct harness *pf, *a;

	how = 0;
	pf = h_new_with("memory=1M,vfs=1", setup);
	assert_true(h_enable(pf, 16));
	a = h_new_vf(pf, 0);
	h_run_all(pf);
	h_pause(a);
	assert_int_equal(h_leave(a), -EBUSY);
	assert_non_null(strstr(a->err.msg, "attach=vf0"));
	h_resume(a);
	h_free(a);
	h_free(pf);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(all_at_once),
		cmocka_unit_test(nothing_but_zeroes),
		cmocka_unit_test(under_writes),
		cmocka_unit_test(a_write_that_is_late),
		cmocka_unit_test(what_is_left),
		cmocka_unit_test(given_up),
		cmocka_unit_test(cut),
		cmocka_unit_test(other_targets),
		cmocka_unit_test(bad_options),
		cmocka_unit_test(hostile),
		cmocka_unit_test(storage_that_fails),
		cmocka_unit_test(several_controllers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
