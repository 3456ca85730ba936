/* SPDX-License-Identifier: BSD-3-Clause */
/* `uvfio show DEVICE`: all about one device. */
#include <pwd.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/remote.h"

#define PAGE 256

static const char *const on_off[] = {"off", "on"};

static size_t length(struct json_object *array)
{
	return json_object_is_type(array, json_type_array) ? json_object_array_length(array) : 0;
}

static void print_identity(struct json_object *d)
{
	struct json_object *group = member(d, "group"), *bus = member(d, "bus");
	char text[300], taint[64];

	printf("%s  %s", member_text(d, "device"),
	       printable(member_text(d, "model"), text, sizeof(text)));
	printf(": %s\n", printable(member_text(d, "summary"), text, sizeof(text)));
	printf("  id      %04x:%04x, subsystem %04x:%04x, class %06x, revision %02x\n",
	       (unsigned)member_uint(d, "vendor_id"), (unsigned)member_uint(d, "device_id"),
	       (unsigned)member_uint(d, "subsystem_vendor_id"),
	       (unsigned)member_uint(d, "subsystem_device_id"), (unsigned)member_uint(d, "class"),
	       (unsigned)member_uint(d, "revision"));
	if (taint_text(d, taint)[0])
		printf("  taint   %s\n", printable(taint, text, sizeof(text)));
	printf("  group   %s%u, %u device%s, %s\n", member_bool(group, "noiommu") ? "noiommu-" : "",
	       (unsigned)member_uint(group, "number"), (unsigned)member_uint(group, "devices"),
	       member_uint(group, "devices") == 1 ? "" : "s",
	       member_bool(group, "iommu")       ? member_bool(group, "noiommu")
							   ? "in a container without IOMMU"
							   : "in a container with an address space"
	       : member_bool(group, "container") ? "in a container"
	       : member_bool(group, "open")      ? "open"
						 : "not in use");
	printf("  state   %s, memory %s, bus mastering %s%s%s\n", member_text(bus, "power"),
	       on_off[member_bool(bus, "memory")], on_off[member_bool(bus, "bus_master")],
	       member_bool(bus, "resetting") ? ", in a reset" : "",
	       member_bool(bus, "leaving") ? ", being removed" : "");
}

static void print_sriov(struct json_object *d)
{
	struct json_object *sriov = member(d, "sriov");

	if (member(d, "driver"))
		printf("  driver  %s\n", member_text(d, "driver"));
	else
		printf("  driver  none\n");
	if (member(d, "physfn"))
		printf("  vf      %u of %s, %u vectors\n", (unsigned)member_uint(d, "vf"),
		       member_text(d, "physfn"), (unsigned)member_uint(d, "vf_vectors"));
	if (!sriov)
		return;
	printf("  vfs     %u of %u, device %04x, offset %u, stride %u, drivers autoprobe %s\n",
	       (unsigned)member_uint(sriov, "num_vfs"), (unsigned)member_uint(sriov, "total_vfs"),
	       (unsigned)member_uint(sriov, "vf_device_id"), (unsigned)member_uint(sriov, "offset"),
	       (unsigned)member_uint(sriov, "stride"),
	       on_off[member_bool(sriov, "drivers_autoprobe")]);
	if (member_uint(sriov, "vectors_total"))
		printf("  pool    %u of %u vectors in use\n",
		       (unsigned)member_uint(sriov, "vectors_used"),
		       (unsigned)member_uint(sriov, "vectors_total"));
}

/* Whether it can be moved, and whether who has it would notice that it can. */
static void print_migration(struct json_object *d)
{
	struct json_object *m = member(d, "migration"), *can = member(m, "can");
	struct json_object *left = member(m, "bytes_left");
	const char *place = member_text(m, "place");

	if (!m)
		return; /* an older server */
	if (!can) {
		printf("  moves   not\n");
		return;
	}
	printf("  moves   by %s:", member_text(m, "interface"));
	for (size_t i = 0; i < length(can); i++)
		printf("%s %s", i ? "," : "",
		       json_object_get_string(json_object_array_get_idx(can, i)));
	printf("; %s%s", member_text(m, "state"),
	       member_bool(m, "quiet_mmio") ? ", to be left alone while it does not run" : "");
	if (strcmp(place, "here") != 0)
		printf(", %s", place);
	if (left)
		printf(", %llu bytes left, %llu of them again",
		       (unsigned long long)(member_uint(left, "initial") +
					    member_uint(left, "dirty")),
		       (unsigned long long)member_uint(left, "dirty"));
	if (length(member(d, "users")))
		printf("; its user has %s for it", member_bool(m, "asked") ? "asked" : "not asked");
	printf("\n");
}

