/* SPDX-License-Identifier: BSD-3-Clause */
/* Functions to test with, and what their callbacks recorded. */
#ifndef UVFIO_TESTS_PCI_UTIL_H
#define UVFIO_TESTS_PCI_UTIL_H

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <string.h>
#include <cmocka.h>
#include <linux/pci_regs.h>

#include "pci/pci.h"

#define N(array) (sizeof(array) / sizeof((array)[0]))

static const struct pci_addr test_addr = {0, 1, 0, 0};

/* An endpoint with everything that the core builds: BAR 0/1 64-bit memory, BAR 2 I/O, BAR 4 32-bit
 * prefetchable, a ROM. */
static inline struct uvfio_pci_desc full_desc(void)
{
	static const uint32_t vpd[] = {0x04030201, 0x08070605, 0x0c0b0a09, 0x100f0e0d};

	return (struct uvfio_pci_desc){
		.vendor = 0x1b36,
		.device = 0x0010,
		.subsystem_vendor = 0x1af4,
		.subsystem_device = 0x1100,
		.class_code = 0x010802,
		.revision = 2,
		.interrupt_pin = 1,
		.bars[0] = {.size = 0x4000, .flags = UVFIO_BAR_MEM64},
		.bars[2] = {.size = 32, .flags = UVFIO_BAR_IO},
		.bars[4] = {.size = 1 << 20, .flags = UVFIO_BAR_PREFETCH},
		.rom_size = 1 << 16,
		.msi_vectors = 8,
		.msi_masking = true,
		.msix_vectors = 17,
		.msix_table = 0x2000,
		.msix_pba = 0x3000,
		.pcie = true,
		.pm = true,
		.flr = true,
		.serial = 0x1122334455667788ull,
		.vpd = vpd,
		.vpd_len = sizeof(vpd),
		.vpd_rw = 8,
	};
}

static inline struct pci_func *make_func(const struct uvfio_pci_desc *desc,
					 const struct pci_func_ops *ops, void *arg)
{
	struct pci_func *func = NULL;
	struct uvfio_error err = {""};
	int ret = pci_func_new(desc, &test_addr, ops, arg, &func, &err);

	if (ret)
		fail_msg("pci_func_new: %d: %s", ret, err.msg);
	return func;
}

#endif
