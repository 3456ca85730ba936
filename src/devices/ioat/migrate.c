/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The state of the engine for its migration:
 *
 *	IOAT version 1: u8 version of the engine, u8 channels, u8 messages: what must agree; u8
 *	                GENCTRL, u8 INTRCTRL, u16 INTRDELAY, u32 ATTNSTATUS, u32 channels whose
 *	                message waits for INTRCTRL, u32 CHANERR_INT, u32 CHANERRMSK_INT (of version
 *	                3.2, else 0)
 *	CHAN version 1, one for each channel, from 0 on: u8 which; u16 CHANCTRL, u16 DMACOUNT, u64
 *	                CHAINADDR, u64 CHANCMP, u32 CHANERR, u32 CHANERRMSK, u32 DCACTRL; u8 state,
 *	                u16 descriptors that have completed, u64 address of the last one, u64 of the
 *	                next one; u16 flags (enum flag); u64 ns until it starts, u64 ns until it
 *	                interrupts, or 0.  In the middle of a descriptor (WITHIN) then: u64 its
 *	                address; u32 size, u32 control, u64 source, u64 destination, u64 next, as it
 *	                was read; u32 bytes of it that were moved; what was read of the next piece,
 *	                if it was
 *
 * Theory of operation.  A device that is paused has no transfer with the core, and each channel is
 * between two descriptors or between two pieces of one.  A piece that was cut short is moved again:
 * it goes to the same place, and from the same source, of which nothing may have changed; where it
 * overlaps with the destination it may, so what was read goes along.  Descriptors that were read
 * ahead are read again.  Delays stand still; what is left of them goes along.
 *
 * Registers may be written while the device is paused (P2P), and what that asks for is recorded as
 * ever, and begins afterwards.  No interrupt is raised meanwhile.
 *
 * What comes is checked, each value alone and with those that it must agree with, before any of it
 * is used; what can be wrong here would be data moved to a place that no descriptor named, or a
 * channel that never ends.  Addresses in it are a guest's, and checked by the IOMMU as ever.
 */
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <uvfio/migration.h>

#include "devices/ioat/ioat.h"

#define VERSION 1u

enum flag {
	FLAG_FIRST = 1 << 0,    /* the next descriptor is that of CHAINADDR */
	FLAG_FAILED = 1 << 1,   /* an error has halted the channel */
	FLAG_BUSY = 1 << 2,     /* a descriptor or a completion is in hand */
	FLAG_SUSPEND = 1 << 3,  /* CHANCMD: after that */
	FLAG_COMMAND = 1 << 4,  /* it was wrong: likewise */
	FLAG_REARMED = 1 << 5,  /* an interrupt that was held back is due */
	FLAG_INT_HELD = 1 << 6, /* one is, until it is enabled */
	FLAG_REPORT = 1 << 7,   /* a completion is to be written */
	FLAG_INT = 1 << 8,      /* and to interrupt */
	FLAG_WITHIN = 1 << 9,   /* in the middle of a descriptor */
	FLAGS = (1 << 10) - 1
};

bool ioat_paused(const struct ioat_dev *d)
{
	return uvfio_paused(d->dev);
}

void ioat_stop_delays(struct ioat_dev *d)
{
	for (unsigned i = 0; i < d->nr_chans; i++) {
		struct ioat_chan *ch = &d->chans[i];
		uint64_t start = ioat_wait_end(&ch->delay), raise = ioat_wait_end(&ch->int_delay);

		if (raise)
			ch->int_wait_ns = raise;
		ch->waiting = false;
		pthread_mutex_lock(&d->lock);
		if (start && !ch->wait_ns)
			ch->wait_ns = start;
		pthread_mutex_unlock(&d->lock);
	}
}

void ioat_resume_delays(struct ioat_dev *d)
{
	for (unsigned i = 0; i < d->nr_chans; i++) {
		struct ioat_chan *ch = &d->chans[i];

		if (ch->int_wait_ns)
			ioat_int_delay(ch, ch->int_wait_ns);
		ch->int_wait_ns = 0;
	}
}

