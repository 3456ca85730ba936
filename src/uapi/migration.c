/* SPDX-License-Identifier: BSD-3-Clause */
/* The files, and what is done with them: see migration.h. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include "base/thread.h"
#include "uapi/migration_private.h"
#include "uapi/opener.h"
#include "uapi/process.h"

/* ---- files ---- */

struct uapi_migration *migration_find(struct uapi_migrations *m, uint64_t ino)
{
	struct uapi_migration *f;

	LIST_FOREACH(f, &m->files, next)
	{
		if (f->ino == ino)
			return f;
	}
	return NULL;
}

/* Nobody has it any more, and it is in no list. */
static void destroy(struct uapi_migrations *m, struct uapi_migration *f)
{
	if (f->handle)
		m->core->ops->migration_release(m->core, f->handle);
	if (f->poll)
		fuse_pollhandle_destroy(f->poll);
	free(f->buf);
	free(f);
}

/* ->lock held: take @f out when its last user has gone.  True: destroy it, without the lock, and
 * then count it out. */
static bool unlink_unused(struct uapi_migration *f)
{
	if (!f->released || f->busy || f->uses)
		return false;
	LIST_REMOVE(f, next);
	return true;
}

static void destroy_counted(struct uapi_migrations *m, struct uapi_migration *f)
{
	destroy(m, f);
	pthread_mutex_lock(&m->lock);
	m->nr_files--;
	pthread_mutex_unlock(&m->lock);
}

void migration_released(struct uapi_migrations *m, uint64_t ino)
{
	struct uapi_migration *f;
	bool last = false;

	pthread_mutex_lock(&m->lock);
	f = migration_find(m, ino);
	if (f) {
		f->released = true;
		last = unlink_unused(f);
	}
	pthread_mutex_unlock(&m->lock);
	if (last)
		destroy_counted(m, f);
}

/* ---- requests ---- */

/* In the thread that has the request's interruption. */
static void on_interrupt(fuse_req_t req, void *data)
{
	struct uapi_migrations *m = fuse_req_userdata(req);
	struct op *op = data;

	pthread_mutex_lock(&m->lock);
	op->interrupted = true;
	pthread_cond_signal(&m->watch);
	pthread_mutex_unlock(&m->lock);
}

static void op_free(struct op *op)
{
	free(op->copy);
	free(op);
}

static void refuse(struct op *op, int error)
{
	/* on_interrupt() does not look at it any more when this returns. */
	fuse_req_interrupt_func(op->req, NULL, NULL);
	if (op->kind == OP_POLL) /* a read or a write would fail at once */
		fuse_reply_poll(op->req, POLLIN | POLLOUT | POLLRDNORM | POLLWRNORM);
	else
		fuse_reply_err(op->req, error);
	op_free(op);
}

/* What the file has for a read: bytes in ->buf from ->at on.  @f is ours. */
static ssize_t do_read(struct uapi_migrations *m, struct uapi_migration *f, size_t size)
{
	ssize_t n;

	if (f->len > f->at)
		return (ssize_t)(f->len - f->at < size ? f->len - f->at : size);
	f->at = f->len = 0;
	if (!f->buf)
		f->buf = malloc(MAX_TRANSFER);
	if (!f->buf)
		return -ENOMEM;
	n = m->core->ops->migration_read(m->core, f->handle, f->buf,
					 size < MAX_TRANSFER ? size : MAX_TRANSFER);
	f->len = n > 0 ? (size_t)n : 0;
	return n;
}

static ssize_t do_op(struct uapi_migrations *m, struct uapi_migration *f, const struct op *op)
{
	struct uapi_core *core = m->core;

	if (op->kind == OP_POLL) {
		if (!f->saves)
			return POLLOUT | POLLWRNORM;
		return !f->handle || f->len > f->at ||
				       core->ops->migration_readable(core, f->handle)
			       ? POLLIN | POLLRDNORM
			       : 0;
	}
	if (!f->handle)
		return -ENODEV;
	return op->kind == OP_READ
		       ? do_read(m, f, op->size)
		       : core->ops->migration_write(core, f->handle, op->data, op->size);
}

