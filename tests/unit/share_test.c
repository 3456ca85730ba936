/* SPDX-License-Identifier: BSD-3-Clause */
/* src/uapi/share.c: what one process's slow requests may cost others. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <linux/seccomp.h>
#include <cmocka.h>
#include "uapi/share.h"

#define MAX 1000u

static unsigned nr_alive;

/* Those with the first numbers live. */
static bool alive(void *arg, const struct seccomp_notif *notif)
{
	return notif->id < nr_alive;
}

static struct uapi_shares *make(void)
{
	struct uapi_shares *shares =
		uapi_shares_new(MAX, sizeof(struct seccomp_notif), alive, NULL);

	assert_non_null(shares);
	nr_alive = ~0u;
	return shares;
}

/* How many slow requests @pid gets, when it asks for ever more. */
static unsigned fill(struct uapi_shares *shares, pid_t pid)
{
	struct seccomp_notif notif = {.id = 0};
	unsigned n = 0;

	while (!uapi_shares_crowded(shares) || !uapi_shares_put_aside(shares, pid, &notif)) {
		assert_true(uapi_shares_charge(shares, pid));
		n++;
	}
	return n;
}

static void one_process_has_a_share(void **state)
{
	struct uapi_shares *shares = make();
	struct seccomp_notif notif = {.id = 7};
	unsigned n = fill(shares, 1);
	pid_t pid;

	assert_int_equal(n, 32);
	/* Others are not concerned. */
	assert_false(uapi_shares_put_aside(shares, 2, &notif));
	/* The first that was put aside goes when one is done, and not before. */
	assert_true(uapi_shares_put_aside(shares, 1, &notif));
	assert_false(uapi_shares_take(shares, &notif, &pid));
	uapi_shares_discharge(shares, 1);
	assert_true(uapi_shares_take(shares, &notif, &pid));
	assert_int_equal(pid, 1);
	assert_int_equal(notif.id, 0);
	assert_false(uapi_shares_take(shares, &notif, &pid));
	uapi_shares_discharge(shares, 1);
	assert_true(uapi_shares_take(shares, &notif, &pid));
	assert_int_equal(notif.id, 7);
	while (n--)
		uapi_shares_discharge(shares, 1);
	assert_false(uapi_shares_crowded(shares));
	uapi_shares_free(shares);
}

static void many_processes_leave_something(void **state)
{
	struct uapi_shares *shares = make();
	struct seccomp_notif notif = {.id = 0};
	unsigned all = 0;

	for (pid_t pid = 1; pid <= 300; pid++) {
		unsigned n = fill(shares, pid);

		assert_true(n > 0);
		all += n;
	}
	assert_true(all < MAX);
	assert_false(uapi_shares_put_aside(shares, 301, &notif));
	uapi_shares_free(shares);
}

static void the_whole_is_bounded(void **state)
{
	struct uapi_shares *shares = make();
	struct seccomp_notif notif = {.id = 0};
	unsigned all = 0;
	pid_t pid;

	for (pid = 1; pid <= (pid_t)MAX + 10; pid++)
		all += fill(shares, pid);
	assert_int_equal(all, MAX);
	/* Whoever is done makes room for whoever has nothing. */
	uapi_shares_discharge(shares, 1);
	while (uapi_shares_take(shares, &notif, &pid))
		;
	assert_true(uapi_shares_crowded(shares));
	uapi_shares_free(shares);
}

static void the_dead_are_forgotten(void **state)
{
	struct uapi_shares *shares = make();
	struct seccomp_notif notif = {.id = 0};
	unsigned n = fill(shares, 1), taken = 0;
	pid_t pid;

	/* fill() has put aside number 0; it and 1 to 9 live. */
	nr_alive = 10;
	for (notif.id = 1; notif.id < 100000; notif.id++)
		assert_true(uapi_shares_put_aside(shares, 1, &notif));
	while (n--)
		uapi_shares_discharge(shares, 1);
	while (uapi_shares_take(shares, &notif, &pid)) {
		uapi_shares_discharge(shares, pid);
		assert_true(taken >= 10 || notif.id == taken);
		taken++;
	}
	assert_in_range(taken, 10, 2048);
	uapi_shares_free(shares);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(one_process_has_a_share),
		cmocka_unit_test(many_processes_leave_something),
		cmocka_unit_test(the_whole_is_bounded),
		cmocka_unit_test(the_dead_are_forgotten),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
