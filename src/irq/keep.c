/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Interrupts that are taken from one set and put into another; see keep.h.
 *
 * Section .INT, version 1, all of it u32 unless said: the mode plus 1; log2 of the last MSI
 * allocation; flags (FLAG_…); INTx deliveries that were asked for; MSI: allocated, with an eventfd,
 * pending; how many MSI-X vectors; then for these, in u64 words of bits: allocated, with an
 * eventfd, masked, pending; and their entries of the table, four each.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/pci_regs.h>
#include <string.h>
#include <unistd.h>

#include "irq/irq_private.h"
#include "irq/keep.h"

static_assert(IRQ_KEPT_VECTORS == IRQ_MAX_MSIX, "room for all vectors");

enum {
	FLAG_LINE = 1,
	FLAG_PULSE = 2,
	FLAG_MASKED = 4,
	FLAG_HW_DISABLED = 8,
	FLAG_INTX_EVENTFD = 16,
	FLAG_ERR_EVENTFD = 32,
	FLAG_REQ_EVENTFD = 64,
	FLAGS_ALL = 127,
};

#define MAX_STORM (1u << 30)

static unsigned words(unsigned bits)
{
	return (bits + 63) / 64;
}

/* ---- taking ---- */

static uint32_t bits32(bool value, unsigned i)
{
	return value ? 1u << i : 0;
}

static void set_bit(uint64_t *bits, unsigned i, bool value)
{
	if (value)
		bits[i / 64] |= 1ull << i % 64;
}

static bool get_bit(const uint64_t *bits, unsigned i)
{
	return bits[i / 64] >> i % 64 & 1;
}

static void keep_intx(struct irq_set *set, struct irq_kept *out)
{
	struct irq_intx *intx = &set->intx;

	pthread_mutex_lock(&intx->lock);
	out->line = intx->line;
	out->pulse = intx->pulse;
	out->masked = intx->masked;
	out->hw_disabled = intx->hw_disabled;
	out->storm = intx->storm < MAX_STORM ? intx->storm : MAX_STORM;
	pthread_mutex_unlock(&intx->lock);
	out->intx_eventfd = atomic_load(&intx->trigger) != NULL;
}

void irq_keep(struct irq_set *set, struct irq_kept *out)
{
	memset(out, 0, sizeof(*out));
	pthread_mutex_lock(&set->lock);
	out->mode = atomic_load(&set->mode);
	out->msi_log2 = atomic_load(&set->msi_log2);
	keep_intx(set, out);
	out->err_eventfd = atomic_load(&set->err) != NULL;
	out->req_eventfd = atomic_load(&set->req) != NULL;
	for (unsigned i = 0; i < set->msi.n; i++) {
		out->msi_allocated |= bits32(atomic_load(&set->msi.v[i].allocated), i);
		out->msi_eventfd |= bits32(atomic_load(&set->msi.v[i].trigger) != NULL, i);
	}
	out->msi_pending = (uint32_t)atomic_load(&set->msi.pending[0]);
	out->nr_msix = irq_msix_vectors(set);
	for (unsigned i = 0; i < out->nr_msix; i++) {
		set_bit(out->allocated, i, atomic_load(&set->msix.v[i].allocated));
		set_bit(out->eventfd, i, atomic_load(&set->msix.v[i].trigger) != NULL);
		set_bit(out->masked_msix, i, atomic_load(&set->msix.v[i].masked));
		for (unsigned d = 4 * i; d < 4 * i + 4; d++)
			out->table[d] = atomic_load(&set->table[d]);
	}
	for (unsigned i = 0; i < out->nr_msix; i += 64)
		out->pending[i / 64] = irq_msix_pba_read(set, i / 8);
	pthread_mutex_unlock(&set->lock);
}

/* Where the trigger is; NULL: there is no such vector. */
static _Atomic(struct irq_trigger *) *slot_of(struct irq_set *set, unsigned index, unsigned vector)
{
	switch (index) {
	case VFIO_PCI_INTX_IRQ_INDEX:
		return vector ? NULL : &set->intx.trigger;
	case VFIO_PCI_MSI_IRQ_INDEX:
		return vector < set->msi.n ? &set->msi.v[vector].trigger : NULL;
	case VFIO_PCI_MSIX_IRQ_INDEX:
		return vector < set->msix.n ? &set->msix.v[vector].trigger : NULL;
	case VFIO_PCI_ERR_IRQ_INDEX:
		return vector ? NULL : &set->err;
	case VFIO_PCI_REQ_IRQ_INDEX:
		return vector ? NULL : &set->req;
	default:
		return NULL;
	}
}