/* Carry @op out on @f, which is ours, and answer it. */
static void run_op(struct uapi_migrations *m, struct uapi_migration *f, struct op *op)
{
	ssize_t n = do_op(m, f, op);
	bool ours;

	pthread_mutex_lock(&m->lock);
	f->running = NULL;
	ours = !op->answered;
	op->answered = true;
	while (op->answering)
		pthread_cond_wait(&m->changed, &m->lock);
	pthread_mutex_unlock(&m->lock);
	if (!ours) { /* what was read stays for the next one */
		op_free(op);
		return;
	}
	if (n < 0) {
		refuse(op, (int)-n);
		return;
	}
	fuse_req_interrupt_func(op->req, NULL, NULL);
	if (op->kind == OP_POLL) {
		fuse_reply_poll(op->req, (unsigned)n);
	} else if (op->kind == OP_WRITE) {
		fuse_reply_write(op->req, (size_t)n);
	} else {
		fuse_reply_buf(op->req, n ? (const char *)f->buf + f->at : NULL, (size_t)n);
		f->at += (size_t)n;
	}
	op_free(op);
}

/* @f is ours: until nothing is queued any more. */
static void work(struct uapi_migrations *m, struct uapi_migration *f, struct op *op)
{
	bool last;

	do {
		run_op(m, f, op);
		pthread_mutex_lock(&m->lock);
		op = STAILQ_FIRST(&f->queue);
		if (op) {
			STAILQ_REMOVE_HEAD(&f->queue, next);
			f->nr_queued--;
		} else {
			f->busy = false;
		}
		f->running = op;
		last = !op && unlink_unused(f);
		pthread_cond_broadcast(&m->changed);
		pthread_mutex_unlock(&m->lock);
	} while (op);
	if (last)
		destroy_counted(m, f);
}

/* ->lock held.  0: it is queued. */
static int queue(struct uapi_migration *f, struct op *op)
{
	if (f->nr_queued >= MAX_QUEUED)
		return ENOMEM;
	if (op->kind == OP_WRITE) {
		op->copy = malloc(op->size);
		if (!op->copy)
			return ENOMEM;
		memcpy(op->copy, op->data, op->size);
		op->data = op->copy;
	}
	STAILQ_INSERT_TAIL(&f->queue, op, next);
	f->nr_queued++;
	return 0;
}

void migration_submit(struct uapi_migrations *m, uint64_t ino, struct op *op)
{
	struct uapi_migration *f;
	int error = 0;
	bool now = false;

	fuse_req_interrupt_func(op->req, on_interrupt, op);
	pthread_mutex_lock(&m->lock);
	f = migration_find(m, ino);
	if (!f || f->ended) {
		error = ENODEV;
	} else if (f->busy) {
		error = queue(f, op);
	} else {
		now = f->busy = true;
		f->running = op;
	}
	pthread_mutex_unlock(&m->lock);
	if (error)
		refuse(op, error);
	else if (now)
		work(m, f, op);
}

/* ---- who waits ---- */

/* One that was interrupted and whose task is dying; it is not queued any more, or marked as being
 * answered.  ->lock held: /proc says that without waiting for anybody. */
static struct op *dying_op(struct uapi_migrations *m)
{
	struct uapi_migration *f;
	struct op *op;

	LIST_FOREACH(f, &m->files, next)
	{
		op = f->running;
		if (op && op->interrupted && !op->answered && uapi_process_dying(op->tid)) {
			op->answered = op->answering = true;
			return op;
		}
		STAILQ_FOREACH(op, &f->queue, next)
		{
			if (!op->interrupted || !uapi_process_dying(op->tid))
				continue;
			STAILQ_REMOVE(&f->queue, op, op, next);
			f->nr_queued--;
			return op;
		}
	}
	return NULL;
}

static void answer_dying(struct uapi_migrations *m)
{
	struct op *op;

	for (;;) {
		pthread_mutex_lock(&m->lock);
		op = dying_op(m);
		pthread_mutex_unlock(&m->lock);
		if (!op)
			return;
		if (!op->answering) { /* it was queued */
			refuse(op, EINTR);
			continue;
		}
		fuse_req_interrupt_func(op->req, NULL, NULL);
		fuse_reply_err(op->req, EINTR);
		pthread_mutex_lock(&m->lock);
		op->answering = false;
		pthread_cond_broadcast(&m->changed);
		pthread_mutex_unlock(&m->lock);
	}
}

