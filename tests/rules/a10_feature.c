// SPDX-License-Identifier: BSD-3-Clause
/* A.10: the frame of the FEATURE ioctl, and which features a plain PCI function has. */
#include <fcntl.h>
#include "facts.h"

#define GET    VFIO_DEVICE_FEATURE_GET
#define SET    VFIO_DEVICE_FEATURE_SET
#define PROBE  VFIO_DEVICE_FEATURE_PROBE

#define ENTRY  VFIO_DEVICE_FEATURE_LOW_POWER_ENTRY
#define WAKEUP VFIO_DEVICE_FEATURE_LOW_POWER_ENTRY_WITH_WAKEUP
#define EXIT   VFIO_DEVICE_FEATURE_LOW_POWER_EXIT

struct feature_call {
	uint32_t argsz, flags; /* argsz 0xffff: with room for any payload */
	long want;
};
enum { ROOM = 0xffff };

static long feature(struct t *t, uint32_t argsz, uint32_t flags, const void *data, size_t len)
{
	struct {
		struct vfio_device_feature head;
		uint8_t data[1024];
	} arg = {.head = {.argsz = argsz == ROOM ? sizeof(arg) : argsz, .flags = flags}};

	if (data)
		memcpy(arg.data, data, len);
	return sys(ioctl(t->dev, VFIO_DEVICE_FEATURE, &arg));
}

static void call(struct t *t)
{
	const struct feature_call *c = t->rule->arg;

	see(t, "rc", feature(t, c->argsz, c->flags, NULL, 0), c->want);
}

/* A device that cannot be moved (A.10/migration/… is about one that can). */
static void not_movable(struct t *t)
{
	if (!feature(t, 8, PROBE | GET | 1, NULL, 0))
		skip(t, "the device can be moved");
	call(t);
}

static long entry(struct t *t)
{
	return feature(t, 8, SET | ENTRY, NULL, 0);
}

static long leave(struct t *t)
{
	return feature(t, 8, SET | EXIT, NULL, 0);
}

static long entry_with_wakeup(struct t *t, int fd)
{
	struct vfio_device_low_power_entry_with_wakeup wake = {.wakeup_eventfd = fd};

	return feature(t, 16, SET | WAKEUP, &wake, sizeof(wake));
}

static void low_power_life(struct t *t)
{
	see(t, "exit-first", leave(t), 0);
	see(t, "entry", entry(t), 0);
	see(t, "entry-again", entry(t), -EINVAL);
	see(t, "exit", leave(t), 0);
	see(t, "exit-again", leave(t), 0);
	see(t, "entry", entry(t), 0);
}

static void low_power_access(struct t *t)
{
	uint32_t *p = map_bar(t, PROT_READ), value;

	see(t, "touch", touch(p, NULL), 0);
	see(t, "entry", entry(t), 0);
	see_text(t, "touch", touch(p, NULL) ? "SIGBUS" : "reads", "SIGBUS");
	see(t, "pread", bar_pread32(t, &value), 4);
	see_as(t, "config", cfg_read(t, 0, 2), facts_get(t->f, 0, 2), "hardware");
	see(t, "still-entered", entry(t), -EINVAL);
	see(t, "exit", leave(t), 0);
	see_text(t, "touch", touch(p, NULL) ? "SIGBUS" : "reads", "reads");
}

static void wakeup(struct t *t)
{
	int fd = new_eventfd(t);

	see(t, "minus-1", entry_with_wakeup(t, -1), -EINVAL);
	see(t, "closed", entry_with_wakeup(t, 999), -EBADF);
	see(t, "not-an-eventfd", entry_with_wakeup(t, open("/dev/null", O_RDWR)), -EINVAL);
	see(t, "entry", entry_with_wakeup(t, fd), 0);
	see(t, "exit", leave(t), 0);
	/* Whether the device was suspended by then, and was woken, is a matter of time. */
	see_bool(t, "fired-twice", take(fd, 0) > 1, false);
	see(t, "exit-again", leave(t), 0);
	see_bool(t, "fired", fired(fd), false);
}

/* Until the device has been suspended, where sysfs tells: an idle device is, a moment later. */
static void await_suspended(struct t *t)
{
	char path[96], status[16] = "";

	snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/power/runtime_status", t->f->bdf);
	for (int i = 0; i < 5000; i++) {
		int fd = open(path, O_RDONLY | O_CLOEXEC);
		ssize_t n = fd < 0 ? -1 : read(fd, status, sizeof(status) - 1);

		if (fd < 0)
			return;
		close(fd);
		if (n > 0 && !strncmp(status, "suspended", 9))
			return;
		usleep(1000);
	}
	skip(t, "the device is not suspended");
}

