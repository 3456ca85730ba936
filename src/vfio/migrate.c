/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A device that is moved (E.2, E.3): what each arc does to it, and what its stream has besides the
 * model's sections: the contents of memory areas (.MEM, migrate_memory.c) and interrupts that are
 * pending (.IRQ version 1: u64 words of bits, MSI-X vectors).
 *
 * A state is two facts here: may the device start DMA and interrupts, may anybody reach its
 * registers.  device_apply() puts them into effect with everything else that decides about that.
 */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <uvfio/migration.h>
#include "pci/sriov.h"
#include "vfio/machine_private.h"

#define IRQS_VERSION 1u

static_assert(UVFIO_MIGRATE_P2P << 1 == MIG_CAN_P2P &&
		      UVFIO_MIGRATE_PRE_COPY << 1 == MIG_CAN_PRE_COPY,
	      "the same, one bit up");

/* ---- what the model is called with ---- */

enum model_op {
	MODEL_SAVE,
	MODEL_LOAD,
	MODEL_COMMIT,
	MODEL_FORGET,
	MODEL_LEFT,
	MODEL_SIZE,
	MODEL_LEAVE,
	MODEL_ENTER,
	MODEL_END
};

/* A call of the model's, in its work context. */
struct model_call {
	enum model_op op;
	struct uvfio_save save;
	struct uvfio_load load;
	struct mig_in from; /* MODEL_LOAD: all of the section */
	bool stopped, first;
	struct uvfio_error *err;
	struct mig_left left;
	uint64_t size;
	int ret;
};

static void run_model(struct vfio_device *dev, void *arg)
{
	const struct uvfio_migration_ops *ops = dev->model->migration;
	struct model_call *call = arg;

	switch (call->op) {
	case MODEL_SAVE:
		call->ret = ops->save(dev->priv, &call->save, call->stopped, call->first);
		break;
	case MODEL_LOAD:
		call->load.section->in = call->from;
		call->ret = ops->load(dev->priv, &call->load, call->first, call->err);
		break;
	case MODEL_COMMIT:
		call->ret = ops->commit(dev->priv, call->err);
		break;
	case MODEL_FORGET:
		ops->forget(dev->priv);
		break;
	case MODEL_LEFT:
		if (ops->left)
			ops->left(dev->priv, &call->left.initial, &call->left.dirty);
		break;
	case MODEL_SIZE:
		call->size = ops->size(dev->priv);
		break;
	case MODEL_LEAVE:
		if (ops->leave)
			call->ret = ops->leave(dev->priv, call->err);
		break;
	case MODEL_ENTER:
		if (ops->enter)
			call->ret = ops->enter(dev->priv, call->err);
		break;
	case MODEL_END:
		if (ops->end)
			ops->end(dev->priv);
		break;
	}
}

static int call_model(struct vfio_device *dev, struct model_call *call)
{
	device_call(dev, run_model, call);
	return call->ret;
}

/* The same with an answer that may come later: from the model, which bounds the time itself. */
static int call_and_wait(struct vfio_device *dev, struct model_call *call)
{
	struct device_migration *mig = &dev->migration;
	int ret;

	pthread_mutex_lock(&dev->quiet_lock);
	mig->answer_owed = true;
	pthread_mutex_unlock(&dev->quiet_lock);
	ret = call_model(dev, call);
	if (ret == -EINPROGRESS)
		uvfio_defer_handover();
	pthread_mutex_lock(&dev->quiet_lock);
	if (ret == -EINPROGRESS) {
		while (mig->answer_owed)
			pthread_cond_wait(&dev->quiet_cond, &dev->quiet_lock);
		ret = mig->answer;
	}
	mig->answer_owed = false;
	pthread_mutex_unlock(&dev->quiet_lock);
	return ret;
}

/* ->leave() or ->enter(). */
static int model_answers(struct vfio_device *dev, enum model_op op, struct uvfio_error *err)
{
	return call_and_wait(dev, &(struct model_call){.op = op, .err = err});
}

/* ->save() or ->load(), again for as long as it says so. */
static int call_until_done(struct vfio_device *dev, struct model_call *call)
{
	int ret;

	do {
		ret = call_and_wait(dev, call);
		call->first = false;
	} while (!ret && call->ret == -EINPROGRESS);
	return ret;
}

