// SPDX-License-Identifier: BSD-3-Clause
/* A.8: the pin interrupt: enabling, masking, unmasking by eventfd, and DisINTx. */
#include <fcntl.h>
#include "facts.h"

#define NONE    VFIO_IRQ_SET_DATA_NONE
#define BOOL    VFIO_IRQ_SET_DATA_BOOL
#define EVENTFD VFIO_IRQ_SET_DATA_EVENTFD
#define MASK    VFIO_IRQ_SET_ACTION_MASK
#define UNMASK  VFIO_IRQ_SET_ACTION_UNMASK
#define TRIGGER VFIO_IRQ_SET_ACTION_TRIGGER

#define DISINTX 0x400u

static long intx(struct t *t, uint32_t flags, uint32_t count, int32_t value)
{
	return set_irqs(t, VFIO_PCI_INTX_IRQ_INDEX, flags, 0, count, &value);
}

static int enable(struct t *t)
{
	int fd = new_eventfd(t);

	must(t, "enable", intx(t, EVENTFD | TRIGGER, 1, fd));
	return fd;
}

static void set_disintx(struct t *t, bool on)
{
	uint32_t command = cfg_read(t, 4, 2);

	cfg_write(t, 4, 2, on ? command | DISINTX : command & ~DISINTX);
}

static bool raw_disintx(struct t *t)
{
	return raw_read(t, 4, 2) & DISINTX;
}

/* Whether the device itself can be masked: hardware then follows the virtual bit. */
static void need_maskable(struct t *t)
{
	bool follows;

	set_disintx(t, true);
	follows = raw_disintx(t);
	set_disintx(t, false);
	if (!follows)
		skip(t, "the device has no INTx disable");
}

/* The eventfd that unmasks is looked at by another thread of whoever serves us, and what sysfs
 * shows may be brought up to date only by the next request. */
static bool raw_becomes(struct t *t, bool disintx)
{
	for (int i = 0; i < 2000; i++) {
		cfg_write(t, 0x3c, 1, 0);
		if (raw_disintx(t) == disintx)
			return true;
		usleep(1000);
	}
	return false;
}

/* ---- enable, trigger, disable ---------------------------------------------------------------- */

static void inactive(struct t *t)
{
	see(t, "disable", intx(t, NONE | TRIGGER, 0, 0), -EINVAL);
	see(t, "loopback", intx(t, NONE | TRIGGER, 1, 0), -EINVAL);
	see(t, "bool", intx(t, BOOL | TRIGGER, 1, 1), -EINVAL);
	see(t, "mask", intx(t, NONE | MASK, 1, 0), -EINVAL);
	see(t, "unmask", intx(t, NONE | UNMASK, 1, 0), -EINVAL);
	see(t, "mask-bool", intx(t, BOOL | MASK, 1, 1), -EINVAL);
	see(t, "unmask-bool", intx(t, BOOL | UNMASK, 1, 1), -EINVAL);
	see(t, "unmask-eventfd", intx(t, EVENTFD | UNMASK, 1, -1), -EINVAL);
	see(t, "mask-eventfd", intx(t, EVENTFD | MASK, 1, -1), -EINVAL);
	see(t, "eventfd-count-0", intx(t, EVENTFD | TRIGGER, 0, 0), -EINVAL);
	see(t, "bool-count-0", intx(t, BOOL | TRIGGER, 0, 0), -EINVAL);
}

static void enable_disable(struct t *t)
{
	int fd = new_eventfd(t);

	see(t, "enable", intx(t, EVENTFD | TRIGGER, 1, fd), 0);
	see(t, "disable", intx(t, NONE | TRIGGER, 0, 0), 0);
	see(t, "disable-again", intx(t, NONE | TRIGGER, 0, 0), -EINVAL);
	see(t, "enable-again", intx(t, EVENTFD | TRIGGER, 1, fd), 0);
}

