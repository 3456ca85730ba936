/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Random 4 KiB reads through a polling VFIO NVMe driver: what a client sees.
 *
 *   uvfio run --device nvme,memory=256M -- nvme-iops 0000:01:00.0 [DEPTH [COUNT [anon|memfd]]]
 *
 * Prints "IOPS NANOSECONDS-A-READ".  One doorbell a burst of submissions and one a burst of
 * completions, as SPDK does.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "support/nvme_client.h"

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

int main(int argc, char **argv)
{
	unsigned depth = argc > 2 ? (unsigned)atoi(argv[2]) : 1, nr_free;
	uint64_t count = argc > 3 ? strtoull(argv[3], NULL, 0) : 200000, issued = 0, done = 0;
	uint64_t random = 88172645463325252ull, start, ns;
	uint16_t slots[NVME_SLOTS], reaped[NVME_SLOTS];
	struct nvme_client c;

	if (argc < 2 || argc > 5 || depth < 1 || depth > NVME_SLOTS || !count) {
		fprintf(stderr,
			"usage: nvme-iops DDDD:BB:DD.F [DEPTH 1-64 [COUNT [anon|memfd]]]\n");
		return 2;
	}
	nvme_client_open(&c, argv[1], argc > 4 && !strcmp(argv[4], "anon"));
	for (nr_free = 0; nr_free < depth; nr_free++)
		slots[nr_free] = (uint16_t)nr_free;

	start = now_ns();
	while (done < count) {
		unsigned queued = 0, n;

		for (; nr_free && issued < count; issued++, queued++) {
			random ^= random << 13;
			random ^= random >> 7;
			random ^= random << 17;
			nvme_client_queue(&c, 2, slots[--nr_free], random % c.pages, false);
		}
		if (queued)
			nvme_client_submit(&c);
		n = nvme_client_reap(&c, reaped, NULL);
		memcpy(slots + nr_free, reaped, n * sizeof(slots[0]));
		nr_free += n;
		done += n;
	}
	ns = now_ns() - start;
	printf("%.0f %.0f\n", (double)count * 1e9 / (double)ns, (double)ns / (double)count);
	return 0;
}