static void tell_polls(struct uapi_migrations *m)
{
	struct fuse_pollhandle *handles[MAX_MIGRATIONS];
	struct uapi_migration *f;
	unsigned n = 0;

	pthread_mutex_lock(&m->lock);
	LIST_FOREACH(f, &m->files, next)
	{
		if (f->poll && n < MAX_MIGRATIONS)
			handles[n++] = f->poll;
		f->poll = NULL;
	}
	pthread_mutex_unlock(&m->lock);
	while (n--) {
		fuse_lowlevel_notify_poll(handles[n]);
		fuse_pollhandle_destroy(handles[n]);
	}
}

/* Does anybody wait?  ->lock held. */
static bool anybody(const struct uapi_migrations *m)
{
	const struct uapi_migration *f;
	const struct op *op;

	LIST_FOREACH(f, &m->files, next)
	{
		if (f->poll || (f->running && f->running->interrupted && !f->running->answered))
			return true;
		STAILQ_FOREACH(op, &f->queue, next)
		{
			if (op->interrupted)
				return true;
		}
	}
	return false;
}

void *migration_watch(void *arg)
{
	struct uapi_migrations *m = arg;
	struct timespec until;

	pthread_setname_np(pthread_self(), "migration-watch");
	pthread_mutex_lock(&m->lock);
	while (!m->ending) {
		if (!anybody(m)) {
			pthread_cond_wait(&m->watch, &m->lock);
			continue;
		}
		clock_gettime(CLOCK_MONOTONIC, &until);
		until.tv_nsec += LOOK_NS;
		until.tv_sec += until.tv_nsec / 1000000000;
		until.tv_nsec %= 1000000000;
		while (!m->ending && !m->look &&
		       !pthread_cond_timedwait(&m->watch, &m->lock, &until))
			;
		m->look = false;
		pthread_mutex_unlock(&m->lock);
		tell_polls(m);
		answer_dying(m);
		pthread_mutex_lock(&m->lock);
	}
	pthread_mutex_unlock(&m->lock);
	return NULL;
}

void uapi_migrations_look(struct uapi_migrations *m)
{
	if (!m)
		return;
	pthread_mutex_lock(&m->lock);
	m->look = true;
	pthread_cond_signal(&m->watch);
	pthread_mutex_unlock(&m->lock);
}

/* ---- sessions ---- */

/* What @nr files need.  `adding` held. */
static int make_ready(struct uapi_migrations *m, unsigned nr)
{
	int ret = 0;

	if (m->opener < 0)
		ret = uapi_opener_start(m->mount, &m->opener, &m->opener_pid);
	if (!ret && !m->watching) {
		ret = -uvfio_thread_create(&m->watcher, NULL, migration_watch, m);
		m->watching = !ret;
	}
	return ret ? ret : migration_fuse_threads(m, nr + 2);
}

static struct uapi_migration *file_new(struct uapi_migrations *m, struct core_migration *handle,
				       const struct core_device *df)
{
	struct uapi_migration *f = calloc(1, sizeof(*f));

	if (!f)
		return NULL;
	f->handle = handle;
	f->df = df;
	f->saves = m->core->ops->migration_saves(m->core, handle);
	STAILQ_INIT(&f->queue);
	pthread_mutex_lock(&m->lock);
	f->ino = m->last_ino++;
	LIST_INSERT_HEAD(&m->files, f, next);
	m->nr_files++;
	pthread_mutex_unlock(&m->lock);
	return f;
}

int uapi_migrations_add(struct uapi_migrations *m, struct core_migration *handle,
			const struct core_device *df)
{
	struct uapi_migration *f = NULL;
	unsigned nr;
	int ret;

	pthread_mutex_lock(&m->adding);
	pthread_mutex_lock(&m->lock);
	nr = m->nr_files;
	pthread_mutex_unlock(&m->lock);
	ret = nr < MAX_MIGRATIONS ? make_ready(m, nr + 1) : -ENFILE;
	if (!ret) {
		f = file_new(m, handle, df);
		ret = f ? 0 : -ENOMEM;
	}
	if (f) {
		ret = uapi_fd_to_keep(uapi_opener_open(
			m->opener, f->ino, (f->saves ? O_RDONLY : O_WRONLY) | O_DIRECT));
		if (ret < 0)
			migration_released(m, f->ino);
	} else {
		m->core->ops->migration_release(m->core, handle);
	}
	pthread_mutex_unlock(&m->adding);
	return ret;
}

/* One that is @df's and does not know yet that it goes.  ->lock held. */
static struct uapi_migration *next_to_end(struct uapi_migrations *m, const struct core_device *df)
{
	struct uapi_migration *f;

