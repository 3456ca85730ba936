/* SPDX-License-Identifier: BSD-3-Clause */
/* Making an interrupt set, and its end. */
#include <errno.h>
#include <stdlib.h>

#include "irq/irq_private.h"

static int messages_init(struct irq_messages *m, unsigned index, unsigned n, unsigned limit)
{
	m->index = index;
	m->n = n;
	atomic_init(&m->limit, limit);
	m->v = calloc(n + 1u, sizeof(*m->v));
	return m->v ? 0 : -ENOMEM;
}

struct irq_set *irq_set_new(const struct irq_ops *ops, void *ops_arg, struct uvfio_ctx *ctx,
			    unsigned msix_vectors, bool msix_dynamic)
{
	struct irq_set *set;

	if (msix_vectors > IRQ_MAX_MSIX)
		return NULL;
	set = calloc(1, sizeof(*set));
	if (!set)
		return NULL;
	pthread_mutex_init(&set->lock, NULL);
	pthread_mutex_init(&set->intx.lock, NULL);
	pthread_mutex_init(&set->resize_lock, NULL);
	irq_closer_init(&set->closer);
	set->ops = *ops;
	set->arg = ops_arg;
	set->ctx = ctx;
	set->dynamic = msix_dynamic;
	atomic_init(&set->mode, IRQ_NO_MODE);
	set->table = calloc(4u * msix_vectors + 1, sizeof(*set->table));
	if (messages_init(&set->msi, VFIO_PCI_MSI_IRQ_INDEX, IRQ_MAX_MSI, 0) ||
	    messages_init(&set->msix, VFIO_PCI_MSIX_IRQ_INDEX, msix_vectors, msix_vectors) ||
	    !set->table) {
		irq_set_free(set);
		return NULL;
	}
	for (unsigned i = 0; i < msix_vectors; i++)
		irq_table_host(set, i, false);
	return set;
}

void irq_set_free(struct irq_set *set)
{
	if (!set)
		return;
	if (set->msi.v && set->msix.v && set->table)
		irq_disable_all(set);
	irq_closer_fini(&set->closer);
	pthread_mutex_destroy(&set->resize_lock);
	pthread_mutex_destroy(&set->intx.lock);
	pthread_mutex_destroy(&set->lock);
	free(set->msi.v);
	free(set->msix.v);
	free(set->table);
	free(set);
}
