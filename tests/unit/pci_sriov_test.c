/* SPDX-License-Identifier: BSD-3-Clause */
/* SR-IOV in hardware: a PF's registers, what the host does with them, and VFs' config space. */
#include <errno.h>
#include <linux/vfio.h>
#include <stdio.h>

#include "sriov_util.h"

#define VFE    PCI_SRIOV_CTRL_VFE
#define MSE    PCI_SRIOV_CTRL_MSE
#define ARI    PCI_SRIOV_CTRL_ARI
#define BOTH   (VFE | MSE | ARI)
#define VF_BAR 0x8000000000ull

struct fixture {
	struct uvfio_pci_desc vf, pf;
	struct uvfio_sriov_desc sriov;
	struct pci_func *func;
	unsigned pos, changes;
};

static void on_sriov(void *arg)
{
	((struct fixture *)arg)->changes++;
}

static const struct pci_func_ops ops = {.sriov = on_sriov};

static void start(struct fixture *f)
{
	memset(f, 0, sizeof(*f));
	f->vf = vf_desc();
	f->sriov = sriov_desc(&f->vf);
	f->pf = full_desc();
	f->pf.sriov = &f->sriov;
	f->func = make_func(&f->pf, &ops, f);
	f->pos = pci_find_ext_cap(f->func, PCI_EXT_CAP_ID_SRIOV);
	assert_int_not_equal(f->pos, 0);
}

static uint32_t get(struct fixture *f, unsigned off, unsigned size)
{
	return pci_hw_read(f->func, f->pos + off, size);
}

static void put(struct fixture *f, unsigned off, unsigned size, uint32_t value)
{
	pci_hw_write(f->func, f->pos + off, size, value);
}

/* ---- the capability ---- */

static void test_capability(void **state)
{
	static const struct {
		unsigned off, size;
		uint32_t value, ones; /* at first, and after a write of ones */
	} rows[] = {
		{PCI_SRIOV_CAP, 4, 0, 0},
		{PCI_SRIOV_STATUS, 2, 0, 0},
		{PCI_SRIOV_INITIAL_VF, 2, TOTAL_VFS, TOTAL_VFS},
		{PCI_SRIOV_TOTAL_VF, 2, TOTAL_VFS, TOTAL_VFS},
		{PCI_SRIOV_NUM_VF, 2, 0, 0}, /* more than there are */
		{PCI_SRIOV_FUNC_LINK, 2, 0, 0},
		{PCI_SRIOV_VF_OFFSET, 2, 1, 1},
		{PCI_SRIOV_VF_STRIDE, 2, 1, 1},
		{0x18, 2, 0, 0},
		{PCI_SRIOV_VF_DID, 2, VF_DEVICE, VF_DEVICE},
		{PCI_SRIOV_SUP_PGSIZE, 4, 0x553, 0x553},
		{PCI_SRIOV_SYS_PGSIZE, 4, 1, 1}, /* several at once */
		{PCI_SRIOV_BAR, 4, 4, 0xffffc004},
		{PCI_SRIOV_BAR + 4, 4, 0, 0xffffffff},
		{PCI_SRIOV_BAR + 8, 4, 12, 0xfff0000c},
		{PCI_SRIOV_BAR + 12, 4, 0, 0xffffffff},
		{PCI_SRIOV_BAR + 16, 4, 0, 0},
		{PCI_SRIOV_BAR + 20, 4, 0, 0},
		{PCI_SRIOV_VFM, 4, 0, 0},
		/* Last: VF Enable locks others.  The hierarchy bit is the host's. */
		{PCI_SRIOV_CTRL, 2, ARI, BOTH},
	};
	struct fixture f;

	start(&f);
	assert_int_equal(get(&f, 0, 4) & 0xfffff, 0x10010);
	for (size_t i = 0; i < N(rows); i++) {
		if (get(&f, rows[i].off, rows[i].size) != rows[i].value)
			fail_msg("%#x: %#x", rows[i].off, get(&f, rows[i].off, rows[i].size));
		put(&f, rows[i].off, rows[i].size, UINT32_MAX);
		if (get(&f, rows[i].off, rows[i].size) != rows[i].ones)
			fail_msg("%#x after ones: %#x", rows[i].off,
				 get(&f, rows[i].off, rows[i].size));
	}
	/* Beside it the one for routing ids, in the PF and in its VFs. */
	assert_int_not_equal(pci_find_ext_cap(f.func, PCI_EXT_CAP_ID_ARI), 0);
	pci_func_free(f.func);
}

