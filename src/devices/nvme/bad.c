/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Write Uncorrectable: which blocks of a namespace read as errors until they are written.  Kept in
 * memory as ascending ranges that do not touch; forgotten when the device is removed, so that an
 * image is whole for its next user.
 */
#include <stdlib.h>
#include <string.h>

#include "devices/nvme/nvme.h"

/* The first range that ends behind @block. */
static unsigned find(const struct nvme_ns *ns, uint64_t block)
{
	unsigned lo = 0, hi = ns->nr_bad;

	while (lo < hi) {
		unsigned mid = (lo + hi) / 2;

		if (ns->bad[mid].end <= block)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

bool nvme_bad_hit(const struct nvme_ns *ns, uint64_t offset, uint64_t len)
{
	uint64_t start = offset >> ns->shift;
	unsigned i = find(ns, start);

	return i < ns->nr_bad && ns->bad[i].start < (offset + len) >> ns->shift;
}

/* Replace ranges [@at, @at + @drop) by @nr new ones. */
static bool splice(struct nvme_ns *ns, unsigned at, unsigned drop, const struct nvme_bad_range *put,
		   unsigned nr)
{
	unsigned total = ns->nr_bad - drop + nr;

	if (total > NVME_BAD_RANGES_MAX)
		return false;
	if (!ns->bad) {
		ns->bad = calloc(NVME_BAD_RANGES_MAX, sizeof(*ns->bad));
		if (!ns->bad)
			return false;
	}
	memmove(&ns->bad[at + nr], &ns->bad[at + drop],
		(ns->nr_bad - at - drop) * sizeof(*ns->bad));
	if (nr)
		memcpy(&ns->bad[at], put, nr * sizeof(*put));
	ns->nr_bad = total;
	return true;
}

bool nvme_bad_mark(struct nvme_ns *ns, uint64_t start, uint64_t nlb)
{
	struct nvme_bad_range r = {.start = start, .end = start + nlb};
	/* Ranges that touch are joined. */
	unsigned at = start ? find(ns, start - 1) : 0, n = 0;

	while (at + n < ns->nr_bad && ns->bad[at + n].start <= r.end) {
		if (ns->bad[at + n].start < r.start)
			r.start = ns->bad[at + n].start;
		if (ns->bad[at + n].end > r.end)
			r.end = ns->bad[at + n].end;
		n++;
	}
	return splice(ns, at, n, &r, 1);
}

bool nvme_bad_clear(struct nvme_ns *ns, uint64_t start, uint64_t nlb)
{
	uint64_t end = start + nlb;
	unsigned at = find(ns, start), n = 0, nr = 0;
	struct nvme_bad_range rest[2];

	while (at + n < ns->nr_bad && ns->bad[at + n].start < end) {
		const struct nvme_bad_range *b = &ns->bad[at + n++];

		if (b->start < start)
			rest[nr++] = (struct nvme_bad_range){b->start, start};
		if (b->end > end)
			rest[nr++] = (struct nvme_bad_range){end, b->end};
	}
	return !n || splice(ns, at, n, rest, nr);
}

void nvme_bad_free(struct nvme_ns *ns)
{
	free(ns->bad);
	ns->bad = NULL;
	ns->nr_bad = 0;
}
