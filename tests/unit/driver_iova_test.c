/* SPDX-License-Identifier: BSD-3-Clause */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include <errno.h>

#include "driver/iova.h"

#define PAGE 4096ull

static struct drv_iova_token token;

static void test_lowest_fit(void **state)
{
	struct drv_iova iova = {0};
	struct drv_iova_token a = {0}, b = {0};
	uint64_t first;

	assert_int_equal(drv_iova_add(&iova, 0x10000, 0x1ffff), 0);
	assert_int_equal(drv_iova_alloc(&iova, PAGE, PAGE, UINT64_MAX, &first, &a), 0);
	assert_int_equal(first, 0x10000);
	assert_int_equal(drv_iova_alloc(&iova, 2 * PAGE, 4 * PAGE, UINT64_MAX, &first, &b), 0);
	assert_int_equal(first, 0x14000);
	/* The pages that aligning skipped are not lost. */
	assert_int_equal(drv_iova_alloc(&iova, PAGE, PAGE, UINT64_MAX, &first, &token), 0);
	assert_int_equal(first, 0x11000);
	drv_iova_give(&iova, first, PAGE, &token);
	drv_iova_give(&iova, 0x14000, 2 * PAGE, &b);
	drv_iova_give(&iova, 0x10000, PAGE, &a);
	/* All joined again: the whole range in one piece. */
	assert_int_equal(drv_iova_alloc(&iova, 0x10000, PAGE, UINT64_MAX, &first, &token), 0);
	assert_int_equal(first, 0x10000);
	assert_int_equal(drv_iova_alloc(&iova, PAGE, PAGE, UINT64_MAX, &first, &a), -ENOSPC);
	drv_iova_give(&iova, first, 0x10000, &token);
	drv_iova_fini(&iova);
}

static void test_interrupt_window_is_left_out(void **state)
{
	struct drv_iova iova = {0};
	uint64_t first;

	assert_int_equal(drv_iova_add(&iova, 0xfedff000, 0xfef01000 - 1), 0);
	assert_int_equal(drv_iova_take(&iova, 0xfee00000, PAGE, &token), -EADDRINUSE);
	assert_int_equal(drv_iova_take(&iova, 0xfeeff000, PAGE, &token), -EADDRINUSE);
	assert_int_equal(drv_iova_take(&iova, 0xfedff000, 2 * PAGE, &token), -EADDRINUSE);
	assert_int_equal(drv_iova_alloc(&iova, 2 * PAGE, PAGE, UINT64_MAX, &first, &token),
			 -ENOSPC);
	assert_int_equal(drv_iova_take(&iova, 0xfef00000, PAGE, &token), 0);
	drv_iova_give(&iova, 0xfef00000, PAGE, &token);
	drv_iova_fini(&iova);

	/* A range that is nothing but the window is no range. */
	assert_int_equal(drv_iova_add(&iova, 0xfee00000, 0xfeefffff), 0);
	assert_int_equal(drv_iova_alloc(&iova, PAGE, PAGE, UINT64_MAX, &first, &token), -ENOSPC);
}

static void test_limit(void **state)
{
	struct drv_iova iova = {0};
	uint64_t first;

	assert_int_equal(drv_iova_add(&iova, 0xffff0000, UINT64_MAX), 0);
	assert_int_equal(drv_iova_alloc(&iova, 0x20000, PAGE, UINT32_MAX, &first, &token), -ENOSPC);
	assert_int_equal(drv_iova_alloc(&iova, 0x10000, PAGE, UINT32_MAX, &first, &token), 0);
	assert_int_equal(first, 0xffff0000);
	drv_iova_give(&iova, first, 0x10000, &token);
	drv_iova_fini(&iova);
}

