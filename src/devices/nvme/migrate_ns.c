/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The state of a controller for its migration: its namespaces (NVNS), the blocks that Write
 * Uncorrectable has marked (NVBD), its persistent memory region (NVPM), and what the primary
 * controller says of the secondary ones (NVVF).
 *
 * Namespaces are not made: both sides have the same, which is checked.  The block size is taken
 * over, because a driver may have formatted the storage since the other side has opened it.  Of the
 * persistent memory region the core moves the contents; the file is looked at again before anything
 * is written to it (pmr.c).
 */
#include <stdlib.h>
#include <string.h>

#include "devices/nvme/migrate.h"

/* ---- NVNS ---- */

static void namespaces_save(struct nvme_ctrl *c, struct uvfio_save *out)
{
	uvfio_save_u8(out, c->volatile_cache);
	for (unsigned i = 0; i < c->nr_ns; i++) {
		const struct nvme_ns *ns = &c->ns[i];
		const struct nvme_disk *d = &c->sub->disks[i];

		uvfio_save_u32(out, d->id);
		uvfio_save_bytes(out, d->uuid, sizeof(d->uuid));
		uvfio_save_u64(out, ns->blk ? block_info(ns->blk)->size : d->size);
		uvfio_save_u8(out, ns->blk ? ns->shift : d->shift);
		uvfio_save_u8(out, d->readonly);
		uvfio_save_u8(out, ns->attached);
		uvfio_save_u8(out, ns->changed);
		uvfio_save_u16(out, ns->tler);
	}
}

/* The size of what is here; also of what is not attached. */
static uint64_t size_here(const struct nvme_ctrl *c, unsigned index)
{
	const struct nvme_ns *ns = &c->ns[index];

	return ns->blk ? block_info(ns->blk)->size : c->sub->disks[index].size;
}

static int namespace_wrong(unsigned index, struct uvfio_error *err, const char *wrong)
{
	return uvfio_error_set(err, -EINVAL, "nvme: namespace %u %s", index + 1, wrong);
}

static int namespace_load(struct nvme_ctrl *c, unsigned index, struct uvfio_load *in,
			  struct nvme_aside_ns *a, struct uvfio_error *err)
{
	const struct nvme_disk *d = &c->sub->disks[index];
	uint32_t id = uvfio_load_u32(in);
	const void *uuid = uvfio_load_bytes(in, sizeof(d->uuid));
	uint64_t here = size_here(c, index);
	bool bad = false;

	a->size = uvfio_load_u64(in);
	a->shift = uvfio_load_u8(in);
	a->readonly = nvme_load_bool(in, &bad);
	a->attached = nvme_load_bool(in, &bad);
	a->changed = nvme_load_bool(in, &bad);
	a->tler = uvfio_load_u16(in);
	if (bad || !uuid || id != d->id || (a->shift != 9 && a->shift != 12) ||
	    a->size >> a->shift == 0)
		return uvfio_error_set(err, -EINVAL, "section NVNS makes no sense");
	if (memcmp(uuid, d->uuid, sizeof(d->uuid)) != 0)
		return namespace_wrong(index, err,
				       "is another one here (its UUID differs): give both devices "
				       "the same namespaces in the same order");
	if (a->readonly != d->readonly)
		return namespace_wrong(index, err,
				       a->readonly ? "is read-only in the stream and not here: "
						     "start this device with readonly=on"
						   : "is read-only here and not in the stream: "
						     "start this device with readonly=off");
	if (here < a->size)
		return uvfio_error_set(err, -EINVAL,
				       "nvme: namespace %u has %llu bytes in the stream and %llu "
				       "here: its storage is too small, or another one",
				       index + 1, (unsigned long long)a->size,
				       (unsigned long long)here);
	return 0;
}

static int namespaces_load(struct nvme_ctrl *c, struct uvfio_load *in, struct nvme_aside *a,
			   struct uvfio_error *err)
{
	bool bad = false;
	int r = 0;

	a->volatile_cache = nvme_load_bool(in, &bad);
	if (bad)
		return uvfio_error_set(err, -EINVAL, "section NVNS makes no sense");
	for (unsigned i = 0; i < c->nr_ns && !r; i++)
		r = namespace_load(c, i, in, &a->ns[i], err);
	return r;
}

