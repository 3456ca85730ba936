// SPDX-License-Identifier: BSD-3-Clause
/* A.8: message interrupts.  Each case is for MSI and for MSI-X: the index is its argument. */
#include <fcntl.h>
#include "facts.h"

#define NONE    VFIO_IRQ_SET_DATA_NONE
#define BOOL    VFIO_IRQ_SET_DATA_BOOL
#define EVENTFD VFIO_IRQ_SET_DATA_EVENTFD
#define TRIGGER VFIO_IRQ_SET_ACTION_TRIGGER

static const uint32_t MSIX = VFIO_PCI_MSIX_IRQ_INDEX, MSI = VFIO_PCI_MSI_IRQ_INDEX;

static uint32_t index_of(const struct t *t)
{
	return *(const uint32_t *)t->rule->arg;
}

static long set(struct t *t, uint32_t start, uint32_t count, const int32_t *fds)
{
	return set_irqs(t, index_of(t), EVENTFD | TRIGGER, start, count, fds);
}

static long loopback(struct t *t, uint32_t start, uint32_t count)
{
	return set_irqs(t, index_of(t), NONE | TRIGGER, start, count, NULL);
}

static long off(struct t *t)
{
	return irqs_off(t, index_of(t));
}

/* MSI's bit in the user's config space is the user's own: only the hardware's shows the mode. */
static bool enabled(struct t *t, bool raw)
{
	const struct facts *f = t->f;

	if (index_of(t) == MSI)
		return raw_read(t, f->msi + 2, 2) & 1;
	return (raw ? raw_read(t, f->msix + 2, 2) : cfg_read(t, f->msix + 2, 2)) & 0x8000;
}

static bool can_grow(struct t *t)
{
	struct vfio_irq_info info = {.argsz = sizeof(info), .index = index_of(t)};

	must(t, "info", sys(ioctl(t->dev, VFIO_DEVICE_GET_IRQ_INFO, &info)));
	return !(info.flags & VFIO_IRQ_INFO_NORESIZE);
}

/* ---- life ------------------------------------------------------------------------------------ */

static void inactive(struct t *t)
{
	int32_t on = 1;

	see(t, "disable", off(t), -EINVAL);
	see(t, "none", loopback(t, 0, 1), -EINVAL);
	see(t, "bool", set_irqs(t, index_of(t), BOOL | TRIGGER, 0, 1, &on), -EINVAL);
	see(t, "bool-count-0", set_irqs(t, index_of(t), BOOL | TRIGGER, 0, 0, &on), -EINVAL);
	see(t, "eventfd-start-0-count-0", set(t, 0, 0, NULL), -ERANGE);
}

static void enable_disable(struct t *t)
{
	int32_t fd = new_eventfd(t);

	see(t, "enable", set(t, 0, 1, &fd), 0);
	see_bool(t, "control", enabled(t, false), true);
	see(t, "disable", off(t), 0);
	see_bool(t, "control", enabled(t, false), false);
	see(t, "disable-again", off(t), -EINVAL);
	see(t, "enable-again", set(t, 0, 1, &fd), 0);
	see(t, "loopback", loopback(t, 0, 1), 0);
	see_bool(t, "fired", fired(fd), true);
}

static void raw_control(struct t *t)
{
	int32_t fd = new_eventfd(t);

	see_bool(t, "before", enabled(t, true), false);
	see(t, "enable", set(t, 0, 1, &fd), 0);
	see_bool(t, "enabled", enabled(t, true), true);
	see(t, "disable", off(t), 0);
	see_bool(t, "disabled", enabled(t, true), false);
	see_bool(t, "disintx", raw_read(t, 4, 2) & 0x400, false);
}

static void all_vectors(struct t *t)
{
	long count = irq_count(t, index_of(t));
	int32_t fds[64];

	count = count > 64 ? 64 : count;
	for (long i = 0; i < count; i++)
		fds[i] = new_eventfd(t);
	see(t, "enable", set(t, 0, (uint32_t)count, fds), 0);
	see(t, "loopback", loopback(t, 0, (uint32_t)count), 0);
	long fires = 0;
	for (long i = 0; i < count; i++)
		fires += take(fds[i], 0) == 1;
	see_as(t, "fired", fires, count, "all");
	see(t, "disable", off(t), 0);
}

