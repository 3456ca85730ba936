// SPDX-License-Identifier: BSD-3-Clause
/* A.3 and A.4: what the first open and the last close do to the device. */
#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include "facts.h"

#define COMMAND_MASTER 4u
#define COMMAND_MEMORY 2u
#define COMMAND_INTX   0x400u

static void reopen(struct t *t)
{
	close_all(t);
	open_all(t, OPEN_DEVICE);
}

static void master_cleared_at_open(struct t *t)
{
	cfg_write(t, 4, 2, cfg_read(t, 4, 2) | COMMAND_MASTER);
	see_true(t, "set", cfg_read(t, 4, 2) & COMMAND_MASTER);
	reopen(t);
	see_bool(t, "after-reopen", cfg_read(t, 4, 2) & COMMAND_MASTER, false);
}

static void master_cleared_at_close(struct t *t)
{
	cfg_write(t, 4, 2, cfg_read(t, 4, 2) | COMMAND_MASTER);
	see_true(t, "raw-set", raw_read(t, 4, 2) & COMMAND_MASTER);
	close_all(t);
	see_bool(t, "raw-after-close", raw_read(t, 4, 2) & COMMAND_MASTER, false);
}

static void state_at_open(struct t *t)
{
	uint32_t command = cfg_read(t, 4, 2);

	see_bool(t, "master", command & COMMAND_MASTER, false);
	see_bool(t, "memory", command & COMMAND_MEMORY, true);
	see_bool(t, "intx-disable", command & COMMAND_INTX, false);
}

static void power_at_open(struct t *t)
{
	see(t, "power", cfg_read(t, t->f->pm + 4, 2) & 3, 0);
	set_power(t, 3);
	see(t, "low", cfg_read(t, t->f->pm + 4, 2) & 3, 3);
	reopen(t);
	see(t, "after-reopen", cfg_read(t, t->f->pm + 4, 2) & 3, 0);
}

static void reset_flag(struct t *t)
{
	struct vfio_device_info info = {.argsz = sizeof(info)};

	see(t, "rc", sys(ioctl(t->dev, VFIO_DEVICE_GET_INFO, &info)), 0);
	see_true(t, "reset", info.flags & VFIO_DEVICE_FLAGS_RESET);
}

/* Everything virtual is built anew. */
static void virtual_fields_at_open(struct t *t)
{
	uint32_t line = cfg_read(t, 0x3c, 1), bar = cfg_read(t, 0x10, 4);

	cfg_write(t, 0x3c, 1, ~line & 0xff);
	cfg_write(t, 0x10, 4, 0xffffffff);
	cfg_write(t, 4, 2, cfg_read(t, 4, 2) | COMMAND_INTX);
	see_bool(t, "line-kept", cfg_read(t, 0x3c, 1) == line, false);
	reopen(t);
	see_bool(t, "line-restored", cfg_read(t, 0x3c, 1) == line, true);
	see_bool(t, "bar-restored", cfg_read(t, 0x10, 4) == bar, true);
	see_bool(t, "intx-disable", cfg_read(t, 4, 2) & COMMAND_INTX, false);
}

static void hardware_fields_restored(struct t *t)
{
	uint32_t line_size = raw_read(t, 0x0c, 1);

	cfg_write(t, 0x0c, 1, line_size ^ 0x10);
	see_bool(t, "changed", raw_read(t, 0x0c, 1) == (line_size ^ 0x10), true);
	close_all(t);
	see_bool(t, "restored-by-close", raw_read(t, 0x0c, 1) == line_size, true);
}

static void bars_after_close(struct t *t)
{
	close_all(t);
	see_bool(t, "bars-kept", raw_read(t, 0x10, 4) == facts_get(t->f, 0x10, 4), true);
}

static void command_after_close(struct t *t)
{
	uint32_t before = facts_get(t->f, 4, 2), after;

	cfg_write(t, 4, 2, 7);
	close_all(t);
	after = raw_read(t, 4, 2);
	see_bool(t, "master", after & COMMAND_MASTER, false);
	see_bool(t, "parity-and-serr-as-before", ((after ^ before) & 0x140) == 0, true);
}

static void msix_off_at_close(struct t *t)
{
	int32_t fd = new_eventfd(t);

	must(t, "enable",
	     set_irqs(t, VFIO_PCI_MSIX_IRQ_INDEX,
		      VFIO_IRQ_SET_DATA_EVENTFD | VFIO_IRQ_SET_ACTION_TRIGGER, 0, 1, &fd));
	see_true(t, "raw-enabled", raw_read(t, t->f->msix + 2, 2) & 0x8000);
	close_all(t);
	see_bool(t, "raw-after-close", raw_read(t, t->f->msix + 2, 2) & 0x8000, false);
	open_all(t, OPEN_DEVICE);
	see_bool(t, "after-reopen", cfg_read(t, t->f->msix + 2, 2) & 0x8000, false);
	see(t, "inactive", irqs_off(t, VFIO_PCI_MSIX_IRQ_INDEX), -EINVAL);
}