/* ---- saving ---- */

static void save_irqs(struct vfio_device *dev, struct mig_writer *out)
{
	unsigned vectors = irq_msix_vectors(dev->irqs);

	mig_section_begin(out, MIG_TAG_IRQS, IRQS_VERSION);
	for (unsigned i = 0; i < vectors; i += 64)
		mig_put_u64(out->out, irq_msix_pba_read(dev->irqs, i / 8));
	mig_section_end(out);
}

static int save_model(struct vfio_device *dev, bool stopped, struct mig_writer *out)
{
	struct device_migration *mig = &dev->migration;
	struct model_call call = {
		.op = MODEL_SAVE, .save.out = out, .stopped = stopped, .first = mig->first};
	int ret;

	if (!stopped && !mig->saves_early)
		return 0;
	ret = call_until_done(dev, &call);
	mig->first = false;
	if (call.save.in_section)
		mig_section_end(out);
	return ret;
}

/* What its user has of it goes along when an operator moves it (keep.h). */
static int save_kept(struct vfio_device *dev, bool stopped, struct mig_writer *out)
{
	return stopped && vfio_device_place(dev) == VFIO_LEAVING ? vfio_keep_save(dev, out) : 0;
}

static int save_some(struct vfio_device *dev, bool stopped, struct mig_writer *out)
{
	struct device_migration *mig = &dev->migration;
	int ret;

	/* The device as it stays is saved from the beginning on, and memory that has not changed
	 * since does not go again. */
	if (stopped != mig->was_stopped || (!stopped && mig->phase == SAVE_DONE))
		mig->phase = SAVE_MEMORY;
	mig->was_stopped = stopped;
	while (mig->phase != SAVE_DONE) {
		size_t before = out->out->len;

		ret = mig->phase == SAVE_MEMORY  ? memory_copy_save(dev, stopped, out)
		      : mig->phase == SAVE_MODEL ? save_model(dev, stopped, out)
		      : mig->phase == SAVE_KEPT  ? save_kept(dev, stopped, out)
						 : 0;
		if (ret < 0)
			return ret;
		if (mig->phase == SAVE_IRQS && stopped)
			save_irqs(dev, out);
		if (!ret)
			mig->phase++;
		if (out->out->len > before)
			return mig->phase != SAVE_DONE;
		if (ret && mig->phase == SAVE_MEMORY)
			return 1; /* others have their turn before it is looked at further */
		if (ret)
			return -EIO; /* a model that has more gives some */
	}
	return 0;
}

/* But for memory that has changed, for which all of it is looked at. */
static void left_but_changes(struct vfio_device *dev, struct mig_left *out)
{
	struct model_call call = {.op = MODEL_LEFT};

	if (dev->migration.saves_early)
		call_model(dev, &call);
	out->initial = call.left.initial + memory_copy_left(dev);
	out->dirty = call.left.dirty;
}

static void mig_left(void *arg, struct mig_left *out)
{
	struct vfio_device *dev = arg;

	left_but_changes(dev, out);
	out->dirty += memory_copy_dirty(dev);
}

/* For who looks on. */
static void note_left(struct vfio_device *dev, bool stopped)
{
	struct mig_left left = {0};

	if (!stopped)
		left_but_changes(dev, &left);
	atomic_store(&dev->migration.left_initial, left.initial);
	atomic_store(&dev->migration.left_dirty, left.dirty);
}

static int mig_save(void *arg, bool stopped, struct mig_writer *out)
{
	int ret = save_some(arg, stopped, out);

	note_left(arg, stopped);
	return ret;
}

static uint64_t mig_size(void *arg)
{
	struct vfio_device *dev = arg;
	struct model_call call = {.op = MODEL_SIZE};

	call_model(dev, &call);
	return call.size + memory_copy_size(dev) + irq_msix_vectors(dev->irqs) / 8;
}

/* ---- loading ---- */

