/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A file behind a volatile cache, for tests of durability (block_options.volatile_test).
 *
 * The page cache survives the death of a process, so a plain file cannot show that a flush is
 * missing.  Here, what was written since the last flush is kept in memory only: whoever is killed
 * loses it all.  A flush writes it to the file; FUA writes go to the file at once.
 *
 * The cache is as large as the device (address space, of which only what was written takes memory),
 * with a bit for each sector that it holds.  Calls are synchronous, but requests complete later,
 * from the context's queue, as those of a real backend do.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include "base/guard.h"
#include "block/backend.h"

#define SECTOR 512u

struct volatile_disk {
	struct block blk;
	int fd;
	char *cache;
	uint64_t *dirty; /* a bit for each sector */
	uint64_t nr_sectors;
	struct io_queue done;
	struct uvfio_work work;
	bool posted, closing;
};

static bool is_dirty(const struct volatile_disk *d, uint64_t sector)
{
	return d->dirty[sector / 64] >> sector % 64 & 1;
}

static void set_dirty(struct volatile_disk *d, uint64_t sector, uint64_t nr, bool on)
{
	for (; nr--; sector++) {
		uint64_t bit = 1ull << sector % 64;

		if (on)
			d->dirty[sector / 64] |= bit;
		else
			d->dirty[sector / 64] &= ~bit;
	}
}

/* From @sector on, how many sectors up to @end are alike. */
static uint64_t run_length(const struct volatile_disk *d, uint64_t sector, uint64_t end)
{
	bool dirty = is_dirty(d, sector);
	uint64_t nr = 1;

	while (sector + nr < end && is_dirty(d, sector + nr) == dirty)
		nr++;
	return nr;
}

static int file_io(struct volatile_disk *d, char *buf, uint64_t offset, uint64_t len, bool write)
{
	while (len) {
		ssize_t n =
			write ? pwrite(d->fd, buf, len, offset) : pread(d->fd, buf, len, offset);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n ? -errno : -EIO;
		buf += n;
		offset += n;
		len -= n;
	}
	return 0;
}

/* Write cached sectors of a range to the file.  They stay cached until that is durable. */
static int write_back(struct volatile_disk *d, uint64_t sector, uint64_t end)
{
	while (sector < end) {
		uint64_t nr = run_length(d, sector, end);
		int rc = 0;

		if (is_dirty(d, sector))
			rc = file_io(d, d->cache + sector * SECTOR, sector * SECTOR, nr * SECTOR,
				     true);
		if (rc)
			return rc;
		sector += nr;
	}
	return fdatasync(d->fd) ? -errno : 0;
}

static void forget(struct volatile_disk *d, uint64_t sector, uint64_t nr)
{
	set_dirty(d, sector, nr, false);
	if (nr == d->nr_sectors)
		madvise(d->cache, nr * SECTOR, MADV_DONTNEED);
}

static int read_range(struct volatile_disk *d, struct block_io *io)
{
	uint64_t sector = io->offset / SECTOR, end = sector + io->len / SECTOR, at = 0;
	char *buf = malloc(io->len);
	int rc = buf ? 0 : -ENOMEM;

	while (!rc && sector < end) {
		uint64_t nr = run_length(d, sector, end), len = nr * SECTOR;

		if (is_dirty(d, sector))
			memcpy(buf + at, d->cache + sector * SECTOR, len);
		else
			rc = file_io(d, buf + at, sector * SECTOR, len, false);
		sector += nr;
		at += len;
	}
	if (!rc)
		rc = iov_from_buf(io->iov, io->nr_iov, 0, buf, io->len);
	free(buf);
	return rc;
}

static int write_range(struct volatile_disk *d, struct block_io *io)
{
	uint64_t sector = io->offset / SECTOR, nr = io->len / SECTOR;
	int rc = 0;

	if (io->op == BLOCK_WRITE) {
		/* By way of a copy, so that memory which goes half way leaves the cache whole. */
		char *buf = malloc(io->len);

		rc = buf ? iov_to_buf(io->iov, io->nr_iov, 0, buf, io->len) : -ENOMEM;
		if (!rc)
			memcpy(d->cache + io->offset, buf, io->len);
		free(buf);
	} else {
		memset(d->cache + io->offset, 0, io->len);
	}
	if (rc)
		return rc;
	set_dirty(d, sector, nr, true);
	if (!(io->flags & BLOCK_FUA))
		return 0;
	rc = write_back(d, sector, sector + nr);
	if (!rc)
		forget(d, sector, nr);
	return rc;
}

