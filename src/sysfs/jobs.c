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
#include "base/wait.h"
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
	const unsigned changes = vfio_machine_changes(fs->config.machine);
	ssize_t result = fs->stopping ? -EINTR : -ENODEV;
	const bool stopping = fs->stopping;
	bool answer;

	pthread_mutex_unlock(&fs->lock);
	if ((dev || job->always) && !stopping)
		result = job->fn(fs, job, dev);
	if (dev)
		vfio_device_put(dev);
	if (fs->config.changed && vfio_machine_changes(fs->config.machine) != changes)
		fs->config.changed(fs->config.changed_arg);
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

/* The machine has begun it, or @ret says why not.  @w is given away. */
static int wait_for(struct sysfs *fs, struct job *job, struct uvfio_wait *w, int ret)
{
	if (ret) {
		uvfio_wait_cancel(w);
		uvfio_wait_put(w);
		return ret;
	}
	pthread_mutex_lock(&fs->lock);
	job->waiting = w;
	if (fs->stopping)
		uvfio_wait_give_up(w);
	pthread_mutex_unlock(&fs->lock);
	ret = uvfio_wait_for(w);
	pthread_mutex_lock(&fs->lock);
	job->waiting = NULL;
	pthread_mutex_unlock(&fs->lock);
	uvfio_wait_put(w);
	return ret;
}

static void unbound(void *arg)
{
	uvfio_wait_done(arg, 0);
}

int sysfs_job_unbind(struct sysfs *fs, struct job *job, struct vfio_device *dev)
{
	struct uvfio_wait *w = uvfio_wait_new();

	return w ? wait_for(fs, job, w, vfio_device_unbind(dev, unbound, w)) : -ENOMEM;
}

int sysfs_job_numvfs(struct sysfs *fs, struct job *job, struct vfio_device *pf, unsigned n)
{
	struct uvfio_wait *w = uvfio_wait_new();

	return w ? wait_for(fs, job, w, vfio_device_set_numvfs(pf, n, uvfio_wait_done, w))
		 : -ENOMEM;
}

void sysfs_jobs_stop(struct sysfs *fs)
{
	struct job *job;

	fs->stopping = true;
	LIST_FOREACH(job, fs->jobs, all)
	if (job->waiting)
		uvfio_wait_give_up(job->waiting);
	while (fs->nr_threads)
		pthread_cond_wait(&fs->changed_cond, &fs->lock);
}
