// SPDX-License-Identifier: BSD-3-Clause
/* D.3: commands of an iommufd in general, its objects and options, HWPTs. */
#include <fcntl.h>
#include "d3.h"

/* ---- the size that a caller gives ---- */

static void sizes(struct t *t)
{
	struct {
		struct iommufd_ioas_alloc alloc;
		uint8_t more[5000];
	} big = {.alloc = {.size = sizeof(big)}};

	t->container = open_iommu(t);
	see(t, "null", call(t->container, IOMMUFD_IOAS_ALLOC, NULL), -EFAULT);
	big.alloc.size = 11;
	see(t, "short", call(t->container, IOMMUFD_IOAS_ALLOC, &big), -EINVAL);
	big.alloc.size = 0;
	see(t, "zero", call(t->container, IOMMUFD_IOAS_ALLOC, &big), -EINVAL);
	big.alloc.size = sizeof(big);
	see(t, "long-of-zeros", call(t->container, IOMMUFD_IOAS_ALLOC, &big), 0);
	big.more[4999] = 1;
	see(t, "long-with-more", call(t->container, IOMMUFD_IOAS_ALLOC, &big), -E2BIG);
	big.alloc.flags = 1;
	see(t, "before-flags", call(t->container, IOMMUFD_IOAS_ALLOC, &big), -E2BIG);
	big.alloc.size = sizeof(big.alloc);
	see(t, "flags", call(t->container, IOMMUFD_IOAS_ALLOC, &big), -EOPNOTSUPP);
	see(t, "end-of-memory",
	    call(t->container, IOMMUFD_IOAS_ALLOC,
		 memcpy(at_page_end(t, 8), &(uint32_t[]){12, 0}, 8)),
	    -EFAULT);
}

static void numbers(struct t *t)
{
	uint32_t arg[16] = {sizeof(arg)};

	t->container = open_iommu(t);
	see(t, "below", call(t->container, 0x3b7f, arg), -ENOTTY);
	see(t, "behind", call(t->container, 0x3bf0, arg), -ENOTTY);
}

static void ids(struct t *t)
{
	uint32_t a, b;

	t->container = open_iommu(t);
	a = new_ioas(t);
	b = new_ioas(t);
	see(t, "first", a, 1);
	see(t, "second", b, 2);
	see(t, "destroy", destroy(t, a), 0);
	see(t, "again", destroy(t, a), -ENOENT);
	see(t, "zero", destroy(t, 0), -ENOENT);
	see(t, "reused", new_ioas(t), 1);
}

/* ---- what is in use ---- */

static void in_use(struct t *t)
{
	struct d3 d;

	open_attached(t, &d);
	see(t, "ioas", destroy(t, d.ioas), -EBUSY);
	see(t, "hwpt", destroy(t, d.hwpt), -EBUSY);
	see(t, "device", destroy(t, d.dev), -EBUSY);
	must(t, "detach", detach(t->dev));
	see(t, "hwpt-went", destroy(t, d.hwpt), -ENOENT);
	see(t, "ioas-after", destroy(t, d.ioas), 0);
	see(t, "device-after", destroy(t, d.dev), -EBUSY);
	close(t->dev);
	t->dev = -1;
	see(t, "device-closed", destroy(t, d.dev), -ENOENT);
}

/* ---- options ---- */

static long option(struct t *t, uint32_t id, uint16_t op, uint32_t object, uint64_t *value)
{
	struct iommufd_option o = {
		.size = sizeof(o), .option_id = id, .op = op, .object_id = object, .value = *value};
	long rc = call(t->container, IOMMUFD_OPTION, &o);

	*value = o.value;
	return rc;
}

static void option_rlimit(struct t *t)
{
	struct iommufd_option reserved = {.size = sizeof(reserved), .op = 1, .reserved = 1};
	uint64_t v = 7;

	t->container = open_iommu(t);
	see(t, "get", option(t, 0, IOMMUFD_OPTION_GET, 0, &v), 0);
	see(t, "value", (long)v, 0);
	see(t, "object", option(t, 0, IOMMUFD_OPTION_GET, 1, &v), -EOPNOTSUPP);
	see(t, "op", option(t, 0, 2, 0, &v), -EOPNOTSUPP);
	see(t, "option", option(t, 2, IOMMUFD_OPTION_GET, 0, &v), -EOPNOTSUPP);
	see(t, "reserved", call(t->container, IOMMUFD_OPTION, &reserved), -EOPNOTSUPP);
}

