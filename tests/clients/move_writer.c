/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Writes to an NVMe device that is moved, and notes what was acknowledged.
 *
 *	move-writer SOCKET LOG SEED [COUNT] [mapped]
 *
 * Writes pages in any order, for ever, or until COUNT writes were acknowledged (0: for ever), by
 * messages or by mapped registers.  Every sector
 * carries its page and the number of the write; LOG is durability.c's: for each page, the newest
 * number that was ever submitted, and the newest that was acknowledged, which whoever has the
 * storage must have.  When the server goes it follows the device, for as long as there is one to be
 * found (10 s).
 *
 * Prints "ready" with the first acknowledgement, then "followed" or "restarted" each time.
 * 0: COUNT were acknowledged; 1: the device cannot be opened, or not used any more; 2: its
 * namespace is not ready.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "nvme_ctrl.h"

#define PAGES     256u
#define SECTOR    512u
#define MAGIC     0x5ec7023500000000ull
#define DEPTH     8u
#define NOT_READY 0x82u
#define PATIENCE  200u /* commands that find it so */

struct promise {
	uint64_t submitted, durable;
};

struct writer {
	struct nvme_ctrl c;
	struct promise *log;
	uint64_t page_of[DEPTH], sequence_of[DEPTH], sequence;
	bool busy[DEPTH], page_busy[PAGES];
	unsigned seed, acked, refused;
};

static void open_log(struct writer *w, const char *path)
{
	int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);

	w->log = MAP_FAILED;
	if (fd >= 0 && !ftruncate(fd, PAGES * sizeof(*w->log)))
		w->log = mmap(NULL, PAGES * sizeof(*w->log), PROT_READ | PROT_WRITE, MAP_SHARED, fd,
			      0);
	if (w->log == MAP_FAILED) {
		perror(path);
		exit(1);
	}
	w->sequence = 1;
	for (unsigned i = 0; i < PAGES; i++)
		if (w->log[i].submitted >= w->sequence)
			w->sequence = w->log[i].submitted + 1;
}

static void submit(struct writer *w)
{
	struct nvme_queue *q = &w->c.io[0];

	for (unsigned slot = 0; slot < DEPTH; slot++) {
		uint64_t page = (uint64_t)rand_r(&w->seed) % PAGES;
		char *buf = nvme_buffer(q, slot);

		if (w->busy[slot] || w->page_busy[page])
			continue;
		for (unsigned off = 0; off < NVME_PAGE; off += SECTOR) {
			const uint64_t stamp[2] = {MAGIC | page, w->sequence};

			memcpy(buf + off, stamp, sizeof(stamp));
		}
		__atomic_store_n(&w->log[page].submitted, w->sequence, __ATOMIC_SEQ_CST);
		w->page_of[slot] = page;
		w->sequence_of[slot] = w->sequence++;
		w->busy[slot] = w->page_busy[page] = true;
		nvme_queue_rw(q, NVME_WRITE, slot, page * (NVME_PAGE / w->c.block_size), NVME_PAGE);
	}
}

static void take(struct writer *w)
{
	struct nvme_queue *q = &w->c.io[0];
	unsigned slot, status;

	while (nvme_reap(q, &slot, &status)) {
		uint64_t page = w->page_of[slot];

		w->busy[slot] = w->page_busy[page] = false;
		if (status) {
			if ((status & 0x7ff) != NOT_READY) {
				printf("a write has failed: %#x\n", status);
				exit(1);
			}
			if (++w->refused == PATIENCE)
				exit(2);
			continue;
		}
		w->refused = 0;
		__atomic_store_n(&w->log[page].durable, w->sequence_of[slot], __ATOMIC_SEQ_CST);
		if (!w->acked++)
			printf("ready\n");
	}
}

/* The device is somewhere else, or is a new one. */
static void follow(struct writer *w)
{
	struct uvfio_error err;

	if (uvfio_pci_reconnect(w->c.dev, 10000, &err)) {
		printf("lost: %s\n", err.msg);
		exit(1);
	}
	if (uvfio_pci_continued(w->c.dev)) {
		printf("followed\n"); /* the doorbells are rung again */
		if (uvfio_pci_enable(w->c.dev, &err) && !nvme_lost(&w->c))
			exit(1);
		return;
	}
	printf("restarted\n");
	memset(w->busy, 0, sizeof(w->busy));
	memset(w->page_busy, 0, sizeof(w->page_busy));
	if (nvme_start(&w->c))
		exit(1);
}

int main(int argc, char **argv)
{
	struct nvme_config config = {.options = "continue=yes,posted=no,mmap=no",
				     .queues = 1,
				     .slots = DEPTH,
				     .slot_size = NVME_PAGE};
	struct writer w = {0};
	unsigned count;

	if (argc > 5 && !strcmp(argv[5], "mapped")) {
		config.options = "continue=yes,posted=no";
		config.map = true;
	}
	if (argc < 4)
		return 1;
	setvbuf(stdout, NULL, _IOLBF, 0);
	open_log(&w, argv[2]);
	w.seed = (unsigned)strtoul(argv[3], NULL, 10);
	count = argc > 4 ? (unsigned)strtoul(argv[4], NULL, 10) : 0;
	if (nvme_open(&w.c, argv[1], &config))
		return 1;
	while (!count || w.acked < count) {
		int ret;

		submit(&w);
		ret = nvme_ring(&w.c.io[0]);
		if (!ret)
			ret = nvme_wait(&w.c.io[0]);
		take(&w);
		if (!ret)
			ret = nvme_reaped(&w.c.io[0]);
		if (ret || nvme_lost(&w.c))
			follow(&w);
	}
	nvme_close(&w.c);
	return 0;
}
