/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Writers of an address space: map and unmap.  (What is behind a mapping: backing.c; waiting for
 * transfers: inflight.c.)
 *
 * The order of a removal: the entries leave the tree, the mapping is marked dead, the generation
 * changes, the writer mutex is released, the transfers are waited for, the memory is let go, and
 * the mapping is retired until readers have left.  So a reader that finds a dead mapping finds it
 * gone when it looks into the tree again; and one that trusts a cache of the same generation began
 * before the mapping was retired, so that it still exists.
 */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include "iommu/space_private.h"

static_assert(sizeof(struct iommu_mapping) == 64, "one cache line");

/* How many objects may wait for a grace period before a writer sees to it; at twice that, writers
 * wait for the one who does. */
#define FLUSH_MAPPINGS 1024u
#define FLUSH_LEAVES   1024u
#define FLUSH_INNERS   96u
#define MAPPING_SLACK  4096u
#define MAX_SPARES     512u

/* ---- objects that readers have left ---- */

static bool flush_due(const struct iommu_space *s, unsigned times)
{
	return s->mappings.retired.nr >= times * FLUSH_MAPPINGS ||
	       s->tree.leaves.retired.nr >= times * FLUSH_LEAVES ||
	       s->tree.inners.retired.nr >= times * FLUSH_INNERS;
}

/* Too little for the next operation, while something can be freed or is being freed. */
static bool low(const struct iommu_space *s)
{
	return (slab_available(&s->mappings) < 2 || !tree_has_room(&s->tree)) &&
	       (s->flushing || s->mappings.retired.nr || s->tree.leaves.retired.nr ||
		s->tree.inners.retired.nr);
}

/* Mutex held; releases it meanwhile.  What it waits for are lookups, which wait for nothing. */
static void flush(struct iommu_space *s)
{
	struct slab_list mappings, leaves, inners;

	while (s->flushing) {
		if (!flush_due(s, 2) && !low(s))
			return;
		pthread_cond_wait(&s->flushed, &s->lock);
	}
	if (!flush_due(s, 1) && !low(s))
		return;
	s->flushing = true;
	mappings = slab_take_retired(&s->mappings);
	leaves = slab_take_retired(&s->tree.leaves);
	inners = slab_take_retired(&s->tree.inners);
	pthread_mutex_unlock(&s->lock);
	uvfio_rcu_synchronize();
	pthread_mutex_lock(&s->lock);
	slab_give_back(&s->mappings, mappings);
	slab_give_back(&s->tree.leaves, leaves);
	slab_give_back(&s->tree.inners, inners);
	s->flushing = false;
	pthread_cond_broadcast(&s->flushed);
}

void space_lock(struct iommu_space *s)
{
	pthread_mutex_lock(&s->lock);
	if (__builtin_expect(flush_due(s, 1) || low(s), 0))
		flush(s);
}

void space_unlock(struct iommu_space *s)
{
	pthread_mutex_unlock(&s->lock);
}

uint64_t space_bytes(struct iommu_space *s)
{
	uint64_t bytes;

	pthread_mutex_lock(&s->lock);
	bytes = sizeof(*s) + slab_bytes(&s->mappings) + slab_bytes(&s->tree.leaves) +
		slab_bytes(&s->tree.inners) + s->pieces * sizeof(struct iommu_piece);
	pthread_mutex_unlock(&s->lock);
	return bytes;
}

/* ---- the life of a space ---- */

struct iommu_space *space_new(uint64_t max, struct iommu_files *files)
{
	struct iommu_space *s = aligned_alloc(64, sizeof(*s));

	if (!s)
		return NULL;
	memset(s, 0, sizeof(*s));
	s->max = max < 1 ? 1 : max > IOMMU_MAX_MAPPINGS ? IOMMU_MAX_MAPPINGS : max;
	s->max_pieces = s->max + IOMMU_SPARE_PIECES;
	if (tree_init(&s->tree, s->max)) {
		free(s);
		return NULL;
	}
	if (slab_init(&s->mappings, sizeof(struct iommu_mapping),
		      (uint32_t)s->max + MAPPING_SLACK)) {
		tree_fini(&s->tree);
		free(s);
		return NULL;
	}
	/* A cache that was not zeroed when its device changed spaces still misses. */
	if (getrandom(&s->gen, sizeof(s->gen), GRND_NONBLOCK) != sizeof(s->gen))
		s->gen = (uint64_t)(uintptr_t)s << 16;
	s->gen |= 1ull << 63;
	pthread_mutex_init(&s->lock, NULL);
	pthread_mutex_init(&s->drain_lock, NULL);
	pthread_cond_init(&s->flushed, NULL);
	files_hold(files);
	s->files = files;
	return s;
}

