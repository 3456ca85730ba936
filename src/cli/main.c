/* SPDX-License-Identifier: BSD-3-Clause */
/* `uvfio COMMAND …` */
#include <stdio.h>
#include <string.h>

#include "cli/cli.h"

static const struct command {
	const char *name;
	int (*run)(int argc, char **argv);
	const char *help;
} commands[] = {
	{"run", cmd_run, "run a program with software PCI devices"},
	{"serve", cmd_serve, "serve PCI devices to VMMs over vfio-user"},
	{"list", cmd_list, "list the devices of the servers that run"},
	{"show", cmd_show, "show all about a device: users, regions, interrupts, DMA mappings"},
	{"lspci", cmd_lspci, "dump config space for lspci -F"},
	{"stats", cmd_stats, "show counters and latencies"},
	{"faults", cmd_faults, "show DMA that was refused"},
	{"trace", cmd_trace, "show what happens, as it happens"},
	{"reset", cmd_reset, "reset a device"},
	{"set", cmd_set, "change what the host can change of a device: its number of VFs, ..."},
	{"inject", cmd_inject, "let something go wrong with a device"},
	{"add", cmd_add, "add a device to a server"},
	{"remove", cmd_remove, "remove a device from a server"},
	{"open", cmd_open, "run a command with a vfio-user socket of a device"},
	{"migrate", cmd_migrate, "move a device to another server while it is used"},
	{"save", cmd_save, "move a device into a file"},
	{"restore", cmd_restore, "take a device that is moved here, or out of a file"},
	{"resume", cmd_resume, "decide where a device is, after a move that broke off"},
	{"upgrade", cmd_upgrade, "replace a server by a new version, under its clients"},
	{"models", cmd_models, "list the device models and their keys"},
	{"doctor", cmd_doctor, "say what this machine allows, and what is missing"},
};
#define NR_COMMANDS (sizeof(commands) / sizeof(commands[0]))

static void usage(FILE *out)
{
	fprintf(out,
		"usage: uvfio COMMAND [OPTIONS]\n\n"
		"VFIO in user space: PCI devices that are software, for unmodified VFIO programs.\n\n");
	for (unsigned i = 0; i < NR_COMMANDS; i++)
		fprintf(out, "  %-9s %s\n", commands[i].name, commands[i].help);
	fprintf(out, "\n`uvfio COMMAND --help` says more; the manual page is uvfio(1).\n");
}

int main(int argc, char **argv)
{
	if (argc < 2) {
		usage(stderr);
		return EXIT_USAGE;
	}
	if (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h") || !strcmp(argv[1], "help")) {
		usage(stdout);
		return 0;
	}
	if (!strcmp(argv[1], "--version")) {
		printf("uvfio %s\n", UVFIO_VERSION);
		return 0;
	}
	for (unsigned i = 0; i < NR_COMMANDS; i++)
		if (!strcmp(argv[1], commands[i].name))
			return commands[i].run(argc - 1, argv + 1);
	fprintf(stderr, "uvfio: no command '%s'; there are:", argv[1]);
	for (unsigned i = 0; i < NR_COMMANDS; i++)
		fprintf(stderr, "%s %s", i ? "," : "", commands[i].name);
	fprintf(stderr, "\n");
	return EXIT_USAGE;
}
