/* SPDX-License-Identifier: BSD-3-Clause */
/* Config space as a VFIO user sees it: A.7, row by row. */
#include "vconfig_fixture.h"

static void test_range(void **state)
{
	static const struct {
		uint64_t off;
		size_t len;
		ssize_t ret;
	} rows[] = {
		{0, 0, 0},
		{0, 4096, 4096},
		{4095, 1, 1},
		{4095, 2, -EFAULT},
		{4096, 1, -EFAULT},
		{0, 4097, -EFAULT},
		{4096, 0, 0},
		{UINT64_MAX, 1, -EFAULT},
		{UINT64_MAX, 2, -EFAULT},
		{1, SIZE_MAX, -EFAULT},
	};
	struct uvfio_pci_desc desc = full_desc();
	uint8_t buf[8192];
	struct fixture f;

	start(&f, &desc, 0);
	for (size_t i = 0; i < N(rows); i++) {
		assert_int_equal(pci_vconfig_read(f.vc, rows[i].off, buf, rows[i].len),
				 rows[i].ret);
		if (rows[i].ret < 0)
			assert_int_equal(pci_vconfig_write(f.vc, rows[i].off, buf, rows[i].len),
					 rows[i].ret);
	}
	/* Nothing of a request that ends beyond is applied. */
	memset(buf, 0x5a, sizeof(buf));
	assert_int_equal(pci_vconfig_write(f.vc, PCI_INTERRUPT_LINE, buf, 4096), -EFAULT);
	assert_int_equal(rd(&f, PCI_INTERRUPT_LINE, 1), 0);
	stop(&f);

	desc = (struct uvfio_pci_desc){.vendor = 1};
	start(&f, &desc, 0);
	assert_int_equal(pci_vconfig_read(f.vc, 255, buf, 1), 1);
	assert_int_equal(pci_vconfig_read(f.vc, 255, buf, 2), -EFAULT);
	assert_int_equal(pci_vconfig_read(f.vc, 256, buf, 1), -EFAULT);
	stop(&f);
}

/* What the user reads after writing all ones, and what of it reaches hardware. */
static void test_header_masks(void **state)
{
	static const struct {
		const char *what;
		unsigned off, size;
		uint32_t user, hw; /* after the write; hw before was read */
		bool hw_same;      /* hardware keeps its value */
	} rows[] = {
		{"ids", PCI_VENDOR_ID, 4, 0x00101b36, 0, true},
		{"status", PCI_STATUS, 2, 0x0010, 0, true},
		{"class", PCI_CLASS_REVISION, 4, 0x01080202, 0, true},
		{"cache line", PCI_CACHE_LINE_SIZE, 1, 0xff, 0xff, false},
		{"latency (hardwired)", PCI_LATENCY_TIMER, 1, 0, 0, true},
		{"header type", PCI_HEADER_TYPE, 1, 0, 0, true},
		{"BIST (hardwired)", PCI_BIST, 1, 0, 0, true},
		{"BAR 0", PCI_BASE_ADDRESS_0, 4, 0xffffc004, 0, true},
		{"BAR 1, upper half", PCI_BASE_ADDRESS_1, 4, 0xffffffff, 0, true},
		{"BAR 2, I/O", PCI_BASE_ADDRESS_2, 4, 0xffffffe1, 0, true},
		{"BAR 3, not there", PCI_BASE_ADDRESS_3, 4, 0, 0, true},
		{"BAR 4, prefetchable", PCI_BASE_ADDRESS_4, 4, 0xfff00008, 0, true},
		{"BAR 5, not there", PCI_BASE_ADDRESS_5, 4, 0, 0, true},
		{"CardBus CIS", PCI_CARDBUS_CIS, 4, 0, 0, true},
		{"subsystem", PCI_SUBSYSTEM_VENDOR_ID, 4, 0x11001af4, 0, true},
		{"ROM", PCI_ROM_ADDRESS, 4, 0xffff0001, 0, true},
		{"cap pointer", PCI_CAPABILITY_LIST, 1, 0x40, 0, true},
		{"INT line", PCI_INTERRUPT_LINE, 1, 0xff, 0, true},
		{"INT pin", PCI_INTERRUPT_PIN, 1, 1, 0, true},
	};
	struct uvfio_pci_desc desc = full_desc();

	for (size_t i = 0; i < N(rows); i++) {
		struct fixture f;
		uint32_t before, user, hw;

		start(&f, &desc, 0);
		before = pci_hw_read(f.func, rows[i].off, rows[i].size);
		wr(&f, rows[i].off, rows[i].size, UINT32_MAX);
		user = rd(&f, rows[i].off, rows[i].size);
		hw = pci_hw_read(f.func, rows[i].off, rows[i].size);
		if (user != rows[i].user || hw != (rows[i].hw_same ? before : rows[i].hw))
			fail_msg("%s: user %#x, hardware %#x", rows[i].what, user, hw);
		stop(&f);
	}
}

