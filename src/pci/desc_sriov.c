/* SPDX-License-Identifier: BSD-3-Clause */
/* The description of SR-IOV: what may stand in it, and what it makes of a VF's own. */
#include <errno.h>

#include "pci/func_private.h"

#define MAX_VFS       4095u
#define SMALLEST      20u /* log2 of what bit 0 of the resizable sizes means */
#define LARGEST       40u /* of the largest BAR that there is */
#define VF_BAR_PAGE   4096u

#define BAD(err, ...) uvfio_error_set(err, -EINVAL, __VA_ARGS__)

/* How much of the BAR its areas and MSI-X's structures need. */
static uint64_t used(const struct uvfio_pci_desc *vf, unsigned i)
{
	const struct uvfio_bar_desc *bar = &vf->bars[i];
	uint64_t end = 0, table = vf->msix_table + 16ull * vf->msix_vectors;
	uint64_t pba = vf->msix_pba + (vf->msix_vectors + 63) / 64 * 8;

	if (bar->nr_areas)
		end = bar->areas[bar->nr_areas - 1].offset + bar->areas[bar->nr_areas - 1].size;
	if (vf->msix_vectors && vf->msix_bar == i) {
		end = table > end ? table : end;
		end = pba > end ? pba : end;
	}
	return end;
}

static int check_sizes(const struct uvfio_sriov_desc *sriov, unsigned i, uint64_t *largest,
		       struct uvfio_error *err)
{
	const struct uvfio_bar_desc *bar = &sriov->vf->bars[i];
	uint64_t sizes = sriov->vf_bar_sizes[i];

	*largest = bar->size;
	if (!sizes)
		return 0;
	if (!bar->size)
		return BAD(err, "VF BAR %u can be resized but does not exist", i);
	if (bar->size < 1u << SMALLEST)
		return BAD(err,
			   "VF BAR %u has %#llx bytes: one that can be resized has 1 MiB or more",
			   i, (unsigned long long)bar->size);
	if (sizes >> (LARGEST - SMALLEST + 1))
		return BAD(
			err,
			"VF BAR %u can be resized to %#llx (bit n: 2^(n+20) bytes): 1 TiB is the "
			"most",
			i, (unsigned long long)sizes);
	if (1ull << (__builtin_ctzll(sizes) + SMALLEST) < used(sriov->vf, i))
		return BAD(err,
			   "VF BAR %u can be resized to %#llx bytes, where its areas and MSI-X do "
			   "not fit",
			   i, 1ull << (__builtin_ctzll(sizes) + SMALLEST));
	sizes = 1ull << (63 - __builtin_clzll(sizes) + SMALLEST);
	*largest = sizes > bar->size ? sizes : bar->size;
	return 0;
}

static int check_vf_bar(const struct uvfio_sriov_desc *sriov, unsigned i, struct uvfio_error *err)
{
	const struct uvfio_bar_desc *bar = &sriov->vf->bars[i];
	uint64_t largest;
	int ret;

	if (bar->size && bar->flags & UVFIO_BAR_IO)
		return BAD(err, "VF BAR %u is I/O: a VF has memory only", i);
	if (bar->size && bar->size < VF_BAR_PAGE)
		return BAD(err, "VF BAR %u has %llu bytes: a page, %u, is the least", i,
			   (unsigned long long)bar->size, VF_BAR_PAGE);
	ret = check_sizes(sriov, i, &largest, err);
	if (ret)
		return ret;
	if (!(bar->flags & UVFIO_BAR_MEM64) && largest * sriov->total_vfs > 1ull << 31)
		return BAD(err,
			   "32-bit BAR %u of %u VFs, %#llx bytes each, takes more than 2 GiB: use "
			   "64 bits",
			   i, sriov->total_vfs, (unsigned long long)largest);
	return 0;
}

struct uvfio_pci_desc pci_desc_vf(const struct uvfio_pci_desc *pf)
{
	struct uvfio_pci_desc vf = *pf->sriov->vf;

	vf.vendor = pf->vendor;
	vf.device = pf->sriov->vf_device;
	vf.subsystem_vendor = pf->subsystem_vendor;
	vf.subsystem_device = pf->subsystem_device;
	vf.class_code = pf->class_code;
	vf.revision = pf->revision;
	vf.interrupt_pin = 0;
	vf.broken_intx = false;
	vf.rom = NULL;
	vf.rom_size = vf.rom_len = 0;
	/* It has no masks of its own to report errors by. */
	vf.no_aer |= pf->no_aer;
	vf.sriov = NULL;
	return vf;
}

unsigned pci_desc_nr_vf_rebar(const struct uvfio_sriov_desc *sriov)
{
	unsigned n = 0;

	for (unsigned i = 0; i < PCI_SRIOV_NUM_BARS; i++)
		n += sriov->vf_bar_sizes[i] != 0;
	return n;
}

int pci_desc_check_sriov(const struct uvfio_pci_desc *desc, struct uvfio_error *err)
{
	const struct uvfio_sriov_desc *sriov = desc->sriov;
	struct uvfio_error inner = {""};
	struct uvfio_pci_desc vf;
	int ret = 0;

	if (!desc->pcie)
		return BAD(err, "SR-IOV needs `pcie`");
	if (!sriov->total_vfs || sriov->total_vfs > MAX_VFS)
		return BAD(err, "SR-IOV with %u VFs: 1 to %u", sriov->total_vfs, MAX_VFS);
	if (!sriov->vf)
		return BAD(err, "SR-IOV without a description of the VFs");
	if (sriov->vf->sriov)
		return BAD(err, "a VF cannot have VFs");
	if (!sriov->vf->pcie)
		return BAD(err, "the VFs need `pcie`, as their PF");
	vf = pci_desc_vf(desc);
	ret = pci_desc_check(&vf, &inner);
	if (ret)
		return uvfio_error_set(err, ret, "the VFs: %s", inner.msg);
	for (unsigned i = 0; i < PCI_SRIOV_NUM_BARS && !ret; i++)
		ret = check_vf_bar(sriov, i, err);
	return ret;
}
