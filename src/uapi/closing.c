/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What is closed: found by leases and inotify, released in threads of its own; see files.h.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>
#include "base/thread.h"
#include "uapi/files_private.h"
#include "uapi/migration.h"
#include "uapi/sysfs.h"

/* How long after a close the janitor asks again, in µs. */
static const unsigned retries[] = {50, 200, 1000, 10000, 100000};

/* True when nobody but us has the file open for writing, or mapped through such a description. */
static bool unused(const struct uapi_file *file)
{
	if (fcntl(file->probe, F_SETLEASE, F_WRLCK))
		return false;
	fcntl(file->probe, F_SETLEASE, F_UNLCK);
	return true;
}

void uapi_file_destroy(struct uapi_files *files, struct uapi_file *file)
{
	struct uapi_core *core = files->server->core;

	if (file->watch >= 0)
		inotify_rm_watch(files->inotify, file->watch);
	if (file->device_file)
		core->ops->device_release(core, file->device_file);
	if (file->group_file)
		core->ops->group_release(core, file->group_file);
	if (file->container)
		core->ops->container_release(core, file->container);
	if (file->iommufd)
		core->ops->iommufd_release(core, file->iommufd);
	if (file->export)
		core->ops->export_release(core, file->export);
	if (file->probe >= 0)
		close(file->probe);
	free(file);
}

/* Take out of the table what is @kind and closed.  files->opening held. */
static struct uapi_file *collect(struct uapi_files *files, enum uapi_file_kind kind, bool all)
{
	struct uapi_file *dead = NULL;

	pthread_mutex_lock(&files->lock);
	for (unsigned i = 0; i < BUCKETS; i++) {
		struct uapi_file **p = &files->table[i], *file;

		while ((file = *p)) {
			bool gone = file->kind == kind && (all || unused(file));

			if (file->kind == kind)
				file->closed = gone && file->refs && !all;
			if (!gone || file->closed) {
				p = &file->next;
				continue;
			}
			*p = file->next;
			file->next = dead;
			dead = file;
			files->nr_files--;
			files->nr_exports -= file->kind == UAPI_EXPORT;
		}
	}
	pthread_mutex_unlock(&files->lock);
	return dead;
}

static void *release_main(void *arg)
{
	struct uapi_file *file = arg, **p;
	struct uapi_files *files = file->files;
	struct uapi_core *core = files->server->core;

	pthread_setname_np(pthread_self(), "release");
	if (file->kind == UAPI_DEVICE)
		uapi_migrations_end(files->server->migrations, file->device_file);
	core->ops->device_release(core, file->device_file);
	file->device_file = NULL;
	uapi_sysfs_refresh(files->server->sysfs, file->device);
	pthread_mutex_lock(&files->lock);
	for (p = &files->dying; *p != file; p = &(*p)->next)
		;
	*p = file->next;
	uapi_file_destroy(files, file);
	pthread_cond_broadcast(&files->died);
	pthread_mutex_unlock(&files->lock);
	return NULL;
}

/* files->opening held. */
static void release(struct uapi_files *files, struct uapi_file *file)
{
	pthread_mutex_lock(&files->lock);
	file->files = files;
	file->round = files->rounds;
	file->next = files->dying;
	files->dying = file;
	pthread_mutex_unlock(&files->lock);
	if (uvfio_thread_detached(0, release_main, file))
		release_main(file);
}

/* Returns the number of this search.  files->opening held. */
static uint64_t reap_locked(struct uapi_files *files, bool all)
{
	static const enum uapi_file_kind order[] = {UAPI_EXPORT, UAPI_RESOURCE,  UAPI_DEVICE,
						    UAPI_GROUP,  UAPI_CONTAINER, UAPI_IOMMUFD};
	uint64_t round = ++files->rounds;

	for (unsigned i = 0; i < sizeof(order) / sizeof(*order); i++) {
		struct uapi_file *dead = collect(files, order[i], all), *next;

		for (; dead; dead = next) {
			next = dead->next;
			if (dead->device_file)
				release(files, dead);
			else
				uapi_file_destroy(files, dead);
		}
	}
	return round;
}

/* files->lock held. */
static bool is_dying(const struct uapi_files *files, unsigned group)
{
	const struct uapi_file *file = files->dying;

	while (file && file->group != group)
		file = file->next;
	return file;
}

static bool own_is_dying(const struct uapi_files *files, pid_t owner, uint64_t round)
{
	const struct uapi_file *file = files->dying;

	while (file && file->round != round && file->owner != owner)
		file = file->next;
	return file;
}

static bool one_is_dying(const struct uapi_files *files, dev_t dev, ino_t ino, uint64_t key)
{
	const struct uapi_file *file = files->dying;

	while (file && (ino ? file->dev != dev || file->ino != ino : file->key != key))
		file = file->next;
	return file;
}

static bool is_dead(const struct uapi_files *files, uint64_t call)
{
	return call && ioctl(files->server->listener, SECCOMP_IOCTL_NOTIF_ID_VALID, &call) != 0;
}

/* Is @file closed, and still used by a call whose process is dead? */
static bool is_used_by_dead(const struct uapi_files *files, const struct uapi_file *file)
{
	if (!file->closed || !file->refs)
		return false;
	for (unsigned i = 0; i < UAPI_FILE_USERS; i++) {
		if (file->users[i] && is_dead(files, file->users[i]))
			return true;
	}
	return false;
}

