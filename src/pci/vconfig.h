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

/*
 * What a user's write causes above this room.  All members must be set.  Called with the caller's
 * serialisation held: they take no lock under which this room is called (irq_active(),
 * irq_intx_disable() and irq_set_gate() are made for it).
 */
struct pci_vconfig_ops {
	/* Virtual DisINTx changed. */
	void (*intx_disable)(void *arg, bool disabled);
	/* A write of COMMAND: mapped BARs must be withdrawn (false, before the hardware changes) or
	 * given back (true, after it). */
	void (*memory)(void *arg, bool enabled);
	/* FLR: try a function reset. */
	void (*flr)(void *arg);
	/* MSI: active through SET_IRQS?  *@log2_allocated: log2 of the vectors allocated, rounded
	 * up; 0 before the first allocation, the last value after a disable (A.7, MSI). */
	bool (*msi_active)(void *arg, unsigned *log2_allocated);
	/* PM: withdraw mappings for D3hot, then pci_set_power_state(), whose failure is swallowed.
	 */
	void (*power)(void *arg, unsigned state);
};

#define PCI_VCONFIG_NO_INTX (1u << 0) /* broken INTx or no host irq: the pin is hidden */

/* Builds from the function's present config space, whose BARs are taken as the real ones.  A VF
 * (pci_is_vf()) has real ids, memory enabled from the start, and no pin. */
int pci_vconfig_new(struct pci_func *func, unsigned flags, const struct pci_vconfig_ops *ops,
		    void *ops_arg, struct pci_vconfig **out);
void pci_vconfig_free(struct pci_vconfig *vc);

/* @len bytes at @off: returns @len, or -EFAULT when it starts or ends beyond config space (nothing
 * is applied).  Length 0 returns 0. */
ssize_t pci_vconfig_read(struct pci_vconfig *vc, uint64_t off, void *buf, size_t len);
ssize_t pci_vconfig_write(struct pci_vconfig *vc, uint64_t off, const void *buf, size_t len);

uint16_t pci_vconfig_command(const struct pci_vconfig *vc); /* the virtual copy */
bool pci_vconfig_intx_disabled(const struct pci_vconfig *vc);
uint8_t pci_vconfig_intx_pin(const struct pci_vconfig *vc);
/* "Memory enabled" of A.6: power state below D3hot and (VF or virtual COMMAND.MEM). */
bool pci_vconfig_memory_enabled(const struct pci_vconfig *vc);

#endif
