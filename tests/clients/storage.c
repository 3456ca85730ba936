/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What a driver sees of the storage behind a namespace.
 *
 *   storage resize DDDD:BB:DD.F IMAGE   the file grows and is cut while the driver uses it
 *   storage format DDDD:BB:DD.F LBAF    Format NVM; prints the status
 *   storage blocks DDDD:BB:DD.F         prints block size, blocks, and the first byte of block 0
 *   storage io DDDD:BB:DD.F             prints the statuses of a read, a write and a flush
 *   storage write DDDD:BB:DD.F BYTE     fills the first 4 KiB, and flushes
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "support/nvme_client.h"

#define MIB 1048576ll

static unsigned io(struct nvme_client *c, uint8_t opcode, uint64_t page)
{
	uint16_t slots[NVME_SLOTS], status = 0;

	nvme_client_queue(c, opcode, 0, page, false);
	nvme_client_submit(c);
	while (!nvme_client_reap(c, slots, &status))
		;
	return status & 0x7ff;
}

static uint64_t blocks(struct nvme_client *c, unsigned *size)
{
	const uint8_t *id = nvme_client_data(c, 1);
	uint64_t n = 0;

	if (nvme_client_admin(c,
			      (struct nvme_sqe){.cdw0 = 6, .nsid = 1, .prp1 = nvme_client_iova(1)}))
		return 0;
	memcpy(&n, id, sizeof(n));
	*size = 1u << id[130 + 4 * (id[26] & 0xf)];
	return n;
}

static void expect(bool ok, const char *what)
{
	if (ok)
		return;
	fprintf(stderr, "storage: not so: %s\n", what);
	exit(1);
}

/* Wait to be told that namespace 1 has changed. */
static void changed(struct nvme_client *c)
{
	const uint32_t *list = nvme_client_data(c, 2);

	expect(!nvme_client_admin(c, (struct nvme_sqe){.cdw0 = 0xc}), "an event is reported");
	expect(!nvme_client_admin(c, (struct nvme_sqe){.cdw0 = 2,
						       .nsid = ~0u,
						       .prp1 = nvme_client_iova(2),
						       .dw = {1023u << 16 | 4}}),
	       "Get Log Page: changed namespaces");
	expect(list[0] == 1 && list[1] == 0, "the log names namespace 1");
}

static void resize(struct nvme_client *c, const char *image)
{
	unsigned size = 0;
	char back = 0;
	int fd;

	expect(!nvme_client_admin(c, (struct nvme_sqe){.cdw0 = 9, .dw = {0xb, 0x100}}),
	       "Namespace Attribute Notices are enabled");
	expect(io(c, 2, 256) == 0x80, "1 MiB: a read behind the end is LBA Out of Range");
	expect(!truncate(image, 4 * MIB), "truncate to 4 MiB");
	changed(c);
	expect(blocks(c, &size) * size == 4 * MIB, "Identify says 4 MiB");
	memset(nvme_client_data(c, 0), 0x77, NVME_PAGE);
	expect(!io(c, 1, 1023) && !io(c, 0, 0), "the last page is written and flushed");
	fd = open(image, O_RDONLY);
	expect(fd >= 0 && pread(fd, &back, 1, 4 * MIB - 1) == 1 && back == 0x77, "it is there");
	close(fd);
	expect(!truncate(image, 2 * MIB), "cut to 2 MiB");
	expect(io(c, 2, 600) == 0x80, "a read behind the new end is LBA Out of Range");
	changed(c);
	expect(blocks(c, &size) * size == 2 * MIB, "Identify says 2 MiB");
	expect(io(c, 1, 600) == 0x80, "a write there, too");
	expect(!io(c, 2, 511), "the last page is read");
	printf("grown and cut\n");
}

int main(int argc, char **argv)
{
	struct nvme_client c;
	unsigned size = 0;

	if (argc < 3) {
		fprintf(stderr,
			"usage: storage resize|format|blocks|io|write DDDD:BB:DD.F [ARG]\n");
		return 2;
	}
	nvme_client_open(&c, argv[2], false);
	if (!strcmp(argv[1], "resize") && argc == 4) {
		resize(&c, argv[3]);
	} else if (!strcmp(argv[1], "format") && argc == 4) {
		printf("%#x\n", nvme_client_admin(&c, (struct nvme_sqe){.cdw0 = 0x80,
									.nsid = 1,
									.dw = {atoi(argv[3])}}) &
					0x7ff);
	} else if (!strcmp(argv[1], "io")) {
		unsigned read = io(&c, 2, 1), write = io(&c, 1, 1), flush = io(&c, 0, 0);

		printf("%#x %#x %#x\n", read, write, flush);
	} else if (!strcmp(argv[1], "write") && argc == 4) {
		memset(nvme_client_data(&c, 0), atoi(argv[3]), NVME_PAGE);
		expect(!io(&c, 1, 0) && !io(&c, 0, 0), "written and flushed");
	} else {
		uint64_t n = blocks(&c, &size);

		expect(!io(&c, 2, 0), "block 0 is read");
		printf("%u %llu %u\n", size, (unsigned long long)n,
		       *(uint8_t *)nvme_client_data(&c, 0));
	}
	return 0;
}
