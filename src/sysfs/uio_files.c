/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Theory of operation.  What may wait (opening, releasing, masking) is a job in its function's
 * queue of config accesses, so all of them take effect in the order in which they were made.  Reads
 * are answered by the thread that serves the file system: at once, or they are put aside until the
 * core calls changed(), which wakes that thread.  So are polls.  A read that is put aside, and what
 * interrupts it, are this thread's alone.
 *
 * A file is named by a number that the kernel gets at open and hands back; one that is not known
 * is EBADF, as is one of another function.  Who has joined may say what no kernel does: write to a
 * file that is being released, or release it again and again.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/fuse.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include "sysfs/jobs.h"
#include "sysfs/uio_files.h"
#include "vfio/client.h"
#include "vfio/uio.h"

#define MAX_READS 4096u /* that are put aside */

struct sysfs_uio_file {
	struct sysfs_uio_file *next;
	uint64_t id;
	uint64_t function;
	struct uio_file *file;
	struct fuse_pollhandle *poll; /* to be told, or NULL */
	unsigned users;               /* the list, and jobs */
	bool releasing;               /* that was asked for */
};

/* A read that waits. */
struct pending {
	struct pending *next;
	fuse_req_t req;
	uint64_t id; /* of its file */
	bool interrupted;
};

struct sysfs_uio {
	int wake;
	struct pending *reads; /* the serving thread's */
	unsigned nr_reads;
};

/* Any thread, under the core's locks. */
static void changed(void *arg)
{
	struct sysfs *fs = arg;

	eventfd_write(fs->uio_state->wake, 1);
}

/* The lock held. */
static struct sysfs_uio_file *find(struct sysfs *fs, uint64_t id)
{
	struct sysfs_uio_file *f = fs->uio_files;

	while (f && f->id != id)
		f = f->next;
	return f;
}

/* ---- jobs ---- */

struct opening {
	pid_t pid;
	uid_t uid;
};

static ssize_t job_open(struct sysfs *fs, struct job *job, struct vfio_device *dev)
{
	struct sysfs_uio_file *f = calloc(1, sizeof(*f));
	struct opening by;
	struct vfio_who who = {"uio", 0};
	struct vfio_client client = {.who = &who};
	int ret;

	if (!f)
		return -ENOMEM;
	memcpy(&by, job->data, sizeof(by));
	who.uid = by.uid;
	client.pid = by.pid;
	ret = vfio_uio_open(dev, &client, changed, fs, &f->file);
	if (ret) {
		free(f);
		return ret;
	}
	f->function = job->f->id;
	f->users = 1;
	pthread_mutex_lock(&fs->lock);
	f->id = job->offset = ++fs->last_uio_file;
	f->next = fs->uio_files;
	fs->uio_files = f;
	pthread_mutex_unlock(&fs->lock);
	return 0;
}

/* A use of @f ends; the last one releases it, which waits. */
static void put(struct sysfs *fs, struct sysfs_uio_file *f)
{
	bool last;

	pthread_mutex_lock(&fs->lock);
	last = --f->users == 0;
	pthread_mutex_unlock(&fs->lock);
	if (!last)
		return;
	if (f->poll)
		fuse_pollhandle_destroy(f->poll);
	vfio_uio_release(f->file);
	free(f);
}

static void release(struct sysfs *fs, uint64_t id)
{
	struct sysfs_uio_file **p = &fs->uio_files, *f;

	pthread_mutex_lock(&fs->lock);
	while (*p && (*p)->id != id)
		p = &(*p)->next;
	f = *p;
	if (f)
		*p = f->next;
	pthread_mutex_unlock(&fs->lock);
	if (f)
		put(fs, f);
}

static ssize_t job_release(struct sysfs *fs, struct job *job, struct vfio_device *dev)
{
	release(fs, job->offset);
	return 0;
}

static ssize_t job_control(struct sysfs *fs, struct job *job, struct vfio_device *dev)
{
	struct sysfs_uio_file *f;
	int32_t on;
	int ret;

	memcpy(&on, job->data, sizeof(on));
	pthread_mutex_lock(&fs->lock);
	f = find(fs, job->offset);
	if (f && f->function != job->f->id)
		f = NULL;
	if (f)
		f->users++;
	pthread_mutex_unlock(&fs->lock);
	if (!f)
		return -EBADF;
	ret = vfio_uio_control(f->file, on);
	put(fs, f);
	return ret ? ret : (ssize_t)sizeof(on);
}

