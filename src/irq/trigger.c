/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The life of an eventfd that a client handed in; see irq_private.h.
 *
 * Closing the last descriptor of a file takes longer than all else that SET_IRQS does with it.  So
 * when many go at once a thread closes them, after the grace period, and nobody waits for it but
 * the next large request, which then closes its own, and the last close of the device.  So a set
 * has at most one such thread, and never more descriptors that wait than vectors.
 */
#include <stdlib.h>
#include <unistd.h>

#include "base/thread.h"
#include "base/tsan.h"
#include "irq/irq_private.h"

/* Less are closed sooner than a thread starts. */
#define CLOSE_APART 64u

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
static void close_all(struct irq_trigger *dead)
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

static void *closer_main(void *arg)
{
	struct irq_closer *closer = arg;

	close_all(closer->dead);
	atomic_store(&closer->busy, false);
	return NULL;
}

void irq_closer_wait(struct irq_closer *closer)
{
	if (closer->started)
		pthread_join(closer->thread, NULL);
	closer->started = false;
}

static bool close_apart(struct irq_closer *closer, struct irq_trigger *dead)
{
	if (atomic_load(&closer->busy))
		return false;
	irq_closer_wait(closer);
	closer->dead = dead;
	atomic_store(&closer->busy, true);
	closer->started = !uvfio_thread_create(&closer->thread, NULL, closer_main, closer);
	if (!closer->started)
		atomic_store(&closer->busy, false);
	return closer->started;
}

void irq_trigger_reap(struct irq_closer *closer, struct irq_trigger *dead)
{
	unsigned n = 0;

	if (!dead)
		return;
	uvfio_rcu_synchronize();
	for (const struct irq_trigger *t = dead; t && n < CLOSE_APART; t = t->next)
		n++;
	if (!closer || n < CLOSE_APART || !close_apart(closer, dead))
		close_all(dead);
}
