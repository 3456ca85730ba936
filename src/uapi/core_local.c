/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A machine of the run's own: direct calls.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/fd.h"
#include "sysfs/snapshot.h"
#include "uapi/core.h"
#include "vfio/device_memory.h"
#include "vfio/host.h"
#include "vfio/observe.h"
#include "vfio/sriov.h"
#include "vfio/uio.h"

struct local {
	struct uapi_core core;
	/* Those of the beginning stay until the core goes; VFs come and go. */
	struct vfio_device **held;
	unsigned nr_held;
	struct uapi_device devices[];
};

static struct local *of_core(struct uapi_core *core)
{
	return (struct local *)core;
}

static struct vfio_container *container_of_handle(struct core_container *container)
{
	return (struct vfio_container *)container;
}

static struct vfio_group_file *group_of_handle(struct core_group *group)
{
	return (struct vfio_group_file *)group;
}

static struct vfio_device_file *file_of_handle(struct core_device *df)
{
	return (struct vfio_device_file *)df;
}

/* ---- containers ---- */

static int container_open(struct uapi_core *core, struct core_container **out)
{
	struct vfio_container *container;
	int ret = vfio_container_open(core->machine, &container);

	if (!ret)
		*out = (struct core_container *)container;
	return ret;
}

static void container_release(struct uapi_core *core, struct core_container *container)
{
	vfio_container_release(container_of_handle(container));
}

static int container_ioctl(struct uapi_core *core, struct core_container *container,
			   struct vfio_client *client, unsigned cmd, uint64_t arg)
{
	return vfio_container_ioctl(container_of_handle(container), client, cmd, arg);
}

/* ---- groups ---- */

static int group_open(struct uapi_core *core, unsigned number, struct core_group **out)
{
	struct vfio_group_file *group;
	int ret = vfio_group_open(core->machine, number, &group);

	if (!ret)
		*out = (struct core_group *)group;
	return ret;
}

static void group_release(struct uapi_core *core, struct core_group *group)
{
	vfio_group_release(group_of_handle(group));
}

static int group_get_status(struct uapi_core *core, struct core_group *group,
			    struct vfio_client *client, uint64_t arg)
{
	return vfio_group_get_status(group_of_handle(group), client, arg);
}

static int group_set_container(struct uapi_core *core, struct core_group *group,
			       struct core_container *container)
{
	return vfio_group_set_container(group_of_handle(group), container_of_handle(container));
}

static int group_unset_container(struct uapi_core *core, struct core_group *group)
{
	return vfio_group_unset_container(group_of_handle(group));
}

/* Which device @df is of; NULL, and it is released: out of memory. */
static const struct uapi_device *know(struct uapi_core *core, struct vfio_device_file *df)
{
	const struct uapi_device *which;
	struct uapi_device dev;

	uapi_device_describe(vfio_device_file_device(df), &dev);
	which = uapi_core_know(core, &dev);
	if (!which)
		vfio_device_release(df);
	return which;
}

static int group_get_device(struct uapi_core *core, struct core_group *group,
			    struct vfio_client *client, uint64_t arg, struct core_device **out,
			    const struct uapi_device **which)
{
	struct vfio_device_file *df;
	int ret = vfio_group_get_device(group_of_handle(group), client, arg, &df);

	if (ret)
		return ret;
	*which = know(core, df);
	if (!*which)
		return -ENOMEM;
	*out = (struct core_device *)df;
	return 0;
}

static int group_set_iommufd(struct uapi_core *core, struct core_group *group,
			     struct core_iommufd *iommufd)
{
	return vfio_group_set_iommufd(group_of_handle(group), (struct vfio_iommufd *)iommufd);
}

/* ---- iommufd ---- */

static int iommufd_open(struct uapi_core *core, struct core_iommufd **out)
{
	struct vfio_iommufd *iommufd;
	int ret = vfio_iommufd_open(core->machine, &iommufd);

	if (!ret)
		*out = (struct core_iommufd *)iommufd;
	return ret;
}

static void iommufd_release(struct uapi_core *core, struct core_iommufd *iommufd)
{
	vfio_iommufd_release((struct vfio_iommufd *)iommufd);
}

static int iommufd_ioctl(struct uapi_core *core, struct core_iommufd *iommufd,
			 struct vfio_client *client, unsigned cmd, uint64_t arg)
{
	return vfio_iommufd_ioctl((struct vfio_iommufd *)iommufd, client, cmd, arg);
}

/* ---- devices ---- */

static int cdev_open(struct uapi_core *core, unsigned number, struct core_device **out,
		     const struct uapi_device **which)
{
	struct vfio_device_file *df;
	int ret = vfio_cdev_open(core->machine, number, &df);

	if (ret)
		return ret;
	*which = know(core, df);
	if (!*which)
		return -ENOMEM;
	*out = (struct core_device *)df;
	return 0;
}

static void device_release(struct uapi_core *core, struct core_device *df)
{
	vfio_device_release(file_of_handle(df));
}

