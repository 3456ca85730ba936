/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What a function is made of: checks a description, copies it, and lays out config space with its
 * reset values and masks as an endpoint has them.
 *
 * Layout: standard capabilities from 0x40 upwards in the order PM, MSI, PCI Express, MSI-X, VPD,
 * then the model's own; extended ones from 0x100: AER, device serial number, then the model's own.
 * The lists link them in that order.
 */
#include <errno.h>
#include <stdlib.h>

#include "pci/func_private.h"

#define BAD(err, ...) uvfio_error_set(err, -EINVAL, __VA_ARGS__)

static bool power_of_two(uint64_t v)
{
	return v && !(v & (v - 1));
}

static bool overlaps(uint64_t a, uint64_t a_size, uint64_t b, uint64_t b_size)
{
	return a < b + b_size && b < a + a_size;
}

/* [off, off + size) inside [0, limit), without wrapping. */
static bool inside(uint64_t off, uint64_t size, uint64_t limit)
{
	return size <= limit && off <= limit - size;
}

/* ---- checks ---- */

static int check_bar(const struct uvfio_pci_desc *desc, unsigned i, struct uvfio_error *err)
{
	const struct uvfio_bar_desc *bar = &desc->bars[i];
	uint64_t end = 0;

	if (!bar->size)
		return bar->nr_areas ? BAD(err, "BAR %u has areas but no size", i) : 0;
	if (i && desc->bars[i - 1].size && (desc->bars[i - 1].flags & UVFIO_BAR_MEM64))
		return BAD(err, "BAR %u is the upper half of the 64-bit BAR %u: use BAR %u", i,
			   i - 1, i + 1);
	if (bar->flags & ~(UVFIO_BAR_MEM64 | UVFIO_BAR_IO | UVFIO_BAR_PREFETCH))
		return BAD(err, "BAR %u has unknown flags %#x", i, bar->flags);
	if (!power_of_two(bar->size))
		return BAD(err, "the size of BAR %u, %#llx, is not a power of two", i,
			   (unsigned long long)bar->size);
	if (bar->flags & UVFIO_BAR_IO) {
		if (bar->flags != UVFIO_BAR_IO)
			return BAD(err, "BAR %u is I/O: it can be neither 64-bit nor prefetchable",
				   i);
		if (bar->size < 4 || bar->size > 256)
			return BAD(err, "I/O BAR %u has %llu bytes: 4 to 256 are possible", i,
				   (unsigned long long)bar->size);
	} else if (bar->size < 16) {
		return BAD(err, "memory BAR %u has %llu bytes: 16 is the least", i,
			   (unsigned long long)bar->size);
	} else if (bar->flags & UVFIO_BAR_MEM64) {
		if (i == 5)
			return BAD(err, "BAR 5 has no neighbour for the upper half of 64 bits");
		if (bar->size > 1ull << 40)
			return BAD(err, "BAR %u has %#llx bytes: 1 TiB is the most", i,
				   (unsigned long long)bar->size);
	} else if (bar->size > 1ull << 31) {
		return BAD(err, "32-bit BAR %u has %#llx bytes: 2 GiB is the most (or use 64 bits)",
			   i, (unsigned long long)bar->size);
	}
	if (bar->nr_areas > 4096 || (bar->nr_areas && !bar->areas))
		return BAD(err, "BAR %u has %u areas: 4096 is the most", i, bar->nr_areas);
	for (unsigned a = 0; a < bar->nr_areas; a++) {
		const struct uvfio_area *area = &bar->areas[a];

		if (!area->size || !inside(area->offset, area->size, bar->size))
			return BAD(err, "area %u of BAR %u is empty or ends beyond its %#llx bytes",
				   a, i, (unsigned long long)bar->size);
		if (area->offset < end)
			return BAD(err, "area %u of BAR %u begins before area %u ends", a, i,
				   a - 1);
		end = area->offset + area->size;
	}
	return 0;
}

