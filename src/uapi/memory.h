/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Client memory for DMA: from an address range of a task to the pieces that the address space
 * wants.
 *
 * Theory of operation.  Memory that is shared and cannot block (memfd, shm, shared anonymous
 * memory, hugetlbfs) is handed over as its file, so that the core maps it.  All other memory is
 * reached through /proc/TID/mem, opened now (and where a file is behind it, by threads that may be
 * left behind, because its file system may block): the fd belongs to the address space (mm) that
 * the task has at this moment, whatever the task or its number becomes later; after an exec it
 * transfers nothing. That fd ignores page permissions, so they are checked here, as pinning would:
 * DMA that writes wants a writable mapping, other DMA a readable one.
 *
 * One /proc/TID/mem a task is kept.  An entry is the right one when the task (its /proc directory,
 * which a reused number does not revive) still lives and has not exec'ed: the kernel gives every
 * exec 16 random bytes (AT_RANDOM), which are compared.
 *
 * Threads: any; a cache has a mutex, which is not held while a client's memory is looked at.
 */
#ifndef UVFIO_UAPI_MEMORY_H
#define UVFIO_UAPI_MEMORY_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include "iommu/account.h"
#include "iommu/space.h"

struct memory_cache;

/* What the door has open itself, and its programs may have mapped. */
struct memory_devices {
	bool (*is_ours)(void *arg, dev_t dev, ino_t ino);
	/*
	 * The file of BARs with this identity.  -ENOENT: it is none.  0: *@out is [@offset, +@len)
	 * of it as memory for DMA, and *@trapped whether the rights of its pages are less than what
	 * the program asked of mmap.  MEMORY_BAR_FOREIGN: the program has not mapped it through
	 * VFIO.  -EFAULT, -ENOMEM as of MAP (D.2).
	 */
	int (*bar)(void *arg, dev_t dev, ino_t ino, uint64_t offset, uint64_t len,
		   struct iommu_mem *out, bool *trapped);
	void *arg;
};
#define MEMORY_BAR_FOREIGN 1

/* @devices is copied; NULL: there are none. */
struct memory_cache *memory_cache_new(const struct memory_devices *devices);
void memory_cache_free(struct memory_cache *cache);

/* Import [@vaddr, @vaddr + @size) of the task @tid, page aligned, for DMA with @prot (IOMMU_READ,
 * IOMMU_WRITE).  @asked: what the program asked of mmap for the BARs in it (PROT_…), as far as it
 * is known.  0 and a malloc'ed array; -EFAULT when a part is not mapped or lacks the access;
 * -ENOMEM, -ESRCH. */
int memory_import(struct memory_cache *cache, pid_t tid, uint64_t vaddr, uint64_t size,
		  unsigned prot, unsigned asked, struct iommu_mem **mem, unsigned *nr);
/* The same for [@offset, @offset + @size) of the file @fd, which is taken over on success. -EINVAL:
 * it is no memory file, or ends before; -EPERM: it is not open for that. */
int memory_import_file(struct memory_cache *cache, int fd, uint64_t offset, uint64_t size,
		       unsigned prot, struct iommu_mem **mem, unsigned *nr);
/* The account of the process that the task @tid is of, with a reference, or NULL. */
struct iommu_account *memory_account(struct memory_cache *cache, pid_t tid);
/* Frees the array and closes its fds. */
void memory_release(struct iommu_mem *mem, unsigned nr);

#endif