static void print_users(struct json_object *d)
{
	struct json_object *users = member(d, "users");

	for (size_t i = 0; i < length(users); i++) {
		struct json_object *user = json_object_array_get_idx(users, i);
		char when[48], comm[64] = "", path[48], shown[64];
		unsigned pid = (unsigned)member_uint(user, "pid");
		const struct passwd *pw = NULL;
		FILE *f = NULL;

		snprintf(path, sizeof(path), "/proc/%u/comm", pid);
		if (pid)
			f = fopen(path, "re");
		if (f && fgets(comm, sizeof(comm), f))
			comm[strcspn(comm, "\n")] = '\0';
		if (f)
			fclose(f);
		printf("  user    %s",
		       member(user, "door") ? member_text(user, "door") : "unknown");
		if (pid)
			printf(", pid %u", pid);
		if (comm[0])
			printf(" (%s)", printable(comm, shown, sizeof(shown)));
		if (member(user, "uid")) {
			pw = getpwuid((uid_t)member_uint(user, "uid"));
			if (pw)
				printf(", user %s", pw->pw_name);
			else
				printf(", user %u", (unsigned)member_uint(user, "uid"));
		}
		printf(", since %.19s\n", time_text(member_uint(user, "since_ns"), true, when));
	}
	if (!length(users))
		printf("  user    none\n");
}

/* What the server adds, whatever it is. */
/* One value of what the door says: text as it is, the members of an object in a row. */
static void print_said(const char *key, struct json_object *value)
{
	const char *comma = "";
	char text[600];

	printf("  %-7s ", key);
	if (!json_object_is_type(value, json_type_object)) {
		printf("%s\n", printable(json_object_get_string(value), text, sizeof(text)));
		return;
	}
	json_object_object_foreach(value, name, member_value)
	{
		char *c;

		snprintf(text, sizeof(text), "%s", name);
		while ((c = strchr(text, '_')))
			*c = ' ';
		printf("%s%s ", comma, text);
		printf("%s", printable(json_object_get_string(member_value), text, sizeof(text)));
		comma = ", ";
	}
	printf("\n");
}

static void print_door(struct json_object *d)
{
	struct json_object *door = member(d, "door");

	if (!door)
		return;
	json_object_object_foreach(door, key, value)
	{
		if (!json_object_is_type(value, json_type_array))
			print_said(key, value);
		for (size_t i = 0; i < length(value); i++)
			print_said(i ? "" : key, json_object_array_get_idx(value, i));
	}
}

static void print_regions(struct json_object *d)
{
	static const char *const heads[] = {"REGION", "SIZE", "ACCESS", "TYPE", "ADDRESS", "HAS"};
	struct json_object *regions = member(d, "regions");
	struct table *t = table_new(heads, 6);
	char size[24];

	for (size_t i = 0; i < length(regions); i++) {
		struct json_object *r = json_object_array_get_idx(regions, i);
		struct json_object *areas = member(r, "areas");
		char has[256] = "";
		size_t len = 0;

		for (size_t j = 0; j < length(areas) && len < sizeof(has); j++) {
			struct json_object *a = json_object_array_get_idx(areas, j);

			len += (size_t)snprintf(has + len, sizeof(has) - len, "%s%s at %#llx",
						j ? ", " : "", member_text(a, "kind"),
						(unsigned long long)member_uint(a, "offset"));
		}
		table_cell(t, "%s", member_text(r, "name"));
		table_cell(t, "%s", size_text(member_uint(r, "size"), size));
		table_cell(t, "%s%s%s", member_bool(r, "read") ? "r" : "",
			   member_bool(r, "write") ? "w" : "",
			   member_bool(r, "mmap") ? ", mmap" : "");
		table_cell(t, "%s", member_text(r, "type"));
		if (member(r, "address"))
			table_cell(t, "%#llx", (unsigned long long)member_uint(r, "address"));
		else
			table_cell(t, " ");
		table_cell(t, "%s", has);
	}
	putchar('\n');
	table_print(t, 2);
}

static void print_interrupts(struct json_object *d)
{
	static const char *const heads[] = {"INTERRUPT", "VECTORS", "ENABLED", "DELIVERED", ""};
	static const char *const vector_heads[] = {"VECTOR", "DELIVERED", "STATE"};
	struct json_object *irqs = member(d, "interrupts");
	struct table *t = table_new(heads, 5), *v = table_new(vector_heads, 3);

	for (size_t i = 0; i < length(irqs); i++) {
		struct json_object *irq = json_object_array_get_idx(irqs, i);
		struct json_object *list = member(irq, "vectors");

		table_cell(t, "%s", member_text(irq, "name"));
		table_cell(t, "%u", (unsigned)member_uint(irq, "count"));
		table_cell(t, "%u", (unsigned)member_uint(irq, "enabled"));
		table_cell(t, "%llu", (unsigned long long)member_uint(irq, "delivered"));
		table_cell(t, "%s%s", member_bool(irq, "asserted") ? "asserted " : "",
			   member_bool(irq, "masked") ? "masked" : "");
		for (size_t j = 0; j < length(list); j++) {
			struct json_object *one = json_object_array_get_idx(list, j);

			table_cell(v, "%s %u", member_text(irq, "name"),
				   (unsigned)member_uint(one, "vector"));
			table_cell(v, "%llu", (unsigned long long)member_uint(one, "delivered"));
			table_cell(v, "%s%s%s",
				   member_bool(one, "eventfd") ? "eventfd" : "no eventfd",
				   member_bool(one, "masked") ? ", masked" : "",
				   member_bool(one, "pending") ? ", pending" : "");
		}
	}
	putchar('\n');
	table_print(t, 2);
	table_print(v, 4);
}

