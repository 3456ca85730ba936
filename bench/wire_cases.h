/* SPDX-License-Identifier: BSD-3-Clause */
/* The parts of bench-wire: each prints its rows and returns how many limits are missed. */
#ifndef UVFIO_BENCH_WIRE_CASES_H
#define UVFIO_BENCH_WIRE_CASES_H

#include "bench.h"
#include "pair.h"
#include "wire_talk.h"

#define ROUNDS 7u

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

/* SET_IRQS of many eventfds, by a client of the server at @place. */
int wire_irqs(const struct place *place);
/* Mapping and unmapping many regions. */
int wire_maps(const struct place *place);

#endif
