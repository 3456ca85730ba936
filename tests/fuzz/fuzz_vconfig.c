/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Config-space virtualisation (A.7) under any sequence of accesses, on functions of several shapes
 * with capabilities of any content.  What must hold whatever the user writes:
 *
 * - MSI-X Enable and Function Mask, and SR-IOV Control, are not the user's;
 * - MSI is enabled in hardware only while SET_IRQS has it active, with no more vectors than it got;
 * - real BARs, ids, DisINTx, MSI address and data, and MPS in hardware are not the user's; of a
 * VF's COMMAND bus mastering is, alone;
 * - nothing of SR-IOV is, on a PF;
 * - out of range is EFAULT, everything else succeeds;
 * - one read of many bytes is the same as many reads of one byte.
 */
#include <errno.h>
#include <linux/pci_regs.h>
#include <linux/vfio.h>
#include <stdlib.h>
#include <string.h>

#include "input.h"
#include "pci/sriov.h"
#include "pci/vconfig.h"

struct user {
	struct pci_func *func;
	bool msi_active;
	unsigned msi_log2;
	unsigned flags;                          /* PCI_VCONFIG_… */
	uint8_t sriov[PCI_EXT_CAP_SRIOV_SIZEOF]; /* of a PF, as it was to begin with */
};

/* Bits of the byte that has the flags, too. */
#define IS_VF (1u << 6)
#define IS_PF (1u << 7)

static void intx_disable(void *arg, bool disabled)
{
}

static void memory(void *arg, bool enabled)
{
}

static void flr(void *arg)
{
	struct user *u = arg;
	uint8_t saved[PCI_EXT_CONFIG_SIZE];

	pci_hw_save(u->func, saved);
	pci_hw_reset(u->func, UVFIO_RESET_FUNCTION);
	pci_hw_restore(u->func, saved);
}

static bool msi_active(void *arg, unsigned *log2)
{
	struct user *u = arg;

	*log2 = u->msi_log2;
	return u->msi_active;
}

static void power(void *arg, unsigned state)
{
	pci_set_power_state(((struct user *)arg)->func, state);
}

static const struct pci_vconfig_ops ops = {
	.intx_disable = intx_disable,
	.memory = memory,
	.flr = flr,
	.msi_active = msi_active,
	.power = power,
};

/* A VF of @desc, which outlives its PF. */
static struct pci_func *make_vf(struct uvfio_pci_desc *desc, const struct pci_addr *addr)
{
	const struct uvfio_sriov_desc sriov = {.total_vfs = 4, .vf_device = 0x5678, .vf = desc};
	const struct uvfio_pci_desc of_pf = {.vendor = 0x1234, .pcie = true, .sriov = &sriov};
	struct pci_func *pf, *vf = NULL;

	desc->bars[2].size = 0;
	if (pci_func_new(&of_pf, addr, NULL, NULL, &pf, NULL))
		return NULL;
	CHECK(pci_func_new_vf(pf, 3, NULL, NULL, &vf, NULL) == 0);
	CHECK(pci_sriov_enable(pf, 4) == 0);
	pci_func_free(pf);
	return vf;
}

static void read_sriov(struct pci_func *pf, uint8_t bytes[PCI_EXT_CAP_SRIOV_SIZEOF])
{
	unsigned pos = pci_find_ext_cap(pf, PCI_EXT_CAP_ID_SRIOV);

	for (unsigned i = 0; i < PCI_EXT_CAP_SRIOV_SIZEOF; i++)
		bytes[i] = (uint8_t)pci_hw_read(pf, pos + i, 1);
}

/* A PF of @desc, with VFs; their BAR 0 can be resized. */
static struct pci_func *make_pf(struct uvfio_pci_desc *desc, const struct pci_addr *addr,
				struct user *u)
{
	const struct uvfio_pci_desc vf = {.bars[0] = {.size = 1 << 20}, .pcie = true};
	const struct uvfio_sriov_desc sriov = {
		.total_vfs = 4, .vf_device = 0x5678, .vf = &vf, .vf_bar_sizes = {7}};
	struct pci_func *pf;

	desc->sriov = &sriov;
	if (pci_func_new(desc, addr, NULL, NULL, &pf, NULL))
		return NULL;
	pci_sriov_set_bar_address(pf, 0, 0xc0000000);
	CHECK(pci_sriov_enable(pf, 3) == 0);
	read_sriov(pf, u->sriov);
	return pf;
}

/* Capability ids that the input may choose, with any contents and all of it writable. */
static struct pci_func *make(struct input *in, const uint8_t *all, struct user *u)
{
	static const struct pci_addr addr = {0, 1, 0, 0};
	static const uint32_t vpd[4] = {1, 2, 3, 4};
	uint8_t data[4][64];
	struct uvfio_cap_desc caps[4];
	uint32_t shape = take(in, 2);
	struct uvfio_pci_desc desc = {
		.vendor = 0x1234,
		.device = 0x5678,
		.interrupt_pin = 1,
		.bars[0] = {.size = 0x10000, .flags = UVFIO_BAR_MEM64},
		.bars[2] = {.size = 32, .flags = UVFIO_BAR_IO},
		.rom_size = shape & 1 ? 4096 : 0,
		.pcie = shape & 2,
		.flr = (shape & 2) && (shape & 4),
		.pm = true,
		.no_soft_reset = shape & 8,
		.msi_vectors = 1u << (shape >> 4) % 6,
		.msi_masking = shape & 128,
		.msix_vectors = 33,
		.msix_table = 0x4000,
		.msix_pba = 0x8000,
		.vpd = vpd,
		.vpd_len = sizeof(vpd),
		.vpd_rw = 8,
		.caps = caps,
		.nr_caps = (shape >> 8) % 5,
	};
	struct pci_func *func;
	unsigned kind;

