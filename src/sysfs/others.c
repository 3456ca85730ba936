/* SPDX-License-Identifier: BSD-3-Clause */
/* Small directories: slots, groups, modules, power, vfio-dev. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include "iommu/space.h"
#include "sysfs/functions.h"
#include "vfio/uio.h"

#define READ(name_, show_, arg_)                                                                   \
	{                                                                                          \
		.name = name_, .type = SYSFS_TEXT, .mode = 0444, .show = show_, .arg = arg_        \
	}

/* ---- slots: each bus behind a root port is one ---- */

static ssize_t show_address(struct sysfs *fs, const struct sysfs_node *node, char *out, size_t size)
{
	return snprintf(out, size, "%04x:%02x:00\n", (unsigned)(node->object >> 8),
			(unsigned)node->object & 0xff);
}

static ssize_t show_unknown(struct sysfs *fs, const struct sysfs_node *node, char *out, size_t size)
{
	return snprintf(out, size, "Unknown\n");
}

const struct sysfs_entry slot_entries[] = {
	READ("address", show_address, 0),
	READ("max_bus_speed", show_unknown, 0),
	READ("cur_bus_speed", show_unknown, 0),
	{0},
};

/* ---- IOMMU groups ---- */

/* A group that VFIO made for a device without IOMMU (A.9): it has a name, and no domain. */
static bool is_noiommu(struct sysfs *fs, const struct sysfs_node *node)
{
	for (const struct function *f = fs->functions; f; f = f->next) {
		if (f->group == node->object && f->noiommu)
			return true;
	}
	return false;
}

static ssize_t show_name(struct sysfs *fs, const struct sysfs_node *node, char *out, size_t size)
{
	return snprintf(out, size, "vfio-noiommu\n");
}

static ssize_t show_reserved(struct sysfs *fs, const struct sysfs_node *node, char *out,
			     size_t size)
{
	if (is_noiommu(fs, node))
		return snprintf(out, size, "%s", "");
	return snprintf(out, size, "0x%016llx 0x%016llx msi\n", (unsigned long long)IOMMU_MSI_FIRST,
			(unsigned long long)IOMMU_MSI_LAST);
}

static ssize_t show_type(struct sysfs *fs, const struct sysfs_node *node, char *out, size_t size)
{
	return snprintf(out, size, is_noiommu(fs, node) ? "unknown\n" : "DMA\n");
}

static ssize_t store_type(struct sysfs *fs, const struct sysfs_node *node, struct sysfs_store *s)
{
	if (!s->admin)
		return -EACCES;
	if (sysfs_is(s, "DMA") || sysfs_is(s, "auto"))
		return (ssize_t)s->len;
	return -EINVAL;
}

const struct sysfs_entry group_entries[] = {
	{.name = "devices", .type = SYSFS_DIR, .mode = 0755, .dir = DIR_GROUP_DEVICES},
	{.name = "name",
	 .type = SYSFS_TEXT,
	 .mode = 0444,
	 .show = show_name,
	 .present = is_noiommu},
	READ("reserved_regions", show_reserved, 0),
	{.name = "type", .type = SYSFS_TEXT, .mode = 0644, .show = show_type, .store = store_type},
	{0},
};

/* ---- modules ---- */

static bool has_driver(struct sysfs *fs, const struct sysfs_node *node)
{
	return node->object == MODULE_VFIO_PCI || node->object == MODULE_UIO_PCI;
}

static bool has_parameters(struct sysfs *fs, const struct sysfs_node *node)
{
	return node->object < MODULE_UIO;
}

static bool is_vfio_pci(struct sysfs *fs, const struct sysfs_node *node)
{
	return node->object == MODULE_VFIO_PCI;
}

static bool is_uio_pci(struct sysfs *fs, const struct sysfs_node *node)
{
	return node->object == MODULE_UIO_PCI;
}

static ssize_t show_initstate(struct sysfs *fs, const struct sysfs_node *node, char *out,
			      size_t size)
{
	return snprintf(out, size, "live\n");
}

static ssize_t show_refcnt(struct sysfs *fs, const struct sysfs_node *node, char *out, size_t size)
{
	return snprintf(out, size, "0\n");
}

const struct sysfs_entry module_entries[] = {
	READ("initstate", show_initstate, 0),
	READ("refcnt", show_refcnt, 0),
	{.name = "parameters",
	 .type = SYSFS_DIR,
	 .mode = 0755,
	 .dir = DIR_PARAMETERS,
	 .present = has_parameters},
	{.name = "drivers",
	 .type = SYSFS_DIR,
	 .mode = 0755,
	 .dir = DIR_MODULE_DRIVERS,
	 .present = has_driver},
	{0},
};

