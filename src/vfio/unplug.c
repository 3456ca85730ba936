/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Taking a device away (A.8, REQ; "unbind" in the kernel's words).
 *
 * Theory of operation.  A device that is to go cannot be opened any more.  Whoever has it open is
 * asked for it by the REQ interrupt, again and again; when the last file is closed, the device
 * leaves the machine, its group with it when it was the last one there, and is freed as soon as
 * nobody looks at it.  A time limit cuts this short: the device is then as if pulled out of its
 * slot.  Its registers and its config space read as ones, writes are dropped, resets do not work,
 * mappings of its BARs are withdrawn, DMA and interrupts have stopped; the files stay until their
 * users close them.
 *
 *     PRESENT ──remove──▶ ASKED ──last close──▶ LEFT ──last watcher──▶ freed
 *                           └──limit──▶ CUT ──last close──▲
 *     PRESENT ──unbind──▶ ASKED ──last close──▶ UNBOUND ──bind──▶ PRESENT
 *
 * A surprise is the limit first: the device is cut, and only then asked for.
 *
 * A device that uio has (uio.h) is taken from it first; its files say EIO from then on.
 *
 * A PF loses its VFs first: it is asked for when the last one has been freed.  The VFs of one PF
 * are taken together, and freed one after another by who takes them (sriov.h).
 *
 * Unbinding (host.h) is the same without the end: the device stays in the machine.  A removal that
 * comes meanwhile takes it over.
 *
 * One thread a machine, started by the first removal, sees to what is due and asks.  The steps that
 * may wait, cutting (for the device to become quiet) and freeing (for who looks at it), are each
 * done in a thread of its own: a device that is stuck, in its client's memory say, holds up no
 * other.
 */
#include <assert.h>
#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include "base/thread.h"
#include "vfio/uio.h"
#include "vfio/unplug_private.h"

static const char *const state_names[] = {
	[DEVICE_PRESENT] = "present", [DEVICE_UNBOUND] = "unbound", [DEVICE_UIO] = "uio",
	[DEVICE_STUB] = "stub",       [DEVICE_MODEL] = "model",     [DEVICE_ASKED] = "asked",
	[DEVICE_CUT] = "cut",         [DEVICE_LEFT] = "left",
};
static_assert(sizeof(state_names) / sizeof(state_names[0]) == NR_DEVICE_STATES, "a name each");

void device_set_state(struct vfio_device *dev, enum device_state state)
{
	static const enum vfio_driver drivers[] = {
		[DEVICE_PRESENT] = VFIO_DRIVER_VFIO, [DEVICE_UNBOUND] = VFIO_DRIVER_NONE,
		[DEVICE_UIO] = VFIO_DRIVER_UIO,      [DEVICE_STUB] = VFIO_DRIVER_STUB,
		[DEVICE_MODEL] = VFIO_DRIVER_MODEL,
	};

	if (state != atomic_load(&dev->state))
		uvfio_log(dev->machine->log, UVFIO_LOG_DEBUG, "%s: %s → %s", dev->name,
			  state_names[atomic_load(&dev->state)], state_names[state]);
	if (state < DEVICE_ASKED)
		atomic_store(&dev->driver, drivers[state]);
	if (state == DEVICE_PRESENT)
		vf_token_bound(dev, vfio_device_is_pf(dev), dev->physfn);
	else if (state < DEVICE_ASKED || state == DEVICE_LEFT)
		vf_token_unbound(dev);
	atomic_store(&dev->state, state);
}

/* ---- the steps ---- */

static void cut(struct vfio_device *dev, bool surprise)
{
	uvfio_log(dev->machine->log, UVFIO_LOG_WARN, "%s: %s", dev->name,
		  surprise ? "it was pulled out"
			   : "its user did not give it back in time: it is taken away");
	mishap_clear(dev); /* a reset that is stuck has the lock */
	pthread_mutex_lock(&dev->config_lock);
	device_set_state(dev, DEVICE_CUT);
	device_apply(dev); /* which now finds that it may do nothing */
	device_memory_close(dev);
	irq_intx_level(dev->irqs, false);
	pthread_mutex_unlock(&dev->config_lock);
	device_unhold(dev); /* nobody waits for what does not come back */
}

/* Nobody has the device open, or is opening it.  machine->lock held. */
static void leave_locked(struct vfio_device *dev)
{
	machine_detach_locked(dev);
	sriov_vf_left_locked(dev);
	machine_changed_locked(dev->machine);
	device_set_state(dev, DEVICE_LEFT);
}

void removal_finish(struct removal *r)
{
	struct vfio_machine *machine = r->machine;
	struct vfio_device *pf = r->dev->physfn;
	char name[sizeof(r->dev->name)];
	struct vfio_group *group;

	device_host_driver(r->dev);
	if (r->unbound)
		r->unbound(r->unbound_arg);
	if (!r->leaves) {
		free(r);
		return;
	}
	group = r->dev->group;
	memcpy(name, r->dev->name, sizeof(name));
	observe_wait(r->dev);
	machine_put_loop(machine, r->dev->loop);
	device_free(r->dev);
	pthread_mutex_lock(&machine->lock);
	group_put_locked(group);
	if (pf)
		sriov_vf_freed_locked(pf);
	pthread_mutex_unlock(&machine->lock);
	uvfio_log(machine->log, UVFIO_LOG_INFO, "%s: removed", name);
	if (r->done)
		r->done(r->arg, name);
	free(r);
}

/* ---- threads for steps ---- */

static void *cut_thread(void *arg)
{
	struct removal *r = arg;
	struct vfio_machine *machine = r->machine;

	cut(r->dev, r->surprise);
	pthread_mutex_lock(&machine->lock);
	r->busy = false;
	machine->removal_threads--;
	pthread_cond_signal(&machine->removal_cond);
	pthread_mutex_unlock(&machine->lock);
	return NULL;
}

static void *finish_thread(void *arg)
{
	struct removal *r = arg;
	struct vfio_machine *machine = r->machine;

	removal_finish(r);
	pthread_mutex_lock(&machine->lock);
	machine->removal_threads--;
	pthread_cond_signal(&machine->removal_cond);
	pthread_mutex_unlock(&machine->lock);
	return NULL;
}

/* machine->lock held; released meanwhile.  Without a thread it is done here. */
static void run_step(struct removal *r, void *(*fn)(void *arg))
{
	struct vfio_machine *machine = r->machine;

	machine->removal_threads++;
	pthread_mutex_unlock(&machine->lock);
	if (uvfio_thread_detached(0, fn, r))
		fn(r);
	pthread_mutex_lock(&machine->lock);
}

/* ---- the thread ---- */

/* What it waits for; 0: nothing. */
static uint64_t due_at(const struct removal *r)
{
	if (r->busy)
		return UINT64_MAX;
	if (r->has_vfs)
		return r->cut_at;
	if (!r->dev->users)
		return 0;
	return r->cut_at < r->ask_at ? r->cut_at : r->ask_at;
}

static uint64_t next_due(const struct vfio_machine *machine)
{
	uint64_t due = UINT64_MAX;

	for (const struct removal *r = machine->removals; r; r = r->next)
		if (due_at(r) < due)
			due = due_at(r);
	return due;
}

static void wait_until(struct vfio_machine *machine, uint64_t due)
{
	struct timespec ts = {.tv_sec = (time_t)(due / 1000000000),
			      .tv_nsec = (long)(due % 1000000000)};

	if (due == UINT64_MAX)
		pthread_cond_wait(&machine->removal_cond, &machine->lock);
	else
		pthread_cond_timedwait(&machine->removal_cond, &machine->lock, &ts);
}

/* Nobody has the device open: it leaves, or is without a driver from now on.  machine->lock held;
 * released meanwhile. */
static void given_back(struct removal *r)
{
	struct removal **link = &r->machine->removals;

	while (*link != r)
		link = &(*link)->next;
	*link = r->next;
	if (r->leaves) {
		leave_locked(r->dev);
	} else {
		device_set_state(r->dev, DEVICE_UNBOUND);
		sriov_stay_locked(r->dev);
	}
	group_lost_driver_locked(r->dev->group);
	if (!r->batch) {
		run_step(r, finish_thread);
		return;
	}
	r->next = r->dev->physfn->sriov->left;
	r->dev->physfn->sriov->left = r;
	pthread_cond_broadcast(&r->machine->watch_cond);
}

/* Do what is due for @r, which is not busy.  The same. */
static void step(struct removal *r, uint64_t now)
{
	struct vfio_machine *machine = r->machine;
	struct vfio_device *dev = r->dev;

	if (!dev->users && !r->has_vfs) {
		given_back(r);
	} else if (now >= r->cut_at) {
		r->cut_at = UINT64_MAX;
		if (!r->surprise)
			r->ask_at = UINT64_MAX;
		r->busy = true;
		run_step(r, cut_thread);
	} else {
		r->ask_at = now + machine->req_interval_ns;
		pthread_mutex_unlock(&machine->lock);
		if (!irq_signal_req(dev->irqs))
			uvfio_log(machine->log, UVFIO_LOG_INFO,
				  "%s: waits for its user, who has set no REQ interrupt; close it",
				  dev->name);
		pthread_mutex_lock(&machine->lock);
	}
}

/* The same. */
static void run_due(struct vfio_machine *machine, uint64_t now)
{
	struct removal *r = machine->removals;

	while (r) {
		if (due_at(r) > now) {
			r = r->next;
			continue;
		}
		step(r, now);
		r = machine->removals; /* the list may be another one now */
	}
}

static void *remover(void *arg)
{
	struct vfio_machine *machine = arg;

	pthread_mutex_lock(&machine->lock);
	while (!machine->remover_stop || machine->removals || machine->removal_threads) {
		uint64_t now = uvfio_now_ns(), due = next_due(machine);

		if (due <= now)
			run_due(machine, now);
		else
			wait_until(machine, due);
	}
	pthread_mutex_unlock(&machine->lock);
	return NULL;
}

void unplug_stop(struct vfio_machine *machine)
{
	bool started;

	pthread_mutex_lock(&machine->lock);
	machine->remover_stop = true;
	started = machine->remover_started;
	pthread_cond_signal(&machine->removal_cond);
	pthread_mutex_unlock(&machine->lock);
	if (started)
		pthread_join(machine->remover, NULL);
}

/* machine->lock held. */
int unplug_start_locked(struct vfio_machine *machine)
{
	int ret;

	if (machine->remover_started)
		return 0;
	ret = uvfio_thread_create(&machine->remover, NULL, remover, machine);
	machine->remover_started = !ret;
	return -ret;
}

/* machine->lock held. */
static struct vfio_device *find_locked(struct vfio_machine *machine, const char *name)
{
	for (unsigned i = 0; i < machine->nr_devices; i++)
		if (!strcmp(machine->devices[i]->name, name))
			return machine->devices[i];
	return NULL;
}

/* The device @name; not one that uio has, which goes without its users' leave, nor one that is just
 * being taken from uio.  @surprise: what is stuck in a reset is not waited for.  machine->lock
 * held; released meanwhile. */
static struct vfio_device *find_without_uio(struct vfio_machine *machine, const char *name,
					    bool surprise)
{
	struct vfio_device *dev;

	while ((dev = find_locked(machine, name)) && atomic_load(&dev->state) == DEVICE_UIO) {
		dev->watchers++;
		pthread_mutex_unlock(&machine->lock);
		if (surprise)
			mishap_clear(dev);
		vfio_device_uio_unbind(dev);
		vfio_device_put(dev);
		sched_yield(); /* to who is at it already */
		pthread_mutex_lock(&machine->lock);
	}
	return dev;
}

/* The VFs of a PF have gone; or there are none.  machine->lock held. */
static void vfs_gone(void *arg)
{
	struct removal *r = arg;

	r->has_vfs = false;
	if (atomic_load(&r->dev->state) == DEVICE_ASKED || r->surprise)
		r->ask_at = uvfio_now_ns();
	pthread_cond_signal(&r->machine->removal_cond);
}

/* For @r, which is put into the list next.  0 or -errno.  The same. */
static int take_vfs_locked(struct removal *r)
{
	int ret = sriov_leave_locked(r->dev, r->cut_at, r->surprise, vfs_gone, r);

	r->has_vfs = ret > 0;
	return ret < 0 ? ret : 0;
}

struct removal *removal_find_locked(const struct vfio_device *dev)
{
	struct removal *r = dev->machine->removals;

	while (r && r->dev != dev)
		r = r->next;
	return r;
}

/* @r is a removal that has not begun: it begins, unless that fails.  machine->lock held. */
static int begin_locked(struct removal *r, bool with_vfs)
{
	struct vfio_machine *machine = r->machine;
	int ret = unplug_start_locked(machine);

	if (!ret && with_vfs)
		ret = take_vfs_locked(r);
	if (ret)
		return ret;
	r->next = machine->removals;
	machine->removals = r;
	device_set_state(r->dev, DEVICE_ASKED);
	pthread_cond_signal(&machine->removal_cond);
	return 0;
}

/* What is only to lose its driver is to leave.  The same. */
static int turn_locked(struct removal *r, uint64_t cut_at, bool surprise)
{
	uint64_t before = r->cut_at;
	int ret = 0;

	r->cut_at = cut_at;
	r->surprise = surprise;
	if (r->dev->sriov && !r->has_vfs)
		ret = take_vfs_locked(r); /* that its driver would have left */
	else if (r->dev->sriov)
		sriov_cut_locked(r->dev, cut_at, surprise);
	if (ret)
		r->cut_at = before;
	r->leaves = !ret;
	return ret;
}

static void hurry_locked(struct removal *r, uint64_t cut_at, bool surprise)
{
	if (cut_at >= r->cut_at || r->busy || atomic_load(&r->dev->state) != DEVICE_ASKED)
		return;
	r->cut_at = cut_at;
	r->surprise = surprise;
	if (r->dev->sriov)
		sriov_cut_locked(r->dev, cut_at, surprise);
}

int vfio_machine_remove_device(struct vfio_machine *machine, const char *name, unsigned limit_ms,
			       void (*done)(void *arg, const char *name), void *arg,
			       struct uvfio_error *err)
{
	uint64_t now = uvfio_now_ns(), cut_at = UINT64_MAX;
	struct removal *r = calloc(1, sizeof(*r)), *old = NULL;
	const bool surprise = limit_ms == VFIO_REMOVE_SURPRISE;
	struct vfio_device *dev;
	int ret;

	if (!r)
		return uvfio_error_set(err, -ENOMEM, "out of memory");
	if (surprise)
		cut_at = now;
	else if (limit_ms != VFIO_REMOVE_WAIT)
		cut_at = now + limit_ms * 1000000ull;
	pthread_mutex_lock(&machine->lock);
	dev = find_without_uio(machine, name, surprise);
	old = dev ? removal_find_locked(dev) : NULL;
	if (!dev) {
		ret = uvfio_error_set(err, -ENODEV, "there is no device %s", name);
	} else if (old && !old->leaves) {
		ret = turn_locked(old, cut_at, surprise);
		if (!ret) {
			old->done = done;
			old->arg = arg;
		}
	} else if (old) {
		hurry_locked(old, cut_at, surprise);
		ret = uvfio_error_set(err, -EALREADY, "device %s is being removed already", name);
	} else {
		*r = (struct removal){.machine = machine,
				      .dev = dev,
				      .leaves = true,
				      .surprise = surprise,
				      .cut_at = cut_at,
				      .ask_at = now,
				      .done = done,
				      .arg = arg};
		ret = begin_locked(r, true);
		if (!ret)
			r = NULL;
	}
	if (ret && ret != -ENODEV && ret != -EALREADY)
		uvfio_error_set(err, ret, "cannot start a thread: %s", strerror(-ret));
	pthread_cond_signal(&machine->removal_cond);
	pthread_mutex_unlock(&machine->lock);
	free(r);
	return ret;
}

int vfio_device_unbind(struct vfio_device *dev, void (*done)(void *arg), void *arg)
{
	struct vfio_machine *machine = dev->machine;
	struct removal *r = calloc(1, sizeof(*r));
	int ret;

	if (!r)
		return -ENOMEM;
	*r = (struct removal){.machine = machine,
			      .dev = dev,
			      .cut_at = UINT64_MAX,
			      .ask_at = uvfio_now_ns(),
			      .unbound = done,
			      .unbound_arg = arg};
	pthread_mutex_lock(&machine->lock);
	switch (atomic_load(&dev->state)) {
	case DEVICE_PRESENT:
	case DEVICE_MODEL:
		ret = begin_locked(r, true);
		break;
	case DEVICE_STUB: /* it leaves its VFs, as the kernel's does */
		ret = begin_locked(r, false);
		break;
	case DEVICE_ASKED:
		ret = -EBUSY;
		break;
	default:
		ret = -ENODEV;
		break;
	}
	pthread_mutex_unlock(&machine->lock);
	if (ret)
		free(r);
	return ret;
}

int device_take_locked(struct vfio_device *dev, enum device_state to)
{
	bool does_dma = to != DEVICE_PRESENT; /* or may: the stub never said that it leaves it */

	switch (atomic_load(&dev->state)) {
	case DEVICE_UNBOUND:
		if (dev->physfn && dev->physfn->sriov->state == SRIOV_TAKING)
			return -ENODEV;
		/* Not to who does DMA for the host while a user has the rest of the group (D.1). */
		if (does_dma && group_claimed_locked(dev->group))
			return -EBUSY;
		if (to == DEVICE_PRESENT && vfio_device_num_vfs(dev))
			return -EBUSY;
		device_set_state(dev, to);
		return 0;
	case DEVICE_PRESENT:
	case DEVICE_UIO:
	case DEVICE_STUB:
	case DEVICE_MODEL:
	case DEVICE_ASKED:
		return -EBUSY;
	default:
		return -ENODEV;
	}
}
