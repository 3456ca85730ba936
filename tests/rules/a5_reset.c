// SPDX-License-Identifier: BSD-3-Clause
/* A.5: RESET, and the reset of a whole slot or bus. */
#include <fcntl.h>
#include "facts.h"

#define HOT_INFO  VFIO_DEVICE_GET_PCI_HOT_RESET_INFO
#define HOT_RESET VFIO_DEVICE_PCI_HOT_RESET

static long reset(struct t *t)
{
	return sys(ioctl(t->dev, VFIO_DEVICE_RESET));
}

static void plain(struct t *t)
{
	see(t, "rc", reset(t), t->f->reset ? 0 : -EINVAL);
	see(t, "ignored-argument", sys(ioctl(t->dev, VFIO_DEVICE_RESET, 0x1234)),
	    t->f->reset ? 0 : -EINVAL);
}

static void keeps_command(struct t *t)
{
	const uint32_t set = *(const uint32_t *)t->rule->arg;

	cfg_write(t, 4, 2, set);
	see_hex(t, "before", cfg_read(t, 4, 2) & 0x406, set);
	see(t, "rc", reset(t), 0);
	see_hex(t, "after", cfg_read(t, 4, 2) & 0x406, set);
}
static const uint32_t commands[] = {0, 2, 6, 0x406, 0x402};

static void keeps_bars(struct t *t)
{
	uint32_t real = raw_read(t, 0x10, 4), other;

	cfg_write(t, 0x10, 4, 0xffffffff);
	other = cfg_read(t, 0x10, 4);
	see(t, "rc", reset(t), 0);
	see_true(t, "raw-kept", raw_read(t, 0x10, 4) == real);
	see_true(t, "virtual-kept", cfg_read(t, 0x10, 4) == other);
}

static void keeps_scratch(struct t *t)
{
	cfg_write(t, 0x3c, 1, 0x5c);
	cfg_write(t, 0x0c, 1, 0x08);
	see(t, "rc", reset(t), 0);
	see_hex(t, "line", cfg_read(t, 0x3c, 1), 0x5c);
	see_hex(t, "cache-line", cfg_read(t, 0x0c, 1), 0x08);
}

/* The eventfd of @index's first vector is still signalled after a reset. */
static void keeps_trigger(struct t *t, uint32_t index)
{
	int32_t fd = new_eventfd(t);

	must(t, "enable",
	     set_irqs(t, index, VFIO_IRQ_SET_DATA_EVENTFD | VFIO_IRQ_SET_ACTION_TRIGGER, 0, 1,
		      &fd));
	see(t, "rc", reset(t), 0);
	if (index == VFIO_PCI_MSIX_IRQ_INDEX)
		see_true(t, "enabled", cfg_read(t, t->f->msix + 2, 2) & 0x8000);
	see(t, "signal",
	    set_irqs(t, index, VFIO_IRQ_SET_DATA_NONE | VFIO_IRQ_SET_ACTION_TRIGGER, 0, 1, NULL),
	    0);
	see_true(t, "fired", fired(fd));
}

static void keeps_msix(struct t *t)
{
	keeps_trigger(t, VFIO_PCI_MSIX_IRQ_INDEX);
	see(t, "disable", irqs_off(t, VFIO_PCI_MSIX_IRQ_INDEX), 0);
}

static void keeps_intx(struct t *t)
{
	keeps_trigger(t, VFIO_PCI_INTX_IRQ_INDEX);
	see(t, "disable", irqs_off(t, VFIO_PCI_INTX_IRQ_INDEX), 0);
}

static void keeps_request(struct t *t)
{
	keeps_trigger(t, VFIO_PCI_REQ_IRQ_INDEX);
}

static void keeps_mapping(struct t *t)
{
	uint32_t *p = map_bar(t, PROT_READ), before = 0, after = 0, piece;

	see(t, "before", touch(p, &before), 0);
	see(t, "rc", reset(t), 0);
	see(t, "after", touch(p, &after), 0);
	see(t, "pread", bar_pread32(t, &piece), 4);
	see_true(t, "same-as-pread", after == piece);
}

static void mapping_memory_off(struct t *t)
{
	uint32_t *p = map_bar(t, PROT_READ);

	set_memory(t, false);
	see(t, "rc", reset(t), 0);
	see_text(t, "touch", touch(p, NULL) ? "SIGBUS" : "read", "SIGBUS");
	set_memory(t, true);
	see_text(t, "touch", touch(p, NULL) ? "SIGBUS" : "read", "read");
}

