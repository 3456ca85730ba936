/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The stress program with the devices in the same process, so that one sanitizer sees both sides:
 * two sets of devices, for a client that gives the server its files and one that answers messages.
 *
 *	stress_machine [SECONDS [SEED]]      STRESS_SECONDS in the environment: the same
 */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <uvfio/machine.h>

#include "stress/mutant.h"
#include "stress/stress.h"

#define DISK_BYTES (16u << 20)

/* The disk is a file: what it moves is pinned while the kernel reads or writes. */
static const char *const devices[] = {"ioat,start-delay=0", "ioat,start-delay=0,delay=20us",
				      "pcitest", "nvme,file="};
#define NR_DEVICES (sizeof(devices) / sizeof(devices[0]))

static const char *const ways[] = {"share=yes", "share=no"};
#define NR_WAYS 2u

static struct uvfio_machine *machine;
static bool pulled_out; /* the owner's thread's */
static char names[NR_WAYS][MAX_ENGINES][UVFIO_MACHINE_NAME];

/* The name of its device in the machine. */
static const char *name_of(const struct engine *e)
{
	return names[e->stress->use_peers ? 0 : 1][e - e->stress->engines];
}

/* It is pulled out while it is in use, now and then. */
static bool pull_out(struct engine *e)
{
	struct uvfio_error err;

	if (stress_below(&e->seed, 2))
		return false;
	if (uvfio_machine_remove(machine, name_of(e), UVFIO_MACHINE_SURPRISE, NULL, NULL, &err)) {
		stress_bad(e->stress, "%s: %s", e->name, err.msg);
		return false;
	}
	pulled_out = true;
	return true;
}

/* Another connection to the device; when it was pulled out, to another device of its name. */
static int reconnect(struct engine *e, char *name, size_t size)
{
	struct uvfio_error err;
	char spec[64];
	int ret = 0;

	if (pulled_out) {
		snprintf(spec, sizeof(spec), "pcitest,addr=%s", name_of(e));
		ret = uvfio_machine_wait_gone(machine, name_of(e), -1);
		if (!ret)
			ret = uvfio_machine_add(machine, spec, NULL, &err);
		pulled_out = false;
	}
	if (!ret)
		ret = uvfio_machine_connect(machine, name_of(e), &err);
	if (ret < 0)
		return ret;
	snprintf(name, size, "fd:%d", ret);
	return 0;
}

/* Resets by the host's hand of the device whose memory others have. */
static void *reset_by_host(void *arg)
{
	struct stress *s = arg;
	struct uvfio_error err;

	while (!s->stop) {
		int ret = uvfio_machine_reset(machine, name_of(s->peers.owner), &err);

		/* It may have been pulled out. */
		if (ret && ret != -ENODEV && ret != -ENOTTY)
			stress_bad(s, "reset by the host: %s", err.msg);
		poll(NULL, 0, 20);
	}
	return NULL;
}

static int populate(struct stress *s, unsigned way)
{
	char where[64], spec[128];
	char disk[] = "/tmp/uvfio-stress.XXXXXX";
	struct uvfio_error err;
	int file = mkstemp(disk);

	if (file < 0 || ftruncate(file, DISK_BYTES) || close(file)) {
		perror("stress: a disk");
		return 1;
	}
	s->use_peers = s->host_resets = !way;
	s->reconnect = reconnect;
	s->mishap = pull_out;
	for (unsigned i = 0; i < NR_DEVICES; i++) {
		char *name = names[way][i];
		int fd = -1;

		snprintf(spec, sizeof(spec), "%s%s", devices[i],
			 devices[i][strlen(devices[i]) - 1] == '=' ? disk : "");
		if (!uvfio_machine_add(machine, spec, name, &err))
			fd = uvfio_machine_connect(machine, name, &err);
		if (fd < 0) {
			fprintf(stderr, "stress: %s\n", err.msg);
			return 1;
		}
		snprintf(where, sizeof(where), "%.*s=fd:%d", (int)strcspn(devices[i], ","),
			 devices[i], fd);
		if (engine_open(s, where, ways[way]))
			return 1;
	}
	unlink(disk);
	return 0;
}

int main(int argc, char **argv)
{
	static struct stress stress[NR_WAYS];
	const char *text = getenv("STRESS_SECONDS");
	unsigned seconds = argc > 1 ? (unsigned)atoi(argv[1]) : text ? (unsigned)atoi(text) : 5;
	uint64_t seed = argc > 2 ? strtoull(argv[2], NULL, 0) : (uint64_t)time(NULL);
	struct uvfio_error err;
	pthread_t host;
	int status = 0;

	printf("seed %llu\n", (unsigned long long)seed);
	fflush(stdout);
	if (uvfio_machine_new("log=off", &machine, &err)) {
		fprintf(stderr, "stress: %s\n", err.msg);
		return 2;
	}
	for (unsigned i = 0; i < NR_WAYS; i++) {
		if (stress_new(&stress[i], seed + i, true) || populate(&stress[i], i))
			return 2;
	}
	for (unsigned i = 0; i < NR_WAYS; i++) {
		if (stress_start(&stress[i]))
			return 2;
	}
	if (pthread_create(&host, NULL, reset_by_host, &stress[0]))
		return 2;
	mutant_ends(!stress_wait(stress, NR_WAYS, seconds));
	for (unsigned i = 0; i < NR_WAYS; i++)
		stress_end(&stress[i]);
	pthread_join(host, NULL);
	for (unsigned i = 0; i < NR_WAYS; i++)
		status |= stress_finish(&stress[i], ways[i]);
	uvfio_machine_free(machine);
	return status;
}