static int check_msix(const struct uvfio_pci_desc *desc, struct uvfio_error *err)
{
	uint64_t table_size = 16ull * desc->msix_vectors;
	uint64_t pba_size = (desc->msix_vectors + 63) / 64 * 8;
	const struct uvfio_bar_desc *bar;

	if (!desc->msix_vectors)
		return 0;
	if (desc->msix_vectors > 2048)
		return BAD(err, "%u MSI-X vectors: 2048 is the most", desc->msix_vectors);
	if (desc->msix_bar > 5 || !desc->bars[desc->msix_bar].size ||
	    (desc->bars[desc->msix_bar].flags & UVFIO_BAR_IO))
		return BAD(err, "MSI-X is in BAR %u, which is not an implemented memory BAR",
			   desc->msix_bar);
	bar = &desc->bars[desc->msix_bar];
	if (desc->msix_table % 8 || desc->msix_pba % 8 || desc->msix_table > UINT32_MAX ||
	    desc->msix_pba > UINT32_MAX)
		return BAD(err, "MSI-X table %#llx or PBA %#llx is not a multiple of 8 below 4 GiB",
			   (unsigned long long)desc->msix_table,
			   (unsigned long long)desc->msix_pba);
	if (!inside(desc->msix_table, table_size, bar->size) ||
	    !inside(desc->msix_pba, pba_size, bar->size))
		return BAD(err, "MSI-X table or PBA of %u vectors ends beyond BAR %u",
			   desc->msix_vectors, desc->msix_bar);
	if (overlaps(desc->msix_table, table_size, desc->msix_pba, pba_size))
		return BAD(err, "MSI-X table and PBA overlap");
	for (unsigned a = 0; a < bar->nr_areas; a++) {
		const struct uvfio_area *area = &bar->areas[a];

		if (overlaps(desc->msix_table, table_size, area->offset, area->size) ||
		    overlaps(desc->msix_pba, pba_size, area->offset, area->size))
			return BAD(err, "area %u of BAR %u overlaps the MSI-X table or PBA", a,
				   desc->msix_bar);
	}
	return 0;
}

/* Capabilities that the core builds itself. */
static bool is_core_cap(const struct uvfio_pci_desc *desc, const struct uvfio_cap_desc *cap)
{
	if (cap->extended)
		return cap->id == PCI_EXT_CAP_ID_ERR ||
		       (cap->id == PCI_EXT_CAP_ID_DSN && desc->serial);
	return cap->id == PCI_CAP_ID_PM || (cap->id == PCI_CAP_ID_VPD && desc->vpd_len) ||
	       cap->id == PCI_CAP_ID_MSI || cap->id == PCI_CAP_ID_MSIX || cap->id == PCI_CAP_ID_EXP;
}

static int check_cap(const struct uvfio_pci_desc *desc, unsigned i, struct uvfio_error *err)
{
	const struct uvfio_cap_desc *cap = &desc->caps[i];
	unsigned total = cap->len + (cap->extended ? 4u : 2u);

	if (!cap->id || (!cap->extended && cap->id > 0xff) || (cap->extended && cap->version > 15))
		return BAD(err, "capability %u has id %#x, version %u: not possible", i, cap->id,
			   cap->version);
	if (cap->extended && !desc->pcie)
		return BAD(err, "extended capability %#x needs `pcie`", cap->id);
	if (is_core_cap(desc, cap))
		return BAD(err, "%s capability %#x is built by the core: use its fields instead",
			   cap->extended ? "extended" : "standard", cap->id);
	if (cap->len && !cap->data)
		return BAD(err, "capability %#x has a length but no data", cap->id);
	if (!cap->extended && cap->id == PCI_CAP_ID_VNDR && (!cap->len || cap->data[0] != total))
		return BAD(err, "vendor capability %u: its length byte must be %u", i, total);
	if (cap->extended && (cap->id == PCI_EXT_CAP_ID_VNDR || cap->id == PCI_EXT_CAP_ID_DVSEC) &&
	    (cap->len < 4 || pci_get32(cap->data) >> 20 != total))
		return BAD(err, "vendor capability %u: its length field must be %u", i, total);
	for (unsigned n = 0; cap->wmask && cap->w1c && n < cap->len; n++)
		if (cap->wmask[n] & cap->w1c[n])
			return BAD(err, "capability %#x: byte %u has bits both in wmask and w1c",
				   cap->id, n);
	return 0;
}

