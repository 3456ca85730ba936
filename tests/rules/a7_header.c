// SPDX-License-Identifier: BSD-3-Clause
/* A.7: how config space is read and written at all, and the type 0 header. */
#include "facts.h"

/* ---- access ---------------------------------------------------------------------------------- */

static void beyond_end(struct t *t)
{
	unsigned size = t->f->config_size;
	uint8_t buf[16] = {0}, before = (uint8_t)cfg_read(t, 0x3c, 1);
	static uint8_t whole[8192];

	see(t, "read-at-end", cfg_pread(t, buf, 1, size), -EFAULT);
	see(t, "read-after-end", cfg_pread(t, buf, 4, size + 64), -EFAULT);
	see(t, "read-over-end", cfg_pread(t, buf, 8, size - 4), -EFAULT);
	see(t, "write-at-end", cfg_pwrite(t, buf, 1, size), -EFAULT);
	see(t, "write-over-end", cfg_pwrite(t, buf, 8, size - 4), -EFAULT);
	/* Nothing of a request that ends beyond is applied. */
	memset(whole, ~before, sizeof(whole));
	see(t, "write-from-line-over-end", cfg_pwrite(t, whole, size - 0x3c + 1, 0x3c), -EFAULT);
	see_as(t, "line", cfg_read(t, 0x3c, 1), before, "kept");
	see_as(t, "read-all", cfg_pread(t, whole, size, 0), size, "size");
	see(t, "read-all-and-one", cfg_pread(t, whole, size + 1, 0), -EFAULT);
}

/* However a read is cut, the bytes are the same. */
static void cut_reads(struct t *t)
{
	uint8_t bytes[64], other[64];
	unsigned wrong = 0;

	for (unsigned i = 0; i < 64; i++)
		bytes[i] = (uint8_t)cfg_read(t, i, 1);
	for (unsigned len = 2; len <= 16; len++) {
		for (unsigned off = 0; off + len <= 64; off++) {
			if (cfg_pread(t, other, len, off) != (long)len ||
			    memcmp(other, bytes + off, len))
				wrong++;
		}
	}
	see(t, "different", wrong, 0);
}

/* Every byte that no rule makes virtual is the hardware's. */
static void passes_through(struct t *t)
{
	const struct facts *f = t->f;
	static const struct {
		unsigned from, to;
	} header[] = {{0, 3},       {4, 5},       {6, 6},      {0x10, 0x27},
		      {0x30, 0x33}, {0x34, 0x34}, {0x3c, 0x3d}};
	uint8_t skipped[256] = {0};
	unsigned wrong = 0, first = 0;

	for (size_t i = 0; i < ARRAY_LEN(header); i++) {
		for (unsigned off = header[i].from; off <= header[i].to; off++)
			skipped[off] = 1;
	}
	for (unsigned pos = facts_first_cap(f), ttl = 48; pos && ttl; ttl--) {
		skipped[pos] = skipped[pos + 1] = 1;
		pos = f->config[pos + 1] & 0xfc;
	}
	for (unsigned i = 2; f->pm && i < 6; i++)
		skipped[f->pm + i] = 1;
	for (unsigned i = 8; f->pcie && i < 10; i++)
		skipped[f->pcie + i] = 1;
	for (unsigned i = 2; f->msi && i < 16; i++)
		skipped[f->msi + i] = 1;
	for (unsigned i = 2; f->vpd && i < 8; i++)
		skipped[f->vpd + i] = 1;
	for (unsigned off = 0; off < 256; off++) {
		if (!skipped[off] && cfg_read(t, off, 1) != raw_read(t, off, 1) && !wrong++)
			first = off;
	}
	see(t, "different", wrong, 0);
	if (wrong)
		see_hex(t, "first", first, 0);
}

static void partly_dropped(struct t *t)
{
	/* INT line is writable and INT pin is not: the write succeeds whole and is applied in part.
	 */
	uint32_t pin = cfg_read(t, 0x3d, 1);
	uint16_t both = (uint16_t)((pin ^ 0xff) << 8 | 0x5c);

	see(t, "write", cfg_pwrite(t, &both, 2, 0x3c), 2);
	see_hex(t, "line", cfg_read(t, 0x3c, 1), 0x5c);
	see_as(t, "pin", cfg_read(t, 0x3d, 1), pin, "kept");
}

