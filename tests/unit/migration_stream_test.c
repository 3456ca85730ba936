/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The stream of a device's state: what is written comes back, in pieces of any size; what was cut,
 * damaged, put in another order or goes on is refused, with a reason, and stays refused.
 */
#include <errno.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "migration/stream.h"

#define NVCT MIG_TAG('N', 'V', 'C', 'T')

/* What a reader has got. */
struct got {
	char model[MIG_MODEL_NAME];
	unsigned sections;
	uint64_t sum; /* of all values, weighed by their place */
	int refuse;   /* what section 1 is answered with */
};

static int on_header(void *arg, const char *model, struct uvfio_error *err)
{
	struct got *got = arg;

	snprintf(got->model, sizeof(got->model), "%s", model);
	return 0;
}

static int on_section(void *arg, struct mig_section *s, struct uvfio_error *err)
{
	struct got *got = arg;

	assert_int_equal(s->number, got->sections);
	if (got->refuse && s->number == 1)
		return uvfio_error_set(err, got->refuse, "section 1 is not wanted");
	got->sections++;
	while (mig_left_bytes(&s->in))
		got->sum = got->sum * 31 + mig_get_u8(&s->in);
	assert_false(s->in.bad);
	return 0;
}

static const struct mig_reader_ops ops = {on_header, on_section};

/* Three sections, one of them empty. */
static void write_stream(struct mig_buf *buf)
{
	struct mig_writer w;

	mig_buf_init(buf, 1 << 20);
	mig_writer_init(&w, buf, "nvme");
	mig_section_begin(&w, NVCT, 1);
	mig_put_u8(buf, 1);
	mig_put_u16(buf, 0x0203);
	mig_put_u32(buf, 0x04050607);
	mig_put_u64(buf, 0x08090a0b0c0d0e0full);
	mig_section_end(&w);
	mig_section_begin(&w, NVCT, 2);
	mig_section_end(&w);
	mig_section_begin(&w, MIG_TAG('D', 'A', 'T', 'A'), 1);
	for (unsigned i = 0; i < 1000; i++)
		mig_put_u16(buf, (uint16_t)i);
	mig_section_end(&w);
	assert_int_equal(mig_writer_end(&w), 0);
}

static int read_pieces(const uint8_t *bytes, size_t len, size_t piece, struct got *got,
		       struct uvfio_error *err)
{
	struct mig_reader *r = mig_reader_new(&ops, got);
	int ret = 0;

	assert_non_null(r);
	for (size_t at = 0; at < len && !ret; at += piece)
		ret = mig_reader_feed(r, bytes + at, piece < len - at ? piece : len - at, err);
	if (ret) {
		struct uvfio_error again;

		assert_int_equal(mig_reader_feed(r, bytes, len, &again), ret);
		assert_string_equal(again.msg, err->msg);
		assert_int_equal(mig_reader_end(r, &again), ret);
		assert_string_equal(again.msg, err->msg);
	} else {
		ret = mig_reader_end(r, err);
	}
	mig_reader_free(r);
	return ret;
}

static void comes_back_in_any_pieces(void **state)
{
	static const size_t pieces[] = {1, 2, 3, 7, 8, 31, 32, 33, 64, 65, 4096, 1 << 20};
	struct got first = {0};
	struct uvfio_error err;
	struct mig_buf buf;

	write_stream(&buf);
	assert_int_equal(buf.len, 64 + (32 + 15 + 8) + (32 + 8) + (32 + 2000 + 8) + (32 + 16 + 8));
	assert_int_equal(buf.bytes[64 + 32], 1); /* little-endian */
	assert_int_equal(buf.bytes[64 + 33], 3);
	assert_int_equal(buf.bytes[64 + 34], 2);
	for (unsigned i = 0; i < sizeof(pieces) / sizeof(pieces[0]); i++) {
		struct got got = {0};

		assert_int_equal(read_pieces(buf.bytes, buf.len, pieces[i], &got, &err), 0);
		assert_string_equal(got.model, "nvme");
		assert_int_equal(got.sections, 3);
		if (!i)
			first = got;
		assert_int_equal(got.sum, first.sum);
	}
	assert_true(first.sum);
	mig_buf_fini(&buf);
}

