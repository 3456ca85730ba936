/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The storage of a controller that is moved: given back by one side, taken by the other.
 *
 * Theory of operation.  A namespace on a file or an NBD server is there for both sides, so one of
 * them has it (block.h, "handing over"): it is `ours`, under a lock that goes with the server when
 * that is killed.  A namespace is ready, for all controllers, while it is ours; commands to one
 * that is not end with Namespace Not Ready, and a host sends them again.
 *
 *      ours ──leave: flushed, released──▶ away ──enter: taken──▶ ours
 *                                          │
 *      incoming=yes begins here ───────────┘──a driver enables it, if it is free──▶ ours
 *
 * A job does this for one namespace after another, without holding up the work context.  One that
 * fails half way undoes what it has done.
 *
 * What several controllers use is given back by the last of them that leaves; until then it stays.
 * A primary controller that is in use cannot leave without its VFs (they would have to go first),
 * so a secondary one cannot leave with what both use.  In use is who is enabled; another one finds
 * its namespaces not ready, and tries to take them when it is enabled.
 *
 * Nothing is taken by a reset, but when a driver enables the controller or its persistent memory
 * region: devices are reset for many reasons, one of which is that a device has been left for good.
 *
 * Locks: sub->lock guards what the disks say; a job of another controller for the same disk is
 * waited for by nobody: it counts as another server's.
 */
#include <errno.h>
#include <string.h>

#include "devices/nvme/nvme.h"
#include "devices/nvme/nvme_model.h"

static const char *const job_names[] = {
	[NVME_STORAGE_AHEAD] = "flush ahead", [NVME_STORAGE_IDLE] = "idle",
	[NVME_STORAGE_FLUSH] = "flush",       [NVME_STORAGE_RELEASE] = "release",
	[NVME_STORAGE_TAKE] = "take",         [NVME_STORAGE_TRY] = "try",
	[NVME_STORAGE_UNDO] = "undo",
};
static_assert(sizeof(job_names) / sizeof(job_names[0]) == NVME_STORAGE_NR_JOBS, "a name each");

static void set_job(struct nvme_ctrl *c, enum nvme_storage_job job)
{
	struct nvme_storage *s = &c->storage;

	if (job != s->job)
		uvfio_device_log(c->dev, UVFIO_LOG_DEBUG, "nvme: storage: %s → %s",
				 job_names[s->job], job_names[job]);
	s->job = job;
	s->at = 0;
}

void nvme_storage_opened(struct nvme_disk *d)
{
	d->ours = !d->handed || !d->sub->incoming;
	d->whole = !d->copied || !d->sub->incoming;
	atomic_init(&d->ready, d->ours && d->whole);
}

void nvme_storage_whole(struct nvme_disk *d, bool whole)
{
	pthread_mutex_lock(&d->sub->lock);
	d->whole = whole;
	atomic_store(&d->ready, d->ours && d->whole);
	pthread_mutex_unlock(&d->sub->lock);
}

/* ---- who uses what ---- */

static bool in_use(struct nvme_ctrl *c)
{
	return (atomic_load(&c->shared.cc) & NVME_CC_EN) ||
	       (uvfio_reg_get(c->dev, NVME_BAR, NVME_REG_CSTS, 4) & NVME_CSTS_RDY);
}

/* Another controller that uses @d and has not left, or NULL.  sub->lock. */
static struct nvme_ctrl *other_user(struct nvme_disk *d, const struct nvme_ctrl *c)
{
	struct nvme_subsys *sub = d->sub;
	unsigned nr = nvme_subsys_controllers(sub);

	for (unsigned i = 0; i < nr; i++) {
		struct nvme_ctrl *o;

		if (i == c->cntlid || !nvme_disk_attached(d, i))
			continue;
		o = i == NVME_CNTLID_PF ? sub->pf : sub->secondaries[i - 1].ctrl;
		if (o && !o->away && in_use(o))
			return o;
	}
	return NULL;
}