/* Start @job for the function @id.  The lock is not held. */
static int start(struct sysfs *fs, uint64_t id, struct job *job)
{
	struct function *f;
	int ret = -ENODEV;

	pthread_mutex_lock(&fs->lock);
	f = sysfs_function(fs, id);
	if (f)
		ret = sysfs_job_start(fs, f, QUEUE_CONFIG, job);
	pthread_mutex_unlock(&fs->lock);
	return ret;
}

/* ---- requests ---- */

void uio_on_open(struct sysfs *fs, fuse_req_t req, const struct sysfs_node *node)
{
	const struct fuse_ctx *ctx = fuse_req_ctx(req);
	const struct opening by = {ctx->pid, ctx->uid};
	struct job *job = sysfs_job_new(NULL, job_open, &by, sizeof(by), 0, req);
	int ret = -ENOMEM;

	if (job) {
		job->answer = ANSWER_OPEN;
		ret = start(fs, node->which, job);
	}
	if (ret) {
		free(job);
		fuse_reply_err(req, -ret);
	}
}

void uio_answer_open(struct job *job, ssize_t result)
{
	/* A stream: what reads does not keep others from writing. */
	const struct fuse_open_out out = {
		.fh = job->offset,
		.open_flags = FOPEN_DIRECT_IO | FOPEN_STREAM,
	};

	if (result < 0)
		fuse_reply_err(job->request, (int)-result);
	else
		fuse_reply_buf(job->request, (const char *)&out, sizeof(out));
}

/* -EAGAIN: there is nothing to be read. */
static int try_read(struct sysfs *fs, uint64_t id, int32_t *count)
{
	struct sysfs_uio_file *f;
	int ret = -EBADF;

	pthread_mutex_lock(&fs->lock);
	f = find(fs, id);
	if (f)
		ret = vfio_uio_read(f->file, count);
	pthread_mutex_unlock(&fs->lock);
	return ret;
}

static void answer_read(fuse_req_t req, int ret, int32_t count)
{
	if (ret)
		fuse_reply_err(req, -ret);
	else
		fuse_reply_buf(req, (const char *)&count, sizeof(count));
}

static void on_interrupt(fuse_req_t req, void *data)
{
	struct pending *p = data;

	p->interrupted = true;
}

static void put_aside(struct sysfs *fs, fuse_req_t req, uint64_t id)
{
	struct sysfs_uio *uio = fs->uio_state;
	struct pending *p = uio->nr_reads < MAX_READS ? calloc(1, sizeof(*p)) : NULL;

	if (!p) {
		fuse_reply_err(req, ENOMEM);
		return;
	}
	p->req = req;
	p->id = id;
	p->next = uio->reads;
	uio->reads = p;
	uio->nr_reads++;
	fuse_req_interrupt_func(req, on_interrupt, p);
}

void uio_on_read(struct sysfs *fs, fuse_req_t req, size_t size, const struct fuse_file_info *fi)
{
	int32_t count = 0;
	int ret = -EINVAL;

	if (size == sizeof(count))
		ret = try_read(fs, fi->fh, &count);
	if (ret == -EAGAIN && !(fi->flags & O_NONBLOCK))
		put_aside(fs, req, fi->fh);
	else
		answer_read(req, ret, count);
}

void uio_on_write(struct sysfs *fs, fuse_req_t req, fuse_ino_t ino, const void *buf, size_t size,
		  const struct fuse_file_info *fi)
{
	struct sysfs_node node;
	struct job *job = NULL;
	int ret = -EINVAL;
	bool there;

	if (size == sizeof(int32_t)) {
		pthread_mutex_lock(&fs->lock);
		there = sysfs_find(fs, ino, &node);
		pthread_mutex_unlock(&fs->lock);
		if (there) { /* else it is unbound: EINVAL */
			job = sysfs_job_new(NULL, job_control, buf, size, fi->fh, req);
			ret = job ? start(fs, node.which, job) : -ENOMEM;
		}
	}
	if (ret) {
		free(job);
		fuse_reply_err(req, ret == -ENODEV ? EINVAL : -ret);
	}
}

