/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How many MSI-X vectors there are: a VF's change while it exists (B).
 *
 * Theory of operation.  The set is made for as many as the table has entries; of these the first
 * set->msix.limit exist.  A vector that ceases to exist, and one that begins to, is as after
 * power-on: no eventfd, not allocated, its entry empty, nothing pending.  Who takes vectors away
 * neither waits nor takes the set's mutex, because a management command of the PF does that from
 * its work context while a client may be in the midst of a SET_IRQS.  So:
 *
 *  - A raise asks for the limit first.  One that has passed it and then sets a pending bit, and a
 *    SET_IRQS that puts an eventfd to a vector, look at the limit again afterwards and take back
 *    what they did when it has fallen below.  The limit changes before what is beyond is cleared,
 *    all of it in sequentially consistent accesses: of the two, one sees the other.
 *  - What such a one leaves in an entry of the table beyond the limit nobody sees, and is cleared
 *    when the limit rises again, before it does.
 *  - A raise that is delivering when the vector goes may still write the eventfd, like a message
 *    that was sent before; one that begins afterwards does not.  So the eventfd is not closed here
 *    but put on a list (set->orphans), which the next request closes with its own, after a grace
 *    period.  There are never more than vectors: only a request can add eventfds.
 */
#include "irq/irq_private.h"

unsigned irq_msix_vectors(struct irq_set *set)
{
	return atomic_load(&set->msix.limit);
}

bool irq_vector_exists(struct irq_messages *m, unsigned vector)
{
	return m->index == VFIO_PCI_MSI_IRQ_INDEX || vector < atomic_load(&m->limit);
}

static void orphan(struct irq_set *set, struct irq_trigger *trigger)
{
	struct irq_trigger *first = atomic_load(&set->orphans);

	do
		trigger->next = first;
	while (!atomic_compare_exchange_weak(&set->orphans, &first, trigger));
}

/* The vector is as after power-on. */
static void forget(struct irq_set *set, unsigned vector)
{
	struct irq_vector *v = &set->msix.v[vector];
	struct irq_trigger *trigger = atomic_exchange(&v->trigger, NULL);

	if (trigger)
		orphan(set, trigger);
	atomic_store(&v->allocated, false);
	irq_table_clear(set, vector);
	atomic_fetch_and(&set->msix.pending[vector / 64], ~(1ull << (vector % 64)));
}

void irq_msix_resize(struct irq_set *set, unsigned vectors)
{
	struct irq_messages *m = &set->msix;
	unsigned before;

	if (vectors > m->n)
		vectors = m->n;
	pthread_mutex_lock(&set->resize_lock);
	before = atomic_load(&m->limit);
	for (unsigned i = before; i < vectors; i++)
		forget(set, i);
	atomic_store(&m->limit, vectors);
	for (unsigned i = vectors; i < before; i++)
		forget(set, i);
	pthread_mutex_unlock(&set->resize_lock);
}

void irq_take_orphans(struct irq_set *set, struct irq_trigger **dead)
{
	struct irq_trigger *trigger = atomic_exchange(&set->orphans, NULL);

	while (trigger) {
		struct irq_trigger *next = trigger->next;

		trigger->next = *dead;
		*dead = trigger;
		trigger = next;
	}
}
