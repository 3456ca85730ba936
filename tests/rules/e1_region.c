// SPDX-License-Identifier: BSD-3-Clause
/*
 * E.1: the migration region.  It is found as VMMs find it, by its capability among the regions
 * behind the fixed ones; what is in it is asked by pread, pwrite and mmap.  A device of another
 * interface is skipped (key migration= of a device).
 */
#include "e1.h"

struct e1_region region;
struct e1_saved saved;

static bool look_at_caps(const uint8_t *buf, uint32_t at, uint32_t len)
{
	bool found = false;

	while (at && at + 8 <= len) {
		const struct vfio_info_cap_header *head = (const void *)(buf + at);
		const struct vfio_region_info_cap_type *type = (const void *)head;
		const struct vfio_region_info_cap_sparse_mmap *sparse = (const void *)head;

		region.caps_end = at + 8;
		if (head->id == VFIO_REGION_INFO_CAP_TYPE) {
			found = type->type == TYPE_MIGRATION && type->subtype == SUBTYPE_MIGRATION;
			region.caps_end = at + (uint32_t)sizeof(*type);
		} else if (head->id == VFIO_REGION_INFO_CAP_SPARSE_MMAP && sparse->nr_areas == 1) {
			region.window = sparse->areas[0].offset;
			region.window_size = sparse->areas[0].size;
			region.caps_end =
				at + (uint32_t)(sizeof(*sparse) + sizeof(sparse->areas[0]));
		} else if (head->id == CAP_NDMA) {
			region.ndma = true;
		}
		at = head->next;
	}
	return found;
}

void find(struct t *t)
{
	struct vfio_device_info info = {.argsz = sizeof(info)};
	uint64_t room[64];

	must(t, "device-info", sys(ioctl(t->dev, VFIO_DEVICE_GET_INFO, &info)));
	for (unsigned i = VFIO_PCI_NUM_REGIONS; i < info.num_regions; i++) {
		memset(room, 0, sizeof(room));
		region.info = (struct vfio_region_info){.argsz = sizeof(room), .index = i};
		memcpy(room, &region.info, sizeof(region.info));
		must(t, "region-info", sys(ioctl(t->dev, VFIO_DEVICE_GET_REGION_INFO, room)));
		memcpy(&region.info, room, sizeof(region.info));
		if (look_at_caps((uint8_t *)room, region.info.cap_offset, sizeof(room)))
			return;
	}
	skip(t, "the device has no migration region");
}

off_t at(uint64_t offset)
{
	return (off_t)(region.info.offset + offset);
}

static unsigned width(unsigned reg)
{
	return reg < AT_PENDING ? 4 : 8;
}

static long try_get(struct t *t, unsigned reg, uint64_t *value)
{
	*value = 0;
	return sys(pread(t->dev, value, width(reg), at(reg)));
}

uint64_t get(struct t *t, unsigned reg)
{
	uint64_t value;

	must(t, "get", try_get(t, reg, &value));
	return value;
}

/* 0 or -errno. */
long put(struct t *t, unsigned reg, uint64_t value)
{
	long rc = sys(pwrite(t->dev, &value, width(reg), at(reg)));

	return rc == (long)width(reg) ? 0 : rc < 0 ? rc : -EIO;
}

const char *bits_name(uint64_t bits)
{
	static const char *const names[16] = {
		"0000", "0001", "0010", "0011", "0100", "0101", "0110", "0111",
		"1000", "1001", "1010", "1011", "1100", "1101", "1110", "1111",
	};

	return bits < 16 ? names[bits] : "beyond";
}

void see_bits(struct t *t, const char *label, uint32_t want)
{
	see_text(t, label, bits_name(get(t, AT_STATE)), bits_name(want));
}

void reset(struct t *t)
{
	must(t, "reset", sys(ioctl(t->dev, VFIO_DEVICE_RESET)));
}

