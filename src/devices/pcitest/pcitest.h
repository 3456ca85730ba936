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
	bool pads;            /* it has BAR 1 and BAR 4: no VF */
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
	uint32_t fail;            /* the register */
	uint32_t counts[6][2][4]; /* BAR, read or write, log2 of the width */

	uint64_t mailbox, pf_data; /* of a VF */
	bool host;

	/* SR-IOV.  A PF's lock is taken before a VF's, and guards which there are. */
	struct pcitest *pf;   /* of a VF; constant */
	unsigned index;       /* likewise */
	struct pcitest **vfs; /* of a PF */
	unsigned total_vfs, num_vfs;
	uint64_t vf_memory; /* bytes of a VF's BAR 2; constant */
	uint32_t vf_select, vf_status;
	uint64_t vf_data;

	/* The work context's: */
	enum pcitest_phase phase;
	struct pcitest_command now;
	uint32_t moved; /* bytes of it */
	bool stopped, quiescing;
	bool paused;                 /* stopped to be moved: the command goes on later */
	struct pcitest_aside *aside; /* migrate.c */
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
/* ROLE, and what goes with it.  The lock is held. */
void pcitest_publish_role(struct pcitest *p);
/* Publish one of 4 bytes or 8 in BAR 0.  The same. */
void pcitest_publish(struct pcitest *p, uint64_t offset, unsigned size, uint64_t value);
/* The command has ended: 0, or -errno.  [work context] */
void pcitest_command_end(struct pcitest *p, int result);

/* Every register of BAR 0 that is not kept there, from what is known.  The lock is held. */
void pcitest_publish_all(struct pcitest *p, enum pcitest_status status, int error, uint32_t intx);

/* ---- migrate.c: see struct uvfio_migration_ops ---- */

struct uvfio_save;
struct uvfio_load;
int pcitest_save(void *priv, struct uvfio_save *out, bool stopped, bool first);
int pcitest_load(void *priv, struct uvfio_load *in, bool first, struct uvfio_error *err);
int pcitest_commit(void *priv, struct uvfio_error *err);
void pcitest_forget(void *priv);
int pcitest_leave(void *priv, struct uvfio_error *err);
int pcitest_enter(void *priv, struct uvfio_error *err);
uint64_t pcitest_size(void *priv);

/* ---- vfs.c: SR-IOV ---- */

/* What the keys say; only @total has no default.  0: no VFs. */
struct pcitest_vfs {
	uint64_t total, vectors, pool, min, memory, resize;
};
/* The description of a PF with @o, in @sriov and @vf, with their areas, which all live in @room. */
struct pcitest_vf_room {
	struct uvfio_sriov_desc sriov;
	struct uvfio_pci_desc vf;
	struct uvfio_area memory;
};
void pcitest_vfs_describe(const struct pcitest_vfs *o, struct uvfio_pci_desc *pf,
			  struct pcitest_vf_room *room);
int pcitest_vf_create(void *priv, unsigned index, struct uvfio_device *vf, void **out,
		      struct uvfio_error *err);
int pcitest_vf_vectors(void *priv, unsigned index, unsigned n);
/* VF_COMMAND was written.  The PF's lock is held. */
void pcitest_vf_command(struct pcitest *pf, uint32_t command);
/* A VF is being destroyed. */
void pcitest_vf_gone(struct pcitest *vf);
void pcitest_host_driver(void *priv, bool bound);

/* ---- model.c ---- */

/* A function's data and its timer, freed by ->destroy(); NULL without memory. */
struct pcitest *pcitest_new(struct uvfio_device *dev);

/* ---- engine.c: the work context ---- */

bool pcitest_work(void *priv);
/* Does the command make sense? */
bool pcitest_command_valid(const struct pcitest *p, const struct pcitest_command *c);
/* Go on with @now, of which @moved bytes were moved, after the next resume. */
void pcitest_engine_set(struct pcitest *p, bool moving, const struct pcitest_command *now,
			uint32_t moved);
void pcitest_pme(void *arg); /* the timer */
void pcitest_quiesce(void *priv);
void pcitest_resume(void *priv);
void pcitest_engine_reset(struct pcitest *p);

#endif
