/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The allocator of IOVAs.
 *
 * Theory of operation.  The set holds maximal free extents: neighbours are always joined.  Taking a
 * range out of the middle of one needs a second node, and giving back needs one unless it joins a
 * neighbour; both nodes are allocated when the range is taken (where that can fail), and the second
 * travels in the token.
 */
#include <errno.h>
#include <stdlib.h>
#include "driver/iova.h"

static void free_tree(struct extent *e)
{
	if (!e)
		return;
	free_tree(e->child[0]);
	free_tree(e->child[1]);
	free(e);
}

void drv_iova_fini(struct drv_iova *iova)
{
	free_tree(iova->free.root);
	iova->free.root = NULL;
}

/* Put [@first, @last] into the set, joined with its neighbours; @node is used or freed. */
static void put(struct drv_iova *iova, uint64_t first, uint64_t last, struct extent *node)
{
	struct extent *below = first ? extent_floor(&iova->free, first - 1) : NULL;
	struct extent *above = last != UINT64_MAX ? extent_ceiling(&iova->free, last + 1) : NULL;

	if (below && below->last == first - 1) {
		extent_remove(&iova->free, below);
		first = below->first;
		free(below);
	}
	if (above && above->first == last + 1) {
		extent_remove(&iova->free, above);
		last = above->last;
		free(above);
	}
	node->first = first;
	node->last = last;
	extent_insert(&iova->free, node);
}

static int add(void *arg, uint64_t first, uint64_t last)
{
	struct drv_iova *iova = arg;
	struct extent *e = extent_floor(&iova->free, last), *node;

	if (e && e->last >= first)
		return -EINVAL;
	node = malloc(sizeof(*node));
	if (!node)
		return -ENOMEM;
	put(iova, first, last, node);
	return 0;
}

int drv_iova_usable(uint64_t first, uint64_t last,
		    int (*part)(void *arg, uint64_t first, uint64_t last), void *arg)
{
	int ret = 0;

	if (last < DRV_MSI_FIRST || first > DRV_MSI_LAST)
		return part(arg, first, last);
	if (first < DRV_MSI_FIRST)
		ret = part(arg, first, DRV_MSI_FIRST - 1);
	if (!ret && last > DRV_MSI_LAST)
		ret = part(arg, DRV_MSI_LAST + 1, last);
	return ret;
}

int drv_iova_add(struct drv_iova *iova, uint64_t first, uint64_t last)
{
	return first > last ? -EINVAL : drv_iova_usable(first, last, add, iova);
}

/* Take [@first, @last] out of @e, which contains it. */
static int carve(struct drv_iova *iova, struct extent *e, uint64_t first, uint64_t last,
		 struct drv_iova_token *token)
{
	struct extent *node = malloc(sizeof(*node));
	uint64_t end = e->last;

	if (!node)
		return -ENOMEM;
	if (first != e->first && last != e->last) {
		token->spare = malloc(sizeof(*token->spare));
		if (!token->spare) {
			free(node);
			return -ENOMEM;
		}
		extent_remove(&iova->free, e);
		e->last = first - 1;
		extent_insert(&iova->free, e);
		node->first = last + 1;
		node->last = end;
		extent_insert(&iova->free, node);
		return 0;
	}
	token->spare = node;
	extent_remove(&iova->free, e);
	if (first == e->first && last == e->last) {
		free(e);
		return 0;
	}
	if (first == e->first)
		e->first = last + 1;
	else
		e->last = first - 1;
	extent_insert(&iova->free, e);
	return 0;
}

int drv_iova_alloc(struct drv_iova *iova, uint64_t size, uint64_t align, uint64_t limit,
		   uint64_t *first, struct drv_iova_token *token)
{
	uint64_t at = 0;

	for (;;) {
		struct extent *e = extent_fit(&iova->free, at, size - 1);
		uint64_t start;

		if (!e)
			return -ENOSPC;
		start = (e->first + (align - 1)) & ~(align - 1);
		if (start < e->first) /* wrapped */
			return -ENOSPC;
		if (e->last >= start && e->last - start >= size - 1) {
			int ret;

			if (start > limit || limit - start < size - 1)
				return -ENOSPC;
			ret = carve(iova, e, start, start + (size - 1), token);
			if (!ret)
				*first = start;
			return ret;
		}
		/* Long enough, but not once aligned. */
		if (e->last == UINT64_MAX)
			return -ENOSPC;
		at = e->last + 1;
	}
}

int drv_iova_take(struct drv_iova *iova, uint64_t first, uint64_t size,
		  struct drv_iova_token *token)
{
	struct extent *e = extent_floor(&iova->free, first);

	if (!e || e->last < first || e->last - first < size - 1)
		return -EADDRINUSE;
	return carve(iova, e, first, first + (size - 1), token);
}

void drv_iova_give(struct drv_iova *iova, uint64_t first, uint64_t size,
		   struct drv_iova_token *token)
{
	put(iova, first, first + (size - 1), token->spare);
	token->spare = NULL;
}
