/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A vfio-user server in a process of its own, and what a client of it says, for benchmarks.
 * Whatever fails ends the program.
 */
#ifndef UVFIO_BENCH_WIRE_TALK_H
#define UVFIO_BENCH_WIRE_TALK_H

#include <limits.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <sys/un.h>
#include <uvfio/device.h>

#include "pair.h"

#define MAPS       1000000u /* that a server takes at least */
#define TALK_USUAL UINT_MAX /* spin as `uvfio serve` does if it is told nothing */

struct place {
	struct sockaddr_un addr;
	socklen_t len;
};

void talk_die(const char *what) __attribute__((noreturn));
/* A socket that listens at @place, which is filled in. */
int talk_listen(struct place *place);
/* The child serves @n devices made from @spec on the sockets @fds, on @cpu (pair_pin()), until it
 * is killed. */
pid_t talk_serve(const struct uvfio_model *m, const char *spec, const int *fds, unsigned n,
		 unsigned spin_us, int cpu);
void talk_end(pid_t pid);

/* A connection to @place; one that has said VERSION and enabled memory and bus mastering. */
int talk_dial(const struct place *place);
int talk_attach(const struct place *place);
void talk_version(int fd);
/* A message. */
void talk_ask(int fd, unsigned command, const void *payload, size_t len, const int *fds,
	      unsigned nr_fds, uint32_t flags);
/* Its answer, which is no error. */
void talk_answered(int fd, enum waiting how);

/* The least that can be beside it: a child on CPU 1 that does @fn with its end of a socket pair,
 * again and again; the other end.  Made before there are connections, which it would keep open. */
int talk_bare(void (*fn)(int fd));
/* For the child: one message, which is dropped, and its descriptors, as many as @max; how many.
 * Spins for a while; ends the child when nobody is there any more. */
unsigned talk_receive(int fd, int *fds, unsigned max);

#endif
