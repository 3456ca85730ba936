/* SPDX-License-Identifier: BSD-3-Clause */
#include "base/trash.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>
#include "base/thread.h"

#define STACK_BYTES  (256u << 10)
#define IDLE_SECONDS 1
#define WAIT_PARTS   10u /* of the time that somebody waits for */

struct uvfio_trash {
	pthread_mutex_t lock;
	pthread_cond_t less, more;
	struct uvfio_trash_item *first, **last;
	unsigned held; /* in the list, and the one that is being done */
	unsigned long done;
	unsigned refs; /* its users', and the thread's */
	bool running;  /* the thread */
};

struct uvfio_trash *uvfio_trash_new(void)
{
	struct uvfio_trash *trash = calloc(1, sizeof(*trash));
	pthread_condattr_t attr;

	if (!trash)
		return NULL;
	pthread_mutex_init(&trash->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&trash->less, &attr);
	pthread_cond_init(&trash->more, &attr);
	pthread_condattr_destroy(&attr);
	trash->last = &trash->first;
	trash->refs = 1;
	return trash;
}

void uvfio_trash_ref(struct uvfio_trash *trash)
{
	pthread_mutex_lock(&trash->lock);
	trash->refs++;
	pthread_mutex_unlock(&trash->lock);
}

/* Lock held; releases it. */
static void put_locked(struct uvfio_trash *trash)
{
	bool last = !--trash->refs;

	pthread_mutex_unlock(&trash->lock);
	if (!last)
		return;
	pthread_cond_destroy(&trash->less);
	pthread_cond_destroy(&trash->more);
	pthread_mutex_destroy(&trash->lock);
	free(trash);
}

/* Lock held; released meanwhile. */
static void empty(struct uvfio_trash *trash)
{
	struct uvfio_trash_item *item;

	while ((item = trash->first)) {
		trash->first = item->next;
		if (!trash->first)
			trash->last = &trash->first;
		pthread_mutex_unlock(&trash->lock);
		item->fn(item);
		pthread_mutex_lock(&trash->lock);
		trash->held--;
		trash->done++;
		pthread_cond_broadcast(&trash->less);
	}
}

/* Lock held.  Wait for something to do; false when nothing comes, or nobody is left to bring it. */
static bool more(struct uvfio_trash *trash)
{
	struct timespec until;
	int ret = 0;

	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += IDLE_SECONDS;
	while (!trash->first && trash->refs > 1 && !ret)
		ret = pthread_cond_timedwait(&trash->more, &trash->lock, &until);
	return trash->first;
}

static void *main_of(void *arg)
{
	struct uvfio_trash *trash = arg;

	pthread_setname_np(pthread_self(), "uvfio-trash");
	pthread_mutex_lock(&trash->lock);
	do {
		empty(trash);
	} while (more(trash));
	trash->running = false;
	put_locked(trash);
	return NULL;
}

/* Lock held.  What cannot be done for want of a thread stays until there is more of it, or somebody
 * waits for it. */
static void start(struct uvfio_trash *trash)
{
	if (trash->running || !trash->first)
		return;
	if (!uvfio_thread_detached(STACK_BYTES, main_of, trash)) {
		trash->running = true;
		trash->refs++;
	}
}

void uvfio_trash_unref(struct uvfio_trash *trash)
{
	if (!trash)
		return;
	pthread_mutex_lock(&trash->lock);
	start(trash);
	if (trash->refs == 1)
		empty(trash); /* nobody else will ever */
	pthread_cond_signal(&trash->more);
	put_locked(trash);
}

void uvfio_trash_add(struct uvfio_trash *trash, struct uvfio_trash_item *item)
{
	pthread_mutex_lock(&trash->lock);
	item->next = NULL;
	*trash->last = item;
	trash->last = &item->next;
	trash->held++;
	start(trash);
	pthread_cond_signal(&trash->more);
	pthread_mutex_unlock(&trash->lock);
}

unsigned uvfio_trash_held(struct uvfio_trash *trash)
{
	unsigned held;

	if (!trash)
		return 0;
	pthread_mutex_lock(&trash->lock);
	held = trash->held;
	pthread_mutex_unlock(&trash->lock);
	return held;
}

/* Lock held.  Wait for a part of *@left ms; something that was done gives the whole of @ms anew. A
 * part that took much longer counts for nothing: then this thread did not get its turn, and nor did
 * the one that is waited for. */
static void wait_a_part(struct uvfio_trash *trash, unsigned ms, unsigned *left)
{
	unsigned part = ms / WAIT_PARTS ? ms / WAIT_PARTS : 1;
	unsigned long before = trash->done;
	struct timespec start_at, until, now;
	int64_t took;

	if (part > *left)
		part = *left;
	clock_gettime(CLOCK_MONOTONIC, &start_at);
	until = start_at;
	until.tv_sec += part / 1000;
	until.tv_nsec += part % 1000 * 1000000l;
	if (until.tv_nsec >= 1000000000) {
		until.tv_nsec -= 1000000000;
		until.tv_sec++;
	}
	pthread_cond_timedwait(&trash->less, &trash->lock, &until);
	clock_gettime(CLOCK_MONOTONIC, &now);
	took = (now.tv_sec - start_at.tv_sec) * 1000ll + (now.tv_nsec - start_at.tv_nsec) / 1000000;
	if (trash->done != before)
		*left = ms;
	else if (took >= part && took <= 2ll * part)
		*left -= part;
}

bool uvfio_trash_wait(struct uvfio_trash *trash, unsigned held, unsigned ms)
{
	unsigned left = ms;
	bool ret;

	if (!trash)
		return true;
	pthread_mutex_lock(&trash->lock);
	while (trash->held > held && left) {
		start(trash);
		if (!trash->running && ms == UVFIO_TRASH_EVER && trash->first)
			empty(trash);
		else if (ms == UVFIO_TRASH_EVER)
			pthread_cond_wait(&trash->less, &trash->lock);
		else
			wait_a_part(trash, ms, &left);
	}
	ret = trash->held <= held;
	pthread_mutex_unlock(&trash->lock);
	return ret;
}

/* ---- descriptors ---- */

struct closing {
	struct uvfio_trash_item item;
	int fd;
};

static void do_close(struct uvfio_trash_item *item)
{
	struct closing *closing = (struct closing *)item;

	close(closing->fd);
	free(closing);
}

bool uvfio_closes_at_once(int fd)
{
	return fcntl(fd, F_GET_SEALS) >= 0;
}

bool uvfio_trash_close(struct uvfio_trash *trash, int fd)
{
	struct closing *closing;

	if (fd < 0)
		return false;
	closing = uvfio_closes_at_once(fd) ? NULL : malloc(sizeof(*closing));
	if (!closing) { /* or there is no memory: rather wait than lose it */
		close(fd);
		return false;
	}
	closing->item.fn = do_close;
	closing->fd = fd;
	uvfio_trash_add(trash, &closing->item);
	return true;
}
