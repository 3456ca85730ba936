/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * src/vfio/migrate_memory.c and move.c: the contents of BARs that are moved: what is found changed,
 * where it is put, and what is left of it when it does not come whole.
 */
#include "move_util.h"

#include "vfio/machine_private.h"

#define BYTES (2u << 20)
#define SPEC  "pcitest,memory=2M"
#define PAGE  4096u

static uint8_t *memory(struct vfio_device *dev)
{
	return dev->bars[2].memory;
}

static bool is_filled(const uint8_t *bytes, uint8_t value, size_t len)
{
	return bytes[0] == value && !memcmp(bytes, bytes + 1, len - 1);
}

/* No page is like another. */
static void fill(uint8_t *bytes, uint8_t salt)
{
	for (size_t i = 0; i < BYTES; i++)
		bytes[i] = (uint8_t)((i / PAGE * 7 + i) ^ salt);
}

static struct vfio_move *begin(struct vfio_device *dev, enum vfio_move_kind kind)
{
	struct uvfio_error err = {""};
	struct vfio_move *move = NULL;

	if (vfio_move_begin(dev, kind, &move, &err))
		fail_msg("%s", err.msg);
	return move;
}

/* Every piece ends with a section. */
static void check_piece(const uint8_t *bytes, size_t len, bool first)
{
	size_t at = first ? MIG_STREAM_HEADER : 0;

	while (at < len)
		at += mig_section_bytes(bytes + at);
	assert_int_equal(at, len);
}

/* Pass @most bytes or a piece more on: 0 at the end, -ENOMSG when there is none now, 1. */
static int pass_on(struct vfio_move *from, struct vfio_move *to, size_t most, bool first)
{
	struct uvfio_error err = {""};
	const void *bytes = NULL;
	size_t passed = 0;
	ssize_t n;

	while (passed < most) {
		n = vfio_move_lend(from, &bytes, MOVE_PAYLOAD_MAX);
		if (n <= 0)
			return (int)n;
		assert_true(n <= (ssize_t)MOVE_PAYLOAD_MAX);
		check_piece(bytes, (size_t)n, first);
		first = false;
		if (vfio_move_write(to, bytes, (size_t)n, &err) != n)
			fail_msg("%s", err.msg);
		passed += (size_t)n;
	}
	return 1;
}

/* The rest of a move whose source is paused; both devices hold the same then. */
static void complete(struct vfio_move *from, struct vfio_move *to)
{
	struct uvfio_error err = {""};

	if (vfio_move_loaded(to, &err) || vfio_move_give(from, &err) || vfio_move_take(to, &err))
		fail_msg("%s", err.msg);
	assert_int_equal(vfio_move_end(from, VFIO_MOVE_GONE, &err), 0);
	assert_int_equal(vfio_move_end(to, VFIO_MOVE_BACK, &err), 0);
}

static void give_up(struct vfio_move *move)
{
	struct uvfio_error err = {""};

	assert_int_equal(vfio_move_end(move, VFIO_MOVE_BACK, &err), 0);
}

/* Nobody has the first one any more. */
static void let_go(struct pair *p)
{
	vfio_device_release(p->f.df);
	p->f.df = NULL;
}

/* What changes behind the place where a pass is, when it is broken off by the pause. */
static void stopped_in_a_pass(void **state)
{
	struct vfio_move *out, *in;
	struct uvfio_error err;
	struct pair p;

	pair_up(&p, SPEC, SPEC);
	fill(memory(p.first), 1);
	out = begin(p.first, VFIO_MOVE_SAVE);
	in = begin(p.second, VFIO_MOVE_LOAD);
	assert_int_equal(pass_on(out, in, BYTES / 2, true), 1);
	memory(p.first)[10] ^= 1;
	memset(memory(p.first) + PAGE, 0, PAGE);
	memory(p.first)[BYTES - 1] ^= 1;
	assert_int_equal(vfio_move_pause(out, &err), 0);
	assert_int_equal(pass_on(out, in, SIZE_MAX, false), 0);
	complete(out, in);
	assert_true(is_filled(memory(p.second) + PAGE, 0, PAGE));
	assert_memory_equal(memory(p.second), memory(p.first), BYTES);
	pair_down(&p);
}

