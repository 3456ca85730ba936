// SPDX-License-Identifier: BSD-3-Clause
/* A.7: extended config space. */
#include "facts.h"

static bool visible(unsigned id)
{
	static const uint8_t shown[] = {0x01, 0x02, 0x03, 0x04, 0x08, 0x09, 0x0b, 0x0d, 0x0e,
					0x0f, 0x10, 0x12, 0x13, 0x15, 0x16, 0x17, 0x18, 0x23};

	for (size_t i = 0; i < ARRAY_LEN(shown); i++) {
		if (shown[i] == id)
			return true;
	}
	return false;
}

static void empty(struct t *t)
{
	if (facts_get(t->f, 0x100, 4))
		skip(t, "the device has extended capabilities");
	see_hex(t, "head", cfg_read(t, 0x100, 4), 0);
}

/* Then all of it is a gap: the hardware's, both ways. */
static void empty_is_raw(struct t *t)
{
	unsigned wrong = 0;

	if (facts_get(t->f, 0x100, 4))
		skip(t, "the device has extended capabilities");
	for (unsigned off = 0x104; off < t->f->config_size; off += 4)
		wrong += cfg_read(t, off, 4) != raw_read(t, off, 4);
	see(t, "different", wrong, 0);
}

/* Visible capabilities in the hardware's order; a hidden first one stays as an empty slot. */
static void order(struct t *t)
{
	const struct facts *f = t->f;
	unsigned real = 0x100, ours = 0x100;
	bool same = true;

	if (!facts_get(f, 0x100, 4))
		skip(t, "the device has no extended capabilities");
	for (int ttl = 480; real && ttl; ttl--) {
		uint32_t head = facts_get(f, real, 4);

		if (visible(head & 0xffff) || real == 0x100) {
			uint32_t shown = cfg_read(t, real, 4);

			same = same && ours == real &&
			       (shown & 0xfffff) == (visible(head & 0xffff) ? head & 0xfffff : 0);
			ours = shown >> 20;
		}
		real = head >> 20 & 0xffc;
	}
	see_bool(t, "as-in-hardware", same, true);
	see(t, "end", ours, 0);
}

static void heads_fixed(struct t *t)
{
	unsigned pos = 0x100, kept = 0, all = 0;

	if (!facts_get(t->f, 0x100, 4))
		skip(t, "the device has no extended capabilities");
	for (int ttl = 480; pos && ttl; ttl--) {
		uint32_t head = cfg_read(t, pos, 4);

		cfg_write(t, pos, 4, ~head);
		kept += cfg_read(t, pos, 4) == head;
		all++;
		pos = head >> 20 & 0xffc;
	}
	see_as(t, "kept", kept, all, "all");
}

struct cap {
	unsigned id;
	unsigned length; /* of what the kernel knows of it, header included */
};

/* A capability whose registers a user can read but never change. */
static void fixed(struct t *t)
{
	const struct cap *cap = t->rule->arg;
	unsigned at = facts_ext_cap(t->f, cap->id), changed = 0;

	if (!at)
		skip(t, "the device has no such capability");
	for (unsigned off = 4; off < cap->length; off += 4) {
		uint32_t before = cfg_read(t, at + off, 4);

		cfg_write(t, at + off, 4, ~before);
		changed += cfg_read(t, at + off, 4) != before;
		cfg_write(t, at + off, 4, before);
	}
	see(t, "changed", changed, 0);
}

static void aer(struct t *t)
{
	unsigned at = facts_ext_cap(t->f, 1);

	if (!at)
		skip(t, "the device has no advanced error reporting");
	for (unsigned off = 8; off <= 0x14; off += off == 0xc ? 8 : 4) {
		uint32_t before = cfg_read(t, at + off, 4);

		/* Masks and severities change; which bits exist is the device's business. */
		cfg_write(t, at + off, 4, ~before);
		see_true(t, "same-as-hardware",
			 cfg_read(t, at + off, 4) == raw_read(t, at + off, 4));
		cfg_write(t, at + off, 4, before);
	}
}

#define FIXED(id, len)                                                                             \
	OPEN_DEVICE, NEED_EXT, fixed, &(const struct cap)                                          \
	{                                                                                          \
		id, len                                                                            \
	}

static const struct rule rules[] = {
	{"A.7/extended/none", OPEN_DEVICE, NEED_EXT, empty},
	{"A.7/extended/none-is-raw", OPEN_DEVICE, NEED_EXT | NEED_RAW, empty_is_raw},
	{"A.7/extended/order", OPEN_DEVICE, NEED_EXT, order},
	{"A.7/extended/heads-fixed", OPEN_DEVICE, NEED_EXT, heads_fixed},
	{"A.7/extended/aer", OPEN_DEVICE, NEED_EXT | NEED_RAW, aer},
	{"A.7/extended/serial-number-fixed", FIXED(0x03, 12)},
	{"A.7/extended/acs-fixed", FIXED(0x0d, 8)},
	{"A.7/extended/ari-fixed", FIXED(0x0e, 8)},
	{"A.7/extended/ats-fixed", FIXED(0x0f, 8)},
	{"A.7/extended/sriov-fixed", FIXED(0x10, 64)},
	{"A.7/extended/ltr-fixed", FIXED(0x18, 8)},
};
const struct section section_a7_ext = SECTION("A.7", rules);
