/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What this machine, user and container allow, as far as `uvfio run` needs it.
 *
 * Every check tries the thing itself in a child process and looks for the cause only when it fails.
 * Not thread-safe (forks); call it from a process without threads.
 */
#ifndef UVFIO_UAPI_DOCTOR_H
#define UVFIO_UAPI_DOCTOR_H

enum doctor_verdict {
	DOCTOR_OK,
	DOCTOR_NOTE, /* works, with something worth knowing */
	DOCTOR_FAIL, /* `uvfio run` cannot work */
	DOCTOR_NR_VERDICTS,
};

struct doctor_finding {
	const char *subject;
	enum doctor_verdict verdict;
	char what[256];   /* what was found */
	char remedy[512]; /* what to do; empty when nothing is to be done */
};

#define DOCTOR_MAX_FINDINGS 16

/* Fills @findings (DOCTOR_MAX_FINDINGS of them) and returns how many. */
unsigned doctor_examine(struct doctor_finding *findings);
const char *doctor_verdict_name(enum doctor_verdict verdict);

#endif
