/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * An operator's session of moving a device: see move.h.  Its user's calls are held off by hold.c.
 *
 * Where a device is (->place) is written under open_lock and config_lock, and read under either.
 */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include "pci/sriov.h"
#include "vfio/machine_private.h"
#include "vfio/move.h"

struct vfio_move {
	struct vfio_device *dev;
	enum vfio_move_kind kind;
	enum vfio_place before;
	struct mig_data *data; /* NULL: it saves nothing before it is paused, and is not */
	bool paused, given, taken;
};

static const char *const place_names[] = {
	[VFIO_HERE] = "here",         [VFIO_LEAVING] = "leaving", [VFIO_ARRIVING] = "arriving",
	[VFIO_IN_DOUBT] = "in doubt", [VFIO_GONE] = "gone",
};
static_assert(sizeof(place_names) / sizeof(place_names[0]) == NR_VFIO_PLACES, "a name each");

const char *vfio_place_name(enum vfio_place place)
{
	return place_names[place];
}

enum vfio_place vfio_device_place(const struct vfio_device *dev)
{
	return atomic_load(&((struct vfio_device *)(uintptr_t)dev)->migration.place);
}

static void lock(struct vfio_device *dev)
{
	pthread_mutex_lock(&dev->open_lock);
	pthread_mutex_lock(&dev->config_lock);
}

static void unlock(struct vfio_device *dev)
{
	pthread_mutex_unlock(&dev->config_lock);
	pthread_mutex_unlock(&dev->open_lock);
}

/* config_lock held, as in all of these. */
static void set_place(struct vfio_device *dev, enum vfio_place place)
{
	uvfio_log(dev->machine->log, UVFIO_LOG_DEBUG, "%s: move: %s → %s", dev->name,
		  place_names[vfio_device_place(dev)], place_names[place]);
	atomic_store(&dev->migration.place, place);
}

/* A user of the device that a session is. */
static void hold_device(struct vfio_device *dev)
{
	pthread_mutex_lock(&dev->machine->lock);
	dev->users++;
	pthread_mutex_unlock(&dev->machine->lock);
}

/* ---- beginning ---- */

static int check_idle(struct vfio_device *dev, struct uvfio_error *err)
{
	const struct device_migration *mig = &dev->migration;

	if (!mig->m)
		return uvfio_error_set(err, -EOPNOTSUPP, "%s: a device %s cannot be moved",
				       dev->name, dev->model->name);
	if (device_is_cut(dev))
		return uvfio_error_set(err, -EIO, "%s was pulled out", dev->name);
	if (migration_state(mig->m) == MIG_ERROR && vfio_device_place(dev) == VFIO_HERE)
		return uvfio_error_set(err, -EBUSY,
				       "%s is in ERROR, since a step of an earlier move failed: a "
				       "reset makes it work again",
				       dev->name);
	if (migration_state(mig->m) != MIG_RUNNING && vfio_device_place(dev) == VFIO_HERE)
		return uvfio_error_set(err, -EBUSY, "%s: its user is moving it: it is in %s",
				       dev->name, mig_state_name(migration_state(mig->m)));
	if (pci_sriov_num_vfs(dev->func))
		return uvfio_error_set(err, -EBUSY,
				       "%s has %u VFs, which it cannot take along: take them away "
				       "first (uvfio set %s numvfs=0)",
				       dev->name, pci_sriov_num_vfs(dev->func), dev->name);
	return 0;
}

static int check_save(struct vfio_device *dev, struct uvfio_error *err)
{
	int ret = check_idle(dev, err);

	if (ret)
		return ret;
	switch (vfio_device_place(dev)) {
	case VFIO_HERE:
		break;
	case VFIO_GONE:
		return uvfio_error_set(err, -EBUSY, "%s is not here any more: it was moved",
				       dev->name);
	case VFIO_IN_DOUBT:
		return uvfio_error_set(err, -EBUSY,
				       "%s: it is in doubt whether it is here, since an earlier "
				       "move (uvfio resume decides)",
				       dev->name);
	default:
		return uvfio_error_set(err, -EBUSY, "%s is being moved already", dev->name);
	}
	if (vfio_keep_ready(dev))
		return uvfio_error_set(err, -EBUSY,
				       "%s has come here, and its user has not yet taken it up "
				       "again: it can be moved on when that has opened it",
				       dev->name);
	if (dev->open_count && dev->uio_open)
		return uvfio_error_set(err, -EBUSY,
				       "%s: a program has it by uio, which cannot follow it",
				       dev->name);
	return 0;
}

