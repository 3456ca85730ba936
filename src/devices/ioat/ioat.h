/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The I/OAT DMA engine: what its files share.
 *
 * Two threads meet here: whoever writes a register, and the work context, which moves data.  One
 * lock for a device guards the registers and the states of the channels, so that a register write
 * takes effect before it returns: a driver that resets a channel, gives it a new chain and rings
 * finds the state that these have when it reads CHANSTS next, however busy the machine is.
 *
 * The lock is held for a few stores, and while the 8 bytes of a completion are written to memory
 * that is mapped here.  Without that a driver could see the completion in memory, reset the channel
 * at once, and be told that the channel is still at work.  It is not held across a transfer that
 * goes on by messages, nor while data is moved.
 */
#ifndef IOAT_H
#define IOAT_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <uvfio/device.h>

#include "devices/ioat/ioat_spec.h"

struct uvfio_save;
struct uvfio_load;

#define IOAT_MAX_CHANNELS 4u /* what Linux takes */
#define IOAT_MAX_VFS      64u

/* Bytes that are moved at a time. */
#define IOAT_CHUNK 65536u

/*
 * One call of ->work() does at most this much: bytes, where a descriptor counts as some beside its
 * data.
 */
#define IOAT_BUDGET           (512 * 1024)
#define IOAT_DESCRIPTOR_COSTS 512

#define IOAT_MAX_DELAY_NS     10000000000ull

/* Descriptors that are read at once. */
#define IOAT_AHEAD 16u

/* A register of a table: how it is published, and what writing does is regs.c's. */
enum ioat_reg {
	IOAT_REG_CHANCTRL,
	IOAT_REG_DMA_COMP,
	IOAT_REG_CHANCMD,
	IOAT_REG_DMACOUNT,
	IOAT_REG_CHANSTS,
	IOAT_REG_CHAINADDR,
	IOAT_REG_CHANCMP,
	IOAT_REG_CHANERR,
	IOAT_REG_CHANERRMSK,
	IOAT_REG_DCACTRL,
	IOAT_NR_REGS
};

/* What a channel does next.  The work context's. */
enum ioat_phase {
	IOAT_PHASE_NEXT,   /* nothing of a descriptor is done */
	IOAT_PHASE_FETCH,  /* its 64 bytes are being read */
	IOAT_PHASE_MOVE,   /* between two pieces of its data */
	IOAT_PHASE_READ,   /* a piece is being read */
	IOAT_PHASE_WRITE,  /* and written */
	IOAT_PHASE_REPORT, /* a completion is being written */
	IOAT_NR_PHASES
};

enum ioat_op { IOAT_COUNT_COPY, IOAT_COUNT_FILL, IOAT_COUNT_NULL, IOAT_NR_OPS };

struct ioat_chan_stats {
	uint64_t descriptors[IOAT_NR_OPS];
	uint64_t bytes[IOAT_NR_OPS];
	uint64_t errors[IOAT_NR_ERRORS];
	uint64_t reports; /* written to CHANCMP */
	uint64_t interrupts;
	uint64_t doorbells, resets; /* under the lock */
};

/* A delay, of which is known how much is left.  The work context's. */
struct ioat_wait {
	struct uvfio_timer *timer;
	uint64_t due_ns; /* monotonic; 0: nothing is waited for */
};

struct ioat_dev;

struct ioat_chan {
	struct ioat_dev *dev;
	unsigned index;

	/* Under the lock: */
	uint64_t regs[IOAT_NR_REGS];
	enum ioat_state state;
	uint16_t count;     /* descriptors of this chain that have completed */
	uint64_t done;      /* address of the last one, or 0 */
	uint64_t next;      /* of the next one */
	bool first;         /* which is that of CHAINADDR */
	bool failed;        /* an error has halted it, and neither CHANCMD nor CHANERR ended that */
	bool busy;          /* the work context has a descriptor or a completion in hand */
	bool resetting;     /* CHANCMD: when it has not */
	bool suspending;    /* after this descriptor */
	bool command_error; /* CHANCMD was wrong: after this descriptor */
	bool new_chain;     /* CHAINADDR was written while resetting */
	bool new_count;     /* and DMACOUNT after that */
	uint64_t wait_ns;   /* a doorbell has started the channel: this is to pass first */
	bool rearmed;       /* CHANCTRL: an interrupt that was held back is due */
	bool int_held;      /* one was due while they were disabled */

	/* The work context's: */
	enum ioat_phase phase;
	bool in_flight; /* ->op is with the core */
	bool waiting;   /* for ->delay */
	bool held;      /* ->bounce has the piece that ->moved begins, to be written again */
	bool ended;     /* ->desc is done, and not counted yet */
	bool report_due, int_due;
	bool report_old; /* it was due before this turn */
	unsigned no_pin; /* so many pieces are not tried to be pinned */
	struct ioat_desc desc;
	uint64_t desc_addr;
	/* Descriptors that lie one after the other, read at once: those from [ahead_at] on are
	 * still to come, the first of them from address ->ahead_addr. */
	struct ioat_desc ahead[IOAT_AHEAD];
	uint64_t ahead_addr;
	unsigned ahead_at, nr_ahead;
	uint32_t moved, piece; /* bytes */
	struct uvfio_dma op;
	uint64_t report; /* what is written to CHANCMP */
	struct ioat_wait delay, int_delay;
	uint64_t int_wait_ns; /* paused: an interrupt is due so much after it */
	uint8_t *bounce;      /* IOAT_CHUNK bytes */

