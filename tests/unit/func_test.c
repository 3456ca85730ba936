/* SPDX-License-Identifier: BSD-3-Clause */
/* Real config space: what is built from a description, hardware's masks, effects, resets, power. */
#include <errno.h>
#include <linux/vfio.h>
#include <stdio.h>

#include "pci_util.h"

struct seen {
	unsigned commands, powers, flrs, msis;
	uint16_t command_old, command_new;
	unsigned power_old, power_new;
	bool line, masked;
	uint32_t pending;
	unsigned vectors;
};

static void on_command(void *arg, uint16_t old, uint16_t new_value)
{
	struct seen *s = arg;

	s->commands++;
	s->command_old = old;
	s->command_new = new_value;
}

static void on_power(void *arg, unsigned old, unsigned new_value)
{
	struct seen *s = arg;

	s->powers++;
	s->power_old = old;
	s->power_new = new_value;
}

static void on_flr(void *arg)
{
	((struct seen *)arg)->flrs++;
}

static void on_msi(void *arg)
{
	((struct seen *)arg)->msis++;
}

static bool get_line(void *arg)
{
	return ((struct seen *)arg)->line;
}

static bool get_masked(void *arg)
{
	return ((struct seen *)arg)->masked;
}

static uint32_t get_pending(void *arg)
{
	return ((struct seen *)arg)->pending;
}

static const struct pci_func_ops ops = {
	.command = on_command,
	.power = on_power,
	.flr = on_flr,
	.msi = on_msi,
	.intx_line = get_line,
	.intx_masked = get_masked,
	.msi_pending = get_pending,
};

static void test_addr_text(void **state)
{
	static const struct {
		const char *text;
		int ret;
		struct pci_addr addr;
	} rows[] = {
		{"0000:01:00.0", 0, {0, 1, 0, 0}},
		{"01:00.0", 0, {0, 1, 0, 0}},
		{"fFfF:Ab:1f.7", 0, {0xffff, 0xab, 31, 7}},
		{"0000:01:20.0", -EINVAL, {0}},
		{"0000:01:00.8", -EINVAL, {0}},
		{"0000:01:00.0 ", -EINVAL, {0}},
		{"0000:01:00", -EINVAL, {0}},
		{"000:01:00.0", -EINVAL, {0}},
		{"00000:01:00.0", -EINVAL, {0}},
		{"", -EINVAL, {0}},
		{"01:0.0", -EINVAL, {0}},
		{"0000:0g:00.0", -EINVAL, {0}},
	};
	char text[16];

	for (size_t i = 0; i < N(rows); i++) {
		struct pci_addr addr = {9, 9, 9, 9};

		assert_int_equal(pci_addr_parse(rows[i].text, &addr), rows[i].ret);
		if (rows[i].ret)
			continue;
		assert_int_equal(addr.domain, rows[i].addr.domain);
		assert_int_equal(addr.bus, rows[i].addr.bus);
		assert_int_equal(addr.dev, rows[i].addr.dev);
		assert_int_equal(addr.fn, rows[i].addr.fn);
	}
	pci_addr_format(&(struct pci_addr){0xabcd, 0xe, 0x1f, 7}, text);
	assert_string_equal(text, "abcd:0e:1f.7");
}

