// SPDX-License-Identifier: BSD-3-Clause
/*
 * E.3: the stream.  What one device gives another one of the same kind takes, and what is not such
 * a stream is refused: these cases take a good one apart, change one thing, put it together with
 * right checksums, and offer it.  The layout is that of docs/migration-stream.md.
 */
#define XXH_INLINE_ALL
#include <xxhash.h>
#include <endian.h>
#include "e.h"

#define HEADER       64u
#define HEAD_BYTES   32u
#define CHECKSUM     8u
#define MAX_SECTIONS 512u
#define TAG(a, b, c, d)                                                                            \
	((uint32_t)(a) | (uint32_t)(b) << 8 | (uint32_t)(c) << 16 | (uint32_t)(d) << 24)
#define END TAG('.', 'E', 'N', 'D')
#define MEM TAG('.', 'M', 'E', 'M')
#define IRQ TAG('.', 'I', 'R', 'Q')

struct section_of {
	uint32_t tag, version;
	uint64_t number, length; /* as the header says; @len is what is there */
	const uint8_t *bytes;
	size_t len;
};

struct parts {
	uint8_t header[HEADER];
	struct section_of sections[MAX_SECTIONS];
	unsigned nr;
};

static uint32_t get32(const uint8_t *p)
{
	uint32_t v;

	memcpy(&v, p, sizeof(v));
	return le32toh(v);
}

static uint64_t get64(const uint8_t *p)
{
	uint64_t v;

	memcpy(&v, p, sizeof(v));
	return le64toh(v);
}

static void put32(uint8_t *p, uint32_t v)
{
	v = htole32(v);
	memcpy(p, &v, sizeof(v));
}

static void put64(uint8_t *p, uint64_t v)
{
	v = htole64(v);
	memcpy(p, &v, sizeof(v));
}

static void take_apart(struct t *t, const struct stream *s, struct parts *out)
{
	size_t at = HEADER;

	must(t, "stream", s->len > HEADER + HEAD_BYTES ? 0 : -EIO);
	memcpy(out->header, s->bytes, HEADER);
	for (out->nr = 0; at < s->len; out->nr++) {
		struct section_of *sec = &out->sections[out->nr];

		must(t, "sections", out->nr < MAX_SECTIONS && s->len - at >= HEAD_BYTES ? 0 : -EIO);
		*sec = (struct section_of){get32(s->bytes + at),       get32(s->bytes + at + 4),
					   get64(s->bytes + at + 8),   get64(s->bytes + at + 16),
					   s->bytes + at + HEAD_BYTES, 0};
		sec->len = sec->length;
		must(t, "section", s->len - at - HEAD_BYTES >= sec->len + CHECKSUM ? 0 : -EIO);
		at += HEAD_BYTES + sec->len + CHECKSUM;
	}
	must(t, "end", out->nr && out->sections[out->nr - 1].tag == END ? 0 : -EIO);
}

/* Numbers in order, and the end counts what is before it. */
static void renumber(struct parts *p, uint8_t end[16])
{
	uint64_t bytes = 0;
	unsigned i;

	for (i = 0; i < p->nr; i++) {
		p->sections[i].number = i;
		p->sections[i].length = p->sections[i].len;
		if (p->sections[i].tag == END)
			break;
		bytes += p->sections[i].len;
	}
	if (i == p->nr)
		return;
	put64(end, i);
	put64(end + 8, bytes);
	p->sections[i].bytes = end;
}

static void put_together(struct t *t, const struct parts *p, struct stream *out)
{
	uint8_t *at;

	*out = (struct stream){.room = HEADER};
	for (unsigned i = 0; i < p->nr; i++)
		out->room += HEAD_BYTES + p->sections[i].len + CHECKSUM;
	at = out->bytes = malloc(out->room);
	must(t, "memory", at ? 0 : -ENOMEM);
	memcpy(at, p->header, HEADER);
	put64(at + HEADER - 8, XXH3_64bits(at, HEADER - 8));
	at += HEADER;
	for (unsigned i = 0; i < p->nr; i++) {
		const struct section_of *s = &p->sections[i];

		put32(at, s->tag);
		put32(at + 4, s->version);
		put64(at + 8, s->number);
		put64(at + 16, s->length);
		put64(at + 24, XXH3_64bits(at, HEAD_BYTES - 8));
		memcpy(at + HEAD_BYTES, s->bytes, s->len);
		put64(at + HEAD_BYTES + s->len, XXH3_64bits_withSeed(s->bytes, s->len, s->number));
		at += HEAD_BYTES + s->len + CHECKSUM;
	}
	out->len = (size_t)(at - out->bytes);
}

