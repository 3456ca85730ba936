/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What a function is made of: lays out config space with its reset values and masks as an endpoint
 * has them.
 *
 * Layout: what the description gives an offset has that; everything else goes to the first place
 * with room, standard capabilities from 0x40, extended ones from 0x100.  The lists link the core's
 * own that the description does not name (PM, MSI, PCI Express, MSI-X, VPD, AF; AER, serial
 * number), then the description's in their order; the first extended one is at 0x100.
 */
#include <errno.h>
#include <stdlib.h>

#include "pci/func_private.h"

#define BAD(err, ...) uvfio_error_set(err, -EINVAL, __VA_ARGS__)

struct builder {
	struct pci_func *func;
	struct uvfio_error *err;
	unsigned std_link; /* byte that points to the next standard capability */
	unsigned ext_link; /* header of the last extended one, 0: none yet */
	uint8_t taken[PCI_EXT_CONFIG_SIZE / 4]; /* dwords */
};

static void set8(struct pci_func *func, unsigned off, uint8_t reset, uint8_t wmask)
{
	func->layout->reset[off] = reset;
	func->layout->wmask[off] = wmask;
}

static void set16(struct pci_func *func, unsigned off, uint16_t reset, uint16_t wmask)
{
	pci_put16(func->layout->reset + off, reset);
	pci_put16(func->layout->wmask + off, wmask);
}

static void set32(struct pci_func *func, unsigned off, uint32_t reset, uint32_t wmask)
{
	pci_put32(func->layout->reset + off, reset);
	pci_put32(func->layout->wmask + off, wmask);
}

static bool is_free(const struct builder *b, unsigned pos, unsigned len, unsigned end)
{
	if (pos + len > end)
		return false;
	for (unsigned i = pos / 4; i < (pos + len + 3) / 4; i++) {
		if (b->taken[i])
			return false;
	}
	return true;
}

static void take(struct builder *b, unsigned pos, unsigned len)
{
	memset(b->taken + pos / 4, 1, (pos + len + 3) / 4 - pos / 4);
}

/* [pos, pos + len) is @what's alone: 0 or -EINVAL. */
static int claim(struct builder *b, unsigned pos, unsigned len, bool extended, const char *what,
		 unsigned id)
{
	unsigned first = extended ? PCI_CONFIG_SIZE : PCI_STD_HEADER_SIZEOF;
	unsigned end = extended ? PCI_EXT_CONFIG_SIZE : PCI_CONFIG_SIZE;

	if (pos < first || pos + len > end)
		return BAD(b->err, "%s %#x: [%#x, %#x) is not inside [%#x, %#x)", what, id, pos,
			   pos + len, first, end);
	if (!is_free(b, pos, len, end))
		return BAD(b->err, "%s %#x: [%#x, %#x) overlaps something else", what, id, pos,
			   pos + len);
	take(b, pos, len);
	return 0;
}

/* The first place with room for @len bytes; 0 when there is none. */
static unsigned find_room(struct builder *b, bool extended, unsigned len)
{
	unsigned pos = extended ? PCI_CONFIG_SIZE : PCI_STD_HEADER_SIZEOF;
	unsigned end = extended ? PCI_EXT_CONFIG_SIZE : PCI_CONFIG_SIZE;

	for (; pos < end; pos += 4) {
		if (is_free(b, pos, len, end)) {
			take(b, pos, len);
			return pos;
		}
	}
	return 0;
}

static void link_std(struct builder *b, uint8_t id, unsigned pos)
{
	b->func->layout->reset[pos + PCI_CAP_LIST_ID] = id;
	b->func->layout->reset[b->std_link] = (uint8_t)pos;
	b->std_link = pos + PCI_CAP_LIST_NEXT;
}

static void link_ext(struct builder *b, uint16_t id, uint8_t version, unsigned pos)
{
	uint8_t *reset = b->func->layout->reset;

	pci_put32(reset + pos, id | (uint32_t)version << 16);
	if (b->ext_link)
		pci_put32(reset + b->ext_link, pci_get32(reset + b->ext_link) | pos << 20);
	b->ext_link = pos;
}

