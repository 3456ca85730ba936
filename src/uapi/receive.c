/* SPDX-License-Identifier: BSD-3-Clause */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>
#include "base/ctx.h"
#include "uapi/receive.h"
#include "uapi/request.h"
#include "uapi/sysfs.h"
#include "uapi/trace.h"

/* linux/seccomp.h of 6.6. */
#ifndef SECCOMP_IOCTL_NOTIF_SET_FLAGS
#define SECCOMP_IOCTL_NOTIF_SET_FLAGS	   SECCOMP_IOW(4, __u64)
#define SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP (1UL << 0)
#endif

#define KEEP_IDLE     2u /* receivers that wait although others do */
#define MAX_RECEIVERS 256u
#define STACK_BYTES   (512u << 10)

struct uapi_pool {
	struct uapi_server *server;
	pthread_attr_t attr;
	size_t notif_size, resp_size; /* of this kernel */
	atomic_uint idle, total;
	pthread_mutex_t lock;
	pthread_cond_t settled;
	atomic_uint busy;
	atomic_bool settling;
};

static void *receiver_main(void *arg);

static int spawn(struct uapi_pool *pool)
{
	pthread_t thread;
	int ret;

	if (atomic_fetch_add(&pool->total, 1) >= MAX_RECEIVERS) {
		atomic_fetch_sub(&pool->total, 1);
		return -EAGAIN;
	}
	/* Counted before it runs, so that a burst does not spawn twice for one need. */
	atomic_fetch_add(&pool->idle, 1);
	ret = pthread_create(&thread, &pool->attr, receiver_main, pool);
	if (ret) {
		atomic_fetch_sub(&pool->idle, 1);
		atomic_fetch_sub(&pool->total, 1);
	}
	return -ret;
}

/* Give the program req->fd.  Not with SECCOMP_ADDFD_FLAG_SEND: our copy must be closed before the
 * program goes on, or it could close its own and still find the file open.  Nothing but its death
 * comes between, for it waits killably. */
static void give_fd(struct uapi_request *req)
{
	struct seccomp_notif_addfd add = {
		.id = req->id,
		.srcfd = (uint32_t)req->fd,
		.newfd_flags = req->cloexec ? O_CLOEXEC : 0,
	};
	int n = ioctl(req->server->listener, SECCOMP_IOCTL_NOTIF_ADDFD, &add);

	if (n < 0)
		n = -errno;
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
	if (req.changed_config)
		uapi_sysfs_refresh(server->sysfs);
	if (req.answer == UAPI_FD)
		give_fd(&req);
	if (server->trace)
		uapi_trace_end(server->trace, &req);
	answer(&req, resp, pool->resp_size);
	/* What the request caused the device to do runs here, after the program goes on. */
	uvfio_defer_end();
}

static void *receiver_main(void *arg)
{
	struct uapi_pool *pool = arg;
	struct seccomp_notif *notif = calloc(1, pool->notif_size);
	struct seccomp_notif_resp *resp = calloc(1, pool->resp_size);

	pthread_setname_np(pthread_self(), "receiver");
	while (notif && resp) { /* counted as idle here */
		memset(notif, 0, pool->notif_size);
		if (ioctl(pool->server->listener, SECCOMP_IOCTL_NOTIF_RECV, notif)) {
			if (errno == EINTR || errno == ENOENT) /* it died meanwhile */
				continue;
			break;
		}
		atomic_fetch_add(&pool->busy, 1);
		if (atomic_fetch_sub(&pool->idle, 1) == 1)
			spawn(pool);
		if (!atomic_load(&pool->settling)) /* else its task has gone */
			handle(pool, notif, resp);
		if (atomic_fetch_sub(&pool->busy, 1) == 1 && atomic_load(&pool->settling)) {
			pthread_mutex_lock(&pool->lock);
			pthread_cond_signal(&pool->settled);
			pthread_mutex_unlock(&pool->lock);
		}
		if (atomic_fetch_add(&pool->idle, 1) >= KEEP_IDLE)
			break;
	}
	atomic_fetch_sub(&pool->idle, 1);
	atomic_fetch_sub(&pool->total, 1);
	free(resp);
	free(notif);
	return NULL;
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
	/* Client and receiver take turns: wake the other on the same CPU.  Linux 6.6; only faster. */
	ioctl(server->listener, SECCOMP_IOCTL_NOTIF_SET_FLAGS, SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP);
	/* The kernel may know a longer struct than we, or a shorter one. */
	pool->notif_size = sizes.seccomp_notif > sizeof(struct seccomp_notif)
				   ? sizes.seccomp_notif
				   : sizeof(struct seccomp_notif);
	pool->resp_size = sizes.seccomp_notif_resp > sizeof(struct seccomp_notif_resp)
				  ? sizes.seccomp_notif_resp
				  : sizeof(struct seccomp_notif_resp);
	pthread_mutex_init(&pool->lock, NULL);
	pthread_cond_init(&pool->settled, NULL);
	pthread_attr_init(&pool->attr);
	pthread_attr_setdetachstate(&pool->attr, PTHREAD_CREATE_DETACHED);
	pthread_attr_setstacksize(&pool->attr, STACK_BYTES);
	ret = spawn(pool);
	if (ret) {
		uvfio_error_set(err, ret, "cannot start a thread: %s", strerror(-ret));
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
