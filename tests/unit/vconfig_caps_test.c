/* SPDX-License-Identifier: BSD-3-Clause */
/* Config space: capabilities that a model declares as data, each with its masks (A.7). */
#include "vconfig_fixture.h"

static const uint8_t ff[300] = {[0 ... 299] = 0xff};

static void test_std_table(void **state)
{
	/* Bytes after the header; all of them writable in hardware. */
	static const uint8_t vendor[] = {6, 0x11, 0x22, 0x33};
	static const uint8_t ssvid[] = {0, 0, 0x86, 0x80, 0, 0};
	static const uint8_t sata[] = {0x10, 0, 0x0f, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0};
	static const uint8_t af[] = {6, PCI_AF_CAP_TP | PCI_AF_CAP_FLR, 0, 0, 0, 0};
	static const uint8_t pcix[6] = {0};
	const struct uvfio_cap_desc caps[] = {
		{.id = PCI_CAP_ID_SSVID, .len = 6, .data = ssvid, .wmask = ff},
		{.id = PCI_CAP_ID_VNDR, .len = 4, .data = vendor, .wmask = ff},
		{.id = PCI_CAP_ID_DBG, .len = 2, .data = pcix, .wmask = ff},
		{.id = PCI_CAP_ID_SATA, .len = 14, .data = sata, .wmask = ff},
		{.id = PCI_CAP_ID_AF, .len = 6, .data = af, .wmask = ff},
		{.id = PCI_CAP_ID_PCIX, .len = 6, .data = pcix, .wmask = ff},
		{.id = PCI_CAP_ID_EA, .len = 2, .data = pcix, .wmask = ff},
		{.id = 0x30, .len = 2, .data = pcix, .wmask = ff},
	};
	struct uvfio_pci_desc desc = {.vendor = 1, .caps = caps, .nr_caps = N(caps)};
	struct fixture f;
	unsigned pos, hidden;

	start(&f, &desc, 0);
	/* The list skips what is hidden, and the pointer too. */
	assert_int_equal(rd(&f, PCI_CAPABILITY_LIST, 1), pci_find_cap(f.func, PCI_CAP_ID_VNDR));
	assert_false(user_cap(&f, PCI_CAP_ID_SSVID) || user_cap(&f, PCI_CAP_ID_DBG) ||
		     user_cap(&f, PCI_CAP_ID_EA) || user_cap(&f, 0x30));
	pos = user_cap(&f, PCI_CAP_ID_VNDR);
	assert_int_equal(rd(&f, pos + 1, 1), user_cap(&f, PCI_CAP_ID_SATA));
	pos = user_cap(&f, PCI_CAP_ID_PCIX);
	assert_int_equal(rd(&f, pos + 1, 1), 0);
	assert_true(rd(&f, PCI_STATUS, 2) & PCI_STATUS_CAP_LIST);

	/* Hiding only unlinks: raw read and write. */
	hidden = pci_find_cap(f.func, PCI_CAP_ID_SSVID);
	assert_int_equal(rd(&f, hidden, 4), pci_hw_read(f.func, hidden, 4));
	wr(&f, hidden + 4, 4, 0x12345678);
	assert_int_equal(pci_hw_read(f.func, hidden + 4, 4), 0x12345678);

	/* Vendor: written raw behind its header. */
	pos = user_cap(&f, PCI_CAP_ID_VNDR);
	wr(&f, pos, 4, 0xaabb0000);
	wr(&f, pos + 4, 2, 0xccdd);
	assert_int_equal(pci_hw_read(f.func, pos + 2, 4), 0xccddaabb);
	assert_int_equal(rd(&f, pos, 1), PCI_CAP_ID_VNDR);
	/* SATA: read only; inline registers belong to it. */
	pos = user_cap(&f, PCI_CAP_ID_SATA);
	for (unsigned i = 0; i < 16; i++)
		wr(&f, pos + i, 1, 0xee);
	for (unsigned i = 2; i < 16; i++)
		assert_int_equal(rd(&f, pos + i, 1), sata[i - 2]);
	/* AF: only the FLR bit acts, and reads 0. The tail behind 6 bytes is raw. */
	pos = user_cap(&f, PCI_CAP_ID_AF);
	wr(&f, pos + PCI_AF_CTRL, 1, 0xff);
	assert_int_equal(f.flrs, 1);
	assert_int_equal(rd(&f, pos + PCI_AF_CTRL, 1), 0);
	wr(&f, pos + PCI_AF_CTRL, 4, 0x77770000);
	assert_int_equal(f.flrs, 1);
	assert_int_equal(pci_hw_read(f.func, pos + 6, 2), 0x7777);
	/* PCI-X: the command is writable, the rest not. */
	pos = user_cap(&f, PCI_CAP_ID_PCIX);
	wr(&f, pos + PCI_X_CMD, 2, 0x0f0f);
	wr(&f, pos + PCI_X_STATUS, 4, UINT32_MAX);
	assert_int_equal(pci_hw_read(f.func, pos + PCI_X_CMD, 2), 0x0f0f);
	assert_int_equal(pci_hw_read(f.func, pos + PCI_X_STATUS, 4), 0);
	stop(&f);

	/* All hidden: no pointer and no CAP_LIST. */
	desc.nr_caps = 1;
	start(&f, &desc, 0);
	assert_int_equal(rd(&f, PCI_CAPABILITY_LIST, 1), 0);
	assert_int_equal(rd(&f, PCI_STATUS, 2), 0);
	stop(&f);
}