static void build_header(struct pci_func *func)
{
	const struct uvfio_pci_desc *desc = &func->desc;
	uint16_t command = PCI_COMMAND_MASTER | PCI_COMMAND_PARITY | PCI_COMMAND_SERR |
			   PCI_COMMAND_INTX_DISABLE;

	set16(func, PCI_VENDOR_ID, desc->vendor, 0);
	set16(func, PCI_DEVICE_ID, desc->device, 0);
	set32(func, PCI_CLASS_REVISION, desc->class_code << 8 | desc->revision, 0);
	set8(func, PCI_CACHE_LINE_SIZE, 0, 0xff);
	/* A latency timer means nothing on PCI Express and is hardwired to 0 there. */
	set8(func, PCI_LATENCY_TIMER, 0, desc->pcie ? 0 : 0xf8);
	set16(func, PCI_SUBSYSTEM_VENDOR_ID, desc->subsystem_vendor, 0);
	set16(func, PCI_SUBSYSTEM_ID, desc->subsystem_device, 0);
	set8(func, PCI_INTERRUPT_LINE, 0, 0xff);
	set8(func, PCI_INTERRUPT_PIN, desc->interrupt_pin, 0);

	for (unsigned i = 0; i < 6; i++) {
		const struct uvfio_bar_desc *bar = &desc->bars[i];
		unsigned off = PCI_BASE_ADDRESS_0 + 4 * i;
		uint64_t mask = ~(bar->size - 1);

		if (!bar->size)
			continue;
		if (bar->flags & UVFIO_BAR_IO) {
			command |= PCI_COMMAND_IO;
			set32(func, off, PCI_BASE_ADDRESS_SPACE_IO,
			      (uint32_t)mask & (uint32_t)PCI_BASE_ADDRESS_IO_MASK);
			continue;
		}
		command |= PCI_COMMAND_MEMORY;
		set32(func, off,
		      (bar->flags & UVFIO_BAR_MEM64 ? PCI_BASE_ADDRESS_MEM_TYPE_64 : 0) |
			      (bar->flags & UVFIO_BAR_PREFETCH ? PCI_BASE_ADDRESS_MEM_PREFETCH : 0),
		      (uint32_t)mask & (uint32_t)PCI_BASE_ADDRESS_MEM_MASK);
		if (bar->flags & UVFIO_BAR_MEM64)
			set32(func, off + 4, 0, (uint32_t)(mask >> 32));
	}
	if (desc->rom_size) {
		command |= PCI_COMMAND_MEMORY;
		set32(func, PCI_ROM_ADDRESS, 0,
		      (uint32_t) ~(desc->rom_size - 1) | PCI_ROM_ADDRESS_ENABLE);
	}
	set16(func, PCI_COMMAND, 0, command);
	pci_put16(func->layout->w1c + PCI_STATUS,
		  PCI_STATUS_PARITY | PCI_STATUS_SIG_TARGET_ABORT | PCI_STATUS_REC_TARGET_ABORT |
			  PCI_STATUS_REC_MASTER_ABORT | PCI_STATUS_SIG_SYSTEM_ERROR |
			  PCI_STATUS_DETECTED_PARITY);
}

static void build_pm(struct pci_func *func, unsigned pos)
{
	func->pm = pos;
	/* Version 3, no PME. */
	set16(func, pos + PCI_PM_PMC,
	      (uint16_t)(3 | (func->desc.pm_states & UVFIO_PM_D1 ? PCI_PM_CAP_D1 : 0) |
			 (func->desc.pm_states & UVFIO_PM_D2 ? PCI_PM_CAP_D2 : 0)),
	      0);
	set16(func, pos + PCI_PM_CTRL, func->desc.no_soft_reset ? PCI_PM_CTRL_NO_SOFT_RESET : 0,
	      PCI_PM_CTRL_STATE_MASK);
}

