/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A runner reduced to what the helper needs, for its tests: it starts a scenario of this same
 * program as a client with the helper preloaded, answers its notifications, and notes what came.
 */
#ifndef TESTS_HELPER_RUNNER_H
#define TESTS_HELPER_RUNNER_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define DEV_FD    100 /* in the client: the device */
#define SHARED_FD 101 /* in the client: struct shared */

/* The device's pages, from offset 1 TiB. */
#define DEV_BASE (1ull << 40)
enum { REGS = 0, REG_PAGES = 4, MEM = 4, READS = 5, OFF = 6, PAGES = 8 };

#define LOG_SIZE (1u << 20)

struct entry {
	uint32_t offset; /* from DEV_BASE */
	uint32_t size;
	uint64_t value;
};

struct shared {
	_Atomic unsigned hellos, maps, loads, closes, stores;
	/* Of ioctls with VFIO_DEVICE_GET_INFO: how many came with the key, and with bytes; of the
	 * last one those. */
	_Atomic unsigned keyed, carried;
	uint64_t bytes[2];
	char fatal[600];
	struct entry log[LOG_SIZE];
};

extern struct shared *shared;

/* In the test: run @scenario; returns its wait status.  @mmio NULL: without UVFIO_MMIO. */
int runner_run(const char *scenario, const char *mmio);
void runner_init(void);

/* In the client. */
void client_init(void);

#endif
