// SPDX-License-Identifier: BSD-3-Clause
/* D.3: what is mapped in an IOAS, and where. */
#include <fcntl.h>
#include "d3.h"

#define TOP  (~0ull)
#define GOOD 0x400000ull

/* ---- MAP: alone, and two at once ---- */

enum ioas { IOAS, NO_IOAS, DEVICE };

struct map_row {
	const char *label;
	uint32_t flags, reserved;
	enum ioas ioas;
	uint64_t addr_add, length, iova; /* an iova below 4 GiB: from the usable range's first */
	long want;
	bool wild; /* addr_add is the address */
};

/* Each is refused for the first of what is wrong with it; the device is attached. */
static const struct map_row map_rows[] = {
	{"unknown-flag", 8 | FIXED | READ, 0, IOAS, 0, PAGE, GOOD, -EOPNOTSUPP},
	{"reserved", FIXED | READ, 1, IOAS, 0, PAGE, GOOD, -EOPNOTSUPP},
	{"flag-before-iova", 8, 0, NO_IOAS, 0, TOP, TOP, -EOPNOTSUPP},
	{"iova-top", FIXED | READ, 0, IOAS, 0, PAGE, TOP, -EOVERFLOW},
	{"iova-top-not-fixed", READ, 0, IOAS, 0, PAGE, TOP, -EOVERFLOW},
	{"length-top", FIXED | READ, 0, IOAS, 0, TOP, GOOD, -EOVERFLOW},
	{"top-before-rights", FIXED, 0, NO_IOAS, 0, TOP, GOOD, -EOVERFLOW},
	{"no-rights", FIXED, 0, IOAS, 0, PAGE, GOOD, -EINVAL},
	{"rights-before-ioas", FIXED, 0, NO_IOAS, 0, PAGE, GOOD, -EINVAL},
	{"no-ioas", FIXED | READ, 0, NO_IOAS, 0, PAGE, GOOD, -ENOENT},
	{"device-as-ioas", FIXED | READ, 0, DEVICE, 0, PAGE, GOOD, -ENOENT},
	{"ioas-before-address", FIXED | READ, 0, NO_IOAS, -PAGE, 2 * PAGE, GOOD, -ENOENT, true},
	{"address-wraps", FIXED | READ, 0, IOAS, -PAGE, 2 * PAGE, GOOD, -EOVERFLOW, true},
	{"length-0", FIXED | READ, 0, IOAS, 0, 0, GOOD, -EINVAL},
	{"length-misaligned", FIXED | READ, 0, IOAS, 0, PAGE + 1, GOOD, -EINVAL},
	{"iova-misaligned", FIXED | READ, 0, IOAS, 0, PAGE, GOOD + 1, -EINVAL},
	{"iova-wraps", FIXED | READ, 0, IOAS, 0, 2 * PAGE, -PAGE, -EOVERFLOW},
	{"window", FIXED | READ, 0, IOAS, 0, PAGE, 0xfee00000, -EINVAL},
	{"outside", FIXED | READ, 0, IOAS, 0, PAGE, 1ull << 62, -EINVAL},
	{"taken", FIXED | READ, 0, IOAS, 0, PAGE, 0, -EEXIST},
	{"taken-before-address", FIXED | READ, 0, IOAS, 1, PAGE, 0, -EEXIST},
	{"address-misaligned", FIXED | READ, 0, IOAS, 1, PAGE, GOOD, -EINVAL},
	{"no-memory", FIXED | READ, 0, IOAS, PAGE, PAGE, GOOD, -EFAULT, true},
	{"good", FIXED | READ | WRITE, 0, IOAS, 0, PAGE, GOOD, 0},
};

static void map_errors(struct t *t)
{
	char *p = new_pages(t, 4);
	struct d3 d;

	open_attached(t, &d);
	must(t, "taken", map_fixed(t, d.ioas, t->f->iova_first, p, PAGE, READ));
	for (size_t i = 0; i < ARRAY_LEN(map_rows); i++) {
		const struct map_row *r = &map_rows[i];
		const uint32_t where[] = {d.ioas, 99, d.dev};
		struct iommufd_map map = {
			.size = sizeof(map),
			.flags = r->flags,
			.ioas_id = where[r->ioas],
			.reserved = r->reserved,
			.addr = (r->wild ? 0 : (uintptr_t)p) + r->addr_add,
			.length = r->length,
			.iova = r->iova + (r->iova <= GOOD + PAGE ? t->f->iova_first : 0),
		};

		see(t, r->label, call(t->container, IOMMUFD_MAP, &map), r->want);
	}
}

