/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Config space as a VFIO user sees it (A.7): a byte map that assigns each byte to a capability,
 * with tables of virtual and write masks.  Made at the first open, thrown away at the last close.
 *
 * Locks: the caller serialises accesses to one function.
 */
#ifndef UVFIO_PCI_VCONFIG_H
#define UVFIO_PCI_VCONFIG_H

#include <sys/types.h>
#include "pci/pci.h"

struct pci_vconfig;

/* What a user's write causes above this room.  All members must be set. */
struct pci_vconfig_ops {
	/* Virtual DisINTx changed. */
	void (*intx_disable)(void *arg, bool disabled);
	/* A write of COMMAND: mapped BARs must be withdrawn (memory = false) or given back. */
	void (*memory)(void *arg, bool enabled);
	/* FLR: try a function reset. */
	void (*flr)(void *arg);
	/* MSI: active through SET_IRQS?  And log2 of how many vectors are allocated (A.7, MSI). */
	bool (*msi_active)(void *arg, unsigned *log2_allocated);
	/* PM: set the real power state (D3hot withdraws mappings). */
	void (*power)(void *arg, unsigned state);
};

/* @intx_capable: 2.3-compliant INTx masking.  Builds from the function's present config space. */
int pci_vconfig_new(struct pci_func *func, bool intx_capable, const struct pci_vconfig_ops *ops,
		    void *ops_arg, struct pci_vconfig **out);
void pci_vconfig_free(struct pci_vconfig *vc);

/* @len bytes at @off: returns @len, or -EFAULT when it starts or ends beyond config space (nothing
 * is applied).  Length 0 returns 0. */
ssize_t pci_vconfig_read(struct pci_vconfig *vc, uint64_t off, void *buf, size_t len);
ssize_t pci_vconfig_write(struct pci_vconfig *vc, uint64_t off, const void *buf, size_t len);

uint16_t pci_vconfig_command(const struct pci_vconfig *vc); /* the virtual copy */
bool pci_vconfig_intx_disabled(const struct pci_vconfig *vc);
uint8_t pci_vconfig_intx_pin(const struct pci_vconfig *vc);

#endif
