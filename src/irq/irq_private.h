/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the files of this room share.
 *
 * Theory of operation.  A *trigger* is an fd of ours on a client's eventfd.  A vector points to its
 * trigger; who delivers reads the pointer in an RCU read section and writes the eventfd there.  Who
 * takes a trigger away (only under the set's mutex) puts it on a list, and when the request is done
 * waits once for a grace period and closes all of them, or has them closed.  So no eventfd is
 * written after SET_IRQS returned, no fd is closed under a writer, and 2,048 vectors cost one wait.
 *
 * Pending.  A vector is *deliverable* when its mode is active, it has a trigger, it is not masked
 * and the gate is open.  A raise that finds it is not sets the pending bit and looks again; whoever
 * makes a vector deliverable looks at the pending bit afterwards.  All four accesses are
 * sequentially consistent, so one of the two sees the other, and who clears the bit delivers: no
 * interrupt is lost and none is doubled.
 */
#ifndef UVFIO_IRQ_IRQ_PRIVATE_H
#define UVFIO_IRQ_IRQ_PRIVATE_H

#include <pthread.h>
#include <stdatomic.h>
#include <time.h>

#include "base/rcu.h"
#include "base/trash.h"
#include "irq/irq.h"

#define IRQ_NO_MODE  (-1)
#define IRQ_MAX_MSI  32u
#define IRQ_MAX_MSIX 2048u

/* A client whose eventfds have held us up so often fills them on purpose: it gets no more. */
#define IRQ_MAX_STALLS 16u

struct irq_trigger {
	int fd;
	struct irq_trigger *next; /* in a list of dead ones */
};

struct irq_vector {
	_Atomic(struct irq_trigger *) trigger;
	_Atomic uint64_t delivered;
	atomic_bool masked;    /* by the client: MSI mask bit, MSI-X vector control */
	atomic_bool allocated; /* by SET_IRQS, under the set's mutex; off also by resize.c */
};

/* The vectors of MSI or of MSI-X; they live as long as the set. */
struct irq_messages {
	unsigned index;      /* VFIO_PCI_MSI_IRQ_INDEX or VFIO_PCI_MSIX_IRQ_INDEX */
	unsigned n;          /* entries in v */
	atomic_uint limit;   /* vectors that the device may raise: MSI as allocated, MSI-X those
			      * that there are (resize.c) */
	atomic_bool enabled; /* the hardware enable bit; MSI-X: always */
	struct irq_vector *v;
	_Atomic uint64_t pending[IRQ_MAX_MSIX / 64];
};

/* INTx; @lock is a leaf and is never held while an eventfd is written. */
struct irq_intx {
	pthread_mutex_t lock;
	bool active;
	bool line;          /* asserted by the device */
	unsigned held;      /* not now, enum irq_hold: irq_intx_hold() */
	bool pulse;         /* until it is delivered (irq_intx_pulse()) */
	unsigned storm;     /* asserted besides, until delivered so often */
	bool masked;        /* by MASK, automask or virtual DisINTx: one state (A.8) */
	bool virt_disabled; /* virtual DisINTx */
	bool hw_disabled;   /* what hardware DisINTx of a 2.3 device would be */
	_Atomic(struct irq_trigger *) trigger;
	_Atomic uint64_t delivered;
};

struct irq_unmask;

/* Who closes many eventfds: a trash's thread.  Filled under the set's mutex. */
struct irq_closer {
	struct uvfio_trash *trash; /* made with the first ones; set's mutex */
	struct uvfio_trash_item item;
	pthread_mutex_t lock; /* a leaf */
	pthread_cond_t hurry;
	/* Under @lock. */
	struct irq_trigger *dead;
	unsigned listed;       /* in @dead: @item is in the trash, or about to be */
	unsigned nr;           /* those that are being closed, too */
	struct timespec quiet; /* CLOCK_MONOTONIC: not before, but in a hurry */
	bool hurried;
};

struct irq_set {
	/* Read by every raise. */
	_Atomic(struct irq_messages *) active; /* NULL unless MSI or MSI-X is the mode */
	atomic_bool gate;
	atomic_uint stalls; /* how often a client's full eventfd has held a write up */

	pthread_mutex_t lock;
	struct irq_ops ops;
	void *arg;
	struct uvfio_ctx *ctx;
	bool dynamic; /* MSI-X vectors can be added while active */
	atomic_int mode;
	atomic_uint msi_log2; /* of the last MSI allocation */
	_Atomic uint64_t dropped;

	struct irq_messages msi, msix;
	pthread_mutex_t resize_lock;           /* a leaf: one change of msix.limit at a time */
	_Atomic(struct irq_trigger *) orphans; /* of vectors that have gone */
	_Atomic uint32_t *table;               /* MSI-X: four dwords a vector */
	struct irq_intx intx;
	struct irq_closer closer;
	struct irq_unmask *unmask; /* the registered unmask eventfd; set's mutex */
	_Atomic(struct irq_trigger *) err, req;
	_Atomic uint64_t err_delivered, req_delivered;
};

/* ---- deliver.c ---- */

/* Signal @trigger, in an RCU read section or under the set's mutex. */
void irq_signal(struct irq_set *set, struct irq_trigger *trigger, _Atomic uint64_t *delivered);
/* Deliver the pending ones that have become deliverable. */
void irq_flush(struct irq_set *set);
void irq_flush_vector(struct irq_set *set, struct irq_messages *m, unsigned vector);

/* ---- trigger.c: all under the set's mutex ---- */

/* Owns @fd. */
struct irq_trigger *irq_trigger_new(int fd);
void irq_trigger_free(struct irq_trigger *trigger);
/* Point @slot to @trigger (may be NULL); what was there is put on @dead. */
void irq_trigger_swap(_Atomic(struct irq_trigger *) *slot, struct irq_trigger *trigger,
		      struct irq_trigger **dead);
/* Close what nobody uses any more. */
void irq_trigger_close_all(struct irq_trigger *dead);

/* ---- closer.c: under the set's mutex, but for init and fini ---- */

void irq_closer_init(struct irq_closer *closer);
/* After irq_closer_wait(), or nothing was given to it. */
void irq_closer_fini(struct irq_closer *closer);
/* Wait until nobody uses them, then close them, or have @closer (may be NULL) do that.
 * Nothing to do: no wait. */
void irq_trigger_reap(struct irq_closer *closer, struct irq_trigger *dead);
/* What it was to close is closed. */
void irq_closer_wait(struct irq_closer *closer);

/* ---- intx.c ---- */

/* The device's INTx becomes the active mode. */
void irq_intx_enable(struct irq_set *set);
void irq_intx_stop(struct irq_set *set);
void irq_intx_mask(struct irq_set *set);
void irq_intx_unmask(struct irq_set *set);
/* SET_IRQS TRIGGER without an eventfd: signal, even while masked, not while virtual DisINTx is set.
 */
void irq_intx_loopback(struct irq_set *set);
/* MSI or MSI-X was enabled (the host sets DisINTx) or disabled (it clears it). */
void irq_intx_for_message(struct irq_set *set, bool enabled);

/* ---- unmask.c: INTx UNMASK by eventfd; under the set's mutex ---- */

/* Registers; nothing is registered.  Owns @fd, an eventfd, also on failure.  @client_fd: the
 * client's number for it.  0 or -errno. */
int irq_unmask_add(struct irq_set *set, int fd, int32_t client_fd);
/* Is @fd the same file as the registered one?  False when that cannot be known. */
bool irq_unmask_same(struct irq_set *set, int fd);
/* The client's number for the registered one, -1: none. */
int32_t irq_unmask_client_fd(struct irq_set *set);
void irq_unmask_remove(struct irq_set *set);
/* A descriptor more on the registered one; -ENOENT: there is none. */
int irq_unmask_dup(struct irq_set *set);

/* ---- resize.c ---- */

/* Is @vector (below @m->n) one that there is?  Of MSI there always are all. */
bool irq_vector_exists(struct irq_messages *m, unsigned vector);
/* Put the eventfds of vectors that have gone on @dead.  Under the set's mutex. */
void irq_take_orphans(struct irq_set *set, struct irq_trigger **dead);

/* ---- table.c ---- */

/* The entry of a vector is as after power-on. */
void irq_table_clear(struct irq_set *set, unsigned vector);

/* The host writes (set) or masks (cleared) the entry of a vector. */
void irq_table_host(struct irq_set *set, unsigned vector, bool set_up);

#endif
