// SPDX-License-Identifier: BSD-3-Clause
/* A.8: GET_IRQ_INFO, and the validation of SET_IRQS step by step. */
#include "facts.h"

#define NONE    VFIO_IRQ_SET_DATA_NONE
#define BOOL    VFIO_IRQ_SET_DATA_BOOL
#define EVENTFD VFIO_IRQ_SET_DATA_EVENTFD
#define MASK    VFIO_IRQ_SET_ACTION_MASK
#define UNMASK  VFIO_IRQ_SET_ACTION_UNMASK
#define TRIGGER VFIO_IRQ_SET_ACTION_TRIGGER

/* ---- GET_IRQ_INFO ---------------------------------------------------------------------------- */

struct info_call {
	uint32_t argsz, index;
	long want;
};

static void info_call(struct t *t)
{
	const struct info_call *call = t->rule->arg;
	struct vfio_irq_info info = {.argsz = call->argsz, .index = call->index};

	see(t, "rc", sys(ioctl(t->dev, VFIO_DEVICE_GET_IRQ_INFO, &info)), call->want);
}

static void get(struct t *t, uint32_t index, struct vfio_irq_info *info)
{
	*info = (struct vfio_irq_info){.argsz = sizeof(*info), .index = index};
	see(t, "rc", sys(ioctl(t->dev, VFIO_DEVICE_GET_IRQ_INFO, info)), 0);
}

static void intx_info(struct t *t)
{
	struct vfio_irq_info info;

	get(t, VFIO_PCI_INTX_IRQ_INDEX, &info);
	see_as(t, "count", info.count, cfg_read(t, 0x3d, 1) ? 1 : 0, "if-pin");
	see_hex(t, "flags", info.flags, 7);
}

static void msi_info(struct t *t)
{
	struct vfio_irq_info info;

	get(t, VFIO_PCI_MSI_IRQ_INDEX, &info);
	see_as(t, "count", info.count, t->f->msi_count, "capable");
	see_hex(t, "flags", info.flags, 9);
}

static void msix_info(struct t *t)
{
	struct vfio_irq_info info;

	get(t, VFIO_PCI_MSIX_IRQ_INDEX, &info);
	see_as(t, "count", info.count, t->f->msix_count, "table-size");
	see_true(t, "eventfd", info.flags & VFIO_IRQ_INFO_EVENTFD);
	see_hex(t, "others", info.flags & ~(VFIO_IRQ_INFO_NORESIZE | VFIO_IRQ_INFO_EVENTFD), 0);
	/* Whether vectors can be added later is the platform's business; it is possible here. */
	if (t->f->msix)
		see_bool(t, "noresize", info.flags & VFIO_IRQ_INFO_NORESIZE, false);
}

static void err_info(struct t *t)
{
	struct vfio_irq_info info = {.argsz = sizeof(info), .index = VFIO_PCI_ERR_IRQ_INDEX};

	see_as(t, "rc", sys(ioctl(t->dev, VFIO_DEVICE_GET_IRQ_INFO, &info)),
	       t->f->pcie || since(t, 7, 3) ? 0 : -EINVAL, "if-express");
	if (!t->f->pcie)
		return;
	see(t, "count", info.count, 1);
	see_hex(t, "flags", info.flags, 9);
}

static void req_info(struct t *t)
{
	struct vfio_irq_info info;

	get(t, VFIO_PCI_REQ_IRQ_INDEX, &info);
	see(t, "count", info.count, 1);
	see_hex(t, "flags", info.flags, 9);
}

#define INFO(...)                                                                                  \
	OPEN_DEVICE, 0, info_call, &(const struct info_call)                                       \
	{                                                                                          \
		__VA_ARGS__                                                                        \
	}

static const struct rule info_rules[] = {
	{"A.8/IRQ_INFO/intx", OPEN_DEVICE, 0, intx_info},
	{"A.8/IRQ_INFO/msi", OPEN_DEVICE, 0, msi_info},
	{"A.8/IRQ_INFO/msix", OPEN_DEVICE, 0, msix_info},
	{"A.8/IRQ_INFO/err", OPEN_DEVICE, 0, err_info},
	{"A.8/IRQ_INFO/req", OPEN_DEVICE, 0, req_info},
	{"A.8/IRQ_INFO/argsz-0", INFO(0, 0, -EINVAL)},
	{"A.8/IRQ_INFO/argsz-15", INFO(15, 0, -EINVAL)},
	{"A.8/IRQ_INFO/argsz-16", INFO(16, 0, 0)},
	{"A.8/IRQ_INFO/argsz-max", INFO(0xffffffff, 0, 0)},
	{"A.8/IRQ_INFO/index-5", INFO(16, 5, -EINVAL)},
	{"A.8/IRQ_INFO/index-max", INFO(16, 0xffffffff, -EINVAL)},
};
const struct section section_a8_info = SECTION("A.8", info_rules);

