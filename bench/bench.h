/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the benchmarks share: a clock, medians of alternating runs, a dependent cache miss, and a
 * table in which each figure stands beside its limit.
 *
 * A case is a function that runs once and returns its figure.  bench_run() calls the cases in turn,
 * round after round, so that a slow moment of the machine meets all of them, and keeps the median.
 */
#ifndef UVFIO_BENCH_H
#define UVFIO_BENCH_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum bench_want {
	BENCH_INFO,     /* printed, not judged */
	BENCH_AT_MOST,  /* good when value ≤ limit */
	BENCH_AT_LEAST, /* good when value ≥ limit */
};

struct bench_case {
	const char *what;
	const char *unit;
	double (*fn)(void *arg);
	void *arg;
	enum bench_want want;
	double limit;
	double median; /* filled by bench_run() */
};

#ifndef BENCH_CLOCK
#define BENCH_CLOCK CLOCK_MONOTONIC /* or CLOCK_THREAD_CPUTIME_ID on a busy machine */
#endif

static inline uint64_t bench_ns(void)
{
	struct timespec ts;

	clock_gettime(BENCH_CLOCK, &ts);
	return (uint64_t)ts.tv_sec * 1000000000ull + (uint64_t)ts.tv_nsec;
}

/* Keep the compiler from dropping what computes @v. */
#define bench_keep(v) __asm__ volatile("" : : "r"(v) : "memory")

/* xorshift64*: the same numbers in every run.  @state must not start as 0. */
static inline uint64_t bench_random(uint64_t *state)
{
	*state ^= *state >> 12;
	*state ^= *state << 25;
	*state ^= *state >> 27;
	return *state * 0x2545F4914F6CDD1Dull;
}

static inline int bench_compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static inline double bench_median(double *v, unsigned n)
{
	qsort(v, n, sizeof(*v), bench_compare);
	return n % 2 ? v[n / 2] : (v[n / 2 - 1] + v[n / 2]) / 2;
}

/* Nanoseconds for one load that misses the caches and on which the next load depends: a random
 * cycle through @bytes of memory. */
static inline double bench_cache_miss(size_t bytes)
{
	size_t n = bytes / 64, steps = 300000, x = 0;
	uint64_t seed = 1, start, *line = aligned_alloc(64, n * 64);
	double ns;

	if (!line)
		return -1;
	for (size_t i = 0; i < n; i++)
		line[8 * i] = i;
	for (size_t i = n - 1; i > 0; i--) { /* Sattolo: one cycle */
		size_t j = bench_random(&seed) % i;
		uint64_t t = line[8 * i];

		line[8 * i] = line[8 * j];
		line[8 * j] = t;
	}
	start = bench_ns();
	for (size_t i = 0; i < steps; i++)
		x = line[8 * x];
	ns = (double)(bench_ns() - start) / (double)steps;
	bench_keep(x);
	free(line);
	return ns;
}

static inline bool bench_good(const struct bench_case *c)
{
	return c->want == BENCH_INFO || (c->want == BENCH_AT_MOST && c->median <= c->limit) ||
	       (c->want == BENCH_AT_LEAST && c->median >= c->limit);
}

/* Behind the point. */
static inline int bench_digits(double v)
{
	return v < 10 ? 2 : 1;
}

/* One row; call after ->median is set.  Returns 1 when the limit is missed. */
static inline int bench_print(const struct bench_case *c)
{
	static const char *const sign[] = {"", "<=", ">="};

	printf("  %-58s %10.*f %-6s", c->what, bench_digits(c->median), c->median, c->unit);
	if (c->want != BENCH_INFO)
		printf(" %s %8.*f  %s", sign[c->want], bench_digits(c->limit), c->limit,
		       bench_good(c) ? "ok" : "MISSED");
	putchar('\n');
	return !bench_good(c);
}

/* Run all cases @rounds times (at most 64) in turn and print the table.  Returns how many limits
 * are missed. */
static inline int bench_run(const char *title, struct bench_case *cases, unsigned n,
			    unsigned rounds)
{
	double(*v)[64] = calloc(n, sizeof(*v));
	int missed = 0;

	if (!v)
		abort();
	if (rounds > 64)
		rounds = 64;
	for (unsigned r = 0; r < rounds; r++)
		for (unsigned i = 0; i < n; i++)
			v[i][r] = cases[i].fn(cases[i].arg);
	printf("%s (medians of %u alternating runs)\n", title, rounds);
	for (unsigned i = 0; i < n; i++) {
		cases[i].median = bench_median(v[i], rounds);
		missed += bench_print(&cases[i]);
	}
	free(v);
	return missed;
}

#endif
