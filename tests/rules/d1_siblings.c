// SPDX-License-Identifier: BSD-3-Clause
/* Two functions of one bus that share a group (A.3 to A.5, D.1): what they have in common, what
 * not. */
#include <signal.h>
#include "facts.h"

#define HOT_INFO  VFIO_DEVICE_GET_PCI_HOT_RESET_INFO
#define HOT_RESET VFIO_DEVICE_PCI_HOT_RESET

static struct t sibling_of(struct t *t)
{
	struct t s = *t;

	s.f = t->sibling;
	s.other = s.sibling = NULL;
	s.dev = (int)get_device(t->group, t->sibling->bdf);
	must(t, "get-sibling", s.dev);
	return s;
}

static unsigned power(struct t *t)
{
	return cfg_read(t, t->f->pm + 4, 2) & 3;
}

/* Cases that look at the power state need it of both. */
static void need_power(struct t *t)
{
	if (!t->f->pm || !t->sibling->pm)
		skip(t, "not both devices have power management");
}

static void both(struct t *t)
{
	struct vfio_group_status st = {.argsz = sizeof(st)};
	struct vfio_device_info info = {.argsz = sizeof(info)};
	struct t s = sibling_of(t);

	see(t, "sibling", sys(ioctl(s.dev, VFIO_DEVICE_GET_INFO, &info)), 0);
	see(t, "device", sys(ioctl(t->dev, VFIO_DEVICE_GET_INFO, &info)), 0);
	see_as(t, "sibling-vendor", cfg_read(&s, 0, 4), facts_get(t->sibling, 0, 4), "its-own");
	see_as(t, "device-vendor", cfg_read(t, 0, 4), facts_get(t->f, 0, 4), "its-own");
	see(t, "status", sys(ioctl(t->group, VFIO_GROUP_GET_STATUS, &st)), 0);
	see_hex(t, "flags", st.flags, VFIO_GROUP_FLAGS_VIABLE | VFIO_GROUP_FLAGS_CONTAINER_SET);
}

static void unset_container(struct t *t)
{
	struct t s = sibling_of(t);

	close(t->dev);
	t->dev = -1;
	see(t, "one-open", sys(ioctl(t->group, VFIO_GROUP_UNSET_CONTAINER)), -EBUSY);
	close(s.dev);
	see(t, "none-open", sys(ioctl(t->group, VFIO_GROUP_UNSET_CONTAINER)), 0);
}

static void before_iommu(struct t *t)
{
	see(t, "sibling", get_device(t->group, t->sibling->bdf), -EINVAL);
	see(t, "device", get_device(t->group, t->f->bdf), -EINVAL);
}

/* One's open and last close leave the other as it is. */
static void open_close(struct t *t)
{
	struct t s;

	cfg_write(t, 4, 2, 6);
	cfg_write(t, 0x3c, 1, 0x5c);
	s = sibling_of(t);
	see_hex(t, "command-after-open", cfg_read(t, 4, 2) & 0x406, 6);
	see_hex(t, "sibling", cfg_read(&s, 4, 2) & 0x404, 0);
	cfg_write(&s, 4, 2, 6);
	close(s.dev);
	see_hex(t, "command-after-close", cfg_read(t, 4, 2) & 0x406, 6);
	see_hex(t, "line", cfg_read(t, 0x3c, 1), 0x5c);
	s = sibling_of(t);
	see_hex(t, "sibling-again", cfg_read(&s, 4, 2) & 0x404, 0);
}

static void eventfds(struct t *t)
{
	struct t s = sibling_of(t);
	int32_t fd = new_eventfd(t), other = new_eventfd(t);
	const uint32_t set = VFIO_IRQ_SET_DATA_EVENTFD | VFIO_IRQ_SET_ACTION_TRIGGER;
	const uint32_t signal = VFIO_IRQ_SET_DATA_NONE | VFIO_IRQ_SET_ACTION_TRIGGER;

	must(t, "set", set_irqs(t, VFIO_PCI_REQ_IRQ_INDEX, set, 0, 1, &fd));
	must(t, "set-sibling", set_irqs(&s, VFIO_PCI_REQ_IRQ_INDEX, set, 0, 1, &other));
	see(t, "signal", set_irqs(t, VFIO_PCI_REQ_IRQ_INDEX, signal, 0, 1, NULL), 0);
	see_bool(t, "own", fired(fd), true);
	see_bool(t, "siblings", fired(other), false);
	close(s.dev);
	see(t, "signal", set_irqs(t, VFIO_PCI_REQ_IRQ_INDEX, signal, 0, 1, NULL), 0);
	see_bool(t, "own", fired(fd), true);
}

/* ---- reset ----------------------------------------------------------------------------------- */

static void reset_of_one(struct t *t)
{
	struct t s;

	need_power(t);
	s = sibling_of(t);
	set_power(&s, 3);
	see(t, "rc", sys(ioctl(t->dev, VFIO_DEVICE_RESET)), 0);
	see(t, "sibling-stays-in", power(&s), 3);
}

