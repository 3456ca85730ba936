/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Timers: a binary heap per loop, under the loop's lock.
 *
 *      IDLE ──arm──▶ ARMED ──deadline──▶ FIRED ──its work runs──▶ IDLE, and @fn is called
 *        ▲             │ ▲                 │ │
 *        │             │ └───────arm───────┘ │
 *        └───cancel────┴───────cancel────────┘
 *
 * The loop only posts the timer's work; whether @fn is called is decided in the context, by the
 * state at that moment.  So a timer that was cancelled or moved after it had fired does not run.
 * A timer that is freed while its work is queued is freed by that work.
 */
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
	size_t at;         /* place in the heap while ARMED */
};

/* ---- the heap, under the loop's lock ---- */

static void heap_put(struct uvfio_loop *loop, size_t at, struct uvfio_timer *timer)
{
	loop->heap[at] = timer;
	timer->at = at;
}

/* Put @timer at @at or where it belongs above or below. */
static void heap_settle(struct uvfio_loop *loop, size_t at, struct uvfio_timer *timer)
{
	while (at && timer->deadline < loop->heap[(at - 1) / 2]->deadline) {
		heap_put(loop, at, loop->heap[(at - 1) / 2]);
		at = (at - 1) / 2;
	}
	for (size_t child; (child = 2 * at + 1) < loop->nr_armed; at = child) {
		if (child + 1 < loop->nr_armed &&
		    loop->heap[child + 1]->deadline < loop->heap[child]->deadline)
			child++;
		if (timer->deadline <= loop->heap[child]->deadline)
			break;
		heap_put(loop, at, loop->heap[child]);
	}
	heap_put(loop, at, timer);
}

static void heap_changed(struct uvfio_loop *loop)
{
	atomic_store(&loop->first_deadline, loop->nr_armed ? loop->heap[0]->deadline : UINT64_MAX);
}

static void heap_remove(struct uvfio_loop *loop, struct uvfio_timer *timer)
{
	struct uvfio_timer *last = loop->heap[--loop->nr_armed];

	if (last != timer)
		heap_settle(loop, timer->at, last);
	heap_changed(loop);
}

/* ---- */

void timers_expire(struct uvfio_loop *loop, uint64_t now)
{
	if (atomic_load(&loop->first_deadline) > now)
		return;
	pthread_mutex_lock(&loop->lock);
	while (loop->nr_armed && loop->heap[0]->deadline <= now) {
		struct uvfio_timer *timer = loop->heap[0];

		heap_remove(loop, timer);
		timer->state = TIMER_FIRED;
		/* Under the lock, so that whoever cancels sees either the state or the work. */
		uvfio_ctx_post(timer->ctx, &timer->work);
	}
	pthread_mutex_unlock(&loop->lock);
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

	if (!timer)
		return NULL;
	timer->work.fn = timer_work;
	timer->ctx = ctx;
	timer->fn = fn;
	timer->arg = arg;
	/* Room for each timer that there is, so that arming cannot fail. */
	pthread_mutex_lock(&loop->lock);
	if (loop->nr_timers == loop->heap_room) {
		size_t room = loop->heap_room ? loop->heap_room * 2 : 16;
		void *heap = realloc(loop->heap, room * sizeof(loop->heap[0]));

		if (!heap) {
			pthread_mutex_unlock(&loop->lock);
			free(timer);
			return NULL;
		}
		loop->heap = heap;
		loop->heap_room = room;
	}
	loop->nr_timers++;
	pthread_mutex_unlock(&loop->lock);
	return timer;
}

void uvfio_timer_arm(struct uvfio_timer *timer, uint64_t ns)
{
	struct uvfio_loop *loop = timer->ctx->loop;
	uint64_t now = uvfio_now_ns();
	bool earlier;

	pthread_mutex_lock(&loop->lock);
	if (timer->state == TIMER_ARMED)
		heap_remove(loop, timer);
	/* UINT64_MAX stands for never. */
	timer->deadline = ns < UINT64_MAX - 1 - now ? now + ns : UINT64_MAX - 1;
	timer->state = TIMER_ARMED;
	heap_settle(loop, loop->nr_armed++, timer);
	heap_changed(loop);
	earlier = timer->deadline < atomic_load(&loop->asleep_until);
	pthread_mutex_unlock(&loop->lock);
	if (earlier)
		loop_wake(loop);
}

void uvfio_timer_cancel(struct uvfio_timer *timer)
{
	struct uvfio_loop *loop = timer->ctx->loop;

	pthread_mutex_lock(&loop->lock);
	if (timer->state == TIMER_ARMED)
		heap_remove(loop, timer);
	timer->state = TIMER_IDLE;
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
	loop->nr_timers--;
	queued = atomic_load(&timer->work.queued);
	if (queued)
		timer->state = TIMER_FREED;
	pthread_mutex_unlock(&loop->lock);
	if (!queued)
		free(timer);
}
