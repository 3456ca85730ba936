/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Access to memory that its owner may truncate at any moment (SIGBUS).  The copies are a few
 * instructions with a known address range; the SIGBUS handler sends a fault inside that range to
 * the failure exit and passes every other SIGBUS on.  x86-64 only.
 */
#ifndef UVFIO_BASE_GUARD_H
#define UVFIO_BASE_GUARD_H

#include <stddef.h>
#include <stdint.h>

/* Installs the handler; the first call does, later ones do nothing.  0 or -errno. */
int uvfio_guard_init(void);

/* 0, or -EFAULT when either side is gone (part may have been copied).  Up to 256 bytes, a multiple
 * of 16: in ascending stores of 16 (uvfio_dma_submit() promises it). */
int uvfio_guard_copy(void *dst, const void *src, size_t len);
/* The same for @words times 8 bytes: no word that is naturally aligned, on its side, is torn. */
int uvfio_guard_copy_words(void *dst, const void *src, size_t words);
/* The same with @byte everywhere: where both are multiples of 8, no word is torn. */
int uvfio_guard_fill(void *dst, int byte, size_t len);
/* One naturally aligned access of 1, 2, 4 or 8 bytes, never torn. */
int uvfio_guard_load(const void *src, unsigned size, uint64_t *value);
int uvfio_guard_store(void *dst, unsigned size, uint64_t value);

/*
 * Memory that code which knows nothing of this dereferences, at an address that must stay good: a
 * fault in [@start, +@len) puts a private page of zeros there and goes on.  Whole pages.  0 or
 * -ENOMEM.  The range is forgotten by the same @start, when nobody can touch it any more.
 */
int uvfio_guard_repair_add(void *start, size_t len);
void uvfio_guard_repair_remove(void *start);

#endif
