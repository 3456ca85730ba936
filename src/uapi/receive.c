/* SPDX-License-Identifier: BSD-3-Clause */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
#include "base/ctx.h"
#include "uapi/receive.h"
#include "uapi/request.h"
#include "uapi/share.h"
#include "uapi/sysfs.h"
#include "uapi/task.h"
#include "uapi/trace.h"

/* linux/seccomp.h of 6.6. */
#ifndef SECCOMP_IOCTL_NOTIF_SET_FLAGS
#define SECCOMP_IOCTL_NOTIF_SET_FLAGS      SECCOMP_IOW(4, __u64)
#define SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP (1UL << 0)
#endif

#define KEEP_PARKED 2u /* threads that wait for their turn to receive */
#define MAX_RECEIVERS                                                                              \
	1024u /* slow requests (at most 1000), the leader, and some that come and go */
#define STACK_BYTES (512u << 10)
#define TICK_NS     1000000 /* how long one request may keep the others waiting */
#define QUIET_TICKS 3u      /* without a request, after which the monitor sleeps */

struct receiver {
	struct seccomp_notif *notif;
	struct seccomp_notif_resp *resp;
	/* Its request is slow, and charged to this process.  `deposing` */
	bool charged;
	pid_t pid;
};

struct uapi_pool {
	struct uapi_server *server;
	struct uapi_shares *shares;
	_Atomic(struct receiver *) leader; /* of the request that `beat` is odd for */
	pthread_mutex_t deposing;          /* from the decision until the old leader can know */
	pthread_attr_t attr;
	size_t notif_size, resp_size; /* of this kernel */

	/* Odd while the leader handles a request, even while it waits for one.  The leader moves it
	 * on; the monitor does so in its stead when it deposes it. */
	_Atomic uint64_t beat;
	atomic_uint total, parked; /* threads; those of them that wait for `turn` */
	sem_t turn;
	atomic_bool leaderless; /* no thread could be had: whoever comes back leads */

	atomic_bool monitor_sleeps;
	sem_t monitor_wake;

	atomic_uint busy; /* requests being handled */
	atomic_bool settling;
	pthread_mutex_t lock; /* `settled` */
	pthread_cond_t settled;
};

static void *receiver_main(void *arg);

static bool spawn(struct uapi_pool *pool)
{
	pthread_t thread;

	if (atomic_fetch_add(&pool->total, 1) < MAX_RECEIVERS &&
	    !pthread_create(&thread, &pool->attr, receiver_main, pool))
		return true;
	atomic_fetch_sub(&pool->total, 1);
	return false;
}

/* ---- requests ---- */

int uapi_request_add_fd(const struct uapi_request *req, int fd, int flags)
{
	struct seccomp_notif_addfd add = {
		.id = req->id,
		.srcfd = (uint32_t)fd,
		.newfd_flags = (uint32_t)flags,
	};
	int n = ioctl(req->server->listener, SECCOMP_IOCTL_NOTIF_ADDFD, &add);

	return n < 0 ? -errno : n;
}

/* Give the program req->fd.  Not with SECCOMP_ADDFD_FLAG_SEND: our copy must be closed before the
 * program goes on, or it could close its own and still find the file open.  Nothing but its death
 * comes between, for it waits killably. */
static void give_fd(struct uapi_request *req)
{
	int n = uapi_request_add_fd(req, req->fd, req->cloexec ? O_CLOEXEC : 0);

	close(req->fd); /* when it could not be given, this was its close */
	uapi_answer(req, n);
}

static void answer(struct uapi_request *req, struct seccomp_notif_resp *resp, size_t size)
{
	memset(resp, 0, size);
	resp->id = req->id;
	if (req->answer == UAPI_CONTINUE)
		resp->flags = SECCOMP_USER_NOTIF_FLAG_CONTINUE;
	else if (req->result < 0)
		resp->error = (int32_t)req->result;
	else
		resp->val = req->result;
	ioctl(req->server->listener, SECCOMP_IOCTL_NOTIF_SEND, resp);
}

static void handle(struct uapi_pool *pool, const struct seccomp_notif *notif,
		   struct seccomp_notif_resp *resp)
{
	struct uapi_server *server = pool->server;
	struct uapi_request req;

	uapi_request_init(&req, server, notif);
	uvfio_defer_begin();
	if (server->trace)
		uapi_trace_begin(server->trace, &req);
	uapi_dispatch(&req);
	if (req.changed)
		uapi_sysfs_refresh(server->sysfs, req.changed);
	else
		uapi_sysfs_catch_up(server->sysfs);
	if (req.answer == UAPI_FD)
		give_fd(&req);
	if (server->trace)
		uapi_trace_end(server->trace, &req);
	/*
	 * What the request causes the device to do runs in this thread.  After a store, before the
	 * program goes on: both share a CPU (uapi_pool_new), where a driver that polls for the
	 * completion would only use up the time that the device needs to make it.  Otherwise
	 * afterwards: nobody waits for it.
	 */
	if (req.stored)
		uvfio_defer_end();
	answer(&req, resp, pool->resp_size);
	if (!req.stored)
		uvfio_defer_end();
}