static void last_vector(struct t *t)
{
	uint32_t last = (uint32_t)irq_count(t, index_of(t)) - 1;
	int32_t fd = new_eventfd(t);

	see(t, "enable", set(t, last, 1, &fd), 0);
	see(t, "loopback", loopback(t, last, 1), 0);
	see_bool(t, "fired", fired(fd), true);
	see(t, "loopback-before", last ? loopback(t, 0, 1) : 0, 0);
	see_bool(t, "fired", fired(fd), false);
}

static void without_eventfds(struct t *t)
{
	int32_t none[1] = {-1}, other[1] = {-7};

	see(t, "minus-1", set(t, 0, 1, none), 0);
	see_bool(t, "control", enabled(t, false), true);
	see(t, "loopback", loopback(t, 0, 1), 0);
	see(t, "disable", off(t), 0);
	see(t, "minus-7", set(t, 0, 1, other), 0);
	see(t, "disable", off(t), 0);
}

/* A call with a count of 0 that enables: the vectors before its start are allocated. */
static void count_0_enables(struct t *t)
{
	int32_t fd = new_eventfd(t);

	see(t, "enable", set(t, 1, 0, NULL), 0);
	see_bool(t, "control", enabled(t, false), true);
	see(t, "give-eventfd", set(t, 0, 1, &fd), 0);
	see(t, "loopback", loopback(t, 0, 1), 0);
	see_bool(t, "fired", fired(fd), true);
	see(t, "eventfd-count-0-active", set(t, 0, 0, NULL), 0);
	see(t, "disable", off(t), 0);
}

static void disable_from_any_start(struct t *t)
{
	int32_t fds[2] = {new_eventfd(t), new_eventfd(t)};

	see(t, "enable", set(t, 0, 2, fds), 0);
	see(t, "none-start-1-count-0", loopback(t, 1, 0), 0);
	see_bool(t, "control", enabled(t, false), false);
	see(t, "disable-again", off(t), -EINVAL);
}

static void power_d3(struct t *t)
{
	int32_t fd = new_eventfd(t);

	set_power(t, 3);
	see(t, "enable", set(t, 0, 1, &fd), -EINVAL);
	set_power(t, 0);
	see(t, "enable-in-d0", set(t, 0, 1, &fd), 0);
}

static void memory_off(struct t *t)
{
	int32_t fds[2] = {new_eventfd(t), new_eventfd(t)};

	cfg_write(t, 4, 2, 0);
	see(t, "enable", set(t, 0, 1, fds), 0);
	see_bool(t, "memory", cfg_read(t, 4, 2) & 2, false);
	see(t, "change", set(t, 0, 1, fds + 1), 0);
	see(t, "loopback", loopback(t, 0, 1), 0);
	see_bool(t, "fired", fired(fds[1]), true);
	see(t, "disable", off(t), 0);
	see_bool(t, "memory", cfg_read(t, 4, 2) & 2, false);
}

/* ---- eventfds -------------------------------------------------------------------------------- */

static void replaced(struct t *t)
{
	int32_t a = new_eventfd(t), b = new_eventfd(t), none = -1, lower = -3;

	see(t, "enable", set(t, 0, 1, &a), 0);
	see(t, "replace", set(t, 0, 1, &b), 0);
	see(t, "loopback", loopback(t, 0, 1), 0);
	see_bool(t, "old", fired(a), false);
	see_bool(t, "new", fired(b), true);
	see(t, "deassign", set(t, 0, 1, &none), 0);
	see(t, "loopback", loopback(t, 0, 1), 0);
	see_bool(t, "deassigned", fired(b), false);
	see(t, "deassign-again", set(t, 0, 1, &lower), 0);
	see_bool(t, "control", enabled(t, false), true);
	see(t, "assign", set(t, 0, 1, &a), 0);
	see(t, "loopback", loopback(t, 0, 1), 0);
	see_bool(t, "assigned", fired(a), true);
}

static void same_eventfd(struct t *t)
{
	int32_t fd = new_eventfd(t), fds[2] = {fd, fd};

	see(t, "enable", set(t, 0, 2, fds), 0);
	see(t, "loopback", loopback(t, 0, 2), 0);
	see(t, "count", (long)take(fd, 0), 2);
}

