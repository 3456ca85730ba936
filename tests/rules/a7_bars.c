// SPDX-License-Identifier: BSD-3-Clause
/* A.7: base addresses, which are wholly virtual, and their restoration. */
#include "facts.h"

static unsigned bar_offset(unsigned index)
{
	return 0x10 + 4 * index;
}

/* What a BAR reads after ones were written: the size as a mask, and the type. */
static uint32_t sized(const struct facts *f, unsigned index)
{
	const struct bar *bar = &f->bar[index];
	uint32_t type = facts_get(f, bar_offset(index), 4);

	if (bar->upper)
		return f->bar[index - 1].size ? (uint32_t)(~(f->bar[index - 1].size - 1) >> 32) : 0;
	if (!bar->size)
		return 0;
	return bar->io ? (uint32_t)(~(bar->size - 1)) | (type & 3)
		       : (uint32_t)(~(bar->size - 1)) | (type & 0xf);
}

static void sizing(struct t *t)
{
	unsigned index = *(const unsigned *)t->rule->arg;
	uint32_t real = t->f->raw ? raw_read(t, bar_offset(index), 4) : 0;

	cfg_write(t, bar_offset(index), 4, 0xffffffff);
	see_as(t, "ones", cfg_read(t, bar_offset(index), 4), sized(t->f, index), "size-mask");
	cfg_write(t, bar_offset(index), 4, 0);
	see_as(t, "zeros", cfg_read(t, bar_offset(index), 4),
	       sized(t->f, index) & (t->f->bar[index].upper ? 0
				     : t->f->bar[index].io  ? 3
							    : 0xf),
	       "type");
	if (t->f->raw)
		see_as(t, "raw", raw_read(t, bar_offset(index), 4), real, "kept");
}
static const unsigned indices[] = {0, 1, 2, 3, 4, 5};

static void address_kept(struct t *t)
{
	const struct facts *f = t->f;
	unsigned index = (unsigned)f->bar_index, off = bar_offset(index);
	uint32_t mask = sized(f, index), type = mask & 0xf;

	mask &= ~0xfu;
	cfg_write(t, off, 4, 0x12345678);
	see_as(t, "value", cfg_read(t, off, 4), (0x12345678 & mask) | type, "value-and-mask");
	cfg_write(t, off + 3, 1, 0xee);
	see_as(t, "high-byte", cfg_read(t, off, 4), (0xee345678 & mask) | type, "value-and-mask");
	cfg_write(t, off, 2, 0xffff);
	see_as(t, "low-half", cfg_read(t, off, 4), (0xee34ffff & mask) | type, "value-and-mask");
	/* Sizing is done when it is read, and by the byte as well. */
	see_as(t, "read-byte", cfg_read(t, off + 3, 1), ((0xee34ffff & mask) >> 24),
	       "value-and-mask");
}

static void initial(struct t *t)
{
	unsigned wrong = 0;

	for (unsigned i = 0; i < 6; i++) {
		if (t->f->bar[i].size || t->f->bar[i].upper)
			wrong += cfg_read(t, bar_offset(i), 4) != raw_read(t, bar_offset(i), 4);
	}
	see(t, "different-from-hardware", wrong, 0);
}

static void region_unmoved(struct t *t)
{
	uint32_t before, after;

	see(t, "before", bar_pread32(t, &before), 4);
	cfg_write(t, bar_offset((unsigned)t->f->bar_index), 4, 0x40000000);
	see(t, "after", bar_pread32(t, &after), 4);
	see_true(t, "same", before == after);
}

static void rom(struct t *t)
{
	struct vfio_region_info info;
	uint32_t want;

	must(t, "info", region_info(t, &info, VFIO_PCI_ROM_REGION_INDEX));
	want = info.size ? (uint32_t)(~(info.size - 1) & 0xfffff800u) | 1 : 0;
	if (t->f->rom_size && !info.size)
		want = (uint32_t)(~(t->f->rom_size - 1) & 0xfffff800u) | 1;
	cfg_write(t, 0x30, 4, 0xffffffff);
	see_as(t, "ones", cfg_read(t, 0x30, 4), want, "size-mask-and-enable");
	cfg_write(t, 0x30, 4, 0);
	see_hex(t, "zeros", cfg_read(t, 0x30, 4), 0);
}

/*
 * The backdoor reset: when hardware does not decode what the user believes to have enabled, the
 * real addresses are written again before decoding is turned on.  A power state that loses the
 * configuration or FLR would be the reason; here only that enabling again works after each.
 */
static void works_after_reset(struct t *t)
{
	uint32_t real = raw_read(t, 0x10, 4), value;

	must(t, "reset", sys(ioctl(t->dev, VFIO_DEVICE_RESET)));
	cfg_write(t, 4, 2, 6);
	see_true(t, "raw-kept", raw_read(t, 0x10, 4) == real);
	see(t, "read", bar_pread32(t, &value), 4);
}

#define SIZING(i) OPEN_DEVICE, 0, sizing, &indices[i]

static const struct rule rules[] = {
	{"A.7/BAR/initial", OPEN_DEVICE, NEED_RAW, initial},
	{"A.7/BAR/sizing-0", SIZING(0)},
	{"A.7/BAR/sizing-1", SIZING(1)},
	{"A.7/BAR/sizing-2", SIZING(2)},
	{"A.7/BAR/sizing-3", SIZING(3)},
	{"A.7/BAR/sizing-4", SIZING(4)},
	{"A.7/BAR/sizing-5", SIZING(5)},
	{"A.7/BAR/value-kept", OPEN_DEVICE, NEED_BAR, address_kept},
	{"A.7/BAR/region-unmoved", OPEN_DEVICE, NEED_BAR, region_unmoved},
	{"A.7/BAR/works-after-reset", OPEN_DEVICE, NEED_BAR | NEED_RAW | NEED_RESET,
	 works_after_reset},
	{"A.7/BAR/rom", OPEN_DEVICE, 0, rom},
};
const struct section section_a7_bars = SECTION("A.7", rules);