static void option_huge(struct t *t)
{
	uint64_t v = 7, off = 0, on = 1, other = 2;
	struct d3 d;

	open_bound(t, &d);
	see(t, "no-ioas", option(t, 1, IOMMUFD_OPTION_GET, 99, &v), -ENOENT);
	see(t, "device", option(t, 1, IOMMUFD_OPTION_GET, d.dev, &v), -ENOENT);
	see(t, "get", option(t, 1, IOMMUFD_OPTION_GET, d.ioas, &v), 0);
	see(t, "default", (long)v, 1);
	see(t, "set-2", option(t, 1, IOMMUFD_OPTION_SET, d.ioas, &other), -EINVAL);
	see(t, "op", option(t, 1, 2, d.ioas, &v), -EOPNOTSUPP);
	/* Pages in place of bytes: what is not aligned is in the way. */
	must(t, "map", map_fixed(t, d.ioas, 0x1001, (char *)new_pages(t, 1) + 1, 16, READ));
	see(t, "off-unaligned", option(t, 1, IOMMUFD_OPTION_SET, d.ioas, &off), -EADDRINUSE);
	v = 16;
	must(t, "unmap", unmap(t, d.ioas, 0x1001, &v));
	see(t, "off", option(t, 1, IOMMUFD_OPTION_SET, d.ioas, &off), 0);
	see(t, "unaligned", map_fixed(t, d.ioas, 0x1001, new_pages(t, 1), 16, READ), -EINVAL);
	see(t, "on", option(t, 1, IOMMUFD_OPTION_SET, d.ioas, &on), 0);
	d.hwpt = d.ioas;
	must(t, "attach", attach(t->dev, &d.hwpt));
	see(t, "off-empty", option(t, 1, IOMMUFD_OPTION_SET, d.ioas, &off), 0);
	see(t, "on-again", option(t, 1, IOMMUFD_OPTION_SET, d.ioas, &on), 0);
	must(t, "map", map_fixed(t, d.ioas, t->f->iova_first, new_pages(t, 1), PAGE, READ));
	see(t, "off-mapped", option(t, 1, IOMMUFD_OPTION_SET, d.ioas, &off), -EINVAL);
}

/* ---- HWPTs ---- */

static long hwpt_alloc(struct t *t, uint32_t flags, uint32_t dev, uint32_t pt, uint32_t type,
		       uint32_t len, uint32_t *out)
{
	struct iommufd_hwpt_alloc a = {.size = sizeof(a),
				       .flags = flags,
				       .dev_id = dev,
				       .pt_id = pt,
				       .data_type = type,
				       .data_len = len};
	long rc = call(t->container, IOMMUFD_HWPT_ALLOC, &a);

	*out = a.out_hwpt_id;
	return rc;
}

static void hwpt(struct t *t)
{
	struct iommufd_hwpt_alloc reserved = {.size = sizeof(reserved), .reserved = 1};
	uint32_t id, none;
	struct d3 d;

	open_bound(t, &d);
	see(t, "reserved", call(t->container, IOMMUFD_HWPT_ALLOC, &reserved), -EOPNOTSUPP);
	see(t, "length-without-type", hwpt_alloc(t, 0, 99, 99, 0, 8, &none), -EINVAL);
	see(t, "type-without-length", hwpt_alloc(t, 0, 99, 99, 1, 0, &none), -EINVAL);
	see(t, "no-device", hwpt_alloc(t, 0, 99, 99, 0, 0, &none), -ENOENT);
	see(t, "ioas-as-device", hwpt_alloc(t, 0, d.ioas, d.ioas, 0, 0, &none), -ENOENT);
	see(t, "no-pt", hwpt_alloc(t, 0, d.dev, 99, 0, 0, &none), -EINVAL);
	see(t, "device-as-pt", hwpt_alloc(t, 0, d.dev, d.dev, 0, 0, &none), -EINVAL);
	see(t, "unknown-flag", hwpt_alloc(t, 0x100, d.dev, d.ioas, 0, 0, &none), -EOPNOTSUPP);
	see(t, "good", hwpt_alloc(t, 0, d.dev, d.ioas, 0, 0, &id), 0);
	see(t, "nested", hwpt_alloc(t, 0, d.dev, id, 0, 0, &none), -EOPNOTSUPP);
	see(t, "ioas-in-use", destroy(t, d.ioas), -EBUSY);
	see(t, "attach", attach(t->dev, &id), 0);
	see(t, "in-use", destroy(t, id), -EBUSY);
	must(t, "detach", detach(t->dev));
	/* Made by hand, it stays. */
	see(t, "destroy", destroy(t, id), 0);
	see(t, "ioas", destroy(t, d.ioas), 0);
}