/* ---- saving ---- */

static void save_device(struct ioat_dev *d, struct uvfio_save *out)
{
	uvfio_save_section(out, "IOAT", VERSION);
	uvfio_save_u8(out, (uint8_t)d->version);
	uvfio_save_u8(out, (uint8_t)d->nr_chans);
	uvfio_save_u8(out, (uint8_t)d->nr_vectors);
	uvfio_save_u8(out, d->genctrl);
	uvfio_save_u8(out, d->intrctrl);
	uvfio_save_u16(out, d->intrdelay);
	uvfio_save_u32(out, d->attn);
	uvfio_save_u32(out, d->unsent);
	uvfio_save_u32(out, d->config_errors ? uvfio_config_get(d->dev, IOAT_CHANERR_INT, 4) : 0);
	uvfio_save_u32(out,
		       d->config_errors ? uvfio_config_get(d->dev, IOAT_CHANERRMSK_INT, 4) : 0);
}

static uint16_t flags_of(const struct ioat_chan *ch)
{
	const struct {
		bool set;
		enum flag flag;
	} flags[] = {
		{ch->first, FLAG_FIRST},
		{ch->failed, FLAG_FAILED},
		{ch->busy, FLAG_BUSY},
		{ch->suspending, FLAG_SUSPEND},
		{ch->command_error, FLAG_COMMAND},
		{ch->rearmed, FLAG_REARMED},
		{ch->int_held, FLAG_INT_HELD},
		{ch->report_due, FLAG_REPORT},
		{ch->int_due, FLAG_INT},
		{ch->phase == IOAT_PHASE_MOVE, FLAG_WITHIN},
	};
	unsigned all = 0;

	for (unsigned i = 0; i < sizeof(flags) / sizeof(flags[0]); i++)
		all |= flags[i].set ? flags[i].flag : 0;
	return (uint16_t)all;
}

static void save_descriptor(const struct ioat_chan *ch, struct uvfio_save *out)
{
	uvfio_save_u64(out, ch->desc_addr);
	uvfio_save_u32(out, ch->desc.size);
	uvfio_save_u32(out, ch->desc.control);
	uvfio_save_u64(out, ch->desc.src);
	uvfio_save_u64(out, ch->desc.dst);
	uvfio_save_u64(out, ch->desc.next);
	uvfio_save_u32(out, ch->moved);
	if (ch->held)
		uvfio_save_bytes(out, ch->bounce, ch->piece);
}

static void save_channel(const struct ioat_chan *ch, struct uvfio_save *out)
{
	uvfio_save_section(out, "CHAN", VERSION);
	uvfio_save_u8(out, (uint8_t)ch->index);
	uvfio_save_u16(out, (uint16_t)ch->regs[IOAT_REG_CHANCTRL]);
	uvfio_save_u16(out, (uint16_t)ch->regs[IOAT_REG_DMACOUNT]);
	uvfio_save_u64(out, ch->regs[IOAT_REG_CHAINADDR]);
	uvfio_save_u64(out, ch->regs[IOAT_REG_CHANCMP]);
	uvfio_save_u32(out, (uint32_t)ch->regs[IOAT_REG_CHANERR]);
	uvfio_save_u32(out, (uint32_t)ch->regs[IOAT_REG_CHANERRMSK]);
	uvfio_save_u32(out, (uint32_t)ch->regs[IOAT_REG_DCACTRL]);
	uvfio_save_u8(out, ch->state);
	uvfio_save_u16(out, ch->count);
	uvfio_save_u64(out, ch->done);
	uvfio_save_u64(out, ch->next);
	uvfio_save_u16(out, flags_of(ch));
	uvfio_save_u64(out, ch->wait_ns);
	uvfio_save_u64(out, ch->int_wait_ns);
	if (ch->phase == IOAT_PHASE_MOVE)
		save_descriptor(ch, out);
}

