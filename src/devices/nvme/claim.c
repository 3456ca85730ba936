/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Claims to ranges of blocks that several controllers write.
 *
 * Theory of operation.  A Compare and Write reads, compares and writes, and nobody may write in
 * between.  Within a controller fused.c sees to that.  Between controllers every request that
 * changes blocks claims them for as long as the storage works on it: as one of many, or, from
 * before the Compare until after the Write, exclusively.  Claims that exclude each other are
 * granted in the order in which they came, so that nobody waits for ever.
 *
 *   NONE ──claim──▶ HELD ──put──▶ NONE
 *     └──in the way──▶ WAITING ──granted by who puts──▶ HELD, and on ctrl->granted
 *
 * All that a holder waits for is the storage, never its client: data is fetched before.  So a
 * client that does not answer holds up nobody else.
 *
 * A waiting claim counts as something in flight of its controller (ctrl->external), which therefore
 * is still there when it is granted.
 */
#include "devices/nvme/nvme.h"

static bool in_the_way(const struct nvme_claim *a, const struct nvme_claim *b)
{
	return (a->exclusive || b->exclusive) && a->start < b->end && b->start < a->end;
}

/* Does anything that is held, or came before @claim, exclude it? */
static bool excluded(const struct nvme_disk *d, const struct nvme_claim *claim)
{
	const struct nvme_claim *other;

	if (!d->nr_exclusive)
		return false;
	TAILQ_FOREACH(other, &d->held, link)
	{
		if (in_the_way(other, claim))
			return true;
	}
	TAILQ_FOREACH(other, &d->waiting, link)
	{
		if (other == claim)
			return false;
		if (in_the_way(other, claim))
			return true;
	}
	return false;
}

bool nvme_claim(struct nvme_ctrl *c, struct nvme_claim *claim, struct nvme_disk *d, uint64_t start,
		uint64_t len, bool exclusive)
{
	bool wait;

	assert(claim->state == NVME_CLAIM_NONE);
	claim->ctrl = c;
	claim->disk = d;
	claim->start = start;
	claim->end = start + len;
	claim->exclusive = exclusive;
	pthread_mutex_lock(&d->lock);
	d->nr_exclusive += exclusive;
	wait = excluded(d, claim);
	claim->state = wait ? NVME_CLAIM_WAITING : NVME_CLAIM_HELD;
	if (wait)
		TAILQ_INSERT_TAIL(&d->waiting, claim, link);
	else
		TAILQ_INSERT_TAIL(&d->held, claim, link);
	pthread_mutex_unlock(&d->lock);
	return !wait;
}

/* In the owner's context it is found on its list. */
static void grant(struct nvme_claim *claim)
{
	struct nvme_ctrl *c = claim->ctrl;
	struct nvme_claim *first = atomic_load(&c->granted);

	do {
		atomic_store(&claim->granted, first);
	} while (!atomic_compare_exchange_weak(&c->granted, &first, claim));
	uvfio_kick(c->dev);
}

void nvme_claim_put(struct nvme_claim *claim)
{
	struct nvme_disk *d = claim->disk;
	struct nvme_claim *next, *after;

	if (claim->state != NVME_CLAIM_HELD)
		return;
	pthread_mutex_lock(&d->lock);
	TAILQ_REMOVE(&d->held, claim, link);
	claim->state = NVME_CLAIM_NONE;
	for (next = TAILQ_FIRST(&d->waiting); next; next = after) {
		after = TAILQ_NEXT(next, link);
		if (excluded(d, next))
			continue;
		TAILQ_REMOVE(&d->waiting, next, link);
		TAILQ_INSERT_TAIL(&d->held, next, link);
		grant(next);
	}
	d->nr_exclusive -= claim->exclusive;
	pthread_mutex_unlock(&d->lock);
}

void nvme_claims_run(struct nvme_ctrl *c)
{
	struct nvme_claim *claim, *next, *in_order = NULL;

	if (!atomic_load_explicit(&c->granted, memory_order_relaxed))
		return;
	/* The first that was granted goes first. */
	for (claim = atomic_exchange(&c->granted, NULL); claim; claim = next) {
		next = atomic_load(&claim->granted);
		atomic_store(&claim->granted, in_order);
		in_order = claim;
	}
	for (claim = in_order; claim; claim = next) {
		next = atomic_load(&claim->granted);
		claim->state = NVME_CLAIM_HELD;
		nvme_block_granted(claim);
	}
}
