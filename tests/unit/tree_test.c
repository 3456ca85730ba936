/* SPDX-License-Identifier: BSD-3-Clause */
/* The translation structure against a plain table, and the promise about its memory. */
#include <setjmp.h>
#include <stdarg.h>
#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "iommu/tree.h"

#define SPAN 8192u

struct model {
	struct tree tree;
	uint64_t base;
	struct tree_entry of[SPAN]; /* by page - base; word 0: none */
	unsigned count;
};

static uint64_t seed = 42;

static unsigned rnd(unsigned n)
{
	seed ^= seed >> 12;
	seed ^= seed << 25;
	seed ^= seed >> 27;
	return (unsigned)((seed * 0x2545F4914F6CDD1Dull >> 33) % n);
}

static void reclaim(struct tree *tree)
{
	slab_give_back(&tree->leaves, slab_take_retired(&tree->leaves));
	slab_give_back(&tree->inners, slab_take_retired(&tree->inners));
}

/* Live entries below @ref; checks order, separators and the fill of every node. */
static unsigned check_node(struct tree *tree, uint32_t ref, int64_t lo, int64_t hi, bool root,
			   unsigned *leaves)
{
	unsigned live = 0, total = 0;

	if (ref & 1) {
		struct tree_leaf *leaf = tree_leaf_at(tree, ref);

		(*leaves)++;
		for (unsigned i = 0; i < TREE_LEAF; i++) {
			if (i && leaf->key[i] != TREE_NO_KEY)
				assert_true(leaf->key[i] > leaf->key[i - 1]);
			if (!leaf->word[i])
				continue;
			live++;
			assert_true(leaf->key[i] >= lo && leaf->last[i] < hi);
			assert_true(leaf->key[i] <= leaf->last[i]);
		}
		assert_true(live >= (root ? 1 : TREE_LEAF / 4));
		return live;
	}
	for (unsigned i = 0; i < TREE_INNER; i++) {
		struct tree_inner *inner = tree_inner_at(tree, ref);
		int64_t from = i ? inner->key[i] : lo, to = hi;
		unsigned j = i + 1;

		assert_true(i % 16 || inner->index[i / 16] == inner->key[i]);
		if (!inner->child[i])
			continue;
		while (j < TREE_INNER && !inner->child[j])
			j++;
		if (j < TREE_INNER)
			to = inner->key[j];
		live++;
		total += check_node(tree, inner->child[i], from, to, false, leaves);
	}
	assert_true(live >= (root ? 2 : TREE_INNER / 4));
	return total;
}

static void check_tree(struct tree *tree, unsigned count)
{
	unsigned total = 0, leaves = 0, roots = 0;

	for (unsigned s = 0; s < TREE_SLOTS; s++) {
		if (!tree->root[s])
			continue;
		roots++;
		total += check_node(tree, tree->root[s], 0, TREE_KEYS, true, &leaves);
	}
	assert_int_equal(total, count);
	assert_true(leaves <= count / (TREE_LEAF / 4) + roots);
	/* Nothing leaks: what is neither free nor retired is in the tree. */
	assert_int_equal(tree->leaves.used - tree->leaves.free.nr - tree->leaves.retired.nr,
			 leaves);
}

static void check_model(struct model *m)
{
	struct tree_cursor c;
	unsigned n = 0;
	bool more = tree_seek(&m->tree, &c, 0);

	for (unsigned i = 0; i < SPAN; i++) {
		struct tree_entry e;
		bool found = tree_lookup(&m->tree, m->base + i, &e);

		assert_int_equal(found, m->of[i].word != 0);
		if (found)
			assert_memory_equal(&e, &m->of[i], sizeof(e));
		if (m->of[i].word && m->of[i].first == m->base + i) {
			assert_true(more);
			assert_memory_equal(&c.entry, &m->of[i], sizeof(e));
			more = tree_next(&c);
			n++;
		}
	}
	assert_false(more);
	assert_int_equal(n, m->count);
	check_tree(&m->tree, n);
}

static void insert(struct model *m, unsigned at, unsigned len)
{
	struct tree_entry e = {m->base + at, m->base + at + len - 1,
			       TREE_PRESENT | (uint64_t)(rnd(1u << 20) + 1) << TREE_INDEX_SHIFT};

	for (unsigned i = at; i < at + len; i++)
		if (i >= SPAN || m->of[i].word)
			return;
	if (e.first >> TREE_KEY_BITS != e.last >> TREE_KEY_BITS)
		return;
	assert_int_equal(tree_insert(&m->tree, e.first, e.last, e.word), 0);
	for (unsigned i = at; i < at + len; i++)
		m->of[i] = e;
	m->count++;
}

/* Remove every entry that starts in [at, at + len). */
static void remove_range(struct model *m, unsigned at, unsigned len)
{
	struct tree_cursor c;
	bool more = tree_seek(&m->tree, &c, m->base + at);

	for (; more && c.entry.first < m->base + at + len; more = tree_next(&c)) {
		if (c.entry.first < m->base + at)
			continue;
		for (uint64_t p = c.entry.first; p <= c.entry.last; p++)
			m->of[p - m->base].word = 0;
		tree_remove(&c);
		m->count--;
	}
	tree_done(&c);
}

