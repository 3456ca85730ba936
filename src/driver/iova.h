/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Which addresses are free: of an IOVA space, or of the file that DMA memory lies in.
 *
 * Ranges are added once, then taken and given back.  Not locked: the owner does that.
 */
#ifndef UVFIO_DRIVER_IOVA_H
#define UVFIO_DRIVER_IOVA_H

#include "driver/extent.h"

/* x86's interrupt window: a write there is an interrupt, not a memory access (D.2). */
#define DRV_MSI_FIRST 0xfee00000ull
#define DRV_MSI_LAST  0xfeefffffull

struct drv_iova {
	struct extent_set free;
};

/* What is needed to give a range back, so that it cannot fail. */
struct drv_iova_token {
	struct extent *spare;
};

/* @part with @arg for what is left of [@first, @last] without the interrupt window, until it does
 * not return 0; what it returned last. */
int drv_iova_usable(uint64_t first, uint64_t last,
		    int (*part)(void *arg, uint64_t first, uint64_t last), void *arg);

void drv_iova_fini(struct drv_iova *iova);
/* Add [@first, @last] to the free addresses, except the interrupt window.  0, -EINVAL when it
 * overlaps what is there, or -ENOMEM. */
int drv_iova_add(struct drv_iova *iova, uint64_t first, uint64_t last);
/* Take @size bytes (not 0), aligned to @align (a power of two), the lowest that end at or below
 * @limit; 0, -ENOSPC or -ENOMEM. */
int drv_iova_alloc(struct drv_iova *iova, uint64_t size, uint64_t align, uint64_t limit,
		   uint64_t *first, struct drv_iova_token *token);
/* Take exactly [@first, +@size); -EADDRINUSE when not all of it is free. */
int drv_iova_take(struct drv_iova *iova, uint64_t first, uint64_t size,
		  struct drv_iova_token *token);
/* Give back what was taken, with the token of that.  Never fails. */
void drv_iova_give(struct drv_iova *iova, uint64_t first, uint64_t size,
		   struct drv_iova_token *token);

#endif
