/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Work contexts: serialised executors ("strands").
 *
 * Theory of operation.  A context is a queue of work and the promise that at most one thread runs
 * it at a time.  It belongs to no thread: whichever thread finds it idle and has something for it
 * may run it.  A loop (struct uvfio_loop) is a thread with an event loop (libuv) that runs
 * contexts which nobody else runs, their timers, file descriptors and pollers.
 *
 *      IDLE ──post──▶ QUEUED ──claimed by a thread──▶ RUNNING ──queue empty──▶ IDLE
 *                                                       │ budget used up
 *                                                       └──────▶ QUEUED (on its loop)
 *
 * A door thread brackets the handling of a request with uvfio_defer_begin() and uvfio_defer_end().
 * What is posted in between is not handed to a loop; uvfio_defer_end(), called after the client
 * has been answered, runs it on the spot.  So a doorbell costs no thread switch.
 *
 * Locks: a context's queue is lock-free (many producers, one consumer).  No lock is held while
 * work runs.
 */
#ifndef UVFIO_BASE_CTX_H
#define UVFIO_BASE_CTX_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct uvfio_loop;
struct uvfio_ctx;
struct uvfio_error;

/* Embedded in what is to be done; must stay valid until @fn is entered (@fn may free it). */
struct uvfio_work {
	struct uvfio_work *_Atomic next;
	void (*fn)(struct uvfio_work *work);
	atomic_bool queued;
};

/* A thread with an event loop.  @name is for ps and gdb (15 characters). */
struct uvfio_loop *uvfio_loop_new(const char *name, struct uvfio_error *err);
/* Stops and joins the thread.  Every context of it must have been freed. */
void uvfio_loop_free(struct uvfio_loop *loop);

struct uvfio_ctx *uvfio_ctx_new(struct uvfio_loop *loop);
/* Waits until the context is idle, then frees it.  Nothing may post to it any more. */
void uvfio_ctx_free(struct uvfio_ctx *ctx);

/* Queue @work; false when it is already queued (it will run once, after this call).  Any thread. */
bool uvfio_ctx_post(struct uvfio_ctx *ctx, struct uvfio_work *work);
/* True when the calling thread runs @ctx at this moment. */
bool uvfio_ctx_is_current(const struct uvfio_ctx *ctx);
/* Wait until everything posted before this call has run.  Runs it itself if nobody does.  Not from
 * within the context. */
void uvfio_ctx_flush(struct uvfio_ctx *ctx);

/* Bracket the handling of a client's request in a door's thread (nests). */
void uvfio_defer_begin(void);
void uvfio_defer_end(void);

/*
 * A poller: called by the loop's thread, within the context, again and again while it finds
 * something (returns true); when it has found nothing for a while the loop backs off to ever longer
 * sleeps, at most @max_sleep_us, and 0 means to spin for ever.  NULL removes it.  From any thread;
 * when the call returns a removed poller does not run any more (unless called from within it).
 */
void uvfio_ctx_set_poller(struct uvfio_ctx *ctx, bool (*fn)(void *arg), void *arg,
			  unsigned max_sleep_us);

/* Watch a file descriptor: @fn runs in the context when it is readable.  Freed by _free(), after
 * which @fn does not run (call within the context, or when it is idle).  Does not close @fd. */
struct uvfio_watch *uvfio_watch_new(struct uvfio_ctx *ctx, int fd, void (*fn)(void *arg),
				    void *arg);
void uvfio_watch_free(struct uvfio_watch *watch);

/* One-shot timer; see uvfio_timer_* in device.h for the rules. */
struct uvfio_timer;
struct uvfio_timer *uvfio_ctx_timer_new(struct uvfio_ctx *ctx, void (*fn)(void *arg), void *arg);

#endif