	for (unsigned i = 0; i < desc.nr_caps; i++) {
		uint32_t what = take(in, 2);
		unsigned len = 4 + (what >> 8) % 56;

		caps[i] = (struct uvfio_cap_desc){
			.extended = desc.pcie && (what & 128),
			.version = 1,
			.len = (uint16_t)len,
			.data = data[i],
			.wmask = all,
		};
		caps[i].id = caps[i].extended ? 1 + what % 0x30 : 1 + what % 0x16;
		for (unsigned n = 0; n < len; n++)
			data[i][n] = (uint8_t)take(in, 1);
	}
	kind = take(in, 1);
	u->flags = kind & PCI_VCONFIG_NO_INTX;
	if (desc.pcie && kind & IS_VF)
		return make_vf(&desc, &addr);
	if (desc.pcie && kind & IS_PF)
		return make_pf(&desc, &addr, u);
	return pci_func_new(&desc, &addr, NULL, NULL, &func, NULL) ? NULL : func;
}

static void check(const struct user *u, uint32_t mps)
{
	unsigned msi = pci_find_cap(u->func, PCI_CAP_ID_MSI);
	unsigned msix = pci_find_cap(u->func, PCI_CAP_ID_MSIX);
	unsigned exp = pci_find_cap(u->func, PCI_CAP_ID_EXP);
	unsigned flags = pci_hw_read(u->func, msi + PCI_MSI_FLAGS, 2);

	bool vf = pci_is_vf(u->func);
	uint8_t sriov[PCI_EXT_CAP_SRIOV_SIZEOF];

	CHECK(pci_hw_read(u->func, PCI_VENDOR_ID, 4) == (vf ? UINT32_MAX : 0x56781234));
	CHECK(pci_hw_read(u->func, PCI_BASE_ADDRESS_0, 4) == (vf ? 0 : 0xfe000004));
	CHECK(pci_hw_read(u->func, PCI_BASE_ADDRESS_2, 4) == (vf ? 0 : 0xc001));
	CHECK(!vf || !(pci_hw_read(u->func, PCI_COMMAND, 2) & ~(unsigned)PCI_COMMAND_MASTER));
	if (pci_is_pf(u->func)) {
		read_sriov(u->func, sriov);
		/* Behind the link, which its head has. */
		CHECK(!memcmp(sriov + 4, u->sriov + 4, sizeof(sriov) - 4));
		CHECK(pci_sriov_bar_size(u->func, 0) == 1 << 20);
	}
	CHECK(!(pci_hw_read(u->func, PCI_COMMAND, 2) & PCI_COMMAND_INTX_DISABLE));
	CHECK(pci_hw_read(u->func, msix + PCI_MSIX_FLAGS, 2) == 32);
	CHECK(u->msi_active || !(flags & PCI_MSI_FLAGS_ENABLE));
	CHECK((flags & PCI_MSI_FLAGS_QSIZE) >> 4 <= u->msi_log2);
	CHECK(pci_hw_read(u->func, msi + PCI_MSI_ADDRESS_LO, 4) == 0);
	CHECK(pci_hw_read(u->func, msi + PCI_MSI_DATA_64, 2) == 0);
	if (exp)
		CHECK((pci_hw_read(u->func, exp + PCI_EXP_DEVCTL, 2) & PCI_EXP_DEVCTL_PAYLOAD) ==
		      mps);
}

static void access_once(struct pci_vconfig *vc, unsigned size, struct input *in)
{
	uint32_t op = take(in, 1);
	uint64_t off = take(in, 2) % (size + 8);
	size_t len = op % 12;
	uint8_t buf[16] = {0}, byte[16];
	bool out = len && (off >= size || len > size - off);
	ssize_t want = out ? -EFAULT : (ssize_t)len;

	if (op & 128) {
		for (size_t i = 0; i < len; i++)
			buf[i] = (uint8_t)take(in, 1);
		CHECK(pci_vconfig_write(vc, off, buf, len) == want);
		return;
	}
	CHECK(pci_vconfig_read(vc, off, buf, len) == want);
	for (size_t i = 0; !out && i < len; i++) {
		CHECK(pci_vconfig_read(vc, off + i, byte, 1) == 1);
		CHECK(byte[0] == buf[i]);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct input in = {data, len};
	struct pci_vconfig *vc;
	uint8_t all[64];
	struct user u = {0};
	uint32_t mps;
	unsigned exp;

	memset(all, 0xff, sizeof(all));
	u.func = make(&in, all, &u);
	if (!u.func)
		return -1;
	pci_hw_write(u.func, PCI_BASE_ADDRESS_0, 4, 0xfe000000);
	pci_hw_write(u.func, PCI_BASE_ADDRESS_2, 4, 0xc000);
	exp = pci_find_cap(u.func, PCI_CAP_ID_EXP);
	if (exp)
		pci_hw_write(u.func, exp + PCI_EXP_DEVCTL, 2, 0x2830);
	mps = exp && !pci_is_vf(u.func) ? 0x20 : 0;
	CHECK(pci_vconfig_new(u.func, u.flags, &ops, &u, &vc) == 0);
	while (in.left) {
		switch (take(&in, 1) % 16) {
		case 0: /* SET_IRQS */
			u.msi_log2 = take(&in, 1) % 4;
			u.msi_active = true;
			pci_set_irq_mode(u.func, VFIO_PCI_MSI_IRQ_INDEX, 1u << u.msi_log2);
			break;
		case 1:
			u.msi_active = false;
			pci_set_irq_mode(u.func, -1, 0);
			break;
		default:
			access_once(vc, pci_func_config_size(u.func), &in);
		}
		check(&u, mps);
	}
	pci_vconfig_free(vc);
	pci_func_free(u.func);
	return 0;
}