static void run_model(uint64_t base, unsigned max_len)
{
	struct model *m = calloc(1, sizeof(*m));

	assert_int_equal(tree_init(&m->tree, SPAN), 0);
	m->base = base;
	for (unsigned round = 0; round < 60; round++) {
		/* Fill and empty in turns, so that splits and merges both happen. */
		unsigned inserts = round % 6 < 3 ? 900 : 100, removes = 1000 - inserts;

		for (unsigned i = 0; i < inserts; i++) {
			insert(m, rnd(SPAN), 1 + rnd(max_len));
			reclaim(&m->tree);
		}
		for (unsigned i = 0; i < removes; i++) {
			remove_range(m, rnd(SPAN), rnd(50) ? 1 + rnd(8) : rnd(SPAN / 2));
			reclaim(&m->tree);
		}
		check_model(m);
	}
	remove_range(m, 0, SPAN);
	check_model(m);
	tree_fini(&m->tree);
	free(m);
}

static void model_single_pages(void **state)
{
	run_model(5ull << 20, 1);
}

static void model_ranges(void **state)
{
	run_model(0, 12);
}

/* Around the border between two trees, and the highest pages of all. */
static void model_border(void **state)
{
	run_model(TREE_KEYS - SPAN / 2, 3);
	run_model(((uint64_t)TREE_SLOTS << TREE_KEY_BITS) - SPAN, 3);
}

static void fill_orders(void **state)
{
	enum { N = 40000 };
	static const char *const order[] = {"up", "down", "scattered"};

	for (unsigned o = 0; o < 3; o++) {
		struct tree tree;
		struct tree_cursor c;

		assert_int_equal(tree_init(&tree, N), 0);
		for (uint64_t i = 0; i < N; i++) {
			uint64_t n = o == 0 ? i : o == 1 ? N - 1 - i : i * 7919 % N;

			if (tree_insert(&tree, 2 * n, 2 * n, TREE_PRESENT | 8))
				fail_msg("%s: no memory at %u", order[o], (unsigned)i);
			reclaim(&tree);
		}
		check_tree(&tree, N);
		if (o == 0) /* ascending mappings do not leave leaves half empty */
			assert_true(tree.leaves.used - tree.leaves.free.nr < N / 12);
		/* Three of four go, one by one: the promise about memory holds all the time. */
		for (uint64_t i = 0; i < N; i++) {
			if (i % 4 == 0)
				continue;
			assert_true(tree_seek(&tree, &c, 2 * i));
			assert_int_equal(c.entry.first, 2 * i);
			tree_remove(&c);
			tree_done(&c);
			reclaim(&tree);
		}
		check_tree(&tree, N / 4);
		/* All at once. */
		for (bool more = tree_seek(&tree, &c, 0); more; more = tree_next(&c))
			tree_remove(&c);
		tree_done(&c);
		check_tree(&tree, 0);
		tree_fini(&tree);
	}
}

/* A removal of everything needs no new node, whatever is left in the slabs. */
static void remove_without_memory(void **state)
{
	struct tree tree;
	struct tree_cursor c;
	uint32_t used;

	assert_int_equal(tree_init(&tree, 20000), 0);
	for (uint64_t i = 0; i < 20000; i++) {
		assert_int_equal(tree_insert(&tree, i * 3, i * 3 + 1, TREE_PRESENT | 8), 0);
		reclaim(&tree);
	}
	used = tree.leaves.used;
	while (slab_alloc(&tree.leaves))
		;
	while (slab_alloc(&tree.inners))
		;
	assert_false(tree_has_room(&tree));
	assert_int_equal(tree_insert(&tree, 1 << 20, 1 << 20, 8), -ENOMEM);
	for (bool more = tree_seek(&tree, &c, 0); more; more = tree_next(&c))
		tree_remove(&c);
	tree_done(&c);
	for (unsigned s = 0; s < TREE_SLOTS; s++)
		assert_int_equal(tree.root[s], 0);
	assert_true(tree.leaves.retired.nr > 0 && tree.leaves.retired.nr <= used);
	tree_fini(&tree);
}

static void rank(void **state)
{
	int32_t key[16] __attribute__((aligned(64)));

	for (unsigned n = 0; n <= 16; n++) {
		for (unsigned i = 0; i < 16; i++)
			key[i] = i < n ? (int32_t)(10 * i) : TREE_NO_KEY;
		for (int32_t k = 0; k < 170; k++) {
			unsigned want = 0;

			for (unsigned i = 0; i < 16; i++)
				want += key[i] <= k;
			assert_int_equal(tree_rank16(key, k), want);
		}
		assert_int_equal(tree_rank16(key, (int32_t)TREE_KEYS - 1), n);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(rank),         cmocka_unit_test(model_single_pages),
		cmocka_unit_test(model_ranges), cmocka_unit_test(model_border),
		cmocka_unit_test(fill_orders),  cmocka_unit_test(remove_without_memory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
