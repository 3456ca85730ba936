/* SPDX-License-Identifier: BSD-3-Clause */
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>
#include <cmocka.h>
#include "base/log.h"

static int log_fd;

static int setup(void **state)
{
	log_fd = memfd_create("log", MFD_CLOEXEC);
	return log_fd < 0;
}

static int teardown(void **state)
{
	return close(log_fd);
}

static char *contents(struct uvfio_log *log)
{
	char *text;
	off_t size;

	uvfio_log_flush(log);
	size = lseek(log_fd, 0, SEEK_END);
	text = calloc(1, size + 1);
	assert_non_null(text);
	assert_int_equal(pread(log_fd, text, size, 0), size);
	return text;
}

static void line_holds_level_and_text(void **state)
{
	struct uvfio_log *log = uvfio_log_new(log_fd, UVFIO_LOG_WARN);
	char *text;

	uvfio_log(log, UVFIO_LOG_WARN, "slot %d\n", 3);
	uvfio_log(log, UVFIO_LOG_INFO, "not this");
	uvfio_log(NULL, UVFIO_LOG_ERROR, "nor this");
	assert_true(uvfio_log_wants(log, UVFIO_LOG_ERROR));
	assert_false(uvfio_log_wants(log, UVFIO_LOG_INFO));
	assert_false(uvfio_log_wants(NULL, UVFIO_LOG_ERROR));
	text = contents(log);
	assert_string_equal(text, "uvfio: warning: slot 3\n");
	free(text);
	uvfio_log_free(log);
}

static void hostile_text_makes_no_lines(void **state)
{
	struct uvfio_log *log = uvfio_log_new(log_fd, UVFIO_LOG_DEBUG);
	char *text;

	uvfio_log(log, UVFIO_LOG_ERROR, "name %s", "a\nuvfio: error: b\x1b[2J\x7f");
	text = contents(log);
	assert_string_equal(text, "uvfio: error: name a\\x0auvfio: error: b\\x1b[2J\\x7f\n");
	free(text);
	uvfio_log_free(log);
}

static void long_text_is_cut(void **state)
{
	struct uvfio_log *log = uvfio_log_new(log_fd, UVFIO_LOG_DEBUG);
	char big[5000], *text;

	memset(big, '\x01', sizeof(big));
	big[sizeof(big) - 1] = '\0';
	uvfio_log(log, UVFIO_LOG_ERROR, "%s", big);
	memset(big, 'z', sizeof(big) - 1);
	uvfio_log(log, UVFIO_LOG_ERROR, "%s", big);
	text = contents(log);
	assert_true(strlen(text) <= 2048);
	assert_non_null(strstr(text, "\\x01…\n"));
	assert_non_null(strstr(text, "z…\n"));
	free(text);
	uvfio_log_free(log);
}

#define LINES   500
#define WRITERS 4

static void *writer(void *arg)
{
	for (int i = 0; i < LINES; i++) {
		uvfio_log(arg, UVFIO_LOG_INFO, "%040d|%040d", i, i);
		if (i % 50 == 49) /* nothing is to be dropped here */
			uvfio_log_flush(arg);
	}
	return NULL;
}

static void lines_of_threads_do_not_mix(void **state)
{
	struct uvfio_log *log = uvfio_log_new(log_fd, UVFIO_LOG_INFO);
	pthread_t threads[WRITERS];
	char *text, *line, *save;
	int lines = 0;

	for (int i = 0; i < WRITERS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, writer, log), 0);
	for (int i = 0; i < WRITERS; i++)
		pthread_join(threads[i], NULL);
	text = contents(log);
	for (line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		int a = -1, b = -2;

		assert_int_equal(sscanf(line, "uvfio: info: %d|%d", &a, &b), 2);
		assert_int_equal(a, b);
		lines++;
	}
	assert_int_equal(lines, LINES * WRITERS);
	free(text);
	uvfio_log_free(log);
}

static void ratelimit_counts_what_it_drops(void **state)
{
	struct uvfio_ratelimit rl = {0};
	struct timespec ts = {0, 30 * 1000 * 1000};
	unsigned lost, passed = 0;

	for (int i = 0; i < 100; i++)
		passed += uvfio_ratelimit_ok(&rl, 5, 3600 * 1000, &lost);
	assert_int_equal(passed, 5);
	/* What is awaited here is time itself. */
	nanosleep(&ts, NULL);
	assert_true(uvfio_ratelimit_ok(&rl, 5, 10, &lost));
	assert_int_equal(lost, 95);
	assert_true(uvfio_ratelimit_ok(&rl, 5, 3600 * 1000, &lost));
	assert_int_equal(lost, 0);
}

/* Whoever logs goes on while nobody reads, and what was lost is counted. */
static void a_stalled_reader_stops_nobody(void **state)
{
	enum { MANY = 3000 };
	unsigned long long lost = 0, seen = 0, next = 0, number, told;
	struct uvfio_log *log;
	char *line = NULL;
	size_t size = 0;
	int fds[2];
	FILE *f;

	assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
	log = uvfio_log_new(fds[1], UVFIO_LOG_INFO);
	/* More than pipe and queue hold: each would block for ever. */
	for (int i = 0; i < MANY; i++)
		uvfio_log(log, UVFIO_LOG_INFO, "%0100d", i);
	f = fdopen(fds[0], "r");
	assert_non_null(f);
	/* A notice comes behind what was kept; there are several when the writer had a late start.
	 */
	while (lost + seen < MANY) {
		assert_true(getline(&line, &size, f) > 0);
		if (sscanf(line, "uvfio: warning: %llu lines were dropped", &told) == 1) {
			lost += told;
		} else {
			number = strtoull(strrchr(line, ' '), NULL, 10);
			assert_true(number >= next);
			next = number + 1;
			seen++;
		}
	}
	assert_true(lost > 0);
	assert_int_equal(lost + seen, MANY);
	/* And then as ever. */
	uvfio_log(log, UVFIO_LOG_INFO, "again");
	assert_true(getline(&line, &size, f) > 0);
	assert_string_equal(line, "uvfio: info: again\n");
	free(line);
	uvfio_log_free(log);
	close(fds[1]);
	fclose(f);
}

/* Nor the end. */
static void a_stalled_reader_does_not_keep_the_logger(void **state)
{
	struct uvfio_log *log;
	int fds[2];

	assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
	log = uvfio_log_new(fds[1], UVFIO_LOG_INFO);
	for (int i = 0; i < 2000; i++)
		uvfio_log(log, UVFIO_LOG_INFO, "%0100d", i);
	uvfio_log_free(log);
	close(fds[0]); /* the other end is still being written to */
}

static void a_reader_that_left_is_no_signal(void **state)
{
	struct uvfio_log *log;
	int fds[2];

	assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
	log = uvfio_log_new(fds[1], UVFIO_LOG_INFO);
	close(fds[0]);
	uvfio_log(log, UVFIO_LOG_INFO, "nobody");
	uvfio_log_flush(log);
	uvfio_log_free(log);
	close(fds[1]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(line_holds_level_and_text, setup, teardown),
		cmocka_unit_test_setup_teardown(hostile_text_makes_no_lines, setup, teardown),
		cmocka_unit_test_setup_teardown(long_text_is_cut, setup, teardown),
		cmocka_unit_test_setup_teardown(lines_of_threads_do_not_mix, setup, teardown),
		cmocka_unit_test(a_stalled_reader_stops_nobody),
		cmocka_unit_test(a_stalled_reader_does_not_keep_the_logger),
		cmocka_unit_test(a_reader_that_left_is_no_signal),
		cmocka_unit_test(ratelimit_counts_what_it_drops),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