/* Does another one use what @c would have to give back, and cannot? */
static int check_others(struct nvme_ctrl *c, struct uvfio_error *err)
{
	struct nvme_subsys *sub = c->sub;
	uint32_t id = 0, copied = 0;

	pthread_mutex_lock(&sub->lock);
	for (unsigned i = 0; i < sub->nr_disks && c->secondary && !id; i++) {
		struct nvme_disk *d = &sub->disks[i];

		if (!nvme_disk_attached(d, c->cntlid))
			continue;
		if (d->handed && nvme_disk_attached(d, NVME_CNTLID_PF) && in_use(sub->pf))
			id = d->id;
		if (d->copied && other_user(d, c))
			copied = d->id;
	}
	pthread_mutex_unlock(&sub->lock);
	if (copied)
		return uvfio_error_set(err, -EBUSY,
				       "namespace %u cannot be copied along, because another "
				       "controller uses it, too, and stays: attach it to this VF "
				       "only (attach=vf%u)",
				       copied, c->cntlid - 1);
	if (!id)
		return 0;
	return uvfio_error_set(err, -EBUSY,
			       "namespace %u cannot leave with this VF, because the PF uses it, "
			       "too, and stays: attach it to VFs only (attach=vf%u)",
			       id, c->cntlid - 1);
}

/* ---- jobs ---- */

/* Is there something to be done with namespace @i?  Then nobody else does anything with it. */
static bool claim_disk(struct nvme_ctrl *c, unsigned i)
{
	enum nvme_storage_job job = c->storage.job;
	struct nvme_ns *ns = &c->ns[i];
	struct nvme_disk *d = &c->sub->disks[i];
	bool mine = false;

	if (!d->handed || !ns->blk || (c->secondary && !ns->attached))
		return false;
	pthread_mutex_lock(&c->sub->lock);
	switch (job) {
	case NVME_STORAGE_AHEAD:
	case NVME_STORAGE_FLUSH:
	case NVME_STORAGE_RELEASE:
		mine = d->ours && !d->mover && !other_user(d, c);
		break;
	case NVME_STORAGE_TRY:
		mine = !d->ours && !d->mover && ns->attached;
		break;
	case NVME_STORAGE_TAKE:
		mine = !d->ours;
		break;
	case NVME_STORAGE_UNDO:
		mine = ns->moved;
		break;
	default:
		break;
	}
	if (mine && d->mover && d->mover != c) {
		mine = false; /* TAKE: found out when the job ends */
	} else if (mine && job != NVME_STORAGE_FLUSH && job != NVME_STORAGE_AHEAD) {
		d->mover = c;
		if (job == NVME_STORAGE_RELEASE ||
		    (job == NVME_STORAGE_UNDO && c->storage.undone == NVME_STORAGE_TAKE))
			atomic_store(&d->ready, false);
	}
	pthread_mutex_unlock(&c->sub->lock);
	return mine;
}

static bool claim_pmr(const struct nvme_ctrl *c)
{
	const struct nvme_storage *s = &c->storage;

	if (!c->pmr.blk || s->job == NVME_STORAGE_AHEAD)
		return false;
	if (s->job == NVME_STORAGE_UNDO)
		return s->pmr_moved;
	return s->pmr_held == (s->job == NVME_STORAGE_FLUSH || s->job == NVME_STORAGE_RELEASE);
}

static enum block_op op_of(const struct nvme_storage *s)
{
	switch (s->job) {
	case NVME_STORAGE_AHEAD:
	case NVME_STORAGE_FLUSH:
		return BLOCK_FLUSH;
	case NVME_STORAGE_RELEASE:
		return BLOCK_RELEASE;
	case NVME_STORAGE_UNDO:
		return s->undone == NVME_STORAGE_TAKE ? BLOCK_RELEASE : BLOCK_TAKE;
	default:
		return BLOCK_TAKE;
	}
}

/* What may be otherwise, now that another one had it: its block size. */
static void look_at_format(struct nvme_ctrl *c, struct nvme_ns *ns)
{
	uint32_t size = 1u << ns->shift;
	struct uvfio_error err;

	if (nvme_ns_formatted(ns, &size, &err)) {
		uvfio_device_log(c->dev, UVFIO_LOG_WARN, "nvme: %s", err.msg);
		return;
	}
	if (size == 1u << ns->shift)
		return;
	nvme_ns_set_shift(ns, size == 4096 ? 12 : 9);
	pthread_mutex_lock(&c->sub->lock);
	ns->disk->shift = ns->shift;
	if (c->sub->shared)
		nvme_subsys_changed(c->sub);
	pthread_mutex_unlock(&c->sub->lock);
}

