/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Several devices that do DMA to one another are moved in two passes (E.3): all reachable states of
 * that are searched, with every order of the devices' steps, every failure and a change of mind
 * at every point.  None has a device that starts DMA while another one is stopped.
 *
 * A step of the search is one arc of one device.  The user (a VMM) goes through a list of passes;
 * in each he asks every device for one state, and begins the next pass when all are there.  An arc
 * may fail, and leaves the device where it was or in ERROR: then, or when he changes his mind, he
 * goes back by the list of passes that undoes.  A device in ERROR is reset by him before anything
 * else goes on, as E.3 says; until then it does nothing, and nothing is said of those that talk to
 * it.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "migration/state.h"

#define MAX_DEVICES 3
#define MAX_PASSES  5

/* What a user does. */
struct protocol {
	unsigned nr_devices;
	unsigned can[MAX_DEVICES];
	enum mig_state first;
	unsigned nr_passes;
	enum mig_state pass[MAX_PASSES][MAX_DEVICES]; /* what is asked for */
	unsigned nr_back;
	enum mig_state back[MAX_PASSES][MAX_DEVICES];
};

struct at {
	uint8_t state[MAX_DEVICES];
	uint8_t pass;
	bool back; /* it undoes */
};

struct seen {
	bool *done;
	struct at *todo;
	unsigned nr_todo, nr_done;
	bool bad;
};

static unsigned number(const struct at *at)
{
	unsigned n = at->back;

	n = n * (MAX_PASSES + 1) + at->pass;
	for (unsigned i = 0; i < MAX_DEVICES; i++)
		n = n * NR_MIG_STATES + at->state[i];
	return n;
}
#define NR_NUMBERS (2u * (MAX_PASSES + 1) * NR_MIG_STATES * NR_MIG_STATES * NR_MIG_STATES)

static void reach(struct seen *seen, const struct at *at)
{
	bool *done = &seen->done[number(at)];

	if (*done)
		return;
	*done = true;
	seen->todo[seen->nr_todo++] = *at;
	seen->nr_done++;
}

/* Some device starts DMA, and some other one is stopped. */
static bool is_bad(const struct protocol *p, const struct at *at)
{
	for (unsigned i = 0; i < p->nr_devices; i++)
		for (unsigned j = 0; j < p->nr_devices; j++)
			if (i != j && at->state[j] != MIG_ERROR && mig_initiates(at->state[i]) &&
			    !mig_responds(at->state[j]))
				return true;
	return false;
}

static unsigned passes(const struct protocol *p, const struct at *at)
{
	return at->back ? p->nr_back : p->nr_passes;
}

static enum mig_state wanted(const struct protocol *p, const struct at *at, unsigned i)
{
	return at->back ? p->back[at->pass][i] : p->pass[at->pass][i];
}

/* The user turns back.  Who is stopped is woken first. */
static void turn_back(const struct protocol *p, struct seen *seen, const struct at *at)
{
	struct at next = *at;

	if (!p->nr_back)
		return;
	next.back = true;
	next.pass = 0;
	reach(seen, &next);
}

static void step_device(const struct protocol *p, struct seen *seen, const struct at *at,
			unsigned i)
{
	struct at next = *at;
	enum mig_state to;

	if (at->state[i] == MIG_ERROR) {
		/* A reset: it runs, with nothing to do, as quiet as if it were asked to be. */
		next.state[i] = p->can[i] & MIG_CAN_P2P ? MIG_RUNNING_P2P : MIG_STOP;
		reach(seen, &next);
		return;
	}
	if (at->pass == passes(p, at) || at->state[i] == wanted(p, at, i))
		return;
	if (mig_next(p->can[i], at->state[i], wanted(p, at, i), &to))
		return;
	next.state[i] = to;
	reach(seen, &next);
	/* It fails, and stays, or is lost. */
	turn_back(p, seen, at);
	next.state[i] = MIG_ERROR;
	reach(seen, &next);
	turn_back(p, seen, &next);
}

static void step(const struct protocol *p, struct seen *seen, const struct at *at)
{
	struct at next = *at;
	bool all = at->pass < passes(p, at);

	if (!at->back)
		turn_back(p, seen, at);
	for (unsigned i = 0; i < p->nr_devices; i++) {
		step_device(p, seen, at, i);
		all = all && at->state[i] == wanted(p, at, i);
	}
	next.pass++;
	if (all)
		reach(seen, &next);
}