static int check_load(struct vfio_device *dev, struct uvfio_error *err)
{
	int ret = check_idle(dev, err);

	if (ret)
		return ret;
	if (vfio_device_place(dev) == VFIO_IN_DOUBT)
		return uvfio_error_set(err, -EBUSY,
				       "%s: it is in doubt whether another device has come here, "
				       "since an earlier move (uvfio resume decides)",
				       dev->name);
	if (vfio_device_place(dev) != VFIO_HERE && vfio_device_place(dev) != VFIO_GONE)
		return uvfio_error_set(err, -EBUSY, "%s is being moved already", dev->name);
	if (dev->open_count)
		return uvfio_error_set(err, -EBUSY,
				       "%s is in use: what comes would take its place; let its "
				       "user close it first",
				       dev->name);
	return 0;
}

/* It is as if it had just been reset, and nobody's; or is gone. */
static void forget(struct vfio_device *dev, enum vfio_place place)
{
	set_place(dev, place);
	device_migration_reset(dev);
	dev->needs_reset = true;
	device_apply(dev);
}

/* What the session has of data from its beginning on. */
static int begin_session(struct vfio_device *dev, enum vfio_move_kind kind, struct mig_data **data,
			 struct uvfio_error *err)
{
	struct migration *m = dev->migration.m;

	*data = NULL;
	if (kind == VFIO_MOVE_LOAD) {
		forget(dev, VFIO_HERE);
		return migration_set(m, MIG_RESUMING, data, err);
	}
	return migration_can(m) & MIG_CAN_PRE_COPY ? migration_set(m, MIG_PRE_COPY, data, err) : 0;
}

int vfio_move_begin(struct vfio_device *dev, enum vfio_move_kind kind, struct vfio_move **out,
		    struct uvfio_error *err)
{
	struct vfio_move *move = calloc(1, sizeof(*move));
	int ret;

	if (!move)
		return uvfio_error_set(err, -ENOMEM, "out of memory");
	*move = (struct vfio_move){.dev = dev, .kind = kind};
	lock(dev);
	move->before = vfio_device_place(dev);
	ret = kind == VFIO_MOVE_SAVE ? check_save(dev, err) : check_load(dev, err);
	if (!ret)
		ret = begin_session(dev, kind, &move->data, err);
	if (move->data)
		mig_data_pin(move->data);
	dev->migration.memory_is_free = !ret && kind == VFIO_MOVE_LOAD && move->before == VFIO_GONE;
	if (!ret)
		set_place(dev, kind == VFIO_MOVE_SAVE ? VFIO_LEAVING : VFIO_ARRIVING);
	else if (vfio_device_place(dev) != move->before)
		forget(dev, move->before);
	unlock(dev);
	if (ret) {
		free(move);
		return ret;
	}
	hold_device(dev);
	*out = move;
	return 0;
}

/* ---- saving ---- */

/* Does the session still stand? */
static int check_stands(const struct vfio_move *move, struct uvfio_error *err)
{
	if (device_is_cut(move->dev))
		return uvfio_error_set(err, -EIO, "%s was pulled out", move->dev->name);
	if (move->data && !mig_data_migration(move->data))
		return uvfio_error_set(err, -ENODEV,
				       "%s was reset, or closed by its user, meanwhile",
				       move->dev->name);
	return 0;
}

static ssize_t lend(struct mig_data *data, const void **bytes, size_t max)
{
	ssize_t n = mig_data_peek(data, bytes);

	if (n <= 0)
		return n;
	n = (ssize_t)mig_data_cut(data, max);
	mig_data_take(data, (size_t)n);
	return n;
}

/* What is next: lent in @bytes, or, NULL, copied to @buf. */
static ssize_t next_of(struct vfio_move *move, const void **bytes, void *buf, size_t max)
{
	struct vfio_device *dev = move->dev;
	ssize_t ret;

	assert(move->kind == VFIO_MOVE_SAVE);
	do {
		pthread_mutex_lock(&dev->config_lock);
		ret = check_stands(move, NULL);
		if (!ret && !move->data)
			ret = -ENOMSG;
		else if (!ret)
			ret = bytes ? lend(move->data, bytes, max)
				    : mig_data_read(move->data, buf, max);
		pthread_mutex_unlock(&dev->config_lock);
	} while (ret == -EAGAIN);
	return ret;
}

