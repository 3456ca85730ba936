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

#define SAMPLE 2000u
#define PAGE   4096ull

/* What a map cannot do without: whether the fd is memory, how it was opened, which file it is. */
static void look_and_close(int fd)
{
	struct vfio_user_header hdr = {.flags = VFIO_USER_TYPE_REPLY, .size = sizeof(hdr)};
	struct stat st;
	int memory;

	if (talk_receive(fd, &memory, 1) != 1)
		_exit(0);
	if (fcntl(memory, F_GET_SEALS) < 0 || fcntl(memory, F_GETFL) < 0 || fstat(memory, &st))
		hdr.flags |= VFIO_USER_ERROR;
	pair_give(fd, &hdr, sizeof(hdr));
	close(memory);
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

static int print(const char *what, double us, double limit)
{
	struct bench_case row = {what,  "us", NULL, NULL, limit > 0 ? BENCH_AT_MOST : BENCH_INFO,
				 limit, us};

	return bench_print(&row);
}

int wire_maps(const struct place *place)
{
	struct vfio_user_dma_unmap unmap = {sizeof(unmap), VFIO_USER_DMA_UNMAP_ALL, 0, 0};
	int bare = talk_bare(look_and_close), fd = -1, missed = 0;
	int memory = memfd_create("bench", MFD_CLOEXEC);
	struct bench_case row;
	double v[ROUNDS];
	uint64_t start;

	if (memory < 0 || ftruncate(memory, (off_t)(PAGE << 22)))
		talk_die("memfd");
	for (unsigned r = 0; r < ROUNDS; r++) {
		v[r] = map(bare, memory, 0, SAMPLE);
		pair_settle();
	}
	print("bare: receive a memfd, look at it, answer and close", bench_median(v, ROUNDS), 0);
	close(bare);
	for (unsigned r = 0; r < ROUNDS; r++) {
		if (r)
			close(fd);
		fd = talk_attach(place);
		map(fd, memory, 0, 10); /* the file's mapping is made */
		v[r] = map(fd, memory, 10, 110);
	}
	missed += print("DMA_MAP with an fd, the first 100", bench_median(v, ROUNDS), 5);
	map(fd, memory, 110, 1000);
	missed += translations(fd, 1000, "translate, random of 1,000 that the device mapped");
	map(fd, memory, 1000, 65000);
	v[0] = map(fd, memory, 65000, 65000 + SAMPLE);
	missed += print("DMA_MAP with an fd, after 65,000", v[0], 5);
	map(fd, memory, 65000 + SAMPLE, MAPS - SAMPLE);
	v[0] = map(fd, memory, MAPS - SAMPLE, MAPS);
	missed += print("  after 1,000,000", v[0], 5);
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
