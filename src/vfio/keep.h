/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A device that goes on elsewhere without its user's noticing: what the user sees of it besides the
 * model's state, its memory and its pending interrupts (migrate.h), as two sections of the same
 * stream:
 *
 *	.CFG	config space, real and virtual, and low power (pci/keep.c)
 *	.INT	what SET_IRQS made of its interrupts, without the eventfds (irq/keep.c)
 *
 * Only an operator's move has them: a user that moves its device itself restores all that (E.1).
 *
 *	NOTHING ──load, both──▶ ASIDE ──commit──▶ READY ──an open that continues──▶ PUT ──master──▶
 *(gone) ▲                                       └── a reset, any other open ──▶ NOTHING
 *
 * So what was loaded takes effect when somebody opens the device who wants to go on with it
 * (struct open_with), in place of the reset of that open (A.3), once.  Until the device has its
 * user's memory and eventfds again it does no DMA: bus mastering is off, and the user sets it.
 *
 * config_lock is held by the caller of all functions that do not say otherwise.
 */
#ifndef UVFIO_VFIO_KEEP_H
#define UVFIO_VFIO_KEEP_H

#include <stdbool.h>
#include "migration/stream.h"

#define KEEP_TAG_CONFIG MIG_TAG('.', 'C', 'F', 'G')
#define KEEP_TAG_IRQS   MIG_TAG('.', 'I', 'N', 'T')

struct vfio_device;
struct vfio_device_file;
struct device_keep;
struct iommu_kept;

/* The sections of @dev as it is now; it is quiet, and awake (device_access_begin()).  0; -EAGAIN:
 * it sleeps; -ENOMEM.  (What does not fit, @out says.) */
int vfio_keep_save(struct vfio_device *dev, struct mig_writer *out);
/* A section to keep aside, checked.  -ENOENT: it is none of these; -EBUSY: the device has a user;
 * -EINVAL, -ENOMEM; with a message.  A second one of a kind takes the place of the first. */
int vfio_keep_load(struct vfio_device *dev, struct mig_section *section, struct uvfio_error *err);
/* Both are aside and can be put into effect: 0, or -EINVAL with a message.  A stream without any is
 * one, too, if !@needed. */
int vfio_keep_check(struct vfio_device *dev, bool needed, struct uvfio_error *err);
/* What is aside is the device's now, for the next open that continues. */
void vfio_keep_commit(struct vfio_device *dev);
/* It is not needed any more, whatever state it is in. */
void vfio_keep_drop(struct vfio_device *dev);

/* ---- for the open ---- */

/* Does an open go on with what was loaded: it was open when it was saved. */
bool vfio_keep_ready(const struct vfio_device *dev);
/* [device_open.c] In place of the reset; dev->vconfig has just been made. */
void vfio_keep_put(struct vfio_device *dev);

/* ---- for a door that has the user's files itself; without config_lock ---- */

/* What the user's eventfds are called: (index, vector) of irq/keep.h, and this. */
#define KEEP_WAKEUP IRQ_NUM /* that of low power */
/* A descriptor of ours, the caller's; -ENOENT; -errno. */
int vfio_keep_eventfd(struct vfio_device *dev, unsigned index, unsigned vector);
/* The device of @df was continued: have the interrupts as they were, with the eventfds that @take
 * gives (irq_keep_put()).  0, -ENOMEM; -EINVAL: it was not, or has begun already. */
int vfio_keep_irqs(struct vfio_device_file *df,
		   int (*take)(void *arg, unsigned index, unsigned vector), void *arg);
/* iommu_keep() of what the user has mapped for @df. */
int vfio_keep_mappings(struct vfio_device_file *df, uint64_t iova, struct iommu_kept *out,
		       unsigned max);
/* Is DMA logging on (E.4)?  What was logged does not go along. */
bool vfio_keep_logs(struct vfio_device *dev);
/* What is known of the pages in which clients' stores are found by looking (VFIO_MMIO_POLLED), of a
 * device that stands still; and the same before vfio_keep_view(): clients may have stored since,
 * and that is found after vfio_keep_master().  -EINVAL: they are other pages; -ENOMEM. */
void vfio_keep_polled(struct vfio_device_file *df, struct mig_buf *out);
int vfio_keep_put_polled(struct vfio_device_file *df, struct mig_in *in);
/* Clients have mapped BARs by the file @fd, of the server before this one: it is the view here,
 * too. -EBUSY: there is one; -ENOMEM; -errno. */
int vfio_keep_view(struct vfio_device_file *df, int fd);
/* Bus mastering is again as it was, and with it DMA goes on. */
void vfio_keep_master(struct vfio_device_file *df);
/* Did the open of @df continue? */
bool vfio_device_file_continued(const struct vfio_device_file *df);

#endif