struct iommu_space *iommu_space_new(uint64_t max)
{
	struct iommu_files *files = files_new();
	struct iommu_space *s = files ? space_new(max, files) : NULL;

	if (files)
		files_drop(files);
	return s;
}
static_assert(IOMMU_MAX_MAPPINGS + MAPPING_SLACK < 1u << TREE_INDEX_BITS, "an index fits a word");

void iommu_space_set_number(struct iommu_space *s, uint64_t number)
{
	s->number = number;
}

uint64_t iommu_space_number(const struct iommu_space *s)
{
	return s->number;
}

void iommu_space_free(struct iommu_space *s)
{
	uint64_t count;

	if (!s)
		return;
	iommu_unmap(s, 0, IOMMU_IOVA_LAST, &count);
	assert(!s->used && !s->pieces);
	files_drop(s->files);
	tree_fini(&s->tree);
	slab_fini(&s->mappings);
	pthread_cond_destroy(&s->flushed);
	pthread_mutex_destroy(&s->drain_lock);
	pthread_mutex_destroy(&s->lock);
	free(s);
}

/* ---- entries ---- */

/* The word of the entry of @m that starts at @page. */
static uint64_t word_of(const struct iommu_space *s, const struct iommu_mapping *m, uint64_t page)
{
	uint64_t word = (uint64_t)mapping_index(s, m) << TREE_INDEX_SHIFT;

	if (m->life != MAPPING_LIVE)
		return word;
	word |= TREE_PRESENT;
	word |= m->prot & IOMMU_READ ? TREE_READ : 0;
	word |= m->prot & IOMMU_WRITE ? TREE_WRITE : 0;
	if (m->host) {
		uint64_t host = (uintptr_t)m->host + ((page << PAGE_BITS) - m->first);

		word |= host >> PAGE_BITS << TREE_HOST_SHIFT;
	}
	return word;
}

/* The entries of @m: one in each tree that it touches. */
#define for_each_entry(m, page, end)                                                               \
	for (uint64_t page = (m)->first >> PAGE_BITS, end;                                         \
	     page <= (m)->last >> PAGE_BITS &&                                                     \
	     (end = page | (TREE_KEYS - 1),                                                        \
	     end = end < (m)->last >> PAGE_BITS ? end : (m)->last >> PAGE_BITS, true);             \
	     page = end + 1)

static void set_words(struct iommu_space *s, struct iommu_mapping *m)
{
	for_each_entry(m, page, end) tree_update(&s->tree, page, word_of(s, m, page));
}

/* Take the entries of @m out of the tree. */
static void remove_entries(struct iommu_space *s, struct iommu_mapping *m)
{
	struct tree_cursor c;
	bool more = tree_seek(&s->tree, &c, m->first >> PAGE_BITS);

	while (more && entry_mapping(s, &c.entry) == m) {
		tree_remove(&c);
		more = tree_next(&c);
	}
	tree_done(&c);
}

bool space_overlaps(struct iommu_space *s, uint64_t iova, uint64_t last)
{
	struct tree_cursor c;

	return tree_seek(&s->tree, &c, iova >> PAGE_BITS) && c.entry.first <= last >> PAGE_BITS;
}

struct iommu_mapping *space_find(struct iommu_space *s, uint64_t iova, uint64_t last)
{
	struct tree_cursor c;
	bool more = tree_seek(&s->tree, &c, iova >> PAGE_BITS);

	for (; more && c.entry.first <= last >> PAGE_BITS; more = tree_next(&c))
		if (entry_mapping(s, &c.entry)->life == MAPPING_LIVE)
			return entry_mapping(s, &c.entry);
	return NULL;
}

static struct iommu_mapping *new_mapping(struct iommu_space *s, uint64_t first, uint64_t last,
					 unsigned prot)
{
	struct iommu_mapping *m;
	uint32_t index;

	if (s->used >= s->max + MAX_SPARES)
		return NULL;
	index = slab_alloc(&s->mappings);
	if (!index)
		return NULL;
	m = mapping_at(s, index);
	m->first = first;
	m->last = last;
	m->host = NULL;
	m->file = NULL;
	m->pieces = NULL;
	m->nr = 0;
	m->account = 0;
	m->next = 0;
	m->prot = (uint8_t)prot;
	m->life = MAPPING_RESERVED;
	m->vaddr_invalid = false;
	__atomic_store_n(&m->state, STATE_DEAD, __ATOMIC_RELAXED);
	s->used++;
	return m;
}

int space_reserve(struct iommu_space *s, uint64_t iova, uint64_t last, unsigned prot,
		  struct iommu_mapping **out)
{
	struct iommu_mapping *m;