static bool bad_fits(const struct nvme_aside_bad *bad, const struct nvme_aside_ns *ns)
{
	return !bad->nr || bad->ranges[bad->nr - 1].end <= ns->size >> ns->shift;
}

static int namespaces_check(struct nvme_ctrl *c, const struct nvme_aside *a,
			    struct uvfio_error *err)
{
	for (unsigned i = 0; i < c->nr_ns; i++) {
		const struct nvme_ns *ns = &c->ns[i];
		const struct nvme_aside_ns *theirs = &a->ns[i];

		if (!bad_fits(&a->bad[i], theirs))
			return uvfio_error_set(err, -EINVAL,
					       "section NVBD: blocks are marked that namespace %u "
					       "does not have",
					       i + 1);
		/* To whom a PF has attached them is its own state: NVVF. */
		if (!nvme_is_manager(c) && theirs->attached != ns->attached)
			return namespace_wrong(
				i, err,
				theirs->attached
					? "is attached in the stream and not here: attach it"
					: "is attached here and not in the stream: detach it");
		if (!ns->blk || theirs->shift == ns->shift)
			continue;
		if (c->secondary)
			return namespace_wrong(i, err,
					       "has another block size here: format it by the PF");
		if (!nvme_ns_can_have(ns, theirs->shift))
			return uvfio_error_set(err, -EINVAL,
					       "nvme: namespace %u has blocks of %u bytes in the "
					       "stream and of %u here: start this device with "
					       "blocksize=%u",
					       i + 1, 1u << theirs->shift, 1u << ns->shift,
					       1u << theirs->shift);
	}
	return 0;
}

static void apply_bad(struct nvme_ctrl *c, unsigned index, struct nvme_aside_bad *a)
{
	struct nvme_disk *d = &c->sub->disks[index];

	if (c->secondary && nvme_disk_has_others(d, c)) {
		/* Others have marked some, too. */
		for (unsigned i = 0; i < a->nr; i++)
			nvme_bad_mark(&c->ns[index], a->ranges[i].start,
				      a->ranges[i].end - a->ranges[i].start);
		return;
	}
	pthread_mutex_lock(&d->lock);
	if (a->ranges) {
		free(d->bad);
		d->bad = a->ranges;
		a->ranges = NULL;
	}
	atomic_store(&d->nr_bad, a->nr);
	pthread_mutex_unlock(&d->lock);
}

static void namespaces_apply(struct nvme_ctrl *c, struct nvme_aside *a)
{
	for (unsigned i = 0; i < c->nr_ns; i++) {
		struct nvme_ns *ns = &c->ns[i];

		ns->changed = a->ns[i].changed;
		ns->tler = a->ns[i].tler;
		if (ns->attached && size_here(c, i) != a->ns[i].size)
			nvme_ns_changed(ns);
		if (ns->attached || !c->secondary)
			apply_bad(c, i, &a->bad[i]);
		if (!ns->blk || ns->shift == a->ns[i].shift)
			continue;
		nvme_ns_set_shift(ns, a->ns[i].shift);
		pthread_mutex_lock(&c->sub->lock);
		c->sub->disks[i].shift = ns->shift;
		pthread_mutex_unlock(&c->sub->lock);
	}
	/* Its driver was told that there is no cache, and so flushes nothing. */
	if (!a->volatile_cache && c->volatile_cache)
		c->feat.write_cache = false;
}

const struct nvme_section nvme_section_namespaces = {
	.kind = "NVNS",
	.version = 1,
	.save = namespaces_save,
	.load = namespaces_load,
	.check = namespaces_check,
	.apply = namespaces_apply,
};

/* ---- NVBD ---- */

bool nvme_bad_save(struct nvme_ctrl *c, unsigned index, struct uvfio_save *out)
{
	struct nvme_disk *d = &c->sub->disks[index];
	bool some;

	pthread_mutex_lock(&d->lock);
	some = d->nr_bad;
	if (some) {
		uvfio_save_section(out, NVME_BAD_SECTION, NVME_BAD_SECTION_VERSION);
		uvfio_save_u32(out, d->id);
		uvfio_save_u32(out, d->nr_bad);
		for (unsigned i = 0; i < d->nr_bad; i++) {
			uvfio_save_u64(out, d->bad[i].start);
			uvfio_save_u64(out, d->bad[i].end);
		}
	}
	pthread_mutex_unlock(&d->lock);
	return some;
}

