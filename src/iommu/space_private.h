/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the files of this room know of an address space.
 *
 * The state of a mapping is one atomic word: two in-flight counts, of which the bit PHASE names the
 * one that new transfers use, and
 *  - DEAD: it is removed, or not yet published: new transfers turn away, and the last one to leave
 *    wakes the remover;
 *  - DRAIN: somebody waits for one of the counts.
 * iommu_drain() waits for one count while new transfers use the other, so that they cannot keep it
 * waiting.
 *
 *      RESERVED ──publish──▶ LIVE ──detach──▶ DETACHED ──last transfer left──▶ free after RCU
 *         └──cancel──────────────────────────────▲
 */
#ifndef UVFIO_IOMMU_SPACE_PRIVATE_H
#define UVFIO_IOMMU_SPACE_PRIVATE_H

#include <pthread.h>
#include "iommu/files.h"
#include "iommu/space.h"
#include "iommu/tree.h"

#define PAGE_BITS 12

enum mapping_life { MAPPING_FREE, MAPPING_RESERVED, MAPPING_LIVE, MAPPING_DETACHED };

#define STATE_COUNT0    1ull
#define STATE_COUNT1    (1ull << 32)
#define STATE_COUNTS    0x0FFFFFFFull /* of each half */
#define STATE_DEAD      (1ull << 28)
#define STATE_DRAIN     (1ull << 29)
#define STATE_PHASE_BIT 30
#define STATE_PHASE     (1ull << STATE_PHASE_BIT)

/* A piece of a mapping, from byte @start of it to where the next one starts. */
struct iommu_piece {
	uint64_t start;
	uint64_t offset; /* PROCESS: address in the client */
	uint8_t *host;   /* FILE */
	struct iommu_file *file;
};

struct iommu_mapping {
	uint64_t first, last; /* IOVA */
	uint64_t state;
	uint8_t *host;           /* one piece, FILE */
	struct iommu_file *file; /* one piece */
	union {
		uint64_t offset;            /* one piece, PROCESS */
		struct iommu_piece *pieces; /* more */
	};
	uint32_t nr;    /* pieces; 0: none yet */
	uint32_t next;  /* of a struct iommu_detached */
	uint32_t ahead; /* in it, a few further on: to be fetched early */
	uint8_t prot;
	uint8_t life;       /* enum mapping_life; writer mutex */
	bool vaddr_invalid; /* type1; writer mutex */
	uint8_t account;    /* likewise: whose locked memory it is, see type1_locked.c */
} __attribute__((aligned(64)));
_Static_assert(sizeof(struct iommu_mapping) == 64, "one cache line");

struct iommu_space {
	struct tree tree;
	struct slab mappings;
	uint64_t gen __attribute__((aligned(64))); /* changes after each removal: what a cache
						    * remembers is valid while it is the same */
	uint32_t cuts; /* odd while a mapping is being cut: its entries may be missing.  Beside what
			* a lookup reads anyway */
	pthread_mutex_t lock __attribute__((aligned(64)));
	pthread_cond_t flushed;
	bool flushing;      /* somebody waits for a grace period */
	uint64_t max, used; /* mappings allowed, and reserved, live or detached */
	uint64_t live;
	_Atomic uint64_t vaddr_invalid; /* written under the mutex */
	uint64_t pieces, max_pieces; /* beyond one a mapping */
	pthread_mutex_t drain_lock;
	struct iommu_files *files;
	uint64_t number;
};

/* iommu_space_new() with files that other spaces have, too. */
struct iommu_space *space_new(uint64_t max, struct iommu_files *files);

/* ---- for writers ---- */

/* Take the writer mutex; first frees what readers have left, if that is due. */
void space_lock(struct iommu_space *space);
void space_unlock(struct iommu_space *space);

/* Under the mutex: */
bool space_overlaps(struct iommu_space *space, uint64_t iova, uint64_t last);
/* Enter a range that is in the way of others and that devices cannot see.  0, -ENOMEM. */
int space_reserve(struct iommu_space *space, uint64_t iova, uint64_t last, unsigned prot,
		  struct iommu_mapping **out);
void space_publish(struct iommu_space *space, struct iommu_mapping *m);
/* Take a reserved mapping out again, with its memory if it has some. */
void space_cancel(struct iommu_space *space, struct iommu_mapping *m);
/* The live mapping that contains @iova, or the first above it that starts ≤ @last, or NULL. */
struct iommu_mapping *space_find(struct iommu_space *space, uint64_t iova, uint64_t last);
/* Take out the live mappings that lie in [@iova, @last], and add them to @out (zeroed at first); with
 * @tails also those that only start in it. */
void space_detach(struct iommu_space *space, uint64_t iova, uint64_t last, bool tails,
		  struct iommu_detached *out);
/* A reserved mapping like @like that is not in the tree: to be given other memory, and to take the
 * place of @like (then @like is detached into @out; call space_replaced()) or be dropped. */
struct iommu_mapping *space_spare(struct iommu_space *space, const struct iommu_mapping *like);
void space_replace(struct iommu_space *space, struct iommu_mapping *m, struct iommu_mapping *by,
		   struct iommu_detached *out);
void space_drop_spare(struct iommu_space *space, struct iommu_mapping *m);

/* One that lies in @of, likewise; and two of them, with memory, in the place of @m, which is detached
 * into @out.  Afterwards space_finish(@out), then mapping_put(…, 0) of both.  -ENOMEM: @m is gone, and
 * space_cancel() is for both. */
struct iommu_mapping *space_spare_part(struct iommu_space *space, const struct iommu_mapping *of,
				       uint64_t first, uint64_t last);
int space_cut(struct iommu_space *space, struct iommu_mapping *m, struct iommu_mapping *a,
	      struct iommu_mapping *b, struct iommu_detached *out);