int ioat_save(void *priv, struct uvfio_save *out, bool stopped, bool first)
{
	struct ioat_dev *d = priv;

	if (!stopped)
		return 0; /* nothing of it is worth the while before */
	/* What transfers came to is looked at, and resets take effect.  Then each channel is in
	 * one of two phases. */
	for (unsigned i = 0; i < d->nr_chans; i++) {
		int budget = INT_MAX;

		ioat_chan_run(&d->chans[i], &budget);
	}
	ioat_stop_delays(d);
	pthread_mutex_lock(&d->lock);
	save_device(d, out);
	for (unsigned i = 0; i < d->nr_chans; i++)
		save_channel(&d->chans[i], out);
	pthread_mutex_unlock(&d->lock);
	return 0;
}

/* ---- loading ---- */

struct chan_aside {
	bool there;
	uint64_t regs[IOAT_NR_REGS];
	uint8_t state;
	uint16_t count, flags;
	uint64_t done, next, wait_ns, int_wait_ns, desc_addr;
	struct ioat_desc desc;
	uint32_t moved, piece;
	uint8_t *held; /* of @piece bytes; NULL: it was not read */
};

/* What has come. */
struct ioat_aside {
	bool there;
	uint8_t genctrl, intrctrl;
	uint16_t intrdelay;
	uint32_t attn, unsent, errors, mask;
	struct chan_aside chans[IOAT_MAX_CHANNELS];
};

static int load_device(struct ioat_dev *d, struct uvfio_load *in, struct ioat_aside *a,
		       struct uvfio_error *err)
{
	uint32_t channels = (1u << d->nr_chans) - 1, errors = d->config_errors ? IOAT_ERRORS : 0;
	uint8_t version = uvfio_load_u8(in), nr_chans = uvfio_load_u8(in);
	uint8_t nr_vectors = uvfio_load_u8(in);

	if (version != d->version || nr_chans != d->nr_chans || nr_vectors != d->nr_vectors)
		return uvfio_error_set(
			err, -EINVAL,
			"the stream is of an engine of version %u.%u with %u channels and %u "
			"messages, and this one has %u.%u, %u and %u: start it with the same "
			"options",
			version >> 4, version & 15, nr_chans, nr_vectors, d->version >> 4,
			d->version & 15, d->nr_chans, d->nr_vectors);
	a->genctrl = uvfio_load_u8(in);
	a->intrctrl = uvfio_load_u8(in);
	a->intrdelay = uvfio_load_u16(in);
	a->attn = uvfio_load_u32(in);
	a->unsent = uvfio_load_u32(in);
	a->errors = uvfio_load_u32(in);
	a->mask = uvfio_load_u32(in);
	if (!uvfio_load_ok(in) || a->genctrl & ~IOAT_GENCTRL_RW ||
	    a->intrctrl & ~IOAT_INTRCTRL_RW || a->intrdelay & ~IOAT_INTRDELAY_US ||
	    (a->attn | a->unsent) & ~channels || (a->errors | a->mask) & ~errors)
		return uvfio_error_set(err, -EINVAL, "section IOAT makes no sense");
	a->there = true;
	return 0;
}

static void load_descriptor(struct uvfio_load *in, struct chan_aside *c)
{
	c->desc_addr = uvfio_load_u64(in);
	c->desc.size = uvfio_load_u32(in);
	c->desc.control = uvfio_load_u32(in);
	c->desc.src = uvfio_load_u64(in);
	c->desc.dst = uvfio_load_u64(in);
	c->desc.next = uvfio_load_u64(in);
	c->moved = uvfio_load_u32(in);
}

/* Can a channel be in the middle of that, with @held bytes read of the next piece? */
static bool descriptor_valid(struct chan_aside *c, size_t held)
{
	enum ioat_error error;
	uint64_t value;

	if (c->state != IOAT_ACTIVE || !(c->flags & FLAG_BUSY) || !c->desc_addr ||
	    c->desc_addr & 63 || c->desc.control & IOAT_DESC_NULL ||
	    !ioat_desc_valid(&c->desc, &error, &value) || c->moved >= c->desc.size ||
	    c->moved % IOAT_CHUNK)
		return false;
	c->piece = c->desc.size - c->moved;
	if (c->piece > IOAT_CHUNK)
		c->piece = IOAT_CHUNK;
	return !held || (held == c->piece && IOAT_DESC_OP(c->desc.control) == IOAT_OP_COPY);
}

