/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The stress program on devices that somebody else serves:
 *
 *	dma-stress SECONDS SEED TITLE KIND=DEVICE[,OPTIONS] …
 *
 * All devices are in one DMA space.  DEVICE and OPTIONS are uvfio_pci_open()'s.  Ends early when
 * something is wrong.  0: nothing was.
 *
 * STRESS_RESETS in the environment: somebody else may reset the devices at any time, as the user of
 * a PF does its VFs.  Says "begun" when they are open.  SIGTERM: enough.
 */
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "stress/stress.h"

static void *await_signal(void *arg)
{
	struct stress *s = arg;
	sigset_t set;
	int sig;

	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigwait(&set, &sig);
	s->enough = true;
	return NULL;
}

int main(int argc, char **argv)
{
	static struct stress s;
	pthread_t waiter;
	unsigned seconds;
	sigset_t set;

	if (argc < 5) {
		fprintf(stderr, "usage: dma-stress SECONDS SEED TITLE KIND=DEVICE[,OPTIONS] ...\n");
		return 2;
	}
	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	seconds = (unsigned)atoi(argv[1]);
	if (stress_new(&s, strtoull(argv[2], NULL, 0), true))
		return 2;
	/* A server that is given no files cannot be given that of a device's memory. */
	s.use_peers = !strstr(argv[4], "share=no");
	s.host_resets = getenv("STRESS_RESETS") != NULL;
	for (int i = 4; i < argc; i++) {
		char *options = strchr(argv[i], ',');

		if (options)
			*options++ = '\0';
		if (engine_open(&s, argv[i], options))
			return 2;
	}
	printf("%s: seed %s\n", argv[3], argv[2]);
	fflush(stdout);
	if (stress_start(&s) || pthread_create(&waiter, NULL, await_signal, &s))
		return 2;
	pthread_detach(waiter);
	printf("begun\n");
	fflush(stdout);
	stress_wait(&s, 1, seconds);
	stress_end(&s);
	return stress_finish(&s, argv[3]);
}
