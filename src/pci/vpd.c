/* SPDX-License-Identifier: BSD-3-Clause */
/* Vital product data behind its capability. */
#include <errno.h>

#include "pci/func_private.h"

static int vpd_check(const struct pci_func *func, unsigned addr, unsigned from)
{
	if (!func->vpd)
		return -ENODEV;
	return addr < from || addr + 4 > func->desc.vpd_len ? -EIO : 0;
}

int pci_vpd_read(const struct pci_func *func, unsigned addr, uint32_t *data)
{
	int ret = vpd_check(func, addr, 0);

	if (!ret)
		*data = pci_get32(func->vpd_data + addr);
	return ret;
}

int pci_vpd_write(struct pci_func *func, unsigned addr, uint32_t data)
{
	int ret = addr % 4 ? -EINVAL : vpd_check(func, addr, func->desc.vpd_rw);

	if (!ret)
		pci_put32(func->vpd_data + addr, data);
	return ret;
}

void pci_vpd_transfer(struct pci_func *func)
{
	uint8_t *cap = func->config + func->vpd;
	uint16_t addr = pci_get16(cap + PCI_VPD_ADDR);
	uint32_t data = 0;

	if (addr & PCI_VPD_ADDR_F) {
		pci_vpd_write(func, addr & PCI_VPD_ADDR_MASK, pci_get32(cap + PCI_VPD_DATA));
	} else {
		pci_vpd_read(func, addr, &data);
		pci_put32(cap + PCI_VPD_DATA, data);
	}
	pci_put16(cap + PCI_VPD_ADDR, addr ^ PCI_VPD_ADDR_F);
}