static void test_bars(void **state)
{
	struct uvfio_pci_desc desc = full_desc();
	struct fixture f;

	start(&f, &desc, 0);
	/* Initially the real ones; sizing by halves and bytes works as by dwords. */
	assert_int_equal(rd(&f, PCI_BASE_ADDRESS_0, 4), REAL_BAR0 | 4);
	assert_int_equal(rd(&f, PCI_BASE_ADDRESS_1, 4), 1);
	wr(&f, PCI_BASE_ADDRESS_0, 2, 0xffff);
	assert_int_equal(rd(&f, PCI_BASE_ADDRESS_0, 4), 0xfe00c004);
	wr(&f, PCI_BASE_ADDRESS_0 + 3, 1, 0x12);
	assert_int_equal(rd(&f, PCI_BASE_ADDRESS_0, 4), 0x1200c004);
	assert_int_equal(rd(&f, PCI_BASE_ADDRESS_0 + 1, 1), 0xc0);
	wr(&f, PCI_BASE_ADDRESS_0, 4, 0);
	assert_int_equal(rd(&f, PCI_BASE_ADDRESS_0, 4), 4);
	wr(&f, PCI_ROM_ADDRESS, 4, 0xabcd1fff);
	assert_int_equal(rd(&f, PCI_ROM_ADDRESS, 4), 0xabcd0001);
	stop(&f);
}

