/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A hostile stream of a device's state, loaded into a test device, an I/OAT engine or an NVMe
 * controller: the input is a program that changes a good stream, section by section, and puts it
 * together again with right checksums (mostly), so that what is fuzzed is each model's care with
 * each value.
 *
 * What must hold: what is refused leaves the device as it was, and in RESUMING; what is taken can
 * be run, saved and loaded again; a reset makes it RUNNING; and a good stream is taken afterwards.
 */
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <xxhash.h>
#include <linux/pci_regs.h>
#include <linux/vfio.h>

#include "devices/ioat/ioat_model.h"
#include "devices/nvme/nvme_model.h"
#include "devices/pcitest/pcitest_model.h"
#include "input.h"
#include "vfio/vfio.h"
#include "vfio/vfio_uapi.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define HEADER   64u
#define SECTION  32u
#define SECTIONS 64u
#define STREAM   (1u << 20) /* bytes */
#define CONFIG   ((uint64_t)VFIO_PCI_CONFIG_REGION_INDEX << 40)
#define TAG(a, b, c, d)                                                                            \
	((uint32_t)(a) | (uint32_t)(b) << 8 | (uint32_t)(c) << 16 | (uint32_t)(d) << 24)
#define TAG_END TAG('.', 'E', 'N', 'D')

enum { STOP = 1, RUNNING, STOP_COPY, RESUMING, RUNNING_P2P, PRE_COPY };

static const char *const specs[] = {
	"pcitest,memory=64K",
	"ioat,channels=2",
	"nvme,memory=1M",
};
#define DEVICES (sizeof(specs) / sizeof(specs[0]))

struct section {
	uint32_t tag, version;
	uint64_t number, length; /* as the header has it */
	uint8_t *bytes;
	size_t len;
};

struct dev {
	struct vfio_group_file *gf;
	struct vfio_container *container;
	struct vfio_device_file *df;
	uint8_t *good; /* a stream of it, as it is after a reset and some use */
	size_t good_len;
};

static struct vfio_machine *machine;
static struct dev devices[DEVICES];
static struct vfio_migration_file *given;

/* ---- the client: its addresses are pointers ---- */

static int copy_from(struct vfio_client *client, void *dst, uint64_t uaddr, size_t len)
{
	memcpy(dst, (void *)(uintptr_t)uaddr, len);
	return 0;
}

static int copy_to(struct vfio_client *client, uint64_t uaddr, const void *src, size_t len)
{
	memcpy((void *)(uintptr_t)uaddr, src, len);
	return 0;
}

static int give_migration(struct vfio_client *client, struct vfio_migration_file *file, int32_t *fd)
{
	CHECK(!given);
	given = file;
	*fd = 1;
	return 0;
}

static const struct vfio_client_ops client_ops = {
	.copy_from = copy_from,
	.copy_to = copy_to,
	.give_migration = give_migration,
};
static struct vfio_client client = {.ops = &client_ops};

static int ioctl_of(struct dev *d, unsigned cmd, void *arg)
{
	return vfio_device_ioctl(d->df, &client, cmd, (uintptr_t)arg);
}

static int state(struct dev *d, unsigned operation, uint32_t *value)
{
	struct {
		struct vfio_device_feature head;
		struct vfio_device_feature_mig_state state;
	} arg = {{sizeof(arg), operation | VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE}, {*value, -1}};
	int ret = ioctl_of(d, VFIO_DEVICE_FEATURE, &arg);

	*value = arg.state.device_state;
	return ret;
}

static int go(struct dev *d, uint32_t target)
{
	return state(d, VFIO_DEVICE_FEATURE_SET, &target);
}

static uint32_t where(struct dev *d)
{
	uint32_t value = 0;

	CHECK(!state(d, VFIO_DEVICE_FEATURE_GET, &value));
	return value;
}

static void drop_session(void)
{
	if (given)
		vfio_migration_release(given);
	given = NULL;
}

static void reset(struct dev *d)
{
	drop_session();
	CHECK(!ioctl_of(d, VFIO_DEVICE_RESET, NULL));
	CHECK(where(d) == RUNNING);
}

/* ---- streams ---- */

static size_t save(struct dev *d, uint8_t *out)
{
	size_t len = 0;
	ssize_t n;

	CHECK(!go(d, STOP_COPY) && given);
	while ((n = vfio_migration_read(given, out + len, STREAM - len)) > 0)
		len += (size_t)n;
	CHECK(!n && len < STREAM);
	drop_session();
	return len;
}

/* In pieces, whose sizes @in says. */
static int load(struct dev *d, const uint8_t *bytes, size_t len, struct input *in)
{
	CHECK(!go(d, RESUMING) && given);
	for (size_t at = 0; at < len;) {
		size_t n = in && in->left ? (size_t)take(in, 2) % 5000 + 1 : len;
		ssize_t ret;

		n = n < len - at ? n : len - at;
		ret = vfio_migration_write(given, bytes + at, n);
		if (ret < 0)
			return (int)ret;
		CHECK((size_t)ret == n);
		at += n;
	}
	return go(d, STOP);
}

