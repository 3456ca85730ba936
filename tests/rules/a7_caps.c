// SPDX-License-Identifier: BSD-3-Clause
/* A.7: the capabilities of the first 256 bytes: PM, PCI Express, MSI, MSI-X, AF. */
#include "facts.h"

static const uint32_t SET_EVENTFDS = VFIO_IRQ_SET_DATA_EVENTFD | VFIO_IRQ_SET_ACTION_TRIGGER;

/* Writes ones, zeros and its complement to @size bytes: nothing may change. */
static void see_fixed(struct t *t, const char *label, unsigned off, unsigned size)
{
	uint32_t before = cfg_read(t, off, size);
	bool kept = true;

	cfg_write(t, off, size, 0xffffffff);
	kept &= cfg_read(t, off, size) == before;
	cfg_write(t, off, size, 0);
	kept &= cfg_read(t, off, size) == before;
	cfg_write(t, off, size, ~before);
	kept &= cfg_read(t, off, size) == before;
	see_text(t, label, kept ? "fixed" : "changes", "fixed");
}

static void see_bits(struct t *t, const char *label, unsigned off, uint32_t mask, bool writable)
{
	uint32_t before = cfg_read(t, off, 2);

	cfg_write(t, off, 2, before ^ mask);
	see_text(t, label, cfg_read(t, off, 2) == before ? "fixed" : "changes",
		 writable ? "changes" : "fixed");
	cfg_write(t, off, 2, before);
}

/* ---- power management ------------------------------------------------------------------------ */

static void pm_events(struct t *t)
{
	see_hex(t, "support", cfg_read(t, t->f->pm + 2, 2) & 0xf800, 0);
	see_hex(t, "enable-status", cfg_read(t, t->f->pm + 4, 2) & 0x8100, 0);
	cfg_write(t, t->f->pm + 4, 2, 0x8100);
	see_hex(t, "after-write", cfg_read(t, t->f->pm + 4, 2) & 0x8100, 0);
	see_fixed(t, "capabilities", t->f->pm + 2, 2);
}

static void pm_states(struct t *t)
{
	unsigned pmcsr = t->f->pm + 4, caps = facts_get(t->f, t->f->pm + 2, 2);

	set_power(t, 3);
	see(t, "d3", cfg_read(t, pmcsr, 2) & 3, 3);
	if (t->f->raw)
		see(t, "raw-d3", raw_read(t, pmcsr, 2) & 3, 3);
	set_power(t, 0);
	see(t, "d0", cfg_read(t, pmcsr, 2) & 3, 0);
	set_power(t, 1);
	see_as(t, "d1", cfg_read(t, pmcsr, 2) & 3, caps & 0x200 ? 1 : 0, "if-supported");
	set_power(t, 0);
	set_power(t, 2);
	see_as(t, "d2", cfg_read(t, pmcsr, 2) & 3, caps & 0x400 ? 2 : 0, "if-supported");
}

static void pm_by_byte(struct t *t)
{
	unsigned pmcsr = t->f->pm + 4;

	cfg_write(t, pmcsr, 1, (cfg_read(t, pmcsr, 1) & ~3u) | 3);
	see(t, "d3", cfg_read(t, pmcsr, 2) & 3, 3);
	cfg_write(t, pmcsr + 1, 1, 0);
	see(t, "high-byte-leaves", cfg_read(t, pmcsr, 2) & 3, 3);
	cfg_write(t, pmcsr, 1, cfg_read(t, pmcsr, 1) & ~3u);
	see(t, "d0", cfg_read(t, pmcsr, 2) & 3, 0);
}

/* What the hardware forgets in D3hot comes back with D0. */
static void pm_config_restored(struct t *t)
{
	uint32_t bar = raw_read(t, 0x10, 4);

	cfg_write(t, 4, 2, 6);
	cfg_write(t, 0x0c, 1, 0x10);
	set_power(t, 3);
	set_power(t, 0);
	see_hex(t, "command", cfg_read(t, 4, 2) & 6, 6);
	see_true(t, "bar", raw_read(t, 0x10, 4) == bar);
	see_hex(t, "cache-line", cfg_read(t, 0x0c, 1), 0x10);
}

