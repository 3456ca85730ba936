/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The loop's thread: in turn, the contexts that were handed to it, timers that have expired, the
 * pollers that are due, and what epoll reports.
 *
 * Sleep.  The thread announces in asleep_until when it would wake by itself, then looks once more
 * whether anything has come, and then waits.  Whoever hands it something first does so and then
 * looks at asleep_until.  So one of the two notices the other (all sequentially consistent); the
 * eventfd is written at most once per sleep, and not at all while the thread is awake.  Without
 * timers and pollers the thread sleeps without an end.
 *
 * While it has work or a poller spins, epoll is asked at most every 20 µs.
 */
#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>
#include <uvfio/device.h>
#include "base/ctx.h"
#include "base/loop.h"

#define IO_INTERVAL_NS      20000u
#define POLL_SPIN_NS        75000u
#define POLL_FIRST_SLEEP_NS 10000u
#define MAX_EVENTS          32

void loop_wake(struct uvfio_loop *loop)
{
	uint64_t one = 1;

	if (!atomic_load(&loop->asleep_until) || !atomic_exchange(&loop->asleep_until, 0))
		return;
	while (write(loop->evfd, &one, sizeof(one)) < 0 && errno == EINTR)
		;
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

static void handle_events(struct uvfio_loop *loop, const struct epoll_event *events, int nr)
{
	uint64_t count;

	for (int i = 0; i < nr; i++) {
		if (events[i].data.ptr)
			watch_event(events[i].data.ptr);
		else if (read(loop->evfd, &count, sizeof(count)) < 0)
			continue; /* nothing in it: somebody else's interrupted write */
	}
}

static void wait_for_events(struct uvfio_loop *loop, uint64_t poll_at, uint64_t now)
{
	struct epoll_event events[MAX_EVENTS];
	struct timespec ts, *timeout = NULL;
	uint64_t until;
	int nr;

	/* Under the lock, so that a timer armed meanwhile either is seen or sees us asleep. */
	pthread_mutex_lock(&loop->lock);
	until = atomic_load(&loop->first_deadline);
	if (poll_at < until)
		until = poll_at;
	atomic_store(&loop->asleep_until, until);
	pthread_mutex_unlock(&loop->lock);
	if (until <= now || atomic_load(&loop->ready) || atomic_load(&loop->stop)) {
		atomic_store(&loop->asleep_until, 0);
		until = now;
	}
	if (until != UINT64_MAX) {
		ts.tv_sec = (until - now) / 1000000000u;
		ts.tv_nsec = (until - now) % 1000000000u;
		timeout = &ts;
	}
	nr = epoll_pwait2(loop->epfd, events, MAX_EVENTS, timeout, NULL);
	atomic_store(&loop->asleep_until, 0);
	handle_events(loop, events, nr);
}

static void *loop_main(void *arg)
{
	struct uvfio_loop *loop = arg;
	uint64_t last_io = 0;

	prctl(PR_SET_TIMERSLACK, 1, 0, 0, 0); /* timers to the microsecond */
	while (!atomic_load(&loop->stop)) {
		uint64_t now = uvfio_now_ns(), poll_at;

		watches_reap(loop);
		timers_expire(loop, now);
		run_ready(loop, now);
		poll_at = run_pollers(loop, now);
		if (poll_at && !atomic_load(&loop->ready))
			wait_for_events(loop, poll_at, uvfio_now_ns());
		else if (now - last_io >= IO_INTERVAL_NS)
			wait_for_events(loop, 0, now);
		else
			continue;
		last_io = now;
	}
	return NULL;
}

struct uvfio_loop *uvfio_loop_new(const char *name, struct uvfio_error *err)
{
	struct uvfio_loop *loop = calloc(1, sizeof(*loop));
	struct epoll_event event = {.events = EPOLLIN};
	char short_name[16] = "";
	sigset_t blocked, old;
	int rc;

	if (!loop) {
		uvfio_error_set(err, -ENOMEM, "no memory for the event loop %s", name);
		return NULL;
	}
	pthread_mutex_init(&loop->lock, NULL);
	atomic_init(&loop->first_deadline, UINT64_MAX);
	loop->evfd = -1;
	loop->epfd = epoll_create1(EPOLL_CLOEXEC);
	if (loop->epfd >= 0)
		loop->evfd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (loop->evfd < 0 || epoll_ctl(loop->epfd, EPOLL_CTL_ADD, loop->evfd, &event)) {
		uvfio_error_set(err, -errno,
				"cannot make the event loop %s: %s; check the limit on open files "
				"(ulimit -n)",
				name, strerror(errno));
		goto fail;
	}
	sigfillset(&blocked);
	sigdelset(&blocked, SIGBUS);
	sigdelset(&blocked, SIGSEGV);
	sigdelset(&blocked, SIGILL);
	sigdelset(&blocked, SIGFPE);
	sigdelset(&blocked, SIGTRAP);
	sigdelset(&blocked, SIGABRT);
	sigdelset(&blocked, SIGSYS);
	pthread_sigmask(SIG_BLOCK, &blocked, &old);
	rc = pthread_create(&loop->thread, NULL, loop_main, loop);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (rc) {
		uvfio_error_set(err, -rc,
				"cannot start a thread for the event loop %s: %s; check the limit "
				"on processes (ulimit -u)",
				name, strerror(rc));
		goto fail;
	}
	strncpy(short_name, name, sizeof(short_name) - 1);
	pthread_setname_np(loop->thread, short_name);
	return loop;

fail:
	if (loop->evfd >= 0)
		close(loop->evfd);
	if (loop->epfd >= 0)
		close(loop->epfd);
	pthread_mutex_destroy(&loop->lock);
	free(loop);
	return NULL;
}

void uvfio_loop_free(struct uvfio_loop *loop)
{
	if (!loop)
		return;
	atomic_store(&loop->stop, true);
	loop_wake(loop);
	pthread_join(loop->thread, NULL);
	/* What is left are references to contexts that have been freed, and late events of watches
	 * that have. */
	while (loop->nr_pollers)
		poller_remove(loop, loop->nr_pollers - 1);
	watches_reap(loop);
	while (atomic_load(&loop->ready))
		run_ready(loop, 0);
	close(loop->evfd);
	close(loop->epfd);
	pthread_mutex_destroy(&loop->lock);
	free(loop->pollers);
	free(loop->heap);
	free(loop);
}
