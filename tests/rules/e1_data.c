// SPDX-License-Identifier: BSD-3-Clause
/* E.1: data through the migration region: saving, resuming, the window. */
#include "e1.h"

/* ---- saving ---------------------------------------------------------------------------------- */

/* Outside of saving there is nothing, whatever is asked. */
static void nothing(struct t *t)
{
	static const uint32_t rows[] = {BIT_RUNNING, 0, BIT_RESUMING};

	find(t);
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		must(t, "to", put(t, AT_STATE, rows[i]));
		see_hex(t, bits_name(rows[i]), get(t, AT_PENDING), 0);
		see_bool(t, "offset", get(t, AT_OFFSET) == region.window, true);
		see_hex(t, "size", get(t, AT_SIZE), 0);
	}
}

static void idempotent(struct t *t)
{
	uint64_t pending, size;
	uint8_t a[64], b[64];

	find(t);
	must(t, "to-0010", put(t, AT_STATE, BIT_SAVING));
	pending = get(t, AT_PENDING);
	see_bool(t, "pending", pending > 0, true);
	see_bool(t, "again", get(t, AT_PENDING) == pending, true);
	see_hex(t, "size-before-offset", get(t, AT_SIZE), 0);
	see_hex(t, "offset", get(t, AT_OFFSET), region.window);
	size = get(t, AT_SIZE);
	see_bool(t, "size", size >= sizeof(a) && size <= region.window_size && size <= pending,
		 true);
	see(t, "window", sys(pread(t->dev, a, sizeof(a), at(region.window))), sizeof(a));
	see_hex(t, "offset-again", get(t, AT_OFFSET), region.window);
	see_bool(t, "size-again", get(t, AT_SIZE) == size, true);
	see(t, "window-again", sys(pread(t->dev, b, sizeof(b), at(region.window))), sizeof(b));
	see_bool(t, "same", !memcmp(a, b, sizeof(a)), true);
	/* To ask for the state, or to be refused, lets nothing go. */
	see(t, "refused", put(t, AT_STATE, BIT_SAVING | BIT_RESUMING), -EINVAL);
	see_bool(t, "still", get(t, AT_SIZE) == size, true);
	get(t, AT_PENDING);
	see_hex(t, "let-go", get(t, AT_SIZE), 0);
}

/* Zero is the end, once the device is stopped; while it runs one asks again. */
static void polled(struct t *t)
{
	size_t early;

	find(t);
	must(t, "to-0011", put(t, AT_STATE, BIT_SAVING | BIT_RUNNING));
	save_some(t);
	early = saved.len;
	for (unsigned i = 0; i < 3; i++)
		see_hex(t, "running", get(t, AT_PENDING), 0);
	get(t, AT_OFFSET);
	see_hex(t, "size", get(t, AT_SIZE), 0);
	must(t, "to-0010", put(t, AT_STATE, BIT_SAVING));
	see_bool(t, "stopped", get(t, AT_PENDING) > 0, true);
	save_some(t);
	see_bool(t, "more", saved.len > early, true);
	for (unsigned i = 0; i < 3; i++)
		see_hex(t, "end", get(t, AT_PENDING), 0);
	get(t, AT_OFFSET);
	see_hex(t, "size", get(t, AT_SIZE), 0);
	/* Pre-copy and what follows is one stream. */
	must(t, "to-0100", put(t, AT_STATE, BIT_RESUMING));
	see(t, "load", load_saved(t), 0);
	see(t, "to-0001", put(t, AT_STATE, BIT_RUNNING), 0);
}

/* Pre-copy may be left at any time, with what was not read; the next one begins anew. */
static void left_early(struct t *t)
{
	find(t);
	for (unsigned i = 0; i < 2; i++) {
		must(t, "to-0011", put(t, AT_STATE, BIT_SAVING | BIT_RUNNING));
		see_bool(t, "pending", get(t, AT_PENDING) > 0, true);
		get(t, AT_OFFSET);
		see(t, "to-0001", put(t, AT_STATE, BIT_RUNNING), 0);
		see_hex(t, "nothing", get(t, AT_PENDING), 0);
		see_hex(t, "size", get(t, AT_SIZE), 0);
	}
	must(t, "to-0011", put(t, AT_STATE, BIT_SAVING | BIT_RUNNING));
	see(t, "to-0010", put(t, AT_STATE, BIT_SAVING), 0);
	save_some(t);
	must(t, "to-0100", put(t, AT_STATE, BIT_RESUMING));
	see(t, "load", load_saved(t), 0);
	see(t, "to-0001", put(t, AT_STATE, BIT_RUNNING), 0);
}

