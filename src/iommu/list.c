/* SPDX-License-Identifier: BSD-3-Clause */
/* The mappings of a space, for listings: a few at a time, so that nobody waits for the lister. */
#include <stdio.h>
#include "iommu/peer.h"
#include "iommu/space_private.h"

static struct iommu_listed describe(const struct iommu_mapping *m)
{
	const struct iommu_file *file = m->nr > 1 ? m->pieces[0].file : m->file;

	struct iommu_listed out = {
		.iova = m->first,
		.size = m->last - m->first + 1,
		.prot = m->prot,
		.pieces = m->nr,
		.kind = file ? file->kind : IOMMU_MEM_PROCESS,
	};

	if (file && file->peer && file->peer->device)
		snprintf(out.device, sizeof(out.device), "%s", file->peer->device);
	return out;
}

unsigned iommu_list(struct iommu_space *s, uint64_t iova, struct iommu_listed *out, unsigned max,
		    uint64_t *count)
{
	struct iommu_mapping *seen = NULL;
	struct tree_cursor c;
	unsigned n = 0;
	bool more;

	if (max > IOMMU_LIST_MAX)
		max = IOMMU_LIST_MAX;
	space_lock(s);
	*count = s->live;
	more = tree_seek(&s->tree, &c, iova >> PAGE_BITS);
	/* What is reserved or lies in two trees is not counted twice, but bounded too. */
	for (unsigned looked = 0; more && n < max && looked < 2 * IOMMU_LIST_MAX; looked++) {
		struct iommu_mapping *m = entry_mapping(s, &c.entry);

		if (m->life == MAPPING_LIVE && m != seen)
			out[n++] = describe(m);
		seen = m;
		more = tree_next(&c);
	}
	space_unlock(s);
	return n;
}
