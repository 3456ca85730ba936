/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The files and processes behind the mappings of one address space, or of several that share
 * memory, each held once.
 *
 * Theory of operation.  A file is mapped here through windows: stretches of address space that are
 * reserved far beyond what is asked for, so that as mappings come and go and the file grows, a
 * window rarely moves on to a second one and never moves: host addresses stay valid while any
 * mapping uses the file.  A window is one VMA (two with huge pages), so the VMAs are counted by
 * files, not by mappings.  Pages behind the end of the file are part of it: touching them is SIGBUS
 * until the file grows, which is what a truncated file gives too; see base/guard.h.  With hugetlbfs
 * only what the file has is mapped, because mapping more would extend it; when it has grown, the
 * window is mapped anew over itself.
 *
 * Of a file no fd is needed: the mapping holds it.  Where the door says so, one is kept nevertheless,
 * for a server that takes the place of this one; of a few only, or a client could use up all there
 * are.  Only memory files are mapped, so that letting go asks nobody.  Of a process, one is, and another when parts of its memory may block: that is
 * process.h's, which knows where it may be closed.
 *
 * Threads: any; one mutex inside, held across mmap() but never across anything of a client's.
 */
#ifndef UVFIO_IOMMU_FILES_H
#define UVFIO_IOMMU_FILES_H

#include <pthread.h>
#include "iommu/space.h"

#define FILES_BUCKETS      256u
#define FILES_MAX_KEPT     64u
#define FILES_MAX_WINDOWS  16u
#define FILES_MAX_RESERVED (16ull << 40) /* bytes of address space, all windows of a space */

struct iommu_window {
	struct iommu_window *next;
	uint8_t *base;
	uint64_t offset; /* in the file, of @base */
	uint64_t span;   /* bytes reserved */
	uint64_t mapped; /* bytes of it that are mapped */
};

struct iommu_file {
	struct iommu_file *next;
	enum iommu_mem_kind kind;
	bool writable;  /* FILE: mapped for writing (the two are separate entries) */
	bool may_block; /* PROCESS (separate entries too) */
	uint64_t id[2];
	uint32_t refs;           /* atomic; goes from and to 0 only under the mutex */
	int fd; /* PROCESS that does not block; FILE that was kept; else -1 */
	struct iommu_peer *peer; /* PEER, and PROCESS that may block: reached by messages */
	unsigned nr_windows;
	struct iommu_window *windows;
};

struct iommu_files {
	uint32_t refs; /* atomic: the spaces that share it, and who made it */
	pthread_mutex_t lock;
	struct iommu_file *bucket[FILES_BUCKETS];
	unsigned nr_files, nr_processes, nr_kept;
	uint64_t reserved;
	struct workers *workers; /* for processes that may block; made when needed */
};

/* One reference is the caller's.  Spaces that share it can share memory (space_share()).  NULL when
 * out of memory. */
struct iommu_files *files_new(void);
void files_hold(struct iommu_files *files);
/* With the last one, every file was given back. */
void files_drop(struct iommu_files *files);
/* Take a reference to what is behind @mem, for writing if @writable.  FILE: *@host is the address
 * of its first byte here, valid while the reference is held.  0, -ENOMEM at a limit, or -EFAULT
 * when the file has no such part or refuses. */
int files_get(struct iommu_files *files, const struct iommu_mem *mem, bool writable,
	      struct iommu_file **file, uint8_t **host);
void files_put(struct iommu_files *files, struct iommu_file *file);

#endif
