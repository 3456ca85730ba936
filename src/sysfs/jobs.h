/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What may wait: see jobs.c.  Private to src/sysfs.
 */
#ifndef UVFIO_SYSFS_JOBS_H
#define UVFIO_SYSFS_JOBS_H

#include <sys/queue.h>
#include "sysfs/table.h"

enum sysfs_answer { ANSWER_WRITE, ANSWER_READ, ANSWER_OPEN, ANSWER_NONE };

struct job {
	struct job *next; /* in its function's queue */
	LIST_ENTRY(job) all;
	struct function *f;
	sysfs_job_fn fn;
	const struct sysfs_entry *entry;
	/* What was written, or room for what is read. */
	size_t len;
	uint64_t offset;  /* or what the store said */
	void *request;    /* who is to be answered; NULL: nobody */
	bool interrupted; /* the caller does not want to wait any more */
	bool answered;
	enum sysfs_answer answer;
	bool always;             /* also when the device has gone */
	struct uvfio_wait *waiting; /* for the machine */
	char data[];             /* len bytes and a 0 */
};

LIST_HEAD(job_list, job);

/* A job that has no function yet; NULL: out of memory.  free(). */
struct job *sysfs_job_new(const struct sysfs_entry *entry, sysfs_job_fn fn, const void *data,
			  size_t len, uint64_t offset, void *request);
/* Have a thread of @f do it: 0; it is answered by sysfs_fuse_answer().  -EBUSY: too much waits;
 * -EAGAIN without a thread.  The lock held. */
int sysfs_job_start(struct sysfs *fs, struct function *f, enum sysfs_queue queue, struct job *job);
/* End them all; the lock held, and let go of meanwhile. */
void sysfs_jobs_stop(struct sysfs *fs);

/* In a job: unbind @dev and wait for it.  0; -ENODEV; -EBUSY; -EINTR: the door ends. */
int sysfs_job_unbind(struct sysfs *fs, struct job *job, struct vfio_device *dev);

/* In a job: have @n VFs and wait for it.  As vfio_device_set_numvfs() and its @done; -EINTR: the
 * door ends. */
int sysfs_job_numvfs(struct sysfs *fs, struct job *job, struct vfio_device *pf, unsigned n);

/* fuse.c (none.c: nothing): answer job->request; job->data has what was read.  Without the lock. */
void sysfs_fuse_answer(struct job *job, ssize_t result);

#endif