static void leaves_d3(struct t *t)
{
	set_power(t, 3);
	see(t, "rc", reset(t), 0);
	see(t, "power", cfg_read(t, t->f->pm + 4, 2) & 3, 0);
}

/* Twice, and with a mapping that was never touched before. */
static void again(struct t *t)
{
	uint32_t *p = map_bar(t, PROT_READ), value;

	see(t, "rc", reset(t), 0);
	see(t, "rc", reset(t), 0);
	see(t, "touch", touch(p, &value), 0);
}

static void keeps_dma(struct t *t)
{
	void *p = new_pages(t, 1);
	uint64_t size = PAGE;

	must(t, "map", dma_map(t->container, t->f->iova_first, p, PAGE));
	see(t, "rc", reset(t), 0);
	see(t, "unmap", dma_unmap(t->container, t->f->iova_first, &size), 0);
	see(t, "size", (long)size, PAGE);
}

/* FLR by way of config space is the same reset. */
static void flr_keeps(struct t *t)
{
	unsigned control = t->f->pcie + 8;
	uint32_t command;

	cfg_write(t, 4, 2, 6);
	command = cfg_read(t, 4, 2);
	cfg_write(t, 0x0c, 1, 0x08);
	cfg_write(t, control, 2, cfg_read(t, control, 2) | 0x8000);
	see_bool(t, "flr-reads", cfg_read(t, control, 2) & 0x8000, false);
	see_true(t, "command-kept", cfg_read(t, 4, 2) == command);
	see_hex(t, "cache-line", cfg_read(t, 0x0c, 1), 0x08);
}

static const struct rule rules[] = {
	{"A.5/RESET/plain", OPEN_DEVICE, 0, plain},
	{"A.5/RESET/keeps-command-none", OPEN_DEVICE, NEED_RESET, keeps_command, &commands[0]},
	{"A.5/RESET/keeps-command-memory", OPEN_DEVICE, NEED_RESET, keeps_command, &commands[1]},
	{"A.5/RESET/keeps-command-master", OPEN_DEVICE, NEED_RESET, keeps_command, &commands[2]},
	{"A.5/RESET/keeps-command-master-intx-off", OPEN_DEVICE, NEED_RESET, keeps_command,
	 &commands[3]},
	{"A.5/RESET/keeps-command-intx-off", OPEN_DEVICE, NEED_RESET, keeps_command, &commands[4]},
	{"A.5/RESET/keeps-bars", OPEN_DEVICE, NEED_RESET | NEED_RAW, keeps_bars},
	{"A.5/RESET/keeps-config", OPEN_DEVICE, NEED_RESET, keeps_scratch},
	{"A.5/RESET/keeps-msix", OPEN_DEVICE, NEED_RESET | NEED_MSIX, keeps_msix},
	{"A.5/RESET/keeps-intx", OPEN_DEVICE, NEED_RESET | NEED_INTX, keeps_intx},
	{"A.5/RESET/keeps-request", OPEN_DEVICE, NEED_RESET, keeps_request},
	{"A.5/RESET/keeps-mapping", OPEN_DEVICE, NEED_RESET | NEED_MMAP, keeps_mapping},
	{"A.5/RESET/mapping-with-memory-off", OPEN_DEVICE, NEED_RESET | NEED_MMAP,
	 mapping_memory_off},
	{"A.5/RESET/again", OPEN_DEVICE, NEED_RESET | NEED_MMAP, again},
	{"A.5/RESET/leaves-d3", OPEN_DEVICE, NEED_RESET | NEED_PM, leaves_d3},
	{"A.5/RESET/keeps-dma-mappings", OPEN_DEVICE, NEED_RESET | NEED_IOMMU, keeps_dma},
	{"A.5/FLR/keeps-config", OPEN_DEVICE, NEED_FLR | NEED_PCIE, flr_keeps},
};
const struct section section_a5 = SECTION("A.5", rules);

/* ---- slot or bus ----------------------------------------------------------------------------- */

struct hot_info {
	struct vfio_pci_hot_reset_info head;
	struct vfio_pci_dependent_device devices[64];
};

