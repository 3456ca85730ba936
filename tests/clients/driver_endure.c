/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Writes and flushes through a vfio-user server that is killed again and again.
 *
 *	driver-endure DEVICE ROUNDS SEED [OPTIONS]
 *
 * Prints "writing" when there is load, so that somebody can kill the server then.  When it is gone:
 * connect again, bring the controller up, read every page back.  A page carries its number and the
 * sequence number of the write; that must not be older than what a completed flush promised, nor
 * newer than what was submitted.  Ends after ROUNDS losses: 0 all promises kept, 1 not.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "nvme_ctrl.h"

#define PAGES 256u
#define DEPTH 16u
#define FLUSH DEPTH /* its slot */
#define MAGIC 0x5ec7023500000000ull

static uint64_t submitted[PAGES], completed[PAGES], durable[PAGES], promised[PAGES];
static uint64_t next_sequence = 1, promises;
static unsigned seed;

static _Noreturn void die(const char *what, int error)
{
	fprintf(stderr, "driver-endure: %s: %s\n", what, strerror(error));
	exit(1);
}

static uint64_t lba_of(const struct nvme_queue *q, uint64_t page)
{
	return page * (NVME_PAGE / q->ctrl->block_size);
}

static void fill(uint64_t *data, uint64_t page, uint64_t sequence)
{
	for (unsigned i = 0; i < NVME_PAGE / 8; i += 2) {
		data[i] = MAGIC | page;
		data[i + 1] = sequence;
	}
}

/* Keep writing until the server is gone. */
static void write_until_lost(struct nvme_queue *q)
{
	uint64_t page_of[DEPTH], sequence_of[DEPTH];
	bool busy[DEPTH] = {false}, page_busy[PAGES] = {false}, flushing = false;
	unsigned acknowledged = 0, idle = 0;
	int ret = 0;

	while (!ret) {
		unsigned slot, status, reaped = 0;

		for (slot = 0; slot < DEPTH; slot++) {
			uint64_t page = (uint64_t)rand_r(&seed) % PAGES;

			if (busy[slot] || page_busy[page])
				continue;
			fill(nvme_buffer(q, slot), page, next_sequence);
			submitted[page] = next_sequence;
			page_of[slot] = page;
			sequence_of[slot] = next_sequence++;
			busy[slot] = page_busy[page] = true;
			nvme_queue_rw(q, NVME_WRITE, slot, lba_of(q, page), NVME_PAGE);
		}
		if (!flushing && rand_r(&seed) % 4 == 0) {
			/* A flush promises what had completed when it was submitted. */
			memcpy(promised, completed, sizeof(promised));
			nvme_queue_rw(q, NVME_FLUSH, FLUSH, 0, 0);
			flushing = true;
		}
		ret = nvme_ring(q);
		while (!ret && nvme_reap(q, &slot, &status)) {
			if (status)
				die("a write failed", EIO);
			reaped++;
			if (slot == FLUSH) {
				for (unsigned p = 0; p < PAGES; p++) {
					if (promised[p] <= durable[p])
						continue;
					durable[p] = promised[p];
					promises++;
				}
				flushing = false;
				continue;
			}
			completed[page_of[slot]] = sequence_of[slot];
			busy[slot] = page_busy[page_of[slot]] = false;
			if (++acknowledged == 64) {
				printf("writing\n");
				fflush(stdout);
			}
		}
		if (!ret && reaped)
			ret = nvme_reaped(q);
		idle = reaped ? 0 : idle + 1;
		if (!ret && !reaped)
			ret = nvme_wait(q);
		if (!ret && idle % 1024 == 1023 && nvme_lost(q->ctrl))
			ret = -ENOTCONN;
	}
	if (ret != -ENOTCONN)
		die("the controller", -ret);
}

static void read_page(struct nvme_queue *q, uint64_t page)
{
	unsigned slot, status;
	int ret;

	nvme_queue_rw(q, NVME_READ, 0, lba_of(q, page), NVME_PAGE);
	ret = nvme_ring(q);
	while (!ret && !nvme_reap(q, &slot, &status))
		ret = nvme_lost(q->ctrl) ? -ENOTCONN : nvme_wait(q);
	if (!ret)
		ret = nvme_reaped(q);
	if (ret || status)
		die("reading back", ret ? -ret : EIO);
}

/* Is every promise kept? */
static int verify(struct nvme_queue *q)
{
	int bad = 0;

	for (uint64_t page = 0; page < PAGES; page++) {
		const uint64_t *data = nvme_buffer(q, 0);
		unsigned sector = 512 / 8;

		read_page(q, page);
		for (unsigned i = 0; i < NVME_PAGE / 8; i += sector) {
			bool blank = !data[i] && !data[i + 1];

			if ((!blank && data[i] != (MAGIC | page)) || data[i + 1] < durable[page] ||
			    data[i + 1] > submitted[page]) {
				printf("page %llu + %u: %#llx, write %llu, but %llu was promised and "
				       "%llu submitted\n",
				       (unsigned long long)page, i * 8, (unsigned long long)data[i],
				       (unsigned long long)data[i + 1],
				       (unsigned long long)durable[page],
				       (unsigned long long)submitted[page]);
				bad = 1;
			}
		}
		/* What a flush promises from here on is what is there, or newer. */
		completed[page] = durable[page];
	}
	return bad;
}

int main(int argc, char **argv)
{
	struct nvme_config config = {.queues = 1, .slots = DEPTH + 1, .slot_size = NVME_PAGE};
	struct uvfio_error err;
	struct nvme_ctrl c;
	unsigned rounds;

	if (argc < 4) {
		fprintf(stderr, "usage: driver-endure DEVICE ROUNDS SEED [OPTIONS]\n");
		return 2;
	}
	rounds = (unsigned)atoi(argv[2]);
	seed = (unsigned)atoi(argv[3]);
	config.options = argc > 4 ? argv[4] : NULL;
	config.irqs = seed & 1;
	if (nvme_open(&c, argv[1], &config))
		return 1;
	for (unsigned round = 0; round < rounds; round++) {
		write_until_lost(&c.io[0]);
		if (uvfio_pci_reconnect(c.dev, 60000, &err)) {
			fprintf(stderr, "driver-endure: %s\n", err.msg);
			return 1;
		}
		if (nvme_start(&c))
			return 1;
		if (verify(&c.io[0]))
			return 1;
	}
	printf("%u losses, %llu promises, all kept\n", rounds, (unsigned long long)promises);
	nvme_close(&c);
	return !promises;
}
