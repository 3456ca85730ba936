/* SPDX-License-Identifier: BSD-3-Clause */
/* The NVM subsystem: its life, and how a controller learns what others have changed; see subsys.h.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "devices/nvme/nvme.h"

/* ---- life ---- */

struct nvme_subsys *nvme_subsys_new(struct nvme_ctrl *c, unsigned total_vfs)
{
	struct nvme_subsys *sub = calloc(1, sizeof(*sub));

	if (!sub)
		return NULL;
	sub->secondaries = calloc(total_vfs + 1, sizeof(*sub->secondaries));
	if (!sub->secondaries) {
		free(sub);
		return NULL;
	}
	pthread_mutex_init(&sub->lock, NULL);
	sub->pf = c;
	sub->total_vfs = total_vfs;
	sub->shared = total_vfs > 0;
	return sub;
}

int nvme_subsys_disks(struct nvme_subsys *sub, unsigned nr)
{
	size_t bytes = (nvme_subsys_controllers(sub) + 7) / 8;
	uint8_t *attached;

	sub->disks = calloc(nr, sizeof(*sub->disks));
	attached = calloc(nr, bytes);
	if (!sub->disks || !attached) {
		free(sub->disks);
		free(attached);
		sub->disks = NULL;
		return -ENOMEM;
	}
	for (unsigned i = 0; i < nr; i++) {
		struct nvme_disk *d = &sub->disks[i];

		d->sub = sub;
		d->id = i + 1;
		d->attached = attached + i * bytes;
		pthread_mutex_init(&d->lock, NULL);
		TAILQ_INIT(&d->held);
		TAILQ_INIT(&d->waiting);
	}
	sub->nr_disks = nr;
	return 0;
}

void nvme_subsys_free(struct nvme_subsys *sub)
{
	if (!sub)
		return;
	for (unsigned i = 0; i < sub->nr_disks; i++) {
		nvme_bad_free(&sub->disks[i]);
		nvme_contents_free_marks(&sub->disks[i]);
		pthread_mutex_destroy(&sub->disks[i].lock);
	}
	if (sub->disks)
		free(sub->disks[0].attached);
	free(sub->disks);
	free(sub->secondaries);
	pthread_mutex_destroy(&sub->lock);
	free(sub);
}

unsigned nvme_subsys_controllers(const struct nvme_subsys *sub)
{
	return sub->total_vfs + 1;
}

/* ---- attachment ---- */

void nvme_disk_attach(struct nvme_disk *d, unsigned cntlid, bool on)
{
	uint8_t bit = (uint8_t)(1u << cntlid % 8);

	if (on)
		d->attached[cntlid / 8] |= bit;
	else
		d->attached[cntlid / 8] &= (uint8_t)~bit;
}

bool nvme_disk_has_others(struct nvme_disk *d, const struct nvme_ctrl *c)
{
	unsigned nr = nvme_subsys_controllers(d->sub);
	bool others = false;

	pthread_mutex_lock(&d->sub->lock);
	for (unsigned i = 0; i < nr && !others; i++)
		others = i != c->cntlid && nvme_disk_attached(d, i);
	pthread_mutex_unlock(&d->sub->lock);
	return others;
}

/* ---- changes ---- */

void nvme_subsys_changed(struct nvme_subsys *sub)
{
	atomic_fetch_add(&sub->gen, 1);
	uvfio_kick(sub->pf->dev);
	for (unsigned i = 0; i < sub->total_vfs; i++) {
		if (sub->secondaries[i].ctrl)
			uvfio_kick(sub->secondaries[i].ctrl->dev);
	}
}

void nvme_subsys_resized(struct nvme_ctrl *c, unsigned index)
{
	struct nvme_disk *d = &c->sub->disks[index];
	uint64_t size = block_info(c->ns[index].blk)->size;

	pthread_mutex_lock(&c->sub->lock);
	if (d->size != size) {
		d->size = size;
		if (c->sub->shared)
			nvme_subsys_changed(c->sub);
	}
	pthread_mutex_unlock(&c->sub->lock);
}

/* What one namespace is now. */
struct news {
	bool attached, formatting;
	uint64_t size;
	uint8_t shift;
};

static void sync_attached(struct nvme_ctrl *c, struct nvme_ns *ns, struct nvme_disk *d, bool on)
{
	int r;

	if (on && !ns->blk) {
		r = nvme_ns_share(c, ns, d);
		if (r) {
			uvfio_device_log(c->dev, UVFIO_LOG_ERROR,
					 "nvme: namespace %u cannot be attached: %s", d->id,
					 strerror(-r));
			return;
		}
	}
	ns->attached = on;
	nvme_ns_changed(ns);
}

/* Another controller formats: new commands are refused until that is over and those that had begun
 * have ended, because a command has one block size from its beginning to its end. */
static void sync_format(struct nvme_ctrl *c, struct nvme_ns *ns, const struct news *news)
{
	if (ns->format_req)
		return; /* it is this one that does */
	if (news->formatting || (news->shift != ns->shift && ns->inflight)) {
		ns->formatting = true;
		ns->stale = news->shift != ns->shift;
		c->nr_stale += ns->stale;
		return;
	}
	ns->formatting = false;
	if (news->shift != ns->shift) {
		nvme_ns_set_shift(ns, news->shift);
		nvme_ns_changed(ns);
	}
}

static void sync_one(struct nvme_ctrl *c, unsigned index)
{
	struct nvme_disk *d = &c->sub->disks[index];
	struct nvme_ns *ns = &c->ns[index];
	struct news news;

	pthread_mutex_lock(&c->sub->lock);
	news.attached = nvme_disk_attached(d, c->cntlid);
	news.formatting = d->formatter && d->formatter != c;
	news.size = d->size;
	news.shift = d->shift;
	pthread_mutex_unlock(&c->sub->lock);
	if (news.attached != ns->attached)
		sync_attached(c, ns, d, news.attached);
	if (!ns->blk)
		return;
	sync_format(c, ns, &news);
	if (news.size != block_info(ns->blk)->size)
		block_set_size(ns->blk, news.size);
}

void nvme_subsys_join(struct nvme_ctrl *c)
{
	c->sub_gen = atomic_load(&c->sub->gen);
	for (unsigned i = 0; i < c->nr_ns; i++)
		sync_one(c, i);
}

void nvme_subsys_sync(struct nvme_ctrl *c)
{
	uint64_t gen = atomic_load_explicit(&c->sub->gen, memory_order_acquire);

	if (gen == c->sub_gen && !c->nr_stale)
		return;
	c->sub_gen = gen;
	c->nr_stale = 0;
	for (unsigned i = 0; i < c->nr_ns; i++)
		sync_one(c, i);
}