int pci_desc_check(const struct uvfio_pci_desc *desc, struct uvfio_error *err)
{
	int ret = 0;

	if (desc->class_code >> 24)
		return BAD(err, "class code %#x has more than 24 bits", desc->class_code);
	if (desc->interrupt_pin > 4)
		return BAD(err, "interrupt pin %u: 0 (none) to 4 (INTD)", desc->interrupt_pin);
	for (unsigned i = 0; i < 6 && !ret; i++)
		ret = check_bar(desc, i, err);
	if (ret)
		return ret;
	if (desc->rom_size &&
	    (!power_of_two(desc->rom_size) || desc->rom_size < 2048 || desc->rom_size > 16 << 20))
		return BAD(err, "ROM size %llu is not a power of two from 2 KiB to 16 MiB",
			   (unsigned long long)desc->rom_size);
	if (desc->rom_len > desc->rom_size || (desc->rom_len && !desc->rom))
		return BAD(err, "ROM image of %llu bytes does not fit in %llu",
			   (unsigned long long)desc->rom_len, (unsigned long long)desc->rom_size);
	if (desc->msi_vectors && (!power_of_two(desc->msi_vectors) || desc->msi_vectors > 32))
		return BAD(err, "%u MSI vectors: 1, 2, 4, 8, 16 or 32", desc->msi_vectors);
	ret = check_msix(desc, err);
	if (ret)
		return ret;
	if (desc->flr && !desc->pcie)
		return BAD(err, "function level reset needs `pcie`");
	if (desc->serial && !desc->pcie)
		return BAD(err, "a device serial number needs `pcie`");
	if (desc->no_soft_reset && !desc->pm)
		return BAD(err, "`no_soft_reset` needs `pm`");
	if (desc->vpd_len % 4 || desc->vpd_len > 32768 || (desc->vpd_len && !desc->vpd) ||
	    desc->vpd_rw % 4 || desc->vpd_rw > desc->vpd_len)
		return BAD(err, "VPD of %u bytes, writable from %u: multiples of 4 up to 32768",
			   desc->vpd_len, desc->vpd_rw);
	if (desc->nr_caps && !desc->caps)
		return BAD(err, "%u capabilities, but no array", desc->nr_caps);
	for (unsigned i = 0; i < desc->nr_caps && !ret; i++)
		ret = check_cap(desc, i, err);
	return ret;
}

/* ---- copy ---- */

/* NULL stays NULL; -ENOMEM. */
static int dup_bytes(const void *from, size_t len, const void **to)
{
	void *copy;

	*to = NULL;
	if (!from || !len)
		return 0;
	copy = malloc(len);
	if (!copy)
		return -ENOMEM;
	memcpy(copy, from, len);
	*to = copy;
	return 0;
}

int pci_desc_copy(struct uvfio_pci_desc *to, const struct uvfio_pci_desc *from)
{
	struct uvfio_cap_desc *caps = NULL;
	int ret;

	*to = *from;
	to->caps = NULL;
	to->nr_caps = 0;
	to->rom = NULL;
	to->vpd = NULL; /* the function keeps its own */
	for (unsigned i = 0; i < 6; i++)
		to->bars[i].areas = NULL;

	for (unsigned i = 0; i < 6; i++) {
		ret = dup_bytes(from->bars[i].areas,
				from->bars[i].nr_areas * sizeof(*from->bars[i].areas),
				(const void **)&to->bars[i].areas);
		if (ret)
			return ret;
	}
	ret = dup_bytes(from->rom, from->rom_len, &to->rom);
	if (ret || !from->nr_caps)
		return ret;
	caps = calloc(from->nr_caps, sizeof(*caps));
	if (!caps)
		return -ENOMEM;
	to->caps = caps;
	for (unsigned i = 0; i < from->nr_caps; i++) {
		const struct uvfio_cap_desc *cap = &from->caps[i];

		caps[i] = *cap;
		caps[i].data = caps[i].wmask = caps[i].w1c = NULL;
		to->nr_caps = i + 1;
		if (dup_bytes(cap->data, cap->len, (const void **)&caps[i].data) ||
		    dup_bytes(cap->wmask, cap->len, (const void **)&caps[i].wmask) ||
		    dup_bytes(cap->w1c, cap->len, (const void **)&caps[i].w1c))
			return -ENOMEM;
	}
	return 0;
}

