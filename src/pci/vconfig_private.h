/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the files of virtual config space share: vconfig.c (accesses), vconfig_map.c (which byte is
 * whose), vconfig_header.c and vconfig_caps.c (what writes cause).
 */
#ifndef UVFIO_PCI_VCONFIG_PRIVATE_H
#define UVFIO_PCI_VCONFIG_PRIVATE_H

#include "pci/caps.h"
#include "pci/func_private.h"
#include "pci/sriov.h"
#include "pci/vconfig.h"

#define VC_GAP      0xffffu
#define VC_MAX_CAPS (1 + (PCI_EXT_CONFIG_SIZE - PCI_STD_HEADER_SIZEOF) / 4)

struct vcap {
	const struct pci_cap_rule *rule;
	unsigned start;
};

struct pci_vconfig {
	struct pci_func *func;
	struct pci_vconfig_ops ops;
	void *arg;
	unsigned size;
	bool vf;
	bool intx_disabled; /* virtual DisINTx as last reported */
	uint32_t bars[7];   /* the real ones, ROM last */

	uint16_t owner[PCI_EXT_CONFIG_SIZE];
	uint8_t virt[PCI_EXT_CONFIG_SIZE];
	uint8_t wmask[PCI_EXT_CONFIG_SIZE];
	uint8_t bytes[PCI_EXT_CONFIG_SIZE];

	unsigned nr_caps;
	struct vcap caps[VC_MAX_CAPS];
};

/* A piece of an access: @off from the start of its capability. */
struct vc_piece {
	const struct vcap *cap;
	unsigned pos, off, size;
	uint32_t value;
};

/* Does the piece contain the byte at @off of its capability? */
static inline bool vc_covers(const struct vc_piece *p, unsigned off)
{
	return p->off <= off && off < p->off + p->size;
}

static inline uint32_t vc_get(const uint8_t *bytes, unsigned pos, unsigned size)
{
	uint32_t value = 0;

	for (unsigned i = 0; i < size; i++)
		value |= (uint32_t)bytes[pos + i] << (8 * i);
	return value;
}

static inline void vc_put(uint8_t *bytes, unsigned pos, unsigned size, uint32_t value)
{
	for (unsigned i = 0; i < size; i++)
		bytes[pos + i] = (uint8_t)(value >> (8 * i));
}

/* vconfig.c: the formula, without what is caused beyond the bits. */
uint32_t vc_plain_read(const struct pci_vconfig *vc, const struct vc_piece *p);
void vc_plain_write(struct pci_vconfig *vc, const struct vc_piece *p);

/* What a capability causes beyond its bits; either may be NULL. */
struct vc_hook {
	uint32_t (*read)(struct pci_vconfig *vc, const struct vc_piece *p);
	void (*write)(struct pci_vconfig *vc, const struct vc_piece *p);
};

/* vconfig_header.c */
uint32_t vc_header_read(struct pci_vconfig *vc, const struct vc_piece *p);
void vc_header_write(struct pci_vconfig *vc, const struct vc_piece *p);
/* Where BAR @i lies, 6: the ROM's. */
static inline unsigned vc_bar_pos(unsigned i)
{
	return i < 6 ? PCI_BASE_ADDRESS_0 + 4 * i : PCI_ROM_ADDRESS;
}

/* vconfig_caps.c: by enum pci_cap_hook. */
extern const struct vc_hook vc_hooks[PCI_HOOK_NUM];

/* vconfig_map.c: assign every byte.  The struct is zeroed but for func and size. */
void vc_map(struct pci_vconfig *vc);

#endif
