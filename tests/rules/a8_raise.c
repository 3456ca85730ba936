// SPDX-License-Identifier: BSD-3-Clause
/*
 * A.8: interrupts of devices that can be told to raise one: QEMU's edu, so that real kernels can be
 * asked, and our pcitest.  What is raised is taken back at the end of each case.
 */
#include "facts.h"

#define NONE    VFIO_IRQ_SET_DATA_NONE
#define EVENTFD VFIO_IRQ_SET_DATA_EVENTFD
#define TRIGGER VFIO_IRQ_SET_ACTION_TRIGGER
#define MASK    VFIO_IRQ_SET_ACTION_MASK
#define UNMASK  VFIO_IRQ_SET_ACTION_UNMASK
#define DISINTX 0x400u

/* How long what comes may take, and what does not come is waited for. */
#define SOON_MS  5000
#define NEVER_MS 30

static const struct raiser {
	uint16_t vendor, device;
	uint32_t message; /* register of BAR 0: writing 1 raises message 0 */
	uint32_t assert, assert_value, deassert, deassert_value; /* the pin */
} raisers[] = {
	{0x1234, 0x11e8, 0x60, 0x60, 1, 0x64, 1}, /* edu: without messages it is the pin */
	{0x1234, 0x5054, 0x10, 0x14, 1, 0x14, 0}, /* pcitest */
};

bool can_raise(const struct facts *f)
{
	for (size_t i = 0; i < ARRAY_LEN(raisers); i++) {
		if (facts_get(f, 0, 2) == raisers[i].vendor &&
		    facts_get(f, 2, 2) == raisers[i].device)
			return true;
	}
	return false;
}

static const struct raiser *raiser(struct t *t)
{
	for (size_t i = 0; i < ARRAY_LEN(raisers); i++) {
		if (facts_get(t->f, 2, 2) == raisers[i].device)
			return &raisers[i];
	}
	skip(t, "the device cannot be told to interrupt");
}

static void put(struct t *t, uint32_t at, uint32_t value)
{
	long rc = sys(pwrite(t->dev, &value, 4, (off_t)t->f->region_offset[0] + at));

	must(t, "register", rc == 4 || rc < 0 ? rc : -EIO);
}

static void assert_pin(struct t *t)
{
	put(t, raiser(t)->assert, raiser(t)->assert_value);
}

static void deassert_pin(struct t *t)
{
	put(t, raiser(t)->deassert, raiser(t)->deassert_value);
}

static long intx(struct t *t, uint32_t flags, uint32_t count, int32_t fd)
{
	return set_irqs(t, VFIO_PCI_INTX_IRQ_INDEX, flags, 0, count, &fd);
}

/* INTx is on, and bus mastering, which messages need. */
static int enable(struct t *t)
{
	int fd = new_eventfd(t);

	cfg_write(t, 4, 2, 6);
	must(t, "enable", intx(t, EVENTFD | TRIGGER, 1, fd));
	return fd;
}

static void set_disintx(struct t *t, bool on)
{
	uint32_t command = cfg_read(t, 4, 2);

	cfg_write(t, 4, 2, on ? command | DISINTX : command & ~DISINTX);
}

/* A delivery masks: a line that stays asserted is told once, and again at each UNMASK. */
static void automask(struct t *t)
{
	int fd = enable(t);

	assert_pin(t);
	see(t, "count", (long)take(fd, SOON_MS), 1);
	see(t, "masked", (long)take(fd, NEVER_MS), 0);
	see_hex(t, "disintx-of-the-user", cfg_read(t, 4, 2) & DISINTX, 0);
	see(t, "unmask", intx(t, NONE | UNMASK, 1, 0), 0);
	see(t, "still-asserted", (long)take(fd, SOON_MS), 1);
	see(t, "masked", (long)take(fd, NEVER_MS), 0);
	deassert_pin(t);
	see(t, "unmask", intx(t, NONE | UNMASK, 1, 0), 0);
	see(t, "deasserted", (long)take(fd, NEVER_MS), 0);
	assert_pin(t);
	see(t, "count", (long)take(fd, SOON_MS), 1);
	deassert_pin(t);
}

/* What hardware has now: a tree of plain files follows with the next request (docs/differences.md).
 */
static uint32_t hardware(struct t *t, unsigned off)
{
	cfg_write(t, 0, 2, 0);
	return raw_read(t, off, 2);
}

/* A line that goes and comes meanwhile is not told before UNMASK. */
static void again_while_masked(struct t *t)
{
	int fd = enable(t);

	assert_pin(t);
	see(t, "count", (long)take(fd, SOON_MS), 1);
	deassert_pin(t);
	assert_pin(t);
	see(t, "again", (long)take(fd, NEVER_MS), 0);
	see(t, "unmask", intx(t, NONE | UNMASK, 1, 0), 0);
	see(t, "count", (long)take(fd, SOON_MS), 1);
	deassert_pin(t);
}

static void automask_in_hardware(struct t *t)
{
	int fd = enable(t);

	see_bool(t, "before", hardware(t, 4) & DISINTX, false);
	assert_pin(t);
	see(t, "count", (long)take(fd, SOON_MS), 1);
	see_bool(t, "delivered", hardware(t, 4) & DISINTX, true);
	see_bool(t, "line", hardware(t, 6) & 8, true);
	see_bool(t, "line-of-the-user", cfg_read(t, 6, 2) & 8, true);
	see(t, "unmask", intx(t, NONE | UNMASK, 1, 0), 0);
	see_bool(t, "still-asserted", hardware(t, 4) & DISINTX, true);
	deassert_pin(t);
	see(t, "unmask", intx(t, NONE | UNMASK, 1, 0), 0);
	see_bool(t, "deasserted", hardware(t, 4) & DISINTX, false);
	see_bool(t, "line", hardware(t, 6) & 8, false);
}