void pci_desc_release(struct uvfio_pci_desc *desc)
{
	for (unsigned i = 0; i < 6; i++)
		free((void *)(uintptr_t)desc->bars[i].areas);
	for (unsigned i = 0; i < desc->nr_caps; i++) {
		free((void *)(uintptr_t)desc->caps[i].data);
		free((void *)(uintptr_t)desc->caps[i].wmask);
		free((void *)(uintptr_t)desc->caps[i].w1c);
	}
	free((void *)(uintptr_t)desc->caps);
	free((void *)(uintptr_t)desc->rom);
}

/* ---- layout ---- */

struct builder {
	struct pci_func *func;
	unsigned std_end, ext_end; /* where the next capability goes */
	unsigned std_link;         /* byte that points to the next standard one */
	unsigned ext_link;         /* header of the last extended one, 0: none yet */
};

static void set8(struct pci_func *func, unsigned off, uint8_t reset, uint8_t wmask)
{
	func->reset[off] = reset;
	func->wmask[off] = wmask;
}

static void set16(struct pci_func *func, unsigned off, uint16_t reset, uint16_t wmask)
{
	pci_put16(func->reset + off, reset);
	pci_put16(func->wmask + off, wmask);
}

static void set32(struct pci_func *func, unsigned off, uint32_t reset, uint32_t wmask)
{
	pci_put32(func->reset + off, reset);
	pci_put32(func->wmask + off, wmask);
}

/* Room for @len bytes; 0 when there is none. */
static unsigned add_std(struct builder *b, uint8_t id, unsigned len)
{
	struct pci_func *func = b->func;
	unsigned pos = b->std_end;

	if (len > PCI_CONFIG_SIZE - pos)
		return 0;
	func->reset[pos + PCI_CAP_LIST_ID] = id;
	func->reset[b->std_link] = (uint8_t)pos;
	b->std_link = pos + PCI_CAP_LIST_NEXT;
	b->std_end = (pos + len + 3) & ~3u;
	return pos;
}

static unsigned add_ext(struct builder *b, uint16_t id, uint8_t version, unsigned len)
{
	struct pci_func *func = b->func;
	unsigned pos = b->ext_end;

	if (len > PCI_EXT_CONFIG_SIZE - pos)
		return 0;
	pci_put32(func->reset + pos, id | (uint32_t)version << 16);
	if (b->ext_link) {
		uint32_t header = pci_get32(func->reset + b->ext_link);

		pci_put32(func->reset + b->ext_link, header | pos << 20);
	}
	b->ext_link = pos;
	b->ext_end = (pos + len + 3) & ~3u;
	return pos;
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
	pci_put16(func->w1c + PCI_STATUS,
		  PCI_STATUS_PARITY | PCI_STATUS_SIG_TARGET_ABORT | PCI_STATUS_REC_TARGET_ABORT |
			  PCI_STATUS_REC_MASTER_ABORT | PCI_STATUS_SIG_SYSTEM_ERROR |
			  PCI_STATUS_DETECTED_PARITY);
}

static void build_pm(struct pci_func *func, unsigned pos)
{
	func->pm = pos;
	/* Version 3, neither D1 nor D2, no PME. */
	set16(func, pos + PCI_PM_PMC, 3, 0);
	set16(func, pos + PCI_PM_CTRL, func->desc.no_soft_reset ? PCI_PM_CTRL_NO_SOFT_RESET : 0,
	      PCI_PM_CTRL_STATE_MASK);
}