/* NumVFs, the page size and the sizes of BARs stay while VF Enable is set. */
static void test_locked(void **state)
{
	struct fixture f;
	unsigned rebar;

	start(&f);
	rebar = pci_find_ext_cap(f.func, 0x24);
	put(&f, PCI_SRIOV_NUM_VF, 2, 5);
	assert_int_equal(get(&f, PCI_SRIOV_NUM_VF, 2), 5);
	/* By its bytes, too. */
	put(&f, PCI_SRIOV_NUM_VF, 1, 6);
	assert_int_equal(get(&f, PCI_SRIOV_NUM_VF, 2), 6);
	put(&f, PCI_SRIOV_SYS_PGSIZE, 4, 0x10);
	assert_int_equal(get(&f, PCI_SRIOV_SYS_PGSIZE, 4), 0x10);
	put(&f, PCI_SRIOV_SYS_PGSIZE, 4, 0x8); /* not supported */
	assert_int_equal(get(&f, PCI_SRIOV_SYS_PGSIZE, 4), 0x10);
	put(&f, PCI_SRIOV_CTRL, 2, VFE);
	put(&f, PCI_SRIOV_NUM_VF, 2, 7);
	put(&f, PCI_SRIOV_SYS_PGSIZE, 4, 1);
	pci_hw_write(f.func, rebar + 8, 4, 4 << 8);
	assert_int_equal(get(&f, PCI_SRIOV_NUM_VF, 2), 6);
	assert_int_equal(get(&f, PCI_SRIOV_SYS_PGSIZE, 4), 0x10);
	assert_int_equal(pci_sriov_bar_size(f.func, 2), 1 << 20);
	/* Whoever clears it may write again, not with the same store. */
	put(&f, PCI_SRIOV_CTRL, 2, 0);
	put(&f, PCI_SRIOV_NUM_VF, 2, 7);
	assert_int_equal(get(&f, PCI_SRIOV_NUM_VF, 2), 7);
	/* No VF has come into being by all this. */
	assert_int_equal(pci_sriov_num_vfs(f.func), 0);
	pci_func_free(f.func);
}

/* A page size above a BAR's makes it larger. */
static void test_page_size(void **state)
{
	struct fixture f;

	start(&f);
	put(&f, PCI_SRIOV_SYS_PGSIZE, 4, 0x10);
	assert_int_equal(pci_sriov_bar_size(f.func, 0), 0x10000);
	assert_int_equal(pci_sriov_bar_size(f.func, 2), 1 << 20);
	put(&f, PCI_SRIOV_BAR, 4, UINT32_MAX);
	assert_int_equal(get(&f, PCI_SRIOV_BAR, 4), 0xffff0004);
	put(&f, PCI_SRIOV_SYS_PGSIZE, 4, 1);
	assert_int_equal(pci_sriov_bar_size(f.func, 0), 0x4000);
	pci_func_free(f.func);
}

