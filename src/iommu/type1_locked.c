/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Whose locked memory a mapping is (D.2).
 *
 * A mapping is charged to the account of the process that mapped it, or that gave it a new address
 * last.  It names the account by its place in a table of the container's, where the first place is
 * 1; 0 is a mapping of somebody whose memory is not counted.  A place is free when no mapping names
 * it.
 */
#include <errno.h>
#include <stdlib.h>
#include "iommu/account.h"
#include "iommu/type1_private.h"

#define PLACES 255u

struct place {
	struct iommu_account *account; /* a reference; NULL: free */
	uint64_t mappings, bytes;      /* of this container that are charged to it */
};

struct type1_locked {
	struct iommu_account *own; /* of clients whose door knows none */
	unsigned nr;               /* places in use, or that were */
	uint64_t mappings;         /* that are charged to somebody */
	struct place places[PLACES];
};

/* What a kernel would pin of it: all but devices' memory. */
static uint64_t locked_bytes(const struct iommu_mapping *m)
{
	uint64_t size = m->last - m->first + 1, bytes = 0;

	if (m->nr == 1)
		return m->file->kind == IOMMU_MEM_PEER ? 0 : size;
	for (uint32_t i = 0; i < m->nr; i++) {
		uint64_t end = i + 1 < m->nr ? m->pieces[i + 1].start : size;

		if (m->pieces[i].file->kind != IOMMU_MEM_PEER)
			bytes += end - m->pieces[i].start;
	}
	return bytes;
}

static struct type1_locked *table(struct type1 *t1)
{
	struct type1_locked *new, *old = __atomic_load_n(&t1->locked, __ATOMIC_ACQUIRE);

	if (old)
		return old;
	new = calloc(1, sizeof(*new));
	if (new)
		new->own = iommu_account_new(0);
	if (!new || !new->own) {
		free(new);
		return NULL;
	}
	if (__atomic_compare_exchange_n(&t1->locked, &old, new, false, __ATOMIC_ACQ_REL,
					__ATOMIC_ACQUIRE))
		return new;
	iommu_account_unref(new->own);
	free(new);
	return old;
}

int type1_payer(struct type1 *t1, const struct type1_memory_ops *ops, void *client,
		struct type1_payer *out)
{
	struct type1_locked *locked;

	*out = (struct type1_payer){.limit = UINT64_MAX};
	if (ops->lock_limit)
		out->limit = ops->lock_limit(client);
	if (out->limit == UINT64_MAX)
		return 0;
	locked = table(t1);
	if (!locked)
		return -ENOMEM;
	if (ops->account) {
		out->account = ops->account(client);
	} else {
		iommu_account_ref(locked->own);
		out->account = locked->own;
	}
	return out->account ? 0 : -ENOMEM;
}

void type1_payer_put(struct type1_payer *payer)
{
	iommu_account_unref(payer->account);
}

/* The place of @account, or a free one, or NULL. */
static struct place *find_place(struct type1_locked *locked, const struct iommu_account *account)
{
	struct place *empty = NULL;

	for (unsigned i = 0; i < locked->nr; i++) {
		if (locked->places[i].account == account)
			return &locked->places[i];
		if (!empty && !locked->places[i].account)
			empty = &locked->places[i];
	}
	if (!empty && locked->nr < PLACES)
		empty = &locked->places[locked->nr++];
	return empty;
}

int type1_charge(struct type1 *t1, struct iommu_mapping *m, const struct type1_payer *payer)
{
	uint64_t bytes = locked_bytes(m);
	struct place *place;

	m->account = 0;
	if (!payer->account)
		return 0;
	place = find_place(t1->locked, payer->account);
	if (!place || !iommu_account_charge(payer->account, bytes, payer->limit))
		return -ENOMEM;
	if (!place->account) {
		iommu_account_ref(payer->account);
		place->account = payer->account;
	}
	place->mappings++;
	place->bytes += bytes;
	t1->locked->mappings++;
	m->account = (uint8_t)(place - t1->locked->places + 1);
	return 0;
}

void type1_refund(struct type1 *t1, struct iommu_mapping *m)
{
	uint64_t bytes = locked_bytes(m);
	struct place *place;

	if (!m->account)
		return;
	place = &t1->locked->places[m->account - 1];
	m->account = 0;
	t1->locked->mappings--;
	iommu_account_refund(place->account, bytes);
	place->bytes -= bytes;
	if (--place->mappings)
		return;
	iommu_account_unref(place->account);
	place->account = NULL;
}

int type1_recharge(struct type1 *t1, struct iommu_mapping *m, struct iommu_mapping *by,
		   const struct type1_payer *payer)
{
	struct type1_payer old = {.limit = UINT64_MAX};
	int ret;

	if (m->account) {
		old.account = t1->locked->places[m->account - 1].account;
		iommu_account_ref(old.account);
	}
	type1_refund(t1, m);
	ret = type1_charge(t1, by, payer);
	if (ret) /* its place and its bytes were free a moment ago */
		type1_charge(t1, m, &old);
	type1_payer_put(&old);
	return ret;
}

void type1_refund_range(struct type1 *t1, uint64_t first, uint64_t last, bool tails)
{
	const struct type1_locked *locked = __atomic_load_n(&t1->locked, __ATOMIC_ACQUIRE);
	struct iommu_mapping *m;

	if (!locked || !locked->mappings)
		return;
	for (uint64_t i = first; i <= last && (m = space_find(t1->space, i, last));
	     i = m->last + 1) {
		if (m->first >= first && (tails || m->last <= last))
			type1_refund(t1, m);
		if (m->last == UINT64_MAX)
			break;
	}
}

void type1_locked_free(struct type1 *t1)
{
	struct type1_locked *locked = t1->locked;

	if (!locked)
		return;
	for (unsigned i = 0; i < locked->nr; i++) {
		if (!locked->places[i].account)
			continue;
		iommu_account_refund(locked->places[i].account, locked->places[i].bytes);
		iommu_account_unref(locked->places[i].account);
	}
	iommu_account_unref(locked->own);
	free(locked);
}
