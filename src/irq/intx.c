/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * INTx: a level, delivered as edges with automasking (A.8).
 *
 *	line asserted ∧ active ∧ not masked → masked, and the eventfd is signalled
 *
 * evaluated whenever one of the three changes.  So unmasking while the line is still asserted fires
 * again and stays masked, and there is one mask state for MASK, automask and the virtual DisINTx.
 */
#include "irq/irq_private.h"

/* Under the lock: does the eventfd fire now? */
static bool evaluate(struct irq_intx *intx)
{
	if (!intx->active || (!intx->line && !intx->storm) || intx->masked || intx->held)
		return false;
	if (intx->storm)
		intx->storm--;
	intx->masked = true;
	intx->hw_disabled = true;
	if (intx->pulse)
		intx->line = intx->pulse = false;
	return true;
}

static void set_mask(struct irq_intx *intx, bool masked)
{
	intx->masked = masked;
	intx->hw_disabled = masked;
}

static void fire(struct irq_set *set)
{
	struct irq_trigger *trigger;

	uvfio_rcu_read_lock();
	trigger = atomic_load(&set->intx.trigger);
	if (trigger)
		irq_signal(set, trigger, &set->intx.delivered);
	uvfio_rcu_read_unlock();
}

/* Leave the lock, and fire if that was decided. */
static void leave(struct irq_set *set, bool fires)
{
	pthread_mutex_unlock(&set->intx.lock);
	if (fires)
		fire(set);
}

void irq_intx_level(struct irq_set *set, bool level)
{
	pthread_mutex_lock(&set->intx.lock);
	set->intx.line = level;
	set->intx.pulse = false;
	leave(set, evaluate(&set->intx));
}

void irq_intx_pulse(struct irq_set *set)
{
	pthread_mutex_lock(&set->intx.lock);
	set->intx.pulse |= !set->intx.line;
	set->intx.line = true;
	leave(set, evaluate(&set->intx));
}

void irq_intx_hold(struct irq_set *set, enum irq_hold why, bool hold)
{
	pthread_mutex_lock(&set->intx.lock);
	set->intx.held = hold ? set->intx.held | why : set->intx.held & ~(unsigned)why;
	leave(set, evaluate(&set->intx));
}

void irq_intx_storm(struct irq_set *set, unsigned count)
{
	pthread_mutex_lock(&set->intx.lock);
	set->intx.storm = count;
	leave(set, evaluate(&set->intx));
}

unsigned irq_intx_storm_left(struct irq_set *set)
{
	unsigned left;

	pthread_mutex_lock(&set->intx.lock);
	left = set->intx.storm;
	pthread_mutex_unlock(&set->intx.lock);
	return left;
}

bool irq_intx_line(struct irq_set *set)
{
	bool line;

	pthread_mutex_lock(&set->intx.lock);
	line = set->intx.line || set->intx.storm;
	pthread_mutex_unlock(&set->intx.lock);
	return line;
}

bool irq_intx_masked(struct irq_set *set)
{
	bool masked;

	pthread_mutex_lock(&set->intx.lock);
	masked = set->intx.hw_disabled;
	pthread_mutex_unlock(&set->intx.lock);
	return masked;
}

void irq_intx_disable(struct irq_set *set, bool disabled)
{
	struct irq_intx *intx = &set->intx;
	bool changed;

	pthread_mutex_lock(&intx->lock);
	changed = intx->virt_disabled != disabled;
	intx->virt_disabled = disabled;
	if (changed && intx->active)
		set_mask(intx, disabled);
	else if (changed)
		intx->hw_disabled = disabled;
	leave(set, evaluate(intx));
}

void irq_intx_open(struct irq_set *set)
{
	pthread_mutex_lock(&set->intx.lock);
	set->intx.hw_disabled = false;
	pthread_mutex_unlock(&set->intx.lock);
}

void irq_intx_mask(struct irq_set *set)
{
	pthread_mutex_lock(&set->intx.lock);
	set_mask(&set->intx, true);
	pthread_mutex_unlock(&set->intx.lock);
}

void irq_intx_unmask(struct irq_set *set)
{
	struct irq_intx *intx = &set->intx;

	pthread_mutex_lock(&intx->lock);
	if (intx->active && !intx->virt_disabled)
		set_mask(intx, false);
	leave(set, evaluate(intx));
}

void irq_intx_loopback(struct irq_set *set)
{
	bool fires;

	pthread_mutex_lock(&set->intx.lock);
	fires = set->intx.active && !set->intx.virt_disabled;
	leave(set, fires);
}

void irq_intx_enable(struct irq_set *set)
{
	struct irq_intx *intx = &set->intx;

	pthread_mutex_lock(&intx->lock);
	intx->active = true;
	set_mask(intx, intx->virt_disabled);
	leave(set, evaluate(intx));
}

void irq_intx_stop(struct irq_set *set)
{
	pthread_mutex_lock(&set->intx.lock);
	set->intx.active = false;
	pthread_mutex_unlock(&set->intx.lock);
}

void irq_intx_for_message(struct irq_set *set, bool enabled)
{
	pthread_mutex_lock(&set->intx.lock);
	set->intx.hw_disabled = enabled;
	pthread_mutex_unlock(&set->intx.lock);
}
