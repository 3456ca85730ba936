/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * An I/O address space of iommufd (IOAS, D.3): which requests on it are refused, in which order and
 * with what errno.  The mechanism under it is that of every address space (space.h).
 *
 * Theory of operation.  What was mapped is an *area*; areas are kept in a tree by their IOVA.  An
 * area holds a slice of *pages*: what one MAP or MAP_FILE named, shared by the areas that COPY made
 * of it, and charged once.  Behind an area there is at most one mapping of the space.
 *
 * An IOAS without a domain (a hardware page table) takes any alignment and any IOVA, and looks at
 * no memory.  Here memory is taken at once if that is possible, because it is the mapping process
 * that has it; what could not be had is tried again when the first domain comes
 * (ioas_domain_add()), and that fails then.
 *
 *      FILLING ──published──▶ READY ──UNMAP──▶ gone when its transfers are
 *         └──failed──▶ gone
 *
 * FILLING is the time while memory is fetched from the client, without a lock: the area is in the
 * way of others, UNMAP answers EBUSY and COPY ENOENT.
 *
 * Reserved is what lies outside of the IOMMU's aperture while there is a domain, and the interrupt
 * window while a device is attached.
 *
 * Threads: any.  Locks: one mutex an IOAS, then the mutex of its context (a leaf) or the writer
 * mutex of its space.  None is held across a call into a client or while waiting for transfers.
 */
#ifndef UVFIO_IOMMU_IOAS_H
#define UVFIO_IOMMU_IOAS_H

#include "iommu/type1.h"

#define IOAS_MAX_AREAS   (1u << 20) /* of one context */
#define IOAS_MAX_ALLOWED 4096u      /* ranges of an allow-list */

struct ioas;
struct ioas_ctx;
struct uvfio_trash;

/* What the IOASs of one iommufd have in common: the files and processes behind their mappings, the
 * count of areas, and whose locked memory it is.  Counted references; NULL when out of memory. */
struct ioas_ctx *ioas_ctx_new(void);
void ioas_ctx_put(struct ioas_ctx *ctx);
/* The account of who maps, with a reference, or NULL; asked of clients that have a limit.  No lock
 * of this directory is held. */
typedef struct iommu_account *(*ioas_account_fn)(void *arg, const struct type1_memory_ops *ops,
						 void *client);
/* Before anything is mapped; without it nothing is counted. */
void ioas_ctx_set_accounts(struct ioas_ctx *ctx, ioas_account_fn fn, void *arg);

/* One reference is the caller's; an IOAS keeps its context.  NULL when out of memory. */
struct ioas *ioas_new(struct ioas_ctx *ctx);
void ioas_get(struct ioas *ioas);
/* The last one removes all mappings, which takes a while. */
void ioas_put(struct ioas *ioas);
/* For a thread that must not wait. */
void ioas_put_later(struct ioas *ioas, struct uvfio_trash *trash);
struct iommu_space *ioas_space(struct ioas *ioas);

/* ---- memory ---- */

/* Slices of pages in order: what MAP, MAP_FILE and COPY put into an IOAS. */
struct ioas_slice;
struct ioas_slices {
	struct ioas_slice *head, *tail;
	uint64_t length;
};

/* [@addr, +@length) of the client's memory.  -EOVERFLOW, -EINVAL (length 0), -ENOMEM. */
int ioas_slices_user(struct ioas_ctx *ctx, uint64_t addr, uint64_t length, unsigned prot,
		     int32_t pid, struct ioas_slices *out);
/* The same of the client's file @fd; @length is not 0, and the sum does not wrap.  -EBADF, -EINVAL
 * when no file is as large, -ENOMEM.  What else is wrong with the file is said by ioas_map(). */
int ioas_slices_file(struct ioas_ctx *ctx, int32_t fd, uint64_t start, uint64_t length,
		     unsigned prot, const struct type1_memory_ops *ops, void *client,
		     struct ioas_slices *out);
/* [@start, +@length) of an export, whose pages are @mem (D.4): a malloc'ed piece, which is
 * ops->release()d with @client NULL when it is not used any more, also on failure.  -ENOMEM. */
