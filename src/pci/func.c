/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A PCI function as hardware has it.
 *
 * Theory of operation.  Config space is bytes with masks (func_private.h); build.c fills them from
 * the description, and a write is the same formula everywhere.  What a write *does* is found by
 * comparing the few registers that have effects (COMMAND, PMCSR, the FLR bits, MSI) before and
 * after, so that it does not matter with which width or offset software reached them.
 *
 * Power: D0, D3hot and, where the description says so, D1 and D2.  Going from D3hot to D0 without
 * NoSoftRst resets config space, as the PCI power management specification says; the host
 * (pci_set_power_state()) saves it before and restores it after.
 */
#include <errno.h>
#include <linux/vfio.h>
#include <stdlib.h>

#include "pci/sriov.h"
#include "pci/func_private.h"

#define D3HOT 3u

/* ---- the model's bytes ---- */

static void model_lock(const struct pci_func *func)
{
	pthread_mutex_lock(&((struct pci_func *)(uintptr_t)func)->model_lock);
}

static void model_unlock(const struct pci_func *func)
{
	pthread_mutex_unlock(&((struct pci_func *)(uintptr_t)func)->model_lock);
}

/* Is any of these bytes the model's? */
static bool is_model(const struct pci_func *func, unsigned off, unsigned size)
{
	for (unsigned i = 0; i < size; i++) {
		if (func->layout->model[off + i])
			return true;
	}
	return false;
}

/* Are all? */
static bool all_model(const struct pci_func *func, unsigned off, unsigned size)
{
	if ((size != 1 && size != 2 && size != 4) || off >= func->size || size > func->size - off)
		return false;
	for (unsigned i = 0; i < size; i++) {
		if (!func->layout->model[off + i])
			return false;
	}
	return true;
}

int pci_model_get(const struct pci_func *func, unsigned off, unsigned size, uint32_t *value)
{
	if (!all_model(func, off, size))
		return -EINVAL;
	*value = 0;
	model_lock(func);
	for (unsigned i = 0; i < size; i++)
		*value |= (uint32_t)func->config[off + i] << (8 * i);
	model_unlock(func);
	return 0;
}

int pci_model_set(struct pci_func *func, unsigned off, unsigned size, uint32_t mask, uint32_t value)
{
	if (!all_model(func, off, size))
		return -EINVAL;
	model_lock(func);
	for (unsigned i = 0; i < size; i++) {
		uint8_t m = (uint8_t)(mask >> (8 * i)), v = (uint8_t)(value >> (8 * i));

		func->config[off + i] = (uint8_t)((func->config[off + i] & ~m) | (v & m));
	}
	model_unlock(func);
	return 0;
}

/* ---- reading ---- */

unsigned pci_msi_mask_offset(const struct pci_func *func)
{
	uint16_t flags;

	if (!func->msi)
		return 0;
	flags = pci_get16(func->config + func->msi + PCI_MSI_FLAGS);
	if (!(flags & PCI_MSI_FLAGS_MASKBIT))
		return 0;
	return func->msi + (flags & PCI_MSI_FLAGS_64BIT ? PCI_MSI_MASK_64 : PCI_MSI_MASK_32);
}

/* The byte at @off as a read sees it: bits that live elsewhere are fetched. */
static uint8_t read_byte(const struct pci_func *func, unsigned off, unsigned msi_pending)
{
	const struct pci_func_ops *ops = &func->ops;
	uint8_t byte = func->config[off];

	/* A VF has no INTx to be masked or asserted. */
	if (off == PCI_COMMAND + 1 && ops->intx_masked && !func->is_vf) {
		byte &= (uint8_t) ~(PCI_COMMAND_INTX_DISABLE >> 8);
		if (ops->intx_masked(func->arg))
			byte |= PCI_COMMAND_INTX_DISABLE >> 8;
	} else if (off == PCI_STATUS && ops->intx_line && !func->is_vf) {
		byte &= (uint8_t)~PCI_STATUS_INTERRUPT;
		if (ops->intx_line(func->arg))
			byte |= PCI_STATUS_INTERRUPT;
	} else if (msi_pending && off - msi_pending < 4 && ops->msi_pending) {
		byte = (uint8_t)(ops->msi_pending(func->arg) >> (8 * (off - msi_pending)));
	} else {
		pci_msix_live(func, off, &byte);
	}
	return byte;
}

