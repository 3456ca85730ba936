/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Sets of ranges that do not overlap, ordered by address: free IOVAs, mappings.  A treap whose
 * nodes know the longest range below them, so that each operation takes O(log n) steps.  Nodes are
 * the caller's; nothing allocates.  Not locked: the owner of the set does that.
 */
#ifndef UVFIO_DRIVER_EXTENT_H
#define UVFIO_DRIVER_EXTENT_H

#include <stdint.h>

struct extent {
	uint64_t first, last; /* inclusive, so that a range may end at 2^64 - 1 */
	struct extent *child[2];
	uint64_t longest; /* the greatest last - first in this subtree */
	uint32_t priority;
};

struct extent_set {
	struct extent *root;
	uint32_t seed;
};

/* Add @e, whose ->first and ->last are set and overlap nothing in the set. */
void extent_insert(struct extent_set *set, struct extent *e);
/* Take out @e, which is in the set. */
void extent_remove(struct extent_set *set, struct extent *e);
/* The last extent with ->first ≤ @at, or NULL. */
struct extent *extent_floor(const struct extent_set *set, uint64_t at);
/* The first extent with ->first ≥ @at, or NULL. */
struct extent *extent_ceiling(const struct extent_set *set, uint64_t at);
/* The first extent with ->first ≥ @at that is longer than @length bytes less one (last - first ≥
 * @span), or NULL. */
struct extent *extent_fit(const struct extent_set *set, uint64_t at, uint64_t span);

#endif
