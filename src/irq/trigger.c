/* SPDX-License-Identifier: BSD-3-Clause */
/* The life of an eventfd that a client handed in; see irq_private.h.  How many are closed:
 * closer.c. */
#include <stdlib.h>
#include <unistd.h>

#include "base/tsan.h"
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

/* ThreadSanitizer knows of close() only, and would take the next files of these numbers for a race.
 */
static bool close_run(int first, int last)
{
#ifdef UVFIO_TSAN
	return false;
#else
	return first != last && !close_range((unsigned)first, (unsigned)last, 0);
#endif
}

/* Those whose numbers follow one another, as those of one message do, up or down, in one call. */
void irq_trigger_close_all(struct irq_trigger *dead)
{
	while (dead) {
		int first = dead->fd, last = first;
		struct irq_trigger *next;

		for (;;) {
			next = dead->next;
			free(dead);
			dead = next;
			if (dead && dead->fd == last + 1)
				last++;
			else if (dead && dead->fd == first - 1)
				first--;
			else
				break;
		}
		if (!close_run(first, last)) {
			for (; first <= last; first++)
				close(first);
		}
	}
}
