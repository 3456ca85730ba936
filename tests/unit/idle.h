/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Has this process done nothing?  Told by what a busy machine does not change: how often its
 * threads went to sleep (a wake-up ends with one), and whether anything span.  CPU time alone is
 * too noisy for a tight bound.
 */
#ifndef TESTS_UNIT_IDLE_H
#define TESTS_UNIT_IDLE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/resource.h>
#include <time.h>

struct idle_mark {
	long sleeps;
	uint64_t cpu_ns, ns;
};

static inline uint64_t idle_clock(clockid_t id)
{
	struct timespec ts;

	clock_gettime(id, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static inline struct idle_mark idle_mark(void)
{
	struct rusage usage;

	getrusage(RUSAGE_SELF, &usage);
	return (struct idle_mark){usage.ru_nvcsw, idle_clock(CLOCK_PROCESS_CPUTIME_ID),
				  idle_clock(CLOCK_MONOTONIC)};
}

/* Since @mark the caller has slept once or twice, and nobody else has run to speak of.  (A
 * sanitizer's own thread wakes up ten times a second.) */
static inline bool idle_since(struct idle_mark mark)
{
	struct idle_mark now = idle_mark();
	long allowed = 5 + (long)((now.ns - mark.ns) / 50000000u);

	return now.sleeps - mark.sleeps <= allowed &&
	       now.cpu_ns - mark.cpu_ns < (now.ns - mark.ns) / 5;
}

#endif
