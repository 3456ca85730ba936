// SPDX-License-Identifier: BSD-3-Clause
/*
 * E.4: DMA logging.  A kernel has it for a few devices only, so these cases are skipped where the
 * device has none.  What is reported after a device has written is shown where a test can make one
 * write (tests/unit/dma_test.c and others); here no device does, so every report is empty.
 */
#include <string.h>
#include "facts.h"

#define GET   VFIO_DEVICE_FEATURE_GET
#define SET   VFIO_DEVICE_FEATURE_SET
#define PROBE VFIO_DEVICE_FEATURE_PROBE
#define MIB   (1ull << 20)

enum { START = 6, STOP = 7, REPORT = 8 };

struct range {
	uint64_t iova, length;
};

static long call(struct t *t, uint32_t argsz, uint32_t flags, void *data, size_t len)
{
	struct {
		struct vfio_device_feature head;
		uint8_t data[64];
	} arg = {.head = {.argsz = argsz, .flags = flags}};
	long rc;

	if (len)
		memcpy(arg.data, data, len);
	rc = sys(ioctl(t->dev, VFIO_DEVICE_FEATURE, &arg));
	if (len)
		memcpy(data, arg.data, len);
	return rc;
}

static void needed(struct t *t)
{
	if (call(t, 8, PROBE | SET | START, NULL, 0))
		skip(t, "the device does not log its DMA");
}

static long start_in(struct t *t, uint64_t *page_size, const void *ranges, uint32_t nr)
{
	struct {
		uint64_t page_size;
		uint32_t nr, reserved;
		uint64_t ranges;
	} control = {*page_size, nr, 0, (uintptr_t)ranges};
	long rc = call(t, 8 + sizeof(control), SET | START, &control, sizeof(control));

	*page_size = control.page_size;
	return rc;
}

static long start(struct t *t, uint64_t page_size, const struct range *ranges, uint32_t nr)
{
	return start_in(t, &page_size, ranges, nr);
}

static long stop(struct t *t)
{
	return call(t, 8, SET | STOP, NULL, 0);
}

static long report(struct t *t, uint64_t iova, uint64_t length, uint64_t page_size, void *bitmap)
{
	uint64_t data[4] = {iova, length, page_size, (uintptr_t)bitmap};

	return call(t, 8 + sizeof(data), GET | REPORT, data, sizeof(data));
}

static void frame(struct t *t)
{
	uint64_t data[4] = {0};

	needed(t);
	see(t, "start-get", call(t, 32, GET | START, data, 24), -EINVAL);
	see(t, "start-argsz-31", call(t, 31, SET | START, data, 24), -EINVAL);
	see(t, "stop-get", call(t, 8, GET | STOP, NULL, 0), -EINVAL);
	see(t, "stop-probe", call(t, 8, PROBE | SET | STOP, NULL, 0), 0);
	see(t, "report-set", call(t, 40, SET | REPORT, data, 32), -EINVAL);
	see(t, "report-argsz-39", call(t, 39, GET | REPORT, data, 32), -EINVAL);
	see(t, "report-probe", call(t, 8, PROBE | GET | REPORT, NULL, 0), 0);
}

static void start_and_stop(struct t *t)
{
	const struct range r = {0, MIB};
	uint64_t bits[4] = {0};

	needed(t);
	see(t, "stop-before", stop(t), 0);
	see(t, "report-before", report(t, 0, MIB, PAGE, bits), -EINVAL);
	see(t, "start", start(t, PAGE, &r, 1), 0);
	see(t, "start-again", start(t, PAGE, &r, 1), -EINVAL);
	see(t, "report", report(t, 0, MIB, PAGE, bits), 0);
	see(t, "stop", stop(t), 0);
	see(t, "stop-again", stop(t), 0);
	see(t, "report-after", report(t, 0, MIB, PAGE, bits), -EINVAL);
	see(t, "start-anew", start(t, PAGE, &r, 1), 0);
	see(t, "reset", sys(ioctl(t->dev, VFIO_DEVICE_RESET)), 0);
	see(t, "report-after-reset", report(t, 0, MIB, PAGE, bits), 0);
}

/* @nr ranges; @nr 0: as many as are not empty. */
struct start_call {
	uint64_t page_size;
	struct range r[3];
	long want;
};

static void start_call(struct t *t)
{
	const struct start_call *c = t->rule->arg;
	uint32_t nr = 0;

	needed(t);
	while (nr < 3 && (c->r[nr].iova || c->r[nr].length))
		nr++;
	see(t, "rc", start(t, c->page_size, c->r, nr), c->want);
	see(t, "again", start(t, PAGE, &(const struct range){0, PAGE}, 1), c->want ? 0 : -EINVAL);
}

static void many_ranges(struct t *t)
{
	static struct range r[257];

	needed(t);
	for (unsigned i = 0; i < 257; i++)
		r[i] = (struct range){i * 2 * PAGE, PAGE};
	see(t, "257", start(t, PAGE, r, 257), -E2BIG);
	see(t, "huge", start(t, PAGE, r, 0xffffffff), -E2BIG);
	see(t, "256", start(t, PAGE, r, 256), 0);
}