/* Without a domain there is no alignment, no aperture, and nobody looks at the memory. */
static void map_without_domain(struct t *t)
{
	char *p = new_pages(t, 1);
	uint32_t ioas;

	t->container = open_iommu(t);
	ioas = new_ioas(t);
	see(t, "bytes", map_fixed(t, ioas, 0x1003, p + 1, 5, READ), 0);
	see(t, "high", map_fixed(t, ioas, 1ull << 62, p, PAGE, READ), 0);
	see(t, "window", map_fixed(t, ioas, 0xfee00000, p, PAGE, READ), 0);
	see(t, "no-memory", map_fixed(t, ioas, 0x10000, (void *)PAGE, PAGE, READ), 0);
	see(t, "overlap", map_fixed(t, ioas, 0x1007, p, 1, READ), -EEXIST);
	see(t, "beside", map_fixed(t, ioas, 0x1008, p, 1, READ), 0);
}

/* … and whoever attaches finds what does not fit. */
static void attach_refused(struct t *t)
{
	static const struct {
		const char *label;
		uint64_t iova, addr, length;
		long want;
	} rows[] = {
		{"unaligned", 0x10001, 1, 16, -EADDRINUSE},
		{"window", 0xfee00000, 0, PAGE, -EADDRINUSE},
		{"outside", 1ull << 62, 0, PAGE, -EADDRINUSE},
	};
	char *p = new_pages(t, 1);
	struct d3 d;

	open_bound(t, &d);
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		uint32_t ioas = new_ioas(t);

		must(t, "map",
		     map_fixed(t, ioas, rows[i].iova, p + rows[i].addr, rows[i].length, READ));
		see(t, rows[i].label, attach(t->dev, &ioas), rows[i].want);
	}
	must(t, "map", map_fixed(t, d.ioas, t->f->iova_first, (void *)PAGE, PAGE, READ));
	see(t, "no-memory", attach(t->dev, &d.ioas), -EFAULT);
}

static uint64_t choose(struct t *t, uint32_t ioas, const char *p, uint64_t length, long *rc)
{
	struct iommufd_map map = {
		.size = sizeof(map),
		.flags = READ,
		.ioas_id = ioas,
		.addr = (uintptr_t)p,
		.length = length,
		.iova = 12345,
	};

	*rc = call(t->container, IOMMUFD_MAP, &map);
	return map.iova;
}

static long allow(struct t *t, uint32_t ioas, const struct iommufd_iova_range *ranges, uint32_t nr)
{
	struct iommufd_allow_iovas arg = {
		.size = sizeof(arg), .ioas_id = ioas, .num_iovas = nr, .iovas = (uintptr_t)ranges};

	return call(t->container, IOMMUFD_ALLOW_IOVAS, &arg);
}

static void chosen(struct t *t)
{
	const struct iommufd_iova_range only = {0x100000, 0x103fff};
	char *p = new_pages(t, 8);
	uint64_t a, b;
	struct d3 d;
	long rc;

	open_attached(t, &d);
	a = choose(t, d.ioas, p, PAGE, &rc);
	see(t, "rc", rc, 0);
	see_bool(t, "zero", !a, false);
	see(t, "misaligned-by", a & (PAGE - 1), 0);
	b = choose(t, d.ioas, p, PAGE, &rc);
	see(t, "rc", rc, 0);
	see_bool(t, "same", a == b, false);
	see(t, "address-misaligned", (choose(t, d.ioas, p + 1, PAGE, &rc), rc), -EINVAL);
	must(t, "allow", allow(t, d.ioas, &only, 1));
	a = choose(t, d.ioas, p, 4 * PAGE, &rc);
	if (rc == -ENOSPC) { /* where memory is aligned to more than that, it does not fit */
		a = choose(t, d.ioas, p + PAGE, PAGE, &rc);
	}
	see(t, "allowed", rc, 0);
	see_bool(t, "inside", a >= only.start && a <= only.last, true);
	see(t, "too-large", (choose(t, d.ioas, p, 8 * PAGE, &rc), rc), -ENOSPC);
	/* FIXED does not ask the list. */
	see(t, "fixed", map_fixed(t, d.ioas, 0x800000, p, PAGE, READ), 0);
}

/* ---- ranges ---- */

