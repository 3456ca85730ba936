/* SPDX-License-Identifier: BSD-3-Clause */
/* A.7 as tables; see caps.h. */
#include <linux/pci_regs.h>
#include <stddef.h>

#include "pci/caps.h"

#define ALL8        0xffu
#define ALL16       0xffffu
#define ALL32       0xffffffffu

#define ROWS(array) .rows = (array), .nr_rows = sizeof(array) / sizeof((array)[0])

/* ---- type-0 header ---- */

static const struct pci_cap_row header_rows[] = {
	{PCI_VENDOR_ID, 4, ALL32, 0},
	{PCI_COMMAND, 2, PCI_COMMAND_INTX_DISABLE, ALL16},
	{PCI_STATUS, 2, PCI_STATUS_CAP_LIST, 0},
	{PCI_CACHE_LINE_SIZE, 1, 0, ALL8},
	{PCI_LATENCY_TIMER, 1, 0, ALL8},
	{PCI_BIST, 1, 0, ALL8},
	{PCI_BASE_ADDRESS_0, 4, ALL32, ALL32},
	{PCI_BASE_ADDRESS_1, 4, ALL32, ALL32},
	{PCI_BASE_ADDRESS_2, 4, ALL32, ALL32},
	{PCI_BASE_ADDRESS_3, 4, ALL32, ALL32},
	{PCI_BASE_ADDRESS_4, 4, ALL32, ALL32},
	{PCI_BASE_ADDRESS_5, 4, ALL32, ALL32},
	{PCI_ROM_ADDRESS, 4, ALL32, ALL32},
	{PCI_CAPABILITY_LIST, 1, ALL8, 0},
	{PCI_INTERRUPT_LINE, 1, ALL8, ALL8},
	{PCI_INTERRUPT_PIN, 1, ALL8, 0},
};

const struct pci_cap_rule pci_header_rule = {
	.len = PCI_STD_HEADER_SIZEOF,
	.name = "header",
	.hook = PCI_HOOK_HEADER,
	ROWS(header_rows),
};

/* ---- standard capabilities ---- */

static const struct pci_cap_row pm_rows[] = {
	/* PME is not offered. */
	{PCI_PM_PMC, 2, PCI_PM_CAP_PME_MASK, 0},
	/* The state bits are hardware's: a write of them is trapped. */
	{PCI_PM_CTRL, 4, PCI_PM_CTRL_PME_ENABLE | PCI_PM_CTRL_PME_STATUS,
	 ~(uint32_t)(PCI_PM_CTRL_PME_ENABLE | PCI_PM_CTRL_PME_STATUS | PCI_PM_CTRL_STATE_MASK)},
};

static const struct pci_cap_row vpd_rows[] = {
	{PCI_VPD_ADDR, 2, ALL16, ALL16},
	{PCI_VPD_DATA, 4, ALL32, ALL32},
};

static const struct pci_cap_row pcix_rows[] = {
	{PCI_X_CMD, 2, 0, ALL16},
	{PCI_X_ECC_CSR, 4, 0, ALL32},
};

static const struct pci_cap_row exp_rows[] = {
	{PCI_EXP_DEVCTL, 2, PCI_EXP_DEVCTL_BCR_FLR | PCI_EXP_DEVCTL_PAYLOAD | PCI_EXP_DEVCTL_READRQ,
	 ALL16 & ~(uint32_t)PCI_EXP_DEVCTL_PHANTOM},
	{PCI_EXP_DEVCTL2, 2, 0, ALL16 & ~(uint32_t)PCI_EXP_DEVCTL2_ARI},
};

static const struct pci_cap_row af_rows[] = {
	{PCI_AF_CTRL, 1, PCI_AF_CTRL_FLR, PCI_AF_CTRL_FLR},
};

/* The multiple message capable field is hardware's. */
#define MSI_CONTROL                                                                                \
	{                                                                                          \
		PCI_MSI_FLAGS, 1, ALL8 & ~(uint32_t)PCI_MSI_FLAGS_QMASK,                           \
			ALL8 & ~(uint32_t)PCI_MSI_FLAGS_QMASK                                      \
	}

static const struct pci_cap_row msi32_rows[] = {
	MSI_CONTROL,
	{PCI_MSI_ADDRESS_LO, 4, ALL32, ALL32},
	{PCI_MSI_DATA_32, 2, ALL16, ALL16},
	{PCI_MSI_MASK_32, 4, 0, ALL32},
	{PCI_MSI_PENDING_32, 4, 0, ALL32},
};

