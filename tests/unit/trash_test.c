/* SPDX-License-Identifier: BSD-3-Clause */
/* base/trash.h: what may wait is done elsewhere, in order, and nothing is lost. */
#include "base/trash.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/eventfd.h>
#include <time.h>
#include <cmocka.h>
#include "stalling_file.h"

struct thing {
	struct uvfio_trash_item item;
	unsigned number;
	pthread_t thread;
	unsigned *done;
};

static void note(struct uvfio_trash_item *item)
{
	struct thing *thing = (struct thing *)item;

	thing->thread = pthread_self();
	assert_int_equal((*thing->done)++, thing->number);
}

static void in_order(void **state)
{
	struct uvfio_trash *trash = uvfio_trash_new();
	struct thing things[100];
	unsigned done = 0;

	for (unsigned round = 0; round < 50; round++) {
		done = 0;
		for (unsigned i = 0; i < 100; i++) {
			things[i] = (struct thing){{NULL, note}, i, pthread_self(), &done};
			uvfio_trash_add(trash, &things[i].item);
		}
		uvfio_trash_wait(trash, 0, UVFIO_TRASH_EVER);
		assert_int_equal(done, 100);
		assert_int_equal(uvfio_trash_held(trash), 0);
	}
	uvfio_trash_unref(trash);
}

/* Two ends of a pipe: the write end is closed when nobody is left who could write. */
static void what_is_left_is_done(void **state)
{
	struct uvfio_trash *trash = uvfio_trash_new();
	int ends[2];
	char byte;

	assert_int_equal(pipe(ends), 0);
	assert_false(uvfio_closes_at_once(ends[1]));
	uvfio_trash_close(trash, ends[1]);
	uvfio_trash_unref(trash);
	assert_int_equal(read(ends[0], &byte, 1), 0);
	close(ends[0]);
}

static void at_once(void **state)
{
	struct uvfio_trash *trash = uvfio_trash_new();
	int memory = memfd_create("x", MFD_CLOEXEC);

	assert_true(uvfio_closes_at_once(memory));
	uvfio_trash_close(trash, memory);
	uvfio_trash_close(trash, -1);
	assert_int_equal(uvfio_trash_held(trash), 0);
	assert_int_equal(fcntl(memory, F_GETFD), -1);
	uvfio_trash_unref(trash);
	uvfio_trash_unref(NULL);
	uvfio_trash_wait(NULL, 0, UVFIO_TRASH_EVER);
	assert_int_equal(uvfio_trash_held(NULL), 0);
}

static void stalls_nobody(void **state)
{
	struct stalling_file *f = stalling_file_make(4096, true);
	struct uvfio_trash *trash, *other;
	int fds[3];

	if (!f)
		skip();
	trash = uvfio_trash_new();
	other = uvfio_trash_new();
	for (unsigned i = 0; i < 3; i++)
		fds[i] = open(f->path, O_RDONLY | O_CLOEXEC);
	for (unsigned i = 0; i < 3; i++)
		uvfio_trash_close(trash, fds[i]);
	stalling_file_wait(f);
	assert_int_equal(uvfio_trash_held(trash), 3);
	assert_false(uvfio_trash_wait(trash, 2, 1));
	assert_true(uvfio_trash_wait(trash, 3, UVFIO_TRASH_EVER));
	/* Another's is done meanwhile. */
	uvfio_trash_close(other, open("/", O_RDONLY | O_CLOEXEC));
	uvfio_trash_wait(other, 0, UVFIO_TRASH_EVER);
	uvfio_trash_ref(trash);
	uvfio_trash_unref(trash);
	assert_int_equal(uvfio_trash_held(trash), 3);
	stalling_file_go(f);
	uvfio_trash_wait(trash, 0, UVFIO_TRASH_EVER);
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(fcntl(fds[i], F_GETFD), -1);
	uvfio_trash_unref(trash);
	uvfio_trash_unref(other);
	stalling_file_free(f);
}

static void slowly(struct uvfio_trash_item *item)
{
	nanosleep(&(struct timespec){.tv_nsec = 100000000}, NULL);
}

/* What goes on is waited for, though all of it takes longer than the limit. */
static void slow_is_not_stuck(void **state)
{
	struct uvfio_trash *trash = uvfio_trash_new();
	struct uvfio_trash_item items[8];

	for (unsigned i = 0; i < 8; i++) {
		items[i] = (struct uvfio_trash_item){NULL, slowly};
		uvfio_trash_add(trash, &items[i]);
	}
	assert_true(uvfio_trash_wait(trash, 0, 500));
	uvfio_trash_unref(trash);
}

static void *fill(void *arg)
{
	for (unsigned i = 0; i < 300; i++)
		uvfio_trash_close(arg, open("/", O_RDONLY | O_CLOEXEC));
	return NULL;
}

static void from_several(void **state)
{
	struct uvfio_trash *trash = uvfio_trash_new();
	pthread_t threads[4];

	for (unsigned i = 0; i < 4; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, fill, trash), 0);
	uvfio_trash_wait(trash, 10, UVFIO_TRASH_EVER);
	for (unsigned i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
	uvfio_trash_wait(trash, 0, UVFIO_TRASH_EVER);
	assert_int_equal(uvfio_trash_held(trash), 0);
	uvfio_trash_unref(trash);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(in_order),     cmocka_unit_test(what_is_left_is_done),
		cmocka_unit_test(at_once),      cmocka_unit_test(stalls_nobody),
		cmocka_unit_test(from_several), cmocka_unit_test(slow_is_not_stuck),
	};

	alarm(60);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
