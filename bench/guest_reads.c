/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Runs in a guest: 4 KiB random reads of a block device, past the guest's page cache.
 *
 *     guest-reads DEVICE BYTES DEPTH READS      prints thousands of reads a second
 */
#include "bench.h"
#include "uring.h"

int main(int argc, char **argv)
{
	if (argc != 5) {
		fprintf(stderr, "usage: guest-reads DEVICE BYTES DEPTH READS\n");
		return 2;
	}
	printf("%.3f\n", bench_uring_reads(argv[1], strtoull(argv[2], NULL, 10),
					   (unsigned)strtoul(argv[3], NULL, 10),
					   (unsigned)strtoul(argv[4], NULL, 10), true));
	return 0;
}
