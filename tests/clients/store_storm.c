/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Stores to mapped registers while signals rain: 1, 2, 3, … into AQA of a disabled controller, under a
 * 50 µs timer.  Whether each of them reached the device once and in order is read off the trace.
 *
 *   uvfio run --trace T.json … -- store-storm DDDD:BB:DD.F COUNT
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>

#include "support/nvme_client.h"

static volatile sig_atomic_t signals;

static void on_alarm(int sig)
{
	signals++;
}

int main(int argc, char **argv)
{
	struct itimerval timer = {{0, 50}, {0, 50}}, off = {{0, 0}, {0, 0}};
	struct sigaction action = {.sa_handler = on_alarm, .sa_flags = SA_RESTART};
	unsigned long count = argc == 3 ? strtoul(argv[2], NULL, 0) : 0;
	struct nvme_client c;

	if (!count) {
		fprintf(stderr, "usage: store-storm DDDD:BB:DD.F COUNT\n");
		return 2;
	}
	nvme_client_attach(&c, argv[1], true);
	if (sigaction(SIGALRM, &action, NULL) || setitimer(ITIMER_REAL, &timer, NULL)) {
		fprintf(stderr, "store-storm: %s\n", strerror(errno));
		return 1;
	}
	for (unsigned long i = 1; i <= count; i++)
		*(volatile uint32_t *)(c.bar + 0x24) = (uint32_t)i;
	setitimer(ITIMER_REAL, &off, NULL);
	printf("%lu stores, %ld signals\n", count, (long)signals);
	return signals == 0;
}