uint32_t pci_hw_read(const struct pci_func *func, unsigned off, unsigned size)
{
	unsigned mask = pci_msi_mask_offset(func);
	bool model;
	uint32_t value = 0;

	if (size > 4 || off >= func->size || size > func->size - off)
		return UINT32_MAX;
	model = is_model(func, off, size);
	if (model)
		model_lock(func);
	for (unsigned i = 0; i < size; i++)
		value |= (uint32_t)read_byte(func, off + i, mask ? mask + 4 : 0) << (8 * i);
	if (model)
		model_unlock(func);
	return value;
}

/* ---- writing ---- */

/* The registers whose change has an effect. */
struct effects {
	uint16_t command;
	unsigned power;
	uint16_t msi_flags;
	uint32_t msi_mask;
	uint32_t vfs; /* PCI_VFS_… */
};

static unsigned stored_power(const struct pci_func *func)
{
	return func->pm ? func->config[func->pm + PCI_PM_CTRL] & PCI_PM_CTRL_STATE_MASK : 0;
}

static void effects_take(const struct pci_func *func, struct effects *e)
{
	unsigned mask = pci_msi_mask_offset(func);

	e->command = pci_get16(func->config + PCI_COMMAND);
	e->power = stored_power(func);
	e->msi_flags = func->msi ? pci_get16(func->config + func->msi + PCI_MSI_FLAGS) : 0;
	e->msi_mask = mask ? pci_get32(func->config + mask) : 0;
	e->vfs = func->sriov ? atomic_load(&func->link->state) : 0;
}

void pci_publish(struct pci_func *func)
{
	uint16_t command = pci_get16(func->config + PCI_COMMAND);
	uint32_t live = stored_power(func);

	if (command & PCI_COMMAND_MEMORY)
		live |= PCI_LIVE_MEM;
	if (command & PCI_COMMAND_IO)
		live |= PCI_LIVE_IO;
	if (command & PCI_COMMAND_MASTER)
		live |= PCI_LIVE_MASTER;
	atomic_store_explicit(&func->live, live, memory_order_release);
	if (func->sriov)
		pci_sriov_publish(func);
}

static bool supports(const struct pci_func *func, unsigned state)
{
	switch (state) {
	case 1:
		return func->desc.pm_states & UVFIO_PM_D1;
	case 2:
		return func->desc.pm_states & UVFIO_PM_D2;
	default:
		return true;
	}
}

/* Change bytes as software's write does; no effects. */
static void store(struct pci_func *func, unsigned off, unsigned size, uint32_t value)
{
	for (unsigned i = 0; i < size; i++) {
		unsigned o = off + i;
		uint8_t v = (uint8_t)(value >> (8 * i)), wmask = func->layout->wmask[o];

		/* A state that is not supported: the write completes and is discarded. */
		if (func->pm && o == func->pm + PCI_PM_CTRL) {
			unsigned state = v & PCI_PM_CTRL_STATE_MASK;

			if (!supports(func, state))
				wmask &= (uint8_t)~PCI_PM_CTRL_STATE_MASK;
		}
		func->config[o] = (uint8_t)(((func->config[o] & ~wmask) | (v & wmask)) &
					    ~(v & func->layout->w1c[o]));
	}
}

void pci_config_reset(struct pci_func *func, enum uvfio_reset_kind kind)
{
	model_lock(func);
	for (unsigned i = 0; i < func->size; i++) {
		uint8_t keep = 0;

		if (kind != UVFIO_RESET_POWER_ON)
			keep = func->layout->sticky[i];
		if (kind != UVFIO_RESET_POWER_ON && kind != UVFIO_RESET_BUS)
			keep |= func->layout->keep[i];
		func->config[i] =
			(uint8_t)((func->config[i] & keep) | (func->layout->reset[i] & ~keep));
	}
	model_unlock(func);
	if (func->sriov)
		pci_sriov_fit_bars(func);
	pci_publish(func);
}