static int load_irqs(struct vfio_device *dev, struct mig_section *section, struct uvfio_error *err)
{
	struct device_migration *mig = &dev->migration;
	unsigned vectors = irq_msix_vectors(dev->irqs), words = (vectors + 63) / 64;
	uint64_t *pending;

	if (mig->pending)
		return uvfio_error_set(err, -EINVAL, "the stream has section .IRQ twice");
	if (section->version != IRQS_VERSION || mig_left_bytes(&section->in) != words * 8ull)
		return uvfio_error_set(
			err, -EINVAL,
			"the stream's interrupts are not those of this device, which "
			"has %u MSI-X vectors",
			vectors);
	pending = calloc(words ? words : 1, sizeof(*pending));
	if (!pending)
		return uvfio_error_set(err, -ENOMEM, "out of memory");
	for (unsigned i = 0; i < words; i++)
		pending[i] = mig_get_u64(&section->in);
	if (vectors % 64 && pending[words - 1] >> vectors % 64) {
		free(pending);
		return uvfio_error_set(
			err, -EINVAL,
			"the stream has interrupts that this device with %u MSI-X vectors has not",
			vectors);
	}
	mig->pending = pending;
	mig->nr_pending = words;
	return 0;
}

static int mig_load(void *arg, struct mig_section *section, struct uvfio_error *err)
{
	struct vfio_device *dev = arg;
	struct device_migration *mig = &dev->migration;
	struct model_call call = {.op = MODEL_LOAD,
				  .load.section = section,
				  .first = mig->first,
				  .err = err,
				  .from = section->in};

	if (section->tag == MIG_TAG_MEMORY)
		return memory_copy_load(dev, section, err);
	if (section->tag == MIG_TAG_IRQS)
		return load_irqs(dev, section, err);
	if (vfio_device_place(dev) == VFIO_ARRIVING) {
		int ret = vfio_keep_load(dev, section, err);

		if (ret != -ENOENT)
			return ret;
	}
	for (unsigned i = 0; i < 4; i++)
		call.load.kind[i] = (char)(section->tag >> 8 * i);
	mig->first = false;
	return call_until_done(dev, &call);
}

static void mig_forget(void *arg)
{
	struct vfio_device *dev = arg;

	call_model(dev, &(struct model_call){.op = MODEL_FORGET});
	vfio_keep_drop(dev);
}

/* Interrupts that had been raised and not delivered.  The gate is shut: they become pending. */
static void raise_pending(struct vfio_device *dev)
{
	const struct device_migration *mig = &dev->migration;

	for (unsigned i = 0; i < mig->nr_pending * 64; i++)
		if (mig->pending[i / 64] >> i % 64 & 1)
			irq_raise(dev->irqs, i);
}

/* ---- arcs ---- */

static void end_session(struct vfio_device *dev)
{
	struct device_migration *mig = &dev->migration;

	memory_copy_drop(dev);
	mig->memory_is_free = false;
	free(mig->pending);
	mig->pending = NULL;
	mig->nr_pending = 0;
}

/* What a state allows, put into effect. */
static void allow(struct vfio_device *dev, enum mig_state state)
{
	struct device_migration *mig = &dev->migration;
	bool pauses = !mig_initiates(state) && !atomic_load(&mig->quiet), ran = dev->running;

	/* What was stored and not found yet is part of what moves. */
	if (!mig_responds(state) && !mig->stopped)
		poll_look(dev);
	atomic_store(&mig->quiet, !mig_initiates(state));
	mig->stopped = !mig_responds(state);
	device_apply(dev);
	/* One without bus mastering does nothing already, but its model is not told so by a reset,
	 * and is to know that what waits goes on elsewhere. */
	if (pauses && !ran)
		device_quiesce(dev);
}

/* States in which what the device holds is not its own: another one may be about to have it. */
static bool is_away(enum mig_state state)
{
	return state == MIG_STOP_COPY || state == MIG_RESUMING;
}

/* Does it take again on the way what it gave back?  A device that was saved does when it is to run:
 * VMMs leave the source in STOP when the other side has it.  One that was loaded does first. */
static bool takes(const struct device_migration *mig, enum mig_state from, enum mig_state to)
{
	return mig->given_back && (from == MIG_RESUMING || (from == MIG_STOP && !is_away(to)));
}