static void every_cut_is_found(void **state)
{
	struct uvfio_error err;
	struct mig_buf buf;

	write_stream(&buf);
	for (size_t len = 0; len < buf.len; len++) {
		struct got got = {0};

		assert_int_equal(read_pieces(buf.bytes, len, 61, &got, &err), -EINVAL);
		assert_non_null(strstr(err.msg, "was cut"));
	}
	mig_buf_fini(&buf);
}

static void every_bit_counts(void **state)
{
	struct uvfio_error err;
	struct mig_buf buf;

	write_stream(&buf);
	for (size_t bit = 0; bit < buf.len * 8; bit++) {
		struct got got = {0};

		buf.bytes[bit / 8] ^= 1u << bit % 8;
		assert_int_equal(read_pieces(buf.bytes, buf.len, 4096, &got, &err), -EINVAL);
		buf.bytes[bit / 8] ^= 1u << bit % 8;
	}
	mig_buf_fini(&buf);
}

static void order_and_number_count(void **state)
{
	const size_t one = 64, two = one + 55, three = two + 40, end = three + 2040;
	struct got got = {0};
	struct uvfio_error err;
	struct mig_buf buf;
	uint8_t *bytes;
	size_t len = 0;

	write_stream(&buf);
	bytes = malloc(buf.len * 2);
	assert_non_null(bytes);
#define TAKE(from, to)                                                                             \
	do {                                                                                       \
		memcpy(bytes + len, buf.bytes + (from), (to) - (from));                            \
		len += (to) - (from);                                                              \
	} while (0)
	/* Two sections in each other's place. */
	TAKE(0, one);
	TAKE(two, three);
	TAKE(one, two);
	TAKE(three, buf.len);
	assert_int_equal(read_pieces(bytes, len, 100, &got, &err), -EINVAL);
	assert_string_equal(err.msg, "section 1 (NVCT) comes where 0 was to come");
	assert_int_equal(got.sections, 0);
	/* One is missing. */
	len = 0;
	TAKE(0, two);
	TAKE(three, buf.len);
	assert_int_equal(read_pieces(bytes, len, 100, &got, &err), -EINVAL);
	/* The end comes early. */
	len = 0;
	TAKE(0, three);
	TAKE(end, buf.len);
	got = (struct got){0};
	assert_int_equal(read_pieces(bytes, len, 100, &got, &err), -EINVAL);
	/* It goes on. */
	len = 0;
	TAKE(0, buf.len);
	TAKE(0, one);
	got = (struct got){0};
	assert_int_equal(read_pieces(bytes, len, 100, &got, &err), -EINVAL);
	assert_string_equal(err.msg, "there are bytes behind the end of the stream");
	free(bytes);
	mig_buf_fini(&buf);
}

static void same_contents_elsewhere_are_found(void **state)
{
	struct mig_writer w;
	struct mig_buf buf;
	struct got got = {0};
	struct uvfio_error err;
	uint8_t swap[4 + 8];

	/* Two sections that differ in their contents only: contents and checksum change places. */
	mig_buf_init(&buf, 4096);
	mig_writer_init(&w, &buf, "nvme");
	for (uint32_t i = 0; i < 2; i++) {
		mig_section_begin(&w, NVCT, 1);
		mig_put_u32(&buf, i);
		mig_section_end(&w);
	}
	assert_int_equal(mig_writer_end(&w), 0);
	memcpy(swap, buf.bytes + 64 + 32, 12);
	memcpy(buf.bytes + 64 + 32, buf.bytes + 64 + 44 + 32, 12);
	memcpy(buf.bytes + 64 + 44 + 32, swap, 12);
	assert_int_equal(read_pieces(buf.bytes, buf.len, 4096, &got, &err), -EINVAL);
	assert_string_equal(err.msg, "section 0 (NVCT) was damaged");
	mig_buf_fini(&buf);
}

static void refusals_stay(void **state)
{
	struct got got = {.refuse = -EOPNOTSUPP};
	struct uvfio_error err;
	struct mig_buf buf;

	write_stream(&buf);
	assert_int_equal(read_pieces(buf.bytes, buf.len, 10, &got, &err), -EOPNOTSUPP);
	assert_string_equal(err.msg, "section 1 is not wanted");
	assert_int_equal(got.sections, 1);
	mig_buf_fini(&buf);
}

