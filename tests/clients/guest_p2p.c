/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Peer-to-peer DMA between two NVMe controllers, as a program in a Linux guest has it:
 *
 *	guest_p2p ALLOCATE DISK [BYTES]
 *
 * ALLOCATE is .../p2pmem/allocate of the controller with a memory buffer, DISK a block device. What
 * is read from DISK goes into the buffer by the DMA of DISK's controller, and what is written to it
 * comes from there: O_DIRECT, the kernel does not touch it.  All is compared with what goes through
 * ordinary memory.  Status 0 when it is right; says what is not.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define DEFAULT_BYTES (256u << 10)
#define OFFSET        (1u << 20) /* of what is read and written, in DISK */

static int failed(const char *what)
{
	printf("guest_p2p: %s: %s\n", what, strerror(errno));
	return 1;
}

static uint8_t pattern(size_t at, unsigned seed)
{
	return (uint8_t)(at * 13 + (at >> 9) * 5 + seed);
}

static void fill(uint8_t *p, size_t len, unsigned seed)
{
	for (size_t i = 0; i < len; i++)
		p[i] = pattern(i, seed);
}

static bool is_filled(const uint8_t *p, size_t len, unsigned seed, const char *what)
{
	for (size_t i = 0; i < len; i++) {
		if (p[i] != pattern(i, seed)) {
			printf("guest_p2p: %s: byte %zu is %#x, not %#x\n", what, i, p[i],
			       pattern(i, seed));
			return false;
		}
	}
	return true;
}

static bool all(ssize_t n, size_t len, const char *what)
{
	if (n == (ssize_t)len)
		return true;
	printf("guest_p2p: %s: %zd of %zu bytes: %s\n", what, n, len, n < 0 ? strerror(errno) : "");
	return false;
}

static int run(int disk, uint8_t *peer, uint8_t *memory, size_t len)
{
	for (unsigned round = 0; round < 8; round++) {
		/* Memory → disk → peer. */
		fill(memory, len, round);
		if (!all(pwrite(disk, memory, len, OFFSET), len, "write from memory"))
			return 1;
		memset(peer, 0xee, len);
		if (!all(pread(disk, peer, len, OFFSET), len, "read into the peer") ||
		    !is_filled(peer, len, round, "what was read into the peer"))
			return 1;
		/* Peer → disk → memory. */
		fill(peer, len, round + 100);
		if (!all(pwrite(disk, peer, len, OFFSET), len, "write from the peer"))
			return 1;
		memset(memory, 0xee, len);
		if (!all(pread(disk, memory, len, OFFSET), len, "read into memory") ||
		    !is_filled(memory, len, round + 100, "what was written from the peer"))
			return 1;
	}
	return 0;
}

int main(int argc, char **argv)
{
	size_t len = argc > 3 ? strtoul(argv[3], NULL, 0) : DEFAULT_BYTES;
	uint8_t *peer, *memory;
	int fd, disk;

	if (argc < 3)
		return 2;
	fd = open(argv[1], O_RDWR);
	if (fd < 0)
		return failed(argv[1]);
	peer = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (peer == MAP_FAILED)
		return failed("mmap of the peer's memory");
	memory = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (memory == MAP_FAILED)
		return failed("mmap");
	disk = open(argv[2], O_RDWR | O_DIRECT | O_SYNC);
	if (disk < 0)
		return failed(argv[2]);
	return run(disk, peer, memory, len);
}
