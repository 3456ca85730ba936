// SPDX-License-Identifier: BSD-3-Clause
/*
 * E.1: the migration region.  It is found as VMMs find it, by its capability among the regions
 * behind the fixed ones; what is in it is asked by pread, pwrite and mmap.  A device of another
 * interface is skipped (key migration= of a device).
 */
#include "e.h"

enum { BIT_RUNNING = 1, BIT_SAVING = 2, BIT_RESUMING = 4, BIT_NDMA = 8 };
enum { AT_STATE = 0, AT_RESERVED = 4, AT_PENDING = 8, AT_OFFSET = 16, AT_SIZE = 24, AT_END = 32 };
enum { CAP_NDMA = 6, TYPE_MIGRATION = 3, SUBTYPE_MIGRATION = 1 };

/* A case runs in a process of its own. */
static struct {
	struct vfio_region_info info;
	bool ndma;
	uint64_t window, window_size; /* of the sparse mmap */
	uint32_t caps_end;
} region;

static struct {
	uint8_t bytes[4 << 20];
	size_t len, sizes[512];
	unsigned nr;
} saved;

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

static void find(struct t *t)
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

static off_t at(uint64_t offset)
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

static uint64_t get(struct t *t, unsigned reg)
{
	uint64_t value;

	must(t, "get", try_get(t, reg, &value));
	return value;
}

/* 0 or -errno. */
static long put(struct t *t, unsigned reg, uint64_t value)
{
	long rc = sys(pwrite(t->dev, &value, width(reg), at(reg)));

	return rc == (long)width(reg) ? 0 : rc < 0 ? rc : -EIO;
}

static const char *bits_name(uint64_t bits)
{
	static const char *const names[16] = {
		"0000", "0001", "0010", "0011", "0100", "0101", "0110", "0111",
		"1000", "1001", "1010", "1011", "1100", "1101", "1110", "1111",
	};

	return bits < 16 ? names[bits] : "beyond";
}

static void see_bits(struct t *t, const char *label, uint32_t want)
{
	see_text(t, label, bits_name(get(t, AT_STATE)), bits_name(want));
}

static void reset(struct t *t)
{
	must(t, "reset", sys(ioctl(t->dev, VFIO_DEVICE_RESET)));
}

/* What there is until pending_bytes is zero goes behind what is saved. */
static void save_some(struct t *t)
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
static void save_all(struct t *t)
{
	saved.len = saved.nr = 0;
	must(t, "to-0010", put(t, AT_STATE, BIT_SAVING));
	save_some(t);
	must(t, "to-0001", put(t, AT_STATE, BIT_RUNNING));
}

/* The first error, or 0.  As it was saved. */
static long load_saved(struct t *t)
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

/* ---- saving ---------------------------------------------------------------------------------- */

/* Outside of saving there is nothing, whatever is asked. */
static void nothing(struct t *t)
{
	static const uint32_t rows[] = {BIT_RUNNING, 0, BIT_RESUMING};

	find(t);
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		must(t, "to", put(t, AT_STATE, rows[i]));
		see_hex(t, bits_name(rows[i]), get(t, AT_PENDING), 0);
		see_bool(t, "offset", get(t, AT_OFFSET) == region.window, true);
		see_hex(t, "size", get(t, AT_SIZE), 0);
	}
}

static void idempotent(struct t *t)
{
	uint64_t pending, size;
	uint8_t a[64], b[64];

	find(t);
	must(t, "to-0010", put(t, AT_STATE, BIT_SAVING));
	pending = get(t, AT_PENDING);
	see_bool(t, "pending", pending > 0, true);
	see_bool(t, "again", get(t, AT_PENDING) == pending, true);
	see_hex(t, "size-before-offset", get(t, AT_SIZE), 0);
	see_hex(t, "offset", get(t, AT_OFFSET), region.window);
	size = get(t, AT_SIZE);
	see_bool(t, "size", size >= sizeof(a) && size <= region.window_size && size <= pending,
		 true);
	see(t, "window", sys(pread(t->dev, a, sizeof(a), at(region.window))), sizeof(a));
	see_hex(t, "offset-again", get(t, AT_OFFSET), region.window);
	see_bool(t, "size-again", get(t, AT_SIZE) == size, true);
	see(t, "window-again", sys(pread(t->dev, b, sizeof(b), at(region.window))), sizeof(b));
	see_bool(t, "same", !memcmp(a, b, sizeof(a)), true);
	/* To ask for the state, or to be refused, lets nothing go. */
	see(t, "refused", put(t, AT_STATE, BIT_SAVING | BIT_RESUMING), -EINVAL);
	see_bool(t, "still", get(t, AT_SIZE) == size, true);
	get(t, AT_PENDING);
	see_hex(t, "let-go", get(t, AT_SIZE), 0);
}