/* ---- resuming -------------------------------------------------------------------------------- */

static void resume(struct t *t)
{
	size_t len;

	find(t);
	save_all(t);
	len = saved.len;
	must(t, "to-0100", put(t, AT_STATE, BIT_RESUMING));
	see(t, "load", load_saved(t), 0);
	see_hex(t, "size", get(t, AT_SIZE), 0);
	see(t, "none", put(t, AT_SIZE, 0), 0);
	see(t, "to-0000", put(t, AT_STATE, 0), 0);
	see(t, "to-0001", put(t, AT_STATE, BIT_RUNNING), 0);
	/* It is what it was. */
	save_all(t);
	see_bool(t, "same", saved.len == len, true);
}

/* A stream that is damaged, cut, or goes on; the device stays where it is. */
static void bad_stream(struct t *t)
{
	static const char *const kinds[] = {"damaged", "cut", "goes-on"};

	find(t);
	save_all(t);
	for (unsigned kind = 0; kind < 3; kind++) {
		size_t *last = &saved.sizes[saved.nr - 1];
		size_t whole = *last;
		long rc, left;

		must(t, "to-0100", put(t, AT_STATE, BIT_RESUMING));
		if (kind == 0)
			saved.bytes[saved.len / 2] ^= 1;
		*last += kind == 1 ? -1 : kind == 2 ? 1 : 0;
		rc = load_saved(t);
		left = put(t, AT_STATE, BIT_RUNNING);
		see(t, kinds[kind], rc ? rc : left, -EINVAL);
		see(t, "leave", left, -EINVAL);
		see_bits(t, "is", BIT_RESUMING);
		*last = whole;
		if (kind == 0)
			saved.bytes[saved.len / 2] ^= 1;
		reset(t);
	}
}

static void hostile_sizes(struct t *t)
{
	static const uint64_t sizes[] = {1ull << 32, 1ull << 63, UINT64_MAX, UINT64_MAX - 4095};

	find(t);
	see(t, "running", put(t, AT_SIZE, 1), -EINVAL);
	must(t, "to-0010", put(t, AT_STATE, BIT_SAVING));
	see(t, "saving", put(t, AT_SIZE, 1), -EINVAL);
	see(t, "pending", put(t, AT_PENDING, 1), -EINVAL);
	see(t, "offset", put(t, AT_OFFSET, 0), -EINVAL);
	must(t, "to-0100", put(t, AT_STATE, BIT_RESUMING));
	see(t, "beyond", put(t, AT_SIZE, region.window_size + 1), -EINVAL);
	for (size_t i = 0; i < ARRAY_LEN(sizes); i++)
		see(t, "huge", put(t, AT_SIZE, sizes[i]), -EINVAL);
	see(t, "offset", put(t, AT_OFFSET, 0), -EINVAL);
	see(t, "pending", put(t, AT_PENDING, 1), -EINVAL);
	/* None of that was taken for data. */
	reset(t);
	save_all(t);
	must(t, "to-0100", put(t, AT_STATE, BIT_RESUMING));
	see(t, "beyond", put(t, AT_SIZE, region.window_size + 1), -EINVAL);
	see(t, "load", load_saved(t), 0);
	see(t, "to-0001", put(t, AT_STATE, BIT_RUNNING), 0);
	/* Nothing was put into the window. */
	must(t, "to-0100", put(t, AT_STATE, BIT_RESUMING));
	see(t, "empty", put(t, AT_SIZE, region.window_size), -EINVAL);
	see_bits(t, "is", BIT_RESUMING);
}

/* ---- the window ------------------------------------------------------------------------------ */

static void window_access(struct t *t)
{
	uint8_t out[9] = "window!!", in[9] = "";

	find(t);
	see(t, "running", sys(pwrite(t->dev, out, 8, at(region.window))), -EINVAL);
	must(t, "to-0010", put(t, AT_STATE, BIT_SAVING));
	see(t, "saving", sys(pwrite(t->dev, out, 8, at(region.window))), -EINVAL);
	must(t, "to-0100", put(t, AT_STATE, BIT_RESUMING));
	see(t, "resuming", sys(pwrite(t->dev, out, 7, at(region.window + 3))), 7);
	see(t, "read", sys(pread(t->dev, in, 7, at(region.window + 3))), 7);
	see_bool(t, "same", !memcmp(in, out, 7), true);
	see(t, "last", sys(pwrite(t->dev, out, 1, at(region.info.size - 1))), 1);
	see(t, "across-end", sys(pwrite(t->dev, out, 8, at(region.info.size - 2))), 2);
	see(t, "end", sys(pwrite(t->dev, out, 1, at(region.info.size))), -EINVAL);
	see(t, "before", sys(pwrite(t->dev, out, 1, at(region.window - 1))), -EINVAL);
	see(t, "header", sys(pwrite(t->dev, out, 8, at(AT_END))), -EINVAL);
	reset(t);
	see(t, "after-reset", sys(pread(t->dev, in, 7, at(region.window + 3))), 7);
	see_bool(t, "empty", !(in[0] | in[1] | in[2] | in[3] | in[4] | in[5] | in[6]), true);
}

