/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What func.c (how a function behaves), desc.c (its description) and build.c (what it is made of)
 * share.
 */
#ifndef UVFIO_PCI_FUNC_PRIVATE_H
#define UVFIO_PCI_FUNC_PRIVATE_H

#include <linux/pci_regs.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

#include "pci/pci.h"

/* Bits of struct pci_func.live: what other threads may ask without the caller's serialisation. */
#define PCI_LIVE_POWER  3u        /* the power state */
#define PCI_LIVE_MEM    (1u << 2) /* COMMAND.MEM */
#define PCI_LIVE_MASTER (1u << 3) /* COMMAND.MASTER */
#define PCI_LIVE_IO     (1u << 4) /* COMMAND.IO */

/*
 * One byte of each array a byte of config space.  A write of a value v changes a register r to
 *	((r & ~wmask) | (v & wmask)) & ~(v & w1c)
 * and a reset to (r & keep) | (reset & ~keep), where keep depends on the kind of reset.
 */
struct pci_func {
	struct pci_addr addr;
	struct uvfio_pci_desc desc;
	struct pci_func_ops ops;
	void *arg;
	unsigned size; /* of config space */

	uint8_t config[PCI_EXT_CONFIG_SIZE];
	uint8_t wmask[PCI_EXT_CONFIG_SIZE];
	uint8_t w1c[PCI_EXT_CONFIG_SIZE];
	uint8_t reset[PCI_EXT_CONFIG_SIZE];
	uint8_t sticky[PCI_EXT_CONFIG_SIZE]; /* survives all but power-on */
	uint8_t keep[PCI_EXT_CONFIG_SIZE];   /* survives a function's own resets, not the bus's */

	/* Bytes of data that the model declared: it may change them at any time, so they are read
	 * and written under model_lock (a leaf). */
	bool model[PCI_EXT_CONFIG_SIZE];
	pthread_mutex_t model_lock;

	uint8_t *saved; /* PCI_EXT_CONFIG_SIZE bytes: taken on the way to D3hot */
	bool have_saved;
	int irq_mode; /* of pci_set_irq_mode(): the host's, so no reset changes it */
	unsigned irq_vectors;
	_Atomic uint32_t live;

	/* Offsets of capabilities that have behaviour; 0: absent. */
	unsigned pm, vpd, msi, msix, exp, af, aer, pcix;
	unsigned msix_link; /* where the byte lies that points to @msix */
	uint8_t *vpd_data;  /* desc.vpd_len bytes */
};

static inline uint16_t pci_get16(const uint8_t *p)
{
	return (uint16_t)(p[0] | p[1] << 8);
}

static inline uint32_t pci_get32(const uint8_t *p)
{
	return (uint32_t)pci_get16(p) | (uint32_t)pci_get16(p + 2) << 16;
}

static inline void pci_put16(uint8_t *p, uint16_t v)
{
	p[0] = (uint8_t)v;
	p[1] = (uint8_t)(v >> 8);
}

static inline void pci_put32(uint8_t *p, uint32_t v)
{
	pci_put16(p, (uint16_t)v);
	pci_put16(p + 2, (uint16_t)(v >> 16));
}

/* The mask and pending dwords of the MSI capability at @cap: 0 without per-vector masking. */
unsigned pci_msi_mask_offset(const struct pci_func *func);

/* msix.c */
void pci_msix_find_link(struct pci_func *func);
/* Of the byte at @off, as config space stores it, to what a read shows. */
void pci_msix_live(const struct pci_func *func, unsigned off, uint8_t *byte);
/* Message control as the host's mode wants it. */
uint16_t pci_msix_flags(const struct pci_func *func);

/* vpd.c: what hardware does when the flag's byte is written: the transfer, then the flag changes.
 */
void pci_vpd_transfer(struct pci_func *func);

/* desc.c */
/* Does the core build capability @id, as the fields of @desc say? */
bool pci_desc_builds(const struct uvfio_pci_desc *desc, bool extended, unsigned id);
int pci_desc_check(const struct uvfio_pci_desc *desc, struct uvfio_error *err);
/* Deep copy: areas, data of capabilities and config areas, ROM.  -ENOMEM leaves @to to
 * pci_desc_release(). */
int pci_desc_copy(struct uvfio_pci_desc *to, const struct uvfio_pci_desc *from);
void pci_desc_release(struct uvfio_pci_desc *desc);
/* build.c */
/* Fill reset values and masks from func->desc: 0, or -EINVAL when it does not fit. */
int pci_build(struct pci_func *func, struct uvfio_error *err);

#endif
