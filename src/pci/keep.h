/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The config space of a function that goes on elsewhere: the real one and, while it is open, the
 * one that its user sees (A.7), taken from one function and put into another of the same kind.
 *
 * Not among it: where BARs are, which is the machine's; the model's own data but for what software
 * may write of it; the state of a PF's VFs.
 *
 * Locks: as for the rest of this room, the caller's.
 */
#ifndef UVFIO_PCI_KEEP_H
#define UVFIO_PCI_KEEP_H

#include "migration/stream.h"
#include "pci/vconfig.h"

#define PCI_KEPT_VPD_MAX 32768u

struct pci_kept {
	bool open;       /* there is a virtual copy */
	bool bars_lost;  /* hardware BARs are not where they were: it was reset behind its user */
	bool have_saved; /* it is in D3hot, and this is what it left behind */
	uint8_t hw[PCI_EXT_CONFIG_SIZE], virt[PCI_EXT_CONFIG_SIZE], saved[PCI_EXT_CONFIG_SIZE];
	uint32_t vpd_len;
	uint8_t *vpd; /* owned; NULL: none */
};

/* @vc NULL: it is not open.  0 or -ENOMEM. */
int pci_keep(const struct pci_func *func, const struct pci_vconfig *vc, struct pci_kept *out);
void pci_kept_fini(struct pci_kept *kept);

/* The contents of a section, and back.  0; -ENOMEM; -EINVAL with a message when it is not what a
 * function like @func can hold. */
void pci_kept_write(const struct pci_func *func, const struct pci_kept *kept, struct mig_buf *out);
int pci_kept_read(const struct pci_func *func, struct mig_in *in, struct pci_kept *out,
		  struct uvfio_error *err);

/*
 * Put the bits that software can change, and status that it can clear, into @func.  Message
 * interrupts are enabled as far as their mode is active (pci_set_irq_mode()), bus mastering is not.
 * Fires nothing.
 */
void pci_keep_put(struct pci_func *func, const struct pci_kept *kept);
/* Ditto into @vc, which has just been made; before pci_keep_put(). */
void pci_keep_put_virtual(struct pci_vconfig *vc, const struct pci_kept *kept);
/* Bus mastering as it was. */
void pci_keep_master(struct pci_func *func, const struct pci_kept *kept);
bool pci_kept_intx_disabled(const struct pci_kept *kept);

#endif