/* The device becomes what was loaded.  Whoever tries again after ->enter() has failed finds the
 * model to be that already. */
static int put_into_effect(struct vfio_device *dev, struct uvfio_error *err)
{
	struct device_migration *mig = &dev->migration;
	int ret;

	if (mig->committed)
		return 0;
	if (!mig->pending)
		return uvfio_error_set(err, -EINVAL, "the stream lacks section .IRQ");
	ret = vfio_device_place(dev) == VFIO_HERE ? 0 : vfio_keep_check(dev, true, err);
	if (ret)
		return ret;
	ret = call_model(dev, &(struct model_call){.op = MODEL_COMMIT, .err = err});
	mig->committed = !ret;
	return ret;
}

/* A session is over, or another one begins. */
static void change_session(struct vfio_device *dev, enum mig_state from)
{
	struct device_migration *mig = &dev->migration;

	if (mig_session(from) == MIG_SESSION_SAVE)
		call_model(dev, &(struct model_call){.op = MODEL_END});
	end_session(dev);
	mig->first = true;
	mig->was_stopped = mig->committed = false;
	mig->phase = SAVE_MEMORY;
}

/* What else there is to a state. */
static void show_state(struct vfio_device *dev, enum mig_state state)
{
	allow(dev, state);
	note_left(dev, state != MIG_PRE_COPY && state != MIG_PRE_COPY_P2P);
	atomic_store(&dev->migration.shown, state);
}

static int try_arc(struct vfio_device *dev, enum mig_state from, enum mig_state to,
		   struct uvfio_error *err)
{
	struct device_migration *mig = &dev->migration;
	int ret = 0;

	/* Every way out of RUNNING begins with an arc from there. */
	if (from == MIG_RUNNING && pci_sriov_num_vfs(dev->func))
		return uvfio_error_set(err, -EBUSY,
				       "its VFs are enabled, and do not move with it: write 0 to "
				       "its sriov_numvfs before");
	if (is_away(to) && !mig->given_back) {
		allow(dev, to);
		ret = model_answers(dev, MODEL_LEAVE, err);
		if (ret) {
			allow(dev, from);
			return ret;
		}
		mig->given_back = true;
	}
	if (from == MIG_RESUMING)
		ret = put_into_effect(dev, err);
	if (!ret && takes(mig, from, to)) {
		ret = model_answers(dev, MODEL_ENTER, err);
		mig->given_back = ret;
	}
	if (ret)
		return ret;
	if (from == MIG_RESUMING) {
		memory_copy_commit(dev);
		raise_pending(dev);
		vfio_keep_commit(dev);
	}
	if (mig_session(from) != mig_session(to))
		change_session(dev, from);
	show_state(dev, to);
	return 0;
}

static int mig_arc(void *arg, enum mig_state from, enum mig_state to, bool *lost,
		   struct uvfio_error *err)
{
	struct vfio_device *dev = arg;
	int ret;

	atomic_store(&dev->migration.lost, false);
	ret = try_arc(dev, from, to, err);
	*lost = ret && atomic_load(&dev->migration.lost);
	if (*lost) {
		change_session(dev, from);
		show_state(dev, MIG_ERROR);
	}
	return ret;
}

static const struct mig_ops mig_ops = {
	.arc = mig_arc,
	.save = mig_save,
	.load = mig_load,
	.forget = mig_forget,
	.left = mig_left,
	.size = mig_size,
};

/* ---- life ---- */

const char *const migration_interface_names[NR_MIGRATION_INTERFACES] = {
	[MIGRATION_V2] = "v2",
	[MIGRATION_REGION] = "region",
	[MIGRATION_REGION_NDMA] = "region-ndma",
	[MIGRATION_OFF] = "off",
};

/* What the interface makes of what the model can, MIG_CAN_….  The region has pre-copy in any case,
 * which finds nothing but memory then, and has no use for quiet states without a bit for them. */
static unsigned seen_through(enum migration_interface interface, unsigned can)
{
	if (interface == MIGRATION_REGION || interface == MIGRATION_REGION_NDMA)
		can |= MIG_CAN_PRE_COPY;
	return interface == MIGRATION_REGION ? can & ~MIG_CAN_P2P : can;
}

