/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Memory for DMA, and what becomes of it: two pcitest devices in one container, the DMA engine of
 * the first one moving data between its BAR 2 and whatever is mapped.
 */
#ifndef TESTS_CLIENTS_MEMORY_CLIENT_H
#define TESTS_CLIENTS_MEMORY_CLIENT_H

#include <errno.h>
#include <fcntl.h>
#include <linux/vfio.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define PAGE      4096ul
#define HUGE      (2ul << 20)
#define RW        (PROT_READ | PROT_WRITE)
#define IOVA      0x10000000ull

#define DMA_READ  VFIO_DMA_MAP_FLAG_READ
#define DMA_WRITE VFIO_DMA_MAP_FLAG_WRITE

extern int failures;
/* What is being done, for messages. */
extern const char *doing;

#define CHECK(ok)                                                                                  \
	do {                                                                                       \
		if (!(ok)) {                                                                       \
			failures++;                                                                \
			printf("FAIL %s: %s, line %d: %s (%s)\n", doing, __FILE__, __LINE__, #ok,  \
			       strerror(errno));                                                   \
		}                                                                                  \
	} while (0)
#define NEED(ok)                                                                                   \
	do {                                                                                       \
		if (!(ok)) {                                                                       \
			printf("FAIL %s: %s, line %d: %s (%s)\n", doing, __FILE__, __LINE__, #ok,  \
			       strerror(errno));                                                   \
			exit(1);                                                                   \
		}                                                                                  \
	} while (0)

/* Registers of BAR 0, of pcitest. */
enum { SCRATCH = 0x08, DMA_ADDRESS = 0x20, DMA_STATUS = 0x34, DMA_ERROR = 0x38 };

struct device {
	int group, fd;
	uint64_t bar[6]; /* where the regions are */
};
extern struct device devices[2];
extern int container;

void open_devices(void);
/* Those of a process that was this one before an exec: the numbers are the same. */
void look_at_devices(void);
uint64_t read_register(const struct device *d, uint64_t off, unsigned size);
void write_register(const struct device *d, uint64_t off, uint64_t value, unsigned size);
void set_command(const struct device *d, unsigned command);

/* 0 or -errno. */
int dma_map(uint64_t iova, const void *p, uint64_t size, unsigned flags);
int dma_unmap(uint64_t iova, uint64_t size);
/* VADDR: the address is invalid, or new. */
int vaddr_invalidate(uint64_t iova, uint64_t size);
int vaddr_update(uint64_t iova, const void *p, uint64_t size);

/* The first device moves @len bytes between its BAR 2 at @buffer and @iova: 0 or its errno. */
int dma_move(uint64_t iova, uint32_t len, uint32_t buffer, bool to_memory);
/* The same, of 8 bytes of value: written, or read. */
int dma_put(uint64_t iova, uint64_t value);
int dma_get(uint64_t iova, uint64_t *value);

/* Does the device see memory at @iova as @p shows it, and the other way round? */
void check_both_ways(uint64_t iova, volatile uint64_t *p);
/* Neither; both fail with @error. */
void check_neither(uint64_t iova, int error);

/* memory_kinds.c */
void kinds_of_memory(void);
void later_changes(void);
/* memory_process.c */
void other_processes(void);
void reexec(char **argv);
void after_exec(char **argv);
/* memory_bars.c */
void bars(void);
void bars_change(void);
void foreign_bars(const char *policy);

#endif