static void pm_in_d3_config(struct t *t)
{
	set_power(t, 3);
	see_as(t, "vendor", cfg_read(t, 0, 2), facts_get(t->f, 0, 2), "hardware");
	cfg_write(t, 0x3c, 1, 0x5c);
	see_hex(t, "line", cfg_read(t, 0x3c, 1), 0x5c);
}

/* ---- PCI Express ----------------------------------------------------------------------------- */

static void pcie_fixed(struct t *t)
{
	unsigned at = t->f->pcie;

	see_fixed(t, "caps", at + 2, 2);
	see_fixed(t, "devcap", at + 4, 4);
	see_fixed(t, "devsta", at + 0x0a, 2);
	see_fixed(t, "lnkcap", at + 0x0c, 4);
	see_fixed(t, "lnkctl", at + 0x10, 2);
	see_fixed(t, "lnksta", at + 0x12, 2);
}

static void pcie_version_2_fixed(struct t *t)
{
	unsigned at = t->f->pcie;

	if ((facts_get(t->f, at + 2, 2) & 0xf) < 2)
		skip(t, "the PCI Express capability is of version 1");
	see_fixed(t, "devcap2", at + 0x24, 4);
	see_fixed(t, "devsta2", at + 0x2a, 2);
	see_fixed(t, "lnkcap2", at + 0x2c, 4);
	see_fixed(t, "lnkctl2", at + 0x30, 2);
}

/* Error reporting, relaxed ordering, tags, auxiliary power and snooping are the hardware's. */
static void pcie_control(struct t *t)
{
	unsigned control = t->f->pcie + 8;
	uint32_t before = cfg_read(t, control, 2);

	cfg_write(t, control, 2, before ^ 0x0d1f);
	see_true(t, "complement-as-hardware",
		 !((cfg_read(t, control, 2) ^ raw_read(t, control, 2)) & 0x0d1f));
	cfg_write(t, control, 2, before);
	see_true(t, "back-as-hardware",
		 !((cfg_read(t, control, 2) ^ raw_read(t, control, 2)) & 0x0d1f));
	see_bits(t, "phantom", control, 0x200, false);
}

static void pcie_flr_reads_zero(struct t *t)
{
	unsigned control = t->f->pcie + 8;

	cfg_write(t, control, 2, cfg_read(t, control, 2) | 0x8000);
	see_bool(t, "by-word", cfg_read(t, control, 2) & 0x8000, false);
	cfg_write(t, control + 1, 1, 0x80 | cfg_read(t, control + 1, 1));
	see_bool(t, "by-byte", cfg_read(t, control, 2) & 0x8000, false);
	cfg_write(t, control, 4, cfg_read(t, control, 2) | 0x8000);
	see_bool(t, "by-dword", cfg_read(t, control, 2) & 0x8000, false);
}

/* The payload size is only remembered. */
static void pcie_payload(struct t *t)
{
	unsigned control = t->f->pcie + 8;
	uint32_t real = raw_read(t, control, 2) & 0xe0;
	uint32_t base = cfg_read(t, control, 2) & ~0xe0u;

	for (uint32_t size = 0; size <= 5; size++) {
		cfg_write(t, control, 2, base | size << 5);
		see_hex(t, "mps", (cfg_read(t, control, 2) & 0xe0) >> 5, size);
	}
	see_as(t, "raw", raw_read(t, control, 2) & 0xe0, real, "kept");
}

/* The read request size goes to hardware, but never below the payload size there. */
static void pcie_read_request(struct t *t)
{
	unsigned control = t->f->pcie + 8;
	uint32_t mps = (raw_read(t, control, 2) & 0xe0) >> 5,
		 base = cfg_read(t, control, 2) & ~0x7000u;
	uint32_t fixed = (raw_read(t, control, 2) & 0x7000) >> 12, raw;

	for (uint32_t size = 0; size <= 5; size++) {
		cfg_write(t, control, 2, base | size << 12);
		see_hex(t, "mrrs", (cfg_read(t, control, 2) & 0x7000) >> 12, size);
		/* A device may have only one size. */
		raw = (raw_read(t, control, 2) & 0x7000) >> 12;
		see_true(t, "raw", raw == (size > mps ? size : mps) || raw == fixed);
	}
}

