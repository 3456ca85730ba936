/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * GET_IRQ_INFO and SET_IRQS (A.8).
 *
 * A request is handled in two phases.  First, without a lock, what the client must be asked for:
 * its data are copied and its eventfds taken, up to the first that fails; this may take long. Then,
 * under the set's mutex, the rules are applied in their order, and a failure of the first phase
 * surfaces where the rule looks at that eventfd.  What the request takes away is closed at the end,
 * after one grace period.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "irq/irq_private.h"

#define MIN_INFO    (offsetof(struct vfio_irq_info, count) + sizeof(uint32_t))
#define MIN_SET     (offsetof(struct vfio_irq_set, count) + sizeof(uint32_t))

#define DATA_BITS   VFIO_IRQ_SET_DATA_TYPE_MASK
#define ACTION_BITS VFIO_IRQ_SET_ACTION_TYPE_MASK

/* A request in its second phase. */
struct request {
	unsigned index, start, count, data; /* data: one of the DATA bits */
	const uint8_t *bools;
	const int32_t *fds;
	struct irq_trigger **triggers; /* of @fds, in their place; NULL once used */
	unsigned taken;                /* eventfds that were taken; beyond: @error */
	int error;
	int before; /* UNMASK: the fd now behind the number of the registered one, or < 0 */
	int32_t before_number;
	struct irq_trigger *dead;
};

/* ---- counts ---- */

static unsigned count_of(struct irq_set *set, unsigned index)
{
	switch (index) {
	case VFIO_PCI_ERR_IRQ_INDEX:
		return set->ops.is_pcie(set->arg) ? 1 : 0;
	case VFIO_PCI_REQ_IRQ_INDEX:
		return 1;
	case VFIO_PCI_MSIX_IRQ_INDEX:
		return irq_msix_vectors(set);
	default:
		return set->ops.count(set->arg, index);
	}
}

int irq_get_info(struct irq_set *set, struct vfio_irq_info *info)
{
	if (info->argsz < MIN_INFO || info->index >= IRQ_NUM)
		return -EINVAL;
	if (info->index == VFIO_PCI_ERR_IRQ_INDEX && !set->ops.is_pcie(set->arg))
		return -EINVAL;
	info->flags = VFIO_IRQ_INFO_EVENTFD;
	if (info->index == VFIO_PCI_INTX_IRQ_INDEX)
		info->flags |= VFIO_IRQ_INFO_MASKABLE | VFIO_IRQ_INFO_AUTOMASKED;
	else if (info->index != VFIO_PCI_MSIX_IRQ_INDEX || !set->dynamic)
		info->flags |= VFIO_IRQ_INFO_NORESIZE;
	info->count = count_of(set, info->index);
	return 0;
}

/* ---- MSI and MSI-X ---- */

static struct irq_messages *messages(struct irq_set *set, unsigned index)
{
	return index == VFIO_PCI_MSI_IRQ_INDEX ? &set->msi : &set->msix;
}

static void set_mode(struct irq_set *set, int mode, unsigned vectors)
{
	atomic_store(&set->mode, mode);
	set->ops.mode_changed(set->arg, mode, vectors);
}

/* 0, -errno, or how many vectors there are. */
static int msg_enable(struct irq_set *set, struct irq_messages *m, unsigned want)
{
	unsigned have = want, log2 = 0;

	if (!want)
		return -ERANGE;
	if (!set->ops.power_d0(set->arg))
		return -EINVAL;
	if (set->ops.grant)
		have = set->ops.grant(set->arg, m->index, want);
	if (have < want)
		return have ? (int)have : -ENOSPC;

	for (unsigned i = 0; i < want; i++)
		atomic_store(&m->v[i].allocated, true);
	if (m == &set->msi) {
		while (1u << log2 < want)
			log2++;
		atomic_store(&set->msi_log2, log2);
		atomic_store(&m->limit, want);
	}
	atomic_store(&m->enabled, true);
	irq_intx_for_message(set, true);
	atomic_store(&set->active, m);
	set_mode(set, (int)m->index, want);
	return 0;
}