static void build_msi(struct pci_func *func, unsigned pos)
{
	const struct uvfio_pci_desc *desc = &func->desc;
	unsigned log2 = 0;
	uint16_t flags = desc->msi_32bit ? 0 : PCI_MSI_FLAGS_64BIT;
	unsigned data = desc->msi_32bit ? PCI_MSI_DATA_32 : PCI_MSI_DATA_64;
	unsigned mask = desc->msi_32bit ? PCI_MSI_MASK_32 : PCI_MSI_MASK_64;

	func->msi = pos;
	while (1u << log2 < desc->msi_vectors)
		log2++;
	flags |= (uint16_t)(log2 << 1);
	if (desc->msi_masking)
		flags |= PCI_MSI_FLAGS_MASKBIT;
	set16(func, pos + PCI_MSI_FLAGS, flags, PCI_MSI_FLAGS_ENABLE | PCI_MSI_FLAGS_QSIZE);
	set32(func, pos + PCI_MSI_ADDRESS_LO, 0, ~3u);
	if (!desc->msi_32bit)
		set32(func, pos + PCI_MSI_ADDRESS_HI, 0, UINT32_MAX);
	set16(func, pos + data, 0, UINT16_MAX);
	if (desc->msi_masking)
		set32(func, pos + mask, 0, (uint32_t)((1ull << desc->msi_vectors) - 1));
}

static unsigned msi_size(const struct uvfio_pci_desc *desc)
{
	/* Mask and pending dwords; the data word is padded before them. */
	return (desc->msi_32bit ? 0x0a : 0x0e) + (desc->msi_masking ? 10 : 0);
}

static void build_msix(struct pci_func *func, unsigned pos)
{
	const struct uvfio_pci_desc *desc = &func->desc;

	func->msix = pos;
	set16(func, pos + PCI_MSIX_FLAGS, (uint16_t)(desc->msix_vectors - 1),
	      PCI_MSIX_FLAGS_ENABLE | PCI_MSIX_FLAGS_MASKALL);
	set32(func, pos + PCI_MSIX_TABLE, (uint32_t)desc->msix_table | desc->msix_bar, 0);
	set32(func, pos + PCI_MSIX_PBA, (uint32_t)desc->msix_pba | desc->msix_bar, 0);
}

#define LINK_SPEED 3u /* 8 GT/s */
#define LINK_WIDTH 4u

static void build_link(struct pci_func *func, unsigned pos, bool version2)
{
	uint16_t control =
		PCI_EXP_LNKCTL_ASPMC | PCI_EXP_LNKCTL_RCB | PCI_EXP_LNKCTL_CCC | PCI_EXP_LNKCTL_ES;

	set32(func, pos + PCI_EXP_LNKCAP, LINK_SPEED | LINK_WIDTH << 4, 0);
	set16(func, pos + PCI_EXP_LNKCTL, 0, control);
	pci_put16(func->layout->keep + pos + PCI_EXP_LNKCTL, control);
	set16(func, pos + PCI_EXP_LNKSTA, LINK_SPEED | LINK_WIDTH << 4 | PCI_EXP_LNKSTA_SLC, 0);
	if (!version2)
		return;
	set32(func, pos + PCI_EXP_LNKCAP2, ((1u << LINK_SPEED) - 1) << 1, 0);
	set16(func, pos + PCI_EXP_LNKCTL2, LINK_SPEED, PCI_EXP_LNKCTL2_TLS);
	pci_put16(func->layout->sticky + pos + PCI_EXP_LNKCTL2, PCI_EXP_LNKCTL2_TLS);
}

static unsigned exp_version(const struct uvfio_pci_desc *desc)
{
	return desc->pcie_version ? desc->pcie_version : 2;
}

static unsigned exp_size(const struct uvfio_pci_desc *desc)
{
	bool link = desc->pcie_type != UVFIO_PCIE_INTEGRATED_ENDPOINT;

	if (exp_version(desc) == 1)
		return link ? 0x14 : 0x0c;
	return link ? 0x3c : 0x2c;
}

