/* SPDX-License-Identifier: BSD-3-Clause */
#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include "base/rcu.h"
#include "iommu/dirty.h"
#include "vfio/client.h"
#include "vfio/dma_log.h"
#include "vfio/vfio_uapi.h"

struct dma_log {
	struct uvfio_rcu_head rcu; /* first */
	struct iommu_dirty *dirty;
	atomic_uint refs;
};

static void log_free(struct uvfio_rcu_head *head)
{
	struct dma_log *log = (struct dma_log *)head;

	iommu_dirty_free(log->dirty);
	free(log);
}

static void log_put(struct dma_log *log)
{
	if (atomic_fetch_sub(&log->refs, 1) == 1)
		uvfio_rcu_call(&log->rcu, log_free);
}

void dma_logging_init(struct dma_logging *logging)
{
	*logging = (struct dma_logging){.lock = PTHREAD_MUTEX_INITIALIZER};
}

void dma_logging_fini(struct dma_logging *logging)
{
	dma_logging_stop(logging);
	pthread_mutex_destroy(&logging->lock);
}

/* ---- START ---- */

static bool overlaps(const struct iommu_dirty_range *ranges, unsigned nr,
		     const struct iommu_dirty_range *with)
{
	for (unsigned i = 0; i < nr; i++) {
		if (ranges[i].first <= with->last && with->first <= ranges[i].last)
			return true;
	}
	return false;
}

/* What a range must be is checked as each is fetched, in the client's order. */
static int fetch_ranges(struct vfio_client *client,
			const struct vfio_device_feature_dma_logging_control *control,
			struct iommu_dirty_range *out)
{
	for (unsigned i = 0; i < control->num_ranges; i++) {
		struct vfio_device_feature_dma_logging_range range;

		if (client->ops->copy_from(client, &range, control->ranges + i * sizeof(range),
					   sizeof(range)))
			return -EFAULT;
		/* As the kernel reckons, also where the size is no power of two. */
		if ((range.iova | range.length) & (control->page_size - 1) || !range.length)
			return -EINVAL;
		if (range.length > UINT64_MAX - range.iova)
			return -EOVERFLOW;
		out[i] = (struct iommu_dirty_range){range.iova, range.iova + range.length - 1};
		if (overlaps(out, i, &out[i]))
			return -EINVAL;
	}
	return 0;
}

/* The page size that is logged in when @asked is: the next smaller power of two that can be. */
static uint64_t page_size(uint64_t asked)
{
	if (asked < DIRTY_PAGE_MIN)
		return DIRTY_PAGE_MIN;
	if (asked > DIRTY_PAGE_MAX)
		return DIRTY_PAGE_MAX;
	return 1ull << (63 - __builtin_clzll(asked));
}

static struct dma_log *log_new(uint64_t size, const struct iommu_dirty_range *ranges, unsigned nr)
{
	struct dma_log *log = calloc(1, sizeof(*log));

	if (!log)
		return NULL;
	log->dirty = iommu_dirty_new(size, ranges, nr);
	if (!log->dirty) {
		free(log);
		return NULL;
	}
	atomic_init(&log->refs, 1);
	return log;
}

int dma_logging_start(struct dma_logging *logging, struct vfio_client *client, uint64_t data)
{
	struct vfio_device_feature_dma_logging_control control;
	struct iommu_dirty_range ranges[DIRTY_MAX_RANGES];
	struct dma_log *log;
	int ret;

	if (client->ops->copy_from(client, &control, data, sizeof(control)))
		return -EFAULT;
	if (!control.num_ranges)
		return -EINVAL;
	if (control.num_ranges > DIRTY_MAX_RANGES)
		return -E2BIG;
	ret = fetch_ranges(client, &control, ranges);
	if (ret)
		return ret;
	control.page_size = page_size(control.page_size);
	log = log_new(control.page_size, ranges, control.num_ranges);
	if (!log)
		return -ENOMEM;
	pthread_mutex_lock(&logging->lock);
	if (logging->log)
		ret = -EINVAL;
	else
		uvfio_rcu_assign(logging->log, log);
	pthread_mutex_unlock(&logging->lock);
	if (ret) {
		log_put(log);
		return ret;
	}
	if (client->ops->copy_to(client, data, &control, sizeof(control))) {
		dma_logging_stop(logging);
		return -EFAULT;
	}
	return 0;
}