/* A stream of a device that has been used a little.  Its memory outlives resets. */
static void sample(struct t *t, struct stream *s, struct parts *p)
{
	static const uint8_t zeros[1 << 16];

	movable(t, 0);
	if (facts_get(t->f, 0, 4) == 0x50541234) {
		for (uint64_t at = 0; at < t->f->bar[2].size; at += sizeof(zeros))
			memory_put(t, (uint32_t)at, zeros, sizeof(zeros));
		reg_put(t, 0x08, 0x600dcafe);
		reg_put(t, 0x1000, 77);
		memory_put(t, 8192, "some page", 9);
		memory_put(t, 20480, "another one", 11);
	}
	save_stream(t, s);
	take_apart(t, s, p);
}

/* It is offered; the device must stay in RESUMING, and be there again after a reset. */
static long offer(struct t *t, const void *bytes, size_t len)
{
	long rc = load_stream(t, bytes, len), state = get_state(t);

	must(t, "state", state == (rc ? RESUMING : STOP) ? 0 : -EIO);
	must(t, "reset", sys(ioctl(t->dev, VFIO_DEVICE_RESET)));
	must(t, "running", get_state(t) == RUNNING ? 0 : -EIO);
	return rc;
}

static long offer_parts(struct t *t, const struct parts *p)
{
	struct stream s;
	long rc;

	put_together(t, p, &s);
	rc = offer(t, s.bytes, s.len);
	free(s.bytes);
	return rc;
}

/* ---- what is good ---- */

static void round_trip(struct t *t)
{
	uint32_t word = 0, mem = 0;
	struct stream first, second;
	struct parts p;

	needs_pcitest(t);
	sample(t, &first, &p);
	must(t, "reset", sys(ioctl(t->dev, VFIO_DEVICE_RESET)));
	reg_put(t, 0x08, 1);
	memory_put(t, 8192, "nothing", 7);
	memory_put(t, 12288, "too much", 8);
	must(t, "load", load_stream(t, first.bytes, first.len));
	must(t, "run", set_state(t, RUNNING, NULL));
	word = reg_get(t, 0x08);
	see_hex(t, "scratch", word, 0x600dcafe);
	see(t, "doorbell", reg_get(t, 0x80), 77);
	memory_get(t, 8192, &mem, 4);
	see_true(t, "memory", !memcmp(&mem, "some", 4));
	memory_get(t, 12288, &mem, 4);
	see_hex(t, "memory-that-was-zero", mem, 0);
	save_stream(t, &second);
	see_true(t, "same",
		 first.len == second.len && !memcmp(first.bytes, second.bytes, first.len));
}

/* Taken apart and put together again it is the same: so the cases below change what they say. */
static void own_hand(struct t *t)
{
	struct stream s, again;
	struct parts p;

	sample(t, &s, &p);
	put_together(t, &p, &again);
	see_true(t, "same", s.len == again.len && !memcmp(s.bytes, again.bytes, s.len));
	see(t, "rc", offer(t, again.bytes, again.len), 0);
	see(t, "again", offer(t, again.bytes, again.len), 0);
}

/* Memory may come in any pieces, and again: the last one counts. */
static void memory_again(struct t *t)
{
	uint8_t end[16], old[9 + 4096] = {2}, new[9 + 8] = {2};
	struct stream s;
	struct parts p;
	uint64_t word;

	needs_pcitest(t);
	sample(t, &s, &p);
	put64(old + 1, 36864);
	memset(old + 9, 0x11, 4096);
	put64(new + 1, 36864 + 8);
	memset(new + 9, 0x22, 8);
	must(t, "room", p.nr + 2 <= MAX_SECTIONS ? 0 : -ENOMEM);
	memmove(&p.sections[2], &p.sections[0], p.nr * sizeof(p.sections[0]));
	p.sections[0] = (struct section_of){MEM, 1, 0, 0, old, sizeof(old)};
	p.sections[1] = (struct section_of){MEM, 1, 0, 0, new, sizeof(new)};
	p.nr += 2;
	renumber(&p, end);
	put_together(t, &p, &s);
	must(t, "load", load_stream(t, s.bytes, s.len));
	must(t, "run", set_state(t, RUNNING, NULL));
	memory_get(t, 36864, &word, 8);
	see_hex(t, "first", word, 0x1111111111111111);
	memory_get(t, 36864 + 8, &word, 8);
	see_hex(t, "second", word, 0x2222222222222222);
}