static void test_ext_table(void **state)
{
	enum { RO, RAW, HIDDEN };
	/* The first eight bytes after the header, chosen so that its length is known. */
	static const uint8_t zero[80] = {0};
	static const uint8_t vsec[] = {0, 0, 0xc0, 0, 1, 2, 3, 4};
	static const uint8_t dvsec[] = {0x86, 0x80, 0xc0, 0, 0, 0, 3, 4};
	static const struct {
		uint16_t id;
		int kind;
		unsigned len; /* that the user's view knows */
		const uint8_t *data;
		uint16_t data_len;
	} rows[] = {
		{PCI_EXT_CAP_ID_VC, RO, 28, zero, 24},
		{PCI_EXT_CAP_ID_DSN, RO, 12, zero, 8},
		{PCI_EXT_CAP_ID_RCLD, HIDDEN, 0, zero, 8},
		{PCI_EXT_CAP_ID_RCILC, HIDDEN, 0, zero, 8},
		{PCI_EXT_CAP_ID_RCEC, HIDDEN, 0, zero, 8},
		{PCI_EXT_CAP_ID_MFVC, RO, 28, zero, 24},
		{PCI_EXT_CAP_ID_VC9, RO, 28, zero, 24},
		{PCI_EXT_CAP_ID_RCRB, HIDDEN, 0, zero, 8},
		{PCI_EXT_CAP_ID_VNDR, RAW, 12, vsec, 8},
		{PCI_EXT_CAP_ID_CAC, HIDDEN, 0, zero, 8},
		{PCI_EXT_CAP_ID_ACS, RO, 8, zero, 4},
		{PCI_EXT_CAP_ID_ARI, RO, 8, zero, 4},
		{PCI_EXT_CAP_ID_ATS, RO, 8, zero, 4},
		{PCI_EXT_CAP_ID_SRIOV, RO, 64, zero, 60},
		{PCI_EXT_CAP_ID_MRIOV, HIDDEN, 0, zero, 8},
		{PCI_EXT_CAP_ID_MCAST, RO, 40, zero, 36},
		{PCI_EXT_CAP_ID_PRI, RO, 16, zero, 12},
		{PCI_EXT_CAP_ID_AMD_XXX, HIDDEN, 0, zero, 8},
		{PCI_EXT_CAP_ID_DPA, RO, 17, zero, 28},
		{PCI_EXT_CAP_ID_TPH, RO, 12, zero, 8},
		{PCI_EXT_CAP_ID_LTR, RO, 8, zero, 4},
		{PCI_EXT_CAP_ID_SECPCI, HIDDEN, 0, zero, 8},
		{PCI_EXT_CAP_ID_PMUX, HIDDEN, 0, zero, 8},
		{PCI_EXT_CAP_ID_PASID, HIDDEN, 0, zero, 4},
		{PCI_EXT_CAP_ID_DPC, HIDDEN, 0, zero, 8},
		{PCI_EXT_CAP_ID_L1SS, HIDDEN, 0, zero, 8},
		{PCI_EXT_CAP_ID_PTM, HIDDEN, 0, zero, 8},
		{PCI_EXT_CAP_ID_DVSEC, RAW, 12, dvsec, 8},
		{0x24, HIDDEN, 0, zero, 8}, /* VF resizable BAR */
		{PCI_EXT_CAP_ID_DLF, HIDDEN, 0, zero, 8},
		{PCI_EXT_CAP_ID_PL_16GT, HIDDEN, 0, zero, 8},
		{PCI_EXT_CAP_ID_DOE, HIDDEN, 0, zero, 8},
		{0x7f, HIDDEN, 0, zero, 8},
	};

	for (size_t i = 0; i < N(rows); i++) {
		const struct uvfio_cap_desc cap = {.extended = true,
						   .id = rows[i].id,
						   .version = 1,
						   .len = rows[i].data_len,
						   .data = rows[i].data,
						   .wmask = ff};
		struct uvfio_pci_desc desc = {.pcie = true, .caps = &cap, .nr_caps = 1};
		struct fixture f;
		unsigned pos, writable;

		start(&f, &desc, 0);
		pos = pci_find_ext_cap(f.func, rows[i].id);
		assert_true(pos > 0x100); /* AER is first */
		if (user_ext_cap(&f, rows[i].id) != (rows[i].kind == HIDDEN ? 0 : pos))
			fail_msg("id %#x is at %#x for the user", rows[i].id,
				 user_ext_cap(&f, rows[i].id));
		assert_int_equal(rd(&f, pos, 4), pci_hw_read(f.func, pos, 4));
		/* Which bytes behind the header does a write change? */
		for (unsigned off = 4; off < rows[i].data_len + 4u; off++) {
			wr(&f, pos + off, 1, rd(&f, pos + off, 1) ^ 0xff);
			writable = pci_hw_read(f.func, pos + off, 1) ==
				   (rows[i].data[off - 4] ^ 0xffu);
			if (writable != (rows[i].kind != RO || off >= rows[i].len))
				fail_msg("id %#x, byte %u: %s", rows[i].id, off,
					 writable ? "writable" : "not writable");
		}
		stop(&f);
	}
}

