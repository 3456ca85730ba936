/* SPDX-License-Identifier: BSD-3-Clause */
/* Delays of which is known how much is left, so that they can go on later, or elsewhere. */
#include <time.h>

#include "devices/ioat/ioat.h"

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000ull + (uint64_t)t.tv_nsec;
}

void ioat_wait_begin(struct ioat_wait *wait, uint64_t ns)
{
	wait->due_ns = now_ns() + ns;
	uvfio_timer_arm(wait->timer, ns);
}

uint64_t ioat_wait_end(struct ioat_wait *wait)
{
	uint64_t due = wait->due_ns, now;

	wait->due_ns = 0;
	uvfio_timer_cancel(wait->timer);
	if (!due)
		return 0;
	now = now_ns();
	return due > now ? due - now : 1;
}