/* What is asserted while it is masked comes with UNMASK. */
static void masked(struct t *t)
{
	int fd = enable(t);

	see(t, "mask", intx(t, NONE | MASK, 1, 0), 0);
	assert_pin(t);
	see(t, "masked", (long)take(fd, NEVER_MS), 0);
	see(t, "unmask", intx(t, NONE | UNMASK, 1, 0), 0);
	see(t, "count", (long)take(fd, SOON_MS), 1);
	deassert_pin(t);
}

static void disintx(struct t *t)
{
	int fd = enable(t);

	set_disintx(t, true);
	assert_pin(t);
	see(t, "set", (long)take(fd, NEVER_MS), 0);
	see(t, "unmask", intx(t, NONE | UNMASK, 1, 0), 0);
	see(t, "unmask-does-nothing", (long)take(fd, NEVER_MS), 0);
	set_disintx(t, false);
	see(t, "cleared", (long)take(fd, SOON_MS), 1);
	/* Clearing takes away what the delivery had set. */
	set_disintx(t, true);
	set_disintx(t, false);
	see(t, "again", (long)take(fd, SOON_MS), 1);
	deassert_pin(t);
}

static void by_eventfd(struct t *t)
{
	int fd = enable(t), unmask = new_eventfd(t);
	const uint64_t one = 1;

	see(t, "set", intx(t, EVENTFD | UNMASK, 1, unmask), 0);
	assert_pin(t);
	for (unsigned i = 0; i < 2; i++) {
		see(t, "count", (long)take(fd, SOON_MS), 1);
		see(t, "masked", (long)take(fd, NEVER_MS), 0);
		see(t, "signal", sys(write(unmask, &one, 8)), 8);
	}
	see(t, "count", (long)take(fd, SOON_MS), 1);
	deassert_pin(t);
}

/* An eventfd that is put in the place of another is told of what comes from then on. */
static void swapped(struct t *t)
{
	int fd = enable(t), other = new_eventfd(t);

	assert_pin(t);
	see(t, "count", (long)take(fd, SOON_MS), 1);
	see(t, "swap", intx(t, EVENTFD | TRIGGER, 1, other), 0);
	see(t, "unmask", intx(t, NONE | UNMASK, 1, 0), 0);
	see(t, "other", (long)take(other, SOON_MS), 1);
	see(t, "old", (long)take(fd, 0), 0);
	deassert_pin(t);
}

static void survives_reset(struct t *t)
{
	int fd = enable(t);

	see(t, "reset", sys(ioctl(t->dev, VFIO_DEVICE_RESET)), 0);
	assert_pin(t);
	see(t, "count", (long)take(fd, SOON_MS), 1);
	deassert_pin(t);
}

static void message(struct t *t)
{
	const uint32_t index = t->f->msi ? VFIO_PCI_MSI_IRQ_INDEX : VFIO_PCI_MSIX_IRQ_INDEX;
	int32_t fd = new_eventfd(t), other = new_eventfd(t);

	if (!t->f->msi && !t->f->msix)
		skip(t, "the device has no messages");
	cfg_write(t, 4, 2, 6);
	must(t, "enable", set_irqs(t, index, EVENTFD | TRIGGER, 0, 1, &fd));
	for (unsigned i = 0; i < 3; i++) {
		put(t, raiser(t)->message, 1);
		see(t, "count", (long)take(fd, SOON_MS), 1);
	}
	see(t, "replace", set_irqs(t, index, EVENTFD | TRIGGER, 0, 1, &other), 0);
	put(t, raiser(t)->message, 1);
	see(t, "other", (long)take(other, SOON_MS), 1);
	see(t, "old", (long)take(fd, 0), 0);
	see(t, "disable", irqs_off(t, index), 0);
	see(t, "disabled", (long)take(other, 0), 0);
	deassert_pin(t);
}

#define PIN(fn)    OPEN_DEVICE, NEED_RAISE | NEED_INTX, fn
#define PINRAW(fn) OPEN_DEVICE, NEED_RAISE | NEED_INTX | NEED_RAW, fn

static const struct rule rules[] = {
	{"A.8/INTX/raised/automask", PIN(automask)},
	{"A.8/INTX/raised/again-while-masked", PIN(again_while_masked)},
	{"A.8/INTX/raised/in-hardware", PINRAW(automask_in_hardware)},
	{"A.8/INTX/raised/while-masked", PIN(masked)},
	{"A.8/INTX/raised/disintx", PIN(disintx)},
	{"A.8/INTX/raised/unmask-eventfd", PIN(by_eventfd)},
	{"A.8/INTX/raised/swapped", PIN(swapped)},
	{"A.8/INTX/raised/after-reset", OPEN_DEVICE, NEED_RAISE | NEED_INTX | NEED_RESET,
	 survives_reset},
	{"A.8/message/raised", OPEN_DEVICE, NEED_RAISE, message},
};
const struct section section_a8_raise = SECTION("A.8", rules);