static void test_command(void **state)
{
	struct uvfio_pci_desc desc = full_desc();
	struct fixture f;
	uint32_t both;

	start(&f, &desc, 0);
	/* MEM goes to hardware, is mirrored, and gives mappings back. */
	wr(&f, PCI_COMMAND, 2, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
	assert_int_equal(f.withdrawn, 0);
	assert_int_equal(f.returned, 1);
	assert_true(pci_bus_master(f.func) && pci_memory_enabled(f.func));
	assert_true(pci_vconfig_memory_enabled(f.vc));
	assert_int_equal(pci_vconfig_command(f.vc) & 7, PCI_COMMAND_MEMORY);
	/* Any write with MEM = 0 withdraws, before the hardware changes, whatever MEM was. */
	wr(&f, PCI_COMMAND, 1, PCI_COMMAND_MASTER);
	assert_int_equal(f.withdrawn, 1);
	assert_true(f.mem_at_withdrawal);
	assert_false(pci_vconfig_memory_enabled(f.vc) || pci_memory_enabled(f.func));
	wr(&f, PCI_COMMAND, 1, 0);
	assert_int_equal(f.withdrawn, 2);
	assert_int_equal(f.returned, 1);
	/* Every write that leaves it enabled gives back. */
	wr(&f, PCI_COMMAND, 4, PCI_COMMAND_MEMORY);
	wr(&f, PCI_COMMAND, 2, PCI_COMMAND_MEMORY);
	assert_int_equal(f.returned, 3);

	/* DisINTx is virtual: hardware keeps it clear. */
	assert_int_equal(f.intx, 0);
	wr(&f, PCI_COMMAND, 2, PCI_COMMAND_MEMORY | PCI_COMMAND_INTX_DISABLE);
	assert_int_equal(f.intx, 1);
	assert_true(f.intx_disabled && pci_vconfig_intx_disabled(f.vc));
	assert_int_equal(rd(&f, PCI_COMMAND, 2), 0x402);
	assert_int_equal(pci_hw_read(f.func, PCI_COMMAND, 2), 2);
	/* The same by a byte at offset 5, which touches no memory. */
	f.withdrawn = f.returned = 0;
	wr(&f, PCI_COMMAND + 1, 1, 0);
	assert_int_equal(f.intx, 2);
	assert_false(f.intx_disabled);
	wr(&f, PCI_COMMAND + 1, 1, PCI_COMMAND_INTX_DISABLE >> 8);
	wr(&f, PCI_COMMAND + 1, 1, PCI_COMMAND_INTX_DISABLE >> 8);
	assert_int_equal(f.intx, 3);
	assert_int_equal(f.withdrawn + f.returned, 0);
	assert_true(pci_vconfig_memory_enabled(f.vc));

	/* STATUS errors cannot be cleared by a write of STATUS. */
	pci_hw_set(f.func, PCI_STATUS, 2, 0xf910);
	wr(&f, PCI_STATUS, 2, 0xffff);
	assert_int_equal(rd(&f, PCI_STATUS, 2), 0xf910);
	both = 0xffff0000 | PCI_COMMAND_MEMORY;
	assert_int_equal(pci_vconfig_write(f.vc, 3, (uint8_t[]){0, 2}, 2), 2);
	assert_true(pci_vconfig_memory_enabled(f.vc));
	wr(&f, PCI_COMMAND, 4, both);
	assert_int_equal(rd(&f, PCI_COMMAND, 2), PCI_COMMAND_MEMORY);
	stop(&f);
}

/* Hardware was reset behind our back: real BARs are restored before decode is turned on. */
static void test_backdoor_reset(void **state)
{
	struct uvfio_pci_desc desc = full_desc();
	struct fixture f;

	start(&f, &desc, 0);
	wr(&f, PCI_COMMAND, 2, PCI_COMMAND_MEMORY | PCI_COMMAND_IO);
	wr(&f, PCI_BASE_ADDRESS_0, 4, 0x11110000);
	pci_hw_reset(f.func, UVFIO_RESET_FUNCTION);
	assert_int_equal(pci_hw_read(f.func, PCI_BASE_ADDRESS_0, 4), 4);
	/* The virtual copy remembers MEM. */
	assert_int_equal(rd(&f, PCI_COMMAND, 2), 0);
	assert_true(pci_vconfig_memory_enabled(f.vc));
	wr(&f, PCI_COMMAND, 2, PCI_COMMAND_MEMORY);
	assert_int_equal(pci_hw_read(f.func, PCI_BASE_ADDRESS_0, 4), REAL_BAR0 | 4);
	assert_int_equal(pci_hw_read(f.func, PCI_BASE_ADDRESS_1, 4), 1);
	assert_int_equal(pci_hw_read(f.func, PCI_BASE_ADDRESS_2, 4), 0xc001);
	assert_int_equal(pci_hw_read(f.func, PCI_BASE_ADDRESS_4, 4), REAL_BAR4 | 8);
	assert_true(pci_memory_enabled(f.func));
	/* The user's own BARs stay his. */
	assert_int_equal(rd(&f, PCI_BASE_ADDRESS_0, 4), 0x11110004);

	/* BARs alone, without any bit set; a write beside offset 4 does not look. */
	pci_hw_reset(f.func, UVFIO_RESET_FUNCTION);
	wr(&f, PCI_COMMAND + 1, 1, 0);
	assert_int_equal(pci_hw_read(f.func, PCI_BASE_ADDRESS_0, 4), 4);
	wr(&f, PCI_COMMAND, 2, 0);
	assert_int_equal(pci_hw_read(f.func, PCI_BASE_ADDRESS_0, 4), REAL_BAR0 | 4);
	stop(&f);
}

static void test_hidden_pin(void **state)
{
	struct uvfio_pci_desc desc = full_desc();
	struct fixture f;

	start(&f, &desc, PCI_VCONFIG_NO_INTX);
	assert_int_equal(rd(&f, PCI_INTERRUPT_PIN, 1), 0);
	assert_int_equal(pci_vconfig_intx_pin(f.vc), 0);
	stop(&f);
}

static void test_pm(void **state)
{
	struct uvfio_pci_desc desc = full_desc();
	struct fixture f;
	unsigned pm;

	start(&f, &desc, 0);
	pm = user_cap(&f, PCI_CAP_ID_PM);
	assert_true(pm);
	/* PME is not offered, and cannot be enabled. */
	pci_hw_set(f.func, pm + PCI_PM_PMC, 2, 0xf803);
	pci_hw_set(f.func, pm + PCI_PM_CTRL, 2, 0x8100);
	stop(&f);
	start(&f, &desc, 0);
	pci_hw_set(f.func, pm + PCI_PM_PMC, 2, 0xf803);
	pci_hw_set(f.func, pm + PCI_PM_CTRL, 2, 0x8100);
	assert_int_equal(rd(&f, pm + PCI_PM_PMC, 2), 3);
	assert_int_equal(rd(&f, pm + PCI_PM_CTRL, 2), 0);
	pci_hw_set(f.func, pm + PCI_PM_CTRL, 2, 0);

	/* The state is trapped; it is hardware's that is read. */
	wr(&f, PCI_COMMAND, 2, PCI_COMMAND_MEMORY);
	wr(&f, pm + PCI_PM_CTRL, 2, 3);
	assert_int_equal(f.powers, 1);
	assert_int_equal(f.power, 3);
	assert_int_equal(rd(&f, pm + PCI_PM_CTRL, 2), 3);
	assert_false(pci_vconfig_memory_enabled(f.vc));
	/* D1 fails, which is swallowed. */
	wr(&f, pm + PCI_PM_CTRL, 2, 1);
	assert_int_equal(rd(&f, pm + PCI_PM_CTRL, 2), 3);
	/* A write that begins beside PMCSR is not one of the state. */
	wr(&f, pm + PCI_PM_CTRL + 1, 1, 0);
	assert_int_equal(f.powers, 2);
	/* Back: without NoSoftRst the device was reset, and config space restored. */
	wr(&f, pm + PCI_PM_CTRL, 4, 0);
	assert_int_equal(f.powers, 3);
	assert_int_equal(rd(&f, pm + PCI_PM_CTRL, 2), 0);
	assert_true(pci_vconfig_memory_enabled(f.vc));
	assert_int_equal(pci_hw_read(f.func, PCI_BASE_ADDRESS_0, 4), REAL_BAR0 | 4);
	assert_int_equal(pci_hw_read(f.func, PCI_COMMAND, 2), PCI_COMMAND_MEMORY);
	stop(&f);
}

static void test_msi(void **state)
{
	struct uvfio_pci_desc desc = full_desc();
	struct fixture f;
	unsigned msi, flags;

	start(&f, &desc, 0);
	msi = user_cap(&f, PCI_CAP_ID_MSI);
	flags = msi + PCI_MSI_FLAGS;
	assert_int_equal(rd(&f, flags, 2), 0x0186);
	/* Not active: Enable is forced to 0; before the first allocation MME is 0. */
	wr(&f, flags, 2, 0x01f7);
	assert_int_equal(rd(&f, flags, 2), 0x0186);
	assert_int_equal(pci_hw_read(f.func, flags, 2), 0x0186);
	/* Active with 4: MME is clamped, Enable goes through. */
	f.msi_active = true;
	f.msi_log2 = 2;
	wr(&f, flags, 2, 0x01d1);
	assert_int_equal(rd(&f, flags, 2), 0x01a7);
	assert_int_equal(pci_hw_read(f.func, flags, 2), 0x01a7);
	/* … and can be written off in hardware. */
	wr(&f, flags, 1, 0x90);
	assert_int_equal(rd(&f, flags, 2), 0x0196);
	assert_int_equal(pci_hw_read(f.func, flags, 2), 0x0196);
	/* After a disable the last allocation still counts. */
	f.msi_active = false;
	wr(&f, flags, 2, 0x00b1);
	assert_int_equal(rd(&f, flags, 2), 0x01a6);
	/* MMC reads as hardware's whatever was written. */
	wr(&f, flags, 1, 0x8e);
	assert_int_equal(rd(&f, flags, 2), 0x0186);
	wr(&f, flags, 1, 0x80);
	assert_int_equal(rd(&f, flags, 2), 0x0186);
	/* The high byte is not writable. */
	wr(&f, flags + 1, 1, 0xff);
	assert_int_equal(rd(&f, flags + 1, 1), 0x01);

	/* Address and data never reach hardware. */
	wr(&f, msi + PCI_MSI_ADDRESS_LO, 4, 0xfee01234);
	wr(&f, msi + PCI_MSI_ADDRESS_HI, 4, 0x55);
	wr(&f, msi + PCI_MSI_DATA_64, 2, 0x4321);
	assert_int_equal(rd(&f, msi + PCI_MSI_ADDRESS_LO, 4), 0xfee01234);
	assert_int_equal(rd(&f, msi + PCI_MSI_ADDRESS_HI, 4), 0x55);
	assert_int_equal(rd(&f, msi + PCI_MSI_DATA_64, 2), 0x4321);
	assert_int_equal(pci_hw_read(f.func, msi + PCI_MSI_ADDRESS_LO, 4), 0);
	assert_int_equal(pci_hw_read(f.func, msi + PCI_MSI_DATA_64, 2), 0);
	/* Mask and pending are hardware's. */
	wr(&f, msi + PCI_MSI_MASK_64, 4, 0xffffffff);
	assert_int_equal(pci_hw_read(f.func, msi + PCI_MSI_MASK_64, 4), 0xff);
	assert_int_equal(rd(&f, msi + PCI_MSI_MASK_64, 4), 0xff);
	stop(&f);
}

static void test_exp(void **state)
{
	/* MRRS as written by the user, with hardware's MPS of 256: what hardware gets. */
	static const struct {
		unsigned user, hw;
	} mrrs[] = {{5, 5}, {1, 1}, {0, 1}, {3, 3}, {6, 3}, {7, 3}, {0, 1}};
	struct uvfio_pci_desc desc = full_desc();
	struct fixture f;
	unsigned exp, ctl;

	start(&f, &desc, 0);
	exp = user_cap(&f, PCI_CAP_ID_EXP);
	ctl = exp + PCI_EXP_DEVCTL;
	assert_int_equal(rd(&f, ctl, 2), 0x2810);
	pci_hw_write(f.func, ctl, 2, 0x2830);

	/* FLR: an event, reads 0, never reaches hardware as a bit. */
	wr(&f, ctl, 2, 0xa810);
	assert_int_equal(f.flrs, 1);
	assert_int_equal(rd(&f, ctl, 2), 0x2810);
	wr(&f, ctl + 1, 1, 0xa8);
	assert_int_equal(f.flrs, 2);
	wr(&f, ctl, 4, 0x0000a810);
	assert_int_equal(f.flrs, 3);
	wr(&f, ctl, 2, 0x2810);
	assert_int_equal(f.flrs, 3);

	/* MPS stays virtual. */
	wr(&f, ctl, 2, 0x28b0);
	assert_int_equal(rd(&f, ctl, 2), 0x28b0);
	assert_int_equal(pci_hw_read(f.func, ctl, 2), 0x2830);
	for (size_t i = 0; i < N(mrrs); i++) {
		wr(&f, ctl, 2, mrrs[i].user << 12);
		assert_int_equal(rd(&f, ctl, 2) >> 12, mrrs[i].user);
		assert_int_equal(pci_hw_read(f.func, ctl, 2) >> 12, mrrs[i].hw);
	}
	/* Error reporting and so on go to hardware; phantom functions do not. */
	wr(&f, ctl, 2, 0x031f);
	assert_int_equal(pci_hw_read(f.func, ctl, 2) & 0xf1f, 0x011f);

	/* DEVSTA cannot be cleared by writing it, LNKCTL is read-only, DEVCTL2 is not. */
	pci_hw_set(f.func, exp + PCI_EXP_DEVSTA, 2, 0xf);
	wr(&f, exp + PCI_EXP_DEVSTA, 2, 0xf);
	assert_int_equal(rd(&f, exp + PCI_EXP_DEVSTA, 2), 0xf);
	wr(&f, exp + PCI_EXP_LNKCTL, 2, 0xffff);
	assert_int_equal(pci_hw_read(f.func, exp + PCI_EXP_LNKCTL, 2), 0);
	wr(&f, exp + PCI_EXP_DEVCTL2, 2, 0xffff);
	assert_int_equal(pci_hw_read(f.func, exp + PCI_EXP_DEVCTL2, 2), 0x1f);
	wr(&f, exp + PCI_EXP_LNKCTL2, 2, 0);
	assert_int_equal(pci_hw_read(f.func, exp + PCI_EXP_LNKCTL2, 2), 3);
	stop(&f);

	desc.flr = false;
	start(&f, &desc, 0);
	wr(&f, ctl, 2, 0xa810);
	assert_int_equal(f.flrs, 0);
	assert_int_equal(rd(&f, ctl, 2), 0x2810);
	stop(&f);
}

static void test_msix(void **state)
{
	struct uvfio_pci_desc desc = full_desc();
	struct fixture f;
	unsigned msix;

	start(&f, &desc, 0);
	msix = user_cap(&f, PCI_CAP_ID_MSIX);
	for (unsigned i = 0; i < 12; i += 4)
		wr(&f, msix + i, 4, UINT32_MAX);
	for (unsigned i = 0; i < 12; i++)
		wr(&f, msix + i, 1, 0xff);
	assert_int_equal(rd(&f, msix + PCI_MSIX_FLAGS, 2), 16);
	assert_int_equal(rd(&f, msix + PCI_MSIX_TABLE, 4), 0x2000);
	assert_int_equal(rd(&f, msix + PCI_MSIX_PBA, 4), 0x3000);
	pci_set_irq_mode(f.func, VFIO_PCI_MSIX_IRQ_INDEX, 3);
	assert_int_equal(rd(&f, msix + PCI_MSIX_FLAGS, 2), 0x8010);
	wr(&f, msix + PCI_MSIX_FLAGS, 2, 0);
	assert_int_equal(rd(&f, msix + PCI_MSIX_FLAGS, 2), 0x8010);
	stop(&f);
}

static void test_vpd(void **state)
{
	struct uvfio_pci_desc desc = full_desc();
	struct fixture f;
	unsigned vpd;

	start(&f, &desc, 0);
	vpd = user_cap(&f, PCI_CAP_ID_VPD);
	assert_true(vpd);
	wr(&f, vpd + PCI_VPD_ADDR, 2, 4);
	assert_int_equal(rd(&f, vpd + PCI_VPD_ADDR, 2), 0x8004);
	assert_int_equal(rd(&f, vpd + PCI_VPD_DATA, 4), 0x08070605);
	/* Only the high byte performs the access. */
	wr(&f, vpd + PCI_VPD_ADDR, 1, 0);
	assert_int_equal(rd(&f, vpd + PCI_VPD_DATA, 4), 0x08070605);
	wr(&f, vpd + PCI_VPD_ADDR + 1, 1, 0);
	assert_int_equal(rd(&f, vpd + PCI_VPD_ADDR, 2), 0x8000);
	assert_int_equal(rd(&f, vpd + PCI_VPD_DATA, 4), 0x04030201);
	/* Write: the flag goes down when it was done, stays when it failed. */
	wr(&f, vpd + PCI_VPD_DATA, 4, 0xcafef00d);
	wr(&f, vpd + PCI_VPD_ADDR, 2, 0x800c);
	assert_int_equal(rd(&f, vpd + PCI_VPD_ADDR, 2), 0x000c);
	wr(&f, vpd + PCI_VPD_ADDR, 2, 0x8004);
	assert_int_equal(rd(&f, vpd + PCI_VPD_ADDR, 2), 0x8004);
	wr(&f, vpd + PCI_VPD_ADDR, 2, 0x7ffc);
	assert_int_equal(rd(&f, vpd + PCI_VPD_ADDR, 2), 0x7ffc);
	wr(&f, vpd + PCI_VPD_ADDR, 2, 0x000c);
	assert_int_equal(rd(&f, vpd + PCI_VPD_DATA, 4), 0xcafef00d);
	stop(&f);
}

static void test_aer(void **state)
{
	struct uvfio_pci_desc desc = full_desc();
	struct fixture f;
	unsigned aer = 0x100;

	start(&f, &desc, 0);
	pci_hw_set(f.func, aer + PCI_ERR_UNCOR_STATUS, 4, PCI_ERR_UNC_UNSUP | PCI_ERR_UNC_DLP);
	wr(&f, aer + PCI_ERR_UNCOR_STATUS, 4, PCI_ERR_UNC_DLP);
	assert_int_equal(rd(&f, aer + PCI_ERR_UNCOR_STATUS, 4), PCI_ERR_UNC_UNSUP);
	wr(&f, aer + PCI_ERR_UNCOR_MASK, 4, 0);
	assert_int_equal(pci_hw_read(f.func, aer + PCI_ERR_UNCOR_MASK, 4), 0);
	wr(&f, aer + PCI_ERR_CAP, 4, UINT32_MAX);
	assert_int_equal(rd(&f, aer + PCI_ERR_CAP, 4), 0x1e0);
	wr(&f, aer, 4, 0);
	assert_int_equal(rd(&f, aer, 2), 1);
	stop(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_range),
		cmocka_unit_test(test_header_masks),
		cmocka_unit_test(test_bars),
		cmocka_unit_test(test_command),
		cmocka_unit_test(test_backdoor_reset),
		cmocka_unit_test(test_hidden_pin),
		cmocka_unit_test(test_pm),
		cmocka_unit_test(test_msi),
		cmocka_unit_test(test_exp),
		cmocka_unit_test(test_msix),
		cmocka_unit_test(test_vpd),
		cmocka_unit_test(test_aer),
	};

	return cmocka_run_group_tests_name("vconfig", tests, NULL, NULL);
}