static ssize_t show_driver_link(struct sysfs *fs, const struct sysfs_node *node, char *out,
				size_t size)
{
	char name[SYSFS_DRIVER_NAME];

	if (!sysfs_driver_name(fs, node->entry->arg, name))
		return -ENOENT;
	return sysfs_link_to(fs, node, out, size, "bus/pci/drivers/%s", name);
}

const struct sysfs_entry module_driver_entries[] = {
	{.name = "pci:vfio-pci",
	 .type = SYSFS_LINK,
	 .mode = 0777,
	 .show = show_driver_link,
	 .arg = DRIVER_VFIO,
	 .present = is_vfio_pci},
	{.name = "pci:" VFIO_UIO_DRIVER,
	 .type = SYSFS_LINK,
	 .mode = 0777,
	 .show = show_driver_link,
	 .arg = DRIVER_UIO,
	 .present = is_uio_pci},
	{0},
};

static bool of_module(struct sysfs *fs, const struct sysfs_node *node)
{
	return node->entry->arg == node->object;
}

/* A knob of the machine's policy, or what is not one here and always N. */
static ssize_t show_parameter(struct sysfs *fs, const struct sysfs_node *node, char *out,
			      size_t size)
{
	char text[VFIO_KNOB_TEXT];
	struct vfio_policy policy;

	vfio_machine_get_policy(fs->config.machine, &policy);
	if (vfio_policy_text(&policy, node->entry->name, text))
		snprintf(text, sizeof(text), "N");
	return snprintf(out, size, "%s\n", text);
}

static ssize_t store_parameter(struct sysfs *fs, const struct sysfs_node *node,
			       struct sysfs_store *s)
{
	const size_t line = strcspn(s->text, "\n");
	struct uvfio_error err;
	char assignment[80];
	int ret;

	if (!s->admin)
		return -EACCES;
	if ((size_t)snprintf(assignment, sizeof(assignment), "%s=%.*s", node->entry->name,
			     line < 64 ? (int)line : 64, s->text) >= sizeof(assignment))
		return -EINVAL;
	ret = vfio_machine_set_policy(fs->config.machine, assignment, &err);
	return ret ? ret : (ssize_t)s->len;
}

#define PARAM(name_, module_, mode_)                                                               \
	{                                                                                          \
		.name = name_, .type = SYSFS_TEXT, .mode = mode_, .show = show_parameter,          \
		.store = store_parameter, .arg = module_, .present = of_module                     \
	}

const struct sysfs_entry parameter_entries[] = {
	PARAM("enable_unsafe_noiommu_mode", MODULE_VFIO, 0644),
	PARAM("allow_unsafe_interrupts", MODULE_VFIO_TYPE1, 0644),
	PARAM("disable_hugepages", MODULE_VFIO_TYPE1, 0644),
	PARAM("dma_entry_limit", MODULE_VFIO_TYPE1, 0644),
	PARAM("disable_denylist", MODULE_VFIO_PCI, 0444),
	PARAM("disable_idle_d3", MODULE_VFIO_PCI, 0644),
	PARAM("enable_sriov", MODULE_VFIO_PCI, 0644),
	PARAM("nointxmask", MODULE_VFIO_PCI, 0644),
	{0},
};

/* ---- power ---- */

static ssize_t show_control(struct sysfs *fs, const struct sysfs_node *node, char *out, size_t size)
{
	return snprintf(out, size, "%s\n", node->f->power_on ? "on" : "auto");
}

static ssize_t store_control(struct sysfs *fs, const struct sysfs_node *node, struct sysfs_store *s)
{
	if (!sysfs_is(s, "on") && !sysfs_is(s, "auto"))
		return -EINVAL;
	node->f->power_on = sysfs_is(s, "on");
	return (ssize_t)s->len;
}

static ssize_t show_status(struct sysfs *fs, const struct sysfs_node *node, char *out, size_t size)
{
	struct vfio_device *dev = function_device(fs, node->f);
	bool suspended = dev && vfio_device_suspended(dev);

	if (dev)
		vfio_device_put(dev);
	return snprintf(out, size, suspended ? "suspended\n" : "active\n");
}

static ssize_t show_zero(struct sysfs *fs, const struct sysfs_node *node, char *out, size_t size)
{
	return snprintf(out, size, "0\n");
}