ssize_t vfio_move_read(struct vfio_move *move, void *buf, size_t len)
{
	return next_of(move, NULL, buf, len);
}

ssize_t vfio_move_lend(struct vfio_move *move, const void **bytes, size_t max)
{
	return next_of(move, bytes, NULL, max);
}

bool vfio_move_is_idle(struct vfio_move *move)
{
	struct vfio_device *dev = move->dev;
	bool idle;

	pthread_mutex_lock(&dev->open_lock);
	idle = !dev->open_count;
	pthread_mutex_unlock(&dev->open_lock);
	return idle;
}

int vfio_move_left(struct vfio_move *move, struct mig_left *out)
{
	struct vfio_device *dev = move->dev;
	int ret = -EINVAL;

	pthread_mutex_lock(&dev->config_lock);
	if (move->data)
		ret = mig_data_left(move->data, out);
	pthread_mutex_unlock(&dev->config_lock);
	return ret;
}

uint64_t vfio_move_size(struct vfio_move *move)
{
	struct vfio_device *dev = move->dev;
	uint64_t size;

	pthread_mutex_lock(&dev->config_lock);
	size = migration_size(dev->migration.m);
	pthread_mutex_unlock(&dev->config_lock);
	return size;
}

/* config_lock held. */
static int stop(struct vfio_move *move, struct uvfio_error *err)
{
	struct mig_data *data = NULL;
	int ret = check_stands(move, err);

	if (!ret)
		ret = migration_set(move->dev->migration.m, MIG_STOP_COPY, &data, err);
	if (data) {
		move->data = data;
		mig_data_pin(data);
	}
	return ret;
}

int vfio_move_pause(struct vfio_move *move, struct uvfio_error *err)
{
	struct vfio_device *dev = move->dev;
	int ret;

	assert(move->kind == VFIO_MOVE_SAVE && !move->paused);
	ret = device_hold(dev);
	if (ret)
		return uvfio_error_set(err, ret,
				       "%s: a call of its user's does not return, so that it "
				       "cannot be stopped now; try again",
				       dev->name);
	/* One that sleeps (A.10) is awake from here on. */
	device_access_begin_anyway(dev);
	pthread_mutex_lock(&dev->config_lock);
	ret = stop(move, err);
	pthread_mutex_unlock(&dev->config_lock);
	if (ret) {
		device_access_end(dev);
		device_unhold(dev);
	}
	move->paused = !ret;
	return ret;
}

int vfio_move_give(struct vfio_move *move, struct uvfio_error *err)
{
	struct vfio_device *dev = move->dev;
	int ret;

	assert(move->paused && !move->given);
	lock(dev);
	ret = check_stands(move, err);
	if (!ret) {
		set_place(dev, VFIO_IN_DOUBT);
		move->given = true;
	}
	unlock(dev);
	return ret;
}

/* ---- loading ---- */

ssize_t vfio_move_write(struct vfio_move *move, const void *buf, size_t len,
			struct uvfio_error *err)
{
	struct vfio_device *dev = move->dev;
	ssize_t ret;

	assert(move->kind == VFIO_MOVE_LOAD);
	pthread_mutex_lock(&dev->config_lock);
	ret = check_stands(move, err);
	if (!ret)
		ret = mig_data_write(move->data, buf, len, err);
	pthread_mutex_unlock(&dev->config_lock);
	return ret;
}

int vfio_move_loaded(struct vfio_move *move, struct uvfio_error *err)
{
	struct vfio_device *dev = move->dev;
	int ret;

	pthread_mutex_lock(&dev->config_lock);
	ret = check_stands(move, err);
	if (!ret)
		ret = mig_data_complete(move->data, err);
	if (!ret)
		ret = vfio_keep_check(dev, true, err);
	pthread_mutex_unlock(&dev->config_lock);
	return ret;
}

/* It becomes what has come; its next user goes on with it.  It is nobody's, so that it does nothing
 * until then, although it runs.  Locked. */