static const struct pci_cap_row msi64_rows[] = {
	MSI_CONTROL,
	{PCI_MSI_ADDRESS_LO, 4, ALL32, ALL32},
	{PCI_MSI_ADDRESS_HI, 4, ALL32, ALL32},
	{PCI_MSI_DATA_64, 2, ALL16, ALL16},
	{PCI_MSI_MASK_64, 4, 0, ALL32},
	{PCI_MSI_PENDING_64, 4, 0, ALL32},
};

static unsigned msi_length(const struct pci_func *func, unsigned pos,
			   const struct pci_cap_row **rows, unsigned *nr_rows)
{
	uint32_t flags = pci_hw_read(func, pos + PCI_MSI_FLAGS, 2);
	bool wide = flags & PCI_MSI_FLAGS_64BIT, masking = flags & PCI_MSI_FLAGS_MASKBIT;

	*rows = wide ? msi64_rows : msi32_rows;
	*nr_rows = (wide ? 4 : 3) + (masking ? 2 : 0);
	return 10 + (wide ? 4 : 0) + (masking ? 10 : 0);
}

static unsigned pcix_length(const struct pci_func *func, unsigned pos,
			    const struct pci_cap_row **rows, unsigned *nr_rows)
{
	if (PCI_X_CMD_VERSION(pci_hw_read(func, pos + PCI_X_CMD, 2)))
		return PCI_CAP_PCIX_SIZEOF_V2;
	*nr_rows = 1; /* no ECC registers */
	return PCI_CAP_PCIX_SIZEOF_V0;
}

static unsigned ht_length(const struct pci_func *func, unsigned pos,
			  const struct pci_cap_row **rows, unsigned *nr_rows)
{
	return pci_hw_read(func, pos + 3, 1) & HT_3BIT_CAP_MASK ? HT_CAP_SIZEOF_SHORT
								: HT_CAP_SIZEOF_LONG;
}

static unsigned vendor_length(const struct pci_func *func, unsigned pos,
			      const struct pci_cap_row **rows, unsigned *nr_rows)
{
	return pci_hw_read(func, pos + PCI_CAP_FLAGS, 1);
}

static unsigned exp_length(const struct pci_func *func, unsigned pos,
			   const struct pci_cap_row **rows, unsigned *nr_rows)
{
	uint32_t flags = pci_hw_read(func, pos + PCI_EXP_FLAGS, 2);
	bool integrated = (flags & PCI_EXP_FLAGS_TYPE) >> 4 == PCI_EXP_TYPE_RC_END;

	if ((flags & PCI_EXP_FLAGS_VERS) != 1)
		return integrated ? 0x2c : PCI_CAP_EXP_ENDPOINT_SIZEOF_V2;
	*nr_rows = 1; /* no DEVCTL2 */
	return integrated ? 0x0c : PCI_CAP_EXP_ENDPOINT_SIZEOF_V1;
}

static unsigned sata_length(const struct pci_func *func, unsigned pos,
			    const struct pci_cap_row **rows, unsigned *nr_rows)
{
	uint32_t where = pci_hw_read(func, pos + PCI_SATA_REGS, 1) & PCI_SATA_REGS_MASK;

	return where == PCI_SATA_REGS_INLINE ? PCI_SATA_SIZEOF_LONG : PCI_SATA_SIZEOF_SHORT;
}

/* Every id that is not here is hidden. */
static const struct pci_cap_rule std_rules[] = {
	{PCI_CAP_ID_PM, PCI_PM_SIZEOF, "PM", ROWS(pm_rows), .hook = PCI_HOOK_PM},
	{PCI_CAP_ID_AGP, PCI_AGP_SIZEOF, "AGP"},
	{PCI_CAP_ID_VPD, PCI_CAP_VPD_SIZEOF, "VPD", ROWS(vpd_rows), .hook = PCI_HOOK_VPD},
	{PCI_CAP_ID_MSI, 0, "MSI", .hook = PCI_HOOK_MSI, .length = msi_length},
	{PCI_CAP_ID_PCIX, 0, "PCI-X", ROWS(pcix_rows), .length = pcix_length},
	{PCI_CAP_ID_HT, 0, "HyperTransport", .length = ht_length},
	{PCI_CAP_ID_VNDR, 0, "vendor", .flags = PCI_CAP_RAW_WRITE, .length = vendor_length},
	{PCI_CAP_ID_EXP, 0, "PCI Express", ROWS(exp_rows), .hook = PCI_HOOK_EXP,
	 .length = exp_length},
	{PCI_CAP_ID_MSIX, PCI_CAP_MSIX_SIZEOF, "MSI-X"},
	{PCI_CAP_ID_SATA, 0, "SATA", .length = sata_length},
	{PCI_CAP_ID_AF, PCI_CAP_AF_SIZEOF, "AF", ROWS(af_rows), .hook = PCI_HOOK_AF},
};

