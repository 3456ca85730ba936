/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Work contexts: serialised executors ("strands").
 *
 * Theory of operation.  A context is a queue of work and the promise that at most one thread runs
 * it at a time.  It belongs to no thread: whichever thread finds it idle and has something for it
 * may run it.  A loop (struct uvfio_loop) is a thread with an event loop (libevent) that runs
 * contexts which nobody else runs, and waits for their timers, file descriptors and pollers.
 *
 *      IDLE ──post──▶ QUEUED ──claimed by a thread──▶ RUNNING ──queue empty──▶ IDLE
 *       │               ▲                               ▲ │ budget used up
 *       │               ├── posted outside a bracket    │ └──────▶ QUEUED (on its loop)
 *       └──post in a────┴─▶ DEFERRED ──bracket ends─────┘
 *          bracket
 *
 * A door thread brackets the handling of a request with uvfio_defer_begin() and uvfio_defer_end().
 * What is posted in between is not handed to a loop; uvfio_defer_end() runs it on the spot, before
 * or after the client is answered.  So a doorbell costs no thread switch.
 *
 * Fairness: a context that is run gives way after some 64 pieces of work or 500 µs; the rest goes
 * to its loop, which takes its contexts in turn.  A single piece of work is never interrupted; one
 * that knows that it was long yields.
 *
 * Locks: a context's queue is lock-free (many producers, one consumer).  No lock is held while
 * work runs.  The loop's lock guards its timers and watches; under it libevent is told of them, and
 * no callback of anybody runs.
 */
#ifndef UVFIO_BASE_CTX_H
#define UVFIO_BASE_CTX_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct uvfio_loop;
struct uvfio_ctx;
struct uvfio_error;

/* Embedded in what is to be done, zeroed but for @fn; must stay valid until @fn is entered (@fn may
 * free it, or post it again). */
struct uvfio_work {
	void (*fn)(struct uvfio_work *work);
	struct uvfio_work *_Atomic next;
	atomic_bool queued;
};

/* A thread with an event loop, or NULL with a message.  @name is for ps and gdb (15 characters).
 * The thread blocks all signals but those that an instruction raises. */
struct uvfio_loop *uvfio_loop_new(const char *name, struct uvfio_error *err);
/* The same without a thread: uvfio_loop_run() is it. */
struct uvfio_loop *uvfio_loop_new_idle(const char *name, struct uvfio_error *err);
/* Be the thread of a loop that has none, one at a time, until uvfio_loop_stop(), which any thread
 * may call (no signal handler).  A stop that comes before makes the next run end at once.  While
 * nobody runs it, timers, descriptors and pollers of its contexts wait. */
void uvfio_loop_run(struct uvfio_loop *loop);
void uvfio_loop_stop(struct uvfio_loop *loop);
/* Stops and joins the thread.  Every context of it must have been freed, and nobody runs it. */
void uvfio_loop_free(struct uvfio_loop *loop);

/* NULL when there is no memory. */
struct uvfio_ctx *uvfio_ctx_new(struct uvfio_loop *loop);
/* Removes the poller, waits until everything posted has run, then frees it.  Its timers and watches
 * have been freed, and nothing may post to it any more.  Not from within the context. */
void uvfio_ctx_free(struct uvfio_ctx *ctx);

/* Queue @work; false when it is already queued (it will run once, after this call).  Work runs in
 * the order in which it was posted.  Any thread, never waits. */
bool uvfio_ctx_post(struct uvfio_ctx *ctx, struct uvfio_work *work);
/* True when the calling thread runs @ctx at this moment. */
bool uvfio_ctx_is_current(const struct uvfio_ctx *ctx);
/* Within the context: what else it has to do waits until its loop's other contexts, and the
 * descriptors of the loop, have had their turn.  For work that comes in large pieces. */
void uvfio_ctx_yield(struct uvfio_ctx *ctx);
/* Wait until everything posted before this call has run.  Runs it itself if nobody does.  Not from
 * within the context; from within another one it is allowed as long as two do not wait for each
 * other. */
void uvfio_ctx_flush(struct uvfio_ctx *ctx);

/* Bracket the handling of a client's request in a door's thread (nests). */
void uvfio_defer_begin(void);
void uvfio_defer_end(void);
/* Within a bracket: hand what was deferred so far to the loops.  Needed before the thread waits for
 * something that only happens when a context runs (uvfio_ctx_flush() does it by itself). */
void uvfio_defer_handover(void);

/*
 * A poller: called by the loop's thread, within the context, again and again while it finds
 * something (returns true).  When it has found nothing for 75 µs the loop begins to sleep between
 * calls, first 10 µs, then twice as long each time, at most @max_sleep_us; 0 means to spin for
 * ever. Work that the loop runs for the context makes it poll at once.  NULL removes it.  From any
 * thread; when the call returns a removed poller does not run any more (unless called from within
 * it).
 */
void uvfio_ctx_set_poller(struct uvfio_ctx *ctx, bool (*fn)(void *arg), void *arg,
			  unsigned max_sleep_us);

/*
 * Watch a file descriptor: @fn runs in the context when it is readable, has failed or was hung up,
 * and again as long as it is; so it must read what there is, or free the watch.  In rare cases it
 * runs once without any of these, so it must not block.  From any thread (outside the context, @fn
 * may run before this returns).
 * NULL with errno: EPERM for a file that is always readable, ENOMEM, ENOSPC.
 */
struct uvfio_watch;
struct uvfio_watch *uvfio_watch_new(struct uvfio_ctx *ctx, int fd, void (*fn)(void *arg),
				    void *arg);
/* @fn does not run afterwards.  Within the context (in @fn too), or when nothing else runs it.
 * Before @fd is closed; does not close it.  NULL is allowed. */
void uvfio_watch_free(struct uvfio_watch *watch);

/* Have @fn run when @fd is writable too, or not any more.  Within the context. */
void uvfio_watch_write(struct uvfio_watch *watch, bool on);

/* Have @fn not run any more when @fd is readable, or again.  Within the context. */
void uvfio_watch_read(struct uvfio_watch *watch, bool on);

/* One-shot timer, never early and to the microsecond, but only looked at every 20 µs while the loop
 * is busy.  NULL when there is no memory.  uvfio_timer_arm(), _cancel() and _free() of
 * device.h work on it.  All four may be called from any thread; outside the context, _cancel() and
 * _free() wait for @fn where it runs, so the caller must hold nothing that @fn wants. */
struct uvfio_timer;
struct uvfio_timer *uvfio_ctx_timer_new(struct uvfio_ctx *ctx, void (*fn)(void *arg), void *arg);

/* CLOCK_MONOTONIC in nanoseconds. */
uint64_t uvfio_now_ns(void);

#endif
