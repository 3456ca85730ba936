/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Config space that is taken from one function and put into another; see keep.h.
 *
 * Section .CFG, version 1: u32 flags (FLAG_…), u32 size of config space, u32 length of vital
 * product data; then the real config space; the virtual copy, if it is open; what D3hot left
 * behind, if there is that; vital product data.
 *
 * Theory of operation.  A bit of config space is one of three: the function's description says it,
 * and then it is the same here and there, or the other is no such function; software changes it,
 * and then it is taken over; or it is this machine's, and stays.  Which of them a bit is, the masks
 * of func_private.h tell, which know nothing of the stream: whatever it says, the function is in a
 * state that software could have brought it to.
 */
#include <errno.h>
#include <linux/vfio.h>
#include <stdlib.h>

#include "pci/keep.h"
#include "pci/vconfig_private.h"

enum { FLAG_OPEN = 1, FLAG_BARS_LOST = 2, FLAG_SAVED = 4, FLAGS_ALL = 7 };

static bool is_bar(unsigned off)
{
	return (off >= PCI_BASE_ADDRESS_0 && off < PCI_BASE_ADDRESS_5 + 4) ||
	       (off >= PCI_ROM_ADDRESS && off < PCI_ROM_ADDRESS + 4);
}

/* What the function itself writes besides status bits: the first error, and its packet. */
static bool is_error_log(const struct pci_func *func, unsigned off)
{
	return func->aer &&
	       (off == func->aer + PCI_ERR_CAP || off - (func->aer + PCI_ERR_HEADER_LOG) < 16);
}

/* The bits of the byte at @off that are taken over. */
static uint8_t taken(const struct pci_func *func, unsigned off)
{
	uint8_t mask = func->layout->wmask[off] | func->layout->w1c[off];

	if (is_bar(off) || pci_sriov_owns(func, off))
		return 0;
	if (func->aer && off == func->aer + PCI_ERR_CAP)
		return mask | PCI_ERR_CAP_FEP(0xffu);
	return is_error_log(func, off) ? 0xff : mask;
}

/* The bits that must be the same. */
static uint8_t fixed(const struct pci_func *func, unsigned off)
{
	uint8_t mask = (uint8_t)~taken(func, off);

	if (is_bar(off) || pci_sriov_owns(func, off) || func->layout->model[off])
		return 0;
	if (off == PCI_HEADER_TYPE)
		mask &= 0x7f; /* whether it has its slot for itself */
	if (off == PCI_STATUS)
		mask &= (uint8_t)~PCI_STATUS_INTERRUPT;
	return mask;
}

/* ---- taking ---- */

int pci_keep(const struct pci_func *func, const struct pci_vconfig *vc, struct pci_kept *out)
{
	memset(out, 0, sizeof(*out));
	if (func->vpd_data && func->desc.vpd_len) {
		out->vpd_len = func->desc.vpd_len;
		out->vpd = malloc(out->vpd_len);
		if (!out->vpd)
			return -ENOMEM;
		memcpy(out->vpd, func->vpd_data, out->vpd_len);
	}
	pci_hw_save(func, out->hw);
	out->have_saved = func->have_saved;
	if (out->have_saved)
		memcpy(out->saved, func->saved, PCI_EXT_CONFIG_SIZE);
	if (!vc)
		return 0;
	out->open = true;
	memcpy(out->virt, vc->bytes, PCI_EXT_CONFIG_SIZE);
	for (unsigned i = 0; i < 6 && !vc->vf; i++)
		if (vc->bars[i] && pci_get32(out->hw + vc_bar_pos(i)) != vc->bars[i])
			out->bars_lost = true;
	return 0;
}

void pci_kept_fini(struct pci_kept *kept)
{
	free(kept->vpd);
	kept->vpd = NULL;
}

bool pci_kept_intx_disabled(const struct pci_kept *kept)
{
	return pci_get16(kept->virt + PCI_COMMAND) & PCI_COMMAND_INTX_DISABLE;
}

/* ---- the section ---- */

