/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A function's description: what may stand in it, and a copy of it.
 */
#include <errno.h>
#include <stdlib.h>

#include "pci/func_private.h"

#define MAX_ROM       (16ull << 20)
#define MAX_CAPS      256u

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
	if (bar->flags & ~(UVFIO_BAR_MEM64 | UVFIO_BAR_IO | UVFIO_BAR_PREFETCH | UVFIO_BAR_NO_MMAP))
		return BAD(err, "BAR %u has unknown flags %#x", i, bar->flags);
	if (!power_of_two(bar->size))
		return BAD(err, "the size of BAR %u, %#llx, is not a power of two", i,
			   (unsigned long long)bar->size);
	if (bar->flags & UVFIO_BAR_IO) {
		if (bar->flags != UVFIO_BAR_IO)
			return BAD(err,
				   "BAR %u is I/O: it can be neither 64-bit nor prefetchable, and "
				   "is never mapped",
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

bool pci_desc_has_data(const struct uvfio_pci_desc *desc, unsigned id)
{
	for (unsigned i = 0; i < desc->nr_caps; i++) {
		if (desc->caps[i].extended && desc->caps[i].id == id && desc->caps[i].len)
			return true;
	}
	return false;
}

static bool builds_extended(const struct uvfio_pci_desc *desc, unsigned id)
{
	switch (id) {
	case PCI_EXT_CAP_ID_ERR:
		return desc->pcie && !desc->no_aer;
	case PCI_EXT_CAP_ID_DSN:
		return desc->serial;
	case PCI_EXT_CAP_ID_ARI:
		return desc->sriov && !pci_desc_has_data(desc, id);
	case PCI_EXT_CAP_ID_SRIOV:
		return desc->sriov;
	case PCI_VF_REBAR_ID:
		return desc->sriov && pci_desc_nr_vf_rebar(desc->sriov);
	}
	return false;
}

bool pci_desc_builds(const struct uvfio_pci_desc *desc, bool extended, unsigned id)
{
	if (extended)
		return builds_extended(desc, id);
	switch (id) {
	case PCI_CAP_ID_PM:
		return desc->pm;
	case PCI_CAP_ID_VPD:
		return desc->vpd_len;
	case PCI_CAP_ID_MSI:
		return desc->msi_vectors;
	case PCI_CAP_ID_EXP:
		return desc->pcie;
	case PCI_CAP_ID_MSIX:
		return desc->msix_vectors;
	case PCI_CAP_ID_AF:
		return desc->af;
	}
	return false;
}

/* Capabilities with behaviour of which data alone would be a lie. */
static bool only_core_builds(const struct uvfio_cap_desc *cap)
{
	return !cap->extended && (cap->id == PCI_CAP_ID_PM || cap->id == PCI_CAP_ID_MSI ||
				  cap->id == PCI_CAP_ID_MSIX || cap->id == PCI_CAP_ID_EXP);
}

/* A field, or the whole, that says how long the capability is. */
static int check_cap_length(const struct uvfio_cap_desc *cap, unsigned i, struct uvfio_error *err)
{
	unsigned total = cap->len + (cap->extended ? 4u : 2u);

	if (!cap->extended && cap->id == PCI_CAP_ID_VNDR && cap->data[0] != total)
		return BAD(err, "vendor capability %u: its length byte must be %u", i, total);
	if (cap->extended && (cap->id == PCI_EXT_CAP_ID_VNDR || cap->id == PCI_EXT_CAP_ID_DVSEC) &&
	    (cap->len < 4 || pci_get32(cap->data) >> 20 != total))
		return BAD(err, "vendor capability %u: its length field must be %u", i, total);
	return 0;
}

static int check_masks(const uint8_t *wmask, const uint8_t *w1c, unsigned len, const char *what,
		       unsigned i, struct uvfio_error *err)
{
	for (unsigned n = 0; wmask && w1c && n < len; n++)
		if (wmask[n] & w1c[n])
			return BAD(err, "%s %u: byte %u has bits both in wmask and w1c", what, i,
				   n);
	return 0;
}

static int check_cap(const struct uvfio_pci_desc *desc, unsigned i, struct uvfio_error *err)
{
	const struct uvfio_cap_desc *cap = &desc->caps[i];
	const char *kind = cap->extended ? "extended" : "standard";
	bool builds = pci_desc_builds(desc, cap->extended, cap->id);
	int ret;

	if (!cap->id || (!cap->extended && cap->id > 0xff) || (cap->extended && cap->version > 15))
		return BAD(err, "capability %u has id %#x, version %u: not possible", i, cap->id,
			   cap->version);
	if (cap->extended && !desc->pcie)
		return BAD(err, "extended capability %#x needs `pcie`", cap->id);
	if (cap->offset % 4)
		return BAD(err, "capability %u at %#x: offsets are multiples of 4", i, cap->offset);
	for (unsigned n = 0; builds && n < i; n++)
		if (desc->caps[n].extended == cap->extended && desc->caps[n].id == cap->id)
			return BAD(err, "%s capability %#x is named twice", kind, cap->id);
	if (builds && !cap->len)
		return 0;
	if (builds || only_core_builds(cap))
		return BAD(err,
			   "%s capability %#x is built by the core: use its fields instead, and no "
			   "data",
			   kind, cap->id);
	if (!cap->len || !cap->data)
		return BAD(err, "%s capability %#x has no data, and the core does not build it",
			   kind, cap->id);
	ret = check_cap_length(cap, i, err);
	return ret ? ret : check_masks(cap->wmask, cap->w1c, cap->len, "capability", i, err);
}

static int check_config(const struct uvfio_pci_desc *desc, unsigned i, struct uvfio_error *err)
{
	const struct uvfio_config_area *area = &desc->config[i];
	unsigned size = desc->pcie ? PCI_EXT_CONFIG_SIZE : PCI_CONFIG_SIZE;

	if (!area->len || area->offset < PCI_STD_HEADER_SIZEOF ||
	    !inside(area->offset, area->len, size))
		return BAD(err, "config area %u is empty or not inside [%#x, %#x)", i,
			   PCI_STD_HEADER_SIZEOF, size);
	return check_masks(area->wmask, area->w1c, area->len, "config area", i, err);
}

static int check_rom(const struct uvfio_pci_desc *desc, struct uvfio_error *err)
{
	uint64_t limit = desc->rom_size ? desc->rom_size : MAX_ROM;

	if (desc->rom_size &&
	    (!power_of_two(desc->rom_size) || desc->rom_size < 2048 || desc->rom_size > MAX_ROM))
		return BAD(err, "ROM size %llu is not a power of two from 2 KiB to 16 MiB",
			   (unsigned long long)desc->rom_size);
	if (desc->rom_len > limit || (desc->rom_len && !desc->rom))
		return BAD(err, "ROM image of %llu bytes does not fit in %llu",
			   (unsigned long long)desc->rom_len, (unsigned long long)limit);
	return 0;
}

static int check_pcie(const struct uvfio_pci_desc *desc, struct uvfio_error *err)
{
	if (desc->flr && !desc->pcie)
		return BAD(err, "function level reset needs `pcie` (or use `af`)");
	if (desc->serial && !desc->pcie)
		return BAD(err, "a device serial number needs `pcie`");
	if (desc->pcie_version > 2)
		return BAD(err, "version %u of the PCI Express capability: 1 or 2",
			   desc->pcie_version);
	if (desc->pcie_type != UVFIO_PCIE_ENDPOINT &&
	    desc->pcie_type != UVFIO_PCIE_LEGACY_ENDPOINT &&
	    desc->pcie_type != UVFIO_PCIE_INTEGRATED_ENDPOINT)
		return BAD(err, "PCI Express type %u is none of an endpoint", desc->pcie_type);
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
	ret = check_rom(desc, err);
	if (ret)
		return ret;
	if (desc->msi_vectors && (!power_of_two(desc->msi_vectors) || desc->msi_vectors > 32))
		return BAD(err, "%u MSI vectors: 1, 2, 4, 8, 16 or 32", desc->msi_vectors);
	ret = check_msix(desc, err);
	if (ret)
		return ret;
	ret = check_pcie(desc, err);
	if (ret)
		return ret;
	if ((desc->no_soft_reset || desc->pm_states) && !desc->pm)
		return BAD(err, "`no_soft_reset` and `pm_states` need `pm`");
	if (desc->pm_states & ~(UVFIO_PM_D1 | UVFIO_PM_D2))
		return BAD(err, "power states %#x: D1 and D2 can be chosen", desc->pm_states);
	if (desc->vpd_len % 4 || desc->vpd_len > 32768 || (desc->vpd_len && !desc->vpd) ||
	    desc->vpd_rw % 4 || desc->vpd_rw > desc->vpd_len)
		return BAD(err, "VPD of %u bytes, writable from %u: multiples of 4 up to 32768",
			   desc->vpd_len, desc->vpd_rw);
	if ((desc->nr_caps && !desc->caps) || (desc->nr_config && !desc->config))
		return BAD(err, "%u capabilities and %u config areas, but no array", desc->nr_caps,
			   desc->nr_config);
	if (desc->nr_caps > MAX_CAPS || desc->nr_config > MAX_CAPS)
		return BAD(err, "%u capabilities and %u config areas: %u is the most",
			   desc->nr_caps, desc->nr_config, MAX_CAPS);
	for (unsigned i = 0; i < desc->nr_caps && !ret; i++)
		ret = check_cap(desc, i, err);
	for (unsigned i = 0; i < desc->nr_config && !ret; i++)
		ret = check_config(desc, i, err);
	if (!ret && desc->sriov)
		ret = pci_desc_check_sriov(desc, err);
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

struct bytes {
	const uint8_t *data, *wmask, *w1c;
};

static int dup_masks(const struct bytes *from, size_t len, const uint8_t **data,
		     const uint8_t **wmask, const uint8_t **w1c)
{
	if (dup_bytes(from->data, len, (const void **)data) ||
	    dup_bytes(from->wmask, len, (const void **)wmask) ||
	    dup_bytes(from->w1c, len, (const void **)w1c))
		return -ENOMEM;
	return 0;
}

static int copy_caps(struct uvfio_pci_desc *to, const struct uvfio_pci_desc *from)
{
	struct uvfio_cap_desc *caps = calloc(from->nr_caps + 1u, sizeof(*caps));

	if (!caps)
		return -ENOMEM;
	to->caps = caps;
	for (unsigned i = 0; i < from->nr_caps; i++) {
		const struct uvfio_cap_desc *cap = &from->caps[i];
		const struct bytes bytes = {cap->data, cap->wmask, cap->w1c};

		caps[i] = *cap;
		caps[i].data = caps[i].wmask = caps[i].w1c = NULL;
		to->nr_caps = i + 1;
		if (dup_masks(&bytes, cap->len, &caps[i].data, &caps[i].wmask, &caps[i].w1c))
			return -ENOMEM;
	}
	return 0;
}

static int copy_config(struct uvfio_pci_desc *to, const struct uvfio_pci_desc *from)
{
	struct uvfio_config_area *config = calloc(from->nr_config + 1u, sizeof(*config));

	if (!config)
		return -ENOMEM;
	to->config = config;
	for (unsigned i = 0; i < from->nr_config; i++) {
		const struct uvfio_config_area *area = &from->config[i];
		const struct bytes bytes = {area->data, area->wmask, area->w1c};

		config[i] = *area;
		config[i].data = config[i].wmask = config[i].w1c = NULL;
		to->nr_config = i + 1;
		if (dup_masks(&bytes, area->len, &config[i].data, &config[i].wmask, &config[i].w1c))
			return -ENOMEM;
	}
	return 0;
}

int pci_desc_copy(struct uvfio_pci_desc *to, const struct uvfio_pci_desc *from)
{
	int ret;

	*to = *from;
	to->caps = NULL;
	to->config = NULL;
	to->nr_caps = to->nr_config = 0;
	to->rom = NULL;
	to->vpd = NULL; /* the function keeps its own */
	to->sriov = NULL;
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
	if (!ret)
		ret = copy_caps(to, from);
	if (!ret)
		ret = copy_config(to, from);
	if (!ret)
		ret = dup_bytes(from->sriov, sizeof(*from->sriov), (const void **)&to->sriov);
	return ret;
}

static void free_bytes(const uint8_t *data, const uint8_t *wmask, const uint8_t *w1c)
{
	free((void *)(uintptr_t)data);
	free((void *)(uintptr_t)wmask);
	free((void *)(uintptr_t)w1c);
}

void pci_desc_release(struct uvfio_pci_desc *desc)
{
	for (unsigned i = 0; i < 6; i++)
		free((void *)(uintptr_t)desc->bars[i].areas);
	for (unsigned i = 0; i < desc->nr_caps; i++)
		free_bytes(desc->caps[i].data, desc->caps[i].wmask, desc->caps[i].w1c);
	for (unsigned i = 0; i < desc->nr_config; i++)
		free_bytes(desc->config[i].data, desc->config[i].wmask, desc->config[i].w1c);
	free((void *)(uintptr_t)desc->caps);
	free((void *)(uintptr_t)desc->config);
	free((void *)(uintptr_t)desc->rom);
	free((void *)(uintptr_t)desc->sriov);
}