int nvme_bad_load(struct nvme_ctrl *c, struct uvfio_load *in, struct nvme_aside *a,
		  struct uvfio_error *err)
{
	uint32_t id = uvfio_load_u32(in), nr = uvfio_load_u32(in);
	struct nvme_aside_bad *bad;
	uint64_t end = 0;

	if (!id || id > c->nr_ns || !nr || nr > NVME_BAD_RANGES_MAX ||
	    uvfio_load_left(in) != nr * 16ull)
		return uvfio_error_set(err, -EINVAL, "section NVBD makes no sense");
	bad = &a->bad[id - 1];
	if (bad->ranges)
		return uvfio_error_set(err, -EINVAL, "section NVBD: namespace %u comes twice", id);
	bad->ranges = calloc(NVME_BAD_RANGES_MAX, sizeof(*bad->ranges));
	if (!bad->ranges)
		return uvfio_error_set(err, -ENOMEM, "nvme: out of memory for marked blocks");
	for (unsigned i = 0; i < nr; i++) {
		struct nvme_bad_range *r = &bad->ranges[i];

		r->start = uvfio_load_u64(in);
		r->end = uvfio_load_u64(in);
		/* Ascending, and they do not touch. */
		if (r->start >= r->end || (i && r->start <= end))
			return uvfio_error_set(err, -EINVAL,
					       "section NVBD: the ranges of namespace %u are in no "
					       "order",
					       id);
		end = r->end;
	}
	bad->nr = nr;
	return 0;
}

/* ---- NVPM ---- */

static bool has_pmr(const struct nvme_ctrl *c)
{
	return c->pmr.blk;
}

static void pmr_save(struct nvme_ctrl *c, struct uvfio_save *out)
{
	struct nvme_pmr *p = &c->pmr;
	unsigned now = atomic_load(&p->transitions);

	/* PMRCTL.EN: never set, set, clear again. */
	uvfio_save_u8(out, now ? 2 - (now & 1) : 0);
	uvfio_save_u8(out, p->ready);
	/* Is what PMRCTL.EN says done? */
	uvfio_save_u8(out, p->gen == now);
	uvfio_save_u8(out, (uint8_t)atomic_load(&p->err));
	uvfio_save_u8(out, (uint8_t)atomic_load(&p->health));
}

static int pmr_load(struct nvme_ctrl *c, struct uvfio_load *in, struct nvme_aside *a,
		    struct uvfio_error *err)
{
	bool bad = false;

	a->pmr.phase = uvfio_load_u8(in);
	a->pmr.ready = nvme_load_bool(in, &bad);
	a->pmr.settled = nvme_load_bool(in, &bad);
	a->pmr.err = uvfio_load_u8(in);
	a->pmr.health = uvfio_load_u8(in);
	if (bad || a->pmr.phase > 2 || a->pmr.err > 1 || (!a->pmr.settled && !a->pmr.phase) ||
	    (a->pmr.settled && a->pmr.ready != (a->pmr.phase == 1)) ||
	    (a->pmr.health != NVME_PMR_NORMAL && a->pmr.health != NVME_PMR_RESTORE_ERROR &&
	     a->pmr.health != NVME_PMR_UNRELIABLE))
		return uvfio_error_set(err, -EINVAL, "section NVPM makes no sense");
	return 0;
}

static void pmr_apply(struct nvme_ctrl *c, struct nvme_aside *a)
{
	nvme_pmr_put(c, a->pmr.phase, a->pmr.ready, a->pmr.settled, a->pmr.err, a->pmr.health);
}

const struct nvme_section nvme_section_pmr = {
	.kind = "NVPM",
	.version = 1,
	.has = has_pmr,
	.save = pmr_save,
	.load = pmr_load,
	.apply = pmr_apply,
};

/* ---- NVVF ---- */

static bool has_subsystem(const struct nvme_ctrl *c)
{
	return c->sub->shared && !c->secondary;
}

static size_t attached_bytes(const struct nvme_ctrl *c)
{
	return (nvme_subsys_controllers(c->sub) + 7) / 8;
}

