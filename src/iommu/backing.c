/* SPDX-License-Identifier: BSD-3-Clause */
/* The memory behind a mapping: its pieces, which are references on the files of files.h. */
#include <errno.h>
#include <stdlib.h>
#include "iommu/space_private.h"

void space_let_go(struct iommu_space *s, struct iommu_mapping *m)
{
	if (m->nr == 1) {
		files_put(s->files, m->file);
	} else if (m->nr) {
		for (uint32_t i = 0; i < m->nr; i++)
			files_put(s->files, m->pieces[i].file);
		free(m->pieces);
	}
}

static bool follows(const struct iommu_mem *a, const struct iommu_mem *b, uint64_t a_len)
{
	if (a->kind == IOMMU_MEM_PEER && b->kind == IOMMU_MEM_PEER)
		return a->peer == b->peer && a->offset + a_len == b->offset;
	return a->kind == b->kind && a->may_block == b->may_block &&
	       a->file_id[0] == b->file_id[0] && a->file_id[1] == b->file_id[1] &&
	       a->page == b->page && a->offset + a_len == b->offset;
}

static bool reserve_pieces(struct iommu_space *s, uint32_t n)
{
	bool ok;

	pthread_mutex_lock(&s->lock);
	ok = n <= s->max_pieces - s->pieces;
	if (ok)
		s->pieces += n;
	pthread_mutex_unlock(&s->lock);
	return ok;
}

static void unreserve_pieces(struct iommu_space *s, uint64_t n)
{
	pthread_mutex_lock(&s->lock);
	s->pieces -= n;
	pthread_mutex_unlock(&s->lock);
}

int space_back(struct iommu_space *s, struct iommu_mapping *m, const struct iommu_mem *mem,
	       unsigned nr)
{
	uint64_t total = 0, size = m->last - m->first + 1;
	struct iommu_piece *pieces, one;
	uint32_t n = 0, want = 0;
	int ret = 0;

	for (unsigned i = 0; i < nr; i++) {
		if (!mem[i].len || ((mem[i].len | mem[i].offset) & (IOMMU_PAGE_SIZE - 1)) ||
		    mem[i].len > size - total)
			return -EINVAL;
		want += !i || !follows(&mem[i - 1], &mem[i], mem[i - 1].len);
		total += mem[i].len;
	}
	if (total != size)
		return -EINVAL;
	if (want > 1 && !reserve_pieces(s, want))
		return -ENOMEM;
	pieces = want > 1 ? malloc(want * sizeof(*pieces)) : &one;
	if (!pieces) {
		unreserve_pieces(s, want);
		return -ENOMEM;
	}
	total = 0;
	for (unsigned i = 0, j; i < nr && !ret; i = j) {
		struct iommu_mem joined = mem[i];

		for (j = i + 1; j < nr && follows(&mem[j - 1], &mem[j], mem[j - 1].len); j++)
			joined.len += mem[j].len;
		pieces[n] = (struct iommu_piece){.start = total, .offset = joined.offset};
		ret = files_get(s->files, &joined, m->prot & IOMMU_WRITE, &pieces[n].file,
				&pieces[n].host);
		n += !ret;
		total += joined.len;
	}
	if (ret) {
		while (n)
			files_put(s->files, pieces[--n].file);
		if (want > 1) {
			free(pieces);
			unreserve_pieces(s, want);
		}
		return ret;
	}
	if (n > 1) {
		m->pieces = pieces;
	} else {
		m->host = one.host;
		m->file = one.file;
		m->offset = one.offset;
	}
	m->nr = n;
	return 0;
}