int ioas_slices_device(struct ioas_ctx *ctx, uint64_t start, uint64_t length, unsigned prot,
		       struct iommu_mem *mem, const struct type1_memory_ops *ops,
		       struct ioas_slices *out);
/* What is mapped in [@iova, +@length) without a gap.  -EINVAL, -EOVERFLOW, -ENOENT, -ENOMEM. */
int ioas_slices_of(struct ioas *ioas, uint64_t iova, uint64_t length, struct ioas_slices *out);
void ioas_slices_drop(struct ioas_slices *slices);

/* Map @slices at *@iova, or with @fixed false at an address that is chosen and put there; @prot:
 * IOMMU_….  D.3 MAP from the length's alignment on.  @slices is empty afterwards, whatever the
 * result. */
int ioas_map(struct ioas *ioas, struct ioas_slices *slices, bool fixed, unsigned prot,
	     uint64_t *iova, const struct type1_memory_ops *ops, void *client, int32_t pid);
/* D.3 UNMAP.  *@unmapped: bytes, also when it fails in the middle; 0 and 0 where nothing is mapped.
 * Waits for transfers. */
int ioas_unmap(struct ioas *ioas, uint64_t iova, uint64_t length, uint64_t *unmapped);
int ioas_unmap_all(struct ioas *ioas, uint64_t *unmapped);
/* Cut the area that contains @iova and @iova + 1 between them (what version 1 of the VFIO interface
 * unmaps).  0 also when there is none; -EBUSY; -EOPNOTSUPP: device memory; -EINVAL, -ENOMEM.  Waits
 * for transfers. */
int ioas_cut(struct ioas *ioas, uint64_t iova);

/* ---- ranges ---- */

struct ioas_range {
	uint64_t start, last; /* inclusive */
};

/* What is not reserved, ascending; how many there are.  *@alignment: of addresses and lengths. */
#define IOAS_MAX_RANGES 2u
unsigned ioas_ranges(struct ioas *ioas, struct ioas_range out[IOAS_MAX_RANGES],
		     uint64_t *alignment);
/* How many bytes of [@iova, @last] are mapped before the first gap. */
uint64_t ioas_mapped(struct ioas *ioas, uint64_t iova, uint64_t last);
/* A list that is being made.  Adding: -EINVAL, -ENOMEM. */
struct ioas_allow {
	struct ioas_range *ranges; /* ascending, apart from one another */
	unsigned nr, room;
};
int ioas_allow_add(struct ioas_allow *allow, const struct ioas_range *range);
/* Put it in the place of the one that there is; @allow is empty afterwards.  -EADDRINUSE. */
int ioas_allow_set(struct ioas *ioas, struct ioas_allow *allow);

/* Large pages: with them off, nothing is combined, and areas can be cut.  -EINVAL when something is
 * mapped in a domain, -EADDRINUSE when something is not aligned to a page. */
int ioas_set_large_pages(struct ioas *ioas, bool on);
bool ioas_large_pages(struct ioas *ioas);

/* ---- domains and devices ---- */

/* There is a hardware page table more: from here on everything is aligned to pages, inside the
 * aperture and in memory.  -EADDRINUSE, -EFAULT, -ENOMEM, -EINVAL for what was mapped without a
 * right; and nothing is changed. */
int ioas_domain_add(struct ioas *ioas, const struct type1_memory_ops *ops, void *client,
		    int32_t pid);
void ioas_domain_del(struct ioas *ioas);
/* A device more is attached: the interrupt window is reserved.  -EADDRINUSE. */
int ioas_device_add(struct ioas *ioas);
void ioas_device_del(struct ioas *ioas);

/* What is mapped in all @nr IOASs of one context, in an order that is always the same, is the
 * locked memory of @client's from now on: -EBUSY while something is being mapped, -EINVAL when not
 * all of it is of files, -ENOMEM beyond its limit; and nothing is changed. */
int ioas_change_process(struct ioas *const *all, unsigned nr, const struct type1_memory_ops *ops,
			void *client);
uint64_t ioas_areas(struct ioas *ioas);

#endif