static void enable_without_eventfd(struct t *t)
{
	see(t, "enable", intx(t, EVENTFD | TRIGGER, 1, -1), 0);
	see(t, "loopback", intx(t, NONE | TRIGGER, 1, 0), 0);
	see(t, "mask", intx(t, NONE | MASK, 1, 0), 0);
	int fd = new_eventfd(t);
	see(t, "give-eventfd", intx(t, EVENTFD | TRIGGER, 1, fd), 0);
	see(t, "loopback", intx(t, NONE | TRIGGER, 1, 0), 0);
	see_bool(t, "fired", fired(fd), true);
	see(t, "take-eventfd", intx(t, EVENTFD | TRIGGER, 1, -1), 0);
	see(t, "loopback", intx(t, NONE | TRIGGER, 1, 0), 0);
	see_bool(t, "fired", fired(fd), false);
	see(t, "disable", intx(t, NONE | TRIGGER, 0, 0), 0);
}

static void any_negative(struct t *t)
{
	see(t, "minus-2", intx(t, EVENTFD | TRIGGER, 1, -2), 0);
	see(t, "disable", intx(t, NONE | TRIGGER, 0, 0), 0);
}

static void bad_descriptors(struct t *t)
{
	see(t, "closed", intx(t, EVENTFD | TRIGGER, 1, 999), -EBADF);
	see(t, "not-an-eventfd", intx(t, EVENTFD | TRIGGER, 1, open("/dev/null", O_RDWR)), -EINVAL);
	see(t, "still-inactive", intx(t, NONE | TRIGGER, 0, 0), -EINVAL);
}

static void bad_descriptors_active(struct t *t)
{
	int fd = enable(t);

	see(t, "closed", intx(t, EVENTFD | TRIGGER, 1, 999), -EBADF);
	see(t, "not-an-eventfd", intx(t, EVENTFD | TRIGGER, 1, open("/dev/null", O_RDWR)), -EINVAL);
	see(t, "loopback", intx(t, NONE | TRIGGER, 1, 0), 0);
	see_bool(t, "kept", fired(fd), true);
}

static void swapped(struct t *t)
{
	int a = enable(t), b = new_eventfd(t);

	see(t, "swap", intx(t, EVENTFD | TRIGGER, 1, b), 0);
	see(t, "loopback", intx(t, NONE | TRIGGER, 1, 0), 0);
	see_bool(t, "old", fired(a), false);
	see_bool(t, "new", fired(b), true);
}

static void loopback(struct t *t)
{
	int fd = enable(t);

	see_bool(t, "at-once", fired(fd), false);
	see(t, "none", intx(t, NONE | TRIGGER, 1, 0), 0);
	see(t, "count", (long)take(fd, 0), 1);
	see(t, "bool-on", intx(t, BOOL | TRIGGER, 1, 1), 0);
	see(t, "count", (long)take(fd, 0), 1);
	see(t, "bool-off", intx(t, BOOL | TRIGGER, 1, 0), 0);
	see(t, "count", (long)take(fd, 0), 0);
	see(t, "bool-count-0", intx(t, BOOL | TRIGGER, 0, 0), -EINVAL);
	see(t, "eventfd-count-0", intx(t, EVENTFD | TRIGGER, 0, 0), -EINVAL);
}

static void loopback_masked(struct t *t)
{
	int fd = enable(t);

	see(t, "mask", intx(t, NONE | MASK, 1, 0), 0);
	see(t, "loopback", intx(t, NONE | TRIGGER, 1, 0), 0);
	see_bool(t, "fired-while-masked", fired(fd), true);
	set_disintx(t, true);
	see(t, "loopback", intx(t, NONE | TRIGGER, 1, 0), 0);
	see_bool(t, "fired-while-disabled", fired(fd), false);
	set_disintx(t, false);
	see(t, "loopback", intx(t, NONE | TRIGGER, 1, 0), 0);
	see_bool(t, "fired-again", fired(fd), true);
}

