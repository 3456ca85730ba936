/* SPDX-License-Identifier: BSD-3-Clause */
/* Config space of a VF, and of a PF with VFs, as a VFIO user sees it (A.7). */
#include "sriov_util.h"
#include "vconfig_fixture.h"

struct vf_fixture {
	struct uvfio_pci_desc vf, pf;
	struct uvfio_sriov_desc sriov;
	struct pci_func *func; /* the PF */
	struct fixture f;      /* the VF and its user */
};

static void open_func(struct fixture *f, struct pci_func *func)
{
	memset(f, 0, sizeof(*f));
	f->func = func;
	assert_int_equal(pci_vconfig_new(func, 0, &ops, f, &f->vc), 0);
}

static void start_vf(struct vf_fixture *v)
{
	v->vf = vf_desc();
	v->sriov = sriov_desc(&v->vf);
	v->pf = full_desc();
	v->pf.sriov = &v->sriov;
	v->func = make_func(&v->pf, NULL, NULL);
	assert_int_equal(pci_sriov_enable(v->func, 2), 0);
	open_func(&v->f, make_vf(v->func, 1));
}

static void stop_vf(struct vf_fixture *v)
{
	stop(&v->f);
	pci_func_free(v->func);
}

/* What hardware does not have, the user has: ids, memory from the start; no pin. */
static void test_header(void **state)
{
	struct vf_fixture v;

	start_vf(&v);
	assert_int_equal(pci_hw_read(v.f.func, PCI_VENDOR_ID, 4), UINT32_MAX);
	assert_int_equal(rd(&v.f, PCI_VENDOR_ID, 4), VF_DEVICE << 16 | 0x1b36);
	wr(&v.f, PCI_VENDOR_ID, 4, 0);
	assert_int_equal(rd(&v.f, PCI_VENDOR_ID, 4), VF_DEVICE << 16 | 0x1b36);
	assert_int_equal(rd(&v.f, PCI_CLASS_REVISION, 4), 0x01080202);
	assert_int_equal(rd(&v.f, PCI_SUBSYSTEM_VENDOR_ID, 4), 0x11001af4);
	assert_int_equal(rd(&v.f, PCI_INTERRUPT_PIN, 1), 0);
	assert_int_equal(pci_vconfig_intx_pin(v.f.vc), 0);
	/* The line is the user's, though hardware has none. */
	wr(&v.f, PCI_INTERRUPT_LINE, 1, 0x5a);
	assert_int_equal(rd(&v.f, PCI_INTERRUPT_LINE, 1), 0x5a);
	assert_int_equal(pci_hw_read(v.f.func, PCI_INTERRUPT_LINE, 1), 0);
	stop_vf(&v);
}

static void test_command(void **state)
{
	struct vf_fixture v;

	start_vf(&v);
	assert_int_equal(rd(&v.f, PCI_COMMAND, 2), PCI_COMMAND_MEMORY);
	assert_int_equal(pci_hw_read(v.f.func, PCI_COMMAND, 2), 0);
	assert_true(pci_vconfig_memory_enabled(v.f.vc));

	/* What is written is what is read, and memory stays enabled: what is withdrawn comes back
	 * with the same write. */
	wr(&v.f, PCI_COMMAND, 2, 0);
	assert_int_equal(rd(&v.f, PCI_COMMAND, 2), 0);
	assert_int_equal(v.f.withdrawn, 1);
	assert_int_equal(v.f.returned, 1);
	assert_true(pci_vconfig_memory_enabled(v.f.vc));
	wr(&v.f, PCI_COMMAND, 2, PCI_COMMAND_MASTER);
	assert_int_equal(v.f.withdrawn, 2);
	assert_int_equal(v.f.returned, 2);
	assert_true(pci_bus_master(v.f.func));
	wr(&v.f, PCI_COMMAND, 2, UINT16_MAX);
	assert_int_equal(v.f.withdrawn, 2);
	assert_int_equal(v.f.returned, 3);
	assert_int_equal(rd(&v.f, PCI_COMMAND, 2),
			 PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER | PCI_COMMAND_INTX_DISABLE);
	assert_int_equal(pci_hw_read(v.f.func, PCI_COMMAND, 2), PCI_COMMAND_MASTER);
	/* The upper byte alone touches nothing of it. */
	wr(&v.f, PCI_COMMAND + 1, 1, 0);
	assert_int_equal(v.f.returned, 3);
	stop_vf(&v);
}

static void test_bars(void **state)
{
	static const struct {
		unsigned off;
		uint32_t at_first, ones;
	} rows[] = {
		{PCI_BASE_ADDRESS_0, 4, 0xffffc004},
		{PCI_BASE_ADDRESS_1, 0, 0xffffffff},
		{PCI_BASE_ADDRESS_2, 12, 0xfff0000c},
		{PCI_BASE_ADDRESS_3, 0, 0xffffffff},
		{PCI_BASE_ADDRESS_4, 0, 0},
		{PCI_BASE_ADDRESS_5, 0, 0},
		{PCI_ROM_ADDRESS, 0, 0},
	};
	struct vf_fixture v;

	start_vf(&v);
	for (size_t i = 0; i < N(rows); i++) {
		assert_int_equal(rd(&v.f, rows[i].off, 4), rows[i].at_first);
		wr(&v.f, rows[i].off, 4, UINT32_MAX);
		assert_int_equal(rd(&v.f, rows[i].off, 4), rows[i].ones);
		assert_int_equal(pci_hw_read(v.f.func, rows[i].off, 4), 0);
	}
	/* No reset behind the back is looked for: the user's addresses stay his, hardware has none.
	 */
	pci_hw_reset(v.f.func, UVFIO_RESET_FUNCTION);
	wr(&v.f, PCI_COMMAND, 2, PCI_COMMAND_MEMORY);
	assert_int_equal(rd(&v.f, PCI_BASE_ADDRESS_0, 4), 0xffffc004);
	assert_int_equal(pci_hw_read(v.f.func, PCI_BASE_ADDRESS_0, 4), 0);
	stop_vf(&v);
}

