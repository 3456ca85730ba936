/* SPDX-License-Identifier: BSD-3-Clause */
#include <assert.h>
#include <errno.h>
#include <sys/mman.h>
#include "iommu/pool.h"

#ifdef __SANITIZE_ADDRESS__
#define POOL_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define POOL_ASAN 1
#endif
#endif

/* A free object is out of bounds for everybody: have AddressSanitizer say so. */
#ifdef POOL_ASAN
#include <sanitizer/asan_interface.h>
#define poison(p, n)   ASAN_POISON_MEMORY_REGION(p, n)
#define unpoison(p, n) ASAN_UNPOISON_MEMORY_REGION(p, n)
#else
#define poison(p, n)   ((void)(p), (void)(n))
#define unpoison(p, n) ((void)(p), (void)(n))
#endif

static void *reserve(size_t len)
{
	void *p = mmap(NULL, len, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	return p == MAP_FAILED ? NULL : p;
}

int pool_init(struct pool *pool, uint32_t size, uint32_t cap)
{
	size_t n = (size_t)cap + 1;

	assert(size && size % 64 == 0);
	*pool = (struct pool){.size = size, .cap = cap};
	pool->base = reserve(n * size);
	if (!pool->base)
		return -ENOMEM;
	pool->next = reserve(n * sizeof(*pool->next));
	if (!pool->next) {
		munmap(pool->base, n * size);
		return -ENOMEM;
	}
	return 0;
}

void pool_fini(struct pool *pool)
{
	size_t n = (size_t)pool->cap + 1;

	if (!pool->base)
		return;
	unpoison(pool->base, n * pool->size);
	munmap(pool->base, n * pool->size);
	munmap(pool->next, n * sizeof(*pool->next));
	pool->base = NULL;
}

static void push(struct pool *pool, struct pool_list *list, uint32_t index)
{
	pool->next[index] = list->head;
	if (!list->head)
		list->tail = index;
	list->head = index;
	list->nr++;
}

uint32_t pool_alloc(struct pool *pool)
{
	uint32_t index = pool->free.head;

	if (index) {
		pool->free.head = pool->next[index];
		pool->free.nr--;
		unpoison(pool_at(pool, index), pool->size);
		return index;
	}
	return pool->used < pool->cap ? ++pool->used : 0;
}

void pool_free(struct pool *pool, uint32_t index)
{
	poison(pool_at(pool, index), pool->size);
	push(pool, &pool->free, index);
}

void pool_retire(struct pool *pool, uint32_t index)
{
	push(pool, &pool->retired, index);
}

struct pool_list pool_take_retired(struct pool *pool)
{
	struct pool_list list = pool->retired;

	pool->retired = (struct pool_list){0};
	return list;
}

void pool_give_back(struct pool *pool, struct pool_list list)
{
	if (!list.nr)
		return;
#ifdef POOL_ASAN
	for (uint32_t i = list.head; i; i = pool->next[i])
		poison(pool_at(pool, i), pool->size);
#endif
	pool->next[list.tail] = pool->free.head;
	if (!pool->free.head)
		pool->free.tail = list.tail;
	pool->free.head = list.head;
	pool->free.nr += list.nr;
}