static void pcie_ari(struct t *t)
{
	unsigned control2 = t->f->pcie + 0x28;

	if ((facts_get(t->f, t->f->pcie + 2, 2) & 0xf) < 2)
		skip(t, "the PCI Express capability is of version 1");
	see_bits(t, "ari", control2, 0x20, false);
}

/* ---- MSI ------------------------------------------------------------------------------------- */

static void msi_enable_refused(struct t *t)
{
	unsigned control = t->f->msi + 2;
	uint32_t before = cfg_read(t, control, 2);

	cfg_write(t, control, 2, before | 1);
	see_bool(t, "enable", cfg_read(t, control, 2) & 1, false);
	if (t->f->raw)
		see_bool(t, "raw", raw_read(t, control, 2) & 1, false);
	cfg_write(t, control, 2, before | 0x70);
	see(t, "multiple", (cfg_read(t, control, 2) & 0x70) >> 4, 0);
	see_as(t, "capable", cfg_read(t, control, 2) & 0x0e, (long)before & 0x0e, "hardware");
}

/* What was allocated once is the limit for good, until more is. */
static void msi_multiple_kept(struct t *t)
{
	unsigned control = t->f->msi + 2;
	int32_t fds[2] = {new_eventfd(t), new_eventfd(t)};

	must(t, "enable",
	     set_irqs(t, VFIO_PCI_MSI_IRQ_INDEX,
		      VFIO_IRQ_SET_DATA_EVENTFD | VFIO_IRQ_SET_ACTION_TRIGGER, 0, 2, fds));
	cfg_write(t, control, 2, cfg_read(t, control, 2) | 0x70);
	see(t, "while-enabled", (cfg_read(t, control, 2) & 0x70) >> 4, 1);
	see(t, "disable", irqs_off(t, VFIO_PCI_MSI_IRQ_INDEX), 0);
	cfg_write(t, control, 2, cfg_read(t, control, 2) & ~0x70u);
	see(t, "cleared", (cfg_read(t, control, 2) & 0x70) >> 4, 0);
	cfg_write(t, control, 2, cfg_read(t, control, 2) | 0x70);
	see(t, "disabled", (cfg_read(t, control, 2) & 0x70) >> 4, 1);
}

static void msi_message_virtual(struct t *t)
{
	unsigned at = t->f->msi;
	bool wide = facts_get(t->f, at + 2, 2) & 0x80;
	unsigned data = at + (wide ? 12 : 8);
	uint32_t address = raw_read(t, at + 4, 4), value = raw_read(t, data, 2);

	cfg_write(t, at + 4, 4, 0xfee01230);
	cfg_write(t, data, 2, 0x4321);
	see_hex(t, "address", cfg_read(t, at + 4, 4), 0xfee01230);
	see_hex(t, "data", cfg_read(t, data, 2), 0x4321);
	if (wide) {
		cfg_write(t, at + 8, 4, 0x12345678);
		see_hex(t, "upper", cfg_read(t, at + 8, 4), 0x12345678);
	}
	see_as(t, "raw-address", raw_read(t, at + 4, 4), address, "kept");
	see_as(t, "raw-data", raw_read(t, data, 2), value, "kept");
}