static void request_dropped_at_close(struct t *t)
{
	int32_t fd = new_eventfd(t);
	const uint32_t flags = VFIO_IRQ_SET_DATA_NONE | VFIO_IRQ_SET_ACTION_TRIGGER;

	must(t, "set",
	     set_irqs(t, VFIO_PCI_REQ_IRQ_INDEX,
		      VFIO_IRQ_SET_DATA_EVENTFD | VFIO_IRQ_SET_ACTION_TRIGGER, 0, 1, &fd));
	see(t, "signal", set_irqs(t, VFIO_PCI_REQ_IRQ_INDEX, flags, 0, 1, NULL), 0);
	see_true(t, "fired", fired(fd));
	reopen(t);
	see(t, "signal-after-reopen", set_irqs(t, VFIO_PCI_REQ_IRQ_INDEX, flags, 0, 1, NULL),
	    -EINVAL);
}

/* What was asked for with IOEVENTFD is forgotten. */
static void ioeventfds_dropped_at_close(struct t *t)
{
	struct vfio_device_ioeventfd io = {
		.argsz = sizeof(io),
		.flags = VFIO_DEVICE_IOEVENTFD_32,
		.offset = t->f->region_offset[t->f->bar_index] + t->f->register_offset,
		.fd = new_eventfd(t),
	};

	see(t, "add", sys(ioctl(t->dev, VFIO_DEVICE_IOEVENTFD, &io)), 0);
	see(t, "add-again", sys(ioctl(t->dev, VFIO_DEVICE_IOEVENTFD, &io)), -EEXIST);
	reopen(t);
	io.fd = -1;
	see(t, "remove-after-reopen", sys(ioctl(t->dev, VFIO_DEVICE_IOEVENTFD, &io)), -ENODEV);
	io.fd = new_eventfd(t);
	see(t, "add-after-reopen", sys(ioctl(t->dev, VFIO_DEVICE_IOEVENTFD, &io)), 0);
}

/* Several descriptors from one group are one use of the device. */
static void second_descriptor(struct t *t)
{
	int second = (int)get_device(t->group, t->f->bdf), first = t->dev;

	must(t, "second", second);
	cfg_write(t, 4, 2, cfg_read(t, 4, 2) | COMMAND_MASTER);
	t->dev = second;
	see_true(t, "second-sees-master", cfg_read(t, 4, 2) & COMMAND_MASTER);
	t->dev = (int)get_device(t->group, t->f->bdf);
	must(t, "third", t->dev);
	see_true(t, "open-is-not-first", cfg_read(t, 4, 2) & COMMAND_MASTER);
	close(first);
	see_true(t, "close-is-not-last", cfg_read(t, 4, 2) & COMMAND_MASTER);
	close(second);
	close(t->dev);
	t->dev = (int)get_device(t->group, t->f->bdf);
	must(t, "again", t->dev);
	see_bool(t, "after-last-close", cfg_read(t, 4, 2) & COMMAND_MASTER, false);
}

static void duplicate_keeps_open(struct t *t)
{
	int copy = dup(t->dev);

	must(t, "dup", sys(copy));
	cfg_write(t, 4, 2, cfg_read(t, 4, 2) | COMMAND_MASTER);
	close(t->dev);
	t->dev = copy;
	see_true(t, "master-kept", cfg_read(t, 4, 2) & COMMAND_MASTER);
}

static void child_keeps_open(struct t *t)
{
	int go[2];
	pid_t pid;

	must(t, "pipe", sys(pipe2(go, O_CLOEXEC)));
	cfg_write(t, 4, 2, cfg_read(t, 4, 2) | COMMAND_MASTER);
	pid = fork();
	must(t, "fork", sys(pid));
	if (!pid) {
		char byte;

		close(go[1]);
		_exit(read(go[0], &byte, 1) == 1 && !(cfg_read(t, 4, 2) & COMMAND_MASTER));
	}
	close(t->dev);
	t->dev = -1;
	see(t, "unset-container", sys(ioctl(t->group, VFIO_GROUP_UNSET_CONTAINER)), -EBUSY);
	must(t, "go", sys(write(go[1], "x", 1)));
	int status = -1;
	waitpid(pid, &status, 0);
	see(t, "child-saw-master", status, 0);
	see(t, "unset-after-child", sys(ioctl(t->group, VFIO_GROUP_UNSET_CONTAINER)), 0);
}