	if (s->used >= s->max)
		return -ENOMEM;
	m = new_mapping(s, iova, last, prot);
	if (!m)
		return -ENOMEM;
	for_each_entry(m, page, end)
	{
		if (tree_insert(&s->tree, page, end, word_of(s, m, page))) {
			space_cancel(s, m);
			return -ENOMEM;
		}
	}
	*out = m;
	return 0;
}

void space_publish(struct iommu_space *s, struct iommu_mapping *m)
{
	assert(m->life == MAPPING_RESERVED && m->nr);
	m->life = MAPPING_LIVE;
	s->live++;
	__atomic_store_n(&m->state, 0, __ATOMIC_RELEASE);
	set_words(s, m);
}

static void forget(struct iommu_space *s, struct iommu_mapping *m)
{
	m->life = MAPPING_FREE;
	s->used--;
	slab_retire(&s->mappings, mapping_index(s, m));
}

void space_cancel(struct iommu_space *s, struct iommu_mapping *m)
{
	remove_entries(s, m);
	space_drop_spare(s, m);
}

/* Its entries are gone: turn away those who still find it. */
static void note_detached(struct iommu_space *s, struct iommu_mapping *m,
			  struct iommu_detached *out)
{
	uint32_t *slot = &out->recent[out->count % DETACHED_AHEAD], index = mapping_index(s, m);

	m->life = MAPPING_DETACHED;
	m->next = m->ahead = 0;
	if (out->count)
		mapping_at(s, out->recent[(out->count - 1) % DETACHED_AHEAD])->next = index;
	else
		out->head = index;
	if (*slot)
		mapping_at(s, *slot)->ahead = index;
	*slot = index;
	out->count++;
	out->bytes += m->last - m->first + 1;
	s->live--;
	s->vaddr_invalid -= m->vaddr_invalid;
	__atomic_fetch_or(&m->state, STATE_DEAD, __ATOMIC_ACQ_REL);
}

static void new_generation(struct iommu_space *s)
{
	__atomic_store_n(&s->gen, s->gen + 1, __ATOMIC_RELEASE);
}

void space_detach(struct iommu_space *s, uint64_t iova, uint64_t last, bool tails,
		  struct iommu_detached *out)
{
	struct tree_cursor c;
	bool more = tree_seek(&s->tree, &c, iova >> PAGE_BITS);

	for (; more; more = tree_next(&c)) {
		struct iommu_mapping *m = entry_mapping(s, &c.entry);
		struct tree_entry soon = {.word = c.leaf->word[(c.pos + 6) % TREE_LEAF]};

		__builtin_prefetch(entry_mapping(s, &soon));
		__builtin_prefetch(&s->mappings.next[mapping_index(s, m)], 1);
		if (m->first > last)
			break;
		if (m->first < iova || (m->last > last && !tails) || m->life == MAPPING_RESERVED)
			continue;
		tree_remove(&c);
		if (c.entry.last == m->last >> PAGE_BITS) /* its last entry */
			note_detached(s, m, out);
	}
	tree_done(&c);
	if (out->count)
		new_generation(s);
}

/* ---- spares: new memory for a mapping that stays ---- */

struct iommu_mapping *space_spare(struct iommu_space *s, const struct iommu_mapping *like)
{
	return new_mapping(s, like->first, like->last, like->prot);
}

struct iommu_mapping *space_spare_part(struct iommu_space *s, const struct iommu_mapping *of,
				       uint64_t first, uint64_t last)
{
	return new_mapping(s, first, last, of->prot);
}

static int insert_entries(struct iommu_space *s, struct iommu_mapping *m)
{
	int ret = 0;

	for_each_entry(m, page, end)
	{
		ret = ret ? ret : tree_insert(&s->tree, page, end, word_of(s, m, page));
	}
	return ret;
}

int space_cut(struct iommu_space *s, struct iommu_mapping *m, struct iommu_mapping *a,
	      struct iommu_mapping *b, struct iommu_detached *out)
{
	int ret;

	*out = (struct iommu_detached){0};
	/* Whoever looks between the two and finds nothing looks again. */
	__atomic_fetch_add(&s->cuts, 1, __ATOMIC_SEQ_CST);
	remove_entries(s, m);
	ret = insert_entries(s, a);
	if (!ret)
		ret = insert_entries(s, b);
	if (!ret) {
		space_publish(s, a);
		space_publish(s, b);
		/* Who unmaps either waits for the transfers of @m too. */
		__atomic_fetch_add(&a->state, STATE_COUNT0, __ATOMIC_ACQUIRE);
		__atomic_fetch_add(&b->state, STATE_COUNT0, __ATOMIC_ACQUIRE);
	}
	__atomic_fetch_add(&s->cuts, 1, __ATOMIC_SEQ_CST);
	note_detached(s, m, out);
	new_generation(s);
	return ret;
}