/* Reset values, and the bits that hardware lets software change. */
static void test_registers(void **state)
{
	struct uvfio_pci_desc desc = full_desc();
	struct pci_func *func = make_func(&desc, NULL, NULL);
	unsigned pm = pci_find_cap(func, PCI_CAP_ID_PM), msi = pci_find_cap(func, PCI_CAP_ID_MSI);
	unsigned exp = pci_find_cap(func, PCI_CAP_ID_EXP), aer, dsn;
	unsigned msix = pci_find_cap(func, PCI_CAP_ID_MSIX);

	aer = pci_find_ext_cap(func, PCI_EXT_CAP_ID_ERR);
	dsn = pci_find_ext_cap(func, PCI_EXT_CAP_ID_DSN);
	assert_true(pm && msi && exp && msix && pci_find_cap(func, PCI_CAP_ID_VPD));
	assert_int_equal(aer, 0x100);
	assert_true(dsn);
	assert_int_equal(pci_find_cap(func, PCI_CAP_ID_AF), 0);
	assert_int_equal(pci_find_ext_cap(func, PCI_EXT_CAP_ID_ACS), 0);

	const struct {
		unsigned off, size;
		uint32_t reset, ones; /* after all ones were written */
	} rows[] = {
		{PCI_VENDOR_ID, 4, 0x00101b36, 0x00101b36},
		{PCI_COMMAND, 2, 0, 0x0547},
		{PCI_STATUS, 2, PCI_STATUS_CAP_LIST, PCI_STATUS_CAP_LIST},
		{PCI_CLASS_REVISION, 4, 0x01080202, 0x01080202},
		{PCI_CACHE_LINE_SIZE, 1, 0, 0xff},
		{PCI_LATENCY_TIMER, 1, 0, 0},
		{PCI_HEADER_TYPE, 1, 0, 0},
		{PCI_BIST, 1, 0, 0},
		{PCI_BASE_ADDRESS_0, 4, 0x4, 0xffffc004},
		{PCI_BASE_ADDRESS_1, 4, 0, 0xffffffff},
		{PCI_BASE_ADDRESS_2, 4, 0x1, 0xffffffe1},
		{PCI_BASE_ADDRESS_3, 4, 0, 0},
		{PCI_BASE_ADDRESS_4, 4, 0x8, 0xfff00008},
		{PCI_BASE_ADDRESS_5, 4, 0, 0},
		{PCI_SUBSYSTEM_VENDOR_ID, 4, 0x11001af4, 0x11001af4},
		{PCI_ROM_ADDRESS, 4, 0, 0xffff0001},
		{PCI_INTERRUPT_LINE, 2, 0x0100, 0x01ff},
		{pm + PCI_PM_PMC, 2, 3, 3},
		{pm + PCI_PM_CTRL, 2, 0, 3},
		{msi + PCI_MSI_FLAGS, 2, 0x0186, 0x01f7},
		{msi + PCI_MSI_ADDRESS_LO, 4, 0, 0xfffffffc},
		{msi + PCI_MSI_DATA_64, 2, 0, 0xffff},
		{msi + PCI_MSI_MASK_64, 4, 0, 0xff},
		{msi + PCI_MSI_PENDING_64, 4, 0, 0},
		{msix + PCI_MSIX_FLAGS, 2, 16, 0xc010},
		{msix + PCI_MSIX_TABLE, 4, 0x2000, 0x2000},
		{msix + PCI_MSIX_PBA, 4, 0x3000, 0x3000},
		{exp + PCI_EXP_FLAGS, 2, 2, 2},
		{exp + PCI_EXP_DEVCAP, 4, 0x10008fe1, 0x10008fe1},
		{exp + PCI_EXP_DEVCTL, 2, 0x2810, 0x79ff},
		{exp + PCI_EXP_DEVSTA, 2, 0, 0},
		{exp + PCI_EXP_DEVCTL2, 2, 0, 0x1f},
		{aer, 4, 0x00020001 | dsn << 20, 0x00020001 | dsn << 20},
		{aer + PCI_ERR_COR_MASK, 4, 0xe000, 0xf1c1},
		{aer + PCI_ERR_CAP, 4, 0xa0, 0x1e0},
		{dsn, 4, 0x00010003, 0x00010003},
		{dsn + 4, 4, 0x55667788, 0x55667788},
		{dsn + 8, 4, 0x11223344, 0x11223344},
	};

	for (size_t i = 0; i < N(rows); i++) {
		assert_int_equal(pci_hw_read(func, rows[i].off, rows[i].size), rows[i].reset);
		pci_hw_write(func, rows[i].off, rows[i].size, UINT32_MAX);
		if (pci_hw_read(func, rows[i].off, rows[i].size) != rows[i].ones)
			fail_msg("%#x: %#x, not %#x", rows[i].off,
				 pci_hw_read(func, rows[i].off, rows[i].size), rows[i].ones);
	}
	/* Everything outside of the rows is read-only or goes back to its reset value. */
	pci_hw_reset(func, UVFIO_RESET_POWER_ON);
	for (size_t i = 0; i < N(rows); i++)
		assert_int_equal(pci_hw_read(func, rows[i].off, rows[i].size), rows[i].reset);
	assert_int_equal(pci_hw_read(func, 4096, 1), UINT32_MAX);
	assert_int_equal(pci_hw_read(func, 4094, 4), UINT32_MAX);
	pci_func_free(func);
}