int irq_keep_eventfd(struct irq_set *set, unsigned index, unsigned vector)
{
	_Atomic(struct irq_trigger *) *slot;
	struct irq_trigger *trigger;
	int fd = -ENOENT;

	pthread_mutex_lock(&set->lock);
	if (index == VFIO_PCI_INTX_IRQ_INDEX && vector == 1) {
		fd = irq_unmask_dup(set);
	} else {
		slot = slot_of(set, index, vector);
		trigger = slot ? atomic_load(slot) : NULL;
		if (trigger)
			fd = fcntl(trigger->fd, F_DUPFD_CLOEXEC, 3);
		if (trigger && fd < 0)
			fd = -errno;
	}
	pthread_mutex_unlock(&set->lock);
	return fd;
}

/* ---- the section ---- */

static void put_bits(struct mig_buf *out, const uint64_t *bits, unsigned nr)
{
	for (unsigned i = 0; i < words(nr); i++)
		mig_put_u64(out, bits[i]);
}

void irq_kept_write(const struct irq_kept *kept, struct mig_buf *out)
{
	uint32_t flags = (kept->line ? FLAG_LINE : 0) | (kept->pulse ? FLAG_PULSE : 0) |
			 (kept->masked ? FLAG_MASKED : 0) |
			 (kept->hw_disabled ? FLAG_HW_DISABLED : 0) |
			 (kept->intx_eventfd ? FLAG_INTX_EVENTFD : 0) |
			 (kept->err_eventfd ? FLAG_ERR_EVENTFD : 0) |
			 (kept->req_eventfd ? FLAG_REQ_EVENTFD : 0);

	mig_put_u32(out, (uint32_t)(kept->mode + 1));
	mig_put_u32(out, kept->msi_log2);
	mig_put_u32(out, flags);
	mig_put_u32(out, kept->storm);
	mig_put_u32(out, kept->msi_allocated);
	mig_put_u32(out, kept->msi_eventfd);
	mig_put_u32(out, kept->msi_pending);
	mig_put_u32(out, kept->nr_msix);
	put_bits(out, kept->allocated, kept->nr_msix);
	put_bits(out, kept->eventfd, kept->nr_msix);
	put_bits(out, kept->masked_msix, kept->nr_msix);
	put_bits(out, kept->pending, kept->nr_msix);
	for (unsigned i = 0; i < 4 * kept->nr_msix; i++)
		mig_put_u32(out, kept->table[i]);
}

static bool get_bits(struct mig_in *in, uint64_t *bits, unsigned nr)
{
	uint64_t last = 0;

	for (unsigned i = 0; i < words(nr); i++)
		last = bits[i] = mig_get_u64(in);
	return nr % 64 == 0 || !(last >> nr % 64);
}

static bool none(const uint64_t *bits)
{
	for (unsigned i = 0; i < IRQ_KEPT_WORDS; i++)
		if (bits[i])
			return false;
	return true;
}

static bool within(const uint64_t *bits, const uint64_t *of)
{
	for (unsigned i = 0; i < IRQ_KEPT_WORDS; i++)
		if (bits[i] & ~of[i])
			return false;
	return true;
}