/* ---- what is not ---- */

static void header_changed(struct t *t)
{
	static const struct {
		unsigned at;
		uint8_t xor ;
		const char *label;
	} changes[] = {
		{0, 1, "magic"},      {8, 3, "version-above"},
		{8, 1, "version-0"},  {11, 0x80, "version-high"},
		{12, 1, "flags"},     {16, 1, "model"},
		{47, 1, "model-end"}, {48, 1, "reserved"},
	};
	struct stream s;
	struct parts p;

	sample(t, &s, &p);
	for (size_t i = 0; i < ARRAY_LEN(changes); i++) {
		struct parts c = p;

		c.header[changes[i].at] ^= changes[i].xor ;
		see(t, changes[i].label, offer_parts(t, &c), -EINVAL);
	}
	for (unsigned i = 0; i < 32; i++)
		p.header[16 + i] = 0;
	see(t, "no-model", offer_parts(t, &p), -EINVAL);
	memset(p.header + 16, 'x', 32);
	see(t, "model-without-end", offer_parts(t, &p), -EINVAL);
	memset(p.header + 16, 0, 32);
	memcpy(p.header + 16, "no-such-model", 13);
	see(t, "another-model", offer_parts(t, &p), -EINVAL);
}

/* Cut anywhere it is none. */
static void cut(struct t *t)
{
	struct stream s;
	struct parts p;
	size_t step, refused = 0, asked = 0;

	sample(t, &s, &p);
	step = s.len / 40 + 1;
	for (size_t len = 0; len < s.len; len += step, asked++)
		refused += offer(t, s.bytes, len) == -EINVAL;
	see_as(t, "refused", (long)refused, (long)asked, "all");
	see(t, "last-byte", offer(t, s.bytes, s.len - 1), -EINVAL);
	see(t, "header-alone", offer(t, s.bytes, HEADER), -EINVAL);
	see(t, "without-end", offer(t, s.bytes, s.len - HEAD_BYTES - 16 - CHECKSUM), -EINVAL);
	see(t, "whole", offer(t, s.bytes, s.len), 0);
}

static void goes_on(struct t *t)
{
	struct stream s;
	struct parts p;

	sample(t, &s, &p);
	s.bytes = realloc(s.bytes, 2 * s.len);
	must(t, "memory", s.bytes ? 0 : -ENOMEM);
	memcpy(s.bytes + s.len, s.bytes, s.len);
	see(t, "a-byte-more", offer(t, s.bytes, s.len + 1), -EINVAL);
	see(t, "twice", offer(t, s.bytes, 2 * s.len), -EINVAL);
}

/* One bit anywhere: all of the headers, and some of what is between. */
static void flipped(struct t *t)
{
	struct stream s;
	struct parts p;
	size_t refused = 0, asked = 0, step;

	sample(t, &s, &p);
	step = s.len / 150 + 1;
	for (size_t at = 0; at < s.len; at += at < HEADER + HEAD_BYTES ? 1 : step, asked++) {
		s.bytes[at] ^= 1u << at % 8;
		refused += offer(t, s.bytes, s.len) == -EINVAL;
		s.bytes[at] ^= 1u << at % 8;
	}
	see_as(t, "refused", (long)refused, (long)asked, "all");
	see(t, "whole", offer(t, s.bytes, s.len), 0);
}

static void sections_moved(struct t *t)
{
	struct section_of first;
	struct stream s;
	struct parts p, c;
	uint8_t end[16];

	sample(t, &s, &p);
	must(t, "sections", p.nr >= 3 ? 0 : -EIO);
	c = p;
	first = c.sections[0];
	c.sections[0] = c.sections[1];
	c.sections[1] = first;
	see(t, "swapped", offer_parts(t, &c), -EINVAL);
	c = p;
	memmove(&c.sections[0], &c.sections[1], --c.nr * sizeof(first));
	see(t, "first-missing", offer_parts(t, &c), -EINVAL);
	c = p;
	c.sections[0].number = 1;
	see(t, "number", offer_parts(t, &c), -EINVAL);
	c = p;
	c.sections[c.nr - 2].number = ~0ull;
	see(t, "number-max", offer_parts(t, &c), -EINVAL);
	/* The end says how many there were: one is left out, the numbers are right. */
	c = p;
	c.sections[c.nr - 2] = c.sections[c.nr - 1];
	c.sections[--c.nr - 1].number--;
	see(t, "last-missing", offer_parts(t, &c), -EINVAL);
	/* The end comes first, and says so. */
	c = p;
	c.sections[0] = c.sections[c.nr - 1];
	renumber(&c, end);
	see(t, "goes-on-behind-end", offer_parts(t, &c), -EINVAL);
}