static bool channel_valid(const struct chan_aside *c)
{
	const unsigned control =
		IOAT_CHANCTRL_RW | IOAT_CHANCTRL_INT_DISABLE | IOAT_CHANCTRL_IN_USE;

	return !(c->regs[IOAT_REG_CHANCTRL] & ~(uint64_t)control) &&
	       !(c->regs[IOAT_REG_CHANERR] & ~(uint64_t)IOAT_ERRORS) && c->state < IOAT_NR_STATES &&
	       !(c->done & ~IOAT_CHANSTS_ADDR) && !(c->flags & ~FLAGS) &&
	       (!(c->flags & FLAG_SUSPEND) || c->flags & FLAG_BUSY) &&
	       c->wait_ns <= IOAT_MAX_DELAY_NS && c->int_wait_ns <= IOAT_INTRDELAY_US * 1000ull;
}

static int load_channel(struct ioat_dev *d, struct uvfio_load *in, struct ioat_aside *a,
			struct uvfio_error *err)
{
	uint8_t index = uvfio_load_u8(in);
	struct chan_aside *c = index < d->nr_chans ? &a->chans[index] : NULL;
	bool valid;
	size_t held;

	if (!c || c->there)
		return uvfio_error_set(err, -EINVAL, "a section CHAN of channel %u %s", index,
				       c ? "comes twice" : "does not belong here");
	c->regs[IOAT_REG_DMA_COMP] = IOAT_DMA_COMP_V2 | IOAT_DMA_COMP_V3;
	c->regs[IOAT_REG_CHANCTRL] = uvfio_load_u16(in);
	c->regs[IOAT_REG_DMACOUNT] = uvfio_load_u16(in);
	c->regs[IOAT_REG_CHAINADDR] = uvfio_load_u64(in);
	c->regs[IOAT_REG_CHANCMP] = uvfio_load_u64(in);
	c->regs[IOAT_REG_CHANERR] = uvfio_load_u32(in);
	c->regs[IOAT_REG_CHANERRMSK] = uvfio_load_u32(in);
	c->regs[IOAT_REG_DCACTRL] = uvfio_load_u32(in);
	c->state = uvfio_load_u8(in);
	c->count = uvfio_load_u16(in);
	c->done = uvfio_load_u64(in);
	c->next = uvfio_load_u64(in);
	c->flags = uvfio_load_u16(in);
	c->wait_ns = uvfio_load_u64(in);
	c->int_wait_ns = uvfio_load_u64(in);
	valid = channel_valid(c);
	if (c->flags & FLAG_WITHIN) {
		load_descriptor(in, c);
		held = uvfio_load_left(in);
		valid = valid && descriptor_valid(c, held);
		if (valid && held) {
			c->held = malloc(held);
			if (!c->held)
				return uvfio_error_set(err, -ENOMEM, "out of memory");
			memcpy(c->held, uvfio_load_bytes(in, held), held);
		}
	}
	if (!valid || !uvfio_load_ok(in))
		return uvfio_error_set(err, -EINVAL, "section CHAN of channel %u makes no sense",
				       index);
	c->there = true;
	return 0;
}

int ioat_load(void *priv, struct uvfio_load *in, bool first, struct uvfio_error *err)
{
	struct ioat_dev *d = priv;

	if (first)
		ioat_forget(d);
	if (!d->aside)
		d->aside = calloc(1, sizeof(*d->aside));
	if (!d->aside)
		return uvfio_error_set(err, -ENOMEM, "out of memory");
	if (uvfio_load_is(in, "IOAT") || uvfio_load_is(in, "CHAN")) {
		if (uvfio_load_version(in) != VERSION)
			return uvfio_error_set(
				err, -EINVAL,
				"section %s is of version %u, which is not known here",
				uvfio_load_kind(in), uvfio_load_version(in));
		if (uvfio_load_is(in, "CHAN"))
			return load_channel(d, in, d->aside, err);
		if (!d->aside->there)
			return load_device(d, in, d->aside, err);
	}
	return uvfio_error_set(err, -EINVAL, "a section %s does not belong here",
			       uvfio_load_kind(in));
}