/* An access is done piece by piece: what was done before an error stays. */
static void half_done(struct t *t)
{
	uint8_t *header = at_page_end(t, 4);

	must(t, "read", cfg_pread(t, header, 4, 0x0c));
	header[0] = 0x08;
	see(t, "write", cfg_pwrite(t, header, 8, 0x0c), -EFAULT);
	see_hex(t, "cache-line", cfg_read(t, 0x0c, 1), 0x08);
}

static void long_write(struct t *t)
{
	uint8_t header[64];

	must(t, "read", cfg_pread(t, header, 64, 0));
	header[0x3c] = 0x42;
	header[4] |= 4;
	see(t, "write", cfg_pwrite(t, header, 64, 0), 64);
	see_hex(t, "line", cfg_read(t, 0x3c, 1), 0x42);
	see_true(t, "master", cfg_read(t, 4, 2) & 4);
}

/* ---- fields ---------------------------------------------------------------------------------- */

struct field {
	unsigned off, size;
};

static void read_only(struct t *t)
{
	const struct field *field = t->rule->arg;
	uint32_t before = cfg_read(t, field->off, field->size);

	cfg_write(t, field->off, field->size, 0xffffffff);
	see_as(t, "ones", cfg_read(t, field->off, field->size), before, "kept");
	cfg_write(t, field->off, field->size, 0);
	see_as(t, "zeros", cfg_read(t, field->off, field->size), before, "kept");
	cfg_write(t, field->off, 1, ~before & 0xff);
	see_as(t, "byte", cfg_read(t, field->off, field->size), before, "kept");
}

static void same_as_hardware(struct t *t)
{
	const struct field *field = t->rule->arg;

	see_as(t, "value", cfg_read(t, field->off, field->size),
	       raw_read(t, field->off, field->size), "hardware");
}

static void hardware_writable(struct t *t)
{
	const struct field *field = t->rule->arg;
	static const uint8_t values[] = {0x00, 0x10, 0xf8};

	for (size_t i = 0; i < ARRAY_LEN(values); i++) {
		cfg_write(t, field->off, 1, values[i]);
		see_true(t, "same-as-hardware",
			 cfg_read(t, field->off, 1) == raw_read(t, field->off, 1));
	}
}

static void cache_line(struct t *t)
{
	cfg_write(t, 0x0c, 1, 0x10);
	see_hex(t, "read", cfg_read(t, 0x0c, 1), 0x10);
	see_hex(t, "raw", raw_read(t, 0x0c, 1), 0x10);
}

static void interrupt_line(struct t *t)
{
	uint32_t hardware = t->f->raw ? raw_read(t, 0x3c, 1) : 0;
	static const uint8_t values[] = {0, 0xff, 0x5c};

	for (size_t i = 0; i < ARRAY_LEN(values); i++) {
		cfg_write(t, 0x3c, 1, values[i]);
		see_hex(t, "line", cfg_read(t, 0x3c, 1), values[i]);
	}
	if (t->f->raw)
		see_as(t, "raw", raw_read(t, 0x3c, 1), hardware, "kept");
}

static void interrupt_pin(struct t *t)
{
	see_as(t, "pin", cfg_read(t, 0x3d, 1),
	       irq_count(t, VFIO_PCI_INTX_IRQ_INDEX) ? t->f->pin : 0, "as-intx-count");
}

static void cap_list_bit(struct t *t)
{
	if (!facts_first_cap(t->f))
		see_bool(t, "set-without-list", cfg_read(t, 6, 2) & 0x10, false);
	else
		see_bool(t, "set", cfg_read(t, 6, 2) & 0x10, cfg_read(t, 0x34, 1) != 0);
}

