// SPDX-License-Identifier: BSD-3-Clause
/* D.4: FEATURE DMA_BUF, what is refused in which order, and what the descriptor is. */
#include <fcntl.h>
#include <poll.h>
#include <sys/ioctl.h>
#include "d3.h"
#include "d4.h"

#define GET        VFIO_DEVICE_FEATURE_GET
#define SET        VFIO_DEVICE_FEATURE_SET
#define PROBE      VFIO_DEVICE_FEATURE_PROBE

#define MAX_RANGES 8

struct export_call {
	struct vfio_device_feature head;
	struct export_request request;
	struct export_range ranges[MAX_RANGES];
};

static long ask(struct t *t, uint32_t argsz, uint32_t op, struct export_call *c)
{
	long rc;

	c->head.argsz = argsz;
	c->head.flags = op | VFIO_DEVICE_FEATURE_DMA_BUF;
	rc = sys(ioctl(t->dev, VFIO_DEVICE_FEATURE, c));
	return rc;
}

long export_ranges(struct t *t, uint32_t index, uint32_t open_flags, uint32_t flags,
		   const struct export_range *ranges, uint32_t nr)
{
	struct export_call c = {.request = {index, open_flags, flags, nr}};

	for (uint32_t i = 0; i < nr && i < MAX_RANGES; i++)
		c.ranges[i] = ranges[i];
	return ask(t, sizeof(c), GET, &c);
}

static void need_feature(struct t *t)
{
	if (!since(t, 6, 19))
		skip(t, "BARs are exported since 6.19");
}

unsigned bar_pages(const struct t *t)
{
	return (unsigned)(t->f->bar[t->f->bar_index].size / PAGE);
}

int export_pages(struct t *t, unsigned first, unsigned pages)
{
	const struct export_range range = {first * PAGE, pages * PAGE};
	long fd;

	need_feature(t);
	if (bar_pages(t) < first + pages)
		skip(t, "the device's memory BAR has too few pages");
	fd = export_ranges(t, (uint32_t)t->f->bar_index, O_RDWR | O_CLOEXEC, 0, &range, 1);
	must(t, "export", fd);
	return (int)fd;
}

/* ---- what is refused ---- */

static void frame(struct t *t)
{
	struct export_call c = {.request = {(uint32_t)t->f->bar_index, O_RDWR, 0, 1},
				.ranges = {{0, PAGE}}};

	need_feature(t);
	see(t, "probe", ask(t, 8, PROBE, &c), 0);
	see(t, "probe-get", ask(t, 8, PROBE | GET, &c), 0);
	see(t, "probe-set", ask(t, 8, PROBE | SET, &c), -EINVAL);
	see(t, "set", ask(t, sizeof(c), SET, &c), -EINVAL);
	see(t, "none", ask(t, sizeof(c), 0, &c), -EINVAL);
	see(t, "short", ask(t, 8 + sizeof(c.request) - 1, GET, &c), -EINVAL);
	/* The size covers what stands in front of the ranges, and no more. */
	if (bar_pages(t))
		see_bool(t, "without-ranges", ask(t, 8 + sizeof(c.request), GET, &c) >= 0, true);
}

enum region { BAR, ROM, CONFIG, ABSENT };

struct row {
	const char *label;
	enum region region;
	uint32_t flags, nr;
	struct export_range ranges[2];
	bool from_end; /* the first offset counts from the BAR's end */
	long want;
};

#define ONE(off, len)                                                                              \
	{                                                                                          \
		{                                                                                  \
			off, len                                                                   \
		}                                                                                  \
	}

/* Each is refused for the first of what is wrong with it. */
static const struct row rows[] = {
	{"no-ranges", BAR, 0, 0, {{0, 0}}, false, -EINVAL},
	{"flags", BAR, 1, 1, ONE(0, PAGE), false, -EINVAL},
	{"no-ranges-before-region", ROM, 0, 0, {{0, 0}}, false, -EINVAL},
	{"flags-before-region", ROM, 1, 1, ONE(0, PAGE), false, -EINVAL},
	{"rom", ROM, 0, 1, ONE(0, PAGE), false, -ENODEV},
	{"config", CONFIG, 0, 1, ONE(0, PAGE), false, -ENODEV},
	{"region-before-range", ROM, 0, 1, ONE(1, 0), false, -ENODEV},
	{"length-0", BAR, 0, 1, ONE(0, 0), false, -EINVAL},
	{"offset-misaligned", BAR, 0, 1, ONE(512, PAGE), false, -EINVAL},
	{"length-misaligned", BAR, 0, 1, ONE(0, 512), false, -EINVAL},
	{"second-length-0", BAR, 0, 2, {{0, PAGE}, {0, 0}}, false, -EINVAL},
	{"total-wraps", BAR, 0, 2, {{0, 1ull << 63}, {0, 1ull << 63}}, false, -EINVAL},
	{"half-of-everything", BAR, 0, 1, ONE(-PAGE, 1ull << 63), false, -EINVAL},
	{"misaligned-before-wrap", BAR, 0, 2, {{-PAGE, PAGE}, {0, 1}}, false, -EINVAL},
	{"offset-wraps", BAR, 0, 1, ONE(-PAGE, PAGE), false, -EOVERFLOW},
	{"wrap-first", BAR, 0, 2, {{-PAGE, PAGE}, {1ull << 40, PAGE}}, false, -EOVERFLOW},
	{"beyond-first", BAR, 0, 2, {{1ull << 40, PAGE}, {-PAGE, PAGE}}, false, -EINVAL},
	{"behind", BAR, 0, 1, ONE(0, PAGE), true, -EINVAL},
	{"over-the-end", BAR, 0, 1, ONE(-PAGE, 2 * PAGE), true, -EINVAL},
};

