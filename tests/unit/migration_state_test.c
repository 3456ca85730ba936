/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The states of migration (E.2) against another statement of them: which arcs there are, and that a
 * way is the shortest one that neither begins nor ends a session of data in passing.
 */
#include <errno.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>
#include "migration/state.h"

enum { E, S, R, C, Z, P, Y, Q };

struct way {
	unsigned nr;
	enum mig_state step[NR_MIG_STATES]; /* without where it begins */
};

static void find_way(unsigned can, enum mig_state from, enum mig_state to, struct way *way,
		     int *ret)
{
	enum mig_state at = from;

	way->nr = 0;
	*ret = 0;
	while (at != to) {
		*ret = mig_next(can, at, to, &at);
		if (*ret)
			return;
		assert_true(way->nr < NR_MIG_STATES);
		way->step[way->nr++] = at;
	}
}

static void each_capability_set(void (*fn)(unsigned can))
{
	for (unsigned can = 0; can <= MIG_CAN_ALL; can++)
		fn(can);
}

/* ---- another statement ---- */

static bool exists(unsigned can, unsigned state)
{
	if (!(can & MIG_CAN_STOP_COPY))
		return false;
	switch (state) {
	case P:
		return can & MIG_CAN_P2P;
	case Y:
		return can & MIG_CAN_PRE_COPY;
	case Q:
		return can & MIG_CAN_P2P && can & MIG_CAN_PRE_COPY;
	default:
		return state < 8;
	}
}

/* What a device is asked to do, one at a time. */
static bool is_arc(unsigned can, unsigned a, unsigned b)
{
	static const unsigned always[][2] = {{S, C}, {C, S}, {S, Z}, {Z, S}, {R, Y}, {Y, R}};
	static const unsigned p2p[][2] = {{R, P}, {P, R}, {P, S}, {S, P}, {P, Q},
					  {Q, P}, {Y, Q}, {Q, Y}, {Q, C}};
	static const unsigned simple[][2] = {{R, S}, {S, R}, {Y, C}};

	if (!exists(can, a) || !exists(can, b))
		return false;
	for (unsigned i = 0; i < sizeof(always) / sizeof(always[0]); i++)
		if (always[i][0] == a && always[i][1] == b)
			return true;
	if (can & MIG_CAN_P2P) {
		for (unsigned i = 0; i < sizeof(p2p) / sizeof(p2p[0]); i++)
			if (p2p[i][0] == a && p2p[i][1] == b)
				return true;
		return false;
	}
	for (unsigned i = 0; i < sizeof(simple) / sizeof(simple[0]); i++)
		if (simple[i][0] == a && simple[i][1] == b)
			return true;
	return false;
}

static bool saves(unsigned s)
{
	return s == Y || s == Q || s == C;
}

/* In the middle of a way from @a to @b: what one session begins and ends with, it does not leave;
 * no other way enters one. */
static bool may_pass(unsigned a, unsigned b, unsigned s)
{
	return s != Z && saves(s) == (saves(a) && saves(b));
}

/* All shortest ways from @at on; how many there are.  The last one found is in @out. */
static unsigned search(unsigned can, const unsigned *ends, unsigned at, unsigned left,
		       struct way *so_far, struct way *out)
{
	unsigned found = 0;

	if (at == ends[1]) {
		*out = *so_far;
		return left == 0;
	}
	if (!left || (at != ends[0] && !may_pass(ends[0], ends[1], at)))
		return 0;
	for (unsigned next = 0; next < NR_MIG_STATES; next++) {
		if (!is_arc(can, at, next))
			continue;
		so_far->step[so_far->nr++] = next;
		found += search(can, ends, next, left - 1, so_far, out);
		so_far->nr--;
	}
	return found;
}