static void msg_disable(struct irq_set *set, struct irq_messages *m, struct irq_trigger **dead)
{
	atomic_store(&set->active, NULL);
	for (unsigned i = 0; i < m->n; i++) {
		if (m == &set->msix && atomic_load(&m->v[i].allocated))
			irq_table_host(set, i, false);
		irq_trigger_swap(&m->v[i].trigger, NULL, dead);
		atomic_store(&m->v[i].allocated, false);
	}
	/* Raises that still saw the mode may set pending bits until they have left. */
	uvfio_rcu_synchronize();
	for (unsigned i = 0; i < (m->n + 63) / 64; i++)
		atomic_store(&m->pending[i], 0);
	set_mode(set, IRQ_NO_MODE, 0);
	irq_intx_for_message(set, false);
}

/* One vector of a block: its old eventfd goes before the new one is looked at. */
static int msg_set_vector(struct irq_set *set, struct irq_messages *m, struct request *r,
			  unsigned i)
{
	struct irq_vector *v = &m->v[r->start + i];
	struct irq_trigger *trigger;

	irq_trigger_swap(&v->trigger, NULL, &r->dead);
	if (r->fds[i] < 0) {
		if (m == &set->msix && atomic_load(&v->allocated))
			irq_table_host(set, r->start + i, false);
		return 0;
	}
	if (!atomic_load(&v->allocated)) {
		if (m != &set->msix || !set->dynamic)
			return -EINVAL;
		atomic_store(&v->allocated, true);
	}
	if (i >= r->taken)
		return r->error;
	trigger = r->triggers[i];
	r->triggers[i] = NULL;
	if (m == &set->msix)
		irq_table_host(set, r->start + i, true);
	irq_trigger_swap(&v->trigger, trigger, &r->dead);
	/* It may have gone meanwhile: resize.c. */
	if (!irq_vector_exists(m, r->start + i)) {
		atomic_store(&v->allocated, false);
		return -EINVAL;
	}
	irq_flush_vector(set, m, r->start + i);
	return 0;
}

static int msg_set_block(struct irq_set *set, struct irq_messages *m, struct request *r)
{
	int ret = 0;
	unsigned i;

	for (i = 0; i < r->count && !ret; i++)
		ret = msg_set_vector(set, m, r, i);
	if (!ret)
		return 0;
	while (i-- > 0) {
		irq_trigger_swap(&m->v[r->start + i].trigger, NULL, &r->dead);
		if (m == &set->msix && atomic_load(&m->v[r->start + i].allocated))
			irq_table_host(set, r->start + i, false);
	}
	return ret;
}

static int msg_trigger(struct irq_set *set, struct request *r)
{
	struct irq_messages *m = messages(set, r->index);
	int mode = atomic_load(&set->mode), ret;

	/* They may have gone since they were counted. */
	if (r->start + r->count > m->n ||
	    !irq_vector_exists(m, r->start + r->count - (r->count > 0)))
		return -EINVAL;
	if (mode == (int)r->index && !r->count && r->data == VFIO_IRQ_SET_DATA_NONE) {
		msg_disable(set, m, &r->dead);
		return 0;
	}
	if (mode != (int)r->index && mode != IRQ_NO_MODE)
		return -EINVAL;
	if (r->data == VFIO_IRQ_SET_DATA_EVENTFD) {
		if (mode == (int)r->index)
			return msg_set_block(set, m, r);
		ret = msg_enable(set, m, r->start + r->count);
		if (ret)
			return ret;
		ret = msg_set_block(set, m, r);
		if (ret)
			msg_disable(set, m, &r->dead);
		return ret;
	}
	if (mode == IRQ_NO_MODE)
		return -EINVAL;
	/* Loopback. */
	for (unsigned i = 0; i < r->count; i++) {
		struct irq_vector *v = &m->v[r->start + i];
		struct irq_trigger *trigger = atomic_load(&v->trigger);

		if (trigger && (r->data == VFIO_IRQ_SET_DATA_NONE || r->bools[i]))
			irq_signal(set, trigger, &v->delivered);
	}
	return 0;
}