static void mapping_keeps_open(struct t *t)
{
	void *p = map_bar(t, PROT_READ);

	close(t->dev);
	t->dev = -1;
	see(t, "mapped", sys(ioctl(t->group, VFIO_GROUP_UNSET_CONTAINER)), -EBUSY);
	see(t, "read", touch(p, NULL), 0);
	munmap((void *)((uintptr_t)p & ~(PAGE - 1)), PAGE);
	see(t, "unmapped", sys(ioctl(t->group, VFIO_GROUP_UNSET_CONTAINER)), 0);
}

/* A process that is killed with everything open leaves the device to the next. */
static void killed(struct t *t)
{
	int ready[2];
	char byte;
	pid_t pid;

	close_all(t);
	must(t, "pipe", sys(pipe2(ready, O_CLOEXEC)));
	pid = fork();
	must(t, "fork", sys(pid));
	if (!pid) {
		open_all(t, OPEN_DEVICE);
		cfg_write(t, 4, 2, cfg_read(t, 4, 2) | COMMAND_MASTER);
		if (write(ready[1], "x", 1) == 1)
			pause();
		_exit(1);
	}
	close(ready[1]);
	see(t, "opened", read(ready[0], &byte, 1), 1);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	open_all(t, OPEN_DEVICE);
	see_bool(t, "master", cfg_read(t, 4, 2) & COMMAND_MASTER, false);
}

static void reopen_at_once(struct t *t)
{
	int good = 0;

	for (int i = 0; i < 5; i++) {
		close_all(t);
		open_all(t, OPEN_DEVICE);
		good++;
	}
	see(t, "reopened", good, 5);
}

/* Closing the group and the container first changes nothing for the device. */
static void device_outlives_group(struct t *t)
{
	int group;

	close(t->group);
	close(t->container);
	t->group = t->container = -1;
	see_as(t, "vendor", cfg_read(t, 0, 2), facts_get(t->f, 0, 2), "kept");
	group = open_group(t->f);
	see(t, "open-group", group < 0 ? -errno : 0, -EBUSY);
	if (group >= 0)
		close(group);
	close(t->dev);
	t->dev = -1;
	group = open_group(t->f);
	see(t, "open-group-after-close", group < 0 ? -errno : 0, 0);
}

static void descriptor_flags(struct t *t)
{
	int mode = fcntl(t->dev, F_GETFL);

	see_true(t, "cloexec", fcntl(t->dev, F_GETFD) & FD_CLOEXEC);
	see_true(t, "read-write", (mode & O_ACCMODE) == O_RDWR);
}

static const struct rule open_rules[] = {
	{"A.3/bus-master-cleared", OPEN_DEVICE, 0, master_cleared_at_open},
	{"A.3/state", OPEN_DEVICE, 0, state_at_open},
	{"A.3/power-is-d0", OPEN_DEVICE, NEED_PM, power_at_open},
	{"A.3/reset-flag", OPEN_DEVICE, NEED_FLR, reset_flag},
	{"A.3/virtual-config-rebuilt", OPEN_DEVICE, 0, virtual_fields_at_open},
	{"A.3/several-descriptors", OPEN_DEVICE, 0, second_descriptor},
	{"A.3/descriptor-flags", OPEN_DEVICE, 0, descriptor_flags},
};
const struct section section_a3 = SECTION("A.3", open_rules);

static const struct rule close_rules[] = {
	{"A.4/bus-master-cleared", OPEN_DEVICE, NEED_RAW, master_cleared_at_close},
	{"A.4/hardware-config-restored", OPEN_DEVICE, NEED_RAW, hardware_fields_restored},
	{"A.4/bars-kept", OPEN_DEVICE, NEED_RAW, bars_after_close},
	{"A.4/command", OPEN_DEVICE, NEED_RAW, command_after_close},
	{"A.4/msix-disabled", OPEN_DEVICE, NEED_RAW | NEED_MSIX, msix_off_at_close},
	{"A.4/ioeventfds-dropped", OPEN_DEVICE, NEED_BAR, ioeventfds_dropped_at_close},
	{"A.4/request-eventfd-dropped", OPEN_DEVICE, 0, request_dropped_at_close},
	{"A.4/duplicate-keeps-open", OPEN_DEVICE, 0, duplicate_keeps_open},
	{"A.4/child-keeps-open", OPEN_DEVICE, 0, child_keeps_open},
	{"A.4/mapping-keeps-open", OPEN_DEVICE, NEED_MMAP, mapping_keeps_open},
	{"A.4/killed", OPEN_DEVICE, 0, killed},
	{"A.4/reopen-at-once", OPEN_DEVICE, 0, reopen_at_once},
	{"A.4/device-outlives-group-descriptor", OPEN_DEVICE, 0, device_outlives_group},
};
const struct section section_a4 = SECTION("A.4", close_rules);