static void hw_info(struct t *t)
{
	uint8_t data[16];
	struct iommufd_hw_info info = {
		.size = sizeof(info), .data_len = sizeof(data), .data = (uintptr_t)data};
	struct d3 d;
	unsigned left = 0;

	open_bound(t, &d);
	see(t, "no-device", call(t->container, IOMMUFD_GET_HW_INFO, &info), -ENOENT);
	info.reserved[2] = 1;
	see(t, "reserved", call(t->container, IOMMUFD_GET_HW_INFO, &info), -EOPNOTSUPP);
	info.reserved[2] = 0;
	info.flags = 0x80;
	see(t, "flags", call(t->container, IOMMUFD_GET_HW_INFO, &info), -EOPNOTSUPP);
	info.flags = 0;
	info.dev_id = d.dev;
	info.data = 8;
	see(t, "pointer", call(t->container, IOMMUFD_GET_HW_INFO, &info), -EFAULT);
	info.data = (uintptr_t)data;
	memset(data, 0xff, sizeof(data));
	see(t, "good", call(t->container, IOMMUFD_GET_HW_INFO, &info), 0);
	if (info.data_type)
		skip(t, "the IOMMU tells of itself");
	see(t, "length", info.data_len, 0);
	for (size_t i = 0; i < sizeof(data); i++)
		left += data[i];
	see(t, "cleared", left, 0);
}

static void dirty_errors(struct t *t)
{
	uint64_t bits = 0;
	struct iommufd_set_dirty set = {.size = sizeof(set), .flags = 2};
	struct iommufd_get_dirty get = {.size = sizeof(get),
					.flags = 2,
					.length = PAGE,
					.page_size = PAGE,
					.data = (uintptr_t)&bits};
	struct d3 d;

	open_attached(t, &d);
	see(t, "set-flags", call(t->container, IOMMUFD_SET_DIRTY, &set), -EOPNOTSUPP);
	set.flags = 1;
	see(t, "set-no-hwpt", call(t->container, IOMMUFD_SET_DIRTY, &set), -ENOENT);
	set.hwpt_id = d.hwpt; /* which was not made for it */
	see(t, "set", call(t->container, IOMMUFD_SET_DIRTY, &set), -EOPNOTSUPP);
	see(t, "get-flags", call(t->container, IOMMUFD_GET_DIRTY, &get), -EOPNOTSUPP);
	get.flags = 0;
	see(t, "get-no-hwpt", call(t->container, IOMMUFD_GET_DIRTY, &get), -ENOENT);
	get.hwpt_id = d.hwpt;
	get.iova = 1;
	see(t, "get-misaligned", call(t->container, IOMMUFD_GET_DIRTY, &get), -EINVAL);
	get.iova = -PAGE;
	get.length = 2 * PAGE;
	see(t, "get-wrap", call(t->container, IOMMUFD_GET_DIRTY, &get), -EOVERFLOW);
	get.iova = 0;
	get.length = PAGE;
	get.page_size = 2 * PAGE;
	see(t, "get-page", call(t->container, IOMMUFD_GET_DIRTY, &get), -EINVAL);
	get.page_size = PAGE;
	get.page_size = 0;
	see(t, "get-no-page", call(t->container, IOMMUFD_GET_DIRTY, &get), -EINVAL);
	get.page_size = get.length = 512;
	see(t, "get-sector", call(t->container, IOMMUFD_GET_DIRTY, &get), -EINVAL);
	get.page_size = get.length = PAGE;
	get.reserved = 1;
	see(t, "get-reserved", call(t->container, IOMMUFD_GET_DIRTY, &get), -EOPNOTSUPP);
	get.reserved = 0;
	see(t, "get", call(t->container, IOMMUFD_GET_DIRTY, &get), -EOPNOTSUPP);
}

static long set_dirty(struct t *t, uint32_t hwpt, bool on)
{
	struct iommufd_set_dirty set = {.size = sizeof(set), .flags = on, .hwpt_id = hwpt};

	return call(t->container, IOMMUFD_SET_DIRTY, &set);
}