/* Zero is the end, once the device is stopped; while it runs one asks again. */
static void polled(struct t *t)
{
	size_t early;

	find(t);
	must(t, "to-0011", put(t, AT_STATE, BIT_SAVING | BIT_RUNNING));
	save_some(t);
	early = saved.len;
	for (unsigned i = 0; i < 3; i++)
		see_hex(t, "running", get(t, AT_PENDING), 0);
	get(t, AT_OFFSET);
	see_hex(t, "size", get(t, AT_SIZE), 0);
	must(t, "to-0010", put(t, AT_STATE, BIT_SAVING));
	see_bool(t, "stopped", get(t, AT_PENDING) > 0, true);
	save_some(t);
	see_bool(t, "more", saved.len > early, true);
	for (unsigned i = 0; i < 3; i++)
		see_hex(t, "end", get(t, AT_PENDING), 0);
	get(t, AT_OFFSET);
	see_hex(t, "size", get(t, AT_SIZE), 0);
	/* Pre-copy and what follows is one stream. */
	must(t, "to-0100", put(t, AT_STATE, BIT_RESUMING));
	see(t, "load", load_saved(t), 0);
	see(t, "to-0001", put(t, AT_STATE, BIT_RUNNING), 0);
}

/* Pre-copy may be left at any time, with what was not read; the next one begins anew. */
static void left_early(struct t *t)
{
	find(t);
	for (unsigned i = 0; i < 2; i++) {
		must(t, "to-0011", put(t, AT_STATE, BIT_SAVING | BIT_RUNNING));
		see_bool(t, "pending", get(t, AT_PENDING) > 0, true);
		get(t, AT_OFFSET);
		see(t, "to-0001", put(t, AT_STATE, BIT_RUNNING), 0);
		see_hex(t, "nothing", get(t, AT_PENDING), 0);
		see_hex(t, "size", get(t, AT_SIZE), 0);
	}
	must(t, "to-0011", put(t, AT_STATE, BIT_SAVING | BIT_RUNNING));
	see(t, "to-0010", put(t, AT_STATE, BIT_SAVING), 0);
	save_some(t);
	must(t, "to-0100", put(t, AT_STATE, BIT_RESUMING));
	see(t, "load", load_saved(t), 0);
	see(t, "to-0001", put(t, AT_STATE, BIT_RUNNING), 0);
}

/* ---- resuming -------------------------------------------------------------------------------- */

static void resume(struct t *t)
{
	size_t len;

	find(t);
	save_all(t);
	len = saved.len;
	must(t, "to-0100", put(t, AT_STATE, BIT_RESUMING));
	see(t, "load", load_saved(t), 0);
	see_hex(t, "size", get(t, AT_SIZE), 0);
	see(t, "none", put(t, AT_SIZE, 0), 0);
	see(t, "to-0000", put(t, AT_STATE, 0), 0);
	see(t, "to-0001", put(t, AT_STATE, BIT_RUNNING), 0);
	/* It is what it was. */
	save_all(t);
	see_bool(t, "same", saved.len == len, true);
}

