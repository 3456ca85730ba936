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
 * What a function is made of; all VFs of a PF share one.  One byte of each array a byte of config
 * space.  A write of a value v changes a register r to
 *	((r & ~wmask) | (v & wmask)) & ~(v & w1c)
 * and a reset to (r & keep) | (reset & ~keep), where keep depends on the kind of reset.
 */
struct pci_layout {
	atomic_uint refs;
	struct uvfio_pci_desc desc; /* with all that it points to */

	uint8_t wmask[PCI_EXT_CONFIG_SIZE];
	uint8_t w1c[PCI_EXT_CONFIG_SIZE];
	uint8_t reset[PCI_EXT_CONFIG_SIZE];
	uint8_t sticky[PCI_EXT_CONFIG_SIZE]; /* survives all but power-on */
	uint8_t keep[PCI_EXT_CONFIG_SIZE];   /* survives a function's own resets, not the bus's */

	/* Bytes of data that the model declared: it may change them at any time, so they are read
	 * and written under model_lock (a leaf). */
	bool model[PCI_EXT_CONFIG_SIZE];
};

/*
 * What a PF and its VFs share: registers of the PF that act on its VFs, as they are at the moment.
 * The PF writes (publish), the VFs read, both in any thread.
 */
#define PCI_VFS_ENABLED (1u << 0) /* VF Enable, and the PF is not in D3hot */
#define PCI_VFS_DECODED (1u << 1) /* and VF MSE */

struct pci_vf_link {
	atomic_uint refs;
	_Atomic uint32_t state; /* PCI_VFS_… */
	/* How errors are told: the PF's masks and enable bits count for its VFs. */
	_Atomic uint32_t aer_mask, aer_severity, aer_cor_mask;
	_Atomic uint32_t error_control; /* device control, COMMAND in the upper half */
};

/* What the host's PCI core knows of a PF's VFs, and what the PF makes them of. */
struct pci_sriov {
	unsigned pos, rebar; /* capabilities; the second 0: none */
	_Atomic unsigned num_vfs;
	uint16_t ctrl; /* as the host has set it */
	uint64_t address[PCI_SRIOV_NUM_BARS], size[PCI_SRIOV_NUM_BARS];
	unsigned rebar_index[PCI_SRIOV_NUM_BARS]; /* of BAR i in the resizable ones, from 1 */
	struct pci_func *vf;                      /* what each VF is a copy of */
};

struct pci_func {
	struct pci_addr addr;
	struct uvfio_pci_desc desc; /* layout->desc, with the BARs' present sizes */
	struct pci_layout *layout;
	struct pci_func_ops ops;
	void *arg;
	unsigned size; /* of config space */

	uint8_t config[PCI_EXT_CONFIG_SIZE];
	pthread_mutex_t model_lock;

	uint8_t *saved; /* PCI_EXT_CONFIG_SIZE bytes: taken on the way to D3hot; NULL: loses nothing
			 */
	bool have_saved;
	int irq_mode; /* of pci_set_irq_mode(): the host's, so no reset changes it */
	unsigned irq_vectors;
	_Atomic uint32_t live;

	/* Offsets of capabilities that have behaviour; 0: absent. */
	unsigned pm, vpd, msi, msix, exp, af, aer, pcix;
	unsigned msix_link; /* where the byte lies that points to @msix */
	uint8_t *vpd_data;  /* desc.vpd_len bytes */

	struct pci_sriov *sriov;  /* of a PF */
	struct pci_vf_link *link; /* of a PF and of its VFs */
	bool is_vf;
	bool vf_ari; /* a VF with the capability, since its PF has it */
	unsigned vf_index;
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

/* Not in Debian 12's headers: VF resizable BAR. */
#define PCI_VF_REBAR_ID   0x24
#define PCI_VF_REBAR_CAP  4 /* of the first BAR; sizes from bit 4, which is 1 MiB */
#define PCI_VF_REBAR_CTRL 8

/* desc.c */
/* Does the core build capability @id, as the fields of @desc say? */
bool pci_desc_builds(const struct uvfio_pci_desc *desc, bool extended, unsigned id);
int pci_desc_check(const struct uvfio_pci_desc *desc, struct uvfio_error *err);
/* Deep copy: areas, data of capabilities and config areas, ROM.  -ENOMEM leaves @to to
 * pci_desc_release(). */
int pci_desc_copy(struct uvfio_pci_desc *to, const struct uvfio_pci_desc *from);
void pci_desc_release(struct uvfio_pci_desc *desc);
/* Does the model describe the extended capability itself? */
bool pci_desc_has_data(const struct uvfio_pci_desc *desc, unsigned id);

/* desc_sriov.c: desc->sriov, which is there, and the VFs' own description. */
int pci_desc_check_sriov(const struct uvfio_pci_desc *desc, struct uvfio_error *err);
/* What a VF of @pf is: sriov->vf with what it has from the PF. */
struct uvfio_pci_desc pci_desc_vf(const struct uvfio_pci_desc *pf);
/* BARs of VFs that can be resized. */
unsigned pci_desc_nr_vf_rebar(const struct uvfio_sriov_desc *sriov);

/* build.c */
/* Fill reset values and masks from func->desc: 0, or -EINVAL when it does not fit. */
int pci_build(struct pci_func *func, struct uvfio_error *err);

/* func.c */
void pci_config_reset(struct pci_func *func, enum uvfio_reset_kind kind);
/* Bring what other threads may ask in line with config space. */
void pci_publish(struct pci_func *func);

/* sriov.c: the PF's registers. */
void pci_build_sriov(struct pci_func *func, unsigned pos);
void pci_build_vf_rebar(struct pci_func *func, unsigned pos);
/* What a write may not change, though its mask says so: see sriov.c. */
struct pci_sriov_regs {
	uint16_t ctrl, num_vfs;
	uint32_t page_size, rebar[PCI_SRIOV_NUM_BARS];
};
void pci_sriov_before_write(const struct pci_func *pf, struct pci_sriov_regs *old);
void pci_sriov_after_write(struct pci_func *pf, const struct pci_sriov_regs *old);
bool pci_sriov_owns(const struct pci_func *func, unsigned off); /* a byte of its capabilities? */
void pci_sriov_restore(struct pci_func *pf);
void pci_sriov_publish(struct pci_func *pf);
/* The BARs' masks and what they hold, by the sizes that the registers say now. */
void pci_sriov_fit_bars(struct pci_func *pf);

/* func_new.c: one more that is made of the same; the caller gives it its address.  NULL: no memory.
 */
struct pci_func *pci_func_like(const struct pci_func *like);

/* vf.c */
/* What registers of a VF do not have that a function of its own has: in func->layout. */
void pci_vf_strip(struct pci_func *func);

#endif
