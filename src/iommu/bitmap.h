/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A bitmap of pages in the client's memory: 64-bit words, bit 0 of the first one for the first page
 * (D.2 DIRTY_PAGES, E.4 REPORT).  Words are gathered here and go to the client a run at a time, so
 * that a thousand small mappings are not as many transfers.
 *
 * One thread at a time.  No lock may be held: the callbacks reach into the client.
 */
#ifndef UVFIO_IOMMU_BITMAP_H
#define UVFIO_IOMMU_BITMAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The client's memory: 0 or -EFAULT. */
struct iommu_bitmap_io {
	int (*read)(void *client, void *dst, uint64_t uaddr, size_t len);
	int (*write)(void *client, uint64_t uaddr, const void *src, size_t len);
	void *client;
};

#define BITMAP_WORDS 512u

struct iommu_bitmap {
	const struct iommu_bitmap_io *io;
	uint64_t data;  /* the client's address */
	uint64_t first; /* the word that @words begins with */
	unsigned nr;    /* words gathered */
	bool merge;     /* they are added to what the client has */
	uint64_t words[BITMAP_WORDS];
};

/* Of the functions below, one bitmap takes either _overwrite() or (with @merge) the other two. */
void iommu_bitmap_init(struct iommu_bitmap *b, const struct iommu_bitmap_io *io, uint64_t data,
		       bool merge);
/*
 * The bits [@bit, @bit+@count) are to be set.  Words that they begin take the place of what the
 * client has there; of one that they begin in the middle of, what it had is kept (D.2).  Ascending
 * calls.  0 or -EFAULT.
 */
int iommu_bitmap_overwrite(struct iommu_bitmap *b, uint64_t bit, uint64_t count);
/* The bits [@bit, @bit+@count) are to be set, and those of @word at @bit and behind; what the
 * client has is kept.  Nearly ascending calls: not in front of the word of the last one.  0 or
 * -EFAULT. */
int iommu_bitmap_set(struct iommu_bitmap *b, uint64_t bit, uint64_t count);
int iommu_bitmap_or(struct iommu_bitmap *b, uint64_t bit, uint64_t word);
/* The same for @n words, of which the first and the last are not 0. */
int iommu_bitmap_or_words(struct iommu_bitmap *b, uint64_t bit, const uint64_t *words, size_t n);
/* Send what was gathered.  0 or -EFAULT. */
int iommu_bitmap_flush(struct iommu_bitmap *b);

#endif