static struct table *mappings_table(void)
{
	static const char *const heads[] = {"IOVA", "SIZE", "ACCESS", "MEMORY"};

	return table_new(heads, 4);
}

static void print_mappings(struct table *t, struct json_object *dma)
{
	struct json_object *list = member(dma, "mappings");
	char size[24], memory[48];

	for (size_t i = 0; i < length(list); i++) {
		struct json_object *m = json_object_array_get_idx(list, i);

		table_cell(t, "%#llx", (unsigned long long)member_uint(m, "iova"));
		table_cell(t, "%s", size_text(member_uint(m, "size"), size));
		table_cell(t, "%s", member_text(m, "access"));
		snprintf(memory, sizeof(memory), "%s%s%s", member_text(m, "memory"),
			 member(m, "device") ? " " : "",
			 member(m, "device") ? member_text(m, "device") : "");
		if (member_uint(m, "pieces") > 1)
			table_cell(t, "%s, %u pieces", memory, (unsigned)member_uint(m, "pieces"));
		else
			table_cell(t, "%s", memory);
	}
}

static void print_counters(struct json_object *d)
{
	struct json_object *counters = member(d, "counters");

	if (!counters)
		return;
	printf("\n  counters:");
	json_object_object_foreach(counters, key, value)
	{
		char name[40];

		snprintf(name, sizeof(name), "%s", key);
		for (char *c = name; *c; c++)
			*c = *c == '_' ? ' ' : *c;
		printf(" %s %llu;", name, (unsigned long long)json_object_get_uint64(value));
	}
	printf("\n");
}

static struct json_object *page_params(const char *device, uint64_t from)
{
	struct json_object *params = remote_device_params(device);

	json_object_object_add(params, "mappings_from", json_object_new_uint64(from));
	json_object_object_add(params, "mappings_limit", json_object_new_int(PAGE));
	return params;
}

/* The rest of the mappings, into the list of @d. */
static int fetch_mappings(struct remote *r, struct json_object *d, const char *device)
{
	struct json_object *dma = member(d, "dma"), *list = member(dma, "mappings");

	while (member(dma, "next")) {
		struct json_object *page =
			remote_call(r, "show", page_params(device, member_uint(dma, "next")));
		struct json_object *more, *next;

		if (!page)
			return 1;
		more = member(member(page, "dma"), "mappings");
		next = member(member(page, "dma"), "next");
		for (size_t i = 0; i < length(more); i++)
			json_object_array_add(list,
					      json_object_get(json_object_array_get_idx(more, i)));
		json_object_object_del(dma, "next");
		if (next && length(more))
			json_object_object_add(dma, "next", json_object_get(next));
		json_object_put(page);
	}
	return 0;
}

static void print_device(struct json_object *d)
{
	struct json_object *dma = member(d, "dma");
	struct table *t = mappings_table();
	size_t shown = length(member(dma, "mappings"));

	print_identity(d);
	print_sriov(d);
	print_migration(d);
	print_users(d);
	print_door(d);
	print_regions(d);
	print_interrupts(d);
	printf("\n  DMA mappings: %llu", (unsigned long long)member_uint(dma, "total"));
	if (member(dma, "next"))
		printf(", of which the first %zu (all: --mappings)", shown);
	if (member_uint(dma, "space"))
		printf(", address space %llu", (unsigned long long)member_uint(dma, "space"));
	printf("\n");
	print_mappings(t, dma);
	table_print(t, 4);
	print_counters(d);
}

int cmd_show(int argc, char **argv)
{
	static const struct remote_command command = {
		.name = "show",
		.arguments = "DEVICE",
		.help = "Shows all about one device: who has it open, its regions, interrupts and DMA\n"
			"mappings.  DEVICE is its address, as `uvfio list` shows it.",
		.min = 1,
		.max = 1,
		.takes = REMOTE_JSON | REMOTE_MAPPINGS,
	};
	struct json_object *d;
	struct remote_options o;
	struct remote r;
	int ret = remote_begin(&command, argc, argv, &o, &r);

	if (ret >= 0)
		return ret;
	d = remote_call(&r, "show",
			o.given & REMOTE_MAPPINGS ? page_params(o.args[0], 0)
						  : remote_device_params(o.args[0]));
	ret = !d;
	if (!ret && (o.given & REMOTE_MAPPINGS))
		ret = fetch_mappings(&r, d, o.args[0]);
	if (!ret && (o.given & REMOTE_JSON))
		print_json(d);
	else if (!ret)
		print_device(d);
	json_object_put(d);
	remote_close(&r);
	return ret;
}