static void test_resize(void **state)
{
	struct pci_func *small, *large;
	struct fixture f;
	unsigned rebar;

	start(&f);
	rebar = pci_find_ext_cap(f.func, 0x24);
	assert_int_equal(pci_hw_read(f.func, rebar, 4) & 0xfffff, 0x10024);
	assert_int_equal(pci_hw_read(f.func, rebar + 4, 4), 0x15 << 4);
	assert_int_equal(pci_hw_read(f.func, rebar + 8, 4), 2 | 1 << 5);
	assert_int_equal(pci_sriov_bar_sizes(f.func, 2), 0x15);
	assert_int_equal(pci_sriov_bar_sizes(f.func, 0), 0);
	assert_int_equal(pci_sriov_resize_bar(f.func, 0, 1 << 20), -EOPNOTSUPP);
	assert_int_equal(pci_sriov_resize_bar(f.func, 6, 1 << 20), -EOPNOTSUPP);
	assert_int_equal(pci_sriov_resize_bar(f.func, 2, 2 << 20), -EINVAL);
	assert_int_equal(pci_sriov_resize_bar(f.func, 2, 3 << 20), -EINVAL);
	assert_int_equal(pci_sriov_resize_bar(f.func, 2, 0), -EINVAL);
	small = make_vf(f.func, 0);

	/* By the register: the size field is all that can be written, with a size that there is. */
	pci_hw_write(f.func, rebar + 8, 4, 1 << 8);
	assert_int_equal(pci_hw_read(f.func, rebar + 8, 4), 2 | 1 << 5);
	pci_hw_write(f.func, rebar + 8, 4, ~0x3f00u | 4 << 8);
	assert_int_equal(pci_hw_read(f.func, rebar + 8, 4), 2 | 1 << 5 | 4 << 8);
	assert_int_equal(pci_sriov_bar_size(f.func, 2), 16 << 20);
	put(&f, PCI_SRIOV_BAR + 8, 4, UINT32_MAX);
	assert_int_equal(get(&f, PCI_SRIOV_BAR + 8, 4), 0xff00000c);

	/* A reset takes it back, and the host puts it there again. */
	pci_hw_reset(f.func, UVFIO_RESET_FUNCTION);
	assert_int_equal(pci_sriov_bar_size(f.func, 2), 1 << 20);
	put(&f, PCI_SRIOV_BAR + 8, 4, UINT32_MAX);
	assert_int_equal(get(&f, PCI_SRIOV_BAR + 8, 4), 0xfff0000c);
	pci_hw_restore(f.func, (uint8_t[PCI_EXT_CONFIG_SIZE]){0});
	assert_int_equal(pci_sriov_bar_size(f.func, 2), 16 << 20);

	/* By the host.  An address is cut to the new size. */
	pci_sriov_set_bar_address(f.func, 2, VF_BAR);
	assert_int_equal(pci_sriov_resize_bar(f.func, 2, 4 << 20), 0);
	assert_int_equal(pci_sriov_bar_size(f.func, 2), 4 << 20);
	assert_int_equal(pci_sriov_enable(f.func, 2), 0);
	assert_int_equal(pci_sriov_resize_bar(f.func, 2, 16 << 20), -EBUSY);

	/* VFs have the size that there was when they came. */
	large = make_vf(f.func, 1);
	assert_int_equal(pci_func_desc(small)->bars[2].size, 1 << 20);
	assert_int_equal(pci_func_desc(large)->bars[2].size, 4 << 20);
	pci_func_free(small);
	pci_func_free(large);
	pci_func_free(f.func);
}

/* ---- the host ---- */

static void test_addresses(void **state)
{
	struct fixture f;
	struct pci_addr a;

	start(&f);
	a = pci_sriov_vf_addr(f.func, 0);
	assert_true(a.domain == 0 && a.bus == 1 && a.dev == 0 && a.fn == 1);
	a = pci_sriov_vf_addr(f.func, 7);
	assert_true(a.bus == 1 && a.dev == 1 && a.fn == 0);
	pci_func_free(f.func);

	f.sriov.first_offset = 0x80;
	f.sriov.stride = 3;
	f.sriov.total_vfs = 4095;
	f.vf.bars[2].size = 0;
	f.sriov.vf_bar_sizes[2] = 0;
	f.func = make_func(&f.pf, NULL, NULL);
	assert_int_equal(pci_sriov_offset(f.func), 0x80);
	assert_int_equal(pci_sriov_stride(f.func), 3);
	a = pci_sriov_vf_addr(f.func, 4094); /* 0x100 + 0x80 + 0x2ffa */
	assert_true(a.bus == 0x31 && a.dev == 0xf && a.fn == 2);
	pci_func_free(f.func);
}