static void page_sizes(struct t *t)
{
	static const uint64_t sizes[] = {PAGE, 2 * PAGE, 2 * MIB, 512, 1ull << 50};
	const struct range r = {0, 1ull << 50};

	needed(t);
	for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
		uint64_t size = sizes[i];

		see(t, "rc", start_in(t, &size, &r, 1), 0);
		see_true(t, "power-of-two", size >= PAGE && !(size & (size - 1)));
		if (i < 3)
			see_true(t, "as-asked", size == sizes[i]);
		must(t, "stop", stop(t));
	}
}

struct report_call {
	uint64_t iova, length, page_size;
	long want;
};

static void report_call(struct t *t)
{
	const struct report_call *c = t->rule->arg;
	const struct range r[] = {{0, MIB}, {4 * MIB, MIB}};
	uint64_t bits[64] = {0x55, 0x55};

	needed(t);
	must(t, "start", start(t, PAGE, r, 2));
	see(t, "rc", report(t, c->iova, c->length, c->page_size, bits), c->want);
	/* Nothing was written, and what the program had there is kept (through messages: it is its
	 * own business). */
	see_hex(t, "word", bits[1], 0x55);
}

static void faults(struct t *t)
{
	const struct range r = {0, MIB};
	uint64_t data[4] = {PAGE, 1, 8};

	needed(t);
	see(t, "ranges", call(t, 32, SET | START, data, 24), -EFAULT);
	must(t, "start", start(t, PAGE, &r, 1));
	see(t, "bitmap", report(t, 0, MIB, PAGE, (void *)8), -EFAULT);
	see(t, "bitmap-wraps", report(t, 0, MIB, PAGE, (void *)-8), -EFAULT);
}

#define BEGIN(...)                                                                                 \
	OPEN_DEVICE, 0, start_call, &(const struct start_call)                                     \
	{                                                                                          \
		__VA_ARGS__                                                                        \
	}
#define ASK(...)                                                                                   \
	OPEN_DEVICE, 0, report_call, &(const struct report_call)                                   \
	{                                                                                          \
		__VA_ARGS__                                                                        \
	}

static const struct rule rules[] = {
	{"E.4/frame", OPEN_DEVICE, 0, frame},
	{"E.4/start-and-stop", OPEN_DEVICE, NEED_RESET, start_and_stop},
	{"E.4/START/one", BEGIN(PAGE, {{0, MIB}}, 0)},
	{"E.4/START/three", BEGIN(PAGE, {{4 * MIB, MIB}, {0, MIB}, {MIB, MIB}}, 0)},
	{"E.4/START/none", BEGIN(PAGE, {{0}}, -EINVAL)},
	{"E.4/START/many", OPEN_DEVICE, 0, many_ranges},
	{"E.4/START/iova-misaligned", BEGIN(PAGE, {{512, MIB}}, -EINVAL)},
	{"E.4/START/length-misaligned", BEGIN(PAGE, {{0, MIB + 512}}, -EINVAL)},
	{"E.4/START/misaligned-to-its-page-size", BEGIN(2 * MIB, {{0, MIB}}, -EINVAL)},
	{"E.4/START/empty-range", BEGIN(PAGE, {{MIB, 0}}, -EINVAL)},
	{"E.4/START/overlap", BEGIN(PAGE, {{0, 2 * MIB}, {MIB, MIB}}, -EINVAL)},
	{"E.4/START/the-same-twice", BEGIN(PAGE, {{MIB, MIB}, {MIB, MIB}}, -EINVAL)},
	{"E.4/START/wraps", BEGIN(PAGE, {{-PAGE, 2 * PAGE}}, -EOVERFLOW)},
	{"E.4/START/order/misaligned-and-wraps", BEGIN(PAGE, {{-512, 2 * PAGE}}, -EINVAL)},
	{"E.4/START/order/overlap-then-wrap",
	 BEGIN(PAGE, {{MIB, MIB}, {MIB, MIB}, {-PAGE, 2 * PAGE}}, -EINVAL)},
	{"E.4/START/page-sizes", OPEN_DEVICE, 0, page_sizes},
	{"E.4/REPORT/whole", ASK(0, MIB, PAGE, 0)},
	{"E.4/REPORT/part", ASK(PAGE, PAGE, PAGE, 0)},
	{"E.4/REPORT/two-ranges", ASK(0, 8 * MIB, PAGE, 0)},
	{"E.4/REPORT/between", ASK(2 * MIB, MIB, PAGE, 0)},
	{"E.4/REPORT/larger-pages", ASK(0, 8 * MIB, 2 * MIB, 0)},
	{"E.4/REPORT/misaligned", ASK(512, MIB, PAGE, 0)},
	{"E.4/REPORT/page-size-2048", ASK(0, MIB, 2048, -EINVAL)},
	{"E.4/REPORT/page-size-0", ASK(0, MIB, 0, -EINVAL)},
	{"E.4/REPORT/page-size-12288", ASK(0, 3 * MIB, 12288, -EINVAL)},
	{"E.4/REPORT/wraps", ASK(-PAGE, 2 * PAGE, PAGE, -EOVERFLOW)},
	{"E.4/REPORT/empty", ASK(0, 0, PAGE, -EINVAL)},
	{"E.4/REPORT/order/page-size-and-wrap", ASK(-PAGE, 2 * PAGE, 512, -EINVAL)},
	{"E.4/faults", OPEN_DEVICE, 0, faults},
};
const struct section section_e4 = SECTION("E.4", rules);
