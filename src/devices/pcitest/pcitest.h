/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The test device: what its files share.
 *
 * Two threads meet here: whoever accesses a register, and the work context, which moves data.  The
 * lock guards what both know: the registers, the counters, the command.  It is held for a few
 * stores, and never while data is moved.
 */
#ifndef PCITEST_H
#define PCITEST_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <uvfio/device.h>

#include "devices/pcitest/pcitest_spec.h"

/* A transfer is cut into pieces of this, and ->work() moves at most so much in a call. */
#define PCITEST_CHUNK  65536u
#define PCITEST_BUDGET (4 * PCITEST_CHUNK)

/* What the engine does next.  The work context's. */
enum pcitest_phase {
	PCITEST_PHASE_IDLE, /* takes a command, when there is one */
	PCITEST_PHASE_MOVE, /* starts the next piece */
	PCITEST_PHASE_WAIT, /* a piece is with the core */
	PCITEST_NR_PHASES
};

struct pcitest_command {
	uint64_t address;
	uint32_t length, buffer, command;
};

struct pcitest {
	struct uvfio_device *dev;
	unsigned nr_vectors;  /* messages that the function has */
	uint64_t memory_size; /* bytes of BAR 2 */
	uint8_t *memory;

	pthread_mutex_t lock;
	/* Under the lock: */
	uint64_t scratch;
	uint32_t intx;
	struct pcitest_command regs; /* as the driver writes them */
	struct pcitest_command next; /* taken from them when the command was written */
	bool has_next;
	enum pcitest_status status;
	uint32_t error, ended, config_writes;
	uint32_t pme_delay;       /* µs; 0: none is asked for */
	uint32_t counts[6][2][4]; /* BAR, read or write, log2 of the width */

	/* The work context's: */
	enum pcitest_phase phase;
	struct pcitest_command now;
	uint32_t moved; /* bytes of it */
	bool stopped, quiescing;
	struct uvfio_dma op;
	struct uvfio_timer *pme_timer;

	/* Since the device was made; any thread reads them. */
	uint64_t accesses[2];         /* reads, writes: under the lock */
	uint64_t transfers, failures; /* the work context's */
	uint64_t bytes[2];            /* read, written: likewise */
};

/* ---- caps.c ---- */

/* What is data alone, and the vital product data. */
#define PCITEST_VPD_BYTES 68u
#define PCITEST_VPD_RW    52u /* from here on it may be written */
void pcitest_vpd(uint8_t out[PCITEST_VPD_BYTES]);
#define PCITEST_ROM_BYTES 512u
void pcitest_rom(uint8_t out[PCITEST_ROM_BYTES], uint16_t vendor, uint16_t device);
/* The capabilities, extended ones behind @nr_standard.  Returns how many. */
unsigned pcitest_caps(const struct uvfio_cap_desc **caps, unsigned *nr_standard);

/* ---- regs.c: see struct uvfio_model ---- */

void pcitest_reg_write(void *priv, unsigned bar, uint64_t offset, unsigned size, uint64_t value);
uint64_t pcitest_reg_read(void *priv, unsigned bar, uint64_t offset, unsigned size);
void pcitest_config_write(void *priv, unsigned offset, unsigned size, uint32_t value);
/* Everything as after power-on.  [work context] */
void pcitest_regs_reset(struct pcitest *p);
/* The command has ended: 0, or -errno.  [work context] */
void pcitest_command_end(struct pcitest *p, int result);

/* ---- engine.c: the work context ---- */

bool pcitest_work(void *priv);
void pcitest_pme(void *arg); /* the timer */
void pcitest_quiesce(void *priv);
void pcitest_resume(void *priv);
void pcitest_engine_reset(struct pcitest *p);

#endif