/* Error bits cannot be cleared: they only come and go by hardware. */
static void status_kept(struct t *t)
{
	uint32_t before = cfg_read(t, 6, 2);

	cfg_write(t, 6, 2, 0xffff);
	see_as(t, "ones", cfg_read(t, 6, 2), before, "kept");
	cfg_write(t, 4, 4, cfg_read(t, 4, 2) | 0xffff0000);
	see_as(t, "with-command", cfg_read(t, 6, 2), before, "kept");
}

/* ---- COMMAND --------------------------------------------------------------------------------- */

static void command_bit(struct t *t)
{
	uint32_t bit = *(const uint32_t *)t->rule->arg, base = cfg_read(t, 4, 2) & ~bit;

	cfg_write(t, 4, 2, base | bit);
	see_bool(t, "set", cfg_read(t, 4, 2) & bit, true);
	if (t->f->raw && bit != 0x400)
		see_bool(t, "raw", raw_read(t, 4, 2) & bit, true);
	cfg_write(t, 4, 2, base);
	see_bool(t, "cleared", cfg_read(t, 4, 2) & bit, false);
	if (t->f->raw && bit != 0x400)
		see_bool(t, "raw", raw_read(t, 4, 2) & bit, false);
}
static const uint32_t command_bits[] = {2, 4, 0x400};

/* Bits that a device may or may not implement: what hardware then has is what is read. */
static void command_follows(struct t *t)
{
	uint32_t bit = *(const uint32_t *)t->rule->arg, base = cfg_read(t, 4, 2) & ~bit;

	cfg_write(t, 4, 2, base | bit);
	see_true(t, "set-as-hardware", !((cfg_read(t, 4, 2) ^ raw_read(t, 4, 2)) & bit));
	cfg_write(t, 4, 2, base);
	see_true(t, "cleared-as-hardware", !((cfg_read(t, 4, 2) ^ raw_read(t, 4, 2)) & bit));
}
static const uint32_t optional_bits[] = {0x08, 0x10, 0x20, 0x40, 0x100, 0x200};

/* What a device does not implement reads as hardware has it; nothing fails. */
static void command_all_bits(struct t *t)
{
	cfg_write(t, 4, 2, 0xffff);
	see_bool(t, "memory", cfg_read(t, 4, 2) & 2, true);
	see_bool(t, "master", cfg_read(t, 4, 2) & 4, true);
	see_bool(t, "intx-disable", cfg_read(t, 4, 2) & 0x400, true);
	see_hex(t, "reserved", cfg_read(t, 4, 2) & 0xf800, 0);
	cfg_write(t, 4, 2, 0);
	see_hex(t, "zeros", cfg_read(t, 4, 2) & 0x546, 0);
}

static void command_io_without_bar(struct t *t)
{
	cfg_write(t, 4, 2, 3);
	if (t->f->raw)
		see_true(t, "same-as-hardware",
			 (cfg_read(t, 4, 2) & 1) == (raw_read(t, 4, 2) & 1) ||
				 (cfg_read(t, 4, 2) & 1));
	cfg_write(t, 4, 2, 0);
	see_bool(t, "cleared", cfg_read(t, 4, 2) & 1, false);
}

static void command_by_bytes(struct t *t)
{
	cfg_write(t, 4, 1, 6);
	see_hex(t, "low", cfg_read(t, 4, 2) & 0x406, 6);
	cfg_write(t, 5, 1, 4);
	see_hex(t, "high", cfg_read(t, 4, 2) & 0x406, 0x406);
	cfg_write(t, 4, 1, 0);
	see_hex(t, "low-off", cfg_read(t, 4, 2) & 0x406, 0x400);
	cfg_write(t, 5, 1, 0);
	see_hex(t, "high-off", cfg_read(t, 4, 2) & 0x406, 0);
}

/* A request that begins before COMMAND is cut at its begin, so it still acts. */
static void command_by_longer_write(struct t *t)
{
	uint8_t bytes[8];

	must(t, "read", cfg_pread(t, bytes, 8, 0));
	bytes[4] &= (uint8_t)~2;
	see(t, "write", cfg_pwrite(t, bytes, 8, 0), 8);
	see_bool(t, "memory", cfg_read(t, 4, 2) & 2, false);
	bytes[4] |= 2;
	see(t, "write-odd", cfg_pwrite(t, bytes + 3, 3, 3), 3);
	see_bool(t, "memory", cfg_read(t, 4, 2) & 2, true);
}

