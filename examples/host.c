/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Devices in this process, until a signal:
 *
 *	host [-c] CONTROL DEVICE...      like: host ./control nvme,memory=64M,socket=disk.sock
 *
 * -c: on an event loop of this program's, not of the machine's.
 */
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <uvfio/machine.h>

static sigset_t signals;

/* Signals are taken here; handlers must not call the library. */
static void *wait_for_signal(void *machine)
{
	int sig;

	sigwait(&signals, &sig);
	uvfio_machine_stop(machine);
	return NULL;
}

int main(int argc, char **argv)
{
	int first = argc > 1 && !strcmp(argv[1], "-c") ? 2 : 1;
	struct uvfio_machine *machine = NULL;
	char name[UVFIO_MACHINE_NAME];
	struct uvfio_error err;
	pthread_t thread;

	if (argc < first + 2) {
		fprintf(stderr, "usage: host [-c] CONTROL DEVICE...\n");
		return 2;
	}
	sigemptyset(&signals);
	sigaddset(&signals, SIGINT);
	sigaddset(&signals, SIGTERM);
	pthread_sigmask(SIG_BLOCK, &signals, NULL);

	if (uvfio_machine_new(first == 2 ? "loop=caller" : "loop=own", &machine, &err) ||
	    uvfio_machine_control(machine, argv[first], &err))
		goto fail;
	for (int i = first + 1; i < argc; i++) {
		if (uvfio_machine_add(machine, argv[i], name, &err))
			goto fail;
		printf("%s: %s\n", name, argv[i]);
	}
	fflush(stdout);
	pthread_create(&thread, NULL, wait_for_signal, machine);
	uvfio_machine_run(machine);
	pthread_join(thread, NULL);
	uvfio_machine_free(machine);
	return 0;
fail:
	fprintf(stderr, "host: %s\n", err.msg);
	uvfio_machine_free(machine);
	return 1;
}
