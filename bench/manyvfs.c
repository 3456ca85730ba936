/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A thousand VFs: how long they take to come and to go, and the memory that they are, idle.
 * bench-manyvfs.
 *
 * In a machine of this process (uvfio/machine.h), so that its memory is what is measured: NVMe
 * controllers on one disk in memory, and VFs of the test device.
 */
#include <unistd.h>

#include <uvfio/machine.h>

#include "bench.h"

#define VFS    1000u
#define ROUNDS 5u
#define PF     "0000:01:00.0"

static _Noreturn void die(const char *what)
{
	fprintf(stderr, "bench-manyvfs: %s\n", what);
	exit(2);
}

/* MiB of this process that are in memory. */
static double resident(void)
{
	unsigned long total, pages;
	FILE *f = fopen("/proc/self/statm", "re");

	if (!f || fscanf(f, "%lu %lu", &total, &pages) != 2)
		die("/proc/self/statm");
	fclose(f);
	return (double)pages * (double)sysconf(_SC_PAGESIZE) / (1 << 20);
}

/* Milliseconds that it takes. */
static double set_numvfs(struct uvfio_machine *m, unsigned n)
{
	uint64_t start = bench_ns();
	struct uvfio_error err;

	if (uvfio_machine_set_numvfs(m, PF, n, &err))
		die(err.msg);
	return (double)(bench_ns() - start) / 1e6;
}

static int measure(const char *model, const char *device)
{
	struct bench_case rows[] = {
		{"1,000 VFs come", "ms", NULL, NULL, BENCH_AT_MOST, 1000},
		{"memory of 1,000 idle VFs", "MiB", NULL, NULL, BENCH_AT_MOST, 100},
		{"and they go", "ms", NULL, NULL, BENCH_INFO, 0},
	};
	double come[ROUNDS], go[ROUNDS], memory = 0, before;
	struct uvfio_machine *m;
	struct uvfio_error err;
	int missed = 0;

	if (uvfio_machine_new(NULL, &m, &err) || uvfio_machine_add(m, device, NULL, &err))
		die(err.msg);
	for (unsigned i = 0; i < ROUNDS; i++) {
		before = resident();
		come[i] = set_numvfs(m, VFS);
		if (!i) /* later rounds find memory that was freed */
			memory = resident() - before;
		go[i] = set_numvfs(m, 0);
	}
	uvfio_machine_free(m);
	rows[0].median = bench_median(come, ROUNDS);
	rows[1].median = memory;
	rows[2].median = bench_median(go, ROUNDS);
	printf("%s\n", model);
	for (unsigned i = 0; i < 3; i++)
		missed += bench_print(&rows[i]);
	return missed;
}

int main(void)
{
	int missed =
		measure("a thousand VFs of nvme", "nvme,memory=64M,vfs=1000,driver=nvme,addr=" PF);

	missed += measure("a thousand VFs of pcitest", "pcitest,vfs=1000,driver=pcitest,addr=" PF);
	return missed ? 1 : 0;
}
