/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * cmocka puts a SIGBUS handler of its own in place around each test, which hides that of
 * base/guard.c.  Call guarded_init() in main(), and guarded() first in a test that needs it.
 */
#ifndef TESTS_UNIT_GUARDED_H
#define TESTS_UNIT_GUARDED_H

#include <signal.h>
#include <stdlib.h>
#include "base/guard.h"

static struct sigaction guarded_action;

static inline void guarded_init(void)
{
	if (uvfio_guard_init() || sigaction(SIGBUS, NULL, &guarded_action))
		abort();
}

static inline void guarded(void)
{
	if (sigaction(SIGBUS, &guarded_action, NULL))
		abort();
}

#endif
