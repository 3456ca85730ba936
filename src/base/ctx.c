/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The strand: queue, claim, run, defer, flush.  See ctx.h for the states.
 *
 * Why nothing is lost.  A producer pushes its work and then looks at the state; a runner sets the
 * state to idle and then looks at the queue.  All of these are sequentially consistent, so at least
 * one of the two sees the other: either the producer finds the context idle and schedules it, or
 * the runner finds the work and claims the context again.
 *
 * Lists of contexts (a loop's, a deferring thread's) may hold a context that somebody else has run
 * meanwhile.  That is harmless: an entry is a hint to try to claim, and holds a reference.
 */
#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
#include "base/ctx.h"
#include "base/loop.h"

#define BUDGET_WORK 64
#define BUDGET_NS   500000u
#define CLOCK_EVERY 8 /* pieces of work between two looks at the clock */

/* How many contexts a bracket defers; the next ones go to their loops. */
#define DEFER_MAX 8
/* How often the end of a bracket runs a context, those included that this makes ready. */
#define DEFER_RUNS 32

static _Thread_local struct {
	unsigned depth, nr;
	struct uvfio_ctx *list[DEFER_MAX];
} defer;

/* Its address identifies a thread. */
static _Thread_local char self;

uint64_t uvfio_now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + ts.tv_nsec;
}

struct uvfio_ctx *uvfio_ctx_new(struct uvfio_loop *loop)
{
	struct uvfio_ctx *ctx = calloc(1, sizeof(*ctx));

	if (!ctx)
		return NULL;
	ctx->loop = loop;
	atomic_init(&ctx->refs, 1);
	atomic_init(&ctx->state, CTX_IDLE);
	return ctx;
}

void ctx_ref(struct uvfio_ctx *ctx)
{
	atomic_fetch_add(&ctx->refs, 1);
}

void ctx_unref(struct uvfio_ctx *ctx)
{
	if (atomic_fetch_sub(&ctx->refs, 1) == 1)
		free(ctx);
}

static void must_be_outside(const struct uvfio_ctx *ctx, const char *what)
{
	if (!uvfio_ctx_is_current(ctx))
		return;
	fprintf(stderr, "uvfio: bug: %s from within the context would wait for itself\n", what);
	abort();
}

void uvfio_ctx_free(struct uvfio_ctx *ctx)
{
	if (!ctx)
		return;
	must_be_outside(ctx, "uvfio_ctx_free()");
	if (atomic_load(&ctx->want_poll))
		uvfio_ctx_set_poller(ctx, NULL, NULL, 0);
	uvfio_ctx_flush(ctx);
	ctx_unref(ctx);
}

bool uvfio_ctx_is_current(const struct uvfio_ctx *ctx)
{
	return atomic_load_explicit(&((struct uvfio_ctx *)ctx)->owner, memory_order_relaxed) ==
	       &self;
}

/* ---- the queue ---- */

static void push(struct uvfio_ctx *ctx, struct uvfio_work *work)
{
	struct uvfio_work *head = atomic_load_explicit(&ctx->head, memory_order_relaxed);

	do {
		atomic_store_explicit(&work->next, head, memory_order_relaxed);
	} while (!atomic_compare_exchange_weak(&ctx->head, &head, work));
}

/* The oldest piece of work, or NULL.  Only whoever runs the context. */
static struct uvfio_work *pop(struct uvfio_ctx *ctx)
{
	struct uvfio_work *work = ctx->local, *next;

	if (!work) {
		if (!atomic_load_explicit(&ctx->head, memory_order_relaxed))
			return NULL;
		/* Newest first becomes oldest first. */
		for (next = atomic_exchange(&ctx->head, NULL); next;) {
			struct uvfio_work *newest = next;

			next = atomic_load_explicit(&newest->next, memory_order_relaxed);
			atomic_store_explicit(&newest->next, work, memory_order_relaxed);
			work = newest;
		}
		if (!work)
			return NULL;
	}
	ctx->local = atomic_load_explicit(&work->next, memory_order_relaxed);
	return work;
}

/* ---- scheduling ---- */