/* One pass after another sends what has changed, and no more. */
static void passes(void **state)
{
	static uint8_t want[BYTES];
	struct vfio_move *out, *in;
	struct uvfio_error err;
	struct mig_left left;
	struct pair p;

	pair_up(&p, SPEC, SPEC);
	fill(memory(p.first), 2);
	out = begin(p.first, VFIO_MOVE_SAVE);
	in = begin(p.second, VFIO_MOVE_LOAD);
	assert_int_equal(pass_on(out, in, SIZE_MAX, true), -ENOMSG);
	for (unsigned i = 0; i < 5; i++) {
		for (unsigned page = i; page < BYTES / PAGE; page += 50)
			memory(p.first)[page * PAGE + i] ^= 0x80;
		assert_int_equal(vfio_move_left(out, &left), 0);
		assert_true(left.dirty >= 10 * PAGE && left.dirty < 20 * PAGE);
		assert_int_equal(pass_on(out, in, 12 * PAGE, false), -ENOMSG);
	}
	memset(memory(p.first) + 3 * PAGE, 0, PAGE);
	assert_int_equal(vfio_move_pause(out, &err), 0);
	memcpy(want, memory(p.first), BYTES);
	assert_int_equal(pass_on(out, in, SIZE_MAX, false), 0);
	complete(out, in);
	assert_memory_equal(memory(p.second), want, BYTES);
	pair_down(&p);
}

/* One that nobody has kept is loaded in vain: it holds what it did. */
static void kept_until_all_has_come(void **state)
{
	static uint8_t want[BYTES];
	struct vfio_move *out, *in;
	struct uvfio_error err;
	struct pair p;

	pair_up(&p, SPEC, SPEC);
	fill(memory(p.first), 3);
	memset(memory(p.first) + 7 * PAGE, 0, 2 * PAGE);
	fill(memory(p.second), 4);
	memcpy(want, memory(p.second), BYTES);
	for (unsigned i = 0; i < 2; i++) {
		out = begin(p.first, VFIO_MOVE_SAVE);
		in = begin(p.second, VFIO_MOVE_LOAD);
		assert_int_equal(vfio_move_pause(out, &err), 0);
		if (i)
			break;
		assert_int_equal(pass_on(out, in, BYTES / 2, true), 1);
		give_up(in);
		give_up(out);
		assert_memory_equal(memory(p.second), want, BYTES);
	}
	assert_int_equal(pass_on(out, in, SIZE_MAX, true), 0);
	assert_memory_equal(memory(p.second), want, BYTES);
	complete(out, in);
	assert_memory_equal(memory(p.second), memory(p.first), BYTES);
	pair_down(&p);
}

/* Into the place of one that had gone: there is nothing to be kept, and nothing stays of what does
 * not come whole. */
static void back_again(void **state)
{
	struct vfio_move *out, *in;
	struct uvfio_error err;
	struct pair p;

	pair_up(&p, SPEC, SPEC);
	let_go(&p);
	fill(memory(p.first), 5);
	out = begin(p.first, VFIO_MOVE_SAVE);
	in = begin(p.second, VFIO_MOVE_LOAD);
	assert_int_equal(vfio_move_pause(out, &err), 0);
	assert_int_equal(pass_on(out, in, SIZE_MAX, true), 0);
	complete(out, in);
	for (unsigned i = 0; i < 3; i++) {
		fill(memory(p.second), (uint8_t)(0x20 + i));
		memset(memory(p.second) + PAGE, 0, PAGE);
		memset(memory(p.second) + BYTES - PAGE, 0, PAGE);
		out = begin(p.second, VFIO_MOVE_SAVE);
		in = begin(p.first, VFIO_MOVE_LOAD);
		assert_int_equal(vfio_move_pause(out, &err), 0);
		if (i == 2)
			break;
		assert_int_equal(pass_on(out, in, i ? SIZE_MAX : BYTES / 2, true), !i);
		give_up(in);
		give_up(out);
		assert_int_equal(vfio_device_place(p.first), VFIO_GONE);
		assert_true(is_filled(memory(p.first), 0, BYTES));
		memset(memory(p.first), 0xee, BYTES);
	}
	assert_int_equal(pass_on(out, in, SIZE_MAX, true), 0);
	complete(out, in);
	assert_memory_equal(memory(p.first), memory(p.second), BYTES);
	pair_down(&p);
}

/* @len bytes of @value at @off, as the next section of @w. */
static void put_memory(struct mig_writer *w, uint64_t off, uint8_t value, size_t len)
{
	mig_section_begin(w, MIG_TAG_MEMORY, 1);
	mig_put_u8(w->out, 2);
	mig_put_u64(w->out, off);
	while (len--)
		mig_put_u8(w->out, value);
	mig_section_end(w);
}

