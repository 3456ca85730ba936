/* SPDX-License-Identifier: BSD-3-Clause */
/* Accesses to a BAR, as the files of this room share them; a part of machine_private.h. */
#ifndef UVFIO_VFIO_BAR_ACCESS_H
#define UVFIO_VFIO_BAR_ACCESS_H

#include <linux/pci_regs.h>
#include "vfio/machine_private.h"

enum patience { WAIT, NO_WAIT };

/* Is byte @off, in @range of a BAR, one of the MSI-X table that read and write hide (A.6)?  It is
 * what the table was when the device was opened. */
static inline bool bar_hides(const struct vfio_device *dev, const struct range *range, uint64_t off)
{
	return range->kind == RANGE_MSIX_TABLE &&
	       off - range->first < dev->msix_window * PCI_MSIX_ENTRY_SIZE;
}

/* One naturally aligned piece inside one range; reg_lock held, the gate looked at.  @mapped:
 * through a mapping, where the MSI-X table is the hardware's. */
uint64_t bar_read_piece(struct vfio_device *dev, unsigned index, uint64_t off, unsigned size,
			bool mapped);
void bar_write_piece(struct vfio_device *dev, unsigned index, uint64_t off, unsigned size,
		     uint64_t value, bool mapped);
/* A write of up to 8 bytes, cut into such pieces; the same. */
void bar_write_locked(struct vfio_device *dev, unsigned index, uint64_t off, unsigned len,
		      uint64_t value);
/* A store to the MSI-X table, at @off of it; reg_lock held. */
void bar_write_msix(struct vfio_device *dev, uint64_t off, unsigned size, uint64_t value);

/* reg_lock is held, and let go while a reset is going on.  What that waits for may be work that
 * this thread has put off. */
void bar_wait_gate(struct vfio_device *dev);

/* Access [@off, @off + @len) of BAR @index, which has it.  The bytes done: @len, but for those that
 * do not wait; -EIO; -EAGAIN. */
ssize_t bar_access(struct vfio_device *dev, unsigned index, uint64_t off, void *buf, size_t len,
		   bool write, bool mapped, enum patience patience);

/* [@dev's work context] A part of a transfer of some device's to the view's @offset, inside a BAR
 * that can be mapped.  What can be done is what can be done through a mapping.  @epoch: when the
 * memory must not have been away since, or UINT64_MAX.  How many bytes were done, at least 1, or
 * -ENODEV when the memory is away.  Never waits; takes a microsecond or two, and what the model's
 * callbacks take. */
ssize_t bar_peer_access(struct vfio_device *dev, uint64_t epoch, uint64_t offset, void *buf,
			size_t len, bool write);
/* [any] The same of memory only, if it can be had at once: how many bytes were done, 0 when not
 * even one.  Never waits, and calls no model. */
size_t bar_peer_copy(struct vfio_device *dev, uint64_t epoch, uint64_t offset, void *buf,
		     size_t len, bool write);

#endif
