// SPDX-License-Identifier: BSD-3-Clause
/* A.6 to A.8 of a virtual function: what of it is not as of other functions. */
#include <fcntl.h>
#include "d3.h"
#include "sriov.h"

/* A VF whose PF is another driver's, open; t and @f are the VF's from now on. */
static void open_vf(struct t *t, struct sriov *s, struct facts *f)
{
	long dev;

	sriov_ready(t, s, PF_STUB, 2);
	need_own_groups(t, s);
	dev = fn_open(t, BY_GROUP, &s->vf[0], NULL);
	must(t, "vf", dev);
	fn_facts(t, &s->vf[0], (int)dev, f);
}

static void ids(struct t *t)
{
	const struct facts *pf = t->f;
	struct facts f;
	struct sriov s;
	char buf[64];
	long device;

	open_vf(t, &s, &f);
	device = strtol(fn_read(s.pf.bdf, "sriov_vf_device", buf), NULL, 16);
	see_as(t, "vendor", cfg_read(t, 0, 2), facts_get(pf, 0, 2), "pf");
	see_as(t, "device", cfg_read(t, 2, 2), device, "sriov_vf_device");
	see_hex(t, "hardware", raw_read(t, 0, 4), 0xffffffff);
	cfg_write(t, 0, 4, 0x12345678);
	see_as(t, "vendor", cfg_read(t, 0, 2), facts_get(pf, 0, 2), "pf");
	see_as(t, "device", cfg_read(t, 2, 2), device, "sriov_vf_device");
	see_as(t, "file-vendor", fn_number(s.vf[0].bdf, "vendor"), facts_get(pf, 0, 2), "pf");
	see_as(t, "file-device", fn_number(s.vf[0].bdf, "device"), device, "sriov_vf_device");
}

/*
 * Memory decode is the PF's.  The bit is set for the user to begin with and as it is written then,
 * and says nothing.  (Hardware's own is not looked at: that of QEMU's VFs can be set.)
 */
static void command(struct t *t)
{
	struct facts f;
	struct sriov s;

	open_vf(t, &s, &f);
	see_hex(t, "initial", cfg_read(t, 4, 2) & 7, 2);
	see_hex(t, "hardware", raw_read(t, 4, 2) & 5, 0);
	cfg_write(t, 4, 2, 0);
	see_hex(t, "cleared", cfg_read(t, 4, 2) & 7, 0);
	cfg_write(t, 4, 2, 2);
	see_hex(t, "set", cfg_read(t, 4, 2) & 7, 2);
	cfg_write(t, 4, 2, 6);
	see_hex(t, "master", cfg_read(t, 4, 2) & 7, 6);
	see_hex(t, "hardware", raw_read(t, 4, 2) & 5, 4);
	cfg_write(t, 4, 2, 4);
	see_hex(t, "memory-cleared", cfg_read(t, 4, 2) & 7, 4);
	cfg_write(t, 4, 2, 0x400);
	see_hex(t, "disable", cfg_read(t, 4, 2) & 0x406, 0x400);
}

/* … and so it is there, whatever is written. */
static void memory(struct t *t)
{
	struct facts f;
	struct sriov s;
	uint32_t value;
	uint32_t *p;

	open_vf(t, &s, &f);
	if (f.bar_index < 0)
		skip(t, "the virtual function has no memory BAR");
	see(t, "read", bar_pread32(t, &value), 4);
	cfg_write(t, 4, 2, 0);
	see(t, "read-memory-off", bar_pread32(t, &value), 4);
	if (!f.bar[f.bar_index].mappable)
		return;
	p = map_bar(t, PROT_READ);
	see(t, "mapped", touch(p, NULL), 0);
	cfg_write(t, 4, 2, 0);
	see(t, "mapped-memory-off", touch(p, NULL), 0);
}