/* What there is until pending_bytes is zero goes behind what is saved. */
void save_some(struct t *t)
{
	while (get(t, AT_PENDING)) {
		uint64_t offset = get(t, AT_OFFSET), size = get(t, AT_SIZE);

		must(t, "chunk",
		     size && size <= sizeof(saved.bytes) - saved.len &&
				     saved.nr < ARRAY_LEN(saved.sizes)
			     ? 0
			     : -EIO);
		for (uint64_t n = 0; n < size;) {
			uint64_t part = size - n < 65536 ? size - n : 65536;
			long rc = sys(
				pread(t->dev, saved.bytes + saved.len + n, part, at(offset + n)));

			must(t, "window", rc > 0 ? 0 : -EIO);
			n += (uint64_t)rc;
		}
		saved.sizes[saved.nr++] = size;
		saved.len += size;
	}
}

/* From RUNNING, by STOPPED, and back there. */
void save_all(struct t *t)
{
	saved.len = saved.nr = 0;
	must(t, "to-0010", put(t, AT_STATE, BIT_SAVING));
	save_some(t);
	must(t, "to-0001", put(t, AT_STATE, BIT_RUNNING));
}

/* The first error, or 0.  As it was saved. */
long load_saved(struct t *t)
{
	const uint8_t *from = saved.bytes;

	for (unsigned i = 0; i < saved.nr; from += saved.sizes[i++]) {
		uint64_t offset = get(t, AT_OFFSET);
		long rc;

		for (size_t n = 0; n < saved.sizes[i]; n += (size_t)rc) {
			size_t part = saved.sizes[i] - n < 65536 ? saved.sizes[i] - n : 65536;

			rc = sys(pwrite(t->dev, from + n, part, at(offset + n)));
			if (rc <= 0)
				return rc ? rc : -EIO;
		}
		rc = put(t, AT_SIZE, saved.sizes[i]);
		if (rc)
			return rc;
	}
	return 0;
}

/* From RUNNING; with all that is needed to leave RESUMING again. */
static void enter(struct t *t, uint32_t bits)
{
	if (bits & BIT_RESUMING)
		save_all(t);
	must(t, "enter", put(t, AT_STATE, bits));
	if (bits & BIT_RESUMING)
		must(t, "load", load_saved(t));
}

/* ---- what there is --------------------------------------------------------------------------- */

static void info(struct t *t)
{
	struct vfio_region_info short_info;
	uint64_t room[64] = {0};

	find(t);
	see_bool(t, "read-write-mmap-caps",
		 region.info.flags == (VFIO_REGION_INFO_FLAG_READ | VFIO_REGION_INFO_FLAG_WRITE |
				       VFIO_REGION_INFO_FLAG_MMAP | VFIO_REGION_INFO_FLAG_CAPS),
		 true);
	see_bool(t, "window-on-pages",
		 region.window && !(region.window % PAGE) && region.window_size &&
			 !(region.window_size % PAGE),
		 true);
	see_bool(t, "window-inside", region.window + region.window_size <= region.info.size, true);
	see_hex(t, "data-offset", get(t, AT_OFFSET), region.window);
	see_bits(t, "first", BIT_RUNNING);
	see_hex(t, "reserved", get(t, AT_RESERVED), 0);
	/* Too short for the capabilities: how long they are. */
	short_info = region.info;
	short_info.argsz = sizeof(short_info);
	memcpy(room, &short_info, sizeof(short_info));
	must(t, "short", sys(ioctl(t->dev, VFIO_DEVICE_GET_REGION_INFO, room)));
	memcpy(&short_info, room, sizeof(short_info));
	see_bool(t, "says-length", short_info.argsz == region.caps_end, true);
	see(t, "no-offset", short_info.cap_offset, 0);
	see_bool(t, "caps", short_info.flags & VFIO_REGION_INFO_FLAG_CAPS, true);
}

static void features(struct t *t)
{
	static const uint32_t indices[] = {MIGRATION, STATE, DATA_SIZE};
	uint32_t data[4] = {STOP};

	find(t);
	for (size_t i = 0; i < ARRAY_LEN(indices); i++)
		see(t, "get", feature_call(t, 24, GET | indices[i], data, sizeof(data)), -ENOTTY);
	see(t, "set", feature_call(t, 24, SET | STATE, data, sizeof(data)), -ENOTTY);
	see(t, "probe", feature_call(t, 8, PROBE | GET | MIGRATION, NULL, 0), -ENOTTY);
	see(t, "reinit", feature_call(t, 8, SET | REINIT, NULL, 0), -EINVAL);
	see_bits(t, "state", BIT_RUNNING);
}

