/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Memory: anonymous pages, allocated when they are first written and given back by discard.  It
 * goes with the process, so there is no cache in front of it that could be flushed.  Everything is
 * done at once; a device model does better with block_direct().
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include "base/guard.h"
#include "block/backend.h"

#define PAGE 4096ull

struct memory {
	struct block blk;
	char *bytes;
	size_t mapped;
};

static void memory_close(struct block *blk)
{
	struct memory *m = container_of(blk, struct memory, blk);

	munmap(m->bytes, m->mapped);
	free(m);
}

/* Whole pages go back to the system, and read as zeroes; the rest is cleared. */
static void release(struct memory *m, uint64_t offset, uint64_t len)
{
	uint64_t end = offset + len;
	uint64_t first = (offset + PAGE - 1) / PAGE * PAGE, last = end / PAGE * PAGE;

	if (first >= last || madvise(m->bytes + first, last - first, MADV_DONTNEED)) {
		memset(m->bytes + offset, 0, len);
		return;
	}
	memset(m->bytes + offset, 0, first - offset);
	memset(m->bytes + last, 0, end - last);
}

static int memory_submit(struct block *blk, struct block_io *io)
{
	struct memory *m = container_of(blk, struct memory, blk);
	char *at = m->bytes + io->offset;

	switch (io->op) {
	case BLOCK_READ:
		io->status = iov_from_buf(io->iov, io->nr_iov, 0, at, io->len);
		break;
	case BLOCK_WRITE:
		io->status = iov_to_buf(io->iov, io->nr_iov, 0, at, io->len);
		break;
	case BLOCK_DISCARD:
		release(m, io->offset, io->len);
		break;
	case BLOCK_WRITE_ZEROES:
		if (io->flags & BLOCK_MAY_FREE)
			release(m, io->offset, io->len);
		else
			memset(at, 0, io->len);
		break;
	case BLOCK_FLUSH:
	case BLOCK_GET_SIZE:
	case BLOCK_NOTE: /* which the owner of the data remembers for as long as we would */
		break;
	}
	return 0;
}

static void *memory_direct(struct block *blk, uint64_t offset, uint64_t len)
{
	return container_of(blk, struct memory, blk)->bytes + offset;
}

static void memory_prefetch(const struct block *blk, uint64_t offset, unsigned lines)
{
	block_prefetch_lines(container_of(blk, struct memory, blk)->bytes + offset, lines);
}

static const struct block_ops memory_ops = {
	.close = memory_close,
	.submit = memory_submit,
	.direct = memory_direct,
	.prefetch = memory_prefetch,
};

int memory_open(const struct block_options *opts, struct uvfio_ctx *ctx, struct block **out,
		struct uvfio_error *err)
{
	struct memory *m = calloc(1, sizeof(*m));

	if (!m)
		return uvfio_error_set(err, -ENOMEM, "no memory");
	m->mapped = (opts->memory + PAGE - 1) / PAGE * PAGE;
	m->bytes = MAP_FAILED;
	if (m->mapped >= opts->memory)
		m->bytes = mmap(NULL, m->mapped, PROT_READ | PROT_WRITE,
				MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (m->bytes == MAP_FAILED) {
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
