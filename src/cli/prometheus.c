/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * `uvfio stats --prometheus`: the text format, version 0.0.4.
 *
 * All samples of a metric have to stand together behind one HELP and one TYPE, whereas a server
 * tells them device by device; so the names are collected first, in the order of their coming.
 *
 * Histograms have a fixed set of bounds, powers of two from 1 µs to 68 s, because buckets that come
 * and go from one scrape to the next cannot be compared.  Each is one of the bounds that the server
 * counts by, so nothing is guessed.
 */
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "cli/remote.h"

#define FIRST_BOUND 10 /* log2 of ns */
#define LAST_BOUND  36

struct metric {
	char name[128];
	char help[200];
	char type[16];
};

struct metrics {
	struct metric *list;
	unsigned nr;
};

/* What names may hold: [a-zA-Z_][a-zA-Z0-9_]*. */
static void safe_name(const char *text, char *out, size_t size)
{
	size_t n = 0;

	if (isdigit((unsigned char)*text) && size > 1)
		out[n++] = '_';
	for (; *text && n + 1 < size; text++)
		out[n++] = isalnum((unsigned char)*text) ? *text : '_';
	out[n] = '\0';
}

static void print_escaped(const char *text, bool quote)
{
	for (; *text; text++) {
		if (*text == '\\')
			fputs("\\\\", stdout);
		else if (*text == '\n')
			fputs("\\n", stdout);
		else if (*text == '"' && quote)
			fputs("\\\"", stdout);
		else
			putchar(*text);
	}
}

static void metric_name(struct json_object *device, struct json_object *stat, char out[128])
{
	char model[40], name[70];

	safe_name(member_text(device, "model"), model, sizeof(model));
	safe_name(member_text(stat, "name"), name, sizeof(name));
	snprintf(out, 128, "uvfio_%s_%s%s", model, name,
		 !strcmp(member_text(stat, "type"), "counter") ? "_total" : "");
}

static void add_metric(struct metrics *m, const char *name, const char *help, const char *type)
{
	struct metric *list;

	for (unsigned i = 0; i < m->nr; i++) {
		if (!strcmp(m->list[i].name, name))
			return;
	}
	list = realloc(m->list, (m->nr + 1) * sizeof(*list));
	if (!list)
		return;
	m->list = list;
	snprintf(list[m->nr].name, sizeof(list->name), "%s", name);
	snprintf(list[m->nr].help, sizeof(list->help), "%s", help);
	snprintf(list[m->nr].type, sizeof(list->type), "%s", type);
	m->nr++;
}

static void print_label(const char *name, const char *value, bool first)
{
	printf("%s%s=\"", first ? "" : ",", name);
	print_escaped(value, true);
	putchar('"');
}

/* "{machine=…,device=…" without the closing brace. */
static void open_labels(struct json_object *result, struct json_object *device,
			struct json_object *labels)
{
	putchar('{');
	print_label("machine", member_text(result, "machine"), true);
	print_label("device", member_text(device, "device"), false);
	if (!labels)
		return;
	json_object_object_foreach(labels, key, value)
	{
		char name[64];

		safe_name(key, name, sizeof(name));
		print_label(name, json_object_get_string(value), false);
	}
}

static void print_histogram(const char *name, struct json_object *result,
			    struct json_object *device, struct json_object *stat)
{
	struct json_object *buckets = member(stat, "buckets"), *labels = member(stat, "labels");
	size_t nr = buckets ? json_object_array_length(buckets) : 0, next = 0;
	uint64_t sum = 0, bound;

	for (unsigned log2 = FIRST_BOUND; log2 <= LAST_BOUND; log2++) {
		for (; next < nr; next++) {
			struct json_object *pair = json_object_array_get_idx(buckets, next);

			bound = json_object_get_uint64(json_object_array_get_idx(pair, 0));
			/* The last bucket holds what is longer, too. */
			if (bound > 1ull << log2 || bound >= 1ull << LAST_BOUND)
				break;
			sum += json_object_get_uint64(json_object_array_get_idx(pair, 1));
		}
		if (log2 == LAST_BOUND)
			break;
		printf("%s_bucket", name);
		open_labels(result, device, labels);
		printf(",le=\"%.9g\"} %llu\n", (double)(1ull << log2) / 1e9,
		       (unsigned long long)sum);
	}
	printf("%s_bucket", name);
	open_labels(result, device, labels);
	printf(",le=\"+Inf\"} %llu\n", (unsigned long long)member_uint(stat, "count"));
	printf("%s_sum", name);
	open_labels(result, device, labels);
	printf("} %.9f\n", (double)member_uint(stat, "sum_ns") / 1e9);
	printf("%s_count", name);
	open_labels(result, device, labels);
	printf("} %llu\n", (unsigned long long)member_uint(stat, "count"));
}

