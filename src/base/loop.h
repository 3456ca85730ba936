/* SPDX-License-Identifier: BSD-3-Clause */
/* What ctx.c, loop.c, timer.c and watch.c share.  For nobody else. */
#ifndef UVFIO_BASE_LOOP_H
#define UVFIO_BASE_LOOP_H

#include <event2/event.h>
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
	bool yield;               /* others' turn */
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

/* timer.c.  Under the loop's lock, but for what is made with the loop. */
struct loop_timers {
	int fd; /* a timerfd */
	struct event *event;
	uint64_t set;              /* when it expires, ns; UINT64_MAX: it has, or never will */
	struct uvfio_timer **heap; /* those that are armed, the earliest first */
	size_t nr, room;
	size_t made; /* timers, each of which has room */
};

struct uvfio_loop {
	pthread_t thread;
	bool has_thread; /* its own; else uvfio_loop_run() */
	char name[16];
	struct event_base *base;
	struct event *wake; /* activated to end a sleep */
	struct loop_timers timers;
	atomic_bool stop;
	struct uvfio_ctx *_Atomic ready; /* newest first; any thread pushes */
	/* The thread is, or will be, in a sleep.  Whoever has something for it takes this away by
	 * exchange and activates @wake. */
	atomic_bool asleep;

	/* The timers' and watches' states.  Taken before the library's own lock, never within. */
	pthread_mutex_t lock;

	/* Owned by the thread. */
	struct uvfio_watch *seen; /* which had an event in this round */
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

/* timer.c */
int timers_init(struct uvfio_loop *loop);  /* -errno; timers_fini() also when it failed */
void timers_fini(struct uvfio_loop *loop); /* before the base is freed */
/* The thread leaves the library at @ns (uvfio_now_ns()) or before.  Any thread. */
void timers_wake_at(struct uvfio_loop *loop, uint64_t ns);

/* watch.c, in the loop's thread before it enters the library: ends the round. */
void watches_end_round(struct uvfio_loop *loop);

#endif