static void build_exp(struct pci_func *func, unsigned pos)
{
	const struct uvfio_pci_desc *desc = &func->desc;
	bool version2 = exp_version(desc) == 2;

	func->exp = pos;
	set16(func, pos + PCI_EXP_FLAGS, (uint16_t)(exp_version(desc) | desc->pcie_type << 4), 0);
	/* 256-byte payloads, 8-bit tags, no latency limits, role-based error reporting. */
	set32(func, pos + PCI_EXP_DEVCAP,
	      1 | PCI_EXP_DEVCAP_EXT_TAG | PCI_EXP_DEVCAP_L0S | PCI_EXP_DEVCAP_L1 |
		      PCI_EXP_DEVCAP_RBER | (desc->flr ? PCI_EXP_DEVCAP_FLR : 0),
	      0);
	set16(func, pos + PCI_EXP_DEVCTL,
	      PCI_EXP_DEVCTL_RELAX_EN | PCI_EXP_DEVCTL_NOSNOOP_EN | PCI_EXP_DEVCTL_READRQ_512B,
	      PCI_EXP_DEVCTL_CERE | PCI_EXP_DEVCTL_NFERE | PCI_EXP_DEVCTL_FERE |
		      PCI_EXP_DEVCTL_URRE | PCI_EXP_DEVCTL_RELAX_EN | PCI_EXP_DEVCTL_PAYLOAD |
		      PCI_EXP_DEVCTL_EXT_TAG | PCI_EXP_DEVCTL_NOSNOOP_EN | PCI_EXP_DEVCTL_READRQ);
	pci_put16(func->layout->keep + pos + PCI_EXP_DEVCTL, PCI_EXP_DEVCTL_PAYLOAD);
	pci_put16(func->layout->w1c + pos + PCI_EXP_DEVSTA,
		  PCI_EXP_DEVSTA_CED | PCI_EXP_DEVSTA_NFED | PCI_EXP_DEVSTA_FED |
			  PCI_EXP_DEVSTA_URD);
	if (desc->pcie_type != UVFIO_PCIE_INTEGRATED_ENDPOINT)
		build_link(func, pos, version2);
	if (!version2)
		return;
	/* Completion timeouts: all ranges, can be disabled. */
	set32(func, pos + PCI_EXP_DEVCAP2, 0xf | PCI_EXP_DEVCAP2_COMP_TMOUT_DIS, 0);
	set16(func, pos + PCI_EXP_DEVCTL2, 0,
	      PCI_EXP_DEVCTL2_COMP_TIMEOUT | PCI_EXP_DEVCTL2_COMP_TMOUT_DIS);
}

#define AER_SIZE 0x48u /* with the TLP prefix log */

/* Errors that an endpoint can see, and how serious they are after power-on. */
#define AER_UNCORRECTABLE                                                                          \
	(PCI_ERR_UNC_DLP | PCI_ERR_UNC_POISON_TLP | PCI_ERR_UNC_FCP | PCI_ERR_UNC_COMP_TIME |      \
	 PCI_ERR_UNC_COMP_ABORT | PCI_ERR_UNC_UNX_COMP | PCI_ERR_UNC_RX_OVER |                     \
	 PCI_ERR_UNC_MALF_TLP | PCI_ERR_UNC_ECRC | PCI_ERR_UNC_UNSUP | PCI_ERR_UNC_INTN)
#define AER_FATAL                                                                                  \
	(PCI_ERR_UNC_DLP | PCI_ERR_UNC_FCP | PCI_ERR_UNC_RX_OVER | PCI_ERR_UNC_MALF_TLP |          \
	 PCI_ERR_UNC_INTN)
#define AER_CORRECTABLE                                                                            \
	(PCI_ERR_COR_RCVR | PCI_ERR_COR_BAD_TLP | PCI_ERR_COR_BAD_DLLP | PCI_ERR_COR_REP_ROLL |    \
	 PCI_ERR_COR_REP_TIMER | PCI_ERR_COR_ADV_NFAT | PCI_ERR_COR_INTERNAL |                     \
	 PCI_ERR_COR_LOG_OVER)

static void build_aer(struct pci_func *func, unsigned pos)
{
	func->aer = pos;
	pci_put32(func->layout->w1c + pos + PCI_ERR_UNCOR_STATUS, AER_UNCORRECTABLE);
	set32(func, pos + PCI_ERR_UNCOR_MASK, PCI_ERR_UNC_INTN, AER_UNCORRECTABLE);
	set32(func, pos + PCI_ERR_UNCOR_SEVER, AER_FATAL, AER_UNCORRECTABLE);
	pci_put32(func->layout->w1c + pos + PCI_ERR_COR_STATUS, AER_CORRECTABLE);
	set32(func, pos + PCI_ERR_COR_MASK,
	      PCI_ERR_COR_ADV_NFAT | PCI_ERR_COR_INTERNAL | PCI_ERR_COR_LOG_OVER, AER_CORRECTABLE);
	set32(func, pos + PCI_ERR_CAP, PCI_ERR_CAP_ECRC_GENC | PCI_ERR_CAP_ECRC_CHKC,
	      PCI_ERR_CAP_ECRC_GENE | PCI_ERR_CAP_ECRC_CHKE);
	/* All of it is sticky, the header log too. */
	memset(func->layout->sticky + pos + PCI_ERR_UNCOR_STATUS, 0xff,
	       AER_SIZE - PCI_ERR_UNCOR_STATUS);
}

