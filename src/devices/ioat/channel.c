/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A channel at work: descriptors, their data, completions.
 *
 * Theory of operation.  A channel takes one step after the other, in the work context:
 *
 *     NEXT ──▶ FETCH ──▶ MOVE ◀──▶ READ ──▶ WRITE ──▶ MOVE … ──▶ NEXT
 *      └─────▶ REPORT ──▶ NEXT
 *
 * Where a transfer goes on by messages the channel stops with ->in_flight, and is run again when it
 * is done.  NEXT looks at what registers ask for: so a reset or a suspend waits for at most one
 * descriptor, and a reset, which MOVE looks for as well, for one piece of it.  Memory that is
 * mapped here at both ends is copied directly, a piece at a time, other memory through a buffer.
 *
 * Completions are not written for each descriptor: what CHANCMP is to say is written when there is
 * nothing more to do, before an interrupt, and when a turn is over or has found it so.  A driver
 * cannot tell that from an engine which is a little faster.  The one that says that all is done is
 * written under the lock, with the change of the state (ioat.h).
 *
 * A driver links its descriptors in any order, but they mostly lie one after the other.  So as many
 * are read at once as the driver has said to be there (DMACOUNT) and as lie in one page, which is
 * mapped or not as a whole.  One that the chain does not lead to next is not used, nor is any in a
 * later turn.
 *
 * A chain that never ends, or that leads to itself, is no trouble: DMACOUNT bounds it, and a turn
 * has its budget.
 */
#include <errno.h>
#include <string.h>

#include "devices/ioat/ioat.h"

#define MAX_IOV 16
/* So many pieces of memory that could not be pinned, and the next is not tried. */
#define NO_PIN 64u
#define PAGE   4096u /* the least that is mapped */

enum step {
	STEP_ON,     /* take the next step */
	STEP_STOP,   /* nothing to do until something happens */
	STEP_BUDGET, /* until the next turn */
};

static const char *const error_texts[IOAT_NR_ERRORS] = {
	[IOAT_ERR_SOURCE] = "source address",
	[IOAT_ERR_DESTINATION] = "destination address",
	[IOAT_ERR_NEXT] = "address of the next descriptor",
	[IOAT_ERR_DESCRIPTOR] = "reading a descriptor",
	[IOAT_ERR_CHAIN] = "CHAINADDR",
	[IOAT_ERR_COMMAND] = "CHANCMD",
	[IOAT_ERR_READ] = "reading data",
	[IOAT_ERR_WRITE] = "writing data",
	[IOAT_ERR_CONTROL] = "descriptor control",
	[IOAT_ERR_LENGTH] = "descriptor length",
	[IOAT_ERR_COMPLETION] = "CHANCMP",
};

/* ---- transfers ---- */

static void op_done(struct uvfio_dma *op)
{
	struct ioat_chan *ch = (struct ioat_chan *)((char *)op - offsetof(struct ioat_chan, op));
	struct ioat_dev *d = ch->dev;

	ch->in_flight = false;
	d->in_flight--;
	if (d->quiescing && !d->in_flight) {
		d->quiescing = false;
		uvfio_quiesced(d->dev);
	}
	uvfio_kick(d->dev);
}

/* As uvfio_dma_submit(): with 1 the channel is run again, with ->op.status. */
static int submit(struct ioat_chan *ch, uint64_t iova, void *buf, size_t len, bool to_client)
{
	int r;

	if (ch->dev->stopped)
		return -EPERM;
	ch->op = (struct uvfio_dma){
		.iova = iova, .buf = buf, .len = len, .to_client = to_client, .done = op_done};
	r = uvfio_dma_submit(ch->dev->dev, &ch->op);
	if (r == 1) {
		ch->in_flight = true;
		ch->dev->in_flight++;
	}
	return r;
}

/* ---- completions ---- */

/* What CHANCMP is to say.  As uvfio_dma_submit().  The lock is held. */
static int report(struct ioat_chan *ch, enum ioat_state state)
{
	uint64_t address = ch->regs[IOAT_REG_CHANCMP];

	if (address & 7)
		return -EFAULT;
	ch->report = ch->done | state;
	uvfio_count_local(&ch->stats.reports, 1);
	return submit(ch, address, &ch->report, sizeof(ch->report), true);
}

