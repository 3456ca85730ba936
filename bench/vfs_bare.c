/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * See vfs_bare.h.  The memory of each user is shared with the server, which has it mapped a second
 * time.  What a driver and a controller cannot do without is done, and nothing else: for
 * each read an entry of 64 bytes is written and taken, a page copied (its place is asked for some
 * entries ahead, as the controller does), and an entry of 16 bytes written and found; for each
 * batch two messages as long as a write of a doorbell go over the user's socket.  The server's
 * thread waits for the sockets of all users by an epoll that does not sleep; the asking thread goes
 * round the users.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "bench.h"
#include "vfs_bare.h"

#define PAGE    4096u
#define MESSAGE 36 /* REGION_WRITE of 4 bytes */
#define AHEAD   6u

/* In a user's memory; what is asked for lies at the beginning. */
#define ANSWERS_AT (2 * PAGE)
#define DATA_AT    (3 * PAGE)

struct ask {
	uint64_t offset;
	uint32_t slot;
	uint32_t rest[13];
};

struct answer {
	uint32_t slot, rest[2];
	_Atomic uint32_t turn;
};

struct user {
	int near, far; /* the two ends */
	/* The server's, in its own mapping of the user's memory. */
	const struct ask *asked_for;
	struct answer *answer_to;
	char *data;
	unsigned taken;
	/* The asking thread's. */
	struct ask *asks;
	struct answer *answers;
	unsigned asked, found, waiting;
	uint64_t seed;
};

struct bare {
	pthread_t server;
	atomic_bool stop;
	const char *image;
	size_t size;
	unsigned nr, depth, batch;
	int ep;
	struct user *users;
};

static _Noreturn void die(const char *what)
{
	fprintf(stderr, "bench-vfs: %s\n", what);
	exit(1);
}

/* ---- the server ---- */

static void serve(struct bare *b, struct user *u, unsigned nr)
{
	for (unsigned i = 0; i < nr; i++, u->taken++) {
		struct ask ask = u->asked_for[u->taken % b->depth];
		struct answer *answer = &u->answer_to[u->taken % b->depth];
		const struct ask *next = &u->asked_for[(u->taken + AHEAD) % b->depth];

		if (i + AHEAD < nr)
			__builtin_prefetch(b->image + next->offset);
		if (i + 1 < nr) {
			const char *at = b->image + u->asked_for[(u->taken + 1) % b->depth].offset;

			for (unsigned l = 0; l < 16; l++)
				__builtin_prefetch(at + 64 * l);
		}
		memcpy(u->data + (size_t)ask.slot * PAGE, b->image + ask.offset, PAGE);
		answer->slot = ask.slot;
		atomic_store_explicit(&answer->turn, u->taken + 1, memory_order_release);
	}
}

static void receive(struct bare *b, struct user *u)
{
	char buf[4096];
	ssize_t n;

	while ((n = recv(u->far, buf, sizeof(buf), MSG_DONTWAIT)) > 0)
		for (ssize_t at = 0; at + MESSAGE <= n; at += MESSAGE) {
			uint32_t nr;

			memcpy(&nr, buf + at, sizeof(nr));
			serve(b, u, nr);
		}
}

static void *server(void *arg)
{
	struct bare *b = arg;
	struct epoll_event events[64];

	while (!atomic_load_explicit(&b->stop, memory_order_relaxed)) {
		int n = epoll_wait(b->ep, events, 64, 0);

		for (int i = 0; i < n; i++)
			receive(b, events[i].data.ptr);
	}
	return NULL;
}

/* ---- the users ---- */

static void ask(struct bare *b, struct user *u, unsigned slot)
{
	struct ask *a = &u->asks[u->asked++ % b->depth];

	memset(a, 0, sizeof(*a));
	a->offset = bench_random(&u->seed) % (b->size / PAGE) * PAGE;
	a->slot = slot;
}

/* Two messages, as a driver's: how far it has taken answers, and how many reads there are. */
static void ring(struct user *u, unsigned nr)
{
	char buf[MESSAGE] = {0};

	if (send(u->near, buf, sizeof(buf), 0) != sizeof(buf))
		die("a bare socket is full");
	memcpy(buf, &(uint32_t){nr}, 4);
	if (send(u->near, buf, sizeof(buf), 0) != sizeof(buf))
		die("a bare socket is full");
}

