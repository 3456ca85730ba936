/* SPDX-License-Identifier: BSD-3-Clause */
#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include "base/wait.h"

struct uvfio_wait {
	pthread_mutex_t lock;
	pthread_cond_t cond;
	bool done, given_up;
	int result;
	unsigned refs;
};

struct uvfio_wait *uvfio_wait_new(void)
{
	struct uvfio_wait *w = calloc(1, sizeof(*w));

	if (!w)
		return NULL;
	pthread_mutex_init(&w->lock, NULL);
	pthread_cond_init(&w->cond, NULL);
	w->refs = 2;
	return w;
}

void uvfio_wait_put(struct uvfio_wait *w)
{
	bool last;

	pthread_mutex_lock(&w->lock);
	last = --w->refs == 0;
	pthread_mutex_unlock(&w->lock);
	if (!last)
		return;
	pthread_cond_destroy(&w->cond);
	pthread_mutex_destroy(&w->lock);
	free(w);
}

void uvfio_wait_done(void *wait, int result)
{
	struct uvfio_wait *w = wait;

	pthread_mutex_lock(&w->lock);
	w->done = true;
	w->result = result;
	pthread_cond_signal(&w->cond);
	pthread_mutex_unlock(&w->lock);
	uvfio_wait_put(w);
}

void uvfio_wait_cancel(struct uvfio_wait *w)
{
	uvfio_wait_put(w);
}

int uvfio_wait_for(struct uvfio_wait *w)
{
	int ret;

	pthread_mutex_lock(&w->lock);
	while (!w->done && !w->given_up)
		pthread_cond_wait(&w->cond, &w->lock);
	ret = w->done ? w->result : -EINTR;
	pthread_mutex_unlock(&w->lock);
	return ret;
}

void uvfio_wait_give_up(struct uvfio_wait *w)
{
	pthread_mutex_lock(&w->lock);
	w->given_up = true;
	pthread_cond_signal(&w->cond);
	pthread_mutex_unlock(&w->lock);
}
