/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A VF's config space as hardware has it.  What belongs to the whole device is the PF's, and in a
 * VF reserved: ids, addresses, the interrupt line, control of the link, masks of errors.
 */
#include <errno.h>
#include <stdlib.h>

#include "pci/sriov.h"
#include "pci/func_private.h"

static void none(struct pci_func *func, unsigned off, unsigned len)
{
	memset(func->layout->reset + off, 0, len);
	memset(func->layout->wmask + off, 0, len);
	memset(func->layout->sticky + off, 0, len);
	memset(func->layout->keep + off, 0, len);
}

static void read_only(struct pci_func *func, unsigned off, unsigned len)
{
	memset(func->layout->wmask + off, 0, len);
}

static void strip_header(struct pci_func *func)
{
	struct pci_layout *layout = func->layout;

	pci_put16(layout->reset + PCI_VENDOR_ID, UINT16_MAX);
	pci_put16(layout->reset + PCI_DEVICE_ID, UINT16_MAX);
	pci_put16(layout->wmask + PCI_COMMAND, PCI_COMMAND_MASTER);
	none(func, PCI_CACHE_LINE_SIZE, 1);
	none(func, PCI_LATENCY_TIMER, 1);
	none(func, PCI_BASE_ADDRESS_0, 4 * PCI_STD_NUM_BARS);
	none(func, PCI_INTERRUPT_LINE, 2);
}

void pci_vf_strip(struct pci_func *func)
{
	unsigned exp = func->exp, aer = func->aer;
	bool link = func->desc.pcie_type != UVFIO_PCIE_INTEGRATED_ENDPOINT;

	strip_header(func);
	none(func, exp + PCI_EXP_DEVCTL, 2);
	if (link) {
		none(func, exp + PCI_EXP_LNKCTL, 2);
		none(func, exp + PCI_EXP_LNKSTA, 2);
	}
	if (func->desc.pcie_version != 1) {
		read_only(func, exp + PCI_EXP_DEVCTL2, 2);
		if (link)
			none(func, exp + PCI_EXP_LNKCTL2, 2);
	}
	if (aer) {
		none(func, aer + PCI_ERR_UNCOR_MASK, 4);
		none(func, aer + PCI_ERR_UNCOR_SEVER, 4);
		none(func, aer + PCI_ERR_COR_MASK, 4);
		read_only(func, aer + PCI_ERR_CAP, 4);
	}
}

int pci_func_new_vf(const struct pci_func *pf, unsigned index, const struct pci_func_ops *ops,
		    void *ops_arg, struct pci_func **out, struct uvfio_error *err)
{
	const struct pci_func *like;
	struct pci_func *vf;

	if (!pf->sriov || index >= pci_sriov_total_vfs(pf))
		return uvfio_error_set(err, -EINVAL, "there is no VF %u of %u", index,
				       pci_sriov_total_vfs(pf));
	like = pf->sriov->vf;
	vf = pci_func_like(like);
	if (!vf)
		return uvfio_error_set(err, -ENOMEM, "out of memory");
	vf->addr = pci_sriov_vf_addr(pf, index);
	vf->vf_index = index;
	vf->link = pf->link;
	atomic_fetch_add_explicit(&vf->link->refs, 1, memory_order_relaxed);
	for (unsigned i = 0; i < PCI_SRIOV_NUM_BARS; i++)
		vf->desc.bars[i].size = pci_sriov_bar_size(pf, i);
	if (ops)
		vf->ops = *ops;
	vf->arg = ops_arg;
	pci_config_reset(vf, UVFIO_RESET_POWER_ON);
	*out = vf;
	return 0;
}

bool pci_is_vf(const struct pci_func *func)
{
	return func->is_vf;
}

unsigned pci_vf_index(const struct pci_func *vf)
{
	return vf->vf_index;
}
