/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * MSI-X as config space has it: how many vectors there are is read live (B), because a VF's number
 * changes while it exists.
 *
 * Table Size cannot say 0.  A function that has no vectors at the moment has no capability: it is
 * left out of the list, by the one byte that points to it.
 */
#include <linux/vfio.h>

#include "pci/func_private.h"

unsigned pci_msix_count(const struct pci_func *func)
{
	if (!func->msix)
		return 0;
	return func->ops.msix_vectors ? func->ops.msix_vectors(func->arg) : func->desc.msix_vectors;
}

void pci_msix_find_link(struct pci_func *func)
{
	unsigned link = PCI_CAPABILITY_LIST;

	if (!func->msix)
		return;
	while (func->layout->reset[link] && func->layout->reset[link] != func->msix)
		link = func->layout->reset[link] + PCI_CAP_LIST_NEXT;
	func->msix_link = link;
}

void pci_msix_live(const struct pci_func *func, unsigned off, uint8_t *byte)
{
	unsigned flags = func->msix + PCI_MSIX_FLAGS, vectors, size;

	if (!func->ops.msix_vectors || !func->msix)
		return;
	if (off != func->msix_link && off - flags >= 2)
		return;
	vectors = func->ops.msix_vectors(func->arg);
	size = vectors ? vectors - 1 : 0;
	if (off == flags)
		*byte = (uint8_t)size;
	else if (off == flags + 1)
		*byte = (uint8_t)((*byte & ~(PCI_MSIX_FLAGS_QSIZE >> 8)) | size >> 8);
	else if (!vectors)
		*byte = func->config[func->msix + PCI_CAP_LIST_NEXT];
}

void pci_hw_image(const struct pci_func *func, uint8_t bytes[PCI_EXT_CONFIG_SIZE])
{
	uint32_t command = pci_hw_read(func, PCI_COMMAND, 4);

	pci_hw_save(func, bytes);
	pci_put32(bytes + PCI_COMMAND, command);
	if (!func->msix)
		return;
	pci_put16(bytes + func->msix + PCI_MSIX_FLAGS,
		  (uint16_t)pci_hw_read(func, func->msix + PCI_MSIX_FLAGS, 2));
	bytes[func->msix_link] = (uint8_t)pci_hw_read(func, func->msix_link, 1);
}

uint16_t pci_msix_flags(const struct pci_func *func)
{
	uint16_t flags = pci_get16(func->config + func->msix + PCI_MSIX_FLAGS);

	flags &= (uint16_t) ~(PCI_MSIX_FLAGS_ENABLE | PCI_MSIX_FLAGS_MASKALL);
	if (func->irq_mode == VFIO_PCI_MSIX_IRQ_INDEX)
		flags |= PCI_MSIX_FLAGS_ENABLE;
	return flags;
}

bool pci_msix_enabled(const struct pci_func *func)
{
	return func->msix &&
	       (pci_get16(func->config + func->msix + PCI_MSIX_FLAGS) & PCI_MSIX_FLAGS_ENABLE);
}
