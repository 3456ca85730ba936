/* SPDX-License-Identifier: BSD-3-Clause */
/* The parts of bench-wire: each prints its rows and returns how many limits are missed. */
#ifndef UVFIO_BENCH_WIRE_CASES_H
#define UVFIO_BENCH_WIRE_CASES_H

#include <unistd.h>

#include "bench.h"
#include "pair.h"
#include "wire_talk.h"

#define ROUNDS 7u
/* Runs so short that most of them see nobody else on their CPU: as many, and long enough between
 * two for who spins (a millisecond) to have given up. */
#define SHORT_ROUNDS  201u
#define SHORT_WAIT_US 4000u

/* A row alone, and two in turns, of which the first says what the second may be: so many times as
 * much, or with 0 what it says itself.  Before each run whoever spins from another one has given
 * up. */
static inline int bench_alone(struct bench_case *c)
{
	double v[ROUNDS];

	for (unsigned r = 0; r < ROUNDS; r++) {
		pair_settle();
		v[r] = c->fn(c->arg);
	}
	c->median = bench_median(v, ROUNDS);
	return bench_print(c);
}

static inline int beside(struct bench_case *limit, struct bench_case *c, double factor)
{
	double v[2][ROUNDS];

	for (unsigned r = 0; r < ROUNDS; r++) {
		pair_settle();
		v[0][r] = limit->fn(limit->arg);
		pair_settle();
		v[1][r] = c->fn(c->arg);
	}
	limit->median = bench_median(v[0], ROUNDS);
	c->median = bench_median(v[1], ROUNDS);
	if (factor > 0) {
		c->want = BENCH_AT_MOST;
		c->limit = limit->median * factor;
	}
	bench_print(limit);
	return bench_print(c);
}

/* beside() for cases that take about a tenth of a millisecond each. */
static inline int beside_short(struct bench_case *limit, struct bench_case *c, double factor)
{
	static double v[2][SHORT_ROUNDS];

	for (unsigned r = 0; r < SHORT_ROUNDS; r++) {
		usleep(SHORT_WAIT_US);
		v[0][r] = limit->fn(limit->arg);
		usleep(SHORT_WAIT_US);
		v[1][r] = c->fn(c->arg);
	}
	limit->median = bench_median(v[0], SHORT_ROUNDS);
	c->median = bench_median(v[1], SHORT_ROUNDS);
	c->want = BENCH_AT_MOST;
	c->limit = limit->median * factor;
	bench_print(limit);
	return bench_print(c);
}

/* Several rows in turns, at most 4. */
static inline int in_turns(struct bench_case *c, unsigned n)
{
	double v[4][ROUNDS];
	int missed = 0;

	for (unsigned r = 0; r < ROUNDS; r++) {
		for (unsigned i = 0; i < n; i++) {
			pair_settle();
			v[i][r] = c[i].fn(c[i].arg);
		}
	}
	for (unsigned i = 0; i < n; i++) {
		c[i].median = bench_median(v[i], ROUNDS);
		missed += bench_print(&c[i]);
	}
	return missed;
}

/* SET_IRQS of many eventfds, by a client of the server at @place. */
int wire_irqs(const struct place *place);
/* Mapping and unmapping many regions. */
int wire_maps(const struct place *place);

#endif
