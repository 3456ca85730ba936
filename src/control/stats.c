/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * `stats`: the core's counters of a device, and what its model reports.
 *
 * A model's value looks like {"name", "type", "help", "labels": {…}, "value"}; of a histogram there
 * is "count", "sum_ns", quantiles, and the buckets that are not empty as [first value above,
 * count].
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "control/control_private.h"
#include "vfio/stats.h"

struct json_object *json_core_stats(struct vfio_device *dev)
{
	struct json_object *out = json_object_new_object();
	struct vfio_device_stats s;

	vfio_device_stats(dev, &s);
	json_put_uint(out, "region_reads", s.reads);
	json_put_uint(out, "region_writes", s.writes);
	json_put_uint(out, "stores", s.stores);
	json_put_uint(out, "dma_transfers", s.dma_ops);
	json_put_uint(out, "dma_bytes", s.dma_bytes);
	json_put_uint(out, "dma_faults", s.faults);
	json_put_uint(out, "interrupts", s.irqs);
	json_put_uint(out, "interrupts_dropped", s.irqs_dropped);
	json_put_uint(out, "resets", s.resets);
	return out;
}

/* "queue=1,op=read" */
static struct json_object *labels(const char *text)
{
	struct json_object *out = json_object_new_object();
	char copy[VFIO_STAT_LABELS], *rest, *part;

	snprintf(copy, sizeof(copy), "%s", text);
	for (part = strtok_r(copy, ",", &rest); part; part = strtok_r(NULL, ",", &rest)) {
		char *equals = strchr(part, '=');

		if (!equals)
			continue;
		*equals = '\0';
		json_put_string(out, part, equals + 1);
	}
	return out;
}

static void put_histogram(struct json_object *out, const struct uvfio_histogram *live)
{
	static const struct {
		const char *name;
		double q;
	} quantiles[] = {
		{"p50_ns", 0.5},    {"p90_ns", 0.9}, {"p99_ns", 0.99},
		{"p999_ns", 0.999}, {"max_ns", 1},
	};
	struct json_object *buckets = json_object_new_array();
	struct vfio_histogram h;

	vfio_histogram_read(live, &h);
	json_put_uint(out, "count", h.count);
	json_put_uint(out, "sum_ns", h.sum);
	for (unsigned i = 0; h.count && i < sizeof(quantiles) / sizeof(quantiles[0]); i++)
		json_put_uint(out, quantiles[i].name, vfio_histogram_quantile(&h, quantiles[i].q));
	for (unsigned i = 0; i < UVFIO_HISTOGRAM_BUCKETS; i++) {
		struct json_object *pair;

		if (!h.bucket[i])
			continue;
		pair = json_object_new_array();
		json_object_array_add(pair, json_object_new_uint64(uvfio_histogram_bound(i)));
		json_object_array_add(pair, json_object_new_uint64(h.bucket[i]));
		json_object_array_add(buckets, pair);
	}
	json_put(out, "buckets", buckets);
}

struct collector {
	struct uvfio_stats stats; /* first */
	struct json_object *list;
};

static void collect(struct uvfio_stats *stats, const struct vfio_stat *stat)
{
	static const char *const types[] = {"counter", "gauge", "histogram"};
	struct collector *collector = (struct collector *)stats;
	struct json_object *one = json_object_new_object();

	json_put_string(one, "name", stat->name);
	json_put_string(one, "type", types[stat->kind]);
	json_put_string(one, "help", stat->help);
	json_put(one, "labels", labels(stat->labels));
	if (stat->kind == VFIO_STAT_HISTOGRAM)
		put_histogram(one, stat->histogram);
	else
		json_put_uint(one, "value", stat->value);
	json_object_array_add(collector->list, one);
}

static struct json_object *stats_one(struct vfio_device *dev)
{
	struct collector collector = {.stats.emit = collect, .list = json_object_new_array()};
	struct json_object *one = json_object_new_object();

	json_put_string(one, "device", vfio_device_name(dev));
	json_put_string(one, "model", vfio_device_model(dev)->name);
	json_put_uint(one, "open", vfio_device_openers(dev, NULL, 0));
	json_put(one, "counters", json_core_stats(dev));
	vfio_device_model_stats(dev, &collector.stats);
	json_put(one, "model_stats", collector.list);
	return one;
}

struct json_object *method_stats(struct call *call, struct json_object *params,
				 struct rpc_error *err)
{
	struct json_object *result =
		devices_each(call, params, json_object_new_object(), stats_one, err);

	if (result)
		json_put_string(result, "machine", call->client->control->name);
	return result;
}
