/* SPDX-License-Identifier: BSD-3-Clause */
#include <string.h>
#include "iommu/bitmap.h"

void iommu_bitmap_init(struct iommu_bitmap *b, const struct iommu_bitmap_io *io, uint64_t data)
{
	b->io = io;
	b->data = data;
	b->first = 0;
	b->nr = 0;
}

int iommu_bitmap_flush(struct iommu_bitmap *b)
{
	int ret = 0;

	if (b->nr)
		ret = b->io->write(b->io->client, b->data + b->first * 8, b->words,
				   b->nr * sizeof(b->words[0]));
	b->first += b->nr;
	b->nr = 0;
	return ret;
}

/* Make @word the last one gathered; @keep: with what the client has there.  It is not in front of
 * those that are. */
static int reach(struct iommu_bitmap *b, uint64_t word, bool keep)
{
	int ret;

	if (b->nr && word == b->first + b->nr - 1)
		return 0;
	if (b->nr == BITMAP_WORDS || word != b->first + b->nr) {
		ret = iommu_bitmap_flush(b);
		if (ret)
			return ret;
		b->first = word;
	}
	b->words[b->nr] = 0;
	if (keep) {
		ret = b->io->read(b->io->client, &b->words[b->nr], b->data + word * 8, 8);
		if (ret)
			return ret;
	}
	b->nr++;
	return 0;
}

int iommu_bitmap_overwrite(struct iommu_bitmap *b, uint64_t bit, uint64_t count)
{
	while (count) {
		unsigned shift = bit % 64, n = 64 - shift;
		int ret = reach(b, bit / 64, shift != 0);

		if (ret)
			return ret;
		if (n > count)
			n = (unsigned)count;
		b->words[b->nr - 1] |= (~0ull >> (64 - n)) << shift;
		bit += n;
		count -= n;
	}
	return 0;
}
