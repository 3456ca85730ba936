/* SPDX-License-Identifier: BSD-3-Clause */
/* The BARs of a device: what lies where in them (bar.c).  Constant once the device is made, but for
 * the contents.  For this room. */
#ifndef UVFIO_VFIO_BAR_H
#define UVFIO_VFIO_BAR_H

#include <stdbool.h>
#include <stdint.h>
#include <uvfio/device.h>

#define NR_BARS 6

/* What an offset of a BAR is.  The first three are the model's (enum uvfio_area_kind). */
enum range_kind {
	RANGE_REGISTERS = UVFIO_AREA_REGISTERS,
	RANGE_DOORBELLS = UVFIO_AREA_DOORBELLS,
	RANGE_MEMORY = UVFIO_AREA_MEMORY,
	RANGE_MSIX_TABLE,
	RANGE_MSIX_PBA,
	RANGE_HOLE, /* reads as 0, writes are dropped */
};

struct range {
	uint64_t first, end; /* [first, end) */
	enum range_kind kind;
	unsigned flags; /* UVFIO_AREA_… */
};

struct bar {
	uint64_t size; /* 0: not implemented, or the upper half of a 64-bit one */
	unsigned flags;
	uint64_t address;     /* where firmware placed it */
	struct range *ranges; /* ascending, not overlapping */
	unsigned nr_ranges;
	/* The truth of everything but memory areas: anonymous memory, touched lazily. */
	uint8_t *shadow;
	uint64_t shadow_len; /* a multiple of the page size, ≥ every register's end */
	/* The address range that the model knows as its memory areas: anonymous memory, or the
	 * view's while it is given out. */
	uint8_t *memory;
	uint64_t memory_len;
	bool has_registers; /* registers, doorbells, table: not plain memory */
	bool reads_later;   /* one with UVFIO_AREA_READ_LATER */
};

#endif
