/* SPDX-License-Identifier: BSD-3-Clause */
/* `uvfio models`: the device models and their keys. */
#include <getopt.h>
#include <stdio.h>
#include <string.h>

#include "cli/cli.h"
#include "devices/models.h"
#include "vfio/vfio.h"

/* The keys that the core takes out of every device's options. */
static const struct uvfio_key common_keys[] = {
	{"addr", "DDDD:BB:DD.F",
	 "PCI address (default: the next free of 0000:01:00.0, 0000:02:00.0, ...)", false},
	{"bus-reset", "NAME|off",
	 "functions with one name are reset together; off: the bus cannot be reset (default: those of a "
	 "bus are)",
	 false},
	{"driver", "vfio-pci|uio_pci_generic|none",
	 "which driver has it at first (default: vfio-pci); see docs/uio.md", false},
	{"group", "N", "IOMMU group; devices with the same number share it (default: its own)",
	 false},
	{"iommu", "on|off", "off: there is none in front of it; needs no-IOMMU mode (default: on)",
	 false},
	{"mmio", "exact|polled|none",
	 "how stores to mapped registers are honoured (default: --mmio)", false},
	{"poll-interrupt", "TIME",
	 "of a device without interrupt pin: INTx from a timer, 100us to 60s (default: none)",
	 false},
	{"vf-poll-interrupt", "TIME",
	 "of a PF: the same for its VFs, which have no interrupt pin (default: none)", false},
	{"vf_token", "UUID", "of a PF: its VF token at first (default: one that nobody knows)",
	 false},
	{"vf_token_file", "PATH", "the same from a file with one UUID in it", false},
};

static void print_keys(const struct uvfio_key *keys, unsigned nr)
{
	for (unsigned i = 0; i < nr; i++) {
		char key[64];

		snprintf(key, sizeof(key), "%s=%s", keys[i].name, keys[i].arg ? keys[i].arg : "");
		printf("    %-26s %s%s\n", key, keys[i].help ? keys[i].help : "",
		       keys[i].repeatable ? " (repeatable)" : "");
	}
}

static void print_model(const struct uvfio_model *model)
{
	printf("%s: %s\n", model->name, model->summary ? model->summary : "");
	print_keys(model->keys, model->nr_keys);
}

int cmd_models(int argc, char **argv)
{
	static const struct option options[] = {{"help", no_argument, NULL, 'h'}, {0}};
	const char *wanted = NULL;
	bool found = false, printed = false;
	int c;

	while ((c = getopt_long(argc, argv, "h", options, NULL)) != -1) {
		if (c != 'h')
			return EXIT_USAGE;
		printf("usage: uvfio models [MODEL]\n\nLists the models for --device, with their keys.  MODEL may be a file: ./mine.so\n");
		return 0;
	}
	if (argc - optind > 1) {
		fprintf(stderr, "uvfio models: one model at most; try without an argument\n");
		return EXIT_USAGE;
	}
	if (optind < argc)
		wanted = argv[optind];
	if (wanted && strchr(wanted, '/')) {
		struct uvfio_error err = {""};
		const struct uvfio_model *own;

		if (vfio_model_load(wanted, &own, &err)) {
			fprintf(stderr, "uvfio models: %s\n", err.msg);
			return EXIT_USAGE;
		}
		print_model(own);
		found = true;
	}
	for (const struct uvfio_model *const *m = device_models; *m && !found; m++) {
		if (wanted && strcmp((*m)->name, wanted) != 0)
			continue;
		print_model(*m);
		printed = true;
	}
	found |= printed;
	if (!found) {
		fprintf(stderr, "uvfio models: no model '%s'; there are:", wanted);
		for (const struct uvfio_model *const *m = device_models; *m; m++)
			fprintf(stderr, "%s %s", m == device_models ? "" : ",", (*m)->name);
		fprintf(stderr, "\n");
		return EXIT_USAGE;
	}
	printf("\nKeys of every model:\n");
	print_keys(common_keys, sizeof(common_keys) / sizeof(common_keys[0]));
	return 0;
}