/* Is a bad state reachable?  *@nr: how many there are in all. */
static bool search(const struct protocol *p, unsigned *nr)
{
	struct seen seen = {
		.done = calloc(NR_NUMBERS, sizeof(bool)),
		.todo = calloc(NR_NUMBERS, sizeof(struct at)),
	};
	struct at first = {0};

	assert_non_null(seen.done);
	assert_non_null(seen.todo);
	for (unsigned i = 0; i < p->nr_devices; i++)
		first.state[i] = p->first;
	reach(&seen, &first);
	while (seen.nr_todo) {
		struct at at = seen.todo[--seen.nr_todo];

		seen.bad = seen.bad || is_bad(p, &at);
		step(p, &seen, &at);
	}
	*nr = seen.nr_done;
	free(seen.done);
	free(seen.todo);
	return seen.bad;
}

static void ask_all(enum mig_state *pass, enum mig_state state)
{
	for (unsigned i = 0; i < MAX_DEVICES; i++)
		pass[i] = state;
}

/* From a machine that runs: with PRE_COPY where a device has it. */
static struct protocol save(unsigned nr, unsigned can, bool grace)
{
	struct protocol p = {.nr_devices = nr, .first = MIG_RUNNING};

	for (unsigned i = 0; i < nr; i++) {
		p.can[i] = can;
		/* Devices differ: the second has no PRE_COPY, the third is only stopped. */
		if (i)
			p.can[i] &= ~MIG_CAN_PRE_COPY;
	}
	for (unsigned i = 0; i < nr; i++) {
		bool pre = p.can[i] & MIG_CAN_PRE_COPY;

		p.pass[0][i] = pre ? MIG_PRE_COPY : MIG_RUNNING;
		p.pass[1][i] = pre ? MIG_PRE_COPY_P2P : MIG_RUNNING_P2P;
		p.pass[2][i] = pre ? MIG_STOP_COPY : MIG_STOP;
		p.pass[3][i] = MIG_STOP_COPY;
		p.pass[4][i] = MIG_STOP;
	}
	p.nr_passes = 5;
	if (!grace) {
		memcpy(p.pass[1], p.pass[2], sizeof(p.pass[1]));
		ask_all(p.back[0], MIG_RUNNING);
		p.nr_back = 1;
		return p;
	}
	ask_all(p.back[0], MIG_RUNNING_P2P);
	ask_all(p.back[1], MIG_RUNNING);
	p.nr_back = 2;
	return p;
}

/* At the other end, where nothing has run yet: all are stopped. */
static struct protocol load(unsigned nr, unsigned can, bool grace)
{
	struct protocol p = {.nr_devices = nr, .first = MIG_STOP};
	unsigned n = 0;

	for (unsigned i = 0; i < nr; i++)
		p.can[i] = can;
	ask_all(p.pass[n++], MIG_RESUMING);
	ask_all(p.pass[n++], MIG_STOP);
	if (grace)
		ask_all(p.pass[n++], MIG_RUNNING_P2P);
	ask_all(p.pass[n++], MIG_RUNNING);
	p.nr_passes = n;
	ask_all(p.back[0], MIG_RUNNING_P2P);
	ask_all(p.back[1], MIG_STOP);
	p.nr_back = grace ? 2 : 0;
	return p;
}

static void two_passes_keep_peers_apart(void **state)
{
	for (unsigned nr = 1; nr <= MAX_DEVICES; nr++) {
		struct protocol out = save(nr, MIG_CAN_ALL, true), in = load(nr, MIG_CAN_ALL, true);
		unsigned n;

		assert_false(search(&out, &n));
		assert_true(n > 10 * nr);
		assert_false(search(&in, &n));
		assert_true(n > 10 * nr);
	}
}

/* The search finds what is wrong. */
static void one_pass_does_not(void **state)
{
	struct protocol out = save(2, MIG_CAN_ALL, false), in = load(2, MIG_CAN_ALL, false);
	unsigned n;

	assert_true(search(&out, &n));
	assert_true(search(&in, &n));
	out = save(1, MIG_CAN_ALL, false);
	assert_false(search(&out, &n));
}

/* A device without the P2P states has no place to wait in. */
static void one_device_without_p2p_spoils_it(void **state)
{
	struct protocol p = save(2, MIG_CAN_ALL, true);
	unsigned n;

	p.can[1] &= ~MIG_CAN_P2P;
	for (unsigned i = 0; i < p.nr_passes; i++)
		if (p.pass[i][1] == MIG_RUNNING_P2P)
			p.pass[i][1] = MIG_STOP;
	p.back[0][1] = MIG_STOP;
	assert_true(search(&p, &n));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(two_passes_keep_peers_apart),
		cmocka_unit_test(one_pass_does_not),
		cmocka_unit_test(one_device_without_p2p_spoils_it),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