static bool soft_resets(const struct pci_func *func)
{
	return func->pm && !(func->config[func->pm + PCI_PM_CTRL] & PCI_PM_CTRL_NO_SOFT_RESET);
}

/* Was the bit @bit of the byte at @at among those written, as 1? */
static bool wrote_one(unsigned at, uint8_t bit, unsigned off, unsigned size, uint32_t value)
{
	return at >= off && at - off < size && (value >> (8 * (at - off)) & bit);
}

static void fire(struct pci_func *func, const struct effects *old)
{
	struct effects now;

	effects_take(func, &now);
	if (now.command != old->command && func->ops.command)
		func->ops.command(func->arg, old->command, now.command);
	if ((now.msi_flags != old->msi_flags || now.msi_mask != old->msi_mask) && func->ops.msi)
		func->ops.msi(func->arg);
	if (now.power != old->power && func->ops.power)
		func->ops.power(func->arg, old->power, now.power);
	if (now.vfs != old->vfs && func->ops.sriov)
		func->ops.sriov(func->arg);
}

void pci_hw_write(struct pci_func *func, unsigned off, unsigned size, uint32_t value)
{
	struct pci_sriov_regs vfs;
	struct effects old;
	bool flr, model;

	if (size > 4 || off >= func->size || size > func->size - off)
		return;
	effects_take(func, &old);
	if (func->sriov)
		pci_sriov_before_write(func, &vfs);
	model = is_model(func, off, size);
	if (model)
		model_lock(func);
	store(func, off, size, value);
	if (model)
		model_unlock(func);
	if (func->sriov)
		pci_sriov_after_write(func, &vfs);
	if (func->vpd && func->vpd + PCI_VPD_ADDR + 1 - off < size)
		pci_vpd_transfer(func);
	if (old.power == D3HOT && stored_power(func) == 0 && soft_resets(func))
		pci_config_reset(func, UVFIO_RESET_PM);
	pci_publish(func);

	flr = (func->exp && func->desc.flr &&
	       wrote_one(func->exp + PCI_EXP_DEVCTL + 1u, PCI_EXP_DEVCTL_BCR_FLR >> 8, off, size,
			 value)) ||
	      (func->af && (func->config[func->af + PCI_AF_CAP] & PCI_AF_CAP_FLR) &&
	       wrote_one(func->af + PCI_AF_CTRL, PCI_AF_CTRL_FLR, off, size, value));
	fire(func, &old);
	if (model && func->ops.model_write)
		func->ops.model_write(func->arg, off, size, value);
	if (flr && func->ops.flr)
		func->ops.flr(func->arg);
}

/* ---- the function itself ---- */

void pci_hw_set(struct pci_func *func, unsigned off, unsigned size, uint32_t value)
{
	if (size > 4 || off >= func->size || size > func->size - off)
		return;
	for (unsigned i = 0; i < size; i++)
		func->config[off + i] = (uint8_t)(value >> (8 * i));
	if (func->is_vf) /* the host writes the same to any function */
		pci_put16(func->config + PCI_COMMAND,
			  pci_get16(func->config + PCI_COMMAND) & PCI_COMMAND_MASTER);
	pci_publish(func);
}

void pci_func_set_multifunction(struct pci_func *func)
{
	const uint8_t multifunction = 0x80; /* newer headers: PCI_HEADER_TYPE_MFD */

	if (func->is_vf)
		return;
	func->layout->reset[PCI_HEADER_TYPE] |= multifunction;
	func->config[PCI_HEADER_TYPE] |= multifunction;
}

/* ---- reset, save, restore ---- */

static uint16_t msi_flags(const struct pci_func *func);

