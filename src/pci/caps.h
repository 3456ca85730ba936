/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A.7's tables: which capabilities a VFIO user sees, and which of their bits are virtual or may be
 * written.  The tables are data; what a write causes beyond its bits is named by a hook, which
 * vconfig.c implements.
 *
 * A bit of a capability that no row mentions is read from hardware and cannot be written.  The
 * header of every visible capability (id and next, or the extended dword) is virtual and read-only;
 * rows need not say so.
 */
#ifndef UVFIO_PCI_CAPS_H
#define UVFIO_PCI_CAPS_H

#include "pci/pci.h"

/* Up to four bytes at @off of a capability. */
struct pci_cap_row {
	uint16_t off;
	uint8_t width;  /* bytes: 1, 2, 4 */
	uint32_t virt;  /* read from the virtual copy */
	uint32_t write; /* the user may change: in the virtual copy if virtual, else in hardware */
};

enum pci_cap_hook {
	PCI_HOOK_NONE,
	PCI_HOOK_HEADER, /* COMMAND, BAR sizing */
	PCI_HOOK_PM,
	PCI_HOOK_VPD,
	PCI_HOOK_MSI,
	PCI_HOOK_EXP,
	PCI_HOOK_AF,
	PCI_HOOK_NUM,
};

#define PCI_CAP_RAW_WRITE (1u << 0) /* everything behind the header is written as is */

struct pci_cap_rule {
	uint16_t id;
	uint16_t len; /* bytes, 0: ask @length */
	const char *name;
	const struct pci_cap_row *rows;
	unsigned nr_rows;
	unsigned flags;
	enum pci_cap_hook hook;
	/* Of the capability at @pos.  Returns the length and may choose other rows. */
	unsigned (*length)(const struct pci_func *func, unsigned pos,
			   const struct pci_cap_row **rows, unsigned *nr_rows);
};

/* The type-0 header (its "capability" begins at 0). */
extern const struct pci_cap_rule pci_header_rule;
/* The rule for a visible capability; NULL: hidden. */
const struct pci_cap_rule *pci_cap_rule(bool extended, unsigned id);

#endif
