/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * 4 KiB random reads from the NVMe controller, as an unmodified polling driver sees them.
 *
 *   bench-nvme UVFIO NVME-IOPS [FILE-DIRECTORY]
 *
 * Each figure is a whole `uvfio run … -- nvme-iops`, the cases in turn, medians.  The limit of
 * exact trapping at depth 1 is what two bare trapped stores and a copy of a page take (bare.h);
 * that of a file is a bare io_uring loop on the same file.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include "bare.h"
#include "bench.h"
#include "uring.h"

#define ROUNDS    5
#define DISK_SIZE (256ull << 20)
#define FILE_SIZE DISK_SIZE
#define COPIES    20000u

static const char *uvfio, *client;
static char file[4096];

struct run {
	const char *mmio, *disk;
	unsigned depth, count;
};

static double run_client(void *arg)
{
	const struct run *run = arg;
	char command[12288];
	double iops = 0;
	FILE *out;

	snprintf(command, sizeof(command),
		 "'%s' run --mmio %s --device nvme,%s%s -- '%s' 0000:01:00.0 %u %u", uvfio,
		 run->mmio, run->disk ? run->disk : "file=", run->disk ? "" : file, client,
		 run->depth, run->count);
	out = popen(command, "r");
	if (!out || fscanf(out, "%lf", &iops) != 1) {
		fprintf(stderr, "bench-nvme: no figure from: %s\n", command);
		exit(1);
	}
	pclose(out);
	return iops / 1000;
}

static double run_uring(void *arg)
{
	const struct run *run = arg;

	return bench_uring_reads(file, FILE_SIZE, run->depth, run->count, false);
}

/* One trapped store of the bare client, in microseconds. */
static double run_store(void *arg)
{
	struct bare_client *least = arg;

	bare_turn(least);
	return least->last.store / 1000;
}

/* A copy of a page out of a disk of DISK_SIZE at random, in microseconds. */
static double run_copy(void *arg)
{
	uint64_t seed = 1, start;
	char page[4096];

	start = bench_ns();
	for (unsigned i = 0; i < COPIES; i++) {
		memcpy(page, (char *)arg + bench_random(&seed) % (DISK_SIZE / 4096) * 4096, 4096);
		bench_keep(page);
	}
	return (double)(bench_ns() - start) / COPIES / 1000;
}

static char *make_disk(void)
{
	char *disk = malloc(DISK_SIZE);

	if (!disk) {
		fprintf(stderr, "bench-nvme: out of memory\n");
		exit(1);
	}
	memset(disk, 0x5a, DISK_SIZE);
	return disk;
}

static void make_file(const char *dir)
{
	char *chunk = malloc(1 << 20);
	int fd;

	snprintf(file, sizeof(file), "%s/uvfio-bench-XXXXXX", dir);
	fd = mkstemp(file);
	if (fd < 0 || !chunk) {
		fprintf(stderr, "bench-nvme: %s: %s\n", file, strerror(errno));
		exit(1);
	}
	memset(chunk, 0x5a, 1 << 20);
	for (uint64_t at = 0; at < FILE_SIZE; at += 1 << 20) {
		if (write(fd, chunk, 1 << 20) != 1 << 20) {
			fprintf(stderr, "bench-nvme: writing %s: %s\n", file, strerror(errno));
			unlink(file);
			exit(1);
		}
	}
	fsync(fd);
	close(fd);
	free(chunk);
}

static void remove_file(void)
{
	unlink(file);
}

static void stopped(int sig)
{
	unlink(file);
	_exit(128 + sig);
}

int main(int argc, char **argv)
{
	struct run polled1 = {"polled", "memory=256M", 1, 200000},
		   polled32 = {"polled", "memory=256M", 32, 500000};
	struct run exact1 = {"exact", "memory=256M", 1, 20000},
		   exact32 = {"exact", "memory=256M", 32, 300000};
	struct run file32 = {"polled", NULL, 32, 150000}, file32e = {"exact", NULL, 32, 150000};
	struct bare_client least;
	struct bench_case cases[] = {
		{"bare trapped store", "us", run_store, &least, BENCH_INFO},
		{"copy of a page of memory", "us", run_copy, NULL, BENCH_INFO},
		{"memory, polled, depth 1", "kIOPS", run_client, &polled1, BENCH_AT_LEAST, 480},
		{"memory, polled, depth 32", "kIOPS", run_client, &polled32, BENCH_AT_LEAST, 560},
		{"memory, exact, depth 1 (0.8 x two bare stores, a copy)", "kIOPS", run_client,
		 &exact1, BENCH_AT_LEAST},
		{"memory, exact, depth 32", "kIOPS", run_client, &exact32, BENCH_AT_LEAST, 480},
		{"bare io_uring loop on the file, depth 32", "kIOPS", run_uring, &file32,
		 BENCH_INFO},
		{"file, polled, depth 32", "kIOPS", run_client, &file32, BENCH_AT_LEAST},
		{"file, exact, depth 32", "kIOPS", run_client, &file32e, BENCH_AT_LEAST},
	};
	enum { STORE, COPY, EXACT1 = 4, BARE = 6, N = sizeof(cases) / sizeof(cases[0]) };
	double v[N][ROUNDS];
	int missed = 0;

	if (argc < 3 || argc > 4) {
		fprintf(stderr, "usage: bench-nvme UVFIO NVME-IOPS [DIRECTORY]\n");
		return 2;
	}
	uvfio = argv[1];
	client = argv[2];
	bare_start(&least);
	cases[COPY].arg = make_disk();
	make_file(argc > 3 ? argv[3] : "/tmp");
	atexit(remove_file);
	signal(SIGINT, stopped);
	signal(SIGTERM, stopped);
	for (unsigned r = 0; r < ROUNDS; r++)
		for (unsigned i = 0; i < N; i++)
			v[i][r] = cases[i].fn(cases[i].arg);
	for (unsigned i = 0; i < N; i++)
		cases[i].median = bench_median(v[i], ROUNDS);
	bare_finish(&least);
	cases[EXACT1].limit = 0.8 * 1e3 / (2 * cases[STORE].median + cases[COPY].median);
	for (unsigned i = BARE + 1; i < N; i++)
		cases[i].limit = 0.85 * cases[BARE].median;
	printf("NVMe, 4 KiB random reads (medians of %u alternating runs)\n", ROUNDS);
	for (unsigned i = 0; i < N; i++)
		missed += bench_print(&cases[i]);
	return missed != 0;
}