static void build_msi(struct pci_func *func, unsigned pos)
{
	const struct uvfio_pci_desc *desc = &func->desc;
	unsigned log2 = 0;
	uint16_t flags = PCI_MSI_FLAGS_64BIT;

	func->msi = pos;
	while (1u << log2 < desc->msi_vectors)
		log2++;
	flags |= (uint16_t)(log2 << 1);
	if (desc->msi_masking)
		flags |= PCI_MSI_FLAGS_MASKBIT;
	set16(func, pos + PCI_MSI_FLAGS, flags, PCI_MSI_FLAGS_ENABLE | PCI_MSI_FLAGS_QSIZE);
	set32(func, pos + PCI_MSI_ADDRESS_LO, 0, ~3u);
	set32(func, pos + PCI_MSI_ADDRESS_HI, 0, UINT32_MAX);
	set16(func, pos + PCI_MSI_DATA_64, 0, UINT16_MAX);
	if (desc->msi_masking)
		set32(func, pos + PCI_MSI_MASK_64, 0, (uint32_t)((1ull << desc->msi_vectors) - 1));
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

/* PCI Express capability, version 2, endpoint. */
static void build_exp(struct pci_func *func, unsigned pos)
{
	uint16_t link_control =
		PCI_EXP_LNKCTL_ASPMC | PCI_EXP_LNKCTL_RCB | PCI_EXP_LNKCTL_CCC | PCI_EXP_LNKCTL_ES;

	func->exp = pos;
	set16(func, pos + PCI_EXP_FLAGS, 2 | PCI_EXP_TYPE_ENDPOINT << 4, 0);
	/* 256-byte payloads, 8-bit tags, no latency limits, role-based error reporting. */
	set32(func, pos + PCI_EXP_DEVCAP,
	      1 | PCI_EXP_DEVCAP_EXT_TAG | PCI_EXP_DEVCAP_L0S | PCI_EXP_DEVCAP_L1 |
		      PCI_EXP_DEVCAP_RBER | (func->desc.flr ? PCI_EXP_DEVCAP_FLR : 0),
	      0);
	set16(func, pos + PCI_EXP_DEVCTL,
	      PCI_EXP_DEVCTL_RELAX_EN | PCI_EXP_DEVCTL_NOSNOOP_EN | PCI_EXP_DEVCTL_READRQ_512B,
	      PCI_EXP_DEVCTL_CERE | PCI_EXP_DEVCTL_NFERE | PCI_EXP_DEVCTL_FERE |
		      PCI_EXP_DEVCTL_URRE | PCI_EXP_DEVCTL_RELAX_EN | PCI_EXP_DEVCTL_PAYLOAD |
		      PCI_EXP_DEVCTL_EXT_TAG | PCI_EXP_DEVCTL_NOSNOOP_EN | PCI_EXP_DEVCTL_READRQ);
	pci_put16(func->keep + pos + PCI_EXP_DEVCTL, PCI_EXP_DEVCTL_PAYLOAD);
	pci_put16(func->w1c + pos + PCI_EXP_DEVSTA, PCI_EXP_DEVSTA_CED | PCI_EXP_DEVSTA_NFED |
							    PCI_EXP_DEVSTA_FED |
							    PCI_EXP_DEVSTA_URD);
	set32(func, pos + PCI_EXP_LNKCAP, LINK_SPEED | LINK_WIDTH << 4, 0);
	set16(func, pos + PCI_EXP_LNKCTL, 0, link_control);
	pci_put16(func->keep + pos + PCI_EXP_LNKCTL, link_control);
	set16(func, pos + PCI_EXP_LNKSTA, LINK_SPEED | LINK_WIDTH << 4 | PCI_EXP_LNKSTA_SLC, 0);
	/* Completion timeouts: all ranges, can be disabled. */
	set32(func, pos + PCI_EXP_DEVCAP2, 0xf | PCI_EXP_DEVCAP2_COMP_TMOUT_DIS, 0);
	set16(func, pos + PCI_EXP_DEVCTL2, 0,
	      PCI_EXP_DEVCTL2_COMP_TIMEOUT | PCI_EXP_DEVCTL2_COMP_TMOUT_DIS);
	set32(func, pos + PCI_EXP_LNKCAP2, ((1u << LINK_SPEED) - 1) << 1, 0);
	set16(func, pos + PCI_EXP_LNKCTL2, LINK_SPEED, PCI_EXP_LNKCTL2_TLS);
	pci_put16(func->sticky + pos + PCI_EXP_LNKCTL2, PCI_EXP_LNKCTL2_TLS);
}

#define EXP_SIZE 0x3cu
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
	pci_put32(func->w1c + pos + PCI_ERR_UNCOR_STATUS, AER_UNCORRECTABLE);
	set32(func, pos + PCI_ERR_UNCOR_MASK, PCI_ERR_UNC_INTN, AER_UNCORRECTABLE);
	set32(func, pos + PCI_ERR_UNCOR_SEVER, AER_FATAL, AER_UNCORRECTABLE);
	pci_put32(func->w1c + pos + PCI_ERR_COR_STATUS, AER_CORRECTABLE);
	set32(func, pos + PCI_ERR_COR_MASK,
	      PCI_ERR_COR_ADV_NFAT | PCI_ERR_COR_INTERNAL | PCI_ERR_COR_LOG_OVER, AER_CORRECTABLE);
	set32(func, pos + PCI_ERR_CAP, PCI_ERR_CAP_ECRC_GENC | PCI_ERR_CAP_ECRC_CHKC,
	      PCI_ERR_CAP_ECRC_GENE | PCI_ERR_CAP_ECRC_CHKE);
	/* All of it is sticky, the header log too. */
	memset(func->sticky + pos + PCI_ERR_UNCOR_STATUS, 0xff, AER_SIZE - PCI_ERR_UNCOR_STATUS);
}

