// SPDX-License-Identifier: BSD-3-Clause
/* A.6: what the regions are, and read and write of them. */
#include <sys/uio.h>
#include "facts.h"

static off_t region_at(const struct t *t, unsigned index, uint64_t off)
{
	return (off_t)(t->f->region_offset[index] + off);
}

/* ---- GET_REGION_INFO ------------------------------------------------------------------------- */

static void bar_info(struct t *t)
{
	unsigned index = *(const unsigned *)t->rule->arg;
	const struct bar *bar = &t->f->bar[index];
	struct vfio_region_info info;
	uint32_t want = 0;

	see(t, "rc", region_info(t, &info, index), 0);
	see_as(t, "size", (long)info.size, (long)bar->size, "resource");
	if (bar->size)
		want = VFIO_REGION_INFO_FLAG_READ | VFIO_REGION_INFO_FLAG_WRITE;
	see_as(t, "access", info.flags & 3, want, bar->size ? "rw" : "none");
	/* Smaller ones may be mappable too, when the rest of their page can be reserved. */
	if (!bar->size || bar->io || bar->size >= PAGE)
		see_as(t, "mmap", !!(info.flags & VFIO_REGION_INFO_FLAG_MMAP),
		       bar->size && !bar->io, "if-memory");
	see_as(t, "caps", !!(info.flags & VFIO_REGION_INFO_FLAG_CAPS),
	       t->f->msix && t->f->table_bar == index && info.flags & VFIO_REGION_INFO_FLAG_MMAP,
	       "if-msix-table");
}
static const unsigned indices[] = {0, 1, 2, 3, 4, 5, 6, 7, 8};

static void offset_info(struct t *t)
{
	struct vfio_region_info info;

	for (unsigned i = 0; i < VFIO_PCI_VGA_REGION_INDEX; i++) {
		must(t, "info", region_info(t, &info, i));
		if (info.offset != (uint64_t)i << 40) {
			see(t, "first-not-index-times-2^40", i, -1);
			return;
		}
	}
	see_true(t, "index-times-2^40", true);
}

static void config_info(struct t *t)
{
	struct vfio_region_info info;

	see(t, "rc", region_info(t, &info, VFIO_PCI_CONFIG_REGION_INDEX), 0);
	see_as(t, "size", (long)info.size, t->f->config_size, "config-size");
	see_hex(t, "flags", info.flags, 3);
	see_true(t, "offset-7<<40", info.offset == 7ull << 40);
}

static void rom_info(struct t *t)
{
	struct vfio_region_info info;
	char byte;

	see(t, "rc", region_info(t, &info, VFIO_PCI_ROM_REGION_INDEX), 0);
	see_as(t, "flags", info.flags, info.size ? VFIO_REGION_INFO_FLAG_READ : 0, "read-if-size");
	see_true(t, "size", !info.size || info.size == t->f->rom_size);
	see_as(t, "read-beyond", sys(pread(t->dev, &byte, 1, (off_t)(info.offset + info.size))),
	       -EINVAL, "EINVAL");
}

static void vga_info(struct t *t)
{
	struct vfio_region_info info;
	char byte;

	if (t->f->config[0x0b] == 3 && t->f->config[0x0a] == 0)
		skip(t, "the device is VGA");
	see(t, "rc", region_info(t, &info, VFIO_PCI_VGA_REGION_INDEX), -EINVAL);
	see(t, "read", sys(pread(t->dev, &byte, 1, (8ll << 40) + 0xa0000)), -EINVAL);
	see(t, "write", sys(pwrite(t->dev, &byte, 1, (8ll << 40) + 0xa0000)), -EINVAL);
}

struct bad_info {
	uint32_t argsz, index;
	long want;
};

static void bad_info(struct t *t)
{
	const struct bad_info *bad = t->rule->arg;
	struct {
		struct vfio_region_info info;
		char room[256];
	} u = {.info = {.argsz = bad->argsz, .index = bad->index}};

	see(t, "rc", sys(ioctl(t->dev, VFIO_DEVICE_GET_REGION_INFO, &u)), bad->want);
}

#define BAR_INFO(i) OPEN_DEVICE, 0, bar_info, &indices[i]
#define BAD(...)                                                                                   \
	OPEN_DEVICE, 0, bad_info, &(const struct bad_info)                                         \
	{                                                                                          \
		__VA_ARGS__                                                                        \
	}