static void other_mode_active(struct t *t)
{
	int32_t fd = new_eventfd(t), pin = new_eventfd(t);

	must(t, "msix", set_irqs(t, VFIO_PCI_MSIX_IRQ_INDEX, EVENTFD | TRIGGER, 0, 1, &fd));
	see(t, "enable", intx(t, EVENTFD | TRIGGER, 1, pin), -EINVAL);
	see(t, "enable-closed", intx(t, EVENTFD | TRIGGER, 1, 999), -EINVAL);
	see(t, "disable", intx(t, NONE | TRIGGER, 0, 0), -EINVAL);
	see(t, "loopback", intx(t, NONE | TRIGGER, 1, 0), -EINVAL);
	see(t, "mask", intx(t, NONE | MASK, 1, 0), -EINVAL);
	see(t, "unmask", intx(t, NONE | UNMASK, 1, 0), -EINVAL);
	see(t, "msix-off", irqs_off(t, VFIO_PCI_MSIX_IRQ_INDEX), 0);
	see(t, "enable-after", intx(t, EVENTFD | TRIGGER, 1, pin), 0);
}

/* ---- masking --------------------------------------------------------------------------------- */

static void mask_unmask(struct t *t)
{
	enable(t);
	see(t, "mask", intx(t, NONE | MASK, 1, 0), 0);
	see(t, "mask-again", intx(t, NONE | MASK, 1, 0), 0);
	see(t, "unmask", intx(t, NONE | UNMASK, 1, 0), 0);
	see(t, "unmask-again", intx(t, NONE | UNMASK, 1, 0), 0);
	see(t, "mask-bool-off", intx(t, BOOL | MASK, 1, 0), 0);
	see(t, "mask-bool-on", intx(t, BOOL | MASK, 1, 1), 0);
	see(t, "unmask-bool-off", intx(t, BOOL | UNMASK, 1, 0), 0);
	see(t, "unmask-bool-on", intx(t, BOOL | UNMASK, 1, 1), 0);
	see(t, "mask-count-0", intx(t, NONE | MASK, 0, 0), -EINVAL);
	see(t, "unmask-count-0", intx(t, NONE | UNMASK, 0, 0), -EINVAL);
	see(t, "unmask-eventfd-count-0", intx(t, EVENTFD | UNMASK, 0, 0), -EINVAL);
}

static void mask_by_eventfd(struct t *t)
{
	enable(t);
	see(t, "good", intx(t, EVENTFD | MASK, 1, new_eventfd(t)), -ENOTTY);
	see(t, "closed", intx(t, EVENTFD | MASK, 1, 999), -ENOTTY);
	see(t, "minus-1", intx(t, EVENTFD | MASK, 1, -1), -ENOTTY);
	see(t, "count-0", intx(t, EVENTFD | MASK, 0, 0), -EINVAL);
}

static void mask_in_hardware(struct t *t)
{
	need_maskable(t);
	enable(t);
	see_bool(t, "enabled", raw_disintx(t), false);
	see(t, "mask", intx(t, NONE | MASK, 1, 0), 0);
	see_bool(t, "masked", raw_disintx(t), true);
	see_bool(t, "virtual", cfg_read(t, 4, 2) & DISINTX, false);
	see(t, "unmask", intx(t, NONE | UNMASK, 1, 0), 0);
	see_bool(t, "unmasked", raw_disintx(t), false);
	see(t, "mask-bool-off", intx(t, BOOL | MASK, 1, 0), 0);
	see_bool(t, "unmasked", raw_disintx(t), false);
	see(t, "mask-bool-on", intx(t, BOOL | MASK, 1, 1), 0);
	see_bool(t, "masked", raw_disintx(t), true);
}

static void disintx_while_inactive(struct t *t)
{
	need_maskable(t);
	set_disintx(t, true);
	see_bool(t, "raw-set", raw_disintx(t), true);
	set_disintx(t, false);
	see_bool(t, "raw-cleared", raw_disintx(t), false);
}

static void disintx_masks(struct t *t)
{
	need_maskable(t);
	enable(t);
	set_disintx(t, true);
	see_bool(t, "raw-set", raw_disintx(t), true);
	see(t, "unmask", intx(t, NONE | UNMASK, 1, 0), 0);
	see_bool(t, "unmask-does-nothing", raw_disintx(t), true);
	set_disintx(t, false);
	see_bool(t, "raw-cleared", raw_disintx(t), false);
}