static void eventfd_closed(struct t *t)
{
	int32_t fd = new_eventfd(t);
	int copy = dup(fd);

	see(t, "enable", set(t, 0, 1, &fd), 0);
	close(fd);
	see(t, "loopback", loopback(t, 0, 1), 0);
	see_bool(t, "fired", fired(copy), true);
}

static void loopback_kinds(struct t *t)
{
	int32_t fds[2] = {new_eventfd(t), new_eventfd(t)}, choice;
	uint8_t bools[4] = {0, 1};

	memcpy(&choice, bools, sizeof(choice));
	see(t, "enable", set(t, 0, 2, fds), 0);
	see(t, "bool-0-1", set_irqs(t, index_of(t), BOOL | TRIGGER, 0, 2, &choice), 0);
	see_bool(t, "first", fired(fds[0]), false);
	see_bool(t, "second", fired(fds[1]), true);
	see(t, "bool-count-0", set_irqs(t, index_of(t), BOOL | TRIGGER, 0, 0, &choice), 0);
	see(t, "none-second", loopback(t, 1, 1), 0);
	see_bool(t, "first", fired(fds[0]), false);
	see_bool(t, "second", fired(fds[1]), true);
	choice = 0x8000;
	see(t, "bool-any-value", set_irqs(t, index_of(t), BOOL | TRIGGER, 0, 2, &choice), 0);
	see_bool(t, "second", fired(fds[1]), true);
}

static void loopback_skips_unset(struct t *t)
{
	int32_t fds[2] = {-1, new_eventfd(t)};
	uint32_t all = (uint32_t)irq_count(t, index_of(t));

	see(t, "enable", set(t, 0, 2, fds), 0);
	see(t, "all", loopback(t, 0, all), 0);
	see(t, "count", (long)take(fds[1], 0), 1);
	see(t, "only-unset", loopback(t, 0, 1), 0);
	see_bool(t, "fired", fired(fds[1]), false);
}

static void loopback_unallocated(struct t *t)
{
	int32_t fd = new_eventfd(t);

	see(t, "enable", set(t, 0, 1, &fd), 0);
	see(t, "beyond", loopback(t, 1, 1), 0);
	see_bool(t, "fired", fired(fd), false);
}

/* ---- errors ---------------------------------------------------------------------------------- */

static void enable_bad_descriptor(struct t *t)
{
	int32_t closed = 999, file = open("/dev/null", O_RDWR);

	see(t, "closed", set(t, 0, 1, &closed), -EBADF);
	see_bool(t, "control", enabled(t, false), false);
	see(t, "still-inactive", off(t), -EINVAL);
	see(t, "not-an-eventfd", set(t, 0, 1, &file), -EINVAL);
	see(t, "still-inactive", off(t), -EINVAL);
}

static void enable_second_bad(struct t *t)
{
	int32_t fds[2] = {new_eventfd(t), 999};

	see(t, "enable", set(t, 0, 2, fds), -EBADF);
	see_bool(t, "control", enabled(t, false), false);
	see(t, "still-inactive", off(t), -EINVAL);
}

static void active_bad_descriptor(struct t *t)
{
	int32_t fd = new_eventfd(t), closed = 999;

	see(t, "enable", set(t, 0, 1, &fd), 0);
	see(t, "closed", set(t, 0, 1, &closed), -EBADF);
	see_bool(t, "control", enabled(t, false), true);
	see(t, "loopback", loopback(t, 0, 1), 0);
	see_bool(t, "old-was-dropped", !fired(fd), true);
}

/* Up to the one that fails everything is taken away; what comes after it stays. */
static void active_bad_in_block(struct t *t)
{
	int32_t old[4], block[4] = {new_eventfd(t), 999, new_eventfd(t), new_eventfd(t)};

	if (irq_count(t, index_of(t)) < 4)
		skip(t, "the device has no four vectors");
	for (int i = 0; i < 4; i++)
		old[i] = new_eventfd(t);
	see(t, "enable", set(t, 0, 4, old), 0);
	see(t, "block", set(t, 0, 3, block), -EBADF);
	see(t, "loopback", loopback(t, 0, 4), 0);
	see_bool(t, "old-0", fired(old[0]), false);
	see_bool(t, "old-1", fired(old[1]), false);
	see_bool(t, "old-2", fired(old[2]), true);
	see_bool(t, "old-3", fired(old[3]), true);
	see_bool(t, "new-0", fired(block[0]), false);
	see_bool(t, "new-2", fired(block[2]), false);
}