static unsigned turn(struct bare *b, struct user *u, bool stop)
{
	unsigned found = 0;

	for (;;) {
		struct answer *a = &u->answers[u->found % b->depth];

		if (atomic_load_explicit(&a->turn, memory_order_acquire) != u->found + 1)
			break;
		u->found++;
		found++;
		if (!stop)
			ask(b, u, a->slot);
	}
	u->waiting += found;
	if (!stop && u->waiting >= b->batch) {
		ring(u, u->waiting);
		u->waiting = 0;
	}
	return found;
}

double bare_reads(struct bare *b, unsigned users, unsigned nr)
{
	uint64_t start, ns;
	unsigned done = 0;

	/* It spins, so not beside the controller's rows. */
	atomic_store(&b->stop, false);
	if (pthread_create(&b->server, NULL, server, b))
		die("no thread");
	start = bench_ns();
	for (unsigned i = 0; i < users; i++) {
		struct user *u = &b->users[i];

		for (unsigned slot = 0; slot < b->depth; slot++)
			ask(b, u, slot);
		u->waiting = 0;
		ring(u, b->depth);
	}
	while (done < nr)
		for (unsigned i = 0; i < users; i++)
			done += turn(b, &b->users[i], false);
	ns = bench_ns() - start;
	for (unsigned i = 0; i < users; i++) {
		struct user *u = &b->users[i];

		ring(u, u->waiting);
		while (u->found != u->asked)
			turn(b, u, true);
	}
	atomic_store(&b->stop, true);
	pthread_join(b->server, NULL);
	return done * 1e6 / (double)ns;
}

/* ---- */

static void *map_memory(int fd, size_t size)
{
	void *at = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd, 0);

	if (at == MAP_FAILED)
		die("no memory");
	return at;
}

static void make_user(struct bare *b, struct user *u, unsigned i)
{
	size_t size = DATA_AT + (size_t)b->depth * PAGE;
	int pair[2], fd = memfd_create("bench-vfs", MFD_CLOEXEC);
	void *near, *far;

	if (fd < 0 || ftruncate(fd, (off_t)size) || socketpair(AF_UNIX, SOCK_STREAM, 0, pair))
		die("no memory or socket pair");
	u->near = pair[0];
	u->far = pair[1];
	u->seed = i + 1;
	near = map_memory(fd, size);
	far = map_memory(fd, size);
	close(fd);
	u->asks = near;
	u->answers = near + ANSWERS_AT;
	u->asked_for = far;
	u->answer_to = far + ANSWERS_AT;
	u->data = far + DATA_AT;
	if (epoll_ctl(b->ep, EPOLL_CTL_ADD, u->far,
		      &(struct epoll_event){.events = EPOLLIN, .data.ptr = u}))
		die("no epoll");
}

struct bare *bare_new(const char *image, size_t size, unsigned users, unsigned depth,
		      unsigned batch)
{
	struct bare *b = calloc(1, sizeof(*b));
	int fd = open(image, O_RDONLY | O_CLOEXEC);

	if (!b || fd < 0 || depth * sizeof(struct ask) > ANSWERS_AT)
		die("no bare row");
	b->size = size;
	b->nr = users;
	b->depth = depth;
	b->batch = batch;
	b->image = mmap(NULL, size, PROT_READ, MAP_SHARED | MAP_POPULATE, fd, 0);
	close(fd);
	b->ep = epoll_create1(EPOLL_CLOEXEC);
	b->users = calloc(users, sizeof(*b->users));
	if (b->image == MAP_FAILED || b->ep < 0 || !b->users)
		die("no bare row");
	for (unsigned i = 0; i < users; i++)
		make_user(b, &b->users[i], i);
	return b;
}

void bare_free(struct bare *b)
{
	for (unsigned i = 0; i < b->nr; i++) {
		struct user *u = &b->users[i];

		close(u->near);
		close(u->far);
	}
	close(b->ep);
	munmap((void *)b->image, b->size);
	free(b->users);
	free(b);
}
