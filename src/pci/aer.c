/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Advanced error reporting: what a function records of an error, and whether it tells the host.
 *
 * An error sets its status bit and one in the device status register, whatever is masked.  Of the
 * uncorrectable ones that are not masked, the first one's number and the header of its packet are
 * kept until its status bit is cleared.  A message goes to the host when the error is not masked
 * and its kind is enabled: in the device control register, or by COMMAND.SERR for uncorrectable
 * ones.  A VF has status bits only: masks, severities and enable bits are its PF's.
 */
#include <errno.h>

#include "pci/func_private.h"

static void set_bits16(uint8_t *p, uint16_t bits)
{
	pci_put16(p, pci_get16(p) | bits);
}

/* By what registers the function tells the host of errors. */
struct rules {
	uint32_t mask, severe, cor_mask;
	uint16_t control;
	bool serr;
};

static struct rules rules_of(const struct pci_func *func)
{
	const uint8_t *aer = func->config + func->aer;
	struct pci_vf_link *link = func->link;
	uint32_t control;

	if (!func->is_vf)
		return (struct rules){
			.mask = pci_get32(aer + PCI_ERR_UNCOR_MASK),
			.severe = pci_get32(aer + PCI_ERR_UNCOR_SEVER),
			.cor_mask = pci_get32(aer + PCI_ERR_COR_MASK),
			.control = pci_get16(func->config + func->exp + PCI_EXP_DEVCTL),
			.serr = pci_get16(func->config + PCI_COMMAND) & PCI_COMMAND_SERR,
		};
	control = atomic_load(&link->error_control);
	return (struct rules){
		.mask = atomic_load(&link->aer_mask),
		.severe = atomic_load(&link->aer_severity),
		.cor_mask = atomic_load(&link->aer_cor_mask),
		.control = (uint16_t)control,
		.serr = control >> 16 & PCI_COMMAND_SERR,
	};
}

static void record_first(uint8_t *aer, uint32_t unmasked, uint32_t recorded,
			 const uint32_t header[4])
{
	uint32_t cap = pci_get32(aer + PCI_ERR_CAP);

	/* The pointer counts while the bit that it points to is set. */
	if (!unmasked || recorded & 1u << PCI_ERR_CAP_FEP(cap))
		return;
	cap = (cap & ~PCI_ERR_CAP_FEP(UINT32_MAX)) | (uint32_t)__builtin_ctz(unmasked);
	pci_put32(aer + PCI_ERR_CAP, cap);
	for (unsigned i = 0; i < 4; i++)
		pci_put32(aer + PCI_ERR_HEADER_LOG + 4 * i, header[i]);
}

static enum pci_aer_heard report_correctable(struct pci_func *func, uint32_t status)
{
	uint8_t *aer = func->config + func->aer, *exp = func->config + func->exp;
	struct rules rules = rules_of(func);

	pci_put32(aer + PCI_ERR_COR_STATUS, pci_get32(aer + PCI_ERR_COR_STATUS) | status);
	set_bits16(exp + PCI_EXP_DEVSTA, PCI_EXP_DEVSTA_CED);
	if (!(status & ~rules.cor_mask) || !(rules.control & PCI_EXP_DEVCTL_CERE))
		return PCI_AER_NOTHING;
	return PCI_AER_CORRECTABLE;
}

static enum pci_aer_heard report_uncorrectable(struct pci_func *func, uint32_t status,
					       const uint32_t header[4])
{
	uint8_t *aer = func->config + func->aer, *exp = func->config + func->exp;
	uint32_t recorded = pci_get32(aer + PCI_ERR_UNCOR_STATUS);
	struct rules rules = rules_of(func);
	uint32_t severe = rules.severe, unmasked = status & ~rules.mask;
	uint16_t control = rules.control, seen = 0;
	enum pci_aer_heard heard = PCI_AER_NOTHING;

	record_first(aer, unmasked, recorded, header);
	pci_put32(aer + PCI_ERR_UNCOR_STATUS, recorded | status);
	if (status & severe)
		seen |= PCI_EXP_DEVSTA_FED;
	if (status & ~severe)
		seen |= PCI_EXP_DEVSTA_NFED;
	if (status & PCI_ERR_UNC_UNSUP)
		seen |= PCI_EXP_DEVSTA_URD;
	set_bits16(exp + PCI_EXP_DEVSTA, seen);

	if (unmasked & severe && (rules.serr || control & PCI_EXP_DEVCTL_FERE))
		heard = PCI_AER_FATAL;
	else if (unmasked & ~severe && (rules.serr || control & PCI_EXP_DEVCTL_NFERE))
		heard = PCI_AER_NONFATAL;
	if (heard && rules.serr)
		set_bits16(func->config + PCI_STATUS, PCI_STATUS_SIG_SYSTEM_ERROR);
	return heard;
}

int pci_aer_report(struct pci_func *func, bool correctable, uint32_t status,
		   const uint32_t header[4], enum pci_aer_heard *heard)
{
	unsigned off = correctable ? PCI_ERR_COR_STATUS : PCI_ERR_UNCOR_STATUS;

	if (!func->aer)
		return -EOPNOTSUPP;
	if (!status || status & ~pci_get32(func->layout->w1c + func->aer + off))
		return -EINVAL;
	*heard = correctable ? report_correctable(func, status)
			     : report_uncorrectable(func, status, header);
	return 0;
}

void pci_aer_host_clear(struct pci_func *func, enum pci_aer_heard heard)
{
	uint8_t *aer = func->config + func->aer;
	uint8_t *devsta = func->config + func->exp + PCI_EXP_DEVSTA;

	if (!func->aer || heard == PCI_AER_NOTHING)
		return;
	pci_put16(devsta, pci_get16(devsta) & (uint16_t)~pci_get16(func->layout->w1c + func->exp +
								   PCI_EXP_DEVSTA));
	if (heard == PCI_AER_CORRECTABLE)
		pci_put32(aer + PCI_ERR_COR_STATUS, 0);
	else
		pci_put32(aer + PCI_ERR_UNCOR_STATUS,
			  pci_get32(aer + PCI_ERR_UNCOR_STATUS) & rules_of(func).severe);
}