static void grow(struct t *t)
{
	int32_t fds[2] = {new_eventfd(t), new_eventfd(t)};
	bool growing = can_grow(t);

	see(t, "enable", set(t, 0, 1, fds), 0);
	see_as(t, "next", set(t, 1, 1, fds + 1), growing ? 0 : -EINVAL, growing ? "0" : "EINVAL");
	see(t, "loopback", loopback(t, 0, 2), 0);
	see_bool(t, "first", fired(fds[0]), true);
	see_bool(t, "second", fired(fds[1]), growing);
}

/* Vectors need not be neighbours where they can be added later. */
static void grow_sparse(struct t *t)
{
	uint32_t last = (uint32_t)irq_count(t, index_of(t)) - 1;
	int32_t fds[2] = {new_eventfd(t), new_eventfd(t)};
	bool growing = can_grow(t);

	see(t, "enable", set(t, 0, 1, fds), 0);
	see_as(t, "last", set(t, last, 1, fds + 1), growing ? 0 : -EINVAL,
	       growing ? "0" : "EINVAL");
	see(t, "loopback", loopback(t, 0, last + 1), 0);
	see_bool(t, "first", fired(fds[0]), true);
	see_bool(t, "last", fired(fds[1]), growing);
}

static void grow_bad(struct t *t)
{
	int32_t fd = new_eventfd(t), closed = 999, none = -1;
	bool growing = can_grow(t);

	see(t, "enable", set(t, 0, 1, &fd), 0);
	see_as(t, "closed", set(t, 1, 1, &closed), growing ? -EBADF : -EINVAL,
	       growing ? "EBADF" : "EINVAL");
	/* What is not there has no eventfd to lose. */
	see(t, "unset-deassigned", set(t, 1, 1, &none), 0);
	see(t, "loopback", loopback(t, 0, 1), 0);
	see_bool(t, "first-kept", fired(fd), true);
}

static void intx_active(struct t *t)
{
	int32_t pin = new_eventfd(t), fd = new_eventfd(t), closed = 999;

	must(t, "intx", set_irqs(t, VFIO_PCI_INTX_IRQ_INDEX, EVENTFD | TRIGGER, 0, 1, &pin));
	see(t, "enable", set(t, 0, 1, &fd), -EINVAL);
	see(t, "enable-closed", set(t, 0, 1, &closed), -EINVAL);
	see(t, "disable", off(t), -EINVAL);
	see(t, "loopback", loopback(t, 0, 1), -EINVAL);
	see(t, "intx-kept", set_irqs(t, VFIO_PCI_INTX_IRQ_INDEX, NONE | TRIGGER, 0, 1, NULL), 0);
	see_bool(t, "fired", fired(pin), true);
	see(t, "intx-off", irqs_off(t, VFIO_PCI_INTX_IRQ_INDEX), 0);
	see(t, "enable-after", set(t, 0, 1, &fd), 0);
}

static void other_messages_active(struct t *t)
{
	uint32_t other = index_of(t) == MSIX ? MSI : MSIX;
	int32_t a = new_eventfd(t), b = new_eventfd(t);

	must(t, "other", set_irqs(t, other, EVENTFD | TRIGGER, 0, 1, &a));
	see(t, "enable", set(t, 0, 1, &b), -EINVAL);
	see(t, "disable", off(t), -EINVAL);
	see(t, "other-off", irqs_off(t, other), 0);
	see(t, "enable-after", set(t, 0, 1, &b), 0);
}

/* The same table for both; MSI needs a second vector where two are used. */
#define BOTH(name, fn, two, more)                                                                  \
	{"A.8/MSI-X/" name, OPEN_DEVICE, (two ? NEED_MSIX2 : NEED_MSIX) | (more), fn, &MSIX},      \
	{                                                                                          \
		"A.8/MSI/" name, OPEN_DEVICE, (two ? NEED_MSI2 : NEED_MSI) | (more), fn, &MSI      \
	}

