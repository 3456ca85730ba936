/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Registers, and the states of a channel.
 *
 *             RESET                CHAINADDR               DMACOUNT
 *     any ───────────▶ HALTED ───────────────▶ ARMED ───────────────▶ ACTIVE ◀──▶ IDLE
 *                        ▲                       ▲                      │  all done, DMACOUNT
 *                        └───────── error ───────┼──────────────────────┤
 *                                                │ CHAINADDR            │ SUSPEND
 *                                                └────── SUSPENDED ◀────┘
 *                                                   RESUME: as it was
 *
 * DMACOUNT is how many descriptors of the chain there are, CHAINADDR starts one: the channel counts
 * what it has completed since, and works while that is another number than DMACOUNT.
 *
 * A write of any width is cut into registers in ascending order, and each takes the bytes that were
 * written: halves and bytes of a register, or several registers at once, are all the same.  What
 * concerns a channel that is at work is done by the work context when it has finished its
 * descriptor (SUSPEND), or the piece of it that is being moved (RESET).
 */
#include <string.h>

#include "devices/ioat/ioat.h"

const char *const ioat_state_names[IOAT_NR_STATES] = {
	[IOAT_ACTIVE] = "active", [IOAT_IDLE] = "idle",   [IOAT_SUSPENDED] = "suspended",
	[IOAT_HALTED] = "halted", [IOAT_ARMED] = "armed",
};

static const struct {
	uint8_t offset, size;
} places[IOAT_NR_REGS] = {
	[IOAT_REG_CHANCTRL] = {IOAT_CHANCTRL, 2},     [IOAT_REG_DMA_COMP] = {IOAT_DMA_COMP, 2},
	[IOAT_REG_CHANCMD] = {IOAT_CHANCMD, 1},       [IOAT_REG_DMACOUNT] = {IOAT_DMACOUNT, 2},
	[IOAT_REG_CHANSTS] = {IOAT_CHANSTS, 8},       [IOAT_REG_CHAINADDR] = {IOAT_CHAINADDR, 8},
	[IOAT_REG_CHANCMP] = {IOAT_CHANCMP, 8},       [IOAT_REG_CHANERR] = {IOAT_CHANERR, 4},
	[IOAT_REG_CHANERRMSK] = {IOAT_CHANERRMSK, 4}, [IOAT_REG_DCACTRL] = {IOAT_DCACTRL, 4},
};

static void publish(struct ioat_dev *d, uint64_t offset, unsigned size, uint64_t value)
{
	uvfio_reg_set(d->dev, IOAT_BAR, offset, size, value);
}

void ioat_publish(struct ioat_chan *ch, enum ioat_reg reg, uint64_t value)
{
	ch->regs[reg] = value;
	publish(ch->dev, IOAT_CHANNEL(ch->index) + places[reg].offset, places[reg].size, value);
}

uint64_t ioat_chansts(const struct ioat_chan *ch)
{
	return ch->done | ch->state;
}

void ioat_set_state(struct ioat_chan *ch, enum ioat_state state)
{
	ch->state = state;
	ioat_publish(ch, IOAT_REG_CHANSTS, ioat_chansts(ch));
}

/* ---- what commands do to a channel that has nothing in hand ---- */

static void arm(struct ioat_chan *ch)
{
	ch->count = 0;
	ch->done = 0;
	ch->next = ch->regs[IOAT_REG_CHAINADDR];
	ch->first = true;
	ioat_set_state(ch, ch->failed ? IOAT_HALTED : IOAT_ARMED);
}

static bool pending(const struct ioat_chan *ch)
{
	return (uint16_t)ch->regs[IOAT_REG_DMACOUNT] != ch->count;
}

static void doorbell(struct ioat_chan *ch)
{
	if ((ch->state != IOAT_ARMED && ch->state != IOAT_IDLE) || !pending(ch))
		return;
	ch->wait_ns = ch->state == IOAT_ARMED ? ch->dev->start_delay_ns : ch->dev->delay_ns;
	ioat_set_state(ch, IOAT_ACTIVE);
}

