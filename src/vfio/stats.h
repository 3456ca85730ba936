/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Reading what a device model reports of itself: its counters, gauges and latency histograms.
 */
#ifndef UVFIO_VFIO_STATS_H
#define UVFIO_VFIO_STATS_H

#include "vfio/vfio.h"

#define VFIO_STAT_LABELS 128u /* bytes, with the terminating zero; longer ones are cut */

enum vfio_stat_kind { VFIO_STAT_COUNTER, VFIO_STAT_GAUGE, VFIO_STAT_HISTOGRAM };

struct vfio_stat {
	enum vfio_stat_kind kind;
	const char *name, *help;
	const char *labels;                      /* "queue=1,op=read", or "" */
	uint64_t value;                          /* not for histograms */
	const struct uvfio_histogram *histogram; /* live: other threads add to it */
};

/* Embed it and set @emit; what @emit is given is valid during the call only. */
struct uvfio_stats {
	void (*emit)(struct uvfio_stats *stats, const struct vfio_stat *stat);
};

/* Have the model of @dev report; nothing when it has no ->stats().  Any thread; never waits. */
void vfio_device_model_stats(struct vfio_device *dev, struct uvfio_stats *out);

/* A histogram at one moment, for reading. */
struct vfio_histogram {
	uint64_t bucket[UVFIO_HISTOGRAM_BUCKETS];
	uint64_t count, sum; /* @sum in ns */
};
void vfio_histogram_read(const struct uvfio_histogram *h, struct vfio_histogram *out);
/* The value in ns below or at which the part @q (0 to 1) of all values lies, to a bucket's width;
 * 0 when there are none. */
uint64_t vfio_histogram_quantile(const struct vfio_histogram *h, double q);

#endif
