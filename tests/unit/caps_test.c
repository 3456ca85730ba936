/* SPDX-License-Identifier: BSD-3-Clause */
/* src/pci/desc.c and build.c: what a model can declare, where it lies, what its bytes do. */
#include <errno.h>
#include <pthread.h>
#include "pci_util.h"

struct seen {
	unsigned writes, off, size;
	uint32_t value;
};

static void on_write(void *arg, unsigned off, unsigned size, uint32_t value)
{
	struct seen *s = arg;

	s->writes++;
	s->off = off;
	s->size = size;
	s->value = value;
}

static const struct pci_func_ops ops = {.model_write = on_write};

/* The ids of the list that starts at 0x34. */
static unsigned std_list(struct pci_func *func, uint8_t *ids, uint8_t *at, unsigned max)
{
	unsigned n = 0;

	for (unsigned pos = pci_hw_read(func, 0x34, 1); pos && n < max; n++) {
		ids[n] = (uint8_t)pci_hw_read(func, pos, 1);
		at[n] = (uint8_t)pos;
		pos = pci_hw_read(func, pos + 1, 1);
	}
	return n;
}

static void test_named_and_placed(void **state)
{
	static const uint8_t data[] = {0xaa, 0xbb};
	const struct uvfio_cap_desc caps[] = {
		{.id = 0x0c, .len = 2, .data = data, .offset = 0x80},
		{.id = PCI_CAP_ID_PM, .offset = 0x44},
		{.id = 0xee, .len = 2, .data = data},
		{.id = PCI_CAP_ID_EXP},
		{.extended = true, .id = 0x1d, .version = 1, .len = 2, .data = data},
		{.extended = true, .id = PCI_EXT_CAP_ID_ERR, .offset = 0x200},
		{.extended = true, .id = 0x7ff, .version = 3, .len = 2, .data = data},
	};
	static const uint8_t want[] = {PCI_CAP_ID_MSI, PCI_CAP_ID_MSIX, PCI_CAP_ID_VPD,
				       0x0c,           PCI_CAP_ID_PM,   0xee,
				       PCI_CAP_ID_EXP};
	struct uvfio_pci_desc desc = full_desc();
	uint8_t ids[16], at[16];
	struct pci_func *func;
	unsigned pos;

	desc.serial = 0;
	desc.caps = caps;
	desc.nr_caps = N(caps);
	func = make_func(&desc, NULL, NULL);
	assert_int_equal(std_list(func, ids, at, N(ids)), N(want));
	assert_memory_equal(ids, want, sizeof(want));
	assert_int_equal(at[3], 0x80);
	assert_int_equal(at[4], 0x44);
	assert_int_equal(pci_hw_read(func, 0x82, 2), 0xbbaa);
	/* No two overlap: what is at 0x44 left no room for MSI before it. */
	assert_true(at[0] >= 0x4c);
	assert_int_equal(pci_hw_read(func, 0x100, 4), 0x2001001du);
	assert_int_equal(pci_hw_read(func, 0x200, 4) & 0xfffff, 0x20001);
	pos = pci_hw_read(func, 0x200, 4) >> 20;
	assert_int_equal(pci_hw_read(func, pos, 4), 0x000307ffu);
	assert_int_equal(pci_find_ext_cap(func, 0x7ff), pos);
	pci_func_free(func);
}

