/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Whose locked memory what is mapped in an IOAS is (D.3): what one MAP or MAP_FILE named is charged
 * once, to an account that the maker of the context tells, and can be moved to another one.
 */
#include <errno.h>
#include "iommu/account.h"
#include "iommu/ioas_private.h"

void ioas_ctx_set_accounts(struct ioas_ctx *ctx, ioas_account_fn fn, void *arg)
{
	ctx->account_of = fn;
	ctx->account_arg = arg;
}

int pages_charge(struct ioas_pages *pages, const struct type1_memory_ops *ops, void *client)
{
	uint64_t limit = ops->lock_limit ? ops->lock_limit(client) : UINT64_MAX;
	struct ioas_ctx *ctx = pages->ctx;
	struct iommu_account *account;
	int ret = 0;

	if (limit == UINT64_MAX || pages->source == IOAS_DEVICE || !ctx->account_of)
		return 0;
	account = ctx->account_of(ctx->account_arg, ops, client);
	if (!account)
		return -ENOMEM;
	pthread_mutex_lock(&ctx->lock);
	if (!pages->account) {
		if (iommu_account_charge(account, pages->length, limit)) {
			pages->account = account;
			account = NULL;
		} else {
			ret = -ENOMEM;
		}
	}
	pthread_mutex_unlock(&ctx->lock);
	iommu_account_unref(account);
	return ret;
}

void pages_refund(struct ioas_pages *pages)
{
	if (!pages->account)
		return;
	iommu_account_refund(pages->account, pages->length);
	iommu_account_unref(pages->account);
}

/* ---- CHANGE_PROCESS ---- */

/* Is everything of a file?  The mutexes of all are held, as for the others here. */
static int check_files(const struct ioas *ioas)
{
	struct ioas_area *area = areas_from(ioas->areas, 0);

	if (ioas->nr_filling)
		return -EBUSY;
	while (area && area->pages->source == IOAS_FILE)
		area = areas_next(ioas->areas, area);
	return area ? -EINVAL : 0;
}

/* How much is charged to others than @to: each of these is marked. */
static uint64_t mark_others(const struct ioas *ioas, const struct iommu_account *to)
{
	uint64_t bytes = 0;

	for (struct ioas_area *area = areas_from(ioas->areas, 0); area;
	     area = areas_next(ioas->areas, area)) {
		struct ioas_pages *pages = area->pages;

		if (pages->moves || !pages->account || pages->account == to)
			continue;
		pages->moves = true;
		bytes += pages->length;
	}
	return bytes;
}

/* What is marked is charged to @to already, or (NULL) stays where it is. */
static void move_marked(const struct ioas *ioas, struct iommu_account *to)
{
	for (struct ioas_area *area = areas_from(ioas->areas, 0); area;
	     area = areas_next(ioas->areas, area)) {
		struct ioas_pages *pages = area->pages;

		if (pages->moves && to) {
			pages_refund(pages);
			iommu_account_ref(to);
			pages->account = to;
		}
		pages->moves = false;
	}
}

static int move_all(struct ioas *const *all, unsigned nr, struct iommu_account *to, uint64_t limit)
{
	struct ioas_ctx *ctx = all[0]->ctx;
	uint64_t bytes = 0;
	bool charged;

	pthread_mutex_lock(&ctx->lock);
	for (unsigned i = 0; i < nr; i++)
		bytes += mark_others(all[i], to);
	charged = iommu_account_charge(to, bytes, limit);
	for (unsigned i = 0; i < nr; i++)
		move_marked(all[i], charged ? to : NULL);
	pthread_mutex_unlock(&ctx->lock);
	return charged ? 0 : -ENOMEM;
}

int ioas_change_process(struct ioas *const *all, unsigned nr, const struct type1_memory_ops *ops,
			void *client)
{
	uint64_t limit = ops->lock_limit ? ops->lock_limit(client) : UINT64_MAX;
	struct iommu_account *to;
	struct ioas_ctx *ctx;
	int ret = 0;

	if (!nr)
		return 0;
	ctx = all[0]->ctx;
	to = ctx->account_of ? ctx->account_of(ctx->account_arg, ops, client) : NULL;
	for (unsigned i = 0; i < nr; i++)
		pthread_mutex_lock(&all[i]->lock);
	for (unsigned i = 0; i < nr && !ret; i++)
		ret = check_files(all[i]);
	if (!ret && to)
		ret = move_all(all, nr, to, limit);
	while (nr)
		pthread_mutex_unlock(&all[--nr]->lock);
	iommu_account_unref(to);
	return ret;
}