static void disintx_by_byte(struct t *t)
{
	need_maskable(t);
	enable(t);
	cfg_write(t, 5, 1, DISINTX >> 8);
	see_bool(t, "raw-set", raw_disintx(t), true);
	cfg_write(t, 5, 1, 0);
	see_bool(t, "raw-cleared", raw_disintx(t), false);
}

/* There is one mask: clearing DisINTx takes away what MASK had set. */
static void disintx_unmasks(struct t *t)
{
	need_maskable(t);
	enable(t);
	see(t, "mask", intx(t, NONE | MASK, 1, 0), 0);
	set_disintx(t, true);
	set_disintx(t, false);
	see_bool(t, "masked", raw_disintx(t), false);
}

static void enabled_while_disintx(struct t *t)
{
	int fd;

	need_maskable(t);
	set_disintx(t, true);
	fd = enable(t);
	see_bool(t, "raw", raw_disintx(t), true);
	see(t, "loopback", intx(t, NONE | TRIGGER, 1, 0), 0);
	see_bool(t, "fired", fired(fd), false);
	set_disintx(t, false);
	see_bool(t, "raw-cleared", raw_disintx(t), false);
	see(t, "loopback", intx(t, NONE | TRIGGER, 1, 0), 0);
	see_bool(t, "fired", fired(fd), true);
}

/* ---- unmasking by eventfd -------------------------------------------------------------------- */

static void irqfd_life(struct t *t)
{
	int a = new_eventfd(t), b = new_eventfd(t);

	enable(t);
	see(t, "set", intx(t, EVENTFD | UNMASK, 1, a), 0);
	see(t, "set-again", intx(t, EVENTFD | UNMASK, 1, b), -EBUSY);
	see(t, "closed", intx(t, EVENTFD | UNMASK, 1, 999), -EBADF);
	see(t, "not-an-eventfd", intx(t, EVENTFD | UNMASK, 1, open("/dev/null", O_RDWR)), -EINVAL);
	see(t, "remove", intx(t, EVENTFD | UNMASK, 1, -1), 0);
	see(t, "remove-again", intx(t, EVENTFD | UNMASK, 1, -1), 0);
	see(t, "set-other", intx(t, EVENTFD | UNMASK, 1, b), 0);
	see(t, "disable", intx(t, NONE | TRIGGER, 0, 0), 0);
	must(t, "enable", intx(t, EVENTFD | TRIGGER, 1, a));
	see(t, "set-after-disable", intx(t, EVENTFD | UNMASK, 1, b), 0);
}

static void irqfd_unmasks(struct t *t)
{
	int fd = new_eventfd(t);
	const uint64_t one = 1;

	need_maskable(t);
	enable(t);
	see(t, "set", intx(t, EVENTFD | UNMASK, 1, fd), 0);
	for (int i = 0; i < 2; i++) {
		see(t, "mask", intx(t, NONE | MASK, 1, 0), 0);
		see_bool(t, "masked", raw_disintx(t), true);
		see(t, "signal", sys(write(fd, &one, 8)), 8);
		see_true(t, "unmasked", raw_becomes(t, false));
	}
	see_bool(t, "consumed", fired(fd), false);
}

static void irqfd_already_signalled(struct t *t)
{
	int fd = new_eventfd(t);
	const uint64_t one = 1;

	need_maskable(t);
	enable(t);
	see(t, "signal", sys(write(fd, &one, 8)), 8);
	see(t, "mask", intx(t, NONE | MASK, 1, 0), 0);
	see(t, "set", intx(t, EVENTFD | UNMASK, 1, fd), 0);
	see_true(t, "unmasked", raw_becomes(t, false));
	see(t, "left", (long)take(fd, 0), 1);
}

static void irqfd_closed(struct t *t)
{
	int fd = new_eventfd(t);
	long rc = -EBUSY;

	enable(t);
	see(t, "set", intx(t, EVENTFD | UNMASK, 1, fd), 0);
	close(fd);
	for (int i = 0; i < 2000 && rc == -EBUSY; i++) {
		fd = new_eventfd(t);
		rc = intx(t, EVENTFD | UNMASK, 1, fd);
		if (rc) {
			close(fd);
			usleep(1000);
		}
	}
	see(t, "set-other", rc, 0);
}

