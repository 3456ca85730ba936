/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The interrupts of a device that goes on elsewhere: what SET_IRQS, the device and the client made
 * of a set (A.8), taken from one and put into another.  Eventfds are apart, because they can only
 * go to another process of the same host.
 */
#ifndef UVFIO_IRQ_KEEP_H
#define UVFIO_IRQ_KEEP_H

#include "irq/irq.h"
#include "migration/stream.h"
#include <uvfio/error.h>

#define IRQ_KEPT_VECTORS 2048u
#define IRQ_KEPT_WORDS   (IRQ_KEPT_VECTORS / 64)

struct irq_kept {
	int mode;                              /* -1, or the active index of INTX, MSI, MSIX */
	unsigned msi_log2;                     /* of the last allocation of MSI */
	bool line, pulse, masked, hw_disabled; /* INTx */
	unsigned storm;                        /* deliveries of INTx that were asked for */
	bool intx_eventfd, err_eventfd, req_eventfd;
	uint32_t msi_allocated, msi_eventfd, msi_pending; /* bit @i: vector @i */
	unsigned nr_msix;
	uint64_t allocated[IRQ_KEPT_WORDS], eventfd[IRQ_KEPT_WORDS], masked_msix[IRQ_KEPT_WORDS],
		pending[IRQ_KEPT_WORDS];
	uint32_t table[4 * IRQ_KEPT_VECTORS];
};

/* What @set is now.  Nothing may be raised meanwhile: the device is quiet.  Takes the set's mutex.
 */
void irq_keep(struct irq_set *set, struct irq_kept *out);
/* A descriptor of ours on the eventfd of a vector, the caller's to close; -ENOENT: it has none;
 * -errno.  @index INTX, @vector 1: the one that unmasks. */
int irq_keep_eventfd(struct irq_set *set, unsigned index, unsigned vector);

/* The contents of a section, and back: 0, or -EINVAL with a message, when it is none that @set
 * could have. */
void irq_kept_write(const struct irq_kept *kept, struct mig_buf *out);
int irq_kept_read(struct irq_set *set, struct mig_in *in, struct irq_kept *out,
		  struct uvfio_error *err);

/*
 * Make @set, of which no mode is active, what @kept says.  @take is asked for each eventfd (as
 * irq_keep_eventfd() numbers them; only for vectors that had one): a descriptor, which is the set's
 * then, or -errno: that vector has none.  NULL: there are no eventfds, and so no mode either:
 * masks, the table and what is pending are there for the SET_IRQS that follows.  @intx_disabled:
 * virtual DisINTx.  0, or -ENOMEM.  Takes the set's mutex; the gate is shut.
 */
int irq_keep_put(struct irq_set *set, const struct irq_kept *kept, bool intx_disabled,
		 int (*take)(void *arg, unsigned index, unsigned vector), void *arg);

#endif