static unsigned get_vectors(void *arg)
{
	return ((struct seen *)arg)->vectors;
}

static bool lists(const struct pci_func *func, unsigned cap)
{
	unsigned pos = pci_hw_read(func, PCI_CAPABILITY_LIST, 1);

	while (pos && pos != cap)
		pos = pci_hw_read(func, pos + PCI_CAP_LIST_NEXT, 1);
	return pos;
}

/* The number of MSI-X vectors is read live (B). */
static void test_vectors(void **state)
{
	const struct pci_func_ops live = {.msix_vectors = get_vectors};
	struct uvfio_pci_desc desc = full_desc();
	struct seen seen = {.vectors = 700};
	uint8_t before[4096], bytes[4096];
	struct pci_func *func;
	unsigned msix;

	desc.msix_vectors = 1024;
	desc.bars[0].size = 65536;
	desc.msix_table = 0x4000;
	desc.msix_pba = 0x8000;
	func = make_func(&desc, &live, &seen);
	msix = pci_find_cap(func, PCI_CAP_ID_MSIX);
	assert_true(lists(func, msix));
	assert_int_equal(pci_msix_count(func), 700);
	assert_int_equal(pci_hw_read(func, msix + PCI_MSIX_FLAGS, 2), 699);
	assert_int_equal(pci_hw_read(func, msix, 4) >> 16, 699);
	assert_int_equal(pci_hw_read(func, msix + PCI_MSIX_FLAGS + 1, 1), 699 >> 8);
	pci_set_irq_mode(func, VFIO_PCI_MSIX_IRQ_INDEX, 4);
	pci_hw_image(func, before);
	seen.vectors = 1;
	assert_int_equal(pci_hw_read(func, msix + PCI_MSIX_FLAGS, 2), PCI_MSIX_FLAGS_ENABLE);
	/* No reset brings what was built, nor does a restore. */
	pci_hw_save(func, bytes);
	pci_hw_reset(func, UVFIO_RESET_BUS);
	pci_hw_restore(func, bytes);
	assert_int_equal(pci_hw_read(func, msix + PCI_MSIX_FLAGS, 2), PCI_MSIX_FLAGS_ENABLE);
	pci_hw_reset(func, UVFIO_RESET_POWER_ON);
	assert_int_equal(pci_hw_read(func, msix + PCI_MSIX_FLAGS, 2), 0);
	/* Table Size cannot say 0: the capability is left out, and all others are there. */
	seen.vectors = 0;
	assert_int_equal(pci_msix_count(func), 0);
	assert_false(lists(func, msix));
	for (unsigned id = 1; id < 0x15; id++) {
		unsigned pos = id == PCI_CAP_ID_MSIX ? 0 : pci_find_cap(func, (uint8_t)id);

		assert_true(!pos || lists(func, pos));
	}
	pci_hw_image(func, bytes);
	assert_int_equal(bytes[msix + PCI_MSIX_FLAGS], 0);
	assert_int_equal(pci_hw_read(func, msix, 1), PCI_CAP_ID_MSIX);
	seen.vectors = 1024;
	assert_true(lists(func, msix));
	assert_int_equal(pci_hw_read(func, msix + PCI_MSIX_FLAGS, 2), 1023);
	/* All of it at once is what the reads say. */
	pci_set_irq_mode(func, VFIO_PCI_MSIX_IRQ_INDEX, 4);
	seen.vectors = 700;
	pci_hw_image(func, bytes);
	assert_memory_equal(bytes, before, sizeof(bytes));
	for (unsigned i = 0; i < sizeof(bytes); i++)
		assert_int_equal(bytes[i], pci_hw_read(func, i, 1));
	pci_func_free(func);
}

