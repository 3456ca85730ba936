/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The writer's side of the tree.
 *
 * Invariants, under the writer mutex and while no cursor is in use:
 *  - every node but a root has at least a quarter of its entries or children live;
 *  - an inner node has at least one live child, a root inner node at least two;
 *  - child i of an inner node has the keys from key[i] (child 0: from whatever its parent says) up
 *    to the next place's key; a place that has become empty belongs to nobody until the node is
 *    copied the next time, which gives it to the child before it;
 *  - an entry lies between the keys of its leaf with its last page too, so that a lookup of any of
 *    its pages takes the same way.
 * The first may be missed for a node when memory was used up, and for one that holds entries which
 * a cursor walked past between two that it removed.
 */
#include <assert.h>
#include <errno.h>
#include <string.h>
#include "iommu/tree.h"

#define LEAF_MIN  (TREE_LEAF / 4)
#define INNER_MIN (TREE_INNER / 4)
/* What is kept aside for nodes that wait for a grace period, and for one operation. */
#define LEAF_SLACK  4096u
#define INNER_SLACK 448u
/* The new nodes of one operation: two a level and a new root, and copies on the way there. */
#define LEAF_ROOM  2u
#define INNER_ROOM (4u * TREE_MAX_DEPTH)

static_assert(sizeof(struct tree_leaf) == 256, "four cache lines");
static_assert(TREE_INDEX_SHIFT + TREE_INDEX_BITS == TREE_HOST_SHIFT, "the fields of a word");
static_assert(TREE_HOST_SHIFT + 35 == 64, "a word holds the page of any user address");

struct kid {
	int32_t key;
	uint32_t ref;
};

struct item {
	int32_t key, last;
	uint64_t word;
};

/* One inner node on the way down, and where the reference to it is. */
struct step {
	uint32_t *link, ref;
	struct tree_inner *node;
	unsigned pos; /* of the child taken */
};

struct way {
	struct step step[TREE_MAX_DEPTH];
	unsigned depth;
	uint32_t *link, ref; /* to the leaf; @ref is 0 when there is none */
	bool rightmost;
};

int tree_init(struct tree *tree, uint64_t max_entries)
{
	uint64_t entries = max_entries + TREE_SLOTS - 1;
	uint64_t leaves = entries / LEAF_MIN + TREE_SLOTS + LEAF_SLACK;
	uint64_t inners = entries / LEAF_MIN / (INNER_MIN / 2) + TREE_SLOTS + INNER_SLACK;

	memset(tree, 0, sizeof(*tree));
	if (leaves >> 31)
		return -ENOMEM;
	if (slab_init(&tree->leaves, sizeof(struct tree_leaf), (uint32_t)leaves))
		return -ENOMEM;
	if (slab_init(&tree->inners, sizeof(struct tree_inner), (uint32_t)inners)) {
		slab_fini(&tree->leaves);
		return -ENOMEM;
	}
	return 0;
}

void tree_fini(struct tree *tree)
{
	slab_fini(&tree->leaves);
	slab_fini(&tree->inners);
}

bool tree_has_room(const struct tree *tree)
{
	return slab_available(&tree->leaves) >= LEAF_ROOM &&
	       slab_available(&tree->inners) >= INNER_ROOM;
}

static void retire(struct tree *tree, uint32_t ref)
{
	slab_retire(ref & 1 ? &tree->leaves : &tree->inners, ref >> 1);
}

static void publish(uint32_t *link, uint32_t ref)
{
	uvfio_rcu_assign(*link, ref);
}

static void store_word(struct tree_leaf *leaf, unsigned i, uint64_t word)
{
	uvfio_rcu_assign(leaf->word[i], word);
}

static uint32_t build_leaf(struct tree *tree, const struct item *items, unsigned n)
{
	uint32_t ref = slab_alloc(&tree->leaves) << 1 | 1;
	struct tree_leaf *leaf = tree_leaf_at(tree, ref);

	assert(ref != 1 && n && n <= TREE_LEAF);
	for (unsigned i = 0; i < TREE_LEAF; i++) {
		leaf->key[i] = i < n ? items[i].key : TREE_NO_KEY;
		leaf->last[i] = i < n ? items[i].last : 0;
		leaf->word[i] = i < n ? items[i].word : 0;
	}
	return ref;
}