static void test_power_budgeting(void **state)
{
	static const uint8_t zero[12] = {0};
	const struct uvfio_cap_desc cap = {.extended = true,
					   .id = PCI_EXT_CAP_ID_PWR,
					   .version = 1,
					   .len = 12,
					   .data = zero,
					   .wmask = ff};
	struct uvfio_pci_desc desc = {.pcie = true, .caps = &cap, .nr_caps = 1};
	struct fixture f;
	unsigned pos;

	start(&f, &desc, 0);
	pos = user_ext_cap(&f, PCI_EXT_CAP_ID_PWR);
	wr(&f, pos + 4, 4, UINT32_MAX);
	wr(&f, pos + 8, 4, UINT32_MAX);
	wr(&f, pos + 12, 4, UINT32_MAX);
	assert_int_equal(pci_hw_read(f.func, pos + 4, 4), 0);
	assert_int_equal(pci_hw_read(f.func, pos + 8, 4), 0xff);
	assert_int_equal(pci_hw_read(f.func, pos + 12, 4), 0);
	stop(&f);
}

/* Lengths that depend on the contents. */
static void test_ext_lengths(void **state)
{
	static const uint8_t acs[] = {PCI_ACS_EC, 40, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0};
	static const uint8_t acs256[44] = {PCI_ACS_EC, 0};
	static const uint8_t rebar[] = {0, 0, 0, 0, 0x40, 0, 0, 0, 0, 0,
					0, 0, 0, 0, 0,    0, 0, 0, 0, 0};
	static const uint8_t vc[56] = {1, 0, 0, 0, PCI_VC_CAP2_32_PHASE};
	static const uint8_t tph[20] = {0, 2, 2, 0};
	static const struct {
		uint16_t id, data_len;
		const uint8_t *data;
		unsigned len;
	} rows[] = {
		{PCI_EXT_CAP_ID_ACS, 16, acs, 16},     {PCI_EXT_CAP_ID_ACS, 44, acs256, 40},
		{PCI_EXT_CAP_ID_REBAR, 20, rebar, 20}, {PCI_EXT_CAP_ID_VC, 56, vc, 64},
		{PCI_EXT_CAP_ID_TPH, 20, tph, 18},
	};

	for (size_t i = 0; i < N(rows); i++) {
		const struct uvfio_cap_desc cap = {.extended = true,
						   .id = rows[i].id,
						   .version = 1,
						   .len = rows[i].data_len,
						   .data = rows[i].data,
						   .wmask = ff};
		struct uvfio_pci_desc desc = {.pcie = true, .caps = &cap, .nr_caps = 1};
		struct fixture f;
		unsigned pos;

		start(&f, &desc, 0);
		pos = user_ext_cap(&f, rows[i].id);
		assert_true(pos);
		for (unsigned off = 4; off < rows[i].data_len + 4u; off++) {
			wr(&f, pos + off, 1, 0xa5);
			if ((pci_hw_read(f.func, pos + off, 1) == 0xa5) != (off >= rows[i].len))
				fail_msg("id %#x: byte %u on the wrong side of %u", rows[i].id, off,
					 rows[i].len);
		}
		stop(&f);
	}
}

