/* SPDX-License-Identifier: BSD-3-Clause */
/* `uvfio inject DEVICE WHAT [KEY=VALUE...]`: let something go wrong. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/remote.h"

/* "5s", "200ms", "10us" into nanoseconds. */
static bool parse_time(const char *text, uint64_t *ns)
{
	static const struct {
		const char *name;
		uint64_t ns;
	} units[] = {{"us", 1000}, {"ms", 1000000}, {"s", 1000000000}};
	size_t len = strspn(text, "0123456789");

	for (unsigned i = 0; i < 3 && len && len < 10; i++) {
		if (!strcmp(text + len, units[i].name)) {
			*ns = strtoull(text, NULL, 10) * units[i].ns;
			return true;
		}
	}
	return false;
}

/* One KEY=VALUE into @params; false with a message. */
static bool add_key(struct json_object *params, const char *word)
{
	const char *equals = strchr(word, '='), *value = equals ? equals + 1 : "";
	size_t len = equals ? (size_t)(equals - word) : strlen(word);
	uint64_t ns;

	if (len == 5 && !strncmp(word, "error", 5) && *value) {
		json_object_object_add(params, "error", json_object_new_string(value));
		return true;
	}
	if (len == 5 && !strncmp(word, "count", 5)) {
		if (*value && strlen(value) < 10 && strspn(value, "0123456789") == strlen(value)) {
			json_object_object_add(params, "count",
					       json_object_new_uint64(strtoull(value, NULL, 10)));
			return true;
		}
		fprintf(stderr, "uvfio inject: %s: not a number\n", word);
		return false;
	}
	if (len == 4 && !strncmp(word, "time", 4)) {
		if (parse_time(value, &ns)) {
			json_object_object_add(params, "time_ns", json_object_new_uint64(ns));
			return true;
		}
		fprintf(stderr, "uvfio inject: %s: not a time; give one like 500us, 20ms or 5s\n",
			word);
		return false;
	}
	fprintf(stderr,
		"uvfio inject: '%s': the keys are error=NAME, count=N and time=TIME; "
		"uvfio-inject(1) says what takes which\n",
		word);
	return false;
}

int cmd_inject(int argc, char **argv)
{
	static const struct remote_command command = {
		.name = "inject",
		.arguments = "DEVICE WHAT [KEY=VALUE...]",
		.help = "Lets something go wrong with the device, for tests of its driver:\n"
			"  aer error=NAME                 a PCI Express error, like CmpltTO or BadTLP\n"
			"  fault [count=N]                the next N DMA transfers fault (1)\n"
			"  irq-storm [count=N]            N interrupts without a reason (1)\n"
			"  slow-mmio [time=TIME]          each register access takes so much longer (1ms)\n"
			"  stuck-reset [count=N] [time=TIME]  the next N resets fail after TIME (1, 1s)\n"
			"  wake                           a suspended device asks to be woken (PME)\n"
			"  nothing                        no more of it",
		.min = 2,
		.max = 5,
	};
	struct json_object *params, *result = NULL;
	struct remote_options o;
	struct remote r;
	int ret = remote_begin(&command, argc, argv, &o, &r);

	if (ret >= 0)
		return ret;
	params = remote_device_params(o.args[0]);
	json_object_object_add(params, "what", json_object_new_string(o.args[1]));
	ret = 0;
	for (int i = 2; i < o.nr_args && !ret; i++)
		ret = add_key(params, o.args[i]) ? 0 : EXIT_USAGE;
	if (ret) {
		json_object_put(params);
	} else {
		result = remote_call(&r, "inject", params);
		ret = !result;
		if (result && member(result, "outcome"))
			printf("%s\n", member_text(result, "outcome"));
	}
	json_object_put(result);
	remote_close(&r);
	return ret;
}