static const struct rule info_rules[] = {
	{"A.6/REGION_INFO/bar-0", BAR_INFO(0)},
	{"A.6/REGION_INFO/bar-1", BAR_INFO(1)},
	{"A.6/REGION_INFO/bar-2", BAR_INFO(2)},
	{"A.6/REGION_INFO/bar-3", BAR_INFO(3)},
	{"A.6/REGION_INFO/bar-4", BAR_INFO(4)},
	{"A.6/REGION_INFO/bar-5", BAR_INFO(5)},
	{"A.6/REGION_INFO/rom", OPEN_DEVICE, 0, rom_info},
	{"A.6/REGION_INFO/config", OPEN_DEVICE, 0, config_info},
	{"A.6/REGION_INFO/vga", OPEN_DEVICE, 0, vga_info},
	{"A.6/REGION_INFO/offsets", OPEN_DEVICE, 0, offset_info},
	{"A.6/REGION_INFO/argsz-0", BAD(0, 0, -EINVAL)},
	{"A.6/REGION_INFO/argsz-31", BAD(31, 0, -EINVAL)},
	{"A.6/REGION_INFO/argsz-32", BAD(32, 0, 0)},
	{"A.6/REGION_INFO/argsz-max", BAD(0xffffffff, 1, 0)},
	{"A.6/REGION_INFO/index-9", BAD(32, 9, -EINVAL)},
	{"A.6/REGION_INFO/index-max", BAD(32, 0xffffffff, -EINVAL)},
	{"A.6/REGION_INFO/index-and-argsz", BAD(31, 9, -EINVAL)},
};
const struct section section_a6_info = SECTION("A.6", info_rules);

/* ---- read and write -------------------------------------------------------------------------- */

static void count_zero(struct t *t)
{
	char byte = 0;

	see(t, "bar", sys(pread(t->dev, &byte, 0, region_at(t, 0, 0))), 0);
	see(t, "bar-beyond-end", sys(pread(t->dev, &byte, 0, region_at(t, 0, 1ull << 39))), 0);
	see(t, "config", sys(pread(t->dev, &byte, 0, 7ll << 40)), 0);
	see(t, "config-beyond-end", sys(pread(t->dev, &byte, 0, (7ll << 40) + 8192)), 0);
	see(t, "rom", sys(pread(t->dev, &byte, 0, region_at(t, 6, 0))), 0);
	see(t, "vga", sys(pread(t->dev, &byte, 0, 8ll << 40)), 0);
	see(t, "unknown-index", sys(pread(t->dev, &byte, 0, 99ll << 40)), 0);
	see(t, "write-bar", sys(pwrite(t->dev, &byte, 0, region_at(t, 0, 0))), 0);
	see(t, "write-config", sys(pwrite(t->dev, &byte, 0, 7ll << 40)), 0);
	see(t, "write-rom", sys(pwrite(t->dev, &byte, 0, region_at(t, 6, 0))), 0);
	see(t, "write-unknown-index", sys(pwrite(t->dev, &byte, 0, 99ll << 40)), 0);
}

static void unknown_index(struct t *t)
{
	uint32_t value = 0;

	see(t, "read-9", sys(pread(t->dev, &value, 4, 9ll << 40)), -EINVAL);
	see(t, "write-9", sys(pwrite(t->dev, &value, 4, 9ll << 40)), -EINVAL);
	see(t, "read-high", sys(pread(t->dev, &value, 4, 0x7fffffll << 40)), -EINVAL);
	see(t, "write-high", sys(pwrite(t->dev, &value, 4, 0x7fffffll << 40)), -EINVAL);
	see(t, "negative", sys(pread(t->dev, &value, 4, -4096)), -EINVAL);
}

static void bar_absent(struct t *t)
{
	uint32_t value = 0;

	for (unsigned i = 0; i < 6; i++) {
		if (t->f->bar[i].size)
			continue;
		see(t, "read", sys(pread(t->dev, &value, 4, region_at(t, i, 0))), -EINVAL);
		see(t, "write", sys(pwrite(t->dev, &value, 4, region_at(t, i, 0))), -EINVAL);
		see(t, "read-further", sys(pread(t->dev, &value, 4, region_at(t, i, 64))), -EINVAL);
		return;
	}
	skip(t, "the device has all six BARs");
}