/* ---- extended capabilities ---- */

#define AER_UNCORRECTABLE                                                                          \
	(PCI_ERR_UNC_UND | PCI_ERR_UNC_DLP | PCI_ERR_UNC_SURPDN | PCI_ERR_UNC_POISON_TLP |         \
	 PCI_ERR_UNC_FCP | PCI_ERR_UNC_COMP_TIME | PCI_ERR_UNC_COMP_ABORT | PCI_ERR_UNC_UNX_COMP | \
	 PCI_ERR_UNC_RX_OVER | PCI_ERR_UNC_MALF_TLP | PCI_ERR_UNC_ECRC | PCI_ERR_UNC_UNSUP |       \
	 PCI_ERR_UNC_ACSV | PCI_ERR_UNC_INTN | PCI_ERR_UNC_MCBTLP | PCI_ERR_UNC_ATOMEG |           \
	 PCI_ERR_UNC_TLPPRE)
#define AER_CORRECTABLE                                                                            \
	(PCI_ERR_COR_RCVR | PCI_ERR_COR_BAD_TLP | PCI_ERR_COR_BAD_DLLP | PCI_ERR_COR_REP_ROLL |    \
	 PCI_ERR_COR_REP_TIMER | PCI_ERR_COR_ADV_NFAT | PCI_ERR_COR_INTERNAL |                     \
	 PCI_ERR_COR_LOG_OVER)

static const struct pci_cap_row aer_rows[] = {
	{PCI_ERR_UNCOR_STATUS, 4, 0, AER_UNCORRECTABLE},
	{PCI_ERR_UNCOR_MASK, 4, 0, AER_UNCORRECTABLE},
	{PCI_ERR_UNCOR_SEVER, 4, 0, AER_UNCORRECTABLE},
	{PCI_ERR_COR_STATUS, 4, 0, AER_CORRECTABLE},
	{PCI_ERR_COR_MASK, 4, 0, AER_CORRECTABLE},
	{PCI_ERR_CAP, 4, 0, PCI_ERR_CAP_ECRC_GENE | PCI_ERR_CAP_ECRC_CHKE},
};

static const struct pci_cap_row power_rows[] = {
	/* The data byte, not the select byte: so the kernel has it. */
	{PCI_PWR_DATA, 1, 0, ALL8},
};

static unsigned vc_length(const struct pci_func *func, unsigned pos,
			  const struct pci_cap_row **rows, unsigned *nr_rows)
{
	uint32_t cap1 = pci_hw_read(func, pos + PCI_VC_PORT_CAP1, 4);
	uint32_t cap2 = pci_hw_read(func, pos + PCI_VC_PORT_CAP2, 4);
	unsigned len = PCI_CAP_VC_BASE_SIZEOF, phases = 0;

	len += (1 + (cap1 & PCI_VC_CAP1_EVCC)) * PCI_CAP_VC_PER_VC_SIZEOF;
	if (cap2 & PCI_VC_CAP2_128_PHASE)
		phases = 128;
	else if (cap2 & PCI_VC_CAP2_64_PHASE)
		phases = 64;
	else if (cap2 & PCI_VC_CAP2_32_PHASE)
		phases = 32;
	/* The arbitration table: 4 bits a phase, 16-byte aligned. */
	if (phases)
		len = ((len + 15) & ~15u) + phases / 2;
	return len;
}

static unsigned vsec_length(const struct pci_func *func, unsigned pos,
			    const struct pci_cap_row **rows, unsigned *nr_rows)
{
	/* VSEC and DVSEC have their length in the same bits. */
	return pci_hw_read(func, pos + 4, 4) >> 20;
}