static void test_config_areas(void **state)
{
	static const uint8_t data[] = {1, 2, 3, 4}, wmask[] = {0xff, 0, 0, 0},
			     w1c[] = {0, 0xff, 0, 0};
	const struct uvfio_config_area areas[] = {
		{.offset = 0x148, .len = 4, .data = data, .wmask = wmask, .w1c = w1c},
		{.offset = 0xf0, .len = 2},
	};
	struct uvfio_pci_desc desc = full_desc();
	struct seen s = {0};
	struct pci_func *func;
	uint32_t value;

	desc.config = areas;
	desc.nr_config = N(areas);
	func = make_func(&desc, &ops, &s);
	assert_int_equal(pci_hw_read(func, 0x148, 4), 0x04030201);
	/* The core's own keep away from it: the serial number goes behind. */
	assert_true(pci_find_ext_cap(func, PCI_EXT_CAP_ID_DSN) >= 0x14c);
	pci_hw_write(func, 0x148, 4, 0xffffffff);
	assert_int_equal(pci_hw_read(func, 0x148, 4), 0x040300ff);
	assert_int_equal(s.writes, 1);
	assert_int_equal(s.off, 0x148);
	assert_int_equal(s.size, 4);
	assert_int_equal(s.value, 0xffffffff);
	pci_hw_write(func, PCI_INTERRUPT_LINE, 1, 5);
	assert_int_equal(s.writes, 1);

	/* The model's own hand obeys no mask. */
	assert_int_equal(pci_model_set(func, 0x148, 4, 0xffff0000, 0x55aa1234), 0);
	assert_int_equal(pci_hw_read(func, 0x148, 4), 0x55aa00ff);
	assert_int_equal(pci_model_get(func, 0x14a, 2, &value), 0);
	assert_int_equal(value, 0x55aa);
	assert_int_equal(pci_model_set(func, 0xf0, 2, 0xffff, 0x77), 0);
	assert_int_equal(pci_model_get(func, 0xf0, 4, &value), -EINVAL);
	assert_int_equal(pci_model_set(func, PCI_COMMAND, 2, 0xffff, 7), -EINVAL);
	assert_int_equal(pci_model_get(func, 0xffe, 4, &value), -EINVAL);
	assert_int_equal(pci_model_get(func, 0x148, 3, &value), -EINVAL);
	assert_int_equal(s.writes, 1);
	pci_hw_reset(func, UVFIO_RESET_FUNCTION);
	assert_int_equal(pci_hw_read(func, 0x148, 4), 0x04030201);
	assert_int_equal(pci_hw_read(func, 0xf0, 2), 0);
	pci_func_free(func);
}

/* What the PCI core saves around a reset, and what it does not know. */
static void test_saved(void **state)
{
	static const uint8_t ones[] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
	static const uint8_t zeros[6] = {0}, vendor[] = {6, 0, 0, 0};
	const struct uvfio_cap_desc caps[] = {
		{.id = PCI_CAP_ID_PCIX, .len = 6, .data = zeros, .wmask = ones},
		{.id = PCI_CAP_ID_VNDR, .len = 4, .data = vendor, .wmask = ones},
	};
	const struct uvfio_config_area area = {.offset = 0xf0, .len = 4, .wmask = ones};
	struct uvfio_pci_desc desc = full_desc();
	uint8_t saved[PCI_EXT_CONFIG_SIZE];
	unsigned pcix, vndr, exp, aer;
	struct pci_func *func;

	desc.caps = caps;
	desc.nr_caps = N(caps);
	desc.config = &area;
	desc.nr_config = 1;
	func = make_func(&desc, NULL, NULL);
	pcix = pci_find_cap(func, PCI_CAP_ID_PCIX);
	vndr = pci_find_cap(func, PCI_CAP_ID_VNDR);
	exp = pci_find_cap(func, PCI_CAP_ID_EXP);
	aer = pci_find_ext_cap(func, PCI_EXT_CAP_ID_ERR);
	pci_hw_write(func, PCI_COMMAND, 2, 6);
	pci_hw_write(func, PCI_CACHE_LINE_SIZE, 1, 0x10);
	pci_hw_write(func, exp + PCI_EXP_DEVCTL2, 2, 5);
	pci_hw_write(func, aer + PCI_ERR_UNCOR_MASK, 4, PCI_ERR_UNC_DLP);
	pci_hw_set(func, aer + PCI_ERR_UNCOR_STATUS, 4, PCI_ERR_UNC_ECRC);
	pci_hw_set(func, aer + PCI_ERR_COR_STATUS, 4, PCI_ERR_COR_RCVR);
	pci_hw_write(func, pcix + PCI_X_CMD, 2, 0x1234);
	pci_hw_write(func, vndr + 4, 2, 0x5678);
	pci_hw_write(func, 0xf0, 4, 0x9abcdef0);
	pci_hw_save(func, saved);
	pci_hw_reset(func, UVFIO_RESET_BUS);
	pci_hw_restore(func, saved);
	assert_int_equal(pci_hw_read(func, PCI_COMMAND, 2), 6);
	assert_int_equal(pci_hw_read(func, PCI_CACHE_LINE_SIZE, 1), 0x10);
	assert_int_equal(pci_hw_read(func, exp + PCI_EXP_DEVCTL2, 2), 5);
	assert_int_equal(pci_hw_read(func, aer + PCI_ERR_UNCOR_MASK, 4), PCI_ERR_UNC_DLP);
	assert_int_equal(pci_hw_read(func, aer + PCI_ERR_UNCOR_STATUS, 4), 0);
	assert_int_equal(pci_hw_read(func, aer + PCI_ERR_COR_STATUS, 4), 0);
	assert_int_equal(pci_hw_read(func, pcix + PCI_X_CMD, 2), 0x1234);
	assert_int_equal(pci_hw_read(func, vndr + 4, 2), 0);
	assert_int_equal(pci_hw_read(func, 0xf0, 4), 0);
	pci_func_free(func);
}