static void build_vpd(struct pci_func *func, unsigned pos)
{
	func->vpd = pos;
	set16(func, pos + PCI_VPD_ADDR, 0, UINT16_MAX);
	set32(func, pos + PCI_VPD_DATA, 0, UINT32_MAX);
}

static void build_af(struct pci_func *func, unsigned pos)
{
	func->af = pos;
	set8(func, pos + PCI_AF_LENGTH, PCI_CAP_AF_SIZEOF, 0);
	set8(func, pos + PCI_AF_CAP, PCI_AF_CAP_TP | PCI_AF_CAP_FLR, 0);
}

static void build_serial(struct pci_func *func, unsigned pos)
{
	set32(func, pos + 4, (uint32_t)func->desc.serial, 0);
	set32(func, pos + 8, (uint32_t)(func->desc.serial >> 32), 0);
}

static void build_ari(struct pci_func *func, unsigned pos)
{
	/* No function groups, and no next function: VFs are found by their PF. */
	set32(func, pos + PCI_ARI_CAP, 0, 0);
}

static unsigned vf_rebar_size(const struct uvfio_pci_desc *desc)
{
	return 4 + 8 * pci_desc_nr_vf_rebar(desc->sriov);
}

/* What the core builds, in the order in which the lists have it. */
static const struct own_cap {
	bool extended;
	uint8_t version;
	uint16_t id;
	unsigned size; /* 0: ask */
	unsigned (*ask_size)(const struct uvfio_pci_desc *desc);
	void (*build)(struct pci_func *func, unsigned pos);
} own_caps[] = {
	{false, 0, PCI_CAP_ID_PM, PCI_PM_SIZEOF, NULL, build_pm},
	{false, 0, PCI_CAP_ID_MSI, 0, msi_size, build_msi},
	{false, 0, PCI_CAP_ID_EXP, 0, exp_size, build_exp},
	{false, 0, PCI_CAP_ID_MSIX, PCI_CAP_MSIX_SIZEOF, NULL, build_msix},
	{false, 0, PCI_CAP_ID_VPD, PCI_CAP_VPD_SIZEOF, NULL, build_vpd},
	{false, 0, PCI_CAP_ID_AF, PCI_CAP_AF_SIZEOF, NULL, build_af},
	{true, 2, PCI_EXT_CAP_ID_ERR, AER_SIZE, NULL, build_aer},
	{true, 1, PCI_EXT_CAP_ID_DSN, PCI_EXT_CAP_DSN_SIZEOF, NULL, build_serial},
	{true, 1, PCI_EXT_CAP_ID_ARI, PCI_EXT_CAP_ARI_SIZEOF, NULL, build_ari},
	{true, 1, PCI_EXT_CAP_ID_SRIOV, PCI_EXT_CAP_SRIOV_SIZEOF, NULL, pci_build_sriov},
	{true, 1, PCI_VF_REBAR_ID, 0, vf_rebar_size, pci_build_vf_rebar},
};
#define NR_OWN (sizeof(own_caps) / sizeof(own_caps[0]))

static bool builds(const struct pci_func *func, bool extended, unsigned id)
{
	return pci_desc_builds(&func->desc, extended, id) ||
	       (func->vf_ari && extended && id == PCI_EXT_CAP_ID_ARI);
}

static const struct own_cap *find_own(const struct pci_func *func, bool extended, unsigned id)
{
	for (unsigned i = 0; i < NR_OWN && builds(func, extended, id); i++) {
		if (own_caps[i].extended == extended && own_caps[i].id == id)
			return &own_caps[i];
	}
	return NULL;
}

static unsigned cap_size(const struct pci_func *func, const struct uvfio_cap_desc *cap)
{
	const struct own_cap *own = find_own(func, cap->extended, cap->id);

	if (own)
		return own->size ? own->size : own->ask_size(&func->desc);
	return cap->len + (cap->extended ? 4u : 2u);
}