static void test_enable(void **state)
{
	struct pci_func *vf;
	struct fixture f;

	start(&f);
	vf = make_vf(f.func, 3);
	assert_int_equal(pci_vf_index(vf), 3);
	pci_hw_write(vf, PCI_COMMAND, 2, PCI_COMMAND_MASTER);
	assert_false(pci_memory_decoded(vf));
	assert_false(pci_bus_master(vf));

	assert_int_equal(pci_sriov_enable(f.func, 0), -EINVAL);
	assert_int_equal(pci_sriov_enable(f.func, TOTAL_VFS + 1), -EINVAL);
	assert_int_equal(pci_sriov_enable(vf, 1), -EINVAL);
	assert_int_equal(pci_sriov_enable(f.func, TOTAL_VFS), 0);
	assert_int_equal(pci_sriov_enable(f.func, 1), -EBUSY);
	assert_int_equal(pci_sriov_num_vfs(f.func), TOTAL_VFS);
	assert_int_equal(get(&f, PCI_SRIOV_NUM_VF, 2), TOTAL_VFS);
	assert_int_equal(get(&f, PCI_SRIOV_CTRL, 2), BOTH);
	assert_true(pci_memory_decoded(vf));
	assert_true(pci_bus_master(vf));
	assert_int_equal(f.changes, 0);

	/* The VF's memory goes by the PF's bit, its DMA by VF Enable, and both are told of. */
	put(&f, PCI_SRIOV_CTRL, 2, VFE);
	assert_false(pci_memory_decoded(vf));
	assert_true(pci_memory_enabled(vf)); /* as software may think */
	assert_true(pci_bus_master(vf));
	assert_int_equal(f.changes, 1);
	put(&f, PCI_SRIOV_CTRL, 2, MSE);
	assert_false(pci_memory_decoded(vf));
	assert_false(pci_bus_master(vf));
	assert_int_equal(f.changes, 2);
	put(&f, PCI_SRIOV_CTRL, 2, MSE);
	assert_int_equal(f.changes, 2);
	put(&f, PCI_SRIOV_CTRL, 2, VFE | MSE);
	assert_true(pci_memory_decoded(vf) && pci_bus_master(vf));
	/* The host knows how many there are, whatever is written. */
	assert_int_equal(pci_sriov_num_vfs(f.func), TOTAL_VFS);

	pci_sriov_disable(f.func);
	assert_int_equal(get(&f, PCI_SRIOV_CTRL, 2) & (VFE | MSE), 0);
	assert_int_equal(get(&f, PCI_SRIOV_NUM_VF, 2), 0);
	assert_int_equal(pci_sriov_num_vfs(f.func), 0);
	assert_false(pci_memory_decoded(vf));

	/* A VF may outlive its PF. */
	pci_func_free(f.func);
	assert_false(pci_memory_decoded(vf));
	pci_func_free(vf);
}