/* Each one that is not memory: twice, missing, of another version, longer, shorter. */
/* Contents, of memory or of a namespace that travels with its controller: in any pieces, again and
 * again. */
static bool is_contents(uint32_t tag)
{
	return tag == MEM || tag == TAG('N', 'V', 'C', 'D') || tag == TAG('N', 'V', 'C', 'Z');
}

static void sections_changed(struct t *t)
{
	static uint8_t longer[1 << 20];
	uint8_t end[16];
	struct stream s;
	struct parts p;
	unsigned wrong = 0;

	sample(t, &s, &p);
	for (unsigned i = 0; i + 1 < p.nr; i++) {
		const struct section_of *sec = &p.sections[i];
		struct parts c = p;

		c.sections[i].version++;
		wrong += offer_parts(t, &c) != -EINVAL;
		c.sections[i].version = ~0u;
		wrong += offer_parts(t, &c) != -EINVAL;
		if (is_contents(sec->tag) || sec->len + 1 > sizeof(longer))
			continue;
		c = p;
		memmove(&c.sections[i + 1], sec, (c.nr++ - i) * sizeof(*sec));
		renumber(&c, end);
		wrong += offer_parts(t, &c) != -EINVAL;
		c = p;
		memcpy(longer, sec->bytes, sec->len);
		longer[sec->len] = 0;
		c.sections[i].bytes = longer;
		c.sections[i].len++;
		renumber(&c, end);
		wrong += offer_parts(t, &c) != -EINVAL;
		if (!sec->len)
			continue;
		c = p;
		c.sections[i].len--;
		renumber(&c, end);
		wrong += offer_parts(t, &c) != -EINVAL;
		c.sections[i].len = 0;
		renumber(&c, end);
		wrong += offer_parts(t, &c) != -EINVAL;
	}
	see(t, "not-refused", wrong, 0);
}

/* A section is missing though all is counted right: the model knows what it needs. */
static void sections_missing(struct t *t)
{
	uint8_t end[16];
	struct stream s;
	struct parts p;
	unsigned wrong = 0;

	sample(t, &s, &p);
	needs_pcitest(t);
	for (unsigned i = 0; i + 1 < p.nr; i++) {
		struct parts c = p;

		if (p.sections[i].tag == MEM)
			continue;
		memmove(&c.sections[i], &c.sections[i + 1], (--c.nr - i) * sizeof(c.sections[0]));
		renumber(&c, end);
		wrong += offer_parts(t, &c) != -EINVAL;
	}
	see(t, "not-refused", wrong, 0);
}

static void unknown_sections(struct t *t)
{
	static const uint32_t tags[] = {TAG('W', 'H', 'A', 'T'), TAG('.', 'X', 'Y', 'Z'), 0, ~0u,
					TAG('%', 's', '%', 'n')};
	uint8_t end[16];
	struct stream s;
	struct parts p;

	sample(t, &s, &p);
	for (size_t i = 0; i < ARRAY_LEN(tags); i++) {
		struct parts c = p;

		memmove(&c.sections[1], &c.sections[0], c.nr++ * sizeof(c.sections[0]));
		c.sections[0] = (struct section_of){tags[i], 1, 0, 0, p.sections[0].bytes, 0};
		renumber(&c, end);
		see(t, "rc", offer_parts(t, &c), -EINVAL);
	}
}

/* What a section's header says of its length is not believed. */
static void lengths(struct t *t)
{
	static const uint64_t values[] = {(4ull << 20) + 1, 1ull << 32, (1ull << 32) + 16,
					  1ull << 63,       ~0ull,      ~0ull - 7};
	struct stream s;
	struct parts p;

	sample(t, &s, &p);
	for (size_t i = 0; i < ARRAY_LEN(values); i++) {
		struct parts c = p;

		c.sections[0].length = values[i];
		see(t, "rc", offer_parts(t, &c), -EINVAL);
	}
}

