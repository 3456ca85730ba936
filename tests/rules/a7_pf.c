// SPDX-License-Identifier: BSD-3-Clause
/*
 * A.7 and A.10 of a physical function whose VFs are there, and what its reset does to their
 * hardware.  What concerns tokens and users is C's.
 */
#include "d3.h"
#include "sriov.h"

/* Of the SR-IOV capability. */
#define CONTROL 0x08
#define NUM_VFS 0x10
#define VF_BAR  0x24

/* A PF that vfio-pci has, open, with @n VFs; t and @f are the PF's, @vf is the first VF's file. */
struct pf {
	struct sriov s;
	struct facts f, vf_facts;
	int vf;
};

static void open_pf(struct t *t, struct pf *p, unsigned n)
{
	long dev;

	sriov_ready(t, &p->s, PF_VFIO, n);
	dev = fn_open(t, BY_GROUP, &p->s.pf, TOKEN_A);
	must(t, "pf", dev);
	p->vf = -1;
	if (n) {
		p->vf = (int)fn_open(t, BY_GROUP, &p->s.vf[0], TOKEN_A);
		must(t, "vf", p->vf);
		fn_facts(t, &p->s.vf[0], p->vf, &p->vf_facts);
	}
	fn_facts(t, &p->s.pf, (int)dev, &p->f);
}

/* What is asked next is asked of the VF, or of the PF again. */
static void ask_vf(struct t *t, struct pf *p, int *pf)
{
	*pf = t->dev;
	t->dev = p->vf;
	t->f = &p->vf_facts;
}

static void ask_pf(struct t *t, struct pf *p, int pf)
{
	t->dev = pf;
	t->f = &p->f;
}

/* A user of the PF sees what the host does, and changes nothing. */
static void capability(struct t *t)
{
	unsigned at, changed = 0;
	struct pf p;

	open_pf(t, &p, 2);
	at = facts_ext_cap(&p.f, 0x10);
	must(t, "capability", at ? 0 : -ENODEV);
	see_hex(t, "enabled", cfg_read(t, at + CONTROL, 2) & 9, 9);
	see(t, "num-vfs", cfg_read(t, at + NUM_VFS, 2), 2);
	for (unsigned off = 4; off < 0x40; off++) {
		uint32_t before = cfg_read(t, at + off, 1);

		cfg_write(t, at + off, 1, ~before & 0xff);
		changed += cfg_read(t, at + off, 1) != before;
	}
	see(t, "changed", changed, 0);
	see(t, "num-vfs", raw_read(t, at + NUM_VFS, 2), 2);
	see(t, "vfs", fn_number(p.s.pf.bdf, "sriov_numvfs"), 2);
}

static long low_power(struct t *t, uint32_t what)
{
	struct vfio_device_feature f = {.argsz = sizeof(f),
					.flags = VFIO_DEVICE_FEATURE_SET | what};

	return sys(ioctl(t->dev, VFIO_DEVICE_FEATURE, &f));
}

/* Low power is entered and left; the host suspends nothing. */
static void sleeps(struct t *t)
{
	uint32_t value;
	char buf[64];
	struct pf p;

	open_pf(t, &p, 1);
	if (!p.f.pm)
		skip(t, "the physical function has no power management");
	see(t, "enter", low_power(t, VFIO_DEVICE_FEATURE_LOW_POWER_ENTRY), 0);
	see_text(t, "state", fn_read(p.s.pf.bdf, "power_state", buf), "D0");
	see(t, "leave", low_power(t, VFIO_DEVICE_FEATURE_LOW_POWER_EXIT), 0);
	if (p.f.bar_index >= 0)
		see(t, "read", bar_pread32(t, &value), 4);
}

/*
 * RESET of the PF: the VFs' hardware is reset with it, and what the host has set for them comes
 * back.  Their files stay, and what is virtual in them.
 */
static void reset(struct t *t)
{
	unsigned at;
	uint32_t value;
	struct pf p;
	int pf;

	open_pf(t, &p, 2);
	if (!p.f.reset)
		skip(t, "the physical function cannot be reset");
	at = facts_ext_cap(&p.f, 0x10);
	ask_vf(t, &p, &pf);
	cfg_write(t, 4, 2, 6);
	cfg_write(t, 0x3c, 1, 0x5c);
	see_hex(t, "vf-master", raw_read(t, 4, 2) & 4, 4);
	ask_pf(t, &p, pf);
	value = raw_read(t, at + VF_BAR, 4);
	see(t, "reset", sys(ioctl(t->dev, VFIO_DEVICE_RESET)), 0);
	see_hex(t, "enabled", raw_read(t, at + CONTROL, 2) & 9, 9);
	see(t, "num-vfs", raw_read(t, at + NUM_VFS, 2), 2);
	see_bool(t, "vf-bar", raw_read(t, at + VF_BAR, 4) == value, true);
	see(t, "vfs", fn_number(p.s.pf.bdf, "sriov_numvfs"), 2);
	ask_vf(t, &p, &pf);
	see_hex(t, "vf-master", raw_read(t, 4, 2) & 4, 0);
	see_hex(t, "vf-line", cfg_read(t, 0x3c, 1), 0x5c);
	see_hex(t, "vf-memory", cfg_read(t, 4, 2) & 2, 2);
	if (p.vf_facts.bar_index >= 0)
		see(t, "vf-read", bar_pread32(t, &value), 4);
}

static const struct rule rules[] = {
	{"A.7/PF/capability", OPEN_NOTHING, NEED_IOMMU | NEED_RAW, capability},
	{"A.7/PF/low-power", OPEN_NOTHING, NEED_IOMMU, sleeps},
	{"A.7/PF/reset", OPEN_NOTHING, NEED_IOMMU | NEED_RAW, reset},
};
const struct section section_a7_pf = SECTION("A.7", rules);
