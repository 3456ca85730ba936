/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A log of the pages that a device has written (E.4): exact, for any ranges and any page size.
 *
 * Theory of operation.  A range is divided into chunks of CHUNK_PAGES pages, each a bitmap that is
 * made when a page of it is first written; so an empty log of a terabyte costs 64 KiB, and a report
 * passes over what was never written.  Where there is no memory for a chunk, or the log has as much
 * as it may have, all pages of the chunk count as written: too much is reported, never too little.
 *
 * A transfer marks after it has written.  A report takes the marks first, and its reader reads the
 * memory afterwards: so a page is read after the write, or is in a later report.
 *
 * Whole chunks are taken out of the log with the marks in them, a clean one takes the place of each,
 * and when the grace period has passed nobody sees them any more: they are read and cleared without
 * atomic operations.  In a chunk of which a report wants a part, each word is an atomic operation.
 *
 * Reports beside each other share what there is: a mark that is forgotten is in the bitmap of the
 * one that has taken it, or, if that one fails, in the next report.
 *
 * Threads: iommu_dirty_mark() and iommu_dirty_report() in any number of threads, the former in an
 * RCU read section, the latter outside of any.  The caller sees to it that the log stays while they
 * run.  The one lock is held for a few instructions and never across a call into a client, so a
 * client whose memory does not answer holds up its own report only.
 */
#ifndef UVFIO_IOMMU_DIRTY_H
#define UVFIO_IOMMU_DIRTY_H

#include <stdbool.h>
#include <stdint.h>
#include "iommu/bitmap.h"

#define DIRTY_MAX_RANGES 256u
#define DIRTY_MAX_BYTES  (64u << 20) /* of chunks: 512 Mi pages */
#define DIRTY_PAGE_MIN   4096ull
#define DIRTY_PAGE_MAX   (1ull << 30)

struct iommu_dirty;

struct iommu_dirty_range {
	uint64_t first, last; /* IOVA */
};

/* A log of @nr (1 to DIRTY_MAX_RANGES) ranges that do not overlap, in any order, in pages of
 * @page_size bytes (a power of two between DIRTY_PAGE_MIN and _MAX).  What lies above
 * IOMMU_IOVA_LAST is never written and costs nothing.  NULL when out of memory. */
struct iommu_dirty *iommu_dirty_new(uint64_t page_size, const struct iommu_dirty_range *ranges,
				    unsigned nr);
void iommu_dirty_free(struct iommu_dirty *log);

/* [RCU] [@iova, @iova + @len) was written. */
void iommu_dirty_mark(struct iommu_dirty *log, uint64_t iova, uint64_t len);

/*
 * Set a bit in @out for each page of @page_size bytes (a power of two, from @iova on) of
 * [@iova, @last] in which something was written, and without @keep forget it.  0 or -EFAULT: some
 * of what could not be reported is forgotten as well, and the client has to take all pages for
 * written.
 */
int iommu_dirty_report(struct iommu_dirty *log, uint64_t iova, uint64_t last, uint64_t page_size,
		       bool keep, struct iommu_bitmap *out);

/* Bytes that the chunks use. */
uint64_t iommu_dirty_bytes(const struct iommu_dirty *log);

#endif
