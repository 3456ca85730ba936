/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What a device model reports of itself, from its uvfio_stat_…() calls to whoever reads it.
 */
#include <stdarg.h>
#include <string.h>
#include "vfio/machine_private.h"
#include "vfio/stats.h"

static void emit(struct uvfio_stats *out, struct vfio_stat stat, const char *labels, va_list ap)
{
	char text[VFIO_STAT_LABELS] = "";

	if (labels)
		vsnprintf(text, sizeof(text), labels, ap);
	stat.labels = text;
	out->emit(out, &stat);
}

void uvfio_stat_counter(struct uvfio_stats *out, const char *name, const char *help, uint64_t value,
			const char *labels, ...)
{
	va_list ap;

	va_start(ap, labels);
	emit(out, (struct vfio_stat){VFIO_STAT_COUNTER, name, help, .value = value}, labels, ap);
	va_end(ap);
}

void uvfio_stat_gauge(struct uvfio_stats *out, const char *name, const char *help, uint64_t value,
		      const char *labels, ...)
{
	va_list ap;

	va_start(ap, labels);
	emit(out, (struct vfio_stat){VFIO_STAT_GAUGE, name, help, .value = value}, labels, ap);
	va_end(ap);
}

void uvfio_stat_histogram(struct uvfio_stats *out, const char *name, const char *help,
			  const struct uvfio_histogram *histogram, const char *labels, ...)
{
	va_list ap;

	va_start(ap, labels);
	emit(out, (struct vfio_stat){VFIO_STAT_HISTOGRAM, name, help, .histogram = histogram},
	     labels, ap);
	va_end(ap);
}

void vfio_device_model_stats(struct vfio_device *dev, struct uvfio_stats *out)
{
	if (dev->model->stats)
		dev->model->stats(dev->priv, out);
}

/* ---- histograms ---- */

void vfio_histogram_read(const struct uvfio_histogram *h, struct vfio_histogram *out)
{
	/* The count is what the buckets say: one counter less to write where it is hot. */
	out->count = 0;
	for (unsigned i = 0; i < UVFIO_HISTOGRAM_BUCKETS; i++) {
		out->bucket[i] = __atomic_load_n(&h->bucket[i], __ATOMIC_RELAXED);
		out->count += out->bucket[i];
	}
	out->sum = __atomic_load_n(&h->sum, __ATOMIC_RELAXED);
}

uint64_t vfio_histogram_quantile(const struct vfio_histogram *h, double q)
{
	double rank = q * (double)h->count;
	uint64_t seen = 0;

	for (unsigned i = 0; i < UVFIO_HISTOGRAM_BUCKETS; i++) {
		seen += h->bucket[i];
		if (h->bucket[i] && (double)seen >= rank)
			return uvfio_histogram_bound(i) - 1;
	}
	return 0;
}
