/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Threads for what may wait: opening and closing a device, resets, config writes that stop DMA,
 * unmapping.  Made when there is a job and nobody idle, ended when idle for a while, all but one.
 * A connection has one job at a time, so there are never more than connections.
 */
#include <errno.h>
#include <time.h>
#include "base/thread.h"
#include "wire/wire_private.h"

#define IDLE_SECONDS 5
#define STACK_BYTES  (256u << 10)

/* The lock is held.  The next job, or NULL when the thread has been idle for long enough. */
static struct wire_job *next_job(struct wire_workers *w)
{
	struct timespec until;

	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += IDLE_SECONDS;
	w->idle++;
	while (TAILQ_EMPTY(&w->jobs) && !w->stop) {
		if (w->threads == 1) /* the last one stays */
			pthread_cond_wait(&w->wake, &w->lock);
		else if (pthread_cond_timedwait(&w->wake, &w->lock, &until) == ETIMEDOUT &&
			 w->threads > 1)
			break;
	}
	w->idle--;
	return TAILQ_FIRST(&w->jobs);
}

static void *worker(void *arg)
{
	struct wire_workers *w = arg;
	struct wire_job *job;

	pthread_setname_np(pthread_self(), "uvfio-wire-job");
	pthread_mutex_lock(&w->lock);
	while ((job = next_job(w))) {
		TAILQ_REMOVE(&w->jobs, job, next);
		pthread_mutex_unlock(&w->lock);
		job->fn(job); /* which may end the life of it */
		pthread_mutex_lock(&w->lock);
	}
	w->threads--;
	pthread_cond_broadcast(&w->ended);
	pthread_mutex_unlock(&w->lock);
	return NULL;
}

static int start_thread(struct wire_workers *w)
{
	return uvfio_thread_detached(STACK_BYTES, worker, w);
}

int wire_workers_init(struct wire_workers *w)
{
	pthread_condattr_t attr;
	int ret;

	pthread_mutex_init(&w->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&w->wake, &attr);
	pthread_cond_init(&w->ended, NULL);
	pthread_condattr_destroy(&attr);
	TAILQ_INIT(&w->jobs);
	w->idle = 0;
	w->stop = false;
	/* So that there is always one: what is a job's cannot be done by who asks for it. */
	pthread_mutex_lock(&w->lock);
	ret = start_thread(w);
	w->threads = ret ? 0 : 1;
	pthread_mutex_unlock(&w->lock);
	return -ret;
}

void wire_workers_run(struct wire_workers *w, struct wire_job *job)
{
	unsigned waiting = 0;
	struct wire_job *j;

	pthread_mutex_lock(&w->lock);
	TAILQ_INSERT_TAIL(&w->jobs, job, next);
	TAILQ_FOREACH(j, &w->jobs, next)
	{
		if (++waiting > w->idle)
			break;
	}
	if (waiting > w->idle && !start_thread(w))
		w->threads++;
	pthread_cond_signal(&w->wake);
	pthread_mutex_unlock(&w->lock);
}

void wire_workers_fini(struct wire_workers *w)
{
	pthread_mutex_lock(&w->lock);
	w->stop = true;
	pthread_cond_broadcast(&w->wake);
	while (w->threads)
		pthread_cond_wait(&w->ended, &w->lock);
	pthread_mutex_unlock(&w->lock);
	pthread_cond_destroy(&w->wake);
	pthread_cond_destroy(&w->ended);
	pthread_mutex_destroy(&w->lock);
}
