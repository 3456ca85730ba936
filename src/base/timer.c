/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Timers: a heap of deadlines a loop, one timerfd for the earliest of them, and a state each.
 *
 *      IDLE ──arm──▶ ARMED ──deadline──▶ FIRED ──its work runs──▶ IDLE, and @fn is called
 *        ▲             │ ▲                 │ │
 *        │             │ └───────arm───────┘ │
 *        └───cancel────┴───────cancel────────┘
 *
 * When the timerfd expires, the loop's thread posts the work of what is due; whether @fn is called
 * is decided in the context, by the state at that moment.  So a timer that was cancelled or moved
 * after it had fired does not run.  A timer that is freed while its work is queued is freed by that
 * work.
 *
 * libevent's own timers are not used: those that are precise cost it a system call each time it
 * waits, whether or not a deadline has changed.  Here the timerfd is set when a deadline comes
 * before the one for which it is set.  One that went away leaves it as it is: the thread wakes up
 * once for nothing.  Whoever arms a timer sets it by himself, and need not wake the thread.  It is
 * never read: the library is told of it by edges, and setting it clears it.
 *
 * Arming cannot fail: the heap has room for every timer that was made.
 */
#include <errno.h>
#include <event2/event.h>
#include <stdlib.h>
#include <sys/timerfd.h>
#include <unistd.h>
#include <uvfio/device.h>
#include "base/ctx.h"
#include "base/loop.h"

enum timer_state { TIMER_IDLE, TIMER_ARMED, TIMER_FIRED, TIMER_FREED };

struct uvfio_timer {
	struct uvfio_work work;
	struct uvfio_ctx *ctx;
	void (*fn)(void *arg);
	void *arg;
	/* Under the loop's lock. */
	enum timer_state state;
	uint64_t deadline; /* ns */
	size_t at;         /* ARMED: its place in the heap */
};

/* ---- the heap; under the lock ---- */

static void put(struct loop_timers *t, size_t at, struct uvfio_timer *timer)
{
	t->heap[at] = timer;
	timer->at = at;
}

/* @timer is to be at @at or nearer to the top. */
static void sift_up(struct loop_timers *t, size_t at, struct uvfio_timer *timer)
{
	while (at && t->heap[(at - 1) / 2]->deadline > timer->deadline) {
		put(t, at, t->heap[(at - 1) / 2]);
		at = (at - 1) / 2;
	}
	put(t, at, timer);
}

static void heap_add(struct loop_timers *t, struct uvfio_timer *timer)
{
	sift_up(t, t->nr++, timer);
}

static void heap_remove(struct loop_timers *t, struct uvfio_timer *timer)
{
	struct uvfio_timer *last = t->heap[--t->nr];
	size_t at = timer->at, child;

	if (last == timer)
		return;
	/* The last one takes the place, or a place below or above it. */
	while ((child = 2 * at + 1) < t->nr) {
		if (child + 1 < t->nr && t->heap[child + 1]->deadline < t->heap[child]->deadline)
			child++;
		if (t->heap[child]->deadline >= last->deadline)
			break;
		put(t, at, t->heap[child]);
		at = child;
	}
	sift_up(t, at, last);
}

/* ---- the clock; under the lock ---- */

static void wake_at(struct loop_timers *t, uint64_t ns)
{
	struct itimerspec when = {.it_value = {(time_t)(ns / 1000000000u), ns % 1000000000u}};

	if (ns >= t->set)
		return;
	t->set = ns;
	timerfd_settime(t->fd, TFD_TIMER_ABSTIME, &when, NULL);
}

/* Under the same lock as the state, so that whoever cancels sees either the state or the work. */
static void fire(struct uvfio_timer *timer)
{
	timer->state = TIMER_FIRED;
	uvfio_ctx_post(timer->ctx, &timer->work);
}

/* In the loop's thread: the timerfd has expired. */
static void on_deadline(evutil_socket_t fd, short what, void *arg)
{
	struct uvfio_loop *loop = arg;
	struct loop_timers *t = &loop->timers;
	uint64_t now;

	atomic_store(&loop->asleep, false);
	pthread_mutex_lock(&loop->lock);
	t->set = UINT64_MAX;
	now = uvfio_now_ns();
	while (t->nr && t->heap[0]->deadline <= now) {
		struct uvfio_timer *timer = t->heap[0];

		heap_remove(t, timer);
		fire(timer);
	}
	if (t->nr)
		wake_at(t, t->heap[0]->deadline);
	pthread_mutex_unlock(&loop->lock);
}