/* ---- the list of capabilities ---------------------------------------------------------------- */

static bool visible(unsigned id)
{
	static const uint8_t hidden[] = {0x00, 0x04, 0x06, 0x0a, 0x0b,
					 0x0c, 0x0d, 0x0e, 0x0f, 0x14};

	if (id > 0x14)
		return false;
	for (size_t i = 0; i < ARRAY_LEN(hidden); i++) {
		if (hidden[i] == id)
			return false;
	}
	return true;
}

/* The visible ones are linked in the hardware's order, and nothing else is. */
static void multifunction(struct t *t)
{
	bool same_slot = !strncmp(t->f->bdf, t->sibling->bdf, strlen("0000:00:00"));

	if (!same_slot)
		skip(t, "the second device of the group is in another slot");
	see_bool(t, "bit", cfg_read(t, 0x0e, 1) & 0x80, true);
	see_bool(t, "layout-0", (cfg_read(t, 0x0e, 1) & 0x7f) == 0, true);
}

static void list_order(struct t *t)
{
	const struct facts *f = t->f;
	unsigned ours = cfg_read(t, 0x34, 1), real = facts_first_cap(f);
	bool same = true;

	if (!real) {
		see_as(t, "pointer-without-list", ours, f->config[0x34], "hardware");
		return;
	}
	for (int ttl = 48; real && ttl; ttl--) {
		unsigned id = f->config[real];

		if (visible(id)) {
			same = same && ours == real && cfg_read(t, ours, 1) == id;
			ours = cfg_read(t, real + 1, 1);
		}
		real = f->config[real + 1] & 0xfc;
	}
	see_bool(t, "as-in-hardware", same, true);
	see(t, "end", ours, 0);
}

static void list_read_only(struct t *t)
{
	unsigned pos = facts_first_cap(t->f) ? cfg_read(t, 0x34, 1) : 0, kept = 0, all = 0;

	for (int ttl = 48; pos && ttl; ttl--) {
		uint32_t head = cfg_read(t, pos, 2);

		cfg_write(t, pos, 2, ~head & 0xffff);
		kept += cfg_read(t, pos, 2) == head;
		all++;
		pos = head >> 8;
	}
	see_as(t, "kept", kept, all, "all");
}

/* Hiding only unlinks: what is the hardware's at a hidden place can be read. */
static void list_hidden_bytes(struct t *t)
{
	const struct facts *f = t->f;
	unsigned hidden = 0, wrong = 0;

	for (unsigned pos = facts_first_cap(f), ttl = 48; pos && ttl; ttl--) {
		if (!visible(f->config[pos])) {
			hidden++;
			wrong += cfg_read(t, pos, 4) != raw_read(t, pos, 4);
		}
		pos = f->config[pos + 1] & 0xfc;
	}
	if (!hidden)
		skip(t, "the device has no hidden capability");
	see(t, "different", wrong, 0);
}

#define FIELD(fn, o, s)                                                                            \
	OPEN_DEVICE, 0, fn, &(const struct field)                                                  \
	{                                                                                          \
		o, s                                                                               \
	}
#define RAWF(fn, o, s)                                                                             \
	OPEN_DEVICE, NEED_RAW, fn, &(const struct field)                                           \
	{                                                                                          \
		o, s                                                                               \
	}
#define BIT(i)     OPEN_DEVICE, 0, command_bit, &command_bits[i]
#define FOLLOWS(i) OPEN_DEVICE, NEED_RAW, command_follows, &optional_bits[i]