static uint32_t build_inner(struct tree *tree, const struct kid *kids, unsigned n)
{
	uint32_t ref = slab_alloc(&tree->inners) << 1;
	struct tree_inner *inner = tree_inner_at(tree, ref);

	assert(ref && n && n <= TREE_INNER);
	for (unsigned i = 0; i < n; i++) {
		inner->key[i] = kids[i].key;
		inner->child[i] = kids[i].ref;
	}
	for (unsigned i = n; i < TREE_INNER; i++) {
		inner->key[i] = TREE_NO_KEY;
		inner->child[i] = 0;
	}
	inner->key[0] = 0;
	for (unsigned i = 0; i < TREE_INNER / 16; i++)
		inner->index[i] = inner->key[16 * i];
	return ref;
}

/* The live children of @inner, into @kids (room for TREE_INNER). */
static unsigned get_kids(const struct tree_inner *inner, struct kid *kids)
{
	unsigned n = 0;

	for (unsigned i = 0; i < TREE_INNER && inner->key[i] != TREE_NO_KEY; i++) {
		kids[n] = (struct kid){inner->key[i], inner->child[i]};
		n += inner->child[i] != 0;
	}
	return n;
}

static unsigned get_items(const struct tree_leaf *leaf, struct item *items)
{
	unsigned n = 0;

	for (unsigned i = 0; i < TREE_LEAF; i++)
		if (leaf->word[i])
			items[n++] = (struct item){leaf->key[i], leaf->last[i], leaf->word[i]};
	return n;
}

static unsigned count_live(const struct tree *tree, uint32_t ref)
{
	unsigned n = 0;

	if (ref & 1) {
		const struct tree_leaf *leaf = tree_leaf_at(tree, ref);

		for (unsigned i = 0; i < TREE_LEAF; i++)
			n += leaf->word[i] != 0;
	} else {
		const struct tree_inner *inner = tree_inner_at(tree, ref);

		for (unsigned i = 0; i < TREE_INNER; i++)
			n += inner->child[i] != 0;
	}
	return n;
}

/* The way to where @key is or would be. */
static void go(struct tree *tree, unsigned slot, int32_t key, struct way *way)
{
	way->depth = 0;
	way->rightmost = true;
	way->link = &tree->root[slot];
	while ((way->ref = *way->link) && !(way->ref & 1)) {
		struct step *s = &way->step[way->depth++];

		assert(way->depth <= TREE_MAX_DEPTH);
		s->link = way->link;
		s->ref = way->ref;
		s->node = tree_inner_at(tree, s->ref);
		s->pos = tree_child_of(s->node, key);
		if (s->pos + 1 < TREE_INNER && s->node->key[s->pos + 1] != TREE_NO_KEY)
			way->rightmost = false;
		way->link = &s->node->child[s->pos];
	}
	if (way->ref)
		tree_prefetch_leaf(tree_leaf_at(tree, way->ref));
}

/* The node at @level of @way was replaced by @left and @right, whose keys start at @sep.  Enter
 * them above it, and publish. */
static void enter_split(struct tree *tree, struct way *way, uint32_t left, int32_t sep,
			uint32_t right)
{
	struct kid kids[TREE_INNER + 1];
	uint32_t *root = way->depth ? way->step[0].link : way->link;

	for (unsigned level = way->depth; level-- > 0;) {
		struct step *s = &way->step[level];
		unsigned n = 0, cut;

		for (unsigned i = 0; i < TREE_INNER && s->node->key[i] != TREE_NO_KEY; i++) {
			if (i == s->pos) {
				kids[n++] = (struct kid){s->node->key[i], left};
				kids[n++] = (struct kid){sep, right};
			} else if (s->node->child[i]) {
				kids[n++] = (struct kid){s->node->key[i], s->node->child[i]};
			}
		}
		retire(tree, s->ref);
		if (n <= TREE_INNER) {
			publish(s->link, build_inner(tree, kids, n));
			return;
		}
		cut = way->rightmost ? n - INNER_MIN - 1 : n / 2;
		left = build_inner(tree, kids, cut);
		right = build_inner(tree, kids + cut, n - cut);
		sep = kids[cut].key;
	}
	kids[0] = (struct kid){0, left};
	kids[1] = (struct kid){sep, right};
	publish(root, build_inner(tree, kids, 2));
}

