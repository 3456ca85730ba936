/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Door 1: memory mapped for DMA by a program's ioctls: anonymous memory, little and much; a million
 * mappings in a container; a device's memory that goes away under ten thousand mappings of it.  The
 * program is this one again, under `uvfio run`.  Usage: bench-type1 UVFIO
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/pci_regs.h>
#include <linux/vfio.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>
#include "bench.h"

#define ROUNDS  9u
#define CALLS   200u
#define PAGE    4096ull
#define GIB     (1ull << 30)
#define MILLION 1000000u
#define SAMPLE  20000u
#define PEERS   10000u
#define IOVA    (1ull << 40)

struct program {
	int container, device;
	uint8_t *memory; /* a gibibyte, anonymous, of which a page in each 2 MiB is there */
	uint8_t *bar;    /* of the device: BAR 2, and its size */
	uint64_t bar_size, config;
};

static _Noreturn void die(const char *what)
{
	fprintf(stderr, "bench-type1: %s: %s\n", what, strerror(errno));
	exit(2);
}

static void map(const struct program *p, uint64_t iova, const void *memory, uint64_t size)
{
	struct vfio_iommu_type1_dma_map map = {
		.argsz = sizeof(map),
		.flags = VFIO_DMA_MAP_FLAG_READ | VFIO_DMA_MAP_FLAG_WRITE,
		.vaddr = (uintptr_t)memory,
		.iova = iova,
		.size = size,
	};

	if (ioctl(p->container, VFIO_IOMMU_MAP_DMA, &map))
		die("MAP_DMA");
}

/* @size 0: all. */
static void unmap(const struct program *p, uint64_t iova, uint64_t size)
{
	struct vfio_iommu_type1_dma_unmap unmap = {
		.argsz = sizeof(unmap),
		.flags = size ? 0 : VFIO_DMA_UNMAP_FLAG_ALL,
		.iova = iova,
		.size = size,
	};

	if (ioctl(p->container, VFIO_IOMMU_UNMAP_DMA, &unmap) || (size && unmap.size != size))
		die("UNMAP_DMA");
}

/* ---- the program's figures ---- */

/* µs */
static double map_unmap(const struct program *p, uint64_t size)
{
	uint64_t start = bench_ns();

	for (unsigned i = 0; i < CALLS; i++) {
		map(p, IOVA, p->memory, size);
		unmap(p, IOVA, size);
	}
	return (double)(bench_ns() - start) / CALLS / 1000;
}

/* µs each, for scattered IOVAs: numbers @from to @to. */
static double map_many(const struct program *p, unsigned from, unsigned to)
{
	uint64_t start = bench_ns();

	for (unsigned i = from; i < to; i++)
		map(p, IOVA + (uint64_t)i * 2654435761u % (1u << 21) * 2 * PAGE,
		    p->memory + i % 1024 * PAGE, PAGE);
	return (double)(bench_ns() - start) / (to - from) / 1000;
}

static void set_command(const struct program *p, uint16_t command)
{
	if (pwrite(p->device, &command, 2, (off_t)(p->config + PCI_COMMAND)) != 2)
		die("config space");
}

/* µs for the write that takes the device's memory away. */
static double revocation(const struct program *p, uint64_t arg)
{
	uint64_t start = bench_ns();

	set_command(p, 0);
	start = bench_ns() - start;
	set_command(p, PCI_COMMAND_MEMORY);
	return (double)start / 1000;
}

static double median_of(double (*fn)(const struct program *p, uint64_t arg),
			const struct program *p, uint64_t arg)
{
	double v[ROUNDS];

	for (unsigned r = 0; r < ROUNDS; r++)
		v[r] = fn(p, arg);
	return bench_median(v, ROUNDS);
}

static struct vfio_region_info region(const struct program *p, unsigned index)
{
	struct vfio_region_info info = {.argsz = sizeof(info), .index = index};

	if (ioctl(p->device, VFIO_DEVICE_GET_REGION_INFO, &info))
		die("GET_REGION_INFO");
	return info;
}

