/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What hardware does on a bad day, on demand.  Any thread; @dev is held (observe.h).
 */
#ifndef UVFIO_VFIO_INJECT_H
#define UVFIO_VFIO_INJECT_H

#include "vfio/vfio.h"

/* A PCI Express error: bits of the function's correctable or uncorrectable error status register,
 * and the header of the packet at fault (zeros will do). */
struct vfio_aer {
	bool correctable;
	uint32_t status;
	uint32_t header[4];
};

/* What became of it. */
enum vfio_aer_outcome {
	VFIO_AER_RECORDED,    /* masked, or its report not enabled: the host heard nothing */
	VFIO_AER_CORRECTABLE, /* the host has counted and cleared it; no user is told */
	VFIO_AER_NONFATAL,    /* users are told by ERR */
	VFIO_AER_FATAL,       /* the same, and the bus was reset */
	VFIO_AER_NR_OUTCOMES,
};
extern const char *const vfio_aer_outcomes[VFIO_AER_NR_OUTCOMES]; /* "recorded", … */

/*
 * Let the error occur in @dev (A.7, A.8).  What the host hears is decided by the error's mask and
 * severity and by the enable bits, all of which a user can write.  Of an uncorrectable error every
 * open function that the link leads to is told, by the ERR interrupt.  A fatal one resets them, and
 * nobody restores their config space: registers read as ones until a user turns memory decode on
 * again, which is when VFIO finds that the addresses are lost and restores them.  Functions that
 * nobody has open are restored at once.
 *
 * May wait for devices to become quiet.  0; -EOPNOTSUPP without advanced error reporting, -EINVAL
 * for an error that the function cannot have, -ENODEV when it was pulled out; with a message.
 */
int vfio_device_inject_aer(struct vfio_device *dev, const struct vfio_aer *aer,
			   enum vfio_aer_outcome *outcome, struct uvfio_error *err);

/*
 * Mishaps, which last until they have happened so often, or vfio_device_inject_nothing().  Giving
 * one anew replaces what is left of it.
 */

/* The next @count DMA transfers and pins fail with -EFAULT, recorded as injected. */
void vfio_device_inject_faults(struct vfio_device *dev, unsigned count);
/* The next @count resets of the function alone, also those at open and close, do not come back for
 * @ns and then fail: RESET is ENOTTY, an open goes on without (A.3).  Meanwhile accesses wait, as
 * for any reset.  The device is not reset. */
#define VFIO_STUCK_MAX_NS 60000000000ull
void vfio_device_inject_stuck_resets(struct vfio_device *dev, unsigned count, uint64_t ns);
/* Each access of a client's to a BAR that is not a load from a mapping takes @ns longer; 0: as
 * ever. */
#define VFIO_SLOW_MAX_NS 1000000000ull
void vfio_device_inject_slow_mmio(struct vfio_device *dev, uint64_t ns);
/* Interrupts that the device has no reason for: of every vector that SET_IRQS has enabled, at once,
 * @count times; or INTx, which stays asserted until it has been delivered @count times more.  Waits
 * for nobody.  -EINVAL with a message while no interrupt is enabled. */
#define VFIO_STORM_MAX 100000u
int vfio_device_inject_irqs(struct vfio_device *dev, unsigned count, struct uvfio_error *err);
/* Vector @vector of the mode that is enabled, MSI or MSI-X, once, as if the device had raised it.
 * Never waits. */
void vfio_device_inject_irq(struct vfio_device *dev, unsigned vector);
/* A power management event (PME): the device, suspended by low power (A.10), asks to be woken. With
 * a wakeup eventfd that ends low power and signals it; otherwise the host finds nothing to do, and
 * the device is suspended again.  False: it was awake, and nothing has happened.  May wait for a
 * reset. */
bool vfio_device_inject_wake(struct vfio_device *dev);
/* No more of them; a reset that is stuck fails now. */
void vfio_device_inject_nothing(struct vfio_device *dev);
/* What is left to happen. */
struct vfio_injected {
	unsigned faults, stuck_resets, intx;
	uint64_t slow_ns;
};
void vfio_device_injected(struct vfio_device *dev, struct vfio_injected *out);

/* Linux's names of errors ("BadTLP", "CmpltTO", …), as its log has them: 0, or -EINVAL with a
 * message that lists them.  Letters' case does not matter. */
int vfio_aer_parse(const char *name, struct vfio_aer *out, struct uvfio_error *err);

#endif
