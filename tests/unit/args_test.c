/* SPDX-License-Identifier: BSD-3-Clause */
/* error.c and args.c: messages and the options of a device. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>
#include <uvfio/device.h>

#define ARGS(...)                                                                                  \
	(&(struct uvfio_args){(const struct uvfio_option[]){__VA_ARGS__},                          \
			      sizeof((const struct uvfio_option[]){__VA_ARGS__}) /                 \
				      sizeof(struct uvfio_option)})

static void error_formats_and_returns_code(void **state)
{
	struct uvfio_error err;
	char long_text[1000];

	assert_int_equal(uvfio_error_set(&err, -EINVAL, "%s is %d", "x", 7), -EINVAL);
	assert_string_equal(err.msg, "x is 7");
	assert_int_equal(uvfio_error_set(NULL, -EIO, "%d", 1), -EIO);
	memset(long_text, 'a', sizeof(long_text));
	long_text[sizeof(long_text) - 1] = '\0';
	uvfio_error_set(&err, 0, "%s", long_text);
	assert_int_equal(strlen(err.msg), sizeof(err.msg) - 1);
}

static void last_value_wins(void **state)
{
	const struct uvfio_args *args = ARGS({"a", "1"}, {"b", "2"}, {"a", "3"});

	assert_string_equal(uvfio_arg(args, "a"), "3");
	assert_string_equal(uvfio_arg(args, "b"), "2");
	assert_null(uvfio_arg(args, "c"));
	assert_null(uvfio_arg(&(struct uvfio_args){0}, "a"));
}

static void sizes(void **state)
{
	static const struct {
		const char *text;
		int rc;
		uint64_t value;
	} rows[] = {
		{"0", 0, 0},
		{"1", 0, 1},
		{"4K", 0, 4096},
		{"4k", 0, 4096},
		{"3M", 0, 3u << 20},
		{"2G", 0, 2ull << 30},
		{"1T", 0, 1ull << 40},
		{"0x1000", 0, 4096},
		{"0x10K", 0, 16384},
		{"18446744073709551615", 0, UINT64_MAX},
		{"18446744073709551616", -EINVAL, 0},
		{"16777215T", 0, 16777215ull << 40},
		{"16777216T", -EINVAL, 0},
		{"", -EINVAL, 0},
		{"K", -EINVAL, 0},
		{"0x", -EINVAL, 0},
		{"-1", -EINVAL, 0},
		{" 1", -EINVAL, 0},
		{"1 ", -EINVAL, 0},
		{"1KB", -EINVAL, 0},
		{"1.5G", -EINVAL, 0},
		{"12a", -EINVAL, 0},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		const struct uvfio_args *args = ARGS({"size", rows[i].text});
		struct uvfio_error err = {0};
		uint64_t out = 42;

		assert_int_equal(uvfio_arg_size(args, "size", &out, &err), rows[i].rc);
		assert_int_equal(out, rows[i].rc ? 42 : rows[i].value);
		if (rows[i].rc) {
			assert_non_null(strstr(err.msg, "size="));
			assert_non_null(strstr(err.msg, rows[i].text));
		}
	}
}

static void numbers_are_checked_against_their_range(void **state)
{
	struct uvfio_error err;
	uint64_t out = 9;

	assert_int_equal(uvfio_arg_uint(ARGS({"n", "5"}), "n", 1, 5, &out, &err), 0);
	assert_int_equal(out, 5);
	assert_int_equal(uvfio_arg_uint(ARGS({"n", "6"}), "n", 1, 5, &out, &err), -EINVAL);
	assert_string_equal(err.msg, "n=6: out of range; give a number from 1 to 5");
	assert_int_equal(uvfio_arg_uint(ARGS({"n", "0"}), "n", 1, 5, &out, &err), -EINVAL);
	assert_int_equal(uvfio_arg_uint(ARGS({"n", "5K"}), "n", 1, 5, &out, &err), -EINVAL);
	assert_string_equal(err.msg, "n=5K: not a number; give one from 1 to 5");
	assert_int_equal(uvfio_arg_uint(ARGS({"m", "x"}), "n", 1, 5, &out, &err), 0);
	assert_int_equal(out, 5);
}

static void booleans(void **state)
{
	struct uvfio_error err;
	bool out = false;

	assert_int_equal(uvfio_arg_bool(ARGS({"d", "on"}), "d", &out, &err), 0);
	assert_true(out);
	assert_int_equal(uvfio_arg_bool(ARGS({"d", "maybe"}), "d", &out, &err), -EINVAL);
	assert_true(out);
	assert_string_equal(err.msg, "d=maybe: give d=on or d=off");
	assert_int_equal(uvfio_arg_bool(ARGS({"d", "off"}), "d", &out, &err), 0);
	assert_false(out);
	assert_int_equal(uvfio_arg_bool(ARGS({"e", "on"}), "d", &out, &err), 0);
	assert_false(out);
}

static void times(void **state)
{
	static const struct {
		const char *text;
		int rc;
		uint64_t value;
		const char *says;
	} rows[] = {
		{"0", 0, 0, ""},
		{"0s", 0, 0, ""},
		{"7ns", 0, 7, ""},
		{"10us", 0, 10000, ""},
		{"1ms", 0, 1000000, ""},
		{"0x10us", 0, 16000, ""},
		{"2s", 0, 2000000000, ""},
		{"2001ms", -EINVAL, 0, "delay=2001ms: out of range; give a time from 0s to 2s"},
		{"18446744073709551615s", -EINVAL, 0, "out of range"},
		{"18446744073709551616ns", -EINVAL, 0, "out of range"},
		{"5", -EINVAL, 0, "delay=5: not a time; give a number with ns, us, ms or s"},
		{"us", -EINVAL, 0, "not a time"},
		{"", -EINVAL, 0, "not a time"},
		{"-1us", -EINVAL, 0, "not a time"},
		{"1 us", -EINVAL, 0, "not a time"},
		{"1.5us", -EINVAL, 0, "not a time"},
		{"1m", -EINVAL, 0, "not a time"},
	};
	struct uvfio_error err;
	uint64_t v;

	for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		const struct uvfio_args *args = ARGS({"delay", rows[i].text});

		v = 42;
		err.msg[0] = 0;
		assert_int_equal(uvfio_arg_time(args, "delay", 0, 2000000000, &v, &err),
				 rows[i].rc);
		assert_int_equal(v, rows[i].rc ? 42 : rows[i].value);
		assert_non_null(strstr(err.msg, rows[i].says));
	}
	assert_int_equal(uvfio_arg_time(ARGS({"delay", "99us"}), "delay", 100000, 1500, &v, &err),
			 -EINVAL);
	assert_non_null(strstr(err.msg, "from 100us to 1500ns"));
	v = 42;
	assert_int_equal(uvfio_arg_time(ARGS({"a", "1s"}), "b", 0, 9, &v, &err), 0);
	assert_int_equal(v, 42);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(error_formats_and_returns_code),
		cmocka_unit_test(last_value_wins),
		cmocka_unit_test(sizes),
		cmocka_unit_test(times),
		cmocka_unit_test(numbers_are_checked_against_their_range),
		cmocka_unit_test(booleans),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