/* Has a call whose process is dead a copy of some descriptor? */
static bool has_copy_of_dead(const struct uapi_files *files)
{
	const struct uapi_copy *copy = files->copies;

	while (copy && !is_dead(files, copy->call))
		copy = copy->next;
	return copy;
}

/* Somebody who opens something of @group. */
struct waiter {
	unsigned group;
	uint64_t call;
	struct timespec until; /* for those who look, */
	bool impatient;        /* not any more */
};

static struct waiter waiter(const struct uapi_files *files, unsigned group, uint64_t call)
{
	struct waiter w = {.group = group, .call = call};

	clock_gettime(CLOCK_MONOTONIC, &w.until);
	w.until.tv_sec += files->look_seconds;
	return w;
}

/* What @w has to wait for that will not be there for who opens something of the group.
 * files->lock held. */
static bool is_going(const struct uapi_files *files, const struct waiter *w)
{
	bool looked_at = false;

	if (is_dying(files, w->group))
		return true;
	if (w->group == NO_GROUP)
		return false;
	if (has_copy_of_dead(files))
		return !is_dead(files, w->call);
	for (unsigned i = 0; i < BUCKETS; i++) {
		for (const struct uapi_file *f = files->table[i]; f; f = f->next) {
			if ((f->kind != UAPI_DEVICE && f->kind != UAPI_RESOURCE &&
			     f->kind != UAPI_GROUP) ||
			    f->group != w->group)
				continue;
			if (is_used_by_dead(files, f))
				return !is_dead(files, w->call);
			looked_at |= f->closed && f->lookers;
		}
	}
	return looked_at && !w->impatient;
}

/* True when there was something to wait for. */
static bool await_death(struct uapi_files *files, struct waiter *w)
{
	bool waited = false;

	pthread_mutex_lock(&files->lock);
	files->awaited++;
	while (is_going(files, w)) {
		if (w->impatient)
			pthread_cond_wait(&files->died, &files->lock);
		else if (pthread_cond_timedwait(&files->died, &files->lock, &w->until) == ETIMEDOUT)
			w->impatient = true;
		waited = true;
	}
	files->awaited--;
	pthread_mutex_unlock(&files->lock);
	return waited;
}

void uapi_files_open_begin(struct uapi_files *files, unsigned group, uint64_t call)
{
	struct waiter w = waiter(files, group, call);

	for (;;) {
		bool going;

		pthread_mutex_lock(&files->opening);
		reap_locked(files, false);
		pthread_mutex_lock(&files->lock);
		going = is_going(files, &w);
		pthread_mutex_unlock(&files->lock);
		if (!going)
			return;
		pthread_mutex_unlock(&files->opening);
		await_death(files, &w);
	}
}

static uint64_t reap(struct uapi_files *files)
{
	uint64_t round;

	pthread_mutex_lock(&files->opening);
	round = reap_locked(files, false);
	pthread_mutex_unlock(&files->opening);
	return round;
}

void uapi_files_settle(struct uapi_files *files, unsigned group, uint64_t call)
{
	struct waiter w = waiter(files, group, call);

	do
		reap(files);
	while (await_death(files, &w));
}

void uapi_files_settle_own(struct uapi_files *files, pid_t owner)
{
	uint64_t round = reap(files);

	pthread_mutex_lock(&files->lock);
	while (own_is_dying(files, owner, round))
		pthread_cond_wait(&files->died, &files->lock);
	pthread_mutex_unlock(&files->lock);
}

void uapi_files_settle_one(struct uapi_files *files, dev_t dev, ino_t ino, uint64_t key)
{
	reap(files);
	pthread_mutex_lock(&files->lock);
	while (one_is_dying(files, dev, ino, key))
		pthread_cond_wait(&files->died, &files->lock);
	pthread_mutex_unlock(&files->lock);
}

/* ---- the janitor ---- */

void uapi_files_wake(struct uapi_files *files)
{
	uint64_t one = 1;

	(void)!write(files->wake, &one, sizeof(one));
}

static void *janitor_main(void *arg)
{
	struct uapi_files *files = arg;
	const unsigned steps = sizeof(retries) / sizeof(*retries);
	unsigned step = steps;

	pthread_setname_np(pthread_self(), "janitor");
	while (!atomic_load(&files->ending)) {
		struct pollfd fds[2] = {{.fd = files->inotify, .events = POLLIN},
					{.fd = files->wake, .events = POLLIN}};
		struct timespec wait = {0, 0};
		char buf[4096];
		int n;

		if (step < steps)
			wait.tv_nsec = (long)retries[step] * 1000;
		n = ppoll(fds, 2, step < steps ? &wait : NULL, NULL);
		if (n > 0) {
			if (fds[0].revents)
				(void)!read(files->inotify, buf, sizeof(buf));
			if (fds[1].revents)
				(void)!read(files->wake, buf, sizeof(buf));
			step = 0;
		} else {
			step++;
		}
		reap(files);
	}
	return NULL;
}

int uapi_files_start_janitor(struct uapi_files *files)
{
	return -pthread_create(&files->janitor, NULL, janitor_main, files);
}

void uapi_files_close_all(struct uapi_files *files)
{
	atomic_store(&files->ending, true);
	uapi_files_wake(files);
	pthread_join(files->janitor, NULL);
	reap_locked(files, true);
	pthread_mutex_lock(&files->lock);
	while (files->dying)
		pthread_cond_wait(&files->died, &files->lock);
	pthread_mutex_unlock(&files->lock);
}
