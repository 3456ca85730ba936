/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Two processes that pass bytes over a socket pair, and how a side waits: what a message exchange
 * costs at the least.
 */
#ifndef UVFIO_BENCH_PAIR_H
#define UVFIO_BENCH_PAIR_H

#include <stddef.h>
#include <stdint.h>

enum waiting { SPIN, EPOLL, BLOCK };

struct side {
	int fd, ep;
	enum waiting how;
	size_t ask, answer; /* bytes */
	unsigned rounds;
	uint8_t *buf;
};

/* The calling thread, and what it forks, run on @cpu, or everywhere (-1, or where there is but
 * one). */
void pair_pin(int cpu);
/* Until who still spins from a case before has given up. */
void pair_settle(void);
/* Exactly @len bytes.  Who spins gives up after a while, so as not to be in the way of other
 * cases. */
void pair_take(int fd, int ep, void *buf, size_t len, enum waiting how);
void pair_give(int fd, const void *buf, size_t len);
/* An epoll that waits for @fd. */
int pair_epoll(int fd);
/* The asking side; the other one is a process of its own, on @cpu. */
struct side pair_bare(enum waiting how, int cpu, size_t ask, size_t answer, unsigned rounds);
/* A case: µs a round trip. */
double pair_ping_pong(void *side);

#endif
