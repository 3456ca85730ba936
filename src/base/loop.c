/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The loop's thread: in turn, the contexts that were handed to it, the pollers that are due, and
 * what libevent reports.
 *
 * File descriptors and the waking of the thread are libevent's, and one of the descriptors is the
 * clock of the timers and pollers (timer.c).  Its callbacks only post work and run nothing;
 * contexts are run between two visits to the library.  To wait costs one system call.
 *
 * Sleep.  The thread announces that it is asleep, then looks once more whether anything has come,
 * and then enters the library to wait.  Whoever hands it something first does so and then looks at
 * the announcement.  So one of the two notices the other (all sequentially consistent).  An
 * activation before the library waits keeps it from waiting.  An eventfd is written at most once
 * per sleep, and not at all while the thread is awake.  Without timers and pollers the thread
 * sleeps without an end.
 *
 * While it has work or a poller spins, the library is entered at most every 20 µs.
 */
#include <errno.h>
#include <event2/event.h>
#include <event2/thread.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <uvfio/device.h>
#include "base/ctx.h"
#include "base/loop.h"
#include "base/thread.h"

#define IO_INTERVAL_NS      20000u
#define POLL_SPIN_NS        75000u
#define POLL_FIRST_SLEEP_NS 10000u

static void loop_wake(struct uvfio_loop *loop)
{
	if (atomic_load(&loop->asleep) && atomic_exchange(&loop->asleep, false))
		event_active(loop->wake, 0, 0);
}

void loop_push(struct uvfio_ctx *ctx)
{
	struct uvfio_loop *loop = ctx->loop;
	struct uvfio_ctx *head;

	if (atomic_exchange(&ctx->on_loop, true))
		return; /* the thread will clear this before it looks at the context */
	ctx_ref(ctx);
	head = atomic_load_explicit(&loop->ready, memory_order_relaxed);
	do {
		ctx->loop_next = head;
	} while (!atomic_compare_exchange_weak(&loop->ready, &head, ctx));
	loop_wake(loop);
}

/* ---- pollers ---- */

static void poller_add(struct uvfio_loop *loop, struct uvfio_ctx *ctx, uint64_t now)
{
	if (loop->nr_pollers == loop->pollers_room) {
		size_t room = loop->pollers_room ? loop->pollers_room * 2 : 8;
		void *p = realloc(loop->pollers, room * sizeof(loop->pollers[0]));

		if (!p) {
			loop_push(ctx); /* try again soon */
			return;
		}
		loop->pollers = p;
		loop->pollers_room = room;
	}
	ctx_ref(ctx);
	ctx->polled = true;
	ctx->poll_next = ctx->poll_sleep = 0;
	ctx->poll_last_hit = now;
	loop->pollers[loop->nr_pollers++] = ctx;
}

static void poller_remove(struct uvfio_loop *loop, size_t i)
{
	struct uvfio_ctx *ctx = loop->pollers[i];

	loop->pollers[i] = loop->pollers[--loop->nr_pollers];
	ctx->polled = false;
	ctx_unref(ctx);
}

static void poll_one(struct uvfio_ctx *ctx, uint64_t now)
{
	uint64_t max = (uint64_t)atomic_load(&ctx->poll_max_us) * 1000u;

	/* While another thread runs the context it counts as having found nothing. */
	if (ctx_claim(ctx) && ctx_run(ctx, true)) {
		ctx->poll_last_hit = now;
		ctx->poll_next = ctx->poll_sleep = 0;
		return;
	}
	if (!max || now - ctx->poll_last_hit < POLL_SPIN_NS) {
		ctx->poll_next = 0;
		return;
	}
	ctx->poll_sleep = ctx->poll_sleep ? ctx->poll_sleep * 2 : POLL_FIRST_SLEEP_NS;
	if (ctx->poll_sleep > max)
		ctx->poll_sleep = max;
	ctx->poll_next = now + ctx->poll_sleep;
}

/* When the next one is due: 0 at once, UINT64_MAX never. */
static uint64_t run_pollers(struct uvfio_loop *loop, uint64_t now)
{
	uint64_t next = UINT64_MAX;

	for (size_t i = 0; i < loop->nr_pollers;) {
		struct uvfio_ctx *ctx = loop->pollers[i];

		if (!atomic_load(&ctx->want_poll)) {
			poller_remove(loop, i);
			continue;
		}
		if (ctx->poll_next <= now)
			poll_one(ctx, now);
		if (ctx->poll_next < next)
			next = ctx->poll_next;
		i++;
	}
	return next;
}

/* ---- contexts ---- */

static void run_ready(struct uvfio_loop *loop, uint64_t now)
{
	struct uvfio_ctx *next, *oldest = NULL;

	if (!atomic_load(&loop->ready))
		return;
	for (next = atomic_exchange(&loop->ready, NULL); next;) {
		struct uvfio_ctx *newest = next;

		next = newest->loop_next;
		newest->loop_next = oldest;
		oldest = newest;
	}
	while (oldest) {
		struct uvfio_ctx *ctx = oldest;

		oldest = ctx->loop_next;
		atomic_exchange(&ctx->on_loop, false);
		if (!ctx->polled && atomic_load(&ctx->want_poll))
			poller_add(loop, ctx, now);
		if (ctx_claim_from(ctx, CTX_QUEUED)) {
			ctx_run(ctx, false);
			ctx->poll_next = 0;
		}
		ctx_unref(ctx);
	}
}