static int build_cap(struct builder *b, const struct uvfio_cap_desc *cap, struct uvfio_error *err)
{
	struct pci_func *func = b->func;
	unsigned header = cap->extended ? 4 : 2, pos;

	if (cap->extended)
		pos = add_ext(b, cap->id, cap->version, header + cap->len);
	else
		pos = add_std(b, (uint8_t)cap->id, header + cap->len);
	if (!pos)
		return BAD(err, "no room in config space for %s capability %#x of %u bytes",
			   cap->extended ? "extended" : "standard", cap->id, header + cap->len);
	for (unsigned i = 0; i < cap->len; i++) {
		set8(func, pos + header + i, cap->data[i], cap->wmask ? cap->wmask[i] : 0);
		func->w1c[pos + header + i] = cap->w1c ? cap->w1c[i] : 0;
	}
	if (!cap->extended && cap->id == PCI_CAP_ID_AF && cap->len >= 4) {
		func->af = pos;
		func->wmask[pos + PCI_AF_CTRL] &= (uint8_t)~PCI_AF_CTRL_FLR;
	}
	return 0;
}

int pci_build(struct pci_func *func, struct uvfio_error *err)
{
	const struct uvfio_pci_desc *desc = &func->desc;
	struct builder b = {
		.func = func,
		.std_end = PCI_STD_HEADER_SIZEOF,
		.std_link = PCI_CAPABILITY_LIST,
		.ext_end = PCI_CONFIG_SIZE,
	};
	int ret;

	build_header(func);
	/* The core's own always fit: 0x40 to 0xB4 at most. */
	if (desc->pm)
		build_pm(func, add_std(&b, PCI_CAP_ID_PM, PCI_PM_SIZEOF));
	if (desc->msi_vectors)
		build_msi(func, add_std(&b, PCI_CAP_ID_MSI, desc->msi_masking ? 0x18 : 0x0e));
	if (desc->pcie)
		build_exp(func, add_std(&b, PCI_CAP_ID_EXP, EXP_SIZE));
	if (desc->msix_vectors)
		build_msix(func, add_std(&b, PCI_CAP_ID_MSIX, PCI_CAP_MSIX_SIZEOF));
	if (desc->vpd_len) {
		func->vpd = add_std(&b, PCI_CAP_ID_VPD, PCI_CAP_VPD_SIZEOF);
		set16(func, func->vpd + PCI_VPD_ADDR, 0, UINT16_MAX);
		set32(func, func->vpd + PCI_VPD_DATA, 0, UINT32_MAX);
	}
	if (desc->pcie)
		build_aer(func, add_ext(&b, PCI_EXT_CAP_ID_ERR, 2, AER_SIZE));
	if (desc->serial) {
		unsigned pos = add_ext(&b, PCI_EXT_CAP_ID_DSN, 1, PCI_EXT_CAP_DSN_SIZEOF);

		set32(func, pos + 4, (uint32_t)desc->serial, 0);
		set32(func, pos + 8, (uint32_t)(desc->serial >> 32), 0);
	}
	for (unsigned i = 0; i < desc->nr_caps; i++) {
		ret = build_cap(&b, &desc->caps[i], err);
		if (ret)
			return ret;
	}
	if (func->reset[PCI_CAPABILITY_LIST])
		func->reset[PCI_STATUS] |= PCI_STATUS_CAP_LIST;
	return 0;
}