static void info_entries(struct t *t)
{
	struct {
		struct vfio_pci_hot_reset_info head;
		struct vfio_pci_dependent_device devices[64];
	} info = {.head.argsz = sizeof(info)};
	unsigned domain, bus, dev, fn;
	bool found = false;

	see(t, "rc", sys(ioctl(t->dev, HOT_INFO, &info)), 0);
	must(t, "address",
	     sscanf(t->sibling->bdf, "%x:%x:%x.%x", &domain, &bus, &dev, &fn) == 4 ? 0 : -EINVAL);
	for (unsigned i = 0; i < info.head.count && i < ARRAY_LEN(info.devices); i++) {
		const struct vfio_pci_dependent_device *d = &info.devices[i];

		if (d->segment == domain && d->bus == bus && d->devfn == (dev << 3 | fn))
			found = d->group_id == t->f->group;
	}
	see_as(t, "count", info.head.count, 2, "both");
	see_true(t, "sibling-with-the-same-group", found);
}

/* The group stands for all of its devices, whether they are open or not. */
static void hot_reset(struct t *t)
{
	struct {
		struct vfio_pci_hot_reset head;
		int32_t fds[3];
	} arg = {.head = {.argsz = sizeof(arg), .count = 1}, .fds = {t->group, t->group, t->group}};
	struct t s;

	see(t, "sibling-closed", sys(ioctl(t->dev, HOT_RESET, &arg)), 0);
	s = sibling_of(t);
	see(t, "sibling-open", sys(ioctl(t->dev, HOT_RESET, &arg)), 0);
	see(t, "by-sibling", sys(ioctl(s.dev, HOT_RESET, &arg)), 0);
	arg.head.count = 2;
	see(t, "group-twice", sys(ioctl(t->dev, HOT_RESET, &arg)), 0);
	arg.head.count = 3;
	see(t, "three-times", sys(ioctl(t->dev, HOT_RESET, &arg)), -EINVAL);
}

static void hot_reset_wakes(struct t *t)
{
	struct {
		struct vfio_pci_hot_reset head;
		int32_t fds[1];
	} arg = {.head = {.argsz = sizeof(arg), .count = 1}, .fds = {t->group}};
	struct t s;

	need_power(t);
	s = sibling_of(t);
	cfg_write(&s, 4, 2, 6);
	set_power(&s, 3);
	see(t, "rc", sys(ioctl(t->dev, HOT_RESET, &arg)), 0);
	see(t, "power-of-sibling", power(&s), 0);
	see_hex(t, "command-of-sibling", cfg_read(&s, 4, 2) & 0x406, 6);
}

static void hot_reset_mappings(struct t *t)
{
	struct {
		struct vfio_pci_hot_reset head;
		int32_t fds[1];
	} arg = {.head = {.argsz = sizeof(arg), .count = 1}, .fds = {t->group}};
	struct t s;
	uint32_t *p;

	if (t->sibling->bar_index < 0 || !t->sibling->bar[t->sibling->bar_index].mappable)
		skip(t, "the second device of the group has no mappable BAR");
	s = sibling_of(t);
	p = map_bar(&s, PROT_READ);
	see(t, "before", touch(p, NULL), 0);
	see(t, "rc", sys(ioctl(t->dev, HOT_RESET, &arg)), 0);
	see(t, "after", touch(p, NULL), 0);
	set_memory(&s, false);
	see(t, "rc", sys(ioctl(t->dev, HOT_RESET, &arg)), 0);
	see(t, "memory-off", touch(p, NULL), SIGBUS);
	set_memory(&s, true);
	see(t, "memory-on", touch(p, NULL), 0);
}

static const struct rule rules[] = {
	{"D.1/siblings/both-open", OPEN_DEVICE, NEED_SIBLING, both},
	{"D.1/siblings/before-set-iommu", OPEN_MEMBER, NEED_SIBLING | NEED_IOMMU, before_iommu},
	{"D.1/siblings/unset-container", OPEN_DEVICE, NEED_SIBLING, unset_container},
	{"A.4/siblings/open-and-close", OPEN_DEVICE, NEED_SIBLING, open_close},
	{"A.4/siblings/eventfds", OPEN_DEVICE, NEED_SIBLING, eventfds},
	{"A.5/RESET/sibling", OPEN_DEVICE, NEED_SIBLING | NEED_RESET, reset_of_one},
	{"A.5/HOT_RESET_INFO/siblings", OPEN_DEVICE, NEED_SIBLING | NEED_HOT, info_entries},
	{"A.5/HOT_RESET/siblings", OPEN_DEVICE, NEED_SIBLING | NEED_HOT, hot_reset},
	{"A.5/HOT_RESET/siblings-leave-d3", OPEN_DEVICE, NEED_SIBLING | NEED_HOT, hot_reset_wakes},
	{"A.5/HOT_RESET/siblings-mappings", OPEN_DEVICE, NEED_SIBLING | NEED_HOT,
	 hot_reset_mappings},
};
const struct section section_d1_siblings = SECTION("D.1", rules);