static void ranges(struct t *t)
{
	struct iommufd_iova_range r[8] = {{0, 0}};
	struct iommufd_iova_ranges get = {
		.size = sizeof(get), .num_iovas = 8, .iovas = (uintptr_t)r, .reserved = 1};
	struct d3 d;
	bool window = false, ordered = true;

	open_bound(t, &d);
	see(t, "reserved", call(t->container, IOMMUFD_IOVA_RANGES, &get), -EOPNOTSUPP);
	get.reserved = 0;
	see(t, "no-ioas", call(t->container, IOMMUFD_IOVA_RANGES, &get), -ENOENT);
	get.ioas_id = d.ioas;
	see(t, "bare", call(t->container, IOMMUFD_IOVA_RANGES, &get), 0);
	see(t, "count", get.num_iovas, 1);
	see_bool(t, "everything", !r[0].start && r[0].last == TOP, true);
	see(t, "alignment", (long)get.out_alignment, 1);
	d.hwpt = d.ioas;
	must(t, "attach", attach(t->dev, &d.hwpt));
	get.num_iovas = 8;
	see(t, "attached", call(t->container, IOMMUFD_IOVA_RANGES, &get), 0);
	see(t, "alignment", (long)get.out_alignment, PAGE);
	for (uint32_t i = 0; i < get.num_iovas && i < 8; i++) {
		window |= r[i].start <= 0xfeefffff && r[i].last >= 0xfee00000;
		ordered &= r[i].start <= r[i].last && (!i || r[i].start > r[i - 1].last);
	}
	see_bool(t, "window", window, false);
	see_bool(t, "ordered", ordered, true);
	get.num_iovas = 1;
	memset(r, 0, sizeof(r));
	see(t, "room-for-1", call(t->container, IOMMUFD_IOVA_RANGES, &get), -EMSGSIZE);
	see_bool(t, "filled", r[0].last, true);
	see_bool(t, "told", get.num_iovas > 1, true);
	see_bool(t, "beyond", r[1].last, false);
}

static void allow_list(struct t *t)
{
	static const struct iommufd_iova_range overlap[] = {{0x10000, 0x1ffff}, {0x1ffff, 0x2ffff}},
					       backwards[] = {{0x2000, 0x1000}},
					       point[] = {{0x1000, 0x1000}},
					       window[] = {{0xfee00000, 0xfee00fff}},
					       good[] = {{0x20000, 0x2ffff}, {0x10000, 0x1ffff}};
	uint32_t other;
	struct d3 d;

	open_attached(t, &d);
	see(t, "no-ioas", allow(t, 99, good, 2), -ENOENT);
	see(t, "pointer", allow(t, d.ioas, (void *)8, 1), -EFAULT);
	see(t, "backwards", allow(t, d.ioas, backwards, 1), -EINVAL);
	see(t, "point", allow(t, d.ioas, point, 1), -EINVAL);
	see(t, "overlap", allow(t, d.ioas, overlap, 2), -EINVAL);
	see(t, "reserved", allow(t, d.ioas, window, 1), -EADDRINUSE);
	see(t, "any-order", allow(t, d.ioas, good, 2), 0);
	see(t, "empty", allow(t, d.ioas, NULL, 0), 0);
	/* What is promised keeps devices away. */
	other = new_ioas(t);
	see(t, "promised", allow(t, other, window, 1), 0);
	see(t, "attach", attach(t->dev, &other), -EADDRINUSE);
}

/* ---- UNMAP ---- */