static void bar_end(struct t *t)
{
	const struct facts *f = t->f;
	unsigned index = (unsigned)f->bar_index;
	uint64_t size = f->bar[index].size;
	uint8_t buf[64];

	see(t, "last-byte", sys(pread(t->dev, buf, 1, region_at(t, index, size - 1))), 1);
	see(t, "at-end", sys(pread(t->dev, buf, 1, region_at(t, index, size))), -EINVAL);
	see(t, "after-end", sys(pread(t->dev, buf, 8, region_at(t, index, size + 4096))), -EINVAL);
	see(t, "clamped", sys(pread(t->dev, buf, sizeof(buf), region_at(t, index, size - 8))), 8);
	see(t, "clamped-odd", sys(pread(t->dev, buf, sizeof(buf), region_at(t, index, size - 3))),
	    3);
	see(t, "write-at-end", sys(pwrite(t->dev, buf, 1, region_at(t, index, size))), -EINVAL);
	must(t, "last", sys(pread(t->dev, buf, 4, region_at(t, index, size - 4))));
	see(t, "write-clamped",
	    sys(pwrite(t->dev, buf, sizeof(buf), region_at(t, index, size - 4))), 4);
}

/* However the access is cut, the register is the same. */
static void bar_widths(struct t *t)
{
	off_t at = region_at(t, (unsigned)t->f->bar_index, t->f->register_offset);
	uint8_t whole[8], halves[8], longer[16];

	see(t, "eight", sys(pread(t->dev, whole, 8, at)), 8);
	see(t, "four", sys(pread(t->dev, halves, 4, at)), 4);
	see(t, "four", sys(pread(t->dev, halves + 4, 4, at + 4)), 4);
	if (memcmp(whole, halves, 8))
		skip(t, "the device answers each width with something else");
	see_true(t, "same", true);
	see(t, "sixteen", sys(pread(t->dev, longer, 16, at)), 16);
	see_true(t, "same", !memcmp(whole, longer, 8));
	/* Not every device answers less than a dword with a part of it. */
	see(t, "two", sys(pread(t->dev, halves, 2, at)), 2);
	see(t, "unaligned-seven", sys(pread(t->dev, longer, 7, at + 1)), 7);
}

static void bad_buffer(struct t *t)
{
	off_t bar = region_at(t, (unsigned)t->f->bar_index, t->f->register_offset);
	const off_t config = 7ll << 40;
	char *nothing = at_page_end(t, 0);

	see(t, "bar-read", sys(pread(t->dev, nothing, 4, bar)), -EFAULT);
	see(t, "config-read", sys(pread(t->dev, nothing, 4, config)), -EFAULT);
	see(t, "config-write", sys(pwrite(t->dev, nothing, 4, config + 0x3c)), -EFAULT);
	/* The first pieces of a request may be done before the buffer ends. */
	see(t, "config-half-buffer", sys(pread(t->dev, at_page_end(t, 4), 8, config)), -EFAULT);
}

static void vectored(struct t *t)
{
	uint16_t a = 0, b = 0;
	struct iovec iov[2] = {{&a, 2}, {&b, 2}};
	uint32_t both = cfg_read(t, 0, 4);

	see(t, "preadv", sys(preadv(t->dev, iov, 2, 7ll << 40)), 4);
	see_true(t, "same", ((uint32_t)b << 16 | a) == both);
	uint8_t line = 0x31;
	struct iovec one = {&line, 1};
	see(t, "pwritev", sys(pwritev(t->dev, &one, 1, (7ll << 40) + 0x3c)), 1);
	see_hex(t, "written", cfg_read(t, 0x3c, 1), 0x31);
}

static void file_position(struct t *t)
{
	see(t, "lseek", sys(lseek(t->dev, 7ll << 40, SEEK_SET)) < 0 ? -errno : 0, -ESPIPE);
}

