/* SPDX-License-Identifier: BSD-3-Clause */
#include <assert.h>
#include <errno.h>
#include <sys/mman.h>
#include "iommu/slab.h"

#ifdef __SANITIZE_ADDRESS__
#define SLAB_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define SLAB_ASAN 1
#endif
#endif

/* A free object is out of bounds for everybody: have AddressSanitizer say so. */
#ifdef SLAB_ASAN
#include <sanitizer/asan_interface.h>
#define poison(p, n)   ASAN_POISON_MEMORY_REGION(p, n)
#define unpoison(p, n) ASAN_UNPOISON_MEMORY_REGION(p, n)
#else
#define poison(p, n)   ((void)(p), (void)(n))
#define unpoison(p, n) ((void)(p), (void)(n))
#endif

/* A large slab may have huge pages behind its first part, so that a small use of it stays small. */
#define LARGE	   (16u << 20)
#define FIRST_PART (2u << 20)

static void *reserve(size_t len)
{
	uint8_t *p = mmap(NULL, len, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (p == MAP_FAILED)
		return NULL;
	if (len >= LARGE)
		madvise(p + FIRST_PART, len - FIRST_PART, MADV_HUGEPAGE);
	return p;
}

int slab_init(struct slab *slab, uint32_t size, uint32_t cap)
{
	size_t n = (size_t)cap + 1;

	assert(size && size % 64 == 0);
	*slab = (struct slab){.size = size, .cap = cap};
	slab->base = reserve(n * size);
	if (!slab->base)
		return -ENOMEM;
	slab->next = reserve(n * sizeof(*slab->next));
	if (!slab->next) {
		munmap(slab->base, n * size);
		return -ENOMEM;
	}
	return 0;
}

void slab_fini(struct slab *slab)
{
	size_t n = (size_t)slab->cap + 1;

	if (!slab->base)
		return;
	unpoison(slab->base, ((size_t)slab->used + 1) * slab->size);
	munmap(slab->base, n * slab->size);
	munmap(slab->next, n * sizeof(*slab->next));
	slab->base = NULL;
}

static void push(struct slab *slab, struct slab_list *list, uint32_t index)
{
	slab->next[index] = list->head;
	if (!list->head)
		list->tail = index;
	list->head = index;
	list->nr++;
}

uint32_t slab_alloc(struct slab *slab)
{
	uint32_t index = slab->free.head;

	if (index) {
		slab->free.head = slab->next[index];
		slab->free.nr--;
		unpoison(slab_at(slab, index), slab->size);
		return index;
	}
	return slab->used < slab->cap ? ++slab->used : 0;
}

void slab_free(struct slab *slab, uint32_t index)
{
	poison(slab_at(slab, index), slab->size);
	push(slab, &slab->free, index);
}

void slab_retire(struct slab *slab, uint32_t index)
{
	push(slab, &slab->retired, index);
}

struct slab_list slab_take_retired(struct slab *slab)
{
	struct slab_list list = slab->retired;

	slab->retired = (struct slab_list){0};
	return list;
}

void slab_give_back(struct slab *slab, struct slab_list list)
{
	if (!list.nr)
		return;
#ifdef SLAB_ASAN
	for (uint32_t i = list.head; i; i = slab->next[i])
		poison(slab_at(slab, i), slab->size);
#endif
	slab->next[list.tail] = slab->free.head;
	if (!slab->free.head)
		slab->free.tail = list.tail;
	slab->free.head = list.head;
	slab->free.nr += list.nr;
}