/* True when @ctx is, or already was, in this thread's list. */
static bool defer_add(struct uvfio_ctx *ctx)
{
	for (unsigned i = 0; i < defer.nr; i++)
		if (defer.list[i] == ctx)
			return true;
	if (defer.nr == DEFER_MAX)
		return false;
	ctx_ref(ctx);
	defer.list[defer.nr++] = ctx;
	return true;
}

/* After a push: see to it that somebody will run @ctx. */
static void schedule(struct uvfio_ctx *ctx)
{
	enum ctx_state state = atomic_load(&ctx->state);

	/* Deferred by another thread: whichever of the two gets there first.  Outside a bracket a
	 * deferred context becomes its loop's, because nobody knows how long the bracket is. */
	while (state == CTX_IDLE || state == CTX_DEFERRED) {
		if (defer.depth && defer_add(ctx)) {
			if (state == CTX_DEFERRED ||
			    atomic_compare_exchange_weak(&ctx->state, &state, CTX_DEFERRED))
				return;
		} else if (atomic_compare_exchange_weak(&ctx->state, &state, CTX_QUEUED)) {
			loop_push(ctx);
			return;
		}
	}
}

bool uvfio_ctx_post(struct uvfio_ctx *ctx, struct uvfio_work *work)
{
	/* Both this and the runner's clearing are exchanges, so that what was written before a post
	 * that finds the work queued is seen by @fn. */
	if (atomic_exchange(&work->queued, true))
		return false;
	/* Whoever runs @work may free the context before we have scheduled it. */
	ctx_ref(ctx);
	push(ctx, work);
	schedule(ctx);
	ctx_unref(ctx);
	return true;
}

void uvfio_ctx_yield(struct uvfio_ctx *ctx)
{
	ctx->yield = true;
}

bool ctx_claim_from(struct uvfio_ctx *ctx, enum ctx_state from)
{
	return atomic_compare_exchange_strong(&ctx->state, &from, CTX_RUNNING);
}

bool ctx_claim(struct uvfio_ctx *ctx)
{
	enum ctx_state state = atomic_load(&ctx->state);

	while (state != CTX_RUNNING)
		if (atomic_compare_exchange_weak(&ctx->state, &state, CTX_RUNNING))
			return true;
	return false;
}

static void wake_waiters(struct uvfio_ctx *ctx)
{
	if (!atomic_load(&ctx->waiters))
		return;
	atomic_fetch_add(&ctx->event, 1);
	syscall(SYS_futex, &ctx->event, FUTEX_WAKE_PRIVATE, INT_MAX, NULL, NULL, 0);
}

/* Run queued work; false when the budget was used up before the queue was empty. */
static bool run_queue(struct uvfio_ctx *ctx, unsigned *budget, uint64_t *deadline)
{
	struct uvfio_work *work;

	while ((work = pop(ctx))) {
		void (*fn)(struct uvfio_work * work) = work->fn;

		atomic_exchange(&work->queued, false);
		fn(work);
		if (ctx->yield) {
			ctx->yield = false;
			return false;
		}
		if (--*budget == 0)
			return false;
		if (*budget % CLOCK_EVERY == 0) {
			uint64_t now = uvfio_now_ns();

			if (!*deadline)
				*deadline = now + BUDGET_NS;
			else if (now >= *deadline)
				return false;
		}
	}
	return true;
}

bool ctx_run(struct uvfio_ctx *ctx, bool poll)
{
	unsigned budget = BUDGET_WORK;
	uint64_t deadline = 0;
	bool hit = false;

	for (;;) {
		bool empty;

		atomic_store_explicit(&ctx->owner, &self, memory_order_relaxed);
		if (poll && ctx->poll_fn)
			hit = ctx->poll_fn(ctx->poll_arg);
		poll = false;
		empty = run_queue(ctx, &budget, &deadline);
		atomic_store_explicit(&ctx->owner, NULL, memory_order_relaxed);
		if (!empty) {
			atomic_store(&ctx->state, CTX_QUEUED);
			loop_push(ctx);
			break;
		}
		atomic_store(&ctx->state, CTX_IDLE);
		if (!atomic_load(&ctx->head) || !ctx_claim_from(ctx, CTX_IDLE))
			break;
	}
	wake_waiters(ctx);
	return hit;
}