static void reset(struct ioat_chan *ch)
{
	ch->failed = ch->suspending = ch->command_error = false;
	ch->wait_ns = 0;
	ch->count = 0;
	ch->done = 0;
	ioat_set_state(ch, IOAT_HALTED);
	ioat_publish(ch, IOAT_REG_CHANCMD, 0);
	if (!ch->new_chain)
		ioat_publish(ch, IOAT_REG_CHAINADDR, 0);
	if (!ch->new_count)
		ioat_publish(ch, IOAT_REG_DMACOUNT, 0);
	if (ch->new_chain)
		arm(ch);
	if (ch->new_count)
		doorbell(ch);
	ch->resetting = ch->new_chain = ch->new_count = false;
}

static void suspend(struct ioat_chan *ch)
{
	ch->suspending = false;
	ch->wait_ns = 0;
	ioat_publish(ch, IOAT_REG_CHANCMD, 0);
	if (ch->state == IOAT_ACTIVE || ch->state == IOAT_IDLE)
		ioat_set_state(ch, IOAT_SUSPENDED);
}

void ioat_chan_free(struct ioat_chan *ch)
{
	ch->busy = false;
	if (ch->resetting)
		reset(ch);
	else if (ch->suspending)
		suspend(ch);
}

/* ---- a channel's registers ---- */

static void write_command(struct ioat_chan *ch, uint8_t command)
{
	if (command & IOAT_CHANCMD_RESET) {
		uvfio_count_local(&ch->stats.resets, 1);
		ch->resetting = true;
		ch->new_chain = ch->new_count = false;
		ioat_publish(ch, IOAT_REG_CHANCMD, IOAT_CHANCMD_RESET);
		if (!ch->busy)
			reset(ch);
		return;
	}
	if (ch->resetting)
		return;
	switch (command) {
	case 0:
		break;
	case IOAT_CHANCMD_SUSPEND:
		if (ch->state != IOAT_ACTIVE && ch->state != IOAT_IDLE)
			break;
		ch->suspending = true;
		ioat_publish(ch, IOAT_REG_CHANCMD, IOAT_CHANCMD_SUSPEND);
		if (!ch->busy)
			suspend(ch);
		break;
	case IOAT_CHANCMD_RESUME:
		if (ch->suspending) {
			ch->suspending = false;
			ioat_publish(ch, IOAT_REG_CHANCMD, 0);
		} else if (ch->state == IOAT_SUSPENDED) {
			ioat_set_state(ch, IOAT_IDLE);
			doorbell(ch);
		}
		break;
	default:
		ch->command_error = true;
	}
}

/* Bytes of @mask of register @reg are written with @value. */
static void write_reg(struct ioat_chan *ch, enum ioat_reg reg, uint64_t value, uint64_t mask)
{
	uint64_t old = ch->regs[reg], set;

	value &= mask;
	set = (old & ~mask) | value;
	switch (reg) {
	case IOAT_REG_CHANCTRL:
		set = (set & IOAT_CHANCTRL_RW) | (old & IOAT_CHANCTRL_INT_DISABLE & ~value);
		if (value & IOAT_CHANCTRL_INT_DISABLE && ch->int_held)
			ch->rearmed = true;
		ioat_publish(ch, reg, set);
		break;
	case IOAT_REG_CHANCMD:
		write_command(ch, (uint8_t)value);
		break;
	case IOAT_REG_DMACOUNT:
		uvfio_count_local(&ch->stats.doorbells, 1);
		ioat_publish(ch, reg, set);
		if (ch->resetting)
			ch->new_count = ch->new_chain;
		else
			doorbell(ch);
		break;
	case IOAT_REG_CHAINADDR:
		/* It is not looked at while a chain is being worked on. */
		if (ch->state == IOAT_ACTIVE && !ch->resetting)
			break;
		ioat_publish(ch, reg, set);
		if (ch->resetting)
			ch->new_chain = true;
		else
			arm(ch);
		break;
	case IOAT_REG_CHANERR:
		ioat_publish(ch, reg, old & ~value);
		if (!ch->regs[reg])
			ch->failed = false;
		break;
	case IOAT_REG_CHANCMP:
	case IOAT_REG_CHANERRMSK:
	case IOAT_REG_DCACTRL:
		ioat_publish(ch, reg, set);
		break;
	case IOAT_REG_DMA_COMP:
	case IOAT_REG_CHANSTS:
	case IOAT_NR_REGS:
		break;
	}
}