/* Each offset of the header, each width. */
static void widths(struct t *t)
{
	static const unsigned lens[] = {1, 2, 4, 8};
	unsigned right = 0, wrong = 0;
	uint8_t bytes[8] = {0};

	find(t);
	for (unsigned reg = 0; reg < AT_END + 8; reg++) {
		for (size_t i = 0; i < ARRAY_LEN(lens); i++) {
			bool native = reg < AT_END && reg % lens[i] == 0 && lens[i] == width(reg);
			long want = native ? (long)lens[i] : -EINVAL, rc;

			rc = sys(pread(t->dev, bytes, lens[i], at(reg)));
			if (rc == want)
				right++;
			else if (!wrong++)
				see(t, "read", rc, want);
			/* What may be written is looked at by other cases. */
			native = native && reg < AT_PENDING && reg != AT_STATE;
			want = native ? (long)lens[i] : -EINVAL;
			memset(bytes, 0, sizeof(bytes));
			if (reg == AT_STATE && lens[i] == 4)
				continue;
			rc = sys(pwrite(t->dev, bytes, lens[i], at(reg)));
			if (rc == want)
				right++;
			else if (!wrong++)
				see(t, "write", rc, want);
		}
	}
	see(t, "right", right, (AT_END + 8) * 4 * 2 - 1);
	see(t, "nothing", sys(pread(t->dev, bytes, 0, at(1))), 0);
	see(t, "gap", sys(pread(t->dev, bytes, 8, at(region.window - 8))), -EINVAL);
	see(t, "end", sys(pread(t->dev, bytes, 8, at(region.info.size))), -EINVAL);
	see(t, "across-end", sys(pread(t->dev, bytes, 8, at(region.info.size - 3))), 3);
	see_bits(t, "state", BIT_RUNNING);
}

/* ---- states ---------------------------------------------------------------------------------- */

static void way(struct t *t, uint32_t from, uint32_t to)
{
	const uint32_t kept = 7 | (region.ndma ? BIT_NDMA : 0);
	bool none = (to & BIT_RESUMING && to & (BIT_SAVING | BIT_RUNNING));
	bool back = (from & 7) == BIT_SAVING && (to & 7) == (BIT_SAVING | BIT_RUNNING);
	long want = none || back ? -EINVAL : 0;

	enter(t, from);
	see(t, bits_name(to), put(t, AT_STATE, to), want);
	see_bits(t, "is", want ? from & kept : to & kept);
	reset(t);
	if (get(t, AT_STATE) != BIT_RUNNING)
		see_bits(t, "after-reset", BIT_RUNNING);
}

static void from_bits(struct t *t)
{
	uint32_t from = *(const uint32_t *)t->rule->arg;

	find(t);
	if (from & BIT_NDMA && !region.ndma)
		skip(t, "the device's migration region has no NDMA");
	for (uint32_t to = 0; to < 16; to++)
		way(t, from, to);
}

/* Bits that are reserved change nothing, and stay as they are: zero. */
static void reserved(struct t *t)
{
	find(t);
	see(t, "state", put(t, AT_STATE, 0xfffffff0 | BIT_RUNNING), 0);
	see_bits(t, "is", BIT_RUNNING);
	see(t, "stopped", put(t, AT_STATE, 0xfffffff0), 0);
	see_bits(t, "is", 0);
	see(t, "none", put(t, AT_STATE, 0xfffffff0 | BIT_RESUMING | BIT_RUNNING), -EINVAL);
	see_bits(t, "is", 0);
	see(t, "word", put(t, AT_RESERVED, 0xffffffff), 0);
	see_hex(t, "is", get(t, AT_RESERVED), 0);
}

/* Several bits in one write: what was done before a step that fails stays done. */
static void half_way(struct t *t)
{
	find(t);
	must(t, "to-0100", put(t, AT_STATE, BIT_RESUMING));
	/* It cannot leave RESUMING with nothing. */
	see(t, "to-0001", put(t, AT_STATE, BIT_RUNNING), -EINVAL);
	see_bits(t, "is", BIT_RESUMING);
	see(t, "to-0010", put(t, AT_STATE, BIT_SAVING), -EINVAL);
	see_bits(t, "is", BIT_RESUMING);
	see(t, "to-0011", put(t, AT_STATE, BIT_SAVING | BIT_RUNNING), -EINVAL);
	see_bits(t, "is", BIT_RESUMING);
	reset(t);
	see_bits(t, "after-reset", BIT_RUNNING);
}