static int volatile_submit(struct block *blk, struct block_io *io)
{
	struct volatile_disk *d = container_of(blk, struct volatile_disk, blk);

	switch (io->op) {
	case BLOCK_READ:
		io->status = read_range(d, io);
		break;
	case BLOCK_FLUSH:
		io->status = write_back(d, 0, d->nr_sectors);
		if (!io->status)
			forget(d, 0, d->nr_sectors);
		break;
	case BLOCK_WRITE:
	case BLOCK_DISCARD:
	case BLOCK_WRITE_ZEROES:
		io->status = write_range(d, io);
		break;
	case BLOCK_RELEASE:
		io->status = file_unlock(d->fd);
		break;
	case BLOCK_TAKE:
		io->status = file_take(d->fd, io->flags, blk->info.readonly, false);
		break;
	case BLOCK_GET_SIZE: /* the cache is of one size */
	case BLOCK_NOTE:
	case BLOCK_NEXT_DATA:
		break;
	}
	io_queue_add(&d->done, io);
	if (!d->posted) {
		d->posted = true;
		uvfio_ctx_post(blk->ctx, &d->work);
	}
	return 1;
}

static void free_disk(struct volatile_disk *d)
{
	free(d->dirty);
	free(d);
}

static void complete(struct uvfio_work *work)
{
	struct volatile_disk *d = container_of(work, struct volatile_disk, work);
	struct io_queue done = d->done;
	struct block_io *io;

	d->posted = false;
	if (d->closing) {
		free_disk(d);
		return;
	}
	/* Only what is done now: ->done may submit more, which has its own turn. */
	io_queue_init(&d->done);
	while ((io = io_queue_take(&done)))
		io->done(io);
}

static void volatile_close(struct block *blk)
{
	struct volatile_disk *d = container_of(blk, struct volatile_disk, blk);

	munmap(d->cache, d->nr_sectors * SECTOR);
	file_close_locked(d->fd);
	d->closing = true;
	if (!d->posted)
		free_disk(d);
}

static int volatile_note(struct block *blk, void *buf, size_t size)
{
	return file_note_read(container_of(blk, struct volatile_disk, blk)->fd, buf, size);
}

static const struct block_ops volatile_ops = {
	.note = volatile_note,
	.close = volatile_close,
	.submit = volatile_submit,
};

int volatile_open(const struct block_options *opts, struct uvfio_ctx *ctx, struct block **out,
		  struct uvfio_error *err)
{
	struct volatile_disk *d = calloc(1, sizeof(*d));
	struct block_options plain = *opts;
	bool is_device;
	int rc;

	if (!d)
		return uvfio_error_set(err, -ENOMEM, "no memory");
	plain.direct = false;
	d->fd = file_open_locked(&plain, &d->blk.info, &is_device, err);
	if (d->fd < 0) {
		rc = d->fd;
		free(d);
		return rc;
	}
	d->nr_sectors = d->blk.info.size / SECTOR;
	d->blk.info.size = d->nr_sectors * SECTOR;
	d->blk.info.align = SECTOR;
	d->blk.info.can_discard = !opts->readonly;
	d->cache = MAP_FAILED;
	d->dirty = calloc(d->nr_sectors / 64 + 1, sizeof(d->dirty[0]));
	if (d->dirty && d->nr_sectors)
		d->cache = mmap(NULL, d->nr_sectors * SECTOR, PROT_READ | PROT_WRITE,
				MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (d->cache == MAP_FAILED) {
		file_close_locked(d->fd);
		free_disk(d);
		return uvfio_error_set(err, -ENOMEM, "no memory for a cache of %s", opts->file);
	}
	d->blk.ops = &volatile_ops;
	d->blk.ctx = ctx;
	d->work.fn = complete;
	io_queue_init(&d->done);
	*out = &d->blk;
	return 0;
}
