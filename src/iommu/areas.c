/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Areas by their address: a treap.  Priorities are random, so that no client can make it deep; the
 * operations are loops, so that a deep one would cost time and no more.
 */
#include <stddef.h>
#include "iommu/ioas_private.h"

struct ioas_area *areas_from(struct ioas_area *root, uint64_t iova)
{
	struct ioas_area *best = NULL;

	while (root) {
		if (root->last >= iova) {
			best = root;
			root = root->left;
		} else {
			root = root->right;
		}
	}
	return best;
}

struct ioas_area *areas_last(struct ioas_area *root)
{
	while (root && root->right)
		root = root->right;
	return root;
}

void areas_insert(struct ioas_area **root, struct ioas_area *area)
{
	struct ioas_area **left = &area->left, **right = &area->right, *t;

	while (*root && (*root)->priority >= area->priority)
		root = area->first < (*root)->first ? &(*root)->left : &(*root)->right;
	/* What is below goes to either side of it. */
	for (t = *root; t;) {
		if (t->first < area->first) {
			*left = t;
			left = &t->right;
			t = t->right;
		} else {
			*right = t;
			right = &t->left;
			t = t->left;
		}
	}
	*left = NULL;
	*right = NULL;
	*root = area;
}

void areas_remove(struct ioas_area **root, struct ioas_area *area)
{
	struct ioas_area *left = area->left, *right = area->right;

	while (*root != area)
		root = area->first < (*root)->first ? &(*root)->left : &(*root)->right;
	while (left && right) {
		if (left->priority >= right->priority) {
			*root = left;
			root = &left->right;
			left = left->right;
		} else {
			*root = right;
			root = &right->left;
			right = right->left;
		}
	}
	*root = left ? left : right;
}
