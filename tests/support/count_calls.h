/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How many system calls a process makes, in all of its threads: counted by a process that traces it
 * (ptrace), so by whatever means they are made.  The traced one must be a child, or permit it.
 */
#ifndef TESTS_SUPPORT_COUNT_CALLS_H
#define TESTS_SUPPORT_COUNT_CALLS_H

#include <stdint.h>
#include <sys/types.h>

#define COUNT_CALLS_MAX 512u /* numbers of system calls */

struct count_calls {
	pid_t tracer;
	struct count_calls_shared *shared;
};

/* From now on.  -errno where tracing is not permitted. */
int count_calls_begin(struct count_calls *c, pid_t pid);
void count_calls_end(struct count_calls *c);
/* So far, of all kinds; when it has not changed for a while. */
uint64_t count_calls_settled(const struct count_calls *c);
/* So far, of number @nr. */
uint64_t count_calls_of(const struct count_calls *c, unsigned nr);

#endif
