/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What a program that uses uvfio/driver.h gets of a vfio-user device: bench-driver UVFIO.
 *
 * The server is a process of its own, `uvfio serve` with an NVMe controller on memory.  Beside the
 * register read stands its limit, a message of the same sizes over a bare socketpair to a process
 * that does nothing but answer; both sides sleep in between.
 */
#include <errno.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench.h"
#include "nvme_ctrl.h"

#define ROUNDS 7
#define READS  20000u
#define IOS    40000u
#define DEPTH  32u

struct world {
	int echo; /* of the socketpair */
	struct nvme_ctrl nvme;
	uint64_t seed;
};

static _Noreturn void die(const char *what)
{
	fprintf(stderr, "bench-driver: %s\n", what);
	exit(1);
}

/* ---- the limit ---- */

enum { REQUEST = 32, REPLY = 36 }; /* REGION_READ of 4 bytes */

static pid_t start_echo(int *fd)
{
	int pair[2];
	char buf[64];
	pid_t pid;

	if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair))
		die("no socketpair");
	pid = fork();
	if (pid) {
		close(pair[1]);
		*fd = pair[0];
		return pid;
	}
	close(pair[0]);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	while (read(pair[1], buf, REQUEST) == REQUEST)
		if (write(pair[1], buf, REPLY) != REPLY)
			break;
	_exit(0);
}

static double ping_pong(void *arg)
{
	struct world *w = arg;
	uint64_t start = bench_ns();
	char buf[64] = {0};

	for (unsigned i = 0; i < READS; i++)
		if (write(w->echo, buf, REQUEST) != REQUEST || read(w->echo, buf, REPLY) != REPLY)
			die("the echo process has gone");
	return (double)(bench_ns() - start) / READS / 1000;
}

/* ---- registers ---- */

static double register_read(void *arg)
{
	struct world *w = arg;
	uint64_t start = bench_ns(), value;

	for (unsigned i = 0; i < READS; i++)
		if (uvfio_pci_reg_read(w->nvme.dev, 0, 8, 4, &value))
			die("reading a register");
	return (double)(bench_ns() - start) / READS / 1000;
}

/* Of a register that does nothing; the read at the end waits for all of them. */
static double register_write(void *arg)
{
	struct world *w = arg;
	uint64_t start = bench_ns();

	for (unsigned i = 0; i < READS; i++)
		uvfio_pci_write32(w->nvme.dev, 0, 0x0c, 0);
	bench_keep(uvfio_pci_read32(w->nvme.dev, 0, 8));
	return (double)(bench_ns() - start) / READS / 1000;
}

static double map_unmap(void *arg)
{
	struct world *w = arg;
	struct uvfio_pci_mem mem;
	uint64_t start = bench_ns();
	const unsigned nr = READS / 20;

	for (unsigned i = 0; i < nr; i++)
		if (uvfio_pci_dma_alloc(w->nvme.dev, 4096, 0, &mem, NULL) ||
		    uvfio_pci_dma_free(w->nvme.dev, &mem))
			die("mapping DMA memory");
	return (double)(bench_ns() - start) / nr / 1000;
}

/* ---- reads ---- */

static void submit(struct world *w, unsigned slot)
{
	uint64_t blocks = NVME_PAGE / w->nvme.block_size;

	nvme_queue_rw(&w->nvme.io[0], NVME_READ, slot,
		      bench_random(&w->seed) % (w->nvme.blocks / blocks) * blocks, NVME_PAGE);
}

/* Thousands a second. */
static double reads(struct world *w, unsigned depth, unsigned nr)
{
	struct nvme_queue *q = &w->nvme.io[0];
	uint64_t start = bench_ns();
	unsigned submitted = depth, done = 0, slot, status;

	for (slot = 0; slot < depth; slot++)
		submit(w, slot);
	nvme_ring(q);
	while (done < nr) {
		unsigned reaped = 0, before = submitted;

		while (nvme_reap(q, &slot, &status)) {
			if (status)
				die("a read failed");
			reaped++;
			done++;
			if (submitted < nr) {
				submit(w, slot);
				submitted++;
			}
		}
		if (!reaped) {
			if (nvme_lost(&w->nvme))
				die("the server has gone");
			nvme_wait(q);
			continue;
		}
		nvme_reaped(q);
		if (submitted != before)
			nvme_ring(q);
	}
	return nr * 1e6 / (double)(bench_ns() - start);
}

static double depth_1(void *arg)
{
	return reads(arg, 1, IOS / 4);
}

static double depth_32(void *arg)
{
	return reads(arg, DEPTH, IOS * 4);
}

/* ms until a device is ready; it has been given back by whoever had it before. */
static double open_device(void *arg)
{
	struct uvfio_error err;
	struct uvfio_pci *dev;
	uint64_t start;

	usleep(20000);
	start = bench_ns();
	if (uvfio_pci_open(arg, NULL, &dev, &err))
		die(err.msg);
	start = bench_ns() - start;
	uvfio_pci_close(dev);
	return (double)start / 1e6;
}

/* ---- */

static pid_t start_server(const char *uvfio, const char *path)
{
	char device[160];
	pid_t pid = fork();

	if (pid)
		return pid;
	prctl(PR_SET_PDEATHSIG, SIGTERM);
	snprintf(device, sizeof(device), "nvme,memory=256M,socket=%s", path);
	execl(uvfio, uvfio, "serve", "--control", "off", "--device", device, (char *)NULL);
	_exit(127);
}

int main(int argc, char **argv)
{
	static struct world w = {.seed = 1};
	struct nvme_config config = {.queues = 1, .slots = DEPTH, .slot_size = NVME_PAGE};
	struct bench_case cases[] = {
		{"bare socketpair, a message and its answer", "us", ping_pong, &w},
		{"4-byte register read, the server asleep", "us", register_read, &w},
		{"4-byte register write, posted", "us", register_write, &w},
		{"allocate, map, unmap and free 4 KiB", "us", map_unmap, &w},
		{"4 KiB random reads, depth 1", "k/s", depth_1, &w},
		{"4 KiB random reads, depth 32", "k/s", depth_32, &w},
	};
	char dir[] = "/tmp/bench-driver-XXXXXX", path[64], name[80];
	struct bench_case opening = {"open a device: connect, and all questions",
				     "ms",
				     open_device,
				     name,
				     BENCH_AT_MOST,
				     1};
	pid_t server, echo;
	int status = 0, missed;

	if (argc != 2) {
		fprintf(stderr, "usage: bench-driver UVFIO (the command)\n");
		return 2;
	}
	if (!mkdtemp(dir))
		die("no folder in /tmp");
	snprintf(path, sizeof(path), "%s/sock", dir);
	snprintf(name, sizeof(name), "unix:%s", path);
	echo = start_echo(&w.echo);
	server = start_server(argv[1], path);
	while (access(path, F_OK)) {
		if (waitpid(server, &status, WNOHANG) == server)
			die("the server has not started");
		usleep(10000);
	}
	missed = bench_run("opening over vfio-user", &opening, 1, ROUNDS);
	usleep(20000);
	if (nvme_open(&w.nvme, name, &config))
		return 1;
	missed += bench_run("the driver side over vfio-user", cases,
			    sizeof(cases) / sizeof(cases[0]), ROUNDS);
	nvme_close(&w.nvme);
	kill(server, SIGTERM);
	close(w.echo);
	waitpid(server, &status, 0);
	waitpid(echo, &status, 0);
	unlink(path);
	rmdir(dir);
	return missed ? 1 : 0;
}
