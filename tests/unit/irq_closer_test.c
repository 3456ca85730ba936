/* SPDX-License-Identifier: BSD-3-Clause */
/* Eventfds of which many are replaced at once (A.8): they are closed, if not by the request itself.
 */
#include <dirent.h>
#include <sched.h>
#include <sys/resource.h>
#include <uvfio/device.h>

#include "irq_util.h"

#define VECTORS 256u
#define WAITING 2048u /* that have been replaced and are not closed yet, at most */
#define ROUNDS  20u

struct fixture {
	struct device dev;
	struct uvfio_loop *loop;
	struct uvfio_ctx *ctx;
	struct irq_set *set;
	int efd;
	int32_t fds[VECTORS];
};

static unsigned open_fds(void)
{
	DIR *dir = opendir("/proc/self/fd");
	unsigned n = 0;

	while (readdir(dir))
		n++;
	closedir(dir);
	return n;
}

static void start(struct fixture *f)
{
	struct uvfio_error err;

	f->dev = (struct device){.counts = {1, 32, VECTORS}, .pcie = true, .d0 = true};
	f->loop = uvfio_loop_new("test", &err);
	f->ctx = uvfio_ctx_new(f->loop);
	f->set = irq_set_new(&dev_ops, &f->dev, f->ctx, VECTORS, true);
	assert_non_null(f->set);
	f->efd = make_eventfd();
	for (unsigned i = 0; i < VECTORS; i++)
		f->fds[i] = f->efd;
}

static void stop(struct fixture *f)
{
	irq_set_free(f->set);
	uvfio_ctx_free(f->ctx);
	uvfio_loop_free(f->loop);
	close(f->efd);
}

static void replace_all(struct fixture *f)
{
	assert_int_equal(request(f->set, MSIX, 0, VECTORS, EVENTFD | TRIGGER, f->fds), 0);
}

/* Nobody asks for it. */
static void test_closed_some_time(void **state)
{
	struct fixture f;
	unsigned before;

	start(&f);
	before = open_fds();
	replace_all(&f);
	replace_all(&f);
	while (open_fds() != before + VECTORS)
		sched_yield();
	stop(&f);
}

/* As fast as can be: those that wait are bounded. */
static void test_no_more_than_vectors(void **state)
{
	unsigned before = open_fds(), with_loop;
	struct fixture f;

	start(&f);
	with_loop = open_fds();
	for (unsigned i = 0; i < ROUNDS; i++) {
		replace_all(&f);
		assert_true(open_fds() <= with_loop + WAITING + VECTORS);
	}
	stop(&f);
	assert_int_equal(open_fds(), before);
}

static void test_last_close_waits(void **state)
{
	struct fixture f;
	unsigned before;

	start(&f);
	before = open_fds();
	for (unsigned i = 0; i < 3; i++) {
		replace_all(&f);
		replace_all(&f);
		irq_disable_all(f.set);
		assert_int_equal(open_fds(), before);
	}
	stop(&f);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_closed_some_time),
		cmocka_unit_test(test_no_more_than_vectors),
		cmocka_unit_test(test_last_close_waits),
	};
	struct rlimit limit;

	getrlimit(RLIMIT_NOFILE, &limit);
	limit.rlim_cur = 2 * (WAITING + VECTORS);
	if (setrlimit(RLIMIT_NOFILE, &limit)) {
		fprintf(stderr, "not permitted as many open files\n");
		return 77;
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