/* The lock is held. */
static void set_error(struct ioat_chan *ch, enum ioat_error error)
{
	uvfio_count_local(&ch->stats.errors[error], 1);
	ioat_publish(ch, IOAT_REG_CHANERR, ch->regs[IOAT_REG_CHANERR] | 1u << error);
	if (ch->dev->config_errors &&
	    !(uvfio_config_get(ch->dev->dev, IOAT_CHANERRMSK_INT, 4) & 1u << error))
		uvfio_config_set(ch->dev->dev, IOAT_CHANERR_INT, 4, 1u << error, UINT32_MAX);
}

/* What the last report came to.  The lock is held.  Returns true to go on. */
static bool report_ended(struct ioat_chan *ch, int status)
{
	ch->report_due = ch->report_old = false;
	if (!status)
		return true;
	set_error(ch, IOAT_ERR_COMPLETION);
	ch->failed = true;
	ioat_set_state(ch, IOAT_HALTED);
	return false;
}

static bool error_interrupts(const struct ioat_chan *ch, enum ioat_error error)
{
	return ch->regs[IOAT_REG_CHANCTRL] & IOAT_CHANCTRL_ERR_INT &&
	       !(ch->regs[IOAT_REG_CHANERRMSK] & 1u << error);
}

/* Halt.  @address is for the log. */
static enum step fail(struct ioat_chan *ch, enum ioat_error error, uint64_t address)
{
	struct ioat_dev *d = ch->dev;
	bool interrupt = false;
	int r = 0;

	uvfio_device_log(d->dev, UVFIO_LOG_INFO,
			 "ioat: channel %u halted at descriptor 0x%llx: %s 0x%llx", ch->index,
			 (unsigned long long)ch->desc_addr, error_texts[error],
			 (unsigned long long)address);
	ch->phase = IOAT_PHASE_NEXT;
	ch->nr_ahead = 0;
	pthread_mutex_lock(&d->lock);
	ch->command_error = false;
	if (ch->resetting) {
		uvfio_count_local(&ch->stats.errors[error], 1);
		/* The driver does not want to know any more. */
		pthread_mutex_unlock(&d->lock);
		return STEP_ON;
	}
	ch->busy = true;
	ch->failed = true;
	set_error(ch, error);
	if (error_interrupts(ch, error))
		ch->int_due = true;
	/* What has completed before is told in any case. */
	if (ch->regs[IOAT_REG_CHANCTRL] & IOAT_CHANCTRL_ERR_COMPLETE)
		r = report(ch, IOAT_HALTED);
	else if (ch->report_due)
		r = report(ch, IOAT_ACTIVE);
	ioat_set_state(ch, IOAT_HALTED);
	if (r == 1) {
		ch->phase = IOAT_PHASE_REPORT;
	} else if (r == -EPERM) {
		ch->report_due = true;
	} else {
		report_ended(ch, r);
		interrupt = ch->int_due;
		ch->int_due = false;
		ioat_chan_free(ch);
	}
	pthread_mutex_unlock(&d->lock);
	if (interrupt)
		ioat_irq_cause(ch);
	return r == 1 || r == -EPERM ? STEP_STOP : STEP_ON;
}

static bool is_resetting(struct ioat_chan *ch)
{
	bool resetting;

	pthread_mutex_lock(&ch->dev->lock);
	resetting = ch->resetting;
	pthread_mutex_unlock(&ch->dev->lock);
	return resetting;
}

/* A transfer of data, or of a descriptor, was refused or lost.  -EPERM: bus mastering is off, and
 * it is done again when that has changed, unless the channel is being reset. */
static enum step lost(struct ioat_chan *ch, int status, enum ioat_phase again,
		      enum ioat_error refused, enum ioat_error gone, uint64_t address)
{
	if (status == -EPERM) {
		if (is_resetting(ch)) {
			ch->phase = IOAT_PHASE_NEXT;
			return STEP_ON;
		}
		ch->phase = again;
		return STEP_STOP;
	}
	return fail(ch, status == -EFAULT ? refused : gone, address);
}

/* ---- data ---- */

static enum step source_lost(struct ioat_chan *ch, int status)
{
	return lost(ch, status, IOAT_PHASE_MOVE, IOAT_ERR_SOURCE, IOAT_ERR_READ,
		    ch->desc.src + ch->moved);
}

static enum step destination_lost(struct ioat_chan *ch, int status)
{
	return lost(ch, status, IOAT_PHASE_MOVE, IOAT_ERR_DESTINATION, IOAT_ERR_WRITE,
		    ch->desc.dst + ch->moved);
}