static uint64_t bytes_mask(unsigned size)
{
	return size == 8 ? UINT64_MAX : (1ull << 8 * size) - 1;
}

/* The part of [@offset, @offset + @size) that lies in a register of @reg_size bytes at @reg: moved
 * to where it is in the register, with a mask of its bytes, which is 0 when there is none. */
static uint64_t part(uint64_t offset, unsigned size, uint64_t value, uint64_t reg,
		     unsigned reg_size, uint64_t *mask)
{
	*mask = 0;
	if (offset >= reg + reg_size || offset + size <= reg)
		return 0;
	value &= bytes_mask(size);
	if (offset >= reg) {
		*mask = bytes_mask(size) << 8 * (offset - reg) & bytes_mask(reg_size);
		return value << 8 * (offset - reg) & *mask;
	}
	*mask = bytes_mask(size) >> 8 * (reg - offset) & bytes_mask(reg_size);
	return value >> 8 * (reg - offset) & *mask;
}

/* ---- the device's registers ---- */

bool ioat_irq_update(struct ioat_dev *d)
{
	bool master = d->intrctrl & IOAT_INTRCTRL_MASTER, level = d->attn && master;
	uint8_t shown = d->intrctrl;

	if (d->attn)
		shown |= IOAT_INTRCTRL_STATUS;
	if (level)
		shown |= IOAT_INTRCTRL_INT;
	publish(d, IOAT_INTRCTRL, 1, shown);
	publish(d, IOAT_ATTNSTATUS, 4, d->attn);
	if (level != d->intx) {
		d->intx = level;
		uvfio_intx_set(d->dev, level);
	}
	return master && d->unsent;
}

static void write_general(struct ioat_dev *d, uint64_t offset, unsigned size, uint64_t value)
{
	uint64_t mask, v;

	v = part(offset, size, value, IOAT_GENCTRL, 1, &mask);
	if (mask) {
		d->genctrl = v & IOAT_GENCTRL_RW;
		publish(d, IOAT_GENCTRL, 1, d->genctrl);
	}
	v = part(offset, size, value, IOAT_INTRCTRL, 1, &mask);
	if (mask) {
		d->intrctrl = v & IOAT_INTRCTRL_RW;
		ioat_irq_update(d);
	}
	v = part(offset, size, value, IOAT_INTRDELAY, 2, &mask);
	if (mask) {
		d->intrdelay = (uint16_t)(((d->intrdelay & ~mask) | v) & IOAT_INTRDELAY_US);
		publish(d, IOAT_INTRDELAY, 2, d->intrdelay | IOAT_INTRDELAY_CAN);
	}
}

void ioat_reg_write(void *priv, unsigned bar, uint64_t offset, unsigned size, uint64_t value)
{
	struct ioat_dev *d = priv;
	struct ioat_chan *ch;
	uint64_t mask, v;

	if (bar != IOAT_BAR || offset >= IOAT_CHANNEL(d->nr_chans))
		return;
	pthread_mutex_lock(&d->lock);
	if (offset < IOAT_CHANNEL(0)) {
		write_general(d, offset, size, value);
	} else {
		ch = &d->chans[offset / IOAT_CHANNEL_SIZE - 1];
		for (unsigned reg = 0; reg < IOAT_NR_REGS; reg++) {
			v = part(offset % IOAT_CHANNEL_SIZE, size, value, places[reg].offset,
				 places[reg].size, &mask);
			if (mask)
				write_reg(ch, (enum ioat_reg)reg, v, mask);
		}
	}
	pthread_mutex_unlock(&d->lock);
	uvfio_kick(d->dev);
}

