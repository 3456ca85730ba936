/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A slab: objects of one size at fixed addresses, named by a 32-bit index from 1 (0: none).
 *
 * Theory of operation.  The slab reserves address space for all the objects that it may ever hold
 * and touches it from the front, so that an index is enough to name an object, memory is used only
 * for what was needed at some time, and the reservation is the limit.  Memory of an object never
 * becomes anything but an object of the same slab until the slab is freed.
 *
 * An object that RCU readers may still see is retired, not freed.  Retired objects gather in a list
 * (linked beside the objects: readers still read those) until their owner takes the list out, waits
 * for a grace period, and gives it back.
 *
 * Threads: the owner serialises all calls.
 */
#ifndef UVFIO_IOMMU_SLAB_H
#define UVFIO_IOMMU_SLAB_H

#include <stddef.h>
#include <stdint.h>

struct slab_list {
	uint32_t head, tail, nr;
};

struct slab {
	uint8_t *base;
	uint32_t *next; /* of the free or retired list that the object is in */
	uint32_t size, cap;
	uint32_t used; /* objects 1 … used have been handed out at some time */
	struct slab_list free, retired;
};

/* @size bytes an object (a multiple of 64: objects are aligned to 64), at most @cap of them.  0 or
 * -ENOMEM. */
int slab_init(struct slab *slab, uint32_t size, uint32_t cap);
void slab_fini(struct slab *slab);
/* An index; 0 when the slab is used up.  The contents are what the last user left, 0 at first. */
uint32_t slab_alloc(struct slab *slab);
/* Nobody but the caller knows @index. */
void slab_free(struct slab *slab, uint32_t index);
/* Readers may still use @index. */
void slab_retire(struct slab *slab, uint32_t index);
struct slab_list slab_take_retired(struct slab *slab);
/* A grace period after slab_take_retired(). */
void slab_give_back(struct slab *slab, struct slab_list list);

/* How many slab_alloc() will succeed. */
static inline uint32_t slab_available(const struct slab *slab)
{
	return slab->cap - slab->used + slab->free.nr;
}

static inline void *slab_at(const struct slab *slab, uint32_t index)
{
	return slab->base + (size_t)index * slab->size;
}

/* Bytes of memory that the slab uses at most for what it has handed out so far. */
static inline uint64_t slab_bytes(const struct slab *slab)
{
	return slab->used ? ((uint64_t)slab->used + 1) * (slab->size + sizeof(*slab->next)) : 0;
}

#endif