/* A stream that is damaged, cut, or goes on; the device stays where it is. */
static void bad_stream(struct t *t)
{
	static const char *const kinds[] = {"damaged", "cut", "goes-on"};

	find(t);
	save_all(t);
	for (unsigned kind = 0; kind < 3; kind++) {
		size_t *last = &saved.sizes[saved.nr - 1];
		size_t whole = *last;
		long rc, left;

		must(t, "to-0100", put(t, AT_STATE, BIT_RESUMING));
		if (kind == 0)
			saved.bytes[saved.len / 2] ^= 1;
		*last += kind == 1 ? -1 : kind == 2 ? 1 : 0;
		rc = load_saved(t);
		left = put(t, AT_STATE, BIT_RUNNING);
		see(t, kinds[kind], rc ? rc : left, -EINVAL);
		see(t, "leave", left, -EINVAL);
		see_bits(t, "is", BIT_RESUMING);
		*last = whole;
		if (kind == 0)
			saved.bytes[saved.len / 2] ^= 1;
		reset(t);
	}
}

static void hostile_sizes(struct t *t)
{
	static const uint64_t sizes[] = {1ull << 32, 1ull << 63, UINT64_MAX, UINT64_MAX - 4095};

	find(t);
	see(t, "running", put(t, AT_SIZE, 1), -EINVAL);
	must(t, "to-0010", put(t, AT_STATE, BIT_SAVING));
	see(t, "saving", put(t, AT_SIZE, 1), -EINVAL);
	see(t, "pending", put(t, AT_PENDING, 1), -EINVAL);
	see(t, "offset", put(t, AT_OFFSET, 0), -EINVAL);
	must(t, "to-0100", put(t, AT_STATE, BIT_RESUMING));
	see(t, "beyond", put(t, AT_SIZE, region.window_size + 1), -EINVAL);
	for (size_t i = 0; i < ARRAY_LEN(sizes); i++)
		see(t, "huge", put(t, AT_SIZE, sizes[i]), -EINVAL);
	see(t, "offset", put(t, AT_OFFSET, 0), -EINVAL);
	see(t, "pending", put(t, AT_PENDING, 1), -EINVAL);
	/* None of that was taken for data. */
	reset(t);
	save_all(t);
	must(t, "to-0100", put(t, AT_STATE, BIT_RESUMING));
	see(t, "beyond", put(t, AT_SIZE, region.window_size + 1), -EINVAL);
	see(t, "load", load_saved(t), 0);
	see(t, "to-0001", put(t, AT_STATE, BIT_RUNNING), 0);
	/* Nothing was put into the window. */
	must(t, "to-0100", put(t, AT_STATE, BIT_RESUMING));
	see(t, "empty", put(t, AT_SIZE, region.window_size), -EINVAL);
	see_bits(t, "is", BIT_RESUMING);
}

/* ---- the window ------------------------------------------------------------------------------ */

static void window_access(struct t *t)
{
	uint8_t out[9] = "window!!", in[9] = "";

	find(t);
	see(t, "running", sys(pwrite(t->dev, out, 8, at(region.window))), -EINVAL);
	must(t, "to-0010", put(t, AT_STATE, BIT_SAVING));
	see(t, "saving", sys(pwrite(t->dev, out, 8, at(region.window))), -EINVAL);
	must(t, "to-0100", put(t, AT_STATE, BIT_RESUMING));
	see(t, "resuming", sys(pwrite(t->dev, out, 7, at(region.window + 3))), 7);
	see(t, "read", sys(pread(t->dev, in, 7, at(region.window + 3))), 7);
	see_bool(t, "same", !memcmp(in, out, 7), true);
	see(t, "last", sys(pwrite(t->dev, out, 1, at(region.info.size - 1))), 1);
	see(t, "across-end", sys(pwrite(t->dev, out, 8, at(region.info.size - 2))), 2);
	see(t, "end", sys(pwrite(t->dev, out, 1, at(region.info.size))), -EINVAL);
	see(t, "before", sys(pwrite(t->dev, out, 1, at(region.window - 1))), -EINVAL);
	see(t, "header", sys(pwrite(t->dev, out, 8, at(AT_END))), -EINVAL);
	reset(t);
	see(t, "after-reset", sys(pread(t->dev, in, 7, at(region.window + 3))), 7);
	see_bool(t, "empty", !(in[0] | in[1] | in[2] | in[3] | in[4] | in[5] | in[6]), true);
}

