/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Watches: a file descriptor in the loop's epoll set.
 *
 * One shot: after an event epoll is quiet about it until the work that calls @fn has run, wherever
 * that is; then it is armed again.
 *
 * Freeing.  The loop's thread may hold an event of a watch that has just been taken out of the set.
 * So the memory goes through the list of the dead, which the thread empties between two rounds:
 * then it has handled every event that it fetched while the watch was in the set.  Until then the
 * watch holds its context, because such an event may still post to it.
 */
#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include "base/ctx.h"
#include "base/loop.h"
#include "base/tsan.h"

struct uvfio_watch {
	struct uvfio_work work;
	struct uvfio_ctx *ctx;
	int fd;
	void (*fn)(void *arg);
	void *arg;
	/* The context's. */
	uint32_t events;
	bool running; /* @fn: it is armed afterwards */
	atomic_bool dead;
	atomic_uint refs; /* its place in the set or among the dead; its queued work */
	struct uvfio_watch *next_dead;
};

static void watch_unref(struct uvfio_watch *watch)
{
	struct uvfio_ctx *ctx = watch->ctx;

	if (atomic_fetch_sub(&watch->refs, 1) != 1)
		return;
	free(watch);
	ctx_unref(ctx);
}

static int watch_ctl(struct uvfio_watch *watch, int op)
{
	struct epoll_event event = {.events = watch->events, .data.ptr = watch};

	tsan_release(watch); /* what is written here is seen by who gets the event */
	return epoll_ctl(watch->ctx->loop->epfd, op, watch->fd, &event);
}

static void watch_work(struct uvfio_work *work)
{
	struct uvfio_watch *watch = (struct uvfio_watch *)work;

	watch->running = true;
	if (!atomic_load(&watch->dead))
		watch->fn(watch->arg);
	watch->running = false;
	if (!atomic_load(&watch->dead))
		watch_ctl(watch, EPOLL_CTL_MOD);
	watch_unref(watch);
}

void watch_event(struct uvfio_watch *watch)
{
	tsan_acquire(watch);
	if (atomic_load(&watch->dead))
		return;
	atomic_fetch_add(&watch->refs, 1);
	if (!uvfio_ctx_post(watch->ctx, &watch->work))
		watch_unref(watch);
}

void watches_reap(struct uvfio_loop *loop)
{
	struct uvfio_watch *dead;

	if (!__atomic_load_n(&loop->dead, __ATOMIC_RELAXED))
		return;
	pthread_mutex_lock(&loop->lock);
	dead = loop->dead;
	__atomic_store_n(&loop->dead, NULL, __ATOMIC_RELAXED);
	pthread_mutex_unlock(&loop->lock);
	while (dead) {
		struct uvfio_watch *watch = dead;

		dead = watch->next_dead;
		watch_unref(watch);
	}
}

struct uvfio_watch *uvfio_watch_new(struct uvfio_ctx *ctx, int fd, void (*fn)(void *arg), void *arg)
{
	struct uvfio_watch *watch = calloc(1, sizeof(*watch));
	int saved;

	if (!watch)
		return NULL;
	watch->work.fn = watch_work;
	watch->ctx = ctx;
	watch->fd = fd;
	watch->fn = fn;
	watch->arg = arg;
	watch->events = EPOLLIN | EPOLLONESHOT;
	atomic_init(&watch->refs, 1);
	ctx_ref(ctx);
	if (watch_ctl(watch, EPOLL_CTL_ADD)) {
		saved = errno;
		watch_unref(watch);
		errno = saved;
		return NULL;
	}
	return watch;
}

void uvfio_watch_write(struct uvfio_watch *watch, bool on)
{
	uint32_t events = EPOLLIN | EPOLLONESHOT | (on ? EPOLLOUT : 0);

	if (events == watch->events)
		return;
	watch->events = events;
	/* An event that is already on its way only makes @fn run once more. */
	if (!watch->running)
		watch_ctl(watch, EPOLL_CTL_MOD);
}

void uvfio_watch_free(struct uvfio_watch *watch)
{
	struct uvfio_loop *loop;

	if (!watch)
		return;
	loop = watch->ctx->loop;
	atomic_store(&watch->dead, true);
	watch_ctl(watch, EPOLL_CTL_DEL);
	pthread_mutex_lock(&loop->lock);
	watch->next_dead = loop->dead;
	__atomic_store_n(&loop->dead, watch, __ATOMIC_RELAXED);
	pthread_mutex_unlock(&loop->lock);
	loop_wake(loop);
}