/* An entry that ends at @last is to go where @way leads, but keys that are left over from removed
 * entries send its last pages elsewhere.  True when one was moved behind it: look up the way again.
 */
static bool make_way(struct tree *tree, struct way *way, int32_t last)
{
	for (unsigned level = way->depth; level-- > 0;) {
		struct step *s = &way->step[level];
		unsigned next = s->pos + 1, n, i = 0;
		struct kid kids[TREE_INNER];

		if (next == TREE_INNER || s->node->key[next] == TREE_NO_KEY)
			continue;
		if (s->node->key[next] > last)
			return false;
		/* Nothing is stored up to @last, so only one live child can begin below it. */
		n = get_kids(s->node, kids);
		while (i < n && kids[i].key <= s->node->key[s->pos])
			i++;
		if (i < n && kids[i].key <= last)
			kids[i].key = last + 1;
		publish(s->link, build_inner(tree, kids, n));
		retire(tree, s->ref);
		return true;
	}
	return false;
}

int tree_insert(struct tree *tree, uint64_t first, uint64_t last, uint64_t word)
{
	unsigned slot = (unsigned)(first >> TREE_KEY_BITS), n, at, cut;
	int32_t key = (int32_t)(first & (TREE_KEYS - 1));
	struct item items[TREE_LEAF + 1], it = {key, (int32_t)(last & (TREE_KEYS - 1)), word};
	struct tree_leaf *leaf;
	struct way way;
	uint32_t left;

	assert(slot < TREE_SLOTS && last >> TREE_KEY_BITS == slot && first <= last && word);
	if (!tree_has_room(tree))
		return -ENOMEM;
	for (;;) {
		struct kid kids[TREE_INNER];
		struct step *s;

		go(tree, slot, key, &way);
		if (way.ref) {
			if (make_way(tree, &way, it.last))
				continue;
			break;
		}
		if (!way.depth) {
			publish(way.link, build_leaf(tree, &it, 1));
			return 0;
		}
		/* An empty place: copy the node without it, so that its keys are a sibling's. */
		s = &way.step[way.depth - 1];
		n = get_kids(s->node, kids);
		publish(s->link, build_inner(tree, kids, n));
		retire(tree, s->ref);
	}

	leaf = tree_leaf_at(tree, way.ref);
	at = tree_rank16(leaf->key, key);
	if (at && leaf->key[at - 1] == key && leaf->last[at - 1] == it.last) {
		assert(!leaf->word[at - 1]); /* or it would overlap */
		store_word(leaf, at - 1, word);
		return 0;
	}
	n = get_items(leaf, items);
	for (at = n; at && items[at - 1].key > key; at--)
		items[at] = items[at - 1];
	items[at] = it;
	n++;
	retire(tree, way.ref);
	if (n <= TREE_LEAF) {
		publish(way.link, build_leaf(tree, items, n));
		return 0;
	}
	/* Ascending mappings, the usual order, fill their leaves. */
	cut = way.rightmost && at == n - 1 ? n - LEAF_MIN : n / 2;
	left = build_leaf(tree, items, cut);
	enter_split(tree, &way, left, items[cut].key, build_leaf(tree, items + cut, n - cut));
	return 0;
}

void tree_update(struct tree *tree, uint64_t first, uint64_t word)
{
	int32_t key = (int32_t)(first & (TREE_KEYS - 1));
	struct tree_leaf *leaf;
	struct way way;
	unsigned at;

	go(tree, (unsigned)(first >> TREE_KEY_BITS), key, &way);
	assert(way.ref && word);
	leaf = tree_leaf_at(tree, way.ref);
	at = tree_rank16(leaf->key, key);
	assert(at && leaf->key[at - 1] == key && leaf->word[at - 1]);
	store_word(leaf, at - 1, word);
}