/* ---- SET_IRQS: the steps --------------------------------------------------------------------- */

/* Numbers that depend on the device: how many interrupts an index has. */
enum { ALL = -1, ALL_PLUS_1 = -2, ALL_MINUS_1 = -3, HUGE = -4, REST_PLUS_1 = -5 };
enum { AUTO = 0xffffff }; /* argsz: what the data needs */

struct set_call {
	uint32_t index, flags;
	int64_t start, count;
	uint32_t argsz;
	bool data_missing; /* the data would lie on a page that is not there */
	long want;
};

static uint32_t number(const struct t *t, int64_t n, uint32_t start, long all)
{
	switch (n) {
	case ALL:
		return (uint32_t)all;
	case ALL_PLUS_1:
		return (uint32_t)all + 1;
	case ALL_MINUS_1:
		return (uint32_t)all - 1;
	case HUGE:
		return 0xffffffff - start;
	case REST_PLUS_1:
		return (uint32_t)all - start + 1;
	default:
		return (uint32_t)n;
	}
}

static void set_call(struct t *t)
{
	const struct set_call *call = t->rule->arg;
	long all = call->index < 5 ? irq_count(t, call->index) : 0;
	uint32_t start = number(t, call->start, 0, all < 0 ? 0 : all);
	uint32_t count = number(t, call->count, start, all < 0 ? 0 : all);
	size_t unit = call->flags & EVENTFD ? 4 : call->flags & BOOL ? 1 : 0;
	size_t room = sizeof(struct vfio_irq_set) + (call->data_missing ? 0 : 64 * 1024);
	struct vfio_irq_set *set;

	if (call->data_missing) {
		set = at_page_end(t, room);
	} else {
		set = new_pages(t, 18);
		memset(set, 0, room);
		/* Descriptors that are none: a call that gets to the data does no harm. */
		if (call->flags & EVENTFD)
			memset(set + 1, 0xff, room - sizeof(*set));
	}
	set->argsz = call->argsz != AUTO ? call->argsz : (uint32_t)(sizeof(*set) + unit * count);
	set->flags = call->flags;
	set->index = call->index;
	set->start = start;
	set->count = count;
	see(t, "rc", sys(ioctl(t->dev, VFIO_DEVICE_SET_IRQS, set)), call->want);
}

#define SET(need, ...)                                                                             \
	OPEN_DEVICE, need, set_call, &(const struct set_call)                                      \
	{                                                                                          \
		__VA_ARGS__                                                                        \
	}

enum { INTX, MSI, MSIX, ERR, REQ };