static void info_argsz(struct t *t)
{
	struct hot_info info = {.head.argsz = 11};
	long count;

	see(t, "11", sys(ioctl(t->dev, HOT_INFO, &info)), -EINVAL);
	info.head.argsz = 12;
	see(t, "12", sys(ioctl(t->dev, HOT_INFO, &info)), -ENOSPC);
	count = info.head.count;
	see_true(t, "count", count > 0 && count <= (long)ARRAY_LEN(info.devices));
	info.head.argsz = (uint32_t)(sizeof(info.head) + (size_t)count * 8 - 1);
	see(t, "one-byte-short", sys(ioctl(t->dev, HOT_INFO, &info)), -ENOSPC);
	info.head.argsz++;
	info.head.count = 0;
	see(t, "exact", sys(ioctl(t->dev, HOT_INFO, &info)), 0);
	see_as(t, "count", info.head.count, count, "same");
}

static void info_entries(struct t *t)
{
	struct hot_info info = {.head.argsz = sizeof(info)};
	unsigned domain, bus, dev, fn;
	bool found = false;

	see(t, "rc", sys(ioctl(t->dev, HOT_INFO, &info)), 0);
	see_hex(t, "flags", info.head.flags, 0);
	if (sscanf(t->f->bdf, "%x:%x:%x.%x", &domain, &bus, &dev, &fn) != 4)
		skip(t, "the device's name is not DDDD:BB:DD.F");
	for (unsigned i = 0; i < info.head.count && i < ARRAY_LEN(info.devices); i++) {
		const struct vfio_pci_dependent_device *d = &info.devices[i];

		if (d->segment == domain && d->bus == bus && d->devfn == (dev << 3 | fn))
			found = d->group_id == t->f->group;
	}
	see_true(t, "itself-with-its-group", found);
}

struct hot_call {
	uint32_t argsz, flags, count;
	enum { OWN, OTHER, CONTAINER, DEVICE, FILE_FD, CLOSED, NEGATIVE } fd;
	long want;
};

static void hot_reset(struct t *t)
{
	const struct hot_call *call = t->rule->arg;
	struct {
		struct vfio_pci_hot_reset head;
		int32_t fds[64];
	} arg = {.head = {.flags = call->flags, .count = call->count}};
	int fd = -1;

	switch (call->fd) {
	case OWN:
		fd = t->group;
		break;
	case OTHER:
		fd = open_group(t->other);
		must(t, "open-other", sys(fd));
		break;
	case CONTAINER:
		fd = t->container;
		break;
	case DEVICE:
		fd = t->dev;
		break;
	case FILE_FD:
		fd = open("/dev/null", O_RDWR);
		break;
	case CLOSED:
		fd = 999;
		break;
	case NEGATIVE:
		fd = -1;
		break;
	}
	for (size_t i = 0; i < ARRAY_LEN(arg.fds); i++)
		arg.fds[i] = fd;
	arg.head.argsz = call->argsz ? call->argsz : (uint32_t)sizeof(arg);
	see(t, "rc", sys(ioctl(t->dev, HOT_RESET, &arg)), call->want);
}

static void hot_unavailable(struct t *t)
{
	struct {
		struct vfio_pci_hot_reset head;
		int32_t fds[1];
	} arg = {.head = {.argsz = sizeof(arg), .count = 1}, .fds = {t->group}};
	struct hot_info info = {.head.argsz = sizeof(info)};

	if (t->f->hot)
		skip(t, "the device's slot or bus can be reset");
	see(t, "info", sys(ioctl(t->dev, HOT_INFO, &info)), -ENODEV);
	info.head.argsz = 11;
	see(t, "info-argsz", sys(ioctl(t->dev, HOT_INFO, &info)), -EINVAL);
	see(t, "reset", sys(ioctl(t->dev, HOT_RESET, &arg)), -ENODEV);
	arg.head.flags = 1;
	see(t, "reset-flags", sys(ioctl(t->dev, HOT_RESET, &arg)), -EINVAL);
}

static void hot_keeps(struct t *t)
{
	struct {
		struct vfio_pci_hot_reset head;
		int32_t fds[1];
	} arg = {.head = {.argsz = sizeof(arg), .count = 1}, .fds = {t->group}};
	int32_t fd = new_eventfd(t);

	cfg_write(t, 4, 2, 6);
	cfg_write(t, 0x3c, 1, 0x5c);
	must(t, "set",
	     set_irqs(t, VFIO_PCI_REQ_IRQ_INDEX,
		      VFIO_IRQ_SET_DATA_EVENTFD | VFIO_IRQ_SET_ACTION_TRIGGER, 0, 1, &fd));
	see(t, "rc", sys(ioctl(t->dev, HOT_RESET, &arg)), 0);
	see_hex(t, "command", cfg_read(t, 4, 2) & 0x406, 6);
	see_hex(t, "line", cfg_read(t, 0x3c, 1), 0x5c);
	see(t, "signal",
	    set_irqs(t, VFIO_PCI_REQ_IRQ_INDEX,
		     VFIO_IRQ_SET_DATA_NONE | VFIO_IRQ_SET_ACTION_TRIGGER, 0, 1, NULL),
	    0);
	see_true(t, "fired", fired(fd));
}

