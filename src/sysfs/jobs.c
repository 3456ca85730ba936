/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What may wait: unbinding a device that is in use, resets, accesses to config space during one.
 *
 * Theory of operation.  Each function has two queues; while there is something in one, a thread
 * works on it, one job after the other.  So a job waits for those before it on the same function,
 * as under the kernel's device lock, and for nothing else; and a client can have as many threads of
 * ours wait as there are functions.  Who is interrupted is answered EINTR by the thread that serves
 * the file system, whether its job has begun or not; one that has begun goes on without it.
 *
 *     queued ──▶ running ──▶ ended, answered
 *        └──interrupted─┴──▶ answered (EINTR), and dropped or ended later
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "base/thread.h"
#include "sysfs/jobs.h"
#include "vfio/sriov.h"

/* A thousand writers to one function wait like one; each keeps what it has written. */
#define MAX_JOBS       8192u
#define MAX_JOBS_QUEUE 2048u

struct worker {
	struct sysfs *fs;
	struct function *f;
	enum sysfs_queue queue;
};

struct job *sysfs_job_new(const struct sysfs_entry *entry, sysfs_job_fn fn, const void *data,
			  size_t len, uint64_t offset, void *request)
{
	struct job *job = calloc(1, sizeof(*job) + len + 1);

	if (!job)
		return NULL;
	job->entry = entry;
	job->fn = fn;
	job->len = len;
	job->offset = offset;
	job->request = request;
	if (data)
		memcpy(job->data, data, len);
	return job;
}

/* The lock held, and let go of meanwhile. */
static void run(struct sysfs *fs, struct job *job)
{
	struct vfio_device *dev = function_device(fs, job->f);
	ssize_t result = fs->stopping ? -EINTR : -ENODEV;
	const bool stopping = fs->stopping;
	bool answer;

	pthread_mutex_unlock(&fs->lock);
	if ((dev || job->always) && !stopping)
		result = job->fn(fs, job, dev);
	if (dev)
		vfio_device_put(dev);
	pthread_mutex_lock(&fs->lock);
	LIST_REMOVE(job, all);
	fs->nr_jobs--;
	answer = !job->answered;
	job->answered = true;
	sysfs_function_put(job->f);
	pthread_mutex_unlock(&fs->lock);
	if (answer)
		sysfs_fuse_answer(job, result);
	free(job);
	pthread_mutex_lock(&fs->lock);
}

/* A job that nobody waits for any more, and that has not begun.  The lock held. */
static void drop(struct sysfs *fs, struct job *job)
{
	LIST_REMOVE(job, all);
	fs->nr_jobs--;
	sysfs_function_put(job->f);
	free(job);
}

static void *work(void *arg)
{
	struct worker w = *(struct worker *)arg;
	struct sysfs *fs = w.fs;
	struct job *job;

	free(arg);
	pthread_mutex_lock(&fs->lock);
	while ((job = w.f->queues[w.queue])) {
		w.f->queues[w.queue] = job->next;
		if (job->answered)
			drop(fs, job);
		else
			run(fs, job);
	}
	w.f->running[w.queue] = false;
	sysfs_function_put(w.f);
	fs->nr_threads--;
	pthread_cond_broadcast(&fs->changed_cond);
	pthread_mutex_unlock(&fs->lock);
	return NULL;
}

static int start_worker(struct sysfs *fs, struct function *f, enum sysfs_queue queue)
{
	struct worker *w = malloc(sizeof(*w));
	pthread_attr_t attr;
	pthread_t thread;
	int ret;

	if (!w)
		return -ENOMEM;
	*w = (struct worker){fs, f, queue};
	pthread_attr_init(&attr);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	ret = uvfio_thread_create(&thread, &attr, work, w);
	pthread_attr_destroy(&attr);
	if (ret) {
		free(w);
		return -EAGAIN;
	}
	sysfs_function_get(f);
	f->running[queue] = true;
	fs->nr_threads++;
	return 0;
}

int sysfs_job_start(struct sysfs *fs, struct function *f, enum sysfs_queue queue, struct job *job)
{
	struct job **tail = &f->queues[queue];
	unsigned n = 0;
	int ret = 0;

	for (; *tail; n++)
		tail = &(*tail)->next;
	/* What is always done ends something, of which there is not more. */
	if (fs->stopping || (!job->always && (n >= MAX_JOBS_QUEUE || fs->nr_jobs >= MAX_JOBS)))
		return -EBUSY;
	if (!f->running[queue])
		ret = start_worker(fs, f, queue);
	if (ret)
		return ret;
	job->f = f;
	sysfs_function_get(f);
	*tail = job;
	LIST_INSERT_HEAD(fs->jobs, job, all);
	fs->nr_jobs++;
	return 0;
}

/* ---- waiting for the machine ---- */

/* Shared with the machine, which may still tell when the door has gone. */
struct waiting {
	pthread_mutex_t lock;
	pthread_cond_t cond;
	bool done, abandoned;
	int result;
	unsigned refs;
};

static struct waiting *waiting_new(void)
{
	struct waiting *w = calloc(1, sizeof(*w));

	if (!w)
		return NULL;
	pthread_mutex_init(&w->lock, NULL);
	pthread_cond_init(&w->cond, NULL);
	w->refs = 2;
	return w;
}

static void waiting_put(struct waiting *w)
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

static void done_with(void *arg, int result)
{
	struct waiting *w = arg;

	pthread_mutex_lock(&w->lock);
	w->done = true;
	w->result = result;
	pthread_cond_signal(&w->cond);
	pthread_mutex_unlock(&w->lock);
	waiting_put(w);
}

static void unbound(void *arg)
{
	done_with(arg, 0);
}

static void abandon(struct waiting *w)
{
	pthread_mutex_lock(&w->lock);
	w->abandoned = true;
	pthread_cond_signal(&w->cond);
	pthread_mutex_unlock(&w->lock);
}

/* The machine has begun it, or @ret says why not.  @w is given away. */
static int wait_for(struct sysfs *fs, struct job *job, struct waiting *w, int ret)
{
	bool stopping;

	if (ret) {
		w->refs = 1;
		waiting_put(w);
		return ret;
	}
	pthread_mutex_lock(&fs->lock);
	job->waiting = w;
	stopping = fs->stopping;
	pthread_mutex_unlock(&fs->lock);

	pthread_mutex_lock(&w->lock);
	while (!w->done && !w->abandoned && !stopping)
		pthread_cond_wait(&w->cond, &w->lock);
	ret = w->done ? w->result : -EINTR;
	pthread_mutex_unlock(&w->lock);

	pthread_mutex_lock(&fs->lock);
	job->waiting = NULL;
	pthread_mutex_unlock(&fs->lock);
	waiting_put(w);
	return ret;
}

int sysfs_job_unbind(struct sysfs *fs, struct job *job, struct vfio_device *dev)
{
	struct waiting *w = waiting_new();

	return w ? wait_for(fs, job, w, vfio_device_unbind(dev, unbound, w)) : -ENOMEM;
}

int sysfs_job_numvfs(struct sysfs *fs, struct job *job, struct vfio_device *pf, unsigned n)
{
	struct waiting *w = waiting_new();

	return w ? wait_for(fs, job, w, vfio_device_set_numvfs(pf, n, done_with, w)) : -ENOMEM;
}

void sysfs_jobs_stop(struct sysfs *fs)
{
	struct job *job;

	fs->stopping = true;
	LIST_FOREACH(job, fs->jobs, all)
	if (job->waiting)
		abandon(job->waiting);
	while (fs->nr_threads)
		pthread_cond_wait(&fs->changed_cond, &fs->lock);
}