void space_replace(struct iommu_space *s, struct iommu_mapping *m, struct iommu_mapping *by,
		   struct iommu_detached *out)
{
	*out = (struct iommu_detached){0};
	space_publish(s, by);
	/* Who unmaps @by waits for the transfers of @m too. */
	__atomic_fetch_add(&by->state, STATE_COUNT0, __ATOMIC_ACQUIRE);
	note_detached(s, m, out);
	new_generation(s);
}

void space_replaced(struct iommu_space *s, struct iommu_mapping *by, struct iommu_detached *list)
{
	space_finish(s, list);
	mapping_put(by, 0);
}

void space_drop_spare(struct iommu_space *s, struct iommu_mapping *m)
{
	assert(m->life == MAPPING_RESERVED);
	space_let_go(s, m);
	s->pieces -= m->nr > 1 ? m->nr : 0;
	forget(s, m);
}

/* ---- the end of what was detached ---- */

bool space_is_quiet(const struct iommu_space *s, const struct iommu_detached *list)
{
	for (uint32_t i = list->head; i;) {
		const struct iommu_mapping *m = mapping_at(s, i);
		uint64_t state = __atomic_load_n(&m->state, __ATOMIC_ACQUIRE);

		/* They are dead: no count but that of who turns away at once goes up again. */
		if (mapping_count(state, 0) | mapping_count(state, 1) || m->nr != 1)
			return false;
		/* The last one would unmap the file, which takes long, or close it. */
		if (m->file->kind != IOMMU_MEM_PEER &&
		    __atomic_load_n(&m->file->refs, __ATOMIC_RELAXED) <= list->count)
			return false;
		i = m->next;
	}
	return true;
}

void space_finish(struct iommu_space *s, struct iommu_detached *list)
{
	uint32_t i = list->head, batch[64];

	list->head = 0;
	while (i) {
		uint64_t pieces = 0;
		unsigned n = 0;

		for (; i && n < 64; n++) {
			struct iommu_mapping *m = mapping_at(s, i);

			__builtin_prefetch(mapping_at(s, m->ahead));
			__builtin_prefetch(&s->mappings.next[m->ahead], 1);
			mapping_wait_quiet(m);
			pieces += m->nr > 1 ? m->nr : 0;
			space_let_go(s, m);
			batch[n] = i;
			i = m->next;
		}
		pthread_mutex_lock(&s->lock);
		s->pieces -= pieces;
		for (unsigned k = 0; k < n; k++)
			forget(s, mapping_at(s, batch[k]));
		pthread_mutex_unlock(&s->lock);
	}
}

/* ---- what others see ---- */

bool iommu_overlaps(struct iommu_space *s, uint64_t iova, uint64_t last)
{
	bool ret;

	space_lock(s);
	ret = space_overlaps(s, iova, last);
	space_unlock(s);
	return ret;
}

int iommu_map(struct iommu_space *s, uint64_t iova, uint64_t size, unsigned prot,
	      const struct iommu_mem *mem, unsigned nr)
{
	struct iommu_mapping *m;
	int ret;

	if (!size || ((iova | size) & (IOMMU_PAGE_SIZE - 1)) || iova > IOMMU_IOVA_LAST ||
	    size - 1 > IOMMU_IOVA_LAST - iova)
		return -EINVAL;
	space_lock(s);
	if (space_overlaps(s, iova, iova + size - 1))
		ret = -EEXIST;
	else
		ret = space_reserve(s, iova, iova + size - 1, prot, &m);
	space_unlock(s);
	if (ret)
		return ret;
	ret = space_back(s, m, mem, nr);
	space_lock(s);
	if (ret)
		space_cancel(s, m);
	else
		space_publish(s, m);
	space_unlock(s);
	return ret;
}

bool iommu_find(struct iommu_space *s, uint64_t iova, uint64_t last, uint64_t *first,
		uint64_t *size)
{
	struct iommu_mapping *m;

	space_lock(s);
	m = space_find(s, iova, last);
	if (m) {
		*first = m->first;
		*size = m->last - m->first + 1;
	}
	space_unlock(s);
	return m != NULL;
}

uint64_t iommu_unmap(struct iommu_space *s, uint64_t iova, uint64_t last, uint64_t *count)
{
	struct iommu_detached list = {0};

	space_lock(s);
	space_detach(s, iova, last, false, &list);
	space_unlock(s);
	space_finish(s, &list);
	*count = list.count;
	return list.bytes;
}

uint64_t iommu_mapping_count(struct iommu_space *s)
{
	uint64_t n;

	space_lock(s);
	n = s->live;
	space_unlock(s);
	return n;
}
