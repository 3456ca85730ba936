/* SPDX-License-Identifier: BSD-3-Clause */
/* DMA_MAP of a million pages of one file, and UNMAP_ALL of them. */
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "vfio/vfio.h"
#include "wire/protocol.h"
#include "wire_cases.h"
#include "wire_model.h"

#define PAGE   4096ull

#define SAMPLE 2000u /* maps of one run */

/* What a map cannot do without: the fd itself; */
static int receive(int fd)
{
	int memory;

	if (talk_receive(fd, &memory, 1) != 1)
		_exit(0);
	return memory;
}

static void answer_and_close(int fd, int memory, bool good)
{
	struct vfio_user_header hdr = {
		.flags = VFIO_USER_TYPE_REPLY | (good ? 0 : VFIO_USER_ERROR),
		.size = sizeof(hdr),
	};

	pair_give(fd, &hdr, sizeof(hdr));
	close(memory);
}

static void take_and_close(int fd)
{
	answer_and_close(fd, receive(fd), true);
}

/* and whether it is memory, how it was opened, which file it is. */
static void look_and_close(int fd)
{
	int memory = receive(fd);
	struct stat st;

	answer_and_close(fd, memory,
			 fcntl(memory, F_GET_SEALS) >= 0 && fcntl(memory, F_GETFL) >= 0 &&
				 !fstat(memory, &st));
}

/* µs each, for maps @from to @to of scattered pages of one file. */
static double map(int fd, int memory, unsigned from, unsigned to)
{
	uint64_t start = bench_ns();

	for (unsigned i = from; i < to; i++) {
		struct vfio_user_dma_map m = {sizeof(m), 3, wire_bench_offset(i),
					      wire_bench_iova(i), PAGE};

		talk_ask(fd, VFIO_USER_DMA_MAP, &m, sizeof(m), &memory, 1, 0);
		talk_answered(fd, SPIN);
	}
	return (double)(bench_ns() - start) / (to - from) / 1000;
}

/* A side of the comparison. */
struct mapper {
	int fd, memory;
	unsigned next; /* page to map */
};

static double map_some(void *arg)
{
	struct mapper *m = arg;
	double us = map(m->fd, m->memory, m->next, m->next + SAMPLE);

	m->next += SAMPLE;
	return us;
}

/* ---- translating ---- */

struct lookups {
	int fd;
	unsigned reg, n;
};

/* ns */
static double translate(void *arg)
{
	struct lookups *l = arg;
	struct {
		struct vfio_user_region_access a;
		uint32_t n;
	} w = {{l->reg, 0, 4}, l->n};
	struct vfio_user_region_access r = {WIRE_RESULT, 0, 8};
	struct {
		struct vfio_user_header hdr;
		struct vfio_user_region_access a;
		uint64_t ps;
	} answer;

	talk_ask(l->fd, VFIO_USER_REGION_WRITE, &w, 20, NULL, 0, 0);
	talk_answered(l->fd, BLOCK);
	talk_ask(l->fd, VFIO_USER_REGION_READ, &r, sizeof(r), NULL, 0, 0);
	pair_take(l->fd, -1, &answer, sizeof(answer), BLOCK);
	if (answer.ps == UINT64_MAX)
		talk_die("a translation");
	return (double)answer.ps / 1000;
}

/* Of the first @n, which are all that the client has mapped. */
static int translations(int fd, unsigned n, const char *what)
{
	struct lookups own = {fd, WIRE_TRANSLATE_OWN, n}, theirs = {fd, WIRE_TRANSLATE, n};

	return beside(&(struct bench_case){what, "ns", translate, &own, BENCH_INFO, 0, 0},
		      &(struct bench_case){"  the same that were mapped by messages", "ns",
					   translate, &theirs, BENCH_INFO, 0, 0},
		      1.10);
}

/* ---- */

static int print(const char *what, double us)
{
	struct bench_case row = {what, "us", NULL, NULL, BENCH_AT_MOST, 5, us};

	return bench_print(&row);
}

int wire_maps(const struct place *place)
{
	struct vfio_user_dma_unmap unmap = {sizeof(unmap), VFIO_USER_DMA_UNMAP_ALL, 0, 0};
	int memory = memfd_create("bench", MFD_CLOEXEC), fd, missed = 0;
	struct mapper take = {talk_bare(take_and_close), memory, 0};
	struct mapper look = {talk_bare(look_and_close), memory, 0};
	struct mapper ours = {talk_attach(place), memory, 0};
	struct bench_case rows[] = {
		{"bare: receive a memfd, answer and close", "us", map_some, &take},
		{"bare: the same, and look at it", "us", map_some, &look},
		{"DMA_MAP with an fd, the first 15,000", "us", map_some, &ours, BENCH_AT_MOST, 5},
	};
	struct bench_case row;
	uint64_t start;

	if (memory < 0 || ftruncate(memory, (off_t)(PAGE << 22)))
		talk_die("memfd");
	fd = ours.fd;
	map(fd, memory, 0, 1000); /* the file's mapping is made */
	missed += translations(fd, 1000, "translate, random of 1,000 that the device mapped");
	ours.next = 1000;
	missed += in_turns(rows, 3);
	close(take.fd);
	close(look.fd);
	map(fd, memory, ours.next, 65000);
	missed += print("DMA_MAP with an fd, after 65,000", map(fd, memory, 65000, 65000 + SAMPLE));
	map(fd, memory, 65000 + SAMPLE, MAPS - SAMPLE);
	missed += print("  after 1,000,000", map(fd, memory, MAPS - SAMPLE, MAPS));
	missed += translations(fd, MAPS, "translate, random of 1,000,000 that the device mapped");
	start = bench_ns();
	talk_ask(fd, VFIO_USER_DMA_UNMAP, &unmap, sizeof(unmap), NULL, 0, 0);
	talk_answered(fd, SPIN);
	row = (struct bench_case){
		"UNMAP_ALL of 1,000,000", "ms", NULL, NULL, BENCH_AT_MOST, 200, 0};
	row.median = (double)(bench_ns() - start) / 1e6;
	close(memory);
	close(fd);
	return missed + bench_print(&row);
}