/* ---- INTx ---- */

static bool intx_active(struct irq_set *set)
{
	return atomic_load(&set->mode) == VFIO_PCI_INTX_IRQ_INDEX;
}

static void intx_stop(struct irq_set *set, struct irq_trigger **dead)
{
	irq_unmask_remove(set);
	irq_intx_stop(set);
	irq_trigger_swap(&set->intx.trigger, NULL, dead);
	set_mode(set, IRQ_NO_MODE, 0);
}

static int intx_trigger(struct irq_set *set, struct request *r)
{
	struct irq_trigger *trigger = NULL;
	bool active = intx_active(set);

	if (active && !r->count && r->data == VFIO_IRQ_SET_DATA_NONE) {
		intx_stop(set, &r->dead);
		return 0;
	}
	if ((!active && atomic_load(&set->mode) != IRQ_NO_MODE) || r->start || r->count != 1)
		return -EINVAL;
	if (r->data == VFIO_IRQ_SET_DATA_EVENTFD) {
		if (r->fds[0] >= 0) {
			if (!r->taken)
				return r->error;
			trigger = r->triggers[0];
			r->triggers[0] = NULL;
		}
		irq_trigger_swap(&set->intx.trigger, trigger, &r->dead);
		if (!active) {
			set_mode(set, VFIO_PCI_INTX_IRQ_INDEX, 1);
			irq_intx_enable(set);
		}
		return 0;
	}
	if (!active)
		return -EINVAL;
	if (r->data == VFIO_IRQ_SET_DATA_NONE || r->bools[0])
		irq_intx_loopback(set);
	return 0;
}

static int intx_mask(struct irq_set *set, struct request *r)
{
	if (!intx_active(set) || r->start || r->count != 1)
		return -EINVAL;
	if (r->data == VFIO_IRQ_SET_DATA_EVENTFD)
		return -ENOTTY;
	if (r->data == VFIO_IRQ_SET_DATA_NONE || r->bools[0])
		irq_intx_mask(set);
	return 0;
}

/* The client gave an eventfd to unmask by; another one may be registered. */
static int intx_unmask_eventfd(struct irq_set *set, struct request *r)
{
	struct irq_trigger *trigger;
	int fd;

	if (!r->taken)
		return r->error;
	trigger = r->triggers[0];
	if (set->unmask) {
		if (irq_unmask_same(set, trigger->fd) ||
		    irq_unmask_client_fd(set) != r->before_number ||
		    (r->before >= 0 && irq_unmask_same(set, r->before)))
			return -EBUSY;
		irq_unmask_remove(set); /* the client has closed it */
	}
	fd = trigger->fd;
	free(trigger);
	r->triggers[0] = NULL;
	return irq_unmask_add(set, fd, r->fds[0]);
}

static int intx_unmask(struct irq_set *set, struct request *r)
{
	if (!intx_active(set) || r->start || r->count != 1)
		return -EINVAL;
	if (r->data == VFIO_IRQ_SET_DATA_EVENTFD) {
		if (r->fds[0] >= 0)
			return intx_unmask_eventfd(set, r);
		irq_unmask_remove(set);
	} else if (r->data == VFIO_IRQ_SET_DATA_NONE || r->bools[0]) {
		irq_intx_unmask(set);
	}
	return 0;
}

/* ---- ERR and REQ ---- */

