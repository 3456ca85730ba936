/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The type-0 header of virtual config space (A.7): COMMAND, whose writes have effects, and the
 * sizing of BARs, which is done when they are read.
 */
#include "pci/vconfig_private.h"

/* BAR sizing: what is read of a BAR is the stored value under its size mask, with its type bits. */
static void fix_bars(struct pci_vconfig *vc)
{
	const struct uvfio_pci_desc *desc = pci_func_desc(vc->func);
	uint64_t mask, size;

	for (unsigned i = 0; i < 6; i++) {
		const struct uvfio_bar_desc *bar = &desc->bars[i];
		uint8_t *at = vc->bytes + PCI_BASE_ADDRESS_0 + 4 * i;

		if (!bar->size) {
			pci_put32(at, 0);
			continue;
		}
		mask = ~(bar->size - 1);
		if (bar->flags & UVFIO_BAR_IO) {
			pci_put32(at, (pci_get32(at) & (uint32_t)mask &
				       (uint32_t)PCI_BASE_ADDRESS_IO_MASK) |
					      PCI_BASE_ADDRESS_SPACE_IO);
			continue;
		}
		pci_put32(
			at,
			(pci_get32(at) & (uint32_t)mask & (uint32_t)PCI_BASE_ADDRESS_MEM_MASK) |
				(bar->flags & UVFIO_BAR_MEM64 ? PCI_BASE_ADDRESS_MEM_TYPE_64 : 0) |
				(bar->flags & UVFIO_BAR_PREFETCH ? PCI_BASE_ADDRESS_MEM_PREFETCH
								 : 0));
		if (bar->flags & UVFIO_BAR_MEM64) {
			i++;
			pci_put32(at + 4, pci_get32(at + 4) & (uint32_t)(mask >> 32));
		}
	}
	size = desc->rom_size;
	/* A shadow has a size, though no BAR. */
	for (uint64_t n = 1; !desc->rom_size && desc->rom_len && size < desc->rom_len; n *= 2)
		size = n;
	mask = size ? (~(size - 1) | PCI_ROM_ADDRESS_ENABLE) : 0;
	pci_put32(vc->bytes + PCI_ROM_ADDRESS,
		  pci_get32(vc->bytes + PCI_ROM_ADDRESS) & (uint32_t)mask);
}

/* Hardware BARs differ from the real ones: the device was reset behind our back. */
static bool bars_lost(const struct pci_vconfig *vc)
{
	if (vc->vf)
		return false;
	for (unsigned i = 0; i < 6; i++) {
		if (vc->bars[i] && pci_hw_read(vc->func, vc_bar_pos(i), 4) != vc->bars[i])
			return true;
	}
	return false;
}

static void restore_bars(struct pci_vconfig *vc)
{
	if (vc->vf)
		return;
	for (unsigned i = 0; i < 7; i++)
		pci_hw_write(vc->func, vc_bar_pos(i), 4, vc->bars[i]);
}

static void before_command(struct pci_vconfig *vc, const struct vc_piece *p)
{
	uint16_t hw = (uint16_t)pci_hw_read(vc->func, PCI_COMMAND, 2);
	uint16_t virt = pci_get16(vc->bytes + PCI_COMMAND);
	/* What the user sets and believes to be set, but hardware has lost. */
	uint16_t lost = (uint16_t)(p->value & virt & ~hw);

	if (!(p->value & PCI_COMMAND_MEMORY))
		vc->ops.memory(vc->arg, false);
	if (vc->vf)
		lost &= (uint16_t)~PCI_COMMAND_MEMORY;
	if ((lost & (PCI_COMMAND_MEMORY | PCI_COMMAND_IO)) || bars_lost(vc))
		restore_bars(vc);
}

static void after_command(struct pci_vconfig *vc, const struct vc_piece *p)
{
	uint16_t mirrored = PCI_COMMAND_MEMORY | PCI_COMMAND_IO;
	uint16_t virt = pci_get16(vc->bytes + PCI_COMMAND);

	virt = (uint16_t)((virt & ~mirrored) | (p->value & mirrored));
	pci_put16(vc->bytes + PCI_COMMAND, virt);
	if (pci_vconfig_memory_enabled(vc))
		vc->ops.memory(vc->arg, true);
}

void vc_header_write(struct pci_vconfig *vc, const struct vc_piece *p)
{
	bool command = p->off == PCI_COMMAND, disabled;

	if (command)
		before_command(vc, p);
	vc_plain_write(vc, p);
	if (command)
		after_command(vc, p);
	disabled = pci_vconfig_intx_disabled(vc);
	if (disabled != vc->intx_disabled) {
		vc->intx_disabled = disabled;
		vc->ops.intx_disable(vc->arg, disabled);
	}
}

uint32_t vc_header_read(struct pci_vconfig *vc, const struct vc_piece *p)
{
	uint32_t value;

	if ((p->off >= PCI_BASE_ADDRESS_0 && p->off < PCI_BASE_ADDRESS_5 + 4) ||
	    (p->off >= PCI_ROM_ADDRESS && p->off < PCI_ROM_ADDRESS + 4))
		fix_bars(vc);
	value = vc_plain_read(vc, p);
	if (p->off == PCI_COMMAND && vc->vf)
		value |= pci_get16(vc->bytes + PCI_COMMAND) & PCI_COMMAND_MEMORY;
	return value;
}
