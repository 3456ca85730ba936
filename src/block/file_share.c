/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A file that several contexts use.
 *
 * Theory of operation.  Each has a struct file of its own, with its own ring and requests, which
 * nobody else touches; so no context waits for another one, and a thousand that do nothing cost
 * next to nothing: ring and requests are made when the first request comes.  In common are the
 * descriptor, and with it the lock of the file; the error of an fdatasync, because the kernel
 * reports a loss once, to whoever asks first; the mappings of the page cache (file_windows.h); and
 * two counters of changes (file_map.c).
 */
#include <errno.h>
#include <stdlib.h>
#include "block/file.h"
#include "vfio/vfio.h"

struct file_common *file_common_new(int fd, bool shared)
{
	struct file_common *common = calloc(1, sizeof(*common));

	if (!common)
		return NULL;
	common->users = 1;
	common->fd = fd;
	common->shared = shared;
	pthread_mutex_init(&common->windows_lock, NULL);
	return common;
}

void file_common_drop(struct file_common *common)
{
	if (atomic_fetch_sub(&common->users, 1) != 1)
		return;
	file_close_locked(common->fd);
	pthread_mutex_destroy(&common->windows_lock);
	free(common->windows);
	free(common);
}

int file_share(struct block *blk, struct uvfio_device *dev, struct uvfio_ctx *ctx,
	       struct block **out)
{
	struct file_common *common = container_of(blk, struct file, blk)->common;
	struct file *f = calloc(1, sizeof(*f));

	if (!f)
		return -ENOMEM;
	atomic_fetch_add(&common->users, 1);
	f->common = common;
	f->fd = common->fd;
	f->is_device = common->is_device;
	f->can_punch = blk->opened.can_discard;
	f->can_zero_range = true;
	f->depth = common->depth;
	f->use_ring = common->use_ring;
	f->rings = vfio_file_rings(dev);
	f->map.on = common->map;
	io_queue_init(&f->waiting);
	TAILQ_INIT(&f->map.writes);
	*out = &f->blk;
	return 0;
}
