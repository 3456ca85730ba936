/* SPDX-License-Identifier: BSD-3-Clause */
/* Counters, histograms, and how a model reports them. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>
#include "vfio/stats.h"

static void test_buckets(void **state)
{
	uint64_t below = 0;

	for (unsigned i = 0; i < UVFIO_HISTOGRAM_BUCKETS; i++) {
		uint64_t bound = uvfio_histogram_bound(i);

		/* Each begins where the one in front of it ends. */
		assert_int_equal(uvfio_histogram_bucket(below), i);
		assert_int_equal(uvfio_histogram_bucket(bound - 1), i);
		assert_true(bound > below);
		assert_true(bound - below <= 1 || (bound - below) * 8 <= below);
		below = bound;
	}
	assert_int_equal(below, 1ull << UVFIO_HISTOGRAM_MAX);
	assert_int_equal(uvfio_histogram_bucket(below), UVFIO_HISTOGRAM_BUCKETS - 1);
	assert_int_equal(uvfio_histogram_bucket(UINT64_MAX), UVFIO_HISTOGRAM_BUCKETS - 1);
}

static void test_quantile(void **state)
{
	struct uvfio_histogram h = {0};
	struct vfio_histogram r;

	vfio_histogram_read(&h, &r);
	assert_int_equal(r.count, 0);
	assert_int_equal(vfio_histogram_quantile(&r, 0.5), 0);
	for (unsigned i = 1; i <= 1000; i++)
		uvfio_histogram_add_local(&h, i * 1000);
	vfio_histogram_read(&h, &r);
	assert_int_equal(r.count, 1000);
	assert_int_equal(r.sum, 500500000);
	assert_in_range(vfio_histogram_quantile(&r, 0.5), 500000, 500000 + 500000 / 8);
	assert_in_range(vfio_histogram_quantile(&r, 0.99), 990000, 990000 + 990000 / 8);
	assert_in_range(vfio_histogram_quantile(&r, 1), 1000000, 1000000 + 1000000 / 8);
	assert_in_range(vfio_histogram_quantile(&r, 0), 1000, 1000 + 1000 / 8);
}

#define ADDS 20000u

static void *add_many(void *arg)
{
	for (unsigned i = 0; i < ADDS; i++)
		uvfio_histogram_add(arg, i);
	return NULL;
}

static void test_any_thread(void **state)
{
	struct uvfio_histogram h = {0};
	struct vfio_histogram r;
	pthread_t threads[4];

	for (unsigned i = 0; i < 4; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, add_many, &h), 0);
	do
		vfio_histogram_read(&h, &r);
	while (r.count < ADDS);
	for (unsigned i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
	vfio_histogram_read(&h, &r);
	assert_int_equal(r.count, 4 * ADDS);
	assert_int_equal(r.sum, 4ull * (ADDS - 1) * ADDS / 2);
}

struct lines {
	struct uvfio_stats stats;
	char text[1024];
};

static void append(struct uvfio_stats *stats, const struct vfio_stat *stat)
{
	struct lines *lines = (struct lines *)stats;
	size_t len = strlen(lines->text);

	snprintf(lines->text + len, sizeof(lines->text) - len, "%d %s{%s} %llu\n", stat->kind,
		 stat->name, stat->labels, (unsigned long long)stat->value);
}

static void test_report(void **state)
{
	struct lines lines = {.stats.emit = append};
	struct uvfio_histogram h = {0};
	char text[300];

	uvfio_stat_counter(&lines.stats, "commands", "Commands", 7, "queue=%u,op=%s", 1u, "read");
	uvfio_stat_gauge(&lines.stats, "depth", "Depth", 3, NULL);
	uvfio_stat_histogram(&lines.stats, "command_seconds", "Time", &h, "op=%s", "write");
	assert_string_equal(lines.text, "0 commands{queue=1,op=read} 7\n1 depth{} 3\n"
					"2 command_seconds{op=write} 0\n");
	/* A long label is cut, not more. */
	memset(text, 'x', sizeof(text) - 1);
	text[sizeof(text) - 1] = '\0';
	lines.text[0] = '\0';
	uvfio_stat_counter(&lines.stats, "c", "C", 1, "l=%s", text);
	assert_int_equal(strlen(lines.text), strlen("0 c{} 1\n") + VFIO_STAT_LABELS - 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_buckets),
		cmocka_unit_test(test_quantile),
		cmocka_unit_test(test_any_thread),
		cmocka_unit_test(test_report),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