static bool not_pinned(int r)
{
	return r == -ENOTSUP || r == -E2BIG || r == -ENOMEM;
}

/* The caches fetch the lines of a page at both ends side by side; the copy alone asks for fewer at
 * a time, and each locked instruction behind it waits for the last. */
static void prefetch(const char *to, const char *from, size_t len)
{
	if (len > PAGE)
		len = PAGE;
	for (size_t i = 0; i < len; i += 64) {
		__builtin_prefetch(from + i);
		__builtin_prefetch(to + i, 1);
	}
}

/* Copy @len bytes between two lists of at least as many. */
static int copy_iov(struct iovec *to, struct iovec *from, size_t len)
{
	while (len) {
		size_t n = to->iov_len < from->iov_len ? to->iov_len : from->iov_len;

		prefetch(to->iov_base, from->iov_base, n);
		if (uvfio_copy(to->iov_base, from->iov_base, n))
			return -EFAULT;
		to->iov_base = (char *)to->iov_base + n;
		from->iov_base = (char *)from->iov_base + n;
		to->iov_len -= n;
		from->iov_len -= n;
		len -= n;
		if (!to->iov_len)
			to++;
		if (!from->iov_len)
			from++;
	}
	return 0;
}

/* Copy the piece from memory to memory.  False when that cannot be done: through the buffer then,
 * which also finds out whose memory has gone. */
static bool copy_direct(struct ioat_chan *ch, enum step *step)
{
	struct uvfio_device *dev = ch->dev->dev;
	uint64_t src = ch->desc.src + ch->moved, dst = ch->desc.dst + ch->moved;
	struct iovec from[MAX_IOV], to[MAX_IOV];
	struct uvfio_dma_pin from_pin, to_pin;
	int r;

	if (ch->no_pin) {
		ch->no_pin--;
		return false;
	}
	r = uvfio_dma_pin(dev, src, ch->piece, false, from, MAX_IOV, &from_pin);
	if (r < 0) {
		if (not_pinned(r)) {
			ch->no_pin = NO_PIN;
			return false;
		}
		*step = source_lost(ch, r);
		return true;
	}
	r = uvfio_dma_pin(dev, dst, ch->piece, true, to, MAX_IOV, &to_pin);
	if (r < 0) {
		uvfio_dma_unpin(dev, &from_pin);
		if (not_pinned(r)) {
			ch->no_pin = NO_PIN;
			return false;
		}
		*step = destination_lost(ch, r);
		return true;
	}
	r = copy_iov(to, from, ch->piece);
	uvfio_dma_unpin(dev, &to_pin);
	uvfio_dma_unpin(dev, &from_pin);
	if (r)
		return false;
	ch->moved += ch->piece;
	*step = STEP_ON;
	return true;
}

static enum step written(struct ioat_chan *ch, int status)
{
	if (status == 1) {
		ch->phase = IOAT_PHASE_WRITE;
		return STEP_STOP;
	}
	/* What was read once is not read again: where source and destination overlap it may have
	 * been written over, in part. */
	ch->held = status == -EPERM && ioat_desc_op(&ch->desc) == IOAT_COUNT_COPY;
	if (status)
		return destination_lost(ch, status);
	ch->moved += ch->piece;
	ch->phase = IOAT_PHASE_MOVE;
	return STEP_ON;
}

static enum step have_read(struct ioat_chan *ch, int status)
{
	if (status == 1) {
		ch->phase = IOAT_PHASE_READ;
		return STEP_STOP;
	}
	if (status)
		return source_lost(ch, status);
	return written(ch, submit(ch, ch->desc.dst + ch->moved, ch->bounce, ch->piece, true));
}

static enum step completed(struct ioat_chan *ch)
{
	const struct ioat_desc *desc = &ch->desc;
	enum ioat_op op = ioat_desc_op(desc);

	uvfio_count_local(&ch->stats.descriptors[op], 1);
	if (op != IOAT_COUNT_NULL)
		uvfio_count_local(&ch->stats.bytes[op], desc->size);
	if (desc->control & IOAT_DESC_COMPLETE)
		ch->report_due = true;
	if (desc->control & IOAT_DESC_INT)
		ch->int_due = true;
	ch->phase = IOAT_PHASE_NEXT;
	ch->ended = true; /* look() is next */
	return STEP_ON;
}