static const struct rule rules[] = {
	BOTH("inactive", inactive, 0, 0),
	BOTH("enable-disable", enable_disable, 0, 0),
	BOTH("control-in-hardware", raw_control, 0, NEED_RAW),
	BOTH("all-vectors", all_vectors, 0, 0),
	BOTH("last-vector", last_vector, 0, 0),
	BOTH("without-eventfds", without_eventfds, 0, 0),
	BOTH("count-0-enables", count_0_enables, 1, 0),
	BOTH("disable-from-any-start", disable_from_any_start, 1, 0),
	BOTH("power-d3", power_d3, 0, NEED_PM),
	BOTH("memory-off", memory_off, 0, 0),
	BOTH("replaced", replaced, 0, 0),
	BOTH("same-eventfd-twice", same_eventfd, 1, 0),
	BOTH("eventfd-closed", eventfd_closed, 0, 0),
	BOTH("loopback-kinds", loopback_kinds, 1, 0),
	BOTH("loopback-skips-unset", loopback_skips_unset, 1, 0),
	BOTH("loopback-unallocated", loopback_unallocated, 1, 0),
	BOTH("enabling-bad-descriptor", enable_bad_descriptor, 0, 0),
	BOTH("enabling-second-bad", enable_second_bad, 1, 0),
	BOTH("active-bad-descriptor", active_bad_descriptor, 0, 0),
	BOTH("active-bad-in-block", active_bad_in_block, 1, 0),
	BOTH("beyond-allocation", grow, 1, 0),
	BOTH("beyond-allocation-sparse", grow_sparse, 1, 0),
	BOTH("beyond-allocation-bad", grow_bad, 1, 0),
	BOTH("intx-active", intx_active, 0, NEED_INTX),
	{"A.8/MSI-X/msi-active", OPEN_DEVICE, NEED_MSI | NEED_MSIX, other_messages_active, &MSIX},
	{"A.8/MSI/msix-active", OPEN_DEVICE, NEED_MSI | NEED_MSIX, other_messages_active, &MSI},
};
const struct section section_a8_msi = SECTION("A.8", rules);

/* ---- what only MSI-X has --------------------------------------------------------------------- */

/* The table is hidden from read() also while it is in use. */
static void table_hidden(struct t *t)
{
	const struct facts *f = t->f;
	uint8_t entry[16], ones[16];
	int32_t fd = new_eventfd(t);

	memset(ones, 0xff, sizeof(ones));
	must(t, "enable", set_irqs(t, MSIX, EVENTFD | TRIGGER, 0, 1, &fd));
	see(t, "read",
	    sys(pread(t->dev, entry, 16,
		      (off_t)(f->region_offset[f->table_bar] + f->table_offset))),
	    16);
	see_true(t, "ones", !memcmp(entry, ones, 16));
}

/* A mapping shows the device's own table. */
static void table_mapped(struct t *t)
{
	const struct facts *f = t->f;
	uint64_t page = f->table_offset & ~(PAGE - 1);
	int32_t fd = new_eventfd(t);
	uint32_t address = 0;
	char *p = mmap(NULL, PAGE, PROT_READ, MAP_SHARED, t->dev,
		       (off_t)(f->region_offset[f->table_bar] + page));

	must(t, "mmap", p == MAP_FAILED ? -errno : 0);
	must(t, "enable", set_irqs(t, MSIX, EVENTFD | TRIGGER, 0, 1, &fd));
	see(t, "touch", touch((uint32_t *)(p + (f->table_offset - page)), &address), 0);
	see_bool(t, "message-address", (address & 0xfff00000) == 0xfee00000, true);
}

static const struct rule msix_rules[] = {
	{"A.8/MSI-X/table-hidden-while-enabled", OPEN_DEVICE, NEED_MSIX, table_hidden},
	{"A.8/MSI-X/table-mapped", OPEN_DEVICE, NEED_TABLE, table_mapped},
};
const struct section section_a8_msix = SECTION("A.8", msix_rules);