/* An IOMMU that tracks, and a device that writes nothing. */
static void dirty_clean(struct t *t)
{
	struct iommufd_hw_info info = {.size = sizeof(info)};
	uint64_t bits[2] = {0xf0, 0xf1};
	struct iommufd_get_dirty get = {.size = sizeof(get),
					.length = 128 * PAGE,
					.page_size = PAGE,
					.data = (uintptr_t)bits};
	uint32_t id;
	struct d3 d;

	open_bound(t, &d);
	info.dev_id = d.dev;
	must(t, "info", call(t->container, IOMMUFD_GET_HW_INFO, &info));
	if (!(info.out_capabilities & IOMMUFD_HW_CAP_DIRTY))
		skip(t, "the IOMMU does not track");
	see_hex(t, "capabilities", (long)info.out_capabilities, IOMMUFD_HW_CAP_DIRTY);
	see(t, "alloc", hwpt_alloc(t, IOMMUFD_HWPT_DIRTY, d.dev, d.ioas, 0, 0, &id), 0);
	see(t, "attach", attach(t->dev, &id), 0);
	get.hwpt_id = id;
	get.iova = t->f->iova_first;
	see(t, "unmapped", call(t->container, IOMMUFD_GET_DIRTY, &get), 0);
	must(t, "map", map_fixed(t, d.ioas, get.iova, new_pages(t, 4), 4 * PAGE, READ | WRITE));
	see(t, "not-enabled", call(t->container, IOMMUFD_GET_DIRTY, &get), 0);
	see(t, "disable", set_dirty(t, id, false), 0);
	see(t, "enable", set_dirty(t, id, true), 0);
	see(t, "again", set_dirty(t, id, true), 0);
	see(t, "enabled", call(t->container, IOMMUFD_GET_DIRTY, &get), 0);
	get.flags = IOMMUFD_DIRTY_NO_CLEAR;
	see(t, "no-clear", call(t->container, IOMMUFD_GET_DIRTY, &get), 0);
	see_hex(t, "kept", (long)bits[0], 0xf0);
	see_hex(t, "kept", (long)bits[1], 0xf1);
	see(t, "disable", set_dirty(t, id, false), 0);
	must(t, "detach", detach(t->dev));
	see(t, "destroy", destroy(t, id), 0);
}

/* ---- what an IOMMU without nesting does not have ---- */

static void nesting(struct t *t)
{
	struct iommufd_invalidate inv = {.size = sizeof(inv), .entry_num = 1};
	struct iommufd_viommu_alloc vi = {.size = sizeof(vi), .type = 1};
	struct iommufd_vdevice_alloc vd = {.size = sizeof(vd), .viommu_id = 99};
	struct d3 d;

	open_attached(t, &d);
	see(t, "invalidate-pointer", call(t->container, IOMMUFD_INVALIDATE, &inv), -EINVAL);
	see(t, "entries", inv.entry_num, 0);
	inv = (struct iommufd_invalidate){.size = sizeof(inv), .reserved = 1};
	see(t, "invalidate-reserved", call(t->container, IOMMUFD_INVALIDATE, &inv), -EOPNOTSUPP);
	inv = (struct iommufd_invalidate){.size = sizeof(inv), .hwpt_id = 99};
	see(t, "invalidate-no-hwpt", call(t->container, IOMMUFD_INVALIDATE, &inv), -ENOENT);
	inv.hwpt_id = d.hwpt;
	see(t, "invalidate", call(t->container, IOMMUFD_INVALIDATE, &inv), -EINVAL);
	see(t, "viommu-no-device", call(t->container, IOMMUFD_VIOMMU_ALLOC, &vi), -ENOENT);
	vi.dev_id = d.dev;
	vi.hwpt_id = d.hwpt;
	see(t, "viommu", call(t->container, IOMMUFD_VIOMMU_ALLOC, &vi), -EOPNOTSUPP);
	see(t, "vdevice", call(t->container, IOMMUFD_VDEVICE_ALLOC, &vd), -ENOENT);
}

static const struct rule rules[] = {
	{"D.3/frame/size", OPEN_NOTHING, NEED_IOMMUFD, sizes},
	{"D.3/frame/number", OPEN_NOTHING, NEED_IOMMUFD, numbers},
	{"D.3/objects/ids", OPEN_NOTHING, NEED_IOMMUFD, ids},
	{"D.3/objects/in-use", OPEN_NOTHING, NEED_IOMMUFD, in_use},
	{"D.3/OPTION/rlimit", OPEN_NOTHING, NEED_IOMMUFD, option_rlimit},
	{"D.3/OPTION/huge-pages", OPEN_NOTHING, NEED_IOMMUFD, option_huge},
	{"D.3/HWPT_ALLOC/errors", OPEN_NOTHING, NEED_IOMMUFD, hwpt},
	{"D.3/GET_HW_INFO/none", OPEN_NOTHING, NEED_IOMMUFD, hw_info},
	{"D.3/dirty/errors", OPEN_NOTHING, NEED_IOMMUFD, dirty_errors},
	{"D.3/dirty/clean", OPEN_NOTHING, NEED_IOMMUFD, dirty_clean},
	{"D.3/nesting/none", OPEN_NOTHING, NEED_IOMMUFD, nesting},
};
const struct section section_d3_frame = SECTION("D.3", rules);
