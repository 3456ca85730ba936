/* SPDX-License-Identifier: BSD-3-Clause */
/* `uvfio stats [DEVICE]`: counters and latencies. */
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/remote.h"

struct gathering {
	const char *device; /* NULL: all */
	struct json_object **results;
	unsigned nr;
};

static int gather(struct remote *r, void *arg)
{
	struct gathering *g = arg;
	struct json_object **results, *result = remote_devices(r, "stats", g->device);

	if (!result)
		return 1;
	results = realloc(g->results, (g->nr + 1) * sizeof(*results));
	if (!results) {
		json_object_put(result);
		return 1;
	}
	g->results = results;
	results[g->nr++] = result;
	return 0;
}

/* "queue=1 op=read" */
static void labels_text(struct json_object *labels, char *out, size_t size)
{
	size_t len = 0;

	out[0] = '\0';
	if (!labels)
		return;
	json_object_object_foreach(labels, key, value)
	{
		if (len < size)
			len += (size_t)snprintf(out + len, size - len, "%s%s=%s", len ? " " : "",
						key, json_object_get_string(value));
	}
}

static void add_histogram(struct table *t, struct json_object *s)
{
	static const char *const quantiles[] = {"p50_ns", "p90_ns", "p99_ns", "p999_ns", "max_ns"};
	uint64_t count = member_uint(s, "count");
	char text[24];

	table_cell(t, "%llu", (unsigned long long)count);
	table_cell(t, "%s", count ? duration_text(member_uint(s, "sum_ns") / count, text) : "-");
	for (unsigned i = 0; i < sizeof(quantiles) / sizeof(quantiles[0]); i++)
		table_cell(t, "%s",
			   count ? duration_text(member_uint(s, quantiles[i]), text) : "-");
}

static void print_device(struct json_object *d, const char *machine)
{
	static const char *const value_heads[] = {"COUNTER", "OF", "VALUE"};
	static const char *const time_heads[] = {"TIME", "OF",   "COUNT",  "MEAN", "MEDIAN",
						 "90 %", "99 %", "99.9 %", "MAX"};
	struct json_object *core = member(d, "counters"), *model = member(d, "model_stats");
	struct table *values = table_new(value_heads, 3), *times = table_new(time_heads, 9);
	char labels[200];

	printf("%s  %s%s%s\n", member_text(d, "device"), member_text(d, "model"),
	       machine[0] ? ", machine " : "", machine);
	if (core) {
		json_object_object_foreach(core, key, value)
		{
			table_cell(values, "%s", key);
			table_cell(values, " ");
			table_cell(values, "%llu",
				   (unsigned long long)json_object_get_uint64(value));
		}
	}
	for (size_t i = 0; model && i < json_object_array_length(model); i++) {
		struct json_object *s = json_object_array_get_idx(model, i);
		bool histogram = !strcmp(member_text(s, "type"), "histogram");
		struct table *t = histogram ? times : values;

		/* Most of it, mostly. */
		if (!member_uint(s, histogram ? "count" : "value"))
			continue;
		labels_text(member(s, "labels"), labels, sizeof(labels));
		table_cell(t, "%s", member_text(s, "name"));
		table_cell(t, "%s", labels[0] ? labels : " ");
		if (histogram)
			add_histogram(t, s);
		else
			table_cell(t, "%llu", (unsigned long long)member_uint(s, "value"));
	}
	table_print(values, 2);
	table_print(times, 2);
}

static void print_all(struct json_object *const *results, unsigned nr)
{
	bool first = true;

	for (unsigned i = 0; i < nr; i++) {
		struct json_object *devices = member(results[i], "devices");

		for (size_t j = 0; devices && j < json_object_array_length(devices); j++) {
			if (!first)
				putchar('\n');
			first = false;
			print_device(json_object_array_get_idx(devices, j),
				     member_text(results[i], "machine"));
		}
		print_taint(results[i]);
	}
}

static void print_all_json(struct json_object *const *results, unsigned nr)
{
	struct json_object *list = json_object_new_array();

	for (unsigned i = 0; i < nr; i++)
		json_object_array_add(list, json_object_get(results[i]));
	print_machines(list);
}

int cmd_stats(int argc, char **argv)
{
	static const struct remote_command all = {
		.name = "stats",
		.arguments = "[DEVICE]",
		.help = "Shows the counters and latencies of a device, or of all.  What the model counts and is\n"
			"still 0 is left out, except with --json and --prometheus.",
		.max = 1,
		.takes = REMOTE_JSON | REMOTE_PROMETHEUS | REMOTE_ALL_MACHINES,
	};
	struct remote_command command = all;
	struct gathering g = {0};
	struct remote_options o;
	int ret = remote_options(&command, argc, argv, &o);

	if (ret >= 0)
		return ret;
	if (o.nr_args) {
		g.device = o.args[0];
		command.takes &= ~REMOTE_ALL_MACHINES;
	}
	ret = remote_each(&command, &o, gather, &g);
	if (o.given & REMOTE_PROMETHEUS)
		print_prometheus(g.results, g.nr);
	else if (o.given & REMOTE_JSON)
		print_all_json(g.results, g.nr);
	else
		print_all(g.results, g.nr);
	for (unsigned i = 0; i < g.nr; i++)
		json_object_put(g.results[i]);
	free(g.results);
	return ret;
}
