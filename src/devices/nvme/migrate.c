/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A controller is moved: the sections of its state, one after the other.  See migrate.h.
 */
#include <stdlib.h>
#include <string.h>

#include "devices/nvme/migrate.h"
#include "devices/nvme/nvme_model.h"

static const struct nvme_section *const sections[] = {
	[NVME_SEC_IDENTITY] = &nvme_section_identity,
	[NVME_SEC_CONTROLLER] = &nvme_section_controller,
	[NVME_SEC_FEATURES] = &nvme_section_features,
	[NVME_SEC_QUEUES] = &nvme_section_queues,
	[NVME_SEC_COMMANDS] = &nvme_section_commands,
	[NVME_SEC_LOGS] = &nvme_section_logs,
	[NVME_SEC_NAMESPACES] = &nvme_section_namespaces,
	[NVME_SEC_PMR] = &nvme_section_pmr,
	[NVME_SEC_SUBSYSTEM] = &nvme_section_subsystem,
};
static_assert(sizeof(sections) / sizeof(sections[0]) == NVME_NR_SECTIONS, "each of them");

static bool has(const struct nvme_ctrl *c, const struct nvme_section *s)
{
	return !s->has || s->has(c);
}

/* ---- saving ---- */

/* What registers and doorbells were given and nobody has looked at yet is looked at now, so that
 * there is nothing of it to save. */
static void settle(struct nvme_ctrl *c)
{
	assert(c->stopped && !c->external);
	nvme_subsys_sync(c);
	nvme_cmb_update(c);
	nvme_state_run(c);
	nvme_doorbells_take(c);
	nvme_cmb_update(c);
}

static bool has_vfs(const struct nvme_ctrl *c)
{
	for (unsigned i = 0; !c->secondary && i < c->sub->total_vfs; i++) {
		if (c->sub->secondaries[i].ctrl)
			return true;
	}
	return false;
}

static int save(void *priv, struct uvfio_save *out, bool stopped, bool first)
{
	struct nvme_ctrl *c = priv;
	struct nvme_migration *m = &c->migration;
	int r;

	if (first)
		*m = (struct nvme_migration){.aside = m->aside};
	m->begins |= first;
	if (first && !stopped) {
		r = nvme_storage_flush(c);
		if (r)
			return r;
	}
	first = m->begins;
	m->begins = false;
	r = nvme_contents_save(c, out, stopped, first);
	if (r || !stopped)
		return r; /* what else there is is little, and all of it changes */
	if (!m->saved) {
		/* The core refuses it before. */
		if (has_vfs(c))
			return -EBUSY;
		settle(c);
		for (unsigned i = 0; i < NVME_NR_SECTIONS; i++) {
			if (!has(c, sections[i]))
				continue;
			uvfio_save_section(out, sections[i]->kind, sections[i]->version);
			sections[i]->save(c, out);
		}
		m->saved = true;
		return 1;
	}
	while (m->ns < c->nr_ns) {
		if (nvme_bad_save(c, m->ns++, out))
			return 1;
	}
	return 0;
}

static uint64_t size(void *priv)
{
	const struct nvme_ctrl *c = priv;
	uint64_t bytes = 8192 + c->nr_ns * 64ull + c->nr_vectors * 3ull + nvme_contents_size(c);

	bytes += c->top_queue * 400ull + (NVME_NR_REQS - c->nr_free) * 80ull;
	for (unsigned i = 0; i < c->nr_ns; i++)
		bytes += atomic_load(&c->sub->disks[i].nr_bad) * 16ull;
	return bytes;
}

/* ---- loading ---- */

static void forget(void *priv)
{
	struct nvme_ctrl *c = priv;
	struct nvme_aside *a = c->migration.aside;

	if (!a)
		return;
	for (unsigned i = 0; a->bad && i < c->nr_ns; i++)
		free(a->bad[i].ranges);
	free(a->bad);
	free(a->ns);
	free(a->vectors);
	free(a->cqs);
	free(a->sqs);
	free(a->commands);
	free(a->secondaries);
	free(a->attached);
	free(a);
	c->migration.aside = NULL;
}

static bool allocate(struct nvme_ctrl *c)
{
	struct nvme_aside *a = calloc(1, sizeof(*a));
	unsigned nr = c->nr_queues + 1, vfs = c->sub->total_vfs;

	c->migration.aside = a;
	if (!a)
		return false;
	a->vectors = calloc(c->nr_vectors, sizeof(*a->vectors));
	a->cqs = calloc(nr, sizeof(*a->cqs));
	a->sqs = calloc(nr, sizeof(*a->sqs));
	a->commands = calloc(NVME_NR_REQS, sizeof(*a->commands));
	a->ns = calloc(c->nr_ns, sizeof(*a->ns));
	a->bad = calloc(c->nr_ns, sizeof(*a->bad));
	a->secondaries = calloc(vfs + 1, sizeof(*a->secondaries));
	a->attached = calloc(c->nr_ns, (vfs + 8) / 8);
	return a->vectors && a->cqs && a->sqs && a->commands && a->ns && a->bad && a->secondaries &&
	       a->attached;
}

static int load_section(struct nvme_ctrl *c, unsigned i, struct uvfio_load *in,
			struct uvfio_error *err)
{
	struct nvme_aside *a = c->migration.aside;
	int r;

