/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The mappings (VMAs) of a client's address space.  Any thread.
 */
#ifndef UVFIO_UAPI_VMA_H
#define UVFIO_UAPI_VMA_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct vma {
	uint64_t start, end; /* addresses; end exclusive */
	uint64_t offset;     /* of @start in the file, bytes */
	unsigned prot;       /* PROT_READ | PROT_WRITE | PROT_EXEC */
	bool shared;
	bool file; /* backed by a file (memfd and shared anonymous memory included) */
	dev_t dev; /* of the file */
	ino_t ino;
	uint32_t page_size; /* 0: not known */
	bool kernels;       /* no file, and [vvar] or a like of it: pages of the kernel's own */
};

/* Call @fn for each VMA that intersects [@start, @end), in ascending order, until it returns
 * non-zero, which is then returned.  @proc: an fd of the directory /proc/TID; @maps: of the file
 * "maps" in it, for who asks often, or -1.  -EFAULT as soon as there is a hole; -ESRCH or another
 * -errno when the task has gone or may not be looked at. */
int vma_walk(int proc, int maps, uint64_t start, uint64_t end,
	     int (*fn)(void *arg, const struct vma *vma), void *arg);

/* Is there nothing behind @vma, which the walk gave, that the kernel could pin?  So it is with
 * registers of a device and other pages that a driver put there (VM_IO, VM_PFNMAP), and with secret
 * memory.  Takes the longer the more memory the process has.  -errno as above. */
int vma_unpinnable(int proc, const struct vma *vma, bool *unpinnable);

/* Is @vma of a file that is written back to a disk or a server, as the task's mounts say?  For
 * files that cannot be opened to be asked; false: not that it is known. */
bool vma_written_back(int proc, const struct vma *vma);

#endif
