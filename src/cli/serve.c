/* SPDX-License-Identifier: BSD-3-Clause */
/* `uvfio serve [OPTIONS]`: devices for VMMs and drivers, over vfio-user. */
#include <errno.h>
#include <getopt.h>
#include <json.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "cli/cli.h"
#include "cli/serve_config.h"
#include "vfio/token.h"

static void usage(FILE *out)
{
	fprintf(out,
		"usage: uvfio serve [OPTIONS]\n\n"
		"Serves PCI devices over vfio-user, for QEMU, cloud-hypervisor and programs that use\n"
		"uvfio/driver.h.  It ends on SIGTERM and SIGINT, and reads --config again on SIGHUP.\n\n"
		"  --device MODEL[,KEY=VALUE...],socket=PATH[,mode=0660][,group=NAME]\n"
		"                         add a device, and the socket where it is served (repeatable);\n"
		"                         `uvfio models` lists the keys\n"
		"  --config FILE          read these options from a JSON file\n"
		"  --policy KNOB=VALUE    a policy knob of the machine (repeatable)\n"
		"  --interrupt-isolation on|off\n"
		"                         off: attaching needs allow_unsafe_interrupts=Y (on)\n"
		"  --machine NAME         what `uvfio list` and so on call it (default)\n"
		"  --control PATH|off     where they reach it\n"
		"  --sysfs DIR            show the machine there as /sys does\n"
		"  --state DIR            on SIGTERM keep there what the devices are, and go on with it at\n"
		"                         the next start\n"
		"  --fresh                a state that cannot be used: begin anew (it is kept)\n"
		"  --user NAME            give up root's rights for those of NAME\n"
		"  --confine on|off       give up what serving does not need (on)\n"
		"  --verbose              say more\n"
		"  --help                 this\n\n"
		"The manual page is uvfio-serve(1).\n");
}

/* What this program is, and a copy of how it was called, with their own places for getopt to
 * exchange; NULL when that cannot be known. */
static char **arguments(int argc, char **argv, char exe[PATH_MAX])
{
	ssize_t n = readlink("/proc/self/exe", exe, PATH_MAX - 1);
	char **out = n > 0 ? calloc((size_t)argc + 2, sizeof(*out)) : NULL;

	if (!out)
		return NULL;
	exe[n] = '\0';
	out[0] = exe;
	out[1] = (char *)"serve";
	memcpy(out + 2, argv + 1, ((size_t)argc - 1) * sizeof(*out));
	return out;
}

int cmd_serve(int argc, char **argv)
{
	enum {
		DEVICE = 256,
		CONFIG,
		POLICY,
		ISOLATION,
		MACHINE,
		CONTROL,
		SYSFS,
		STATE,
		FRESH,
		USER,
		CONFINE,
		VERBOSE,
		HELP
	};
	static const struct option options[] = {
		{"device", required_argument, NULL, DEVICE},
		{"config", required_argument, NULL, CONFIG},
		{"policy", required_argument, NULL, POLICY},
		{"interrupt-isolation", required_argument, NULL, ISOLATION},
		{"machine", required_argument, NULL, MACHINE},
		{"control", required_argument, NULL, CONTROL},
		{"sysfs", required_argument, NULL, SYSFS},
		{"state", required_argument, NULL, STATE},
		{"fresh", no_argument, NULL, FRESH},
		{"user", required_argument, NULL, USER},
		{"confine", required_argument, NULL, CONFINE},
		{"verbose", no_argument, NULL, VERBOSE},
		{"help", no_argument, NULL, HELP},
		{0},
	};
	struct serve_options o;
	struct uvfio_error err = {""};
	char **again, exe[PATH_MAX];
	int c, ret = 0;

	serve_options_init(&o);
	again = arguments(argc, argv, exe);
	if (again) {
		o.config.exe = exe;
		o.config.argv = again;
	}
	argv[0] = (char *)"uvfio serve"; /* as getopt names itself in its messages */
	while (!ret && (c = getopt_long(argc, argv, "vh", options, NULL)) != -1) {
		switch (c) {
		case DEVICE:
			ret = serve_option_device(&o, optarg, &err);
			vfio_token_redact(optarg); /* or the process list would show it */
			break;
		case CONFIG:
			ret = serve_option_config(&o, optarg, &err);
			break;
		case POLICY:
			ret = vfio_policy_set(&o.config.policy, optarg, &err);
			break;
		case ISOLATION:
			ret = serve_option_set(&o, "interrupt-isolation", optarg, &err);
			break;
		case MACHINE:
			ret = serve_option_set(&o, "machine", optarg, &err);
			break;
		case CONTROL:
			ret = serve_option_set(&o, "control", optarg, &err);
			break;
		case SYSFS:
			ret = serve_option_set(&o, "sysfs", optarg, &err);
			break;
		case STATE:
			ret = serve_option_set(&o, "state", optarg, &err);
			break;
		case FRESH:
			o.config.fresh = true;
			break;
		case USER:
			ret = serve_option_set(&o, "user", optarg, &err);
			break;
		case CONFINE:
			ret = serve_option_set(&o, "confine", optarg, &err);
			break;
		case VERBOSE:
		case 'v':
			o.config.verbose = true;
			break;
		case HELP:
		case 'h':
			usage(stdout);
			serve_options_fini(&o);
			free(again);
			return 0;
		default:
			fprintf(stderr, "`uvfio serve --help` lists the options\n");
			serve_options_fini(&o);
			free(again);
			return EXIT_USAGE;
		}
	}
	if (!ret && optind < argc)
		ret = uvfio_error_set(&err, -EINVAL,
				      "'%s' is no option; `uvfio serve --help` lists them",
				      argv[optind]);
	if (!ret)
		ret = serve_options_check(&o, &err);
	if (ret) {
		fprintf(stderr, "uvfio serve: %s\n", err.msg);
		serve_options_fini(&o);
		free(again);
		return EXIT_USAGE;
	}
	ret = serve_run(&o.config);
	serve_options_fini(&o);
	free(again);
	return ret;
}