/* The first access ends it, and is told; later ones find nothing to end. */
static void wakeup_by_access(struct t *t)
{
	int fd = new_eventfd(t);

	see(t, "entry", entry_with_wakeup(t, fd), 0);
	await_suspended(t);
	see_as(t, "config", cfg_read(t, 0, 2), facts_get(t->f, 0, 2), "hardware");
	see(t, "signals", (long)take(fd, 5000), 1);
	see_as(t, "config", cfg_read(t, 0, 2), facts_get(t->f, 0, 2), "hardware");
	see(t, "signals", (long)take(fd, 0), 0);
	see(t, "entry", entry_with_wakeup(t, fd), 0);
	await_suspended(t);
	see(t, "exit", leave(t), 0);
	see(t, "signals", (long)take(fd, 5000), 1);
}

/* An ioctl is an access as well: the second entry finds the first one ended. */
static void wakeup_by_ioctl(struct t *t)
{
	int fd = new_eventfd(t);

	see(t, "entry", entry_with_wakeup(t, fd), 0);
	await_suspended(t);
	see(t, "entry-again", entry_with_wakeup(t, fd), 0);
	see(t, "signals", (long)take(fd, 5000), 1);
}

/* Being suspended loses nothing of config space. */
static void low_power_config(struct t *t)
{
	cfg_write(t, 4, 2, 6);
	cfg_write(t, 0x0c, 1, 0x08);
	cfg_write(t, 0x3c, 1, 0x5c);
	see(t, "entry", entry(t), 0);
	await_suspended(t);
	see_hex(t, "command", cfg_read(t, 4, 2) & 0x406, 6);
	await_suspended(t);
	see(t, "exit", leave(t), 0);
	see_hex(t, "command", cfg_read(t, 4, 2) & 0x406, 6);
	see_hex(t, "cache-line", cfg_read(t, 0x0c, 1), 0x08);
	see_hex(t, "line", cfg_read(t, 0x3c, 1), 0x5c);
	see(t, "power", cfg_read(t, t->f->pm + 4, 2) & 3, 0);
}

/* Interrupts can be set and asked for, and RESET works; none of it ends low power. */
static void low_power_calls(struct t *t)
{
	int32_t fd = new_eventfd(t);

	see(t, "entry", entry(t), 0);
	await_suspended(t);
	see(t, "set",
	    set_irqs(t, VFIO_PCI_REQ_IRQ_INDEX,
		     VFIO_IRQ_SET_DATA_EVENTFD | VFIO_IRQ_SET_ACTION_TRIGGER, 0, 1, &fd),
	    0);
	see_as(t, "reset", sys(ioctl(t->dev, VFIO_DEVICE_RESET)), t->f->reset ? 0 : -EINVAL,
	       "as-ever");
	see(t, "signal",
	    set_irqs(t, VFIO_PCI_REQ_IRQ_INDEX,
		     VFIO_IRQ_SET_DATA_NONE | VFIO_IRQ_SET_ACTION_TRIGGER, 0, 1, NULL),
	    0);
	see_true(t, "fired", fired(fd));
	see(t, "still-entered", entry(t), -EINVAL);
}

/* A close ends it: the next open finds the device awake. */
static void low_power_close(struct t *t)
{
	uint32_t *p;

	see(t, "entry", entry(t), 0);
	await_suspended(t);
	close_all(t);
	open_all(t, OPEN_DEVICE);
	p = map_bar(t, PROT_READ);
	see(t, "touch", touch(p, NULL), 0);
	see(t, "entry", entry(t), 0);
}

/* The user's own D3 is over when it was suspended: a runtime suspend begins in D0. */
static void low_power_in_d3(struct t *t)
{
	set_power(t, 3);
	see(t, "entry", entry(t), 0);
	await_suspended(t);
	see(t, "exit", leave(t), 0);
	see(t, "power", cfg_read(t, t->f->pm + 4, 2) & 3, 0);
}

