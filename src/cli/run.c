/* SPDX-License-Identifier: BSD-3-Clause */
/* `uvfio run [OPTIONS] -- PROGRAM [ARG…]` */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "cli/cli.h"
#include "devices/models.h"
#include "cli/options.h"
#include "cli/remote.h"
#include "control/control.h"
#include "join/guest.h"
#include "vfio/token.h"

static void usage(FILE *out)
{
	fprintf(out,
		"usage: uvfio run [OPTIONS] -- PROGRAM [ARG...]\n\n"
		"Runs PROGRAM so that it finds /dev/vfio and the given PCI devices, bound to vfio-pci.\n\n"
		"  --device MODEL[,KEY=VALUE...]  add a device (repeatable); `uvfio models` lists the keys\n"
		"  --machine NAME                 use the devices of `uvfio serve --machine NAME` instead\n"
		"  --mmio exact|polled|none       how stores to mapped registers are honoured (exact)\n"
		"  --sysfs auto|on|off            whether the program can write to /sys (auto: if it can be had)\n"
		"  --sandbox auto|mounts|paths    how the program sees the devices (auto: by mounts of its own;\n"
		"                                 where they are refused, its paths are answered one by one)\n"
		"  --policy KNOB=VALUE            a policy knob of the machine (repeatable)\n"
		"  --interrupt-isolation on|off   off: attaching needs allow_unsafe_interrupts=Y (on)\n"
		"  --config FILE                  read these options from a JSON file\n"
		"  --trace FILE                   a line an event; JSON lines when FILE ends in .json\n"
		"  --trace-format text|json       whatever FILE is called\n"
		"  --name NAME                    let `uvfio list` and others reach it by this name\n"
		"  --control SOCKET               the same, by a socket at this place\n"
		"  --verbose                      say more\n"
		"  --help                         this\n\n"
		"Exit status, signals and streams are PROGRAM's.  The manual page is uvfio-run(1).\n");
}

/* In the server process. */
static int serve_control(const struct uapi_config *config, struct vfio_machine *machine,
			 struct uvfio_log *log, void **out, struct uvfio_error *err)
{
	struct control_config control = {
		.name = config->name ? config->name : "run",
		.command = "run",
		.uid = geteuid(),
		.log = log,
	};
	int fd = control_listen(config->control, 0600, err);

	if (fd < 0)
		return -1;
	*out = control_new(machine, fd, &control, err);
	if (*out)
		return 0;
	close(fd);
	unlink(config->control);
	return -1;
}

static void unserve_control(const struct uapi_config *config, void *served)
{
	unlink(config->control);
	control_free(served);
}

/* Ask the server of @machine to let us in: a channel to it, or -1 with a message printed. */
static int join_machine(const char *machine)
{
	static const struct remote_command command = {.name = "run"};
	const bool path = strchr(machine, '/') != NULL;
	const struct remote_options o = {.machine = path ? NULL : machine,
					 .control = path ? machine : NULL};
	struct json_object *params, *list, *entry, *result = NULL;
	struct remote r;
	int pair[2], sock = -1;

	if (remote_open(&command, &o, &r)) {
		remote_close(&r);
		return -1;
	}
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair)) {
		fprintf(stderr, "uvfio run: cannot make a socket pair: %s\n", strerror(errno));
	} else {
		entry = json_object_new_object();
		json_object_object_add(entry, "key", json_object_new_string("channel"));
		list = json_object_new_array();
		json_object_array_add(list, entry);
		params = json_object_new_object();
		json_object_object_add(params, "fds", list);
		result = remote_call_fds(&r, "join", params, &pair[1], 1);
		if (result)
			sock = fcntl(pair[0], F_DUPFD_CLOEXEC, 3);
		close(pair[0]);
		close(pair[1]);
	}
	json_object_put(result);
	remote_close(&r);
	return sock;
}

/* In the server process of the run. */
static struct uapi_core *join_core(const struct uapi_config *config, struct uvfio_log *log,
				   struct uvfio_error *err)
{
	return join_guest_new(config->join_fd, config->machine, log, err);
}