static void test_end_of_the_address_space(void **state)
{
	struct drv_iova iova = {0};
	uint64_t first;

	assert_int_equal(drv_iova_add(&iova, UINT64_MAX - 0xfff, UINT64_MAX), 0);
	/* Aligning wraps around: no address. */
	assert_int_equal(drv_iova_alloc(&iova, PAGE, 0x2000, UINT64_MAX, &first, &token), -ENOSPC);
	assert_int_equal(drv_iova_alloc(&iova, PAGE, PAGE, UINT64_MAX, &first, &token), 0);
	assert_int_equal(first, UINT64_MAX - 0xfff);
	drv_iova_give(&iova, first, PAGE, &token);
	assert_int_equal(drv_iova_take(&iova, UINT64_MAX - 0xfff, PAGE, &token), 0);
	drv_iova_give(&iova, UINT64_MAX - 0xfff, PAGE, &token);
	drv_iova_fini(&iova);
}

static void test_ranges_that_overlap_are_refused(void **state)
{
	struct drv_iova iova = {0};

	assert_int_equal(drv_iova_add(&iova, 0x1000, 0x4fff), 0);
	assert_int_equal(drv_iova_add(&iova, 0x4000, 0x8fff), -EINVAL);
	assert_int_equal(drv_iova_add(&iova, 0x0, 0x1000), -EINVAL);
	assert_int_equal(drv_iova_add(&iova, 0x9000, 0x8000), -EINVAL);
	assert_int_equal(drv_iova_add(&iova, 0x5000, 0x5fff), 0);
	drv_iova_fini(&iova);
}

/* Random takes and gives, against a map of pages. */
static void test_against_a_page_map(void **state)
{
	enum { PAGES = 2048, PIECES = 512, ROUNDS = 20000 };
	static uint8_t used[PAGES];
	static struct {
		uint64_t first, pages;
		struct drv_iova_token token;
	} piece[PIECES];
	struct drv_iova iova = {0};
	unsigned seed = 1, taken = 0, full = 0;

	memset(used, 0, sizeof(used));
	memset(piece, 0, sizeof(piece));
	assert_int_equal(drv_iova_add(&iova, 0, PAGES * PAGE - 1), 0);
	for (unsigned round = 0; round < ROUNDS; round++) {
		unsigned i = (unsigned)rand_r(&seed) % PIECES;
		uint64_t first, align = PAGE << (unsigned)rand_r(&seed) % 4;
		int ret;

		if (piece[i].pages) {
			for (uint64_t p = 0; p < piece[i].pages; p++)
				used[piece[i].first / PAGE + p] = 0;
			drv_iova_give(&iova, piece[i].first, piece[i].pages * PAGE,
				      &piece[i].token);
			piece[i].pages = 0;
			continue;
		}
		piece[i].pages = 1 + (unsigned)rand_r(&seed) % 16;
		ret = drv_iova_alloc(&iova, piece[i].pages * PAGE, align, UINT64_MAX, &first,
				     &piece[i].token);
		if (ret) {
			/* There really is none: look at every place. */
			assert_int_equal(ret, -ENOSPC);
			for (uint64_t at = 0; at + piece[i].pages <= PAGES; at += align / PAGE)
				assert_non_null(memchr(used + at, 1, piece[i].pages));
			piece[i].pages = 0;
			full++;
			continue;
		}
		assert_int_equal(first % align, 0);
		/* The lowest place, and free. */
		for (uint64_t at = 0; at < first / PAGE; at += align / PAGE)
			assert_non_null(memchr(used + at, 1, piece[i].pages));
		assert_null(memchr(used + first / PAGE, 1, piece[i].pages));
		memset(used + first / PAGE, 1, piece[i].pages);
		piece[i].first = first;
		taken++;
	}
	assert_true(taken > 1000 && full > 100);
	for (unsigned i = 0; i < PIECES; i++)
		if (piece[i].pages)
			drv_iova_give(&iova, piece[i].first, piece[i].pages * PAGE,
				      &piece[i].token);
	/* One extent again. */
	assert_int_equal(drv_iova_take(&iova, 0, PAGES * PAGE, &token), 0);
	assert_null(iova.free.root);
	drv_iova_give(&iova, 0, PAGES * PAGE, &token);
	drv_iova_fini(&iova);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_lowest_fit),
		cmocka_unit_test(test_interrupt_window_is_left_out),
		cmocka_unit_test(test_limit),
		cmocka_unit_test(test_end_of_the_address_space),
		cmocka_unit_test(test_ranges_that_overlap_are_refused),
		cmocka_unit_test(test_against_a_page_map),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
