/* SPDX-License-Identifier: BSD-3-Clause */
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "bench.h"
#include "pair.h"

#define SPINS 4000u /* about a millisecond */

static void die(const char *what)
{
	fprintf(stderr, "bench: %s: %s\n", what, strerror(errno));
	exit(2);
}

void pair_pin(int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	if (cpu >= 0 && sysconf(_SC_NPROCESSORS_ONLN) > 1) {
		CPU_SET(cpu, &set);
	} else {
		for (int i = 0; i < CPU_SETSIZE; i++)
			CPU_SET(i, &set);
	}
	sched_setaffinity(0, sizeof(set), &set);
}

void pair_settle(void)
{
	usleep(20000);
}

static void wait_input(int fd, int ep, enum waiting how)
{
	struct epoll_event event;

	if (how == EPOLL && epoll_wait(ep, &event, 1, -1) != 1)
		die("epoll_wait");
}

void pair_take(int fd, int ep, void *buf, size_t len, enum waiting how)
{
	size_t done = 0;

	while (done < len) {
		unsigned tries = 0;
		ssize_t n;

		wait_input(fd, ep, how);
		do {
			n = recv(fd, (char *)buf + done, len - done,
				 how != BLOCK && tries < SPINS ? MSG_DONTWAIT : 0);
		} while (n < 0 && errno == EAGAIN && tries++ < SPINS);
		if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
			_exit(0);
		done += n > 0 ? (size_t)n : 0;
	}
}

void pair_give(int fd, const void *buf, size_t len)
{
	size_t done = 0;

	while (done < len) {
		ssize_t n = send(fd, (const char *)buf + done, len - done, MSG_NOSIGNAL);

		if (n < 0 && errno != EAGAIN)
			die("send");
		done += n > 0 ? (size_t)n : 0;
	}
}

int pair_epoll(int fd)
{
	struct epoll_event event = {.events = EPOLLIN};
	int ep = epoll_create1(EPOLL_CLOEXEC);

	if (ep < 0 || epoll_ctl(ep, EPOLL_CTL_ADD, fd, &event))
		die("epoll");
	return ep;
}

static void echo(struct side s)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	for (;;) {
		pair_take(s.fd, s.ep, s.buf, s.ask, s.how);
		pair_give(s.fd, s.buf, s.answer);
	}
}

double pair_ping_pong(void *arg)
{
	struct side *s = arg;
	uint64_t start;

	for (unsigned warm = 0; warm < s->rounds / 10; warm++) {
		pair_give(s->fd, s->buf, s->ask);
		pair_take(s->fd, s->ep, s->buf, s->answer, s->how);
	}
	start = bench_ns();
	for (unsigned i = 0; i < s->rounds; i++) {
		pair_give(s->fd, s->buf, s->ask);
		pair_take(s->fd, s->ep, s->buf, s->answer, s->how);
	}
	return (double)(bench_ns() - start) / s->rounds / 1000;
}

struct side pair_bare(enum waiting how, int cpu, size_t ask, size_t answer, unsigned rounds)
{
	struct side s = {.how = how, .ask = ask, .answer = answer, .rounds = rounds};
	int pair[2];

	s.buf = calloc(1, 1 << 17);
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair))
		die("socketpair");
	if (!fork()) {
		pair_pin(cpu);
		close(pair[0]);
		s.fd = pair[1];
		s.ep = pair_epoll(s.fd);
		echo(s);
	}
	close(pair[1]);
	s.fd = pair[0];
	s.ep = pair_epoll(s.fd);
	return s;
}
