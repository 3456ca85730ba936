/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The configuration file of `uvfio serve`: what it says is what devices get, all of it or nothing,
 * whichever allocation fails.
 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>
#include "cli/cli.h"
#include "cli/serve_config.h"
#include "devices/models.h"
#include "serve/spec.h"

const struct uvfio_model *const device_models[] = {NULL};

unsigned device_nr_models(void)
{
	return 0;
}

/* ---- allocations ---- */

/* The one that fails counts down to 0; negative: none does. */
static int countdown = -1;
static bool has_failed;

static bool fails(void)
{
	if (countdown < 0 || countdown--)
		return false;
	has_failed = true;
	errno = ENOMEM;
	return true;
}

void *__real_malloc(size_t size);
void *__real_calloc(size_t nr, size_t size);
void *__real_realloc(void *p, size_t size);
char *__real_strdup(const char *text);
char *__real_strndup(const char *text, size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t nr, size_t size);
void *__wrap_realloc(void *p, size_t size);
char *__wrap_strdup(const char *text);
char *__wrap_strndup(const char *text, size_t size);

void *__wrap_malloc(size_t size)
{
	return fails() ? NULL : __real_malloc(size);
}

void *__wrap_calloc(size_t nr, size_t size)
{
	return fails() ? NULL : __real_calloc(nr, size);
}

void *__wrap_realloc(void *p, size_t size)
{
	return fails() ? NULL : __real_realloc(p, size);
}

char *__wrap_strdup(const char *text)
{
	return fails() ? NULL : __real_strdup(text);
}

char *__wrap_strndup(const char *text, size_t size)
{
	return fails() ? NULL : __real_strndup(text, size);
}

/* ---- */

static char path[] = "/tmp/uvfio-serve-config.XXXXXX";

static void write_file(const char *text)
{
	int fd = open(path, O_WRONLY | O_TRUNC | O_CLOEXEC);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
	close(fd);
}

/* Read the file and its devices. */
static int read_all(struct serve_options *o, struct serve_devices *devices, struct uvfio_error *err)
{
	int ret;

	serve_options_init(o);
	*devices = (struct serve_devices){0};
	ret = serve_option_config(o, path, err);
	return ret ? ret : o->config.load(o->config.load_arg, devices, err);
}

/* Longer than one allocation takes, and dangerous without its end. */
#define LONG_NAME                                                                                  \
	"a-name-that-is-long-enough-for-the-text-to-be-made-larger-several-times-"                 \
	"a-name-that-is-long-enough-for-the-text-to-be-made-larger-several-times-"                 \
	"a-name-that-is-long-enough-for-the-text-to-be-made-larger-several-times-"                 \
	"a-name-that-is-long-enough-for-the-text-to-be-made-larger-several-times"

static void all_or_nothing(void **state)
{
	static const char *const expect[] = {
		"nvme,socket=a.sock,file=" LONG_NAME ",queues=7,readonly=on",
		"nvme,file=b,,c,socket=b.sock",
		"nvme,ns=file=x,ns=memory=1M,socket=c.sock",
	};
	struct serve_devices devices;
	struct uvfio_error err;
	struct serve_options o;
	unsigned nr_failures = 0;
	int ret;

	write_file("{\"machine\": \"m\", \"user\": \"u\", \"control\": \"c\", \"device\": ["
		   "{\"model\": \"nvme\", \"socket\": \"a.sock\", \"file\": \"" LONG_NAME
		   "\", \"queues\": 7, \"readonly\": true},"
		   "\"nvme,file=b,,c,socket=b.sock\","
		   "{\"model\": \"nvme\", \"ns\": [\"file=x\", \"memory=1M\"], \"socket\": "
		   "\"c.sock\"}]}");
	for (int at = 0;; at++) {
		err = (struct uvfio_error){""};
		has_failed = false;
		countdown = at;
		ret = read_all(&o, &devices, &err);
		countdown = -1;
		if (has_failed) {
			nr_failures++;
			assert_true(ret < 0);
			assert_non_null(strstr(err.msg, "out of memory"));
		}
		/* Also what was made before the failure is right. */
		assert_true(devices.nr <= 3);
		for (unsigned i = 0; i < devices.nr; i++)
			assert_string_equal(devices.list[i].spec, expect[i]);
		serve_devices_fini(&devices);
		serve_options_fini(&o);
		if (!has_failed)
			break;
		assert_true(at < 1000);
	}
	assert_int_equal(ret, 0);
	assert_true(nr_failures > 10);
}

/* A device's options, and what is asked of them: refused when in doubt. */
static void in_doubt_it_is_not_opened(void **state)
{
	static const char text[] = "nvme,ns=file=/a:readonly=on,ns=file=/b,socket=/s";
	struct uvfio_error err;
	struct serve_spec spec;
	int ret;

	for (int at = 0;; at++) {
		has_failed = false;
		countdown = at;
		assert_false(serve_spec_names(text, "/a", true));
		countdown = -1;
		if (!has_failed)
			break;
	}
	for (int at = 0;; at++) {
		has_failed = false;
		err = (struct uvfio_error){""};
		countdown = at;
		ret = serve_spec_parse(text, &spec, &err);
		countdown = -1;
		serve_spec_fini(&spec);
		if (!has_failed)
			break;
		assert_int_equal(ret, -ENOMEM);
		assert_non_null(strstr(err.msg, "out of memory"));
	}
	assert_int_equal(ret, 0);
}

static void an_empty_model_is_said(void **state)
{
	struct uvfio_error err = {""};
	struct serve_devices devices;
	struct serve_options o;

	write_file("{\"device\": [{\"model\": \"\"}]}");
	assert_int_equal(read_all(&o, &devices, &err), -EINVAL);
	assert_non_null(strstr(err.msg, "line 1: its \"model\" is empty"));
	serve_devices_fini(&devices);
	serve_options_fini(&o);
}

static int make_file(void **state)
{
	int fd = mkstemp(path);

	return fd < 0 || close(fd);
}

static int remove_file(void **state)
{
	return unlink(path);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(all_or_nothing),
		cmocka_unit_test(in_doubt_it_is_not_opened),
		cmocka_unit_test(an_empty_model_is_said),
	};

	return cmocka_run_group_tests(tests, make_file, remove_file);
}
