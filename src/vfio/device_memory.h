/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Device memory for DMA (D.4): a DMA mapping whose backing is a BAR of a device of this machine.
 *
 * It is recognised by the identity of its file: that of the view of the BARs, or of an export.
 * What the address space gets is a peer (iommu/peer.h) that belongs to the device, its owner, and
 * carries out the messages of other devices' transfers there, or of its own.  The view's pages are
 * never touched for that.
 *
 * A peer is of one of two kinds:
 *  - one that comes back: while the owner's memory is off, in reset, asleep (low power) or behind a
 *    device in D3, transfers fault (IOMMU_FAULT_REVOKED); afterwards they work again.  This is what
 *    type1 and vfio-user mappings get.
 *  - one that is latched: once the owner's memory was away, transfers fault for ever.  This is what
 *    iommufd gets, whose user is to unmap and map anew.
 * The owner's last close, or its being pulled out, ends both for good (IOMMU_FAULT_GONE).  What was
 * mapped stays mapped until its user unmaps it.
 * While the owner stands still to be moved (E.2) transfers to both fault, too, but its memory is
 * not away: it can be mapped, whatever config space says, and nothing is latched (D.4.50).
 *
 * What a device does with its memory is its own affair; who has a mapping waits for none of it, and
 * neither does who takes the memory away.
 *
 * Threads: any.  One lock, machine->memory_lock, guards who has which file and which peers there
 * are; it is a leaf, and held for a few instructions.
 */
#ifndef UVFIO_VFIO_DEVICE_MEMORY_H
#define UVFIO_VFIO_DEVICE_MEMORY_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>
#include <sys/types.h>
#include "iommu/space.h"

struct stat;
struct vfio_device;
struct vfio_machine;
struct vfio_device_export;
struct memory_peer;

/* ---- for doors ---- */

/*
 * Is the file with this identity, which must come from fstat() of a memory file, the view of a
 * device of @machine?  -ENOENT when it is not: then it is something else's memory.  -EFAULT when it
 * is, but [@offset, +@len), page aligned, is not in one BAR that can be mapped; or its memory is
 * away (to touch a mapping would fault now), though not for a reset; or nobody has it open for
 * VFIO; or its registers must be left alone while it does not run (UVFIO_MIGRATE_QUIET_MMIO). 0:
 * *@out is what to map, with a reference to be put when that was done.  Waits for nothing.
 */
int vfio_device_memory(struct vfio_machine *machine, const struct stat *st, uint64_t offset,
		       uint64_t len, struct iommu_mem *out);
void vfio_device_memory_put(const struct iommu_mem *mem);

/* ---- exports: what FEATURE DMA_BUF gives (A.10) ---- */

/* Of a BAR, bytes; checked by who makes the export. */
struct vfio_export_range {
	uint64_t offset, len;
};
#define VFIO_EXPORTS 1024u /* of a device, at a time */

/* The memory of @nr ranges of BAR @bar of @dev, which is open, behind the file @st; together they
 * have @size bytes.  Only one range can be reached by DMA, so that of several (@nr > 1) none is
 * kept.  One reference is the caller's.  -ENODEV: it was closed meanwhile; -ENOMEM, also when there
 * are too many.  The last put forgets the file, so it comes before the file's identity may be
 * another one's. */
int vfio_export_new(struct vfio_device *dev, unsigned bar, const struct vfio_export_range *first,
		    uint32_t nr, uint64_t size, const struct stat *st,
		    struct vfio_device_export **out);
void vfio_export_put(struct vfio_device_export *export);
/* Are there any? */
bool vfio_exports(const struct vfio_machine *machine);
/* The export that is behind the file, with a reference; NULL: none. */
struct vfio_device_export *vfio_export_find(struct vfio_machine *machine, const struct stat *st);
/* Is its memory away at the moment, or gone? */
bool vfio_export_revoked(struct vfio_device_export *export);
uint64_t vfio_export_size(const struct vfio_device_export *export); /* bytes, all ranges */
/* [@offset, +@len) of it, page aligned, as memory that is latched (D.4).  -ENODEV: revoked;
 * -EOPNOTSUPP: it has several ranges; -EINVAL: beyond its end; -ENOMEM.  0: as
 * vfio_device_memory(). */
int vfio_export_memory(struct vfio_device_export *export, uint64_t offset, uint64_t len,
		       struct iommu_mem *out);

/* ---- for the room ---- */

/* A file, and what is behind it. */
struct memory_file {
	LIST_ENTRY(memory_file) link;
	uint64_t id[2];                    /* st_dev, st_ino */
	struct vfio_device *dev;           /* NULL: claimed only */
	struct vfio_device_export *export; /* NULL: the view */
};
LIST_HEAD(memory_files, memory_file);
#define MEMORY_FILE_BUCKETS 64u

/* Of a device. */
struct device_memory {
	/* Counts up whenever its memory goes away and comes back: odd while it is away.  Written
	 * under reg_lock. */
	_Atomic uint64_t epoch;
	/* machine->memory_lock. */
	struct memory_file view;
	bool has_view;
	bool open; /* for VFIO */
	unsigned nr_exports;
	/* Those that come back, which is one unless it is being freed; and those that are latched,
	 * the newest first: however many there are, only the first ones are looked at. */
	LIST_HEAD(memory_peers, memory_peer) peers[2];
	LIST_HEAD(, vfio_device_export) exports;
};

/* @fd is of a file in which there will be a view, and until then, and afterwards, nobody's memory:
 * vfio_device_memory() is -EFAULT.  So that nobody maps it as a file of pages beforehand, past the
 * gate.  @file, zeroed, is the caller's until @fd is -1, which ends it.  0 or -errno. */
int device_memory_claim(struct vfio_machine *machine, struct memory_file *file, int fd);
void device_memory_init(struct vfio_device *dev);
/* Note whether memory can be accessed; reg_lock held. */
void device_memory_note(struct vfio_device *dev, bool on);
static inline bool device_memory_away(const struct device_memory *memory)
{
	return atomic_load(&((struct device_memory *)(uintptr_t)memory)->epoch) & 1;
}
/* Its view is in @fd from now on (-1: in none).  config_lock held.  0 or -errno. */
int device_memory_view(struct vfio_device *dev, int fd);
/* VFIO has opened it. */
void device_memory_open(struct vfio_device *dev);
/* The last close, or it was pulled out: ends everything that has to do with its memory; afterwards
 * nobody is in it.  Not from its work context. */
void device_memory_close(struct vfio_device *dev);

#endif
