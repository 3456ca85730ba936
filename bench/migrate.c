/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Door 1: the data of a device that is moved, through the program's descriptor.  The program is
 * this one again, under `uvfio run`; the device has MEMORY MiB of memory, which nothing compresses.
 * Beside it stands the same number of bytes that another process writes into a socket.  Usage:
 * bench-migrate UVFIO
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/pci_regs.h>
#include <linux/vfio.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>
#include "bench.h"

#define ROUNDS 9u
#define MEMORY "64M"
#define PIECE  (1u << 20)
#define ROOM   (80u << 20) /* the stream fits */

struct program {
	int device;
	uint8_t *stream;
	size_t len;
};

static _Noreturn void die(const char *what)
{
	fprintf(stderr, "bench-migrate: %s: %s\n", what, strerror(errno));
	exit(2);
}

static int set_state(const struct program *p, uint32_t state)
{
	union {
		struct vfio_device_feature f;
		char room[sizeof(struct vfio_device_feature) +
			  sizeof(struct vfio_device_feature_mig_state)];
	} u = {.f.argsz = sizeof(u),
	       .f.flags = VFIO_DEVICE_FEATURE_SET | VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE};
	struct vfio_device_feature_mig_state s = {.device_state = state};

	memcpy(u.f.data, &s, sizeof(s));
	if (ioctl(p->device, VFIO_DEVICE_FEATURE, &u))
		die("a change of state");
	memcpy(&s, u.f.data, sizeof(s));
	return s.data_fd;
}

static double rate(size_t bytes, uint64_t start)
{
	return (double)bytes / 1e6 / ((double)(bench_ns() - start) / 1e9);
}

/* All of @fd into the program's room: how much. */
static size_t take(struct program *p, int fd)
{
	size_t len = 0;
	ssize_t n;

	while ((n = read(fd, p->stream + len, len + PIECE <= ROOM ? PIECE : ROOM - len)) > 0)
		len += (size_t)n;
	if (n < 0)
		die("reading");
	return len;
}

static void give(int fd, const uint8_t *bytes, size_t len)
{
	for (ssize_t n; len; bytes += n, len -= (size_t)n) {
		n = write(fd, bytes, len < PIECE ? len : PIECE);
		if (n <= 0)
			die("writing");
	}
}

/* MB/s, as what follows */
static double saving(void *arg)
{
	struct program *p = arg;
	int fd = set_state(p, VFIO_DEVICE_STATE_STOP_COPY);
	uint64_t start = bench_ns();
	double mb;

	p->len = take(p, fd);
	mb = rate(p->len, start);
	close(fd);
	set_state(p, VFIO_DEVICE_STATE_RUNNING);
	return mb;
}

static double loading(void *arg)
{
	struct program *p = arg;
	int fd = set_state(p, VFIO_DEVICE_STATE_RESUMING);
	uint64_t start = bench_ns();
	double mb;

	give(fd, p->stream, p->len);
	mb = rate(p->len, start);
	close(fd);
	set_state(p, VFIO_DEVICE_STATE_RUNNING);
	return mb;
}

static double bare(void *arg)
{
	struct program *p = arg;
	uint64_t start;
	int pair[2];
	double mb;
	pid_t pid;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair))
		die("a socket pair");
	pid = fork();
	if (!pid) {
		close(pair[0]);
		if (read(pair[1], &mb, 1) == 1) /* the other side is ready */
			give(pair[1], p->stream, p->len);
		_exit(0);
	}
	close(pair[1]);
	start = bench_ns();
	give(pair[0], (const uint8_t *)"", 1);
	if (take(p, pair[0]) != p->len)
		die("a socket");
	mb = rate(p->len, start);
	close(pair[0]);
	waitpid(pid, NULL, 0);
	return mb;
}

static void prepare(struct program *p)
{
	int group = open("/dev/vfio/1", O_RDWR), container = open("/dev/vfio/vfio", O_RDWR);
	struct vfio_region_info bar = {.argsz = sizeof(bar), .index = VFIO_PCI_BAR2_REGION_INDEX};
	struct vfio_region_info config = {.argsz = sizeof(config),
					  .index = VFIO_PCI_CONFIG_REGION_INDEX};
	uint16_t command = PCI_COMMAND_MEMORY;
	uint64_t seed = 1, *words;

	if (ioctl(group, VFIO_GROUP_SET_CONTAINER, &container) ||
	    ioctl(container, VFIO_SET_IOMMU, VFIO_TYPE1v2_IOMMU))
		die("a container");
	p->device = ioctl(group, VFIO_GROUP_GET_DEVICE_FD, "0000:01:00.0");
	if (p->device < 0 || ioctl(p->device, VFIO_DEVICE_GET_REGION_INFO, &bar) ||
	    ioctl(p->device, VFIO_DEVICE_GET_REGION_INFO, &config) ||
	    pwrite(p->device, &command, 2, (off_t)(config.offset + PCI_COMMAND)) != 2)
		die("the device");
	p->stream = mmap(NULL, ROOM, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	words = p->stream == MAP_FAILED ? NULL : (uint64_t *)(void *)p->stream;
	if (!words)
		die("memory");
	for (uint64_t i = 0; i < bar.size / 8; i++)
		words[i] = bench_random(&seed);
	if (pwrite(p->device, words, bar.size, (off_t)bar.offset) != (ssize_t)bar.size)
		die("the device's memory");
}

static int program_main(void)
{
	struct program p = {.device = -1};
	struct bench_case cases[] = {
		{"saved, read(2) of 1 MiB", "MB/s", saving, &p},
		{"loaded, write(2) of 1 MiB", "MB/s", loading, &p},
		{"the same bytes through a socket pair", "MB/s", bare, &p},
		{"saved, of the socket pair's", "", NULL, NULL, BENCH_AT_LEAST, 0.7},
		{"loaded, of the socket pair's", "", NULL, NULL, BENCH_AT_LEAST, 0.7},
	};
	int missed;

	prepare(&p);
	saving(&p); /* so that there is a stream */
	missed = bench_run("migration data, " MEMORY " of device memory", cases, 3, ROUNDS);
	for (unsigned i = 0; i < 2; i++) {
		cases[3 + i].median = cases[i].median / cases[2].median;
		missed += bench_print(&cases[3 + i]);
	}
	return missed > 0;
}

int main(int argc, char **argv)
{
	if (argc == 2 && !strcmp(argv[1], "--program"))
		return program_main();
	if (argc < 2) {
		fprintf(stderr, "usage: bench-migrate UVFIO\n");
		return 2;
	}
	execl(argv[1], argv[1], "run", "--device", "pcitest,memory=" MEMORY, "--", argv[0],
	      "--program", NULL);
	die(argv[1]);
}
