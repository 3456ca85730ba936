/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Delivery: from a raise to an eventfd, and what is pending in between; see irq_private.h.
 */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>

#include "base/stall.h"
#include "irq/irq_private.h"

#define likely(x)   __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)

/*
 * A client can fill its eventfd's counter, and write(2) would then wait for it.  The first such
 * write is given up by the stall guard after some milliseconds; from then on every eventfd of this
 * client is asked first.  A full counter is a signal that the client has not taken yet, so nothing
 * is lost.
 */
static bool held_up(struct irq_set *set, struct irq_trigger *trigger)
{
	struct pollfd pfd = {.fd = trigger->fd, .events = POLLOUT};

	if (atomic_load_explicit(&set->stalls, memory_order_relaxed) >= IRQ_MAX_STALLS)
		return true;
	return poll(&pfd, 1, 0) >= 0 && !(pfd.revents & POLLOUT);
}

static inline __attribute__((always_inline)) void
signal_trigger(struct irq_set *set, struct irq_trigger *trigger, _Atomic uint64_t *delivered)
{
	int ret = -EAGAIN;

	if (likely(!atomic_load_explicit(&set->stalls, memory_order_relaxed)) ||
	    !held_up(set, trigger)) {
		ret = uvfio_eventfd_signal(trigger->fd);
		if (unlikely(ret == -EAGAIN))
			atomic_fetch_add_explicit(&set->stalls, 1, memory_order_relaxed);
	}
	if (likely(!ret))
		atomic_fetch_add_explicit(delivered, 1, memory_order_relaxed);
	else
		atomic_fetch_add_explicit(&set->dropped, 1, memory_order_relaxed);
}

void irq_signal(struct irq_set *set, struct irq_trigger *trigger, _Atomic uint64_t *delivered)
{
	signal_trigger(set, trigger, delivered);
}

/* ---- messages ---- */

static struct irq_trigger *deliverable(struct irq_set *set, struct irq_messages *m,
				       struct irq_vector *v)
{
	struct irq_trigger *trigger = atomic_load(&v->trigger);

	if (!trigger || atomic_load(&v->masked) || !atomic_load(&set->gate) ||
	    !atomic_load(&m->enabled) || atomic_load(&set->active) != m)
		return NULL;
	return trigger;
}

/* In a read section. */
static void flush_vector(struct irq_set *set, struct irq_messages *m, unsigned vector)
{
	struct irq_vector *v = &m->v[vector];
	struct irq_trigger *trigger = deliverable(set, m, v);
	uint64_t bit = 1ull << (vector % 64);

	if (trigger && (atomic_fetch_and(&m->pending[vector / 64], ~bit) & bit))
		signal_trigger(set, trigger, &v->delivered);
}

void irq_flush_vector(struct irq_set *set, struct irq_messages *m, unsigned vector)
{
	if (!(atomic_load(&m->pending[vector / 64]) & 1ull << (vector % 64)))
		return;
	uvfio_rcu_read_lock();
	flush_vector(set, m, vector);
	uvfio_rcu_read_unlock();
}

void irq_flush(struct irq_set *set)
{
	struct irq_messages *m;

	uvfio_rcu_read_lock();
	m = atomic_load(&set->active);
	for (unsigned word = 0; m && word < (m->n + 63) / 64; word++) {
		uint64_t bits = atomic_load(&m->pending[word]);

		for (; bits; bits &= bits - 1)
			flush_vector(set, m, word * 64 + (unsigned)__builtin_ctzll(bits));
	}
	uvfio_rcu_read_unlock();
}

void irq_raise(struct irq_set *set, unsigned vector)
{
	struct irq_trigger *trigger;
	struct irq_messages *m;
	struct irq_vector *v;

	uvfio_rcu_read_lock();
	m = atomic_load_explicit(&set->active, memory_order_acquire);
	if (unlikely(!m))
		goto out;
	if (unlikely(vector >= atomic_load_explicit(&m->limit, memory_order_relaxed))) {
		atomic_fetch_add_explicit(&set->dropped, 1, memory_order_relaxed);
		goto out;
	}
	v = &m->v[vector];
	trigger = atomic_load_explicit(&v->trigger, memory_order_acquire);
	if (likely(trigger && !atomic_load_explicit(&v->masked, memory_order_acquire) &&
		   atomic_load_explicit(&set->gate, memory_order_acquire) &&
		   atomic_load_explicit(&m->enabled, memory_order_acquire))) {
		signal_trigger(set, trigger, &v->delivered);
	} else {
		atomic_fetch_or(&m->pending[vector / 64], 1ull << (vector % 64));
		if (likely(irq_vector_exists(m, vector)))
			flush_vector(set, m, vector);
		else /* it has just gone: resize.c */
			atomic_fetch_and(&m->pending[vector / 64], ~(1ull << (vector % 64)));
	}
out:
	uvfio_rcu_read_unlock();
}

void irq_set_gate(struct irq_set *set, bool open)
{
	atomic_store(&set->gate, open);
	if (open)
		irq_flush(set);
}

void irq_msi_config(struct irq_set *set, bool enabled, uint32_t mask)
{
	for (unsigned i = 0; i < set->msi.n; i++)
		atomic_store(&set->msi.v[i].masked, mask >> i & 1);
	atomic_store(&set->msi.enabled, enabled);
	irq_flush(set);
}

uint32_t irq_msi_pending(struct irq_set *set)
{
	return (uint32_t)atomic_load(&set->msi.pending[0]);
}

/* ---- ERR and REQ ---- */

static bool signal_slot(struct irq_set *set, _Atomic(struct irq_trigger *) *slot,
			_Atomic uint64_t *delivered)
{
	struct irq_trigger *trigger;

	uvfio_rcu_read_lock();
	trigger = atomic_load(slot);
	if (trigger)
		irq_signal(set, trigger, delivered);
	uvfio_rcu_read_unlock();
	return trigger;
}

bool irq_signal_err(struct irq_set *set)
{
	return signal_slot(set, &set->err, &set->err_delivered);
}

bool irq_signal_req(struct irq_set *set)
{
	return signal_slot(set, &set->req, &set->req_delivered);
}

/* ---- figures ---- */

uint64_t irq_delivered(struct irq_set *set, unsigned index, unsigned vector)
{
	struct irq_messages *m = index == VFIO_PCI_MSI_IRQ_INDEX ? &set->msi : &set->msix;

	switch (index) {
	case VFIO_PCI_INTX_IRQ_INDEX:
		return vector ? 0 : atomic_load(&set->intx.delivered);
	case VFIO_PCI_MSI_IRQ_INDEX:
	case VFIO_PCI_MSIX_IRQ_INDEX:
		return vector < m->n ? atomic_load(&m->v[vector].delivered) : 0;
	case VFIO_PCI_ERR_IRQ_INDEX:
		return vector ? 0 : atomic_load(&set->err_delivered);
	case VFIO_PCI_REQ_IRQ_INDEX:
		return vector ? 0 : atomic_load(&set->req_delivered);
	default:
		return 0;
	}
}

uint64_t irq_dropped(struct irq_set *set)
{
	return atomic_load(&set->dropped);
}
