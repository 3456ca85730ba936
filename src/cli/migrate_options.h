/* SPDX-License-Identifier: BSD-3-Clause */
/* The options of `uvfio migrate`, `save`, `restore` and `resume`. */
#ifndef UVFIO_CLI_MIGRATE_OPTIONS_H
#define UVFIO_CLI_MIGRATE_OPTIONS_H

#include "cli/remote.h"

enum {
	OPT_TO = 1 << 0,
	OPT_FROM = 1 << 1,
	OPT_BANDWIDTH = 1 << 2,
	OPT_DOWNTIME = 1 << 3,
	OPT_TIMEOUT = 1 << 4,
	OPT_CANCEL = 1 << 5,
	OPT_JSON = 1 << 6,
	OPT_FORCE = 1 << 7,
	OPT_LINK = 1 << 8,
	OPT_GONE = 1 << 9,
	OPT_MACHINE = 1 << 10,
	OPT_CONTROL = 1 << 11,
	OPT_HELP = 1 << 12,
};
#define OPT_ALL (OPT_MACHINE | OPT_CONTROL | OPT_HELP)

struct migrate_command {
	struct remote_command remote;
	unsigned takes; /* OPT_… */
};

struct migrate_options {
	struct remote_options remote;
	unsigned given;
	const char *uri, *link;
	uint64_t bandwidth, downtime_ns, timeout_ns;
};

/* Parse: -1 to go on, or what to exit with; messages and help have been printed. */
int migrate_options(const struct migrate_command *c, int argc, char **argv,
		    struct migrate_options *o);
/* "uvfio migrate: WHAT: TEXT": what to exit with. */
int migrate_complain(const struct migrate_command *c, const char *what, const char *text);

#endif
