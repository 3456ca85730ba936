/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Timers: an event of libevent each, and a state under the loop's lock.
 *
 *      IDLE ──arm──▶ ARMED ──deadline──▶ FIRED ──its work runs──▶ IDLE, and @fn is called
 *        ▲             │ ▲                 │ │
 *        │             │ └───────arm───────┘ │
 *        └───cancel────┴───────cancel────────┘
 *
 * The event only posts the timer's work; whether @fn is called is decided in the context, by the
 * state at that moment.  So a timer that was cancelled or moved after it had fired does not run.
 * A timer that is freed while its work is queued is freed by that work.
 *
 * Arming cannot fail.  If the library has no memory for the event, the work does its duty: it is
 * posted again and again until there is some or the time has come.
 */
#include <event2/event.h>
#include <stdlib.h>
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
	struct event *event;
};

static void destroy(struct uvfio_timer *timer)
{
	event_free(timer->event);
	free(timer);
}

/* Under the lock, as are the next two.  Under the same lock as the state, so that whoever cancels
 * sees either the state or the work. */
static void fire(struct uvfio_timer *timer)
{
	timer->state = TIMER_FIRED;
	uvfio_ctx_post(timer->ctx, &timer->work);
}

static void await_deadline(struct uvfio_timer *timer, uint64_t now)
{
	/* Both clocks round down to the microsecond, and it must not be early. */
	uint64_t us = (timer->deadline - now) / 1000u + 2;

	if (event_add(timer->event, &(struct timeval){us / 1000000u, us % 1000000u}))
		uvfio_ctx_post(timer->ctx, &timer->work);
}

/* In the loop's thread.  It may have been cancelled or moved when this was on its way already. */
static void on_deadline(evutil_socket_t fd, short what, void *arg)
{
	struct uvfio_timer *timer = arg;
	struct uvfio_loop *loop = timer->ctx->loop;

	atomic_store(&loop->asleep, false);
	pthread_mutex_lock(&loop->lock);
	if (timer->state == TIMER_ARMED && timer->deadline <= uvfio_now_ns())
		fire(timer);
	pthread_mutex_unlock(&loop->lock);
}

static void timer_work(struct uvfio_work *work)
{
	struct uvfio_timer *timer = (struct uvfio_timer *)work;
	struct uvfio_loop *loop = timer->ctx->loop;
	enum timer_state state;
	uint64_t now;

	pthread_mutex_lock(&loop->lock);
	state = timer->state;
	if (state == TIMER_FIRED) {
		timer->state = TIMER_IDLE;
	} else if (state == TIMER_ARMED) {
		now = uvfio_now_ns();
		if (timer->deadline <= now)
			fire(timer);
		else
			await_deadline(timer, now);
	}
	pthread_mutex_unlock(&loop->lock);
	if (state == TIMER_FREED)
		destroy(timer);
	else if (state == TIMER_FIRED)
		timer->fn(timer->arg); /* which may free it */
}

struct uvfio_timer *uvfio_ctx_timer_new(struct uvfio_ctx *ctx, void (*fn)(void *arg), void *arg)
{
	struct uvfio_timer *timer = calloc(1, sizeof(*timer));

	if (!timer)
		return NULL;
	timer->work.fn = timer_work;
	timer->ctx = ctx;
	timer->fn = fn;
	timer->arg = arg;
	timer->event = evtimer_new(ctx->loop->base, on_deadline, timer);
	if (!timer->event) {
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
	timer->deadline = ns < UINT64_MAX - now ? now + ns : UINT64_MAX;
	timer->state = TIMER_ARMED;
	await_deadline(timer, now);
	pthread_mutex_unlock(&loop->lock);
}

void uvfio_timer_cancel(struct uvfio_timer *timer)
{
	struct uvfio_loop *loop = timer->ctx->loop;

	pthread_mutex_lock(&loop->lock);
	timer->state = TIMER_IDLE;
	event_del_noblock(timer->event); /* on_deadline() may be waiting for the lock */
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
	event_del(timer->event); /* waits for on_deadline() */
	pthread_mutex_lock(&loop->lock);
	queued = atomic_load(&timer->work.queued);
	if (queued)
		timer->state = TIMER_FREED;
	pthread_mutex_unlock(&loop->lock);
	if (!queued)
		destroy(timer);
}