static uint64_t get(const uint8_t *p, unsigned bytes)
{
	uint64_t value = 0;

	for (unsigned i = 0; i < bytes; i++)
		value |= (uint64_t)p[i] << 8 * i;
	return value;
}

static void put(uint8_t *p, uint64_t value, unsigned bytes)
{
	for (unsigned i = 0; i < bytes; i++)
		p[i] = (uint8_t)(value >> 8 * i);
}

static unsigned take_apart(const struct dev *d, struct section *out)
{
	unsigned nr = 0;

	for (size_t at = HEADER; at < d->good_len; nr++) {
		const uint8_t *p = d->good + at;
		struct section *s = &out[nr];

		CHECK(nr < SECTIONS / 2);
		*s = (struct section){(uint32_t)get(p, 4),
				      (uint32_t)get(p + 4, 4),
				      get(p + 8, 8),
				      get(p + 16, 8),
				      NULL,
				      (size_t)get(p + 16, 8)};
		s->bytes = malloc(s->len + 1);
		CHECK(s->bytes);
		memcpy(s->bytes, p + SECTION, s->len);
		at += SECTION + s->len + 8;
	}
	return nr;
}

static size_t put_together(const struct dev *d, const struct section *s, unsigned nr, uint8_t *out)
{
	uint8_t *p = out + HEADER;

	memcpy(out, d->good, HEADER);
	for (unsigned i = 0; i < nr; i++) {
		CHECK(p + SECTION + s[i].len + 8 <= out + STREAM);
		put(p, s[i].tag, 4);
		put(p + 4, s[i].version, 4);
		put(p + 8, s[i].number, 8);
		put(p + 16, s[i].length, 8);
		put(p + 24, XXH3_64bits(p, SECTION - 8), 8);
		memcpy(p + SECTION, s[i].bytes, s[i].len);
		put(p + SECTION + s[i].len, XXH3_64bits_withSeed(s[i].bytes, s[i].len, s[i].number),
		    8);
		p += SECTION + s[i].len + 8;
	}
	return (size_t)(p - out);
}

/* Numbers and the end as they are to be. */
static void renumber(struct section *s, unsigned nr)
{
	uint64_t bytes = 0;

	for (unsigned i = 0; i < nr; i++) {
		s[i].number = i;
		s[i].length = s[i].len;
		if (s[i].tag == TAG_END && s[i].len == 16) {
			put(s[i].bytes, i, 8);
			put(s[i].bytes + 8, bytes, 8);
		}
		bytes += s[i].len;
	}
}

/* Values that checks are about. */
static uint64_t value_of(struct input *in)
{
	static const uint64_t values[] = {0,     1,          2,          0x7f,      0xff,
					  0x100, 0x7fff,     0xffff,     0x10000,   0x7fffffff,
					  ~0u,   1ull << 32, 1ull << 63, ~0ull - 7, ~0ull};
	uint8_t which = (uint8_t)take(in, 1);

	return which < 0x80 ? values[which % (sizeof(values) / sizeof(values[0]))] : take(in, 4);
}

static void resize(struct section *s, size_t len)
{
	uint8_t *bytes = realloc(s->bytes, len + 1);

	CHECK(bytes);
	if (len > s->len)
		memset(bytes + s->len, 0, len - s->len);
	s->bytes = bytes;
	s->len = len;
}

/* One change.  False: numbers and lengths shall stay wrong. */
static bool change(struct section *s, unsigned *nr, struct input *in)
{
	unsigned op = (unsigned)take(in, 1) % 16, i = (unsigned)take(in, 1) % *nr;
	struct section *at = &s[i], other;
	size_t off = at->len ? (size_t)take(in, 2) % at->len : 0;
	unsigned width = 1u << take(in, 1) % 4;

	if (width > at->len - off)
		width = (unsigned)(at->len - off);
	switch (op) {
	default: /* a value */
		put(at->bytes + off, value_of(in), width);
		return true;
	case 8: /* a little off */
		put(at->bytes + off, get(at->bytes + off, width) + (take(in, 1) & 1 ? 1 : -1ull),
		    width);
		return true;
	case 9:
		resize(at, (size_t)take(in, 2) % 6000);
		return true;
	case 10: /* once more */
		if (*nr == SECTIONS)
			return true;
		other = *at;
		other.bytes = malloc(at->len + 1);
		CHECK(other.bytes);
		memcpy(other.bytes, at->bytes, at->len);
		memmove(&s[i + 1], &s[i], (*nr - i) * sizeof(*s));
		s[i] = other;
		++*nr;
		return true;
	case 11: /* not at all */
		if (*nr == 1)
			return true;
		free(at->bytes);
		memmove(&s[i], &s[i + 1], (--*nr - i) * sizeof(*s));
		return true;
	case 12: /* elsewhere */
		i = (unsigned)take(in, 1) % *nr;
		other = s[i];
		s[i] = *at;
		*at = other;
		return true;
	case 13:
		at->version = (uint32_t)value_of(in);
		return true;
	case 14:
		at->tag = take(in, 1) & 1 ? s[take(in, 1) % *nr].tag : (uint32_t)take(in, 4);
		return true;
	case 15: /* the frame itself */
		if (take(in, 1) & 1)
			at->length = value_of(in);
		else
			at->number = value_of(in);
		return false;
	}
}

