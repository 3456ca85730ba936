/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A pool: objects of one size at fixed addresses, named by a 32-bit index from 1 (0: none).
 *
 * Theory of operation.  The pool reserves address space for all the objects that it may ever hold
 * and touches it from the front, so that an index is enough to name an object, memory is used only
 * for what was needed at some time, and the reservation is the limit.  Memory of an object never
 * becomes anything but an object of the same pool until the pool is freed.
 *
 * An object that RCU readers may still see is retired, not freed.  Retired objects gather in a list
 * (linked beside the objects: readers still read those) until their owner takes the list out, waits
 * for a grace period, and gives it back.
 *
 * Threads: the owner serialises all calls.
 */
#ifndef UVFIO_IOMMU_POOL_H
#define UVFIO_IOMMU_POOL_H

#include <stddef.h>
#include <stdint.h>

struct pool_list {
	uint32_t head, tail, nr;
};

struct pool {
	uint8_t *base;
	uint32_t *next; /* of the free or retired list that the object is in */
	uint32_t size, cap;
	uint32_t used; /* objects 1 … used have been handed out at some time */
	struct pool_list free, retired;
};

/* @size bytes an object (a multiple of 64: objects are aligned to 64), at most @cap of them.  0 or
 * -ENOMEM. */
int pool_init(struct pool *pool, uint32_t size, uint32_t cap);
void pool_fini(struct pool *pool);
/* An index; 0 when the pool is used up.  The contents are what the last user left, 0 at first. */
uint32_t pool_alloc(struct pool *pool);
/* Nobody but the caller knows @index. */
void pool_free(struct pool *pool, uint32_t index);
/* Readers may still use @index. */
void pool_retire(struct pool *pool, uint32_t index);
struct pool_list pool_take_retired(struct pool *pool);
/* A grace period after pool_take_retired(). */
void pool_give_back(struct pool *pool, struct pool_list list);

/* How many pool_alloc() will succeed. */
static inline uint32_t pool_available(const struct pool *pool)
{
	return pool->cap - pool->used + pool->free.nr;
}

static inline void *pool_at(const struct pool *pool, uint32_t index)
{
	return pool->base + (size_t)index * pool->size;
}

/* Bytes of memory that the pool uses at most for what it has handed out so far. */
static inline uint64_t pool_bytes(const struct pool *pool)
{
	return pool->used ? ((uint64_t)pool->used + 1) * (pool->size + sizeof(*pool->next)) : 0;
}

#endif