/* While it is stopped nobody answers; with NDMA somebody does. */
static void answers(struct t *t)
{
	static const struct {
		uint32_t bits;
		bool there;
	} rows[] = {
		{0, false},
		{BIT_SAVING, false},
		{BIT_RESUMING, false},
		{BIT_SAVING | BIT_RUNNING, true},
		{BIT_RUNNING | BIT_NDMA, true},
		{BIT_SAVING | BIT_RUNNING | BIT_NDMA, true},
	};
	uint32_t value, right;

	find(t);
	set_memory(t, true);
	must(t, "register", bar_pread32(t, &right));
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		if (rows[i].bits & BIT_NDMA && !region.ndma)
			continue;
		must(t, "to", put(t, AT_STATE, rows[i].bits));
		must(t, "read", bar_pread32(t, &value));
		see_bool(t, bits_name(rows[i].bits), value == right && right != 0xffffffff,
			 rows[i].there);
		reset(t);
	}
}

/* ---- what ends it ---------------------------------------------------------------------------- */

static void ended(struct t *t)
{
	static const uint32_t rows[] = {0, BIT_SAVING, BIT_SAVING | BIT_RUNNING, BIT_RESUMING};

	find(t);
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		must(t, "to", put(t, AT_STATE, rows[i]));
		get(t, AT_PENDING);
		get(t, AT_OFFSET);
		reset(t);
		see_bits(t, bits_name(rows[i]), BIT_RUNNING);
		see_hex(t, "pending", get(t, AT_PENDING), 0);
		see_hex(t, "size", get(t, AT_SIZE), 0);
	}
}

static void closed(struct t *t)
{
	static const uint32_t rows[] = {0, BIT_SAVING, BIT_SAVING | BIT_RUNNING, BIT_RESUMING};

	find(t);
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		must(t, "to", put(t, AT_STATE, rows[i]));
		get(t, AT_PENDING);
		get(t, AT_OFFSET);
		close_all(t);
		open_all(t, OPEN_DEVICE);
		find(t);
		see_bits(t, bits_name(rows[i]), BIT_RUNNING);
		see_hex(t, "pending", get(t, AT_PENDING), 0);
	}
}

#define FROM(bits)                                                                                 \
	OPEN_DEVICE, NEED_RESET, from_bits, &(const uint32_t)                                      \
	{                                                                                          \
		bits                                                                               \
	}
static const struct rule rules[] = {
	{"E.1/region/info", OPEN_DEVICE, 0, info},
	{"E.1/region/features", OPEN_DEVICE, 0, features},
	{"E.1/region/widths", OPEN_DEVICE, 0, widths},
	{"E.1/from/stopped", FROM(0)},
	{"E.1/from/running", FROM(BIT_RUNNING)},
	{"E.1/from/pre-copy", FROM(BIT_SAVING | BIT_RUNNING)},
	{"E.1/from/stop-and-copy", FROM(BIT_SAVING)},
	{"E.1/from/resuming", FROM(BIT_RESUMING)},
	{"E.1/from/running-ndma", FROM(BIT_RUNNING | BIT_NDMA)},
	{"E.1/from/pre-copy-ndma", FROM(BIT_SAVING | BIT_RUNNING | BIT_NDMA)},
	{"E.1/from/stopped-ndma", FROM(BIT_NDMA)},
	{"E.1/state/reserved", OPEN_DEVICE, 0, reserved},
	{"E.1/state/half-way", OPEN_DEVICE, NEED_RESET, half_way},
	{"E.1/state/answers", OPEN_DEVICE, NEED_RESET | NEED_BAR, answers},
	{"E.1/ends/reset", OPEN_DEVICE, NEED_RESET, ended},
	{"E.1/ends/close", OPEN_DEVICE, 0, closed},
};
const struct section section_e1 = SECTION("E.1", rules);
