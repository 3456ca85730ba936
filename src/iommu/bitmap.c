/* SPDX-License-Identifier: BSD-3-Clause */
#include <errno.h>
#include "iommu/bitmap.h"

void iommu_bitmap_init(struct iommu_bitmap *b, const struct iommu_bitmap_io *io, uint64_t data,
		       bool merge)
{
	b->io = io;
	b->data = data;
	b->first = 0;
	b->nr = 0;
	b->merge = merge;
}

/* Add what the client has in the words gathered, without those at either end that are 0. */
static int merge(struct iommu_bitmap *b, unsigned *skip)
{
	uint64_t theirs[BITMAP_WORDS];
	int ret;

	while (b->nr && !b->words[b->nr - 1])
		b->nr--;
	for (*skip = 0; *skip < b->nr && !b->words[*skip]; ++*skip)
		;
	if (*skip == b->nr)
		return 0;
	ret = b->io->read(b->io->client, theirs, b->data + (b->first + *skip) * 8,
			  (b->nr - *skip) * sizeof(theirs[0]));
	for (unsigned i = *skip; i < b->nr && !ret; i++)
		b->words[i] |= theirs[i - *skip];
	return ret;
}

int iommu_bitmap_flush(struct iommu_bitmap *b)
{
	unsigned skip = 0;
	int ret = 0;

	if (b->merge)
		ret = merge(b, &skip);
	if (!ret && b->nr > skip)
		ret = b->io->write(b->io->client, b->data + (b->first + skip) * 8, b->words + skip,
				   (b->nr - skip) * sizeof(b->words[0]));
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

/* The word number @word, of which nothing may have been gathered yet.  NULL: -EFAULT. */
static uint64_t *word_at(struct iommu_bitmap *b, uint64_t word)
{
	if (word < b->first || word - b->first >= BITMAP_WORDS) {
		if (iommu_bitmap_flush(b))
			return NULL;
		b->first = word;
	}
	while (b->nr <= word - b->first)
		b->words[b->nr++] = 0;
	return &b->words[word - b->first];
}

int iommu_bitmap_or(struct iommu_bitmap *b, uint64_t bit, uint64_t word)
{
	uint64_t low = word << bit % 64, high = bit % 64 ? word >> (64 - bit % 64) : 0, *at;

	if (low) {
		at = word_at(b, bit / 64);
		if (!at)
			return -EFAULT;
		*at |= low;
	}
	if (high) {
		at = word_at(b, bit / 64 + 1);
		if (!at)
			return -EFAULT;
		*at |= high;
	}
	return 0;
}

int iommu_bitmap_set(struct iommu_bitmap *b, uint64_t bit, uint64_t count)
{
	int ret = 0;

	for (unsigned n; count && !ret; bit += n, count -= n) {
		n = 64 - bit % 64;
		if (n > count)
			n = (unsigned)count;
		ret = iommu_bitmap_or(b, bit, ~0ull >> (64 - n));
	}
	return ret;
}

/* Fewer words than that are gathered with others. */
#define AT_ONCE 64u

int iommu_bitmap_or_words(struct iommu_bitmap *b, uint64_t bit, const uint64_t *words, size_t n)
{
	int ret = 0;

	if (bit % 64 || n < AT_ONCE) {
		for (; n && !ret; n--, words++, bit += 64)
			ret = *words ? iommu_bitmap_or(b, bit, *words) : 0;
		return ret;
	}
	ret = iommu_bitmap_flush(b);
	while (n && !ret) {
		size_t some = n < BITMAP_WORDS ? n : BITMAP_WORDS, len = some * sizeof(*words);
		uint64_t at = b->data + bit / 64 * 8;

		ret = b->io->read(b->io->client, b->words, at, len);
		for (size_t i = 0; i < some && !ret; i++)
			b->words[i] |= words[i];
		ret = ret ? ret : b->io->write(b->io->client, at, b->words, len);
		words += some;
		bit += 64 * some;
		n -= some;
	}
	b->first = bit / 64;
	return ret;
}