#define PIN(fn)    OPEN_DEVICE, NEED_INTX, fn
#define PINRAW(fn) OPEN_DEVICE, NEED_INTX | NEED_RAW, fn

/* ---- a device that interrupts by itself ------------------------------------------------------ */

/* Each delivery masks: once and no more, until it is unmasked. */
static void delivered(struct t *t)
{
	int fd = enable(t);

	for (unsigned i = 0; i < 3; i++) {
		see(t, "count", (long)take(fd, 5000), 1);
		see(t, "masked", (long)take(fd, 30), 0);
		see(t, "unmask", intx(t, NONE | UNMASK, 1, 0), 0);
	}
	see(t, "count", (long)take(fd, 5000), 1);
	set_disintx(t, true);
	see(t, "unmask", intx(t, NONE | UNMASK, 1, 0), 0);
	see(t, "disintx", (long)take(fd, 30), 0);
	set_disintx(t, false);
	see(t, "count", (long)take(fd, 5000), 1);
	see(t, "off", intx(t, NONE | TRIGGER, 0, 0), 0);
	see(t, "disabled", (long)take(fd, 30), 0);
}

static void delivered_unmasked(struct t *t)
{
	int fd = enable(t), unmask = new_eventfd(t);
	uint64_t one = 1;

	must(t, "set", intx(t, EVENTFD | UNMASK, 1, unmask));
	for (unsigned i = 0; i < 3; i++) {
		see(t, "count", (long)take(fd, 5000), 1);
		must(t, "write", write(unmask, &one, sizeof(one)) == sizeof(one) ? 0 : -EIO);
	}
	see(t, "count", (long)take(fd, 5000), 1);
}

static const struct rule rules[] = {
	{"A.8/INTX/inactive", PIN(inactive)},
	{"A.8/INTX/enable-disable", PIN(enable_disable)},
	{"A.8/INTX/enable-without-eventfd", PIN(enable_without_eventfd)},
	{"A.8/INTX/any-negative-descriptor", PIN(any_negative)},
	{"A.8/INTX/bad-descriptors", PIN(bad_descriptors)},
	{"A.8/INTX/bad-descriptors-while-active", PIN(bad_descriptors_active)},
	{"A.8/INTX/swapped", PIN(swapped)},
	{"A.8/INTX/loopback", PIN(loopback)},
	{"A.8/INTX/loopback-while-masked", PIN(loopback_masked)},
	{"A.8/INTX/other-mode-active", OPEN_DEVICE, NEED_INTX | NEED_MSIX, other_mode_active},
	{"A.8/INTX/mask-unmask", PIN(mask_unmask)},
	{"A.8/INTX/mask-by-eventfd", PIN(mask_by_eventfd)},
	{"A.8/INTX/mask-in-hardware", PINRAW(mask_in_hardware)},
	{"A.8/INTX/disintx-while-inactive", PINRAW(disintx_while_inactive)},
	{"A.8/INTX/disintx-masks", PINRAW(disintx_masks)},
	{"A.8/INTX/disintx-by-byte", PINRAW(disintx_by_byte)},
	{"A.8/INTX/disintx-unmasks", PINRAW(disintx_unmasks)},
	{"A.8/INTX/enabled-while-disintx", PINRAW(enabled_while_disintx)},
	{"A.8/INTX/unmask-eventfd-life", PIN(irqfd_life)},
	{"A.8/INTX/unmask-eventfd-unmasks", PINRAW(irqfd_unmasks)},
	{"A.8/INTX/unmask-eventfd-already-signalled", PINRAW(irqfd_already_signalled)},
	{"A.8/INTX/unmask-eventfd-closed", PIN(irqfd_closed)},
	{"A.8/INTX/delivered", OPEN_DEVICE, NEED_INTX | NEED_TICKS, delivered},
	{"A.8/INTX/delivered-unmask-eventfd", OPEN_DEVICE, NEED_INTX | NEED_TICKS,
	 delivered_unmasked},
};
const struct section section_a8_intx = SECTION("A.8", rules);