int cmd_run(int argc, char **argv)
{
	enum {
		DEVICE = 256,
		MACHINE,
		MMIO,
		SYSFS,
		SANDBOX,
		POLICY,
		ISOLATION,
		CONFIG,
		TRACE,
		TRACE_FORMAT,
		NAME,
		CONTROL,
		VERBOSE,
		HELP
	};
	static const struct option options[] = {
		{"device", required_argument, NULL, DEVICE},
		{"machine", required_argument, NULL, MACHINE},
		{"mmio", required_argument, NULL, MMIO},
		{"sysfs", required_argument, NULL, SYSFS},
		{"sandbox", required_argument, NULL, SANDBOX},
		{"policy", required_argument, NULL, POLICY},
		{"interrupt-isolation", required_argument, NULL, ISOLATION},
		{"config", required_argument, NULL, CONFIG},
		{"trace", required_argument, NULL, TRACE},
		{"trace-format", required_argument, NULL, TRACE_FORMAT},
		{"name", required_argument, NULL, NAME},
		{"control", required_argument, NULL, CONTROL},
		{"verbose", no_argument, NULL, VERBOSE},
		{"help", no_argument, NULL, HELP},
		{0},
	};
	struct run_options o = {
		.config = {.models = device_models, .nr_models = device_nr_models()}};
	struct uvfio_error err = {""};
	int c, ret = 0;

	vfio_policy_default(&o.config.policy);
	/* Who runs this is the machine's own administrator, and PROGRAM is theirs: what
	 * CAP_SYS_RAWIO is asked for (A.9) is switched by enable_unsafe_noiommu_mode alone. */
	o.config.policy.caller_caps |= VFIO_CAP_SYS_RAWIO;
	argv[0] = (char *)"uvfio run"; /* as getopt names itself in its messages */
	/* '+': what follows PROGRAM is PROGRAM's. */
	while (!ret && (c = getopt_long(argc, argv, "+vh", options, NULL)) != -1) {
		switch (c) {
		case DEVICE:
			ret = option_device(&o, optarg, &err);
			vfio_token_redact(optarg); /* or the process list would show it */
			break;
		case MACHINE:
			ret = option_machine(&o, optarg, &err);
			break;
		case MMIO:
			ret = option_mmio(&o, optarg, &err);
			break;
		case SYSFS:
			ret = option_sysfs(&o, optarg, &err);
			break;
		case SANDBOX:
			ret = option_sandbox(&o, optarg, &err);
			break;
		case POLICY:
			ret = option_policy(&o, optarg, &err);
			break;
		case ISOLATION:
			ret = option_isolation(&o, optarg, &err);
			break;
		case CONFIG:
			ret = option_config(&o, optarg, &err);
			break;
		case TRACE:
			ret = option_trace(&o, optarg, &err);
			break;
		case TRACE_FORMAT:
			ret = option_trace_format(&o, optarg, &err);
			break;
		case NAME:
			ret = option_name(&o, optarg, &err);
			break;
		case CONTROL:
			ret = option_control(&o, optarg, &err);
			break;
		case VERBOSE:
		case 'v':
			o.config.verbose = true;
			break;
		case HELP:
		case 'h':
			usage(stdout);
			options_free(&o);
			return 0;
		default:
			fprintf(stderr, "`uvfio run --help` lists the options\n");
			options_free(&o);
			return EXIT_USAGE;
		}
	}
	if (!ret)
		ret = options_check(&o, &err);
	if (ret) {
		fprintf(stderr, "uvfio run: %s\n", err.msg);
		options_free(&o);
		return EXIT_USAGE;
	}
	if (optind >= argc) {
		fprintf(stderr,
			"uvfio run: no program; it comes after `--`: uvfio run --device nvme,memory=64M -- PROGRAM\n");
		options_free(&o);
		return EXIT_USAGE;
	}
	o.config.argv = argv + optind;
	if (o.config.control) {
		o.config.serve = serve_control;
		o.config.unserve = unserve_control;
	}
	if (o.machine) {
		o.config.join_fd = join_machine(o.machine);
		o.config.join = join_core;
	}
	ret = o.machine && o.config.join_fd < 0 ? UAPI_EXIT_FAILURE : uapi_run(&o.config);
	options_free(&o);
	return ret;
}