static uint32_t region_of(const struct t *t, enum region region)
{
	return region == BAR ? (uint32_t)t->f->bar_index : region == ROM ? 6 : 7;
}

static void errors(struct t *t)
{
	const uint64_t size = t->f->bar[t->f->bar_index].size;

	need_feature(t);
	if (!bar_pages(t))
		skip(t, "the device's memory BAR has too few pages");
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct row r = rows[i];

		if (r.from_end)
			r.ranges[0].offset += size;
		see(t, r.label,
		    export_ranges(t, region_of(t, r.region), O_RDWR, r.flags, r.ranges, r.nr),
		    r.want);
	}
}

/* Ranges that are not in memory, with a region that is none, and too many of them. */
static void ranges_unreadable(struct t *t)
{
	struct {
		struct vfio_device_feature head;
		struct export_request request;
	} * c;

	need_feature(t);
	c = at_page_end(t, sizeof(*c));
	c->head.argsz = sizeof(*c);
	c->head.flags = GET | VFIO_DEVICE_FEATURE_DMA_BUF;
	c->request = (struct export_request){(uint32_t)t->f->bar_index, O_RDWR, 0, 1};
	see(t, "unreadable", sys(ioctl(t->dev, VFIO_DEVICE_FEATURE, c)), -EFAULT);
	c->request.region_index = 6;
	see(t, "region-first", sys(ioctl(t->dev, VFIO_DEVICE_FEATURE, c)), -ENODEV);
	c->request.region_index = (uint32_t)t->f->bar_index;
	c->request.nr_ranges = UINT32_MAX;
	see(t, "too-many", sys(ioctl(t->dev, VFIO_DEVICE_FEATURE, c)), -ENOMEM);
}

static void absent_bar(struct t *t)
{
	const struct export_range range = {0, PAGE};

	need_feature(t);
	for (uint32_t i = 0; i < 6; i++) {
		if (!t->f->bar[i].size) {
			see(t, "rc", export_ranges(t, i, O_RDWR, 0, &range, 1), -ENODEV);
			return;
		}
	}
	skip(t, "the device has all six BARs");
}

static void io_bar(struct t *t)
{
	const struct export_range range = {0, PAGE};

	need_feature(t);
	for (uint32_t i = 0; i < 6; i++) {
		if (t->f->bar[i].size && t->f->bar[i].io) {
			see(t, "rc", export_ranges(t, i, O_RDWR, 0, &range, 1), -EINVAL);
			return;
		}
	}
}

/* ---- what it is ---- */

static void several_ranges(struct t *t)
{
	const struct export_range same[] = {{0, PAGE}, {0, PAGE}},
				  two[] = {{PAGE, PAGE}, {0, PAGE}};
	long fd;

	need_feature(t);
	if (bar_pages(t) < 2)
		skip(t, "the device's memory BAR has too few pages");
	fd = export_ranges(t, (uint32_t)t->f->bar_index, O_RDWR, 0, two, 2);
	see_bool(t, "two", fd >= 0, true);
	see(t, "size", lseek((int)fd, 0, SEEK_END), 2 * PAGE);
	fd = export_ranges(t, (uint32_t)t->f->bar_index, O_RDWR, 0, same, 2);
	see_bool(t, "one-twice", fd >= 0, true);
}

