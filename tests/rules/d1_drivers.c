// SPDX-License-Identifier: BSD-3-Clause
/* D.1: which driver has the functions of a group, and what becomes of those who hold its file. */
#include <fcntl.h>
#include <limits.h>
#include "sriov.h"

#define DRIVERS "/sys/bus/pci/drivers"

static void need_sysfs(struct t *t)
{
	if (access("/sys/bus/pci/drivers_probe", W_OK) || access(DRIVERS "/vfio-pci/bind", W_OK))
		skip(t, "sysfs cannot be written");
}

static long status(int group, uint32_t *flags)
{
	struct vfio_group_status st = {.argsz = sizeof(st)};
	long rc = sys(ioctl(group, VFIO_GROUP_GET_STATUS, &st));

	*flags = st.flags;
	return rc;
}

static long unset(int group)
{
	return sys(ioctl(group, VFIO_GROUP_UNSET_CONTAINER));
}

/* The file is that of the group as it was. */
static void devices_gone(struct t *t)
{
	uint32_t flags;
	int second;

	need_sysfs(t);
	must(t, "set", set_container(t->group, t->container));
	must(t, "unbind", fn_unbind(t->f->bdf));
	if (t->sibling) {
		see(t, "one-left", status(t->group, &flags), 0);
		see_hex(t, "flags", flags, 3);
		must(t, "unbind", fn_unbind(t->sibling->bdf));
	}
	see(t, "status", status(t->group, &flags), -ENODEV);
	see(t, "set-container", set_container(t->group, t->container), -ENODEV);
	see(t, "closed", set_container(t->group, 999), -EBADF);
	see(t, "device", get_device(t->group, t->f->bdf), -ENODEV);
	see(t, "set-iommu", sys(ioctl(t->container, VFIO_SET_IOMMU, VFIO_TYPE1v2_IOMMU)), -EINVAL);
	second = open_group(t->f);
	see_bool(t, "can-be-opened", second >= 0, false);
	see(t, "bind", fn_bind(t->f->bdf, "vfio-pci"), 0);
	if (t->sibling)
		must(t, "bind", fn_bind(t->sibling->bdf, "vfio-pci"));
	see(t, "status", status(t->group, &flags), -ENODEV);
	see(t, "set-container", set_container(t->group, t->container), -ENODEV);
	see(t, "device", get_device(t->group, t->f->bdf), -ENODEV);
	second = open_group(t->f);
	see(t, "new-file", second < 0 ? -errno : 0, 0);
	see(t, "status", status(second, &flags), 0);
	see_hex(t, "flags", flags, 1);
	close(t->group);
	t->group = second;
	see(t, "set-container", set_container(t->group, t->container), 0);
}

/* A driver that is here, takes the device, and does DMA for the host. */
static const char *other_driver(struct t *t)
{
	static const char *const names[] = {"uio_pci_generic", "nvme"};

	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		if (!fn_bind(t->sibling->bdf, names[i]))
			return names[i];
	}
	fn_write(t->sibling->bdf, "driver_override", "vfio-pci");
	fn_bind(t->sibling->bdf, "vfio-pci");
	skip(t, "no other driver takes the device");
}

static void with_other_driver(struct t *t)
{
	const char *driver;
	uint32_t flags;

	need_sysfs(t);
	must(t, "unbind", fn_unbind(t->sibling->bdf));
	see(t, "none", status(t->group, &flags), 0);
	see_hex(t, "flags", flags, 1);
	see(t, "set-container", set_container(t->group, t->container), 0);
	must(t, "unset", unset(t->group));

	driver = other_driver(t);
	see(t, "other", status(t->group, &flags), 0);
	see_hex(t, "flags", flags, 0);
	see(t, "set-container", set_container(t->group, t->container), -EPERM);
	see(t, "device", get_device(t->group, t->f->bdf), -EINVAL);
	must(t, "unbind", fn_unbind(t->sibling->bdf));

	see(t, "unbound", status(t->group, &flags), 0);
	see_hex(t, "flags", flags, 1);
	see(t, "set-container", set_container(t->group, t->container), 0);
	see(t, "bind-other", fn_bind(t->sibling->bdf, driver), -EBUSY);
	see(t, "set-iommu", sys(ioctl(t->container, VFIO_SET_IOMMU, VFIO_TYPE1v2_IOMMU)), 0);
	see(t, "bind-other", fn_bind(t->sibling->bdf, driver), -EBUSY);
	see(t, "unset", unset(t->group), 0);
	see(t, "bind-other", fn_bind(t->sibling->bdf, driver), 0);
	must(t, "unbind", fn_unbind(t->sibling->bdf));
	see(t, "bind-vfio", fn_bind(t->sibling->bdf, "vfio-pci"), 0);
}

static const struct rule rules[] = {
	{"D.1/open/devices-gone", OPEN_GROUP, NEED_RAW | NEED_IOMMU, devices_gone},
	{"D.1/siblings/other-driver", OPEN_GROUP, NEED_RAW | NEED_IOMMU | NEED_SIBLING,
	 with_other_driver},
};
const struct section section_d1_drivers = SECTION("D.1", rules);
