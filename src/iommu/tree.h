/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The translation structure of an address space: page number → word.
 *
 * Theory of operation.  The 36 bits of a page number are cut in two: the upper 6 choose one of 64
 * trees (one for each 4 TiB), the lower 30 are a key in it.  A range that crosses such a boundary
 * has an entry in each tree that it touches, at most 63 entries more for all ranges together.
 * Keys of 30 bits fit 16 to a cache line and are compared with baseline SSE2, without a branch.
 *
 * Each tree is a B+tree.  A leaf has 16 entries in four cache lines: first page, last page, and a
 * 64-bit word that holds all that translating needs.  An inner node has up to 256 children behind
 * an index line.  The inner nodes of a million entries fit the second-level cache; only the leaf
 * is a miss.
 *
 * One writer, any number of readers.  A published node is never changed, except that its words and
 * child references are replaced by single atomic stores:
 *  - removing an entry stores 0 into its word, and the reference to a leaf that became empty is
 *    replaced by 0.  Neither needs memory, so removing cannot fail;
 *  - inserting copies the leaf and replaces the one reference to it (when the leaf splits: copies
 *    its parent too, and so on; still one store publishes it all);
 *  - a node that is less than a quarter full is merged with a sibling, which bounds the memory.
 * Replaced nodes are retired: the owner of the tree frees them after a grace period.
 *
 * Threads: tree_lookup() in an RCU section; everything else under the owner's writer mutex.
 */
#ifndef UVFIO_IOMMU_TREE_H
#define UVFIO_IOMMU_TREE_H

#include <emmintrin.h>
#include <stdbool.h>
#include <stdint.h>
#include "base/rcu.h"
#include "iommu/slab.h"

#define TREE_SLOTS     64u
#define TREE_KEY_BITS  30
#define TREE_KEYS      (1u << TREE_KEY_BITS)
#define TREE_LEAF      16u
#define TREE_INNER     256u
#define TREE_NO_KEY    INT32_MAX /* above every key */
#define TREE_MAX_DEPTH 8u        /* levels of inner nodes: 4 · 64^n ≤ 2^30 leaves, and room */

/* A word: what an entry stands for.  A word that is not 0 but lacks PRESENT occupies its range, and
 * readers take it as unmapped. */
#define TREE_PRESENT     1ull
#define TREE_READ        2ull
#define TREE_WRITE       4ull
#define TREE_INDEX_SHIFT 3
#define TREE_INDEX_BITS  26
#define TREE_HOST_SHIFT  29 /* host address of the entry's first page >> 12; 0: none */

struct tree_leaf {
	int32_t key[TREE_LEAF]; /* ascending; TREE_NO_KEY behind the last */
	int32_t last[TREE_LEAF];
	uint64_t word[TREE_LEAF]; /* 0: removed, or behind the last */
} __attribute__((aligned(64)));

struct tree_inner {
	int32_t index[TREE_INNER / 16]; /* key[16 * i] */
	int32_t key[TREE_INNER];    /* child i has keys from key[i]; key[0] is 0 whatever it has */
	uint32_t child[TREE_INNER]; /* a reference; 0: no entries there, or behind the last */
} __attribute__((aligned(64)));

struct tree {
	uint32_t root[TREE_SLOTS]; /* references: node index << 1 | is a leaf; 0: empty */
	struct slab leaves, inners;
};

/* An entry as the callers see it: 36-bit page numbers, inclusive. */
struct tree_entry {
	uint64_t first, last, word;
};

int tree_init(struct tree *tree, uint64_t max_entries);
void tree_fini(struct tree *tree);

/* Enter [@first, @last] (pages; inside one slot, not overlapping any entry).  0 or -ENOMEM. */
int tree_insert(struct tree *tree, uint64_t first, uint64_t last, uint64_t word);
/* Replace the word of the entry that starts at @first by @word, not 0. */
void tree_update(struct tree *tree, uint64_t first, uint64_t word);
/* Room for any one tree_insert(). */
bool tree_has_room(const struct tree *tree);

