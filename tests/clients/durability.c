/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Is what was flushed still there after the server was killed?
 *
 *   durability write DDDD:BB:DD.F LOG [SEED]   write, flush, note in LOG what was promised; for
 * ever durability verify IMAGE LOG                is each promise kept?
 *
 * Every 512-byte sector carries its page, and the sequence number of the write.  LOG is a shared
 * file: for each page, the newest number that was ever submitted, and the newest that a completed
 * flush (or FUA) promised.  A sector must have a number between the two: older means that an
 * acknowledged write was lost, newer or another page's means corruption.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "support/nvme_client.h"

#define PAGES  256u
#define SECTOR 512u
#define MAGIC  0x5ec7023500000000ull

struct promise {
	uint64_t submitted, durable;
};

struct sector {
	uint64_t page, sequence;
};

static struct promise *open_log(const char *path)
{
	int fd = open(path, O_RDWR | O_CREAT, 0600);
	struct promise *log = MAP_FAILED;

	if (fd >= 0 && !ftruncate(fd, PAGES * sizeof(*log)))
		log = mmap(NULL, PAGES * sizeof(*log), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (log == MAP_FAILED) {
		fprintf(stderr, "durability: %s: %s\n", path, strerror(errno));
		exit(1);
	}
	return log;
}

static void fill(void *page, uint64_t number, uint64_t sequence)
{
	for (unsigned off = 0; off < NVME_PAGE; off += SECTOR) {
		struct sector *s = (struct sector *)((char *)page + off);

		s->page = MAGIC | number;
		s->sequence = sequence;
	}
}

static _Noreturn void write_for_ever(const char *bdf, struct promise *log, unsigned seed)
{
	enum { DEPTH = 16, FLUSH = DEPTH };
	/* Per slot: the page that is being written, and its number.  Per page: what has completed.
	 */
	uint64_t page_of[DEPTH] = {0}, sequence_of[DEPTH] = {0}, completed[PAGES] = {0},
		 promised[PAGES] = {0};
	bool busy[DEPTH] = {false}, fua_of[DEPTH] = {false}, flushing = false,
	     page_busy[PAGES] = {false};
	uint16_t slots[NVME_SLOTS];
	struct nvme_client c;
	uint64_t sequence = 1;

	for (unsigned i = 0; i < PAGES; i++)
		if (log[i].submitted >= sequence)
			sequence = log[i].submitted + 1;
	nvme_client_open(&c, bdf, false);
	printf("ready\n");
	fflush(stdout);
	for (;;) {
		unsigned n;

		for (unsigned slot = 0; slot < DEPTH; slot++) {
			uint64_t page = (uint64_t)rand_r(&seed) % PAGES;

			if (busy[slot] || page_busy[page])
				continue;
			fua_of[slot] = rand_r(&seed) % 16 == 0;
			fill(nvme_client_data(&c, slot), page, sequence);
			__atomic_store_n(&log[page].submitted, sequence, __ATOMIC_SEQ_CST);
			page_of[slot] = page;
			sequence_of[slot] = sequence++;
			busy[slot] = page_busy[page] = true;
			nvme_client_queue(&c, 1, slot, page, fua_of[slot]);
		}
		if (!flushing && rand_r(&seed) % 4 == 0) {
			/* A flush promises what had completed when it was submitted. */
			memcpy(promised, completed, sizeof(promised));
			nvme_client_queue(&c, 0, FLUSH, 0, false);
			flushing = true;
		}
		nvme_client_submit(&c);
		n = nvme_client_reap(&c, slots, NULL);
		for (unsigned i = 0; i < n; i++) {
			unsigned slot = slots[i];

			if (slot == FLUSH) {
				for (unsigned p = 0; p < PAGES; p++)
					if (promised[p] > log[p].durable)
						__atomic_store_n(&log[p].durable, promised[p],
								 __ATOMIC_SEQ_CST);
				flushing = false;
				continue;
			}
			completed[page_of[slot]] = sequence_of[slot];
			if (fua_of[slot])
				__atomic_store_n(&log[page_of[slot]].durable, sequence_of[slot],
						 __ATOMIC_SEQ_CST);
			busy[slot] = page_busy[page_of[slot]] = false;
		}
	}
}

static int verify(const char *image, const struct promise *log)
{
	int fd = open(image, O_RDONLY), bad = 0;
	unsigned promises = 0;
	char page[NVME_PAGE];

	if (fd < 0) {
		fprintf(stderr, "durability: %s: %s\n", image, strerror(errno));
		return 1;
	}
	for (uint64_t p = 0; p < PAGES; p++) {
		if (pread(fd, page, sizeof(page), (off_t)(p * NVME_PAGE)) !=
		    (ssize_t)sizeof(page)) {
			fprintf(stderr, "durability: reading page %llu: %s\n",
				(unsigned long long)p, strerror(errno));
			return 1;
		}
		promises += log[p].durable != 0;
		for (unsigned off = 0; off < NVME_PAGE; off += SECTOR) {
			const struct sector *s = (const struct sector *)(page + off);

			if ((s->sequence || s->page) && s->page != (MAGIC | p)) {
				printf("page %llu + %u: holds page %#llx\n", (unsigned long long)p,
				       off, (unsigned long long)s->page);
				bad = 1;
			} else if (s->sequence < log[p].durable || s->sequence > log[p].submitted) {
				printf("page %llu + %u: write %llu, but %llu was promised and %llu submitted\n",
				       (unsigned long long)p, off, (unsigned long long)s->sequence,
				       (unsigned long long)log[p].durable,
				       (unsigned long long)log[p].submitted);
				bad = 1;
			}
		}
	}
	printf("%u promises, %s\n", promises, bad ? "BROKEN" : "all kept");
	return bad;
}

int main(int argc, char **argv)
{
	if (argc >= 4 && !strcmp(argv[1], "write"))
		write_for_ever(argv[2], open_log(argv[3]),
				      argc > 4 ? (unsigned)atoi(argv[4]) : 1);
	if (argc == 4 && !strcmp(argv[1], "verify"))
		return verify(argv[2], open_log(argv[3]));
	fprintf(stderr, "usage: durability write DDDD:BB:DD.F LOG [SEED] | verify IMAGE LOG\n");
	return 2;
}