/* Without the mutex: */
/* Give a reserved mapping its memory.  0, -EINVAL (lengths), -ENOMEM, -EFAULT. */
int space_back(struct iommu_space *space, struct iommu_mapping *m, const struct iommu_mem *mem,
	       unsigned nr);
/* Would space_finish() wait for nobody?  No transfer is in flight, and no file is let go. */
bool space_is_quiet(const struct iommu_space *space, const struct iommu_detached *list);
/* Wait for the transfers, then let the memory go. */
void space_finish(struct iommu_space *space, struct iommu_detached *list);
/* space_finish() for what space_replace() detached. */
void space_replaced(struct iommu_space *space, struct iommu_mapping *by,
		    struct iommu_detached *list);
/* backing.c: let go of the memory of a mapping that nobody uses; ->nr stays. */
void space_let_go(struct iommu_space *space, struct iommu_mapping *m);
/* Memory of one mapping for another, of a space that shares the files: each piece a reference. */
struct iommu_share {
	struct iommu_piece *pieces; /* malloc'ed */
	uint32_t nr;
};
/* What is behind @len bytes of @m from byte @off.  Whoever calls sees to it that @m stays meanwhile.
 * 0 or -ENOMEM. */
int space_share(const struct iommu_mapping *m, uint64_t off, uint64_t len, struct iommu_share *out);
/* Give a reserved mapping of that length this memory; *@share is used up when it succeeds.  0 or
 * -ENOMEM. */
int space_back_shared(struct iommu_space *space, struct iommu_mapping *m,
		      struct iommu_share *share);
void space_share_drop(struct iommu_files *files, struct iommu_share *share);
/* Bytes that the structures of the space use for what it has held so far. */
uint64_t space_bytes(struct iommu_space *space);

/* ---- for transfers ---- */

enum { CACHE_GEN, CACHE_FIRST, CACHE_LAST, CACHE_WORD };

/* [RCU] The entry that contains page number @page. */
static inline bool space_lookup(const struct iommu_space *space, struct iommu_cache *cache,
				uint64_t page, struct tree_entry *entry)
{
	/* Before the walk: what is found may already be gone, but then this is an old one. */
	uint64_t gen = __atomic_load_n(&space->gen, __ATOMIC_ACQUIRE);

	if (!cache)
		return tree_lookup(&space->tree, page, entry);
	if (cache->core[CACHE_GEN] == gen &&
	    page - cache->core[CACHE_FIRST] <= cache->core[CACHE_LAST] - cache->core[CACHE_FIRST]) {
		*entry = (struct tree_entry){cache->core[CACHE_FIRST], cache->core[CACHE_LAST],
					     cache->core[CACHE_WORD]};
		return true;
	}
	if (!tree_lookup(&space->tree, page, entry))
		return false;
	cache->core[CACHE_GEN] = gen;
	cache->core[CACHE_FIRST] = entry->first;
	cache->core[CACHE_LAST] = entry->last;
	cache->core[CACHE_WORD] = entry->word;
	return true;
}

/* The host address of the first byte of @entry, or NULL. */
static inline uint8_t *entry_host(const struct tree_entry *entry)
{
	return (uint8_t *)(uintptr_t)(entry->word >> TREE_HOST_SHIFT << PAGE_BITS);
}

static inline struct iommu_mapping *entry_mapping(const struct iommu_space *space,
						  const struct tree_entry *entry)
{
	uint64_t index = entry->word >> TREE_INDEX_SHIFT & ((1u << TREE_INDEX_BITS) - 1);

	return (struct iommu_mapping *)space->mappings.base + index;
}

static inline uint32_t mapping_index(const struct iommu_space *space, const struct iommu_mapping *m)
{
	return (uint32_t)(m - (struct iommu_mapping *)space->mappings.base);
}

static inline struct iommu_mapping *mapping_at(const struct iommu_space *space, uint32_t index)
{
	return slab_at(&space->mappings, index);
}

/* ---- inflight.c ---- */

/* The transfers in @phase, of the word that @state was. */
static inline uint32_t mapping_count(uint64_t state, unsigned phase)
{
	return (uint32_t)(state >> (32 * phase) & STATE_COUNTS);
}

/* A dead mapping: abandon what depends on answers, wait for the others.  Without the mutex. */
void mapping_wait_quiet(struct iommu_mapping *m);
/* A transfer leaves; @phase is what mapping_get() gave. */
void mapping_put(struct iommu_mapping *m, unsigned phase);

/* Another reference, by who holds one in @phase. */
static inline void mapping_ref(struct iommu_mapping *m, unsigned phase)
{
	__atomic_fetch_add(&m->state, phase ? STATE_COUNT1 : STATE_COUNT0, __ATOMIC_ACQUIRE);
}

/* Is it removed?  By who holds a reference. */
static inline bool mapping_is_dead(const struct iommu_mapping *m)
{
	return __atomic_load_n(&m->state, __ATOMIC_ACQUIRE) & STATE_DEAD;
}

/* [RCU] A transfer begins: keep the memory of @m.  False when it was removed meanwhile: look up
 * again. */
static inline bool mapping_get(struct iommu_mapping *m, unsigned *phase)
{
	uint64_t state = __atomic_load_n(&m->state, __ATOMIC_RELAXED);

	*phase = state >> STATE_PHASE_BIT & 1;
	state = __atomic_fetch_add(&m->state, *phase ? STATE_COUNT1 : STATE_COUNT0,
				   __ATOMIC_ACQUIRE);
	if (__builtin_expect(!(state & STATE_DEAD), 1))
		return true;
	mapping_put(m, *phase);
	return false;
}

#endif
