/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Interrupts of one open device (A.8): what a user asked for with SET_IRQS, and delivery.
 *
 * An interrupt is a right, not a write: clients hand in eventfds, and delivery is governed by
 * SET_IRQS and by what the device may do at the moment (irq_set_gate).  A raise on a vector that is
 * enabled but masked, or has no eventfd, sets its pending bit and fires when that changes.
 *
 * Locks: SET_IRQS and everything that changes configuration hold the set's mutex.  irq_raise() takes
 * no lock when it delivers: it finds the eventfd under RCU; an eventfd that is replaced is closed
 * only when no raise can still use it.  A client that fills its eventfd's counter delays nobody.
 */
#ifndef UVFIO_IRQ_IRQ_H
#define UVFIO_IRQ_IRQ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <linux/vfio.h>
#include "base/ctx.h"

struct irq_set;

#define IRQ_NUM 5 /* VFIO_PCI_NUM_IRQS */

/* What the set must know of the device; read live, every member must be set.  May be called with the
 * set's mutex held, so they must not call back into it. */
struct irq_ops {
	unsigned (*count)(void *arg, unsigned index); /* GET_IRQ_INFO's count: pin, 1<<MMC, QSIZE+1 */
	bool (*is_pcie)(void *arg);
	bool (*power_d0)(void *arg);
	bool (*intx_disabled)(void *arg);	/* the virtual DisINTx */
	/* The mode that became active (VFIO_PCI_MSI_IRQ_INDEX, …, or -1) and its vectors: hardware
	 * enable bits, MME and the table follow. */
	void (*mode_changed)(void *arg, int mode, unsigned vectors);
	void (*intx_asserted)(void *arg, bool masked); /* hardware DisINTx follows the mask */
};

/* Takes the client's eventfd number @fd and returns an fd of our own (close-on-exec), -EBADF, or
 * -EINVAL when it is not an eventfd. */
typedef int (*irq_get_eventfd)(void *client, int32_t fd);

/* @ctx: where unmask eventfds are watched. */
struct irq_set *irq_set_new(const struct irq_ops *ops, void *ops_arg, struct uvfio_ctx *ctx,
			    unsigned msix_vectors, bool msix_dynamic);
void irq_set_free(struct irq_set *set);

/* GET_IRQ_INFO: -EINVAL per A.8. */
int irq_get_info(struct irq_set *set, struct vfio_irq_info *info);
/* SET_IRQS: checks 1 to 4 and the action.  @hdr has been copied by the caller (argsz ≥ 20 checked
 * here first); @data is fetched through @copy only when the rules say that it is read: it must
 * copy @len bytes that follow the header, 0 or -EFAULT.  Returns 0, -errno, or the positive number
 * of vectors that are available. */
int irq_set_irqs(struct irq_set *set, const struct vfio_irq_set *hdr,
		 int (*copy)(void *client, void *dst, size_t len), irq_get_eventfd get_eventfd,
		 void *client);

/* The device raises message vector @vector (the active mode's).  Any thread; never waits. */
void irq_raise(struct irq_set *set, unsigned vector);
/* The device's INTx line. */
void irq_intx_level(struct irq_set *set, bool level);
/* The virtual DisINTx changed: masks or unmasks (A.8: there is one mask state). */
void irq_intx_disable(struct irq_set *set, bool disabled);
/* May messages be delivered now (bus mastering on, D0, not in reset)?  While not, raises become
 * pending. */
void irq_set_gate(struct irq_set *set, bool open);
/* A reset of the device clears pending bits; triggers stay (A.5). */
void irq_reset(struct irq_set *set);
/* Last close: everything off. */
void irq_disable_all(struct irq_set *set);
/* -1 or the active index of INTX, MSI, MSIX; *@vectors how many are allocated. */
int irq_active(struct irq_set *set, unsigned *vectors);

/* ERR and REQ: signal the eventfd if one is set; true when it was. */
bool irq_signal_err(struct irq_set *set);
bool irq_signal_req(struct irq_set *set);

/* The MSI-X table and PBA as the device's BAR shows them.  16 bytes a vector; a client that writes
 * the vector control word through a mapping gates delivery by it from then on. */
uint32_t irq_msix_table_read(struct irq_set *set, unsigned off);
void irq_msix_table_write(struct irq_set *set, unsigned off, uint32_t value);
uint64_t irq_msix_pba_read(struct irq_set *set, unsigned off); /* @off 8-byte aligned */
uint64_t irq_delivered(struct irq_set *set, unsigned index, unsigned vector); /* count */

#endif
