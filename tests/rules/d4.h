/* SPDX-License-Identifier: BSD-3-Clause */
/* What the cases about device memory share (d4_*.c). */
#ifndef RULES_D4_H
#define RULES_D4_H

#include "facts.h"

/* FEATURE DMA_BUF of region @index: a descriptor, or -errno. */
long export_ranges(struct t *t, uint32_t index, uint32_t open_flags, uint32_t flags,
		   const struct export_range *ranges, uint32_t nr);
/* Of @pages pages of the device's memory BAR, from page @first on; the case is skipped where the
 * kernel has no such feature or the BAR is smaller. */
int export_pages(struct t *t, unsigned first, unsigned pages);
/* How many whole pages the memory BAR has. */
unsigned bar_pages(const struct t *t);

#endif