/* The model's bytes at @pos. */
static void build_data(struct pci_func *func, unsigned pos, unsigned len, const uint8_t *data,
		       const uint8_t *wmask, const uint8_t *w1c)
{
	for (unsigned i = 0; i < len; i++) {
		set8(func, pos + i, data ? data[i] : 0, wmask ? wmask[i] : 0);
		func->layout->w1c[pos + i] = w1c ? w1c[i] : 0;
		func->layout->model[pos + i] = true;
	}
}

/* Place, link and fill a capability. */
static int build_cap(struct builder *b, const struct uvfio_cap_desc *cap)
{
	struct pci_func *func = b->func;
	const struct own_cap *own = find_own(func, cap->extended, cap->id);
	unsigned size = cap_size(func, cap), pos = cap->offset;

	if (!pos)
		pos = find_room(b, cap->extended, size);
	if (!pos)
		return BAD(b->err, "no room in config space for %s capability %#x of %u bytes",
			   cap->extended ? "extended" : "standard", cap->id, size);
	if (cap->extended && !b->ext_link && pos != PCI_CONFIG_SIZE)
		return BAD(b->err,
			   "extended capability %#x is the first of the list, so it must be at "
			   "%#x",
			   cap->id, PCI_CONFIG_SIZE);
	if (cap->extended)
		link_ext(b, cap->id, own ? own->version : cap->version, pos);
	else
		link_std(b, (uint8_t)cap->id, pos);
	if (own) {
		own->build(func, pos);
		return 0;
	}
	build_data(func, pos + (cap->extended ? 4 : 2), cap->len, cap->data, cap->wmask, cap->w1c);
	if (!cap->extended && cap->id == PCI_CAP_ID_PCIX && cap->len >= 2)
		func->pcix = pos;
	if (!cap->extended && cap->id == PCI_CAP_ID_AF && cap->len >= 4) {
		func->af = pos;
		func->layout->wmask[pos + PCI_AF_CTRL] &= (uint8_t)~PCI_AF_CTRL_FLR;
	}
	return 0;
}

/* What has an offset is placed before what has none. */
static int claim_all(struct builder *b)
{
	const struct uvfio_pci_desc *desc = &b->func->desc;
	int ret = 0;

	for (unsigned i = 0; i < desc->nr_caps && !ret; i++) {
		const struct uvfio_cap_desc *cap = &desc->caps[i];

		if (cap->offset)
			ret = claim(b, cap->offset, cap_size(b->func, cap), cap->extended,
				    "capability", cap->id);
	}
	for (unsigned i = 0; i < desc->nr_config && !ret; i++) {
		const struct uvfio_config_area *area = &desc->config[i];

		ret = claim(b, area->offset, area->len, area->offset >= PCI_CONFIG_SIZE,
			    "config area", i);
		if (!ret)
			build_data(b->func, area->offset, area->len, area->data, area->wmask,
				   area->w1c);
	}
	return ret;
}

static bool is_named(const struct uvfio_pci_desc *desc, const struct own_cap *own)
{
	for (unsigned i = 0; i < desc->nr_caps; i++) {
		if (desc->caps[i].extended == own->extended && desc->caps[i].id == own->id)
			return true;
	}
	return false;
}

int pci_build(struct pci_func *func, struct uvfio_error *err)
{
	const struct uvfio_pci_desc *desc = &func->desc;
	struct builder b = {
		.func = func,
		.err = err,
		.std_link = PCI_CAPABILITY_LIST,
	};
	int ret;

	build_header(func);
	ret = claim_all(&b);
	for (unsigned i = 0; i < NR_OWN && !ret; i++) {
		const struct own_cap *own = &own_caps[i];

		if (builds(func, own->extended, own->id) && !is_named(desc, own))
			ret = build_cap(&b, &(const struct uvfio_cap_desc){
						    .extended = own->extended, .id = own->id});
	}
	for (unsigned i = 0; i < desc->nr_caps && !ret; i++)
		ret = build_cap(&b, &desc->caps[i]);
	if (func->layout->reset[PCI_CAPABILITY_LIST])
		func->layout->reset[PCI_STATUS] |= PCI_STATUS_CAP_LIST;
	pci_msix_find_link(func);
	return ret;
}