static void precopy_info(struct t *t)
{
	long want = since(t, 7, 2) ? -EINVAL : -ENOTTY;

	if (!feature(t, 8, PROBE | GET | 1, NULL, 0))
		skip(t, "the device can be moved");

	see(t, "probe", feature(t, 8, PROBE | 12, NULL, 0), want);
	see(t, "probe-set", feature(t, 8, PROBE | SET | 12, NULL, 0), want);
	see(t, "set", feature(t, ROOM, SET | 12, NULL, 0), want);
	see(t, "get", feature(t, ROOM, GET | 12, NULL, 0), want);
}

/* Export of a BAR's memory: since 6.19. */
static void dma_buf(struct t *t)
{
	see(t, "probe", feature(t, 8, PROBE | GET | 11, NULL, 0), since(t, 6, 19) ? 0 : -ENOTTY);
	see(t, "set", feature(t, ROOM, SET | 11, NULL, 0), since(t, 6, 19) ? -EINVAL : -ENOTTY);
}

/* A physical function has the token of its virtual functions. */
static void physical_function_token(struct t *t)
{
	unsigned char token[16] = {1, 2, 3};

	see(t, "probe", feature(t, 8, PROBE | SET | 0, NULL, 0), 0);
	see(t, "probe-get", feature(t, 8, PROBE | GET | 0, NULL, 0), -EINVAL);
	see(t, "short", feature(t, 23, SET | 0, token, sizeof(token)), -EINVAL);
	see(t, "set", feature(t, 24, SET | 0, token, sizeof(token)), 0);
	see(t, "again", feature(t, 24, SET | 0, token, sizeof(token)), 0);
	see(t, "get", feature(t, 24, GET | 0, token, sizeof(token)), -EINVAL);
}

static void payload_fault(struct t *t)
{
	struct vfio_device_feature *head = at_page_end(t, sizeof(*head));

	head->argsz = 16;
	head->flags = SET | WAKEUP;
	see(t, "rc", sys(ioctl(t->dev, VFIO_DEVICE_FEATURE, head)), -EFAULT);
}

#define CALL(...)                                                                                  \
	OPEN_DEVICE, 0, call, &(const struct feature_call)                                         \
	{                                                                                          \
		__VA_ARGS__                                                                        \
	}
#define NOT_MOVABLE(...)                                                                           \
	OPEN_DEVICE, 0, not_movable, &(const struct feature_call)                                  \
	{                                                                                          \
		__VA_ARGS__                                                                        \
	}
#define NO_SRIOV(...)                                                                              \
	OPEN_DEVICE, NEED_NO_SRIOV, call, &(const struct feature_call)                             \
	{                                                                                          \
		__VA_ARGS__                                                                        \
	}