static int single_trigger(struct irq_set *set, struct request *r)
{
	bool err = r->index == VFIO_PCI_ERR_IRQ_INDEX;
	_Atomic(struct irq_trigger *) *slot = err ? &set->err : &set->req;
	_Atomic uint64_t *delivered = err ? &set->err_delivered : &set->req_delivered;
	struct irq_trigger *trigger = atomic_load(slot);

	if (r->start || r->count > 1)
		return -EINVAL;
	switch (r->data) {
	case VFIO_IRQ_SET_DATA_NONE:
		if (!trigger)
			return -EINVAL;
		if (r->count)
			irq_signal(set, trigger, delivered);
		else
			irq_trigger_swap(slot, NULL, &r->dead);
		return 0;
	case VFIO_IRQ_SET_DATA_BOOL:
		if (!r->count)
			return -EINVAL;
		if (r->bools[0] && trigger)
			irq_signal(set, trigger, delivered);
		return 0;
	default:
		if (!r->count || r->fds[0] < -1)
			return -EINVAL;
		if (r->fds[0] >= 0 && !r->taken)
			return r->error;
		irq_trigger_swap(slot, r->triggers[0], &r->dead);
		r->triggers[0] = NULL;
		return 0;
	}
}

/* ---- SET_IRQS ---- */

static int apply(struct irq_set *set, uint32_t action, struct request *r)
{
	switch (r->index) {
	case VFIO_PCI_INTX_IRQ_INDEX:
		if (action == VFIO_IRQ_SET_ACTION_MASK)
			return intx_mask(set, r);
		if (action == VFIO_IRQ_SET_ACTION_UNMASK)
			return intx_unmask(set, r);
		return intx_trigger(set, r);
	case VFIO_PCI_MSI_IRQ_INDEX:
	case VFIO_PCI_MSIX_IRQ_INDEX:
		return msg_trigger(set, r);
	default:
		return single_trigger(set, r);
	}
}

static bool supported(unsigned index, uint32_t action)
{
	if (action == VFIO_IRQ_SET_ACTION_TRIGGER)
		return true;
	return index == VFIO_PCI_INTX_IRQ_INDEX &&
	       (action == VFIO_IRQ_SET_ACTION_MASK || action == VFIO_IRQ_SET_ACTION_UNMASK);
}

/* First phase: take the eventfds, up to the first that fails. */
static void take_eventfds(struct request *r, irq_get_eventfd get, void *client)
{
	for (; r->taken < r->count; r->taken++) {
		int fd;

		if (r->fds[r->taken] < 0)
			continue;
		fd = get(client, r->fds[r->taken]);
		if (fd < 0) {
			r->error = fd;
			return;
		}
		r->triggers[r->taken] = irq_trigger_new(fd);
		if (!r->triggers[r->taken]) {
			close(fd);
			r->error = -ENOMEM;
			return;
		}
	}
}

/* What is behind the number of the registered unmask eventfd now? */
static void look_again(struct irq_set *set, struct request *r, irq_get_eventfd get, void *client)
{
	pthread_mutex_lock(&set->lock);
	r->before_number = irq_unmask_client_fd(set);
	pthread_mutex_unlock(&set->lock);
	if (r->before_number >= 0)
		r->before = get(client, r->before_number);
}

/* Checks 1 to 3; *@size: bytes of data. */
static int validate(struct irq_set *set, const struct vfio_irq_set *hdr, size_t *size)
{
	unsigned available;

	if (hdr->argsz < MIN_SET || hdr->index >= IRQ_NUM ||
	    hdr->count >= UINT32_MAX - hdr->start || (hdr->flags & ~(DATA_BITS | ACTION_BITS)))
		return -EINVAL;
	available = count_of(set, hdr->index);
	if (hdr->start >= available || hdr->start + hdr->count > available)
		return -EINVAL;
	switch (hdr->flags & DATA_BITS) {
	case VFIO_IRQ_SET_DATA_NONE:
		*size = 0;
		break;
	case VFIO_IRQ_SET_DATA_BOOL:
		*size = hdr->count;
		break;
	case VFIO_IRQ_SET_DATA_EVENTFD:
		*size = hdr->count * sizeof(int32_t);
		break;
	default:
		return -EINVAL;
	}
	return hdr->argsz - MIN_SET < *size ? -EINVAL : 0;
}

