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

static size_t objects_len(const struct slab *slab)
{
	return ((size_t)slab->cap + 1) * slab->size;
}

static size_t lists_len(const struct slab *slab)
{
	return ((size_t)slab->cap + 1) * sizeof(*slab->next);
}

static void use_huge_pages(void *p, size_t len)
{
	if (len >= LARGE)
		madvise((uint8_t *)p + FIRST_PART, len - FIRST_PART, MADV_HUGEPAGE);
}

/* The lists lie behind the objects: a space is made for each client, and a mapping takes a while. */
int slab_init(struct slab *slab, uint32_t size, uint32_t cap)
{
	void *p;

	assert(size && size % 64 == 0);
	*slab = (struct slab){.size = size, .cap = cap};
	p = mmap(NULL, objects_len(slab) + lists_len(slab), PROT_READ | PROT_WRITE,
		 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (p == MAP_FAILED)
		return -ENOMEM;
	slab->base = p;
	slab->next = (uint32_t *)(slab->base + objects_len(slab));
	return 0;
}

void slab_fini(struct slab *slab)
{
	if (!slab->base)
		return;
	unpoison(slab->base, ((size_t)slab->used + 1) * slab->size);
	munmap(slab->base, objects_len(slab) + lists_len(slab));
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
	if (slab->used == slab->cap)
		return 0;
	/* The first object that reaches beyond the first part.  (For most clients none does.) */
	if (slab->used++ == FIRST_PART / slab->size) {
		use_huge_pages(slab->base, objects_len(slab));
		use_huge_pages(slab->next, lists_len(slab));
	}
	return slab->used;
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
