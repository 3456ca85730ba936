/* SPDX-License-Identifier: BSD-3-Clause */
#include "iommu/process.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stddef.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>
#include "base/thread.h"
#include "base/trash.h"
#include "iommu/space.h"

#define JOB_BYTES    (128u << 10)
#define JOBS_MAX     16u /* of a process, that are with the threads */
#define SETTLE_MS    100 /* an unmap waits for a copy that is going on */
#define IDLE_SECONDS 10

/* Threads of all address spaces: what is limited here is a resource of the program. */
static unsigned nr_threads_all;

struct workers {
	pthread_mutex_t lock;
	pthread_cond_t more;
	struct process_job *first, **last;
	unsigned nr_threads, idle, nr_queued;
	unsigned refs; /* the space, its peers, the threads */
	bool stop;
};

struct process_peer {
	struct iommu_peer peer;
	struct workers *workers;
	struct uvfio_trash *trash;
	struct uvfio_trash_item item;
	int fd;
};

/* In msg->user. */
enum { USER_JOB };

struct process_job {
	struct process_job *next;
	struct process_peer *process;
	struct iommu_peer_msg *msg;
	bool cancelled; /* workers->lock */
};

struct workers *workers_new(void)
{
	struct workers *w = calloc(1, sizeof(*w));
	pthread_condattr_t attr;

	if (!w)
		return NULL;
	w->refs = 1;
	w->last = &w->first;
	pthread_mutex_init(&w->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&w->more, &attr);
	pthread_condattr_destroy(&attr);
	return w;
}

/* Lock held; releases it. */
static void put_locked(struct workers *w)
{
	bool last = !--w->refs;

	pthread_mutex_unlock(&w->lock);
	if (!last)
		return;
	pthread_cond_destroy(&w->more);
	pthread_mutex_destroy(&w->lock);
	free(w);
}

void workers_free(struct workers *w)
{
	if (!w)
		return;
	pthread_mutex_lock(&w->lock);
	w->stop = true;
	pthread_cond_broadcast(&w->more);
	put_locked(w);
}

/* ---- a job ---- */

static bool wanted(struct process_job *job)
{
	struct workers *w = job->process->workers;
	bool ret;

	pthread_mutex_lock(&w->lock);
	ret = !job->cancelled;
	pthread_mutex_unlock(&w->lock);
	return ret;
}

static ssize_t again(ssize_t n)
{
	return n < 0 && errno == EINTR ? 0 : n > 0 ? n : -EIO;
}

/* Where the memory blocks, it does so here, and nothing is changed. */
static int touch(int fd, uint64_t addr, uint64_t len)
{
	uint64_t end = addr + len;
	uint8_t byte;

	for (; addr < end; addr = (addr | (IOMMU_PAGE_SIZE - 1)) + 1) {
		ssize_t n;

		do
			n = again(pread(fd, &byte, 1, (off_t)addr));
		while (!n);
		if (n < 0)
			return -EIO;
	}
	return 0;
}

static int transfer(int fd, const struct iommu_peer_msg *msg)
{
	uint64_t done = 0;

	while (done < msg->len) {
		uint8_t *p = msg->data + done;
		off_t at = (off_t)(msg->address + done);
		size_t len = msg->len - done;
		ssize_t n = again(msg->write ? pwrite(fd, p, len, at) : pread(fd, p, len, at));

		if (n < 0)
			return -EIO;
		done += (uint64_t)n;
	}
	return 0;
}

static void run(struct process_job *job)
{
	struct process_peer *process = job->process;
	struct iommu_peer_msg *msg = job->msg;
	int status = wanted(job) ? 0 : -EIO;

	if (!status && msg->write)
		status = touch(process->fd, msg->address, msg->len);
	if (!status && msg->write && !wanted(job))
		status = -EIO;
	if (!status)
		status = transfer(process->fd, msg);
	iommu_peer_done(&process->peer, msg, status);
	/* Not before: cancel() looks at it until then. */
	free(job);
}

/* ---- threads ---- */