static void *set_thread(void *arg)
{
	struct pci_func *func = arg;
	uint32_t value;

	for (unsigned i = 0; i < 20000; i++) {
		pci_model_set(func, 0xf0, 4, UINT32_MAX, i << 16 | i);
		pci_model_get(func, 0xf0, 4, &value);
	}
	return NULL;
}

/* The model's bytes may change at any time, and nobody sees half of it. */
static void test_model_races(void **state)
{
	const struct uvfio_config_area area = {.offset = 0xf0, .len = 4};
	struct uvfio_pci_desc desc = full_desc();
	uint8_t saved[PCI_EXT_CONFIG_SIZE];
	struct pci_func *func;
	pthread_t thread;

	desc.config = &area;
	desc.nr_config = 1;
	func = make_func(&desc, NULL, NULL);
	pthread_create(&thread, NULL, set_thread, func);
	for (unsigned i = 0; i < 2000; i++) {
		uint32_t value = pci_hw_read(func, 0xf0, 4);

		assert_int_equal(value >> 16, value & 0xffff);
		pci_hw_write(func, 0xf0, 4, UINT32_MAX);
		pci_hw_save(func, saved);
		pci_hw_reset(func, UVFIO_RESET_FUNCTION);
		pci_hw_restore(func, saved);
	}
	pthread_join(thread, NULL);
	pci_func_free(func);
}

static void test_shapes(void **state)
{
	static const struct {
		uint8_t type, version, size;
		uint32_t flags;
	} exp[] = {
		{UVFIO_PCIE_ENDPOINT, 0, 0x3c, 0x02},
		{UVFIO_PCIE_LEGACY_ENDPOINT, 1, 0x14, 0x11},
		{UVFIO_PCIE_INTEGRATED_ENDPOINT, 2, 0x2c, 0x92},
		{UVFIO_PCIE_INTEGRATED_ENDPOINT, 1, 0x0c, 0x91},
	};

	for (unsigned i = 0; i < N(exp); i++) {
		struct uvfio_pci_desc desc = {
			.pcie = true,
			.pcie_type = exp[i].type,
			.pcie_version = exp[i].version,
			.no_aer = true,
			.af = true,
			.msi_vectors = 1,
			.msi_masking = i & 1,
			.msi_32bit = true,
			.pm = true,
			.pm_states = i & 1 ? UVFIO_PM_D1 : UVFIO_PM_D2,
		};
		struct pci_func *func = make_func(&desc, NULL, NULL);
		unsigned pm = pci_find_cap(func, PCI_CAP_ID_PM);
		unsigned at = pci_find_cap(func, PCI_CAP_ID_EXP);
		unsigned msi = pci_find_cap(func, PCI_CAP_ID_MSI);
		unsigned af = pci_find_cap(func, PCI_CAP_ID_AF), end;

		/* AF is the next thing behind it. */
		end = (at + exp[i].size + 3) & ~3u;
		assert_int_equal(af, end);
		assert_int_equal(pci_hw_read(func, at + 2, 2), exp[i].flags);
		if (exp[i].size > PCI_EXP_LNKCAP)
			assert_int_equal(pci_hw_read(func, at + PCI_EXP_LNKCAP, 4) != 0,
					 exp[i].type != UVFIO_PCIE_INTEGRATED_ENDPOINT);
		assert_int_equal(pci_hw_read(func, af + 2, 2), 0x0306);
		assert_int_equal(pci_hw_read(func, msi + PCI_MSI_FLAGS, 2) & PCI_MSI_FLAGS_64BIT,
				 0);
		assert_int_equal(at - msi, i & 1 ? 0x14 : 0x0c);
		assert_int_equal(pci_find_ext_cap(func, PCI_EXT_CAP_ID_ERR), 0);
		assert_int_equal(pci_hw_read(func, 0x100, 4), 0);

		assert_int_equal(pci_hw_read(func, pm + 2, 2), i & 1 ? 0x203 : 0x403);
		assert_int_equal(pci_set_power_state(func, i & 1 ? 2 : 1), -EINVAL);
		assert_int_equal(pci_set_power_state(func, i & 1 ? 1 : 2), 0);
		assert_int_equal(pci_power_state(func), i & 1 ? 1 : 2);
		assert_int_equal(pci_set_power_state(func, 3), 0);
		assert_int_equal(pci_set_power_state(func, i & 1 ? 1 : 2), -EINVAL);
		assert_int_equal(pci_set_power_state(func, 0), 0);
		pci_func_free(func);
	}
}