static void file(struct t *t)
{
	struct pollfd pfd = {.events = POLLIN | POLLOUT};
	char byte = 0;
	void *p;
	int fd;

	fd = export_pages(t, 0, 1);
	see(t, "end", lseek(fd, 0, SEEK_END), PAGE);
	see(t, "start", lseek(fd, 0, SEEK_SET), 0);
	pfd.fd = fd;
	see(t, "poll", poll(&pfd, 1, 0), 1);
	see_bool(t, "ready", pfd.revents == (POLLIN | POLLOUT), true);
	p = mmap(NULL, PAGE, PROT_READ, MAP_SHARED, fd, 0);
	see_bool(t, "maps", p != MAP_FAILED, false);
	p = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	see_bool(t, "maps-for-writing", p != MAP_FAILED, false);
	see_bool(t, "reads", read(fd, &byte, 1) >= 0, false);
	see_bool(t, "writes", write(fd, &byte, 1) >= 0, false);
	see(t, "vfio-call", sys(ioctl(fd, VFIO_DEVICE_RESET)), -ENOTTY);
	see_bool(t, "grows", ftruncate(fd, 2 * (off_t)PAGE) == 0, false);
}

/* What no file could be: seek elsewhere, the calls of dma-bufs. */
static void file_calls(struct t *t)
{
	const uint64_t sync_read = 1, sync_wrong = 8;
	int fd = export_pages(t, 0, 1);

	see(t, "seek-current", sys(lseek(fd, 0, SEEK_CUR)), -EINVAL);
	see(t, "seek-to-1", sys(lseek(fd, 1, SEEK_SET)), -EINVAL);
	see(t, "mmap", mmap(NULL, PAGE, PROT_READ, MAP_SHARED, fd, 0) == MAP_FAILED ? -errno : 0,
	    -EINVAL);
	see(t, "read", sys(read(fd, &(char){0}, 1)), -EINVAL);
	see(t, "write", sys(write(fd, "", 1)), -EINVAL);
	see(t, "sync", sys(ioctl(fd, _IOW('b', 0, uint64_t), &sync_read)), 0);
	see(t, "sync-wrong", sys(ioctl(fd, _IOW('b', 0, uint64_t), &sync_wrong)), -EINVAL);
	see(t, "name", sys(ioctl(fd, _IOW('b', 1, uint64_t), "bar")), 0);
	see(t, "unknown", sys(ioctl(fd, _IO('b', 99))), -ENOTTY);
	see(t, "access", fcntl(fd, F_GETFL) & O_ACCMODE, O_RDWR);
}

static void open_flags(struct t *t)
{
	const struct export_range range = {0, PAGE};
	const uint32_t bar = (uint32_t)t->f->bar_index;
	int kept, execs;

	need_feature(t);
	if (!bar_pages(t))
		skip(t, "the device's memory BAR has too few pages");
	kept = (int)export_ranges(t, bar, O_RDWR, 0, &range, 1);
	execs = (int)export_ranges(t, bar, O_RDWR | O_CLOEXEC, 0, &range, 1);
	see(t, "kept", fcntl(kept, F_GETFD), 0);
	see(t, "close-on-exec", fcntl(execs, F_GETFD), FD_CLOEXEC);
	see_bool(t, "nonblock", fcntl(kept, F_GETFL) & O_NONBLOCK, false);
	see_bool(t, "read-only", export_ranges(t, bar, O_RDONLY, 0, &range, 1) >= 0, true);
	see_bool(t, "another", kept != execs, true);
}

/* It can be had at any time. */
static void any_time(struct t *t)
{
	const struct export_range range = {0, PAGE};
	const uint32_t bar = (uint32_t)t->f->bar_index;

	need_feature(t);
	if (!bar_pages(t))
		skip(t, "the device's memory BAR has too few pages");
	set_memory(t, false);
	see_bool(t, "memory-off", export_ranges(t, bar, O_RDWR, 0, &range, 1) >= 0, true);
	set_memory(t, true);
	if (t->f->pm) {
		set_power(t, 3);
		see_bool(t, "d3", export_ranges(t, bar, O_RDWR, 0, &range, 1) >= 0, true);
	}
}

static const struct rule rules[] = {
	{"D.4/DMA_BUF/frame", OPEN_DEVICE, NEED_BAR, frame},
	{"D.4/DMA_BUF/errors", OPEN_DEVICE, NEED_BAR, errors},
	{"D.4/DMA_BUF/ranges-unreadable", OPEN_DEVICE, NEED_BAR, ranges_unreadable},
	{"D.4/DMA_BUF/bar-absent", OPEN_DEVICE, NEED_BAR, absent_bar},
	{"D.4/DMA_BUF/io-bar", OPEN_DEVICE, NEED_IOBAR, io_bar},
	{"D.4/DMA_BUF/several-ranges", OPEN_DEVICE, NEED_BAR, several_ranges},
	{"D.4/DMA_BUF/file", OPEN_DEVICE, NEED_BAR, file},
	{"D.4/DMA_BUF/file-calls", OPEN_DEVICE, NEED_BAR, file_calls},
	{"D.4/DMA_BUF/open-flags", OPEN_DEVICE, NEED_BAR, open_flags},
	{"D.4/DMA_BUF/any-time", OPEN_DEVICE, NEED_BAR, any_time},
};
const struct section section_d4_export = SECTION("D.4", rules);
