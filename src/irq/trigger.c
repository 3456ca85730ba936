/* SPDX-License-Identifier: BSD-3-Clause */
/* The life of an eventfd that a client handed in; see irq_private.h. */
#include <stdlib.h>
#include <unistd.h>

#include "irq/irq_private.h"

struct irq_trigger *irq_trigger_new(int fd)
{
	struct irq_trigger *trigger = calloc(1, sizeof(*trigger));

	if (trigger)
		trigger->fd = fd;
	return trigger;
}

void irq_trigger_free(struct irq_trigger *trigger)
{
	if (!trigger)
		return;
	close(trigger->fd);
	free(trigger);
}

void irq_trigger_swap(_Atomic(struct irq_trigger *) *slot, struct irq_trigger *trigger,
		      struct irq_trigger **dead)
{
	struct irq_trigger *old = atomic_exchange(slot, trigger);

	if (!old)
		return;
	old->next = *dead;
	*dead = old;
}

void irq_trigger_reap(struct irq_trigger *dead)
{
	if (!dead)
		return;
	uvfio_rcu_synchronize();
	while (dead) {
		struct irq_trigger *next = dead->next;

		irq_trigger_free(dead);
		dead = next;
	}
}