/* Lock held. */
static bool wait_for_job(struct workers *w)
{
	struct timespec ts;
	int ret = 0;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	ts.tv_sec += IDLE_SECONDS;
	w->idle++;
	while (!w->first && !w->stop && !ret)
		ret = pthread_cond_timedwait(&w->more, &w->lock, &ts);
	w->idle--;
	return w->first;
}

static void *worker(void *arg)
{
	struct workers *w = arg;

	pthread_mutex_lock(&w->lock);
	while (wait_for_job(w)) {
		struct process_job *job = w->first;

		w->first = job->next;
		if (!w->first)
			w->last = &w->first;
		w->nr_queued--;
		pthread_mutex_unlock(&w->lock);
		run(job);
		pthread_mutex_lock(&w->lock);
	}
	w->nr_threads--;
	__atomic_fetch_sub(&nr_threads_all, 1, __ATOMIC_RELAXED);
	put_locked(w);
	return NULL;
}

/* Lock held. */
static void add_thread(struct workers *w)
{
	if (w->nr_threads == WORKERS_MAX)
		return;
	if (__atomic_add_fetch(&nr_threads_all, 1, __ATOMIC_RELAXED) > WORKERS_MAX_ALL) {
		__atomic_fetch_sub(&nr_threads_all, 1, __ATOMIC_RELAXED);
		return;
	}
	w->refs++;
	w->nr_threads++;
	if (uvfio_thread_detached(0, worker, w)) {
		w->refs--;
		w->nr_threads--;
		__atomic_fetch_sub(&nr_threads_all, 1, __ATOMIC_RELAXED);
	}
}

/* ---- the peer ---- */

static int process_start(struct iommu_peer *peer, struct iommu_peer_msg *msg)
{
	struct process_peer *process = (struct process_peer *)peer;
	struct workers *w = process->workers;
	struct process_job *job = calloc(1, sizeof(*job));
	int ret = 0;

	if (!job)
		return -ENOMEM;
	job->process = process;
	job->msg = msg;
	msg->user[USER_JOB] = job;
	pthread_mutex_lock(&w->lock);
	if (w->idle <= w->nr_queued)
		add_thread(w);
	if (w->nr_threads) {
		*w->last = job;
		w->last = &job->next;
		w->nr_queued++;
		pthread_cond_signal(&w->more);
	} else {
		ret = -EIO;
	}
	pthread_mutex_unlock(&w->lock);
	if (ret)
		free(job);
	return ret;
}

static void process_cancel(struct iommu_peer *peer, struct iommu_peer_msg *msg)
{
	struct workers *w = ((struct process_peer *)peer)->workers;
	struct process_job *job = msg->user[USER_JOB];

	pthread_mutex_lock(&w->lock);
	job->cancelled = true;
	pthread_mutex_unlock(&w->lock);
}

static void discard(struct uvfio_trash_item *item)
{
	struct process_peer *process =
		(struct process_peer *)((char *)item - offsetof(struct process_peer, item));

	close(process->fd);
	free(process);
}

static void process_release(struct iommu_peer *peer)
{
	struct process_peer *process = (struct process_peer *)peer;
	struct uvfio_trash *trash = process->trash;

	pthread_mutex_lock(&process->workers->lock);
	put_locked(process->workers);
	if (trash)
		uvfio_trash_add(trash, &process->item);
	else
		discard(&process->item);
	uvfio_trash_unref(trash);
}

static const struct iommu_peer_ops process_ops = {
	.start = process_start,
	.cancel = process_cancel,
	.release = process_release,
};

struct iommu_peer *process_peer_new(struct workers *w, int fd, struct uvfio_trash *trash)
{
	struct process_peer *process = calloc(1, sizeof(*process));

	if (!process)
		return NULL;
	process->fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	if (process->fd < 0) {
		free(process);
		return NULL;
	}
	process->workers = w;
	process->item.fn = discard;
	process->trash = trash;
	if (trash)
		uvfio_trash_ref(trash);
	pthread_mutex_lock(&w->lock);
	w->refs++;
	pthread_mutex_unlock(&w->lock);
	iommu_peer_init(&process->peer, &process_ops, JOB_BYTES, JOBS_MAX);
	process->peer.settle_ms = SETTLE_MS;
	return &process->peer;
}