void pci_kept_write(const struct pci_func *func, const struct pci_kept *kept, struct mig_buf *out)
{
	mig_put_u32(out, (kept->open ? FLAG_OPEN : 0) | (kept->bars_lost ? FLAG_BARS_LOST : 0) |
				 (kept->have_saved ? FLAG_SAVED : 0));
	mig_put_u32(out, func->size);
	mig_put_u32(out, kept->vpd_len);
	mig_put(out, kept->hw, func->size);
	if (kept->open)
		mig_put(out, kept->virt, func->size);
	if (kept->have_saved)
		mig_put(out, kept->saved, func->size);
	mig_put(out, kept->vpd, kept->vpd_len);
}

static bool get_bytes(struct mig_in *in, void *to, size_t len)
{
	const void *bytes = mig_get(in, len);

	if (bytes && len)
		memcpy(to, bytes, len);
	return bytes;
}

static int check_fixed(const struct pci_func *func, const uint8_t *bytes, struct uvfio_error *err)
{
	for (unsigned i = 0; i < func->size; i++) {
		uint8_t differ = (bytes[i] ^ func->config[i]) & fixed(func, i);

		if (differ)
			return uvfio_error_set(
				err, -EINVAL,
				"the stream is of another device: byte 0x%x of config space is "
				"0x%02x and has to be 0x%02x (the same model with the same options "
				"is needed)",
				i, bytes[i], func->config[i]);
	}
	return 0;
}

int pci_kept_read(const struct pci_func *func, struct mig_in *in, struct pci_kept *out,
		  struct uvfio_error *err)
{
	uint32_t flags = mig_get_u32(in), size = mig_get_u32(in), vpd_len = mig_get_u32(in);
	bool ok;
	int ret;

	memset(out, 0, sizeof(*out));
	if (in->bad || flags & ~(uint32_t)FLAGS_ALL)
		return uvfio_error_set(err, -EINVAL, "the stream's config space is not complete");
	if (size != func->size || vpd_len != (func->vpd_data ? func->desc.vpd_len : 0))
		return uvfio_error_set(err, -EINVAL,
				       "the stream is of another device: it has %u bytes of config "
				       "space and %u of vital product data, this device %u and %u",
				       size, vpd_len, func->size,
				       func->vpd_data ? func->desc.vpd_len : 0);
	out->open = flags & FLAG_OPEN;
	out->bars_lost = flags & FLAG_BARS_LOST;
	out->have_saved = flags & FLAG_SAVED;
	ok = get_bytes(in, out->hw, size);
	if (out->open)
		ok = ok && get_bytes(in, out->virt, size);
	if (out->have_saved)
		ok = ok && get_bytes(in, out->saved, size);
	if (vpd_len) {
		out->vpd = malloc(vpd_len);
		if (!out->vpd)
			return uvfio_error_set(err, -ENOMEM, "out of memory");
		out->vpd_len = vpd_len;
		ok = ok && get_bytes(in, out->vpd, vpd_len);
	}
	if (!ok || mig_left_bytes(in))
		ret = uvfio_error_set(err, -EINVAL, "the stream's config space is not complete");
	else
		ret = check_fixed(func, out->hw, err);
	if (!ret && out->have_saved && !func->saved)
		ret = uvfio_error_set(err, -EINVAL,
				      "the stream has a copy of config space for D3hot, and this "
				      "device loses nothing there");
	/* What is read-only of vital product data is the description's. */
	if (!ret && vpd_len && memcmp(out->vpd, func->vpd_data, func->desc.vpd_rw) != 0)
		ret = uvfio_error_set(err, -EINVAL,
				      "the stream is of another device: its vital product data is "
				      "not this device's");
	if (ret)
		pci_kept_fini(out);
	return ret;
}

/* ---- putting ---- */

/* Message control: what it enables is there only if its mode is. */
static void fit_messages(struct pci_func *func)
{
	uint8_t *flags;

	if (func->msi && func->irq_mode != VFIO_PCI_MSI_IRQ_INDEX) {
		flags = func->config + func->msi + PCI_MSI_FLAGS;
		pci_put16(flags, pci_get16(flags) & (uint16_t)~PCI_MSI_FLAGS_ENABLE);
	}
	if (func->msix && func->irq_mode != VFIO_PCI_MSIX_IRQ_INDEX) {
		flags = func->config + func->msix + PCI_MSIX_FLAGS;
		pci_put16(flags, pci_get16(flags) & (uint16_t)~PCI_MSIX_FLAGS_ENABLE);
	}
}

