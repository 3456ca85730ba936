/* SPDX-License-Identifier: BSD-3-Clause */
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include "uapi/share.h"

#define FIRST_SWEEP 1024u /* put aside, from which on the dead are looked for */

/* A process with slow requests. */
struct share {
	struct share *next;
	pid_t pid;
	unsigned slow;
};

/* A request put aside. */
struct aside {
	struct aside *next;
	pid_t pid;
	char notif[] __attribute__((aligned(8)));
};

struct uapi_shares {
	unsigned max;
	size_t size;
	atomic_bool crowded;
	atomic_uint nr_aside;
	bool (*alive)(void *arg, const struct seccomp_notif *notif);
	void *arg;
	pthread_mutex_t lock; /* what follows */
	struct share *list;
	unsigned slow; /* in all */
	struct aside *first, **end;
	unsigned sweep_at;
};

struct uapi_shares *uapi_shares_new(unsigned max, size_t size,
				    bool (*alive)(void *arg, const struct seccomp_notif *notif),
				    void *arg)
{
	struct uapi_shares *shares = calloc(1, sizeof(*shares));

	if (!shares)
		return NULL;
	shares->max = max;
	shares->size = size;
	shares->end = &shares->first;
	shares->alive = alive;
	shares->arg = arg;
	shares->sweep_at = FIRST_SWEEP;
	pthread_mutex_init(&shares->lock, NULL);
	return shares;
}

void uapi_shares_free(struct uapi_shares *shares)
{
	if (!shares)
		return;
	while (shares->first) {
		struct aside *next = shares->first->next;

		free(shares->first);
		shares->first = next;
	}
	while (shares->list) {
		struct share *next = shares->list->next;

		free(shares->list);
		shares->list = next;
	}
	pthread_mutex_destroy(&shares->lock);
	free(shares);
}

/* ---- locked ---- */

/* Of one process.  Beyond half of all, it takes as many processes as there are left to use them up.
 */
static unsigned limit(const struct uapi_shares *shares)
{
	return shares->slow < shares->max / 4 ? 32 : shares->slow < shares->max / 2 ? 8 : 1;
}

static struct share **find(struct uapi_shares *shares, pid_t pid)
{
	struct share **p = &shares->list;

	while (*p && (*p)->pid != pid)
		p = &(*p)->next;
	return p;
}

static bool may_go(struct uapi_shares *shares, pid_t pid)
{
	struct share *share = *find(shares, pid);

	return shares->slow < shares->max && (!share || share->slow < limit(shares));
}

static void look_around(struct uapi_shares *shares)
{
	bool crowded = shares->slow >= shares->max;

	for (const struct share *s = shares->list; s && !crowded; s = s->next)
		crowded = s->slow >= limit(shares);
	atomic_store(&shares->crowded, crowded);
}

static bool charge(struct uapi_shares *shares, pid_t pid)
{
	struct share **p = find(shares, pid);

	if (!*p) {
		*p = calloc(1, sizeof(**p));
		if (!*p)
			return false;
		(*p)->pid = pid;
	}
	(*p)->slow++;
	shares->slow++;
	look_around(shares);
	return true;
}

/* Whoever died while it was put aside is remembered no longer than until the number has doubled. */
static void sweep(struct uapi_shares *shares)
{
	struct aside **p = &shares->first, *aside;

	while ((aside = *p)) {
		if (shares->alive(shares->arg, (const struct seccomp_notif *)aside->notif)) {
			p = &aside->next;
			continue;
		}
		*p = aside->next;
		free(aside);
		atomic_fetch_sub(&shares->nr_aside, 1);
	}
	shares->end = p;
	shares->sweep_at = 2 * atomic_load(&shares->nr_aside);
	if (shares->sweep_at < FIRST_SWEEP)
		shares->sweep_at = FIRST_SWEEP;
}

/* ---- any thread ---- */

bool uapi_shares_charge(struct uapi_shares *shares, pid_t pid)
{
	bool charged;

	pthread_mutex_lock(&shares->lock);
	charged = charge(shares, pid);
	pthread_mutex_unlock(&shares->lock);
	return charged;
}

void uapi_shares_discharge(struct uapi_shares *shares, pid_t pid)
{
	struct share **p, *share;

	pthread_mutex_lock(&shares->lock);
	p = find(shares, pid);
	share = *p;
	shares->slow--;
	if (!--share->slow) {
		*p = share->next;
		free(share);
	}
	look_around(shares);
	pthread_mutex_unlock(&shares->lock);
}

bool uapi_shares_crowded(const struct uapi_shares *shares)
{
	return atomic_load_explicit(&shares->crowded, memory_order_relaxed);
}

bool uapi_shares_put_aside(struct uapi_shares *shares, pid_t pid, const struct seccomp_notif *notif)
{
	struct aside *aside = NULL;

	pthread_mutex_lock(&shares->lock);
	if (!may_go(shares, pid))
		aside = malloc(sizeof(*aside) + shares->size);
	if (aside) {
		aside->next = NULL;
		aside->pid = pid;
		memcpy(aside->notif, notif, shares->size);
		*shares->end = aside;
		shares->end = &aside->next;
		if (atomic_fetch_add(&shares->nr_aside, 1) + 1 >= shares->sweep_at)
			sweep(shares);
	}
	pthread_mutex_unlock(&shares->lock);
	return aside;
}

bool uapi_shares_take(struct uapi_shares *shares, struct seccomp_notif *notif, pid_t *pid)
{
	struct aside *aside = NULL, **p;

	if (!atomic_load(&shares->nr_aside))
		return false;
	pthread_mutex_lock(&shares->lock);
	for (p = &shares->first; *p && !may_go(shares, (*p)->pid); p = &(*p)->next)
		;
	if (*p && charge(shares, (*p)->pid)) {
		aside = *p;
		*p = aside->next;
		if (!aside->next)
			shares->end = p;
		*pid = aside->pid;
		memcpy(notif, aside->notif, shares->size);
		atomic_fetch_sub(&shares->nr_aside, 1);
	}
	pthread_mutex_unlock(&shares->lock);
	free(aside);
	return aside;
}