/* Without AER of our own in the way: what stands at 0x100. */
static void test_ext_first(void **state)
{
	struct uvfio_pci_desc desc = full_desc();
	struct fixture f;
	unsigned dsn;

	/* Hidden at 0x100: id 0, version 0, the next pointer kept. */
	start(&f, &desc, 0);
	dsn = user_ext_cap(&f, PCI_EXT_CAP_ID_DSN);
	pci_vconfig_free(f.vc);
	pci_hw_set(f.func, 0x100, 4, PCI_EXT_CAP_ID_PASID | 1 << 16 | dsn << 20);
	assert_int_equal(pci_vconfig_new(f.func, 0, &ops, &f, &f.vc), 0);
	assert_int_equal(rd(&f, 0x100, 4), dsn << 20);
	assert_int_equal(rd(&f, dsn, 2), PCI_EXT_CAP_ID_DSN);
	wr(&f, 0x100, 4, UINT32_MAX);
	assert_int_equal(rd(&f, 0x100, 4), dsn << 20);

	/* Hidden and nothing else: reads 0. */
	pci_vconfig_free(f.vc);
	pci_hw_set(f.func, 0x100, 4, PCI_EXT_CAP_ID_PASID | 1 << 16);
	assert_int_equal(pci_vconfig_new(f.func, 0, &ops, &f, &f.vc), 0);
	assert_int_equal(rd(&f, 0x100, 4), 0);

	/* Dword 0x100 is 0: all of it is a gap. */
	pci_vconfig_free(f.vc);
	pci_hw_set(f.func, 0x100, 4, 0);
	assert_int_equal(pci_vconfig_new(f.func, 0, &ops, &f, &f.vc), 0);
	assert_int_equal(rd(&f, 0x100, 4), 0);
	pci_hw_write(f.func, 0x108, 4, 0);
	wr(&f, 0x108, 4, UINT32_MAX);
	assert_int_not_equal(pci_hw_read(f.func, 0x108, 4), 0);

	/* A list that bites its tail ends all the same. */
	pci_vconfig_free(f.vc);
	pci_hw_set(f.func, 0x100, 4, PCI_EXT_CAP_ID_DSN | 0x100u << 20);
	pci_hw_set(f.func, 0x41, 1, 0x40);
	assert_int_equal(pci_vconfig_new(f.func, 0, &ops, &f, &f.vc), 0);
	stop(&f);
}