/* ---- the thread ---- */

/* To have returned from the library is all that is wanted. */
static void on_wake(evutil_socket_t fd, short what, void *arg)
{
}

static void look_for_events(struct uvfio_loop *loop)
{
	watches_end_round(loop);
	event_base_loop(loop->base, EVLOOP_ONCE | EVLOOP_NONBLOCK);
}

static void wait_for_events(struct uvfio_loop *loop, uint64_t poll_at)
{
	watches_end_round(loop);
	if (poll_at != UINT64_MAX)
		timers_wake_at(loop, poll_at);
	atomic_store(&loop->asleep, true);
	if (atomic_load(&loop->ready) || atomic_load(&loop->stop))
		event_base_loop(loop->base, EVLOOP_ONCE | EVLOOP_NONBLOCK);
	else
		event_base_loop(loop->base, EVLOOP_ONCE | EVLOOP_NO_EXIT_ON_EMPTY);
	atomic_store(&loop->asleep, false);
}

static void run(struct uvfio_loop *loop)
{
	uint64_t last_io = 0;

	while (!atomic_load(&loop->stop)) {
		uint64_t now = uvfio_now_ns(), poll_at;

		run_ready(loop, now);
		poll_at = run_pollers(loop, now);
		if (poll_at && !atomic_load(&loop->ready))
			wait_for_events(loop, poll_at);
		else if (now - last_io >= IO_INTERVAL_NS)
			look_for_events(loop);
		else
			continue;
		last_io = now;
	}
}

static void *loop_main(void *arg)
{
	struct uvfio_loop *loop = arg;

	/* By itself: for another thread this takes a file of /proc. */
	pthread_setname_np(pthread_self(), loop->name);
	run(loop);
	return NULL;
}

void uvfio_loop_run(struct uvfio_loop *loop)
{
	run(loop);
	atomic_store(&loop->stop, false);
}

void uvfio_loop_stop(struct uvfio_loop *loop)
{
	atomic_store(&loop->stop, true);
	loop_wake(loop);
}

/* ---- */

/* Before the process's first base.  Harmless when the program has done it, too. */
static void use_threads(void)
{
	evthread_use_pthreads();
}

/* 0, or -errno. */
static int make_base(struct uvfio_loop *loop)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	struct event_config *config;

	pthread_once(&once, use_threads);
	config = event_config_new();
	if (!config)
		return -ENOMEM;
	/* epoll or nothing; no look at the clock; whatever is in the environment. */
	event_config_require_features(config, EV_FEATURE_O1 | EV_FEATURE_ET);
	event_config_set_flag(config, EVENT_BASE_FLAG_NO_CACHE_TIME | EVENT_BASE_FLAG_IGNORE_ENV);
	errno = 0;
	loop->base = event_base_new_with_config(config);
	event_config_free(config);
	if (!loop->base)
		return errno ? -errno : -ENOMEM;
	loop->wake = event_new(loop->base, -1, 0, on_wake, NULL);
	return loop->wake ? timers_init(loop) : -ENOMEM;
}

static void free_base(struct uvfio_loop *loop)
{
	if (loop->wake)
		event_free(loop->wake);
	timers_fini(loop);
	if (loop->base)
		event_base_free(loop->base);
}

struct uvfio_loop *uvfio_loop_new_idle(const char *name, struct uvfio_error *err)
{
	struct uvfio_loop *loop = calloc(1, sizeof(*loop));
	int rc;

	if (!loop) {
		uvfio_error_set(err, -ENOMEM, "no memory for the event loop %s", name);
		return NULL;
	}
	pthread_mutex_init(&loop->lock, NULL);
	loop->timers.fd = -1;
	rc = -make_base(loop);
	if (rc) {
		uvfio_error_set(err, -rc,
				"cannot make the event loop %s: %s; check the limit on open files "
				"(ulimit -n)",
				name, strerror(rc));
		free_base(loop);
		pthread_mutex_destroy(&loop->lock);
		free(loop);
		return NULL;
	}
	strncpy(loop->name, name, sizeof(loop->name) - 1);
	return loop;
}

struct uvfio_loop *uvfio_loop_new(const char *name, struct uvfio_error *err)
{
	struct uvfio_loop *loop = uvfio_loop_new_idle(name, err);
	int rc;

	if (!loop)
		return NULL;
	rc = uvfio_thread_create(&loop->thread, NULL, loop_main, loop);
	if (rc) {
		uvfio_error_set(err, -rc,
				"cannot start a thread for the event loop %s: %s; check the limit "
				"on processes (ulimit -u)",
				name, strerror(rc));
		uvfio_loop_free(loop);
		return NULL;
	}
	loop->has_thread = true;
	return loop;
}

void uvfio_loop_free(struct uvfio_loop *loop)
{
	if (!loop)
		return;
	uvfio_loop_stop(loop);
	if (loop->has_thread)
		pthread_join(loop->thread, NULL);
	/* What is left are references to contexts and watches that have been freed. */
	while (loop->nr_pollers)
		poller_remove(loop, loop->nr_pollers - 1);
	watches_end_round(loop);
	while (atomic_load(&loop->ready))
		run_ready(loop, 0);
	free_base(loop);
	pthread_mutex_destroy(&loop->lock);
	free(loop->pollers);
	free(loop);
}
