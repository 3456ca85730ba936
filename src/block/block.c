/* SPDX-License-Identifier: BSD-3-Clause */
/* Dispatch, and the checks that hold for every backend. */
#include <errno.h>
#include <string.h>
#include "base/guard.h"
#include "block/backend.h"

static int open_backend(const struct block_options *opts, struct uvfio_ctx *ctx, struct block **out,
			struct uvfio_error *err)
{
	if (!!opts->file + !!opts->memory + !!opts->nbd != 1)
		return uvfio_error_set(err, -EINVAL,
				       "where is the data kept? give one of file=PATH, memory=SIZE "
				       "and nbd=URI");
	if (opts->volatile_test) {
		if (!opts->file)
			return uvfio_error_set(err, -EINVAL,
					       "the volatile test backend needs file=PATH");
		if (opts->shared)
			return uvfio_error_set(err, -EINVAL,
					       "%s: storage behind the volatile test backend "
					       "cannot be shared",
					       opts->file);
		return volatile_open(opts, ctx, out, err);
	}
	if (opts->file)
		return file_open(opts, ctx, out, err);
	if (opts->memory)
		return memory_open(opts, ctx, out, err);
#ifdef UVFIO_NBD
	return nbd_backend_open(opts, ctx, out, err);
#else
	return uvfio_error_set(err, -ENOTSUP,
			       "nbd=%s: this uvfio was built without NBD; install libnbd's "
			       "development package and build it with -Dnbd=enabled",
			       opts->nbd);
#endif
}

int block_open(const struct block_options *opts, struct uvfio_ctx *ctx, struct block **out,
	       struct uvfio_error *err)
{
	int rc = uvfio_guard_init();

	if (rc)
		return uvfio_error_set(err, rc, "cannot catch SIGBUS: %s", strerror(-rc));
	rc = open_backend(opts, ctx, out, err);
	if (!rc)
		(*out)->opened = (*out)->info;
	return rc;
}

int block_share(struct block *blk, struct uvfio_device *dev, struct uvfio_ctx *ctx,
		struct block **out)
{
	int rc = blk->ops->share(blk, dev, ctx, out);

	if (rc)
		return rc;
	(*out)->ops = blk->ops;
	(*out)->ctx = ctx;
	(*out)->info = (*out)->opened = blk->opened;
	return 0;
}

void block_close(struct block *blk)
{
	if (blk)
		blk->ops->close(blk);
}

const struct block_info *block_info(const struct block *blk)
{
	return &blk->info;
}

void block_on_resize(struct block *blk, void (*fn)(void *arg), void *arg)
{
	blk->resized = fn;
	blk->resized_arg = arg;
}

void block_set_size(struct block *blk, uint64_t size)
{
	size = size / blk->info.align * blk->info.align;
	if (size == blk->info.size)
		return;
	blk->info.size = size;
	if (blk->resized)
		blk->resized(blk->resized_arg);
}

int block_note(struct block *blk, void *buf, size_t size)
{
	return blk->ops->note ? blk->ops->note(blk, buf, size) : 0;
}

static int check(const struct block *blk, const struct block_io *io)
{
	const struct block_info *info = &blk->info;
	uint64_t sum = 0;

	if (io->op == BLOCK_FLUSH || io->op == BLOCK_GET_SIZE || io->op == BLOCK_RELEASE ||
	    io->op == BLOCK_TAKE)
		return 0;
	if (io->op == BLOCK_NEXT_DATA)
		return io->offset > info->size ? -ENXIO : 0;
	if (io->op != BLOCK_READ && info->readonly)
		return -EROFS;
	if (io->op == BLOCK_NOTE) {
		if (!info->can_note)
			return -EOPNOTSUPP;
		return io->nr_iov == 1 && io->iov->iov_len <= BLOCK_NOTE_MAX ? 0 : -EINVAL;
	}
	if (io->offset > info->size || io->len > info->size - io->offset)
		return -ENXIO;
	if (io->offset % info->align || io->len % info->align)
		return -EINVAL;
	if (io->op == BLOCK_DISCARD && !info->can_discard)
		return -EOPNOTSUPP;
	if (io->op != BLOCK_READ && io->op != BLOCK_WRITE)
		return 0;
	for (int i = 0; i < io->nr_iov; i++)
		if (__builtin_add_overflow(sum, io->iov[i].iov_len, &sum))
			return -EINVAL;
	return sum == io->len ? 0 : -EINVAL;
}

int block_submit(struct block *blk, struct block_io *io)
{
	io->status = check(blk, io);
	if (io->status)
		return 0;
	switch (io->op) {
	case BLOCK_FLUSH:
		if (!blk->info.volatile_cache)
			return 0;
		break;
	case BLOCK_GET_SIZE:
	case BLOCK_NOTE:
	case BLOCK_RELEASE:
	case BLOCK_TAKE:
	case BLOCK_NEXT_DATA:
		break;
	default:
		if (!io->len)
			return 0;
	}
	return blk->ops->submit(blk, io);
}

void block_kick(struct block *blk)
{
	if (blk->ops->kick)
		blk->ops->kick(blk);
}

void block_prefetch(const struct block *blk, uint64_t offset, unsigned lines)
{
	if (blk->ops->prefetch && offset < blk->info.size)
		blk->ops->prefetch(blk, offset, lines);
}

void *block_direct(struct block *blk, uint64_t offset, uint64_t len)
{
	if (!blk->ops->direct || offset > blk->info.size || len > blk->info.size - offset)
		return NULL;
	return blk->ops->direct(blk, offset, len);
}

/* ---- vectors ---- */

static int iov_copy(const struct iovec *iov, int nr, uint64_t skip, char *buf, size_t len,
		    bool to_buf)
{
	for (int i = 0; i < nr && len; i++) {
		size_t n = iov[i].iov_len;
		char *at = iov[i].iov_base;
		int rc;

		if (skip >= n) {
			skip -= n;
			continue;
		}
		at += skip;
		n -= skip;
		skip = 0;
		if (n > len)
			n = len;
		rc = to_buf ? uvfio_guard_copy(buf, at, n) : uvfio_guard_copy(at, buf, n);
		if (rc)
			return rc;
		buf += n;
		len -= n;
	}
	return len ? -EINVAL : 0;
}

int iov_to_buf(const struct iovec *iov, int nr, uint64_t skip, void *buf, size_t len)
{
	return iov_copy(iov, nr, skip, buf, len, true);
}

int iov_from_buf(const struct iovec *iov, int nr, uint64_t skip, const void *buf, size_t len)
{
	return iov_copy(iov, nr, skip, (char *)buf, len, false);
}

void iov_advance(struct iovec **iov, int *nr, size_t len)
{
	while (*nr && len >= (*iov)->iov_len) {
		len -= (*iov)->iov_len;
		++*iov;
		--*nr;
	}
	if (*nr) {
		(*iov)->iov_base = (char *)(*iov)->iov_base + len;
		(*iov)->iov_len -= len;
	}
}