/* Parts of pages, there: the rest of these is zero. */
static void parts_of_pages(void **state)
{
	struct vfio_move *out, *in;
	struct uvfio_error err = {""};
	struct mig_writer w;
	struct mig_buf buf;
	struct pair p;
	uint8_t *at;

	pair_up(&p, SPEC, SPEC);
	out = begin(p.first, VFIO_MOVE_SAVE);
	assert_int_equal(vfio_move_pause(out, &err), 0);
	in = begin(p.second, VFIO_MOVE_LOAD);
	assert_int_equal(pass_on(out, in, SIZE_MAX, true), 0);
	complete(out, in);
	let_go(&p);
	at = memory(p.first);
	memset(at, 0xee, BYTES);
	mig_buf_init(&buf, BYTES);
	mig_writer_init(&w, &buf, "pcitest");
	put_memory(&w, PAGE + 100, 0x5a, 10);
	put_memory(&w, 2 * PAGE - 4, 0x6b, 8);
	put_memory(&w, PAGE + 105, 0x7c, 1);
	in = begin(p.first, VFIO_MOVE_LOAD);
	assert_int_equal(vfio_move_write(in, buf.bytes, buf.len, &err), buf.len);
	assert_true(is_filled(at + PAGE, 0, 100));
	assert_true(is_filled(at + PAGE + 100, 0x5a, 5));
	assert_int_equal(at[PAGE + 105], 0x7c);
	assert_true(is_filled(at + PAGE + 106, 0x5a, 4));
	assert_true(is_filled(at + PAGE + 110, 0, PAGE - 114));
	assert_true(is_filled(at + 2 * PAGE - 4, 0x6b, 8));
	assert_true(is_filled(at + 2 * PAGE + 4, 0, PAGE - 4));
	give_up(in);
	assert_true(is_filled(at, 0, BYTES));
	mig_buf_fini(&buf);
	pair_down(&p);
}

/* What was lent can be looked at when the session has ended. */
static void reset_meanwhile(void **state)
{
	static uint8_t copy[MOVE_PAYLOAD_MAX];
	const void *bytes = NULL;
	struct vfio_move *out;
	struct pair p;
	ssize_t n;

	pair_up(&p, SPEC, SPEC);
	fill(memory(p.first), 6);
	out = begin(p.first, VFIO_MOVE_SAVE);
	do { /* the header comes first */
		n = vfio_move_lend(out, &bytes, sizeof(copy));
		assert_true(n > 0);
	} while (n < (ssize_t)PAGE);
	memcpy(copy, bytes, (size_t)n);
	assert_int_equal(dev_ioctl(&p.f, VFIO_DEVICE_RESET, NULL), 0);
	assert_memory_equal(bytes, copy, (size_t)n);
	assert_int_equal(vfio_move_lend(out, &bytes, sizeof(copy)), -ENODEV);
	give_up(out);
	pair_down(&p);
}

/* A section that is longer than what is asked for comes in pieces of it. */
static void small_pieces(void **state)
{
	struct vfio_move *out, *in;
	struct uvfio_error err = {""};
	const void *bytes = NULL;
	struct pair p;
	ssize_t n;

	pair_up(&p, SPEC, SPEC);
	fill(memory(p.first), 7);
	out = begin(p.first, VFIO_MOVE_SAVE);
	in = begin(p.second, VFIO_MOVE_LOAD);
	assert_int_equal(vfio_move_pause(out, &err), 0);
	while ((n = vfio_move_lend(out, &bytes, 5000)) > 0) {
		assert_true(n <= 5000);
		assert_int_equal(vfio_move_write(in, bytes, (size_t)n, &err), n);
	}
	assert_int_equal(n, 0);
	complete(out, in);
	assert_memory_equal(memory(p.second), memory(p.first), BYTES);
	pair_down(&p);
}

/* Nobody has it open, and nobody waits while it is paused: all of it goes in one pass, but where
 * that is to take its time. */
static void nobody_has_it(void **state)
{
	struct pair p;

	pair_up(&p, SPEC, SPEC);
	let_go(&p);
	for (unsigned i = 0; i < 2; i++) {
		struct mover out = {.move.options = {.bandwidth = i ? 1ull << 40 : 0,
						     .downtime_ns = MOVE_DOWNTIME_NS}};
		struct mover in = {.ret = 0};
		struct vfio_device *from = i ? p.second : p.first, *to = i ? p.first : p.second;
		int fds[2];

		fill(memory(from), (uint8_t)(0x40 + i));
		socket_pair(fds);
		mover_start(&out, from, fds[0], false);
		mover_start(&in, to, fds[1], true);
		if (mover_end(&out) || mover_end(&in))
			fail_msg("%s, %s", out.err.msg, in.err.msg);
		if (i)
			assert_true(out.move.progress.passes > 0);
		else
			assert_int_equal(out.move.progress.passes, 0);
		assert_memory_equal(memory(to), memory(from), BYTES);
	}
	pair_down(&p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(stopped_in_a_pass),
		cmocka_unit_test(passes),
		cmocka_unit_test(kept_until_all_has_come),
		cmocka_unit_test(back_again),
		cmocka_unit_test(parts_of_pages),
		cmocka_unit_test(reset_meanwhile),
		cmocka_unit_test(small_pieces),
		cmocka_unit_test(nobody_has_it),
	};

	signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