/* A reset clears the registers; restoring puts back what the host set, and nobody else. */
static void test_reset(void **state)
{
	uint8_t saved[PCI_EXT_CONFIG_SIZE];
	struct pci_func *vf;
	struct fixture f;

	start(&f);
	pci_sriov_set_bar_address(f.func, 0, VF_BAR);
	assert_int_equal(pci_sriov_bar_address(f.func, 0), VF_BAR);
	assert_int_equal(get(&f, PCI_SRIOV_BAR + 4, 4), VF_BAR >> 32);
	assert_int_equal(pci_sriov_enable(f.func, 4), 0);
	vf = make_vf(f.func, 0);
	pci_hw_save(f.func, saved);
	pci_hw_reset(f.func, UVFIO_RESET_FUNCTION);
	assert_int_equal(get(&f, PCI_SRIOV_CTRL, 2), 0);
	assert_int_equal(get(&f, PCI_SRIOV_NUM_VF, 2), 0);
	assert_int_equal(get(&f, PCI_SRIOV_BAR + 4, 4), 0);
	assert_false(pci_memory_decoded(vf));
	pci_hw_restore(f.func, saved);
	assert_int_equal(get(&f, PCI_SRIOV_CTRL, 2), BOTH);
	assert_int_equal(get(&f, PCI_SRIOV_NUM_VF, 2), 4);
	assert_int_equal(get(&f, PCI_SRIOV_BAR, 4), 4);
	assert_int_equal(get(&f, PCI_SRIOV_BAR + 4, 4), VF_BAR >> 32);
	assert_true(pci_memory_decoded(vf));

	/* What was written behind the host's back is not put back, and goes only by a reset. */
	put(&f, PCI_SRIOV_CTRL, 2, VFE);
	pci_hw_save(f.func, saved);
	pci_hw_restore(f.func, saved);
	assert_int_equal(get(&f, PCI_SRIOV_CTRL, 2), VFE);
	pci_hw_reset(f.func, UVFIO_RESET_BUS);
	pci_hw_restore(f.func, saved);
	assert_int_equal(get(&f, PCI_SRIOV_CTRL, 2), BOTH);

	/* D3hot by software: VFs cannot be reached; back in D0 the host restores nothing. */
	put(&f, pci_find_cap(f.func, PCI_CAP_ID_PM) + PCI_PM_CTRL - f.pos, 2, 3);
	assert_int_equal(pci_power_state(f.func), 3);
	assert_false(pci_memory_decoded(vf));
	put(&f, pci_find_cap(f.func, PCI_CAP_ID_PM) + PCI_PM_CTRL - f.pos, 2, 0);
	assert_int_equal(get(&f, PCI_SRIOV_CTRL, 2), 0);
	assert_false(pci_memory_decoded(vf));
	/* By the host it does. */
	assert_int_equal(pci_set_power_state(f.func, 3), 0);
	assert_int_equal(pci_set_power_state(f.func, 0), 0);
	assert_int_equal(get(&f, PCI_SRIOV_CTRL, 2), BOTH);
	assert_true(pci_memory_decoded(vf));
	pci_func_free(vf);
	pci_func_free(f.func);
}

/* ---- a VF ---- */

static void test_vf_header(void **state)
{
	static const struct {
		unsigned off, size;
		uint32_t value, ones;
	} rows[] = {
		{PCI_VENDOR_ID, 4, 0xffffffff, 0xffffffff},
		{PCI_COMMAND, 2, 0, PCI_COMMAND_MASTER},
		{PCI_STATUS, 2, PCI_STATUS_CAP_LIST, PCI_STATUS_CAP_LIST},
		{PCI_CLASS_REVISION, 4, 0x01080202, 0x01080202}, /* the PF's */
		{PCI_CACHE_LINE_SIZE, 4, 0, 0},
		{PCI_BASE_ADDRESS_0, 4, 0, 0},
		{PCI_BASE_ADDRESS_1, 4, 0, 0},
		{PCI_BASE_ADDRESS_2, 4, 0, 0},
		{PCI_BASE_ADDRESS_3, 4, 0, 0},
		{PCI_BASE_ADDRESS_4, 4, 0, 0},
		{PCI_BASE_ADDRESS_5, 4, 0, 0},
		{PCI_SUBSYSTEM_VENDOR_ID, 4, 0x11001af4, 0x11001af4},
		{PCI_ROM_ADDRESS, 4, 0, 0},
		{PCI_INTERRUPT_LINE, 4, 0, 0},
	};
	const struct uvfio_pci_desc *desc;
	struct pci_func *vf;
	struct fixture f;

	start(&f);
	vf = make_vf(f.func, 19);
	pci_func_set_multifunction(vf);
	for (size_t i = 0; i < N(rows); i++) {
		assert_int_equal(pci_hw_read(vf, rows[i].off, rows[i].size), rows[i].value);
		pci_hw_write(vf, rows[i].off, rows[i].size, UINT32_MAX);
		if (pci_hw_read(vf, rows[i].off, rows[i].size) != rows[i].ones)
			fail_msg("%#x: %#x", rows[i].off,
				 pci_hw_read(vf, rows[i].off, rows[i].size));
	}
	assert_true(pci_is_vf(vf) && !pci_is_pf(vf));
	assert_true(pci_is_pf(f.func) && !pci_is_vf(f.func));
	desc = pci_func_desc(vf);
	assert_int_equal(desc->vendor, f.pf.vendor);
	assert_int_equal(desc->device, VF_DEVICE);
	assert_int_equal(desc->bars[0].size, 0x4000);
	assert_int_equal(desc->rom_size, 0);
	assert_null(desc->sriov);
	assert_int_equal(pci_find_ext_cap(vf, PCI_EXT_CAP_ID_SRIOV), 0);
	assert_int_not_equal(pci_find_ext_cap(vf, PCI_EXT_CAP_ID_ARI), 0);
	/* The PF's copy of what a VF is. */
	assert_int_equal(pci_func_desc(f.func)->sriov->vf->device, VF_DEVICE);

	desc = pci_func_desc(f.func);
	pci_func_free(vf);
	pci_func_free(f.func);
}