static void print_value(const char *name, struct json_object *result, struct json_object *device,
			struct json_object *labels, uint64_t value)
{
	printf("%s", name);
	open_labels(result, device, labels);
	printf("} %llu\n", (unsigned long long)value);
}

/* The core's counters, in its own order. */
static const struct {
	const char *key, *name, *help, *type;
} core[] = {
	{"open", "uvfio_device_open_files", "Files by which the device is open.", "gauge"},
	{"region_reads", "uvfio_region_reads_total", "Reads of regions by clients.", "counter"},
	{"region_writes", "uvfio_region_writes_total", "Writes to regions by clients.", "counter"},
	{"stores", "uvfio_stores_total", "Trapped stores to mapped registers.", "counter"},
	{"dma_transfers", "uvfio_dma_transfers_total", "DMA transfers of the device.", "counter"},
	{"dma_bytes", "uvfio_dma_bytes_total", "Bytes transferred by DMA.", "counter"},
	{"dma_faults", "uvfio_dma_faults_total", "DMA transfers that were refused.", "counter"},
	{"interrupts", "uvfio_interrupts_total", "Interrupts delivered to clients.", "counter"},
	{"interrupts_dropped", "uvfio_interrupts_dropped_total",
	 "Interrupts that could not be delivered.", "counter"},
	{"resets", "uvfio_resets_total", "Resets of the device.", "counter"},
};

static void print_core(struct json_object *result, struct json_object *device, unsigned i)
{
	struct json_object *counters = member(device, "counters");
	struct json_object *from = member(counters, core[i].key) ? counters : device;

	if (member(from, core[i].key))
		print_value(core[i].name, result, device, NULL, member_uint(from, core[i].key));
}

static void print_head(const char *name, const char *help, const char *type)
{
	printf("# HELP %s ", name);
	print_escaped(help, false);
	printf("\n# TYPE %s %s\n", name, type);
}

typedef void device_fn(void *arg, struct json_object *result, struct json_object *device,
		       struct json_object *stat);

/* @fn for every value that a model reported. */
static void for_each_stat(struct json_object *const *stats, unsigned nr, device_fn *fn, void *arg)
{
	for (unsigned i = 0; i < nr; i++) {
		struct json_object *devices = member(stats[i], "devices");

		for (size_t j = 0; devices && j < json_object_array_length(devices); j++) {
			struct json_object *device = json_object_array_get_idx(devices, j);
			struct json_object *model = member(device, "model_stats");

			for (size_t k = 0; model && k < json_object_array_length(model); k++)
				fn(arg, stats[i], device, json_object_array_get_idx(model, k));
		}
	}
}

static void collect(void *arg, struct json_object *result, struct json_object *device,
		    struct json_object *stat)
{
	char name[128];

	metric_name(device, stat, name);
	add_metric(arg, name, member_text(stat, "help"), member_text(stat, "type"));
}

static void print_if(void *arg, struct json_object *result, struct json_object *device,
		     struct json_object *stat)
{
	const struct metric *metric = arg;
	char name[128];

	metric_name(device, stat, name);
	if (strcmp(name, metric->name) != 0)
		return;
	if (!strcmp(metric->type, "histogram"))
		print_histogram(name, result, device, stat);
	else
		print_value(name, result, device, member(stat, "labels"),
			    member_uint(stat, "value"));
}

static void print_tainted(struct json_object *const *stats, unsigned nr)
{
	print_head("uvfio_machine_tainted", "What its isolation cannot be relied on for.", "gauge");
	for (unsigned i = 0; i < nr; i++) {
		struct json_object *taint = member(stats[i], "taint");

		for (size_t j = 0; taint && j < json_object_array_length(taint); j++) {
			printf("uvfio_machine_tainted{");
			print_label("machine", member_text(stats[i], "machine"), true);
			print_label("taint",
				    json_object_get_string(json_object_array_get_idx(taint, j)),
				    false);
			printf("} 1\n");
		}
	}
}

void print_prometheus(struct json_object *const *stats, unsigned nr)
{
	struct metrics m = {0};

	for (unsigned c = 0; c < sizeof(core) / sizeof(core[0]); c++) {
		print_head(core[c].name, core[c].help, core[c].type);
		for (unsigned i = 0; i < nr; i++) {
			struct json_object *devices = member(stats[i], "devices");

			for (size_t j = 0; devices && j < json_object_array_length(devices); j++)
				print_core(stats[i], json_object_array_get_idx(devices, j), c);
		}
	}
	print_tainted(stats, nr);
	for_each_stat(stats, nr, collect, &m);
	for (unsigned i = 0; i < m.nr; i++) {
		print_head(m.list[i].name, m.list[i].help, m.list[i].type);
		for_each_stat(stats, nr, print_if, &m.list[i]);
	}
	free(m.list);
}