/* Vectors are allocated by the mode that is active, and by no other; eventfds are theirs. */
static const char *wrong_mode(struct irq_set *set, const struct irq_kept *kept)
{
	bool msi = kept->mode == VFIO_PCI_MSI_IRQ_INDEX,
	     msix = kept->mode == VFIO_PCI_MSIX_IRQ_INDEX;
	unsigned nr_msi = set->ops.count(set->arg, VFIO_PCI_MSI_IRQ_INDEX);

	if (kept->mode < IRQ_NO_MODE || kept->mode > VFIO_PCI_MSIX_IRQ_INDEX)
		return "there is no such mode of interrupts";
	if (kept->mode == VFIO_PCI_INTX_IRQ_INDEX &&
	    !set->ops.count(set->arg, VFIO_PCI_INTX_IRQ_INDEX))
		return "INTx is in use, which this device has not";
	if (msi != (kept->msi_allocated != 0) || kept->msi_eventfd & ~kept->msi_allocated ||
	    (nr_msi < IRQ_MAX_MSI && kept->msi_allocated >> nr_msi))
		return "the vectors of MSI are not what this device can have";
	/* All of them may be gone: a VF's vectors are its PF's to give. */
	if ((!msix && !none(kept->allocated)) || !within(kept->eventfd, kept->allocated))
		return "the vectors of MSI-X are not what this device can have";
	if (kept->intx_eventfd && kept->mode != VFIO_PCI_INTX_IRQ_INDEX)
		return "INTx has an eventfd and is not in use";
	if (kept->msi_log2 > 5 || kept->storm > MAX_STORM)
		return "a number is too large";
	return NULL;
}

int irq_kept_read(struct irq_set *set, struct mig_in *in, struct irq_kept *out,
		  struct uvfio_error *err)
{
	unsigned vectors = irq_msix_vectors(set);
	const char *why = NULL;
	uint32_t flags, mode;
	bool ok = true;

	memset(out, 0, sizeof(*out));
	mode = mig_get_u32(in);
	out->mode = mode <= 3 ? (int)mode - 1 : IRQ_NUM;
	out->msi_log2 = mig_get_u32(in);
	flags = mig_get_u32(in);
	out->storm = mig_get_u32(in);
	out->msi_allocated = mig_get_u32(in);
	out->msi_eventfd = mig_get_u32(in);
	out->msi_pending = mig_get_u32(in);
	out->nr_msix = mig_get_u32(in);
	if (in->bad || flags & ~(uint32_t)FLAGS_ALL)
		return uvfio_error_set(err, -EINVAL, "the stream's interrupts are not complete");
	if (out->nr_msix != vectors)
		return uvfio_error_set(
			err, -EINVAL,
			"the stream's interrupts are not those of this device, which "
			"has %u MSI-X vectors; they are %u",
			vectors, out->nr_msix);
	ok &= get_bits(in, out->allocated, vectors);
	ok &= get_bits(in, out->eventfd, vectors);
	ok &= get_bits(in, out->masked_msix, vectors);
	ok &= get_bits(in, out->pending, vectors);
	for (unsigned i = 0; i < 4 * vectors; i++) {
		out->table[i] = mig_get_u32(in);
		if (i % 4 == PCI_MSIX_ENTRY_LOWER_ADDR / 4)
			ok &= !(out->table[i] & 3);
		if (i % 4 == PCI_MSIX_ENTRY_VECTOR_CTRL / 4)
			ok &= !(out->table[i] & ~PCI_MSIX_ENTRY_CTRL_MASKBIT);
	}
	out->line = flags & FLAG_LINE;
	out->pulse = flags & FLAG_PULSE;
	out->masked = flags & FLAG_MASKED;
	out->hw_disabled = flags & FLAG_HW_DISABLED;
	out->intx_eventfd = flags & FLAG_INTX_EVENTFD;
	out->err_eventfd = flags & FLAG_ERR_EVENTFD;
	out->req_eventfd = flags & FLAG_REQ_EVENTFD;
	if (in->bad || mig_left_bytes(in) || !ok)
		why = "they are not complete, or have bits that nothing has";
	else
		why = wrong_mode(set, out);
	if (why)
		return uvfio_error_set(err, -EINVAL, "the stream's interrupts: %s", why);
	return 0;
}

/* ---- putting ---- */

struct putting {
	struct irq_set *set;
	int (*take)(void *arg, unsigned index, unsigned vector);
	void *arg;
	int error;
};

static void put_trigger(struct putting *p, unsigned index, unsigned vector)
{
	struct irq_trigger *trigger;
	int fd = p->take(p->arg, index, vector);

	if (fd < 0)
		return;
	trigger = irq_trigger_new(fd);
	if (trigger) {
		atomic_store(slot_of(p->set, index, vector), trigger);
	} else {
		close(fd);
		p->error = -ENOMEM;
	}
}

