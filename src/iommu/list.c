/* SPDX-License-Identifier: BSD-3-Clause */
/* The mappings of a space, for listings: a few at a time, so that nobody waits for the lister. */
#include <stdio.h>
#include <errno.h>
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

/* ---- for who maps the same elsewhere ---- */

/* Where @host lies in @file; UINT64_MAX: nowhere. */
static uint64_t offset_of(struct iommu_space *s, const struct iommu_file *file, const uint8_t *host)
{
	uint64_t offset = UINT64_MAX;

	pthread_mutex_lock(&s->files->lock);
	for (const struct iommu_window *w = file->windows; w; w = w->next)
		if (host >= w->base && (uint64_t)(host - w->base) < w->span)
			offset = w->offset + (uint64_t)(host - w->base);
	pthread_mutex_unlock(&s->files->lock);
	return offset;
}

static bool keep(struct iommu_space *s, const struct iommu_mapping *m, struct iommu_kept *out)
{
	const struct iommu_file *file = m->nr == 1 ? m->file : NULL;

	if (!file)
		return false;
	*out = (struct iommu_kept){
		.iova = m->first, .size = m->last - m->first + 1, .prot = m->prot, .fd = -1};
	if (file->kind == IOMMU_MEM_PEER) {
		out->offset = m->offset;
		return !file->peer->device;
	}
	if (file->kind != IOMMU_MEM_FILE || file->fd < 0)
		return false;
	out->fd = file->fd;
	out->offset = offset_of(s, file, m->host);
	return out->offset != UINT64_MAX;
}

int iommu_keep(struct iommu_space *s, uint64_t iova, struct iommu_kept *out, unsigned max)
{
	struct iommu_mapping *seen = NULL;
	struct tree_cursor c;
	bool more, good = true;
	unsigned n = 0;

	space_lock(s);
	more = tree_seek(&s->tree, &c, iova >> PAGE_BITS);
	for (; more && good && n < max; more = tree_next(&c)) {
		struct iommu_mapping *m = entry_mapping(s, &c.entry);

		if (m->life == MAPPING_LIVE && m != seen && m->first >= iova)
			good = keep(s, m, &out[n++]);
		seen = m;
	}
	space_unlock(s);
	return good ? (int)n : -EOPNOTSUPP;
}
