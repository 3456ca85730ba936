/* SPDX-License-Identifier: BSD-3-Clause */
/* DMA_MAP of a million pages of one file, and UNMAP_ALL of them. */
#include <sys/mman.h>
#include <unistd.h>

#include "vfio/vfio.h"
#include "wire/protocol.h"
#include "wire_cases.h"

#define SAMPLE 2000u
#define PAGE   4096ull

/* µs each, for maps @from to @to of scattered pages of one file. */
static double map(int fd, int memory, unsigned from, unsigned to)
{
	uint64_t start = bench_ns();

	for (unsigned i = from; i < to; i++) {
		/* Every other page, in an order that is not the file's. */
		uint64_t at = (uint64_t)i * 2654435761u % (1u << 21) * 2 * PAGE;
		struct vfio_user_dma_map m = {sizeof(m), 3, at, (1ull << 40) + at, PAGE};

		talk_ask(fd, VFIO_USER_DMA_MAP, &m, sizeof(m), &memory, 1, 0);
		talk_answered(fd, SPIN);
	}
	return (double)(bench_ns() - start) / (to - from) / 1000;
}

int wire_maps(const struct place *place)
{
	struct bench_case rows[] = {
		{"DMA_MAP with an fd, the first 100", "us", NULL, NULL, BENCH_AT_MOST, 5, 0},
		{"  after 65,000", "us", NULL, NULL, BENCH_AT_MOST, 5, 0},
		{"  after 1,000,000", "us", NULL, NULL, BENCH_AT_MOST, 5, 0},
		{"UNMAP_ALL of 1,000,000", "ms", NULL, NULL, BENCH_AT_MOST, 200, 0},
	};
	struct vfio_user_dma_unmap unmap = {sizeof(unmap), VFIO_USER_DMA_UNMAP_ALL, 0, 0};
	int fd = talk_attach(place), memory = memfd_create("bench", MFD_CLOEXEC), missed = 0;
	uint64_t start;

	if (memory < 0 || ftruncate(memory, (off_t)(PAGE << 22)))
		talk_die("memfd");
	map(fd, memory, 0, 10); /* the file's mapping is made */
	rows[0].median = map(fd, memory, 10, 110);
	map(fd, memory, 110, 65000);
	rows[1].median = map(fd, memory, 65000, 65000 + SAMPLE);
	map(fd, memory, 65000 + SAMPLE, MAPS - SAMPLE);
	rows[2].median = map(fd, memory, MAPS - SAMPLE, MAPS);
	start = bench_ns();
	talk_ask(fd, VFIO_USER_DMA_UNMAP, &unmap, sizeof(unmap), NULL, 0, 0);
	talk_answered(fd, SPIN);
	rows[3].median = (double)(bench_ns() - start) / 1e6;
	close(memory);
	close(fd);
	for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		missed += bench_print(&rows[i]);
	return missed;
}