void pci_hw_reset(struct pci_func *func, enum uvfio_reset_kind kind)
{
	func->have_saved = false;
	pci_config_reset(func, kind);
}

void pci_hw_save(const struct pci_func *func, uint8_t state[PCI_EXT_CONFIG_SIZE])
{
	model_lock(func);
	memcpy(state, func->config, PCI_EXT_CONFIG_SIZE);
	model_unlock(func);
}

/* Does the PCI core save the byte? */
static bool is_saved(const struct pci_func *func, unsigned off)
{
	if (func->pcix && off - (func->pcix + PCI_X_CMD) < 2)
		return true;
	if (func->vpd && off - func->vpd < PCI_CAP_VPD_SIZEOF)
		return false;
	return !func->layout->model[off] && !pci_sriov_owns(func, off);
}

void pci_hw_restore(struct pci_func *func, const uint8_t state[PCI_EXT_CONFIG_SIZE])
{
	model_lock(func);
	for (unsigned i = 0; i < func->size; i++) {
		uint8_t wmask = func->layout->wmask[i];

		if (func->pm && i == func->pm + PCI_PM_CTRL)
			wmask &= (uint8_t)~PCI_PM_CTRL_STATE_MASK;
		if (!is_saved(func, i))
			continue;
		/* The interrupt mode may have changed since: that of now counts. */
		if ((func->msi && i - (func->msi + PCI_MSI_FLAGS) < 2) ||
		    (func->msix && i - (func->msix + PCI_MSIX_FLAGS) < 2))
			continue;
		func->config[i] = (uint8_t)((func->config[i] & ~wmask) | (state[i] & wmask));
	}
	model_unlock(func);
	if (func->msi)
		pci_put16(func->config + func->msi + PCI_MSI_FLAGS, msi_flags(func));
	if (func->msix)
		pci_put16(func->config + func->msix + PCI_MSIX_FLAGS, pci_msix_flags(func));
	if (func->aer) {
		pci_put32(func->config + func->aer + PCI_ERR_UNCOR_STATUS, 0);
		pci_put32(func->config + func->aer + PCI_ERR_COR_STATUS, 0);
	}
	if (func->sriov)
		pci_sriov_restore(func);
	pci_publish(func);
}

/* ---- power ---- */

/* Does the PF let its VFs do what @bit says? */
static bool vfs_may(const struct pci_func *vf, uint32_t bit)
{
	return atomic_load_explicit(&vf->link->state, memory_order_acquire) & bit;
}

bool pci_memory_enabled(const struct pci_func *func)
{
	uint32_t live = atomic_load_explicit(&func->live, memory_order_acquire);

	return (func->is_vf || (live & PCI_LIVE_MEM)) && (live & PCI_LIVE_POWER) < D3HOT;
}

bool pci_memory_decoded(const struct pci_func *func)
{
	if (func->is_vf)
		return vfs_may(func, PCI_VFS_DECODED);
	return atomic_load_explicit(&func->live, memory_order_acquire) & PCI_LIVE_MEM;
}

bool pci_io_decoded(const struct pci_func *func)
{
	return atomic_load_explicit(&func->live, memory_order_acquire) & PCI_LIVE_IO;
}

bool pci_bus_master(const struct pci_func *func)
{
	uint32_t live = atomic_load_explicit(&func->live, memory_order_acquire);

	return (live & PCI_LIVE_MASTER) && (live & PCI_LIVE_POWER) == 0 &&
	       (!func->is_vf || vfs_may(func, PCI_VFS_ENABLED));
}

unsigned pci_power_state(const struct pci_func *func)
{
	return atomic_load_explicit(&func->live, memory_order_acquire) & PCI_LIVE_POWER;
}