static const struct rule rules[] = {
	{"A.7/access/beyond-end", OPEN_DEVICE, 0, beyond_end},
	{"A.7/access/cut-reads", OPEN_DEVICE, 0, cut_reads},
	{"A.7/access/passes-through", OPEN_DEVICE, NEED_RAW, passes_through},
	{"A.7/access/partly-dropped", OPEN_DEVICE, 0, partly_dropped},
	{"A.7/access/half-done", OPEN_DEVICE, 0, half_done},
	{"A.7/access/whole-header", OPEN_DEVICE, 0, long_write},
	{"A.7/header/vendor-read-only", FIELD(read_only, 0, 2)},
	{"A.7/header/device-read-only", FIELD(read_only, 2, 2)},
	{"A.7/header/ids-read-only-together", FIELD(read_only, 0, 4)},
	{"A.7/header/revision-read-only", FIELD(read_only, 8, 1)},
	{"A.7/header/class-read-only", FIELD(read_only, 8, 4)},
	{"A.7/header/type-read-only", FIELD(read_only, 0x0e, 1)},
	{"A.7/header/cis-read-only", FIELD(read_only, 0x28, 4)},
	{"A.7/header/subsystem-read-only", FIELD(read_only, 0x2c, 4)},
	{"A.7/header/cap-pointer-read-only", FIELD(read_only, 0x34, 1)},
	{"A.7/header/reserved-read-only", FIELD(read_only, 0x38, 4)},
	{"A.7/header/pin-read-only", FIELD(read_only, 0x3d, 1)},
	{"A.7/header/grant-latency-read-only", FIELD(read_only, 0x3e, 2)},
	{"A.7/header/vendor-is-hardware", RAWF(same_as_hardware, 0, 2)},
	{"A.7/header/device-is-hardware", RAWF(same_as_hardware, 2, 2)},
	{"A.7/header/class-is-hardware", RAWF(same_as_hardware, 8, 4)},
	{"A.7/header/subsystem-is-hardware", RAWF(same_as_hardware, 0x2c, 4)},
	{"A.7/header/status-is-hardware", RAWF(same_as_hardware, 6, 2)},
	{"A.7/header/status-kept", OPEN_DEVICE, 0, status_kept},
	{"A.7/header/status-cap-list", OPEN_DEVICE, 0, cap_list_bit},
	{"A.7/header/multifunction", OPEN_DEVICE, NEED_SIBLING, multifunction},
	{"A.7/header/cache-line", OPEN_DEVICE, NEED_RAW, cache_line},
	{"A.7/header/latency-goes-to-hardware", RAWF(hardware_writable, 0x0d, 1)},
	{"A.7/header/bist-goes-to-hardware", RAWF(hardware_writable, 0x0f, 1)},
	{"A.7/header/interrupt-line", OPEN_DEVICE, 0, interrupt_line},
	{"A.7/header/interrupt-pin", OPEN_DEVICE, 0, interrupt_pin},
	{"A.7/COMMAND/memory", BIT(0)},
	{"A.7/COMMAND/master", BIT(1)},
	{"A.7/COMMAND/intx-disable", BIT(2)},
	{"A.7/COMMAND/special-cycles-follow-hardware", FOLLOWS(0)},
	{"A.7/COMMAND/invalidate-follows-hardware", FOLLOWS(1)},
	{"A.7/COMMAND/palette-snoop-follows-hardware", FOLLOWS(2)},
	{"A.7/COMMAND/parity-follows-hardware", FOLLOWS(3)},
	{"A.7/COMMAND/serr-follows-hardware", FOLLOWS(4)},
	{"A.7/COMMAND/back-to-back-follows-hardware", FOLLOWS(5)},
	{"A.7/COMMAND/all-bits", OPEN_DEVICE, 0, command_all_bits},
	{"A.7/COMMAND/io", OPEN_DEVICE, 0, command_io_without_bar},
	{"A.7/COMMAND/by-bytes", OPEN_DEVICE, 0, command_by_bytes},
	{"A.7/COMMAND/by-longer-write", OPEN_DEVICE, 0, command_by_longer_write},
	{"A.7/list/order", OPEN_DEVICE, 0, list_order},
	{"A.7/list/read-only", OPEN_DEVICE, 0, list_read_only},
	{"A.7/list/hidden-bytes", OPEN_DEVICE, NEED_RAW, list_hidden_bytes},
};
const struct section section_a7_header = SECTION("A.7", rules);