/* Child @pos of @parent has too little; it has siblings.  Merge it with the next one, or share out
 * evenly what the two have. */
static void merge(struct tree *tree, struct step *parent, unsigned pos, bool is_root)
{
	struct tree_inner *p = parent->node;
	struct kid above[TREE_INNER], kids[2 * TREE_INNER];
	unsigned l = pos, r = pos, n, nr_above = 0, cut;
	uint32_t left, right = 0;
	int32_t sep = 0;

	do
		r++;
	while (r < TREE_INNER && !p->child[r]);
	if (r == TREE_INNER) {
		r = pos;
		do
			l--;
		while (!p->child[l]);
	}
	if (p->child[l] & 1) {
		struct item items[2 * TREE_LEAF];

		n = get_items(tree_leaf_at(tree, p->child[l]), items);
		n += get_items(tree_leaf_at(tree, p->child[r]), items + n);
		cut = n <= TREE_LEAF ? n : n / 2;
		left = build_leaf(tree, items, cut);
		if (cut < n) {
			right = build_leaf(tree, items + cut, n - cut);
			sep = items[cut].key;
		}
	} else {
		unsigned m = get_kids(tree_inner_at(tree, p->child[l]), kids);

		n = m + get_kids(tree_inner_at(tree, p->child[r]), kids + m);
		if (kids[m].key == 0) /* a first child: the parent knows where it starts */
			kids[m].key = p->key[r];
		cut = n <= TREE_INNER ? n : n / 2;
		left = build_inner(tree, kids, cut);
		if (cut < n) {
			right = build_inner(tree, kids + cut, n - cut);
			sep = kids[cut].key;
		}
	}
	for (unsigned i = 0; i < TREE_INNER && p->key[i] != TREE_NO_KEY; i++) {
		if (i == l)
			above[nr_above++] = (struct kid){p->key[i], left};
		else if (i == r && right)
			above[nr_above++] = (struct kid){sep, right};
		else if (i != r && p->child[i])
			above[nr_above++] = (struct kid){p->key[i], p->child[i]};
	}
	publish(parent->link, nr_above == 1 && is_root ? left : build_inner(tree, above, nr_above));
	retire(tree, p->child[l]);
	retire(tree, p->child[r]);
	retire(tree, parent->ref);
}

/* Restore the invariants on the way to @page.  Each round leaves fewer nodes or fewer of them too
 * empty. */
static void rebalance(struct tree *tree, uint64_t page)
{
	unsigned slot = (unsigned)(page >> TREE_KEY_BITS), level;
	struct way way;

	do {
		if (!tree_has_room(tree))
			return;
		go(tree, slot, (int32_t)(page & (TREE_KEYS - 1)), &way);
		for (level = way.depth; level > 0; level--) {
			uint32_t ref = level == way.depth ? way.ref : way.step[level].ref;
			struct step *parent = &way.step[level - 1];
			unsigned siblings = count_live(tree, parent->ref);

			if (siblings == 1 && level == 1) { /* the root is one child */
				struct kid only[TREE_INNER];

				get_kids(parent->node, only);
				publish(parent->link, only[0].ref);
				retire(tree, parent->ref);
				break;
			}
			if (ref && siblings > 1 &&
			    count_live(tree, ref) < (ref & 1 ? LEAF_MIN : INNER_MIN)) {
				merge(tree, parent, parent->pos, level == 1);
				break;
			}
		}
	} while (level > 0);
}

/* ---- cursor ---- */

static bool next_in_leaf(struct tree_cursor *c, unsigned from)
{
	uint64_t base = (uint64_t)c->slot << TREE_KEY_BITS;

	for (unsigned i = from; i < TREE_LEAF; i++) {
		if (!c->leaf->word[i])
			continue;
		c->pos = i;
		c->entry.first = base + (uint32_t)c->leaf->key[i];
		c->entry.last = base + (uint32_t)c->leaf->last[i];
		c->entry.word = c->leaf->word[i];
		return true;
	}
	return false;
}