/* ---- leader, followers, monitor ---- */

static void wait_semaphore(sem_t *sem)
{
	while (sem_wait(sem) && errno == EINTR)
		;
}

/* Give the lead to another thread. */
static void appoint(struct uapi_pool *pool)
{
	unsigned parked = atomic_load(&pool->parked);

	while (parked) {
		if (atomic_compare_exchange_weak(&pool->parked, &parked, parked - 1)) {
			sem_post(&pool->turn);
			return;
		}
	}
	if (!spawn(pool))
		atomic_store(&pool->leaderless, true);
}

static void depose(struct uapi_pool *pool, uint64_t beat)
{
	bool deposed;

	pthread_mutex_lock(&pool->deposing);
	deposed = atomic_compare_exchange_strong(&pool->beat, &beat, beat + 1);
	if (deposed) { /* and nobody else leads before it is appointed */
		struct receiver *r = atomic_load(&pool->leader);

		r->pid = uapi_task_tgid((pid_t)r->notif->pid);
		r->charged = uapi_shares_charge(pool->shares, r->pid);
	}
	pthread_mutex_unlock(&pool->deposing);
	if (deposed)
		appoint(pool);
}

static void *monitor_main(void *arg)
{
	struct uapi_pool *pool = arg;
	const struct timespec tick = {0, TICK_NS};
	uint64_t last = 0;
	unsigned quiet = 0;

	pthread_setname_np(pthread_self(), "monitor");
	for (;;) {
		uint64_t beat;

		clock_nanosleep(CLOCK_MONOTONIC, 0, &tick, NULL);
		beat = atomic_load(&pool->beat);
		if (beat != last) {
			last = beat;
			quiet = 0;
			continue;
		}
		if (beat & 1) { /* the same request for a whole tick */
			depose(pool, beat);
			continue;
		}
		if (atomic_load(&pool->leaderless)) {
			if (atomic_exchange(&pool->leaderless, false))
				appoint(pool);
			continue;
		}
		if (++quiet < QUIET_TICKS)
			continue;
		atomic_store(&pool->monitor_sleeps, true);
		/* A request that came before it could see that. */
		if (atomic_load(&pool->beat) != last &&
		    atomic_exchange(&pool->monitor_sleeps, false))
			continue;
		wait_semaphore(&pool->monitor_wake);
	}
	return NULL;
}

/* ENOENT from the listener: the task died meanwhile, or (since Linux 6.11) none is left. */
static bool nobody_left(const struct uapi_pool *pool)
{
	struct pollfd fd = {.fd = pool->server->listener};

	return poll(&fd, 1, 0) == 1 && (fd.revents & POLLHUP);
}

static void handle_counted(struct uapi_pool *pool, struct receiver *r)
{
	if (!atomic_load(&pool->settling)) /* else its task has gone */
		handle(pool, r->notif, r->resp);
	if (atomic_fetch_sub(&pool->busy, 1) == 1 && atomic_load(&pool->settling)) {
		pthread_mutex_lock(&pool->lock);
		pthread_cond_signal(&pool->settled);
		pthread_mutex_unlock(&pool->lock);
	}
}

/* The next request, from those put aside or from the kernel.  False: there is nothing more. */
static bool receive(struct uapi_pool *pool, struct receiver *r)
{
	for (;;) {
		if (uapi_shares_take(pool->shares, r->notif, &r->pid)) {
			uapi_shares_discharge(pool->shares, r->pid); /* the monitor watches */
			atomic_fetch_add(&pool->busy, 1);
			return true;
		}
		memset(r->notif, 0, pool->notif_size);
		if (ioctl(pool->server->listener, SECCOMP_IOCTL_NOTIF_RECV, r->notif)) {
			if (errno != EINTR && (errno != ENOENT || nobody_left(pool)))
				return false;
			continue;
		}
		if (uapi_shares_crowded(pool->shares) &&
		    uapi_shares_put_aside(pool->shares, uapi_task_tgid((pid_t)r->notif->pid),
					  r->notif))
			continue;
		atomic_fetch_add(&pool->busy, 1);
		return true;
	}
}

/* Receive and handle until deposed (true) or until there is nothing more to receive. */
static bool lead(struct uapi_pool *pool, struct receiver *r)
{
	uint64_t beat;

	do {
		if (!receive(pool, r))
			return false;
		atomic_store_explicit(&pool->leader, r, memory_order_relaxed);
		beat = atomic_fetch_add(&pool->beat, 1) + 1;
		if (atomic_load(&pool->monitor_sleeps) &&
		    atomic_exchange(&pool->monitor_sleeps, false))
			sem_post(&pool->monitor_wake);
		handle_counted(pool, r);
	} while (atomic_compare_exchange_strong(&pool->beat, &beat, beat + 1));
	return true;
}

