/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Write Uncorrectable: which blocks of a namespace read as errors until they are written.  Kept in
 * memory as ascending ranges that do not touch; forgotten when the device is removed, so that an
 * image is whole for its next user.
 */
#include <stdlib.h>
#include <string.h>

#include "devices/nvme/nvme.h"

/* The first range that ends behind @block.  All of these: under the disk's lock. */
static unsigned find(const struct nvme_disk *d, uint64_t block)
{
	unsigned lo = 0, hi = d->nr_bad;

	while (lo < hi) {
		unsigned mid = (lo + hi) / 2;

		if (d->bad[mid].end <= block)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

bool nvme_bad_hit(const struct nvme_ns *ns, uint64_t offset, uint64_t len)
{
	struct nvme_disk *d = ns->disk;
	uint64_t start = offset >> ns->shift;
	unsigned i;
	bool hit;

	if (!atomic_load_explicit(&d->nr_bad, memory_order_relaxed))
		return false;
	pthread_mutex_lock(&d->lock);
	i = find(d, start);
	hit = i < d->nr_bad && d->bad[i].start < (offset + len) >> ns->shift;
	pthread_mutex_unlock(&d->lock);
	return hit;
}

/* Replace ranges [@at, @at + @drop) by @nr new ones. */
static bool splice(struct nvme_disk *d, unsigned at, unsigned drop,
		   const struct nvme_bad_range *put, unsigned nr)
{
	unsigned total = d->nr_bad - drop + nr;

	if (total > NVME_BAD_RANGES_MAX)
		return false;
	if (!d->bad) {
		d->bad = calloc(NVME_BAD_RANGES_MAX, sizeof(*d->bad));
		if (!d->bad)
			return false;
	}
	memmove(&d->bad[at + nr], &d->bad[at + drop], (d->nr_bad - at - drop) * sizeof(*d->bad));
	if (nr)
		memcpy(&d->bad[at], put, nr * sizeof(*put));
	atomic_store(&d->nr_bad, total);
	return true;
}

static bool mark(struct nvme_disk *d, uint64_t start, uint64_t nlb)
{
	struct nvme_bad_range r = {.start = start, .end = start + nlb};
	/* Ranges that touch are joined. */
	unsigned at = start ? find(d, start - 1) : 0, n = 0;

	while (at + n < d->nr_bad && d->bad[at + n].start <= r.end) {
		if (d->bad[at + n].start < r.start)
			r.start = d->bad[at + n].start;
		if (d->bad[at + n].end > r.end)
			r.end = d->bad[at + n].end;
		n++;
	}
	return splice(d, at, n, &r, 1);
}

static bool clear(struct nvme_disk *d, uint64_t start, uint64_t nlb)
{
	uint64_t end = start + nlb;
	unsigned at = find(d, start), n = 0, nr = 0;
	struct nvme_bad_range rest[2];

	while (at + n < d->nr_bad && d->bad[at + n].start < end) {
		const struct nvme_bad_range *b = &d->bad[at + n++];

		if (b->start < start)
			rest[nr++] = (struct nvme_bad_range){b->start, start};
		if (b->end > end)
			rest[nr++] = (struct nvme_bad_range){end, b->end};
	}
	return !n || splice(d, at, n, rest, nr);
}

bool nvme_bad_mark(struct nvme_ns *ns, uint64_t start, uint64_t nlb)
{
	bool ok;

	pthread_mutex_lock(&ns->disk->lock);
	ok = mark(ns->disk, start, nlb);
	pthread_mutex_unlock(&ns->disk->lock);
	return ok;
}

bool nvme_bad_clear(struct nvme_ns *ns, uint64_t start, uint64_t nlb)
{
	bool ok;

	if (!atomic_load_explicit(&ns->disk->nr_bad, memory_order_relaxed))
		return true;
	pthread_mutex_lock(&ns->disk->lock);
	ok = clear(ns->disk, start, nlb);
	pthread_mutex_unlock(&ns->disk->lock);
	return ok;
}

void nvme_bad_free(struct nvme_disk *d)
{
	pthread_mutex_lock(&d->lock);
	free(d->bad);
	d->bad = NULL;
	atomic_store(&d->nr_bad, 0);
	pthread_mutex_unlock(&d->lock);
}
