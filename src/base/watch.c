/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Watches: two events of libevent on a file descriptor, for reading and for writing.
 *
 *      QUIET ◀──event, work posted── ARMED
 *        │                             ▲
 *        └────@fn has returned─────────┘
 *
 * Quiet about the descriptor from an event until the work that calls @fn has run, wherever that
 * is.  Most of the time it runs in the loop's thread, right after the visit to the library that
 * brought the event.  So the events stay in the library, level-triggered, and only where @fn has
 * not returned when the thread is about to enter the library again (the end of a round) are they
 * taken out; then who calls @fn puts them back.  Within a round a watch is heard once: a second
 * event may be from before @fn.
 *
 * Freeing.  When event_del() has returned, the loop's thread is not in on_event() and will not be.
 * What may still hold the watch is its queued work and the list of this round.
 */
#include <errno.h>
#include <event2/event.h>
#include <stdlib.h>
#include "base/ctx.h"
#include "base/loop.h"

struct uvfio_watch {
	struct uvfio_work work;
	struct uvfio_ctx *ctx;
	struct uvfio_loop *loop;
	void (*fn)(void *arg);
	void *arg;
	struct event *readable, *writable;
	atomic_bool dead;
	atomic_uint refs; /* the creator's, its work's, the round's */
	/* Under the loop's lock. */
	bool armed;   /* in the library, with what is wanted of the following */
	bool reading; /* @readable is in it */
	bool writing; /* @writable is, too */
	bool want_read, want_write;
	bool pending; /* from an event until @fn has returned */
	bool seen;    /* in the list of this round */
	struct uvfio_watch *next_seen;
};

static void watch_unref(struct uvfio_watch *watch)
{
	if (atomic_fetch_sub(&watch->refs, 1) != 1)
		return;
	if (watch->readable)
		event_free(watch->readable);
	if (watch->writable)
		event_free(watch->writable);
	free(watch);
}

/* ---- under the lock ---- */

static bool set_event(struct event *event, bool *state, bool on)
{
	if (on == *state)
		return true;
	if (!on)
		event_del_noblock(event);
	else if (event_add(event, NULL))
		return false;
	*state = on;
	return true;
}

/* As long as one of the two stays in the library, this only changes what epoll looks for, and
 * cannot fail: so what is added comes first. */
static bool set_events(struct uvfio_watch *watch, bool reading, bool writing)
{
	return (!reading || set_event(watch->readable, &watch->reading, true)) &&
	       set_event(watch->writable, &watch->writing, writing) &&
	       set_event(watch->readable, &watch->reading, reading);
}

static bool arm(struct uvfio_watch *watch)
{
	watch->armed = set_events(watch, watch->want_read, watch->want_write);
	return watch->armed;
}

static void disarm(struct uvfio_watch *watch)
{
	set_events(watch, false, false);
	watch->armed = false;
}

/* ---- */

static void watch_work(struct uvfio_work *work)
{
	struct uvfio_watch *watch = (struct uvfio_watch *)work;
	bool again = false;

	if (!atomic_load(&watch->dead))
		watch->fn(watch->arg);
	pthread_mutex_lock(&watch->loop->lock);
	if (!atomic_load(&watch->dead)) {
		/* Without memory for it the descriptor is polled by calling @fn. */
		again = !arm(watch);
		watch->pending = again;
	}
	pthread_mutex_unlock(&watch->loop->lock);
	if (again)
		uvfio_ctx_post(watch->ctx, work);
	else
		watch_unref(watch);
}

/* In the loop's thread. */
static void on_event(evutil_socket_t fd, short what, void *arg)
{
	struct uvfio_watch *watch = arg;
	struct uvfio_loop *loop = watch->loop;
	bool news;

	atomic_store(&loop->asleep, false);
	pthread_mutex_lock(&loop->lock);
	news = !watch->seen && !watch->pending && !atomic_load(&watch->dead);
	if (news) {
		watch->seen = watch->pending = true;
		watch->next_seen = loop->seen;
		loop->seen = watch;
		atomic_fetch_add(&watch->refs, 2);
	}
	pthread_mutex_unlock(&loop->lock);
	if (news)
		uvfio_ctx_post(watch->ctx, &watch->work);
}

void watches_end_round(struct uvfio_loop *loop)
{
	while (loop->seen) {
		struct uvfio_watch *watch = loop->seen;

		loop->seen = watch->next_seen;
		pthread_mutex_lock(&loop->lock);
		watch->seen = false;
		if (watch->pending && watch->armed)
			disarm(watch);
		pthread_mutex_unlock(&loop->lock);
		watch_unref(watch);
	}
}

struct uvfio_watch *uvfio_watch_new(struct uvfio_ctx *ctx, int fd, void (*fn)(void *arg), void *arg)
{
	struct uvfio_watch *watch = calloc(1, sizeof(*watch));
	struct uvfio_loop *loop = ctx->loop;
	int error = 0;

	if (!watch)
		return NULL;
	watch->work.fn = watch_work;
	watch->ctx = ctx;
	watch->loop = loop;
	watch->fn = fn;
	watch->arg = arg;
	watch->want_read = true;
	atomic_init(&watch->refs, 1);
	watch->readable = event_new(loop->base, fd, EV_READ | EV_PERSIST, on_event, watch);
	watch->writable = event_new(loop->base, fd, EV_WRITE | EV_PERSIST, on_event, watch);
	if (!watch->readable || !watch->writable) {
		watch_unref(watch);
		errno = ENOMEM;
		return NULL;
	}
	errno = 0;
	pthread_mutex_lock(&loop->lock);
	if (!arm(watch))
		error = errno ? errno : ENOMEM;
	pthread_mutex_unlock(&loop->lock);
	if (error) {
		watch_unref(watch);
		errno = error;
		return NULL;
	}
	return watch;
}

/* While an event is pending it is done when @fn has returned. */
static void want(struct uvfio_watch *watch, bool *what, bool on)
{
	bool failed;

	pthread_mutex_lock(&watch->loop->lock);
	*what = on;
	failed = !watch->pending && !arm(watch);
	if (failed) {
		/* Without memory for it @fn is called, which tries again. */
		watch->pending = true;
		atomic_fetch_add(&watch->refs, 1);
	}
	pthread_mutex_unlock(&watch->loop->lock);
	if (failed)
		uvfio_ctx_post(watch->ctx, &watch->work);
}

void uvfio_watch_write(struct uvfio_watch *watch, bool on)
{
	want(watch, &watch->want_write, on);
}

void uvfio_watch_read(struct uvfio_watch *watch, bool on)
{
	want(watch, &watch->want_read, on);
}

void uvfio_watch_free(struct uvfio_watch *watch)
{
	struct uvfio_loop *loop;

	if (!watch)
		return;
	loop = watch->loop;
	pthread_mutex_lock(&loop->lock);
	atomic_store(&watch->dead, true);
	disarm(watch);
	pthread_mutex_unlock(&loop->lock);
	/* Both wait for on_event(), which wants the lock. */
	event_del(watch->readable);
	event_del(watch->writable);
	watch_unref(watch);
}
