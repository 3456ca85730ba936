/* SPDX-License-Identifier: BSD-3-Clause */
/* What ctx.c, loop.c, timer.c and watch.c share.  For nobody else. */
#ifndef UVFIO_BASE_LOOP_H
#define UVFIO_BASE_LOOP_H

#include <pthread.h>
#include "base/ctx.h"

enum ctx_state { CTX_IDLE, CTX_DEFERRED, CTX_QUEUED, CTX_RUNNING };

struct uvfio_ctx {
	struct uvfio_loop *loop;
	struct uvfio_work *_Atomic head; /* newest first; producers push */
	_Atomic(enum ctx_state) state;
	atomic_uint refs;    /* the creator, the loop's lists, deferring threads */
	void *_Atomic owner; /* identifies the thread that runs it */

	/* Who waits in uvfio_ctx_flush() sleeps on @event. */
	atomic_uint waiters, event;

	/* Owned by whoever runs it. */
	struct uvfio_work *local; /* taken from @head, oldest first */
	bool (*poll_fn)(void *arg);
	void *poll_arg;

	/* The loop's list of contexts to look at; @on_loop while in it. */
	atomic_bool on_loop;
	struct uvfio_ctx *loop_next;

	atomic_bool want_poll; /* there is a poller */
	atomic_uint poll_max_us;
	/* Owned by the loop's thread. */
	bool polled;                                   /* in its list of pollers */
	uint64_t poll_next, poll_sleep, poll_last_hit; /* ns */
};

struct uvfio_loop {
	pthread_t thread;
	int epfd, evfd;
	atomic_bool stop;
	struct uvfio_ctx *_Atomic ready; /* newest first; any thread pushes */
	/* When the thread will wake by itself (ns), 0 while it is awake.  Whoever has something for
	 * it earlier takes the value away by exchange and writes to @evfd. */
	_Atomic uint64_t asleep_until;

	pthread_mutex_t lock; /* the timers, and the dead watches */
	struct uvfio_timer **heap;
	size_t nr_armed, nr_timers, heap_room;
	_Atomic uint64_t first_deadline; /* of heap[0]; UINT64_MAX: none */
	struct uvfio_watch *dead;

	/* Owned by the thread. */
	struct uvfio_ctx **pollers;
	size_t nr_pollers, pollers_room;
};

/* ctx.c */
void ctx_ref(struct uvfio_ctx *ctx);
void ctx_unref(struct uvfio_ctx *ctx);
/* Become the one who runs @ctx, if it is in @from. */
bool ctx_claim_from(struct uvfio_ctx *ctx, enum ctx_state from);
/* Become the one who runs @ctx, unless somebody does. */
bool ctx_claim(struct uvfio_ctx *ctx);
/* Run a claimed context until it has nothing to do or the budget is used up; with @poll, its poller
 * once, and returns what that did.  Gives up the claim. */
bool ctx_run(struct uvfio_ctx *ctx, bool poll);

/* loop.c */
void loop_push(struct uvfio_ctx *ctx); /* have the loop's thread look at @ctx */
void loop_wake(struct uvfio_loop *loop);

/* timer.c, in the loop's thread */
void timers_expire(struct uvfio_loop *loop, uint64_t now);

/* watch.c, in the loop's thread */
void watch_event(struct uvfio_watch *watch);
void watches_reap(struct uvfio_loop *loop);

#endif