/* The bit reads what the user wrote to it, whatever SET_IRQS did to the hardware's. */
static void msi_enabled(struct t *t)
{
	unsigned control = t->f->msi + 2;
	int32_t fd = new_eventfd(t);

	must(t, "enable", set_irqs(t, VFIO_PCI_MSI_IRQ_INDEX, SET_EVENTFDS, 0, 1, &fd));
	see_bool(t, "unwritten", cfg_read(t, control, 2) & 1, false);
	see_bool(t, "raw", raw_read(t, control, 2) & 1, true);
	cfg_write(t, control, 2, cfg_read(t, control, 2) | 1);
	see_bool(t, "set", cfg_read(t, control, 2) & 1, true);
	cfg_write(t, control, 2, cfg_read(t, control, 2) & ~1u);
	see_bool(t, "cleared", cfg_read(t, control, 2) & 1, false);
	see_bool(t, "raw", raw_read(t, control, 2) & 1, false);
	cfg_write(t, control, 2, cfg_read(t, control, 2) | 0x71);
	see(t, "multiple", (cfg_read(t, control, 2) & 0x70) >> 4, 0);
	see_bool(t, "raw", raw_read(t, control, 2) & 1, true);
	must(t, "disable", irqs_off(t, VFIO_PCI_MSI_IRQ_INDEX));
	see_bool(t, "raw", raw_read(t, control, 2) & 1, false);
	cfg_write(t, control, 2, cfg_read(t, control, 2) | 1);
	see_bool(t, "refused-again", cfg_read(t, control, 2) & 1, false);
}

/* ---- MSI-X ----------------------------------------------------------------------------------- */

static void msix_fixed(struct t *t)
{
	unsigned at = t->f->msix;

	see_fixed(t, "control", at + 2, 2);
	see_fixed(t, "table", at + 4, 4);
	see_fixed(t, "pending", at + 8, 4);
	see_fixed(t, "control-byte", at + 3, 1);
	if (t->f->raw)
		see_hex(t, "raw", raw_read(t, at + 2, 2) & 0xc000, 0);
}

static void msix_enabled_fixed(struct t *t)
{
	unsigned control = t->f->msix + 2;
	int32_t fd = new_eventfd(t);

	must(t, "enable", set_irqs(t, VFIO_PCI_MSIX_IRQ_INDEX, SET_EVENTFDS, 0, 1, &fd));
	see_hex(t, "enabled", cfg_read(t, control, 2) & 0xc000, 0x8000);
	see_fixed(t, "control", control, 2);
	must(t, "disable", irqs_off(t, VFIO_PCI_MSIX_IRQ_INDEX));
	see_hex(t, "disabled", cfg_read(t, control, 2) & 0xc000, 0);
}

static void msix_table_place(struct t *t)
{
	unsigned at = t->f->msix;

	see_as(t, "count", cfg_read(t, at + 2, 2) & 0x7ff, t->f->msix_count - 1, "hardware");
	see_as(t, "table", cfg_read(t, at + 4, 4), facts_get(t->f, at + 4, 4), "hardware");
	see_as(t, "pending", cfg_read(t, at + 8, 4), facts_get(t->f, at + 8, 4), "hardware");
}

/* ---- others ---------------------------------------------------------------------------------- */

static void af_bits(struct t *t)
{
	unsigned at = t->f->af;

	if (!at)
		skip(t, "the device has no advanced features capability");
	see_fixed(t, "caps", at + 2, 2);
	cfg_write(t, at + 4, 1, 1);
	see_hex(t, "flr-reads", cfg_read(t, at + 4, 1) & 1, 0);
}

/* Resets as FLR does (A.5): what is in config space stays. */
static void af_reset(struct t *t)
{
	if (!t->f->af || (facts_get(t->f, t->f->af + 3, 1) & 3) != 3)
		skip(t, "the device has no reset by advanced features");
	cfg_write(t, 4, 2, 6);
	cfg_write(t, 0x0c, 1, 0x08);
	cfg_write(t, 0x3c, 1, 0x5c);
	cfg_write(t, t->f->af + 4, 1, 1);
	see_hex(t, "flr-reads", cfg_read(t, t->f->af + 4, 1) & 1, 0);
	see_hex(t, "command", cfg_read(t, 4, 2) & 0x406, 6);
	see_hex(t, "cache-line", cfg_read(t, 0x0c, 1), 0x08);
	see_hex(t, "line", cfg_read(t, 0x3c, 1), 0x5c);
}

