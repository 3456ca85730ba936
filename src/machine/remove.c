/* SPDX-License-Identifier: BSD-3-Clause */
/* Devices: removing.  The core tells when it has let go of one, in a thread of its own. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include "machine/own.h"

/* Close the socket of @d and its connections.  ->lock is held, and let go of meanwhile. */
static void hang_up(struct uvfio_machine *machine, struct own_device *d)
{
	struct wire_listener *listener = d->listener;

	d->listener = NULL;
	if (!listener)
		return;
	machine->hanging_up++;
	pthread_mutex_unlock(&machine->lock);
	wire_unlisten(listener);
	pthread_mutex_lock(&machine->lock);
	machine->hanging_up--;
	pthread_cond_broadcast(&machine->changed);
}

void own_hang_up_all(struct uvfio_machine *machine)
{
	struct own_device *d;

	pthread_mutex_lock(&machine->lock);
	do {
		for (d = machine->devices; d && !d->listener;)
			d = d->next;
		if (d)
			hang_up(machine, d);
	} while (d);
	while (machine->hanging_up)
		pthread_cond_wait(&machine->changed, &machine->lock);
	pthread_mutex_unlock(&machine->lock);
}

static struct own_device *being_removed_locked(struct uvfio_machine *machine, const char *name)
{
	struct own_device *d = machine->devices;

	while (d && (!d->removing || strcmp(d->name, name) != 0))
		d = d->next;
	return d;
}

/* In a thread of the core's. */
static void on_gone(void *arg, const char *name)
{
	struct uvfio_machine *machine = arg;
	struct own_device **link, *d;

	pthread_mutex_lock(&machine->lock);
	for (d = machine->devices; d && (!d->removing || d->gone || strcmp(d->name, name) != 0);)
		d = d->next;
	if (!d) {
		pthread_mutex_unlock(&machine->lock);
		return;
	}
	d->gone = true;
	hang_up(machine, d);
	pthread_mutex_unlock(&machine->lock);
	/* Before anybody can make another one there. */
	own_unlink(&d->socket);
	if (d->on_gone)
		d->on_gone(d->arg, name);
	pthread_mutex_lock(&machine->lock);
	for (link = &machine->devices; *link != d;)
		link = &(*link)->next;
	*link = d->next;
	pthread_cond_broadcast(&machine->changed);
	pthread_mutex_unlock(&machine->lock);
	free(d);
}

int own_remove(struct uvfio_machine *machine, const char *name, enum uvfio_machine_removal how,
	       void (*gone)(void *arg, const char *name), void *arg, struct uvfio_error *err)
{
	static const unsigned limits[] = {
		[UVFIO_MACHINE_ASK] = VFIO_REMOVE_WAIT,
		[UVFIO_MACHINE_FORCE] = 0,
		[UVFIO_MACHINE_SURPRISE] = VFIO_REMOVE_SURPRISE,
	};
	struct own_device *d;
	bool first;
	int ret;

	if ((unsigned)how >= sizeof(limits) / sizeof(limits[0]))
		return uvfio_error_set(err, -EINVAL, "there is no way %d to remove a device", how);
	pthread_mutex_lock(&machine->lock);
	d = own_find_locked(machine, name);
	first = d;
	if (first) {
		d->removing = true;
		d->on_gone = gone;
		d->arg = arg;
	} else if (!being_removed_locked(machine, name)) {
		ret = own_no_device(name, err);
		goto out;
	} else if (how == UVFIO_MACHINE_ASK) {
		ret = uvfio_error_set(err, -EALREADY, "%s is being removed already", name);
		goto out;
	}
	pthread_mutex_unlock(&machine->lock);

	ret = vfio_machine_remove_device(machine->machine, name, limits[how], on_gone, machine,
					 err);
	pthread_mutex_lock(&machine->lock);
	if (first && ret) {
		/* Nothing has begun, so nobody else has changed it. */
		d->removing = false;
		goto out;
	}
	/* It may have gone by now, or will be while its connections are closed. */
	ret = 0;
	d = how == UVFIO_MACHINE_FORCE ? being_removed_locked(machine, name) : NULL;
	if (d)
		hang_up(machine, d);
out:
	pthread_mutex_unlock(&machine->lock);
	return ret;
}

int own_wait_gone(struct uvfio_machine *machine, const char *name, int timeout_ms)
{
	struct timespec until;
	int ret = 0;

	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += timeout_ms / 1000;
	until.tv_nsec += (long)(timeout_ms % 1000) * 1000000;
	if (until.tv_nsec >= 1000000000) {
		until.tv_sec++;
		until.tv_nsec -= 1000000000;
	}
	pthread_mutex_lock(&machine->lock);
	while (being_removed_locked(machine, name) && !machine->ending && !ret)
		ret = timeout_ms < 0
			      ? pthread_cond_wait(&machine->changed, &machine->lock)
			      : pthread_cond_timedwait(&machine->changed, &machine->lock, &until);
	if (!being_removed_locked(machine, name))
		ret = 0;
	else
		ret = machine->ending ? -ECANCELED : -ETIMEDOUT;
	pthread_mutex_unlock(&machine->lock);
	return ret;
}

int uvfio_machine_remove(struct uvfio_machine *machine, const char *name,
			 enum uvfio_machine_removal how, void (*gone)(void *arg, const char *name),
			 void *arg, struct uvfio_error *err)
{
	int ret = own_enter(machine, err);

	if (ret)
		return ret;
	ret = own_remove(machine, name, how, gone, arg, err);
	own_leave();
	return ret;
}

int uvfio_machine_wait_gone(struct uvfio_machine *machine, const char *name, int timeout_ms)
{
	int ret = own_enter(machine, NULL);

	if (ret)
		return ret;
	ret = own_wait_gone(machine, name, timeout_ms);
	own_leave();
	return ret;
}