/* A deposed leader: its request was slow.  Now one that waited for that may go. */
static void make_room(struct uapi_pool *pool, struct receiver *r)
{
	pthread_mutex_lock(&pool->deposing);
	pthread_mutex_unlock(&pool->deposing);
	while (r->charged) {
		uapi_shares_discharge(pool->shares, r->pid);
		r->charged = false;
		if (atomic_load(&pool->leaderless))
			break; /* who leads takes them */
		r->charged = uapi_shares_take(pool->shares, r->notif, &r->pid);
		if (r->charged) {
			atomic_fetch_add(&pool->busy, 1);
			handle_counted(pool, r);
		}
	}
}

static void *receiver_main(void *arg)
{
	struct uapi_pool *pool = arg;
	struct receiver self = {
		.notif = calloc(1, pool->notif_size),
		.resp = calloc(1, pool->resp_size),
	};

	pthread_setname_np(pthread_self(), "receiver");
	while (self.notif && self.resp && lead(pool, &self)) {
		make_room(pool, &self);
		if (atomic_exchange(&pool->leaderless, false))
			continue;
		if (atomic_fetch_add(&pool->parked, 1) >= KEEP_PARKED) {
			unsigned parked = atomic_load(&pool->parked);

			/* Leave, unless the place has just been given the lead. */
			while (parked &&
			       !atomic_compare_exchange_weak(&pool->parked, &parked, parked - 1))
				;
			if (parked)
				break;
		}
		wait_semaphore(&pool->turn);
	}
	free(self.resp);
	free(self.notif);
	atomic_fetch_sub(&pool->total, 1);
	return NULL;
}

static int start_threads(struct uapi_pool *pool)
{
	pthread_t thread;
	int ret = pthread_create(&thread, &pool->attr, monitor_main, pool);

	if (ret)
		return -ret;
	return spawn(pool) ? 0 : -EAGAIN;
}

static bool is_alive(void *arg, const struct seccomp_notif *notif)
{
	struct uapi_server *server = arg;

	return ioctl(server->listener, SECCOMP_IOCTL_NOTIF_ID_VALID, &notif->id) == 0;
}

struct uapi_pool *uapi_pool_new(struct uapi_server *server, struct uvfio_error *err)
{
	struct seccomp_notif_sizes sizes;
	struct uapi_pool *pool;
	int ret;

	if (syscall(SYS_seccomp, SECCOMP_GET_NOTIF_SIZES, 0, &sizes)) {
		uvfio_error_set(err, -errno, "the kernel has no seccomp notifications: %s",
				strerror(errno));
		return NULL;
	}
	pool = calloc(1, sizeof(*pool));
	if (!pool) {
		uvfio_error_set(err, -ENOMEM, "out of memory");
		return NULL;
	}
	pool->server = server;
	/* Client and receiver take turns: wake the other on the same CPU.  Linux 6.6; only faster.
	 */
	ioctl(server->listener, SECCOMP_IOCTL_NOTIF_SET_FLAGS, SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP);
	/* The kernel may know a longer struct than we, or a shorter one. */
	pool->notif_size = sizes.seccomp_notif > sizeof(struct seccomp_notif)
				   ? sizes.seccomp_notif
				   : sizeof(struct seccomp_notif);
	pool->resp_size = sizes.seccomp_notif_resp > sizeof(struct seccomp_notif_resp)
				  ? sizes.seccomp_notif_resp
				  : sizeof(struct seccomp_notif_resp);
	pool->shares = uapi_shares_new(server->core->max_calls, pool->notif_size, is_alive, server);
	if (!pool->shares) {
		uvfio_error_set(err, -ENOMEM, "out of memory");
		free(pool);
		return NULL;
	}
	pthread_mutex_init(&pool->deposing, NULL);
	sem_init(&pool->turn, 0, 0);
	sem_init(&pool->monitor_wake, 0, 0);
	pthread_mutex_init(&pool->lock, NULL);
	pthread_cond_init(&pool->settled, NULL);
	pthread_attr_init(&pool->attr);
	pthread_attr_setdetachstate(&pool->attr, PTHREAD_CREATE_DETACHED);
	pthread_attr_setstacksize(&pool->attr, STACK_BYTES);
	ret = start_threads(pool);
	if (ret) {
		uvfio_error_set(err, ret, "cannot start a thread: %s", strerror(-ret));
		uapi_shares_free(pool->shares);
		free(pool);
		return NULL;
	}
	return pool;
}

void uapi_pool_settle(struct uapi_pool *pool)
{
	pthread_mutex_lock(&pool->lock);
	atomic_store(&pool->settling, true);
	while (atomic_load(&pool->busy))
		pthread_cond_wait(&pool->settled, &pool->lock);
	pthread_mutex_unlock(&pool->lock);
}
