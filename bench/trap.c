/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A trapped register store, from the program's instruction to the device and back, against the
 * least that the technique can cost (bare.h).
 *
 *   bench-trap [UVFIO]
 *
 * The client of ours is this program under `uvfio run` (role "client").
 */
#include <errno.h>
#include <libgen.h>
#include <limits.h>
#include "bare.h"
#include "bench.h"
#include "support/nvme_client.h"

#define ROUNDS 21u

static void die(const char *what)
{
	fprintf(stderr, "bench-trap: %s: %s\n", what, strerror(errno));
	exit(2);
}

static int run(char *self, char *uvfio)
{
	char *argv[] = {uvfio, "run", "--device", "nvme,memory=16M", "--", self, "client", NULL};
	double ours[ROUNDS], bare[ROUNDS], read_ours[ROUNDS], read_bare[ROUNDS], alone[ROUNDS];
	struct bare_client trapped, least;
	int missed = 0;

	bare_start(&least);
	bare_start_program(&trapped, argv);
	bare_turn(&trapped); /* starts up */
	for (unsigned i = 0; i < ROUNDS; i++) {
		bare_turn(&least);
		bare[i] = least.last.store / 1000;
		read_bare[i] = least.last.read;
		bare_turn(&trapped);
		ours[i] = trapped.last.store / 1000;
		read_ours[i] = trapped.last.read;
		alone[i] = bare_signal_alone() / 1000;
	}
	bare_finish(&trapped);
	bare_finish(&least);

	struct bench_case rows[] = {
		{.what = "signal and decode alone", .unit = "us"},
		{.what = "bare signal-decode-pwrite loop", .unit = "us"},
		{.what = "trapped store (1.25 x bare)", .unit = "us", .want = BENCH_AT_MOST},
		{.what = "read of memory", .unit = "ns"},
		{.what = "read of a mapped register (1.25 x memory, + 0.5)",
		 .unit = "ns",
		 .want = BENCH_AT_MOST},
	};

	rows[0].median = bench_median(alone, ROUNDS);
	rows[1].median = bench_median(bare, ROUNDS);
	rows[2].median = bench_median(ours, ROUNDS);
	rows[2].limit = 1.25 * rows[1].median;
	rows[3].median = bench_median(read_bare, ROUNDS);
	rows[4].median = bench_median(read_ours, ROUNDS);
	rows[4].limit = 1.25 * rows[3].median + 0.5;
	printf("trapped accesses (medians of %u alternating runs)\n", ROUNDS);
	for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		missed += bench_print(&rows[i]);
	return missed != 0;
}

int main(int argc, char **argv)
{
	static char self[PATH_MAX], uvfio[PATH_MAX + 16];
	struct nvme_client c;
	char dir[PATH_MAX];

	if (argc > 1 && !strcmp(argv[1], "client")) {
		nvme_client_attach(&c, "0000:01:00.0", true);
		bare_take_turns(c.bar);
		return 0;
	}
	if (!realpath("/proc/self/exe", self))
		die("/proc/self/exe");
	memcpy(dir, self, sizeof(dir));
	snprintf(uvfio, sizeof(uvfio), "%s/../uvfio", dirname(dir));
	return run(self, argc > 1 ? argv[1] : uvfio);
}
