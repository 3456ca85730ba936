/* SPDX-License-Identifier: BSD-3-Clause */
/* One lock for the queue and the count of idle threads. */
#include <pthread.h>
#include <stdlib.h>
#include "base/thread.h"
#include "block/pool.h"

struct pool {
	struct uvfio_ctx *ctx;
	pthread_mutex_t lock;
	pthread_cond_t cond;
	struct pool_job *head, **tail;
	bool stop;
	unsigned max, nr, idle, queued;
	pthread_t threads[];
};

static void *pool_thread(void *arg)
{
	struct pool *pool = arg;
	struct pool_job *job;

	pthread_mutex_lock(&pool->lock);
	for (;;) {
		pool->idle++;
		while (!pool->head && !pool->stop)
			pthread_cond_wait(&pool->cond, &pool->lock);
		pool->idle--;
		job = pool->head;
		if (!job)
			break;
		pool->head = job->next;
		pool->queued--;
		if (!pool->head)
			pool->tail = &pool->head;
		pthread_mutex_unlock(&pool->lock);
		job->run(job);
		uvfio_ctx_post(pool->ctx, &job->work);
		pthread_mutex_lock(&pool->lock);
	}
	pthread_mutex_unlock(&pool->lock);
	return NULL;
}

struct pool *pool_new(struct uvfio_ctx *ctx, unsigned max)
{
	struct pool *pool = calloc(1, sizeof(*pool) + max * sizeof(pool->threads[0]));

	if (!pool)
		return NULL;
	pool->ctx = ctx;
	pool->max = max;
	pool->tail = &pool->head;
	pthread_mutex_init(&pool->lock, NULL);
	pthread_cond_init(&pool->cond, NULL);
	return pool;
}

void pool_free(struct pool *pool)
{
	if (!pool)
		return;
	pthread_mutex_lock(&pool->lock);
	pool->stop = true;
	pthread_cond_broadcast(&pool->cond);
	pthread_mutex_unlock(&pool->lock);
	for (unsigned i = 0; i < pool->nr; i++)
		pthread_join(pool->threads[i], NULL);
	pthread_cond_destroy(&pool->cond);
	pthread_mutex_destroy(&pool->lock);
	free(pool);
}

void pool_submit(struct pool *pool, struct pool_job *job, void (*run)(struct pool_job *job),
		 void (*done)(struct uvfio_work *work))
{
	bool here;

	job->run = run;
	job->work.fn = done;
	job->next = NULL;
	pthread_mutex_lock(&pool->lock);
	if (pool->queued >= pool->idle && pool->nr < pool->max) {
		if (!uvfio_thread_create(&pool->threads[pool->nr], NULL, pool_thread, pool)) {
			pthread_setname_np(pool->threads[pool->nr], "uvfio-block");
			pool->nr++;
		}
	}
	here = !pool->nr;
	if (!here) {
		*pool->tail = job;
		pool->tail = &job->next;
		pool->queued++;
		pthread_cond_signal(&pool->cond);
	}
	pthread_mutex_unlock(&pool->lock);
	if (here) {
		run(job);
		uvfio_ctx_post(pool->ctx, &job->work);
	}
}