/* ---- what a device shows ---- */

#define SHOWN 65536u
struct shown {
	uint8_t bars[6][SHOWN];
	uint8_t config[4096];
};

static void look(struct dev *d, struct shown *out)
{
	memset(out, 0, sizeof(*out));
	for (unsigned i = 0; i < 6; i++) {
		struct vfio_region_info info = {.argsz = sizeof(info), .index = i};

		CHECK(!ioctl_of(d, VFIO_DEVICE_GET_REGION_INFO, &info));
		if (info.size)
			vfio_device_read(d->df, (uint64_t)i << 40, out->bars[i],
					 info.size < SHOWN ? info.size : SHOWN);
	}
	vfio_device_read(d->df, CONFIG, out->config, sizeof(out->config));
}

static void use(struct dev *d, struct input *in)
{
	for (unsigned n = 0; n < 8; n++) {
		unsigned bar = n % 2 ? 2 : 0;
		uint64_t value = in ? value_of(in) : 0x1122334455667788ull * n;
		uint64_t at = in ? take(in, 2) & 0x3ff8 : 8 * n;

		vfio_device_write(d->df, (uint64_t)bar << 40 | at, &value, in && n & 4 ? 4 : 8);
	}
}

/* ---- set-up ---- */

static void open_device(struct dev *d, unsigned number)
{
	/* Strings are copied up to the end of their page. */
	static char name[4096] __attribute__((aligned(4096)));
	uint16_t command = PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER;

	snprintf(name, sizeof(name), "0000:%02x:00.0", number + 1);
	CHECK(!vfio_group_open(machine, number + 1, &d->gf));
	CHECK(!vfio_container_open(machine, &d->container));
	CHECK(!vfio_group_set_container(d->gf, d->container));
	CHECK(!vfio_container_ioctl(d->container, &client, VFIO_SET_IOMMU, VFIO_TYPE1v2_IOMMU));
	CHECK(!vfio_group_get_device(d->gf, &client, (uintptr_t)name, &d->df));
	CHECK(vfio_device_write(d->df, CONFIG + PCI_COMMAND, &command, 2) == 2);
	use(d, NULL);
	d->good = malloc(STREAM);
	CHECK(d->good);
	d->good_len = save(d, d->good);
	CHECK(!go(d, RUNNING));
	reset(d);
}

static void set_up(void)
{
	static const struct uvfio_model *const models[] = {&pcitest_model, &ioat_model,
							   &nvme_model};
	struct uvfio_error err;

	machine = vfio_machine_new(NULL, NULL, &err);
	CHECK(machine);
	for (unsigned i = 0; i < DEVICES; i++) {
		CHECK(!vfio_machine_add_model(machine, models[i]));
		CHECK(!vfio_machine_add_device(machine, specs[i], &err));
		open_device(&devices[i], i);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static uint8_t stream[STREAM], again[STREAM];
	static struct shown before, after;
	struct section sections[SECTIONS] = {0};
	struct input in = {data, size};
	unsigned nr, changes;
	bool right = true;
	struct dev *d;
	size_t len;

	if (!machine)
		set_up();
	d = &devices[take(&in, 1) % DEVICES];
	changes = (unsigned)take(&in, 1) % 6;
	nr = take_apart(d, sections);
	for (unsigned i = 0; i < changes; i++)
		right = change(sections, &nr, &in) && right;
	if (right)
		renumber(sections, nr);
	len = put_together(d, sections, nr, stream);
	for (unsigned i = 0; i < nr; i++)
		free(sections[i].bytes);
	if (take(&in, 1) % 8 == 7) /* any byte after all */
		stream[take(&in, 3) % len] ^= (uint8_t)take(&in, 1);

	look(d, &before);
	if (load(d, stream, len, &in)) {
		CHECK(where(d) == RESUMING);
		/* A good one, in a session of its own, has the device as it says; nothing of the
		 * bad one is in it. */
		reset(d);
		look(d, &after);
		CHECK(!memcmp(&before, &after, sizeof(before)));
	} else {
		CHECK(where(d) == STOP);
		drop_session();
		CHECK(!go(d, RUNNING));
		use(d, &in);
		len = save(d, again);
		CHECK(!go(d, RUNNING));
		CHECK(!load(d, again, len, NULL));
		drop_session();
		CHECK(!go(d, RUNNING));
	}
	reset(d);
	CHECK(!load(d, d->good, d->good_len, NULL));
	reset(d);
	return 0;
}
