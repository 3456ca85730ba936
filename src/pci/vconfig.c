/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Config space as a VFIO user sees it (A.7).
 *
 * Theory of operation.  When it is made, the capability lists are walked once and the tables of
 * caps.c are laid out as bytes over all of config space:
 *
 *	owner[]	which capability a byte belongs to (0 the header), or GAP
 *	virt[]	bits that are read from the virtual copy
 *	wmask[]	bits that the user may change
 *	bytes[]	the virtual copy
 *
 *	read  = (hardware & ~virt) | (bytes & virt)
 *	write : bits in wmask & virt go to bytes; bits in wmask & ~virt go to hardware, by reading,
 *		changing and writing it; the rest is dropped
 *
 * A gap has virt 0 and wmask ff, which makes it raw; so hiding a capability is only to unlink it.
 * An access is cut into naturally aligned pieces of at most 4 bytes within one owner, and what a
 * piece causes beyond its bits is its owner's hook.
 *
 * Hardware's read-modify-write is the kernel's, its side effect included: a wide write that covers
 * both a writable field and a write-one-to-clear field of the same dword clears what is set there.
 */
#include <errno.h>
#include <sys/mman.h>

#include "pci/vconfig_private.h"

#define D3HOT 3u

/* ---- the formula ---- */

uint32_t vc_plain_read(const struct pci_vconfig *vc, const struct vc_piece *p)
{
	uint32_t all = p->size == 4 ? UINT32_MAX : (1u << (8 * p->size)) - 1;
	uint32_t virt = vc_get(vc->virt, p->pos, p->size),
		 value = vc_get(vc->bytes, p->pos, p->size);

	if (virt == all)
		return value;
	return (value & virt) | (pci_hw_read(vc->func, p->pos, p->size) & ~virt);
}

void vc_plain_write(struct pci_vconfig *vc, const struct vc_piece *p)
{
	uint32_t virt = vc_get(vc->virt, p->pos, p->size),
		 wmask = vc_get(vc->wmask, p->pos, p->size);
	uint32_t mask = wmask & virt;

	if (mask)
		vc_put(vc->bytes, p->pos, p->size,
		       (vc_get(vc->bytes, p->pos, p->size) & ~mask) | (p->value & mask));
	mask = wmask & ~virt;
	if (mask)
		pci_hw_write(vc->func, p->pos, p->size,
			     (pci_hw_read(vc->func, p->pos, p->size) & ~mask) | (p->value & mask));
}

/* ---- accesses ---- */

static enum pci_cap_hook hook_of(const struct vc_piece *p)
{
	return p->cap ? p->cap->rule->hook : PCI_HOOK_NONE;
}

/* The next piece of [pos, pos + len). */
static struct vc_piece cut(const struct pci_vconfig *vc, unsigned pos, size_t len)
{
	uint16_t owner = vc->owner[pos];
	struct vc_piece p = {.pos = pos};
	unsigned run = 1;

	while ((pos + run) % 4 && vc->owner[pos + run] == owner)
		run++;
	if (run > len)
		run = (unsigned)len;
	if (run >= 4)
		p.size = 4;
	else if (run >= 2 && pos % 2 == 0)
		p.size = 2;
	else
		p.size = 1;
	if (owner != VC_GAP) {
		p.cap = &vc->caps[owner];
		p.off = pos - p.cap->start;
	} else {
		p.off = pos;
	}
	return p;
}

static bool out_of_range(const struct pci_vconfig *vc, uint64_t off, size_t len)
{
	return off >= vc->size || len > vc->size - off;
}

ssize_t pci_vconfig_read(struct pci_vconfig *vc, uint64_t off, void *buf, size_t len)
{
	uint8_t *out = buf;
	struct vc_piece p;

	if (!len)
		return 0;
	if (out_of_range(vc, off, len))
		return -EFAULT;
	for (size_t done = 0; done < len; done += p.size) {
		uint32_t value;

		p = cut(vc, (unsigned)(off + done), len - done);
		if (vc_hooks[hook_of(&p)].read)
			value = vc_hooks[hook_of(&p)].read(vc, &p);
		else
			value = vc_plain_read(vc, &p);
		vc_put(out, (unsigned)done, p.size, value);
	}
	return (ssize_t)len;
}

ssize_t pci_vconfig_write(struct pci_vconfig *vc, uint64_t off, const void *buf, size_t len)
{
	const uint8_t *in = buf;
	struct vc_piece p;

	if (!len)
		return 0;
	if (out_of_range(vc, off, len))
		return -EFAULT;
	for (size_t done = 0; done < len; done += p.size) {
		p = cut(vc, (unsigned)(off + done), len - done);
		p.value = vc_get(in, (unsigned)done, p.size);
		if (vc_hooks[hook_of(&p)].write)
			vc_hooks[hook_of(&p)].write(vc, &p);
		else
			vc_plain_write(vc, &p);
	}
	return (ssize_t)len;
}

/* ---- what others ask ---- */

uint16_t pci_vconfig_command(const struct pci_vconfig *vc)
{
	return pci_get16(vc->bytes + PCI_COMMAND);
}

bool pci_vconfig_intx_disabled(const struct pci_vconfig *vc)
{
	return pci_vconfig_command(vc) & PCI_COMMAND_INTX_DISABLE;
}

uint8_t pci_vconfig_intx_pin(const struct pci_vconfig *vc)
{
	return vc->bytes[PCI_INTERRUPT_PIN];
}

bool pci_vconfig_memory_enabled(const struct pci_vconfig *vc)
{
	if (pci_power_state(vc->func) >= D3HOT)
		return false;
	return vc->vf || (pci_vconfig_command(vc) & PCI_COMMAND_MEMORY);
}

/* ---- life ---- */

int pci_vconfig_new(struct pci_func *func, unsigned flags, const struct pci_vconfig_ops *ops,
		    void *ops_arg, struct pci_vconfig **out)
{
	const struct uvfio_pci_desc *desc = pci_func_desc(func);
	struct pci_vconfig *vc;

	/* Most of it is room that few functions need: calloc() might clear that. */
	vc = mmap(NULL, sizeof(*vc), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (vc == MAP_FAILED)
		return -ENOMEM;
	vc->func = func;
	vc->ops = *ops;
	vc->arg = ops_arg;
	vc->vf = pci_is_vf(func);
	vc->size = pci_func_config_size(func);
	vc_map(vc);
	for (unsigned i = 0; i < 7; i++)
		vc->bars[i] = pci_get32(vc->bytes + vc_bar_pos(i));
	if (vc->vf) {
		pci_put16(vc->bytes + PCI_VENDOR_ID, desc->vendor);
		pci_put16(vc->bytes + PCI_DEVICE_ID, desc->device);
		vc->bytes[PCI_COMMAND] |= PCI_COMMAND_MEMORY;
	}
	if (flags & PCI_VCONFIG_NO_INTX)
		vc->bytes[PCI_INTERRUPT_PIN] = 0;
	vc->intx_disabled = pci_vconfig_intx_disabled(vc);
	*out = vc;
	return 0;
}

void pci_vconfig_free(struct pci_vconfig *vc)
{
	if (vc)
		munmap(vc, sizeof(*vc));
}
