/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The DMA engine: one command at a time, cut into pieces.
 *
 *      IDLE ──a command──▶ MOVE ──the core goes on with a piece later──▶ WAIT
 *       ▲                  │  ▲                                            │
 *       └──all, or error───┘  └───────────────it has───────────────────────┘
 *
 * All of it runs in the work context, so there is nothing to lock but the command and its result.
 * When the device must become quiet no further piece is started, and what is left of the command
 * fails: as on hardware, where a bus master that is switched off gets no answer.  Unless it is
 * paused to be moved: then the command goes on afterwards, here or elsewhere.
 */
#include <assert.h>
#include <errno.h>
#include <stddef.h>
#include <uvfio/migration.h>

#include "devices/pcitest/pcitest.h"

static const char *const phase_names[] = {
	[PCITEST_PHASE_IDLE] = "idle",
	[PCITEST_PHASE_MOVE] = "moving",
	[PCITEST_PHASE_WAIT] = "waiting",
};
static_assert(sizeof(phase_names) / sizeof(phase_names[0]) == PCITEST_NR_PHASES, "a name each");

static void set_phase(struct pcitest *p, enum pcitest_phase phase)
{
	if (p->phase != phase)
		uvfio_device_log(p->dev, UVFIO_LOG_DEBUG, "engine: %s -> %s", phase_names[p->phase],
				 phase_names[phase]);
	p->phase = phase;
}

/* Which way it goes is index 0, to BAR 2, or 1, to memory. */
static bool to_client(const struct pcitest *p)
{
	return (p->now.command & PCITEST_CMD_OPERATION) == PCITEST_CMD_WRITE;
}

static void end(struct pcitest *p, int result)
{
	uvfio_count_local(result ? &p->failures : &p->transfers, 1);
	set_phase(p, PCITEST_PHASE_IDLE);
	pcitest_command_end(p, result);
}

bool pcitest_command_valid(const struct pcitest *p, const struct pcitest_command *c)
{
	uint32_t operation = c->command & PCITEST_CMD_OPERATION;

	if (operation != PCITEST_CMD_READ && operation != PCITEST_CMD_WRITE)
		return false;
	if (!c->length || c->length > p->memory_size || c->buffer > p->memory_size - c->length)
		return false;
	return c->address <= UINT64_MAX - (c->length - 1);
}

static void piece_moved(struct pcitest *p)
{
	p->moved += (uint32_t)p->op.len;
	uvfio_count_local(&p->bytes[p->op.to_client], p->op.len);
}

static void piece_done(struct uvfio_dma *op)
{
	struct pcitest *p = (struct pcitest *)((char *)op - offsetof(struct pcitest, op));

	set_phase(p, PCITEST_PHASE_MOVE);
	/* A piece that was cut short by a pause is moved again after it. */
	if (op->status && !(p->paused && op->status == -EPERM))
		end(p, op->status);
	else if (!op->status)
		piece_moved(p);
	if (p->quiescing) {
		p->quiescing = false;
		uvfio_quiesced(p->dev);
	}
	uvfio_kick(p->dev);
}

/* Takes what it moves from *@budget. */
static void move(struct pcitest *p, int *budget)
{
	uint32_t left = p->now.length - p->moved;
	int ret;

	if (!left) {
		end(p, 0);
		return;
	}
	if (p->stopped) {
		end(p, -EPERM);
		return;
	}
	p->op = (struct uvfio_dma){
		.iova = p->now.address + p->moved,
		.buf = p->memory + p->now.buffer + p->moved,
		.len = left < PCITEST_CHUNK ? left : PCITEST_CHUNK,
		.to_client = to_client(p),
		.done = piece_done,
	};
	*budget -= (int)p->op.len;
	ret = uvfio_dma_submit(p->dev, &p->op);
	if (ret == 1)
		set_phase(p, PCITEST_PHASE_WAIT);
	else if (ret)
		end(p, ret);
	else
		piece_moved(p);
}

static bool take_command(struct pcitest *p)
{
	bool taken;

	pthread_mutex_lock(&p->lock);
	taken = p->has_next;
	p->now = p->next;
	p->has_next = false;
	pthread_mutex_unlock(&p->lock);
	return taken;
}

/* ---- power management events ---- */

void pcitest_pme(void *arg)
{
	struct pcitest *p = arg;

	uvfio_pme_raise(p->dev);
}

static void take_pme(struct pcitest *p)
{
	uint32_t delay;

	pthread_mutex_lock(&p->lock);
	delay = p->pme_delay;
	p->pme_delay = 0;
	pthread_mutex_unlock(&p->lock);
	if (delay)
		uvfio_timer_arm(p->pme_timer, delay * 1000ull);
}

bool pcitest_work(void *priv)
{
	struct pcitest *p = priv;
	int budget = PCITEST_BUDGET;

	take_pme(p);
	if (p->phase == PCITEST_PHASE_IDLE && take_command(p)) {
		p->moved = 0;
		set_phase(p, PCITEST_PHASE_MOVE);
		if (!pcitest_command_valid(p, &p->now))
			end(p, -EINVAL);
	}
	while (p->phase == PCITEST_PHASE_MOVE && budget > 0 && !p->paused)
		move(p, &budget);
	return p->phase == PCITEST_PHASE_MOVE && !p->paused;
}

void pcitest_quiesce(void *priv)
{
	struct pcitest *p = priv;

	p->stopped = true;
	p->paused = uvfio_paused(p->dev);
	if (p->phase == PCITEST_PHASE_WAIT)
		p->quiescing = true;
	else
		uvfio_quiesced(p->dev);
}

void pcitest_resume(void *priv)
{
	struct pcitest *p = priv;

	p->stopped = p->paused = false;
	uvfio_kick(p->dev);
}

void pcitest_engine_set(struct pcitest *p, bool moving, const struct pcitest_command *now,
			uint32_t moved)
{
	p->now = *now;
	p->moved = moved;
	set_phase(p, moving ? PCITEST_PHASE_MOVE : PCITEST_PHASE_IDLE);
}

void pcitest_engine_reset(struct pcitest *p)
{
	/* A change of power resets it as well, and leaves it paused. */
	p->stopped = p->paused = uvfio_paused(p->dev);
	p->quiescing = false;
	uvfio_timer_cancel(p->pme_timer);
	set_phase(p, PCITEST_PHASE_IDLE);
}