static void unmap_errors(struct t *t)
{
	const uint64_t base = t->f->iova_first;
	char *p = new_pages(t, 8);
	uint64_t n = 0;
	struct d3 d;

	open_attached(t, &d);
	see(t, "no-ioas", (n = PAGE, unmap(t, 99, base, &n)), -ENOENT);
	see(t, "length-0", (n = 0, unmap(t, d.ioas, base, &n)), -EINVAL);
	see(t, "iova-top", (n = PAGE, unmap(t, d.ioas, TOP, &n)), -EOVERFLOW);
	see(t, "length-top", (n = TOP, unmap(t, d.ioas, PAGE, &n)), -EOVERFLOW);
	see(t, "wrap", (n = 2 * PAGE, unmap(t, d.ioas, -PAGE, &n)), -EOVERFLOW);
	see(t, "hole", (n = PAGE, unmap(t, d.ioas, base, &n)), -ENOENT);
	see(t, "all-of-nothing", (n = TOP, unmap(t, d.ioas, 0, &n)), 0);
	see(t, "bytes", (long)n, 0);
	must(t, "map", map_fixed(t, d.ioas, base, p, PAGE, READ));
	must(t, "map", map_fixed(t, d.ioas, base + 4 * PAGE, p, 4 * PAGE, READ));
	see(t, "part", (n = PAGE, unmap(t, d.ioas, base + 5 * PAGE, &n)), -ENOENT);
	see(t, "size-as-it-was", (long)n, PAGE);
	/* What lies whole in front of it goes all the same. */
	see(t, "bisect", (n = 6 * PAGE, unmap(t, d.ioas, base, &n)), -ENOENT);
	see(t, "first-is-gone", (n = PAGE, unmap(t, d.ioas, base, &n)), -ENOENT);
	must(t, "map", map_fixed(t, d.ioas, base, p, PAGE, READ));
	see(t, "with-hole", (n = 16 * PAGE, unmap(t, d.ioas, base, &n)), 0);
	see(t, "bytes", (long)n, 5 * PAGE);
	must(t, "map", map_fixed(t, d.ioas, base, p, PAGE, READ));
	see(t, "all", (n = TOP, unmap(t, d.ioas, 0, &n)), 0);
	see(t, "bytes", (long)n, PAGE);
}

/* ---- COPY ---- */

static void copy_errors(struct t *t)
{
	const uint64_t from = 0x100000, to = t->f->iova_first + GOOD;
	char *p = new_pages(t, 4);
	uint64_t n;
	uint32_t src;
	struct d3 d;

	open_attached(t, &d);
	src = new_ioas(t);
	must(t, "map", map_fixed(t, src, from, p, 2 * PAGE, READ));
	must(t, "map", map_fixed(t, src, from + 2 * PAGE, p, PAGE, READ | WRITE));
	see(t, "unknown-flag", copy(t, d.ioas, to, src, from, PAGE, 8), -EOPNOTSUPP);
	see(t, "top", copy(t, d.ioas, to, src, TOP, PAGE, FIXED | READ), -EOVERFLOW);
	see(t, "no-rights", copy(t, d.ioas, to, src, from, PAGE, FIXED), -EINVAL);
	see(t, "no-source", copy(t, 99, to, 99, from, PAGE, FIXED | READ), -ENOENT);
	see(t, "length-0", copy(t, 99, to, src, from, 0, FIXED | READ), -EINVAL);
	see(t, "wrap", copy(t, 99, to, src, -PAGE, 2 * PAGE, FIXED | READ), -EOVERFLOW);
	see(t, "gap", copy(t, 99, to, src, from, 4 * PAGE, FIXED | READ), -ENOENT);
	see(t, "no-destination", copy(t, 99, to, src, from, PAGE, FIXED | READ), -ENOENT);
	see(t, "reserved", copy(t, d.ioas, 0xfee00000, src, from, PAGE, FIXED | READ), -EINVAL);
	see(t, "write", copy(t, d.ioas, to, src, from, PAGE, FIXED | READ | WRITE), -EPERM);
	see(t, "slice", copy(t, d.ioas, to, src, from + PAGE, 2 * PAGE, FIXED | READ), 0);
	see(t, "taken", copy(t, d.ioas, to, src, from, PAGE, FIXED | READ), -EEXIST);
	see(t, "read-of-written",
	    copy(t, d.ioas, to + GOOD, src, from + 2 * PAGE, PAGE, FIXED | READ), 0);
	see(t, "chosen", copy(t, d.ioas, 0, src, from, PAGE, READ), 0);
	/* Each piece is one of its own. */
	see(t, "first-piece", (n = PAGE, unmap(t, d.ioas, to, &n)), 0);
	see(t, "second-piece", (n = PAGE, unmap(t, d.ioas, to + PAGE, &n)), 0);
}

/* ---- files, processes ---- */