static bool has_power_state(const struct pci_func *func, unsigned state)
{
	return state == 0 || state == 3 ||
	       func->desc.pm_states & (state == 1 ? UVFIO_PM_D1 : UVFIO_PM_D2);
}

void pci_keep_put(struct pci_func *func, const struct pci_kept *kept)
{
	unsigned pm = func->pm ? func->pm + PCI_PM_CTRL : 0;

	pthread_mutex_lock(&func->model_lock);
	for (unsigned i = 0; i < func->size; i++) {
		uint8_t mask = taken(func, i);

		if (pm && i == pm && !has_power_state(func, kept->hw[i] & PCI_PM_CTRL_STATE_MASK))
			mask &= (uint8_t)~PCI_PM_CTRL_STATE_MASK;
		if (i == PCI_COMMAND)
			mask &= (uint8_t)~PCI_COMMAND_MASTER;
		func->config[i] = (uint8_t)((func->config[i] & ~mask) | (kept->hw[i] & mask));
	}
	if (kept->have_saved) {
		memcpy(func->saved, kept->saved, PCI_EXT_CONFIG_SIZE);
		for (unsigned i = 0; i < func->size; i++)
			if (is_bar(i))
				func->saved[i] = func->config[i];
		/* Else DMA would start when it is back in D0, before its user asks for it. */
		func->saved[PCI_COMMAND] &= (uint8_t)~PCI_COMMAND_MASTER;
	}
	func->have_saved = kept->have_saved;
	for (unsigned i = 0; i < 7 && kept->bars_lost && !func->is_vf; i++)
		pci_put32(func->config + vc_bar_pos(i),
			  pci_get32(func->layout->reset + vc_bar_pos(i)));
	if (kept->vpd_len)
		memcpy(func->vpd_data, kept->vpd, kept->vpd_len);
	fit_messages(func);
	pthread_mutex_unlock(&func->model_lock);
	pci_publish(func);
}

void pci_keep_master(struct pci_func *func, const struct pci_kept *kept)
{
	pthread_mutex_lock(&func->model_lock);
	func->config[PCI_COMMAND] |= kept->hw[PCI_COMMAND] & PCI_COMMAND_MASTER;
	if (func->have_saved && kept->have_saved)
		func->saved[PCI_COMMAND] |= kept->saved[PCI_COMMAND] & PCI_COMMAND_MASTER;
	pthread_mutex_unlock(&func->model_lock);
	pci_publish(func);
}

void pci_keep_put_virtual(struct pci_vconfig *vc, const struct pci_kept *kept)
{
	const uint16_t mirrored = PCI_COMMAND_MEMORY | PCI_COMMAND_IO;
	unsigned msi = vc->func->msi, log2;
	uint16_t command;

	for (unsigned i = 0; i < vc->size; i++) {
		uint8_t mask = vc->virt[i] & vc->wmask[i];

		vc->bytes[i] = (uint8_t)((vc->bytes[i] & ~mask) | (kept->virt[i] & mask));
	}
	/* Not virtual, but the user's idea of them counts (A.6). */
	command = pci_get16(vc->bytes + PCI_COMMAND);
	command = (uint16_t)((command & ~mirrored) |
			     (pci_get16(kept->virt + PCI_COMMAND) & mirrored));
	if (vc->vf)
		command |= PCI_COMMAND_MEMORY;
	pci_put16(vc->bytes + PCI_COMMAND, command);
	vc->intx_disabled = pci_vconfig_intx_disabled(vc);
	if (msi && vc->owner[msi] != VC_GAP && !vc->ops.msi_active(vc->arg, &log2))
		vc->bytes[msi + PCI_MSI_FLAGS] &= (uint8_t)~PCI_MSI_FLAGS_ENABLE;
}