/* What a VF has of its own, and what of the capabilities is its PF's. */
static void test_vf_caps(void **state)
{
	struct pci_func *vf, *other;
	unsigned exp, aer, pm, vpd;
	uint32_t data;
	struct fixture f;

	start(&f);
	vf = make_vf(f.func, 0);
	other = make_vf(f.func, 1);
	assert_int_equal(pci_sriov_enable(f.func, 2), 0);
	exp = pci_find_cap(vf, PCI_CAP_ID_EXP);
	pci_hw_write(vf, exp + PCI_EXP_DEVCTL, 2, 0x7fff);
	assert_int_equal(pci_hw_read(vf, exp + PCI_EXP_DEVCTL, 2), 0);
	pci_hw_write(vf, exp + PCI_EXP_LNKCTL, 2, 0xffff);
	assert_int_equal(pci_hw_read(vf, exp + PCI_EXP_LNKCTL, 4), 0);
	pci_hw_write(vf, exp + PCI_EXP_DEVCTL2, 2, 0xffff);
	assert_int_equal(pci_hw_read(vf, exp + PCI_EXP_DEVCTL2, 2), 0);
	assert_int_equal(
		pci_hw_read(vf, exp + PCI_EXP_DEVCAP, 4),
		pci_hw_read(f.func, pci_find_cap(f.func, PCI_CAP_ID_EXP) + PCI_EXP_DEVCAP, 4));
	aer = pci_find_ext_cap(vf, PCI_EXT_CAP_ID_ERR);
	pci_hw_write(vf, aer + PCI_ERR_UNCOR_MASK, 4, UINT32_MAX);
	assert_int_equal(pci_hw_read(vf, aer + PCI_ERR_UNCOR_MASK, 4), 0);
	assert_int_equal(pci_hw_read(vf, aer + PCI_ERR_UNCOR_SEVER, 4), 0);

	/* Messages, a power state and vital product data of its own. */
	assert_int_equal(pci_msi_count(vf), 4);
	assert_int_equal(pci_msix_count(vf), 9);
	pci_set_irq_mode(vf, VFIO_PCI_MSIX_IRQ_INDEX, 9);
	assert_true(pci_msix_enabled(vf));
	assert_false(pci_msix_enabled(other));
	pm = pci_find_cap(vf, PCI_CAP_ID_PM);
	pci_hw_write(vf, pm + PCI_PM_CTRL, 2, 3);
	assert_int_equal(pci_power_state(vf), 3);
	assert_false(pci_memory_enabled(vf));
	assert_true(pci_memory_enabled(other));
	vpd = pci_find_cap(vf, PCI_CAP_ID_VPD);
	assert_int_not_equal(vpd, 0);
	assert_int_equal(pci_vpd_write(vf, 0, 0x5a), 0);
	assert_int_equal(pci_vpd_read(other, 0, &data), 0);
	assert_int_equal(data, 0x44434241);
	pci_func_free(vf);
	assert_int_equal(pci_msix_count(other), 9);
	pci_func_free(other);
	pci_func_free(f.func);
}

