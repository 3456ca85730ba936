/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What has become of the interrupts, for listings.  Everything is read as raises see it, without a
 * lock that delivery takes for longer than a few instructions.
 */
#include "irq/irq_private.h"

static struct irq_messages *messages_of(struct irq_set *set, unsigned index)
{
	switch (index) {
	case VFIO_PCI_MSI_IRQ_INDEX:
		return &set->msi;
	case VFIO_PCI_MSIX_IRQ_INDEX:
		return &set->msix;
	default:
		return NULL;
	}
}

static void observe_intx(struct irq_set *set, struct irq_state *out)
{
	pthread_mutex_lock(&set->intx.lock);
	out->vectors = set->intx.active;
	out->masked = set->intx.masked;
	out->line = set->intx.line;
	pthread_mutex_unlock(&set->intx.lock);
	out->delivered = atomic_load(&set->intx.delivered);
}

void irq_observe(struct irq_set *set, unsigned index, struct irq_state *out)
{
	const struct irq_messages *m = messages_of(set, index);
	unsigned vectors;
	struct vfio_irq_info info = {.argsz = sizeof(info), .index = index};

	*out = (struct irq_state){0};
	if (!irq_get_info(set, &info))
		out->count = info.count;
	switch (index) {
	case VFIO_PCI_INTX_IRQ_INDEX:
		observe_intx(set, out);
		break;
	case VFIO_PCI_ERR_IRQ_INDEX:
		out->vectors = atomic_load(&set->err) != NULL;
		out->delivered = atomic_load(&set->err_delivered);
		break;
	case VFIO_PCI_REQ_IRQ_INDEX:
		out->vectors = atomic_load(&set->req) != NULL;
		out->delivered = atomic_load(&set->req_delivered);
		break;
	default:
		if (!m)
			return;
		if (irq_active(set, &vectors) == (int)index)
			out->vectors = vectors;
		for (unsigned i = 0; i < m->n; i++)
			out->delivered +=
				atomic_load_explicit(&m->v[i].delivered, memory_order_relaxed);
	}
}

unsigned irq_observe_vectors(struct irq_set *set, unsigned index, unsigned first,
			     struct irq_vector_state *out, unsigned max)
{
	struct irq_messages *m = messages_of(set, index);
	unsigned n = 0;

	for (unsigned i = first; m && i < m->n && n < max && irq_vector_exists(m, i); i++) {
		struct irq_vector *v = &m->v[i];

		out[n] = (struct irq_vector_state){
			.vector = i,
			.eventfd = atomic_load(&v->trigger) != NULL,
			.masked = atomic_load(&v->masked),
			.pending = atomic_load(&m->pending[i / 64]) >> (i % 64) & 1,
			.delivered = atomic_load(&v->delivered),
		};
		if (out[n].eventfd || out[n].masked || out[n].pending || out[n].delivered)
			n++;
	}
	return n;
}
