/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the cases about devices that are moved share (E): states, sessions of data, and the stream.
 * A case skips a device that cannot be moved (no device of a plain kernel's vfio-pci can), and what
 * needs to know the device's registers skips all but the test device (docs/devices/pcitest.md).
 */
#ifndef RULES_E_H
#define RULES_E_H

#include "facts.h"

#define GET   VFIO_DEVICE_FEATURE_GET
#define SET   VFIO_DEVICE_FEATURE_SET
#define PROBE VFIO_DEVICE_FEATURE_PROBE

/* The features, and the states by their numbers (E.2). */
enum { MIGRATION = 1, STATE = 2, DATA_SIZE = 9, REINIT = 12 };
enum { ERROR, STOP, RUNNING, STOP_COPY, RESUMING, RUNNING_P2P, PRE_COPY, PRE_COPY_P2P, NR_STATES };
enum { CAN_STOP_COPY = 1, CAN_P2P = 2, CAN_PRE_COPY = 4 };

const char *state_name(unsigned state);
/* VFIO_DEVICE_FEATURE with @len bytes of @data, which come back: 0 or -errno. */
long feature_call(struct t *t, uint32_t argsz, uint32_t flags, void *data, size_t len);
/* What the device can; skips the case when it cannot be moved, or not with all of @wanted. */
unsigned movable(struct t *t, unsigned wanted);
bool has_state(unsigned can, unsigned state);
#define NO_FD_YET 12345
/* SET: 0 or -errno, and the descriptor that came back (NULL: it is closed). */
long set_state(struct t *t, uint32_t target, int *fd);
/* All that were given, at the end of a case. */
void close_sessions(void);
/* GET: the state, or -errno. */
long get_state(struct t *t);
/* The same, recorded by its name. */
void see_state(struct t *t, const char *label, unsigned want);

/* A stream: all of what a session gives, in memory. */
struct stream {
	uint8_t *bytes;
	size_t len, room;
};
/* Until the end: 0 or -errno (-ENOMSG, where it comes before). */
long read_all(struct t *t, int fd, struct stream *s);
long write_all(int fd, const void *bytes, size_t len);
/* RUNNING → STOP_COPY, all of it, → RUNNING again. */
void save_stream(struct t *t, struct stream *s);
/* → RESUMING, @len bytes, → STOP: the first error, or 0. */
long load_stream(struct t *t, const void *bytes, size_t len);
/* To a state, from RUNNING, by way of a whole stream where it is RESUMING.  Ends the case when that
 * cannot be. */
int go(struct t *t, unsigned state);

/* ---- registers of the test device ---- */

void needs_pcitest(struct t *t);
void reg_put(struct t *t, uint32_t at, uint32_t value);
uint32_t reg_get(struct t *t, uint32_t at);
/* A transfer between @iova and BAR 2 at @buffer. */
void dma_begin(struct t *t, uint64_t iova, uint32_t length, uint32_t buffer, uint32_t command);
/* Until DMA_COUNT is @count, or it cannot be any more. */
bool dma_ended(struct t *t, uint32_t count);
void memory_put(struct t *t, uint32_t at, const void *bytes, size_t len);
void memory_get(struct t *t, uint32_t at, void *bytes, size_t len);

extern const struct section section_e2, section_e3, section_e3_stream, section_e3_stopped,
	section_e3_mapped, section_e3_fails, section_a10_migration;

#endif