/* An error in a VF is told by what its PF's registers say. */
static void test_vf_errors(void **state)
{
	static const uint32_t header[4] = {1, 2, 3, 4};
	unsigned exp, aer;
	struct pci_func *vf;
	enum pci_aer_heard heard;
	struct fixture f;

	start(&f);
	vf = make_vf(f.func, 0);
	exp = pci_find_cap(f.func, PCI_CAP_ID_EXP);
	aer = pci_find_ext_cap(f.func, PCI_EXT_CAP_ID_ERR);
	assert_int_equal(pci_aer_report(vf, false, PCI_ERR_UNC_COMP_TIME, header, &heard), 0);
	assert_int_equal(heard, PCI_AER_NOTHING);
	pci_hw_write(f.func, exp + PCI_EXP_DEVCTL, 2, PCI_EXP_DEVCTL_NFERE);
	assert_int_equal(pci_aer_report(vf, false, PCI_ERR_UNC_COMP_TIME, header, &heard), 0);
	assert_int_equal(heard, PCI_AER_NONFATAL);
	pci_hw_write(f.func, aer + PCI_ERR_UNCOR_MASK, 4, PCI_ERR_UNC_COMP_TIME);
	assert_int_equal(pci_aer_report(vf, false, PCI_ERR_UNC_COMP_TIME, header, &heard), 0);
	assert_int_equal(heard, PCI_AER_NOTHING);
	/* The first one's packet is the VF's own record. */
	aer = pci_find_ext_cap(vf, PCI_EXT_CAP_ID_ERR);
	assert_int_equal(pci_hw_read(vf, aer + PCI_ERR_HEADER_LOG + 4, 4), 2);
	pci_hw_write(f.func, pci_find_ext_cap(f.func, PCI_EXT_CAP_ID_ERR) + PCI_ERR_UNCOR_SEVER, 4,
		     PCI_ERR_UNC_UNX_COMP);
	pci_hw_write(f.func, PCI_COMMAND, 2, PCI_COMMAND_SERR);
	assert_int_equal(pci_aer_report(vf, false, PCI_ERR_UNC_UNX_COMP, header, &heard), 0);
	assert_int_equal(heard, PCI_AER_FATAL);
	pci_func_free(vf);
	pci_func_free(f.func);
}

/* ---- descriptions ---- */