static void subsystem_save(struct nvme_ctrl *c, struct uvfio_save *out)
{
	struct nvme_subsys *sub = c->sub;

	pthread_mutex_lock(&sub->lock);
	uvfio_save_u8(out, sub->managed);
	for (unsigned i = 0; i < sub->total_vfs; i++) {
		uvfio_save_u16(out, sub->secondaries[i].nvq);
		uvfio_save_u16(out, sub->secondaries[i].nvi);
		uvfio_save_u8(out, sub->secondaries[i].online);
	}
	for (unsigned i = 0; i < sub->nr_disks; i++)
		uvfio_save_bytes(out, sub->disks[i].attached, attached_bytes(c));
	pthread_mutex_unlock(&sub->lock);
}

static int subsystem_load(struct nvme_ctrl *c, struct uvfio_load *in, struct nvme_aside *a,
			  struct uvfio_error *err)
{
	const struct nvme_subsys *sub = c->sub;
	uint64_t vq = 0, vi = 0;
	size_t bytes = attached_bytes(c);
	unsigned spare = bytes * 8 - nvme_subsys_controllers(sub);
	bool bad = false;

	a->managed = nvme_load_bool(in, &bad);
	for (unsigned i = 0; i < sub->total_vfs; i++) {
		struct nvme_secondary *s = &a->secondaries[i];

		s->nvq = uvfio_load_u16(in);
		s->nvi = uvfio_load_u16(in);
		s->online = nvme_load_bool(in, &bad);
		vq += s->nvq;
		vi += s->nvi;
		bad |= s->nvq > sub->vq_max || s->nvi > sub->vi_max ||
		       (s->online && s->nvq < NVME_VF_MIN_QUEUES);
	}
	if (bad || vq > sub->vq_total || vi > sub->vi_total)
		return uvfio_error_set(err, -EINVAL,
				       "section NVVF: the VFs have resources that there are not");
	for (unsigned i = 0; i < sub->nr_disks; i++) {
		const uint8_t *attached = uvfio_load_bytes(in, bytes);

		if (!attached)
			return uvfio_error_set(err, -EINVAL, "section NVVF is too short");
		if (spare && attached[bytes - 1] >> (8 - spare))
			return uvfio_error_set(err, -EINVAL,
					       "section NVVF: namespace %u is attached to VFs that "
					       "there are not",
					       i + 1);
		/* What the options say is not the driver's to change. */
		if (sub->disks[i].fixed && memcmp(attached, sub->disks[i].attached, bytes) != 0)
			return namespace_wrong(i, err,
					       "is attached to others in the stream than attach= "
					       "says here: use the same");
		memcpy(a->attached + i * bytes, attached, bytes);
	}
	return 0;
}

static int subsystem_check(struct nvme_ctrl *c, const struct nvme_aside *a, struct uvfio_error *err)
{
	size_t bytes = attached_bytes(c);

	for (unsigned i = 0; i < c->nr_ns; i++) {
		if ((a->attached[i * bytes] & 1) != a->ns[i].attached)
			return uvfio_error_set(
				err, -EINVAL,
				"section NVVF: namespace %u is attached to the PF or "
				"not, section NVNS says otherwise",
				i + 1);
	}
	return 0;
}

static void subsystem_apply(struct nvme_ctrl *c, struct nvme_aside *a)
{
	struct nvme_subsys *sub = c->sub;
	size_t bytes = attached_bytes(c);

	pthread_mutex_lock(&sub->lock);
	sub->managed = a->managed;
	sub->vq_used = sub->vi_used = 0;
	for (unsigned i = 0; i < sub->total_vfs; i++) {
		struct nvme_secondary *s = &sub->secondaries[i];

		s->nvq = a->secondaries[i].nvq;
		s->nvi = a->secondaries[i].nvi;
		s->online = a->secondaries[i].online;
		sub->vq_used += s->nvq;
		sub->vi_used += s->nvi;
	}
	for (unsigned i = 0; i < sub->nr_disks; i++) {
		memcpy(sub->disks[i].attached, a->attached + i * bytes, bytes);
		c->ns[i].attached = nvme_disk_attached(&sub->disks[i], c->cntlid);
	}
	pthread_mutex_unlock(&sub->lock);
}

const struct nvme_section nvme_section_subsystem = {
	.kind = "NVVF",
	.version = 1,
	.has = has_subsystem,
	.save = subsystem_save,
	.load = subsystem_load,
	.check = subsystem_check,
	.apply = subsystem_apply,
};