static long try_map(struct t *t, uint64_t offset, uint64_t len, int flags)
{
	void *p = mmap(NULL, len, PROT_READ | PROT_WRITE, flags, t->dev, at(offset));

	if (p == MAP_FAILED)
		return -errno;
	munmap(p, len);
	return 0;
}

static void window_map(struct t *t)
{
	find(t);
	see(t, "all", try_map(t, region.window, region.window_size, MAP_SHARED), 0);
	see(t, "last-page", try_map(t, region.window + region.window_size - PAGE, PAGE, MAP_SHARED),
	    0);
}

static void window_not_mapped(struct t *t)
{
	find(t);
	see(t, "private", try_map(t, region.window, PAGE, MAP_PRIVATE), -EINVAL);
	see(t, "header", try_map(t, 0, PAGE, MAP_SHARED), -EINVAL);
	see(t, "with-header", try_map(t, 0, region.info.size, MAP_SHARED), -EINVAL);
	see(t, "beyond", try_map(t, region.window, region.window_size + PAGE, MAP_SHARED), -EINVAL);
	see(t, "behind", try_map(t, region.window + region.window_size, PAGE, MAP_SHARED), -EINVAL);
}

static uint8_t *map_window(struct t *t)
{
	void *p = mmap(NULL, region.window_size, PROT_READ | PROT_WRITE, MAP_SHARED, t->dev,
		       at(region.window));

	must(t, "mmap", p == MAP_FAILED ? -errno : 0);
	return p;
}

/* Read and written through a mapping, also while the device decodes no memory. */
static void window_mapped(struct t *t)
{
	uint8_t *window, *first;
	uint64_t size;

	find(t);
	save_all(t);
	first = malloc(saved.len);
	must(t, "memory", first ? 0 : -ENOMEM);
	memcpy(first, saved.bytes, saved.len);
	window = map_window(t);
	must(t, "to-0010", put(t, AT_STATE, BIT_SAVING));
	set_memory(t, false);
	see_bool(t, "pending", get(t, AT_PENDING) > 0, true);
	get(t, AT_OFFSET);
	size = get(t, AT_SIZE);
	see_bool(t, "read", size == saved.sizes[0] && !memcmp(window, first, size), true);
	must(t, "to-0000", put(t, AT_STATE, 0));
	see_bool(t, "discarded", !window[0] && !memcmp(window, window + 1, size - 1), true);
	must(t, "to-0100", put(t, AT_STATE, BIT_RESUMING));
	for (unsigned i = 0; i < saved.nr; first += saved.sizes[i++]) {
		memcpy(window, first, saved.sizes[i]);
		must(t, "size", put(t, AT_SIZE, saved.sizes[i]));
		/* It was looked at: what is there now is nobody's. */
		memset(window, 0xff, saved.sizes[i]);
	}
	see(t, "to-0001", put(t, AT_STATE, BIT_RUNNING), 0);
	see_bits(t, "is", BIT_RUNNING);
}

static const struct rule rules[] = {
	{"E.1/save/nothing", OPEN_DEVICE, 0, nothing},
	{"E.1/save/idempotent", OPEN_DEVICE, 0, idempotent},
	{"E.1/save/polled", OPEN_DEVICE, 0, polled},
	{"E.1/save/left-early", OPEN_DEVICE, 0, left_early},
	{"E.1/resume/whole", OPEN_DEVICE, 0, resume},
	{"E.1/resume/bad-stream", OPEN_DEVICE, NEED_RESET, bad_stream},
	{"E.1/resume/sizes", OPEN_DEVICE, NEED_RESET, hostile_sizes},
	{"E.1/window/access", OPEN_DEVICE, NEED_RESET, window_access},
	{"E.1/window/mmap", OPEN_DEVICE, 0, window_map},
	{"E.1/window/mmap-refused", OPEN_DEVICE, 0, window_not_mapped},
	{"E.1/window/mapped", OPEN_DEVICE, 0, window_mapped},
};
const struct section section_e1_data = SECTION("E.1", rules);
