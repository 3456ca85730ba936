/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * SR-IOV in hardware: the capability of a physical function (PF), and the configuration space of
 * its virtual functions (VFs).
 *
 * A function whose description has ->sriov is a PF.  pci_func_new_vf() makes a VF of it, from
 * ->sriov->vf.  The registers that a PF has for its VFs (VF Enable, VF MSE, VF BARs) act on all of
 * them: a VF asks the PF's present values, in any thread, through a part that both share.  So a PF
 * may be freed before its VFs.
 *
 * Two parties write a PF's capability.  What the host's PCI core does are the functions here; it
 * remembers what it has set, and puts that back after a reset of the PF (pci_hw_restore()).  What
 * anyone else writes (pci_hw_write(): the sysfs file `config`) is what hardware makes of it, and no
 * VF comes or goes by it: docs/rules/config.md, SR-IOV.
 *
 * Locks: as pci.h: the caller serialises accesses to one function.  What is marked [any] may be
 * called by any thread.
 */
#ifndef UVFIO_PCI_SRIOV_H
#define UVFIO_PCI_SRIOV_H

#include "pci/pci.h"

/* ---- a PF ---- */

bool pci_is_pf(const struct pci_func *func);             /* [any] */
bool pci_is_vf(const struct pci_func *func);             /* [any] */
unsigned pci_sriov_total_vfs(const struct pci_func *pf); /* 0: no PF [any] */
unsigned pci_sriov_offset(const struct pci_func *pf);    /* First VF Offset [any] */
unsigned pci_sriov_stride(const struct pci_func *pf);    /* VF Stride [any] */
/* The routing id of VF @index: pci_func_new() has seen that all of them fit below bus 256.  [any]
 */
struct pci_addr pci_sriov_vf_addr(const struct pci_func *pf, unsigned index);

/*
 * What the host does to make @n VFs: NumVFs, then VF Enable and VF MSE; and to take them away, in
 * the other order.  VFs that exist meanwhile answer accordingly (see pci_memory_decoded()).  Fires
 * nothing.  0, -EINVAL (@n is 0 or above TotalVFs, no PF) or -EBUSY (enabled already).
 */
int pci_sriov_enable(struct pci_func *pf, unsigned n);
void pci_sriov_disable(struct pci_func *pf);
/* How many the host has enabled, whatever the registers hold at the moment.  [any] */
unsigned pci_sriov_num_vfs(const struct pci_func *pf);

/*
 * BAR @bar (0 to 5) of the VFs: the bytes that it has in each one (0: not implemented, also for the
 * upper half of a 64-bit one), the sizes that it can have (bit n: 1 << (n + 20); 0: it is fixed),
 * and where VF 0's is: the next VF's follows at once.
 *
 * Resizing is what the VF resizable BAR capability does: -EOPNOTSUPP without it, -EINVAL for a size
 * that it does not offer, -EBUSY while VFs are enabled.  A new size leaves the address that the
 * register holds under the new mask: the host places the BAR anew (pci_sriov_set_bar_address())
 * before VFs are enabled.  VFs that are made afterwards have the new size in pci_func_desc().
 */
uint64_t pci_sriov_bar_size(const struct pci_func *pf, unsigned bar);
unsigned pci_sriov_bar_flags(const struct pci_func *pf, unsigned bar); /* UVFIO_BAR_… */
uint64_t pci_sriov_bar_sizes(const struct pci_func *pf, unsigned bar);
int pci_sriov_resize_bar(struct pci_func *pf, unsigned bar, uint64_t size);
void pci_sriov_set_bar_address(struct pci_func *pf, unsigned bar, uint64_t address);
uint64_t pci_sriov_bar_address(const struct pci_func *pf, unsigned bar);
/* Have all VFs that will be made show INTA as their interrupt pin, which hardware's VFs cannot have:
 * for INTx from a timer (A.8, `vf-poll-interrupt=`). */
void pci_sriov_give_pin(struct pci_func *pf);

/* ---- a VF ---- */

/*
 * VF @index of @pf: config space as hardware has it.  Vendor and device id read ffff, base
 * addresses, ROM, interrupt line and pin 0; of COMMAND only bus mastering can be set; of device
 * and link control nothing but FLR.  Its pci_func_desc() is sriov->vf with what a VF has from its
 * PF: real vendor and device id, subsystem, class, revision, no pin, no ROM; and BARs with their
 * present sizes.
 *
 * Memory is decoded (pci_memory_decoded(), [any]) while VF Enable and VF MSE of the PF are set, and
 * enabled (pci_memory_enabled(), [any]) in every power state above D3hot.  Bus mastering needs VF
 * Enable, too.  When the PF's bits change by a write, the PF's ->sriov() is fired: whoever owns the
 * VFs then looks at them anew.
 */
int pci_func_new_vf(const struct pci_func *pf, unsigned index, const struct pci_func_ops *ops,
		    void *ops_arg, struct pci_func **out, struct uvfio_error *err);
unsigned pci_vf_index(const struct pci_func *vf); /* [any] */

#endif
