/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Interrupts of one open device (A.8): what a user asked for with SET_IRQS, and delivery.
 *
 * An interrupt is a right, not a write: clients hand in eventfds, and delivery is governed by
 * SET_IRQS and by what the device may do at the moment (irq_set_gate).  A raise on a vector that is
 * enabled but masked, or has no eventfd, sets its pending bit and fires when that changes.
 *
 * Locks: the set's mutex is held by irq_set_irqs(), irq_disable_all() and irq_set_free(), which may
 * wait for an RCU grace period; not from a read side section.  Everything else ("leaf") takes no
 * lock that is held across a call out of this room, and may be called under any lock and from any
 * thread. So the order is: set's mutex → (ops) device config mutex → leaf functions.
 *
 * irq_raise() finds the eventfd under RCU; an eventfd that is replaced is closed, and SET_IRQS
 * returns, only when no raise can still use it.  (Of many, closing goes on meanwhile.)  A client
 * that fills its eventfd's counter delays nobody.
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

/* What the set must know of the device; read live.  Called with the set's mutex possibly held: they
 * call only leaf functions of this room. */
struct irq_ops {
	unsigned (*count)(void *arg, unsigned index); /* INTX, MSI: pin, 1<<MMC */
	bool (*is_pcie)(void *arg);
	bool (*power_d0)(void *arg);
	/* How many of @wanted vectors the host has for MSI or MSI-X; NULL: all of them. */
	unsigned (*grant)(void *arg, unsigned index, unsigned wanted);
	/* The mode that became active (VFIO_PCI_MSI_IRQ_INDEX, …, or -1) and its vectors: hardware
	 * enable bits and MME follow (pci_set_irq_mode()). */
	void (*mode_changed)(void *arg, int mode, unsigned vectors);
};

/* Takes the client's eventfd number @fd and returns an fd of our own (close-on-exec), -EBADF, or
 * -EINVAL when it is not an eventfd. */
typedef int (*irq_get_eventfd)(void *client, int32_t fd);

/* @ctx: where unmask eventfds are watched.  @msix_vectors: as many as the table has entries; all of
 * them exist until irq_msix_resize(). */
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

/* ---- leaf functions: any thread, any lock ---- */

/* The device raises message vector @vector (the active mode's). */
void irq_raise(struct irq_set *set, unsigned vector);
/* The device's INTx line. */
void irq_intx_level(struct irq_set *set, bool level);
/* The same for one delivery: asserted until the eventfd has been signalled for it. */
void irq_intx_pulse(struct irq_set *set);
/* INTx stays asserted until it has been delivered @count times more; how often that is. */
void irq_intx_storm(struct irq_set *set, unsigned count);
unsigned irq_intx_storm_left(struct irq_set *set);
bool irq_intx_line(struct irq_set *set); /* STATUS.INTx */
/* Why the host holds delivery of INTx up. */
enum irq_hold {
	IRQ_HOLD_ASLEEP = 1, /* the device is suspended (A.10) */
	IRQ_HOLD_QUIET = 2,  /* it is to be moved: a state that starts no interrupts (E.3.64) */
};
/* Hold it up, or not any more, for this reason; it goes on when there is none left.  What a user
 * sees of the mask does not change. */
void irq_intx_hold(struct irq_set *set, enum irq_hold why, bool hold);
/* The virtual DisINTx changed: masks or unmasks (A.8: there is one mask state).  The set keeps it;
 * it starts clear. */
void irq_intx_disable(struct irq_set *set, bool disabled);
/* First open: the host clears hardware DisINTx, which the last user's mask may have left set (A.3).
 */
void irq_intx_open(struct irq_set *set);
/* What hardware DisINTx of a 2.3 device shows: the mask while INTx is active, the virtual DisINTx
 * while nothing is, set while MSI or MSI-X is. */
bool irq_intx_masked(struct irq_set *set);
/* May messages be delivered now (bus mastering on, D0, not in reset)?  While not, raises become
 * pending; they fire when the gate opens.  Starts closed. */
void irq_set_gate(struct irq_set *set, bool open);
/* MSI Enable and mask dword as hardware has them (pci_msi_state()): vectors are held back by them.
 */
void irq_msi_config(struct irq_set *set, bool enabled, uint32_t mask);
uint32_t irq_msi_pending(struct irq_set *set);
/* A reset of the device clears pending bits, the INTx line and the client's MSI-X masks; triggers
 * and the INTx mask state stay (A.5). */
void irq_reset(struct irq_set *set);
/* -1 or the active index of INTX, MSI, MSIX; *@vectors (may be NULL) how many are allocated. */
int irq_active(struct irq_set *set, unsigned *vectors);
/* For the MSI capability's clamping: MSI active, and log2 of its last allocation (A.7). */
bool irq_msi_active(struct irq_set *set, unsigned *log2_allocated);

/* ERR and REQ: signal the eventfd if one is set; true when it was. */
bool irq_signal_err(struct irq_set *set);
bool irq_signal_req(struct irq_set *set);

/* The MSI-X table and PBA as the device's BAR shows them.  16 bytes a vector, @off 4-byte aligned;
 * a client that writes the vector control word through a mapping gates delivery by it from then on,
 * until the vector's eventfd is set anew.  Beyond the table: reads 0, writes dropped. */
uint32_t irq_msix_table_read(struct irq_set *set, unsigned off);
void irq_msix_table_write(struct irq_set *set, unsigned off, uint32_t value);
uint64_t irq_msix_pba_read(struct irq_set *set, unsigned off); /* @off 8-byte aligned */
/* From now on there are @vectors MSI-X vectors (B), at most as many as the table has entries. Those
 * beyond are gone at once, whatever SET_IRQS has done with them: raises are counted as refused,
 * their entries read as 0 and cannot be written, their pending bits are 0, SET_IRQS does not know
 * them. Those that are new have nothing of what earlier ones at their places had.  Never waits. */
void irq_msix_resize(struct irq_set *set, unsigned vectors);
unsigned irq_msix_vectors(struct irq_set *set);

uint64_t irq_delivered(struct irq_set *set, unsigned index, unsigned vector); /* count */
/* Raises that were refused: vector not granted, or an eventfd that could not be written. */
uint64_t irq_dropped(struct irq_set *set);

struct irq_state {
	unsigned count;     /* what there is: pin, 1 << MMC, MSI-X vectors, 1 */
	unsigned vectors;   /* that SET_IRQS has enabled; 0: not the active mode */
	uint64_t delivered; /* of all vectors, ever */
	bool masked;        /* INTx */
	bool line;          /* INTx: asserted */
};
/* What has become of interrupt @index.  Counts are summed up without stopping delivery. */
void irq_observe(struct irq_set *set, unsigned index, struct irq_state *out);
struct irq_vector_state {
	unsigned vector;
	bool eventfd, masked, pending;
	uint64_t delivered;
};
/* The vectors from @first on of which there is something to tell (an eventfd, a mask, a pending
 * bit, a delivery): how many of at most @max are in @out.  Go on behind the last one. */
unsigned irq_observe_vectors(struct irq_set *set, unsigned index, unsigned first,
			     struct irq_vector_state *out, unsigned max);

/* ---- end of leaf functions ---- */

/* Last close: everything off, the virtual DisINTx and the last MSI allocation forgotten. */
void irq_disable_all(struct irq_set *set);

#endif