static void test_minimal(void **state)
{
	struct uvfio_pci_desc desc = {.vendor = 1, .device = 2};
	struct pci_func *func = make_func(&desc, NULL, NULL);

	assert_int_equal(pci_func_config_size(func), 256);
	assert_false(pci_is_pcie(func));
	assert_int_equal(pci_hw_read(func, PCI_STATUS, 2), 0);
	assert_int_equal(pci_hw_read(func, PCI_CAPABILITY_LIST, 1), 0);
	assert_int_equal(pci_hw_read(func, 0x100, 4), UINT32_MAX);
	pci_hw_write(func, PCI_COMMAND, 2, 0xffff);
	assert_int_equal(pci_hw_read(func, PCI_COMMAND, 2), 0x0544);
	pci_hw_write(func, PCI_LATENCY_TIMER, 1, 0xff);
	assert_int_equal(pci_hw_read(func, PCI_LATENCY_TIMER, 1), 0xf8);
	assert_int_equal(pci_msi_count(func), 0);
	assert_int_equal(pci_msix_count(func), 0);
	assert_int_equal(pci_set_power_state(func, 3), -EINVAL);
	assert_int_equal(pci_set_power_state(func, 0), 0);
	pci_func_free(func);
}

static void test_w1c(void **state)
{
	struct uvfio_pci_desc desc = full_desc();
	struct pci_func *func = make_func(&desc, NULL, NULL);
	unsigned aer = pci_find_ext_cap(func, PCI_EXT_CAP_ID_ERR);

	pci_hw_set(func, PCI_STATUS, 2, 0x8010 | PCI_STATUS_REC_MASTER_ABORT);
	pci_hw_write(func, PCI_STATUS, 2, 0);
	assert_int_equal(pci_hw_read(func, PCI_STATUS, 2), 0xa010);
	pci_hw_write(func, PCI_STATUS + 1, 1, 0x80);
	assert_int_equal(pci_hw_read(func, PCI_STATUS, 2), 0x2010);
	pci_hw_write(func, PCI_STATUS, 2, 0xffff);
	assert_int_equal(pci_hw_read(func, PCI_STATUS, 2), 0x0010);

	/* AER is sticky: it survives a bus reset, and is cleared by writing ones. */
	pci_hw_set(func, aer + PCI_ERR_UNCOR_STATUS, 4, PCI_ERR_UNC_UNSUP | PCI_ERR_UNC_DLP);
	pci_hw_write(func, aer + PCI_ERR_UNCOR_SEVER, 4, 0);
	pci_hw_reset(func, UVFIO_RESET_BUS);
	assert_int_equal(pci_hw_read(func, aer + PCI_ERR_UNCOR_STATUS, 4),
			 PCI_ERR_UNC_UNSUP | PCI_ERR_UNC_DLP);
	assert_int_equal(pci_hw_read(func, aer + PCI_ERR_UNCOR_SEVER, 4), 0);
	pci_hw_write(func, aer + PCI_ERR_UNCOR_STATUS, 4, PCI_ERR_UNC_DLP);
	assert_int_equal(pci_hw_read(func, aer + PCI_ERR_UNCOR_STATUS, 4), PCI_ERR_UNC_UNSUP);
	pci_hw_reset(func, UVFIO_RESET_POWER_ON);
	assert_int_equal(pci_hw_read(func, aer + PCI_ERR_UNCOR_STATUS, 4), 0);
	assert_int_not_equal(pci_hw_read(func, aer + PCI_ERR_UNCOR_SEVER, 4), 0);
	pci_func_free(func);
}