/* The request for what is at ->at has ended. */
static void one_done(struct nvme_ctrl *c)
{
	struct nvme_storage *s = &c->storage;
	bool taken = op_of(s) == BLOCK_TAKE;
	unsigned at = s->at++;
	int status = s->io.status;
	struct nvme_disk *d;

	if (status && s->job == NVME_STORAGE_UNDO)
		uvfio_device_log(c->dev, UVFIO_LOG_ERROR,
				 "nvme: storage: what was begun cannot be undone: %s; the device "
				 "must be reset",
				 strerror(-status));
	if (status && !s->result && s->job != NVME_STORAGE_UNDO) {
		s->result = status;
		s->failed = at + 1;
	}
	if (op_of(s) == BLOCK_FLUSH)
		return;
	if (at == c->nr_ns) {
		s->pmr_moved = !status && s->job != NVME_STORAGE_UNDO;
		if (!status)
			s->pmr_held = taken;
		return;
	}
	d = &c->sub->disks[at];
	if (!status && taken)
		look_at_format(c, &c->ns[at]);
	c->ns[at].moved = !status && s->job != NVME_STORAGE_UNDO;
	pthread_mutex_lock(&c->sub->lock);
	d->mover = NULL;
	if (!status)
		d->ours = taken;
	atomic_store(&d->ready, d->ours && d->whole);
	pthread_mutex_unlock(&c->sub->lock);
}

static void run(struct nvme_ctrl *c);

static void io_done(struct block_io *io)
{
	struct nvme_storage *s =
		(struct nvme_storage *)((char *)io - offsetof(struct nvme_storage, io));
	struct nvme_ctrl *c = (struct nvme_ctrl *)((char *)s - offsetof(struct nvme_ctrl, storage));

	one_done(c);
	run(c);
	nvme_external_done(c);
}

/* True: one is under way. */
static bool submit(struct nvme_ctrl *c, struct block *blk)
{
	struct nvme_storage *s = &c->storage;

	s->io = (struct block_io){.op = op_of(s), .done = io_done};
	if (s->job == NVME_STORAGE_TRY)
		s->io.flags = BLOCK_NOWAIT;
	c->external++;
	if (block_submit(blk, &s->io) == 1) {
		block_kick(blk);
		return true;
	}
	c->external--;
	one_done(c);
	return false;
}

/* Go through all of it.  True: something is under way. */
static bool run_job(struct nvme_ctrl *c)
{
	struct nvme_storage *s = &c->storage;

	while (s->at <= c->nr_ns) {
		unsigned at = s->at;
		bool all = s->job == NVME_STORAGE_TRY || s->job == NVME_STORAGE_UNDO;

		if (s->result && !all)
			break;
		if (at < c->nr_ns ? !claim_disk(c, at) : !claim_pmr(c))
			s->at++;
		else if (submit(c, at < c->nr_ns ? c->ns[at].blk : c->pmr.blk))
			return true;
	}
	return false;
}

/* All that @c uses is here, or will not be in this job. */
static void find_missing(struct nvme_ctrl *c)
{
	struct nvme_storage *s = &c->storage;

	pthread_mutex_lock(&c->sub->lock);
	for (unsigned i = 0; i < c->nr_ns && !s->result; i++) {
		if (c->ns[i].attached && !c->sub->disks[i].ours) {
			s->result = -EBUSY;
			s->failed = i + 1;
		}
	}
	pthread_mutex_unlock(&c->sub->lock);
}

static void explain(struct nvme_ctrl *c, const char *what)
{
	struct nvme_storage *s = &c->storage;
	const char *why = s->result == -EBUSY ? "another server has it" : strerror(-s->result);
	struct uvfio_error text;

	if (s->failed == c->nr_ns + 1)
		uvfio_error_set(&text, s->result, "the PMR's file cannot be %s: %s", what, why);
	else
		uvfio_error_set(&text, s->result, "the storage of namespace %u cannot be %s: %s",
				s->failed, what, why);
	if (s->err)
		*s->err = text;
	else
		uvfio_device_log(c->dev, UVFIO_LOG_WARN, "nvme: %s", text.msg);
}

static void set_away(struct nvme_ctrl *c, bool away)
{
	pthread_mutex_lock(&c->sub->lock);
	c->away = away;
	pthread_mutex_unlock(&c->sub->lock);
}

static void end_still(struct nvme_ctrl *c)
{
	if (c->still)
		c->stopped = c->paused = c->still = false;
}

static void forget_moved(struct nvme_ctrl *c)
{
	for (unsigned i = 0; i < c->nr_ns; i++)
		c->ns[i].moved = false;
	c->storage.pmr_moved = false;
}