int device_migration_init(struct vfio_device *dev, struct uvfio_error *err)
{
	const struct uvfio_migration_ops *ops = dev->model->migration;
	struct device_migration *mig = &dev->migration;
	const char *name = migration_interface_names[mig->interface];
	unsigned can;
	int ret = 0;

	if (mig->interface == MIGRATION_OFF)
		return 0;
	if (!ops)
		return mig->interface_given
			       ? uvfio_error_set(err, -EINVAL,
						 "device %s: migration=%s: devices of this model "
						 "cannot be moved; leave migration= out",
						 dev->model->name, name)
			       : 0;
	atomic_store(&mig->shown, MIG_RUNNING);
	can = ops->can & ~mig->cannot & ~mig->withheld;
	if (ops->can & UVFIO_MIGRATE_QUIET_MMIO)
		mig->quiet_mmio = true;
	if (mig->quiet_mmio)
		can &= ~UVFIO_MIGRATE_P2P;
	can &= UVFIO_MIGRATE_P2P | UVFIO_MIGRATE_PRE_COPY;
	if (mig->interface == MIGRATION_REGION_NDMA && !(can & UVFIO_MIGRATE_P2P))
		return uvfio_error_set(err, -EINVAL,
				       "device %s: migration=%s: it cannot be without DMA and "
				       "answer; use migration=region",
				       dev->model->name, name);
	mig->saves_early = can & UVFIO_MIGRATE_PRE_COPY;
	mig->m = migration_new(&mig_ops, dev, dev->model->name,
			       seen_through(mig->interface, MIG_CAN_STOP_COPY | can << 1));
	if (mig->m && mig->interface != MIGRATION_V2)
		ret = migration_region_new(dev, mig->interface == MIGRATION_REGION_NDMA);
	return mig->m && !ret ? 0 : uvfio_error_set(err, -ENOMEM, "out of memory");
}

void device_migration_fini(struct vfio_device *dev)
{
	end_session(dev);
	migration_free(dev->migration.m);
	migration_region_free(dev);
}

void device_migration_reset(struct vfio_device *dev)
{
	struct device_migration *mig = &dev->migration;

	if (!mig->m)
		return;
	migration_reset(mig->m);
	end_session(dev);
	migration_region_reset(dev);
	atomic_store(&mig->shown, MIG_RUNNING);
	atomic_store(&mig->left_initial, 0);
	atomic_store(&mig->left_dirty, 0);
	mig->committed = mig->given_back = false;
	/* A device that is not known to be here stays still (move.h). */
	mig->stopped = vfio_device_place(dev) >= VFIO_IN_DOUBT;
	atomic_store(&mig->quiet, mig->stopped);
}

bool device_moves(const struct vfio_device *dev)
{
	return dev->migration.m && migration_state(dev->migration.m) != MIG_RUNNING;
}

bool device_quiet_mmio(const struct vfio_device *dev)
{
	return dev->migration.m && dev->migration.quiet_mmio;
}

/* ---- what a model calls ---- */

void uvfio_migration_can(struct uvfio_device *udev, unsigned can)
{
	struct device_migration *mig = &((struct vfio_device *)udev)->migration;

	mig->cannot = ~can;
	mig->quiet_mmio = can & UVFIO_MIGRATE_QUIET_MMIO;
}

bool uvfio_paused(const struct uvfio_device *udev)
{
	return atomic_load(&((const struct vfio_device *)udev)->migration.quiet);
}

void uvfio_migration_lost(struct uvfio_device *udev)
{
	atomic_store(&((struct vfio_device *)udev)->migration.lost, true);
}

void uvfio_migration_done(struct uvfio_device *udev, int result)
{
	struct vfio_device *dev = (struct vfio_device *)udev;

	pthread_mutex_lock(&dev->quiet_lock);
	if (dev->migration.answer_owed) {
		dev->migration.answer_owed = false;
		dev->migration.answer = result;
		pthread_cond_broadcast(&dev->quiet_cond);
	}
	pthread_mutex_unlock(&dev->quiet_lock);
}