static void hot_leaves_d3(struct t *t)
{
	struct {
		struct vfio_pci_hot_reset head;
		int32_t fds[1];
	} arg = {.head = {.argsz = sizeof(arg), .count = 1}, .fds = {t->group}};
	uint32_t value;

	set_power(t, 3);
	see(t, "rc", sys(ioctl(t->dev, HOT_RESET, &arg)), 0);
	see(t, "power", cfg_read(t, t->f->pm + 4, 2) & 3, 0);
	see(t, "read", bar_pread32(t, &value), 4);
}

static void hot_mapping(struct t *t)
{
	struct {
		struct vfio_pci_hot_reset head;
		int32_t fds[1];
	} arg = {.head = {.argsz = sizeof(arg), .count = 1}, .fds = {t->group}};
	uint32_t *p = map_bar(t, PROT_READ);

	see(t, "before", touch(p, NULL), 0);
	see(t, "rc", sys(ioctl(t->dev, HOT_RESET, &arg)), 0);
	see(t, "after", touch(p, NULL), 0);
}

#define HOT(...)                                                                                   \
	OPEN_DEVICE, NEED_HOT, hot_reset, &(const struct hot_call)                                 \
	{                                                                                          \
		__VA_ARGS__                                                                        \
	}

static const struct rule hot_rules[] = {
	{"A.5/HOT_RESET_INFO/argsz", OPEN_DEVICE, NEED_HOT, info_argsz},
	{"A.5/HOT_RESET_INFO/entries", OPEN_DEVICE, NEED_HOT, info_entries},
	{"A.5/HOT_RESET/unavailable", OPEN_DEVICE, 0, hot_unavailable},
	{"A.5/HOT_RESET/own-group", HOT(0, 0, 1, OWN, 0)},
	{"A.5/HOT_RESET/argsz", HOT(11, 0, 1, OWN, -EINVAL)},
	{"A.5/HOT_RESET/flags", HOT(0, 1, 1, OWN, -EINVAL)},
	{"A.5/HOT_RESET/flags-and-bad-descriptor", HOT(0, 1, 1, CLOSED, -EINVAL)},
	{"A.5/HOT_RESET/no-group-given", HOT(0, 0, 0, OWN, -EINVAL)},
	{"A.5/HOT_RESET/more-groups-than-devices", HOT(0, 0, 64, OWN, -EINVAL)},
	{"A.5/HOT_RESET/more-groups-and-bad-descriptor", HOT(0, 0, 64, CLOSED, -EINVAL)},
	{"A.5/HOT_RESET/huge-count", HOT(0, 0, 0xffffffff, OWN, -EINVAL)},
	{"A.5/HOT_RESET/bad-descriptor", HOT(0, 0, 1, CLOSED, -EBADF)},
	{"A.5/HOT_RESET/negative-descriptor", HOT(0, 0, 1, NEGATIVE, -EBADF)},
	{"A.5/HOT_RESET/container-for-group", HOT(0, 0, 1, CONTAINER, -EINVAL)},
	{"A.5/HOT_RESET/device-for-group", HOT(0, 0, 1, DEVICE, -EINVAL)},
	{"A.5/HOT_RESET/other-file-for-group", HOT(0, 0, 1, FILE_FD, -EINVAL)},
	{"A.5/HOT_RESET/other-group", OPEN_DEVICE, NEED_HOT | NEED_OTHER, hot_reset,
	 &(const struct hot_call){0, 0, 1, OTHER, -EINVAL}},
	{"A.5/HOT_RESET/keeps-config-and-eventfds", OPEN_DEVICE, NEED_HOT, hot_keeps},
	{"A.5/HOT_RESET/leaves-d3", OPEN_DEVICE, NEED_HOT | NEED_PM | NEED_BAR, hot_leaves_d3},
	{"A.5/HOT_RESET/keeps-mapping", OPEN_DEVICE, NEED_HOT | NEED_MMAP, hot_mapping},
};
const struct section section_a5_hot = SECTION("A.5", hot_rules);