/* Reading clears INTRCTRL's master enable and ATTNSTATUS, and claims a channel (CHANCTRL).  What
 * was there before is what is read. */
uint64_t ioat_reg_read(void *priv, unsigned bar, uint64_t offset, unsigned size)
{
	struct ioat_dev *d = priv;
	uint64_t value, end = offset + size;

	pthread_mutex_lock(&d->lock);
	value = uvfio_reg_get(d->dev, bar, offset, size);
	if (offset < IOAT_CHANNEL(0)) {
		if (offset <= IOAT_INTRCTRL && end > IOAT_INTRCTRL)
			d->intrctrl &= (uint8_t)~IOAT_INTRCTRL_MASTER;
		/* All channels that there can be are in its first byte. */
		if (offset <= IOAT_ATTNSTATUS && end > IOAT_ATTNSTATUS)
			d->attn = 0;
		ioat_irq_update(d);
	} else {
		struct ioat_chan *ch = &d->chans[offset / IOAT_CHANNEL_SIZE - 1];

		offset %= IOAT_CHANNEL_SIZE;
		if (offset <= IOAT_CHANCTRL + 1 && offset + size > IOAT_CHANCTRL + 1)
			ioat_publish(ch, IOAT_REG_CHANCTRL,
				     ch->regs[IOAT_REG_CHANCTRL] | IOAT_CHANCTRL_IN_USE);
	}
	pthread_mutex_unlock(&d->lock);
	return value;
}

static void reset_channel_regs(struct ioat_chan *ch)
{
	ch->new_chain = ch->new_count = ch->rearmed = ch->int_held = ch->busy = false;
	reset(ch);
	memset(ch->regs, 0, sizeof(ch->regs));
	ch->regs[IOAT_REG_DMA_COMP] = IOAT_DMA_COMP_V2 | IOAT_DMA_COMP_V3;
}

static uint8_t shown_command(const struct ioat_chan *ch)
{
	if (ch->resetting)
		return IOAT_CHANCMD_RESET;
	return ch->suspending ? IOAT_CHANCMD_SUSPEND : 0;
}

void ioat_publish_all(struct ioat_dev *d)
{
	publish(d, IOAT_CHANCNT, 1, d->nr_chans);
	publish(d, IOAT_XFERCAP, 1, IOAT_XFERCAP_LOG2);
	publish(d, IOAT_GENCTRL, 1, d->genctrl);
	publish(d, IOAT_CBVER, 1, d->version);
	publish(d, IOAT_INTRDELAY, 2, d->intrdelay | IOAT_INTRDELAY_CAN);
	publish(d, IOAT_CS_STATUS, 2, 0);
	publish(d, IOAT_DMACAPABILITY, 4, IOAT_CAP_FILL_BLOCK);
	ioat_irq_update(d);
	for (unsigned i = 0; i < d->nr_chans; i++) {
		struct ioat_chan *ch = &d->chans[i];

		for (unsigned reg = 0; reg < IOAT_NR_REGS; reg++)
			ioat_publish(ch, (enum ioat_reg)reg, ch->regs[reg]);
		ioat_publish(ch, IOAT_REG_CHANCMD, shown_command(ch));
		ioat_set_state(ch, ch->state);
	}
}

void ioat_regs_reset(struct ioat_dev *d)
{
	pthread_mutex_lock(&d->lock);
	d->genctrl = d->intrctrl = 0;
	d->intrdelay = 0;
	d->attn = d->unsent = 0;
	for (unsigned i = 0; i < d->nr_chans; i++)
		reset_channel_regs(&d->chans[i]);
	ioat_publish_all(d);
	pthread_mutex_unlock(&d->lock);
}
