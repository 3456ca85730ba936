/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The frame of the tests that attack a vfio-user server (wire_hostile, wire_shortcomings): a table
 * of attacks, each followed by the same questions: is the server alive, does a new client find a
 * freshly reset device, and has the server as many descriptors and threads as before?
 *
 * Usage of such a program: PROGRAM SOCKET OTHER-SOCKET SERVER-PID [ATTACK], both devices NVMe.  The
 * output is TAP, a point an attack.
 */
#ifndef TESTS_CLIENTS_WIRE_ATTACK_H
#define TESTS_CLIENTS_WIRE_ATTACK_H

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>
#include "support/wire_client.h"

#define PAGE      4096ul
#define CONFIG    7u
#define CHECK(ok) attack_check(!!(ok), #ok, __FILE__, __LINE__)
/* Ends the attack when it does not hold. */
#define NEED(ok)                                                                                   \
	do {                                                                                       \
		if (!CHECK(ok))                                                                    \
			return;                                                                    \
	} while (0)

/* Who is attacked. */
struct victim {
	const char *path, *other_path;
	pid_t pid;
};

struct attack {
	const char *name;
	void (*run)(const struct victim *v);
	const char *skip; /* not NULL: why it cannot be run */
};

/* @attacks: tables that end in one without a name, and a NULL behind the last. */
int attack_main(int argc, char **argv, const struct attack *const *attacks);
/* Records a failure of the running attack with file, line and errno; returns @ok. */
int attack_check(int ok, const char *what, const char *file, int line);
/* Why this attack cannot be run here. */
void attack_skip(const char *why);

/* A connection that the server took, tried again while it still has the one before (EBUSY), or more
 * strangers than it lets wait (it hangs up). */
int attack_open(struct wire *w, const char *path);
/* With a VERSION of the caller's: 0, or -errno as wire_version(). */
int attack_version(struct wire *w, const char *path, unsigned minor, const char *json);
int attack_open_twin(struct wire *w, const char *path);
/* Another client makes progress on the other device. */
void attack_others_live(const struct victim *v);
/* The answer to what was sent last: 0 for success, a positive errno, or -1 when the connection
 * ended. */
int attack_verdict(struct wire *w);
/* Sends; then the same. */
int attack_send(struct wire *w, unsigned command, const void *data, size_t n, const int *fds,
		unsigned nfds);
int attack_send_raw(struct wire *w, const struct wire_header *head, const void *data, size_t n);
/* Whether the connection still answers GET_INFO properly. */
int attack_answers(struct wire *w);
/* What the server uses, in KiB. */
long attack_memory(const struct victim *v);
/* @size bytes of shared memory, or -1. */
int attack_memfd(size_t size);

/* The tables of wire_hostile. */
extern const struct attack attacks_frame[], attacks_version[], attacks_fds[], attacks_calls[],
	attacks_dma[];

#endif