/* Memory where the device has none. */
static void bad_memory(struct t *t)
{
	const struct {
		uint8_t bar;
		uint64_t at;
		size_t len;
	} bad[] = {
		{0, 0, 4096},
		{1, 0, 4},
		{6, 0, 8},
		{255, 0, 8},
		{2, ~0ull, 8},
		{2, ~0ull - 7, 16},
		{3, 0, 8},
		{2, t->f->bar[2].size, 8},
		{2, t->f->bar[2].size - 4, 8},
		{4, 0, 8},
		{2, 1ull << 63, 8},
	};
	static uint8_t bytes[9 + 4096];
	uint8_t end[16];
	struct stream s;
	struct parts p;
	unsigned wrong = 0;

	needs_pcitest(t);
	sample(t, &s, &p);
	memmove(&p.sections[1], &p.sections[0], p.nr++ * sizeof(p.sections[0]));
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		bytes[0] = bad[i].bar;
		put64(bytes + 1, bad[i].at);
		p.sections[0] = (struct section_of){MEM, 1, 0, 0, bytes, 9 + bad[i].len};
		renumber(&p, end);
		wrong += offer_parts(t, &p) != -EINVAL;
	}
	for (size_t len = 0; len <= 9; len++) {
		/* Not even an address, or no contents. */
		bytes[0] = 2;
		put64(bytes + 1, 0);
		p.sections[0] = (struct section_of){MEM, 1, 0, 0, bytes, len};
		renumber(&p, end);
		wrong += offer_parts(t, &p) != -EINVAL;
	}
	see(t, "not-refused", wrong, 0);
}

/* Interrupts that the device does not have. */
static void bad_interrupts(struct t *t)
{
	uint8_t bits[8], end[16];
	struct stream s;
	struct parts p;
	unsigned i;

	sample(t, &s, &p);
	for (i = 0; i < p.nr && p.sections[i].tag != IRQ; i++)
		;
	if (i == p.nr || p.sections[i].len != 8 || t->f->msix_count >= 64)
		skip(t, "the device has no MSI-X vectors, or too many");
	memset(bits, 0, sizeof(bits));
	bits[t->f->msix_count / 8] |= 1u << t->f->msix_count % 8;
	p.sections[i].bytes = bits;
	renumber(&p, end);
	see(t, "one-beyond", offer_parts(t, &p), -EINVAL);
	memset(bits, 0, sizeof(bits));
	bits[7] = 0x80;
	see(t, "bit-63", offer_parts(t, &p), -EINVAL);
	bits[7] = 0;
	see(t, "none", offer_parts(t, &p), 0);
}

/* It was refused once: nothing that comes later makes it good. */
static void stays_bad(struct t *t)
{
	struct stream s;
	struct parts p;
	int fd = -1;

	sample(t, &s, &p);
	must(t, "go", set_state(t, RESUMING, &fd));
	s.bytes[0] ^= 1;
	see(t, "write", write_all(fd, s.bytes, s.len), -EINVAL);
	s.bytes[0] ^= 1;
	see(t, "again", write_all(fd, s.bytes, s.len), -EINVAL);
	see(t, "to-STOP", set_state(t, STOP, NULL), -EINVAL);
	see_state(t, "state", RESUMING);
	see(t, "reset", sys(ioctl(t->dev, VFIO_DEVICE_RESET)), 0);
	see(t, "good", offer(t, s.bytes, s.len), 0);
}

static const struct rule rules[] = {
	{"E.3/stream/round-trip", OPEN_DEVICE, NEED_RESET, round_trip},
	{"E.3/stream/own-hand", OPEN_DEVICE, NEED_RESET, own_hand},
	{"E.3/stream/memory-again", OPEN_DEVICE, 0, memory_again},
	{"E.3/stream/header", OPEN_DEVICE, NEED_RESET, header_changed},
	{"E.3/stream/cut", OPEN_DEVICE, NEED_RESET, cut},
	{"E.3/stream/goes-on", OPEN_DEVICE, NEED_RESET, goes_on},
	{"E.3/stream/bit-flipped", OPEN_DEVICE, NEED_RESET, flipped},
	{"E.3/stream/sections-moved", OPEN_DEVICE, NEED_RESET, sections_moved},
	{"E.3/stream/sections-changed", OPEN_DEVICE, NEED_RESET, sections_changed},
	{"E.3/stream/sections-missing", OPEN_DEVICE, NEED_RESET, sections_missing},
	{"E.3/stream/sections-unknown", OPEN_DEVICE, NEED_RESET, unknown_sections},
	{"E.3/stream/lengths", OPEN_DEVICE, NEED_RESET, lengths},
	{"E.3/stream/memory-elsewhere", OPEN_DEVICE, NEED_RESET, bad_memory},
	{"E.3/stream/interrupts-beyond", OPEN_DEVICE, NEED_RESET, bad_interrupts},
	{"E.3/stream/stays-bad", OPEN_DEVICE, NEED_RESET, stays_bad},
};
const struct section section_e3_stream = SECTION("E.3", rules);