static void test_effects(void **state)
{
	struct uvfio_pci_desc desc = full_desc();
	struct seen s = {0};
	struct pci_func *func = make_func(&desc, &ops, &s);
	unsigned exp = pci_find_cap(func, PCI_CAP_ID_EXP), msi = pci_find_cap(func, PCI_CAP_ID_MSI);
	uint32_t mask;
	bool enabled;

	assert_false(pci_bus_master(func));
	pci_hw_write(func, PCI_COMMAND, 2, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
	assert_int_equal(s.commands, 1);
	assert_int_equal(s.command_old, 0);
	assert_int_equal(s.command_new, 6);
	assert_true(pci_memory_enabled(func) && pci_bus_master(func));
	pci_hw_write(func, PCI_COMMAND, 4, 6); /* no change */
	assert_int_equal(s.commands, 1);

	/* FLR is an event and reads 0. */
	pci_hw_write(func, exp + PCI_EXP_DEVCTL, 2, 0x2810);
	assert_int_equal(s.flrs, 0);
	pci_hw_write(func, exp + PCI_EXP_DEVCTL + 1, 1, 0xa8);
	assert_int_equal(s.flrs, 1);
	assert_int_equal(pci_hw_read(func, exp + PCI_EXP_DEVCTL, 2), 0x2810);
	pci_hw_write(func, exp + PCI_EXP_DEVCTL, 4, 0xa810);
	assert_int_equal(s.flrs, 2);

	/* What lives elsewhere is read there. */
	s.line = true;
	assert_int_equal(pci_hw_read(func, PCI_STATUS, 2), 0x0018);
	s.masked = true;
	assert_int_equal(pci_hw_read(func, PCI_COMMAND, 4), 0x00180406);
	pci_hw_write(func, PCI_COMMAND, 2, pci_hw_read(func, PCI_COMMAND, 2));
	s.masked = false;
	assert_int_equal(pci_hw_read(func, PCI_COMMAND, 2), 6);
	s.pending = 0x81;
	assert_int_equal(pci_hw_read(func, msi + PCI_MSI_PENDING_64, 4), 0x81);
	assert_int_equal(pci_hw_read(func, msi + PCI_MSI_PENDING_64, 1), 0x81);
	assert_int_equal(pci_hw_read(func, msi + PCI_MSI_PENDING_64 + 2, 2), 0);

	/* MSI: enable, and the mask dword. */
	pci_set_irq_mode(func, VFIO_PCI_MSI_IRQ_INDEX, 5);
	assert_int_equal(s.msis, 1);
	assert_int_equal(pci_hw_read(func, msi + PCI_MSI_FLAGS, 2), 0x01b7);
	pci_hw_write(func, msi + PCI_MSI_MASK_64, 4, 3);
	assert_int_equal(s.msis, 2);
	pci_msi_state(func, &enabled, &mask);
	assert_true(enabled);
	assert_int_equal(mask, 3);
	pci_set_irq_mode(func, VFIO_PCI_MSIX_IRQ_INDEX, 17);
	pci_msi_state(func, &enabled, &mask);
	assert_false(enabled);
	assert_int_equal(pci_hw_read(func, pci_find_cap(func, PCI_CAP_ID_MSIX) + 2, 2), 0x8010);
	pci_set_irq_mode(func, -1, 0);
	assert_int_equal(pci_hw_read(func, pci_find_cap(func, PCI_CAP_ID_MSIX) + 2, 2), 0x0010);
	assert_int_equal(pci_msi_count(func), 8);
	assert_int_equal(pci_msix_count(func), 17);
	pci_func_free(func);
}

static void test_power(void **state)
{
	struct uvfio_pci_desc desc = full_desc();
	struct seen s = {0};
	struct pci_func *func = make_func(&desc, &ops, &s);
	unsigned pm = pci_find_cap(func, PCI_CAP_ID_PM);

	/* Software's way: config space is lost. */
	pci_hw_write(func, PCI_COMMAND, 2, 6);
	pci_hw_write(func, PCI_BASE_ADDRESS_0, 4, 0xfe000000);
	pci_hw_write(func, pm + PCI_PM_CTRL, 2, 3);
	assert_int_equal(s.powers, 1);
	assert_int_equal(s.power_new, 3);
	assert_int_equal(pci_power_state(func), 3);
	assert_false(pci_memory_enabled(func) || pci_bus_master(func));
	pci_hw_write(func, pm + PCI_PM_CTRL, 2, 1); /* D1 is not there: discarded */
	assert_int_equal(pci_power_state(func), 3);
	pci_hw_write(func, pm + PCI_PM_CTRL, 2, 0);
	assert_int_equal(s.powers, 2);
	assert_int_equal(pci_hw_read(func, PCI_COMMAND, 2), 0);
	assert_int_equal(pci_hw_read(func, PCI_BASE_ADDRESS_0, 4), 4);

	/* The host's way: saved and restored. */
	pci_hw_write(func, PCI_COMMAND, 2, 6);
	pci_hw_write(func, PCI_BASE_ADDRESS_0, 4, 0xfe000000);
	assert_int_equal(pci_set_power_state(func, 3), 0);
	assert_int_equal(s.powers, 3);
	assert_int_equal(pci_set_power_state(func, 2), -EINVAL);
	assert_int_equal(pci_set_power_state(func, 0), 0);
	assert_int_equal(s.powers, 4);
	assert_int_equal(s.power_old, 3);
	assert_int_equal(s.power_new, 0);
	assert_int_equal(pci_hw_read(func, PCI_COMMAND, 2), 6);
	assert_int_equal(pci_hw_read(func, PCI_BASE_ADDRESS_0, 4), 0xfe000004);
	assert_true(pci_memory_enabled(func) && pci_bus_master(func));
	pci_func_free(func);

	/* With NoSoftRst nothing is lost. */
	desc.no_soft_reset = true;
	func = make_func(&desc, &ops, &s);
	assert_int_equal(pci_hw_read(func, pm + PCI_PM_CTRL, 2), PCI_PM_CTRL_NO_SOFT_RESET);
	pci_hw_write(func, PCI_COMMAND, 2, 6);
	pci_hw_write(func, pm + PCI_PM_CTRL, 2, 3);
	pci_hw_write(func, pm + PCI_PM_CTRL, 2, 0);
	assert_int_equal(pci_hw_read(func, PCI_COMMAND, 2), 6);
	pci_func_free(func);
}

/* A.5: what is saved around a reset comes back; MPS survives the function's own reset. */
static void test_reset(void **state)
{
	struct uvfio_pci_desc desc = full_desc();
	struct seen s = {0};
	struct pci_func *func = make_func(&desc, &ops, &s);
	unsigned exp = pci_find_cap(func, PCI_CAP_ID_EXP), pm = pci_find_cap(func, PCI_CAP_ID_PM);
	uint8_t saved[PCI_EXT_CONFIG_SIZE];

	pci_hw_write(func, PCI_COMMAND, 2, 6);
	pci_hw_write(func, exp + PCI_EXP_DEVCTL, 2, 0x5020);
	pci_set_irq_mode(func, VFIO_PCI_MSIX_IRQ_INDEX, 17);
	pci_set_power_state(func, 3);
	memset(&s, 0, sizeof(s));
	pci_hw_save(func, saved);
	pci_hw_reset(func, UVFIO_RESET_FUNCTION);
	assert_int_equal(pci_power_state(func), 0);
	assert_int_equal(pci_hw_read(func, PCI_COMMAND, 2), 0);
	assert_int_equal(pci_hw_read(func, exp + PCI_EXP_DEVCTL, 2), 0x2830);
	assert_false(pci_bus_master(func));
	pci_hw_restore(func, saved);
	assert_int_equal(pci_hw_read(func, PCI_COMMAND, 2), 6);
	assert_int_equal(pci_hw_read(func, exp + PCI_EXP_DEVCTL, 2), 0x5020);
	assert_int_equal(pci_hw_read(func, pci_find_cap(func, PCI_CAP_ID_MSIX) + 2, 2), 0x8010);
	assert_int_equal(pci_hw_read(func, pm + PCI_PM_CTRL, 2), 0);
	assert_true(pci_bus_master(func));
	assert_int_equal(s.commands + s.powers + s.flrs + s.msis, 0);
	/* The interrupt mode is that of now, not that of the saved state. */
	pci_hw_reset(func, UVFIO_RESET_FUNCTION);
	assert_int_equal(pci_hw_read(func, pci_find_cap(func, PCI_CAP_ID_MSIX) + 2, 2), 0x0010);
	pci_set_irq_mode(func, VFIO_PCI_MSI_IRQ_INDEX, 2);
	pci_hw_restore(func, saved);
	assert_int_equal(pci_hw_read(func, pci_find_cap(func, PCI_CAP_ID_MSIX) + 2, 2), 0x0010);
	assert_int_equal(pci_hw_read(func, pci_find_cap(func, PCI_CAP_ID_MSI) + 2, 2), 0x0197);
	pci_hw_reset(func, UVFIO_RESET_BUS);
	assert_int_equal(pci_hw_read(func, exp + PCI_EXP_DEVCTL, 2), 0x2810);
	pci_func_free(func);
}

static void test_vpd(void **state)
{
	struct uvfio_pci_desc desc = full_desc();
	struct pci_func *func = make_func(&desc, NULL, NULL);
	unsigned vpd = pci_find_cap(func, PCI_CAP_ID_VPD);
	uint32_t data;

	assert_int_equal(pci_vpd_read(func, 4, &data), 0);
	assert_int_equal(data, 0x08070605);
	assert_int_equal(pci_vpd_read(func, 13, &data), -EIO);
	assert_int_equal(pci_vpd_write(func, 4, 0), -EIO);
	assert_int_equal(pci_vpd_write(func, 9, 0), -EINVAL);
	pci_hw_write(func, vpd + PCI_VPD_DATA, 4, 0xaabbccdd);
	pci_hw_write(func, vpd + PCI_VPD_ADDR, 2, 0x8008);
	assert_int_equal(pci_hw_read(func, vpd + PCI_VPD_ADDR, 2), 0x0008);
	pci_hw_write(func, vpd + PCI_VPD_ADDR, 2, 0x0008);
	assert_int_equal(pci_hw_read(func, vpd + PCI_VPD_ADDR, 2), 0x8008);
	assert_int_equal(pci_hw_read(func, vpd + PCI_VPD_DATA, 4), 0xaabbccdd);
	pci_func_free(func);
}

static void test_caps(void **state)
{
	static const uint8_t af[] = {6, 3, 0, 0}, af_wmask[] = {0, 0, 1, 0};
	static const uint8_t vendor[] = {7, 1, 2, 3, 4}, vendor_wmask[] = {0, 0xff, 0xf0, 0, 0},
			     vendor_w1c[] = {0, 0, 0, 2, 0};
	static const uint8_t acs[] = {0, 0, 0, 0};
	const struct uvfio_cap_desc caps[] = {
		{.id = PCI_CAP_ID_VNDR,
		 .len = 5,
		 .data = vendor,
		 .wmask = vendor_wmask,
		 .w1c = vendor_w1c},
		{.id = PCI_CAP_ID_AF, .len = 4, .data = af, .wmask = af_wmask},
		{.extended = true, .id = PCI_EXT_CAP_ID_ACS, .version = 1, .len = 4, .data = acs},
	};
	struct uvfio_pci_desc desc = full_desc();
	struct seen s = {0};
	struct pci_func *func;
	unsigned pos;

	desc.caps = caps;
	desc.nr_caps = N(caps);
	func = make_func(&desc, &ops, &s);
	pos = pci_find_cap(func, PCI_CAP_ID_VNDR);
	assert_true(pos);
	assert_int_equal(pci_hw_read(func, pos + 2, 1), 7);
	pci_hw_write(func, pos + 2, 1, 0xff);
	pci_hw_write(func, pos + 3, 1, 0xff);
	pci_hw_write(func, pos + 4, 4, 0xffffffff);
	assert_int_equal(pci_hw_read(func, pos + 2, 1), 7);
	assert_int_equal(pci_hw_read(func, pos + 3, 1), 0xff);
	assert_int_equal(pci_hw_read(func, pos + 4, 2), 0x01f2);
	pos = pci_find_cap(func, PCI_CAP_ID_AF);
	assert_true(pos && pos % 4 == 0);
	pci_hw_write(func, pos + PCI_AF_CTRL, 1, PCI_AF_CTRL_FLR);
	assert_int_equal(s.flrs, 1);
	assert_int_equal(pci_hw_read(func, pos + PCI_AF_CTRL, 1), 0);
	pos = pci_find_ext_cap(func, PCI_EXT_CAP_ID_ACS);
	assert_true(pos);
	assert_int_equal(pci_hw_read(func, pos, 4), 0x0001000d);
	pci_func_free(func);
}

/* Each row spoils one thing of a description that is otherwise good. */
static void test_refused(void **state)
{
	static const uint8_t two[] = {3, 1};
	static const uint8_t big[4000] = {0};
	static const struct uvfio_area areas[] = {
		{0x1000, 0x1000, UVFIO_AREA_REGISTERS, 0},
		{0x1800, 0x100, UVFIO_AREA_REGISTERS, 0},
	};
	static const struct uvfio_cap_desc cap_msi = {.id = PCI_CAP_ID_MSI, .len = 2, .data = two};
	static const struct uvfio_cap_desc cap_vendor = {.id = 9, .len = 2, .data = two};
	static const struct uvfio_cap_desc cap_both = {
		.id = 2, .len = 2, .data = two, .wmask = two, .w1c = two};
	static const struct uvfio_cap_desc cap_big = {.id = 8, .len = 300, .data = big};
	static const struct uvfio_cap_desc ext_big = {
		.extended = true, .id = 0x0d, .len = 4000, .data = big};
	static const struct uvfio_cap_desc ext = {
		.extended = true, .id = 0x0d, .len = 4, .data = big};
	struct uvfio_error err;
	struct pci_func *func;

#define CHECK(word, ...)                                                                           \
	do {                                                                                       \
		struct uvfio_pci_desc d = full_desc();                                             \
		err.msg[0] = 0;                                                                    \
		__VA_ARGS__;                                                                       \
		assert_int_equal(pci_func_new(&d, &test_addr, NULL, NULL, &func, &err), -EINVAL);  \
		if (!strstr(err.msg, word))                                                        \
			fail_msg("\"%s\" does not say \"%s\"", err.msg, word);                     \
	} while (0)

	CHECK("class code", d.class_code = 0x1000000);
	CHECK("pin", d.interrupt_pin = 5);
	CHECK("power of two", d.bars[0].size = 0x3000);
	CHECK("upper half", d.bars[1].size = 0x1000);
	CHECK("16 is the least", d.bars[4].size = 8);
	CHECK("4 to 256", d.bars[2].size = 512);
	CHECK("neither", d.bars[2].flags |= UVFIO_BAR_PREFETCH);
	CHECK("2 GiB", d.bars[4].size = 1ull << 32);
	CHECK("neighbour", d.bars[5] = (struct uvfio_bar_desc){4096, UVFIO_BAR_MEM64, NULL, 0});
	CHECK("flags", d.bars[0].flags |= 64);
	CHECK("no size", d.bars[3].nr_areas = 1);
	CHECK("begins before", (d.bars[0].areas = areas, d.bars[0].nr_areas = 2));
	CHECK("ends beyond", (d.bars[2].areas = areas, d.bars[2].nr_areas = 1));
	CHECK("overlaps the MSI-X",
	      (d.bars[0].areas = areas, d.bars[0].nr_areas = 1, d.msix_table = 0x1f00));
	CHECK("2048", d.msix_vectors = 2049);
	CHECK("memory BAR", d.msix_bar = 2);
	CHECK("memory BAR", d.msix_bar = 6);
	CHECK("multiple of 8", d.msix_table = 0x2004);
	CHECK("ends beyond", d.msix_table = 0x3f00);
	CHECK("overlap", d.msix_pba = 0x2008);
	CHECK("MSI vectors", d.msi_vectors = 3);
	CHECK("MSI vectors", d.msi_vectors = 64);
	CHECK("ROM size", d.rom_size = 1024);
	CHECK("ROM image", d.rom_len = 1);
	CHECK("`pcie`", d.pcie = false);
	CHECK("`pcie`", (d.pcie = d.flr = false));
	CHECK("`pm`", (d.pm = false, d.no_soft_reset = true));
	CHECK("VPD", d.vpd_len = 15);
	CHECK("VPD", d.vpd_rw = 20);
	CHECK("built by the core", (d.caps = &cap_msi, d.nr_caps = 1));
	CHECK("length byte", (d.caps = &cap_vendor, d.nr_caps = 1));
	CHECK("both", (d.caps = &cap_both, d.nr_caps = 1));
	CHECK("no room", (d.caps = &cap_big, d.nr_caps = 1));
	CHECK("no room", (d.caps = &ext_big, d.nr_caps = 1));
	CHECK("needs `pcie`", (d.caps = &ext, d.nr_caps = 1, d.pcie = d.flr = false, d.serial = 0));
	CHECK("no array", d.nr_caps = 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_addr_text), cmocka_unit_test(test_registers),
		cmocka_unit_test(test_minimal),   cmocka_unit_test(test_w1c),
		cmocka_unit_test(test_vectors),   cmocka_unit_test(test_effects),
		cmocka_unit_test(test_power),     cmocka_unit_test(test_reset),
		cmocka_unit_test(test_vpd),       cmocka_unit_test(test_caps),
		cmocka_unit_test(test_refused),
	};

	return cmocka_run_group_tests_name("func", tests, NULL, NULL);
}