void timers_wake_at(struct uvfio_loop *loop, uint64_t ns)
{
	pthread_mutex_lock(&loop->lock);
	wake_at(&loop->timers, ns ? ns : 1); /* 0 would stop it */
	pthread_mutex_unlock(&loop->lock);
}

int timers_init(struct uvfio_loop *loop)
{
	struct loop_timers *t = &loop->timers;

	t->set = UINT64_MAX;
	t->fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
	if (t->fd < 0)
		return -errno;
	t->event = event_new(loop->base, t->fd, EV_READ | EV_ET | EV_PERSIST, on_deadline, loop);
	if (!t->event)
		return -ENOMEM;
	errno = 0;
	if (event_add(t->event, NULL))
		return errno ? -errno : -ENOMEM;
	return 0;
}

void timers_fini(struct uvfio_loop *loop)
{
	struct loop_timers *t = &loop->timers;

	if (t->event)
		event_free(t->event);
	if (t->fd >= 0)
		close(t->fd);
	free(t->heap);
}

/* ---- timers ---- */

static bool make_room(struct loop_timers *t)
{
	size_t room = t->room ? t->room * 2 : 8;
	void *heap;

	if (t->made < t->room)
		return true;
	heap = realloc(t->heap, room * sizeof(t->heap[0]));
	if (!heap)
		return false;
	t->heap = heap;
	t->room = room;
	return true;
}

/* Under the lock. */
static void disarm(struct uvfio_timer *timer)
{
	if (timer->state == TIMER_ARMED)
		heap_remove(&timer->ctx->loop->timers, timer);
	timer->state = TIMER_IDLE;
}

static void timer_work(struct uvfio_work *work)
{
	struct uvfio_timer *timer = (struct uvfio_timer *)work;
	struct uvfio_loop *loop = timer->ctx->loop;
	enum timer_state state;

	pthread_mutex_lock(&loop->lock);
	state = timer->state;
	if (state == TIMER_FIRED)
		timer->state = TIMER_IDLE;
	pthread_mutex_unlock(&loop->lock);
	if (state == TIMER_FREED)
		free(timer);
	else if (state == TIMER_FIRED)
		timer->fn(timer->arg); /* which may free it */
}

struct uvfio_timer *uvfio_ctx_timer_new(struct uvfio_ctx *ctx, void (*fn)(void *arg), void *arg)
{
	struct uvfio_timer *timer = calloc(1, sizeof(*timer));
	struct uvfio_loop *loop = ctx->loop;
	bool room;

	if (!timer)
		return NULL;
	timer->work.fn = timer_work;
	timer->ctx = ctx;
	timer->fn = fn;
	timer->arg = arg;
	pthread_mutex_lock(&loop->lock);
	room = make_room(&loop->timers);
	if (room)
		loop->timers.made++;
	pthread_mutex_unlock(&loop->lock);
	if (!room) {
		free(timer);
		return NULL;
	}
	return timer;
}

void uvfio_timer_arm(struct uvfio_timer *timer, uint64_t ns)
{
	struct uvfio_loop *loop = timer->ctx->loop;
	uint64_t now = uvfio_now_ns();

	pthread_mutex_lock(&loop->lock);
	disarm(timer);
	timer->deadline = ns < UINT64_MAX - now ? now + ns : UINT64_MAX;
	timer->state = TIMER_ARMED;
	heap_add(&loop->timers, timer);
	wake_at(&loop->timers, timer->deadline);
	pthread_mutex_unlock(&loop->lock);
}

void uvfio_timer_cancel(struct uvfio_timer *timer)
{
	struct uvfio_loop *loop = timer->ctx->loop;

	pthread_mutex_lock(&loop->lock);
	disarm(timer);
	pthread_mutex_unlock(&loop->lock);
	if (!uvfio_ctx_is_current(timer->ctx))
		uvfio_ctx_flush(timer->ctx);
}

void uvfio_timer_free(struct uvfio_timer *timer)
{
	struct uvfio_loop *loop;
	bool queued;

	if (!timer)
		return;
	loop = timer->ctx->loop;
	uvfio_timer_cancel(timer);
	pthread_mutex_lock(&loop->lock);
	loop->timers.made--;
	queued = atomic_load(&timer->work.queued);
	if (queued)
		timer->state = TIMER_FREED;
	pthread_mutex_unlock(&loop->lock);
	if (!queued)
		free(timer);
}