static int device_set_mmio(struct uapi_core *core, struct core_device *df, enum vfio_mmio_mode mode)
{
	return vfio_device_file_set_mmio(file_of_handle(df), mode);
}

static int device_ioctl(struct uapi_core *core, struct core_device *df, struct vfio_client *client,
			unsigned cmd, uint64_t arg)
{
	return vfio_device_ioctl(file_of_handle(df), client, cmd, arg);
}

static ssize_t device_read(struct uapi_core *core, struct core_device *df, uint64_t offset,
			   void *buf, size_t len)
{
	return vfio_device_read(file_of_handle(df), offset, buf, len);
}

static ssize_t device_write(struct uapi_core *core, struct core_device *df, uint64_t offset,
			    const void *buf, size_t len)
{
	return vfio_device_write(file_of_handle(df), offset, buf, len);
}

static int device_store(struct uapi_core *core, struct core_device *df, uint64_t offset,
			unsigned size, uint64_t value)
{
	return vfio_device_store(file_of_handle(df), offset, size, value);
}

static int device_load(struct uapi_core *core, struct core_device *df, uint64_t offset,
		       unsigned size, uint64_t *value)
{
	return vfio_device_load(file_of_handle(df), offset, size, value);
}

static int device_mmap(struct uapi_core *core, struct core_device *df, uint64_t offset,
		       uint64_t len, bool shared, bool *writable, bool *trap_reads)
{
	return vfio_device_mmap(file_of_handle(df), offset, len, shared, writable, trap_reads);
}

static int device_view_fd(struct uapi_core *core, struct core_device *df)
{
	return vfio_device_file_fd(file_of_handle(df));
}

static void export_release(struct uapi_core *core, struct core_export *export)
{
	vfio_export_put((struct vfio_device_export *)export);
}

static struct vfio_migration_file *session_of_handle(struct core_migration *migration)
{
	return (struct vfio_migration_file *)migration;
}

static void migration_release(struct uapi_core *core, struct core_migration *migration)
{
	vfio_migration_release(session_of_handle(migration));
}

static bool migration_saves(struct uapi_core *core, const struct core_migration *migration)
{
	return vfio_migration_saves((const struct vfio_migration_file *)migration);
}

static ssize_t migration_read(struct uapi_core *core, struct core_migration *migration, void *buf,
			      size_t len)
{
	return vfio_migration_read(session_of_handle(migration), buf, len);
}

static ssize_t migration_write(struct uapi_core *core, struct core_migration *migration,
			       const void *buf, size_t len)
{
	return vfio_migration_write(session_of_handle(migration), buf, len);
}

static bool migration_readable(struct uapi_core *core, struct core_migration *migration)
{
	return vfio_migration_readable(session_of_handle(migration));
}

static int migration_ioctl(struct uapi_core *core, struct core_migration *migration,
			   struct vfio_client *client, unsigned cmd, uint64_t arg)
{
	return vfio_migration_ioctl(session_of_handle(migration), client, cmd, arg);
}

static int device_memory(struct uapi_core *core, struct core_device *df, uint64_t offset,
			 uint64_t len, struct iommu_mem *out)
{
	int fd = vfio_device_file_fd(file_of_handle(df));
	struct stat st;

	if (fd < 0 || uvfio_fstat(fd, &st))
		return -EFAULT;
	return vfio_device_memory(core->machine, &st, offset, len, out);
}

static int resource_open(struct uapi_core *core, const struct uapi_device *dev,
			 enum vfio_mmio_mode mode, struct core_device **out, int *view)
{
	struct vfio_device *held = vfio_machine_get_device(core->machine, dev->name);
	struct vfio_device_file *df;
	int ret;

	if (!held)
		return -ENODEV;
	ret = vfio_device_host_open(held, mode, &df, view);
	vfio_device_put(held);
	if (!ret)
		*out = (struct core_device *)df;
	return ret;
}

static int uio_ioctl(struct uapi_core *core, const struct uapi_device *dev,
		     struct vfio_client *client, unsigned cmd, uint64_t arg)
{
	struct vfio_device *held = vfio_machine_get_device(core->machine, dev->name);
	int ret;

	if (!held)
		return -ENODEV;
	ret = vfio_device_uio_ioctl(held, client, cmd, arg);
	vfio_device_put(held);
	return ret;
}

/* ---- the machine ---- */

static int snapshot(struct uapi_core *core, uint8_t **out, size_t *len)
{
	return sysfs_snapshot(core->machine, out, len);
}

static bool hw_config(struct uapi_core *core, const struct uapi_device *dev, uint8_t *bytes,
		      bool wait)
{
	struct vfio_device *held = vfio_machine_get_device(core->machine, dev->name);
	bool done;

	if (!held)
		return true;
	done = vfio_device_hw_config(held, bytes, wait);
	vfio_device_put(held);
	return done;
}