void ioat_prepare_fill(struct ioat_chan *ch)
{
	size_t len = ch->desc.size < IOAT_CHUNK ? ch->desc.size : IOAT_CHUNK;

	for (size_t i = 0; i < len; i += sizeof(ch->desc.src))
		memcpy(ch->bounce + i, &ch->desc.src, sizeof(ch->desc.src));
}

static enum step move(struct ioat_chan *ch, int *budget)
{
	struct ioat_dev *d = ch->dev;
	enum step step;

	if (ch->moved == ch->desc.size || ch->desc.control & IOAT_DESC_NULL)
		return completed(ch);
	/* look() has just seen it, before the first piece. */
	if ((ch->moved || d->stopped) && is_resetting(ch)) {
		ch->phase = IOAT_PHASE_NEXT;
		return STEP_ON;
	}
	if (d->stopped)
		return STEP_STOP;
	if (*budget <= 0)
		return STEP_BUDGET;
	ch->piece = ch->desc.size - ch->moved;
	if (ch->piece > IOAT_CHUNK)
		ch->piece = IOAT_CHUNK;
	*budget -= (int)ch->piece;
	if (ioat_desc_op(&ch->desc) == IOAT_COUNT_FILL) {
		if (!ch->moved)
			ioat_prepare_fill(ch);
		return have_read(ch, 0);
	}
	if (ch->held)
		return have_read(ch, 0);
	if (copy_direct(ch, &step))
		return step;
	return have_read(ch, submit(ch, ch->desc.src + ch->moved, ch->bounce, ch->piece, false));
}

/* ---- descriptors ---- */

/* As uvfio_dma_submit(), of the descriptor at ->desc_addr and those behind it, at most @max. */
static int fetch(struct ioat_chan *ch, unsigned max)
{
	unsigned n = (unsigned)(PAGE - ch->desc_addr % PAGE) / sizeof(ch->desc);

	if (ch->ahead_at < ch->nr_ahead && ch->ahead_addr == ch->desc_addr)
		return 0;
	if (n > max)
		n = max;
	ch->ahead_at = 0;
	ch->nr_ahead = n < IOAT_AHEAD ? n : IOAT_AHEAD;
	ch->ahead_addr = ch->desc_addr;
	return submit(ch, ch->desc_addr, ch->ahead, ch->nr_ahead * sizeof(ch->desc), false);
}

static enum step fetched(struct ioat_chan *ch, int status)
{
	const struct ioat_desc *desc = &ch->desc;
	enum ioat_error where = ch->first ? IOAT_ERR_CHAIN : IOAT_ERR_NEXT, error;
	uint64_t value;

	if (status == 1) {
		ch->phase = IOAT_PHASE_FETCH;
		return STEP_STOP;
	}
	if (status) {
		ch->nr_ahead = 0;
		return lost(ch, status, IOAT_PHASE_NEXT, where, IOAT_ERR_DESCRIPTOR, ch->desc_addr);
	}
	ch->desc = ch->ahead[ch->ahead_at++];
	ch->ahead_addr += sizeof(ch->desc);
	ch->moved = 0;
	ch->held = false;
	ch->phase = IOAT_PHASE_MOVE;
	if (!ioat_desc_valid(desc, &error, &value))
		return fail(ch, error, value);
	return STEP_ON;
}

static enum ioat_state reported_state(const struct ioat_chan *ch, bool pending)
{
	if (ch->state == IOAT_HALTED)
		return IOAT_HALTED;
	return pending ? IOAT_ACTIVE : IOAT_IDLE;
}

/*
 * Between two descriptors.  The lock is held; what is left to do without it is in *@address (a
 * descriptor to fetch) and *@interrupt.
 */
static enum step next(struct ioat_chan *ch, const int *budget, uint64_t *address, bool *interrupt)
{
	bool pending =
		ch->state == IOAT_ACTIVE && (uint16_t)ch->regs[IOAT_REG_DMACOUNT] != ch->count;
	bool more = pending && !ch->suspending;