static int put_into_effect(struct vfio_device *dev, struct uvfio_error *err)
{
	struct mig_data *none;
	int ret;

	ret = migration_set(dev->migration.m, MIG_STOP, &none, err);
	if (ret)
		return ret;
	set_place(dev, VFIO_HERE);
	return migration_set(dev->migration.m, MIG_RUNNING, &none, err);
}

int vfio_move_take(struct vfio_move *move, struct uvfio_error *err)
{
	struct vfio_device *dev = move->dev;
	int ret;

	lock(dev);
	ret = check_stands(move, err);
	if (!ret)
		ret = put_into_effect(dev, err);
	unlock(dev);
	move->taken = !ret;
	return ret;
}

/* ---- the end ---- */

/* What was saved runs on.  Locked. */
static int run_on(struct vfio_device *dev, struct uvfio_error *err)
{
	struct mig_data *none;
	int ret = 0;

	/* There is nothing to run on; a user who has it open is to reset it. */
	if (migration_state(dev->migration.m) == MIG_ERROR) {
		if (dev->open_count)
			set_place(dev, VFIO_HERE);
		else
			forget(dev, VFIO_HERE);
		return 0;
	}
	if (migration_state(dev->migration.m) != MIG_RUNNING)
		ret = migration_set(dev->migration.m, MIG_RUNNING, &none, err);
	set_place(dev, ret ? VFIO_IN_DOUBT : VFIO_HERE);
	if (ret)
		return ret;
	/* It may have been closed by its user in the meantime, and not reset. */
	if (dev->needs_reset && !dev->open_count)
		device_function_reset(dev, UVFIO_RESET_CLOSE);
	device_apply(dev);
	return 0;
}

/* It stays still, and answers nobody. */
static int gone(struct vfio_device *dev)
{
	set_place(dev, VFIO_GONE);
	device_apply(dev);
	return 0;
}

int vfio_move_end(struct vfio_move *move, enum vfio_move_end how, struct uvfio_error *err)
{
	struct vfio_device *dev = move->dev;
	int ret = 0;

	lock(dev);
	switch (how) {
	case VFIO_MOVE_GONE:
		assert(move->given);
		gone(dev);
		break;
	case VFIO_MOVE_DOUBT:
		assert(move->given || move->kind == VFIO_MOVE_LOAD);
		if (!check_stands(move, NULL))
			set_place(dev, VFIO_IN_DOUBT);
		else
			forget(dev, move->before);
		break;
	case VFIO_MOVE_BACK:
		if (move->kind == VFIO_MOVE_SAVE)
			ret = run_on(dev, err);
		else if (!move->taken)
			forget(dev, move->before);
		break;
	}
	mig_data_put(move->data);
	unlock(dev);
	if (move->paused)
		device_access_end(dev);
	/* In doubt its user's calls go on waiting. */
	if (move->paused && vfio_device_place(dev) != VFIO_IN_DOUBT)
		device_unhold(dev);
	device_put_user(dev);
	free(move);
	return ret;
}

int vfio_device_resume(struct vfio_device *dev, bool here, struct uvfio_error *err)
{
	bool doubt;
	int ret;

	lock(dev);
	if (vfio_device_place(dev) != VFIO_IN_DOUBT)
		ret = uvfio_error_set(err, -EINVAL, "%s: there is no doubt about where it is: %s",
				      dev->name, vfio_place_name(vfio_device_place(dev)));
	else if (!here)
		ret = gone(dev);
	else if (migration_state(dev->migration.m) == MIG_RESUMING)
		ret = put_into_effect(dev, err);
	else
		ret = run_on(dev, err);
	doubt = vfio_device_place(dev) == VFIO_IN_DOUBT;
	unlock(dev);
	if (!doubt)
		device_unhold(dev);
	return ret;
}

int device_forget_moved(struct vfio_device *dev)
{
	int ret = 0;

	if (vfio_device_place(dev) < VFIO_IN_DOUBT)
		return 0;
	lock(dev);
	if (vfio_device_place(dev) == VFIO_IN_DOUBT)
		ret = -EBUSY;
	else if (vfio_device_place(dev) == VFIO_GONE)
		forget(dev, VFIO_HERE);
	unlock(dev);
	return ret;
}