/* What comes after a job that has gone through.  True: another one, at its beginning. */
static bool next_job(struct nvme_ctrl *c)
{
	struct nvme_storage *s = &c->storage;

	switch (s->job) {
	case NVME_STORAGE_FLUSH:
		if (!s->result) {
			set_job(c, NVME_STORAGE_RELEASE);
			return true;
		}
		explain(c, "flushed");
		return false;
	case NVME_STORAGE_RELEASE:
	case NVME_STORAGE_TAKE:
		if (s->job == NVME_STORAGE_TAKE)
			find_missing(c);
		if (!s->result) {
			set_away(c, s->job == NVME_STORAGE_RELEASE);
			return false;
		}
		explain(c, s->job == NVME_STORAGE_TAKE ? "taken" : "given back");
		s->undone = s->job;
		set_job(c, NVME_STORAGE_UNDO);
		return true;
	case NVME_STORAGE_AHEAD:
		if (s->result)
			explain(c, "flushed");
		return false;
	case NVME_STORAGE_TRY:
		if (s->result)
			explain(c, "taken");
		return false;
	default:
		return false;
	}
}

/* Go on until something is under way, or all is over. */
static void run(struct nvme_ctrl *c)
{
	struct nvme_storage *s = &c->storage;
	bool late = s->late;

	do {
		if (run_job(c))
			return;
	} while (next_job(c));
	set_job(c, NVME_STORAGE_IDLE);
	forget_moved(c);
	if (!c->away)
		end_still(c);
	s->late = false;
	s->err = NULL;
	if (s->queued != NVME_STORAGE_IDLE) {
		enum nvme_storage_job job = s->queued;

		s->queued = NVME_STORAGE_IDLE;
		s->err = s->queued_err;
		s->late = true;
		s->result = 0;
		set_job(c, job);
		run(c);
	} else if (late) {
		uvfio_migration_done(c->dev, s->result);
	} else {
		uvfio_kick(c->dev);
	}
}

/* A device that does not run, because bus mastering is off, is quiet without having been told. */
static void be_still(struct nvme_ctrl *c)
{
	if (!c->stopped)
		c->stopped = c->paused = c->still = true;
}

/* 0, -errno, or -EINPROGRESS. */
static int begin(struct nvme_ctrl *c, enum nvme_storage_job job, struct uvfio_error *err)
{
	struct nvme_storage *s = &c->storage;

	if (s->job != NVME_STORAGE_IDLE) { /* TRY, of a device that was not running */
		s->queued = job;
		s->queued_err = err;
		return -EINPROGRESS;
	}
	s->result = 0;
	s->err = err;
	set_job(c, job);
	run(c);
	if (s->job == NVME_STORAGE_IDLE)
		return s->result;
	s->late = job != NVME_STORAGE_TRY;
	return -EINPROGRESS;
}

int nvme_storage_flush(struct nvme_ctrl *c)
{
	return begin(c, NVME_STORAGE_AHEAD, NULL);
}

int nvme_storage_release(struct nvme_ctrl *c, struct uvfio_error *err)
{
	int r = check_others(c, err);

	if (r)
		return r;
	be_still(c);
	return begin(c, NVME_STORAGE_FLUSH, err);
}

int nvme_storage_take(struct nvme_ctrl *c, struct uvfio_error *err)
{
	return begin(c, NVME_STORAGE_TAKE, err);
}

/* ---- a user begins ---- */

static bool is_missing(struct nvme_ctrl *c)
{
	bool missing = c->pmr.blk && !c->storage.pmr_held;

	for (unsigned i = 0; i < c->nr_ns && !missing; i++)
		missing = c->ns[i].attached && !c->sub->disks[i].ours;
	return missing;
}

bool nvme_storage_try(struct nvme_ctrl *c)
{
	struct nvme_storage *s = &c->storage;

	if (s->job == NVME_STORAGE_IDLE && !c->away && !s->tried && is_missing(c)) {
		s->tried = true; /* once for each reset, not at each pass */
		begin(c, NVME_STORAGE_TRY, NULL);
	}
	return s->job != NVME_STORAGE_IDLE;
}

void nvme_storage_reset(struct nvme_ctrl *c)
{
	nvme_contents_end(c);
	c->still = false;
	set_away(c, false);
	c->storage.tried = false;
}