/* Without autosuspend, which PCI functions do not use. */
static ssize_t show_no_delay(struct sysfs *fs, const struct sysfs_node *node, char *out,
			     size_t size)
{
	return -EIO;
}

const struct sysfs_entry power_entries[] = {
	{.name = "control",
	 .type = SYSFS_TEXT,
	 .mode = 0644,
	 .show = show_control,
	 .store = store_control},
	{.name = "runtime_status",
	 .type = SYSFS_TEXT,
	 .mode = 0444,
	 .show = show_status,
	 .live = true},
	READ("runtime_active_time", show_zero, 0),
	READ("runtime_suspended_time", show_zero, 0),
	{.name = "autosuspend_delay_ms", .type = SYSFS_TEXT, .mode = 0644, .show = show_no_delay},
	{0},
};

/* ---- vfio-dev, uio ---- */

static ssize_t show_device(struct sysfs *fs, const struct sysfs_node *node, char *out, size_t size)
{
	return snprintf(out, size, "../../../%s", node->f->name);
}

static ssize_t show_nothing(struct sysfs *fs, const struct sysfs_node *node, char *out, size_t size)
{
	return 0;
}

static bool has_cdev(struct sysfs *fs, const struct sysfs_node *node)
{
	return !node->f->noiommu;
}

static ssize_t show_dev(struct sysfs *fs, const struct sysfs_node *node, char *out, size_t size)
{
	return snprintf(out, size, "%u:%llu\n", VFIO_CDEV_MAJOR,
			(unsigned long long)node->f->id - 1);
}

const struct sysfs_entry vfio_dev_entries[] = {{0}};
const struct sysfs_entry vfio_dev_n_entries[] = {
	{.name = "dev", .type = SYSFS_TEXT, .mode = 0444, .show = show_dev, .present = has_cdev},
	{.name = "device", .type = SYSFS_LINK, .mode = 0777, .show = show_device},
	{.name = "power", .type = SYSFS_DIR, .mode = 0755, .dir = DIR_VFIO_DEV_POWER},
	{.name = "uevent", .type = SYSFS_TEXT, .mode = 0644, .show = show_nothing},
	{0},
};

static unsigned minor_of(struct sysfs *fs, const struct sysfs_node *node)
{
	unsigned minor = 0;

	function_uio(fs, node->f, &minor);
	return minor;
}

static ssize_t show_uio_name(struct sysfs *fs, const struct sysfs_node *node, char *out,
			     size_t size)
{
	return snprintf(out, size, "%s\n", VFIO_UIO_DRIVER);
}

static ssize_t show_uio_version(struct sysfs *fs, const struct sysfs_node *node, char *out,
				size_t size)
{
	return snprintf(out, size, "%s\n", VFIO_UIO_VERSION);
}

static ssize_t show_uio_event(struct sysfs *fs, const struct sysfs_node *node, char *out,
			      size_t size)
{
	struct vfio_device *dev = function_device(fs, node->f);
	uint32_t events = dev ? vfio_device_uio_events(dev) : 0;

	if (dev)
		vfio_device_put(dev);
	return snprintf(out, size, "%u\n", events);
}

/* It is a file, not a character device: nothing has these numbers. */
static ssize_t show_uio_dev(struct sysfs *fs, const struct sysfs_node *node, char *out, size_t size)
{
	return snprintf(out, size, "0:%u\n", minor_of(fs, node));
}

static ssize_t show_uio_uevent(struct sysfs *fs, const struct sysfs_node *node, char *out,
			       size_t size)
{
	unsigned minor = minor_of(fs, node);

	return snprintf(out, size, "MAJOR=0\nMINOR=%u\nDEVNAME=uio%u\n", minor, minor);
}

static ssize_t show_uio_class(struct sysfs *fs, const struct sysfs_node *node, char *out,
			      size_t size)
{
	return sysfs_link_to(fs, node, out, size, "class/uio");
}

const struct sysfs_entry uio_n_entries[] = {
	READ("name", show_uio_name, 0),
	READ("version", show_uio_version, 0),
	READ("event", show_uio_event, 0),
	READ("dev", show_uio_dev, 0),
	{.name = "device", .type = SYSFS_LINK, .mode = 0777, .show = show_device},
	{.name = "subsystem", .type = SYSFS_LINK, .mode = 0777, .show = show_uio_class},
	{.name = "uevent", .type = SYSFS_TEXT, .mode = 0644, .show = show_uio_uevent},
	{0},
};