	if ((ch->report_due || ch->int_due) &&
	    (!more || ch->int_due || ch->report_old || *budget <= 0)) {
		int r = ch->report_due ? report(ch, reported_state(ch, pending)) : 0;

		if (r == 1) {
			ch->phase = IOAT_PHASE_REPORT;
			return STEP_STOP;
		}
		if (r == -EPERM)
			return STEP_STOP;
		*interrupt = ch->int_due;
		ch->int_due = false;
		if (ch->report_due && !report_ended(ch, r))
			pending = more = false;
		else if (more)
			ioat_set_state(ch, ch->state); /* how far it is */
	}
	if (more && *budget <= 0) {
		ioat_set_state(ch, ch->state);
		return STEP_BUDGET;
	}
	if (!more) {
		if (ch->state == IOAT_ACTIVE && !pending)
			ioat_set_state(ch, IOAT_IDLE);
		ioat_chan_free(ch);
		return STEP_STOP;
	}
	ch->busy = true;
	*address = ch->desc_addr = ch->next;
	return STEP_ON;
}

static enum step look(struct ioat_chan *ch, int *budget)
{
	struct ioat_dev *d = ch->dev;
	bool interrupt = false, first;
	uint64_t address = 0, wait_ns;
	unsigned there;
	enum step step = STEP_STOP;

	pthread_mutex_lock(&d->lock);
	if (ch->ended) {
		ch->ended = false;
		ch->count++;
		ch->done = ch->desc_addr;
		ch->next = ch->desc.next;
		ch->first = false;
	}
	if (ch->resetting) {
		ch->report_due = ch->int_due = false;
		ch->nr_ahead = 0;
		ioat_chan_free(ch);
	}
	wait_ns = ioat_paused(d) ? 0 : ch->wait_ns;
	if (wait_ns) {
		ch->wait_ns = 0;
		ch->waiting = true;
	}
	if (ch->command_error && !d->stopped) {
		pthread_mutex_unlock(&d->lock);
		return fail(ch, IOAT_ERR_COMMAND, 0);
	}
	if (!d->stopped && !ch->waiting)
		step = next(ch, budget, &address, &interrupt);
	first = ch->first;
	there = (uint16_t)(ch->regs[IOAT_REG_DMACOUNT] - ch->count);
	pthread_mutex_unlock(&d->lock);
	if (wait_ns)
		ioat_wait_begin(&ch->delay, wait_ns);
	if (interrupt)
		ioat_irq_cause(ch);
	if (step != STEP_ON)
		return step;
	*budget -= IOAT_DESCRIPTOR_COSTS;
	if (!address || address & 63)
		return fail(ch, first ? IOAT_ERR_CHAIN : IOAT_ERR_NEXT, address);
	return fetched(ch, fetch(ch, there));
}

/* A completion that was written by messages. */
static enum step reported(struct ioat_chan *ch, int status)
{
	struct ioat_dev *d = ch->dev;

	ch->phase = IOAT_PHASE_NEXT;
	pthread_mutex_lock(&d->lock);
	if (status == -EPERM)
		ch->report_due = true;
	else if (!ch->resetting)
		report_ended(ch, status);
	pthread_mutex_unlock(&d->lock);
	return STEP_ON;
}

void ioat_delay_over(void *chan)
{
	struct ioat_chan *ch = chan;

	ioat_wait_end(&ch->delay);
	ch->waiting = false;
	uvfio_kick(ch->dev->dev);
}

bool ioat_chan_run(struct ioat_chan *ch, int *budget)
{
	enum step step = STEP_ON;

	if (ch->in_flight)
		return false;
	ch->report_old = ch->report_due;
	if (ch->phase != IOAT_PHASE_FETCH)
		ch->nr_ahead = 0;
	while (step == STEP_ON) {
		switch (ch->phase) {
		case IOAT_PHASE_NEXT:
			step = look(ch, budget);
			break;
		case IOAT_PHASE_FETCH:
			step = fetched(ch, ch->op.status);
			break;
		case IOAT_PHASE_MOVE:
			step = move(ch, budget);
			break;
		case IOAT_PHASE_READ:
			step = have_read(ch, ch->op.status);
			break;
		case IOAT_PHASE_WRITE:
			step = written(ch, ch->op.status);
			break;
		case IOAT_PHASE_REPORT:
			step = reported(ch, ch->op.status);
			break;
		case IOAT_NR_PHASES:
			return false;
		}
	}
	return step == STEP_BUDGET;
}

void ioat_chan_reset(struct ioat_chan *ch)
{
	ioat_wait_end(&ch->delay);
	ioat_wait_end(&ch->int_delay);
	ch->int_wait_ns = 0;
	ch->phase = IOAT_PHASE_NEXT;
	ch->waiting = ch->held = ch->report_due = ch->int_due = false;
	ch->no_pin = ch->nr_ahead = 0;
}