static void interrupts(struct t *t)
{
	struct facts f;
	struct sriov s;

	open_vf(t, &s, &f);
	see(t, "pin", cfg_read(t, 0x3d, 1), 0);
	see(t, "intx", irq_count(t, VFIO_PCI_INTX_IRQ_INDEX), 0);
	cfg_write(t, 0x3d, 1, 1);
	see(t, "pin-written", cfg_read(t, 0x3d, 1), 0);
	cfg_write(t, 0x3c, 1, 0xa5);
	see_hex(t, "line", cfg_read(t, 0x3c, 1), 0xa5);
	see(t, "request", irq_count(t, VFIO_PCI_REQ_IRQ_INDEX), 1);
	see(t, "error", irq_count(t, VFIO_PCI_ERR_IRQ_INDEX), 1);
}

static void msix(struct t *t)
{
	const uint32_t set = VFIO_IRQ_SET_DATA_EVENTFD | VFIO_IRQ_SET_ACTION_TRIGGER;
	struct facts f;
	struct sriov s;
	int32_t fd;

	open_vf(t, &s, &f);
	if (!f.msix)
		skip(t, "the virtual function has no MSI-X");
	fd = new_eventfd(t);
	see_as(t, "count", irq_count(t, VFIO_PCI_MSIX_IRQ_INDEX),
	       (raw_read(t, f.msix + 2, 2) & 0x7ff) + 1, "table");
	see(t, "enable", set_irqs(t, VFIO_PCI_MSIX_IRQ_INDEX, set, 0, 1, &fd), 0);
	see_hex(t, "control", cfg_read(t, f.msix + 2, 2) & 0xc000, 0x8000);
	see_hex(t, "hardware", raw_read(t, f.msix + 2, 2) & 0xc000, 0x8000);
	see(t, "disable", irqs_off(t, VFIO_PCI_MSIX_IRQ_INDEX), 0);
	see_hex(t, "hardware", raw_read(t, f.msix + 2, 2) & 0xc000, 0);
}

/* The VF's own registers for addresses are zeros: the PF's say where its memory is. */
static void bars(struct t *t)
{
	char label[32];
	struct facts f;
	struct sriov s;
	int found = 0;

	open_vf(t, &s, &f);
	for (unsigned i = 0; i < 6; i++) {
		unsigned reg = 0x10 + 4 * i;
		uint64_t size = f.bar[i].size;
		uint32_t type;

		snprintf(label, sizeof(label), "hardware-%u", i);
		if (raw_read(t, reg, 4))
			see_hex(t, label, raw_read(t, reg, 4), 0);
		if (!size || size > 1u << 31)
			continue;
		found++;
		type = cfg_read(t, reg, 4) & 0xf;
		cfg_write(t, reg, 4, 0xffffffff);
		see_as(t, "sizing", cfg_read(t, reg, 4), (uint32_t) ~(size - 1) | type, "size");
		cfg_write(t, reg, 4, 0xabcd0000);
		see_as(t, "kept", cfg_read(t, reg, 4),
		       (0xabcd0000u & (uint32_t) ~(size - 1)) | type, "address");
		see_hex(t, "still-hardware", raw_read(t, reg, 4), 0);
		if (found == 1)
			see_bool(t, "memory", !(type & 1), true);
		break;
	}
	see(t, "found", found, 1);
}

static void regions(struct t *t)
{
	static const char *const names[] = {"size-0", "size-1", "size-2",
					    "size-3", "size-4", "size-5"};
	struct vfio_region_info info;
	char path[128], line[256];
	struct facts f;
	struct sriov s;
	bool same = true;
	FILE *file;

	open_vf(t, &s, &f);
	snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/resource", s.vf[0].bdf);
	file = fopen(path, "re");
	must(t, "resource", file ? 0 : -errno);
	for (unsigned i = 0; i < 6; i++) {
		unsigned long long start = 0, end = 0;

		must(t, "resource", fgets(line, sizeof(line), file) ? 0 : -EIO);
		must(t, "resource", sscanf(line, "%llx %llx", &start, &end) == 2 ? 0 : -EIO);
		must(t, names[i], region_info(t, &info, i));
		same &= info.size == (end ? end - start + 1 : 0);
	}
	fclose(file);
	see_bool(t, "sizes-as-resource", same, true);
	must(t, "rom", region_info(t, &info, VFIO_PCI_ROM_REGION_INDEX));
	see(t, "rom", (long)info.size, 0);
	must(t, "config", region_info(t, &info, VFIO_PCI_CONFIG_REGION_INDEX));
	see(t, "config", (long)info.size, 4096);
}