static void check_ways(unsigned can)
{
	for (unsigned from = 0; from < NR_MIG_STATES + 2; from++)
		for (unsigned to = 0; to < NR_MIG_STATES + 2; to++) {
			const unsigned ends[2] = {from, to};
			struct way way, expected = {0}, room = {0};
			unsigned found = 0;
			enum mig_state next;
			int ret;

			if (!exists(can, from) || !exists(can, to) || from == E || to == E) {
				assert_int_equal(mig_next(can, from, to, &next), -EINVAL);
				continue;
			}
			for (unsigned len = 0; len < NR_MIG_STATES && !found; len++)
				found = search(can, ends, from, len, &room, &expected);
			find_way(can, from, to, &way, &ret);
			if (!found) {
				assert_int_equal(ret, -EINVAL);
				assert_true(from == C && (to == Y || to == Q));
				continue;
			}
			assert_int_equal(found, 1); /* or the rule would not say which */
			assert_int_equal(ret, 0);
			assert_int_equal(way.nr, expected.nr);
			assert_memory_equal(way.step, expected.step, way.nr * sizeof(way.step[0]));
		}
}

static void ways_are_the_shortest_that_leave_sessions_alone(void **state)
{
	each_capability_set(check_ways);
}

static void check_states(unsigned can)
{
	for (unsigned s = 0; s < NR_MIG_STATES + 3; s++)
		assert_int_equal(mig_has_state(can, s), exists(can, s));
}

static void states_are_those_of_the_capabilities(void **state)
{
	each_capability_set(check_states);
}

/* ---- and a third: the ways of E.2, as they are written there ---- */

static void ways_as_written(void **state)
{
	static const char *const ways[] = {
		"S>PR",   "S>PRY", "S>PQ", "R>PS", "R>PQ",  "R>PSC", "R>PSZ", "Y>RPS", "Y>QC",
		"Y>RPSZ", "Y>RP",  "Q>PS", "Q>PR", "Q>PSZ", "C>SPR", "C>SZ",  "C>SP",  "Z>SPR",
		"Z>SPRY", "Z>SPQ", "Z>SC", "Z>SP", "P>RY",  "P>SC",  "P>SZ",
	};
	static const char letters[] = "ESRCZPYQ";
	unsigned long_ways = 0;

	for (unsigned can = MIG_CAN_STOP_COPY; can <= MIG_CAN_ALL; can += 2) {
		for (unsigned i = 0; i < sizeof(ways) / sizeof(ways[0]); i++) {
			const char *text = ways[i], *last = text + strlen(text) - 1;
			enum mig_state from = strchr(letters, text[0]) - letters;
			enum mig_state to = strchr(letters, *last) - letters;
			struct way way, want = {0};
			int ret;

			if (!exists(can, from) || !exists(can, to))
				continue;
			for (const char *c = text + 2; *c; c++)
				if (exists(can, strchr(letters, *c) - letters))
					want.step[want.nr++] = strchr(letters, *c) - letters;
			find_way(can, from, to, &way, &ret);
			assert_int_equal(ret, 0);
			assert_int_equal(way.nr, want.nr);
			assert_memory_equal(way.step, want.step, way.nr * sizeof(way.step[0]));
		}
	}
	/* Those are all that have more than one step. */
	for (unsigned from = S; from < NR_MIG_STATES; from++)
		for (unsigned to = S; to < NR_MIG_STATES; to++) {
			struct way way;
			int ret;

			find_way(MIG_CAN_ALL, from, to, &way, &ret);
			long_ways += !ret && way.nr > 1;
		}
	assert_int_equal(long_ways, sizeof(ways) / sizeof(ways[0]));
}

static void names_and_meanings(void **state)
{
	assert_string_equal(mig_state_name(MIG_PRE_COPY_P2P), "PRE_COPY_P2P");
	assert_string_equal(mig_state_name(8), "?");
	for (unsigned s = 0; s < NR_MIG_STATES; s++) {
		assert_int_equal(mig_session(s), saves(s) ? MIG_SESSION_SAVE
						 : s == Z ? MIG_SESSION_LOAD
							  : MIG_SESSION_NONE);
		assert_int_equal(mig_initiates(s), s == R || s == Y);
		assert_int_equal(mig_responds(s), s == R || s == Y || s == P || s == Q);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(states_are_those_of_the_capabilities),
		cmocka_unit_test(ways_are_the_shortest_that_leave_sessions_alone),
		cmocka_unit_test(ways_as_written),
		cmocka_unit_test(names_and_meanings),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