/* The flag that the hardware sets when data has come, within a second. */
static bool vpd_done(struct t *t)
{
	for (int i = 0; i < 1000; i++) {
		if (cfg_read(t, t->f->vpd + 2, 2) & 0x8000)
			return true;
		usleep(1000);
	}
	return false;
}

static void vpd_read(struct t *t)
{
	unsigned at = t->f->vpd;
	uint32_t first;

	if (!at)
		skip(t, "the device has no vital product data");
	cfg_write(t, at + 2, 2, 0);
	see_true(t, "word", vpd_done(t));
	first = cfg_read(t, at + 4, 4);
	/* The low byte alone is only remembered, the high one makes the transfer. */
	cfg_write(t, at + 2, 1, 4);
	see_hex(t, "low-byte", cfg_read(t, at + 2, 2), 0x8004);
	cfg_write(t, at + 2, 1, 0);
	cfg_write(t, at + 3, 1, 0);
	see_true(t, "high-byte", vpd_done(t));
	see_true(t, "same", cfg_read(t, at + 4, 4) == first);
	/* Data can be written, and is the copy's until a transfer. */
	cfg_write(t, at + 4, 4, ~first);
	see_true(t, "data-kept", cfg_read(t, at + 4, 4) == ~first);
	cfg_write(t, at + 2, 2, 0);
	see_true(t, "again", vpd_done(t));
	see_true(t, "read-anew", cfg_read(t, at + 4, 4) == first);
	if (t->f->raw)
		see_fixed(t, "head", at, 2);
}

static const struct rule rules[] = {
	{"A.7/PM/events", OPEN_DEVICE, NEED_PM, pm_events},
	{"A.7/PM/states", OPEN_DEVICE, NEED_PM, pm_states},
	{"A.7/PM/by-byte", OPEN_DEVICE, NEED_PM, pm_by_byte},
	{"A.7/PM/config-restored", OPEN_DEVICE, NEED_PM | NEED_RAW, pm_config_restored},
	{"A.7/PM/config-in-d3", OPEN_DEVICE, NEED_PM, pm_in_d3_config},
	{"A.7/EXP/fixed", OPEN_DEVICE, NEED_PCIE, pcie_fixed},
	{"A.7/EXP/version-2-fixed", OPEN_DEVICE, NEED_PCIE, pcie_version_2_fixed},
	{"A.7/EXP/control", OPEN_DEVICE, NEED_PCIE | NEED_RAW, pcie_control},
	{"A.7/EXP/flr-reads-zero", OPEN_DEVICE, NEED_PCIE | NEED_FLR, pcie_flr_reads_zero},
	{"A.7/EXP/payload-size", OPEN_DEVICE, NEED_PCIE | NEED_RAW, pcie_payload},
	{"A.7/EXP/read-request-size", OPEN_DEVICE, NEED_PCIE | NEED_RAW, pcie_read_request},
	{"A.7/EXP/ari", OPEN_DEVICE, NEED_PCIE, pcie_ari},
	{"A.7/MSI/enable-refused", OPEN_DEVICE, NEED_MSI, msi_enable_refused},
	{"A.7/MSI/multiple-kept", OPEN_DEVICE, NEED_MSI2, msi_multiple_kept},
	{"A.7/MSI/message-virtual", OPEN_DEVICE, NEED_MSI | NEED_RAW, msi_message_virtual},
	{"A.7/MSI/enabled", OPEN_DEVICE, NEED_MSI | NEED_RAW, msi_enabled},
	{"A.7/MSI-X/fixed", OPEN_DEVICE, NEED_MSIX, msix_fixed},
	{"A.7/MSI-X/fixed-while-enabled", OPEN_DEVICE, NEED_MSIX, msix_enabled_fixed},
	{"A.7/MSI-X/table-place", OPEN_DEVICE, NEED_MSIX, msix_table_place},
	{"A.7/AF/bits", OPEN_DEVICE, 0, af_bits},
	{"A.7/AF/keeps-config", OPEN_DEVICE, 0, af_reset},
	{"A.7/VPD/read", OPEN_DEVICE, 0, vpd_read},
};
const struct section section_a7_caps = SECTION("A.7", rules);