static const struct rule rules[] = {
	{"A.10/frame/argsz-0", CALL(0, PROBE | EXIT, -EINVAL)},
	{"A.10/frame/argsz-7", CALL(7, PROBE | EXIT, -EINVAL)},
	{"A.10/frame/argsz-8", CALL(8, PROBE | EXIT, 0)},
	{"A.10/frame/argsz-max", CALL(0xffffffff, PROBE | EXIT, 0)},
	{"A.10/frame/flag-19", CALL(8, PROBE | EXIT | 1u << 19, -EINVAL)},
	{"A.10/frame/flag-31", CALL(8, PROBE | EXIT | 1u << 31, -EINVAL)},
	{"A.10/frame/get-and-set", CALL(8, GET | SET | EXIT, -EINVAL)},
	{"A.10/frame/unknown-100", CALL(8, PROBE | 100, -ENOTTY)},
	{"A.10/frame/unknown-ffff", CALL(8, PROBE | 0xffff, -ENOTTY)},
	{"A.10/frame/unknown-get", CALL(ROOM, GET | 100, -ENOTTY)},
	{"A.10/frame/unknown-set", CALL(ROOM, SET | 100, -ENOTTY)},
	{"A.10/order/argsz-and-unknown-feature", CALL(7, PROBE | 100, -EINVAL)},
	{"A.10/order/flag-and-unknown-feature", CALL(8, PROBE | 1u << 19 | 100, -EINVAL)},
	{"A.10/order/get-and-set-of-unknown-feature", CALL(8, GET | SET | 100, -EINVAL)},
	{"A.10/order/probe-get-and-set-of-unknown-feature",
	 CALL(8, PROBE | GET | SET | 100, -ENOTTY)},
	{"A.10/order/unknown-feature-without-operation", CALL(8, 100, -ENOTTY)},
	{"A.10/order/unknown-feature-payload-short", CALL(8, SET | 100, -ENOTTY)},
	{"A.10/order/probe-before-payload", CALL(8, PROBE | SET | WAKEUP, 0)},
	{"A.10/order/operation-before-probe", CALL(8, PROBE | GET | WAKEUP, -EINVAL)},
	{"A.10/order/operation-before-payload", CALL(8, GET | WAKEUP, -EINVAL)},
	{"A.10/operation/none", CALL(8, EXIT, -EINVAL)},
	{"A.10/operation/probe-only", CALL(8, PROBE | EXIT, 0)},
	{"A.10/operation/probe-offered", CALL(8, PROBE | SET | EXIT, 0)},
	{"A.10/operation/probe-not-offered", CALL(8, PROBE | GET | EXIT, -EINVAL)},
	{"A.10/operation/probe-both", CALL(8, PROBE | GET | SET | EXIT, -EINVAL)},
	{"A.10/operation/not-offered", CALL(8, GET | EXIT, -EINVAL)},
	{"A.10/operation/offered", CALL(8, SET | EXIT, 0)},
	{"A.10/payload/short-by-8", CALL(8, SET | WAKEUP, -EINVAL)},
	{"A.10/payload/short-by-1", CALL(15, SET | WAKEUP, -EINVAL)},
	{"A.10/payload/fault", OPEN_DEVICE, 0, payload_fault},
	{"A.10/feature/vf-token-set", NO_SRIOV(24, SET | 0, -ENOTTY)},
	{"A.10/feature/vf-token-probe", NO_SRIOV(8, PROBE | SET | 0, -ENOTTY)},
	{"A.10/feature/vf-token-get", NO_SRIOV(ROOM, GET | 0, -ENOTTY)},
	{"A.10/feature/vf-token-payload-short", NO_SRIOV(8, SET | 0, -ENOTTY)},
	{"A.10/feature/vf-token", OPEN_DEVICE, NEED_SRIOV, physical_function_token},
	{"A.10/feature/migration", NOT_MOVABLE(ROOM, GET | 1, -ENOTTY)},
	{"A.10/feature/migration-probe", NOT_MOVABLE(8, PROBE | 1, -ENOTTY)},
	{"A.10/feature/migration-set", NOT_MOVABLE(ROOM, SET | 1, -ENOTTY)},
	{"A.10/feature/device-state-get", NOT_MOVABLE(ROOM, GET | 2, -ENOTTY)},
	{"A.10/feature/device-state-set", NOT_MOVABLE(ROOM, SET | 2, -ENOTTY)},
	{"A.10/feature/dma-logging-start", CALL(8, PROBE | SET | 6, -ENOTTY)},
	{"A.10/feature/dma-logging-stop", CALL(8, PROBE | SET | 7, -ENOTTY)},
	{"A.10/feature/dma-logging-report", CALL(8, PROBE | GET | 8, -ENOTTY)},
	{"A.10/feature/migration-data-size", NOT_MOVABLE(ROOM, GET | 9, -ENOTTY)},
	{"A.10/feature/bus-master", CALL(ROOM, SET | 10, -ENOTTY)},
	{"A.10/feature/dma-buf", OPEN_DEVICE, 0, dma_buf},
	{"A.10/feature/precopy-info", OPEN_DEVICE, 0, precopy_info},
	{"A.10/low-power/life", OPEN_DEVICE, NEED_PM, low_power_life},
	{"A.10/low-power/access", OPEN_DEVICE, NEED_PM | NEED_MMAP, low_power_access},
	{"A.10/low-power/wakeup", OPEN_DEVICE, NEED_PM, wakeup},
	{"A.10/low-power/wakeup-by-access", OPEN_DEVICE, NEED_PM, wakeup_by_access},
	{"A.10/low-power/wakeup-by-ioctl", OPEN_DEVICE, NEED_PM, wakeup_by_ioctl},
	{"A.10/low-power/keeps-config", OPEN_DEVICE, NEED_PM, low_power_config},
	{"A.10/low-power/calls", OPEN_DEVICE, NEED_PM, low_power_calls},
	{"A.10/low-power/close", OPEN_DEVICE, NEED_PM | NEED_MMAP, low_power_close},
	{"A.10/low-power/in-d3", OPEN_DEVICE, NEED_PM, low_power_in_d3},
};
const struct section section_a10 = SECTION("A.10", rules);