static void prepare(struct program *p)
{
	int group = open("/dev/vfio/1", O_RDWR);
	struct vfio_region_info bar;

	p->container = open("/dev/vfio/vfio", O_RDWR);
	if (ioctl(group, VFIO_GROUP_SET_CONTAINER, &p->container) ||
	    ioctl(p->container, VFIO_SET_IOMMU, VFIO_TYPE1v2_IOMMU))
		die("a container");
	p->device = ioctl(group, VFIO_GROUP_GET_DEVICE_FD, "0000:01:00.0");
	if (p->device < 0)
		die("the device");
	p->memory = mmap(NULL, GIB, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (p->memory == MAP_FAILED)
		die("memory");
	for (uint64_t at = 0; at < GIB; at += 2 << 20)
		p->memory[at] = 1;
	p->config = region(p, VFIO_PCI_CONFIG_REGION_INDEX).offset;
	set_command(p, PCI_COMMAND_MEMORY);
	bar = region(p, VFIO_PCI_BAR2_REGION_INDEX);
	p->bar_size = bar.size;
	p->bar = mmap(NULL, bar.size, PROT_READ | PROT_WRITE, MAP_SHARED, p->device,
		      (off_t)bar.offset);
	if (p->bar == MAP_FAILED)
		die("the BAR");
}

/* The figures in the order of the table. */
static int program(void)
{
	struct program p;
	uint64_t start;

	prepare(&p);
	printf("%f\n", median_of(map_unmap, &p, PAGE));
	printf("%f\n", median_of(map_unmap, &p, GIB));
	map_many(&p, 0, 1000);
	printf("%f\n", map_many(&p, 1000, 1000 + SAMPLE));
	map_many(&p, 1000 + SAMPLE, MILLION - SAMPLE);
	printf("%f\n", map_many(&p, MILLION - SAMPLE, MILLION));
	start = bench_ns();
	unmap(&p, 0, 0);
	printf("%f\n", (double)(bench_ns() - start) / 1e6);
	printf("%f\n", median_of(revocation, &p, 0));
	for (unsigned i = 0; i < PEERS; i++)
		map(&p, IOVA + 2 * i * PAGE, p.bar + i * PAGE % p.bar_size, PAGE);
	printf("%f\n", median_of(revocation, &p, 0));
	return 0;
}

/* ---- the table ---- */

/* This process, and what it starts, on the last CPU that it may use: see uapi.c. */
static void pin(void)
{
	cpu_set_t all, one;

	if (sched_getaffinity(0, sizeof(all), &all))
		return;
	CPU_ZERO(&one);
	for (int cpu = CPU_SETSIZE - 1; cpu >= 0 && !CPU_COUNT(&one); cpu--)
		if (CPU_ISSET(cpu, &all))
			CPU_SET(cpu, &one);
	sched_setaffinity(0, sizeof(one), &one);
}

int main(int argc, char **argv)
{
	struct bench_case rows[] = {
		{"map + unmap of 4 KiB of anonymous memory", "us", NULL, NULL, BENCH_INFO, 0, 0},
		{"map + unmap of 1 GiB", "us", NULL, NULL, BENCH_AT_MOST, 30, 0},
		{"map of 4 KiB, scattered, beside the first 20,000", "us", NULL, NULL, BENCH_INFO,
		 0, 0},
		{"  beside 1,000,000 (1.25 x)", "us", NULL, NULL, BENCH_AT_MOST, 0, 0},
		{"UNMAP_ALL of 1,000,000", "ms", NULL, NULL, BENCH_INFO, 0, 0},
		{"memory decode off, nothing mapped", "us", NULL, NULL, BENCH_INFO, 0, 0},
		{"  under 10,000 mappings of the device's memory", "us", NULL, NULL, BENCH_AT_MOST,
		 5000, 0},
	};
	char path[PATH_MAX], command[3 * PATH_MAX];
	int missed = 0;
	ssize_t n;
	FILE *f;

	if (argc == 2 && !strcmp(argv[1], "--program"))
		return program();
	if (argc != 2) {
		fprintf(stderr, "usage: bench-type1 UVFIO\n");
		return 2;
	}
	n = readlink("/proc/self/exe", path, sizeof(path) - 1);
	path[n < 0 ? 0 : n] = '\0';
	pin();
	snprintf(command, sizeof(command),
		 "exec '%s' run --policy dma_entry_limit=%u --device pcitest -- '%s' --program",
		 argv[1], MILLION + 1000, path);
	f = popen(command, "r");
	for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		if (!f || fscanf(f, "%lf", &rows[i].median) != 1) {
			fprintf(stderr, "bench-type1: the program under uvfio failed\n");
			return 2;
		}
	}
	pclose(f);
	rows[3].limit = 1.25 * rows[2].median;
	printf("Memory for DMA, by ioctls (medians of %u runs; the million once)\n", ROUNDS);
	for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		missed += bench_print(&rows[i]);
	return missed != 0;
}
