/* SPDX-License-Identifier: BSD-3-Clause */
/* The memory of a mapping, given to another one too: IOAS_COPY (D.3), and cutting a mapping. */
#include <errno.h>
#include <stdlib.h>
#include "iommu/space_private.h"

void space_share_drop(struct iommu_files *files, struct iommu_share *share)
{
	for (uint32_t i = 0; i < share->nr; i++)
		files_put(files, share->pieces[i].file);
	free(share->pieces);
	*share = (struct iommu_share){NULL, 0};
}

int space_share(const struct iommu_mapping *m, uint64_t off, uint64_t len, struct iommu_share *out)
{
	const struct iommu_piece one = {0, m->nr == 1 ? m->offset : 0, m->host, m->file};
	const struct iommu_piece *pieces = m->nr == 1 ? &one : m->pieces;
	struct iommu_piece *copy;
	uint32_t first = 0, n = 0;

	while (first + 1 < m->nr && pieces[first + 1].start <= off)
		first++;
	while (first + n < m->nr && pieces[first + n].start < off + len)
		n++;
	copy = malloc(n * sizeof(*copy));
	if (!copy)
		return -ENOMEM;
	for (uint32_t i = 0; i < n; i++) {
		const struct iommu_piece *p = &pieces[first + i];
		uint64_t skip = p->start < off ? off - p->start : 0;

		copy[i] = (struct iommu_piece){
			.start = p->start + skip - off,
			.offset = p->offset + skip,
			.host = p->host ? p->host + skip : NULL,
			.file = p->file,
		};
		/* It has one already, which the mapping holds. */
		__atomic_fetch_add(&p->file->refs, 1, __ATOMIC_RELAXED);
	}
	*out = (struct iommu_share){copy, n};
	return 0;
}

int space_back_shared(struct iommu_space *s, struct iommu_mapping *m, struct iommu_share *share)
{
	if (share->nr > 1) {
		bool ok;

		pthread_mutex_lock(&s->lock);
		ok = share->nr <= s->max_pieces - s->pieces;
		if (ok)
			s->pieces += share->nr;
		pthread_mutex_unlock(&s->lock);
		if (!ok)
			return -ENOMEM;
		m->pieces = share->pieces;
	} else {
		m->host = share->pieces[0].host;
		m->file = share->pieces[0].file;
		m->offset = share->pieces[0].offset;
		free(share->pieces);
	}
	m->nr = share->nr;
	*share = (struct iommu_share){NULL, 0};
	return 0;
}
