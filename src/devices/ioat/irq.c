/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Interrupts.
 *
 * A cause (a descriptor that asks for it, an error) interrupts once and then sets the channel's
 * Interrupt Disable bit; the driver clears it when it is ready for the next.  A cause that comes
 * meanwhile is kept, and interrupts when the bit is cleared: the driver that looks at its
 * descriptors before it clears the bit misses nothing.  INTRDELAY delays it.
 *
 * Then the channel's bit of ATTNSTATUS is set.  With INTRCTRL's master enable, INTx is asserted
 * while a bit of it is set, or a message is sent for each that is set anew; without it that waits.
 *
 * While the device is paused to be moved nothing of this happens; it does afterwards.
 */
#include "devices/ioat/ioat.h"

/* The lock is held, and let go. */
static void send_and_unlock(struct ioat_dev *d)
{
	uint32_t send = ioat_irq_update(d) && !ioat_paused(d) ? d->unsent : 0;
	bool vectors = d->intrctrl & IOAT_INTRCTRL_VECTORS;

	d->unsent &= ~send;
	pthread_mutex_unlock(&d->lock);
	if (!send || !uvfio_irq_is_message(d->dev))
		return;
	for (unsigned i = 0; i < d->nr_chans; i++) {
		if (send & 1u << i)
			uvfio_irq_raise(d->dev, vectors && i < d->nr_vectors ? i : 0);
	}
}

static void interrupt(struct ioat_chan *ch)
{
	struct ioat_dev *d = ch->dev;

	if (ioat_paused(d)) {
		ch->int_wait_ns = 1;
		return;
	}
	uvfio_count_local(&ch->stats.interrupts, 1);
	pthread_mutex_lock(&d->lock);
	d->attn |= 1u << ch->index;
	d->unsent |= 1u << ch->index;
	send_and_unlock(d);
}

void ioat_int_delay_over(void *chan)
{
	struct ioat_chan *ch = chan;

	ioat_wait_end(&ch->int_delay);
	interrupt(ch);
}

void ioat_int_delay(struct ioat_chan *ch, uint64_t ns)
{
	if (ioat_paused(ch->dev))
		ch->int_wait_ns = ns;
	else
		ioat_wait_begin(&ch->int_delay, ns);
}

void ioat_irq_cause(struct ioat_chan *ch)
{
	struct ioat_dev *d = ch->dev;
	uint64_t delay_us;

	pthread_mutex_lock(&d->lock);
	if (ch->regs[IOAT_REG_CHANCTRL] & IOAT_CHANCTRL_INT_DISABLE) {
		ch->int_held = true;
		pthread_mutex_unlock(&d->lock);
		return;
	}
	ch->int_held = false;
	ioat_publish(ch, IOAT_REG_CHANCTRL,
		     ch->regs[IOAT_REG_CHANCTRL] | IOAT_CHANCTRL_INT_DISABLE);
	delay_us = d->intrdelay;
	pthread_mutex_unlock(&d->lock);
	if (delay_us)
		ioat_int_delay(ch, delay_us * 1000);
	else
		interrupt(ch);
}

void ioat_irq_run(struct ioat_dev *d)
{
	uint32_t rearmed = 0;

	if (ioat_paused(d))
		return;
	pthread_mutex_lock(&d->lock);
	for (unsigned i = 0; i < d->nr_chans; i++) {
		if (d->chans[i].rearmed)
			rearmed |= 1u << i;
		d->chans[i].rearmed = false;
	}
	if (d->unsent)
		send_and_unlock(d);
	else
		pthread_mutex_unlock(&d->lock);
	for (unsigned i = 0; i < d->nr_chans; i++) {
		if (rearmed & 1u << i)
			ioat_irq_cause(&d->chans[i]);
	}
}
