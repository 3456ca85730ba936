/* SPDX-License-Identifier: BSD-3-Clause */
#include "iommu/account.h"

#include <assert.h>
#include <stdlib.h>

struct iommu_account {
	uint64_t id;
	uint64_t locked; /* bytes; atomic */
	uint32_t refs;   /* atomic */
};

struct iommu_account *iommu_account_new(uint64_t id)
{
	struct iommu_account *account = calloc(1, sizeof(*account));

	if (account) {
		account->id = id;
		account->refs = 1;
	}
	return account;
}

uint64_t iommu_account_id(const struct iommu_account *account)
{
	return account->id;
}

void iommu_account_ref(struct iommu_account *account)
{
	__atomic_fetch_add(&account->refs, 1, __ATOMIC_RELAXED);
}

void iommu_account_unref(struct iommu_account *account)
{
	if (account && !__atomic_sub_fetch(&account->refs, 1, __ATOMIC_ACQ_REL)) {
		assert(!account->locked);
		free(account);
	}
}

bool iommu_account_unused(const struct iommu_account *account)
{
	return __atomic_load_n(&account->refs, __ATOMIC_ACQUIRE) == 1;
}

bool iommu_account_charge(struct iommu_account *account, uint64_t bytes, uint64_t limit)
{
	uint64_t locked = __atomic_load_n(&account->locked, __ATOMIC_RELAXED);

	do {
		if (bytes && (locked > limit || bytes > limit - locked))
			return false;
	} while (!__atomic_compare_exchange_n(&account->locked, &locked, locked + bytes, true,
					      __ATOMIC_RELAXED, __ATOMIC_RELAXED));
	return true;
}

void iommu_account_refund(struct iommu_account *account, uint64_t bytes)
{
	__atomic_fetch_sub(&account->locked, bytes, __ATOMIC_RELAXED);
}

uint64_t iommu_account_locked(const struct iommu_account *account)
{
	return __atomic_load_n(&account->locked, __ATOMIC_RELAXED);
}