static void files(struct t *t)
{
	const uint64_t to = t->f->iova_first + GOOD;
	int fd = memfd_create("rules", MFD_CLOEXEC), null = open("/dev/null", O_RDWR);
	struct d3 d;
	uint64_t n;

	open_attached(t, &d);
	must(t, "size", sys(ftruncate(fd, 4 * PAGE)));
	see(t, "unknown-flag", map_file(t, d.ioas, fd, 0, PAGE, 8, to), -EOPNOTSUPP);
	see(t, "no-rights", map_file(t, d.ioas, fd, 0, PAGE, FIXED, to), -EINVAL);
	see(t, "no-ioas", map_file(t, 99, fd, 0, PAGE, FIXED | READ, to), -ENOENT);
	see(t, "no-file", map_file(t, d.ioas, 999, 0, PAGE, FIXED | READ, to), -EBADF);
	see(t, "no-file-first", map_file(t, d.ioas, 999, 0, PAGE, FIXED | READ, 0xfee00000),
	    -EBADF);
	/* Since 6.19 what is wrong with the range is found first. */
	see(t, "no-file-length-0", map_file(t, d.ioas, 999, 0, 0, FIXED | READ, to),
	    since(t, 6, 19) ? -EINVAL : -EBADF);
	see(t, "no-file-wraps", map_file(t, d.ioas, 999, -PAGE, 2 * PAGE, FIXED | READ, to),
	    since(t, 6, 19) ? -EOVERFLOW : -EBADF);
	see(t, "no-file-large", map_file(t, d.ioas, 999, 1ull << 62, PAGE, FIXED | READ, to),
	    -EBADF);
	see(t, "large", map_file(t, d.ioas, fd, 1ull << 62, PAGE, FIXED | READ, to), -EINVAL);
	see(t, "misaligned", map_file(t, d.ioas, fd, 1, PAGE, FIXED | READ, to), -EINVAL);
	see(t, "reserved", map_file(t, d.ioas, fd, 0, PAGE, FIXED | READ, 0xfee00000), -EINVAL);
	see(t, "no-memory-file", map_file(t, d.ioas, null, 0, PAGE, FIXED | READ, to), -EINVAL);
	see(t, "beyond-end", map_file(t, d.ioas, fd, 4 * PAGE, PAGE, FIXED | READ, to), -EINVAL);
	see(t, "good", map_file(t, d.ioas, fd, PAGE, 2 * PAGE, FIXED | READ | WRITE, to), 0);
	see(t, "unmap", (n = 2 * PAGE, unmap(t, d.ioas, to, &n)), 0);
}

static void change_process(struct t *t)
{
	struct iommufd_change_process arg = {.size = sizeof(arg), .reserved = 1};
	int fd = memfd_create("rules", MFD_CLOEXEC);
	const uint64_t base = t->f->iova_first;
	struct d3 d;

	open_attached(t, &d);
	must(t, "size", sys(ftruncate(fd, PAGE)));
	see(t, "reserved", call(t->container, IOMMUFD_CHANGE_PROCESS, &arg), -EOPNOTSUPP);
	arg.reserved = 0;
	see(t, "nothing", call(t->container, IOMMUFD_CHANGE_PROCESS, &arg), 0);
	must(t, "map", map_file(t, d.ioas, fd, 0, PAGE, FIXED | READ, base));
	see(t, "file", call(t->container, IOMMUFD_CHANGE_PROCESS, &arg), 0);
	must(t, "map", map_fixed(t, d.ioas, base + GOOD, new_pages(t, 1), PAGE, READ));
	see(t, "process", call(t->container, IOMMUFD_CHANGE_PROCESS, &arg), -EINVAL);
}

static const struct rule rules[] = {
	{"D.3/MAP/errors", OPEN_NOTHING, NEED_IOMMUFD, map_errors},
	{"D.3/MAP/without-domain", OPEN_NOTHING, NEED_IOMMUFD, map_without_domain},
	{"D.3/MAP/chosen", OPEN_NOTHING, NEED_IOMMUFD, chosen},
	{"D.3/MAP_FILE/errors", OPEN_NOTHING, NEED_IOMMUFD, files},
	{"D.3/UNMAP/errors", OPEN_NOTHING, NEED_IOMMUFD, unmap_errors},
	{"D.3/COPY/errors", OPEN_NOTHING, NEED_IOMMUFD, copy_errors},
	{"D.3/IOVA_RANGES/errors", OPEN_NOTHING, NEED_IOMMUFD, ranges},
	{"D.3/ALLOW_IOVAS/errors", OPEN_NOTHING, NEED_IOMMUFD, allow_list},
	{"D.3/CHANGE_PROCESS/errors", OPEN_NOTHING, NEED_IOMMUFD, change_process},
	{"D.3/ATTACH/what-is-mapped", OPEN_NOTHING, NEED_IOMMUFD, attach_refused},
};
const struct section section_d3_ioas = SECTION("D.3", rules);