	if (!has(c, sections[i]) || a->have & 1u << i)
		return uvfio_error_set(err, -EINVAL, "a section %s does not belong here",
				       uvfio_load_kind(in));
	/* What else there is means what the identity says. */
	if (i != NVME_SEC_IDENTITY && !(a->have & 1u << NVME_SEC_IDENTITY))
		return uvfio_error_set(err, -EINVAL, "section %s comes before section %s",
				       uvfio_load_kind(in), sections[NVME_SEC_IDENTITY]->kind);
	r = sections[i]->load(c, in, a, err);
	if (!r)
		a->have |= 1u << i;
	return r;
}

static int load_any(struct nvme_ctrl *c, struct uvfio_load *in, struct uvfio_error *err)
{
	uint32_t version = NVME_BAD_SECTION_VERSION;
	unsigned i;

	for (i = 0; i < NVME_NR_SECTIONS && !uvfio_load_is(in, sections[i]->kind); i++)
		;
	if (i < NVME_NR_SECTIONS)
		version = sections[i]->version;
	else if (!uvfio_load_is(in, NVME_BAD_SECTION))
		return uvfio_error_set(err, -EINVAL,
				       "a section %s is not known here: has a newer "
				       "uvfio made the stream?",
				       uvfio_load_kind(in));
	if (uvfio_load_version(in) != version)
		return uvfio_error_set(err, -EINVAL,
				       "section %s is of version %u, and this uvfio knows version "
				       "%u",
				       uvfio_load_kind(in), uvfio_load_version(in), version);
	return i < NVME_NR_SECTIONS ? load_section(c, i, in, err)
				    : nvme_bad_load(c, in, c->migration.aside, err);
}

static int load(void *priv, struct uvfio_load *in, bool first, struct uvfio_error *err)
{
	struct nvme_ctrl *c = priv;
	int r;

	if (first) {
		nvme_contents_end(c);
		forget(c);
		settle(c);
	}
	if (!c->migration.aside && !allocate(c)) {
		forget(c);
		return uvfio_error_set(err, -ENOMEM, "nvme: out of memory for what is loaded");
	}
	r = nvme_contents_load(c, in, err);
	if (r == -ENOENT)
		r = load_any(c, in, err);
	if (r)
		return r;
	return uvfio_load_ok(in) ? 0
				 : uvfio_error_set(err, -EINVAL,
						   "section %s has not the length of its contents",
						   uvfio_load_kind(in));
}

static int check(struct nvme_ctrl *c, const struct nvme_aside *a, struct uvfio_error *err)
{
	int r = 0;

	for (unsigned i = 0; i < NVME_NR_SECTIONS; i++) {
		if (has(c, sections[i]) && !(a && a->have & 1u << i))
			return uvfio_error_set(err, -EINVAL, "the stream lacks section %s",
					       sections[i]->kind);
	}
	if (has_vfs(c))
		return uvfio_error_set(err, -EINVAL,
				       "nvme: VFs are enabled: disable them before the device is "
				       "loaded (echo 0 > sriov_numvfs)");
	for (unsigned i = 0; i < NVME_NR_SECTIONS && !r; i++) {
		if (has(c, sections[i]) && sections[i]->check)
			r = sections[i]->check(c, a, err);
	}
	return r;
}

static int commit(void *priv, struct uvfio_error *err)
{
	struct nvme_ctrl *c = priv;
	struct nvme_aside *a = c->migration.aside;
	int r;

	r = nvme_contents_check(c, err);
	if (!r)
		r = check(c, a, err);
	if (r)
		return r;
	assert(c->stopped && !c->external); /* all contents are there, so nothing is in flight */
	nvme_forget_all(c);
	for (unsigned i = 0; i < NVME_NR_SECTIONS; i++) {
		if (has(c, sections[i]) && sections[i]->apply)
			sections[i]->apply(c, a);
	}
	nvme_contents_commit(c);
	forget(c);
	c->migration.again = true;
	uvfio_kick(c->dev);
	return 0;
}

/* ---- it leaves, and enters ---- */

/* The PMR has come to rest. */
void nvme_migrate_leave_on(struct nvme_ctrl *c)
{
	int r;

	c->migration.leaving = false;
	r = nvme_storage_release(c, c->migration.err);
	if (r != -EINPROGRESS)
		uvfio_migration_done(c->dev, r);
}

static int leave(void *priv, struct uvfio_error *err)
{
	struct nvme_ctrl *c = priv;

	/* Zeros stand for what could not be read: elsewhere they would be taken for contents. */
	if (c->pmr.ready && atomic_load(&c->pmr.health) == NVME_PMR_RESTORE_ERROR)
		return uvfio_error_set(err, -EIO,
				       "nvme: the file of the persistent memory region could not "
				       "be read: let the driver disable it first");
	if (!nvme_pmr_busy(c))
		return nvme_storage_release(c, err);
	c->migration.leaving = true;
	c->migration.err = err;
	uvfio_kick(c->dev);
	return -EINPROGRESS;
}

static void left(void *priv, uint64_t *initial, uint64_t *dirty)
{
	nvme_contents_left(priv, initial, dirty);
}

static void end(void *priv)
{
	nvme_contents_end(priv);
}

static int enter(void *priv, struct uvfio_error *err)
{
	struct nvme_ctrl *c = priv;

	/* Another one may have written the PMR's file since it was given back. */
	c->pmr.moved = c->pmr.ready;
	return nvme_storage_take(c, err);
}

void nvme_migrate_free(struct nvme_ctrl *c)
{
	forget(c);
}

const struct uvfio_migration_ops nvme_migration_ops = {
	.can = UVFIO_MIGRATE_P2P | UVFIO_MIGRATE_PRE_COPY,
	.save = save,
	.load = load,
	.commit = commit,
	.forget = forget,
	.size = size,
	.left = left,
	.leave = leave,
	.enter = enter,
	.end = end,
};