static bool enter_leaf(struct tree_cursor *c, uint32_t ref)
{
	while (!(ref & 1)) {
		struct tree_inner *inner = tree_inner_at(c->tree, ref);
		unsigned pos = 0;

		while (!inner->child[pos])
			pos++;
		c->path[c->depth].node = inner;
		c->path[c->depth++].pos = pos;
		ref = inner->child[pos];
	}
	c->leaf = tree_leaf_at(c->tree, ref);
	c->leaf_ref = ref;
	c->removed = false;
	return next_in_leaf(c, 0);
}

/* Take the leaf out when nothing is left in it, and each node above that this empties.  The path
 * stays valid: the nodes are only retired. */
static void leave_leaf(struct tree_cursor *c)
{
	struct tree *tree = c->tree;
	uint32_t ref = c->leaf_ref;
	unsigned level = c->depth;

	if (!c->leaf || !c->removed)
		return;
	c->removed = false;
	while (!count_live(tree, ref)) {
		uint32_t *link = level ? &c->path[level - 1].node->child[c->path[level - 1].pos]
				       : &tree->root[c->slot];

		ref = *link;
		publish(link, 0);
		retire(tree, ref);
		if (!level)
			return;
		level--;
		ref = (uint32_t)(c->path[level].node - (struct tree_inner *)tree->inners.base) << 1;
	}
}

static bool next_leaf(struct tree_cursor *c)
{
	uint32_t ref;

	leave_leaf(c);
	while (c->depth) {
		struct tree_inner *inner = c->path[c->depth - 1].node;

		for (unsigned i = c->path[c->depth - 1].pos + 1; i < TREE_INNER; i++) {
			if (!inner->child[i])
				continue;
			c->path[c->depth - 1].pos = i;
			return enter_leaf(c, inner->child[i]);
		}
		c->depth--;
	}
	while (++c->slot < TREE_SLOTS) {
		ref = c->tree->root[c->slot];
		if (ref)
			return enter_leaf(c, ref);
	}
	c->leaf = NULL;
	return false;
}

bool tree_seek(struct tree *tree, struct tree_cursor *c, uint64_t page)
{
	int32_t k = (int32_t)(page & (TREE_KEYS - 1));
	struct way way;

	c->tree = tree;
	c->leaf = NULL;
	c->removed = false;
	c->first_removed = c->last_removed = UINT64_MAX;
	c->depth = 0;
	c->slot = (unsigned)(page >> TREE_KEY_BITS);
	if (page >> (TREE_KEY_BITS + 6))
		return false;
	go(tree, c->slot, k, &way);
	for (c->depth = 0; c->depth < way.depth; c->depth++) {
		c->path[c->depth].node = way.step[c->depth].node;
		c->path[c->depth].pos = way.step[c->depth].pos;
	}
	if (way.ref) {
		unsigned at;

		c->leaf = tree_leaf_at(tree, way.ref);
		c->leaf_ref = way.ref;
		at = tree_rank16(c->leaf->key, k);
		if (next_in_leaf(c, at ? at - 1 : 0) &&
		    (c->entry.last >= page || next_in_leaf(c, c->pos + 1)))
			return true;
	}
	return next_leaf(c);
}

bool tree_next(struct tree_cursor *c)
{
	return c->leaf && (next_in_leaf(c, c->pos + 1) || next_leaf(c));
}

void tree_remove(struct tree_cursor *c)
{
	store_word(c->leaf, c->pos, 0);
	c->removed = true;
	c->last_removed = c->entry.first;
	if (c->first_removed == UINT64_MAX)
		c->first_removed = c->entry.first;
}

void tree_done(struct tree_cursor *c)
{
	leave_leaf(c);
	c->leaf = NULL;
	if (c->first_removed == UINT64_MAX)
		return;
	rebalance(c->tree, c->first_removed);
	if (c->last_removed != c->first_removed)
		rebalance(c->tree, c->last_removed);
}