/* Each row spoils one thing. */
static void test_refused(void **state)
{
	static const uint8_t data[] = {4, 0, 0, 0}, ones[] = {0xff, 0xff};
	const struct {
		const char *word;
		struct uvfio_cap_desc caps[2];
		struct uvfio_config_area config;
	} rows[] = {
		{"multiples of 4", {{.id = 8, .len = 2, .data = data, .offset = 0x42}}, {0}},
		{"not inside", {{.id = 8, .len = 2, .data = data, .offset = 0x20}}, {0}},
		{"not inside", {{.id = 8, .len = 4, .data = data, .offset = 0xfc}}, {0}},
		{"overlaps",
		 {{.id = 8, .len = 2, .data = data, .offset = 0x80},
		  {.id = 8, .len = 2, .data = data, .offset = 0x80}},
		 {0}},
		{"overlaps",
		 {{.id = 8, .len = 2, .data = data, .offset = 0x80}},
		 {.offset = 0x82, .len = 1}},
		{"named twice", {{.id = PCI_CAP_ID_PM}, {.id = PCI_CAP_ID_PM}}, {0}},
		{"has no data", {{.id = 8}}, {0}},
		{"has no data", {{.id = PCI_CAP_ID_AF}}, {0}},
		{"must be at 0x100",
		 {{.extended = true, .id = PCI_EXT_CAP_ID_ERR, .offset = 0x200}},
		 {0}},
		{"not inside", {{0}}, {.offset = 0x30, .len = 4}},
		{"not inside", {{0}}, {.offset = 0xfff, .len = 2}},
		{"not inside", {{0}}, {.offset = 0xfe, .len = 4}},
		{"is empty", {{0}}, {.offset = 0x80}},
		{"both in", {{0}}, {.offset = 0x80, .len = 2, .wmask = ones, .w1c = ones}},
	};

	for (unsigned i = 0; i < N(rows); i++) {
		struct uvfio_pci_desc desc = full_desc();
		struct uvfio_error err = {""};
		struct pci_func *func;

		desc.serial = 0;
		desc.caps = rows[i].caps;
		desc.nr_caps = !!rows[i].caps[0].id + !!rows[i].caps[1].id;
		desc.config = &rows[i].config;
		desc.nr_config = !!rows[i].config.offset;
		assert_int_equal(pci_func_new(&desc, &test_addr, NULL, NULL, &func, &err), -EINVAL);
		if (!strstr(err.msg, rows[i].word))
			fail_msg("row %u: \"%s\" does not say \"%s\"", i, err.msg, rows[i].word);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_named_and_placed),
		cmocka_unit_test(test_config_areas),
		cmocka_unit_test(test_saved),
		cmocka_unit_test(test_model_races),
		cmocka_unit_test(test_shapes),
		cmocka_unit_test(test_refused),
	};

	return cmocka_run_group_tests_name("caps", tests, NULL, NULL);
}