/* A BAR that was resized before the VFs came has that size. */
static void test_resized(void **state)
{
	struct vf_fixture v;

	start_vf(&v);
	stop(&v.f);
	pci_sriov_disable(v.func);
	assert_int_equal(pci_sriov_resize_bar(v.func, 2, 16 << 20), 0);
	assert_int_equal(pci_sriov_enable(v.func, 2), 0);
	open_func(&v.f, make_vf(v.func, 1));
	wr(&v.f, PCI_BASE_ADDRESS_2, 4, UINT32_MAX);
	assert_int_equal(rd(&v.f, PCI_BASE_ADDRESS_2, 4), 0xff00000c);
	stop_vf(&v);
}

/* Only the power state counts. */
static void test_power(void **state)
{
	struct vf_fixture v;
	unsigned pm;

	start_vf(&v);
	pm = user_cap(&v.f, PCI_CAP_ID_PM);
	wr(&v.f, pm + PCI_PM_CTRL, 2, 3);
	assert_int_equal(v.f.powers, 1);
	assert_false(pci_vconfig_memory_enabled(v.f.vc));
	wr(&v.f, PCI_COMMAND, 2, PCI_COMMAND_MEMORY);
	assert_int_equal(v.f.returned, 0);
	wr(&v.f, pm + PCI_PM_CTRL, 2, 0);
	assert_true(pci_vconfig_memory_enabled(v.f.vc));
	/* What the PF's bits say is hardware's business, which answers or does not. */
	pci_sriov_disable(v.func);
	assert_true(pci_vconfig_memory_enabled(v.f.vc));
	assert_false(pci_memory_decoded(v.f.func));
	stop_vf(&v);
}

/* Device control: FLR is all that a VF has of it in hardware; what is virtual is remembered. */
static void test_express(void **state)
{
	struct vf_fixture v;
	unsigned exp;

	start_vf(&v);
	exp = user_cap(&v.f, PCI_CAP_ID_EXP);
	assert_int_equal(rd(&v.f, exp + PCI_EXP_DEVCTL, 2), 0);
	wr(&v.f, exp + PCI_EXP_DEVCTL, 2, UINT16_MAX);
	assert_int_equal(v.f.flrs, 1);
	assert_int_equal(rd(&v.f, exp + PCI_EXP_DEVCTL, 2),
			 PCI_EXP_DEVCTL_PAYLOAD | PCI_EXP_DEVCTL_READRQ);
	assert_int_equal(pci_hw_read(v.f.func, exp + PCI_EXP_DEVCTL, 2), 0);
	stop_vf(&v);
}

/* A PF's user sees the capability, and can change nothing; resizable VF BARs are hidden. */
static void test_pf_user(void **state)
{
	uint8_t before[PCI_EXT_CAP_SRIOV_SIZEOF], after[PCI_EXT_CAP_SRIOV_SIZEOF];
	struct vf_fixture v;
	struct fixture f;
	unsigned pos;

	start_vf(&v);
	stop(&v.f);
	pci_sriov_disable(v.func);
	open_func(&f, v.func);
	pos = user_ext_cap(&f, PCI_EXT_CAP_ID_SRIOV);
	assert_int_equal(pos, pci_find_ext_cap(v.func, PCI_EXT_CAP_ID_SRIOV));
	assert_int_not_equal(pci_find_ext_cap(v.func, 0x24), 0);
	assert_int_equal(user_ext_cap(&f, 0x24), 0);
	assert_int_equal(rd(&f, pos + PCI_SRIOV_TOTAL_VF, 2), TOTAL_VFS);
	for (unsigned size = 1; size <= 4; size *= 2) {
		pci_vconfig_read(f.vc, pos, before, sizeof(before));
		for (unsigned off = 0; off < sizeof(before); off += size)
			wr(&f, pos + off, size, UINT32_MAX);
		pci_vconfig_read(f.vc, pos, after, sizeof(after));
		assert_memory_equal(before, after, sizeof(before));
	}
	/* What the host does is seen at once. */
	assert_int_equal(pci_sriov_enable(v.func, 3), 0);
	assert_int_equal(rd(&f, pos + PCI_SRIOV_NUM_VF, 2), 3);
	assert_int_equal(rd(&f, pos + PCI_SRIOV_CTRL, 2) & 9, 9);
	pci_vconfig_free(f.vc);
	pci_func_free(v.func);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_header),  cmocka_unit_test(test_command),
		cmocka_unit_test(test_bars),    cmocka_unit_test(test_resized),
		cmocka_unit_test(test_power),   cmocka_unit_test(test_express),
		cmocka_unit_test(test_pf_user),
	};

	return cmocka_run_group_tests_name("vconfig_vf", tests, NULL, NULL);
}
