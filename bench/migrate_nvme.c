/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How long an NVMe controller with 64 queues in use is away when it is moved, and how much its
 * state is.
 *
 *   bench-migrate_nvme UVFIO [FILE-DIRECTORY]
 *
 * Each figure is one of a whole `uvfio run … -- bench-migrate_nvme --driver`: a driver whose 64
 * queues are full of reads, of which it takes no completion, stops one controller, reads its state,
 * writes it into another one with the same storage, and runs that; then it takes all completions
 * there.  The time is that from the first change of state to the end of the last one: the device's
 * part of the downtime, and the caller's one copy of the state.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/vfio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "bench.h"
#include "nvme_ctrl.h"

#define ROUNDS     9
#define QUEUES     64u
#define SLOTS      31u
#define IMAGE      (256ull << 20)
#define STATE_MAX  (16u << 20)
#define DOWNTIME   5000.0 /* µs */
#define IDLE_STATE 64.0   /* KiB */

/* As linux/vfio.h has them; see E.3. */
enum { RUNNING = 2, STOP_COPY = 3, RESUMING = 4 };
#define MIG_DEVICE_STATE 2

static _Noreturn void die(const char *what)
{
	fprintf(stderr, "bench-migrate_nvme: %s: %s\n", what, strerror(errno));
	exit(1);
}

/* ---- the driver ---- */

static int set_state(struct uvfio_pci *dev, uint32_t state)
{
	struct {
		uint32_t state;
		int32_t fd;
	} data = {state, -1};
	ssize_t ret = uvfio_pci_feature(dev, MIG_DEVICE_STATE, UVFIO_PCI_FEATURE_SET, &data,
					sizeof(data));

	if (ret) {
		errno = (int)-ret;
		die("a change of state");
	}
	return data.fd;
}

/* The device's state goes from one to the other, which runs then.  Its bytes. */
static size_t move(struct uvfio_pci *from, struct uvfio_pci *to, uint8_t *state)
{
	int fd = set_state(from, STOP_COPY);
	size_t len = 0;
	ssize_t n;

	while ((n = read(fd, state + len, STATE_MAX - len)) > 0)
		len += (size_t)n;
	if (n < 0)
		die("reading the state");
	close(fd);
	fd = set_state(to, RESUMING);
	if (write(fd, state, len) != (ssize_t)len)
		die("writing the state");
	close(fd);
	set_state(to, RUNNING);
	return len;
}

static void submit(struct nvme_ctrl *c)
{
	uint64_t seed = 7;

	for (unsigned i = 0; i < QUEUES; i++) {
		for (unsigned slot = 0; slot < SLOTS; slot++)
			nvme_queue_rw(&c->io[i], NVME_READ, slot,
				      bench_random(&seed) % (IMAGE / 512 / 128) * 128, NVME_PAGE);
	}
	for (unsigned i = 0; i < QUEUES; i++)
		nvme_ring(&c->io[i]);
}

static void take_all(struct nvme_ctrl *c)
{
	uint64_t start = bench_ns();
	unsigned left = QUEUES * SLOTS, slot, status;

	while (left) {
		for (unsigned i = 0; i < QUEUES; i++) {
			unsigned n = 0;

			for (; nvme_reap(&c->io[i], &slot, &status); n++) {
				if (status)
					die("a read failed");
			}
			if (n)
				nvme_reaped(&c->io[i]);
			left -= n;
		}
		errno = ETIMEDOUT;
		if (bench_ns() - start > 20000000000u)
			die("commands were lost");
	}
}

