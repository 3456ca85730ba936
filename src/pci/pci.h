/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A PCI function as hardware has it: its real configuration space, with the bits that software may
 * change, and what happens when it does.  What a VFIO user sees of it is vconfig.h.
 *
 * Locks: the caller serialises accesses to one function (vfio/ holds the device's config mutex).
 */
#ifndef UVFIO_PCI_PCI_H
#define UVFIO_PCI_PCI_H

#include <stdbool.h>
#include <stdint.h>
#include <uvfio/device.h>

#define PCI_CONFIG_SIZE     256u
#define PCI_EXT_CONFIG_SIZE 4096u

struct pci_addr {
	uint16_t domain;
	uint8_t bus, dev, fn;
};
/* "0000:01:00.0" (also "01:00.0"); 0 or -EINVAL. */
int pci_addr_parse(const char *s, struct pci_addr *addr);
void pci_addr_format(const struct pci_addr *addr, char out[16]);

struct pci_func;

/*
 * What the function and the machine around it tell each other; every member may be NULL.  All are
 * called with the caller's serialisation held, so they take no lock that is held elsewhere while
 * this room is called.
 *
 * Events: after the bytes have changed; pci_hw_set(), _reset() and _restore() cause none.
 */
struct pci_func_ops {
	void (*command)(void *arg, uint16_t old, uint16_t new_value); /* MEM, IO, MASTER, INTx */
	/* D0 … D3hot = 3.  A soft reset of config space (D3hot → D0 without NoSoftRst) and its
	 * restoration by pci_set_power_state() have happened: look at COMMAND anew. */
	void (*power)(void *arg, unsigned old_state, unsigned new_state);
	void (*flr)(void *arg); /* FLR or AF-FLR bit written with 1 */
	/* A write that touches bytes which the model declared. */
	void (*model_write)(void *arg, unsigned off, unsigned size, uint32_t value);
	void (*msi)(void *arg);   /* MSI Enable, MME or mask bits changed: see pci_msi_state() */
	void (*sriov)(void *arg); /* of a PF: VF Enable or VF MSE changed (pci/sriov.h) */

	/* Read live, at a read of the register that shows it. */
	bool (*intx_line)(void *arg);       /* STATUS: INTx is asserted */
	bool (*intx_masked)(void *arg);     /* COMMAND.INTX_DISABLE, which the host owns; NULL: as
					     * written */
	uint32_t (*msi_pending)(void *arg); /* the pending dword */
	/* How many MSI-X vectors there are now (B): Table Size, and the list, which has no MSI-X
	 * capability while there are none; NULL: as described. */
	unsigned (*msix_vectors)(void *arg);
};

/* Build the function's config space from @desc, which is checked (message in @err). */
int pci_func_new(const struct uvfio_pci_desc *desc, const struct pci_addr *addr,
		 const struct pci_func_ops *ops, void *ops_arg, struct pci_func **out,
		 struct uvfio_error *err);
void pci_func_free(struct pci_func *func);

/* The function is not alone in its slot: the header type says so from now on, whatever is reset. */
void pci_func_set_multifunction(struct pci_func *func);

const struct pci_addr *pci_func_addr(const struct pci_func *func);
unsigned pci_func_config_size(const struct pci_func *func); /* 256 or 4096 */
/* The description it was built from (areas and capability data copied). */
const struct uvfio_pci_desc *pci_func_desc(const struct pci_func *func);
/* Real config space: reads, and writes that obey the hardware's masks and fire the ops.
 * @size 1, 2 or 4, inside config space. */
uint32_t pci_hw_read(const struct pci_func *func, unsigned off, unsigned size);
void pci_hw_write(struct pci_func *func, unsigned off, unsigned size, uint32_t value);
/* For the function itself: sets bytes whatever the masks say, fires nothing.  A VF's COMMAND has
 * bus mastering all the same, and nothing else. */
void pci_hw_set(struct pci_func *func, unsigned off, unsigned size, uint32_t value);
/* Bytes of data that the model declared (capabilities with data, config areas), @size 1, 2 or 4:
 * 0, or -EINVAL where not all are such.  Any thread, without the caller's serialisation. */
int pci_model_get(const struct pci_func *func, unsigned off, unsigned size, uint32_t *value);
int pci_model_set(struct pci_func *func, unsigned off, unsigned size, uint32_t mask,
		  uint32_t value);
/* Back to the state after reset (BARs and command zero, power state D0, …); fires nothing.  Sticky
 * bits (AER) survive all but UVFIO_RESET_POWER_ON; MPS and the link's control bits survive all but
 * that and UVFIO_RESET_BUS. */
void pci_hw_reset(struct pci_func *func, enum uvfio_reset_kind kind);
/* Copy of config space, and back what the PCI core saves around a reset: the bits that software may
 * write of the header and of the capabilities that it knows, without the power state.  What it does
 * not know stays as it is: registers of the model's but for PCI-X control, and the registers of
 * vital product data.  The status bits of advanced error reporting are cleared by it.  MSI and
 * MSI-X control follow the present interrupt mode (pci_set_irq_mode()).  Fires nothing. */
void pci_hw_save(const struct pci_func *func, uint8_t state[PCI_EXT_CONFIG_SIZE]);
void pci_hw_restore(struct pci_func *func, const uint8_t state[PCI_EXT_CONFIG_SIZE]);

/* Offset of a standard or extended capability, 0 when absent.  Any thread. */
unsigned pci_find_cap(const struct pci_func *func, uint8_t id);
unsigned pci_find_ext_cap(const struct pci_func *func, uint16_t id);

bool pci_is_pcie(const struct pci_func *func);

/* These five may be called by any thread without the caller's serialisation. */
bool pci_memory_enabled(const struct pci_func *func); /* COMMAND.MEM and power state D0..D2 */
bool pci_memory_decoded(const struct pci_func *func); /* COMMAND.MEM, whatever the power state */
bool pci_io_decoded(const struct pci_func *func);     /* COMMAND.IO */
bool pci_bus_master(const struct pci_func *func);     /* COMMAND.MASTER and D0 */
unsigned pci_power_state(const struct pci_func *func);

/* What the host does to change the power state (A.7, PM): an unsupported state, or one that is less
 * deep than the present one and not D0, is -EINVAL and changes nothing; without NoSoftRst config
 * space is saved on the way to D3hot and restored in D0.  Fires
 * ->power() last. */
int pci_set_power_state(struct pci_func *func, unsigned state);

/* All of config space as reads see it now. */
void pci_hw_image(const struct pci_func *func, uint8_t bytes[PCI_EXT_CONFIG_SIZE]);

/* GET_IRQ_INFO's counts, read live: 1 << MMC, and the MSI-X vectors that there are; 0 without the
 * capability. */
unsigned pci_msi_count(const struct pci_func *func);
unsigned pci_msix_count(const struct pci_func *func);
/* What the host writes when interrupt mode @mode (VFIO_PCI_MSI_IRQ_INDEX, …, or -1 for none) has
 * become active with @vectors vectors: MSI Enable and MME, MSI-X Enable. */
void pci_set_irq_mode(struct pci_func *func, int mode, unsigned vectors);
/* MSI as the hardware has it now: Enable, and the mask dword (0 without per-vector masking). */
void pci_msi_state(const struct pci_func *func, bool *enabled, uint32_t *mask);
bool pci_msix_enabled(const struct pci_func *func);

/*
 * An error occurs in the function: bits of the correctable or of the uncorrectable error status
 * register, and the header of the packet that was at fault.  0 and what the host hears of it, by
 * the masks, the severities and the enable bits; -EOPNOTSUPP without advanced error reporting,
 * -EINVAL for bits that the function cannot set.  The second function is what the host's error
 * driver clears afterwards: the device status, and the status bits of the kind that it heard of
 * (not the fatal ones, which the reset that follows leaves, too).  Fire nothing.
 */
enum pci_aer_heard { PCI_AER_NOTHING, PCI_AER_CORRECTABLE, PCI_AER_NONFATAL, PCI_AER_FATAL };
int pci_aer_report(struct pci_func *func, bool correctable, uint32_t status,
		   const uint32_t header[4], enum pci_aer_heard *heard);
void pci_aer_host_clear(struct pci_func *func, enum pci_aer_heard heard);

/* Vital product data behind the VPD capability: four bytes at @addr (to write: a multiple of 4,
 * else -EINVAL).  0, or -ENODEV without VPD, -EIO beyond the data or (write) where it is read-only.
 */
int pci_vpd_read(const struct pci_func *func, unsigned addr, uint32_t *data);
int pci_vpd_write(struct pci_func *func, unsigned addr, uint32_t data);

#endif