/* Memory decode off: memory refuses, I/O does not. */
static void memory_off(struct t *t)
{
	uint32_t value, again;

	see(t, "on", bar_pread32(t, &value), 4);
	set_memory(t, false);
	see(t, "off-read", bar_pread32(t, &again), -EIO);
	see(t, "off-write",
	    sys(pwrite(t->dev, &value, 4,
		       region_at(t, (unsigned)t->f->bar_index, t->f->register_offset))),
	    -EIO);
	see(t, "off-zero-bytes",
	    sys(pread(t->dev, &value, 0, region_at(t, (unsigned)t->f->bar_index, 0))), 0);
	see(t, "off-beyond-end",
	    sys(pread(t->dev, &value, 4,
		      region_at(t, (unsigned)t->f->bar_index, t->f->bar[t->f->bar_index].size))),
	    -EINVAL);
	set_memory(t, true);
	see(t, "on-again", bar_pread32(t, &again), 4);
	see_true(t, "same", value == again);
}

static void io_unchecked(struct t *t)
{
	uint32_t value;

	for (unsigned i = 0; i < 6; i++) {
		if (!t->f->bar[i].io || !t->f->bar[i].size)
			continue;
		cfg_write(t, 4, 2, 0);
		see(t, "read", sys(pread(t->dev, &value, 4, region_at(t, i, 0))), 4);
		return;
	}
}

static void power_off(struct t *t)
{
	uint32_t value;

	set_power(t, 3);
	see(t, "d3-read", bar_pread32(t, &value), -EIO);
	see(t, "d3-config", cfg_pread(t, &value, 4, 0), 4);
	set_power(t, 0);
	set_memory(t, true);
	see(t, "d0-read", bar_pread32(t, &value), 4);
}

static void table_hidden(struct t *t)
{
	const struct facts *f = t->f;
	off_t at = region_at(t, f->table_bar, f->table_offset);
	uint8_t buf[32], ff[32];

	memset(ff, 0xff, sizeof(ff));
	see(t, "read", sys(pread(t->dev, buf, 16, at)), 16);
	see_true(t, "all-ones", !memcmp(buf, ff, 16));
	memset(buf, 0, sizeof(buf));
	see(t, "write", sys(pwrite(t->dev, buf, 16, at)), 16);
	see(t, "read-last", sys(pread(t->dev, buf, 4, at + (off_t)f->table_size - 4)), 4);
	see_true(t, "all-ones", !memcmp(buf, ff, 4));
	see(t, "read-bytes", sys(pread(t->dev, buf, 3, at + 1)), 3);
	see_true(t, "all-ones", !memcmp(buf, ff, 3));
}

/* An access that straddles the table's begin sees the register before it and ones. */
static void table_straddled(struct t *t)
{
	const struct facts *f = t->f;
	off_t at = region_at(t, f->table_bar, f->table_offset);
	uint8_t buf[16], before[8], ff[8];

	if (f->table_offset < 8)
		skip(t, "nothing is before the MSI-X table");
	memset(ff, 0xff, sizeof(ff));
	see(t, "before", sys(pread(t->dev, before, 8, at - 8)), 8);
	see(t, "straddling", sys(pread(t->dev, buf, 16, at - 8)), 16);
	see_true(t, "register", !memcmp(buf, before, 8));
	see_true(t, "ones", !memcmp(buf + 8, ff, 8));
}

static void pending_readable(struct t *t)
{
	uint8_t buf[8];

	see(t, "read", sys(pread(t->dev, buf, 8, region_at(t, t->f->pba_bar, t->f->pba_offset))),
	    8);
	see_bool(t, "hidden", buf[0] == 0xff && buf[7] == 0xff, false);
	see(t, "write", sys(pwrite(t->dev, buf, 8, region_at(t, t->f->pba_bar, t->f->pba_offset))),
	    8);
}

/* The table's bytes are never asked of the device, so they do not mind whether it decodes memory.
 */
static void table_memory_off(struct t *t)
{
	off_t at = region_at(t, t->f->table_bar, t->f->table_offset);
	uint8_t buf[16] = {0};

	set_memory(t, false);
	see(t, "read", sys(pread(t->dev, buf, 16, at)), 16);
	see_true(t, "ones", buf[0] == 0xff && buf[15] == 0xff);
	see(t, "write", sys(pwrite(t->dev, buf, 16, at)), 16);
	if (t->f->table_offset >= 8)
		see(t, "straddling", sys(pread(t->dev, buf, 16, at - 8)), -EIO);
}