/* @deep: with all queues full. */
static int driver(const char *from, const char *to, bool deep)
{
	struct nvme_config config = {
		.queues = deep ? QUEUES : 1, .slots = SLOTS, .slot_size = NVME_PAGE, .map = true};
	uint8_t *state = malloc(STATE_MAX);
	struct nvme_ctrl c = {0};
	struct uvfio_pci *other;
	struct uvfio_error err;
	uint64_t start, ns;
	size_t len;

	if (!state || uvfio_dma_space_new(&config.space, &err))
		die("no memory");
	memset(state, 0, STATE_MAX);
	if (nvme_open(&c, from, &config))
		exit(1);
	if (uvfio_pci_open_in(config.space, to, NULL, &other, &err) ||
	    uvfio_pci_enable(other, &err)) {
		fprintf(stderr, "bench-migrate_nvme: %s\n", err.msg);
		exit(1);
	}
	if (deep)
		submit(&c);
	start = bench_ns();
	len = move(c.dev, other, state);
	ns = bench_ns() - start;
	c.dev = other;
	if (deep)
		take_all(&c);
	printf("%.1f %zu\n", (double)ns / 1000, len);
	return 0;
}

/* ---- the table ---- */

static const char *uvfio, *self;
static char file[4096];

struct run {
	const char *storage; /* NULL: the file */
	const char *options;
	bool deep, bytes;
};

static double run_driver(void *arg)
{
	const struct run *run = arg;
	char device[8192], command[32768];
	double us = 0, bytes = 0;
	FILE *out;

	snprintf(device, sizeof(device), "nvme,%s%s,serial=moved%s",
		 run->storage ? run->storage : "file=", run->storage ? "" : file, run->options);
	snprintf(command, sizeof(command),
		 "'%s' run --device %s --device %s,incoming=yes -- '%s' --driver 0000:01:00.0 "
		 "0000:02:00.0 %d",
		 uvfio, device, device, self, run->deep);
	out = popen(command, "r");
	if (!out || fscanf(out, "%lf %lf", &us, &bytes) != 2) {
		fprintf(stderr, "bench-migrate_nvme: no figure from: %s\n", command);
		exit(1);
	}
	pclose(out);
	return run->bytes ? bytes / 1024 : us;
}

static void make_file(const char *dir)
{
	char *chunk = malloc(1 << 20);
	int fd;

	snprintf(file, sizeof(file), "%s/uvfio-bench-XXXXXX", dir);
	fd = mkstemp(file);
	if (fd < 0 || !chunk || fchmod(fd, 0666))
		die(file);
	memset(chunk, 0x5a, 1 << 20);
	for (uint64_t at = 0; at < IMAGE; at += 1 << 20)
		if (write(fd, chunk, 1 << 20) != 1 << 20)
			die(file);
	fsync(fd);
	close(fd);
	free(chunk);
}

static void remove_file(void)
{
	unlink(file);
}

int main(int argc, char **argv)
{
	struct run deep_memory = {"memory=256M,move=none", "", true, false};
	struct run deep_file = {NULL, "", true, false};
	struct run deep_bytes = {"memory=256M,move=none", "", true, true};
	struct run idle = {"memory=256M,move=none", "", false, false};
	struct run idle_bytes = {"memory=256M,move=none", "", false, true};
	struct bench_case cases[] = {
		{"64 queues, 1,984 reads, memory: away", "us", run_driver, &deep_memory,
		 BENCH_AT_MOST, DOWNTIME, 0},
		{"64 queues, 1,984 reads, a file that is cached: away", "us", run_driver,
		 &deep_file, BENCH_AT_MOST, DOWNTIME, 0},
		{"1 queue, idle: away", "us", run_driver, &idle, BENCH_AT_MOST, DOWNTIME, 0},
		{"64 queues in use: its state", "KiB", run_driver, &deep_bytes, BENCH_INFO, 0, 0},
		{"1 queue, idle: its state", "KiB", run_driver, &idle_bytes, BENCH_AT_MOST,
		 IDLE_STATE, 0},
	};

	if (argc == 5 && !strcmp(argv[1], "--driver"))
		return driver(argv[2], argv[3], atoi(argv[4]));
	if (argc < 2 || argc > 3) {
		fprintf(stderr, "usage: bench-migrate_nvme UVFIO [FILE-DIRECTORY]\n");
		return 2;
	}
	uvfio = argv[1];
	self = argv[0];
	make_file(argc > 2 ? argv[2] : "/tmp");
	atexit(remove_file);
	return bench_run("An NVMe controller is moved", cases, sizeof(cases) / sizeof(cases[0]),
			 ROUNDS) > 0;
}
