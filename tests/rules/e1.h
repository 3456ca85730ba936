/* SPDX-License-Identifier: BSD-3-Clause */
/* What the cases about the migration region share (E.1): finding it, its registers, whole streams.
 */
#ifndef RULES_E1_H
#define RULES_E1_H

#include "e.h"

enum { BIT_RUNNING = 1, BIT_SAVING = 2, BIT_RESUMING = 4, BIT_NDMA = 8 };
enum { AT_STATE = 0, AT_RESERVED = 4, AT_PENDING = 8, AT_OFFSET = 16, AT_SIZE = 24, AT_END = 32 };
enum { CAP_NDMA = 6, TYPE_MIGRATION = 3, SUBTYPE_MIGRATION = 1 };

/* A case runs in a process of its own. */
extern struct e1_region {
	struct vfio_region_info info;
	bool ndma;
	uint64_t window, window_size; /* of the sparse mmap */
	uint32_t caps_end;
} region;

extern struct e1_saved {
	uint8_t bytes[4 << 20];
	size_t len, sizes[512];
	unsigned nr;
} saved;

/* Skips the case when there is none. */
void find(struct t *t);
off_t at(uint64_t offset);
uint64_t get(struct t *t, unsigned reg);
/* 0 or -errno. */
long put(struct t *t, unsigned reg, uint64_t value);
const char *bits_name(uint64_t bits);
void see_bits(struct t *t, const char *label, uint32_t want);
void reset(struct t *t);
/* What there is until pending_bytes is zero goes behind what is saved. */
void save_some(struct t *t);
/* From RUNNING, and back there. */
void save_all(struct t *t);
/* The first error, or 0.  As it was saved. */
long load_saved(struct t *t);

extern const struct section section_e1, section_e1_data, section_e1_fails;

#endif
