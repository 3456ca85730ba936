/* SPDX-License-Identifier: BSD-3-Clause */
/* What ioas*.c and areas.c share; see ioas.h. */
#ifndef UVFIO_IOMMU_IOAS_PRIVATE_H
#define UVFIO_IOMMU_IOAS_PRIVATE_H

#include "base/trash.h"
#include "iommu/ioas.h"
#include "iommu/space_private.h"

enum ioas_source {
	IOAS_USER,
	IOAS_FILE,
	IOAS_DEVICE, /* of an export (D.4): not charged, not cut, of no process */
};

/* What one request named. */
struct ioas_pages {
	struct ioas_ctx *ctx;
	uint32_t refs; /* atomic */
	enum ioas_source source;
	uint64_t addr; /* USER: in the client; else in the file */
	uint64_t length;
	int32_t pid;                   /* who mapped it: the client's */
	bool writable;                 /* was it mapped for writing at first? */
	bool moves;                    /* CHANGE_PROCESS */
	struct iommu_account *account; /* that it is charged to, a reference: ctx->lock */
};

enum ioas_area_state { AREA_FILLING, AREA_READY };

struct ioas_area {
	struct ioas_area *left, *right; /* areas.c */
	uint32_t priority;
	uint8_t state; /* enum ioas_area_state */
	uint8_t prot;
	uint64_t first, last; /* IOVA */
	struct ioas_pages *pages;
	uint64_t start;          /* byte of ->pages */
	struct iommu_mapping *m; /* NULL: there is no memory yet */
};

struct ioas_slice {
	struct ioas_slice *next;
	struct ioas_pages *pages;
	uint64_t start, length;
	struct iommu_share share; /* memory that there is already; ->nr 0: none */
	/* A file's, from the client; @error: why there is none. */
	struct iommu_mem *mem;
	unsigned nr_mem;
	int error;
	const struct type1_memory_ops *ops; /* to release ->mem */
	void *client;
	struct ioas_area *area; /* being made of it */
	struct iommu_mapping *m;
};

struct ioas_ctx {
	uint32_t refs; /* atomic */
	struct iommu_files *files;
	pthread_mutex_t lock; /* what follows; a leaf */
	uint64_t nr_areas;
	ioas_account_fn account_of;
	void *account_arg;
};

struct ioas {
	struct uvfio_trash_item item;
	struct ioas_ctx *ctx;
	uint32_t refs; /* atomic */
	struct iommu_space *space;
	pthread_mutex_t lock; /* what follows */
	struct ioas_area *areas;
	uint64_t nr_areas, nr_odd, nr_bare; /* odd: not aligned to pages; bare: without memory */
	unsigned nr_filling;
	uint64_t seed; /* of priorities */
	struct ioas_range *allowed;
	unsigned nr_allowed;
	unsigned nr_domains, nr_devices;
	bool small_pages;
};

/* ---- areas.c: no two areas overlap ---- */

/* The first area that ends at @iova or later; NULL: none. */
struct ioas_area *areas_from(struct ioas_area *root, uint64_t iova);
struct ioas_area *areas_last(struct ioas_area *root);
/* ->first, ->last and ->priority are set. */
void areas_insert(struct ioas_area **root, struct ioas_area *area);
void areas_remove(struct ioas_area **root, struct ioas_area *area);

static inline struct ioas_area *areas_next(struct ioas_area *root, const struct ioas_area *area)
{
	return area->last == UINT64_MAX ? NULL : areas_from(root, area->last + 1);
}

/* ---- ioas.c ---- */

/* One more of the context's; NULL at the limit. */
struct ioas_area *area_new(struct ioas_ctx *ctx);
void area_free(struct ioas_ctx *ctx, struct ioas_area *area);
/* Put @area into the tree, or take it out.  Mutex held. */
void area_enter(struct ioas *ioas, struct ioas_area *area);
void area_leave(struct ioas *ioas, struct ioas_area *area);

/* ---- ioas_slice.c ---- */

void pages_put(struct ioas_pages *pages);

static inline bool area_is_odd(const struct ioas_area *area)
{
	return (area->first | (area->last + 1) | (area->pages->addr + area->start)) &
	       (IOMMU_PAGE_SIZE - 1);
}

/* ---- ioas_locked.c ---- */

/* Once for all areas that have a slice of the same pages.  -ENOMEM. */
int pages_charge(struct ioas_pages *pages, const struct type1_memory_ops *ops, void *client);
/* Nobody has them any more. */
void pages_refund(struct ioas_pages *pages);

/* ---- ioas_back.c ---- */

/* Get the memory of @area, from @slice or the client: *@m, to be published or cancelled.  0 with
 * NULL when there can be none now.  Without the mutex. */
int area_back(struct ioas *ioas, const struct ioas_area *area, struct ioas_slice *slice,
	      const struct type1_memory_ops *ops, void *client, int32_t pid,
	      struct iommu_mapping **m);
/* The mutex held; cancel before the area leaves the tree. */
void area_publish(struct ioas *ioas, struct ioas_area *area, struct iommu_mapping *m);
void area_cancel(struct ioas *ioas, struct iommu_mapping *m);

/* ---- ioas_range.c; the mutex held ---- */

uint64_t ioas_alignment(const struct ioas *ioas);
/* Does [@first, @last] touch what is reserved? */
bool ioas_is_reserved(const struct ioas *ioas, uint64_t first, uint64_t last);
/* Where @length bytes can go that are at @addr in memory.  -EOVERFLOW, -EINVAL, -ENOSPC. */
int ioas_choose(struct ioas *ioas, uint64_t addr, uint64_t length, uint64_t *iova);

#endif