static long try_map(struct t *t, uint64_t offset, uint64_t len, int flags)
{
	void *p = mmap(NULL, len, PROT_READ | PROT_WRITE, flags, t->dev, at(offset));

	if (p == MAP_FAILED)
		return -errno;
	munmap(p, len);
	return 0;
}

static void window_map(struct t *t)
{
	find(t);
	see(t, "all", try_map(t, region.window, region.window_size, MAP_SHARED), 0);
	see(t, "last-page", try_map(t, region.window + region.window_size - PAGE, PAGE, MAP_SHARED),
	    0);
}

static void window_not_mapped(struct t *t)
{
	find(t);
	see(t, "private", try_map(t, region.window, PAGE, MAP_PRIVATE), -EINVAL);
	see(t, "header", try_map(t, 0, PAGE, MAP_SHARED), -EINVAL);
	see(t, "with-header", try_map(t, 0, region.info.size, MAP_SHARED), -EINVAL);
	see(t, "beyond", try_map(t, region.window, region.window_size + PAGE, MAP_SHARED), -EINVAL);
	see(t, "behind", try_map(t, region.window + region.window_size, PAGE, MAP_SHARED), -EINVAL);
}

static uint8_t *map_window(struct t *t)
{
	void *p = mmap(NULL, region.window_size, PROT_READ | PROT_WRITE, MAP_SHARED, t->dev,
		       at(region.window));

	must(t, "mmap", p == MAP_FAILED ? -errno : 0);
	return p;
}

/* Read and written through a mapping, also while the device decodes no memory. */
static void window_mapped(struct t *t)
{
	uint8_t *window, *first;
	uint64_t size;

	find(t);
	save_all(t);
	first = malloc(saved.len);
	must(t, "memory", first ? 0 : -ENOMEM);
	memcpy(first, saved.bytes, saved.len);
	window = map_window(t);
	must(t, "to-0010", put(t, AT_STATE, BIT_SAVING));
	set_memory(t, false);
	see_bool(t, "pending", get(t, AT_PENDING) > 0, true);
	get(t, AT_OFFSET);
	size = get(t, AT_SIZE);
	see_bool(t, "read", size == saved.sizes[0] && !memcmp(window, first, size), true);
	must(t, "to-0000", put(t, AT_STATE, 0));
	see_bool(t, "discarded", !window[0] && !memcmp(window, window + 1, size - 1), true);
	must(t, "to-0100", put(t, AT_STATE, BIT_RESUMING));
	for (unsigned i = 0; i < saved.nr; first += saved.sizes[i++]) {
		memcpy(window, first, saved.sizes[i]);
		must(t, "size", put(t, AT_SIZE, saved.sizes[i]));
		/* It was looked at: what is there now is nobody's. */
		memset(window, 0xff, saved.sizes[i]);
	}
	see(t, "to-0001", put(t, AT_STATE, BIT_RUNNING), 0);
	see_bits(t, "is", BIT_RUNNING);
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
	{"E.1/save/nothing", OPEN_DEVICE, 0, nothing},
	{"E.1/save/idempotent", OPEN_DEVICE, 0, idempotent},
	{"E.1/save/polled", OPEN_DEVICE, 0, polled},
	{"E.1/save/left-early", OPEN_DEVICE, 0, left_early},
	{"E.1/resume/whole", OPEN_DEVICE, 0, resume},
	{"E.1/resume/bad-stream", OPEN_DEVICE, NEED_RESET, bad_stream},
	{"E.1/resume/sizes", OPEN_DEVICE, NEED_RESET, hostile_sizes},
	{"E.1/window/access", OPEN_DEVICE, NEED_RESET, window_access},
	{"E.1/window/mmap", OPEN_DEVICE, 0, window_map},
	{"E.1/window/mmap-refused", OPEN_DEVICE, 0, window_not_mapped},
	{"E.1/window/mapped", OPEN_DEVICE, 0, window_mapped},
	{"E.1/ends/reset", OPEN_DEVICE, NEED_RESET, ended},
	{"E.1/ends/close", OPEN_DEVICE, 0, closed},
};
const struct section section_e1 = SECTION("E.1", rules);
