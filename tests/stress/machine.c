/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The stress program with the devices in the same process, so that one sanitizer sees both sides:
 * two sets of devices, for a client that gives the server its files and one that answers messages.
 *
 *	stress_machine [SECONDS [SEED]]      STRESS_SECONDS in the environment: the same
 */
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

static int populate(struct uvfio_machine *machine, struct stress *s, const char *options)
{
	char name[UVFIO_MACHINE_NAME], where[64], spec[128];
	char disk[] = "/tmp/uvfio-stress.XXXXXX";
	struct uvfio_error err;
	int file = mkstemp(disk);

	if (file < 0 || ftruncate(file, DISK_BYTES) || close(file)) {
		perror("stress: a disk");
		return 1;
	}
	for (unsigned i = 0; i < NR_DEVICES; i++) {
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
		if (engine_open(s, where, options))
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
	struct uvfio_machine *machine;
	struct uvfio_error err;
	bool bad = false;
	int status = 0;

	printf("seed %llu\n", (unsigned long long)seed);
	fflush(stdout);
	if (uvfio_machine_new("log=off", &machine, &err)) {
		fprintf(stderr, "stress: %s\n", err.msg);
		return 2;
	}
	for (unsigned i = 0; i < NR_WAYS; i++) {
		if (stress_new(&stress[i], seed + i, true) ||
		    populate(machine, &stress[i], ways[i]))
			return 2;
	}
	for (unsigned i = 0; i < NR_WAYS; i++) {
		if (stress_start(&stress[i]))
			return 2;
	}
	for (unsigned n = 0; n < 10 * seconds && !bad; n++) {
		poll(NULL, 0, 100);
		for (unsigned i = 0; i < NR_WAYS; i++)
			bad |= stress[i].bad;
	}
	mutant_ends(bad);
	for (unsigned i = 0; i < NR_WAYS; i++)
		stress_end(&stress[i]);
	for (unsigned i = 0; i < NR_WAYS; i++)
		status |= stress_finish(&stress[i], ways[i]);
	uvfio_machine_free(machine);
	return status;
}