void uio_on_poll(struct sysfs *fs, fuse_req_t req, const struct fuse_file_info *fi,
		 struct fuse_pollhandle *handle)
{
	unsigned events = POLLERR;
	struct sysfs_uio_file *f;

	pthread_mutex_lock(&fs->lock);
	f = find(fs, fi->fh);
	if (f) {
		/* Who is told looks again. */
		if (handle && f->poll)
			fuse_pollhandle_destroy(f->poll);
		if (handle)
			f->poll = handle;
		handle = NULL;
		events = vfio_uio_poll(f->file);
	}
	pthread_mutex_unlock(&fs->lock);
	if (handle)
		fuse_pollhandle_destroy(handle);
	fuse_reply_poll(req, events);
}

void uio_on_release(struct sysfs *fs, fuse_ino_t ino, const struct fuse_file_info *fi)
{
	struct job *job = sysfs_job_new(NULL, job_release, NULL, 0, fi->fh, NULL);
	struct sysfs_uio_file *f;
	uint64_t function = 0;
	bool first;

	pthread_mutex_lock(&fs->lock);
	f = find(fs, fi->fh);
	first = f && !f->releasing;
	if (first) {
		f->releasing = true;
		function = f->function;
	}
	pthread_mutex_unlock(&fs->lock);
	if (first && job) {
		job->answer = ANSWER_NONE;
		job->always = true;
		if (!start(fs, function, job))
			return;
	}
	free(job);
	/* The device has gone, so there is nothing to wait for; or there is no memory. */
	if (first)
		release(fs, fi->fh);
}

/* ---- who waits ---- */

static void look_at_reads(struct sysfs *fs, bool interrupted_only)
{
	struct sysfs_uio *uio = fs->uio_state;

	for (struct pending **p = &uio->reads, *read; (read = *p);) {
		int32_t count = 0;
		int ret = -EINTR;

		if (!read->interrupted)
			ret = interrupted_only ? -EAGAIN : try_read(fs, read->id, &count);
		if (ret == -EAGAIN) {
			p = &read->next;
			continue;
		}
		*p = read->next;
		uio->nr_reads--;
		/* on_interrupt() is not called any more when this returns. */
		fuse_req_interrupt_func(read->req, NULL, NULL);
		answer_read(read->req, ret, count);
		free(read);
	}
}

static void tell_polls(struct sysfs *fs)
{
	for (;;) {
		struct fuse_pollhandle *handle = NULL;

		pthread_mutex_lock(&fs->lock);
		for (struct sysfs_uio_file *f = fs->uio_files; f && !handle; f = f->next) {
			if (!f->poll || !vfio_uio_poll(f->file))
				continue;
			handle = f->poll;
			f->poll = NULL;
		}
		pthread_mutex_unlock(&fs->lock);
		if (!handle)
			return;
		fuse_lowlevel_notify_poll(handle);
		fuse_pollhandle_destroy(handle);
	}
}

void uio_look(struct sysfs *fs)
{
	uint64_t n;

	eventfd_read(fs->uio_state->wake, &n);
	look_at_reads(fs, false);
	tell_polls(fs);
}

void uio_answer_interrupted(struct sysfs *fs)
{
	look_at_reads(fs, true);
}

int uio_files_init(struct sysfs *fs, int wake)
{
	fs->uio_state = calloc(1, sizeof(*fs->uio_state));
	if (!fs->uio_state)
		return -ENOMEM;
	fs->uio_state->wake = wake;
	return 0;
}

void uio_files_fini(struct sysfs *fs)
{
	struct pending *read;

	if (!fs->uio_state)
		return;
	while ((read = fs->uio_state->reads)) {
		fs->uio_state->reads = read->next;
		fuse_req_interrupt_func(read->req, NULL, NULL);
		fuse_reply_err(read->req, EINTR);
		free(read);
	}
	while (fs->uio_files)
		release(fs, fs->uio_files->id);
	free(fs->uio_state);
	fs->uio_state = NULL;
}