static void put_intx(struct irq_set *set, const struct irq_kept *kept, bool disabled, bool active)
{
	struct irq_intx *intx = &set->intx;

	pthread_mutex_lock(&intx->lock);
	intx->virt_disabled = disabled;
	intx->line = kept->line;
	intx->pulse = kept->pulse;
	intx->storm = kept->storm;
	intx->active = active;
	intx->masked = kept->masked;
	intx->hw_disabled = kept->hw_disabled;
	pthread_mutex_unlock(&intx->lock);
}

/* The mode that was active, and the eventfds of its vectors. */
static void put_mode(struct putting *p, const struct irq_kept *kept)
{
	struct irq_set *set = p->set;
	struct irq_messages *m = NULL;
	unsigned vectors = 0;

	if (kept->mode == VFIO_PCI_MSI_IRQ_INDEX) {
		m = &set->msi;
		for (unsigned i = 0; i < m->n; i++) {
			if (!(kept->msi_allocated >> i & 1))
				continue;
			atomic_store(&m->v[i].allocated, true);
			vectors = i + 1;
			if (kept->msi_eventfd >> i & 1)
				put_trigger(p, m->index, i);
		}
		atomic_store(&m->limit, vectors);
	} else if (kept->mode == VFIO_PCI_MSIX_IRQ_INDEX) {
		m = &set->msix;
		for (unsigned i = 0; i < kept->nr_msix; i++) {
			if (!get_bit(kept->allocated, i))
				continue;
			atomic_store(&m->v[i].allocated, true);
			vectors = i + 1;
			if (get_bit(kept->eventfd, i))
				put_trigger(p, m->index, i);
		}
	} else if (kept->mode == VFIO_PCI_INTX_IRQ_INDEX) {
		vectors = 1;
		if (kept->intx_eventfd)
			put_trigger(p, VFIO_PCI_INTX_IRQ_INDEX, 0);
	}
	if (kept->err_eventfd)
		put_trigger(p, VFIO_PCI_ERR_IRQ_INDEX, 0);
	if (kept->req_eventfd)
		put_trigger(p, VFIO_PCI_REQ_IRQ_INDEX, 0);
	if (m) {
		atomic_store(&m->enabled, true);
		atomic_store(&set->active, m);
	}
	if (kept->mode == IRQ_NO_MODE)
		return;
	atomic_store(&set->mode, kept->mode);
	set->ops.mode_changed(set->arg, kept->mode, vectors);
}

static void put_unmask(struct putting *p)
{
	int fd = p->take(p->arg, VFIO_PCI_INTX_IRQ_INDEX, 1);

	if (fd >= 0 && irq_unmask_add(p->set, fd, -1))
		p->error = -ENOMEM;
}

int irq_keep_put(struct irq_set *set, const struct irq_kept *kept, bool intx_disabled,
		 int (*take)(void *arg, unsigned index, unsigned vector), void *arg)
{
	struct putting p = {set, take, arg, 0};
	bool intx = take && kept->mode == VFIO_PCI_INTX_IRQ_INDEX;

	pthread_mutex_lock(&set->lock);
	atomic_store(&set->msi_log2, kept->msi_log2);
	atomic_store(&set->msi.pending[0], kept->msi_pending);
	for (unsigned i = 0; i < words(kept->nr_msix); i++)
		atomic_store(&set->msix.pending[i], kept->pending[i]);
	for (unsigned i = 0; i < kept->nr_msix; i++) {
		atomic_store(&set->msix.v[i].masked, get_bit(kept->masked_msix, i));
		for (unsigned d = 4 * i; d < 4 * i + 4; d++)
			atomic_store(&set->table[d], kept->table[d]);
	}
	put_intx(set, kept, intx_disabled, false);
	if (take)
		put_mode(&p, kept);
	if (intx) {
		put_intx(set, kept, intx_disabled, true);
		put_unmask(&p);
	}
	pthread_mutex_unlock(&set->lock);
	/* The line may have found its mask gone. */
	if (intx)
		irq_intx_hold(set, IRQ_HOLD_ASLEEP, false);
	return p.error;
}