static void what_does_not_fit_is_said(void **state)
{
	static const uint8_t zeros[4096];
	struct mig_writer w;
	struct mig_buf buf;

	mig_buf_init(&buf, 100);
	mig_writer_init(&w, &buf, "nvme");
	mig_section_begin(&w, NVCT, 1);
	mig_put(&buf, zeros, 5);
	mig_section_end(&w);
	assert_int_equal(buf.error, -E2BIG);
	assert_int_equal(mig_writer_end(&w), -E2BIG);
	mig_buf_fini(&buf);

	/* A section that is too long. */
	mig_buf_init(&buf, 2 * MIG_SECTION_BYTES_MAX);
	mig_writer_init(&w, &buf, "nvme");
	mig_section_begin(&w, NVCT, 1);
	for (size_t at = 0; at <= MIG_SECTION_BYTES_MAX; at += sizeof(zeros))
		mig_put(&buf, zeros, sizeof(zeros));
	mig_section_end(&w);
	assert_int_equal(mig_writer_end(&w), -E2BIG);
	mig_buf_fini(&buf);
}

/* A stream of one section of @tag and an end that says what is given. */
static int read_with_end(uint32_t tag, uint32_t version, uint64_t sections, uint64_t bytes)
{
	struct uvfio_error err = {""};
	struct got got = {.refuse = 0};
	struct mig_writer w;
	struct mig_buf buf;
	int ret;

	mig_buf_init(&buf, 1 << 20);
	mig_writer_init(&w, &buf, "nvme");
	mig_section_begin(&w, tag, 1);
	mig_put_u32(&buf, 1);
	mig_section_end(&w);
	mig_section_begin(&w, MIG_TAG_END, version);
	mig_put_u64(&buf, sections);
	mig_put_u64(&buf, bytes);
	mig_section_end(&w);
	assert_int_equal(buf.error, 0);
	ret = read_pieces(buf.bytes, buf.len, buf.len, &got, &err);
	assert_int_equal(!ret, !err.msg[0]);
	mig_buf_fini(&buf);
	return ret;
}

/* All sums are right, and it is wrong all the same. */
static void made_by_hand(void **state)
{
	assert_int_equal(read_with_end(NVCT, 1, 1, 4), 0);
	assert_int_equal(read_with_end(NVCT, 1, 2, 4), -EINVAL);
	assert_int_equal(read_with_end(NVCT, 1, 0, 4), -EINVAL);
	assert_int_equal(read_with_end(NVCT, 1, 1, 5), -EINVAL);
	assert_int_equal(read_with_end(NVCT, 2, 1, 4), -EINVAL);
	assert_int_equal(read_with_end(MIG_TAG('N', 'V', '\n', 'T'), 1, 1, 4), -EINVAL);
}

static void values_end_with_the_section(void **state)
{
	const uint8_t bytes[] = {1, 2, 3, 4, 5};
	struct mig_in in = {bytes, bytes + sizeof(bytes), false};

	assert_int_equal(mig_get_u32(&in), 0x04030201);
	assert_int_equal(mig_left_bytes(&in), 1);
	assert_int_equal(mig_get_u16(&in), 0);
	assert_true(in.bad);
	assert_int_equal(mig_get_u8(&in), 0); /* nothing more, though there would be room */
	assert_null(mig_get(&in, 0));
}

static void bytes_go_at_the_front(void **state)
{
	struct mig_buf buf;

	mig_buf_init(&buf, 8);
	mig_put(&buf, "abcdefgh", 8);
	mig_buf_drop(&buf, 5);
	mig_put(&buf, "ijklm", 5);
	assert_int_equal(buf.error, 0);
	assert_int_equal(buf.len, 8);
	assert_memory_equal(buf.bytes, "fghijklm", 8);
	mig_put(&buf, "n", 1);
	assert_int_equal(buf.error, -E2BIG);
	mig_buf_fini(&buf);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(comes_back_in_any_pieces),
		cmocka_unit_test(every_cut_is_found),
		cmocka_unit_test(every_bit_counts),
		cmocka_unit_test(order_and_number_count),
		cmocka_unit_test(same_contents_elsewhere_are_found),
		cmocka_unit_test(refusals_stay),
		cmocka_unit_test(what_does_not_fit_is_said),
		cmocka_unit_test(made_by_hand),
		cmocka_unit_test(values_end_with_the_section),
		cmocka_unit_test(bytes_go_at_the_front),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