/* One wide access gives what byte accesses give: it is cut at capabilities and alignment. */
static void test_cut(void **state)
{
	struct uvfio_pci_desc desc = full_desc();
	struct fixture a, b;
	uint8_t wide[4096], bytes[4096];

	start(&a, &desc, 0);
	start(&b, &desc, 0);
	assert_int_equal(pci_vconfig_read(a.vc, 0, wide, 4096), 4096);
	for (unsigned i = 0; i < 4096; i++)
		bytes[i] = (uint8_t)rd(&b, i, 1);
	assert_memory_equal(wide, bytes, 4096);
	for (unsigned off = 0; off < 256; off += 1) {
		for (size_t len = 1; len < 24; len++) {
			memset(wide, 0, 24);
			assert_int_equal(pci_vconfig_read(a.vc, off, wide, len), len);
			assert_memory_equal(wide, bytes + off, len);
			assert_int_equal(wide[len], 0);
		}
	}
	/* A write over all of it: the same as by bytes, whatever the alignment. */
	memset(wide, 0xff, 4096);
	assert_int_equal(pci_vconfig_write(a.vc, PCI_INTERRUPT_LINE - 7, wide, 8), 8);
	assert_int_equal(rd(&a, PCI_INTERRUPT_LINE, 1), 0xff);
	assert_int_equal(rd(&a, PCI_INTERRUPT_PIN, 1), 1);
	assert_int_equal(rd(&a, PCI_ROM_ADDRESS, 4), 0);
	stop(&a);
	stop(&b);
}

/* Whatever is written, the user cannot enable MSI-X or SR-IOV, nor MSI without SET_IRQS, nor reach
 * hidden virtual bits of hardware. */
static void test_storm(void **state)
{
	static const uint8_t sriov[60] = {0};
	const struct uvfio_cap_desc cap = {.extended = true,
					   .id = PCI_EXT_CAP_ID_SRIOV,
					   .version = 1,
					   .len = 60,
					   .data = sriov,
					   .wmask = ff};
	struct uvfio_pci_desc desc = full_desc();
	struct fixture f;
	uint32_t seed = 12345;
	unsigned pos;

	desc.caps = &cap;
	desc.nr_caps = 1;
	start(&f, &desc, 0);
	pos = pci_find_ext_cap(f.func, PCI_EXT_CAP_ID_SRIOV);
	for (unsigned i = 0; i < 300000; i++) {
		uint32_t value[2];
		unsigned off;

		for (unsigned k = 0; k < 2; k++)
			value[k] = seed = seed * 1664525 + 1013904223;
		seed = seed * 1664525 + 1013904223;
		off = (seed >> 8) % 0x240;
		pci_vconfig_write(f.vc, off, value, 1 + (seed >> 20) % 8);
		assert_int_equal(pci_hw_read(f.func, PCI_BASE_ADDRESS_0, 4), REAL_BAR0 | 4);
		assert_int_equal(pci_hw_read(f.func, pos + PCI_SRIOV_CTRL, 2), 0);
		assert_int_equal(pci_hw_read(f.func, pci_find_cap(f.func, PCI_CAP_ID_MSIX) + 2, 2),
				 16);
		assert_false(pci_hw_read(f.func, pci_find_cap(f.func, PCI_CAP_ID_MSI) + 2, 2) & 1);
		assert_false(pci_hw_read(f.func, PCI_COMMAND, 2) & PCI_COMMAND_INTX_DISABLE);
	}
	stop(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_std_table),       cmocka_unit_test(test_ext_table),
		cmocka_unit_test(test_power_budgeting), cmocka_unit_test(test_ext_lengths),
		cmocka_unit_test(test_ext_first),       cmocka_unit_test(test_cut),
		cmocka_unit_test(test_storm),
	};

	return cmocka_run_group_tests_name("vconfig_caps", tests, NULL, NULL);
}