void dma_logging_stop(struct dma_logging *logging)
{
	struct dma_log *log;

	pthread_mutex_lock(&logging->lock);
	log = logging->log;
	uvfio_rcu_assign(logging->log, NULL);
	pthread_mutex_unlock(&logging->lock);
	if (log)
		log_put(log);
}

int dma_logging_restart(struct dma_logging *logging)
{
	static const struct iommu_dirty_range all = {0, UINT64_MAX};
	struct dma_log *log = log_new(DIRTY_PAGE_MIN, &all, 1), *old;

	if (!log)
		return -ENOMEM;
	pthread_mutex_lock(&logging->lock);
	old = logging->log;
	uvfio_rcu_assign(logging->log, log);
	pthread_mutex_unlock(&logging->lock);
	if (old)
		log_put(old);
	return 0;
}

/* ---- marking ---- */

void dma_logging_write(struct dma_logging *logging, uint64_t iova, uint64_t len)
{
	struct dma_log *log;

	uvfio_rcu_read_lock();
	log = uvfio_rcu_dereference(logging->log);
	if (log)
		iommu_dirty_mark(log->dirty, iova, len);
	uvfio_rcu_read_unlock();
}

/* ---- REPORT ---- */

static int bitmap_read(void *client, void *dst, uint64_t uaddr, size_t len)
{
	return ((struct vfio_client *)client)->ops->copy_from(client, dst, uaddr, len);
}

static int bitmap_write(void *client, uint64_t uaddr, const void *src, size_t len)
{
	return ((struct vfio_client *)client)->ops->copy_to(client, uaddr, src, len);
}

/* Used until it is put; NULL: nothing is logged. */
static struct dma_log *log_use(struct dma_logging *logging)
{
	struct dma_log *log;

	pthread_mutex_lock(&logging->lock);
	log = logging->log;
	if (log)
		atomic_fetch_add(&log->refs, 1);
	pthread_mutex_unlock(&logging->lock);
	return log;
}

static int log_report(struct dma_log *log, struct vfio_client *client, uint64_t iova, uint64_t last,
		      uint64_t page_size, uint64_t uaddr, bool keep)
{
	const struct iommu_bitmap_io io = {bitmap_read, bitmap_write, client};
	struct iommu_bitmap bitmap;

	iommu_bitmap_init(&bitmap, &io, uaddr, true);
	return iommu_dirty_report(log->dirty, iova, last, page_size, keep, &bitmap);
}

int dma_logging_read(struct dma_logging *logging, struct vfio_client *client, uint64_t iova,
		     uint64_t last, uint64_t page_size, uint64_t bitmap, bool keep)
{
	struct dma_log *log = log_use(logging);
	int ret;

	if (!log)
		return 0;
	ret = log_report(log, client, iova, last, page_size, bitmap, keep);
	log_put(log);
	return ret;
}

/* Is there a bitmap?  Its ends are looked at also when there is nothing to report. */
static bool bitmap_there(struct vfio_client *client,
			 const struct vfio_device_feature_dma_logging_report *report)
{
	uint64_t words = (report->length - 1) / report->page_size / 64 + 1, word;

	return report->bitmap <= UINT64_MAX - words * 8 &&
	       !client->ops->copy_from(client, &word, report->bitmap, 8) &&
	       !client->ops->copy_from(client, &word, report->bitmap + (words - 1) * 8, 8);
}

int dma_logging_report(struct dma_logging *logging, struct vfio_client *client, uint64_t data)
{
	struct vfio_device_feature_dma_logging_report report;
	struct dma_log *log;
	int ret;

	if (client->ops->copy_from(client, &report, data, sizeof(report)))
		return -EFAULT;
	if (report.page_size < DIRTY_PAGE_MIN || report.page_size & (report.page_size - 1))
		return -EINVAL;
	if (report.length > UINT64_MAX - report.iova)
		return -EOVERFLOW;
	log = log_use(logging);
	if (!log)
		return -EINVAL;
	ret = -EINVAL;
	if (report.length && !bitmap_there(client, &report))
		ret = -EFAULT;
	else if (report.length)
		ret = log_report(log, client, report.iova, report.iova + report.length - 1,
				 report.page_size, report.bitmap, false);
	log_put(log);
	return ret;
}
