/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The least that a trapped store can cost: a signal handler that decodes the store and makes one
 * notified pwrite, answered by a receiver that reads the value and does nothing with it.
 *
 * Clients take turns on one machine: a child under a bare filter, and programs under `uvfio run`.
 * Each waits for a byte on its standard input, runs its loop, and sends its times.
 */
#ifndef UVFIO_BENCH_BARE_H
#define UVFIO_BENCH_BARE_H

#include <stdint.h>
#include <sys/types.h>

struct bare_times {
	double store, read; /* ns each */
};

struct bare_client {
	int to, from;
	pid_t pid;
	struct bare_times last; /* of the last turn */
};

/* What a client does until its standard input ends: stores to and loads of a register of @page, a
 * mapped BAR 0 of an NVMe controller that is disabled. */
void bare_take_turns(volatile uint8_t *page);

/* The bare client; one a process.  Exits with a message when it cannot be had. */
void bare_start(struct bare_client *c);
/* A client that is a program of its own and calls bare_take_turns(). */
void bare_start_program(struct bare_client *c, char *const argv[]);
/* One turn, whose times are in @c->last then. */
void bare_turn(struct bare_client *c);
void bare_finish(struct bare_client *c);

/* ns for the signal and the decoding alone, in this process.  After bare_start(). */
double bare_signal_alone(void);

#endif
