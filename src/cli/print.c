/* SPDX-License-Identifier: BSD-3-Clause */
/* Answers of a server, for people. */
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <wchar.h>

#include "cli/remote.h"

struct json_object *member(struct json_object *object, const char *key)
{
	struct json_object *value = NULL;

	if (json_object_is_type(object, json_type_object))
		json_object_object_get_ex(object, key, &value);
	return value;
}

uint64_t member_uint(struct json_object *object, const char *key)
{
	return json_object_get_uint64(member(object, key));
}

const char *member_text(struct json_object *object, const char *key)
{
	const char *text = json_object_get_string(member(object, key));

	return text ? text : "";
}

bool member_bool(struct json_object *object, const char *key)
{
	return json_object_get_boolean(member(object, key));
}

const char *printable(const char *text, char *out, size_t size)
{
	size_t n = 0;

	for (; *text && n + 1 < size; text++)
		out[n++] = (unsigned char)*text < 0x20 || *text == 0x7f ? '?' : *text;
	out[n] = '\0';
	return out;
}

const char *taint_text(struct json_object *result, char out[64])
{
	struct json_object *taint = member(result, "taint");
	size_t n =
		json_object_is_type(taint, json_type_array) ? json_object_array_length(taint) : 0;
	size_t len = 0;

	out[0] = '\0';
	for (size_t i = 0; i < n && len < 64; i++) {
		const char *text = json_object_get_string(json_object_array_get_idx(taint, i));

		len += (size_t)snprintf(out + len, 64 - len, "%s%s", i ? ", " : "",
					text ? text : "");
	}
	return out;
}

void print_taint(struct json_object *result)
{
	char taint[64], safe[64], name[64];

	if (taint_text(result, taint)[0])
		printf("Machine %s is tainted: %s.\n",
		       printable(member_text(result, "machine"), name, sizeof(name)),
		       printable(taint, safe, sizeof(safe)));
}

void print_json(struct json_object *object)
{
	puts(json_object_to_json_string_ext(object, JSON_C_TO_STRING_PRETTY |
							    JSON_C_TO_STRING_SPACED |
							    JSON_C_TO_STRING_NOSLASHESCAPE));
}

void print_machines(struct json_object *machines)
{
	struct json_object *out = json_object_new_object();

	json_object_object_add(out, "machines", machines);
	print_json(out);
	json_object_put(out);
}

const char *size_text(uint64_t bytes, char out[24])
{
	static const char units[] = "KMGTPE";
	double value = (double)bytes;
	int unit = -1;

	while (value >= 1024 && unit < 5) {
		value /= 1024;
		unit++;
	}
	if (unit < 0)
		snprintf(out, 24, "%llu", (unsigned long long)bytes);
	else if (value == (double)(uint64_t)value || value >= 100)
		snprintf(out, 24, "%.0f%c", value, units[unit]);
	else
		snprintf(out, 24, "%.1f%c", value, units[unit]);
	return out;
}

const char *duration_text(uint64_t ns, char out[24])
{
	if (ns < 1000)
		snprintf(out, 24, "%llu ns", (unsigned long long)ns);
	else if (ns < 1000000)
		snprintf(out, 24, "%.1f µs", (double)ns / 1e3);
	else if (ns < 1000000000)
		snprintf(out, 24, "%.1f ms", (double)ns / 1e6);
	else
		snprintf(out, 24, "%.1f s", (double)ns / 1e9);
	return out;
}

const char *time_text(uint64_t ns, bool with_date, char out[48])
{
	time_t seconds = (time_t)(ns / 1000000000u);
	struct tm tm = {0};
	size_t len;

	localtime_r(&seconds, &tm);
	len = strftime(out, 48, with_date ? "%Y-%m-%d %H:%M:%S" : "%H:%M:%S", &tm);
	snprintf(out + len, 48 - len, ".%06llu", (unsigned long long)(ns % 1000000000u / 1000));
	return out;
}

/* ---- tables ---- */

struct table {
	unsigned columns;
	char **cells; /* the heads first */
	size_t nr;
};

static void out_of_memory(void)
{
	fprintf(stderr, "uvfio: out of memory\n");
	exit(1);
}

static void add_cell(struct table *t, const char *text)
{
	char **cells = realloc(t->cells, (t->nr + 1) * sizeof(*cells));
	char *copy = strdup(text);

	if (!cells || !copy)
		out_of_memory();
	t->cells = cells;
	cells[t->nr++] = copy;
}

struct table *table_new(const char *const *heads, unsigned nr)
{
	struct table *t = calloc(1, sizeof(*t));

	if (!t)
		out_of_memory();
	t->columns = nr;
	for (unsigned i = 0; i < nr; i++)
		add_cell(t, heads[i]);
	return t;
}

void table_cell(struct table *t, const char *fmt, ...)
{
	char text[512], shown[512];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	add_cell(t, printable(text, shown, sizeof(shown)));
}

/* Characters, as UTF-8 counts them. */
static unsigned width(const char *text)
{
	unsigned n = 0;

	for (; *text; text++)
		n += (*text & 0xc0) != 0x80;
	return n;
}

void table_print(struct table *t, unsigned indent)
{
	unsigned *widths = calloc(t->columns, sizeof(*widths));

	if (!widths)
		out_of_memory();
	for (size_t i = 0; i < t->nr; i++) {
		if (width(t->cells[i]) > widths[i % t->columns])
			widths[i % t->columns] = width(t->cells[i]);
	}
	for (size_t i = 0; i < t->nr && t->nr > t->columns; i++) {
		unsigned column = (unsigned)(i % t->columns);
		bool last = column + 1 == t->columns;

		if (!column)
			printf("%*s", (int)indent, "");
		printf("%s%*s", t->cells[i],
		       last ? 0 : (int)(widths[column] - width(t->cells[i]) + 2), "");
		if (last)
			putchar('\n');
	}
	for (size_t i = 0; i < t->nr; i++)
		free(t->cells[i]);
	free(t->cells);
	free(t);
	free(widths);
}