static int list(struct uapi_core *core, unsigned from, struct uapi_device *out, unsigned max,
		unsigned *stamp)
{
	struct vfio_device **devs;
	unsigned nr, n = 0;

	*stamp = vfio_machine_changes(core->machine);
	nr = vfio_machine_get_devices(core->machine, &devs);
	for (unsigned i = from; i < nr && n < max; i++)
		uapi_device_describe(devs[i], &out[n++]);
	vfio_devices_put(devs, nr);
	return (int)n;
}

static int describe(struct uapi_core *core, const char *name, struct uapi_device *out)
{
	struct vfio_device *dev = vfio_machine_get_device(core->machine, name);

	if (!dev)
		return -ENODEV;
	uapi_device_describe(dev, out);
	vfio_device_put(dev);
	return 0;
}

static void local_free(struct uapi_core *core)
{
	struct local *local = of_core(core);

	vfio_devices_put(local->held, local->nr_held);
	uapi_later_free(core);
	free(core);
}

static const struct uapi_core_ops local_ops = {
	.container_open = container_open,
	.container_release = container_release,
	.container_ioctl = container_ioctl,
	.group_open = group_open,
	.group_release = group_release,
	.group_get_status = group_get_status,
	.group_set_container = group_set_container,
	.group_set_iommufd = group_set_iommufd,
	.group_unset_container = group_unset_container,
	.group_get_device = group_get_device,
	.iommufd_open = iommufd_open,
	.iommufd_release = iommufd_release,
	.iommufd_ioctl = iommufd_ioctl,
	.cdev_open = cdev_open,
	.device_release = device_release,
	.device_set_mmio = device_set_mmio,
	.device_ioctl = device_ioctl,
	.device_read = device_read,
	.device_write = device_write,
	.device_store = device_store,
	.device_load = device_load,
	.device_mmap = device_mmap,
	.device_view_fd = device_view_fd,
	.export_release = export_release,
	.device_memory = device_memory,
	.migration_release = migration_release,
	.migration_saves = migration_saves,
	.migration_read = migration_read,
	.migration_write = migration_write,
	.migration_readable = migration_readable,
	.migration_ioctl = migration_ioctl,
	.resource_open = resource_open,
	.uio_ioctl = uio_ioctl,
	.sysfs_snapshot = snapshot,
	.hw_config = hw_config,
	.list = list,
	.describe = describe,
	.free = local_free,
};

void uapi_device_describe(struct vfio_device *dev, struct uapi_device *out)
{
	struct pci_func *func = vfio_device_func(dev);
	const struct uvfio_pci_desc *desc = pci_func_desc(func);

	*out = (struct uapi_device){
		.group = vfio_device_group(dev),
		.noiommu = vfio_device_noiommu(dev),
		.cdev = vfio_device_cdev(dev),
		.mmio = vfio_device_mmio(dev),
		.config_size = pci_func_config_size(func),
		.rom_size = desc->rom_size,
	};
	snprintf(out->name, sizeof(out->name), "%s", vfio_device_name(dev));
	if (strlen(vfio_device_model(dev)->name) < sizeof(out->own_driver))
		strcpy(out->own_driver, vfio_device_model(dev)->name);
	if (vfio_device_physfn(dev))
		snprintf(out->pf, sizeof(out->pf), "%s", vfio_device_name(vfio_device_physfn(dev)));
	for (unsigned i = 0; i < 6; i++) {
		out->bars[i].size = desc->bars[i].size;
		out->bars[i].flags = desc->bars[i].flags;
	}
}

void uapi_group_node(const struct uapi_device *dev, char out[UAPI_NODE_NAME])
{
	snprintf(out, UAPI_NODE_NAME, "%s%u", dev->noiommu ? "noiommu-" : "", dev->group);
}

bool uapi_cdev_node(const struct uapi_device *dev, char out[UAPI_NODE_NAME])
{
	if (dev->cdev == VFIO_NO_CDEV)
		return false;
	snprintf(out, UAPI_NODE_NAME, "devices/vfio%u", dev->cdev);
	return true;
}

struct uapi_core *uapi_core_local(struct vfio_machine *machine)
{
	struct vfio_device **devs;
	unsigned nr = vfio_machine_get_devices(machine, &devs);
	struct local *local = calloc(1, sizeof(*local) + nr * sizeof(local->devices[0]));

	if (!local || !uapi_later_init(&local->core)) {
		vfio_devices_put(devs, nr);
		free(local);
		return NULL;
	}
	for (unsigned i = 0; i < nr; i++)
		uapi_device_describe(devs[i], &local->devices[i]);
	for (unsigned i = 0; i < nr; i++) {
		if (vfio_device_physfn(devs[i]))
			vfio_device_put(devs[i]);
		else
			devs[local->nr_held++] = devs[i];
	}
	local->held = devs;
	local->core = (struct uapi_core){
		.ops = &local_ops,
		.policy = vfio_machine_policy(machine),
		.machine = machine,
		.devices = local->devices,
		.nr_devices = nr,
		.later = local->core.later,
		.uio_first = vfio_machine_uio_first(machine),
		.max_calls = 1000,
	};
	return &local->core;
}