	LIST_FOREACH(f, &m->files, next)
	{
		if (f->df == df && !f->ended)
			return f;
	}
	return NULL;
}

void uapi_migrations_end(struct uapi_migrations *m, const struct core_device *df)
{
	struct core_migration *handle;
	struct uapi_migration *f;

	if (!m)
		return;
	pthread_mutex_lock(&m->lock);
	while ((f = next_to_end(m, df))) {
		f->ended = true; /* nothing is queued any more */
		f->uses++;
		while (f->busy || f->uses > 1)
			pthread_cond_wait(&m->changed, &m->lock);
		handle = f->handle;
		f->handle = NULL;
		pthread_mutex_unlock(&m->lock);
		if (handle)
			m->core->ops->migration_release(m->core, handle);
		uapi_migration_put(m, f);
		pthread_mutex_lock(&m->lock);
	}
	pthread_mutex_unlock(&m->lock);
	uapi_migrations_look(m);
}

struct uapi_migration *uapi_migrations_get(struct uapi_migrations *m, dev_t dev, ino_t ino)
{
	struct uapi_migration *f = NULL;

	if (!m || dev != m->dev)
		return NULL;
	pthread_mutex_lock(&m->lock);
	f = migration_find(m, ino);
	if (f && f->released)
		f = NULL;
	if (f)
		f->uses++;
	pthread_mutex_unlock(&m->lock);
	return f;
}

void uapi_migration_put(struct uapi_migrations *m, struct uapi_migration *f)
{
	bool last;

	pthread_mutex_lock(&m->lock);
	f->uses--;
	last = unlink_unused(f);
	pthread_cond_broadcast(&m->changed);
	pthread_mutex_unlock(&m->lock);
	if (last)
		destroy_counted(m, f);
}

int uapi_migration_ioctl(struct uapi_migrations *m, struct uapi_migration *f,
			 struct vfio_client *client, unsigned cmd, uint64_t arg)
{
	struct core_migration *handle;

	pthread_mutex_lock(&m->lock);
	handle = f->ended ? NULL : f->handle; /* which stays while it is in use */
	pthread_mutex_unlock(&m->lock);
	return handle ? m->core->ops->migration_ioctl(m->core, handle, client, cmd, arg) : -ENODEV;
}

/* ---- life ---- */

struct uapi_migrations *uapi_migrations_new(struct uapi_core *core, int fuse, int mount,
					    struct uvfio_error *err)
{
	struct uapi_migrations *m = calloc(1, sizeof(*m));
	pthread_condattr_t attr;
	struct statx stx;
	int ret = -ENOMEM;

	if (!m) {
		close(fuse);
		close(mount);
		uvfio_error_set(err, ret, "out of memory");
		return NULL;
	}
	m->core = core;
	m->mount = mount;
	m->opener = -1;
	m->last_ino = FIRST_INO;
	LIST_INIT(&m->files);
	pthread_mutex_init(&m->adding, NULL);
	pthread_mutex_init(&m->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&m->changed, NULL);
	pthread_cond_init(&m->watch, &attr);
	pthread_condattr_destroy(&attr);
	ret = migration_fuse_init(m, fuse);
	if (!ret && statx(mount, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, 0, &stx))
		ret = -errno;
	if (ret) {
		uvfio_error_set(err, ret, "cannot serve files of migration data: %s",
				strerror(-ret));
		uapi_migrations_free(m);
		return NULL;
	}
	m->dev = makedev(stx.stx_dev_major, stx.stx_dev_minor);
	return m;
}

void uapi_migrations_free(struct uapi_migrations *m)
{
	struct uapi_migration *f;

	if (!m)
		return;
	pthread_mutex_lock(&m->lock);
	m->ending = true;
	pthread_cond_signal(&m->watch);
	pthread_mutex_unlock(&m->lock);
	if (m->watching)
		pthread_join(m->watcher, NULL);
	migration_fuse_stop(m);
	while ((f = LIST_FIRST(&m->files))) {
		LIST_REMOVE(f, next);
		destroy(m, f);
	}
	migration_fuse_fini(m);
	if (m->opener >= 0) {
		close(m->opener);
		waitpid(m->opener_pid, NULL, 0); /* ECHILD: it ended before */
	}
	close(m->mount);
	pthread_cond_destroy(&m->watch);
	pthread_cond_destroy(&m->changed);
	pthread_mutex_destroy(&m->lock);
	pthread_mutex_destroy(&m->adding);
	free(m);
}