void ioat_forget(void *priv)
{
	struct ioat_dev *d = priv;

	for (unsigned i = 0; d->aside && i < IOAT_MAX_CHANNELS; i++)
		free(d->aside->chans[i].held);
	free(d->aside);
	d->aside = NULL;
}

static int complete(const struct ioat_dev *d, struct uvfio_error *err)
{
	const struct ioat_aside *a = d->aside;

	if (!a || !a->there)
		return uvfio_error_set(err, -EINVAL, "the stream lacks section IOAT");
	for (unsigned i = 0; i < d->nr_chans; i++) {
		if (!a->chans[i].there)
			return uvfio_error_set(err, -EINVAL,
					       "the stream lacks section CHAN of channel %u", i);
	}
	return 0;
}

/* The lock is held. */
static void commit_channel(struct ioat_chan *ch, const struct chan_aside *c)
{
	bool within = c->flags & FLAG_WITHIN;

	memcpy(ch->regs, c->regs, sizeof(ch->regs));
	ch->state = (enum ioat_state)c->state;
	ch->count = c->count;
	ch->done = c->done;
	ch->next = c->next;
	ch->first = c->flags & FLAG_FIRST;
	ch->failed = c->flags & FLAG_FAILED;
	ch->busy = c->flags & FLAG_BUSY;
	ch->suspending = c->flags & FLAG_SUSPEND;
	ch->command_error = c->flags & FLAG_COMMAND;
	ch->rearmed = c->flags & FLAG_REARMED;
	ch->int_held = c->flags & FLAG_INT_HELD;
	ch->report_due = c->flags & FLAG_REPORT;
	ch->int_due = c->flags & FLAG_INT;
	ch->resetting = ch->new_chain = ch->new_count = ch->ended = false;
	ch->wait_ns = c->wait_ns;
	ch->int_wait_ns = c->int_wait_ns;
	ch->phase = within ? IOAT_PHASE_MOVE : IOAT_PHASE_NEXT;
	ch->desc_addr = c->desc_addr;
	ch->desc = c->desc;
	ch->moved = c->moved;
	ch->piece = c->piece;
	ch->held = c->held;
	if (c->held)
		memcpy(ch->bounce, c->held, c->piece);
	else if (within && IOAT_DESC_OP(c->desc.control) == IOAT_OP_FILL)
		ioat_prepare_fill(ch);
}

int ioat_commit(void *priv, struct uvfio_error *err)
{
	struct ioat_dev *d = priv;
	const struct ioat_aside *a = d->aside;
	int r = complete(d, err);

	if (r)
		return r;
	for (unsigned i = 0; i < d->nr_chans; i++)
		ioat_chan_reset(&d->chans[i]);
	pthread_mutex_lock(&d->lock);
	d->genctrl = a->genctrl;
	d->intrctrl = a->intrctrl;
	d->intrdelay = a->intrdelay;
	d->attn = a->attn;
	d->unsent = a->unsent;
	for (unsigned i = 0; i < d->nr_chans; i++)
		commit_channel(&d->chans[i], &a->chans[i]);
	ioat_publish_all(d);
	if (d->config_errors) {
		uvfio_config_set(d->dev, IOAT_CHANERR_INT, 4, UINT32_MAX, a->errors);
		uvfio_config_set(d->dev, IOAT_CHANERRMSK_INT, 4, UINT32_MAX, a->mask);
	}
	pthread_mutex_unlock(&d->lock);
	ioat_forget(d);
	return 0;
}

uint64_t ioat_size(void *priv)
{
	const struct ioat_dev *d = priv;

	/* A header, contents and a checksum each, and no piece that was read: that is seldom. */
	return 40 + 28 + d->nr_chans * (40 + 144ull);
}
