/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What writes to standard capabilities cause beyond their bits (A.7): power states, transfers of
 * vital product data, MSI's enable bit, function level resets.
 */
#include "pci/vconfig_private.h"

/* ---- PM ---- */

static void pm_write(struct pci_vconfig *vc, const struct vc_piece *p)
{
	vc_plain_write(vc, p);
	if (p->off == PCI_PM_CTRL)
		vc->ops.power(vc->arg, p->value & PCI_PM_CTRL_STATE_MASK);
}

/* ---- VPD ---- */

static void vpd_write(struct pci_vconfig *vc, const struct vc_piece *p)
{
	uint8_t *cap = vc->bytes + p->cap->start;
	uint16_t addr;
	uint32_t data;

	vc_plain_write(vc, p);
	if (!vc_covers(p, PCI_VPD_ADDR + 1))
		return;
	addr = pci_get16(cap + PCI_VPD_ADDR);
	if (addr & PCI_VPD_ADDR_F) {
		if (pci_vpd_write(vc->func, addr & PCI_VPD_ADDR_MASK,
				  pci_get32(cap + PCI_VPD_DATA)))
			return;
	} else {
		if (pci_vpd_read(vc->func, addr, &data))
			return;
		pci_put32(cap + PCI_VPD_DATA, data);
	}
	/* The flag changes when the transfer is done. */
	pci_put16(cap + PCI_VPD_ADDR, addr ^ PCI_VPD_ADDR_F);
}

/* ---- MSI ---- */

static void msi_write(struct pci_vconfig *vc, const struct vc_piece *p)
{
	unsigned at = p->cap->start + PCI_MSI_FLAGS, max;
	uint16_t flags;

	vc_plain_write(vc, p);
	if (!vc_covers(p, PCI_MSI_FLAGS))
		return;
	flags = pci_get16(vc->bytes + at);
	if (!vc->ops.msi_active(vc->arg, &max))
		flags &= (uint16_t)~PCI_MSI_FLAGS_ENABLE;
	if (((unsigned)flags & PCI_MSI_FLAGS_QSIZE) >> 4 > max)
		flags = (uint16_t)((flags & ~PCI_MSI_FLAGS_QSIZE) | max << 4);
	pci_put16(vc->bytes + at, flags);
	pci_hw_write(vc->func, at, 2, flags);
}

/* ---- PCI Express ---- */

static void exp_write(struct pci_vconfig *vc, const struct vc_piece *p)
{
	unsigned at = p->cap->start + PCI_EXP_DEVCTL, user, mps;
	uint16_t old = pci_get16(vc->bytes + at), ctl, hw;

	vc_plain_write(vc, p);
	ctl = pci_get16(vc->bytes + at);
	if (ctl & PCI_EXP_DEVCTL_BCR_FLR) {
		ctl &= (uint16_t)~PCI_EXP_DEVCTL_BCR_FLR;
		pci_put16(vc->bytes + at, ctl);
		if (pci_hw_read(vc->func, p->cap->start + PCI_EXP_DEVCAP, 4) & PCI_EXP_DEVCAP_FLR)
			vc->ops.flr(vc->arg);
	}
	if (!((old ^ ctl) & PCI_EXP_DEVCTL_READRQ))
		return;
	/* Both fields count in the same steps: 0 is 128 bytes, 5 is 4096; 6 and 7 are reserved. */
	hw = (uint16_t)pci_hw_read(vc->func, at, 2);
	user = (unsigned)(ctl & PCI_EXP_DEVCTL_READRQ) >> 12;
	mps = (unsigned)(hw & PCI_EXP_DEVCTL_PAYLOAD) >> 5;
	if (user < mps)
		user = mps;
	if (user <= 5)
		pci_hw_write(vc->func, at, 2, (hw & ~(uint32_t)PCI_EXP_DEVCTL_READRQ) | user << 12);
}

/* ---- AF ---- */

static void af_write(struct pci_vconfig *vc, const struct vc_piece *p)
{
	uint8_t *ctrl = vc->bytes + p->cap->start + PCI_AF_CTRL;
	uint32_t need = PCI_AF_CAP_FLR | PCI_AF_CAP_TP;

	vc_plain_write(vc, p);
	if (!(*ctrl & PCI_AF_CTRL_FLR))
		return;
	*ctrl &= (uint8_t)~PCI_AF_CTRL_FLR;
	if ((pci_hw_read(vc->func, p->cap->start + PCI_AF_CAP, 1) & need) == need)
		vc->ops.flr(vc->arg);
}

const struct vc_hook vc_hooks[PCI_HOOK_NUM] = {
	[PCI_HOOK_HEADER] = {vc_header_read, vc_header_write},
	[PCI_HOOK_PM] = {NULL, pm_write},
	[PCI_HOOK_VPD] = {NULL, vpd_write},
	[PCI_HOOK_MSI] = {NULL, msi_write},
	[PCI_HOOK_EXP] = {NULL, exp_write},
	[PCI_HOOK_AF] = {NULL, af_write},
};