static const struct rule rules[] = {
	/* Step 1: the frame. */
	{"A.8/SET_IRQS/1/argsz-0", SET(0, REQ, NONE | TRIGGER, 0, 0, 0, false, -EINVAL)},
	{"A.8/SET_IRQS/1/argsz-19", SET(0, REQ, NONE | TRIGGER, 0, 0, 19, false, -EINVAL)},
	{"A.8/SET_IRQS/1/index-5", SET(0, 5, NONE | TRIGGER, 0, 0, AUTO, false, -EINVAL)},
	{"A.8/SET_IRQS/1/index-max",
	 SET(0, 0xffffffff, NONE | TRIGGER, 0, 0, AUTO, false, -EINVAL)},
	{"A.8/SET_IRQS/1/count-wraps", SET(0, REQ, NONE | TRIGGER, 0, HUGE, AUTO, false, -EINVAL)},
	{"A.8/SET_IRQS/1/start-plus-count-wraps",
	 SET(0, REQ, NONE | TRIGGER, 0x80000000, HUGE, AUTO, false, -EINVAL)},
	{"A.8/SET_IRQS/1/flag-6", SET(0, REQ, NONE | TRIGGER | 0x40, 0, 0, AUTO, false, -EINVAL)},
	{"A.8/SET_IRQS/1/flag-31",
	 SET(0, REQ, NONE | TRIGGER | 0x80000000, 0, 0, AUTO, false, -EINVAL)},
	{"A.8/SET_IRQS/1/all-flags", SET(0, REQ, 0xffffffff, 0, 0, AUTO, false, -EINVAL)},
	{"A.8/SET_IRQS/1/before-4/argsz-and-no-action",
	 SET(0, REQ, NONE, 0, 0, 19, false, -EINVAL)},
	{"A.8/SET_IRQS/1/before-4/index-and-no-action",
	 SET(0, 5, NONE, 0, 0, AUTO, false, -EINVAL)},
	{"A.8/SET_IRQS/1/before-4/flag-and-no-action",
	 SET(0, REQ, NONE | 0x40, 0, 0, AUTO, false, -EINVAL)},
	{"A.8/SET_IRQS/1/before-3/argsz-and-data-missing",
	 SET(0, REQ, EVENTFD | TRIGGER, 0, 1, 19, true, -EINVAL)},
	{"A.8/SET_IRQS/1/before-3/flag-and-data-missing",
	 SET(0, REQ, EVENTFD | TRIGGER | 0x40, 0, 1, AUTO, true, -EINVAL)},

	/* Step 2: what there is. */
	{"A.8/SET_IRQS/2/start-beyond-available/intx",
	 SET(NEED_INTX, INTX, NONE | TRIGGER, ALL, 0, AUTO, false, -EINVAL)},
	{"A.8/SET_IRQS/2/start-beyond-available/msi",
	 SET(NEED_MSI, MSI, NONE | TRIGGER, ALL, 0, AUTO, false, -EINVAL)},
	{"A.8/SET_IRQS/2/start-beyond-available/msix",
	 SET(NEED_MSIX, MSIX, NONE | TRIGGER, ALL, 0, AUTO, false, -EINVAL)},
	{"A.8/SET_IRQS/2/start-beyond-available/err",
	 SET(NEED_PCIE, ERR, NONE | TRIGGER, 1, 0, AUTO, false, -EINVAL)},
	{"A.8/SET_IRQS/2/start-beyond-available/req",
	 SET(0, REQ, NONE | TRIGGER, 1, 0, AUTO, false, -EINVAL)},
	{"A.8/SET_IRQS/2/count-beyond-available/intx",
	 SET(NEED_INTX, INTX, EVENTFD | TRIGGER, 0, 2, AUTO, false, -EINVAL)},
	{"A.8/SET_IRQS/2/count-beyond-available/msi",
	 SET(NEED_MSI, MSI, EVENTFD | TRIGGER, 0, ALL_PLUS_1, AUTO, false, -EINVAL)},
	{"A.8/SET_IRQS/2/count-beyond-available/msix",
	 SET(NEED_MSIX, MSIX, EVENTFD | TRIGGER, 0, ALL_PLUS_1, AUTO, false, -EINVAL)},
	{"A.8/SET_IRQS/2/count-beyond-available/msix-from-last",
	 SET(NEED_MSIX, MSIX, EVENTFD | TRIGGER, ALL_MINUS_1, 2, AUTO, false, -EINVAL)},
	{"A.8/SET_IRQS/2/count-beyond-available/msix-none",
	 SET(NEED_MSIX, MSIX, NONE | TRIGGER, 0, ALL_PLUS_1, AUTO, false, -EINVAL)},
	{"A.8/SET_IRQS/2/count-beyond-available/err",
	 SET(NEED_PCIE, ERR, EVENTFD | TRIGGER, 0, 2, AUTO, false, -EINVAL)},
	{"A.8/SET_IRQS/2/count-beyond-available/req",
	 SET(0, REQ, EVENTFD | TRIGGER, 0, 2, AUTO, false, -EINVAL)},
	{"A.8/SET_IRQS/2/nothing-available/intx",
	 SET(NEED_NO_INTX, INTX, NONE | TRIGGER, 0, 0, AUTO, false, -EINVAL)},
	{"A.8/SET_IRQS/2/nothing-available/msi",
	 SET(NEED_NO_MSI, MSI, NONE | TRIGGER, 0, 0, AUTO, false, -EINVAL)},
	{"A.8/SET_IRQS/2/nothing-available/msix",
	 SET(NEED_NO_MSIX, MSIX, NONE | TRIGGER, 0, 0, AUTO, false, -EINVAL)},
	{"A.8/SET_IRQS/2/nothing-available/msi-mask",
	 SET(NEED_NO_MSI, MSI, NONE | MASK, 0, 0, AUTO, false, -EINVAL)},
	{"A.8/SET_IRQS/2/before-4/start-and-no-action",
	 SET(0, REQ, NONE, 1, 0, AUTO, false, -EINVAL)},
	{"A.8/SET_IRQS/2/before-4/start-and-unsupported-action",
	 SET(0, REQ, NONE | MASK, 1, 0, AUTO, false, -EINVAL)},
	{"A.8/SET_IRQS/2/before-4/count-and-two-actions",
	 SET(0, REQ, NONE | MASK | TRIGGER, 0, 2, AUTO, false, -EINVAL)},
	{"A.8/SET_IRQS/2/before-3/count-and-data-missing",
	 SET(0, REQ, EVENTFD | TRIGGER, 0, 2, AUTO, true, -EINVAL)},

	/* Step 3: the data. */
	{"A.8/SET_IRQS/3/no-data-type", SET(0, REQ, TRIGGER, 0, 0, AUTO, false, -EINVAL)},
	{"A.8/SET_IRQS/3/no-flags", SET(0, REQ, 0, 0, 0, AUTO, false, -EINVAL)},
	{"A.8/SET_IRQS/3/none-and-bool",
	 SET(0, REQ, NONE | BOOL | TRIGGER, 0, 1, AUTO, false, -EINVAL)},
	{"A.8/SET_IRQS/3/none-and-eventfd",
	 SET(0, REQ, NONE | EVENTFD | TRIGGER, 0, 1, AUTO, false, -EINVAL)},
	{"A.8/SET_IRQS/3/bool-and-eventfd",
	 SET(0, REQ, BOOL | EVENTFD | TRIGGER, 0, 1, AUTO, false, -EINVAL)},
	{"A.8/SET_IRQS/3/all-three",
	 SET(0, REQ, NONE | BOOL | EVENTFD | TRIGGER, 0, 1, AUTO, false, -EINVAL)},
	{"A.8/SET_IRQS/3/eventfd-data-short",
	 SET(0, REQ, EVENTFD | TRIGGER, 0, 1, 23, false, -EINVAL)},
	{"A.8/SET_IRQS/3/eventfd-no-data",
	 SET(0, REQ, EVENTFD | TRIGGER, 0, 1, 20, false, -EINVAL)},
	{"A.8/SET_IRQS/3/bool-data-short", SET(0, REQ, BOOL | TRIGGER, 0, 1, 20, false, -EINVAL)},
	{"A.8/SET_IRQS/3/msix-eventfd-data-short",
	 SET(NEED_MSIX2, MSIX, EVENTFD | TRIGGER, 0, 2, 27, false, -EINVAL)},
	{"A.8/SET_IRQS/3/eventfd-data-missing",
	 SET(0, REQ, EVENTFD | TRIGGER, 0, 1, AUTO, true, -EFAULT)},
	{"A.8/SET_IRQS/3/bool-data-missing",
	 SET(0, REQ, BOOL | TRIGGER, 0, 1, AUTO, true, -EFAULT)},
	{"A.8/SET_IRQS/3/msix-eventfd-data-missing",
	 SET(NEED_MSIX, MSIX, EVENTFD | TRIGGER, 0, 1, AUTO, true, -EFAULT)},
	{"A.8/SET_IRQS/3/count-0-reads-no-data",
	 SET(0, REQ, EVENTFD | TRIGGER, 0, 0, AUTO, true, -EINVAL)},
	{"A.8/SET_IRQS/3/none-reads-no-data",
	 SET(0, REQ, NONE | TRIGGER, 0, 1, AUTO, true, -EINVAL)},
	{"A.8/SET_IRQS/3/argsz-more-than-needed",
	 SET(0, REQ, EVENTFD | TRIGGER, 0, 1, 4096, false, 0)},
	{"A.8/SET_IRQS/3/argsz-max", SET(0, REQ, EVENTFD | TRIGGER, 0, 1, 0xffffffff, false, 0)},
	{"A.8/SET_IRQS/3/before-4/no-data-type-and-no-action",
	 SET(0, REQ, 0, 0, 1, AUTO, false, -EINVAL)},
	{"A.8/SET_IRQS/3/before-4/two-data-types-and-unsupported-action",
	 SET(0, REQ, NONE | BOOL | MASK, 0, 1, AUTO, false, -EINVAL)},
	{"A.8/SET_IRQS/3/before-4/data-short-and-no-action",
	 SET(0, REQ, EVENTFD, 0, 1, 20, false, -EINVAL)},
	{"A.8/SET_IRQS/3/before-4/data-missing-and-no-action",
	 SET(0, REQ, EVENTFD, 0, 1, AUTO, true, -EFAULT)},
	{"A.8/SET_IRQS/3/before-4/data-missing-and-unsupported-action",
	 SET(0, REQ, EVENTFD | UNMASK, 0, 1, AUTO, true, -EFAULT)},

	/* Step 4: the action. */
	{"A.8/SET_IRQS/4/no-action/intx", SET(NEED_INTX, INTX, NONE, 0, 0, AUTO, false, -ENOTTY)},
	{"A.8/SET_IRQS/4/no-action/msix", SET(NEED_MSIX, MSIX, NONE, 0, 0, AUTO, false, -ENOTTY)},
	{"A.8/SET_IRQS/4/no-action/req", SET(0, REQ, NONE, 0, 0, AUTO, false, -ENOTTY)},
	{"A.8/SET_IRQS/4/no-action/req-eventfd", SET(0, REQ, EVENTFD, 0, 1, AUTO, false, -ENOTTY)},
	{"A.8/SET_IRQS/4/two-actions/intx-mask-unmask",
	 SET(NEED_INTX, INTX, NONE | MASK | UNMASK, 0, 1, AUTO, false, -ENOTTY)},
	{"A.8/SET_IRQS/4/two-actions/intx-mask-trigger",
	 SET(NEED_INTX, INTX, NONE | MASK | TRIGGER, 0, 1, AUTO, false, -ENOTTY)},
	{"A.8/SET_IRQS/4/two-actions/req-unmask-trigger",
	 SET(0, REQ, NONE | UNMASK | TRIGGER, 0, 0, AUTO, false, -ENOTTY)},
	{"A.8/SET_IRQS/4/three-actions/msix",
	 SET(NEED_MSIX, MSIX, NONE | MASK | UNMASK | TRIGGER, 0, 0, AUTO, false, -ENOTTY)},
	{"A.8/SET_IRQS/4/unsupported/msi-mask",
	 SET(NEED_MSI, MSI, NONE | MASK, 0, 1, AUTO, false, -ENOTTY)},
	{"A.8/SET_IRQS/4/unsupported/msi-unmask",
	 SET(NEED_MSI, MSI, NONE | UNMASK, 0, 1, AUTO, false, -ENOTTY)},
	{"A.8/SET_IRQS/4/unsupported/msix-mask",
	 SET(NEED_MSIX, MSIX, NONE | MASK, 0, 1, AUTO, false, -ENOTTY)},
	{"A.8/SET_IRQS/4/unsupported/msix-unmask",
	 SET(NEED_MSIX, MSIX, NONE | UNMASK, 0, 1, AUTO, false, -ENOTTY)},
	{"A.8/SET_IRQS/4/unsupported/msix-mask-eventfd",
	 SET(NEED_MSIX, MSIX, EVENTFD | MASK, 0, 1, AUTO, false, -ENOTTY)},
	{"A.8/SET_IRQS/4/unsupported/err-mask",
	 SET(NEED_PCIE, ERR, NONE | MASK, 0, 1, AUTO, false, -ENOTTY)},
	{"A.8/SET_IRQS/4/unsupported/err-unmask",
	 SET(NEED_PCIE, ERR, NONE | UNMASK, 0, 1, AUTO, false, -ENOTTY)},
	{"A.8/SET_IRQS/4/unsupported/req-mask",
	 SET(0, REQ, NONE | MASK, 0, 1, AUTO, false, -ENOTTY)},
	{"A.8/SET_IRQS/4/unsupported/req-unmask",
	 SET(0, REQ, NONE | UNMASK, 0, 1, AUTO, false, -ENOTTY)},
};
const struct section section_a8_validation = SECTION("A.8", rules);
