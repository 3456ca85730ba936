/* SPDX-License-Identifier: BSD-3-Clause */
/* Sets of ranges: see extent.h. */
#include <stddef.h>
#include "driver/extent.h"

static void update(struct extent *e)
{
	e->longest = e->last - e->first;
	for (int i = 0; i < 2; i++)
		if (e->child[i] && e->child[i]->longest > e->longest)
			e->longest = e->child[i]->longest;
}

/* Cut @e into what starts below @at and the rest. */
static void split(struct extent *e, uint64_t at, struct extent **low, struct extent **high)
{
	if (!e) {
		*low = *high = NULL;
		return;
	}
	if (e->first < at) {
		split(e->child[1], at, &e->child[1], high);
		*low = e;
	} else {
		split(e->child[0], at, low, &e->child[0]);
		*high = e;
	}
	update(e);
}

/* Join two trees, of which all of @low is below all of @high. */
static struct extent *join(struct extent *low, struct extent *high)
{
	if (!low || !high)
		return low ? low : high;
	if (low->priority > high->priority) {
		low->child[1] = join(low->child[1], high);
		update(low);
		return low;
	}
	high->child[0] = join(low, high->child[0]);
	update(high);
	return high;
}

void extent_insert(struct extent_set *set, struct extent *e)
{
	struct extent *low, *high;

	/* xorshift: balance needs priorities that do not follow the addresses, no more. */
	set->seed = set->seed ? set->seed : 0x9e3779b9u;
	set->seed ^= set->seed << 13;
	set->seed ^= set->seed >> 17;
	set->seed ^= set->seed << 5;
	e->priority = set->seed;
	e->child[0] = e->child[1] = NULL;
	update(e);
	split(set->root, e->first, &low, &high);
	set->root = join(join(low, e), high);
}

static struct extent *without(struct extent *tree, const struct extent *e)
{
	if (!tree)
		return NULL;
	if (tree == e)
		return join(tree->child[0], tree->child[1]);
	tree->child[tree->first < e->first] = without(tree->child[tree->first < e->first], e);
	update(tree);
	return tree;
}

void extent_remove(struct extent_set *set, struct extent *e)
{
	set->root = without(set->root, e);
}

struct extent *extent_floor(const struct extent_set *set, uint64_t at)
{
	struct extent *best = NULL;

	for (struct extent *e = set->root; e; e = e->child[e->first <= at])
		if (e->first <= at)
			best = e;
	return best;
}

struct extent *extent_ceiling(const struct extent_set *set, uint64_t at)
{
	struct extent *best = NULL;

	for (struct extent *e = set->root; e; e = e->child[e->first < at])
		if (e->first >= at)
			best = e;
	return best;
}

static struct extent *fit(struct extent *e, uint64_t at, uint64_t span)
{
	struct extent *found;

	if (!e || e->longest < span)
		return NULL;
	if (e->first < at)
		return fit(e->child[1], at, span);
	found = fit(e->child[0], at, span);
	if (found)
		return found;
	if (e->last - e->first >= span)
		return e;
	return fit(e->child[1], at, span);
}

struct extent *extent_fit(const struct extent_set *set, uint64_t at, uint64_t span)
{
	return fit(set->root, at, span);
}