static unsigned acs_length(const struct pci_func *func, unsigned pos,
			   const struct pci_cap_row **rows, unsigned *nr_rows)
{
	unsigned bits;

	if (!(pci_hw_read(func, pos + PCI_ACS_CAP, 1) & PCI_ACS_EC))
		return 8;
	bits = pci_hw_read(func, pos + PCI_ACS_EGRESS_BITS, 1);
	return 8 + (bits ? (bits + 31) / 32 * 4 : 32);
}

static unsigned rebar_length(const struct pci_func *func, unsigned pos,
			     const struct pci_cap_row **rows, unsigned *nr_rows)
{
	uint32_t ctrl = pci_hw_read(func, pos + PCI_REBAR_CTRL, 1);

	return 4 + 8 * ((ctrl & PCI_REBAR_CTRL_NBAR_MASK) >> PCI_REBAR_CTRL_NBAR_SHIFT);
}

static unsigned dpa_length(const struct pci_func *func, unsigned pos,
			   const struct pci_cap_row **rows, unsigned *nr_rows)
{
	return PCI_DPA_BASE_SIZEOF + 1 +
	       (pci_hw_read(func, pos + PCI_DPA_CAP, 1) & PCI_DPA_CAP_SUBSTATE_MASK);
}

static unsigned tph_length(const struct pci_func *func, unsigned pos,
			   const struct pci_cap_row **rows, unsigned *nr_rows)
{
	uint32_t cap = pci_hw_read(func, pos + PCI_TPH_CAP, 4);

	if ((cap & PCI_TPH_CAP_LOC_MASK) != PCI_TPH_LOC_CAP)
		return PCI_TPH_BASE_SIZEOF;
	return PCI_TPH_BASE_SIZEOF + 2 + 2 * ((cap & PCI_TPH_CAP_ST_MASK) >> PCI_TPH_CAP_ST_SHIFT);
}

static const struct pci_cap_rule ext_rules[] = {
	{PCI_EXT_CAP_ID_ERR, PCI_ERR_ROOT_COMMAND, "AER", ROWS(aer_rows)},
	{PCI_EXT_CAP_ID_VC, 0, "VC", .length = vc_length},
	{PCI_EXT_CAP_ID_DSN, PCI_EXT_CAP_DSN_SIZEOF, "DSN"},
	{PCI_EXT_CAP_ID_PWR, PCI_EXT_CAP_PWR_SIZEOF, "power budgeting", ROWS(power_rows)},
	{PCI_EXT_CAP_ID_MFVC, 0, "MFVC", .length = vc_length},
	{PCI_EXT_CAP_ID_VC9, 0, "VC9", .length = vc_length},
	{PCI_EXT_CAP_ID_VNDR, 0, "VSEC", .flags = PCI_CAP_RAW_WRITE, .length = vsec_length},
	{PCI_EXT_CAP_ID_ACS, 0, "ACS", .length = acs_length},
	{PCI_EXT_CAP_ID_ARI, PCI_EXT_CAP_ARI_SIZEOF, "ARI"},
	{PCI_EXT_CAP_ID_ATS, PCI_EXT_CAP_ATS_SIZEOF, "ATS"},
	{PCI_EXT_CAP_ID_SRIOV, PCI_EXT_CAP_SRIOV_SIZEOF, "SR-IOV"},
	{PCI_EXT_CAP_ID_MCAST, PCI_EXT_CAP_MCAST_ENDPOINT_SIZEOF, "multicast"},
	{PCI_EXT_CAP_ID_PRI, PCI_EXT_CAP_PRI_SIZEOF, "PRI"},
	{PCI_EXT_CAP_ID_REBAR, 0, "resizable BAR", .length = rebar_length},
	{PCI_EXT_CAP_ID_DPA, 0, "DPA", .length = dpa_length},
	{PCI_EXT_CAP_ID_TPH, 0, "TPH", .length = tph_length},
	{PCI_EXT_CAP_ID_LTR, PCI_EXT_CAP_LTR_SIZEOF, "LTR"},
	{PCI_EXT_CAP_ID_DVSEC, 0, "DVSEC", .flags = PCI_CAP_RAW_WRITE, .length = vsec_length},
};

const struct pci_cap_rule *pci_cap_rule(bool extended, unsigned id)
{
	const struct pci_cap_rule *rules = extended ? ext_rules : std_rules;
	size_t n = extended ? sizeof(ext_rules) / sizeof(ext_rules[0])
			    : sizeof(std_rules) / sizeof(std_rules[0]);

	for (size_t i = 0; i < n; i++) {
		if (rules[i].id == id)
			return &rules[i];
	}
	return NULL;
}