/* ---- brackets ---- */

void uvfio_defer_begin(void)
{
	defer.depth++;
}

void uvfio_defer_handover(void)
{
	while (defer.nr) {
		struct uvfio_ctx *ctx = defer.list[--defer.nr];
		enum ctx_state state = CTX_DEFERRED;

		if (atomic_compare_exchange_strong(&ctx->state, &state, CTX_QUEUED))
			loop_push(ctx);
		ctx_unref(ctx);
	}
}

void uvfio_defer_end(void)
{
	assert(defer.depth > 0);
	if (defer.depth > 1 || !defer.nr) {
		defer.depth--;
		return;
	}
	/* Still deferring, so that what one context posts to another stays in this thread. */
	for (unsigned runs = 0; defer.nr && runs < DEFER_RUNS; runs++) {
		struct uvfio_ctx *ctx = defer.list[0];

		defer.nr--;
		for (unsigned i = 0; i < defer.nr; i++)
			defer.list[i] = defer.list[i + 1];
		if (ctx_claim_from(ctx, CTX_DEFERRED))
			ctx_run(ctx, false);
		ctx_unref(ctx);
	}
	uvfio_defer_handover();
	defer.depth--;
}

/* ---- flush ---- */

struct flush {
	struct uvfio_work work;
	struct uvfio_ctx *ctx;
	atomic_bool done;
};

static void flush_reached(struct uvfio_work *work)
{
	struct flush *flush = (struct flush *)work;
	struct uvfio_ctx *ctx = flush->ctx;

	atomic_store(&flush->done, true); /* which ends the life of *flush */
	wake_waiters(ctx);
}

/*
 * Everything posted before stands before the mark in the queue.  The mark schedules nothing: either
 * this thread gets to claim the context, or somebody runs it and will find the mark.  A runner that
 * stops before that wakes us after it has given up the claim, so that we, and not a loop that may
 * be waiting for us, go on.
 */
static void flush_run(struct uvfio_ctx *ctx, struct flush *flush)
{
	flush->ctx = ctx;
	atomic_init(&flush->done, false);
	atomic_fetch_add(&ctx->waiters, 1);
	atomic_exchange(&flush->work.queued, true);
	push(ctx, &flush->work);
	for (;;) {
		unsigned event = atomic_load(&ctx->event);

		if (atomic_load(&flush->done))
			break;
		if (ctx_claim(ctx)) {
			ctx_run(ctx, false);
			continue;
		}
		uvfio_defer_handover();
		syscall(SYS_futex, &ctx->event, FUTEX_WAIT_PRIVATE, event, NULL, NULL, 0);
	}
	atomic_fetch_sub(&ctx->waiters, 1);
}

void uvfio_ctx_flush(struct uvfio_ctx *ctx)
{
	struct flush flush = {.work.fn = flush_reached};

	must_be_outside(ctx, "uvfio_ctx_flush()");
	flush_run(ctx, &flush);
}

/* ---- the poller ---- */

struct set_poller {
	struct flush flush;
	bool (*fn)(void *arg);
	void *arg;
	unsigned max_sleep_us;
};

static void set_poller(struct uvfio_ctx *ctx, bool (*fn)(void *arg), void *arg,
		       unsigned max_sleep_us)
{
	ctx->poll_fn = fn;
	ctx->poll_arg = arg;
	atomic_store(&ctx->poll_max_us, max_sleep_us);
	atomic_store(&ctx->want_poll, fn != NULL);
	loop_push(ctx);
}

static void set_poller_work(struct uvfio_work *work)
{
	struct set_poller *set = (struct set_poller *)work;

	set_poller(set->flush.ctx, set->fn, set->arg, set->max_sleep_us);
	flush_reached(work);
}

void uvfio_ctx_set_poller(struct uvfio_ctx *ctx, bool (*fn)(void *arg), void *arg,
			  unsigned max_sleep_us)
{
	struct set_poller set = {{{.fn = set_poller_work}}, fn, arg, max_sleep_us};

	if (uvfio_ctx_is_current(ctx))
		set_poller(ctx, fn, arg, max_sleep_us);
	else
		flush_run(ctx, &set.flush);
}
