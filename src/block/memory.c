/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Memory: anonymous pages, allocated when they are first written and given back by discard.  It
 * goes with the process, so there is no cache in front of it that could be flushed.  Everything is
 * done at once; a device model does better with block_direct().
 *
 * Shared memory is copied page by page, each under one of a few locks, so that nobody reads half of
 * what another one writes.  Such a lock is held for the copying of a page at most.
 */
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include "base/guard.h"
#include "block/backend.h"

#define PAGE  4096ull
#define LOCKS 64u

/* What those who share it have in common. */
struct bytes {
	atomic_uint users;
	char *at;
	size_t mapped;
	bool shared;
	pthread_mutex_t locks[]; /* LOCKS of them, if it is shared: of pages */
};

struct memory {
	struct block blk;
	struct bytes *bytes;
};

static void drop_bytes(struct bytes *b)
{
	if (atomic_fetch_sub(&b->users, 1) != 1)
		return;
	for (unsigned i = 0; b->shared && i < LOCKS; i++)
		pthread_mutex_destroy(&b->locks[i]);
	munmap(b->at, b->mapped);
	free(b);
}

static void memory_close(struct block *blk)
{
	struct memory *m = container_of(blk, struct memory, blk);

	drop_bytes(m->bytes);
	free(m);
}

/* Whole pages go back to the system, and read as zeroes; the rest is cleared. */
static void release(char *at, uint64_t len)
{
	char *end = at + len;
	char *first = (char *)(((uintptr_t)at + PAGE - 1) / PAGE * PAGE);
	char *last = (char *)((uintptr_t)end / PAGE * PAGE);

	if (first >= last || madvise(first, (size_t)(last - first), MADV_DONTNEED)) {
		memset(at, 0, len);
		return;
	}
	memset(at, 0, (size_t)(first - at));
	memset(last, 0, (size_t)(end - last));
}

/* The part of @io from byte @skip on, @len bytes. */
static int do_part(char *at, const struct block_io *io, uint64_t skip, uint64_t len)
{
	if (io->op == BLOCK_READ)
		return iov_from_buf(io->iov, io->nr_iov, skip, at, len);
	if (io->op == BLOCK_WRITE)
		return iov_to_buf(io->iov, io->nr_iov, skip, at, len);
	if (io->op == BLOCK_DISCARD || (io->flags & BLOCK_MAY_FREE))
		release(at, len);
	else
		memset(at, 0, len);
	return 0;
}

/* Reads and writes: a page at a time. */
static int do_pages(struct bytes *b, const struct block_io *io)
{
	int rc = 0;

	for (uint64_t done = 0; done < io->len && !rc;) {
		uint64_t offset = io->offset + done, n = PAGE - offset % PAGE;
		pthread_mutex_t *lock = &b->locks[offset / PAGE % LOCKS];

		if (n > io->len - done)
			n = io->len - done;
		pthread_mutex_lock(lock);
		rc = do_part(b->at + offset, io, done, n);
		pthread_mutex_unlock(lock);
		done += n;
	}
	return rc;
}

/* What may be all of it: in one piece. */
static int do_range(struct bytes *b, const struct block_io *io)
{
	int rc;

	for (unsigned i = 0; i < LOCKS; i++)
		pthread_mutex_lock(&b->locks[i]);
	rc = do_part(b->at + io->offset, io, 0, io->len);
	for (unsigned i = 0; i < LOCKS; i++)
		pthread_mutex_unlock(&b->locks[i]);
	return rc;
}

static int memory_submit(struct block *blk, struct block_io *io)
{
	struct bytes *b = container_of(blk, struct memory, blk)->bytes;

	switch (io->op) {
	case BLOCK_FLUSH:
	case BLOCK_GET_SIZE:
	case BLOCK_RELEASE: /* nobody else sees it */
	case BLOCK_TAKE:
	case BLOCK_NEXT_DATA:
	case BLOCK_NOTE: /* which the owner of the data remembers for as long as we would */
		break;
	case BLOCK_READ:
	case BLOCK_WRITE:
		io->status =
			b->shared ? do_pages(b, io) : do_part(b->at + io->offset, io, 0, io->len);
		break;
	case BLOCK_DISCARD:
	case BLOCK_WRITE_ZEROES:
		io->status =
			b->shared ? do_range(b, io) : do_part(b->at + io->offset, io, 0, io->len);
		break;
	}
	return 0;
}

static void *memory_direct(struct block *blk, uint64_t offset, uint64_t len)
{
	struct bytes *b = container_of(blk, struct memory, blk)->bytes;

	return b->shared ? NULL : b->at + offset;
}

static void memory_prefetch(const struct block *blk, uint64_t offset, unsigned lines)
{
	block_prefetch_lines(container_of(blk, struct memory, blk)->bytes->at + offset, lines);
}

static int memory_share(struct block *blk, struct uvfio_device *dev, struct uvfio_ctx *ctx,
			struct block **out)
{
	struct memory *of = container_of(blk, struct memory, blk);
	struct memory *m = calloc(1, sizeof(*m));

	if (!m)
		return -ENOMEM;
	atomic_fetch_add(&of->bytes->users, 1);
	m->bytes = of->bytes;
	*out = &m->blk;
	return 0;
}

static const struct block_ops memory_ops = {
	.close = memory_close,
	.submit = memory_submit,
	.share = memory_share,
	.direct = memory_direct,
	.prefetch = memory_prefetch,
};

static struct bytes *make_bytes(const struct block_options *opts)
{
	unsigned locks = opts->shared ? LOCKS : 0;
	struct bytes *b = calloc(1, sizeof(*b) + locks * sizeof(b->locks[0]));

	if (!b)
		return NULL;
	b->users = 1;
	b->shared = opts->shared;
	b->mapped = (opts->memory + PAGE - 1) / PAGE * PAGE;
	b->at = MAP_FAILED;
	if (b->mapped >= opts->memory)
		b->at = mmap(NULL, b->mapped, PROT_READ | PROT_WRITE,
			     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (b->at == MAP_FAILED) {
		free(b);
		return NULL;
	}
	for (unsigned i = 0; i < locks; i++)
		pthread_mutex_init(&b->locks[i], NULL);
	return b;
}

int memory_open(const struct block_options *opts, struct uvfio_ctx *ctx, struct block **out,
		struct uvfio_error *err)
{
	struct memory *m = calloc(1, sizeof(*m));

	if (!m)
		return uvfio_error_set(err, -ENOMEM, "no memory");
	m->bytes = make_bytes(opts);
	if (!m->bytes) {
		free(m);
		return uvfio_error_set(err, -ENOMEM,
				       "memory=%llu: cannot have so much address space; give less, "
				       "or raise the limit (ulimit -v)",
				       (unsigned long long)opts->memory);
	}
	m->blk.ops = &memory_ops;
	m->blk.ctx = ctx;
	m->blk.info = (struct block_info){
		.size = opts->memory,
		.align = 1,
		.readonly = opts->readonly,
		.can_discard = !opts->readonly,
		.can_fua = true,
		.can_note = !opts->readonly,
	};
	*out = &m->blk;
	return 0;
}