/* Walk the entries in ascending order.  Nothing may be inserted meanwhile. */
struct tree_cursor {
	struct tree *tree;
	unsigned slot, depth;
	struct {
		struct tree_inner *node;
		unsigned pos;
	} path[TREE_MAX_DEPTH];
	struct tree_leaf *leaf; /* NULL: at the end */
	uint32_t leaf_ref;
	unsigned pos;
	bool removed;
	uint64_t first_removed, last_removed;
	struct tree_entry entry;
};
/* The first entry that ends at @page or later; false when there is none. */
bool tree_seek(struct tree *tree, struct tree_cursor *cursor, uint64_t page);
bool tree_next(struct tree_cursor *cursor);
/* Remove the entry that the cursor is at; tree_next() goes on from there. */
void tree_remove(struct tree_cursor *cursor);
/* After the last tree_remove(): tidy up.  Ends the use of the cursor. */
void tree_done(struct tree_cursor *cursor);

/* How many of the 16 keys are ≤ @k. */
static inline unsigned tree_rank16(const int32_t *key, int32_t k)
{
	const __m128i *v = (const __m128i *)key;
	__m128i kk = _mm_set1_epi32(k);
	__m128i a = _mm_packs_epi32(_mm_cmpgt_epi32(v[0], kk), _mm_cmpgt_epi32(v[1], kk));
	__m128i b = _mm_packs_epi32(_mm_cmpgt_epi32(v[2], kk), _mm_cmpgt_epi32(v[3], kk));
	unsigned above = (unsigned)_mm_movemask_epi8(_mm_packs_epi16(a, b));

	return (unsigned)__builtin_ctz(above | 1u << 16);
}

static inline struct tree_leaf *tree_leaf_at(const struct tree *tree, uint32_t ref)
{
	return (struct tree_leaf *)tree->leaves.base + (ref >> 1);
}

static inline struct tree_inner *tree_inner_at(const struct tree *tree, uint32_t ref)
{
	return (struct tree_inner *)tree->inners.base + (ref >> 1);
}

static inline unsigned tree_child_of(const struct tree_inner *inner, int32_t k)
{
	unsigned line = 16 * (tree_rank16(inner->index, k) - 1);

	__builtin_prefetch(inner->child + line);
	return line + tree_rank16(inner->key + line, k) - 1;
}

/* One miss for all its lines in place of one after the other. */
static inline void tree_prefetch_leaf(const struct tree_leaf *leaf)
{
	__builtin_prefetch(leaf->last);
	__builtin_prefetch(leaf->word);
	__builtin_prefetch(leaf->word + TREE_LEAF / 2);
}

/* [RCU] The entry that contains @page.  Its word is PRESENT; false when there is none. */
static inline bool tree_lookup(const struct tree *tree, uint64_t page, struct tree_entry *entry)
{
	int32_t k = (int32_t)(page & (TREE_KEYS - 1));
	uint64_t base = page - (uint64_t)k, word;
	const struct tree_leaf *leaf;
	uint32_t ref;
	unsigned i;

	if (page >> (TREE_KEY_BITS + 6))
		return false;
	ref = uvfio_rcu_dereference(tree->root[page >> TREE_KEY_BITS]);
	while (!(ref & 1)) {
		const struct tree_inner *inner = tree_inner_at(tree, ref);

		if (!ref)
			return false;
		ref = uvfio_rcu_dereference(inner->child[tree_child_of(inner, k)]);
	}
	leaf = tree_leaf_at(tree, ref);
	tree_prefetch_leaf(leaf);
	i = tree_rank16(leaf->key, k);
	if (!i--)
		return false;
	word = uvfio_rcu_dereference(leaf->word[i]);
	if (k > leaf->last[i] || !(word & TREE_PRESENT))
		return false;
	entry->first = base + (uint32_t)leaf->key[i];
	entry->last = base + (uint32_t)leaf->last[i];
	entry->word = word;
	return true;
}

#endif
