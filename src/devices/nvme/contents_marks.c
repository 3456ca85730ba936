/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What was written while contents are saved: a bit for each granule; and how much is left to be
 * saved.  See contents.h.
 *
 * Any controller of the subsystem sets one, without a lock; the session that has the marks clears
 * it.
 */
#include <errno.h>
#include <stdlib.h>

#include "devices/nvme/contents.h"

static void mark(struct nvme_dirty *dirty, uint64_t offset, uint64_t len)
{
	uint64_t last = (offset + len - 1) >> NVME_GRANULE_BITS;

	for (uint64_t i = offset >> NVME_GRANULE_BITS; i <= last && i < dirty->granules; i++) {
		uint64_t bit = 1ull << i % 64;

		if (!(atomic_load(&dirty->words[i / 64]) & bit))
			atomic_fetch_or(&dirty->words[i / 64], bit);
	}
}

void nvme_contents_written(struct nvme_disk *d, uint64_t offset, uint64_t len)
{
	if (len)
		mark(atomic_load(&d->dirty), offset, len);
}

void nvme_marks_clear(struct nvme_dirty *dirty, uint64_t offset, uint64_t len)
{
	uint64_t i = offset >> NVME_GRANULE_BITS,
		 end = ((offset + len - 1) >> NVME_GRANULE_BITS) + 1;

	if (end > dirty->granules)
		end = dirty->granules;
	/* A word at a time: a hole may be large. */
	while (i < end) {
		uint64_t n = 64 - i % 64 < end - i ? 64 - i % 64 : end - i;
		uint64_t bits = (n == 64 ? ~0ull : (1ull << n) - 1) << i % 64;

		if (atomic_load(&dirty->words[i / 64]) & bits)
			atomic_fetch_and(&dirty->words[i / 64], ~bits);
		i += n;
	}
}

uint64_t nvme_marks_next(const struct nvme_dirty *dirty, uint64_t i)
{
	while (i < dirty->granules) {
		uint64_t word = atomic_load(&dirty->words[i / 64]) >> i % 64;

		if (word)
			return i + (unsigned)__builtin_ctzll(word);
		i = (i / 64 + 1) * 64;
	}
	return dirty->granules;
}

uint64_t nvme_marks_count(const struct nvme_dirty *dirty, uint64_t end)
{
	uint64_t n = 0;

	for (uint64_t i = 0; i < end; i += 64) {
		uint64_t word = atomic_load(&dirty->words[i / 64]);

		if (end - i < 64)
			word &= (1ull << (end - i)) - 1;
		n += (unsigned)__builtin_popcountll(word);
	}
	return n;
}

void nvme_contents_free_marks(struct nvme_disk *d)
{
	struct nvme_dirty *dirty = atomic_load(&d->dirty);

	while (dirty) {
		struct nvme_dirty *older = dirty->older;

		free(dirty);
		dirty = older;
	}
}

/* What others may look at without a lock stays: an older bitmap is freed with the disk. */
int nvme_marks_start(struct nvme_ctrl *c, struct nvme_disk *d, uint64_t size)
{
	uint64_t granules = (size + NVME_GRANULE - 1) >> NVME_GRANULE_BITS;
	struct nvme_dirty *dirty = atomic_load(&d->dirty);
	int r = 0;

	if (!dirty || dirty->granules != granules) {
		struct nvme_dirty *new =
			calloc(1, sizeof(*new) + (granules + 63) / 64 * sizeof(new->words[0]));

		if (!new)
			return -ENOMEM;
		new->older = dirty;
		new->granules = granules;
		dirty = new;
	}
	pthread_mutex_lock(&c->sub->lock);
	if (d->tracker && d->tracker != c) {
		r = -EBUSY;
		if (dirty != atomic_load(&d->dirty))
			free(dirty);
	} else {
		d->tracker = c;
		for (uint64_t i = 0; i < (granules + 63) / 64; i++)
			atomic_store(&dirty->words[i], 0);
		atomic_store(&d->dirty, dirty);
		atomic_store(&d->tracked, true);
	}
	pthread_mutex_unlock(&c->sub->lock);
	return r;
}

/* ---- how much there is ---- */

/* What a session that is at its beginning has. */
static uint64_t all_bytes(const struct nvme_ctrl *c)
{
	uint64_t bytes = 0;

	for (unsigned i = 0; i < c->nr_ns; i++)
		bytes += nvme_contents_has(c, i) ? nvme_contents_bytes(c, i) : 0;
	return bytes;
}

uint64_t nvme_contents_size(const struct nvme_ctrl *c)
{
	return all_bytes(c);
}

/* What is marked of namespace @index, up to where the first pass has come. */
static uint64_t marked_bytes(const struct nvme_contents *s, const struct nvme_ctrl *c,
			     unsigned index)
{
	uint64_t size = nvme_contents_bytes(c, index);
	const struct nvme_dirty *dirty = nvme_marks_of(c, index);
	uint64_t end = dirty->granules, bytes;

	if (s->first_pass && index >= s->ns) {
		end = index > s->ns ? 0 : s->at >> NVME_GRANULE_BITS;
		if (end > dirty->granules)
			end = dirty->granules;
	}
	bytes = nvme_marks_count(dirty, end) << NVME_GRANULE_BITS;
	/* The last one may be shorter. */
	if (end == dirty->granules && size % NVME_GRANULE &&
	    nvme_marks_next(dirty, dirty->granules - 1) == dirty->granules - 1)
		bytes -= NVME_GRANULE - size % NVME_GRANULE;
	return bytes;
}

void nvme_contents_left(struct nvme_ctrl *c, uint64_t *initial, uint64_t *dirty)
{
	const struct nvme_contents *s = c->contents;

	*initial = *dirty = 0;
	if (!s || s->mode != NVME_CONTENTS_SAVING) {
		*initial = all_bytes(c);
		return;
	}
	for (unsigned i = 0; i < c->nr_ns; i++) {
		if (!nvme_contents_has(c, i))
			continue;
		if (s->first_pass && i >= s->ns)
			*initial += nvme_contents_bytes(c, i) - (i == s->ns ? s->at : 0);
		*dirty += marked_bytes(s, c, i);
	}
	for (unsigned i = 0; i < s->nr; i++) {
		const struct nvme_piece *p = &s->pieces[(s->head + i) % NVME_NR_PIECES];

		*(p->initial ? initial : dirty) += p->zeroes ? 1 : p->len;
	}
}
