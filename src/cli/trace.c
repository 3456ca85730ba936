/* SPDX-License-Identifier: BSD-3-Clause */
/* `uvfio trace [DEVICE]`: what happens, as it happens. */
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/remote.h"

static struct json_object *event_names(const char *list)
{
	struct json_object *names = json_object_new_array();
	char *copy = strdup(list), *rest, *part;

	for (part = copy ? strtok_r(copy, ",", &rest) : NULL; part;
	     part = strtok_r(NULL, ",", &rest))
		json_object_array_add(names, json_object_new_string(part));
	free(copy);
	return names;
}

static void print_event(struct json_object *e)
{
	char when[48], text[300];

	if (!strcmp(member_text(e, "event"), "dropped")) {
		printf("... %llu events lost\n", (unsigned long long)member_uint(e, "dropped"));
		return;
	}
	if (member(e, "dropped"))
		printf("... %llu events lost\n", (unsigned long long)member_uint(e, "dropped"));
	printf("%s %-12s %s", time_text(member_uint(e, "time_ns"), false, when),
	       member(e, "device") ? member_text(e, "device") : "-", member_text(e, "event"));
	json_object_object_foreach(e, key, value)
	{
		if (!strcmp(key, "subscription") || !strcmp(key, "time_ns") ||
		    !strcmp(key, "device") || !strcmp(key, "event") || !strcmp(key, "dropped"))
			continue;
		printf(" %s=%s", key, printable(json_object_get_string(value), text, sizeof(text)));
	}
	printf("\n");
}

/* Until the server goes or nobody reads. */
static int follow(struct remote *r, bool json)
{
	struct json_object *message, *e;

	while ((message = remote_next(r))) {
		e = member(message, "params");
		if (e && json)
			puts(json_object_to_json_string_ext(
				e, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE));
		else if (e)
			print_event(e);
		json_object_put(message);
		/* Whole bursts at a time, but never late. */
		if ((!r->len || !memchr(r->buf, '\n', r->len)) && fflush(stdout))
			return 1;
	}
	fprintf(stderr, "uvfio trace: the server at %s has ended\n", r->path);
	return 1;
}

int cmd_trace(int argc, char **argv)
{
	static const struct remote_command command = {
		.name = "trace",
		.arguments = "[DEVICE]",
		.help = "Shows accesses to registers that are not mapped reads, DMA mappings, interrupts,\n"
			"faults and resets of a device, or of all, as they happen; until interrupted.",
		.max = 1,
		.takes = REMOTE_JSON | REMOTE_EVENTS,
	};
	struct json_object *params, *result;
	struct remote_options o;
	struct remote r;
	int ret = remote_begin(&command, argc, argv, &o, &r);

	if (ret >= 0)
		return ret;
	params = o.nr_args ? remote_device_params(o.args[0]) : json_object_new_object();
	if (o.events)
		json_object_object_add(params, "events", event_names(o.events));
	result = remote_call(&r, "trace", params);
	ret = result ? follow(&r, o.given & REMOTE_JSON) : 1;
	json_object_put(result);
	remote_close(&r);
	return ret;
}
