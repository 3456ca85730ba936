/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Closing many eventfds.
 *
 * To close the last descriptor of a file takes longer than all else that SET_IRQS does with it.  So
 * when many go at once a thread closes them, after the grace period.  Who replaces many has more to
 * say as a rule (2,048 are nine messages of vfio-user), and would have to share the CPU with that
 * thread: so it waits until nothing was added for a moment.  Nobody waits for it but the last close
 * of the device, which has it hurry.  No more descriptors wait than there are vectors: what
 * does not fit is closed by the request that replaces it.
 */
#include <stdlib.h>
#include <time.h>

#include "irq/irq_private.h"

/* Less are closed sooner than a thread starts. */
#define CLOSE_APART 64u
#define QUIET_NS    10000000l

static bool before(const struct timespec *a, const struct timespec *b)
{
	return a->tv_sec != b->tv_sec ? a->tv_sec < b->tv_sec : a->tv_nsec < b->tv_nsec;
}

/* Lock held.  Until nothing was added for a moment, or somebody is in a hurry. */
static void await_quiet(struct irq_closer *closer)
{
	struct timespec now;

	for (;;) {
		struct timespec until = closer->quiet;

		clock_gettime(CLOCK_MONOTONIC, &now);
		if (closer->hurried || !before(&now, &until))
			return;
		pthread_cond_timedwait(&closer->hurry, &closer->lock, &until);
	}
}

static void close_them(struct uvfio_trash_item *item)
{
	struct irq_closer *closer =
		(struct irq_closer *)((char *)item - offsetof(struct irq_closer, item));
	struct irq_trigger *dead;
	unsigned nr;

	pthread_mutex_lock(&closer->lock);
	await_quiet(closer);
	dead = closer->dead;
	nr = closer->listed;
	closer->dead = NULL;
	closer->listed = 0;
	pthread_mutex_unlock(&closer->lock);
	irq_trigger_close_all(dead);
	pthread_mutex_lock(&closer->lock);
	closer->nr -= nr;
	pthread_mutex_unlock(&closer->lock);
}

/* False: they are the caller's to close. */
static bool close_apart(struct irq_closer *closer, struct irq_trigger *dead)
{
	struct irq_trigger *last = dead;
	unsigned nr = 1;
	bool fits, first;

	for (; last->next; last = last->next)
		nr++;
	if (nr < CLOSE_APART)
		return false;
	if (!closer->trash)
		closer->trash = uvfio_trash_new();
	if (!closer->trash)
		return false;
	pthread_mutex_lock(&closer->lock);
	first = !closer->listed;
	fits = nr <= IRQ_MAX_MSIX - closer->nr;
	if (fits) {
		last->next = closer->dead;
		closer->dead = dead;
		closer->nr += nr;
		closer->listed += nr;
		clock_gettime(CLOCK_MONOTONIC, &closer->quiet);
		closer->quiet.tv_nsec += QUIET_NS;
		if (closer->quiet.tv_nsec >= 1000000000l) {
			closer->quiet.tv_nsec -= 1000000000l;
			closer->quiet.tv_sec++;
		}
	}
	pthread_mutex_unlock(&closer->lock);
	if (fits && first)
		uvfio_trash_add(closer->trash, &closer->item);
	return fits;
}

void irq_trigger_reap(struct irq_closer *closer, struct irq_trigger *dead)
{
	if (!dead)
		return;
	uvfio_rcu_synchronize();
	if (!closer || !close_apart(closer, dead))
		irq_trigger_close_all(dead);
}

void irq_closer_wait(struct irq_closer *closer)
{
	if (!closer->trash)
		return;
	pthread_mutex_lock(&closer->lock);
	closer->hurried = true;
	pthread_cond_signal(&closer->hurry);
	pthread_mutex_unlock(&closer->lock);
	uvfio_trash_wait(closer->trash, 0, UVFIO_TRASH_EVER);
	pthread_mutex_lock(&closer->lock);
	closer->hurried = false;
	pthread_mutex_unlock(&closer->lock);
}

/* ---- life ---- */

void irq_closer_init(struct irq_closer *closer)
{
	pthread_condattr_t attr;

	closer->item.fn = close_them;
	pthread_mutex_init(&closer->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&closer->hurry, &attr);
	pthread_condattr_destroy(&attr);
}

void irq_closer_fini(struct irq_closer *closer)
{
	uvfio_trash_unref(closer->trash);
	pthread_cond_destroy(&closer->hurry);
	pthread_mutex_destroy(&closer->lock);
}