int pci_set_power_state(struct pci_func *func, unsigned state)
{
	unsigned old = stored_power(func), ctrl = func->pm + PCI_PM_CTRL;
	struct effects before;

	if (state == old)
		return 0;
	/* To D0 from anywhere, else only deeper. */
	if (!func->pm || !supports(func, state) || (state && state < old))
		return -EINVAL;
	effects_take(func, &before);
	if (state == D3HOT && soft_resets(func)) {
		pci_hw_save(func, func->saved);
		func->have_saved = true;
	}
	store(func, ctrl, 1, (func->config[ctrl] & ~PCI_PM_CTRL_STATE_MASK) | state);
	if (state == 0 && old == D3HOT && soft_resets(func)) {
		pci_config_reset(func, UVFIO_RESET_PM);
		if (func->have_saved)
			pci_hw_restore(func, func->saved);
		func->have_saved = false;
	}
	pci_publish(func);
	fire(func, &before);
	return 0;
}

/* ---- interrupts ---- */

unsigned pci_msi_count(const struct pci_func *func)
{
	if (!func->msi)
		return 0;
	return 1u << ((func->config[func->msi + PCI_MSI_FLAGS] & PCI_MSI_FLAGS_QMASK) >> 1);
}

/* Message control of MSI as the host's mode wants it, from its present value. */
static uint16_t msi_flags(const struct pci_func *func)
{
	uint16_t flags = pci_get16(func->config + func->msi + PCI_MSI_FLAGS);
	unsigned log2 = 0;

	flags &= (uint16_t)~PCI_MSI_FLAGS_ENABLE;
	if (func->irq_mode != VFIO_PCI_MSI_IRQ_INDEX)
		return flags;
	while ((1u << log2) < func->irq_vectors)
		log2++;
	flags &= (uint16_t)~PCI_MSI_FLAGS_QSIZE;
	return (uint16_t)(flags | log2 << 4 | PCI_MSI_FLAGS_ENABLE);
}

void pci_set_irq_mode(struct pci_func *func, int mode, unsigned vectors)
{
	func->irq_mode = mode;
	func->irq_vectors = vectors;
	if (func->msi)
		pci_hw_write(func, func->msi + PCI_MSI_FLAGS, 2, msi_flags(func));
	if (func->msix)
		pci_hw_write(func, func->msix + PCI_MSIX_FLAGS, 2, pci_msix_flags(func));
}

void pci_msi_state(const struct pci_func *func, bool *enabled, uint32_t *mask)
{
	unsigned off = pci_msi_mask_offset(func);

	*enabled = func->msi && (func->config[func->msi + PCI_MSI_FLAGS] & PCI_MSI_FLAGS_ENABLE);
	*mask = off ? pci_get32(func->config + off) : 0;
}

/* ---- finding ---- */

const struct pci_addr *pci_func_addr(const struct pci_func *func)
{
	return &func->addr;
}

unsigned pci_func_config_size(const struct pci_func *func)
{
	return func->size;
}

const struct uvfio_pci_desc *pci_func_desc(const struct pci_func *func)
{
	return &func->desc;
}

bool pci_is_pcie(const struct pci_func *func)
{
	return func->exp != 0;
}

unsigned pci_find_cap(const struct pci_func *func, uint8_t id)
{
	unsigned pos = func->layout->reset[PCI_CAPABILITY_LIST] & ~3u;

	for (unsigned n = 0; pos >= PCI_STD_HEADER_SIZEOF && n < 48; n++) {
		if (func->layout->reset[pos + PCI_CAP_LIST_ID] == id)
			return pos;
		pos = func->layout->reset[pos + PCI_CAP_LIST_NEXT] & ~3u;
	}
	return 0;
}

unsigned pci_find_ext_cap(const struct pci_func *func, uint16_t id)
{
	unsigned pos = PCI_CONFIG_SIZE;

	for (unsigned n = 0; n < (PCI_EXT_CONFIG_SIZE - PCI_CONFIG_SIZE) / 8; n++) {
		uint32_t header;

		if (pos < PCI_CONFIG_SIZE || pos + 4 > func->size)
			return 0;
		header = pci_get32(func->layout->reset + pos);
		if (header && PCI_EXT_CAP_ID(header) == id)
			return pos;
		pos = PCI_EXT_CAP_NEXT(header);
	}
	return 0;
}