	struct ioat_chan_stats stats;
};

struct ioat_dev {
	struct uvfio_device *dev;
	unsigned version;   /* 0x34 */
	bool config_errors; /* there is CHANERR_INT in config space */
	unsigned nr_chans;
	unsigned nr_vectors; /* messages that the function has: MSI-X one a channel, MSI one */
	uint64_t delay_ns, start_delay_ns;

	pthread_mutex_t lock;
	/* Under the lock: */
	uint8_t genctrl, intrctrl;
	uint16_t intrdelay;
	uint32_t attn;
	uint32_t unsent; /* channels whose message was not sent because of INTRCTRL */
	bool intx;       /* level that was set last */

	/* The work context's: */
	bool stopped, quiescing;
	unsigned in_flight;       /* transfers */
	unsigned turn;            /* the channel that is served first */
	struct ioat_aside *aside; /* migrate.c */

	struct ioat_chan chans[IOAT_MAX_CHANNELS];
};

/* ---- regs.c ---- */

extern const char *const ioat_state_names[IOAT_NR_STATES];

void ioat_reg_write(void *priv, unsigned bar, uint64_t offset, unsigned size, uint64_t value);
uint64_t ioat_reg_read(void *priv, unsigned bar, uint64_t offset, unsigned size);
/* Everything as after power-on.  The device is quiet.  [work context] */
void ioat_regs_reset(struct ioat_dev *d);
/* Under the lock: */
void ioat_publish(struct ioat_chan *ch, enum ioat_reg reg, uint64_t value);
void ioat_set_state(struct ioat_chan *ch, enum ioat_state state);
uint64_t ioat_chansts(const struct ioat_chan *ch);
/* The work context has nothing in hand any more: what CHANCMD asked for, and what was written
 * since, takes effect. */
void ioat_chan_free(struct ioat_chan *ch);
/* All registers as the state has them. */
void ioat_publish_all(struct ioat_dev *d);
/* The bits of INTRCTRL and INTx follow.  Returns true when messages are to be sent. */
bool ioat_irq_update(struct ioat_dev *d);

/* ---- desc.c ---- */

static inline enum ioat_op ioat_desc_op(const struct ioat_desc *desc)
{
	if (desc->control & IOAT_DESC_NULL)
		return IOAT_COUNT_NULL;
	return IOAT_DESC_OP(desc->control) == IOAT_OP_FILL ? IOAT_COUNT_FILL : IOAT_COUNT_COPY;
}

/* Would a channel begin with this descriptor?  Else *@error, and *@value is what was wrong. */
bool ioat_desc_valid(const struct ioat_desc *desc, enum ioat_error *error, uint64_t *value);

/* ---- channel.c: the work context ---- */

/* Go on with @ch.  Takes what it costs from *@budget; true when that was not enough. */
bool ioat_chan_run(struct ioat_chan *ch, int *budget);
void ioat_chan_reset(struct ioat_chan *ch);
void ioat_delay_over(void *chan);
/* The buffer is filled with a fill's pattern. */
void ioat_prepare_fill(struct ioat_chan *ch);

/* ---- irq.c: the work context ---- */

/* @ch has reason to interrupt. */
void ioat_irq_cause(struct ioat_chan *ch);
void ioat_int_delay_over(void *chan);
/* An interrupt comes in so many ns; while the device is paused, that long after it. */
void ioat_int_delay(struct ioat_chan *ch, uint64_t ns);
/* What registers have made possible. */
void ioat_irq_run(struct ioat_dev *d);

/* ---- wait.c: the work context ---- */

void ioat_wait_begin(struct ioat_wait *wait, uint64_t ns);
/* Returns what was left of it: 0 when nothing was waited for, else at least 1. */
uint64_t ioat_wait_end(struct ioat_wait *wait);

/* ---- migrate.c: see struct uvfio_migration_ops ---- */

int ioat_save(void *priv, struct uvfio_save *out, bool stopped, bool first);
int ioat_load(void *priv, struct uvfio_load *in, bool first, struct uvfio_error *err);
int ioat_commit(void *priv, struct uvfio_error *err);
void ioat_forget(void *priv);
uint64_t ioat_size(void *priv);
/* It is quiet to be moved, or may be: what happened by itself happens later. */
bool ioat_paused(const struct ioat_dev *d);
/* Delays stand still, until work() and ioat_resume_delays(). */
void ioat_stop_delays(struct ioat_dev *d);
void ioat_resume_delays(struct ioat_dev *d);

/* ---- stats.c ---- */

void ioat_stats(void *priv, struct uvfio_stats *out);

#endif