/* Each VF has its part of the PF's, one behind the other. */
static void apart(struct t *t)
{
	unsigned long long first[2], second[2];
	struct sriov s;
	char buf[64];

	sriov_ready(t, &s, PF_STUB, 2);
	must(t, "first",
	     sscanf(fn_read(s.vf[0].bdf, "resource", buf), "%llx %llx", &first[0], &first[1]) == 2
		     ? 0
		     : -EIO);
	must(t, "second",
	     sscanf(fn_read(s.vf[1].bdf, "resource", buf), "%llx %llx", &second[0], &second[1]) == 2
		     ? 0
		     : -EIO);
	if (!first[1])
		skip(t, "the virtual function has no BAR 0");
	see_as(t, "second", (long)second[0], (long)first[1] + 1, "behind-the-first");
	see_as(t, "size", (long)(second[1] - second[0]), (long)(first[1] - first[0]), "same");
}

static void capabilities(struct t *t)
{
	struct facts f;
	struct sriov s;

	open_vf(t, &s, &f);
	see(t, "sriov", facts_ext_cap(&f, 0x10), 0);
	see(t, "rebar", facts_ext_cap(&f, 0x15), 0);
	see(t, "numvfs", fn_has(s.vf[0].bdf, "sriov_numvfs"), 0);
	see_bool(t, "pcie", f.pcie, true);
	see_bool(t, "resets", f.reset, true);
}

static void flr(struct t *t)
{
	struct facts f;
	struct sriov s;
	unsigned control;

	open_vf(t, &s, &f);
	if (!f.pcie || !(cfg_read(t, f.pcie + 4, 4) & 1u << 28))
		skip(t, "the virtual function has no function level reset");
	cfg_write(t, 4, 2, 6);
	cfg_write(t, 0x3c, 1, 0x5c);
	control = cfg_read(t, f.pcie + 8, 2);
	cfg_write(t, f.pcie + 8, 2, control | 0x8000);
	see_hex(t, "bit", cfg_read(t, f.pcie + 8, 2) & 0x8000, 0);
	see_hex(t, "command", cfg_read(t, 4, 2) & 6, 6);
	see_hex(t, "line", cfg_read(t, 0x3c, 1), 0x5c);
	see(t, "numvfs", fn_number(s.pf.bdf, "sriov_numvfs"), 2);
}

static void power(struct t *t)
{
	struct facts f;
	struct sriov s;
	uint32_t value;

	open_vf(t, &s, &f);
	if (!f.pm)
		skip(t, "the virtual function has no power management");
	if (f.bar_index < 0)
		skip(t, "the virtual function has no memory BAR");
	set_power(t, 3);
	see(t, "state", cfg_read(t, f.pm + 4, 2) & 3, 3);
	see(t, "read", bar_pread32(t, &value), -EIO);
	set_power(t, 0);
	see(t, "state", cfg_read(t, f.pm + 4, 2) & 3, 0);
	see(t, "read", bar_pread32(t, &value), 4);
}

static const struct rule rules[] = {
	{"A.7/VF/ids", OPEN_NOTHING, NEED_IOMMU, ids},
	{"A.7/VF/command", OPEN_NOTHING, NEED_IOMMU, command},
	{"A.7/VF/memory", OPEN_NOTHING, NEED_IOMMU, memory},
	{"A.7/VF/interrupts", OPEN_NOTHING, NEED_IOMMU, interrupts},
	{"A.7/VF/msix", OPEN_NOTHING, NEED_IOMMU, msix},
	{"A.7/VF/bars", OPEN_NOTHING, NEED_IOMMU, bars},
	{"A.7/VF/regions", OPEN_NOTHING, NEED_IOMMU, regions},
	{"A.7/VF/regions-apart", OPEN_NOTHING, NEED_IOMMU, apart},
	{"A.7/VF/capabilities", OPEN_NOTHING, NEED_IOMMU, capabilities},
	{"A.7/VF/flr", OPEN_NOTHING, NEED_IOMMU, flr},
	{"A.7/VF/power", OPEN_NOTHING, NEED_IOMMU, power},
};
const struct section section_a7_vf = SECTION("A.7", rules);
