/* SPDX-License-Identifier: BSD-3-Clause */
/* A PF with VFs, as descriptions. */
#ifndef UVFIO_TESTS_SRIOV_UTIL_H
#define UVFIO_TESTS_SRIOV_UTIL_H

#include "pci/sriov.h"
#include "pci_util.h"

#define TOTAL_VFS 20u
#define VF_DEVICE 0x0011u

/* 64-bit BAR 0 of 16 KiB with MSI-X, 32-bit prefetchable BAR 4 of 1 MiB that can be resized. */
static inline struct uvfio_pci_desc vf_desc(void)
{
	static const uint32_t vpd[] = {0x44434241};

	return (struct uvfio_pci_desc){
		.bars[0] = {.size = 0x4000, .flags = UVFIO_BAR_MEM64},
		.bars[2] = {.size = 1 << 20, .flags = UVFIO_BAR_MEM64 | UVFIO_BAR_PREFETCH},
		.msi_vectors = 4,
		.msix_vectors = 9,
		.msix_table = 0x2000,
		.msix_pba = 0x3000,
		.pcie = true,
		.pm = true,
		.flr = true,
		.vpd = vpd,
		.vpd_len = sizeof(vpd),
		.vpd_rw = 0,
		/* Not looked at. */
		.vendor = 0xdead,
		.class_code = 0x020000,
		.interrupt_pin = 2,
		.rom_size = 1 << 11,
	};
}

static inline struct uvfio_sriov_desc sriov_desc(const struct uvfio_pci_desc *vf)
{
	return (struct uvfio_sriov_desc){
		.total_vfs = TOTAL_VFS,
		.vf_device = VF_DEVICE,
		.vf = vf,
		.vf_bar_sizes[2] = 1 << 2 | 1 << 4, /* 4 and 16 MiB, besides 1 */
	};
}

static inline struct pci_func *make_vf(const struct pci_func *pf, unsigned index)
{
	struct uvfio_error err = {""};
	struct pci_func *vf = NULL;
	int ret = pci_func_new_vf(pf, index, NULL, NULL, &vf, &err);

	if (ret)
		fail_msg("pci_func_new_vf: %d: %s", ret, err.msg);
	return vf;
}

#endif