static void test_refused(void **state)
{
	struct fixture f;
	struct pci_func *func;
	struct uvfio_error err;

#define REFUSED(word, ...)                                                                         \
	do {                                                                                       \
		f.vf = vf_desc();                                                                  \
		f.sriov = sriov_desc(&f.vf);                                                       \
		f.pf = full_desc();                                                                \
		f.pf.sriov = &f.sriov;                                                             \
		__VA_ARGS__;                                                                       \
		err.msg[0] = 0;                                                                    \
		assert_int_equal(pci_func_new(&f.pf, &test_addr, NULL, NULL, &func, &err),         \
				 -EINVAL);                                                         \
		if (!strstr(err.msg, word))                                                        \
			fail_msg("\"%s\" does not say \"%s\"", err.msg, word);                     \
	} while (0)
	REFUSED("needs `pcie`", f.pf.pcie = f.pf.flr = false, f.pf.serial = 0);
	REFUSED("0 VFs", f.sriov.total_vfs = 0);
	REFUSED("4096 VFs", f.sriov.total_vfs = 4096);
	REFUSED("without a description", f.sriov.vf = NULL);
	REFUSED("cannot have VFs", f.vf.sriov = &f.sriov);
	REFUSED("as their PF", f.vf.pcie = f.vf.flr = false);
	REFUSED("the VFs: the size of BAR 0", f.vf.bars[0].size = 100);
	REFUSED("is I/O", f.vf.bars[4] = ((struct uvfio_bar_desc){32, UVFIO_BAR_IO}));
	REFUSED("a page", f.vf.bars[4] = ((struct uvfio_bar_desc){2048}));
	REFUSED("more than 2 GiB", f.vf.bars[4] = ((struct uvfio_bar_desc){128 << 20}));
	REFUSED("does not exist", f.sriov.vf_bar_sizes[4] = 1);
	REFUSED("1 MiB or more", f.sriov.vf_bar_sizes[0] = 1);
	REFUSED("1 TiB is the most", f.sriov.vf_bar_sizes[2] = 1 << 21);
	REFUSED("do not fit", f.sriov.vf_bar_sizes[2] = 1, f.vf.bars[2].size = 4 << 20,
		f.vf.msix_bar = 2, f.vf.msix_table = 1 << 20);
	REFUSED("behind bus 255", f.sriov.stride = 0xffff);
	REFUSED("built by the core",
		f.pf.caps = (&(struct uvfio_cap_desc){
			.extended = true,
			.id = PCI_EXT_CAP_ID_SRIOV,
			.len = 4,
			.data = (const uint8_t[4]){0},
		}),
		f.pf.nr_caps = 1);
#undef REFUSED
	/* There is no VF that the PF does not have. */
	start(&f);
	assert_int_equal(pci_func_new_vf(f.func, TOTAL_VFS, NULL, NULL, &func, &err), -EINVAL);
	assert_non_null(strstr(err.msg, "no VF 20 of 20"));
	pci_func_free(f.func);
}

/* Named capabilities lie where the description says; one that the model describes stays. */
static void test_named(void **state)
{
	static const uint8_t ari[4] = {0, 0x12};
	const struct uvfio_cap_desc caps[] = {
		{.extended = true, .id = PCI_EXT_CAP_ID_SRIOV, .offset = 0x100},
		{.extended = true, .id = 0x24, .offset = 0x400},
		{.extended = true, .version = 1, .id = PCI_EXT_CAP_ID_ARI, .len = 4, .data = ari},
	};
	struct pci_func *vf;
	struct fixture f;
	unsigned pos;

	start(&f);
	pci_func_free(f.func);
	f.pf.no_aer = true;
	f.pf.serial = 0;
	f.pf.caps = caps;
	f.pf.nr_caps = N(caps);
	f.vf.caps = &caps[2];
	f.vf.nr_caps = 1;
	f.func = make_func(&f.pf, NULL, NULL);
	assert_int_equal(pci_find_ext_cap(f.func, PCI_EXT_CAP_ID_SRIOV), 0x100);
	assert_int_equal(pci_find_ext_cap(f.func, 0x24), 0x400);
	pos = pci_find_ext_cap(f.func, PCI_EXT_CAP_ID_ARI);
	assert_int_equal(pci_hw_read(f.func, pos + 4, 2), 0x1200);
	assert_int_equal(pci_hw_read(f.func, 0x108, 2), ARI);
	vf = make_vf(f.func, 0);
	pos = pci_find_ext_cap(vf, PCI_EXT_CAP_ID_ARI);
	assert_int_equal(pci_hw_read(vf, pos + 4, 2), 0x1200);
	assert_int_equal(pci_find_ext_cap(vf, PCI_EXT_CAP_ID_ERR), 0); /* as its PF */
	pci_func_free(vf);
	pci_func_free(f.func);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_capability), cmocka_unit_test(test_locked),
		cmocka_unit_test(test_page_size),  cmocka_unit_test(test_resize),
		cmocka_unit_test(test_addresses),  cmocka_unit_test(test_enable),
		cmocka_unit_test(test_reset),      cmocka_unit_test(test_vf_header),
		cmocka_unit_test(test_vf_caps),    cmocka_unit_test(test_vf_errors),
		cmocka_unit_test(test_refused),    cmocka_unit_test(test_named),
	};

	return cmocka_run_group_tests_name("pci_sriov", tests, NULL, NULL);
}
