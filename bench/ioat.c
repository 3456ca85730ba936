/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Copies by the I/OAT engine, as an unmodified polling driver sees them: bench-ioat UVFIO
 * IOAT-COPIES.
 *
 * Each figure is a whole `uvfio run --device ioat -- ioat-copies`, the cases in turn, medians.
 * Beside a rate of bytes stands its limit: what memcpy() between the same buffers did in the same
 * runs.
 */
#include "bench.h"

#define ROUNDS 7

struct run {
	const char *what;
	unsigned size, batch, count;
	double share; /* of memcpy()'s rate that is wanted; 0: shown as descriptors, not judged */
};

static const struct run runs[] = {
	{"64 bytes, a doorbell each", 64, 1, 20000, 0},
	{"64 bytes, 64 a doorbell", 64, 64, 640000, 0},
	{"4 KiB, 64 a doorbell", 4096, 64, 128000, 0.5},
	{"64 KiB, 16 a doorbell", 65536, 16, 16000, 0.7},
	{"1 MiB, 4 a doorbell", 1 << 20, 4, 1200, 0.7},
};
#define NR (sizeof(runs) / sizeof(runs[0]))

static void run_client(const char *uvfio, const char *client, const struct run *run, double *ours,
		       double *memory)
{
	char command[8192];
	FILE *out;

	snprintf(command, sizeof(command), "'%s' run --device ioat -- '%s' 0000:01:00.0 %u %u %u",
		 uvfio, client, run->size, run->batch, run->count);
	out = popen(command, "r");
	if (!out || fscanf(out, "%lf %lf", ours, memory) != 2) {
		fprintf(stderr, "bench-ioat: no figures from: %s\n", command);
		exit(1);
	}
	pclose(out);
}

int main(int argc, char **argv)
{
	static double ours[NR][ROUNDS], memory[NR][ROUNDS];
	int missed = 0;

	if (argc != 3) {
		fprintf(stderr, "usage: bench-ioat UVFIO IOAT-COPIES\n");
		return 2;
	}
	for (unsigned r = 0; r < ROUNDS; r++) {
		for (unsigned i = 0; i < NR; i++)
			run_client(argv[1], argv[2], &runs[i], &ours[i][r], &memory[i][r]);
	}
	printf("I/OAT copies (medians of %u alternating runs)\n", ROUNDS);
	for (unsigned i = 0; i < NR; i++) {
		double rate = bench_median(ours[i], ROUNDS);
		double copy = bench_median(memory[i], ROUNDS);
		char text[100];

		if (!runs[i].share) {
			missed += bench_print(
				&(struct bench_case){.what = runs[i].what,
						     .unit = "kdesc/s",
						     .median = rate * 1e3 / runs[i].size});
			continue;
		}
		snprintf(text, sizeof(text), "%s (%.1f x memcpy)", runs[i].what, runs[i].share);
		missed += bench_print(&(struct bench_case){
			.what = text,
			.unit = "MB/s",
			.want = BENCH_AT_LEAST,
			.limit = runs[i].share * copy,
			.median = rate,
		});
	}
	return missed != 0;
}