static void rom_access(struct t *t)
{
	struct vfio_region_info info;
	uint8_t buf[16] = {0};

	must(t, "info", region_info(t, &info, VFIO_PCI_ROM_REGION_INDEX));
	see(t, "write", sys(pwrite(t->dev, buf, 4, region_at(t, 6, 0))), -EINVAL);
	see_as(t, "read", sys(pread(t->dev, buf, 4, region_at(t, 6, 0))), info.size ? 4 : -EINVAL,
	       "if-size");
	if (info.size)
		see_as(t, "clamped",
		       sys(pread(t->dev, buf, sizeof(buf), region_at(t, 6, info.size - 4))), 4,
		       "if-size");
}

/* The image is looked for at each access, and it is not to be found. */
static void rom_memory_off(struct t *t)
{
	struct vfio_region_info info;
	uint8_t byte;

	must(t, "info", region_info(t, &info, VFIO_PCI_ROM_REGION_INDEX));
	if (!info.size)
		skip(t, "the device has no ROM");
	set_memory(t, false);
	see(t, "info", region_info(t, &info, VFIO_PCI_ROM_REGION_INDEX), 0);
	see_true(t, "size-kept", info.size);
	see(t, "read", sys(pread(t->dev, &byte, 1, region_at(t, 6, 0))), -ENOMEM);
	see(t, "at-end", sys(pread(t->dev, &byte, 1, region_at(t, 6, info.size))), -EINVAL);
	set_memory(t, true);
	see(t, "on", sys(pread(t->dev, &byte, 1, region_at(t, 6, 0))), 1);
	see_hex(t, "signature", byte, 0x55);
	set_power(t, 3);
	see(t, "d3", sys(pread(t->dev, &byte, 1, region_at(t, 6, 0))),
	    since(t, 7, 2) ? -EIO : -ENOMEM);
}

/* Nobody checks, so the access is made, and nobody answers it. */
static void io_decode_off(struct t *t)
{
	uint32_t value = 0;
	unsigned index = 0;

	while (!t->f->bar[index].io || !t->f->bar[index].size)
		index++;
	cfg_write(t, 4, 2, cfg_read(t, 4, 2) & ~1u);
	see(t, "read", sys(pread(t->dev, &value, 4, region_at(t, index, 0))), 4);
	see_hex(t, "value", value, 0xffffffff);
	see(t, "write", sys(pwrite(t->dev, &value, 4, region_at(t, index, 0))), 4);
}

static const struct rule access_rules[] = {
	{"A.6/access/count-zero", OPEN_DEVICE, 0, count_zero},
	{"A.6/access/unknown-index", OPEN_DEVICE, 0, unknown_index},
	{"A.6/access/bar-absent", OPEN_DEVICE, 0, bar_absent},
	{"A.6/access/bar-end", OPEN_DEVICE, NEED_BAR, bar_end},
	{"A.6/access/bar-widths", OPEN_DEVICE, NEED_BAR, bar_widths},
	{"A.6/access/bad-buffer", OPEN_DEVICE, NEED_BAR, bad_buffer},
	{"A.6/access/vectored", OPEN_DEVICE, 0, vectored},
	{"A.6/access/file-position", OPEN_DEVICE, 0, file_position},
	{"A.6/access/memory-off", OPEN_DEVICE, NEED_BAR, memory_off},
	{"A.6/access/io-unchecked", OPEN_DEVICE, NEED_IOBAR, io_unchecked},
	{"A.6/access/power-d3", OPEN_DEVICE, NEED_BAR | NEED_PM, power_off},
	{"A.6/access/msix-table-hidden", OPEN_DEVICE, NEED_MSIX, table_hidden},
	{"A.6/access/msix-table-straddled", OPEN_DEVICE, NEED_MSIX, table_straddled},
	{"A.6/access/msix-pending-readable", OPEN_DEVICE, NEED_MSIX, pending_readable},
	{"A.6/access/msix-table-memory-off", OPEN_DEVICE, NEED_MSIX, table_memory_off},
	{"A.6/access/rom", OPEN_DEVICE, 0, rom_access},
	{"A.6/access/rom-memory-off", OPEN_DEVICE, NEED_PM, rom_memory_off},
	{"A.6/access/io-decode-off", OPEN_DEVICE, NEED_IOBAR, io_decode_off},
};
const struct section section_a6_access = SECTION("A.6", access_rules);
