/* SPDX-License-Identifier: BSD-3-Clause */
/* `uvfio doctor`: what this machine, user and container allow, what is missing, and the remedy. */
#include <getopt.h>
#include <stdio.h>
#include <string.h>

#include "cli/cli.h"
#include "uapi/doctor.h"

int cmd_doctor(int argc, char **argv)
{
	static const struct option options[] = {{"help", no_argument, NULL, 'h'}, {0}};
	struct doctor_finding findings[DOCTOR_MAX_FINDINGS];
	bool failed = false;
	unsigned nr;
	int c;

	while ((c = getopt_long(argc, argv, "h", options, NULL)) != -1) {
		if (c == 'h') {
			printf("usage: uvfio doctor\n\n"
			       "Tries what `uvfio run` needs of this machine, user and container, and says what is\n"
			       "missing and what to do.  Exit status: 0 when everything is there, 1 otherwise.\n");
			return 0;
		}
		return 2;
	}
	if (optind < argc) {
		fprintf(stderr, "uvfio doctor: it takes no argument: %s\n", argv[optind]);
		return 2;
	}
	nr = doctor_examine(findings);
	for (unsigned i = 0; i < nr; i++) {
		printf("%-5s %-15s %s\n", doctor_verdict_name(findings[i].verdict),
		       findings[i].subject, findings[i].what);
		if (findings[i].remedy[0])
			printf("      %-15s → %s\n", "", findings[i].remedy);
		failed |= findings[i].verdict == DOCTOR_FAIL;
	}
	printf(failed ? "`uvfio run` cannot work here.\n" : "`uvfio run` works here.\n");
	return failed;
}
