/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A few threads for calls that block and have no asynchronous form.  A job runs in one of them, and
 * ->done then in the context.
 */
#ifndef UVFIO_BLOCK_POOL_H
#define UVFIO_BLOCK_POOL_H

#include "base/ctx.h"

struct pool;

struct pool_job {
	struct uvfio_work work; /* ->done is its fn */
	void (*run)(struct pool_job *job);
	struct pool_job *next;
};

/* NULL when there is no memory.  Threads are started when they are needed, at most @max. */
struct pool *pool_new(struct uvfio_ctx *ctx, unsigned max);
/* Waits for the jobs that were queued; their ->done may run after this. */
void pool_free(struct pool *pool);
/* Queue @job: @run in a thread, then @done in the context, where the job may be freed.  Without any
 * thread (no memory, a limit) it runs here and now. */
void pool_submit(struct pool *pool, struct pool_job *job, void (*run)(struct pool_job *job),
		 void (*done)(struct uvfio_work *work));

#endif