int irq_set_irqs(struct irq_set *set, const struct vfio_irq_set *hdr,
		 int (*copy)(void *client, void *dst, size_t len), irq_get_eventfd get_eventfd,
		 void *client)
{
	struct request r = {.before = -1, .before_number = -1};
	uint32_t action = hdr->flags & ACTION_BITS;
	void *data = NULL;
	size_t size;
	int ret;

	ret = validate(set, hdr, &size);
	if (ret)
		return ret;
	r.index = hdr->index;
	r.start = hdr->start;
	r.count = hdr->count;
	r.data = hdr->flags & DATA_BITS;
	if (size) {
		data = malloc(size);
		if (!data)
			return -ENOMEM;
		ret = copy(client, data, size);
		if (ret)
			goto out;
	}
	ret = -ENOTTY;
	if (!supported(r.index, action))
		goto out;
	r.bools = data;
	if (r.data == VFIO_IRQ_SET_DATA_EVENTFD) {
		r.fds = data;
		r.triggers = calloc(r.count + 1, sizeof(*r.triggers));
		ret = -ENOMEM;
		if (!r.triggers)
			goto out;
		if (action != VFIO_IRQ_SET_ACTION_MASK)
			take_eventfds(&r, get_eventfd, client);
		if (action == VFIO_IRQ_SET_ACTION_UNMASK)
			look_again(set, &r, get_eventfd, client);
	}

	pthread_mutex_lock(&set->lock);
	ret = apply(set, action, &r);
	irq_take_orphans(set, &r.dead);
	irq_trigger_reap(&set->closer, r.dead);
	pthread_mutex_unlock(&set->lock);
out:
	for (unsigned i = 0; r.triggers && i < r.count; i++)
		irq_trigger_free(r.triggers[i]);
	if (r.before >= 0)
		close(r.before);
	free(r.triggers);
	free(data);
	return ret;
}

/* ---- what others ask and cause ---- */

static unsigned allocated(struct irq_set *set, int mode)
{
	struct irq_messages *m;
	unsigned n = 0;

	if (mode == IRQ_NO_MODE || mode == VFIO_PCI_INTX_IRQ_INDEX)
		return mode == VFIO_PCI_INTX_IRQ_INDEX;
	m = messages(set, (unsigned)mode);
	for (unsigned i = 0; i < m->n; i++)
		n += atomic_load_explicit(&m->v[i].allocated, memory_order_relaxed);
	return n;
}

int irq_active(struct irq_set *set, unsigned *vectors)
{
	int mode = atomic_load(&set->mode);

	if (vectors)
		*vectors = allocated(set, mode);
	return mode;
}

bool irq_msi_active(struct irq_set *set, unsigned *log2_allocated)
{
	*log2_allocated = atomic_load(&set->msi_log2);
	return atomic_load(&set->mode) == VFIO_PCI_MSI_IRQ_INDEX;
}

void irq_reset(struct irq_set *set)
{
	for (unsigned i = 0; i < IRQ_MAX_MSIX / 64; i++) {
		atomic_store(&set->msi.pending[i], 0);
		atomic_store(&set->msix.pending[i], 0);
	}
	/* The host restores the table: entries with an eventfd are unmasked again. */
	for (unsigned i = 0; i < set->msix.n; i++)
		irq_table_host(set, i, atomic_load(&set->msix.v[i].trigger));
	irq_intx_level(set, false);
}

void irq_disable_all(struct irq_set *set)
{
	struct irq_trigger *dead = NULL;
	int mode;

	pthread_mutex_lock(&set->lock);
	mode = atomic_load(&set->mode);
	if (mode == VFIO_PCI_INTX_IRQ_INDEX)
		intx_stop(set, &dead);
	else if (mode != IRQ_NO_MODE)
		msg_disable(set, messages(set, (unsigned)mode), &dead);
	irq_trigger_swap(&set->err, NULL, &dead);
	irq_trigger_swap(&set->req, NULL, &dead);
	irq_take_orphans(set, &dead);
	irq_trigger_reap(NULL, dead);
	irq_closer_wait(&set->closer);
	atomic_store(&set->msi_log2, 0);
	atomic_store(&set->stalls, 0);
	irq_intx_disable(set, false);
	pthread_mutex_unlock(&set->lock);
}
